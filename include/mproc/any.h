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
 *	Signals		async-signal-safe, but for the text and packing
 *	Killed		nothing here writes shared memory
 *	Errors		only packing has some
 */

#include <stdbool.h>
#include <string.h>

#include <mproc/common.h>
#include <mproc/pack.h>
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

/**
 * mproc_any_equal() - are two values equal, as Python has it?
 * @a:	value
 * @b:	value
 *
 * Bools, integers and floats are compared by what number they are, exactly: true is 1 is
 * 1.0, -0.0 is 0, 2^53 + 1 is not 2.0^53, a NaN is nothing, not even itself. Strings,
 * bytes and packed structs are equal to their like with the same bytes, None to None, a
 * reference to the same reference.
 *
 * Return: 1 or 0. A value of no known kind is equal to none.
 */
MPROC_API int mproc_any_equal(const struct mproc_any *a, const struct mproc_any *b);

/**
 * mproc_any_compare() - an order of all values
 * @a:	value
 * @b:	value
 *
 * None, then numbers by their value and NaN last among them, then strings, bytes, and
 * packed structs, each byte by byte, then references.
 *
 * Return: less than, equal to or greater than 0 as @a comes before @b, is as good, or
 * comes after.
 */
MPROC_API int mproc_any_compare(const struct mproc_any *a, const struct mproc_any *b);

/**
 * mproc_any_text() - what a value looks like in Python
 * @buf:	where to; always ends in a NUL if @cap is not 0
 * @cap:	bytes there; may be 0, then @buf may be NULL
 * @any:	value
 *
 * None, True, -7, 0.1, 'it is', b'\\x00', <pack of 12 bytes>. What cannot be printed is
 * escaped, in a string also what is not UTF-8.
 *
 * Return: length of the whole text in bytes, its NUL not counted: cut off if that is not
 * less than @cap.
 */
MPROC_API size_t mproc_any_text(char *buf, size_t cap, const struct mproc_any *any);

/**
 * mproc_any_pack() - a value from a struct
 * @ret:	the value, which points into @buf
 * @type:	descriptor of the struct, see <mproc/pack.h>
 * @value:	the struct
 * @buf:	where its bytes go
 * @cap:	bytes there
 *
 * Return: 0, or as mproc_pack_encode() with the default limits.
 */
MPROC_API MPROC_MUST int mproc_any_pack(struct mproc_any *ret, const struct mproc_pack_type *type,
					const void *value, void *buf, size_t cap);

/**
 * mproc_any_unpack() - a struct from a value
 * @any:	value of the kind MPROC_ANY_PACK
 * @type:	descriptor of the struct
 * @ret:	where the struct goes
 * @arena:	where what it points to goes, see mproc_pack_decode(); NULL will do for a
 *		struct without pointers
 *
 * Return: 0, -EPROTO if @any is of another kind, or as mproc_pack_decode() with the
 * default limits.
 */
MPROC_API MPROC_MUST int mproc_any_unpack(const struct mproc_any *any,
					  const struct mproc_pack_type *type, void *ret,
					  struct mproc_pack_arena *arena);

#ifndef __cplusplus
static inline struct mproc_any mproc_any_of_any(struct mproc_any any)
{
	return any;
}

static inline struct mproc_any mproc_any_of_ptr(const struct mproc_any *any)
{
	return *any;
}

/* clang-format off */
/*
 * MPROC_ANY(7), MPROC_ANY(0.5), MPROC_ANY("text"): a value from a bool, a number, a text
 * that ends in a NUL, a reference, a struct mproc_any or a pointer to one.
 *
 * The type decides, and in C11 that of true and false (and of 'c') is int: MPROC_ANY(true) is
 * the integer 1. A bool is mproc_any_bool(true), or MPROC_ANY() of a variable or a comparison
 * cast to bool.
 */
#define MPROC_ANY(x) _Generic((x), \
	bool: mproc_any_bool, \
	char: mproc_any_int, \
	signed char: mproc_any_int, \
	short: mproc_any_int, \
	int: mproc_any_int, \
	long: mproc_any_int, \
	long long: mproc_any_int, \
	unsigned char: mproc_any_uint, \
	unsigned short: mproc_any_uint, \
	unsigned: mproc_any_uint, \
	unsigned long: mproc_any_uint, \
	unsigned long long: mproc_any_uint, \
	float: mproc_any_float, \
	double: mproc_any_float, \
	char *: mproc_any_str, \
	const char *: mproc_any_str, \
	struct mproc_ref: mproc_any_ref, \
	struct mproc_any *: mproc_any_of_ptr, \
	const struct mproc_any *: mproc_any_of_ptr, \
	struct mproc_any: mproc_any_of_any)(x)
/* clang-format on */

/* A pointer to that, for a call. */
#define MPROC_ANY_PTR(x) ((const struct mproc_any[1]){ MPROC_ANY(x) })
#endif

MPROC_END_DECLS

#endif /* MPROC_ANY_H */
