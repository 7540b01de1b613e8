/* SPDX-License-Identifier: MIT */
#ifndef MPROC__BARRIER_INSIDE_H
#define MPROC__BARRIER_INSIDE_H

/*
 * What the two halves of the barrier share: who waits, and who changes it otherwise
 *
 * See barrier.c for how it works.
 */

#include <mproc/barrier.h>

#include "ipc/attach.h"
#include "ipc/kind_layout.h"
#include "ipc/lock.h"

#define BARRIER_TAG 0x72726162u /* "barr": memory that holds something else is refused */

/* Of the state. */
#define BROKEN    UINT64_C(1)
#define ACTING    UINT64_C(2)
#define RESETTING UINT64_C(4)

/* Of a ticket. */
#define ARRIVED UINT64_C(1)
#define FAILED  UINT64_C(2) /* this arrival came to nothing; its owner has not seen that yet */
#define JOINED  UINT64_C(4)
#define ACTOR   UINT64_C(8)

/* An owner that is none: flags alone. */
#define VACANT UINT64_C(0)
#define CLOSED UINT64_C(1)

#define FLAGS (MPROC_BARRIER_SHRINK | MPROC_BARRIER_ANONYMOUS)

struct mproc__barrier_place {
	_Atomic(uint64_t) owner, ticket;
};

struct mproc__barrier {
	struct mproc__lock lock;
	_Atomic(uint64_t) state;
	mproc__sleepers sleepers;
	_Atomic(uint32_t) shape; /* flags 16 | places 16; fixed */
	struct mproc__barrier_place places[];
};

static_assert(sizeof(struct mproc__barrier) <= sizeof(mproc_barrier),
	      "a barrier has outgrown its type");
static_assert(alignof(struct mproc__barrier) <= alignof(mproc_barrier), "a barrier is misaligned");
static_assert(sizeof(struct mproc__barrier_place) == 16,
	      "MPROC_BARRIER_WITH() says how long they are");

/* One call. */
struct mproc__barrier_call {
	struct mproc__barrier *b;
	struct mproc__self *me;
	uint64_t what, acts;
	uint32_t n, flags; /* checked copies */
	bool changed;      /* those who wait have something to look at */
	bool died;         /* somebody was found dead */
	bool gone;         /* in its action we became another, or nobody: who waited is no more */
	/* Of one that waits: */
	int (*action)(void *arg);
	void *arg;
	int64_t deadline;
	bool arrived;
	uint32_t seat;
	uint64_t ticket;
};

static inline uint64_t state_word(uint64_t phase, uint64_t parties, uint64_t arrived)
{
	return phase << 28 | parties << 16 | arrived << 4;
}

/* Of a state and of a ticket. */
static inline uint64_t phase_of(uint64_t word)
{
	return word >> 28;
}

static inline uint32_t parties_of(uint64_t state)
{
	return (uint32_t)(state >> 16) & 0xfff;
}

static inline uint32_t arrived_of(uint64_t state)
{
	return (uint32_t)(state >> 4) & 0xfff;
}

static inline uint64_t ticket_word(uint64_t phase, uint64_t number, uint64_t flags)
{
	return phase << 28 | number << 16 | flags;
}

static inline int number_of(uint64_t ticket)
{
	return (int)(ticket >> 16) & 0xfff;
}

/* Does @ticket say that its owner has arrived, @state being the present one? */
static inline bool has_arrived(uint64_t ticket, uint64_t state)
{
	return (ticket & ARRIVED) && phase_of(ticket) == phase_of(state) &&
	       (uint32_t)number_of(ticket) < arrived_of(state);
}

static inline bool is_complete(uint64_t state)
{
	return arrived_of(state) >= parties_of(state) && !(state & (BROKEN | ACTING | RESETTING));
}

/* Reading and writing, by whoever has the lock; the state also by those who wait. */

static inline uint64_t get(_Atomic(uint64_t) *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

/* Release: what was written before stands before it, for whoever waits and for an heir. */
static inline void put(_Atomic(uint64_t) *word, uint64_t val)
{
	atomic_store_explicit(word, val, memory_order_release);
}

/* Who we are where @barrier lies, if there is one. Return: 0 or a negative errno. */
int mproc__barrier_enter(struct mproc__barrier_call *call, mproc_barrier *barrier,
			 const char *what);

/*
 * Take the lock; what a dead owner left is in order then.
 *
 * Return: 0, or -EBADMSG: the lock's word is not what we left there.
 */
int mproc__barrier_take(struct mproc__barrier_call *call);

/* Give the lock back and wake those who wait, if anything has changed for them. */
void mproc__barrier_give(struct mproc__barrier_call *call);

/* All of these with the lock. */
void mproc__barrier_put_state(struct mproc__barrier_call *call, uint64_t state);
void mproc__barrier_close_place(struct mproc__barrier_call *call,
				struct mproc__barrier_place *place);

/* BROKEN and RESETTING are there: vacate the places, but for those who must be told. */
void mproc__barrier_finish_reset(struct mproc__barrier_call *call);

/* Do what the flags say about the dead. Return: whether anything was done. */
bool mproc__barrier_bury(struct mproc__barrier_call *call);

/* The first place that is @owner's, VACANT or CLOSED, or -1. */
int mproc__barrier_place_of(const struct mproc__barrier_call *call, uint64_t owner);

/* The place of one who has not arrived and has not joined, dead or alive, or -1. */
int mproc__barrier_idle_place(const struct mproc__barrier_call *call, uint64_t state);

#endif /* MPROC__BARRIER_INSIDE_H */
