/* SPDX-License-Identifier: MIT */
#ifndef MPROC__GRAPH_H
#define MPROC__GRAPH_H

/*
 * Who waits for whom: cycles of threads, each of which waits for a lock of the next
 */

#include "ipc/attach.h"
#include "ipc/kind_layout.h"

/* Locks in a cycle that a lock call looks for; mproc_deadlock_check() knows no limit. */
#define MPROC__GRAPH_DEPTH 64u

/* A thread waits for a lock, and another one owns that. */
struct mproc__edge {
	struct mproc__range *range; /* where the lock lies */
	uint64_t own;               /* of the waiter's record there */
	uint64_t key;               /* of its process, and its number: who it is in other ranges */
	uint64_t what;              /* the lock, as in holds */
	uint64_t since;             /* as in the record */
	uint64_t word;              /* of the lock: its owner */
	uint32_t waiter;            /* index of that record */
	uint32_t tid;
};

/*
 * Call @fn for each cycle that goes through @only, or, if that is NULL, through any
 * attached range. The first edge is the youngest. The fork lock is held: @fn takes no
 * other.
 *
 * Return: how many, or -ENOMEM with a text, or what @fn returned if that is negative.
 */
int mproc__graph_cycles(struct mproc__range *only,
			int (*fn)(const struct mproc__edge *edges, size_t n, void *arg), void *arg);

/* What the text of an error calls @what: "mutex at 64 in block table". */
void mproc__graph_describe(struct mproc__range *range, uint64_t what, char *buf, size_t cap);

/* The slow part of mproc__graph_refuses(). */
bool mproc__graph_refuses_slow(struct mproc__self *me);

/*
 * The calling thread is about to sleep for @what, has said so in its record, and the
 * segment may ask that no cycle be closed: is there one, and is this the call to fail?
 *
 * Return: true with a text that names the locks and their owners.
 */
static inline bool mproc__graph_refuses(struct mproc__self *me, uint64_t what)
{
	uint32_t kind = mproc__what_kind(what);

	return (kind == MPROC__KIND_MUTEX || kind == MPROC__KIND_RMUTEX) &&
	       (atomic_load_explicit(&me->range->reg->options, memory_order_relaxed) &
		MPROC__OPTION_DEADLOCK) &&
	       mproc__graph_refuses_slow(me);
}

#endif /* MPROC__GRAPH_H */
