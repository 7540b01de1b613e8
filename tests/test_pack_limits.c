/* SPDX-License-Identifier: MIT */

/*
 * mproc/pack.h: messages that are too deep, too many or too much
 */

#include <mproc/pack.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/pack_one.h"
#include "tests/support/pack_types.h"

/* A struct that costs memory: 100,000 bytes for the one byte 0x80. */
typedef struct heavy heavy;
struct heavy {
	heavy *next;
	char ballast[100000];
};
MPROC_PACK_STRUCT(heavy, (own, next, heavy));

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* @first, @open as many times as it says, @close. */
static int decode_nested(const struct mproc_pack_type *type, const char *first, const char *open,
			 size_t times, const char *close, const struct mproc_pack_limits *limits)
{
	size_t open_len = strlen(open), len = strlen(first) + times * open_len + strlen(close);
	char *bytes = malloc(len), *p = bytes;
	mproc_pack_value *value;
	int r;

	assert_non_null(bytes);
	memcpy(p, first, strlen(first));
	p += strlen(first);
	for (size_t i = 0; i < times; i++, p += open_len)
		memcpy(p, open, open_len);
	memcpy(p, close, strlen(close));
	r = mproc_pack_loads(&value, type, bytes, len, limits);
	free(bytes);
	if (r == 0)
		mproc_pack_release(value);
	return r;
}

static void assert_too_deep(int r)
{
	assert_int_equal(r, -EOVERFLOW);
	assert_int_equal(mproc_pack_error_detail()->code, MPROC_PACK_ERROR_TOO_DEEP);
}

static void depth_is_limited_for_structs_arrays_maps_and_tags(void **state)
{
	static const char *const skipped[] = {
		"\x81",         /* arrays */
		"\x82\x01",     /* the last of several items */
		"\xa1\x01",     /* values of maps */
		"\xc1",         /* tags */
		"\xd8\x1c",     /* marks */
		"\xd8\x1c\x81", /* marks and arrays */
	};
	const struct mproc_pack_type *type = MPROC_PACK_TYPE(tree);

	(void)state;
	/* [key, left]: the right is missing. */
	assert_int_equal(decode_nested(type, "", "\x82\x05", 256, "\xf6", NULL), 0);
	assert_too_deep(decode_nested(type, "", "\x82\x05", 257, "\xf6", NULL));
	assert_int_equal(
		decode_nested(type, "", "\x82\x05", 4096, "\xf6", MPROC_PACK_LIMITS(.depth = 4096)),
		0);
	assert_too_deep(
		decode_nested(type, "", "\x82\x05", 3, "\xf6", MPROC_PACK_LIMITS(.depth = 2)));
	assert_string_equal(mproc_pack_error_detail()->path, "tree.left.left");

	type = &t_none_type;
	for (size_t i = 0; i < N(skipped); i++) {
		assert_int_equal(decode_nested(type, "\x81", skipped[i], 200, "\xf6", NULL), 0);
		assert_too_deep(decode_nested(type, "\x81", skipped[i], 300, "\xf6", NULL));
		assert_too_deep(decode_nested(type, "\x81", skipped[i], 1000000, "\xf6", NULL));
		/* As the root, of which nothing but marks may stand before the array. */
		if (skipped[i][0] == '\xd8')
			assert_too_deep(decode_nested(type, "", "\xd8\x1c", 300, "\x80", NULL));
	}
	/* Keys of maps; their values are missing. */
	assert_int_equal(decode_nested(type, "\x81", "\xa1", 200, "\xf6", NULL), -EBADMSG);
	assert_too_deep(decode_nested(type, "\x81", "\xa1", 300, "\xf6", NULL));
}

static void assert_limit(int r, const char *path, const char *text)
{
	assert_int_equal(r, -EOVERFLOW);
	assert_int_equal(mproc_pack_error_detail()->code, MPROC_PACK_ERROR_LIMIT);
	assert_string_equal(mproc_pack_error_detail()->path, path);
	assert_string_equal(mproc_pack_error_detail()->text, text);
}

static void what_is_skipped_counts_as_objects(void **state)
{
	union t_any got;

	(void)state;
	/* The struct, an array and three numbers; a byte string is one whatever its length. */
	assert_int_equal(
		t_decode_with(&t_none_type, "8183010203", &got, MPROC_PACK_LIMITS(.objects = 5)),
		0);
	assert_limit(
		t_decode_with(&t_none_type, "8183010203", &got, MPROC_PACK_LIMITS(.objects = 4)),
		"none[0]", "too many objects");
	assert_int_equal(t_decode_with(&t_none_type, "8145 0102030405", &got,
				       MPROC_PACK_LIMITS(.objects = 2)),
			 0);
	/* The default is a million. */
	assert_int_equal(decode_nested(&t_none_type, "\x9a\x01\x01\x01\x01", "\xf6", 0x01010101, "",
				       MPROC_PACK_LIMITS(.message = SIZE_MAX)),
			 -EOVERFLOW);
	assert_string_equal(mproc_pack_error_detail()->path, "none[1048575]");
}

static void claims_of_memory_cost_nothing(void **state)
{
	/* Each claims gigabytes in a few bytes. */
	static const char *const bombs[] = {
		"81 9b000000007fffffff 01",      "81 5b000000007fffffff 01",
		"81 7b000000007fffffff 01",      "81 bb000000007fffffff 01",
		"81 d856 5b000000007fffffff 01", "9b000000007fffffff 01",
		"81 5bffffffffffffffff 01",      "81 9bffffffffffffffff 01",
		"81 bbffffffffffffffff 01",
	};
	static const unsigned kinds[] = { MPROC_PACK_KIND_STR, MPROC_PACK_KIND_BYTES,
					  MPROC_PACK_KIND_VEC, MPROC_PACK_KIND_OWN,
					  MPROC_PACK_KIND_CHARS };
	union t_any got;

	(void)state;
	for (size_t i = 0; i < N(bombs); i++) {
		assert_int_equal(t_decode(&t_none_type, bombs[i], &got), -EBADMSG);
		for (size_t k = 0; k < N(kinds); k++)
			assert_int_equal(t_decode(t_one(kinds[k], MPROC_PACK_KIND_FLOAT64, 8),
						  bombs[i], &got),
					 -EBADMSG);
	}
}

static void memory_is_limited_by_the_message_and_the_budget(void **state)
{
	const struct mproc_pack_type *type = MPROC_PACK_TYPE(heavy);
	unsigned char *bytes = malloc(100000);
	mproc_pack_value *value;
	size_t len;

	(void)state;
	/* The root is the caller's own; what hangs on it is charged. */
	assert_int_equal(decode_nested(type, "", "\x81", 1, "\xf6", NULL), 0);
	assert_limit(decode_nested(type, "", "\x81", 2, "\xf6", NULL), "heavy.next",
		     "100008 bytes of memory, 65728 left by the limit");
	assert_int_equal(
		decode_nested(type, "", "\x81", 11, "\xf6", MPROC_PACK_LIMITS(.memory = 1000080)),
		0);
	assert_limit(
		decode_nested(type, "", "\x81", 11, "\xf6", MPROC_PACK_LIMITS(.memory = 1000079)),
		"heavy.next.next.next.next.next.next.next.next.next.next",
		"100008 bytes of memory, 100007 left by the limit");

	/* Single bytes become doubles: 8 times as much, which is a sender's right. */
	assert_non_null(bytes);
	memset(bytes, 1, 100000);
	memcpy(bytes, "\x81\xd8\x40\x59\xea\x60", 6);
	len = 6 + 60000;
	t_one(MPROC_PACK_KIND_VEC, MPROC_PACK_KIND_FLOAT64, 0);
	assert_int_equal(mproc_pack_loads(&value, &t_one_type, bytes, len, NULL), 0);
	mproc_pack_release(value);
	assert_limit(mproc_pack_loads(&value, &t_one_type, bytes, len,
				      MPROC_PACK_LIMITS(.memory = 479999)),
		     "one.v", "60000 elements of 8 bytes, 479999 bytes left by the limit");
	free(bytes);
}

static void message_beyond_the_limit_is_refused_unread(void **state)
{
	union t_any got;

	(void)state;
	assert_limit(t_decode_with(&t_none_type, "1c1c1c1c", &got, MPROC_PACK_LIMITS(.message = 3)),
		     "none", "a message of 4 bytes, at most 3");
	assert_int_equal(
		t_decode_with(&t_none_type, "820102", &got, MPROC_PACK_LIMITS(.message = 3)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(depth_is_limited_for_structs_arrays_maps_and_tags),
		cmocka_unit_test(what_is_skipped_counts_as_objects),
		cmocka_unit_test(claims_of_memory_cost_nothing),
		cmocka_unit_test(memory_is_limited_by_the_message_and_the_budget),
		cmocka_unit_test(message_beyond_the_limit_is_refused_unread),
	};

	return cmocka_run_group_tests_name("pack limits", tests, NULL, NULL);
}
