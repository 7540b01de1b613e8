/* SPDX-License-Identifier: MIT */

/*
 * No report without a cycle, and no cycle that lasts where it is refused
 *
 * Locks lie in two segments. In the first test threads of several processes take some
 * of them, always in the same order, with and without deadlines, and are killed: nobody
 * is ever refused, and who looks all the time sees no cycle. In the second they take
 * them in any order: who is refused gives up what it has, and nobody stands still.
 */

#include <mproc/deadlock.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/mutex.h>

#include "tests/support/child.h"

#define WORKERS 4
#define THREADS 2
#define LOCKS   6 /* of each segment three */

struct shared {
	_Atomic(uint64_t) rounds[WORKERS * THREADS];
	_Atomic(uint64_t) refused, timed_out, inherited;
	_Atomic(bool) stop;
};

static struct shared *shared;
static mproc_segment *segments[2];
static mproc_mutex *locks[LOCKS];
static bool ordered;

static int init(void *object, void *arg)
{
	(void)arg;
	for (int i = 0; i < LOCKS / 2; i++)
		if (mproc_mutex_init((mproc_mutex *)object + i, i == 1 ? MPROC_MUTEX_FAIR : 0) < 0)
			return -EINVAL;
	return 0;
}

static int setup(void **state)
{
	void *object;

	(void)state;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(
			mproc_segment_create(&segments[i], NULL,
					     MPROC_SEGMENT_OPTS(.flags = MPROC_SEGMENT_DEADLOCK)),
			0);
		assert_int_equal(mproc_segment_object(&object, segments[i], "locks",
						      LOCKS / 2 * sizeof(mproc_mutex), init, NULL),
				 1);
		/* Neighbours in the order lie in different segments. */
		for (int k = 0; k < LOCKS / 2; k++)
			locks[2 * k + i] = (mproc_mutex *)object + k;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++)
		mproc_segment_close(segments[i]);
	munmap(shared, sizeof(*shared));
	return 0;
}

/* Return: whether it was locked. */
static bool lock(mproc_mutex *mutex, uint64_t *random)
{
	int64_t deadline = MPROC_FOREVER;
	int r;

	if (ordered && t_random(random) % 2)
		deadline = t_random(random) % 4 ? mproc_after_us((int64_t)(t_random(random) % 3000))
						: MPROC_NOWAIT;
	r = mproc_mutex_lock(mutex, deadline);
	if (r == -EDEADLK) {
		t_check(!ordered);
		atomic_fetch_add(&shared->refused, 1);
		return false;
	}
	if (r == -ETIMEDOUT || r == -EAGAIN) {
		atomic_fetch_add(&shared->timed_out, 1);
		return false;
	}
	t_check(r >= 0);
	if (r == MPROC_MUTEX_INHERITED) {
		atomic_fetch_add(&shared->inherited, 1);
		t_check(mproc_mutex_consistent(mutex) == 0);
	}
	return true;
}

/* Take some locks, in order or in any, and let them go. */
static void one_round(uint64_t *random)
{
	uint32_t wanted = (uint32_t)t_random(random) % (1u << LOCKS);
	uint32_t first = ordered ? 0 : (uint32_t)t_random(random) % LOCKS;
	bool has[LOCKS] = { false };

	for (uint32_t i = 0; i < LOCKS; i++) {
		uint32_t k = (first + i) % LOCKS;

		if (!(wanted & 1u << k))
			continue;
		has[k] = lock(locks[k], random);
		if (!has[k])
			break;
		if (t_random(random) % 16 == 0)
			usleep(300);
	}
	for (uint32_t k = 0; k < LOCKS; k++)
		if (has[k])
			t_check(mproc_mutex_unlock(locks[k]) == 0);
}

static void *work(void *arg)
{
	uint64_t who = (uint64_t)(uintptr_t)arg, random = who + (uint64_t)getpid();

	while (!atomic_load(&shared->stop)) {
		one_round(&random);
		atomic_fetch_add(&shared->rounds[who], 1);
	}
	return NULL;
}

static void work_together(void *arg)
{
	uintptr_t worker = (uintptr_t)arg;
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		t_check(pthread_create(&threads[i], NULL, work, (void *)(worker * THREADS + i)) ==
			0);
	for (uintptr_t i = 0; i < THREADS; i++)
		t_check(pthread_join(threads[i], NULL) == 0);
}

static uint64_t n_rounds(void)
{
	uint64_t n = 0;

	for (size_t i = 0; i < WORKERS * THREADS; i++)
		n += atomic_load(&shared->rounds[i]);
	return n;
}

static void say(const struct mproc_deadlock *cycle, void *arg)
{
	(void)arg;
	for (size_t i = 0; i < cycle->n_edges; i++)
		print_message("# tid %" PRIu32 " waits for %s, held by tid %" PRIu32 "\n",
			      cycle->edges[i].waiter.tid, cycle->edges[i].lock,
			      cycle->edges[i].holder.tid);
}

static void run(bool in_order)
{
	int64_t end = mproc_after_ms(t_long() ? 60000 : 4000), next_kill = 0, moved = mproc_now();
	uint64_t random = t_seed(), looks = 0, seen = 0, kills = 0, rounds = 0;
	pid_t pids[WORKERS];

	ordered = in_order;
	for (size_t i = 0; i < WORKERS; i++)
		pids[i] = t_spawn(work_together, (void *)i);
	while (mproc_now() < end) {
		int r = mproc_deadlock_check(NULL, in_order ? say : NULL, NULL);

		assert_true(r >= 0);
		looks++;
		seen += (uint64_t)r;
		if (n_rounds() != rounds)
			moved = mproc_now();
		rounds = n_rounds();
		/* A cycle that nobody breaks would stand still for ever. */
		assert_true(mproc_now() - moved < INT64_C(10000000000));
		if (mproc_now() < next_kill)
			continue;
		next_kill = mproc_after_us((int64_t)(t_random(&random) % 60000));
		if (looks > 1) {
			size_t i = t_random(&random) % WORKERS;

			assert_int_equal(kill(pids[i], SIGKILL), 0);
			assert_int_equal(t_reap(pids[i]), SIGKILL);
			pids[i] = t_spawn(work_together, (void *)i);
			kills++;
		}
	}
	atomic_store(&shared->stop, true);
	for (size_t i = 0; i < WORKERS; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	print_message("# %" PRIu64 " rounds, %" PRIu64 " looks, %" PRIu64 " kills, %" PRIu64
		      " refused, %" PRIu64 " cycles seen, %" PRIu64 " timed out, %" PRIu64
		      " inherited\n",
		      n_rounds(), looks, kills, shared->refused, seen, shared->timed_out,
		      shared->inherited);
	assert_int_equal(mproc_deadlock_check(NULL, NULL, NULL), 0);
	assert_true(kills > 0 && looks > 10 && shared->inherited > 0);
	if (in_order) {
		assert_int_equal(seen, 0);
		assert_int_equal(shared->refused, 0);
		assert_true(shared->timed_out > 0);
	} else {
		assert_true(shared->refused > 0);
	}
}

static void what_is_locked_in_one_order_is_never_called_a_deadlock(void **state)
{
	(void)state;
	run(true);
}

static void what_is_locked_in_any_order_never_stands_still(void **state)
{
	(void)state;
	run(false);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_locked_in_one_order_is_never_called_a_deadlock),
		TEST(what_is_locked_in_any_order_never_stands_still),
	};

	return cmocka_run_group_tests_name("stress deadlock", tests, NULL, NULL);
}
