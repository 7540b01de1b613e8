/* SPDX-License-Identifier: MIT */

/*
 * How full: the arena of a copied segment
 *
 * The words of pages are read in windows, since they may be many and free runs let
 * most of them be skipped. Nobody is stopped for it: while programs allocate, a run
 * may be met half-made, and is met whole when the walk is repeated.
 */

#include "tools/image.h"

#include <string.h>

#define WINDOW     2048u /* page entries read at once */
#define GLANCE     16u
#define STEPS_MAX  (1u << 22) /* runs looked at */
#define TABLES_MAX (1u << 16) /* slabs looked into; those beyond count as pages */
#define RETRIES    3

struct walk {
	struct image *image;
	uint64_t entries; /* offset of the first page's entry */
	struct mproc__arena_geometry geometry;
	uint32_t from, n; /* the window */
	struct mproc__arena_page window[WINDOW];
	uint32_t n_tables;
};

static const struct mproc__arena_page *page_at(struct walk *walk, uint32_t page)
{
	if (page - walk->from >= walk->n) {
		uint32_t left = walk->geometry.n_pages - page;
		/* Who jumps over much will jump again. */
		uint32_t wanted = page == walk->from + walk->n ? WINDOW : GLANCE;

		walk->from = page;
		walk->n = left < wanted ? left : wanted;
		if (!image_copy(walk->image, walk->window, walk->n * sizeof(walk->window[0]),
				walk->entries + (uint64_t)page * sizeof(walk->window[0]), "arena"))
			return NULL;
	}
	return &walk->window[page - walk->from];
}

static bool look_into_slab(struct walk *walk, const struct mproc__arena_run *run)
{
	struct mproc__arena_blocks *sum = &walk->image->arena.blocks, blocks;
	struct mproc__arena_table table;

	if (walk->n_tables++ >= TABLES_MAX)
		return true;
	if (!image_copy(walk->image, &table, sizeof(table), walk->geometry.off + run->table,
			"arena"))
		return false;
	mproc__arena_blocks_look(&table, run->class, &blocks);
	sum->n_free += blocks.n_free;
	sum->n_private += blocks.n_private;
	sum->n_used += blocks.n_used;
	sum->n_impossible += blocks.n_impossible;
	return true;
}

static bool count_run(struct walk *walk, const struct mproc__arena_run *run)
{
	struct image_arena *arena = &walk->image->arena;
	struct mproc__arena_look *pages = &arena->pages;

	switch (run->state) {
	case MPROC__ARENA_FREE:
	case MPROC__ARENA_DROPPED: /* nobody's, and not joined to its neighbours yet */
		pages->n_free += run->n_pages;
		if (run->n_pages > pages->largest_free)
			pages->largest_free = run->n_pages;
		return true;
	case MPROC__ARENA_USED:
		pages->n_used += run->n_pages;
		arena->n_runs_used++;
		return true;
	case MPROC__ARENA_SLAB:
		pages->n_slab += run->n_pages;
		return look_into_slab(walk, run);
	case MPROC__ARENA_TABLES_PAGE:
		pages->n_tables++;
		return true;
	default:
		pages->n_private += run->n_pages;
		return true;
	}
}

static bool walk_pages(struct walk *walk)
{
	struct image_arena *arena = &walk->image->arena;
	uint32_t n = walk->geometry.n_pages, page = 0;

	memset(arena, 0, sizeof(*arena));
	arena->geometry = walk->geometry;
	walk->from = walk->n = 0;
	walk->n_tables = 0;
	for (uint32_t step = 0; page < n && step < STEPS_MAX; step++) {
		const struct mproc__arena_page *entry = page_at(walk, page);
		struct mproc__arena_run run = { 0 };

		if (!entry)
			return false;
		if (mproc__arena_run_look(&walk->geometry, page,
					  atomic_load_explicit(&entry->word, memory_order_relaxed),
					  atomic_load_explicit(&entry->link, memory_order_relaxed),
					  &run)) {
			if (!count_run(walk, &run))
				return false;
			page += run.n_pages;
		} else {
			arena->pages.n_lost++;
			page++;
		}
	}
	arena->n_skipped = n - page;
	return true;
}

bool image_read_arena(struct image *image)
{
	const struct mproc__section *section = &image->head.sections[MPROC__SECTION_ARENA];
	bool possible = false;
	struct walk walk;
	union {
		struct mproc__arena arena;
		unsigned char bytes[sizeof(struct mproc__arena)];
	} head;

	/* It may have grown since its size was read, which is raised before it has the pages. */
	for (int i = 0; i < RETRIES && !possible; i++) {
		if ((i && !image_read_state(image)) ||
		    !image_copy(image, head.bytes, sizeof(head.bytes), section->off, "arena"))
			return false;
		possible = mproc__arena_geometry_check(&head.arena, section->len, image->size,
						       &walk.geometry);
	}
	if (!possible)
		return image_fail(image, IMAGE_CORRUPT, "the geometry of its arena is impossible");
	walk.image = image;
	walk.entries = section->off + offsetof(struct mproc__arena, pages);
	for (int i = 0; i < RETRIES; i++) {
		if (!walk_pages(&walk))
			return false;
		if (!image->arena.pages.n_lost && !image->arena.blocks.n_impossible)
			break;
	}
	return true;
}

uint64_t image_used(const struct image *image)
{
	const struct mproc__arena_look *pages = &image->arena.pages;

	return (pages->n_used + pages->n_private + pages->n_slab + pages->n_tables) *
	       MPROC__ARENA_PAGE;
}
