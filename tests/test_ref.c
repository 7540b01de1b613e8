/* SPDX-License-Identifier: MIT */

/*
 * References to objects: checked where they are used
 */

#include <mproc/ref.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <mproc/arena.h>
#include <mproc/array.h>
#include <mproc/error.h>
#include <mproc/segment.h>
#include <mproc/value.h>

#include "ipc/kind_layout.h"
#include "shm/catalogue.h"

static mproc_segment *segment;

static const struct mproc__object_spec spec = { .what = "block",
						.kind = MPROC__KIND_BLOCK,
						.len = 100 };

static int setup(void **state)
{
	(void)state;
	return mproc_segment_create(&segment, NULL, NULL);
}

static int teardown(void **state)
{
	(void)state;
	segment = mproc_segment_close(segment);
	return 0;
}

static void object_without_a_name_is_found_by_reference(void **state)
{
	struct mproc__object made, found;
	struct mproc_ref ref;

	(void)state;
	assert_int_equal(mproc__object_create(&made, segment, &spec), 0);
	ref = mproc__object_ref(segment, &made);
	assert_false(mproc_ref_is_none(&ref));
	assert_int_equal(mproc__object_open_ref(&found, segment, &spec, &ref), 0);
	assert_ptr_equal(found.mem, made.mem);
	assert_int_equal(found.entry, made.entry);
	assert_int_equal(found.generation, made.generation);
}

static void reference_to_what_is_gone_is_stale(void **state)
{
	struct mproc__object made, again, found = { .entry = 4711 };
	struct mproc_ref ref;

	(void)state;
	assert_int_equal(mproc__object_create(&made, segment, &spec), 0);
	ref = mproc__object_ref(segment, &made);
	assert_int_equal(mproc__object_remove(segment, &made), 0);
	assert_int_equal(mproc__object_open_ref(&found, segment, &spec, &ref), -ESTALE);
	/* Not even if another has the same place. */
	for (int i = 0; i < 8; i++)
		assert_int_equal(mproc__object_create(&again, segment, &spec), 0);
	assert_int_equal(mproc__object_open_ref(&found, segment, &spec, &ref), -ESTALE);
	assert_int_equal(found.entry, 4711);
}

static void reference_that_is_made_up_is_refused(void **state)
{
	struct mproc__object_spec other = spec;
	struct mproc__object made, found;
	struct mproc_ref ref, bad;

	(void)state;
	assert_int_equal(mproc__object_create(&made, segment, &spec), 0);
	ref = mproc__object_ref(segment, &made);
	bad = ref;
	bad.segment++;
	assert_int_equal(mproc__object_open_ref(&found, segment, &spec, &bad), -EINVAL);
	for (uint64_t off = 0; off < UINT64_C(1) << 20; off += 8) {
		bad = ref;
		bad.off = off;
		if (off != ref.off)
			assert_true(mproc__object_open_ref(&found, segment, &spec, &bad) < 0);
	}
	bad.off = UINT64_MAX;
	assert_int_equal(mproc__object_open_ref(&found, segment, &spec, &bad), -EINVAL);
	other.kind = MPROC__KIND_VALUE;
	assert_int_equal(mproc__object_open_ref(&found, segment, &other, &ref), -EEXIST);
	other = spec;
	other.len++;
	assert_int_equal(mproc__object_open_ref(&found, segment, &other, &ref), -EPROTO);
}

struct node {
	mproc_off next;
	uint64_t number;
};

static void *get(size_t len)
{
	void *block;

	assert_int_equal(mproc_arena_alloc(&block, segment, len), 0);
	return block;
}

static void block_is_found_by_reference(void **state)
{
	(void)state;
	for (size_t len = 64; len < 100000; len *= 3) {
		char *block = get(len);
		struct mproc_ref ref;
		void *found;

		/* Wherever in the block, to its last byte. */
		for (size_t i = 0; i < len; i += len / 7) {
			assert_int_equal(mproc_ref_of(&ref, segment, block + i), 0);
			assert_ptr_equal(mproc_ref_get(segment, &ref, char), block + i);
			assert_int_equal(mproc_ref_at(&found, segment, &ref, len - i, 1), 0);
			assert_ptr_equal(found, block + i);
			assert_int_equal(mproc_ref_at(&found, segment, &ref,
						      mproc_arena_size(segment, block) - i + 1, 1),
					 -ESTALE);
		}
		assert_int_equal(mproc_arena_free(segment, block), 0);
	}
}

/* Wherever it begins, and after it has grown or shrunk where it is. */
static void every_page_of_a_long_block_leads_to_it(void **state)
{
	size_t lens[] = { 9, 600, 77, 1500, 300 };
	void *before[40];

	(void)state;
	for (size_t n = 0; n < 40; n++) {
		void *block = get(lens[0] * 4096), *was = block;

		for (size_t k = 0; k < 5; k++) {
			assert_int_equal(mproc_arena_realloc(&block, segment, lens[k] * 4096), 0);
			assert_ptr_equal(block, was);
			for (size_t i = 0; i < 1600; i++) {
				char *at = (char *)block + i * 4096;
				struct mproc_ref ref;

				assert_int_equal(mproc_ref_of(&ref, segment, at),
						 i < lens[k] ? 0 : -ESTALE);
				if (i < lens[k])
					assert_ptr_equal(mproc_ref_get(segment, &ref, char), at);
			}
		}
		assert_int_equal(mproc_arena_free(segment, block), 0);
		before[n] = get(4096);
	}
	for (size_t n = 0; n < 40; n++)
		assert_int_equal(mproc_arena_free(segment, before[n]), 0);
}

static void reference_that_does_not_fit_is_refused_with_a_text(void **state)
{
	struct mproc_ref none = MPROC_REF_NONE, ref, bad;
	char *block = get(64);
	mproc_segment *other;
	int on_stack;

	(void)state;
	assert_int_equal(mproc_ref_of(&ref, segment, block + 1), 0);
	assert_null(mproc_ref_get(segment, &ref, uint64_t));
	assert_non_null(strstr(mproc_error_text(), "no multiple of 8"));
	assert_null(mproc_ref_get(segment, &none, char));
	assert_string_equal(mproc_error_text(), "ref: it names nothing");
	assert_int_equal(mproc_ref_of(&bad, segment, &on_stack), -EINVAL);
	assert_int_equal(mproc_ref_of(&bad, segment, block + 100 * 4096), -ESTALE);
	assert_int_equal(mproc_segment_create(&other, NULL, NULL), 0);
	assert_null(mproc_ref_get(other, &ref, char));
	assert_string_equal(mproc_error_text(), "ref: it is another segment's");
	assert_int_equal(mproc_ref_of(&bad, other, block), -EINVAL);
	mproc_segment_close(other);
	/* Made up: any offset, any generation. */
	for (uint64_t off = 0; off < UINT64_C(1) << 25; off += 1000) {
		bad = (struct mproc_ref){ ref.segment, off, ref.generation };
		assert_true((mproc_ref_get(segment, &bad, char) != NULL) ==
			    (off - ref.off + 1 < 64));
		bad = (struct mproc_ref){ ref.segment, ref.off, off };
		assert_null(mproc_ref_get(segment, &bad, char));
	}
	bad = (struct mproc_ref){ ref.segment, UINT64_MAX, ref.generation };
	assert_null(mproc_ref_get(segment, &bad, char));
}

static void reference_to_a_freed_or_moved_block_is_stale(void **state)
{
	(void)state;
	for (int i = 0; i < 200; i++) {
		size_t len = i % 2 ? 64 : 9000;
		void *block = get(len), *found;
		struct mproc_ref ref;
		mproc_off off;

		assert_int_equal(mproc_ref_of(&ref, segment, block), 0);
		off = mproc_off_of(segment, block);
		assert_ptr_equal(mproc_off_get(segment, off, uint64_t), block);
		assert_int_equal(mproc_arena_realloc(&block, segment, len / 2), 0);
		assert_ptr_equal(mproc_ref_get(segment, &ref, char), block);
		if (i % 4 < 2)
			assert_int_equal(mproc_arena_free(segment, block), 0);
		else
			assert_int_equal(mproc_arena_realloc(&block, segment, 200000), 0);
		/* A block of pages has room to grow where it is, and stays the same. */
		if (i % 4 == 2) {
			assert_ptr_equal(mproc_ref_get(segment, &ref, char), block);
		} else {
			assert_int_equal(mproc_ref_at(&found, segment, &ref, 1, 1), -ESTALE);
			assert_null(mproc_off_get(segment, off, char));
			assert_string_not_equal(mproc_error_text(), "");
		}
		if (i % 4 >= 2)
			assert_int_equal(mproc_arena_free(segment, block), 0);
		/* The same place again. */
		block = get(len);
		assert_null(mproc_ref_get(segment, &ref, char));
		assert_null(mproc_off_get(segment, off, char));
		assert_int_equal(mproc_arena_free(segment, block), 0);
	}
}

/* All pages are asked for: what slabs have no block in use are given back before. */
static void give_slabs_back(void)
{
	void *block;

	assert_int_equal(mproc_arena_alloc(&block, segment, (size_t)1 << 20), -ENOSPC);
}

static void place_of_a_slab_never_has_a_generation_again(void **state)
{
	struct mproc_ref first, old, now;
	void *block;

	(void)state;
	mproc_segment_close(segment);
	assert_int_equal(mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 1 << 20)),
			 0);
	block = get(2048);
	assert_int_equal(mproc_ref_of(&first, segment, block), 0);
	assert_int_equal(mproc_arena_free(segment, block), 0);
	/* Far more than there are runs and slabs. */
	for (int i = 0; i < 1000000; i++)
		assert_int_equal(mproc_arena_free(segment, get(2048)), 0);
	do {
		block = get(2048);
		assert_int_equal(mproc_ref_of(&old, segment, block), 0);
		assert_int_equal(mproc_arena_free(segment, block), 0);
	} while (old.off != first.off);
	give_slabs_back();
	do {
		block = get(2048);
		assert_int_equal(mproc_ref_of(&now, segment, block), 0);
		assert_int_equal(mproc_arena_free(segment, block), 0);
	} while (now.off != first.off);
	assert_in_range((old.generation - first.generation) & (((uint64_t)1 << 40) - 1), 100000,
			1000000);
	assert_in_range((now.generation - old.generation) & (((uint64_t)1 << 40) - 1), 1, 1000);
	/* Pages where a slab was: likewise. */
	give_slabs_back();
	old = now;
	do {
		block = get(4096);
		assert_int_equal(mproc_ref_of(&now, segment, block), 0);
	} while (now.off / 4096 != old.off / 4096);
	assert_in_range((now.generation - old.generation) & (((uint64_t)1 << 40) - 1), 1, 1000);
}

static void structure_of_offsets_is_walked(void **state)
{
	mproc_off first = 0;
	struct node *node;
	uint64_t n = 0;

	(void)state;
	for (uint64_t i = 0; i < 1000; i++) {
		node = get(sizeof(*node));
		*node = (struct node){ first, i };
		first = mproc_off_of(segment, node);
		assert_true(first != 0);
	}
	while ((node = mproc_off_get(segment, first, struct node))) {
		first = node->next;
		assert_int_equal(node->number, 999 - n++);
	}
	assert_int_equal(n, 1000);
	assert_true(mproc_off_of(segment, NULL) == 0);
	assert_true(mproc_off_of(segment, &n) == 0);
	assert_non_null(strstr(mproc_error_text(), "is not in segment"));
	/* Any 64 bits: an address within a block in use, or none. */
	for (uint64_t i = 1; i < 100000; i++) {
		char *at = mproc_off_ptr(segment, i * UINT64_C(0x9e3779b97f4a7c15), 8, 1);

		assert_null(at);
	}
}

static void value_and_array_are_opened_by_reference(void **state)
{
	struct mproc_ref value_ref, array_ref;
	mproc_value *value, *same_value;
	mproc_array *array, *same_array;
	int64_t got;

	(void)state;
	assert_int_equal(mproc_value_create(&value, segment, NULL,
					    MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t))),
			 0);
	assert_int_equal(
		mproc_array_create(&array, segment, "numbers",
				   MPROC_ARRAY_OPTS(.type = MPROC_TYPE(int64_t), .n_items = 10)),
		0);
	assert_int_equal(mproc_value_ref(value, &value_ref), 0);
	assert_int_equal(mproc_array_ref(array, &array_ref), 0);
	assert_int_equal(
		mproc_value_open_ref(&same_value, segment, &value_ref, MPROC_TYPE(int64_t)), 0);
	assert_int_equal(
		mproc_array_open_ref(&same_array, segment, &array_ref, MPROC_TYPE(int64_t)), 0);
	assert_int_equal(mproc_value_add(value, int64_t, 7, NULL), 0);
	assert_int_equal(mproc_value_load(same_value, int64_t, &got), 0);
	assert_int_equal(got, 7);
	assert_int_equal(mproc_array_n_items(same_array), 10);
	assert_ptr_equal(mproc_array_ptr(array, MPROC_TYPE(int64_t), 3),
			 mproc_array_ptr(same_array, MPROC_TYPE(int64_t), 3));
	mproc_value_close(same_value);
	mproc_array_close(same_array);
	assert_int_equal(
		mproc_value_open_ref(&same_value, segment, &array_ref, MPROC_TYPE(int64_t)),
		-EEXIST);
	assert_int_equal(mproc_value_open_ref(&same_value, segment, &value_ref, MPROC_TYPE(int)),
			 -EPROTO);
	value_ref.generation++;
	assert_int_equal(
		mproc_value_open_ref(&same_value, segment, &value_ref, MPROC_TYPE(int64_t)),
		-ESTALE);
	/* It names an object, not a block. */
	assert_null(mproc_ref_get(segment, &array_ref, char));
	mproc_value_close(value);
	mproc_array_close(array);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(object_without_a_name_is_found_by_reference),
		TEST(reference_to_what_is_gone_is_stale),
		TEST(reference_that_is_made_up_is_refused),
		TEST(block_is_found_by_reference),
		TEST(every_page_of_a_long_block_leads_to_it),
		TEST(reference_that_does_not_fit_is_refused_with_a_text),
		TEST(reference_to_a_freed_or_moved_block_is_stale),
		TEST(place_of_a_slab_never_has_a_generation_again),
		TEST(structure_of_offsets_is_walked),
		TEST(value_and_array_are_opened_by_reference),
	};

	return cmocka_run_group_tests_name("ref", tests, NULL, NULL);
}
