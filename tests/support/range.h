/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_RANGE_H
#define MPROC_TESTS_RANGE_H

/*
 * A bare attached range for tests of ipc/: a memfd with a registry and some room
 */

#include <stddef.h>

#include "ipc/attach.h"

struct t_range {
	struct mproc__range *range;
	char *base; /* of the mapping */
	size_t size;
	char *room; /* zeroed memory of the test's own, 64-byte aligned */
	size_t room_len;
};

/* Map and attach one of @procs process slots and @threads records. Return: 0 or negative. */
int t_range_open(struct t_range *ret, unsigned procs, unsigned threads, size_t room_len);

/* The same with @reserve bytes of address space behind the file: touching them is SIGBUS. */
int t_range_open_reserving(struct t_range *ret, unsigned procs, unsigned threads, size_t room_len,
			   size_t reserve);

/* Leave and unmap. */
void t_range_close(struct t_range *range);

/*
 * Reap until @living processes are left, this one among them, or until @deadline;
 * then go through the registry.
 *
 * Return: NULL, or what is wrong with it: a slot or record that did not come back, is
 * not clean, or belongs to nobody.
 */
const char *t_range_fault(struct t_range *range, unsigned living, int64_t deadline);

#endif /* MPROC_TESTS_RANGE_H */
