/* SPDX-License-Identifier: MIT */

/*
 * Semaphores: one that is free, and one that several processes want all the time
 */

#include <mproc/semaphore.h>

#include <errno.h>
#include <semaphore.h>

#include <mproc/segment.h>

#include "bench/bench.h"

#define FEW  4
#define MANY 60000

struct fixture {
	mproc_semaphore *mproc;
	sem_t *sem;
	void (*turn)(struct fixture *f);
};

static void mproc_turn(struct fixture *f)
{
	bench_check(mproc_semaphore_acquire(f->mproc, MPROC_FOREVER) == 0);
	bench_check(mproc_semaphore_release(f->mproc, 1) == 0);
}

static void lease_turn(struct fixture *f)
{
	bench_check(mproc_semaphore_acquire(f->mproc, MPROC_FOREVER) == 0);
	bench_check(mproc_semaphore_ack(f->mproc) == 0);
	bench_check(mproc_semaphore_release(f->mproc, 1) == 0);
}

static void sem_turn(struct fixture *f)
{
	while (sem_wait(f->sem) < 0)
		bench_check(errno == EINTR);
	bench_check(sem_post(f->sem) == 0);
}

/* None is free: all cells are looked at, and who holds them. */
static void find_turn(struct fixture *f)
{
	bench_check(mproc_semaphore_acquire(f->mproc, MPROC_NOWAIT) == -EAGAIN);
}

struct wanted {
	uint32_t kind, value;
	const struct mproc_semaphore_opts *opts;
};

static int init(void *object, void *arg)
{
	const struct wanted *w = arg;

	return mproc_semaphore_init(object, w->kind, w->value, w->opts);
}

static struct fixture mproc_fixture(uint32_t kind, uint32_t value,
				    const struct mproc_semaphore_opts *opts)
{
	struct wanted w = { kind, value, opts };
	uint32_t n = kind == MPROC_SEMAPHORE_SIGNALS ? 0 : value;
	struct fixture f = { .turn = mproc_turn };
	mproc_segment *segment;
	void *object;

	bench_check(mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 8 << 20)) ==
		    0);
	bench_check(mproc_segment_object(&object, segment, "semaphore",
					 mproc_semaphore_size(kind, n), init, &w) == 1);
	f.mproc = object;
	return f;
}

static void call(void *arg)
{
	struct fixture *f = arg;

	f->turn(f);
}

static uint64_t call_until(const _Atomic(uint32_t) *stop, void *arg)
{
	uint64_t n = 0;

	for (; !atomic_load_explicit(stop, memory_order_relaxed); n++)
		call(arg);
	return n;
}

static double run(const struct bench_case *c, struct fixture *f)
{
	if (c->procs > 1)
		return bench_rate(c->procs, call_until, f, NULL);
	bench_pin(0);
	return bench_call_ns(call, f, 1000);
}

static double run_permits(const struct bench_case *c)
{
	struct fixture f = mproc_fixture(MPROC_SEMAPHORE_PERMITS, FEW, NULL);

	return run(c, &f);
}

static double run_signals(const struct bench_case *c)
{
	struct fixture f = mproc_fixture(MPROC_SEMAPHORE_SIGNALS, FEW, NULL);

	return run(c, &f);
}

static double run_leases(const struct bench_case *c)
{
	struct fixture f =
		mproc_fixture(MPROC_SEMAPHORE_LEASES, FEW, MPROC_SEMAPHORE_OPTS(.leases = FEW));

	f.turn = lease_turn;
	return run(c, &f);
}

static double run_sem(const struct bench_case *c)
{
	struct fixture f = { .turn = sem_turn, .sem = bench_shared(sizeof(sem_t)) };

	bench_check(sem_init(f.sem, 1, FEW) == 0);
	return run(c, &f);
}

/* Very many are all taken, by the one who asks for another. */
static double run_many(const struct bench_case *c)
{
	struct fixture f = mproc_fixture(MPROC_SEMAPHORE_PERMITS, MANY, NULL);

	for (unsigned i = 0; i < MANY; i++)
		bench_check(mproc_semaphore_acquire(f.mproc, MPROC_NOWAIT) == 0);
	f.turn = find_turn;
	return run(c, &f) / 1000;
}

#define FREE "acquire and release", "ns"
#define BUSY "turns", "/s"

static const struct bench_case cases[] = {
	{ "semaphore", "mproc", "permits", 0, 1, FREE, ">= 0.5x sem_t", false, run_permits },
	{ "semaphore", "mproc", "signals", 0, 1, FREE, "<= 15", false, run_signals },
	{ "semaphore", "mproc", "leases, with ack", 0, 1, FREE, NULL, false, run_leases },
	{ "semaphore", "sem_t", "", 0, 1, FREE, NULL, false, run_sem },
	{ "semaphore", "mproc", "permits", 0, 2, BUSY, NULL, false, run_permits },
	{ "semaphore", "mproc", "signals", 0, 2, BUSY, NULL, false, run_signals },
	{ "semaphore", "mproc", "leases, with ack", 0, 2, BUSY, NULL, false, run_leases },
	{ "semaphore", "sem_t", "", 0, 2, BUSY, NULL, false, run_sem },
	{ "semaphore", "mproc", "60000 permits, none free", 0, 1, "acquire now", "us", NULL, false,
	  run_many },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
