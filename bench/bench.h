/* SPDX-License-Identifier: MIT */
#ifndef BENCH_H
#define BENCH_H

/*
 * What every benchmark program stands on
 *
 * A program bench_<room> has a table of cases, and bench/driver.py runs them:
 *
 *	bench_<room> --list		one JSON object per case and line, with the keys
 *					case peer mode size procs figure unit goal
 *	bench_<room> --run INDEX	run one case of that list, print one number
 *
 * Cases with the same case, size, procs and figure are peers of each other. Each run
 * takes about a third of a second and is its own process, so that the driver can
 * interleave them.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The peer that is no peer: what the machine can do at best. */
#define BENCH_LIMIT "limit"

struct bench_case {
	const char *name;   /* what is measured: "mutex"; unique among all rooms */
	const char *peer;   /* "mproc", another implementation, or BENCH_LIMIT */
	const char *mode;   /* how, if there is more than one way, or "" */
	uint64_t size;      /* bytes of a message, or 0 */
	unsigned procs;     /* that work at the same time */
	const char *figure; /* "round trip p50" */
	const char *unit;   /* "ns", "us", "ms", "B": less is better; "/s", "GB/s", "ratio": more */
	/*
	 * What is to be reached, or NULL: "<= 11" or ">= 30e6" in the unit, or
	 * ">= 20x PEER", that many times as good as a peer; several with "; " between.
	 */
	const char *goal;
	bool apart; /* means nothing on a single CPU */
	double (*run)(const struct bench_case *c);
};

/* The whole of a program's main(). */
int bench_main(int argc, char **argv, const struct bench_case *cases, size_t n);

/* Stop with a message unless @ok: a benchmark of something broken is worth nothing. */
#define bench_check(ok) ((ok) ? (void)0 : bench_fail(__FILE__, __LINE__, #ok))

_Noreturn void bench_fail(const char *file, int line, const char *what);

/* How long a case measures. */
#define BENCH_NS INT64_C(300000000)

/* CPUs this process may run on. */
unsigned bench_n_cpus(void);

/* Run on the CPU number @i of those, counted round and round. */
void bench_pin(unsigned i);

/* Zeroed memory that is shared with children forked later. */
void *bench_shared(size_t size);

/* The child runs fn(arg), and dies with its parent. */
int bench_fork(void (*fn)(void *arg), void *arg);

/* Wait for a child that has ended well. */
void bench_reap(int pid);

/* Sort @v and return the middle. */
double bench_median(double *v, size_t n);

/*
 * Time @n calls of fn(arg) over and over, for BENCH_NS.
 *
 * Return: nanoseconds of one call, the median over the batches of @n.
 */
double bench_call_ns(void (*fn)(void *arg), void *arg, size_t n);

/*
 * Count what @procs children, each on a CPU of its own as far as there are any, get
 * done in BENCH_NS.
 * @fn:		works until *@stop is not 0; returns how much it did
 *
 * Return: the sum of their counts in a second; the sum itself in @ret_sum, which may
 * be NULL.
 */
double bench_rate(unsigned procs, uint64_t (*fn)(const _Atomic(uint32_t) *stop, void *arg),
		  void *arg, uint64_t *ret_sum);

/* The same for @ns. */
double bench_rate_for(int64_t ns, unsigned procs,
		      uint64_t (*fn)(const _Atomic(uint32_t) *stop, void *arg), void *arg,
		      uint64_t *ret_sum);

/*
 * A cache line there and back between two CPUs, each waiting by looking.
 *
 * Return: nanoseconds.
 */
double bench_line_ns(void);

/*
 * The same when each sleeps on a futex.
 * @apart:	on two CPUs, not on one
 *
 * Return: nanoseconds.
 */
double bench_futex_ns(bool apart);

#endif /* BENCH_H */
