/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_ARENA_H
#define MPROC_TESTS_ARENA_H

/*
 * A bare arena for its tests: an attached range whose room is an arena's section
 * and its pages, and a segment's handle on it
 */

#include "shm/arena.h"
#include "tests/support/range.h"

struct t_arena {
	struct t_range range;
	struct mproc_segment segment;
	size_t section; /* bytes of the arena's own section */
	size_t bytes;   /* that blocks can have in all */
};

/* An arena of @pages pages. Return: 0 or negative. */
int t_arena_open(struct t_arena *ret, unsigned procs, unsigned threads, size_t pages);

/* Leave and unmap. */
void t_arena_close(struct t_arena *arena);

/* Who the calling thread is there. */
struct mproc__self *t_arena_me(struct t_arena *arena);

#endif /* MPROC_TESTS_ARENA_H */
