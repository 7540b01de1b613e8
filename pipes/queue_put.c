/* SPDX-License-Identifier: MIT */

/*
 * Bounded queue of messages between processes: putting
 *
 * The argument is in queue.c. Here: under the put lock a record is written into
 * the room behind the tail, which nobody reads, and committed by one store to the
 * tail. A long message's block is filled before the lock is taken.
 */

#include <mproc/queue.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "ipc/error.h"
#include "pipes/queue_side.h"
#include "shm/arena.h"

/* What every put runs through is worth no calls, what few run through no registers. */
#define HOT  inline __attribute__((__always_inline__))
#define COLD __attribute__((__noinline__, __cold__))

/* One call, for those who retry it. */
struct call {
	mproc_queue *queue;
	struct mproc__self *me;
	int64_t deadline;
	const struct iovec *msgs;
	uint32_t n;     /* messages wanted */
	uint64_t block; /* of the one message if it is long, else 0 */
};

/* Texts are for failing for good. Return: @r. */
static COLD int failed(const mproc_queue *q, int r)
{
	if (r == -EPIPE)
		return mproc__fail(r, "put: queue %s is shut down", q->name);
	if (r == -EDEADLK)
		return mproc__fail(r, "put: this thread is inside a put to queue %s", q->name);
	return r;
}

/*
 * Bytes of the ring that a record of @size takes at @tail, the filler before it
 * included, when it seemed that there is no room or it would cross the end. The
 * caller owns the put lock; @first is the tail as committed.
 *
 * Return: their number, or -EAGAIN if there is no room, -EBADMSG with a text.
 */
static COLD int64_t room_slow(mproc_queue *q, uint64_t first, uint64_t tail, uint64_t size)
{
	struct mproc__queue_side *put = &q->shared->put;
	const struct mproc__queue_geometry *g = &q->geometry;
	uint64_t at = tail & (g->ring_size - 8);
	uint64_t span = size > g->ring_size - at ? size + g->ring_size - at : size;
	uint64_t seen = atomic_load_explicit(&put->seen, memory_order_relaxed);

	if (mproc__cursor_msgs(seen, tail) < g->depth &&
	    mproc__cursor_bytes(seen, tail) + span <= g->ring_size)
		return (int64_t)span;
	/* Acquire: whoever moved the head there has read all he wanted to. */
	seen = atomic_load_explicit(&q->shared->get.cursor, memory_order_acquire);
	if (!mproc__cursor_possible(g, seen, first))
		return mproc__queue_corrupt(q, "the distance of its cursors");
	atomic_store_explicit(&put->seen, seen, memory_order_relaxed);
	if (mproc__cursor_msgs(seen, tail) < g->depth &&
	    mproc__cursor_bytes(seen, tail) + span <= g->ring_size)
		return (int64_t)span;
	return -EAGAIN;
}

static HOT int64_t room_for(mproc_queue *q, uint64_t first, uint64_t tail, uint64_t size)
{
	const struct mproc__queue_geometry *g = &q->geometry;
	uint64_t at = tail & (g->ring_size - 8);
	uint64_t seen = atomic_load_explicit(&q->shared->put.seen, memory_order_relaxed);

	if (__builtin_expect(at + size <= g->ring_size &&
				     mproc__cursor_msgs(seen, tail) < g->depth &&
				     mproc__cursor_bytes(seen, tail) + size <= g->ring_size,
			     1))
		return (int64_t)size;
	return room_slow(q, first, tail, size);
}

/*
 * Write the record of @msg, or of the @block it is in, into the room.
 *
 * Return: the cursor behind it.
 */
static HOT uint64_t write_record(mproc_queue *q, uint64_t tail, uint64_t span, uint64_t size,
				 const void *msg, size_t len, uint64_t block)
{
	unsigned char *ring = q->shared->ring;
	uint64_t at = tail & (q->geometry.ring_size - 8);
	uint32_t kind = block ? MPROC__QUEUE_REFERENCE : MPROC__QUEUE_MESSAGE;

	if (__builtin_expect(span != size, 0)) {
		mproc__queue_ring_store(ring, at,
					mproc__queue_head_word(MPROC__QUEUE_FILLER, tail, 0));
		at = 0;
	}
	mproc__queue_ring_store(ring, at, mproc__queue_head_word(kind, tail, (uint32_t)len));
	if (block)
		mproc__queue_ring_store(ring, at + 8, block);
	else if (len)
		memcpy(ring + at + 8, msg, len);
	return mproc__cursor_add(tail, 1, span);
}

/*
 * Put one message, if there is room.
 *
 * Return: 0, or -EAGAIN, -EPIPE, -EBADMSG, -ETIMEDOUT, -EDEADLK.
 */
static HOT int put_one(mproc_queue *q, struct mproc__self *me, const void *msg, size_t len,
		       uint64_t block, int64_t deadline)
{
	struct mproc__queue_shared *s = q->shared;
	uint64_t size = block ? 16 : mproc__queue_record_size(len);
	uint64_t tail, next;
	int64_t span;
	int r;

	r = mproc__queue_side_take(q, &s->put, me, deadline);
	if (__builtin_expect(r < 0, 0))
		return r;
	tail = atomic_load_explicit(&s->put.cursor, memory_order_relaxed);
	if (__builtin_expect(atomic_load_explicit(&s->down, memory_order_relaxed), 0))
		span = -EPIPE;
	else
		span = room_for(q, tail, tail, size);
	if (__builtin_expect(span < 0, 0)) {
		mproc__queue_side_leave(&s->put, me);
		return (int)span;
	}
	next = write_record(q, tail, (uint64_t)span, size, msg, len, block);
	mproc__queue_side_commit(&s->put, tail, next, len);
	mproc__queue_side_done(q, &s->put, me, &s->not_empty, 1);
	return 0;
}

/*
 * Put as many short messages as there is room for, up to a batch.
 *
 * Return: how many, at least 1, or as put_one().
 */
static int put_batch(const struct call *call)
{
	mproc_queue *q = call->queue;
	struct mproc__queue_shared *s = q->shared;
	uint64_t first, tail, bytes = 0;
	uint32_t n = 0;
	int64_t span = -EPIPE;
	int r;

	r = mproc__queue_side_take(q, &s->put, call->me, call->deadline);
	if (r < 0)
		return r;
	first = tail = atomic_load_explicit(&s->put.cursor, memory_order_relaxed);
	if (!atomic_load_explicit(&s->down, memory_order_relaxed)) {
		do {
			const struct iovec *msg = &call->msgs[n];
			uint64_t size = mproc__queue_record_size(msg->iov_len);

			span = room_for(q, first, tail, size);
			if (span < 0)
				break;
			tail = write_record(q, tail, (uint64_t)span, size, msg->iov_base,
					    msg->iov_len, 0);
			bytes += msg->iov_len;
		} while (++n < call->n && bytes < MPROC__QUEUE_BATCH_BYTES);
	}
	if (!n) {
		mproc__queue_side_leave(&s->put, call->me);
		return (int)span;
	}
	mproc__queue_side_commit(&s->put, first, tail, bytes);
	mproc__queue_side_done(q, &s->put, call->me, &s->not_empty, n);
	return (int)n;
}

static COLD int put_again(void *arg)
{
	const struct call *call = arg;
	int r;

	/* Waiters poll the cursors, not the lock: its owner has use for it. */
	if (mproc__queue_looks_full(call->queue))
		return -EAGAIN;
	if (call->n > 1)
		return put_batch(call);
	r = put_one(call->queue, call->me, call->msgs->iov_base, call->msgs->iov_len, call->block,
		    call->deadline);
	return r < 0 ? r : 1;
}

/*
 * There was no room: wait for it, if the caller wants to.
 *
 * Return: how many were put, at least 1, or a negative errno.
 */
static int put_wait(struct call *call)
{
	mproc_queue *q = call->queue;
	struct mproc__queue_shared *s = q->shared;
	int r;

	if (call->deadline == MPROC_NOWAIT)
		return -EAGAIN;
	atomic_fetch_add_explicit(&s->n_put_waits, 1, memory_order_relaxed);
	r = mproc__waitable_wait(&s->not_full, call->me, q->what, call->deadline, &s->get.cpu,
				 put_again, call);
	/* A wake-up that we were given and made no use of belongs to the next one. */
	if (r < 0 && !mproc__queue_looks_full(q))
		mproc__waitable_signal(&s->not_full, call->me);
	return r;
}

/* Put one message that is too long for the ring. Return: 1, or a negative errno. */
static int put_long(struct call *call)
{
	mproc_queue *q = call->queue;
	const struct iovec *msg = call->msgs;
	void *mem;
	int r;

	if (msg->iov_len > q->geometry.msg_max)
		return mproc__fail(-EMSGSIZE,
				   "put: message of %zu bytes, queue %s takes %" PRIu32 " at most",
				   msg->iov_len, q->name, q->geometry.msg_max);
	/* Not worth a copy. */
	if (call->deadline == MPROC_NOWAIT && mproc__queue_looks_full(q))
		return -EAGAIN;
	r = mproc__arena_alloc(q->segment, call->me, msg->iov_len, false, &call->block);
	if (r < 0)
		return r;
	mem = mproc__arena_at(q->segment, call->block, msg->iov_len);
	if (!mem)
		return mproc__queue_corrupt(q, "the arena of its segment");
	memcpy(mem, msg->iov_base, msg->iov_len);
	call->n = 1;
	r = put_again(call);
	if (r == -EAGAIN)
		r = put_wait(call);
	if (r < 0 && mproc__arena_free(q->segment, call->me, call->block) < 0)
		r = mproc__queue_corrupt(q, "the arena of its segment");
	call->block = 0;
	return r;
}

/* The first attempt at a message has failed, or it is long. */
static COLD int put_slow(mproc_queue *q, struct mproc__self *me, const void *msg, size_t len,
			 int64_t deadline)
{
	const struct iovec one = { .iov_base = (void *)(uintptr_t)msg, .iov_len = len };
	struct call call = { .queue = q, .me = me, .deadline = deadline, .msgs = &one, .n = 1 };
	int r = len > q->geometry.inline_max ? put_long(&call) : put_wait(&call);

	return r < 0 ? r : 0;
}

int mproc_queue_put(mproc_queue *q, const void *msg, size_t len, int64_t deadline)
{
	struct mproc__self *me;
	uint64_t outer;
	int r;

	assert(msg || !len);
	me = mproc__queue_enter(q, "queue put", deadline, &r);
	if (__builtin_expect(!me, 0))
		return r;
	outer = mproc__act_begin(me, q->what);
	r = len <= q->geometry.inline_max ? put_one(q, me, msg, len, 0, deadline) : -EAGAIN;
	if (__builtin_expect(r == -EAGAIN, 0))
		r = put_slow(q, me, msg, len, deadline);
	mproc__act_end(me, outer);
	return __builtin_expect(r < 0, 0) ? failed(q, r) : 0;
}

int mproc_queue_put_many(mproc_queue *q, const struct iovec *msgs, size_t n, int64_t deadline)
{
	struct call call = { .queue = q, .deadline = deadline };
	uint64_t outer;
	size_t done = 0;
	int r = 0;

	assert(msgs || !n);
	call.me = mproc__queue_enter(q, "queue put", deadline, &r);
	if (!call.me)
		return r;
	if (n > INT_MAX)
		n = INT_MAX;
	outer = mproc__act_begin(call.me, q->what);
	while (done < n) {
		call.msgs = &msgs[done];
		call.n = 0;
		while (call.n < MPROC__QUEUE_BATCH_MSGS && call.n < n - done &&
		       call.msgs[call.n].iov_len <= q->geometry.inline_max)
			call.n++;
		if (call.n) {
			r = put_batch(&call);
			if (r == -EAGAIN)
				r = put_wait(&call);
		} else {
			r = put_long(&call);
		}
		if (r < 0)
			break;
		done += (size_t)r;
	}
	mproc__act_end(call.me, outer);
	return done || !n ? (int)done : failed(q, r);
}
