/* SPDX-License-Identifier: MIT */

/*
 * The catalogue: every object of a segment, found by name or by reference
 *
 * Who writes what. Only who holds the lock turns an EMPTY or TOMB entry RESERVED,
 * or a TOMB EMPTY; so names are unique. All other steps are one CAS on the entry's
 * word by the thread that the word names, or, when that is dead, by anybody:
 *
 *	RESERVED -> LIVE	the object is there: the commit
 *	LIVE -> DYING		it is gone: the commit of a removal
 *	RESERVED -> DYING	its builder is dead, and the block is being taken back
 *	DYING -> DYING		so is who took it back
 *	RESERVED, DYING -> TOMB
 *
 * A reader takes no lock: it reads the word, copies the fields, and reads the word
 * again. Generations of entries never come again, so an equal word means an
 * untorn copy.
 *
 * The builder's own function runs user code and must not run under the lock. The
 * lock is held to reserve the name and no longer; who wants the same name waits
 * for the word to change, and looks whether the builder still lives.
 *
 * The block. It is allocated PRIVATE to the builder, published, and then the entry
 * becomes LIVE; a removal goes the same way back: DYING, what else the object has is
 * freed by its kind, PRIVATE, TOMB, free. Killed
 *
 *	before RESERVED		the block is private to the dead: the arena's reaper
 *	before it is published	likewise; whoever comes sets TOMB
 *	before LIVE		who comes makes the entry DYING in his own name, the block
 *				his own, sets TOMB, frees it
 *	after LIVE		the object is there
 *
 * and who comes may be killed as well: the block is published and the entry names
 * it, or it is private to the dead. Between the two the reaper may free it and
 * somebody innocent get it, while the entry still names it; so the entry has the
 * generation of its block, and a block of another generation is left alone.
 */

#include "shm/catalogue.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/kind.h"
#include "ipc/participant.h"
#include "ipc/wait.h"
#include "shm/arena.h"
#include "shm/catalogue_inside.h"

static_assert(MPROC__OBJECT_NAME_MAX + 1 == MPROC__ENTRY_NAME, "names and their room differ");

int mproc__name_make(struct mproc__name *ret, const struct mproc__object_spec *spec,
		     const char *verb)
{
	size_t len = spec->name ? strlen(spec->name) : 0;
	char padded[MPROC__ENTRY_NAME] = { 0 };

	if (spec->name && (!len || len > MPROC__OBJECT_NAME_MAX))
		return mproc__fail(-EINVAL, "%s %s: a name of %zu bytes, 1 to %u are possible",
				   verb, spec->what, len, MPROC__OBJECT_NAME_MAX);
	ret->hash = UINT32_C(2166136261);
	for (size_t i = 0; i < len; i++) {
		padded[i] = spec->name[i];
		ret->hash = (ret->hash ^ (unsigned char)padded[i]) * UINT32_C(16777619);
	}
	memcpy(ret->words, padded, sizeof(ret->words));
	return 0;
}

bool mproc__image_take(const struct mproc__entry *entry, uint64_t word, struct mproc__image *ret)
{
	ret->word = word;
	ret->kind = atomic_load_explicit(&entry->kind, memory_order_relaxed);
	ret->off = atomic_load_explicit(&entry->off, memory_order_relaxed);
	ret->len = atomic_load_explicit(&entry->len, memory_order_relaxed);
	ret->type = atomic_load_explicit(&entry->type, memory_order_relaxed);
	for (size_t i = 0; i < MPROC__NAME_WORDS; i++)
		ret->name[i] = atomic_load_explicit(&entry->name[i], memory_order_relaxed);
	/* Pairs with the fence in entry_fill(): who saw a new field sees a new word. */
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&entry->word, memory_order_relaxed) == word;
}

bool mproc__entry_find(const mproc_segment *segment, const struct mproc__name *name,
		       uint32_t *ret_at, struct mproc__image *ret)
{
	ret->word = MPROC__ENTRY_EMPTY;
	for (uint32_t i = 0; i < segment->n_objects; i++) {
		uint32_t at = (uint32_t)((name->hash + (uint64_t)i) % segment->n_objects);
		const struct mproc__entry *entry = mproc__entry_at(segment, at);
		uint64_t word;

		do {
			word = atomic_load_explicit(&entry->word, memory_order_acquire);
			if (mproc__entry_state(word) != MPROC__ENTRY_LIVE ||
			    atomic_load_explicit(&entry->hash, memory_order_relaxed) != name->hash)
				break;
		} while (!mproc__image_take(entry, word, ret));
		if (word == MPROC__ENTRY_EMPTY)
			return false;
		if (mproc__entry_state(word) == MPROC__ENTRY_LIVE && ret->word == word &&
		    !memcmp(ret->name, name->words, sizeof(ret->name))) {
			*ret_at = at;
			return true;
		}
	}
	return false;
}

/*
 * What else the object of @entry has is freed by its kind, while its own block is still
 * published and named by the entry: who dies in it is followed by another. A block that
 * is private was not complete, or nothing else is left of it.
 *
 * Return: as struct mproc__kind's dispose().
 */
static int dispose(mproc_segment *segment, struct mproc__self *me, const struct mproc__entry *entry,
		   bool wait)
{
	uint64_t off = atomic_load_explicit(&entry->off, memory_order_relaxed);
	uint64_t block = atomic_load_explicit(&entry->block, memory_order_relaxed);
	uint64_t len = atomic_load_explicit(&entry->len, memory_order_relaxed);
	const struct mproc__kind *kind =
		mproc__kind_find(atomic_load_explicit(&entry->kind, memory_order_relaxed));

	if (!kind || !kind->dispose || !mproc__arena_is_published(segment, off, block) ||
	    !mproc__arena_at(segment, off, len))
		return 0;
	return kind->dispose(segment->range, me, off, len, wait);
}

/*
 * Take the entry at @entry, whose word the caller has just made DYING in his own
 * name, out of the catalogue, and free its block if that is the entry's still.
 *
 * Return: 0, or 1 if the living are in the way; with @wait only those whose waiting has no
 * end as long as we wait: ourselves, or one who waits for us.
 */
static int bury(mproc_segment *segment, struct mproc__self *me, struct mproc__entry *entry,
		bool wait)
{
	uint64_t off = atomic_load_explicit(&entry->off, memory_order_relaxed);
	uint64_t block = atomic_load_explicit(&entry->block, memory_order_relaxed);
	uint64_t generation = atomic_load_explicit(&entry->generation, memory_order_relaxed) &
			      MPROC__ENTRY_GENERATION_MASK;
	bool ours;

	if (dispose(segment, me, entry, wait))
		return 1;
	ours = mproc__arena_adopt_exact(segment, me, off, block) == 0;
	/* The block first became ours: from here on our death frees it. */
	atomic_store_explicit(&entry->word, mproc__entry_word(generation, MPROC__ENTRY_TOMB),
			      memory_order_release);
	mproc__wake_all(me, &segment->catalogue->sleepers);
	if (ours)
		(void)mproc__arena_free(segment, me, off);
	return 0;
}

int mproc__entry_repair(mproc_segment *segment, struct mproc__self *me, struct mproc__entry *entry,
			uint64_t word)
{
	uint64_t was = word;

	/* Who fails was forestalled by another who came to repair. */
	if (!atomic_compare_exchange_strong_explicit(&entry->word, &word,
						     me->word | MPROC__ENTRY_DYING,
						     memory_order_acq_rel, memory_order_relaxed) ||
	    bury(segment, me, entry, false) == 0)
		return 0;
	/* In the name of the dead again, or nobody would come back as long as we live. */
	word = me->word | MPROC__ENTRY_DYING;
	atomic_compare_exchange_strong_explicit(&entry->word, &word, was, memory_order_acq_rel,
						memory_order_relaxed);
	return 1;
}

/* The address of an object, or NULL. Blocks are aligned: what is not is none. */
static void *memory_of(mproc_segment *segment, const struct mproc__image *image)
{
	return image->off & 63 ? NULL : mproc__arena_at(segment, image->off, image->len);
}

static struct mproc__object object_of(uint32_t at, const struct mproc__image *image, void *mem)
{
	return (struct mproc__object){
		.entry = at,
		.kind = image->kind,
		.generation = mproc__entry_generation(image->word),
		.off = image->off,
		.len = image->len,
		.type = image->type,
		.mem = mem,
	};
}

/* Is what was found what @spec wants? */
static int matches(const struct mproc__image *image, const struct mproc__object_spec *spec,
		   const char *name)
{
	const char *kind = mproc__kind_name(image->kind);

	if (image->kind != spec->kind)
		return mproc__fail(-EEXIST, "open %s %s: the name is that of another kind: %s",
				   spec->what, name, kind ? kind : "an unknown one");
	if (spec->len && image->len != spec->len)
		return mproc__fail(-EPROTO, "open %s %s: %" PRIu64 " bytes wanted, it has %" PRIu64,
				   spec->what, name, spec->len, image->len);
	if (image->type != spec->type)
		return mproc__fail(-EPROTO,
				   "open %s %s: type %016" PRIx64 " wanted, it has %016" PRIx64,
				   spec->what, name, spec->type, image->type);
	return 0;
}

/* Whoever may only read takes no part, but must not read what is none of the segment's. */
static int enter(const mproc_segment *segment, const char *what)
{
	if (segment->range->read_only)
		return mproc__range_is_spoilt(segment->range) ? mproc__range_refuse(what) : 0;
	return mproc__self(segment->catalogue, what) ? 0 : mproc__self_error();
}

int mproc__object_open(struct mproc__object *ret, mproc_segment *segment,
		       const struct mproc__object_spec *spec)
{
	struct mproc__image image;
	struct mproc__name name;
	uint32_t at;
	void *mem;
	int r;

	assert(spec->name);
	r = mproc__name_make(&name, spec, "open");
	if (r < 0)
		return r;
	r = enter(segment, spec->what);
	if (r < 0)
		return r;
	for (;;) {
		if (!mproc__entry_find(segment, &name, &at, &image))
			return mproc__fail(-ENOENT, "open %s %s: there is none", spec->what,
					   spec->name);
		r = matches(&image, spec, spec->name);
		if (r < 0)
			return r;
		mem = memory_of(segment, &image);
		if (mem)
			break;
		/* Removed while we looked, or scribbled over. */
		if (atomic_load_explicit(&mproc__entry_at(segment, at)->word,
					 memory_order_acquire) == image.word)
			return mproc__fail(-EBADMSG,
					   "open %s %s: %" PRIu64 " bytes at offset %" PRIu64
					   " are no block",
					   spec->what, spec->name, image.len, image.off);
	}
	*ret = object_of(at, &image, mem);
	return 0;
}

/* The offset in the segment of entry 0. */
static uint64_t entries_off(const mproc_segment *segment)
{
	uintptr_t base = atomic_load_explicit(&segment->range->base, memory_order_relaxed);

	return (uint64_t)((uintptr_t)mproc__entry_at(segment, 0) - base);
}

struct mproc_ref mproc__object_ref(mproc_segment *segment, const struct mproc__object *object)
{
	return (struct mproc_ref){
		.segment = segment->id,
		.off = entries_off(segment) + (uint64_t)object->entry * sizeof(struct mproc__entry),
		.generation = object->generation,
	};
}

int mproc__object_open_ref(struct mproc__object *ret, mproc_segment *segment,
			   const struct mproc__object_spec *spec, const struct mproc_ref *ref)
{
	uint64_t rel = ref->off - entries_off(segment);
	uint64_t at = rel / sizeof(struct mproc__entry), word;
	char name[] = "by reference";
	struct mproc__image image;
	void *mem;
	int r;

	if (ref->segment != segment->id)
		return mproc__fail(-EINVAL, "open %s %s: it is another segment's", spec->what,
				   name);
	if (rel % sizeof(struct mproc__entry) || at >= segment->n_objects)
		return mproc__fail(-EINVAL, "open %s %s: no object is at offset %" PRIu64,
				   spec->what, name, ref->off);
	r = enter(segment, spec->what);
	if (r < 0)
		return r;
	word = mproc__entry_word(ref->generation, MPROC__ENTRY_LIVE);
	if (!mproc__image_take(mproc__entry_at(segment, (uint32_t)at), word, &image))
		return mproc__fail(-ESTALE, "open %s %s: it is gone", spec->what, name);
	r = matches(&image, spec, name);
	if (r < 0)
		return r;
	mem = memory_of(segment, &image);
	/* Removed while we looked, or scribbled over. */
	if (!mem && atomic_load_explicit(&mproc__entry_at(segment, (uint32_t)at)->word,
					 memory_order_acquire) != word)
		return mproc__fail(-ESTALE, "open %s %s: it is gone", spec->what, name);
	if (!mem)
		return mproc__fail(-EBADMSG,
				   "open %s %s: %" PRIu64 " bytes at offset %" PRIu64
				   " are no block",
				   spec->what, name, image.len, image.off);
	*ret = object_of((uint32_t)at, &image, mem);
	return 0;
}

int mproc__object_open_or_create(struct mproc__object *ret, mproc_segment *segment,
				 const struct mproc__object_spec *spec)
{
	char text[MPROC__ERROR_MAX];
	int r;

	mproc__error_keep(text);
	/* Each turn that fails has met another process that succeeded in something. */
	do {
		r = mproc__object_open(ret, segment, spec);
		if (r != -ENOENT)
			break;
		r = mproc__object_create(ret, segment, spec);
		if (r == 0)
			r = 1;
	} while (r == -EEXIST);
	if (r >= 0)
		mproc__error_put_back(text);
	return r;
}

static int remove_object(mproc_segment *segment, struct mproc__self *me,
			 const struct mproc__object *object, bool wait)
{
	uint64_t word = mproc__entry_word(object->generation, MPROC__ENTRY_LIVE);
	struct mproc__entry *entry = mproc__entry_at(segment, object->entry);
	uint64_t act;

	act = mproc__act_begin(me, mproc__catalogue_what(segment, entry));
	if (!atomic_compare_exchange_strong_explicit(&entry->word, &word,
						     me->word | MPROC__ENTRY_DYING,
						     memory_order_acq_rel, memory_order_relaxed)) {
		mproc__act_end(me, act);
		return mproc__fail(-ESTALE, "remove: object %" PRIu32 " is gone already",
				   object->entry);
	}
	/* One whose living are in the way is gone, and goes back when we end. */
	(void)bury(segment, me, entry, wait);
	mproc__act_end(me, act);
	return 0;
}

int mproc__object_remove_as(mproc_segment *segment, struct mproc__self *me,
			    const struct mproc__object *object)
{
	return remove_object(segment, me, object, false);
}

int mproc__object_remove(mproc_segment *segment, const struct mproc__object *object)
{
	struct mproc__self *me = mproc__self(segment->catalogue, "remove");

	return me ? remove_object(segment, me, object, true) : mproc__self_error();
}

bool mproc__object_at(mproc_segment *segment, uint32_t at, uint32_t kind, uint64_t process,
		      struct mproc__object *ret)
{
	const struct mproc__entry *entry = mproc__entry_at(segment, at);
	uint64_t word = atomic_load_explicit(&entry->word, memory_order_acquire);
	uint64_t whose = mproc__entry_process(entry);
	struct mproc__image image;

	if (mproc__entry_state(word) != MPROC__ENTRY_LIVE ||
	    !mproc__image_take(entry, word, &image) || image.kind != kind ||
	    (process && whose != process))
		return false;
	*ret = object_of(at, &image, memory_of(segment, &image));
	return ret->mem;
}

int mproc__object_check(mproc_segment *segment, const struct mproc__object *object)
{
	uint64_t word = atomic_load_explicit(&mproc__entry_at(segment, object->entry)->word,
					     memory_order_acquire);

	return word == mproc__entry_word(object->generation, MPROC__ENTRY_LIVE) ? 0 : -ESTALE;
}

bool mproc__object_is_dying(mproc_segment *segment, const struct mproc__object *object)
{
	const struct mproc__entry *entry = mproc__entry_at(segment, object->entry);
	uint64_t generation = atomic_load_explicit(&entry->generation, memory_order_relaxed) &
			      MPROC__ENTRY_GENERATION_MASK;

	/* Whatever the caller has read of the block before, he has read. */
	atomic_thread_fence(memory_order_acquire);
	/* The next object of the entry has another generation before its word says anything. */
	return mproc__entry_state(atomic_load_explicit(&entry->word, memory_order_acquire)) ==
		       MPROC__ENTRY_DYING &&
	       generation == object->generation &&
	       (atomic_load_explicit(&entry->generation, memory_order_relaxed) &
		MPROC__ENTRY_GENERATION_MASK) == generation;
}

int mproc__object_look(mproc_segment *segment, const struct mproc__object *object, const char *noun,
		       const char *name)
{
	if (mproc__range_is_spoilt(segment->range))
		return mproc__range_refuse(noun);
	/*
	 * Who removes it makes the entry DYING and executes a fence before anything is freed:
	 * who has read what became of it afterwards sees the entry's new word.
	 */
	atomic_thread_fence(memory_order_acquire);
	if (mproc__object_check(segment, object) == 0)
		return 0;
	return mproc__fail(-ESTALE, "%s %s: it is gone", noun, name);
}

uint64_t mproc__catalogue_size(uint32_t n_objects)
{
	return mproc__catalogue_bytes(n_objects);
}

void mproc__catalogue_init(struct mproc__catalogue *catalogue, uint32_t n_objects)
{
	atomic_store_explicit(&catalogue->n_entries, n_objects, memory_order_relaxed);
}

/* What a dead process was building or removing: look at every entry, whoever it was. */
static int reap(struct mproc__range *range, struct mproc__self *me, uint32_t proc,
		uint64_t generation)
{
	mproc_segment *segment = mproc__segment_of(range);
	int left = 0;

	(void)proc;
	(void)generation;
	if (!segment)
		return 0;
	for (uint32_t at = 0; at < segment->n_objects; at++) {
		struct mproc__entry *entry = mproc__entry_at(segment, at);
		uint64_t word = atomic_load_explicit(&entry->word, memory_order_acquire);
		uint32_t state = mproc__entry_state(word);

		if ((state != MPROC__ENTRY_RESERVED && state != MPROC__ENTRY_DYING) ||
		    !mproc__dead(range, mproc__entry_owner(word)))
			continue;
		if (!me || mproc__entry_repair(segment, me, entry, word))
			left = 1;
	}
	return left;
}

const struct mproc__kind mproc__kind_catalogue = {
	.id = MPROC__KIND_CATALOGUE,
	.name = "catalogue",
	.reap = reap,
	.describe = mproc__catalogue_describe,
};
