/* SPDX-License-Identifier: MIT */

/*
 * Blocks of pages that become longer or shorter where they are
 *
 * A block's length is its link, which changes under the lock of the runs alone, by one
 * store: the commit. The run that lies behind it is written first, in pages where
 * nobody looks while the old length stands:
 *
 *	shorter		a first page, FREE, inside the block; the link; then it is joined
 *			to what follows and listed as any run that is freed
 *	longer		a first page, FREE, of what is left of the free run behind, inside
 *			of that; the link; then the words of the pages that were absorbed
 *
 * Killed before the link one leaves the block as it was, and a word that nobody
 * believes; behind it, a free run that is not listed or words that still say FREE in the
 * middle of the block: whoever inherits the lock makes lists and words anew. Until then
 * nobody who looks without the lock finds the block by those pages: he is told -ESTALE,
 * since he cannot know to what first page they belong, and never anything else's bytes.
 *
 * The block may be freed meanwhile, without the lock: its word then says DROPPED, and
 * who joins it, under the lock, does that with whatever length it has.
 */

#include <errno.h>

#include "shm/arena_inside.h"

static void set_len(const struct mproc__arena_view *v, uint32_t page, uint32_t n)
{
	/* Release: the first page of what lies behind stands before it is one. */
	atomic_store_explicit(&v->at->pages[page].link, n, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
}

static void shorten(const struct mproc__arena_view *v, uint32_t page, uint32_t n, uint32_t want)
{
	mproc__arena_set_word(v, page + want, mproc__arena_counted(MPROC__ARENA_FREE, n - want));
	/* What is its last page now was in its middle: it may have been left unmarked. */
	if (want > 1)
		mproc__arena_runs_mark(v, page, want - 1, want);
	set_len(v, page, want);
	mproc__arena_runs_free(v, page + want, n - want);
}

static int lengthen(const struct mproc__arena_view *v, uint32_t page, uint32_t n, uint32_t want)
{
	uint32_t next = page + n, more = want - n;
	struct mproc__arena_run run;

	/* A block must lie where its owner has addresses for it. */
	if (next >= mproc__arena_n_pages(v) || page + want > mproc__arena_n_reach(v) ||
	    !mproc__arena_run_at(v, next, &run) || run.state != MPROC__ARENA_FREE ||
	    run.n_pages < more)
		return -ENOSPC;
	if (!mproc__arena_bins_remove(v, next, run.n_pages)) {
		mproc__arena_runs_distrust(v);
		return -ENOSPC;
	}
	if (run.n_pages > more)
		mproc__arena_set_word(v, page + want,
				      mproc__arena_counted(MPROC__ARENA_FREE, run.n_pages - more));
	set_len(v, page, want);
	mproc__arena_runs_mark(v, page, n, want);
	if (run.n_pages > more)
		mproc__arena_bins_add(v, page + want, run.n_pages - more);
	return 0;
}

int mproc__arena_runs_resize(const struct mproc__arena_view *v, uint32_t page, uint64_t generation,
			     uint32_t want)
{
	struct mproc__arena_run run;
	int r = mproc__arena_runs_settle(v);

	if (r < 0)
		return r;
	if (!mproc__arena_run_at(v, page, &run) || run.generation != generation ||
	    (run.state != MPROC__ARENA_PRIVATE && run.state != MPROC__ARENA_USED))
		return -ESTALE;
	if (want < run.n_pages)
		shorten(v, page, run.n_pages, want);
	else if (want > run.n_pages)
		r = lengthen(v, page, run.n_pages, want);
	return r;
}
