/* SPDX-License-Identifier: MIT */
#ifndef MPROC__POOL_H
#define MPROC__POOL_H

/*
 * What the rooms of a pool share: its handle, its futures, and who does what
 *
 *	pool.c		making, submitting, shutting down
 *	map.c		many items in few messages
 *	future.c	collecting what workers return; waiting
 *	supervisor.c	the thread that forks workers and buries them
 *	worker.c	the life of a worker
 */

#include <mproc/pool.h>
#include <mproc/queue.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "pool/pool_layout.h"
#include "shm/catalogue.h"

#define MPROC__POOL_BATCH 64u
#define MPROC__POOL_WHY   160u

struct mproc_future {
	mproc_pool *pool; /* referred to */
	_Atomic(uint32_t) refs;
	bool done;
	const struct mproc_task *task;
	uint64_t generation; /* of its slot */
	uint32_t slot;
	uint32_t attempt; /* from 1 */
	uint32_t n_killed, n_crashed;
	void *msg; /* kept while it may be tried again: head and encoded arguments */
	size_t msg_len;
	bool failed;
	unsigned char *bytes; /* the encoded result: small, or allocated */
	size_t len;
	void *value; /* the decoded result */
	_Atomic(struct mproc_future_iter *) iter;
	mproc_future *next;       /* in the iterator's list of the done */
	mproc_future *next_retry; /* in the pool's list of those to be put again */
	unsigned char small[64];
	struct mproc_future_error error; /* if it has failed */
};

/* A place for a worker, as its parent sees it. */
struct mproc__place {
	int pid; /* 0: empty */
	int pidfd;
	bool dead; /* has ended; its tasks have not all been given up */
	int signal, exit_code, core;
};

struct mproc_pool {
	_Atomic(uint32_t) refs; /* the handle, the supervisor's, each future's */
	mproc_segment *segment;
	struct mproc__object object;
	struct mproc__pool_shared *shared;
	struct mproc__pool_worker *workers;
	_Atomic(uint64_t) *slots;
	mproc_queue *tasks, *done;
	struct mproc_pool_opts opts; /* with defaults filled in */

	uint32_t proc; /* slot of the process that made it, and its generation */
	uint64_t proc_generation;

	_Atomic(uint32_t) state; /* MPROC__POOL_RUNNING … */
	pthread_mutex_t lock;    /* what follows is under it */
	pthread_cond_t cond;
	char why[MPROC__POOL_WHY]; /* it is broken */
	bool collecting;           /* somebody is in the queue of results */
	uint32_t n_followers;      /* who wait for him */
	mproc_future **by_slot;
	uint32_t *free_slots;
	uint32_t n_free;
	uint32_t n_pending;
	mproc_future *retry; /* to be put again when there is room */
	void *buf;           /* the collector's: one batch */
	size_t buf_cap;

	/* The supervisor's. */
	pthread_t thread;
	int wake_fd;         /* eventfd: look at ending */
	sigset_t mask;       /* of the creator, for the workers */
	bool started, ended; /* under the lock: first workers are there; the last is gone */
	int start_error;
	_Atomic(uint32_t) ending; /* 1: no replacements; 2: kill */
	bool joined;
	struct mproc__place *places;
	uint32_t n_stillborn; /* workers in a row that died before they were ready */
};

/* Is the caller the process that made the pool? Return: 0 or -EPERM with a text. */
int mproc__pool_check(mproc_pool *pool, const char *what, struct mproc__self **ret);

void mproc__pool_unref(mproc_pool *pool);

/* All of mproc_pool_create() but the supervisor: a pool without workers. */
int mproc__pool_new(mproc_pool **ret, mproc_segment *segment, const char *name,
		    const struct mproc_pool_opts *opts);

/* The place's worker is dead: give up what it had claimed. Return: false, the queue was full. */
bool mproc__place_give_up(mproc_pool *pool, uint32_t i);

/*
 * Take in what workers have returned, or wait until another thread has. The caller
 * holds the lock, which is let go of meanwhile.
 *
 * Return: 0 if something may have changed, -EAGAIN or -ETIMEDOUT, or -EBADMSG.
 */
int mproc__pool_collect(mproc_pool *pool, int64_t deadline);

/* The same, but only wait for the collector, or for the supervisor's end. */
int mproc__pool_follow(mproc_pool *pool, int64_t deadline);

/* Under the lock: @future is done, with the error that is filled in or a result. */
void mproc__future_finish(mproc_future *future);

/* Under the lock: fail it. @error is copied. */
void mproc__future_fail(mproc_future *future, const struct mproc_future_error *error);

/* Under the lock: fail what is pending; with @unclaimed only what no worker has begun. */
void mproc__pool_fail_all(mproc_pool *pool, bool unclaimed, int code, const char *text);

mproc_future *mproc__future_new(mproc_pool *pool, const struct mproc_task *task);

/* mproc_pool_submit() with a deadline and a code. */
int mproc__pool_submit_one(mproc_future **ret, mproc_pool *pool, const struct mproc_task *task,
			   const void *args, int64_t deadline);

/* Items of a map on their way into one message. Starts as zeroes. */
struct mproc__chunk {
	unsigned char *msg; /* room for the head, then the items; the caller frees it */
	size_t cap, len;
	uint32_t n; /* items in it */
};

/* How many items of @task a chunk may have; below 2: none. */
uint32_t mproc__map_chunk_max(const mproc_pool *pool, const struct mproc_task *task);

/* Return: 1, 0 if there is no room for it in a message, or what the encoder says. */
int mproc__chunk_add(struct mproc__chunk *c, mproc_pool *pool, const struct mproc_task *task,
		     const void *args);

/* Submit a chunk as one task: the future's bytes are what mproc__chunk_gather() takes. */
int mproc__pool_submit_chunk(mproc_future **ret, mproc_pool *pool, const struct mproc_task *task,
			     struct mproc__chunk *c, int64_t deadline);

/*
 * Run the items of a chunk.
 * @index:	of the task in the registry
 * @in:		what follows the head of the message, @len bytes, private
 * @out:	room for @cap bytes
 *
 * Return: 0, whatever the items returned, or -EBADMSG, -ENOENT: none has run.
 */
int mproc__map_run(uint32_t index, uint32_t n, const unsigned char *in, size_t len,
		   unsigned char *out, size_t cap, size_t *ret_len);

/*
 * Decode what a chunk of @n items returned; results of items that failed are not touched.
 *
 * Return: 0, or the first item's own error, with its text, or -EBADMSG.
 */
int mproc__chunk_gather(const struct mproc_task *task, uint32_t n, const unsigned char *bytes,
			size_t len, char *results, size_t stride);

/* The supervisor's thread: start it and the workers, tell it to end, wait for its end. */
int mproc__supervisor_start(mproc_pool *pool);
void mproc__supervisor_end(mproc_pool *pool, bool kill_them);
void mproc__supervisor_join(mproc_pool *pool);

/* What a worker works with. */
struct mproc__worker {
	mproc_pool *pool;
	struct mproc__self *me;
	struct mproc__pool_worker *place;
	uint32_t number; /* of the place */
	int parent;
	unsigned char *in, *out; /* one message each, as long as one can be */
};

/* Attach as a worker. Return: 0, -ENOMEM, or -ESRCH: the pool's parent is dead. */
int mproc__worker_begin(struct mproc__worker *w, mproc_pool *pool, uint32_t place, int parent);

/* Take one task, run it, return what came of it. Return: 0, or as mproc_queue_get(). */
int mproc__worker_step(struct mproc__worker *w, int64_t deadline);

/* In a forked child: take and run tasks until there are no more. */
_Noreturn void mproc__worker_main(mproc_pool *pool, uint32_t place, int parent);

extern const struct mproc__kind mproc__kind_pool;

#endif /* MPROC__POOL_H */
