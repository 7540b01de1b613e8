/* SPDX-License-Identifier: MIT */
#ifndef MPROC_RWLOCK_H
#define MPROC_RWLOCK_H

/*
 * Many readers or one writer, in any processes
 *
 * A reader writes nothing that another reader writes or reads: readers do not slow
 * each other down, however many they are. A writer pays for that: taking the lock
 * costs it a system call and a look at every thread record of the segment. The lock
 * lies in place, in memory of a segment.
 *
 * A dead reader is no reader. When a writer dies inside, or its thread ends there, the
 * lock goes on, and readers and writers alike are told that what it protects may be
 * half changed.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one lock at the same time; who locks, unlocks
 *	Fork		a child holds nothing of what its parent locked
 *	Signals		not safe in a signal handler
 *	Killed		a process killed inside a call, or while it holds the lock, blocks
 *			nobody; if it was the writer, the others are told
 *	Errors		a negative errno; the call then has had no effect
 */

#include <mproc/common.h>

MPROC_BEGIN_DECLS

/* 24 bytes; never copied or moved while in use. */
typedef struct mproc_rwlock {
	uint64_t opaque[3];
} mproc_rwlock;

enum mproc_rwlock_flags {
	/*
	 * A waiting writer keeps nobody from reading; it may wait for ever. Without this
	 * flag no new reader comes in once a writer waits at the head; after each writer
	 * readers and writers have the same chance.
	 */
	MPROC_RWLOCK_PREFER_READERS = 1,
};

/* What a lock call says when you have the lock but a writer died inside. */
#define MPROC_RWLOCK_INHERITED 1

/* How many different locks of one segment a thread can read under at the same time. */
#define MPROC_RWLOCK_READS_MAX 8

/**
 * mproc_rwlock_init() - make a free lock
 * @rwlock:	8-byte aligned memory in an attached segment, not in use by anybody
 * @flags:	0 or MPROC_RWLOCK_PREFER_READERS
 *
 * Return: 0, -EINVAL for unknown flags or a misaligned address, -ENOTCONN if
 * @rwlock lies in no attached segment.
 */
MPROC_API MPROC_MUST int mproc_rwlock_init(mproc_rwlock *rwlock, uint32_t flags);

/**
 * mproc_rwlock_destroy() - let later use be an error
 * @rwlock:	lock that nobody holds or waits for, or NULL
 */
MPROC_API void mproc_rwlock_destroy(mproc_rwlock *rwlock);

/**
 * mproc_rwlock_read_lock() - keep writers out
 * @rwlock:	lock
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * A thread that reads already gets the lock once more at once, even while a writer
 * waits; it unlocks as often as it locked.
 *
 * Return: 0, or MPROC_RWLOCK_INHERITED: you may read, but a writer died inside and no
 * writer has called mproc_rwlock_consistent() since; -EAGAIN or -ETIMEDOUT if a writer
 * was there all the time, -EDEADLK if the calling thread is the writer, -ENOLCK if it
 * reads under MPROC_RWLOCK_READS_MAX other locks or 65536 times under this one,
 * -EINVAL for a negative deadline or memory that holds no such lock, -ENOTCONN if it
 * lies in no segment that is or can be attached, -EUSERS if the segment has no record
 * left for this process or thread.
 */
MPROC_API MPROC_MUST int mproc_rwlock_read_lock(mproc_rwlock *rwlock, int64_t deadline);

/**
 * mproc_rwlock_write_lock() - keep everybody out
 * @rwlock:	lock
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * A death of the writer or of the last reader is noticed by whoever waits at the
 * latest one quantum (5 ms, doubling to 100 ms) later. A stopped reader is not dead.
 *
 * Return: 0, or MPROC_RWLOCK_INHERITED: you have the lock, a writer died inside, and
 * everybody will be told so until a writer calls mproc_rwlock_consistent(); -EAGAIN or
 * -ETIMEDOUT if somebody else held it all the time, -EDEADLK if the calling thread
 * reads under it or is the writer, -EINVAL, -ENOTCONN, -EUSERS as above.
 */
MPROC_API MPROC_MUST int mproc_rwlock_write_lock(mproc_rwlock *rwlock, int64_t deadline);

/**
 * mproc_rwlock_unlock() - give up what the calling thread locked last, to read or write
 * @rwlock:	lock
 *
 * An inherited lock that no writer has declared consistent stays inherited.
 *
 * Return: 0, -EPERM if the calling thread holds it neither way, -EINVAL if there is no
 * such lock, -ENOTCONN, -EUSERS.
 */
MPROC_API int mproc_rwlock_unlock(mproc_rwlock *rwlock);

/**
 * mproc_rwlock_consistent() - say that what the lock protects is in order again
 * @rwlock:	inherited lock of which the calling thread is the writer
 *
 * Return: 0, -EPERM if the calling thread is not the writer, -EINVAL if the lock is
 * not inherited or there is none, -ENOTCONN, -EUSERS.
 */
MPROC_API MPROC_MUST int mproc_rwlock_consistent(mproc_rwlock *rwlock);

MPROC_END_DECLS

#endif /* MPROC_RWLOCK_H */
