/* SPDX-License-Identifier: MIT */

/*
 * A stepped process, instruction by instruction
 *
 * An instruction is one PTRACE_SINGLESTEP. A system call is seen coming by its
 * opcode and passed with PTRACE_SYSCALL, which stops at its entry and at its exit,
 * so that the process can be found asleep in between.
 *
 * Where nothing is to be learnt it runs instead, up to breakpoints in its own copy of
 * the text or the next system call. While it is stepped or in a call there are none, so
 * its children never meet one.
 */

#include "tests/support/sweep_step.h"

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <mproc/common.h>

#include "tests/support/child.h"
#include "tests/support/sweep_arch.h"

#define ASLEEP_NS  150000 /* in a call for so long: look whether it sleeps */
#define SERVE_MASK 63     /* steps between two looks at the other processes */

static unsigned unserved;

bool t_step_supported(void)
{
	return T_ARCH_KNOWN;
}

uint64_t t_step_pc(const struct t_proc *p)
{
	return t_trace_call_info(p).instruction_pointer - (p->entering ? T_ARCH_CALL_LEN : 0);
}

bool t_step_is_single(const struct t_proc *p)
{
	char path[32];
	struct stat st;

	/* A directory of threads: itself, its parent, and one link for each of them. */
	snprintf(path, sizeof(path), "/proc/%d/task", (int)p->pid);
	return stat(path, &st) == 0 && st.st_nlink == 3;
}

/* A signal has arrived: it goes to the process with the next step. */
static void keep_signal(struct t_proc *p)
{
	if (!(p->status >> 16) && (WSTOPSIG(p->status) & 0x7f) != SIGTRAP)
		p->sig = WSTOPSIG(p->status);
}

static bool at_call_stop(const struct t_proc *p)
{
	return WSTOPSIG(p->status) == (SIGTRAP | 0x80);
}

static enum t_step step_insn(struct t_proc *p)
{
	t_trace_resume(p, PTRACE_SINGLESTEP);
	/* One instruction ends by itself: nothing to bound here. */
	t_trace_wait(p);
	if (p->gone)
		return T_STEP_GONE;
	keep_signal(p);
	return T_STEP_INSN;
}

/* Into the handler, or over one instruction if there is none: maybe a system call. */
static enum t_step step_signal(struct t_proc *p, bool call, uint64_t pc, int64_t deadline)
{
	t_trace_resume(p, PTRACE_SINGLESTEP);
	if (!t_trace_wait_until(p, deadline))
		return T_STEP_LATE;
	if (p->gone)
		return T_STEP_GONE;
	keep_signal(p);
	return call && t_step_pc(p) == pc + T_ARCH_CALL_LEN ? T_STEP_CALL : T_STEP_INSN;
}

/* From its entry, or from where it slept, to the end of the call. */
static enum t_step step_call(struct t_proc *p, int64_t deadline)
{
	int64_t look;

	for (;;) {
		look = mproc_now() + ASLEEP_NS;
		if (!t_trace_wait_until(p, look < deadline ? look : deadline)) {
			if (mproc_now() >= deadline)
				return T_STEP_LATE;
			if (!p->slept && t_state(p->pid) == 'S') {
				p->slept = true;
				return T_STEP_ASLEEP;
			}
			continue;
		}
		if (p->gone)
			return T_STEP_GONE;
		if (at_call_stop(p)) {
			p->in_call = false;
			return T_STEP_CALL;
		}
		/* It has forked, or executes another program. */
		keep_signal(p);
		t_trace_resume(p, PTRACE_SYSCALL);
	}
}

/* It has stopped at the entry of a call. */
static void enter_call(struct t_proc *p)
{
	p->call = (long)t_trace_call_info(p).entry.nr;
	p->in_call = true;
	p->entering = true;
	p->slept = false;
}

enum t_step t_step(struct t_proc *p, int64_t deadline)
{
	uint64_t pc;
	bool call;

	if (!p->in_call) {
		if ((++unserved & SERVE_MASK) == 0)
			t_trace_serve(0);
		pc = t_step_pc(p);
		call = t_arch_is_call(t_trace_peek(p, pc));
		if (p->sig)
			return step_signal(p, call, pc, deadline);
		if (!call)
			return step_insn(p);
		t_trace_resume(p, PTRACE_SYSCALL);
		if (!t_trace_wait_until(p, deadline))
			return T_STEP_LATE;
		if (p->gone)
			return T_STEP_GONE;
		if (!at_call_stop(p)) {
			keep_signal(p);
			return T_STEP_INSN;
		}
		enter_call(p);
	}
	if (p->entering) {
		/* Whoever is to be found asleep by this call shall be asleep. */
		if (!t_trace_settle(deadline))
			return T_STEP_LATE;
		p->entering = false;
		t_trace_resume(p, PTRACE_SYSCALL);
	}
	return step_call(p, deadline);
}

/* Back to the instruction that the breakpoint stands for. Return: is it one of them? */
static bool unbreak(struct t_proc *p, const uint64_t *pcs, unsigned n)
{
	struct user_regs_struct regs;
	uint64_t pc;

	t_arch_get_regs(p->pid, &regs);
	pc = t_arch_unbreak(&regs);
	for (unsigned i = 0; i < n; i++) {
		if (pcs[i] != pc)
			continue;
		t_arch_set_regs(p->pid, &regs);
		return true;
	}
	return false;
}

enum t_run t_step_run(struct t_proc *p, const uint64_t *pcs, unsigned n, int64_t deadline)
{
	unsigned long texts[T_RUN_MAX];
	bool stopped;

	/* One after the other: two may share a word. */
	for (unsigned i = 0; i < n; i++) {
		texts[i] = t_trace_peek(p, pcs[i]);
		t_trace_poke(p, pcs[i], t_arch_break(texts[i]));
	}
	t_trace_resume(p, PTRACE_SYSCALL);
	stopped = t_trace_wait_until(p, deadline);
	if (!stopped)
		return T_RUN_LATE;
	if (p->gone)
		return T_RUN_GONE;
	for (unsigned i = n; i-- > 0;)
		t_trace_poke(p, pcs[i], texts[i]);
	if (at_call_stop(p)) {
		enter_call(p);
		return T_RUN_CALL;
	}
	if (!(p->status >> 16) && WSTOPSIG(p->status) == SIGTRAP && unbreak(p, pcs, n))
		return T_RUN_BREAK;
	keep_signal(p);
	return T_RUN_OTHER;
}

bool t_step_off(struct t_proc *p, int64_t deadline)
{
	do {
		if (p->stopped)
			t_trace_resume(p, PTRACE_CONT);
		if (!t_trace_wait_until(p, deadline))
			return false;
		if (!p->gone && WSTOPSIG(p->status) != SIGSTOP)
			keep_signal(p);
	} while (!p->gone && WSTOPSIG(p->status) != SIGSTOP);
	p->in_call = p->entering = false;
	return true;
}
