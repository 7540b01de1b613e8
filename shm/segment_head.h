/* SPDX-License-Identifier: MIT */
#ifndef MPROC__SEGMENT_HEAD_H
#define MPROC__SEGMENT_HEAD_H

/*
 * The header of a segment: what a new one shall be like, whether another's is in order
 */

#include "shm/segment_layout.h"

/*
 * What a new segment shall be like.
 * @name:	or NULL if it is anonymous
 * @what:	for the texts: "create jobs"
 *
 * Return: 0, or -EINVAL or -E2BIG.
 */
int mproc__head_make(struct mproc__segment_head *ret, const char *name,
		     const struct mproc_segment_opts *opts, const char *what);

/* The parts of a new segment's file that are memory, in ascending order. */
#define MPROC__HEAD_SPANS (MPROC__ARENA_SPANS + 1)
void mproc__head_spans(const struct mproc__segment_head *head,
		       struct mproc__span ret[MPROC__HEAD_SPANS]);

/* Write what a new segment begins with into its zeroed memory. */
int mproc__head_write(void *base, const struct mproc__segment_head *head, const char *what);

/*
 * May we use the segment that @fd opens, and @head was read from?
 *
 * Return: 0 and the bytes that are allocated, -EPROTO if it is another layout's,
 * -EBADMSG if it is impossible, -EPERM if others may write than should.
 */
int mproc__head_check(int fd, const struct mproc__segment_head *head, uint64_t *ret_size,
		      const char *what);

#endif /* MPROC__SEGMENT_HEAD_H */
