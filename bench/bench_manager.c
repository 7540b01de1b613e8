/* SPDX-License-Identifier: MIT */

/*
 * What Python's Manager offers besides dicts, lists, values and arrays: one process alone
 *
 * Each call of a Manager is a message to a server and one back; ours is none.
 */

#include <mproc/mutex.h>
#include <mproc/namespace.h>
#include <mproc/queue.h>
#include <mproc/segment.h>

#include "bench/bench.h"

static mproc_namespace *ns;
static mproc_queue *queue;
static mproc_mutex *mutex;

static int mutex_init(void *object, void *arg)
{
	(void)arg;
	return mproc_mutex_init(object, 0);
}

static void make(void)
{
	mproc_segment *segment;
	void *object;

	bench_check(mproc_segment_create(&segment, NULL, NULL) == 0);
	bench_check(mproc_namespace_create(&ns, segment, "ns") == 0);
	bench_check(mproc_namespace_set_int(ns, "x", 7) >= 0);
	bench_check(mproc_queue_create(&queue, segment, "q", NULL) == 0);
	bench_check(mproc_segment_object(&object, segment, "lock", sizeof(*mutex), mutex_init,
					 NULL) >= 0);
	mutex = object;
}

static void namespace_get(void *arg)
{
	int64_t x;

	(void)arg;
	bench_check(mproc_namespace_get_int(ns, "x", &x) == 0);
}

static void namespace_set(void *arg)
{
	(void)arg;
	bench_check(mproc_namespace_set_int(ns, "x", 7) >= 0);
}

static void put_and_get(void *arg)
{
	char message[64] = { 0 };

	(void)arg;
	bench_check(mproc_queue_put(queue, message, sizeof(message), MPROC_FOREVER) == 0);
	bench_check(mproc_queue_get(queue, message, sizeof(message), NULL, MPROC_FOREVER) == 0);
}

static void lock_and_unlock(void *arg)
{
	(void)arg;
	bench_check(mproc_mutex_lock(mutex, MPROC_FOREVER) == 0);
	bench_check(mproc_mutex_unlock(mutex) == 0);
}

static double run(void (*fn)(void *arg))
{
	make();
	bench_pin(0);
	return bench_call_ns(fn, NULL, 1000);
}

#define DEFINE_RUN(fn) \
	static double run_##fn(const struct bench_case *c) \
	{ \
		(void)c; \
		return run(fn); \
	} \
	struct bench_case

DEFINE_RUN(namespace_get);
DEFINE_RUN(namespace_set);
DEFINE_RUN(put_and_get);
DEFINE_RUN(lock_and_unlock);

#define CALL   "a call", "ns"
#define BEFORE ">= 100x Python Manager"

static const struct bench_case cases[] = {
	{ "namespace get", "mproc", "", 0, 1, CALL, BEFORE, false, run_namespace_get },
	{ "namespace set", "mproc", "", 0, 1, CALL, BEFORE, false, run_namespace_set },
	{ "queue put, get", "mproc", "", 64, 1, CALL, BEFORE, false, run_put_and_get },
	{ "lock, unlock", "mproc", "", 0, 1, CALL, BEFORE, false, run_lock_and_unlock },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
