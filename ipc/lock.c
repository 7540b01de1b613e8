/* SPDX-License-Identifier: MIT */

/*
 * The lock inside objects: an owner word that nobody's death keeps taken
 *
 *	word	0			free
 *		flags alone		free, with news for the next owner
 *		owner | flags		taken
 *
 * Claim and owner are one word, written by one CAS. While the owner lives nobody
 * else writes the word, so it is released by a plain store; who waits sleeps on a
 * word of its own (see wait.c). Who finds the owner dead replaces the word by his
 * own and MPROC__OWNER_REPAIR in one CAS: exactly one does. He then replays the
 * object's log and clears the flag.
 *
 * Kills. Before the CAS: nothing has happened. Between the CAS and the release:
 * the next one takes over; what was half-written under the lock is completed from
 * the object's log or had no effect. After the release and before the wake: the
 * sleepers' quantum. In the middle of a repair: the word still says REPAIR and
 * names the dead repairer, the log is still in the object, and the next one
 * begins again. The log is never looked for in the dead owner's record: a chain
 * of dying owners would lose it there.
 *
 * Awarding is by barging: a lock that is released is free for whoever comes first.
 */

#include "ipc/lock.h"

#include <errno.h>

#include "ipc/error.h"
#include "ipc/graph.h"
#include "ipc/participant.h"

/* Take over from the dead owner named by @word. */
static bool take_over(struct mproc__lock *lock, struct mproc__self *me, uint64_t word)
{
	uint64_t next = me->word | MPROC__OWNER_REPAIR | (word & MPROC__OWNER_FLAGS);

	if (!atomic_compare_exchange_strong_explicit(&lock->word, &word, next, memory_order_acq_rel,
						     memory_order_relaxed))
		return false;
	atomic_fetch_add_explicit(&me->range->reg->takeovers, 1, memory_order_relaxed);
	return true;
}

int mproc__lock_take_slow(struct mproc__lock *lock, struct mproc__self *me, uint64_t what,
			  int64_t deadline)
{
	struct mproc__wait wait;
	bool begun = false;
	int r, turn;

	for (;;) {
		uint64_t word = atomic_load_explicit(&lock->word, memory_order_relaxed);
		uint32_t key;

		if (!mproc__owner_id(word)) {
			if (atomic_compare_exchange_strong_explicit(
				    &lock->word, &word, me->word | word, memory_order_acquire,
				    memory_order_relaxed)) {
				r = word ? MPROC__LOCK_INHERITED : 0;
				break;
			}
			continue;
		}
		if (mproc__owner_id(word) == me->word) {
			r = -EDEADLK;
			break;
		}
		if (!begun)
			mproc__wait_begin(&wait, me, what, deadline, MPROC__QUANTUM_OWNED);
		begun = true;
		turn = mproc__wait_turn(&wait, mproc__owner_cpu(me->range, word));
		if (turn == MPROC__WAIT_POLL)
			continue;
		/* Giving up is no reason to leave a lock with the dead. */
		if (mproc__dead(me->range, word)) {
			if (!take_over(lock, me, word))
				continue;
			r = MPROC__LOCK_INHERITED;
			break;
		}
		if (turn < 0) {
			r = turn;
			break;
		}
		mproc__wait_block(&wait);
		if (mproc__graph_refuses(me, what)) {
			r = -EDEADLK;
			break;
		}
		key = mproc__wait_announce(&wait, &lock->sleepers);
		if (atomic_load_explicit(&lock->word, memory_order_relaxed) != word)
			continue;
		mproc__wait_saw(&wait, key);
		mproc__wait_sleep(&wait, &lock->sleepers, key);
	}
	if (begun)
		mproc__wait_end(&wait, r == 0);
	return r;
}

int mproc__lock_try(struct mproc__lock *lock, struct mproc__self *me)
{
	return mproc__lock_take(lock, me, 0, MPROC_NOWAIT);
}

int mproc__redo_replay(struct mproc__redo *redo, void *base, uint64_t size)
{
	uint32_t n = atomic_load_explicit(&redo->n, memory_order_acquire);
	int64_t off[MPROC__REDO_MAX];
	uint64_t val[MPROC__REDO_MAX];

	if (n > MPROC__REDO_MAX)
		return mproc__fail(-EBADMSG, "redo log of %u entries, at most %u are possible", n,
				   MPROC__REDO_MAX);
	/* A log is a licence to write: all of it must lie inside the object. */
	for (uint32_t i = 0; i < n; i++) {
		uintptr_t at;

		off[i] = atomic_load_explicit(&redo->at[i].off, memory_order_relaxed);
		val[i] = atomic_load_explicit(&redo->at[i].val, memory_order_relaxed);
		at = (uintptr_t)redo + (uintptr_t)off[i] - (uintptr_t)base;
		if (at > size - sizeof(uint64_t) || (at & 7))
			return mproc__fail(-EBADMSG, "redo log points outside its object");
	}
	for (uint32_t i = 0; i < n; i++)
		atomic_store_explicit((_Atomic(uint64_t) *)((intptr_t)redo + (intptr_t)off[i]),
				      val[i], memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&redo->n, 0, memory_order_relaxed);
	return 0;
}
