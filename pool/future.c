/* SPDX-License-Identifier: MIT */

/*
 * Futures: what will have come of a task
 *
 * A future is private memory of the process that submitted. Results arrive as
 * messages in one queue for the whole pool. Of all threads that wait, one at a
 * time is the collector: he sleeps in that queue, takes in whatever comes, for
 * whomever, and then wakes the others, who look at their own futures and of whom
 * one collects next. So nobody needs a thread for it, and a result is taken in by
 * the first one who waits for anything.
 *
 * A message names slot, generation and attempt. It counts only if the future in
 * that slot still has that generation and attempt: news of a death that come after
 * a result, or after another attempt was begun, are dropped.
 */

#include <mproc/future.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "pool/pool.h"
#include "pool/task.h"

/* How long the collector sleeps while something waits to be put again. */
#define RETRY_NS INT64_C(1000000)

mproc_future *mproc__future_new(mproc_pool *pool, const struct mproc_task *task)
{
	mproc_future *future = malloc(sizeof(*future));

	if (!future)
		return NULL;
	/* All but the room for a short result and an error. */
	memset(future, 0, offsetof(mproc_future, small));
	atomic_init(&future->refs, 1);
	future->pool = pool;
	future->task = task;
	atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
	return future;
}

mproc_future *mproc_future_ref(mproc_future *future)
{
	atomic_fetch_add_explicit(&future->refs, 1, memory_order_relaxed);
	return future;
}

static void iter_leave(mproc_future *future)
{
	struct mproc_future_iter *iter = future->iter;
	mproc_future **link, *last = NULL;

	if (!iter)
		return;
	future->iter = NULL;
	if (!future->done) {
		iter->n_pending--;
		return;
	}
	for (link = &iter->first; *link && *link != future; link = &(*link)->next)
		last = *link;
	if (!*link)
		return;
	*link = future->next;
	if (iter->last == future)
		iter->last = last;
}

static void future_free(mproc_future *future)
{
	mproc__task_value_free(future->value);
	if (future->bytes != future->small)
		free(future->bytes);
	free(future->msg);
	mproc__pool_unref(future->pool);
	free(future);
}

mproc_future *mproc_future_unref(mproc_future *future)
{
	if (!future)
		return NULL;
	/* Nobody can put it into an iterator now who has no reference of his own. */
	if (atomic_load_explicit(&future->iter, memory_order_relaxed)) {
		pthread_mutex_lock(&future->pool->lock);
		if (atomic_load(&future->refs) == 1u + !future->done)
			iter_leave(future);
		pthread_mutex_unlock(&future->pool->lock);
	}
	if (atomic_fetch_sub_explicit(&future->refs, 1, memory_order_acq_rel) == 1)
		future_free(future);
	return NULL;
}

/* Under the lock: give the slot to the next task. */
static void slot_free(mproc_pool *pool, uint32_t slot, uint64_t generation)
{
	atomic_store_explicit(&pool->slots[slot],
			      mproc__slot_word((generation + 1) & MPROC__SLOT_GENERATION_MASK, 0, 0,
					       MPROC__SLOT_FREE),
			      memory_order_release);
	pool->by_slot[slot] = NULL;
	pool->free_slots[pool->n_free++] = slot;
}

static void count(_Atomic(uint64_t) *counter)
{
	/* Written under the pool's lock alone. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

void mproc__future_finish(mproc_future *future)
{
	mproc_pool *pool = future->pool;
	struct mproc_future_iter *iter = future->iter;

	slot_free(pool, future->slot, future->generation);
	pool->n_pending--;
	count(&pool->shared->n_done);
	if (future->failed)
		count(&pool->shared->n_failed);
	free(future->msg);
	future->msg = NULL;
	future->done = true;
	if (iter) {
		iter->n_pending--;
		if (iter->last)
			iter->last->next = future;
		else
			iter->first = future;
		iter->last = future;
	}
	/* The reference that kept it while a worker had its task. */
	if (atomic_fetch_sub_explicit(&future->refs, 1, memory_order_acq_rel) == 1)
		future_free(future);
}

void mproc__future_fail(mproc_future *future, const struct mproc_future_error *error)
{
	future->error = *error;
	future->failed = true;
	mproc__future_finish(future);
}

void mproc__pool_fail_all(mproc_pool *pool, bool unclaimed, int code, const char *text)
{
	struct mproc_future_error error = { .code = code };

	snprintf(error.text, sizeof(error.text), "%s", text);
	for (uint32_t slot = 0; slot < pool->opts.tasks; slot++) {
		mproc_future *future = pool->by_slot[slot];
		uint64_t word = atomic_load(&pool->slots[slot]);

		if (!future)
			continue;
		/* A worker that claims it in this instant keeps it. */
		if (unclaimed &&
		    (mproc__slot_state(word) != MPROC__SLOT_SUBMITTED ||
		     !atomic_compare_exchange_strong(
			     &pool->slots[slot], &word,
			     mproc__slot_word(future->generation, 0, 0, MPROC__SLOT_FREE))))
			continue;
		error.attempt = unclaimed ? (int)future->attempt - 1 : (int)future->attempt;
		for (mproc_future **link = &pool->retry; *link; link = &(*link)->next_retry)
			if (*link == future) {
				*link = future->next_retry;
				break;
			}
		mproc__future_fail(future, &error);
	}
}

/* Could the worker have done this to itself? */
static bool is_crash(const struct mproc__done_msg *msg)
{
	switch (msg->signal) {
	case 0:
	case SIGSEGV:
	case SIGBUS:
	case SIGILL:
	case SIGFPE:
	case SIGABRT:
	case SIGSYS:
	case SIGTRAP:
	case SIGXCPU:
	case SIGXFSZ:
		return true;
	default:
		return false;
	}
}

/* Put the message of another attempt. Return: false if there was no room. */
static bool put_again(mproc_pool *pool, mproc_future *future)
{
	return mproc_queue_put(pool->tasks, future->msg, future->msg_len, MPROC_NOWAIT) != -EAGAIN;
}

/* Under the lock: begin another attempt if the options allow. Return: whether. */
static bool try_again(mproc_pool *pool, mproc_future *future, const struct mproc__done_msg *msg)
{
	struct mproc__task_msg *head = future->msg;
	bool crash = is_crash(msg);
	uint32_t *n = crash ? &future->n_crashed : &future->n_killed;
	uint32_t limit = crash ? pool->opts.retry_crashed : pool->opts.retry_killed;

	if (!head || (limit != MPROC_POOL_UNLIMITED && *n >= limit))
		return false;
	if (atomic_load(&pool->state) == MPROC__POOL_BROKEN)
		return false;
	++*n;
	future->attempt++;
	head->attempt = future->attempt & MPROC__SLOT_ATTEMPT_MAX;
	count(&pool->shared->n_retried);
	/* Submitted before it is queued: a worker must find it so. */
	atomic_store_explicit(
		&pool->slots[future->slot],
		mproc__slot_word(future->generation, 0, head->attempt, MPROC__SLOT_SUBMITTED),
		memory_order_release);
	if (!put_again(pool, future)) {
		future->next_retry = pool->retry;
		pool->retry = future;
	}
	return true;
}

static void take_death(mproc_pool *pool, mproc_future *future, const struct mproc__done_msg *msg)
{
	struct mproc_future_error error = {
		.code = -ESRCH,
		.pid = (int)msg->pid,
		.signal = msg->signal,
		.exit_code = msg->exit_code,
		.core = msg->core != 0,
		.attempt = (int)future->attempt,
	};

	if (try_again(pool, future, msg))
		return;
	if (msg->signal)
		snprintf(error.text, sizeof(error.text),
			 "task %s: worker %d was killed by signal %d (%s)%s in attempt %d",
			 mproc__task_name(future->task), error.pid, msg->signal,
			 strsignal(msg->signal), msg->core ? ", core dumped," : "", error.attempt);
	else
		snprintf(error.text, sizeof(error.text),
			 "task %s: worker %d exited with code %d in attempt %d",
			 mproc__task_name(future->task), error.pid, msg->exit_code, error.attempt);
	mproc__future_fail(future, &error);
}

static void take_failure(mproc_future *future, const struct mproc__done_msg *msg, const char *text,
			 size_t len)
{
	struct mproc_future_error error = {
		.code = msg->code < 0 ? msg->code : -EBADMSG,
		.pid = (int)msg->pid,
		.attempt = (int)future->attempt,
	};

	if (len >= sizeof(error.text))
		len = sizeof(error.text) - 1;
	memcpy(error.text, text, len);
	mproc__future_fail(future, &error);
}

static void take_result(mproc_future *future, const struct mproc__done_msg *msg, const void *bytes,
			size_t len)
{
	future->bytes = len <= sizeof(future->small) ? future->small : malloc(len);
	if (!future->bytes) {
		struct mproc__done_msg failed = *msg;

		failed.code = -ENOMEM;
		take_failure(future, &failed, "no memory for a result", 22);
		return;
	}
	memcpy(future->bytes, bytes, len);
	future->len = len;
	mproc__future_finish(future);
}

/* Under the lock: one message from the queue of results. */
static void take_in(mproc_pool *pool, const void *bytes, size_t len)
{
	struct mproc__done_msg msg;
	mproc_future *future;

	if (len < sizeof(msg))
		return;
	memcpy(&msg, bytes, sizeof(msg));
	if (msg.what == MPROC__DONE_NUDGE || msg.slot >= pool->opts.tasks)
		return;
	future = pool->by_slot[msg.slot];
	if (!future || future->generation != msg.generation ||
	    (future->attempt & MPROC__SLOT_ATTEMPT_MAX) != msg.attempt)
		return;
	bytes = (const char *)bytes + sizeof(msg);
	len -= sizeof(msg);
	if (msg.what == MPROC__DONE_RESULT)
		take_result(future, &msg, bytes, len);
	else if (msg.what == MPROC__DONE_FAILED)
		take_failure(future, &msg, bytes, len);
	else if (msg.what == MPROC__DONE_DIED)
		take_death(pool, future, &msg);
}

int mproc__pool_follow(mproc_pool *pool, int64_t deadline)
{
	struct timespec until = { .tv_sec = deadline / 1000000000,
				  .tv_nsec = deadline % 1000000000 };
	int r = 0;

	if (deadline == MPROC_NOWAIT)
		return -EAGAIN;
	pool->n_followers++;
	if (deadline == MPROC_FOREVER)
		pthread_cond_wait(&pool->cond, &pool->lock);
	else
		r = -pthread_cond_timedwait(&pool->cond, &pool->lock, &until);
	pool->n_followers--;
	return r;
}

int mproc__pool_collect(mproc_pool *pool, int64_t deadline)
{
	struct iovec msgs[MPROC__POOL_BATCH];
	mproc_future **link;
	int64_t until = deadline, soon;
	int n;

	if (pool->collecting)
		return mproc__pool_follow(pool, deadline);
	pool->collecting = true;
	if (pool->retry && deadline != MPROC_NOWAIT) {
		soon = mproc_after_ns(RETRY_NS);
		until = soon < deadline ? soon : deadline;
	}
	pthread_mutex_unlock(&pool->lock);
	n = mproc_queue_get_many(pool->done, pool->buf, pool->buf_cap, msgs, MPROC__POOL_BATCH,
				 until);
	pthread_mutex_lock(&pool->lock);
	pool->collecting = false;
	for (int i = 0; i < n; i++)
		take_in(pool, msgs[i].iov_base, msgs[i].iov_len);
	for (link = &pool->retry; *link;) {
		if (!put_again(pool, *link))
			break;
		*link = (*link)->next_retry;
	}
	if (pool->n_followers)
		pthread_cond_broadcast(&pool->cond);
	if (n == -ETIMEDOUT && until != deadline)
		return 0;
	return n < 0 ? n : 0;
}

/* Under the lock: collect until @ready says so. Return: 0 or a negative errno. */
static int collect_until(mproc_pool *pool, bool (*ready)(void *arg), void *arg, int64_t deadline)
{
	int r;

	while (!ready(arg)) {
		r = mproc__pool_collect(pool, deadline);
		if (r < 0)
			return ready(arg) ? 0 : r;
	}
	return 0;
}

static bool is_done(void *arg)
{
	return ((mproc_future *)arg)->done;
}

int mproc_future_done(mproc_future *future)
{
	struct mproc__self *me;
	int r;

	r = mproc__pool_check(future->pool, "future done", &me);
	if (r < 0)
		return r;
	pthread_mutex_lock(&future->pool->lock);
	collect_until(future->pool, is_done, future, MPROC_NOWAIT);
	r = future->done;
	pthread_mutex_unlock(&future->pool->lock);
	return r;
}

int mproc_future_error(mproc_future *future, struct mproc_future_error *ret)
{
	int r = mproc_future_done(future);

	if (r <= 0)
		return r < 0 ? r : -EAGAIN;
	if (future->failed) {
		*ret = future->error;
	} else {
		memset(ret, 0, sizeof(*ret));
		ret->attempt = (int)future->attempt;
	}
	return future->failed;
}

int mproc_future_result(mproc_future *future, const struct mproc_task *task, void *ret,
			int64_t deadline)
{
	mproc_pool *pool = future->pool;
	struct mproc__self *me;
	int r;

	if (task != future->task)
		return mproc__fail(-EINVAL, "future result: the future is of task %s, not of %s",
				   mproc__task_name(future->task), mproc__task_name(task));
	r = mproc__deadline_check("future result", deadline);
	if (r == 0)
		r = mproc__pool_check(pool, "future result", &me);
	if (r < 0)
		return r;
	pthread_mutex_lock(&pool->lock);
	r = collect_until(pool, is_done, future, deadline);
	if (r == 0 && future->failed)
		r = mproc__fail(future->error.code, "%s", future->error.text);
	else if (r == 0)
		r = mproc__task_value(task, future->bytes, future->len, &future->value, ret);
	pthread_mutex_unlock(&pool->lock);
	return r;
}

struct several {
	mproc_future *const *futures;
	size_t n, n_done;
	enum mproc_future_when when;
};

static bool are_done(void *arg)
{
	struct several *s = arg;
	bool failed = false;

	/* What was done stays done: go on from the first that was not. */
	if (s->when == MPROC_FUTURE_ALL) {
		while (s->n_done < s->n && s->futures[s->n_done]->done)
			s->n_done++;
		return s->n_done == s->n;
	}
	s->n_done = 0;
	for (size_t i = 0; i < s->n; i++) {
		s->n_done += s->futures[i]->done;
		failed |= s->futures[i]->done && s->futures[i]->failed;
	}
	if (s->n_done == s->n)
		return true;
	return s->when == MPROC_FUTURE_FIRST ? s->n_done > 0 : failed;
}

int mproc_future_wait(mproc_future *const *futures, size_t n, enum mproc_future_when when,
		      int64_t deadline)
{
	struct several several = { .futures = futures, .n = n, .when = when };
	struct mproc__self *me;
	mproc_pool *pool;
	int r;

	if (n > INT32_MAX || (unsigned)when > MPROC_FUTURE_FIRST_ERROR)
		return mproc__fail(-EINVAL, "future wait: %zu futures, condition %d", n, (int)when);
	r = mproc__deadline_check("future wait", deadline);
	if (r < 0 || n == 0)
		return r;
	pool = futures[0]->pool;
	for (size_t i = 1; i < n; i++)
		if (futures[i]->pool != pool)
			return mproc__fail(-EINVAL, "future wait: future %zu is of another pool",
					   i);
	r = mproc__pool_check(pool, "future wait", &me);
	if (r < 0)
		return r;
	pthread_mutex_lock(&pool->lock);
	r = collect_until(pool, are_done, &several, deadline);
	pthread_mutex_unlock(&pool->lock);
	return r < 0 ? r : (int)several.n_done;
}

int mproc_future_iter_add(struct mproc_future_iter *iter, mproc_future *future)
{
	mproc_pool *pool = future->pool;
	struct mproc__self *me;
	int r;

	r = mproc__pool_check(pool, "future iter_add", &me);
	if (r < 0)
		return r;
	if (iter->pool && iter->pool != pool)
		return mproc__fail(-EINVAL, "future iter_add: the future is of another pool");
	pthread_mutex_lock(&pool->lock);
	if (future->iter) {
		r = mproc__fail(-EBUSY, "future iter_add: the future is in an iterator already");
	} else {
		iter->pool = pool;
		future->iter = iter;
		future->next = NULL;
		if (!future->done) {
			iter->n_pending++;
		} else if (iter->last) {
			iter->last->next = future;
			iter->last = future;
		} else {
			iter->first = iter->last = future;
		}
	}
	pthread_mutex_unlock(&pool->lock);
	return r;
}

static bool iter_has_next(void *arg)
{
	struct mproc_future_iter *iter = arg;

	return iter->first || !iter->n_pending;
}

int mproc_future_as_completed(struct mproc_future_iter *iter, mproc_future **ret, int64_t deadline)
{
	struct mproc__self *me;
	int r;

	r = mproc__deadline_check("future as_completed", deadline);
	if (r < 0 || !iter->pool)
		return r;
	r = mproc__pool_check(iter->pool, "future as_completed", &me);
	if (r < 0)
		return r;
	pthread_mutex_lock(&iter->pool->lock);
	r = collect_until(iter->pool, iter_has_next, iter, deadline);
	if (r == 0 && iter->first) {
		mproc_future *future = iter->first;

		iter->first = future->next;
		if (!iter->first)
			iter->last = NULL;
		future->iter = NULL;
		*ret = future;
		r = 1;
	}
	pthread_mutex_unlock(&iter->pool->lock);
	return r;
}
