/* SPDX-License-Identifier: MIT */
#ifndef MPROC_SEMAPHORE_H
#define MPROC_SEMAPHORE_H

/*
 * Semaphores, of three kinds that differ in what a death does
 *
 *	MPROC_SEMAPHORE_PERMITS	so many may hold one at a time. A permit has a holder
 *				and comes back when he releases it, when his thread ends
 *				or when he dies. There are never more than at the start.
 *				For a bounded resource: connections, memory, slots.
 *	MPROC_SEMAPHORE_SIGNALS	a number that is counted up and down. Nobody owns a
 *				unit: what a process took before it died is gone. For
 *				producers and consumers whose data is elsewhere.
 *	MPROC_SEMAPHORE_LEASES	units of work. A unit that is taken is leased to the
 *				thread that took it, until that says by
 *				mproc_semaphore_ack() that it is done with; if the thread
 *				ends or dies before, another is given the unit.
 *
 * It lies in place, in memory of a segment: mproc_semaphore and, right after it, 16
 * bytes for each permit, or for each lease that may be out at a time. In a struct:
 *
 *	struct pool {
 *		MPROC_SEMAPHORE_WITH(8) free;
 *	};
 *
 *	mproc_semaphore_init(&pool->free.semaphore, MPROC_SEMAPHORE_PERMITS, 8, NULL);
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one semaphore at the same time
 *	Fork		a child holds nothing of what its parent acquired
 *	Signals		mproc_semaphore_release() of signals and leases is
 *			async-signal-safe, and leaves no text; nothing else is
 *	Killed		a call has happened or has not; a permit or lease of the dead goes
 *			to the next who asks for one, at the latest one quantum (5 ms,
 *			doubling to 100 ms) later to one who waits. A releaser killed
 *			before he woke anybody costs those who wait 0.25 s at most
 *	Errors		a negative errno; the call then has had no effect
 */

#include <stddef.h>

#include <mproc/common.h>

MPROC_BEGIN_DECLS

enum mproc_semaphore_kind {
	MPROC_SEMAPHORE_PERMITS = 1,
	MPROC_SEMAPHORE_SIGNALS = 2,
	MPROC_SEMAPHORE_LEASES = 3,
};

/* 40 bytes; never copied or moved while in use. */
typedef struct mproc_semaphore {
	uint64_t opaque[5];
} mproc_semaphore;

/* An unnamed struct: a member semaphore, and room for @n permits or leases. C only. */
#define MPROC_SEMAPHORE_WITH(n) \
	struct { \
		mproc_semaphore semaphore; \
		uint64_t cells[2 * (n)]; \
	}

#define MPROC_SEMAPHORE_MAX       INT32_MAX /* units of signals or leases that can be there */
#define MPROC_SEMAPHORE_CELLS_MAX 65535u    /* permits; leases out at a time */

/* Zero in any field asks for the default. */
struct mproc_semaphore_opts {
	size_t size;     /* of this struct, set by MPROC_SEMAPHORE_OPTS() */
	uint32_t max;    /* units that may be there, leased ones not counted; default
			  * MPROC_SEMAPHORE_MAX. Permits: their number, and nothing else */
	uint32_t leases; /* leases that may be out at a time; leases only, and no default */
};

/* MPROC_SEMAPHORE_OPTS(.max = 10); C only, evaluates to a pointer. */
#define MPROC_SEMAPHORE_OPTS(...) \
	(&(const struct mproc_semaphore_opts){ .size = sizeof(struct mproc_semaphore_opts), \
					       __VA_ARGS__ })

/* Who holds a permit or a lease; for display. */
struct mproc_semaphore_holder {
	uint32_t pid; /* as in the PID namespace of its own process */
	uint32_t tid;
};

/**
 * mproc_semaphore_size() - bytes of a semaphore
 * @kind:	enum mproc_semaphore_kind
 * @n:		permits, or leases that may be out at a time; signals: 0
 *
 * Return: its size, mproc_semaphore included; 0 if there can be no such semaphore.
 */
MPROC_API size_t mproc_semaphore_size(uint32_t kind, uint32_t n);

/**
 * mproc_semaphore_init() - make a semaphore
 * @semaphore:	8-byte aligned memory in an attached segment, not in use by anybody, of
 *		mproc_semaphore_size() bytes
 * @kind:	enum mproc_semaphore_kind
 * @value:	permits, from 1 to MPROC_SEMAPHORE_CELLS_MAX; or units that are there at
 *		the start, from 0 to the maximum
 * @opts:	options, or NULL for the defaults; leases need .leases
 *
 * Return: 0, -EINVAL for a kind, number or option out of range or a misaligned address,
 * -E2BIG if @opts uses a field this library is too old to know, -ENOTCONN if not all of
 * it lies in an attached segment.
 */
MPROC_API MPROC_MUST int mproc_semaphore_init(mproc_semaphore *semaphore, uint32_t kind,
					      uint32_t value,
					      const struct mproc_semaphore_opts *opts);

/**
 * mproc_semaphore_destroy() - let later use be an error
 * @semaphore:	semaphore that nobody waits for, or NULL
 */
MPROC_API void mproc_semaphore_destroy(mproc_semaphore *semaphore);

/**
 * mproc_semaphore_acquire() - take one
 * @semaphore:	semaphore
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * Whoever comes first gets it (no queue). A thread may hold several.
 *
 * Return: 0, -EAGAIN or -ETIMEDOUT if there was none all the time (leases: none, or as
 * many as may be were out or just being taken or given up), -EINVAL for a negative deadline or
 * memory that holds no semaphore, -EBADMSG if it holds one that is impossible, -ENOTCONN if it lies
 * in no segment that is or can be attached, -EUSERS if the segment has no record left for this
 * process or thread.
 */
MPROC_API MPROC_MUST int mproc_semaphore_acquire(mproc_semaphore *semaphore, int64_t deadline);

/**
 * mproc_semaphore_release() - give permits back, or add units
 * @semaphore:	semaphore
 * @n:		how many, at least 1
 *
 * Permits: those of the calling thread first; if it holds none the permit of who has
 * held one for longest among the threads of this process, else among all. One by one: a
 * process killed inside has given some back.
 *
 * Signals and leases: all @n are there at once, and as many waiters are woken. Leases:
 * this adds units, to give a leased one up is mproc_semaphore_ack().
 *
 * Return: 0; -ERANGE if there would be more than the maximum, that is, if fewer than @n
 * permits are held by the living; -EINVAL if @n is 0 or memory holds no semaphore.
 * Permits also: a positive number less than @n if so many were given back and others
 * have released the rest meanwhile; -EBADMSG, -ENOTCONN, -EUSERS as above.
 */
MPROC_API int mproc_semaphore_release(mproc_semaphore *semaphore, uint32_t n);

/**
 * mproc_semaphore_ack() - say that a leased unit is done with
 * @semaphore:	semaphore of leases
 *
 * The unit is gone for good. A thread that holds several gives up one of them.
 *
 * Return: 0, -EPERM if the calling thread holds no lease, -EINVAL if there is no
 * semaphore of leases, -EBADMSG, -ENOTCONN, -EUSERS as above.
 */
MPROC_API int mproc_semaphore_ack(mproc_semaphore *semaphore);

/**
 * mproc_semaphore_value() - how many are there at this moment
 * @semaphore:	semaphore
 *
 * What the dead hold counts as being there. Leases: units, of which no more can be
 * acquired than may be out beside those that are.
 *
 * Return: a number, or -EINVAL, -EBADMSG, -ENOTCONN, -EUSERS as above.
 */
MPROC_API int mproc_semaphore_value(mproc_semaphore *semaphore);

/**
 * mproc_semaphore_holders() - who holds permits or leases at this moment
 * @semaphore:	semaphore
 * @ret:	one entry for each permit or lease that a living thread holds
 * @cap:	room in @ret, entries; 0: only count
 *
 * Return: how many are held, which may be more than @cap; 0 for signals; or -EINVAL,
 * -EBADMSG, -ENOTCONN, -EUSERS as above.
 */
MPROC_API int mproc_semaphore_holders(mproc_semaphore *semaphore,
				      struct mproc_semaphore_holder *ret, size_t cap);

MPROC_END_DECLS

#endif /* MPROC_SEMAPHORE_H */
