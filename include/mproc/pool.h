/* SPDX-License-Identifier: MIT */
#ifndef MPROC_POOL_H
#define MPROC_POOL_H

/*
 * Pools: worker processes that run tasks
 *
 * A pool forks workers, one per usable CPU, and replaces those that die. Tasks go
 * to them and results come back through shared memory. A task that crashes its
 * worker, or whose worker is killed, fails alone, or is tried again if the options
 * say so. A thread of the pool, with all signals blocked, does the forking; when
 * the process ends, however it ends, its workers end.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one pool at the same time
 *	Fork		a forked child must not use its parent's pool: -EPERM; it may
 *			make one of its own
 *	Signals		not safe in a signal handler; workers ignore SIGINT and start
 *			with the creator's signal mask and default handlers
 *	Killed		a killed worker costs at most the task it was running; when the
 *			process is killed, its workers end and the segment vanishes
 *	Errors		a negative errno; the call then has had no effect and
 *			has not touched its return parameters
 */

#include <mproc/common.h>
#include <mproc/future.h>
#include <mproc/segment.h>
#include <mproc/task.h>

MPROC_BEGIN_DECLS

/* For the retry options: no limit. */
#define MPROC_POOL_UNLIMITED UINT32_MAX

/* Zero in any field asks for the default. */
struct mproc_pool_opts {
	size_t size;            /* of this struct, set by MPROC_POOL_OPTS() */
	uint32_t workers;       /* processes; default mproc_cpu_count(), at most 1,024 */
	uint32_t tasks;         /* submitted and not yet done; default 1,024, at most 65,536 */
	uint32_t task_max;      /* bytes of encoded arguments or results; default 1 MiB */
	uint32_t retry_killed;  /* more attempts if a signal from outside killed the worker */
	uint32_t retry_crashed; /* more attempts if the worker crashed or exited by itself */
	/* Run in each worker before its first task; not 0: the worker ends. */
	int (*init)(void *arg);
	void *arg; /* handed to init */
};

/* MPROC_POOL_OPTS(.workers = 4); C only, evaluates to a pointer. */
#define MPROC_POOL_OPTS(...) \
	(&(const struct mproc_pool_opts){ .size = sizeof(struct mproc_pool_opts), __VA_ARGS__ })

/**
 * mproc_pool_create() - start a pool of worker processes
 * @ret:	the new handle
 * @segment:	where tasks and results pass, or NULL for the default segment
 * @name:	of the pool in the segment, 1 to 63 bytes, or NULL
 * @opts:	options, or NULL for the defaults
 *
 * Workers are copies of the calling process at this moment (fork): a lock of the
 * program's own that another thread holds now stays locked in them.
 *
 * A signal counts as the worker's own crash if it is SIGSEGV, SIGBUS, SIGILL,
 * SIGFPE, SIGABRT, SIGSYS, SIGTRAP, SIGXCPU or SIGXFSZ; all others come from outside.
 *
 * Return: 0, -EINVAL if an option is out of range, -EEXIST if the name is taken,
 * -E2BIG if @opts uses a field this library does not know, -ENOSPC if the segment
 * has no room, -EUSERS if it has too few process slots for the workers, -EAGAIN if
 * no process or thread can be started, -ENOMEM.
 */
MPROC_API MPROC_MUST int mproc_pool_create(mproc_pool **ret, mproc_segment *segment,
					   const char *name, const struct mproc_pool_opts *opts);

/**
 * mproc_pool_submit() - hand a task to the workers
 * @pool:	pool
 * @task:	task; typed code calls NAME_submit() instead
 * @args:	its arguments, encoded before this returns
 *
 * Waits while as many tasks are under way as the pool's options allow.
 *
 * Return: the future, with one reference, or NULL with mproc_error_text() and errno
 * set: EPIPE after a shutdown, EMSGSIZE if the arguments are longer than task_max,
 * ENOSPC if the segment has no room for them, EPERM in a forked child, ENOMEM, or
 * what the encoder reports.
 */
MPROC_API MPROC_MUST mproc_future *
mproc_pool_submit(mproc_pool *pool, const struct mproc_task *task, const void *args);

/**
 * mproc_pool_map() - run one task over an array and gather the results in order
 * @pool:	pool
 * @task:	task
 * @args:	@n argument structs, @args_stride bytes apart
 * @args_stride: bytes
 * @results:	room for @n result structs, @results_stride bytes apart; results
 *		must contain no pointers
 * @results_stride: bytes
 * @n:		how many
 * @chunk:	how many go to a worker in one message; 0: so many that each worker gets
 *		four messages, as Python does; 1: each alone. No more than arguments, or
 *		results as long as they can be, fit into 64 KiB or task_max
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * All items are waited for even if one fails; results of those that failed are not
 * touched. An item that returns an error fails alone. A chunk is what is attempted: if a
 * worker dies, none of the chunk it had in hand has been returned, and all of it is tried
 * again as the options say, items that had run included, or all of it fails. Chunks of 1
 * are for tasks that may crash or must not run twice. In the statistics a chunk is one task.
 *
 * Return: 0, or the error of the first one, in order, that failed; -EINVAL if the
 * results contain pointers; -ETIMEDOUT or -EAGAIN by the deadline (what was
 * submitted runs all the same); and as mproc_pool_submit().
 */
MPROC_API MPROC_MUST int mproc_pool_map(mproc_pool *pool, const struct mproc_task *task,
					const void *args, size_t args_stride, void *results,
					size_t results_stride, size_t n, size_t chunk,
					int64_t deadline);

enum mproc_pool_shutdown_flags {
	MPROC_POOL_CANCEL = 1, /* tasks that no worker has begun are done with -ECANCELED */
};

/**
 * mproc_pool_shutdown() - no more tasks; wait for those under way
 * @pool:	pool
 * @flags:	of enum mproc_pool_shutdown_flags
 * @deadline:	how long to wait for the workers to end
 *
 * Futures stay usable. May be called again, say with a later deadline.
 *
 * Return: 0 when all workers have ended, -EAGAIN or -ETIMEDOUT if some have not,
 * -EINVAL for unknown flags, -EPERM in a forked child.
 */
MPROC_API MPROC_MUST int mproc_pool_shutdown(mproc_pool *pool, uint32_t flags, int64_t deadline);

/**
 * mproc_pool_close() - end the pool
 * @pool:	pool, or NULL
 *
 * Without a shutdown before it, workers are killed and what was under way is done
 * with -ECANCELED. Futures that are still held stay usable. No other thread may be
 * inside a call on the pool.
 *
 * Return: NULL.
 */
MPROC_API mproc_pool *mproc_pool_close(mproc_pool *pool);

/* One worker, as seen from its parent. */
struct mproc_pool_worker {
	int pid;           /* 0: none at the moment */
	uint64_t n_done;   /* tasks this place has returned, over all its processes */
	uint64_t n_deaths; /* processes that died in this place */
};

struct mproc_pool_stats {
	uint32_t n_workers;
	uint32_t n_pending; /* submitted, not yet done */
	uint64_t n_submitted;
	uint64_t n_done; /* with a result or an error */
	uint64_t n_failed;
	uint64_t n_retried; /* attempts after the first */
	uint64_t n_deaths;  /* of workers */
};

/**
 * mproc_pool_stats() - how much has been done
 * @pool:	pool
 * @ret:	filled in
 */
MPROC_API void mproc_pool_stats(mproc_pool *pool, struct mproc_pool_stats *ret);

/**
 * mproc_pool_worker() - look at one worker
 * @pool:	pool
 * @i:		0 to n_workers - 1
 * @ret:	filled in
 *
 * Return: 0, or -EINVAL if there is no such worker.
 */
MPROC_API MPROC_MUST int mproc_pool_worker(mproc_pool *pool, uint32_t i,
					   struct mproc_pool_worker *ret);

MPROC_END_DECLS

#endif /* MPROC_POOL_H */
