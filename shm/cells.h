/* SPDX-License-Identifier: MIT */
#ifndef MPROC__CELLS_H
#define MPROC__CELLS_H

/*
 * Typed items under a lock: what values and arrays are made of
 */

#include <mproc/mutex.h>
#include <mproc/types.h>

#include "ipc/waitable.h"
#include "shm/catalogue.h"
#include "shm/cells_layout.h"

/* A handle on them. */
struct mproc__cells {
	mproc_segment *segment;
	struct mproc__object object;
	struct mproc__cells_shared *shared;
	struct mproc__cells_lock *lock; /* its own, or NULL */
	mproc_mutex *mutex;             /* its own or the given one; NULL: raw */
	_Atomic(uint64_t) *pending;     /* NULL where there is no stage */
	unsigned char *stage;           /* or NULL */
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
	const struct mproc_ref *ref; /* found by this and not by name, unless NULL */
	const struct mproc_type *type;
	uint64_t n_items;      /* 0: any, when found */
	const void *init;      /* of all items, or NULL */
	uint32_t n_dims;       /* 0: any, when found; one, when made */
	const uint64_t *shape; /* @n_dims of them */
	bool as_made;          /* whether it has a lock must agree as well */
	uint32_t flags;        /* of enum mproc__cells_flags, RAW alone */
	mproc_mutex *mutex;    /* to use instead of one of its own, or NULL */
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

/* What names them in every process. Return: 0, or -ESTALE with a text. */
int mproc__cells_ref(const struct mproc__cells *cells, struct mproc_ref *ret);

/*
 * Are items [@i, @i + @n) of @type there?
 *
 * Return: 0, or -EPROTO for another type, -EINVAL for what is not there.
 */
int mproc__cells_have_slow(const struct mproc__cells *cells, const struct mproc_type *type,
			   uint64_t i, uint64_t n);

static inline int mproc__cells_have(const struct mproc__cells *cells, const struct mproc_type *type,
				    uint64_t i, uint64_t n)
{
	const struct mproc__cells_geometry *g = &cells->geometry;

	if (__builtin_expect(g->kind == type->kind && g->size == type->size &&
				     g->kind != MPROC_BYTES && n <= g->n_items &&
				     i <= g->n_items - n,
			     1))
		return 0;
	return mproc__cells_have_slow(cells, type, i, n);
}

/* The user's lock. */
int mproc__cells_lock(struct mproc__cells *cells, int64_t deadline);
int mproc__cells_unlock(struct mproc__cells *cells);
int mproc__cells_consistent(struct mproc__cells *cells);

/* Copy items [@i, @i + @n), which are there, under the lock. Return: as mproc_value_get(). */
int mproc__cells_get(struct mproc__cells *cells, uint64_t i, uint64_t n, void *ret,
		     int64_t deadline);
int mproc__cells_set(struct mproc__cells *cells, uint64_t i, uint64_t n, const void *from,
		     int64_t deadline);

/*
 * What get and set are made of: have the lock, unless the calling thread has it already
 * or there is none, and what the dead have left put in order; then give it back.
 * @changes:	items are to be written
 * @changed:	items were written: who waits for that may look
 *
 * Return: 0 or MPROC_MUTEX_INHERITED, what mproc__cells_get() returns; or negative.
 */
int mproc__cells_begin(struct mproc__cells *cells, bool changes, int64_t deadline,
		       bool *ret_release);
int mproc__cells_end(struct mproc__cells *cells, bool release, bool changed);

/* The copying itself, between the two. */
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
	/* Of numbers only: */
	MPROC__CELL_ADD,
	MPROC__CELL_MIN,
	MPROC__CELL_MAX,
	/* Of integers only: */
	MPROC__CELL_AND,
	MPROC__CELL_OR,
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

/*
 * Wait until one of items [@i, @i + @n), scalars, is not what @seen says.
 * @seen:	what they were; what they are then
 *
 * Return: as mproc__cells_wait().
 */
int mproc__cells_wait_any(struct mproc__cells *cells, const struct mproc_type *type, uint64_t i,
			  uint64_t n, void *seen, int64_t deadline);

/* An atomic operation on an item that is known to be there, and of a type that has it. */
uint64_t mproc__cells_operate(const struct mproc__cells *cells, enum mproc__cell_op op,
			      unsigned char *at, uint64_t arg);

/* Return: 0, or -EINVAL with a text if the type does not have @op. */
int mproc__cells_takes(const struct mproc__cells *cells, enum mproc__cell_op op);

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

/* What the macros of the public headers need to know. */
static inline void mproc__cells_show(const struct mproc__cells *cells, struct mproc__items *ret)
{
	*ret = (struct mproc__items){
		.kind = cells->geometry.kind,
		.size = cells->geometry.size,
		.n = cells->geometry.n_items,
		.writable = !mproc__is_read_only(cells->shared),
		.at = cells->items,
		.sleepers = (const uint32_t *)&cells->shared->waitable.sleepers,
	};
}

#endif /* MPROC__CELLS_H */
