/* SPDX-License-Identifier: MIT */

/*
 * Making an object: its place in the catalogue, its block, its construction
 *
 * The argument stands in catalogue.c.
 */

#include "shm/catalogue.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/lock.h"
#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/catalogue_inside.h"

/* An object that is being made. */
struct build {
	mproc_segment *segment;
	const struct mproc__object_spec *spec;
	struct mproc__self *me;
	uint64_t self; /* me->word, which a fork inside @init would wipe */
	struct mproc__name name;
	uint64_t off;        /* of the block */
	uint64_t block;      /* its generation */
	uint32_t at;         /* the entry that is reserved, or in the way */
	uint64_t word;       /* of that one */
	uint64_t generation; /* of the entry to be */
	uint32_t n_tombs;    /* that the search for a place has passed */
	uint64_t act;
};

static const char *shown(const struct mproc__object_spec *spec)
{
	return spec->name ? spec->name : "(anonymous)";
}

/*
 * Under the lock: turn TOMBs that no search needs to pass into EMPTY ones, or
 * searches for what is not there become long. A TOMB is needed if an entry in use
 * lies behind it and its home does not: going backwards, @reach is the number of
 * places from here on that the entries seen so far are searched through.
 */
static void sweep_tombs(const mproc_segment *segment)
{
	uint64_t n = segment->n_objects, reach = 0;

	/* Twice around: at the end of the first turn the reach of the wrap is known. */
	for (uint64_t i = 2 * n; i-- > 0;) {
		struct mproc__entry *entry = mproc__entry_at(segment, (uint32_t)(i % n));
		uint64_t word = atomic_load_explicit(&entry->word, memory_order_relaxed);
		uint32_t state = mproc__entry_state(word);

		if (state == MPROC__ENTRY_TOMB && !reach && i < n)
			atomic_store_explicit(&entry->word, MPROC__ENTRY_EMPTY,
					      memory_order_release);
		if (reach)
			reach--;
		if (state != MPROC__ENTRY_TOMB && state != MPROC__ENTRY_EMPTY) {
			uint64_t home = atomic_load_explicit(&entry->hash, memory_order_relaxed);
			uint64_t behind = (i % n + n - home % n) % n;

			if (behind > reach)
				reach = behind;
		}
	}
}

/*
 * Under the lock: a place for @b.
 *
 * Return: 0, -EEXIST with the one in the way, -ENOSPC, or -EBADMSG if one is in the way
 * that no search finds: to tell of it would make who opens or creates try for ever.
 */
static int place(struct build *b)
{
	const mproc_segment *segment = b->segment;
	uint32_t n = segment->n_objects;
	bool found = false;

	b->n_tombs = 0;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = (uint32_t)((b->name.hash + (uint64_t)i) % n);
		const struct mproc__entry *entry = mproc__entry_at(segment, at);
		uint64_t word = atomic_load_explicit(&entry->word, memory_order_acquire);
		uint32_t state = mproc__entry_state(word);
		struct mproc__image image;

		if (state == MPROC__ENTRY_EMPTY || state == MPROC__ENTRY_TOMB) {
			if (!found)
				b->at = at;
			found = true;
			b->n_tombs += state == MPROC__ENTRY_TOMB;
			/* Without a name nobody can be in the way. */
			if (state == MPROC__ENTRY_EMPTY || !b->spec->name)
				break;
			continue;
		}
		if (!b->spec->name ||
		    (state != MPROC__ENTRY_LIVE && state != MPROC__ENTRY_RESERVED))
			continue;
		(void)mproc__image_take(entry, word, &image);
		if (!memcmp(image.name, b->name.words, sizeof(image.name))) {
			b->at = at;
			b->word = word;
			return atomic_load_explicit(&entry->hash, memory_order_relaxed) ==
					       b->name.hash
				       ? -EEXIST
				       : -EBADMSG;
		}
	}
	return found ? 0 : -ENOSPC;
}

/* Under the lock: write what @b says into its entry, which nobody can find yet. */
static void entry_fill(const struct build *b, struct mproc__entry *entry)
{
	const struct mproc__object_spec *spec = b->spec;

	/* Release: a reader that sees one of these sees the entry's word without an object. */
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&entry->kind, spec->kind, memory_order_relaxed);
	atomic_store_explicit(&entry->hash, b->name.hash, memory_order_relaxed);
	atomic_store_explicit(&entry->generation, b->generation, memory_order_relaxed);
	atomic_store_explicit(&entry->off, b->off, memory_order_relaxed);
	atomic_store_explicit(&entry->block, b->block, memory_order_relaxed);
	atomic_store_explicit(&entry->len, spec->len, memory_order_relaxed);
	atomic_store_explicit(&entry->type, spec->type, memory_order_relaxed);
	atomic_store_explicit(&entry->since, (uint64_t)mproc__clock_real(), memory_order_relaxed);
	for (size_t i = 0; i < MPROC__NAME_WORDS; i++)
		atomic_store_explicit(&entry->name[i], b->name.words[i], memory_order_relaxed);
	if (!spec->name)
		atomic_store_explicit(&entry->name[MPROC__NAME_WORDS - 1], spec->process,
				      memory_order_relaxed);
}

/* Reserve the name. Return: 0, -EEXIST with the entry in the way, -ENOSPC, -EDEADLK, -EBADMSG. */
static int reserve(struct build *b)
{
	struct mproc__catalogue *catalogue = b->segment->catalogue;
	struct mproc__entry *entry;
	int r;

	r = mproc__lock_take(&catalogue->lock, b->me, mproc__catalogue_what(b->segment, catalogue),
			     MPROC_FOREVER);
	if (r < 0)
		return r;
	/* What a dead owner has begun to write is in an entry without an object. */
	if (r == MPROC__LOCK_INHERITED)
		mproc__lock_repaired(&catalogue->lock, b->me);
	b->generation = atomic_load_explicit(&catalogue->generation, memory_order_relaxed) + 1;
	b->generation &= MPROC__ENTRY_GENERATION_MASK;
	/* Without a name any place will do: let them lie apart. */
	if (!b->spec->name)
		b->name.hash = (uint32_t)(b->generation * UINT32_C(2654435769));
	r = place(b);
	if (r == 0) {
		entry = mproc__entry_at(b->segment, b->at);
		b->word = b->self | MPROC__ENTRY_RESERVED;
		atomic_store_explicit(&catalogue->generation, b->generation, memory_order_relaxed);
		atomic_signal_fence(memory_order_seq_cst);
		entry_fill(b, entry);
		b->act = mproc__act_begin(b->me, mproc__catalogue_what(b->segment, entry));
		atomic_store_explicit(&entry->word, b->word, memory_order_release);
		/* Not before: our own path must count as one in use. */
		if (b->n_tombs > b->segment->n_objects / 16 + 8)
			sweep_tombs(b->segment);
	}
	mproc__lock_release(&catalogue->lock, b->me);
	return r;
}

/*
 * Wait until the entry in the way of @b is no reservation any more.
 *
 * Return: 0, or -EDEADLK if it is the caller's own.
 */
static int wait_for_builder(struct build *b)
{
	struct mproc__entry *entry = mproc__entry_at(b->segment, b->at);
	mproc__sleepers *sleepers = &b->segment->catalogue->sleepers;
	struct mproc__wait wait;
	bool died = false;
	uint32_t key;

	if (mproc__entry_owner(b->word) == b->self)
		return -EDEADLK;
	mproc__wait_begin(&wait, b->me, mproc__catalogue_what(b->segment, entry), MPROC_FOREVER,
			  MPROC__QUANTUM_OWNED);
	while (atomic_load_explicit(&entry->word, memory_order_acquire) == b->word) {
		if (mproc__wait_turn(&wait, MPROC__CPU_ANY) == MPROC__WAIT_POLL)
			continue;
		died = mproc__dead(b->segment->range, mproc__entry_owner(b->word));
		if (died) {
			(void)mproc__entry_repair(b->segment, b->me, entry, b->word);
			break;
		}
		key = mproc__wait_announce(&wait, sleepers);
		if (atomic_load_explicit(&entry->word, memory_order_acquire) == b->word)
			mproc__wait_sleep(&wait, sleepers, key);
	}
	mproc__wait_end(&wait, !died);
	return 0;
}

/* Reserve the name, waiting for whoever is building it. Texts are left here. */
static int reserve_patiently(struct build *b)
{
	const struct mproc__object_spec *spec = b->spec;
	bool reaped = false;
	int r;

	for (;;) {
		r = reserve(b);
		if (r == -EEXIST && mproc__entry_state(b->word) == MPROC__ENTRY_RESERVED) {
			r = wait_for_builder(b);
			if (r == 0)
				continue;
		}
		/* Entries that the dead were building or removing are room. */
		if (r == -ENOSPC && !reaped && mproc__reap_all(b->segment->range) > 0) {
			reaped = true;
			continue;
		}
		break;
	}
	if (r == -EEXIST)
		mproc__fail(r, "create %s %s: the name is taken", spec->what, shown(spec));
	else if (r == -ENOSPC)
		mproc__fail(r, "create %s %s: all %" PRIu32 " entries of the catalogue are taken",
			    spec->what, shown(spec), b->segment->n_objects);
	else if (r == -EBADMSG)
		mproc__fail(r, "create %s %s: entry %" PRIu32 " has that name and another's hash",
			    spec->what, shown(spec), b->at);
	else if (r == -EDEADLK)
		mproc__fail(r, "create %s %s: asked for from inside its own construction",
			    spec->what, shown(spec));
	return r;
}

/* The reservation ends in nothing; the block is still private. */
static void abandon(struct build *b)
{
	struct mproc__entry *entry = mproc__entry_at(b->segment, b->at);
	uint64_t word = b->word;

	atomic_compare_exchange_strong_explicit(&entry->word, &word,
						mproc__entry_word(b->generation, MPROC__ENTRY_TOMB),
						memory_order_release, memory_order_relaxed);
	mproc__wake_all(b->me, &b->segment->catalogue->sleepers);
	mproc__act_end(b->me, b->act);
}

/* The name is reserved: construct the object and commit. */
static int construct(struct build *b, void *mem)
{
	const struct mproc__object_spec *spec = b->spec;
	struct mproc__entry *entry = mproc__entry_at(b->segment, b->at);
	uint64_t word = b->word;
	int r = 0;

	if (spec->init)
		r = spec->init(mem, spec->arg);
	/* A child that @init has forked came back here; it has built nothing. */
	if (b->me->word != b->self)
		return mproc__fail(-ENOTCONN, "create %s %s: the construction has forked",
				   spec->what, shown(spec));
	if (r < 0) {
		abandon(b);
		return r;
	}
	r = mproc__arena_publish(b->segment, b->me, b->off);
	if (r < 0) {
		abandon(b);
		return mproc__fail(-EBADMSG, "create %s %s: somebody has overwritten its block",
				   spec->what, shown(spec));
	}
	/* Release: the object stands before it can be found. */
	if (!atomic_compare_exchange_strong_explicit(
		    &entry->word, &word, mproc__entry_word(b->generation, MPROC__ENTRY_LIVE),
		    memory_order_release, memory_order_relaxed))
		r = mproc__fail(-EBADMSG, "create %s %s: somebody has overwritten its entry",
				spec->what, shown(spec));
	mproc__wake_all(b->me, &b->segment->catalogue->sleepers);
	mproc__act_end(b->me, b->act);
	return r;
}

int mproc__object_create(struct mproc__object *ret, mproc_segment *segment,
			 const struct mproc__object_spec *spec)
{
	struct build b = { .segment = segment, .spec = spec };
	struct mproc__image image;
	void *mem;
	int r;

	assert(spec->len);
	r = mproc__name_make(&b.name, spec, "create");
	if (r < 0)
		return r;
	b.me = mproc__self(segment->catalogue, spec->what);
	if (!b.me)
		return mproc__self_error();
	b.self = b.me->word;
	/* A look that costs little before an allocation that may cost much. */
	if (spec->name && mproc__entry_find(segment, &b.name, &b.at, &image))
		return mproc__fail(-EEXIST, "create %s %s: the name is taken", spec->what,
				   spec->name);
	r = mproc__arena_alloc(segment, b.me, spec->len, true, &b.off);
	if (r < 0)
		return r;
	b.block = mproc__arena_generation_of(segment, b.off);
	mem = mproc__arena_at(segment, b.off, spec->len);
	r = mem ? reserve_patiently(&b)
		: mproc__fail(-EBADMSG, "create %s %s: impossible block at offset %" PRIu64,
			      spec->what, shown(spec), b.off);
	if (r == 0)
		r = construct(&b, mem);
	if (r < 0) {
		if (b.me->word == b.self)
			(void)mproc__arena_free(segment, b.me, b.off);
		return r;
	}
	*ret = (struct mproc__object){
		.entry = b.at,
		.kind = spec->kind,
		.generation = b.generation,
		.off = b.off,
		.len = spec->len,
		.type = spec->type,
		.mem = mem,
	};
	return 0;
}
