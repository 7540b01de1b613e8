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
 * returns -EDEADLK instead of waiting. With MPROC_SEGMENT_LOCK_ORDER the segment records
 * in which order mutexes and recursive mutexes are taken, and two that were taken in
 * both orders are reported though nobody has deadlocked yet.
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

/* Two locks, each of which was asked for by somebody who held the other. */
struct mproc_deadlock_pair {
	char first[160]; /* "mutex at 64 in block table"; that with the lower offset */
	char second[160];
	char segment[201]; /* its name, "" if anonymous */
	uint64_t first_offset;
	uint64_t second_offset;
};

/**
 * mproc_deadlock_order() - which locks were taken in both orders
 * @segment:	a segment made with MPROC_SEGMENT_LOCK_ORDER; NULL: all of those that this
 *		process has opened
 * @fn:		called for each pair, after the look, with nothing locked; the pair is
 *		valid until it returns; or NULL
 * @arg:	handed to @fn
 * @ret_dropped:	lock calls that found no room in the record, all in all; or NULL. As
 *		long as that is 0, all was recorded
 *
 * Whoever holds A while he asks for B has taken A before B, whether he had to wait or
 * not. If anybody (another thread, another process, the same thread) takes B before A
 * at another time, the two may deadlock one day, unless something keeps them apart: say,
 * a third lock that both hold. It is reported then, too. Each pair is also said once, when
 * it is first seen, in one line to the log (mproc_set_log()) of the process that sees it;
 * one that is killed just then may leave it unsaid, but not out of this list.
 *
 * Not recorded are calls with MPROC_NOWAIT, which never wait (what they got is held all
 * the same), mutexes that anybody may unlock (MPROC_MUTEX_ANY_UNLOCK), locks that lie in
 * different segments, and what a thread holds beyond 14 locks of one segment. There is
 * room for 256 locks that were taken while others were held, or held while others were
 * taken. To initialise or destroy a lock forgets all that was recorded of its place.
 * Larger cycles (A before B, B before C, C before A) are not looked for.
 *
 * Return: how many pairs, or -EINVAL if @segment records no order, -ENOMEM.
 */
MPROC_API MPROC_MUST int mproc_deadlock_order(mproc_segment *segment,
					      void (*fn)(const struct mproc_deadlock_pair *pair,
							 void *arg),
					      void *arg, uint64_t *ret_dropped);

MPROC_END_DECLS

#endif /* MPROC_DEADLOCK_H */
