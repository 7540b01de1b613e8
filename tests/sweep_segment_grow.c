/* SPDX-License-Identifier: MIT */

/*
 * Whoever is killed while a segment grows, wherever: every byte that it may have can
 * be allocated, no byte belongs to two, what was published stands, and those who knew
 * nothing of the growth find it
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mproc/common.h>
#include <mproc/segment.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/arena_inside.h"
#include "shm/memory.h"
#include "shm/segment_layout.h"
#include "tests/support/sweep.h"

#define PAGE  4096u
#define FIRST 16u /* pages that the arena begins with */

static mproc_segment *segment;

/* Published blocks, filled each with its number: nobody's death changes them. */
static uint64_t kept[64];
static size_t n_kept;

/* What the operation is about. Shared, not watched. */
static _Atomic(uint64_t) *mine;

/* In the library's place: a look at some files that takes 400,000 instructions. */
uint64_t mproc__memory_left(const char *root)
{
	(void)root;
	return UINT64_MAX;
}

uint64_t mproc__memory_available(const char *root)
{
	(void)root;
	return UINT64_MAX;
}

static struct mproc__self *me(void)
{
	return mproc__self(segment->catalogue, "test");
}

static int64_t alloc(uint64_t len)
{
	uint64_t off = 0;
	int r = mproc__arena_alloc(segment, me(), len, false, &off);

	return r < 0 ? r : (int64_t)off;
}

static int release(uint64_t off)
{
	return mproc__arena_free(segment, me(), off);
}

static uint64_t len_of(uint64_t off)
{
	return mproc__arena_len(segment, off);
}

static char *at(uint64_t off)
{
	char *mem = mproc__arena_at(segment, off, 1);

	t_sweep_check(mem);
	return mem;
}

/*
 * Start states
 */

/* A segment of 16 pages that may have @pages. Of its tables all is watched that is there. */
static void open_segment(uint64_t pages)
{
	struct mproc_segment_opts o = {
		.size = sizeof(o),
		.bytes_max = (pages + 512) * PAGE,
		.processes = 8,
		.threads = 8,
		.objects = 4,
	};
	struct mproc__span spans[MPROC__ARENA_SPANS];
	const char *base;
	uint64_t section;
	int r;

	mine = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (mine == MAP_FAILED)
		t_sweep_fail("no memory");
	/* The least that there can be is 16 pages of data. */
	for (o.bytes = 64 << 10; (r = mproc_segment_create(&segment, NULL, &o)) == -EINVAL;)
		o.bytes += PAGE;
	t_sweep_check(r == 0);
	t_sweep_check(mproc__arena_n_pages(
			      &(struct mproc__arena_view){ .at = &segment->arena_at }) == FIRST);
	base = (const char *)atomic_load(&segment->range->base);
	section = (uint64_t)((const char *)segment->arena - base);
	mproc__arena_spans(FIRST, segment->arena_at.n_pages_max, spans);
	t_sweep_watch(base, section + spans[0].end);
	t_sweep_watch(base + section + spans[1].off, spans[1].end - spans[1].off);
	t_sweep_watch(base + section + spans[2].off, spans[2].end - spans[2].off);
	t_sweep_watch(base + segment->arena_at.off, FIRST * PAGE);
}

static uint64_t keep(uint64_t len)
{
	int64_t off = alloc(len);

	if (off < 0 || mproc__arena_publish(segment, me(), (uint64_t)off) < 0)
		t_sweep_fail("keep %d bytes: %d", (int)len, (int)off);
	memset(at((uint64_t)off), (int)n_kept + 1, len_of((uint64_t)off));
	kept[n_kept++] = (uint64_t)off;
	return (uint64_t)off;
}

static void fresh(void)
{
	open_segment(1);
}

static void full(void)
{
	fresh();
	keep(5 * PAGE);
	keep(11 * PAGE);
}

/* More pages than a page of tables serves come with it. */
static void full_and_far_to_go(void)
{
	open_segment(20000);
	keep(FIRST * PAGE);
}

static void free_at_the_end(void)
{
	fresh();
	keep(13 * PAGE);
}

static void slab_full(void)
{
	fresh();
	keep(11 * PAGE);
	for (int i = 0; i < 8; i++)
		keep(2048);
}

static uint64_t end_of(uint32_t pages)
{
	return segment->arena_at.off + (uint64_t)pages * PAGE;
}

/* As one leaves it who is killed between the memory and its pages. */
static void published_and_no_pages(void)
{
	char why[100];

	full();
	t_sweep_check(mproc__segment_extend(segment, end_of(24), end_of(24), why, sizeof(why)) ==
		      0);
}

/* And who is killed between the memory and the size. */
static void memory_beyond_the_end(void)
{
	int fd;

	full();
	fd = mproc__range_reopen(segment->range, "test");
	t_sweep_check(fd >= 0 && fallocate(fd, 0, 0, (off_t)end_of(24)) == 0);
	close(fd);
}

static void take_lock_of_runs(void *arg)
{
	struct mproc__arena_view v = mproc__arena_view(segment, me());

	(void)arg;
	t_sweep_check(mproc__arena_runs_lock(&v) == 0);
}

static void owner_of_runs_dead(void)
{
	full();
	t_sweep_helper(take_lock_of_runs, NULL);
}

/* Another has grown it, and has put a block into pages that nobody else knows. */
static void grow_and_publish(void *arg)
{
	int64_t off = alloc(6 * PAGE);

	(void)arg;
	t_sweep_check(off + 6 * PAGE > (int64_t)end_of(FIRST));
	t_sweep_check(mproc__arena_publish(segment, me(), (uint64_t)off) == 0);
	memset(at((uint64_t)off), 0x77, 6 * PAGE);
	*mine = (uint64_t)off;
	/* Alive: whoever reaps us learns of the pages. */
	t_sweep_rest();
}

static void grown_unnoticed(void)
{
	full();
	t_sweep_helper(grow_and_publish, NULL);
}

/* The same where a block begins in pages that all know, and ends in others. */
static void grown_across_unnoticed(void)
{
	free_at_the_end();
	t_sweep_helper(grow_and_publish, NULL);
}

static void grow_and_free(void *arg)
{
	int64_t off = alloc(6 * PAGE);

	(void)arg;
	t_sweep_check(off > 0 && release((uint64_t)off) == 0);
	t_sweep_rest();
}

static void free_across_unnoticed(void)
{
	free_at_the_end();
	t_sweep_helper(grow_and_free, NULL);
}

static void grow_and_keep(void *arg)
{
	(void)arg;
	t_sweep_check(alloc(6 * PAGE) > 0);
	t_sweep_check(alloc(100) > 0);
}

static void attach_and_rest(void *arg)
{
	(void)arg;
	t_sweep_check(me() != NULL);
	t_sweep_rest();
}

/*
 * Residue of the dead in pages that nobody else knows. Two are dead: who attaches reaps
 * one of them, whose slot he takes; not this one.
 */
static void residue_unnoticed(void)
{
	pid_t first;

	full();
	first = t_sweep_helper(attach_and_rest, NULL);
	t_sweep_helper(grow_and_keep, NULL);
	kill(first, SIGKILL);
	while (mproc__token_held(segment->range, MPROC__BYTE_SLOT(1), 1) > 0)
		usleep(100);
}

static void arrive(void)
{
	if (!me())
		t_sweep_fail("cannot attach");
}

/*
 * Operations
 */

static int64_t alloc_3_pages(void)
{
	return alloc(3 * PAGE);
}

static int64_t alloc_100_pages(void)
{
	return alloc(100 * PAGE);
}

static int64_t alloc_64(void)
{
	return alloc(64);
}

static int64_t free_mine(void)
{
	return release(*mine);
}

static int64_t adopt_mine(void)
{
	return mproc__arena_adopt(segment, me(), *mine);
}

static int64_t reap(void)
{
	return mproc__reap_all(segment->range);
}

static int64_t reap_and_alloc(void)
{
	int64_t r = reap();

	return r < 0 ? r : alloc(3 * PAGE);
}

/* Memory without a lock: who stands still is not waited for, whatever he holds. */
static int64_t extend(void)
{
	char why[100];

	return mproc__segment_extend(segment, end_of(60), end_of(60), why, sizeof(why));
}

static int64_t grow(void)
{
	return mproc_segment_grow(segment, mproc__segment_memory(segment) + 20 * PAGE);
}

/*
 * What the survivor finds
 */

static void kept_is_whole(void)
{
	for (size_t i = 0; i < n_kept; i++) {
		uint64_t len = len_of(kept[i]);
		const char *mem = at(kept[i]);

		t_sweep_check(len > 0);
		for (uint64_t k = 0; k < len; k++)
			t_sweep_check(mem[k] == (char)(i + 1));
	}
}

static void sound(const struct t_sweep_seen *seen)
{
	uint64_t all = (uint64_t)segment->arena_at.n_pages_max * PAGE, used = 0;
	struct mproc__arena_stats stats;
	struct stat st;
	int64_t off;

	/* All that is said to be memory is, and is said for ever. */
	t_sweep_check(fstat(atomic_load(&segment->range->fd), &st) == 0);
	t_sweep_check((uint64_t)st.st_blocks * 512 >= mproc__segment_memory(segment));
	if (seen->peer)
		t_sweep_check(*segment->range->published >= end_of(60));
	t_sweep_check(reap() >= 0);
	kept_is_whole();
	for (size_t i = 0; i < n_kept; i++)
		used += len_of(kept[i]);
	if (*mine && len_of(*mine)) {
		used += len_of(*mine);
		t_sweep_check(at(*mine)[0] == 0x77 && at(*mine)[6 * PAGE - 1] == 0x77);
	}
	mproc__arena_stats(segment, &stats);
	t_sweep_check(stats.used == used);
	/* Nothing that it grows into belongs to another. */
	off = alloc(30 * PAGE);
	t_sweep_check(off > 0);
	memset(at((uint64_t)off), 0xff, 30 * PAGE);
	kept_is_whole();
	t_sweep_check(release((uint64_t)off) == 0);
	for (size_t i = 0; i < n_kept; i++)
		t_sweep_check(release(kept[i]) == 0);
	if (*mine && len_of(*mine))
		t_sweep_check(release(*mine) == 0);
	/* All that it may ever have, in one piece. */
	if (all > 16 << 20)
		return;
	off = alloc(all);
	t_sweep_check(off > 0);
	t_sweep_check(release((uint64_t)off) == 0);
	mproc__arena_stats(segment, &stats);
	t_sweep_check(stats.bytes == all && !stats.used);
}

static void allocated(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result > 0);
	t_sweep_check(!seen->peer || seen->peer_result == 0);
	t_sweep_check(!seen->recovered || seen->recover_result > 0);
	sound(seen);
}

static void done(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	t_sweep_check(!seen->peer || seen->peer_result == 0);
	sound(seen);
}

static void freed(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || (seen->result == 0 && !len_of(*mine)));
	sound(seen);
}

static void adopted(const struct t_sweep_seen *seen)
{
	t_sweep_check(reap() >= 0);
	t_sweep_check(!seen->returned || (seen->result == 0 && !len_of(*mine)));
	sound(seen);
}

static void reaped(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 1);
	sound(seen);
}

#define ALLOC(op, state, setup, victim) \
	T_SWEEP(op, state, setup, victim, allocated, .arrive = arrive, .recover = reap_and_alloc)
#define OTHER(op, state, setup, victim, check) \
	T_SWEEP(op, state, setup, victim, check, .arrive = arrive, .recover = reap_and_alloc)
#define RACE(op, setup, victim, check) \
	T_SWEEP(op " against memory", "full", setup, victim, check, .arrive = arrive, \
		.peer = extend, .flags = T_SWEEP_RESUME)

static const struct t_sweep_case cases[] = {
	ALLOC("alloc 3 pages", "full", full, alloc_3_pages),
	ALLOC("alloc 64", "slab full", slab_full, alloc_64),
	ALLOC("alloc 100 pages", "free at the end", free_at_the_end, alloc_100_pages),
	ALLOC("alloc 100 pages", "far to go", full_and_far_to_go, alloc_100_pages),
	ALLOC("alloc 3 pages", "published, no pages", published_and_no_pages, alloc_3_pages),
	ALLOC("alloc 3 pages", "memory beyond the end", memory_beyond_the_end, alloc_3_pages),
	ALLOC("alloc 3 pages", "owner of runs dead", owner_of_runs_dead, alloc_3_pages),
	ALLOC("alloc 3 pages", "grown unnoticed", grown_unnoticed, alloc_3_pages),
	ALLOC("alloc 3 pages", "residue unnoticed", residue_unnoticed, alloc_3_pages),
	ALLOC("alloc 3 pages", "grown across", grown_across_unnoticed, alloc_3_pages),
	ALLOC("alloc 3 pages", "free across", free_across_unnoticed, alloc_3_pages),
	OTHER("free", "grown unnoticed", grown_unnoticed, free_mine, freed),
	OTHER("free", "grown across", grown_across_unnoticed, free_mine, freed),
	OTHER("adopt", "grown unnoticed", grown_unnoticed, adopt_mine, adopted),
	OTHER("reap", "residue unnoticed", residue_unnoticed, reap, reaped),
	OTHER("grow", "fresh", fresh, grow, done),
	OTHER("grow", "full", full, grow, done),
	RACE("alloc 3 pages", full, alloc_3_pages, allocated),
	RACE("grow", full, grow, done),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "segment_grow", cases, sizeof(cases) / sizeof(cases[0]));
}
