/* SPDX-License-Identifier: MIT */

/*
 * The once under SIGKILL at random
 *
 * Workers go through a row of onces from one end to the other. What each once does is to
 * make four numbers 1, one after the other and slowly, after it has made them 0. Nobody
 * who is told that it is done finds less than four, nobody runs beside another, and one
 * at most is told that he did it.
 */

#include <mproc/once.h>

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/participant.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

#define WORKERS 4
#define ONCES   400
#define NUMBERS 4

struct item {
	mproc_once once;
	_Atomic(uint32_t) numbers[NUMBERS];
	_Atomic(uint64_t) inside; /* owner word of who runs it */
	_Atomic(uint32_t) runs, told;
};

struct shared {
	struct item items[ONCES];
	_Atomic(uint64_t) broken, finished;
};

static struct t_range range;
static struct shared *shared;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, WORKERS + 2, 2 * WORKERS, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

static int make(void *arg)
{
	struct item *item = arg;
	struct mproc__self *me = mproc__self(item, "test");
	uint64_t was = atomic_exchange(&item->inside, me->word);

	if (was && !mproc__dead(range.range, was))
		atomic_fetch_add(&shared->broken, 1);
	atomic_fetch_add(&item->runs, 1);
	for (size_t i = 0; i < NUMBERS; i++)
		atomic_store(&item->numbers[i], 0);
	for (size_t i = 0; i < NUMBERS; i++) {
		usleep(100);
		atomic_store(&item->numbers[i], 1);
	}
	atomic_store(&item->inside, 0);
	return 0;
}

static void go_through(void *arg)
{
	(void)arg;
	alarm(100);
	for (size_t i = 0; i < ONCES; i++) {
		struct item *item = &shared->items[i];
		int r = mproc_once_run(&item->once, make, item, MPROC_FOREVER);

		t_check(r >= 0);
		if (r == MPROC_ONCE_RAN)
			atomic_fetch_add(&item->told, 1);
		for (size_t k = 0; k < NUMBERS; k++)
			if (atomic_load(&item->numbers[k]) != 1)
				atomic_fetch_add(&shared->broken, 1);
	}
	atomic_fetch_add(&shared->finished, 1);
	for (;;)
		pause();
}

static void play(uint64_t *random, uint64_t *kills, uint64_t *again)
{
	int64_t end = mproc_after_ms(60000);
	pid_t pids[WORKERS];

	*shared = (struct shared){ 0 };
	for (size_t i = 0; i < ONCES; i++)
		assert_int_equal(mproc_once_init(&shared->items[i].once, 0), 0);
	for (size_t i = 0; i < WORKERS; i++)
		pids[i] = t_spawn(go_through, NULL);
	while (atomic_load(&shared->finished) == 0 && mproc_now() < end) {
		size_t i = t_random(random) % WORKERS;

		usleep(t_random(random) % 3000);
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
		pids[i] = t_spawn(go_through, NULL);
		++*kills;
	}
	assert_true(atomic_load(&shared->finished) > 0);
	for (size_t i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
	assert_int_equal(shared->broken, 0);
	for (size_t i = 0; i < ONCES; i++) {
		assert_int_equal(mproc_once_is_done(&shared->items[i].once), 1);
		assert_true(shared->items[i].told <= 1);
		assert_true(shared->items[i].runs >= 1);
		*again += shared->items[i].runs > 1;
	}
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
}

static void what_dead_runners_left_is_done_by_others(void **state)
{
	int64_t end = mproc_after_ms(t_long() ? 60000 : 3000);
	uint64_t random = t_seed(), kills = 0, again = 0, rounds = 0;

	(void)state;
	while (mproc_now() < end || again == 0) {
		play(&random, &kills, &again);
		rounds++;
	}
	print_message("# %" PRIu64 " onces, %" PRIu64 " kills, %" PRIu64 " run again\n",
		      rounds * ONCES, kills, again);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_dead_runners_left_is_done_by_others),
	};

	return cmocka_run_group_tests_name("stress once", tests, NULL, NULL);
}
