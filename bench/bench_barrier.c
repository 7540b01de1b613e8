/* SPDX-License-Identifier: MIT */

/*
 * A barrier's round trip: two processes, and more than there are CPUs
 *
 * The limit is a bare futex on which the last one wakes the others: no barrier that
 * sleeps can do with less.
 */

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mproc/barrier.h>
#include <mproc/segment.h>

#include "bench/bench.h"

#define PARTIES_MAX 4

struct meeting {
	MPROC_BARRIER_WITH(PARTIES_MAX) mproc;
	pthread_barrier_t pthread;
	_Atomic(uint32_t) came, phase; /* of the bare futex */
	_Atomic(uint64_t) phases;
	unsigned parties;
};

struct work {
	void (*meet)(struct meeting *m);
	struct meeting *meeting;
};

static void mproc_meet(struct meeting *m)
{
	bench_check(mproc_barrier_wait(&m->mproc.barrier, NULL, NULL, MPROC_FOREVER) >= 0);
}

static void pthread_meet(struct meeting *m)
{
	int r = pthread_barrier_wait(&m->pthread);

	bench_check(r == 0 || r == PTHREAD_BARRIER_SERIAL_THREAD);
}

static void futex_meet(struct meeting *m)
{
	uint32_t phase = atomic_load(&m->phase);

	if (atomic_fetch_add(&m->came, 1) + 1 == m->parties) {
		atomic_store(&m->came, 0);
		atomic_fetch_add(&m->phase, 1);
		syscall(SYS_futex, &m->phase, FUTEX_WAKE, PARTIES_MAX, NULL, NULL, 0);
		return;
	}
	while (atomic_load(&m->phase) == phase)
		syscall(SYS_futex, &m->phase, FUTEX_WAIT, phase, NULL, NULL, 0);
}

static int init_meeting(void *object, void *arg)
{
	struct meeting *m = object;
	const unsigned *parties = arg;
	pthread_barrierattr_t attr;

	m->parties = *parties;
	bench_check(pthread_barrierattr_init(&attr) == 0);
	bench_check(pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0);
	bench_check(pthread_barrier_init(&m->pthread, &attr, *parties) == 0);
	return mproc_barrier_init(&m->mproc.barrier, *parties, 0);
}

/*
 * All must stop in the same phase, or one would wait for ever: the first who sees that
 * time is up says how many phases there will be, two more than anybody can have begun.
 */
static uint64_t meet_until(const _Atomic(uint32_t) *stop, void *arg)
{
	const struct work *w = arg;
	uint64_t n = 0, end = 0;

	while (!end || n < end) {
		if (!end && atomic_load_explicit(stop, memory_order_relaxed)) {
			uint64_t none = 0;

			atomic_compare_exchange_strong(&w->meeting->phases, &none, n + 2);
		}
		w->meet(w->meeting);
		n++;
		end = atomic_load(&w->meeting->phases);
	}
	return n;
}

static double run(const struct bench_case *c, void (*meet)(struct meeting *m))
{
	unsigned parties = c->procs;
	mproc_segment *segment;
	struct work w = { meet, NULL };
	void *object;

	bench_check(mproc_segment_create(&segment, NULL, NULL) == 0);
	bench_check(mproc_segment_object(&object, segment, "meeting", sizeof(struct meeting),
					 init_meeting, &parties) == 1);
	w.meeting = object;
	return bench_rate(c->procs, meet_until, &w, NULL) / c->procs;
}

static double run_mproc(const struct bench_case *c)
{
	return run(c, mproc_meet);
}

static double run_pthread(const struct bench_case *c)
{
	return run(c, pthread_meet);
}

static double run_futex(const struct bench_case *c)
{
	return run(c, futex_meet);
}

#define PHASES "phases", "/s"

static const struct bench_case cases[] = {
	{ "barrier", "mproc", "", 0, 2, PHASES, ">= 1x pthread", false, run_mproc },
	{ "barrier", "pthread", "", 0, 2, PHASES, NULL, false, run_pthread },
	{ "barrier", BENCH_LIMIT, "bare futex", 0, 2, PHASES, NULL, false, run_futex },
	{ "barrier", "mproc", "", 0, 4, PHASES, ">= 1x pthread", false, run_mproc },
	{ "barrier", "pthread", "", 0, 4, PHASES, NULL, false, run_pthread },
	{ "barrier", BENCH_LIMIT, "bare futex", 0, 4, PHASES, NULL, false, run_futex },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
