/* SPDX-License-Identifier: MIT */

/*
 * Reading a dict: no lock is taken
 *
 * A reader notes the version of the stripe, walks the chain, copies the value, and
 * looks at the version again: if it is another one, what he has may be torn, and he
 * begins anew (as in a sequence lock, but a writer never makes him wait: versions have
 * no odd half). What he follows meanwhile may be free and anybody's, so every offset is
 * checked, and every walk looks at the version now and then. Where writers are so busy
 * that he comes to nothing he takes the lock, and nobody changes anything while he reads.
 *
 * Nothing here writes the dict, but for the lock then; killed, one leaves nothing.
 *
 * Who may only read the segment cannot take the lock, and is not waited for when the dict
 * is removed. He looks whether it is there each time he has read, gives way to writers, and
 * gives up where they leave him no gap.
 */

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>

#include <mproc/error.h>

#include "ipc/any.h"
#include "ipc/error.h"
#include "shm/dict.h"

#define TRIES   64 /* without the lock, before it is taken */
#define LOCK_MS 10 /* who has it that long stands still, and changes nothing */

/* Of those who cannot take it; most of them after a sched_yield(). */
#define TRIES_READ_ONLY 4096

/* How a read goes on. */
struct reading {
	const struct mproc__dict_call *call;
	struct mproc__dict_stripe *s;
	uint64_t version;
	uint32_t tries;
	bool locked;
};

/* Try, once more: from here on what is read counts. */
static void begin(struct reading *r)
{
	if (++r->tries > TRIES && !r->call->me)
		sched_yield();
	else if (r->tries > TRIES && !r->locked)
		r->locked = mproc__dict_lock(r->call, r->s, mproc_after_ms(LOCK_MS)) == 0;
	r->version = mproc__dict_version(r->s);
}

/* The same for who only looks. */
static bool end_reader(const struct reading *r, bool whole, int *result)
{
	const mproc_dict *d = r->call->d;

	/* The fence of is_whole() stands between what was read and this look. */
	if (mproc__object_check(d->segment, &d->object) < 0)
		*result = -ESTALE;
	else if (!whole && r->tries >= TRIES_READ_ONLY)
		*result = -EBUSY;
	else
		return whole;
	return true;
}

/* Return: was what has been read whole? Then the reading is over, with @result. */
static bool end(struct reading *r, int *result)
{
	bool whole = mproc__dict_is_whole(r->s, r->version);

	if (__builtin_expect(!r->call->me, 0))
		return end_reader(r, whole, result);
	if (!whole)
		return false;
	if (r->locked)
		mproc__dict_unlock(r->call, r->s);
	return true;
}

int mproc__dict_read(const struct mproc__dict_call *call, const struct mproc__dict_key *key,
		     struct mproc__dict_out *out, const struct mproc__dict_value *value)
{
	struct reading reading = { .call = call, .s = key->stripe };
	const mproc_dict *d = call->d;
	struct mproc__dict_spot spot;
	int r;

	do {
		begin(&reading);
		r = mproc__dict_seek(d, key, reading.version, &spot);
		if (r == 0)
			r = -ENOENT;
		else if (r > 0)
			r = value ? mproc__dict_same(d, key->stripe, &spot, value)
				  : mproc__dict_take(d, key->stripe, &spot, out);
	} while (!end(&reading, &r));
	return r;
}

/* The result of a read as the caller gets it. */
static int told(const mproc_dict *d, const struct mproc__dict_out *out, int r)
{
	if (r == -ENOBUFS)
		return mproc__fail(r, "%s %s: a value of %zu bytes, there is room for %zu", d->noun,
				   d->name, out->len, out->cap);
	if (r == -ESTALE)
		return mproc__fail(r, "%s %s: it is gone", d->noun, d->name);
	if (r == -EBUSY)
		return mproc__fail(r, "%s %s: it changed each of the %d times it was looked at",
				   d->noun, d->name, TRIES_READ_ONLY);
	return r;
}

static int get(mproc_dict *d, const void *key, size_t key_len, struct mproc__dict_out *out)
{
	struct mproc__dict_call call;
	struct mproc__dict_key k;
	int r;

	r = mproc__dict_key_make(d, key, key_len, &k);
	if (r < 0)
		return r;
	r = mproc__dict_enter_reader(d, &call);
	if (r < 0)
		return r;
	r = mproc__dict_read(&call, &k, out, NULL);
	mproc__dict_leave(&call);
	return r == -EBADMSG || r == -ENOMEM ? mproc__dict_bad(d, r) : r;
}

/* What @out has got as a value. Return: 0, or -EBADMSG with a text. */
static int any_of(const mproc_dict *d, const struct mproc__dict_out *out, struct mproc_any *ret)
{
	bool long_kind = out->kind == MPROC_ANY_STR || out->kind == MPROC_ANY_BYTES ||
			 out->kind == MPROC_ANY_PACK;

	if (mproc__any_from(out->kind, long_kind ? out->buf : out->small, out->len, ret) < 0)
		return mproc__fail(-EBADMSG, "%s %s: a value of kind %" PRIu32 " and %zu bytes",
				   d->noun, d->name, out->kind, out->len);
	return 0;
}

int mproc_dict_get(mproc_dict *dict, const void *key, size_t key_len, void *buf, size_t cap,
		   size_t *ret_len)
{
	struct mproc__dict_out out = { .buf = buf, .cap = cap };
	int r = get(dict, key, key_len, &out);

	if ((r == 0 || r == -ENOBUFS) && ret_len)
		*ret_len = out.len;
	return told(dict, &out, r);
}

int mproc_dict_get_any(mproc_dict *dict, const void *key, size_t key_len, struct mproc_any *ret,
		       void *buf, size_t cap, size_t *ret_len)
{
	struct mproc__dict_out out = { .buf = buf, .cap = cap, .any = true };
	int r = get(dict, key, key_len, &out);

	if ((r == 0 || r == -ENOBUFS) && ret_len)
		*ret_len = out.len;
	return r == 0 ? any_of(dict, &out, ret) : told(dict, &out, r);
}

/* Is it of @kind? Return: 0 or -EPROTO with a text. */
static int of_kind(const mproc_dict *d, const char *key, uint32_t is, uint32_t kind)
{
	if (is == kind)
		return 0;
	return mproc__fail(-EPROTO, "%s %s: %s is of kind %" PRIu32 ", not %" PRIu32, d->noun,
			   d->name, key, is, kind);
}

int mproc_dict_get_scalar(mproc_dict *dict, const char *key, uint32_t kind, struct mproc_any *ret)
{
	struct mproc__dict_out out = { .any = true };
	int r;

	/* There is nowhere to copy their bytes. */
	if (kind == MPROC_ANY_STR || kind == MPROC_ANY_BYTES || kind == MPROC_ANY_PACK)
		return mproc__fail(-EINVAL, "%s %s: get_scalar: kind %" PRIu32 " has bytes",
				   dict->noun, dict->name, kind);
	r = get(dict, key, strlen(key), &out);
	if (r == 0 || r == -ENOBUFS)
		r = of_kind(dict, key, out.kind, kind);
	return r == 0 ? any_of(dict, &out, ret) : told(dict, &out, r);
}

int mproc_dict_get_str(mproc_dict *dict, const char *key, char *buf, size_t cap)
{
	struct mproc__dict_out out = { .buf = buf, .cap = cap ? cap - 1 : 0, .any = true };
	int r = get(dict, key, strlen(key), &out);

	if (r == 0 && !cap)
		r = -ENOBUFS;
	if ((r == 0 || r == -ENOBUFS) && out.kind != MPROC_ANY_STR)
		r = of_kind(dict, key, out.kind, MPROC_ANY_STR);
	if (r == 0)
		buf[out.len] = '\0';
	return told(dict, &out, r);
}

int mproc_dict_contains(mproc_dict *dict, const void *key, size_t key_len)
{
	struct mproc__dict_out out = { 0 };
	int r = get(dict, key, key_len, &out);

	if (r == 0 || r == -ENOBUFS)
		return 1;
	return r == -ENOENT ? 0 : told(dict, &out, r);
}

/*
 * Iteration
 */

/* Where an iterator stands, read once and checked: it is the caller's. */
static bool cursor(const mproc_dict *d, const struct mproc_dict_iter *it, uint64_t *ret_order,
		   struct mproc__dict_key *ret)
{
	if (!it->key_len || it->key_len > MPROC_DICT_KEY_MAX)
		return false;
	*ret = (struct mproc__dict_key){ .bytes = it->key,
					 .len = it->key_len,
					 .stripe = &d->shared->stripes[it->stripe] };
	*ret_order = it->order;
	return true;
}

static void copy_key(const struct mproc__dict_spot *spot, unsigned char *to, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t word =
			atomic_load_explicit(&spot->node->words[i / 8], memory_order_relaxed);

		memcpy(to + i, &word, len - i < 8 ? len - i : 8);
	}
}

/*
 * Does @to come behind the place of @order and @key, as entries are ordered? If not, nodes
 * were scribbled into a circle, and a caller would never come to the end.
 */
static bool is_forward(uint64_t order, const struct mproc__dict_key *key,
		       const struct mproc_dict_iter *to)
{
	if (to->order != order || !key)
		return to->order >= order;
	if (to->key_len != key->len)
		return to->key_len > key->len;
	for (size_t i = 0; i < key->len; i += 8) {
		uint64_t is = mproc__dict_word(to->key, key->len, i);
		uint64_t was = mproc__dict_word(key->bytes, key->len, i);

		if (is != was)
			return is > was;
	}
	return false;
}

/*
 * The next entry of the iterator's stripe: its key, and its value if @out is not NULL.
 *
 * Return: 1, 0, -ENOBUFS, -EBADMSG, -ENOMEM.
 */
static int next_in_stripe(const struct mproc__dict_call *call, const struct mproc_dict_iter *it,
			  struct mproc__dict_out *out, struct mproc_dict_iter *to)
{
	const mproc_dict *d = call->d;
	struct reading reading = { .call = call, .s = &d->shared->stripes[it->stripe] };
	struct mproc__dict_spot spot;
	struct mproc__dict_key key;
	uint64_t order = 0;
	bool behind = cursor(d, it, &order, &key);
	int r, took;

	do {
		begin(&reading);
		r = mproc__dict_seek_next(d, reading.s, order, behind ? &key : NULL,
					  reading.version, &spot);
		if (r <= 0)
			continue;
		took = out ? mproc__dict_take(d, reading.s, &spot, out) : 0;
		if (took < 0) {
			r = took;
			continue;
		}
		spot.meta = mproc__dict_load(&spot.node->meta);
		to->key_len = (uint32_t)mproc__dict_key_len(spot.meta);
		to->order = mproc__dict_load(&spot.node->order);
		if (!mproc__dict_meta_check(spot.meta) ||
		    !mproc__dict_block_at(d, spot.off, mproc__dict_node_bytes(to->key_len, 0))) {
			r = -EBADMSG;
			continue;
		}
		copy_key(&spot, to->key, to->key_len);
		if (!is_forward(order, behind ? &key : NULL, to))
			r = -EBADMSG;
	} while (!end(&reading, &r));
	return r;
}

static int next(mproc_dict *d, struct mproc_dict_iter *it, struct mproc__dict_out *out)
{
	const struct mproc__dict_out none = { 0 };
	struct mproc_dict_iter at = *it, to;
	struct mproc__dict_call call;
	int r;

	r = mproc__dict_enter_reader(d, &call);
	if (r < 0)
		return r;
	for (r = 0; at.stripe < d->geometry.n_stripes; at.stripe++) {
		to = at;
		r = next_in_stripe(&call, &at, out, &to);
		if (r != 0)
			break;
		at.key_len = 0;
	}
	mproc__dict_leave(&call);
	if (r > 0)
		*it = to;
	if (r == -EBADMSG || r == -ENOMEM)
		return mproc__dict_bad(d, r);
	return told(d, out ? out : &none, r);
}

int mproc_dict_next(mproc_dict *dict, struct mproc_dict_iter *it, struct mproc_any *ret, void *buf,
		    size_t cap, size_t *ret_len)
{
	struct mproc__dict_out out = { .buf = buf, .cap = cap, .any = true };
	struct mproc_dict_iter was;
	int r;

	if (!ret)
		return next(dict, it, NULL);
	was = *it;
	r = next(dict, it, &out);
	if ((r > 0 || r == -ENOBUFS) && ret_len)
		*ret_len = out.len;
	if (r > 0 && any_of(dict, &out, ret) < 0) {
		*it = was;
		r = -EBADMSG;
	}
	return r;
}

int64_t mproc_dict_len(mproc_dict *dict)
{
	struct mproc_dict_stats stats;
	int r = mproc_dict_stats(dict, &stats);

	return r < 0 ? r : (int64_t)stats.n_items;
}

int mproc_dict_stats(mproc_dict *dict, struct mproc_dict_stats *ret)
{
	struct mproc__dict_call call;
	int r;

	r = mproc__dict_enter_reader(dict, &call);
	if (r < 0)
		return r;
	*ret = (struct mproc_dict_stats){ .n_stripes = dict->geometry.n_stripes,
					  .max_items = dict->geometry.max_items };
	for (uint32_t i = 0; i < dict->geometry.n_stripes; i++) {
		struct mproc__dict_stripe *s = &dict->shared->stripes[i];

		ret->n_items += atomic_load_explicit(&s->n_items, memory_order_relaxed);
		ret->n_buckets += atomic_load_explicit(&s->n_buckets, memory_order_relaxed);
		ret->n_changes += atomic_load_explicit(&s->n_changes, memory_order_relaxed);
	}
	ret->n_items &= INT64_MAX;
	if (!call.me)
		return mproc__object_look(dict->segment, &dict->object, dict->noun, dict->name);
	mproc__dict_leave(&call);
	return 0;
}

/*
 * Waiting
 */

struct waiting {
	const struct mproc__dict_call *call;
	const struct mproc__dict_key *key;
	const struct mproc__dict_value *seen; /* or NULL */
};

static int try_wait(void *arg)
{
	const struct waiting *w = arg;
	struct mproc__dict_out out = { 0 };
	mproc_dict *d = w->call->d;
	int r;

	if (mproc__object_check(d->segment, &d->object) < 0)
		return -ESTALE;
	r = mproc__dict_read(w->call, w->key, &out, w->seen);
	if (r == -EBADMSG || r == -ENOMEM)
		return r;
	if (w->seen)
		return r == 1 ? -EAGAIN : 0;
	return r == -ENOENT ? -EAGAIN : 0;
}

int mproc_dict_wait(mproc_dict *dict, const void *key, size_t key_len, const struct mproc_any *seen,
		    int64_t deadline)
{
	struct mproc__dict_value value = { 0 };
	struct mproc__dict_call call;
	struct mproc__dict_key k;
	struct waiting w = { .call = &call, .key = &k, .seen = seen ? &value : NULL };
	int r;

	if (deadline < 0)
		return mproc__fail(-EINVAL, "%s %s: wait: a negative deadline", dict->noun,
				   dict->name);
	if (seen) {
		value.kind = seen->kind;
		if (mproc__any_bytes(seen, &value.bytes, &value.len) < 0)
			return mproc__fail(-EINVAL, "%s %s: wait: kind %" PRIu32 " is none",
					   dict->noun, dict->name, seen->kind);
	}
	r = mproc__dict_key_make(dict, key, key_len, &k);
	if (r < 0)
		return r;
	r = mproc__dict_enter(dict, &call);
	if (r < 0)
		return r;
	r = mproc__waitable_wait(&k.stripe->waitable, call.me, dict->what, deadline, NULL, try_wait,
				 &w);
	mproc__dict_leave(&call);
	/* Where the segment was truncated there is nothing, and nothing is what one finds. */
	if (r == -ESTALE && !mproc__range_is_spoilt(dict->segment->range))
		return mproc__fail(r, "%s %s: it is gone", dict->noun, dict->name);
	return r == -ESTALE || r == -EBADMSG || r == -ENOMEM ? mproc__dict_bad(dict, r) : r;
}
