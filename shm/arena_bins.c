/* SPDX-License-Identifier: MIT */

/*
 * The lists of free runs by size: hints, which say nothing that a first page does
 * not confirm
 *
 * A list is doubly linked through the links of the first pages, by numbers of pages
 * + 1; its head is a bin, and a bit says that it is not empty. All of it is written
 * under the lock of the runs. After a kill nobody trusts it (see arena_runs.c); who
 * finds a neighbour that is not one says that the list is broken, and writes
 * nothing, for the link of a block in use is its length.
 *
 * A size has a list of its own up to 16 pages, then there are four to each
 * doubling. The search takes the first fit among the first few of its own list,
 * then any of the next list that has one, then the rest of its own: the last step
 * is long only when nothing larger is left, and finds whatever fits.
 */

#include <errno.h>

#include "shm/arena_inside.h"

#define FIT_TRIES 8u

static uint32_t bin_of(uint32_t n)
{
	uint32_t e;

	if (n <= 16)
		return n - 1;
	e = 31 - (uint32_t)__builtin_clz(n);
	return 16 + (e - 4) * 4 + (n >> (e - 2) & 3);
}

static uint32_t next_of(uint64_t link)
{
	return (uint32_t)(link >> 32);
}

static uint32_t prev_of(uint64_t link)
{
	return (uint32_t)link;
}

static uint64_t links(uint32_t next, uint32_t prev)
{
	return (uint64_t)next << 32 | prev;
}

/* The length of the free run in bin @bin that @entry (a page + 1) names, or 0. */
static uint32_t listed_len(const struct mproc__arena_view *v, uint32_t entry, uint32_t bin)
{
	struct mproc__arena_run run;

	if (!entry || entry > mproc__arena_n_pages(v) || !mproc__arena_run_at(v, entry - 1, &run) ||
	    run.state != MPROC__ARENA_FREE || bin_of(run.n_pages) != bin)
		return 0;
	return run.n_pages;
}

static void bin_set(const struct mproc__arena_view *v, uint32_t bin, uint32_t entry)
{
	_Atomic(uint64_t) *filled = &v->at->arena->bins_filled[bin / 64];
	uint64_t was = atomic_load_explicit(filled, memory_order_relaxed);
	uint64_t bit = UINT64_C(1) << bin % 64;

	atomic_store_explicit(&v->at->arena->bins[bin], entry, memory_order_relaxed);
	atomic_store_explicit(filled, entry ? was | bit : was & ~bit, memory_order_relaxed);
}

void mproc__arena_bins_add(const struct mproc__arena_view *v, uint32_t page, uint32_t n)
{
	uint32_t bin = bin_of(n);
	uint32_t next = atomic_load_explicit(&v->at->arena->bins[bin], memory_order_relaxed);

	if (next && !listed_len(v, next, bin)) {
		mproc__arena_set_stale(v, 1);
		return;
	}
	if (n > 1)
		mproc__arena_set_word(v, page + n - 1, mproc__arena_counted(MPROC__ARENA_TAIL, n));
	mproc__arena_set_link(v, page, links(next, 0));
	if (next)
		mproc__arena_set_link(v, next - 1,
				      links(next_of(mproc__arena_link_at(v, next - 1)), page + 1));
	bin_set(v, bin, page + 1);
}

bool mproc__arena_bins_remove(const struct mproc__arena_view *v, uint32_t page, uint32_t n)
{
	uint32_t bin = bin_of(n);
	uint64_t link = mproc__arena_link_at(v, page);
	uint32_t next = next_of(link), prev = prev_of(link);

	if (next) {
		if (!listed_len(v, next, bin) ||
		    prev_of(mproc__arena_link_at(v, next - 1)) != page + 1)
			return false;
	}
	if (prev) {
		if (!listed_len(v, prev, bin) ||
		    next_of(mproc__arena_link_at(v, prev - 1)) != page + 1)
			return false;
		mproc__arena_set_link(v, prev - 1,
				      links(next, prev_of(mproc__arena_link_at(v, prev - 1))));
	} else {
		if (atomic_load_explicit(&v->at->arena->bins[bin], memory_order_relaxed) !=
		    page + 1)
			return false;
		bin_set(v, bin, next);
	}
	if (next)
		mproc__arena_set_link(v, next - 1,
				      links(next_of(mproc__arena_link_at(v, next - 1)), prev));
	return true;
}

/*
 * The first of at most @tries runs in @bin with @n pages or more, as an entry, and its
 * length as it was judged; 0: none.
 */
static int first_fit(const struct mproc__arena_view *v, uint32_t bin, uint32_t n, uint32_t tries,
		     uint32_t *ret_entry, uint32_t *ret_n)
{
	uint32_t entry = atomic_load_explicit(&v->at->arena->bins[bin], memory_order_relaxed);
	uint32_t len;

	*ret_entry = 0;
	while (entry && tries--) {
		len = listed_len(v, entry, bin);
		if (!len)
			return -EBADMSG;
		if (len >= n && entry - 1 + n <= mproc__arena_n_reach(v)) {
			*ret_entry = entry;
			*ret_n = len;
			return 0;
		}
		entry = next_of(mproc__arena_link_at(v, entry - 1));
	}
	return 0;
}

/* The first bin from @bin on that has runs, or MPROC__ARENA_BINS. */
static uint32_t filled_bin(const struct mproc__arena_view *v, uint32_t bin)
{
	for (uint32_t i = bin / 64; i < 2; i++) {
		uint64_t filled =
			atomic_load_explicit(&v->at->arena->bins_filled[i], memory_order_relaxed);

		if (i == bin / 64)
			filled &= ~UINT64_C(0) << bin % 64;
		if (filled) {
			bin = i * 64 + (uint32_t)__builtin_ctzll(filled);
			return bin < MPROC__ARENA_BINS ? bin : MPROC__ARENA_BINS;
		}
	}
	return MPROC__ARENA_BINS;
}

/* The same in all bins from @bin on: where this process has addresses for some runs only. */
static int any_in_reach(const struct mproc__arena_view *v, uint32_t bin, uint32_t n,
			uint32_t *ret_entry, uint32_t *ret_n)
{
	int r = 0;

	for (; bin < MPROC__ARENA_BINS && !r && !*ret_entry; bin++)
		r = first_fit(v, bin, n, mproc__arena_n_pages(v), ret_entry, ret_n);
	return r;
}

int mproc__arena_bins_take(const struct mproc__arena_view *v, uint32_t n, uint32_t *ret_page,
			   uint32_t *ret_n)
{
	uint32_t own = bin_of(n), bin, entry;
	int r;

	r = first_fit(v, own, n, FIT_TRIES, &entry, ret_n);
	if (!r && !entry) {
		bin = filled_bin(v, own + 1);
		if (bin < MPROC__ARENA_BINS)
			r = first_fit(v, bin, n, 1, &entry, ret_n);
	}
	if (!r && !entry)
		r = first_fit(v, own, n, mproc__arena_n_pages(v), &entry, ret_n);
	if (!r && !entry && mproc__arena_n_reach(v) < mproc__arena_n_pages(v))
		r = any_in_reach(v, own + 1, n, &entry, ret_n);
	if (r < 0)
		return r;
	if (!entry)
		return -ENOSPC;
	*ret_page = entry - 1;
	return mproc__arena_bins_remove(v, *ret_page, *ret_n) ? 0 : -EBADMSG;
}

uint32_t mproc__arena_bins_first(const struct mproc__arena_view *v, uint32_t bin)
{
	return atomic_load_explicit(&v->at->arena->bins[bin], memory_order_relaxed);
}

uint32_t mproc__arena_bins_next(const struct mproc__arena_view *v, uint32_t entry)
{
	return next_of(mproc__arena_link_at(v, entry - 1));
}

bool mproc__arena_bins_is_there(const struct mproc__arena_view *v, uint32_t entry, uint32_t bin,
				uint32_t prev)
{
	return listed_len(v, entry, bin) && prev_of(mproc__arena_link_at(v, entry - 1)) == prev;
}

int mproc__arena_bins_take_aligned(const struct mproc__arena_view *v, uint32_t n, uint32_t multiple,
				   uint32_t *ret_page, uint32_t *ret_n, uint32_t *ret_skip)
{
	uint64_t before = v->at->off / MPROC__ARENA_PAGE;
	uint32_t tries = mproc__arena_n_pages(v), entry, len, skip;

	/* The shortest that has room is torn the least: lists of short runs come first. */
	for (uint32_t bin = bin_of(n); bin < MPROC__ARENA_BINS; bin++) {
		entry = mproc__arena_bins_first(v, bin);
		for (; entry && tries; entry = mproc__arena_bins_next(v, entry), tries--) {
			len = listed_len(v, entry, bin);
			if (!len)
				return -EBADMSG;
			skip = (uint32_t)(-(before + entry - 1) & (multiple - 1));
			if (skip >= len || len - skip < n ||
			    entry - 1 + skip + n > mproc__arena_n_reach(v))
				continue;
			*ret_page = entry - 1;
			*ret_n = len;
			*ret_skip = skip;
			return mproc__arena_bins_remove(v, entry - 1, len) ? 0 : -EBADMSG;
		}
	}
	return -ENOSPC;
}

void mproc__arena_bins_clear(const struct mproc__arena_view *v)
{
	for (uint32_t i = 0; i < MPROC__ARENA_BINS; i++)
		bin_set(v, i, 0);
}
