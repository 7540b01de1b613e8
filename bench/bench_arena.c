/* SPDX-License-Identifier: MIT */

/*
 * Blocks of a segment, beside malloc(3), which no other process can see, and
 * Boost.Interprocess, whose segments nobody survives who holds their mutex
 *
 * Every block is written to and looked at again before it is freed: an allocator that
 * gives one block to two is no peer.
 */

#include <inttypes.h>
#include <sched.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mproc/arena.h>

#include "bench/bench.h"
#ifdef HAVE_BOOST
#include "bench/boost.h"
#endif

#define ARENA_BYTES (UINT64_C(1) << 30)
#define LIVE        1000u
#define OPERATIONS  10000000u

/* One of the allocators. */
struct way {
	void *(*alloc)(size_t len); /* NULL: no room */
	void (*free)(void *block);
	void (*publish)(void *block); /* or NULL: anybody may free it */
};

static mproc_segment *segment;

static void *mproc_way_alloc(size_t len)
{
	void *block;

	return mproc_arena_alloc(&block, segment, len) < 0 ? NULL : block;
}

static void mproc_way_free(void *block)
{
	bench_check(mproc_arena_free(segment, block) == 0);
}

static void mproc_way_publish(void *block)
{
	bench_check(mproc_arena_publish(segment, block) == 0);
}

static const struct way *mproc_way(void)
{
	static const struct way way = { mproc_way_alloc, mproc_way_free, mproc_way_publish };

	bench_check(mproc_segment_create(&segment, NULL,
					 MPROC_SEGMENT_OPTS(.bytes = ARENA_BYTES)) == 0);
	return &way;
}

static const struct way *malloc_way(void)
{
	static const struct way way = { malloc, free, NULL };

	return &way;
}

#ifdef HAVE_BOOST
static const struct way *boost_way(void)
{
	static const struct way way = { bench_boost_alloc, bench_boost_free, NULL };

	bench_check(bench_boost_open(ARENA_BYTES) == 0);
	return &way;
}
#endif

static const struct way *way_of(const struct bench_case *c)
{
#ifdef HAVE_BOOST
	if (!strcmp(c->peer, "Boost.Interprocess"))
		return boost_way();
#endif
	return strcmp(c->peer, "mproc") ? malloc_way() : mproc_way();
}

struct pair {
	const struct way *way;
	size_t len;
};

static void alloc_and_free(void *arg)
{
	const struct pair *pair = arg;
	/* What the compiler cannot know is not done for, as a malloc() and free() would be. */
	void *volatile block = pair->way->alloc(pair->len);

	pair->way->free(block);
}

static double run_pair(const struct bench_case *c)
{
	struct pair pair = { way_of(c), (size_t)c->size };

	bench_pin(0);
	return bench_call_ns(alloc_and_free, &pair, 1000);
}

static uint64_t pairs_until(const _Atomic(uint32_t) *stop, void *arg)
{
	uint64_t n = 0;

	for (; !atomic_load_explicit(stop, memory_order_relaxed); n++)
		alloc_and_free(arg);
	return n;
}

static double run_pairs(const struct bench_case *c)
{
	struct pair pair = { way_of(c), (size_t)c->size };

	return bench_rate(c->procs, pairs_until, &pair, NULL);
}

/* Random sizes, most of them small, with many blocks in use. */

static uint64_t random_of(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* As many of 16 to 31 bytes as of 1,024 to 2,047; one in ten of up to 64 KiB. */
static size_t some_len(uint64_t *seed)
{
	uint64_t dice = random_of(seed);
	unsigned power = 4 + (unsigned)(dice >> 8) % (dice % 10 ? 7 : 12);

	return ((size_t)1 << power) + (size_t)(dice >> 20) % ((size_t)1 << power);
}

struct live {
	uint64_t *block;
	size_t len;
};

static void step(const struct way *way, struct live *live, uint64_t *seed)
{
	if (live->block) {
		bench_check(live->block[0] == (uintptr_t)live->block &&
			    live->block[1] == live->len);
		way->free(live->block);
		live->block = NULL;
		return;
	}
	live->len = some_len(seed);
	live->block = way->alloc(live->len);
	bench_check(live->block);
	live->block[0] = (uintptr_t)live->block;
	live->block[1] = live->len;
}

static uint64_t steps_until(const _Atomic(uint32_t) *stop, void *arg)
{
	static struct live live[LIVE];
	uint64_t seed = 88172645463325252u ^ (uint64_t)mproc_now(), n = 0;
	const struct way *way = arg;

	for (; !atomic_load_explicit(stop, memory_order_relaxed); n++)
		step(way, &live[random_of(&seed) % LIVE], &seed);
	return n;
}

static double run_steps(const struct bench_case *c)
{
	return bench_rate(c->procs, steps_until, (void *)(uintptr_t)way_of(c), NULL);
}

/* Across: one allocates, another frees. */

#define RING 256u

struct ring {
	alignas(128) _Atomic(uint64_t) put;
	alignas(128) _Atomic(uint64_t) got;
	void *blocks[RING];
	const struct way *way;
	_Atomic(uint32_t) roles;
};

static uint64_t cross_until(const _Atomic(uint32_t) *stop, void *arg)
{
	struct ring *ring = arg;
	uint32_t role = atomic_fetch_add(&ring->roles, 1);
	uint64_t n = 0, seed = 88172645463325252u;

	while (!atomic_load_explicit(stop, memory_order_relaxed)) {
		uint64_t put = atomic_load_explicit(&ring->put, memory_order_acquire);
		uint64_t got = atomic_load_explicit(&ring->got, memory_order_acquire);
		void *block;

		if (role ? put == got : put - got == RING) {
			sched_yield();
		} else if (role) {
			block = ring->blocks[got % RING];
			ring->way->free(block);
			atomic_store_explicit(&ring->got, got + 1, memory_order_release);
			n++;
		} else {
			block = ring->way->alloc(16 + random_of(&seed) % 2000);
			bench_check(block);
			if (ring->way->publish)
				ring->way->publish(block);
			ring->blocks[put % RING] = block;
			atomic_store_explicit(&ring->put, put + 1, memory_order_release);
		}
	}
	return n;
}

static double run_cross(const struct bench_case *c)
{
	struct ring *ring = bench_shared(sizeof(*ring));

	ring->way = way_of(c);
	return bench_rate(c->procs, cross_until, ring, NULL);
}

/* After many random operations: how much of what is taken was asked for? */

struct fragments {
	double asked; /* bytes */
	double taken;
	double free;
	double largest;
};

static void fragment(const struct bench_case *c, struct fragments *ret)
{
	const char *more = getenv("MPROC_BENCH_LONG");
	const struct way *way = way_of(c);
	static struct live live[10 * LIVE];
	uint64_t seed = 88172645463325252u, n = OPERATIONS;

	if (more)
		n *= 10;
	while (n--)
		step(way, &live[random_of(&seed) % (10 * LIVE)], &seed);
	for (size_t i = 0; i < 10 * LIVE; i++)
		ret->asked += live[i].block ? (double)live[i].len : 0;
}

static void look_at_mproc(struct fragments *ret)
{
	struct mproc_arena_stats stats = MPROC_ARENA_STATS;

	bench_check(mproc_arena_stats(segment, &stats) == 0);
	bench_check(mproc_arena_check(segment, MPROC_FOREVER) == 0);
	ret->taken = (double)(stats.used + stats.tables);
	/* What lies free among small blocks is taken as well: other sizes cannot have it. */
	for (unsigned i = 0; i + 1 < MPROC_ARENA_CLASSES; i++)
		ret->taken += (double)(stats.classes[i].n_free * stats.classes[i].len);
	ret->free = (double)stats.bytes - ret->taken;
	ret->largest = (double)stats.largest_free;
}

static double asked_mproc(const struct bench_case *c)
{
	struct fragments f = { 0 };

	fragment(c, &f);
	look_at_mproc(&f);
	return f.asked / f.taken;
}

static double largest_mproc(const struct bench_case *c)
{
	struct fragments f = { 0 };

	fragment(c, &f);
	look_at_mproc(&f);
	return f.largest / f.free;
}

#ifdef HAVE_BOOST
static double asked_boost(const struct bench_case *c)
{
	struct fragments f = { 0 };

	fragment(c, &f);
	return f.asked / (double)bench_boost_taken();
}
#endif

#define PAIR   "alloc and free", "ns"
#define PAIRS  "alloc and free", "/s"
#define STEPS  "random sizes, 1000 live each", "/s"
#define ACROSS "freed by another process", "/s"
#define ASKED  "asked over taken after 1e7", "ratio"
#define WHOLE  "largest free over free after 1e7", "ratio"
#define HALF   ">= 0.5x glibc malloc"
#define FIVE   ">= 5x Boost.Interprocess"

#define AGAINST_MALLOC(size) \
	{ "arena", "mproc", "", size, 1, PAIR, HALF, false, run_pair }, \
	{ \
		"arena", "glibc malloc", "", size, 1, PAIR, NULL, false, run_pair \
	}

static const struct bench_case cases[] = {
	AGAINST_MALLOC(16),
	AGAINST_MALLOC(64),
	AGAINST_MALLOC(256),
	AGAINST_MALLOC(1024),
	AGAINST_MALLOC(2048),
	AGAINST_MALLOC(4096),
	AGAINST_MALLOC(65536),
	AGAINST_MALLOC(1 << 20),
	{ "arena", "mproc", "", 64, 4, PAIRS, FIVE, false, run_pairs },
	{ "arena", "glibc malloc", "private memory", 64, 4, PAIRS, NULL, false, run_pairs },
	{ "arena", "mproc", "", 0, 4, STEPS, FIVE, false, run_steps },
	{ "arena", "glibc malloc", "private memory", 0, 4, STEPS, NULL, false, run_steps },
	{ "arena", "mproc", "", 0, 2, ACROSS, NULL, false, run_cross },
	{ "arena", "mproc", "", 0, 1, ASKED, NULL, false, asked_mproc },
	{ "arena", "mproc", "", 0, 1, WHOLE, NULL, false, largest_mproc },
#ifdef HAVE_BOOST
	{ "arena", "Boost.Interprocess", "", 64, 4, PAIRS, NULL, false, run_pairs },
	{ "arena", "Boost.Interprocess", "", 0, 4, STEPS, NULL, false, run_steps },
	{ "arena", "Boost.Interprocess", "", 0, 2, ACROSS, NULL, false, run_cross },
	{ "arena", "Boost.Interprocess", "", 0, 1, ASKED, NULL, false, asked_boost },
#endif
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
