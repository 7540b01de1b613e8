/* SPDX-License-Identifier: MIT */

/*
 * A worker killed at every instruction of taking, running and returning a task
 *
 * The world is the pool's parent, without its supervisor: whoever checks acts as
 * both, buries the worker, takes in what it returned, and runs what is left.
 *
 * And a parent killed while it makes a pool or closes it, and who cleans up after
 * one: what the pool had in a segment that lives on goes back.
 */

#include <mproc/pool.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include <mproc/pack.h>

#include "ipc/participant.h"
#include "pipes/queue.h"
#include "pool/pool.h"
#include "shm/arena.h"
#include "shm/catalogue_layout.h"
#include "shm/segment_layout.h"
#include "tests/support/sweep.h"

#define LONG_LEN 6000

MPROC_TASK_DECLARE(int64_t, twice, (val, int64_t, x));

MPROC_TASK(int64_t, twice, (val, int64_t, x))
{
	if (x < 0)
		return -1;
	return 2 * x;
}

typedef struct text {
	char *chars;
} text;

MPROC_PACK_STRUCT(text, (str, chars));
MPROC_TASK_FN_DECLARE(copy, text, text);

MPROC_TASK_FN(copy, text, text);

int copy(const text *in, text *out)
{
	if (!in->chars[0])
		return -EDOM;
	out->chars = in->chars;
	return 0;
}

static mproc_segment *segment;
static mproc_pool *pool;
static mproc_future *futures[2];
static uint32_t n_futures;
static uint32_t begun; /* attempts that were over before the victim came */
static struct mproc__worker worker;
static struct mproc__arena_stats before;

static void make_pool(uint32_t retry)
{
	struct mproc__range *range;

	t_sweep_check(mproc_segment_create(&segment, NULL,
					   MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .processes = 6,
							      .threads = 8, .objects = 8)) == 0);
	t_sweep_check(mproc__pool_new(&pool, segment, NULL,
				      MPROC_POOL_OPTS(.workers = 2, .tasks = 4, .task_max = 8192,
						      .retry_killed = retry)) == 0);
	mproc__arena_stats(segment, &before);
	range = segment->range;
	t_sweep_watch(range->reg, mproc__registry_size(range->n_procs, range->n_threads));
	t_sweep_watch(pool->shared, mproc__pool_size(2, 4));
	t_sweep_watch(pool->tasks->shared, 2048);
	t_sweep_watch(pool->done->shared, 2048);
}

static void submit_short(void)
{
	futures[n_futures] = twice_submit(pool, 21 + n_futures);
	t_sweep_check(futures[n_futures]);
	n_futures++;
}

static void one_task(void)
{
	make_pool(0);
	submit_short();
}

static void one_task_with_retry(void)
{
	make_pool(1);
	submit_short();
}

static void two_tasks(void)
{
	make_pool(MPROC_POOL_UNLIMITED);
	submit_short();
	submit_short();
}

#define ITEMS 3

static void submit_chunk(void)
{
	struct mproc__chunk chunk = { .msg = NULL };

	for (int64_t i = 0; i < ITEMS; i++)
		t_sweep_check(mproc__chunk_add(&chunk, pool, &twice_task,
					       &(struct twice_args){ .x = 21 + i }) == 1);
	t_sweep_check(mproc__pool_submit_chunk(&futures[n_futures++], pool, &twice_task, &chunk,
					       MPROC_NOWAIT) == 0);
}

static void chunk_of_a_map(void)
{
	make_pool(0);
	submit_chunk();
}

static void chunk_of_a_map_with_retry(void)
{
	make_pool(1);
	submit_chunk();
}

static char long_text[LONG_LEN + 1];

static void long_task(void)
{
	text in = { .chars = long_text };

	make_pool(1);
	memset(long_text, 'a', LONG_LEN);
	futures[n_futures] = copy_submit(pool, &in);
	t_sweep_check(futures[n_futures]);
	n_futures++;
}

static void failing_task(void)
{
	text in = { .chars = long_text };

	make_pool(1);
	long_text[0] = '\0';
	futures[n_futures] = copy_submit(pool, &in);
	t_sweep_check(futures[n_futures]);
	n_futures++;
}

/* The message of an attempt that is over: its slot has been claimed and given up. */
static void claimed_by_the_dead(void)
{
	uint64_t word;

	make_pool(MPROC_POOL_UNLIMITED);
	submit_short();
	begun = 1;
	word = pool->slots[futures[0]->slot];
	pool->slots[futures[0]->slot] =
		mproc__slot_word(mproc__slot_generation(word), 0, 1, MPROC__SLOT_CLAIMED);
}

static void arrive(void)
{
	t_sweep_check(mproc__worker_begin(&worker, pool, 0, 0) == 0);
}

static int64_t step(void)
{
	return mproc__worker_step(&worker, MPROC_NOWAIT);
}

/* Be the parent: the worker in place 0 is dead. */
static void bury(void)
{
	struct mproc__self *me = mproc__self(pool->shared, "check");

	t_sweep_check(me);
	pool->proc = me->proc;
	pool->proc_generation = mproc__proc_generation(atomic_load(&me->range->procs[me->proc].st));
	pool->places[0].pid = 1;
	pool->places[0].signal = SIGKILL;
	t_sweep_check(mproc__place_give_up(pool, 0));
	t_sweep_check(mproc__reap_all(segment->range) >= 0);
	pthread_mutex_lock(&pool->lock);
	while (mproc__pool_collect(pool, MPROC_NOWAIT) == 0)
		;
	pthread_mutex_unlock(&pool->lock);
}

static void run_the_rest(void)
{
	struct mproc__worker second;
	int r;

	t_sweep_check(mproc__worker_begin(&second, pool, 1, 0) == 0);
	do {
		r = mproc__worker_step(&second, MPROC_NOWAIT);
		t_sweep_check(r == 0 || r == -EAGAIN);
	} while (r == 0);
}

/* Everything that was taken has been given back. */
static void check_nothing_leaks(void)
{
	struct mproc__arena_stats after;

	t_sweep_check(pool->n_pending == 0 && pool->n_free == 4);
	for (uint32_t i = 0; i < 4; i++)
		t_sweep_check(mproc__slot_state(pool->slots[i]) == MPROC__SLOT_FREE);
	t_sweep_check(mproc_queue_is_empty(pool->tasks));
	t_sweep_check(mproc_queue_is_empty(pool->done));
	mproc__arena_stats(segment, &after);
	t_sweep_check(after.used == before.used);
}

static void check_results(const struct t_sweep_seen *seen)
{
	bool retries = pool->opts.retry_killed != 0;

	bury();
	run_the_rest();
	for (uint32_t i = 0; i < n_futures; i++) {
		int64_t value = 0;
		int r = twice_result(futures[i], &value, MPROC_NOWAIT);

		/* Without retries the death may have cost the one task that it had claimed. */
		t_sweep_check(r == 0 || (!retries && !seen->returned && r == -ESRCH));
		t_sweep_check(r < 0 || value == 2 * (21 + (int64_t)i));
		/* What was returned was returned by the first attempt. */
		t_sweep_check(!seen->returned || i > 0 || begun > 0 || futures[i]->attempt == 1);
	}
	check_nothing_leaks();
}

/* All of its items were returned, or none. */
static void check_chunk(const struct t_sweep_seen *seen)
{
	int64_t values[ITEMS] = { 0 };
	int r;

	bury();
	run_the_rest();
	r = mproc_future_result(futures[0], &twice_task, NULL, MPROC_NOWAIT);
	t_sweep_check(r == 0 || (!pool->opts.retry_killed && !seen->returned && r == -ESRCH));
	t_sweep_check(!seen->returned || futures[0]->attempt == 1);
	if (r == 0) {
		t_sweep_check(mproc__chunk_gather(&twice_task, ITEMS, futures[0]->bytes,
						  futures[0]->len, (char *)values,
						  sizeof(values[0])) == 0);
		for (int64_t i = 0; i < ITEMS; i++)
			t_sweep_check(values[i] == 2 * (21 + i));
	}
	check_nothing_leaks();
}

static void check_text(const struct t_sweep_seen *seen)
{
	text out = { .chars = NULL };
	int r;

	bury();
	run_the_rest();
	r = copy_result(futures[0], &out, MPROC_NOWAIT);
	t_sweep_check(long_text[0] ? r == 0 && strcmp(out.chars, long_text) == 0 : r == -EDOM);
	t_sweep_check(!seen->returned || futures[0]->attempt == 1);
	check_nothing_leaks();
}

/* Parents that die. */

static void roomy_segment(void)
{
	struct mproc__range *range;

	t_sweep_check(mproc_segment_create(&segment, NULL,
					   MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .processes = 6,
							      .threads = 8, .objects = 8)) == 0);
	mproc__arena_stats(segment, &before);
	range = segment->range;
	t_sweep_watch(range->reg, mproc__registry_size(range->n_procs, range->n_threads));
	t_sweep_watch(segment->catalogue, mproc__catalogue_bytes(8));
	t_sweep_watch(segment->arena, mproc__arena_head_size(1 << 20));
}

static int64_t make(void)
{
	return mproc__pool_new(&pool, segment, "named",
			       MPROC_POOL_OPTS(.workers = 2, .tasks = 4, .task_max = 8192));
}

/* One short task and one whose arguments lie in a block of their own. */
static void make_and_submit(void)
{
	text in = { .chars = long_text };

	t_sweep_check(make() == 0);
	submit_short();
	memset(long_text, 'a', LONG_LEN);
	t_sweep_check(copy_submit(pool, &in));
	pool->joined = true; /* there is no supervisor */
}

static int64_t close_it(void)
{
	t_sweep_check(!mproc_pool_close(pool));
	return 0;
}

static void be_parent(void *arg)
{
	(void)arg;
	make_and_submit();
}

static void parent_is_dead(void)
{
	roomy_segment();
	t_sweep_helper(be_parent, NULL);
}

static int64_t reap_all(void)
{
	return mproc__reap_all(segment->range);
}

/* Nothing of the pool is there, once those who died have been reaped. */
static void check_all_is_gone(const struct t_sweep_seen *seen)
{
	struct mproc__arena_stats after;

	(void)seen;
	t_sweep_check(mproc__reap_all(segment->range) >= 0);
	for (uint32_t i = 0; i < segment->n_objects; i++) {
		uint32_t state = mproc__entry_state(segment->catalogue->entries[i].word);

		t_sweep_check(state == MPROC__ENTRY_EMPTY || state == MPROC__ENTRY_TOMB);
	}
	mproc__arena_stats(segment, &after);
	t_sweep_check(after.used == before.used);
}

static const struct t_sweep_case cases[] = {
	{ "worker step", "one task", one_task, step, check_results, .arrive = arrive },
	{ "worker step", "one task, retry", one_task_with_retry, step, check_results,
	  .arrive = arrive },
	{ "worker step", "two tasks", two_tasks, step, check_results, .arrive = arrive },
	{ "worker step", "chunk of a map", chunk_of_a_map, step, check_chunk, .arrive = arrive },
	{ "worker step", "chunk of a map, retry", chunk_of_a_map_with_retry, step, check_chunk,
	  .arrive = arrive },
	{ "worker step", "long task", long_task, step, check_text, .arrive = arrive },
	{ "worker step", "failing task", failing_task, step, check_text, .arrive = arrive },
	{ "worker step", "attempt is over", claimed_by_the_dead, step, check_results,
	  .arrive = arrive },
	T_SWEEP("make", "empty segment", roomy_segment, make, check_all_is_gone,
		.recover = reap_all),
	T_SWEEP("close", "tasks are queued", roomy_segment, close_it, check_all_is_gone,
		.arrive = make_and_submit, .recover = reap_all),
	T_SWEEP("reap", "parent is dead", parent_is_dead, reap_all, check_all_is_gone,
		.recover = reap_all),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "pool", cases, sizeof(cases) / sizeof(cases[0]));
}
