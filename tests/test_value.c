/* SPDX-License-Identifier: MIT */

/*
 * mproc/value.h, seen from outside
 */

#include <mproc/value.h>

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/array.h>
#include <mproc/error.h>

#include "ipc/kind_layout.h"
#include "shm/cells.h"
#include "tests/support/child.h"

struct point {
	double x, y, z;
	int32_t tag;
};

static const struct mproc_field point_fields[] = {
	MPROC_FIELD(struct point, x),
	MPROC_FIELD(struct point, y),
	MPROC_FIELD(struct point, z),
	MPROC_FIELD(struct point, tag),
};

/* One that was changed by somebody who forgot to tell. */
static const struct mproc_field other_fields[] = {
	MPROC_FIELD(struct point, x),
	MPROC_FIELD(struct point, y),
	{ .name = "z", .kind = MPROC_INT, .off = 16, .size = 8 },
	MPROC_FIELD(struct point, tag),
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

static mproc_value *make(const struct mproc_type *type, const void *init)
{
	mproc_value *v = NULL;

	assert_int_equal(
		mproc_value_create(&v, segment, NULL, MPROC_VALUE_OPTS(.type = type, .init = init)),
		0);
	return v;
}

static void types_know_kind_and_size(void **state)
{
	(void)state;
#define IS(T, k) \
	do { \
		assert_int_equal(MPROC_TYPE(T)->kind, k); \
		assert_int_equal(MPROC_TYPE(T)->size, sizeof(T)); \
		assert_int_equal(MPROC_TYPE(T)->align, _Alignof(T)); \
		assert_string_equal(MPROC_TYPE(T)->name, #T); \
	} while (0)
	IS(int8_t, MPROC_INT);
	IS(int16_t, MPROC_INT);
	IS(int32_t, MPROC_INT);
	IS(int64_t, MPROC_INT);
	IS(long, MPROC_INT);
	IS(long long, MPROC_INT);
	IS(uint8_t, MPROC_UINT);
	IS(uint16_t, MPROC_UINT);
	IS(uint32_t, MPROC_UINT);
	IS(uint64_t, MPROC_UINT);
	IS(unsigned long, MPROC_UINT);
	IS(unsigned long long, MPROC_UINT);
	IS(size_t, MPROC_UINT);
	IS(char, (char)-1 < 0 ? MPROC_INT : MPROC_UINT);
	IS(float, MPROC_FLOAT);
	IS(double, MPROC_FLOAT);
	IS(struct point, MPROC_BYTES);
#undef IS
	assert_int_equal(MPROC_KIND(bool), MPROC_BOOL);
	assert_int_equal(point_fields[3].kind, MPROC_INT);
	assert_int_equal(point_fields[3].off, 24);
}

static void open_finds_what_create_made(void **state)
{
	mproc_value *a = NULL, *b = NULL;
	int64_t x = 0;

	(void)state;
	assert_int_equal(mproc_value_open(&b, segment, "n", MPROC_TYPE(int64_t)), -ENOENT);
	assert_null(b);
	assert_int_equal(mproc_value_create(&a, segment, "n",
					    MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t),
							     .init = &(int64_t){ -7 })),
			 0);
	assert_int_equal(
		mproc_value_create(&b, segment, "n", MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t))),
		-EEXIST);
	assert_int_equal(mproc_value_open(&b, segment, "n", MPROC_TYPE(int64_t)), 0);
	assert_int_equal(mproc_value_load(b, int64_t, &x), 0);
	assert_int_equal(x, -7);
	assert_int_equal(mproc_value_store(a, int64_t, 8), 0);
	assert_int_equal(mproc_value_get(b, int64_t, &x, MPROC_FOREVER), 0);
	assert_int_equal(x, 8);
	assert_null(mproc_value_close(b));
	assert_int_equal(mproc_value_open_or_create(&b, segment, "n",
						    MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t),
								     .init = &(int64_t){ 1 })),
			 0);
	assert_int_equal(mproc_value_load(b, int64_t, &x), 0);
	assert_int_equal(x, 8);
	mproc_value_close(b);
	assert_int_equal(mproc_value_open_or_create(&b, segment, "other",
						    MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t))),
			 1);
	assert_int_equal(mproc_value_load(b, int64_t, &x), 0);
	assert_int_equal(x, 0);
	mproc_value_close(b);
	mproc_value_close(a);
	assert_null(mproc_value_close(NULL));
}

static void wrong_type_is_refused_with_both_names(void **state)
{
	mproc_value *n, *p, *v = NULL;
	mproc_array *array;
	double d = 1.5;

	(void)state;
	assert_int_equal(mproc_value_create(&n, segment, "n",
					    MPROC_VALUE_OPTS(.type = MPROC_TYPE(uint32_t))),
			 0);
	assert_int_equal(mproc_value_open(&v, segment, "n", MPROC_TYPE(double)), -EPROTO);
	assert_string_equal(mproc_error_text(), "open value n: double wanted, it holds uint32");
	assert_int_equal(mproc_value_open(&v, segment, "n", MPROC_TYPE(int32_t)), -EPROTO);
	assert_string_equal(mproc_error_text(), "open value n: int32 wanted, it holds uint32");
	assert_int_equal(mproc_value_open(&v, segment, "n", MPROC_TYPE(struct point)), -EPROTO);
	assert_string_equal(mproc_error_text(),
			    "open value n: struct point of 32 bytes wanted, it holds uint32");
	assert_int_equal(mproc_value_open_or_create(&v, segment, "n",
						    MPROC_VALUE_OPTS(.type = MPROC_TYPE(bool))),
			 -EPROTO);
	assert_null(v);

	/* And with each access. */
	assert_int_equal(mproc_value_load(n, double, &d), -EPROTO);
	assert_string_equal(mproc_error_text(), "value n: it holds uint32, not double");
	assert_int_equal(mproc_value_set(n, double, &d, MPROC_FOREVER), -EPROTO);
	assert_true(d == 1.5);

	/* Another kind of object. */
	assert_int_equal(
		mproc_array_create(&array, segment, "many",
				   MPROC_ARRAY_OPTS(.type = MPROC_TYPE(uint32_t), .n_items = 3)),
		0);
	assert_int_equal(mproc_value_open(&v, segment, "many", MPROC_TYPE(uint32_t)), -EEXIST);
	assert_int_equal(mproc_value_create(&p, segment, NULL,
					    MPROC_VALUE_OPTS(.type = MPROC_TYPE(struct point))),
			 0);
	assert_int_equal(mproc_value_load(p, struct point, &(struct point){ 0 }), -EINVAL);
	mproc_array_close(array);
	mproc_value_close(p);
	mproc_value_close(n);
}

static void structs_are_told_apart_by_name_and_fields(void **state)
{
	struct vector {
		double x, y, z;
		int32_t tag;
	};
	mproc_value *p, *v = NULL;

	(void)state;
	assert_int_equal(mproc_value_create(&p, segment, "p",
					    MPROC_VALUE_OPTS(.type = MPROC_TYPE_FIELDS(
								     struct point, point_fields))),
			 0);
	assert_int_equal(mproc_value_open(&v, segment, "p", MPROC_TYPE(struct vector)), -EPROTO);
	assert_int_equal(
		mproc_value_open(&v, segment, "p", MPROC_TYPE_FIELDS(struct point, other_fields)),
		-EPROTO);
	assert_non_null(strstr(mproc_error_text(), "other fields"));
	assert_int_equal(mproc_value_open(&v, segment, "p", MPROC_TYPE(struct point)), 0);
	mproc_value_close(v);
	assert_int_equal(
		mproc_value_open(&v, segment, "p", MPROC_TYPE_FIELDS(struct point, point_fields)),
		0);
	mproc_value_close(v);
	mproc_value_close(p);
}

static void what_cannot_be_shared_is_refused(void **state)
{
	const struct mproc_type odd = { .kind = MPROC_INT, .size = 3, .align = 1, .name = "odd" };
	const struct mproc_type wide = {
		.kind = MPROC_BYTES, .size = 128, .align = 128, .name = "wide"
	};
	const struct mproc_type empty = {
		.kind = MPROC_BYTES, .size = 0, .align = 1, .name = "empty"
	};
	mproc_value *v = NULL;

	(void)state;
	assert_int_equal(mproc_value_create(&v, segment, NULL, NULL), -EINVAL);
	assert_string_equal(mproc_error_text(), "create value (anonymous): no type is given");
	assert_int_equal(
		mproc_value_create(&v, segment, NULL, MPROC_VALUE_OPTS(.type = MPROC_TYPE(char *))),
		-EINVAL);
	assert_non_null(strstr(mproc_error_text(), "pointer (char *)"));
	assert_int_equal(mproc_value_create(&v, segment, NULL, MPROC_VALUE_OPTS(.type = &odd)),
			 -EINVAL);
	assert_int_equal(mproc_value_create(&v, segment, NULL, MPROC_VALUE_OPTS(.type = &wide)),
			 -EINVAL);
	assert_int_equal(mproc_value_create(&v, segment, NULL, MPROC_VALUE_OPTS(.type = &empty)),
			 -EINVAL);
	assert_int_equal(
		mproc_value_create(&v, segment, "", MPROC_VALUE_OPTS(.type = MPROC_TYPE(int))),
		-EINVAL);
	assert_null(v);
}

/* All operations of integers of one width, at the edges of its range. */
#define DEFINE_INTEGER_TEST(T, LEAST, MOST) \
	static void integers_##T(void) \
	{ \
		mproc_value *v = make(MPROC_TYPE(T), &(T){ MOST }); \
		T x = 1, was = 0; \
\
		assert_int_equal(mproc_value_add(v, T, 1, &was), 0); \
		assert_true(was == (MOST)); \
		assert_int_equal(mproc_value_load(v, T, &x), 0); \
		assert_true(x == (LEAST)); \
		assert_int_equal(mproc_value_add(v, T, (T)-1, NULL), 0); \
		assert_int_equal(mproc_value_xchg(v, T, 12, &was), 0); \
		assert_true(was == (MOST)); \
		assert_int_equal(mproc_value_and(v, T, 6, &was), 0); \
		assert_true(was == 12); \
		assert_int_equal(mproc_value_or(v, T, 3, &was), 0); \
		assert_true(was == 4); \
		assert_int_equal(mproc_value_min(v, T, (LEAST), &was), 0); \
		assert_true(was == 7); \
		assert_int_equal(mproc_value_min(v, T, (MOST), &was), 0); \
		assert_true(was == (LEAST)); \
		assert_int_equal(mproc_value_max(v, T, 5, &was), 0); \
		assert_true(was == (LEAST)); \
		assert_int_equal(mproc_value_max(v, T, 4, &was), 0); \
		assert_true(was == 5); \
		x = 4; \
		assert_int_equal(mproc_value_cas(v, T, &x, 9), 0); \
		assert_true(x == 5); \
		assert_int_equal(mproc_value_cas(v, T, &x, (MOST)), 1); \
		assert_int_equal(mproc_value_get(v, T, &x, MPROC_NOWAIT), 0); \
		assert_true(x == (MOST)); \
		x = (LEAST); \
		assert_int_equal(mproc_value_set(v, T, &x, MPROC_NOWAIT), 0); \
		x = 1; \
		assert_int_equal(mproc_value_load(v, T, &x), 0); \
		assert_true(x == (LEAST)); \
		mproc_value_close(v); \
	} \
	_Static_assert(sizeof(T), "")

DEFINE_INTEGER_TEST(int8_t, INT8_MIN, INT8_MAX);
DEFINE_INTEGER_TEST(int16_t, INT16_MIN, INT16_MAX);
DEFINE_INTEGER_TEST(int32_t, INT32_MIN, INT32_MAX);
DEFINE_INTEGER_TEST(int64_t, INT64_MIN, INT64_MAX);
DEFINE_INTEGER_TEST(uint8_t, 0, UINT8_MAX);
DEFINE_INTEGER_TEST(uint16_t, 0, UINT16_MAX);
DEFINE_INTEGER_TEST(uint32_t, 0, UINT32_MAX);
DEFINE_INTEGER_TEST(uint64_t, 0, UINT64_MAX);

static void integers_of_all_widths_have_all_operations(void **state)
{
	(void)state;
	integers_int8_t();
	integers_int16_t();
	integers_int32_t();
	integers_int64_t();
	integers_uint8_t();
	integers_uint16_t();
	integers_uint32_t();
	integers_uint64_t();
}

static void floats_and_bools_are_loaded_stored_and_exchanged(void **state)
{
	mproc_value *f = make(MPROC_TYPE(float), NULL);
	mproc_value *d = make(MPROC_TYPE(double), &(double){ 2.5 });
	mproc_value *b = make(MPROC_TYPE(bool), &(bool){ true });
	double x = 0;
	float y = 1;
	bool z = false;

	(void)state;
	assert_int_equal(mproc_value_load(f, float, &y), 0);
	assert_true(y == 0);
	assert_int_equal(mproc_value_xchg(f, float, 0.25f, &y), 0);
	assert_int_equal(mproc_value_xchg(f, float, 0, &y), 0);
	assert_true(y == 0.25f);

	assert_int_equal(mproc_value_xchg(d, double, -0.0, &x), 0);
	assert_true(x == 2.5);
	x = 0.0;
	assert_int_equal(mproc_value_cas(d, double, &x, 1), 0);
	assert_true(x == 0 && signbit(x));
	assert_int_equal(mproc_value_cas(d, double, &x, NAN), 1);
	x = NAN;
	assert_int_equal(mproc_value_cas(d, double, &x, 3), 1);

	assert_int_equal(mproc_value_cas(b, bool, &z, false), 0);
	assert_true(z);
	assert_int_equal(mproc_value_cas(b, bool, &z, false), 1);
	assert_int_equal(mproc_value_store(b, bool, 17), 0);
	assert_int_equal(mproc_value_load(b, bool, &z), 0);
	assert_true(z);

	assert_int_equal(mproc_value_and(d, double, 1, &x), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "it holds double, and this takes an integer"));
	assert_int_equal(mproc_value_or(b, bool, 1, NULL), -EINVAL);
	assert_int_equal(mproc_value_add(b, bool, 1, NULL), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "it holds bool, and this takes a number"));
	mproc_value_close(b);
	mproc_value_close(d);
	mproc_value_close(f);
}

static void structs_are_got_and_set_whole(void **state)
{
	struct point p = { 1, 2, 3, 4 }, q = { 0 };
	mproc_value *v = make(MPROC_TYPE(struct point), &p);

	(void)state;
	assert_int_equal(mproc_value_get(v, struct point, &q, MPROC_FOREVER), 0);
	assert_memory_equal(&p, &q, sizeof(p));
	p.tag = 5;
	assert_int_equal(mproc_value_set(v, struct point, &p, MPROC_FOREVER), 0);
	assert_int_equal(mproc_value_get(v, struct point, &q, MPROC_FOREVER), 0);
	assert_int_equal(q.tag, 5);
	mproc_value_close(v);
}

static void functions_do_what_macros_do(void **state)
{
	mproc_value *v = make(MPROC_TYPE(int16_t), NULL);
	int16_t one = 1, was = 9;

	(void)state;
	assert_int_equal((mproc_value_add)(v, MPROC_TYPE(int16_t), &one, &was), 0);
	assert_int_equal(was, 0);
	assert_int_equal((mproc_value_get)(v, MPROC_TYPE(int16_t), &was, MPROC_NOWAIT), 0);
	assert_int_equal(was, 1);
	mproc_value_close(v);
}

static void macros_evaluate_each_argument_once(void **state)
{
	mproc_value *v = make(MPROC_TYPE(int), NULL);
	int i = 0, was[4] = { 0 };
	int *at = was;

	(void)state;
	assert_int_equal(mproc_value_add(v, int, ++i, at++), 0);
	assert_int_equal(i, 1);
	assert_ptr_equal(at, was + 1);
	assert_int_equal(mproc_value_get(v, int, at++, MPROC_NOWAIT), 0);
	assert_ptr_equal(at, was + 2);
	assert_int_equal(was[1], 1);
	mproc_value_close(v);
}

static void try_locked(void *arg)
{
	mproc_value *v = arg;
	int x = 0;

	t_check(mproc_value_lock(v, MPROC_NOWAIT) == -EAGAIN);
	t_check(mproc_value_get(v, int, &x, MPROC_NOWAIT) == -EAGAIN);
	t_check(mproc_value_set(v, int, &x, mproc_after_ms(5)) == -ETIMEDOUT);
	t_check(mproc_value_unlock(v) == -EPERM);
	t_check(mproc_value_consistent(v) == -EPERM);
	/* Atomic operations are not excluded. */
	t_check(mproc_value_add(v, int, 1, NULL) == 0);
}

static void lock_freely(void *arg)
{
	t_check(mproc_value_lock(arg, MPROC_NOWAIT) == 0);
	t_check(mproc_value_unlock(arg) == 0);
}

static void lock_excludes_others_and_not_its_owner(void **state)
{
	mproc_value *v = make(MPROC_TYPE(int), NULL);
	int x = 41;

	(void)state;
	assert_int_equal(mproc_value_lock(v, MPROC_FOREVER), 0);
	assert_int_equal(mproc_value_set(v, int, &x, MPROC_NOWAIT), 0);
	assert_int_equal(t_reap(t_spawn(try_locked, v)), 0);
	assert_int_equal(mproc_value_get(v, int, &x, MPROC_NOWAIT), 0);
	assert_int_equal(x, 42);
	/* As often as it is locked it is to be unlocked. */
	assert_int_equal(mproc_value_lock(v, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_value_lock(v, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_value_consistent(v), -EINVAL);
	assert_int_equal(mproc_value_unlock(v), 0);
	assert_int_equal(mproc_value_unlock(v), 0);
	assert_int_equal(t_reap(t_spawn(try_locked, v)), 0);
	assert_int_equal(mproc_value_unlock(v), 0);
	assert_int_equal(mproc_value_unlock(v), -EPERM);
	assert_int_equal(t_reap(t_spawn(lock_freely, v)), 0);
	assert_int_equal(mproc_value_lock(v, -1), -EINVAL);
	mproc_value_close(v);
}

static void lock_and_die(void *arg)
{
	t_check(mproc_value_lock(arg, MPROC_FOREVER) == 0);
	raise(SIGKILL);
}

static void death_between_lock_and_unlock_is_told_until_consistent(void **state)
{
	mproc_value *v = make(MPROC_TYPE(int), NULL);
	int x = 7;

	(void)state;
	assert_int_equal(t_reap(t_spawn(lock_and_die, v)), SIGKILL);
	assert_int_equal(mproc_value_set(v, int, &x, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_value_get(v, int, &x, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(x, 7);
	assert_int_equal(mproc_value_lock(v, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_value_unlock(v), 0);
	assert_int_equal(mproc_value_lock(v, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_value_consistent(v), 0);
	assert_int_equal(mproc_value_unlock(v), 0);
	assert_int_equal(mproc_value_lock(v, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_value_unlock(v), 0);
	/* And the next death is told again. */
	assert_int_equal(t_reap(t_spawn(lock_and_die, v)), SIGKILL);
	assert_int_equal(mproc_value_get(v, int, &x, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	mproc_value_close(v);
}

#define ROUNDS 2000

static void count(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		int64_t n;

		t_check(mproc_value_lock(arg, MPROC_FOREVER) == 0);
		t_check(mproc_value_get((mproc_value *)arg, int64_t, &n, MPROC_FOREVER) == 0);
		n++;
		t_check(mproc_value_set((mproc_value *)arg, int64_t, &n, MPROC_FOREVER) == 0);
		t_check(mproc_value_unlock(arg) == 0);
		t_check(mproc_value_add((mproc_value *)arg, int64_t, 0, NULL) == 0);
	}
}

static void count_atomically(void *arg)
{
	for (int i = 0; i < ROUNDS; i++)
		t_check(mproc_value_add((mproc_value *)arg, int64_t, 1, NULL) == 0);
}

static void four_processes_count_right(void **state)
{
	void (*const ways[])(void *) = { count, count_atomically };
	pid_t pids[4];
	int64_t n;

	(void)state;
	for (size_t way = 0; way < 2; way++) {
		mproc_value *v = make(MPROC_TYPE(int64_t), NULL);

		for (size_t i = 0; i < 4; i++)
			pids[i] = t_spawn(ways[way], v);
		for (size_t i = 0; i < 4; i++)
			assert_int_equal(t_reap(pids[i]), 0);
		assert_int_equal(mproc_value_load(v, int64_t, &n), 0);
		assert_int_equal(n, 4 * ROUNDS);
		mproc_value_close(v);
	}
}

static void default_segment_is_shared_with_children(void **state)
{
	mproc_value *v;
	int64_t n = 0;

	(void)state;
	assert_int_equal(mproc_value_create(&v, NULL, "counter",
					    MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t))),
			 0);
	assert_int_equal(t_reap(t_spawn(count_atomically, v)), 0);
	assert_int_equal(mproc_value_load(v, int64_t, &n), 0);
	assert_int_equal(n, ROUNDS);
	mproc_value_close(v);
}

static void wait_ends_by_a_change_or_in_time(void **state)
{
	mproc_value *v = make(MPROC_TYPE(int32_t), &(int32_t){ 7 });
	mproc_value *d = make(MPROC_TYPE(double), &(double){ 0.0 });
	mproc_value *b = make(MPROC_TYPE(bool), &(bool){ true });
	mproc_value *p = make(MPROC_TYPE(struct point), NULL);
	struct point point = { 0 };
	int32_t n = 7;
	double x = -0.0;
	bool yes = true;
	int64_t wide = 7;

	(void)state;
	assert_int_equal(mproc_value_wait(v, int32_t, &n, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_value_wait(v, int32_t, &n, mproc_after_ms(10)), -ETIMEDOUT);
	assert_int_equal(mproc_value_wait(v, int32_t, &n, -1), -EINVAL);
	assert_int_equal(n, 7);
	assert_int_equal(mproc_value_store(v, int32_t, -8), 0);
	assert_int_equal(mproc_value_wait(v, int32_t, &n, MPROC_NOWAIT), 0);
	assert_int_equal(n, -8);
	assert_int_equal(mproc_value_wait(v, int32_t, &n, 1), -ETIMEDOUT);
	/* Bit by bit. */
	assert_int_equal(mproc_value_wait(d, double, &x, MPROC_NOWAIT), 0);
	assert_int_equal(signbit(x), 0);
	assert_int_equal(mproc_value_wait(d, double, &x, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_value_wait(b, bool, &yes, MPROC_NOWAIT), -EAGAIN);

	assert_int_equal(mproc_value_wait(v, int64_t, &wide, MPROC_NOWAIT), -EPROTO);
	assert_int_equal(mproc_value_wait(p, struct point, &point, MPROC_NOWAIT), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "takes a scalar"));
	mproc_value_close(v);
	mproc_value_close(d);
	mproc_value_close(b);
	mproc_value_close(p);
}

static mproc_value *waited_for, *noticed;

static void wait_for_all_changes(void *arg)
{
	int64_t seen = 0;

	/* Only a wake-up ends its sleeps. */
	atomic_store(&mproc__quantum_off, true);
	for (intptr_t i = 0; i < (intptr_t)arg; i++) {
		t_check(mproc_value_wait(waited_for, int64_t, &seen, MPROC_FOREVER) == 0);
		t_check(mproc_value_add(noticed, int, 1, NULL) == 0);
	}
}

static bool somebody_sleeps(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < segment->range->n_threads; i++)
		if (atomic_load(&segment->range->threads[i].waits_on))
			return true;
	return false;
}

static bool so_many_noticed(void *arg)
{
	int n;

	return mproc_value_load(noticed, int, &n) == 0 && n == (int)(intptr_t)arg;
}

/* Each of these changes what it is. */
static int change(int how)
{
	int64_t now, x;
	int r = mproc_value_load(waited_for, int64_t, &now);

	assert_int_equal(r, 0);
	switch (how) {
	case 0:
		return mproc_value_store(waited_for, int64_t, 100);
	case 1:
		return mproc_value_xchg(waited_for, int64_t, 101, &now);
	case 2:
		return mproc_value_cas(waited_for, int64_t, &now, 102) == 1 ? 0 : -1;
	case 3:
		return mproc_value_add(waited_for, int64_t, 1, NULL);
	case 4:
		return mproc_value_and(waited_for, int64_t, 1, NULL);
	case 5:
		return mproc_value_or(waited_for, int64_t, 8, NULL);
	case 6:
		return mproc_value_min(waited_for, int64_t, -5, NULL);
	case 7:
		return mproc_value_max(waited_for, int64_t, 5, NULL);
	default:
		x = 200;
		return mproc_value_set(waited_for, int64_t, &x, MPROC_FOREVER);
	}
}

#define WAYS 9

static void every_way_to_change_it_wakes_who_waits(void **state)
{
	pid_t pid;

	(void)state;
	waited_for = make(MPROC_TYPE(int64_t), NULL);
	noticed = make(MPROC_TYPE(int), NULL);
	pid = t_spawn(wait_for_all_changes, (void *)(intptr_t)WAYS);
	for (int how = 0; how < WAYS; how++) {
		assert_true(t_wait_until(somebody_sleeps, NULL, mproc_after_ms(10000)));
		/* It is noted just before the sleep begins. */
		usleep(20000);
		assert_int_equal(change(how), 0);
		assert_true(t_wait_until(so_many_noticed, (void *)(intptr_t)(how + 1),
					 mproc_after_ms(10000)));
	}
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(segment->range->reg->heals, 0);
	mproc_value_close(waited_for);
	mproc_value_close(noticed);
}

static void answer_even_with_odd(void *arg)
{
	int64_t seen = 0;

	(void)arg;
	atomic_store(&mproc__quantum_off, true);
	atomic_store(&mproc__polls_off, true);
	while (seen < ROUNDS) {
		t_check(mproc_value_wait(waited_for, int64_t, &seen, MPROC_FOREVER) == 0);
		if (seen % 2)
			t_check(mproc_value_add(waited_for, int64_t, 1, &seen) == 0);
	}
}

/* Turn by turn, asleep in between: a wake-up that is lost hangs. */
static void no_change_is_slept_through(void **state)
{
	int64_t seen = 0;
	pid_t pid;

	(void)state;
	waited_for = make(MPROC_TYPE(int64_t), NULL);
	pid = t_spawn(answer_even_with_odd, NULL);
	for (int64_t i = 0; i < ROUNDS; i += 2) {
		assert_int_equal(mproc_value_cas(waited_for, int64_t, &(int64_t){ i }, i + 1), 1);
		seen = i + 1;
		assert_int_equal(
			mproc_value_wait(waited_for, int64_t, &seen, mproc_after_ms(20000)), 0);
		assert_int_equal(seen, i + 2);
	}
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(segment->range->reg->heals, 0);
	mproc_value_close(waited_for);
}

static void floats_are_added_and_compared(void **state)
{
	mproc_value *f = make(MPROC_TYPE(float), NULL), *d = make(MPROC_TYPE(double), NULL);
	double x = 0;
	float y = 0;

	(void)state;
	assert_int_equal(mproc_value_add(d, double, 0.1, NULL), 0);
	assert_int_equal(mproc_value_add(d, double, 0.2, &x), 0);
	assert_true(x == 0.1);
	assert_int_equal(mproc_value_load(d, double, &x), 0);
	assert_true(x == 0.1 + 0.2);
	assert_int_equal(mproc_value_max(d, double, NAN, NULL), 0);
	assert_int_equal(mproc_value_max(d, double, -1, NULL), 0);
	assert_int_equal(mproc_value_max(d, double, 7.5, NULL), 0);
	assert_int_equal(mproc_value_min(d, double, INFINITY, &x), 0);
	assert_true(x == 7.5);
	assert_int_equal(mproc_value_add(f, float, 16777216, NULL), 0);
	/* Rounded as a sum of floats, whatever it is worked out in. */
	assert_int_equal(mproc_value_add(f, float, 1, NULL), 0);
	assert_int_equal(mproc_value_min(f, float, 1e9F, &y), 0);
	assert_true(y == 16777216);
	mproc_value_close(d);
	mproc_value_close(f);
}

static void set_raw(void *arg)
{
	t_check(mproc_value_set(arg, int, &(int){ 8 }, MPROC_NOWAIT) == 0);
}

static void raw_value_has_no_lock_and_says_so(void **state)
{
	const struct point init = { 1, 2, 3, 4 };
	mproc_value *v = NULL, *w = NULL;
	struct point p;
	int x = 0;

	(void)state;
	assert_int_equal(mproc_value_create(&v, segment, "raw",
					    MPROC_VALUE_OPTS(.type = MPROC_TYPE(int),
							     .flags = MPROC_VALUE_RAW)),
			 0);
	assert_int_equal(mproc_value_lock(v, MPROC_FOREVER), -EINVAL);
	assert_string_equal(mproc_error_text(), "value raw: lock: it was made without a lock");
	assert_int_equal(mproc_value_unlock(v), -EINVAL);
	assert_int_equal(mproc_value_consistent(v), -EINVAL);
	assert_int_equal(t_reap(t_spawn(set_raw, v)), 0);
	assert_int_equal(mproc_value_get(v, int, &x, MPROC_NOWAIT), 0);
	assert_int_equal(x, 8);
	assert_int_equal(mproc_value_get(v, int, &x, -1), -EINVAL);
	assert_int_equal(mproc_value_add(v, int, 1, &x), 0);
	assert_int_equal(mproc_value_wait(v, int, &x, MPROC_FOREVER), 0);
	assert_int_equal(x, 9);
	/* Who opens it takes it as it is; who would make it wants it as he would. */
	assert_int_equal(mproc_value_open(&w, segment, "raw", MPROC_TYPE(int)), 0);
	assert_int_equal(mproc_value_lock(w, MPROC_FOREVER), -EINVAL);
	mproc_value_close(w);
	w = NULL;
	assert_int_equal(mproc_value_open_or_create(&w, segment, "raw",
						    MPROC_VALUE_OPTS(.type = MPROC_TYPE(int))),
			 -EPROTO);
	assert_string_equal(mproc_error_text(), "open value raw: one with a lock of its own wanted,"
						" it is one without a lock");
	mproc_value_close(v);
	assert_int_equal(
		mproc_value_create(&v, segment, NULL,
				   MPROC_VALUE_OPTS(.type = MPROC_TYPE(struct point),
						    .flags = MPROC_VALUE_RAW, .init = &init)),
		0);
	assert_int_equal(mproc_value_get(v, struct point, &p, MPROC_NOWAIT), 0);
	assert_memory_equal(&p, &init, sizeof(p));
	mproc_value_close(v);
	assert_int_equal(mproc_value_create(&w, segment, NULL,
					    MPROC_VALUE_OPTS(.type = MPROC_TYPE(int), .flags = 2)),
			 -EINVAL);
}

static uint64_t len_of(const struct mproc_value_opts *opts)
{
	const struct mproc__object_spec spec = { .what = "value",
						 .name = "len",
						 .kind = MPROC__KIND_VALUE,
						 .type = MPROC__CELLS_LAYOUT };
	struct mproc__object object;
	mproc_value *v;

	assert_int_equal(mproc_value_create(&v, segment, "len", opts), 0);
	mproc_value_close(v);
	assert_int_equal(mproc__object_open(&object, segment, &spec), 0);
	assert_int_equal(mproc__object_remove(segment, &object), 0);
	return object.len;
}

static void values_cost_what_the_header_says(void **state)
{
	(void)state;
	assert_int_equal(len_of(MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t))), 64);
	assert_int_equal(len_of(MPROC_VALUE_OPTS(.type = MPROC_TYPE(char))), 57);
	assert_int_equal(
		len_of(MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t), .flags = MPROC_VALUE_RAW)),
		40);
	assert_int_equal(len_of(MPROC_VALUE_OPTS(.type = MPROC_TYPE(struct point))), 120 + 64);
	assert_int_equal(len_of(MPROC_VALUE_OPTS(.type = MPROC_TYPE(struct point),
						 .flags = MPROC_VALUE_RAW)),
			 88 + 32);
}

static int init_mutex(void *object, void *arg)
{
	return mproc_mutex_init(object, *(uint32_t *)arg);
}

static mproc_mutex *mutex_of(const char *name, uint32_t flags)
{
	void *object = NULL;

	assert_int_equal(mproc_segment_object(&object, segment, name, sizeof(mproc_mutex),
					      init_mutex, &flags),
			 1);
	return object;
}

static void get_finds_it_locked(void *arg)
{
	int x;

	t_check(mproc_value_get(arg, int, &x, MPROC_NOWAIT) == -EAGAIN);
}

static void lock_and_die_with_mutex(void *arg)
{
	t_check(mproc_mutex_lock(arg, MPROC_FOREVER) == 0);
	raise(SIGKILL);
}

static void given_mutex_guards_all_that_have_it(void **state)
{
	mproc_mutex *mutex = mutex_of("mutex", 0), *other = mutex_of("other", 0);
	const struct mproc_value_opts *opts =
		MPROC_VALUE_OPTS(.type = MPROC_TYPE(int), .mutex = mutex);
	mproc_value *a = NULL, *b = NULL, *c = NULL;
	int x = 5;

	(void)state;
	assert_int_equal(mproc_value_create(&a, segment, "a", opts), 0);
	assert_int_equal(mproc_value_create(&b, segment, "b", opts), 0);
	mproc_value_close(b);
	assert_int_equal(mproc_value_open(&b, segment, "b", MPROC_TYPE(int)), 0);
	/* Who says by which mutex means that one. */
	assert_int_equal(mproc_value_open_or_create(&c, segment, "a", opts), 0);
	mproc_value_close(c);
	assert_int_equal(mproc_value_open_or_create(
				 &c, segment, "a",
				 MPROC_VALUE_OPTS(.type = MPROC_TYPE(int), .mutex = other)),
			 -EPROTO);
	assert_string_equal(mproc_error_text(), "open value a: another mutex guards it");
	assert_int_equal(mproc_mutex_lock(mutex, MPROC_FOREVER), 0);
	assert_int_equal(t_reap(t_spawn(get_finds_it_locked, a)), 0);
	assert_int_equal(t_reap(t_spawn(get_finds_it_locked, b)), 0);
	/* Its owner has all of them, and it is not recursive. */
	assert_int_equal(mproc_value_set(b, int, &x, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_value_lock(a, MPROC_NOWAIT), -EDEADLK);
	assert_int_equal(mproc_value_unlock(a), 0);
	assert_int_equal(mproc_mutex_unlock(mutex), -EPERM);
	/* A death is told by any of them, until one says consistent. */
	assert_int_equal(t_reap(t_spawn(lock_and_die_with_mutex, mutex)), SIGKILL);
	assert_int_equal(mproc_value_get(a, int, &x, MPROC_FOREVER), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_value_lock(b, MPROC_FOREVER), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_value_consistent(b), 0);
	assert_int_equal(mproc_value_unlock(b), 0);
	assert_int_equal(mproc_value_get(a, int, &x, MPROC_FOREVER), 0);
	assert_int_equal(t_reap(t_spawn(lock_and_die, b)), SIGKILL);
	assert_int_equal(mproc_mutex_lock(mutex, MPROC_FOREVER), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_mutex_consistent(mutex), 0);
	assert_int_equal(mproc_mutex_unlock(mutex), 0);
	/* One that is destroyed under them is an error, not a hang. */
	mproc_mutex_destroy(mutex);
	assert_int_equal(mproc_value_get(a, int, &x, MPROC_FOREVER), -EINVAL);
	mproc_value_close(b);
	mproc_value_close(a);
}

static void mutex_that_cannot_be_given_is_refused(void **state)
{
	mproc_segment *other = NULL;
	mproc_mutex *strict = mutex_of("strict", MPROC_MUTEX_STRICT), own;
	mproc_value *v = NULL;
	void *block = NULL;

	(void)state;
	memset(&own, 0, sizeof(own));
#define REFUSED(m, text, ...) \
	assert_int_equal(mproc_value_create(&v, segment, NULL, \
					    MPROC_VALUE_OPTS(.type = MPROC_TYPE(int), \
							     .mutex = (m), __VA_ARGS__)), \
			 -EINVAL); \
	assert_non_null(strstr(mproc_error_text(), text))
	REFUSED(&own, "not in the same segment", .flags = 0);
	REFUSED(strict, "strict", .flags = 0);
	REFUSED(strict, "and a mutex", .flags = MPROC_VALUE_RAW);
	REFUSED((mproc_mutex *)((uintptr_t)strict + 4), "no mutex", .flags = 0);
	assert_int_equal(mproc_segment_object(&block, segment, "block", 64, NULL, NULL), 1);
	REFUSED((mproc_mutex *)block, "no mutex", .flags = 0);
	assert_int_equal(mproc_segment_create(&other, NULL, NULL), 0);
	assert_int_equal(mproc_segment_object(&block, other, "mutex", sizeof(mproc_mutex),
					      init_mutex, &(uint32_t){ 0 }),
			 1);
	REFUSED((mproc_mutex *)block, "not in the same segment", .flags = 0);
	mproc_segment_close(other);
#undef REFUSED
	assert_null(v);
}

static void mutex_scribbled_over_is_refused(void **state)
{
	const struct mproc__object_spec spec = {
		.what = "value", .name = "v", .kind = MPROC__KIND_VALUE, .type = MPROC__CELLS_LAYOUT
	};
	struct mproc__cells_geometry g = { .n_items = 0 };
	struct mproc__object object;
	mproc_value *v = NULL;

	(void)state;
	assert_int_equal(mproc_value_create(&v, segment, "v",
					    MPROC_VALUE_OPTS(.type = MPROC_TYPE(int),
							     .mutex = mutex_of("m", 0))),
			 0);
	mproc_value_close(v);
	v = NULL;
	assert_int_equal(mproc__object_open(&object, segment, &spec), 0);
	assert_true(mproc__cells_check(object.mem, object.len, &g));
	for (uint64_t off = UINT64_MAX - 40; off >= 40; off /= 3) {
		memcpy((char *)object.mem + g.mutex, &(uint64_t){ off | 1 }, 8);
		assert_int_equal(mproc_value_open(&v, segment, "v", MPROC_TYPE(int)), -EBADMSG);
	}
	/* And any one byte of the head: opened or refused, never worse. */
	for (size_t i = 0; i < g.items; i++) {
		unsigned char *byte = (unsigned char *)object.mem + i, was = *byte;

		for (int bit = 0; bit < 8; bit++) {
			*byte = (unsigned char)(was ^ 1 << bit);
			v = NULL;
			if (mproc_value_open(&v, segment, "v", MPROC_TYPE(int)) == 0)
				mproc_value_close(v);
			*byte = was;
		}
	}
}

struct inner {
	int32_t a[3];
	float b;
};

struct outer {
	struct inner in[2], one;
	char name[16];
	struct mproc_ref next;
};

/* The same but for the items of the array in the inner struct. */
struct other_inner {
	float a[3];
	float b;
};

static void nested_structs_and_arrays_are_compared(void **state)
{
	static const struct mproc_field inner[] = {
		MPROC_FIELD_ARRAY(struct inner, a),
		MPROC_FIELD(struct inner, b),
	};
	static const struct mproc_field other_inner[] = {
		MPROC_FIELD_ARRAY(struct other_inner, a),
		MPROC_FIELD(struct other_inner, b),
	};
	const struct mproc_field outer[] = {
		MPROC_FIELD_ARRAY(struct outer, in),
		MPROC_FIELD_STRUCT(struct outer, one, MPROC_TYPE_FIELDS(struct inner, inner)),
		MPROC_FIELD_ARRAY(struct outer, name),
		MPROC_FIELD(struct outer, next),
	};
	const struct mproc_field other[] = {
		MPROC_FIELD_ARRAY(struct outer, in),
		MPROC_FIELD_STRUCT(struct outer, one,
				   MPROC_TYPE_FIELDS(struct other_inner, other_inner)),
		MPROC_FIELD_ARRAY(struct outer, name),
		MPROC_FIELD(struct outer, next),
	};
	mproc_value *v = NULL, *w = NULL;

	(void)state;
	assert_int_equal(inner[0].kind, MPROC_INT);
	assert_int_equal(inner[0].n_items, 3);
	assert_int_equal(outer[2].size, 16);
	assert_int_equal(mproc_value_create(
				 &v, segment, "outer",
				 MPROC_VALUE_OPTS(.type = MPROC_TYPE_FIELDS(struct outer, outer))),
			 0);
	assert_int_equal(
		mproc_value_open(&w, segment, "outer", MPROC_TYPE_FIELDS(struct outer, outer)), 0);
	mproc_value_close(w);
	assert_int_equal(
		mproc_value_open(&w, segment, "outer", MPROC_TYPE_FIELDS(struct outer, other)),
		-EPROTO);
	assert_non_null(strstr(mproc_error_text(), "with other fields"));
	mproc_value_close(v);
}

static mproc_value *by_pointer;

static void write_by_pointer(void *arg)
{
	(void)arg;
	__atomic_store_n(mproc_value_at(by_pointer, int64_t), 3, __ATOMIC_SEQ_CST);
	mproc_value_notify(by_pointer);
}

static void pointer_and_notify_do_what_store_does(void **state)
{
	int64_t seen = 0;
	pid_t pid;

	(void)state;
	by_pointer = make(mproc_type_from_code("i64"), NULL);
	assert_null(mproc_value_at(by_pointer, double));
	assert_non_null(strstr(mproc_error_text(), "it holds int64, not double"));
	pid = t_spawn(write_by_pointer, NULL);
	assert_int_equal(mproc_value_wait(by_pointer, int64_t, &seen, mproc_after_ms(20000)), 0);
	assert_int_equal(seen, 3);
	assert_int_equal(t_reap(pid), 0);
	mproc_value_close(by_pointer);
}

static void look_only(void *arg)
{
	mproc_segment *view = NULL;
	mproc_value *v = NULL;
	int x = 0;

	t_check(mproc_segment_attach(
			&view, MPROC_SEGMENT_ATTACH_OPTS(.name = arg,
							 .flags = MPROC_SEGMENT_READ_ONLY)) == 0);
	t_check(mproc_value_open(&v, view, "raw", MPROC_TYPE(int)) == 0);
	t_check(mproc_value_load(v, int, &x) == 0 && x == 4);
	t_check(mproc_value_get(v, int, &x, MPROC_NOWAIT) == 0 && x == 4);
	t_check(*mproc_value_at(v, int) == 4);
	t_check(mproc_value_add(v, int, 1, NULL) < 0);
	t_check(mproc_value_store(v, int, 1) < 0);
	t_check(mproc_value_xchg(v, int, 1, NULL) < 0);
	t_check(mproc_value_cas(v, int, &x, 1) < 0);
	t_check(mproc_value_set(v, int, &x, MPROC_NOWAIT) < 0);
	mproc_value_close(v);
	_exit(0);
}

static void who_may_only_look_changes_nothing(void **state)
{
	mproc_segment *named = NULL;
	mproc_value *v = NULL;
	char name[32];
	int x;

	(void)state;
	t_private_dir();
	snprintf(name, sizeof(name), "t_value.%d", (int)getpid());
	assert_int_equal(
		mproc_segment_create(&named, name,
				     MPROC_SEGMENT_OPTS(.flags = MPROC_SEGMENT_PERSISTENT)),
		0);
	assert_int_equal(
		mproc_value_create(&v, named, "raw",
				   MPROC_VALUE_OPTS(.type = MPROC_TYPE(int), .init = &(int){ 4 },
						    .flags = MPROC_VALUE_RAW)),
		0);
	/* The child is to have a mapping of its own. */
	mproc_value_close(v);
	mproc_segment_close(named);
	assert_int_equal(t_reap(t_spawn(look_only, name)), 0);
	assert_int_equal(mproc_segment_open(&named, name), 0);
	assert_int_equal(mproc_value_open(&v, named, "raw", MPROC_TYPE(int)), 0);
	assert_int_equal(mproc_value_load(v, int, &x), 0);
	assert_int_equal(x, 4);
	mproc_value_close(v);
	mproc_segment_close(named);
	assert_int_equal(mproc_segment_unlink(name), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(types_know_kind_and_size),
		TEST(open_finds_what_create_made),
		TEST(wrong_type_is_refused_with_both_names),
		TEST(structs_are_told_apart_by_name_and_fields),
		TEST(what_cannot_be_shared_is_refused),
		TEST(integers_of_all_widths_have_all_operations),
		TEST(floats_and_bools_are_loaded_stored_and_exchanged),
		TEST(structs_are_got_and_set_whole),
		TEST(functions_do_what_macros_do),
		TEST(macros_evaluate_each_argument_once),
		TEST(lock_excludes_others_and_not_its_owner),
		TEST(death_between_lock_and_unlock_is_told_until_consistent),
		TEST(four_processes_count_right),
		TEST(default_segment_is_shared_with_children),
		TEST(wait_ends_by_a_change_or_in_time),
		TEST(every_way_to_change_it_wakes_who_waits),
		TEST(no_change_is_slept_through),
		TEST(floats_are_added_and_compared),
		TEST(raw_value_has_no_lock_and_says_so),
		TEST(values_cost_what_the_header_says),
		TEST(given_mutex_guards_all_that_have_it),
		TEST(mutex_that_cannot_be_given_is_refused),
		TEST(mutex_scribbled_over_is_refused),
		TEST(nested_structs_and_arrays_are_compared),
		TEST(pointer_and_notify_do_what_store_does),
		TEST(who_may_only_look_changes_nothing),
	};

	return cmocka_run_group_tests_name("value", tests, NULL, NULL);
}
