/* SPDX-License-Identifier: MIT */
#ifndef MPROC_RMUTEX_H
#define MPROC_RMUTEX_H

/*
 * Mutual exclusion that its owner may enter again and again
 *
 * A recursive mutex is a mutex (<mproc/mutex.h>) that the thread that owns it may lock
 * again; it is free after as many unlocks. How often it is locked is known to that
 * thread alone: a dead owner's locks are gone with it, all at once.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one rmutex at the same time
 *	Fork		a child does not own what its parent locked
 *	Signals		not safe in a signal handler
 *	Killed		a process killed inside a call, or while it owns the rmutex,
 *			leaves it to the next one as inherited
 *	Errors		a negative errno; the call then has had no effect
 */

#include <mproc/common.h>
#include <mproc/mutex.h>

MPROC_BEGIN_DECLS

/* 16 bytes; never copied or moved while in use. */
typedef struct mproc_rmutex {
	uint64_t opaque[2];
} mproc_rmutex;

/* So often, and no more, a thread may lock one that it has not unlocked. */
#define MPROC_RMUTEX_DEPTH_MAX 65535u

/* So many, and no more, a thread may have locked more than once, in all segments together. */
#define MPROC_RMUTEX_DEEP_MAX 32u

/**
 * mproc_rmutex_init() - make a free rmutex
 * @rmutex:	8-byte aligned memory in an attached segment, not in use by anybody
 * @flags:	0; other bits are for versions to come
 *
 * Return: 0, -EINVAL for unknown flags or a misaligned address, -ENOTCONN if
 * @rmutex lies in no attached segment.
 */
MPROC_API MPROC_MUST int mproc_rmutex_init(mproc_rmutex *rmutex, uint32_t flags);

/**
 * mproc_rmutex_destroy() - let later use be an error
 * @rmutex:	rmutex that nobody holds or waits for, or NULL
 */
MPROC_API void mproc_rmutex_destroy(mproc_rmutex *rmutex);

/**
 * mproc_rmutex_lock() - own the rmutex, once more
 * @rmutex:	rmutex
 * @deadline:	how long to wait, see <mproc/common.h>; the owner never waits
 *
 * Return: 0, or MPROC_MUTEX_INHERITED: you own it, an owner died inside, and every lock
 * is told so, the owner's further ones too, until one owner calls
 * mproc_rmutex_consistent(); -EAGAIN or -ETIMEDOUT if another owned it all the time,
 * -EDEADLK if to wait would close a cycle in a segment that was made with
 * MPROC_SEGMENT_DEADLOCK (the text says which), -EOVERFLOW if the calling thread has locked it
 * MPROC_RMUTEX_DEPTH_MAX times, -ENOLCK if it has locked MPROC_RMUTEX_DEEP_MAX others more than
 * once, -EINVAL for a negative deadline or memory that holds no rmutex, -ENOTCONN if it lies in no
 * segment that is or can be attached, -EUSERS if the segment has no record left for this process or
 * thread.
 */
MPROC_API MPROC_MUST int mproc_rmutex_lock(mproc_rmutex *rmutex, int64_t deadline);

/**
 * mproc_rmutex_unlock() - take one lock back; with the last one, give the rmutex up
 * @rmutex:	rmutex that the calling thread owns
 *
 * An inherited one that nobody has declared consistent stays inherited.
 *
 * Return: 0, -EPERM if another owns it or nobody does, -EINVAL if there is no rmutex,
 * -ENOTCONN, -EUSERS.
 */
MPROC_API int mproc_rmutex_unlock(mproc_rmutex *rmutex);

/**
 * mproc_rmutex_consistent() - say that what the rmutex protects is in order again
 * @rmutex:	inherited rmutex that the calling thread owns
 *
 * Return: 0, -EPERM if the calling thread does not own it, -EINVAL if it is not
 * inherited or there is no rmutex, -ENOTCONN, -EUSERS.
 */
MPROC_API MPROC_MUST int mproc_rmutex_consistent(mproc_rmutex *rmutex);

/**
 * mproc_rmutex_is_locked() - does anybody own it at this moment?
 * @rmutex:	rmutex
 *
 * Return: 1 (the owner may be dead), 0, -EINVAL if there is no rmutex, -ENOTCONN, -EUSERS.
 */
MPROC_API int mproc_rmutex_is_locked(mproc_rmutex *rmutex);

/**
 * mproc_rmutex_depth() - how often has the calling thread locked it?
 * @rmutex:	rmutex
 *
 * Return: so often as it has not unlocked it yet, 0 if it does not own it, -EINVAL if
 * there is no rmutex, -ENOTCONN, -EUSERS.
 */
MPROC_API int mproc_rmutex_depth(mproc_rmutex *rmutex);

/**
 * mproc_rmutex_owner() - who owns the rmutex at this moment, and who waits
 * @rmutex:	rmutex
 * @ret:	as of mproc_mutex_owner()
 *
 * Return: 1 if somebody owns it, 0 if nobody does, -EINVAL if there is no rmutex,
 * -ENOTCONN, -EUSERS.
 */
MPROC_API MPROC_MUST int mproc_rmutex_owner(mproc_rmutex *rmutex, struct mproc_mutex_owner *ret);

MPROC_END_DECLS

#endif /* MPROC_RMUTEX_H */
