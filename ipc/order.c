/* SPDX-License-Identifier: MIT */

/*
 * In which order locks are taken: two that are taken in both orders can deadlock
 *
 *	locks[i] = A, locks[k] = B	before[i][k]: a thread that held A asked for B
 *					before[k][i]: one that held B asked for A
 *
 * Who asks for a lock while it holds others sets a bit for each of those before it
 * waits, and looks at the opposite bit after that (both in sequentially consistent
 * order): of two threads that do so at the same time one at least sees both bits.
 * Whoever sees both tries to set the pair's bit in told, and who has set it says so:
 * one, once. That neither had to wait does not matter, nor which thread or process it
 * was, nor whether it still lives.
 *
 * What a thread holds is in its notes, and the owner word decides: a note that has
 * outlived its lock is nothing held. Mutexes that anybody may unlock are left out, as
 * they are in graph.c: who holds one waits for a lock, but who waits for it does not
 * wait for its owner.
 *
 * A slot is claimed by one CAS and never given back. A place that is made a lock, or
 * is one no longer, keeps its slot, and all bits of its row and column are cleared:
 * before a new lock can be taken, and after an old one cannot be any more.
 *
 * Kills. Every change is one atomic operation on one word, and no two depend on each
 * other. A kill between the bits leaves a pair that is told by whoever next takes the
 * two; a kill between told and the log loses the line along with the process, not the
 * pair. A kill while a place is cleared: it is no lock then, and will be cleared when
 * it is made one.
 *
 * Nothing in the table is believed: places in it come from a hash, walks end after as
 * many steps as it has slots, and what is not a lock's word is no lock.
 */

#include "ipc/order.h"

#include <inttypes.h>
#include <unistd.h>

#include "ipc/error.h"
#include "ipc/graph.h"
#include "ipc/lock.h"
#include "ipc/mutex_layout.h"

#define NO_SLOT MPROC__ORDER_LOCKS

/* The slot of @what; if it has none and @claim is set, a new one. Return: or NO_SLOT. */
static uint32_t slot_of(struct mproc__order *order, uint64_t what, bool claim)
{
	uint32_t first = (uint32_t)(what * UINT64_C(0x9e3779b97f4a7c15) >> 32);

	for (uint32_t n = 0; n < MPROC__ORDER_LOCKS; n++) {
		uint32_t i = (first + n) % MPROC__ORDER_LOCKS;
		uint64_t word = atomic_load_explicit(&order->locks[i], memory_order_relaxed);

		if (!word && claim &&
		    atomic_compare_exchange_strong_explicit(&order->locks[i], &word, what,
							    memory_order_acq_rel,
							    memory_order_relaxed))
			return i;
		/* Slots are not given back: behind a free one there is nothing. */
		if (!word)
			return NO_SLOT;
		if (word == what)
			return i;
	}
	return NO_SLOT;
}

/* Does the calling thread hold @what, one of its notes, and none but it can unlock that? */
static bool is_held(const struct mproc__self *me, uint64_t what)
{
	const struct mproc__range *range = me->range;
	uint64_t off = mproc__what_off(what), word;
	struct mproc__lock *lock;
	uint32_t tag, wanted;

	switch (mproc__what_kind(what)) {
	case MPROC__KIND_MUTEX:
		wanted = MPROC__MUTEX_TAG;
		break;
	case MPROC__KIND_RMUTEX:
		wanted = MPROC__RMUTEX_TAG;
		break;
	default:
		return false;
	}
	lock = off % 8 ? NULL : mproc__range_at(range, off, sizeof(*lock));
	if (!lock)
		return false;
	tag = atomic_load_explicit(&lock->tag, memory_order_relaxed);
	if (wanted == MPROC__MUTEX_TAG)
		tag &= ~(uint32_t)(MPROC__MUTEX_FAIR | MPROC__MUTEX_STRICT);
	word = atomic_load_explicit(&lock->word, memory_order_relaxed);
	return tag == wanted && mproc__owner_id(word) == me->word && !(word & MPROC__OWNER_HANDED);
}

/* Both orders have been seen: is it for this thread to say so? */
static bool is_ours_to_tell(struct mproc__order *order, uint32_t a, uint32_t b)
{
	uint32_t row = a < b ? a : b, column = a < b ? b : a;
	_Atomic(uint64_t) *told = &order->told[row][column / 64];

	return !(atomic_load(told) & mproc__order_bit(column)) &&
	       !(atomic_fetch_or(told, mproc__order_bit(column)) & mproc__order_bit(column));
}

/* One line; names are looked up now, and are those of what lies there now. */
static void tell(struct mproc__range *range, uint64_t held, uint64_t what)
{
	char first[80], second[80];

	mproc__graph_describe(range, held, first, sizeof(first));
	mproc__graph_describe(range, what, second, sizeof(second));
	mproc__log("lock order: pid %d takes %s before %s, and the opposite was done before",
		   (int)getpid(), first, second);
}

static void drop(struct mproc__order *order)
{
	if (!atomic_fetch_add_explicit(&order->n_dropped, 1, memory_order_relaxed))
		mproc__log("lock order: the table is full: of more than %u locks nothing is "
			   "recorded",
			   MPROC__ORDER_LOCKS);
}

void mproc__order_taking_slow(struct mproc__self *me, const struct mproc__lock *lock, uint64_t what)
{
	struct mproc__order *order = me->range->order;
	uint64_t word = atomic_load_explicit(&lock->word, memory_order_relaxed);
	uint64_t holds[MPROC__HOLDS];
	uint32_t n = 0, column;

	/* Refused, and not waited for. */
	if (mproc__owner_id(word) == me->word && !(word & MPROC__OWNER_HANDED))
		return;
	for (uint32_t i = 0; i < me->n_holds && i < MPROC__HOLDS; i++) {
		holds[n] = atomic_load_explicit(&me->rec->holds[i], memory_order_relaxed);
		if (holds[n] != what && is_held(me, holds[n]))
			n++;
	}
	if (!n)
		return;
	column = slot_of(order, what, true);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t row = slot_of(order, holds[i], true);

		if (row == NO_SLOT || column == NO_SLOT) {
			drop(order);
			return;
		}
		if (!mproc__order_is_before(order, row, column))
			atomic_fetch_or(&order->before[row][column / 64], mproc__order_bit(column));
		if (mproc__order_is_before(order, column, row) &&
		    is_ours_to_tell(order, row, column))
			tell(me->range, holds[i], what);
	}
}

/* Clear a row and a column, where anything is set: others' bits stay. */
static void clear(_Atomic(uint64_t) matrix[MPROC__ORDER_LOCKS][MPROC__ORDER_WORDS], uint32_t slot)
{
	for (uint32_t i = 0; i < MPROC__ORDER_WORDS; i++)
		atomic_store_explicit(&matrix[slot][i], 0, memory_order_relaxed);
	for (uint32_t i = 0; i < MPROC__ORDER_LOCKS; i++)
		if (atomic_load_explicit(&matrix[i][slot / 64], memory_order_relaxed) &
		    mproc__order_bit(slot))
			atomic_fetch_and_explicit(&matrix[i][slot / 64], ~mproc__order_bit(slot),
						  memory_order_relaxed);
}

void mproc__order_purge(struct mproc__range *range, const void *lock)
{
	static const uint32_t kinds[] = { MPROC__KIND_MUTEX, MPROC__KIND_RMUTEX };
	uint64_t off = (uintptr_t)lock - atomic_load_explicit(&range->base, memory_order_relaxed);

	/* What was there before may have been of the other kind. */
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		uint32_t slot = slot_of(range->order, mproc__what(kinds[i], off), false);

		if (slot == NO_SLOT)
			continue;
		clear(range->order->before, slot);
		clear(range->order->told, slot);
	}
}

static int pairs_of(struct mproc__range *range,
		    int (*fn)(struct mproc__range *range, const uint64_t whats[2], void *arg),
		    void *arg)
{
	uint64_t size = mproc__range_grown(range);
	uint64_t whats[2];
	int found = 0, r;

	for (uint32_t a = 0; a < MPROC__ORDER_LOCKS; a++)
		for (uint32_t b = a + 1; b < MPROC__ORDER_LOCKS; b++) {
			if (!mproc__order_pair(range->order, a, b, size, whats))
				continue;
			r = fn(range, whats, arg);
			if (r < 0)
				return r;
			found++;
		}
	return found;
}

int mproc__order_pairs(struct mproc__range *only,
		       int (*fn)(struct mproc__range *range, const uint64_t whats[2], void *arg),
		       void *arg, uint64_t *ret_dropped)
{
	int found = 0, r;

	*ret_dropped = 0;
	mproc__fork_lock();
	for (uint32_t i = 0; i < MPROC__RANGES_MAX && found >= 0; i++) {
		struct mproc__range *range = mproc__range_nth(i);

		if (!range || !range->order || (only && range != only))
			continue;
		*ret_dropped +=
			atomic_load_explicit(&range->order->n_dropped, memory_order_relaxed);
		r = pairs_of(range, fn, arg);
		found = r < 0 ? r : found + r;
	}
	mproc__fork_unlock();
	return found;
}
