/* SPDX-License-Identifier: MIT */

/*
 * mproc/event.h, seen from outside
 */

#include <mproc/event.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/child.h"
#include "tests/support/range.h"

struct shared {
	mproc_event event;
	_Atomic(uint64_t) waiting;
};

static struct t_range range;
static struct shared *shared;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, 16, 32, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	return mproc_event_init(&shared->event, 0);
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

static void wait_ends_by_set_or_in_time(void **state)
{
	(void)state;
	assert_int_equal(mproc_event_is_set(&shared->event), 0);
	assert_int_equal(mproc_event_wait(&shared->event, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_event_wait(&shared->event, mproc_after_ms(10)), -ETIMEDOUT);
	assert_int_equal(mproc_event_wait(&shared->event, -5), -EINVAL);
	assert_int_equal(mproc_event_set(&shared->event), 0);
	assert_int_equal(mproc_event_set(&shared->event), 0);
	assert_int_equal(mproc_event_is_set(&shared->event), 1);
	assert_int_equal(mproc_event_wait(&shared->event, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_event_wait(&shared->event, MPROC_FOREVER), 0);
	assert_int_equal(mproc_event_clear(&shared->event), 0);
	assert_int_equal(mproc_event_is_set(&shared->event), 0);
	assert_int_equal(mproc_event_wait(&shared->event, MPROC_NOWAIT), -EAGAIN);
}

static void what_is_no_event_is_refused(void **state)
{
	mproc_event outside;

	(void)state;
	memset(&outside, 0, sizeof(outside));
	assert_int_equal(mproc_event_init(&outside, 0), -ENOTCONN);
	assert_int_equal(mproc_event_init(&shared->event, 4), -EINVAL);
	mproc_event_destroy(&shared->event);
	assert_int_equal(mproc_event_set(&shared->event), -EINVAL);
	assert_int_equal(mproc_event_clear(&shared->event), -EINVAL);
	assert_int_equal(mproc_event_is_set(&shared->event), -EINVAL);
	assert_int_equal(mproc_event_wait(&shared->event, MPROC_NOWAIT), -EINVAL);
}

static void wait_for_event(void *arg)
{
	(void)arg;
	atomic_fetch_add(&shared->waiting, 1);
	t_check(mproc_event_wait(&shared->event, MPROC_FOREVER) == 0);
}

static bool all_sleep(void *arg)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < range.range->n_threads; i++)
		n += atomic_load(&range.range->threads[i].waits_on) != 0;
	return n == (uint64_t)(uintptr_t)arg;
}

static void set_then_clear_is_never_missed_by_who_waits(void **state)
{
	pid_t pids[3];

	(void)state;
	for (size_t i = 0; i < 3; i++)
		pids[i] = t_spawn(wait_for_event, NULL);
	assert_true(t_wait_until(all_sleep, (void *)3, mproc_after_ms(5000)));
	assert_int_equal(mproc_event_set(&shared->event), 0);
	assert_int_equal(mproc_event_clear(&shared->event), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(t_reap(pids[i]), 0);
}

static void on_alarm(int signal)
{
	(void)signal;
	mproc_event_set(&shared->event);
}

static void set_works_in_a_signal_handler(void **state)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval timer = { .it_value.tv_usec = 20000 };

	(void)state;
	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
	assert_int_equal(mproc_event_wait(&shared->event, mproc_after_ms(5000)), 0);
	signal(SIGALRM, SIG_DFL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(wait_ends_by_set_or_in_time),
		TEST(what_is_no_event_is_refused),
		TEST(set_then_clear_is_never_missed_by_who_waits),
		TEST(set_works_in_a_signal_handler),
	};

	return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
