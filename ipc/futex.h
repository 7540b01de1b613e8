/* SPDX-License-Identifier: MIT */
#ifndef MPROC__FUTEX_H
#define MPROC__FUTEX_H

/*
 * The two futex calls, on words that any process may share
 */

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/*
 * Sleep while *word is @seen, at most @ns nanoseconds (negative: for ever).
 *
 * Return: 0 woken, -EAGAIN *word is not @seen, -ETIMEDOUT, -EINTR.
 */
static inline int mproc__futex_wait(_Atomic(uint32_t) *word, uint32_t seen, int64_t ns)
{
	struct timespec ts = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };

	if (syscall(SYS_futex, word, FUTEX_WAIT, seen, ns < 0 ? NULL : &ts, NULL, 0) == 0)
		return 0;
	return -errno;
}

/* Wake up to @n sleepers. Return: how many there were, or a negative errno. */
static inline int mproc__futex_wake(_Atomic(uint32_t) *word, int n)
{
	long r = syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);

	return r < 0 ? -errno : (int)r;
}

#endif /* MPROC__FUTEX_H */
