/* SPDX-License-Identifier: MIT */

/*
 * Locks: free ones, and ones that several processes want all the time
 *
 * Whoever has the lock adds 1 to a counter beside it that is not atomic. The counter
 * is compared with what the processes did: a lock that lets two in is no peer.
 */

#ifdef HAVE_CK
#include <ck_spinlock.h>
#endif
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
#ifdef HAVE_CK
		ck_spinlock_t ck;
#endif
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

#ifdef HAVE_CK
static void ck_add(void *arg)
{
	struct guarded *g = arg;

	ck_spinlock_lock(&g->lock.ck);
	g->counter++;
	ck_spinlock_unlock(&g->lock.ck);
}
#endif

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

static struct guarded *pthread_guarded(int type, int robust)
{
	struct guarded *g = bench_shared(sizeof(*g));
	pthread_mutexattr_t attr;

	bench_check(pthread_mutexattr_init(&attr) == 0);
	bench_check(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0);
	bench_check(pthread_mutexattr_settype(&attr, type) == 0);
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
	return run(c, pthread_add, pthread_guarded(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST));
}

static double run_normal(const struct bench_case *c)
{
	return run(c, pthread_add, pthread_guarded(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED));
}

static double run_adaptive(const struct bench_case *c)
{
	return run(c, pthread_add,
		   pthread_guarded(PTHREAD_MUTEX_ADAPTIVE_NP, PTHREAD_MUTEX_STALLED));
}

#ifdef HAVE_CK
static double run_ck(const struct bench_case *c)
{
	struct guarded *g = bench_shared(sizeof(*g));

	ck_spinlock_init(&g->lock.ck);
	return run(c, ck_add, g);
}
#endif

static double run_sem(const struct bench_case *c)
{
	return run(c, sem_add, sem_guarded());
}

static double run_atomic(const struct bench_case *c)
{
	return run(c, atomic_add, bench_shared(sizeof(struct guarded)));
}

/* How alike those who compete are served: the fewest sections over the most. */

#define FAIR_PROCS 4u

struct contest {
	struct work work;
	_Atomic(uint32_t) n; /* of those who have come */
	_Atomic(uint64_t) served[FAIR_PROCS];
};

static uint64_t compete(const _Atomic(uint32_t) *stop, void *arg)
{
	struct contest *contest = arg;
	uint32_t i = atomic_fetch_add(&contest->n, 1);
	uint64_t n = add_until(stop, &contest->work);

	bench_check(i < FAIR_PROCS);
	atomic_store(&contest->served[i], n);
	return n;
}

static double fairness(void (*add)(void *arg), struct guarded *g)
{
	struct contest *contest = bench_shared(sizeof(*contest));
	uint64_t least = UINT64_MAX, most = 0;

	contest->work.add = add;
	contest->work.guarded = g;
	bench_rate_for(INT64_C(1000000000), FAIR_PROCS, compete, contest, NULL);
	for (unsigned i = 0; i < FAIR_PROCS; i++) {
		uint64_t n = atomic_load(&contest->served[i]);

		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	bench_check(most > 0);
	return (double)least / (double)most;
}

static double fair_mproc(const struct bench_case *c)
{
	(void)c;
	return fairness(mproc_add, mproc_guarded());
}

static double fair_robust(const struct bench_case *c)
{
	(void)c;
	return fairness(pthread_add, pthread_guarded(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST));
}

static double fair_normal(const struct bench_case *c)
{
	(void)c;
	return fairness(pthread_add, pthread_guarded(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED));
}

static double fair_adaptive(const struct bench_case *c)
{
	(void)c;
	return fairness(pthread_add,
			pthread_guarded(PTHREAD_MUTEX_ADAPTIVE_NP, PTHREAD_MUTEX_STALLED));
}

static double fair_sem(const struct bench_case *c)
{
	(void)c;
	return fairness(sem_add, sem_guarded());
}

/* What one takes. */

static double bytes_mproc(const struct bench_case *c)
{
	(void)c;
	return (double)sizeof(mproc_mutex);
}

static double bytes_pthread(const struct bench_case *c)
{
	(void)c;
	return (double)sizeof(pthread_mutex_t);
}

static double bytes_sem(const struct bench_case *c)
{
	(void)c;
	return (double)sizeof(sem_t);
}

#define FREE    "lock and unlock", "ns"
#define BUSY    "increments", "/s"
#define FAIR    "least over most served", "ratio"
#define BYTES   "memory", "B"
#define ABREAST ">= 1x pthread adaptive; >= 1x pthread robust"

static const struct bench_case cases[] = {
	{ "mutex", "mproc", "", 0, 1, FREE, "<= 11; >= 1.25x pthread robust", false, run_mproc },
	{ "mutex", "pthread robust", "", 0, 1, FREE, NULL, false, run_robust },
	{ "mutex", "pthread normal", "", 0, 1, FREE, NULL, false, run_normal },
	{ "mutex", "pthread adaptive", "", 0, 1, FREE, NULL, false, run_adaptive },
	{ "mutex", "sem_t", "", 0, 1, FREE, NULL, false, run_sem },
	{ "mutex", BENCH_LIMIT, "atomic add", 0, 1, FREE, NULL, false, run_atomic },
	{ "mutex", "mproc", "", 0, 2, BUSY, ABREAST, false, run_mproc },
	{ "mutex", "pthread robust", "", 0, 2, BUSY, NULL, false, run_robust },
	{ "mutex", "pthread normal", "", 0, 2, BUSY, NULL, false, run_normal },
	{ "mutex", "pthread adaptive", "", 0, 2, BUSY, NULL, false, run_adaptive },
	{ "mutex", "sem_t", "", 0, 2, BUSY, NULL, false, run_sem },
	{ "mutex", BENCH_LIMIT, "atomic add", 0, 2, BUSY, NULL, false, run_atomic },
	{ "mutex", "mproc", "", 0, 4, BUSY, ABREAST, false, run_mproc },
	{ "mutex", "pthread robust", "", 0, 4, BUSY, NULL, false, run_robust },
	{ "mutex", "pthread normal", "", 0, 4, BUSY, NULL, false, run_normal },
	{ "mutex", "pthread adaptive", "", 0, 4, BUSY, NULL, false, run_adaptive },
	{ "mutex", "sem_t", "", 0, 4, BUSY, NULL, false, run_sem },
	{ "mutex", BENCH_LIMIT, "atomic add", 0, 4, BUSY, NULL, false, run_atomic },
#ifdef HAVE_CK
	{ "mutex", "Concurrency Kit", "spinlock", 0, 1, FREE, NULL, false, run_ck },
	{ "mutex", "Concurrency Kit", "spinlock", 0, 2, BUSY, NULL, false, run_ck },
	{ "mutex", "Concurrency Kit", "spinlock", 0, 4, BUSY, NULL, false, run_ck },
#endif
	{ "mutex", "mproc", "", 0, 4, FAIR, ">= 0.7", false, fair_mproc },
	{ "mutex", "pthread robust", "", 0, 4, FAIR, NULL, false, fair_robust },
	{ "mutex", "pthread normal", "", 0, 4, FAIR, NULL, false, fair_normal },
	{ "mutex", "pthread adaptive", "", 0, 4, FAIR, NULL, false, fair_adaptive },
	{ "mutex", "sem_t", "", 0, 4, FAIR, NULL, false, fair_sem },
	{ "mutex", "mproc", "", 0, 1, BYTES, "<= 16", false, bytes_mproc },
	{ "mutex", "pthread", "", 0, 1, BYTES, NULL, false, bytes_pthread },
	{ "mutex", "sem_t", "", 0, 1, BYTES, NULL, false, bytes_sem },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
