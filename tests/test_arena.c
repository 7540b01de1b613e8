/* SPDX-License-Identifier: MIT */

/*
 * shm/arena.h, seen from the rooms above
 */

#include "shm/arena.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/common.h>
#include <mproc/error.h>

#include "ipc/participant.h"
#include "shm/arena_inside.h"
#include "tests/support/arena_calls.h"
#include "tests/support/child.h"

/* What processes of a test tell each other. */
static struct {
	_Atomic(uint64_t) off[8];
	_Atomic(int) ready;
} * told;

static int setup(void **state)
{
	(void)state;
	told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (told == MAP_FAILED)
		return -1;
	return t_arena_open(&a, 8, 32, PAGES);
}

static int teardown(void **state)
{
	(void)state;
	t_arena_close(&a);
	munmap(told, 4096);
	return 0;
}

static void fresh_arena_gives_all_it_has_in_one_block(void **state)
{
	uint64_t off, other;

	(void)state;
	assert_int_equal(alloc(BYTES, &off), 0);
	assert_int_equal(mproc__arena_len(&a.segment, off), BYTES);
	memset(mem(off), 0xff, BYTES);
	assert_int_equal(alloc(1, &other), -ENOSPC);
	assert_int_equal(release(off), 0);
	assert_all_free();
}

static void full_arena_names_what_was_wanted_and_what_is_left(void **state)
{
	uint64_t off, other = 4711;

	(void)state;
	assert_int_equal(alloc(BYTES - 3 * PAGE, &off), 0);
	assert_int_equal(alloc(5 * PAGE, &other), -ENOSPC);
	assert_string_equal(mproc_error_text(),
			    "alloc: 20 KiB (20480 B) wanted, the largest free block has 12 KiB of "
			    "2 MiB, at most 2 MiB: it is as large as it may become");
	assert_int_equal(alloc(UINT64_MAX, &other), -ENOSPC);
	assert_int_equal(alloc(BYTES + 1, &other), -ENOSPC);
	assert_int_equal(other, 4711);
	assert_int_equal(alloc(3 * PAGE, &other), 0);
	assert_int_equal(alloc(1, &other), -ENOSPC);
	assert_string_equal(mproc_error_text(),
			    "alloc: 1 B (1 B) wanted, the largest free block has 0 B of "
			    "2 MiB, at most 2 MiB: it is as large as it may become");
}

static void blocks_are_aligned_disjoint_and_long_enough(void **state)
{
	static const uint64_t lens[] = { 0,    1,    63,   64,   65,   128,  129,  255,
					 256,  257,  500,  1024, 1025, 2047, 2048, 2049,
					 4095, 4096, 4097, 8192, 8193, 70000 };
	enum { N = sizeof(lens) / sizeof(lens[0]) };
	uint64_t off[N];

	(void)state;
	for (size_t i = 0; i < N; i++) {
		assert_int_equal(alloc(lens[i], &off[i]), 0);
		assert_int_equal(off[i] % 64, 0);
		assert_true(mproc__arena_len(&a.segment, off[i]) >= lens[i]);
		memset(mem(off[i]), (int)i + 1, mproc__arena_len(&a.segment, off[i]));
	}
	for (size_t i = 0; i < N; i++) {
		uint64_t len = mproc__arena_len(&a.segment, off[i]);

		for (uint64_t k = 0; k < len; k++)
			assert_int_equal(mem(off[i])[k], (char)(i + 1));
		assert_int_equal(release(off[i]), 0);
	}
	assert_all_free();
}

static void block_is_zeroed_when_asked(void **state)
{
	static const uint64_t lens[] = { 40, 2000, 9000 };
	uint64_t off;

	(void)state;
	assert_int_equal(alloc(BYTES, &off), 0);
	memset(mem(off), 0xff, BYTES);
	assert_int_equal(release(off), 0);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(
			mproc__arena_alloc(&a.segment, t_arena_me(&a), lens[i], true, &off), 0);
		for (uint64_t k = 0; k < mproc__arena_len(&a.segment, off); k++)
			assert_int_equal(mem(off)[k], 0);
		assert_int_equal(release(off), 0);
	}
}

static void last_bytes_serve_small_blocks_as_well(void **state)
{
	uint64_t all, off, small;

	(void)state;
	/* One page: no room for a slab and its table. */
	assert_int_equal(alloc(BYTES - PAGE, &all), 0);
	assert_int_equal(alloc(64, &off), 0);
	assert_int_equal(alloc(64, &small), -ENOSPC);
	assert_int_equal(release(off), 0);
	assert_int_equal(release(all), 0);

	/* A larger block's slab, when nothing else is left. */
	assert_int_equal(alloc(2048, &small), 0);
	assert_int_equal(alloc(BYTES - 8 * PAGE, &all), 0);
	while (alloc(PAGE, &off) == 0)
		;
	assert_int_equal(alloc(64, &off), 0);
	assert_int_equal(mproc__arena_len(&a.segment, off), 2048);
}

static void free_neighbours_become_one(void **state)
{
	uint64_t off[8], all;

	(void)state;
	/* Freed in every order of three: joined with what lies before, behind, both. */
	for (int order = 0; order < 6; order++) {
		static const int orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
						  { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };

		for (int i = 0; i < 3; i++)
			assert_int_equal(alloc(BYTES / 4, &off[i]), 0);
		assert_int_equal(alloc(BYTES / 4, &off[3]), 0);
		for (int i = 0; i < 3; i++)
			assert_int_equal(release(off[orders[order][i]]), 0);
		assert_int_equal(alloc(BYTES / 4 * 3, &all), 0);
		assert_int_equal(release(all), 0);
		assert_int_equal(release(off[3]), 0);
		assert_all_free();
	}
}

static void references_lie_within_one_block_in_use(void **state)
{
	uint64_t small, large;

	(void)state;
	assert_int_equal(alloc(256, &small), 0);
	assert_int_equal(alloc(3 * PAGE, &large), 0);
	assert_ptr_equal(mproc__arena_at(&a.segment, small, 256), mem(small));
	assert_ptr_equal(mproc__arena_at(&a.segment, small + 255, 1), mem(small + 255));
	assert_ptr_equal(mproc__arena_at(&a.segment, small + 256, 0), NULL);
	assert_null(mproc__arena_at(&a.segment, small, 257));
	assert_null(mproc__arena_at(&a.segment, small + 1, 256));
	assert_null(mproc__arena_at(&a.segment, small, UINT64_MAX));
	assert_ptr_equal(mproc__arena_at(&a.segment, large + PAGE + 5, 2 * PAGE - 5),
			 mem(large + PAGE + 5));
	assert_null(mproc__arena_at(&a.segment, large + PAGE + 5, 2 * PAGE - 4));
	assert_null(mproc__arena_at(&a.segment, 0, 1));
	assert_null(mproc__arena_at(&a.segment, UINT64_MAX, 1));
	assert_null(mproc__arena_at(&a.segment, a.range.size, 0));
	assert_int_equal(release(large), 0);
	assert_null(mproc__arena_at(&a.segment, large, 1));
	assert_null(mproc__arena_at(&a.segment, large + PAGE, 1));
	assert_int_equal(release(small), 0);
	assert_null(mproc__arena_at(&a.segment, small, 1));
}

static char *image_of(void)
{
	char *image = malloc(a.range.room_len);

	assert_non_null(image);
	memcpy(image, a.range.room, a.range.room_len);
	return image;
}

static void misuse_is_refused_and_changes_nothing(void **state)
{
	uint64_t small, large, freed[2], wrong[16];
	size_t n = 0;
	char *image;

	(void)state;
	assert_int_equal(alloc(128, &small), 0);
	assert_int_equal(alloc(3 * PAGE, &large), 0);
	assert_int_equal(alloc(128, &freed[0]), 0);
	assert_int_equal(alloc(PAGE, &freed[1]), 0);
	memset(mem(large), 0x33, 3 * PAGE); /* no word of a block */
	assert_int_equal(release(freed[0]), 0);
	assert_int_equal(release(freed[1]), 0);

	wrong[n++] = freed[0]; /* twice */
	wrong[n++] = freed[1];
	wrong[n++] = small + 64; /* inside */
	wrong[n++] = small + 1;
	wrong[n++] = large + PAGE;
	wrong[n++] = large + 8;
	wrong[n++] = small + 256; /* a free block */
	wrong[n++] = (uint64_t)((char *)a.segment.arena - a.range.base);
	wrong[n++] = 0;
	wrong[n++] = a.range.size;
	wrong[n++] = UINT64_MAX;
	wrong[n++] = a.range.size - PAGE; /* a free page */
	image = image_of();
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(release(wrong[i]), -ESTALE);
		assert_int_equal(publish(wrong[i]), -ESTALE);
		assert_int_equal(adopt(wrong[i]), -ESTALE);
		assert_int_equal(mproc__arena_seize(&a.segment, t_arena_me(&a), wrong[i]), -ESTALE);
		assert_int_equal(mproc__arena_disown(&a.segment, 0, wrong[i]), -ESTALE);
		assert_int_equal(mproc__arena_len(&a.segment, wrong[i]), 0);
	}
	assert_int_equal(adopt(small), -ESTALE); /* private, if to ourselves */
	assert_memory_equal(image, a.range.room, a.range.room_len);
	free(image);

	assert_int_equal(publish(small), 0);
	assert_int_equal(publish(small), -ESTALE);
	assert_int_equal(publish(large), 0);
	assert_int_equal(publish(large), -ESTALE);
	assert_int_equal(release(small), 0);
	assert_int_equal(release(large), 0);
	assert_int_equal(release(large), -ESTALE);
	assert_all_free();
}

static void touch_what_is_not_ours(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		t_check(release(told->off[i]) == -ESTALE);
		t_check(publish(told->off[i]) == -ESTALE);
		t_check(adopt(told->off[i]) == -ESTALE);
		t_check(mproc__arena_len(&a.segment, told->off[i]) != 0);
	}
}

static void private_blocks_are_out_of_reach_for_other_processes(void **state)
{
	(void)state;
	assert_int_equal(alloc(100, (uint64_t *)&told->off[0]), 0);
	assert_int_equal(alloc(9000, (uint64_t *)&told->off[1]), 0);
	assert_int_equal(t_reap(t_spawn(touch_what_is_not_ours, NULL)), 0);
	assert_int_equal(release(told->off[0]), 0);
	assert_int_equal(release(told->off[1]), 0);
	assert_all_free();
}

static void keep_some_and_die(void *arg)
{
	uint64_t off;

	(void)arg;
	for (int i = 0; i < 4; i++) {
		t_check(alloc(i % 2 ? 100 : 9000, &off) == 0);
		t_check(publish(off) == 0);
		memset(mem(off), i + 1, 100);
		told->off[i] = off;
	}
	for (int i = 0; i < 500; i++)
		t_check(alloc((uint64_t)i * 8, &off) == 0);
	/* Took the first back, and died with it. */
	t_check(adopt(told->off[0]) == 0);
	t_check(adopt(told->off[1]) == 0);
	raise(SIGKILL);
}

static void what_was_private_dies_with_its_process_and_the_rest_stays(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(keep_some_and_die, NULL)), SIGKILL);
	assert_true(used() > 500 * 64);
	assert_int_equal(mproc__reap_all(a.range.range), 1);
	assert_int_equal(mproc__arena_len(&a.segment, told->off[0]), 0);
	assert_int_equal(mproc__arena_len(&a.segment, told->off[1]), 0);
	assert_int_equal(used(), 3 * PAGE + 128);
	for (int i = 2; i < 4; i++) {
		assert_int_equal(mem(told->off[i])[99], i + 1);
		assert_int_equal(release(told->off[i]), 0);
	}
	assert_all_free();
}

static void take_everything_and_die(void *arg)
{
	uint64_t off;

	if (arg) {
		while (alloc(1000, &off) == 0)
			;
	} else {
		t_check(alloc(BYTES, &off) == 0);
	}
	raise(SIGKILL);
}

static void dead_are_reaped_before_there_is_no_room(void **state)
{
	uint64_t off;

	(void)state;
	assert_int_equal(t_reap(t_spawn(take_everything_and_die, NULL)), SIGKILL);
	assert_int_equal(alloc(100, &off), 0);
	assert_int_equal(release(off), 0);
	assert_int_equal(t_reap(t_spawn(take_everything_and_die, told)), SIGKILL);
	assert_int_equal(alloc(BYTES, &off), 0);
	assert_int_equal(release(off), 0);
}

static void take_some_and_stay(void *arg)
{
	uint64_t off;

	(void)arg;
	for (int i = 0; i < 2; i++) {
		t_check(alloc(i ? 9000 : 100, &off) == 0);
		told->off[i] = off;
	}
	atomic_store(&told->ready, 1);
	for (;;)
		pause();
}

static bool is_ready(void *arg)
{
	(void)arg;
	return atomic_load(&told->ready) == 1;
}

static void stopped_process_keeps_what_is_private_to_it(void **state)
{
	pid_t pid = t_spawn(take_some_and_stay, NULL);

	(void)state;
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(5000)));
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(mproc__reap_all(a.range.range), 0);
	assert_int_equal(used(), 128 + 3 * PAGE);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_int_equal(mproc__reap_all(a.range.range), 1);
	assert_all_free();
}

static void lock_runs_and_stay(void *arg)
{
	struct mproc__arena_view v = mproc__arena_view(&a.segment, t_arena_me(&a));

	(void)arg;
	t_check(mproc__arena_runs_lock(&v) == 0);
	atomic_store(&told->ready, 1);
	for (;;)
		pause();
}

static void nobody_waits_for_a_stopped_process_to_free(void **state)
{
	uint64_t mine, off;
	pid_t pid, dead;

	(void)state;
	assert_int_equal(alloc(9000, &mine), 0);
	pid = t_spawn(lock_runs_and_stay, NULL);
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(5000)));
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(release(mine), 0);
	assert_int_equal(used(), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_int_equal(alloc(BYTES, &off), 0);
	assert_int_equal(release(off), 0);

	/* Nor does a reaper. */
	atomic_store(&told->ready, 0);
	dead = t_spawn(take_some_and_stay, NULL);
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(5000)));
	atomic_store(&told->ready, 0);
	pid = t_spawn(lock_runs_and_stay, NULL);
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(5000)));
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(kill(dead, SIGKILL), 0);
	assert_int_equal(t_reap(dead), SIGKILL);
	assert_int_equal(used(), 128 + 3 * PAGE);
	assert_int_equal(mproc__reap_all(a.range.range), 1);
	assert_int_equal(used(), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_all_free();
}

static void of_two_who_adopt_a_block_one_gets_it(void **state)
{
	struct mproc__identity *other, *was;
	uint64_t off[2];

	(void)state;
	assert_int_equal(mproc__identity_new(&other, a.range.range), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(alloc(i ? 5000 : 50, &off[i]), 0);
		assert_int_equal(publish(off[i]), 0);
		was = mproc__identity_act(other);
		assert_int_equal(adopt(off[i]), 0);
		assert_int_equal(adopt(off[i]), -ESTALE);
		mproc__identity_act(was);
		assert_int_equal(adopt(off[i]), -ESTALE);
		assert_int_equal(release(off[i]), -ESTALE);
	}
	mproc__identity_kill(other);
	assert_int_equal(mproc__reap_all(a.range.range), 1);
	assert_all_free();
}

static void block_passes_to_whoever_a_commit_names(void **state)
{
	struct mproc__identity *other, *was;
	uint64_t seized[2], disowned[2];
	uint32_t slot;

	(void)state;
	assert_int_equal(mproc__identity_new(&other, a.range.range), 0);
	was = mproc__identity_act(other);
	slot = t_arena_me(&a)->proc;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(alloc(i ? 5000 : 50, &seized[i]), 0);
		assert_int_equal(alloc(i ? 5000 : 50, &disowned[i]), 0);
	}
	mproc__identity_act(was);
	for (int i = 0; i < 2; i++) {
		/* Alive or dead, published or not. */
		assert_int_equal(mproc__arena_seize(&a.segment, t_arena_me(&a), seized[i]), 0);
		assert_int_equal(mproc__arena_disown(&a.segment, slot, seized[i]), -ESTALE);
	}
	mproc__identity_kill(other);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mproc__arena_disown(&a.segment, slot, disowned[i]), 0);
		assert_int_equal(mproc__arena_disown(&a.segment, slot, disowned[i]), -ESTALE);
	}
	assert_int_equal(mproc__reap_all(a.range.range), 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mproc__arena_seize(&a.segment, t_arena_me(&a), disowned[i]), 0);
		assert_int_equal(release(disowned[i]), 0);
		assert_int_equal(release(seized[i]), 0);
	}
	assert_all_free();
}

static void arena_of_one_page_and_of_none(void **state)
{
	struct mproc__arena *arena = aligned_alloc(128, 8192);
	struct t_arena small;
	uint64_t off, other;

	(void)state;
	assert_non_null(arena);
	memset(arena, 0, 8192);
	assert_int_equal(mproc__arena_init(arena, 100, 4096, 4096), -ENOSPC);
	assert_int_equal(mproc__arena_init(arena, 0, 0, 0), -ENOSPC);
	free(arena);
	assert_int_equal(t_arena_open(&small, 2, 4, 1), 0);
	assert_int_equal(mproc__arena_alloc(&small.segment, t_arena_me(&small), 1, true, &off), 0);
	assert_int_equal(mproc__arena_alloc(&small.segment, t_arena_me(&small), 1, true, &other),
			 -ENOSPC);
	assert_int_equal(mproc__arena_free(&small.segment, t_arena_me(&small), off), 0);
	t_arena_close(&small);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fresh_arena_gives_all_it_has_in_one_block),
		TEST(full_arena_names_what_was_wanted_and_what_is_left),
		TEST(blocks_are_aligned_disjoint_and_long_enough),
		TEST(block_is_zeroed_when_asked),
		TEST(last_bytes_serve_small_blocks_as_well),
		TEST(free_neighbours_become_one),
		TEST(references_lie_within_one_block_in_use),
		TEST(misuse_is_refused_and_changes_nothing),
		TEST(private_blocks_are_out_of_reach_for_other_processes),
		TEST(what_was_private_dies_with_its_process_and_the_rest_stays),
		TEST(dead_are_reaped_before_there_is_no_room),
		TEST(stopped_process_keeps_what_is_private_to_it),
		TEST(nobody_waits_for_a_stopped_process_to_free),
		TEST(of_two_who_adopt_a_block_one_gets_it),
		TEST(block_passes_to_whoever_a_commit_names),
		TEST(arena_of_one_page_and_of_none),
	};

	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
