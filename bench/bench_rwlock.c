/* SPDX-License-Identifier: MIT */

/*
 * Reading under a lock: alone, and several processes at the same time
 *
 * The limit is what no lock can beat: a look at the thing itself.
 */

#include <pthread.h>

#include <mproc/rwlock.h>
#include <mproc/segment.h>

#include "bench/bench.h"

struct guarded {
	union {
		mproc_rwlock mproc;
		pthread_rwlock_t pthread;
	} lock;
	volatile uint64_t thing;
};

struct work {
	void (*look)(void *arg);
	struct guarded *guarded;
};

static void mproc_look(void *arg)
{
	struct guarded *g = arg;

	bench_check(mproc_rwlock_read_lock(&g->lock.mproc, MPROC_FOREVER) == 0);
	(void)g->thing;
	bench_check(mproc_rwlock_unlock(&g->lock.mproc) == 0);
}

static void mproc_change(void *arg)
{
	struct guarded *g = arg;

	bench_check(mproc_rwlock_write_lock(&g->lock.mproc, MPROC_FOREVER) == 0);
	g->thing++;
	bench_check(mproc_rwlock_unlock(&g->lock.mproc) == 0);
}

static void pthread_look(void *arg)
{
	struct guarded *g = arg;

	bench_check(pthread_rwlock_rdlock(&g->lock.pthread) == 0);
	(void)g->thing;
	bench_check(pthread_rwlock_unlock(&g->lock.pthread) == 0);
}

static void pthread_change(void *arg)
{
	struct guarded *g = arg;

	bench_check(pthread_rwlock_wrlock(&g->lock.pthread) == 0);
	g->thing++;
	bench_check(pthread_rwlock_unlock(&g->lock.pthread) == 0);
}

static void just_look(void *arg)
{
	struct guarded *g = arg;

	(void)g->thing;
}

static int init_rwlock(void *object, void *arg)
{
	struct guarded *g = object;

	(void)arg;
	return mproc_rwlock_init(&g->lock.mproc, 0);
}

static struct guarded *mproc_guarded(void)
{
	mproc_segment *segment;
	void *object;

	bench_check(mproc_segment_create(&segment, NULL, NULL) == 0);
	bench_check(mproc_segment_object(&object, segment, "guarded", sizeof(struct guarded),
					 init_rwlock, NULL) == 1);
	return object;
}

static struct guarded *pthread_guarded(void)
{
	struct guarded *g = bench_shared(sizeof(*g));
	pthread_rwlockattr_t attr;

	bench_check(pthread_rwlockattr_init(&attr) == 0);
	bench_check(pthread_rwlockattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0);
	bench_check(pthread_rwlock_init(&g->lock.pthread, &attr) == 0);
	return g;
}

static uint64_t look_until(const _Atomic(uint32_t) *stop, void *arg)
{
	const struct work *w = arg;
	uint64_t n = 0;

	for (; !atomic_load_explicit(stop, memory_order_relaxed); n++)
		w->look(w->guarded);
	return n;
}

static double run(const struct bench_case *c, void (*look)(void *arg), struct guarded *g)
{
	struct work w = { look, g };

	if (c->procs > 1)
		return bench_rate(c->procs, look_until, &w, NULL);
	bench_pin(0);
	return bench_call_ns(look, g, 1000);
}

static double run_mproc(const struct bench_case *c)
{
	return run(c, mproc_look, mproc_guarded());
}

static double run_pthread(const struct bench_case *c)
{
	return run(c, pthread_look, pthread_guarded());
}

static double run_limit(const struct bench_case *c)
{
	return run(c, just_look, bench_shared(sizeof(struct guarded)));
}

static double run_mproc_change(const struct bench_case *c)
{
	return run(c, mproc_change, mproc_guarded());
}

static double run_pthread_change(const struct bench_case *c)
{
	return run(c, pthread_change, pthread_guarded());
}

#define FREE   "lock and unlock", "ns"
#define BUSY   "reads", "/s"
#define BEFORE ">= 2x pthread"

static const struct bench_case cases[] = {
	{ "rwlock read", "mproc", "", 0, 1, FREE, "<= 8", false, run_mproc },
	{ "rwlock read", "pthread", "", 0, 1, FREE, NULL, false, run_pthread },
	{ "rwlock read", BENCH_LIMIT, "no lock", 0, 1, FREE, NULL, false, run_limit },
	{ "rwlock read", "mproc", "", 0, 2, BUSY, BEFORE, false, run_mproc },
	{ "rwlock read", "pthread", "", 0, 2, BUSY, NULL, false, run_pthread },
	{ "rwlock read", "mproc", "", 0, 4, BUSY, BEFORE, false, run_mproc },
	{ "rwlock read", "pthread", "", 0, 4, BUSY, NULL, false, run_pthread },
	{ "rwlock write", "mproc", "", 0, 1, FREE, NULL, false, run_mproc_change },
	{ "rwlock write", "pthread", "", 0, 1, FREE, NULL, false, run_pthread_change },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
