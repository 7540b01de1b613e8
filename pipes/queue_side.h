/* SPDX-License-Identifier: MIT */
#ifndef MPROC__QUEUE_SIDE_H
#define MPROC__QUEUE_SIDE_H

/*
 * What putting and getting have in common: a side's lock, its commit, the wake-ups
 */

#include <assert.h>

#include "ipc/clock.h"
#include "ipc/lock.h"
#include "ipc/participant.h"
#include "ipc/waitable.h"
#include "pipes/queue.h"

/* A lock is held for no longer than this many bytes or messages take. */
#define MPROC__QUEUE_BATCH_BYTES 16384u
#define MPROC__QUEUE_BATCH_MSGS  256u

/* How long a call that must not wait waits for a neighbour inside his own call. */
#define MPROC__QUEUE_NEIGHBOUR_MS 10

/* "…: … is impossible, the segment was scribbled over". Return: -EBADMSG. */
int mproc__queue_corrupt(const mproc_queue *queue, const char *what);

/*
 * Who is calling, if the call makes sense.
 *
 * Return: NULL with the reason in @ret_r.
 */
static inline struct mproc__self *mproc__queue_enter(mproc_queue *q, const char *what,
						     int64_t deadline, int *ret_r)
{
	struct mproc__self *me;

	assert(q && q->magic == MPROC__QUEUE_MAGIC);
	if (__builtin_expect(deadline < 0, 0)) {
		*ret_r = mproc__deadline_check(what, deadline);
		return NULL;
	}
	me = mproc__self(q->shared, what);
	if (__builtin_expect(!me, 0))
		*ret_r = mproc__self_error();
	return me;
}

/* The lock is somebody's. Returns as mproc__queue_side_take(). */
int mproc__queue_side_take_slow(mproc_queue *q, struct mproc__queue_side *side,
				struct mproc__self *me, int64_t deadline);

/*
 * Take one side's lock. When its last owner died nothing needs repair.
 *
 * Return: 0, or -EAGAIN, -ETIMEDOUT, -EDEADLK.
 */
static inline int mproc__queue_side_take(mproc_queue *q, struct mproc__queue_side *side,
					 struct mproc__self *me, int64_t deadline)
{
	uint64_t free = 0;

	/* What mproc__lock_take() begins with; what follows differs in what NOWAIT means. */
	if (__builtin_expect(atomic_compare_exchange_strong_explicit(&side->lock.word, &free,
								     me->word, memory_order_acquire,
								     memory_order_relaxed),
			     1))
		return 0;
	return mproc__queue_side_take_slow(q, side, me, deadline);
}

static inline void mproc__queue_side_leave(struct mproc__queue_side *side, struct mproc__self *me)
{
	mproc__lock_release(&side->lock, me);
}

/* Somebody sleeps. */
void mproc__queue_wake_slow(mproc_queue *q, struct mproc__queue_side *side,
			    struct mproc__waitable *w, uint32_t n);

/*
 * The same after a change that @n of those who wait on @w have waited for. One look
 * at both kinds of sleepers: the change and the release are published together.
 */
static inline void mproc__queue_side_done(mproc_queue *q, struct mproc__queue_side *side,
					  struct mproc__self *me, struct mproc__waitable *w,
					  uint32_t n)
{
	atomic_store_explicit(&side->lock.word, 0, memory_order_release);
	mproc__publish(me);
	if (__builtin_expect((atomic_load_explicit(&side->lock.sleepers, memory_order_relaxed) |
			      atomic_load_explicit(&w->sleepers, memory_order_relaxed)) &
				     1,
			     0))
		mproc__queue_wake_slow(q, side, w, n);
}

/* The counter that knows the high bits is brought up to the cursor this often. */
#define MPROC__QUEUE_COUNT_SHIFT 12

/* Move a side's cursor from @prev to @next: the commit. The caller owns its lock. */
static inline void mproc__queue_side_commit(struct mproc__queue_side *side, uint64_t prev,
					    uint64_t next, uint64_t n_bytes)
{
	uint64_t bytes = atomic_load_explicit(&side->bytes, memory_order_relaxed);
	uint32_t cpu = mproc__cpu();

	/* Release: what was written into the ring, or read from it, was so before. */
	atomic_store_explicit(&side->cursor, next, memory_order_release);
	atomic_store_explicit(&side->bytes, bytes + n_bytes, memory_order_relaxed);
	if (atomic_load_explicit(&side->cpu, memory_order_relaxed) != cpu)
		atomic_store_explicit(&side->cpu, cpu, memory_order_relaxed);
	/* Killed before this the next time will do: the cursor goes round far less often. */
	if (__builtin_expect((prev ^ next) >> (MPROC__CURSOR_SHIFT + MPROC__QUEUE_COUNT_SHIFT),
			     0)) {
		uint64_t n = atomic_load_explicit(&side->n, memory_order_relaxed);

		atomic_store_explicit(&side->n, mproc__queue_count(n, next), memory_order_relaxed);
	}
}

/*
 * Is there surely no room, or no message, at a glance? Shut down is worth a call,
 * and so are cursors that make no sense, which belong to two moments or are corrupt.
 */
static inline bool mproc__queue_looks_full(const mproc_queue *q)
{
	uint64_t head = atomic_load_explicit(&q->shared->get.cursor, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&q->shared->put.cursor, memory_order_relaxed);

	return mproc__cursor_msgs(head, tail) == q->geometry.depth &&
	       !atomic_load_explicit(&q->shared->down, memory_order_relaxed);
}

static inline bool mproc__queue_looks_empty(const mproc_queue *q)
{
	uint64_t head = atomic_load_explicit(&q->shared->get.cursor, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&q->shared->put.cursor, memory_order_relaxed);

	return head == tail && !atomic_load_explicit(&q->shared->down, memory_order_relaxed);
}

#endif /* MPROC__QUEUE_SIDE_H */
