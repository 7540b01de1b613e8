/* SPDX-License-Identifier: MIT */

/*
 * The rwlock under SIGKILL and SIGSTOP at random, and under nothing but contention
 *
 * Under the lock lies a row of numbers that are equal whenever nobody writes. Writers
 * count them up one by one. A reader that is told 0 finds them equal from its first look
 * to its last; one that is told MPROC_RWLOCK_INHERITED may find them unequal, but as
 * little as the other sees them change. A writer so told makes them equal.
 *
 * That a writer lets readers run into it where the barrier of its entry is missing shows
 * where readers go first: there it looks for them right after it has said INSIDE.
 */

#include <mproc/rwlock.h>

#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/participant.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

#define WORKERS 6
#define NUMBERS 8

struct shared {
	mproc_rwlock rwlock;
	_Atomic(uint64_t) numbers[NUMBERS];
	_Atomic(uint64_t) written, read, inherited, broken, parks;
	_Atomic(uint64_t) inside[WORKERS]; /* 1 while it reads, 2 while it writes */
};

static struct t_range range;
static struct shared *shared;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, WORKERS + 2, 2 * WORKERS, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	return mproc_rwlock_init(&shared->rwlock, 0);
}

static int setup_lenient(void **state)
{
	return setup(state) || mproc_rwlock_init(&shared->rwlock, MPROC_RWLOCK_PREFER_READERS);
}

static int setup_fenced(void **state)
{
	int r = setup(state);

	atomic_store(&range.range->reg->fence, 1);
	return r;
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

/* Now and then for long enough to be killed, or waited for, inside. */
static void linger(uint64_t *random, unsigned seldom)
{
	if (t_random(random) % seldom == 0)
		usleep(200);
}

static void look(size_t worker, uint64_t *random)
{
	int told = mproc_rwlock_read_lock(&shared->rwlock, MPROC_FOREVER);
	uint64_t seen[NUMBERS];

	t_check(told >= 0);
	atomic_store(&shared->inside[worker], 1);
	for (size_t i = 0; i < NUMBERS; i++) {
		seen[i] = shared->numbers[i];
		if (told == 0 && seen[i] != seen[0])
			atomic_fetch_add(&shared->broken, 1);
		linger(random, 512);
	}
	for (size_t i = 0; i < NUMBERS; i++)
		if (shared->numbers[i] != seen[i])
			atomic_fetch_add(&shared->broken, 1);
	atomic_store(&shared->inside[worker], 0);
	t_check(mproc_rwlock_unlock(&shared->rwlock) == 0);
	atomic_fetch_add(&shared->read, 1);
}

static void count(size_t worker, uint64_t *random)
{
	int told = mproc_rwlock_write_lock(&shared->rwlock, MPROC_FOREVER);

	t_check(told >= 0);
	atomic_store(&shared->inside[worker], 2);
	for (size_t i = 1; i < NUMBERS; i++) {
		if (shared->numbers[i] == shared->numbers[0])
			continue;
		if (told == 0)
			atomic_fetch_add(&shared->broken, 1);
		shared->numbers[i] = shared->numbers[0];
	}
	if (told) {
		atomic_fetch_add(&shared->inherited, 1);
		t_check(mproc_rwlock_consistent(&shared->rwlock) == 0);
	}
	for (size_t i = 0; i < NUMBERS; i++) {
		shared->numbers[i]++;
		linger(random, 32);
	}
	atomic_store(&shared->inside[worker], 0);
	t_check(mproc_rwlock_unlock(&shared->rwlock) == 0);
	atomic_fetch_add(&shared->written, 1);
}

static void work(void *arg)
{
	size_t worker = (size_t)(uintptr_t)arg;
	uint64_t random = worker;

	/* Its end is a SIGKILL. */
	alarm(0);
	for (;;) {
		if (t_random(&random) % 4 == 0)
			count(worker, &random);
		else
			look(worker, &random);
	}
}

static pid_t start(size_t i)
{
	atomic_store(&shared->inside[i], 0);
	return t_spawn(work, (void *)i);
}

static bool has_moved(void *arg)
{
	return atomic_load(&shared->written) != *(uint64_t *)arg;
}

/* A worker stands still inside: while it reads nobody writes, while it writes nobody reads. */
static bool look_at_stopped(size_t i)
{
	uint64_t as = atomic_load(&shared->inside[i]);
	uint64_t written, numbers[NUMBERS];

	if (!as)
		return false;
	written = atomic_load(&shared->written);
	for (size_t k = 0; k < NUMBERS; k++)
		numbers[k] = atomic_load(&shared->numbers[k]);
	usleep(15000); /* more than a quantum */
	for (size_t k = 0; k < NUMBERS; k++)
		assert_int_equal(atomic_load(&shared->numbers[k]), numbers[k]);
	/* The one before it may have been about to count what it wrote. */
	assert_true(atomic_load(&shared->written) - written <= WORKERS);
	return true;
}

static bool stop(pid_t pid, size_t i, uint64_t *random)
{
	siginfo_t info = { 0 };
	bool was_inside;

	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT), 0);
	assert_int_equal(info.si_code, CLD_STOPPED);
	was_inside = look_at_stopped(i);
	if (t_random(random) % 2)
		kill(pid, SIGCONT);
	return was_inside;
}

static void storm(void **state)
{
	int64_t end = mproc_after_ms(t_long() ? 60000 : 2000), worst = 0;
	uint64_t random = t_seed(), written, kills = 0, stops = 0;
	pid_t pids[WORKERS];

	(void)state;
	for (size_t i = 0; i < WORKERS; i++)
		pids[i] = start(i);
	while (mproc_now() < end) {
		size_t i = t_random(&random) % WORKERS;
		int64_t since;

		usleep(t_random(&random) % 3000);
		if (t_random(&random) % 4 == 0) {
			stops += stop(pids[i], i, &random);
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
		written = atomic_load(&shared->written);
		assert_true(t_wait_until(has_moved, &written, mproc_after_ms(5000)));
		if (mproc_now() - since > worst)
			worst = mproc_now() - since;
	}
	for (size_t i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
	count(0, &random);
	look(0, &random);
	print_message("# %" PRIu64 " times read, %" PRIu64 " written, %" PRIu64 " kills, %" PRIu64
		      " stops inside, %" PRIu64
		      " inherited, longest from kill to progress %.1f ms\n",
		      shared->read, shared->written, kills, stops, shared->inherited,
		      (double)worst / 1e6);
	assert_int_equal(shared->broken, 0);
	assert_true(kills > 0 && shared->inherited > 0);
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
}

static void killed_and_stopped_holders_break_nothing(void **state)
{
	storm(state);
}

static void the_same_where_readers_go_first(void **state)
{
	storm(state);
}

static void the_same_where_readers_fence(void **state)
{
	storm(state);
}

#define PARKERS 4

static uint64_t rounds;

/* Without a quantum, and no polls: who must wait sleeps until somebody wakes him. */
static void park(void *arg)
{
	size_t worker = (size_t)(uintptr_t)arg;
	uint64_t random = worker + 1;
	struct rusage usage;

	alarm(t_long() ? 600 : 60);
	atomic_store(&mproc__quantum_off, true);
	atomic_store(&mproc__polls_off, true);
	for (uint64_t i = 0; i < rounds; i++) {
		bool writes = t_random(&random) % 4 == 0;

		t_check((writes ? mproc_rwlock_write_lock
				: mproc_rwlock_read_lock)(&shared->rwlock, MPROC_FOREVER) == 0);
		for (size_t k = 0; writes && k < NUMBERS; k++)
			shared->numbers[k]++;
		/* The others run while it is taken, or nobody would ever sleep for it. */
		if (t_random(&random) % 4 == 0)
			sched_yield();
		if (shared->numbers[0] != shared->numbers[NUMBERS - 1])
			atomic_fetch_add(&shared->broken, 1);
		t_check(mproc_rwlock_unlock(&shared->rwlock) == 0);
	}
	getrusage(RUSAGE_SELF, &usage);
	atomic_fetch_add(&shared->parks, (uint64_t)usage.ru_nvcsw);
}

static void parked_processes_are_all_woken_without_a_quantum(void **state)
{
	pid_t pids[PARKERS];

	(void)state;
	rounds = (t_long() ? 2000000 : 100000) / PARKERS;
	for (size_t i = 0; i < PARKERS; i++)
		pids[i] = t_spawn(park, (void *)i);
	for (size_t i = 0; i < PARKERS; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	print_message("# %" PRIu64 " rounds, %" PRIu64 " sleeps\n", rounds * PARKERS,
		      shared->parks);
	assert_int_equal(shared->broken, 0);
	assert_int_equal(range.range->reg->heals, 0);
	assert_int_equal(range.range->reg->takeovers, 0);
	assert_true(shared->parks > rounds / 100);
}

#define TEST(fn, setup_) cmocka_unit_test_setup_teardown(fn, setup_, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(killed_and_stopped_holders_break_nothing, setup),
		TEST(the_same_where_readers_go_first, setup_lenient),
		TEST(the_same_where_readers_fence, setup_fenced),
		TEST(parked_processes_are_all_woken_without_a_quantum, setup),
	};

	return cmocka_run_group_tests_name("stress rwlock", tests, NULL, NULL);
}
