/* SPDX-License-Identifier: MIT */
#ifndef MPROC__SEGMENT_H
#define MPROC__SEGMENT_H

/*
 * What the rooms above need of a segment
 */

#include <mproc/segment.h>

#include <stdio.h>

#include "ipc/attach.h"

struct mproc__catalogue;
struct mproc__segment_head;
struct mproc__arena;

struct mproc__arena_page;

/* Where things of the arena are in this process: checked when the handle is made. */
struct mproc__arena_place {
	struct mproc__arena *arena;
	struct mproc__arena_page *pages;
	_Atomic(uint64_t) *maps; /* see arena_slabs.c */
	_Atomic(uint64_t) *sums;
	char *data;        /* page 0 */
	uint64_t off;      /* of it in the segment */
	uint64_t what;     /* the arena, as in holds */
	uint64_t reserved; /* bytes that this process has addresses for, from offset 0 */
	uint32_t n_pages_max;
	uint32_t n_shards;
	/* These only grow, by whoever notices first that the arena has grown: */
	_Atomic(uint32_t) n_pages;  /* that exist */
	_Atomic(uint32_t) n_reach;  /* of them, those that this process has addresses for */
	_Atomic(uint32_t) n_spread; /* shards that are worth using for that many */
};

struct mproc_segment {
	struct mproc__range *range;
	uint64_t id;       /* of this segment and no other: what references name */
	uint64_t size_max; /* bytes it may become; a checked copy, like the next two */
	uint32_t n_objects;
	uint32_t flags;
	struct mproc__catalogue *catalogue;
	struct mproc__arena *arena;
	struct mproc__arena_place arena_at;
	uint32_t n_handles;         /* under the fork lock, like the list */
	struct mproc_segment *next; /* of this process */
	char name[MPROC_SEGMENT_NAME_MAX + 1];
};

/* A file that is about to become a segment of this process. */
struct mproc__coming {
	const struct mproc__segment_head *head; /* a checked copy */
	int fd;                                 /* is the segment's if all goes well */
	uint64_t size;                          /* bytes allocated */
	const char *name;                       /* or NULL */
	const char *path;                       /* where it can be opened again, or NULL */
	const char *what;                       /* for the texts: "create jobs" */
	bool fresh;                             /* nobody else can find it: write its beginning */
	bool read_only;                         /* map it for reading, take no slot */
};

/*
 * Map it, attach, and make a handle. Under the fork lock.
 *
 * Return: 0, or a negative errno with a text; the descriptor then is the caller's.
 */
int mproc__segment_enter(mproc_segment **ret, const struct mproc__coming *coming);

/* mproc_segment_open() in a directory, NULL: that of segments. */
int mproc__segment_open(mproc_segment **ret, const char *dir, const char *name);

#define MPROC__SEGMENT_WHAT_MAX (MPROC_SEGMENT_NAME_MAX + 32)

/* What texts begin with: "open jobs". A name that is too long gets its own error. */
static inline void mproc__segment_what(char what[MPROC__SEGMENT_WHAT_MAX], const char *verb,
				       const char *name)
{
	snprintf(what, MPROC__SEGMENT_WHAT_MAX, "%s %s", verb, name ? name : "segment");
}

/*
 * The segment a call names: NULL is the default one, made if need be.
 *
 * Return: 0, or a negative errno with a text.
 */
int mproc__segment_get(mproc_segment **ret, mproc_segment *segment);

/* The same, and one more handle to be closed. */
int mproc__segment_ref(mproc_segment **ret, mproc_segment *segment);

/* The segment that @range belongs to. */
static inline mproc_segment *mproc__segment_of(struct mproc__range *range)
{
	return range->owner;
}

/* Checked address of [off, off + len), or NULL. A segment may have grown since the last look. */
static inline void *mproc__segment_at(mproc_segment *segment, uint64_t off, uint64_t len)
{
	return mproc__range_at(segment->range, off, len);
}

/* Where the segment ends at this moment: the offset behind its last byte, holes included. */
static inline uint64_t mproc__segment_size(mproc_segment *segment)
{
	return mproc__range_grown(segment->range);
}

/* Bytes of memory that it takes at this moment. */
uint64_t mproc__segment_memory(mproc_segment *segment);

/*
 * Make memory of the offsets behind the segment's end, up to @end, and what the arena
 * needs to know of them; up to @least if that is all that can be had. Takes no lock: any
 * number may do the same at the same time, and whoever stands still hinders nobody.
 * @why:	what there was too little of, in words: "12 KiB free on /dev/shm"
 *
 * Return: 0, or -ENOSPC without a text; what was had before then is the segment's.
 */
int mproc__segment_extend(mproc_segment *segment, uint64_t least, uint64_t end, char *why,
			  size_t cap);

#endif /* MPROC__SEGMENT_H */
