/* SPDX-License-Identifier: MIT */

/*
 * A bare arena for its tests: an attached range whose room is an arena's section
 * and its pages, and a segment's handle on it
 */

#include "tests/support/arena.h"

#include <string.h>

int t_arena_open(struct t_arena *ret, unsigned procs, unsigned threads, size_t pages)
{
	size_t section = mproc__arena_head_size(pages * 4096);
	struct mproc__mapping mapping;
	int r;

	memset(ret, 0, sizeof(*ret));
	r = t_range_open(&ret->range, procs, threads, section + pages * 4096);
	if (r < 0)
		return r;
	ret->section = section;
	ret->bytes = pages * 4096;
	ret->segment.range = ret->range.range;
	mapping = (struct mproc__mapping){
		.base = ret->range.base,
		.size = ret->range.size,
		.bytes = ret->range.size,
	};
	ret->segment.arena = (void *)ret->range.room;
	r = mproc__arena_init(ret->segment.arena,
			      (uint64_t)(ret->range.room - ret->range.base) + section, ret->bytes,
			      ret->bytes);
	if (r == 0)
		r = mproc__arena_open(&ret->segment, &mapping);
	if (r < 0) {
		t_range_close(&ret->range);
		return r;
	}
	ret->range.range->owner = &ret->segment;
	return 0;
}

void t_arena_close(struct t_arena *arena)
{
	t_range_close(&arena->range);
}

struct mproc__self *t_arena_me(struct t_arena *arena)
{
	return mproc__self(arena->range.base, "test");
}
