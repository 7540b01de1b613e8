/* SPDX-License-Identifier: MIT */
#ifndef MPROC__ARENA_H
#define MPROC__ARENA_H

/*
 * Allocation inside a segment, with an owner on every block
 *
 * A block is born PRIVATE to the calling process: if that dies before the block
 * is published, the reaper takes it back. Published blocks belong to the segment
 * (or to the object that refers to them) until they are freed. Any thread of a
 * process may free, publish or use what is private to it.
 *
 * @me is who the caller is in @segment. A process killed inside a call leaves the
 * arena whole and no block that is neither allocated nor free; the call has happened
 * or not.
 */

#include "shm/segment.h"

/*
 * Allocate @len bytes, aligned to 64, the whole block zeroed if @zero. A block has
 * the next power of two of bytes up to 2 KiB (64 at least), whole pages of 4 KiB
 * beyond. Before it fails for want of room, what the dead have left is reaped: so
 * not with the fork lock held; then the segment is made larger, if it may be. A
 * large one waits for who is just allocating or freeing another, even if that party
 * stands still; a small one does seldom.
 *
 * Return: 0 and the offset of the block in the segment, or -ENOSPC with a text
 * that names the bytes wanted, the largest free block, the arena's bytes now and at
 * most, and what there is too little of to make it larger, -EBADMSG if the arena is
 * corrupt.
 */
int mproc__arena_alloc(mproc_segment *segment, struct mproc__self *me, uint64_t len, bool zero,
		       uint64_t *ret_off);

/*
 * The same, not zeroed, at a multiple of @align bytes from the start of the segment, which
 * is a power of two. Beyond a page, what lies before and behind it stays free.
 */
int mproc__arena_alloc_aligned(mproc_segment *segment, struct mproc__self *me, uint64_t len,
			       uint64_t align, uint64_t *ret_off);

/*
 * Make a PRIVATE block of this process one of the segment. One CAS; killed
 * before it the block is the reaper's.
 *
 * Return: 0, or -ESTALE if @off is no private block of this process.
 */
int mproc__arena_publish(mproc_segment *segment, struct mproc__self *me, uint64_t off);

/*
 * Make a published block the caller's own again, so that its death frees it:
 * one CAS. Of two who adopt one block one gets -ESTALE.
 */
int mproc__arena_adopt(mproc_segment *segment, struct mproc__self *me, uint64_t off);

/*
 * The generation of the block in use at @off, 0 if there is none. At one offset they rise
 * with each allocation, whatever the place is used for in between, around 40 bits.
 */
uint64_t mproc__arena_generation_of(mproc_segment *segment, uint64_t off);

/* Is the block with @generation at @off in use and published? */
bool mproc__arena_is_published(mproc_segment *segment, uint64_t off, uint64_t generation);

/*
 * The same of the block that @off lies in anywhere; @ret_room: bytes from @off to its end.
 */
uint64_t mproc__arena_block_at(mproc_segment *segment, uint64_t off, uint64_t *ret_room);

/*
 * As mproc__arena_adopt(), but -ESTALE unless the block still is the one that had
 * @generation: decided by the same CAS. For repairs that may come late.
 */
int mproc__arena_adopt_exact(mproc_segment *segment, struct mproc__self *me, uint64_t off,
			     uint64_t generation);

/*
 * Make a block the caller's own, whoever's it is and published or not: for those
 * who know by a commit of their own that it is theirs. One CAS.
 *
 * Return: 0, or -ESTALE if @off is no block in use.
 */
int mproc__arena_seize(mproc_segment *segment, struct mproc__self *me, uint64_t off);

/*
 * Publish a block that is private to the process in slot @proc, which is dead and
 * being reaped by the caller: for kinds whose commit says that the block is theirs.
 * Their reap() runs before the arena's. Needs no identity.
 *
 * Return: 0, or -ESTALE if @off is no block, or not private to @proc (published
 * already, say, by a reaper who died).
 */
int mproc__arena_disown(mproc_segment *segment, uint32_t proc, uint64_t off);

/*
 * Free a block: PRIVATE to this process, or published. One CAS; a large one may wait
 * 10 ms for others after that, no longer.
 *
 * Return: 0, or -ESTALE if @off is no block, or is free already, or private to
 * another process: nothing is changed then.
 */
int mproc__arena_free(mproc_segment *segment, struct mproc__self *me, uint64_t off);

/*
 * The same for blocks of programs: those published by the first of these, and private
 * ones. Blocks of objects give -ESTALE.
 */
int mproc__arena_publish_user(mproc_segment *segment, struct mproc__self *me, uint64_t off);
int mproc__arena_adopt_user(mproc_segment *segment, struct mproc__self *me, uint64_t off);
int mproc__arena_free_user(mproc_segment *segment, struct mproc__self *me, uint64_t off);

/* Bytes of the block at @off, or 0 if there is none in use. */
uint64_t mproc__arena_len(mproc_segment *segment, uint64_t off);

/*
 * The address of [off, off + len) if it lies within one block in use, or NULL:
 * how a reference that came in a message is checked.
 */
void *mproc__arena_at(mproc_segment *segment, uint64_t off, uint64_t len);

/*
 * Lay out an arena over [off, off + len) of a new segment that may become
 * [off, off + len_max), in zeroed memory of mproc__arena_head_size(len_max) bytes, in
 * whole pages, before that range: of it only mproc__arena_spans() need be there.
 *
 * Return: 0, or -ENOSPC if no page of 4 KiB fits.
 */
int mproc__arena_init(struct mproc__arena *arena, uint64_t off, uint64_t len, uint64_t len_max);

/*
 * Check the geometry of @segment->arena and keep a copy in the handle, whose memory
 * is as @mapping says: before the segment is attached.
 *
 * Return: 0, or -EBADMSG with a text.
 */
int mproc__arena_open(mproc_segment *segment, const struct mproc__mapping *mapping);

/* Bytes of the own section of an arena over @len bytes: 0.6 %, 3 KiB, and up to 12 KiB more. */
uint64_t mproc__arena_head_size(uint64_t len);

struct mproc__arena_stats {
	uint64_t bytes;        /* that blocks can have, in all */
	uint64_t used;         /* in blocks in use */
	uint64_t free;         /* in pages, and in free blocks of slabs */
	uint64_t largest_free; /* block that could be had at once */
	uint64_t n_blocks;     /* in use */
};

/* A snapshot, exact when nobody allocates meanwhile. */
void mproc__arena_stats(mproc_segment *segment, struct mproc__arena_stats *ret);

extern const struct mproc__kind mproc__kind_arena;

#endif /* MPROC__ARENA_H */
