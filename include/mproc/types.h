/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TYPES_H
#define MPROC_TYPES_H

/*
 * What values and arrays hold: a type, as processes that share it tell each other
 *
 * MPROC_TYPE(T) describes any type whose bytes mean the same in every process:
 * bool, all integers, float, double, and plain structs of these. Two processes
 * mean the same if kind and size agree; of structs the name as it was spelled and
 * the alignment as well, and the fields where both sides list them.
 *
 *	Threads		descriptions are constant
 *	Fork		nothing here changes across fork(2)
 *	Signals		nothing here is a call
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
struct mproc_field {
	const char *name;
	uint32_t kind; /* of enum mproc_kind */
	uint32_t off;  /* bytes from the start of the struct */
	uint32_t size; /* bytes */
};

struct mproc_type {
	uint32_t kind;  /* of enum mproc_kind */
	uint32_t size;  /* bytes */
	uint32_t align; /* bytes, at most 64 */
	uint32_t n_fields;
	const char *name;                 /* as it was spelled: "struct point" */
	const struct mproc_field *fields; /* or NULL: not listed */
};

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

/* @ptr, which must be a T * (or, of the second, a const T *). */
#define MPROC__PTR(T, ptr)       (1 ? (ptr) : (T *)0)
#define MPROC__CONST_PTR(T, ptr) (1 ? (ptr) : (const T *)0)

#endif /* __cplusplus */

MPROC_END_DECLS

#endif /* MPROC_TYPES_H */
