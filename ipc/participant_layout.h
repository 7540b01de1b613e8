/* SPDX-License-Identifier: MIT */
#ifndef MPROC__PARTICIPANT_LAYOUT_H
#define MPROC__PARTICIPANT_LAYOUT_H

/*
 * Who is there: the registry of processes and threads, as it lies in a segment
 *
 *	registry | proc[n_procs] | thread[n_threads]
 *
 * A process slot belongs to whoever holds the kernel lock on its byte (see
 * attach.h). A thread record is written by its thread alone, or by the reaper
 * of a process that is proven dead.
 *
 * Owner word. Whatever is owned names its owner by 64 bits:
 *
 *	generation 46 | thread index 14 | flags 4
 *
 * A generation of a thread record never comes again, so a word whose
 * generation is not the record's present one names a dead party for ever.
 */

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/lock_layout.h"

static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
	      "an atomic with a lock inside is private to its process");

#define MPROC__PROCS_MAX   4096u
#define MPROC__THREADS_MAX 16383u
#define MPROC__HOLDS       14u
#define MPROC__ARGS        4u
#define MPROC__ACTS        3u
#define MPROC__READS       8u

/* Flags of an owner word. */
#define MPROC__OWNER_REPAIR    UINT64_C(1) /* taken over from the dead, repair not finished */
#define MPROC__OWNER_INHERITED UINT64_C(2) /* a last owner died; nobody said consistent() */
#define MPROC__OWNER_LOST      UINT64_C(4) /* beside no owner: declared not recoverable */
#define MPROC__OWNER_SHARED    UINT64_C(4) /* beside an owner: others may write the word, too */
#define MPROC__OWNER_HANDED    UINT64_C(8) /* free, and kept for the one that is named */
#define MPROC__OWNER_FLAGS     UINT64_C(15)

#define MPROC__GENERATION_MASK ((UINT64_C(1) << 46) - 1)

static inline uint64_t mproc__owner_word(uint32_t index, uint64_t generation)
{
	return generation << 18 | (uint64_t)index << 4;
}

static inline uint32_t mproc__owner_index(uint64_t word)
{
	return (uint32_t)(word >> 4) & 0x3fff;
}

static inline uint64_t mproc__owner_generation(uint64_t word)
{
	return word >> 18;
}

/* Who owns, without flags; 0: nobody. */
static inline uint64_t mproc__owner_id(uint64_t word)
{
	return word & ~MPROC__OWNER_FLAGS;
}

/*
 * thread.own:	generation 46 | process slot 14 | state 4
 * A free record keeps its generation; the next claim adds one.
 */
#define MPROC__THREAD_FREE  0u
#define MPROC__THREAD_LIVE  1u
#define MPROC__THREAD_DYING 2u /* its process is being reaped: dead, not yet repaired */

static inline uint64_t mproc__own_word(uint64_t generation, uint32_t proc, uint32_t state)
{
	return generation << 18 | (uint64_t)proc << 4 | state;
}

static inline uint32_t mproc__own_state(uint64_t own)
{
	return (uint32_t)own & 15;
}

static inline uint32_t mproc__own_proc(uint64_t own)
{
	return (uint32_t)(own >> 4) & 0x3fff;
}

/* proc.st:	generation 62 | state 2 */
#define MPROC__PROC_FREE    0u
#define MPROC__PROC_LIVE    1u
#define MPROC__PROC_REAPING 2u

static inline uint64_t mproc__proc_word(uint64_t generation, uint32_t state)
{
	return generation << 2 | state;
}

static inline uint32_t mproc__proc_state(uint64_t st)
{
	return (uint32_t)st & 3;
}

static inline uint64_t mproc__proc_generation(uint64_t st)
{
	return st >> 2;
}

/* One process in one segment, for ever: slot and generation in a word that is never 0. */
static inline uint64_t mproc__proc_ref(uint32_t proc, uint64_t generation)
{
	return generation << 14 | proc;
}

/* What a thread holds or does: kind 8 | offset of the object in the segment 56. */
static inline uint64_t mproc__what(uint32_t kind, uint64_t off)
{
	return (uint64_t)kind << 56 | off;
}

static inline uint32_t mproc__what_kind(uint64_t what)
{
	return (uint32_t)(what >> 56);
}

static inline uint64_t mproc__what_off(uint64_t what)
{
	return what & ((UINT64_C(1) << 56) - 1);
}

struct mproc__proc {
	alignas(128) _Atomic(uint64_t) st;
	/* For display and for finding a sibling's descriptor; nothing is decided by them. */
	_Atomic(uint64_t) key;    /* random, the same in all segments of a process */
	_Atomic(uint64_t) pid_ns; /* inode of its PID namespace */
	_Atomic(uint64_t) since;  /* CLOCK_REALTIME of the attach, ns */
	_Atomic(uint32_t) pid;
	_Atomic(uint32_t) fd; /* number of its descriptor of the segment */
	char exe[72];         /* name of the program, NUL-terminated */
	/* Generation under which exit(3) has begun: no reason to keep a segment's name. */
	_Atomic(uint64_t) leaving;
};

static_assert(sizeof(struct mproc__proc) == 128, "layout changed: bump MPROC__LAYOUT");

struct mproc__thread {
	alignas(128) _Atomic(uint64_t) own;
	/* What it is in the middle of, 0: nothing; the calls inside a call come later. */
	_Atomic(uint64_t) acting[MPROC__ACTS];
	_Atomic(uint64_t) waits_on;          /* what it sleeps for, 0: nothing */
	_Atomic(uint32_t) cpu;               /* the CPU it last acted on */
	_Atomic(uint32_t) tid;               /* for display */
	_Atomic(uint64_t) args[MPROC__ARGS]; /* of acting[0], for its repair */
	_Atomic(uint32_t) n_lost;            /* holds that found no room below: only for display */
	mproc__sleepers wake;                /* what it alone sleeps on, if it waits in a queue */
	_Atomic(uint64_t) holds[MPROC__HOLDS];
	char name[16]; /* of the thread, NUL-terminated */
	/*
	 * What it is waiting for, from its first sleep to the end of the wait, and since
	 * when: CLOCK_MONOTONIC in ns, times 2, plus 1 if the wait has a deadline. No two
	 * waits of a thread begin at the same time, so these name an edge of the wait-for
	 * graph. The time is written first and is 0 when there is no wait.
	 */
	_Atomic(uint64_t) blocked_on;
	_Atomic(uint64_t) blocked_since;
	/* The object in whose queue it stands (a condition, say), and its place there. */
	_Atomic(uint64_t) queued_at;
	_Atomic(uint64_t) ticket;
	_Atomic(uint64_t) reads[MPROC__READS]; /* rwlocks it reads under; decides, unlike holds */
	/*
	 * While it sleeps for a lock: since when no release has woken anybody, as
	 * blocked_since and 0 when there is no wait, and the count of wake-ups this is seen
	 * by (the upper half of the lock's sleepers word). For display.
	 */
	_Atomic(uint64_t) saw_since;
	_Atomic(uint64_t) saw;
	uint64_t reserved[7];
};

static_assert(sizeof(struct mproc__thread) == 384, "layout changed: bump MPROC__LAYOUT");

/* What all participants of a segment do. */
enum mproc__registry_options {
	MPROC__OPTION_DEADLOCK = 1,   /* a lock call that would close a cycle fails */
	MPROC__OPTION_LOCK_ORDER = 2, /* the order in which locks are taken is recorded */
};

struct mproc__registry {
	alignas(64) _Atomic(uint32_t) n_procs; /* slots; fixed at creation */
	_Atomic(uint32_t) n_threads;
	/* A participant that cannot use membarrier(2) was here: wakers fence for ever after. */
	_Atomic(uint32_t) fence;
	_Atomic(uint32_t) reaped;    /* futex: changes when a slot has been freed */
	_Atomic(uint64_t) heals;     /* sleeps that only their quantum ended though all was alive */
	_Atomic(uint64_t) deaths;    /* process slots reaped */
	_Atomic(uint64_t) takeovers; /* locks taken over from the dead */
	_Atomic(uint32_t) options;   /* enum mproc__registry_options; fixed at creation */
	uint32_t reserved_32;
	uint64_t reserved[2];
};

static_assert(sizeof(struct mproc__registry) == 64, "layout changed: bump MPROC__LAYOUT");

static inline uint64_t mproc__registry_procs_off(void)
{
	/* Aligned for the proc array, whatever the base of the registry. */
	return 256;
}

static inline uint64_t mproc__registry_threads_off(uint32_t n_procs)
{
	return (256 + (uint64_t)n_procs * sizeof(struct mproc__proc) + 255) & ~UINT64_C(255);
}

/* Bytes of a registry; it must start at a multiple of 256. */
static inline uint64_t mproc__registry_size(uint32_t n_procs, uint32_t n_threads)
{
	return mproc__registry_threads_off(n_procs) +
	       (uint64_t)n_threads * sizeof(struct mproc__thread);
}

/*
 * Kernel lock bytes, far beyond the end of any file: one per process slot, and
 * some that serialise the slow paths.
 */
#define MPROC__BYTE_SLOT(i) ((INT64_C(1) << 40) + (i))
#define MPROC__BYTE_ATTACH  ((INT64_C(1) << 40) + (1 << 20)) /* openers shared, unlinkers alone */
#define MPROC__BYTE_GROW    ((INT64_C(1) << 40) + (1 << 20) + 1)
#define MPROC__BYTE_TEST    ((INT64_C(1) << 40) + (1 << 21)) /* first of 2^20 for the self-test */

#endif /* MPROC__PARTICIPANT_LAYOUT_H */
