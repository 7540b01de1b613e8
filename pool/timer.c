/* SPDX-License-Identifier: MIT */

/*
 * Timers: run a function once, later, unless it is cancelled first
 *
 * One thread serves them all. A thread for each, as Python has it, would let functions
 * block, but costs a stack and two context switches for a timer that in most programs is
 * cancelled (a timeout that did not come); a program with ten thousand connections can
 * have ten thousand of these.
 *
 * Those pending are a heap in an array, the next one first; each knows its place, so that
 * cancelling takes log n steps too. Timers of one time are told apart by a number that
 * only grows. A timer goes from state to state under the one lock and never back:
 *
 *	PENDING -> RUNNING -> DONE	by the thread of the timers
 *	PENDING -> CANCELLED		by whoever cancels: exactly one of the two
 *
 * Nobody waits for the thread but who joins, and it never waits for anybody but the clock
 * while there is something to run. It sleeps until the first one's time on a condition
 * variable of CLOCK_MONOTONIC, and is woken when another becomes the first.
 *
 * A timer is freed by the last of two that know it: the handle, and the heap or the
 * thread. A function that ends its thread by pthread_exit() has run; another thread takes
 * over.
 *
 * fork(2) takes the lock. In the child the heap is empty: timers belong to the process that
 * started them. A function that forks is, in the child, the thread of the child's timers.
 */

#include <mproc/timer.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "ipc/clock.h"
#include "ipc/error.h"

enum state {
	PENDING,
	RUNNING,
	DONE,
	CANCELLED,
	ELSEWHERE, /* in the parent process */
};

struct mproc_timer {
	int64_t when;
	uint64_t number;
	void (*fn)(void *arg);
	void *arg;
	size_t at; /* its place in the heap */
	enum state state;
	uint32_t n_refs;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t soonest; /* there is another first one: the thread sleeps on it */
static pthread_cond_t over;    /* one has run or was cancelled */
static mproc_timer **heap;
static size_t n_heap, heap_cap;
static mproc_timer *running;
static uint64_t n_started;
static bool have_thread;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int init_error;

static _Thread_local bool is_mine; /* this is the thread of the timers */

/* No cancellation: a thread that was cancelled in here would keep the lock. */
static int lock_all(void)
{
	int was;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	pthread_mutex_lock(&lock);
	return was;
}

static void unlock_all(int was)
{
	pthread_mutex_unlock(&lock);
	pthread_setcancelstate(was, &was);
}

static bool is_before(const mproc_timer *a, const mproc_timer *b)
{
	return a->when < b->when || (a->when == b->when && a->number < b->number);
}

static void heap_set(size_t at, mproc_timer *timer)
{
	heap[at] = timer;
	timer->at = at;
}

/* Put @timer where it belongs, from the hole at @at on. */
static void heap_settle(size_t at, mproc_timer *timer)
{
	size_t next;

	while (at > 0 && is_before(timer, heap[(at - 1) / 2])) {
		heap_set(at, heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	while ((next = 2 * at + 1) < n_heap) {
		if (next + 1 < n_heap && is_before(heap[next + 1], heap[next]))
			next++;
		if (!is_before(heap[next], timer))
			break;
		heap_set(at, heap[next]);
		at = next;
	}
	heap_set(at, timer);
}

static int heap_add(mproc_timer *timer)
{
	size_t cap = heap_cap ? 2 * heap_cap : 64;
	mproc_timer **larger;

	if (n_heap == heap_cap) {
		larger = realloc(heap, cap * sizeof(*heap));
		if (!larger)
			return mproc__fail(-ENOMEM, "timer start: no memory for %zu timers", cap);
		heap = larger;
		heap_cap = cap;
	}
	n_heap++;
	heap_settle(n_heap - 1, timer);
	return 0;
}

static void heap_remove(mproc_timer *timer)
{
	mproc_timer *last = heap[--n_heap];

	if (last != timer)
		heap_settle(timer->at, last);
}

static void unref(mproc_timer *timer)
{
	if (--timer->n_refs == 0)
		free(timer);
}

/* Under the lock: it is not going to run any more. */
static void finish(mproc_timer *timer, enum state state)
{
	timer->state = state;
	pthread_cond_broadcast(&over);
	unref(timer);
}

/* Under the lock. */
static void conds_init(void)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&soonest, &attr);
	pthread_cond_init(&over, &attr);
	pthread_condattr_destroy(&attr);
}

static void fork_prepare(void)
{
	pthread_mutex_lock(&lock);
}

static void fork_parent(void)
{
	pthread_mutex_unlock(&lock);
}

static void fork_child(void)
{
	/* Who slept on them is not here. */
	conds_init();
	while (n_heap > 0) {
		heap[--n_heap]->state = ELSEWHERE;
		unref(heap[n_heap]);
	}
	if (!is_mine) {
		if (running) {
			running->state = ELSEWHERE;
			unref(running);
		}
		running = NULL;
		have_thread = false;
	}
	pthread_mutex_unlock(&lock);
}

static void init(void)
{
	conds_init();
	init_error = -pthread_atfork(fork_prepare, fork_parent, fork_child);
}

static int wait_until(pthread_cond_t *cond, int64_t when)
{
	struct timespec until = { .tv_sec = when / 1000000000, .tv_nsec = when % 1000000000 };

	if (when == MPROC_FOREVER)
		return -pthread_cond_wait(cond, &lock);
	return -pthread_cond_timedwait(cond, &lock, &until);
}

static int start_thread(void);

/* A function did not come back: it has run, and this thread ends. */
static void run_is_over(void *arg)
{
	size_t n_left = 0;

	(void)arg;
	pthread_mutex_lock(&lock);
	finish(running, DONE);
	running = NULL;
	is_mine = false;
	have_thread = n_heap > 0 && start_thread() == 0;
	if (!have_thread)
		n_left = n_heap;
	pthread_mutex_unlock(&lock);
	if (n_left > 0)
		mproc__log("timer: no thread for %zu timers until another is started", n_left);
}

/* Under the lock, which is let go of meanwhile. */
static void run_first(void)
{
	running = heap[0];
	heap_remove(running);
	running->state = RUNNING;
	pthread_mutex_unlock(&lock);
	pthread_cleanup_push(run_is_over, NULL);
	running->fn(running->arg);
	pthread_cleanup_pop(0);
	pthread_mutex_lock(&lock);
	finish(running, DONE);
	running = NULL;
}

static void *serve(void *arg)
{
	int was;

	is_mine = true;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	pthread_setname_np(pthread_self(), "mproc timer");
	pthread_mutex_lock(&lock);
	for (;;) {
		if (n_heap == 0)
			pthread_cond_wait(&soonest, &lock);
		else if (mproc_now() < heap[0]->when)
			wait_until(&soonest, heap[0]->when);
		else
			run_first();
	}
	return arg;
}

/* Under the lock. Return: 0 or a negative errno. */
static int start_thread(void)
{
	sigset_t all, was;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	r = pthread_attr_init(&attr);
	if (r != 0)
		return -r;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &was);
	r = pthread_create(&thread, &attr, serve, NULL);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

/* Under the lock. */
static int arm(mproc_timer **ret, mproc_timer *timer)
{
	int r = heap_add(timer);

	if (r < 0)
		return r;
	if (!have_thread) {
		r = start_thread();
		if (r < 0) {
			heap_remove(timer);
			return mproc__fail_errno(r, "timer start: start the thread of the timers");
		}
		have_thread = true;
	}
	timer->n_refs = 1 + (ret != NULL);
	if (ret)
		*ret = timer;
	if (heap[0] == timer)
		pthread_cond_signal(&soonest);
	return 0;
}

int mproc_timer_start(mproc_timer **ret, int64_t when, void (*fn)(void *arg), void *arg)
{
	int r = mproc__deadline_check("timer start", when), was;
	mproc_timer *timer;

	if (r < 0)
		return r;
	pthread_once(&once, init);
	if (init_error < 0)
		return mproc__fail_errno(init_error, "timer start: prepare this process");
	timer = calloc(1, sizeof(*timer));
	if (!timer)
		return mproc__fail(-ENOMEM, "timer start: no memory");
	timer->when = when;
	timer->fn = fn;
	timer->arg = arg;
	was = lock_all();
	timer->number = ++n_started;
	r = arm(ret, timer);
	unlock_all(was);
	if (r < 0)
		free(timer);
	return r;
}

static int is_elsewhere(const char *what)
{
	return mproc__fail(-ESRCH, "%s: the timer is of the parent process, not of this", what);
}

int mproc_timer_cancel(mproc_timer *timer)
{
	int was = lock_all(), r = 0;

	if (timer->state == ELSEWHERE) {
		r = is_elsewhere("timer cancel");
	} else if (timer->state == PENDING) {
		heap_remove(timer);
		finish(timer, CANCELLED);
		r = 1;
	}
	unlock_all(was);
	return r;
}

/* Under the lock. */
static int join_locked(mproc_timer *timer, int64_t deadline)
{
	int r = 0;

	while (timer->state == PENDING || timer->state == RUNNING) {
		if (is_mine)
			return mproc__fail(
				-EDEADLK, "timer join: no timer runs before this function returns");
		if (deadline == MPROC_NOWAIT)
			return -EAGAIN;
		if (r < 0)
			return r;
		r = wait_until(&over, deadline);
	}
	if (timer->state == ELSEWHERE)
		return is_elsewhere("timer join");
	return timer->state == CANCELLED ? MPROC_TIMER_CANCELLED : 0;
}

int mproc_timer_join(mproc_timer *timer, int64_t deadline)
{
	int r = mproc__deadline_check("timer join", deadline), was;

	if (r < 0)
		return r;
	was = lock_all();
	r = join_locked(timer, deadline);
	unlock_all(was);
	return r;
}

mproc_timer *mproc_timer_close(mproc_timer *timer)
{
	int was;

	if (!timer)
		return NULL;
	was = lock_all();
	unref(timer);
	unlock_all(was);
	return NULL;
}
