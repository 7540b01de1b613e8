/* SPDX-License-Identifier: MIT */

/*
 * fuzz/pack.c without a fuzzer: messages with random errors in them
 *
 * A short walk over the properties that fuzz/pack.c states, for every run of the
 * tests; a fuzzer goes further.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fuzz/pack.c"
#include "tests/golden/cbor.h"
#include "tests/support/child.h"
#include "tests/support/hex.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

#define INPUT_MAX 1024u

/* How the fuzzer's first byte chooses. */
#define MIXED 0
#define NONE  3

struct input {
	unsigned char bytes[INPUT_MAX];
	size_t len;
};

/* Bytes that mean something: heads of every type and size class, limits of numbers. */
static const unsigned char telling[] = {
	0x00, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1f, 0x20, 0x38, 0x3b, 0x40, 0x44, 0x58,
	0x5b, 0x5f, 0x60, 0x67, 0x78, 0x7b, 0x80, 0x82, 0x98, 0x9b, 0x9f, 0xa0, 0xb8, 0xbf,
	0xc0, 0xd8, 0x1c, 0x40, 0x4d, 0x56, 0xf4, 0xf5, 0xf6, 0xf8, 0xf9, 0xfa, 0xfb, 0xff,
};

static void mutate(struct input *input, uint64_t *seed)
{
	size_t at = input->len ? t_random(seed) % input->len : 0;

	switch (t_random(seed) % 6) {
	case 0:
		input->bytes[at] = (unsigned char)t_random(seed);
		break;
	case 1:
		input->bytes[at] ^= (unsigned char)(1u << t_random(seed) % 8);
		break;
	case 2:
		input->bytes[at] = telling[t_random(seed) % sizeof(telling)];
		break;
	case 3: /* cut */
		input->len = at;
		break;
	case 4: /* a byte more */
		if (input->len == INPUT_MAX)
			break;
		memmove(input->bytes + at + 1, input->bytes + at, input->len - at);
		input->bytes[at] = telling[t_random(seed) % sizeof(telling)];
		input->len++;
		break;
	default: /* a piece of it once more, somewhere else */
		if (input->len > INPUT_MAX / 2 || !input->len)
			break;
		memcpy(input->bytes + input->len, input->bytes + at, input->len - at);
		input->len += input->len - at;
		break;
	}
}

/* The first bytes of a struct that fuzz/pack.c knows, with values of all sorts. */
static void write_mixed(struct input *input)
{
	int16_t numbers[] = { -1, 0, 1000 };
	float floats[] = { 0, 1, -2 };
	leaf end = { "leaf", -3 };
	tree small = { .key = 1.5 };
	mixed value = {
		.b = true,
		.i8 = -100,
		.i16 = 1000,
		.i32 = -100000,
		.i64 = INT64_MIN,
		.u64 = UINT64_MAX,
		.f32 = 0.5f,
		.f64 = 0.1,
		.str = "gr\xc3\xbc\xc3\x9f"
		       "e",
		.chars = "seven c",
		.blob = "\0\1",
		.blob_len = 2,
		.vec = numbers,
		.vec2 = floats,
		.n_vec = 3,
		.in = { "in", 4 },
		.own = &end,
		.top = &(tree){ .key = 2, .left = &small },
	};

	input->bytes[0] = MIXED;
	assert_int_equal(mproc_pack_encode(MPROC_PACK_TYPE(mixed), &value, input->bytes + 1,
					   INPUT_MAX - 1, &input->len, NULL),
			 0);
	input->len++;
}

static void seed_input(struct input *input, uint64_t *seed)
{
	const char *hex = well_formed[t_random(seed) % N(well_formed)];
	unsigned char *item;
	size_t len;

	switch (t_random(seed) % 4) {
	case 0: /* an item that is skipped */
		item = t_unhex(hex, &len);
		input->bytes[0] = NONE;
		input->bytes[1] = 0x81;
		memcpy(input->bytes + 2, item, len);
		input->len = 2 + len;
		free(item);
		break;
	case 1: /* a descriptor and a message of random bytes */
		input->len = t_random(seed) % 64 + 1;
		for (size_t i = 0; i < input->len; i++)
			input->bytes[i] = (unsigned char)t_random(seed);
		input->bytes[0] |= 0x80;
		break;
	default:
		write_mixed(input);
		break;
	}
}

static void messages_with_random_errors_do_no_harm(void **state)
{
	uint64_t seed = t_seed();
	size_t rounds = t_long() ? 3000000 : 60000;
	struct input input;

	(void)state;
	for (size_t i = 0; i < rounds; i++) {
		seed_input(&input, &seed);
		for (size_t n = t_random(&seed) % 5; n; n--)
			mutate(&input, &seed);
		LLVMFuzzerTestOneInput(input.bytes, input.len);
	}
}

/* One error at each place: what is not refused stays within the properties. */
static void messages_with_any_one_byte_wrong_do_no_harm(void **state)
{
	struct input input, wrong;

	(void)state;
	write_mixed(&input);
	for (size_t at = 0; at < input.len; at++) {
		for (unsigned byte = 0; byte < 256; byte++) {
			wrong = input;
			wrong.bytes[at] = (unsigned char)byte;
			LLVMFuzzerTestOneInput(wrong.bytes, wrong.len);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_with_random_errors_do_no_harm),
		cmocka_unit_test(messages_with_any_one_byte_wrong_do_no_harm),
	};

	return cmocka_run_group_tests_name("pack fuzz", tests, NULL, NULL);
}
