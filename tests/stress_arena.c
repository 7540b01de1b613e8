/* SPDX-License-Identifier: MIT */

/*
 * The arena under random SIGKILL and SIGSTOP, with a board of what is published
 *
 * Workers allocate, fill, resize, publish, adopt, verify and free. The board lies in memory
 * of its own, which no kill tears: a row for each worker, in which he alone, or who
 * follows him, announces a block before he publishes it. An entry names a block and
 * its generation, so one whose block died with its owner is known as empty. At the
 * end of a round nothing is in use but what the board says.
 */

#include <errno.h>
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
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/arena.h>
#include <mproc/common.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "tests/support/arena.h"
#include "tests/support/child.h"

#define WORKERS 5
#define ROW     32
#define OWN     24 /* private blocks of a worker */
#define PAGES   256

#define STEPS_LONG 1000000u

/* An entry: low half of the generation 32 | offset, a multiple of 64 | state */
#define EMPTY     0u
#define ANNOUNCED 1u
#define READY     2u
#define STATE     63u

struct board {
	_Atomic(uint64_t) n_broken; /* blocks that were not as their owner left them */
	_Atomic(uint64_t) n_steps;
	_Atomic(uint64_t) n_taken;
	_Atomic(uint64_t) n_resized; /* where they were */
	_Atomic(uint64_t) n_moved;
	_Atomic(uint32_t) stop;
	struct {
		_Atomic(uint64_t) entry;
		_Atomic(uint64_t) generation;
	} at[WORKERS][ROW];
};

struct worker {
	uint32_t number;
	uint64_t seed;
	uint64_t own[OWN];
};

static struct t_arena a;
static struct board *board;

static int setup(void **state)
{
	(void)state;
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	return board == MAP_FAILED ? -1 : t_arena_open(&a, 16, 32, PAGES);
}

static int teardown(void **state)
{
	(void)state;
	t_arena_close(&a);
	munmap(board, sizeof(*board));
	return 0;
}

static int64_t seconds(double by_default)
{
	const char *given = getenv("MPROC_STRESS_SECONDS");

	return (int64_t)(1e9 * (given ? atof(given) : t_sanitized() ? by_default / 2 : by_default));
}

/* Every word of a block names the block. */
static void fill(uint64_t off)
{
	uint64_t *word = (void *)(a.range.base + off);

	for (uint64_t i = 0; i < mproc__arena_len(&a.segment, off) / 8; i++)
		word[i] = off ^ i;
}

/* The first @len bytes of the block at @off are as they were filled when it was at @was. */
static void verify_moved(uint64_t off, uint64_t was, uint64_t len)
{
	const uint64_t *word = (void *)(a.range.base + off);

	for (uint64_t i = 0; i < len / 8; i++)
		if (word[i] != (was ^ i)) {
			atomic_fetch_add(&board->n_broken, 1);
			return;
		}
}

static void verify(uint64_t off)
{
	verify_moved(off, off, mproc__arena_len(&a.segment, off));
}

static uint64_t some_len(struct worker *w)
{
	uint64_t dice = t_random(&w->seed) % 100;

	if (dice < 70)
		return 1 + t_random(&w->seed) % 2048;
	return dice < 98 ? 1 + t_random(&w->seed) % 20000 : 1 + t_random(&w->seed) % 300000;
}

static void make(struct worker *w, uint64_t *own)
{
	uint64_t len = some_len(w), align = 1, off;
	int r;

	/* One in four at a multiple of up to 64 KiB. */
	if (t_random(&w->seed) % 4 == 0)
		align <<= t_random(&w->seed) % 17;
	r = mproc__arena_alloc_aligned(&a.segment, t_arena_me(&a), len, align, &off);
	t_check(r == 0 || r == -ENOSPC);
	if (r < 0)
		return;
	t_check(off % align == 0 && mproc__arena_len(&a.segment, off) >= len);
	fill(off);
	*own = off;
}

/* Another length, here or elsewhere: what is common to both is as it was. */
static void resize(struct worker *w, uint64_t *own)
{
	uint64_t had = mproc__arena_len(&a.segment, *own), len = some_len(w), off;
	void *block = a.range.base + *own;
	int r;

	/* Half of them by so little that it may be had where it is. */
	if (t_random(&w->seed) % 2)
		len = had - had / 2 + t_random(&w->seed) % had;
	verify(*own);
	r = mproc_arena_realloc(&block, &a.segment, len);
	t_check(r == 0 || r == -ENOSPC);
	off = (uint64_t)((char *)block - a.range.base);
	t_check(r == 0 || off == *own);
	verify_moved(off, *own, had < len || r < 0 ? had : len);
	if (r < 0)
		return;
	t_check(mproc__arena_len(&a.segment, off) >= len);
	atomic_fetch_add(off == *own ? &board->n_resized : &board->n_moved, 1);
	fill(off);
	*own = off;
}

static void drop(uint64_t *own)
{
	verify(*own);
	t_check(mproc__arena_free(&a.segment, t_arena_me(&a), *own) == 0);
	*own = 0;
}

static uint64_t off_of(uint64_t entry)
{
	return (uint32_t)entry & ~STATE;
}

/* Put a block of ours on the board, if our row has room. */
static void give(struct worker *w, uint64_t *own)
{
	for (int i = 0; i < ROW; i++) {
		_Atomic(uint64_t) *entry = &board->at[w->number][i].entry;
		uint64_t generation, block;

		if (atomic_load(entry) != EMPTY)
			continue;
		generation = mproc__arena_generation_of(&a.segment, *own);
		block = generation << 32 | *own;
		atomic_store(&board->at[w->number][i].generation, generation);
		atomic_store(entry, block | ANNOUNCED);
		t_check(mproc__arena_publish(&a.segment, t_arena_me(&a), *own) == 0);
		atomic_store(entry, block | READY);
		*own = 0;
		return;
	}
}

/* Take a block off the board. */
static void take(struct worker *w, uint64_t *own)
{
	uint32_t row = t_random(&w->seed) % WORKERS, i = t_random(&w->seed) % ROW;
	uint64_t generation = atomic_load(&board->at[row][i].generation);
	uint64_t entry = atomic_load(&board->at[row][i].entry);

	if ((entry & STATE) != READY || (uint32_t)generation != entry >> 32)
		return;
	if (mproc__arena_adopt_exact(&a.segment, t_arena_me(&a), off_of(entry), generation) == 0) {
		*own = off_of(entry);
		verify(*own);
		atomic_fetch_add(&board->n_taken, 1);
	}
	/* Taken, or died with one who was killed before he could say so. */
	if (*own || mproc__arena_generation_of(&a.segment, off_of(entry)) != generation)
		atomic_compare_exchange_strong(&board->at[row][i].entry, &entry, EMPTY);
}

/* What the one before us announced and may not have published. */
static void clean_row(struct worker *w)
{
	for (int i = 0; i < ROW; i++) {
		uint64_t entry = atomic_load(&board->at[w->number][i].entry);
		uint64_t generation = atomic_load(&board->at[w->number][i].generation);

		if ((entry & STATE) != ANNOUNCED)
			continue;
		if (mproc__arena_adopt_exact(&a.segment, t_arena_me(&a), off_of(entry),
					     generation) == 0)
			t_check(mproc__arena_free(&a.segment, t_arena_me(&a), off_of(entry)) == 0);
		atomic_store(&board->at[w->number][i].entry, EMPTY);
	}
}

static void work(void *arg)
{
	struct worker w = *(struct worker *)arg;

	alarm(600);
	clean_row(&w);
	while (!atomic_load(&board->stop)) {
		uint64_t *own = &w.own[t_random(&w.seed) % OWN];

		if (!*own && t_random(&w.seed) % 3)
			make(&w, own);
		else if (!*own)
			take(&w, own);
		else if (t_random(&w.seed) % 4 == 0)
			resize(&w, own);
		else if (t_random(&w.seed) % 3)
			drop(own);
		else
			give(&w, own);
		atomic_fetch_add(&board->n_steps, 1);
	}
	for (int i = 0; i < OWN; i++)
		if (w.own[i])
			drop(&w.own[i]);
}

/* All workers are gone: nothing is in use but what the board says. */
static void assert_balanced(void)
{
	struct mproc__arena_stats stats;
	uint64_t sum = 0, off;

	while (mproc__reap_all(a.range.range) > 0)
		;
	for (int row = 0; row < WORKERS; row++) {
		for (int i = 0; i < ROW; i++) {
			off = off_of(atomic_load(&board->at[row][i].entry));
			if (off && mproc__arena_generation_of(&a.segment, off) ==
					   atomic_load(&board->at[row][i].generation))
				sum += mproc__arena_len(&a.segment, off);
		}
	}
	assert_int_equal(mproc_arena_check(&a.segment, MPROC_FOREVER), 0);
	mproc__arena_stats(&a.segment, &stats);
	assert_int_equal(stats.used, sum);
	assert_int_equal(board->n_broken, 0);
	for (int row = 0; row < WORKERS; row++) {
		for (int i = 0; i < ROW; i++) {
			off = off_of(atomic_load(&board->at[row][i].entry));
			if (off && mproc__arena_adopt_exact(
					   &a.segment, t_arena_me(&a), off,
					   atomic_load(&board->at[row][i].generation)) == 0)
				assert_int_equal(mproc__arena_free(&a.segment, t_arena_me(&a), off),
						 0);
		}
	}
	assert_int_equal(mproc__arena_alloc(&a.segment, t_arena_me(&a), a.bytes, false, &off), 0);
	assert_int_equal(mproc__arena_free(&a.segment, t_arena_me(&a), off), 0);
}

static void nap_us(uint64_t us)
{
	nanosleep(&(struct timespec){ 0, (long)us * 1000 }, NULL);
}

static void start(struct worker *w, pid_t *pid, uint64_t *seed)
{
	w->seed = t_random(seed);
	*pid = t_spawn(work, w);
}

static bool enough_was_taken(void *arg)
{
	(void)arg;
	return atomic_load(&board->n_taken) > (t_sanitized() ? 100 : 5000);
}

static void undisturbed_workers_balance_and_heal_nothing(void **state)
{
	struct worker w[WORKERS] = { { 0 } };
	uint64_t seed = t_seed();
	pid_t pids[WORKERS];

	(void)state;
	for (uint32_t i = 0; i < WORKERS; i++) {
		w[i].number = i;
		start(&w[i], &pids[i], &seed);
	}
	assert_true(t_wait_until(enough_was_taken, NULL, mproc_after_ms(30000)));
	atomic_store(&board->stop, 1);
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(a.range.range->reg->heals, 0);
	assert_balanced();
}

static void killed_and_stopped_workers_leave_what_they_published(void **state)
{
	int64_t end = mproc_after_ns(seconds(3));
	struct worker w[WORKERS] = { { 0 } };
	uint64_t seed = t_seed(), kills = 0;
	pid_t pids[WORKERS];

	(void)state;
	for (uint32_t i = 0; i < WORKERS; i++) {
		w[i].number = i;
		start(&w[i], &pids[i], &seed);
	}
	while (mproc_now() < end || (t_long() && atomic_load(&board->n_steps) < STEPS_LONG)) {
		uint64_t i = t_random(&seed) % WORKERS;

		nap_us(t_random(&seed) % 4000);
		if (t_random(&seed) % 4 == 0) {
			kill(pids[i], SIGSTOP);
			nap_us(t_random(&seed) % 20000);
			if (t_random(&seed) % 2) {
				kill(pids[i], SIGCONT);
				continue;
			}
		}
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
		start(&w[i], &pids[i], &seed);
		kills++;
	}
	for (int i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
	print_message("# %llu kills, %llu steps, %llu blocks changed hands, %llu their length, "
		      "%llu of them elsewhere\n",
		      (unsigned long long)kills, (unsigned long long)board->n_steps,
		      (unsigned long long)board->n_taken,
		      (unsigned long long)(board->n_resized + board->n_moved),
		      (unsigned long long)board->n_moved);
	assert_true(board->n_taken > 0 && board->n_resized > 0 && board->n_moved > 0);
	assert_balanced();
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(undisturbed_workers_balance_and_heal_nothing),
		TEST(killed_and_stopped_workers_leave_what_they_published),
	};

	return cmocka_run_group_tests_name("stress arena", tests, NULL, NULL);
}
