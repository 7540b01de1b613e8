/* SPDX-License-Identifier: MIT */

/*
 * mproc/future.h, seen from outside
 */

#include <mproc/future.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/pack.h>
#include <mproc/pool.h>

#include "tests/support/child.h"

struct shared {
	_Atomic(int) go;
};

static struct shared *shared;

MPROC_TASK_DECLARE(int64_t, add, (val, int64_t, a), (val, int64_t, b));
MPROC_TASK_DECLARE(int32_t, die, (val, int32_t, how));
MPROC_TASK_DECLARE(int32_t, hold, (val, int32_t, number));

MPROC_TASK(int64_t, add, (val, int64_t, a), (val, int64_t, b))
{
	return a + b;
}

MPROC_TASK(int32_t, die, (val, int32_t, how))
{
	_exit(-how);
}

MPROC_TASK(int32_t, hold, (val, int32_t, number))
{
	while (!atomic_load(&shared->go))
		usleep(200);
	return number;
}

typedef struct text_in {
	char *text;
} text_in;

typedef struct text_out {
	char *text;
	uint32_t len;
} text_out;

MPROC_PACK_STRUCT(text_in, (str, text));
MPROC_PACK_STRUCT(text_out, (str, text), (val, len));
MPROC_TASK_FN_DECLARE(reverse, text_in, text_out);
MPROC_TASK_FN(reverse, text_in, text_out);

int reverse(const text_in *in, text_out *out)
{
	size_t len = strlen(in->text);

	if (!len)
		return mproc_task_fail(-EDOM, "nothing to reverse");
	out->text = mproc_task_alloc(len + 1);
	if (!out->text)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++)
		out->text[i] = in->text[len - 1 - i];
	out->len = (uint32_t)len;
	return 0;
}

static int setup(void **state)
{
	(void)state;
	memset(shared, 0, sizeof(*shared));
	return 0;
}

static mproc_pool *pool_with(const struct mproc_pool_opts *opts)
{
	mproc_pool *pool;

	assert_int_equal(mproc_pool_create(&pool, NULL, NULL, opts), 0);
	return pool;
}

static void end(mproc_pool *pool)
{
	assert_int_equal(mproc_pool_shutdown(pool, 0, mproc_after_ms(20000)), 0);
	assert_null(mproc_pool_close(pool));
}

static int64_t value_of(mproc_future *future)
{
	int64_t value;

	assert_int_equal(add_result(future, &value, mproc_after_ms(20000)), 0);
	return value;
}

static void tasks_own_error_is_a_value(void **state)
{
	mproc_pool *pool = pool_with(MPROC_POOL_OPTS(.workers = 1));
	text_in in = { .text = "" };
	struct mproc_future_error error;
	mproc_future *future = reverse_submit(pool, &in);
	text_out out;

	(void)state;
	assert_int_equal(reverse_result(future, &out, mproc_after_ms(20000)), -EDOM);
	assert_string_equal(mproc_error_text(), "nothing to reverse");
	assert_int_equal(mproc_future_error(future, &error), 1);
	assert_int_equal(error.code, -EDOM);
	assert_string_equal(error.text, "nothing to reverse");
	assert_int_equal(error.signal, 0);
	assert_int_equal(error.attempt, 1);
	mproc_future_unref(future);
	end(pool);
}

static void what_a_result_points_to_lives_as_long_as_the_future(void **state)
{
	mproc_pool *pool = pool_with(MPROC_POOL_OPTS(.workers = 1));
	text_in in = { .text = "straw" };
	mproc_future *future = reverse_submit(pool, &in), *again;
	text_out first, second;

	(void)state;
	again = mproc_future_ref(future);
	assert_int_equal(reverse_result(future, &first, mproc_after_ms(20000)), 0);
	assert_int_equal(reverse_result(again, &second, MPROC_NOWAIT), 0);
	assert_ptr_equal(first.text, second.text);
	mproc_future_unref(future);
	end(pool);
	assert_string_equal(first.text, "warts");
	assert_int_equal(mproc_future_done(again), 1);
	assert_null(mproc_future_unref(again));
	assert_null(mproc_future_unref(NULL));
}

static void deadlines_and_conditions_of_waiting(void **state)
{
	mproc_pool *pool = pool_with(MPROC_POOL_OPTS(.workers = 2));
	mproc_future *both[2] = { hold_submit(pool, 0), NULL };
	struct mproc_future_error error;
	int32_t ret;

	(void)state;
	assert_int_equal(hold_result(both[0], &ret, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(hold_result(both[0], &ret, mproc_after_ms(10)), -ETIMEDOUT);
	assert_int_equal(hold_result(both[0], &ret, -1), -EINVAL);
	assert_int_equal(mproc_future_done(both[0]), 0);
	assert_int_equal(mproc_future_error(both[0], &error), -EAGAIN);
	both[1] = die_submit(pool, -3);
	assert_int_equal(mproc_future_wait(both, 2, MPROC_FUTURE_ALL, mproc_after_ms(30)),
			 -ETIMEDOUT);
	assert_int_equal(mproc_future_wait(both, 2, MPROC_FUTURE_FIRST, mproc_after_ms(20000)), 1);
	assert_int_equal(
		mproc_future_wait(both, 2, MPROC_FUTURE_FIRST_ERROR, mproc_after_ms(20000)), 1);
	assert_int_equal(mproc_future_wait(both, 0, MPROC_FUTURE_ALL, MPROC_NOWAIT), 0);
	atomic_store(&shared->go, 1);
	assert_int_equal(mproc_future_wait(both, 2, MPROC_FUTURE_ALL, mproc_after_ms(20000)), 2);
	assert_int_equal(add_result(both[0], NULL, MPROC_NOWAIT), -EINVAL);
	mproc_future_unref(both[0]);
	mproc_future_unref(both[1]);
	end(pool);
}

static void as_completed_gives_each_once(void **state)
{
	enum { N = 200 };
	struct mproc_future_iter iter = MPROC_FUTURE_ITER;
	mproc_pool *pool = pool_with(MPROC_POOL_OPTS(.workers = 2, .tasks = 16));
	mproc_future *future, *dropped;
	int64_t sum = 0;
	int n = 0, r;

	(void)state;
	assert_int_equal(mproc_future_as_completed(&iter, &future, MPROC_FOREVER), 0);
	for (int i = 0; i < N; i++) {
		future = add_submit(pool, i, 0);
		assert_int_equal(mproc_future_iter_add(&iter, future), 0);
		assert_int_equal(mproc_future_iter_add(&iter, future), -EBUSY);
	}
	/* A future whose last reference goes leaves the iterator, done or not. */
	dropped = hold_submit(pool, 0);
	assert_int_equal(mproc_future_iter_add(&iter, dropped), 0);
	mproc_future_unref(dropped);
	while ((r = mproc_future_as_completed(&iter, &future, mproc_after_ms(20000))) > 0) {
		sum += value_of(future);
		n++;
		mproc_future_unref(future);
	}
	assert_int_equal(r, 0);
	assert_int_equal(n, N);
	assert_int_equal(sum, (int64_t)N * (N - 1) / 2);
	atomic_store(&shared->go, 1);
	end(pool);
}

#define TEST(fn) cmocka_unit_test_setup(fn, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(tasks_own_error_is_a_value),
		TEST(what_a_result_points_to_lives_as_long_as_the_future),
		TEST(deadlines_and_conditions_of_waiting),
		TEST(as_completed_gives_each_once),
	};

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests_name("future", tests, NULL, NULL);
}
