/* SPDX-License-Identifier: MIT */
#ifndef MPROC__LOCK_LAYOUT_H
#define MPROC__LOCK_LAYOUT_H

/*
 * The lock, its redo log and the waitable, as they lie inside shared objects
 */

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>

/* What sleepers sleep on: wakes 16 | announcements 15 | somebody sleeps 1; see wait.h. */
typedef _Atomic(uint32_t) mproc__sleepers;

struct mproc__waitable {
	mproc__sleepers sleepers;
	_Atomic(uint32_t) polled; /* not 0: a doorbell is to be rung after a change */
};

struct mproc__lock {
	_Atomic(uint64_t) word; /* owner word; 0 or a flag alone: free */
	mproc__sleepers sleepers;
	_Atomic(uint32_t) tag; /* what the room wants: a kind, a count; the lock ignores it */
};

static_assert(sizeof(struct mproc__lock) == 16, "layout changed: bump MPROC__LAYOUT");

/*
 * A log of words to be written, all or none, by whoever owns the lock.
 * Offsets are relative to the log itself, never beyond @reach given at replay.
 */
#define MPROC__REDO_MAX 12u

struct mproc__redo {
	_Atomic(uint32_t) n; /* entries to be applied; 0: nothing is pending */
	uint32_t reserved;
	struct {
		_Atomic(int64_t) off; /* from the log to the 64-bit word */
		_Atomic(uint64_t) val;
	} at[MPROC__REDO_MAX];
};

#endif /* MPROC__LOCK_LAYOUT_H */
