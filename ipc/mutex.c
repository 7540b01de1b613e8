/* SPDX-License-Identifier: MIT */

/*
 * Mutual exclusion between threads of any processes
 *
 * A mutex is an mproc__lock whose tag says that there is one, and with which options.
 * What this room adds is the memory of a death: MPROC__OWNER_INHERITED in the owner
 * word, which stays through releases until an owner takes it out.
 *
 * The short ways are those of a mutex without options: lock finds that in the tag,
 * unlock in an owner word without any flag. Options go the long way: see owned.c.
 *
 * Before the claim the thread notes the mutex among its holds, and takes the note
 * away after the release and its wake-up: killed anywhere in between it is found
 * there. The note decides nothing; the owner word does. Where another may unlock, the
 * note outlives the ownership until its thread takes the mutex again or unlocks it: so
 * it is made once only, and only where there is room.
 *
 * Kills. The lock's argument holds (lock.c). An heir killed before he has turned
 * REPAIR into INHERITED leaves REPAIR, and his heir is told the same.
 */

#include <mproc/mutex.h>

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

static_assert(sizeof(struct mproc__lock) <= sizeof(mproc_mutex), "a mutex has outgrown its type");
static_assert(alignof(struct mproc__lock) <= alignof(mproc_mutex), "a mutex is misaligned");
static_assert(MPROC_MUTEX_ANY_UNLOCK == (int)MPROC__MUTEX_ANY_UNLOCK &&
		      MPROC_MUTEX_FAIR == (int)MPROC__MUTEX_FAIR &&
		      MPROC_MUTEX_STRICT == (int)MPROC__MUTEX_STRICT,
	      "an option has two numbers");

static struct mproc__lock *lock_of(mproc_mutex *mutex)
{
	return (struct mproc__lock *)mutex;
}

/*
 * Who we are where @mutex lies, if there is one.
 *
 * Return: its options, or a negative errno.
 */
static int enter(mproc_mutex *mutex, const char *what, struct mproc__self **ret)
{
	uint32_t tag;

	*ret = mproc__self(mutex, what);
	if (!*ret)
		return mproc__self_error();
	tag = atomic_load_explicit(&lock_of(mutex)->tag, memory_order_relaxed);
	if (!mproc__mutex_is(tag))
		return mproc__fail(-EINVAL, "%s: no mutex at %p", what, (void *)mutex);
	return (int)(tag & MPROC__MUTEX_OPTIONS);
}

/* What a thread notes among its holds. */
static inline uint64_t what_of(const struct mproc__self *me, const mproc_mutex *mutex)
{
	return mproc__what(MPROC__KIND_MUTEX, mproc__self_off(me, mutex));
}

int mproc_mutex_init(mproc_mutex *mutex, uint32_t flags)
{
	struct mproc__range *range = mproc__range_find(mutex);

	if (flags & ~MPROC__MUTEX_OPTIONS)
		return mproc__fail(-EINVAL, "mutex init: unknown flags 0x%" PRIx32,
				   flags & ~MPROC__MUTEX_OPTIONS);
	if ((uintptr_t)mutex % alignof(mproc_mutex))
		return mproc__fail(-EINVAL, "mutex init: %p is not aligned to %zu bytes",
				   (void *)mutex, alignof(mproc_mutex));
	if (!range)
		return mproc__fail(-ENOTCONN, "mutex init: address %p lies in no attached segment",
				   (void *)mutex);
	if (mproc__is_read_only(mutex))
		return mproc__fail_read_only("mutex init");
	mproc__order_forget(range, mutex);
	atomic_store_explicit(&lock_of(mutex)->word, 0, memory_order_relaxed);
	atomic_store_explicit(&lock_of(mutex)->sleepers, 0, memory_order_relaxed);
	atomic_store_explicit(&lock_of(mutex)->tag, MPROC__MUTEX_TAG | flags, memory_order_release);
	return 0;
}

void mproc_mutex_destroy(mproc_mutex *mutex)
{
	if (!mutex || mproc__is_read_only(mutex))
		return;
	atomic_store_explicit(&lock_of(mutex)->tag, 0, memory_order_release);
	mproc__order_forget(mproc__range_find(mutex), mutex);
}

/* Make the note. Return: whether it was made, and is to be taken away if the lock fails. */
static bool note(struct mproc__self *me, uint64_t what, int options)
{
	if (options & MPROC_MUTEX_ANY_UNLOCK &&
	    (me->n_holds == MPROC__HOLDS || mproc__hold_has(me, what)))
		return false;
	mproc__hold_add(me, what);
	return true;
}

/* Take it away, if it is there. */
static void forget(struct mproc__self *me, uint64_t what, int options)
{
	if (!(options & MPROC_MUTEX_ANY_UNLOCK) || mproc__hold_has(me, what))
		mproc__hold_remove(me, what);
}

static int refuse(int code, mproc_mutex *mutex, const struct mproc__self *me)
{
	if (code == -EDEADLK && mproc__lock_mine(lock_of(mutex), me))
		return mproc__fail(code,
				   "mutex lock: the calling thread owns the mutex at %p already",
				   (void *)mutex);
	if (code == -ENOTRECOVERABLE)
		return mproc__fail(code,
				   "mutex lock: the mutex at %p is lost: an owner died and an heir "
				   "unlocked it without mproc_mutex_consistent()",
				   (void *)mutex);
	return code;
}

/* Whatever is not the usual case: taken, inherited, misused, first call, many holds. */
static __attribute__((__noinline__)) int lock_long(mproc_mutex *mutex, int64_t deadline)
{
	struct mproc__lock *lock = lock_of(mutex);
	struct mproc__self *me;
	uint64_t what;
	int options, r;
	bool noted;

	options = enter(mutex, "mutex lock", &me);
	if (options < 0)
		return options;
	if (deadline < 0)
		return mproc__deadline_check("mutex lock", deadline);
	what = what_of(me, mutex);
	if (!(options & MPROC_MUTEX_ANY_UNLOCK))
		mproc__order_taking(me, lock, what, deadline);
	noted = note(me, what, options);
	if (options)
		r = mproc__owned_take(lock, me, what, (uint32_t)options, deadline);
	else
		r = mproc__lock_take(lock, me, what, deadline);
	if (r < 0) {
		if (noted)
			mproc__hold_remove(me, what);
		return refuse(r, mutex, me);
	}
	if (r == 0)
		return 0;
	if (!options)
		atomic_store_explicit(&lock->word, me->word | MPROC__OWNER_INHERITED,
				      memory_order_relaxed);
	return MPROC_MUTEX_INHERITED;
}

int mproc_mutex_lock(mproc_mutex *mutex, int64_t deadline)
{
	struct mproc__self *me = mproc__self_quick(mutex);
	struct mproc__lock *lock = lock_of(mutex);
	uint64_t free = 0;

	if (__builtin_expect(me && deadline >= 0 && me->n_holds < me->holds_quick &&
				     atomic_load_explicit(&lock->tag, memory_order_relaxed) ==
					     MPROC__MUTEX_TAG,
			     1)) {
		atomic_store_explicit(&me->rec->holds[me->n_holds], what_of(me, mutex),
				      memory_order_relaxed);
		atomic_signal_fence(memory_order_seq_cst);
		if (atomic_compare_exchange_strong_explicit(&lock->word, &free, me->word,
							    memory_order_acquire,
							    memory_order_relaxed)) {
			me->n_holds++;
			return 0;
		}
	}
	return lock_long(mutex, deadline);
}

static __attribute__((__noinline__)) int unlock_long(mproc_mutex *mutex)
{
	struct mproc__lock *lock = lock_of(mutex);
	struct mproc__self *me;
	uint64_t word, what;
	int options;

	options = enter(mutex, "mutex unlock", &me);
	if (options < 0)
		return options;
	what = what_of(me, mutex);
	word = atomic_load_explicit(&lock->word, memory_order_relaxed);
	if (options) {
		if (mproc__owned_release(lock, me, what, (uint32_t)options) < 0)
			return mproc__owned_refuse(lock, me, word, "mutex unlock", "mutex");
	} else {
		if (!mproc__owned_by_me(me, word))
			return mproc__owned_refuse(lock, me, word, "mutex unlock", "mutex");
		/* Release: what was done under the mutex stands before it is free. */
		atomic_store_explicit(&lock->word, word & MPROC__OWNER_INHERITED,
				      memory_order_release);
		mproc__wake_one(me, &lock->sleepers);
	}
	forget(me, what, options);
	return 0;
}

int mproc_mutex_unlock(mproc_mutex *mutex)
{
	struct mproc__self *me = mproc__self_quick(mutex);
	struct mproc__lock *lock = lock_of(mutex);
	_Atomic(uint64_t) *hold;

	/* Owned without news, and the last that was locked. */
	if (__builtin_expect(!me || !me->n_holds ||
				     atomic_load_explicit(&lock->word, memory_order_relaxed) !=
					     me->word,
			     0))
		return unlock_long(mutex);
	hold = &me->rec->holds[me->n_holds - 1];
	if (__builtin_expect(atomic_load_explicit(hold, memory_order_relaxed) != what_of(me, mutex),
			     0))
		return unlock_long(mutex);
	mproc__lock_release(lock, me);
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(hold, 0, memory_order_relaxed);
	me->n_holds--;
	return 0;
}

int mproc_mutex_consistent(mproc_mutex *mutex)
{
	struct mproc__self *me;
	int options;

	options = enter(mutex, "mutex consistent", &me);
	if (options < 0)
		return options;
	return mproc__owned_consistent(lock_of(mutex), me, "mutex consistent", "mutex");
}

int mproc_mutex_is_locked(mproc_mutex *mutex)
{
	struct mproc__self *me;
	int options;

	options = enter(mutex, "mutex is_locked", &me);
	if (options < 0)
		return options;
	return mproc__owned_by_any(
		atomic_load_explicit(&lock_of(mutex)->word, memory_order_relaxed));
}

int mproc_mutex_owner(mproc_mutex *mutex, struct mproc_mutex_owner *ret)
{
	struct mproc__self *me;
	int options;

	options = enter(mutex, "mutex owner", &me);
	if (options < 0)
		return options;
	return mproc__owned_tell(lock_of(mutex), me, what_of(me, mutex), ret);
}
