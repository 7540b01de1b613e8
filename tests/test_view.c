/* SPDX-License-Identifier: MIT */

/*
 * mproc/view.h, seen from outside
 */

#include <mproc/view.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "tests/support/child.h"

struct point {
	double x, y, z;
};

static mproc_segment *segment;

static int setup(void **state)
{
	(void)state;
	return mproc_segment_create(&segment, NULL, NULL);
}

static int teardown(void **state)
{
	(void)state;
	segment = mproc_segment_close(segment);
	return 0;
}

/* Items 0, 1, 2 ... */
static mproc_array *count_up(uint64_t n)
{
	int32_t init[200];
	mproc_array *a = NULL;

	for (int32_t i = 0; i < (int32_t)n; i++)
		init[i] = i;
	assert_int_equal(mproc_array_create(&a, segment, NULL,
					    MPROC_ARRAY_OPTS(.type = MPROC_TYPE(int32_t),
							     .n_items = n, .init = init)),
			 0);
	return a;
}

/* 2 x 3 x 4; item [i, j, k] is 100 i + 10 j + k. */
static mproc_array *cube(void)
{
	static const uint64_t shape[] = { 2, 3, 4 };
	int32_t init[24];
	mproc_array *a = NULL;

	for (int32_t i = 0; i < 24; i++)
		init[i] = 100 * (i / 12) + 10 * (i / 4 % 3) + i % 4;
	assert_int_equal(
		mproc_array_create(&a, segment, "cube",
				   MPROC_ARRAY_OPTS(.type = MPROC_TYPE(int32_t), .init = init,
						    .n_dims = 3, .shape = shape)),
		0);
	return a;
}

static void assert_items(const struct mproc_view *v, const int32_t *want, uint64_t n)
{
	int32_t got[200];

	assert_int_equal(mproc_view_n_items(v), n);
	assert_int_equal(mproc_view_get(v, got, n, MPROC_FOREVER), 0);
	assert_memory_equal(got, want, n * sizeof(int32_t));
}

#define ASSERT_ITEMS(v, ...) \
	assert_items((v), (const int32_t[]){ __VA_ARGS__ }, \
		     sizeof((const int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t))

/* [start:stop:step] of ten items, as a sum in which the order counts. */
static void slices_are_those_of_python(void **state)
{
	const int64_t open = MPROC_VIEW_OPEN;
	mproc_array *a = count_up(10);
	struct mproc_view v;

	(void)state;
#define SLICE(start, stop, step) \
	assert_int_equal(mproc_view_init(&v, a, int32_t), 0); \
	assert_int_equal(mproc_view_slice(&v, 0, (start), (stop), (step)), 0)
	SLICE(1, 8, 3);
	ASSERT_ITEMS(&v, 1, 4, 7);
	SLICE(1, 7, 3);
	ASSERT_ITEMS(&v, 1, 4);
	SLICE(open, open, 4);
	ASSERT_ITEMS(&v, 0, 4, 8);
	SLICE(open, open, -1);
	ASSERT_ITEMS(&v, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
	SLICE(open, open, -4);
	ASSERT_ITEMS(&v, 9, 5, 1);
	SLICE(-3, open, 1);
	ASSERT_ITEMS(&v, 7, 8, 9);
	SLICE(-100, 2, 1);
	ASSERT_ITEMS(&v, 0, 1);
	SLICE(8, 100, 1);
	ASSERT_ITEMS(&v, 8, 9);
	SLICE(100, -100, -9);
	ASSERT_ITEMS(&v, 9, 0);
	SLICE(5, -1, -1);
	assert_items(&v, NULL, 0);
	SLICE(3, 3, 1);
	assert_items(&v, NULL, 0);
	SLICE(0, open, INT64_MAX);
	ASSERT_ITEMS(&v, 0);
	SLICE(open, open, INT64_MIN + 1);
	ASSERT_ITEMS(&v, 9);
	/* A slice of a slice. */
	SLICE(1, 10, 2);
	assert_int_equal(mproc_view_slice(&v, 0, open, open, -2), 0);
	ASSERT_ITEMS(&v, 9, 5, 1);
#undef SLICE
	assert_int_equal(mproc_view_slice(&v, 0, 0, 1, 0), -EINVAL);
	assert_int_equal(mproc_view_slice(&v, 1, 0, 1, 1), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "dimension 1 wanted, it has 1"));
	mproc_array_close(a);
}

static void slice_is_written_and_nothing_else(void **state)
{
	const int32_t from[] = { -1, -2, -3 };
	mproc_array *a = count_up(10);
	const int32_t item = 77;
	struct mproc_view v;

	(void)state;
	assert_int_equal(mproc_view_init(&v, a, int32_t), 0);
	assert_int_equal(mproc_view_slice(&v, 0, 8, 1, -3), 0);
	assert_int_equal(mproc_view_set(&v, from, 3, MPROC_FOREVER), 0);
	assert_int_equal(mproc_view_init(&v, a, int32_t), 0);
	ASSERT_ITEMS(&v, 0, 1, -3, 3, 4, -2, 6, 7, -1, 9);
	assert_int_equal(mproc_view_slice(&v, 0, 0, 4, 2), 0);
	assert_int_equal(mproc_view_fill(&v, &item, MPROC_FOREVER), 0);
	assert_int_equal(mproc_view_add(&v, &item), 0);
	assert_int_equal(mproc_view_init(&v, a, int32_t), 0);
	ASSERT_ITEMS(&v, 154, 1, 154, 3, 4, -2, 6, 7, -1, 9);
	assert_int_equal(mproc_view_set(&v, from, 3, MPROC_FOREVER), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "3 items given, the view has 10"));
	ASSERT_ITEMS(&v, 154, 1, 154, 3, 4, -2, 6, 7, -1, 9);
	mproc_array_close(a);
}

static void dimensions_are_row_major_and_can_be_taken_apart(void **state)
{
	mproc_array *a = cube(), *b = NULL;
	uint64_t shape[MPROC_VIEW_DIMS];
	struct mproc_view v, part;

	(void)state;
	assert_int_equal(mproc_array_open(&b, segment, "cube", MPROC_TYPE(int32_t)), 0);
	assert_int_equal(mproc_array_n_dims(b, shape), 3);
	assert_true(shape[0] == 2 && shape[1] == 3 && shape[2] == 4);
	assert_int_equal(mproc_array_n_items(b), 24);
	assert_int_equal(mproc_view_init(&v, b, int32_t), 0);
	assert_true(v.n_dims == 3 && v.strides[0] == 48 && v.strides[1] == 16 && v.strides[2] == 4);
	assert_int_equal(*mproc_view_at(&v, int32_t, 1, 2, 3), 123);
	assert_ptr_equal(mproc_view_at(&v, int32_t, 1, 2, 3), mproc_array_at(b, int32_t, 23));
	part = v;
	assert_int_equal(mproc_view_index(&part, 0, -1), 0);
	assert_int_equal(mproc_view_index(&part, 1, 2), 0);
	ASSERT_ITEMS(&part, 102, 112, 122);
	assert_int_equal(mproc_view_index(&part, 0, 1), 0);
	assert_int_equal(part.n_dims, 0);
	ASSERT_ITEMS(&part, 112);
	part = v;
	assert_int_equal(mproc_view_index(&part, 0, 0), 0);
	assert_int_equal(mproc_view_swap(&part, 0, 1), 0);
	ASSERT_ITEMS(&part, 0, 10, 20, 1, 11, 21, 2, 12, 22, 3, 13, 23);
	part = v;
	assert_int_equal(mproc_view_slice(&part, 2, MPROC_VIEW_OPEN, MPROC_VIEW_OPEN, -3), 0);
	assert_int_equal(mproc_view_slice(&part, 1, 1, 3, 1), 0);
	ASSERT_ITEMS(&part, 13, 10, 23, 20, 113, 110, 123, 120);
	assert_null(mproc_view_at(&v, int32_t, 1, 2));
	assert_null(mproc_view_at(&v, int32_t, 1, 2, 4));
	assert_non_null(strstr(mproc_error_text(), "4 wanted along dimension 2, which has 4"));
	assert_null(mproc_view_at(&v, uint32_t, 1, 2, 3));
	assert_int_equal(mproc_view_index(&v, 1, 3), -EINVAL);
	assert_int_equal(mproc_view_index(&v, 1, -4), -EINVAL);
	assert_int_equal(mproc_view_index(&v, 1, INT64_MIN), -EINVAL);
	mproc_array_close(b);
	mproc_array_close(a);
}

static void shape_must_fit_and_agree(void **state)
{
	const uint64_t shape[9] = { 2, 3, 4, 1, 1, 1, 1, 1, 1 }, other[] = { 3, 2, 4 };
	const uint64_t huge[] = { UINT64_MAX, 2, 2 };
	mproc_array *a = cube(), *b = NULL;

	(void)state;
#define OPTS(...) MPROC_ARRAY_OPTS(.type = MPROC_TYPE(int32_t), __VA_ARGS__)
	assert_int_equal(
		mproc_array_open_or_create(&b, segment, "cube", OPTS(.n_dims = 3, .shape = shape)),
		0);
	mproc_array_close(b);
	b = NULL;
	assert_int_equal(
		mproc_array_open_or_create(&b, segment, "cube", OPTS(.n_dims = 3, .shape = other)),
		-EPROTO);
	assert_int_equal(mproc_array_open_or_create(&b, segment, "cube", OPTS(.n_items = 24)), 0);
	mproc_array_close(b);
	b = NULL;
	assert_int_equal(mproc_array_create(&b, segment, NULL, OPTS(.n_dims = 9, .shape = shape)),
			 -EINVAL);
	assert_int_equal(mproc_array_create(&b, segment, NULL, OPTS(.n_dims = 3)), -EINVAL);
	assert_int_equal(mproc_array_create(&b, segment, NULL, OPTS(.n_dims = 3, .shape = huge)),
			 -EINVAL);
	assert_int_equal(mproc_array_create(&b, segment, NULL,
					    OPTS(.n_items = 23, .n_dims = 3, .shape = shape)),
			 -EINVAL);
	assert_int_equal(mproc_array_create(&b, segment, NULL, OPTS(.n_dims = 8, .shape = shape)),
			 0);
	assert_int_equal(mproc_array_n_dims(b, NULL), 8);
	mproc_array_close(b);
#undef OPTS
	mproc_array_close(a);
}

static void iteration_visits_every_item_once_in_order(void **state)
{
	static const int32_t want[] = { 100, 102, 110, 112, 120, 122 };
	mproc_array *a = cube();
	struct mproc_view v;
	struct mproc_view_iter it = MPROC_VIEW_ITER(&v);
	size_t n = 0;
	void *item;
	int r;

	(void)state;
	assert_int_equal(mproc_view_init(&v, a, int32_t), 0);
	assert_int_equal(mproc_view_slice(&v, 2, 0, 4, 2), 0);
	assert_int_equal(mproc_view_slice(&v, 0, 1, 2, 1), 0);
	while ((r = mproc_view_next(&it, &item)) > 0) {
		assert_true(n < 6);
		assert_int_equal(*(int32_t *)item, want[n]);
		assert_true(it.at[0] == 0 && it.at[1] == n / 2 && it.at[2] == n % 2);
		n++;
	}
	assert_int_equal(r, 0);
	assert_int_equal(n, 6);
	assert_int_equal(mproc_view_next(&it, &item), 0);
	assert_int_equal(mproc_view_slice(&v, 1, 3, 3, 1), 0);
	it = (struct mproc_view_iter)MPROC_VIEW_ITER(&v);
	assert_int_equal(mproc_view_next(&it, &item), 0);
	mproc_array_close(a);
}

static void view_of_something_else_is_refused(void **state)
{
	mproc_array *a = count_up(10);
	struct mproc_view whole, v;
	int32_t x[20] = { 0 };

	(void)state;
	assert_int_equal(mproc_view_init(&whole, a, int32_t), 0);
	assert_int_equal((mproc_view_init)(&v, a, MPROC_TYPE(float)), -EPROTO);
#define REFUSED(n) \
	do { \
		assert_int_equal(mproc_view_get(&v, x, (n), MPROC_FOREVER), -EINVAL); \
		assert_int_equal(mproc_view_set(&v, x, (n), MPROC_FOREVER), -EINVAL); \
		assert_int_equal(mproc_view_add(&v, x), -EINVAL); \
		v = whole; \
	} while (0)
	v = whole;
	v.ptr = (char *)v.ptr + 4;
	REFUSED(10);
	v.ptr = (char *)v.ptr - 4;
	REFUSED(10);
	v.ptr = (char *)v.ptr + 2;
	v.shape[0] = 5;
	REFUSED(5);
	v.shape[0] = 11;
	REFUSED(11);
	v.shape[0] = UINT64_MAX;
	REFUSED(UINT64_MAX);
	v.strides[0] = 8;
	REFUSED(10);
	v.strides[0] = -4;
	REFUSED(10);
	v.strides[0] = 2;
	REFUSED(10);
	v.strides[0] = INT64_MAX - 3;
	REFUSED(10);
	v.size = 8;
	REFUSED(10);
	v.kind = MPROC_FLOAT;
	REFUSED(10);
	v.n_dims = 9;
	REFUSED(10);
	v.n_dims = 2;
	v.shape[1] = UINT64_MAX / 2;
	v.strides[1] = 0;
	REFUSED(10 * (UINT64_MAX / 2));
#undef REFUSED
	ASSERT_ITEMS(&whole, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
	mproc_array_close(a);
}

static void structs_go_by_views_as_well(void **state)
{
	const struct point init[4] = { { 1, 2, 3 }, { 4, 5, 6 }, { 7, 8, 9 }, { 10, 11, 12 } };
	struct point got[2], other = { 0, 0, 1 };
	struct mproc_view v;
	mproc_array *a;

	(void)state;
	assert_int_equal(mproc_array_create(&a, segment, NULL,
					    MPROC_ARRAY_OPTS(.type = MPROC_TYPE(struct point),
							     .n_items = 4, .init = init)),
			 0);
	assert_int_equal(mproc_view_init(&v, a, struct point), 0);
	assert_int_equal(mproc_view_slice(&v, 0, 3, MPROC_VIEW_OPEN, -2), 0);
	assert_int_equal(mproc_view_get(&v, got, 2, MPROC_FOREVER), 0);
	assert_memory_equal(&got[0], &init[3], sizeof(got[0]));
	assert_memory_equal(&got[1], &init[1], sizeof(got[0]));
	assert_int_equal(mproc_view_fill(&v, &other, MPROC_FOREVER), 0);
	assert_int_equal(mproc_array_get(a, struct point, 1, got, MPROC_FOREVER), 0);
	assert_memory_equal(got, &other, sizeof(other));
	assert_int_equal(mproc_array_get(a, struct point, 2, got, MPROC_FOREVER), 0);
	assert_memory_equal(got, &init[2], sizeof(other));
	assert_int_equal(mproc_view_add(&v, &other), -EINVAL);
	mproc_array_close(a);
}

static void add_often(void *arg)
{
	const struct mproc_view *v = arg;

	for (int i = 0; i < 1000; i++)
		t_check(mproc_view_add(v, &(const double){ 1 }) == 0);
}

/* The sum of doubles that four processes add to at the same time is exact. */
static void additions_of_many_processes_are_all_there(void **state)
{
	struct mproc_view v;
	pid_t child[4];
	mproc_array *a;
	double x[9];

	(void)state;
	assert_int_equal(
		mproc_array_create(&a, segment, NULL,
				   MPROC_ARRAY_OPTS(.type = MPROC_TYPE(double), .n_items = 9)),
		0);
	assert_int_equal(mproc_view_init(&v, a, double), 0);
	assert_int_equal(mproc_view_slice(&v, 0, 0, 9, 2), 0);
	for (int i = 0; i < 4; i++)
		child[i] = t_spawn(add_often, &v);
	for (int i = 0; i < 4; i++)
		assert_int_equal(t_reap(child[i]), 0);
	assert_int_equal(mproc_array_copy_out(a, double, 0, 9, x, MPROC_FOREVER), 0);
	for (int i = 0; i < 9; i++)
		assert_true(x[i] == (i % 2 ? 0 : 4000));
	mproc_array_close(a);
}

static void lock_and_wait(void *arg)
{
	t_check(mproc_array_lock(arg, MPROC_FOREVER) == 0);
	pause();
}

static bool is_locked(void *arg)
{
	struct mproc_view *v = arg;
	int32_t x;

	return mproc_array_get(v->array, int32_t, 0, &x, MPROC_NOWAIT) == -EAGAIN;
}

static void lock_is_waited_for_and_a_death_told(void **state)
{
	mproc_array *a = count_up(4);
	struct mproc_view v;
	int32_t x[4];
	pid_t child;

	(void)state;
	assert_int_equal(mproc_view_init(&v, a, int32_t), 0);
	child = t_spawn(lock_and_wait, a);
	assert_true(t_wait_until(is_locked, &v, mproc_after_ms(5000)));
	assert_int_equal(mproc_view_get(&v, x, 4, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_view_fill(&v, x, mproc_after_ms(5)), -ETIMEDOUT);
	assert_int_equal(mproc_view_get(&v, x, 4, -1), -EINVAL);
	kill(child, SIGKILL);
	assert_int_equal(t_reap(child), SIGKILL);
	assert_int_equal(mproc_view_get(&v, x, 4, MPROC_FOREVER), MPROC_MUTEX_INHERITED);
	assert_int_equal(x[3], 3);
	mproc_array_close(a);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(slices_are_those_of_python),
		TEST(slice_is_written_and_nothing_else),
		TEST(dimensions_are_row_major_and_can_be_taken_apart),
		TEST(shape_must_fit_and_agree),
		TEST(iteration_visits_every_item_once_in_order),
		TEST(view_of_something_else_is_refused),
		TEST(structs_go_by_views_as_well),
		TEST(additions_of_many_processes_are_all_there),
		TEST(lock_is_waited_for_and_a_death_told),
	};

	return cmocka_run_group_tests_name("view", tests, NULL, NULL);
}
