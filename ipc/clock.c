/* SPDX-License-Identifier: MIT */

/*
 * Time for deadlines (monotonic, private) and for display (real, shared)
 *
 * CLOCK_MONOTONIC differs between boots and time namespaces, so a deadline
 * never enters shared memory. Zero and INT64_MAX have meanings of their own:
 * sums are clamped between them.
 */

#include <mproc/common.h>

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "ipc/clock.h"
#include "ipc/error.h"

#define NS_PER_SEC INT64_C(1000000000)

static int64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

int64_t mproc_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

int64_t mproc_after_ns(int64_t ns)
{
	int64_t now = mproc_now();

	if (ns <= 0)
		return now;
	return ns > MPROC_FOREVER - 1 - now ? MPROC_FOREVER : now + ns;
}

int64_t mproc_after_us(int64_t us)
{
	return mproc_after_ns(us > MPROC_FOREVER / 1000 ? MPROC_FOREVER : us <= 0 ? 0 : us * 1000);
}

int64_t mproc_after_ms(int64_t ms)
{
	return mproc_after_ns(ms > MPROC_FOREVER / 1000000 ? MPROC_FOREVER
			      : ms <= 0                    ? 0
							   : ms * 1000000);
}

int mproc__deadline_check(const char *what, int64_t deadline)
{
	if (deadline < 0)
		return mproc__fail(-EINVAL, "%s: deadline %" PRId64 " is negative", what, deadline);
	return 0;
}

int64_t mproc__clock_real(void)
{
	return clock_ns(CLOCK_REALTIME);
}
