/* SPDX-License-Identifier: MIT */

/*
 * mproc/timer.h, seen from outside
 */

#include <mproc/timer.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "tests/support/child.h"

#define N 2000

static _Atomic(int) go, begun, n_run;
static int64_t ran_at[N];
static _Atomic(int) order[N];

static int setup(void **state)
{
	(void)state;
	atomic_store(&go, 0);
	atomic_store(&begun, 0);
	atomic_store(&n_run, 0);
	return 0;
}

static void note(void *arg)
{
	int i = atomic_load(&n_run);

	ran_at[i] = mproc_now();
	atomic_store(&order[i], (int)(intptr_t)arg);
	atomic_store(&n_run, i + 1);
}

static mproc_timer *start(int64_t when, void (*fn)(void *arg), void *arg)
{
	mproc_timer *timer = NULL;

	assert_int_equal(mproc_timer_start(&timer, when, fn, arg), 0);
	assert_non_null(timer);
	return timer;
}

static bool is(void *arg)
{
	return atomic_load((_Atomic(int) *)arg) != 0;
}

/* The thread of the timers is busy until the test says go. */
static void block(void *arg)
{
	(void)arg;
	atomic_store(&begun, 1);
	t_wait_until(is, &go, mproc_after_ms(60000));
}

static mproc_timer *start_block(void)
{
	mproc_timer *timer = start(MPROC_NOWAIT, block, NULL);

	assert_true(t_wait_until(is, &begun, mproc_after_ms(60000)));
	return timer;
}

static void timer_runs_once_and_never_early(void **state)
{
	int64_t when = mproc_after_ms(30);
	mproc_timer *timer = start(when, note, NULL);

	(void)state;
	assert_int_equal(mproc_timer_join(timer, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_timer_join(timer, mproc_after_ms(1)), -ETIMEDOUT);
	assert_int_equal(mproc_timer_join(timer, -1), -EINVAL);
	assert_int_equal(mproc_timer_join(timer, mproc_after_ms(60000)), 0);
	assert_true(ran_at[0] >= when);
	assert_int_equal(mproc_timer_join(timer, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_timer_cancel(timer), 0);
	assert_null(mproc_timer_close(timer));
	usleep(20000);
	assert_int_equal(n_run, 1);
	assert_null(mproc_timer_close(NULL));
}

static void times_that_have_passed_run_at_once(void **state)
{
	mproc_timer *timer = start(1, note, NULL), *none = (void *)1;

	(void)state;
	assert_int_equal(mproc_timer_join(timer, mproc_after_ms(60000)), 0);
	mproc_timer_close(timer);
	timer = start(MPROC_NOWAIT, note, NULL);
	assert_int_equal(mproc_timer_join(timer, mproc_after_ms(60000)), 0);
	mproc_timer_close(timer);
	assert_int_equal(mproc_timer_start(&none, -1, note, NULL), -EINVAL);
	assert_ptr_equal(none, (void *)1);
	assert_int_equal(n_run, 2);
}

static void cancelled_timer_never_runs(void **state)
{
	mproc_timer *timer = start(mproc_after_ms(20), note, NULL);
	mproc_timer *never = start(MPROC_FOREVER, note, NULL);

	(void)state;
	assert_int_equal(mproc_timer_cancel(timer), 1);
	assert_int_equal(mproc_timer_cancel(timer), 0);
	assert_int_equal(mproc_timer_join(timer, MPROC_FOREVER), MPROC_TIMER_CANCELLED);
	assert_int_equal(mproc_timer_join(never, mproc_after_ms(50)), -ETIMEDOUT);
	assert_int_equal(n_run, 0);
	assert_int_equal(mproc_timer_cancel(never), 1);
	mproc_timer_close(timer);
	mproc_timer_close(never);
}

/* In the order of their times, those of one time in the order of their start. */
static void timers_run_in_order(void **state)
{
	static mproc_timer *timers[N];
	static int64_t when[N];
	mproc_timer *blocker = start_block();
	int64_t base = mproc_now();
	uint64_t seed = t_seed();
	int n_left = 0;

	(void)state;
	for (int i = 0; i < N; i++) {
		when[i] = base + (int64_t)(t_random(&seed) % 100);
		timers[i] = start(when[i], note, (void *)(intptr_t)i);
	}
	/* A third of them, from all places, leaves again. */
	for (int i = 0; i < N; i++) {
		if (t_random(&seed) % 3 == 0) {
			assert_int_equal(mproc_timer_cancel(timers[i]), 1);
			when[i] = -1;
		} else {
			n_left++;
		}
	}
	atomic_store(&go, 1);
	for (int i = 0; i < N; i++) {
		assert_int_equal(mproc_timer_join(timers[i], mproc_after_ms(60000)), when[i] < 0);
		mproc_timer_close(timers[i]);
	}
	mproc_timer_close(blocker);
	assert_int_equal(n_run, n_left);
	for (int i = 1; i < n_left; i++) {
		int a = order[i - 1], b = order[i];

		assert_true(when[a] >= 0 && when[b] >= 0);
		assert_true(when[a] < when[b] || (when[a] == when[b] && a < b));
	}
}

/* One that comes sooner than the first wakes the thread that sleeps for that. */
static void sooner_timer_does_not_wait_for_a_later_one(void **state)
{
	mproc_timer *later = start(mproc_after_ms(100000), note, NULL), *sooner;

	(void)state;
	usleep(20000);
	sooner = start(mproc_after_ms(10), note, NULL);
	assert_int_equal(mproc_timer_join(sooner, mproc_after_ms(60000)), 0);
	assert_int_equal(mproc_timer_cancel(later), 1);
	mproc_timer_close(later);
	mproc_timer_close(sooner);
}

struct self {
	mproc_timer *timer, *other;
	int cancelled, joined, joined_other;
};

static void look_at_itself(void *arg)
{
	struct self *self = arg;

	self->cancelled = mproc_timer_cancel(self->timer);
	self->joined = mproc_timer_join(self->timer, MPROC_FOREVER);
	self->joined_other = mproc_timer_join(self->other, MPROC_FOREVER);
	atomic_store(&begun, 1);
}

static void running_timer_is_not_cancelled_not_even_by_itself(void **state)
{
	struct self self = { .other = start(MPROC_FOREVER, note, NULL) };
	mproc_timer *blocker = start_block();

	(void)state;
	assert_int_equal(mproc_timer_cancel(blocker), 0);
	assert_int_equal(mproc_timer_join(blocker, MPROC_NOWAIT), -EAGAIN);
	atomic_store(&go, 1);
	assert_int_equal(mproc_timer_join(blocker, mproc_after_ms(60000)), 0);
	mproc_timer_close(blocker);

	/* The handle is there before the function can run. */
	assert_int_equal(mproc_timer_start(&self.timer, MPROC_NOWAIT, look_at_itself, &self), 0);
	assert_int_equal(mproc_timer_join(self.timer, mproc_after_ms(60000)), 0);
	assert_int_equal(self.cancelled, 0);
	assert_int_equal(self.joined, -EDEADLK);
	assert_int_equal(self.joined_other, -EDEADLK);
	mproc_timer_cancel(self.other);
	mproc_timer_close(self.other);
	mproc_timer_close(self.timer);
}

static void start_next(void *arg)
{
	mproc_timer **mine = arg;

	if (atomic_fetch_add(&n_run, 1) < 9) {
		mproc_timer_close(*mine);
		if (mproc_timer_start(mine, mproc_after_ns(100), start_next, mine) < 0)
			abort();
	} else {
		atomic_store(&begun, 1);
	}
}

static void function_may_close_its_timer_and_start_another(void **state)
{
	mproc_timer *timer;

	(void)state;
	assert_int_equal(mproc_timer_start(&timer, mproc_after_ms(1), start_next, &timer), 0);
	assert_true(t_wait_until(is, &begun, mproc_after_ms(60000)));
	assert_int_equal(n_run, 10);
	mproc_timer_close(timer);
}

static void look_at_mask(void *arg)
{
	sigset_t mask;

	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	*(int *)arg = sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM) &&
		      sigismember(&mask, SIGUSR1);
}

static void signals_are_blocked_in_the_function(void **state)
{
	int blocked = 0;
	mproc_timer *timer = start(MPROC_NOWAIT, look_at_mask, &blocked);
	sigset_t mask;

	(void)state;
	assert_int_equal(mproc_timer_join(timer, mproc_after_ms(60000)), 0);
	assert_int_equal(blocked, 1);
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	assert_false(sigismember(&mask, SIGINT));
	mproc_timer_close(timer);
}

static void end_the_thread(void *arg)
{
	(void)arg;
	pthread_exit(NULL);
}

static void function_that_ends_its_thread_ends_no_other_timer(void **state)
{
	mproc_timer *bad = start(MPROC_NOWAIT, end_the_thread, NULL);
	mproc_timer *good = start(mproc_after_ms(20), note, NULL);

	(void)state;
	assert_int_equal(mproc_timer_join(bad, mproc_after_ms(60000)), 0);
	assert_int_equal(mproc_timer_join(good, mproc_after_ms(60000)), 0);
	mproc_timer_close(bad);
	mproc_timer_close(good);
	/* Also if none was pending then. */
	bad = start(MPROC_NOWAIT, end_the_thread, NULL);
	assert_int_equal(mproc_timer_join(bad, mproc_after_ms(60000)), 0);
	mproc_timer_close(bad);
	good = start(mproc_after_ms(1), note, NULL);
	assert_int_equal(mproc_timer_join(good, mproc_after_ms(60000)), 0);
	mproc_timer_close(good);
}

static void *cancel_many(void *arg)
{
	mproc_timer **timers = arg;
	intptr_t n = 0;

	for (int i = 0; i < N; i++)
		n += mproc_timer_cancel(timers[i]);
	return (void *)n;
}

/* Each is cancelled by one of two, or runs: never both, never neither. */
static void cancelling_and_running_exclude_each_other(void **state)
{
	static mproc_timer *timers[N];
	pthread_t threads[2];
	intptr_t n = 0;
	void *r;

	(void)state;
	for (int i = 0; i < N; i++)
		timers[i] = start(mproc_after_us(i / 2), note, NULL);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, cancel_many, timers), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(threads[i], &r), 0);
		n += (intptr_t)r;
	}
	for (int i = 0; i < N; i++) {
		assert_true(mproc_timer_join(timers[i], mproc_after_ms(60000)) >= 0);
		mproc_timer_close(timers[i]);
	}
	assert_int_equal(n + n_run, N);
}

static mproc_timer *parents[2];

static void have_none(void *arg)
{
	mproc_timer *timer;

	(void)arg;
	for (int i = 0; i < 2; i++) {
		t_check(mproc_timer_cancel(parents[i]) == -ESRCH);
		t_check(mproc_timer_join(parents[i], MPROC_FOREVER) == -ESRCH);
		t_check(strstr(mproc_error_text(), "of the parent process"));
		t_check(!mproc_timer_close(parents[i]));
	}
	t_check(mproc_timer_start(&timer, mproc_after_ms(5), note, NULL) == 0);
	t_check(mproc_timer_join(timer, mproc_after_ms(50000)) == 0);
	/* Past the time of the parent's. */
	usleep(100000);
	t_check(atomic_load(&n_run) == 1);
}

static void forked_child_has_none_of_its_parents_timers(void **state)
{
	(void)state;
	parents[0] = start_block();
	parents[1] = start(mproc_after_ms(50), note, NULL);
	assert_int_equal(t_reap(t_spawn(have_none, NULL)), 0);
	atomic_store(&go, 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mproc_timer_join(parents[i], mproc_after_ms(60000)), 0);
		mproc_timer_close(parents[i]);
	}
	assert_int_equal(n_run, 1);
}

static void use_own_timers(void *arg)
{
	mproc_timer *timer;

	(void)arg;
	/* This is the thread of the timers: they run when its function returns. */
	t_check(mproc_timer_start(&timer, MPROC_NOWAIT, note, NULL) == 0);
	t_check(mproc_timer_join(timer, MPROC_FOREVER) == -EDEADLK);
	t_check(mproc_timer_cancel(timer) == 1);
}

static void fork_here(void *arg)
{
	*(int *)arg = t_reap(t_spawn(use_own_timers, NULL));
}

static void function_may_fork(void **state)
{
	int r = -1;
	mproc_timer *timer = start(MPROC_NOWAIT, fork_here, &r);

	(void)state;
	assert_int_equal(mproc_timer_join(timer, mproc_after_ms(60000)), 0);
	assert_int_equal(r, 0);
	mproc_timer_close(timer);
}

static void run_one(void *arg)
{
	mproc_timer *timer;

	(void)arg;
	t_check(mproc_timer_start(&timer, mproc_after_us(10), note, NULL) == 0);
	t_check(mproc_timer_join(timer, mproc_after_ms(50000)) == 0);
}

static void *churn(void *arg)
{
	(void)arg;
	while (!atomic_load(&go)) {
		mproc_timer *timer;

		if (mproc_timer_start(&timer, mproc_after_us(100), end_the_thread, NULL) < 0)
			continue;
		mproc_timer_cancel(timer);
		mproc_timer_close(timer);
	}
	return NULL;
}

static void fork_at_any_moment_leaves_the_child_whole(void **state)
{
	int rounds = t_long() ? 1000 : 50;
	pthread_t thread;

	(void)state;
	if (t_sanitized()) {
		print_message("# left out: a sanitizer's own locks are not fit for that\n");
		return;
	}
	assert_int_equal(pthread_create(&thread, NULL, churn, NULL), 0);
	for (int i = 0; i < rounds; i++)
		assert_int_equal(t_reap(t_spawn(run_one, NULL)), 0);
	atomic_store(&go, 1);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void end_with_a_timer(void *arg)
{
	(void)arg;
	t_check(mproc_timer_start(NULL, MPROC_FOREVER, note, NULL) == 0);
	t_check(mproc_timer_start(NULL, mproc_after_ms(40000), note, NULL) == 0);
	exit(0);
}

static void process_does_not_wait_for_timers(void **state)
{
	int64_t began = mproc_now();

	(void)state;
	assert_int_equal(t_reap(t_spawn(end_with_a_timer, NULL)), 0);
	assert_true(mproc_now() - began < INT64_C(30000000000));
}

#define TEST(fn) cmocka_unit_test_setup(fn, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(timer_runs_once_and_never_early),
		TEST(times_that_have_passed_run_at_once),
		TEST(cancelled_timer_never_runs),
		TEST(timers_run_in_order),
		TEST(sooner_timer_does_not_wait_for_a_later_one),
		TEST(running_timer_is_not_cancelled_not_even_by_itself),
		TEST(function_may_close_its_timer_and_start_another),
		TEST(signals_are_blocked_in_the_function),
		TEST(function_that_ends_its_thread_ends_no_other_timer),
		TEST(cancelling_and_running_exclude_each_other),
		TEST(forked_child_has_none_of_its_parents_timers),
		TEST(function_may_fork),
		TEST(fork_at_any_moment_leaves_the_child_whole),
		TEST(process_does_not_wait_for_timers),
	};

	return cmocka_run_group_tests_name("timer", tests, NULL, NULL);
}
