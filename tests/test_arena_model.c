/* SPDX-License-Identifier: MIT */

/*
 * The arena filled to the last byte, beside a model, by several at a time, and
 * scribbled over
 */

#include "shm/arena.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/participant.h"
#include "shm/arena_inside.h"
#include "shm/arena_layout.h"
#include "tests/support/arena_calls.h"
#include "tests/support/child.h"

static int setup(void **state)
{
	(void)state;
	return t_arena_open(&a, 8, 32, PAGES);
}

static int teardown(void **state)
{
	(void)state;
	t_arena_close(&a);
	return 0;
}

/* As many blocks of @len as there are. Return: how many. */
static size_t exhaust(uint64_t len, uint64_t *off, size_t max)
{
	size_t n = 0;
	int r;

	while ((r = alloc(len, &off[n])) == 0) {
		memset(mem(off[n]), 0xff, len);
		n++;
		assert_true(n < max);
	}
	assert_int_equal(r, -ENOSPC);
	return n;
}

static void exhausted_arena_gives_every_byte_back(void **state)
{
	uint64_t *off = malloc((BYTES / 64 + 1) * sizeof(*off));
	uint64_t seed = t_seed();

	(void)state;
	assert_non_null(off);
	for (uint64_t len = 64; len <= 4 * PAGE; len *= 2) {
		size_t n = exhaust(len, off, BYTES / 64 + 1);

		/* A word for each block is what small ones cost: an eighth at most. */
		assert_true(n * len >= BYTES * 85 / 100);
		assert_true(used() >= n * len);
		for (size_t left = n; left > 0; left--) {
			size_t i = t_random(&seed) % left;

			assert_int_equal(release(off[i]), 0);
			off[i] = off[left - 1];
		}
		assert_int_equal(used(), 0);
		assert_all_free();
	}
	free(off);
}

static void freed_memory_serves_other_sizes_before_there_is_no_room(void **state)
{
	uint64_t *off = malloc((BYTES / 64 + 1) * sizeof(*off));
	uint64_t big;
	size_t n;

	(void)state;
	assert_non_null(off);
	n = exhaust(64, off, BYTES / 64 + 1);
	/* Every block of the second half goes: whole slabs, though nobody gave them back. */
	for (size_t i = n / 2; i < n; i++)
		assert_int_equal(release(off[i]), 0);
	assert_int_equal(alloc(BYTES / 4, &big), 0);
	assert_int_equal(release(big), 0);
	for (size_t i = 0; i < n / 2; i++)
		assert_int_equal(release(off[i]), 0);
	assert_all_free();
	free(off);
}

static void largest_run_is_found_among_many(void **state)
{
	uint64_t off[PAGES / 20], hole[PAGES / 20], big;

	(void)state;
	/* Holes of 17 to 19 pages share a list: whatever fits must be found in it. */
	for (size_t i = 0; i < PAGES / 20; i++) {
		assert_int_equal(alloc((17 + (i == 20 ? 2 : i % 2)) * PAGE, &hole[i]), 0);
		assert_int_equal(alloc(PAGE, &off[i]), 0);
	}
	while (alloc(PAGE, &big) == 0)
		;
	for (size_t i = 0; i < PAGES / 20; i++)
		assert_int_equal(release(hole[i]), 0);
	assert_int_equal(alloc(19 * PAGE, &big), 0);
	assert_int_equal(big, hole[20]);
	assert_int_equal(alloc(19 * PAGE, &big), -ENOSPC);
}

/*
 * The model: blocks in use, each filled with a byte of its own from end to end.
 */
#define MODEL 600

struct model {
	uint64_t off, len;
	unsigned char fill;
	bool published;
};

static void model_verify(const struct model *m)
{
	for (uint64_t k = 0; k < m->len; k++)
		assert_int_equal((unsigned char)mem(m->off)[k], m->fill);
}

static void model_alloc(struct model *m, uint64_t *seed)
{
	uint64_t len = t_random(seed) % (t_random(seed) % 10 ? 3000 : 60000);
	int r;

	r = alloc(len, &m->off);
	if (r == -ENOSPC)
		return;
	assert_int_equal(r, 0);
	m->len = mproc__arena_len(&a.segment, m->off);
	assert_true(m->len >= len);
	m->fill = (unsigned char)t_random(seed);
	m->published = false;
	memset(mem(m->off), m->fill, m->len);
}

static void model_step(struct model *m, uint64_t *seed)
{
	if (!m->len) {
		model_alloc(m, seed);
		return;
	}
	switch (t_random(seed) % 3) {
	case 0:
		assert_int_equal(publish(m->off), m->published ? -ESTALE : 0);
		m->published = true;
		break;
	case 1:
		assert_int_equal(adopt(m->off), m->published ? 0 : -ESTALE);
		m->published = false;
		break;
	default:
		model_verify(m);
		assert_int_equal(release(m->off), 0);
		assert_int_equal(release(m->off), -ESTALE);
		m->len = 0;
	}
}

static void any_sequence_of_calls_agrees_with_the_model(void **state)
{
	struct model *model = calloc(MODEL, sizeof(*model));
	size_t steps = t_long() ? 2000000 : 60000;
	uint64_t seed = t_seed();

	(void)state;
	assert_non_null(model);
	for (size_t i = 0; i < steps; i++) {
		struct mproc__arena_stats stats;
		uint64_t sum = 0, n = 0;

		model_step(&model[t_random(&seed) % MODEL], &seed);
		if (i % 1000)
			continue;
		for (size_t k = 0; k < MODEL; k++) {
			sum += model[k].len;
			n += model[k].len != 0;
		}
		mproc__arena_stats(&a.segment, &stats);
		assert_int_equal(stats.used, sum);
		assert_int_equal(stats.n_blocks, n);
	}
	for (size_t k = 0; k < MODEL; k++) {
		if (!model[k].len)
			continue;
		model_verify(&model[k]);
		assert_int_equal(release(model[k].off), 0);
	}
	assert_all_free();
	free(model);
}

struct worker {
	struct mproc__identity *identity;
	uint64_t seed;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t off[32] = { 0 };

	mproc__identity_act(w->identity);
	for (int i = 0; i < 20000; i++) {
		uint64_t *slot = &off[t_random(&w->seed) % 32];
		uint64_t len = 1 + t_random(&w->seed) % (i % 8 ? 600 : 9000);

		if (*slot) {
			if (*(uint64_t *)(void *)mem(*slot) != (*slot ^ (uintptr_t)w))
				return "another wrote into our block";
			if (release(*slot) < 0)
				return "our block was not ours";
			*slot = 0;
		} else if (alloc(len, slot) == 0) {
			*(uint64_t *)(void *)mem(*slot) = *slot ^ (uintptr_t)w;
		}
	}
	for (int i = 0; i < 32; i++)
		if (off[i] && release(off[i]) < 0)
			return "our block was not ours";
	mproc__identity_act(NULL);
	return NULL;
}

static void threads_as_participants_never_share_a_block(void **state)
{
	struct worker w[3];
	pthread_t threads[3];
	void *said;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(mproc__identity_new(&w[i].identity, a.range.range), 0);
		w[i].seed = t_seed() + i;
	}
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, &w[i]), 0);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(threads[i], &said), 0);
		if (said)
			fail_msg("%s", (const char *)said);
	}
	for (size_t i = 0; i < 3; i++)
		mproc__identity_kill(w[i].identity);
	assert_int_equal(a.range.range->reg->heals, 0);
	assert_all_free();
}

static void copy_of_the_arena_tells_what_the_arena_tells(void **state)
{
	uint64_t room = a.section, off, slab_free = 0;
	struct mproc__arena_geometry g = { 0 };
	struct mproc__arena_stats stats;
	struct mproc__arena_look look;
	struct mproc__arena_run run = { 0 };
	struct mproc__arena *copy;

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(alloc((uint64_t)i * 50, &off), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(alloc(5000, &off), 0);
		assert_int_equal(publish(off), 0);
	}
	copy = malloc(room);
	assert_non_null(copy);
	memcpy(copy, a.segment.arena, room);
	assert_true(mproc__arena_geometry_check(copy, room, a.range.size, &g));
	assert_false(mproc__arena_geometry_check(copy, room / 2, a.range.size, &g));
	assert_false(mproc__arena_geometry_check(copy, room, a.range.size - 1, &g));
	assert_true(mproc__arena_geometry_check(copy, room, a.range.size, &g));
	mproc__arena_look(&g, copy->pages, &look);
	assert_int_equal(look.n_used, 6);
	assert_int_equal(look.n_lost, 0);
	assert_int_equal(look.n_free + look.n_private + look.n_used + look.n_slab + look.n_tables,
			 PAGES);
	for (uint32_t page = 0; page < PAGES; page += run.n_pages) {
		struct mproc__arena_blocks blocks;

		assert_true(mproc__arena_run_look(&g, page, copy->pages[page].word,
						  copy->pages[page].link, &run));
		if (run.state != MPROC__ARENA_SLAB)
			continue;
		mproc__arena_blocks_look((void *)(a.range.base + g.off + run.table), run.class,
					 &blocks);
		assert_int_equal(blocks.n_impossible, 0);
		slab_free += blocks.n_free * mproc__arena_class_size(run.class);
	}
	mproc__arena_stats(&a.segment, &stats);
	assert_int_equal(stats.free, look.n_free * PAGE + slab_free);
	assert_int_equal(stats.largest_free, look.largest_free * PAGE);
	free(copy);
}

static void use_what_is_scribbled_over(void *arg)
{
	uint64_t seed = *(uint64_t *)arg, off[64] = { 0 };
	size_t words = a.section / 8;
	_Atomic(uint64_t) *section = (void *)a.segment.arena;

	for (int i = 0; i < 400; i++) {
		uint64_t *slot = &off[t_random(&seed) % 64];
		uint64_t len = t_random(&seed) % (i % 4 ? 2500 : 50000);

		/* Bits of lists, words, current slabs; never those of the locks' owners. */
		if (i % 8 == 0) {
			size_t w = sizeof(struct mproc__arena) / 8 +
				   t_random(&seed) % (words - sizeof(struct mproc__arena) / 8);

			if (i % 16)
				w = offsetof(struct mproc__arena, births) / 8 +
				    t_random(&seed) % 60;
			section[w] ^= UINT64_C(1) << t_random(&seed) % 64;
		}
		if (*slot) {
			(void)release(*slot);
			*slot = 0;
		} else if (alloc(len, slot) == 0) {
			t_check(*slot <= a.range.size && a.range.size - *slot >= len);
			(void)publish(*slot);
		} else {
			*slot = 0;
		}
		(void)mproc__arena_at(&a.segment, t_random(&seed) % a.range.size, 100);
	}
	(void)used();
}

/* A slab of the last class has 8 blocks; its shard's hints have 64 bits, its table 64 words. */
static void hints_beyond_a_slab_are_not_followed(void **state)
{
	struct mproc__arena_view v = mproc__arena_view(&a.segment, t_arena_me(&a));
	struct mproc__arena_shard *shard = NULL;
	const uint32_t class = MPROC__ARENA_CLASSES - 1;
	struct mproc__arena_table *table;
	uint64_t off, first;
	uint32_t page;

	(void)state;
	assert_int_equal(alloc(MPROC__ARENA_SMALL_MAX, &off), 0);
	for (uint32_t i = 0; i < v.at->n_shards; i++)
		if (atomic_load(&v.at->arena->shards[i].current[class]))
			shard = &v.at->arena->shards[i];
	assert_non_null(shard);
	page = atomic_load(&shard->current[class]) - 1;
	first = v.at->off + (uint64_t)page * PAGE;
	table = mproc__arena_slab_table(&v, page);
	for (uint32_t i = mproc__arena_class_blocks(class); i < MPROC__ARENA_WORDS; i++)
		atomic_store(&table->words[i], mproc__arena_word(1, 0, MPROC__ARENA_FREE));
	atomic_store(&shard->free[class], ~UINT64_C(0) << mproc__arena_class_blocks(class));
	assert_int_equal(alloc(MPROC__ARENA_SMALL_MAX, &off), 0);
	assert_true(off >= first && off < first + UINT64_C(4) * PAGE);
}

static void scribbled_arena_neither_crashes_nor_hangs(void **state)
{
	uint64_t seed = t_seed();
	int rounds = t_long() ? 2000 : 100;

	for (int i = 0; i < rounds; i++, seed++) {
		assert_int_equal(t_reap(t_spawn(use_what_is_scribbled_over, &seed)), 0);
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(exhausted_arena_gives_every_byte_back),
		TEST(freed_memory_serves_other_sizes_before_there_is_no_room),
		TEST(largest_run_is_found_among_many),
		TEST(any_sequence_of_calls_agrees_with_the_model),
		TEST(threads_as_participants_never_share_a_block),
		TEST(copy_of_the_arena_tells_what_the_arena_tells),
		TEST(hints_beyond_a_slab_are_not_followed),
		TEST(scribbled_arena_neither_crashes_nor_hangs),
	};

	return cmocka_run_group_tests_name("arena model", tests, NULL, NULL);
}
