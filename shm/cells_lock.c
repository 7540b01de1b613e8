/* SPDX-License-Identifier: MIT */

/*
 * Typed items: the lock, and what is done under it
 *
 * Between lock and unlock the user may leave things half done; get and set do not.
 * So the news of a death is told only if the dead had the lock by lock():
 *
 *	section		NONE	nobody is between lock and unlock
 *			OPEN	the owner of the lock is; or was, if he is dead
 *			LEFT	one has died there, and nobody has said consistent
 *
 * and how many times its owner has locked it once more, as with a recursive mutex.
 *
 * The word changes under the lock alone. An heir who finds OPEN makes it LEFT
 * before he tells the mutex that the death is known; one who dies before has
 * changed nothing, and one who dies after leaves LEFT.
 *
 * A mutex that was given serves others as well, so the news of a death stays in it, and
 * may be told to somebody who does not know this object. What is pending is finished by
 * whoever has the mutex and is about to use the items: while it is his, pending is not 0
 * only if a dead owner has left it so.
 */

#include <errno.h>
#include <stdatomic.h>

#include <mproc/mutex.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/lock.h"
#include "ipc/participant.h"
#include "shm/cells.h"

static uint64_t section(const struct mproc__cells *c)
{
	return atomic_load_explicit(&c->lock->section, memory_order_relaxed);
}

static void set_section(struct mproc__cells *c, uint64_t next)
{
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&c->lock->section, next, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

/* Take the mutex; what a dead owner has left is put in order. */
static int take(struct mproc__cells *c, int64_t deadline)
{
	int r = mproc_mutex_lock(c->mutex, deadline);

	if (r < 0)
		return r;
	/* Not only on the news of a death: a given mutex may have told it to somebody else. */
	mproc__cells_finish(c);
	if (r != MPROC_MUTEX_INHERITED || !c->lock)
		return 0;
	if (section(c) != MPROC__SECTION_NONE)
		set_section(c, MPROC__SECTION_LEFT);
	/* The mutex need not remember: the section does. */
	r = mproc_mutex_consistent(c->mutex);
	if (r < 0)
		(void)mproc_mutex_unlock(c->mutex);
	return r;
}

/* By the owner of the lock. */
static int news(const struct mproc__cells *c)
{
	const struct mproc__lock *lock = (const void *)c->mutex;
	bool died;

	if (c->lock)
		died = (section(c) & MPROC__SECTION_STATE) == MPROC__SECTION_LEFT;
	else
		died = atomic_load_explicit(&lock->word, memory_order_relaxed) &
		       MPROC__OWNER_INHERITED;
	return died ? MPROC_MUTEX_INHERITED : 0;
}

/* Does the calling thread have the lock? Return: 1, 0, or negative. */
static int is_mine(const struct mproc__cells *c)
{
	struct mproc__self *me = mproc__self(c->shared, c->noun);

	return me ? mproc__lock_mine((struct mproc__lock *)c->mutex, me) : mproc__self_error();
}

/* The text of what takes a lock to do. */
static int refuse_raw(const struct mproc__cells *c, const char *verb)
{
	return mproc__fail(-EINVAL, "%s %s: %s: it was made without a lock", c->noun, c->name,
			   verb);
}

/* Once more by its owner, as he can have a recursive mutex. */
static int lock_again(struct mproc__cells *c)
{
	uint64_t now = section(c);

	if (now > UINT64_MAX - MPROC__SECTION_AGAIN)
		return mproc__fail(-EOVERFLOW, "%s %s: lock: locked too many times", c->noun,
				   c->name);
	set_section(c, now + MPROC__SECTION_AGAIN);
	return news(c);
}

int mproc__cells_lock(struct mproc__cells *c, int64_t deadline)
{
	int r;

	if (!c->mutex)
		return refuse_raw(c, "lock");
	if (c->lock) {
		if (deadline < 0)
			return mproc__deadline_check("lock", deadline);
		r = is_mine(c);
		if (r)
			return r < 0 ? r : lock_again(c);
	}
	r = take(c, deadline);
	if (r < 0)
		return r;
	/* Nobody else's word is here: an owner who unlocked has left none. */
	if (c->lock && section(c) != MPROC__SECTION_LEFT)
		set_section(c, MPROC__SECTION_OPEN);
	return news(c);
}

int mproc__cells_unlock(struct mproc__cells *c)
{
	int r;

	if (!c->mutex)
		return refuse_raw(c, "unlock");
	/* Only the owner may write the word; the mutex has the text for anybody else. */
	r = is_mine(c);
	if (r < 0)
		return r;
	if (r && c->lock) {
		uint64_t now = section(c);

		if (now >= MPROC__SECTION_AGAIN) {
			set_section(c, now - MPROC__SECTION_AGAIN);
			return 0;
		}
		if (now == MPROC__SECTION_OPEN)
			set_section(c, MPROC__SECTION_NONE);
	}
	return mproc_mutex_unlock(c->mutex);
}

int mproc__cells_consistent(struct mproc__cells *c)
{
	int r;

	if (!c->mutex)
		return refuse_raw(c, "consistent");
	if (!c->lock)
		return mproc_mutex_consistent(c->mutex);
	r = is_mine(c);
	if (r < 0)
		return r;
	if (!r)
		return mproc__fail(-EPERM,
				   "%s %s: consistent: the calling thread has not locked it",
				   c->noun, c->name);
	if ((section(c) & MPROC__SECTION_STATE) != MPROC__SECTION_LEFT)
		return mproc__fail(-EINVAL, "%s %s: consistent: nobody has died in it", c->noun,
				   c->name);
	set_section(c, section(c) - MPROC__SECTION_LEFT + MPROC__SECTION_OPEN);
	return 0;
}

/*
 * Get and set
 */

int mproc__cells_begin(struct mproc__cells *c, bool changes, int64_t deadline, bool *ret_release)
{
	int r;

	*ret_release = false;
	if (!c->mutex && changes && mproc__is_read_only(c->shared))
		return mproc__fail_read_only(c->noun);
	if (!c->mutex)
		return deadline < 0 ? mproc__deadline_check(c->noun, deadline) : 0;
	r = is_mine(c);
	if (r < 0)
		return r;
	if (!r) {
		r = take(c, deadline);
		if (r < 0)
			return r;
		*ret_release = true;
	} else {
		/* Who has locked a given mutex himself has not looked. */
		mproc__cells_finish(c);
	}
	return news(c);
}

int mproc__cells_end(struct mproc__cells *c, bool release, bool changed)
{
	if (changed) {
		struct mproc__self *me = mproc__self(c->shared, c->noun);

		if (me)
			mproc__waitable_signal_all(&c->shared->waitable, me);
	}
	return release ? mproc_mutex_unlock(c->mutex) : 0;
}

/* Exactly one of @ret and @from is given. */
static int under_lock(struct mproc__cells *c, uint64_t i, uint64_t n, void *ret, const void *from,
		      int64_t deadline)
{
	bool release;
	int told, r;

	told = mproc__cells_begin(c, from != NULL, deadline, &release);
	if (told < 0)
		return told;
	if (ret)
		mproc__cells_copy_out(c, i, n, ret);
	else
		mproc__cells_copy_in(c, i, n, from);
	r = mproc__cells_end(c, release, from != NULL);
	return r < 0 ? r : told;
}

int mproc__cells_get(struct mproc__cells *c, uint64_t i, uint64_t n, void *ret, int64_t deadline)
{
	return under_lock(c, i, n, ret, NULL, deadline);
}

int mproc__cells_set(struct mproc__cells *c, uint64_t i, uint64_t n, const void *from,
		     int64_t deadline)
{
	return under_lock(c, i, n, NULL, from, deadline);
}
