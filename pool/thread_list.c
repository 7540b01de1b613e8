/* SPDX-License-Identifier: MIT */

/*
 * The threads we know: their records, the list of those alive, fork
 *
 * The end of a thread is a destructor of thread-specific data, for it must also come after
 * pthread_exit() and in threads that somebody else started. POSIX runs destructors in
 * rounds, as long as there are values, at least four times. Ours sets its value again in
 * the first two and ends the thread in the third: what others do in their first two rounds
 * (give back a thread's identity in segments, which tells its mutexes as inherited; destroy
 * thread-local values, which may use a segment once more) has been done by then.
 *
 * References are counted: the program's, and one that the thread has until its end. Who
 * gives up the last one frees the record, and detaches the thread if nobody has joined it.
 *
 * fork(2) takes the lock, so that a child finds the list whole. It keeps the forking
 * thread alone; the other records, which the program may still refer to, have ended
 * there. Condition variables that others slept on are made anew.
 *
 * A pthread_t means nothing in a child: not even that of a thread which had ended before,
 * since the next thread may be given the same one. So forks are counted, and a record says
 * after which of them its thread began: of an earlier one, nothing but the text is used.
 */

#include <mproc/thread.h>

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ipc/error.h"
#include "pool/thread.h"

/* In which of the rounds of destructors a thread ends. */
#define LAST_ROUND 3u

#define KERNEL_NAME 15u

static_assert(LAST_ROUND < _POSIX_THREAD_DESTRUCTOR_ITERATIONS, "others need a round after us");

pthread_mutex_t mproc__threads_mutex = PTHREAD_MUTEX_INITIALIZER;
static mproc_thread first_main;
static mproc_thread *main_thread = &first_main;
static mproc_thread *first, *last; /* alive */
static size_t n_alive;
static uint64_t n_idents;
static uint64_t n_forks; /* between this process and the one that loaded us */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int init_error;
static pthread_key_t key;

_Thread_local mproc_thread *mproc__thread_self;
static _Thread_local bool is_over; /* this thread has ended, but for destructors of others */

/* No cancellation: a thread that was cancelled in here would keep the lock. */
int mproc__threads_lock(void)
{
	int was;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	pthread_mutex_lock(&mproc__threads_mutex);
	return was;
}

void mproc__threads_unlock(int was)
{
	pthread_mutex_unlock(&mproc__threads_mutex);
	pthread_setcancelstate(was, &was);
}

void mproc__thread_cond_init(mproc_thread *t)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->changed, &attr);
	pthread_condattr_destroy(&attr);
}

bool mproc__thread_is_elsewhere(const mproc_thread *t)
{
	return t->forks != n_forks;
}

void mproc__thread_add(mproc_thread *t)
{
	t->ident = ++n_idents;
	t->forks = n_forks;
	t->next = NULL;
	t->prev = last;
	*(last ? &last->next : &first) = t;
	last = t;
	n_alive++;
}

void mproc__thread_remove(mproc_thread *t)
{
	*(t->prev ? &t->prev->next : &first) = t->next;
	*(t->next ? &t->next->prev : &last) = t->prev;
	t->next = t->prev = NULL;
	n_alive--;
}

mproc_thread *mproc_thread_ref(mproc_thread *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

mproc_thread *mproc_thread_unref(mproc_thread *t)
{
	if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	/* It has ended: nobody but us knows of it any more. */
	if (t->kind == MPROC__THREAD_STARTED && !t->joined && !mproc__thread_is_elsewhere(t))
		pthread_detach(t->pthread);
	/* Who slept on the parent's is not here to leave it. */
	if (!mproc__thread_is_elsewhere(t))
		pthread_cond_destroy(&t->changed);
	if (t != &first_main)
		free(t);
	return NULL;
}

void mproc__thread_end(mproc_thread *t)
{
	int was = mproc__threads_lock();

	t->ended = true;
	mproc__thread_remove(t);
	mproc__thread_self = NULL;
	is_over = true;
	pthread_cond_broadcast(&t->changed);
	mproc__threads_unlock(was);
	mproc_thread_unref(t);
}

static void destructor(void *arg)
{
	mproc_thread *t = arg;

	/* Without memory for that it ends in an earlier round. */
	if (++t->rounds < LAST_ROUND && pthread_setspecific(key, t) == 0)
		return;
	mproc__thread_end(t);
}

int mproc__thread_wait(mproc_thread *t, int64_t deadline)
{
	struct timespec until = { .tv_sec = deadline / 1000000000,
				  .tv_nsec = deadline % 1000000000 };

	if (deadline == MPROC_NOWAIT)
		return -EAGAIN;
	if (deadline == MPROC_FOREVER)
		return -pthread_cond_wait(&t->changed, &mproc__threads_mutex);
	return -pthread_cond_timedwait(&t->changed, &mproc__threads_mutex, &until);
}

/* The record of the main thread: one reference for being alive, one for being the main one. */
static void main_init(mproc_thread *t)
{
	atomic_fetch_add_explicit(&t->refs, 2, memory_order_relaxed);
	t->kind = MPROC__THREAD_MAIN;
	t->tid = getpid();
	t->ended = false;
	snprintf(t->name, sizeof(t->name), "main");
	mproc__thread_cond_init(t);
	mproc__thread_add(t);
}

static void fork_prepare(void)
{
	pthread_mutex_lock(&mproc__threads_mutex);
}

static void fork_parent(void)
{
	pthread_mutex_unlock(&mproc__threads_mutex);
}

static void fork_child(void)
{
	mproc_thread *old = main_thread, *t;

	n_forks++;
	while ((t = first) && (t != mproc__thread_self || t->next)) {
		if (t == mproc__thread_self)
			t = t->next;
		mproc__thread_remove(t);
		t->ended = true;
		mproc_thread_unref(t);
	}
	if (!mproc__thread_self) {
		main_thread = calloc(1, sizeof(*main_thread));
		/* Without memory the former one's record serves the new one. */
		if (!main_thread)
			main_thread = old;
		main_init(main_thread);
		mproc_thread_unref(old);
	} else {
		mproc__thread_self->forks = n_forks;
		/* Who waited for it is not here. */
		mproc__thread_cond_init(mproc__thread_self);
		if (mproc__thread_self != old) {
			main_thread = mproc_thread_ref(mproc__thread_self);
			mproc__thread_self->kind = MPROC__THREAD_MAIN;
			mproc__thread_self->daemon = false;
			mproc_thread_unref(old);
		}
		mproc__thread_self->tid = getpid();
	}
	pthread_mutex_unlock(&mproc__threads_mutex);
}

static void init(void)
{
	main_init(&first_main);
	init_error = -pthread_key_create(&key, destructor);
	if (init_error == 0)
		init_error = -pthread_atfork(fork_prepare, fork_parent, fork_child);
	if (init_error == 0 && atexit(mproc__threads_join) != 0)
		init_error = -ENOMEM;
}

bool mproc__thread_bind(mproc_thread *t)
{
	mproc__thread_self = t;
	return pthread_setspecific(key, t) == 0;
}

int mproc__threads_init(void)
{
	pthread_once(&once, init);
	return init_error;
}

mproc_thread *mproc_thread_current(void)
{
	mproc_thread *t;
	int was;

	if (mproc__thread_self)
		return mproc__thread_self;
	pthread_once(&once, init);
	if (gettid() == getpid() && !is_over) {
		mproc__thread_bind(main_thread);
		return mproc__thread_self;
	}
	t = is_over || init_error ? NULL : calloc(1, sizeof(*t));
	if (t && !mproc__thread_bind(t)) {
		free(t);
		t = mproc__thread_self = NULL;
	}
	if (!t) {
		mproc__fail(-ENOMEM, is_over ? "thread current: this thread has ended"
					     : "thread current: no memory");
		return NULL;
	}
	atomic_init(&t->refs, 1);
	t->kind = MPROC__THREAD_FOREIGN;
	t->daemon = true;
	t->tid = gettid();
	t->pthread = pthread_self();
	mproc__thread_cond_init(t);
	pthread_getname_np(t->pthread, t->name, sizeof(t->name));
	was = mproc__threads_lock();
	mproc__thread_add(t);
	mproc__threads_unlock(was);
	return t;
}

int mproc__thread_name_check(const char *what, const char *name)
{
	size_t len = strnlen(name, MPROC_THREAD_NAME_SIZE);

	if (len > 0 && len < MPROC_THREAD_NAME_SIZE)
		return 0;
	return mproc__fail(-EINVAL, "%s: a name has 1 to %d bytes", what,
			   MPROC_THREAD_NAME_SIZE - 1);
}

void mproc__thread_name_publish(mproc_thread *t)
{
	char name[KERNEL_NAME + 1];
	size_t len = strlen(t->name);

	if (t->kind == MPROC__THREAD_MAIN || !t->tid || t->ended)
		return;
	if (len > KERNEL_NAME) {
		len = KERNEL_NAME;
		/* Not half a character of UTF-8. */
		while (len > 0 && ((unsigned char)t->name[len] & 0xc0) == 0x80)
			len--;
	}
	memcpy(name, t->name, len);
	name[len] = '\0';
	pthread_setname_np(t->pthread, name);
}

int mproc_thread_is_alive(mproc_thread *t)
{
	int was = mproc__threads_lock(), alive = !t->ended;

	mproc__threads_unlock(was);
	return alive;
}

int mproc_thread_is_daemon(mproc_thread *t)
{
	int was = mproc__threads_lock(), daemon = t->daemon;

	mproc__threads_unlock(was);
	return daemon;
}

void mproc_thread_name(mproc_thread *t, char ret[MPROC_THREAD_NAME_SIZE])
{
	int was = mproc__threads_lock();

	memcpy(ret, t->name, MPROC_THREAD_NAME_SIZE);
	mproc__threads_unlock(was);
}

int mproc_thread_set_name(mproc_thread *t, const char *name)
{
	int r = mproc__thread_name_check("thread set_name", name), was;

	if (r < 0)
		return r;
	was = mproc__threads_lock();
	snprintf(t->name, sizeof(t->name), "%s", name);
	mproc__thread_name_publish(t);
	mproc__threads_unlock(was);
	return 0;
}

uint64_t mproc_thread_ident(mproc_thread *t)
{
	return t->ident;
}

int mproc_thread_native_id(mproc_thread *t)
{
	int was = mproc__threads_lock(), tid;

	while (!t->tid && !t->ended)
		pthread_cond_wait(&t->changed, &mproc__threads_mutex);
	tid = t->tid;
	mproc__threads_unlock(was);
	return tid;
}

mproc_thread *mproc_thread_main(void)
{
	pthread_once(&once, init);
	return main_thread;
}

mproc_thread *mproc__thread_waited_for(void)
{
	mproc_thread *t = first;

	while (t && (t->kind != MPROC__THREAD_STARTED || t->daemon || t == mproc__thread_self))
		t = t->next;
	return t ? mproc_thread_ref(t) : NULL;
}

size_t mproc_thread_enumerate(mproc_thread **ret, size_t cap)
{
	size_t n = 0;
	int was;

	pthread_once(&once, init);
	was = mproc__threads_lock();
	for (mproc_thread *t = first; t && n < cap; t = t->next)
		ret[n++] = mproc_thread_ref(t);
	n = n_alive;
	mproc__threads_unlock(was);
	return n;
}

size_t mproc_thread_n_active(void)
{
	return mproc_thread_enumerate(NULL, 0);
}
