/* SPDX-License-Identifier: MIT */

/*
 * What this machine can do, whatever the program
 *
 * All are limits. A virtual machine's CPUs may be moved nearer or farther from each
 * other while it runs, which the first one shows.
 */

#include <string.h>

#include "bench/bench.h"

#define COPY_BYTES (1u << 20)

static double run_line(const struct bench_case *c)
{
	(void)c;
	return bench_line_ns();
}

static double run_futex(const struct bench_case *c)
{
	return bench_futex_ns(c->apart) / 1000;
}

static void nothing(void *arg)
{
	(void)arg;
}

static void fork_and_wait(void *arg)
{
	bench_reap(bench_fork(nothing, arg));
}

static double run_fork(const struct bench_case *c)
{
	(void)c;
	return bench_call_ns(fork_and_wait, NULL, 10) / 1000;
}

static void copy(void *arg)
{
	char *mem = arg;

	memcpy(mem, mem + COPY_BYTES, COPY_BYTES);
	/* Somebody might look. */
	__asm__ volatile("" : : "r"(mem) : "memory");
}

static double run_copy(const struct bench_case *c)
{
	(void)c;
	return COPY_BYTES / bench_call_ns(copy, bench_shared((size_t)2 * COPY_BYTES), 10);
}

static const struct bench_case cases[] = {
	{ "cache line", BENCH_LIMIT, "", 64, 2, "round trip", "ns", NULL, true, run_line },
	{ "futex", BENCH_LIMIT, "CPUs apart", 0, 2, "round trip", "us", NULL, true, run_futex },
	{ "futex", BENCH_LIMIT, "same CPU", 0, 2, "round trip", "us", NULL, false, run_futex },
	{ "fork and wait", BENCH_LIMIT, "", 0, 1, "call", "us", NULL, false, run_fork },
	{ "memcpy", BENCH_LIMIT, "", COPY_BYTES, 1, "stream", "GB/s", NULL, false, run_copy },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
