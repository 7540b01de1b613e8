/* SPDX-License-Identifier: MIT */

/*
 * mproc/latch.h, seen from outside
 */

#include <mproc/latch.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "ipc/participant.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

struct shared {
	mproc_latch latch, none;
	_Atomic(uint64_t) work, through;
};

static struct t_range range;
static struct shared *shared;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, 16, 32, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	return mproc_latch_init(&shared->latch, 3);
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

static void counting_to_zero_opens_for_good(void **state)
{
	(void)state;
	assert_int_equal(sizeof(mproc_latch), 16);
	assert_int_equal(mproc_latch_count(&shared->latch), 3);
	assert_int_equal(mproc_latch_wait(&shared->latch, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_latch_wait(&shared->latch, mproc_after_ms(10)), -ETIMEDOUT);
	assert_int_equal(mproc_latch_count_down(&shared->latch, 0), 3);
	assert_int_equal(mproc_latch_count_down(&shared->latch, 1), 2);
	assert_int_equal(mproc_latch_wait(&shared->latch, 1), -ETIMEDOUT);
	assert_int_equal(mproc_latch_count_down(&shared->latch, 2), 0);
	assert_int_equal(mproc_latch_count(&shared->latch), 0);
	assert_int_equal(mproc_latch_wait(&shared->latch, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_latch_wait(&shared->latch, 1), 0);
	assert_int_equal(mproc_latch_wait(&shared->latch, MPROC_FOREVER), 0);
}

static void counting_below_zero_is_refused_and_changes_nothing(void **state)
{
	(void)state;
	assert_int_equal(mproc_latch_count_down(&shared->latch, 4), -ERANGE);
	assert_int_equal(mproc_latch_count_down(&shared->latch, UINT32_MAX), -ERANGE);
	assert_int_equal(mproc_latch_count(&shared->latch), 3);
	assert_int_equal(mproc_latch_count_down(&shared->latch, 3), 0);
	assert_int_equal(mproc_latch_count_down(&shared->latch, 1), -ERANGE);
	assert_int_equal(mproc_latch_count_down(&shared->latch, 0), 0);
	assert_int_equal(mproc_latch_count(&shared->latch), 0);
}

static void latch_begins_anywhere_from_zero_to_its_maximum(void **state)
{
	(void)state;
	assert_int_equal(mproc_latch_init(&shared->latch, 0), 0);
	assert_int_equal(mproc_latch_wait(&shared->latch, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_latch_init(&shared->latch, MPROC_LATCH_MAX), 0);
	assert_int_equal(mproc_latch_count(&shared->latch), MPROC_LATCH_MAX);
	assert_int_equal(mproc_latch_count_down(&shared->latch, 1), MPROC_LATCH_MAX - 1);
	assert_int_equal(mproc_latch_init(&shared->latch, (uint32_t)MPROC_LATCH_MAX + 1), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "2147483648"));
	assert_int_equal(mproc_latch_count(&shared->latch), MPROC_LATCH_MAX - 1);
}

static void what_is_no_latch_is_refused(void **state)
{
	mproc_latch outside;
	struct shared was;

	(void)state;
	memset(&outside, 0, sizeof(outside));
	assert_int_equal(mproc_latch_init(&outside, 1), -ENOTCONN);
	assert_int_equal(mproc_latch_wait(&outside, MPROC_NOWAIT), -ENOTCONN);
	assert_non_null(strstr(mproc_error_text(), "lies in no attached segment"));
	assert_int_equal(mproc_latch_init((void *)((char *)&shared->none + 4), 1), -EINVAL);
	assert_int_equal(mproc_latch_wait(&shared->latch, -1), -EINVAL);

	/* Memory that is something else. */
	memset(&shared->none, 0xa5, sizeof(shared->none));
	was = *shared;
	assert_int_equal(mproc_latch_count_down(&shared->none, 1), -EINVAL);
	assert_int_equal(mproc_latch_count(&shared->none), -EINVAL);
	assert_int_equal(mproc_latch_wait(&shared->none, MPROC_FOREVER), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "no latch at"));
	assert_memory_equal(&was, shared, sizeof(was));

	mproc_latch_destroy(&shared->latch);
	mproc_latch_destroy(NULL);
	assert_int_equal(mproc_latch_count_down(&shared->latch, 1), -EINVAL);
	assert_int_equal(mproc_latch_count(&shared->latch), -EINVAL);
	assert_int_equal(mproc_latch_wait(&shared->latch, MPROC_FOREVER), -EINVAL);
}

static void scribbled_count_is_neither_an_error_code_nor_a_hang(void **state)
{
	_Atomic(uint32_t) *count = (void *)&shared->latch;

	(void)state;
	atomic_store(count, 0xfffffff0u);
	assert_int_equal(mproc_latch_count(&shared->latch), MPROC_LATCH_MAX);
	assert_int_equal(mproc_latch_count_down(&shared->latch, 1), -ERANGE);
	assert_int_equal(mproc_latch_wait(&shared->latch, MPROC_NOWAIT), -EAGAIN);
}

static void wait_for_work(void *arg)
{
	(void)arg;
	t_check(mproc_latch_wait(&shared->latch, MPROC_FOREVER) == 0);
	t_check(atomic_load_explicit(&shared->work, memory_order_relaxed) == 3);
	atomic_fetch_add(&shared->through, 1);
}

static void do_a_part(void *arg)
{
	(void)arg;
	atomic_fetch_add_explicit(&shared->work, 1, memory_order_relaxed);
	t_check(mproc_latch_count_down(&shared->latch, 1) >= 0);
}

static bool all_sleep(void *arg)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < range.range->n_threads; i++)
		n += atomic_load(&range.range->threads[i].waits_on) != 0;
	return n == (uint64_t)(uintptr_t)arg;
}

static void last_part_lets_all_through_and_nobody_before(void **state)
{
	pid_t waiters[3], workers[3];

	(void)state;
	for (size_t i = 0; i < 3; i++)
		waiters[i] = t_spawn(wait_for_work, NULL);
	assert_true(t_wait_until(all_sleep, (void *)3, mproc_after_ms(5000)));
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(shared->through, 0);
		workers[i] = t_spawn(do_a_part, NULL);
		assert_int_equal(t_reap(workers[i]), 0);
	}
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(t_reap(waiters[i]), 0);
	assert_int_equal(range.range->reg->heals, 0);
}

static void wait_and_be_killed(void *arg)
{
	(void)arg;
	t_check(mproc_latch_wait(&shared->latch, MPROC_FOREVER) == 0);
}

static void killed_waiter_is_no_loss_to_others(void **state)
{
	pid_t dead, other;

	(void)state;
	dead = t_spawn(wait_and_be_killed, NULL);
	other = t_spawn(wait_and_be_killed, NULL);
	assert_true(t_wait_until(all_sleep, (void *)2, mproc_after_ms(5000)));
	assert_int_equal(kill(dead, SIGKILL), 0);
	assert_int_equal(t_reap(dead), SIGKILL);
	assert_int_equal(mproc_latch_count_down(&shared->latch, 3), 0);
	assert_int_equal(t_reap(other), 0);
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
}

static void on_alarm(int signal)
{
	(void)signal;
	mproc_latch_count_down(&shared->latch, 3);
}

static void count_down_works_in_a_signal_handler(void **state)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval timer = { .it_value.tv_usec = 20000 };

	(void)state;
	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
	assert_int_equal(mproc_latch_wait(&shared->latch, mproc_after_ms(5000)), 0);
	signal(SIGALRM, SIG_DFL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(counting_to_zero_opens_for_good),
		TEST(counting_below_zero_is_refused_and_changes_nothing),
		TEST(latch_begins_anywhere_from_zero_to_its_maximum),
		TEST(what_is_no_latch_is_refused),
		TEST(scribbled_count_is_neither_an_error_code_nor_a_hang),
		TEST(last_part_lets_all_through_and_nobody_before),
		TEST(killed_waiter_is_no_loss_to_others),
		TEST(count_down_works_in_a_signal_handler),
	};

	return cmocka_run_group_tests_name("latch", tests, NULL, NULL);
}
