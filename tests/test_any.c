/* SPDX-License-Identifier: MIT */

/*
 * Values that say what they are: what is stored of them, and what comes back
 */

#include <mproc/any.h>

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "ipc/any.h"

static void assert_comes_back(struct mproc_any any, size_t len)
{
	struct mproc_any back;
	unsigned char copy[64];
	const void *bytes = NULL;
	size_t got = 0;

	assert_int_equal(mproc__any_bytes(&any, &bytes, &got), 0);
	assert_int_equal(got, len);
	if (got)
		memcpy(copy, bytes, got);
	assert_int_equal(mproc__any_from(any.kind, copy, got, &back), 0);
	assert_int_equal(back.kind, any.kind);
	if (any.kind == MPROC_ANY_STR || any.kind == MPROC_ANY_BYTES) {
		assert_int_equal(back.as.bytes.len, len);
		assert_memory_equal(back.as.bytes.ptr, any.as.bytes.ptr, len);
	} else {
		assert_memory_equal(&back, &any, sizeof(any));
	}
}

static void what_is_stored_comes_back(void **state)
{
	const struct mproc_ref ref = { 1, 2, 3 };

	(void)state;
	assert_comes_back(mproc_any_none(), 0);
	assert_comes_back(mproc_any_bool(true), 1);
	assert_comes_back(mproc_any_int(-7), 8);
	assert_comes_back(mproc_any_uint(UINT64_MAX), 8);
	assert_comes_back(mproc_any_float(-0.5), 8);
	assert_comes_back(mproc_any_str(""), 0);
	assert_comes_back(mproc_any_str("text"), 4);
	assert_comes_back(mproc_any_bytes("a\0b", 3), 3);
	assert_comes_back(mproc_any_ref(ref), sizeof(ref));
}

static void what_is_impossible_is_refused(void **state)
{
	struct mproc_any any = mproc_any_bytes(NULL, 1), back;
	const void *bytes = NULL;
	size_t len = 0;

	(void)state;
	assert_int_equal(mproc__any_bytes(&any, &bytes, &len), -EINVAL);
	any.kind = 77;
	assert_int_equal(mproc__any_bytes(&any, &bytes, &len), -EINVAL);
	assert_int_equal(mproc__any_from(77, "", 0, &back), -EBADMSG);
	assert_int_equal(mproc__any_from(MPROC_ANY_INT, "1234", 4, &back), -EBADMSG);
	assert_int_equal(mproc__any_from(MPROC_ANY_NONE, "1", 1, &back), -EBADMSG);
}

static bool equal(struct mproc_any a, struct mproc_any b)
{
	int r = mproc_any_equal(&a, &b);

	assert_int_equal(mproc_any_equal(&b, &a), r);
	return r;
}

static int order(struct mproc_any a, struct mproc_any b)
{
	int r = mproc_any_compare(&a, &b), back = mproc_any_compare(&b, &a);

	assert_int_equal((r > 0) - (r < 0), (back < 0) - (back > 0));
	return (r > 0) - (r < 0);
}

static void numbers_are_equal_by_value_as_in_python(void **state)
{
	const int64_t big = (INT64_C(1) << 53) + 1;

	(void)state;
	assert_true(equal(MPROC_ANY((bool)true), MPROC_ANY(1)));
	assert_true(equal(MPROC_ANY((bool)true), MPROC_ANY(1.0)));
	assert_true(equal(MPROC_ANY(1u), MPROC_ANY(1)));
	assert_true(equal(MPROC_ANY((bool)false), MPROC_ANY(-0.0)));
	assert_true(equal(MPROC_ANY(0.0), MPROC_ANY(-0.0)));
	assert_false(equal(MPROC_ANY((bool)true), MPROC_ANY(2)));
	assert_false(equal(MPROC_ANY(-1), MPROC_ANY(UINT64_MAX)));
	assert_false(equal(MPROC_ANY(NAN), MPROC_ANY(NAN)));
	assert_false(equal(MPROC_ANY(NAN), MPROC_ANY(0)));
	assert_true(equal(MPROC_ANY(INFINITY), MPROC_ANY(INFINITY)));
	assert_false(equal(MPROC_ANY(INFINITY), MPROC_ANY(-INFINITY)));
	/* No rounding: neighbours of 2^53 and the ends of the ranges. */
	assert_false(equal(MPROC_ANY(big), MPROC_ANY((double)(big - 1))));
	assert_true(equal(MPROC_ANY(big - 1), MPROC_ANY((double)(big - 1))));
	assert_false(equal(MPROC_ANY(INT64_MAX), MPROC_ANY(0x1p63)));
	assert_true(equal(MPROC_ANY(INT64_MIN), MPROC_ANY(-0x1p63)));
	assert_true(equal(MPROC_ANY((uint64_t)1 << 63), MPROC_ANY(0x1p63)));
	assert_false(equal(MPROC_ANY(UINT64_MAX), MPROC_ANY(0x1p64)));
	assert_false(equal(MPROC_ANY(0), MPROC_ANY(0x1p-1074)));
	assert_false(equal(MPROC_ANY(-3), MPROC_ANY(-3.5)));
}

static void strings_and_bytes_are_not_each_other(void **state)
{
	const struct mproc_ref ref = { 1, 2, 3 }, other = { 1, 2, 4 };

	(void)state;
	assert_true(equal(MPROC_ANY("a"), mproc_any_of(MPROC_ANY_STR, "ab", 1)));
	assert_false(equal(MPROC_ANY("a"), mproc_any_bytes("a", 1)));
	assert_false(equal(mproc_any_bytes("a", 1), mproc_any_bytes("a\0", 2)));
	assert_false(equal(mproc_any_bytes("a", 1), mproc_any_of(MPROC_ANY_PACK, "a", 1)));
	assert_true(equal(MPROC_ANY(""), mproc_any_of(MPROC_ANY_STR, NULL, 0)));
	assert_false(equal(MPROC_ANY("1"), MPROC_ANY(1)));
	assert_true(equal(mproc_any_none(), mproc_any_none()));
	assert_false(equal(mproc_any_none(), MPROC_ANY(0)));
	assert_true(equal(MPROC_ANY(ref), MPROC_ANY(ref)));
	assert_false(equal(MPROC_ANY(ref), MPROC_ANY(other)));
	assert_false(equal(mproc_any_of(77, NULL, 0), mproc_any_of(77, NULL, 0)));
}

static void there_is_an_order_of_all_values(void **state)
{
	const struct mproc_ref ref = { 1, 2, 3 };
	const struct mproc_any sorted[] = {
		mproc_any_none(),
		MPROC_ANY(-INFINITY),
		MPROC_ANY(-0x1p63 * 2),
		MPROC_ANY(INT64_MIN),
		MPROC_ANY(-3.5),
		MPROC_ANY(-3),
		MPROC_ANY(-0.5),
		MPROC_ANY((bool)false),
		MPROC_ANY(0x1p-1074),
		MPROC_ANY((bool)true),
		MPROC_ANY(1.5),
		MPROC_ANY(2u),
		MPROC_ANY(INT64_MAX),
		MPROC_ANY(0x1p63),
		MPROC_ANY(UINT64_MAX),
		MPROC_ANY(0x1p64),
		MPROC_ANY(INFINITY),
		MPROC_ANY(NAN),
		MPROC_ANY(""),
		MPROC_ANY("a"),
		mproc_any_of(MPROC_ANY_STR, "a\0", 2),
		MPROC_ANY("b"),
		mproc_any_bytes("", 0),
		mproc_any_bytes("\xff", 1),
		mproc_any_of(MPROC_ANY_PACK, "", 0),
		MPROC_ANY(ref),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(sorted) / sizeof(sorted[0]); i++)
		for (size_t k = 0; k < sizeof(sorted) / sizeof(sorted[0]); k++)
			assert_int_equal(order(sorted[i], sorted[k]), (i > k) - (i < k));
}

static void assert_text(struct mproc_any any, const char *want)
{
	char buf[200], small[5];

	assert_int_equal(mproc_any_text(buf, sizeof(buf), &any), strlen(want));
	assert_string_equal(buf, want);
	assert_int_equal(mproc_any_text(NULL, 0, &any), strlen(want));
	memset(small, 'x', sizeof(small));
	assert_int_equal(mproc_any_text(small, sizeof(small) - 1, &any), strlen(want));
	assert_int_equal(strlen(small), strlen(want) < 3 ? strlen(want) : 3);
	assert_memory_equal(small, want, strlen(small));
	assert_int_equal(small[4], 'x');
}

static void text_is_what_python_prints(void **state)
{
	const struct mproc_ref ref = { 0x1f, 64, 7 };

	(void)state;
	assert_text(mproc_any_none(), "None");
	assert_text(MPROC_ANY((bool)true), "True");
	assert_text(MPROC_ANY((bool)false), "False");
	assert_text(MPROC_ANY(INT64_MIN), "-9223372036854775808");
	assert_text(MPROC_ANY(UINT64_MAX), "18446744073709551615");
	assert_text(MPROC_ANY(1.0), "1.0");
	assert_text(MPROC_ANY(0.1), "0.1");
	assert_text(MPROC_ANY(-0.0), "-0.0");
	assert_text(MPROC_ANY(1.0 / 3), "0.3333333333333333");
	assert_text(MPROC_ANY(100000.0), "100000.0");
	assert_text(MPROC_ANY(1e15), "1000000000000000.0");
	assert_text(MPROC_ANY(1e16), "1e+16");
	assert_text(MPROC_ANY(0.0001), "0.0001");
	assert_text(MPROC_ANY(0.00001), "1e-05");
	assert_text(MPROC_ANY(1.5e300), "1.5e+300");
	assert_text(MPROC_ANY(NAN), "nan");
	assert_text(MPROC_ANY(-INFINITY), "-inf");
	assert_text(MPROC_ANY(""), "''");
	assert_text(MPROC_ANY("it's\n\\"), "'it\\'s\\n\\\\'");
	assert_text(mproc_any_of(MPROC_ANY_STR, "a\0\x1b\x7f", 4), "'a\\x00\\x1b\\x7f'");
	assert_text(MPROC_ANY("Gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"),
		    "'Gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80'");
	/* Cut off, too long, a surrogate, and a control in two bytes. */
	assert_text(MPROC_ANY("\xc3"), "'\\xc3'");
	assert_text(MPROC_ANY("\xc0\xaf"), "'\\xc0\\xaf'");
	assert_text(MPROC_ANY("\xed\xa0\x80"), "'\\xed\\xa0\\x80'");
	assert_text(MPROC_ANY("\xc2\x9b"), "'\\xc2\\x9b'");
	assert_text(mproc_any_bytes("a\0\xc3\xbc'", 5), "b'a\\x00\\xc3\\xbc\\''");
	assert_text(mproc_any_of(MPROC_ANY_PACK, "abc", 3), "<pack of 3 bytes>");
	assert_text(MPROC_ANY(ref), "<ref to 000000000000001f at 64, generation 7>");
	assert_text(mproc_any_of(77, NULL, 0), "<kind 77>");
}

typedef struct point {
	int32_t x;
	double y;
} point;

MPROC_PACK_STRUCT(point, (val, x), (val, y));

static void structs_go_in_and_come_out(void **state)
{
	const struct point in = { -7, 0.25 };
	struct point out = { 0 };
	struct mproc_any any;
	unsigned char buf[64];

	(void)state;
	assert_int_equal(mproc_any_pack(&any, MPROC_PACK_TYPE(point), &in, buf, 1), -ENOBUFS);
	assert_int_equal(mproc_any_pack(&any, MPROC_PACK_TYPE(point), &in, buf, sizeof(buf)), 0);
	assert_int_equal(any.kind, MPROC_ANY_PACK);
	assert_ptr_equal(any.as.bytes.ptr, buf);
	assert_int_equal(mproc_any_unpack(&any, MPROC_PACK_TYPE(point), &out, NULL), 0);
	assert_int_equal(out.x, -7);
	assert_true(out.y == 0.25);
	any.kind = MPROC_ANY_BYTES;
	assert_int_equal(mproc_any_unpack(&any, MPROC_PACK_TYPE(point), &out, NULL), -EPROTO);
	assert_non_null(strstr(mproc_error_text(), "unpack"));
}

static void any_c_value_makes_one(void **state)
{
	const struct mproc_any seven = MPROC_ANY(7);
	const char *text = "text";
	float f = 0.5f;

	(void)state;
	assert_int_equal(seven.kind, MPROC_ANY_INT);
	assert_int_equal(MPROC_ANY((signed char)-1).as.i, -1);
	assert_int_equal(MPROC_ANY((unsigned char)255).as.u, 255);
	assert_int_equal(MPROC_ANY((size_t)9).kind, MPROC_ANY_UINT);
	assert_int_equal(MPROC_ANY((bool)true).kind, MPROC_ANY_BOOL);
	assert_true(MPROC_ANY(f).as.f == 0.5);
	assert_int_equal(MPROC_ANY(text).kind, MPROC_ANY_STR);
	assert_int_equal(MPROC_ANY(text).as.bytes.len, 4);
	assert_int_equal(MPROC_ANY(seven).as.i, 7);
	assert_int_equal(MPROC_ANY(&seven).as.i, 7);
	assert_int_equal(MPROC_ANY_PTR(8)->as.i, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_stored_comes_back),
		cmocka_unit_test(what_is_impossible_is_refused),
		cmocka_unit_test(numbers_are_equal_by_value_as_in_python),
		cmocka_unit_test(strings_and_bytes_are_not_each_other),
		cmocka_unit_test(there_is_an_order_of_all_values),
		cmocka_unit_test(text_is_what_python_prints),
		cmocka_unit_test(structs_go_in_and_come_out),
		cmocka_unit_test(any_c_value_makes_one),
	};

	return cmocka_run_group_tests_name("any", tests, NULL, NULL);
}
