/* SPDX-License-Identifier: MIT */
#ifndef MPROC__CELLS_H
#define MPROC__CELLS_H

/*
 * Typed items under a lock: what values and arrays are made of
 */

#include <mproc/types.h>

#include "ipc/waitable.h"
#include "shm/catalogue.h"
#include "shm/cells_layout.h"

/* A handle on them. */
struct mproc__cells {
	mproc_segment *segment;
	struct mproc__object object;
	struct mproc__cells_shared *shared;
	unsigned char *stage; /* or NULL */
	unsigned char *items;
	struct mproc__cells_geometry geometry;
	const char *noun;                      /* "value" */
	char name[MPROC__OBJECT_NAME_MAX + 1]; /* for texts */
};

/* What to make or find. */
struct mproc__cells_spec {
	const char *noun;
	uint32_t kind; /* of the object */
	const char *name;
	const struct mproc_type *type;
	uint64_t n_items; /* 0: any, when found */
	const void *init; /* of all items, or NULL */
};

/*
 * The three ways to a handle; each takes one use of the segment that
 * mproc__cells_close() gives back.
 *
 * Return: as mproc_value_create() and its sisters.
 */
int mproc__cells_create(struct mproc__cells *ret, mproc_segment *segment,
			const struct mproc__cells_spec *spec);
int mproc__cells_open(struct mproc__cells *ret, mproc_segment *segment,
		      const struct mproc__cells_spec *spec);
int mproc__cells_open_or_create(struct mproc__cells *ret, mproc_segment *segment,
				const struct mproc__cells_spec *spec);
void mproc__cells_close(struct mproc__cells *cells);

/*
 * Are items [@i, @i + @n) of @type there?
 *
 * Return: 0, or -EPROTO for another type, -EINVAL for what is not there.
 */
int mproc__cells_have(const struct mproc__cells *cells, const struct mproc_type *type, uint64_t i,
		      uint64_t n);

/* The user's lock. */
int mproc__cells_lock(struct mproc__cells *cells, int64_t deadline);
int mproc__cells_unlock(struct mproc__cells *cells);
int mproc__cells_consistent(struct mproc__cells *cells);

/* Copy items [@i, @i + @n), which are there, under the lock. Return: as mproc_value_get(). */
int mproc__cells_get(struct mproc__cells *cells, uint64_t i, uint64_t n, void *ret,
		     int64_t deadline);
int mproc__cells_set(struct mproc__cells *cells, uint64_t i, uint64_t n, const void *from,
		     int64_t deadline);

/* The copying itself; who copies in has the lock. */
void mproc__cells_copy_out(const struct mproc__cells *cells, uint64_t i, uint64_t n,
			   unsigned char *ret);
void mproc__cells_copy_in(struct mproc__cells *cells, uint64_t i, uint64_t n,
			  const unsigned char *from);

/* Finish a change that its owner, perhaps dead, had committed. */
void mproc__cells_finish(struct mproc__cells *cells);

enum mproc__cell_op {
	MPROC__CELL_LOAD,
	MPROC__CELL_STORE,
	MPROC__CELL_XCHG,
	/* Of integers only: */
	MPROC__CELL_ADD,
	MPROC__CELL_AND,
	MPROC__CELL_OR,
	MPROC__CELL_MIN,
	MPROC__CELL_MAX,
};

/*
 * An atomic operation on item @i of @type.
 * @arg:	not of LOAD
 * @ret:	what the item was before, or NULL
 *
 * Return: 0, -EPROTO, -EINVAL.
 */
int mproc__cells_atomic(struct mproc__cells *cells, enum mproc__cell_op op,
			const struct mproc_type *type, uint64_t i, const void *arg, void *ret);

/* Return: 1 if it was exchanged, 0 if not, or -EPROTO, -EINVAL. */
int mproc__cells_cas(struct mproc__cells *cells, const struct mproc_type *type, uint64_t i,
		     void *expected, const void *arg);

/*
 * Wait until item @i, a scalar, is not what @seen says, bit by bit.
 * @seen:	what it was; what it is then
 *
 * Return: as mproc_value_wait().
 */
int mproc__cells_wait(struct mproc__cells *cells, const struct mproc_type *type, uint64_t i,
		      void *seen, int64_t deadline);

/* An item has changed by an atomic operation: who waits may look. */
static inline void mproc__cells_signal(struct mproc__cells *cells)
{
	mproc__sleepers *sleepers = &cells->shared->waitable.sleepers;

	/*
	 * This load and the operation before it are in one order with the announcement
	 * of a sleeper and his look at the item; on most machines it is a plain load.
	 */
	if (__builtin_expect(atomic_load_explicit(sleepers, memory_order_seq_cst) & 1, 0))
		mproc__wake_slow(sleepers, INT32_MAX);
}

#endif /* MPROC__CELLS_H */
