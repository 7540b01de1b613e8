/* SPDX-License-Identifier: MIT */

/*
 * mproc/local.h, seen from outside
 */

#include <mproc/local.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/mutex.h>
#include <mproc/thread.h>

#include "tests/support/child.h"
#include "tests/support/range.h"

static _Atomic(int) n_made, n_destroyed, n_begun, go;
static _Atomic(uintptr_t) last_destroyed;

static int setup(void **state)
{
	(void)state;
	atomic_store(&n_made, 0);
	atomic_store(&n_destroyed, 0);
	atomic_store(&n_begun, 0);
	atomic_store(&go, 0);
	return 0;
}

/* A number of its own, in memory of its own. */
static int make(void **ret, void *arg)
{
	_Atomic(int) *value = malloc(sizeof(*value));

	(void)arg;
	atomic_init(value, atomic_fetch_add(&n_made, 1) + 1);
	*ret = value;
	return 0;
}

static void drop(void *value, void *arg)
{
	(void)arg;
	atomic_store(&last_destroyed, (uintptr_t)value);
	atomic_fetch_add(&n_destroyed, 1);
	free(value);
}

static mproc_local *with(const struct mproc_local_opts *opts)
{
	mproc_local *local = NULL;

	assert_int_equal(mproc_local_create(&local, opts), 0);
	assert_non_null(local);
	return local;
}

static void *get(mproc_local *local)
{
	void *value = (void *)1;

	assert_int_equal(mproc_local_get(local, &value), 0);
	return value;
}

static void *see_none_and_set_one(void *arg)
{
	void *value = arg;
	int own;

	if (mproc_local_get(arg, &value) != 0 || value)
		return (void *)1;
	if (mproc_local_set(arg, &own) != 0 || mproc_local_get(arg, &value) != 0)
		return (void *)2;
	return value == &own ? NULL : (void *)3;
}

static void run_thread(void *(*fn)(void *arg), void *arg)
{
	pthread_t thread;
	void *r;

	assert_int_equal(pthread_create(&thread, NULL, fn, arg), 0);
	assert_int_equal(pthread_join(thread, &r), 0);
	assert_null(r);
}

static void each_thread_has_its_own_value(void **state)
{
	mproc_local *local = with(NULL);
	int own;

	(void)state;
	assert_null(get(local));
	assert_int_equal(mproc_local_set(local, &own), 0);
	run_thread(see_none_and_set_one, local);
	assert_ptr_equal(get(local), &own);
	assert_int_equal(mproc_local_set(local, NULL), 0);
	assert_null(get(local));
	assert_int_equal(mproc_local_set(local, NULL), 0);
	assert_null(mproc_local_close(local));
	assert_null(mproc_local_close(NULL));
}

static void *get_twice(void *arg)
{
	void *a, *b;

	return mproc_local_get(arg, &a) != 0 || mproc_local_get(arg, &b) != 0 || a != b || !a
		       ? (void *)1
		       : NULL;
}

static void first_get_makes_the_value_and_the_threads_end_destroys_it(void **state)
{
	mproc_local *local = with(MPROC_LOCAL_OPTS(.init = make, .destroy = drop));

	(void)state;
	for (int i = 1; i <= 20; i++) {
		run_thread(get_twice, local);
		assert_int_equal(n_made, i);
		assert_int_equal(n_destroyed, i);
	}
	get(local);
	get(local);
	assert_int_equal(n_made, 21);
	/* Closing destroys what is left. */
	mproc_local_close(local);
	assert_int_equal(n_destroyed, 21);
}

static void replaced_value_is_destroyed(void **state)
{
	mproc_local *local = with(MPROC_LOCAL_OPTS(.init = make, .destroy = drop));
	void *first = get(local), *second;

	(void)state;
	assert_int_equal(make(&second, NULL), 0);
	assert_int_equal(mproc_local_set(local, second), 0);
	assert_int_equal(n_destroyed, 1);
	assert_true(last_destroyed == (uintptr_t)first);
	/* Not if it is the same. */
	assert_int_equal(mproc_local_set(local, second), 0);
	assert_int_equal(n_destroyed, 1);
	assert_int_equal(mproc_local_set(local, NULL), 0);
	assert_int_equal(n_destroyed, 2);
	get(local);
	assert_int_equal(n_made, 3);
	mproc_local_close(local);
	assert_int_equal(n_destroyed, 3);
}

static int refuse(void **ret, void *arg)
{
	*ret = arg;
	return -EDOM;
}

static mproc_local *inner;

static int ask_again(void **ret, void *arg)
{
	(void)arg;
	return mproc_local_get(inner, ret);
}

static int ask_other(void **ret, void *arg)
{
	return mproc_local_get(*(mproc_local **)arg, ret);
}

/* The first time. */
static int end_or_make(void **ret, void *arg)
{
	if (atomic_fetch_add(&n_begun, 1) == 0)
		pthread_exit(NULL);
	return make(ret, arg);
}

static void ask_for_inner(void *value, void *arg)
{
	atomic_store((_Atomic(int) *)arg, mproc_local_get(inner, &value));
}

static void *set_and_end_in_init(void *arg)
{
	void *value;

	return mproc_local_set(arg, arg) != 0 || mproc_local_get(inner, &value) != 0 ? (void *)1
										     : (void *)2;
}

static int set_itself(void **ret, void *arg)
{
	int r = make(ret, arg);

	return r < 0 ? r : mproc_local_set(inner, *ret);
}

static void init_may_fail_or_set_and_is_not_asked_for_itself(void **state)
{
	void *value = (void *)1;
	mproc_local *other;

	(void)state;
	inner = with(MPROC_LOCAL_OPTS(.init = refuse, .arg = &value));
	assert_int_equal(mproc_local_get(inner, &value), -EDOM);
	assert_ptr_equal(value, (void *)1);
	mproc_local_close(inner);
	inner = with(MPROC_LOCAL_OPTS(.init = ask_again));
	assert_int_equal(mproc_local_get(inner, &value), -EDEADLK);
	assert_ptr_equal(value, (void *)1);
	mproc_local_close(inner);
	/* Nor if another one's asks for it. */
	inner = with(MPROC_LOCAL_OPTS(.init = ask_other, .arg = &other));
	other = with(MPROC_LOCAL_OPTS(.init = ask_again));
	assert_int_equal(mproc_local_get(inner, &value), -EDEADLK);
	assert_int_equal(mproc_local_get(other, &value), -EDEADLK);
	assert_ptr_equal(value, (void *)1);
	mproc_local_close(inner);
	mproc_local_close(other);
	inner = with(MPROC_LOCAL_OPTS(.init = set_itself, .destroy = drop));
	assert_int_equal(mproc_local_get(inner, &value), 0);
	assert_int_equal(n_made, 1);
	assert_int_equal(n_destroyed, 0);
	mproc_local_close(inner);
	assert_int_equal(n_destroyed, 1);
}

/* Its destructors may ask for any value, even that one. */
static void thread_may_end_in_an_init_function(void **state)
{
	_Atomic(int) got = 1;
	mproc_local *local = with(MPROC_LOCAL_OPTS(.destroy = ask_for_inner, .arg = &got));
	pthread_t thread;
	void *r;

	(void)state;
	inner = with(MPROC_LOCAL_OPTS(.init = end_or_make, .destroy = drop));
	assert_int_equal(pthread_create(&thread, NULL, set_and_end_in_init, local), 0);
	assert_int_equal(pthread_join(thread, &r), 0);
	assert_null(r);
	assert_int_equal(got, 0);
	assert_int_equal(n_begun, 2);
	mproc_local_close(local);
	mproc_local_close(inner);
	assert_int_equal(n_destroyed, 1);
}

static void place_of_a_closed_local_holds_no_old_value(void **state)
{
	enum { N = 100 };
	mproc_local *locals[N];

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < N; i++) {
			locals[i] = with(MPROC_LOCAL_OPTS(.destroy = drop));
			assert_null(get(locals[i]));
		}
		for (int i = 0; i < N; i++) {
			void *value;

			assert_int_equal(make(&value, NULL), 0);
			assert_int_equal(mproc_local_set(locals[i], value), 0);
		}
		for (int i = 0; i < N; i++)
			mproc_local_close(locals[(i * 7) % N]);
		assert_int_equal(n_destroyed, N * (round + 1));
	}
}

static void number_of_locals_is_limited(void **state)
{
	enum { MANY = 65536 };
	mproc_local **locals = malloc((MANY + 1) * sizeof(*locals));
	int n = 0, r;

	(void)state;
	while ((r = mproc_local_create(&locals[n], NULL)) == 0 && n < MANY)
		n++;
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(n, MANY);
	assert_non_null(strstr(mproc_error_text(), "65536 are in use"));
	while (n > 0)
		mproc_local_close(locals[--n]);
	free(locals);
}

struct pair {
	mproc_local *first, *second;
	void *order[2];
	int n;
};

static void note_order(void *value, void *arg)
{
	struct pair *pair = arg;

	pair->order[pair->n++] = value;
}

static void *set_both(void *arg)
{
	struct pair *pair = arg;

	return mproc_local_set(pair->first, &pair->first) != 0 ||
			       mproc_local_set(pair->second, &pair->second) != 0
		       ? (void *)1
		       : NULL;
}

static void value_made_last_is_destroyed_first(void **state)
{
	struct pair pair = { 0 };

	(void)state;
	pair.first = with(MPROC_LOCAL_OPTS(.destroy = note_order, .arg = &pair));
	pair.second = with(MPROC_LOCAL_OPTS(.destroy = note_order, .arg = &pair));
	run_thread(set_both, &pair);
	assert_int_equal(pair.n, 2);
	assert_ptr_equal(pair.order[0], &pair.second);
	assert_ptr_equal(pair.order[1], &pair.first);
	mproc_local_close(pair.first);
	mproc_local_close(pair.second);
}

static void make_another(void *value, void *arg)
{
	void *next;

	drop(value, arg);
	/* A destructor that logs, say, to a buffer of its thread's. */
	if (atomic_load(&n_destroyed) < *(int *)arg && make(&next, NULL) == 0 &&
	    mproc_local_set(inner, next) < 0)
		free(next);
}

static void destructors_that_make_values_get_more_rounds(void **state)
{
	/* ThreadSanitizer is gone in the last round. */
	int rounds = t_sanitized() ? 3 : 4;

	(void)state;
	inner = with(MPROC_LOCAL_OPTS(.init = make, .destroy = make_another, .arg = &rounds));
	run_thread(get_twice, inner);
	assert_int_equal(n_made, rounds);
	assert_int_equal(n_destroyed, rounds);
	mproc_local_close(inner);
	if (t_sanitized())
		return;
	/* One too many: it is kept until the local is closed. */
	atomic_store(&n_made, 0);
	atomic_store(&n_destroyed, 0);
	rounds = 5;
	inner = with(MPROC_LOCAL_OPTS(.init = make, .destroy = make_another, .arg = &rounds));
	run_thread(get_twice, inner);
	assert_int_equal(n_made, 5);
	assert_int_equal(n_destroyed, 4);
	rounds = 0;
	mproc_local_close(inner);
	assert_int_equal(n_destroyed, 5);
}

static void *get_and_hold(void *arg)
{
	void *value;

	if (mproc_local_get(arg, &value) != 0)
		return (void *)1;
	atomic_fetch_add(&n_begun, 1);
	while (!atomic_load(&go))
		usleep(200);
	return NULL;
}

static bool have_begun(void *arg)
{
	return atomic_load(&n_begun) >= (int)(intptr_t)arg;
}

static int sum(void *value, void *arg)
{
	*(int *)arg += atomic_load((_Atomic(int) *)value);
	return 0;
}

static int stop_at_once(void *value, void *arg)
{
	(void)value;
	++*(int *)arg;
	return 7;
}

static void values_of_all_threads_are_visited(void **state)
{
	mproc_local *local = with(MPROC_LOCAL_OPTS(.init = make, .destroy = drop));
	pthread_t threads[3];
	int n = 0;

	(void)state;
	assert_int_equal(mproc_local_each(local, sum, &n), 0);
	assert_int_equal(n, 0);
	get(local);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, get_and_hold, local), 0);
	assert_true(t_wait_until(have_begun, (void *)3, mproc_after_ms(60000)));
	assert_int_equal(mproc_local_each(local, sum, &n), 0);
	assert_int_equal(n, 1 + 2 + 3 + 4);
	n = 0;
	assert_int_equal(mproc_local_each(local, stop_at_once, &n), 7);
	assert_int_equal(n, 1);
	atomic_store(&go, 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	n = 0;
	assert_int_equal(mproc_local_each(local, sum, &n), 0);
	assert_int_equal(n, 1);
	mproc_local_close(local);
}

static int come_back(void *value, void *arg)
{
	mproc_local *local = arg, *other = NULL;
	void *seen;

	assert_int_equal(mproc_local_set(local, NULL), -EDEADLK);
	assert_non_null(strstr(mproc_error_text(), "mproc_local_each()"));
	assert_int_equal(mproc_local_each(local, come_back, local), -EDEADLK);
	assert_int_equal(mproc_local_create(&other, NULL), -EDEADLK);
	assert_int_equal(mproc_local_get(inner, &seen), -EDEADLK);
	/* What is there can be had. */
	assert_int_equal(mproc_local_get(local, &seen), 0);
	assert_ptr_equal(seen, value);
	return 0;
}

static void visit_is_told_not_to_come_back(void **state)
{
	mproc_local *local = with(MPROC_LOCAL_OPTS(.init = make, .destroy = drop));

	(void)state;
	inner = with(MPROC_LOCAL_OPTS(.init = make, .destroy = drop));
	get(local);
	assert_int_equal(mproc_local_each(local, come_back, local), 0);
	assert_int_equal(n_destroyed, 0);
	mproc_local_close(local);
	mproc_local_close(inner);
	assert_int_equal(n_made, 1);
}

static void *end_often(void *arg)
{
	pthread_t thread;
	void *r = NULL;

	for (int i = 0; i < 200 && !r; i++) {
		if (pthread_create(&thread, NULL, get_twice, arg) != 0)
			return (void *)1;
		pthread_join(thread, &r);
	}
	return r;
}

static void threads_end_while_others_visit(void **state)
{
	mproc_local *local = with(MPROC_LOCAL_OPTS(.init = make, .destroy = drop));
	pthread_t threads[2];
	void *r;
	int n;

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, end_often, local), 0);
	for (int i = 0; i < 500; i++) {
		n = 0;
		assert_int_equal(mproc_local_each(local, sum, &n), 0);
		/* Two numbers at most, and none is above the last one. */
		assert_in_range(n, 0, 400 + 399);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(threads[i], &r), 0);
		assert_null(r);
	}
	assert_int_equal(n_made, 400);
	assert_int_equal(n_destroyed, 400);
	mproc_local_close(local);
}

static void drop_slowly(void *value, void *arg)
{
	(void)arg;
	atomic_fetch_add(&n_begun, 1);
	usleep(50000);
	drop(value, arg);
}

/* Its last user ends; whoever closes waits until the value is destroyed. */
static void close_waits_for_destructors_that_run(void **state)
{
	mproc_local *local = with(MPROC_LOCAL_OPTS(.init = make, .destroy = drop_slowly));
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, get_twice, local), 0);
	assert_true(t_wait_until(have_begun, (void *)1, mproc_after_ms(60000)));
	mproc_local_close(local);
	assert_int_equal(n_destroyed, 1);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void drop_slowly_and_set(void *value, void *arg)
{
	void *next;

	drop_slowly(value, arg);
	if (atomic_load(&n_made) < 2 && make(&next, NULL) == 0 && mproc_local_set(inner, next) < 0)
		free(next);
}

/* The thread's next round of destructors comes when the test says go. */
static void wait_for_go(void *arg)
{
	(void)arg;
	while (!atomic_load(&go))
		usleep(200);
}

static pthread_key_t between;

static void *get_and_wait_between(void *arg)
{
	return pthread_setspecific(between, arg) != 0 ? (void *)1 : get_twice(arg);
}

static void close_destroys_what_a_destructor_sets_meanwhile(void **state)
{
	pthread_t thread;

	(void)state;
	inner = with(MPROC_LOCAL_OPTS(.init = make, .destroy = drop_slowly_and_set));
	assert_int_equal(pthread_key_create(&between, wait_for_go), 0);
	assert_int_equal(pthread_create(&thread, NULL, get_and_wait_between, inner), 0);
	assert_true(t_wait_until(have_begun, (void *)1, mproc_after_ms(60000)));
	mproc_local_close(inner);
	assert_int_equal(n_made, 2);
	assert_int_equal(n_destroyed, 2);
	atomic_store(&go, 1);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(n_destroyed, 2);
	assert_int_equal(pthread_key_delete(between), 0);
}

static void closing_destroys_the_values_of_living_threads(void **state)
{
	mproc_local *local = with(MPROC_LOCAL_OPTS(.init = make, .destroy = drop));
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, get_and_hold, local), 0);
	assert_true(t_wait_until(have_begun, (void *)1, mproc_after_ms(60000)));
	mproc_local_close(local);
	assert_int_equal(n_destroyed, 1);
	atomic_store(&go, 1);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(n_destroyed, 1);
}

/* A destructor that uses a segment, in a thread that has given its identity there back. */

static struct t_range range;
static mproc_mutex *mutex;

static void lock_and_drop(void *value, void *arg)
{
	(void)value;
	atomic_store((_Atomic(int) *)arg, mproc_mutex_lock(mutex, MPROC_FOREVER));
}

static int set_and_lock(void *arg, int64_t *result)
{
	(void)result;
	return mproc_local_set(arg, arg);
}

static void what_a_destructor_leaves_locked_is_inherited(void **state)
{
	_Atomic(int) locked = -1;
	mproc_local *local = with(MPROC_LOCAL_OPTS(.destroy = lock_and_drop, .arg = &locked));
	mproc_thread *thread;

	(void)state;
	assert_int_equal(t_range_open(&range, 4, 8, sizeof(mproc_mutex)), 0);
	mutex = (void *)range.room;
	assert_int_equal(mproc_mutex_init(mutex, 0), 0);
	assert_int_equal(mproc_thread_start(&thread, set_and_lock, local, NULL), 0);
	assert_int_equal(mproc_thread_join(thread, NULL, MPROC_FOREVER), 0);
	assert_int_equal(locked, 0);
	assert_int_equal(mproc_mutex_lock(mutex, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_mutex_consistent(mutex), 0);
	assert_int_equal(mproc_mutex_unlock(mutex), 0);
	mproc_thread_unref(thread);
	mproc_local_close(local);
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
	t_range_close(&range);
}

/* Fork. */

static mproc_local *inherited;
static void *of_parent;

static void have_own_value_alone(void *arg)
{
	void *value;
	int n = 0;

	(void)arg;
	t_check(mproc_local_get(inherited, &value) == 0 && value == of_parent);
	t_check(mproc_local_each(inherited, sum, &n) == 0 && n == 1);
	t_check(mproc_local_set(inherited, NULL) == 0);
	/* Those of the parent's other threads are none of our business. */
	t_check(!mproc_local_close(inherited));
	t_check(atomic_load(&n_destroyed) == 1);
}

static void child_has_the_value_of_the_thread_that_forked(void **state)
{
	pthread_t threads[2];

	(void)state;
	inherited = with(MPROC_LOCAL_OPTS(.init = make, .destroy = drop));
	of_parent = get(inherited);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, get_and_hold, inherited), 0);
	assert_true(t_wait_until(have_begun, (void *)2, mproc_after_ms(60000)));
	assert_int_equal(t_reap(t_spawn(have_own_value_alone, NULL)), 0);
	assert_int_equal(n_destroyed, 0);
	atomic_store(&go, 1);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	mproc_local_close(inherited);
	assert_int_equal(n_destroyed, 3);
}

/* Count the values; at the first one, fork. */
struct fork_visit {
	pid_t pid;
	int n, sum;
};

static int fork_at_first(void *value, void *arg)
{
	struct fork_visit *visit = arg;

	if (visit->n++ == 0) {
		fflush(NULL);
		visit->pid = fork();
		if (visit->pid == 0)
			alarm(60);
	}
	return sum(value, &visit->sum);
}

static void visit_may_fork(void **state)
{
	struct fork_visit visit = { 0 };
	pthread_t threads[3];
	int own, n = 0;

	(void)state;
	if (t_sanitized()) {
		print_message("# left out: the locks of all forks come in another order here\n");
		return;
	}
	inherited = with(MPROC_LOCAL_OPTS(.init = make, .destroy = drop));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pthread_create(&threads[i], NULL, get_and_hold, inherited), 0);
		assert_true(
			t_wait_until(have_begun, (void *)(intptr_t)(i + 1), mproc_after_ms(60000)));
		/* The list is: third, second, own, first. */
		of_parent = i == 0 ? get(inherited) : of_parent;
	}
	own = atomic_load((_Atomic(int) *)of_parent);
	assert_int_equal(mproc_local_each(inherited, fork_at_first, &visit), 0);
	if (visit.pid == 0) {
		/* The one at which it forked, and its own. */
		t_check(visit.n == 2 && visit.sum == 4 + own);
		t_check(mproc_local_each(inherited, sum, &n) == 0 && n == own);
		t_check(!mproc_local_close(inherited));
		t_check(atomic_load(&n_destroyed) == 1);
		_exit(0);
	}
	assert_int_equal(t_reap(visit.pid), 0);
	assert_int_equal(visit.n, 4);
	assert_int_equal(visit.sum, 1 + 2 + 3 + 4);
	/* The lock is as it was. */
	assert_int_equal(mproc_local_set(inherited, NULL), 0);
	atomic_store(&go, 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(mproc_local_each(inherited, sum, &n), 0);
	assert_int_equal(n, 0);
	mproc_local_close(inherited);
	assert_int_equal(n_destroyed, 4);
}

static void have_none(void *arg)
{
	int n = 0;

	(void)arg;
	t_check(mproc_local_each(inner, stop_at_once, &n) == 0 && n == 0);
	t_check(!mproc_local_close(inner));
	t_check(atomic_load(&n_destroyed) == 4);
}

static void *fork_without_values(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)t_reap(t_spawn(have_none, NULL));
}

static void value_that_no_thread_has_any_more_is_not_in_a_child(void **state)
{
	int rounds = 5;

	(void)state;
	if (t_sanitized()) {
		print_message("# left out: a sanitizer takes the last round for itself\n");
		return;
	}
	inner = with(MPROC_LOCAL_OPTS(.init = make, .destroy = make_another, .arg = &rounds));
	run_thread(get_twice, inner);
	assert_int_equal(n_destroyed, 4);
	run_thread(fork_without_values, NULL);
	rounds = 0;
	mproc_local_close(inner);
	assert_int_equal(n_destroyed, 5);
}

static void close_it(void *arg)
{
	t_check(!mproc_local_close(arg));
}

static void fork_here(void *value, void *arg)
{
	(void)value;
	*(int *)arg = t_reap(t_spawn(close_it, inner));
}

static void *churn(void *arg)
{
	while (!atomic_load(&go))
		if (end_often(arg))
			return (void *)1;
	return NULL;
}

static void use_it(void *arg)
{
	void *value;

	t_check(mproc_local_get(arg, &value) == 0 && value);
	t_check(!mproc_local_close(arg));
}

static void fork_at_any_moment_leaves_the_child_whole(void **state)
{
	mproc_local *local;
	int forked = -1;
	pthread_t thread;
	void *r;

	(void)state;
	if (t_sanitized()) {
		print_message("# left out: a sanitizer's own locks are not fit for that\n");
		return;
	}
	local = with(MPROC_LOCAL_OPTS(.init = make, .destroy = drop));
	assert_int_equal(pthread_create(&thread, NULL, churn, local), 0);
	for (int i = 0; i < (t_long() ? 1000 : 50); i++)
		assert_int_equal(t_reap(t_spawn(use_it, local)), 0);
	atomic_store(&go, 1);
	assert_int_equal(pthread_join(thread, &r), 0);
	assert_null(r);
	mproc_local_close(local);
	/* Also inside a destructor of another one. */
	inner = with(NULL);
	local = with(MPROC_LOCAL_OPTS(.destroy = fork_here, .arg = &forked));
	assert_int_equal(mproc_local_set(local, &forked), 0);
	mproc_local_close(local);
	assert_int_equal(forked, 0);
	mproc_local_close(inner);
}

#define TEST(fn) cmocka_unit_test_setup(fn, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_thread_has_its_own_value),
		TEST(first_get_makes_the_value_and_the_threads_end_destroys_it),
		TEST(replaced_value_is_destroyed),
		TEST(init_may_fail_or_set_and_is_not_asked_for_itself),
		TEST(thread_may_end_in_an_init_function),
		TEST(place_of_a_closed_local_holds_no_old_value),
		TEST(number_of_locals_is_limited),
		TEST(value_made_last_is_destroyed_first),
		TEST(destructors_that_make_values_get_more_rounds),
		TEST(values_of_all_threads_are_visited),
		TEST(visit_is_told_not_to_come_back),
		TEST(threads_end_while_others_visit),
		TEST(close_waits_for_destructors_that_run),
		TEST(close_destroys_what_a_destructor_sets_meanwhile),
		TEST(closing_destroys_the_values_of_living_threads),
		TEST(what_a_destructor_leaves_locked_is_inherited),
		TEST(child_has_the_value_of_the_thread_that_forked),
		TEST(visit_may_fork),
		TEST(value_that_no_thread_has_any_more_is_not_in_a_child),
		TEST(fork_at_any_moment_leaves_the_child_whole),
	};

	return cmocka_run_group_tests_name("local", tests, NULL, NULL);
}
