/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_PACK_TYPES_H
#define MPROC_TESTS_PACK_TYPES_H

/*
 * Structs that the tests of the codec send, and golden messages of them
 */

#include <mproc/pack.h>

#include <stdbool.h>

typedef struct tuple {
	int32_t i;
	double d;
	char *s;
} tuple;

typedef struct point {
	double x, y;
} point;

typedef struct address {
	char *street;
	int32_t zip;
} address;

enum colour { RED, GREEN, BLUE = 300 };

/* A member of each kind, and one that nobody describes. */
typedef struct everything {
	bool yes;
	int8_t i8;
	int16_t i16;
	int32_t i32;
	int64_t i64;
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	float f32;
	double f64;
	enum colour colour;
	char *str;
	char chars[8];
	void *blob;
	size_t blob_len;
	unsigned char octets[4];
	int16_t *vec;
	uint8_t n_vec;
	double arr[2];
	point in;
	address *own;
	void *scratch;
} everything;

/* Each kind of number in an array; one count for all. */
typedef struct vectors {
	int8_t *i8;
	int16_t *i16;
	int32_t *i32;
	int64_t *i64;
	uint8_t *u8;
	uint16_t *u16;
	uint32_t *u32;
	uint64_t *u64;
	float *f32;
	double *f64;
	int n;
} vectors;

typedef struct tree tree;
struct tree {
	int32_t key;
	tree *left, *right;
};

MPROC_PACK_DECLARE(tuple);
MPROC_PACK_DECLARE(point);
MPROC_PACK_DECLARE(address);
MPROC_PACK_DECLARE(everything);
MPROC_PACK_DECLARE(vectors);
MPROC_PACK_DECLARE(tree);

/* Messages of tests/golden, and the values they come from. */
struct t_golden {
	const char *name;
	const struct mproc_pack_type *type;
	const void *value; /* NULL: this version of the format no longer writes it so */
	const char *hex;
};
extern const struct t_golden t_goldens[];
extern const size_t t_n_goldens;

#endif
