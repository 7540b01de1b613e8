/* SPDX-License-Identifier: MIT */
#ifndef MPROC__PACK_H
#define MPROC__PACK_H

/*
 * What the files of the codec share, and what the floors above may ask it
 *
 *	pack.c		limits, errors and their paths, arenas and values
 *	pack_encode.c	struct to bytes
 *	pack_decode.c	bytes to struct
 *	pack_number.c	numbers and arrays of them, in every form that is accepted
 *	pack_schema.c	descriptor to CDDL, fingerprint
 */

#include <mproc/pack.h>

#include <stdbool.h>

#include "ipc/pack_item.h"

/* Does @type hold no pointer that is described, at any depth? */
bool mproc__pack_is_flat(const struct mproc_pack_type *type);

/* mproc_pack_decode() for callers who do not look at @value if it fails. */
int mproc__pack_decode(const struct mproc_pack_type *type, const void *bytes, size_t len,
		       void *value, struct mproc_pack_arena *arena,
		       const struct mproc_pack_limits *limits);

/*
 * mproc_pack_encode(), but -ENOBUFS leaves no text: for callers who then come with a
 * larger buffer.
 */
int mproc__pack_encode(const struct mproc_pack_type *type, const void *value, void *buf, size_t cap,
		       size_t *ret_len, const struct mproc_pack_limits *limits);

#define MPROC__PACK_DEPTH   256u
#define MPROC__PACK_OBJECTS (1u << 20)
#define MPROC__PACK_MESSAGE ((size_t)16 << 20)

/* The same for limits that the caller has set. */
int mproc__pack_limits_set(struct mproc_pack_limits *dst, const struct mproc_pack_limits *src);

/* Limits with the defaults filled in. Return: 0, -EINVAL or -E2BIG. */
static inline int mproc__pack_limits(struct mproc_pack_limits *dst,
				     const struct mproc_pack_limits *src)
{
	if (src)
		return mproc__pack_limits_set(dst, src);
	dst->depth = MPROC__PACK_DEPTH;
	dst->objects = MPROC__PACK_OBJECTS;
	dst->message = MPROC__PACK_MESSAGE;
	dst->memory = 0;
	return 0;
}

/*
 * The record of this thread. fault() begins it, path_field() and path_index() put a
 * step before its path while the walkers return, fail() ends it with the name of the
 * outermost type.
 *
 * fault() and so on return nothing: what failed returns NULL to its caller. fail()
 * returns the errno; @where is false for encoding, whose caller has no bytes.
 */
void mproc__pack_fault(enum mproc_pack_code code, size_t offset, const char *fmt, ...)
	__attribute__((__format__(__printf__, 3, 4), __cold__));
void mproc__pack_path_field(const char *name) __attribute__((__cold__));
void mproc__pack_path_index(uint64_t index) __attribute__((__cold__));
int mproc__pack_fail(const struct mproc_pack_type *type, bool where) __attribute__((__cold__));
/* Without a path or a type: wrong arguments. Return: @r. */
int mproc__pack_refuse(int r);

/* Is @s UTF-8 (RFC 3629)? */
bool mproc__utf8_is_valid(const unsigned char *s, size_t n);

/* "uint8_t"; kind is one of the scalar kinds. */
const char *mproc__pack_kind_name(unsigned kind);

/* Bytes of a scalar. */
static inline size_t mproc__pack_kind_size(unsigned kind)
{
	static const uint8_t sizes[] = {
		[MPROC_PACK_KIND_BOOL] = sizeof(bool), [MPROC_PACK_KIND_INT8] = 1,
		[MPROC_PACK_KIND_INT16] = 2,           [MPROC_PACK_KIND_INT32] = 4,
		[MPROC_PACK_KIND_INT64] = 8,           [MPROC_PACK_KIND_UINT8] = 1,
		[MPROC_PACK_KIND_UINT16] = 2,          [MPROC_PACK_KIND_UINT32] = 4,
		[MPROC_PACK_KIND_UINT64] = 8,          [MPROC_PACK_KIND_FLOAT32] = 4,
		[MPROC_PACK_KIND_FLOAT64] = 8,
	};

	return sizes[kind];
}

/* Tag of a typed array of @kind, INT8 to FLOAT64, in one of the byte orders. */
static inline unsigned mproc__pack_array_tag(unsigned kind, bool little)
{
	static const uint8_t tags[] = {
		[MPROC_PACK_KIND_INT8] = 72,    [MPROC_PACK_KIND_INT16] = 73,
		[MPROC_PACK_KIND_INT32] = 74,   [MPROC_PACK_KIND_INT64] = 75,
		[MPROC_PACK_KIND_UINT8] = 64,   [MPROC_PACK_KIND_UINT16] = 65,
		[MPROC_PACK_KIND_UINT32] = 66,  [MPROC_PACK_KIND_UINT64] = 67,
		[MPROC_PACK_KIND_FLOAT32] = 81, [MPROC_PACK_KIND_FLOAT64] = 82,
	};

	/* Single bytes have no order. */
	return tags[kind] + (little && mproc__pack_kind_size(kind) > 1 ? 4u : 0u);
}

/* The member that counts; a negative one comes out as more than INT64_MAX. */
static inline uint64_t mproc__pack_count(const struct mproc_pack_field *field,
					 const unsigned char *value)
{
	const unsigned char *at = value + field->count_offset;

	switch (field->count_kind) {
	case MPROC_PACK_KIND_INT8:
		return (uint64_t)(int64_t)mproc__load_i8(at);
	case MPROC_PACK_KIND_INT16:
		return (uint64_t)(int64_t)mproc__load_i16(at);
	case MPROC_PACK_KIND_INT32:
		return (uint64_t)(int64_t)mproc__load_i32(at);
	case MPROC_PACK_KIND_UINT8:
		return mproc__load_u8(at);
	case MPROC_PACK_KIND_UINT16:
		return mproc__load_u16(at);
	case MPROC_PACK_KIND_UINT32:
		return mproc__load_u32(at);
	default:
		return mproc__load_u64(at);
	}
}

/* One decode. What is left of the limits counts down; a failing decode is over. */
struct mproc__unpack {
	const unsigned char *start, *end;
	struct mproc_pack_arena *arena;
	size_t memory;
	uint32_t objects;
	uint32_t depth;
};

/* Memory out of an arena, not zeroed. Return: it, not NULL for no bytes, or NULL. */
void *mproc__arena_take(struct mproc_pack_arena *arena, size_t size, size_t align);

/* Free an arena's chunks that are newer than @oldest, one of them or NULL. */
void mproc__arena_cut(struct mproc_pack_arena *arena, const void *oldest);

/* An item's head, as far as errors need to know it. */
struct mproc__head {
	const unsigned char *at; /* where it begins */
	uint64_t arg;
	unsigned major;
};

/*
 * Memory for what a pointer points to, within the budget; not zeroed, not NULL even
 * for no bytes.
 */
void *mproc__unpack_take(struct mproc__unpack *u, size_t size, size_t align,
			 const unsigned char *at);

/* mproc__unpack_head() where it is more than a head. */
const unsigned char *mproc__unpack_head_far(struct mproc__unpack *u, const unsigned char *p,
					    struct mproc__head *ret);

/*
 * Read a head behind any marks of shared values (tag 28), which count as objects.
 *
 * Return: behind it, or NULL. A byte or text string of that length, or an array of so
 * many items, may still be longer than what is left.
 */
static inline const unsigned char *
mproc__unpack_head(struct mproc__unpack *u, const unsigned char *p, struct mproc__head *ret)
{
	const unsigned char *behind = mproc__get_head(p, u->end, &ret->major, &ret->arg);

	if (MPROC__UNLIKELY(!behind || *p == MPROC__SIMPLE_1 ||
			    (ret->major == MPROC__TAG && ret->arg == MPROC__TAG_SHARE)))
		return mproc__unpack_head_far(u, p, ret);
	ret->at = p;
	return behind;
}

/* "a text string where uint8_t is wanted". Return: NULL. */
const unsigned char *mproc__unpack_wrong(struct mproc__unpack *u, const struct mproc__head *head,
					 const char *wanted);

/* A fault at an item. Return: NULL. */
#define MPROC__UNPACK_FAULT(u, code, at, ...) \
	(mproc__pack_fault((code), (size_t)((at) - (u)->start), __VA_ARGS__), NULL)

/* A number or truth value of a scalar kind, in any form. Return: behind it, or NULL. */
const unsigned char *mproc__unpack_scalar(struct mproc__unpack *u, const unsigned char *p,
					  unsigned kind, void *dst);

/* A vec or an arr of @type, in any form. Return: behind it, or NULL. */
const unsigned char *mproc__unpack_numbers(struct mproc__unpack *u, const unsigned char *p,
					   const struct mproc_pack_type *type,
					   const struct mproc_pack_field *field,
					   unsigned char *value);

/*
 * Set the member that counts the elements of a bytes or a vec.
 *
 * One member may count several arrays: they must then be of one length. No field may
 * send it as a number besides, since a message could make it count more than there is.
 *
 * Return: false with a fault at @at.
 */
bool mproc__unpack_count(struct mproc__unpack *u, const unsigned char *at,
			 const struct mproc_pack_type *type, const struct mproc_pack_field *field,
			 unsigned char *value, uint64_t n);

#endif /* MPROC__PACK_H */
