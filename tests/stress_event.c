/* SPDX-License-Identifier: MIT */

/*
 * Parking and unparking without a quantum
 *
 * With the quantum off a wake-up that is lost is a hang, and without polls every wait
 * parks. A round of each game needs every one of its wake-ups, so nothing is hidden.
 */

#include <mproc/event.h>

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

#define WAITERS 3

struct shared {
	mproc_event go[2], back[2]; /* used by turns */
	_Atomic(uint64_t) n_back;
};

static struct t_range range;
static struct shared *shared;
static uint64_t rounds;
static bool one_cpu;

static int setup(void **state)
{
	const char *wanted = getenv("MPROC_PARK_ROUNDS");

	(void)state;
	rounds = wanted ? strtoull(wanted, NULL, 10) : t_long() ? 2000000 : 100000;
	one_cpu = false;
	assert_int_equal(t_range_open(&range, 8, 16, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mproc_event_init(&shared->go[i], 0), 0);
		assert_int_equal(mproc_event_init(&shared->back[i], 0), 0);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

static void answer(void *arg)
{
	uint64_t n = (uint64_t)(uintptr_t)arg;

	alarm(250 + (unsigned)(rounds / 1000)); /* who is not woken is noticed far sooner */
	for (uint64_t i = 0; i < rounds; i++) {
		t_check(mproc_event_wait(&shared->go[i % 2], MPROC_FOREVER) == 0);
		if (atomic_fetch_add(&shared->n_back, 1) + 1 == n)
			t_check(mproc_event_set(&shared->back[i % 2]) == 0);
	}
}

static void stay_on_one_cpu(void)
{
	cpu_set_t all, one;
	int cpu = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

/* @n wait for us, we wait for the last of them. */
static void play(size_t n)
{
	cpu_set_t cpus;
	pid_t pids[WAITERS];

	assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
	if (one_cpu)
		stay_on_one_cpu();
	atomic_store(&mproc__quantum_off, true);
	atomic_store(&mproc__polls_off, true);
	for (size_t i = 0; i < n; i++)
		pids[i] = t_spawn(answer, (void *)n);
	for (uint64_t i = 0; i < rounds; i++) {
		atomic_store(&shared->n_back, 0);
		assert_int_equal(mproc_event_set(&shared->go[i % 2]), 0);
		assert_int_equal(mproc_event_wait(&shared->back[i % 2], mproc_after_ms(20000)), 0);
		assert_int_equal(mproc_event_clear(&shared->go[i % 2]), 0);
		assert_int_equal(mproc_event_clear(&shared->back[i % 2]), 0);
	}
	atomic_store(&mproc__quantum_off, false);
	atomic_store(&mproc__polls_off, false);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(range.range->reg->heals, 0);
	assert_int_equal(sched_setaffinity(0, sizeof(cpus), &cpus), 0);
}

static void two_that_wake_each_other_lose_no_wake_up(void **state)
{
	(void)state;
	play(1);
}

/* A round is two sleeps and two wake-ups: a million; ten times MPROC_PARK_ROUNDS. */
static void two_on_one_cpu_lose_no_wake_up(void **state)
{
	(void)state;
	rounds *= 5;
	one_cpu = true;
	play(1);
}

static void one_set_wakes_all_who_wait(void **state)
{
	(void)state;
	rounds /= 2;
	play(WAITERS);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(two_that_wake_each_other_lose_no_wake_up),
		TEST(two_on_one_cpu_lose_no_wake_up),
		TEST(one_set_wakes_all_who_wait),
	};

	return cmocka_run_group_tests_name("stress event", tests, NULL, NULL);
}
