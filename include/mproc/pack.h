/* SPDX-License-Identifier: MIT */
#ifndef MPROC_PACK_H
#define MPROC_PACK_H

/*
 * Structs as bytes: descriptors, encoding, decoding
 *
 * A line of macro beside an unchanged C struct says which members are sent and
 * how; a member that cannot be sent that way stops the build. The bytes are CBOR
 * (RFC 8949) of definite lengths, numeric arrays are typed arrays (RFC 8746), so
 * other languages read them with their own libraries.
 *
 * Unless a function says otherwise:
 *
 *	Threads		everything may be called from any thread; a value, a buffer or
 *			an arena belongs to one call at a time
 *	Fork		nothing here changes across fork(2)
 *	Signals		not safe in a signal handler
 *	Killed		nothing here writes shared memory, except to a buffer in it
 *	Errors		a negative errno; the call then has not touched its return
 *			parameters, and mproc_pack_error_detail() tells field and byte
 *
 * Bytes to be decoded may come from anybody: every one of them is checked. They
 * must not change while they are decoded: copy them out of shared memory first.
 */

#include <mproc/common.h>

MPROC_BEGIN_DECLS

/* What a member is. The numbers are compiled into programs. */
enum mproc_pack_kind {
	MPROC_PACK_KIND_BOOL = 1,
	MPROC_PACK_KIND_INT8 = 2,
	MPROC_PACK_KIND_INT16 = 3,
	MPROC_PACK_KIND_INT32 = 4,
	MPROC_PACK_KIND_INT64 = 5,
	MPROC_PACK_KIND_UINT8 = 6,
	MPROC_PACK_KIND_UINT16 = 7,
	MPROC_PACK_KIND_UINT32 = 8,
	MPROC_PACK_KIND_UINT64 = 9,
	MPROC_PACK_KIND_FLOAT32 = 10,
	MPROC_PACK_KIND_FLOAT64 = 11,
	MPROC_PACK_KIND_STR = 12,    /* char *, NULL allowed */
	MPROC_PACK_KIND_CHARS = 13,  /* char[N] that ends in a NUL */
	MPROC_PACK_KIND_BYTES = 14,  /* pointer and length */
	MPROC_PACK_KIND_OCTETS = 15, /* unsigned char[N], all of them */
	MPROC_PACK_KIND_VEC = 16,    /* numbers: pointer and count */
	MPROC_PACK_KIND_ARR = 17,    /* numbers: an array in the struct */
	MPROC_PACK_KIND_IN = 18,     /* a struct in the struct */
	MPROC_PACK_KIND_OWN = 19,    /* pointer to one struct that nobody else points to, or NULL */
};

struct mproc_pack_type;

/* One member. The macros below write these; tables by hand or by program may as well. */
struct mproc_pack_field {
	const char *name;
	uint8_t kind;          /* enum mproc_pack_kind */
	uint8_t elem;          /* vec, arr: kind of the elements, INT8 to FLOAT64 */
	uint8_t count_kind;    /* bytes, vec: kind of the member that counts, INT8 to UINT64 */
	uint8_t reserved;      /* zero */
	uint32_t offset;       /* of the member, in bytes */
	uint32_t count_offset; /* bytes, vec: of the member that counts */
	uint32_t size;         /* chars, octets, arr: bytes of the member */
	const struct mproc_pack_type *type; /* in, own: of the struct */
};

/* One struct type. Immutable; members that no field describes are zero after decoding. */
struct mproc_pack_type {
	const char *name;
	const struct mproc_pack_field *fields; /* in the order in which they are sent */
	uint32_t n_fields;
	uint32_t size;     /* sizeof */
	uint32_t align;    /* alignof */
	uint32_t reserved; /* zero */
};

/*
 * MPROC_PACK_STRUCT(T, (verb, member…), …); describes the struct with the typedef
 * name T for this source file, in 1 to 32 fields:
 *
 *	(val, m)	bool, integer, enum, float or double
 *	(str, m)	char *: a string, or NULL
 *	(chars, m)	char[N]: a string of at most N - 1 bytes
 *	(bytes, m, n)	pointer to bytes, and the integer member that counts them
 *	(bytes, m)	unsigned char[N]: always N bytes
 *	(vec, m, n)	pointer to numbers, and the integer member that counts them
 *	(arr, m)	an array of numbers in the struct
 *	(in, m, U)	a struct in the struct, U described above
 *	(own, m, U)	pointer to one struct, or NULL; U may be T: a tree
 *
 * Fields may be appended later: readers take a missing one as zero and skip those
 * they do not know. An enum takes any number of its width. A count n goes without
 * saying: it must not be a (val, n) besides. Several arrays may share one; they are
 * then of one length. MPROC_PACK_TYPE(T) is the descriptor.
 *
 * MPROC_PACK_EXPORT() does the same for the whole program, and MPROC_PACK_DECLARE(T);
 * in a header makes it known. MPROC_PACK_FORWARD(T); announces a descriptor of this
 * file that follows, for two structs that own each other. C only.
 */
#define MPROC_PACK_STRUCT(T, ...) \
	MPROC__PACK_DEFINE(static, static, mproc_pack_type_##T, T, #T, __VA_ARGS__)
#define MPROC_PACK_EXPORT(T, ...) \
	MPROC__PACK_DEFINE(extern, , mproc_pack_type_##T, T, #T, __VA_ARGS__)
#define MPROC_PACK_DECLARE(T) extern const struct mproc_pack_type mproc_pack_type_##T
#define MPROC_PACK_FORWARD(T) static const struct mproc_pack_type mproc_pack_type_##T
#define MPROC_PACK_TYPE(T)    (&mproc_pack_type_##T)

/* Zero in any field asks for the default. A limit that is passed is -EOVERFLOW. */
struct mproc_pack_limits {
	size_t size;      /* of this struct, set by MPROC_PACK_LIMITS() */
	uint32_t depth;   /* of nesting; default 256, at most 4,096; 64 suits small stacks */
	uint32_t objects; /* structs, items skipped, marks; default 1,048,576 */
	size_t message;   /* encoded bytes; default 16 MiB */
	size_t memory;    /* bytes allocated by decoding, besides the struct itself;
			     default 64 MiB and no more than 64 KiB + 64 * message length */
};

/* MPROC_PACK_LIMITS(.depth = 64); C only, evaluates to a pointer. */
#define MPROC_PACK_LIMITS(...) \
	(&(const struct mproc_pack_limits){ .size = sizeof(struct mproc_pack_limits), __VA_ARGS__ })

/**
 * mproc_pack_encode() - write a struct as bytes
 * @type:	its descriptor
 * @value:	the struct; nobody may change it meanwhile
 * @buf:	where to; may be NULL if @cap is 0
 * @cap:	room at @buf in bytes; all of it may be written to
 * @ret_len:	bytes written; on -ENOBUFS the bytes that are needed
 * @limits:	limits, or NULL for the defaults
 *
 * Strings that are not UTF-8 are sent as byte strings: nothing is lost.
 *
 * Return: 0, or -ENOBUFS if @cap is too small, -ENOTSUP if a NULL pointer is counted
 * as more than 0 elements, -ERANGE for a negative count or a char array without a
 * NUL, -EOVERFLOW if a limit is passed (also by a cycle of pointers), -EINVAL or
 * -E2BIG for impossible limits.
 */
MPROC_API MPROC_MUST int mproc_pack_encode(const struct mproc_pack_type *type, const void *value,
					   void *buf, size_t cap, size_t *ret_len,
					   const struct mproc_pack_limits *limits);

/**
 * mproc_pack_size() - how many bytes a struct takes
 * @type:	its descriptor
 * @value:	the struct
 * @ret_len:	bytes that mproc_pack_encode() would write
 * @limits:	limits, or NULL for the defaults
 *
 * Return: 0, or as mproc_pack_encode(), except -ENOBUFS.
 */
MPROC_API MPROC_MUST int mproc_pack_size(const struct mproc_pack_type *type, const void *value,
					 size_t *ret_len, const struct mproc_pack_limits *limits);

/**
 * mproc_pack_dumps() - write a struct as bytes into memory of their own
 * @ret:	the bytes, to be given to free(3)
 * @type:	its descriptor
 * @value:	the struct
 * @ret_len:	bytes at *@ret
 * @limits:	limits, or NULL for the defaults
 *
 * Return: 0, or -ENOMEM, or as mproc_pack_encode(), except -ENOBUFS.
 */
MPROC_API MPROC_MUST int mproc_pack_dumps(void **ret, const struct mproc_pack_type *type,
					  const void *value, size_t *ret_len,
					  const struct mproc_pack_limits *limits);

/*
 * Where decoding puts what pointers point to: the caller's buffer first, allocated
 * memory when that is full. The members are private.
 */
struct mproc_pack_arena {
	unsigned char *next, *end;
	void *chunks;
};

/* struct mproc_pack_arena arena = MPROC_PACK_ARENA(buf, sizeof(buf)); or (NULL, 0). */
#define MPROC_PACK_ARENA(buf, cap) \
	{ \
		(unsigned char *)(buf), (unsigned char *)((uintptr_t)(buf) + (cap)), NULL \
	}

/**
 * mproc_pack_decode() - read a struct from bytes
 * @type:	descriptor of the struct
 * @bytes:	message; may be NULL if @len is 0
 * @len:	its length in bytes
 * @value:	where the struct goes: aligned, @type->size bytes
 * @arena:	where strings, arrays and structs behind pointers go; untouched by a
 *		failing call. Several messages may go into one arena. NULL will do for
 *		a struct without pointers.
 * @limits:	limits, or NULL for the defaults
 *
 * Nothing in the result points into @bytes. Allocates only what does not fit into the
 * buffer that the arena was made of.
 *
 * Return: 0; -EBADMSG if the bytes end early, are no CBOR, go on behind the value, or
 * are of another type than the field (text that is not UTF-8 is no text); -ERANGE if
 * a number, a string or an array does not fit its field or a string has a NUL inside;
 * -EOVERFLOW if a limit is passed, -ENOMEM, -EINVAL or -E2BIG for impossible limits,
 * -ENOTSUP if the descriptor sends a count twice.
 */
MPROC_API MPROC_MUST int mproc_pack_decode(const struct mproc_pack_type *type, const void *bytes,
					   size_t len, void *value, struct mproc_pack_arena *arena,
					   const struct mproc_pack_limits *limits);

/**
 * mproc_pack_arena_release() - free what decoding has allocated
 * @arena:	arena, or NULL; decoded pointers into it end here
 *
 * Call it once, after the last decode; the arena's own buffer is the caller's.
 */
MPROC_API void mproc_pack_arena_release(struct mproc_pack_arena *arena);

typedef struct mproc_pack_value mproc_pack_value;

/**
 * mproc_pack_loads() - read a struct from bytes into memory of its own
 * @ret:	the value
 * @type:	descriptor of the struct
 * @bytes:	message; may be NULL if @len is 0
 * @len:	its length in bytes
 * @limits:	limits, or NULL for the defaults
 *
 * Return: 0, or as mproc_pack_decode().
 */
MPROC_API MPROC_MUST int mproc_pack_loads(mproc_pack_value **ret,
					  const struct mproc_pack_type *type, const void *bytes,
					  size_t len, const struct mproc_pack_limits *limits);

/**
 * mproc_pack_root() - the struct that was read
 * @value:	value
 *
 * Return: a pointer to the struct, valid until mproc_pack_release().
 */
MPROC_API void *mproc_pack_root(mproc_pack_value *value);

/**
 * mproc_pack_release() - free a value and all that it points to
 * @value:	value, or NULL
 *
 * Return: NULL.
 */
MPROC_API mproc_pack_value *mproc_pack_release(mproc_pack_value *value);

/**
 * mproc_pack_schema() - what a descriptor says, as CDDL (RFC 8610)
 * @type:	descriptor
 * @buf:	where the text goes, with a NUL; may be NULL if @cap is 0
 * @cap:	room at @buf in bytes
 * @ret_len:	length of the text, its NUL not counted; also on -ENOBUFS
 *
 * One line for each struct, @type's own first. The same on every machine.
 *
 * Return: 0, or -ENOBUFS if @cap is not more than *@ret_len, -EOVERFLOW if it takes
 * more than 256 struct types.
 */
MPROC_API MPROC_MUST int mproc_pack_schema(const struct mproc_pack_type *type, char *buf,
					   size_t cap, size_t *ret_len);

/**
 * mproc_pack_fingerprint() - a hash of the schema
 * @type:	descriptor
 *
 * Some microseconds of work: keep it where it is compared often.
 *
 * Return: equal numbers for equal schemas, on every machine; 0 if there is no schema.
 */
MPROC_API uint64_t mproc_pack_fingerprint(const struct mproc_pack_type *type);

/* Why a call failed, finer than its errno. */
enum mproc_pack_code {
	MPROC_PACK_ERROR_UNPICKLABLE = 1, /* -ENOTSUP: a value or type that no bytes stand for */
	MPROC_PACK_ERROR_TRUNCATED = 2,   /* -EBADMSG: the bytes end early */
	MPROC_PACK_ERROR_MALFORMED = 3,   /* -EBADMSG: not CBOR, or of indefinite length */
	MPROC_PACK_ERROR_TRAILING = 4,    /* -EBADMSG: bytes behind the value */
	MPROC_PACK_ERROR_WRONG_TYPE = 5,  /* -EBADMSG: something else than the field */
	MPROC_PACK_ERROR_RANGE = 6,       /* -ERANGE: does not fit the field */
	MPROC_PACK_ERROR_TOO_DEEP = 7,    /* -EOVERFLOW: the limit on depth */
	MPROC_PACK_ERROR_LIMIT = 8,       /* -EOVERFLOW: another limit */
	MPROC_PACK_ERROR_BAD_REF = 9,     /* -EBADMSG: a reference where a value must stand */
	MPROC_PACK_ERROR_BAD_UTF8 = 10,   /* -EBADMSG: text that is not UTF-8 */
	MPROC_PACK_ERROR_NO_SPACE = 11,   /* -ENOBUFS: the buffer is too small */
	MPROC_PACK_ERROR_NO_MEMORY = 12,  /* -ENOMEM */
};

struct mproc_pack_error {
	int code;         /* enum mproc_pack_code; 0: nothing about bytes or values */
	size_t offset;    /* of the item in the message, in bytes */
	const char *type; /* name of the outermost struct */
	char path[128];   /* "person.home.zip"; the front is cut off if it is longer */
	char text[112];   /* "300 does not fit uint8_t" */
};

/**
 * mproc_pack_error_detail() - what the last failing call of this thread met
 *
 * mproc_error_text() says the same in one line: "person.home.zip: 300 does not fit
 * uint8_t (byte 57)".
 *
 * Return: a record that is valid until the thread's next failing call of this header.
 */
MPROC_API const struct mproc_pack_error *mproc_pack_error_detail(void);

/*
 * What the macros above stand on.
 *
 * The list of fields is padded to more than 32 items and all of them are expanded
 * side by side, not one out of the other: a compiler that finds fault with the last
 * field then has few levels of macros to tell about. An item (verb, …) becomes
 * MPROC__PACK_verb(T, …). Types are checked through the member's address, which
 * neither decays nor promotes.
 */
#define MPROC__PACK_DEFINE(declare, define, id, T, label, ...) \
	declare const struct mproc_pack_type id; \
	static const struct mproc_pack_field id##_fields[] = { MPROC__PACK_FIELDS( \
		T, __VA_ARGS__, MPROC__PACK_NONE_32, (none, ~), ~) }; \
	define const struct mproc_pack_type id = { \
		label,     id##_fields, sizeof(id##_fields) / sizeof(id##_fields[0]), \
		sizeof(T), _Alignof(T), 0 \
	}

#define MPROC__PACK_NONE_8 \
	(none, ~), (none, ~), (none, ~), (none, ~), (none, ~), (none, ~), (none, ~), (none, ~)
#define MPROC__PACK_NONE_32 \
	MPROC__PACK_NONE_8, MPROC__PACK_NONE_8, MPROC__PACK_NONE_8, MPROC__PACK_NONE_8

#define MPROC__PACK_FIELDS(...) MPROC__PACK_FIELDS_(__VA_ARGS__)
#define MPROC__PACK_FIELDS_(T, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, \
			    w, x, y, z, A, B, C, D, E, F, more, ...) \
	MPROC__PACK_8(T, a, b, c, d, e, f, g, h) \
	MPROC__PACK_8(T, i, j, k, l, m, n, o, p) \
	MPROC__PACK_8(T, q, r, s, t, u, v, w, x) \
	MPROC__PACK_8(T, y, z, A, B, C, D, E, F) \
	MPROC__PACK_END(MPROC__PACK_OPEN more)
#define MPROC__PACK_8(T, a, b, c, d, e, f, g, h) \
	MPROC__PACK_ITEM(T, MPROC__PACK_OPEN a) \
	MPROC__PACK_ITEM(T, MPROC__PACK_OPEN b) \
	MPROC__PACK_ITEM(T, MPROC__PACK_OPEN c) \
	MPROC__PACK_ITEM(T, MPROC__PACK_OPEN d) \
	MPROC__PACK_ITEM(T, MPROC__PACK_OPEN e) \
	MPROC__PACK_ITEM(T, MPROC__PACK_OPEN f) \
	MPROC__PACK_ITEM(T, MPROC__PACK_OPEN g) \
	MPROC__PACK_ITEM(T, MPROC__PACK_OPEN h)
#define MPROC__PACK_OPEN(...)           __VA_ARGS__
#define MPROC__PACK_ITEM(...)           MPROC__PACK_ITEM_(__VA_ARGS__)
#define MPROC__PACK_ITEM_(T, verb, ...) MPROC__PACK_##verb(T, __VA_ARGS__)
#define MPROC__PACK_END(...)            MPROC__PACK_END_(__VA_ARGS__)
#define MPROC__PACK_END_(verb, ...)     MPROC_PACK_takes_at_most_32_fields_##verb
#define MPROC_PACK_takes_at_most_32_fields_none
#define MPROC__PACK_none(T, nothing)

/* The address of a member, for its type alone. */
#define MPROC__PACK_AT(T, m) (&((T *)0)->m)

#define MPROC__PACK_val(T, m) \
	{ .name = #m, .kind = MPROC__PACK_SCALAR(MPROC__PACK_AT(T, m)), .offset = offsetof(T, m) },
#define MPROC__PACK_str(T, m) \
	{ .name = #m, \
	  .kind = _Generic(MPROC__PACK_AT(T, m), char **: MPROC_PACK_KIND_STR, \
			   const char **: MPROC_PACK_KIND_STR), \
	  .offset = offsetof(T, m) },
#define MPROC__PACK_chars(T, m) \
	{ .name = #m, \
	  .kind = _Generic(MPROC__PACK_AT(T, m), \
			   MPROC__PACK_ARRAY(char, MPROC_PACK_KIND_CHARS, T, m)), \
	  .offset = offsetof(T, m), \
	  .size = sizeof(((T *)0)->m) },
#define MPROC__PACK_bytes(T, ...) \
	MPROC__PACK_SECOND(__VA_ARGS__, MPROC__PACK_BYTES, MPROC__PACK_OCTETS, ~) \
	(T, __VA_ARGS__)
#define MPROC__PACK_SECOND(a, b, pick, ...) pick
#define MPROC__PACK_OCTETS(T, m) \
	{ .name = #m, \
	  .kind = _Generic(MPROC__PACK_AT(T, m), \
			   MPROC__PACK_ARRAY(unsigned char, MPROC_PACK_KIND_OCTETS, T, m)), \
	  .offset = offsetof(T, m), \
	  .size = sizeof(((T *)0)->m) },
#define MPROC__PACK_BYTES(T, m, n) \
	{ .name = #m, \
	  .kind = _Generic(MPROC__PACK_AT(T, m), void **: MPROC_PACK_KIND_BYTES, \
			   const void **: MPROC_PACK_KIND_BYTES, \
			   unsigned char **: MPROC_PACK_KIND_BYTES, \
			   const unsigned char **: MPROC_PACK_KIND_BYTES, \
			   char **: MPROC_PACK_KIND_BYTES, \
			   const char **: MPROC_PACK_KIND_BYTES), \
	  .count_kind = MPROC__PACK_COUNT(MPROC__PACK_AT(T, n)), \
	  .offset = offsetof(T, m), \
	  .count_offset = offsetof(T, n) },
#define MPROC__PACK_vec(T, m, n) \
	{ .name = #m, \
	  .kind = MPROC_PACK_KIND_VEC, \
	  .elem = _Generic(MPROC__PACK_AT(T, m), MPROC__PACK_NUMBERS(MPROC__PACK_PTR, T, m), \
			   MPROC__PACK_NUMBERS(MPROC__PACK_CONST_PTR, T, m)), \
	  .count_kind = MPROC__PACK_COUNT(MPROC__PACK_AT(T, n)), \
	  .offset = offsetof(T, m), \
	  .count_offset = offsetof(T, n) },
#define MPROC__PACK_arr(T, m) \
	{ .name = #m, \
	  .kind = MPROC_PACK_KIND_ARR, \
	  .elem = _Generic(MPROC__PACK_AT(T, m), MPROC__PACK_NUMBERS(MPROC__PACK_ARRAY, T, m)), \
	  .offset = offsetof(T, m), \
	  .size = sizeof(((T *)0)->m) },
#define MPROC__PACK_in(T, m, U) \
	{ .name = #m, \
	  .kind = _Generic(MPROC__PACK_AT(T, m), MPROC__PACK_SELF(U, MPROC_PACK_KIND_IN, T, m)), \
	  .offset = offsetof(T, m), \
	  .type = MPROC_PACK_TYPE(U) },
#define MPROC__PACK_own(T, m, U) \
	{ .name = #m, \
	  .kind = _Generic(MPROC__PACK_AT(T, m), MPROC__PACK_PTR(U, MPROC_PACK_KIND_OWN, T, m), \
			   MPROC__PACK_CONST_PTR(U, MPROC_PACK_KIND_OWN, T, m)), \
	  .offset = offsetof(T, m), \
	  .type = MPROC_PACK_TYPE(U) },

/* Associations of one form for every integer, or for every number. */
#define MPROC__PACK_INTS(form, T, m) \
	form(signed char, MPROC_PACK_KIND_INT8, T, m), form(short, MPROC__PACK_INT(short), T, m), \
		form(int, MPROC__PACK_INT(int), T, m), form(long, MPROC__PACK_INT(long), T, m), \
		form(long long, MPROC__PACK_INT(long long), T, m), \
		form(unsigned char, MPROC_PACK_KIND_UINT8, T, m), \
		form(unsigned short, MPROC__PACK_UINT(unsigned short), T, m), \
		form(unsigned, MPROC__PACK_UINT(unsigned), T, m), \
		form(unsigned long, MPROC__PACK_UINT(unsigned long), T, m), \
		form(unsigned long long, MPROC__PACK_UINT(unsigned long long), T, m)
#define MPROC__PACK_NUMBERS(form, T, m) \
	MPROC__PACK_INTS(form, T, m), form(float, MPROC_PACK_KIND_FLOAT32, T, m), \
		form(double, MPROC_PACK_KIND_FLOAT64, T, m)

/*
 * The forms: pointer to the number, to a pointer to numbers, to an array of them. An
 * array of no elements is no type: where E is too large, one that cannot match.
 */
#define MPROC__PACK_SELF(E, kind, T, m)      E * : kind
#define MPROC__PACK_PTR(E, kind, T, m)       E ** : kind
#define MPROC__PACK_CONST_PTR(E, kind, T, m) const E ** : kind
#define MPROC__PACK_ARRAY(E, kind, T, m)     E(*)[MPROC__PACK_LEN(E, T, m)] : kind
#define MPROC__PACK_LEN(E, T, m) \
	(sizeof(((T *)0)->m) < sizeof(E) ? 1 : sizeof(((T *)0)->m) / (sizeof(E)))

#define MPROC__PACK_SCALAR(at) \
	_Generic((at), _Bool *: MPROC_PACK_KIND_BOOL, \
		 char *: (char)-1 < 0 ? MPROC_PACK_KIND_INT8 : MPROC_PACK_KIND_UINT8, \
		 MPROC__PACK_NUMBERS(MPROC__PACK_SELF, ~, ~))
#define MPROC__PACK_COUNT(at) _Generic((at), MPROC__PACK_INTS(MPROC__PACK_SELF, ~, ~))

#define MPROC__PACK_INT(E) \
	(sizeof(E) == 2   ? MPROC_PACK_KIND_INT16 \
	 : sizeof(E) == 4 ? MPROC_PACK_KIND_INT32 \
			  : MPROC_PACK_KIND_INT64)
#define MPROC__PACK_UINT(E) \
	(sizeof(E) == 2   ? MPROC_PACK_KIND_UINT16 \
	 : sizeof(E) == 4 ? MPROC_PACK_KIND_UINT32 \
			  : MPROC_PACK_KIND_UINT64)

MPROC_END_DECLS

#endif /* MPROC_PACK_H */
