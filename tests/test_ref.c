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

#include <mproc/segment.h>

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

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(object_without_a_name_is_found_by_reference),
		TEST(reference_to_what_is_gone_is_stale),
		TEST(reference_that_is_made_up_is_refused),
	};

	return cmocka_run_group_tests_name("ref", tests, NULL, NULL);
}
