/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_SWEEP_ARCH_H
#define MPROC_TESTS_SWEEP_ARCH_H

/*
 * What a sweep must know of the machine: system call instruction and breakpoint
 */

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#if defined(__x86_64__)
#define T_ARCH_KNOWN    1
#define T_ARCH_CALL_LEN 2

static inline bool t_arch_is_call(unsigned long text)
{
	return (text & 0xffff) == 0x050f; /* syscall */
}

/* Registers as of a call's entry become registers that make the call again. */
static inline void t_arch_call_again(struct user_regs_struct *regs)
{
	regs->rip -= T_ARCH_CALL_LEN;
	regs->rax = regs->orig_rax;
}

static inline unsigned long t_arch_break(unsigned long text)
{
	return (text & ~0xfful) | 0xcc; /* int3 */
}

/* Back from a breakpoint to what it stands for. Return: where that is. */
static inline uint64_t t_arch_unbreak(struct user_regs_struct *regs)
{
	return regs->rip -= 1;
}
#elif defined(__aarch64__)
#define T_ARCH_KNOWN    1
#define T_ARCH_CALL_LEN 4

static inline bool t_arch_is_call(unsigned long text)
{
	return (text & 0xffffffff) == 0xd4000001; /* svc #0 */
}

static inline void t_arch_call_again(struct user_regs_struct *regs)
{
	regs->pc -= T_ARCH_CALL_LEN;
}

static inline unsigned long t_arch_break(unsigned long text)
{
	return (text & ~0xfffffffful) | 0xd4200000; /* brk #0 */
}

static inline uint64_t t_arch_unbreak(struct user_regs_struct *regs)
{
	return regs->pc;
}
#else
#define T_ARCH_KNOWN    0
#define T_ARCH_CALL_LEN 0

static inline bool t_arch_is_call(unsigned long text)
{
	(void)text;
	return false;
}

static inline void t_arch_call_again(struct user_regs_struct *regs)
{
	(void)regs;
}

static inline unsigned long t_arch_break(unsigned long text)
{
	return text;
}

static inline uint64_t t_arch_unbreak(struct user_regs_struct *regs)
{
	(void)regs;
	return 0;
}
#endif

static inline void t_arch_get_regs(pid_t pid, struct user_regs_struct *regs)
{
	struct iovec iov = { .iov_base = regs, .iov_len = sizeof(*regs) };

	ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRSTATUS, &iov);
}

static inline void t_arch_set_regs(pid_t pid, struct user_regs_struct *regs)
{
	struct iovec iov = { .iov_base = regs, .iov_len = sizeof(*regs) };

	ptrace(PTRACE_SETREGSET, pid, (void *)NT_PRSTATUS, &iov);
}

#endif /* MPROC_TESTS_SWEEP_ARCH_H */
