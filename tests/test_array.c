/* SPDX-License-Identifier: MIT */

/*
 * mproc/array.h, seen from outside; what values do as well is tested there
 */

#include <mproc/array.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/value.h>

#include "tests/support/child.h"

struct point {
	double x, y, z;
};

static mproc_segment *segment;

static int setup(void **state)
{
	(void)state;
	return mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 16 << 20));
}

static int teardown(void **state)
{
	(void)state;
	segment = mproc_segment_close(segment);
	return 0;
}

static mproc_array *make(const struct mproc_type *type, uint64_t n, const void *init)
{
	mproc_array *a = NULL;

	assert_int_equal(
		mproc_array_create(&a, segment, NULL,
				   MPROC_ARRAY_OPTS(.type = type, .n_items = n, .init = init)),
		0);
	return a;
}

static void open_finds_what_create_made(void **state)
{
	static const double init[] = { 1, 2.5, -3 };
	mproc_array *a, *b = NULL;
	double x;

	(void)state;
	assert_int_equal(mproc_array_create(&a, segment, "a",
					    MPROC_ARRAY_OPTS(.type = MPROC_TYPE(double),
							     .n_items = 3, .init = init)),
			 0);
	assert_int_equal(mproc_array_open(&b, segment, "a", MPROC_TYPE(double)), 0);
	assert_int_equal(mproc_array_n_items(b), 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(mproc_array_load(b, double, i, &x), 0);
		assert_true(x == init[i]);
	}
	*mproc_array_at(a, double, 2) = 7;
	assert_int_equal(mproc_array_get(b, double, 2, &x, MPROC_FOREVER), 0);
	assert_true(x == 7);
	b = mproc_array_close(b);
	assert_int_equal(mproc_array_open_or_create(
				 &b, segment, "a",
				 MPROC_ARRAY_OPTS(.type = MPROC_TYPE(double), .n_items = 3)),
			 0);
	b = mproc_array_close(b);
	assert_int_equal(mproc_array_open_or_create(
				 &b, segment, "b",
				 MPROC_ARRAY_OPTS(.type = MPROC_TYPE(double), .n_items = 1000)),
			 1);
	assert_int_equal(mproc_array_load(b, double, 999, &x), 0);
	assert_true(x == 0);
	mproc_array_close(b);
	mproc_array_close(a);
}

static void wrong_type_or_number_is_refused_with_both(void **state)
{
	mproc_array *a, *b = NULL;
	mproc_value *v;

	(void)state;
	assert_int_equal(
		mproc_array_create(&a, segment, "a",
				   MPROC_ARRAY_OPTS(.type = MPROC_TYPE(uint8_t), .n_items = 5)),
		0);
	assert_int_equal(mproc_array_open(&b, segment, "a", MPROC_TYPE(int8_t)), -EPROTO);
	assert_string_equal(mproc_error_text(), "open array a: int8 wanted, it holds uint8");
	assert_int_equal(mproc_array_open_or_create(
				 &b, segment, "a",
				 MPROC_ARRAY_OPTS(.type = MPROC_TYPE(uint8_t), .n_items = 6)),
			 -EPROTO);
	assert_string_equal(mproc_error_text(), "open array a: 6 items wanted, it has 5");
	assert_int_equal(
		mproc_array_create(&b, segment, NULL, MPROC_ARRAY_OPTS(.type = MPROC_TYPE(int))),
		-EINVAL);
	assert_non_null(strstr(mproc_error_text(), "no number of items"));
	assert_int_equal(mproc_array_create(&b, segment, NULL,
					    MPROC_ARRAY_OPTS(.type = MPROC_TYPE(int),
							     .n_items = UINT64_MAX / 2)),
			 -EINVAL);
	assert_int_equal(
		mproc_array_create(&b, segment, NULL,
				   MPROC_ARRAY_OPTS(.type = MPROC_TYPE(int), .n_items = 1 << 30)),
		-ENOSPC);
	assert_null(b);
	assert_int_equal(
		mproc_value_create(&v, segment, "v", MPROC_VALUE_OPTS(.type = MPROC_TYPE(int))), 0);
	assert_int_equal(mproc_array_open(&b, segment, "v", MPROC_TYPE(int)), -EEXIST);
	mproc_value_close(v);
	mproc_array_close(a);
}

static void what_is_not_there_is_refused(void **state)
{
	mproc_array *a = make(MPROC_TYPE(int32_t), 5, NULL);
	int32_t x[6] = { 0 };

	(void)state;
	assert_non_null(mproc_array_at(a, int32_t, 0));
	assert_non_null(mproc_array_at(a, int32_t, 4));
	assert_null(mproc_array_at(a, int32_t, 5));
	assert_non_null(strstr(mproc_error_text(), "item 5 wanted, it has 5"));
	assert_null(mproc_array_at(a, int32_t, -1));
	assert_null(mproc_array_at(a, uint32_t, 0));
	assert_null(mproc_array_at(a, int64_t, 0));
	assert_null(mproc_array_at(a, float, 0));
	assert_int_equal(mproc_array_add(a, int32_t, 5, 1, NULL), -EINVAL);
	assert_int_equal(mproc_array_load(a, int32_t, UINT64_MAX, x), -EINVAL);
	assert_int_equal(mproc_array_set(a, int32_t, 5, x, MPROC_FOREVER), -EINVAL);
	assert_int_equal(mproc_array_copy_out(a, int32_t, 0, 6, x, MPROC_FOREVER), -EINVAL);
	assert_int_equal(mproc_array_copy_in(a, int32_t, 3, 3, x, MPROC_FOREVER), -EINVAL);
	assert_int_equal(mproc_array_copy_in(a, int32_t, 1, UINT64_MAX, x, MPROC_FOREVER), -EINVAL);
	assert_int_equal(mproc_array_copy_out(a, int32_t, 5, 0, x, MPROC_FOREVER), 0);
	assert_int_equal(mproc_array_copy_out(a, int32_t, 6, 0, x, MPROC_FOREVER), -EINVAL);
	assert_int_equal(mproc_array_copy_out(a, int64_t, 0, 1, (int64_t *)NULL, MPROC_FOREVER),
			 -EPROTO);
	mproc_array_close(a);
}

static void each_item_has_its_own_operations(void **state)
{
	mproc_array *a = make(MPROC_TYPE(int16_t), 4, NULL);
	int16_t was, x = 0;

	(void)state;
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(mproc_array_store(a, int16_t, i, (int16_t)(i * 10)), 0);
	assert_int_equal(mproc_array_add(a, int16_t, 1, -11, &was), 0);
	assert_int_equal(was, 10);
	assert_int_equal(mproc_array_xchg(a, int16_t, 2, 5, &was), 0);
	assert_int_equal(was, 20);
	assert_int_equal(mproc_array_min(a, int16_t, 2, -3, NULL), 0);
	assert_int_equal(mproc_array_max(a, int16_t, 2, 3, &was), 0);
	assert_int_equal(was, -3);
	assert_int_equal(mproc_array_or(a, int16_t, 2, 8, NULL), 0);
	assert_int_equal(mproc_array_and(a, int16_t, 2, 9, &was), 0);
	assert_int_equal(was, 11);
	x = 30;
	assert_int_equal(mproc_array_cas(a, int16_t, 3, &x, 31), 1);
	assert_int_equal(mproc_array_load(a, int16_t, 0, &x), 0);
	assert_int_equal(x, 0);
	assert_int_equal(mproc_array_load(a, int16_t, 1, &x), 0);
	assert_int_equal(x, -1);
	assert_int_equal(mproc_array_load(a, int16_t, 2, &x), 0);
	assert_int_equal(x, 9);
	assert_int_equal(mproc_array_load(a, int16_t, 3, &x), 0);
	assert_int_equal(x, 31);
	mproc_array_close(a);
}

/* Copies of any part of an array of any width change nothing beside it. */
#define DEFINE_COPY_TEST(T, value_of) \
	static void copies_##T(void) \
	{ \
		enum { N = 9 }; \
		mproc_array *a = make(MPROC_TYPE(T), N, NULL); \
		T in[N], out[N + 1]; \
\
		for (uint64_t first = 0; first < N; first++) { \
			for (uint64_t n = 0; n <= N - first; n++) { \
				memset(in, 0, sizeof(in)); \
				assert_int_equal(mproc_array_copy_in(a, T, 0, N, in, 1), 0); \
				for (uint64_t i = 0; i < N; i++) \
					in[i] = value_of(i + 1); \
				assert_int_equal(mproc_array_copy_in(a, T, first, n, in, 1), 0); \
				memset(out, 0xff, sizeof(out)); \
				assert_int_equal(mproc_array_copy_out(a, T, 0, N, out, 1), 0); \
				for (uint64_t i = 0; i < N; i++) { \
					T zero, want; \
\
					memset(&zero, 0, sizeof(zero)); \
					want = i >= first && i < first + n ? in[i - first] : zero; \
					assert_memory_equal(&out[i], &want, sizeof(want)); \
				} \
				assert_int_equal(*(unsigned char *)&out[N], 0xff); \
			} \
		} \
		mproc_array_close(a); \
	} \
	_Static_assert(sizeof(T), "")

#define NUMBER(i) ((unsigned char)(i))
#define POINT(i)  ((point){ (double)(i), 2, 3 })
#define OCTETS(i) ((octets){ { (char)(i), 'a', 'b' } })

typedef struct point point;
typedef struct octets {
	char c[3];
} octets;

DEFINE_COPY_TEST(uint8_t, NUMBER);
DEFINE_COPY_TEST(int16_t, NUMBER);
DEFINE_COPY_TEST(float, NUMBER);
DEFINE_COPY_TEST(uint64_t, NUMBER);
DEFINE_COPY_TEST(point, POINT);
DEFINE_COPY_TEST(octets, OCTETS);

static void copies_of_many_touch_nothing_else(void **state)
{
	(void)state;
	copies_uint8_t();
	copies_int16_t();
	copies_float();
	copies_uint64_t();
	copies_point();
	copies_octets();
}

static void items_are_aligned_and_side_by_side(void **state)
{
	mproc_array *a = make(MPROC_TYPE(struct point), 3, NULL);
	mproc_array *b = make(MPROC_TYPE(char), 3, NULL);
	struct point *p = mproc_array_at(a, struct point, 0);

	(void)state;
	assert_int_equal((uintptr_t)p % 64, 0);
	assert_ptr_equal(mproc_array_at(a, struct point, 2), p + 2);
	assert_ptr_equal(mproc_array_at(b, char, 2), mproc_array_at(b, char, 0) + 2);
	mproc_array_close(b);
	mproc_array_close(a);
}

static void lock_and_die(void *arg)
{
	t_check(mproc_array_lock(arg, MPROC_FOREVER) == 0);
	mproc_array_at((mproc_array *)arg, int, 0)[0] = 1;
	raise(SIGKILL);
}

static void death_between_lock_and_unlock_is_told_until_consistent(void **state)
{
	mproc_array *a = make(MPROC_TYPE(int), 2, NULL);
	int x[2];

	(void)state;
	assert_int_equal(t_reap(t_spawn(lock_and_die, a)), SIGKILL);
	assert_int_equal(mproc_array_copy_out(a, int, 0, 2, x, MPROC_NOWAIT),
			 MPROC_MUTEX_INHERITED);
	assert_int_equal(x[0], 1);
	assert_int_equal(mproc_array_lock(a, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_array_consistent(a), 0);
	assert_int_equal(mproc_array_unlock(a), 0);
	assert_int_equal(mproc_array_copy_out(a, int, 0, 2, x, MPROC_NOWAIT), 0);
	mproc_array_close(a);
}

#define ROUNDS 2000

static void add_to_each(void *arg)
{
	for (int i = 0; i < ROUNDS; i++)
		for (uint64_t k = 0; k < 4; k++)
			t_check(mproc_array_add((mproc_array *)arg, uint32_t, k, 1, NULL) == 0);
}

static void four_processes_add_to_each_item(void **state)
{
	mproc_array *a = make(MPROC_TYPE(uint32_t), 4, NULL);
	uint32_t sums[4];
	pid_t pids[4];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		pids[i] = t_spawn(add_to_each, a);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(mproc_array_copy_out(a, uint32_t, 0, 4, sums, MPROC_FOREVER), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(sums[i], 4 * ROUNDS);
	mproc_array_close(a);
}

/* Writers set points whose coordinates agree; readers must never see others. */
static void set_points(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct point p[2] = { { i, i, i }, { -i, -i, -i } };

		t_check(mproc_array_copy_in((mproc_array *)arg, struct point, 0, 2, p,
					    MPROC_FOREVER) == 0);
		t_check(mproc_array_copy_out((mproc_array *)arg, struct point, 0, 2, p,
					     MPROC_FOREVER) == 0);
		t_check(p[0].x == p[0].y && p[0].y == p[0].z && p[0].x == -p[1].x &&
			p[1].x == p[1].y && p[1].y == p[1].z);
	}
}

static void copies_of_many_exclude_each_other(void **state)
{
	mproc_array *a = make(MPROC_TYPE(struct point), 2, NULL);
	pid_t pids[3];

	(void)state;
	for (size_t i = 0; i < 3; i++)
		pids[i] = t_spawn(set_points, a);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	mproc_array_close(a);
}

static mproc_array *waited_for;

static void change_later(void *arg)
{
	const uint64_t *i = arg;

	usleep(20000);
	t_check(mproc_array_store(waited_for, int16_t, *i, 5) == 0);
}

static void set_later(void *arg)
{
	const uint64_t *i = arg;

	usleep(20000);
	t_check(mproc_array_set(waited_for, int16_t, *i, &(int16_t){ 6 }, MPROC_FOREVER) == 0);
}

static void change_of_one_item_or_of_any_is_waited_for(void **state)
{
	int16_t seen = 0, all[9] = { 0 };
	uint64_t other = 3, it = 4;
	pid_t pid;

	(void)state;
	waited_for = make(MPROC_TYPE(int16_t), 9, NULL);
	assert_int_equal(mproc_array_wait(waited_for, int16_t, 4, &seen, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_array_wait_any(waited_for, int16_t, 0, 9, all, mproc_after_ms(5)),
			 -ETIMEDOUT);
	/* A change of another item is none. */
	pid = t_spawn(change_later, &other);
	assert_int_equal(mproc_array_wait(waited_for, int16_t, 4, &seen, mproc_after_ms(60)),
			 -ETIMEDOUT);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(mproc_array_wait_any(waited_for, int16_t, 0, 9, all, MPROC_NOWAIT), 0);
	assert_int_equal(all[3], 5);
	pid = t_spawn(set_later, &it);
	assert_int_equal(
		mproc_array_wait_any(waited_for, int16_t, 0, 9, all, mproc_after_ms(20000)), 0);
	assert_int_equal(all[4], 6);
	assert_int_equal(mproc_array_wait(waited_for, int16_t, 4, &seen, mproc_after_ms(20000)), 0);
	assert_int_equal(seen, 6);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(mproc_array_wait_any(waited_for, int16_t, 1, 9, all, MPROC_NOWAIT),
			 -EINVAL);
	assert_int_equal(mproc_array_wait(waited_for, int16_t, 4, &seen, -1), -EINVAL);
	assert_int_equal(mproc_array_wait(waited_for, uint16_t, 4, (uint16_t *)NULL, MPROC_NOWAIT),
			 -EPROTO);
	mproc_array_close(waited_for);
}

static void text_ends_at_its_nul_and_raw_bytes_do_not(void **state)
{
	mproc_array *a = make(MPROC_TYPE(char), 8, "ab\0cd\0\0");
	mproc_array *n = make(MPROC_TYPE(int32_t), 8, NULL);
	char buf[9], raw[8];
	size_t len = 77;

	(void)state;
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(mproc_array_get_text(a, buf, sizeof(buf), &len, MPROC_FOREVER), 0);
	assert_string_equal(buf, "ab");
	assert_int_equal(len, 2);
	assert_int_equal(mproc_array_copy_out(a, char, 0, 8, raw, MPROC_FOREVER), 0);
	assert_memory_equal(raw, "ab\0cd\0\0", 8);
	/* What follows the NUL stays. */
	assert_int_equal(mproc_array_set_text(a, "x", 1, MPROC_FOREVER), 0);
	assert_int_equal(mproc_array_copy_out(a, char, 0, 8, raw, MPROC_FOREVER), 0);
	assert_memory_equal(raw, "x\0\0cd\0\0", 8);
	/* A full one has no NUL. */
	assert_int_equal(mproc_array_set_text(a, "12345678", 8, MPROC_FOREVER), 0);
	assert_int_equal(mproc_array_get_text(a, buf, 8, &len, MPROC_FOREVER), -ENOBUFS);
	assert_int_equal(len, 8);
	len = 0;
	assert_int_equal(mproc_array_get_text(a, buf, 9, &len, MPROC_FOREVER), 0);
	assert_int_equal(len, 8);
	assert_string_equal(buf, "12345678");
	assert_int_equal(mproc_array_set_text(a, "123456789", 9, MPROC_FOREVER), -EMSGSIZE);
	assert_int_equal(mproc_array_get_text(n, buf, 9, NULL, MPROC_FOREVER), -EPROTO);
	assert_int_equal(mproc_array_set_text(n, "", 0, MPROC_FOREVER), -EPROTO);
	/* Bytes that are no text. */
	assert_int_equal(mproc_array_set_text(a, "\xff\0z", 3, MPROC_FOREVER), 0);
	assert_int_equal(mproc_array_copy_out(a, char, 0, 8, raw, MPROC_FOREVER), 0);
	assert_memory_equal(raw, "\xff\0z\0005678", 8);
	mproc_array_close(n);
	mproc_array_close(a);
}

static void raw_array_copies_without_a_lock(void **state)
{
	const struct point init[3] = { { 1, 2, 3 }, { 4, 5, 6 }, { 7, 8, 9 } };
	struct point p[3];
	mproc_array *a;

	(void)state;
	assert_int_equal(
		mproc_array_create(&a, segment, NULL,
				   MPROC_ARRAY_OPTS(.type = MPROC_TYPE(struct point), .n_items = 3,
						    .init = init, .flags = MPROC_ARRAY_RAW)),
		0);
	assert_int_equal(mproc_array_lock(a, MPROC_FOREVER), -EINVAL);
	assert_int_equal(mproc_array_copy_in(a, struct point, 1, 2, init, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_array_copy_out(a, struct point, 0, 3, p, MPROC_NOWAIT), 0);
	assert_memory_equal(&p[0], &init[0], sizeof(p[0]));
	assert_memory_equal(&p[1], init, 2 * sizeof(p[0]));
	mproc_array_close(a);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(open_finds_what_create_made),
		TEST(wrong_type_or_number_is_refused_with_both),
		TEST(what_is_not_there_is_refused),
		TEST(each_item_has_its_own_operations),
		TEST(copies_of_many_touch_nothing_else),
		TEST(items_are_aligned_and_side_by_side),
		TEST(death_between_lock_and_unlock_is_told_until_consistent),
		TEST(four_processes_add_to_each_item),
		TEST(copies_of_many_exclude_each_other),
		TEST(change_of_one_item_or_of_any_is_waited_for),
		TEST(text_ends_at_its_nul_and_raw_bytes_do_not),
		TEST(raw_array_copies_without_a_lock),
	};

	return cmocka_run_group_tests_name("array", tests, NULL, NULL);
}
