/* SPDX-License-Identifier: MIT */

/*
 * mproc/error.h: the text of an error belongs to its thread, and the log
 */

#include <mproc/error.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/error.h"
#include "tests/support/child.h"

static void failing_call_returns_its_code_and_leaves_its_text(void **state)
{
	(void)state;
	assert_int_equal(mproc__fail(-ENOSPC, "create %s: %d MiB wanted", "jobs", 64), -ENOSPC);
	assert_string_equal(mproc_error_text(), "create jobs: 64 MiB wanted");

	assert_int_equal(mproc__fail(-EINVAL, "next"), -EINVAL);
	assert_string_equal(mproc_error_text(), "next");
}

static void text_of_an_errno_ends_in_its_meaning(void **state)
{
	(void)state;
	assert_int_equal(mproc__fail_errno(-ENOENT, "open %s", "jobs"), -ENOENT);
	assert_string_equal(mproc_error_text(), "open jobs: No such file or directory");
}

static void text_that_is_too_long_is_cut(void **state)
{
	char longest[2 * MPROC__ERROR_MAX];

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;

	assert_int_equal(mproc__fail(-EINVAL, "%s", longest), -EINVAL);
	assert_int_equal(strlen(mproc_error_text()), MPROC__ERROR_MAX - 1);
	assert_memory_equal(mproc_error_text(), longest, MPROC__ERROR_MAX - 1);

	/* The meaning of the errno is what must not be cut. */
	assert_int_equal(mproc__fail_errno(-ENOENT, "%s", longest), -ENOENT);
	assert_non_null(strstr(mproc_error_text(), "x: No such file or directory"));
}

static void text_may_quote_the_text_before_it(void **state)
{
	(void)state;
	assert_int_equal(mproc__fail(-EINVAL, "inner"), -EINVAL);
	assert_int_equal(mproc__fail(-EINVAL, "outer: %s", mproc_error_text()), -EINVAL);
	assert_string_equal(mproc_error_text(), "outer: inner");
	assert_int_equal(mproc__fail_errno(-EIO, "%s", mproc_error_text()), -EIO);
	assert_string_equal(mproc_error_text(), "outer: inner: Input/output error");
}

static void *fail_elsewhere(void *arg)
{
	(void)arg;
	if (*mproc_error_text())
		return "a new thread starts with a text";
	mproc__fail(-EINVAL, "elsewhere");
	return strcmp(mproc_error_text(), "elsewhere") ? "its own text is lost" : NULL;
}

static void text_belongs_to_its_thread(void **state)
{
	pthread_t thread;
	void *wrong;

	(void)state;
	assert_int_equal(mproc__fail(-EINVAL, "here"), -EINVAL);
	assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
	assert_int_equal(pthread_join(thread, &wrong), 0);
	if (wrong)
		fail_msg("%s", (char *)wrong);
	assert_string_equal(mproc_error_text(), "here");
}

static void find_text_of_parent(void *arg)
{
	(void)arg;
	t_check(!strcmp(mproc_error_text(), "before fork"));
	mproc__fail(-EINVAL, "in the child");
}

static void child_starts_with_the_text_of_its_parent(void **state)
{
	(void)state;
	assert_int_equal(mproc__fail(-EINVAL, "before fork"), -EINVAL);
	assert_int_equal(t_reap(t_spawn(find_text_of_parent, NULL)), 0);
	assert_string_equal(mproc_error_text(), "before fork");
}

struct lines {
	int n;
	char last[MPROC__ERROR_MAX];
};

static void keep_line(const char *line, void *arg)
{
	struct lines *lines = arg;

	lines->n++;
	strcpy(lines->last, line);
}

static void log_tells_one_line_to_whoever_asked(void **state)
{
	struct lines lines = { 0 };

	(void)state;
	mproc__log("nobody listens");
	mproc_set_log(keep_line, &lines);
	assert_int_equal(lines.n, 0);

	mproc__log("worker %d replaced", 3);
	assert_int_equal(lines.n, 1);
	assert_string_equal(lines.last, "worker 3 replaced");

	mproc_set_log(NULL, NULL);
	mproc__log("nobody listens");
	assert_int_equal(lines.n, 1);
}

static void log_again(const char *line, void *arg)
{
	struct lines *lines = arg;

	/* Under a lock of the log, either call would wait for itself. */
	mproc_set_log(keep_line, lines);
	mproc__log("again: %s", line);
}

static void log_function_may_call_the_library(void **state)
{
	struct lines lines = { 0 };

	(void)state;
	mproc_set_log(log_again, &lines);
	mproc__log("once");
	mproc_set_log(NULL, NULL);
	assert_int_equal(lines.n, 1);
	assert_string_equal(lines.last, "again: once");
}

static void log_leaves_the_error_text_alone(void **state)
{
	struct lines lines = { 0 };

	(void)state;
	assert_int_equal(mproc__fail(-EINVAL, "kept"), -EINVAL);
	mproc_set_log(keep_line, &lines);
	mproc__log("said");
	mproc_set_log(NULL, NULL);
	assert_int_equal(lines.n, 1);
	assert_string_equal(mproc_error_text(), "kept");
}

static void sizes_are_told_in_the_largest_unit_that_fits(void **state)
{
	static const struct {
		uint64_t size;
		const char *text;
	} cases[] = {
		{ 0, "0 B" },
		{ 17, "17 B" },
		{ 1023, "1023 B" },
		{ 1024, "1 KiB" },
		{ 1536, "1.5 KiB" },
		{ UINT64_C(64) << 20, "64 MiB" },
		{ (UINT64_C(1) << 30) + (UINT64_C(1) << 28), "1.2 GiB" },
		{ UINT64_C(1) << 40, "1 TiB" },
		{ UINT64_C(1) << 60, "1 EiB" },
		{ UINT64_MAX, "16 EiB" },
	};
	char buf[24];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(mproc__size_text(buf, cases[i].size), cases[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failing_call_returns_its_code_and_leaves_its_text),
		cmocka_unit_test(text_of_an_errno_ends_in_its_meaning),
		cmocka_unit_test(text_that_is_too_long_is_cut),
		cmocka_unit_test(text_may_quote_the_text_before_it),
		cmocka_unit_test(text_belongs_to_its_thread),
		cmocka_unit_test(child_starts_with_the_text_of_its_parent),
		cmocka_unit_test(log_tells_one_line_to_whoever_asked),
		cmocka_unit_test(log_function_may_call_the_library),
		cmocka_unit_test(log_leaves_the_error_text_alone),
		cmocka_unit_test(sizes_are_told_in_the_largest_unit_that_fits),
	};

	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
