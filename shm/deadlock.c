/* SPDX-License-Identifier: MIT */

/*
 * Deadlocks: the cycles of the wait-for graph, with the names of everything in them
 *
 *	cycles -> cycle -> cycle -> …	private copies, made under the fork lock
 *
 * The graph is ipc's, the names are the catalogue's. Names are looked up after a cycle
 * has been confirmed: an object or a process that goes in between is shown under what
 * its place says now, and only that can be wrong. Nothing here writes shared memory.
 * Pairs of locks that were taken in both orders are copied likewise.
 */

#include <mproc/deadlock.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/error.h"
#include "ipc/graph.h"
#include "ipc/kind_layout.h"
#include "ipc/order.h"
#include "shm/segment.h"

/* A cycle that has been found. */
struct cycle {
	struct cycle *next;
	size_t n;
	struct mproc_deadlock_edge edges[];
};

struct cycles {
	struct cycle *first, **last;
	int64_t now;
};

/* Copy a string of shared memory, which may lack its end. */
static void take_string(char *to, const char *from, size_t cap)
{
	memcpy(to, from, cap);
	to[cap - 1] = '\0';
}

static void fill_thread(struct mproc_deadlock_thread *ret, const struct mproc__edge *edge)
{
	const struct mproc__proc *proc = &edge->range->procs[mproc__own_proc(edge->own)];
	const struct mproc__thread *rec = &edge->range->threads[edge->waiter];

	ret->pid = atomic_load_explicit(&proc->pid, memory_order_relaxed);
	ret->tid = edge->tid;
	take_string(ret->exe, proc->exe, sizeof(ret->exe));
	take_string(ret->name, rec->name, sizeof(ret->name));
}

static_assert(sizeof(((struct mproc_deadlock_thread *)0)->exe) ==
		      sizeof(((struct mproc__proc *)0)->exe),
	      "names of programs and their room differ");
static_assert(sizeof(((struct mproc_deadlock_thread *)0)->name) ==
		      sizeof(((struct mproc__thread *)0)->name),
	      "names of threads and their room differ");

static void fill_edge(struct mproc_deadlock_edge *ret, const struct mproc__edge *edge, int64_t now)
{
	const char *kind = mproc__kind_name(mproc__what_kind(edge->what));
	const mproc_segment *segment = mproc__segment_of(edge->range);

	mproc__graph_describe(edge->range, edge->what, ret->lock, sizeof(ret->lock));
	snprintf(ret->kind, sizeof(ret->kind), "%s", kind);
	snprintf(ret->segment, sizeof(ret->segment), "%s", segment ? segment->name : "");
	ret->offset = mproc__what_off(edge->what);
	ret->deadline = (int)(edge->since & 1);
	/* In another time namespace the clock may be ahead. */
	ret->waited = now - (int64_t)(edge->since >> 1);
	if (ret->waited < 0)
		ret->waited = 0;
	fill_thread(&ret->waiter, edge);
}

static int keep(const struct mproc__edge *edges, size_t n, void *arg)
{
	struct cycles *cycles = arg;
	struct cycle *cycle = calloc(1, sizeof(*cycle) + n * sizeof(cycle->edges[0]));

	if (!cycle)
		return mproc__fail(-ENOMEM, "deadlock check: no memory for a cycle of %zu threads",
				   n);
	cycle->n = n;
	for (size_t i = 0; i < n; i++)
		fill_edge(&cycle->edges[i], &edges[i], cycles->now);
	for (size_t i = 0; i < n; i++)
		cycle->edges[i].holder = cycle->edges[(i + 1) % n].waiter;
	*cycles->last = cycle;
	cycles->last = &cycle->next;
	return 0;
}

int mproc_deadlock_check(mproc_segment *segment,
			 void (*fn)(const struct mproc_deadlock *cycle, void *arg), void *arg)
{
	struct cycles cycles = { .last = &cycles.first, .now = mproc_now() };
	int r;

	r = mproc__graph_cycles(segment ? segment->range : NULL, keep, &cycles);
	for (struct cycle *cycle = cycles.first, *next; cycle; cycle = next) {
		const struct mproc_deadlock seen = { .n_edges = cycle->n, .edges = cycle->edges };

		next = cycle->next;
		if (r >= 0 && fn)
			fn(&seen, arg);
		free(cycle);
	}
	return r;
}

/* A pair that has been found. */
struct pair {
	struct pair *next;
	struct mproc_deadlock_pair told;
};

struct pairs {
	struct pair *first, **last;
};

static int keep_pair(struct mproc__range *range, const uint64_t whats[2], void *arg)
{
	const mproc_segment *segment = mproc__segment_of(range);
	struct pair *pair = calloc(1, sizeof(*pair));
	struct mproc_deadlock_pair *told;
	struct pairs *pairs = arg;

	if (!pair)
		return mproc__fail(-ENOMEM, "deadlock order: no memory for a pair of locks");
	told = &pair->told;
	mproc__graph_describe(range, whats[0], told->first, sizeof(told->first));
	mproc__graph_describe(range, whats[1], told->second, sizeof(told->second));
	snprintf(told->segment, sizeof(told->segment), "%s", segment ? segment->name : "");
	told->first_offset = mproc__what_off(whats[0]);
	told->second_offset = mproc__what_off(whats[1]);
	*pairs->last = pair;
	pairs->last = &pair->next;
	return 0;
}

int mproc_deadlock_order(mproc_segment *segment,
			 void (*fn)(const struct mproc_deadlock_pair *pair, void *arg), void *arg,
			 uint64_t *ret_dropped)
{
	struct pairs pairs = { .last = &pairs.first };
	uint64_t dropped;
	int r;

	if (segment && !segment->range->order)
		return mproc__fail(-EINVAL,
				   "deadlock order: segment %s was made without "
				   "MPROC_SEGMENT_LOCK_ORDER",
				   segment->name[0] ? segment->name : "without a name");
	r = mproc__order_pairs(segment ? segment->range : NULL, keep_pair, &pairs, &dropped);
	if (r >= 0 && ret_dropped)
		*ret_dropped = dropped;
	for (struct pair *pair = pairs.first, *next; pair; pair = next) {
		next = pair->next;
		if (r >= 0 && fn)
			fn(&pair->told, arg);
		free(pair);
	}
	return r;
}
