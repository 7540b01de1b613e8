/* SPDX-License-Identifier: MIT */

/*
 * The ring log under SIGKILL at random
 *
 * Writers number their records, and note each before and after it is appended, in memory of
 * their own. What a reader sees and what he is told he missed is together what was written,
 * but for at most one record of each who died between the two notes.
 */

#include <mproc/ringlog.h>

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/child.h"

#define WRITERS 4

struct ledger {
	_Atomic(uint64_t) before[WRITERS], after[WRITERS];
};

struct entry {
	uint64_t writer, number;
	unsigned char fill[48];
};

static mproc_segment *segment;
static mproc_ringlog *ring;
static struct ledger *ledger;

static int setup(void **state)
{
	(void)state;
	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	assert_true(ledger != MAP_FAILED);
	assert_int_equal(mproc_segment_create(&segment, NULL, NULL), 0);
	return mproc_ringlog_create(&ring, segment, "ring", MPROC_RINGLOG_OPTS(.bytes = 2048));
}

static int teardown(void **state)
{
	(void)state;
	ring = mproc_ringlog_close(ring);
	segment = mproc_segment_close(segment);
	munmap(ledger, sizeof(*ledger));
	return 0;
}

static void work(void *arg)
{
	struct entry entry = { .writer = (uint64_t)(uintptr_t)arg };

	alarm(0); /* its end is a SIGKILL */
	for (;;) {
		entry.number = atomic_fetch_add(&ledger->before[entry.writer], 1);
		memset(entry.fill, (unsigned char)entry.number, sizeof(entry.fill));
		t_check(mproc_ringlog_append(ring, &entry, sizeof(entry), MPROC_FOREVER) == 0);
		atomic_fetch_add(&ledger->after[entry.writer], 1);
	}
}

/* Read all there is. Return: how many. */
static uint64_t drain(struct mproc_ringlog_iter *it, uint64_t last[WRITERS])
{
	struct mproc_ringlog_record record;
	struct entry entry;
	uint64_t n = 0;
	int r;

	/* Those who write go on: not for ever. */
	while (n < 1000 &&
	       (r = mproc_ringlog_next(ring, it, &record, &entry, sizeof(entry))) != 0) {
		assert_int_equal(r, 1);
		assert_int_equal(record.len, sizeof(entry));
		assert_true(entry.writer < WRITERS);
		/* Numbers are from 0 on, so the last one is noted as 1 more. */
		assert_true(entry.number >= last[entry.writer]);
		last[entry.writer] = entry.number + 1;
		for (size_t i = 0; i < sizeof(entry.fill); i++)
			assert_int_equal(entry.fill[i], (unsigned char)entry.number);
		n++;
	}
	return n;
}

static void numbers_have_no_gaps_and_records_are_whole(void **state)
{
	int64_t end = mproc_after_ms(t_long() ? 60000 : 3000);
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;
	uint64_t random = t_seed(), kills = 0, n = 0, before = 0, after = 0, last[WRITERS] = { 0 };
	struct mproc_ringlog_record record;
	struct entry entry;
	pid_t writers[WRITERS];

	(void)state;
	assert_int_equal(mproc_ringlog_seek(ring, &it, 0), 0);
	for (size_t i = 0; i < WRITERS; i++)
		writers[i] = t_spawn(work, (void *)i);
	while (mproc_now() < end) {
		size_t i = t_random(&random) % WRITERS;

		usleep(t_random(&random) % 3000);
		kill(writers[i], SIGKILL);
		assert_int_equal(t_reap(writers[i]), SIGKILL);
		writers[i] = t_spawn(work, (void *)i);
		kills++;
		n += drain(&it, last);
	}
	for (size_t i = 0; i < WRITERS; i++) {
		kill(writers[i], SIGKILL);
		assert_int_equal(t_reap(writers[i]), SIGKILL);
		before += ledger->before[i];
		after += ledger->after[i];
	}
	kills += WRITERS;
	/* The dead hinder nobody. */
	assert_int_equal(mproc_ringlog_append(ring, NULL, 0, mproc_after_ms(1000)), 0);
	while (mproc_ringlog_next(ring, &it, &record, &entry, sizeof(entry)) == 1)
		n++;
	n--; /* the one of this process */
	print_message("# %" PRIu64 " records, %" PRIu64 " read, %" PRIu64 " kills\n",
		      n + it.n_missed, n, kills);
	assert_true(it.seq == n + 1 + it.n_missed);
	assert_true(n + it.n_missed >= after && n + it.n_missed <= before);
	assert_true(before - after <= kills);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(numbers_have_no_gaps_and_records_are_whole, setup,
						teardown),
	};

	return cmocka_run_group_tests_name("ringlog", tests, NULL, NULL);
}
