/* SPDX-License-Identifier: MIT */

/*
 * Mutual exclusion that its owner may enter again and again
 *
 * A recursive mutex is an mproc__lock with a tag of its own. The word names the owner,
 * as in a mutex; how often he has locked it stands in a table of his identity, which is
 * private to the process and wiped by fork: an entry {address, depth} for each rmutex
 * that is locked more than once. Locked once, there is none: the short ways touch no
 * table that is empty.
 *
 * An entry counts only while the word names its thread. One that has outlived that (its
 * segment was closed under it, or its memory made a new rmutex) is dropped when the
 * thread next owns an rmutex at that address, or when the table is full.
 *
 * Kills. Depths are the dead one's alone and die with it. All else is lock.c, and the
 * news of a death is mutex.c.
 */

#include <mproc/rmutex.h>

#include <errno.h>
#include <inttypes.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/holds.h"
#include "ipc/kind_layout.h"
#include "ipc/lock.h"
#include "ipc/mutex_layout.h"
#include "ipc/order.h"
#include "ipc/owned.h"
#include "ipc/participant.h"
#include "ipc/rmutex.h"

static_assert(sizeof(struct mproc__lock) <= sizeof(mproc_rmutex), "an rmutex outgrew its type");
static_assert(alignof(struct mproc__lock) <= alignof(mproc_rmutex), "an rmutex is misaligned");
static_assert(MPROC_RMUTEX_DEEP_MAX == MPROC__DEPTHS, "the table has another size");

static struct mproc__lock *lock_of(mproc_rmutex *rmutex)
{
	return (struct mproc__lock *)rmutex;
}

static bool is_rmutex(mproc_rmutex *rmutex)
{
	return atomic_load_explicit(&lock_of(rmutex)->tag, memory_order_relaxed) ==
	       MPROC__RMUTEX_TAG;
}

/* Who we are where @rmutex lies, if there is one. Return: 0 or a negative errno. */
static int enter(mproc_rmutex *rmutex, const char *what, struct mproc__self **ret)
{
	*ret = mproc__self(rmutex, what);
	if (!*ret)
		return mproc__self_error();
	if (!is_rmutex(rmutex))
		return mproc__fail(-EINVAL, "%s: no rmutex at %p", what, (void *)rmutex);
	return 0;
}

static inline uint64_t what_of(const struct mproc__self *me, const mproc_rmutex *rmutex)
{
	return mproc__what(MPROC__KIND_RMUTEX, mproc__self_off(me, rmutex));
}

/* Depths */

static struct mproc__depth *depth_of(const mproc_rmutex *rmutex)
{
	struct mproc__identity *identity = mproc__identity;

	for (uint32_t i = 0; i < identity->n_depths; i++)
		if (identity->depths[i].at == (uintptr_t)rmutex)
			return &identity->depths[i];
	return NULL;
}

static void depth_drop(struct mproc__depth *depth)
{
	*depth = mproc__identity->depths[--mproc__identity->n_depths];
}

/* Owned for the first time: what an earlier life of this address has left does not count. */
static inline void depth_begin(const mproc_rmutex *rmutex)
{
	struct mproc__depth *depth;

	if (__builtin_expect(mproc__identity->n_depths, 0)) {
		depth = depth_of(rmutex);
		if (depth)
			depth_drop(depth);
	}
}

/* Drop the entries of what the calling thread does not own any more. */
static void depths_sweep(void)
{
	struct mproc__identity *identity = mproc__identity;

	for (uint32_t i = identity->n_depths; i-- > 0;) {
		mproc_rmutex *rmutex = (mproc_rmutex *)identity->depths[i].at;
		bool owned = false;

		for (uint32_t k = 0; k < MPROC__RANGES_MAX && !owned; k++) {
			struct mproc__self *me = &identity->at[k];

			owned = (uintptr_t)rmutex - me->base <
					atomic_load_explicit(&me->size, memory_order_relaxed) &&
				is_rmutex(rmutex) && mproc__lock_mine(lock_of(rmutex), me);
		}
		if (!owned)
			depth_drop(&identity->depths[i]);
	}
}

/* The entry of an rmutex that is to be locked more than once; of depth 1 if it is new. */
static struct mproc__depth *depth_add(mproc_rmutex *rmutex)
{
	struct mproc__identity *identity = mproc__identity;
	struct mproc__depth *depth = depth_of(rmutex);

	if (depth)
		return depth;
	if (identity->n_depths == MPROC__DEPTHS)
		depths_sweep();
	if (identity->n_depths == MPROC__DEPTHS)
		return NULL;
	depth = &identity->depths[identity->n_depths++];
	depth->at = (uintptr_t)rmutex;
	depth->n = 1;
	return depth;
}

/* The owner locks it once more. */
static int deeper(mproc_rmutex *rmutex)
{
	struct mproc__depth *depth = depth_add(rmutex);
	uint64_t word;

	if (!depth)
		return mproc__fail(-ENOLCK,
				   "rmutex lock: the calling thread has locked %u others more than "
				   "once, the limit",
				   MPROC__DEPTHS);
	if (depth->n == MPROC_RMUTEX_DEPTH_MAX)
		return mproc__fail(-EOVERFLOW,
				   "rmutex lock: the calling thread has locked the rmutex at %p %u "
				   "times, the limit",
				   (void *)rmutex, MPROC_RMUTEX_DEPTH_MAX);
	depth->n++;
	word = atomic_load_explicit(&lock_of(rmutex)->word, memory_order_relaxed);
	return word & MPROC__OWNER_INHERITED ? MPROC_MUTEX_INHERITED : 0;
}

int mproc_rmutex_init(mproc_rmutex *rmutex, uint32_t flags)
{
	struct mproc__range *range = mproc__range_find(rmutex);

	if (flags)
		return mproc__fail(-EINVAL, "rmutex init: unknown flags 0x%" PRIx32, flags);
	if ((uintptr_t)rmutex % alignof(mproc_rmutex))
		return mproc__fail(-EINVAL, "rmutex init: %p is not aligned to %zu bytes",
				   (void *)rmutex, alignof(mproc_rmutex));
	if (!range)
		return mproc__fail(-ENOTCONN, "rmutex init: address %p lies in no attached segment",
				   (void *)rmutex);
	if (mproc__is_read_only(rmutex))
		return mproc__fail_read_only("rmutex init");
	mproc__order_forget(range, rmutex);
	atomic_store_explicit(&lock_of(rmutex)->word, 0, memory_order_relaxed);
	atomic_store_explicit(&lock_of(rmutex)->sleepers, 0, memory_order_relaxed);
	atomic_store_explicit(&lock_of(rmutex)->tag, MPROC__RMUTEX_TAG, memory_order_release);
	return 0;
}

void mproc_rmutex_destroy(mproc_rmutex *rmutex)
{
	if (!rmutex || mproc__is_read_only(rmutex))
		return;
	atomic_store_explicit(&lock_of(rmutex)->tag, 0, memory_order_release);
	mproc__order_forget(mproc__range_find(rmutex), rmutex);
}

/* Whatever is not the usual case. */
static __attribute__((__noinline__)) int lock_long(mproc_rmutex *rmutex, int64_t deadline)
{
	struct mproc__lock *lock = lock_of(rmutex);
	struct mproc__self *me;
	uint64_t what;
	int r;

	r = enter(rmutex, "rmutex lock", &me);
	if (r < 0)
		return r;
	if (deadline < 0)
		return mproc__deadline_check("rmutex lock", deadline);
	if (mproc__lock_mine(lock, me))
		return deeper(rmutex);
	what = what_of(me, rmutex);
	mproc__order_taking(me, lock, what, deadline);
	mproc__hold_add(me, what);
	r = mproc__lock_take(lock, me, what, deadline);
	if (r < 0) {
		mproc__hold_remove(me, what);
		return r;
	}
	depth_begin(rmutex);
	if (r == 0)
		return 0;
	atomic_store_explicit(&lock->word, me->word | MPROC__OWNER_INHERITED, memory_order_relaxed);
	return MPROC_MUTEX_INHERITED;
}

int mproc_rmutex_lock(mproc_rmutex *rmutex, int64_t deadline)
{
	struct mproc__self *me = mproc__self_quick(rmutex);
	struct mproc__lock *lock = lock_of(rmutex);
	uint64_t free = 0;

	if (__builtin_expect(
		    me && deadline >= 0 && me->n_holds < me->holds_quick && is_rmutex(rmutex), 1)) {
		/* Once more: nothing shared is written. */
		if (mproc__lock_mine(lock, me))
			return deeper(rmutex);
		atomic_store_explicit(&me->rec->holds[me->n_holds], what_of(me, rmutex),
				      memory_order_relaxed);
		atomic_signal_fence(memory_order_seq_cst);
		if (atomic_compare_exchange_strong_explicit(&lock->word, &free, me->word,
							    memory_order_acquire,
							    memory_order_relaxed)) {
			me->n_holds++;
			depth_begin(rmutex);
			return 0;
		}
	}
	return lock_long(rmutex, deadline);
}

/* Free it and take the note away. */
static void release(mproc_rmutex *rmutex, struct mproc__self *me, uint64_t word)
{
	struct mproc__lock *lock = lock_of(rmutex);

	/* Release: what was done under the rmutex stands before it is free. */
	atomic_store_explicit(&lock->word, word & MPROC__OWNER_INHERITED, memory_order_release);
	mproc__wake_one(me, &lock->sleepers);
	mproc__hold_remove(me, what_of(me, rmutex));
}

/* The owner word, if it is the caller's. Return: 0 or a negative errno. */
static int owned(mproc_rmutex *rmutex, const char *what, struct mproc__self **ret, uint64_t *word)
{
	int r = enter(rmutex, what, ret);

	if (r < 0)
		return r;
	*word = atomic_load_explicit(&lock_of(rmutex)->word, memory_order_relaxed);
	if (!mproc__owned_by_me(*ret, *word))
		return mproc__owned_refuse(lock_of(rmutex), *ret, *word, what, "rmutex");
	return 0;
}

int mproc_rmutex_unlock(mproc_rmutex *rmutex)
{
	struct mproc__depth *depth;
	struct mproc__self *me;
	uint64_t word;
	int r;

	r = owned(rmutex, "rmutex unlock", &me, &word);
	if (__builtin_expect(r < 0, 0))
		return r;
	depth = __builtin_expect(mproc__identity->n_depths, 0) ? depth_of(rmutex) : NULL;
	if (!depth) {
		release(rmutex, me, word);
		return 0;
	}
	if (--depth->n == 1)
		depth_drop(depth);
	return 0;
}

int mproc_rmutex_consistent(mproc_rmutex *rmutex)
{
	struct mproc__self *me;
	int r;

	r = enter(rmutex, "rmutex consistent", &me);
	if (r < 0)
		return r;
	return mproc__owned_consistent(lock_of(rmutex), me, "rmutex consistent", "rmutex");
}

int mproc_rmutex_is_locked(mproc_rmutex *rmutex)
{
	struct mproc__self *me;
	int r;

	r = enter(rmutex, "rmutex is_locked", &me);
	if (r < 0)
		return r;
	return mproc__owned_by_any(
		atomic_load_explicit(&lock_of(rmutex)->word, memory_order_relaxed));
}

int mproc_rmutex_depth(mproc_rmutex *rmutex)
{
	const struct mproc__depth *depth;
	struct mproc__self *me;
	int r;

	r = enter(rmutex, "rmutex depth", &me);
	if (r < 0)
		return r;
	if (!mproc__lock_mine(lock_of(rmutex), me))
		return 0;
	depth = depth_of(rmutex);
	return depth ? (int)depth->n : 1;
}

int mproc_rmutex_owner(mproc_rmutex *rmutex, struct mproc_mutex_owner *ret)
{
	struct mproc__self *me;
	int r;

	r = enter(rmutex, "rmutex owner", &me);
	if (r < 0)
		return r;
	return mproc__owned_tell(lock_of(rmutex), me, what_of(me, rmutex), ret);
}

int mproc__rmutex_release_all(mproc_rmutex *rmutex)
{
	struct mproc__depth *depth;
	struct mproc__self *me;
	uint64_t word;
	int r;

	r = owned(rmutex, "condition wait", &me, &word);
	if (r < 0)
		return r;
	depth = depth_of(rmutex);
	r = depth ? (int)depth->n : 1;
	if (depth)
		depth_drop(depth);
	release(rmutex, me, word);
	return r;
}

int mproc__rmutex_retake(mproc_rmutex *rmutex, int depth)
{
	int r = mproc_rmutex_lock(rmutex, MPROC_FOREVER);

	/* There is room for it: its entry was given back when we began to wait. */
	if (r >= 0 && depth > 1)
		depth_add(rmutex)->n = (uint32_t)depth;
	return r;
}
