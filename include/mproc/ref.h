/* SPDX-License-Identifier: MIT */
#ifndef MPROC_REF_H
#define MPROC_REF_H

/*
 * References: what names an object or a block of a segment in every process
 *
 * Addresses differ from process to process; a reference is 24 bytes that mean the same
 * everywhere, may be stored in shared memory and sent in messages, and are checked when
 * they are used: one that is stale or made up gives an error, never a wild pointer.
 *
 *	Threads		a reference is plain bytes
 *	Fork		nothing here changes across fork(2)
 *	Signals		nothing here is a call
 *	Killed		nothing here writes shared memory
 *	Errors		none
 */

#include <mproc/common.h>

MPROC_BEGIN_DECLS

/* All zero: nothing. */
struct mproc_ref {
	uint64_t segment;    /* random; which one it is in */
	uint64_t off;        /* bytes from the start of the segment */
	uint64_t generation; /* the same offset never has it twice */
};

#define MPROC_REF_NONE \
	{ \
		0, 0, 0 \
	}

static inline int mproc_ref_is_none(const struct mproc_ref *ref)
{
	return !ref->segment && !ref->off && !ref->generation;
}

static inline int mproc_ref_equal(const struct mproc_ref *a, const struct mproc_ref *b)
{
	return a->segment == b->segment && a->off == b->off && a->generation == b->generation;
}

MPROC_END_DECLS

#endif /* MPROC_REF_H */
