/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_LEAKS_H
#define MPROC_TESTS_LEAKS_H

/*
 * What a test of segments must have given back: descriptors, and files in MPROC_DIR
 *
 * Include after cmocka.h; the test's main() has called t_private_dir().
 */

#include <stdio.h>

#include "tests/support/child.h"

static size_t t_leaks_fds;

/* Where the segment NAME has its file; valid until the next call. */
static inline const char *t_segment_path(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/mproc.%s", t_private_dir(), name);
	return path;
}

static inline void t_leaks_begin(void)
{
	t_leaks_fds = t_count_fds();
}

/* Whatever the test did: no descriptor and no file is left. */
static inline void t_leaks_end(void)
{
	assert_int_equal(t_count_fds(), t_leaks_fds);
	assert_int_equal(t_dir_entries(NULL, ""), 0);
}

#endif /* MPROC_TESTS_LEAKS_H */
