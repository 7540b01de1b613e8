/* SPDX-License-Identifier: MIT */
#ifndef MPROC__WAIT_H
#define MPROC__WAIT_H

/*
 * The one waiting routine: try, poll while that can help, sleep bounded, repeat
 *
 * Sleepers word. Whoever may have to wait for something sleeps on a 32-bit word
 * beside it:
 *
 *	wakes 16 | announcements 15 | somebody sleeps 1
 *
 * A sleeper announces itself (a count grows, the bit is set), looks at the thing
 * once more and sleeps while the word is what it announced. A waker changes the
 * thing first, then looks at the bit with a plain load; if it is set, it counts
 * and wakes one, and clears the bit only when there was nobody to wake and nobody
 * has announced himself since. See wait.c for why no wake-up is lost.
 */

#include <stddef.h>
#include <sys/rseq.h>

#include <mproc/common.h>

#include "ipc/attach.h"
#include "ipc/lock_layout.h"

/* How often a waiter looks at the world when nobody wakes it. */
#define MPROC__QUANTUM_OWNED INT64_C(5000000)   /* first sleep for something owned, ns */
#define MPROC__QUANTUM_MAX   INT64_C(100000000) /* it doubles up to this */
#define MPROC__QUANTUM_IDLE  INT64_C(250000000) /* waiting for what nobody owes us */

struct mproc__wait {
	struct mproc__self *me;
	uint64_t what; /* the object, as in holds */
	int64_t deadline;
	int64_t quantum;
	uint32_t owned;  /* somebody owns what we wait for */
	uint32_t polls;  /* left of the budget */
	uint32_t polled; /* spent */
	uint32_t step;   /* pauses before the next look */
	uint32_t sleeps;
	uint32_t blocked;   /* the record says what we wait for */
	uint32_t overslept; /* the last sleep ended by its quantum */
	uint32_t saw;       /* the record says since when no release was seen */
	uint32_t key;       /* of the last announcement, and where it was made */
	mproc__sleepers *word;
	uint64_t outer_on, outer_since; /* the wait within which this one is, if any */
};

/* What mproc__wait_turn() tells. */
enum { MPROC__WAIT_POLL = 0, MPROC__WAIT_SLEEP = 1 };

/*
 * Begin to wait, after a first try has failed.
 * @quantum:	MPROC__QUANTUM_OWNED; or MPROC__QUANTUM_IDLE, or MPROC__QUANTUM_MAX if one who
 *		comes to own something meanwhile may die with it
 */
void mproc__wait_begin(struct mproc__wait *wait, struct mproc__self *me, uint64_t what,
		       int64_t deadline, int64_t quantum);

/*
 * Between two tries.
 * @cpu:	the CPU that the party who must act was last seen on, or
 *		MPROC__CPU_ANY if nobody in particular is expected
 *
 * Return: MPROC__WAIT_POLL: try again; MPROC__WAIT_SLEEP: announce yourself, try
 * again, then mproc__wait_sleep(); -EAGAIN or -ETIMEDOUT: give up.
 */
int mproc__wait_turn(struct mproc__wait *wait, uint32_t cpu);
#define MPROC__CPU_ANY UINT32_MAX

/* The CPU its owner last ran on: polling for an owner that needs our CPU is in vain. */
static inline uint32_t mproc__owner_cpu(const struct mproc__range *range, uint64_t word)
{
	uint32_t index = mproc__owner_index(word);

	if (index >= range->n_threads)
		return MPROC__CPU_ANY;
	return atomic_load_explicit(&range->threads[index].cpu, memory_order_relaxed);
}

/*
 * Every participant that runs has executed a fence when this returns, or executes one
 * by itself wherever it calls mproc__publish(): me->fence says that it had to be so.
 */
void mproc__fence_all(struct mproc__self *me);

/* Announce that the caller is about to sleep. Return: the key for the sleep. */
uint32_t mproc__wait_announce(struct mproc__wait *wait, mproc__sleepers *word);

/* The same where whoever wakes has a full barrier between the change and the look. */
uint32_t mproc__wait_announce_fenced(struct mproc__wait *wait, mproc__sleepers *word);

/*
 * Note in the thread's record that the lock waited for is owned, and since when it has
 * been all the time: @sleepers is its word as read before the look at the owner. Only
 * just before mproc__wait_sleep(), which counts on it.
 */
void mproc__wait_saw(struct mproc__wait *wait, uint32_t sleepers);

/*
 * Note in the thread's record what the wait is for, if it is not there yet; the
 * sleep does it as well. Who wants to look at the wait-for graph does so after this.
 */
void mproc__wait_block(struct mproc__wait *wait);

/* Sleep until woken, the word changes, the quantum or the deadline passes. */
void mproc__wait_sleep(struct mproc__wait *wait, mproc__sleepers *word, uint32_t key);

/* The wait is over and @ok: adapts the poll budget, counts a healing if it was one. */
void mproc__wait_end(struct mproc__wait *wait, bool ok);

/* What a waker calls once the bit is set; mproc__wake_one() and _all() are the entrances. */
void mproc__wake_slow(mproc__sleepers *word, int n);

/*
 * Order the change before the look at the sleepers' word. Where every participant
 * can be reached by membarrier(2) the sleeper pays for this and the waker for nothing.
 */
static inline void mproc__publish(const struct mproc__self *me)
{
	if (__builtin_expect(
		    me->fence | atomic_load_explicit(&me->range->reg->fence, memory_order_relaxed),
		    0))
		atomic_thread_fence(memory_order_seq_cst);
	else
		atomic_signal_fence(memory_order_seq_cst);
}

/* Wake one sleeper, or all; the change must have been made. */
static inline void mproc__wake_one(const struct mproc__self *me, mproc__sleepers *word)
{
	mproc__publish(me);
	if (__builtin_expect(atomic_load_explicit(word, memory_order_relaxed) & 1, 0))
		mproc__wake_slow(word, 1);
}

static inline void mproc__wake_all(const struct mproc__self *me, mproc__sleepers *word)
{
	mproc__publish(me);
	if (__builtin_expect(atomic_load_explicit(word, memory_order_relaxed) & 1, 0))
		mproc__wake_slow(word, INT32_MAX);
}

/* The same as mproc__cpu() by a call of libc's. */
uint32_t mproc__cpu_ask(void);

/* The CPU we run on, as cheap as it can be had: the kernel keeps it in our memory. */
static inline uint32_t mproc__cpu(void)
{
	uintptr_t area = (uintptr_t)__builtin_thread_pointer() + (uintptr_t)__rseq_offset;

	if (__builtin_expect(!__rseq_size, 0))
		return mproc__cpu_ask();
	return *(const volatile uint32_t *)(area + offsetof(struct rseq, cpu_id_start));
}

/* Register this process for membarrier(2). Return: whether it can be used. */
bool mproc__wait_can_fence(void);

/*
 * For tests: sleep for ever instead of a quantum, so that a lost wake-up hangs; and
 * never poll, so that every wait sleeps.
 */
extern _Atomic(bool) mproc__quantum_off;
extern _Atomic(bool) mproc__polls_off;

#endif /* MPROC__WAIT_H */
