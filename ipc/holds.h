/* SPDX-License-Identifier: MIT */
#ifndef MPROC__HOLDS_H
#define MPROC__HOLDS_H

/*
 * The notes a thread makes of what it holds
 *
 * A note stands in the thread's record from before the claim until after the
 * release and its wake-up: whoever is killed anywhere in between is found there.
 * Notes are for diagnosis and for promptness; they decide nothing. When there is
 * no room for another, a count says so and nothing else changes.
 */

#include "ipc/attach.h"

/*
 * Note that @what is held or about to be. The caller is the thread whose record it is.
 */
static inline void mproc__hold_add(struct mproc__self *me, uint64_t what)
{
	struct mproc__thread *rec = me->rec;

	if (me->n_holds < MPROC__HOLDS)
		atomic_store_explicit(&rec->holds[me->n_holds++], what, memory_order_relaxed);
	else
		atomic_store_explicit(&rec->n_lost,
				      atomic_load_explicit(&rec->n_lost, memory_order_relaxed) + 1,
				      memory_order_relaxed);
	/* A kill exposes a prefix of program order: the note stands before the claim. */
	atomic_signal_fence(memory_order_seq_cst);
}

/* Is @what noted? */
static inline bool mproc__hold_has(const struct mproc__self *me, uint64_t what)
{
	for (uint32_t i = 0; i < me->n_holds; i++)
		if (atomic_load_explicit(&me->rec->holds[i], memory_order_relaxed) == what)
			return true;
	return false;
}

/* Take the youngest note of @what away, wherever it stands. */
static inline void mproc__hold_remove(struct mproc__self *me, uint64_t what)
{
	struct mproc__thread *rec = me->rec;
	uint32_t i = me->n_holds;

	atomic_signal_fence(memory_order_seq_cst);
	while (i-- > 0)
		if (atomic_load_explicit(&rec->holds[i], memory_order_relaxed) == what)
			break;
	if (i == UINT32_MAX) {
		atomic_store_explicit(&rec->n_lost,
				      atomic_load_explicit(&rec->n_lost, memory_order_relaxed) - 1,
				      memory_order_relaxed);
		return;
	}
	/* Released out of order: the last note takes the free place. */
	me->n_holds--;
	atomic_store_explicit(&rec->holds[i],
			      atomic_load_explicit(&rec->holds[me->n_holds], memory_order_relaxed),
			      memory_order_relaxed);
	atomic_store_explicit(&rec->holds[me->n_holds], 0, memory_order_relaxed);
}

#endif /* MPROC__HOLDS_H */
