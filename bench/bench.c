/* SPDX-License-Identifier: MIT */

/*
 * What every benchmark program stands on
 */

#include "bench/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <mproc/common.h>

/* More batches than this are not kept. */
#define BATCHES_MAX 65536u

_Noreturn void bench_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s is false (%s)\n", file, line, what, strerror(errno));
	exit(1);
}

/* The mask at the start: pinning changes it. */
static const cpu_set_t *all_cpus(void)
{
	static cpu_set_t set;
	static bool known;

	if (!known)
		bench_check(sched_getaffinity(0, sizeof(set), &set) == 0);
	known = true;
	return &set;
}

unsigned bench_n_cpus(void)
{
	return (unsigned)CPU_COUNT(all_cpus());
}

void bench_pin(unsigned i)
{
	unsigned n = i % bench_n_cpus();
	cpu_set_t one;

	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, all_cpus()) || n--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		bench_check(sched_setaffinity(0, sizeof(one), &one) == 0);
		return;
	}
}

void *bench_shared(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	bench_check(mem != MAP_FAILED);
	return mem;
}

int bench_fork(void (*fn)(void *arg), void *arg)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	bench_check(pid >= 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	fn(arg);
	_exit(0);
}

void bench_reap(int pid)
{
	int status;

	bench_check(waitpid(pid, &status, 0) == pid);
	bench_check(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *v, size_t n)
{
	bench_check(n > 0);
	qsort(v, n, sizeof(*v), compare);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

double bench_call_ns(void (*fn)(void *arg), void *arg, size_t n)
{
	static double batch[BATCHES_MAX];
	int64_t before, now = mproc_now(), end = now + BENCH_NS;
	size_t n_batches = 0;

	while (now < end) {
		before = now;
		for (size_t i = 0; i < n; i++)
			fn(arg);
		now = mproc_now();
		/* The first ones warm up; more than fit replace the oldest. */
		batch[n_batches++ % BATCHES_MAX] = (double)(now - before) / (double)n;
	}
	return bench_median(batch, n_batches < BATCHES_MAX ? n_batches : BATCHES_MAX);
}

struct team {
	alignas(64) _Atomic(uint32_t) ready;
	alignas(64) _Atomic(uint32_t) go;
	alignas(64) _Atomic(uint32_t) stop;
	alignas(64) _Atomic(uint64_t) sum;
};

struct member {
	struct team *team;
	unsigned i;
	uint64_t (*fn)(const _Atomic(uint32_t) *stop, void *arg);
	void *arg;
};

static void join_team(void *arg)
{
	const struct member *m = arg;

	bench_pin(m->i);
	atomic_fetch_add(&m->team->ready, 1);
	while (!atomic_load(&m->team->go))
		sched_yield();
	atomic_fetch_add(&m->team->sum, m->fn(&m->team->stop, m->arg));
}

double bench_rate(unsigned procs, uint64_t (*fn)(const _Atomic(uint32_t) *stop, void *arg),
		  void *arg, uint64_t *ret_sum)
{
	return bench_rate_for(BENCH_NS, procs, fn, arg, ret_sum);
}

double bench_rate_for(int64_t ns, unsigned procs,
		      uint64_t (*fn)(const _Atomic(uint32_t) *stop, void *arg), void *arg,
		      uint64_t *ret_sum)
{
	struct team *team = bench_shared(sizeof(*team));
	struct timespec pause = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	int64_t start, stop;
	int pids[64];

	bench_check(procs <= sizeof(pids) / sizeof(pids[0]));
	for (unsigned i = 0; i < procs; i++) {
		struct member m = { team, i, fn, arg };

		pids[i] = bench_fork(join_team, &m);
	}
	while (atomic_load(&team->ready) < procs)
		sched_yield();
	start = mproc_now();
	atomic_store(&team->go, 1);
	nanosleep(&pause, NULL);
	atomic_store(&team->stop, 1);
	stop = mproc_now();
	for (unsigned i = 0; i < procs; i++)
		bench_reap(pids[i]);
	if (ret_sum)
		*ret_sum = atomic_load(&team->sum);
	return (double)atomic_load(&team->sum) * 1e9 / (double)(stop - start);
}

static void print_case(const struct bench_case *c)
{
	printf("{\"case\": \"%s\", \"peer\": \"%s\", \"mode\": \"%s\", \"size\": %" PRIu64
	       ", \"procs\": %u, \"figure\": \"%s\", \"unit\": \"%s\", \"goal\": ",
	       c->name, c->peer, c->mode, c->size, c->procs, c->figure, c->unit);
	printf(c->goal ? "\"%s\"}\n" : "null}\n", c->goal);
}

/* The case number @index of those that mean something here, or NULL. */
static const struct bench_case *find(const struct bench_case *cases, size_t n, size_t index)
{
	for (size_t i = 0; i < n; i++)
		if ((!cases[i].apart || bench_n_cpus() > 1) && !index--)
			return &cases[i];
	return NULL;
}

int bench_main(int argc, char **argv, const struct bench_case *cases, size_t n)
{
	const struct bench_case *c;
	char *end;

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (size_t i = 0; (c = find(cases, n, i)); i++)
			print_case(c);
		return fflush(stdout) == EOF;
	}
	if (argc == 3 && !strcmp(argv[1], "--run")) {
		c = find(cases, n, strtoul(argv[2], &end, 10));
		if (c && !*end) {
			printf("%.9g\n", c->run(c));
			return fflush(stdout) == EOF;
		}
	}
	fprintf(stderr, "usage: %s --list | --run INDEX\n", argv[0]);
	return 2;
}
