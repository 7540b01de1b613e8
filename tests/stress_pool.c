/* SPDX-License-Identifier: MIT */

/*
 * Workers killed at random, with a ledger of every task
 */

#include <mproc/pool.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/pack.h>

#include "pool/pool.h"
#include "tests/support/child.h"

#define WORKERS 4u
#define TASKS   40000u

struct ledger {
	_Atomic(uint32_t) runs[TASKS]; /* how often each task came to its end */
	_Atomic(uint32_t) stop;
};

static struct ledger *ledger;

MPROC_TASK_DECLARE(int64_t, entry, (val, int64_t, number));
MPROC_TASK_DECLARE(int64_t, crash, (val, int64_t, number));

MPROC_TASK(int64_t, entry, (val, int64_t, number))
{
	/* Some microseconds, so that kills find tasks under way. */
	for (volatile int i = 0; i < 3000; i++)
		;
	atomic_fetch_add(&ledger->runs[number], 1);
	return number + 1;
}

MPROC_TASK(int64_t, crash, (val, int64_t, number))
{
	raise(SIGSEGV);
	return number;
}

struct killer {
	mproc_pool *pool;
	uint64_t seed;
	int signal;
	uint32_t max_us;
	_Atomic(uint32_t) n;
};

static void *kill_at_random(void *arg)
{
	struct killer *killer = arg;

	while (!atomic_load(&ledger->stop)) {
		struct mproc_pool_worker worker;
		uint32_t i = (uint32_t)(t_random(&killer->seed) % WORKERS);

		usleep((useconds_t)(t_random(&killer->seed) % killer->max_us));
		if (mproc_pool_worker(killer->pool, i, &worker) < 0 || !worker.pid)
			continue;
		/* Our own children until the pool has waited for them. */
		if (kill(worker.pid, killer->signal) == 0)
			atomic_fetch_add(&killer->n, 1);
		if (killer->signal == SIGSTOP) {
			usleep((useconds_t)(t_random(&killer->seed) % 3000));
			kill(worker.pid, SIGCONT);
		}
	}
	return NULL;
}

static mproc_pool *pool_with(uint32_t retry_killed)
{
	mproc_pool *pool;

	memset(ledger, 0, sizeof(*ledger));
	assert_int_equal(mproc_pool_create(&pool, NULL, NULL,
					   MPROC_POOL_OPTS(.workers = WORKERS, .tasks = 64,
							   .retry_killed = retry_killed)),
			 0);
	return pool;
}

static void end(mproc_pool *pool)
{
	assert_int_equal(mproc_pool_shutdown(pool, 0, mproc_after_ms(60000)), 0);
	mproc_pool_close(pool);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

/* Submit all, in rounds until the time is over. Return: how many results were errors. */
static uint32_t run_all(mproc_pool *pool, uint32_t n)
{
	static mproc_future *futures[TASKS];
	uint32_t failed = 0;

	for (uint32_t i = 0; i < n; i++) {
		futures[i] = entry_submit(pool, i);
		assert_non_null(futures[i]);
	}
	for (uint32_t i = 0; i < n; i++) {
		int64_t value = -1;
		int r = entry_result(futures[i], &value, mproc_after_ms(60000));

		if (r == 0)
			assert_int_equal(value, i + 1);
		else
			assert_int_equal(r, -ESRCH);
		failed += r != 0;
		mproc_future_unref(futures[i]);
	}
	return failed;
}

static uint32_t how_many(void)
{
	return t_long() ? TASKS : t_sanitized() ? TASKS / 8 : TASKS / 2;
}

static void storm(uint32_t retry_killed, int signal, uint32_t max_us, uint32_t *ret_failed,
		  struct mproc_pool_stats *ret)
{
	mproc_pool *pool = pool_with(retry_killed);
	struct killer killer = {
		.pool = pool, .seed = t_seed(), .signal = signal, .max_us = max_us
	};
	uint64_t heals;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, kill_at_random, &killer), 0);
	*ret_failed = 0;
	do {
		*ret_failed += run_all(pool, how_many());
	} while (atomic_load(&killer.n) < 20);
	atomic_store(&ledger->stop, 1);
	assert_int_equal(pthread_join(thread, NULL), 0);
	mproc_pool_stats(pool, ret);
	heals = pool->segment->range->reg->heals;
	print_message("# %u signals, %u deaths, %u retried, %u failed, %u healings\n",
		      atomic_load(&killer.n), (unsigned)ret->n_deaths, (unsigned)ret->n_retried,
		      *ret_failed, (unsigned)heals);
	end(pool);
}

static void killed_workers_cost_nothing_with_retries(void **state)
{
	struct mproc_pool_stats stats;
	uint32_t failed;

	(void)state;
	storm(MPROC_POOL_UNLIMITED, SIGKILL, 3000, &failed, &stats);
	assert_int_equal(failed, 0);
	assert_true(stats.n_deaths > 0);
	/* Every task came to its end; more often only where a worker died after that. */
	for (uint32_t i = 0; i < how_many(); i++)
		assert_true(atomic_load(&ledger->runs[i]) > 0);
}

static void each_death_costs_one_task_at_most(void **state)
{
	struct mproc_pool_stats stats;
	uint32_t failed;

	(void)state;
	storm(0, SIGKILL, 3000, &failed, &stats);
	assert_true(failed <= stats.n_deaths);
	assert_int_equal(stats.n_failed, failed);
	assert_int_equal(stats.n_retried, 0);
}

static void stopped_workers_are_waited_for(void **state)
{
	struct mproc_pool_stats stats;
	uint32_t failed;

	(void)state;
	storm(0, SIGSTOP, 3000, &failed, &stats);
	assert_int_equal(failed, 0);
	assert_int_equal(stats.n_deaths, 0);
	for (uint32_t i = 0; i < how_many(); i++)
		assert_true(atomic_load(&ledger->runs[i]) > 0);
}

static void nothing_heals_without_a_death(void **state)
{
	mproc_pool *pool = pool_with(0);
	uint64_t heals = pool->segment->range->reg->heals;

	(void)state;
	assert_int_equal(run_all(pool, how_many()), 0);
	for (uint32_t i = 0; i < how_many(); i++)
		assert_int_equal(atomic_load(&ledger->runs[i]), 1);
	assert_int_equal(pool->segment->range->reg->heals, heals);
	end(pool);
}

/* A core holds no segment: writing it would keep the dead alive for seconds. */
static void crash_with_cores_on_is_soon_over(void **state)
{
	struct rlimit limit;
	mproc_future *future;
	mproc_pool *pool;
	int64_t value, deadline;
	char dir[] = "/tmp/mproc_core_XXXXXX", cwd[4096], path[64];

	(void)state;
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_CORE, &limit), 0);
	pool = pool_with(0);
	deadline = mproc_after_ms(20000);
	for (int i = 0; i < 3; i++) {
		struct mproc_future_error error;

		future = crash_submit(pool, i);
		assert_int_equal(crash_result(future, &value, deadline), -ESRCH);
		assert_int_equal(mproc_future_error(future, &error), 1);
		assert_int_equal(error.signal, SIGSEGV);
		mproc_future_unref(future);
	}
	assert_int_equal(run_all(pool, 100), 0);
	end(pool);
	assert_int_equal(chdir(cwd), 0);
	snprintf(path, sizeof(path), "rm -rf %s", dir);
	assert_int_equal(system(path), 0);
}

#define TEST(fn) cmocka_unit_test(fn)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(killed_workers_cost_nothing_with_retries),
		TEST(each_death_costs_one_task_at_most),
		TEST(stopped_workers_are_waited_for),
		TEST(nothing_heals_without_a_death),
		TEST(crash_with_cores_on_is_soon_over),
	};

	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (ledger == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests_name("pool storm", tests, NULL, NULL);
}
