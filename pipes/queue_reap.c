/* SPDX-License-Identifier: MIT */

/*
 * Bounded queue of messages between processes: after the dead
 *
 * A queue's locks and cursors need nothing: the next owner of a lock finds the dead
 * one himself. What has to be done is to save the blocks of long messages. One that
 * a queued reference names is the queue's, yet its word may say that it is private
 * to the dead, who put the message, or was about to get it: those are given to the
 * segment before the arena takes back what was private to the dead.
 *
 * Only the dead themselves have ever queued a reference to a block that is private
 * to them, so all there are stand between the cursors by now. Living getters go on
 * meanwhile. The rings are read without their locks: what is read at a place counts
 * if the head has not passed that place afterwards; if it has, the message was got,
 * and whoever got it made the block his own before. Then the walk goes on at the
 * new head, and it ends at the tail as it was at first: what comes later is not the
 * dead's. A block is turned from "private to the dead" alone, so one that somebody
 * seizes meanwhile is left to him.
 *
 * Repeated by another reaper all this does nothing more than was left to do.
 *
 * Removal. The queue's entry says that it is gone, and its own block is still published.
 * It is shut down, so that whoever sleeps at it goes, and when nobody living is inside a
 * call it is emptied as a getter would: the cursor has passed a reference before its block
 * is free. Whoever removes may be killed at any point of it, and is followed by a reaper;
 * until then the blocks of what is queued are saved as ever.
 */

#include <errno.h>
#include <stdlib.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/participant.h"
#include "ipc/wait.h"
#include "pipes/queue.h"
#include "shm/arena.h"
#include "shm/catalogue_layout.h"

/* Give the blocks of queued references that are private to slot @proc to the segment. */
static void save_blocks(mproc_segment *segment, const struct mproc__queue_shared *s,
			const struct mproc__queue_geometry *g, uint32_t proc)
{
	uint64_t tail = atomic_load_explicit(&s->put.cursor, memory_order_acquire);
	uint64_t at = atomic_load_explicit(&s->get.cursor, memory_order_acquire);

	/* Every turn goes on by a record, or to where a getter has gone on to. */
	for (uint64_t turns = g->ring_size / 8 + 1; turns; turns--) {
		uint64_t left = mproc__cursor_bytes(at, tail), block = 0, head;
		struct mproc__queue_record rec;
		bool possible;

		if (!left || left > g->ring_size)
			return; /* at the tail, or behind it */
		possible = mproc__queue_record_at(g, s->ring, at, left, &rec);
		if (possible && rec.kind == MPROC__QUEUE_REFERENCE)
			block = mproc__queue_ring_load(s->ring, rec.at);
		atomic_thread_fence(memory_order_acquire);
		head = atomic_load_explicit(&s->get.cursor, memory_order_relaxed);
		/* Not beyond us means at most a ring behind us, which is nearly all the way round.
		 */
		if (head != at && mproc__cursor_bytes(at, head) <= MPROC__CURSOR_BYTES / 2) {
			at = head;
			continue;
		}
		if (!possible)
			return;
		if (block)
			(void)mproc__arena_disown(segment, proc, block);
		at = rec.next;
	}
}

static int reap(struct mproc__range *range, struct mproc__self *me, uint32_t proc,
		uint64_t generation)
{
	mproc_segment *segment = mproc__segment_of(range);
	struct mproc__queue_geometry g;

	(void)me;
	(void)generation; /* who was in this slot before is dead as well */
	if (!segment || !segment->catalogue || !segment->arena)
		return 0;
	for (uint32_t i = 0; i < segment->n_objects; i++) {
		const struct mproc__entry *entry = &segment->catalogue->entries[i];
		uint32_t state = mproc__entry_state(
			atomic_load_explicit(&entry->word, memory_order_acquire));
		uint64_t off, len, block;
		const void *mem;

		if ((state != MPROC__ENTRY_LIVE && state != MPROC__ENTRY_DYING) ||
		    atomic_load_explicit(&entry->kind, memory_order_relaxed) != MPROC__KIND_QUEUE)
			continue;
		off = atomic_load_explicit(&entry->off, memory_order_relaxed);
		block = atomic_load_explicit(&entry->block, memory_order_relaxed);
		/* One that is being removed has its block until it is empty. */
		if (state == MPROC__ENTRY_DYING && !mproc__arena_is_published(segment, off, block))
			continue;
		len = atomic_load_explicit(&entry->len, memory_order_relaxed);
		mem = off % 128 ? NULL : mproc__segment_at(segment, off, len);
		if (mem && mproc__queue_geometry_check(mem, len, &g) && g.msg_max > g.inline_max)
			save_blocks(segment, mem, &g, proc);
	}
	return 0;
}

/*
 * Nobody living is inside a call. Return: false if somebody is (never with @wait); who reaps
 * may be so himself, in a put that finds no room.
 */
static bool be_alone(mproc_queue *q, struct mproc__self *me, bool wait)
{
	struct mproc__queue_shared *s = q->shared;

	atomic_store_explicit(&s->down, 1, memory_order_release);
	mproc__fence_all(me);
	while (mproc__somebody_inside(me, q->what, !wait)) {
		mproc__wake_slow(&s->not_empty.sleepers, INT32_MAX);
		mproc__wake_slow(&s->not_full.sleepers, INT32_MAX);
		if (!wait)
			return false;
		mproc__pause();
	}
	return true;
}

static int dispose(struct mproc__range *range, struct mproc__self *me, uint64_t off, uint64_t len,
		   bool wait)
{
	mproc_segment *segment = mproc__segment_of(range);
	const struct mproc__object object = { .kind = MPROC__KIND_QUEUE,
					      .off = off,
					      .len = len,
					      .mem = mproc__segment_at(segment, off, len) };
	struct mproc__queue_view view;
	char text[MPROC__ERROR_MAX];
	mproc_queue q;
	int r;

	mproc__error_keep(text);
	/* One that is corrupt keeps what it may still refer to. */
	if (object.mem && mproc__queue_handle_init(&q, segment, &object, "(removed)") == 0) {
		if (!be_alone(&q, me, wait))
			return 1;
		/* -EAGAIN: somebody has come who should know that it is gone. */
		do {
			r = mproc__queue_take(&q, me, MPROC_NOWAIT, &view);
			if (r == 0)
				mproc__queue_release(&q, me, &view);
		} while (r == 0 || (r == -EAGAIN && wait));
		if (r == -EAGAIN)
			return 1;
	}
	mproc__error_put_back(text);
	return 0;
}

int mproc__queue_remove(mproc_queue *q, struct mproc__self *me)
{
	return mproc__object_remove_as(q->segment, me, &q->object);
}

int mproc__queue_remove_of(mproc_segment *segment, struct mproc__self *me, uint64_t process)
{
	struct mproc__object object;
	mproc_queue *q;
	int left = 0;

	for (uint32_t at = 0; at < segment->n_objects; at++) {
		if (!mproc__object_at(segment, at, MPROC__KIND_QUEUE, process, &object))
			continue;
		if (mproc__queue_handle(&q, segment, &object, "(of the dead)") < 0) {
			left |= mproc__object_remove_as(segment, me, &object) < 0;
			continue;
		}
		left |= mproc__queue_remove(q, me) < 0;
		free(q);
	}
	return left;
}

/* Somebody died inside a call: count him, and wake those whom he may have left asleep. */
static int repair(struct mproc__range *range, struct mproc__self *me, uint64_t off,
		  struct mproc__thread *rec)
{
	struct mproc__queue_shared *s = mproc__range_at(range, off, sizeof(*s));

	(void)me;
	(void)rec;
	if (!s || off % 128 || s->layout != MPROC__QUEUE_LAYOUT)
		return 0;
	/* Counted twice if this reaper dies before the record is free: it is a bound. */
	atomic_fetch_add_explicit(&s->n_died, 1, memory_order_relaxed);
	mproc__wake_slow(&s->not_empty.sleepers, INT32_MAX);
	mproc__wake_slow(&s->not_full.sleepers, INT32_MAX);
	mproc__wake_slow(&s->put.lock.sleepers, INT32_MAX);
	mproc__wake_slow(&s->get.lock.sleepers, INT32_MAX);
	return 0;
}

const struct mproc__kind mproc__kind_queue = {
	.id = MPROC__KIND_QUEUE,
	.name = "queue",
	.repair = repair,
	.reap = reap,
	.dispose = dispose,
};
