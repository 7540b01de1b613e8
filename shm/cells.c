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
 * The lock, and what it remembers of the dead, is in cells_lock.c.
 *
 * Raw items have neither a lock nor a stage: a word is copied by one load or store,
 * anything longer byte by byte, and who looks at the same time, or comes after a death,
 * may find a mixture.
 */

#include "shm/cells.h"

#include <errno.h>
#include <inttypes.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include <mproc/mutex.h>

#include "ipc/error.h"
#include "ipc/lock.h"
#include "ipc/mutex_layout.h"
#include "ipc/participant.h"

/* Fowler-Noll-Vo, 64 bits. */
static uint64_t hash(uint64_t seed, const void *bytes, size_t len)
{
	const unsigned char *byte = bytes;

	for (size_t i = 0; i < len; i++)
		seed = (seed ^ byte[i]) * UINT64_C(0x100000001b3);
	return seed;
}

#define NESTED_MAX 16 /* structs in structs */

static uint64_t hash_fields(uint64_t seed, const struct mproc_type *type, int depth)
{
	for (uint32_t i = 0; i < type->n_fields; i++) {
		const struct mproc_field *field = &type->fields[i];

		seed = hash(seed, field->name, strlen(field->name) + 1);
		seed = hash(seed, &field->kind, sizeof(field->kind));
		seed = hash(seed, &field->off, sizeof(field->off));
		seed = hash(seed, &field->size, sizeof(field->size));
		seed = hash(seed, &field->n_items, sizeof(field->n_items));
		if (field->type && field->type->fields && depth < NESTED_MAX)
			seed = hash_fields(seed, field->type, depth + 1);
	}
	return seed;
}

static uint64_t fields_of(const struct mproc_type *type)
{
	uint64_t ret;

	if (type->kind != MPROC_BYTES || !type->fields)
		return 0;
	ret = hash_fields(UINT64_C(0xcbf29ce484222325), type, 0);
	return ret ? ret : 1;
}

static const char *shown(const char *name)
{
	return name ? name : "(anonymous)";
}

static char *type_text(char buf[80], const struct mproc_type *type)
{
	return mproc__cell_text(buf, 80, type->kind, type->size, type->name ? type->name : "bytes");
}

/* The shape that is wanted. Return: 0 or -EINVAL with a text. */
static int shape_of(struct mproc__cells_geometry *ret, const char *verb,
		    const struct mproc__cells_spec *spec)
{
	if (spec->n_dims > MPROC__CELLS_DIMS)
		return mproc__fail(-EINVAL,
				   "%s %s %s: %" PRIu32 " dimensions wanted, %u is the most", verb,
				   spec->noun, shown(spec->name), spec->n_dims, MPROC__CELLS_DIMS);
	ret->n_dims = spec->n_dims ? spec->n_dims : 1;
	ret->shape[0] = ret->n_items;
	if (spec->n_dims)
		memcpy(ret->shape, spec->shape, 8 * (size_t)spec->n_dims);
	if (!mproc__cells_shape_fits(ret))
		return mproc__fail(-EINVAL, "%s %s %s: its shape does not make %" PRIu64 " items",
				   verb, spec->noun, shown(spec->name), ret->n_items);
	return 0;
}

/* What there is to be, from what is wanted. Return: 0 or -EINVAL with a text. */
static int geometry_of(struct mproc__cells_geometry *ret, const char *verb,
		       const struct mproc__cells_spec *spec)
{
	const struct mproc_type *type = spec->type;
	char text[80];
	int r;

	memset(ret, 0, sizeof(*ret));
	if (!type)
		return mproc__fail(-EINVAL, "%s %s %s: no type is given", verb, spec->noun,
				   shown(spec->name));
	if (type->name && strchr(type->name, '*'))
		return mproc__fail(-EINVAL,
				   "%s %s %s: a pointer (%s) means nothing to another process",
				   verb, spec->noun, shown(spec->name), type->name);
	if (spec->flags & ~(uint32_t)MPROC__CELLS_RAW || (spec->flags && spec->mutex))
		return mproc__fail(-EINVAL, "%s %s %s: flags 0x%" PRIx32 "%s", verb, spec->noun,
				   shown(spec->name), spec->flags,
				   spec->mutex ? " and a mutex" : " are unknown");
	ret->kind = type->kind;
	ret->size = type->size;
	ret->align = type->align;
	ret->flags = spec->mutex ? MPROC__CELLS_GIVEN : spec->flags;
	ret->n_items = spec->n_items ? spec->n_items : 1;
	ret->fields = fields_of(type);
	if (type->kind == MPROC_BYTES && type->name)
		strncpy(ret->type_name, type->name, sizeof(ret->type_name) - 1);
	r = shape_of(ret, verb, spec);
	if (r < 0)
		return r;
	if (!mproc__cells_place(ret))
		return mproc__fail(-EINVAL,
				   "%s %s %s: %" PRIu64 " of %s aligned to %" PRIu32
				   " bytes cannot be shared, 64 is the most",
				   verb, spec->noun, shown(spec->name), ret->n_items,
				   type_text(text, type), type->align);
	return 0;
}

/*
 * The mutex that was given, as an offset.
 *
 * Return: 0, or -EINVAL with a text if it is none, or not in @segment.
 */
static int mutex_off(uint64_t *ret, mproc_segment *segment, const struct mproc__cells_spec *spec)
{
	uint64_t off =
		(uint64_t)((uintptr_t)spec->mutex -
			   atomic_load_explicit(&segment->range->base, memory_order_relaxed));
	const struct mproc__lock *lock = (const void *)spec->mutex;
	uint32_t tag;

	if (mproc__segment_at(segment, off, sizeof(mproc_mutex)) != (void *)spec->mutex)
		return mproc__fail(-EINVAL, "create %s %s: its mutex is not in the same segment",
				   spec->noun, shown(spec->name));
	tag = (uintptr_t)lock % alignof(mproc_mutex)
		      ? 0
		      : atomic_load_explicit(&lock->tag, memory_order_relaxed);
	if (!mproc__mutex_is(tag) || tag & MPROC__MUTEX_STRICT)
		return mproc__fail(-EINVAL, "create %s %s: %s", spec->noun, shown(spec->name),
				   mproc__mutex_is(tag) ? "its mutex is a strict one, which a get "
							  "would lose"
							: "there is no mutex where its is to be");
	*ret = off;
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
	s->kind = (uint8_t)g->kind;
	s->flags = (uint8_t)g->flags;
	s->n_dims = (uint8_t)g->n_dims;
	s->n_items = g->n_items;
	s->size = g->size;
	s->align = (uint16_t)g->align;
	s->items = (uint16_t)g->items;
	if (g->type) {
		struct mproc__cells_type *type = (void *)((char *)mem + g->type);

		type->fields = g->fields;
		memcpy(type->name, g->type_name, sizeof(type->name));
	}
	if (g->dims)
		memcpy((char *)mem + g->dims, g->shape, 8 * (size_t)g->n_dims);
	if (g->mutex)
		memcpy((char *)mem + g->mutex, &g->given, sizeof(g->given));
	if (plan->init)
		memcpy((char *)mem + g->items, plan->init, (size_t)(g->n_items * g->size));
	return g->lock ? mproc_mutex_init((mproc_mutex *)(void *)((char *)mem + g->lock), 0) : 0;
}

/* A handle on @object, which takes over one use of @segment if it succeeds. */
static int handle_init(struct mproc__cells *ret, mproc_segment *segment,
		       const struct mproc__object *object, const struct mproc__cells_spec *spec)
{
	const struct mproc__cells_geometry *g;
	unsigned char *mem = object->mem;

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
	g = &ret->geometry;
	if (g->stage) {
		ret->stage = mem + g->stage;
		ret->pending = (void *)(mem + g->pending);
	}
	ret->items = mem + g->items;
	if (g->lock) {
		ret->lock = (void *)(mem + g->lock);
		ret->mutex = (mproc_mutex *)&ret->lock->lock;
	}
	if (g->mutex) {
		ret->mutex = mproc__segment_at(segment, g->given, sizeof(mproc_mutex));
		if (!ret->mutex || g->given % alignof(mproc_mutex))
			return mproc__fail(-EBADMSG,
					   "open %s %s: its mutex at offset %" PRIu64
					   " cannot be there",
					   spec->noun, ret->name, g->given);
	}
	return 0;
}

static const char *lock_text(uint32_t flags)
{
	if (flags & MPROC__CELLS_RAW)
		return "without a lock";
	return flags & MPROC__CELLS_GIVEN ? "with a given mutex" : "with a lock of its own";
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
	if (spec->n_dims && (is->n_dims != spec->n_dims ||
			     memcmp(is->shape, spec->shape, 8 * (size_t)spec->n_dims)))
		return mproc__fail(-EPROTO,
				   "open %s %s: it has another shape, of %" PRIu32 " dimensions",
				   spec->noun, c->name, is->n_dims);
	if (spec->as_made && is->flags != want->flags)
		return mproc__fail(-EPROTO, "open %s %s: one %s wanted, it is one %s", spec->noun,
				   c->name, lock_text(want->flags), lock_text(is->flags));
	if (spec->as_made && is->mutex && c->mutex != spec->mutex)
		return mproc__fail(-EPROTO, "open %s %s: another mutex guards it", spec->noun,
				   c->name);
	return 0;
}

static int create(struct mproc__cells *ret, mproc_segment *segment,
		  const struct mproc__cells_spec *spec, const struct mproc__cells_geometry *g)
{
	struct mproc__cells_geometry own = *g;
	struct plan plan = { .geometry = &own, .init = spec->init };
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

	r = g->mutex ? mutex_off(&own.given, segment, spec) : 0;
	if (r == 0)
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

	r = spec->ref ? mproc__object_open_ref(&object, segment, &object_spec, spec->ref)
		      : mproc__object_open(&object, segment, &object_spec);
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

int mproc__cells_ref(const struct mproc__cells *c, struct mproc_ref *ret)
{
	if (mproc__object_check(c->segment, &c->object) < 0)
		return mproc__fail(-ESTALE, "%s %s: it was removed", c->noun, c->name);
	*ret = mproc__object_ref(c->segment, &c->object);
	return 0;
}

void mproc__cells_close(struct mproc__cells *c)
{
	mproc_segment_close(c->segment);
}

int mproc__cells_have_slow(const struct mproc__cells *c, const struct mproc_type *type, uint64_t i,
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
