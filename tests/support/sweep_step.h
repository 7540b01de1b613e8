/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_SWEEP_STEP_H
#define MPROC_TESTS_SWEEP_STEP_H

/*
 * A stepped process, instruction by instruction
 */

#include <stdbool.h>
#include <stdint.h>

#include "tests/support/sweep_trace.h"

enum t_step {
	T_STEP_INSN,   /* one instruction done */
	T_STEP_CALL,   /* one system call done */
	T_STEP_ASLEEP, /* inside a call, asleep; step again to wait for its end */
	T_STEP_GONE,   /* the process has ended */
	T_STEP_LATE,   /* the deadline passed */
};

/* Can this machine's instructions be told apart? */
bool t_step_supported(void);

/* Program counter of a stopped process; at a system call, of the instruction that makes it. */
uint64_t t_step_pc(const struct t_proc *p);

/* One step; a system call is one, and the other processes are served meanwhile. */
enum t_step t_step(struct t_proc *p, int64_t deadline);

enum t_run {
	T_RUN_BREAK, /* about to execute one of the instructions asked for */
	T_RUN_CALL,  /* about to make a system call */
	T_RUN_OTHER, /* a signal has arrived */
	T_RUN_GONE,
	T_RUN_LATE,
};

#define T_RUN_MAX 16u

/* Has it one thread only? */
bool t_step_is_single(const struct t_proc *p);

/*
 * Let it run, at full speed, until it is about to execute one of @n instructions or
 * to make a system call.
 */
enum t_run t_step_run(struct t_proc *p, const uint64_t *pcs, unsigned n, int64_t deadline);

/* Let it run until it stops itself by SIGSTOP. Return: false if it has not in time. */
bool t_step_off(struct t_proc *p, int64_t deadline);

#endif /* MPROC_TESTS_SWEEP_STEP_H */
