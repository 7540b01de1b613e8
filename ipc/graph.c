/* SPDX-License-Identifier: MIT */

/*
 * Who waits for whom: cycles of threads, each of which waits for a lock of the next
 *
 *	record of T: blocked_on, blocked_since -> lock: owner word -> record of U -> …
 *
 * Nothing is written for this graph but what each thread says of its own wait. A
 * thread waits for one thing at a time, so who follows the edges from one thread comes
 * to an end or runs into a cycle. A thread that holds a lock in one segment and waits
 * in another has a record in each: the key of its process and its number say that
 * they are one thread's.
 *
 * Why a cycle that is reported was there. All its edges are read, then all its threads
 * are asked for their lives, then all edges are read again and must be the same. No
 * two waits of a thread begin at the same time, so a thread that waits since the same
 * moment at both looks has waited all the time in between. One that waits gives
 * nothing up and takes nothing: so what it owned at the second look it owned when it
 * had been seen to wait at the first. At the end of the first look, then, all the
 * waits and all the ownerships existed together, and all the threads lived, since they
 * did later. What is torn, about to begin or to end is no edge, or not the same edge
 * twice.
 *
 * Why of those in a cycle one is refused and no more. Who is about to sleep says so
 * first and looks then (both in sequentially consistent order), so the last one to say
 * so sees the whole cycle. All who see it choose the same one: the one that waits for
 * the shortest time, among those that can see the cycle themselves (their process has
 * attached all its segments) and whose segment asks for it. The others sleep on; if
 * the chosen one is asleep already, it is woken, or looks at the end of its quantum.
 *
 * Nothing here is believed: indices and offsets from memory are checked, and each walk
 * is bounded by the room for its edges. Nothing is shared, so nothing is left by a kill.
 */

#include "ipc/graph.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/error.h"
#include "ipc/kind.h"
#include "ipc/mutex_layout.h"
#include "ipc/participant.h"
#include "ipc/wait.h"

/*
 * Who waits for this lock waits for its owner, if it has one: not where anybody may
 * unlock it, nor where it is free and kept for the thread that is named.
 */
static uint64_t owner_of(struct mproc__lock *lock, uint64_t what)
{
	uint32_t tag = atomic_load_explicit(&lock->tag, memory_order_relaxed);
	uint64_t word = atomic_load(&lock->word);

	if (mproc__what_kind(what) == MPROC__KIND_MUTEX && mproc__mutex_is(tag) &&
	    (tag & MPROC__MUTEX_ANY_UNLOCK))
		return 0;
	if (mproc__what_kind(what) != MPROC__KIND_RWLOCK && (word & MPROC__OWNER_HANDED))
		return 0;
	return mproc__owner_id(word);
}

/* The lock that @what is, or NULL if it is none that has an owner. */
static struct mproc__lock *lock_at(const struct mproc__range *range, uint64_t what)
{
	uint64_t off = mproc__what_off(what);

	switch (mproc__what_kind(what)) {
	case MPROC__KIND_MUTEX:
	case MPROC__KIND_RMUTEX:
	case MPROC__KIND_RWLOCK:
		break;
	default:
		return NULL;
	}
	return off % 8 ? NULL : mproc__range_at(range, off, sizeof(struct mproc__lock));
}

/* The edge from record @index of @range, as it is now. Return: false if there is none. */
static bool edge_at(struct mproc__range *range, uint32_t index, struct mproc__edge *ret)
{
	struct mproc__thread *rec = &range->threads[index];
	uint64_t own = atomic_load(&rec->own), since = atomic_load(&rec->blocked_since);
	uint64_t what = atomic_load(&rec->blocked_on), word, theirs;
	struct mproc__lock *lock = what && since ? lock_at(range, what) : NULL;

	/* The time stands before and after: it is that of this wait. */
	if (!lock || atomic_load(&rec->blocked_since) != since ||
	    mproc__own_state(own) != MPROC__THREAD_LIVE || mproc__own_proc(own) >= range->n_procs)
		return false;
	word = owner_of(lock, what);
	if (!word || mproc__owner_index(word) >= range->n_threads ||
	    mproc__owner_index(word) == index)
		return false;
	theirs = atomic_load(&range->threads[mproc__owner_index(word)].own);
	if (mproc__owner_generation(theirs) != mproc__owner_generation(word) ||
	    mproc__own_state(theirs) != MPROC__THREAD_LIVE)
		return false;
	*ret = (struct mproc__edge){
		.range = range,
		.own = own,
		.key = atomic_load(&range->procs[mproc__own_proc(own)].key),
		.what = what,
		.since = since,
		.word = word,
		.waiter = index,
		.tid = atomic_load(&rec->tid),
	};
	return atomic_load(&rec->own) == own;
}

/* The slot in @range of the process with @key, or range->n_procs. */
static uint32_t proc_of(const struct mproc__range *range, uint64_t key)
{
	for (uint32_t i = 0; i < range->n_procs; i++)
		if (mproc__proc_state(atomic_load(&range->procs[i].st)) == MPROC__PROC_LIVE &&
		    atomic_load(&range->procs[i].key) == key)
			return i;
	return range->n_procs;
}

/* The edge from thread @tid of the process with @key, wherever but in @here it waits. */
static bool edge_elsewhere(const struct mproc__range *here, uint64_t key, uint32_t tid,
			   struct mproc__edge *ret)
{
	for (uint32_t k = 0; k < MPROC__RANGES_MAX; k++) {
		struct mproc__range *range = mproc__range_nth(k);

		if (!range || range == here || proc_of(range, key) == range->n_procs)
			continue;
		/* Records are claimed from this place on. */
		for (uint32_t n = 0; n < range->n_threads; n++) {
			uint32_t i = (tid + n) % range->n_threads;

			if (atomic_load(&range->threads[i].blocked_on) && edge_at(range, i, ret) &&
			    ret->tid == tid && ret->key == key)
				return true;
		}
	}
	return false;
}

/* The edge from the owner of the lock that @from waits for. */
static bool edge_next(const struct mproc__edge *from, bool many, struct mproc__edge *ret)
{
	struct mproc__range *range = from->range;
	uint32_t owner = mproc__owner_index(from->word);
	uint64_t own = atomic_load(&range->threads[owner].own), key;
	uint32_t tid;

	if (edge_at(range, owner, ret))
		return true;
	if (!many || mproc__own_proc(own) >= range->n_procs)
		return false;
	key = atomic_load(&range->procs[mproc__own_proc(own)].key);
	tid = atomic_load(&range->threads[owner].tid);
	return atomic_load(&range->threads[owner].own) == own &&
	       edge_elsewhere(range, key, tid, ret);
}

static bool same_thread(const struct mproc__edge *a, const struct mproc__edge *b)
{
	if (a->range == b->range)
		return a->waiter == b->waiter;
	return a->key == b->key && a->tid == b->tid;
}

/* Is @owner, whom @from waits for, the thread that waits by @to? */
static bool leads_to(const struct mproc__edge *from, const struct mproc__edge *to)
{
	const struct mproc__range *range = from->range;
	uint32_t owner = mproc__owner_index(from->word);
	uint64_t own = atomic_load(&range->threads[owner].own);

	if (range == to->range)
		return owner == to->waiter &&
		       mproc__owner_generation(from->word) == mproc__owner_generation(to->own);
	return mproc__owner_generation(own) == mproc__owner_generation(from->word) &&
	       mproc__own_proc(own) < range->n_procs &&
	       atomic_load(&range->procs[mproc__own_proc(own)].key) == to->key &&
	       atomic_load(&range->threads[owner].tid) == to->tid;
}

/*
 * Follow the edges from record @index.
 *
 * Return: how many edges lead back to it, or 0.
 */
static size_t walk(struct mproc__range *range, uint32_t index, bool many, struct mproc__edge *edges,
		   size_t cap)
{
	size_t n = 1;

	if (!edge_at(range, index, &edges[0]))
		return 0;
	while (!leads_to(&edges[n - 1], &edges[0])) {
		if (n == cap || !edge_next(&edges[n - 1], many, &edges[n]) ||
		    !leads_to(&edges[n - 1], &edges[n]))
			return 0;
		/* A cycle that the first one only waits for. */
		for (size_t i = 1; i < n; i++)
			if (same_thread(&edges[i], &edges[n]))
				return 0;
		n++;
	}
	return n;
}

/* The threads live, and the edges are all still there. */
static bool confirm(const struct mproc__edge *edges, size_t n)
{
	struct mproc__edge now;

	for (size_t i = 0; i < n; i++)
		if (mproc__dead(edges[i].range,
				mproc__owner_word(edges[i].waiter,
						  mproc__owner_generation(edges[i].own))))
			return false;
	for (size_t i = 0; i < n; i++) {
		const struct mproc__edge *was = &edges[i];

		if (!edge_at(was->range, was->waiter, &now) || now.own != was->own ||
		    now.key != was->key || now.tid != was->tid || now.what != was->what ||
		    now.since != was->since || now.word != was->word ||
		    !leads_to(was, &edges[(i + 1) % n]))
			return false;
	}
	return true;
}

/* Does @a wait for a shorter time than @b? Never true of both, nor of neither. */
static bool is_younger(const struct mproc__edge *a, const struct mproc__edge *b)
{
	if (a->since != b->since)
		return a->since > b->since;
	if (a->key != b->key)
		return a->key > b->key;
	return a->tid > b->tid;
}

static bool can_refuse(const struct mproc__edge *edge, const struct mproc__edge *edges, size_t n)
{
	uint32_t options = atomic_load_explicit(&edge->range->reg->options, memory_order_relaxed);

	if (!(options & MPROC__OPTION_DEADLOCK) ||
	    mproc__what_kind(edge->what) == MPROC__KIND_RWLOCK)
		return false;
	for (size_t i = 0; i < n; i++)
		if (edges[i].range != edge->range &&
		    proc_of(edges[i].range, edge->key) == edges[i].range->n_procs)
			return false;
	return true;
}

/* The one that is to fail; the caller, whose edge is the first, can. */
static const struct mproc__edge *choose(const struct mproc__edge *edges, size_t n)
{
	const struct mproc__edge *ret = &edges[0];

	for (size_t i = 1; i < n; i++)
		if (can_refuse(&edges[i], edges, n) && is_younger(&edges[i], ret))
			ret = &edges[i];
	return ret;
}

void mproc__graph_describe(struct mproc__range *range, uint64_t what, char *buf, size_t cap)
{
	const struct mproc__kind *catalogue = mproc__kind_find(MPROC__KIND_CATALOGUE);
	const char *kind = mproc__kind_name(mproc__what_kind(what));

	snprintf(buf, cap, "%s at %" PRIu64, kind ? kind : "object", mproc__what_off(what));
	if (catalogue && catalogue->describe)
		catalogue->describe(range, what, buf, cap);
}

/*
 * Let the thread that waits by @edge look for itself. Where waiters queue, each sleeps on
 * a word of its own, and the bit in the lock's must stay: they set it once in a wait.
 */
static void rouse(const struct mproc__edge *edge)
{
	struct mproc__lock *lock = lock_at(edge->range, edge->what);
	uint32_t tag;

	if (!lock || edge->waiter >= edge->range->n_threads)
		return;
	tag = atomic_load_explicit(&lock->tag, memory_order_relaxed);
	if (mproc__what_kind(edge->what) == MPROC__KIND_MUTEX && mproc__mutex_is(tag) &&
	    (tag & MPROC__MUTEX_FAIR))
		mproc__wake_slow(&edge->range->threads[edge->waiter].wake, INT32_MAX);
	else
		mproc__wake_slow(&lock->sleepers, INT32_MAX);
}

/* The text of the call that waits by the first edge. */
static void say(const struct mproc__edge *edges, size_t n)
{
	char line[MPROC__ERROR_MAX], lock[112];
	size_t len = 0;

	for (size_t i = 0; i < n && len < sizeof(line); i++) {
		const struct mproc__edge *edge = &edges[i], *next = &edges[(i + 1) % n];
		const struct mproc__range *range = next->range;

		mproc__graph_describe(edge->range, edge->what, lock, sizeof(lock));
		len += (size_t)snprintf(line + len, sizeof(line) - len, "%s%s, ",
					i ? " waits for " : "", lock);
		if (len >= sizeof(line))
			break;
		if (i + 1 < n)
			len += (size_t)snprintf(
				line + len, sizeof(line) - len,
				"held by pid %" PRIu32 " tid %" PRIu32 ", which",
				atomic_load(&range->procs[mproc__own_proc(next->own)].pid),
				next->tid);
		else
			len += (size_t)snprintf(line + len, sizeof(line) - len,
						"held by the calling thread");
	}
	(void)mproc__fail(-EDEADLK, "deadlock: %s", line);
}

bool mproc__graph_refuses_slow(struct mproc__self *me)
{
	struct mproc__edge edges[MPROC__GRAPH_DEPTH];
	const struct mproc__edge *chosen;
	bool many = false, ret = false;
	size_t n;

	for (uint32_t i = 0; i < MPROC__RANGES_MAX && !many; i++)
		many = mproc__range_nth(i) && mproc__range_nth(i) != me->range;
	/* Nobody closes the other ranges while we look at them. */
	if (many)
		mproc__fork_lock();
	atomic_thread_fence(memory_order_seq_cst);
	n = walk(me->range, mproc__owner_index(me->word), many, edges, MPROC__GRAPH_DEPTH);
	if (n && confirm(edges, n)) {
		chosen = choose(edges, n);
		ret = chosen == edges;
		if (ret)
			say(edges, n);
		else
			rouse(chosen);
	}
	if (many)
		mproc__fork_unlock();
	return ret;
}

/* The cycles that are seen from the records of @range, each from one of them. */
static int cycles_of(struct mproc__range *range, struct mproc__range *only,
		     struct mproc__edge *edges, size_t cap,
		     int (*fn)(const struct mproc__edge *edges, size_t n, void *arg), void *arg)
{
	int found = 0, r;

	for (uint32_t i = 0; i < range->n_threads; i++) {
		size_t n = 0, youngest = 0;
		bool through = !only;

		if (atomic_load_explicit(&range->threads[i].blocked_on, memory_order_relaxed))
			n = walk(range, i, true, edges, cap);
		for (size_t k = 0; k < n; k++) {
			through |= edges[k].range == only;
			if (is_younger(&edges[k], &edges[youngest]))
				youngest = k;
		}
		/* From all its threads the same cycle is seen. */
		if (!n || youngest || !through || !confirm(edges, n))
			continue;
		r = fn(edges, n, arg);
		if (r < 0)
			return r;
		found++;
	}
	return found;
}

int mproc__graph_cycles(struct mproc__range *only,
			int (*fn)(const struct mproc__edge *edges, size_t n, void *arg), void *arg)
{
	struct mproc__edge *edges;
	struct mproc__range *range;
	size_t cap = 0;
	int found = 0, r;

	mproc__fork_lock();
	for (uint32_t k = 0; k < MPROC__RANGES_MAX; k++) {
		range = mproc__range_nth(k);
		cap += range ? range->n_threads : 0;
	}
	edges = malloc((cap ? cap : 1) * sizeof(*edges));
	if (!edges)
		found = mproc__fail(-ENOMEM, "deadlock check: no memory for %zu threads", cap);
	for (uint32_t k = 0; k < MPROC__RANGES_MAX && found >= 0; k++) {
		range = mproc__range_nth(k);
		if (!range)
			continue;
		r = cycles_of(range, only, edges, cap, fn, arg);
		found = r < 0 ? r : found + r;
	}
	free(edges);
	mproc__fork_unlock();
	return found;
}
