/* SPDX-License-Identifier: MIT */

/*
 * Allocation inside a segment, with an owner on every block
 *
 * Why this structure. Two kinds of memory are wanted: many small blocks, soon and
 * by many at a time, and runs of pages up to all there is. So the arena is pages;
 * runs of them are large blocks (arena_runs.c), or slabs that are cut into small
 * ones (arena_slabs.c). Each block has one 64-bit word, state, owner and
 * generation, in a place that the block's user does not write to:
 *
 *	            alloc             publish
 *	  FREE ------------> PRIVATE ---------> USED
 *	    ^                 |   ^   adopt      |
 *	    |      free,      |   '--------------|
 *	    '-- owner's death-'------- free -----'
 *
 * Claim and owner are one word and one store, so at no instant is there a block
 * that is nobody's and not free: killed before the store one has nothing, after it
 * the block is PRIVATE to the dead, whose reaper finds it by looking. All that
 * finds free blocks fast is a hint, made anew from the words (see there).
 *
 * The same CAS frees a small block and a large one, and the same the blocks of the
 * dead; so nobody waits long to free, and a reaper never for the living.
 *
 * A word names its owner by slot and low bits of the process's generation. No slot
 * is used again before its words are gone; the bits are there so that a word that
 * was missed, or scribbled, is not taken for the next one's.
 *
 * Whose call it is. Before the CAS that changes a block's word nothing was
 * written; the CAS names the block's generation, so one that comes late, from a
 * thread that stood still while the block was freed and given to another, fails.
 *
 * Everybody may scribble over everything here. Geometry is checked once a call,
 * indices where they are used, walks are as long as the arena at most; a block
 * that is handed out lies inside the segment whatever the words say.
 */

#include "shm/arena.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "ipc/error.h"
#include "ipc/kind_layout.h"
#include "shm/arena_inside.h"

/* What every free does: too large for the compiler to do it by itself. */
#define INLINE inline __attribute__((__always_inline__))

int mproc__arena_open(mproc_segment *segment, const struct mproc__mapping *mapping)
{
	struct mproc__arena_place *place = &segment->arena_at;
	struct mproc__span spans[MPROC__ARENA_SPANS];
	uint64_t size = mapping->bytes, at, reach;
	uint64_t most = mapping->published ? mapping->max : size;
	char *base = mapping->base;
	struct mproc__arena_geometry g;

	at = (uint64_t)((char *)segment->arena - base);
	if (at > size || !mproc__arena_geometry_check(segment->arena, size - at, most, &g) ||
	    g.off < at + mproc__arena_section_size(g.n_pages_max) || g.off >= size)
		return mproc__fail(-EBADMSG, "arena: its geometry is impossible");
	/* Somebody may have grown it since the size was read: that is for the first miss. */
	if (g.n_pages > (size - g.off) / MPROC__ARENA_PAGE)
		g.n_pages = (uint32_t)((size - g.off) / MPROC__ARENA_PAGE);
	mproc__arena_spans(g.n_pages, g.n_pages_max, spans);
	place->arena = segment->arena;
	place->pages = segment->arena->pages;
	place->maps = (void *)(base + at + spans[1].off);
	place->sums = (void *)(base + at + spans[2].off);
	place->data = base + g.off;
	place->off = g.off;
	place->what = mproc__what(MPROC__KIND_ARENA, at);
	place->reserved = mapping->size;
	place->n_pages_max = g.n_pages_max;
	place->n_shards = g.n_shards;
	reach = (mapping->size - g.off) / MPROC__ARENA_PAGE;
	atomic_init(&place->n_pages, g.n_pages);
	atomic_init(&place->n_reach, g.n_pages < reach ? g.n_pages : (uint32_t)reach);
	atomic_init(&place->n_spread, mproc__arena_shards_for(g.n_pages));
	return 0;
}

/* The small block that @rel lies in, of the slab at @page, whose word was @word. */
static INLINE bool find_small(const struct mproc__arena_view *v, uint32_t page, uint64_t rel,
			      uint64_t word, struct mproc__arena_block *ret)
{
	uint64_t first = (uint64_t)page * MPROC__ARENA_PAGE;
	uint32_t class = mproc__arena_slab_class(word);
	struct mproc__arena_table *table = mproc__arena_slab_table(v, page);
	uint64_t i = (rel - first) >> (6 + class);

	if (class >= MPROC__ARENA_CLASSES || !table || i >= mproc__arena_class_blocks(class))
		return false;
	ret->small = true;
	ret->class = class;
	ret->size = mproc__arena_class_size(class);
	ret->rel = first + i * ret->size;
	ret->word = &table->words[i];
	ret->value = atomic_load_explicit(ret->word, memory_order_acquire);
	/* The table was the slab's when we read it if the slab still is what it was. */
	return mproc__arena_slab_give(mproc__arena_page_word(v, page) ^ word, 0) == 0;
}

/*
 * The run in use that @at has to do with is that of @page. What is not marked as part of
 * its run may say anything but that a block in use begins there.
 */
static INLINE bool find_run(const struct mproc__arena_view *v, uint32_t page, uint32_t at,
			    struct mproc__arena_block *ret)
{
	uint64_t word = mproc__arena_page_word(v, at), n;

	if (mproc__arena_state(word) == MPROC__ARENA_PART) {
		if (mproc__arena_count(word) > at)
			return false;
		at -= (uint32_t)mproc__arena_count(word);
		word = mproc__arena_page_word(v, at);
	}
	ret->page = at;
	ret->value = word;
	ret->small = mproc__arena_state(word) == MPROC__ARENA_SLAB;
	if (ret->small)
		return page - at < mproc__arena_class_pages(mproc__arena_slab_class(word));
	if (!mproc__arena_in_use(word))
		return false;
	n = atomic_load_explicit(&v->at->pages[at].link, memory_order_acquire);
	if (mproc__arena_generation(mproc__arena_page_word(v, at)) !=
		    mproc__arena_generation(word) ||
	    page - at >= n || n > mproc__arena_n_pages(v) - at)
		return false;
	ret->word = &v->at->pages[at].word;
	ret->rel = (uint64_t)at * MPROC__ARENA_PAGE;
	ret->size = n * MPROC__ARENA_PAGE;
	return true;
}

/* The block that @off lies in, of the pages that we know. */
static INLINE bool find_known(const struct mproc__arena_view *v, uint64_t off,
			      struct mproc__arena_block *ret)
{
	uint64_t rel = off - v->at->off;
	uint32_t page, at;

	if (off < v->at->off || rel >= (uint64_t)mproc__arena_n_pages(v) * MPROC__ARENA_PAGE)
		return false;
	page = at = (uint32_t)(rel / MPROC__ARENA_PAGE);
	/* To a page that is marked, or the first one: see mproc__arena_part_is_marked(). */
	while (!find_run(v, page, at, ret)) {
		if (!at)
			return false;
		at &= at - 1;
	}
	return !ret->small || find_small(v, ret->page, rel, ret->value, ret);
}

/* The block, free or not, that @off lies in. Return: false if it is in none. */
static inline bool find(const struct mproc__arena_view *v, uint64_t off,
			struct mproc__arena_block *ret)
{
	uint32_t known;

	do {
		known = mproc__arena_n_pages(v);
		if (__builtin_expect(find_known(v, off, ret), 1))
			return true;
		/*
		 * It, or the table of its slab, may be younger than our last look. So may be
		 * what another thread has learned since: then there is nothing left to learn.
		 */
	} while (mproc__arena_refresh(v) || mproc__arena_n_pages(v) != known);
	return false;
}

bool mproc__arena_find(const struct mproc__arena_view *v, uint64_t off,
		       struct mproc__arena_block *ret)
{
	return find(v, off, ret);
}

/* The block that begins at @off. */
static bool find_first(const struct mproc__arena_view *v, uint64_t off,
		       struct mproc__arena_block *ret)
{
	return find(v, off, ret) && ret->rel == off - v->at->off;
}

/* May the caller free it? A published block must be @of those. */
static bool is_ours(const struct mproc__arena_view *v, uint64_t word, uint64_t of)
{
	switch (mproc__arena_state(word)) {
	case MPROC__ARENA_USED:
		return (word & of) == of;
	case MPROC__ARENA_PRIVATE:
		return (word & MPROC__ARENA_OWNER_MASK) == v->owner;
	default:
		return false;
	}
}

static int stale(const char *what, uint64_t off)
{
	return mproc__fail(-ESTALE, "%s: no block of this process at offset %" PRIu64, what, off);
}

static uint64_t pages_for(uint64_t len)
{
	return len ? len / MPROC__ARENA_PAGE + !!(len % MPROC__ARENA_PAGE) : 1;
}

static int alloc_once(const struct mproc__arena_view *v, uint64_t len, uint64_t align,
		      uint64_t *ret_rel)
{
	uint64_t small = len > align ? len : align;
	uint32_t page;
	int r;

	/* A small block is a multiple of its size from page 0, and that is one of pages. */
	if (small <= MPROC__ARENA_SMALL_MAX) {
		r = mproc__arena_small_alloc(v, mproc__arena_class_of(small), ret_rel);
		if (r != -ENOSPC)
			return r;
		/* No room for a slab: a page is better than nothing. */
	}
	r = mproc__arena_runs_lock(v);
	if (r < 0)
		return r;
	r = mproc__arena_runs_alloc(v, pages_for(len),
				    align > MPROC__ARENA_PAGE ? align / MPROC__ARENA_PAGE : 1,
				    &page);
	mproc__arena_runs_unlock(v);
	if (r == 0)
		*ret_rel = (uint64_t)page * MPROC__ARENA_PAGE;
	return r;
}

#define WHY_MAX 120

/* There seems to be no room: reap, gather, grow. @why is for the text, should it fail. */
static int alloc_at_last(const struct mproc__arena_view *v, uint64_t len, uint64_t align,
			 uint64_t *ret_rel, char why[WHY_MAX])
{
	/* Wherever a run of so many begins, there is room at a multiple. */
	uint64_t n =
		pages_for(len) + (align > MPROC__ARENA_PAGE ? align / MPROC__ARENA_PAGE - 1 : 0);
	int r;

	snprintf(why, WHY_MAX, "it could never be as large");
	if (pages_for(len) > v->at->n_pages_max)
		return -ENOSPC;
	/* What this cannot reap stays where it is: no reason not to look again. */
	(void)mproc__reap_all(v->segment->range);
	r = mproc__arena_gather(v);
	if (r == 0)
		r = alloc_once(v, len, align, ret_rel);
	/* Each turn finds more than the one before, and there is a maximum. */
	while (r == -ENOSPC) {
		r = mproc__arena_grow(v, n, why, WHY_MAX);
		if (r == 0)
			r = alloc_once(v, len, align, ret_rel);
		else
			break;
	}
	return r;
}

/* The text of an allocation that failed for want of room, and its code. */
static int no_room(const struct mproc__arena_view *v, uint64_t len, uint64_t align, const char *why)
{
	char want[24], at[24], multiple[48] = "", have[24], size[24], max[24];
	const uint64_t page = MPROC__ARENA_PAGE;
	struct mproc__arena_stats stats;

	mproc__arena_stats(v->segment, &stats);
	mproc__size_text(want, len);
	mproc__size_text(have, stats.largest_free);
	mproc__size_text(size, mproc__arena_n_pages(v) * page);
	mproc__size_text(max, v->at->n_pages_max * page);
	if (align > page)
		snprintf(multiple, sizeof(multiple), " at a multiple of %s",
			 mproc__size_text(at, align));
	return mproc__fail(-ENOSPC,
			   "alloc: %s (%" PRIu64 " B)%s wanted, the largest free block has %s of "
			   "%s, at most %s: %s",
			   want, len, multiple, have, size, max, why);
}

int mproc__arena_alloc_aligned(mproc_segment *segment, struct mproc__self *me, uint64_t len,
			       uint64_t align, uint64_t *ret_off)
{
	const struct mproc__arena_view v = mproc__arena_view(segment, me);
	uint64_t rel, outer;
	char why[WHY_MAX];
	int r;

	outer = mproc__act_begin(me, v.at->what);
	r = alloc_once(&v, len, align, &rel);
	if (__builtin_expect(r == -ENOSPC, 0))
		r = alloc_at_last(&v, len, align, &rel, why);
	mproc__act_end(me, outer);
	if (__builtin_expect(r == -ENOSPC, 0))
		return no_room(&v, len, align, why);
	if (r == 0)
		*ret_off = v.at->off + rel;
	return r;
}

int mproc__arena_alloc(mproc_segment *segment, struct mproc__self *me, uint64_t len, bool zero,
		       uint64_t *ret_off)
{
	int r = mproc__arena_alloc_aligned(segment, me, len, 1, ret_off);

	if (r == 0 && zero)
		memset(segment->arena_at.data + (*ret_off - segment->arena_at.off), 0,
		       mproc__arena_len(segment, *ret_off));
	return r;
}

/* Free the block at @off if it is private to the caller, or published as one @of those. */
static inline int release(mproc_segment *segment, struct mproc__self *me, uint64_t off, uint64_t of)
{
	const struct mproc__arena_view v = mproc__arena_view(segment, me);
	struct mproc__arena_block b;
	uint64_t outer;
	bool done;

	if (!find_first(&v, off, &b) || !is_ours(&v, b.value, of))
		return stale("free", off);
	if (b.small) {
		/* Nobody waits for what comes now, so nobody asks who is about it. */
		if (!mproc__arena_turn(&b, 0, MPROC__ARENA_FREE))
			return stale("free", off);
		mproc__arena_slab_freed(&v, b.page, b.class);
		return 0;
	}
	outer = mproc__act_begin(me, v.at->what);
	done = mproc__arena_turn(&b, 0, MPROC__ARENA_DROPPED);
	if (done)
		mproc__arena_runs_join(&v, b.page, mproc__arena_generation(b.value), true);
	mproc__act_end(me, outer);
	return done ? 0 : stale("free", off);
}

int mproc__arena_free(mproc_segment *segment, struct mproc__self *me, uint64_t off)
{
	return release(segment, me, off, 0);
}

int mproc__arena_free_user(mproc_segment *segment, struct mproc__self *me, uint64_t off)
{
	return release(segment, me, off, MPROC__ARENA_OWNER_USER);
}

static int publish(mproc_segment *segment, struct mproc__self *me, uint64_t off, uint64_t of)
{
	const struct mproc__arena_view v = mproc__arena_view(segment, me);
	struct mproc__arena_block b;

	if (!find_first(&v, off, &b) || mproc__arena_state(b.value) != MPROC__ARENA_PRIVATE ||
	    !is_ours(&v, b.value, of) || !mproc__arena_turn(&b, of, MPROC__ARENA_USED))
		return stale("publish", off);
	return 0;
}

int mproc__arena_publish(mproc_segment *segment, struct mproc__self *me, uint64_t off)
{
	return publish(segment, me, off, 0);
}

int mproc__arena_publish_user(mproc_segment *segment, struct mproc__self *me, uint64_t off)
{
	return publish(segment, me, off, MPROC__ARENA_OWNER_USER);
}

/* Make the block the caller's. */
static bool own(const struct mproc__arena_view *v, const struct mproc__arena_block *b)
{
	/* In the page's entry, not the table: should we be late it is nothing to anybody. */
	if (b->small)
		mproc__arena_owners_add(v, b->page);
	return mproc__arena_turn(b, v->owner, MPROC__ARENA_PRIVATE);
}

/* What callers know a block by: never 0. */
static uint64_t generation_shown(uint64_t word)
{
	return mproc__arena_generation(word) + 1;
}

uint64_t mproc__arena_generation_of(mproc_segment *segment, uint64_t off)
{
	const struct mproc__arena_view v = mproc__arena_view(segment, NULL);
	struct mproc__arena_block b;

	return find_first(&v, off, &b) && mproc__arena_in_use(b.value) ? generation_shown(b.value)
								       : 0;
}

bool mproc__arena_is_published(mproc_segment *segment, uint64_t off, uint64_t generation)
{
	const struct mproc__arena_view v = mproc__arena_view(segment, NULL);
	struct mproc__arena_block b;

	return find_first(&v, off, &b) && mproc__arena_state(b.value) == MPROC__ARENA_USED &&
	       generation_shown(b.value) == generation;
}

uint64_t mproc__arena_block_at(mproc_segment *segment, uint64_t off, uint64_t *ret_room)
{
	const struct mproc__arena_view v = mproc__arena_view(segment, NULL);
	struct mproc__arena_block b;

	if (!find(&v, off, &b) || !mproc__arena_in_use(b.value))
		return 0;
	*ret_room = b.rel + b.size - (off - v.at->off);
	return generation_shown(b.value);
}

/* @generation 0: any. */
static int adopt(mproc_segment *segment, struct mproc__self *me, uint64_t off, uint64_t generation,
		 uint64_t of)
{
	const struct mproc__arena_view v = mproc__arena_view(segment, me);
	struct mproc__arena_block b;

	if (!find_first(&v, off, &b) || mproc__arena_state(b.value) != MPROC__ARENA_USED ||
	    !is_ours(&v, b.value, of) || (generation && generation != generation_shown(b.value)) ||
	    !own(&v, &b))
		return mproc__fail(-ESTALE, "adopt: no published block at offset %" PRIu64, off);
	return 0;
}

int mproc__arena_adopt(mproc_segment *segment, struct mproc__self *me, uint64_t off)
{
	return adopt(segment, me, off, 0, 0);
}

int mproc__arena_adopt_user(mproc_segment *segment, struct mproc__self *me, uint64_t off)
{
	return adopt(segment, me, off, 0, MPROC__ARENA_OWNER_USER);
}

int mproc__arena_adopt_exact(mproc_segment *segment, struct mproc__self *me, uint64_t off,
			     uint64_t generation)
{
	return generation ? adopt(segment, me, off, generation, 0)
			  : mproc__fail(-ESTALE, "adopt: no block at offset %" PRIu64, off);
}

int mproc__arena_seize(mproc_segment *segment, struct mproc__self *me, uint64_t off)
{
	const struct mproc__arena_view v = mproc__arena_view(segment, me);
	struct mproc__arena_block b;

	/* Others can but publish or disown it meanwhile: it settles at once. */
	for (int tries = 0; tries < 8; tries++) {
		if (!find_first(&v, off, &b) || !mproc__arena_in_use(b.value))
			break;
		if (own(&v, &b))
			return 0;
	}
	return mproc__fail(-ESTALE, "seize: no block in use at offset %" PRIu64, off);
}

int mproc__arena_disown(mproc_segment *segment, uint32_t proc, uint64_t off)
{
	const struct mproc__arena_view v = mproc__arena_view(segment, NULL);
	struct mproc__arena_block b;

	if (!find_first(&v, off, &b) || mproc__arena_state(b.value) != MPROC__ARENA_PRIVATE ||
	    mproc__arena_owner_slot(b.value) != proc ||
	    !mproc__arena_turn(&b, 0, MPROC__ARENA_USED))
		return mproc__fail(-ESTALE,
				   "disown: no block private to process slot %" PRIu32
				   " at offset %" PRIu64,
				   proc, off);
	return 0;
}

uint64_t mproc__arena_len(mproc_segment *segment, uint64_t off)
{
	const struct mproc__arena_view v = mproc__arena_view(segment, NULL);
	struct mproc__arena_block b;

	return find_first(&v, off, &b) && mproc__arena_in_use(b.value) ? b.size : 0;
}

void *mproc__arena_at(mproc_segment *segment, uint64_t off, uint64_t len)
{
	const struct mproc__arena_view v = mproc__arena_view(segment, NULL);
	struct mproc__arena_block b;
	uint64_t skip;

	if (!find(&v, off, &b) || !mproc__arena_in_use(b.value))
		return NULL;
	skip = off - v.at->off - b.rel;
	if (len > b.size - skip ||
	    b.rel + b.size > (uint64_t)mproc__arena_n_reach(&v) * MPROC__ARENA_PAGE)
		return NULL;
	return v.at->data + b.rel + skip;
}

uint64_t mproc__arena_head_size(uint64_t len)
{
	uint64_t n = len / MPROC__ARENA_PAGE;

	return mproc__arena_section_size(n < MPROC__ARENA_PAGES_MAX ? (uint32_t)n
								    : MPROC__ARENA_PAGES_MAX);
}

int mproc__arena_init(struct mproc__arena *arena, uint64_t off, uint64_t len, uint64_t len_max)
{
	uint64_t skip = -off & (MPROC__ARENA_PAGE - 1);
	uint64_t n = len < skip ? 0 : (len - skip) / MPROC__ARENA_PAGE;
	uint64_t n_max = len_max < skip ? 0 : (len_max - skip) / MPROC__ARENA_PAGE;
	uint64_t births;

	if (!n) {
		char have[24];

		return mproc__fail(-ENOSPC, "arena: %s wanted at least, there is room for %s",
				   "4 KiB", mproc__size_text(have, len));
	}
	if (n_max > MPROC__ARENA_PAGES_MAX)
		n_max = MPROC__ARENA_PAGES_MAX;
	if (n > n_max)
		n = n_max;
	arena->layout = MPROC__ARENA_LAYOUT;
	arena->n_pages_max = (uint32_t)n_max;
	arena->n_shards = mproc__arena_shards_for((uint32_t)n_max);
	arena->off = off + skip;
	/* Generations of small numbers would be likelier to stand in user data. */
	if (getrandom(&births, sizeof(births), GRND_NONBLOCK) != sizeof(births))
		births = (uintptr_t)&births;
	atomic_store_explicit(&arena->births, births, memory_order_relaxed);
	atomic_store_explicit(&arena->pages[0].word, mproc__arena_counted(MPROC__ARENA_FREE, n),
			      memory_order_relaxed);
	/* The lists are made by the first who needs them. */
	atomic_store_explicit(&arena->stale, 1, memory_order_relaxed);
	atomic_store_explicit(&arena->n_pages, (uint32_t)n, memory_order_release);
	return 0;
}
