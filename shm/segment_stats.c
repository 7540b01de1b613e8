/* SPDX-License-Identifier: MIT */

/*
 * What is in a segment: numbers, the objects one by one, and removing one
 *
 * All but the removal only reads, and needs no identity: it works through a read-only
 * handle and takes no lock. Numbers are therefore of no single instant; each alone was
 * true at one.
 *
 * The objects. An entry never moves, and its word, which has the generation that never
 * comes again, is read before and after its fields (catalogue.c): what is told of an
 * object was true at one instant. Whoever goes through the entries in their order hence
 * meets an object that is there all the time exactly once, and one that comes or goes
 * meanwhile once or never.
 *
 * Removing is the catalogue's: DYING is the commit, whoever follows a dead remover
 * completes it.
 */

#include <mproc/segment.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ipc/error.h"
#include "ipc/kind.h"
#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/catalogue.h"
#include "shm/catalogue_inside.h"
#include "shm/segment.h"
#include "shm/segment_layout.h"
#include "shm/segment_pages.h"

#define RESULT_SIZE_MAX 4096
#define TURNS_MAX       1000

static_assert(MPROC_OBJECT_VALUE == (int)MPROC__KIND_VALUE &&
		      MPROC_OBJECT_ARRAY == (int)MPROC__KIND_ARRAY &&
		      MPROC_OBJECT_QUEUE == (int)MPROC__KIND_QUEUE &&
		      MPROC_OBJECT_POOL == (int)MPROC__KIND_POOL &&
		      MPROC_OBJECT_BLOCK == (int)MPROC__KIND_BLOCK &&
		      MPROC_OBJECT_DICT == (int)MPROC__KIND_DICT &&
		      MPROC_OBJECT_LIST == (int)MPROC__KIND_LIST &&
		      MPROC_OBJECT_STRING == (int)MPROC__KIND_STRING &&
		      MPROC_OBJECT_NAMESPACE == (int)MPROC__KIND_NAMESPACE &&
		      MPROC_OBJECT_RINGLOG == (int)MPROC__KIND_RINGLOG,
	      "a kind has two numbers");
static_assert(sizeof(((struct mproc_segment_info *)0)->name) == MPROC__ENTRY_NAME,
	      "names and their room differ");

/* Can @ret take a result? Its first member is its size, as the caller knows it. */
static int result_check(const char *what, const void *ret)
{
	size_t size;

	memcpy(&size, ret, sizeof(size));
	if (size >= sizeof(size) && size <= RESULT_SIZE_MAX)
		return 0;
	return mproc__fail(-EINVAL, "%s: a result struct of %zu bytes", what, size);
}

/* Copy what both know, and zero what only the caller does. */
static void result_give(void *ret, const void *from, size_t known)
{
	size_t size;

	memcpy(&size, ret, sizeof(size));
	if (size > known)
		memset((char *)ret + known, 0, size - known);
	memcpy((char *)ret + sizeof(size), (const char *)from + sizeof(size),
	       (size < known ? size : known) - sizeof(size));
}

static void count_objects(const mproc_segment *segment, struct mproc_segment_stats *ret)
{
	ret->objects_max = segment->n_objects;
	for (uint32_t at = 0; at < segment->n_objects; at++) {
		uint64_t word = atomic_load_explicit(&mproc__entry_at(segment, at)->word,
						     memory_order_relaxed);

		ret->objects += mproc__entry_state(word) == MPROC__ENTRY_LIVE;
	}
}

/* Those who live, not those who left a record behind. */
static void count_participants(const mproc_segment *segment, struct mproc_segment_stats *ret)
{
	struct mproc__range *range = segment->range;

	ret->processes_max = range->n_procs;
	ret->threads_max = range->n_threads;
	for (uint32_t i = 0; i < range->n_procs; i++) {
		uint64_t st = atomic_load_explicit(&range->procs[i].st, memory_order_acquire);

		ret->processes += mproc__proc_state(st) == MPROC__PROC_LIVE &&
				  !mproc__proc_dead(range, i, mproc__proc_generation(st));
	}
	for (uint32_t i = 0; i < range->n_threads; i++) {
		uint64_t own = atomic_load_explicit(&range->threads[i].own, memory_order_acquire);

		ret->threads +=
			mproc__own_state(own) == MPROC__THREAD_LIVE &&
			!mproc__dead(range, mproc__owner_word(i, mproc__owner_generation(own)));
	}
	ret->deaths = atomic_load_explicit(&range->reg->deaths, memory_order_relaxed);
	ret->takeovers = atomic_load_explicit(&range->reg->takeovers, memory_order_relaxed);
	ret->heals = atomic_load_explicit(&range->reg->heals, memory_order_relaxed);
}

int mproc_segment_stats(mproc_segment *segment, struct mproc_segment_stats *ret)
{
	struct mproc_segment_stats stats = { .size = sizeof(stats) };
	const struct mproc__segment_state *state;
	struct mproc__arena_stats arena;
	void *base;
	int r;

	assert(ret);
	r = result_check("segment stats", ret);
	if (r == 0)
		r = mproc__segment_get(&segment, segment);
	if (r < 0)
		return r;
	base = (void *)atomic_load_explicit(&segment->range->base, memory_order_relaxed);
	state = (void *)((char *)base + MPROC__SEGMENT_STATE_OFF);
	stats.id = segment->id;
	stats.bytes = mproc__segment_memory(segment);
	stats.bytes_max = segment->size_max;
	stats.growths = atomic_load_explicit(&state->epoch, memory_order_relaxed);
	mproc__arena_stats(segment, &arena);
	stats.used = arena.used;
	stats.free = arena.free;
	stats.largest_free = arena.largest_free;
	stats.blocks = arena.n_blocks;
	if (segment->flags & MPROC_SEGMENT_HUGE)
		stats.bytes_huge = mproc__pages_n_huge(base, segment->range->size);
	count_objects(segment, &stats);
	count_participants(segment, &stats);
	result_give(ret, &stats, sizeof(stats));
	return 0;
}

/* What entry @at says, if an object is there. */
static bool info_of(mproc_segment *segment, uint32_t at, struct mproc_segment_info *ret)
{
	const struct mproc__entry *entry = mproc__entry_at(segment, at);
	struct mproc__object object;
	struct mproc__image image;
	const char *kind;
	uint64_t word, since;
	int turns = 0;

	do {
		word = atomic_load_explicit(&entry->word, memory_order_acquire);
		/* Each turn another object has come: what is there all the time needs one. */
		if (mproc__entry_state(word) != MPROC__ENTRY_LIVE || turns++ == TURNS_MAX)
			return false;
		since = atomic_load_explicit(&entry->since, memory_order_relaxed);
	} while (!mproc__image_take(entry, word, &image));
	kind = mproc__kind_name(image.kind);
	memcpy(ret->name, image.name, sizeof(ret->name));
	ret->name[sizeof(ret->name) - 1] = '\0';
	/* Without a name the room for it is used otherwise. */
	if (!ret->name[0])
		memset(ret->name, 0, sizeof(ret->name));
	ret->kind = image.kind;
	ret->kind_name = kind ? kind : "unknown";
	ret->bytes = image.len;
	ret->since = (int64_t)since;
	object.entry = at;
	object.generation = mproc__entry_generation(word);
	ret->ref = mproc__object_ref(segment, &object);
	return true;
}

int mproc_segment_next(mproc_segment *segment, struct mproc_segment_iter *it,
		       struct mproc_segment_info *ret)
{
	struct mproc_segment_info info = { .size = sizeof(info) };
	int r;

	assert(it && ret);
	r = result_check("segment next", ret);
	if (r == 0)
		r = mproc__segment_get(&segment, segment);
	if (r < 0)
		return r;
	for (; it->at < segment->n_objects; it->at++) {
		if (!info_of(segment, (uint32_t)it->at, &info))
			continue;
		it->at++;
		result_give(ret, &info, sizeof(info));
		return 1;
	}
	return 0;
}

/* Is all its memory its own block, or can its kind free the rest? Return: 0 or negative. */
static int may_remove(mproc_segment *segment, const struct mproc__image *image, const char *name)
{
	const struct mproc__kind *room = mproc__kind_find(image->kind);
	const char *kind = mproc__kind_name(image->kind);

	if (room && room->may_remove)
		return room->may_remove(segment->range, image->off, image->len, name);
	if (image->kind == MPROC__KIND_BLOCK || image->kind == MPROC__KIND_VALUE ||
	    image->kind == MPROC__KIND_ARRAY || image->kind == MPROC__KIND_RINGLOG ||
	    (room && room->dispose))
		return 0;
	return mproc__fail(-EOPNOTSUPP,
			   "remove %s: it is a %s, which only its own functions can end", name,
			   kind ? kind : "thing of unknown kind");
}

int mproc_segment_remove(mproc_segment *segment, const char *name)
{
	const struct mproc__object_spec spec = { .what = "object", .name = name };
	struct mproc__object object;
	struct mproc__image image;
	struct mproc__name wanted;
	int r;

	assert(name);
	r = mproc__name_make(&wanted, &spec, "remove");
	if (r == 0)
		r = mproc__segment_get(&segment, segment);
	if (r < 0)
		return r;
	if (!mproc__self(segment->catalogue, "remove"))
		return mproc__self_error();
	do {
		if (!mproc__entry_find(segment, &wanted, &object.entry, &image))
			return mproc__fail(-ENOENT, "remove %s: there is none", name);
		r = may_remove(segment, &image, name);
		if (r < 0)
			return r;
		object.generation = mproc__entry_generation(image.word);
		r = mproc__object_remove(segment, &object);
		/* Another was quicker; what has the name now may be another object. */
	} while (r == -ESTALE);
	return r;
}

int mproc_segment_remove_ref(mproc_segment *segment, const struct mproc_ref *ref)
{
	struct mproc_ref own, first;
	struct mproc__object object = { .entry = 0 };
	struct mproc__image image;
	char what[32];
	uint64_t rel;
	int r;

	assert(ref);
	/* Others may be writing there: what is checked is the copy. */
	memcpy(&own, ref, sizeof(own));
	r = mproc__segment_get(&segment, segment);
	if (r < 0)
		return r;
	if (!mproc__self(segment->catalogue, "remove"))
		return mproc__self_error();
	first = mproc__object_ref(segment, &object);
	rel = own.off - first.off;
	if (own.segment != first.segment)
		return mproc__fail(-EINVAL, "remove: the reference is another segment's");
	if (rel % sizeof(struct mproc__entry) ||
	    rel / sizeof(struct mproc__entry) >= segment->n_objects)
		return mproc__fail(-EINVAL, "remove: no object is at offset %" PRIu64, own.off);
	object.entry = (uint32_t)(rel / sizeof(struct mproc__entry));
	object.generation = own.generation;
	if (!mproc__image_take(mproc__entry_at(segment, object.entry),
			       mproc__entry_word(own.generation, MPROC__ENTRY_LIVE), &image))
		return mproc__fail(-ESTALE, "remove: object %" PRIu32 " is gone already",
				   object.entry);
	snprintf(what, sizeof(what), "object %" PRIu32, object.entry);
	r = may_remove(segment, &image, what);
	if (r < 0)
		return r;
	return mproc__object_remove(segment, &object);
}
