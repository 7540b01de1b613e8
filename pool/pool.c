/* SPDX-License-Identifier: MIT */

/*
 * Pools: worker processes that run tasks
 *
 *	submit	encode -> slot SUBMITTED -> queue of tasks -> worker -> queue of
 *		results -> future -> slot FREE, of another generation
 *
 * The parent alone frees slots and hands them out; its private table says which
 * future has which slot. A worker alone claims. What each may do with a task is the
 * slot's one word; what has come of it is one message. So a death costs exactly the
 * task whose slot the dead had claimed (worker.c), and the parent's death ends all:
 * the workers are tied to its supervisor's life, the memory to theirs.
 *
 * Nobody waits for room in the queue of tasks: whoever submits takes in results
 * meanwhile, since workers may be waiting for room there. The slots bound what is
 * under way.
 */

#include <mproc/pool.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mproc/cpu.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/kind.h"
#include "ipc/opts.h"
#include "ipc/participant.h"
#include "pipes/queue.h"
#include "pool/pool.h"
#include "pool/task.h"
#include "shm/segment.h"

/* What the queues' rings hold of each task that may be under way. */
#define RING_PER_TASK 256u
#define RING_MIN      (UINT64_C(64) << 10)

/* Encoded arguments up to this long need no allocation on the way. */
#define SMALL_MSG 1024u

/* Between two looks for room in the queue of tasks. */
#define ROOM_NS INT64_C(1000000)

static int opts_fill(struct mproc_pool_opts *opts, const struct mproc_pool_opts *given)
{
	int r = mproc__opts_copy("pool create", opts, sizeof(*opts), given);

	if (r < 0)
		return r;
	if (!opts->tasks)
		opts->tasks = 1024;
	if (!opts->task_max)
		opts->task_max = 1u << 20;
	if (opts->workers > MPROC__POOL_WORKERS_MAX)
		return mproc__fail(-EINVAL, "pool create: %" PRIu32 " workers, at most %u",
				   opts->workers, MPROC__POOL_WORKERS_MAX);
	if (opts->tasks > MPROC__POOL_TASKS_MAX)
		return mproc__fail(-EINVAL, "pool create: %" PRIu32 " tasks under way, at most %u",
				   opts->tasks, MPROC__POOL_TASKS_MAX);
	if (opts->task_max > MPROC__POOL_TASK_MAX)
		return mproc__fail(-EINVAL, "pool create: tasks of %" PRIu32 " bytes, at most %u",
				   opts->task_max, MPROC__POOL_TASK_MAX);
	return 0;
}

/* One for each usable CPU, as far as the segment has places for so many processes. */
static uint32_t default_workers(const mproc_segment *segment)
{
	uint32_t n = mproc_cpu_count(), most = segment->range->n_procs - 1;

	return n > most && most ? most : n;
}

static int init_shared(void *mem, void *arg)
{
	const struct mproc_pool *pool = arg;
	struct mproc__pool_shared *s = mem;

	atomic_store(&s->state, MPROC__POOL_RUNNING);
	atomic_store(&s->n_workers, pool->opts.workers);
	atomic_store(&s->n_tasks, pool->opts.tasks);
	atomic_store(&s->task_max, pool->opts.task_max);
	atomic_store(&s->parent, (uint32_t)getpid());
	atomic_store(&s->process, mproc__proc_ref(pool->proc, pool->proc_generation));
	atomic_store(&s->layout, MPROC__POOL_LAYOUT);
	return 0;
}

static int create_queue(mproc_queue **ret, mproc_pool *pool, uint32_t head, uint32_t extra)
{
	struct mproc_queue_opts opts = {
		.size = sizeof(opts),
		.depth = 2 * pool->opts.tasks + extra,
		.msg_max = head + pool->opts.task_max,
		.bytes = (uint64_t)pool->opts.tasks * RING_PER_TASK,
	};

	if (opts.bytes < RING_MIN)
		opts.bytes = RING_MIN;
	return mproc__queue_create_for(ret, pool->segment,
				       mproc__proc_ref(pool->proc, pool->proc_generation), &opts);
}

/* The pool's object and its queues in the segment. */
static int create_shared(mproc_pool *pool, const char *name)
{
	struct mproc__object_spec spec = {
		.what = "pool",
		.name = name,
		.kind = MPROC__KIND_POOL,
		.len = mproc__pool_size(pool->opts.workers, pool->opts.tasks),
		.init = init_shared,
		.arg = pool,
	};
	int r;

	r = mproc__object_create(&pool->object, pool->segment, &spec);
	if (r < 0)
		return r;
	pool->shared = pool->object.mem;
	pool->workers = (struct mproc__pool_worker *)(pool->shared + 1);
	pool->slots = (void *)((char *)pool->shared + mproc__pool_slots_off(pool->opts.workers));
	/* Results: one for each task, the news of a death for each, and a few nudges. */
	r = create_queue(&pool->tasks, pool, sizeof(struct mproc__task_msg), 0);
	if (r == 0)
		r = create_queue(&pool->done, pool, sizeof(struct mproc__done_msg), 16);
	if (r < 0)
		return r;
	atomic_store(&pool->shared->tasks, pool->tasks->object.off);
	atomic_store(&pool->shared->done, pool->done->object.off);
	return 0;
}

/* Give back what create_shared() has made. */
static void destroy_shared(mproc_pool *pool)
{
	struct mproc__self *me = mproc__self(pool->segment->catalogue, "pool close");

	/* Nobody else uses them: the workers are gone. Last the pool, by which the rest is found.
	 */
	if (pool->tasks && me)
		mproc__queue_remove(pool->tasks, me);
	if (pool->done && me)
		mproc__queue_remove(pool->done, me);
	if (pool->shared && me)
		mproc__object_remove_as(pool->segment, me, &pool->object);
	pool->tasks = mproc_queue_close(pool->tasks);
	pool->done = mproc_queue_close(pool->done);
}

static int create_private(mproc_pool *pool)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->cond, &attr);
	pthread_condattr_destroy(&attr);
	atomic_init(&pool->state, MPROC__POOL_RUNNING);
	/* A batch of short results, and one of the longest with the gaps of a batch. */
	pool->buf_cap = sizeof(struct mproc__done_msg) + pool->opts.task_max;
	if (pool->buf_cap < MPROC__POOL_BATCH * 256)
		pool->buf_cap = MPROC__POOL_BATCH * 256;
	pool->buf = malloc(pool->buf_cap);
	pool->by_slot = calloc(pool->opts.tasks, sizeof(*pool->by_slot));
	pool->free_slots = calloc(pool->opts.tasks, sizeof(*pool->free_slots));
	pool->places = calloc(pool->opts.workers, sizeof(*pool->places));
	if (!pool->buf || !pool->by_slot || !pool->free_slots || !pool->places)
		return mproc__fail(-ENOMEM, "pool create: no memory for %" PRIu32 " tasks",
				   pool->opts.tasks);
	/* The last is given out first: low slots first, and those that were used last. */
	while (pool->n_free < pool->opts.tasks) {
		pool->free_slots[pool->n_free] = pool->opts.tasks - 1 - pool->n_free;
		pool->n_free++;
	}
	return 0;
}

void mproc__pool_unref(mproc_pool *pool)
{
	if (atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(pool->buf);
	free(pool->by_slot);
	free(pool->free_slots);
	free(pool->places);
	free(pool);
}

int mproc__pool_new(mproc_pool **ret, mproc_segment *segment, const char *name,
		    const struct mproc_pool_opts *opts)
{
	struct mproc_pool_opts filled;
	struct mproc__self *me;
	mproc_pool *pool;
	int r;

	r = opts_fill(&filled, opts);
	if (r == 0)
		r = mproc__tasks_check("pool create");
	if (r < 0)
		return r;
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return mproc__fail(-ENOMEM, "pool create: no memory");
	pool->opts = filled;
	atomic_init(&pool->refs, 1);
	r = mproc__segment_ref(&pool->segment, segment);
	if (r < 0)
		goto err_private;
	if (!pool->opts.workers)
		pool->opts.workers = default_workers(pool->segment);
	r = create_private(pool);
	if (r < 0)
		goto err_segment;
	if (pool->opts.workers + 1 > pool->segment->range->n_procs) {
		r = mproc__fail(-EUSERS,
				"pool create: %" PRIu32 " workers need %" PRIu32
				" process slots, the segment has %" PRIu32,
				pool->opts.workers, pool->opts.workers + 1,
				pool->segment->range->n_procs);
		goto err_segment;
	}
	me = mproc__self(pool->segment->catalogue, "pool create");
	r = me ? 0 : mproc__self_error();
	if (r < 0)
		goto err_segment;
	pool->proc = me->proc;
	pool->proc_generation = mproc__proc_generation(atomic_load(&me->range->procs[me->proc].st));
	r = create_shared(pool, name);
	if (r < 0)
		goto err_shared;
	*ret = pool;
	return 0;

err_shared:
	destroy_shared(pool);
err_segment:
	mproc_segment_close(pool->segment);
err_private:
	mproc__pool_unref(pool);
	return r;
}

int mproc_pool_create(mproc_pool **ret, mproc_segment *segment, const char *name,
		      const struct mproc_pool_opts *opts)
{
	mproc_pool *pool;
	int r;

	r = mproc__pool_new(&pool, segment, name, opts);
	if (r < 0)
		return r;
	r = mproc__supervisor_start(pool);
	if (r < 0) {
		destroy_shared(pool);
		mproc_segment_close(pool->segment);
		mproc__pool_unref(pool);
		return r;
	}
	*ret = pool;
	return 0;
}

int mproc__pool_check(mproc_pool *pool, const char *what, struct mproc__self **ret)
{
	struct mproc__self *me;
	uint64_t st;

	/* Futures outlive the pool's memory in the segment; nothing is left to attach to. */
	if (!pool->shared) {
		*ret = NULL;
		return 0;
	}
	me = mproc__self(pool->shared, what);
	if (!me)
		return mproc__self_error();
	st = atomic_load_explicit(&me->range->procs[pool->proc].st, memory_order_relaxed);
	if (me->proc != pool->proc || mproc__proc_generation(st) != pool->proc_generation)
		return mproc__fail(-EPERM, "%s: the pool belongs to process %" PRIu32 ", not to %d",
				   what, atomic_load(&pool->shared->parent), (int)getpid());
	*ret = me;
	return 0;
}

/* Under the lock: a slot for @future, waiting for one if need be. */
static int slot_get(mproc_pool *pool, mproc_future *future, int64_t deadline)
{
	uint32_t state;
	int r;

	for (;;) {
		state = atomic_load_explicit(&pool->state, memory_order_relaxed);
		if (state == MPROC__POOL_BROKEN)
			return mproc__fail(-EPIPE, "pool submit: the pool is broken: %s",
					   pool->why);
		if (state == MPROC__POOL_DOWN)
			return mproc__fail(-EPIPE, "pool submit: the pool was shut down");
		if (pool->n_free)
			break;
		r = mproc__pool_collect(pool, deadline);
		if (r < 0)
			return r;
	}
	future->slot = pool->free_slots[--pool->n_free];
	future->generation = mproc__slot_generation(
		atomic_load_explicit(&pool->slots[future->slot], memory_order_relaxed));
	future->attempt = 1;
	pool->by_slot[future->slot] = future;
	pool->n_pending++;
	mproc_future_ref(future);
	atomic_store_explicit(
		&pool->shared->n_submitted,
		atomic_load_explicit(&pool->shared->n_submitted, memory_order_relaxed) + 1,
		memory_order_relaxed);
	return 0;
}

/* Queue the message; take in results while there is no room. */
static int put_task(mproc_pool *pool, mproc_future *future, const void *msg, size_t len)
{
	struct mproc_future_error error = { 0 };
	int r;

	for (;;) {
		r = mproc_queue_put(pool->tasks, msg, len, MPROC_NOWAIT);
		if (r != -EAGAIN)
			break;
		pthread_mutex_lock(&pool->lock);
		mproc__pool_collect(pool, mproc_after_ns(ROOM_NS));
		/* Without workers nothing makes room: the pool is broken, the future says so. */
		if (future->done)
			r = 0;
		pthread_mutex_unlock(&pool->lock);
		if (r == 0)
			break;
	}
	if (r == 0)
		return 0;
	pthread_mutex_lock(&pool->lock);
	if (!future->done) {
		error.code = r;
		mproc__future_fail(future, &error);
	}
	pthread_mutex_unlock(&pool->lock);
	return r;
}

/* @msg has room for a head at its start. */
static int submit_msg(mproc_pool *pool, mproc_future *future, unsigned char *msg, size_t len,
		      uint32_t n_items, int64_t deadline)
{
	struct mproc__task_msg head = {
		.task = mproc__task_index(future->task),
		.n_items = n_items,
	};
	bool keep = pool->opts.retry_killed || pool->opts.retry_crashed;
	int r;

	if (keep) {
		future->msg = malloc(len);
		if (!future->msg)
			return mproc__fail(-ENOMEM, "pool submit: no memory to keep %zu bytes",
					   len);
		future->msg_len = len;
	}
	pthread_mutex_lock(&pool->lock);
	r = slot_get(pool, future, deadline);
	if (r == 0) {
		head.generation = future->generation;
		head.slot = future->slot;
		head.attempt = 1;
		memcpy(msg, &head, sizeof(head));
		if (keep)
			memcpy(future->msg, msg, len);
		/* Submitted before it is queued: a worker must find it so. */
		atomic_store_explicit(
			&pool->slots[head.slot],
			mproc__slot_word(head.generation, 0, 1, MPROC__SLOT_SUBMITTED),
			memory_order_release);
	}
	pthread_mutex_unlock(&pool->lock);
	return r < 0 ? r : put_task(pool, future, msg, len);
}

int mproc__pool_submit_one(mproc_future **ret, mproc_pool *pool, const struct mproc_task *task,
			   const void *args, int64_t deadline)
{
	unsigned char small[SMALL_MSG], *msg = small;
	size_t head = sizeof(struct mproc__task_msg), cap = sizeof(small) - head, len;
	struct mproc__self *me;
	mproc_future *future;
	int r;

	r = mproc__pool_check(pool, "pool submit", &me);
	if (r < 0)
		return r;
	r = mproc__task_encode(task, args, msg + head, cap, &len);
	if (r == -ENOBUFS && len <= pool->opts.task_max) {
		msg = malloc(head + len);
		if (!msg)
			return mproc__fail(-ENOMEM, "pool submit: no memory for %zu bytes", len);
		cap = len;
		r = mproc__task_encode(task, args, msg + head, cap, &len);
	}
	if (r == -ENOBUFS || (r == 0 && len > pool->opts.task_max))
		r = mproc__fail(-EMSGSIZE,
				"pool submit: %zu bytes of arguments for task %s, at most %" PRIu32,
				len, mproc__task_name(task), pool->opts.task_max);
	future = r == 0 ? mproc__future_new(pool, task) : NULL;
	if (r == 0 && !future)
		r = mproc__fail(-ENOMEM, "pool submit: no memory for a future");
	if (r == 0)
		r = submit_msg(pool, future, msg, head + len, 0, deadline);
	if (msg != small)
		free(msg);
	if (r < 0)
		mproc_future_unref(future);
	else
		*ret = future;
	return r;
}

int mproc__pool_submit_chunk(mproc_future **ret, mproc_pool *pool, const struct mproc_task *task,
			     struct mproc__chunk *c, int64_t deadline)
{
	mproc_future *future = mproc__future_new(pool, task);
	int r;

	if (!future)
		return mproc__fail(-ENOMEM, "pool map: no memory for a future");
	r = submit_msg(pool, future, c->msg, c->len, c->n, deadline);
	if (r < 0)
		mproc_future_unref(future);
	else
		*ret = future;
	return r;
}

mproc_future *mproc_pool_submit(mproc_pool *pool, const struct mproc_task *task, const void *args)
{
	mproc_future *future;
	int r = mproc__pool_submit_one(&future, pool, task, args, MPROC_FOREVER);

	if (r == 0)
		return future;
	errno = -r;
	return NULL;
}

int mproc_pool_shutdown(mproc_pool *pool, uint32_t flags, int64_t deadline)
{
	struct mproc__self *me;
	int r;

	if (flags & ~(uint32_t)MPROC_POOL_CANCEL)
		return mproc__fail(-EINVAL, "pool shutdown: unknown flags 0x%" PRIx32, flags);
	r = mproc__deadline_check("pool shutdown", deadline);
	if (r == 0)
		r = mproc__pool_check(pool, "pool shutdown", &me);
	if (r < 0)
		return r;
	pthread_mutex_lock(&pool->lock);
	if (atomic_load(&pool->state) == MPROC__POOL_RUNNING) {
		atomic_store(&pool->state, MPROC__POOL_DOWN);
		atomic_store(&pool->shared->state, MPROC__POOL_DOWN);
	}
	if (flags & MPROC_POOL_CANCEL)
		mproc__pool_fail_all(pool, true, -ECANCELED, "the pool was shut down");
	while (pool->n_pending && r == 0)
		r = mproc__pool_collect(pool, deadline);
	pthread_mutex_unlock(&pool->lock);
	if (r < 0)
		return r;
	/*
	 * Nothing is under way: workers leave when they find the queue closed. The
	 * supervisor knows before they do, or it would replace them.
	 */
	mproc__supervisor_end(pool, false);
	mproc_queue_shutdown(pool->tasks);
	pthread_mutex_lock(&pool->lock);
	while (!pool->ended && r == 0)
		r = mproc__pool_follow(pool, deadline);
	r = pool->ended ? 0 : r;
	pthread_mutex_unlock(&pool->lock);
	if (r == 0)
		mproc__supervisor_join(pool);
	return r;
}

mproc_pool *mproc_pool_close(mproc_pool *pool)
{
	struct mproc__self *me;

	if (!pool)
		return NULL;
	/* A forked child has the handle alone: the workers are its parent's. */
	if (mproc__pool_check(pool, "pool close", &me) < 0)
		return NULL;
	mproc__supervisor_end(pool, true);
	mproc__supervisor_join(pool);
	pthread_mutex_lock(&pool->lock);
	while (mproc__pool_collect(pool, MPROC_NOWAIT) == 0)
		;
	atomic_store(&pool->state, MPROC__POOL_DOWN);
	mproc__pool_fail_all(pool, false, -ECANCELED, "the pool was closed");
	pthread_mutex_unlock(&pool->lock);
	destroy_shared(pool);
	pool->shared = NULL;
	mproc_segment_close(pool->segment);
	mproc__pool_unref(pool);
	return NULL;
}

void mproc_pool_stats(mproc_pool *pool, struct mproc_pool_stats *ret)
{
	const struct mproc__pool_shared *s = pool->shared;

	pthread_mutex_lock(&pool->lock);
	*ret = (struct mproc_pool_stats){
		.n_workers = pool->opts.workers,
		.n_pending = pool->n_pending,
		.n_submitted = atomic_load(&s->n_submitted),
		.n_done = atomic_load(&s->n_done),
		.n_failed = atomic_load(&s->n_failed),
		.n_retried = atomic_load(&s->n_retried),
		.n_deaths = atomic_load(&s->n_deaths),
	};
	pthread_mutex_unlock(&pool->lock);
}

int mproc_pool_worker(mproc_pool *pool, uint32_t i, struct mproc_pool_worker *ret)
{
	if (i >= pool->opts.workers)
		return mproc__fail(-EINVAL,
				   "pool worker: there are %" PRIu32 " workers, no %" PRIu32,
				   pool->opts.workers, i);
	ret->pid = (int)atomic_load(&pool->workers[i].pid);
	ret->n_done = atomic_load(&pool->workers[i].n_done);
	ret->n_deaths = atomic_load(&pool->workers[i].n_deaths);
	return 0;
}
