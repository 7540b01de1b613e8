/* SPDX-License-Identifier: MIT */

/*
 * mproc/once.h, seen from outside and from beside a dead runner
 */

#include <mproc/once.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "ipc/participant.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

struct shared {
	mproc_once once, none;
	_Atomic(uint64_t) runs, inside, overlaps, ran, zero, go;
};

static struct t_range range;
static struct shared *shared;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, 16, 32, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	return mproc_once_init(&shared->once, 0);
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

static int count(void *arg)
{
	atomic_fetch_add(&shared->runs, 1);
	return (int)(intptr_t)arg;
}

static void first_one_runs_and_the_others_do_not(void **state)
{
	(void)state;
	assert_int_equal(sizeof(mproc_once), 16);
	assert_int_equal(mproc_once_is_done(&shared->once), 0);
	assert_int_equal(mproc_once_run(&shared->once, count, NULL, MPROC_NOWAIT), MPROC_ONCE_RAN);
	assert_int_equal(mproc_once_is_done(&shared->once), 1);
	assert_int_equal(mproc_once_run(&shared->once, count, NULL, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_once_run(&shared->once, count, NULL, 1), 0);
	assert_int_equal(mproc_once_run(&shared->once, count, NULL, MPROC_FOREVER), 0);
	assert_int_equal(shared->runs, 1);
}

static void what_failed_is_run_again_and_told(void **state)
{
	(void)state;
	assert_int_equal(mproc_once_run(&shared->once, count, (void *)-ENOSPC, MPROC_FOREVER),
			 -ENOSPC);
	assert_int_equal(mproc_once_is_done(&shared->once), 0);
	assert_int_equal(mproc_once_run(&shared->once, count, (void *)-EIO, MPROC_FOREVER), -EIO);
	/* Whatever is not negative is done. */
	assert_int_equal(mproc_once_run(&shared->once, count, (void *)17, MPROC_FOREVER),
			 MPROC_ONCE_RAN);
	assert_int_equal(mproc_once_run(&shared->once, count, (void *)-EIO, MPROC_FOREVER), 0);
	assert_int_equal(shared->runs, 3);
}

static int ask_for_itself(void *arg)
{
	(void)arg;
	return mproc_once_run(&shared->once, count, NULL, MPROC_FOREVER);
}

static void asking_for_it_from_inside_is_a_deadlock_that_is_told(void **state)
{
	(void)state;
	assert_int_equal(mproc_once_run(&shared->once, ask_for_itself, NULL, MPROC_FOREVER),
			 -EDEADLK);
	assert_non_null(strstr(mproc_error_text(), "asks for itself"));
	assert_int_equal(shared->runs, 0);
	assert_int_equal(mproc_once_run(&shared->once, count, NULL, MPROC_NOWAIT), MPROC_ONCE_RAN);
}

static void what_is_no_once_is_refused(void **state)
{
	mproc_once outside;
	struct shared was;

	(void)state;
	memset(&outside, 0, sizeof(outside));
	assert_int_equal(mproc_once_init(&outside, 0), -ENOTCONN);
	assert_int_equal(mproc_once_run(&outside, count, NULL, MPROC_NOWAIT), -ENOTCONN);
	assert_non_null(strstr(mproc_error_text(), "lies in no attached segment"));
	assert_int_equal(mproc_once_init(&shared->once, 2), -EINVAL);
	assert_int_equal(mproc_once_init((void *)((char *)&shared->none + 4), 0), -EINVAL);
	assert_int_equal(mproc_once_run(&shared->once, count, NULL, -1), -EINVAL);
	assert_int_equal(mproc_once_run(&shared->once, NULL, NULL, MPROC_FOREVER), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "no function"));

	/* Memory that is something else. */
	memset(&shared->none, 0xa5, sizeof(shared->none));
	was = *shared;
	assert_int_equal(mproc_once_run(&shared->none, count, NULL, MPROC_FOREVER), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "no once at"));
	assert_int_equal(mproc_once_is_done(&shared->none), -EINVAL);
	assert_memory_equal(&was, shared, sizeof(was));

	mproc_once_destroy(&shared->once);
	mproc_once_destroy(NULL);
	assert_int_equal(mproc_once_run(&shared->once, count, NULL, MPROC_FOREVER), -EINVAL);
	assert_int_equal(mproc_once_is_done(&shared->once), -EINVAL);
	assert_int_equal(shared->runs, 0);
}

static void misuse_of_what_is_done_is_told_as_well(void **state)
{
	(void)state;
	assert_int_equal(mproc_once_run(&shared->once, count, NULL, MPROC_FOREVER), MPROC_ONCE_RAN);
	assert_int_equal(mproc_once_run(&shared->once, count, NULL, -1), -EINVAL);
	assert_int_equal(mproc_once_run(&shared->once, NULL, NULL, MPROC_FOREVER), -EINVAL);
}

static int run_and_die(void *arg)
{
	(void)arg;
	atomic_fetch_add(&shared->runs, 1);
	raise(SIGKILL);
	return 0;
}

static void die_as_runner(void *arg)
{
	(void)arg;
	(void)!mproc_once_run(&shared->once, run_and_die, NULL, MPROC_FOREVER);
}

static void runner_that_dies_leaves_it_to_the_next(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(t_reap(t_spawn(die_as_runner, NULL)), SIGKILL);
	assert_int_equal(shared->runs, 3);
	assert_int_equal(mproc_once_is_done(&shared->once), 0);
	assert_int_equal(mproc_once_run(&shared->once, count, NULL, MPROC_NOWAIT), MPROC_ONCE_RAN);
	assert_int_equal(mproc_once_run(&shared->once, count, NULL, MPROC_NOWAIT), 0);
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
}

static int end_thread(void *arg)
{
	(void)arg;
	pthread_exit(NULL);
}

static void *end_as_runner(void *arg)
{
	(void)arg;
	(void)!mproc_once_run(&shared->once, end_thread, NULL, MPROC_FOREVER);
	return NULL;
}

static void runner_whose_thread_ends_leaves_it_to_the_next(void **state)
{
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, end_as_runner, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(mproc_once_run(&shared->once, count, NULL, MPROC_NOWAIT), MPROC_ONCE_RAN);
}

static bool may_go(void *arg)
{
	(void)arg;
	return atomic_load(&shared->go) == 1;
}

static int run_when_told(void *arg)
{
	(void)arg;
	atomic_store(&shared->inside, 1);
	return t_wait_until(may_go, NULL, mproc_after_ms(20000)) ? 0 : -ETIMEDOUT;
}

static void be_runner(void *arg)
{
	(void)arg;
	t_check(mproc_once_run(&shared->once, run_when_told, NULL, MPROC_FOREVER) ==
		MPROC_ONCE_RAN);
}

static bool somebody_is_inside(void *arg)
{
	(void)arg;
	return atomic_load(&shared->inside) == 1;
}

static void wait_for_runner(void *arg)
{
	(void)arg;
	t_check(mproc_once_run(&shared->once, count, NULL, MPROC_FOREVER) == 0);
	t_check(mproc_once_is_done(&shared->once) == 1);
}

static void others_wait_in_time_also_for_a_stopped_runner(void **state)
{
	pid_t runner = t_spawn(be_runner, NULL), waiters[3];

	(void)state;
	assert_true(t_wait_until(somebody_is_inside, NULL, mproc_after_ms(5000)));
	assert_int_equal(mproc_once_run(&shared->once, count, NULL, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_once_run(&shared->once, count, NULL, mproc_after_ms(20)),
			 -ETIMEDOUT);
	assert_int_equal(kill(runner, SIGSTOP), 0);
	assert_int_equal(mproc_once_run(&shared->once, count, NULL, mproc_after_ms(200)),
			 -ETIMEDOUT);
	assert_int_equal(kill(runner, SIGCONT), 0);
	for (size_t i = 0; i < 3; i++)
		waiters[i] = t_spawn(wait_for_runner, NULL);
	usleep(20000);
	atomic_store(&shared->go, 1);
	assert_int_equal(t_reap(runner), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(t_reap(waiters[i]), 0);
	assert_int_equal(shared->runs, 0);
	assert_int_equal(range.range->reg->heals, 0);
}

static int fork_inside(void *arg)
{
	*(pid_t *)arg = fork();
	return 0;
}

static void forker(void *arg)
{
	pid_t child = -1;
	int r = mproc_once_run(&shared->once, fork_inside, &child, MPROC_FOREVER);

	(void)arg;
	if (child == 0) {
		/* Not done by us: our parent may still fail. */
		t_check(r == -EPERM);
		t_check(strstr(mproc_error_text(), "forked from"));
		_exit(0);
	}
	t_check(r == MPROC_ONCE_RAN);
	t_check(t_reap(child) == 0);
}

static void child_forked_inside_is_not_the_runner(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(forker, NULL)), 0);
	assert_int_equal(mproc_once_is_done(&shared->once), 1);
}

static int run_alone(void *arg)
{
	(void)arg;
	if (atomic_fetch_add(&shared->inside, 1) != 0)
		atomic_fetch_add(&shared->overlaps, 1);
	atomic_fetch_add(&shared->runs, 1);
	usleep(1000);
	atomic_fetch_sub(&shared->inside, 1);
	return 0;
}

static void *thread_runs(void *arg)
{
	int r;

	mproc__identity_act(arg);
	r = mproc_once_run(&shared->once, run_alone, NULL, MPROC_FOREVER);
	atomic_fetch_add(r == MPROC_ONCE_RAN ? &shared->ran : &shared->zero, 1);
	mproc__identity_act(NULL);
	return NULL;
}

static void one_of_many_threads_runs(void **state)
{
	struct mproc__identity *who[4];
	pthread_t threads[4];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(mproc__identity_new(&who[i], range.range), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, thread_runs, who[i]), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (size_t i = 0; i < 4; i++)
		mproc__identity_kill(who[i]);
	assert_int_equal(shared->runs, 1);
	assert_int_equal(shared->overlaps, 0);
	assert_int_equal(shared->ran, 1);
	assert_int_equal(shared->zero, 3);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(first_one_runs_and_the_others_do_not),
		TEST(what_failed_is_run_again_and_told),
		TEST(asking_for_it_from_inside_is_a_deadlock_that_is_told),
		TEST(what_is_no_once_is_refused),
		TEST(misuse_of_what_is_done_is_told_as_well),
		TEST(runner_that_dies_leaves_it_to_the_next),
		TEST(runner_whose_thread_ends_leaves_it_to_the_next),
		TEST(others_wait_in_time_also_for_a_stopped_runner),
		TEST(child_forked_inside_is_not_the_runner),
		TEST(one_of_many_threads_runs),
	};

	return cmocka_run_group_tests_name("once", tests, NULL, NULL);
}
