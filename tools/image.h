/* SPDX-License-Identifier: MIT */
#ifndef SHMTOOL_IMAGE_H
#define SHMTOOL_IMAGE_H

/*
 * What the bytes of a segment say, copied, checked, in plain types
 *
 * Whatever the bytes are, reading ends: each table is bounded by the limits of the
 * layout, and what lies beyond them is said to be corrupt, not looked at.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/participant_layout.h"
#include "pipes/queue_layout.h"
#include "pool/pool_layout.h"
#include "shm/arena_layout.h"
#include "shm/body_layout.h"
#include "shm/catalogue_layout.h"
#include "shm/cells_layout.h"
#include "shm/dict_layout.h"
#include "shm/ringlog_layout.h"
#include "shm/segment_layout.h"
#include "tools/source.h"

#define IMAGE_WHY 200

enum image_verdict {
	IMAGE_GOOD,
	IMAGE_UNREADABLE, /* the file cannot be opened or read */
	IMAGE_ALIEN,      /* no segment at all */
	IMAGE_FOREIGN,    /* a segment of another layout, word size or byte order */
	IMAGE_CORRUPT,    /* ours, and impossible; what follows the first impossible part is
			     not looked at */
};

/* What the kernel and the registry say of a process slot, together. */
enum image_life {
	IMAGE_ALIVE,
	IMAGE_ARRIVING, /* its byte is locked, it has not said who it is yet */
	IMAGE_REAPED,   /* dead, and somebody is cleaning up after it right now */
	IMAGE_DEAD,     /* dead, and nobody has cleaned up after it yet */
	IMAGE_UNKNOWN,  /* a saved copy cannot tell */
};

struct image_proc {
	uint32_t slot;
	enum image_life life;
	uint32_t pid;
	uint64_t pid_ns;
	uint64_t since;
	uint64_t generation;
	uint64_t key; /* the same in all segments of the process */
	uint32_t n_threads;
	char exe[72]; /* NUL-terminated or not */
};

struct image_thread {
	uint32_t index;
	uint32_t slot; /* of its process */
	enum image_life life;
	uint64_t generation;
	uint64_t own; /* the record's first word */
	uint32_t tid;
	uint32_t cpu;
	uint32_t n_holds, n_lost, n_reads;
	uint32_t n_acting;
	uint64_t blocked_since; /* as it stands there; 0: it waits for nothing */
	uint64_t blocked_on;
	uint64_t waits_on; /* of these, each: mproc__what() */
	uint64_t acting[MPROC__ACTS];
	uint64_t holds[MPROC__HOLDS];
	uint64_t reads[MPROC__READS];
	char name[16]; /* NUL-terminated or not */
};

struct image_worker {
	uint32_t pid; /* 0: none */
	bool ready;
	uint32_t running; /* number of the slot it runs plus 1, 0: idle */
	uint32_t attempt; /* of that task */
	uint64_t n_done, n_deaths, since;
};

struct image_pool {
	struct mproc__pool_seen seen;
	uint32_t n_running;           /* tasks: what is claimed beyond these awaits collection */
	struct image_worker *workers; /* seen.n_workers */
};

/* A value or an array. */
struct image_cells {
	struct mproc__cells_geometry geometry;
	uint64_t owner; /* owner word of its lock */
	bool left;      /* its last owner died between lock and unlock */
	bool scalar;    /* it is one item, and that is: */
	union {
		bool b;
		int64_t i;
		uint64_t u;
		double f;
	} value; /* by geometry.kind */
};

#define IMAGE_LINES    10  /* last records of a ring log */
#define IMAGE_LINE_MAX 256 /* bytes of each that are kept */

struct image_line {
	struct mproc__ringlog_record record;
	unsigned char bytes[IMAGE_LINE_MAX];
};

struct image_ringlog {
	struct mproc__ringlog_look look;
	uint64_t n_records;
	uint32_t n_lines;
	struct image_line *lines; /* the youngest, oldest first */
};

struct image_object {
	uint32_t entry;
	struct mproc__entry_view view;
	bool possible; /* the entry and, by its kind, what it leads to */
	bool skipped;  /* what it leads to was not looked at: enough has been read */
	char why[IMAGE_WHY];
	uint32_t n_waiters; /* threads that sleep for something in it */
	/* By view.kind, if image_object_is_whole(): */
	struct mproc__queue_look queue;
	uint32_t queue_sleepers; /* bit 0: somebody waits for a message, bit 1: for room */
	struct image_pool pool;
	struct image_cells cells;
	struct mproc__dict_look dict; /* or namespace */
	struct mproc__body_look body; /* a string or a list */
	struct image_ringlog ringlog;
};

struct image_arena {
	struct mproc__arena_geometry geometry;
	struct mproc__arena_look pages;
	struct mproc__arena_blocks blocks; /* in slabs */
	uint64_t n_runs_used;              /* blocks that are no part of a slab */
	uint64_t n_skipped;                /* pages beyond the limit of what is looked at */
};

struct image {
	struct source *source;
	enum image_verdict verdict;
	char why[IMAGE_WHY]; /* unless good */
	struct mproc__segment_head head;
	bool has_origin;  /* not good, but the first words of the head can be believed */
	uint64_t size;    /* where it ends, as published */
	uint64_t n_grown; /* how often it was made larger */
	int in_use;       /* 1, 0, or a negative errno: not known */

	struct image_proc *procs;
	size_t n_procs, n_living, n_dead;
	struct image_thread *threads;
	size_t n_threads;
	uint64_t n_heals, n_deaths, n_takeovers;
	struct image_object *objects;
	size_t n_objects;
	size_t *by_off; /* indices of what is LIVE and possible, n_by_off of them */
	size_t n_by_off;
	uint64_t budget;  /* bytes of objects that may still be read */
	size_t n_live;    /* of them, those that are LIVE */
	size_t n_damaged; /* of them, those that are not possible */
	struct image_arena arena;
};

/* Bytes of memory that a good one takes: it ends later, for its tables have holes. */
uint64_t image_memory(const struct image *image);

/* Read all of it. What is wrong is in verdict and why. */
void image_read(struct image *ret, struct source *source);

/* The same for a file that could not be opened because of @error, a negative errno. */
void image_unreadable(struct image *ret, int error);

void image_free(struct image *image);

/* The thread that @word, an owner word, names, or NULL: a thread that is gone. */
const struct image_thread *image_owner(const struct image *image, uint64_t word);

/* The process in slot @slot, or NULL. */
const struct image_proc *image_proc(const struct image *image, uint32_t slot);

/* The LIVE object that contains offset @off, or NULL. */
const struct image_object *image_object_at(const struct image *image, uint64_t off);

/* Was everything about it found, and found possible? */
static inline bool image_object_is_whole(const struct image_object *object)
{
	return object->possible && !object->skipped && object->view.state == MPROC__ENTRY_LIVE;
}

/* Bytes of the arena that are not free. */
uint64_t image_used(const struct image *image);

/* "int64", "struct point of 24 bytes"; the name is a stranger's. Return: @buf. */
char *image_type_text(char buf[80], const struct image_cells *cells);

/* "alive", "arriving", … */
const char *image_life_name(enum image_life life);

/*
 * For the parts of the reader.
 *
 * Copy [off, off + len) exactly. Return: false, with the verdict and the reason in
 * @image, if the file ends before.
 */
bool image_copy(struct image *image, void *buf, size_t len, uint64_t off, const char *what);

/*
 * Call @fn with a copy of each of @n records of @stride bytes, whose first 64 bits tell
 * whether they are the same as before: a copy is taken again if they change meanwhile.
 */
bool image_records(struct image *image, uint64_t off, size_t stride, uint32_t n, const char *what,
		   void (*fn)(struct image *image, uint32_t i, const void *record));

/* Set the verdict. Return: false. */
bool image_fail(struct image *image, enum image_verdict verdict, const char *fmt, ...)
	__attribute__((__format__(__printf__, 3, 4)));

bool image_read_registry(struct image *image);
bool image_read_catalogue(struct image *image);
bool image_read_state(struct image *image);
bool image_read_arena(struct image *image);
void image_read_objects(struct image *image);

/* What a LIVE and possible entry leads to. */
void image_read_object(struct image *image, struct image_object *object);

#endif /* SHMTOOL_IMAGE_H */
