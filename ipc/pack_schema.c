/* SPDX-License-Identifier: MIT */

/*
 * What a descriptor says, as CDDL (RFC 8610)
 *
 * One line for each struct that is reachable, the root first, the others in the order
 * in which they are first mentioned:
 *
 *	person = [name: text / bytes / null, age: uint .size 1, home: address / null]
 *	address = [street: text / bytes / null, zip: -2147483648..2147483647]
 *
 * The text says what is sent, in either byte order, and nothing about this machine:
 * equal schemas have equal texts, and so equal fingerprints, everywhere. What readers
 * accept beyond it (other widths, missing and additional fields) it does not say.
 */

#include <mproc/pack.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "ipc/error.h"
#include "ipc/pack.h"

#define TYPES_MAX 256u

/* 64-bit FNV-1a. */
#define HASH_BASIS UINT64_C(0xcbf29ce484222325)
#define HASH_PRIME UINT64_C(0x00000100000001b3)

/* The text goes into a buffer as far as that reaches; it is counted and hashed anyway. */
struct text {
	char *buf;
	size_t cap;
	size_t len;
	uint64_t hash;
};

struct types {
	const struct mproc_pack_type *seen[TYPES_MAX];
	size_t n;
};

static void put(struct text *text, const char *s)
{
	for (; *s; s++, text->len++) {
		if (text->len < text->cap)
			text->buf[text->len] = *s;
		text->hash = (text->hash ^ (unsigned char)*s) * HASH_PRIME;
	}
}

__attribute__((__format__(__printf__, 2, 3))) static void put_number(struct text *text,
								     const char *fmt, ...)
{
	char s[96];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s, sizeof(s), fmt, ap);
	va_end(ap);
	put(text, s);
}

/* Return: false if there are too many types. */
static bool mention(struct types *types, const struct mproc_pack_type *type)
{
	for (size_t i = 0; i < types->n; i++)
		if (types->seen[i] == type)
			return true;
	if (types->n == TYPES_MAX)
		return false;
	types->seen[types->n++] = type;
	return true;
}

static void put_scalar(struct text *text, unsigned kind)
{
	static const char *const texts[] = {
		[MPROC_PACK_KIND_BOOL] = "bool",
		[MPROC_PACK_KIND_INT8] = "-128..127",
		[MPROC_PACK_KIND_INT16] = "-32768..32767",
		[MPROC_PACK_KIND_INT32] = "-2147483648..2147483647",
		[MPROC_PACK_KIND_INT64] = "-9223372036854775808..9223372036854775807",
		[MPROC_PACK_KIND_UINT8] = "uint .size 1",
		[MPROC_PACK_KIND_UINT16] = "uint .size 2",
		[MPROC_PACK_KIND_UINT32] = "uint .size 4",
		[MPROC_PACK_KIND_UINT64] = "uint .size 8",
		[MPROC_PACK_KIND_FLOAT32] = "float32",
		[MPROC_PACK_KIND_FLOAT64] = "float64",
	};

	put(text, texts[kind]);
}

/* A typed array of @size bytes, or of any number of them if that is 0. */
static void put_array(struct text *text, unsigned kind, uint32_t size)
{
	unsigned big = mproc__pack_array_tag(kind, false);
	unsigned little = mproc__pack_array_tag(kind, true);
	char bytes[32] = "bytes";

	if (size)
		snprintf(bytes, sizeof(bytes), "bytes .size %" PRIu32, size);
	put_number(text, "#6.%u(%s)", big, bytes);
	if (little != big)
		put_number(text, " / #6.%u(%s)", little, bytes);
}

static bool put_field(struct text *text, struct types *types, const struct mproc_pack_field *field)
{
	switch (field->kind) {
	case MPROC_PACK_KIND_STR:
		put(text, "text / bytes / null");
		return true;
	case MPROC_PACK_KIND_CHARS:
		put_number(text, "text .size (0..%" PRIu32 ") / bytes .size (0..%" PRIu32 ")",
			   field->size - 1, field->size - 1);
		return true;
	case MPROC_PACK_KIND_BYTES:
		put(text, "bytes / null");
		return true;
	case MPROC_PACK_KIND_OCTETS:
		put_number(text, "bytes .size %" PRIu32, field->size);
		return true;
	case MPROC_PACK_KIND_VEC:
		put_array(text, field->elem, 0);
		put(text, " / null");
		return true;
	case MPROC_PACK_KIND_ARR:
		put_array(text, field->elem, field->size);
		return true;
	case MPROC_PACK_KIND_IN:
	case MPROC_PACK_KIND_OWN:
		put(text, field->type->name);
		put(text, field->kind == MPROC_PACK_KIND_OWN ? " / null" : "");
		return mention(types, field->type);
	default:
		put_scalar(text, field->kind);
		return true;
	}
}

/* Return: false if there are too many types. */
static bool put_schema(struct text *text, const struct mproc_pack_type *root)
{
	struct types types = { { root }, 1 };

	for (size_t i = 0; i < types.n; i++) {
		const struct mproc_pack_type *type = types.seen[i];

		put(text, type->name);
		put(text, " = [");
		for (uint32_t f = 0; f < type->n_fields; f++) {
			put(text, f ? ", " : "");
			put(text, type->fields[f].name);
			put(text, ": ");
			if (!put_field(text, &types, &type->fields[f]))
				return false;
		}
		put(text, "]\n");
	}
	return true;
}

int mproc_pack_schema(const struct mproc_pack_type *type, char *buf, size_t cap, size_t *ret_len)
{
	struct text text = { .buf = buf, .cap = cap };

	if (!put_schema(&text, type))
		return mproc__pack_refuse(mproc__fail(-EOVERFLOW,
						      "schema of %s: more than %u struct types",
						      type->name, TYPES_MAX));
	*ret_len = text.len;
	if (text.len >= cap)
		return mproc__pack_refuse(
			mproc__fail(-ENOBUFS, "schema of %s: %zu bytes and a NUL, room for %zu",
				    type->name, text.len, cap));
	buf[text.len] = 0;
	return 0;
}

uint64_t mproc_pack_fingerprint(const struct mproc_pack_type *type)
{
	struct text text = { .hash = HASH_BASIS };

	return put_schema(&text, type) ? text.hash + !text.hash : 0;
}
