/* SPDX-License-Identifier: MIT */

#include "tests/support/pack_types.h"

MPROC_PACK_EXPORT(tuple, (val, i), (val, d), (str, s));
MPROC_PACK_EXPORT(point, (val, x), (val, y));
MPROC_PACK_EXPORT(address, (str, street), (val, zip));
MPROC_PACK_EXPORT(everything, (val, yes), (val, i8), (val, i16), (val, i32), (val, i64), (val, u8),
		  (val, u16), (val, u32), (val, u64), (val, f32), (val, f64), (val, colour),
		  (str, str), (chars, chars), (bytes, blob, blob_len), (bytes, octets),
		  (vec, vec, n_vec), (arr, arr), (in, in, point), (own, own, address));
MPROC_PACK_EXPORT(vectors, (vec, i8, n), (vec, i16, n), (vec, i32, n), (vec, i64, n), (vec, u8, n),
		  (vec, u16, n), (vec, u32, n), (vec, u64, n), (vec, f32, n), (vec, f64, n));
MPROC_PACK_EXPORT(tree, (val, key), (own, left, tree), (own, right, tree));

static int16_t three[] = { -1, 0, 1000 };
static address home = { "Main St", 12345 };
static int8_t i8s[] = { INT8_MIN, INT8_MAX };
static int16_t i16s[] = { INT16_MIN, INT16_MAX };
static int32_t i32s[] = { INT32_MIN, INT32_MAX };
static int64_t i64s[] = { INT64_MIN, INT64_MAX };
static uint8_t u8s[] = { 0, UINT8_MAX };
static uint16_t u16s[] = { 1, UINT16_MAX };
static uint32_t u32s[] = { 2, UINT32_MAX };
static uint64_t u64s[] = { 3, UINT64_MAX };
static float f32s[] = { 1.5f, -2.0f };
static double f64s[] = { 0.1, -3.0 };
static tree leaf = { .key = 3 };
static tree left = { .key = 1, .right = &leaf };
static tree right = { .key = -70000 };

static const tuple a_tuple = { 123456, 3.25, "hello world" };
static const everything all = {
	.yes = true,
	.i8 = -100,
	.i16 = -1000,
	.i32 = 100000,
	.i64 = -5000000000,
	.u8 = 255,
	.u16 = 65535,
	.u32 = 4294967295,
	.u64 = UINT64_MAX,
	.f32 = 0.5f,
	.f64 = 0.1,
	.colour = BLUE,
	.str = "gr\xc3\xbc\xc3\x9f"
	       "e",
	.chars = "seven c",
	.blob = "\0\1\2",
	.blob_len = 3,
	.octets = { 0xde, 0xad, 0xbe, 0xef },
	.vec = three,
	.n_vec = 3,
	.arr = { 1, -2 },
	.in = { 0.25, -0.0 },
	.own = &home,
	.scratch = three,
};
static const everything nothing = { .i8 = 0 };
static const vectors numbers = {
	i8s, i16s, i32s, i64s, u8s, u16s, u32s, u64s, f32s, f64s, 2,
};
static const vectors no_numbers = { .n = 0 };
static const tree root = { 2, &left, &right };
static const tuple latin1 = { -1, 0, "caf\xe9" };

#define GOLDEN(name, type, value, hex) { name, MPROC_PACK_TYPE(type), value, hex },
const struct t_golden t_goldens[] = {
#include "tests/golden/pack_1.h"
};
#undef GOLDEN

const size_t t_n_goldens = sizeof(t_goldens) / sizeof(t_goldens[0]);
