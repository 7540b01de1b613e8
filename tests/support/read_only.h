/* SPDX-License-Identifier: MIT */
#ifndef T_READ_ONLY_H
#define T_READ_ONLY_H

/*
 * A table of calls, each made in a child of its own: a write that somebody forgot to refuse
 * is a SIGSEGV there, and has its name here
 *
 * CALLS(X, Q, V, E) is defined before this is included; its lines are
 *
 *	X(want, fn, ...)	what fn(...) returns; -EROFS has a text
 *	Q(want, fn, ...)	likewise, but without a text: for signal handlers
 *	V(fn, ...)		it returns nothing and does nothing
 *	E(want, fn, expression)	for those that return something else
 */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/child.h"

#define T_ROW(want, fn, ...)       { #fn, (want), (want) == -EROFS },
#define T_ROW_QUIET(want, fn, ...) { #fn, (want), false },
#define T_ROW_NOTHING(fn, ...)     { #fn, 0, false },

static const struct {
	const char *name;
	int64_t want;
	bool says_why;
} rows[] = { CALLS(T_ROW, T_ROW_QUIET, T_ROW_NOTHING, T_ROW) };

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

#define T_RUN(want, fn, ...) \
	if (row == n++) \
		return (int64_t)fn(__VA_ARGS__);
#define T_RUN_NOTHING(fn, ...) \
	if (row == n++) { \
		fn(__VA_ARGS__); \
		return 0; \
	}
#define T_RUN_EXPRESSION(want, fn, expression) \
	if (row == n++) \
		return (int64_t)(expression);

static int64_t run(size_t row)
{
	size_t n = 0;

	CALLS(T_RUN, T_RUN, T_RUN_NOTHING, T_RUN_EXPRESSION)
	return INT64_MIN;
}

static void run_row(void *arg)
{
	size_t row = (size_t)(uintptr_t)arg;
	int64_t got = run(row);

	if (got != rows[row].want)
		dprintf(STDERR_FILENO, "%s: %lld, not %lld (%s)\n", rows[row].name, (long long)got,
			(long long)rows[row].want, mproc_error_text());
	t_check(got == rows[row].want);
	t_check(!rows[row].says_why || strstr(mproc_error_text(), "reading only"));
}

/* All of them; nothing of the @n_bytes at @mem, which are others' view of it, changes. */
static void run_all(const void *mem, size_t n_bytes)
{
	char *was = malloc(n_bytes);

	assert_non_null(was);
	memcpy(was, mem, n_bytes);
	for (size_t row = 0; row < N_ROWS; row++) {
		int r = t_reap(t_spawn(run_row, (void *)(uintptr_t)row));

		if (r)
			print_message("# %s: %d\n", rows[row].name, r);
		assert_int_equal(r, 0);
	}
	assert_memory_equal(was, mem, n_bytes);
	free(was);
}

static bool has_row(const char *name)
{
	size_t n = strlen(name);

	/* Names of macros are in parentheses. */
	for (size_t i = 0; i < N_ROWS; i++) {
		const char *is = rows[i].name + (rows[i].name[0] == '(');

		if (!strncmp(is, name, n) && (!is[n] || is[n] == ')'))
			return true;
	}
	return false;
}

/* Every public function of @rooms, which NULL ends, is in the table. Return: how many. */
static size_t check_rows(const char *const *rooms)
{
	FILE *map = fopen(MPROC_MAP, "r");
	char line[256], name[128], want[64];
	size_t n = 0;

	assert_non_null(map);
	while (fgets(line, sizeof(line), map)) {
		if (sscanf(line, " %127[a-z_0-9];", name) != 1)
			continue;
		for (size_t i = 0; rooms[i]; i++) {
			snprintf(want, sizeof(want), "mproc_%s_", rooms[i]);
			if (strncmp(name, want, strlen(want)) != 0)
				continue;
			if (!has_row(name))
				print_message("# %s has no row\n", name);
			assert_true(has_row(name));
			n++;
		}
	}
	fclose(map);
	return n;
}

#endif /* T_READ_ONLY_H */
