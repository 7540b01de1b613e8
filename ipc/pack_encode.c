/* SPDX-License-Identifier: MIT */

/*
 * Structs to bytes
 *
 * The walker goes over the fields of a descriptor and keeps its cursor in a register.
 * Room is asked for once for a run of fields, as much as their heads can take, and
 * again behind everything of variable size. As long as the caller's buffer has that
 * much the cursor is in it. When it has not, which says little about the bytes that
 * will come, the cursor moves to a small stage for good: each time the stage is full
 * it is copied out, as far as the buffer reaches, and counted. So one walker writes,
 * fills a buffer to the last byte, and measures.
 *
 * The message is charged against its limit when it is counted and at the end; depth
 * and objects as structs are entered, so that a cycle of pointers ends.
 */

#include <mproc/pack.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/error.h"
#include "ipc/pack.h"
#include "ipc/pack_item.h"

/* Fields that share one look for room, and what their heads can take. */
#define RUN   32u
#define STAGE (MPROC__HEAD_MAX * RUN)

/* Messages that mproc_pack_dumps() need not measure first. */
#define DUMPS_SMALL 512u

struct writer {
	unsigned char *out; /* the caller's buffer, of cap bytes */
	size_t cap;
	unsigned char *end; /* of the room behind the cursor */
	size_t total;       /* once staged: bytes before the stage */
	size_t limit;       /* on the message */
	bool staged;
	uint32_t objects; /* both: what is left */
	uint32_t depth;
	unsigned char stage[STAGE];
};

/* Bytes of the message so far, for errors. */
static size_t position(const struct writer *w, const unsigned char *p)
{
	return w->staged ? w->total + (size_t)(p - w->stage) : (size_t)(p - w->out);
}

#define FAULT(w, p, code, ...) (mproc__pack_fault((code), position((w), (p)), __VA_ARGS__), NULL)

/* Count @n bytes at @src, and copy them if they fit. */
static void put_out(struct writer *w, const void *src, size_t n)
{
	if (n <= w->cap && w->total <= w->cap - n)
		mproc__copy(w->out + w->total, src, n);
	w->total += n;
}

/* Empty the stage, or begin to use it. Return: the cursor. */
static unsigned char *to_stage(struct writer *w, unsigned char *p)
{
	if (w->staged) {
		put_out(w, w->stage, (size_t)(p - w->stage));
	} else {
		w->total = (size_t)(p - w->out);
		w->staged = true;
		w->end = w->stage + sizeof(w->stage);
	}
	return w->stage;
}

/* Room for @n bytes, at most a stage. Return: the cursor. */
static inline unsigned char *room(struct writer *w, unsigned char *p, size_t n)
{
	return MPROC__LIKELY((size_t)(w->end - p) >= n) ? p : to_stage(w, p);
}

static unsigned char *put_bytes_far(struct writer *w, unsigned char *p, const void *src, size_t n)
{
	p = to_stage(w, p);
	/* Also keeps the sum from overflowing. */
	if (w->total > w->limit || n > w->limit - w->total)
		return FAULT(w, p, MPROC_PACK_ERROR_LIMIT,
			     "a message of more than %zu bytes, the limit", w->limit);
	put_out(w, src, n);
	return p;
}

/* Return: the cursor, without room; or NULL. */
static inline unsigned char *put_bytes(struct writer *w, unsigned char *p, const unsigned char *src,
				       size_t n)
{
	if (MPROC__UNLIKELY((size_t)(w->end - p) < n || w->staged))
		return put_bytes_far(w, p, src, n);
	mproc__copy(p, src, n);
	return p + n;
}

/* Room for the head is there. */
static inline unsigned char *put_string(struct writer *w, unsigned char *p, const unsigned char *s,
					size_t n)
{
	bool text = mproc__is_plain(s, n, false) || mproc__utf8_is_valid(s, n);

	p = mproc__put_head(p, text ? MPROC__TEXT : MPROC__BYTES, n);
	return put_bytes(w, p, s, n);
}

static unsigned char *put_chars(struct writer *w, unsigned char *p, const unsigned char *s,
				size_t size)
{
	const unsigned char *nul = memchr(s, 0, size);

	if (!nul)
		return FAULT(w, p, MPROC_PACK_ERROR_RANGE, "no NUL in char[%zu]", size);
	return put_string(w, p, s, (size_t)(nul - s));
}

/* Bytes, or a typed array in this machine's byte order. */
static unsigned char *put_counted(struct writer *w, unsigned char *p,
				  const struct mproc_pack_field *field, const unsigned char *value)
{
	bool numbers = field->kind == MPROC_PACK_KIND_VEC;
	size_t size = numbers ? mproc__pack_kind_size(field->elem) : 1;
	uint64_t n = mproc__pack_count(field, value);
	const unsigned char *src = mproc__load_pointer(value + field->offset);

	if (n > INT64_MAX && field->count_kind <= MPROC_PACK_KIND_INT64)
		return FAULT(w, p, MPROC_PACK_ERROR_RANGE, "a count of %" PRId64, (int64_t)n);
	if (!src && n)
		return FAULT(w, p, MPROC_PACK_ERROR_UNPICKLABLE, "NULL with a count of %" PRIu64,
			     n);
	if (!src) {
		*p = MPROC__NULL;
		return p + 1;
	}
	if (n > w->limit / size)
		return FAULT(w, p, MPROC_PACK_ERROR_LIMIT,
			     "%" PRIu64 " elements in a message of at most %zu bytes", n, w->limit);
	if (numbers) {
		p = room(w, p, 2 + MPROC__HEAD_MAX);
		p = mproc__put_head(p, MPROC__TAG,
				    mproc__pack_array_tag(field->elem, MPROC__LITTLE_ENDIAN));
	}
	p = mproc__put_head(p, MPROC__BYTES, n * size);
	return put_bytes(w, p, src, n * size);
}

static unsigned char *put_array(struct writer *w, unsigned char *p,
				const struct mproc_pack_field *field, const unsigned char *value)
{
	p = room(w, p, 2 + MPROC__HEAD_MAX);
	p = mproc__put_head(p, MPROC__TAG,
			    mproc__pack_array_tag(field->elem, MPROC__LITTLE_ENDIAN));
	p = mproc__put_head(p, MPROC__BYTES, field->size);
	return put_bytes(w, p, value + field->offset, field->size);
}

static unsigned char *put_struct(struct writer *w, unsigned char *p,
				 const struct mproc_pack_type *type, const unsigned char *value);

/* A field of variable size. Return: the cursor, without room; or NULL. */
static inline unsigned char *put_long(struct writer *w, unsigned char *p,
				      const struct mproc_pack_field *field,
				      const unsigned char *value)
{
	const unsigned char *at = value + field->offset, *pointer;

	switch (field->kind) {
	case MPROC_PACK_KIND_STR:
		pointer = mproc__load_pointer(at);
		if (pointer)
			return put_string(w, p, pointer, strlen((const char *)pointer));
		break;
	case MPROC_PACK_KIND_CHARS:
		return put_chars(w, p, at, field->size);
	case MPROC_PACK_KIND_OCTETS:
		p = mproc__put_head(p, MPROC__BYTES, field->size);
		return put_bytes(w, p, at, field->size);
	case MPROC_PACK_KIND_BYTES:
	case MPROC_PACK_KIND_VEC:
		return put_counted(w, p, field, value);
	case MPROC_PACK_KIND_ARR:
		return put_array(w, p, field, value);
	case MPROC_PACK_KIND_IN:
		return put_struct(w, p, field->type, at);
	case MPROC_PACK_KIND_OWN:
		pointer = mproc__load_pointer(at);
		if (pointer)
			return put_struct(w, p, field->type, pointer);
		break;
	default:
		return FAULT(w, p, MPROC_PACK_ERROR_UNPICKLABLE,
			     "a descriptor of kind %u, unknown to this library", field->kind);
	}
	*p = MPROC__NULL;
	return p + 1;
}

/* Room for a head is there. */
static inline unsigned char *put_scalar(unsigned char *p, unsigned kind, const unsigned char *at)
{
	switch (kind) {
	case MPROC_PACK_KIND_BOOL:
		*p = mproc__load_u8(at) ? MPROC__TRUE : MPROC__FALSE;
		return p + 1;
	case MPROC_PACK_KIND_INT8:
		return mproc__put_int(p, mproc__load_i8(at));
	case MPROC_PACK_KIND_INT16:
		return mproc__put_int(p, mproc__load_i16(at));
	case MPROC_PACK_KIND_INT32:
		return mproc__put_int(p, mproc__load_i32(at));
	case MPROC_PACK_KIND_INT64:
		return mproc__put_int(p, mproc__load_i64(at));
	case MPROC_PACK_KIND_UINT8:
		return mproc__put_head(p, MPROC__UINT, mproc__load_u8(at));
	case MPROC_PACK_KIND_UINT16:
		return mproc__put_head(p, MPROC__UINT, mproc__load_u16(at));
	case MPROC_PACK_KIND_UINT32:
		return mproc__put_head(p, MPROC__UINT, mproc__load_u32(at));
	case MPROC_PACK_KIND_UINT64:
		return mproc__put_head(p, MPROC__UINT, mproc__load_u64(at));
	case MPROC_PACK_KIND_FLOAT32:
		*p = MPROC__FLOAT32;
		mproc__store_be32(p + 1, mproc__load_u32(at));
		return p + 5;
	default:
		*p = MPROC__FLOAT64;
		mproc__store_be64(p + 1, mproc__load_u64(at));
		return p + 9;
	}
}

static unsigned char *put_struct(struct writer *w, unsigned char *p,
				 const struct mproc_pack_type *type, const unsigned char *value)
{
	const struct mproc_pack_field *field = type->fields, *stop = field;
	uint32_t n = type->n_fields; /* behind stop */

	if (MPROC__UNLIKELY(!w->depth))
		return FAULT(w, p, MPROC_PACK_ERROR_TOO_DEEP, "structs nested too deep; a cycle?");
	if (MPROC__UNLIKELY(!w->objects))
		return FAULT(w, p, MPROC_PACK_ERROR_LIMIT, "too many structs");
	w->depth--;
	w->objects--;
	p = room(w, p, MPROC__HEAD_MAX);
	p = mproc__put_head(p, MPROC__ARRAY, n);
	for (;; field++) {
		if (MPROC__UNLIKELY(field == stop)) {
			if (!n)
				break;
			stop += n < RUN ? n : RUN;
			n -= (uint32_t)(stop - field);
			p = room(w, p, MPROC__HEAD_MAX * (size_t)(stop - field));
		}
		if (field->kind <= MPROC_PACK_KIND_FLOAT64) {
			p = put_scalar(p, field->kind, value + field->offset);
			continue;
		}
		p = put_long(w, p, field, value);
		if (MPROC__UNLIKELY(!p)) {
			mproc__pack_path_field(field->name);
			return NULL;
		}
		p = room(w, p, MPROC__HEAD_MAX * (size_t)(stop - field - 1));
	}
	w->depth++;
	return p;
}

int mproc__pack_encode(const struct mproc_pack_type *type, const void *value, void *buf, size_t cap,
		       size_t *ret_len, const struct mproc_pack_limits *limits)
{
	struct mproc_pack_limits known;
	struct writer w;
	unsigned char *p;
	size_t len;
	int r;

	r = mproc__pack_limits(&known, limits);
	if (r < 0)
		return r;
	/* Nothing may be added to a NULL pointer; without room nothing is copied there. */
	w.out = cap ? buf : w.stage;
	w.cap = cap;
	w.limit = known.message;
	w.objects = known.objects;
	w.depth = known.depth;
	w.staged = false;
	w.end = w.out + cap;
	p = put_struct(&w, w.out, type, value);
	if (MPROC__UNLIKELY(!p))
		return mproc__pack_fail(type, false);
	if (w.staged)
		p = to_stage(&w, p);
	len = position(&w, p);
	if (MPROC__UNLIKELY(len > w.limit)) {
		mproc__pack_fault(MPROC_PACK_ERROR_LIMIT, len,
				  "a message of %zu bytes, at most %zu", len, w.limit);
		return mproc__pack_fail(type, false);
	}
	*ret_len = len;
	return MPROC__UNLIKELY(len > cap) ? -ENOBUFS : 0;
}

int mproc_pack_encode(const struct mproc_pack_type *type, const void *value, void *buf, size_t cap,
		      size_t *ret_len, const struct mproc_pack_limits *limits)
{
	int r = mproc__pack_encode(type, value, buf, cap, ret_len, limits);

	if (r != -ENOBUFS)
		return r;
	mproc__pack_fault(MPROC_PACK_ERROR_NO_SPACE, *ret_len,
			  "a message of %zu bytes, room for %zu", *ret_len, cap);
	return mproc__pack_fail(type, false);
}

int mproc_pack_size(const struct mproc_pack_type *type, const void *value, size_t *ret_len,
		    const struct mproc_pack_limits *limits)
{
	int r = mproc__pack_encode(type, value, NULL, 0, ret_len, limits);

	return r == -ENOBUFS ? 0 : r;
}

int mproc_pack_dumps(void **ret, const struct mproc_pack_type *type, const void *value,
		     size_t *ret_len, const struct mproc_pack_limits *limits)
{
	unsigned char small[DUMPS_SMALL];
	size_t len, again;
	void *bytes;
	int r;

	r = mproc__pack_encode(type, value, small, sizeof(small), &len, limits);
	if (r < 0 && r != -ENOBUFS)
		return r;
	bytes = malloc(len);
	if (!bytes)
		return mproc__pack_refuse(
			mproc__fail(-ENOMEM, "dump %s: no memory for %zu bytes", type->name, len));
	if (r == 0) {
		memcpy(bytes, small, len);
	} else {
		r = mproc_pack_encode(type, value, bytes, len, &again, limits);
		if (r < 0) {
			free(bytes);
			return r;
		}
		len = again;
	}
	*ret = bytes;
	*ret_len = len;
	return 0;
}
