/* SPDX-License-Identifier: MIT */
#ifndef MPROC_DEADLOCK_H
#define MPROC_DEADLOCK_H

/*
 * Deadlocks: who waits for whom, when nobody can go on
 *
 * A deadlock is a cycle of threads, of one process or of several, each of which waits
 * for a lock that the next one holds. Every thread that waits says so in the segment,
 * so a cycle can be found at any time, by any process, without the help of those who
 * are in it; shmtool locks finds it from outside. With MPROC_SEGMENT_DEADLOCK among
 * the flags of a segment (<mproc/segment.h>) a lock call that would close a cycle
 * returns -EDEADLK instead of waiting.
 *
 * Seen are waits for a mutex, a recursive mutex, the lock of a value or an array, and
 * for a writer of an rwlock. Who waits for a semaphore, a condition, an event, a
 * barrier or a message waits for nobody in particular, and is in no cycle; nor is who
 * waits for a mutex that anybody may unlock (MPROC_MUTEX_ANY_UNLOCK), or for the readers
 * of an rwlock.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may call at the same time; nobody is delayed
 *	Fork		nothing here changes across fork(2)
 *	Signals		not safe in a signal handler
 *	Killed		nothing here writes shared memory
 *	Errors		a negative errno
 */

#include <mproc/segment.h>

MPROC_BEGIN_DECLS

/* A thread, as it is known in its own PID namespace. */
struct mproc_deadlock_thread {
	uint32_t pid;
	uint32_t tid;
	char exe[72];  /* its program */
	char name[16]; /* its own name, as of its first call */
};

/* One thread waits for a lock that another one holds. */
struct mproc_deadlock_edge {
	char lock[160];    /* "mutex at 64 in block table", "mutex at 4096" */
	char kind[16];     /* of what is waited for: "mutex", "rmutex", "rwlock" */
	char segment[201]; /* its name, "" if anonymous */
	int deadline;      /* 1: the wait has a deadline, so the cycle ends by itself */
	uint64_t offset;   /* of the lock in its segment */
	int64_t waited;    /* so far, nanoseconds */
	struct mproc_deadlock_thread waiter;
	struct mproc_deadlock_thread holder; /* the waiter of the next edge, round and round */
};

/* A cycle. The first edge is the youngest: the one that closed it. */
struct mproc_deadlock {
	size_t n_edges; /* 2 or more */
	const struct mproc_deadlock_edge *edges;
};

/**
 * mproc_deadlock_check() - look for cycles
 * @segment:	only those that go through this one; NULL: through any segment that this
 *		process has opened
 * @fn:		called for each cycle, after the look, with nothing locked; the cycle is
 *		valid until it returns; or NULL
 * @arg:	handed to @fn
 *
 * A cycle goes through several segments if its threads wait in one for what they hold
 * in another. It is seen as far as this process has opened them.
 *
 * What is reported was there: all those waits at the same time, all those threads
 * alive (though they may be stopped). A cycle in which a wait has a deadline ends when
 * that has come; any cycle ends when one of its processes dies, since its locks are
 * then inherited.
 *
 * Return: how many cycles there are, or -ENOMEM.
 */
MPROC_API MPROC_MUST int
mproc_deadlock_check(mproc_segment *segment,
		     void (*fn)(const struct mproc_deadlock *cycle, void *arg), void *arg);

MPROC_END_DECLS

#endif /* MPROC_DEADLOCK_H */
