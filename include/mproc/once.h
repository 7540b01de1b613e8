/* SPDX-License-Identifier: MIT */
#ifndef MPROC_ONCE_H
#define MPROC_ONCE_H

/*
 * Something that is done once, by one of many processes
 *
 * Everybody asks for it, one does it, and everybody goes on when it is done. If the one
 * dies in the middle the next does it. It lies in place, in memory of a segment.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one once at the same time
 *	Fork		a child is not the runner whom it was forked from
 *	Signals		not safe in a signal handler
 *	Killed		a runner killed in the middle leaves it to the next one
 *	Errors		a negative errno; the call then has had no effect
 */

#include <mproc/common.h>

MPROC_BEGIN_DECLS

/* 16 bytes; never copied or moved while in use. */
typedef struct mproc_once {
	uint64_t opaque[2];
} mproc_once;

/* What mproc_once_run() says to the one who ran it. */
#define MPROC_ONCE_RAN 1

/**
 * mproc_once_init() - make a once that is not done
 * @once:	8-byte aligned memory in an attached segment, not in use by anybody
 * @flags:	0; other bits are for versions to come
 *
 * Return: 0, -EINVAL for unknown flags or a misaligned address, -ENOTCONN if @once lies
 * in no attached segment.
 */
MPROC_API MPROC_MUST int mproc_once_init(mproc_once *once, uint32_t flags);

/**
 * mproc_once_destroy() - let later use be an error
 * @once:	once that nobody runs or waits for, or NULL
 */
MPROC_API void mproc_once_destroy(mproc_once *once);

/**
 * mproc_once_run() - have @fn run, unless it is done
 * @once:	once
 * @fn:		what is to be done; 0 or more: it is done, a negative errno: it is not.
 *		It begins from the beginning: whoever tried before it has failed or died
 *		half-way, and may have left anything. It returns: to leave it by
 *		longjmp(3) is a deadlock for all the others
 * @arg:	for @fn; may be NULL
 * @deadline:	how long to wait for another who is running it, see <mproc/common.h>;
 *		it does not bound @fn
 *
 * What @fn wrote is seen by whoever returns from this call. When a runner has died, its
 * process or only its thread, who waits runs it instead, at the latest one quantum
 * (5 ms, doubling to 100 ms) later.
 *
 * Return: MPROC_ONCE_RAN to the caller whose @fn has done it, 0 to all others once it
 * is done. Or what @fn returned if that is negative; -EAGAIN or -ETIMEDOUT if another
 * was running it all the time, -EDEADLK from inside @fn, -EINVAL for a negative
 * deadline, for no @fn or memory that holds no once, -EPERM to a child that was forked
 * inside @fn and has returned from it, -ENOTCONN if @once lies in no segment that is or
 * can be attached, -EUSERS if the segment has no record left for this process or thread.
 */
MPROC_API MPROC_MUST int mproc_once_run(mproc_once *once, int (*fn)(void *arg), void *arg,
					int64_t deadline);

/**
 * mproc_once_is_done() - has it been done?
 * @once:	once
 *
 * Return: 1, 0, or -EINVAL if there is no once.
 */
MPROC_API int mproc_once_is_done(mproc_once *once);

MPROC_END_DECLS

#endif /* MPROC_ONCE_H */
