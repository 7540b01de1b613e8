/* SPDX-License-Identifier: MIT */

/*
 * References to blocks, checked where they are used
 *
 * A reference names a block by the offset of any byte in it and the block's generation;
 * the words of the arena say whether such a block is in use there. All that is read of
 * the reference is read once. Nothing here writes shared memory or needs an identity, so
 * it works wherever the segment is mapped.
 *
 * The 8-byte form keeps 46 bits of the offset, all that a segment can have, and folds
 * the generation into the other 18. Generations at one place grow by one with each
 * use, so the fold is a multiplication that spreads neighbours (Knuth, TAOCP 3, 6.4).
 */

#include <mproc/ref.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "ipc/error.h"
#include "shm/arena.h"
#include "shm/segment_layout.h"

#define OFF_BITS 46

static_assert(MPROC__SEGMENT_SIZE_MAX == UINT64_C(1) << OFF_BITS, "an offset would be cut");

static uint64_t mark_of(uint64_t generation)
{
	return generation * UINT64_C(0x9e3779b97f4a7c15) >> OFF_BITS;
}

static int of(mproc_segment *segment, const void *ptr, uint64_t *ret_off, uint64_t *ret_generation)
{
	uint64_t off = (uint64_t)((uintptr_t)ptr - (uintptr_t)mproc__segment_at(segment, 0, 0));
	uint64_t room;

	if (!mproc__segment_at(segment, off, 1))
		return mproc__fail(-EINVAL, "ref: address %p is not in segment %s", ptr,
				   segment->name[0] ? segment->name : "without a name");
	*ret_generation = mproc__arena_block_at(segment, off, &room);
	if (!*ret_generation)
		return mproc__fail(-ESTALE, "ref: no block in use at offset %" PRIu64, off);
	*ret_off = off;
	return 0;
}

int mproc_ref_of(struct mproc_ref *ret, mproc_segment *segment, const void *ptr)
{
	uint64_t off, generation;
	int r;

	assert(ret);
	r = mproc__segment_get(&segment, segment);
	if (r == 0)
		r = of(segment, ptr, &off, &generation);
	if (r == 0)
		*ret = (struct mproc_ref){ segment->id, off, generation };
	return r;
}

/* The address of [off, off + len) of a block in use, whose generation is told. */
static int at(void **ret, mproc_segment *segment, uint64_t off, size_t len, size_t align,
	      uint64_t *ret_generation)
{
	uint64_t room;
	void *ptr;

	*ret_generation = mproc__arena_block_at(segment, off, &room);
	if (__builtin_expect(!*ret_generation, 0))
		return mproc__fail(-ESTALE, "ref: no block in use at offset %" PRIu64, off);
	if (__builtin_expect(len > room, 0))
		return mproc__fail(-ESTALE,
				   "ref: %zu bytes wanted at offset %" PRIu64
				   ", its block ends after %" PRIu64,
				   len, off, room);
	ptr = mproc__segment_at(segment, off, len);
	if (__builtin_expect(!ptr || ((uintptr_t)ptr & (align - 1)), 0))
		return mproc__fail(-EINVAL, "ref: offset %" PRIu64 " is no multiple of %zu", off,
				   align);
	*ret = ptr;
	return 0;
}

int mproc_ref_at(void **ret, mproc_segment *segment, const struct mproc_ref *ref, size_t len,
		 size_t align)
{
	const volatile struct mproc_ref *shared = ref;
	uint64_t off, generation;
	void *ptr;
	int r;

	assert(ret && ref && align && !(align & (align - 1)));
	r = mproc__segment_get(&segment, segment);
	if (r < 0)
		return r;
	if (shared->segment != segment->id)
		return mproc__fail(-EINVAL, mproc_ref_is_none(ref)
						    ? "ref: it names nothing"
						    : "ref: it is another segment's");
	off = shared->off;
	r = at(&ptr, segment, off, len, align, &generation);
	if (r == 0 && generation != shared->generation)
		r = mproc__fail(-ESTALE, "ref: the block at offset %" PRIu64 " is another one",
				off);
	if (r == 0)
		*ret = ptr;
	return r;
}

void *mproc_ref_ptr(mproc_segment *segment, const struct mproc_ref *ref, size_t len, size_t align)
{
	void *ptr;

	return mproc_ref_at(&ptr, segment, ref, len, align) < 0 ? NULL : ptr;
}

mproc_off mproc_off_of(mproc_segment *segment, const void *ptr)
{
	uint64_t off, generation;

	if (!ptr || mproc__segment_get(&segment, segment) < 0 ||
	    of(segment, ptr, &off, &generation) < 0)
		return 0;
	return mark_of(generation) << OFF_BITS | off;
}

void *mproc_off_ptr(mproc_segment *segment, mproc_off marked, size_t len, size_t align)
{
	uint64_t off = marked & ((UINT64_C(1) << OFF_BITS) - 1), generation;
	void *ptr;

	assert(align && !(align & (align - 1)));
	if (!marked || mproc__segment_get(&segment, segment) < 0 ||
	    at(&ptr, segment, off, len, align, &generation) < 0)
		return NULL;
	if (mark_of(generation) == marked >> OFF_BITS)
		return ptr;
	(void)mproc__fail(-ESTALE, "off: the block at offset %" PRIu64 " is another one", off);
	return NULL;
}
