/* SPDX-License-Identifier: MIT */
#ifndef MPROC__RINGLOG_LAYOUT_H
#define MPROC__RINGLOG_LAYOUT_H

/*
 * Ring logs as they lie in a segment, and what can be said of a copy
 *
 *	struct mproc__ringlog_shared | ring, a power of two of bytes
 *
 * Positions are bytes ever written, modulo 2^64, multiples of 8; byte p lies at p % cap. The
 * records [head, tail) are there, each a header of four words and its bytes, rounded up:
 *
 *	length 32 | check 32	the check is of the position: what is not a record's
 *				beginning does not look like one
 *	sequence number
 *	CLOCK_REALTIME in ns
 *	pid 32 | tid 32		of the writer
 */

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/lock_layout.h"

#define MPROC__RINGLOG_LAYOUT UINT32_C(0x72000001) /* 'r', and a number to bump */

#define MPROC__RINGLOG_CAP_MIN UINT64_C(256)
#define MPROC__RINGLOG_CAP_MAX (UINT64_C(1) << 40)
#define MPROC__RINGLOG_HEAD    UINT64_C(32) /* bytes of a record's header */
#define MPROC__RINGLOG_WORDS   4u
#define MPROC__RINGLOG_TURNS   64 /* looks at cursors that others move meanwhile */

struct mproc__ringlog_shared {
	/* Written before anybody can find the object. */
	uint32_t layout;
	uint32_t record_max; /* bytes */
	uint64_t cap;
	uint64_t n_max; /* records, 0: as many as there is room for */

	struct mproc__waitable waitable; /* who waits for a record */
	struct mproc__lock lock;         /* who writes */
	/* Under the lock: */
	_Atomic(uint64_t) head;   /* position of the oldest record */
	_Atomic(uint64_t) tail;   /* position behind the youngest; and which seq is valid, 1 bit */
	_Atomic(uint64_t) seq[2]; /* of the record to come */
	uint64_t reserved[6];
	alignas(64) _Atomic(uint64_t) ring[];
};

static_assert(offsetof(struct mproc__ringlog_shared, ring) == 128,
	      "layout changed: bump MPROC__RINGLOG_LAYOUT");

/* A checked private copy. */
struct mproc__ringlog_look {
	uint64_t cap, n_max;
	uint64_t head, tail; /* without its bit */
	uint64_t seq;        /* of the record to come */
	uint32_t record_max;
	bool settled;  /* tail and seq are of one instant */
	bool possible; /* head and tail fit each other */
};

struct mproc__ringlog_record {
	uint64_t seq;
	int64_t time;
	uint32_t pid, tid;
	uint32_t len;
	uint64_t size; /* bytes in the ring */
};

static inline uint64_t mproc__ringlog_size(uint64_t len)
{
	return MPROC__RINGLOG_HEAD + ((len + 7) & ~UINT64_C(7));
}

static inline uint32_t mproc__ringlog_check(uint64_t pos)
{
	return (uint32_t)((pos >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 32) | 1;
}

static inline bool mproc__ringlog_geometry(uint64_t cap, uint64_t record_max)
{
	return cap >= MPROC__RINGLOG_CAP_MIN && cap <= MPROC__RINGLOG_CAP_MAX &&
	       !(cap & (cap - 1)) && record_max &&
	       record_max <= cap - MPROC__RINGLOG_HEAD - MPROC__RINGLOG_WORDS * 8 &&
	       record_max <= INT32_MAX;
}

/*
 * What the head of a log of @len bytes says.
 *
 * Return: false if its geometry is impossible.
 */
static inline bool mproc__ringlog_look(const struct mproc__ringlog_shared *s, uint64_t len,
				       struct mproc__ringlog_look *ret)
{
	const volatile struct mproc__ringlog_shared *v = s;
	uint64_t tail;
	int turns = 0;

	if (len < sizeof(*s) || v->layout != MPROC__RINGLOG_LAYOUT)
		return false;
	ret->cap = v->cap;
	ret->n_max = v->n_max;
	ret->record_max = v->record_max;
	if (!mproc__ringlog_geometry(ret->cap, ret->record_max) || len - sizeof(*s) < ret->cap)
		return false;
	/*
	 * Two appends after the tail was read the place that it names has another number.
	 * Who writes that has committed the first of them before a release fence (R1 of
	 * ringlog.c): who sees the number sees another tail behind this fence.
	 */
	do {
		ret->head = atomic_load_explicit(&s->head, memory_order_acquire);
		tail = atomic_load_explicit(&s->tail, memory_order_acquire);
		ret->seq = atomic_load_explicit(&s->seq[tail & 1], memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
		ret->settled = atomic_load_explicit(&s->tail, memory_order_relaxed) == tail;
	} while (!ret->settled && ++turns < MPROC__RINGLOG_TURNS);
	ret->tail = tail & ~UINT64_C(1);
	ret->possible = !((ret->head | ret->tail) & 7) && ret->tail - ret->head <= ret->cap;
	return true;
}

/*
 * The record at @pos by a copy of its header, @room bytes before the tail.
 *
 * Return: false if there can be none.
 */
static inline bool mproc__ringlog_record(const uint64_t words[MPROC__RINGLOG_WORDS], uint64_t pos,
					 uint64_t room, uint32_t record_max,
					 struct mproc__ringlog_record *ret)
{
	ret->len = (uint32_t)(words[0] >> 32);
	ret->seq = words[1];
	ret->time = (int64_t)words[2];
	ret->pid = (uint32_t)(words[3] >> 32);
	ret->tid = (uint32_t)words[3];
	ret->size = mproc__ringlog_size(ret->len);
	return (uint32_t)words[0] == mproc__ringlog_check(pos) && ret->len <= record_max &&
	       ret->size <= room;
}

#endif /* MPROC__RINGLOG_LAYOUT_H */
