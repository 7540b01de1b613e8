/* SPDX-License-Identifier: MIT */

/*
 * Two processes and nothing between them: what bounds every round trip
 */

#include <linux/futex.h>
#include <stdalign.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/bench.h"

/* One line each way; each is written by one side. */
struct wire {
	alignas(64) _Atomic(uint32_t) there;
	alignas(64) _Atomic(uint32_t) back;
	uint32_t n; /* the parent's */
};

static void echo(void *arg)
{
	struct wire *w = arg;

	bench_pin(1);
	for (uint32_t n = 1; n; n++) {
		while (atomic_load_explicit(&w->there, memory_order_acquire) != n)
			;
		atomic_store_explicit(&w->back, n, memory_order_release);
	}
}

static void ping(void *arg)
{
	struct wire *w = arg;

	atomic_store_explicit(&w->there, ++w->n, memory_order_release);
	while (atomic_load_explicit(&w->back, memory_order_acquire) != w->n)
		;
}

double bench_line_ns(void)
{
	struct wire *w = bench_shared(sizeof(*w));

	bench_fork(echo, w);
	bench_pin(0);
	return bench_call_ns(ping, w, 1000);
}

static long futex(_Atomic(uint32_t) *word, int op, uint32_t value)
{
	return syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

static void echo_asleep(struct wire *w)
{
	for (uint32_t n = 1; n; n++) {
		while (atomic_load(&w->there) != n)
			futex(&w->there, FUTEX_WAIT, n - 1);
		atomic_store(&w->back, n);
		futex(&w->back, FUTEX_WAKE, 1);
	}
}

static void echo_asleep_near(void *arg)
{
	bench_pin(0);
	echo_asleep(arg);
}

static void echo_asleep_far(void *arg)
{
	bench_pin(1);
	echo_asleep(arg);
}

static void ping_asleep(void *arg)
{
	struct wire *w = arg;

	atomic_store(&w->there, ++w->n);
	futex(&w->there, FUTEX_WAKE, 1);
	while (atomic_load(&w->back) != w->n)
		futex(&w->back, FUTEX_WAIT, w->n - 1);
}

double bench_futex_ns(bool apart)
{
	struct wire *w = bench_shared(sizeof(*w));

	bench_fork(apart ? echo_asleep_far : echo_asleep_near, w);
	bench_pin(0);
	return bench_call_ns(ping_asleep, w, 100);
}
