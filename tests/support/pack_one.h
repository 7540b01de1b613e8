/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_PACK_ONE_H
#define MPROC_TESTS_PACK_ONE_H

/*
 * A struct of one field of any kind, decoded from hex, and its errors
 *
 * Include after cmocka.h. Messages stand in memory of their exact size.
 */

#include <mproc/error.h>
#include <mproc/pack.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/hex.h"
#include "tests/support/pack_types.h"

union t_any {
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
	struct {
		void *at;
		uint16_t n;
	} counted;
	unsigned char bytes[64];
};

static struct mproc_pack_field t_one_field;
static struct mproc_pack_type t_one_type = {
	"one", &t_one_field, 1, sizeof(union t_any), _Alignof(union t_any), 0
};
/* No field at all: whatever a message holds is skipped. */
static const struct mproc_pack_type t_none_type = { "none", NULL, 0, 1, 1, 0 };

/* The type of { v }; valid until the next call. */
static inline const struct mproc_pack_type *t_one(unsigned kind, unsigned elem, uint32_t size)
{
	t_one_field = (struct mproc_pack_field){
		.name = "v",
		.kind = (uint8_t)kind,
		.elem = (uint8_t)elem,
		.count_kind = MPROC_PACK_KIND_UINT16,
		.count_offset = offsetof(union t_any, counted.n),
		.size = size,
		.type = kind == MPROC_PACK_KIND_IN ? MPROC_PACK_TYPE(point)
						   : MPROC_PACK_TYPE(address),
	};
	return &t_one_type;
}

static inline int t_decode_with(const struct mproc_pack_type *type, const char *hex,
				union t_any *ret, const struct mproc_pack_limits *limits)
{
	static unsigned char scratch[4096];
	struct mproc_pack_arena arena = MPROC_PACK_ARENA(scratch, sizeof(scratch));
	size_t len;
	unsigned char *bytes = t_unhex(hex, &len);
	int r = mproc_pack_decode(type, bytes, len, ret, &arena, limits);

	assert_null(arena.chunks);
	free(bytes);
	return r;
}

static inline int t_decode(const struct mproc_pack_type *type, const char *hex, union t_any *ret)
{
	return t_decode_with(type, hex, ret, NULL);
}

/* @r is what a call returned: the record, the text and @want all say the same. */
static inline void t_assert_error(int r, int want, int code, const char *path, const char *text,
				  size_t offset)
{
	const struct mproc_pack_error *error = mproc_pack_error_detail();
	char line[512];

	assert_int_equal(r, want);
	assert_int_equal(error->code, code);
	assert_string_equal(error->path, path);
	assert_string_equal(error->text, text);
	assert_int_equal(error->offset, offset);
	snprintf(line, sizeof(line), "%s: %s (byte %zu)", path, text, offset);
	assert_string_equal(mproc_error_text(), line);
}

#endif
