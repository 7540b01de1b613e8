/* SPDX-License-Identifier: MIT */
#ifndef MPROC__BODY_LAYOUT_H
#define MPROC__BODY_LAYOUT_H

/*
 * Strings and lists as they lie in a segment, and what can be said of a copy
 *
 *	struct mproc__body_shared | room
 *
 * What it holds lies in the room behind the head at first, in a block of the arena when
 * that is too small: bytes of a string, slots of a list.
 *
 * A slot has 16 bytes, two words, head and tail. The lowest 4 bits of the head say the
 * kind of the item (enum mproc_any_kind), the next 4 its length, 0 to 14: then its bytes
 * are those of the tail and, from the ninth on, the upper six of the head. A length of 15
 * says that they lie elsewhere: 8 bytes of length, then they. The other 56 bits of the
 * head then are the offset of that, and the tail the generation of the block that begins
 * there; 0: it lies in the object's own block, behind the room.
 */

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ipc/kind_layout.h"
#include "ipc/lock_layout.h"

#define MPROC__BODY_LAYOUT UINT32_C(0x62000001) /* 'b', and a number to bump */

#define MPROC__SLOT_INLINE 14u /* bytes of an item that needs nothing else */
#define MPROC__SLOT_FAR    15u
#define MPROC__SLOTS_MAX   UINT64_C(0x7fffffff) /* items of a list */
#define MPROC__SLOT_FIRST  8u                   /* of such a block is its length */

struct mproc__slot {
	_Atomic(uint64_t) head, tail;
};

/* All words of a state are written before the version says that it is the present one. */
struct mproc__body_state {
	_Atomic(uint64_t) block;      /* offset of the room or of a block */
	_Atomic(uint64_t) generation; /* of that block; 0: the room */
	_Atomic(uint64_t) first;      /* byte or slot in use, from the block's start */
	_Atomic(uint64_t) len;        /* bytes or slots in use */
	/* What belongs to nobody: whoever has the lock frees it. */
	_Atomic(uint64_t) limbo_block; /* 0: none */
	_Atomic(uint64_t) limbo_generation;
	_Atomic(uint64_t) limbo_slots; /* offset of slots whose blocks are to be freed */
	_Atomic(uint64_t) n_limbo;
	/* A slot that is to be written, and what it was. */
	_Atomic(uint64_t) patch_at; /* number of the item + 1, or 0 */
	struct mproc__slot patch;
	struct mproc__slot gone;
};

struct mproc__body_shared {
	/* Written before anybody can find the object. */
	uint32_t layout;
	uint32_t room;           /* bytes behind the head */
	struct mproc__lock lock; /* a mutex as users have it */
	/* Under the lock: */
	_Atomic(uint64_t) section;       /* see cells_layout.h */
	_Atomic(uint64_t) version;       /* changes so far; state[version & 1] is the present one */
	struct mproc__waitable waitable; /* who waits for a change sleeps on it */
	struct mproc__body_state state[2];
};

static_assert(sizeof(struct mproc__body_shared) == 256, "layout changed: bump MPROC__BODY_LAYOUT");

/* Of an item, what a reader has copied. */
struct mproc__item {
	uint64_t head, tail;
};

static inline uint32_t mproc__item_kind(struct mproc__item item)
{
	return (uint32_t)item.head & 15;
}

static inline bool mproc__item_is_far(struct mproc__item item)
{
	return ((uint32_t)item.head >> 4 & 15) == MPROC__SLOT_FAR;
}

/* The length of one that is not far. */
static inline size_t mproc__item_len(struct mproc__item item)
{
	return item.head >> 4 & 15;
}

/* Where the bytes of one that is far are, their length first. */
static inline uint64_t mproc__item_off(struct mproc__item item)
{
	return item.head >> 8;
}

static inline struct mproc__item mproc__item_far(uint32_t kind, uint64_t off, uint64_t generation)
{
	return (struct mproc__item){ kind | MPROC__SLOT_FAR << 4 | off << 8, generation };
}

/* @len is at most MPROC__SLOT_INLINE. */
static inline struct mproc__item mproc__item_near(uint32_t kind, const void *bytes, size_t len)
{
	struct mproc__item item = { 0, 0 };
	uint64_t more = 0;

	if (len)
		memcpy(&item.tail, bytes, len < 8 ? len : 8);
	if (len > 8)
		memcpy(&more, (const char *)bytes + 8, len - 8);
	item.head = kind | (uint64_t)len << 4 | more << 16;
	return item;
}

/* The bytes of one that is not far. */
static inline void mproc__item_bytes(struct mproc__item item, unsigned char ret[MPROC__SLOT_INLINE])
{
	uint64_t more = item.head >> 16;

	memcpy(ret, &item.tail, 8);
	memcpy(ret + 8, &more, 6);
}

/* Numbers of an object, for display. */
struct mproc__body_look {
	uint64_t len; /* bytes of a string, items of a list */
	uint64_t version;
	uint64_t block, generation;
	uint64_t owner; /* word of the lock */
	uint32_t room;
	uint32_t sleepers;
	bool left; /* one died between lock and unlock */
	bool busy; /* a change is to be finished, or blocks to be freed */
};

/*
 * Look at a copy of the head of an object of @len bytes.
 *
 * Return: false if it is impossible.
 */
static inline bool mproc__body_check(const struct mproc__body_shared *copy, uint64_t len,
				     struct mproc__body_look *ret)
{
	/* One read of each: others may be writing, and it is the copies that are checked. */
	const volatile struct mproc__body_shared *v = copy;
	const struct mproc__body_state *s;

	if (len < sizeof(*copy) || v->layout != MPROC__BODY_LAYOUT)
		return false;
	memset(ret, 0, sizeof(*ret));
	ret->room = v->room;
	ret->version = atomic_load_explicit(&copy->version, memory_order_acquire);
	ret->owner = atomic_load_explicit(&copy->lock.word, memory_order_relaxed);
	ret->sleepers = atomic_load_explicit(&copy->waitable.sleepers, memory_order_relaxed);
	ret->left = atomic_load_explicit(&copy->section, memory_order_relaxed) == 2;
	s = &copy->state[ret->version & 1];
	ret->block = atomic_load_explicit(&s->block, memory_order_relaxed);
	ret->generation = atomic_load_explicit(&s->generation, memory_order_relaxed);
	ret->len = atomic_load_explicit(&s->len, memory_order_relaxed);
	ret->busy = atomic_load_explicit(&s->limbo_block, memory_order_relaxed) ||
		    atomic_load_explicit(&s->n_limbo, memory_order_relaxed) ||
		    atomic_load_explicit(&s->patch_at, memory_order_relaxed);
	return ret->room <= len - sizeof(*copy);
}

#endif /* MPROC__BODY_LAYOUT_H */
