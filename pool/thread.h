/* SPDX-License-Identifier: MIT */
#ifndef MPROC__THREAD_H
#define MPROC__THREAD_H

/*
 * A thread's record, and the list of those alive (thread_list.c)
 */

#include <mproc/thread.h>

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "ipc/error.h"

enum mproc__thread_kind {
	MPROC__THREAD_STARTED, /* by mproc_thread_start() */
	MPROC__THREAD_MAIN,
	MPROC__THREAD_FOREIGN, /* somebody else's that asked who it is */
};

struct mproc_thread {
	_Atomic(uint32_t) refs;
	uint64_t ident;
	int (*fn)(void *arg, int64_t *result);
	void *arg;
	uint32_t rounds; /* of destructors; the thread's own */

	/* Under the lock. */
	mproc_thread *next, *prev; /* in the list of those alive */
	enum mproc__thread_kind kind;
	bool daemon;
	bool ended, joining, joined;
	uint64_t forks; /* there were so many before it; the forking thread's is renewed */
	pid_t tid;      /* 0: it has not begun */
	pthread_t pthread;
	mproc_thread *joins; /* it waits for this one, without deadline */
	pthread_cond_t changed;
	char name[MPROC_THREAD_NAME_SIZE];

	/* Written by the thread before it has ended, constant afterwards. */
	int code;
	int64_t result;
	char text[MPROC__ERROR_MAX];
};

/* Of the list and of what the records say is under it. Never held across a call out. */
extern pthread_mutex_t mproc__threads_mutex;

/* The calling thread, or NULL if it is unknown. */
extern _Thread_local mproc_thread *mproc__thread_self;

/* No cancellation in between. Return: what mproc__threads_unlock() wants. */
int mproc__threads_lock(void);
void mproc__threads_unlock(int cancel);

/* Prepare this process, once. Return: 0 or a negative errno. */
int mproc__threads_init(void);

/* Under the lock: sleep until something of @t changes. Return: 0, -EAGAIN or -ETIMEDOUT. */
int mproc__thread_wait(mproc_thread *t, int64_t deadline);

/* Under the lock: into the list of those alive, with a number; out of it. */
void mproc__thread_add(mproc_thread *t);
void mproc__thread_remove(mproc_thread *t);

/* Is it of the parent process? Its pthread_t, @joining and @changed mean nothing then. */
bool mproc__thread_is_elsewhere(const mproc_thread *t);

void mproc__thread_cond_init(mproc_thread *t);

/* The calling thread begins: it is @t. Return: whether its end will be noticed by itself. */
bool mproc__thread_bind(mproc_thread *t);

/* The last of a thread: after it, the record may be gone. */
void mproc__thread_end(mproc_thread *t);

/* Under the lock: the first that is to be waited for at exit, with a reference, or NULL. */
mproc_thread *mproc__thread_waited_for(void);

/* At exit: wait for all that are no daemons. */
void mproc__threads_join(void);

/* Return: 0 or -EINVAL with a text. */
int mproc__thread_name_check(const char *what, const char *name);

/* Under the lock: let the kernel know as much of the name as it can. */
void mproc__thread_name_publish(mproc_thread *t);

#endif /* MPROC__THREAD_H */
