/* SPDX-License-Identifier: MIT */
#ifndef MPROC__SEMAPHORE_LAYOUT_H
#define MPROC__SEMAPHORE_LAYOUT_H

/*
 * A semaphore, as it lies in a segment: its head, then a cell for each permit or lease
 */

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/lock_layout.h"

/* Tags: memory that holds something else is refused. */
#define MPROC__SEMAPHORE_PERMITS 0x706d6573u /* "semp" */
#define MPROC__SEMAPHORE_SIGNALS 0x736d6573u /* "sems" */
#define MPROC__SEMAPHORE_LEASES  0x6c6d6573u /* "seml" */

struct mproc__semaphore_cell {
	_Atomic(uint64_t) owner; /* owner word; 0: nobody */
	/*
	 * Permits: turn at which it was taken, for display and for choosing a holder.
	 * Leases: number of the unit 63 | held 1; see leases.c. It decides.
	 */
	_Atomic(uint64_t) grant;
};

struct mproc__semaphore {
	_Atomic(uint32_t) tag;
	_Atomic(uint32_t) n_cells; /* fixed at init */
	struct mproc__waitable waitable;
	/* Signals: units there. Leases: units ever released. Permits: mark of a release. */
	_Atomic(uint64_t) count;
	/*
	 * Permits: turn 40 | cell to look at first 24, both hints.
	 * Leases: units ever taken 48 | cell the last one is on its way to, plus 1, 16.
	 */
	_Atomic(uint64_t) taken;
	_Atomic(uint32_t) max;   /* fixed at init */
	_Atomic(uint32_t) freed; /* leases: cells that were ever freed; else 0 */
	struct mproc__semaphore_cell cells[];
};

static_assert(sizeof(struct mproc__semaphore) == 40, "layout changed: bump MPROC__LAYOUT");
static_assert(offsetof(struct mproc__semaphore, cells) == 40, "cells come right after the head");

#define MPROC__SEMAPHORE_UNITS ((UINT64_C(1) << 48) - 1)

/* Units that were ever taken, and the cell of one that is on its way, plus 1. */
static inline uint64_t mproc__semaphore_n_taken(uint64_t taken)
{
	return taken >> 16;
}

static inline uint32_t mproc__semaphore_transit(uint64_t taken)
{
	return (uint32_t)taken & 0xffff;
}

#endif /* MPROC__SEMAPHORE_LAYOUT_H */
