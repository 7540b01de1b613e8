/* SPDX-License-Identifier: MIT */

/*
 * Producers and consumers under SIGKILL and SIGSTOP at random, and under contention alone
 *
 * The ledger: put and got, each counted by one store under the mutex; put - got items
 * are there, at most ROOM. Who is told MPROC_MUTEX_INHERITED tells everybody, for a dead
 * owner may have taken a notification with him that he owed to another.
 */

#include <mproc/condition.h>

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/participant.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

#define WORKERS 6 /* every other one produces */
#define ROOM    3

/* In ns, from a kill to progress: a few quanta and deadlines, and a machine that is busy. */
#define PROGRESS INT64_C(2000000000)

struct shared {
	mproc_mutex mutex;
	mproc_condition not_empty, not_full;
	_Atomic(uint64_t) put, got;
	_Atomic(uint64_t) inherited, broken;
};

static struct t_range range;
static struct shared *shared;
static uint64_t rounds;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, WORKERS + 2, 2 * WORKERS, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	assert_int_equal(mproc_condition_init(&shared->not_empty, 0), 0);
	assert_int_equal(mproc_condition_init(&shared->not_full, 0), 0);
	return mproc_mutex_init(&shared->mutex, 0);
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

static int has_room(void *arg)
{
	(void)arg;
	return shared->put - shared->got < ROOM;
}

static int has_item(void *arg)
{
	(void)arg;
	return shared->put != shared->got;
}

/* An owner has died. */
static void inherit(void)
{
	atomic_fetch_add(&shared->inherited, 1);
	t_check(mproc_mutex_consistent(&shared->mutex) == 0);
	t_check(mproc_condition_notify_all(&shared->not_empty) >= 0);
	t_check(mproc_condition_notify_all(&shared->not_full) >= 0);
}

/* @ms: how long a wait may be; 0: for ever. */
static void turn(bool produces, int64_t ms)
{
	mproc_condition *mine = produces ? &shared->not_full : &shared->not_empty;
	int r = mproc_mutex_lock(&shared->mutex, MPROC_FOREVER);

	t_check(r >= 0);
	if (r)
		inherit();
	do {
		r = mproc_condition_wait_for(mine, &shared->mutex, produces ? has_room : has_item,
					     NULL, ms ? mproc_after_ms(ms) : MPROC_FOREVER);
		t_check(r >= 0 || ms);
		if (r > 0)
			inherit();
	} while (r);
	if (shared->put - shared->got > ROOM)
		atomic_fetch_add(&shared->broken, 1);
	/* Now and then for long enough to be killed inside. */
	if (ms && shared->got % 64 == 0)
		usleep(300);
	if (produces)
		shared->put++;
	else
		shared->got++;
	t_check(mproc_condition_notify(produces ? &shared->not_empty : &shared->not_full, 1) >= 0);
	t_check(mproc_mutex_unlock(&shared->mutex) == 0);
}

static void work(void *arg)
{
	/* Its end is a SIGKILL. */
	alarm(0);
	for (;;)
		turn((uintptr_t)arg % 2, 200);
}

static bool has_moved(void *arg)
{
	return atomic_load(&shared->got) > *(uint64_t *)arg;
}

static void killed_and_stopped_waiters_and_notifiers_harm_nobody(void **state)
{
	int64_t end, worst = 0;
	uint64_t random = t_seed(), kills = 0, stops = 0;
	pid_t pids[WORKERS];

	(void)state;
	for (size_t i = 0; i < WORKERS; i++)
		pids[i] = t_spawn(work, (void *)i);
	end = mproc_after_ms(t_long() ? 60000 : 3000);
	while (mproc_now() < end) {
		size_t i = t_random(&random) % WORKERS;
		uint64_t got;
		int64_t since;

		usleep(t_random(&random) % 3000);
		if (t_random(&random) % 4 == 0) {
			assert_int_equal(kill(pids[i], SIGSTOP), 0);
			usleep(t_random(&random) % 2000);
			stops++;
			if (t_random(&random) % 2)
				kill(pids[i], SIGCONT);
		}
		assert_int_equal(kill(pids[i], SIGKILL), 0);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
		kills++;
		pids[i] = t_spawn(work, (void *)i);
		for (size_t k = 0; k < WORKERS; k++)
			kill(pids[k], SIGCONT);
		since = mproc_now();
		got = atomic_load(&shared->got) + 10;
		assert_true(t_wait_until(has_moved, &got, mproc_after_ms(10000)));
		if (mproc_now() - since > worst)
			worst = mproc_now() - since;
	}
	for (size_t i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
	print_message("# %" PRIu64 " items, %" PRIu64 " kills, %" PRIu64 " stops, %" PRIu64
		      " inherited, longest from kill to progress %.1f ms\n",
		      shared->got, kills, stops, shared->inherited, (double)worst / 1e6);
	assert_int_equal(shared->broken, 0);
	assert_true(worst < (t_sanitized() ? 4 : 1) * PROGRESS);
	assert_true(shared->put - shared->got <= ROOM);
	assert_true(kills > 0 && stops > 0 && shared->inherited > 0);
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
}

/* Without a quantum, and no polls: a notification that is lost is a hang. */
static void take_turns(void *arg)
{
	alarm(t_long() ? 600 : 60);
	atomic_store(&mproc__quantum_off, true);
	atomic_store(&mproc__polls_off, true);
	for (uint64_t i = 0; i < rounds; i++)
		turn((uintptr_t)arg % 2, 0);
}

static void no_notification_is_lost_without_a_quantum(void **state)
{
	const char *wanted = getenv("MPROC_PARK_ROUNDS");
	pid_t pids[WORKERS];

	(void)state;
	rounds = (wanted ? strtoull(wanted, NULL, 10) : t_long() ? 1000000 : 60000) / WORKERS;
	for (size_t i = 0; i < WORKERS; i++)
		pids[i] = t_spawn(take_turns, (void *)i);
	for (size_t i = 0; i < WORKERS; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(shared->put, rounds * WORKERS / 2);
	assert_int_equal(shared->got, shared->put);
	assert_int_equal(shared->broken, 0);
	assert_int_equal(range.range->reg->heals, 0);
	assert_int_equal(range.range->reg->takeovers, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(killed_and_stopped_waiters_and_notifiers_harm_nobody),
		TEST(no_notification_is_lost_without_a_quantum),
	};

	return cmocka_run_group_tests_name("stress condition", tests, NULL, NULL);
}
