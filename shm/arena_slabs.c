/* SPDX-License-Identifier: MIT */

/*
 * Slabs: small blocks, found in a few steps and without waiting for each other
 *
 * A slab is a run of one to four pages cut into blocks of one class. Each block
 * has a word in the slab's table, and that word is the truth:
 *
 *	FREE -> PRIVATE		by the owner of the lock of the slab's shard, by a
 *				store: nobody else turns a FREE word
 *	PRIVATE, USED -> ...	by a CAS, by anybody, without a lock
 *
 * A shard is where some of the threads allocate: for each class it has a current
 * slab. Whose a slab is stands in the slab's own word, so that the claim of a slab
 * and its new owner are one CAS:
 *
 *	shard k		the current slab of shard k, which says so since before the
 *			claim; only who owns k's lock changes the word
 *	none		full, or it has free blocks and a bit in the bitmap of its class
 *	closing		its last user is sought, under the lock of the runs
 *
 * A block is freed into a slab of none: who freed it sets the slab's bit. Into one
 * of a shard: the shard looks at all words again before it gives a slab up. Who
 * frees writes the block's word and then reads the slab's; who gives up writes the
 * slab's word and then reads the blocks': with a full barrier between, one of the
 * two sees the other, and no free block is lost.
 *
 * So an allocation is the CAS of its shard's lock and stores, a free is one CAS.
 * Who finds his shard busy takes another that is not. There is no ABA: words are
 * turned from FREE under a lock, and carry a generation where they are turned by
 * a CAS; a table is read, then its slab's word once more, and what was read is used
 * only if the slab was there all the time. A CAS on the word of a table that has
 * become user data meanwhile needs one who was late with a block that he no longer
 * had, and fails: the data would have to equal 64 bits that name a generation.
 *
 * Bitmaps, current slabs and their free bits are hints. A kill makes them miss
 * something, never invent it: mproc__arena_gather() finds it again, before anybody
 * is told that there is no room. Empty slabs are given back by it as well, not
 * before: what is allocated and freed in turns costs no run.
 */

#include <errno.h>

#include "ipc/clock.h"
#include "shm/arena_inside.h"
#include "shm/arena_quick.h"

/*
 * The bitmaps of all classes lie side by side, word by word, and so do the summaries:
 * what serves the pages that exist is one range of each, which growing makes longer.
 */
struct map {
	_Atomic(uint64_t) *words; /* a bit for each page */
	_Atomic(uint64_t) *sums;  /* a bit for each of those words */
};

static struct map map_of(const struct mproc__arena_view *v, uint32_t class)
{
	return (struct map){ .words = v->at->maps + class, .sums = v->at->sums + class };
}

static _Atomic(uint64_t) *word_nth(_Atomic(uint64_t) *words, uint64_t n)
{
	return &words[n * MPROC__ARENA_CLASSES];
}

static void bit_set(_Atomic(uint64_t) *words, uint64_t i)
{
	_Atomic(uint64_t) *word = word_nth(words, i / 64);
	uint64_t bit = UINT64_C(1) << i % 64;

	if (!(atomic_load_explicit(word, memory_order_relaxed) & bit))
		atomic_fetch_or_explicit(word, bit, memory_order_seq_cst);
}

/* Return: whether the word is now empty. */
static bool bit_clear(_Atomic(uint64_t) *words, uint64_t i)
{
	uint64_t bit = UINT64_C(1) << i % 64;

	return !(atomic_fetch_and_explicit(word_nth(words, i / 64), ~bit, memory_order_seq_cst) &
		 ~bit);
}

static void map_sum_clear(const struct map *map, uint64_t word)
{
	bit_clear(map->sums, word);
	/* Somebody may have set a bit of the word since we saw it empty. */
	if (atomic_load_explicit(word_nth(map->words, word), memory_order_seq_cst))
		bit_set(map->sums, word);
}

static void map_set(const struct map *map, uint32_t page)
{
	bit_set(map->words, page);
	bit_set(map->sums, page / 64);
}

static void map_clear(const struct map *map, uint32_t page)
{
	if (bit_clear(map->words, page))
		map_sum_clear(map, page / 64);
}

/* Return: a page below @n_pages whose bit is set, or UINT32_MAX. */
static uint32_t map_find(const struct map *map, uint32_t n_pages)
{
	uint64_t n_words = mproc__arena_map_words(n_pages);

	for (uint64_t i = 0; i < mproc__arena_sum_words(n_pages); i++) {
		uint64_t sum = atomic_load_explicit(word_nth(map->sums, i), memory_order_relaxed);

		for (; sum; sum &= sum - 1) {
			uint64_t word = i * 64 + (uint64_t)__builtin_ctzll(sum);
			uint64_t bits, page;

			if (word >= n_words)
				break;
			bits = atomic_load_explicit(word_nth(map->words, word),
						    memory_order_relaxed);
			if (!bits) {
				map_sum_clear(map, word);
				continue;
			}
			page = word * 64 + (uint64_t)__builtin_ctzll(bits);
			if (page < n_pages)
				return (uint32_t)page;
		}
	}
	return UINT32_MAX;
}

/* The slab of @class at @page. Return: false if there is none. */
static bool slab_at(const struct mproc__arena_view *v, uint32_t page, uint32_t class,
		    struct mproc__arena_run *ret)
{
	return page < mproc__arena_n_pages(v) && mproc__arena_run_at(v, page, ret) &&
	       ret->state == MPROC__ARENA_SLAB && ret->class == class;
}

uint64_t mproc__arena_free_bits(const struct mproc__arena_table *table, uint32_t class)
{
	uint64_t bits = 0, word;

	for (uint32_t i = 0; i < mproc__arena_class_blocks(class); i++) {
		word = atomic_load_explicit(&table->words[i], memory_order_acquire);
		if (mproc__arena_state(word) == MPROC__ARENA_FREE)
			bits |= UINT64_C(1) << i;
	}
	return bits;
}

void mproc__arena_slab_abandon(const struct mproc__arena_view *v, uint32_t page, uint32_t class,
			       uint64_t word)
{
	struct map map = map_of(v, class);
	struct mproc__arena_table *table;
	struct mproc__arena_run run;

	atomic_store_explicit(&v->at->pages[page].word,
			      mproc__arena_slab_give(word, MPROC__ARENA_SHARD_NONE),
			      memory_order_seq_cst);
	/* Pairs with the CAS of who frees a block. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!slab_at(v, page, class, &run))
		return;
	table = mproc__arena_table_at(v, run.table);
	if (!table || mproc__arena_free_bits(table, class))
		map_set(&map, page);
}

void mproc__arena_slab_found(const struct mproc__arena_view *v, uint32_t page, uint32_t class)
{
	struct map map = map_of(v, class);

	map_set(&map, page);
}

/* Make the slab that the bitmap has at @page the shard's own. */
static bool claim(const struct mproc__arena_view *v, uint32_t shard, uint32_t class, uint32_t page)
{
	struct mproc__arena_shard *sh = &v->at->arena->shards[shard];
	uint64_t none = MPROC__ARENA_SHARD_NONE, word = mproc__arena_page_word(v, page);
	struct map map = map_of(v, class);
	struct mproc__arena_run run;
	bool ok = false;

	atomic_store_explicit(&sh->free[class], 0, memory_order_relaxed);
	atomic_store_explicit(&sh->current[class], page + 1, memory_order_relaxed);
	/* Killed behind the claim, the slab is the shard's current one already. */
	atomic_signal_fence(memory_order_seq_cst);
	if (slab_at(v, page, class, &run) && mproc__arena_slab_shard(word) == none)
		ok = atomic_compare_exchange_strong_explicit(
			&v->at->pages[page].word, &word, mproc__arena_slab_give(word, shard + 1),
			memory_order_seq_cst, memory_order_relaxed);
	if (!ok)
		atomic_store_explicit(&sh->current[class], 0, memory_order_relaxed);
	/* Who freed a block and still saw the slab without a shard: we shall see the block. */
	atomic_thread_fence(memory_order_seq_cst);
	map_clear(&map, page);
	/* Given up by another between our look and the clearing: the bit was his. */
	word = atomic_load_explicit(&v->at->pages[page].word, memory_order_seq_cst);
	if (mproc__arena_state(word) == MPROC__ARENA_SLAB &&
	    mproc__arena_slab_class(word) == class && mproc__arena_slab_shard(word) == none)
		map_set(&map, page);
	return ok;
}

/* The shard has no current slab of @class from here on. */
static void let_go(const struct mproc__arena_view *v, uint32_t shard, uint32_t class)
{
	struct mproc__arena_shard *sh = &v->at->arena->shards[shard];
	uint32_t entry = atomic_load_explicit(&sh->current[class], memory_order_relaxed);
	struct mproc__arena_run run;

	/* The slab would be nobody's and in no map. */
	if (entry && mproc__arena_is_hidden(v, entry - 1))
		return;
	if (entry && slab_at(v, entry - 1, class, &run) && run.shard == shard + 1)
		mproc__arena_slab_abandon(v, entry - 1, class,
					  mproc__arena_page_word(v, entry - 1));
	atomic_store_explicit(&sh->current[class], 0, memory_order_relaxed);
	atomic_store_explicit(&sh->free[class], 0, memory_order_relaxed);
}

/* What a dead owner of a shard's lock was about may be anything: keep what is true. */
static void mend(const struct mproc__arena_view *v, uint32_t shard)
{
	struct mproc__arena_shard *sh = &v->at->arena->shards[shard];

	mproc__arena_refresh(v);
	for (uint32_t c = 0; c < MPROC__ARENA_CLASSES; c++) {
		uint32_t entry = atomic_load_explicit(&sh->current[c], memory_order_relaxed);
		struct map map = map_of(v, c);
		struct mproc__arena_run run;

		atomic_store_explicit(&sh->free[c], 0, memory_order_relaxed);
		/* What we cannot know is as good as it was: a stale one is found out later. */
		if (!entry || mproc__arena_is_hidden(v, entry - 1))
			continue;
		if (slab_at(v, entry - 1, c, &run)) {
			if (run.shard == shard + 1)
				continue;
			/* Given up half-way, or not yet claimed: its bit may be missing. */
			if (run.shard == MPROC__ARENA_SHARD_NONE)
				map_set(&map, entry - 1);
		}
		atomic_store_explicit(&sh->current[c], 0, memory_order_relaxed);
	}
}

static inline int shard_lock(const struct mproc__arena_view *v, uint32_t shard, int64_t deadline)
{
	struct mproc__lock *lock = &v->at->arena->shards[shard].lock;
	int r = mproc__lock_take(lock, v->me, v->at->what, deadline);

	if (r == MPROC__LOCK_INHERITED) {
		mend(v, shard);
		mproc__lock_repaired(lock, v->me);
		r = 0;
	}
	return r;
}

static inline void shard_unlock(const struct mproc__arena_view *v, uint32_t shard)
{
	mproc__lock_release(&v->at->arena->shards[shard].lock, v->me);
}

/* The shard's lock is held. */
static int find(const struct mproc__arena_view *v, uint32_t shard, uint32_t class, bool grow,
		uint64_t *ret_rel)
{
	struct map map = map_of(v, class);
	uint32_t page, tries;
	int r;

	/* Others may have given the shard a slab of pages that we did not know. */
	mproc__arena_refresh(v);
	if (mproc__arena_take(v, shard, class, ret_rel))
		return 0;
	/* The shard is for others: to take another slab would lose this one. */
	if (mproc__arena_is_hidden(v,
				   atomic_load_explicit(&v->at->arena->shards[shard].current[class],
							memory_order_relaxed) -
					   1))
		return mproc__arena_fail_hidden();
	let_go(v, shard, class);
	/* A bit may be stale, so may be all; who sets them as we go is no reason to stay. */
	tries = mproc__arena_n_pages(v);
	/* Slabs whose tables we have no addresses for are met again and again. */
	if (mproc__arena_n_reach(v) < tries)
		tries = 64;
	while (tries--) {
		page = map_find(&map, mproc__arena_n_reach(v));
		if (page == UINT32_MAX)
			break;
		if (!claim(v, shard, class, page))
			continue;
		if (mproc__arena_take(v, shard, class, ret_rel))
			return 0;
		let_go(v, shard, class);
	}
	if (!grow)
		return -ENOSPC;
	r = mproc__arena_runs_lock(v);
	if (r < 0)
		return r;
	r = mproc__arena_runs_slab(v, shard, class);
	mproc__arena_runs_unlock(v);
	if (r < 0)
		return r;
	return mproc__arena_take(v, shard, class, ret_rel) ? 0 : -ENOSPC;
}

static bool shard_is_busy(const struct mproc__arena_view *v, uint32_t shard)
{
	return atomic_load_explicit(&v->at->arena->shards[shard].lock.word, memory_order_relaxed) !=
	       0;
}

/* The calling thread's shard, or one that nobody is in. */
static inline uint32_t choose(const struct mproc__arena_view *v)
{
	uint32_t n = atomic_load_explicit(&v->at->n_spread, memory_order_relaxed);
	uint32_t own = mproc__owner_index(v->me->word) & (n - 1);

	if (!shard_is_busy(v, own))
		return own;
	for (uint32_t i = 1; i < n; i++) {
		uint32_t other = own ^ i;

		if (!shard_is_busy(v, other))
			return other;
	}
	return own;
}

/* No page is left: a block of another shard's slab, then a larger one. */
static int scrape(const struct mproc__arena_view *v, uint32_t class, uint64_t *ret_rel)
{
	int r;

	for (uint32_t c = class; c < MPROC__ARENA_CLASSES; c++) {
		for (uint32_t shard = 0; shard < v->at->n_shards; shard++) {
			r = shard_lock(v, shard, mproc_after_ms(MPROC__ARENA_NEIGHBOUR_MS));
			if (r == -ETIMEDOUT)
				continue;
			if (r < 0)
				return r;
			r = find(v, shard, c, false, ret_rel);
			shard_unlock(v, shard);
			if (r != -ENOSPC)
				return r;
		}
	}
	return -ENOSPC;
}

int mproc__arena_small_alloc(const struct mproc__arena_view *v, uint32_t class, uint64_t *ret_rel)
{
	uint32_t shard = choose(v);
	int r;

	r = shard_lock(v, shard, MPROC_FOREVER);
	if (r < 0)
		return r;
	r = mproc__arena_take(v, shard, class, ret_rel) ? 0 : find(v, shard, class, true, ret_rel);
	shard_unlock(v, shard);
	return r == -ENOSPC ? scrape(v, class, ret_rel) : r;
}

/* Close the slab at @page if nobody uses a block of it. The lock of the runs is held. */
static void close_slab(const struct mproc__arena_view *v, uint32_t page,
		       const struct mproc__arena_run *slab)
{
	uint32_t blocks = mproc__arena_class_blocks(slab->class);
	uint64_t all = ~UINT64_C(0) >> (64 - blocks);
	uint64_t word = mproc__arena_page_word(v, page);
	uint64_t closing = mproc__arena_slab_give(word, MPROC__ARENA_SHARD_CLOSING);
	struct mproc__arena_table *table = mproc__arena_table_at(v, slab->table);

	if (!table || mproc__arena_slab_shard(word) != MPROC__ARENA_SHARD_NONE ||
	    !atomic_compare_exchange_strong_explicit(&v->at->pages[page].word, &word, closing,
						     memory_order_seq_cst, memory_order_relaxed))
		return;
	if (mproc__arena_free_bits(table, slab->class) == all) {
		/*
		 * Nobody allocates from what is closing, so the words have their last generations.
		 * A block has had as many as it was allocated times; what begins in its place, or
		 * in its word of the table, has to begin above. Killed here we leave a slab that
		 * is closing, for the rebuilding, and a count that is higher than need be.
		 */
		for (uint32_t i = 0; i < blocks; i++)
			mproc__arena_runs_outlive(v,
						  mproc__arena_generation(atomic_load_explicit(
							  &table->words[i], memory_order_relaxed)));
		mproc__arena_runs_free(v, page, slab->n_pages);
	} else {
		mproc__arena_slab_abandon(v, page, slab->class, closing);
	}
}

int mproc__arena_gather(const struct mproc__arena_view *v)
{
	struct mproc__arena_run run;
	uint32_t n_pages;
	int r;

	for (uint32_t shard = 0; shard < v->at->n_shards; shard++) {
		/* What a stopped neighbour keeps stays his. */
		if (shard_lock(v, shard, mproc_after_ms(MPROC__ARENA_NEIGHBOUR_MS)) < 0)
			continue;
		mproc__arena_refresh(v);
		for (uint32_t c = 0; c < MPROC__ARENA_CLASSES; c++)
			let_go(v, shard, c);
		shard_unlock(v, shard);
	}
	r = mproc__arena_runs_lock(v);
	if (r < 0)
		return r;
	mproc__arena_runs_distrust(v);
	n_pages = mproc__arena_n_pages(v);
	for (uint32_t page = 0; page < n_pages; page += run.n_pages) {
		if (!mproc__arena_run_at(v, page, &run))
			break; /* for the rebuilding to tell */
		if (run.state == MPROC__ARENA_SLAB)
			close_slab(v, page, &run);
	}
	r = mproc__arena_runs_rebuild(v);
	mproc__arena_runs_unlock(v);
	return r;
}
