/* SPDX-License-Identifier: MIT */
#ifndef MPROC_CONDITION_H
#define MPROC_CONDITION_H

/*
 * Waiting, with a mutex held, until another has changed what the mutex protects
 *
 * A waiter gives the mutex up while it waits and has it again when it returns. A
 * notification ends the wait of exactly as many waiters as it says, if there are so
 * many, those first that have waited longest; without one no wait ends before its
 * deadline. What is left over is not stored.
 *
 * The mutex is an mproc_mutex or an mproc_rmutex of the same segment, which is given up
 * in full, however often it is locked. All who wait at one time wait with the same one.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one condition at the same time
 *	Fork		a condition that lies in an inherited segment works in the child; who
 *			waits in the parent does not wait in the child
 *	Signals		not safe in a signal handler; a signal does not end a wait; no call
 *			is a cancellation point
 *	Killed		a call has happened or has not: of those that a killed process was
 *			about to notify it has notified all or none. A waiter that is killed
 *			leaves no trace. The notification of one that is killed before it
 *			owns the mutex again passes on to the one that then waits longest,
 *			at the latest 0.25 s after the death. When it is killed after that,
 *			or anybody while he owns the mutex, the next one to own the mutex
 *			is told, and nobody else is woken: an heir should notify all, and
 *			who cannot count on an heir waits with a deadline. One notified by
 *			a process that is killed before it has woken it returns at the
 *			latest 0.25 s later.
 *	Errors		a negative errno; the call then has had no effect
 */

#include <mproc/common.h>
#include <mproc/mutex.h>

MPROC_BEGIN_DECLS

/* 48 bytes; never copied or moved while in use. */
typedef struct mproc_condition {
	uint64_t opaque[6];
} mproc_condition;

/**
 * mproc_condition_init() - make a condition that nobody waits for
 * @condition:	8-byte aligned memory in an attached segment, not in use by anybody
 * @flags:	0; other bits are for versions to come
 *
 * What is left there of those who were killed in a wait for an earlier one is forgotten.
 *
 * Return: 0, -EINVAL for unknown flags or a misaligned address, -ENOTCONN if
 * @condition lies in no attached segment, -EBUSY if a living thread waits there.
 */
MPROC_API MPROC_MUST int mproc_condition_init(mproc_condition *condition, uint32_t flags);

/**
 * mproc_condition_destroy() - let later use be an error
 * @condition:	condition that nobody waits for, or NULL
 */
MPROC_API void mproc_condition_destroy(mproc_condition *condition);

/**
 * mproc_condition_wait() - give the mutex up, wait for a notification, have it again
 * @condition:	condition
 * @mutex:	mproc_mutex or mproc_rmutex that the calling thread owns
 * @deadline:	how long to wait, see <mproc/common.h>; it bounds the wait for the
 *		notification, not for the mutex after that
 *
 * Whoever notifies after the mutex was given up finds the caller waiting. A caller that
 * was notified while it waited for the mutex after its deadline has been notified.
 *
 * Return: the caller owns the mutex again after 0, MPROC_MUTEX_INHERITED, -EAGAIN,
 * -ETIMEDOUT, and still after -EPERM, -EINVAL, -ENOTCONN and -EUSERS. 0: notified.
 * MPROC_MUTEX_INHERITED: an owner of the mutex died, as mproc_mutex_lock() says it; the
 * wait has ended by a notification, or by its deadline if the death has come to be known
 * during this wait: look at what the mutex protects. -EAGAIN or -ETIMEDOUT: not notified.
 * -EPERM if the calling thread does not own @mutex, -EINVAL for a negative deadline,
 * memory that holds no condition or no mutex, a mutex of another segment, or another one
 * than those use who wait, or one with MPROC_MUTEX_STRICT that is inherited (to wait would
 * lose it: call mproc_mutex_consistent() before), -ENOTCONN if it lies in no segment
 * that is or can be attached, -EUSERS if the segment has no record left for this process
 * or thread. -EBADMSG if the condition's lock is corrupt, before the wait or after it: the
 * caller owns the mutex, and it is not known whether it was notified.
 *
 * When the mutex cannot be had again, the caller does not own it: -ENOTRECOVERABLE if it
 * was lost meanwhile (MPROC_MUTEX_STRICT), -EDEADLK if to wait for it would close a cycle
 * (MPROC_SEGMENT_DEADLOCK), -EIDRM if it was destroyed.
 */
MPROC_API MPROC_MUST int mproc_condition_wait(mproc_condition *condition, void *mutex,
					      int64_t deadline);

/**
 * mproc_condition_wait_for() - wait until a predicate holds
 * @condition:	condition
 * @mutex:	mproc_mutex or mproc_rmutex that the calling thread owns
 * @predicate:	called with the mutex held, at first and after every notification:
 *		positive if it holds, 0 if not, or a negative errno to give up
 * @arg:	for @predicate
 * @deadline:	how long to wait, see <mproc/common.h>; the predicate is asked once more
 *		when it has passed
 *
 * Return: 0 and the predicate holds, or what @predicate said if that is negative, or as
 * mproc_condition_wait(). After MPROC_MUTEX_INHERITED the predicate has not been asked:
 * put in order what the mutex protects, say so, and call again.
 */
MPROC_API MPROC_MUST int mproc_condition_wait_for(mproc_condition *condition, void *mutex,
						  int (*predicate)(void *arg), void *arg,
						  int64_t deadline);

/**
 * mproc_condition_notify() - end the waits of those who wait longest
 * @condition:	condition, whose waiters' mutex the calling thread owns
 * @n:		how many waiters
 *
 * Return: how many were notified, living ones, at most @n; 0 if nobody waits; -EPERM if
 * somebody does and the calling thread does not own the mutex he waits with, -EINVAL if
 * there is no condition, -EBADMSG if its lock is corrupt, -ENOTCONN, -EUSERS.
 */
MPROC_API int mproc_condition_notify(mproc_condition *condition, uint32_t n);

/**
 * mproc_condition_notify_all() - end the waits of all who wait
 * @condition:	condition, whose waiters' mutex the calling thread owns
 *
 * Return: as mproc_condition_notify().
 */
MPROC_API int mproc_condition_notify_all(mproc_condition *condition);

MPROC_END_DECLS

#endif /* MPROC_CONDITION_H */
