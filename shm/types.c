/* SPDX-License-Identifier: MIT */

/*
 * Types by their codes
 *
 * One constant table: nothing here has a state, and nothing is shared.
 */

#include <mproc/types.h>

#include <errno.h>
#include <string.h>
#include <sys/types.h>
#include <wchar.h>

#include "ipc/error.h"

struct code {
	const char *code;
	const struct mproc_type type;
};

#define CODE(text, T) \
	{ \
		.code = (text), .type = { \
			.kind = MPROC_KIND(T), \
			.size = sizeof(T), \
			.align = _Alignof(T), \
			.name = #T \
		} \
	}

/* The first of a kind and size is the one that a type is told by. */
static const struct code codes[] = {
	CODE("?", bool),       CODE("b", signed char),    CODE("B", unsigned char),
	CODE("h", short),      CODE("H", unsigned short), CODE("i", int),
	CODE("I", unsigned),   CODE("q", long long),      CODE("Q", unsigned long long),
	CODE("f", float),      CODE("d", double),         CODE("c", char),
	CODE("l", long),       CODE("L", unsigned long),  CODE("n", ssize_t),
	CODE("N", size_t),     CODE("u", wchar_t),        CODE("w", wchar_t),
	CODE("i8", int8_t),    CODE("u8", uint8_t),       CODE("i16", int16_t),
	CODE("u16", uint16_t), CODE("i32", int32_t),      CODE("u32", uint32_t),
	CODE("i64", int64_t),  CODE("u64", uint64_t),     CODE("f32", float),
	CODE("f64", double),
};

#define N_CODES (sizeof(codes) / sizeof(codes[0]))

const struct mproc_type *mproc_type_from_code(const char *code)
{
	for (size_t i = 0; code && i < N_CODES; i++)
		if (!strcmp(code, codes[i].code))
			return &codes[i].type;
	mproc__fail(-EINVAL, "type: there is no type code \"%.16s\"", code ? code : "");
	return NULL;
}

const char *mproc_type_code(const struct mproc_type *type)
{
	for (size_t i = 0; i < N_CODES; i++)
		if (codes[i].type.kind == type->kind && codes[i].type.size == type->size)
			return codes[i].code;
	mproc__fail(-EINVAL, "type: there is no code for %.48s", type->name ? type->name : "it");
	return NULL;
}
