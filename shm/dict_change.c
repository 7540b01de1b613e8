/* SPDX-License-Identifier: MIT */

/*
 * What changes a dict: one entry at a time, under the lock of its stripe
 *
 * What a kill leaves is said in dict_table.c: each change below is one of its commits.
 * A value that is too long to be replaced where it lies is copied to a node of its own
 * before the lock is taken, so nobody waits for the copying.
 */

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/any.h"
#include "ipc/error.h"
#include "shm/arena.h"
#include "shm/arena_layout.h"
#include "shm/dict.h"

/* A change on its way: the lock is held from begin() to end(). */
struct change {
	struct mproc__dict_call call;
	struct mproc__dict_key key;
	struct mproc__dict_spot spot;
	bool found;
	bool changed;
	uint64_t node; /* made before, and not used yet; or 0 */
};

/* Return: 0, -EINVAL or -EMSGSIZE with a text. */
static int value_make(const mproc_dict *d, const struct mproc_any *any,
		      struct mproc__dict_value *ret)
{
	ret->kind = any->kind;
	if (mproc__any_bytes(any, &ret->bytes, &ret->len) < 0)
		return mproc__fail(-EINVAL, "%s %s: a value of kind %" PRIu32 " is impossible",
				   d->noun, d->name, any->kind);
	if (ret->len > MPROC_DICT_VALUE_MAX)
		return mproc__fail(-EMSGSIZE,
				   "%s %s: a value of %zu bytes, at most %" PRIu64 " are possible",
				   d->noun, d->name, ret->len, MPROC_DICT_VALUE_MAX);
	return 0;
}

/* @value: what is likely to be stored, or NULL */
static int begin(mproc_dict *d, const void *key, size_t key_len,
		 const struct mproc__dict_value *value, struct change *ret)
{
	int r;

	ret->changed = false;
	ret->node = 0;
	r = mproc__dict_key_make(d, key, key_len, &ret->key);
	if (r < 0)
		return r;
	r = mproc__dict_enter(d, &ret->call);
	if (r < 0)
		return r;
	if (value && value->len > MPROC__ARENA_SMALL_MAX / 2) {
		r = mproc__dict_node_make(&ret->call, &ret->key, value, &ret->node);
		if (r < 0)
			goto err_leave;
	}
	r = mproc__dict_lock(&ret->call, ret->key.stripe, MPROC_FOREVER);
	if (r < 0)
		goto err_free;
	r = mproc__dict_seek(d, &ret->key, mproc__dict_version(ret->key.stripe), &ret->spot);
	/* What cannot be freed cannot be replaced or removed. */
	if (r > 0 && !mproc__dict_sees(d, ret->spot.off))
		r = -ENOMEM;
	if (r < 0) {
		mproc__dict_unlock(&ret->call, ret->key.stripe);
		r = mproc__dict_bad(d, r);
		goto err_free;
	}
	ret->found = r;
	return 0;

err_free:
	if (ret->node)
		(void)mproc__arena_free(d->segment, ret->call.me, ret->node);
err_leave:
	mproc__dict_leave(&ret->call);
	return r;
}

static int end(struct change *c, int r)
{
	struct mproc__dict_stripe *s = c->key.stripe;

	if (c->changed)
		atomic_store_explicit(&s->n_changes,
				      atomic_load_explicit(&s->n_changes, memory_order_relaxed) + 1,
				      memory_order_relaxed);
	mproc__dict_unlock(&c->call, s);
	if (c->changed)
		mproc__waitable_signal_all(&s->waitable, c->call.me);
	if (c->node)
		(void)mproc__arena_free(c->call.d->segment, c->call.me, c->node);
	mproc__dict_leave(&c->call);
	return r;
}

/* Is there room for one more? Exact if nobody else inserts. */
static int room(const mproc_dict *d)
{
	uint64_t n = 0;

	if (!d->geometry.max_items)
		return 0;
	for (uint32_t i = 0; i < d->geometry.n_stripes; i++)
		n += atomic_load_explicit(&d->shared->stripes[i].n_items, memory_order_relaxed);
	if (n < d->geometry.max_items)
		return 0;
	return mproc__fail(-ENOSPC, "%s %s: it has %" PRIu64 " entries, which is its maximum",
			   d->noun, d->name, d->geometry.max_items);
}

static int store(struct change *c, const struct mproc__dict_value *value)
{
	int r = c->found ? 0 : room(c->call.d);

	if (r == 0)
		r = mproc__dict_store(&c->call, &c->key, &c->spot, c->found, value, &c->node);
	c->changed = r == 0;
	return r;
}

static int put(mproc_dict *d, const void *key, size_t key_len,
	       const struct mproc__dict_value *value)
{
	struct change c;
	int r;

	r = begin(d, key, key_len, value, &c);
	if (r < 0)
		return r;
	r = store(&c, value);
	return end(&c, r < 0 ? r : c.found);
}

int mproc_dict_put_any(mproc_dict *dict, const void *key, size_t key_len,
		       const struct mproc_any *value)
{
	struct mproc__dict_value v;
	int r = value_make(dict, value, &v);

	return r < 0 ? r : put(dict, key, key_len, &v);
}

int mproc_dict_put(mproc_dict *dict, const void *key, size_t key_len, const void *value, size_t len)
{
	const struct mproc_any any = mproc_any_bytes(value, len);

	return mproc_dict_put_any(dict, key, key_len, &any);
}

int mproc_dict_update(mproc_dict *dict, const struct mproc_dict_item *items, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && i < INT_MAX; i++) {
		r = mproc_dict_put_any(dict, items[i].key, items[i].key_len, &items[i].value);
		if (r < 0)
			return i ? (int)i : r;
	}
	return n < INT_MAX ? (int)n : INT_MAX;
}

/* Copy out what was found, as a value. */
static int take(struct change *c, struct mproc_any *ret, void *buf, size_t cap, size_t *ret_len)
{
	struct mproc__dict_out out = { .buf = buf, .cap = cap, .any = true };
	mproc_dict *d = c->call.d;
	struct mproc_any any;
	int r;

	r = mproc__dict_take(d, c->key.stripe, &c->spot, &out);
	if (ret_len && (r == 0 || r == -ENOBUFS))
		*ret_len = out.len;
	if (r == -ENOBUFS)
		return mproc__fail(r, "%s %s: a value of %zu bytes, there is room for %zu", d->noun,
				   d->name, out.len, cap);
	if (r == -ENOMEM)
		return mproc__dict_bad(d, r);
	if (r == 0)
		r = mproc__any_from(out.kind,
				    out.kind == MPROC_ANY_STR || out.kind == MPROC_ANY_BYTES ||
						    out.kind == MPROC_ANY_PACK
					    ? buf
					    : out.small,
				    out.len, &any);
	if (r < 0)
		return mproc__dict_corrupt(d);
	if (ret)
		*ret = any;
	return 0;
}

int mproc_dict_get_or_insert(mproc_dict *dict, const void *key, size_t key_len,
			     const struct mproc_any *value, struct mproc_any *ret, void *buf,
			     size_t cap, size_t *ret_len)
{
	bool wanted = ret || buf || cap;
	struct mproc__dict_value v;
	char text[MPROC__ERROR_MAX];
	struct change c;
	int r;

	r = value_make(dict, value, &v);
	if (r < 0)
		return r;
	mproc__error_keep(text);
	/* Mostly it is there. */
	r = mproc_dict_get_any(dict, key, key_len, ret ? ret : &(struct mproc_any){ 0 }, buf, cap,
			       ret_len);
	if (r == -ENOBUFS && !wanted) {
		/* That it is there is all that was asked. */
		mproc__error_put_back(text);
		return 0;
	}
	if (r != -ENOENT)
		return r;
	r = begin(dict, key, key_len, &v, &c);
	if (r < 0)
		return r;
	if (c.found) {
		r = take(&c, ret, buf, cap, ret_len);
		if (r == -ENOBUFS && !wanted) {
			mproc__error_put_back(text);
			r = 0;
		}
		return end(&c, r);
	}
	r = store(&c, &v);
	if (r == 0 && ret)
		*ret = *value;
	if (r == 0 && ret_len)
		*ret_len = v.len;
	return end(&c, r < 0 ? r : 1);
}

static int take_out(mproc_dict *d, const void *key, size_t key_len, bool copy,
		    struct mproc_any *ret, void *buf, size_t cap, size_t *ret_len)
{
	struct change c;
	int r;

	r = begin(d, key, key_len, NULL, &c);
	if (r < 0)
		return r;
	if (!c.found)
		return end(&c, -ENOENT);
	if (copy)
		r = take(&c, ret, buf, cap, ret_len);
	if (r == 0) {
		(void)mproc__dict_unlink(&c.call, c.key.stripe, &c.spot);
		c.changed = true;
	}
	return end(&c, r);
}

int mproc_dict_remove(mproc_dict *dict, const void *key, size_t key_len)
{
	return take_out(dict, key, key_len, false, NULL, NULL, 0, NULL);
}

int mproc_dict_pop(mproc_dict *dict, const void *key, size_t key_len, struct mproc_any *ret,
		   void *buf, size_t cap, size_t *ret_len)
{
	return take_out(dict, key, key_len, true, ret, buf, cap, ret_len);
}

int mproc_dict_replace_if(mproc_dict *dict, const void *key, size_t key_len,
			  const struct mproc_any *expected, const struct mproc_any *value)
{
	struct mproc__dict_value want = { 0 }, v = { 0 };
	struct change c;
	int r;

	r = expected ? value_make(dict, expected, &want) : 0;
	if (r == 0 && value)
		r = value_make(dict, value, &v);
	if (r == 0)
		r = begin(dict, key, key_len, value ? &v : NULL, &c);
	if (r < 0)
		return r;
	if (c.found && expected)
		r = mproc__dict_same(dict, c.key.stripe, &c.spot, &want);
	else
		r = !c.found && !expected;
	if (r < 0)
		return end(&c, mproc__dict_bad(dict, r));
	if (r == 0)
		return end(&c, 0);
	if (value) {
		r = store(&c, &v);
	} else if (c.found) {
		(void)mproc__dict_unlink(&c.call, c.key.stripe, &c.spot);
		c.changed = true;
		r = 0;
	}
	return end(&c, r < 0 ? r : 1);
}

/* The sum of two numbers of one kind. */
static struct mproc_any sum(const struct mproc_any *a, const struct mproc_any *b)
{
	if (a->kind == MPROC_ANY_FLOAT)
		return mproc_any_float(a->as.f + b->as.f);
	return mproc_any_int((int64_t)((uint64_t)a->as.i + (uint64_t)b->as.i));
}

static int add(mproc_dict *d, const void *key, size_t key_len, const struct mproc_any *delta,
	       const struct mproc_any *initial, struct mproc_any *ret)
{
	struct mproc__dict_value v;
	struct mproc_any was = *initial, any;
	struct change c;
	int r;

	r = begin(d, key, key_len, NULL, &c);
	if (r < 0)
		return r;
	if (c.found) {
		if (mproc__dict_kind(c.spot.meta) != delta->kind)
			return end(&c, mproc__fail(-EPROTO,
						   "%s %s: add: the entry is of kind %" PRIu32
						   ", not %" PRIu32,
						   d->noun, d->name, mproc__dict_kind(c.spot.meta),
						   delta->kind));
		r = take(&c, &was, NULL, 0, NULL);
		if (r < 0)
			return end(&c, r);
	}
	any = sum(&was, delta);
	(void)value_make(d, &any, &v);
	r = store(&c, &v);
	if (r == 0)
		*ret = any;
	return end(&c, r < 0 ? r : !c.found);
}

int mproc_dict_add_int(mproc_dict *dict, const void *key, size_t key_len, int64_t delta,
		       int64_t initial, int64_t *ret)
{
	const struct mproc_any d = mproc_any_int(delta), i = mproc_any_int(initial);
	struct mproc_any is;
	int r = add(dict, key, key_len, &d, &i, &is);

	if (r >= 0 && ret)
		*ret = is.as.i;
	return r;
}

int mproc_dict_add_float(mproc_dict *dict, const void *key, size_t key_len, double delta,
			 double initial, double *ret)
{
	const struct mproc_any d = mproc_any_float(delta), i = mproc_any_float(initial);
	struct mproc_any is;
	int r = add(dict, key, key_len, &d, &i, &is);

	if (r >= 0 && ret)
		*ret = is.as.f;
	return r;
}

int64_t mproc_dict_clear(mproc_dict *dict)
{
	struct mproc__dict_call call;
	int64_t n = 0, r;

	r = mproc__dict_enter(dict, &call);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < dict->geometry.n_stripes; i++) {
		struct mproc__dict_stripe *s = &dict->shared->stripes[i];

		r = mproc__dict_lock(&call, s, MPROC_FOREVER);
		if (r < 0)
			break;
		r = mproc__dict_empty(&call, s, false);
		mproc__dict_unlock(&call, s);
		mproc__waitable_signal_all(&s->waitable, call.me);
		if (r < 0)
			break;
		n += r;
	}
	mproc__dict_leave(&call);
	return r < 0 ? r : n;
}

/*
 * Structs, as mproc_pack_encode() writes them
 */

int mproc_dict_put_pack(mproc_dict *dict, const void *key, size_t key_len,
			const struct mproc_pack_type *type, const void *value)
{
	struct mproc_any any;
	void *bytes;
	size_t len;
	int r;

	r = mproc_pack_dumps(&bytes, type, value, &len, NULL);
	if (r < 0)
		return r;
	any = mproc_any_of(MPROC_ANY_PACK, bytes, len);
	r = mproc_dict_put_any(dict, key, key_len, &any);
	free(bytes);
	return r;
}

int mproc_dict_get_pack(mproc_dict *dict, const void *key, size_t key_len,
			const struct mproc_pack_type *type, mproc_pack_value **ret)
{
	unsigned char small[256], *bytes = small;
	struct mproc_any any;
	size_t cap = sizeof(small), len;
	char text[MPROC__ERROR_MAX];
	int r;

	mproc__error_keep(text);
	/* Others may put longer and longer ones meanwhile. */
	for (;;) {
		r = mproc_dict_get_any(dict, key, key_len, &any, bytes, cap, &len);
		if (r != -ENOBUFS)
			break;
		if (bytes != small)
			free(bytes);
		cap = len;
		bytes = malloc(cap);
		if (!bytes)
			return mproc__fail(-ENOMEM, "%s %s: no memory for a value of %zu bytes",
					   dict->noun, dict->name, cap);
	}
	if (r == 0 && any.kind != MPROC_ANY_PACK)
		r = mproc__fail(-EPROTO, "%s %s: the entry is of kind %" PRIu32 ", not a struct",
				dict->noun, dict->name, any.kind);
	if (r == 0)
		r = mproc_pack_loads(ret, type, any.as.bytes.ptr, any.as.bytes.len, NULL);
	if (bytes != small)
		free(bytes);
	if (r == 0 || r == -ENOENT)
		mproc__error_put_back(text);
	return r;
}
