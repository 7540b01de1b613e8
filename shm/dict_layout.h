/* SPDX-License-Identifier: MIT */
#ifndef MPROC__DICT_LAYOUT_H
#define MPROC__DICT_LAYOUT_H

/*
 * A dict as it lies in a segment
 *
 *	head | stripe[n_stripes]	one block
 *	buckets of a stripe		blocks of their own: base, base, 2 base, 4 base, ...
 *	node				a block for each entry
 *
 * Each stripe is a hash table of its own. A bucket is the offset of the first node of a
 * chain; a chain is in the order of the bit-reversed hash, then of the key. Hence a
 * bucket that is split is cut in two at one place (Shalev and Shavit, "Split-ordered
 * lists: lock-free extensible hash tables", 2006), and the number of a stripe's buckets
 * grows by one at a time (Litwin, "Linear hashing", 1980).
 *
 * Below are pure functions that look at a private copy, for the room and shmtool.
 */

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/lock_layout.h"

#define MPROC__DICT_LAYOUT UINT32_C(0x64000001) /* 'd', and a number to bump */

#define MPROC__DICT_KEY_MAX     1024u
#define MPROC__DICT_VALUE_MAX   (UINT64_C(1) << 30)
#define MPROC__DICT_STRIPES_MAX 256u
#define MPROC__DICT_BASE_MIN    8u
#define MPROC__DICT_BASE_MAX    (1u << 24)
#define MPROC__DICT_PARTS       26u /* blocks of buckets that a stripe can have */
#define MPROC__DICT_STAGE       8u  /* words of a value that is replaced where it lies */
#define MPROC__DICT_LOG         3u  /* blocks that an operation may be linking or unlinking */
#define MPROC__DICT_OFF         (~UINT64_C(63)) /* of a spare: where; the rest is its class */

/* An entry. The words of the key, then of the value, both filled up with zeroes. */
struct mproc__dict_node {
	_Atomic(uint64_t) next;  /* offset of the next node of the chain, or 0 */
	_Atomic(uint64_t) order; /* the hash, its bits reversed */
	_Atomic(uint64_t) meta;  /* of the value, see below */
	_Atomic(uint64_t) words[];
};

static_assert(sizeof(struct mproc__dict_node) == 24, "layout changed: bump MPROC__DICT_LAYOUT");

struct mproc__dict_stripe {
	/* Under the lock, all of it. */
	alignas(128) struct mproc__lock lock;
	_Atomic(uint64_t) n_items;
	_Atomic(uint64_t) n_changes;
	struct mproc__waitable waitable; /* its own synchronisation */
	/* What an operation is linking or unlinking, while busy is not 0; see dict_table.c. */
	_Atomic(uint64_t) busy;
	_Atomic(uint64_t) was;   /* n_items before it */
	_Atomic(uint64_t) order; /* of the nodes */
	struct {
		_Atomic(uint64_t) off; /* or 0 */
		_Atomic(uint64_t) generation;
	} log[MPROC__DICT_LOG]; /* node to be linked, to be unlinked, part to be linked */

	/* Written under the lock, read without it. */
	alignas(128) _Atomic(uint64_t) version; /* another one: what was read may be torn */
	_Atomic(uint64_t) n_buckets;
	_Atomic(uint64_t) staged; /* node whose value is the stage's, or 0 */
	_Atomic(uint64_t) spare;  /* a node's block that is not used, and its class; or 0 */
	_Atomic(uint64_t) parts[MPROC__DICT_PARTS];
	alignas(128) _Atomic(uint64_t) stage_meta;
	_Atomic(uint64_t) stage[MPROC__DICT_STAGE];
};

static_assert(sizeof(struct mproc__dict_stripe) == 512, "layout changed: bump MPROC__DICT_LAYOUT");

struct mproc__dict_shared {
	/* Fixed at creation. */
	alignas(128) uint32_t layout;
	uint32_t n_stripes; /* a power of two */
	uint32_t base;      /* buckets of a stripe's first part; a power of two */
	uint32_t reserved_32;
	uint64_t max_items; /* or 0 */
	uint64_t secret[2]; /* of the hash */
	uint64_t reserved[10];

	struct mproc__dict_stripe stripes[];
};

static_assert(offsetof(struct mproc__dict_shared, stripes) == 128,
	      "layout changed: bump MPROC__DICT_LAYOUT");

/*
 * Meta: 0xd1 8 | kind 4 | class 4 | bytes of the key 16 | bytes of the value 32. The class
 * is that of the node's block in the arena, or MPROC__DICT_PAGES for whole pages.
 */
#define MPROC__DICT_MARK  UINT64_C(0xd1)
#define MPROC__DICT_PAGES 15u

static inline uint64_t mproc__dict_meta(uint32_t kind, uint32_t class, uint64_t key_len,
					uint64_t len)
{
	return MPROC__DICT_MARK << 56 | (uint64_t)(kind & 15) << 52 | (uint64_t)(class & 15) << 48 |
	       key_len << 32 | len;
}

static inline uint32_t mproc__dict_kind(uint64_t meta)
{
	return (uint32_t)(meta >> 52) & 15;
}

static inline uint32_t mproc__dict_class(uint64_t meta)
{
	return (uint32_t)(meta >> 48) & 15;
}

static inline uint64_t mproc__dict_key_len(uint64_t meta)
{
	return (meta >> 32) & 0xffff;
}

static inline uint64_t mproc__dict_len(uint64_t meta)
{
	return meta & UINT32_MAX;
}

static inline bool mproc__dict_meta_check(uint64_t meta)
{
	uint64_t key_len = mproc__dict_key_len(meta);

	return meta >> 56 == MPROC__DICT_MARK && key_len && key_len <= MPROC__DICT_KEY_MAX &&
	       mproc__dict_len(meta) <= MPROC__DICT_VALUE_MAX;
}

static inline uint64_t mproc__dict_words(uint64_t len)
{
	return (len + 7) / 8;
}

/* Bytes of a node with key and value of these lengths. */
static inline uint64_t mproc__dict_node_bytes(uint64_t key_len, uint64_t len)
{
	return sizeof(struct mproc__dict_node) +
	       8 * (mproc__dict_words(key_len) + mproc__dict_words(len));
}

/* Bytes of a node with that meta. */
static inline uint64_t mproc__dict_node_size(uint64_t meta)
{
	return mproc__dict_node_bytes(mproc__dict_key_len(meta), mproc__dict_len(meta));
}

static inline uint64_t mproc__dict_reverse(uint64_t bits)
{
	bits = (bits >> 1 & UINT64_C(0x5555555555555555)) | (bits & UINT64_C(0x5555555555555555))
								    << 1;
	bits = (bits >> 2 & UINT64_C(0x3333333333333333)) | (bits & UINT64_C(0x3333333333333333))
								    << 2;
	bits = (bits >> 4 & UINT64_C(0x0f0f0f0f0f0f0f0f)) | (bits & UINT64_C(0x0f0f0f0f0f0f0f0f))
								    << 4;
	return __builtin_bswap64(bits);
}

/* The greatest power of two that is not greater than @n, which is not 0. */
static inline uint64_t mproc__dict_floor(uint64_t n)
{
	return UINT64_C(1) << (63 - __builtin_clzll(n));
}

/* Which of @n buckets, at least one, has what hashes to @hash. */
static inline uint64_t mproc__dict_bucket(uint64_t hash, uint64_t n)
{
	uint64_t floor = mproc__dict_floor(n);
	uint64_t at = hash & (2 * floor - 1);

	return at < n ? at : at - floor;
}

/* How many of the first bits of an order all nodes of bucket @at have in common. */
static inline uint32_t mproc__dict_bucket_bits(uint64_t at, uint64_t n)
{
	uint64_t floor = mproc__dict_floor(n);
	uint32_t bits = (uint32_t)__builtin_ctzll(floor);

	return at >= floor || at + floor < n ? bits + 1 : bits;
}

/* Which part has bucket @at, and the first bucket of that. */
static inline uint32_t mproc__dict_part(uint64_t at, uint32_t base, uint64_t *ret_first)
{
	uint64_t n = at / base;
	uint32_t part = n ? 64 - (uint32_t)__builtin_clzll(n) : 0;

	*ret_first = part ? (uint64_t)base << (part - 1) : 0;
	return part;
}

/* Buckets in a part. */
static inline uint64_t mproc__dict_part_buckets(uint32_t part, uint32_t base)
{
	return part ? (uint64_t)base << (part - 1) : base;
}

/* Bytes of a dict's own block. */
static inline uint64_t mproc__dict_bytes(uint32_t n_stripes)
{
	return sizeof(struct mproc__dict_shared) +
	       (uint64_t)n_stripes * sizeof(struct mproc__dict_stripe);
}

/* A checked private copy. */
struct mproc__dict_geometry {
	uint32_t n_stripes;
	uint32_t base;
	uint64_t max_items;
	uint64_t secret[2];
};

/* Return: false if a dict of @len bytes cannot look like this. */
static inline bool mproc__dict_geometry_check(const struct mproc__dict_shared *shared, uint64_t len,
					      struct mproc__dict_geometry *ret)
{
	/* One read of each: others may be writing, and it is the copies that are checked. */
	const volatile struct mproc__dict_shared *v = shared;
	struct mproc__dict_geometry g;

	if (len < sizeof(*shared) || v->layout != MPROC__DICT_LAYOUT)
		return false;
	g = (struct mproc__dict_geometry){
		.n_stripes = v->n_stripes,
		.base = v->base,
		.max_items = v->max_items,
		.secret = { v->secret[0], v->secret[1] },
	};
	if (!g.n_stripes || g.n_stripes > MPROC__DICT_STRIPES_MAX ||
	    (g.n_stripes & (g.n_stripes - 1)) || mproc__dict_bytes(g.n_stripes) != len ||
	    g.base < MPROC__DICT_BASE_MIN || g.base > MPROC__DICT_BASE_MAX ||
	    (g.base & (g.base - 1)))
		return false;
	*ret = g;
	return true;
}

/* What the stripes say, in all. */
struct mproc__dict_look {
	struct mproc__dict_geometry geometry;
	uint64_t n_items;
	uint64_t n_buckets;
	uint64_t n_changes;
	uint32_t n_locked;
	uint32_t n_busy; /* in the middle of linking or unlinking something */
	uint64_t owner;  /* of one of the locks, or 0 */
};

static inline bool mproc__dict_look(const struct mproc__dict_shared *copy, uint64_t len,
				    struct mproc__dict_look *ret)
{
	*ret = (struct mproc__dict_look){ 0 };
	if (!mproc__dict_geometry_check(copy, len, &ret->geometry))
		return false;
	for (uint32_t i = 0; i < ret->geometry.n_stripes; i++) {
		const struct mproc__dict_stripe *s = &copy->stripes[i];
		uint64_t owner = atomic_load_explicit(&s->lock.word, memory_order_relaxed);

		ret->n_items += atomic_load_explicit(&s->n_items, memory_order_relaxed);
		ret->n_buckets += atomic_load_explicit(&s->n_buckets, memory_order_relaxed);
		ret->n_changes += atomic_load_explicit(&s->n_changes, memory_order_relaxed);
		ret->n_busy += atomic_load_explicit(&s->busy, memory_order_relaxed) != 0;
		ret->n_locked += owner != 0;
		if (owner)
			ret->owner = owner;
	}
	return true;
}

#endif /* MPROC__DICT_LAYOUT_H */
