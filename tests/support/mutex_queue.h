/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_MUTEX_QUEUE_H
#define MPROC_TESTS_MUTEX_QUEUE_H

/*
 * Processes that wait for one mutex, in a known order
 *
 * Include after cmocka.h.
 */

#include <mproc/mutex.h>

#include "tests/support/child.h"
#include "tests/support/range.h"

/* What records say of those who wait for @mutex. */
static inline uint64_t t_mutex_what(const struct t_range *range, const mproc_mutex *mutex)
{
	return mproc__what(MPROC__KIND_MUTEX, (uint64_t)((const char *)mutex - range->base));
}

/* How many wait for it, as their records say. */
static inline unsigned t_mutex_n_blocked(const struct t_range *range, const mproc_mutex *mutex)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < range->range->n_threads; i++)
		n += atomic_load(&range->range->threads[i].blocked_on) ==
		     t_mutex_what(range, mutex);
	return n;
}

static inline bool t_is_asleep(void *pid)
{
	return t_state((pid_t)(intptr_t)pid) == 'S';
}

/*
 * Let @n processes run come_in(1), come_in(2), ...: each waits before the next begins.
 * @so_many_wait:	do as many wait as its argument says?
 */
static inline void t_queue_up(void (*come_in)(void *arg), bool (*so_many_wait)(void *n),
			      pid_t *pids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		pids[i] = t_spawn(come_in, (void *)(i + 1));
		assert_true(t_wait_until(so_many_wait, (void *)(i + 1), mproc_after_ms(20000)));
		/* A note alone is no place in the queue yet: who polls still has none. */
		assert_true(t_wait_until(t_is_asleep, (void *)(intptr_t)pids[i],
					 mproc_after_ms(20000)));
	}
}

#endif /* MPROC_TESTS_MUTEX_QUEUE_H */
