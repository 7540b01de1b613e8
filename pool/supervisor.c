/* SPDX-License-Identifier: MIT */

/*
 * The thread that forks workers and buries them
 *
 * It lives as long as the pool, so that the kernel may tie the workers' lives to
 * it, and it does nothing but wait: for the end of a worker (a pidfd each) and for
 * the end of the pool (an eventfd). All signals are blocked in it.
 *
 * A worker has died. What it had committed to the queue of results is there. For
 * every slot it had claimed a message follows into the same queue, so whoever
 * collects finds a result first, if there was one, and drops the news then. Its
 * record in the segment is reaped, and another process takes its place.
 *
 * The host's own wait(2) may steal the status of our child; the pidfd still says
 * that it has ended, and how is then unknown.
 */

#include <mproc/pool.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/participant.h"
#include "pool/pool.h"

#define RETRY_MS       5   /* to give up a dead worker's task when the queue was full */
#define FORK_RETRY_MS  100 /* to fork when the system refused */
#define STILLBORN_MAX  8   /* and two for each place: the pool is broken then */
#define MPROC__P_PIDFD 3

static bool place_spawn(mproc_pool *pool, uint32_t i)
{
	struct mproc__place *place = &pool->places[i];
	struct mproc__pool_worker *worker = &pool->workers[i];
	int parent = getpid(), pid;

	atomic_store_explicit(&worker->ready, 0, memory_order_relaxed);
	atomic_store_explicit(&worker->running, 0, memory_order_relaxed);
	atomic_store_explicit(&worker->since, (uint64_t)mproc__clock_real(), memory_order_relaxed);
	pid = fork();
	if (pid < 0)
		return false;
	if (pid == 0) {
		for (uint32_t k = 0; k < pool->opts.workers; k++)
			if (pool->places[k].pid)
				close(pool->places[k].pidfd);
		close(pool->wake_fd);
		mproc__worker_main(pool, i, parent);
	}
	memset(place, 0, sizeof(*place));
	/* Our child stays ours until we wait for it: the number cannot be another's. */
	place->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	place->pid = pid;
	atomic_store_explicit(&worker->pid, (uint32_t)pid, memory_order_relaxed);
	return true;
}

/* How a worker has ended, if we can know. */
static void place_wait(struct mproc__place *place)
{
	siginfo_t info = { 0 };

	place->dead = true;
	if (place->pidfd >= 0) {
		if (waitid((idtype_t)MPROC__P_PIDFD, (id_t)place->pidfd, &info, WEXITED) < 0)
			info.si_code = 0;
		close(place->pidfd);
	} else if (waitid(P_PID, (id_t)place->pid, &info, WEXITED) < 0) {
		info.si_code = 0;
	}
	if (info.si_code == CLD_EXITED)
		place->exit_code = info.si_status;
	else if (info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED)
		place->signal = info.si_status;
	else
		place->exit_code = -1;
	place->core = info.si_code == CLD_DUMPED;
}

bool mproc__place_give_up(mproc_pool *pool, uint32_t i)
{
	struct mproc__place *place = &pool->places[i];

	for (uint32_t slot = 0; slot < pool->opts.tasks; slot++) {
		uint64_t word = atomic_load_explicit(&pool->slots[slot], memory_order_acquire);
		struct mproc__done_msg msg = {
			.generation = mproc__slot_generation(word),
			.slot = slot,
			.attempt = mproc__slot_attempt(word),
			.what = MPROC__DONE_DIED,
			.pid = (uint32_t)place->pid,
			.signal = place->signal,
			.exit_code = place->exit_code,
			.core = (uint32_t)place->core,
		};

		if (mproc__slot_state(word) != MPROC__SLOT_CLAIMED || mproc__slot_worker(word) != i)
			continue;
		/* Said twice, if a later slot finds no room: the second news is dropped. */
		if (mproc_queue_put(pool->done, &msg, sizeof(msg), MPROC_NOWAIT) == -EAGAIN)
			return false;
	}
	return true;
}

/* Count a death before anybody hears of it from his future. */
static void place_count(mproc_pool *pool, uint32_t i)
{
	struct mproc__place *place = &pool->places[i];
	struct mproc__pool_worker *worker = &pool->workers[i];
	bool ready = atomic_load_explicit(&worker->ready, memory_order_relaxed);

	if (atomic_load(&pool->ending) && !place->signal && !place->exit_code)
		return;
	atomic_fetch_add_explicit(&worker->n_deaths, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&pool->shared->n_deaths, 1, memory_order_relaxed);
	pool->n_stillborn = ready ? 0 : pool->n_stillborn + 1;
	if (place->signal)
		mproc__log("pool: worker %d in place %" PRIu32 " was killed by signal %d (%s)",
			   place->pid, i, place->signal, strsignal(place->signal));
	else
		mproc__log("pool: worker %d in place %" PRIu32 " exited with code %d", place->pid,
			   i, place->exit_code);
}

static void place_bury(mproc_pool *pool, uint32_t i)
{
	/*
	 * Nobody may be waiting for a future now, and a task that is to be tried again
	 * should not wait for that. Whoever is collecting takes the news in himself.
	 */
	pthread_mutex_lock(&pool->lock);
	while (!pool->collecting && mproc__pool_collect(pool, MPROC_NOWAIT) == 0)
		;
	pthread_mutex_unlock(&pool->lock);
	mproc__reap_all(pool->segment->range);
	atomic_store_explicit(&pool->workers[i].pid, 0, memory_order_relaxed);
	memset(&pool->places[i], 0, sizeof(pool->places[i]));
}

/* The workers cannot be kept alive: whoever waits is told. */
static void break_pool(mproc_pool *pool, const char *why)
{
	struct mproc__done_msg nudge = { .what = MPROC__DONE_NUDGE };

	mproc__log("pool: broken: %s", why);
	pthread_mutex_lock(&pool->lock);
	atomic_store(&pool->state, MPROC__POOL_BROKEN);
	atomic_store_explicit(&pool->shared->state, MPROC__POOL_BROKEN, memory_order_relaxed);
	snprintf(pool->why, sizeof(pool->why), "%s", why);
	/* What a living worker has claimed may still come to a good end. */
	mproc__pool_fail_all(pool, true, -ESRCH, why);
	pthread_cond_broadcast(&pool->cond);
	pthread_mutex_unlock(&pool->lock);
	/* Full: then nobody sleeps there. */
	if (mproc_queue_put(pool->done, &nudge, sizeof(nudge), MPROC_NOWAIT) < 0)
		return;
}

/* Wait for something to happen, at most @timeout ms (-1: for ever). */
static void supervisor_poll(mproc_pool *pool, struct pollfd *fds, int timeout)
{
	uint32_t n = pool->opts.workers;
	uint64_t count;

	for (uint32_t i = 0; i < n; i++) {
		struct mproc__place *place = &pool->places[i];

		fds[i] = (struct pollfd){ .fd = place->pid && !place->dead ? place->pidfd : -1,
					  .events = POLLIN };
		/* Without a pidfd (the status was stolen at once) we can only ask. */
		if (place->pid && !place->dead && place->pidfd < 0)
			timeout = RETRY_MS;
	}
	fds[n] = (struct pollfd){ .fd = pool->wake_fd, .events = POLLIN };
	poll(fds, n + 1, timeout);
	if (fds[n].revents && read(pool->wake_fd, &count, sizeof(count)) < 0)
		return;
	for (uint32_t i = 0; i < n; i++) {
		struct mproc__place *place = &pool->places[i];

		if (place->pid && !place->dead &&
		    (fds[i].revents || (place->pidfd < 0 && kill(place->pid, 0) < 0))) {
			place_wait(place);
			place_count(pool, i);
		}
	}
}

/* Bury the dead and fill their places. Return: how long to wait for more, ms. */
static int supervisor_tend(mproc_pool *pool, bool *ret_any)
{
	uint32_t ending = atomic_load(&pool->ending);
	int timeout = -1;

	*ret_any = false;
	for (uint32_t i = 0; i < pool->opts.workers; i++) {
		struct mproc__place *place = &pool->places[i];

		if (place->dead) {
			if (mproc__place_give_up(pool, i))
				place_bury(pool, i);
			else
				timeout = RETRY_MS;
		}
		if (!place->pid && !ending && atomic_load(&pool->state) != MPROC__POOL_BROKEN) {
			if (pool->n_stillborn >= STILLBORN_MAX + 2 * pool->opts.workers)
				break_pool(pool, "its workers die before they can begin");
			else if (!place_spawn(pool, i) && timeout < 0)
				timeout = FORK_RETRY_MS;
		}
		if (place->pid && !place->dead && ending == 2)
			kill(place->pid, SIGKILL);
		*ret_any |= place->pid != 0;
	}
	return timeout;
}

static void *supervise(void *arg)
{
	mproc_pool *pool = arg;
	struct pollfd *fds = calloc(pool->opts.workers + 1, sizeof(*fds));
	bool any = true;
	int error = fds ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < pool->opts.workers && !error; i++)
		if (!place_spawn(pool, i))
			error = -errno;
	if (error)
		atomic_store(&pool->ending, 2);
	pthread_mutex_lock(&pool->lock);
	pool->started = true;
	pool->start_error = error;
	pthread_cond_broadcast(&pool->cond);
	pthread_mutex_unlock(&pool->lock);

	while (fds) {
		int timeout = supervisor_tend(pool, &any);

		if (!any && atomic_load(&pool->ending))
			break;
		supervisor_poll(pool, fds, timeout);
	}
	free(fds);
	pthread_mutex_lock(&pool->lock);
	pool->ended = true;
	pthread_cond_broadcast(&pool->cond);
	pthread_mutex_unlock(&pool->lock);
	mproc__pool_unref(pool);
	return NULL;
}

int mproc__supervisor_start(mproc_pool *pool)
{
	sigset_t all;
	int r;

	pool->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->wake_fd < 0)
		return mproc__fail_errno(-errno, "pool create: eventfd");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &pool->mask);
	atomic_fetch_add(&pool->refs, 1);
	r = pthread_create(&pool->thread, NULL, supervise, pool);
	pthread_sigmask(SIG_SETMASK, &pool->mask, NULL);
	if (r != 0) {
		atomic_fetch_sub(&pool->refs, 1);
		close(pool->wake_fd);
		return mproc__fail_errno(-r, "pool create: start a thread");
	}
	pthread_mutex_lock(&pool->lock);
	while (!pool->started)
		pthread_cond_wait(&pool->cond, &pool->lock);
	r = pool->start_error;
	pthread_mutex_unlock(&pool->lock);
	if (r < 0) {
		mproc__supervisor_end(pool, true);
		mproc__supervisor_join(pool);
		return mproc__fail_errno(r, "pool create: fork %" PRIu32 " workers",
					 pool->opts.workers);
	}
	return 0;
}

void mproc__supervisor_end(mproc_pool *pool, bool kill_them)
{
	uint64_t one = 1;

	pthread_mutex_lock(&pool->lock);
	if (!pool->joined) {
		if (atomic_load(&pool->ending) != 2)
			atomic_store(&pool->ending, kill_them ? 2 : 1);
		while (write(pool->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
	}
	pthread_mutex_unlock(&pool->lock);
}

void mproc__supervisor_join(mproc_pool *pool)
{
	bool mine;

	pthread_mutex_lock(&pool->lock);
	mine = !pool->joined;
	pool->joined = true;
	pthread_mutex_unlock(&pool->lock);
	if (!mine)
		return;
	pthread_join(pool->thread, NULL);
	close(pool->wake_fd);
}
