/* SPDX-License-Identifier: MIT */

/*
 * Threads of this process: started, named, joined, counted
 *
 * One record for each thread we know, all in ordinary private memory. Those alive are in
 * one list, in the order of their numbers, under one lock:
 *
 *	start		record into the list -> pthread_create()
 *	begin		the thread notes its tid and its pthread_t and takes its name
 *	function, error hook
 *	destructors	of thread-specific data; ours comes after the others'
 *	end		out of the list, ended, whoever joins is woken
 *	joined		by pthread_join(), which the first who joins calls
 *
 * So "ended" comes a few instructions before the thread is gone, and joining covers the
 * rest by pthread_join(): after it there is no thread, no stack and no task in /proc.
 *
 * Records, the list and fork are in thread_list.c.
 */

#include <mproc/thread.h>

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/opts.h"
#include "pool/thread.h"

/* With room for the library's own frames: texts, and a log function that prints. */
#define STACK_MIN (UINT64_C(64) << 10)
#define STACK_MAX (UINT64_C(1) << 40)

static void (*hook)(mproc_thread *thread, int code, const char *text, void *arg);
static void *hook_arg;
static _Atomic(size_t) stack_size;

/* What the thread's function has returned. */
static void settle(mproc_thread *t, int code, int64_t result)
{
	void (*fn)(mproc_thread * thread, int why, const char *text, void *arg);
	char name[MPROC_THREAD_NAME_SIZE];
	void *arg;
	int was;

	if (code >= 0) {
		t->code = 0;
		t->result = result;
		return;
	}
	was = mproc__threads_lock();
	fn = hook;
	arg = hook_arg;
	if (!*mproc_error_text())
		mproc__fail_errno(code, "thread %s", t->name);
	memcpy(name, t->name, sizeof(name));
	mproc__threads_unlock(was);
	t->code = code;
	snprintf(t->text, sizeof(t->text), "%s", mproc_error_text());
	if (fn)
		fn(t, code, t->text, arg);
	else
		mproc__log("thread %s failed (%d): %.160s", name, code, t->text);
}

struct run {
	mproc_thread *thread;
	bool bound;
};

static void run_end(void *arg)
{
	struct run *run = arg;

	if (!run->bound)
		mproc__thread_end(run->thread);
}

static void *run_thread(void *arg)
{
	struct run run = { .thread = arg };
	mproc_thread *t = arg;
	int64_t result = 0;
	int was, code;

	was = mproc__threads_lock();
	t->tid = gettid();
	t->pthread = pthread_self();
	mproc__thread_name_publish(t);
	pthread_cond_broadcast(&t->changed);
	mproc__threads_unlock(was);
	run.bound = mproc__thread_bind(t);
	/* What it is if it does not come back from its function. */
	t->code = -ECANCELED;
	snprintf(t->text, sizeof(t->text), "thread %" PRIu64 " ended by pthread_exit()", t->ident);
	pthread_cleanup_push(run_end, &run);
	code = t->fn(t->arg, &result);
	settle(t, code, result);
	pthread_cleanup_pop(1);
	return NULL;
}

/* Return: bytes in whole pages, 0 for the default, or SIZE_MAX if it is out of range. */
static size_t stack_round(size_t size)
{
	long page = sysconf(_SC_PAGESIZE), min = sysconf(_SC_THREAD_STACK_MIN);

	if (size == 0)
		return 0;
	if (size < STACK_MIN || size > STACK_MAX || (min > 0 && size < (size_t)min))
		return SIZE_MAX;
	return (size + (size_t)page - 1) & ~((size_t)page - 1);
}

static int stack_fail(const char *what, size_t size)
{
	return mproc__fail(-EINVAL, "%s: a stack of %zu bytes, 64 KiB to 1 TiB can be had", what,
			   size);
}

size_t mproc_thread_stack_size(void)
{
	return atomic_load_explicit(&stack_size, memory_order_relaxed);
}

int mproc_thread_set_stack_size(size_t size)
{
	size_t rounded = stack_round(size);

	if (rounded == SIZE_MAX)
		return stack_fail("thread set_stack_size", size);
	atomic_store_explicit(&stack_size, rounded, memory_order_relaxed);
	return 0;
}

static int opts_fill(struct mproc_thread_opts *opts, const struct mproc_thread_opts *given)
{
	int r = mproc__opts_copy("thread start", opts, sizeof(*opts), given);
	size_t rounded;

	if (r == 0 && opts->name)
		r = mproc__thread_name_check("thread start", opts->name);
	if (r < 0)
		return r;
	if (opts->flags & ~(uint32_t)MPROC_THREAD_DAEMON)
		return mproc__fail(-EINVAL, "thread start: unknown flags 0x%" PRIx32, opts->flags);
	rounded = stack_round(opts->stack_size);
	if (rounded == SIZE_MAX)
		return stack_fail("thread start", opts->stack_size);
	opts->stack_size = rounded ? rounded : mproc_thread_stack_size();
	return 0;
}

/* Start the thread whose record is in the list. Return: 0 or a negative errno. */
static int create(mproc_thread *t, size_t stack)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	r = pthread_attr_init(&attr);
	if (r != 0)
		return -r;
	if (stack)
		r = pthread_attr_setstacksize(&attr, stack);
	if (r == 0)
		r = pthread_create(&thread, &attr, run_thread, t);
	pthread_attr_destroy(&attr);
	return -r;
}

int mproc_thread_start(mproc_thread **ret, int (*fn)(void *arg, int64_t *result), void *arg,
		       const struct mproc_thread_opts *opts)
{
	struct mproc_thread_opts filled;
	mproc_thread *t;
	int r, was;

	r = opts_fill(&filled, opts);
	if (r < 0)
		return r;
	r = mproc__threads_init();
	if (r < 0)
		return mproc__fail_errno(r, "thread start: prepare this process");
	t = calloc(1, sizeof(*t));
	if (!t)
		return mproc__fail(-ENOMEM, "thread start: no memory");
	atomic_init(&t->refs, 2);
	t->fn = fn;
	t->arg = arg;
	t->kind = MPROC__THREAD_STARTED;
	t->daemon = filled.flags & MPROC_THREAD_DAEMON;
	mproc__thread_cond_init(t);
	was = mproc__threads_lock();
	mproc__thread_add(t);
	if (filled.name)
		snprintf(t->name, sizeof(t->name), "%s", filled.name);
	else
		snprintf(t->name, sizeof(t->name), "thread-%" PRIu64, t->ident);
	mproc__threads_unlock(was);

	r = create(t, filled.stack_size);
	if (r < 0) {
		was = mproc__threads_lock();
		mproc__thread_remove(t);
		/* Somebody may have found it in the list meanwhile. */
		t->ended = t->joined = true;
		t->code = r;
		snprintf(t->text, sizeof(t->text), "thread %" PRIu64 " never began", t->ident);
		pthread_cond_broadcast(&t->changed);
		mproc__threads_unlock(was);
		mproc_thread_unref(t);
		mproc_thread_unref(t);
		return mproc__fail_errno(r, "thread start: %zu bytes of stack", filled.stack_size);
	}
	if (ret)
		*ret = t;
	else
		mproc_thread_unref(t);
	return 0;
}

/* Under the lock: does @t, for ever, wait for us? */
static bool waits_for_us(const mproc_thread *t)
{
	/* Ends: nobody in this chain could have closed a circle. */
	for (; t; t = t->joins)
		if (t == mproc__thread_self)
			return true;
	return false;
}

static int join_check(mproc_thread *t, int64_t deadline)
{
	/* What came of one that had been joined before the fork is known here as well. */
	if (mproc__thread_is_elsewhere(t) && !t->joined)
		return mproc__fail(-ESRCH, "thread join: %s is of the parent process, not of this",
				   t->name);
	if (t->kind != MPROC__THREAD_STARTED)
		return mproc__fail(-EINVAL, "thread join: %s was not started by us", t->name);
	if (t == mproc__thread_self)
		return mproc__fail(-EDEADLK, "thread join: %s would wait for itself", t->name);
	if (mproc__thread_self && deadline == MPROC_FOREVER && waits_for_us(t))
		return mproc__fail(-EDEADLK, "thread join: %s waits for %s itself", t->name,
				   mproc__thread_self->name);
	return 0;
}

static int join_locked(mproc_thread *t, int64_t deadline)
{
	int r = join_check(t, deadline);

	if (r < 0)
		return r;
	if (mproc__thread_self && deadline == MPROC_FOREVER)
		mproc__thread_self->joins = t;
	while (!t->ended && r == 0)
		r = mproc__thread_wait(t, deadline);
	if (mproc__thread_self)
		mproc__thread_self->joins = NULL;
	if (!t->ended)
		return r;
	while (t->joining)
		pthread_cond_wait(&t->changed, &mproc__threads_mutex);
	if (t->joined)
		return 0;
	t->joining = true;
	pthread_mutex_unlock(&mproc__threads_mutex);
	pthread_join(t->pthread, NULL);
	pthread_mutex_lock(&mproc__threads_mutex);
	t->joining = false;
	t->joined = true;
	pthread_cond_broadcast(&t->changed);
	return 0;
}

int mproc_thread_join(mproc_thread *t, int64_t *ret, int64_t deadline)
{
	int r = mproc__deadline_check("thread join", deadline), was;

	if (r < 0)
		return r;
	was = mproc__threads_lock();
	r = join_locked(t, deadline);
	mproc__threads_unlock(was);
	if (r < 0)
		return r;
	if (ret)
		*ret = t->code < 0 ? t->code : t->result;
	if (t->code == 0)
		return 0;
	(void)mproc__fail(t->code, "%s", t->text);
	return MPROC_THREAD_FAILED;
}

void mproc__threads_join(void)
{
	mproc_thread *t;
	int was;

	for (;;) {
		was = mproc__threads_lock();
		t = mproc__thread_waited_for();
		mproc__threads_unlock(was);
		if (!t)
			return;
		/* One that itself waits for us is not going to end before us. */
		if (mproc_thread_join(t, NULL, MPROC_FOREVER) < 0) {
			was = mproc__threads_lock();
			t->daemon = true;
			mproc__threads_unlock(was);
		}
		mproc_thread_unref(t);
	}
}

void mproc_thread_set_error_hook(void (*fn)(mproc_thread *thread, int code, const char *text,
					    void *arg),
				 void *arg)
{
	int was = mproc__threads_lock();

	hook = fn;
	hook_arg = arg;
	mproc__threads_unlock(was);
}
