/* SPDX-License-Identifier: MIT */

/*
 * What strings and lists are made of: a head under a lock, and blocks that come and go
 *
 * The head has two states, and the lowest bit of its version says which one is the
 * present. Who has the lock writes the other one whole, then the version: the commit.
 * So several words change by one store, nothing is to be written again after a death
 * but the one thing below, and who looks without the lock reads the version, the state
 * and the version again.
 *
 * What the object holds is in one block, or the room behind the head. It is changed in
 * place only where the present state does not look: behind what is in use, or before it.
 * The exception is one slot that is replaced: the new state carries what is to be
 * written (patch), and whoever finds that writes it before he does anything else.
 *
 * Blocks. New ones are private to the caller while he fills them. Then the present state
 * names them as limbo, and they are published: the block that has the new slots first, then
 * those that the slots name. The new state says that they are in use, and names as limbo
 * what was given up:
 *
 *	killed before			new block	those its slots name	old blocks
 *	limbo_block			the reaper's	the reaper's		in use
 *	the block is published		the reaper's	the reaper's		in use
 *	n_limbo				who comes	the reaper's		in use
 *	all of them are published	who comes	who comes, or		in use
 *							the reaper's
 *	the commit			who comes	who comes		in use
 *	the end				in use		in use			who comes
 *
 * What is in limbo is named by offset and generation, and made one's own by a CAS that
 * names both, before it is freed: who was killed between leaves it to the reaper, and who
 * begins again finds it gone. The slots that name blocks in limbo lie in the object itself,
 * in the present block, or in the block that is in limbo, and must not be read anywhere
 * else: what the reaper took back may be another list's by now, full of slots that name
 * blocks in use. Hence n_limbo is set after the block is published, and is 0 before the
 * block is freed.
 *
 * The user's lock and what is told of a death between lock and unlock: see cells.c.
 * Operations here are whole, so they tell nothing; lock() does.
 */

#include "shm/body.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <mproc/mutex.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/lock.h"
#include "ipc/participant.h"
#include "ipc/waitable.h"
#include "shm/arena.h"
#include "shm/cells_layout.h"

static mproc_mutex *mutex_of(const struct mproc__body *b)
{
	return (mproc_mutex *)&b->shared->lock;
}

static uint64_t relaxed(const _Atomic(uint64_t) *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

/* One store of several whose order a kill must not see turned round. */
static void put(_Atomic(uint64_t) *word, uint64_t value)
{
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(word, value, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

static int broken(const struct mproc__body *b, const char *what)
{
	return mproc__fail(-EBADMSG, "%s %s: %s", b->noun, b->name, what);
}

/*
 * The lock
 */

static void set_section(struct mproc__body *b, uint64_t next)
{
	atomic_signal_fence(memory_order_seq_cst);
	/* Release: who sees the end of a section sees what was changed in it. */
	atomic_store_explicit(&b->shared->section, next, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
}

static int take(struct mproc__body *b, int64_t deadline)
{
	int r = mproc_mutex_lock(mutex_of(b), deadline);

	if (__builtin_expect(r != MPROC_MUTEX_INHERITED, 1))
		return r;
	if (relaxed(&b->shared->section) != MPROC__SECTION_NONE)
		set_section(b, MPROC__SECTION_LEFT);
	/* The mutex need not remember: the section does. */
	r = mproc_mutex_consistent(mutex_of(b));
	if (r < 0)
		(void)mproc_mutex_unlock(mutex_of(b));
	return r;
}

/* What the calling thread is noted as acting on, so that who removes the object waits. */
static uint64_t what_of(const struct mproc__body *b, const struct mproc__self *me)
{
	return mproc__what(b->object.kind, mproc__self_off(me, b->shared));
}

int mproc__body_gone(const struct mproc__body *b)
{
	return mproc__fail(-ESTALE, "%s %s: it was removed", b->noun, b->name);
}

/*
 * The first thing that every call does which writes: note it, and see that the object is
 * there. Who removes it makes that seen, and then waits for those who are noted.
 */
static int enter(struct mproc__body *b, struct mproc__self **ret, uint64_t *ret_act)
{
	struct mproc__self *me = mproc__self(b->shared, b->noun);

	if (!me)
		return mproc__self_error();
	*ret = me;
	/* Without a note the blocks might be freed under us. */
	if (__builtin_expect(!mproc__act_fits(me), 0))
		return mproc__fail(-ELOOP, "%s %s: called inside %" PRIu32 " other calls", b->noun,
				   b->name, me->n_acts);
	*ret_act = mproc__act_begin(me, what_of(b, me));
	mproc__publish(me);
	if (__builtin_expect(mproc__object_check(b->segment, &b->object) == 0, 1))
		return 0;
	mproc__act_end(me, *ret_act);
	return mproc__body_gone(b);
}

/*
 * The same for who may have the lock of an object that is gone: who removes it waits until
 * the lock is released, and only then is the block freed. If it was not free yet after we
 * have read the word, the word is the lock's, and if it is ours nothing is freed before we
 * have released it.
 */
static int enter_to_unlock(struct mproc__body *b, struct mproc__self **ret, uint64_t *ret_act)
{
	int r = enter(b, ret, ret_act);

	if (__builtin_expect(r != -ESTALE, 1))
		return r;
	if (!mproc__lock_mine(&b->shared->lock, *ret) ||
	    !mproc__object_is_dying(b->segment, &b->object))
		return r;
	*ret_act = mproc__act_begin(*ret, what_of(b, *ret));
	return 0;
}

int mproc__body_lock(struct mproc__body *b, int64_t deadline)
{
	struct mproc__self *me;
	uint64_t act;
	int r = enter(b, &me, &act);

	if (r < 0)
		return r;
	r = take(b, deadline);
	if (r >= 0 && mproc__object_check(b->segment, &b->object) < 0) {
		(void)mproc_mutex_unlock(mutex_of(b));
		r = mproc__body_gone(b);
	}
	if (r >= 0) {
		if (relaxed(&b->shared->section) == MPROC__SECTION_NONE)
			set_section(b, MPROC__SECTION_OPEN);
		r = relaxed(&b->shared->section) == MPROC__SECTION_LEFT ? MPROC_MUTEX_INHERITED : 0;
	}
	mproc__act_end(me, act);
	return r;
}

int mproc__body_unlock(struct mproc__body *b)
{
	struct mproc__self *me;
	uint64_t act;
	int r = enter_to_unlock(b, &me, &act);

	if (r < 0)
		return r;
	/* Only the owner may write the word; the mutex has the text for anybody else. */
	if (mproc__lock_mine(&b->shared->lock, me) &&
	    relaxed(&b->shared->section) == MPROC__SECTION_OPEN)
		set_section(b, MPROC__SECTION_NONE);
	/* Noted to its end: between the release and the wake-up nobody may free the block. */
	r = mproc_mutex_unlock(mutex_of(b));
	mproc__act_end(me, act);
	return r;
}

static int consistent(struct mproc__body *b, const struct mproc__self *me)
{
	if (!mproc__lock_mine(&b->shared->lock, me))
		return mproc__fail(-EPERM,
				   "%s %s: consistent: the calling thread has not locked it",
				   b->noun, b->name);
	if (relaxed(&b->shared->section) != MPROC__SECTION_LEFT)
		return mproc__fail(-EINVAL, "%s %s: consistent: nobody has died in it", b->noun,
				   b->name);
	set_section(b, MPROC__SECTION_OPEN);
	return 0;
}

int mproc__body_consistent(struct mproc__body *b)
{
	struct mproc__self *me;
	uint64_t act;
	int r = enter(b, &me, &act);

	if (r < 0)
		return r;
	r = consistent(b, me);
	mproc__act_end(me, act);
	return r;
}

/*
 * Under the lock
 */

/* Free a block that nobody refers to, unless that has been done. */
static void free_exact(struct mproc__body_call *c, uint64_t off, uint64_t generation)
{
	mproc_segment *segment = c->body->segment;

	/* Generation 0: it lies in the object's own block. */
	if (generation && mproc__arena_adopt_exact(segment, c->me, off, generation) == 0)
		(void)mproc__arena_free(segment, c->me, off);
}

static struct mproc__slot *slots_at(const struct mproc__body *b, uint64_t off, uint64_t n)
{
	if (n > MPROC__SLOTS_MAX || off % 8)
		return NULL;
	return mproc__arena_at(b->segment, off, n * sizeof(struct mproc__slot));
}

/* Does [off, off + len) lie in @in bytes from @at on? */
static bool lies_in(uint64_t off, uint64_t len, uint64_t at, uint64_t in)
{
	return off >= at && off - at <= in && len <= in - (off - at);
}

/*
 * The @n slots whose blocks are in limbo, or NULL: where no slots of this object can be any
 * more there are somebody else's.
 */
static struct mproc__slot *limbo_slots(const struct mproc__body_call *c, uint64_t n)
{
	const struct mproc__body_state *s = c->state;
	const struct mproc__body *b = c->body;
	uint64_t off = relaxed(&s->limbo_slots), len = n * sizeof(struct mproc__slot);
	uint64_t block = relaxed(&s->limbo_block);

	if (n > MPROC__SLOTS_MAX)
		return NULL;
	/* Published, with this generation: nobody frees it but who has the lock. */
	if (lies_in(off, len, b->object.off, b->object.len) ||
	    lies_in(off, len, c->block.off, c->block.cap * b->unit) ||
	    (mproc__arena_is_published(b->segment, block, relaxed(&s->limbo_generation)) &&
	     lies_in(off, len, block, mproc__arena_len(b->segment, block))))
		return slots_at(b, off, n);
	return NULL;
}

/* End what a commit, ours or that of a dead owner, has begun. */
static void finish(struct mproc__body_call *c)
{
	struct mproc__body_state *s = c->state;
	uint64_t at = relaxed(&s->patch_at), n = relaxed(&s->n_limbo);
	uint64_t off = relaxed(&s->limbo_block);
	struct mproc__slot *slot;

	if (at) {
		if (at <= c->len && c->body->unit == sizeof(struct mproc__slot))
			mproc__slot_put((struct mproc__slot *)(void *)c->block.mem + c->first + at -
						1,
					mproc__slot_get(&s->patch));
		atomic_signal_fence(memory_order_seq_cst);
		/* Release: who sees that there is no patch sees it in its place. */
		atomic_store_explicit(&s->patch_at, 0, memory_order_release);
		atomic_signal_fence(memory_order_seq_cst);
	}
	if (n) {
		slot = limbo_slots(c, n);
		for (uint64_t i = 0; slot && i < n; i++) {
			struct mproc__item item = mproc__slot_get(&slot[i]);

			if (mproc__item_is_far(item))
				free_exact(c, mproc__item_off(item), item.tail);
		}
		put(&s->n_limbo, 0);
	}
	if (off) {
		free_exact(c, off, relaxed(&s->limbo_generation));
		put(&s->limbo_block, 0);
	}
}

/* Where the present block is. Return: 0 or -EBADMSG. */
static int find_block(struct mproc__body_call *c)
{
	struct mproc__body *b = c->body;
	uint64_t off = relaxed(&c->state->block), generation = relaxed(&c->state->generation);

	if (!generation) {
		c->block = mproc__body_room(b);
		return off == b->room_off ? 0 : broken(b, "its block is none");
	}
	if (off != b->seen_block || generation != b->seen_generation) {
		b->seen_block = 0;
		b->seen_cap = mproc__arena_len(b->segment, off);
		b->seen_mem = mproc__arena_at(b->segment, off, b->seen_cap);
		b->seen_cap /= b->unit;
		if (!b->seen_mem || !b->seen_cap ||
		    mproc__arena_generation_of(b->segment, off) != generation)
			return broken(b, "its block is none");
		b->seen_generation = generation;
		b->seen_block = off;
	}
	c->block = (struct mproc__body_block){ off, generation, b->seen_mem, b->seen_cap };
	return 0;
}

int mproc__body_look(struct mproc__body_call *c)
{
	struct mproc__body *b = c->body;
	char text[MPROC__ERROR_MAX];
	int r;

	c->version = relaxed(&b->shared->version);
	c->state = &b->shared->state[c->version & 1];
	r = find_block(c);
	if (r < 0)
		return r;
	c->first = relaxed(&c->state->first);
	c->len = relaxed(&c->state->len);
	if (c->first > c->block.cap || c->len > c->block.cap - c->first)
		return broken(b, "more is in use than there is");
	if (__builtin_expect(relaxed(&c->state->patch_at) || relaxed(&c->state->n_limbo) ||
				     relaxed(&c->state->limbo_block),
			     0)) {
		mproc__error_keep(text);
		finish(c);
		mproc__error_put_back(text);
	}
	/*
	 * A reader without the lock who sees what is written from here on, where an earlier
	 * state looked, sees that this is another version.
	 */
	atomic_thread_fence(memory_order_release);
	return 0;
}

int mproc__body_begin(struct mproc__body_call *ret, struct mproc__body *b, int64_t deadline)
{
	int r = enter(b, &ret->me, &ret->act);

	if (r < 0)
		return r;
	ret->body = b;
	ret->nested = mproc__lock_mine(&b->shared->lock, ret->me);
	r = ret->nested ? 0 : take(b, deadline);
	if (r < 0) {
		mproc__act_end(ret->me, ret->act);
		return r;
	}
	/* It may have been removed while we waited. */
	r = mproc__object_check(b->segment, &b->object) < 0 ? mproc__body_gone(b)
							    : mproc__body_look(ret);
	return r < 0 ? mproc__body_end(ret, r) : 0;
}

int mproc__body_end(struct mproc__body_call *c, int r)
{
	int end = c->nested ? 0 : mproc_mutex_unlock(mutex_of(c->body));

	mproc__act_end(c->me, c->act);
	return r < 0 || end == 0 ? r : end;
}

struct mproc__body_block mproc__body_room(const struct mproc__body *b)
{
	return (struct mproc__body_block){ b->room_off, 0, (unsigned char *)(b->shared + 1),
					   b->room };
}

int mproc__body_alloc(struct mproc__body_call *c, uint64_t units, uint64_t reserve,
		      struct mproc__body_block *ret)
{
	struct mproc__body *b = c->body;
	uint64_t off, unit = b->unit;
	char text[MPROC__ERROR_MAX];
	int r = -ENOSPC;

	if (units > UINT64_MAX / 4 / unit)
		return mproc__fail(-ENOSPC, "%s %s: %" PRIu64 " times %" PRIu64 " bytes wanted",
				   b->noun, b->name, units, unit);
	if (reserve <= units) {
		mproc__error_keep(text);
		r = mproc__arena_alloc(b->segment, c->me, (units + reserve) * unit, false, &off);
		if (r == -ENOSPC)
			mproc__error_put_back(text);
	}
	if (r == -ENOSPC)
		r = mproc__arena_alloc(b->segment, c->me, units * unit, false, &off);
	if (r < 0)
		return r;
	ret->off = off;
	ret->generation = mproc__arena_generation_of(b->segment, off);
	ret->cap = mproc__arena_len(b->segment, off);
	ret->mem = mproc__arena_at(b->segment, off, ret->cap);
	ret->cap /= unit;
	return ret->mem && ret->cap >= units ? 0 : broken(b, "the arena gave a block that is none");
}

void mproc__body_abort(struct mproc__body_call *c, const struct mproc__body_block *block)
{
	(void)mproc__arena_free(c->body->segment, c->me, block->off);
}

/* The publishing has failed: somebody has overwritten the words of blocks of ours. */
static int unpublish(struct mproc__body_call *c, const struct mproc__body_block *block,
		     const struct mproc__slot *slot, uint64_t n)
{
	mproc_segment *segment = c->body->segment;

	for (uint64_t i = 0; i < n; i++) {
		struct mproc__item item = mproc__slot_get(&slot[i]);

		if (mproc__item_is_far(item) &&
		    mproc__arena_generation_of(segment, mproc__item_off(item)) == item.tail)
			(void)mproc__arena_free(segment, c->me, mproc__item_off(item));
	}
	put(&c->state->n_limbo, 0);
	if (block && mproc__arena_generation_of(segment, block->off) == block->generation)
		(void)mproc__arena_free(segment, c->me, block->off);
	put(&c->state->limbo_block, 0);
	return broken(c->body, "somebody has overwritten its blocks");
}

int mproc__body_publish(struct mproc__body_call *c, const struct mproc__body_block *block,
			uint64_t slots, uint64_t n)
{
	mproc_segment *segment = c->body->segment;
	struct mproc__body_state *s = c->state;
	struct mproc__slot *slot = n ? slots_at(c->body, slots, n) : NULL;
	int r = 0;

	if (n && !slot)
		return broken(c->body, "its slots lie nowhere");
	if (block) {
		put(&s->limbo_generation, block->generation);
		put(&s->limbo_block, block->off);
		r = mproc__arena_publish(segment, c->me, block->off);
	}
	if (r == 0) {
		/* From here on its slots may be read: our death does not free the block any more.
		 */
		put(&s->limbo_slots, slots);
		put(&s->n_limbo, n);
	}
	for (uint64_t i = 0; r == 0 && i < n; i++) {
		struct mproc__item item = mproc__slot_get(&slot[i]);

		if (mproc__item_is_far(item))
			r = mproc__arena_publish(segment, c->me, mproc__item_off(item));
	}
	return r < 0 ? unpublish(c, block, slot, n) : 0;
}

void mproc__body_commit(struct mproc__body_call *c, const struct mproc__body_next *next)
{
	struct mproc__body_shared *shared = c->body->shared;
	struct mproc__body_state *s = &shared->state[(c->version + 1) & 1];
	bool drop = next->drop_block && c->block.generation;

	atomic_store_explicit(&s->block, next->block.off, memory_order_relaxed);
	atomic_store_explicit(&s->generation, next->block.generation, memory_order_relaxed);
	atomic_store_explicit(&s->first, next->first, memory_order_relaxed);
	atomic_store_explicit(&s->len, next->len, memory_order_relaxed);
	atomic_store_explicit(&s->limbo_block, drop ? c->block.off : 0, memory_order_relaxed);
	atomic_store_explicit(&s->limbo_generation, c->block.generation, memory_order_relaxed);
	atomic_store_explicit(&s->limbo_slots, next->drop_slots, memory_order_relaxed);
	atomic_store_explicit(&s->n_limbo, next->n_drop, memory_order_relaxed);
	atomic_store_explicit(&s->patch_at, next->patch_at, memory_order_relaxed);
	if (next->patch_at) {
		mproc__slot_put(&s->patch, next->patch);
		mproc__slot_put(&s->gone, next->gone);
		atomic_store_explicit(&s->limbo_slots, mproc__body_off(c->body, &s->gone),
				      memory_order_relaxed);
		atomic_store_explicit(&s->n_limbo, mproc__item_is_far(next->gone),
				      memory_order_relaxed);
	}
	atomic_signal_fence(memory_order_seq_cst);
	/* Release: the state and what it names stand before it is the present one. */
	atomic_store_explicit(&shared->version, c->version + 1, memory_order_release);
	/* See mproc__body_look(): what is written from here on. */
	atomic_thread_fence(memory_order_release);
	c->version++;
	c->state = s;
	c->block = next->block;
	c->first = next->first;
	c->len = next->len;
	finish(c);
	mproc__waitable_signal_all(&shared->waitable, c->me);
}

/*
 * Waiting for a change
 */

struct change {
	const struct mproc__body *body;
	uint64_t seen, now;
};

static int try_change(void *arg)
{
	struct change *change = arg;

	change->now = mproc__body_version(change->body);
	if (mproc__object_check(change->body->segment, &change->body->object) < 0)
		return mproc__body_gone(change->body);
	return change->now == change->seen ? -EAGAIN : 0;
}

int mproc__body_wait(struct mproc__body *b, uint64_t *seen, int64_t deadline)
{
	struct change change = { .body = b, .seen = *seen };
	struct mproc__self *me;
	uint64_t act;
	int r;

	if (deadline < 0)
		return mproc__deadline_check("wait", deadline);
	r = enter(b, &me, &act);
	if (r < 0)
		return r;
	r = mproc__waitable_wait(&b->shared->waitable, me, what_of(b, me), deadline, NULL,
				 try_change, &change);
	mproc__act_end(me, act);
	if (r == 0)
		*seen = change.now;
	return r;
}
