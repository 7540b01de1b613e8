/* SPDX-License-Identifier: MIT */
#ifndef MPROC_ANY_H
#define MPROC_ANY_H

/*
 * Values that say what they are: items of lists, values of dicts and namespaces
 *
 * A struct mproc_any is what a Python object is to a shared list or dict: nothing, a
 * bool, an integer, a float, a string, bytes, a struct that mproc_pack_encode() has
 * written, or a reference to another object. It is private to a process and owns
 * nothing: strings and bytes are pointed to.
 *
 *	Threads		a value is plain bytes
 *	Fork		nothing here changes across fork(2)
 *	Signals		async-signal-safe
 *	Killed		nothing here writes shared memory
 *	Errors		none
 */

#include <stdbool.h>
#include <string.h>

#include <mproc/common.h>
#include <mproc/ref.h>

MPROC_BEGIN_DECLS

/* The numbers stand in segments. */
enum mproc_any_kind {
	MPROC_ANY_NONE = 0,
	MPROC_ANY_BOOL = 1,
	MPROC_ANY_INT = 2,
	MPROC_ANY_UINT = 3,
	MPROC_ANY_FLOAT = 4,
	MPROC_ANY_STR = 5,   /* text of a length, no NUL needed; what it holds is not looked at */
	MPROC_ANY_BYTES = 6, /* any bytes */
	MPROC_ANY_PACK = 7,  /* what mproc_pack_encode() has written */
	MPROC_ANY_REF = 8,   /* another object, or a block */
};

struct mproc_any {
	uint32_t kind;     /* of enum mproc_any_kind */
	uint32_t reserved; /* zero */
	union {
		bool b;
		int64_t i;
		uint64_t u;
		double f;
		struct mproc_ref ref;
		struct {
			const void *ptr; /* may be NULL if len is 0 */
			size_t len;      /* bytes */
		} bytes;                 /* STR, BYTES, PACK */
	} as;
};

static inline struct mproc_any mproc_any_none(void)
{
	struct mproc_any any;

	memset(&any, 0, sizeof(any));
	return any;
}

static inline struct mproc_any mproc_any_bool(bool b)
{
	struct mproc_any any = mproc_any_none();

	any.kind = MPROC_ANY_BOOL;
	any.as.b = b;
	return any;
}

static inline struct mproc_any mproc_any_int(int64_t i)
{
	struct mproc_any any = mproc_any_none();

	any.kind = MPROC_ANY_INT;
	any.as.i = i;
	return any;
}

static inline struct mproc_any mproc_any_uint(uint64_t u)
{
	struct mproc_any any = mproc_any_none();

	any.kind = MPROC_ANY_UINT;
	any.as.u = u;
	return any;
}

static inline struct mproc_any mproc_any_float(double f)
{
	struct mproc_any any = mproc_any_none();

	any.kind = MPROC_ANY_FLOAT;
	any.as.f = f;
	return any;
}

/* @kind is MPROC_ANY_STR, _BYTES or _PACK. */
static inline struct mproc_any mproc_any_of(uint32_t kind, const void *ptr, size_t len)
{
	struct mproc_any any = mproc_any_none();

	any.kind = kind;
	any.as.bytes.ptr = ptr;
	any.as.bytes.len = len;
	return any;
}

static inline struct mproc_any mproc_any_bytes(const void *ptr, size_t len)
{
	return mproc_any_of(MPROC_ANY_BYTES, ptr, len);
}

/* @text ends in a NUL, which is not part of the value. */
static inline struct mproc_any mproc_any_str(const char *text)
{
	return mproc_any_of(MPROC_ANY_STR, text, strlen(text));
}

static inline struct mproc_any mproc_any_ref(struct mproc_ref ref)
{
	struct mproc_any any = mproc_any_none();

	any.kind = MPROC_ANY_REF;
	any.as.ref = ref;
	return any;
}

MPROC_END_DECLS

#endif /* MPROC_ANY_H */
