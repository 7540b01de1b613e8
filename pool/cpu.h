/* SPDX-License-Identifier: MIT */
#ifndef MPROC__CPU_H
#define MPROC__CPU_H

/*
 * The parts of mproc_cpu_count(), each to be tested by itself
 */

#include <mproc/cpu.h>

/* No limit. */
#define MPROC__CPU_ANY_NUMBER UINT32_MAX

/* The largest MPROC_CPU_COUNT that is believed. */
#define MPROC__CPU_MAX 65536u

/*
 * CPUs in the affinity mask of the calling thread, which is what its children get.
 *
 * Return: at least 1, or MPROC__CPU_ANY_NUMBER if the kernel does not say.
 */
uint32_t mproc__cpu_affinity(void);

/*
 * The smallest CPU quota among the control group of this process and all its
 * ancestors that can be seen, v1 and v2.
 * @root:	put before /proc/self/... and before every mount point; "" for the
 *		system's own files
 *
 * Return: whole CPUs, rounded up, at least 1, or MPROC__CPU_ANY_NUMBER.
 */
uint32_t mproc__cpu_quota(const char *root);

/*
 * What MPROC_CPU_COUNT says.
 * @text:	its value, or NULL
 *
 * Return: a number from 1 to MPROC__CPU_MAX, 0 if @text is none.
 */
uint32_t mproc__cpu_override(const char *text);

#endif /* MPROC__CPU_H */
