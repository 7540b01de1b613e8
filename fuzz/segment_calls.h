/* SPDX-License-Identifier: MIT */
#ifndef MPROC_FUZZ_SEGMENT_CALLS_H
#define MPROC_FUZZ_SEGMENT_CALLS_H

/*
 * One object of each kind in a segment, and one call on each
 *
 * For processes that have no business in a sound segment: the calls check nothing but
 * that they come back in time, with an error or without.
 */

#include <stdint.h>

#include <mproc/segment.h>

/* Options of a segment that has room for them all. */
extern const struct mproc_segment_opts fuzz_segment_opts;

struct fuzz_objects {
	uint32_t n; /* kinds of objects */

	/* Make one object of each kind. Return: 0 or a negative errno. */
	int (*make)(mproc_segment *segment);

	/* Take locks, permits, memory, and stay in calls: for who is then killed. */
	void (*hold)(mproc_segment *segment);

	/*
	 * Find object @i and make call @op on it, which waits 2 ms at most.
	 *
	 * Return: what the call returned.
	 */
	int (*call)(mproc_segment *segment, uint32_t i, uint8_t op);
};

extern const struct fuzz_objects fuzz_plain; /* what is of a fixed length */
extern const struct fuzz_objects fuzz_typed; /* what holds values of any length */

#endif /* MPROC_FUZZ_SEGMENT_CALLS_H */
