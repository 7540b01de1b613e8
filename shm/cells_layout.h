/* SPDX-License-Identifier: MIT */
#ifndef MPROC__CELLS_LAYOUT_H
#define MPROC__CELLS_LAYOUT_H

/*
 * Values and arrays as they lie in a segment, and what can be said of a copy
 *
 *	struct mproc__cells_shared | stage | item[n_items]
 *
 * A value is an array of one. Items lie as in a C array. The stage, of one item,
 * is there if an item cannot be changed by one store.
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

#define MPROC__CELLS_LAYOUT UINT32_C(0x76000002) /* 'v', and a number to bump */

#define MPROC__TYPE_NAME      48u /* its NUL included */
#define MPROC__TYPE_ALIGN_MAX 64u

/* Whether somebody is, or was when he died, between lock and unlock. */
#define MPROC__SECTION_NONE UINT64_C(0)
#define MPROC__SECTION_OPEN UINT64_C(1)
#define MPROC__SECTION_LEFT UINT64_C(2) /* its owner died; nobody has said consistent */

struct mproc__cells_shared {
	/* Written before anybody can find the object. */
	uint32_t layout;
	uint32_t kind; /* of enum mproc_kind */
	uint64_t n_items;
	uint32_t size; /* of an item */
	uint32_t align;
	uint64_t fields; /* hash of the listed fields of a struct, 0: not listed */
	char type_name[MPROC__TYPE_NAME];

	struct mproc__lock lock; /* a mutex as users have it */
	/* Under the lock: */
	_Atomic(uint64_t) section;
	_Atomic(uint64_t) pending; /* number of the item that the stage is for + 1, or 0 */

	struct mproc__waitable waitable; /* who waits for the item to change sleeps on it */
};

static_assert(sizeof(struct mproc__cells_shared) == 120,
	      "layout changed: bump MPROC__CELLS_LAYOUT");

/* A checked private copy. */
struct mproc__cells_geometry {
	uint64_t n_items;
	uint64_t stage; /* bytes from the start; 0: there is none */
	uint64_t items;
	uint64_t len; /* of all */
	uint64_t fields;
	uint32_t kind;
	uint32_t size;
	uint32_t align;
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

/*
 * Where things are, from kind, size, align and n_items.
 *
 * Return: false if there can be no such object.
 */
static inline bool mproc__cells_place(struct mproc__cells_geometry *g)
{
	uint64_t align = g->align < 8 ? 8 : g->align;
	uint64_t at = sizeof(struct mproc__cells_shared), bytes;

	if (!mproc__cell_is_possible(g->kind, g->size, g->align) || !g->n_items ||
	    __builtin_mul_overflow(g->n_items, (uint64_t)g->size, &bytes) || bytes >> 56)
		return false;
	g->stage = 0;
	if (!mproc__cell_is_word(g->size)) {
		g->stage = mproc__cells_round(at, align);
		at = g->stage + g->size;
	}
	/* An array has cache lines of its own; a value is to be small. */
	g->items = mproc__cells_round(at, g->n_items > 1 ? 64 : align);
	g->len = g->items + bytes;
	return true;
}

/*
 * The geometry of an object of @len bytes, and its type.
 *
 * Return: false if it is impossible.
 */
static inline bool mproc__cells_check(const struct mproc__cells_shared *s, uint64_t len,
				      struct mproc__cells_geometry *ret)
{
	/* One read of each: others may be writing, and it is the copies that are checked. */
	const volatile struct mproc__cells_shared *v = s;
	struct mproc__cells_geometry g;

	if (len < sizeof(*s) || v->layout != MPROC__CELLS_LAYOUT)
		return false;
	g.kind = v->kind;
	g.size = v->size;
	g.align = v->align;
	g.n_items = v->n_items;
	g.fields = v->fields;
	memcpy(g.type_name, s->type_name, sizeof(g.type_name));
	g.type_name[MPROC__TYPE_NAME - 1] = 0;
	if (!mproc__cells_place(&g) || g.len > len)
		return false;
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
