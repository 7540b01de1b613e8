/* SPDX-License-Identifier: MIT */

/*
 * A shared list's items: reading them, and the calls that change them
 *
 * A short item is in its slot. Who wants one reads the version, the present state, the
 * slot and the version again, without the lock; if the version is the same nobody has
 * written to that slot, except the patch of that very state, and as long as the state has
 * one it is what the item is. Whoever finds somebody between lock and unlock, or a long
 * item, whose block may be freed under him, takes the lock.
 *
 * What a call writes, and what a kill leaves, is said in list_change.c and body.c.
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/any.h"
#include "ipc/error.h"
#include "shm/list.h"

#define FEW   16u /* items that need no memory on the side */
#define TRIES 3   /* without the lock */

/* The number of item @i of @len. Return: is there one? */
static bool number_of(int64_t i, uint64_t len, uint64_t *ret)
{
	*ret = i < 0 ? len + (uint64_t)i : (uint64_t)i;
	return *ret < len && (i < 0 || (uint64_t)i < len);
}

/* The same for a place, where the end is one. */
static bool place_of(int64_t i, uint64_t len, uint64_t *ret)
{
	*ret = len;
	return (i >= 0 && (uint64_t)i == len) || number_of(i, len, ret);
}

static int no_item(const mproc_list *list, const char *verb, int64_t i, uint64_t len)
{
	return mproc__fail(-EINVAL, "list %s %s: item %" PRId64 ", it has %" PRIu64, verb,
			   list->body.name, i, len);
}

/*
 * A short item, without the lock.
 *
 * Return: 1 if it is there, 0 if there is none @i, -EAGAIN if the lock is needed.
 */
static int get_quick(const struct mproc__body *b, int64_t i, struct mproc__item *ret)
{
	for (int tries = 0; tries < TRIES; tries++) {
		struct mproc__body_peek peek;
		const struct mproc__slot *slot = NULL;
		uint64_t at, patch_at, off;
		bool there;

		mproc__body_peek(b, &peek);
		there = number_of(i, peek.len, &at);
		if (there) {
			off = peek.block + (peek.first + at) * MPROC__LIST_UNIT;
			if (off % 8 == 0)
				slot = mproc__segment_at(b->segment, off, MPROC__LIST_UNIT);
			if (!slot)
				continue;
			/* Pairs with the release in finish(): without a patch it is in place. */
			patch_at =
				atomic_load_explicit(&peek.state->patch_at, memory_order_acquire);
			*ret = mproc__slot_get(patch_at == at + 1 ? &peek.state->patch : slot);
		}
		if (!mproc__body_peeked(b, &peek))
			continue;
		if (mproc__object_check(b->segment, &b->object) < 0)
			break;
		return there ? mproc__item_is_far(*ret) ? -EAGAIN : 1 : 0;
	}
	return -EAGAIN;
}

static bool has_bytes(const struct mproc_any *any)
{
	return any->kind == MPROC_ANY_STR || any->kind == MPROC_ANY_BYTES ||
	       any->kind == MPROC_ANY_PACK;
}

/* Where to put an item. */
struct target {
	struct mproc_any *any;
	void *buf;
	size_t cap;
	size_t *len;
};

/* Copy it there. Return: 0, -ENOBUFS, -EBADMSG. */
static int give(mproc_list *list, const char *verb, struct mproc__item item,
		const struct target *to)
{
	struct mproc_any any;
	mproc__list_near near;
	const void *bytes = NULL;
	size_t len = 0;
	int r;

	r = mproc__list_look(&list->body, item, near, &any);
	if (r < 0)
		return r;
	(void)mproc__any_bytes(&any, &bytes, &len);
	if (has_bytes(&any)) {
		if (len > to->cap) {
			if (to->len)
				*to->len = len;
			return mproc__fail(-ENOBUFS,
					   "list %s %s: an item of %zu bytes, room for %zu", verb,
					   list->body.name, len, to->cap);
		}
		if (len)
			memcpy(to->buf, bytes, len);
		any.as.bytes.ptr = to->buf;
	}
	if (to->len)
		*to->len = len;
	*to->any = any;
	return 0;
}

/* Return: 1, or 0 if there is no item @i and the list has @ret_len, or negative. */
static int get(mproc_list *list, const char *verb, int64_t i, const struct target *to,
	       uint64_t *ret_len, int64_t deadline)
{
	struct mproc__body *b = mproc__list_body(list);
	struct mproc__body_call c;
	struct mproc__item item;
	uint64_t at;
	bool there;
	int r;

	r = get_quick(b, i, &item);
	if (r == 0)
		*ret_len = mproc__body_len(b);
	if (r > 0) {
		r = give(list, verb, item, to);
		return r < 0 ? r : 1;
	}
	if (r == 0)
		return 0;
	r = mproc__body_read(&c, b, deadline);
	if (r < 0)
		return r;
	do {
		*ret_len = c.len;
		there = number_of(i, c.len, &at);
		r = there ? give(list, verb, mproc__list_item(&c, at), to) : 0;
	} while (mproc__body_again(&c, &r));
	return r < 0 ? r : there;
}

int mproc_list_get(mproc_list *list, int64_t i, struct mproc_any *ret, void *buf, size_t cap,
		   size_t *ret_len, int64_t deadline)
{
	const struct target to = { ret, buf, cap, ret_len };
	uint64_t len = 0;
	int r;

	assert(ret && (buf || !cap));
	r = get(list, "get", i, &to, &len, deadline);
	if (r == 0)
		return no_item(list, "get", i, len);
	return r < 0 ? r : 0;
}

int mproc_list_kind(mproc_list *list, int64_t i, uint32_t *ret_kind, size_t *ret_len,
		    int64_t deadline)
{
	struct mproc__body_call c;
	mproc__list_near near;
	struct mproc_any any;
	const void *bytes = NULL;
	uint64_t at;
	size_t len = 0;
	int r;

	assert(ret_kind && ret_len);
	r = mproc__body_read(&c, mproc__list_body(list), deadline);
	if (r < 0)
		return r;
	do {
		r = number_of(i, c.len, &at) ? 0 : no_item(list, "kind", i, c.len);
		if (r == 0)
			r = mproc__list_look(c.body, mproc__list_item(&c, at), near, &any);
		if (r < 0)
			continue;
		(void)mproc__any_bytes(&any, &bytes, &len);
		*ret_kind = any.kind;
		*ret_len = len;
	} while (mproc__body_again(&c, &r));
	return r;
}

int mproc_list_next(mproc_list *list, struct mproc_list_iter *it, struct mproc_any *ret, void *buf,
		    size_t cap, size_t *ret_len, int64_t deadline)
{
	const struct target to = { ret, buf, cap, ret_len };
	uint64_t len;
	int r;

	assert(it && ret && (buf || !cap));
	if (!it->begun) {
		it->version = mproc__body_version(mproc__list_body(list));
		it->begun = 1;
	}
	if (it->next > INT64_MAX)
		return 0;
	r = get(list, "next", (int64_t)it->next, &to, &len, deadline);
	if (r > 0)
		it->next++;
	return r;
}

int mproc_list_changed(const mproc_list *list, const struct mproc_list_iter *it)
{
	const struct mproc__body *b = mproc__list_body(list);
	uint64_t version = mproc__body_version(b);

	if (!it->begun)
		return 0;
	/* Of a block that was freed, the version is somebody else's. */
	return mproc__object_check(b->segment, &b->object) < 0 || version != it->version;
}

/* Bytes that copies of items [@at, @at + @n) take in a buffer. Return: 0 or -EBADMSG. */
static int bytes_of(const struct mproc__body_call *c, uint64_t at, uint64_t n, size_t *ret)
{
	mproc__list_near near;
	struct mproc_any any;
	int r;

	*ret = 0;
	for (uint64_t k = 0; k < n; k++) {
		r = mproc__list_look(c->body, mproc__list_item(c, at + k), near, &any);
		if (r < 0)
			return r;
		if (has_bytes(&any))
			*ret += any.as.bytes.len;
	}
	return 0;
}

/* The copies. Somebody may scribble: @cap is looked at again. Return: 0 or -EBADMSG. */
static int copy_items(const struct mproc__body_call *c, uint64_t at, uint64_t n,
		      struct mproc_any *ret, unsigned char *buf, size_t cap)
{
	mproc__list_near near;
	size_t used = 0, len;
	int r;

	for (uint64_t k = 0; k < n; k++) {
		r = mproc__list_look(c->body, mproc__list_item(c, at + k), near, &ret[k]);
		if (r < 0)
			return r;
		if (!has_bytes(&ret[k]))
			continue;
		len = ret[k].as.bytes.len;
		if (len > cap - used)
			return mproc__fail(-EBADMSG, "list %s: an item has become longer",
					   c->body->name);
		if (len)
			memcpy(buf + used, ret[k].as.bytes.ptr, len);
		ret[k].as.bytes.ptr = buf + used;
		used += len;
	}
	return 0;
}

int mproc_list_copy_out(mproc_list *list, int64_t i, uint64_t n, struct mproc_any *ret,
			uint64_t *ret_n, void *buf, size_t cap, size_t *ret_len, int64_t deadline)
{
	struct mproc__body_call c;
	uint64_t at, some;
	size_t len;
	int r;

	assert((ret || !n) && ret_n && (buf || !cap) && ret_len);
	r = mproc__body_read(&c, mproc__list_body(list), deadline);
	if (r < 0)
		return r;
	do {
		r = place_of(i, c.len, &at) ? 0 : no_item(list, "copy", i, c.len);
		if (r < 0)
			continue;
		some = n > c.len - at ? c.len - at : n;
		r = bytes_of(&c, at, some, &len);
		if (r == 0 && len > cap)
			r = mproc__fail(-ENOBUFS, "list copy %s: %zu bytes, room for %zu",
					c.body->name, len, cap);
		if (r == 0)
			r = copy_items(&c, at, some, ret, buf, cap);
		if (r == 0 || r == -ENOBUFS)
			*ret_len = len;
		if (r == 0)
			*ret_n = some;
	} while (mproc__body_again(&c, &r));
	return r;
}

/*
 * Values
 */

/* The first of items [@at, len) that is equal. Return: 0, -ENOENT, -EBADMSG. */
static int find(const struct mproc__body_call *c, const struct mproc_any *item, uint64_t *at)
{
	mproc__list_near near;
	struct mproc_any any;
	int r;

	for (; *at < c->len; ++*at) {
		r = mproc__list_look(c->body, mproc__list_item(c, *at), near, &any);
		if (r < 0)
			return r;
		if (mproc_any_equal(&any, item))
			return 0;
	}
	return -ENOENT;
}

int(mproc_list_index)(mproc_list *list, const struct mproc_any *item, int64_t i, uint64_t *ret,
		      int64_t deadline)
{
	struct mproc__body_call c;
	uint64_t at;
	int r;

	assert(item && ret);
	r = mproc__body_read(&c, mproc__list_body(list), deadline);
	if (r < 0)
		return r;
	do {
		r = place_of(i, c.len, &at) ? find(&c, item, &at)
					    : no_item(list, "index", i, c.len);
		if (r == 0)
			*ret = at;
	} while (mproc__body_again(&c, &r));
	return r;
}

int(mproc_list_count)(mproc_list *list, const struct mproc_any *item, uint64_t *ret,
		      int64_t deadline)
{
	struct mproc__body_call c;
	uint64_t n, at;
	int r;

	assert(item && ret);
	r = mproc__body_read(&c, mproc__list_body(list), deadline);
	if (r < 0)
		return r;
	do {
		n = 0;
		at = 0;
		while ((r = find(&c, item, &at)) == 0) {
			n++;
			at++;
		}
		if (r == -ENOENT) {
			*ret = n;
			r = 0;
		}
	} while (mproc__body_again(&c, &r));
	return r;
}

int(mproc_list_remove)(mproc_list *list, const struct mproc_any *item, int64_t deadline)
{
	struct mproc__body_call c;
	uint64_t at = 0;
	int r;

	assert(item);
	r = mproc__body_begin(&c, mproc__list_body(list), deadline);
	if (r < 0)
		return r;
	r = find(&c, item, &at);
	if (r == 0)
		r = mproc__list_splice(&c, at, 1, NULL, 0);
	return mproc__body_end(&c, r);
}

/*
 * Changes
 */

/* Under the lock: @n_items for @n from @at on. */
static int put(struct mproc__body_call *c, uint64_t at, uint64_t n, const struct mproc_any *items,
	       uint64_t n_items)
{
	struct mproc__item few[FEW], *made = few;
	int r;

	if (n_items > MPROC__SLOTS_MAX)
		return mproc__fail(-ENOSPC,
				   "list %s: %" PRIu64 " items, at most %" PRIu64 " are possible",
				   c->body->name, n_items, MPROC__SLOTS_MAX);
	if (n_items > FEW)
		made = malloc(n_items * sizeof(*made));
	if (!made)
		return mproc__fail(-ENOMEM, "list %s: no memory for %" PRIu64 " items",
				   c->body->name, n_items);
	r = mproc__list_make_all(c, items, n_items, made);
	if (r == 0)
		r = mproc__list_splice(c, at, n, made, n_items);
	if (made != few)
		free(made);
	return r;
}

enum what { AN_ITEM, A_PLACE, THE_END };

/* The same at item or place @i. */
static int change(mproc_list *list, const char *verb, enum what what, int64_t i, uint64_t n,
		  const struct mproc_any *items, uint64_t n_items, int64_t deadline)
{
	struct mproc__body_call c;
	uint64_t at;
	bool there;
	int r;

	assert(items || !n_items);
	r = mproc__body_begin(&c, mproc__list_body(list), deadline);
	if (r < 0)
		return r;
	there = true;
	if (what == AN_ITEM)
		there = number_of(i, c.len, &at);
	else if (what == A_PLACE)
		there = place_of(i, c.len, &at);
	else
		at = c.len;
	if (!there)
		return mproc__body_end(&c, no_item(list, verb, i, c.len));
	if (n > c.len - at)
		n = c.len - at;
	return mproc__body_end(&c, put(&c, at, n, items, n_items));
}

int(mproc_list_set)(mproc_list *list, int64_t i, const struct mproc_any *item, int64_t deadline)
{
	return change(list, "set", AN_ITEM, i, 1, item, 1, deadline);
}

int(mproc_list_append)(mproc_list *list, const struct mproc_any *item, int64_t deadline)
{
	return change(list, "append", THE_END, 0, 0, item, 1, deadline);
}

int mproc_list_extend(mproc_list *list, const struct mproc_any *items, uint64_t n, int64_t deadline)
{
	return change(list, "extend", THE_END, 0, 0, items, n, deadline);
}

int(mproc_list_insert)(mproc_list *list, int64_t i, const struct mproc_any *item, int64_t deadline)
{
	return change(list, "insert", A_PLACE, i, 0, item, 1, deadline);
}

int mproc_list_replace(mproc_list *list, int64_t i, uint64_t n, const struct mproc_any *items,
		       uint64_t n_items, int64_t deadline)
{
	return change(list, "replace", A_PLACE, i, n, items, n_items, deadline);
}

int mproc_list_delete(mproc_list *list, int64_t i, uint64_t n, int64_t deadline)
{
	return change(list, "delete", A_PLACE, i, n, NULL, 0, deadline);
}

int mproc_list_clear(mproc_list *list, int64_t deadline)
{
	return change(list, "clear", A_PLACE, 0, UINT64_MAX, NULL, 0, deadline);
}

int mproc_list_pop(mproc_list *list, int64_t i, struct mproc_any *ret, void *buf, size_t cap,
		   size_t *ret_len, int64_t deadline)
{
	struct mproc_any any;
	size_t len;
	const struct target to = { &any, buf, cap, &len };
	struct mproc__body_call c;
	uint64_t at;
	int r;

	assert(ret && (buf || !cap));
	r = mproc__body_begin(&c, mproc__list_body(list), deadline);
	if (r < 0)
		return r;
	if (!c.len)
		r = -ENOENT;
	else if (!number_of(i, c.len, &at))
		r = no_item(list, "pop", i, c.len);
	if (r == 0)
		r = give(list, "pop", mproc__slot_get(mproc__list_slot(&c, at)), &to);
	if (r == -ENOBUFS && ret_len)
		*ret_len = len;
	/* In the middle the slots are written anew, for which there may be no room. */
	if (r == 0)
		r = mproc__list_splice(&c, at, 1, NULL, 0);
	if (r == 0) {
		*ret = any;
		if (ret_len)
			*ret_len = len;
	}
	return mproc__body_end(&c, r);
}
