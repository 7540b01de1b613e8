/* SPDX-License-Identifier: MIT */

/*
 * Who waits for whose lock, in segments that have been copied
 *
 * The records were copied first; the owner words of the locks are copied now. A cycle
 * of what they say may never have been there as a whole, so it is looked at once more:
 * whether its threads live, then all its records and owner words again, from the
 * segment. If all are the same it was there between the two looks, for the reason that
 * ipc/graph.c gives. Of a saved copy both looks see the same, and nobody lives or dies.
 *
 * Nothing is believed: what lies outside of the file is no lock, and each thread has
 * one wait, so the walks come to an end whatever the words are.
 */

#include "tools/image_locks.h"

#include <stdlib.h>
#include <string.h>

#include "ipc/lock_layout.h"
#include "ipc/mutex_layout.h"
#include "tools/text.h"

static bool read_lock(const struct image *image, uint64_t what, uint64_t *ret, uint32_t *ret_tag)
{
	uint64_t off = mproc__what_off(what);
	uint32_t kind = mproc__what_kind(what);
	struct mproc__lock lock;

	if ((kind != MPROC__KIND_MUTEX && kind != MPROC__KIND_RMUTEX &&
	     kind != MPROC__KIND_RWLOCK) ||
	    off % 8 || off > MPROC__SEGMENT_SIZE_MAX ||
	    image->source->read(image->source, &lock, sizeof(lock), off) != (ssize_t)sizeof(lock))
		return false;
	*ret = atomic_load_explicit(&lock.word, memory_order_relaxed);
	*ret_tag = atomic_load_explicit(&lock.tag, memory_order_relaxed);
	/* Free, and kept for the thread that is named. */
	if (kind != MPROC__KIND_RWLOCK && (*ret & MPROC__OWNER_HANDED))
		*ret = 0;
	return true;
}

bool locks_word(const struct image *image, uint64_t what, uint64_t *ret)
{
	uint32_t tag;

	return read_lock(image, what, ret, &tag);
}

bool locks_lives(const struct image_thread *thread)
{
	return thread->life == IMAGE_ALIVE || thread->life == IMAGE_UNKNOWN;
}

/* What @thread waits for, if that is a lock and somebody who lives owns it. */
static bool wait_of(const struct image *image, const struct image_thread *thread,
		    struct lock_wait *ret)
{
	const struct image_proc *proc = image_proc(image, thread->slot);
	uint32_t tag;

	memset(ret, 0, sizeof(*ret));
	if (!thread->blocked_on || !thread->blocked_since || !locks_lives(thread) || !proc ||
	    !read_lock(image, thread->blocked_on, &ret->word, &tag) || !mproc__owner_id(ret->word))
		return false;
	/* What anybody may unlock waits for nobody in particular. */
	if (mproc__mutex_is(tag) && (tag & MPROC__MUTEX_ANY_UNLOCK))
		return false;
	ret->owner = image_owner(image, ret->word);
	if (!ret->owner || ret->owner == thread || !locks_lives(ret->owner))
		return false;
	ret->image = image;
	ret->thread = thread;
	ret->key = proc->key;
	ret->next = LOCKS_NONE;
	return true;
}

static int compare_numbers(uint64_t x, uint64_t y)
{
	return x < y ? -1 : x > y;
}

/* By who waits: the records of one thread in different segments side by side. */
static int compare_waits(const void *a, const void *b)
{
	const struct lock_wait *x = a, *y = b;
	int r = compare_numbers(x->key, y->key);

	return r ? r : compare_numbers(x->thread->tid, y->thread->tid);
}

/* The wait of the thread that owns what @wait is for. */
static size_t next_of(const struct locks *locks, const struct lock_wait *wait)
{
	const struct image_proc *proc = image_proc(wait->image, wait->owner->slot);
	size_t from = 0, to = locks->n_waits, elsewhere = LOCKS_NONE;
	const struct lock_wait wanted = { .thread = wait->owner, .key = proc ? proc->key : 0 };

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (compare_waits(&locks->waits[middle], &wanted) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	for (; from < locks->n_waits && !compare_waits(&locks->waits[from], &wanted); from++) {
		if (locks->waits[from].thread == wait->owner)
			return from;
		/* Two records of one segment are two participants. */
		if (locks->waits[from].image != wait->image)
			elsewhere = from;
	}
	return elsewhere;
}

/* Copy the record of the waiter once more, and ask for its life and its lock. */
static bool is_still_there(const struct lock_wait *wait)
{
	const struct image *image = wait->image;
	const struct image_thread *thread = wait->thread;
	uint64_t off = image->head.sections[MPROC__SECTION_REGISTRY].off +
		       mproc__registry_threads_off(image->head.n_procs) +
		       (uint64_t)thread->index * sizeof(struct mproc__thread);
	struct mproc__thread raw;
	uint64_t word;

	if (image->source->read(image->source, &raw, sizeof(raw), off) != (ssize_t)sizeof(raw) ||
	    !locks_word(image, thread->blocked_on, &word))
		return false;
	return atomic_load_explicit(&raw.own, memory_order_relaxed) == thread->own &&
	       atomic_load_explicit(&raw.tid, memory_order_relaxed) == thread->tid &&
	       atomic_load_explicit(&raw.blocked_on, memory_order_relaxed) == thread->blocked_on &&
	       atomic_load_explicit(&raw.blocked_since, memory_order_relaxed) ==
		       thread->blocked_since &&
	       mproc__owner_id(word) == mproc__owner_id(wait->word);
}

static bool lives_now(const struct lock_wait *wait)
{
	struct source *source = wait->image->source;

	return source->held(source, MPROC__BYTE_SLOT(wait->thread->slot), 1) != 0;
}

/* From wait @at on @n waits lead back to it. */
static void add_cycle(struct locks *locks, size_t at, size_t n, size_t *n_order)
{
	size_t first = at, i = at;

	/* Begin with the youngest: the one that closed it. */
	for (size_t k = 0; k < n; k++, i = locks->waits[i].next)
		if (locks->waits[i].thread->blocked_since >
		    locks->waits[first].thread->blocked_since)
			first = i;
	for (size_t k = 0; k < n; k++, i = locks->waits[i].next)
		if (!lives_now(&locks->waits[i]))
			return;
	for (size_t k = 0; k < n; k++, i = locks->waits[i].next)
		if (!is_still_there(&locks->waits[i]))
			return;
	locks->cycles[locks->n_cycles++] = (struct lock_cycle){ *n_order, n };
	for (size_t k = 0; k < n; k++, first = locks->waits[first].next)
		locks->order[(*n_order)++] = first;
}

static void find_cycles(struct locks *locks)
{
	size_t n_order = 0;

	for (size_t start = 0; start < locks->n_waits; start++) {
		size_t at = start, n = 0, k;

		/* Walks are numbered from 1; who meets an earlier one's steps leaves. */
		while (at != LOCKS_NONE && !locks->waits[at].seen) {
			locks->waits[at].seen = start + 1;
			at = locks->waits[at].next;
		}
		if (at == LOCKS_NONE || locks->waits[at].seen != start + 1)
			continue;
		k = at;
		do {
			n++;
			k = locks->waits[k].next;
		} while (k != at);
		add_cycle(locks, at, n, &n_order);
	}
}

void locks_read(struct locks *ret, const struct image *const *images, size_t n)
{
	size_t room = 0;

	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < n; i++)
		room += images[i]->n_threads;
	ret->waits = text_alloc(NULL, (room + 1) * sizeof(*ret->waits));
	ret->order = text_alloc(NULL, (room + 1) * sizeof(*ret->order));
	ret->cycles = text_alloc(NULL, (room + 1) * sizeof(*ret->cycles));
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < images[i]->n_threads; k++)
			if (wait_of(images[i], &images[i]->threads[k], &ret->waits[ret->n_waits]))
				ret->n_waits++;
	if (ret->n_waits)
		qsort(ret->waits, ret->n_waits, sizeof(*ret->waits), compare_waits);
	for (size_t i = 0; i < ret->n_waits; i++)
		ret->waits[i].next = next_of(ret, &ret->waits[i]);
	find_cycles(ret);
}

void locks_free(struct locks *locks)
{
	free(locks->waits);
	free(locks->order);
	free(locks->cycles);
	memset(locks, 0, sizeof(*locks));
}
