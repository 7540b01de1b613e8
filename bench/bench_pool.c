/* SPDX-License-Identifier: MIT */

/*
 * Pools of two workers: how long a task takes that does nothing, how many of them pass
 * in a second, and what a large argument costs
 *
 * Every result is looked at. The plain peer is fork(2): a process for each task.
 */

#include <sched.h>
#include <stdalign.h>
#include <string.h>

#include <mproc/future.h>
#include <mproc/pool.h>
#include <mproc/segment.h>
#include <mproc/task.h>

#include "bench/bench.h"

#define WORKERS 2u
#define AT_ONCE 10000u /* tasks submitted before the first result is asked for */
#define MIB     (1u << 20)

typedef struct large {
	const void *bytes;
	uint64_t len;
} large;

MPROC_TASK_DECLARE(int64_t, same, (val, int64_t, n));
MPROC_TASK(int64_t, same, (val, int64_t, n))
{
	return n;
}

MPROC_TASK_FN_DECLARE(same_bytes, large, large);
MPROC_PACK_STRUCT(large, (bytes, bytes, len));
MPROC_TASK_FN(same_bytes, large, large);

int same_bytes(const large *in, large *out)
{
	*out = *in;
	return 0;
}

static mproc_pool *start(void)
{
	static mproc_segment *segment;
	mproc_pool *pool;

	if (!segment)
		bench_check(mproc_segment_create(&segment, NULL,
						 MPROC_SEGMENT_OPTS(.bytes = 64 << 20)) == 0);
	bench_check(mproc_pool_create(&pool, segment, NULL,
				      MPROC_POOL_OPTS(.workers = WORKERS, .task_max = 2 * MIB)) ==
		    0);
	return pool;
}

static void call_same(void *arg)
{
	static int64_t n;
	mproc_future *future = same_submit(arg, ++n);
	int64_t got;

	bench_check(future && same_result(future, &got, MPROC_FOREVER) == 0 && got == n);
	mproc_future_unref(future);
}

static double run_trip(const struct bench_case *c)
{
	mproc_pool *pool = start();

	(void)c;
	call_same(pool);
	return bench_call_ns(call_same, pool, 1) / 1000;
}

static void call_large(void *arg)
{
	static unsigned char bytes[MIB];
	mproc_future *future;
	large got;

	bytes[MIB - 1]++;
	future = same_bytes_submit(arg, &(large){ bytes, MIB });
	bench_check(future && same_bytes_result(future, &got, MPROC_FOREVER) == 0);
	bench_check(got.len == MIB &&
		    ((const unsigned char *)got.bytes)[MIB - 1] == bytes[MIB - 1]);
	mproc_future_unref(future);
}

static double run_large(const struct bench_case *c)
{
	mproc_pool *pool = start();

	(void)c;
	call_large(pool);
	return bench_call_ns(call_large, pool, 1) / 1000;
}

static void call_at_once(void *arg)
{
	static mproc_future *futures[AT_ONCE];
	int64_t got;

	for (int64_t i = 0; i < AT_ONCE; i++) {
		futures[i] = same_submit(arg, i);
		bench_check(futures[i]);
	}
	for (int64_t i = 0; i < AT_ONCE; i++) {
		bench_check(same_result(futures[i], &got, MPROC_FOREVER) == 0 && got == i);
		mproc_future_unref(futures[i]);
	}
}

static double run_at_once(const struct bench_case *c)
{
	mproc_pool *pool = start();

	(void)c;
	call_same(pool);
	return AT_ONCE * 1e9 / bench_call_ns(call_at_once, pool, 1);
}

static void call_map(void *arg)
{
	static struct same_args args[AT_ONCE];
	static int64_t results[AT_ONCE];

	for (int64_t i = 0; i < AT_ONCE; i++) {
		args[i].n = i;
		results[i] = -1;
	}
	bench_check(mproc_pool_map(arg, &same_task, args, sizeof(args[0]), results,
				   sizeof(results[0]), AT_ONCE, 0, MPROC_FOREVER) == 0);
	for (int64_t i = 0; i < AT_ONCE; i++)
		bench_check(results[i] == i);
}

static double run_map(const struct bench_case *c)
{
	mproc_pool *pool = start();

	(void)c;
	call_same(pool);
	return AT_ONCE * 1e9 / bench_call_ns(call_map, pool, 1);
}

static void start_and_end(void *arg)
{
	mproc_pool *pool = start();

	(void)arg;
	call_same(pool);
	bench_check(mproc_pool_shutdown(pool, 0, MPROC_FOREVER) == 0);
	mproc_pool_close(pool);
}

static double run_start(const struct bench_case *c)
{
	(void)c;
	return bench_call_ns(start_and_end, NULL, 1) / 1e6;
}

/*
 * What one writes by hand for two workers that never die: two rings for each, of cells
 * that say themselves whether they are full. Nobody sleeps.
 */
#define CELLS 1024u

struct cell {
	alignas(64) _Atomic(uint32_t) full;
	int64_t n;
};

struct lane {
	struct cell there[CELLS], back[CELLS];
	uint64_t n_put, n_got; /* the parent's */
};

static void await(const struct cell *cell, uint32_t full)
{
	for (unsigned n = 1; atomic_load_explicit(&cell->full, memory_order_acquire) != full; n++)
		if (n % 1000 == 0)
			sched_yield();
}

static void fill(struct cell *cell, int64_t n)
{
	cell->n = n;
	atomic_store_explicit(&cell->full, 1, memory_order_release);
}

static int64_t empty(struct cell *cell)
{
	int64_t n = cell->n;

	atomic_store_explicit(&cell->full, 0, memory_order_release);
	return n;
}

static void work_lane(void *arg)
{
	struct lane *lane = arg;

	for (uint64_t i = 0;; i = (i + 1) % CELLS) {
		await(&lane->there[i], 1);
		await(&lane->back[i], 0);
		fill(&lane->back[i], empty(&lane->there[i]));
	}
}

/* Take the next result of a lane; they come in order. */
static void lane_get(struct lane *lane, int64_t want)
{
	struct cell *cell = &lane->back[lane->n_got++ % CELLS];

	await(cell, 1);
	bench_check(empty(cell) == want);
}

static void lane_put(struct lane *lane, int64_t n)
{
	struct cell *cell = &lane->there[lane->n_put++ % CELLS];

	await(cell, 0);
	fill(cell, n);
}

static void lane_trip(void *arg)
{
	static int64_t n;

	lane_put(arg, ++n);
	lane_get(arg, n);
}

static void work_lane_apart(void *arg)
{
	bench_pin(1);
	work_lane(arg);
}

/* One worker: another that looks all the time would be in the way. */
static double run_lane_trip(const struct bench_case *c)
{
	struct lane *lane = bench_shared(sizeof(*lane));

	(void)c;
	bench_fork(work_lane_apart, lane);
	bench_pin(0);
	return bench_call_ns(lane_trip, lane, 1) / 1000;
}

static void lanes_at_once(void *arg)
{
	struct lane *lanes = arg;

	for (int64_t i = 0; i < AT_ONCE; i++) {
		/* As many are under way as the rings hold. */
		if (i >= WORKERS * CELLS)
			lane_get(&lanes[i % WORKERS], i - WORKERS * CELLS);
		lane_put(&lanes[i % WORKERS], i);
	}
	for (int64_t i = AT_ONCE - WORKERS * CELLS; i < AT_ONCE; i++)
		lane_get(&lanes[i % WORKERS], i);
}

static double run_lanes_at_once(const struct bench_case *c)
{
	struct lane *lanes = bench_shared(WORKERS * sizeof(*lanes));

	(void)c;
	for (unsigned i = 0; i < WORKERS; i++)
		bench_fork(work_lane, &lanes[i]);
	return AT_ONCE * 1e9 / bench_call_ns(lanes_at_once, lanes, 1);
}

static double run_line(const struct bench_case *c)
{
	(void)c;
	return bench_line_ns() / 1000;
}

/* Fork: the arguments are inherited, the result comes through shared memory. */
struct forked {
	int64_t n;
	_Atomic(int64_t) result;
	unsigned char bytes[MIB];
};

static void return_same(void *arg)
{
	struct forked *f = arg;

	atomic_store(&f->result, f->n);
}

static void fork_same(void *arg)
{
	struct forked *f = arg;

	f->n++;
	bench_reap(bench_fork(return_same, f));
	bench_check(atomic_load(&f->result) == f->n);
}

static double run_fork_trip(const struct bench_case *c)
{
	(void)c;
	return bench_call_ns(fork_same, bench_shared(sizeof(struct forked)), 1) / 1000;
}

/* As many at a time as there are workers. */
static double run_fork_at_once(const struct bench_case *c)
{
	struct forked *f = bench_shared(sizeof(*f) * WORKERS);
	int64_t start_ns = mproc_now(), now = start_ns;
	int pids[WORKERS];
	uint64_t n = 0;

	(void)c;
	for (; now < start_ns + BENCH_NS; now = mproc_now()) {
		for (unsigned i = 0; i < WORKERS; i++) {
			f[i].n++;
			pids[i] = bench_fork(return_same, &f[i]);
		}
		for (unsigned i = 0; i < WORKERS; i++) {
			bench_reap(pids[i]);
			bench_check(atomic_load(&f[i].result) == f[i].n);
		}
		n += WORKERS;
	}
	return (double)n * 1e9 / (double)(now - start_ns);
}

static unsigned char sent[MIB];

static void return_large(void *arg)
{
	struct forked *f = arg;

	memcpy(f->bytes, sent, MIB);
}

static void fork_large(void *arg)
{
	static unsigned char got[MIB];
	struct forked *f = arg;

	sent[MIB - 1]++;
	bench_reap(bench_fork(return_large, f));
	memcpy(got, f->bytes, MIB);
	bench_check(got[MIB - 1] == sent[MIB - 1]);
}

static double run_fork_large(const struct bench_case *c)
{
	(void)c;
	return bench_call_ns(fork_large, bench_shared(sizeof(struct forked)), 1) / 1000;
}

#define TRIP   "empty task round trip p50", "us"
#define SINGLY "tiny tasks, one by one", "/s"
#define BY_MAP "tiny tasks, map", "/s"
#define LARGE  "there and back p50", "us"
#define START  "start to first result", "ms"
#define HAND   BENCH_LIMIT, "by hand, not crash-safe"

static const struct bench_case cases[] = {
	{ "pool", "mproc", "", 0, WORKERS, TRIP, NULL, false, run_trip },
	{ "pool", "fork per task", "", 0, WORKERS, TRIP, NULL, false, run_fork_trip },
	{ "pool", HAND, 0, WORKERS, TRIP, NULL, true, run_lane_trip },
	{ "pool", BENCH_LIMIT, "raw cache line", 0, WORKERS, TRIP, NULL, true, run_line },
	{ "pool", "mproc", "", 0, WORKERS, SINGLY, ">= 20x Python mp.Pool", false, run_at_once },
	{ "pool", "fork per task", "", 0, WORKERS, SINGLY, NULL, false, run_fork_at_once },
	{ "pool", HAND, 0, WORKERS, SINGLY, NULL, false, run_lanes_at_once },
	{ "pool", "mproc", "", 0, WORKERS, BY_MAP, NULL, false, run_map },
	{ "pool", "mproc", "", MIB, WORKERS, LARGE, NULL, false, run_large },
	{ "pool", "fork per task", "", MIB, WORKERS, LARGE, NULL, false, run_fork_large },
	{ "pool", "mproc", "", 0, WORKERS, START, NULL, false, run_start },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
