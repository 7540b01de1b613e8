/* SPDX-License-Identifier: MIT */

/*
 * A shared list: one process alone, and several at the same time
 *
 * Of 1,000 integers, beside what Python's Manager().list() does by messages to a server.
 */

#include <mproc/list.h>

#include <mproc/segment.h>

#include "bench/bench.h"

#define ITEMS 1000

static mproc_list *make(uint64_t n)
{
	mproc_segment *segment;
	mproc_list *list;

	bench_check(mproc_segment_create(&segment, NULL, NULL) == 0);
	bench_check(mproc_list_create(&list, segment, NULL, NULL) == 0);
	for (uint64_t i = 0; i < n; i++)
		bench_check(mproc_list_append(list, i, MPROC_FOREVER) == 0);
	return list;
}

static void get(void *arg)
{
	struct mproc_any any;

	bench_check(mproc_list_get(arg, ITEMS / 2, &any, NULL, 0, NULL, MPROC_FOREVER) == 0);
}

static void set(void *arg)
{
	bench_check(mproc_list_set(arg, ITEMS / 2, 7, MPROC_FOREVER) == 0);
}

static void append(void *arg)
{
	bench_check(mproc_list_append(arg, 7, MPROC_FOREVER) == 0);
	/* As rarely as can be, and not part of what it costs. */
	if (mproc_list_len(arg) > 100 * ITEMS)
		bench_check(mproc_list_clear(arg, MPROC_FOREVER) == 0);
}

static void append_and_pop(void *arg)
{
	struct mproc_any any;

	bench_check(mproc_list_append(arg, 7, MPROC_FOREVER) == 0);
	bench_check(mproc_list_pop(arg, 0, &any, NULL, 0, NULL, MPROC_FOREVER) == 0);
}

/* 100 bytes have a block of their own. */
static void append_and_pop_long(void *arg)
{
	static char text[100], buf[100];
	const struct mproc_any item = mproc_any_bytes(text, sizeof(text));
	struct mproc_any any;

	bench_check(mproc_list_append(arg, &item, MPROC_FOREVER) == 0);
	bench_check(mproc_list_pop(arg, 0, &any, buf, sizeof(buf), NULL, MPROC_FOREVER) == 0);
}

static void insert_and_delete(void *arg)
{
	bench_check(mproc_list_insert(arg, ITEMS / 2, 7, MPROC_FOREVER) == 0);
	bench_check(mproc_list_delete(arg, ITEMS / 2, 1, MPROC_FOREVER) == 0);
}

struct work {
	void (*call)(void *arg);
	mproc_list *list;
};

static uint64_t until(const _Atomic(uint32_t) *stop, void *arg)
{
	const struct work *w = arg;
	uint64_t n = 0;

	for (; !atomic_load_explicit(stop, memory_order_relaxed); n++)
		w->call(w->list);
	return n;
}

static double run(const struct bench_case *c, void (*call)(void *arg))
{
	struct work w = { call, make(ITEMS) };

	if (c->procs > 1)
		return bench_rate(c->procs, until, &w, NULL);
	bench_pin(0);
	return bench_call_ns(call, w.list, 1000);
}

static double run_get(const struct bench_case *c)
{
	return run(c, get);
}

static double run_set(const struct bench_case *c)
{
	return run(c, set);
}

static double run_append(const struct bench_case *c)
{
	return run(c, append);
}

static double run_queue(const struct bench_case *c)
{
	return run(c, c->size ? append_and_pop_long : append_and_pop);
}

static double run_insert(const struct bench_case *c)
{
	return run(c, insert_and_delete);
}

#define CALL   "call", "ns"
#define RATE   "calls", "/s"
#define BEFORE ">= 100x Python Manager().list()"

static const struct bench_case cases[] = {
	{ "list get", "mproc", "", 0, 1, CALL, BEFORE, false, run_get },
	{ "list get", "mproc", "", 0, 4, RATE, NULL, false, run_get },
	{ "list set", "mproc", "", 0, 1, CALL, BEFORE, false, run_set },
	{ "list append", "mproc", "", 0, 1, CALL, BEFORE, false, run_append },
	{ "list append, pop first", "mproc", "", 0, 1, CALL, BEFORE, false, run_queue },
	{ "list append, pop first", "mproc", "", 100, 1, CALL, BEFORE, false, run_queue },
	{ "list append, pop first", "mproc", "", 0, 4, RATE, NULL, false, run_queue },
	{ "list insert, delete in 1,000", "mproc", "", 0, 1, CALL, NULL, false, run_insert },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
