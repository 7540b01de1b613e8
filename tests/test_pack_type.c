/* SPDX-License-Identifier: MIT */

/*
 * mproc/pack.h: descriptors, and values that cannot be sent
 */

#include <mproc/pack.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "tests/support/child.h"
#include "tests/support/pack_types.h"

typedef struct wide {
	int8_t m[70];
} wide;

typedef struct blob {
	void *at;
	size_t len;
} blob;

typedef struct aligned {
	uint8_t first;
	_Alignas(128) double second;
	char *name;
} aligned;

/* Counts of a signed type, and one that is too narrow. */
typedef struct counted {
	int32_t *v;
	int8_t n;
} counted;

/* A count that is sent as a number besides. */
typedef struct twice {
	int32_t *v;
	uint32_t n;
} twice;

typedef struct integers {
	int64_t i;
	uint64_t u;
} integers;

/* Two that own each other. */
typedef struct egg egg;
typedef struct hen {
	egg *lays;
} hen;
struct egg {
	hen *becomes;
};

MPROC_PACK_STRUCT(blob, (bytes, at, len));
MPROC_PACK_STRUCT(aligned, (val, first), (val, second), (str, name));
MPROC_PACK_STRUCT(counted, (vec, v, n));
MPROC_PACK_STRUCT(twice, (vec, v, n), (val, n));
MPROC_PACK_STRUCT(integers, (val, i), (val, u));
MPROC_PACK_FORWARD(egg);
MPROC_PACK_STRUCT(hen, (own, lays, egg));
MPROC_PACK_STRUCT(egg, (own, becomes, hen));

/* The most fields that the macro takes. */
typedef struct most {
	int a, b, c, d, e, f, g, h;
} most;
#define EIGHT (val, a), (val, b), (val, c), (val, d), (val, e), (val, f), (val, g), (val, h)
MPROC_PACK_STRUCT(most, EIGHT, EIGHT, EIGHT, EIGHT);

static void assert_detail(int code, const char *path, const char *text)
{
	char line[512];

	assert_int_equal(mproc_pack_error_detail()->code, code);
	assert_string_equal(mproc_pack_error_detail()->path, path);
	assert_string_equal(mproc_pack_error_detail()->text, text);
	snprintf(line, sizeof(line), "%s: %s", path, text);
	assert_memory_equal(mproc_error_text(), line, strlen(line));
}

static void assert_refused(const struct mproc_pack_type *type, const void *value,
			   const struct mproc_pack_limits *limits, int r, int code,
			   const char *path, const char *text)
{
	unsigned char bytes[1024];
	size_t len = 77;

	assert_int_equal(mproc_pack_encode(type, value, bytes, sizeof(bytes), &len, limits), r);
	assert_int_equal(len, 77);
	assert_detail(code, path, text);
}

static const everything *everything_of(size_t golden)
{
	assert_ptr_equal(t_goldens[golden].type, MPROC_PACK_TYPE(everything));
	return t_goldens[golden].value;
}

/* More fields than share one look for room, from a table that no macro wrote. */
static void structs_of_any_number_of_fields_are_written(void **state)
{
	struct mproc_pack_field fields[70];
	struct mproc_pack_type type = { "wide", fields, 0, sizeof(wide), 1, 0 };
	unsigned char bytes[256], *exact;
	wide want, got;
	size_t len, again;

	(void)state;
	memset(fields, 0, sizeof(fields));
	for (uint32_t i = 0; i < 70; i++) {
		fields[i].name = "m";
		fields[i].kind = MPROC_PACK_KIND_INT8;
		fields[i].offset = i;
		want.m[i] = (int8_t)(i % 3 ? i : 100 + i % 20);
	}
	for (uint32_t n = 0; n <= 70; n++) {
		type.n_fields = n;
		assert_int_equal(mproc_pack_encode(&type, &want, bytes, sizeof(bytes), &len, NULL),
				 0);
		assert_int_equal(mproc_pack_decode(&type, bytes, len, &got, NULL, NULL), 0);
		assert_memory_equal(got.m, want.m, n);
		for (uint32_t i = n; i < 70; i++)
			assert_int_equal(got.m[i], 0);
		exact = malloc(len);
		assert_non_null(exact);
		assert_int_equal(mproc_pack_encode(&type, &want, exact, len, &again, NULL), 0);
		assert_int_equal(again, len);
		assert_memory_equal(exact, bytes, len);
		free(exact);
	}
	assert_int_equal(MPROC_PACK_TYPE(most)->n_fields, 32);
}

static void structs_that_are_strictly_aligned_stay_so(void **state)
{
	aligned want = { 1, 2.5, "three" }, got;
	struct mproc_pack_arena arena = MPROC_PACK_ARENA(NULL, 0);
	mproc_pack_value *value;
	void *bytes;
	size_t len;

	(void)state;
	assert_int_equal(mproc_pack_dumps(&bytes, MPROC_PACK_TYPE(aligned), &want, &len, NULL), 0);
	assert_int_equal(mproc_pack_loads(&value, MPROC_PACK_TYPE(aligned), bytes, len, NULL), 0);
	assert_int_equal((uintptr_t)mproc_pack_root(value) % 128, 0);
	assert_string_equal(((aligned *)mproc_pack_root(value))->name, "three");
	mproc_pack_release(value);
	assert_int_equal(
		mproc_pack_decode(MPROC_PACK_TYPE(aligned), bytes, len, &got, &arena, NULL), 0);
	assert_true(got.second == 2.5);
	mproc_pack_arena_release(&arena);
	free(bytes);
}

static void values_that_no_bytes_stand_for_are_refused_by_their_path(void **state)
{
	static const struct mproc_pack_field strange[] = { { .name = "odd", .kind = 99 } };
	static const struct mproc_pack_type strange_type = { "strange", strange, 1, 8, 8, 0 };
	everything value = *everything_of(1);
	address away = { NULL, 5 };
	int32_t one = 1;
	counted few = { &one, -1 };
	uint64_t word = 0;

	(void)state;
	value.blob = NULL;
	assert_refused(MPROC_PACK_TYPE(everything), &value, NULL, -ENOTSUP,
		       MPROC_PACK_ERROR_UNPICKLABLE, "everything.blob", "NULL with a count of 3");
	value.blob_len = 0;
	value.vec = NULL;
	assert_refused(MPROC_PACK_TYPE(everything), &value, NULL, -ENOTSUP,
		       MPROC_PACK_ERROR_UNPICKLABLE, "everything.vec", "NULL with a count of 3");
	value.n_vec = 0;
	memset(value.chars, 'x', sizeof(value.chars));
	assert_refused(MPROC_PACK_TYPE(everything), &value, NULL, -ERANGE, MPROC_PACK_ERROR_RANGE,
		       "everything.chars", "no NUL in char[8]");
	assert_refused(MPROC_PACK_TYPE(counted), &few, NULL, -ERANGE, MPROC_PACK_ERROR_RANGE,
		       "counted.v", "a count of -1");
	assert_refused(&strange_type, &word, NULL, -ENOTSUP, MPROC_PACK_ERROR_UNPICKLABLE,
		       "strange.odd", "a descriptor of kind 99, unknown to this library");
	/* A path goes through the structs. */
	value = *everything_of(1);
	value.own = &away;
	assert_refused(MPROC_PACK_TYPE(everything), &value, MPROC_PACK_LIMITS(.depth = 1),
		       -EOVERFLOW, MPROC_PACK_ERROR_TOO_DEEP, "everything.in",
		       "structs nested too deep; a cycle?");
}

static void cycle_of_pointers_ends_in_an_error(void **state)
{
	tree a = { .key = 1 }, b = { .key = 2, .right = &a };
	hen chicken = { NULL };
	egg first = { &chicken };
	tree many[30];
	size_t len;

	(void)state;
	a.left = &b;
	chicken.lays = &first;
	assert_int_equal(mproc_pack_size(MPROC_PACK_TYPE(tree), &a, &len, NULL), -EOVERFLOW);
	assert_int_equal(mproc_pack_error_detail()->code, MPROC_PACK_ERROR_TOO_DEEP);
	assert_string_equal(mproc_pack_error_detail()->type, "tree");
	/* 256 levels do not fit: the steps next to the fault are those that stay. */
	assert_int_equal(strlen(mproc_pack_error_detail()->path),
			 sizeof(mproc_pack_error_detail()->path) - 1);
	assert_non_null(strstr(mproc_pack_error_detail()->path, ".left.right.left.right"));
	assert_int_equal(mproc_pack_size(MPROC_PACK_TYPE(hen), &chicken, &len, NULL), -EOVERFLOW);

	/* Not deep, but 2^30 ways to the last. */
	memset(many, 0, sizeof(many));
	for (size_t i = 0; i + 1 < 30; i++)
		many[i].left = many[i].right = &many[i + 1];
	assert_int_equal(mproc_pack_size(MPROC_PACK_TYPE(tree), &many[0], &len, NULL), -EOVERFLOW);
	assert_string_equal(mproc_pack_error_detail()->text, "too many structs");
}

static void limits_on_the_message_hold_for_the_sender(void **state)
{
	unsigned char bytes[64], big[200] = { 0 };
	blob value = { big, sizeof(big) };
	size_t len;

	(void)state;
	assert_int_equal(mproc_pack_encode(MPROC_PACK_TYPE(blob), &value, bytes, sizeof(bytes),
					   &len, MPROC_PACK_LIMITS(.message = 203)),
			 -ENOBUFS);
	assert_int_equal(len, 203);
	assert_refused(MPROC_PACK_TYPE(blob), &value, MPROC_PACK_LIMITS(.message = 202), -EOVERFLOW,
		       MPROC_PACK_ERROR_LIMIT, "blob", "a message of 203 bytes, at most 202");
	assert_refused(MPROC_PACK_TYPE(blob), &value, MPROC_PACK_LIMITS(.message = 100), -EOVERFLOW,
		       MPROC_PACK_ERROR_LIMIT, "blob.at",
		       "200 elements in a message of at most 100 bytes");
	/* A length that no memory has. */
	value.len = SIZE_MAX;
	assert_refused(MPROC_PACK_TYPE(blob), &value, NULL, -EOVERFLOW, MPROC_PACK_ERROR_LIMIT,
		       "blob.at",
		       "18446744073709551615 elements in a message of at most 16777216 bytes");
}

static void impossible_limits_are_refused(void **state)
{
	struct mproc_pack_limits limits = { .size = sizeof(limits), .depth = 4097 };
	struct {
		struct mproc_pack_limits known;
		uint64_t unknown;
	} newer = { { .size = sizeof(newer) }, 1 };
	integers value = { 1, 2 };
	size_t len = 77;

	(void)state;
	assert_int_equal(mproc_pack_size(MPROC_PACK_TYPE(integers), &value, &len, &limits),
			 -EINVAL);
	assert_string_equal(mproc_error_text(), "pack limits: depth 4097, at most 4096");
	assert_int_equal(mproc_pack_error_detail()->code, 0);
	assert_int_equal(mproc_pack_size(MPROC_PACK_TYPE(integers), &value, &len, &newer.known),
			 -E2BIG);
	assert_int_equal(len, 77);
	newer.unknown = 0;
	assert_int_equal(mproc_pack_size(MPROC_PACK_TYPE(integers), &value, &len, &newer.known), 0);
}

static void count_that_is_sent_besides_is_refused(void **state)
{
	/* [#6.78(one element), 1000000]: the number would win over the array. */
	unsigned char bytes[] = { 0x82, 0xd8, 0x4e, 0x44, 1, 0, 0, 0, 0x1a, 0, 0x0f, 0x42, 0x40 };
	struct mproc_pack_arena arena = MPROC_PACK_ARENA(NULL, 0);
	twice got;

	(void)state;
	assert_int_equal(
		mproc_pack_decode(MPROC_PACK_TYPE(twice), bytes, sizeof(bytes), &got, &arena, NULL),
		-ENOTSUP);
	assert_detail(MPROC_PACK_ERROR_UNPICKLABLE, "twice.v",
		      "a descriptor that sends the count as n besides");
}

static void schema_is_cddl_of_all_structs(void **state)
{
	static const char want[] =
		"everything = [yes: bool, i8: -128..127, i16: -32768..32767, "
		"i32: -2147483648..2147483647, i64: -9223372036854775808..9223372036854775807, "
		"u8: uint .size 1, u16: uint .size 2, u32: uint .size 4, u64: uint .size 8, "
		"f32: float32, f64: float64, colour: uint .size 4, str: text / bytes / null, "
		"chars: text .size (0..7) / bytes .size (0..7), blob: bytes / null, "
		"octets: bytes .size 4, vec: #6.73(bytes) / #6.77(bytes) / null, "
		"arr: #6.82(bytes .size 16) / #6.86(bytes .size 16), in: point, "
		"own: address / null]\n"
		"point = [x: float64, y: float64]\n"
		"address = [street: text / bytes / null, zip: -2147483648..2147483647]\n";
	char text[2048], exact[sizeof(want)];
	size_t len = 77;

	(void)state;
	assert_int_equal(mproc_pack_schema(MPROC_PACK_TYPE(everything), text, sizeof(text), &len),
			 0);
	assert_string_equal(text, want);
	assert_int_equal(len, strlen(want));
	assert_int_equal(mproc_pack_schema(MPROC_PACK_TYPE(everything), exact, sizeof(exact), &len),
			 0);
	assert_string_equal(exact, want);
	assert_int_equal(
		mproc_pack_schema(MPROC_PACK_TYPE(everything), exact, sizeof(exact) - 1, &len),
		-ENOBUFS);
	assert_int_equal(len, strlen(want));
	assert_int_equal(mproc_pack_schema(MPROC_PACK_TYPE(tree), NULL, 0, &len), -ENOBUFS);
	assert_int_equal(mproc_pack_schema(MPROC_PACK_TYPE(tree), text, sizeof(text), &len), 0);
	assert_string_equal(text, "tree = [key: -2147483648..2147483647, left: tree / null, "
				  "right: tree / null]\n");
}

static void fingerprints_differ_where_schemas_do(void **state)
{
	static const struct mproc_pack_field renamed[] = {
		{ .name = "x", .kind = MPROC_PACK_KIND_FLOAT64, .offset = 0 },
		{ .name = "z", .kind = MPROC_PACK_KIND_FLOAT64, .offset = 8 },
	};
	struct mproc_pack_type other = *MPROC_PACK_TYPE(point);

	(void)state;
	/* Where the members are is this machine's business. */
	other.size = 32;
	assert_true(mproc_pack_fingerprint(&other) ==
		    mproc_pack_fingerprint(MPROC_PACK_TYPE(point)));
	other.fields = renamed;
	assert_true(mproc_pack_fingerprint(&other) !=
		    mproc_pack_fingerprint(MPROC_PACK_TYPE(point)));
	other = *MPROC_PACK_TYPE(point);
	other.n_fields = 1;
	assert_true(mproc_pack_fingerprint(&other) !=
		    mproc_pack_fingerprint(MPROC_PACK_TYPE(point)));
	/* 64-bit FNV-1a of the schema, on every machine and in every version. */
	assert_true(mproc_pack_fingerprint(MPROC_PACK_TYPE(point)) == UINT64_C(0x2dcf732afaee99d1));
}

static void *fail_elsewhere(void *arg)
{
	integers got;

	(void)arg;
	/* In this thread, none has failed yet. */
	t_check(mproc_pack_error_detail()->code == 0);
	t_check(!strcmp(mproc_pack_error_detail()->path, ""));
	t_check(!strcmp(mproc_pack_error_detail()->type, ""));
	t_check(mproc_pack_decode(MPROC_PACK_TYPE(integers), "", 0, &got, NULL, NULL) == -EBADMSG);
	t_check(mproc_pack_error_detail()->code == MPROC_PACK_ERROR_TRUNCATED);
	return NULL;
}

static void each_thread_has_a_record_of_its_own(void **state)
{
	tuple value = { .s = NULL };
	pthread_t thread;
	size_t len;

	(void)state;
	assert_int_equal(mproc_pack_encode(MPROC_PACK_TYPE(tuple), &value, NULL, 0, &len, NULL),
			 -ENOBUFS);
	assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(mproc_pack_error_detail()->code, MPROC_PACK_ERROR_NO_SPACE);
	assert_int_equal(mproc_pack_error_detail()->offset, 12);
	assert_string_equal(mproc_pack_error_detail()->path, "tuple");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(structs_of_any_number_of_fields_are_written),
		cmocka_unit_test(structs_that_are_strictly_aligned_stay_so),
		cmocka_unit_test(values_that_no_bytes_stand_for_are_refused_by_their_path),
		cmocka_unit_test(cycle_of_pointers_ends_in_an_error),
		cmocka_unit_test(limits_on_the_message_hold_for_the_sender),
		cmocka_unit_test(impossible_limits_are_refused),
		cmocka_unit_test(count_that_is_sent_besides_is_refused),
		cmocka_unit_test(schema_is_cddl_of_all_structs),
		cmocka_unit_test(fingerprints_differ_where_schemas_do),
		cmocka_unit_test(each_thread_has_a_record_of_its_own),
	};

	return cmocka_run_group_tests_name("pack type", tests, NULL, NULL);
}
