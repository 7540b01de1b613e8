/* SPDX-License-Identifier: MIT */

/*
 * Runs of pages, under one lock
 *
 * The words of first pages are the truth: beginning at page 0, each says how many
 * pages on the next first page stands. A change of the partition is one store:
 *
 *	split		the rest's word is written inside the free run, where nobody
 *			looks; then the first word, now of a shorter run: the commit
 *	join		the first word, now of a longer run, is the commit; then the
 *			words of what was absorbed are wiped
 *
 * so a kill leaves the partition of before or of after, and perhaps a word inside
 * a run that looks like a first page: FREE or DROPPED, never a block in use, so
 * that nobody who looks without the lock takes it for one.
 *
 * A block goes back by one CAS of its first word, to DROPPED, without the lock: it
 * is free, and not yet joined to its neighbours and listed. Who dropped it does
 * that next, if he can have the lock soon. If not, or if he is killed, the next
 * rebuilding does.
 *
 * Everything else is made from these words: the lists of free runs by size, the
 * TAIL at the end of a free run by which the one behind finds it, the lists of
 * table pages with room. Who inherits the lock does not trust them: he makes them
 * anew in one walk, lazily, before the next allocation. That is what a redo log
 * would buy, at no cost while nobody dies; and the same walk mends what a
 * scribbler did to the lists.
 */

#include "shm/arena_inside.h"

#include <errno.h>
#include <inttypes.h>

#include "ipc/clock.h"
#include "ipc/error.h"

/*
 * The lists may lead to pages that were appended since we looked. The number is ours to
 * compare: it changes under this lock alone.
 */
static int know_all(const struct mproc__arena_view *v)
{
	uint32_t n;

	mproc__arena_refresh(v);
	n = atomic_load_explicit(&v->at->arena->n_pages, memory_order_relaxed);
	if (__builtin_expect(n == mproc__arena_n_pages(v), 1))
		return 0;
	/* Rebuilding fewer pages would give out tables whose slabs are not seen. */
	if (mproc__arena_is_hidden(v, mproc__arena_n_pages(v)))
		return mproc__arena_fail_hidden();
	return mproc__fail(-EBADMSG, "arena: its number of pages was scribbled over");
}

int mproc__arena_runs_lock_until(const struct mproc__arena_view *v, int64_t deadline)
{
	int r = mproc__lock_take(&v->at->arena->lock, v->me, v->at->what, deadline);

	if (r == MPROC__LOCK_INHERITED) {
		/* The news outlives us before we forget whose lock it was. */
		mproc__arena_set_stale(v, 1);
		mproc__lock_repaired(&v->at->arena->lock, v->me);
		r = 0;
	}
	if (r < 0)
		return r;
	r = know_all(v);
	if (r < 0)
		mproc__arena_runs_unlock(v);
	return r;
}

int mproc__arena_runs_lock(const struct mproc__arena_view *v)
{
	return mproc__arena_runs_lock_until(v, MPROC_FOREVER);
}

void mproc__arena_runs_unlock(const struct mproc__arena_view *v)
{
	mproc__lock_release(&v->at->arena->lock, v->me);
}

/* A new generation, which no word has had. */
static uint64_t birth(const struct mproc__arena_view *v)
{
	uint64_t n = atomic_load_explicit(&v->at->arena->births, memory_order_relaxed) + 1;

	atomic_store_explicit(&v->at->arena->births, n, memory_order_relaxed);
	/* Killed in between we have wasted one; the other order would give it twice. */
	atomic_signal_fence(memory_order_seq_cst);
	return n & MPROC__ARENA_GENERATION_MASK;
}

void mproc__arena_runs_outlive(const struct mproc__arena_view *v, uint64_t generation)
{
	uint64_t n = atomic_load_explicit(&v->at->arena->births, memory_order_relaxed);
	uint64_t ahead = (generation - n) & MPROC__ARENA_GENERATION_MASK;

	/* Around the 40 bits, what is less than half of them away is ahead. */
	if (ahead <= MPROC__ARENA_GENERATION_MASK >> 1)
		atomic_store_explicit(&v->at->arena->births, n + ahead, memory_order_relaxed);
	/* Before the pages are anybody else's. */
	atomic_signal_fence(memory_order_seq_cst);
}

static void mark(const struct mproc__arena_view *v, uint32_t first, uint32_t i)
{
	atomic_store_explicit(&v->at->pages[first + i].word,
			      mproc__arena_counted(MPROC__ARENA_PART, i), memory_order_relaxed);
}

void mproc__arena_runs_mark(const struct mproc__arena_view *v, uint32_t first, uint32_t from,
			    uint32_t n)
{
	/* The first of them may have been the first page of what was absorbed. */
	for (uint32_t i = from; i < n && (i == from || i < MPROC__ARENA_PARTS); i++)
		mark(v, first, i);
	if (n <= MPROC__ARENA_PARTS)
		return;
	for (uint64_t bit = 1; bit <= MPROC__ARENA_PAGES_MAX; bit <<= 1) {
		uint64_t page = (first | bit) & -bit;

		if (first & bit)
			continue;
		if (page >= (uint64_t)first + n)
			break;
		mark(v, first, (uint32_t)(page - first));
	}
	mark(v, first, n - 1);
}

/* The same for all of them: after a kill there may be anything. */
static void mark_all(const struct mproc__arena_view *v, uint32_t first, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
		mark(v, first, i);
}

static int scribbled(const struct mproc__arena_view *v)
{
	mproc__arena_set_stale(v, 1);
	return mproc__fail(-EBADMSG, "arena: its lists were scribbled over under its lock");
}

int mproc__arena_runs_settle(const struct mproc__arena_view *v)
{
	_Atomic(uint32_t) *dropped = &v->at->arena->dropped;

	/* The note goes first: a run that is dropped while we look leaves another one. */
	if (atomic_load_explicit(dropped, memory_order_relaxed) &&
	    atomic_exchange_explicit(dropped, 0, memory_order_acq_rel))
		mproc__arena_set_stale(v, 1);
	return mproc__arena_is_stale(v) ? mproc__arena_runs_rebuild(v) : 0;
}

/*
 * Off its list: a free run of @n pages or more that begins at a multiple of @multiple.
 * What lies before that in a longer one becomes a run of its own.
 */
static int take_once(const struct mproc__arena_view *v, uint32_t n, uint32_t multiple,
		     uint32_t *ret_page, uint32_t *ret_n)
{
	uint32_t page, len, skip = 0;
	int r;

	r = multiple == 1 ? mproc__arena_bins_take(v, n, &page, &len)
			  : mproc__arena_bins_take_aligned(v, n, multiple, &page, &len, &skip);
	if (r < 0)
		return r;
	if (skip) {
		/* Nobody looks there before the run that it is in ends before it. */
		mproc__arena_set_word(v, page + skip,
				      mproc__arena_counted(MPROC__ARENA_FREE, len - skip));
		mproc__arena_set_word(v, page, mproc__arena_counted(MPROC__ARENA_FREE, skip));
		mproc__arena_bins_add(v, page, skip);
	}
	*ret_page = page + skip;
	*ret_n = len - skip;
	return 0;
}

/* The same, after mending what is broken. */
static int take(const struct mproc__arena_view *v, uint32_t n, uint32_t multiple,
		uint32_t *ret_page, uint32_t *ret_n)
{
	int r = mproc__arena_runs_settle(v);

	if (r == 0)
		r = take_once(v, n, multiple, ret_page, ret_n);
	if (r == -EBADMSG && !mproc__arena_is_stale(v)) {
		mproc__arena_set_stale(v, 1);
		r = mproc__arena_runs_rebuild(v);
		if (r == 0)
			r = take_once(v, n, multiple, ret_page, ret_n);
		if (r == -EBADMSG)
			r = scribbled(v);
	}
	return r;
}

/*
 * Cut @n pages from the free run of @len at @page, off its list: the first word,
 * @word, commits.
 */
static void cut(const struct mproc__arena_view *v, uint32_t page, uint32_t len, uint32_t n,
		uint64_t word, uint64_t link)
{
	if (len > n)
		mproc__arena_set_word(v, page + n,
				      mproc__arena_counted(MPROC__ARENA_FREE, len - n));
	mproc__arena_runs_mark(v, page, 1, n);
	mproc__arena_set_link(v, page, link);
	atomic_store_explicit(&v->at->pages[page].owners, 0, memory_order_relaxed);
	mproc__arena_set_word(v, page, word);
	if (len > n)
		mproc__arena_bins_add(v, page + n, len - n);
}

int mproc__arena_runs_alloc(const struct mproc__arena_view *v, uint64_t n, uint64_t multiple,
			    uint32_t *ret_page)
{
	uint32_t page, len;
	int r;

	if (n > mproc__arena_n_pages(v))
		return -ENOSPC;
	r = take(v, (uint32_t)n, (uint32_t)multiple, &page, &len);
	if (r < 0)
		return r;
	cut(v, page, len, (uint32_t)n, mproc__arena_word(birth(v), v->owner, MPROC__ARENA_PRIVATE),
	    n);
	*ret_page = page;
	return 0;
}

uint32_t mproc__arena_runs_before(const struct mproc__arena_view *v, uint32_t page)
{
	uint64_t before = page ? mproc__arena_word_at(v, page - 1) : 0;
	struct mproc__arena_run run;
	uint64_t n = 0;

	if (mproc__arena_state(before) == MPROC__ARENA_TAIL ||
	    (mproc__arena_state(before) == MPROC__ARENA_FREE && mproc__arena_count(before) == 1))
		n = mproc__arena_count(before);
	/* A TAIL is believed if the first page that it names reaches exactly to us. */
	if (!n || n > page || !mproc__arena_run_at(v, page - (uint32_t)n, &run) ||
	    run.state != MPROC__ARENA_FREE || run.n_pages != n)
		return 0;
	return run.n_pages;
}

void mproc__arena_runs_free(const struct mproc__arena_view *v, uint32_t page, uint32_t n)
{
	uint32_t first = page, next = page + n, before;
	struct mproc__arena_run run;

	/* What stands around us may be left from a kill: the rebuilding joins as well. */
	if (mproc__arena_is_stale(v))
		goto commit;
	if (next < mproc__arena_n_pages(v) && mproc__arena_run_at(v, next, &run) &&
	    run.state == MPROC__ARENA_FREE) {
		if (!mproc__arena_bins_remove(v, next, run.n_pages)) {
			mproc__arena_set_stale(v, 1);
			goto commit;
		}
		n += run.n_pages;
	}
	before = mproc__arena_runs_before(v, page);
	if (before) {
		if (!mproc__arena_bins_remove(v, page - before, before)) {
			mproc__arena_set_stale(v, 1);
			n = next - page;
			goto commit;
		}
		first = page - before;
		n += before;
	}
commit:
	mproc__arena_set_word(v, first, mproc__arena_counted(MPROC__ARENA_FREE, n));
	if (mproc__arena_is_stale(v))
		return;
	if (first != page)
		mproc__arena_set_word(v, page, 0);
	if (first + n != next)
		mproc__arena_set_word(v, next, 0);
	mproc__arena_bins_add(v, first, n);
}

void mproc__arena_runs_join(const struct mproc__arena_view *v, uint32_t page, uint64_t generation,
			    bool wait)
{
	struct mproc__arena_run run;
	char text[MPROC__ERROR_MAX];
	int r = -EAGAIN;

	/* Nothing has failed if others do this. */
	mproc__error_keep(text);
	if (v->me)
		r = mproc__arena_runs_lock_until(v, MPROC_NOWAIT);
	if (r < 0 && v->me && wait)
		r = mproc__arena_runs_lock_until(v, mproc_after_ms(MPROC__ARENA_NEIGHBOUR_MS));
	if (r < 0) {
		mproc__error_put_back(text);
		/* Release: who takes the note finds the run. */
		atomic_store_explicit(&v->at->arena->dropped, 1, memory_order_release);
		return;
	}
	/* It may have been found before us, by one who rebuilt. */
	if (mproc__arena_run_at(v, page, &run) && run.state == MPROC__ARENA_DROPPED &&
	    run.generation == generation)
		mproc__arena_runs_free(v, page, run.n_pages);
	mproc__arena_runs_unlock(v);
}

/*
 * Tables. A page of tables keeps in its link which of them are used, by their
 * numbers, and the next page with room.
 */

#define TABLES_ALL  UINT64_C(0xfe)
#define TABLES_NEXT ((UINT64_C(1) << 56) - 1)

static uint64_t tables_used(uint64_t link)
{
	return link >> 56;
}

/* A page of tables, none of them used, from which @n pages follow on for a slab. */
static int tables_new(const struct mproc__arena_view *v, uint32_t n)
{
	uint32_t page, len;
	int r;

	r = take(v, n + 1, 1, &page, &len);
	if (r < 0)
		return r;
	/* Before those that are listed, if there are: this process has no addresses for them. */
	cut(v, page, len, 1, MPROC__ARENA_TABLES_PAGE,
	    atomic_load_explicit(&v->at->arena->tables, memory_order_relaxed));
	atomic_store_explicit(&v->at->arena->tables, page + 1, memory_order_relaxed);
	return 0;
}

/* An unused table. Return: 0, -ENOSPC, -EBADMSG. */
static int table_find(const struct mproc__arena_view *v, uint32_t n, uint64_t *ret_ref)
{
	uint32_t page = atomic_load_explicit(&v->at->arena->tables, memory_order_relaxed);
	uint32_t n_pages = mproc__arena_n_pages(v);
	uint64_t free;
	int r = 0;

	if (!page || (page > mproc__arena_n_reach(v) && page <= n_pages))
		r = tables_new(v, n);
	if (r < 0)
		return r;
	page = atomic_load_explicit(&v->at->arena->tables, memory_order_relaxed) - 1;
	if (page >= n_pages || mproc__arena_word_at(v, page) != MPROC__ARENA_TABLES_PAGE)
		return -EBADMSG;
	free = ~tables_used(mproc__arena_link_at(v, page)) & TABLES_ALL;
	if (!free)
		return -EBADMSG;
	*ret_ref = mproc__arena_table_ref(page, (uint32_t)__builtin_ctzll(free));
	return 0;
}

/* Note that table @ref is used. Return: false if it was already, or is none. */
static bool table_mark(const struct mproc__arena_view *v, uint64_t ref)
{
	uint64_t bit = UINT64_C(1) << (56 + (ref & 7));
	uint32_t page = (uint32_t)(ref >> 3);

	if (mproc__arena_word_at(v, page) != MPROC__ARENA_TABLES_PAGE ||
	    mproc__arena_link_at(v, page) & bit)
		return false;
	mproc__arena_set_link(v, page, mproc__arena_link_at(v, page) | bit);
	return true;
}

/* A table for a slab of @n pages, which then surely can be had unless this fails. */
static int table_take(const struct mproc__arena_view *v, uint32_t n, uint64_t *ret_ref)
{
	int r = mproc__arena_runs_settle(v);

	if (r == 0)
		r = table_find(v, n, ret_ref);
	if (r == -EBADMSG && !mproc__arena_is_stale(v)) {
		mproc__arena_set_stale(v, 1);
		r = mproc__arena_runs_rebuild(v);
		if (r == 0)
			r = table_find(v, n, ret_ref);
		if (r == -EBADMSG)
			r = scribbled(v);
	}
	return r;
}

int mproc__arena_runs_slab(const struct mproc__arena_view *v, uint32_t shard, uint32_t class)
{
	struct mproc__arena_shard *sh = &v->at->arena->shards[shard];
	uint32_t n = mproc__arena_class_pages(class);
	struct mproc__arena_table *table;
	uint64_t ref, link, generation;
	uint32_t page, len;
	int r;

	r = table_take(v, n, &ref);
	if (r == 0)
		r = take(v, n, 1, &page, &len);
	if (r < 0)
		return r;
	/* Where the lists had to be mended meanwhile an unused table may be gone. */
	if (mproc__arena_word_at(v, (uint32_t)(ref >> 3)) != MPROC__ARENA_TABLES_PAGE)
		return scribbled(v);
	table = mproc__arena_table_at(v, mproc__arena_table_off(ref, mproc__arena_n_pages(v)));
	if (!table)
		return scribbled(v);
	/*
	 * Each allocation of a block adds one, and may so come to have what is given to blocks
	 * elsewhere; here, and in this table, all that comes next is above: see close_slab().
	 */
	generation = birth(v);
	for (uint32_t i = 0; i < mproc__arena_class_blocks(class); i++)
		atomic_store_explicit(&table->words[i],
				      mproc__arena_word(generation, 0, MPROC__ARENA_FREE),
				      memory_order_relaxed);
	/* A slab of a shard is always its current one: killed in between, it is not lost. */
	atomic_store_explicit(&sh->free[class], 0, memory_order_relaxed);
	atomic_store_explicit(&sh->current[class], page + 1, memory_order_relaxed);
	cut(v, page, len, n, mproc__arena_slab_word(birth(v), shard + 1, class), ref);
	table_mark(v, ref);
	link = mproc__arena_link_at(v, (uint32_t)(ref >> 3));
	if (tables_used(link) == TABLES_ALL)
		atomic_store_explicit(&v->at->arena->tables, (uint32_t)(link & TABLES_NEXT),
				      memory_order_relaxed);
	return 0;
}

void mproc__arena_runs_distrust(const struct mproc__arena_view *v)
{
	mproc__arena_set_stale(v, 1);
}

static int broken(uint32_t page)
{
	return mproc__fail(-EBADMSG, "arena: page %" PRIu32 " begins nothing that can be there",
			   page);
}

/* Every first page is possible; which tables are used is to be seen. */
static int check_runs(const struct mproc__arena_view *v)
{
	uint32_t n_pages = mproc__arena_n_pages(v);
	struct mproc__arena_run run;

	for (uint32_t page = 0; page < n_pages; page += run.n_pages) {
		if (!mproc__arena_run_at(v, page, &run))
			return broken(page);
		if (run.state == MPROC__ARENA_TABLES_PAGE)
			mproc__arena_set_link(v, page, 0);
	}
	for (uint32_t page = 0; page < n_pages; page += run.n_pages) {
		if (!mproc__arena_run_at(v, page, &run))
			return broken(page);
		if (run.state != MPROC__ARENA_SLAB)
			continue;
		if (!table_mark(v, mproc__arena_link_at(v, page)))
			return broken(page);
		if (run.shard == MPROC__ARENA_SHARD_CLOSING)
			mproc__arena_slab_abandon(v, page, run.class,
						  mproc__arena_word_at(v, page));
	}
	return 0;
}

static bool is_free(const struct mproc__arena_view *v, uint32_t page,
		    const struct mproc__arena_run *run)
{
	return run->state == MPROC__ARENA_FREE || run->state == MPROC__ARENA_DROPPED ||
	       (run->state == MPROC__ARENA_TABLES_PAGE &&
		!tables_used(mproc__arena_link_at(v, page)));
}

/* The free run at @page and all that follows it without a gap. Return: its pages. */
static uint32_t join(const struct mproc__arena_view *v, uint32_t page, uint32_t n)
{
	struct mproc__arena_run run;

	while (page + n < mproc__arena_n_pages(v) && mproc__arena_run_at(v, page + n, &run) &&
	       is_free(v, page + n, &run))
		n += run.n_pages;
	mproc__arena_set_word(v, page, mproc__arena_counted(MPROC__ARENA_FREE, n));
	for (uint32_t i = 1; i < n; i++)
		atomic_store_explicit(&v->at->pages[page + i].word, 0, memory_order_relaxed);
	return n;
}

int mproc__arena_runs_rebuild(const struct mproc__arena_view *v)
{
	uint32_t n_pages = mproc__arena_n_pages(v), n;
	struct mproc__arena_run run;
	int r;

	mproc__arena_set_stale(v, 1);
	r = check_runs(v);
	if (r < 0)
		return r;
	mproc__arena_bins_clear(v);
	atomic_store_explicit(&v->at->arena->tables, 0, memory_order_relaxed);
	for (uint32_t page = 0; page < n_pages; page += n) {
		if (!mproc__arena_run_at(v, page, &run))
			return broken(page);
		n = run.n_pages;
		if (is_free(v, page, &run)) {
			n = join(v, page, n);
			mproc__arena_bins_add(v, page, n);
			continue;
		}
		mark_all(v, page, n);
		if (run.state == MPROC__ARENA_TABLES_PAGE &&
		    tables_used(mproc__arena_link_at(v, page)) != TABLES_ALL) {
			mproc__arena_set_link(v, page,
					      mproc__arena_link_at(v, page) |
						      atomic_load_explicit(&v->at->arena->tables,
									   memory_order_relaxed));
			atomic_store_explicit(&v->at->arena->tables, page + 1,
					      memory_order_relaxed);
		}
	}
	mproc__arena_set_stale(v, 0);
	return 0;
}
