/* SPDX-License-Identifier: MIT */
#ifndef MPROC_MUTEX_H
#define MPROC_MUTEX_H

/*
 * Mutual exclusion between threads of any processes
 *
 * A mutex lies in place, in memory of a segment: in an object of
 * mproc_segment_object(), in a struct of yours that lies there. When its owner
 * dies, or its owner's thread ends, the next one gets it and is told so.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one mutex at the same time
 *	Fork		a child does not own what its parent locked
 *	Signals		not safe in a signal handler
 *	Killed		a process killed inside a call, or while it owns the mutex,
 *			leaves it to the next one as inherited
 *	Errors		a negative errno; the call then has had no effect
 */

#include <mproc/common.h>

MPROC_BEGIN_DECLS

/* 16 bytes; never copied or moved while in use. */
typedef struct mproc_mutex {
	uint64_t opaque[2];
} mproc_mutex;

/* What mproc_mutex_lock() says when you have the lock but its last owner died. */
#define MPROC_MUTEX_INHERITED 1

/**
 * mproc_mutex_init() - make a free mutex
 * @mutex:	8-byte aligned memory in an attached segment, not in use by anybody
 * @flags:	0; other bits are for versions to come
 *
 * Return: 0, -EINVAL for unknown flags or a misaligned address, -ENOTCONN if
 * @mutex lies in no attached segment.
 */
MPROC_API MPROC_MUST int mproc_mutex_init(mproc_mutex *mutex, uint32_t flags);

/**
 * mproc_mutex_destroy() - let later use be an error
 * @mutex:	mutex that nobody holds or waits for, or NULL
 */
MPROC_API void mproc_mutex_destroy(mproc_mutex *mutex);

/**
 * mproc_mutex_lock() - own the mutex
 * @mutex:	mutex
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * Whoever comes first after a release gets it (no queue). An owner's death is
 * noticed by whoever waits, at the latest one quantum (5 ms, doubling to 100 ms)
 * later.
 *
 * Return: 0, or MPROC_MUTEX_INHERITED: you own it, its last owner died inside, and
 * every next owner will be told so until one calls mproc_mutex_consistent();
 * -EAGAIN or -ETIMEDOUT if it was owned all the time, -EDEADLK if the calling
 * thread owns it, or if to wait would close a cycle in a segment that was made with
 * MPROC_SEGMENT_DEADLOCK (the text says which), -EINVAL for a negative deadline or memory that
 * holds no mutex, -ENOTCONN if it lies in no segment that is or can be attached, -EUSERS if the
 * segment has no record left for this process or thread.
 */
MPROC_API MPROC_MUST int mproc_mutex_lock(mproc_mutex *mutex, int64_t deadline);

/**
 * mproc_mutex_unlock() - give the mutex up
 * @mutex:	mutex that the calling thread owns
 *
 * An inherited mutex that nobody has declared consistent stays inherited.
 *
 * Return: 0, -EPERM if another owns it or nobody does, -EINVAL if there is no mutex,
 * -ENOTCONN, -EUSERS.
 */
MPROC_API int mproc_mutex_unlock(mproc_mutex *mutex);

/**
 * mproc_mutex_consistent() - say that what the mutex protects is in order again
 * @mutex:	inherited mutex that the calling thread owns
 *
 * Return: 0, -EPERM if the calling thread does not own it, -EINVAL if it is not
 * inherited or there is no mutex, -ENOTCONN, -EUSERS.
 */
MPROC_API MPROC_MUST int mproc_mutex_consistent(mproc_mutex *mutex);

MPROC_END_DECLS

#endif /* MPROC_MUTEX_H */
