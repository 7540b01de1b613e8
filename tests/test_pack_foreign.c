/* SPDX-License-Identifier: MIT */

/*
 * mproc/pack.h: messages of other languages and ages
 *
 * The items of tests/golden/cbor.h are from RFC 8949.
 */

#include <mproc/pack.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/golden/cbor.h"
#include "tests/support/hex.h"
#include "tests/support/pack_one.h"
#include "tests/support/pack_types.h"

/* Two arrays of one length. */
typedef struct pairs {
	int32_t *x;
	int32_t *y;
	uint32_t n;
} pairs;
MPROC_PACK_STRUCT(pairs, (vec, x, n), (vec, y, n));

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* Item by item, for messages that are known to be well-formed: where does one end? */
static const unsigned char *item_end(const unsigned char *p)
{
	unsigned major = *p >> 5, info = *p & 31;
	uint64_t arg = info;

	p++;
	if (info >= 24) {
		arg = 0;
		for (size_t i = 0; i < (size_t)1 << (info - 24); i++)
			arg = arg << 8 | *p++;
	}
	if (major == 2 || major == 3)
		return p + arg;
	if (major == 6)
		return item_end(p);
	if (major == 4)
		for (; arg; arg--)
			p = item_end(p);
	return p;
}

/* Put @mark before every item. Return: the end in @to. */
static unsigned char *mark_items(unsigned char *to, const unsigned char *p,
				 const unsigned char *mark, size_t mark_len, size_t *n_marks)
{
	const unsigned char *begin = p, *end = item_end(p);
	unsigned major = *p >> 5, n = *p & 31;

	memcpy(to, mark, mark_len);
	to += mark_len;
	++*n_marks;
	if (major == 4) {
		*to++ = *p++;
		while (n--) {
			to = mark_items(to, p, mark, mark_len, n_marks);
			p = item_end(p);
		}
		return to;
	}
	if (major == 6) {
		/* Between the tag and its bytes as well. */
		*to++ = *p++;
		*to++ = *p++;
		return mark_items(to, p, mark, mark_len, n_marks);
	}
	memcpy(to, begin, (size_t)(end - begin));
	return to + (end - begin);
}

static void assert_decodes_as(const struct mproc_pack_type *type, const void *bytes, size_t len,
			      const char *want)
{
	mproc_pack_value *value;
	void *again;
	char *hex;

	assert_int_equal(mproc_pack_loads(&value, type, bytes, len, NULL), 0);
	assert_int_equal(mproc_pack_dumps(&again, type, mproc_pack_root(value), &len, NULL), 0);
	hex = t_hex(again, len);
	assert_string_equal(hex, want);
	free(hex);
	free(again);
	mproc_pack_release(value);
}

static void well_formed_items_are_skipped(void **state)
{
	char hex[256];
	union t_any got;

	(void)state;
	for (size_t i = 0; i < N(well_formed); i++) {
		snprintf(hex, sizeof(hex), "83 %s 00 a1 %s 81 %s", well_formed[i], well_formed[i],
			 well_formed[i]);
		assert_int_equal(t_decode(&t_none_type, hex, &got), 0);
	}
}

static void ill_formed_items_are_refused_wherever_they_stand(void **state)
{
	static const unsigned kinds[] = {
		MPROC_PACK_KIND_BOOL,    MPROC_PACK_KIND_INT8,    MPROC_PACK_KIND_UINT64,
		MPROC_PACK_KIND_FLOAT32, MPROC_PACK_KIND_FLOAT64, MPROC_PACK_KIND_STR,
		MPROC_PACK_KIND_CHARS,   MPROC_PACK_KIND_BYTES,   MPROC_PACK_KIND_OCTETS,
		MPROC_PACK_KIND_VEC,     MPROC_PACK_KIND_ARR,     MPROC_PACK_KIND_IN,
		MPROC_PACK_KIND_OWN,
	};
	char hex[128];
	union t_any got;
	int code;

	(void)state;
	for (size_t i = 0; i < N(ill_formed); i++) {
		/* Skipped, inside what is skipped, in every field, and as the root. */
		snprintf(hex, sizeof(hex), "81%s", ill_formed[i]);
		assert_int_equal(t_decode(&t_none_type, hex, &got), -EBADMSG);
		code = mproc_pack_error_detail()->code;
		assert_true(code == MPROC_PACK_ERROR_TRUNCATED ||
			    code == MPROC_PACK_ERROR_MALFORMED);
		for (size_t k = 0; k < N(kinds); k++) {
			int r = t_decode(t_one(kinds[k], MPROC_PACK_KIND_INT16, 4), hex, &got);

			/* An array of one, whatever is in it, does not fit one of two. */
			assert_true(r == -EBADMSG ||
				    (r == -ERANGE && kinds[k] == MPROC_PACK_KIND_ARR));
		}
		assert_int_equal(t_decode(&t_none_type, ill_formed[i], &got), -EBADMSG);
		snprintf(hex, sizeof(hex), "8182f6%s", ill_formed[i]);
		assert_int_equal(t_decode(&t_none_type, hex, &got), -EBADMSG);
	}
	for (size_t i = 0; i < N(indefinite); i++) {
		snprintf(hex, sizeof(hex), "81%s", indefinite[i]);
		assert_int_equal(t_decode(&t_none_type, hex, &got), -EBADMSG);
		assert_int_equal(mproc_pack_error_detail()->code, MPROC_PACK_ERROR_MALFORMED);
	}
	t_assert_error(t_decode(&t_none_type, "819f", &got), -EBADMSG, MPROC_PACK_ERROR_MALFORMED,
		       "none[0]", "indefinite length or break (0x9f)", 1);
	t_assert_error(t_decode(&t_none_type, "811c", &got), -EBADMSG, MPROC_PACK_ERROR_MALFORMED,
		       "none[0]", "reserved byte 0x1c", 1);
	t_assert_error(t_decode(&t_none_type, "81f814", &got), -EBADMSG, MPROC_PACK_ERROR_MALFORMED,
		       "none[0]", "simple value 20 in two bytes", 1);
}

/* [1, 2] in each form, into each kind. */
static void numeric_arrays_come_in_every_form(void **state)
{
	static const struct {
		const char *hex;
		bool is_float;
	} forms[] = {
		{ "820102", false },
		{ "82 1b0000000000000001 1a00000002", false },
		{ "82 f93c00 fb4000000000000000", true },
		{ "d840 420102", false },
		{ "d841 4400010002", false },
		{ "d842 480000000100000002", false },
		{ "d843 5000000000000000010000000000000002", false },
		{ "d844 420102", false },
		{ "d845 4401000200", false },
		{ "d846 480100000002000000", false },
		{ "d847 5001000000000000000200000000000000", false },
		{ "d848 420102", false },
		{ "d849 4400010002", false },
		{ "d84a 480000000100000002", false },
		{ "d84b 5000000000000000010000000000000002", false },
		{ "d84d 4401000200", false },
		{ "d84e 480100000002000000", false },
		{ "d84f 5001000000000000000200000000000000", false },
		{ "d850 443c004000", true },
		{ "d851 483f80000040000000", true },
		{ "d852 503ff00000000000004000000000000000", true },
		{ "d854 44003c0040", true },
		{ "d855 480000803f00000040", true },
		{ "d856 50000000000000f03f0000000000000040", true },
	};
	static const size_t sizes[] = { 1, 2, 4, 8, 1, 2, 4, 8, 4, 8 };

	(void)state;
	for (size_t i = 0; i < N(forms); i++) {
		for (unsigned kind = MPROC_PACK_KIND_INT8; kind <= MPROC_PACK_KIND_FLOAT64;
		     kind++) {
			size_t size = sizes[kind - MPROC_PACK_KIND_INT8];
			bool to_float = kind >= MPROC_PACK_KIND_FLOAT32;
			union t_any got;
			char hex[128];

			snprintf(hex, sizeof(hex), "81%s", forms[i].hex);
			assert_int_equal(t_decode(t_one(MPROC_PACK_KIND_VEC, kind, 0), hex, &got),
					 forms[i].is_float && !to_float ? -EBADMSG : 0);
			if (forms[i].is_float && !to_float)
				continue;
			assert_int_equal(got.counted.n, 2);
			assert_int_equal((uintptr_t)got.counted.at % size, 0);
			for (size_t e = 0; e < 2; e++) {
				uint64_t n = e + 1;
				float f = (float)n;
				double d = (double)n;
				const void *want = !to_float   ? (void *)&n
						   : size == 4 ? (void *)&f
							       : (void *)&d;

				assert_memory_equal((char *)got.counted.at + e * size, want, size);
			}
			assert_int_equal(
				t_decode(t_one(MPROC_PACK_KIND_ARR, kind, (uint32_t)(2 * size)),
					 hex, &got),
				0);
			assert_int_equal(
				t_decode(t_one(MPROC_PACK_KIND_ARR, kind, (uint32_t)(3 * size)),
					 hex, &got),
				-ERANGE);
		}
	}
}

static void negative_elements_keep_their_sign(void **state)
{
	static const char *const forms[] = {
		"8120",
		"d84841ff",
		"d84942ffff",
		"d84a44ffffffff",
		"d84b48ffffffffffffffff",
		"d84d42ffff",
		"d84e44ffffffff",
		"d84f48ffffffffffffffff",
	};
	union t_any got;
	char hex[64];

	(void)state;
	for (size_t i = 0; i < N(forms); i++) {
		snprintf(hex, sizeof(hex), "81%s", forms[i]);
		assert_int_equal(
			t_decode(t_one(MPROC_PACK_KIND_VEC, MPROC_PACK_KIND_INT16, 0), hex, &got),
			0);
		assert_int_equal(*(int16_t *)got.counted.at, -1);
		assert_int_equal(
			t_decode(t_one(MPROC_PACK_KIND_VEC, MPROC_PACK_KIND_FLOAT64, 0), hex, &got),
			0);
		assert_true(*(double *)got.counted.at == -1);
		assert_int_equal(
			t_decode(t_one(MPROC_PACK_KIND_VEC, MPROC_PACK_KIND_UINT64, 0), hex, &got),
			-ERANGE);
		assert_string_equal(mproc_pack_error_detail()->text, "-1 does not fit uint64_t");
	}
}

static void impossible_arrays_are_refused(void **state)
{
	static const struct {
		const char *hex, *text;
		int r, code;
		size_t offset;
	} cases[] = {
		{ "d84e 4300 0000", "3 bytes are no whole elements of 4", -EBADMSG,
		  MPROC_PACK_ERROR_MALFORMED, 3 },
		{ "d84c 41 00", "tag 76 where numbers of at most 64 bits is wanted", -EBADMSG,
		  MPROC_PACK_ERROR_WRONG_TYPE, 1 },
		{ "d857 50 00000000000000000000000000000000",
		  "tag 87 where numbers of at most 64 bits is wanted", -EBADMSG,
		  MPROC_PACK_ERROR_WRONG_TYPE, 1 },
		{ "d858 40", "tag 88 where an array of numbers is wanted", -EBADMSG,
		  MPROC_PACK_ERROR_WRONG_TYPE, 1 },
		{ "d84e 80", "an array where the bytes of a typed array is wanted", -EBADMSG,
		  MPROC_PACK_ERROR_WRONG_TYPE, 3 },
		{ "d84e 6400000000", "a text string where the bytes of a typed array is wanted",
		  -EBADMSG, MPROC_PACK_ERROR_WRONG_TYPE, 3 },
		{ "d84e 5b0000000100000000 00", "4294967296 bytes claimed, 1 bytes left", -EBADMSG,
		  MPROC_PACK_ERROR_TRUNCATED, 3 },
		{ "9b 000000007fffffff 01", "2147483647 items claimed, 1 bytes left", -EBADMSG,
		  MPROC_PACK_ERROR_TRUNCATED, 1 },
		{ "d850 42 7bff", "a floating-point number where int32_t is wanted", -EBADMSG,
		  MPROC_PACK_ERROR_WRONG_TYPE, 4 },
		{ "81 f5", "a truth value where int32_t is wanted", -EBADMSG,
		  MPROC_PACK_ERROR_WRONG_TYPE, 2 },
	};
	unsigned char *bytes = malloc(70000);
	mproc_pack_value *value;
	union t_any got;
	char hex[64];

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		bool in_element = strstr(cases[i].text, "int32_t");

		snprintf(hex, sizeof(hex), "81%s", cases[i].hex);
		t_assert_error(
			t_decode(t_one(MPROC_PACK_KIND_VEC, MPROC_PACK_KIND_INT32, 0), hex, &got),
			cases[i].r, cases[i].code, in_element ? "one.v[0]" : "one.v", cases[i].text,
			cases[i].offset);
	}
	/* 65,536 elements for a uint16_t count. */
	assert_non_null(bytes);
	memset(bytes, 0, 70000);
	memcpy(bytes, "\x81\xd8\x40\x5a\x00\x01\x00\x00", 8);
	t_assert_error(mproc_pack_loads(&value,
					t_one(MPROC_PACK_KIND_VEC, MPROC_PACK_KIND_UINT8, 0), bytes,
					65536 + 8, NULL),
		       -ERANGE, MPROC_PACK_ERROR_RANGE, "one.v",
		       "a count of 65536 does not fit uint16_t", 1);
	memcpy(bytes, "\x81\x5a\x00\x01\x00\x00", 6);
	t_assert_error(mproc_pack_loads(&value, t_one(MPROC_PACK_KIND_BYTES, 0, 0), bytes,
					65536 + 6, NULL),
		       -ERANGE, MPROC_PACK_ERROR_RANGE, "one.v",
		       "a count of 65536 does not fit uint16_t", 1);
	free(bytes);
}

static void arrays_that_share_a_count_are_of_one_length(void **state)
{
	static const struct {
		const char *hex;
		int r;
	} cases[] = {
		{ "82 820102 820304", 0 },
		{ "82 820102 8103", -ERANGE },
		{ "82 8101 820304", -ERANGE },
		{ "82 820102 f6", -ERANGE },
		{ "82 f6 8101", -ERANGE },
		{ "81 820102", -ERANGE },
		{ "82 f6 f6", 0 },
		{ "82 80 f6", 0 },
		{ "81 80", 0 },
		{ "80", 0 },
	};
	mproc_pack_value *value;
	const pairs *got;

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		size_t len;
		unsigned char *bytes = t_unhex(cases[i].hex, &len);
		int r = mproc_pack_loads(&value, MPROC_PACK_TYPE(pairs), bytes, len, NULL);

		assert_int_equal(r, cases[i].r);
		if (r < 0)
			assert_string_equal(mproc_pack_error_detail()->path, "pairs.y");
		free(bytes);
		if (r < 0)
			continue;
		got = mproc_pack_root(value);
		assert_int_equal(got->n, i ? 0 : 2);
		mproc_pack_release(value);
	}
}

/* cbor2 with value_sharing=True marks every list. */
static void marks_of_shared_values_are_looked_through_and_counted(void **state)
{
	static const unsigned char mark[] = { 0xd8, 0x1c }, wide_mark[] = { 0xd9, 0x00, 0x1c };
	unsigned char marked[2048];
	mproc_pack_value *value;

	(void)state;
	for (size_t i = 0; i < t_n_goldens; i++) {
		const struct t_golden *g = &t_goldens[i];
		size_t len, n_marks = 0, n_structs = strcmp(g->name, "everything") ? 4 : 3;
		unsigned char *bytes = t_unhex(g->hex, &len), *end;

		end = mark_items(marked, bytes, wide_mark, sizeof(wide_mark), &n_marks);
		assert_decodes_as(g->type, marked, (size_t)(end - marked), g->hex);
		n_marks = 0;
		end = mark_items(marked, bytes, mark, sizeof(mark), &n_marks);
		assert_decodes_as(g->type, marked, (size_t)(end - marked), g->hex);
		free(bytes);
		if (strcmp(g->name, "everything") && strcmp(g->name, "tree"))
			continue;
		assert_int_equal(
			mproc_pack_loads(
				&value, g->type, marked, (size_t)(end - marked),
				MPROC_PACK_LIMITS(.objects = (uint32_t)(n_marks + n_structs - 1))),
			-EOVERFLOW);
		assert_int_equal(mproc_pack_error_detail()->code, MPROC_PACK_ERROR_LIMIT);
		assert_string_equal(mproc_pack_error_detail()->text, "too many objects");
		assert_int_equal(
			mproc_pack_loads(
				&value, g->type, marked, (size_t)(end - marked),
				MPROC_PACK_LIMITS(.objects = (uint32_t)(n_marks + n_structs))),
			0);
		mproc_pack_release(value);
	}
}

static void missing_fields_are_zero_and_additional_ones_are_skipped(void **state)
{
	static const char extra[] = "\x82\xa1\x61k\xd8\x56\x40\xf6";
	const struct mproc_pack_type *type = MPROC_PACK_TYPE(everything);
	static const everything zero;
	size_t len;
	unsigned char *bytes = t_unhex(t_goldens[1].hex, &len), message[512];
	const unsigned char *end = bytes + 1;

	(void)state;
	for (uint32_t n = 0; n <= type->n_fields; n++) {
		size_t from =
			n < type->n_fields ? type->fields[n].offset : offsetof(everything, scratch);
		mproc_pack_value *value;
		const char *got;

		/* The first n items, as an older sender would. */
		memcpy(message, bytes, (size_t)(end - bytes));
		message[0] = (unsigned char)(0x80 + n);
		assert_int_equal(
			mproc_pack_loads(&value, type, message, (size_t)(end - bytes), NULL), 0);
		got = mproc_pack_root(value);
		assert_memory_equal(got + from, (const char *)&zero + from, sizeof(zero) - from);
		mproc_pack_release(value);
		if (n < type->n_fields)
			end = item_end(end);
	}
	assert_ptr_equal(end, bytes + len);

	/* Three items more, as a newer one. */
	memcpy(message, bytes, len);
	message[0] = 0x80 + 23;
	for (size_t i = 0; i < 3; i++)
		memcpy(message + len + i * (sizeof(extra) - 1), extra, sizeof(extra) - 1);
	assert_decodes_as(type, message, len + 3 * (sizeof(extra) - 1), t_goldens[1].hex);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(well_formed_items_are_skipped),
		cmocka_unit_test(ill_formed_items_are_refused_wherever_they_stand),
		cmocka_unit_test(numeric_arrays_come_in_every_form),
		cmocka_unit_test(negative_elements_keep_their_sign),
		cmocka_unit_test(impossible_arrays_are_refused),
		cmocka_unit_test(arrays_that_share_a_count_are_of_one_length),
		cmocka_unit_test(marks_of_shared_values_are_looked_through_and_counted),
		cmocka_unit_test(missing_fields_are_zero_and_additional_ones_are_skipped),
	};

	return cmocka_run_group_tests_name("pack foreign", tests, NULL, NULL);
}
