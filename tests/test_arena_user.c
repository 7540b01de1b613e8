/* SPDX-License-Identifier: MIT */

/*
 * mproc/arena.h, seen from outside
 */

#include <mproc/arena.h>

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

#include <mproc/array.h>
#include <mproc/error.h>
#include <mproc/ref.h>

#include "shm/arena_inside.h"
#include "tests/support/child.h"

#define PAGE 4096u

static mproc_segment *segment;

/* What processes of a test tell each other. */
static struct {
	void *_Atomic block[4];
	_Atomic(int) ready;
} * told;

static int setup(void **state)
{
	(void)state;
	told = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (told == MAP_FAILED)
		return -1;
	return mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 2 << 20));
}

static int teardown(void **state)
{
	(void)state;
	segment = mproc_segment_close(segment);
	munmap(told, PAGE);
	return 0;
}

static struct mproc_arena_stats stats(void)
{
	struct mproc_arena_stats now = MPROC_ARENA_STATS;

	assert_int_equal(mproc_arena_stats(segment, &now), 0);
	return now;
}

static void *get(size_t len)
{
	void *block;

	assert_int_equal(mproc_arena_alloc(&block, segment, len), 0);
	return block;
}

static void drop(void *block)
{
	assert_int_equal(mproc_arena_free(segment, block), 0);
}

static void assert_sound(void)
{
	if (mproc_arena_check(segment, mproc_after_ms(1000)) < 0)
		fail_msg("%s", mproc_error_text());
}

static void assert_bytes(const void *block, int byte, size_t len)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(((const unsigned char *)block)[i], byte);
}

static void what_is_allocated_can_be_written_and_comes_back(void **state)
{
	static const size_t lens[] = { 0, 1, 64, 65, 2048, 2049, 4096, 4097, 100000 };
	enum { N = sizeof(lens) / sizeof(lens[0]) };
	uint64_t used = stats().used;
	void *block[N];

	(void)state;
	for (int i = 0; i < N; i++) {
		block[i] = get(lens[i]);
		assert_int_equal((uintptr_t)block[i] % MPROC_ARENA_ALIGN, 0);
		assert_true(mproc_arena_size(segment, block[i]) >= lens[i]);
		memset(block[i], i + 1, mproc_arena_size(segment, block[i]));
	}
	assert_sound();
	for (int i = 0; i < N; i++) {
		assert_bytes(block[i], i + 1, mproc_arena_size(segment, block[i]));
		drop(block[i]);
	}
	assert_int_equal(stats().used, used);
	assert_int_equal(mproc_arena_free(segment, NULL), 0);
	assert_sound();
}

static void default_segment_has_an_arena(void **state)
{
	void *block;

	(void)state;
	assert_int_equal(mproc_arena_calloc(&block, NULL, 10, 100), 0);
	assert_bytes(block, 0, 1000);
	assert_int_equal(mproc_arena_free(segment, block), -EINVAL);
	assert_int_equal(mproc_arena_free(NULL, block), 0);
}

static void zeroed_block_is_zero_to_its_end(void **state)
{
	void *block = NULL;

	(void)state;
	for (size_t len = 1; len < 300000; len = len * 3 + 1) {
		block = get(len);
		memset(block, 0xff, mproc_arena_size(segment, block));
		drop(block);
		assert_int_equal(mproc_arena_calloc(&block, segment, 1, len), 0);
		assert_bytes(block, 0, mproc_arena_size(segment, block));
		drop(block);
	}
	assert_int_equal(mproc_arena_calloc(&block, segment, SIZE_MAX / 2, 3), -ENOSPC);
	assert_string_equal(mproc_error_text(), "alloc: 9223372036854775807 times 3 bytes wanted");
}

/* None of these changes anything, and each says what is wrong. */
static void assert_refused(void *block, int code)
{
	struct mproc_arena_stats before = stats(), after;
	struct mproc_arena_owner owner;
	void *same = block;

	assert_int_equal(mproc_arena_free(segment, block), code);
	assert_string_not_equal(mproc_error_text(), "");
	assert_int_equal(mproc_arena_publish(segment, block), code);
	assert_int_equal(mproc_arena_adopt(segment, block), code);
	assert_int_equal(mproc_arena_realloc(&same, segment, 100000), code);
	assert_ptr_equal(same, block);
	assert_int_equal(mproc_arena_owner(segment, block, &owner), code);
	assert_int_equal(mproc_arena_size(segment, block), 0);
	after = stats();
	assert_memory_equal(&before, &after, sizeof(before));
}

static void what_is_no_block_is_refused(void **state)
{
	int on_stack;
	void *on_heap = malloc(100), *elsewhere;
	mproc_segment *other;
	char *small, *large;

	(void)state;
	assert_int_equal(mproc_segment_create(&other, NULL, NULL), 0);
	assert_int_equal(mproc_arena_alloc(&elsewhere, other, 100), 0);
	assert_refused(&on_stack, -EINVAL);
	assert_refused(on_heap, -EINVAL);
	assert_refused(elsewhere, -EINVAL);
	small = get(256);
	large = get(3 * PAGE);
	for (size_t i = 1; i < 256; i += 17)
		assert_refused(small + i, -ESTALE);
	for (size_t i = 64; i < 3 * PAGE; i += 64)
		assert_refused(large + i, -ESTALE);
	/* Free memory, a table, the segment's own. */
	assert_refused(large + 100 * PAGE, -ESTALE);
	assert_refused((void *)segment->arena, -ESTALE);
	assert_refused((void *)segment->catalogue, -ESTALE);
	drop(small);
	drop(large);
	assert_refused(small, -ESTALE);
	assert_refused(large, -ESTALE);
	mproc_segment_close(other);
	free(on_heap);
	assert_sound();
}

static void block_that_was_freed_cannot_be_freed_again(void **state)
{
	(void)state;
	for (size_t len = 64; len <= 5 * PAGE; len *= 4) {
		void *block = get(len), *next;

		drop(block);
		assert_int_equal(mproc_arena_free(segment, block), -ESTALE);
		assert_non_null(strstr(mproc_error_text(), "no block of this process"));
		/* Nor is a block given out twice for it. */
		block = get(len);
		next = get(len);
		assert_ptr_not_equal(block, next);
		drop(block);
		drop(next);
	}
	assert_sound();
}

static void free_what_is_not_mine(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		void *block = told->block[i], *same = block;

		t_check(mproc_arena_free(segment, block) == -ESTALE);
		t_check(mproc_arena_publish(segment, block) == -ESTALE);
		t_check(mproc_arena_realloc(&same, segment, 1) == -ESTALE && same == block);
		t_check(mproc_arena_adopt(segment, block) == -ESTALE);
	}
}

static void private_block_of_another_process_is_refused(void **state)
{
	(void)state;
	told->block[0] = get(100);
	told->block[1] = get(10000);
	assert_int_equal(t_reap(t_spawn(free_what_is_not_mine, NULL)), 0);
	drop(told->block[0]);
	drop(told->block[1]);
}

static void objects_are_not_freed_by_their_address(void **state)
{
	mproc_array *array;
	void *object, *items;

	(void)state;
	assert_int_equal(mproc_segment_object(&object, segment, "object", 100, NULL, NULL), 1);
	assert_int_equal(
		mproc_array_create(&array, segment, "array",
				   MPROC_ARRAY_OPTS(.type = MPROC_TYPE(int), .n_items = 10000)),
		0);
	items = mproc_array_ptr(array, MPROC_TYPE(int), 0);
	assert_non_null(items);
	assert_int_equal(mproc_arena_free(segment, object), -ESTALE);
	assert_int_equal(mproc_arena_adopt(segment, object), -ESTALE);
	assert_int_equal(mproc_arena_realloc(&object, segment, 5000), -ESTALE);
	/* Of pages, so its block begins a page, and the items are in the first. */
	assert_int_equal(mproc_arena_size(segment, (char *)items - (uintptr_t)items % PAGE),
			 10 * PAGE);
	assert_int_equal(mproc_arena_free(segment, (char *)items - (uintptr_t)items % PAGE),
			 -ESTALE);
	mproc_array_close(array);
}

static void allocate_and_stay(void *arg)
{
	(void)arg;
	for (int i = 0; i < 4; i++) {
		void *block;

		t_check(mproc_arena_alloc(&block, segment, i % 2 ? 10000 : 100) == 0);
		told->block[i] = block;
	}
	t_check(mproc_arena_publish(segment, told->block[2]) == 0);
	t_check(mproc_arena_publish(segment, told->block[3]) == 0);
	told->ready = 1;
	for (;;)
		pause();
}

static bool is_ready(void *arg)
{
	(void)arg;
	return told->ready;
}

static void owner_is_told_and_what_he_published_outlives_him(void **state)
{
	pid_t pid = t_spawn(allocate_and_stay, NULL);
	struct mproc_arena_owner owner;
	void *block;

	(void)state;
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(10000)));
	for (int i = 0; i < 4; i++) {
		assert_int_equal(mproc_arena_owner(segment, told->block[i], &owner), i < 2);
		assert_int_equal(owner.pid, i < 2 ? pid : 0);
		assert_int_equal(owner.is_alive, i < 2);
		assert_int_equal(owner.is_mine, 0);
		assert_int_equal(owner.process[0] != '\0', i < 2);
	}
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_int_equal(mproc_arena_owner(segment, told->block[0], &owner), 1);
	assert_int_equal(owner.is_alive, 0);
	assert_int_equal(mproc__reap_all(segment->range), 1);
	for (int i = 0; i < 4; i++) {
		block = told->block[i];
		assert_int_equal(mproc_arena_size(segment, block) != 0, i >= 2);
		assert_int_equal(mproc_arena_adopt(segment, block), i < 2 ? -ESTALE : 0);
		if (i < 2)
			continue;
		assert_int_equal(mproc_arena_adopt(segment, block), -ESTALE);
		assert_int_equal(mproc_arena_owner(segment, block, &owner), 1);
		assert_int_equal(owner.pid, getpid());
		assert_int_equal(owner.is_mine, 1);
		assert_int_equal(owner.is_alive, 1);
		drop(block);
	}
	assert_sound();
}

static void published_block_is_freed_by_anybody(void *arg)
{
	(void)arg;
	t_check(mproc_arena_free(segment, told->block[0]) == 0);
	t_check(mproc_arena_free(segment, told->block[0]) == -ESTALE);
}

static void who_has_a_published_block_may_free_it(void **state)
{
	uint64_t used = stats().used;

	(void)state;
	told->block[0] = get(500);
	assert_int_equal(mproc_arena_publish(segment, told->block[0]), 0);
	assert_int_equal(mproc_arena_publish(segment, told->block[0]), -ESTALE);
	assert_int_equal(t_reap(t_spawn(published_block_is_freed_by_anybody, NULL)), 0);
	assert_int_equal(stats().used, used);
}

static void block_grows_in_place_where_it_can(void **state)
{
	char *block = get(10 * PAGE), *was = block, *behind;

	(void)state;
	memset(block, 7, 10 * PAGE);
	assert_int_equal(mproc_arena_realloc((void **)&block, segment, 20 * PAGE - 5), 0);
	assert_ptr_equal(block, was);
	assert_int_equal(mproc_arena_size(segment, block), 20 * PAGE);
	assert_bytes(block, 7, 10 * PAGE);
	assert_sound();
	/* Shrunk in place, and what it gave back can be had. */
	assert_int_equal(mproc_arena_realloc((void **)&block, segment, 5 * PAGE), 0);
	assert_ptr_equal(block, was);
	assert_int_equal(mproc_arena_size(segment, block), 5 * PAGE);
	assert_sound();
	behind = get(15 * PAGE);
	assert_ptr_equal(behind, block + 5 * PAGE);
	assert_bytes(block, 7, 5 * PAGE);
	/* No room behind it: it moves. */
	assert_int_equal(mproc_arena_realloc((void **)&block, segment, 6 * PAGE), 0);
	assert_ptr_not_equal(block, was);
	assert_bytes(block, 7, 5 * PAGE);
	assert_int_equal(mproc_arena_size(segment, was), 0);
	drop(behind);
	drop(block);
	assert_sound();
}

static void small_block_stays_while_it_fits(void **state)
{
	void *block = NULL, *was;

	(void)state;
	assert_int_equal(mproc_arena_realloc(&block, segment, 100), 0);
	assert_int_equal(mproc_arena_size(segment, block), 128);
	memset(block, 3, 128);
	was = block;
	assert_int_equal(mproc_arena_realloc(&block, segment, 128), 0);
	assert_int_equal(mproc_arena_realloc(&block, segment, 0), 0);
	assert_ptr_equal(block, was);
	assert_int_equal(mproc_arena_realloc(&block, segment, 129), 0);
	assert_ptr_not_equal(block, was);
	assert_bytes(block, 3, 128);
	assert_int_equal(mproc_arena_realloc(&block, segment, 3 * PAGE), 0);
	assert_bytes(block, 3, 128);
	assert_int_equal(mproc_arena_realloc(&block, segment, 1), 0);
	assert_int_equal(mproc_arena_size(segment, block), PAGE);
	assert_bytes(block, 3, 128);
	drop(block);
	assert_sound();
}

static void realloc_that_fails_leaves_the_block(void **state)
{
	void *block = get(5000), *was = block;

	(void)state;
	memset(block, 9, 5000);
	assert_int_equal(mproc_arena_realloc(&block, segment, 1 << 30), -ENOSPC);
	assert_non_null(strstr(mproc_error_text(), "1 GiB (1073741824 B) wanted"));
	assert_int_equal(mproc_arena_realloc(&block, segment, SIZE_MAX), -ENOSPC);
	assert_ptr_equal(block, was);
	assert_bytes(block, 9, 5000);
	drop(block);
}

static void published_block_does_not_move(void **state)
{
	void *block = get(2 * PAGE), *was = block, *behind = get(PAGE), *small = get(64);

	(void)state;
	assert_ptr_equal(behind, (char *)block + 2 * PAGE);
	assert_int_equal(mproc_arena_publish(segment, block), 0);
	assert_int_equal(mproc_arena_publish(segment, small), 0);
	assert_int_equal(mproc_arena_realloc(&block, segment, 3 * PAGE), -EPERM);
	assert_non_null(strstr(mproc_error_text(), "adopt it first"));
	assert_int_equal(mproc_arena_realloc(&small, segment, 65), -EPERM);
	assert_ptr_equal(block, was);
	drop(behind);
	assert_int_equal(mproc_arena_realloc(&block, segment, 3 * PAGE), 0);
	assert_int_equal(mproc_arena_realloc(&block, segment, PAGE), 0);
	assert_ptr_equal(block, was);
	drop(block);
	drop(small);
	assert_sound();
}

static void largest_free_block_can_be_had(void **state)
{
	uint64_t seed = t_seed();
	void *block[200] = { NULL };

	(void)state;
	for (int round = 0; round < 300; round++) {
		void **one = &block[t_random(&seed) % 200], *largest;
		struct mproc_arena_stats now;

		if (*one)
			drop(*one);
		*one = NULL;
		if (t_random(&seed) % 4 &&
		    mproc_arena_alloc(one, segment, t_random(&seed) % 40000) < 0)
			*one = NULL;
		now = stats();
		assert_int_equal(now.used + now.free + now.tables, now.bytes);
		if (now.largest_free) {
			largest = get(now.largest_free);
			drop(largest);
		}
	}
	for (int i = 0; i < 200; i++)
		if (block[i])
			drop(block[i]);
	assert_sound();
}

static void statistics_tell_classes_and_what_is_private(void **state)
{
	struct mproc_arena_stats before = stats(), now;
	void *a = get(64), *b = get(100), *c = get(9000);

	(void)state;
	assert_int_equal(mproc_arena_publish(segment, b), 0);
	now = stats();
	assert_int_equal(now.n_blocks, before.n_blocks + 3);
	assert_int_equal(now.n_private, before.n_private + 2);
	assert_int_equal(now.used, before.used + 64 + 128 + 3 * PAGE);
	assert_int_equal(now.classes[0].len, 64);
	assert_int_equal(now.classes[0].n_used, before.classes[0].n_used + 1);
	assert_int_equal(now.classes[1].n_used, before.classes[1].n_used + 1);
	assert_int_equal(now.classes[6].len, 0);
	assert_int_equal(now.classes[6].n_used, before.classes[6].n_used + 1);
	assert_int_equal(now.classes[6].used, before.classes[6].used + 3 * PAGE);
	drop(a);
	drop(b);
	drop(c);
}

static void statistics_of_another_age_are_filled_as_far_as_known(void **state)
{
	struct {
		struct mproc_arena_stats known;
		uint64_t newer[4];
	} large;
	struct mproc_arena_stats small;

	(void)state;
	memset(&large, 0xff, sizeof(large));
	large.known.size = sizeof(large);
	assert_int_equal(mproc_arena_stats(segment, &large.known), 0);
	assert_int_equal(large.known.size, sizeof(large));
	assert_int_equal(large.newer[0] | large.newer[3], 0);
	memset(&small, 0xff, sizeof(small));
	small.size = offsetof(struct mproc_arena_stats, free);
	assert_int_equal(mproc_arena_stats(segment, &small), 0);
	assert_int_equal(small.bytes, large.known.bytes);
	assert_true(small.free == UINT64_MAX);
	small.size = 3;
	assert_int_equal(mproc_arena_stats(segment, &small), -EINVAL);
}

static void aligned_block_is_aligned_and_leaves_the_rest_free(void **state)
{
	struct mproc_arena_stats before = stats(), now;
	void *block;

	(void)state;
	for (size_t align = 1; align <= 1 << 20; align *= 2) {
		for (size_t len = 1; len <= 200000; len = len * 7 + 1) {
			size_t more = len > align ? len : align;

			assert_int_equal(mproc_arena_alloc_aligned(&block, segment, align, len), 0);
			assert_int_equal((uintptr_t)block % align, 0);
			assert_true(mproc_arena_size(segment, block) >= len);
			/* No more is taken than a block of that length has, beyond a page. */
			now = stats();
			assert_true(now.used - before.used <=
				    (align <= PAGE ? 2 * more + PAGE : len * 2 + PAGE));
			drop(block);
		}
		assert_sound();
	}
	for (size_t align = 3; align < 100; align += 2)
		assert_int_equal(mproc_arena_alloc_aligned(&block, segment, align, 1), -EINVAL);
	assert_int_equal(mproc_arena_alloc_aligned(&block, segment, 0, 1), -EINVAL);
	assert_int_equal(mproc_arena_alloc_aligned(&block, segment, MPROC_ARENA_ALIGN_MAX * 2, 1),
			 -EINVAL);
	/* More than the segment has: its mapping need not be at such an address. */
	assert_true(mproc_arena_alloc_aligned(&block, segment, MPROC_ARENA_ALIGN_MAX, 1) < 0);
}

/* As many as there are aligned places: what lies between them serves others. */
static void aligned_blocks_fill_every_place_there_is(void **state)
{
	size_t align = 64 * 1024, n = 0, places = 0;
	void *block[64], *rest[600];

	(void)state;
	for (char *at = segment->arena_at.data; at < segment->arena_at.data + stats().bytes - align;
	     at += PAGE)
		places += (uintptr_t)at % align == 0;
	while (mproc_arena_alloc_aligned(&block[n], segment, align, 9 * PAGE) == 0)
		n++;
	assert_true(n >= places - 1 && n < 64);
	assert_non_null(
		strstr(mproc_error_text(), "36 KiB (36864 B) at a multiple of 64 KiB wanted"));
	for (size_t i = 0; i < n; i++)
		assert_int_equal(mproc_arena_alloc(&rest[i], segment, i ? 7 * PAGE : PAGE), 0);
	assert_sound();
	for (size_t i = 0; i < n; i++) {
		drop(block[i]);
		drop(rest[i]);
	}
	assert_sound();
}

/*
 * The model: blocks with a byte of their own from end to end.
 */
#define MODEL 300

struct model {
	unsigned char *block;
	size_t len;
	unsigned char fill;
	bool published;
};

static void model_resize(struct model *m, uint64_t *seed)
{
	size_t len = 1 + t_random(seed) % (t_random(seed) % 4 ? 3000 : 40000);
	size_t kept = len < m->len ? len : m->len;
	void *block = m->block;
	int r = mproc_arena_realloc(&block, segment, len);

	if (r == -ENOSPC || (r == -EPERM && m->published)) {
		assert_ptr_equal(block, m->block);
		assert_bytes(m->block, m->fill, m->len);
		return;
	}
	assert_int_equal(r, 0);
	assert_bytes(block, m->fill, kept);
	m->block = block;
	m->len = mproc_arena_size(segment, block);
	assert_true(m->len >= len);
	memset(block, m->fill, m->len);
}

static void model_make(struct model *m, uint64_t *seed)
{
	size_t len = 1 + t_random(seed) % (t_random(seed) % 4 ? 3000 : 40000);
	size_t align = (size_t)1 << t_random(seed) % 16;
	void *block;
	int r = t_random(seed) % 2 ? mproc_arena_alloc(&block, segment, len)
				   : mproc_arena_alloc_aligned(&block, segment, align, len);

	if (r == -ENOSPC)
		return;
	assert_int_equal(r, 0);
	m->block = block;
	m->len = mproc_arena_size(segment, block);
	assert_true(m->len >= len);
	m->fill = (unsigned char)t_random(seed);
	m->published = false;
	memset(block, m->fill, m->len);
}

static void model_step(struct model *m, uint64_t *seed)
{
	if (!m->block) {
		model_make(m, seed);
		return;
	}
	switch (t_random(seed) % 5) {
	case 0:
		assert_int_equal(mproc_arena_publish(segment, m->block),
				 m->published ? -ESTALE : 0);
		m->published = true;
		break;
	case 1:
		assert_int_equal(mproc_arena_adopt(segment, m->block), m->published ? 0 : -ESTALE);
		m->published = false;
		break;
	case 2:
	case 3:
		model_resize(m, seed);
		break;
	default:
		assert_bytes(m->block, m->fill, m->len);
		drop(m->block);
		m->block = NULL;
		m->len = 0;
	}
}

static void any_sequence_of_calls_agrees_with_the_model(void **state)
{
	struct model *model = calloc(MODEL, sizeof(*model));
	size_t steps = t_long() ? 1000000 : 40000;
	uint64_t seed = t_seed(), used = stats().used;

	(void)state;
	assert_non_null(model);
	for (size_t i = 0; i < steps; i++) {
		struct mproc_arena_stats now;
		uint64_t sum = used;

		model_step(&model[t_random(&seed) % MODEL], &seed);
		if (i % 500)
			continue;
		for (size_t k = 0; k < MODEL; k++)
			sum += model[k].len;
		now = stats();
		assert_int_equal(now.used, sum);
		assert_int_equal(now.used + now.free + now.tables, now.bytes);
		assert_sound();
	}
	for (size_t k = 0; k < MODEL; k++) {
		if (!model[k].block)
			continue;
		assert_bytes(model[k].block, model[k].fill, model[k].len);
		drop(model[k].block);
	}
	assert_int_equal(stats().used, used);
	assert_sound();
	free(model);
}

static void assert_broken(const char *says)
{
	assert_int_equal(mproc_arena_check(segment, mproc_after_ms(1000)), -EBADMSG);
	if (!strstr(mproc_error_text(), says))
		fail_msg("%s", mproc_error_text());
}

static uint32_t page_of(const void *block)
{
	return (uint32_t)(((const char *)block - segment->arena_at.data) / PAGE);
}

/* One word of the tables at a time, and it is found, and named. */
static void check_names_what_is_broken(void **state)
{
	char *large = get(4 * PAGE), *behind = get(PAGE), *small = get(64);
	uint32_t page = page_of(large), slab = page_of(small);
	struct mproc__arena_page *pages = segment->arena_at.pages;
	struct mproc__arena *arena = segment->arena_at.arena;
	uint64_t ref = pages[slab].link;
	uint64_t *tables = (void *)&pages[ref >> 3].link;
	_Atomic(uint64_t) *words =
		(void *)(segment->arena_at.data + (ref >> 3) * PAGE + (ref & 7) * 512);
	struct {
		_Atomic(uint64_t) *word;
		uint64_t value;
		const char *says;
	} cases[] = {
		{ &pages[page + 2].word, mproc__arena_counted(MPROC__ARENA_PART, 1),
		  "part of its run" },
		{ &pages[page + 3].word, pages[page].word, "inside another" },
		{ &pages[page].word, 0, "nothing that can be there" },
		{ &pages[page].link, 3, "nothing that can be there" },
		{ &pages[page].link, UINT32_MAX, "nothing that can be there" },
		{ &pages[slab].link, ref + 8, "in no page of tables" },
		{ &pages[slab].owners, 0, "would not be looked for" },
		{ &words[5], 9, "neither free nor in use" },
		{ &words[5], MPROC__ARENA_PRIVATE | UINT64_C(4000) << 4, "nobody there can be" },
		{ (void *)tables, *tables | UINT64_C(1) << 63, "others than slabs use" },
		{ &arena->bins_filled[0], 0, "" },
	};

	(void)state;
	drop(large);
	large = get(4 * PAGE);
	assert_int_equal(page_of(large), page);
	cases[1].value = pages[page].word;
	assert_sound();
	for (size_t i = 0; i + 1 < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t was = atomic_exchange(cases[i].word, cases[i].value);

		assert_broken(cases[i].says);
		atomic_store(cases[i].word, was);
		assert_sound();
	}
	/* A free run that is on no list, on two, on one that is not its. */
	drop(large);
	assert_sound();
	for (uint32_t bin = 0; bin < MPROC__ARENA_BINS; bin++) {
		uint32_t was = arena->bins[bin];

		if (!was)
			continue;
		arena->bins[bin] = 0;
		assert_broken("on lists");
		arena->bins[bin] = was;
		arena->bins[bin + 1] = was;
		assert_broken("");
		arena->bins[bin + 1] = 0;
		arena->bins[bin] = UINT32_MAX;
		assert_broken("which is not free");
		arena->bins[bin] = was;
	}
	assert_sound();
	drop(behind);
	drop(small);
}

static void use_what_is_scribbled_over(void *arg)
{
	uint64_t seed = *(uint64_t *)arg, first = offsetof(struct mproc__arena, births) / 8;
	size_t words = sizeof(struct mproc__arena) / 8 + 512 * 3;
	_Atomic(uint64_t) *section = (void *)segment->arena;
	struct mproc_arena_stats now = MPROC_ARENA_STATS;
	void *block[32] = { NULL };
	struct mproc_ref ref;

	for (int i = 0; i < 300; i++) {
		void **one = &block[t_random(&seed) % 32];

		if (i % 8 == 0) {
			uint64_t w = first + t_random(&seed) % (words - first);

			/* Locks apart: a lock that says it is owned by the living is waited for. */
			if (w >= offsetof(struct mproc__arena, pages) / 8 || w < first + 60)
				section[w] ^= UINT64_C(1) << t_random(&seed) % 64;
		}
		if (*one && t_random(&seed) % 2)
			(void)(mproc_arena_realloc(one, segment, t_random(&seed) % 30000) < 0);
		else if (*one) {
			(void)mproc_arena_free(segment, *one);
			*one = NULL;
		} else if (mproc_arena_alloc_aligned(one, segment, 1 << t_random(&seed) % 15,
						     t_random(&seed) % 30000) < 0) {
			*one = NULL;
		} else {
			(void)(mproc_ref_of(&ref, segment, *one) < 0);
			(void)mproc_ref_get(segment, &ref, uint64_t);
		}
		(void)(mproc_arena_check(segment, mproc_after_ms(100)) < 0);
		(void)(mproc_arena_stats(segment, &now) < 0);
	}
}

static void scribbled_tables_neither_crash_nor_hang(void **state)
{
	uint64_t seed = t_seed();
	int rounds = t_long() ? 1000 : 40;

	for (int i = 0; i < rounds; i++, seed++) {
		assert_int_equal(t_reap(t_spawn(use_what_is_scribbled_over, &seed)), 0);
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
}

static void hold_lock_of_runs(void *arg)
{
	struct mproc__arena_view v;

	(void)arg;
	v = mproc__arena_view(segment, mproc__self(segment->arena, "test"));
	t_check(mproc__arena_runs_lock(&v) == 0);
	told->ready = 1;
	for (;;)
		pause();
}

static void check_waits_no_longer_than_it_may(void **state)
{
	pid_t pid = t_spawn(hold_lock_of_runs, NULL);

	(void)state;
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(10000)));
	assert_int_equal(mproc_arena_check(segment, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_arena_check(segment, mproc_after_ms(10)), -ETIMEDOUT);
	assert_int_equal(mproc_arena_check(segment, -1), -EINVAL);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_sound();
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_allocated_can_be_written_and_comes_back),
		TEST(default_segment_has_an_arena),
		TEST(zeroed_block_is_zero_to_its_end),
		TEST(what_is_no_block_is_refused),
		TEST(block_that_was_freed_cannot_be_freed_again),
		TEST(private_block_of_another_process_is_refused),
		TEST(objects_are_not_freed_by_their_address),
		TEST(owner_is_told_and_what_he_published_outlives_him),
		TEST(who_has_a_published_block_may_free_it),
		TEST(block_grows_in_place_where_it_can),
		TEST(small_block_stays_while_it_fits),
		TEST(realloc_that_fails_leaves_the_block),
		TEST(published_block_does_not_move),
		TEST(aligned_block_is_aligned_and_leaves_the_rest_free),
		TEST(aligned_blocks_fill_every_place_there_is),
		TEST(largest_free_block_can_be_had),
		TEST(statistics_tell_classes_and_what_is_private),
		TEST(statistics_of_another_age_are_filled_as_far_as_known),
		TEST(any_sequence_of_calls_agrees_with_the_model),
		TEST(check_names_what_is_broken),
		TEST(scribbled_tables_neither_crash_nor_hang),
		TEST(check_waits_no_longer_than_it_may),
	};

	return cmocka_run_group_tests_name("arena user", tests, NULL, NULL);
}
