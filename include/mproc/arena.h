/* SPDX-License-Identifier: MIT */
#ifndef MPROC_ARENA_H
#define MPROC_ARENA_H

/*
 * Memory of a segment, in blocks: malloc() whose blocks other processes can see
 *
 * Every block has an owner. It is born private to the calling process and goes back
 * by itself when that process dies, or gives up its last handle of the segment; once
 * published it belongs to nobody and stays
 * until somebody frees it, or adopts it and so makes it his own again. Who builds
 * something in a block, publishes it and then tells others where it is, leaves
 * nothing behind wherever he is killed but what he had published.
 *
 * Addresses differ from process to process. What is handed on is a reference
 * (<mproc/ref.h>), which is checked where it is used.
 *
 * A block costs the next power of two of its length, from 64 to 2,048 bytes, and 8
 * bytes elsewhere; or whole pages of 4 KiB and 24 bytes for each page. Nothing of
 * that lies beside what users write. A segment's memory is the limit: NULL for
 * a segment means the default one.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may be in here at the same time; what is private to
 *			a process is so to all its threads
 *	Fork		blocks stay the parent's; the child's first call attaches it
 *	Signals		not safe in a signal handler
 *	Killed		a process killed inside a call has made it or not; no byte is
 *			lost and none belongs to two
 *	Errors		a negative errno with a text; the call then has had no effect
 *			and has not touched its return parameters
 */

#include <mproc/common.h>
#include <mproc/segment.h>

MPROC_BEGIN_DECLS

/* Every block is aligned to this. */
#define MPROC_ARENA_ALIGN 64

/* The largest alignment that can be asked for. */
#define MPROC_ARENA_ALIGN_MAX (UINT64_C(1) << 30)

/**
 * mproc_arena_alloc() - allocate a block
 * @ret:	its address in this process, aligned to MPROC_ARENA_ALIGN bytes
 * @segment:	segment, or NULL for the default one
 * @len:	bytes; 0 is as good as 1
 *
 * What is in it is not said. Before there is no room, what the dead have left is
 * taken back. A block of more than 2,048 bytes may wait for a process that is just
 * allocating one, even if that stands still.
 *
 * Return: 0, or -ENOSPC if there is no room (the text names the bytes wanted and the
 * largest free block), -EBADMSG if the arena was scribbled over, -ENOTCONN if this
 * process cannot attach, -EUSERS, or as mproc_segment_default().
 */
MPROC_API MPROC_MUST int mproc_arena_alloc(void **ret, mproc_segment *segment, size_t len);

/**
 * mproc_arena_calloc() - allocate a block of @n times @len bytes, all zero
 * @ret:	its address
 * @segment:	segment, or NULL for the default one
 * @n:		how many
 * @len:	bytes of each
 *
 * All of the block is zero, not only what was asked for.
 *
 * Return: as mproc_arena_alloc(); a product that is no size_t is -ENOSPC.
 */
MPROC_API MPROC_MUST int mproc_arena_calloc(void **ret, mproc_segment *segment, size_t n,
					    size_t len);

/**
 * mproc_arena_alloc_aligned() - allocate a block at a multiple of @align
 * @ret:	its address
 * @segment:	segment, or NULL for the default one
 * @align:	a power of two, at most MPROC_ARENA_ALIGN_MAX
 * @len:	bytes
 *
 * Up to 2,048 the block has @align bytes at least; beyond, what lies before and behind it
 * stays free.
 * The address is aligned in this process. In others, too, unless one has got so few
 * addresses from its system (RLIMIT_AS) that its mapping could not be aligned.
 *
 * Return: as mproc_arena_alloc(), -EINVAL if @align is none, -ENOTSUP if this
 * process's mapping is not aligned so.
 */
MPROC_API MPROC_MUST int mproc_arena_alloc_aligned(void **ret, mproc_segment *segment, size_t align,
						   size_t len);

/**
 * mproc_arena_realloc() - make a block longer or shorter
 * @block:	its address, and then where it is; of NULL a new one is allocated
 * @segment:	segment it is in, or NULL for the default one
 * @len:	bytes it shall have at least
 *
 * A block of pages grows where it is if the pages behind it are free, and gives back
 * what it does not need any more; a small one stays as long as @len fits. Otherwise
 * contents move to a new block, aligned to MPROC_ARENA_ALIGN, and references to the old one are
 * stale; only a block that is private to this process can move. A process killed
 * inside leaves the old block or the new one. Of a published block of pages that he was
 * changing where it is, references to what lies behind its first page may be found stale
 * until somebody allocates pages or changes a block's length the next time.
 *
 * Return: 0, or -ESTALE if it is no block of this process and not published, -EPERM
 * if it would have to move and is published, -ENOSPC, and as mproc_arena_alloc().
 */
MPROC_API MPROC_MUST int mproc_arena_realloc(void **block, mproc_segment *segment, size_t len);

/**
 * mproc_arena_free() - free a block that is private to this process, or published
 * @segment:	segment it is in, or NULL for the default one
 * @block:	its address; NULL does nothing
 *
 * A large block may wait 10 ms for others, no longer.
 *
 * Return: 0, or -ESTALE if no block begins there, or it is free already, another
 * process's, or part of an object, -EINVAL if it is not in @segment, -ENOTCONN,
 * -EUSERS: nothing is changed then.
 */
MPROC_API int mproc_arena_free(mproc_segment *segment, void *block);

/**
 * mproc_arena_size() - the bytes that may be used at @block
 * @segment:	segment it is in, or NULL for the default one
 * @block:	its address
 *
 * Return: bytes, at least those asked for; 0 with a text if no block begins there.
 */
MPROC_API size_t mproc_arena_size(mproc_segment *segment, const void *block);

/**
 * mproc_arena_publish() - let a private block outlive this process
 * @segment:	segment it is in, or NULL for the default one
 * @block:	its address
 *
 * Who dies just behind this call leaves a block that nobody knows: tell others of it
 * first where that does no harm.
 *
 * Return: 0, or -ESTALE if it is no private block of this process, and as
 * mproc_arena_free().
 */
MPROC_API MPROC_MUST int mproc_arena_publish(mproc_segment *segment, void *block);

/**
 * mproc_arena_adopt() - make a published block private to this process
 * @segment:	segment it is in, or NULL for the default one
 * @block:	its address
 *
 * Return: 0; of several who adopt it at the same time one gets that. -ESTALE if it is
 * not published, or part of an object, and as mproc_arena_free().
 */
MPROC_API MPROC_MUST int mproc_arena_adopt(mproc_segment *segment, void *block);

/* Whose a block is. */
struct mproc_arena_owner {
	uint32_t pid;      /* as its PID namespace numbers it; 0: published, nobody's */
	uint32_t is_mine;  /* private to this process */
	uint32_t is_alive; /* 0: dead; the block goes back when somebody looks after the dead */
	uint32_t reserved;
	uint64_t pid_ns;  /* inode of that namespace, see /proc/PID/ns/pid */
	char process[72]; /* name of the program, NUL-terminated */
};

/**
 * mproc_arena_owner() - whose a block is at this moment
 * @segment:	segment it is in, or NULL for the default one
 * @block:	its address
 * @ret:	filled; all zero if it is published
 *
 * Return: 1 if it is private to a process, 0 if it is published, -ESTALE if no block
 * begins there, and as mproc_arena_free().
 */
MPROC_API MPROC_MUST int mproc_arena_owner(mproc_segment *segment, const void *block,
					   struct mproc_arena_owner *ret);

/* Blocks of one length. */
struct mproc_arena_class {
	uint64_t len;    /* bytes of each; 0: whole pages */
	uint64_t n_used; /* blocks in use */
	uint64_t n_free; /* blocks that can be had without another slab; of pages: free runs */
	uint64_t used;   /* bytes in use */
};

#define MPROC_ARENA_CLASSES 7u

struct mproc_arena_stats {
	size_t size;           /* of this struct, set by MPROC_ARENA_STATS */
	uint64_t bytes;        /* of the arena */
	uint64_t used;         /* in blocks in use; objects of the segment are among them */
	uint64_t free;         /* in pages, and in free small blocks */
	uint64_t largest_free; /* bytes of the largest block that can be had */
	uint64_t n_blocks;     /* in use */
	uint64_t n_private;    /* of them, private to a process */
	uint64_t tables;       /* bytes that tables of small blocks take: the rest of @bytes */
	struct mproc_arena_class classes[MPROC_ARENA_CLASSES]; /* 64 to 2,048 bytes, pages */
};

/* struct mproc_arena_stats stats = MPROC_ARENA_STATS; */
#define MPROC_ARENA_STATS \
	{ \
		.size = sizeof(struct mproc_arena_stats) \
	}

/**
 * mproc_arena_stats() - what is used, and what is free
 * @segment:	segment, or NULL for the default one
 * @ret:	filled, but for its size
 *
 * Looks at every page and waits for nobody. Exact when nobody allocates meanwhile; of
 * a segment that can grow, what it may grow into is not counted.
 *
 * Return: 0, -EINVAL if the size in @ret is none, or as mproc_segment_default().
 */
MPROC_API MPROC_MUST int mproc_arena_stats(mproc_segment *segment, struct mproc_arena_stats *ret);

/**
 * mproc_arena_check() - is the arena as it must be?
 * @segment:	segment, or NULL for the default one
 * @deadline:	until when to wait for those who are changing it
 *
 * Looks at every word: that pages, tables and lists fit together and no byte belongs
 * to two. What a kill has left undone is done first, as the next allocation would.
 *
 * Return: 0, or -EBADMSG with a text about the first thing that is broken, -EAGAIN,
 * -ETIMEDOUT, -ENOMEM, -ENOTCONN, -EUSERS, -EROFS (it takes a lock), or as
 * mproc_segment_default().
 */
MPROC_API MPROC_MUST int mproc_arena_check(mproc_segment *segment, int64_t deadline);

MPROC_END_DECLS

#endif /* MPROC_ARENA_H */
