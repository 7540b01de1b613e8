/* SPDX-License-Identifier: MIT */
#ifndef MPROC__SEGMENT_LAYOUT_H
#define MPROC__SEGMENT_LAYOUT_H

/*
 * A segment's file: two pages of header, then its sections
 *
 *	page 0	head	written before anybody can find the segment, then never again
 *	page 1	state	what changes while it is in use
 *		registry of processes and threads; in which order locks are taken
 *		catalogue
 *		arena: head and tables, which have holes; data, to the end of the file
 *
 * Offsets are those of the largest it may become. While it is smaller there are holes
 * between the arena's tables, so that it takes less memory than its file is long: how
 * much is what its creator asked for, and what is shown.
 *
 * Below are pure functions that look at private copies of the header, for opening
 * a segment and for shmtool. They say in words what is wrong, and name both sides.
 *
 * Names. Segment NAME is the file MPROC__SEGMENT_PREFIX NAME of its directory. No
 * name begins with a dot, so files that begin with MPROC__SEGMENT_TMP are none: they
 * are segments that cannot be found yet, or whose creator was killed; as long as the
 * creator lives he holds MPROC__BYTE_ATTACH of his.
 */

#include <mproc/segment.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ipc/lock_layout.h"
#include "ipc/order_layout.h"
#include "ipc/participant_layout.h"
#include "shm/arena_layout.h"
#include "shm/catalogue_layout.h"

#define MPROC__SEGMENT_DIR    "/dev/shm" /* unless MPROC_DIR names another */
#define MPROC__SEGMENT_PREFIX "mproc."
#define MPROC__SEGMENT_TMP    "mproc..tmp"
#define MPROC__SEGMENT_MEMFD  "mproc" /* what /proc/PID/fd shows of anonymous ones */

#define MPROC__SEGMENT_MAGIC      "mproc\r\n\x1a" /* 8 bytes, without the NUL */
#define MPROC__SEGMENT_BYTE_ORDER UINT32_C(0x01020304)
#define MPROC__SEGMENT_PAGE       4096u
#define MPROC__SEGMENT_SIZE_MAX   (UINT64_C(1) << 46)
#define MPROC__SEGMENT_ALIGN_MAX  (UINT64_C(1) << 30) /* of its mappings */

/* To be bumped with every change of what lies in segments, or of what it means. */
#define MPROC__LAYOUT 4u

/* Sizes, folded: what forgot to bump the number, or was built with other options. */
#define MPROC__LAYOUT_FOLD(h, x) (((h) ^ (uint32_t)(x)) * UINT32_C(16777619))
#define MPROC__LAYOUT_SIZES_4(h, a, b, c, d) \
	MPROC__LAYOUT_FOLD(MPROC__LAYOUT_FOLD(MPROC__LAYOUT_FOLD(MPROC__LAYOUT_FOLD(h, a), b), c), \
			   d)
#define MPROC__LAYOUT_SIZES_HEAD \
	MPROC__LAYOUT_SIZES_4(UINT32_C(2166136261), sizeof(struct mproc__segment_head), \
			      sizeof(struct mproc__segment_state), \
			      sizeof(struct mproc__catalogue), sizeof(struct mproc__entry))
#define MPROC__LAYOUT_SIZES_IPC \
	MPROC__LAYOUT_SIZES_4( \
		MPROC__LAYOUT_SIZES_4(MPROC__LAYOUT_SIZES_HEAD, sizeof(struct mproc__lock), \
				      sizeof(struct mproc__redo), sizeof(struct mproc__waitable), \
				      MPROC__BYTE_ATTACH), \
		sizeof(struct mproc__registry), sizeof(struct mproc__proc), \
		sizeof(struct mproc__thread), MPROC__HOLDS)
#define MPROC__LAYOUT_SIZES \
	MPROC__LAYOUT_SIZES_4( \
		MPROC__LAYOUT_FOLD(MPROC__LAYOUT_SIZES_IPC, sizeof(struct mproc__order)), \
		sizeof(struct mproc__arena), sizeof(struct mproc__arena_page), \
		sizeof(struct mproc__arena_table), MPROC__ARENA_LAYOUT)

enum mproc__section_id {
	MPROC__SECTION_REGISTRY = 0,
	MPROC__SECTION_CATALOGUE = 1,
	MPROC__SECTION_ARENA = 2, /* its head */
	MPROC__SECTION_DATA = 3,  /* its blocks */
	MPROC__SECTIONS = 4,
};

#define MPROC__SECTIONS_MAX 16u

struct mproc__section {
	uint64_t off;
	uint64_t len;
};

struct mproc__segment_head {
	/*
	 * These stand here in every layout, and the bytes that are locked as proof of
	 * life are the same: so a leftover of another version can be told from a segment
	 * that it is using.
	 */
	unsigned char magic[8];
	uint32_t byte_order;
	uint32_t word_size; /* bits of a pointer */
	uint32_t layout;    /* MPROC__LAYOUT */
	uint32_t flags;     /* enum mproc_segment_flags */

	uint32_t sizes; /* MPROC__LAYOUT_SIZES */
	uint32_t mode;  /* permission bits its creator asked for */
	uint64_t size;  /* bytes at creation, holes included */
	uint64_t size_max;
	uint32_t n_procs;
	uint32_t n_threads;
	uint32_t n_objects;
	uint32_t n_sections;
	struct mproc__section sections[MPROC__SECTIONS_MAX];
	unsigned char uuid[16];

	/* The creator, for display; nothing is decided by it. */
	uint64_t since;  /* CLOCK_REALTIME, ns */
	uint64_t pid_ns; /* inode of its PID namespace */
	uint32_t pid;
	uint32_t uid;
	char exe[64]; /* name of the program, NUL-terminated */
};

static_assert(sizeof(struct mproc__segment_head) <= MPROC__SEGMENT_PAGE, "page 0 is too small");

struct mproc__segment_state {
	_Atomic(uint64_t) size;  /* where it ends; raised after what lies before is allocated */
	_Atomic(uint64_t) epoch; /* how often it was raised, for display */
};

#define MPROC__SEGMENT_STATE_OFF MPROC__SEGMENT_PAGE
#define MPROC__SEGMENT_HEAD_LEN  (2 * MPROC__SEGMENT_PAGE)

/* Pages of the arena of a segment that ends at @size. */
static inline uint32_t mproc__head_pages(const struct mproc__segment_head *head, uint64_t size)
{
	uint64_t off = head->sections[MPROC__SECTION_DATA].off;
	uint64_t n = size < off ? 0 : (size - off) / MPROC__ARENA_PAGE;

	return n < MPROC__ARENA_PAGES_MAX ? (uint32_t)n : MPROC__ARENA_PAGES_MAX;
}

/*
 * Bytes of memory of a segment that ends at @size: the arena's section begins at
 * @section, its data at @data, and it may have @n_pages_max pages.
 */
static inline uint64_t mproc__layout_memory(uint64_t size, uint64_t section, uint64_t data,
					    uint32_t n_pages_max)
{
	uint64_t n = (size - data) / MPROC__ARENA_PAGE;

	/* All there can be: then the whole file is memory. */
	if (n >= n_pages_max)
		return size;
	return section + mproc__arena_memory((uint32_t)n, n_pages_max);
}

/* Is it a segment of ours, of whatever layout? */
static inline bool mproc__segment_is_one(const struct mproc__segment_head *head)
{
	return !memcmp(head->magic, MPROC__SEGMENT_MAGIC, sizeof(head->magic));
}

/* What this program makes of the parts that are the same in every layout. */
static inline int mproc__segment_origin_check(const struct mproc__segment_head *head, char *why,
					      size_t cap)
{
	static const uint32_t here = MPROC__SEGMENT_BYTE_ORDER, bits = 8 * sizeof(void *);

	if (!mproc__segment_is_one(head)) {
		snprintf(why, cap, "it is no segment");
		return -EPROTO;
	}
	if (head->byte_order != here) {
		snprintf(why, cap,
			 "byte order %02x%02x%02x%02x here, %02x%02x%02x%02x in the segment",
			 ((const unsigned char *)&here)[0], ((const unsigned char *)&here)[1],
			 ((const unsigned char *)&here)[2], ((const unsigned char *)&here)[3],
			 ((const unsigned char *)&head->byte_order)[0],
			 ((const unsigned char *)&head->byte_order)[1],
			 ((const unsigned char *)&head->byte_order)[2],
			 ((const unsigned char *)&head->byte_order)[3]);
		return -EPROTO;
	}
	if (head->word_size != bits) {
		snprintf(why, cap, "%" PRIu32 " bit here, %" PRIu32 " bit in the segment", bits,
			 head->word_size);
		return -EPROTO;
	}
	if (head->layout != MPROC__LAYOUT) {
		snprintf(why, cap, "layout %u here, %" PRIu32 " in the segment", MPROC__LAYOUT,
			 head->layout);
		return -EPROTO;
	}
	if (head->sizes != MPROC__LAYOUT_SIZES) {
		snprintf(why, cap,
			 "layout %u on both sides, but sizes %08" PRIx32 " here, %08" PRIx32
			 " in the segment",
			 MPROC__LAYOUT, MPROC__LAYOUT_SIZES, head->sizes);
		return -EPROTO;
	}
	return 0;
}

/* The bytes that section @id of a segment with these tables needs at least. */
static inline uint64_t mproc__section_len_min(const struct mproc__segment_head *head, uint32_t id)
{
	switch (id) {
	case MPROC__SECTION_REGISTRY:
		if (head->flags & MPROC_SEGMENT_LOCK_ORDER)
			return mproc__order_registry_size(head->n_procs, head->n_threads);
		return mproc__registry_size(head->n_procs, head->n_threads);
	case MPROC__SECTION_CATALOGUE:
		return mproc__catalogue_bytes(head->n_objects);
	default:
		return 0;
	}
}

/*
 * Look at a copy of page 0.
 * @file_size:	of the file it came from
 * @why:	what is wrong, in words; @cap bytes
 *
 * Return: 0, -EPROTO if it is no segment, or of another layout, word size or byte
 * order, -EBADMSG if it is ours and impossible.
 */
static inline int mproc__segment_head_check(const struct mproc__segment_head *head,
					    uint64_t file_size, char *why, size_t cap)
{
	uint64_t end = MPROC__SEGMENT_HEAD_LEN;
	int r;

	r = mproc__segment_origin_check(head, why, cap);
	if (r < 0)
		return r;
	if (!head->n_procs || head->n_procs > MPROC__PROCS_MAX || !head->n_threads ||
	    head->n_threads > MPROC__THREADS_MAX || !head->n_objects ||
	    head->n_objects > MPROC__ENTRIES_MAX) {
		snprintf(why, cap,
			 "tables of %" PRIu32 " processes, %" PRIu32 " threads, %" PRIu32
			 " objects are impossible",
			 head->n_procs, head->n_threads, head->n_objects);
		return -EBADMSG;
	}
	if (head->size % MPROC__SEGMENT_PAGE || head->size > head->size_max ||
	    head->size_max > MPROC__SEGMENT_SIZE_MAX) {
		snprintf(why, cap,
			 "a size of %" PRIu64 " bytes, at most %" PRIu64 ", is impossible",
			 head->size, head->size_max);
		return -EBADMSG;
	}
	if (file_size < head->size || file_size % MPROC__SEGMENT_PAGE) {
		snprintf(why, cap, "the file has %" PRIu64 " bytes, the segment %" PRIu64,
			 file_size, head->size);
		return -EBADMSG;
	}
	if (head->n_sections < MPROC__SECTIONS || head->n_sections > MPROC__SECTIONS_MAX) {
		snprintf(why, cap, "%" PRIu32 " sections are impossible", head->n_sections);
		return -EBADMSG;
	}
	for (uint32_t i = 0; i < head->n_sections; i++) {
		const struct mproc__section *s = &head->sections[i];

		if (s->off < end || s->off % 256 || s->off > head->size ||
		    s->len > head->size - s->off || s->len < mproc__section_len_min(head, i)) {
			snprintf(why, cap,
				 "section %" PRIu32 " of %" PRIu64 " bytes at offset %" PRIu64
				 " is impossible",
				 i, s->len, s->off);
			return -EBADMSG;
		}
		end = s->off + s->len;
	}
	return 0;
}

/* Look at a copy of page 1, after its head was found good. Same results. */
static inline int mproc__segment_state_check(const struct mproc__segment_state *state,
					     const struct mproc__segment_head *head,
					     uint64_t file_size, char *why, size_t cap)
{
	uint64_t size = atomic_load_explicit(&state->size, memory_order_relaxed);

	if (size < head->size || size > head->size_max || size > file_size ||
	    size % MPROC__SEGMENT_PAGE) {
		snprintf(why, cap,
			 "%" PRIu64 " bytes are published, of %" PRIu64
			 " in the file and at most %" PRIu64,
			 size, file_size, head->size_max);
		return -EBADMSG;
	}
	return 0;
}

#endif /* MPROC__SEGMENT_LAYOUT_H */
