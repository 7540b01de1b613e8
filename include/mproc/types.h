/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TYPES_H
#define MPROC_TYPES_H

/*
 * What values and arrays hold: a type, as processes that share it tell each other
 *
 * MPROC_TYPE(T) describes any type whose bytes mean the same in every process:
 * bool, all integers (char, size_t and wchar_t are such), float, double, references
 * (struct mproc_ref), and plain structs of these and of arrays of them. Two processes
 * mean the same if kind and size agree; of structs the name as it was spelled and
 * the alignment as well, and the fields where both sides list them.
 *
 *	Threads		descriptions are constant
 *	Fork		nothing here changes across fork(2)
 *	Signals		not safe in a signal handler
 *	Killed		nothing here writes shared memory
 *	Errors		none
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mproc/common.h>

MPROC_BEGIN_DECLS

enum mproc_kind {
	MPROC_BOOL = 1,
	MPROC_INT = 2,
	MPROC_UINT = 3,
	MPROC_FLOAT = 4,
	MPROC_BYTES = 5, /* a struct, an array: compared and copied as it is */
};

/* A member of a struct, see MPROC_FIELD(). */
struct mproc_type;

struct mproc_field {
	const char *name;
	uint32_t kind;                 /* of enum mproc_kind; of an array, that of its items */
	uint32_t off;                  /* bytes from the start of the struct */
	uint32_t size;                 /* bytes, of an array all of it */
	uint32_t n_items;              /* of an array; 0: it is none */
	const struct mproc_type *type; /* of a struct whose fields are listed, or NULL */
};

struct mproc_type {
	uint32_t kind;  /* of enum mproc_kind */
	uint32_t size;  /* bytes */
	uint32_t align; /* bytes, at most 64 */
	uint32_t n_fields;
	const char *name;                 /* as it was spelled: "struct point" */
	const struct mproc_field *fields; /* or NULL: not listed */
};

/**
 * mproc_type_from_code() - the type that a text names
 * @code:	a type code of Python's array and struct modules: "b" "B" "h" "H" "i" "I"
 *		"l" "L" "q" "Q" (the C types of that name), "n" "N" (ssize_t, size_t), "f"
 *		"d", "?" (bool), "c" (char), "u" "w" (wchar_t); or "i8" to "i64", "u8" to
 *		"u64", "f32", "f64"
 *
 * Return: a constant, or NULL with a text if there is no such code.
 */
MPROC_API const struct mproc_type *mproc_type_from_code(const char *code);

/**
 * mproc_type_code() - the type code of a type, as Python's struct module knows it
 * @type:	type
 *
 * Return: "b" "h" "i" "q" and their capitals, "f" "d", "?", or NULL if @type is no scalar.
 */
MPROC_API const char *mproc_type_code(const struct mproc_type *type);

#ifndef __cplusplus

/* The kind of what a pointer points to. */
#define MPROC__KIND_OF(ptr) \
	_Generic((ptr), bool *: MPROC_BOOL, char *: (char)-1 < 0 ? MPROC_INT : MPROC_UINT, \
		 signed char *: MPROC_INT, short *: MPROC_INT, int *: MPROC_INT, \
		 long *: MPROC_INT, long long *: MPROC_INT, unsigned char *: MPROC_UINT, \
		 unsigned short *: MPROC_UINT, unsigned *: MPROC_UINT, \
		 unsigned long *: MPROC_UINT, unsigned long long *: MPROC_UINT, \
		 float *: MPROC_FLOAT, double *: MPROC_FLOAT, default: MPROC_BYTES)

#define MPROC_KIND(T) MPROC__KIND_OF((T *)0)

/* MPROC_TYPE(int64_t), MPROC_TYPE(struct point); evaluates to a pointer. */
#define MPROC_TYPE(T) \
	(&(const struct mproc_type){ \
		.kind = MPROC_KIND(T), .size = sizeof(T), .align = _Alignof(T), .name = #T })

/*
 * The same for a struct whose fields are listed: then a change of one of them is
 * found out when the other side opens.
 *
 *	static const struct mproc_field point_fields[] = {
 *		MPROC_FIELD(struct point, x),
 *		MPROC_FIELD(struct point, y),
 *	};
 *	... MPROC_TYPE_FIELDS(struct point, point_fields) ...
 */
#define MPROC_TYPE_FIELDS(T, list) \
	(&(const struct mproc_type){ .kind = MPROC_KIND(T), \
				     .size = sizeof(T), \
				     .align = _Alignof(T), \
				     .name = #T, \
				     .n_fields = sizeof(list) / sizeof((list)[0]), \
				     .fields = (list) })

#define MPROC_FIELD(T, m) \
	{ \
		.name = #m, .kind = MPROC__KIND_OF(&((T *)0)->m), .off = offsetof(T, m), \
		.size = sizeof(((T *)0)->m) \
	}

/* A member that is an array, of one dimension. */
#define MPROC_FIELD_ARRAY(T, m) \
	{ \
		.name = #m, .kind = MPROC__KIND_OF(&((T *)0)->m[0]), .off = offsetof(T, m), \
		.size = sizeof(((T *)0)->m), \
		.n_items = sizeof(((T *)0)->m) / sizeof(((T *)0)->m[0]) \
	}

/* A member that is a struct whose fields are listed: MPROC_TYPE_FIELDS() says which. */
#define MPROC_FIELD_STRUCT(T, m, described) \
	{ \
		.name = #m, .kind = MPROC_BYTES, .off = offsetof(T, m), \
		.size = sizeof(((T *)0)->m), .type = (described) \
	}

/* @ptr, which must be a T * (or, of the second, a const T *). */
#define MPROC__PTR(T, ptr)       (1 ? (ptr) : (T *)0)
#define MPROC__CONST_PTR(T, ptr) (1 ? (ptr) : (const T *)0)

/*
 * How the macros of values and arrays come to a number without a call: what the handles
 * begin with, and an operation on it. It is not for programs.
 */
struct mproc__items {
	uint32_t kind;
	uint32_t size; /* of an item */
	uint64_t n;
	uint64_t writable;
	unsigned char *at;
	const uint32_t *sleepers; /* odd: somebody waits for a change */
};

enum mproc__items_op {
	MPROC__ITEMS_LOAD,
	MPROC__ITEMS_STORE,
	MPROC__ITEMS_XCHG,
	MPROC__ITEMS_ADD,
};

#define MPROC__ITEMS_CASE(bits) \
	case (bits) / 8: { \
		uint##bits##_t *item = (uint##bits##_t *)(void *)at, x = 0; \
		if (op != MPROC__ITEMS_LOAD) \
			__builtin_memcpy(&x, arg, sizeof(x)); \
		if (op == MPROC__ITEMS_LOAD) \
			x = __atomic_load_n(item, __ATOMIC_SEQ_CST); \
		else if (op == MPROC__ITEMS_STORE) \
			__atomic_store_n(item, x, __ATOMIC_SEQ_CST); \
		else if (op == MPROC__ITEMS_XCHG) \
			x = __atomic_exchange_n(item, x, __ATOMIC_SEQ_CST); \
		else \
			x = __atomic_fetch_add(item, x, __ATOMIC_SEQ_CST); \
		if (ret) \
			__builtin_memcpy(ret, &x, sizeof(x)); \
		return 1; \
	}

/* Return: where item @i is, or NULL if that takes a closer look. */
static inline __attribute__((__always_inline__)) void *
mproc__items_at(const struct mproc__items *items, const struct mproc_type *type, uint64_t i)
{
	if (__builtin_expect(items->kind != type->kind || items->size != type->size ||
				     type->kind == MPROC_BYTES || i >= items->n,
			     0))
		return NULL;
	return items->at + i * type->size;
}

/* Return: 1 if it was done, 0 if that takes a closer look. */
static inline __attribute__((__always_inline__)) int
mproc__items_do(const struct mproc__items *items, enum mproc__items_op op,
		const struct mproc_type *type, uint64_t i, const void *arg, void *ret)
{
	void *at = mproc__items_at(items, type, i);

	if (!at || type->kind == MPROC_BOOL || (op != MPROC__ITEMS_LOAD && !items->writable) ||
	    (op == MPROC__ITEMS_ADD && type->kind == MPROC_FLOAT))
		return 0;
	switch (type->size) {
		MPROC__ITEMS_CASE(8)
		MPROC__ITEMS_CASE(16)
		MPROC__ITEMS_CASE(32)
		MPROC__ITEMS_CASE(64)
	default:
		return 0;
	}
}

static inline __attribute__((__always_inline__)) int
mproc__items_waited(const struct mproc__items *items)
{
	return __builtin_expect(__atomic_load_n(items->sleepers, __ATOMIC_SEQ_CST) & 1, 0);
}

#endif /* __cplusplus */

MPROC_END_DECLS

#endif /* MPROC_TYPES_H */
