/* SPDX-License-Identifier: MIT */

/*
 * Whoever is killed in the arena, wherever: every byte can be allocated again, no
 * byte belongs to two, and what was published stands
 */

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <mproc/arena.h>
#include <mproc/common.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/arena_inside.h"
#include "tests/support/arena.h"
#include "tests/support/sweep.h"

#define PAGE  4096u
#define PAGES 10u

static struct t_arena a;

/* Published blocks, filled each with its number: nobody's death changes them. */
static uint64_t kept[160];
static size_t n_kept;

/* The block that the operation is about, made by setup() or arrive(). Shared, not watched. */
static uint64_t *mine;

static int64_t alloc(uint64_t len)
{
	uint64_t off = 0;
	int r = mproc__arena_alloc(&a.segment, t_arena_me(&a), len, false, &off);

	return r < 0 ? r : (int64_t)off;
}

static int release(uint64_t off)
{
	return mproc__arena_free(&a.segment, t_arena_me(&a), off);
}

static uint64_t len_of(uint64_t off)
{
	return mproc__arena_len(&a.segment, off);
}

/*
 * Start states
 */

static void open_arena(size_t pages)
{
	mine = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (mine == MAP_FAILED || t_arena_open(&a, 8, 16, pages) < 0)
		t_sweep_fail("no arena");
	t_sweep_watch(a.range.base, a.range.size);
}

/* Nobody has allocated: the lists are still to be made. */
static void fresh(void)
{
	open_arena(PAGES);
}

static void empty(void)
{
	fresh();
	t_sweep_check(release((uint64_t)alloc(PAGE)) == 0);
}

/* Allocate a block, publish it, fill it. */
static uint64_t keep(uint64_t len)
{
	int64_t off = alloc(len);

	if (off < 0 || mproc__arena_publish(&a.segment, t_arena_me(&a), (uint64_t)off) < 0)
		t_sweep_fail("keep %d bytes: %d", (int)len, (int)off);
	memset(a.range.base + off, (int)n_kept + 1, len_of((uint64_t)off));
	kept[n_kept++] = (uint64_t)off;
	return (uint64_t)off;
}

/* The last one that was kept is not: the operation is about it. */
static void keep_mine(uint64_t len)
{
	*mine = keep(len);
	n_kept--;
}

static void slab_with_room(void)
{
	empty();
	keep(64);
	keep(64);
	keep(PAGE);
}

static void slab_with_one_left(void)
{
	empty();
	for (int i = 0; i < 7; i++)
		keep(2048);
}

/* Room for another slab, and another. */
static void slab_full_and_room(void)
{
	open_arena(2 * PAGES);
	keep_mine(2048);
	for (int i = 0; i < 7; i++)
		keep(2048);
}

static void slab_full(void)
{
	slab_with_one_left();
	keep(2048);
}

static void fragmented(void)
{
	uint64_t hole[3];

	empty();
	for (int i = 0; i < 3; i++) {
		hole[i] = keep((uint64_t)(i + 1) * PAGE);
		n_kept--;
		keep(PAGE);
	}
	for (int i = 0; i < 3; i++)
		t_sweep_check(release(hole[i]) == 0);
}

static void one_page_left(void)
{
	empty();
	keep((PAGES - 1) * PAGE);
}

static void full(void)
{
	empty();
	keep(PAGES * PAGE);
}

/* All but a page is an empty slab, another full of small blocks, and their tables. */
static void slabs_left_empty(void)
{
	int64_t off[8];

	empty();
	for (int i = 0; i < 8; i++)
		off[i] = alloc(2048);
	keep(64);
	keep(4 * PAGE);
	for (int i = 0; i < 8; i++)
		t_sweep_check(release((uint64_t)off[i]) == 0);
}

/* Whoever arrives with two pages has them in a hole of two. */
static void hole_of_two_pages(void)
{
	uint64_t hole;

	empty();
	keep(PAGE);
	hole = keep(2 * PAGE);
	n_kept--;
	keep(PAGE);
	/* All but zero that is copied is a kill point for each byte. */
	memset(a.range.base + hole, 0, 2 * PAGE);
	memset(a.range.base + hole, 1, 8);
	t_sweep_check(release(hole) == 0);
}

static void leave_residue(void *arg)
{
	(void)arg;
	for (int i = 0; i < 5; i++)
		t_sweep_check(alloc(64) > 0 && alloc(1024) > 0);
	t_sweep_check(alloc(2 * PAGE) > 0);
	t_sweep_check(alloc(PAGE) > 0);
}

static void attach_and_rest(void *arg)
{
	(void)arg;
	t_sweep_check(t_arena_me(&a) != NULL);
	t_sweep_rest();
}

/* Two are dead: who attaches reaps one of them, whose slot he takes; not this one. */
static void residue_of_the_dead(void)
{
	pid_t first;

	empty();
	keep(64);
	first = t_sweep_helper(attach_and_rest, NULL);
	t_sweep_helper(leave_residue, NULL);
	kill(first, SIGKILL);
	while (mproc__token_held(a.range.range, MPROC__BYTE_SLOT(1), 1) > 0)
		usleep(100);
}

static void take_lock_of_runs(void *arg)
{
	struct mproc__arena_view v = mproc__arena_view(&a.segment, t_arena_me(&a));

	(void)arg;
	t_sweep_check(mproc__arena_runs_lock(&v) == 0);
}

static void owner_of_runs_dead(void)
{
	slab_with_room();
	t_sweep_helper(take_lock_of_runs, NULL);
}

static void hold_lock_of_runs(void *arg)
{
	struct mproc__arena_view v = mproc__arena_view(&a.segment, t_arena_me(&a));

	take_lock_of_runs(arg);
	t_sweep_rest();
	mproc__arena_runs_unlock(&v);
	t_sweep_rest();
}

static void take_lock_of_shard(void *arg)
{
	struct mproc__self *me = t_arena_me(&a);

	(void)arg;
	t_sweep_check(mproc__lock_take(&a.segment.arena->shards[0].lock, me, 0, MPROC_FOREVER) ==
		      0);
	/* As if killed between a block and the note that it is not free. */
	a.segment.arena->shards[0].free[0] = UINT64_MAX;
}

static void owner_of_shard_dead(void)
{
	slab_with_room();
	t_sweep_helper(take_lock_of_shard, NULL);
}

static void small_published(void)
{
	slab_with_room();
	keep_mine(64);
}

/* Nobody's slab: full when it was given up. */
static void small_in_full_slab(void)
{
	slab_with_one_left();
	keep_mine(2048);
	keep(64);
	keep(2048);
}

static void large_published(void)
{
	empty();
	keep(PAGE);
	keep_mine(3 * PAGE);
	keep(PAGE);
}

static void large_and_owner_of_runs_dead(void)
{
	large_published();
	t_sweep_helper(take_lock_of_runs, NULL);
}

/* Who frees does not wait for long; what is left undone others do. */
static void large_and_owner_of_runs_at_rest(void)
{
	large_published();
	t_sweep_helper(hold_lock_of_runs, NULL);
}

/* The last of three neighbours to be freed. */
static void large_between_holes(void)
{
	uint64_t before, behind;

	empty();
	keep(PAGE);
	before = keep(2 * PAGE);
	n_kept--;
	keep_mine(PAGE);
	behind = keep(PAGE);
	n_kept--;
	keep(2 * PAGE);
	t_sweep_check(release(before) == 0 && release(behind) == 0);
}

/* Its pages before the operation. */
static uint64_t pages_before;

/* A block of @pages that the program published, full of 77. */
static void publish_as_program(size_t pages)
{
	pages_before = pages;
	*mine = (uint64_t)alloc(pages * PAGE);
	t_sweep_check(mproc__arena_publish_user(&a.segment, t_arena_me(&a), *mine) == 0);
	memset(a.range.base + *mine, 77, pages * PAGE);
}

static void long_and_room_behind(void)
{
	empty();
	keep(PAGE);
	publish_as_program(3);
}

static void long_and_none_behind(void)
{
	long_and_room_behind();
	keep(PAGE);
}

/* Just as many pages behind it as it is about to want. */
static void long_and_little_behind(void)
{
	uint64_t hole;

	long_and_room_behind();
	hole = keep(2 * PAGE);
	n_kept--;
	keep(PAGE);
	t_sweep_check(release(hole) == 0);
}

/* More pages than are marked, at whose places others have left their marks and tails. */
static void longer_over_remains(size_t pages)
{
	int64_t off[6];

	open_arena(2 * PAGES);
	keep(PAGE);
	for (int i = 0; i < 6; i++)
		off[i] = alloc(3 * PAGE);
	for (int i = 0; i < 6; i += 2)
		t_sweep_check(release((uint64_t)off[i]) == 0);
	for (int i = 1; i < 6; i += 2)
		t_sweep_check(release((uint64_t)off[i]) == 0);
	publish_as_program(pages);
}

static void short_over_remains(void)
{
	longer_over_remains(3);
}

static void long_over_remains(void)
{
	longer_over_remains(17);
}

static void room_over_remains(void)
{
	longer_over_remains(2);
	t_sweep_check(mproc_arena_free(&a.segment, a.range.base + *mine) == 0);
	*mine = 0;
}

static void long_and_owner_of_runs_dead(void)
{
	long_and_little_behind();
	t_sweep_helper(take_lock_of_runs, NULL);
}

/*
 * Arriving: attached, and perhaps with a block of one's own
 */

static void arrive(void)
{
	if (!t_arena_me(&a))
		t_sweep_fail("cannot attach");
}

/* The victim is the first to arrive; who recovers brings nothing along. */
static void arrive_with(uint64_t len)
{
	if (*mine)
		arrive();
	else
		*mine = (uint64_t)alloc(len);
}

static void arrive_with_small(void)
{
	arrive_with(64);
}

static void arrive_with_large(void)
{
	arrive_with(2 * PAGE);
}

/*
 * Operations
 */

static int64_t alloc_64(void)
{
	return alloc(64);
}

/* The short way, and what comes of it where that leads nowhere. */
static int64_t alloc_64_as_program(void)
{
	void *block;
	int r = mproc_arena_alloc(&block, &a.segment, 64);

	return r < 0 ? r : (char *)block - a.range.base;
}

static int64_t alloc_2048(void)
{
	return alloc(2048);
}

static int64_t alloc_page(void)
{
	return alloc(PAGE);
}

static int64_t alloc_3_pages(void)
{
	return alloc(3 * PAGE);
}

static int64_t alloc_17_pages(void)
{
	return alloc(17 * PAGE);
}

static int64_t alloc_all(void)
{
	return alloc(PAGES * PAGE);
}

static int64_t free_mine(void)
{
	return release(*mine);
}

static int64_t publish_mine(void)
{
	return mproc__arena_publish(&a.segment, t_arena_me(&a), *mine);
}

static int64_t adopt_mine(void)
{
	return mproc__arena_adopt(&a.segment, t_arena_me(&a), *mine);
}

static int64_t seize_mine(void)
{
	return mproc__arena_seize(&a.segment, t_arena_me(&a), *mine);
}

static int64_t resize_mine(size_t len)
{
	void *block = a.range.base + *mine;
	int r = mproc_arena_realloc(&block, &a.segment, len);

	if (r == 0)
		*mine = (uint64_t)((char *)block - a.range.base);
	return r;
}

static int64_t lengthen_mine(void)
{
	return resize_mine(5 * PAGE);
}

static int64_t shorten_mine(void)
{
	return resize_mine(PAGE);
}

static int64_t lengthen_mine_much(void)
{
	return resize_mine(17 * PAGE);
}

static int64_t shorten_mine_little(void)
{
	return resize_mine(13 * PAGE);
}

static int64_t move_mine(void)
{
	return resize_mine(4 * PAGE);
}

static int64_t move_mine_small(void)
{
	return resize_mine(2000);
}

static int64_t free_mine_as_program(void)
{
	return mproc_arena_free(&a.segment, a.range.base + *mine);
}

/* At a multiple of four pages, wherever the first page is. */
static int64_t alloc_aligned(void)
{
	uint64_t off = 0;
	int r = mproc__arena_alloc_aligned(&a.segment, t_arena_me(&a), 2 * PAGE, 4 * PAGE, &off);

	t_sweep_check(r < 0 || off % (4 * PAGE) == 0);
	return r < 0 ? r : (int64_t)off;
}

static int64_t reap(void)
{
	return mproc__reap_all(a.range.range);
}

/* What a process does that finds the dead: everything that has to be mended is. */
static int64_t reap_and_alloc(void)
{
	int64_t r = mproc__reap_all(a.range.range);

	return r < 0 ? r : alloc(2048);
}

/*
 * What the survivor finds
 */

/* What was kept is there, whole. */
static void kept_is_whole(void)
{
	for (size_t i = 0; i < n_kept; i++) {
		uint64_t len = len_of(kept[i]);

		t_sweep_check(len > 0);
		for (uint64_t k = 0; k < len; k++)
			t_sweep_check(a.range.base[kept[i] + k] == (char)(i + 1));
	}
}

/* Every page of the block at @off leads to it. */
static void is_found_from_everywhere(uint64_t off)
{
	uint64_t len = len_of(off), room = 0;

	for (uint64_t i = 0; i < len; i += PAGE) {
		t_sweep_check(mproc__arena_block_at(&a.segment, off + i, &room) ==
			      mproc__arena_generation_of(&a.segment, off));
		t_sweep_check(room == len - i);
	}
}

/* Allocate what there is, in blocks of @len, and write all of it. */
static size_t fill(uint64_t len, uint64_t *ret)
{
	size_t n = 0;
	int64_t off;

	while ((off = alloc(len)) > 0) {
		memset(a.range.base + off, 0xff, len_of((uint64_t)off));
		ret[n++] = (uint64_t)off;
		t_sweep_check(n <= a.bytes / 64);
	}
	t_sweep_check(off == -ENOSPC);
	return n;
}

static void sound(const struct t_sweep_seen *seen)
{
	static uint64_t blocks[2 * PAGES * PAGE / 64 + 1];
	struct mproc__arena_stats stats;
	uint64_t used = 0;
	size_t n;
	int64_t off;

	(void)seen;
	t_sweep_check(mproc__reap_all(a.range.range) >= 0);
	kept_is_whole();
	for (size_t i = 0; i < n_kept; i++)
		used += len_of(kept[i]);
	mproc__arena_stats(&a.segment, &stats);
	t_sweep_check(stats.used == used + len_of(*mine));

	/* Before somebody who finds no room makes everything anew. */
	t_sweep_check(mproc_arena_check(&a.segment, MPROC_FOREVER) == 0);
	is_found_from_everywhere(*mine);
	for (size_t i = 0; i < n_kept; i++)
		is_found_from_everywhere(kept[i]);

	/* Nothing is handed out that belongs to another. */
	for (uint64_t len = 64; len <= PAGE; len *= 8) {
		n = fill(len, blocks);
		kept_is_whole();
		while (n)
			t_sweep_check(release(blocks[--n]) == 0);
	}
	for (size_t i = 0; i < n_kept; i++)
		t_sweep_check(release(kept[i]) == 0);
	if (len_of(*mine))
		t_sweep_check(release(*mine) == 0);
	off = alloc(a.bytes);
	t_sweep_check(off > 0);
	t_sweep_check(release((uint64_t)off) == 0);
}

static void allocated(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result > 0);
	t_sweep_check(!seen->recovered || seen->recover_result > 0);
	sound(seen);
}

static void refused(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -ENOSPC);
	sound(seen);
}

static void freed(const struct t_sweep_seen *seen)
{
	t_sweep_rouse();
	t_sweep_check(!seen->returned || (seen->result == 0 && !len_of(*mine)));
	sound(seen);
}

/* Private to the victim until it is published: gone, or there. */
static void published(const struct t_sweep_seen *seen)
{
	t_sweep_check(mproc__reap_all(a.range.range) >= 0);
	t_sweep_check(!seen->returned || (seen->result == 0 && len_of(*mine)));
	sound(seen);
}

static void adopted(const struct t_sweep_seen *seen)
{
	t_sweep_check(mproc__reap_all(a.range.range) >= 0);
	t_sweep_check(!seen->returned || seen->result == 0);
	t_sweep_check(!seen->returned || !len_of(*mine));
	sound(seen);
}

/* Published, it has the old length or the new one, and what was in it is. */
static void resized(const struct t_sweep_seen *seen)
{
	uint64_t len = len_of(*mine), was = pages_before * PAGE;

	t_sweep_check(!seen->returned || seen->result == 0);
	t_sweep_check(!seen->recovered || seen->recover_result == 0);
	t_sweep_check(len == was || len == PAGE || len == 5 * PAGE || len == 13 * PAGE ||
		      len == 17 * PAGE);
	t_sweep_check(!seen->returned || len != was);
	for (uint64_t i = 0; i < (len < was ? len : was); i++)
		t_sweep_check(a.range.base[*mine + i] == 77);
	sound(seen);
}

static void not_moved(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -EPERM);
	t_sweep_check(len_of(*mine) == 3 * PAGE);
	sound(seen);
}

/* Private: it died with its process, the old one and the new one. */
static void moved(const struct t_sweep_seen *seen)
{
	t_sweep_check(mproc__reap_all(a.range.range) >= 0);
	t_sweep_check(!seen->returned || seen->result == 0);
	t_sweep_check(!len_of(*mine));
	sound(seen);
}

/* Freed by another meanwhile: it is free, however long it was. */
static void resized_or_freed(const struct t_sweep_seen *seen)
{
	if (seen->returned && seen->peer) {
		t_sweep_check(seen->result == 0 || seen->result == -ESTALE);
		t_sweep_check(seen->peer_result == 0 && !len_of(*mine));
	}
	sound(seen);
}

/* Of two who want one block one gets it. */
static void one_of_two(const struct t_sweep_seen *seen)
{
	if (seen->returned && seen->peer)
		t_sweep_check((seen->result == 0) + (seen->peer_result == 0) == 1);
	sound(seen);
}

static void reaped(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 1);
	sound(seen);
}

/*
 * While nobody is killed, no free block is overlooked: a slab that was full and had
 * a block freed serves the next allocation.
 */
static void block_is_found_again(const struct t_sweep_seen *seen)
{
	if (seen->returned && seen->peer && seen->peer_result == 0 && seen->result > 0) {
		uint64_t off;
		int64_t next = 0;

		/* Eight of the victim's slab, its own one among them now that it is dead. */
		for (int i = 0; i < 9 && (uint64_t)next != *mine; i++) {
			t_sweep_check(mproc__arena_alloc(&a.segment, t_arena_me(&a), 2048, false,
							 &off) == 0);
			next = (int64_t)off;
			kept[n_kept++] = off;
			memset(a.range.base + off, (int)n_kept, 2048);
		}
		t_sweep_check((uint64_t)next == *mine || (uint64_t)seen->result == *mine);
		*mine = 0;
	}
	sound(seen);
}

#define ALLOC(op, state, setup, victim, check) \
	T_SWEEP(op, state, setup, victim, check, .arrive = arrive, .recover = reap_and_alloc)
#define OTHER(op, state, setup, victim, check) \
	T_SWEEP(op, state, setup, victim, check, .arrive = arrive, .recover = reap)
#define WITH(op, state, setup, arrival, victim, check) \
	T_SWEEP(op, state, setup, victim, check, .arrive = arrival, .recover = reap)
#define RACE(op, state, setup, victim, other, check) \
	T_SWEEP(op, state, setup, victim, check, .arrive = arrive, .peer = other, \
		.flags = T_SWEEP_RESUME)

static const struct t_sweep_case cases[] = {
	ALLOC("alloc 64", "fresh", fresh, alloc_64, allocated),
	ALLOC("alloc 64", "slab with room", slab_with_room, alloc_64, allocated),
	ALLOC("alloc 2048", "empty", empty, alloc_2048, allocated),
	ALLOC("alloc 2048", "slab with one left", slab_with_one_left, alloc_2048, allocated),
	ALLOC("alloc 2048", "slab full", slab_full, alloc_2048, allocated),
	OTHER("alloc 64", "one page left", one_page_left, alloc_64, sound),
	OTHER("alloc 64", "full", full, alloc_64, refused),
	ALLOC("alloc 64", "owner of shard dead", owner_of_shard_dead, alloc_64, allocated),
	ALLOC("alloc 64 as program", "fresh", fresh, alloc_64_as_program, allocated),
	ALLOC("alloc 64 as program", "slab with room", slab_with_room, alloc_64_as_program,
	      allocated),
	ALLOC("alloc 64 as program", "owner of shard dead", owner_of_shard_dead,
	      alloc_64_as_program, allocated),
	ALLOC("alloc 2048", "owner of runs dead", owner_of_runs_dead, alloc_2048, allocated),
	ALLOC("alloc 2048", "residue of the dead", residue_of_the_dead, alloc_2048, allocated),
	ALLOC("alloc 3 pages", "fresh", fresh, alloc_3_pages, allocated),
	ALLOC("alloc 3 pages", "empty", empty, alloc_3_pages, allocated),
	ALLOC("alloc 3 pages", "fragmented", fragmented, alloc_3_pages, allocated),
	ALLOC("alloc page", "fragmented", fragmented, alloc_page, allocated),
	ALLOC("alloc 3 pages", "slabs left empty", slabs_left_empty, alloc_3_pages, allocated),
	ALLOC("alloc 3 pages", "residue of the dead", residue_of_the_dead, alloc_3_pages,
	      allocated),
	ALLOC("alloc 3 pages", "owner of runs dead", owner_of_runs_dead, alloc_3_pages, allocated),
	ALLOC("alloc 17 pages", "remains", room_over_remains, alloc_17_pages, allocated),
	OTHER("alloc all", "empty", empty, alloc_all, sound),
	OTHER("alloc all", "slab with room", slab_with_room, alloc_all, refused),

	WITH("free small", "private", slab_with_room, arrive_with_small, free_mine, freed),
	WITH("free large", "private", slab_with_room, arrive_with_large, free_mine, freed),
	OTHER("free small", "published", small_published, free_mine, freed),
	OTHER("free small", "nobody's slab", small_in_full_slab, free_mine, freed),
	OTHER("free large", "published", large_published, free_mine, freed),
	OTHER("free large", "between holes", large_between_holes, free_mine, freed),
	OTHER("free large", "owner of runs dead", large_and_owner_of_runs_dead, free_mine, freed),
	OTHER("free large", "owner of runs at rest", large_and_owner_of_runs_at_rest, free_mine,
	      freed),

	WITH("publish small", "private", slab_with_room, arrive_with_small, publish_mine,
	     published),
	WITH("publish large", "private", slab_with_room, arrive_with_large, publish_mine,
	     published),
	OTHER("adopt small", "published", small_published, adopt_mine, adopted),
	OTHER("adopt large", "published", large_published, adopt_mine, adopted),
	OTHER("seize small", "published", small_published, seize_mine, adopted),
	ALLOC("alloc aligned", "fresh", fresh, alloc_aligned, allocated),
	ALLOC("alloc aligned", "empty", empty, alloc_aligned, allocated),
	OTHER("alloc aligned", "fragmented", fragmented, alloc_aligned, sound),
	ALLOC("alloc aligned", "slabs left empty", slabs_left_empty, alloc_aligned, allocated),
	OTHER("lengthen", "room behind", long_and_room_behind, lengthen_mine, resized),
	OTHER("lengthen", "just enough behind", long_and_little_behind, lengthen_mine, resized),
	OTHER("lengthen", "owner of runs dead", long_and_owner_of_runs_dead, lengthen_mine,
	      resized),
	OTHER("lengthen", "none behind", long_and_none_behind, lengthen_mine, not_moved),
	OTHER("lengthen", "remains behind", short_over_remains, lengthen_mine_much, resized),
	OTHER("shorten", "remains", long_over_remains, shorten_mine_little, resized),
	OTHER("shorten", "free behind", long_and_room_behind, shorten_mine, resized),
	OTHER("shorten", "used behind", long_and_none_behind, shorten_mine, resized),
	OTHER("shorten", "owner of runs dead", long_and_owner_of_runs_dead, shorten_mine, resized),
	WITH("move small to pages", "private", slab_with_room, arrive_with_small, move_mine, moved),
	WITH("move small to small", "private", slab_with_room, arrive_with_small, move_mine_small,
	     moved),
	WITH("move pages", "private in a hole", hole_of_two_pages, arrive_with_large, move_mine,
	     moved),

	OTHER("reap", "residue of the dead", residue_of_the_dead, reap, reaped),

	RACE("adopt small against adopt", "published", small_published, adopt_mine, adopt_mine,
	     one_of_two),
	RACE("adopt large against adopt", "published", large_published, adopt_mine, adopt_mine,
	     one_of_two),
	RACE("free small against adopt", "published", small_published, free_mine, adopt_mine,
	     one_of_two),
	RACE("free small against free", "published", small_published, free_mine, free_mine,
	     one_of_two),
	RACE("lengthen against free", "just enough behind", long_and_little_behind, lengthen_mine,
	     free_mine_as_program, resized_or_freed),
	RACE("shorten against free", "used behind", long_and_none_behind, shorten_mine,
	     free_mine_as_program, resized_or_freed),
	RACE("alloc 2048 against free", "slab full", slab_full_and_room, alloc_2048, free_mine,
	     block_is_found_again),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "arena", cases, sizeof(cases) / sizeof(cases[0]));
}
