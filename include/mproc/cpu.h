/* SPDX-License-Identifier: MIT */
#ifndef MPROC_CPU_H
#define MPROC_CPU_H

/*
 * How many CPUs this process may use
 *
 *	Threads		may be called from any thread
 *	Fork		nothing here changes across fork(2)
 *	Signals		not safe in a signal handler
 *	Killed		nothing here writes shared memory
 *	Errors		none
 */

#include <mproc/common.h>

MPROC_BEGIN_DECLS

/**
 * mproc_cpu_count() - usable CPUs
 *
 * The smaller of the affinity mask and the CPU quota of every control group above
 * this process that can be seen (v1 and v2), rounded up. MPROC_CPU_COUNT in the
 * environment overrides both, except in a set-uid program.
 *
 * Return: a number of at least 1.
 */
MPROC_API unsigned mproc_cpu_count(void);

MPROC_END_DECLS

#endif /* MPROC_CPU_H */
