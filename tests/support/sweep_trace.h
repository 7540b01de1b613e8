/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_SWEEP_TRACE_H
#define MPROC_TESTS_SWEEP_TRACE_H

/*
 * The processes of one world, under ptrace(2)
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>

enum t_role {
	T_ROLE_PLAIN,   /* not traced: peers, survivors */
	T_ROLE_STEPPED, /* victim, recoverer: stops where sweep_step.c says */
	T_ROLE_HELPER,  /* runs only while somebody settles or after t_trace_thaw() */
	T_ROLE_CHILD,   /* of a stepped process: followed, runs freely */
	T_ROLE_UNKNOWN, /* its first stop was seen before its parent's fork */
};

struct t_proc {
	pid_t pid;
	enum t_role role;
	bool gone;
	int status;                    /* of wait(2), once gone; of the stop, if stopped */
	bool stopped;                  /* a stepped process, where it was left */
	int sig;                       /* to deliver when it goes on */
	bool in_call;                  /* in a system call */
	bool entering;                 /* stopped at its entry */
	bool slept;                    /* in this call */
	long call;                     /* its number */
	bool resting;                  /* helper: has come to rest, time stands still for it */
	bool held;                     /* helper: out of the call it slept in, and kept there */
	struct user_regs_struct entry; /* helper: registers as it entered the call */
};

/* In the world process, first of all. */
void t_trace_init(void);

/*
 * Run arrive(), if that is not NULL, and fn(arg) in another process. In a stepped one
 * fn calls t_trace_stop_here(); a helper dies by SIGKILL when fn returns.
 *
 * Return: the process, stopped if it is a stepped one and gone if it ended before; or
 * NULL with errno.
 */
struct t_proc *t_trace_fork(enum t_role role, void (*arrive)(void), void (*fn)(void *), void *arg,
			    int64_t deadline);
void t_trace_stop_here(void);

/* Handle what has happened to any process; if nothing, wait. Return: false at @until. */
bool t_trace_serve(int64_t until);

/* A stopped process goes on: PTRACE_CONT, _SYSCALL, _SINGLESTEP. */
void t_trace_resume(struct t_proc *p, int request);

/* Wait until it has stopped or is gone: for it alone, or serving all. */
void t_trace_wait(struct t_proc *p);
bool t_trace_wait_until(struct t_proc *p, int64_t deadline);

struct __ptrace_syscall_info t_trace_call_info(const struct t_proc *p);
unsigned long t_trace_peek(const struct t_proc *p, uint64_t addr);
bool t_trace_poke(const struct t_proc *p, uint64_t addr, unsigned long text);

/* Wait for the end of a process, serving the others. Return: false at the deadline. */
bool t_trace_join(struct t_proc *p, int64_t deadline);

void t_trace_kill(struct t_proc *p);

/* Let all helpers run; t_trace_settle() waits until they have come to rest again. */
void t_trace_thaw(void);
bool t_trace_settle(int64_t deadline);

/* A helper that ended otherwise than by SIGKILL, or NULL. */
const struct t_proc *t_trace_bad_helper(void);

/* Helpers that live. */
unsigned t_trace_helpers(void);

/* How often a resting helper's sleep has ended by itself and was begun anew. */
uint64_t t_trace_expiries(void);

/* Children and threads of stepped processes that live. */
unsigned t_trace_children(void);

/* Wait until there are none. Return: how many there are at the deadline. */
unsigned t_trace_orphans(int64_t deadline);

#endif /* MPROC_TESTS_SWEEP_TRACE_H */
