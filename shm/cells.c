/* SPDX-License-Identifier: MIT */

/*
 * Typed items under a lock: what values and arrays are made of
 *
 * An item of 1, 2, 4 or 8 bytes is changed by one store. A longer one is changed
 * by three steps of whoever has the lock:
 *
 *	1. the new item is written to the stage
 *	2. pending = number of the item + 1: the commit
 *	3. the stage is copied to the item, pending = 0
 *
 * Killed before 2 the old item stands; after it, whoever gets the lock next does 3
 * again before he does anything else, and so does his heir: the stage is changed
 * only while nothing is pending. So an item stays where it is, and is one that
 * somebody has set. (Two copies and a word that says which is valid would save a
 * copy, but items of arrays could not lie side by side, and nobody could keep a
 * pointer to one.)
 *
 * Between lock and unlock the user may leave things half done; get and set do not.
 * So the news of a death is told only if the dead had the lock by lock():
 *
 *	section		NONE	nobody is between lock and unlock
 *			OPEN	the owner of the lock is; or was, if he is dead
 *			LEFT	one has died there, and nobody has said consistent
 *
 * The word changes under the lock alone. An heir who finds OPEN makes it LEFT
 * before he tells the mutex that the death is known; one who dies before has
 * changed nothing, and one who dies after leaves LEFT.
 */

#include "shm/cells.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <mproc/mutex.h>

#include "ipc/error.h"
#include "ipc/lock.h"

static mproc_mutex *mutex_of(const struct mproc__cells *c)
{
	return (mproc_mutex *)&c->shared->lock;
}

/* Fowler-Noll-Vo, 64 bits. */
static uint64_t hash(uint64_t seed, const void *bytes, size_t len)
{
	const unsigned char *byte = bytes;

	for (size_t i = 0; i < len; i++)
		seed = (seed ^ byte[i]) * UINT64_C(0x100000001b3);
	return seed;
}

static uint64_t hash_fields(const struct mproc_type *type)
{
	uint64_t seed = UINT64_C(0xcbf29ce484222325);

	if (!type->fields)
		return 0;
	for (uint32_t i = 0; i < type->n_fields; i++) {
		const struct mproc_field *field = &type->fields[i];

		seed = hash(seed, field->name, strlen(field->name) + 1);
		seed = hash(seed, &field->kind, sizeof(field->kind));
		seed = hash(seed, &field->off, sizeof(field->off));
		seed = hash(seed, &field->size, sizeof(field->size));
	}
	return seed ? seed : 1;
}

static const char *shown(const char *name)
{
	return name ? name : "(anonymous)";
}

static char *type_text(char buf[80], const struct mproc_type *type)
{
	return mproc__cell_text(buf, 80, type->kind, type->size, type->name ? type->name : "bytes");
}

/* What there is to be, from what is wanted. Return: 0 or -EINVAL with a text. */
static int geometry_of(struct mproc__cells_geometry *ret, const char *verb,
		       const struct mproc__cells_spec *spec)
{
	const struct mproc_type *type = spec->type;
	char text[80];

	memset(ret, 0, sizeof(*ret));
	if (!type)
		return mproc__fail(-EINVAL, "%s %s %s: no type is given", verb, spec->noun,
				   shown(spec->name));
	if (type->name && strchr(type->name, '*'))
		return mproc__fail(-EINVAL,
				   "%s %s %s: a pointer (%s) means nothing to another process",
				   verb, spec->noun, shown(spec->name), type->name);
	ret->kind = type->kind;
	ret->size = type->size;
	ret->align = type->align;
	ret->n_items = spec->n_items ? spec->n_items : 1;
	ret->fields = type->kind == MPROC_BYTES ? hash_fields(type) : 0;
	if (type->kind == MPROC_BYTES && type->name)
		strncpy(ret->type_name, type->name, sizeof(ret->type_name) - 1);
	if (!mproc__cells_place(ret))
		return mproc__fail(-EINVAL,
				   "%s %s %s: %" PRIu64 " of %s aligned to %" PRIu32
				   " bytes cannot be shared, 64 is the most",
				   verb, spec->noun, shown(spec->name), ret->n_items,
				   type_text(text, type), type->align);
	return 0;
}

static bool same_type(const struct mproc__cells_geometry *is, const struct mproc_type *type)
{
	if (is->kind != type->kind || is->size != type->size)
		return false;
	return is->kind != MPROC_BYTES ||
	       (is->align == type->align &&
		!strncmp(is->type_name, type->name ? type->name : "", sizeof(is->type_name) - 1));
}

struct plan {
	const struct mproc__cells_geometry *geometry;
	const void *init;
};

/* In zeroed memory that nobody else can see yet. */
static int shared_init(void *mem, void *arg)
{
	const struct plan *plan = arg;
	const struct mproc__cells_geometry *g = plan->geometry;
	struct mproc__cells_shared *s = mem;

	s->layout = MPROC__CELLS_LAYOUT;
	s->kind = g->kind;
	s->n_items = g->n_items;
	s->size = g->size;
	s->align = g->align;
	s->fields = g->fields;
	memcpy(s->type_name, g->type_name, sizeof(s->type_name));
	if (plan->init)
		memcpy((char *)mem + g->items, plan->init, (size_t)(g->n_items * g->size));
	return mproc_mutex_init((mproc_mutex *)&s->lock, 0);
}

/* A handle on @object, which takes over one use of @segment if it succeeds. */
static int handle_init(struct mproc__cells *ret, mproc_segment *segment,
		       const struct mproc__object *object, const struct mproc__cells_spec *spec)
{
	memset(ret, 0, sizeof(*ret));
	ret->segment = segment;
	ret->object = *object;
	ret->shared = object->mem;
	ret->noun = spec->noun;
	strncpy(ret->name, shown(spec->name), sizeof(ret->name) - 1);
	if ((uintptr_t)object->mem % MPROC__TYPE_ALIGN_MAX ||
	    !mproc__cells_check(object->mem, object->len, &ret->geometry))
		return mproc__fail(-EBADMSG, "open %s %s: its geometry is impossible", spec->noun,
				   ret->name);
	if (ret->geometry.stage)
		ret->stage = (unsigned char *)object->mem + ret->geometry.stage;
	ret->items = (unsigned char *)object->mem + ret->geometry.items;
	return 0;
}

/* Is what was found what is wanted? Return: 0, or -EPROTO with a text. */
static int matches(const struct mproc__cells *c, const struct mproc__cells_spec *spec,
		   const struct mproc__cells_geometry *want)
{
	const struct mproc__cells_geometry *is = &c->geometry;
	char text[80], other[80];

	if (!same_type(is, spec->type))
		return mproc__fail(
			-EPROTO, "open %s %s: %s wanted, it holds %s", spec->noun, c->name,
			type_text(text, spec->type),
			mproc__cell_text(other, sizeof(other), is->kind, is->size, is->type_name));
	/* Who does not list the fields takes what comes by that name. */
	if (is->fields && want->fields && is->fields != want->fields)
		return mproc__fail(-EPROTO,
				   "open %s %s: %s wanted, it holds one with other fields "
				   "(%016" PRIx64 ", not %016" PRIx64 ")",
				   spec->noun, c->name, type_text(text, spec->type), is->fields,
				   want->fields);
	if (spec->n_items && is->n_items != spec->n_items)
		return mproc__fail(-EPROTO, "open %s %s: %" PRIu64 " items wanted, it has %" PRIu64,
				   spec->noun, c->name, spec->n_items, is->n_items);
	return 0;
}

static int create(struct mproc__cells *ret, mproc_segment *segment,
		  const struct mproc__cells_spec *spec, const struct mproc__cells_geometry *g)
{
	struct plan plan = { .geometry = g, .init = spec->init };
	const struct mproc__object_spec object_spec = {
		.what = spec->noun,
		.name = spec->name,
		.kind = spec->kind,
		.len = g->len,
		.type = MPROC__CELLS_LAYOUT,
		.init = shared_init,
		.arg = &plan,
	};
	struct mproc__object object;
	int r;

	r = mproc__object_create(&object, segment, &object_spec);
	if (r < 0)
		return r;
	r = handle_init(ret, segment, &object, spec);
	if (r < 0)
		(void)mproc__object_remove(segment, &object);
	return r;
}

static int find(struct mproc__cells *ret, mproc_segment *segment,
		const struct mproc__cells_spec *spec, const struct mproc__cells_geometry *g)
{
	const struct mproc__object_spec object_spec = {
		.what = spec->noun,
		.name = spec->name,
		.kind = spec->kind,
		.type = MPROC__CELLS_LAYOUT,
	};
	struct mproc__object object;
	int r;

	r = mproc__object_open(&object, segment, &object_spec);
	if (r == 0)
		r = handle_init(ret, segment, &object, spec);
	return r < 0 ? r : matches(ret, spec, g);
}

/* What every way to cells begins with: a geometry, and one use of the segment. */
static int begin(struct mproc__cells_geometry *ret, mproc_segment **segment,
		 const struct mproc__cells_spec *spec, const char *verb)
{
	int r = geometry_of(ret, verb, spec);

	return r < 0 ? r : mproc__segment_ref(segment, *segment);
}

int mproc__cells_create(struct mproc__cells *ret, mproc_segment *segment,
			const struct mproc__cells_spec *spec)
{
	struct mproc__cells_geometry g;
	int r = begin(&g, &segment, spec, "create");

	if (r < 0)
		return r;
	r = create(ret, segment, spec, &g);
	if (r < 0)
		mproc_segment_close(segment);
	return r;
}

int mproc__cells_open(struct mproc__cells *ret, mproc_segment *segment,
		      const struct mproc__cells_spec *spec)
{
	struct mproc__cells_geometry g;
	int r = begin(&g, &segment, spec, "open");

	if (r < 0)
		return r;
	r = find(ret, segment, spec, &g);
	if (r < 0)
		mproc_segment_close(segment);
	return r;
}

int mproc__cells_open_or_create(struct mproc__cells *ret, mproc_segment *segment,
				const struct mproc__cells_spec *spec)
{
	struct mproc__cells_geometry g;
	int r = begin(&g, &segment, spec, "open");

	if (r < 0)
		return r;
	do {
		r = find(ret, segment, spec, &g);
		if (r != -ENOENT)
			break;
		r = create(ret, segment, spec, &g);
		if (r == 0)
			return 1;
		/* Taken between the two: by now it can be found. */
	} while (r == -EEXIST);
	if (r < 0)
		mproc_segment_close(segment);
	return r;
}

void mproc__cells_close(struct mproc__cells *c)
{
	mproc_segment_close(c->segment);
}

int mproc__cells_have(const struct mproc__cells *c, const struct mproc_type *type, uint64_t i,
		      uint64_t n)
{
	const struct mproc__cells_geometry *g = &c->geometry;
	char text[80], other[80];

	if (__builtin_expect(!same_type(g, type), 0))
		return mproc__fail(
			-EPROTO, "%s %s: it holds %s, not %s", c->noun, c->name,
			mproc__cell_text(other, sizeof(other), g->kind, g->size, g->type_name),
			type_text(text, type));
	if (__builtin_expect(n > g->n_items || i > g->n_items - n, 0))
		return n == 1 ? mproc__fail(-EINVAL,
					    "%s %s: item %" PRIu64 " wanted, it has %" PRIu64,
					    c->noun, c->name, i, g->n_items)
			      : mproc__fail(-EINVAL,
					    "%s %s: %" PRIu64 " items from %" PRIu64
					    " on wanted, it has %" PRIu64,
					    c->noun, c->name, n, i, g->n_items);
	return 0;
}

/*
 * The lock
 */

static uint64_t section(const struct mproc__cells *c)
{
	return atomic_load_explicit(&c->shared->section, memory_order_relaxed);
}

static void set_section(struct mproc__cells *c, uint64_t next)
{
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&c->shared->section, next, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

/* Take the mutex; what a dead owner has left is put in order. */
static int take(struct mproc__cells *c, int64_t deadline)
{
	int r = mproc_mutex_lock(mutex_of(c), deadline);

	if (r != MPROC_MUTEX_INHERITED)
		return r;
	mproc__cells_finish(c);
	if (section(c) != MPROC__SECTION_NONE)
		set_section(c, MPROC__SECTION_LEFT);
	/* The mutex need not remember: the section does. */
	r = mproc_mutex_consistent(mutex_of(c));
	if (r < 0)
		(void)mproc_mutex_unlock(mutex_of(c));
	return r;
}

static int news(const struct mproc__cells *c)
{
	return section(c) == MPROC__SECTION_LEFT ? MPROC_MUTEX_INHERITED : 0;
}

/* Does the calling thread have the lock? Return: 1, 0, or negative. */
static int is_mine(const struct mproc__cells *c)
{
	struct mproc__self *me = mproc__self(c->shared, c->noun);

	return me ? mproc__lock_mine(&c->shared->lock, me) : mproc__self_error();
}

int mproc__cells_lock(struct mproc__cells *c, int64_t deadline)
{
	int r = take(c, deadline);

	if (r < 0)
		return r;
	if (section(c) == MPROC__SECTION_NONE)
		set_section(c, MPROC__SECTION_OPEN);
	return news(c);
}

int mproc__cells_unlock(struct mproc__cells *c)
{
	/* Only the owner may write the word; the mutex has the text for anybody else. */
	int r = is_mine(c);

	if (r < 0)
		return r;
	if (r && section(c) == MPROC__SECTION_OPEN)
		set_section(c, MPROC__SECTION_NONE);
	return mproc_mutex_unlock(mutex_of(c));
}

int mproc__cells_consistent(struct mproc__cells *c)
{
	int r = is_mine(c);

	if (r < 0)
		return r;
	if (!r)
		return mproc__fail(-EPERM,
				   "%s %s: consistent: the calling thread has not locked it",
				   c->noun, c->name);
	if (section(c) != MPROC__SECTION_LEFT)
		return mproc__fail(-EINVAL, "%s %s: consistent: nobody has died in it", c->noun,
				   c->name);
	set_section(c, MPROC__SECTION_OPEN);
	return 0;
}

/*
 * Get and set
 */

/* Exactly one of @ret and @from is given. */
static int under_lock(struct mproc__cells *c, uint64_t i, uint64_t n, void *ret, const void *from,
		      int64_t deadline)
{
	int mine = is_mine(c), told, r = mine < 0 ? mine : 0;

	if (!mine)
		r = take(c, deadline);
	if (r < 0)
		return r;
	told = news(c);
	if (ret)
		mproc__cells_copy_out(c, i, n, ret);
	else
		mproc__cells_copy_in(c, i, n, from);
	if (from)
		mproc__waitable_signal_all(&c->shared->waitable, mproc__self(c->shared, c->noun));
	r = mine ? 0 : mproc_mutex_unlock(mutex_of(c));
	return r < 0 ? r : told;
}

int mproc__cells_get(struct mproc__cells *c, uint64_t i, uint64_t n, void *ret, int64_t deadline)
{
	return under_lock(c, i, n, ret, NULL, deadline);
}

int mproc__cells_set(struct mproc__cells *c, uint64_t i, uint64_t n, const void *from,
		     int64_t deadline)
{
	return under_lock(c, i, n, NULL, from, deadline);
}
