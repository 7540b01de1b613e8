/* SPDX-License-Identifier: MIT */
#ifndef MPROC__SEMAPHORE_H
#define MPROC__SEMAPHORE_H

/*
 * What the kinds of semaphores do, each in its own file
 *
 * @n_cells is a checked copy: that many cells lie in the segment.
 */

#include "ipc/attach.h"
#include "ipc/semaphore_layout.h"

/* A take succeeded, with what was a dead one's: nobody was to wake us for that. */
#define MPROC__SEMAPHORE_TAKEN_OVER 1

/*
 * Take a permit that nobody holds, or lease a unit that is there. No system call
 * unless there is somebody to be woken.
 *
 * Return: 0, -EAGAIN, -EBADMSG.
 */
int mproc__permits_take(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells);
int mproc__leases_take(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells);

/*
 * Take over what a dead one holds.
 *
 * Return: 0, MPROC__SEMAPHORE_TAKEN_OVER, -EAGAIN, -EBADMSG.
 */
int mproc__permits_inherit(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells);
int mproc__leases_inherit(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells);

/* Give @n permits back. Return: 0, how many if fewer, -ERANGE. */
int mproc__permits_give(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells,
			uint32_t n);

/* Add @n units that can be leased; no identity is needed. Return: 0, -ERANGE. */
int mproc__leases_add(struct mproc__semaphore *s, uint32_t n);

/* Return: 0, -EPERM. */
int mproc__leases_ack(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells);

/* How many units could be leased. */
uint64_t mproc__leases_value(struct mproc__semaphore *s, struct mproc__self *me, uint32_t n_cells);

/* Does the owner of cell @i, if there is one, hold a unit? */
static inline bool mproc__leases_held(struct mproc__semaphore *s, uint32_t i)
{
	uint64_t taken = atomic_load_explicit(&s->taken, memory_order_acquire);

	return mproc__semaphore_transit(taken) == i + 1 ||
	       (atomic_load_explicit(&s->cells[i].grant, memory_order_acquire) & 1);
}

/*
 * Is the owner of a cell dead? To ask is a system call, so @alive remembers the last one
 * who was not; it begins as 0.
 */
bool mproc__semaphore_dead(struct mproc__self *me, uint64_t owner, uint64_t *alive);

#endif /* MPROC__SEMAPHORE_H */
