/* SPDX-License-Identifier: MIT */

/*
 * The recursive mutex under SIGKILL at random, at any depth
 *
 * Under it lie numbers that are equal whenever it is free. Workers enter it up to five
 * deep and count them up on the way out.
 */

#include <mproc/rmutex.h>

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/participant.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

#define WORKERS 5
#define NUMBERS 5

struct shared {
	mproc_rmutex rmutex;
	_Atomic(uint64_t) numbers[NUMBERS];
	_Atomic(uint64_t) sections, inherited, broken;
};

static struct t_range range;
static struct shared *shared;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, WORKERS + 2, 2 * WORKERS, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	return mproc_rmutex_init(&shared->rmutex, 0);
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

/* Enter, and put in order what a dead owner left. */
static void enter(void)
{
	int told = mproc_rmutex_lock(&shared->rmutex, MPROC_FOREVER);

	t_check(told >= 0 && mproc_rmutex_depth(&shared->rmutex) == 1);
	for (size_t i = 1; i < NUMBERS; i++) {
		if (shared->numbers[i] == shared->numbers[0])
			continue;
		if (told == 0)
			atomic_fetch_add(&shared->broken, 1);
		shared->numbers[i] = shared->numbers[0];
	}
	if (told) {
		atomic_fetch_add(&shared->inherited, 1);
		t_check(mproc_rmutex_consistent(&shared->rmutex) == 0);
	}
}

static void count(int depth, uint64_t *random)
{
	if (depth < NUMBERS - 1) {
		t_check(mproc_rmutex_lock(&shared->rmutex, MPROC_FOREVER) == 0);
		count(depth + 1, random);
		t_check(mproc_rmutex_unlock(&shared->rmutex) == 0);
	}
	shared->numbers[depth]++;
	if (t_random(random) % 256 == 0)
		usleep(200);
}

static void section(uint64_t *random)
{
	enter();
	count(0, random);
	t_check(mproc_rmutex_depth(&shared->rmutex) == 1);
	t_check(mproc_rmutex_unlock(&shared->rmutex) == 0);
}

static void work(void *arg)
{
	uint64_t random = (uint64_t)(uintptr_t)arg;

	/* Its end is a SIGKILL. */
	alarm(0);
	for (;;) {
		section(&random);
		atomic_fetch_add(&shared->sections, 1);
	}
}

static bool has_moved(void *arg)
{
	return atomic_load(&shared->sections) != *(uint64_t *)arg;
}

static void owners_that_are_killed_at_any_depth_break_nothing(void **state)
{
	int64_t end;
	uint64_t random = t_seed(), sections, kills = 0;
	pid_t pids[WORKERS];

	(void)state;
	for (size_t i = 0; i < WORKERS; i++)
		pids[i] = t_spawn(work, (void *)(i + 1));
	end = mproc_after_ms(t_long() ? 60000 : 2000);
	while (mproc_now() < end) {
		size_t i = t_random(&random) % WORKERS;

		usleep(t_random(&random) % 3000);
		assert_int_equal(kill(pids[i], SIGKILL), 0);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
		kills++;
		pids[i] = t_spawn(work, (void *)(i + 1 + 100 * kills));
		sections = atomic_load(&shared->sections);
		assert_true(t_wait_until(has_moved, &sections, mproc_after_ms(10000)));
	}
	for (size_t i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
	section(&random);
	print_message("# %" PRIu64 " sections, %" PRIu64 " kills, %" PRIu64 " inherited\n",
		      shared->sections, kills, shared->inherited);
	assert_int_equal(shared->broken, 0);
	assert_true(kills > 0 && shared->inherited > 0);
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(owners_that_are_killed_at_any_depth_break_nothing),
	};

	return cmocka_run_group_tests_name("stress rmutex", tests, NULL, NULL);
}
