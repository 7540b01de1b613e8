/* SPDX-License-Identifier: MIT */
#ifndef MPROC__DICT_H
#define MPROC__DICT_H

/*
 * What the dict's own files share, and what is built of dicts
 */

#include <mproc/dict.h>

#include "ipc/lock.h"
#include "ipc/participant.h"
#include "ipc/waitable.h"
#include "shm/catalogue.h"
#include "shm/dict_layout.h"

struct mproc_dict {
	uint32_t magic;
	uint32_t kind;
	mproc_segment *segment;
	struct mproc__object object;
	struct mproc__dict_shared *shared;
	struct mproc__dict_geometry geometry;
	uint64_t what; /* the dict, as threads note it that are inside a call */
	const char *noun;
	char name[MPROC__OBJECT_NAME_MAX + 1]; /* for texts */
};

/* A key, and where it belongs. */
struct mproc__dict_key {
	const unsigned char *bytes;
	size_t len;
	uint64_t hash;
	uint64_t order;
	struct mproc__dict_stripe *stripe;
};

/* One thread in one call. */
struct mproc__dict_call {
	mproc_dict *d;
	struct mproc__self *me; /* NULL: who only looks, see mproc__dict_enter_reader() */
	uint64_t act;
};

/* A place in a chain. */
struct mproc__dict_spot {
	_Atomic(uint64_t) *link;       /* what leads there */
	uint64_t off;                  /* of the node found, or of the one behind the place; or 0 */
	struct mproc__dict_node *node; /* of off */
	uint64_t meta;                 /* of the node found */
};

/* Bytes to be stored. */
struct mproc__dict_value {
	uint32_t kind;
	const void *bytes;
	size_t len;
};

/* Where a value is copied to. */
struct mproc__dict_out {
	void *buf;
	size_t cap;
	bool any; /* what is no string goes to small */
	uint32_t kind;
	size_t len;
	_Alignas(8) unsigned char small[24];
};

/* Return: 0, or -EINVAL with a text; then the key's place. */
int mproc__dict_key_make(const mproc_dict *d, const void *key, size_t len,
			 struct mproc__dict_key *ret);

/*
 * Begin and end a call: from the first to the second the dict's blocks are not freed.
 *
 * Return: 0, -ESTALE if the dict is gone, or as mproc__self().
 */
int mproc__dict_enter(mproc_dict *d, struct mproc__dict_call *ret);

/*
 * Begin a call that reads. Who may only read has no identity and leaves no note: blocks may
 * be freed under him and become anybody's. His memory does not go away, and he checks every
 * offset as all readers do; what he has read counts if the dict is there afterwards.
 *
 * Return: as mproc__dict_enter().
 */
int mproc__dict_enter_reader(mproc_dict *d, struct mproc__dict_call *ret);

static inline void mproc__dict_leave(const struct mproc__dict_call *call)
{
	if (__builtin_expect(call->me != NULL, 1))
		mproc__act_end(call->me, call->act);
}

/*
 * A stripe's lock; what a dead owner has left is put in order.
 *
 * Return: 0, or negative: -ENOMEM with a text if this process cannot see enough for that.
 */
int mproc__dict_lock(const struct mproc__dict_call *call, struct mproc__dict_stripe *s,
		     int64_t deadline);

static inline void mproc__dict_unlock(const struct mproc__dict_call *call,
				      struct mproc__dict_stripe *s)
{
	mproc__lock_release(&s->lock, call->me);
}

/*
 * What a dead owner of the lock has left is put in order: who calls has it, or is alone.
 *
 * Return: 0, or -ENOMEM without a text; then it is for somebody who sees more.
 */
int mproc__dict_repair(const struct mproc__dict_call *call, struct mproc__dict_stripe *s);

static inline uint64_t mproc__dict_load(const _Atomic(uint64_t) *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static inline void mproc__dict_set(_Atomic(uint64_t) *word, uint64_t val)
{
	atomic_store_explicit(word, val, memory_order_relaxed);
}

static inline uint64_t mproc__dict_n_buckets(struct mproc__dict_stripe *s)
{
	/* Acquire: so many buckets stand, and the part that the last one is in. */
	return atomic_load_explicit(&s->n_buckets, memory_order_acquire);
}

/* Checked address of @len bytes that begin a block of the arena. */
static inline void *mproc__dict_block_at(const mproc_dict *d, uint64_t off, uint64_t len)
{
	if ((off & 63) || off < d->segment->arena_at.off)
		return NULL;
	return mproc__segment_at(d->segment, off, len);
}

static inline _Atomic(uint64_t) *mproc__dict_bucket_at(const mproc_dict *d,
						       struct mproc__dict_stripe *s, uint64_t at)
{
	uint64_t first;
	uint32_t part = mproc__dict_part(at, d->geometry.base, &first);
	_Atomic(uint64_t) *buckets;

	if (part >= MPROC__DICT_PARTS)
		return NULL;
	buckets = mproc__dict_block_at(d, mproc__dict_load(&s->parts[part]),
				       mproc__dict_part_buckets(part, d->geometry.base) * 8);
	return buckets ? buckets + (at - first) : NULL;
}

/*
 * A process with few addresses (RLIMIT_AS, say) sees the beginning of a segment only. What
 * lies behind is no less linked, or in use, for that: who cannot look must not judge.
 *
 * Does this process see all that the arena has?
 */
bool mproc__dict_sees_all(const mproc_dict *d);

/* Why [off, off + len) is no block that can be looked at: -ENOMEM, or -EBADMSG: it is none. */
int mproc__dict_unseen(const mproc_dict *d, uint64_t off, uint64_t len);

/* The same for bucket @at. */
int mproc__dict_no_bucket(const mproc_dict *d, struct mproc__dict_stripe *s, uint64_t at);

/* Can the block at @off, and what says whether it is in use, be looked at? */
bool mproc__dict_sees(const mproc_dict *d, uint64_t off);

/* More nodes than this cannot be. */
static inline uint64_t mproc__dict_nodes_max(const mproc_dict *d)
{
	return mproc__segment_size(d->segment) / 64;
}

/*
 * Walk the chain that begins at @link to the first node that is not before @order, @key
 * (NULL: before all keys).
 *
 * Return: 1 if it has this key, 0 if not, -EBADMSG or -ENOMEM without a text.
 */
int mproc__dict_walk(const mproc_dict *d, struct mproc__dict_stripe *s, _Atomic(uint64_t) *link,
		     uint64_t order, const struct mproc__dict_key *key, uint64_t version,
		     struct mproc__dict_spot *ret);

/*
 * Find @key, or the place where it would be.
 * @version:	of the stripe: the search ends when it is another one
 *
 * Return: 1 found, 0 not there, or without a text: -EBADMSG, the chain is impossible, or
 * was changed meanwhile; -ENOMEM, it goes on where this process has no addresses.
 */
int mproc__dict_seek(const mproc_dict *d, const struct mproc__dict_key *key, uint64_t version,
		     struct mproc__dict_spot *ret);

/*
 * Find the first node of the stripe whose place is @order, @key and behind.
 * @key:	NULL: whatever key; else: behind this one
 *
 * Return: 1, 0 if there is none, -EBADMSG, -ENOMEM.
 */
int mproc__dict_seek_next(const mproc_dict *d, struct mproc__dict_stripe *s, uint64_t order,
			  const struct mproc__dict_key *key, uint64_t version,
			  struct mproc__dict_spot *ret);

/* Text for a chain that is impossible. */
int mproc__dict_corrupt(const mproc_dict *d);

/* Text for @r: that, or -ENOMEM. */
int mproc__dict_bad(const mproc_dict *d, int r);

/*
 * Copy the value at @spot as it is now.
 *
 * Return: 0, -ENOBUFS, -EBADMSG, -ENOMEM, without a text.
 */
int mproc__dict_take(const mproc_dict *d, struct mproc__dict_stripe *s,
		     const struct mproc__dict_spot *spot, struct mproc__dict_out *out);

/* Are the bytes of the value at @spot those? Return: 1, 0, -EBADMSG, -ENOMEM. */
int mproc__dict_same(const mproc_dict *d, struct mproc__dict_stripe *s,
		     const struct mproc__dict_spot *spot, const struct mproc__dict_value *value);

/*
 * Read the value of @key without the lock.
 * @value:	NULL: copy the value to @out; else: compare it
 *
 * Return: as mproc__dict_take() or mproc__dict_same(), -ENOENT without a text; who only looks
 * also gets -ESTALE and -EBUSY without one.
 */
int mproc__dict_read(const struct mproc__dict_call *call, const struct mproc__dict_key *key,
		     struct mproc__dict_out *out, const struct mproc__dict_value *value);

static inline uint64_t mproc__dict_version(struct mproc__dict_stripe *s)
{
	return atomic_load_explicit(&s->version, memory_order_acquire);
}

/* Is what has been read since @version whole? */
static inline bool mproc__dict_is_whole(struct mproc__dict_stripe *s, uint64_t version)
{
	/* Pairs with the fence in mproc__dict_bump(): who saw what came later sees the version. */
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&s->version, memory_order_relaxed) == version;
}

/* What was read until now may be torn or freed from now on. */
static inline void mproc__dict_bump(struct mproc__dict_stripe *s)
{
	atomic_store_explicit(&s->version,
			      atomic_load_explicit(&s->version, memory_order_relaxed) + 1,
			      memory_order_release);
	atomic_thread_fence(memory_order_release);
}

/* A node's key, compared word by word where bytes need not be. */
static inline uint64_t mproc__dict_word(const unsigned char *bytes, size_t len, size_t i)
{
	uint64_t word = 0;

	if (len - i >= 8)
		memcpy(&word, bytes + i, 8);
	else
		memcpy(&word, bytes + i, len - i);
	return word;
}

/*
 * Changes; the caller has the lock of the stripe.
 */

/* A node that is private to the caller. Return: 0, -ENOSPC, -EBADMSG. */
int mproc__dict_node_make(const struct mproc__dict_call *call, const struct mproc__dict_key *key,
			  const struct mproc__dict_value *value, uint64_t *ret_off);

/*
 * Put a value where @spot is.
 * @found:	whether @spot is the key's node
 * @node:	one that mproc__dict_node_make() has made, or 0; becomes 0 if it is used
 *
 * Return: 0, -ENOSPC, -EBADMSG.
 */
int mproc__dict_store(const struct mproc__dict_call *call, const struct mproc__dict_key *key,
		      const struct mproc__dict_spot *spot, bool found,
		      const struct mproc__dict_value *value, uint64_t *node);

/* Return: 0, or -ESTALE if the block was not in use: somebody has scribbled over it. */
int mproc__dict_unlink(const struct mproc__dict_call *call, struct mproc__dict_stripe *s,
		       const struct mproc__dict_spot *spot);

/* Make buckets twice as many as there are items, a few at a time. */
void mproc__dict_grow(const struct mproc__dict_call *call, struct mproc__dict_stripe *s);

/* Free all of the stripe, buckets too if @whole. Return: nodes freed, -EBADMSG, -ENOMEM. */
int64_t mproc__dict_empty(const struct mproc__dict_call *call, struct mproc__dict_stripe *s,
			  bool whole);

/* The ways to a handle, for whoever is built of a dict. */
struct mproc__dict_spec {
	const char *noun;
	uint32_t kind;
	const char *name;
	const struct mproc_ref *ref;
	const struct mproc_dict_opts *opts;
	enum mproc__dict_way {
		MPROC__DICT_CREATE,
		MPROC__DICT_OPEN,
		MPROC__DICT_OPEN_OR_CREATE,
		MPROC__DICT_OPEN_REF,
	} way;
};

int mproc__dict_handle(mproc_dict **ret, mproc_segment *segment,
		       const struct mproc__dict_spec *spec);

extern const struct mproc__kind mproc__kind_dict;
extern const struct mproc__kind mproc__kind_namespace;

#endif /* MPROC__DICT_H */
