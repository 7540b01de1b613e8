/* SPDX-License-Identifier: MIT */

/*
 * How many CPUs this process may use
 *
 * Two limits count. The affinity mask, into which the kernel also folds cpusets,
 * says where we may run. A quota of a control group says for how long in each
 * period, and shows in no count of CPUs: more busy processes than the quota has
 * CPUs only get throttled, and with them whoever holds a lock.
 *
 * A quota binds everything below its group, so those of all ancestors count as well
 * (ipc/cgroup.c finds them):
 *
 *	v2	cpu.max			"QUOTA PERIOD", or "max PERIOD"
 *	v1	cpu.cfs_quota_us	QUOTA, or -1; with cpu.cfs_period_us
 *
 * What is absent or unreadable sets no limit.
 */

#include <mproc/cpu.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "ipc/cgroup.h"
#include "ipc/error.h"
#include "pool/cpu.h"

/* More CPUs than any kernel is built for: where growing the mask ends. */
#define MASK_MAX (1u << 20)

uint32_t mproc__cpu_affinity(void)
{
	for (size_t n = 1024; n <= MASK_MAX; n *= 2) {
		cpu_set_t *set = CPU_ALLOC(n);
		int count, r;

		if (!set)
			break;
		r = sched_getaffinity(0, CPU_ALLOC_SIZE(n), set) < 0 ? -errno : 0;
		count = r < 0 ? 0 : CPU_COUNT_S(CPU_ALLOC_SIZE(n), set);
		CPU_FREE(set);
		if (count > 0)
			return (uint32_t)count;
		/* -EINVAL: the kernel's mask is longer than ours. */
		if (r != -EINVAL)
			break;
	}
	return MPROC__CPU_ANY_NUMBER;
}

static uint32_t min(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* QUOTA microseconds in each PERIOD, rounded up to CPUs; neither can be trusted. */
static uint32_t whole_cpus(int64_t quota, int64_t period)
{
	int64_t n;

	if (quota <= 0 || period <= 0)
		return MPROC__CPU_ANY_NUMBER;
	n = (quota - 1) / period + 1;
	return n < MPROC__CPU_ANY_NUMBER ? (uint32_t)n : MPROC__CPU_ANY_NUMBER;
}

static uint32_t quota_of_group(const char *dir, bool v2)
{
	char line[64], period[64];
	int64_t quota, per;

	if (v2) {
		/* "max 100000" does not begin with a number. */
		if (!mproc__cgroup_line(dir, "cpu.max", line, sizeof(line)) ||
		    sscanf(line, "%" SCNd64 " %" SCNd64, &quota, &per) != 2)
			return MPROC__CPU_ANY_NUMBER;
		return whole_cpus(quota, per);
	}
	if (!mproc__cgroup_line(dir, "cpu.cfs_quota_us", line, sizeof(line)) ||
	    !mproc__cgroup_line(dir, "cpu.cfs_period_us", period, sizeof(period)))
		return MPROC__CPU_ANY_NUMBER;
	return whole_cpus(strtoll(line, NULL, 10), strtoll(period, NULL, 10));
}

static void look_at(const char *dir, bool v2, void *arg)
{
	uint32_t *n = arg;

	*n = min(*n, quota_of_group(dir, v2));
}

uint32_t mproc__cpu_quota(const char *root)
{
	uint32_t n = MPROC__CPU_ANY_NUMBER;

	mproc__cgroup_each(root, "cpu", look_at, &n);
	return n;
}

uint32_t mproc__cpu_override(const char *text)
{
	uint32_t n = 0;

	if (!text)
		return 0;
	/* strtoul() would take signs, blanks and other bases. */
	for (const char *at = text; *at; at++) {
		if (*at < '0' || *at > '9')
			return 0;
		n = n * 10 + (uint32_t)(*at - '0');
		if (n > MPROC__CPU_MAX)
			return 0;
	}
	return n;
}

static uint32_t override;
static char refused[64];
static atomic_flag refusal_told = ATOMIC_FLAG_INIT;

/* The environment is read once: another thread may change it later. */
static void read_override(void)
{
	const char *text = secure_getenv("MPROC_CPU_COUNT");

	override = mproc__cpu_override(text);
	if (!text || override) {
		atomic_flag_test_and_set(&refusal_told);
		return;
	}
	snprintf(refused, sizeof(refused), "%s", text);
	/* The log is given lines. */
	for (char *at = refused; *at; at++)
		if (*at < ' ' || *at > '~')
			*at = '?';
}

unsigned mproc_cpu_count(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	uint32_t n;

	pthread_once(&once, read_override);
	if (override)
		return override;
	/* Outside of the above, since whoever reads the log may ask us again. */
	if (!atomic_flag_test_and_set(&refusal_told))
		mproc__log("MPROC_CPU_COUNT=%s ignored: not a number from 1 to %u", refused,
			   MPROC__CPU_MAX);
	n = min(mproc__cpu_affinity(), mproc__cpu_quota(""));
	return n == MPROC__CPU_ANY_NUMBER ? 1 : n;
}
