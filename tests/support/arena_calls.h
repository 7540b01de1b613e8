/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_ARENA_CALLS_H
#define MPROC_TESTS_ARENA_CALLS_H

/*
 * Short names for the calls of tests that have one arena
 *
 * Include after cmocka.h.
 */

#include "tests/support/arena.h"

#define PAGE  4096u
#define PAGES 512u
#define BYTES ((uint64_t)PAGES * PAGE)

static struct t_arena a;

static inline int alloc(uint64_t len, uint64_t *ret_off)
{
	return mproc__arena_alloc(&a.segment, t_arena_me(&a), len, false, ret_off);
}

static inline int release(uint64_t off)
{
	return mproc__arena_free(&a.segment, t_arena_me(&a), off);
}

static inline int publish(uint64_t off)
{
	return mproc__arena_publish(&a.segment, t_arena_me(&a), off);
}

static inline int adopt(uint64_t off)
{
	return mproc__arena_adopt(&a.segment, t_arena_me(&a), off);
}

static inline char *mem(uint64_t off)
{
	return a.range.base + off;
}

static inline uint64_t used(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(&a.segment, &stats);
	return stats.used;
}

/* Every byte can be had again, in one block. */
static inline void assert_all_free(void)
{
	struct mproc__arena_stats stats;
	uint64_t off;

	assert_int_equal(alloc(BYTES, &off), 0);
	assert_int_equal(release(off), 0);
	mproc__arena_stats(&a.segment, &stats);
	assert_int_equal(stats.used, 0);
	assert_int_equal(stats.n_blocks, 0);
	assert_int_equal(stats.free, BYTES);
	assert_int_equal(stats.largest_free, BYTES);
	assert_int_equal(stats.bytes, BYTES);
}

#endif /* MPROC_TESTS_ARENA_CALLS_H */
