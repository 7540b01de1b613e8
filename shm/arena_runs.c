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
 * a run that looks like a first page: FREE or FREEING, never a block in use, so
 * that nobody who looks without the lock takes it for one.
 *
 * Everything else is made from these words: the lists of free runs by size, the
 * TAIL at the end of a free run by which the one behind finds it, the lists of
 * table pages with room. Who inherits the lock does not trust them: he makes them
 * anew in one walk, lazily, before the next allocation. That is what a redo log
 * would buy, at no cost while nobody dies; and the same walk mends what a
 * scribbler did to the lists.
 *
 * A size has a list of its own up to 16 pages, then there are four to each
 * doubling. The search takes the first fit among the first few of its own list,
 * then any of the next list that has one, then the rest of its own: the last step
 * is long only when nothing larger is left, and finds whatever fits.
 */

#include "shm/arena_inside.h"

#include <errno.h>
#include <inttypes.h>

#include "ipc/error.h"

#define FIT_TRIES 8u

static uint32_t bin_of(uint32_t n)
{
	uint32_t e;

	if (n <= 16)
		return n - 1;
	e = 31 - (uint32_t)__builtin_clz(n);
	return 16 + (e - 4) * 4 + (n >> (e - 2) & 3);
}

static uint64_t word_at(const struct mproc__arena_view *v, uint32_t page)
{
	return atomic_load_explicit(&v->at->pages[page].word, memory_order_relaxed);
}

static void set_word(const struct mproc__arena_view *v, uint32_t page, uint64_t word)
{
	/* Release: link and block words stand before the word that leads to them. */
	atomic_store_explicit(&v->at->pages[page].word, word, memory_order_release);
}

static uint64_t link_at(const struct mproc__arena_view *v, uint32_t page)
{
	return atomic_load_explicit(&v->at->pages[page].link, memory_order_relaxed);
}

static void set_link(const struct mproc__arena_view *v, uint32_t page, uint64_t link)
{
	atomic_store_explicit(&v->at->pages[page].link, link, memory_order_relaxed);
}

static bool is_stale(const struct mproc__arena_view *v)
{
	return atomic_load_explicit(&v->at->arena->stale, memory_order_relaxed) != 0;
}

static void set_stale(const struct mproc__arena_view *v, uint32_t stale)
{
	atomic_store_explicit(&v->at->arena->stale, stale, memory_order_relaxed);
}

static int locked(const struct mproc__arena_view *v, int r)
{
	if (r == MPROC__LOCK_INHERITED) {
		/* The news outlives us before we forget whose lock it was. */
		set_stale(v, 1);
		mproc__lock_repaired(&v->at->arena->lock, v->me);
		r = 0;
	}
	return r;
}

int mproc__arena_runs_lock(const struct mproc__arena_view *v)
{
	return locked(v, mproc__lock_take(&v->at->arena->lock, v->me, v->at->what, MPROC_FOREVER));
}

int mproc__arena_runs_try(const struct mproc__arena_view *v)
{
	return locked(v, mproc__lock_try(&v->at->arena->lock, v->me));
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

/* The pages of [first, first + n) but the first are parts of its run. */
static void mark_parts(const struct mproc__arena_view *v, uint32_t first, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
		atomic_store_explicit(&v->at->pages[first + i].word,
				      mproc__arena_counted(MPROC__ARENA_PART, i),
				      memory_order_relaxed);
}

/*
 * The lists of free runs. Neighbours in a list are numbers of pages + 1.
 */

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

	if (!entry || entry > v->at->n_pages || !mproc__arena_run_at(v, entry - 1, &run) ||
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

/* Write what belongs to the free run of @n pages at @page, whose word stands, and list it. */
static void list(const struct mproc__arena_view *v, uint32_t page, uint32_t n)
{
	uint32_t bin = bin_of(n);
	uint32_t next = atomic_load_explicit(&v->at->arena->bins[bin], memory_order_relaxed);

	if (next && !listed_len(v, next, bin)) {
		set_stale(v, 1);
		return;
	}
	if (n > 1)
		set_word(v, page + n - 1, mproc__arena_counted(MPROC__ARENA_TAIL, n));
	set_link(v, page, links(next, 0));
	if (next)
		set_link(v, next - 1, links(next_of(link_at(v, next - 1)), page + 1));
	bin_set(v, bin, page + 1);
}

/* Take the free run of @n pages at @page off its list. Return: false if the list is broken. */
static bool unlist(const struct mproc__arena_view *v, uint32_t page, uint32_t n)
{
	uint32_t bin = bin_of(n);
	uint64_t link = link_at(v, page);
	uint32_t next = next_of(link), prev = prev_of(link);

	if (next) {
		if (!listed_len(v, next, bin) || prev_of(link_at(v, next - 1)) != page + 1)
			return false;
	}
	if (prev) {
		if (!listed_len(v, prev, bin) || next_of(link_at(v, prev - 1)) != page + 1)
			return false;
		set_link(v, prev - 1, links(next, prev_of(link_at(v, prev - 1))));
	} else {
		if (atomic_load_explicit(&v->at->arena->bins[bin], memory_order_relaxed) !=
		    page + 1)
			return false;
		bin_set(v, bin, next);
	}
	if (next)
		set_link(v, next - 1, links(next_of(link_at(v, next - 1)), prev));
	return true;
}

/* The first of at most @tries runs in @bin with @n pages or more, as an entry; 0: none. */
static int first_fit(const struct mproc__arena_view *v, uint32_t bin, uint32_t n, uint32_t tries,
		     uint32_t *ret_entry)
{
	uint32_t entry = atomic_load_explicit(&v->at->arena->bins[bin], memory_order_relaxed);
	uint32_t len;

	*ret_entry = 0;
	while (entry && tries--) {
		len = listed_len(v, entry, bin);
		if (!len)
			return -EBADMSG;
		if (len >= n) {
			*ret_entry = entry;
			return 0;
		}
		entry = next_of(link_at(v, entry - 1));
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

/* A free run of @n pages or more, taken off its list. Return: 0, -ENOSPC, -EBADMSG. */
static int find(const struct mproc__arena_view *v, uint32_t n, uint32_t *ret_page, uint32_t *ret_n)
{
	uint32_t own = bin_of(n), bin, entry;
	int r;

	r = first_fit(v, own, n, FIT_TRIES, &entry);
	if (!r && !entry) {
		bin = filled_bin(v, own + 1);
		if (bin < MPROC__ARENA_BINS)
			r = first_fit(v, bin, n, 1, &entry);
	}
	if (!r && !entry)
		r = first_fit(v, own, n, v->at->n_pages, &entry);
	if (r < 0)
		return r;
	if (!entry)
		return -ENOSPC;
	*ret_page = entry - 1;
	*ret_n = (uint32_t)mproc__arena_count(word_at(v, entry - 1));
	return unlist(v, *ret_page, *ret_n) ? 0 : -EBADMSG;
}

static int scribbled(const struct mproc__arena_view *v)
{
	set_stale(v, 1);
	return mproc__fail(-EBADMSG, "arena: its lists were scribbled over under its lock");
}

/* find(), after mending what is broken. */
static int take(const struct mproc__arena_view *v, uint32_t n, uint32_t *ret_page, uint32_t *ret_n)
{
	int r = mproc__arena_runs_settle(v);

	if (r == 0)
		r = find(v, n, ret_page, ret_n);
	if (r == -EBADMSG && !is_stale(v)) {
		set_stale(v, 1);
		r = mproc__arena_runs_rebuild(v);
		if (r == 0)
			r = find(v, n, ret_page, ret_n);
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
		set_word(v, page + n, mproc__arena_counted(MPROC__ARENA_FREE, len - n));
	mark_parts(v, page, n);
	set_link(v, page, link);
	atomic_store_explicit(&v->at->pages[page].owners, 0, memory_order_relaxed);
	set_word(v, page, word);
	if (len > n)
		list(v, page + n, len - n);
}

int mproc__arena_runs_alloc(const struct mproc__arena_view *v, uint64_t n, uint32_t *ret_page)
{
	uint32_t page, len;
	int r;

	if (n > v->at->n_pages)
		return -ENOSPC;
	r = take(v, (uint32_t)n, &page, &len);
	if (r < 0)
		return r;
	cut(v, page, len, (uint32_t)n, mproc__arena_word(birth(v), v->owner, MPROC__ARENA_PRIVATE),
	    n);
	*ret_page = page;
	return 0;
}

void mproc__arena_runs_free(const struct mproc__arena_view *v, uint32_t page, uint32_t n)
{
	uint32_t first = page, next = page + n;
	struct mproc__arena_run run;
	uint64_t before;

	/* What stands around us may be left from a kill: the rebuilding joins as well. */
	if (is_stale(v))
		goto commit;
	if (next < v->at->n_pages && mproc__arena_run_at(v, next, &run) &&
	    run.state == MPROC__ARENA_FREE) {
		if (!unlist(v, next, run.n_pages)) {
			set_stale(v, 1);
			goto commit;
		}
		n += run.n_pages;
	}
	before = page ? word_at(v, page - 1) : 0;
	if (mproc__arena_state(before) == MPROC__ARENA_FREE && mproc__arena_count(before) == 1)
		first = page - 1;
	else if (mproc__arena_state(before) == MPROC__ARENA_TAIL &&
		 mproc__arena_count(before) <= page)
		first = page - (uint32_t)mproc__arena_count(before);
	/* A TAIL is believed if the first page that it names reaches exactly to us. */
	if (first != page && mproc__arena_run_at(v, first, &run) &&
	    run.state == MPROC__ARENA_FREE && run.n_pages == page - first) {
		if (!unlist(v, first, run.n_pages)) {
			set_stale(v, 1);
			n = next - page;
			first = page;
			goto commit;
		}
		n += run.n_pages;
	} else {
		first = page;
	}
commit:
	set_word(v, first, mproc__arena_counted(MPROC__ARENA_FREE, n));
	if (is_stale(v))
		return;
	if (first != page)
		set_word(v, page, 0);
	if (first + n != next)
		set_word(v, next, 0);
	list(v, first, n);
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

	r = take(v, n + 1, &page, &len);
	if (r < 0)
		return r;
	cut(v, page, len, 1, MPROC__ARENA_TABLES_PAGE, 0);
	atomic_store_explicit(&v->at->arena->tables, page + 1, memory_order_relaxed);
	return 0;
}

/* An unused table. Return: 0, -ENOSPC, -EBADMSG. */
static int table_find(const struct mproc__arena_view *v, uint32_t n, uint64_t *ret_ref)
{
	uint32_t page;
	uint64_t free;
	int r = 0;

	if (!atomic_load_explicit(&v->at->arena->tables, memory_order_relaxed))
		r = tables_new(v, n);
	if (r < 0)
		return r;
	page = atomic_load_explicit(&v->at->arena->tables, memory_order_relaxed) - 1;
	if (page >= v->at->n_pages || word_at(v, page) != MPROC__ARENA_TABLES_PAGE)
		return -EBADMSG;
	free = ~tables_used(link_at(v, page)) & TABLES_ALL;
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

	if (word_at(v, page) != MPROC__ARENA_TABLES_PAGE || link_at(v, page) & bit)
		return false;
	set_link(v, page, link_at(v, page) | bit);
	return true;
}

/* A table for a slab of @n pages, which then surely can be had unless this fails. */
static int table_take(const struct mproc__arena_view *v, uint32_t n, uint64_t *ret_ref)
{
	int r = mproc__arena_runs_settle(v);

	if (r == 0)
		r = table_find(v, n, ret_ref);
	if (r == -EBADMSG && !is_stale(v)) {
		set_stale(v, 1);
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
		r = take(v, n, &page, &len);
	if (r < 0)
		return r;
	/* Where the lists had to be mended meanwhile an unused table may be gone. */
	if (word_at(v, (uint32_t)(ref >> 3)) != MPROC__ARENA_TABLES_PAGE)
		return scribbled(v);
	table = mproc__arena_table_at(v, mproc__arena_table_off(ref, v->at->n_pages));
	/* Each allocation of a block adds one; the next slab to use the table begins above. */
	generation = birth(v) << 16 & MPROC__ARENA_GENERATION_MASK;
	for (uint32_t i = 0; i < mproc__arena_class_blocks(class); i++)
		atomic_store_explicit(&table->words[i],
				      mproc__arena_word(generation, 0, MPROC__ARENA_FREE),
				      memory_order_relaxed);
	/* A slab of a shard is always its current one: killed in between, it is not lost. */
	atomic_store_explicit(&sh->free[class], 0, memory_order_relaxed);
	atomic_store_explicit(&sh->current[class], page + 1, memory_order_relaxed);
	cut(v, page, len, n, mproc__arena_slab_word(birth(v), shard + 1, class), ref);
	table_mark(v, ref);
	link = link_at(v, (uint32_t)(ref >> 3));
	if (tables_used(link) == TABLES_ALL)
		atomic_store_explicit(&v->at->arena->tables, (uint32_t)(link & TABLES_NEXT),
				      memory_order_relaxed);
	return 0;
}

void mproc__arena_runs_distrust(const struct mproc__arena_view *v)
{
	set_stale(v, 1);
}

static int broken(uint32_t page)
{
	return mproc__fail(-EBADMSG, "arena: page %" PRIu32 " begins nothing that can be there",
			   page);
}

/* Every first page is possible; which tables are used is to be seen. */
static int check_runs(const struct mproc__arena_view *v)
{
	struct mproc__arena_run run;

	for (uint32_t page = 0; page < v->at->n_pages; page += run.n_pages) {
		if (!mproc__arena_run_at(v, page, &run))
			return broken(page);
		if (run.state == MPROC__ARENA_TABLES_PAGE)
			set_link(v, page, 0);
	}
	for (uint32_t page = 0; page < v->at->n_pages; page += run.n_pages) {
		if (!mproc__arena_run_at(v, page, &run))
			return broken(page);
		if (run.state != MPROC__ARENA_SLAB)
			continue;
		if (!table_mark(v, link_at(v, page)))
			return broken(page);
		if (run.shard == MPROC__ARENA_SHARD_CLOSING)
			mproc__arena_slab_abandon(v, page, run.class, word_at(v, page));
	}
	return 0;
}

static bool is_free(const struct mproc__arena_view *v, uint32_t page,
		    const struct mproc__arena_run *run)
{
	return run->state == MPROC__ARENA_FREE ||
	       (run->state == MPROC__ARENA_TABLES_PAGE && !tables_used(link_at(v, page)));
}

/* The free run at @page and all that follows it without a gap. Return: its pages. */
static uint32_t join(const struct mproc__arena_view *v, uint32_t page, uint32_t n)
{
	struct mproc__arena_run run;

	while (page + n < v->at->n_pages && mproc__arena_run_at(v, page + n, &run) &&
	       is_free(v, page + n, &run))
		n += run.n_pages;
	set_word(v, page, mproc__arena_counted(MPROC__ARENA_FREE, n));
	for (uint32_t i = 1; i < n; i++)
		atomic_store_explicit(&v->at->pages[page + i].word, 0, memory_order_relaxed);
	return n;
}

int mproc__arena_runs_rebuild(const struct mproc__arena_view *v)
{
	struct mproc__arena_run run;
	uint32_t n;
	int r;

	set_stale(v, 1);
	r = check_runs(v);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < MPROC__ARENA_BINS; i++)
		bin_set(v, i, 0);
	atomic_store_explicit(&v->at->arena->tables, 0, memory_order_relaxed);
	for (uint32_t page = 0; page < v->at->n_pages; page += n) {
		if (!mproc__arena_run_at(v, page, &run))
			return broken(page);
		n = run.n_pages;
		if (is_free(v, page, &run)) {
			n = join(v, page, n);
			list(v, page, n);
			continue;
		}
		mark_parts(v, page, n);
		if (run.state == MPROC__ARENA_TABLES_PAGE &&
		    tables_used(link_at(v, page)) != TABLES_ALL) {
			set_link(v, page,
				 link_at(v, page) | atomic_load_explicit(&v->at->arena->tables,
									 memory_order_relaxed));
			atomic_store_explicit(&v->at->arena->tables, page + 1,
					      memory_order_relaxed);
		}
	}
	set_stale(v, 0);
	return 0;
}

int mproc__arena_runs_settle(const struct mproc__arena_view *v)
{
	return is_stale(v) ? mproc__arena_runs_rebuild(v) : 0;
}
