/* SPDX-License-Identifier: MIT */

/*
 * mproc/pool.h, seen from outside, with workers that die
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
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/cpu.h>
#include <mproc/error.h>
#include <mproc/pack.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "tests/support/child.h"

struct shared {
	_Atomic(int) begun, go, init_fails, pids[8], n_pids;
};

static struct shared *shared;

MPROC_TASK_DECLARE(int64_t, add, (val, int64_t, a), (val, int64_t, b));
MPROC_TASK_DECLARE(int32_t, die, (val, int32_t, how));
MPROC_TASK_DECLARE(int32_t, hold, (val, int32_t, number));

MPROC_TASK(int64_t, add, (val, int64_t, a), (val, int64_t, b))
{
	return a + b;
}

/* 0: lives; more: by this signal; less: exits with that code. */
MPROC_TASK(int32_t, die, (val, int32_t, how))
{
	static const struct rlimit no_core;

	setrlimit(RLIMIT_CORE, &no_core);
	if (how > 0) {
		signal(how, SIG_DFL);
		raise(how);
	}
	if (how < 0)
		_exit(-how);
	return how;
}

MPROC_TASK(int32_t, hold, (val, int32_t, number))
{
	atomic_store(&shared->pids[number & 7], (int)getpid());
	atomic_fetch_add(&shared->begun, 1);
	while (!atomic_load(&shared->go))
		usleep(200);
	return number;
}

typedef struct text_in {
	char *text;
} text_in;

typedef struct text_out {
	char *text;
	uint32_t len;
} text_out;

MPROC_PACK_STRUCT(text_in, (str, text));
MPROC_PACK_STRUCT(text_out, (str, text), (val, len));
MPROC_TASK_FN_DECLARE(echo, text_in, text_out);

static char echoed[1 << 20];

MPROC_TASK_FN(echo, text_in, text_out);

int echo(const text_in *in, text_out *out)
{
	size_t len = strlen(in->text);

	if (len >= sizeof(echoed))
		return -EMSGSIZE;
	memcpy(echoed, in->text, len + 1);
	out->text = echoed;
	out->len = (uint32_t)len;
	return len ? 0 : -EDOM;
}

typedef struct integer {
	int64_t value;
} integer;

MPROC_PACK_STRUCT(integer, (val, value));
MPROC_TASK_FN_DECLARE(root, integer, integer);
MPROC_TASK_FN(root, integer, integer);

int root(const integer *in, integer *out)
{
	char fill[300];

	memset(fill, 'x', sizeof(fill));
	fill[299] = '\0';
	if (in->value < 0)
		return mproc_task_fail(-EDOM, "no root of %d%s", (int)in->value, fill);
	while (out->value * out->value < in->value)
		out->value++;
	return 0;
}

MPROC_TASK_FN_DECLARE(measure, text_in, integer);
MPROC_TASK_FN(measure, text_in, integer);

int measure(const text_in *in, integer *out)
{
	out->value = (int64_t)strlen(in->text);
	return 0;
}

MPROC_TASK_DECLARE(int32_t, die_once, (val, int32_t, number));

/* The first attempt at number 20 is the last of its worker. */
MPROC_TASK(int32_t, die_once, (val, int32_t, number))
{
	if (number == 20 && atomic_fetch_add(&shared->begun, 1) == 0)
		raise(SIGKILL);
	return number;
}

static int setup(void **state)
{
	(void)state;
	memset(shared, 0, sizeof(*shared));
	return 0;
}

static mproc_pool *pool_with(const struct mproc_pool_opts *opts)
{
	mproc_pool *pool;

	assert_int_equal(mproc_pool_create(&pool, NULL, NULL, opts), 0);
	return pool;
}

static void end(mproc_pool *pool)
{
	assert_int_equal(mproc_pool_shutdown(pool, 0, mproc_after_ms(20000)), 0);
	assert_null(mproc_pool_close(pool));
	/* No child is left, not even a zombie. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static int64_t value_of(mproc_future *future)
{
	int64_t value;

	assert_int_equal(add_result(future, &value, mproc_after_ms(20000)), 0);
	return value;
}

static void results_belong_to_their_tasks(void **state)
{
	enum { N = 3000 };
	static mproc_future *futures[N];
	mproc_pool *pool = pool_with(MPROC_POOL_OPTS(.workers = 3, .tasks = 100));
	struct mproc_pool_stats stats;

	(void)state;
	for (int i = 0; i < N; i++) {
		futures[i] = add_submit(pool, i, 1000 * i);
		assert_non_null(futures[i]);
	}
	for (int i = N - 1; i >= 0; i--) {
		assert_int_equal(value_of(futures[i]), 1001 * i);
		assert_null(mproc_future_unref(futures[i]));
	}
	mproc_pool_stats(pool, &stats);
	assert_int_equal(stats.n_submitted, N);
	assert_int_equal(stats.n_done, N);
	assert_int_equal(stats.n_failed + stats.n_retried + stats.n_deaths + stats.n_pending, 0);
	end(pool);
}

static void default_is_a_worker_for_each_usable_cpu(void **state)
{
	struct mproc_pool_stats stats;
	mproc_pool *pool = pool_with(NULL);

	(void)state;
	mproc_pool_stats(pool, &stats);
	assert_int_equal(stats.n_workers, mproc_cpu_count());
	end(pool);
}

static void long_texts_go_there_and_back(void **state)
{
	mproc_pool *pool = pool_with(MPROC_POOL_OPTS(.workers = 2));
	size_t len = (1 << 20) - 100;
	char *text = malloc(len + 1);
	text_in in = { .text = text };
	mproc_future *futures[5];
	text_out out;

	(void)state;
	memset(text, 'x', len);
	text[len] = '\0';
	for (int i = 0; i < 5; i++) {
		futures[i] = echo_submit(pool, &in);
		assert_non_null(futures[i]);
	}
	for (int i = 0; i < 5; i++) {
		assert_int_equal(echo_result(futures[i], &out, mproc_after_ms(20000)), 0);
		assert_int_equal(out.len, len);
		assert_string_equal(out.text, text);
		mproc_future_unref(futures[i]);
	}
	free(text);
	text = malloc((1 << 20) + 1);
	memset(text, 'x', 1 << 20);
	text[1 << 20] = '\0';
	in.text = text;
	assert_null(echo_submit(pool, &in));
	assert_int_equal(errno, EMSGSIZE);
	assert_non_null(strstr(mproc_error_text(), "at most 1048576"));
	free(text);
	end(pool);
}

static void crash_fails_its_task_alone(void **state)
{
	mproc_pool *pool = pool_with(MPROC_POOL_OPTS(.workers = 2));
	mproc_future *good[20], *bad[3];
	struct mproc_future_error error;
	int32_t ret;

	(void)state;
	bad[0] = die_submit(pool, SIGSEGV);
	bad[1] = die_submit(pool, -7);
	bad[2] = die_submit(pool, SIGKILL);
	for (int i = 0; i < 20; i++)
		good[i] = add_submit(pool, i, i);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(value_of(good[i]), 2 * i);
		mproc_future_unref(good[i]);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(die_result(bad[i], &ret, mproc_after_ms(20000)), -ESRCH);
	assert_int_equal(mproc_future_error(bad[0], &error), 1);
	assert_int_equal(error.signal, SIGSEGV);
	assert_int_equal(error.attempt, 1);
	assert_true(error.pid > 0);
	assert_non_null(strstr(error.text, "task die: worker"));
	assert_non_null(strstr(error.text, "was killed by signal 11"));
	assert_int_equal(mproc_future_error(bad[1], &error), 1);
	assert_int_equal(error.signal, 0);
	assert_int_equal(error.exit_code, 7);
	assert_non_null(strstr(error.text, "exited with code 7 in attempt 1"));
	for (int i = 0; i < 3; i++)
		mproc_future_unref(bad[i]);
	end(pool);
}

static void retries_are_counted_by_their_cause(void **state)
{
	mproc_pool *pool =
		pool_with(MPROC_POOL_OPTS(.workers = 2, .retry_crashed = 3, .retry_killed = 1));
	mproc_future *crashed = die_submit(pool, SIGSEGV), *killed = die_submit(pool, SIGTERM);
	struct mproc_future_error error;
	struct mproc_pool_stats stats;
	int32_t ret;

	(void)state;
	assert_int_equal(die_result(crashed, &ret, mproc_after_ms(20000)), -ESRCH);
	assert_int_equal(mproc_future_error(crashed, &error), 1);
	assert_int_equal(error.attempt, 4);
	assert_int_equal(die_result(killed, &ret, mproc_after_ms(20000)), -ESRCH);
	assert_int_equal(mproc_future_error(killed, &error), 1);
	assert_int_equal(error.attempt, 2);
	mproc_pool_stats(pool, &stats);
	assert_int_equal(stats.n_deaths, 6);
	assert_int_equal(stats.n_retried, 4);
	mproc_future_unref(crashed);
	mproc_future_unref(killed);
	end(pool);
}

static bool has_begun(void *arg)
{
	return atomic_load(&shared->begun) >= (int)(intptr_t)arg;
}

static void killed_worker_is_replaced_and_its_task_tried_again(void **state)
{
	mproc_pool *pool =
		pool_with(MPROC_POOL_OPTS(.workers = 2, .retry_killed = MPROC_POOL_UNLIMITED));
	mproc_future *a = hold_submit(pool, 0), *b = hold_submit(pool, 1);
	int32_t ret;

	(void)state;
	for (int i = 1; i <= 5; i++) {
		assert_true(
			t_wait_until(has_begun, (void *)(intptr_t)(1 + i), mproc_after_ms(20000)));
		kill(atomic_load(&shared->pids[0]), SIGKILL);
	}
	assert_true(t_wait_until(has_begun, (void *)7, mproc_after_ms(20000)));
	atomic_store(&shared->go, 1);
	assert_int_equal(hold_result(a, &ret, mproc_after_ms(20000)), 0);
	assert_int_equal(ret, 0);
	assert_int_equal(hold_result(b, &ret, mproc_after_ms(20000)), 0);
	assert_int_equal(ret, 1);
	mproc_future_unref(a);
	mproc_future_unref(b);
	end(pool);
}

/* Of a map: more than there are, all, some, as many as go to a worker, one. */
static const size_t chunks[] = { 0, 1, 2, 7, 32, 500, 100000 };

#define N_CHUNKS (sizeof(chunks) / sizeof(chunks[0]))

static void map_keeps_the_order(void **state)
{
	enum { N = 500 };
	mproc_pool *pool = pool_with(MPROC_POOL_OPTS(.workers = 2, .tasks = 32));
	struct add_args args[N];
	int64_t sums[N];

	(void)state;
	for (int i = 0; i < N; i++)
		args[i] = (struct add_args){ .a = i, .b = 7 };
	for (size_t c = 0; c < N_CHUNKS; c++) {
		memset(sums, 0, sizeof(sums));
		assert_int_equal(mproc_pool_map(pool, &add_task, args, sizeof(args[0]), sums,
						sizeof(sums[0]), N, chunks[c],
						mproc_after_ms(20000)),
				 0);
		for (int i = 0; i < N; i++)
			assert_int_equal(sums[i], i + 7);
	}
	assert_int_equal(mproc_pool_map(pool, &add_task, args, sizeof(args[0]), sums,
					sizeof(sums[0]), 0, 5, MPROC_NOWAIT),
			 0);
	/* A result with pointers would dangle. */
	assert_int_equal(mproc_pool_map(pool, &echo_task, args, 8, sums, 8, 1, 0, MPROC_FOREVER),
			 -EINVAL);
	end(pool);
}

static void map_sends_a_chunk_in_one_message(void **state)
{
	enum { N = 500 };
	static const uint64_t messages[] = { 8, N, 250, 72, 16, 3, 3 };
	mproc_pool *pool = pool_with(MPROC_POOL_OPTS(.workers = 2));
	static struct add_args args[N];
	struct mproc_pool_stats stats;
	uint64_t n_before = 0;
	int64_t sums[N];

	(void)state;
	for (size_t c = 0; c < N_CHUNKS; c++) {
		assert_int_equal(mproc_pool_map(pool, &add_task, args, sizeof(args[0]), sums,
						sizeof(sums[0]), N, chunks[c],
						mproc_after_ms(20000)),
				 0);
		mproc_pool_stats(pool, &stats);
		assert_int_equal(stats.n_submitted - n_before, messages[c]);
		assert_int_equal(stats.n_done, stats.n_submitted);
		n_before = stats.n_submitted;
	}
	end(pool);
}

static void item_of_a_map_fails_alone(void **state)
{
	enum { N = 100 };
	mproc_pool *pool = pool_with(MPROC_POOL_OPTS(.workers = 2));
	integer items[N], roots[N];

	(void)state;
	for (size_t c = 0; c < N_CHUNKS; c++) {
		for (int i = 0; i < N; i++) {
			items[i].value = i % 10 == 3 ? -i : i * i;
			roots[i].value = -1;
		}
		assert_int_equal(mproc_pool_map(pool, &root_task, items, sizeof(items[0]), roots,
						sizeof(roots[0]), N, chunks[c],
						mproc_after_ms(20000)),
				 -EDOM);
		/* The first in order is told, with all of a text that is as long as it may be. */
		assert_non_null(strstr(mproc_error_text(), "no root of -3xxx"));
		assert_int_equal(strlen(mproc_error_text()), chunks[c] == 1 ? 191 : 255);
		for (int i = 0; i < N; i++)
			assert_int_equal(roots[i].value, i % 10 == 3 ? -1 : i);
	}
	end(pool);
}

/* A chunk is what is attempted. */
static void death_costs_its_chunk_of_a_map(void **state)
{
	enum { N = 40, CHUNK = 10 };
	mproc_pool *pool = pool_with(MPROC_POOL_OPTS(.workers = 2));
	struct die_args args[N] = { 0 };
	int32_t results[N];

	(void)state;
	args[25].how = SIGKILL;
	memset(results, -1, sizeof(results));
	assert_int_equal(mproc_pool_map(pool, &die_task, args, sizeof(args[0]), results,
					sizeof(results[0]), N, CHUNK, mproc_after_ms(20000)),
			 -ESRCH);
	assert_non_null(strstr(mproc_error_text(), "was killed by signal 9"));
	for (int i = 0; i < N; i++)
		assert_int_equal(results[i], i / CHUNK == 25 / CHUNK ? -1 : 0);
	end(pool);
}

static void chunk_of_a_killed_worker_is_tried_again(void **state)
{
	enum { N = 64, CHUNK = 8 };
	mproc_pool *pool =
		pool_with(MPROC_POOL_OPTS(.workers = 2, .retry_killed = MPROC_POOL_UNLIMITED));
	struct die_once_args args[N] = { 0 };
	struct mproc_pool_stats stats;
	int32_t results[N];

	(void)state;
	for (int i = 0; i < N; i++)
		args[i].number = i;
	memset(results, -1, sizeof(results));
	assert_int_equal(mproc_pool_map(pool, &die_once_task, args, sizeof(args[0]), results,
					sizeof(results[0]), N, CHUNK, mproc_after_ms(20000)),
			 0);
	for (int i = 0; i < N; i++)
		assert_int_equal(results[i], i);
	mproc_pool_stats(pool, &stats);
	assert_int_equal(stats.n_deaths, 1);
	assert_int_equal(stats.n_retried, 1);
	end(pool);
}

/* Arguments from nothing to what fits into no message beside another, nor at all. */
static void long_items_of_a_map_go_alone(void **state)
{
	enum { N = 60 };
	mproc_pool *pool = pool_with(MPROC_POOL_OPTS(.workers = 2, .task_max = 100000));
	size_t most = 99990;
	char *text = malloc(most + 100);
	text_in items[N];
	integer lengths[N];

	(void)state;
	memset(text, 'x', most + 99);
	text[most] = '\0';
	for (int i = 0; i < N; i++)
		items[i].text = i % 7 == 0 ? text : text + most - (size_t)i * i * 20;
	for (size_t c = 0; c < N_CHUNKS; c++) {
		memset(lengths, 0, sizeof(lengths));
		assert_int_equal(mproc_pool_map(pool, &measure_task, items, sizeof(items[0]),
						lengths, sizeof(lengths[0]), N, chunks[c],
						mproc_after_ms(20000)),
				 0);
		for (int i = 0; i < N; i++)
			assert_int_equal(lengths[i].value, strlen(items[i].text));
	}
	/* What comes before one that is too long is done. */
	text[most] = 'x';
	text[most + 99] = '\0';
	for (int i = 0; i < 50; i++)
		items[i].text = text + most + 99 - i;
	memset(lengths, 0, sizeof(lengths));
	items[50].text = text;
	assert_int_equal(mproc_pool_map(pool, &measure_task, items, sizeof(items[0]), lengths,
					sizeof(lengths[0]), N, 0, mproc_after_ms(20000)),
			 -EMSGSIZE);
	for (int i = 0; i < 50; i++)
		assert_int_equal(lengths[i].value, i);
	free(text);
	end(pool);
}

static void shutdown_ends_what_it_should(void **state)
{
	mproc_pool *pool = pool_with(MPROC_POOL_OPTS(.workers = 1));
	mproc_future *running = hold_submit(pool, 0), *waiting;
	int32_t ret;

	(void)state;
	assert_true(t_wait_until(has_begun, (void *)1, mproc_after_ms(20000)));
	waiting = hold_submit(pool, 1);
	assert_int_equal(mproc_pool_shutdown(pool, 8, MPROC_NOWAIT), -EINVAL);
	assert_int_equal(mproc_pool_shutdown(pool, MPROC_POOL_CANCEL, mproc_after_ms(20)),
			 -ETIMEDOUT);
	assert_int_equal(hold_result(waiting, &ret, MPROC_NOWAIT), -ECANCELED);
	assert_null(add_submit(pool, 1, 1));
	assert_int_equal(errno, EPIPE);
	atomic_store(&shared->go, 1);
	assert_int_equal(mproc_pool_shutdown(pool, 0, mproc_after_ms(20000)), 0);
	assert_int_equal(mproc_pool_shutdown(pool, 0, mproc_after_ms(20000)), 0);
	assert_int_equal(hold_result(running, &ret, MPROC_NOWAIT), 0);
	mproc_pool_close(pool);
	/* Futures outlive their pool. */
	assert_int_equal(hold_result(running, &ret, MPROC_NOWAIT), 0);
	assert_int_equal(hold_result(waiting, &ret, MPROC_NOWAIT), -ECANCELED);
	mproc_future_unref(running);
	mproc_future_unref(waiting);
}

static void close_without_shutdown_kills(void **state)
{
	size_t fds = t_count_fds();
	mproc_pool *pool;
	mproc_future *running;
	int32_t ret;

	(void)state;
	/* The default segment keeps its descriptor. */
	pool = pool_with(MPROC_POOL_OPTS(.workers = 2));
	running = hold_submit(pool, 0);
	assert_true(t_wait_until(has_begun, (void *)1, mproc_after_ms(20000)));
	assert_null(mproc_pool_close(pool));
	assert_int_equal(hold_result(running, &ret, MPROC_NOWAIT) < 0, 1);
	mproc_future_unref(running);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(t_count_fds(), fds);
	assert_null(mproc_pool_close(NULL));
}

static mproc_pool *inherited_pool;
static mproc_future *inherited_future;

static void use_parents_pool(void *arg)
{
	(void)arg;
	t_check(!add_submit(inherited_pool, 1, 2) && errno == EPERM);
	t_check(mproc_future_done(inherited_future) == -EPERM);
	t_check(mproc_pool_shutdown(inherited_pool, 0, MPROC_NOWAIT) == -EPERM);
	t_check(strstr(mproc_error_text(), "belongs to process"));
}

static void forked_child_is_refused(void **state)
{
	(void)state;
	inherited_pool = pool_with(MPROC_POOL_OPTS(.workers = 1));
	inherited_future = add_submit(inherited_pool, 1, 1);
	assert_int_equal(t_reap(t_spawn(use_parents_pool, NULL)), 0);
	assert_int_equal(value_of(inherited_future), 2);
	mproc_future_unref(inherited_future);
	end(inherited_pool);
}

static int failing_init(void *arg)
{
	(void)arg;
	return atomic_load(&shared->init_fails);
}

static void pool_whose_workers_cannot_begin_is_broken(void **state)
{
	mproc_pool *pool;
	mproc_future *future;
	int64_t ret;

	(void)state;
	atomic_store(&shared->init_fails, 1);
	pool = pool_with(MPROC_POOL_OPTS(.workers = 2, .init = failing_init));
	future = add_submit(pool, 1, 1);
	if (future) {
		assert_int_equal(add_result(future, &ret, mproc_after_ms(20000)), -ESRCH);
		assert_non_null(strstr(mproc_error_text(), "die before they can begin"));
		mproc_future_unref(future);
	}
	assert_null(add_submit(pool, 1, 1));
	assert_int_equal(errno, EPIPE);
	end(pool);
}

static void be_parent(void *arg)
{
	mproc_pool *pool;

	(void)arg;
	t_check(mproc_pool_create(&pool, NULL, NULL, MPROC_POOL_OPTS(.workers = 3)) == 0);
	for (int i = 0; i < 2; i++)
		t_check(hold_submit(pool, i));
	for (int i = 0; i < 3; i++) {
		struct mproc_pool_worker worker;

		t_check(mproc_pool_worker(pool, (uint32_t)i, &worker) == 0);
		atomic_store(&shared->pids[i + 4], worker.pid);
	}
	atomic_store(&shared->n_pids, 3);
	for (;;)
		pause();
}

static bool workers_are_known(void *arg)
{
	(void)arg;
	return atomic_load(&shared->n_pids) == 3;
}

static bool workers_are_gone(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++) {
		char at = t_state(atomic_load(&shared->pids[i + 4]));

		if (at && at != 'Z')
			return false;
	}
	return true;
}

static void workers_end_with_their_parent(void **state)
{
	pid_t pid = t_spawn(be_parent, NULL);

	(void)state;
	assert_true(t_wait_until(workers_are_known, NULL, mproc_after_ms(20000)));
	assert_true(t_wait_until(has_begun, (void *)2, mproc_after_ms(20000)));
	assert_false(workers_are_gone(NULL));
	kill(pid, SIGKILL);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_true(t_wait_until(workers_are_gone, NULL, mproc_after_ms(5000)));
}

/* In a segment that lives on: leaves tasks queued and claimed, and their blocks. */
static void be_parent_there(void *arg)
{
	static char chars[100000];
	text_in in = { .text = chars };
	mproc_pool *pool;

	memset(chars, 'x', sizeof(chars) - 1);
	t_check(mproc_pool_create(&pool, arg, "theirs", MPROC_POOL_OPTS(.workers = 2)) == 0);
	for (int i = 0; i < 2; i++)
		t_check(hold_submit(pool, i));
	for (int i = 0; i < 3; i++)
		t_check(echo_submit(pool, &in));
	while (atomic_load(&shared->begun) < 2)
		usleep(1000);
	raise(SIGKILL);
}

static bool nothing_is_left(void *arg)
{
	mproc_segment *segment = arg;
	struct mproc__arena_stats stats;

	if (mproc__reap_all(segment->range) < 0)
		return false;
	mproc__arena_stats(segment, &stats);
	return stats.used == 0;
}

static void what_a_pool_had_in_a_segment_goes_with_its_parent(void **state)
{
	mproc_segment *segment;
	mproc_pool *pool;

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 8 << 20)),
			 0);
	for (int i = 0; i < 3; i++) {
		atomic_store(&shared->begun, 0);
		assert_int_equal(t_reap(t_spawn(be_parent_there, segment)), SIGKILL);
		assert_true(t_wait_until(nothing_is_left, segment, mproc_after_ms(10000)));
	}
	/* Its name is free as well, and one that is closed leaves nothing either. */
	atomic_store(&shared->begun, 0);
	assert_int_equal(mproc_pool_create(&pool, segment, "theirs", NULL), 0);
	end(pool);
	assert_true(nothing_is_left(segment));
	mproc_segment_close(segment);
}

static void *submit_and_wait(void *arg)
{
	intptr_t wrong = 0;

	for (int i = 0; i < 300; i++) {
		mproc_future *future = add_submit(arg, i, i);
		int64_t sum = -1;

		wrong += !future || add_result(future, &sum, mproc_after_ms(20000)) != 0 ||
			 sum != 2 * i;
		mproc_future_unref(future);
	}
	return (void *)wrong;
}

static void threads_share_a_pool(void **state)
{
	mproc_pool *pool = pool_with(MPROC_POOL_OPTS(.workers = 2, .tasks = 8));
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, submit_and_wait, pool), 0);
	for (int i = 0; i < 4; i++) {
		void *wrong;

		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
	end(pool);
}

static void impossible_options_are_refused(void **state)
{
	mproc_segment *segment;
	mproc_pool *pool = NULL;

	(void)state;
	assert_int_equal(mproc_pool_create(&pool, NULL, NULL, MPROC_POOL_OPTS(.workers = 1025)),
			 -EINVAL);
	assert_int_equal(mproc_pool_create(&pool, NULL, NULL, MPROC_POOL_OPTS(.tasks = 65537)),
			 -EINVAL);
	assert_int_equal(mproc_pool_create(&pool, NULL, NULL, MPROC_POOL_OPTS(.workers = 64)),
			 -EUSERS);
	assert_non_null(strstr(mproc_error_text(), "65 process slots, the segment has 64"));
	assert_int_equal(
		mproc_pool_create(&pool, NULL, NULL, MPROC_POOL_OPTS(.task_max = 1u << 30)),
		-EINVAL);
	/* One that does not grow. */
	assert_int_equal(
		mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 16 << 20)), 0);
	assert_int_equal(mproc_pool_create(&pool, segment, NULL,
					   MPROC_POOL_OPTS(.workers = 1, .tasks = 65536)),
			 -ENOSPC);
	mproc_segment_close(segment);
	assert_null(pool);
}

#define TEST(fn) cmocka_unit_test_setup(fn, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(results_belong_to_their_tasks),
		TEST(default_is_a_worker_for_each_usable_cpu),
		TEST(long_texts_go_there_and_back),
		TEST(crash_fails_its_task_alone),
		TEST(retries_are_counted_by_their_cause),
		TEST(killed_worker_is_replaced_and_its_task_tried_again),
		TEST(map_keeps_the_order),
		TEST(map_sends_a_chunk_in_one_message),
		TEST(item_of_a_map_fails_alone),
		TEST(death_costs_its_chunk_of_a_map),
		TEST(chunk_of_a_killed_worker_is_tried_again),
		TEST(long_items_of_a_map_go_alone),
		TEST(shutdown_ends_what_it_should),
		TEST(close_without_shutdown_kills),
		TEST(forked_child_is_refused),
		TEST(pool_whose_workers_cannot_begin_is_broken),
		TEST(workers_end_with_their_parent),
		TEST(what_a_pool_had_in_a_segment_goes_with_its_parent),
		TEST(threads_share_a_pool),
		TEST(impossible_options_are_refused),
	};

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
