/* SPDX-License-Identifier: MIT */

/*
 * Bounded queue of messages between processes: getting
 *
 * The argument is in queue.c. Here: under the get lock the record at the head is
 * looked at, copied out and let go of by one store to the head. What is queued
 * neither moves nor changes while the lock is held, so a message may as well be
 * used in place (take and release).
 */

#include <mproc/queue.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ipc/error.h"
#include "pipes/queue_side.h"
#include "shm/arena.h"

/* What every get runs through is worth no calls, what few run through no registers. */
#define HOT  inline __attribute__((__always_inline__))
#define COLD __attribute__((__noinline__, __cold__))

/* One call, for those who retry it. */
struct call {
	mproc_queue *queue;
	struct mproc__self *me;
	int64_t deadline;
	struct mproc__queue_view *view;
};

/* Texts are for failing for good. Return: @r. */
static COLD int failed(const mproc_queue *q, int r)
{
	if (r == -EPIPE)
		return mproc__fail(r, "get: queue %s is shut down and empty", q->name);
	if (r == -EDEADLK)
		return mproc__fail(r, "get: this thread is inside a get from queue %s", q->name);
	return r;
}

/*
 * Look at the record at @head. The caller owns the get lock, under which neither
 * the head moves nor what is queued changes.
 *
 * Return: 0, or -EAGAIN if none is queued, -EBADMSG with a text.
 */
static HOT int peek(mproc_queue *q, uint64_t head, struct mproc__queue_record *ret)
{
	struct mproc__queue_shared *s = q->shared;
	const struct mproc__queue_geometry *g = &q->geometry;
	uint64_t seen = atomic_load_explicit(&s->get.seen, memory_order_relaxed);
	uint64_t bytes;

	if (seen == head) {
		/* Acquire: the records up to there stand. */
		seen = atomic_load_explicit(&s->put.cursor, memory_order_acquire);
		if (seen == head)
			return -EAGAIN;
		if (__builtin_expect(!mproc__cursor_possible(g, head, seen), 0))
			return mproc__queue_corrupt(q, "the distance of its cursors");
		atomic_store_explicit(&s->get.seen, seen, memory_order_relaxed);
	}
	bytes = mproc__cursor_bytes(head, seen);
	if (__builtin_expect(bytes > g->ring_size ||
				     !mproc__queue_record_at(g, s->ring, head, bytes, ret),
			     0))
		return mproc__queue_corrupt(q, "the record at its head");
	return 0;
}

/*
 * No message was taken because of @r, and the get lock is still held: leave it.
 *
 * Return: 0 if a message has come in between, -EAGAIN if one may still come, -EPIPE
 * if none can, or why not.
 */
static COLD int take_none(mproc_queue *q, struct mproc__self *me, int64_t deadline, int r)
{
	struct mproc__queue_shared *s = q->shared;
	bool empty;

	mproc__queue_side_leave(&s->get, me);
	if (r != -EAGAIN || !atomic_load_explicit(&s->down, memory_order_acquire))
		return r;
	r = mproc__queue_side_take(q, &s->put, me, deadline);
	if (r < 0)
		return r;
	empty = atomic_load_explicit(&s->put.cursor, memory_order_relaxed) ==
		atomic_load_explicit(&s->get.cursor, memory_order_relaxed);
	mproc__queue_side_leave(&s->put, me);
	return empty ? -EPIPE : 0;
}

/* The oldest message is long: find it. */
static COLD int view_long(mproc_queue *q, const struct mproc__queue_record *rec,
			  struct mproc__queue_view *view)
{
	view->block = mproc__queue_ring_load(q->shared->ring, rec->at);
	view->msg = mproc__arena_at(q->segment, view->block, rec->len);
	return view->msg ? 0 : mproc__queue_corrupt(q, "the block of its oldest message");
}

/*
 * Take the get lock and look at the oldest message.
 *
 * Return: 0 with the lock held and the view filled, or a negative errno without it.
 */
static HOT int take_one(mproc_queue *q, struct mproc__self *me, int64_t deadline,
			struct mproc__queue_view *view)
{
	struct mproc__queue_side *get = &q->shared->get;
	struct mproc__queue_record rec;
	int r;

	for (;;) {
		r = mproc__queue_side_take(q, get, me, deadline);
		if (__builtin_expect(r < 0, 0))
			return r;
		view->head = atomic_load_explicit(&get->cursor, memory_order_relaxed);
		r = peek(q, view->head, &rec);
		if (__builtin_expect(r == 0, 1)) {
			view->len = rec.len;
			view->next = rec.next;
			view->block = 0;
			view->msg = q->shared->ring + rec.at;
			if (__builtin_expect(rec.kind == MPROC__QUEUE_MESSAGE, 1))
				return 0;
			r = view_long(q, &rec, view);
			if (r == 0)
				return 0;
		}
		r = take_none(q, me, deadline, r);
		/* Again at most until the last message is gone. */
		if (r < 0)
			return r;
	}
}

static int take_again(void *arg)
{
	const struct call *call = arg;

	/* Waiters poll the cursors, not the lock: its owner has use for it. */
	return mproc__queue_looks_empty(call->queue)
		       ? -EAGAIN
		       : take_one(call->queue, call->me, call->deadline, call->view);
}

/* There was no message: wait for one, if the caller wants to. Returns as take_one(). */
static COLD int take_wait(mproc_queue *q, struct mproc__self *me, int64_t deadline,
			  struct mproc__queue_view *view)
{
	struct call call = { .queue = q, .me = me, .deadline = deadline, .view = view };
	struct mproc__queue_shared *s = q->shared;
	int r;

	if (deadline == MPROC_NOWAIT)
		return -EAGAIN;
	atomic_fetch_add_explicit(&s->n_get_waits, 1, memory_order_relaxed);
	r = mproc__waitable_wait(&s->not_empty, me, q->what, deadline, &s->put.cpu, take_again,
				 &call);
	/* A wake-up that we were given and made no use of belongs to the next one. */
	if (r < 0 && !mproc__queue_looks_empty(q))
		mproc__waitable_signal(&s->not_empty, me);
	return r;
}

/* Let go of what was taken, up to @next: the commit. */
static HOT void let_go(mproc_queue *q, struct mproc__self *me, uint64_t head, uint64_t next,
		       uint64_t bytes, uint32_t n)
{
	mproc__queue_side_commit(&q->shared->get, head, next, bytes);
	mproc__queue_side_done(q, &q->shared->get, me, &q->shared->not_full, n);
}

/* Leave the message to others: somebody may have been woken for it, and it was us. */
static COLD void leave_it(mproc_queue *q, struct mproc__self *me)
{
	mproc__queue_side_done(q, &q->shared->get, me, &q->shared->not_empty, 1);
}

/* Make a long message's block ours. The caller owns the get lock. */
static COLD int seize(mproc_queue *q, struct mproc__self *me, uint64_t block)
{
	if (mproc__arena_seize(q->segment, me, block) < 0)
		return mproc__queue_corrupt(q, "the block of its oldest message");
	return 0;
}

int mproc__queue_take(mproc_queue *q, struct mproc__self *me, int64_t deadline,
		      struct mproc__queue_view *ret)
{
	uint64_t outer = mproc__act_begin(me, q->what);
	int r = take_one(q, me, deadline, ret);

	if (__builtin_expect(r == -EAGAIN, 0))
		r = take_wait(q, me, deadline, ret);
	ret->outer = (uint32_t)outer;
	if (__builtin_expect(r < 0, 0)) {
		mproc__act_end(me, outer);
		return failed(q, r);
	}
	return 0;
}

void mproc__queue_release(mproc_queue *q, struct mproc__self *me,
			  const struct mproc__queue_view *view)
{
	/* A block that is nobody's is no reason to keep the message for ever. */
	bool ours = view->block && seize(q, me, view->block) == 0;

	let_go(q, me, view->head, view->next, view->len, 1);
	if (__builtin_expect(ours, 0))
		(void)mproc__arena_free(q->segment, me, view->block);
	mproc__act_end(me, view->outer);
}

void mproc__queue_untake(mproc_queue *q, struct mproc__self *me,
			 const struct mproc__queue_view *view)
{
	leave_it(q, me);
	mproc__act_end(me, view->outer);
}

static COLD int too_long(mproc_queue *q, struct mproc__self *me, size_t len, size_t cap)
{
	leave_it(q, me);
	return mproc__fail(-ENOBUFS, "get: message of %zu bytes in queue %s, buffer of %zu", len,
			   q->name, cap);
}

/*
 * A long message was taken: copy it out and let go of it. It is ours alone from
 * the commit on, and others get while we copy. Leaves the lock in any case.
 */
static COLD int get_long(mproc_queue *q, struct mproc__self *me,
			 const struct mproc__queue_view *view, void *buf)
{
	int r = seize(q, me, view->block);

	if (r < 0) {
		leave_it(q, me);
		return r;
	}
	let_go(q, me, view->head, view->next, view->len, 1);
	memcpy(buf, view->msg, view->len);
	(void)mproc__arena_free(q->segment, me, view->block);
	return 0;
}

/* A message was taken: copy it out and let go of it. Leaves the lock in any case. */
static HOT int get_one(mproc_queue *q, struct mproc__self *me, const struct mproc__queue_view *view,
		       void *buf, size_t cap)
{
	if (__builtin_expect(view->len > cap, 0))
		return too_long(q, me, view->len, cap);
	if (__builtin_expect(view->block, 0))
		return get_long(q, me, view, buf);
	if (view->len)
		memcpy(buf, view->msg, view->len);
	let_go(q, me, view->head, view->next, view->len, 1);
	return 0;
}

int mproc_queue_get(mproc_queue *q, void *buf, size_t cap, size_t *ret_len, int64_t deadline)
{
	struct mproc__queue_view view;
	struct mproc__self *me;
	uint64_t outer;
	int r;

	assert(buf || !cap);
	me = mproc__queue_enter(q, "queue get", deadline, &r);
	if (__builtin_expect(!me, 0))
		return r;
	outer = mproc__act_begin(me, q->what);
	r = take_one(q, me, deadline, &view);
	if (__builtin_expect(r == -EAGAIN, 0))
		r = take_wait(q, me, deadline, &view);
	if (__builtin_expect(r == 0, 1))
		r = get_one(q, me, &view, buf, cap);
	mproc__act_end(me, outer);
	if (__builtin_expect(r < 0, 0))
		return failed(q, r);
	if (ret_len)
		*ret_len = view.len;
	return 0;
}

/*
 * A message was taken: copy out what is there, it first. Leaves the lock in any case.
 *
 * Return: how many, at least 1, or -ENOBUFS.
 */
static int get_batch(mproc_queue *q, struct mproc__self *me, const struct mproc__queue_view *view,
		     unsigned char *buf, size_t cap, struct iovec *ret_msgs, size_t max)
{
	const unsigned char *msg = view->msg;
	struct mproc__queue_record rec;
	uint64_t next = view->next, bytes = 0;
	size_t used = 0, len = view->len;
	uint32_t n = 0;

	if (len > cap)
		return too_long(q, me, len, cap);
	for (;;) {
		if (len)
			memcpy(buf + used, msg, len);
		ret_msgs[n++] = (struct iovec){ .iov_base = buf + used, .iov_len = len };
		used += (len + 7) & ~(size_t)7;
		bytes += len;
		if (n == max || bytes >= MPROC__QUEUE_BATCH_BYTES || peek(q, next, &rec) < 0 ||
		    rec.kind != MPROC__QUEUE_MESSAGE || used > cap || rec.len > cap - used)
			break;
		msg = q->shared->ring + rec.at;
		len = rec.len;
		next = rec.next;
	}
	let_go(q, me, view->head, next, bytes, n);
	return (int)n;
}

int mproc_queue_get_many(mproc_queue *q, void *buf, size_t cap, struct iovec *ret_msgs, size_t n,
			 int64_t deadline)
{
	struct mproc__queue_view view;
	struct mproc__self *me;
	uint64_t outer;
	int r;

	assert((buf || !cap) && ret_msgs);
	me = mproc__queue_enter(q, "queue get", deadline, &r);
	if (!me)
		return r;
	if (!n)
		return mproc__fail(-EINVAL, "get: 0 messages wanted of queue %s", q->name);
	if (n > MPROC__QUEUE_BATCH_MSGS)
		n = MPROC__QUEUE_BATCH_MSGS;
	outer = mproc__act_begin(me, q->what);
	r = take_one(q, me, deadline, &view);
	if (r == -EAGAIN)
		r = take_wait(q, me, deadline, &view);
	if (r == 0 && view.block) {
		r = get_one(q, me, &view, buf, cap);
		if (r == 0) {
			ret_msgs[0] = (struct iovec){ .iov_base = buf, .iov_len = view.len };
			r = 1;
		}
	} else if (r == 0) {
		r = get_batch(q, me, &view, buf, cap, ret_msgs, n);
	}
	mproc__act_end(me, outer);
	return r < 0 ? failed(q, r) : r;
}

int mproc_queue_next_len(mproc_queue *q, size_t *ret_len, int64_t deadline)
{
	struct mproc__queue_view view;
	struct mproc__self *me;
	int r;

	assert(ret_len);
	me = mproc__queue_enter(q, "queue next_len", deadline, &r);
	if (!me)
		return r;
	r = mproc__queue_take(q, me, deadline, &view);
	if (r < 0)
		return r;
	mproc__queue_untake(q, me, &view);
	*ret_len = view.len;
	return 0;
}
