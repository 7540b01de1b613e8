/* SPDX-License-Identifier: MIT */

/*
 * mproc/pack.h: structs to bytes and back, buffers, and who owns what
 *
 * test_pack_type.c is about descriptors and about values that cannot be sent,
 * test_pack_wire.c about bytes that come from others.
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

#include <mproc/error.h>

#include "tests/support/hex.h"
#include "tests/support/pack_types.h"

typedef struct blob {
	void *at;
	size_t len;
} blob;

typedef struct integers {
	int64_t i;
	uint64_t u;
} integers;

MPROC_PACK_STRUCT(blob, (bytes, at, len));
MPROC_PACK_STRUCT(integers, (val, i), (val, u));

static void assert_encodes(const struct mproc_pack_type *type, const void *value, const char *want)
{
	unsigned char bytes[1024];
	size_t len;
	char *hex;

	assert_int_equal(mproc_pack_encode(type, value, bytes, sizeof(bytes), &len, NULL), 0);
	hex = t_hex(bytes, len);
	assert_string_equal(hex, want);
	free(hex);
}

static void assert_detail(int code, const char *path, const char *text)
{
	char line[512];

	assert_int_equal(mproc_pack_error_detail()->code, code);
	assert_string_equal(mproc_pack_error_detail()->path, path);
	assert_string_equal(mproc_pack_error_detail()->text, text);
	snprintf(line, sizeof(line), "%s: %s", path, text);
	assert_memory_equal(mproc_error_text(), line, strlen(line));
}

static const everything *everything_of(size_t golden)
{
	assert_ptr_equal(t_goldens[golden].type, MPROC_PACK_TYPE(everything));
	return t_goldens[golden].value;
}

static void every_verb_survives_the_way_there_and_back(void **state)
{
	const everything *want = everything_of(1);
	mproc_pack_value *value;
	const everything *got;
	void *bytes;
	size_t len;

	(void)state;
	assert_int_equal(mproc_pack_dumps(&bytes, MPROC_PACK_TYPE(everything), want, &len, NULL),
			 0);
	assert_int_equal(mproc_pack_loads(&value, MPROC_PACK_TYPE(everything), bytes, len, NULL),
			 0);
	free(bytes);
	got = mproc_pack_root(value);
	assert_true(got->yes);
	assert_int_equal(got->i8, want->i8);
	assert_int_equal(got->i16, want->i16);
	assert_int_equal(got->i32, want->i32);
	assert_true(got->i64 == want->i64);
	assert_int_equal(got->u8, want->u8);
	assert_int_equal(got->u16, want->u16);
	assert_int_equal(got->u32, want->u32);
	assert_true(got->u64 == want->u64);
	assert_true(got->f32 == want->f32 && got->f64 == want->f64);
	assert_int_equal(got->colour, BLUE);
	assert_string_equal(got->str, want->str);
	assert_memory_equal(got->chars, want->chars, sizeof(got->chars));
	assert_int_equal(got->blob_len, want->blob_len);
	assert_memory_equal(got->blob, want->blob, want->blob_len);
	assert_memory_equal(got->octets, want->octets, sizeof(got->octets));
	assert_int_equal(got->n_vec, want->n_vec);
	assert_memory_equal(got->vec, want->vec, sizeof(*want->vec) * want->n_vec);
	assert_memory_equal(got->arr, want->arr, sizeof(got->arr));
	assert_memory_equal(&got->in, &want->in, sizeof(got->in));
	assert_string_equal(got->own->street, want->own->street);
	assert_int_equal(got->own->zip, want->own->zip);
	/* Nobody described it. */
	assert_non_null(want->scratch);
	assert_null(got->scratch);
	assert_null(mproc_pack_release(value));
}

static void null_stays_null_and_nothing_stays_nothing(void **state)
{
	everything want = { .str = "", .blob = "", .vec = (int16_t[]){ 1 } };
	mproc_pack_value *value;
	const everything *got;
	void *bytes;
	size_t len;

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(
			mproc_pack_dumps(&bytes, MPROC_PACK_TYPE(everything), &want, &len, NULL),
			0);
		assert_int_equal(
			mproc_pack_loads(&value, MPROC_PACK_TYPE(everything), bytes, len, NULL), 0);
		free(bytes);
		got = mproc_pack_root(value);
		assert_int_equal(got->str == NULL, want.str == NULL);
		assert_int_equal(got->blob == NULL, want.blob == NULL);
		assert_int_equal(got->vec == NULL, want.vec == NULL);
		assert_null(got->own);
		assert_int_equal(got->blob_len, 0);
		assert_int_equal(got->n_vec, 0);
		if (got->str)
			assert_string_equal(got->str, "");
		mproc_pack_release(value);
		memset(&want, 0, sizeof(want));
	}
	assert_null(mproc_pack_release(NULL));
}

static void integers_take_the_shortest_form(void **state)
{
	static const struct {
		int64_t i;
		uint64_t u;
		const char *hex;
	} cases[] = {
		{ 0, 23, "820017" },
		{ -1, 24, "82201818" },
		{ -24, 255, "823718ff" },
		{ -25, 256, "823818190100" },
		{ -256, 65535, "8238ff19ffff" },
		{ -257, 65536, "823901001a00010000" },
		{ -65536, 4294967295, "8239ffff1affffffff" },
		{ -65537, 4294967296, "823a000100001b0000000100000000" },
		{ -4294967296, UINT64_MAX, "823affffffff1bffffffffffffffff" },
		{ -4294967297, 1, "823b000000010000000001" },
		{ INT64_MIN, 0, "823b7fffffffffffffff00" },
		{ INT64_MAX, 0, "821b7fffffffffffffff00" },
	};
	struct mproc_pack_arena arena = MPROC_PACK_ARENA(NULL, 0);
	integers got;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		integers want = { cases[i].i, cases[i].u };
		unsigned char *bytes;
		size_t len;

		assert_encodes(MPROC_PACK_TYPE(integers), &want, cases[i].hex);
		bytes = t_unhex(cases[i].hex, &len);
		assert_int_equal(mproc_pack_decode(MPROC_PACK_TYPE(integers), bytes, len, &got,
						   &arena, NULL),
				 0);
		assert_memory_equal(&got, &want, sizeof(got));
		free(bytes);
	}
}

/* Every length, with the first odd byte at every place: none is copied wrongly. */
static void strings_of_any_length_and_bytes_come_through(void **state)
{
	char s[80], text[80];

	(void)state;
	for (size_t len = 0; len < 70; len++) {
		for (size_t odd = 0; odd <= len; odd++) {
			struct mproc_pack_arena arena = MPROC_PACK_ARENA(text, sizeof(text));
			unsigned char bytes[128];
			tuple want = { .s = s }, got;
			size_t n;

			memset(s, 'a', len);
			s[len] = 0;
			if (odd < len)
				s[odd] = '\xff';
			assert_int_equal(mproc_pack_encode(MPROC_PACK_TYPE(tuple), &want, bytes,
							   sizeof(bytes), &n, NULL),
					 0);
			/* Text if it is UTF-8, else a byte string. */
			assert_int_equal(bytes[11] >> 5, odd < len ? 2 : 3);
			assert_int_equal(mproc_pack_decode(MPROC_PACK_TYPE(tuple), bytes, n, &got,
							   &arena, NULL),
					 0);
			assert_string_equal(got.s, s);
			assert_null(arena.chunks);
		}
	}
}

static void utf8_goes_as_text_and_all_else_as_bytes(void **state)
{
	static const struct {
		const char *s;
		const char *hex;
	} cases[] = {
		{ "\xc2\x80", "62c280" },
		{ "\xdf\xbf", "62dfbf" },
		{ "\xe0\xa0\x80", "63e0a080" },
		{ "\xed\x9f\xbf", "63ed9fbf" },
		{ "\xef\xbf\xbf", "63efbfbf" },
		{ "\xf0\x90\x80\x80", "64f0908080" },
		{ "\xf4\x8f\xbf\xbf", "64f48fbfbf" },
		{ "abcdefgh\xc3\xa4jklmnop", "716162636465666768c3a46a6b6c6d6e6f70" },
		{ "\x80", "4180" },       /* continues nothing */
		{ "\xc0\xaf", "42c0af" }, /* overlong */
		{ "\xc1\xbf", "42c1bf" },
		{ "\xe0\x9f\xbf", "43e09fbf" },
		{ "\xf0\x8f\xbf\xbf", "44f08fbfbf" },
		{ "\xed\xa0\x80", "43eda080" },       /* half of a surrogate pair */
		{ "\xf4\x90\x80\x80", "44f4908080" }, /* above U+10FFFF */
		{ "\xf5\x80\x80\x80", "44f5808080" },
		{ "\xc3", "41c3" }, /* cut off */
		{ "\xe2\x82", "42e282" },
		{ "\xf0\x9f\x98", "43f09f98" },
		{ "\xe2\x82z", "43e2827a" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char s[32], want[128];
		address value = { s, 0 };

		strcpy(s, cases[i].s);
		snprintf(want, sizeof(want), "82%s00", cases[i].hex);
		assert_encodes(MPROC_PACK_TYPE(address), &value, want);
	}
}

/* Whatever the buffer's size: nothing behind it is written, and the rest is told. */
static void buffer_that_is_too_small_is_told_what_is_needed(void **state)
{
	unsigned char bytes[512], whole[512];
	size_t need, len;

	(void)state;
	for (size_t i = 0; i < t_n_goldens; i++) {
		const struct t_golden *g = &t_goldens[i];

		assert_int_equal(mproc_pack_size(g->type, g->value, &need, NULL), 0);
		assert_int_equal(mproc_pack_encode(g->type, g->value, NULL, 0, &len, NULL),
				 -ENOBUFS);
		assert_int_equal(len, need);
		assert_int_equal(
			mproc_pack_encode(g->type, g->value, whole, sizeof(whole), &len, NULL), 0);
		for (size_t cap = 1; cap < need + 40; cap++) {
			/* Of exactly that size, so that a sanitizer sees a byte too many. */
			unsigned char *exact = malloc(cap);

			assert_non_null(exact);
			memset(bytes, 0xaa, sizeof(bytes));
			len = 0;
			assert_int_equal(
				mproc_pack_encode(g->type, g->value, exact, cap, &len, NULL),
				cap < need ? -ENOBUFS : 0);
			assert_int_equal(len, need);
			if (cap >= need)
				assert_memory_equal(exact, whole, need);
			assert_int_equal(
				mproc_pack_encode(g->type, g->value, bytes, cap, &len, NULL),
				cap < need ? -ENOBUFS : 0);
			for (size_t at = cap; at < sizeof(bytes); at++)
				assert_int_equal(bytes[at], 0xaa);
			free(exact);
		}
	}
	assert_int_equal(
		mproc_pack_encode(t_goldens[0].type, t_goldens[0].value, bytes, 26, &len, NULL),
		-ENOBUFS);
	assert_detail(MPROC_PACK_ERROR_NO_SPACE, "tuple", "a message of 27 bytes, room for 26");
}

static void long_messages_are_written_like_short_ones(void **state)
{
	const size_t n = 1 << 20;
	blob want = { malloc(n), n }, *got;
	mproc_pack_value *value;
	size_t len;
	void *bytes;

	(void)state;
	assert_non_null(want.at);
	for (size_t i = 0; i < n; i++)
		((unsigned char *)want.at)[i] = (unsigned char)(i * 7 >> 3);
	assert_int_equal(mproc_pack_dumps(&bytes, MPROC_PACK_TYPE(blob), &want, &len, NULL), 0);
	assert_int_equal(len, n + 6);
	assert_int_equal(mproc_pack_loads(&value, MPROC_PACK_TYPE(blob), bytes, len, NULL), 0);
	got = mproc_pack_root(value);
	assert_int_equal(got->len, n);
	assert_memory_equal(got->at, want.at, n);
	mproc_pack_release(value);
	free(bytes);
	free(want.at);
}

static void small_messages_need_no_allocation(void **state)
{
	unsigned char scratch[4096];
	struct mproc_pack_arena arena = MPROC_PACK_ARENA(scratch, sizeof(scratch));

	(void)state;
	for (size_t i = 0; i < t_n_goldens; i++) {
		union {
			tuple tuple;
			everything everything;
			vectors vectors;
			tree tree;
		} got;
		size_t len;
		unsigned char *bytes = t_unhex(t_goldens[i].hex, &len);

		assert_int_equal(
			mproc_pack_decode(t_goldens[i].type, bytes, len, &got, &arena, NULL), 0);
		free(bytes);
	}
	assert_null(arena.chunks);
	assert_true(arena.next > scratch && arena.next <= arena.end);
	mproc_pack_arena_release(&arena);
	mproc_pack_arena_release(NULL);
}

static void arena_that_is_full_grows_and_holds_many_messages(void **state)
{
	unsigned char scratch[64];
	struct mproc_pack_arena arena = MPROC_PACK_ARENA(scratch, sizeof(scratch));
	tuple want = { .s = "a string of some length, say 40 bytes..." };
	unsigned char bytes[128];
	tuple got[1000];
	size_t len;

	(void)state;
	assert_int_equal(
		mproc_pack_encode(MPROC_PACK_TYPE(tuple), &want, bytes, sizeof(bytes), &len, NULL),
		0);
	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(mproc_pack_decode(MPROC_PACK_TYPE(tuple), bytes, len, &got[i],
						   &arena, NULL),
				 0);
	assert_non_null(arena.chunks);
	for (size_t i = 0; i < 1000; i++) {
		assert_string_equal(got[i].s, want.s);
		assert_true(!i || got[i].s != got[i - 1].s);
	}
	mproc_pack_arena_release(&arena);
}

static void failing_decode_leaves_its_outputs_untouched(void **state)
{
	/* The third item is wrong; a long string before it takes a chunk. */
	unsigned char bytes[6000] = { 0x83, 0x01, 0xfb }, scratch[16];
	struct mproc_pack_arena arena = MPROC_PACK_ARENA(scratch, sizeof(scratch)), before = arena;
	tuple got = { 42, 43, "44" };
	address home = { "street", 1 };
	mproc_pack_value *value = (mproc_pack_value *)&got;

	(void)state;
	bytes[11] = 0x80;
	assert_int_equal(mproc_pack_decode(MPROC_PACK_TYPE(tuple), bytes, 12, &got, &arena, NULL),
			 -EBADMSG);
	assert_int_equal(got.i, 42);
	assert_true(got.d == 43);
	assert_string_equal(got.s, "44");
	assert_memory_equal(&arena, &before, sizeof(arena));
	assert_int_equal(mproc_pack_loads(&value, MPROC_PACK_TYPE(tuple), bytes, 12, NULL),
			 -EBADMSG);
	assert_ptr_equal(value, &got);

	memset(bytes, 'x', sizeof(bytes));
	memcpy(bytes, "\x82\x79\x17\x00", 4);
	bytes[4 + 0x1700] = 0xf6;
	assert_int_equal(
		mproc_pack_decode(MPROC_PACK_TYPE(address), bytes, 5 + 0x1700, &home, &arena, NULL),
		-EBADMSG);
	assert_string_equal(home.street, "street");
	assert_memory_equal(&arena, &before, sizeof(arena));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_verb_survives_the_way_there_and_back),
		cmocka_unit_test(null_stays_null_and_nothing_stays_nothing),
		cmocka_unit_test(integers_take_the_shortest_form),
		cmocka_unit_test(strings_of_any_length_and_bytes_come_through),
		cmocka_unit_test(utf8_goes_as_text_and_all_else_as_bytes),
		cmocka_unit_test(buffer_that_is_too_small_is_told_what_is_needed),
		cmocka_unit_test(long_messages_are_written_like_short_ones),
		cmocka_unit_test(small_messages_need_no_allocation),
		cmocka_unit_test(arena_that_is_full_grows_and_holds_many_messages),
		cmocka_unit_test(failing_decode_leaves_its_outputs_untouched),
	};

	return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}
