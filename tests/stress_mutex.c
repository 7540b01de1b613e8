/* SPDX-License-Identifier: MIT */

/*
 * The mutex under SIGKILL and SIGSTOP at random, and under nothing but contention
 *
 * Under the mutex lies a row of numbers that are equal whenever it is free. Workers
 * count them up one by one. One that is told MPROC_MUTEX_INHERITED may find them
 * unequal and makes them equal; one that is told 0 must find them equal.
 */

#include <mproc/mutex.h>

#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/lock_layout.h"
#include "ipc/participant.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

#define WORKERS 6
#define NUMBERS 8

struct shared {
	mproc_mutex mutex;
	_Atomic(uint64_t) numbers[NUMBERS];
	_Atomic(uint64_t) inside; /* number of the worker inside, from 1 */
	_Atomic(uint64_t) sections, inherited, broken, parks;
	_Atomic(uint64_t) words[WORKERS]; /* who they are */
};

static struct t_range range;
static struct shared *shared;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, WORKERS + 2, 2 * WORKERS, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	return mproc_mutex_init(&shared->mutex, 0);
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

/* Lock, and put in order what a dead owner left. */
static void enter(uint64_t worker)
{
	int told = mproc_mutex_lock(&shared->mutex, MPROC_FOREVER);

	t_check(told >= 0);
	if (told == 0 && atomic_load(&shared->inside))
		atomic_fetch_add(&shared->broken, 1);
	atomic_store(&shared->inside, worker);
	for (size_t i = 1; i < NUMBERS; i++) {
		if (shared->numbers[i] == shared->numbers[0])
			continue;
		if (told == 0)
			atomic_fetch_add(&shared->broken, 1);
		shared->numbers[i] = shared->numbers[0];
	}
	if (told == MPROC_MUTEX_INHERITED) {
		atomic_fetch_add(&shared->inherited, 1);
		t_check(mproc_mutex_consistent(&shared->mutex) == 0);
	}
}

static void leave(void)
{
	atomic_store(&shared->inside, 0);
	t_check(mproc_mutex_unlock(&shared->mutex) == 0);
}

static void work(void *arg)
{
	uint64_t worker = (uint64_t)(uintptr_t)arg, random = worker;
	struct mproc__self *me;

	/* Its end is a SIGKILL. */
	alarm(0);
	me = mproc__self(shared, "test");
	t_check(me);
	atomic_store(&shared->words[worker - 1], me->word);
	for (;;) {
		enter(worker);
		for (size_t i = 0; i < NUMBERS; i++) {
			shared->numbers[i]++;
			/* Now and then for long enough to be killed, or slept for, inside. */
			if (t_random(&random) % 512 == 0)
				usleep(200);
		}
		leave();
		atomic_fetch_add(&shared->sections, 1);
	}
}

static pid_t start(size_t i)
{
	atomic_store(&shared->words[i], 0);
	return t_spawn(work, (void *)(i + 1));
}

static bool has_moved(void *arg)
{
	return atomic_load(&shared->sections) != *(uint64_t *)arg;
}

/* A worker stands still: it lives, and while it is inside nobody else comes in. */
static void look_at_stopped(size_t i)
{
	uint64_t word = atomic_load(&shared->words[i]);
	uint64_t sections;

	if (word)
		assert_false(mproc__dead(range.range, word));
	if (atomic_load(&shared->inside) != i + 1)
		return;
	sections = atomic_load(&shared->sections);
	usleep(15000); /* more than a quantum */
	assert_int_equal(atomic_load(&shared->inside), i + 1);
	/* The one before it may have been about to count its section. */
	assert_true(atomic_load(&shared->sections) - sections <= WORKERS);
	assert_false(mproc__dead(range.range, word));
}

static void stop(pid_t pid, size_t i, uint64_t *random)
{
	siginfo_t info = { 0 };

	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT), 0);
	assert_int_equal(info.si_code, CLD_STOPPED);
	look_at_stopped(i);
	if (t_random(random) % 2)
		kill(pid, SIGCONT);
}

static void storm(void)
{
	int64_t end = mproc_after_ms(t_long() ? 60000 : 3000), worst = 0;
	uint64_t random = t_seed(), sections, kills = 0, stops = 0;
	pid_t pids[WORKERS];

	for (size_t i = 0; i < WORKERS; i++)
		pids[i] = start(i);
	while (mproc_now() < end) {
		size_t i = t_random(&random) % WORKERS;
		int64_t since;

		usleep(t_random(&random) % 3000);
		if (t_random(&random) % 4 == 0) {
			stop(pids[i], i, &random);
			stops++;
			if (t_random(&random) % 2)
				continue;
		}
		since = mproc_now();
		assert_int_equal(kill(pids[i], SIGKILL), 0);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
		kills++;
		pids[i] = start(i);
		/* Others may be stopped, inside at that: let them go before the clock runs. */
		for (size_t k = 0; k < WORKERS; k++)
			kill(pids[k], SIGCONT);
		sections = atomic_load(&shared->sections);
		assert_true(t_wait_until(has_moved, &sections, mproc_after_ms(5000)));
		if (mproc_now() - since > worst)
			worst = mproc_now() - since;
	}
	for (size_t i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
	enter(WORKERS + 1);
	leave();
	print_message("# %" PRIu64 " sections, %" PRIu64 " kills, %" PRIu64 " stops, %" PRIu64
		      " inherited, longest from kill to progress %.1f ms\n",
		      shared->sections, kills, stops, shared->inherited, (double)worst / 1e6);
	assert_int_equal(shared->broken, 0);
	assert_true(kills > 0 && stops > 0 && shared->inherited > 0);
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
}

static void killed_and_stopped_owners_break_nothing(void **state)
{
	(void)state;
	storm();
}

static void with(uint32_t flags)
{
	mproc_mutex_destroy(&shared->mutex);
	assert_int_equal(mproc_mutex_init(&shared->mutex, flags), 0);
}

static void killed_and_stopped_waiters_keep_a_fair_one_going(void **state)
{
	(void)state;
	with(MPROC_MUTEX_FAIR);
	storm();
}

/* Everybody says consistent, so nobody loses it. */
static void killed_and_stopped_owners_do_not_lose_a_strict_one(void **state)
{
	(void)state;
	with(MPROC_MUTEX_STRICT | MPROC_MUTEX_ANY_UNLOCK);
	storm();
}

static bool has_begun(void *arg)
{
	return atomic_load((_Atomic(uint64_t) *)arg) != 0;
}

/* Stop worker @i. Return: whether it owns the mutex, as it will for as long as it stands. */
static bool stand_still(pid_t pid, size_t i)
{
	const struct mproc__lock *lock = (const void *)&shared->mutex;
	siginfo_t info = { 0 };

	assert_true(t_wait_until(has_begun, &shared->words[i], mproc_after_ms(20000)));
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT), 0);
	assert_int_equal(info.si_code, CLD_STOPPED);
	return mproc__owner_id(atomic_load(&lock->word)) == atomic_load(&shared->words[i]);
}

/* Some of those that are stopped are killed, the others go on: only those pass it on. */
static void every_takeover_is_from_one_who_was_killed(void **state)
{
	int64_t end = mproc_after_ms(t_long() ? 60000 : 3000);
	uint64_t random = t_seed(), owners_killed = 0, owners_stopped = 0, takeovers;
	pid_t pids[WORKERS];

	(void)state;
	for (size_t i = 0; i < WORKERS; i++)
		pids[i] = start(i);
	while (mproc_now() < end || !owners_killed || !owners_stopped) {
		size_t i = t_random(&random) % WORKERS;
		bool owner = stand_still(pids[i], i);

		takeovers = range.range->reg->takeovers;
		if (t_random(&random) % 2) {
			owners_stopped += owner;
			if (owner) {
				usleep(15000); /* more than a quantum */
				assert_int_equal(range.range->reg->takeovers, takeovers);
			}
			kill(pids[i], SIGCONT);
		} else {
			owners_killed += owner;
			kill(pids[i], SIGKILL);
			assert_int_equal(t_reap(pids[i]), SIGKILL);
			pids[i] = start(i);
		}
		usleep(t_random(&random) % 2000);
	}
	for (size_t i = 0; i < WORKERS; i++) {
		owners_killed += stand_still(pids[i], i);
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
	enter(WORKERS + 1);
	leave();
	takeovers = range.range->reg->takeovers;
	print_message("# %" PRIu64 " owners stopped, %" PRIu64 " killed, %" PRIu64 " takeovers\n",
		      owners_stopped, owners_killed, takeovers);
	assert_int_equal(shared->broken, 0);
	assert_true(takeovers <= owners_killed);
	/* An heir that dies right after he took over has not counted it. */
	assert_true(takeovers + 2 >= owners_killed);
}

#define PARKERS 4

static uint64_t rounds;

/* Without a quantum, and no polls: who finds it taken sleeps until somebody wakes him. */
static void park(void *arg)
{
	uint64_t random = (uint64_t)(uintptr_t)arg;
	struct rusage usage;

	alarm(t_long() ? 600 : 60);
	atomic_store(&mproc__quantum_off, true);
	atomic_store(&mproc__polls_off, true);
	for (uint64_t i = 0; i < rounds; i++) {
		enter((uint64_t)(uintptr_t)arg);
		for (size_t k = 0; k < NUMBERS; k++)
			shared->numbers[k]++;
		/* The others run while it is taken, or nobody would ever sleep for it. */
		if (t_random(&random) % 4 == 0)
			sched_yield();
		leave();
	}
	getrusage(RUSAGE_SELF, &usage);
	atomic_fetch_add(&shared->parks, (uint64_t)usage.ru_nvcsw);
}

static void all_are_woken(uint64_t wanted_by_default)
{
	const char *wanted = getenv("MPROC_PARK_ROUNDS");
	pid_t pids[PARKERS];

	rounds = (wanted ? strtoull(wanted, NULL, 10) : wanted_by_default) / PARKERS;
	for (size_t i = 0; i < PARKERS; i++)
		pids[i] = t_spawn(park, (void *)(i + 1));
	for (size_t i = 0; i < PARKERS; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	print_message("# %" PRIu64 " rounds, %" PRIu64 " sleeps\n", rounds * PARKERS,
		      shared->parks);
	assert_int_equal(shared->broken, 0);
	assert_int_equal(shared->numbers[NUMBERS - 1], rounds * PARKERS);
	assert_int_equal(range.range->reg->heals, 0);
	assert_int_equal(range.range->reg->takeovers, 0);
	assert_true(shared->parks > rounds / 100);
}

static void parked_processes_are_all_woken_without_a_quantum(void **state)
{
	(void)state;
	all_are_woken(t_long() ? 5000000 : 200000);
}

/* Where every unlock that finds a waiter is a hand-over. */
static void hand_overs_are_all_taken_without_a_quantum(void **state)
{
	(void)state;
	with(MPROC_MUTEX_FAIR);
	all_are_woken(t_long() ? 1000000 : 40000);
}

static uint64_t served[PARKERS];

static void work_for_a_while(void *arg)
{
	uint64_t n = 0;
	int64_t end = mproc_after_ms(500);

	while (mproc_now() < end) {
		t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == 0);
		n++;
		t_check(mproc_mutex_unlock(&shared->mutex) == 0);
	}
	atomic_store(&shared->numbers[(uintptr_t)arg], n);
}

static void fair_one_serves_all_alike(void **state)
{
	uint64_t least = UINT64_MAX, most = 0;
	pid_t pids[PARKERS];

	(void)state;
	with(MPROC_MUTEX_FAIR);
	for (size_t i = 0; i < PARKERS; i++)
		pids[i] = t_spawn(work_for_a_while, (void *)i);
	for (size_t i = 0; i < PARKERS; i++) {
		assert_int_equal(t_reap(pids[i]), 0);
		served[i] = shared->numbers[i];
		least = served[i] < least ? served[i] : least;
		most = served[i] > most ? served[i] : most;
	}
	print_message("# least served over most served: %" PRIu64 " / %" PRIu64 "\n", least, most);
	assert_true(least * 10 > most);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(killed_and_stopped_owners_break_nothing),
		TEST(killed_and_stopped_waiters_keep_a_fair_one_going),
		TEST(killed_and_stopped_owners_do_not_lose_a_strict_one),
		TEST(every_takeover_is_from_one_who_was_killed),
		TEST(parked_processes_are_all_woken_without_a_quantum),
		TEST(hand_overs_are_all_taken_without_a_quantum),
		TEST(fair_one_serves_all_alike),
	};

	return cmocka_run_group_tests_name("stress mutex", tests, NULL, NULL);
}
