/* SPDX-License-Identifier: MIT */

/*
 * Pools: after the death of the process that made one
 *
 * A pool is nobody's but its parent's: with him goes what it has in the segment, the
 * pool itself and two queues without names, all of which say whose they are. The
 * queues say so in the catalogue from their first moment on: a parent who dies in
 * the middle of making a pool leaves nothing that cannot be found.
 *
 * The workers die with the parent, but later by a moment in which they may still be
 * inside a call on a queue. So nothing is removed while one of them lives: the
 * parent's slot stays REAPING and whoever comes next tries again. A worker that has
 * been forked and has not attached yet is not seen here, but sees the parent's death
 * before it touches anything (mproc__worker_begin()).
 *
 * The queues go first and the pool last, which is where the workers are found. Each
 * step is the catalogue's or the queue's own and can be repeated by the next reaper.
 */

#include <mproc/pool.h>

#include <errno.h>
#include <inttypes.h>

#include "ipc/error.h"
#include "ipc/kind.h"
#include "ipc/participant.h"
#include "pipes/queue.h"
#include "pool/pool.h"

/* Does a worker of the pool at @object live? */
static bool has_workers(struct mproc__range *range, const struct mproc__object *object)
{
	const struct mproc__pool_shared *s = object->mem;
	const struct mproc__pool_worker *workers = (const void *)(s + 1);
	uint32_t n = atomic_load_explicit(&s->n_workers, memory_order_relaxed);

	for (uint32_t i = 0; i < n && mproc__pool_slots_off(i + 1) <= object->len; i++) {
		uint64_t ref = atomic_load(&workers[i].process);

		if (ref && !mproc__proc_dead(range, (uint32_t)ref & 0x3fff, ref >> 14))
			return true;
	}
	return false;
}

/* The pool of entry @at, if it was made by @process. */
static bool pool_at(mproc_segment *segment, uint32_t at, uint64_t process,
		    struct mproc__object *ret)
{
	const struct mproc__pool_shared *s;

	if (!mproc__object_at(segment, at, MPROC__KIND_POOL, 0, ret) || ret->len < sizeof(*s))
		return false;
	s = ret->mem;
	return atomic_load_explicit(&s->process, memory_order_relaxed) == process;
}

static int reap(struct mproc__range *range, struct mproc__self *me, uint32_t proc,
		uint64_t generation)
{
	mproc_segment *segment = mproc__segment_of(range);
	uint64_t process = mproc__proc_ref(proc, generation);
	struct mproc__object object;
	int left;

	if (!segment || !segment->catalogue || !segment->arena)
		return 0;
	/* The process is marked as dead; pairs with the fence of mproc__worker_begin(). */
	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t at = 0; at < segment->n_objects; at++)
		if (pool_at(segment, at, process, &object) && (!me || has_workers(range, &object)))
			return 1;
	if (!me)
		return 0;
	left = mproc__queue_remove_of(segment, me, process);
	for (uint32_t at = 0; at < segment->n_objects; at++)
		if (pool_at(segment, at, process, &object))
			left |= mproc__object_remove_as(segment, me, &object) < 0;
	return left;
}

static int may_remove(struct mproc__range *range, uint64_t off, uint64_t len, const char *name)
{
	const struct mproc__object object = { .off = off,
					      .len = len,
					      .mem = mproc__range_at(range, off, len) };
	const struct mproc__pool_shared *s = object.mem;
	uint64_t process;

	/* What cannot be a pool has no process and no queues. */
	if (!s || len < sizeof(*s))
		return 0;
	process = atomic_load_explicit(&s->process, memory_order_relaxed);
	if (!mproc__proc_dead(range, (uint32_t)process & 0x3fff, process >> 14))
		return mproc__fail(-EBUSY,
				   "remove %s: it is the pool of process %" PRIu32
				   ", which lives: mproc_pool_close() ends it",
				   name, atomic_load_explicit(&s->parent, memory_order_relaxed));
	if (has_workers(range, &object))
		return mproc__fail(-EBUSY,
				   "remove %s: it is the pool of a dead process, whose workers are "
				   "about to end",
				   name);
	/* The queues go when somebody looks after the dead. */
	return 0;
}

const struct mproc__kind mproc__kind_pool = {
	.id = MPROC__KIND_POOL,
	.name = "pool",
	.reap = reap,
	.may_remove = may_remove,
};
