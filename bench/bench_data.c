/* SPDX-License-Identifier: MIT */

/*
 * Values and arrays, beside the bare instruction on the same memory
 *
 * The limit is the machine's atomic instruction on a mapped word that is known to be there;
 * ours finds the item, checks its type and index, and looks for somebody who waits.
 */

#include <mproc/array.h>
#include <mproc/ringlog.h>
#include <mproc/segment.h>
#include <mproc/value.h>

#include "bench/bench.h"

#define N_ITEMS 1024 /* a power of two */

/* The bare word is in shared memory as well. */
static _Atomic(int64_t) *words;
static mproc_value *value;
static mproc_array *array;
static uint64_t next;

static void make(void)
{
	mproc_segment *segment;

	words = bench_shared(N_ITEMS * sizeof(*words));
	bench_check(mproc_segment_create(&segment, NULL, NULL) == 0);
	bench_check(mproc_value_create(&value, segment, "value",
				       MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t))) == 0);
	bench_check(mproc_array_create(&array, segment, "array",
				       MPROC_ARRAY_OPTS(.type = MPROC_TYPE(int64_t),
							.n_items = N_ITEMS)) == 0);
}

static void value_add(void *arg)
{
	(void)arg;
	bench_check(mproc_value_add(value, int64_t, 1, NULL) == 0);
}

static void word_add(void *arg)
{
	(void)arg;
	atomic_fetch_add(words, 1);
}

/* What Python does, which has no atomic addition. */
static void value_add_locked(void *arg)
{
	int64_t x;

	(void)arg;
	bench_check(mproc_value_lock(value, MPROC_FOREVER) == 0);
	bench_check(mproc_value_get(value, int64_t, &x, MPROC_FOREVER) == 0);
	x++;
	bench_check(mproc_value_set(value, int64_t, &x, MPROC_FOREVER) == 0);
	bench_check(mproc_value_unlock(value) == 0);
}

static uint64_t at(void)
{
	return next++ & (N_ITEMS - 1);
}

static void array_add(void *arg)
{
	(void)arg;
	bench_check(mproc_array_add(array, int64_t, at(), 1, NULL) == 0);
}

static void words_add(void *arg)
{
	(void)arg;
	atomic_fetch_add(&words[at()], 1);
}

static void array_store(void *arg)
{
	(void)arg;
	bench_check(mproc_array_store(array, int64_t, at(), 7) == 0);
}

static void words_store(void *arg)
{
	(void)arg;
	atomic_store(&words[at()], 7);
}

static void array_load(void *arg)
{
	int64_t x;

	(void)arg;
	bench_check(mproc_array_load(array, int64_t, at(), &x) == 0);
}

static void array_at(void *arg)
{
	(void)arg;
	(void)atomic_load((_Atomic(int64_t) *)mproc_array_at(array, int64_t, at()));
}

static void words_load(void *arg)
{
	(void)arg;
	(void)atomic_load(&words[at()]);
}

static void array_get(void *arg)
{
	int64_t x;

	(void)arg;
	bench_check(mproc_array_get(array, int64_t, at(), &x, MPROC_FOREVER) == 0);
}

static void array_copy(void *arg)
{
	static int64_t all[N_ITEMS];

	(void)arg;
	bench_check(mproc_array_copy_out(array, int64_t, 0, N_ITEMS, all, MPROC_FOREVER) == 0);
}

static double run(void (*fn)(void *arg))
{
	make();
	bench_pin(0);
	return bench_call_ns(fn, NULL, 1000);
}

static mproc_ringlog *ring;

static void make_ringlog(void)
{
	mproc_segment *segment;

	bench_check(mproc_segment_create(&segment, NULL, NULL) == 0);
	bench_check(mproc_ringlog_create(&ring, segment, "ring", NULL) == 0);
}

static void ringlog_append(void *arg)
{
	static const char record[64];

	(void)arg;
	bench_check(mproc_ringlog_append(ring, record, sizeof(record), MPROC_FOREVER) == 0);
}

static uint64_t append_until(const _Atomic(uint32_t) *stop, void *arg)
{
	uint64_t n = 0;

	for (; !atomic_load_explicit(stop, memory_order_relaxed); n++)
		ringlog_append(arg);
	return n;
}

static double run_ringlog(const struct bench_case *c)
{
	make_ringlog();
	if (c->procs > 1)
		return bench_rate(c->procs, append_until, NULL, NULL);
	bench_pin(0);
	return bench_call_ns(ringlog_append, NULL, 1000);
}

#define DEFINE_RUN(fn) \
	static double run_##fn(const struct bench_case *c) \
	{ \
		(void)c; \
		return run(fn); \
	} \
	struct bench_case

DEFINE_RUN(value_add);
DEFINE_RUN(word_add);
DEFINE_RUN(value_add_locked);
DEFINE_RUN(array_add);
DEFINE_RUN(words_add);
DEFINE_RUN(array_store);
DEFINE_RUN(words_store);
DEFINE_RUN(array_load);
DEFINE_RUN(array_at);
DEFINE_RUN(words_load);
DEFINE_RUN(array_get);
DEFINE_RUN(array_copy);

#define CALL   "a call", "ns"
#define TWICE  ">= 0.5x limit"
#define BEFORE ">= 100x Python Manager"

static const struct bench_case cases[] = {
	{ "value add", "mproc", "", 0, 1, CALL, TWICE, false, run_value_add },
	{ "value add", BENCH_LIMIT, "bare atomic", 0, 1, CALL, NULL, false, run_word_add },
	{ "value += under its lock", "mproc", "", 0, 1, CALL, BEFORE, false, run_value_add_locked },
	{ "array add", "mproc", "", 0, 1, CALL, TWICE, false, run_array_add },
	{ "array add", BENCH_LIMIT, "bare atomic", 0, 1, CALL, NULL, false, run_words_add },
	{ "array store", "mproc", "", 0, 1, CALL, TWICE, false, run_array_store },
	{ "array store", BENCH_LIMIT, "bare atomic", 0, 1, CALL, NULL, false, run_words_store },
	{ "array load", "mproc", "", 0, 1, CALL, NULL, false, run_array_load },
	{ "array load", "mproc", "by pointer", 0, 1, CALL, NULL, false, run_array_at },
	{ "array load", BENCH_LIMIT, "bare atomic", 0, 1, CALL, NULL, false, run_words_load },
	{ "array get", "mproc", "", 0, 1, CALL, BEFORE, false, run_array_get },
	{ "array copy out", "mproc", "", 8192, 1, CALL, BEFORE, false, run_array_copy },
	{ "ringlog append", "mproc", "", 64, 1, CALL, NULL, false, run_ringlog },
	{ "ringlog append", "mproc", "", 64, 4, "records", "/s", NULL, false, run_ringlog },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
