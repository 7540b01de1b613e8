/* SPDX-License-Identifier: MIT */

/*
 * A segment that grows from 64 KiB while eight processes allocate in it and are killed
 *
 * Workers allocate, fill, publish, and free. A board in memory of its own, which no kill
 * tears, has a row for each worker, in which he alone, or who follows him, announces a
 * block before he publishes it and before he frees it. What is published is never freed
 * before all that was wanted is there, so that the segment grows; most of a large
 * block is not written, but each of its pages has its mark. Then everything is given
 * back, by others than those who made it.
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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/common.h>
#include <mproc/segment.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/memory.h"
#include "tests/support/child.h"

#define WORKERS 8
#define ROW     4096
#define MIB     (UINT64_C(1) << 20)
#define PAGE    UINT64_C(4096)

/* What an entry says of its block. */
enum { EMPTY, ANNOUNCED, READY, LEAVING };

struct entry {
	_Atomic(uint64_t) off;
	_Atomic(uint64_t) len;
	_Atomic(uint64_t) generation;
	_Atomic(uintptr_t) address; /* where who made it had it: the same for all */
	_Atomic(uint32_t) state;    /* written last */
};

struct board {
	_Atomic(uint64_t) bytes; /* published by all */
	_Atomic(uint64_t) n_broken;
	_Atomic(uint64_t) n_blocks;
	_Atomic(uint32_t) stop;
	struct entry at[WORKERS][ROW];
};

struct worker {
	uint32_t number;
	uint64_t seed;
};

static mproc_segment *segment;
static struct board *board;
static uint64_t goal;

static struct mproc__self *me(void)
{
	return mproc__self(segment->catalogue, "test");
}

/* Each page of a block says which block and which page it is. */
static void mark(char *mem, uint64_t off, uint64_t len)
{
	for (uint64_t i = 0; i + 8 <= len; i += PAGE)
		*(uint64_t *)(void *)(mem + i) = off ^ i ^ UINT64_C(0x5555555555555555);
	mem[len - 1] = (char)off;
}

static bool is_marked(const char *mem, uint64_t off, uint64_t len)
{
	if (mem[len - 1] != (char)off)
		return false;
	for (uint64_t i = 0; i + 8 < len; i += PAGE)
		if (*(const uint64_t *)(const void *)(mem + i) !=
		    (off ^ i ^ UINT64_C(0x5555555555555555)))
			return false;
	return true;
}

/* Small ones, and large ones of about what it takes to come to the goal with a row. */
static uint64_t some_len(struct worker *w)
{
	uint64_t dice = t_random(&w->seed) % 100;

	if (dice < 60)
		return 16 + t_random(&w->seed) % 2033;
	if (dice < 90)
		return 16 + t_random(&w->seed) % 65536;
	return 16 + t_random(&w->seed) % (goal / 512);
}

static void make(struct worker *w, struct entry *e)
{
	uint64_t len = some_len(w), off;
	char *mem;
	int r;

	r = mproc__arena_alloc(segment, me(), len, false, &off);
	t_check(r == 0);
	mem = mproc__arena_at(segment, off, len);
	t_check(mem);
	mark(mem, off, len);
	if (t_random(&w->seed) % 4 == 0) {
		t_check(is_marked(mem, off, len));
		t_check(mproc__arena_free(segment, me(), off) == 0);
		return;
	}
	atomic_store(&e->off, off);
	atomic_store(&e->len, len);
	atomic_store(&e->address, (uintptr_t)mem);
	atomic_store(&e->generation, mproc__arena_generation_of(segment, off));
	atomic_store(&e->state, ANNOUNCED);
	t_check(mproc__arena_publish(segment, me(), off) == 0);
	atomic_store(&e->state, READY);
	atomic_fetch_add(&board->bytes, len);
	atomic_fetch_add(&board->n_blocks, 1);
}

/* Read what another has made: perhaps in memory that we have not heard of. */
static void look(const struct entry *e)
{
	uint64_t off = atomic_load(&e->off), len = atomic_load(&e->len);
	const char *mem;

	if (atomic_load(&e->state) != READY)
		return;
	mem = mproc__arena_at(segment, off, len);
	if (!mem || (uintptr_t)mem != atomic_load(&e->address) || !is_marked(mem, off, len) ||
	    mproc__segment_at(segment, off, len) != mem)
		atomic_fetch_add(&board->n_broken, 1);
}

/* What the one before us announced and may not have published is the reaper's, or is. */
static void clean_row(struct worker *w)
{
	for (int i = 0; i < ROW; i++) {
		struct entry *e = &board->at[w->number][i];

		if (atomic_load(&e->state) != ANNOUNCED)
			continue;
		if (mproc__arena_adopt_exact(segment, me(), atomic_load(&e->off),
					     atomic_load(&e->generation)) == 0)
			t_check(mproc__arena_free(segment, me(), atomic_load(&e->off)) == 0);
		atomic_store(&e->state, EMPTY);
	}
}

static void work(void *arg)
{
	struct worker w = *(struct worker *)arg;

	alarm(900);
	clean_row(&w);
	while (!atomic_load(&board->stop) && atomic_load(&board->bytes) < goal) {
		struct entry *e = &board->at[w.number][t_random(&w.seed) % ROW];

		if (atomic_load(&e->state) == EMPTY)
			make(&w, e);
		look(&board->at[t_random(&w.seed) % WORKERS][t_random(&w.seed) % ROW]);
	}
}

/* Free what is another's, and look at it before. */
static void give_back(void *arg)
{
	struct worker *w = arg;

	alarm(900);
	for (int i = 0; i < ROW; i++) {
		struct entry *e = &board->at[(w->number + 1) % WORKERS][i];

		if (atomic_load(&e->state) != READY)
			continue;
		look(e);
		t_check(mproc__arena_free(segment, me(), atomic_load(&e->off)) == 0);
		atomic_store(&e->state, EMPTY);
	}
}

static int setup(void **state)
{
	struct mproc_segment_opts opts = {
		.size = sizeof(opts),
		.bytes = 64 << 10,
		.bytes_max = goal + goal / 2 + 64 * MIB,
		.processes = 32,
		.threads = 64,
		.objects = 8,
	};
	int r;

	(void)state;
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (board == MAP_FAILED)
		return -1;
	/* The least there can be: 64 KiB for blocks, and the tables. */
	while ((r = mproc_segment_create(&segment, NULL, &opts)) == -EINVAL)
		opts.bytes += PAGE;
	return r;
}

static int teardown(void **state)
{
	(void)state;
	segment = mproc_segment_close(segment);
	munmap(board, sizeof(*board));
	return 0;
}

static void nap_us(uint64_t us)
{
	nanosleep(&(struct timespec){ 0, (long)us * 1000 }, NULL);
}

static uint64_t n_ready(uint64_t *ret_used)
{
	uint64_t n = 0;

	*ret_used = 0;
	for (int row = 0; row < WORKERS; row++)
		for (int i = 0; i < ROW; i++) {
			const struct entry *e = &board->at[row][i];

			if (atomic_load(&e->state) == EMPTY)
				continue;
			/* Announced by one who was killed: published, or gone with him. */
			if (mproc__arena_generation_of(segment, atomic_load(&e->off)) !=
			    atomic_load(&e->generation)) {
				assert_int_equal(atomic_load(&e->state), ANNOUNCED);
				atomic_store(&board->at[row][i].state, EMPTY);
				continue;
			}
			atomic_store(&board->at[row][i].state, READY);
			*ret_used += mproc__arena_len(segment, atomic_load(&e->off));
			n++;
		}
	return n;
}

/* Kill one now and then, or let it stand still. Return: how many were killed. */
static uint64_t storm(struct worker *w, pid_t *pids, uint64_t *seed)
{
	uint64_t n = 0;

	while (atomic_load(&board->bytes) < goal) {
		uint64_t i = t_random(seed) % WORKERS;

		nap_us(1000 + t_random(seed) % 20000);
		if (t_random(seed) % 4 == 0) {
			kill(pids[i], SIGSTOP);
			nap_us(t_random(seed) % 20000);
			if (t_random(seed) % 2) {
				kill(pids[i], SIGCONT);
				continue;
			}
		}
		kill(pids[i], SIGKILL);
		n += t_reap(pids[i]) == SIGKILL;
		w[i].seed = t_random(seed);
		pids[i] = t_spawn(work, &w[i]);
	}
	return n;
}

static void assert_balanced(uint64_t blocks, uint64_t used)
{
	struct mproc__arena_stats stats;

	while (mproc__reap_all(segment->range) > 0)
		;
	mproc__arena_stats(segment, &stats);
	assert_int_equal(stats.n_blocks, blocks);
	assert_int_equal(stats.used, used);
	assert_int_equal(board->n_broken, 0);
}

static void segment_grows_under_eight_who_are_killed(void **state)
{
	struct worker w[WORKERS] = { { 0 } };
	uint64_t seed = t_seed(), kills, blocks, used, off;
	uint64_t began = mproc__segment_memory(segment);
	struct mproc__arena_stats stats;
	pid_t pids[WORKERS];
	struct stat st;

	(void)state;
	for (uint32_t i = 0; i < WORKERS; i++) {
		w[i].number = i;
		w[i].seed = t_random(&seed);
		pids[i] = t_spawn(work, &w[i]);
	}
	kills = storm(w, pids, &seed);
	for (int i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGCONT);
		assert_int_equal(t_reap(pids[i]), 0);
	}
	while (mproc__reap_all(segment->range) > 0)
		;
	blocks = n_ready(&used);
	assert_balanced(blocks, used);
	/* What is said to be memory is. */
	assert_int_equal(fstat(atomic_load(&segment->range->fd), &st), 0);
	assert_true((uint64_t)st.st_blocks * 512 >= mproc__segment_memory(segment));
	print_message("# from %llu KiB to %llu MiB in %llu steps, %llu kills, %llu blocks\n",
		      (unsigned long long)began >> 10,
		      (unsigned long long)(mproc__segment_memory(segment) >> 20),
		      (unsigned long long)segment->range->published[1], (unsigned long long)kills,
		      (unsigned long long)blocks);
	for (uint32_t i = 0; i < WORKERS; i++)
		pids[i] = t_spawn(give_back, &w[i]);
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_balanced(0, 0);
	/* All of it, in one piece. */
	mproc__arena_stats(segment, &stats);
	assert_int_equal(mproc__arena_alloc(segment, me(), stats.bytes, false, &off), 0);
	assert_int_equal(mproc__arena_free(segment, me(), off), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(segment_grows_under_eight_who_are_killed, setup,
						teardown),
	};

	/* MPROC_TEST_LONG: 8 GiB, where the machine has them. */
	goal = t_sanitized() ? 32 * MIB : 256 * MIB;
	if (t_long() && !t_sanitized())
		goal = 8192 * MIB;
	if (mproc__memory_available("") / 2 < goal || mproc__memory_left("") / 2 < goal) {
		print_message("# not as far as usual: there is little memory\n");
		goal = 32 * MIB;
	}
	return cmocka_run_group_tests_name("stress segment grow", tests, NULL, NULL);
}
