/* SPDX-License-Identifier: MIT */

/*
 * Semaphores of leases: a unit that is taken stays somebody's until he says it is done
 *
 *	count		units ever released, 48 bits
 *	taken		units ever taken 48 | cell the last one is on its way to, plus 1
 *	cell.owner	0, or the owner word of who has the cell
 *	cell.grant	number of the last unit that came into it | it is held
 *
 * There are count - taken units that nobody has taken yet. To lease one:
 *
 *	1. owner: 0 -> me		the cell is mine; it holds nothing
 *	2. taken: {n, 0} -> {n + 1, cell}	the unit is mine: this one store commits
 *	3. grant: -> {n + 1, held}	it has arrived
 *	4. taken: {n + 1, cell} -> {n + 1, 0}	the way is free for the next one
 *
 * Steps 3 and 4 are done by anybody who finds the way taken: a process that is killed or
 * stopped after 2 keeps nobody waiting. Numbers only grow, so a helper who comes late
 * changes nothing: before 3 he has seen, in this order, the way taken by unit n + 1, the
 * cell's grant, and the way still taken by it; while it is, the grant has but one change
 * before it, the one that he is about to make, and no grant ever comes again.
 *
 * A cell whose owner is dead is taken over by CAS dead -> me. If, once nothing is on its
 * way to it, it holds a unit, that unit is now leased to me: a death puts nothing back,
 * it changes hands. If it holds none the cell goes on to step 2 or is freed. A chain of
 * dying heirs changes the owner alone.
 *
 * Ack: the grant loses "held" (one store, by the living owner: this commits), then the
 * owner becomes 0. Between the two the cell is one that holds nothing.
 *
 * Looking through the cells takes time, and cells may become free behind the eye while
 * others are taken before it: then none is found though there was one at every moment. So
 * whoever frees a cell counts that afterwards, and who has found none looks again if the
 * count has changed; permits.c says why that is enough.
 *
 * Releasing changes count alone, which nobody but releasers writes, and asks for no
 * identity: it is async-signal-safe.
 *
 * Wake-ups. Each unit released wakes one sleeper, and so does each cell that becomes
 * free: a sleeper may lack either.
 */

#include "ipc/semaphore.h"

#include <errno.h>

#include "ipc/error.h"
#include "ipc/kind_layout.h"
#include "ipc/participant.h"
#include "ipc/wait.h"

#define ROUNDS_MAX 1000 /* of looking again; somebody scribbles who keeps us for longer */

/* Units nobody has taken when @taken was read. */
static inline uint64_t there(uint64_t count, uint64_t taken)
{
	return (count - mproc__semaphore_n_taken(taken)) & MPROC__SEMAPHORE_UNITS;
}

/* Steps 3 and 4 for the unit on its way as of @taken. Return: 0, or -EBADMSG. */
static int help(struct mproc__semaphore *s, uint32_t n_cells, uint64_t taken)
{
	uint64_t n = mproc__semaphore_n_taken(taken), grant;
	uint32_t i = mproc__semaphore_transit(taken) - 1;

	if (i >= n_cells)
		return mproc__fail(-EBADMSG,
				   "semaphore: a unit is on its way to cell %u, there are %u", i,
				   n_cells);
	grant = atomic_load_explicit(&s->cells[i].grant, memory_order_seq_cst);
	if (atomic_load_explicit(&s->taken, memory_order_seq_cst) != taken)
		return 0;
	if (grant >> 1 < n)
		atomic_compare_exchange_strong(&s->cells[i].grant, &grant, n << 1 | 1);
	atomic_compare_exchange_strong(&s->taken, &taken, n << 16);
	return 0;
}

static void free_cell(struct mproc__semaphore *s, struct mproc__self *me, uint32_t i)
{
	/* Noted as being about from before it is free until somebody has been woken for it. */
	uint64_t depth =
		mproc__act_begin(me, mproc__what(MPROC__KIND_SEMAPHORE, mproc__self_off(me, s)));

	/* Nobody else writes the cell of a living owner: a store frees it. */
	atomic_store_explicit(&s->cells[i].owner, 0, memory_order_release);
	/* Release: whoever sees the count sees the cell free, or taken since. */
	atomic_fetch_add_explicit(&s->freed, 1, memory_order_release);
	mproc__wake_one(me, &s->waitable.sleepers);
	mproc__act_end(me, depth);
}

/* Cell @i is ours: have a unit in it. Return: as of mproc__leases_inherit(). */
static int fill(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells, uint32_t i)
{
	uint64_t taken = atomic_load_explicit(&s->taken, memory_order_seq_cst);
	uint64_t next;
	int r;

	for (;;) {
		if (mproc__semaphore_transit(taken)) {
			r = help(s, n_cells, taken);
			if (r < 0)
				break;
			taken = atomic_load_explicit(&s->taken, memory_order_seq_cst);
			continue;
		}
		/* Nothing is on its way, and only we could send something here. */
		if (atomic_load_explicit(&s->cells[i].grant, memory_order_acquire) & 1)
			return MPROC__SEMAPHORE_TAKEN_OVER;
		/* Sequentially consistent: whoever releases may have no identity, see release. */
		if (!there(atomic_load_explicit(&s->count, memory_order_seq_cst), taken)) {
			r = -EAGAIN;
			break;
		}
		next = (mproc__semaphore_n_taken(taken) + 1) << 16 | (i + 1);
		if (atomic_compare_exchange_strong(&s->taken, &taken, next))
			return help(s, n_cells, next);
	}
	free_cell(s, me, i);
	return r;
}

/* Have a cell that is free. Return: its number, or n_cells if there is none. */
static uint32_t claim(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells)
{
	uint32_t i = mproc__owner_index(me->word) % n_cells;

	for (uint32_t n = 0; n < n_cells; n++) {
		uint64_t none = atomic_load_explicit(&s->cells[i].owner, memory_order_relaxed);

		if (!none && atomic_compare_exchange_strong(&s->cells[i].owner, &none, me->word))
			return i;
		i = i + 1 < n_cells ? i + 1 : 0;
	}
	return n_cells;
}

int mproc__leases_take(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells)
{
	for (int round = 0; round < ROUNDS_MAX; round++) {
		/* Acquire: who counted this has freed its cell before. */
		uint32_t last = atomic_load_explicit(&s->freed, memory_order_acquire), i;
		uint64_t taken = atomic_load_explicit(&s->taken, memory_order_seq_cst);

		/* A look first: a cell that is claimed in vain has to be given back. */
		if (!there(atomic_load_explicit(&s->count, memory_order_seq_cst), taken))
			return -EAGAIN;
		i = claim(s, me, n_cells);
		if (i < n_cells)
			return fill(s, me, n_cells, i);
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&s->freed, memory_order_relaxed) == last)
			return -EAGAIN;
	}
	return -EAGAIN;
}

int mproc__leases_inherit(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells)
{
	uint64_t alive = 0;
	int r;

	for (uint32_t i = 0; i < n_cells; i++) {
		uint64_t owner = atomic_load_explicit(&s->cells[i].owner, memory_order_relaxed);

		if (!owner || owner == me->word || !mproc__semaphore_dead(me, owner, &alive))
			continue;
		if (!atomic_compare_exchange_strong(&s->cells[i].owner, &owner, me->word))
			continue;
		r = fill(s, me, n_cells, i);
		if (r != -EAGAIN)
			return r;
	}
	return -EAGAIN;
}

int mproc__leases_add(struct mproc__semaphore *s, uint32_t n)
{
	uint64_t count = atomic_load_explicit(&s->count, memory_order_relaxed), taken;
	uint32_t max = atomic_load_explicit(&s->max, memory_order_relaxed);

	for (;;) {
		taken = atomic_load_explicit(&s->taken, memory_order_seq_cst);
		count = atomic_load_explicit(&s->count, memory_order_seq_cst);
		if (there(count, taken) + n > max) {
			/* What was taken since is no excuse to refuse. */
			if (mproc__semaphore_n_taken(
				    atomic_load_explicit(&s->taken, memory_order_seq_cst)) ==
			    mproc__semaphore_n_taken(taken))
				return -ERANGE;
			continue;
		}
		/* There may be fewer by now, never more. */
		if (atomic_compare_exchange_weak(&s->count, &count,
						 (count + n) & MPROC__SEMAPHORE_UNITS))
			return 0;
	}
}

int mproc__leases_ack(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells)
{
	uint32_t i = mproc__owner_index(me->word) % n_cells;

	for (uint32_t n = 0; n < n_cells; n++) {
		struct mproc__semaphore_cell *cell = &s->cells[i];
		uint64_t grant = atomic_load_explicit(&cell->grant, memory_order_relaxed);

		if (atomic_load_explicit(&cell->owner, memory_order_relaxed) == me->word &&
		    (grant & 1)) {
			/* Release: what was done for the unit is done before it is gone. */
			atomic_store_explicit(&cell->grant, grant & ~UINT64_C(1),
					      memory_order_release);
			atomic_signal_fence(memory_order_seq_cst);
			free_cell(s, me, i);
			return 0;
		}
		i = i + 1 < n_cells ? i + 1 : 0;
	}
	return mproc__fail(-EPERM, "semaphore ack: the calling thread holds no lease of that at %p",
			   (void *)s);
}

uint64_t mproc__leases_value(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells)
{
	uint64_t taken = atomic_load_explicit(&s->taken, memory_order_seq_cst), alive = 0;
	uint64_t n = there(atomic_load_explicit(&s->count, memory_order_seq_cst), taken);

	for (uint32_t i = 0; i < n_cells; i++) {
		uint64_t owner = atomic_load_explicit(&s->cells[i].owner, memory_order_acquire);

		n += owner && mproc__leases_held(s, i) && mproc__semaphore_dead(me, owner, &alive);
	}
	return n;
}
