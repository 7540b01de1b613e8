/* SPDX-License-Identifier: MIT */

/*
 * Bytes to structs
 *
 * The bytes may be anybody's, but they do not change while they are read. Each step
 * looks, in this order: is the head complete, is what it claims there (every item of
 * an array takes at least a byte), does it fit the field, is it within the limits;
 * and only then takes memory. So no claim costs more than the bytes that back it, or
 * than the budget, and nothing is read behind the end.
 *
 * The walker has the usual form of each kind inline and leaves everything else, wrong
 * or merely unusual, to the long way in pack_number.c or below. It recurses once for
 * each struct, array, map or tag inside another, as deep as the limits say.
 */

#include <mproc/pack.h>

#include <errno.h>
#include <inttypes.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/error.h"
#include "ipc/pack.h"
#include "ipc/pack_item.h"

/* Budget of memory unless the caller has one of his own. */
#define MEMORY_DEFAULT ((size_t)64 << 20)
#define MEMORY_BASE    ((size_t)64 << 10)
#define MEMORY_RATIO   64u

#define FAULT MPROC__UNPACK_FAULT

static size_t left(const struct mproc__unpack *u, const unsigned char *p)
{
	return (size_t)(u->end - p);
}

const unsigned char *mproc__unpack_head_far(struct mproc__unpack *u, const unsigned char *p,
					    struct mproc__head *ret)
{
	uint32_t marks = 0;

	for (;;) {
		const unsigned char *behind;

		ret->at = p;
		behind = mproc__get_head(p, u->end, &ret->major, &ret->arg);
		if (!behind && p < u->end && (*p & 31u) > MPROC__INFO_MAX)
			return FAULT(u, MPROC_PACK_ERROR_MALFORMED, p,
				     (*p & 31u) == 31 ? "indefinite length or break (0x%02x)"
						      : "reserved byte 0x%02x",
				     *p);
		if (!behind)
			return FAULT(u, MPROC_PACK_ERROR_TRUNCATED, p, "the message ends early");
		if (*p == MPROC__SIMPLE_1 && ret->arg < 32)
			return FAULT(u, MPROC_PACK_ERROR_MALFORMED, p,
				     "simple value %" PRIu64 " in two bytes", ret->arg);
		if (ret->major != MPROC__TAG || ret->arg != MPROC__TAG_SHARE)
			return behind;
		if (++marks > u->depth)
			return FAULT(u, MPROC_PACK_ERROR_TOO_DEEP, p, "tags nested too deep");
		if (!u->objects)
			return FAULT(u, MPROC_PACK_ERROR_LIMIT, p, "too many objects");
		u->objects--;
		p = behind;
	}
}

const unsigned char *mproc__unpack_wrong(struct mproc__unpack *u, const struct mproc__head *head,
					 const char *wanted)
{
	static const char *const names[] = {
		[MPROC__UINT] = "an integer",       [MPROC__NEGATIVE] = "a negative integer",
		[MPROC__BYTES] = "a byte string",   [MPROC__TEXT] = "a text string",
		[MPROC__ARRAY] = "an array",        [MPROC__MAP] = "a map",
		[MPROC__SIMPLE] = "a simple value",
	};
	unsigned first = *head->at;
	char tag[32];
	const char *name = tag;

	if (head->major == MPROC__TAG && head->arg == MPROC__TAG_REF)
		return FAULT(u, MPROC_PACK_ERROR_BAD_REF, head->at,
			     "a reference where %s is wanted", wanted);
	if (head->major == MPROC__TAG)
		snprintf(tag, sizeof(tag), "tag %" PRIu64, head->arg);
	else if (first == MPROC__NULL)
		name = "null";
	else if (first == MPROC__FALSE || first == MPROC__TRUE)
		name = "a truth value";
	else if (first >= MPROC__FLOAT16 && first <= MPROC__FLOAT64)
		name = "a floating-point number";
	else
		name = names[head->major];
	return FAULT(u, MPROC_PACK_ERROR_WRONG_TYPE, head->at, "%s where %s is wanted", name,
		     wanted);
}

/* A claim of @n bytes or items behind the head. */
static inline bool is_there(struct mproc__unpack *u, const unsigned char *p,
			    const struct mproc__head *head)
{
	if (MPROC__LIKELY(head->arg <= left(u, p)))
		return true;
	mproc__pack_fault(MPROC_PACK_ERROR_TRUNCATED, (size_t)(head->at - u->start),
			  "%" PRIu64 " %s claimed, %zu bytes left", head->arg,
			  head->major == MPROC__ARRAY ? "items" : "bytes", left(u, p));
	return false;
}

/*
 * An item that nobody asked for.
 *
 * Return: behind it, or NULL.
 */
static const unsigned char *skip(struct mproc__unpack *u, const unsigned char *p)
{
	struct mproc__head head;
	uint64_t n;

	if (!u->depth)
		return FAULT(u, MPROC_PACK_ERROR_TOO_DEEP, p, "items nested too deep");
	if (!u->objects)
		return FAULT(u, MPROC_PACK_ERROR_LIMIT, p, "too many objects");
	u->objects--;
	p = mproc__unpack_head(u, p, &head);
	if (!p)
		return NULL;
	switch (head.major) {
	case MPROC__BYTES:
	case MPROC__TEXT:
		return is_there(u, p, &head) ? p + head.arg : NULL;
	case MPROC__ARRAY:
		n = head.arg;
		break;
	case MPROC__MAP:
		/* Twice the entries must not overflow. */
		if (!is_there(u, p, &head))
			return NULL;
		n = 2 * head.arg;
		break;
	case MPROC__TAG:
		n = 1;
		break;
	default:
		return p;
	}
	u->depth--;
	/* Each takes a byte at least: a claim of too many ends where the bytes end. */
	for (; n && p; n--)
		p = skip(u, p);
	u->depth++;
	return p;
}

/*
 * A string for a char * or a char[]. Text must be UTF-8; senders put other bytes into
 * byte strings.
 *
 * Return: the characters, head->arg of them, or NULL.
 */
static const unsigned char *string_at(struct mproc__unpack *u, const unsigned char *p,
				      const struct mproc__head *head)
{
	if (MPROC__UNLIKELY(!is_there(u, p, head)))
		return NULL;
	if (MPROC__LIKELY(mproc__is_plain(p, head->arg, true)))
		return p;
	if (memchr(p, 0, head->arg))
		return FAULT(u, MPROC_PACK_ERROR_RANGE, head->at, "a string with a NUL inside");
	if (head->major == MPROC__TEXT && !mproc__utf8_is_valid(p, head->arg))
		return FAULT(u, MPROC_PACK_ERROR_BAD_UTF8, head->at, "text that is not UTF-8");
	return p;
}

/*
 * The usual string: short text that the arena has room for.
 *
 * Return: behind it, or NULL if it must go the long way.
 */
static inline const unsigned char *get_short_str(struct mproc__unpack *u, const unsigned char *p,
						 unsigned char *at)
{
	struct mproc_pack_arena *arena = u->arena;
	unsigned char *copy = arena->next;
	unsigned major;
	uint64_t len;

	p = mproc__get_head(p, u->end, &major, &len);
	if (!p || major != MPROC__TEXT || len > left(u, p) || len >= u->memory ||
	    len >= (size_t)(arena->end - copy) || !mproc__is_plain(p, len, true))
		return NULL;
	u->memory -= len + 1;
	arena->next = copy + len + 1;
	mproc__copy(copy, p, len);
	copy[len] = 0;
	memcpy(at, &copy, sizeof(copy));
	return p + len;
}

static const unsigned char *get_str(struct mproc__unpack *u, const unsigned char *p,
				    unsigned char *at)
{
	struct mproc__head head;
	unsigned char *copy;

	p = mproc__unpack_head(u, p, &head);
	if (MPROC__UNLIKELY(!p))
		return NULL;
	if (*head.at == MPROC__NULL)
		return p; /* as all is */
	if (MPROC__UNLIKELY(head.major != MPROC__TEXT && head.major != MPROC__BYTES))
		return mproc__unpack_wrong(u, &head, "a string");
	p = string_at(u, p, &head);
	if (MPROC__UNLIKELY(!p))
		return NULL;
	copy = mproc__unpack_take(u, head.arg + 1, 1, head.at);
	if (MPROC__UNLIKELY(!copy))
		return NULL;
	mproc__copy(copy, p, head.arg);
	copy[head.arg] = 0;
	memcpy(at, &copy, sizeof(copy));
	return p + head.arg;
}

static const unsigned char *get_chars(struct mproc__unpack *u, const unsigned char *p,
				      const struct mproc_pack_field *field, unsigned char *at)
{
	struct mproc__head head;

	p = mproc__unpack_head(u, p, &head);
	if (!p)
		return NULL;
	if (head.major != MPROC__TEXT && head.major != MPROC__BYTES)
		return mproc__unpack_wrong(u, &head, "a string");
	p = string_at(u, p, &head);
	if (!p)
		return NULL;
	if (head.arg >= field->size)
		return FAULT(u, MPROC_PACK_ERROR_RANGE, head.at,
			     "a string of %" PRIu64 " bytes does not fit char[%" PRIu32 "]",
			     head.arg, field->size);
	/* What is behind it is zero already. */
	mproc__copy(at, p, head.arg);
	return p + head.arg;
}

static const unsigned char *get_bytes(struct mproc__unpack *u, const unsigned char *p,
				      const struct mproc_pack_type *type,
				      const struct mproc_pack_field *field, unsigned char *value)
{
	bool fixed = field->kind == MPROC_PACK_KIND_OCTETS;
	unsigned char *at = value + field->offset, *copy = at;
	struct mproc__head head;

	p = mproc__unpack_head(u, p, &head);
	if (!p)
		return NULL;
	if (*head.at == MPROC__NULL && !fixed)
		return mproc__unpack_count(u, head.at, type, field, value, 0) ? p : NULL;
	if (head.major != MPROC__BYTES)
		return mproc__unpack_wrong(u, &head, "a byte string");
	if (!is_there(u, p, &head))
		return NULL;
	if (fixed && head.arg != field->size)
		return FAULT(u, MPROC_PACK_ERROR_RANGE, head.at,
			     "%" PRIu64 " bytes do not fit uint8_t[%" PRIu32 "]", head.arg,
			     field->size);
	if (!fixed) {
		if (!mproc__unpack_count(u, head.at, type, field, value, head.arg))
			return NULL;
		copy = mproc__unpack_take(u, head.arg, 1, head.at);
		if (!copy)
			return NULL;
		memcpy(at, &copy, sizeof(copy));
	}
	mproc__copy(copy, p, head.arg);
	return p + head.arg;
}

static const unsigned char *get_struct(struct mproc__unpack *u, const unsigned char *p,
				       const struct mproc_pack_type *type, unsigned char *value);

static const unsigned char *get_own(struct mproc__unpack *u, const unsigned char *p,
				    const struct mproc_pack_type *type, unsigned char *at)
{
	const unsigned char *begin = p;
	struct mproc__head head;
	unsigned char *value;

	p = mproc__unpack_head(u, p, &head);
	if (!p)
		return NULL;
	if (*head.at == MPROC__NULL)
		return p;
	/* Looked at here, lest a byte of anything takes a struct's memory. */
	if (head.major != MPROC__ARRAY)
		return mproc__unpack_wrong(u, &head, type->name);
	value = mproc__unpack_take(u, type->size, type->align, begin);
	if (!value)
		return NULL;
	memset(value, 0, type->size);
	memcpy(at, &value, sizeof(value));
	return get_struct(u, head.at, type, value);
}

/* A field of variable size. Return: behind its item, or NULL. */
static inline const unsigned char *get_long(struct mproc__unpack *u, const unsigned char *p,
					    const struct mproc_pack_type *type,
					    const struct mproc_pack_field *field,
					    unsigned char *value)
{
	unsigned char *at = value + field->offset;
	const unsigned char *behind;

	switch (field->kind) {
	case MPROC_PACK_KIND_STR:
		behind = get_short_str(u, p, at);
		return MPROC__LIKELY(behind) ? behind : get_str(u, p, at);
	case MPROC_PACK_KIND_CHARS:
		return get_chars(u, p, field, at);
	case MPROC_PACK_KIND_BYTES:
	case MPROC_PACK_KIND_OCTETS:
		return get_bytes(u, p, type, field, value);
	case MPROC_PACK_KIND_VEC:
	case MPROC_PACK_KIND_ARR:
		return mproc__unpack_numbers(u, p, type, field, value);
	case MPROC_PACK_KIND_IN:
		return get_struct(u, p, field->type, at);
	case MPROC_PACK_KIND_OWN:
		return get_own(u, p, field->type, at);
	default:
		return FAULT(u, MPROC_PACK_ERROR_WRONG_TYPE, p,
			     "a descriptor of kind %u, unknown to this library", field->kind);
	}
}

/* Return: behind the item, or NULL with a fault. */
static inline const unsigned char *get_field(struct mproc__unpack *u, const unsigned char *p,
					     const struct mproc_pack_type *type,
					     const struct mproc_pack_field *field,
					     unsigned char *value)
{
	unsigned char *at = value + field->offset;
	const unsigned char *behind;

	if (field->kind > MPROC_PACK_KIND_FLOAT64)
		return get_long(u, p, type, field, value);
	behind = mproc__get_scalar(p, u->end, field->kind, at);
	return MPROC__LIKELY(behind) ? behind : mproc__unpack_scalar(u, p, field->kind, at);
}

/*
 * Fields from number @first on are not in the message and stay NULL: does none of them
 * share its count with an array that is there?
 */
static bool counts_agree(struct mproc__unpack *u, const unsigned char *p,
			 const struct mproc_pack_type *type, uint32_t first, unsigned char *value)
{
	for (uint32_t i = first; i < type->n_fields; i++) {
		const struct mproc_pack_field *field = &type->fields[i];

		if ((field->kind == MPROC_PACK_KIND_BYTES || field->kind == MPROC_PACK_KIND_VEC) &&
		    !mproc__unpack_count(u, p, type, field, value, 0)) {
			mproc__pack_path_field(field->name);
			return false;
		}
	}
	return true;
}

/* @value is zeroed. */
static const unsigned char *get_struct(struct mproc__unpack *u, const unsigned char *p,
				       const struct mproc_pack_type *type, unsigned char *value)
{
	const struct mproc_pack_field *field = type->fields, *end = field;
	struct mproc__head head;
	uint32_t known;
	uint64_t n;

	if (MPROC__UNLIKELY(!u->depth))
		return FAULT(u, MPROC_PACK_ERROR_TOO_DEEP, p, "structs nested too deep");
	if (MPROC__UNLIKELY(!u->objects))
		return FAULT(u, MPROC_PACK_ERROR_LIMIT, p, "too many objects");
	u->depth--;
	u->objects--;
	if (MPROC__LIKELY(left(u, p) > type->n_fields && type->n_fields < MPROC__INFO_1 &&
			  *p == (MPROC__ARRAY << 5 | type->n_fields))) {
		n = type->n_fields;
		p++;
	} else {
		p = mproc__unpack_head(u, p, &head);
		if (!p)
			return NULL;
		if (head.major != MPROC__ARRAY)
			return mproc__unpack_wrong(u, &head, type->name);
		if (!is_there(u, p, &head))
			return NULL;
		n = head.arg;
	}
	/* A shorter message is from an older sender: the rest stays zero. */
	known = n < type->n_fields ? (uint32_t)n : type->n_fields;
	/* A table of no fields may be NULL. */
	if (known)
		end += known;
	for (; field < end; field++) {
		p = get_field(u, p, type, field, value);
		if (MPROC__UNLIKELY(!p)) {
			mproc__pack_path_field(field->name);
			return NULL;
		}
	}
	if (MPROC__UNLIKELY(known < type->n_fields) && !counts_agree(u, p, type, known, value))
		return NULL;
	/* A longer one is from a newer. */
	for (uint64_t more = known; MPROC__UNLIKELY(more < n); more++) {
		p = skip(u, p);
		if (!p) {
			mproc__pack_path_index(more);
			return NULL;
		}
	}
	u->depth++;
	return p;
}

static size_t memory_budget(const struct mproc_pack_limits *limits, size_t len)
{
	if (limits->memory)
		return limits->memory;
	/* A message is in memory: 64 times its length may still be too much for a size_t. */
	if (len > (MEMORY_DEFAULT - MEMORY_BASE) / MEMORY_RATIO)
		return MEMORY_DEFAULT;
	return MEMORY_BASE + MEMORY_RATIO * len;
}

int mproc__pack_decode(const struct mproc_pack_type *type, const void *bytes, size_t len,
		       void *value, struct mproc_pack_arena *arena,
		       const struct mproc_pack_limits *limits)
{
	static const unsigned char nothing[1];
	struct mproc_pack_limits known;
	struct mproc__unpack u;
	const unsigned char *p;
	int r;

	r = mproc__pack_limits(&known, limits);
	if (r < 0)
		return r;
	u.start = len ? bytes : nothing;
	u.end = u.start + len;
	u.arena = arena;
	u.memory = memory_budget(&known, len);
	u.objects = known.objects;
	u.depth = known.depth;
	if (MPROC__UNLIKELY(len > known.message)) {
		mproc__pack_fault(MPROC_PACK_ERROR_LIMIT, 0, "a message of %zu bytes, at most %zu",
				  len, known.message);
		return mproc__pack_fail(type, true);
	}
	memset(value, 0, type->size);
	p = get_struct(&u, u.start, type, value);
	if (MPROC__LIKELY(p == u.end))
		return 0;
	if (p)
		mproc__pack_fault(MPROC_PACK_ERROR_TRAILING, (size_t)(p - u.start),
				  "%zu bytes behind the value", left(&u, p));
	return mproc__pack_fail(type, true);
}

int mproc_pack_decode(const struct mproc_pack_type *type, const void *bytes, size_t len,
		      void *value, struct mproc_pack_arena *arena,
		      const struct mproc_pack_limits *limits)
{
	alignas(max_align_t) unsigned char small[512];
	struct mproc_pack_arena before = { 0 };
	void *copy = small;
	int r;

	/* The caller's struct is touched by success alone. */
	if (type->size > sizeof(small) || type->align > alignof(max_align_t)) {
		copy = aligned_alloc(type->align, type->size);
		if (!copy)
			return mproc__pack_refuse(
				mproc__fail(-ENOMEM, "decode %s: no memory for %" PRIu32 " bytes",
					    type->name, type->size));
	}
	if (arena)
		before = *arena;
	r = mproc__pack_decode(type, bytes, len, copy, arena, limits);
	if (r == 0) {
		memcpy(value, copy, type->size);
	} else if (arena) {
		mproc__arena_cut(arena, before.chunks);
		*arena = before;
	}
	if (copy != small)
		free(copy);
	return r;
}
