/* SPDX-License-Identifier: MIT */

/*
 * Bounded queue of messages between processes
 *
 * One ring of records (queue_layout.h), one cursor and one lock for each side.
 * [get.cursor, put.cursor) are queued; the rest of the ring is room.
 *
 *	put.cursor	written by the owner of the put lock alone
 *	get.cursor	written by the owner of the get lock alone
 *	the room	written by the owner of the put lock alone
 *	the rest	read by the owner of the get lock, written by nobody
 *
 * One store commits: of put.cursor, after the record stands in the room; of
 * get.cursor, after the record was copied out. Nothing that anybody else looks at
 * has changed before it. So a lock that comes from a dead owner needs no repair,
 * and a call is killed before its commit (nothing has happened) or after it (all
 * has). A side's counters follow its commit: of messages they know the high bits and
 * the cursor the low ones; of bytes those of a call killed in between are not counted.
 *
 * Each side remembers in @seen where it saw the other's cursor, and looks again
 * only when that leaves it nothing to do: as long as there is work the two sides
 * share no cache line but those of the messages. @seen lies under the lock, not
 * in a handle: one that a process kept while others went round the ring would be
 * taken for a fresh one.
 *
 * Long messages. A putter copies his message into a block of the arena, which is
 * PRIVATE to his process, and puts a reference. The rule that settles every kill:
 * a block that a queued reference names belongs to the queue, whoever the block's
 * own word says it is private to.
 *
 *	putter	1 block PRIVATE(P)	2 commit of the tail
 *	getter	3 block PRIVATE(G)	4 commit of the head	5 copy, free
 *
 * Killed before 2: no reference is queued and the block is private to the dead.
 * Between 2 and 4: a queued reference names the block, so whoever reaps the dead
 * P or G gives it to the segment before the arena takes back what is private to
 * the dead (mproc__kind_queue, which comes before the arena's kind); the next
 * getter makes it his own from whatever it says (3). After 4: no reference, and
 * private to G, dead or alive. The word changes hands under the get lock alone,
 * and a dead party's PRIVATE word is turned by its one reaper from exactly that
 * value: nothing is freed twice. P does nothing to the block after 2.
 *
 * Waiting. Who finds no message, or no room, leaves the lock and sleeps on the
 * other side's waitable. Each message wakes one getter, and each that leaves wakes
 * one putter; whoever fails after he was woken wakes the next one, so that no
 * wake-up is lost with him. Where a ring is too small for its depth one message
 * may make room for none or for many: there all putters are woken.
 *
 * Shutdown sets a flag and waits for nobody. A putter who looked at the flag just
 * before may still commit, so a getter who finds the queue empty and shut down
 * goes through the put lock once: after that no message can come.
 *
 * Every process may scribble over the segment. A word is read once and checked;
 * geometry is this handle's own; addresses are masked by it.
 */

#include <mproc/queue.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/opts.h"
#include "pipes/queue_side.h"
#include "shm/arena.h"

#define DEPTH_DEFAULT   64u
#define MSG_MAX_DEFAULT 65536u
#define SHORT_MAX       4096u /* where longer ones are not expected */
#define SHORT_MAX_MIXED 1024u

/* Pairs of cursors that do not change meanwhile are soon found; a scribbler could keep us. */
#define LOOKS_MAX (1u << 16)

static_assert(MPROC__QUEUE_DEPTH_MAX == MPROC_QUEUE_DEPTH_MAX &&
		      MPROC__QUEUE_MSG_MAX == MPROC_QUEUE_MSG_MAX &&
		      MPROC__QUEUE_RING_MAX == MPROC_QUEUE_BYTES_MAX,
	      "the limits that users and tools are told differ");

int mproc__queue_corrupt(const mproc_queue *q, const char *what)
{
	return mproc__fail(-EBADMSG, "queue %s: %s is impossible, the segment was scribbled over",
			   q->name, what);
}

int mproc__queue_side_take_slow(mproc_queue *q, struct mproc__queue_side *side,
				struct mproc__self *me, int64_t deadline)
{
	int64_t until = deadline;
	int r;

	/* A neighbour is about to be done: that is no reason to say there is no room. */
	if (deadline == MPROC_NOWAIT)
		until = mproc_after_ms(MPROC__QUEUE_NEIGHBOUR_MS);
	r = mproc__lock_take(&side->lock, me, q->what, until);
	if (r == MPROC__LOCK_INHERITED) {
		mproc__lock_repaired(&side->lock, me);
		return 0;
	}
	return r == -ETIMEDOUT && deadline == MPROC_NOWAIT ? -EAGAIN : r;
}

void mproc__queue_wake_slow(mproc_queue *q, struct mproc__queue_side *side,
			    struct mproc__waitable *w, uint32_t n)
{
	mproc__wake_slow(&side->lock.sleepers, 1);
	/* Room for bytes may be room for none of those who wait, or for many. */
	if (w == &q->shared->not_full && !q->by_depth) {
		mproc__wake_slow(&w->sleepers, INT32_MAX);
		return;
	}
	while (n-- && atomic_load_explicit(&w->sleepers, memory_order_relaxed) & 1)
		mproc__wake_slow(&w->sleepers, 1);
}

static uint64_t power_of_two(uint64_t at_least)
{
	uint64_t n = MPROC__QUEUE_RING_MIN;

	while (n < at_least)
		n *= 2;
	return n;
}

/* Bytes for @depth records of any size, wherever in the ring the first one starts. */
static uint64_t ring_for(uint32_t depth, uint32_t inline_max)
{
	/*
	 * The region in use crosses the end of the ring at most once, and the filler
	 * before the end is shorter than a record.
	 */
	return ((uint64_t)depth + 1) * mproc__queue_stride(inline_max);
}

/* What a new queue shall be like. Return: 0, or -EINVAL or -E2BIG with a text. */
static int geometry_of(struct mproc__queue_geometry *ret, const char *name,
		       const struct mproc_queue_opts *opts)
{
	struct mproc__queue_geometry g;
	struct mproc_queue_opts o;
	int r;

	r = mproc__opts_copy("create queue", &o, sizeof(o), opts);
	if (r < 0)
		return r;
	if (o.depth > MPROC_QUEUE_DEPTH_MAX)
		return mproc__fail(-EINVAL, "create queue %s: depth %" PRIu32 ", at most %u", name,
				   o.depth, MPROC_QUEUE_DEPTH_MAX);
	if (o.msg_max > MPROC_QUEUE_MSG_MAX)
		return mproc__fail(-EINVAL, "create queue %s: msg_max %" PRIu32 ", at most %u",
				   name, o.msg_max, MPROC_QUEUE_MSG_MAX);
	if (o.bytes > MPROC_QUEUE_BYTES_MAX)
		return mproc__fail(-EINVAL, "create queue %s: bytes %" PRIu64 ", at most %" PRIu64,
				   name, o.bytes, MPROC_QUEUE_BYTES_MAX);
	g.depth = o.depth ? o.depth : DEPTH_DEFAULT;
	g.msg_max = o.msg_max ? o.msg_max : MSG_MAX_DEFAULT;
	g.inline_max = g.msg_max <= SHORT_MAX ? g.msg_max : SHORT_MAX_MIXED;
	g.ring_size = power_of_two(o.bytes ? o.bytes : ring_for(g.depth, g.inline_max));
	if (o.bytes && g.inline_max > g.ring_size / 8)
		g.inline_max = (uint32_t)(g.ring_size / 8);
	*ret = g;
	return 0;
}

/* In zeroed memory that nobody else can see yet. */
static int shared_init(void *mem, void *arg)
{
	const struct mproc__queue_geometry *g = arg;
	struct mproc__queue_shared *s = mem;

	s->layout = MPROC__QUEUE_LAYOUT;
	s->depth = g->depth;
	s->msg_max = g->msg_max;
	s->inline_max = g->inline_max;
	s->ring_size = g->ring_size;
	return 0;
}

int mproc__queue_handle_init(mproc_queue *q, mproc_segment *segment,
			     const struct mproc__object *object, const char *name)
{
	memset(q, 0, sizeof(*q));
	q->shared = object->mem;
	if (object->off % alignof(struct mproc__queue_shared) ||
	    !mproc__queue_geometry_check(q->shared, object->len, &q->geometry))
		return mproc__fail(-EBADMSG, "open queue %s: its geometry is impossible", name);
	q->magic = MPROC__QUEUE_MAGIC;
	q->by_depth = q->geometry.ring_size >= ring_for(q->geometry.depth, q->geometry.inline_max);
	q->what = mproc__what(MPROC__KIND_QUEUE, object->off);
	q->segment = segment;
	q->object = *object;
	strncpy(q->name, name, sizeof(q->name) - 1);
	return 0;
}

int mproc__queue_handle(mproc_queue **ret, mproc_segment *segment,
			const struct mproc__object *object, const char *name)
{
	mproc_queue *q = malloc(sizeof(*q));
	int r;

	if (!q)
		return mproc__fail(-ENOMEM, "open queue %s: no memory for a handle", name);
	r = mproc__queue_handle_init(q, segment, object, name);
	if (r < 0)
		free(q);
	else
		*ret = q;
	return r;
}

static const char *shown(const char *name)
{
	return name ? name : "(anonymous)";
}

static int create(mproc_queue **ret, mproc_segment *segment, const char *name, uint64_t process,
		  const struct mproc__queue_geometry *g)
{
	const struct mproc__object_spec spec = {
		.what = "queue",
		.name = name,
		.kind = MPROC__KIND_QUEUE,
		.len = sizeof(struct mproc__queue_shared) + g->ring_size,
		.type = MPROC__QUEUE_LAYOUT,
		.process = process,
		.init = shared_init,
		.arg = (void *)(uintptr_t)g,
	};
	struct mproc__object object;
	int r;

	r = mproc__object_create(&object, segment, &spec);
	if (r < 0)
		return r;
	r = mproc__queue_handle(ret, segment, &object, shown(name));
	if (r < 0)
		(void)mproc__object_remove(segment, &object);
	return r;
}

static int find(mproc_queue **ret, mproc_segment *segment, const char *name)
{
	const struct mproc__object_spec spec = {
		.what = "queue",
		.name = name,
		.kind = MPROC__KIND_QUEUE,
		.type = MPROC__QUEUE_LAYOUT,
	};
	struct mproc__object object;
	int r;

	r = mproc__object_open(&object, segment, &spec);
	return r < 0 ? r : mproc__queue_handle(ret, segment, &object, name);
}

static int create_checked(mproc_queue **ret, mproc_segment *segment, const char *name,
			  uint64_t process, const struct mproc_queue_opts *opts)
{
	struct mproc__queue_geometry g;
	int r;

	assert(ret);
	r = geometry_of(&g, shown(name), opts);
	if (r < 0)
		return r;
	r = mproc__segment_ref(&segment, segment);
	if (r < 0)
		return r;
	r = create(ret, segment, name, process, &g);
	if (r < 0)
		mproc_segment_close(segment);
	return r;
}

int mproc_queue_create(mproc_queue **ret, mproc_segment *segment, const char *name,
		       const struct mproc_queue_opts *opts)
{
	return create_checked(ret, segment, name, 0, opts);
}

int mproc__queue_create_for(mproc_queue **ret, mproc_segment *segment, uint64_t process,
			    const struct mproc_queue_opts *opts)
{
	return create_checked(ret, segment, NULL, process, opts);
}

int mproc_queue_open(mproc_queue **ret, mproc_segment *segment, const char *name)
{
	int r;

	assert(ret && name);
	r = mproc__segment_ref(&segment, segment);
	if (r < 0)
		return r;
	r = find(ret, segment, name);
	if (r < 0)
		mproc_segment_close(segment);
	return r;
}

/* Is a queue that was found what @opts asks for, where they ask? */
static int same_geometry(const mproc_queue *q, const struct mproc__queue_geometry *g,
			 const struct mproc_queue_opts *opts)
{
	const struct mproc__queue_geometry *is = &q->geometry;
	struct mproc_queue_opts o;
	int r;

	r = mproc__opts_copy("open queue", &o, sizeof(o), opts);
	if (r < 0)
		return r;
	if (o.depth && o.depth != is->depth)
		return mproc__fail(-EPROTO,
				   "open queue %s: depth %" PRIu32 " wanted, it has %" PRIu32,
				   q->name, o.depth, is->depth);
	if (o.msg_max && o.msg_max != is->msg_max)
		return mproc__fail(-EPROTO,
				   "open queue %s: msg_max %" PRIu32 " wanted, it has %" PRIu32,
				   q->name, o.msg_max, is->msg_max);
	if (o.bytes && g->ring_size != is->ring_size)
		return mproc__fail(-EPROTO,
				   "open queue %s: a ring of %" PRIu64
				   " bytes wanted, it has %" PRIu64,
				   q->name, g->ring_size, is->ring_size);
	return 0;
}

int mproc_queue_open_or_create(mproc_queue **ret, mproc_segment *segment, const char *name,
			       const struct mproc_queue_opts *opts)
{
	struct mproc__queue_geometry g;
	mproc_queue *q;
	int r;

	assert(ret && name);
	r = geometry_of(&g, name, opts);
	if (r < 0)
		return r;
	r = mproc__segment_ref(&segment, segment);
	if (r < 0)
		return r;
	do {
		r = find(&q, segment, name);
		if (r != -ENOENT)
			break;
		r = create(&q, segment, name, 0, &g);
		if (r == 0) {
			*ret = q;
			return 1;
		}
		/* Taken between the two: by now it can be found. */
	} while (r == -EEXIST);
	if (r < 0) {
		mproc_segment_close(segment);
		return r;
	}
	r = same_geometry(q, &g, opts);
	if (r < 0)
		mproc_queue_close(q);
	else
		*ret = q;
	return r;
}

mproc_queue *mproc_queue_close(mproc_queue *q)
{
	if (!q)
		return NULL;
	assert(q->magic == MPROC__QUEUE_MAGIC);
	q->magic = 0;
	mproc_segment_close(q->segment);
	free(q);
	return NULL;
}

int mproc_queue_shutdown(mproc_queue *q)
{
	struct mproc__self *me;
	uint64_t outer;
	int r;

	me = mproc__queue_enter(q, "queue shutdown", MPROC_NOWAIT, &r);
	if (!me)
		return r;
	outer = mproc__act_begin(me, q->what);
	/* Release, for the acquire in nothing_there(); the sleepers look after the wake. */
	atomic_store_explicit(&q->shared->down, 1, memory_order_release);
	mproc__waitable_signal_all(&q->shared->not_empty, me);
	mproc__waitable_signal_all(&q->shared->not_full, me);
	mproc__act_end(me, outer);
	return 0;
}

bool mproc_queue_is_shutdown(const mproc_queue *q)
{
	assert(q && q->magic == MPROC__QUEUE_MAGIC);
	return atomic_load_explicit(&q->shared->down, memory_order_acquire) != 0;
}

/*
 * Both cursors as they were at one instant: between two looks at a tail that has
 * not moved, the head was what it was and so was the tail.
 */
static void snapshot(const mproc_queue *q, uint64_t *ret_head, uint64_t *ret_tail)
{
	const struct mproc__queue_shared *s = q->shared;
	uint64_t head, tail, again;

	assert(q->magic == MPROC__QUEUE_MAGIC);
	again = atomic_load_explicit(&s->put.cursor, memory_order_acquire);
	for (uint32_t i = 0; i < LOOKS_MAX; i++) {
		tail = again;
		head = atomic_load_explicit(&s->get.cursor, memory_order_acquire);
		again = atomic_load_explicit(&s->put.cursor, memory_order_acquire);
		if (tail == again)
			break;
	}
	*ret_head = head;
	*ret_tail = tail;
}

uint32_t mproc_queue_n_messages(const mproc_queue *q)
{
	uint64_t head, tail;
	uint32_t n;

	snapshot(q, &head, &tail);
	n = mproc__cursor_msgs(head, tail);
	return n < q->geometry.depth ? n : q->geometry.depth;
}

bool mproc_queue_is_empty(const mproc_queue *q)
{
	uint64_t head, tail;

	snapshot(q, &head, &tail);
	return head == tail;
}

bool mproc_queue_is_full(const mproc_queue *q)
{
	uint64_t size = mproc__queue_stride(q->geometry.inline_max);
	uint64_t head, tail, at;

	snapshot(q, &head, &tail);
	at = tail & (q->geometry.ring_size - 8);
	if (size > q->geometry.ring_size - at)
		size += q->geometry.ring_size - at;
	return mproc__cursor_msgs(head, tail) >= q->geometry.depth ||
	       mproc__cursor_bytes(head, tail) + size > q->geometry.ring_size;
}

void mproc_queue_stats(const mproc_queue *q, struct mproc_queue_stats *ret, size_t size)
{
	const struct mproc__queue_shared *s = q->shared;
	struct mproc_queue_stats now = {
		.depth = q->geometry.depth,
		.msg_max = q->geometry.msg_max,
		.bytes = q->geometry.ring_size,
	};
	uint64_t head, tail;

	assert(ret);
	snapshot(q, &head, &tail);
	now.n_messages = mproc__cursor_msgs(head, tail);
	now.n_puts =
		mproc__queue_count(atomic_load_explicit(&s->put.n, memory_order_relaxed), tail);
	now.n_gets =
		mproc__queue_count(atomic_load_explicit(&s->get.n, memory_order_relaxed), head);
	now.bytes_put = atomic_load_explicit(&s->put.bytes, memory_order_relaxed);
	now.bytes_got = atomic_load_explicit(&s->get.bytes, memory_order_relaxed);
	now.n_put_waits = atomic_load_explicit(&s->n_put_waits, memory_order_relaxed);
	now.n_get_waits = atomic_load_explicit(&s->n_get_waits, memory_order_relaxed);
	now.n_died = atomic_load_explicit(&s->n_died, memory_order_relaxed);
	memset(ret, 0, size);
	memcpy(ret, &now, size < sizeof(now) ? size : sizeof(now));
}

void mproc__queue_start_at(mproc_queue *q, uint64_t n_msgs, uint64_t n_bytes)
{
	uint64_t cursor = mproc__cursor_add(0, n_msgs, n_bytes & ~UINT64_C(7));

	for (int i = 0; i < 2; i++) {
		struct mproc__queue_side *side = i ? &q->shared->put : &q->shared->get;

		atomic_store_explicit(&side->cursor, cursor, memory_order_relaxed);
		atomic_store_explicit(&side->seen, cursor, memory_order_relaxed);
		atomic_store_explicit(&side->n, n_msgs, memory_order_relaxed);
	}
}
