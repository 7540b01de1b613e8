/* SPDX-License-Identifier: MIT */

/*
 * More pages: the arena grows while it is in use
 *
 * Two numbers, in this order. The segment's published size says how far the file is
 * memory, tables and data; it is raised by whoever has allocated that, without a lock
 * (see segment_grow.c). The arena's n_pages says how much of it is pages; it is raised
 * under the lock of the runs. What is published and is no page yet belongs to the
 * first who takes that lock for this purpose:
 *
 *	the word of the first new page: FREE, all of them	nobody looks there yet
 *	n_pages							the commit
 *	joined to a free run before it, listed			hints
 *
 * Killed before the commit the next one does it again, all of it. Behind it the pages
 * are a free run like any other, and who inherits the lock makes the lists anew. So
 * memory is never lost: it is not allocated yet, or published, or pages.
 *
 * Everybody keeps private copies of both numbers, which only grow. Who takes the lock
 * of the runs, or meets something that he does not know, looks again: n_pages is read
 * first, so that the size that is read next covers it. A number that the published
 * size does not cover, or the file, is not believed.
 *
 * A process that cannot ask how long the file is, since it has closed its descriptors and
 * changed its root, never learns of more. What it knows it can read, publish and free;
 * the lock of the runs is not for it: who has it makes lists and marks anew, and would
 * leave out what he does not know. Nor does it touch a shard's slab that lies there.
 *
 * A process that has addresses for a part only, RLIMIT_AS it may be, reads and writes
 * the words of all pages, since these lie before the data; it does not allocate beyond
 * its part, and leaves slabs whose tables lie there to others.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "ipc/error.h"
#include "shm/arena_inside.h"

#define STEP_MAX \
	((UINT64_C(256) << 20) / MPROC__ARENA_PAGE) /* pages at once, unless more are wanted */
#define SLAB_PAGES 5u                               /* the largest slab and a page of tables */

static void raise_pages(_Atomic(uint32_t) *word, uint32_t value)
{
	uint32_t was = atomic_load_explicit(word, memory_order_relaxed);

	while (was < value &&
	       !atomic_compare_exchange_weak_explicit(word, &was, value, memory_order_release,
						      memory_order_relaxed))
		;
}

/* Pages that end at or before @size. */
static uint32_t pages_to(const struct mproc__arena_view *v, uint64_t size)
{
	uint64_t n = size < v->at->off ? 0 : (size - v->at->off) / MPROC__ARENA_PAGE;

	return n < v->at->n_pages_max ? (uint32_t)n : v->at->n_pages_max;
}

static uint64_t end_of(const struct mproc__arena_view *v, uint64_t n_pages)
{
	return v->at->off + n_pages * MPROC__ARENA_PAGE;
}

/* From here on there are @n pages; what the segment's size says covers them. */
static void know(const struct mproc__arena_view *v, uint32_t n)
{
	uint32_t reach = pages_to(v, v->at->reserved);

	raise_pages(&v->at->n_reach, n < reach ? n : reach);
	raise_pages(&v->at->n_spread, mproc__arena_shards_for(n));
	/* Last, and released: a thread that sees it sees the others, and what it stands for. */
	raise_pages(&v->at->n_pages, n);
}

/* Not by the view: who only passes one on keeps it in registers. */
bool mproc__arena_learn(mproc_segment *segment, uint32_t n)
{
	const struct mproc__arena_view v = mproc__arena_view(segment, NULL);

	if (n <= mproc__arena_n_pages(&v) || !segment->range ||
	    n > pages_to(&v, mproc__range_grown(segment->range)))
		return false;
	know(&v, n);
	return true;
}

bool mproc__arena_is_hidden(const struct mproc__arena_view *v, uint32_t page)
{
	uint32_t n = atomic_load_explicit(&v->at->arena->n_pages, memory_order_acquire);

	if (page < mproc__arena_n_pages(v) || page >= n || n > v->at->n_pages_max)
		return false;
	mproc__arena_learn(v->segment, n);
	/* What the file could be asked about and does not cover is scribbled. */
	return page >= mproc__arena_n_pages(v) && mproc__range_is_blind(v->segment->range);
}

int mproc__arena_fail_hidden(void)
{
	return mproc__fail(-ENOTCONN,
			   "arena: others have made the segment larger, and this process "
			   "cannot ask by how much: it has closed the segment's "
			   "descriptor, and finds the file in no other way");
}

/* The lock of the runs is held. Return: 0 or -EBADMSG. */
int mproc__arena_append(const struct mproc__arena_view *v)
{
	uint32_t n = mproc__arena_n_pages(v), all;

	if (atomic_load_explicit(&v->at->arena->n_pages, memory_order_relaxed) != n)
		return mproc__fail(-EBADMSG, "arena: its number of pages was scribbled over");
	all = pages_to(v, mproc__range_grown(v->segment->range));
	if (all <= n)
		return 0;
	mproc__arena_set_word(v, n, mproc__arena_counted(MPROC__ARENA_FREE, all - n));
	atomic_store_explicit(&v->at->arena->n_pages, all, memory_order_release);
	know(v, all);
	mproc__arena_runs_free(v, n, all - n);
	return 0;
}

/* Append what is published. Return: 0 and the free pages at the end, or negative. */
static int settle_end(const struct mproc__arena_view *v, uint32_t *ret_tail)
{
	int r = mproc__arena_runs_lock(v);

	if (r < 0)
		return r;
	r = mproc__arena_append(v);
	if (r == 0)
		*ret_tail = mproc__arena_runs_before(v, mproc__arena_n_pages(v));
	mproc__arena_runs_unlock(v);
	return r;
}

int mproc__arena_grow(const struct mproc__arena_view *v, uint64_t n, char *why, size_t cap)
{
	uint32_t was = mproc__arena_n_pages(v), reach = pages_to(v, v->at->reserved), tail = 0;
	uint64_t least, step;
	int r, grown;

	r = settle_end(v, &tail);
	if (r < 0 || mproc__arena_n_pages(v) > was)
		return r;
	least = was + (n > tail ? n - tail : 1);
	if (least > v->at->n_pages_max) {
		snprintf(why, cap, "it is as large as it may become");
		return -ENOSPC;
	}
	if (least > reach) {
		snprintf(why, cap, "this process has addresses for no more (RLIMIT_AS)");
		return -ENOSPC;
	}
	/* Half as much again, so that growing costs little of what it is for. */
	step = was / 2 < STEP_MAX ? was / 2 : STEP_MAX;
	if (was + step < least + SLAB_PAGES)
		step = least + SLAB_PAGES - was;
	if (step > reach - was)
		step = reach - was;
	r = mproc__segment_extend(v->segment, end_of(v, least), end_of(v, was + step), why, cap);
	grown = settle_end(v, &tail);
	if (grown < 0)
		return grown;
	if (mproc__arena_n_pages(v) > was)
		return 0;
	/* Memory that makes no pages: our caller must not try for ever. */
	return r < 0 ? r : mproc__fail(-EBADMSG, "arena: more memory makes no more pages");
}
