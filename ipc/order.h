/* SPDX-License-Identifier: MIT */
#ifndef MPROC__ORDER_H
#define MPROC__ORDER_H

/*
 * In which order locks are taken: two that are taken in both orders can deadlock
 */

#include <mproc/common.h>

#include "ipc/attach.h"
#include "ipc/order_layout.h"

struct mproc__lock;

/* The slow parts of what follows. */
void mproc__order_taking_slow(struct mproc__self *me, const struct mproc__lock *lock,
			      uint64_t what);
void mproc__order_purge(struct mproc__range *range, const void *lock);

/*
 * The calling thread is about to ask for @lock, a mutex that none but its owner unlocks
 * or an rmutex, which is not noted among its holds yet: remember what it holds. What
 * never waits never deadlocks, and is not remembered.
 */
static inline void mproc__order_taking(struct mproc__self *me, const struct mproc__lock *lock,
				       uint64_t what, int64_t deadline)
{
	if (__builtin_expect(me->range->order && me->n_holds && deadline != MPROC_NOWAIT, 0))
		mproc__order_taking_slow(me, lock, what);
}

/* At @lock there is going to be, or has been, a lock: what was said of its place is forgotten. */
static inline void mproc__order_forget(struct mproc__range *range, const void *lock)
{
	if (range && range->order)
		mproc__order_purge(range, lock);
}

/*
 * Call @fn for every two locks of @only, or, if that is NULL, of any attached range, that
 * were taken in both orders. The fork lock is held: @fn takes no other.
 * @ret_dropped:	lock calls that were not recorded, for want of room
 *
 * Return: how many pairs, or what @fn returned if that is negative.
 */
int mproc__order_pairs(struct mproc__range *only,
		       int (*fn)(struct mproc__range *range, const uint64_t whats[2], void *arg),
		       void *arg, uint64_t *ret_dropped);

#endif /* MPROC__ORDER_H */
