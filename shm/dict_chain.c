/* SPDX-License-Identifier: MIT */

/*
 * Finding an entry of a dict, and its value
 *
 * Who has no lock may be led anywhere: every offset is checked before it is followed,
 * and walks end, also in a circle. What he has got counts only if the version of the
 * stripe is still the one he began with; see dict_read.c. Nothing here writes.
 */

#include <errno.h>
#include <string.h>

#include "ipc/error.h"
#include "shm/arena.h"
#include "shm/arena_layout.h"
#include "shm/dict.h"

/* Bytes of the segment up to the end of the arena, as that says: it need not be true. */
static uint64_t arena_end(const mproc_dict *d)
{
	const struct mproc__arena_place *at = &d->segment->arena_at;
	uint64_t n = atomic_load_explicit(&at->arena->n_pages, memory_order_relaxed);

	return at->off + (n < at->n_pages_max ? n : at->n_pages_max) * MPROC__ARENA_PAGE;
}

bool mproc__dict_sees_all(const mproc_dict *d)
{
	uint64_t off = d->segment->arena_at.off;

	return mproc__range_has(d->segment->range, off, arena_end(d) - off);
}

int mproc__dict_unseen(const mproc_dict *d, uint64_t off, uint64_t len)
{
	uint64_t end = arena_end(d);

	if ((off & 63) || off < d->segment->arena_at.off || off >= end || len > end - off ||
	    mproc__range_has(d->segment->range, off, len))
		return -EBADMSG;
	return -ENOMEM;
}

int mproc__dict_no_bucket(const mproc_dict *d, struct mproc__dict_stripe *s, uint64_t at)
{
	uint64_t first;
	uint32_t part = mproc__dict_part(at, d->geometry.base, &first);

	if (part >= MPROC__DICT_PARTS)
		return -EBADMSG;
	return mproc__dict_unseen(d, mproc__dict_load(&s->parts[part]),
				  mproc__dict_part_buckets(part, d->geometry.base) * 8);
}

bool mproc__dict_sees(const mproc_dict *d, uint64_t off)
{
	/* Whether a small block is in use is said in a table, which lies anywhere. */
	return mproc__dict_sees_all(d) ||
	       (mproc__range_has(d->segment->range, off, 64) && mproc__arena_len(d->segment, off));
}

int mproc__dict_bad(const mproc_dict *d, int r)
{
	if (mproc__range_is_spoilt(d->segment->range))
		return mproc__range_refuse(d->noun);
	if (r != -ENOMEM)
		return mproc__dict_corrupt(d);
	return mproc__fail(r,
			   "%s %s: it has entries behind the first %zu bytes of the segment, and "
			   "this process has no more addresses",
			   d->noun, d->name, d->segment->range->size);
}

int mproc__dict_corrupt(const mproc_dict *d)
{
	return mproc__fail(-EBADMSG, "%s %s: a chain of its entries is impossible", d->noun,
			   d->name);
}

/* Compare the node's key with @key, of the same order. Return: <0, 0, >0; 2: cannot be. */
static int compare(const mproc_dict *d, uint64_t off, const struct mproc__dict_node *node,
		   uint64_t meta, const struct mproc__dict_key *key)
{
	uint64_t len = mproc__dict_key_len(meta);

	if (!mproc__dict_meta_check(meta) ||
	    !mproc__dict_block_at(d, off, mproc__dict_node_size(meta)))
		return 2;
	if (len != key->len)
		return len < key->len ? -1 : 1;
	for (size_t i = 0; i < len; i += 8) {
		uint64_t is = mproc__dict_load(&node->words[i / 8]);
		uint64_t want = mproc__dict_word(key->bytes, len, i);

		if (is != want)
			return is < want ? -1 : 1;
	}
	return 0;
}

int mproc__dict_walk(const mproc_dict *d, struct mproc__dict_stripe *s, _Atomic(uint64_t) *link,
		     uint64_t order, const struct mproc__dict_key *key, uint64_t version,
		     struct mproc__dict_spot *ret)
{
	for (uint64_t steps = 1;; steps++) {
		uint64_t off = atomic_load_explicit(link, memory_order_acquire), is;
		struct mproc__dict_node *node;
		int c;

		ret->link = link;
		ret->off = off;
		ret->node = NULL;
		if (!off)
			return 0;
		node = mproc__dict_block_at(d, off, 64);
		if (!node)
			return mproc__dict_unseen(d, off, 64);
		ret->node = node;
		ret->meta = mproc__dict_load(&node->meta);
		is = mproc__dict_load(&node->order);
		if (is > order || (is == order && !key))
			return 0;
		if (is == order) {
			c = compare(d, off, node, ret->meta, key);
			if (c == 2 && mproc__dict_meta_check(ret->meta))
				return mproc__dict_unseen(d, off, mproc__dict_node_size(ret->meta));
			if (c == 2)
				return -EBADMSG;
			if (c >= 0)
				return c == 0;
		}
		/* A reader may be led astray, and a scribbled chain be a circle. */
		if (__builtin_expect(steps % 256 == 0, 0) &&
		    (mproc__dict_version(s) != version || steps > mproc__dict_nodes_max(d)))
			return -EBADMSG;
		link = &node->next;
	}
}

int mproc__dict_seek(const mproc_dict *d, const struct mproc__dict_key *key, uint64_t version,
		     struct mproc__dict_spot *ret)
{
	struct mproc__dict_stripe *s = key->stripe;
	uint64_t n = mproc__dict_n_buckets(s);
	_Atomic(uint64_t) *bucket;

	*ret = (struct mproc__dict_spot){ 0 };
	if (!n)
		return 0;
	bucket = mproc__dict_bucket_at(d, s, mproc__dict_bucket(key->hash, n));
	return bucket ? mproc__dict_walk(d, s, bucket, key->order, key, version, ret)
		      : mproc__dict_no_bucket(d, s, mproc__dict_bucket(key->hash, n));
}

int mproc__dict_seek_next(const mproc_dict *d, struct mproc__dict_stripe *s, uint64_t order,
			  const struct mproc__dict_key *key, uint64_t version,
			  struct mproc__dict_spot *ret)
{
	uint64_t n = mproc__dict_n_buckets(s);
	int r;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = mproc__dict_bucket(mproc__dict_reverse(order), n);
		uint32_t bits = mproc__dict_bucket_bits(at, n);
		_Atomic(uint64_t) *bucket = mproc__dict_bucket_at(d, s, at);

		if (!bucket)
			return mproc__dict_no_bucket(d, s, at);
		r = mproc__dict_walk(d, s, bucket, order, key, version, ret);
		if (r == 1) /* the last one itself: the next is behind it */
			r = mproc__dict_walk(d, s, &ret->node->next, order, NULL, version, ret);
		if (r < 0)
			return r;
		/* A chain that is not cut yet goes on in the next bucket: it comes from there. */
		if (ret->off && (!bits || mproc__dict_load(&ret->node->order) >> (64 - bits) ==
						  order >> (64 - bits)))
			return 1;
		if (!bits)
			return 0;
		order = ((order >> (64 - bits)) + 1) << (64 - bits);
		key = NULL;
		if (!order)
			return 0;
		if (i % 256 == 255 && mproc__dict_version(s) != version)
			return -EBADMSG;
	}
	return 0;
}

/*
 * Values
 */

/* The value's words and meta as they are now. Return: NULL if they are impossible. */
static const _Atomic(uint64_t) *value_at(const mproc_dict *d, struct mproc__dict_stripe *s,
					 const struct mproc__dict_spot *spot, uint64_t *ret_meta)
{
	/* Acquire: if it is 0 now, the node was written before. */
	uint64_t staged = atomic_load_explicit(&s->staged, memory_order_acquire);
	uint64_t meta = mproc__dict_load(staged == spot->off ? &s->stage_meta : &spot->node->meta);

	*ret_meta = meta;
	if (!mproc__dict_meta_check(meta))
		return NULL;
	if (staged == spot->off)
		return mproc__dict_len(meta) <= sizeof(s->stage) ? s->stage : NULL;
	if (!mproc__dict_block_at(d, spot->off, mproc__dict_node_size(meta)))
		return NULL;
	return spot->node->words + mproc__dict_words(mproc__dict_key_len(meta));
}

int mproc__dict_take(const mproc_dict *d, struct mproc__dict_stripe *s,
		     const struct mproc__dict_spot *spot, struct mproc__dict_out *out)
{
	unsigned char *to = out->buf;
	size_t cap = out->cap, len;
	const _Atomic(uint64_t) *words;
	uint64_t meta;

	words = value_at(d, s, spot, &meta);
	if (!words)
		return mproc__dict_meta_check(meta)
			       ? mproc__dict_unseen(d, spot->off, mproc__dict_node_size(meta))
			       : -EBADMSG;
	out->kind = mproc__dict_kind(meta);
	out->len = len = mproc__dict_len(meta);
	if (out->any && out->kind != MPROC_ANY_STR && out->kind != MPROC_ANY_BYTES &&
	    out->kind != MPROC_ANY_PACK) {
		to = out->small;
		cap = sizeof(out->small);
		if (len > cap)
			return -EBADMSG;
	}
	if (len > cap)
		return -ENOBUFS;
	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = mproc__dict_load(&words[i / 8]);

		if (len - i >= 8)
			memcpy(to + i, &word, 8);
		else
			memcpy(to + i, &word, len - i);
	}
	return 0;
}

int mproc__dict_same(const mproc_dict *d, struct mproc__dict_stripe *s,
		     const struct mproc__dict_spot *spot, const struct mproc__dict_value *value)
{
	const _Atomic(uint64_t) *words;
	uint64_t meta;

	words = value_at(d, s, spot, &meta);
	if (!words)
		return mproc__dict_meta_check(meta)
			       ? mproc__dict_unseen(d, spot->off, mproc__dict_node_size(meta))
			       : -EBADMSG;
	if (mproc__dict_kind(meta) != value->kind || mproc__dict_len(meta) != value->len)
		return 0;
	for (size_t i = 0; i < value->len; i += 8)
		if (mproc__dict_load(&words[i / 8]) !=
		    mproc__dict_word(value->bytes, value->len, i))
			return 0;
	return 1;
}
