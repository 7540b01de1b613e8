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

/* Flags of mproc_mutex_init(). All but 0 make a free lock and unlock slower, by about half. */
enum {
	/*
	 * Any thread that can attach the segment may unlock it, as Python's Lock; so its
	 * owner may also wait for somebody to do so, and is not told -EDEADLK. The death of
	 * the one who locked it passes it on as ever.
	 */
	MPROC_MUTEX_ANY_UNLOCK = 1,
	/*
	 * An unlock hands it to who has waited longest; nobody overtakes one who waits. What
	 * is handed to a stopped process stays with it until that goes on or dies. Costs a
	 * switch of the CPU at nearly every contended unlock, which the default avoids.
	 */
	MPROC_MUTEX_FAIR = 2,
	/*
	 * An owner that unlocks it inherited, without mproc_mutex_consistent(), makes it not
	 * recoverable: -ENOTRECOVERABLE from every lock until it is initialised again.
	 * Another's unlock (MPROC_MUTEX_ANY_UNLOCK) leaves it inherited.
	 */
	MPROC_MUTEX_STRICT = 4,
};

/**
 * mproc_mutex_init() - make a free mutex
 * @mutex:	8-byte aligned memory in an attached segment, not in use by anybody
 * @flags:	0, or MPROC_MUTEX_ANY_UNLOCK, MPROC_MUTEX_FAIR, MPROC_MUTEX_STRICT or'ed
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
 * Whoever comes first after a release gets it (no queue), unless it is fair: then who
 * began to wait first does, by CLOCK_MONOTONIC (which time namespaces may tell
 * differently). An owner's death is noticed by whoever waits, at the latest one quantum
 * (5 ms, doubling to 100 ms) later.
 *
 * Return: 0, or MPROC_MUTEX_INHERITED: you own it, its last owner died inside, and
 * every next owner will be told so until one calls mproc_mutex_consistent();
 * -EAGAIN or -ETIMEDOUT if it was owned all the time, -EDEADLK if the calling
 * thread owns it (not with MPROC_MUTEX_ANY_UNLOCK), or if to wait would close a cycle in
 * a segment that was made with MPROC_SEGMENT_DEADLOCK (the text says which),
 * -ENOTRECOVERABLE if it is lost (only with MPROC_MUTEX_STRICT), -EINVAL for a negative
 * deadline or memory that holds no mutex,
 * -ENOTCONN if it lies in no segment that is or can be attached, -EUSERS if the
 * segment has no record left for this process or thread.
 */
MPROC_API MPROC_MUST int mproc_mutex_lock(mproc_mutex *mutex, int64_t deadline);

/**
 * mproc_mutex_unlock() - give the mutex up
 * @mutex:	mutex that the calling thread owns, or anybody with MPROC_MUTEX_ANY_UNLOCK
 *
 * An inherited mutex that nobody has declared consistent stays inherited, or is lost
 * with MPROC_MUTEX_STRICT if its owner unlocks it. One whose owner is dead is inherited
 * by the next one also if another unlocks it.
 *
 * Return: 0, -EPERM if nobody owns it, or another without MPROC_MUTEX_ANY_UNLOCK, -EINVAL if there
 * is no mutex, -ENOTCONN, -EUSERS.
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

/**
 * mproc_mutex_is_locked() - does anybody own it at this moment?
 * @mutex:	mutex
 *
 * Return: 1 (the owner may be dead), 0, -EINVAL if there is no mutex, -ENOTCONN, -EUSERS.
 */
MPROC_API int mproc_mutex_is_locked(mproc_mutex *mutex);

/* Who owns a mutex, and who waits for it. Texts are NUL-terminated. */
struct mproc_mutex_owner {
	uint32_t pid;          /* of the owner's process, as its PID namespace numbers it */
	uint32_t tid;          /* of its thread, likewise */
	uint64_t pid_ns;       /* inode of that namespace, see /proc/PID/ns/pid */
	char process[72];      /* name of the program */
	char thread[16];       /* name of the thread when it attached */
	uint32_t is_alive;     /* 0: dead; the next one to lock it inherits it */
	uint32_t is_inherited; /* an owner died, and nobody has said consistent */
	uint32_t n_waiters; /* threads that have begun to sleep for it; with FAIR, all that wait */
	uint32_t reserved;
	int64_t held_ns;   /* at least so long it has had this owner; 0: nobody waited to see it */
	int64_t waited_ns; /* so long the longest of the present waits has lasted */
};

/**
 * mproc_mutex_owner() - who owns the mutex at this moment, and who waits
 * @mutex:	mutex
 * @ret:	filled; if nobody owns it, all but is_inherited and the waiters is 0
 *
 * A lock and unlock write no time. How long an owner has had it is known from those who
 * sleep for it: since the last time one of them was woken, or began. An owner that is
 * taken to have held it all that time may have released it just now, without having
 * woken anybody yet.
 *
 * What is told was true for the owner at one instant during the call, for the waiters
 * each at one of its own.
 *
 * Return: 1 if somebody owns it, 0 if nobody does, -EINVAL if there is no mutex,
 * -ENOTCONN, -EUSERS.
 */
MPROC_API MPROC_MUST int mproc_mutex_owner(mproc_mutex *mutex, struct mproc_mutex_owner *ret);

MPROC_END_DECLS

#endif /* MPROC_MUTEX_H */
