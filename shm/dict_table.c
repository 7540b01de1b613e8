/* SPDX-License-Identifier: MIT */

/*
 * One stripe of a dict: chains, and how they change
 *
 * Who has the stripe's lock writes; readers take none. What they follow is always
 * whole: a node is linked, unlinked or put in another's place by one store, and is not
 * changed after that but for its next, and for its value as follows:
 *
 *	- 8 bytes for 8 bytes of the same kind: one store
 *	- up to 64 bytes that fit in the node: the new value is written to the stage, staged
 *	  names the node (the commit; from here on the stage is what readers take), the
 *	  node is written, staged = 0
 *
 * The version tells readers that what they read may have been torn, freed or moved: it
 * is changed after each commit and before anything is freed or written over. Who finds
 * another one than he began with reads again; so a writer who stands still, or is dead,
 * never keeps a reader.
 *
 * The log. Blocks are private to their maker until they are published, and published
 * blocks are nobody's until they are linked. Who links or unlinks writes down which,
 * with their generations, and sets busy; then
 *
 *	insert		publish N	link = N		n_items + 1
 *	replace		publish N	link = N (N.next = O.next)	version	free O
 *	remove				link = O.next	n_items - 1	version	free O
 *	part of buckets	publish T	parts[i] = T
 *
 * and busy = 0. Instead of freeing O a stripe may keep it: spare = O; and N may be the
 * spare, which is published already: then spare = O or 0 comes after the link. The log
 * has no generation for a block that is not to be freed. What was a spare is written
 * over only after the version has changed since it was linked. Killed anywhere, the heir of the
 *lock looks which of the blocks are linked: those that are stay, those that are not are freed if
 *they still are the ones of that generation; and n_items follows. A block that still was private is
 *freed by the arena's reaper. All this may be done twice.
 *
 * Splitting bucket p, whose chain from node X on belongs to the new bucket n:
 *
 *	bucket[n] = X	n_buckets = n + 1: the commit	version		cut the chain before X
 *
 * Killed before the commit nothing has happened; after it, the heir cuts. Until then
 * whoever walks p comes to nodes that are greater than all of p's, and stops.
 *
 * Everything may be scribbled over: offsets are checked before they are followed, and
 * walks are no longer than there are blocks.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ipc/error.h"
#include "shm/arena.h"
#include "shm/arena_layout.h"
#include "shm/dict.h"

enum { LOG_NEW, LOG_OLD, LOG_PART };

/* A kill exposes a prefix of program order: this is all the order that the log needs. */
static inline void in_order(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

/*
 * The log
 */

static void log_set(const mproc_dict *d, struct mproc__dict_stripe *s, uint32_t i, uint64_t off,
		    bool may_free)
{
	mproc__dict_set(&s->log[i].off, off);
	if (off)
		mproc__dict_set(&s->log[i].generation,
				may_free ? mproc__arena_generation_of(d->segment, off) : 0);
}

static void log_begin(struct mproc__dict_stripe *s, uint64_t order)
{
	mproc__dict_set(&s->order, order);
	mproc__dict_set(&s->was, mproc__dict_load(&s->n_items));
	in_order();
	mproc__dict_set(&s->busy, 1);
	in_order();
}

static void log_end(struct mproc__dict_stripe *s)
{
	in_order();
	mproc__dict_set(&s->busy, 0);
}

/* Is the node at @off linked where nodes of @order are? Return: 1, 0, -ENOMEM: not seen. */
static int is_linked(const mproc_dict *d, struct mproc__dict_stripe *s, uint64_t off,
		     uint64_t order)
{
	uint64_t n = mproc__dict_load(&s->n_buckets), steps = 0, at;
	_Atomic(uint64_t) *link;

	if (!n || !off)
		return 0;
	at = mproc__dict_bucket(mproc__dict_reverse(order), n);
	link = mproc__dict_bucket_at(d, s, at);
	if (!link && mproc__dict_no_bucket(d, s, at) == -ENOMEM)
		return -ENOMEM;
	while (link && (at = mproc__dict_load(link)) != 0 && steps++ < mproc__dict_nodes_max(d)) {
		struct mproc__dict_node *node = mproc__dict_block_at(d, at, 64);

		if (at == off)
			return 1;
		if (!node && mproc__dict_unseen(d, at, 64) == -ENOMEM)
			return -ENOMEM;
		link = node && mproc__dict_load(&node->order) <= order ? &node->next : NULL;
	}
	return 0;
}

static bool is_spare(struct mproc__dict_stripe *s, uint64_t off)
{
	return off && (mproc__dict_load(&s->spare) & MPROC__DICT_OFF) == off;
}

static bool is_part(struct mproc__dict_stripe *s, uint64_t off)
{
	for (uint32_t i = 0; i < MPROC__DICT_PARTS; i++)
		if (mproc__dict_load(&s->parts[i]) == off)
			return true;
	return false;
}

static void free_logged(const struct mproc__dict_call *call, struct mproc__dict_stripe *s,
			uint32_t i)
{
	mproc_segment *segment = call->d->segment;
	uint64_t off = mproc__dict_load(&s->log[i].off);

	if (off && mproc__dict_load(&s->log[i].generation) &&
	    mproc__arena_adopt_exact(segment, call->me, off,
				     mproc__dict_load(&s->log[i].generation)) == 0)
		(void)mproc__arena_free(segment, call->me, off);
}

/* The node at @off, which is not linked, becomes the spare. */
static void keep(const mproc_dict *d, struct mproc__dict_stripe *s, uint64_t off)
{
	const struct mproc__dict_node *node = mproc__dict_block_at(d, off, 64);

	if (node)
		mproc__dict_set(&s->spare, off | mproc__dict_class(mproc__dict_load(&node->meta)));
}

/* Return: 0, or -ENOMEM if it cannot be seen which blocks are linked: nothing is done. */
static int finish_log(const struct mproc__dict_call *call, struct mproc__dict_stripe *s)
{
	uint64_t new = mproc__dict_load(&s->log[LOG_NEW].off),
		 old = mproc__dict_load(&s->log[LOG_OLD].off);
	uint64_t order = mproc__dict_load(&s->order),
		 part = mproc__dict_load(&s->log[LOG_PART].off);
	int has_new = is_linked(call->d, s, new, order);
	int has_old = is_linked(call->d, s, old, order);
	char text[MPROC__ERROR_MAX];

	if (has_new < 0 || has_old < 0)
		return -ENOMEM;
	for (uint32_t i = 0; i < MPROC__DICT_LOG; i++) {
		uint64_t off = mproc__dict_load(&s->log[i].off);

		if (off && !mproc__dict_sees(call->d, off))
			return -ENOMEM;
	}
	mproc__error_keep(text);
	mproc__dict_set(&s->n_items, mproc__dict_load(&s->was) + (has_new && !old ? 1 : 0) -
					     (old && !new && !has_old ? 1 : 0));
	if (has_new && is_spare(s, new))
		mproc__dict_set(&s->spare, 0);
	if (!has_new)
		free_logged(call, s, LOG_NEW);
	if (old && !has_old && !mproc__dict_load(&s->log[LOG_OLD].generation))
		keep(call->d, s, old);
	else if (!has_old)
		free_logged(call, s, LOG_OLD);
	if (part && !is_part(s, part) && !is_spare(s, part))
		free_logged(call, s, LOG_PART);
	/* What is somebody else's by now is no failure. */
	mproc__error_put_back(text);
	return 0;
}

/*
 * Repairs
 */

static void write_value(struct mproc__dict_stripe *s, struct mproc__dict_node *node)
{
	uint64_t meta = mproc__dict_load(&s->stage_meta);
	_Atomic(uint64_t) *to = node->words + mproc__dict_words(mproc__dict_key_len(meta));

	mproc__dict_set(&node->meta, meta);
	for (uint64_t i = 0; i < mproc__dict_words(mproc__dict_len(meta)); i++)
		mproc__dict_set(&to[i], mproc__dict_load(&s->stage[i]));
}

static int finish_stage(const mproc_dict *d, struct mproc__dict_stripe *s)
{
	uint64_t off = mproc__dict_load(&s->staged), meta = mproc__dict_load(&s->stage_meta);

	if (off && mproc__dict_meta_check(meta) && mproc__dict_len(meta) <= sizeof(s->stage) &&
	    !(off & 63)) {
		if (mproc__arena_at(d->segment, off, mproc__dict_node_size(meta)))
			write_value(
				s, mproc__segment_at(d->segment, off, mproc__dict_node_size(meta)));
		else if (!mproc__dict_sees(d, off))
			return -ENOMEM;
	}
	atomic_store_explicit(&s->staged, 0, memory_order_release);
	return 0;
}

/* The place in the chain of bucket @at - its highest bit where bucket @at's nodes begin. */
static int find_cut(const mproc_dict *d, struct mproc__dict_stripe *s, uint64_t at,
		    struct mproc__dict_spot *ret)
{
	_Atomic(uint64_t) *link = mproc__dict_bucket_at(d, s, at - mproc__dict_floor(at));

	return link ? mproc__dict_walk(d, s, link, mproc__dict_reverse(at), NULL,
				       mproc__dict_version(s), ret)
		    : mproc__dict_no_bucket(d, s, at - mproc__dict_floor(at));
}

static int finish_split(const mproc_dict *d, struct mproc__dict_stripe *s)
{
	uint64_t n = mproc__dict_load(&s->n_buckets);
	struct mproc__dict_spot spot = { 0 };
	_Atomic(uint64_t) *bucket;
	int r;

	if (n <= d->geometry.base)
		return 0;
	/* Where the cut is to be may be seen, and what comes behind it not. */
	r = find_cut(d, s, n - 1, &spot);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	bucket = mproc__dict_bucket_at(d, s, n - 1);
	if (!bucket)
		return mproc__dict_no_bucket(d, s, n - 1) == -ENOMEM ? -ENOMEM : 0;
	if (spot.off && mproc__dict_load(bucket) == spot.off)
		mproc__dict_set(spot.link, 0);
	return 0;
}

int mproc__dict_repair(const struct mproc__dict_call *call, struct mproc__dict_stripe *s)
{
	int r;

	mproc__dict_bump(s);
	r = finish_stage(call->d, s);
	if (r == 0)
		r = finish_split(call->d, s);
	if (r == 0 && mproc__dict_load(&s->busy))
		r = finish_log(call, s);
	if (r == 0)
		log_end(s);
	return r;
}

int mproc__dict_lock(const struct mproc__dict_call *call, struct mproc__dict_stripe *s,
		     int64_t deadline)
{
	int r = mproc__lock_take(&s->lock, call->me, call->d->what, deadline);

	if (__builtin_expect(r != MPROC__LOCK_INHERITED, 1))
		return r;
	r = mproc__dict_repair(call, s);
	if (r < 0) {
		/* Not known to be whole: nobody may change it before one who sees more has come. */
		mproc__lock_pass_on(&s->lock, call->me);
		return mproc__dict_bad(call->d, r);
	}
	mproc__lock_repaired(&s->lock, call->me);
	return 0;
}

/*
 * Changes
 */

static uint32_t class_for(uint64_t key_len, uint64_t len)
{
	uint64_t size = mproc__dict_node_bytes(key_len, len);

	return size > MPROC__ARENA_SMALL_MAX ? MPROC__DICT_PAGES : mproc__arena_class_of(size);
}

/* Write the node at @off, which nobody else can find. Return: false if it can be none. */
static bool node_write(const mproc_dict *d, uint64_t off, const struct mproc__dict_key *key,
		       const struct mproc__dict_value *value)
{
	struct mproc__dict_node *node =
		mproc__dict_block_at(d, off, mproc__dict_node_bytes(key->len, value->len));
	_Atomic(uint64_t) *to;

	if (!node)
		return false;
	mproc__dict_set(&node->order, key->order);
	mproc__dict_set(&node->meta, mproc__dict_meta(value->kind, class_for(key->len, value->len),
						      key->len, value->len));
	to = node->words;
	for (size_t i = 0; i < key->len; i += 8)
		mproc__dict_set(to++, mproc__dict_word(key->bytes, key->len, i));
	for (size_t i = 0; i < value->len; i += 8)
		mproc__dict_set(to++, mproc__dict_word(value->bytes, value->len, i));
	return true;
}

int mproc__dict_node_make(const struct mproc__dict_call *call, const struct mproc__dict_key *key,
			  const struct mproc__dict_value *value, uint64_t *ret_off)
{
	uint64_t off;
	int r;

	r = mproc__arena_alloc(call->d->segment, call->me,
			       mproc__dict_node_bytes(key->len, value->len), false, &off);
	if (r < 0)
		return r;
	if (!node_write(call->d, off, key, value))
		return mproc__dict_corrupt(call->d);
	*ret_off = off;
	return 0;
}

/* The spare, if it is of the class that is wanted, written; or 0. */
static uint64_t take_spare(const struct mproc__dict_call *call, const struct mproc__dict_key *key,
			   const struct mproc__dict_value *value)
{
	uint64_t spare = mproc__dict_load(&key->stripe->spare);

	if (!spare || (spare & ~MPROC__DICT_OFF) != class_for(key->len, value->len) ||
	    !node_write(call->d, spare & MPROC__DICT_OFF, key, value))
		return 0;
	return spare & MPROC__DICT_OFF;
}

/* Put the value in the node that is there, if it has room. Return: has it? */
static bool replace_in_place(const mproc_dict *d, const struct mproc__dict_spot *spot,
			     const struct mproc__dict_key *key,
			     const struct mproc__dict_value *value)
{
	struct mproc__dict_stripe *s = key->stripe;
	uint32_t class = mproc__dict_class(spot->meta);
	uint64_t meta = mproc__dict_meta(value->kind, class, key->len, value->len);

	if (meta == spot->meta && value->len == 8) {
		/* Release: who reads it may take it for the news that something else is done. */
		atomic_store_explicit(&spot->node->words[mproc__dict_words(key->len)],
				      mproc__dict_word(value->bytes, 8, 0), memory_order_release);
		return true;
	}
	if (value->len > sizeof(s->stage) || class >= MPROC__ARENA_CLASSES ||
	    mproc__dict_node_size(meta) > mproc__arena_class_size(class) ||
	    !mproc__dict_block_at(d, spot->off, mproc__arena_class_size(class)))
		return false;
	/* Who reads the stage of the value before this one reads again. */
	mproc__dict_bump(s);
	mproc__dict_set(&s->stage_meta, meta);
	for (size_t i = 0; i < value->len; i += 8)
		mproc__dict_set(&s->stage[i / 8], mproc__dict_word(value->bytes, value->len, i));
	in_order();
	atomic_store_explicit(&s->staged, spot->off, memory_order_release);
	/* And who has begun to read the node. */
	mproc__dict_bump(s);
	write_value(s, spot->node);
	atomic_store_explicit(&s->staged, 0, memory_order_release);
	return true;
}

/* Is the node at @spot to be kept as the spare when it is unlinked? */
static bool to_keep(struct mproc__dict_stripe *s, const struct mproc__dict_spot *spot, uint64_t new)
{
	return mproc__dict_class(mproc__dict_load(&spot->node->meta)) < MPROC__ARENA_CLASSES &&
	       (!mproc__dict_load(&s->spare) || is_spare(s, new));
}

/* The node at @spot is not linked any more: keep or free it. */
static int let_go(const struct mproc__dict_call *call, struct mproc__dict_stripe *s,
		  const struct mproc__dict_spot *spot, bool to_keep)
{
	mproc__dict_bump(s);
	if (!to_keep)
		return mproc__arena_free(call->d->segment, call->me, spot->off);
	keep(call->d, s, spot->off);
	return 0;
}

static int link_node(const struct mproc__dict_call *call, struct mproc__dict_stripe *s,
		     const struct mproc__dict_spot *spot, bool found, uint64_t off, uint64_t order)
{
	struct mproc__dict_node *node = mproc__dict_block_at(call->d, off, 64);
	bool spare = is_spare(s, off), keeps = found && to_keep(s, spot, off);

	mproc__dict_set(&node->next, found ? mproc__dict_load(&spot->node->next) : spot->off);
	log_set(call->d, s, LOG_NEW, off, !spare);
	log_set(call->d, s, LOG_OLD, found ? spot->off : 0, !keeps);
	log_set(call->d, s, LOG_PART, 0, false);
	log_begin(s, order);
	if (!spare && mproc__arena_publish(call->d->segment, call->me, off) < 0) {
		log_end(s);
		return mproc__dict_corrupt(call->d);
	}
	in_order();
	/* Release: the node stands before it can be found. */
	atomic_store_explicit(spot->link, off, memory_order_release);
	in_order();
	if (spare && !keeps)
		mproc__dict_set(&s->spare, 0);
	if (found)
		(void)let_go(call, s, spot, keeps);
	else
		mproc__dict_set(&s->n_items, mproc__dict_load(&s->n_items) + 1);
	log_end(s);
	return 0;
}

int mproc__dict_unlink(const struct mproc__dict_call *call, struct mproc__dict_stripe *s,
		       const struct mproc__dict_spot *spot)
{
	bool keeps = to_keep(s, spot, 0);
	int r;

	log_set(call->d, s, LOG_NEW, 0, false);
	log_set(call->d, s, LOG_OLD, spot->off, !keeps);
	log_set(call->d, s, LOG_PART, 0, false);
	log_begin(s, mproc__dict_load(&spot->node->order));
	atomic_store_explicit(spot->link, mproc__dict_load(&spot->node->next),
			      memory_order_release);
	in_order();
	mproc__dict_set(&s->n_items, mproc__dict_load(&s->n_items) - 1);
	r = let_go(call, s, spot, keeps);
	log_end(s);
	return r;
}

static void log_part(const mproc_dict *d, struct mproc__dict_stripe *s, uint64_t off)
{
	log_set(d, s, LOG_NEW, 0, false);
	log_set(d, s, LOG_OLD, 0, false);
	log_set(d, s, LOG_PART, off, true);
	log_begin(s, 0);
}

/* The part that bucket @at belongs to is there. Return: 0 or negative. */
static int have_part(const struct mproc__dict_call *call, struct mproc__dict_stripe *s, uint64_t at)
{
	mproc_segment *segment = call->d->segment;
	uint32_t base = call->d->geometry.base;
	uint64_t first, off;
	uint32_t part = mproc__dict_part(at, base, &first);
	int r;

	if (part >= MPROC__DICT_PARTS)
		return -ENOSPC;
	if (mproc__dict_load(&s->parts[part]))
		return 0;
	/* Of the first part all buckets are there at once; of others, each when it is split off. */
	r = mproc__arena_alloc(segment, call->me, mproc__dict_part_buckets(part, base) * 8, !part,
			       &off);
	if (r < 0)
		return r;
	log_part(call->d, s, off);
	r = mproc__arena_publish(segment, call->me, off);
	in_order();
	if (r == 0)
		atomic_store_explicit(&s->parts[part], off, memory_order_release);
	log_end(s);
	return r;
}

/* Split one bucket. Return: false if there is no room for one more. */
static bool split(const struct mproc__dict_call *call, struct mproc__dict_stripe *s)
{
	uint64_t n = mproc__dict_load(&s->n_buckets), more = 2 * mproc__dict_load(&s->n_items) - n,
		 first;
	uint32_t part = mproc__dict_part(n, call->d->geometry.base, &first);
	struct mproc__dict_spot spot;
	char text[MPROC__ERROR_MAX];
	_Atomic(uint64_t) *bucket;

	if (part >= MPROC__DICT_PARTS)
		return false;
	if (!mproc__dict_load(&s->parts[part])) {
		/* Where there is no room asking is slow: ask ever more seldom. */
		if (more & (more - 1))
			return false;
		mproc__error_keep(text);
		if (have_part(call, s, n) < 0) {
			mproc__error_put_back(text);
			return false;
		}
	}
	bucket = mproc__dict_bucket_at(call->d, s, n);
	if (!bucket || find_cut(call->d, s, n, &spot) < 0)
		return false;
	mproc__dict_set(bucket, spot.off);
	in_order();
	atomic_store_explicit(&s->n_buckets, n + 1, memory_order_release);
	/* Who looks with the old number for what is cut off looks again. */
	mproc__dict_bump(s);
	mproc__dict_set(spot.link, 0);
	return true;
}

void mproc__dict_grow(const struct mproc__dict_call *call, struct mproc__dict_stripe *s)
{
	/* Twice as many buckets as items, and more than two at a time to catch up. */
	for (int i = 0;
	     i < 3 && 2 * mproc__dict_load(&s->n_items) > mproc__dict_load(&s->n_buckets); i++)
		if (!split(call, s))
			return; /* the chains get longer: no failure */
}

int mproc__dict_store(const struct mproc__dict_call *call, const struct mproc__dict_key *key,
		      const struct mproc__dict_spot *spot, bool found,
		      const struct mproc__dict_value *value, uint64_t *node)
{
	struct mproc__dict_stripe *s = key->stripe;
	struct mproc__dict_spot place = *spot;
	uint64_t off = *node;
	int r;

	if (found && replace_in_place(call->d, spot, key, value))
		return 0;
	if (!mproc__dict_load(&s->n_buckets)) {
		r = have_part(call, s, 0);
		if (r < 0)
			return r;
		atomic_store_explicit(&s->n_buckets, call->d->geometry.base, memory_order_release);
		if (mproc__dict_seek(call->d, key, mproc__dict_version(s), &place) < 0)
			return mproc__dict_corrupt(call->d);
	}
	if (!off)
		off = take_spare(call, key, value);
	if (!off) {
		r = mproc__dict_node_make(call, key, value, &off);
		if (r < 0)
			return r;
	}
	r = link_node(call, s, &place, found, off, key->order);
	if (r < 0) {
		(void)mproc__arena_free(call->d->segment, call->me, off);
		*node = 0;
		return r;
	}
	*node = 0;
	if (!found)
		mproc__dict_grow(call, s);
	return 0;
}

/* Free the block that @word alone refers to. */
static int free_word(const struct mproc__dict_call *call, struct mproc__dict_stripe *s,
		     _Atomic(uint64_t) *word)
{
	uint64_t off = mproc__dict_load(word) & MPROC__DICT_OFF;

	if (!off)
		return 0;
	if (!mproc__dict_sees(call->d, off))
		return mproc__dict_bad(call->d, -ENOMEM);
	log_part(call->d, s, off);
	mproc__dict_set(word, 0);
	in_order();
	(void)mproc__arena_free(call->d->segment, call->me, off);
	log_end(s);
	return 0;
}

int64_t mproc__dict_empty(const struct mproc__dict_call *call, struct mproc__dict_stripe *s,
			  bool whole)
{
	const mproc_dict *d = call->d;
	uint64_t n = mproc__dict_load(&s->n_buckets);
	struct mproc__dict_spot spot;
	int64_t freed = 0;
	int r;

	for (uint64_t at = 0; at < n; at++) {
		_Atomic(uint64_t) *bucket = mproc__dict_bucket_at(d, s, at);

		if (!bucket)
			return mproc__dict_bad(d, mproc__dict_no_bucket(d, s, at));
		while ((spot.off = mproc__dict_load(bucket)) != 0) {
			spot.link = bucket;
			spot.node = mproc__dict_block_at(d, spot.off, 64);
			if (!spot.node)
				return mproc__dict_bad(d, mproc__dict_unseen(d, spot.off, 64));
			if (!mproc__dict_sees(d, spot.off))
				return mproc__dict_bad(d, -ENOMEM);
			/* A chain that is a circle leads to what is free already. */
			if ((uint64_t)freed > mproc__dict_nodes_max(d) ||
			    mproc__dict_unlink(call, s, &spot) < 0)
				return mproc__dict_corrupt(d);
			freed++;
		}
	}
	if (!whole)
		return freed;
	/* In this order: killed, or short of addresses, the next one finds what is left. */
	r = free_word(call, s, &s->spare);
	if (r == 0)
		mproc__dict_set(&s->n_buckets, 0);
	for (uint32_t i = 0; r == 0 && i < MPROC__DICT_PARTS; i++)
		r = free_word(call, s, &s->parts[i]);
	return r < 0 ? r : freed;
}
