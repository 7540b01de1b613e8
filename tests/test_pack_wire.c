/* SPDX-License-Identifier: MIT */

/*
 * mproc/pack.h: bytes that come from others, item by item
 *
 * Arrays of numbers, what is skipped, limits and malice are in test_pack_foreign.c.
 */

#include <mproc/pack.h>

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/hex.h"
#include "tests/support/pack_one.h"
#include "tests/support/pack_types.h"

/* Decode, encode again: the message is that of the writer of today. */
static void assert_decodes_as(const struct mproc_pack_type *type, const unsigned char *bytes,
			      size_t len, const char *want)
{
	mproc_pack_value *value;
	void *again;
	size_t again_len;
	char *hex;

	assert_int_equal(mproc_pack_loads(&value, type, bytes, len, NULL), 0);
	assert_int_equal(mproc_pack_dumps(&again, type, mproc_pack_root(value), &again_len, NULL),
			 0);
	hex = t_hex(again, again_len);
	assert_string_equal(hex, want);
	free(hex);
	free(again);
	mproc_pack_release(value);
}

static void golden_messages_decode_and_are_still_written_so(void **state)
{
	(void)state;
	for (size_t i = 0; i < t_n_goldens; i++) {
		const struct t_golden *g = &t_goldens[i];
		size_t len;
		unsigned char *bytes = t_unhex(g->hex, &len);
		void *today;
		size_t today_len;

		assert_decodes_as(g->type, bytes, len, g->hex);
		if (g->value) {
			assert_int_equal(
				mproc_pack_dumps(&today, g->type, g->value, &today_len, NULL), 0);
			assert_int_equal(today_len, len);
			assert_memory_equal(today, bytes, len);
			free(today);
		}
		free(bytes);
	}
}

static void message_cut_off_anywhere_is_refused(void **state)
{
	unsigned char scratch[1024];
	union {
		everything everything;
		vectors vectors;
		tree tree;
	} got;

	(void)state;
	for (size_t i = 0; i < t_n_goldens; i++) {
		const struct t_golden *g = &t_goldens[i];
		size_t whole;
		unsigned char *bytes = t_unhex(g->hex, &whole);

		for (size_t len = 0; len < whole; len++) {
			struct mproc_pack_arena arena = MPROC_PACK_ARENA(scratch, sizeof(scratch));
			unsigned char *cut = malloc(len ? len : 1);

			assert_non_null(cut);
			memcpy(cut, bytes, len);
			assert_int_equal(mproc_pack_decode(g->type, cut, len, &got, &arena, NULL),
					 -EBADMSG);
			assert_int_equal(mproc_pack_error_detail()->code,
					 MPROC_PACK_ERROR_TRUNCATED);
			free(cut);
		}
		free(bytes);
	}
	assert_int_equal(mproc_pack_decode(&t_none_type, NULL, 0, &got, NULL, NULL), -EBADMSG);
	t_assert_error(-EBADMSG, -EBADMSG, MPROC_PACK_ERROR_TRUNCATED, "none",
		       "the message ends early", 0);
}

static void bytes_behind_the_value_are_refused(void **state)
{
	union t_any got;

	(void)state;
	t_assert_error(t_decode(&t_none_type, "80f6f6", &got), -EBADMSG, MPROC_PACK_ERROR_TRAILING,
		       "none", "2 bytes behind the value", 1);
	t_assert_error(t_decode(t_one(MPROC_PACK_KIND_UINT8, 0, 0), "810500", &got), -EBADMSG,
		       MPROC_PACK_ERROR_TRAILING, "one", "1 bytes behind the value", 2);
}

static void integers_of_any_width_fit_or_are_refused(void **state)
{
	static const struct {
		unsigned kind;
		const char *max, *min, *above, *below, *above_text, *below_text;
	} cases[] = {
		{ MPROC_PACK_KIND_INT8, "811b000000000000007f", "8138 7f", "811880", "813880",
		  "128 does not fit int8_t", "-129 does not fit int8_t" },
		{ MPROC_PACK_KIND_INT16, "81197fff", "813b0000000000007fff", "811a00008000",
		  "81398000", "32768 does not fit int16_t", "-32769 does not fit int16_t" },
		{ MPROC_PACK_KIND_INT32, "811a7fffffff", "813a7fffffff", "811a80000000",
		  "813a80000000", "2147483648 does not fit int32_t",
		  "-2147483649 does not fit int32_t" },
		{ MPROC_PACK_KIND_INT64, "811b7fffffffffffffff", "813b7fffffffffffffff",
		  "811b8000000000000000", "813bffffffffffffffff",
		  "9223372036854775808 does not fit int64_t",
		  "-18446744073709551616 does not fit int64_t" },
		{ MPROC_PACK_KIND_UINT8, "8118ff", "811b0000000000000000", "81190100", "8120",
		  "256 does not fit uint8_t", "-1 does not fit uint8_t" },
		{ MPROC_PACK_KIND_UINT16, "811a0000ffff", "81190000", "811a00010000", "8121",
		  "65536 does not fit uint16_t", "-2 does not fit uint16_t" },
		{ MPROC_PACK_KIND_UINT32, "811affffffff", "811800", "811b0000000100000000",
		  "813863", "4294967296 does not fit uint32_t", "-100 does not fit uint32_t" },
		{ MPROC_PACK_KIND_UINT64, "811bffffffffffffffff", "8100", NULL,
		  "813bfffffffffffffffe", NULL, "-18446744073709551615 does not fit uint64_t" },
	};
	static const int64_t max[] = { INT8_MAX, INT16_MAX, INT32_MAX, INT64_MAX };
	static const uint64_t umax[] = { UINT8_MAX, UINT16_MAX, UINT32_MAX, UINT64_MAX };
	union t_any got;

	(void)state;
	for (size_t i = 0; i < 8; i++) {
		const struct mproc_pack_type *type = t_one(cases[i].kind, 0, 0);
		size_t size = (size_t)1 << i % 4;
		uint64_t want;

		assert_int_equal(t_decode(type, cases[i].max, &got), 0);
		want = i < 4 ? (uint64_t)max[i] : umax[i - 4];
		assert_memory_equal(&got, &want, size);
		assert_int_equal(t_decode(type, cases[i].min, &got), 0);
		want = i < 4 ? ~(uint64_t)max[i] : 0;
		assert_memory_equal(&got, &want, size);
		if (cases[i].above)
			t_assert_error(t_decode(type, cases[i].above, &got), -ERANGE,
				       MPROC_PACK_ERROR_RANGE, "one.v", cases[i].above_text, 1);
		t_assert_error(t_decode(type, cases[i].below, &got), -ERANGE,
			       MPROC_PACK_ERROR_RANGE, "one.v", cases[i].below_text, 1);
	}
}

/* The numbers of RFC 8949, Appendix A, and integers that are or are not exact. */
static void floats_take_every_width_and_exact_integers(void **state)
{
	static const struct {
		const char *hex;
		double want;
		bool fits_double, fits_float;
	} cases[] = {
		{ "f90000", 0.0, true, true },
		{ "f98000", -0.0, true, true },
		{ "f93c00", 1.0, true, true },
		{ "fb3ff199999999999a", 1.1, true, true },
		{ "f93e00", 1.5, true, true },
		{ "f97bff", 65504.0, true, true },
		{ "fa47c35000", 100000.0, true, true },
		{ "fa7f7fffff", 3.4028234663852886e+38, true, true },
		{ "fb7e37e43c8800759c", 1.0e+300, true, false },
		{ "f90001", 5.960464477539063e-8, true, true },
		{ "f90400", 0.00006103515625, true, true },
		{ "f9c400", -4.0, true, true },
		{ "fbc010666666666666", -4.1, true, true },
		{ "f97c00", INFINITY, true, true },
		{ "f9fc00", -INFINITY, true, true },
		{ "fa7f800000", INFINITY, true, true },
		{ "faff800000", -INFINITY, true, true },
		{ "fb7ff0000000000000", INFINITY, true, true },
		{ "fbfff0000000000000", -INFINITY, true, true },
		{ "f983ff", -0x3ffp-24, true, true },
		/* The largest double that rounds to FLT_MAX, and its successor. */
		{ "fb47efffffefffffff", 0x1.fffffefffffffp127, true, true },
		{ "fb47effffff0000000", 0x1.ffffffp127, true, false },
		{ "fbc7effffff0000000", -0x1.ffffffp127, true, false },
		{ "00", 0, true, true },
		{ "17", 23, true, true },
		{ "1818", 24, true, true },
		{ "1903e8", 1000, true, true },
		{ "20", -1, true, true },
		{ "3903e7", -1000, true, true },
		{ "1a00ffffff", 16777215, true, true },
		{ "1a01000000", 16777216, true, true },
		{ "1a01000001", 16777217, true, false },
		{ "3a01000000", -16777217, true, false },
		{ "1b0020000000000000", 9007199254740992.0, true, true },
		{ "1b0020000000000001", 0, false, false },
		{ "1b8000000000000000", 9223372036854775808.0, true, true },
		{ "1bffffffffffffffff", 0, false, false },
		{ "1bfffffffffffff800", 0x1.fffffffffffffp63, true, false },
		{ "3bffffffffffffffff", -0x1p64, true, true },
		{ "3bfffffffffffffffe", 0, false, false },
	};
	char hex[32];
	union t_any got;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		float narrow = (float)(cases[i].fits_float ? cases[i].want : 0);

		snprintf(hex, sizeof(hex), "81%s", cases[i].hex);
		assert_int_equal(t_decode(t_one(MPROC_PACK_KIND_FLOAT64, 0, 0), hex, &got),
				 cases[i].fits_double ? 0 : -ERANGE);
		if (cases[i].fits_double)
			assert_memory_equal(&got.f64, &cases[i].want, 8);
		assert_int_equal(t_decode(t_one(MPROC_PACK_KIND_FLOAT32, 0, 0), hex, &got),
				 cases[i].fits_float ? 0 : -ERANGE);
		if (cases[i].fits_float)
			assert_memory_equal(&got.f32, &narrow, 4);
	}
	for (size_t i = 0; i < 3; i++) {
		static const char *const nans[] = { "81f97e00", "81fa7fc00000",
						    "81fb7ff8000000000000" };

		assert_int_equal(t_decode(t_one(MPROC_PACK_KIND_FLOAT64, 0, 0), nans[i], &got), 0);
		assert_true(isnan(got.f64));
		assert_int_equal(t_decode(t_one(MPROC_PACK_KIND_FLOAT32, 0, 0), nans[i], &got), 0);
		assert_true(isnan(got.f32));
	}
	t_assert_error(t_decode(t_one(MPROC_PACK_KIND_FLOAT32, 0, 0), "81fb7e37e43c8800759c", &got),
		       -ERANGE, MPROC_PACK_ERROR_RANGE, "one.v", "1e+300 does not fit float", 1);
	t_assert_error(t_decode(t_one(MPROC_PACK_KIND_FLOAT64, 0, 0), "811b0020000000000001", &got),
		       -ERANGE, MPROC_PACK_ERROR_RANGE, "one.v",
		       "9007199254740993 does not fit double", 1);
}

static void field_of_another_type_is_refused_by_both_names(void **state)
{
	static const struct {
		unsigned kind;
		const char *hex, *text;
		int code;
	} cases[] = {
#define WRONG MPROC_PACK_ERROR_WRONG_TYPE
		{ MPROC_PACK_KIND_UINT8, "8161 61", "a text string where uint8_t is wanted",
		  WRONG },
		{ MPROC_PACK_KIND_INT64, "81f93c00",
		  "a floating-point number where int64_t is wanted", WRONG },
		{ MPROC_PACK_KIND_INT32, "81f5", "a truth value where int32_t is wanted", WRONG },
		{ MPROC_PACK_KIND_FLOAT64, "81f6", "null where double is wanted", WRONG },
		{ MPROC_PACK_KIND_FLOAT32, "8180", "an array where float is wanted", WRONG },
		{ MPROC_PACK_KIND_BOOL, "8101", "an integer where bool is wanted", WRONG },
		{ MPROC_PACK_KIND_BOOL, "81f7", "a simple value where bool is wanted", WRONG },
		{ MPROC_PACK_KIND_STR, "8120", "a negative integer where a string is wanted",
		  WRONG },
		{ MPROC_PACK_KIND_STR, "81a0", "a map where a string is wanted", WRONG },
		{ MPROC_PACK_KIND_CHARS, "81f6", "null where a string is wanted", WRONG },
		{ MPROC_PACK_KIND_BYTES, "816161", "a text string where a byte string is wanted",
		  WRONG },
		{ MPROC_PACK_KIND_OCTETS, "81f6", "null where a byte string is wanted", WRONG },
		{ MPROC_PACK_KIND_VEC, "814101",
		  "a byte string where an array of numbers is wanted", WRONG },
		{ MPROC_PACK_KIND_VEC, "81c11a00000000",
		  "tag 1 where an array of numbers is wanted", WRONG },
		{ MPROC_PACK_KIND_ARR, "81f6", "null where an array of numbers is wanted", WRONG },
		{ MPROC_PACK_KIND_IN, "81f6", "null where point is wanted", WRONG },
		{ MPROC_PACK_KIND_OWN, "8101", "an integer where address is wanted", WRONG },
#undef WRONG
		{ MPROC_PACK_KIND_OWN, "81d81d00", "a reference where address is wanted",
		  MPROC_PACK_ERROR_BAD_REF },
		{ MPROC_PACK_KIND_STR, "81d81d00", "a reference where a string is wanted",
		  MPROC_PACK_ERROR_BAD_REF },
		{ MPROC_PACK_KIND_INT8, "81d81d00", "a reference where int8_t is wanted",
		  MPROC_PACK_ERROR_BAD_REF },
	};
	union t_any got;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		t_assert_error(t_decode(t_one(cases[i].kind, MPROC_PACK_KIND_FLOAT64, 16),
					cases[i].hex, &got),
			       -EBADMSG, cases[i].code, "one.v", cases[i].text, 1);
	t_assert_error(t_decode(&t_none_type, "a0", &got), -EBADMSG, MPROC_PACK_ERROR_WRONG_TYPE,
		       "none", "a map where none is wanted", 0);
}

static void strings_that_c_cannot_hold_are_refused(void **state)
{
	static const struct {
		unsigned kind;
		int r, code;
		const char *hex, *text;
	} cases[] = {
		{ MPROC_PACK_KIND_STR, -ERANGE, MPROC_PACK_ERROR_RANGE, "8163610062",
		  "a string with a NUL inside" },
		{ MPROC_PACK_KIND_STR, -ERANGE, MPROC_PACK_ERROR_RANGE,
		  "8174 6161616161616161616161616161616161616100", "a string with a NUL inside" },
		{ MPROC_PACK_KIND_STR, -ERANGE, MPROC_PACK_ERROR_RANGE, "814100",
		  "a string with a NUL inside" },
		{ MPROC_PACK_KIND_STR, -EBADMSG, MPROC_PACK_ERROR_BAD_UTF8, "8162c328",
		  "text that is not UTF-8" },
		{ MPROC_PACK_KIND_STR, -EBADMSG, MPROC_PACK_ERROR_BAD_UTF8, "8163eda080",
		  "text that is not UTF-8" },
		{ MPROC_PACK_KIND_CHARS, -EBADMSG, MPROC_PACK_ERROR_BAD_UTF8, "8161ff",
		  "text that is not UTF-8" },
		{ MPROC_PACK_KIND_CHARS, -ERANGE, MPROC_PACK_ERROR_RANGE, "81646162 6364",
		  "a string of 4 bytes does not fit char[4]" },
		{ MPROC_PACK_KIND_CHARS, -ERANGE, MPROC_PACK_ERROR_RANGE, "81620041",
		  "a string with a NUL inside" },
		{ MPROC_PACK_KIND_OCTETS, -ERANGE, MPROC_PACK_ERROR_RANGE, "8143616263",
		  "3 bytes do not fit uint8_t[4]" },
		{ MPROC_PACK_KIND_OCTETS, -ERANGE, MPROC_PACK_ERROR_RANGE, "81456162636465",
		  "5 bytes do not fit uint8_t[4]" },
	};
	union t_any got;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		t_assert_error(t_decode(t_one(cases[i].kind, 0, 4), cases[i].hex, &got), cases[i].r,
			       cases[i].code, "one.v", cases[i].text, 1);
	assert_int_equal(t_decode(t_one(MPROC_PACK_KIND_CHARS, 0, 4), "8143616263", &got), 0);
	assert_string_equal((char *)got.bytes, "abc");
}

static void path_goes_through_structs_and_arrays(void **state)
{
	char *hex = strdup(t_goldens[1].hex);
	mproc_pack_value *value = NULL;
	unsigned char *bytes;
	union t_any got;
	size_t len;

	(void)state;
	/* The last item, a zip of 12345, becomes "hi". */
	assert_non_null(hex);
	memcpy(strstr(hex, "193039"), "626869", 6);
	bytes = t_unhex(hex, &len);
	t_assert_error(mproc_pack_loads(&value, MPROC_PACK_TYPE(everything), bytes, len, NULL),
		       -EBADMSG, MPROC_PACK_ERROR_WRONG_TYPE, "everything.own.zip",
		       "a text string where int32_t is wanted", len - 3);
	assert_string_equal(mproc_pack_error_detail()->type, "everything");
	assert_null(value);
	free(bytes);
	free(hex);

	t_one(MPROC_PACK_KIND_VEC, MPROC_PACK_KIND_UINT8, 0);
	t_assert_error(t_decode(&t_one_type, "8183 00 01 190100", &got), -ERANGE,
		       MPROC_PACK_ERROR_RANGE, "one.v[2]", "256 does not fit uint8_t", 4);
	t_assert_error(t_decode(&t_one_type, "81d84544 0100 0001", &got), -ERANGE,
		       MPROC_PACK_ERROR_RANGE, "one.v[1]", "256 does not fit uint8_t", 6);
	t_assert_error(t_decode(&t_none_type, "83 00 8100 8161", &got), -EBADMSG,
		       MPROC_PACK_ERROR_TRUNCATED, "none[2]", "1 bytes claimed, 0 bytes left", 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_messages_decode_and_are_still_written_so),
		cmocka_unit_test(message_cut_off_anywhere_is_refused),
		cmocka_unit_test(bytes_behind_the_value_are_refused),
		cmocka_unit_test(integers_of_any_width_fit_or_are_refused),
		cmocka_unit_test(floats_take_every_width_and_exact_integers),
		cmocka_unit_test(field_of_another_type_is_refused_by_both_names),
		cmocka_unit_test(strings_that_c_cannot_hold_are_refused),
		cmocka_unit_test(path_goes_through_structs_and_arrays),
	};

	return cmocka_run_group_tests_name("pack wire", tests, NULL, NULL);
}
