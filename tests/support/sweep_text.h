/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_SWEEP_TEXT_H
#define MPROC_TESTS_SWEEP_TEXT_H

/*
 * Kill points in words
 */

#include <stddef.h>

#include "tests/support/sweep_world.h"

/* "futex", or "system call 4711"; valid until the next call. */
const char *t_call_name(long call);

/* Where a world was killed: point, instruction and place of the source. */
void t_where_text(char *buf, size_t len, enum t_pass pass, const struct t_world *world);

#endif /* MPROC_TESTS_SWEEP_TEXT_H */
