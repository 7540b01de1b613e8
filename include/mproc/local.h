/* SPDX-License-Identifier: MIT */
#ifndef MPROC_LOCAL_H
#define MPROC_LOCAL_H

/*
 * Thread-local values: one name, another value in each thread
 *
 * An mproc_local is created at run time, in any number, by libraries that know nothing of
 * each other. A thread's value is a pointer, say to a struct of all that the thread wants
 * to remember. It is made by an init function when the thread first asks for it, and
 * destroyed by a function when the thread ends. All threads' values can be visited, which
 * sums up counters that each thread keeps for itself.
 *
 * When a thread ends, by return or pthread_exit(3), however it was started, its values are
 * destroyed, those made last first; functions that thereby make new values are given three
 * more rounds. When the process ends, the values of the threads that still run then, the
 * main one's too, are not destroyed: mproc_local_close() does it.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one mproc_local at the same time, each its own value
 *	Fork		the child has the value of the thread that forked. Those of others are
 *			forgotten there, not destroyed: what they refer to is their owners'
 *	Signals		not safe in a signal handler. No call is a cancellation point
 *	Killed		nothing here writes shared memory
 *	Errors		a negative errno; the call then has had no effect and
 *			has not touched its return parameters
 */

#include <mproc/common.h>

MPROC_BEGIN_DECLS

typedef struct mproc_local mproc_local;

/* Zero in any field asks for the default. */
struct mproc_local_opts {
	size_t size; /* of this struct, set by MPROC_LOCAL_OPTS() */
	/* Makes a thread's first value: 0, or a negative errno. Default: it is NULL. */
	int (*init)(void **ret, void *arg);
	/* Destroys a value, never NULL, in the thread whose it is; default: nothing. */
	void (*destroy)(void *value, void *arg);
	void *arg; /* handed to both */
};

/* MPROC_LOCAL_OPTS(.destroy = free_it); C only, evaluates to a pointer. */
#define MPROC_LOCAL_OPTS(...) \
	(&(const struct mproc_local_opts){ .size = sizeof(struct mproc_local_opts), __VA_ARGS__ })

/**
 * mproc_local_create() - make one that has no value in any thread
 * @ret:	the new handle
 * @opts:	options, or NULL for the defaults
 *
 * Return: 0, -E2BIG if @opts uses a field this library does not know, -ENOSPC if 65,536 are
 * in use, -ENOMEM, -EDEADLK inside mproc_local_each().
 */
MPROC_API MPROC_MUST int mproc_local_create(mproc_local **ret, const struct mproc_local_opts *opts);

/**
 * mproc_local_get() - the calling thread's value
 * @local:	handle
 * @ret:	the value; NULL if it has none and there is no init function
 *
 * A thread without a value gets one by the init function first, which may use other locals,
 * and set this one.
 *
 * Return: 0, what the init function reports, -ENOMEM, -EDEADLK if it needs a value inside
 * mproc_local_each(), or if the thread is inside the init function of this very value, perhaps
 * by way of those of others.
 */
MPROC_API MPROC_MUST int mproc_local_get(mproc_local *local, void **ret);

/**
 * mproc_local_set() - give the calling thread another value
 * @local:	handle
 * @value:	value, or NULL for none: mproc_local_get() makes a new one then
 *
 * The value that it replaces, unless it is the same, is destroyed.
 *
 * Return: 0, -ENOMEM, -EDEADLK inside mproc_local_each().
 */
MPROC_API MPROC_MUST int mproc_local_set(mproc_local *local, void *value);

/**
 * mproc_local_each() - visit the values of all threads
 * @local:	handle
 * @fn:		called with each value; not 0 ends the visit
 * @arg:	handed to @fn
 *
 * No value is destroyed meanwhile, and no thread gets a first one; those threads wait. The
 * owner of a value may be using it: what @fn reads should be atomic. @fn must return: no
 * pthread_exit(3), no longjmp(3), and not exit(3), which waits for other threads; _exit(2)
 * is fine. It may fork: in the child, the visit goes on with the value of the thread that
 * forked, if that is still to come. But no other thread may fork at the same time: each of
 * the two could wait for a lock that the other's fork holds.
 *
 * Return: 0, or what @fn returned if that was not 0; -EDEADLK inside another visit.
 */
MPROC_API MPROC_MUST int mproc_local_each(mproc_local *local, int (*fn)(void *value, void *arg),
					  void *arg);

/**
 * mproc_local_close() - destroy all its values and give up the handle
 * @local:	handle, or NULL
 *
 * The values of all threads are destroyed, in the calling thread; a thread that is ending
 * and destroys its own at this moment is waited for. What a destroy function sets meanwhile
 * is destroyed as well: one that always sets a new value keeps this call from ending. No
 * other thread may be inside a call on it or use its value, and no function of it or visit
 * of values may call this.
 *
 * Return: NULL.
 */
MPROC_API mproc_local *mproc_local_close(mproc_local *local);

MPROC_END_DECLS

#endif /* MPROC_LOCAL_H */
