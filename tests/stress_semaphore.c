/* SPDX-License-Identifier: MIT */

/*
 * The semaphore under SIGKILL and SIGSTOP at random, and without a quantum
 *
 * Permits: who has one notes it in a ledger, under a mutex, before he does anything and
 * until just before he gives it back; so the living in the ledger are never more than
 * there are permits. Leases: workers note each unit before and after they have said that
 * it is done with, so the units that are gone are known but for those who died between;
 * all others must still be there when everybody is dead. With the quantum off a wake-up
 * that is lost is a hang.
 */

#include <mproc/semaphore.h>

#include <errno.h>
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

#include <mproc/mutex.h>

#include "ipc/participant.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

#define WORKERS 6
#define N       3

struct shared {
	MPROC_SEMAPHORE_WITH(N) permits;
	MPROC_SEMAPHORE_WITH(N) leases;
	mproc_semaphore there, back;
	mproc_mutex mutex;
	_Atomic(uint64_t) has[WORKERS]; /* owner word of who has a permit */
	_Atomic(uint64_t) words[WORKERS];
	_Atomic(uint64_t) before[WORKERS], after[WORKERS];
	_Atomic(uint64_t) turns, too_many, most;
};

static struct t_range range;
static struct shared *shared;
static mproc_semaphore *permits, *leases;
static uint64_t rounds;

static int setup(void **state)
{
	const char *wanted = getenv("MPROC_PARK_ROUNDS");

	(void)state;
	rounds = wanted ? strtoull(wanted, NULL, 10) : t_long() ? 2000000 : 60000;
	assert_int_equal(t_range_open(&range, WORKERS + 2, 4 * WORKERS, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	permits = &shared->permits.semaphore;
	leases = &shared->leases.semaphore;
	assert_int_equal(mproc_semaphore_init(permits, MPROC_SEMAPHORE_PERMITS, N, NULL), 0);
	assert_int_equal(mproc_semaphore_init(leases, MPROC_SEMAPHORE_LEASES, 0,
					      MPROC_SEMAPHORE_OPTS(.leases = N)),
			 0);
	assert_int_equal(mproc_semaphore_init(&shared->there, MPROC_SEMAPHORE_SIGNALS, 0, NULL), 0);
	assert_int_equal(mproc_semaphore_init(&shared->back, MPROC_SEMAPHORE_SIGNALS, 0, NULL), 0);
	return mproc_mutex_init(&shared->mutex, 0);
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

/* Write @word into our line of the ledger, and count those who live and have one. */
static void note(size_t i, uint64_t word)
{
	uint64_t n = 0;

	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) >= 0);
	atomic_store(&shared->has[i], word);
	for (size_t k = 0; k < WORKERS; k++) {
		uint64_t other = atomic_load(&shared->has[k]);

		n += other && !mproc__dead(range.range, other);
	}
	if (n > N)
		atomic_fetch_add(&shared->too_many, 1);
	if (n > atomic_load(&shared->most))
		atomic_store(&shared->most, n);
	t_check(mproc_mutex_unlock(&shared->mutex) == 0);
}

static void use_permits(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;
	uint64_t random = i;
	struct mproc__self *me;

	alarm(0); /* its end is a SIGKILL */
	me = mproc__self(shared, "test");
	t_check(me);
	atomic_store(&shared->words[i], me->word);
	for (;;) {
		t_check(mproc_semaphore_acquire(permits, MPROC_FOREVER) == 0);
		note(i, me->word);
		if (t_random(&random) % 64 == 0)
			usleep(200);
		note(i, 0);
		t_check(mproc_semaphore_release(permits, 1) == 0);
		atomic_fetch_add(&shared->turns, 1);
	}
}

static void use_leases(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;
	uint64_t random = i;
	struct mproc__self *me;

	alarm(0);
	me = mproc__self(shared, "test");
	t_check(me);
	atomic_store(&shared->words[i], me->word);
	for (;;) {
		t_check(mproc_semaphore_acquire(leases, MPROC_FOREVER) == 0);
		if (t_random(&random) % 64 == 0)
			usleep(200);
		atomic_fetch_add(&shared->before[i], 1);
		t_check(mproc_semaphore_ack(leases) == 0);
		atomic_fetch_add(&shared->after[i], 1);
		atomic_fetch_add(&shared->turns, 1);
	}
}

static bool has_moved(void *arg)
{
	return atomic_load(&shared->turns) != *(uint64_t *)arg;
}

/* Return: whether it is left stopped. */
static bool stop(pid_t pid, size_t i, uint64_t *random)
{
	siginfo_t info = { 0 };
	uint64_t word;

	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT), 0);
	assert_int_equal(info.si_code, CLD_STOPPED);
	word = atomic_load(&shared->words[i]);
	if (word)
		assert_false(mproc__dead(range.range, word));
	if (t_random(random) % 2)
		return true;
	kill(pid, SIGCONT);
	return false;
}

struct storm {
	void (*work)(void *arg);
	uint32_t units; /* released each round */
	uint64_t released, kills, stops;
	int64_t worst;
};

static void rage(struct storm *storm)
{
	int64_t end = mproc_after_ms(t_long() ? 60000 : 3000);
	uint64_t random = t_seed();
	pid_t pids[WORKERS];

	for (size_t i = 0; i < WORKERS; i++)
		pids[i] = t_spawn(storm->work, (void *)i);
	while (mproc_now() < end || !storm->kills || !storm->stops) {
		size_t i = t_random(&random) % WORKERS;
		uint64_t turns;
		int64_t since;

		if (storm->units && mproc_semaphore_value(leases) < 100000) {
			assert_int_equal(mproc_semaphore_release(leases, storm->units), 0);
			storm->released += storm->units;
		}
		usleep(t_random(&random) % 3000);
		if (t_random(&random) % 4 == 0) {
			storm->stops++;
			if (stop(pids[i], i, &random) && t_random(&random) % 2)
				continue;
		}
		since = mproc_now();
		assert_int_equal(kill(pids[i], SIGKILL), 0);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
		storm->kills++;
		atomic_store(&shared->words[i], 0);
		pids[i] = t_spawn(storm->work, (void *)i);
		/* Others may be stopped with all there is: let them go before the clock runs. */
		for (size_t k = 0; k < WORKERS; k++)
			kill(pids[k], SIGCONT);
		turns = atomic_load(&shared->turns);
		if (storm->units) {
			assert_int_equal(mproc_semaphore_release(leases, storm->units), 0);
			storm->released += storm->units;
		}
		assert_true(t_wait_until(has_moved, &turns, mproc_after_ms(5000)));
		if (mproc_now() - since > storm->worst)
			storm->worst = mproc_now() - since;
	}
	for (size_t i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
	print_message("# %" PRIu64 " turns, %" PRIu64 " kills, %" PRIu64
		      " stops, longest from kill to progress %.1f ms\n",
		      shared->turns, storm->kills, storm->stops, (double)storm->worst / 1e6);
	assert_true(storm->kills > 0 && storm->stops > 0);
}

static void permits_in_living_hands_are_never_too_many_and_all_come_back(void **state)
{
	struct storm storm = { .work = use_permits };

	(void)state;
	rage(&storm);
	assert_int_equal(shared->too_many, 0);
	assert_int_equal(shared->most, N);
	assert_int_equal(mproc_semaphore_value(permits), N);
	for (int i = 0; i < N; i++)
		assert_int_equal(mproc_semaphore_acquire(permits, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_semaphore_acquire(permits, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_semaphore_release(permits, N), 0);
	assert_int_equal(mproc_semaphore_release(permits, 1), -ERANGE);
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
}

static void leased_units_are_done_with_once_each(void **state)
{
	struct storm storm = { .work = use_leases, .units = 1000 };
	uint64_t before = 0, after = 0, left = 0;
	int value;

	(void)state;
	rage(&storm);
	for (size_t i = 0; i < WORKERS; i++) {
		before += shared->before[i];
		after += shared->after[i];
	}
	value = mproc_semaphore_value(leases);
	while (mproc_semaphore_acquire(leases, MPROC_NOWAIT) == 0) {
		assert_int_equal(mproc_semaphore_ack(leases), 0);
		left++;
	}
	print_message("# %" PRIu64 " units, %" PRIu64 " done with, %" PRIu64 " in doubt, %" PRIu64
		      " left\n",
		      storm.released, after, before - after, left);
	assert_int_equal(left, value);
	/* Each kill leaves one unit in doubt at most. */
	assert_true(before - after <= storm.kills + WORKERS);
	assert_true(after + left <= storm.released);
	assert_true(before + left >= storm.released);
	assert_int_equal(mproc_semaphore_holders(leases, NULL, 0), 0);
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
}

static void sleep_for_good(void)
{
	atomic_store(&mproc__quantum_off, true);
	atomic_store(&mproc__polls_off, true);
	alarm(t_long() ? 900 : 100);
}

static void answer(void *arg)
{
	(void)arg;
	sleep_for_good();
	for (uint64_t i = 0; i < rounds; i++) {
		t_check(mproc_semaphore_acquire(&shared->there, MPROC_FOREVER) == 0);
		t_check(mproc_semaphore_release(&shared->back, 1) == 0);
	}
}

static void ask(void *arg)
{
	uint64_t left = rounds * 3;

	(void)arg;
	sleep_for_good();
	/* One, two or three at a time, for the three who answer. */
	for (uint32_t n = 1; left; n = n % 3 + 1) {
		uint32_t k = left < n ? (uint32_t)left : n;

		t_check(mproc_semaphore_release(&shared->there, k) == 0);
		for (uint32_t i = 0; i < k; i++)
			t_check(mproc_semaphore_acquire(&shared->back, MPROC_FOREVER) == 0);
		left -= k;
	}
}

static void signals_lose_no_wake_up(void **state)
{
	pid_t pids[4];

	(void)state;
	for (size_t i = 0; i < 3; i++)
		pids[i] = t_spawn(answer, NULL);
	pids[3] = t_spawn(ask, NULL);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(mproc_semaphore_value(&shared->there), 0);
	assert_int_equal(mproc_semaphore_value(&shared->back), 0);
	assert_int_equal(range.range->reg->heals, 0);
}

static void take_turns(void *arg)
{
	(void)arg;
	sleep_for_good();
	for (uint64_t i = 0; i < rounds; i++) {
		t_check(mproc_semaphore_acquire(permits, MPROC_FOREVER) == 0);
		t_check(mproc_semaphore_acquire(leases, MPROC_FOREVER) == 0);
		if (i % 16 == 0)
			usleep(1);
		t_check(mproc_semaphore_ack(leases) == 0);
		t_check(mproc_semaphore_release(leases, 1) == 0);
		t_check(mproc_semaphore_release(permits, 1) == 0);
	}
}

static void permits_and_leases_lose_no_wake_up(void **state)
{
	pid_t pids[WORKERS];

	(void)state;
	/* Fewer units than permits, fewer permits than workers: there is sleep for both. */
	assert_int_equal(mproc_semaphore_release(leases, N - 1), 0);
	rounds /= 4;
	for (size_t i = 0; i < WORKERS; i++)
		pids[i] = t_spawn(take_turns, NULL);
	for (size_t i = 0; i < WORKERS; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(mproc_semaphore_value(permits), N);
	assert_int_equal(mproc_semaphore_value(leases), N - 1);
	assert_int_equal(range.range->reg->heals, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(permits_in_living_hands_are_never_too_many_and_all_come_back),
		TEST(leased_units_are_done_with_once_each),
		TEST(signals_lose_no_wake_up),
		TEST(permits_and_leases_lose_no_wake_up),
	};

	return cmocka_run_group_tests_name("stress semaphore", tests, NULL, NULL);
}
