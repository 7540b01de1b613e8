/* SPDX-License-Identifier: MIT */

/*
 * A shared list's slots, and how they are changed
 *
 * The items are in a row, [first, first + len) of the body's block. A change writes where
 * they are not, and the commit of body.c makes it happen:
 *
 *	more at an end		slots there, if the block goes on so far
 *	fewer at an end		nothing, only first and len change
 *	one for one		the body's patch
 *	anything else		all slots anew, before or behind the present ones in the same
 *				block, else in the room, else in a new block with room for
 *				twice as many
 *
 * (Moving slots in place, by a log of how far one has come, would copy fewer where little is
 * behind the place; but who looks without the lock would see them on their way.)
 *
 * New items that have blocks are limbo until the commit, named by the slots that are written
 * for them; items that go are limbo after it, named by the slots where they were, which the
 * new state does not use and nobody writes to before they are freed.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ipc/any.h"
#include "ipc/error.h"
#include "shm/arena.h"
#include "shm/list.h"

#define KEEP 256u /* a block of so many slots is not given up for a shorter one */

int mproc__list_make(struct mproc__body_call *c, const struct mproc_any *any,
		     struct mproc__item *ret)
{
	mproc_segment *segment = c->body->segment;
	const void *bytes = NULL;
	uint64_t off, generation;
	unsigned char *mem;
	size_t len = 0;
	uint64_t long_len;
	int r;

	if (mproc__any_bytes(any, &bytes, &len) < 0)
		return mproc__fail(-EINVAL, "list %s: an item of kind %" PRIu32 " is impossible",
				   c->body->name, any->kind);
	if (len <= MPROC__SLOT_INLINE) {
		*ret = mproc__item_near(any->kind, bytes, len);
		return 0;
	}
	if (len > PTRDIFF_MAX)
		return mproc__fail(-ENOSPC, "list %s: an item of %zu bytes", c->body->name, len);
	r = mproc__arena_alloc(segment, c->me, MPROC__SLOT_FIRST + len, false, &off);
	if (r < 0)
		return r;
	generation = mproc__arena_generation_of(segment, off);
	mem = mproc__arena_at(segment, off, MPROC__SLOT_FIRST + len);
	if (!mem || !generation)
		return mproc__fail(-EBADMSG, "list %s: the arena gave a block that is none",
				   c->body->name);
	long_len = len;
	memcpy(mem, &long_len, sizeof(long_len));
	memcpy(mem + MPROC__SLOT_FIRST, bytes, len);
	*ret = mproc__item_far(any->kind, off, generation);
	return 0;
}

void mproc__list_unmake(struct mproc__body_call *c, const struct mproc__item *items, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (mproc__item_is_far(items[i]))
			(void)mproc__arena_free(c->body->segment, c->me, mproc__item_off(items[i]));
}

int mproc__list_make_all(struct mproc__body_call *c, const struct mproc_any *any, uint64_t n,
			 struct mproc__item *ret)
{
	int r;

	for (uint64_t i = 0; i < n; i++) {
		r = mproc__list_make(c, &any[i], &ret[i]);
		if (r < 0) {
			mproc__list_unmake(c, ret, i);
			return r;
		}
	}
	return 0;
}

int mproc__list_look(struct mproc__body *b, struct mproc__item item, mproc__list_near near,
		     struct mproc_any *ret)
{
	uint64_t off = mproc__item_off(item), len = 0;
	const unsigned char *mem = near;

	if (mproc__item_is_far(item)) {
		mem = off % 8 ? NULL : mproc__arena_at(b->segment, off, MPROC__SLOT_FIRST);
		if (mem)
			len = atomic_load_explicit((const _Atomic(uint64_t) *)(const void *)mem,
						   memory_order_relaxed);
		if (!mem || len > PTRDIFF_MAX ||
		    !mproc__arena_at(b->segment, off, MPROC__SLOT_FIRST + len))
			return mproc__fail(-EBADMSG, "list %s: an item lies nowhere", b->name);
		mem += MPROC__SLOT_FIRST;
	} else {
		len = mproc__item_len(item);
		mproc__item_bytes(item, near);
	}
	if (mproc__any_from(mproc__item_kind(item), mem, len, ret) < 0)
		return mproc__fail(-EBADMSG,
				   "list %s: an item of kind %" PRIu32 " with %" PRIu64 " bytes",
				   b->name, mproc__item_kind(item), len);
	return 0;
}

/*
 * Changes
 */

struct splice {
	uint64_t i, n; /* slots that go */
	const struct mproc__item *items;
	uint64_t n_items;
	bool moved; /* the items are those that go: none is new, none is given up */
};

static bool any_far(const struct mproc__item *items, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (mproc__item_is_far(items[i]))
			return true;
	return false;
}

/* Give up the items of slots [@i, @i + @n). */
static void drop(const struct mproc__body_call *c, uint64_t i, uint64_t n,
		 struct mproc__body_next *next)
{
	for (uint64_t k = 0; k < n; k++) {
		if (!mproc__item_is_far(mproc__slot_get(mproc__list_slot(c, i + k))))
			continue;
		next->drop_slots = c->block.off + (c->first + i + k) * MPROC__LIST_UNIT;
		next->n_drop = n - k;
		return;
	}
}

static void put_all(struct mproc__slot *to, const struct mproc__item *items, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		mproc__slot_put(&to[i], items[i]);
}

static void copy_all(struct mproc__slot *to, const struct mproc__slot *from, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		mproc__slot_put(&to[i], mproc__slot_get(&from[i]));
}

/* The new list to @to, where the present one is not. */
static void write_all(const struct mproc__body_call *c, const struct splice *s,
		      struct mproc__slot *to)
{
	copy_all(to, mproc__list_slot(c, 0), s->i);
	put_all(to + s->i, s->items, s->n_items);
	copy_all(to + s->i + s->n_items, mproc__list_slot(c, s->i + s->n), c->len - s->i - s->n);
}

enum place { NOWHERE, WASTEFUL, GOOD };

/* Where @len slots can be without another block. */
static enum place find_place(const struct mproc__body_call *c, uint64_t len,
			     struct mproc__body_next *next)
{
	struct mproc__body_block room = mproc__body_room(c->body);
	uint64_t end = c->first + c->len;

	if (c->block.generation && len <= room.cap) {
		next->block = room;
		next->first = 0;
		next->drop_block = true;
		return GOOD;
	}
	next->block = c->block;
	if (len <= c->first)
		next->first = 0;
	else if (len <= c->block.cap - end)
		next->first = end;
	else
		return NOWHERE;
	/* A block that is far too long is given up; the room cannot be. */
	if (!c->block.generation || c->block.cap <= KEEP || c->block.cap / 8 <= len)
		return GOOD;
	return WASTEFUL;
}

/* All slots anew. */
static int rewrite(struct mproc__body_call *c, const struct splice *s, uint64_t len)
{
	struct mproc__body_next next = { .len = len };
	enum place place = find_place(c, len, &next);
	bool far = !s->moved && any_far(s->items, s->n_items), fresh = false;
	struct mproc__body_block block;
	int r = place == GOOD ? 0 : mproc__body_alloc(c, len, len, &block);

	/* What is wasteful is better than nothing. */
	if (r < 0 && (r != -ENOSPC || place == NOWHERE)) {
		if (!s->moved)
			mproc__list_unmake(c, s->items, s->n_items);
		return r;
	}
	if (place != GOOD && r == 0) {
		next = (struct mproc__body_next){ .block = block, .len = len, .drop_block = true };
		fresh = true;
	}
	write_all(c, s, (struct mproc__slot *)(void *)next.block.mem + next.first);
	if (fresh || far) {
		r = mproc__body_publish(c, fresh ? &block : NULL,
					next.block.off + (next.first + s->i) * MPROC__LIST_UNIT,
					far ? s->n_items : 0);
		if (r < 0)
			return r;
	}
	if (!s->moved)
		drop(c, s->i, s->n, &next);
	mproc__body_commit(c, &next);
	return 0;
}

/* More items at the end or the beginning, where there is room for them. */
static int extend(struct mproc__body_call *c, const struct splice *s)
{
	uint64_t first = s->i ? c->first : c->first - s->n_items;
	uint64_t at = s->i ? c->first + c->len : first;
	struct mproc__body_next next = { .block = c->block,
					 .first = first,
					 .len = c->len + s->n_items };
	int r = 0;

	put_all((struct mproc__slot *)(void *)c->block.mem + at, s->items, s->n_items);
	if (any_far(s->items, s->n_items))
		r = mproc__body_publish(c, NULL, c->block.off + at * MPROC__LIST_UNIT, s->n_items);
	if (r == 0)
		mproc__body_commit(c, &next);
	return r;
}

/* Fewer items at the end or the beginning. */
static int cut(struct mproc__body_call *c, const struct splice *s)
{
	struct mproc__body_next next = { .block = c->block,
					 .first = s->i ? c->first : c->first + s->n,
					 .len = c->len - s->n };

	if (!next.len) {
		/* Nothing is left: neither is a block needed. */
		next.block = mproc__body_room(c->body);
		next.first = 0;
		next.drop_block = true;
	}
	drop(c, s->i, s->n, &next);
	mproc__body_commit(c, &next);
	return 0;
}

/* One item for one. */
static int patch(struct mproc__body_call *c, const struct splice *s)
{
	struct mproc__body_next next = { .block = c->block,
					 .first = c->first,
					 .len = c->len,
					 .patch_at = s->i + 1,
					 .patch = s->items[0],
					 .gone = mproc__slot_get(mproc__list_slot(c, s->i)) };
	int r = 0;

	if (mproc__item_is_far(next.patch)) {
		/* The new block is named by a slot of the present state, where nothing is. */
		mproc__slot_put(&c->state->gone, next.patch);
		r = mproc__body_publish(c, NULL, mproc__body_off(c->body, &c->state->gone), 1);
	}
	if (r == 0)
		mproc__body_commit(c, &next);
	return r;
}

static int splice(struct mproc__body_call *c, const struct splice *s)
{
	uint64_t kept = c->len - s->n, end = c->first + c->len;

	if (s->n_items > MPROC__SLOTS_MAX - kept) {
		mproc__list_unmake(c, s->items, s->n_items);
		return mproc__fail(-ENOSPC,
				   "list %s: %" PRIu64 " items and %" PRIu64
				   " more, at most %" PRIu64 " are possible",
				   c->body->name, kept, s->n_items, MPROC__SLOTS_MAX);
	}
	if (!s->n && !s->n_items)
		return 0;
	if (!s->n && ((s->i == c->len && s->i && s->n_items <= c->block.cap - end) ||
		      (!s->i && s->n_items <= c->first)))
		return extend(c, s);
	if (!s->n_items && (!s->i || s->i + s->n == c->len))
		return cut(c, s);
	if (s->n == 1 && s->n_items == 1)
		return patch(c, s);
	return rewrite(c, s, kept + s->n_items);
}

int mproc__list_splice(struct mproc__body_call *c, uint64_t i, uint64_t n,
		       const struct mproc__item *items, uint64_t n_items)
{
	const struct splice s = { .i = i, .n = n, .items = items, .n_items = n_items };

	return splice(c, &s);
}

int mproc__list_permute(struct mproc__body_call *c, const struct mproc__item *items)
{
	const struct splice s = { .n = c->len, .items = items, .n_items = c->len, .moved = true };

	return c->len ? rewrite(c, &s, c->len) : 0;
}
