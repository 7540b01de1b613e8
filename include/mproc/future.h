/* SPDX-License-Identifier: MIT */
#ifndef MPROC_FUTURE_H
#define MPROC_FUTURE_H

/*
 * Futures: what will have come of a task
 *
 * Submitting a task gives a future. It is private to the process that submitted,
 * and done when the task has returned, has failed, or its worker has died for
 * good. A task's failure is a value of its future and concerns nobody else.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one future at the same time
 *	Fork		a forked child must not use its parent's futures: -EPERM
 *	Signals		not safe in a signal handler
 *	Killed		futures end with their process, and its workers with it
 *	Errors		a negative errno; the call then has had no effect and
 *			has not touched its return parameters
 */

#include <mproc/common.h>
#include <mproc/task.h>

MPROC_BEGIN_DECLS

/* Why a future failed. Zero where it does not apply. */
struct mproc_future_error {
	int code;      /* negative errno; 0: the task returned a result */
	int pid;       /* worker that ran the last attempt */
	int signal;    /* that killed the worker */
	int exit_code; /* of a worker that ended by itself */
	int core;      /* 1: the worker left a core file */
	int attempt;   /* number of the last attempt, from 1; 0: it never began */
	char text[192];
};

/* When mproc_future_wait() is content. */
enum mproc_future_when {
	MPROC_FUTURE_ALL = 0,         /* all are done */
	MPROC_FUTURE_FIRST = 1,       /* at least one is done */
	MPROC_FUTURE_FIRST_ERROR = 2, /* one has failed, or all are done */
};

/**
 * mproc_future_done() - is it done?
 * @future:	future
 *
 * Takes in what has come from the workers, never waits.
 *
 * Return: 1, 0, or -EPERM in a forked child.
 */
MPROC_API int mproc_future_done(mproc_future *future);

/**
 * mproc_future_result() - wait for the result
 * @future:	future
 * @task:	the task it was submitted with; typed code calls NAME_result() instead
 * @ret:	where the result goes, or NULL; what its pointers refer to lives as
 *		long as the future
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * Return: 0, -EAGAIN or -ETIMEDOUT if it is not done (mproc_future_done() tells these
 * from a task's own), -EINVAL if @task is another, -EPERM in a forked child;
 * -ESRCH if the worker died, -ECANCELED if the pool was shut down first, or
 * whatever negative errno the task returned: mproc_future_error() says more.
 */
MPROC_API MPROC_MUST int mproc_future_result(mproc_future *future, const struct mproc_task *task,
					     void *ret, int64_t deadline);

/**
 * mproc_future_error() - why it failed
 * @future:	future
 * @ret:	filled in when it is done
 *
 * Return: 1 if it failed, 0 if it has a result, -EAGAIN if it is not done, -EPERM in
 * a forked child.
 */
MPROC_API MPROC_MUST int mproc_future_error(mproc_future *future, struct mproc_future_error *ret);

/**
 * mproc_future_wait() - wait for several futures of one pool
 * @futures:	array of @n futures
 * @n:		their number
 * @when:	what to wait for
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * Return: how many of them are done, -EAGAIN or -ETIMEDOUT if the condition was not
 * met in time, -EINVAL for futures of different pools, -EPERM in a forked child.
 */
MPROC_API MPROC_MUST int mproc_future_wait(mproc_future *const *futures, size_t n,
					   enum mproc_future_when when, int64_t deadline);

/*
 * Futures in the order in which they are done. Start from MPROC_FUTURE_ITER; the
 * members are private.
 */
struct mproc_future_iter {
	mproc_future *first, *last; /* done, not yet given out */
	size_t n_pending;
	mproc_pool *pool;
};

#define MPROC_FUTURE_ITER \
	{ \
		NULL, NULL, 0, NULL \
	}

/**
 * mproc_future_iter_add() - let a future come out of an iterator when it is done
 * @iter:	iterator
 * @future:	future, in no other iterator
 *
 * Futures may be added while others come out. The iterator must not move while it
 * holds any: a future leaves it by coming out or by its last mproc_future_unref().
 *
 * Return: 0, -EBUSY if it is in an iterator already, -EINVAL if it is of another pool
 * than the first one, -EPERM in a forked child.
 */
MPROC_API MPROC_MUST int mproc_future_iter_add(struct mproc_future_iter *iter,
					       mproc_future *future);

/**
 * mproc_future_as_completed() - the next future that is done
 * @iter:	iterator
 * @ret:	the future, which leaves the iterator; the reference stays the caller's
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * Return: 1, 0 if the iterator is empty, -EAGAIN or -ETIMEDOUT, -EPERM in a forked
 * child.
 */
MPROC_API MPROC_MUST int mproc_future_as_completed(struct mproc_future_iter *iter,
						   mproc_future **ret, int64_t deadline);

/**
 * mproc_future_ref() - one more reference
 * @future:	future
 *
 * Return: @future.
 */
MPROC_API mproc_future *mproc_future_ref(mproc_future *future);

/**
 * mproc_future_unref() - give up a reference
 * @future:	future, or NULL
 *
 * The last one frees it, what its result points to included. A task whose future
 * nobody holds runs all the same. A future in an iterator leaves it.
 *
 * Return: NULL.
 */
MPROC_API mproc_future *mproc_future_unref(mproc_future *future);

MPROC_END_DECLS

#endif /* MPROC_FUTURE_H */
