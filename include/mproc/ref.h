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
 * An mproc_off is the same in 8 bytes, for structures whose parts point at each other
 * within one segment: lists, trees, what has pointers in private memory. Being one
 * word it can be an _Atomic(mproc_off), and a change of it a commit.
 *
 * A check says that the block was in use, as the same block, at one instant of the
 * call. That nobody frees it while the pointer is used is for the program to see to.
 *
 *	Threads		a reference is plain bytes; any number may be in here
 *	Fork		references mean the same in the child
 *	Signals		not safe in a signal handler, but for the inline functions
 *	Killed		nothing here writes shared memory
 *	Errors		a negative errno, or NULL, with a text
 */

#include <stdint.h>

#include <mproc/common.h>

MPROC_BEGIN_DECLS

/* Of <mproc/segment.h>, which includes this. */
typedef struct mproc_segment mproc_segment;

/* All zero: nothing. */
struct mproc_ref {
	uint64_t segment;    /* random; which one it is in */
	uint64_t off;        /* bytes from the start of the segment */
	uint64_t generation; /* the same offset has it once in 2^40 allocations */
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

/**
 * mproc_ref_of() - a reference to what lies in a block
 * @ret:	the reference
 * @segment:	segment it is in, or NULL for the default one
 * @ptr:	any address within a block of <mproc/arena.h> or the memory of an object
 *
 * Return: 0, or -EINVAL if @ptr is not in @segment, -ESTALE if it is in no block in
 * use, or as mproc_segment_default().
 */
MPROC_API MPROC_MUST int mproc_ref_of(struct mproc_ref *ret, mproc_segment *segment,
				      const void *ptr);

/**
 * mproc_ref_at() - the address of what a reference names
 * @ret:	its address in this process
 * @segment:	segment, or NULL for the default one
 * @ref:	reference; read once, so that it may lie in shared memory
 * @len:	bytes that shall lie there, within the same block
 * @align:	a power of two that the address shall be a multiple of
 *
 * Return: 0, or -EINVAL if @ref names nothing or another segment, or the address is
 * not aligned, -ESTALE if the block was freed or has moved, or is too short,
 * or as mproc_segment_default().
 */
MPROC_API MPROC_MUST int mproc_ref_at(void **ret, mproc_segment *segment,
				      const struct mproc_ref *ref, size_t len, size_t align);

/* The same, NULL if it fails: what mproc_ref_get() calls. */
MPROC_API void *mproc_ref_ptr(mproc_segment *segment, const struct mproc_ref *ref, size_t len,
			      size_t align);

/* Where something lies in a segment, and a mark of its block; 0: nowhere. Opaque. */
typedef uint64_t mproc_off;

/**
 * mproc_off_of() - the offset of what lies in a block
 * @segment:	segment it is in, or NULL for the default one
 * @ptr:	as for mproc_ref_of(); NULL has the offset 0
 *
 * Return: the offset; 0 with a text if @ptr is in no block of @segment.
 */
MPROC_API mproc_off mproc_off_of(mproc_segment *segment, const void *ptr);

/**
 * mproc_off_ptr() - the address of what an offset names; mproc_off_get() is the typed form
 * @segment:	segment, or NULL for the default one
 * @off:	offset
 * @len:	bytes that shall lie there, within the same block
 * @align:	a power of two that the address shall be a multiple of
 *
 * The mark has 18 bits: an offset to a block that was freed is found out if the place is
 * free, and all but 1 time in 262,144 if it is in use again. Where that is too often
 * there is struct mproc_ref, which is exact.
 *
 * Return: the address, or NULL: with no text if @off is 0, else with one.
 */
MPROC_API void *mproc_off_ptr(mproc_segment *segment, mproc_off off, size_t len, size_t align);

#ifdef __cplusplus
#define MPROC__ALIGNOF(T) alignof(T)
#else
#define MPROC__ALIGNOF(T) _Alignof(T)
#endif

/* mproc_ref_get(segment, &ref, struct node): a struct node *, or NULL with a text. */
#define mproc_ref_get(segment, ref, T) \
	((T *)mproc_ref_ptr((segment), (ref), sizeof(T), MPROC__ALIGNOF(T)))

/* mproc_off_get(segment, node->next, struct node): likewise. */
#define mproc_off_get(segment, off, T) \
	((T *)mproc_off_ptr((segment), (off), sizeof(T), MPROC__ALIGNOF(T)))

MPROC_END_DECLS

#endif /* MPROC_REF_H */
