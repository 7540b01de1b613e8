/* SPDX-License-Identifier: MIT */

/*
 * What an arena holds, and whether it is as it must be
 *
 * Statistics walk from first page to first page without a lock: a snapshot. The check
 * takes the lock of the runs, under which nobody changes the partition of the pages;
 * blocks come and go all the same. So it judges what is true at every instant:
 *
 *	pages		first pages follow on each other without a gap, to the end; the
 *			others say PART of theirs, or nothing that could be taken for a block
 *	tables		each is used by one slab, and marked as used; no other is
 *	blocks		each is free, private or used; a private one has an owner whose bit
 *			its slab has
 *	free runs	each is on the list of its size, once; no two are neighbours
 *	shards		a current slab is one, of its class
 *
 * Which slabs the bitmaps name is a hint and not judged. All loops end with the pages;
 * what is followed was checked to be a page before.
 */

#include <mproc/arena.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/error.h"
#include "shm/arena_inside.h"

static_assert(MPROC_ARENA_CLASSES == MPROC__ARENA_CLASSES + 1, "a class for pages, too");

/* What free memory without a gap there was just before. */
struct stretch {
	uint64_t bytes;
	uint64_t longest;
};

static void add_slab(struct mproc_arena_stats *ret, const struct mproc__arena_view *v,
		     const struct mproc__arena_run *run, struct stretch *stretch)
{
	struct mproc_arena_class *class = &ret->classes[run->class];
	uint64_t size = mproc__arena_class_size(run->class);
	struct mproc__arena_table *table = mproc__arena_table_at(v, run->table);
	struct mproc__arena_blocks blocks;

	if (!table)
		return;
	mproc__arena_blocks_look(table, run->class, &blocks);
	class->n_used += blocks.n_private + blocks.n_used;
	class->n_free += blocks.n_free;
	class->used += (blocks.n_private + blocks.n_used) * size;
	ret->free += blocks.n_free * size;
	ret->n_private += blocks.n_private;
	if (blocks.n_free == mproc__arena_class_blocks(run->class)) {
		/* Given back before anybody is told that there is no room. */
		stretch->bytes += (uint64_t)run->n_pages * MPROC__ARENA_PAGE;
		return;
	}
	stretch->bytes = 0;
	if (blocks.n_free && size > stretch->longest)
		stretch->longest = size;
}

static void add_run(struct mproc_arena_stats *ret, const struct mproc__arena_view *v,
		    const struct mproc__arena_run *run, struct stretch *stretch)
{
	struct mproc_arena_class *pages = &ret->classes[MPROC__ARENA_CLASSES];
	uint64_t size = (uint64_t)run->n_pages * MPROC__ARENA_PAGE;

	switch (run->state) {
	case MPROC__ARENA_FREE:
	case MPROC__ARENA_DROPPED:
		ret->free += size;
		pages->n_free++;
		stretch->bytes += size;
		break;
	case MPROC__ARENA_SLAB:
		add_slab(ret, v, run, stretch);
		break;
	case MPROC__ARENA_TABLES_PAGE:
		ret->tables += size;
		stretch->bytes = 0;
		break;
	default:
		pages->n_used++;
		pages->used += size;
		ret->n_private += run->state == MPROC__ARENA_PRIVATE;
		stretch->bytes = 0;
	}
	if (stretch->bytes > stretch->longest)
		stretch->longest = stretch->bytes;
}

static void look(const struct mproc__arena_view *v, struct mproc_arena_stats *ret)
{
	struct stretch stretch = { 0 };
	struct mproc__arena_run run;
	uint32_t n_pages;

	mproc__arena_refresh(v);
	n_pages = mproc__arena_n_pages(v);
	*ret = (struct mproc_arena_stats){ .bytes = (uint64_t)n_pages * MPROC__ARENA_PAGE };
	for (uint32_t i = 0; i < MPROC__ARENA_CLASSES; i++)
		ret->classes[i].len = mproc__arena_class_size(i);
	for (uint32_t page = 0; page < n_pages; page += run.n_pages) {
		if (!mproc__arena_run_at(v, page, &run)) {
			run.n_pages = 1;
			stretch.bytes = 0;
			continue;
		}
		add_run(ret, v, &run, &stretch);
	}
	for (uint32_t i = 0; i < MPROC_ARENA_CLASSES; i++) {
		ret->used += ret->classes[i].used;
		ret->n_blocks += ret->classes[i].n_used;
	}
	ret->largest_free = stretch.longest;
}

void mproc__arena_stats(mproc_segment *segment, struct mproc__arena_stats *ret)
{
	const struct mproc__arena_view v = mproc__arena_view(segment, NULL);
	struct mproc_arena_stats stats;

	look(&v, &stats);
	*ret = (struct mproc__arena_stats){
		.bytes = stats.bytes,
		.used = stats.used,
		.free = stats.free,
		.largest_free = stats.largest_free,
		.n_blocks = stats.n_blocks,
	};
}

int mproc_arena_stats(mproc_segment *segment, struct mproc_arena_stats *ret)
{
	struct mproc_arena_stats stats;
	struct mproc__arena_view v;
	size_t size;
	int r;

	assert(ret);
	size = ret->size;
	if (size < sizeof(size) || size > 65536)
		return mproc__fail(-EINVAL, "arena stats: a struct of %zu bytes", size);
	r = mproc__segment_get(&segment, segment);
	if (r < 0)
		return r;
	v = mproc__arena_view(segment, NULL);
	look(&v, &stats);
	stats.size = size;
	/* What a newer program has beyond the fields we know is zero. */
	memset(ret, 0, size);
	memcpy(ret, &stats, size < sizeof(stats) ? size : sizeof(stats));
	return 0;
}

/* What the check has seen: a bit for each page. */
struct seen {
	const struct mproc__arena_view *v;
	uint32_t n_pages;
	uint32_t n_free; /* free runs */
	uint8_t *free;   /* first pages of those, until they were found on a list */
	uint8_t *tables; /* for each page, which of its tables slabs use */
};

static int broken(uint32_t page, const char *why)
{
	return mproc__fail(-EBADMSG, "arena check: page %" PRIu32 ": %s", page, why);
}

static int check_parts(const struct seen *seen, uint32_t page, const struct mproc__arena_run *run)
{
	uint32_t state;
	uint64_t word;

	for (uint32_t i = 1; i < run->n_pages; i++) {
		word = mproc__arena_word_at(seen->v, page + i);
		state = mproc__arena_state(word);
		if (state == MPROC__ARENA_PRIVATE || state == MPROC__ARENA_USED ||
		    state == MPROC__ARENA_SLAB || state == MPROC__ARENA_TABLES_PAGE ||
		    state > MPROC__ARENA_TAIL)
			return broken(page + i, "it says that a run begins inside another");
		if (run->state != MPROC__ARENA_FREE && run->state != MPROC__ARENA_DROPPED &&
		    mproc__arena_part_is_marked(page, i, run->n_pages) &&
		    word != mproc__arena_counted(MPROC__ARENA_PART, i))
			return broken(page + i, "it does not say that it is part of its run");
	}
	return 0;
}

static int check_blocks(const struct seen *seen, uint32_t page, const struct mproc__arena_run *run,
			const struct mproc__arena_table *table)
{
	const struct mproc__arena_view *v = seen->v;
	uint64_t word, owners;

	for (uint32_t i = 0; i < mproc__arena_class_blocks(run->class); i++) {
		word = atomic_load_explicit(&table->words[i], memory_order_acquire);
		switch (mproc__arena_state(word)) {
		case MPROC__ARENA_FREE:
		case MPROC__ARENA_USED:
			break;
		case MPROC__ARENA_PRIVATE:
			owners = atomic_load_explicit(&v->at->pages[page].owners,
						      memory_order_seq_cst);
			if (mproc__arena_owner_slot(word) >= v->me->range->n_procs)
				return broken(page, "a block belongs to nobody there can be");
			/* A reaper may have cleared it together with the block. */
			if (!(owners >> (mproc__arena_owner_slot(word) & 63) & 1) &&
			    atomic_load_explicit(&table->words[i], memory_order_acquire) == word)
				return broken(page, "a block's owner would not be looked for");
			break;
		default:
			return broken(page, "a block is neither free nor in use");
		}
	}
	return 0;
}

static int check_slab(const struct seen *seen, uint32_t page, const struct mproc__arena_run *run)
{
	const struct mproc__arena_table *table = mproc__arena_table_at(seen->v, run->table);
	uint32_t at = (uint32_t)(run->table / MPROC__ARENA_PAGE);
	uint32_t number = (uint32_t)(run->table % MPROC__ARENA_PAGE / sizeof(*table));

	/* A table that this process has no addresses for is not looked at. */
	if (at >= seen->n_pages || mproc__arena_word_at(seen->v, at) != MPROC__ARENA_TABLES_PAGE)
		return broken(page, "the slab's table is in no page of tables");
	if (seen->tables[at] >> number & 1)
		return broken(page, "two slabs have one table");
	seen->tables[at] |= (uint8_t)(1u << number);
	if (run->shard > seen->v->at->n_shards && run->shard != MPROC__ARENA_SHARD_CLOSING)
		return broken(page, "the slab belongs to a shard that does not exist");
	return table ? check_blocks(seen, page, run, table) : 0;
}

static int check_pages(struct seen *seen)
{
	struct mproc__arena_run run;
	bool was_free = false;
	int r;

	for (uint32_t page = 0; page < seen->n_pages; page += run.n_pages) {
		if (!mproc__arena_run_at(seen->v, page, &run) || run.n_pages > seen->n_pages - page)
			return broken(page, "nothing that can be there begins");
		r = check_parts(seen, page, &run);
		if (r == 0 && run.state == MPROC__ARENA_SLAB)
			r = check_slab(seen, page, &run);
		if (r < 0)
			return r;
		if (run.state == MPROC__ARENA_FREE) {
			if (was_free)
				return broken(page, "two free runs are neighbours");
			seen->n_free++;
			seen->free[page] = 1;
			if (run.n_pages > 1 &&
			    mproc__arena_word_at(seen->v, page + run.n_pages - 1) !=
				    mproc__arena_counted(MPROC__ARENA_TAIL, run.n_pages))
				return broken(page, "the free run's last page does not lead to it");
		}
		was_free = run.state == MPROC__ARENA_FREE;
	}
	return 0;
}

static int check_tables(const struct seen *seen)
{
	for (uint32_t page = 0; page < seen->n_pages; page++) {
		/* Only what begins a run has this word, as check_parts() has seen. */
		if (mproc__arena_word_at(seen->v, page) == MPROC__ARENA_TABLES_PAGE &&
		    mproc__arena_link_at(seen->v, page) >> 56 != seen->tables[page])
			return broken(page, "the page of tables has others than slabs use");
	}
	return 0;
}

static int check_lists(struct seen *seen)
{
	uint32_t entry, prev, n = 0;

	for (uint32_t bin = 0; bin < MPROC__ARENA_BINS; bin++) {
		prev = 0;
		entry = mproc__arena_bins_first(seen->v, bin);
		for (; entry; prev = entry, entry = mproc__arena_bins_next(seen->v, entry)) {
			if (entry > seen->n_pages || !seen->free[entry - 1])
				return mproc__fail(-EBADMSG,
						   "arena check: list %" PRIu32
						   " names page %" PRIu32 ", which is not free",
						   bin, entry - 1);
			if (!mproc__arena_bins_is_there(seen->v, entry, bin, prev))
				return broken(entry - 1, "the free run is on a wrong list");
			/* Once: a second time it is as if it were not free. */
			seen->free[entry - 1] = 0;
			n++;
		}
	}
	if (n != seen->n_free)
		return mproc__fail(-EBADMSG,
				   "arena check: %" PRIu32 " free runs, %" PRIu32 " on lists",
				   seen->n_free, n);
	return 0;
}

static int check_shards(const struct seen *seen)
{
	const struct mproc__arena_view *v = seen->v;
	struct mproc__arena_run run;
	uint32_t entry;

	for (uint32_t shard = 0; shard < v->at->n_shards; shard++) {
		for (uint32_t c = 0; c < MPROC__ARENA_CLASSES; c++) {
			entry = atomic_load_explicit(&v->at->arena->shards[shard].current[c],
						     memory_order_relaxed);
			/* Others change it meanwhile, and may have died doing so. */
			if (entry &&
			    (entry > seen->n_pages || (mproc__arena_run_at(v, entry - 1, &run) &&
						       run.state == MPROC__ARENA_SLAB &&
						       run.class != c && run.shard == shard + 1)))
				return mproc__fail(-EBADMSG,
						   "arena check: shard %" PRIu32
						   " allocates from page %" PRIu32
						   ", which is no slab for it",
						   shard, entry - 1);
		}
	}
	return 0;
}

static int check(const struct mproc__arena_view *v, struct seen *seen)
{
	int r = mproc__arena_runs_settle(v);

	if (r == 0)
		r = check_pages(seen);
	if (r == 0)
		r = check_tables(seen);
	if (r == 0)
		r = check_lists(seen);
	return r < 0 ? r : check_shards(seen);
}

int mproc_arena_check(mproc_segment *segment, int64_t deadline)
{
	struct mproc__arena_view v;
	struct mproc__self *me;
	struct seen seen;
	uint64_t outer;
	uint8_t *bytes;
	int r;

	if (deadline < 0)
		return mproc__fail(-EINVAL, "arena check: a negative deadline");
	r = mproc__segment_get(&segment, segment);
	if (r < 0)
		return r;
	me = mproc__self(segment->arena, "arena check");
	if (!me)
		return mproc__self_error();
	v = mproc__arena_view(segment, me);
	outer = mproc__act_begin(me, v.at->what);
	r = mproc__arena_runs_lock_until(&v, deadline);
	if (r == 0) {
		seen = (struct seen){ .v = &v, .n_pages = mproc__arena_n_pages(&v) };
		bytes = calloc(seen.n_pages, 2);
		seen.free = bytes;
		seen.tables = bytes ? bytes + seen.n_pages : NULL;
		r = bytes ? check(&v, &seen) : mproc__fail(-ENOMEM, "arena check: no memory");
		mproc__arena_runs_unlock(&v);
		free(bytes);
	}
	mproc__act_end(me, outer);
	return r;
}
