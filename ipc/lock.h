/* SPDX-License-Identifier: MIT */
#ifndef MPROC__LOCK_H
#define MPROC__LOCK_H

/*
 * The lock inside objects: an owner word that nobody's death keeps taken
 *
 * The mutex that users see and the locks inside our own objects are this one
 * thing. An object that changes several words under its lock puts a redo log
 * beside it: the log belongs to the object, so that every successor finds it.
 */

#include "ipc/lock_layout.h"
#include "ipc/wait.h"

/* mproc__lock_take() succeeded; the last owner died, and the redo log was replayed. */
#define MPROC__LOCK_INHERITED 1

int mproc__lock_take_slow(struct mproc__lock *lock, struct mproc__self *me, uint64_t what,
			  int64_t deadline);

/*
 * Take the lock.
 * @what:	the object it belongs to, for waits_on and healings
 *
 * Return: 0, MPROC__LOCK_INHERITED (the word keeps MPROC__OWNER_REPAIR until
 * mproc__lock_repaired(): the caller replays its log first), -EAGAIN, -ETIMEDOUT,
 * -EDEADLK if the calling thread owns it already, or (with a text) if the segment has
 * MPROC__OPTION_DEADLOCK, @what is a lock of users, and waiting would close a cycle.
 */
static inline int mproc__lock_take(struct mproc__lock *lock, struct mproc__self *me, uint64_t what,
				   int64_t deadline)
{
	uint64_t free = 0;

	if (atomic_compare_exchange_strong_explicit(&lock->word, &free, me->word,
						    memory_order_acquire, memory_order_relaxed))
		return 0;
	return mproc__lock_take_slow(lock, me, what, deadline);
}

/* Try to take a lock that is free or whose owner is dead; never waits. Same results. */
int mproc__lock_try(struct mproc__lock *lock, struct mproc__self *me);

/* The heir has replayed the log: forget that the last owner died. */
static inline void mproc__lock_repaired(struct mproc__lock *lock, struct mproc__self *me)
{
	/* Release: what the repair wrote stands before the news that it is done. */
	atomic_store_explicit(&lock->word, me->word, memory_order_release);
}

/*
 * The heir cannot replay the log: the lock is free, and whoever takes it next inherits as he
 * did. (What of the log he has replayed is replayed again.)
 */
static inline void mproc__lock_pass_on(struct mproc__lock *lock, struct mproc__self *me)
{
	atomic_store_explicit(&lock->word, MPROC__OWNER_REPAIR, memory_order_release);
	mproc__wake_one(me, &lock->sleepers);
}

static inline bool mproc__lock_mine(struct mproc__lock *lock, const struct mproc__self *me)
{
	return mproc__owner_id(atomic_load_explicit(&lock->word, memory_order_relaxed)) == me->word;
}

/* Release a lock the caller owns and whose repair is done. */
static inline void mproc__lock_release(struct mproc__lock *lock, struct mproc__self *me)
{
	/* Nobody else writes the word of a living owner: a store frees it. */
	atomic_store_explicit(&lock->word, 0, memory_order_release);
	mproc__wake_one(me, &lock->sleepers);
}

/* Redo: add words, then apply. The caller owns the lock the log lies under. */
static inline void mproc__redo_add(struct mproc__redo *redo, uint32_t i, _Atomic(uint64_t) *word,
				   uint64_t val)
{
	atomic_store_explicit(&redo->at[i].off, (int64_t)((intptr_t)word - (intptr_t)redo),
			      memory_order_relaxed);
	atomic_store_explicit(&redo->at[i].val, val, memory_order_relaxed);
}

/* Commit @n entries (the one store that makes them happen) and write them. */
static inline void mproc__redo_commit(struct mproc__redo *redo, uint32_t n)
{
	/*
	 * A kill exposes a prefix of program order, and whoever learns of the death does so
	 * through the kernel: compiler barriers are all the order this needs.
	 */
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&redo->n, n, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < n; i++) {
		_Atomic(uint64_t) *word =
			(void *)((intptr_t)redo + (intptr_t)atomic_load_explicit(
							  &redo->at[i].off, memory_order_relaxed));

		atomic_store_explicit(word,
				      atomic_load_explicit(&redo->at[i].val, memory_order_relaxed),
				      memory_order_release);
	}
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&redo->n, 0, memory_order_relaxed);
}

/*
 * Write again what a dead owner had committed.
 * @base, @size:	the object: an entry that points outside is refused
 *
 * Return: 0, or -EBADMSG if the log is impossible (nothing is written then).
 */
int mproc__redo_replay(struct mproc__redo *redo, void *base, uint64_t size);

#endif /* MPROC__LOCK_H */
