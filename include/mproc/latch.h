/* SPDX-License-Identifier: MIT */
#ifndef MPROC_LATCH_H
#define MPROC_LATCH_H

/*
 * A gate that opens when something has been counted down to zero
 *
 * A latch begins at a number, is counted down by whoever has done his part, and lets
 * everybody through from the moment it has come to zero. It opens once and for good.
 * It lies in place, in memory of a segment.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one latch at the same time
 *	Fork		a latch that lies in an inherited segment works in the child
 *	Signals		mproc_latch_count_down() and mproc_latch_count() are
 *			async-signal-safe as long as they succeed or give -ERANGE
 *	Killed		a call has counted in full or not at all; one that is killed
 *			after it opened the latch and before it woke the waiters costs
 *			them at most 0.25 s. A latch has no owners: who dies before he has
 *			counted leaves it closed
 *	Errors		a negative errno; the call then has had no effect
 */

#include <mproc/common.h>

MPROC_BEGIN_DECLS

/* 16 bytes; never copied or moved while in use. */
typedef struct mproc_latch {
	uint64_t opaque[2];
} mproc_latch;

/* The highest number that a latch can begin at. */
#define MPROC_LATCH_MAX INT32_MAX

/**
 * mproc_latch_init() - make a latch
 * @latch:	8-byte aligned memory in an attached segment, not in use by anybody
 * @count:	what is to be counted down, at most MPROC_LATCH_MAX; 0: it is open
 *
 * Return: 0, -EINVAL for a count that is too high or a misaligned address, -ENOTCONN if
 * @latch lies in no attached segment.
 */
MPROC_API MPROC_MUST int mproc_latch_init(mproc_latch *latch, uint32_t count);

/**
 * mproc_latch_destroy() - let later use be an error
 * @latch:	latch that nobody waits for, or NULL
 */
MPROC_API void mproc_latch_destroy(mproc_latch *latch);

/**
 * mproc_latch_count_down() - say that @n parts more are done
 * @latch:	latch
 * @n:		how many; 0 changes nothing
 *
 * What the caller did before is seen by whoever comes through the latch. There is no
 * text after a failure: this call may be made in a signal handler.
 *
 * Return: how many are still to come; 0: the latch is open, and if @n is not 0 this is
 * the one call that opened it. Or -ERANGE if fewer than @n were left, -EINVAL if there
 * is no latch.
 */
MPROC_API int mproc_latch_count_down(mproc_latch *latch, uint32_t n);

/**
 * mproc_latch_count() - how many are still to come
 * @latch:	latch
 *
 * Return: a number, 0 if the latch is open, or -EINVAL if there is no latch.
 */
MPROC_API int mproc_latch_count(mproc_latch *latch);

/**
 * mproc_latch_wait() - wait until the latch is open
 * @latch:	latch
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * Return: 0, -EAGAIN or -ETIMEDOUT, -EINVAL for a negative deadline or memory that
 * holds no latch, -ENOTCONN if it lies in no segment that is or can be attached,
 * -EUSERS if the segment has no record left for this process or thread.
 */
MPROC_API MPROC_MUST int mproc_latch_wait(mproc_latch *latch, int64_t deadline);

MPROC_END_DECLS

#endif /* MPROC_LATCH_H */
