/* SPDX-License-Identifier: MIT */

/*
 * Decoding of anything, into structs of fixed and of random descriptors
 *
 * The first byte chooses one of the descriptors below, or says how many of the bytes
 * that follow make one. The rest is the message. What is accepted must
 *
 *	encode again, within the limits,
 *	come out the same when that is decoded and encoded once more: the first encoding
 *	has brought every item into the form that we write,
 *	not have taken more memory than the limits say.
 */

#include <mproc/pack.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct leaf {
	char *name;
	int16_t n;
} leaf;

typedef struct tree tree;
struct tree {
	double key;
	tree *left, *right;
};

typedef struct mixed {
	bool b;
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
	char *str;
	char chars[8];
	void *blob;
	uint8_t blob_len;
	unsigned char octets[4];
	int16_t *vec;
	float *vec2;
	uint32_t n_vec;
	double arr[2];
	leaf in;
	leaf *own;
	tree *top;
} mixed;

MPROC_PACK_STRUCT(leaf, (str, name), (val, n));
MPROC_PACK_STRUCT(tree, (val, key), (own, left, tree), (own, right, tree));
MPROC_PACK_STRUCT(mixed, (val, b), (val, i8), (val, i16), (val, i32), (val, i64), (val, u8),
		  (val, u16), (val, u32), (val, u64), (val, f32), (val, f64), (str, str),
		  (chars, chars), (bytes, blob, blob_len), (bytes, octets), (vec, vec, n_vec),
		  (vec, vec2, n_vec), (arr, arr), (in, in, leaf), (own, own, leaf),
		  (own, top, tree));

#define FIELDS_MAX 24u
#define SLOT       32u /* bytes of a random struct that each field has for itself */

#define CHECK(ok) ((ok) ? (void)0 : abort())

static const struct mproc_pack_type none = { "none", NULL, 0, 1, 1, 0 };

/* Each field has a slot: what it describes at its start, its count at the end. */
static struct mproc_pack_field random_field(uint8_t seed, uint32_t i)
{
	static const uint32_t sizes[] = { 1, 2, 4, 8, 1, 2, 4, 8, 4, 8 };
	struct mproc_pack_field field = {
		.name = "f",
		.kind = (uint8_t)(MPROC_PACK_KIND_BOOL + seed % MPROC_PACK_KIND_OWN),
		.elem = (uint8_t)(MPROC_PACK_KIND_INT8 + seed / 19 % 10),
		.count_kind = (uint8_t)(MPROC_PACK_KIND_INT8 + seed / 19 % 8),
		.offset = i * SLOT,
		.count_offset = i * SLOT + SLOT - 8,
		.size = 1 + seed / 19,
	};

	if (field.kind == MPROC_PACK_KIND_ARR)
		field.size = sizes[field.elem - MPROC_PACK_KIND_INT8] * (1 + seed % 2);
	if (field.kind == MPROC_PACK_KIND_IN)
		field.type = MPROC_PACK_TYPE(leaf);
	if (field.kind == MPROC_PACK_KIND_OWN)
		field.type = seed & 0x80 ? MPROC_PACK_TYPE(leaf) : MPROC_PACK_TYPE(tree);
	return field;
}

/* Return: how many bytes of @data it took. */
static size_t choose_type(struct mproc_pack_type *type, struct mproc_pack_field *fields,
			  const uint8_t *data, size_t size)
{
	static const struct mproc_pack_type *const fixed[] = { MPROC_PACK_TYPE(mixed),
							       MPROC_PACK_TYPE(tree),
							       MPROC_PACK_TYPE(leaf), &none };
	uint32_t n;

	if (data[0] < 0x80) {
		*type = *fixed[data[0] % 4];
		return 1;
	}
	n = data[0] % (FIELDS_MAX + 1);
	if (n > size - 1)
		n = (uint32_t)(size - 1);
	for (uint32_t i = 0; i < n; i++)
		fields[i] = random_field(data[1 + i], i);
	*type = (struct mproc_pack_type){ "random", fields, n, FIELDS_MAX * SLOT, 8, 0 };
	return 1 + n;
}

/* Return: the message, *ret_len bytes, or NULL if it was refused. */
static void *again(const struct mproc_pack_type *type, const void *bytes, size_t len,
		   size_t *ret_len)
{
	mproc_pack_value *value;
	void *ret;

	if (mproc_pack_loads(&value, type, bytes, len, NULL) < 0) {
		CHECK(mproc_pack_error_detail()->code != 0);
		CHECK(mproc_pack_error_detail()->offset <= len);
		return NULL;
	}
	CHECK(mproc_pack_dumps(&ret, type, mproc_pack_root(value), ret_len, NULL) == 0);
	mproc_pack_release(value);
	return ret;
}

/* The arena that is no larger than the limits allow holds it all. */
static void check_memory(const struct mproc_pack_type *type, const void *bytes, size_t len)
{
	/* Alignment of each object comes on top; objects are bytes of the message at least. */
	size_t cap = (64 << 10) + 64 * len + 8 * len;
	unsigned char *buf = malloc(cap);
	struct mproc_pack_arena arena = MPROC_PACK_ARENA(buf, cap);
	void *value = malloc(type->size);

	CHECK(buf && value);
	CHECK(mproc_pack_decode(type, bytes, len, value, &arena, NULL) == 0);
	CHECK(!arena.chunks);
	free(value);
	free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mproc_pack_field fields[FIELDS_MAX];
	size_t first_len, second_len, len;
	struct mproc_pack_type type;
	unsigned char *bytes;
	void *first, *second;

	if (!size)
		return 0;
	len = choose_type(&type, fields, data, size);
	/* In memory of its exact size, a sanitizer sees one byte too many. */
	bytes = malloc(size - len + 1);
	CHECK(bytes);
	memcpy(bytes, data + len, size - len);
	bytes = realloc(bytes, size - len ? size - len : 1);
	CHECK(bytes);
	len = size - len;
	first = again(&type, bytes, len, &first_len);
	if (first) {
		check_memory(&type, bytes, len);
		second = again(&type, first, first_len, &second_len);
		CHECK(second);
		CHECK(second_len == first_len && !memcmp(first, second, first_len));
		free(second);
	}
	free(first);
	free(bytes);
	return 0;
}
