/* SPDX-License-Identifier: MIT */

/*
 * Mutual exclusion between threads of any processes
 *
 * A mutex is an mproc__lock whose tag says that there is one. What this room adds
 * is the memory of a death: MPROC__OWNER_INHERITED in the owner word, which stays
 * through releases until an owner takes it out.
 *
 * Before the claim the thread notes the mutex among its holds, and takes the note
 * away after the release and its wake-up: killed anywhere in between it is found
 * there. The note decides nothing; the owner word does.
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
#include "ipc/participant.h"

#define MUTEX_TAG 0x7874756du /* "mutx": memory that holds something else is refused */

static_assert(sizeof(struct mproc__lock) <= sizeof(mproc_mutex), "a mutex has outgrown its type");
static_assert(alignof(struct mproc__lock) <= alignof(mproc_mutex), "a mutex is misaligned");

static struct mproc__lock *lock_of(mproc_mutex *mutex)
{
	return (struct mproc__lock *)mutex;
}

/* Who we are where @mutex lies, if there is one. Return: 0 or a negative errno. */
static int enter(mproc_mutex *mutex, const char *what, struct mproc__self **ret)
{
	*ret = mproc__self(mutex, what);
	if (!*ret)
		return mproc__self_error();
	if (atomic_load_explicit(&lock_of(mutex)->tag, memory_order_relaxed) != MUTEX_TAG)
		return mproc__fail(-EINVAL, "%s: no mutex at %p", what, (void *)mutex);
	return 0;
}

/* What a thread notes among its holds. */
static inline uint64_t what_of(const struct mproc__self *me, const mproc_mutex *mutex)
{
	return mproc__what(MPROC__KIND_MUTEX, mproc__self_off(me, mutex));
}

int mproc_mutex_init(mproc_mutex *mutex, uint32_t flags)
{
	if (flags)
		return mproc__fail(-EINVAL, "mutex init: unknown flags 0x%" PRIx32, flags);
	if ((uintptr_t)mutex % alignof(mproc_mutex))
		return mproc__fail(-EINVAL, "mutex init: %p is not aligned to %zu bytes",
				   (void *)mutex, alignof(mproc_mutex));
	if (!mproc__range_find(mutex))
		return mproc__fail(-ENOTCONN, "mutex init: address %p lies in no attached segment",
				   (void *)mutex);
	atomic_store_explicit(&lock_of(mutex)->word, 0, memory_order_relaxed);
	atomic_store_explicit(&lock_of(mutex)->sleepers, 0, memory_order_relaxed);
	atomic_store_explicit(&lock_of(mutex)->tag, MUTEX_TAG, memory_order_release);
	return 0;
}

void mproc_mutex_destroy(mproc_mutex *mutex)
{
	if (mutex)
		atomic_store_explicit(&lock_of(mutex)->tag, 0, memory_order_release);
}

/* Whatever is not the usual case: taken, inherited, misused, first call, many holds. */
static __attribute__((__noinline__)) int lock_long(mproc_mutex *mutex, int64_t deadline)
{
	struct mproc__lock *lock = lock_of(mutex);
	struct mproc__self *me;
	uint64_t what;
	int r;

	r = enter(mutex, "mutex lock", &me);
	if (r < 0)
		return r;
	if (deadline < 0)
		return mproc__deadline_check("mutex lock", deadline);
	what = what_of(me, mutex);
	mproc__hold_add(me, what);
	r = mproc__lock_take(lock, me, what, deadline);
	if (r < 0) {
		mproc__hold_remove(me, what);
		if (r == -EDEADLK && mproc__lock_mine(lock, me))
			mproc__fail(r,
				    "mutex lock: the calling thread owns the mutex at %p already",
				    (void *)mutex);
		return r;
	}
	if (r == 0)
		return 0;
	atomic_store_explicit(&lock->word, me->word | MPROC__OWNER_INHERITED, memory_order_relaxed);
	return MPROC_MUTEX_INHERITED;
}

int mproc_mutex_lock(mproc_mutex *mutex, int64_t deadline)
{
	struct mproc__self *me = mproc__self_quick(mutex);
	struct mproc__lock *lock = lock_of(mutex);
	uint64_t free = 0;

	if (__builtin_expect(me && deadline >= 0 && me->n_holds < me->holds_quick &&
				     atomic_load_explicit(&lock->tag, memory_order_relaxed) ==
					     MUTEX_TAG,
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

/* The caller's own word at @mutex. Return: 0 or -EPERM. */
static int owned(struct mproc__lock *lock, const struct mproc__self *me, const char *what,
		 uint64_t *ret_word)
{
	*ret_word = atomic_load_explicit(&lock->word, memory_order_relaxed);
	if (mproc__owner_id(*ret_word) == me->word)
		return 0;
	if (!mproc__owner_id(*ret_word))
		return mproc__fail(-EPERM, "%s: nobody owns the mutex at %p", what, (void *)lock);
	return mproc__fail(
		-EPERM, "%s: the mutex at %p is owned by thread record %" PRIu32 ", not %" PRIu32,
		what, (void *)lock, mproc__owner_index(*ret_word), mproc__owner_index(me->word));
}

static __attribute__((__noinline__)) int unlock_long(mproc_mutex *mutex)
{
	struct mproc__lock *lock = lock_of(mutex);
	struct mproc__self *me;
	uint64_t word;
	int r;

	r = enter(mutex, "mutex unlock", &me);
	if (r < 0)
		return r;
	r = owned(lock, me, "mutex unlock", &word);
	if (r < 0)
		return r;
	/* Release: what was done under the mutex stands before it is free. */
	atomic_store_explicit(&lock->word, word & MPROC__OWNER_INHERITED, memory_order_release);
	mproc__wake_one(me, &lock->sleepers);
	mproc__hold_remove(me, what_of(me, mutex));
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
	struct mproc__lock *lock = lock_of(mutex);
	struct mproc__self *me;
	uint64_t word;
	int r;

	r = enter(mutex, "mutex consistent", &me);
	if (r < 0)
		return r;
	r = owned(lock, me, "mutex consistent", &word);
	if (r < 0)
		return r;
	if (!(word & MPROC__OWNER_INHERITED))
		return mproc__fail(-EINVAL, "mutex consistent: the mutex at %p is not inherited",
				   (void *)mutex);
	atomic_store_explicit(&lock->word, me->word, memory_order_release);
	return 0;
}
