/* SPDX-License-Identifier: MIT */
#ifndef MPROC__QUEUE_H
#define MPROC__QUEUE_H

/*
 * What the rooms above need of a queue: taking in two steps
 *
 * A message that is taken is still queued while its taker decides what becomes
 * of it. A taker who dies between the two steps has taken nothing.
 */

#include <mproc/queue.h>

#include "ipc/kind.h"
#include "pipes/queue_layout.h"
#include "shm/catalogue.h"

#define MPROC__QUEUE_MAGIC UINT32_C(0x51756575)

struct mproc_queue {
	uint32_t magic;
	bool by_depth; /* the ring has room for @depth records of any size */
	struct mproc__queue_geometry geometry;
	struct mproc__queue_shared *shared;
	uint64_t what; /* as in holds */
	mproc_segment *segment;
	struct mproc__object object;
	char name[MPROC__OBJECT_NAME_MAX + 1]; /* for texts */
};

/* A message that was taken and not released. */
struct mproc__queue_view {
	const void *msg; /* in place, aligned to 8 */
	uint32_t len;
	/* For the queue alone: */
	uint32_t outer;
	uint64_t head;
	uint64_t next;
	uint64_t block;
};

/*
 * Take the oldest message and keep every other getter out. Ends with one of the
 * two calls below, soon and by the same thread.
 *
 * Return: 0, or as mproc_queue_get() except -ENOBUFS.
 */
int mproc__queue_take(mproc_queue *queue, struct mproc__self *me, int64_t deadline,
		      struct mproc__queue_view *ret);

/* It is done with: let go of it. The view's memory is the queue's again. */
void mproc__queue_release(mproc_queue *queue, struct mproc__self *me,
			  const struct mproc__queue_view *view);

/* Leave it to the next getter. */
void mproc__queue_untake(mproc_queue *queue, struct mproc__self *me,
			 const struct mproc__queue_view *view);

/* A queue without a name that goes with a process: whoever made it removes it. */
int mproc__queue_create_for(mproc_queue **ret, mproc_segment *segment, uint64_t process,
			    const struct mproc_queue_opts *opts);

/* A handle on @object in memory of the caller's. Return: 0, or -EBADMSG with a text. */
int mproc__queue_handle_init(mproc_queue *ret, mproc_segment *segment,
			     const struct mproc__object *object, const char *name);

/* The same in new memory, which takes over one use of @segment if it succeeds. */
int mproc__queue_handle(mproc_queue **ret, mproc_segment *segment,
			const struct mproc__object *object, const char *name);

/*
 * Remove a queue that nobody living uses, with its messages. Killed anywhere, another can
 * begin again. Never waits.
 *
 * Return: 0, or a negative errno if it is left.
 */
int mproc__queue_remove(mproc_queue *queue, struct mproc__self *me);

/*
 * Remove all queues that go with @process, which is dead as is everybody who used
 * them.
 *
 * Return: 0, or 1 if one is left.
 */
int mproc__queue_remove_of(mproc_segment *segment, struct mproc__self *me, uint64_t process);

/* For tests: an unused queue's cursors start here, as if it had been used for long. */
void mproc__queue_start_at(mproc_queue *queue, uint64_t n_msgs, uint64_t n_bytes);

extern const struct mproc__kind mproc__kind_queue;

#endif /* MPROC__QUEUE_H */
