/* SPDX-License-Identifier: MIT */
#ifndef MPROC__ORDER_LAYOUT_H
#define MPROC__ORDER_LAYOUT_H

/*
 * In which order locks were taken, as it lies in a segment that records it
 *
 * Behind the thread records of the registry: a table of locks, and two square matrices
 * of bits over it. A slot is claimed once, by one CAS, and is that lock's for ever, so
 * its number can be used without looking at it again.
 */

#include <stdbool.h>
#include <stdint.h>

#include "ipc/kind_layout.h"
#include "ipc/participant_layout.h"

#define MPROC__ORDER_LOCKS 256u
#define MPROC__ORDER_WORDS (MPROC__ORDER_LOCKS / 64u) /* of a row */

struct mproc__order {
	alignas(64) _Atomic(uint64_t) n_dropped; /* lock calls that found no slot */
	uint64_t reserved[7];
	_Atomic(uint64_t) locks[MPROC__ORDER_LOCKS]; /* as in holds; 0: free */
	/* Bit [row][column]: the lock of the row was held when that of the column was asked for. */
	_Atomic(uint64_t) before[MPROC__ORDER_LOCKS][MPROC__ORDER_WORDS];
	/* The same, row < column: both orders have been seen, and somebody has said so. */
	_Atomic(uint64_t) told[MPROC__ORDER_LOCKS][MPROC__ORDER_WORDS];
};

static_assert(sizeof(struct mproc__order) == 64 + 2048 + 2 * 8192,
	      "layout changed: bump MPROC__LAYOUT");

/* Where it lies, counted from the registry. */
static inline uint64_t mproc__order_off(uint32_t n_procs, uint32_t n_threads)
{
	return (mproc__registry_size(n_procs, n_threads) + 63) & ~UINT64_C(63);
}

/* Bytes of a registry that has one. */
static inline uint64_t mproc__order_registry_size(uint32_t n_procs, uint32_t n_threads)
{
	return mproc__order_off(n_procs, n_threads) + sizeof(struct mproc__order);
}

static inline uint64_t mproc__order_bit(uint32_t column)
{
	return UINT64_C(1) << column % 64;
}

/* Was @row held when @column was asked for? */
static inline bool mproc__order_is_before(const struct mproc__order *order, uint32_t row,
					  uint32_t column)
{
	return atomic_load(&order->before[row][column / 64]) & mproc__order_bit(column);
}

/* What stands in a slot, or 0 if that can be no lock of a segment of @size bytes. */
static inline uint64_t mproc__order_lock(const struct mproc__order *order, uint32_t slot,
					 uint64_t size)
{
	uint64_t what = atomic_load_explicit(&order->locks[slot], memory_order_acquire);
	uint32_t kind = mproc__what_kind(what);
	uint64_t off = mproc__what_off(what);

	if ((kind != MPROC__KIND_MUTEX && kind != MPROC__KIND_RMUTEX) || off % 8 ||
	    size < sizeof(struct mproc__lock) || off > size - sizeof(struct mproc__lock))
		return 0;
	return what;
}

/*
 * Were the locks of slots @a and @b taken in both orders?
 *
 * Return: true and both, that with the lower offset first.
 */
static inline bool mproc__order_pair(const struct mproc__order *order, uint32_t a, uint32_t b,
				     uint64_t size, uint64_t ret[2])
{
	uint64_t one, two;

	if (!mproc__order_is_before(order, a, b) || !mproc__order_is_before(order, b, a))
		return false;
	one = mproc__order_lock(order, a, size);
	two = mproc__order_lock(order, b, size);
	if (!one || !two || one == two)
		return false;
	ret[0] = mproc__what_off(one) < mproc__what_off(two) ? one : two;
	ret[1] = ret[0] == one ? two : one;
	return true;
}

#endif /* MPROC__ORDER_LAYOUT_H */
