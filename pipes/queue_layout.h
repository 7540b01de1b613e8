/* SPDX-License-Identifier: MIT */
#ifndef MPROC__QUEUE_LAYOUT_H
#define MPROC__QUEUE_LAYOUT_H

/*
 * A queue as it lies in a segment, and what can be said of a copy of one
 *
 *	struct mproc__queue_shared | ring of @ring_size bytes
 *
 * A cursor is one word, both parts modulo their width, so that one store moves
 * both and the number of queued messages is exact:
 *
 *	messages 24 | bytes 40
 *
 * A record starts where its cursor's bytes point, modulo the ring, which is a
 * power of two. It never runs over the end: what would is put at the start, and
 * a filler stands in its place. Records are multiples of 8 bytes:
 *
 *	kind 8 | messages of its cursor 24 | length 32		then, by kind,
 *
 *	filler		nothing: the next record is at the start of the ring
 *	message		the bytes
 *	reference	64-bit offset in the segment of the block that holds them
 */

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>

#include "ipc/lock_layout.h"

#define MPROC__QUEUE_LAYOUT UINT32_C(0x71000001) /* 'q', and a number to bump */

#define MPROC__QUEUE_DEPTH_MAX (1u << 22)
#define MPROC__QUEUE_MSG_MAX   (1u << 30)
#define MPROC__QUEUE_RING_MIN  UINT64_C(1024)
#define MPROC__QUEUE_RING_MAX  (UINT64_C(1) << 36)

#define MPROC__CURSOR_SHIFT 40
#define MPROC__CURSOR_BYTES ((UINT64_C(1) << MPROC__CURSOR_SHIFT) - 1)
#define MPROC__CURSOR_MSGS  UINT64_C(0xffffff)

/* Of a queue's two sides: what putters share, and what getters share. */
struct mproc__queue_side {
	alignas(128) struct mproc__lock lock;
	/* Under the lock: */
	_Atomic(uint64_t) seen;  /* the other side's cursor when it was last looked at */
	_Atomic(uint64_t) n;     /* messages ever, as of some cursor not long ago */
	_Atomic(uint64_t) bytes; /* in those messages */
	_Atomic(uint64_t) reserved;
	/* On a line of its own, for the other side looks at it: */
	alignas(64) _Atomic(uint64_t) cursor;
	_Atomic(uint32_t) cpu; /* where it was last moved, a hint */
};

static_assert(sizeof(struct mproc__queue_side) == 128, "layout changed: bump MPROC__QUEUE_LAYOUT");

struct mproc__queue_shared {
	/* Geometry: written before anybody can find the queue. */
	alignas(128) uint32_t layout;
	uint32_t depth;
	uint32_t msg_max;
	uint32_t inline_max; /* longer messages go as references */
	uint64_t ring_size;
	/* Counters that only slow paths touch. */
	_Atomic(uint64_t) n_put_waits;
	_Atomic(uint64_t) n_get_waits;
	_Atomic(uint64_t) n_died;

	/* What putters look at and getters seldom write, then the reverse. */
	alignas(64) struct mproc__waitable not_empty;
	_Atomic(uint32_t) down; /* 0, then 1 for ever after a shutdown */
	alignas(64) struct mproc__waitable not_full;

	struct mproc__queue_side put; /* cursor: one past the newest message */
	struct mproc__queue_side get; /* cursor: the oldest message */

	alignas(128) unsigned char ring[];
};

static_assert(offsetof(struct mproc__queue_shared, ring) == 512,
	      "layout changed: bump MPROC__QUEUE_LAYOUT");

enum mproc__queue_record_kind {
	MPROC__QUEUE_FILLER = 0x5f,
	MPROC__QUEUE_MESSAGE = 0x5d,
	MPROC__QUEUE_REFERENCE = 0x5e,
};

/* A checked private copy. */
struct mproc__queue_geometry {
	uint32_t depth;
	uint32_t msg_max;
	uint32_t inline_max;
	uint64_t ring_size;
};

/* A record that has been found to be possible. */
struct mproc__queue_record {
	uint32_t kind;
	uint32_t len;  /* of the message, in bytes */
	uint64_t at;   /* where in the ring its bytes or its reference begin */
	uint64_t next; /* the cursor behind it */
};

static inline uint64_t mproc__cursor_add(uint64_t cursor, uint64_t n_msgs, uint64_t n_bytes)
{
	return ((cursor >> MPROC__CURSOR_SHIFT) + n_msgs) << MPROC__CURSOR_SHIFT |
	       ((cursor + n_bytes) & MPROC__CURSOR_BYTES);
}

/* From @head on to @tail, however often they went round. */
static inline uint32_t mproc__cursor_msgs(uint64_t head, uint64_t tail)
{
	return (uint32_t)(((tail >> MPROC__CURSOR_SHIFT) - (head >> MPROC__CURSOR_SHIFT)) &
			  MPROC__CURSOR_MSGS);
}

static inline uint64_t mproc__cursor_bytes(uint64_t head, uint64_t tail)
{
	return (tail - head) & MPROC__CURSOR_BYTES;
}

/* Can [head, tail) be what a queue of this geometry holds? */
static inline bool mproc__cursor_possible(const struct mproc__queue_geometry *g, uint64_t head,
					  uint64_t tail)
{
	uint32_t n = mproc__cursor_msgs(head, tail);
	uint64_t bytes = mproc__cursor_bytes(head, tail);

	return n <= g->depth && bytes <= g->ring_size && !n == !bytes && !((head | tail) & 7);
}

/* Bytes of a record that carries @len bytes itself. */
static inline uint64_t mproc__queue_record_size(uint64_t len)
{
	return 8 + ((len + 7) & ~UINT64_C(7));
}

/* Of the largest record. */
static inline uint64_t mproc__queue_stride(uint32_t inline_max)
{
	return mproc__queue_record_size(inline_max < 8 ? 8 : inline_max);
}

static inline uint64_t mproc__queue_head_word(uint32_t kind, uint64_t cursor, uint32_t len)
{
	return (uint64_t)kind << 56 | (cursor >> MPROC__CURSOR_SHIFT) << 32 | len;
}

/* The words of a ring, at multiples of 8 only. */
static inline uint64_t mproc__queue_ring_load(const unsigned char *ring, uint64_t at)
{
	return atomic_load_explicit((const _Atomic(uint64_t) *)(const void *)(ring + at),
				    memory_order_relaxed);
}

static inline void mproc__queue_ring_store(unsigned char *ring, uint64_t at, uint64_t word)
{
	atomic_store_explicit((_Atomic(uint64_t) *)(void *)(ring + at), word, memory_order_relaxed);
}

/*
 * What stands at @head if it is no plain message, in @bytes of records: a filler
 * and whatever follows it, or a reference.
 *
 * Return: false if no record can look like that.
 */
static inline bool mproc__queue_odd_record_at(const struct mproc__queue_geometry *g,
					      const unsigned char *ring, uint64_t head,
					      uint64_t bytes, struct mproc__queue_record *ret)
{
	uint64_t at = head & (g->ring_size - 8), skip = 0, size;
	uint64_t word = mproc__queue_ring_load(ring, at);

	if (word == mproc__queue_head_word(MPROC__QUEUE_FILLER, head, 0)) {
		skip = g->ring_size - at;
		at = 0;
		if (skip >= bytes)
			return false;
		word = mproc__queue_ring_load(ring, at);
	}
	ret->len = (uint32_t)word;
	ret->kind = (uint32_t)(word >> 56);
	ret->at = at + 8;
	if (word != mproc__queue_head_word(ret->kind, head, ret->len))
		return false;
	if (ret->kind == MPROC__QUEUE_MESSAGE) {
		size = mproc__queue_record_size(ret->len);
		if (ret->len > g->inline_max)
			return false;
	} else {
		size = 16;
		if (ret->kind != MPROC__QUEUE_REFERENCE || ret->len <= g->inline_max ||
		    ret->len > g->msg_max)
			return false;
	}
	if (size > g->ring_size - at || skip + size > bytes)
		return false;
	ret->next = mproc__cursor_add(head, 1, skip + size);
	return true;
}

/*
 * The record at @head, of which @bytes may belong to records: at most the ring.
 * Reads each word once and believes none.
 *
 * Return: false if no record can look like that.
 */
static inline bool mproc__queue_record_at(const struct mproc__queue_geometry *g,
					  const unsigned char *ring, uint64_t head, uint64_t bytes,
					  struct mproc__queue_record *ret)
{
	uint64_t at = head & (g->ring_size - 8), size;
	uint64_t word = mproc__queue_ring_load(ring, at);

	/* The kind and the number in one look: of a message or of something else. */
	if (__builtin_expect((word ^ mproc__queue_head_word(MPROC__QUEUE_MESSAGE, head, 0)) >> 32,
			     0))
		return mproc__queue_odd_record_at(g, ring, head, bytes, ret);
	ret->kind = MPROC__QUEUE_MESSAGE;
	ret->len = (uint32_t)word;
	ret->at = at + 8;
	size = mproc__queue_record_size(ret->len);
	ret->next = mproc__cursor_add(head, 1, size);
	return ret->len <= g->inline_max && size <= bytes && size <= g->ring_size - at;
}

/*
 * The geometry of a queue in @len bytes.
 *
 * Return: false if it is impossible.
 */
static inline bool mproc__queue_geometry_check(const struct mproc__queue_shared *s, uint64_t len,
					       struct mproc__queue_geometry *ret)
{
	/* One read of each: others may be writing, and it is the copies that are checked. */
	const volatile struct mproc__queue_shared *v = s;
	struct mproc__queue_geometry g = {
		.depth = v->depth,
		.msg_max = v->msg_max,
		.inline_max = v->inline_max,
		.ring_size = v->ring_size,
	};

	if (len < sizeof(*s) || v->layout != MPROC__QUEUE_LAYOUT || !g.depth ||
	    g.depth > MPROC__QUEUE_DEPTH_MAX || !g.msg_max || g.msg_max > MPROC__QUEUE_MSG_MAX ||
	    g.inline_max > g.msg_max || g.ring_size < MPROC__QUEUE_RING_MIN ||
	    g.ring_size > MPROC__QUEUE_RING_MAX || (g.ring_size & (g.ring_size - 1)) ||
	    g.ring_size > len - sizeof(*s) ||
	    2 * mproc__queue_stride(g.inline_max) > g.ring_size + 8)
		return false;
	*ret = g;
	return true;
}

/*
 * All messages ever: a side's counter is brought up to its cursor once in a while,
 * so it knows the high bits, and the cursor the low ones.
 */
static inline uint64_t mproc__queue_count(uint64_t n, uint64_t cursor)
{
	uint64_t ahead = ((cursor >> MPROC__CURSOR_SHIFT) - n) & MPROC__CURSOR_MSGS;

	return ahead > MPROC__CURSOR_MSGS / 2 ? n - (MPROC__CURSOR_MSGS + 1 - ahead) : n + ahead;
}

/* What a copy of a queue says. */
struct mproc__queue_look {
	struct mproc__queue_geometry geometry;
	bool possible; /* the cursors fit the geometry */
	bool down;
	uint32_t n_messages;
	uint64_t bytes; /* of the ring in use */
	uint64_t n_puts, n_gets, bytes_put, bytes_got;
	uint64_t n_put_waits, n_get_waits, n_died;
	uint64_t put_owner, get_owner; /* owner words of the two locks */
};

/*
 * Look at a copy of the head of a queue, taken while others went on: cursors that
 * belong to different moments may not fit, so look again before you call it corrupt.
 * @len:	bytes of the object in its segment
 *
 * Return: false if it is no queue.
 */
static inline bool mproc__queue_look(const struct mproc__queue_shared *copy, uint64_t len,
				     struct mproc__queue_look *ret)
{
	uint64_t head = atomic_load_explicit(&copy->get.cursor, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&copy->put.cursor, memory_order_relaxed);

	if (!mproc__queue_geometry_check(copy, len, &ret->geometry))
		return false;
	ret->possible = mproc__cursor_possible(&ret->geometry, head, tail);
	ret->down = atomic_load_explicit(&copy->down, memory_order_relaxed) != 0;
	ret->n_messages = mproc__cursor_msgs(head, tail);
	ret->bytes = mproc__cursor_bytes(head, tail);
	ret->n_puts =
		mproc__queue_count(atomic_load_explicit(&copy->put.n, memory_order_relaxed), tail);
	ret->n_gets =
		mproc__queue_count(atomic_load_explicit(&copy->get.n, memory_order_relaxed), head);
	ret->bytes_put = atomic_load_explicit(&copy->put.bytes, memory_order_relaxed);
	ret->bytes_got = atomic_load_explicit(&copy->get.bytes, memory_order_relaxed);
	ret->n_put_waits = atomic_load_explicit(&copy->n_put_waits, memory_order_relaxed);
	ret->n_get_waits = atomic_load_explicit(&copy->n_get_waits, memory_order_relaxed);
	ret->n_died = atomic_load_explicit(&copy->n_died, memory_order_relaxed);
	ret->put_owner = atomic_load_explicit(&copy->put.lock.word, memory_order_relaxed);
	ret->get_owner = atomic_load_explicit(&copy->get.lock.word, memory_order_relaxed);
	return true;
}

#endif /* MPROC__QUEUE_LAYOUT_H */
