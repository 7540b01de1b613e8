/* SPDX-License-Identifier: MIT */
#ifndef MPROC_BARRIER_H
#define MPROC_BARRIER_H

/*
 * A place in the program that nobody leaves before all have come
 *
 * A barrier is made for a number of parties. When the last of them has arrived all go
 * on, and the barrier is ready for the next time: its phases are counted. It lies in
 * place, in memory of a segment.
 *
 * Who is a party. A thread takes one of the places when it arrives first, or by
 * mproc_barrier_join(), and keeps it until mproc_barrier_leave(). Should a thread come
 * that has none, and no place be vacant, it takes that of one that has not arrived in
 * this phase and did not join.
 *
 * When a party dies, or its thread ends without leaving, those who wait notice at the
 * latest one quantum (5 ms, doubling to 100 ms) later; how many phases ago it arrived
 * makes no difference. Then the barrier is broken: all who wait and all who come are
 * told, until mproc_barrier_reset(). With MPROC_BARRIER_SHRINK it goes on with one
 * party less instead; what the dead one had arrived for still counts. Once none is left
 * nobody can arrive (-EUSERS) before somebody joins, or a reset.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one barrier at the same time
 *	Fork		a child is no party because its parent is one
 *	Signals		not safe in a signal handler
 *	Killed		a process killed inside a call is a party that died; a release
 *			that it had begun is finished by the others
 *	Errors		a negative errno; the call then has had no effect
 */

#include <mproc/common.h>

MPROC_BEGIN_DECLS

/* 32 bytes, and 16 more for each party behind it; never copied or moved while in use. */
typedef struct mproc_barrier {
	uint64_t opaque[4];
} mproc_barrier;

#define MPROC_BARRIER_PARTIES_MAX 4095

/* In a struct of yours: MPROC_BARRIER_WITH(8) start; and then &x->start.barrier. */
#define MPROC_BARRIER_WITH(parties) \
	struct { \
		mproc_barrier barrier; \
		uint64_t places[2 * (parties)]; \
	}

enum mproc_barrier_flags {
	/* A party that dies is missed by nobody. */
	MPROC_BARRIER_SHRINK = 1,
	/*
	 * Who has not joined is a party only from its arrival to its release: threads
	 * may come, go and end as they like in between. Not together with SHRINK.
	 */
	MPROC_BARRIER_ANONYMOUS = 2,
};

/**
 * mproc_barrier_size() - bytes that a barrier takes
 * @parties:	how many
 *
 * Return: bytes, or 0 if @parties is 0 or exceeds MPROC_BARRIER_PARTIES_MAX.
 */
MPROC_API size_t mproc_barrier_size(uint32_t parties);

/**
 * mproc_barrier_init() - make a barrier at which nobody waits
 * @barrier:	mproc_barrier_size(@parties) bytes, 8-byte aligned, in an attached segment,
 *		not in use by anybody
 * @parties:	how many must arrive, 1 to MPROC_BARRIER_PARTIES_MAX
 * @flags:	0, MPROC_BARRIER_SHRINK or MPROC_BARRIER_ANONYMOUS
 *
 * Return: 0, -EINVAL for a number of parties or flags that cannot be, or a misaligned
 * address, -ENOTCONN if @barrier lies in no attached segment, or not all of it.
 */
MPROC_API MPROC_MUST int mproc_barrier_init(mproc_barrier *barrier, uint32_t parties,
					    uint32_t flags);

/**
 * mproc_barrier_destroy() - let later use be an error
 * @barrier:	barrier at which nobody waits, or NULL
 */
MPROC_API void mproc_barrier_destroy(mproc_barrier *barrier);

/**
 * mproc_barrier_wait() - arrive, and wait until all have
 * @barrier:	barrier
 * @action:	what is to be done once all have arrived and before any goes on, or NULL;
 *		a negative result of it breaks the barrier
 * @arg:	for @action
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * One party runs its own @action, usually the last that arrives; all are to give the
 * same one. If that party dies in it the barrier is broken, whatever the flags.
 *
 * Who gives up waiting breaks the barrier for all. With MPROC_NOWAIT a call that is not
 * the last to arrive has no effect, but notices who has died, as one that waits does;
 * one that gives up looks for them once more before it breaks anything.
 *
 * Return: a number from 0 to parties - 1, another one for each party of this phase;
 * -EPIPE if the barrier is or was broken, or reset, while it waited; -ETIMEDOUT: it
 * waited too long and has broken the barrier, unless there was no place for it;
 * -EAGAIN; what @action returned, if this call ran it and it was negative; -EUSERS if
 * all places belong to others, who have joined; -EDEADLK inside @action itself; -EPERM
 * in a child process that @action forked and that returned from it; -EINVAL
 * for a negative deadline or memory that holds no barrier, -EBADMSG if that is corrupt,
 * -ENOTCONN if it lies in no segment that is or can be attached, or -EUSERS if the
 * segment has no record left for this process or thread.
 */
MPROC_API MPROC_MUST int mproc_barrier_wait(mproc_barrier *barrier, int (*action)(void *arg),
					    void *arg, int64_t deadline);

/**
 * mproc_barrier_join() - be a party before arriving
 * @barrier:	barrier
 *
 * From now on the calling thread's death is noticed, and nobody takes its place. A
 * vacant place is taken first, and of an anonymous barrier one whose last owner did not
 * join and does not wait; if there is none, but a party has left or been shrunk away,
 * there is one party more again.
 *
 * Return: 0, -EUSERS if all places are taken, -EPIPE if the barrier is broken, -EINVAL,
 * -EBADMSG, -ENOTCONN.
 */
MPROC_API MPROC_MUST int mproc_barrier_join(mproc_barrier *barrier);

/**
 * mproc_barrier_leave() - let the others go on with one party less
 * @barrier:	barrier that the calling thread is a party of
 *
 * If all others have arrived they are released.
 *
 * Return: 0, -EPERM if the calling thread is no party (of an anonymous barrier: has not
 * joined), -EDEADLK inside an action, -EINVAL, -EBADMSG, -ENOTCONN, -EUSERS.
 */
MPROC_API int mproc_barrier_leave(mproc_barrier *barrier);

/**
 * mproc_barrier_abort() - break the barrier
 * @barrier:	barrier
 *
 * Return: 0, -EINVAL, -EBADMSG, -ENOTCONN, -EUSERS.
 */
MPROC_API int mproc_barrier_abort(mproc_barrier *barrier);

/**
 * mproc_barrier_reset() - make the barrier as it was at first
 * @barrier:	barrier
 *
 * Who waits is told -EPIPE; all places are vacant, and there are as many parties as
 * the barrier was made for.
 *
 * Return: 0, -EINVAL, -EBADMSG, -ENOTCONN, -EUSERS.
 */
MPROC_API int mproc_barrier_reset(mproc_barrier *barrier);

/**
 * mproc_barrier_n_parties() - how many must arrive at present
 * @barrier:	barrier
 *
 * Return: that, or -EINVAL, -EBADMSG, -ENOTCONN, -EUSERS.
 */
MPROC_API int mproc_barrier_n_parties(mproc_barrier *barrier);

/* mproc_barrier_n_waiting() - how many have arrived in this phase; see above */
MPROC_API int mproc_barrier_n_waiting(mproc_barrier *barrier);

/* mproc_barrier_is_broken() - 1 if it is, or 0; see above */
MPROC_API int mproc_barrier_is_broken(mproc_barrier *barrier);

MPROC_END_DECLS

#endif /* MPROC_BARRIER_H */
