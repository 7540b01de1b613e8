/* SPDX-License-Identifier: MIT */

/*
 * Option structs of callers older and newer than the library
 */

#include "ipc/opts.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <mproc/error.h>

struct older_opts {
	size_t size;
	uint32_t depth;
	uint32_t width;
};

struct known_opts {
	size_t size;
	uint32_t depth;
	uint32_t width;
	uint64_t mode;
};

struct newer_opts {
	size_t size;
	uint32_t depth;
	uint32_t width;
	uint64_t mode;
	uint64_t colour;
};

static const struct known_opts garbage = { 77, 77, 77, 77 };

static void null_means_all_defaults(void **state)
{
	struct known_opts got = garbage;

	(void)state;
	assert_int_equal(mproc__opts_copy("create jobs", &got, sizeof(got), NULL), 0);
	assert_int_equal(got.size, sizeof(got));
	assert_int_equal(got.depth, 0);
	assert_int_equal(got.width, 0);
	assert_int_equal(got.mode, 0);
}

static void options_of_the_same_age_are_copied(void **state)
{
	const struct known_opts given = { sizeof(given), 1, 2, 3 };
	struct known_opts got = garbage;

	(void)state;
	assert_int_equal(mproc__opts_copy("create jobs", &got, sizeof(got), &given), 0);
	assert_memory_equal(&got, &given, sizeof(got));
}

static void options_of_an_older_caller_are_completed_by_zeroes(void **state)
{
	const struct older_opts given = { sizeof(given), 1, 2 };
	struct known_opts got = garbage;

	(void)state;
	assert_int_equal(mproc__opts_copy("create jobs", &got, sizeof(got), &given), 0);
	assert_int_equal(got.size, sizeof(got));
	assert_int_equal(got.depth, 1);
	assert_int_equal(got.width, 2);
	assert_int_equal(got.mode, 0);
}

static void options_of_a_newer_caller_pass_while_unused(void **state)
{
	struct newer_opts given = { sizeof(given), 1, 2, 3, 0 };
	struct known_opts got = garbage;

	(void)state;
	assert_int_equal(mproc__opts_copy("create jobs", &got, sizeof(got), &given), 0);
	assert_int_equal(got.size, sizeof(got));
	assert_int_equal(got.mode, 3);
}

static void options_from_the_future_are_refused_by_their_place(void **state)
{
	struct newer_opts given = { sizeof(given), 1, 2, 3, 0 };
	struct known_opts got;
	char want[128];

	(void)state;
	/* Whichever byte of the unknown is not zero. */
	for (size_t i = offsetof(struct newer_opts, colour); i < sizeof(given); i++) {
		given.colour = 0;
		((unsigned char *)&given)[i] = 1;
		assert_int_equal(mproc__opts_copy("create jobs", &got, sizeof(got), &given),
				 -E2BIG);
		snprintf(want, sizeof(want),
			 "create jobs: option at byte %zu is unknown to this library, which knows "
			 "%zu bytes",
			 i, sizeof(got));
		assert_string_equal(mproc_error_text(), want);
	}
}

static void size_that_cannot_be_one_is_refused(void **state)
{
	static const size_t sizes[] = { 0, 1, sizeof(size_t) - 1, 4097, SIZE_MAX };
	struct known_opts given = { 0, 1, 2, 3 }, got;
	char want[128];

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		given.size = sizes[i];
		assert_int_equal(mproc__opts_copy("create jobs", &got, sizeof(got), &given),
				 -EINVAL);
		snprintf(want, sizeof(want),
			 "create jobs: option struct of %zu bytes, expected %zu", sizes[i],
			 sizeof(got));
		assert_string_equal(mproc_error_text(), want);
	}
}

static void struct_of_nothing_but_its_size_is_all_defaults(void **state)
{
	const size_t given = sizeof(given);
	struct known_opts got = garbage;

	(void)state;
	assert_int_equal(mproc__opts_copy("create jobs", &got, sizeof(got), &given), 0);
	assert_int_equal(got.size, sizeof(got));
	assert_int_equal(got.depth, 0);
	assert_int_equal(got.mode, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(null_means_all_defaults),
		cmocka_unit_test(options_of_the_same_age_are_copied),
		cmocka_unit_test(options_of_an_older_caller_are_completed_by_zeroes),
		cmocka_unit_test(options_of_a_newer_caller_pass_while_unused),
		cmocka_unit_test(options_from_the_future_are_refused_by_their_place),
		cmocka_unit_test(size_that_cannot_be_one_is_refused),
		cmocka_unit_test(struct_of_nothing_but_its_size_is_all_defaults),
	};

	return cmocka_run_group_tests_name("opts", tests, NULL, NULL);
}
