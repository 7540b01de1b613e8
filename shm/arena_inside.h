/* SPDX-License-Identifier: MIT */
#ifndef MPROC__ARENA_INSIDE_H
#define MPROC__ARENA_INSIDE_H

/*
 * What the arena's own files share: runs of pages, and the slabs cut from them
 *
 * Locks are taken in this order: one shard's, then the runs'.
 */

#include "ipc/lock.h"
#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/arena_layout.h"

/* How long one waits for a neighbour whom he can do without. */
#define MPROC__ARENA_NEIGHBOUR_MS 10

/* One call's view of an arena. */
struct mproc__arena_view {
	mproc_segment *segment;
	struct mproc__arena_place *at; /* of that */
	struct mproc__self *me;        /* or NULL */
	uint64_t owner;                /* the calling process, as in words */
};

/* Look at the arena as @me, or as nobody. */
static inline struct mproc__arena_view mproc__arena_view(mproc_segment *segment,
							 struct mproc__self *me)
{
	struct mproc__arena_view v = { .segment = segment, .at = &segment->arena_at, .me = me };

	if (me)
		v.owner = mproc__arena_owner_bits(
			me->proc, mproc__proc_generation(atomic_load_explicit(
					  &me->range->procs[me->proc].st, memory_order_relaxed)));
	return v;
}

/*
 * How many pages there are, as far as this process knows. It learns of more when it
 * takes the lock of the runs, which leads to all of them, and when it meets something
 * that it does not know: fewer than there are is no error, for what it knows stays.
 */
static inline uint32_t mproc__arena_n_pages(const struct mproc__arena_view *v)
{
	/* Acquire: how many of them we have addresses for, and what stands in their words. */
	return atomic_load_explicit(&v->at->n_pages, memory_order_acquire);
}

/* How many of them it has addresses for: their words it can read, the others too. */
static inline uint32_t mproc__arena_n_reach(const struct mproc__arena_view *v)
{
	return atomic_load_explicit(&v->at->n_reach, memory_order_relaxed);
}

/* Look again (arena_grow.c). Return: whether there are more than were known. */
bool mproc__arena_learn(mproc_segment *segment, uint32_t n_pages);

static inline bool mproc__arena_refresh(const struct mproc__arena_view *v)
{
	uint32_t n = atomic_load_explicit(&v->at->arena->n_pages, memory_order_acquire);

	return __builtin_expect(n != mproc__arena_n_pages(v), 0) &&
	       mproc__arena_learn(v->segment, n);
}

/*
 * Is @page one that others have made, and that this process can never know? It must take
 * what leads there neither for broken nor for unused.
 */
bool mproc__arena_is_hidden(const struct mproc__arena_view *v, uint32_t page);

/* What a call then ends with. Return: -ENOTCONN. */
int mproc__arena_fail_hidden(void);

/*
 * Make the arena larger: by what @n more pages in one run take, if it can be had by
 * more, and let others use it too. What others have made larger meanwhile counts.
 * @why:	why not, in words
 *
 * Return: 0 if there is more than before, -ENOSPC without a text, or another with one.
 */
int mproc__arena_grow(const struct mproc__arena_view *v, uint64_t n, char *why, size_t cap);

/* Make pages of the memory that is published. */
int mproc__arena_append(const struct mproc__arena_view *v);

static inline uint64_t mproc__arena_page_word(const struct mproc__arena_view *v, uint32_t page)
{
	return atomic_load_explicit(&v->at->pages[page].word, memory_order_acquire);
}

/*
 * The calling process is about to have a private block in the slab at @page: the
 * reaper looks only where this says that he must.
 */
static inline void mproc__arena_owners_add(const struct mproc__arena_view *v, uint32_t page)
{
	_Atomic(uint64_t) *owners = &v->at->pages[page].owners;
	uint64_t bit = UINT64_C(1) << (mproc__arena_owner_slot(v->owner) & 63);

	if (!(atomic_load_explicit(owners, memory_order_relaxed) & bit))
		atomic_fetch_or_explicit(owners, bit, memory_order_seq_cst);
	/* Killed in between, there is a bit too many. */
	atomic_signal_fence(memory_order_seq_cst);
}

/* What begins at @page. Return: false if nothing does. */
static inline bool mproc__arena_run_at(const struct mproc__arena_view *v, uint32_t page,
				       struct mproc__arena_run *ret)
{
	const struct mproc__arena_geometry g = { .n_pages = mproc__arena_n_pages(v) };
	uint64_t word = mproc__arena_page_word(v, page);
	uint64_t link = atomic_load_explicit(&v->at->pages[page].link, memory_order_acquire);

	/* Word and link belong together if the word has not become another run's. */
	if (mproc__arena_state(word) != MPROC__ARENA_FREE &&
	    mproc__arena_generation(mproc__arena_page_word(v, page)) !=
		    mproc__arena_generation(word))
		return false;
	return mproc__arena_run_look(&g, page, word, link, ret);
}

/* The table @table bytes from page 0, or NULL if this process has no addresses for it. */
static inline struct mproc__arena_table *mproc__arena_table_at(const struct mproc__arena_view *v,
							       uint64_t table)
{
	if (table / MPROC__ARENA_PAGE >= mproc__arena_n_reach(v))
		return NULL;
	return (struct mproc__arena_table *)(void *)(v->at->data + table);
}

/* A block, as it was at one instant. */
struct mproc__arena_block {
	_Atomic(uint64_t) *word; /* the truth about it */
	uint64_t value;          /* which was this */
	uint64_t rel;            /* from page 0 */
	uint64_t size;
	uint32_t page; /* first of its run or slab */
	uint32_t class;
	bool small;
};

/* The block, free or not, that @off lies in. Return: false if it is in none. */
bool mproc__arena_find(const struct mproc__arena_view *v, uint64_t off,
		       struct mproc__arena_block *ret);

static inline bool mproc__arena_in_use(uint64_t word)
{
	return mproc__arena_state(word) == MPROC__ARENA_PRIVATE ||
	       mproc__arena_state(word) == MPROC__ARENA_USED;
}

/* Turn a block's word, once. The generation stays. */
static inline bool mproc__arena_turn(const struct mproc__arena_block *b, uint64_t owner,
				     uint32_t state)
{
	uint64_t was = b->value;

	/* Its user's writes stand before; and who frees looks at the slab afterwards. */
	return atomic_compare_exchange_strong_explicit(
		b->word, &was, mproc__arena_word(mproc__arena_generation(was), owner, state),
		memory_order_seq_cst, memory_order_relaxed);
}

/* For the owner of the lock of the runs. */

static inline uint64_t mproc__arena_word_at(const struct mproc__arena_view *v, uint32_t page)
{
	return atomic_load_explicit(&v->at->pages[page].word, memory_order_relaxed);
}

static inline void mproc__arena_set_word(const struct mproc__arena_view *v, uint32_t page,
					 uint64_t word)
{
	/* Release: link and block words stand before the word that leads to them. */
	atomic_store_explicit(&v->at->pages[page].word, word, memory_order_release);
}

static inline uint64_t mproc__arena_link_at(const struct mproc__arena_view *v, uint32_t page)
{
	return atomic_load_explicit(&v->at->pages[page].link, memory_order_relaxed);
}

static inline void mproc__arena_set_link(const struct mproc__arena_view *v, uint32_t page,
					 uint64_t link)
{
	atomic_store_explicit(&v->at->pages[page].link, link, memory_order_relaxed);
}

static inline bool mproc__arena_is_stale(const struct mproc__arena_view *v)
{
	return atomic_load_explicit(&v->at->arena->stale, memory_order_relaxed) != 0;
}

static inline void mproc__arena_set_stale(const struct mproc__arena_view *v, uint32_t stale)
{
	atomic_store_explicit(&v->at->arena->stale, stale, memory_order_relaxed);
}

/*
 * The lists of free runs by size (arena_bins.c); what they say is judged anew with
 * every step. The owner of the lock of the runs calls.
 */

/* Write what belongs to the free run of @n pages at @page, whose word stands, and list it. */
void mproc__arena_bins_add(const struct mproc__arena_view *v, uint32_t page, uint32_t n);

/* Take the free run of @n pages at @page off its list. Return: false if the list is broken. */
bool mproc__arena_bins_remove(const struct mproc__arena_view *v, uint32_t page, uint32_t n);

/*
 * A free run of @n pages or more, taken off its list.
 *
 * Return: 0, -ENOSPC, or -EBADMSG if a list is broken; without a text.
 */
int mproc__arena_bins_take(const struct mproc__arena_view *v, uint32_t n, uint32_t *ret_page,
			   uint32_t *ret_n);
/*
 * A free run that has @n pages from the first one on whose number, counted from the start
 * of the segment, is a multiple of @multiple, a power of two; @ret_skip pages lie before.
 */
int mproc__arena_bins_take_aligned(const struct mproc__arena_view *v, uint32_t n, uint32_t multiple,
				   uint32_t *ret_page, uint32_t *ret_n, uint32_t *ret_skip);
void mproc__arena_bins_clear(const struct mproc__arena_view *v);

/* For who walks a list: entries are pages + 1, 0 is the end. */
uint32_t mproc__arena_bins_first(const struct mproc__arena_view *v, uint32_t bin);
uint32_t mproc__arena_bins_next(const struct mproc__arena_view *v, uint32_t entry);

/* Is @entry, a page that exists, a free run that belongs on @bin, behind @prev? */
bool mproc__arena_bins_is_there(const struct mproc__arena_view *v, uint32_t entry, uint32_t bin,
				uint32_t prev);

/* The table of the slab at @page, or NULL if what leads to it is impossible. */
static inline struct mproc__arena_table *mproc__arena_slab_table(const struct mproc__arena_view *v,
								 uint32_t page)
{
	uint64_t ref = atomic_load_explicit(&v->at->pages[page].link, memory_order_acquire);
	uint64_t off = mproc__arena_table_off(ref, mproc__arena_n_reach(v));

	return off ? (void *)(v->at->data + off) : NULL;
}

/*
 * Take the lock of the runs. After a dead owner the lists are stale; what needs
 * them makes them anew first. Who has it knows all pages.
 *
 * Return: 0, or -EDEADLK, -ENOTCONN if this process cannot know all pages, -EBADMSG if
 * their number is impossible; with a text.
 */
int mproc__arena_runs_lock(const struct mproc__arena_view *v);

/* The same, or -EAGAIN, -ETIMEDOUT, -EINVAL for a negative deadline. */
int mproc__arena_runs_lock_until(const struct mproc__arena_view *v, int64_t deadline);

void mproc__arena_runs_unlock(const struct mproc__arena_view *v);

/*
 * Under the lock: make lists, links and the words inside runs anew from the
 * words of first pages; join free neighbours; give back pages of unused tables.
 *
 * Return: 0, or -EBADMSG with a text if the runs do not cover the pages.
 */
int mproc__arena_runs_rebuild(const struct mproc__arena_view *v);

/* Under the lock: the next allocation rebuilds first; until then nothing is joined. */
void mproc__arena_runs_distrust(const struct mproc__arena_view *v);

/* Under the lock: how many pages before @page form one free run; 0 also if that is unknown. */
uint32_t mproc__arena_runs_before(const struct mproc__arena_view *v, uint32_t page);

/*
 * Under the lock: allocate a run of @n pages as a private block of the caller, which
 * begins at a multiple of @multiple pages, a power of two, from the start of the segment.
 *
 * Return: 0, -ENOSPC without a text, -EBADMSG with one.
 */
int mproc__arena_runs_alloc(const struct mproc__arena_view *v, uint64_t n, uint64_t multiple,
			    uint32_t *ret_page);

/*
 * Under the lock: allocate a slab of @class for @shard, which names it as its
 * current one before it exists.
 */
int mproc__arena_runs_slab(const struct mproc__arena_view *v, uint32_t shard, uint32_t class);

/* Under the lock: rebuild if something is known to be missing. Return: 0, or -EBADMSG. */
int mproc__arena_runs_settle(const struct mproc__arena_view *v);

/* Under the lock: the pages from the one numbered @from to @n of the run at @first are parts. */
void mproc__arena_runs_mark(const struct mproc__arena_view *v, uint32_t first, uint32_t from,
			    uint32_t n);

/*
 * Under the lock: make the block at @page one of @want pages, where it is.
 *
 * Return: 0, -ENOSPC without a text if there is no room behind it, -ESTALE without one if
 * it is not the block in use that had @generation, -EBADMSG with one.
 */
int mproc__arena_runs_resize(const struct mproc__arena_view *v, uint32_t page, uint64_t generation,
			     uint32_t want);

/* Under the lock: every generation that is given out from here on is above @generation. */
void mproc__arena_runs_outlive(const struct mproc__arena_view *v, uint64_t generation);

/*
 * Under the lock: free the run of @n pages at @page, which nobody uses: dropped, or
 * a closed slab.
 */
void mproc__arena_runs_free(const struct mproc__arena_view *v, uint32_t page, uint32_t n);

/*
 * The run at @page was dropped with @generation: join it to its neighbours, or
 * leave it to others if the lock cannot be had, at once or if @wait soon, or @v is nobody's.
 */
void mproc__arena_runs_join(const struct mproc__arena_view *v, uint32_t page, uint64_t generation,
			    bool wait);

/*
 * Allocate a small block, lock-free with regard to all but the shard used.
 * @grow:	make a new slab if need be
 *
 * Return: 0 and the offset from page 0, -ENOSPC without a text, -EBADMSG with one.
 */
int mproc__arena_small_alloc(const struct mproc__arena_view *v, uint32_t class, uint64_t *ret_rel);

/*
 * The slab at @page, whose word is @word, is nobody's from here on. The caller owns
 * the lock of its shard, or of the runs if it is being closed.
 */
void mproc__arena_slab_abandon(const struct mproc__arena_view *v, uint32_t page, uint32_t class,
			       uint64_t word);

/* The slab at @page is nobody's and has a free block: let others find it. */
void mproc__arena_slab_found(const struct mproc__arena_view *v, uint32_t page, uint32_t class);

/* A block of the slab at @page was freed, by a CAS. */
static inline void mproc__arena_slab_freed(const struct mproc__arena_view *v, uint32_t page,
					   uint32_t class)
{
	/* The CAS and this load are one side; the other is in mproc__arena_slab_abandon(). */
	uint64_t word = atomic_load_explicit(&v->at->pages[page].word, memory_order_seq_cst);

	if (mproc__arena_state(word) == MPROC__ARENA_SLAB &&
	    mproc__arena_slab_shard(word) == MPROC__ARENA_SHARD_NONE)
		mproc__arena_slab_found(v, page, class);
}

/*
 * Give back every slab that has no block in use, and find again what a kill has
 * hidden from those who look for free blocks. Slow: looks at every word.
 */
int mproc__arena_gather(const struct mproc__arena_view *v);

#endif /* MPROC__ARENA_INSIDE_H */
