/* SPDX-License-Identifier: MIT */

/*
 * The barrier under SIGKILL and SIGSTOP at random
 *
 * Parties count their phases in a row of cells and go through the barrier after each.
 * Whoever is released finds all the others no further than one phase from himself.
 */

#include <mproc/barrier.h>

#include <errno.h>
#include <inttypes.h>
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

#define PARTIES 5

struct shared {
	MPROC_BARRIER_WITH(PARTIES) start;
	_Atomic(uint64_t) at[PARTIES]; /* phases each has begun; 0: it is not in it */
	_Atomic(uint64_t) phases, broken, wrong, parks;
};

static struct t_range range;
static struct shared *shared;
static mproc_barrier *barrier;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, PARTIES + 3, 2 * PARTIES, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	barrier = &shared->start.barrier;
	return mproc_barrier_init(barrier, PARTIES, 0);
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

static int count_phase(void *arg)
{
	(void)arg;
	atomic_fetch_add(&shared->phases, 1);
	return 0;
}

/* All are as far as we are: they have begun what we have, and nothing after the next. */
static void look_at_others(uint64_t mine)
{
	for (size_t i = 0; i < PARTIES; i++) {
		uint64_t at = atomic_load(&shared->at[i]);

		if (at && at != mine && at != mine + 1)
			atomic_fetch_add(&shared->wrong, 1);
	}
}

static void work(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;
	uint64_t random = i + 1, mine = 0;

	/* Its end is a SIGKILL. */
	alarm(0);
	for (;;) {
		int r;

		atomic_store(&shared->at[i], ++mine);
		if (t_random(&random) % 64 == 0)
			usleep(200);
		r = mproc_barrier_wait(barrier, count_phase, NULL, MPROC_FOREVER);
		if (r < 0) {
			t_check(r == -EPIPE);
			atomic_store(&shared->at[i], 0);
			atomic_fetch_add(&shared->broken, 1);
			return;
		}
		look_at_others(mine);
	}
}

static bool has_moved(void *arg)
{
	return atomic_load(&shared->phases) != *(uint64_t *)arg;
}

static void stop_and_look(pid_t pid)
{
	siginfo_t info = { 0 };
	uint64_t phases;

	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT), 0);
	if (info.si_code != CLD_STOPPED)
		return;
	/* It lives: at most the phase that it has arrived for can go by without it. */
	phases = atomic_load(&shared->phases);
	usleep(15000);
	assert_true(atomic_load(&shared->phases) - phases <= 1);
	assert_int_equal(mproc_barrier_is_broken(barrier), 0);
	assert_int_equal(kill(pid, SIGCONT), 0);
}

/* One is killed: all others are told, and a reset starts them again. */
static void one_death_is_told_to_all_others(void **state)
{
	int64_t end = mproc_after_ms(t_long() ? 60000 : 3000);
	uint64_t random = t_seed(), rounds = 0, phases;
	pid_t pids[PARTIES];

	(void)state;
	while (mproc_now() < end) {
		size_t victim = t_random(&random) % PARTIES;

		for (size_t i = 0; i < PARTIES; i++)
			atomic_store(&shared->at[i], 0);
		assert_int_equal(mproc_barrier_reset(barrier), 0);
		atomic_store(&shared->broken, 0);
		phases = atomic_load(&shared->phases);
		for (size_t i = 0; i < PARTIES; i++)
			pids[i] = t_spawn(work, (void *)i);
		assert_true(t_wait_until(has_moved, &phases, mproc_after_ms(10000)));
		usleep(t_random(&random) % 3000);
		if (t_random(&random) % 4 == 0)
			stop_and_look(pids[t_random(&random) % PARTIES]);
		assert_int_equal(kill(pids[victim], SIGKILL), 0);
		for (size_t i = 0; i < PARTIES; i++)
			assert_int_equal(t_reap(pids[i]), i == victim ? SIGKILL : 0);
		assert_int_equal(atomic_load(&shared->broken), PARTIES - 1);
		assert_int_equal(mproc_barrier_is_broken(barrier), 1);
		rounds++;
	}
	print_message("# %" PRIu64 " phases, %" PRIu64 " kills\n", shared->phases, rounds);
	assert_int_equal(shared->wrong, 0);
	assert_true(rounds > 3);
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
}

static void work_until_alone(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;
	uint64_t mine = 0;

	alarm(0);
	t_check(mproc_barrier_join(barrier) == 0);
	for (;;) {
		atomic_store(&shared->at[i], ++mine);
		t_check(mproc_barrier_wait(barrier, count_phase, NULL, MPROC_FOREVER) >= 0);
	}
}

static bool so_many_parties(void *arg)
{
	return mproc_barrier_n_parties(barrier) == (int)(intptr_t)arg;
}

/* One after the other is killed, and the rest go on; then substitutes join. */
static void others_go_on_without_the_dead(void **state)
{
	int64_t end = mproc_after_ms(t_long() ? 60000 : 3000);
	uint64_t random = t_seed(), kills = 0, broken = 0, phases;
	pid_t pids[PARTIES];

	(void)state;
	while (mproc_now() < end) {
		assert_int_equal(mproc_barrier_init(barrier, PARTIES, MPROC_BARRIER_SHRINK), 0);
		for (size_t i = 0; i < PARTIES; i++)
			pids[i] = t_spawn(work_until_alone, (void *)i);
		for (size_t n = PARTIES; n > 1; n--) {
			phases = atomic_load(&shared->phases);
			if (!t_wait_until(has_moved, &phases, mproc_after_ms(10000)))
				break;
			usleep(t_random(&random) % 3000);
			assert_int_equal(kill(pids[n - 1], SIGKILL), 0);
			assert_int_equal(t_reap(pids[n - 1]), SIGKILL);
			kills++;
			/* Killed in its action, which nobody else can have run to its end. */
			if (!t_wait_until(so_many_parties, (void *)(intptr_t)(n - 1),
					  mproc_after_ms(10000))) {
				assert_int_equal(mproc_barrier_is_broken(barrier), 1);
				break;
			}
		}
		broken += mproc_barrier_is_broken(barrier) == 1;
		for (size_t i = 0; i < PARTIES; i++)
			kill(pids[i], SIGKILL);
		while (waitpid(-1, NULL, 0) > 0)
			;
		assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
	}
	print_message("# %" PRIu64 " phases, %" PRIu64 " kills, %" PRIu64
		      " of them in the action\n",
		      shared->phases, kills, broken);
	/* Under a sanitizer actions take longer, so that more are killed in one. */
	assert_true(t_sanitized() ? kills > 2 && broken < kills : kills > 10 && broken < kills / 2);
}

static uint64_t rounds;

/* Without a quantum, and no polls: who must wait sleeps until somebody wakes him. */
static void park(void *arg)
{
	struct rusage usage;

	(void)arg;
	alarm(t_long() ? 600 : 60);
	atomic_store(&mproc__quantum_off, true);
	atomic_store(&mproc__polls_off, true);
	for (uint64_t i = 0; i < rounds; i++)
		t_check(mproc_barrier_wait(barrier, count_phase, NULL, MPROC_FOREVER) >= 0);
	getrusage(RUSAGE_SELF, &usage);
	atomic_fetch_add(&shared->parks, (uint64_t)usage.ru_nvcsw);
}

static void parked_processes_are_all_woken_without_a_quantum(void **state)
{
	pid_t pids[PARTIES];

	(void)state;
	rounds = t_long() ? 1000000 : 20000;
	for (size_t i = 0; i < PARTIES; i++)
		pids[i] = t_spawn(park, NULL);
	for (size_t i = 0; i < PARTIES; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	print_message("# %" PRIu64 " phases, %" PRIu64 " sleeps\n", rounds, shared->parks);
	assert_int_equal(shared->phases, rounds);
	assert_int_equal(range.range->reg->heals, 0);
	assert_true(shared->parks > rounds);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_death_is_told_to_all_others),
		TEST(others_go_on_without_the_dead),
		TEST(parked_processes_are_all_woken_without_a_quantum),
	};

	return cmocka_run_group_tests_name("stress barrier", tests, NULL, NULL);
}
