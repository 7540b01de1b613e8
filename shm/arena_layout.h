/* SPDX-License-Identifier: MIT */
#ifndef MPROC__ARENA_LAYOUT_H
#define MPROC__ARENA_LAYOUT_H

/*
 * The arena as it lies in a segment, and what can be said of a copy of it
 *
 *	head | page entry[] | bitmap[][class] | summary[][class]	the arena's own section
 *	page 0 | page 1 | ...						user data, elsewhere
 *
 * The tables have addresses for n_pages_max pages, and memory for those that exist:
 * behind what serves them each is a hole in the file, which nobody touches, until the
 * arena grows. Page 0 and all that follow are one dense range at the end of the file.
 *
 * Pages of 4 KiB form runs. The word of a run's first page says what the run is,
 * and is the truth about it; the words of its other pages say nothing that a
 * first page does not confirm.
 *
 *	FREE		pages 60 | 1			last page: TAIL, pages 60 | 8
 *	a block		generation 40 | owner 20 | 2, 3 or 4		link: pages
 *	SLAB		generation 40 | 0 8 | shard 8 | class 4 | 5	link: its table
 *	TABLES		0 60 | 6			link: used 8 | next 56
 *	PART		pages since the first page 60 | 7	not of every page
 *
 * A slab is cut into blocks of one class, 64 bytes << class, each with a word of
 * its own in the slab's table. Tables lie in pages of theirs, apart from what
 * users write; the first eighth of such a page is left alone, so that whoever
 * writes past the end of the block before it hits nothing.
 *
 *	a free block	generation 40 | 0 20 | 1
 *	a block in use	generation 40 | owner 20 | 2 or 3
 *	owner		low bits of the process's generation 8 | its slot 12; of USED
 *			all ones if a program published it itself, 0 if the block
 *			is an object's
 *
 * Generations. A run takes the next number of the arena; so does a slab, and each of its
 * blocks counts on from that, one for each allocation. Before a slab's pages and its table
 * are given back the arena's number is raised to the highest that they have come to. So at
 * one place generations only rise, and none comes twice before 2^40 were used up there or
 * for runs: at a million allocations a second, 12 days and then that very one.
 */

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>

#include "ipc/lock_layout.h"
#include "ipc/participant_layout.h"

#define MPROC__ARENA_LAYOUT UINT32_C(0x61000002) /* 'a', and a number to bump */

#define MPROC__ARENA_PAGE       4096u
#define MPROC__ARENA_PAGES_MAX  ((1u << 28) - 2)
#define MPROC__ARENA_CLASSES    6u
#define MPROC__ARENA_SMALL_MAX  2048u /* bytes in a block of the last class */
#define MPROC__ARENA_SHARDS_MAX 16u
#define MPROC__ARENA_BINS       112u
#define MPROC__ARENA_TABLES     7u /* in a page of tables, numbered from 1 */
#define MPROC__ARENA_WORDS      64u

/* States of words. */
enum mproc__arena_state {
	MPROC__ARENA_NONE = 0,
	MPROC__ARENA_FREE = 1,
	MPROC__ARENA_PRIVATE = 2, /* its owner's until published */
	MPROC__ARENA_USED = 3,    /* published: nobody's death frees it */
	MPROC__ARENA_DROPPED = 4, /* a run that is free, but not joined and listed yet */
	MPROC__ARENA_SLAB = 5,
	MPROC__ARENA_TABLES_PAGE = 6,
	MPROC__ARENA_PART = 7,
	MPROC__ARENA_TAIL = 8,
};

/* Whose a slab is: of nobody, of a shard (number + 1), or about to be dissolved. */
#define MPROC__ARENA_SHARD_NONE    0u
#define MPROC__ARENA_SHARD_CLOSING 255u

struct mproc__arena_page {
	_Atomic(uint64_t) word;
	_Atomic(uint64_t) link;   /* FREE: next 32 | prev 32, numbers of pages + 1 */
	_Atomic(uint64_t) owners; /* SLAB: bit (slot mod 64) of who may have private blocks here */
};

struct mproc__arena_table {
	_Atomic(uint64_t) words[MPROC__ARENA_WORDS];
};

/* Where some of the threads allocate small blocks. All of it under the lock. */
struct mproc__arena_shard {
	alignas(128) struct mproc__lock lock;
	_Atomic(uint64_t) free[MPROC__ARENA_CLASSES];    /* a hint: free blocks of the slab */
	_Atomic(uint32_t) current[MPROC__ARENA_CLASSES]; /* its slab's first page + 1, or 0 */
};

static_assert(sizeof(struct mproc__arena_shard) == 128, "layout changed: bump MPROC__ARENA_LAYOUT");

struct mproc__arena {
	/* Geometry: written before anybody can find the arena; only n_pages may grow. */
	alignas(128) uint32_t layout;
	uint32_t n_shards; /* a power of two */
	uint32_t n_pages_max;
	_Atomic(uint32_t) n_pages;
	uint64_t off; /* of page 0 in the segment */

	/* Under the lock of the runs: */
	alignas(64) struct mproc__lock lock;
	_Atomic(uint64_t) births; /* generations: the last one of a run */
	_Atomic(uint32_t) stale;  /* what follows, and links, are to be rebuilt */
	_Atomic(uint32_t) tables; /* a page of tables with room + 1, or 0 */
	_Atomic(uint64_t) bins_filled[2];
	_Atomic(uint32_t) bins[MPROC__ARENA_BINS]; /* a free run of this size + 1, or 0 */
	/* Not under the lock: 1 after a run was dropped whose joining is left to others. */
	alignas(64) _Atomic(uint32_t) dropped;

	struct mproc__arena_shard shards[MPROC__ARENA_SHARDS_MAX];
	struct mproc__arena_page pages[];
};

static_assert(offsetof(struct mproc__arena, pages) == 2688,
	      "layout changed: bump MPROC__ARENA_LAYOUT");

static inline uint32_t mproc__arena_state(uint64_t word)
{
	return (uint32_t)word & 15;
}

/* FREE and TAIL: pages of the run; PART: pages since its first. */
static inline uint64_t mproc__arena_count(uint64_t word)
{
	return word >> 4;
}

static inline uint64_t mproc__arena_counted(uint32_t state, uint64_t count)
{
	return count << 4 | state;
}

#define MPROC__ARENA_GENERATION_MASK ((UINT64_C(1) << 40) - 1)

static inline uint64_t mproc__arena_generation(uint64_t word)
{
	return word >> 24;
}

/* Bits 4 to 23 of a word that has an owner. */
static inline uint64_t mproc__arena_owner_bits(uint32_t slot, uint64_t proc_generation)
{
	return (proc_generation & 255) << 16 | (uint64_t)(slot & 4095) << 4;
}

#define MPROC__ARENA_OWNER_MASK UINT64_C(0xfffff0)

/* In the place of the owner of a USED block: a program published it, and may free it. */
#define MPROC__ARENA_OWNER_USER MPROC__ARENA_OWNER_MASK

static inline uint32_t mproc__arena_owner_slot(uint64_t word)
{
	return (uint32_t)(word >> 4) & 4095;
}

static inline uint64_t mproc__arena_word(uint64_t generation, uint64_t owner_bits, uint32_t state)
{
	return generation << 24 | owner_bits | state;
}

static inline uint64_t mproc__arena_slab_word(uint64_t generation, uint32_t shard, uint32_t class)
{
	return generation << 24 | (uint64_t)shard << 8 | (uint64_t) class << 4 | MPROC__ARENA_SLAB;
}

static inline uint32_t mproc__arena_slab_class(uint64_t word)
{
	return (uint32_t)(word >> 4) & 15;
}

static inline uint32_t mproc__arena_slab_shard(uint64_t word)
{
	return (uint32_t)(word >> 8) & 255;
}

/* The same slab, now of @shard. */
static inline uint64_t mproc__arena_slab_give(uint64_t word, uint32_t shard)
{
	return (word & ~(UINT64_C(255) << 8)) | (uint64_t)shard << 8;
}

static inline uint64_t mproc__arena_class_size(uint32_t class)
{
	return UINT64_C(64) << class;
}

/* As many blocks as a word has bits, but at most four pages. */
static inline uint32_t mproc__arena_class_pages(uint32_t class)
{
	return class < 2 ? 1u << class : 4;
}

static inline uint32_t mproc__arena_class_blocks(uint32_t class)
{
	return class < 3 ? 64 : 256u >> class;
}

/* The smallest class for @len bytes, at most MPROC__ARENA_SMALL_MAX. */
static inline uint32_t mproc__arena_class_of(uint64_t len)
{
	return len <= 64 ? 0 : 58 - (uint32_t)__builtin_clzll(len - 1);
}

/*
 * Is page @i of a run of @n pages from @first on marked as PART? The last one is, for the
 * run behind; the first few, for slabs; and of the others so few that whoever clears
 * the lowest set bit of a page's number, again and again, meets one that is marked, or
 * the first page: a long run then costs as many marks as its length has bits.
 */
#define MPROC__ARENA_PARTS 8u

static inline bool mproc__arena_part_is_marked(uint32_t first, uint32_t i, uint32_t n)
{
	uint32_t page = first + i;

	return i < MPROC__ARENA_PARTS || i == n - 1 || (page & (page - 1)) <= first;
}

/* A table: its page 28 | its number in the page 3. */
static inline uint64_t mproc__arena_table_ref(uint32_t page, uint32_t number)
{
	return (uint64_t)page << 3 | number;
}

/* Bytes from page 0 to a table, or 0 if there can be none. */
static inline uint64_t mproc__arena_table_off(uint64_t ref, uint32_t n_pages)
{
	if (ref >> 3 >= n_pages || !(ref & 7))
		return 0;
	return (ref >> 3) * MPROC__ARENA_PAGE + (ref & 7) * sizeof(struct mproc__arena_table);
}

/* Words of a bitmap with a bit for each page, and of its summary. */
static inline uint64_t mproc__arena_map_words(uint32_t n_pages)
{
	return ((uint64_t)n_pages + 63) / 64;
}

static inline uint64_t mproc__arena_sum_words(uint32_t n_pages)
{
	return (mproc__arena_map_words(n_pages) + 63) / 64;
}

static inline uint64_t mproc__arena_whole_pages(uint64_t bytes)
{
	return (bytes + MPROC__ARENA_PAGE - 1) / MPROC__ARENA_PAGE * MPROC__ARENA_PAGE;
}

/* A range of bytes. */
struct mproc__span {
	uint64_t off, end;
};

#define MPROC__ARENA_SPANS 3u /* head and page entries, bitmaps, summaries */

/*
 * The parts of an arena's own section that serve @n_pages pages, in whole pages of
 * memory, from the section's beginning; no two share a page. What a larger number
 * needs begins where a smaller one's ends.
 */
static inline void mproc__arena_spans(uint32_t n_pages, uint32_t n_pages_max,
				      struct mproc__span ret[MPROC__ARENA_SPANS])
{
	const uint64_t word = MPROC__ARENA_CLASSES * sizeof(uint64_t);
	uint64_t entry = sizeof(struct mproc__arena_page), head = sizeof(struct mproc__arena);
	uint64_t maps = mproc__arena_whole_pages(head + n_pages_max * entry);
	uint64_t sums = mproc__arena_whole_pages(maps + mproc__arena_map_words(n_pages_max) * word);

	ret[0].off = 0;
	ret[0].end = mproc__arena_whole_pages(head + n_pages * entry);
	ret[1].off = maps;
	ret[1].end = maps + mproc__arena_whole_pages(mproc__arena_map_words(n_pages) * word);
	ret[2].off = sums;
	ret[2].end = sums + mproc__arena_whole_pages(mproc__arena_sum_words(n_pages) * word);
}

/* Bytes of an arena's own section, holes included. */
static inline uint64_t mproc__arena_section_size(uint32_t n_pages_max)
{
	struct mproc__span spans[MPROC__ARENA_SPANS];

	mproc__arena_spans(n_pages_max, n_pages_max, spans);
	return spans[MPROC__ARENA_SPANS - 1].end;
}

/* Bytes of memory that an arena of @n_pages pages takes, they and its own section. */
static inline uint64_t mproc__arena_memory(uint32_t n_pages, uint32_t n_pages_max)
{
	struct mproc__span spans[MPROC__ARENA_SPANS];
	uint64_t sum = (uint64_t)n_pages * MPROC__ARENA_PAGE;

	mproc__arena_spans(n_pages, n_pages_max, spans);
	for (uint32_t i = 0; i < MPROC__ARENA_SPANS; i++)
		sum += spans[i].end - spans[i].off;
	return sum;
}

/*
 * The most pages that @bytes of memory are enough for, of an arena that may have
 * @n_pages_max; 0: as many as it has then, for one that does not grow.
 */
static inline uint32_t mproc__arena_pages_within(uint64_t bytes, uint32_t n_pages_max)
{
	uint64_t most = bytes / MPROC__ARENA_PAGE;
	uint32_t low = 0, high = n_pages_max ? n_pages_max : MPROC__ARENA_PAGES_MAX;

	if (high > most)
		high = (uint32_t)most;
	while (low < high) {
		uint32_t n = low + (high - low + 1) / 2;

		if (mproc__arena_memory(n, n_pages_max ? n_pages_max : n) <= bytes)
			low = n;
		else
			high = n - 1;
	}
	return low;
}

/* A shard for each of these pages, up to the limit: its slabs may lie idle. */
#define MPROC__ARENA_SHARD_PAGES 256u

static inline uint32_t mproc__arena_shards_for(uint32_t n_pages)
{
	uint32_t n = 1;

	while (n < MPROC__ARENA_SHARDS_MAX && n * 2 * MPROC__ARENA_SHARD_PAGES <= n_pages)
		n *= 2;
	return n;
}

/* A checked private copy. */
struct mproc__arena_geometry {
	uint64_t off; /* of page 0 in the segment */
	uint32_t n_pages;
	uint32_t n_pages_max;
	uint32_t n_shards;
};

/*
 * The geometry of an arena.
 * @section_room:	bytes that its own section may have
 * @segment_size:	bytes of the segment
 *
 * Return: false if it is impossible.
 */
static inline bool mproc__arena_geometry_check(const struct mproc__arena *arena,
					       uint64_t section_room, uint64_t segment_size,
					       struct mproc__arena_geometry *ret)
{
	/* One read of each: others may be writing, and it is the copies that are checked. */
	const volatile struct mproc__arena *v = arena;
	struct mproc__arena_geometry g = {
		.off = v->off,
		.n_pages = atomic_load_explicit(&arena->n_pages, memory_order_acquire),
		.n_pages_max = v->n_pages_max,
		.n_shards = v->n_shards,
	};

	if (v->layout != MPROC__ARENA_LAYOUT || !g.n_pages || g.n_pages > g.n_pages_max ||
	    g.n_pages_max > MPROC__ARENA_PAGES_MAX || !g.n_shards ||
	    g.n_shards > MPROC__ARENA_SHARDS_MAX || (g.n_shards & (g.n_shards - 1)) ||
	    (g.off & 63) || mproc__arena_section_size(g.n_pages_max) > section_room ||
	    g.off > segment_size || (uint64_t)g.n_pages * MPROC__ARENA_PAGE > segment_size - g.off)
		return false;
	*ret = g;
	return true;
}

/* What the entry of a page says, if it is the first of a run. */
struct mproc__arena_run {
	uint32_t state;
	uint32_t n_pages;
	uint32_t class;      /* SLAB */
	uint32_t shard;      /* SLAB */
	uint64_t table;      /* SLAB: bytes from page 0 */
	uint32_t slot;       /* PRIVATE: of the process it belongs to */
	uint64_t generation; /* not of FREE */
};

/*
 * Judge the entry of @page: its word and its link, each read once.
 *
 * Return: false if no run can begin here.
 */
static inline bool mproc__arena_run_look(const struct mproc__arena_geometry *g, uint32_t page,
					 uint64_t word, uint64_t link, struct mproc__arena_run *ret)
{
	uint64_t n = 1;

	ret->state = mproc__arena_state(word);
	ret->generation = mproc__arena_generation(word);
	ret->slot = mproc__arena_owner_slot(word);
	switch (ret->state) {
	case MPROC__ARENA_FREE:
		n = mproc__arena_count(word);
		break;
	case MPROC__ARENA_PRIVATE:
	case MPROC__ARENA_USED:
	case MPROC__ARENA_DROPPED:
		n = link;
		break;
	case MPROC__ARENA_SLAB:
		ret->class = mproc__arena_slab_class(word);
		ret->shard = mproc__arena_slab_shard(word);
		ret->table = mproc__arena_table_off(link, g->n_pages);
		if (ret->class >= MPROC__ARENA_CLASSES || !ret->table)
			return false;
		n = mproc__arena_class_pages(ret->class);
		break;
	case MPROC__ARENA_TABLES_PAGE:
		break;
	default:
		return false;
	}
	if (page >= g->n_pages || !n || n > g->n_pages - page)
		return false;
	ret->n_pages = (uint32_t)n;
	return true;
}

/* What a copy of a table says of a slab's blocks. */
struct mproc__arena_blocks {
	uint32_t n_free;
	uint32_t n_private;
	uint32_t n_used;
	uint32_t n_impossible;
};

static inline void mproc__arena_blocks_look(const struct mproc__arena_table *copy, uint32_t class,
					    struct mproc__arena_blocks *ret)
{
	*ret = (struct mproc__arena_blocks){ 0 };
	for (uint32_t i = 0; i < mproc__arena_class_blocks(class); i++) {
		switch (mproc__arena_state(
			atomic_load_explicit(&copy->words[i], memory_order_relaxed))) {
		case MPROC__ARENA_FREE:
			ret->n_free++;
			break;
		case MPROC__ARENA_PRIVATE:
			ret->n_private++;
			break;
		case MPROC__ARENA_USED:
			ret->n_used++;
			break;
		default:
			ret->n_impossible++;
		}
	}
}

/* What the page entries say, in all; what lies inside slabs is not looked at. */
struct mproc__arena_look {
	uint64_t n_free; /* pages, in all of these */
	uint64_t n_private;
	uint64_t n_used;
	uint64_t n_slab;
	uint64_t n_tables;
	uint64_t largest_free;
	uint64_t n_lost; /* where no run begins though the one before has ended */
};

static inline void mproc__arena_look(const struct mproc__arena_geometry *g,
				     const struct mproc__arena_page *copy,
				     struct mproc__arena_look *ret)
{
	struct mproc__arena_run run;

	*ret = (struct mproc__arena_look){ 0 };
	for (uint32_t page = 0; page < g->n_pages; page += run.n_pages) {
		if (!mproc__arena_run_look(
			    g, page, atomic_load_explicit(&copy[page].word, memory_order_relaxed),
			    atomic_load_explicit(&copy[page].link, memory_order_relaxed), &run)) {
			ret->n_lost++;
			run.n_pages = 1;
			continue;
		}
		switch (run.state) {
		case MPROC__ARENA_DROPPED:
		case MPROC__ARENA_FREE:
			ret->n_free += run.n_pages;
			if (run.n_pages > ret->largest_free)
				ret->largest_free = run.n_pages;
			break;
		case MPROC__ARENA_USED:
			ret->n_used += run.n_pages;
			break;
		case MPROC__ARENA_SLAB:
			ret->n_slab += run.n_pages;
			break;
		case MPROC__ARENA_TABLES_PAGE:
			ret->n_tables++;
			break;
		default:
			ret->n_private += run.n_pages;
		}
	}
}

#endif /* MPROC__ARENA_LAYOUT_H */
