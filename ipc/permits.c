/* SPDX-License-Identifier: MIT */

/*
 * Semaphores of permits: each permit is a cell that names its holder
 *
 *	owner	0, or the owner word of who holds it
 *
 * A permit is taken by a CAS 0 -> me, given back by a CAS holder -> 0 and taken over
 * from the dead by a CAS dead -> me. Each is the whole of its operation: there is no
 * count that could disagree with the cells, and there are as many permits as cells.
 * What is held by a dead one is as good as free, whoever looks.
 *
 * Looking through the cells takes time, and permits may come and go behind and before
 * the eye: then none is found though there was one at every moment. So a release leaves
 * its mark after its CAS, each another one, and who has found nothing looks again if the
 * mark has changed. If it has not, all releases of permits behind the eye were still
 * under way; put them after the look and the permits are all taken when it ends. A claim
 * is acq_rel, so that who finds a permit taken has seen what its taker had seen. A mark
 * is thread 14, part of its generation 18, and a count 32 of its own: a store does what
 * a shared count would need one locked instruction more for.
 *
 * The place to look first goes round with the acquires, and the turn of each is noted
 * in its cell. Both are plain stores that a race, a stop or a kill may put back: they
 * only help to find a cell soon, and the one that has been held for longest.
 *
 * Wake-ups: every permit that comes back wakes one sleeper; see wait.c. One that a
 * death brings back wakes nobody: those who wait look every quantum.
 */

#include "ipc/semaphore.h"

#include <errno.h>

#include "ipc/error.h"
#include "ipc/kind_layout.h"
#include "ipc/participant.h"
#include "ipc/wait.h"

#define ROUNDS_MAX 1000 /* of looking again; somebody scribbles who keeps us for longer */

static inline uint32_t place_of(uint64_t order, uint32_t n_cells)
{
	uint32_t i = (uint32_t)order & 0xffffff;

	return i < n_cells ? i : 0;
}

static inline uint64_t turn_of(uint64_t order)
{
	return order >> 24;
}

/* Cell @i has been taken: note when, and where to look next. */
static inline void note_turn(struct mproc__semaphore *s, uint32_t n_cells, uint32_t i)
{
	uint64_t turn = turn_of(atomic_load_explicit(&s->taken, memory_order_relaxed));

	atomic_store_explicit(&s->cells[i].grant, turn, memory_order_relaxed);
	atomic_store_explicit(&s->taken, (turn + 1) << 24 | (i + 1 < n_cells ? i + 1 : 0),
			      memory_order_relaxed);
}

int mproc__permits_take(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells)
{
	for (int round = 0; round < ROUNDS_MAX; round++) {
		/* Acquire: the release whose mark this is has freed its cell before. */
		uint64_t last = atomic_load_explicit(&s->count, memory_order_acquire);
		uint32_t i =
			place_of(atomic_load_explicit(&s->taken, memory_order_relaxed), n_cells);

		for (uint32_t n = 0; n < n_cells; n++) {
			uint64_t none =
				atomic_load_explicit(&s->cells[i].owner, memory_order_relaxed);

			if (!none && atomic_compare_exchange_strong_explicit(
					     &s->cells[i].owner, &none, me->word,
					     memory_order_acq_rel, memory_order_relaxed)) {
				note_turn(s, n_cells, i);
				return 0;
			}
			i = i + 1 < n_cells ? i + 1 : 0;
		}
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&s->count, memory_order_relaxed) == last)
			return -EAGAIN;
	}
	return -EAGAIN;
}

int mproc__permits_inherit(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells)
{
	uint64_t alive = 0;

	for (uint32_t i = 0; i < n_cells; i++) {
		uint64_t owner = atomic_load_explicit(&s->cells[i].owner, memory_order_relaxed);

		if (owner == me->word)
			continue;
		if (owner && !mproc__semaphore_dead(me, owner, &alive))
			continue;
		if (!atomic_compare_exchange_strong_explicit(&s->cells[i].owner, &owner, me->word,
							     memory_order_acq_rel,
							     memory_order_relaxed))
			continue;
		note_turn(s, n_cells, i);
		return owner ? MPROC__SEMAPHORE_TAKEN_OVER : 0;
	}
	return -EAGAIN;
}

/* A number that no other release writes while anybody looks through the cells. */
static inline uint64_t mark(struct mproc__self *me)
{
	return me->word << 28 | ++me->n_releases;
}

/* Take cell @i from @owner, who is not asked. Return: whether it was his. */
static inline bool free_cell(struct mproc__semaphore *s, struct mproc__self *me, uint32_t i,
			     uint64_t owner)
{
	/* Noted as being about from before it is free until somebody has been woken for it. */
	uint64_t depth =
		mproc__act_begin(me, mproc__what(MPROC__KIND_SEMAPHORE, mproc__self_off(me, s)));
	/* Release: what was done with the permit is done before it is another's. */
	bool freed = atomic_compare_exchange_strong_explicit(
		&s->cells[i].owner, &owner, 0, memory_order_release, memory_order_relaxed);

	if (freed) {
		/* Release: whoever sees the mark sees the cell free, or taken since. */
		atomic_store_explicit(&s->count, mark(me), memory_order_release);
		mproc__wake_one(me, &s->waitable.sleepers);
	}
	mproc__act_end(me, depth);
	return freed;
}

static bool give_own(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells)
{
	uint32_t i = place_of(atomic_load_explicit(&s->taken, memory_order_relaxed), n_cells);

	/* What was taken last lies just behind the place to look first. */
	for (uint32_t n = 0; n < n_cells; n++) {
		i = i ? i - 1 : n_cells - 1;
		if (atomic_load_explicit(&s->cells[i].owner, memory_order_relaxed) == me->word &&
		    free_cell(s, me, i, me->word))
			return true;
	}
	return false;
}

static bool same_process(const struct mproc__self *me, uint64_t owner)
{
	uint32_t index = mproc__owner_index(owner);
	uint64_t own;

	if (index >= me->range->n_threads)
		return false;
	own = atomic_load_explicit(&me->range->threads[index].own, memory_order_relaxed);
	return mproc__owner_generation(own) == mproc__owner_generation(owner) &&
	       mproc__own_proc(own) == me->proc;
}

/* Who has held a permit for longest, in our process if anybody. Return: his cell, or n_cells. */
static uint32_t longest(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells,
			uint64_t *ret_owner)
{
	uint64_t best_turn = 0;
	uint32_t best = n_cells;
	bool best_ours = false;

	for (uint32_t i = 0; i < n_cells; i++) {
		uint64_t owner = atomic_load_explicit(&s->cells[i].owner, memory_order_relaxed);
		uint64_t turn = atomic_load_explicit(&s->cells[i].grant, memory_order_relaxed);
		bool ours;

		if (!owner)
			continue;
		ours = same_process(me, owner);
		if (best < n_cells && (ours != best_ours ? best_ours : turn >= best_turn))
			continue;
		best = i;
		best_turn = turn;
		best_ours = ours;
		*ret_owner = owner;
	}
	return best;
}

/* The calling thread holds none. */
static bool give_another(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells)
{
	uint64_t owner = 0, alive = 0;

	for (uint32_t n = 0; n < n_cells + ROUNDS_MAX; n++) {
		uint32_t i = longest(s, me, n_cells, &owner);

		if (i == n_cells)
			return false;
		/* What a dead one held was free before we came: free it, that is not what we give.
		 */
		if (mproc__semaphore_dead(me, owner, &alive))
			free_cell(s, me, i, owner);
		else if (free_cell(s, me, i, owner))
			return true;
	}
	return false;
}

int mproc__permits_give(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells,
			uint32_t n)
{
	uint32_t held = 0, given = 0;
	uint64_t alive = 0;

	/* All or none, unless others give back at the same time what is not theirs. */
	for (uint32_t i = 0; i < n_cells && n > 1 && held < n; i++) {
		uint64_t owner = atomic_load_explicit(&s->cells[i].owner, memory_order_relaxed);

		held += owner && !mproc__semaphore_dead(me, owner, &alive);
	}
	if (n > 1 && held < n)
		return mproc__fail(-ERANGE,
				   "semaphore release: %u permits to give back, %u of %u are held",
				   n, held, n_cells);
	while (given < n && (give_own(s, me, n_cells) || give_another(s, me, n_cells)))
		given++;
	if (given == 0)
		return mproc__fail(-ERANGE, "semaphore release: none of the %u permits is held",
				   n_cells);
	return given < n ? (int)given : 0;
}
