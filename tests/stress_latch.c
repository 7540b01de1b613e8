/* SPDX-License-Identifier: MIT */

/*
 * The latch under SIGKILL at random
 *
 * Round by round, workers count a latch down by one for each part, and others wait for
 * it; both are killed. Every worker notes a count before and after it has made it, in
 * memory of its own, so what the latch says is known but for those who died between.
 */

#include <mproc/latch.h>

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/child.h"
#include "tests/support/range.h"

#define WORKERS 4
#define WAITERS 2
#define PARTS   4000

struct shared {
	mproc_latch latch;
	_Atomic(uint64_t) before[WORKERS], after[WORKERS];
	_Atomic(uint64_t) opened, early;
};

static struct t_range range;
static struct shared *shared;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, WORKERS + WAITERS + 2, 32, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

static void work(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;
	int r = 0;

	alarm(0); /* its end is a SIGKILL */
	for (;;) {
		atomic_fetch_add(&shared->before[i], 1);
		r = mproc_latch_count_down(&shared->latch, 1);
		if (r < 0)
			break;
		atomic_fetch_add(&shared->after[i], 1);
		if (r == 0)
			atomic_fetch_add(&shared->opened, 1);
		usleep(1);
	}
	atomic_fetch_sub(&shared->before[i], 1);
	for (;;)
		pause();
}

static void wait_for_it(void *arg)
{
	(void)arg;
	t_check(mproc_latch_wait(&shared->latch, MPROC_FOREVER) == 0);
	if (mproc_latch_count(&shared->latch) != 0)
		atomic_fetch_add(&shared->early, 1);
}

/* Return: kills. */
static uint64_t play(uint64_t *random)
{
	uint64_t sum_before = 0, sum_after = 0, kills = 0;
	pid_t workers[WORKERS], waiters[WAITERS];
	int64_t end = mproc_after_ms(20000);

	*shared = (struct shared){ 0 };
	assert_int_equal(mproc_latch_init(&shared->latch, PARTS), 0);
	for (size_t i = 0; i < WORKERS; i++)
		workers[i] = t_spawn(work, (void *)i);
	for (size_t i = 0; i < WAITERS; i++)
		waiters[i] = t_spawn(wait_for_it, NULL);
	while (mproc_latch_count(&shared->latch) > 0 && mproc_now() < end) {
		size_t i = t_random(random) % (WORKERS + 1);

		usleep(t_random(random) % 3000);
		if (i == WORKERS) {
			/* The first waiter is killed and killed; the others wait on. */
			kill(waiters[0], SIGKILL);
			t_reap(waiters[0]);
			waiters[0] = t_spawn(wait_for_it, NULL);
		} else {
			kill(workers[i], SIGKILL);
			assert_int_equal(t_reap(workers[i]), SIGKILL);
			workers[i] = t_spawn(work, (void *)i);
		}
		kills++;
	}
	for (size_t i = 0; i < WAITERS; i++)
		assert_int_equal(t_reap(waiters[i]), 0);
	for (size_t i = 0; i < WORKERS; i++) {
		kill(workers[i], SIGKILL);
		assert_int_equal(t_reap(workers[i]), SIGKILL);
		sum_before += shared->before[i];
		sum_after += shared->after[i];
	}
	assert_int_equal(mproc_latch_count(&shared->latch), 0);
	assert_true(sum_after <= PARTS);
	assert_true(sum_before >= PARTS);
	/* At most one count of each who died is in doubt. */
	assert_true(sum_before - sum_after <= kills + WORKERS);
	assert_true(shared->opened <= 1);
	assert_int_equal(shared->early, 0);
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
	return kills;
}

static void killed_workers_count_in_full_or_not_at_all(void **state)
{
	int64_t end = mproc_after_ms(t_long() ? 60000 : 3000);
	uint64_t random = t_seed(), rounds = 0, kills = 0;

	(void)state;
	while (mproc_now() < end) {
		kills += play(&random);
		rounds++;
	}
	print_message("# %" PRIu64 " latches of %d parts, %" PRIu64 " kills\n", rounds, PARTS,
		      kills);
	assert_true(kills > 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(killed_workers_count_in_full_or_not_at_all),
	};

	return cmocka_run_group_tests_name("stress latch", tests, NULL, NULL);
}
