/* SPDX-License-Identifier: MIT */

/*
 * Removing strings and lists
 *
 * The entry in the catalogue says that the object is gone; who is inside a call
 * has been seen to be, and comes out; who is between lock and unlock may still unlock. The
 * content is given up by one more commit, so a remover who is killed leaves nothing that
 * the next one does not find.
 *
 * Nobody can wait for himself. A call of our own that is under way, up the stack, needs the
 * blocks (a reaper comes from an allocation in the middle of a change); that is for another
 * time. A lock of our own that we hold between two calls is released by who removes in
 * person: he has said that nobody needs the object any more. A reaper leaves it.
 */

#include <mproc/mutex.h>

#include "ipc/error.h"
#include "ipc/lock.h"
#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/body.h"

/* Notes of a dead thread whose record we have are none of ours. */
static bool i_am_inside(const struct mproc__self *me, uint64_t what)
{
	for (uint32_t k = 0; !me->succeeded && k < MPROC__ACTS; k++)
		if (atomic_load_explicit(&me->rec->acting[k], memory_order_relaxed) == what)
			return true;
	return false;
}

static void give_up(struct mproc__body_call *c)
{
	struct mproc__body_next next = { .block = mproc__body_room(c->body), .drop_block = true };

	if (mproc__body_look(c) < 0)
		return;
	if (c->body->unit == sizeof(struct mproc__slot)) {
		next.drop_slots = c->block.off + c->first * c->body->unit;
		next.n_drop = c->len;
	}
	mproc__body_commit(c, &next);
}

int mproc__body_dispose(struct mproc__range *range, struct mproc__self *me, uint64_t off,
			uint64_t len, bool wait, uint32_t kind, uint64_t unit)
{
	mproc_segment *segment = mproc__segment_of(range);
	const struct mproc__object object = {
		.kind = kind, .off = off, .len = len, .mem = mproc__arena_at(segment, off, len)
	};
	const struct mproc__body_spec spec = { .noun = mproc__kind_name(kind), .unit = unit };
	struct mproc__body body;
	struct mproc__body_call c = { .body = &body, .me = me };
	uint64_t what = mproc__what(kind, off);
	char text[MPROC__ERROR_MAX];
	struct mproc__lock *lock;
	int r = 0;

	if (!object.mem || mproc__body_handle(&body, segment, &object, &spec) < 0)
		return 0;
	/* Who comes from now on sees that it is gone; who has come is noted. */
	mproc__fence_all(me);
	lock = &body.shared->lock;
	if (i_am_inside(me, what))
		return 1;
	if (mproc__lock_mine(lock, me)) {
		if (!wait)
			return 1;
		give_up(&c);
		(void)mproc_mutex_unlock((mproc_mutex *)lock);
	} else {
		/* As the users wait for it: who holds it and waits for us is found out. */
		mproc__error_keep(text);
		r = mproc__lock_take(lock, me,
				     mproc__what(MPROC__KIND_MUTEX, mproc__self_off(me, lock)),
				     wait ? MPROC_FOREVER : MPROC_NOWAIT);
		mproc__error_put_back(text);
		if (r < 0)
			return 1;
		give_up(&c);
		if (r == MPROC__LOCK_INHERITED)
			mproc__lock_repaired(lock, me);
		mproc__lock_release(lock, me);
	}
	/* Also who is asleep in it: awake, he would look at a lock that is another's by then. */
	while (mproc__somebody_inside(me, what, false)) {
		mproc__wake_slow(&lock->sleepers, INT32_MAX);
		mproc__wake_slow(&body.shared->waitable.sleepers, INT32_MAX);
		if (!wait)
			return 1;
		mproc__pause();
	}
	return 0;
}
