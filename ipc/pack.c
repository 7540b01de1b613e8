/* SPDX-License-Identifier: MIT */

/*
 * Structs as bytes: limits, errors, and the memory of decoded values
 *
 * Errors. The path of a field is known on the way back only: whoever fails writes
 * what and where into the thread's record, each walker that returns puts its step
 * before the path, which grows from the end of its array to the front, and the
 * outermost one moves it there. A call that succeeds pays nothing for it.
 *
 * Memory. What decoded pointers point to comes out of an arena: a buffer, then a
 * list of allocated chunks, of which only the newest has room. Nothing in it is freed
 * alone. A failing decode takes the arena back to where it found it.
 *
 * Everything is private to the process.
 */

#include <mproc/pack.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/error.h"
#include "ipc/opts.h"
#include "ipc/pack.h"
#include "ipc/pack_item.h"

#define DEPTH_MAX 4096u

/* Smaller ones would be filled before they are worth their malloc(). */
#define CHUNK_MIN 4096u

struct chunk {
	struct chunk *older;
	alignas(max_align_t) unsigned char bytes[];
};

struct mproc_pack_value {
	struct mproc_pack_arena arena;
	void *root;
	alignas(max_align_t) unsigned char bytes[];
};

/* The path stands at the end of its array until fail() has moved it. */
static _Thread_local struct mproc_pack_error detail;
static _Thread_local size_t path_at;

static const struct {
	int code;
} errnos[] = {
	[MPROC_PACK_ERROR_UNPICKLABLE] = { -ENOTSUP }, [MPROC_PACK_ERROR_TRUNCATED] = { -EBADMSG },
	[MPROC_PACK_ERROR_MALFORMED] = { -EBADMSG },   [MPROC_PACK_ERROR_TRAILING] = { -EBADMSG },
	[MPROC_PACK_ERROR_WRONG_TYPE] = { -EBADMSG },  [MPROC_PACK_ERROR_RANGE] = { -ERANGE },
	[MPROC_PACK_ERROR_TOO_DEEP] = { -EOVERFLOW },  [MPROC_PACK_ERROR_LIMIT] = { -EOVERFLOW },
	[MPROC_PACK_ERROR_BAD_REF] = { -EBADMSG },     [MPROC_PACK_ERROR_BAD_UTF8] = { -EBADMSG },
	[MPROC_PACK_ERROR_NO_SPACE] = { -ENOBUFS },    [MPROC_PACK_ERROR_NO_MEMORY] = { -ENOMEM },
};

int mproc__pack_limits_set(struct mproc_pack_limits *dst, const struct mproc_pack_limits *src)
{
	int r;

	r = mproc__opts_copy("pack limits", dst, sizeof(*dst), src);
	if (r < 0)
		return mproc__pack_refuse(r);
	if (!dst->depth)
		dst->depth = MPROC__PACK_DEPTH;
	if (dst->depth > DEPTH_MAX)
		return mproc__pack_refuse(mproc__fail(-EINVAL,
						      "pack limits: depth %" PRIu32 ", at most %u",
						      dst->depth, DEPTH_MAX));
	if (!dst->objects)
		dst->objects = MPROC__PACK_OBJECTS;
	if (!dst->message)
		dst->message = MPROC__PACK_MESSAGE;
	return 0;
}

const struct mproc_pack_error *mproc_pack_error_detail(void)
{
	if (!detail.type)
		detail.type = "";
	return &detail;
}

void mproc__pack_fault(enum mproc_pack_code code, size_t offset, const char *fmt, ...)
{
	va_list ap;

	detail.code = (int)code;
	detail.offset = offset;
	path_at = sizeof(detail.path) - 1;
	detail.path[path_at] = 0;
	va_start(ap, fmt);
	vsnprintf(detail.text, sizeof(detail.text), fmt, ap);
	va_end(ap);
}

/* The steps nearest to the fault say most: it is the outer ones that are cut off. */
static void path_prepend(const char *step)
{
	size_t len = strlen(step);
	size_t fits = len < path_at ? len : path_at;

	path_at -= fits;
	memcpy(detail.path + path_at, step + len - fits, fits);
}

void mproc__pack_path_field(const char *name)
{
	path_prepend(name);
	path_prepend(".");
}

void mproc__pack_path_index(uint64_t index)
{
	char step[24];

	snprintf(step, sizeof(step), "[%" PRIu64 "]", index);
	path_prepend(step);
}

int mproc__pack_fail(const struct mproc_pack_type *type, bool where)
{
	int r = errnos[detail.code].code;

	path_prepend(type->name);
	memmove(detail.path, detail.path + path_at, sizeof(detail.path) - path_at);
	detail.type = type->name;
	if (!where)
		return mproc__fail(r, "%s: %s", detail.path, detail.text);
	return mproc__fail(r, "%s: %s (byte %zu)", detail.path, detail.text, detail.offset);
}

int mproc__pack_refuse(int r)
{
	memset(&detail, 0, sizeof(detail));
	return r;
}

const char *mproc__pack_kind_name(unsigned kind)
{
	static const char *const names[] = {
		[MPROC_PACK_KIND_BOOL] = "bool",       [MPROC_PACK_KIND_INT8] = "int8_t",
		[MPROC_PACK_KIND_INT16] = "int16_t",   [MPROC_PACK_KIND_INT32] = "int32_t",
		[MPROC_PACK_KIND_INT64] = "int64_t",   [MPROC_PACK_KIND_UINT8] = "uint8_t",
		[MPROC_PACK_KIND_UINT16] = "uint16_t", [MPROC_PACK_KIND_UINT32] = "uint32_t",
		[MPROC_PACK_KIND_UINT64] = "uint64_t", [MPROC_PACK_KIND_FLOAT32] = "float",
		[MPROC_PACK_KIND_FLOAT64] = "double",
	};

	return names[kind];
}

bool mproc__pack_is_flat(const struct mproc_pack_type *type)
{
	for (uint32_t i = 0; i < type->n_fields; i++) {
		const struct mproc_pack_field *field = &type->fields[i];

		switch (field->kind) {
		case MPROC_PACK_KIND_STR:
		case MPROC_PACK_KIND_BYTES:
		case MPROC_PACK_KIND_VEC:
		case MPROC_PACK_KIND_OWN:
			return false;
		case MPROC_PACK_KIND_IN:
			if (!mproc__pack_is_flat(field->type))
				return false;
			break;
		default:
			break;
		}
	}
	return true;
}

/* Length of the sequence that starts with @s[0] >= 0x80, or 0 if it is none. */
static size_t utf8_sequence(const unsigned char *s, size_t n)
{
	/* Bounds of the second byte exclude overlong forms, surrogates and > U+10FFFF. */
	unsigned low = 0x80, high = 0xbf;
	size_t len;

	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (n < len || s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return len;
}

bool mproc__utf8_is_valid(const unsigned char *s, size_t n)
{
	size_t len;

	while (n) {
		if (n >= 8 && mproc__is_plain(s, 8, false)) {
			len = 8;
		} else if (s[0] < 0x80) {
			len = 1;
		} else {
			len = utf8_sequence(s, n);
			if (!len)
				return false;
		}
		s += len;
		n -= len;
	}
	return true;
}

/* A chunk behind the arena's others, with room for @size bytes so aligned. */
static bool arena_grow(struct mproc_pack_arena *arena, size_t size, size_t align)
{
	struct chunk *chunk;

	if (size > SIZE_MAX - sizeof(*chunk) - align)
		return false;
	size = size + align < CHUNK_MIN ? CHUNK_MIN : size + align;
	chunk = malloc(sizeof(*chunk) + size);
	if (!chunk)
		return false;
	chunk->older = arena->chunks;
	arena->chunks = chunk;
	arena->next = chunk->bytes;
	arena->end = chunk->bytes + size;
	return true;
}

void *mproc__arena_take(struct mproc_pack_arena *arena, size_t size, size_t align)
{
	size_t pad = -(uintptr_t)arena->next & (align - 1);
	size_t free_size = (size_t)(arena->end - arena->next);
	unsigned char *taken;

	/* One byte for nothing: a pointer that is not NULL, and its own. */
	size += !size;
	if (MPROC__UNLIKELY(free_size < size || free_size - size < pad)) {
		if (!arena_grow(arena, size, align))
			return NULL;
		pad = -(uintptr_t)arena->next & (align - 1);
	}
	taken = arena->next + pad;
	arena->next = taken + size;
	return taken;
}

void *mproc__unpack_take(struct mproc__unpack *u, size_t size, size_t align,
			 const unsigned char *at)
{
	void *taken;

	/* Who describes pointers must give room for what they point to. */
	assert(u->arena);
	if (size > u->memory) {
		mproc__pack_fault(MPROC_PACK_ERROR_LIMIT, (size_t)(at - u->start),
				  "%zu bytes of memory, %zu left by the limit", size, u->memory);
		return NULL;
	}
	u->memory -= size;
	taken = mproc__arena_take(u->arena, size, align);
	if (!taken)
		mproc__pack_fault(MPROC_PACK_ERROR_NO_MEMORY, (size_t)(at - u->start),
				  "no memory for %zu bytes", size);
	return taken;
}

void mproc__arena_cut(struct mproc_pack_arena *arena, const void *oldest)
{
	struct chunk *chunk = arena->chunks;

	while (chunk != oldest) {
		struct chunk *older = chunk->older;

		free(chunk);
		chunk = older;
	}
	arena->chunks = chunk;
}

void mproc_pack_arena_release(struct mproc_pack_arena *arena)
{
	if (!arena)
		return;
	mproc__arena_cut(arena, NULL);
	arena->next = arena->end = NULL;
}

int mproc_pack_loads(mproc_pack_value **ret, const struct mproc_pack_type *type, const void *bytes,
		     size_t len, const struct mproc_pack_limits *limits)
{
	struct mproc_pack_limits known;
	mproc_pack_value *value;
	size_t room;
	int r;

	r = mproc__pack_limits(&known, limits);
	if (r < 0)
		return r;
	/* What strings, bytes and arrays of the sender's own kind take is hardly more. */
	room = (size_t)type->size + type->align;
	if (len <= known.message && !mproc__pack_is_flat(type))
		room += len + len / 8 + 64;
	value = malloc(sizeof(*value) + room);
	if (!value)
		return mproc__pack_refuse(
			mproc__fail(-ENOMEM, "load %s: no memory for %zu bytes", type->name, room));
	value->root = value->bytes + (-(uintptr_t)value->bytes & (type->align - 1));
	value->arena.next = (unsigned char *)value->root + type->size;
	value->arena.end = value->bytes + room;
	value->arena.chunks = NULL;
	r = mproc__pack_decode(type, bytes, len, value->root, &value->arena, limits);
	if (r < 0)
		mproc_pack_release(value);
	else
		*ret = value;
	return r;
}

void *mproc_pack_root(mproc_pack_value *value)
{
	return value->root;
}

mproc_pack_value *mproc_pack_release(mproc_pack_value *value)
{
	if (value)
		mproc_pack_arena_release(&value->arena);
	free(value);
	return NULL;
}
