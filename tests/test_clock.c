/* SPDX-License-Identifier: MIT */

/*
 * Deadlines: never out of range, never earlier than asked
 */

#include <mproc/common.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "ipc/clock.h"

static void deadline_lies_as_far_ahead_as_asked(void **state)
{
	static const struct {
		int64_t (*after)(int64_t);
		int64_t n, ns;
	} cases[] = {
		{ mproc_after_ns, 1, 1 },
		{ mproc_after_ns, 250, 250 },
		{ mproc_after_us, 250, 250000 },
		{ mproc_after_ms, 250, 250000000 },
		{ mproc_after_ms, INT64_C(100) * 365 * 86400 * 1000,
		  INT64_C(100) * 365 * 86400 * 1000000000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t before = mproc_now();
		int64_t deadline = cases[i].after(cases[i].n);
		int64_t after = mproc_now();

		assert_true(deadline - cases[i].ns >= before);
		assert_true(deadline - cases[i].ns <= after);
	}
}

static void deadline_of_nothing_or_less_has_just_passed(void **state)
{
	static int64_t (*const after[])(int64_t) = { mproc_after_ns, mproc_after_us,
						     mproc_after_ms };
	static const int64_t past[] = { 0, -1, -1000000, INT64_MIN + 1, INT64_MIN };

	(void)state;
	for (size_t i = 0; i < sizeof(after) / sizeof(after[0]); i++) {
		for (size_t j = 0; j < sizeof(past) / sizeof(past[0]); j++) {
			int64_t before = mproc_now();
			int64_t deadline = after[i](past[j]);

			/* Not MPROC_NOWAIT, whose answer would be another one. */
			assert_true(deadline >= before && deadline > MPROC_NOWAIT);
			assert_true(deadline <= mproc_now());
		}
	}
}

static void deadline_beyond_the_end_of_time_is_forever(void **state)
{
	(void)state;
	assert_true(mproc_after_ns(INT64_MAX) == MPROC_FOREVER);
	assert_true(mproc_after_us(INT64_MAX) == MPROC_FOREVER);
	assert_true(mproc_after_ms(INT64_MAX) == MPROC_FOREVER);

	/* The factor alone overflows. */
	assert_true(mproc_after_us(INT64_MAX / 1000 + 1) == MPROC_FOREVER);
	assert_true(mproc_after_ms(INT64_MAX / 1000000 + 1) == MPROC_FOREVER);

	/* The factor does not, the sum does. */
	assert_true(mproc_after_ns(INT64_MAX - 1) == MPROC_FOREVER);
	assert_true(mproc_after_us(INT64_MAX / 1000) == MPROC_FOREVER);
	assert_true(mproc_after_ms(INT64_MAX / 1000000) == MPROC_FOREVER);
}

static void deadline_that_fits_is_not_forever(void **state)
{
	int64_t room = INT64_MAX - mproc_now();

	(void)state;
	/* An hour before the last nanosecond there is. */
	room -= INT64_C(3600) * 1000000000;
	assert_true(mproc_after_ns(room) < MPROC_FOREVER);
	assert_true(mproc_after_us(room / 1000) < MPROC_FOREVER);
	assert_true(mproc_after_ms(room / 1000000) < MPROC_FOREVER);
}

static void clock_of_deadlines_is_monotonic(void **state)
{
	int64_t last = mproc_now();
	struct timespec ts;

	(void)state;
	assert_true(last > 0);
	for (int i = 0; i < 1000; i++) {
		int64_t now = mproc_now();

		assert_true(now >= last);
		last = now;
	}
	clock_gettime(CLOCK_MONOTONIC, &ts);
	assert_true(ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec >= last);
}

static void clock_for_display_is_the_real_one(void **state)
{
	struct timespec before, after;
	int64_t now;

	(void)state;
	clock_gettime(CLOCK_REALTIME, &before);
	now = mproc__clock_real();
	clock_gettime(CLOCK_REALTIME, &after);

	assert_true(now >= before.tv_sec * INT64_C(1000000000) + before.tv_nsec);
	assert_true(now <= after.tv_sec * INT64_C(1000000000) + after.tv_nsec);
}

static void negative_deadline_is_refused_by_name(void **state)
{
	(void)state;
	assert_int_equal(mproc__deadline_check("mutex lock", MPROC_NOWAIT), 0);
	assert_int_equal(mproc__deadline_check("mutex lock", 1), 0);
	assert_int_equal(mproc__deadline_check("mutex lock", MPROC_FOREVER), 0);

	assert_int_equal(mproc__deadline_check("mutex lock", -17), -EINVAL);
	assert_string_equal(mproc_error_text(), "mutex lock: deadline -17 is negative");
	assert_int_equal(mproc__deadline_check("mutex lock", INT64_MIN), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deadline_lies_as_far_ahead_as_asked),
		cmocka_unit_test(deadline_of_nothing_or_less_has_just_passed),
		cmocka_unit_test(deadline_beyond_the_end_of_time_is_forever),
		cmocka_unit_test(deadline_that_fits_is_not_forever),
		cmocka_unit_test(clock_of_deadlines_is_monotonic),
		cmocka_unit_test(clock_for_display_is_the_real_one),
		cmocka_unit_test(negative_deadline_is_refused_by_name),
	};

	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
