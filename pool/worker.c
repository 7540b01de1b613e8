/* SPDX-License-Identifier: MIT */

/*
 * The life of a worker: take a task, run it, return what came of it
 *
 *	take		the message is copied while it is still queued
 *	claim		the slot's word SUBMITTED -> CLAIMED by this place: one CAS
 *	release		the message leaves the queue
 *	run		the task's function, on the private copy
 *	return		one message into the queue of results: its commit is what
 *			makes the task done
 *
 * Killed before the claim: the message is still queued, the next worker takes it.
 * Killed after it and before the return's commit: the slot says who had it, and the
 * parent, who learns of the death from the kernel, gives the task up or puts it
 * again. If the message was not released by then, the next worker takes it, finds
 * that its attempt is over and drops it. Killed after the commit: nothing is lost,
 * since the parent reads the queue of results in order and finds the result before
 * the news of the death.
 *
 * A chunk of a map is one such task: what its items have returned is returned by the one
 * commit, or by none.
 */

#include <mproc/pool.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <mproc/error.h>

#include "ipc/clock.h"
#include "ipc/participant.h"
#include "pipes/queue.h"
#include "pool/pool.h"
#include "pool/task.h"

/* How often an idle worker looks whether its parent is still there. */
#define PARENT_NS INT64_C(250000000)

/* Exit codes of a worker that ends by itself. */
#define EXIT_INIT  121 /* the pool's init() failed */
#define EXIT_QUEUE 122 /* a queue is corrupt */

/* As exec(3) would: handlers of the parent's are gone, what it ignored stays ignored. */
static void reset_signals(const mproc_pool *pool)
{
	struct sigaction action;

	for (int i = 1; i < NSIG; i++)
		if (sigaction(i, NULL, &action) == 0 && action.sa_handler != SIG_IGN &&
		    action.sa_handler != SIG_DFL)
			signal(i, SIG_DFL);
	/* Ctrl-C reaches the whole group; the parent decides what becomes of it. */
	signal(SIGINT, SIG_IGN);
	pthread_sigmask(SIG_SETMASK, &pool->mask, NULL);
}

static _Noreturn void leave(int code)
{
	fflush(NULL);
	_exit(code);
}

/*
 * Take a task and claim it.
 *
 * Return: 1 and a private copy in w->in, 0 there was nothing to claim, or negative.
 */
static int take_task(struct mproc__worker *w, int64_t deadline, size_t *ret_len)
{
	size_t cap = sizeof(struct mproc__task_msg) + w->pool->opts.task_max;
	struct mproc__queue_view view;
	struct mproc__task_msg head;
	_Atomic(uint64_t) *slot;
	uint64_t seen;
	bool claimed = false;
	int r;

	r = mproc__queue_take(w->pool->tasks, w->me, deadline, &view);
	if (r < 0)
		return r;
	if (view.len >= sizeof(head) && view.len <= cap) {
		memcpy(w->in, view.msg, view.len);
		memcpy(&head, w->in, sizeof(head));
		if (head.slot < w->pool->opts.tasks) {
			slot = &w->pool->slots[head.slot];
			seen = mproc__slot_word(head.generation, 0, head.attempt & 4095,
						MPROC__SLOT_SUBMITTED);
			claimed = atomic_compare_exchange_strong_explicit(
				slot, &seen,
				mproc__slot_word(head.generation, w->number, head.attempt & 4095,
						 MPROC__SLOT_CLAIMED),
				memory_order_acq_rel, memory_order_relaxed);
		}
	}
	mproc__queue_release(w->pool->tasks, w->me, &view);
	*ret_len = view.len;
	return claimed;
}

/* Put into the queue of results; the parent may be slow, or gone. */
static int put_done(struct mproc__worker *w, size_t len)
{
	int r;

	do {
		r = mproc_queue_put(w->pool->done, w->out, len, mproc_after_ns(PARENT_NS));
	} while (r == -ETIMEDOUT && getppid() == w->parent);
	return r;
}

static int return_error(struct mproc__worker *w, struct mproc__done_msg *head, int code,
			const char *text)
{
	size_t len = strlen(text);

	head->what = MPROC__DONE_FAILED;
	head->code = code;
	memcpy(w->out, head, sizeof(*head));
	memcpy(w->out + sizeof(*head), text, len);
	return put_done(w, sizeof(*head) + len);
}

static int run_task(struct mproc__worker *w, size_t len)
{
	struct mproc__task_msg task;
	struct mproc__done_msg head = { .pid = (uint32_t)getpid() };
	size_t out_len = 0;
	int r;

	memcpy(&task, w->in, sizeof(task));
	head.generation = task.generation;
	head.slot = task.slot;
	head.attempt = task.attempt;
	atomic_store_explicit(&w->place->task, task.task, memory_order_relaxed);
	atomic_store_explicit(&w->place->running, task.slot + 1, memory_order_relaxed);

	if (task.n_items)
		r = mproc__map_run(task.task, task.n_items, w->in + sizeof(task),
				   len - sizeof(task), w->out + sizeof(head),
				   w->pool->opts.task_max, &out_len);
	else
		r = mproc__task_run_index(task.task, w->in + sizeof(task), len - sizeof(task),
					  w->out + sizeof(head), w->pool->opts.task_max, &out_len);
	if (r < 0) {
		r = return_error(w, &head, r, mproc_error_text());
	} else {
		head.what = MPROC__DONE_RESULT;
		memcpy(w->out, &head, sizeof(head));
		r = put_done(w, sizeof(head) + out_len);
		/* No room for a long result is that task's misfortune alone. */
		if (r == -ENOSPC)
			r = return_error(w, &head, r, mproc_error_text());
	}
	atomic_store_explicit(&w->place->running, 0, memory_order_relaxed);
	if (r == 0)
		atomic_store_explicit(
			&w->place->n_done,
			atomic_load_explicit(&w->place->n_done, memory_order_relaxed) + 1,
			memory_order_relaxed);
	return r;
}

int mproc__worker_step(struct mproc__worker *w, int64_t deadline)
{
	size_t len;
	int r;

	r = take_task(w, deadline, &len);
	return r > 0 ? run_task(w, len) : r;
}

static int work(struct mproc__worker *w)
{
	int r;

	for (;;) {
		r = mproc__worker_step(w, mproc_after_ns(PARENT_NS));
		if (r == -EPIPE)
			return 0;
		if (r < 0 && r != -ETIMEDOUT)
			return EXIT_QUEUE;
		if (r == -ETIMEDOUT && getppid() != w->parent)
			return 0;
	}
}

int mproc__worker_begin(struct mproc__worker *w, mproc_pool *pool, uint32_t place, int parent)
{
	size_t room = pool->opts.task_max;
	uint64_t generation;

	if (room < MPROC__TASK_TEXT)
		room = MPROC__TASK_TEXT;
	*w = (struct mproc__worker){
		.pool = pool,
		.me = mproc__self(pool->shared, "worker"),
		.place = &pool->workers[place],
		.number = place,
		.parent = parent,
		.in = malloc(sizeof(struct mproc__task_msg) + room),
		.out = malloc(sizeof(struct mproc__done_msg) + room),
	};
	if (!w->in || !w->out || !w->me)
		return -ENOMEM;
	/*
	 * Who reaps the parent marks it, then looks for living workers; we say that we
	 * are one, then look for the mark. One of us sees the other, so the queues are
	 * not removed while we use them.
	 */
	generation = mproc__proc_generation(atomic_load(&w->me->range->procs[w->me->proc].st));
	atomic_store(&w->place->process, mproc__proc_ref(w->me->proc, generation));
	atomic_thread_fence(memory_order_seq_cst);
	return mproc__proc_dead(w->me->range, pool->proc, pool->proc_generation) ? -ESRCH : 0;
}

_Noreturn void mproc__worker_main(mproc_pool *pool, uint32_t place, int parent)
{
	struct mproc__worker w;

	/*
	 * The kernel ends us with the thread that forked us, which lives as long as the
	 * pool; it may have ended before we asked.
	 */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	prctl(PR_SET_NAME, "mproc worker");
	reset_signals(pool);
	/* What the parent had buffered is the parent's to write. */
	__fpurge(stdout);
	__fpurge(stderr);

	if (mproc__worker_begin(&w, pool, place, parent) < 0)
		leave(EXIT_INIT);
	if (pool->opts.init && pool->opts.init(pool->opts.arg) != 0)
		leave(EXIT_INIT);
	atomic_store_explicit(&w.place->ready, 1, memory_order_release);
	leave(work(&w));
}
