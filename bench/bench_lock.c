/* SPDX-License-Identifier: MIT */

/*
 * Locks: free ones, and ones that several processes want all the time
 *
 * Whoever has the lock adds 1 to a counter beside it that is not atomic. The counter
 * is compared with what the processes did: a lock that lets two in is no peer.
 */

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdalign.h>

#include <mproc/mutex.h>
#include <mproc/segment.h>

#include "bench/bench.h"

struct guarded {
	union {
		mproc_mutex mproc;
		pthread_mutex_t pthread;
		sem_t sem;
		_Atomic(uint64_t) sum;
	} lock;
	volatile uint64_t counter; /* in the same line, as in a struct that has a lock */
};

static void mproc_add(void *arg)
{
	struct guarded *g = arg;

	bench_check(mproc_mutex_lock(&g->lock.mproc, MPROC_FOREVER) == 0);
	g->counter++;
	bench_check(mproc_mutex_unlock(&g->lock.mproc) == 0);
}

static void pthread_add(void *arg)
{
	struct guarded *g = arg;

	bench_check(pthread_mutex_lock(&g->lock.pthread) == 0);
	g->counter++;
	bench_check(pthread_mutex_unlock(&g->lock.pthread) == 0);
}

static void sem_add(void *arg)
{
	struct guarded *g = arg;

	while (sem_wait(&g->lock.sem) < 0)
		bench_check(errno == EINTR);
	g->counter++;
	bench_check(sem_post(&g->lock.sem) == 0);
}

static void atomic_add(void *arg)
{
	struct guarded *g = arg;

	atomic_fetch_add(&g->lock.sum, 1);
}

static int init_mutex(void *object, void *arg)
{
	struct guarded *g = object;

	(void)arg;
	return mproc_mutex_init(&g->lock.mproc, 0);
}

static struct guarded *mproc_guarded(void)
{
	mproc_segment *segment;
	void *object;

	bench_check(mproc_segment_create(&segment, NULL, NULL) == 0);
	bench_check(mproc_segment_object(&object, segment, "guarded", sizeof(struct guarded),
					 init_mutex, NULL) == 1);
	return object;
}

static struct guarded *pthread_guarded(int robust)
{
	struct guarded *g = bench_shared(sizeof(*g));
	pthread_mutexattr_t attr;

	bench_check(pthread_mutexattr_init(&attr) == 0);
	bench_check(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0);
	bench_check(pthread_mutexattr_setrobust(&attr, robust) == 0);
	bench_check(pthread_mutex_init(&g->lock.pthread, &attr) == 0);
	return g;
}

static struct guarded *sem_guarded(void)
{
	struct guarded *g = bench_shared(sizeof(*g));

	bench_check(sem_init(&g->lock.sem, 1, 1) == 0);
	return g;
}

struct work {
	void (*add)(void *arg);
	struct guarded *guarded;
};

static uint64_t add_until(const _Atomic(uint32_t) *stop, void *arg)
{
	const struct work *w = arg;
	uint64_t n = 0;

	for (; !atomic_load_explicit(stop, memory_order_relaxed); n++)
		w->add(w->guarded);
	return n;
}

/* One process: the time of lock and unlock. Several: what they get done together. */
static double run(const struct bench_case *c, void (*add)(void *arg), struct guarded *g)
{
	struct work w = { add, g };
	uint64_t sum;
	double rate;

	if (c->procs == 1) {
		bench_pin(0);
		return bench_call_ns(add, g, 1000);
	}
	rate = bench_rate(c->procs, add_until, &w, &sum);
	bench_check(sum == (add == atomic_add ? atomic_load(&g->lock.sum) : g->counter));
	return rate;
}

static double run_mproc(const struct bench_case *c)
{
	return run(c, mproc_add, mproc_guarded());
}

static double run_robust(const struct bench_case *c)
{
	return run(c, pthread_add, pthread_guarded(PTHREAD_MUTEX_ROBUST));
}

static double run_normal(const struct bench_case *c)
{
	return run(c, pthread_add, pthread_guarded(PTHREAD_MUTEX_STALLED));
}

static double run_sem(const struct bench_case *c)
{
	return run(c, sem_add, sem_guarded());
}

static double run_atomic(const struct bench_case *c)
{
	return run(c, atomic_add, bench_shared(sizeof(struct guarded)));
}

#define FREE   "lock and unlock", "ns"
#define BUSY   "increments", "/s"
#define ROBUST ">= 1x pthread robust"

static const struct bench_case cases[] = {
	{ "mutex", "mproc", "", 0, 1, FREE, "<= 11; " ROBUST, false, run_mproc },
	{ "mutex", "pthread robust", "", 0, 1, FREE, NULL, false, run_robust },
	{ "mutex", "pthread normal", "", 0, 1, FREE, NULL, false, run_normal },
	{ "mutex", "sem_t", "", 0, 1, FREE, NULL, false, run_sem },
	{ "mutex", BENCH_LIMIT, "atomic add", 0, 1, FREE, NULL, false, run_atomic },
	{ "mutex", "mproc", "", 0, 2, BUSY, ">= 30e6; " ROBUST, false, run_mproc },
	{ "mutex", "pthread robust", "", 0, 2, BUSY, NULL, false, run_robust },
	{ "mutex", "pthread normal", "", 0, 2, BUSY, NULL, false, run_normal },
	{ "mutex", "sem_t", "", 0, 2, BUSY, NULL, false, run_sem },
	{ "mutex", BENCH_LIMIT, "atomic add", 0, 2, BUSY, NULL, false, run_atomic },
	{ "mutex", "mproc", "", 0, 4, BUSY, ">= 30e6; " ROBUST, false, run_mproc },
	{ "mutex", "pthread robust", "", 0, 4, BUSY, NULL, false, run_robust },
	{ "mutex", "pthread normal", "", 0, 4, BUSY, NULL, false, run_normal },
	{ "mutex", "sem_t", "", 0, 4, BUSY, NULL, false, run_sem },
	{ "mutex", BENCH_LIMIT, "atomic add", 0, 4, BUSY, NULL, false, run_atomic },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
