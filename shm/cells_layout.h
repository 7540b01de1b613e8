/* SPDX-License-Identifier: MIT */
#ifndef MPROC__CELLS_LAYOUT_H
#define MPROC__CELLS_LAYOUT_H

/*
 * Values and arrays as they lie in a segment, and what can be said of a copy
 *
 *	struct mproc__cells_shared
 *	struct mproc__cells_lock	if it has a lock of its own
 *	uint64_t mutex			if it was given one: its offset in the segment
 *	uint64_t pending		if there is a stage
 *	struct mproc__cells_type	if the items are MPROC_BYTES
 *	uint64_t shape[n_dims]		if it has more than one dimension
 *	item[n_items]			from byte `items` on
 *	stage				of one item, where one store cannot change an item
 *					and there is a lock
 *
 * A value is an array of one. Items lie as in a C array, the last dimension's side by
 * side. mproc_array(3) promises this to programs in other languages.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <mproc/types.h>

#include "ipc/lock_layout.h"

#define MPROC__CELLS_LAYOUT UINT32_C(0x76000003) /* 'v', and a number to bump */

#define MPROC__TYPE_NAME      48u /* its NUL included */
#define MPROC__TYPE_ALIGN_MAX 64u
#define MPROC__CELLS_DIMS     8u

/* Whether somebody is, or was when he died, between lock and unlock. */
#define MPROC__SECTION_NONE  UINT64_C(0)
#define MPROC__SECTION_OPEN  UINT64_C(1)
#define MPROC__SECTION_LEFT  UINT64_C(2) /* its owner died; nobody has said consistent */
#define MPROC__SECTION_STATE UINT64_C(3)
#define MPROC__SECTION_AGAIN UINT64_C(4) /* times its owner has locked it once more */

enum mproc__cells_flags {
	MPROC__CELLS_RAW = 1,   /* no lock */
	MPROC__CELLS_GIVEN = 2, /* a mutex of the user's */
};

/* Written before anybody can find the object, but for the waitable. */
struct mproc__cells_shared {
	uint32_t layout;
	uint8_t kind;  /* of enum mproc_kind */
	uint8_t flags; /* of enum mproc__cells_flags */
	uint8_t n_dims;
	uint8_t reserved;
	uint64_t n_items;
	uint32_t size; /* of an item */
	uint16_t align;
	uint16_t items;                  /* bytes from here to the first item */
	struct mproc__waitable waitable; /* who waits for items to change sleeps on it */
};

struct mproc__cells_lock {
	struct mproc__lock lock;   /* a mutex as users have it */
	_Atomic(uint64_t) section; /* under the lock */
};

struct mproc__cells_type {
	uint64_t fields; /* hash of the listed fields of a struct, 0: not listed */
	char name[MPROC__TYPE_NAME];
};

static_assert(sizeof(struct mproc__cells_shared) == 32 && sizeof(struct mproc__cells_lock) == 24 &&
		      sizeof(struct mproc__cells_type) == 56,
	      "layout changed: bump MPROC__CELLS_LAYOUT");

/* Bytes before the first item, at most. */
#define MPROC__CELLS_HEAD_MAX 192u

/* A checked private copy; places are bytes from the start, 0: there is none. */
struct mproc__cells_geometry {
	uint32_t kind;
	uint32_t size;
	uint32_t align;
	uint32_t flags;
	uint64_t n_items;
	uint64_t lock;
	uint64_t mutex;
	uint64_t pending; /* number of the item that the stage is for + 1, or 0; under the lock */
	uint64_t type;
	uint64_t dims;
	uint64_t items;
	uint64_t stage;
	uint64_t len;    /* of all */
	uint64_t given;  /* offset of the given mutex in the segment */
	uint64_t fields; /* hash */
	uint32_t n_dims;
	uint64_t shape[MPROC__CELLS_DIMS];
	char type_name[MPROC__TYPE_NAME];
};

/* Is an item changed by one store? */
static inline bool mproc__cell_is_word(uint32_t size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

static inline bool mproc__cell_is_possible(uint32_t kind, uint32_t size, uint32_t align)
{
	if (!size || !align || align > MPROC__TYPE_ALIGN_MAX || (align & (align - 1)) ||
	    size % align)
		return false;
	switch (kind) {
	case MPROC_BOOL:
		return size == 1;
	case MPROC_INT:
	case MPROC_UINT:
		return mproc__cell_is_word(size);
	case MPROC_FLOAT:
		return size == 4 || size == 8;
	default:
		return kind == MPROC_BYTES;
	}
}

static inline uint64_t mproc__cells_round(uint64_t n, uint64_t align)
{
	return (n + align - 1) & ~(align - 1);
}

/* Does the shape, of @g->n_dims, make @g->n_items? */
static inline bool mproc__cells_shape_fits(const struct mproc__cells_geometry *g)
{
	uint64_t n = 1;

	if (!g->n_dims || g->n_dims > MPROC__CELLS_DIMS)
		return false;
	for (uint32_t i = 0; i < g->n_dims; i++)
		if (__builtin_mul_overflow(n, g->shape[i], &n))
			return false;
	return n == g->n_items;
}

/* The place of one more part of @len bytes. */
static inline uint64_t mproc__cells_part(uint64_t *at, uint64_t len)
{
	uint64_t here = *at;

	*at += len;
	return here;
}

/*
 * Where things are, from kind, size, align, flags, n_items and n_dims.
 *
 * Return: false if there can be no such object.
 */
static inline bool mproc__cells_place(struct mproc__cells_geometry *g)
{
	uint64_t align = g->align < 8 ? 8 : g->align;
	uint64_t at = sizeof(struct mproc__cells_shared), bytes;
	bool staged = !(g->flags & MPROC__CELLS_RAW) && !mproc__cell_is_word(g->size);

	if (!mproc__cell_is_possible(g->kind, g->size, g->align) || !g->n_items ||
	    g->flags > MPROC__CELLS_GIVEN || !g->n_dims || g->n_dims > MPROC__CELLS_DIMS ||
	    __builtin_mul_overflow(g->n_items, (uint64_t)g->size, &bytes) || bytes >> 56)
		return false;
	g->lock = g->flags ? 0 : mproc__cells_part(&at, sizeof(struct mproc__cells_lock));
	g->mutex = g->flags == MPROC__CELLS_GIVEN ? mproc__cells_part(&at, 8) : 0;
	g->pending = staged ? mproc__cells_part(&at, 8) : 0;
	g->type = g->kind == MPROC_BYTES ? mproc__cells_part(&at, sizeof(struct mproc__cells_type))
					 : 0;
	g->dims = g->n_dims > 1 ? mproc__cells_part(&at, 8 * (uint64_t)g->n_dims) : 0;
	/* An array has cache lines of its own; a value is to be small. */
	g->items = mproc__cells_round(at, g->n_items > 1 ? 64 : align);
	g->len = g->items + bytes;
	g->stage = 0;
	if (staged) {
		g->stage = mproc__cells_round(g->len, align);
		g->len = g->stage + g->size;
	}
	return true;
}

/*
 * The geometry of an object of @len bytes, and its type.
 * @mem:	its first bytes, MPROC__CELLS_HEAD_MAX or @len if that is less
 *
 * Return: false if it is impossible.
 */
static inline bool mproc__cells_check(const void *mem, uint64_t len,
				      struct mproc__cells_geometry *ret)
{
	/* One read of each: others may be writing, and it is the copies that are checked. */
	const volatile struct mproc__cells_shared *v = mem;
	const char *bytes = mem;
	struct mproc__cells_geometry g;

	if (len < sizeof(*v) || v->layout != MPROC__CELLS_LAYOUT)
		return false;
	memset(&g, 0, sizeof(g));
	g.kind = v->kind;
	g.size = v->size;
	g.align = v->align;
	g.flags = v->flags;
	g.n_items = v->n_items;
	g.n_dims = v->n_dims;
	if (!mproc__cells_place(&g) || g.items != v->items || g.len > len)
		return false;
	g.shape[0] = g.n_items;
	if (g.dims)
		memcpy(g.shape, bytes + g.dims, 8 * (size_t)g.n_dims);
	if (!mproc__cells_shape_fits(&g))
		return false;
	if (g.mutex)
		memcpy(&g.given, bytes + g.mutex, sizeof(g.given));
	if (g.type) {
		memcpy(&g.fields, bytes + g.type, sizeof(g.fields));
		memcpy(g.type_name, bytes + g.type + sizeof(g.fields), sizeof(g.type_name));
		g.type_name[MPROC__TYPE_NAME - 1] = 0;
	}
	*ret = g;
	return true;
}

/* "int32", "double", "struct point of 24 bytes". Return: @buf. */
static inline char *mproc__cell_text(char *buf, size_t cap, uint32_t kind, uint32_t size,
				     const char *name)
{
	switch (kind) {
	case MPROC_BOOL:
		snprintf(buf, cap, "bool");
		break;
	case MPROC_INT:
	case MPROC_UINT:
		snprintf(buf, cap, "%sint%" PRIu32, kind == MPROC_UINT ? "u" : "", size * 8);
		break;
	case MPROC_FLOAT:
		snprintf(buf, cap, "%s", size == 4 ? "float" : "double");
		break;
	default:
		snprintf(buf, cap, "%.47s of %" PRIu32 " bytes", name, size);
	}
	return buf;
}

#endif /* MPROC__CELLS_LAYOUT_H */
