/* SPDX-License-Identifier: MIT */

/*
 * Making and finding strings and lists
 *
 * What is written here is written before anybody can find the object.
 */

#include <errno.h>
#include <string.h>

#include <mproc/mutex.h>

#include "ipc/error.h"
#include "shm/body.h"

struct plan {
	const struct mproc__body_spec *spec;
	mproc_segment *segment;
};

/* In zeroed memory that nobody else can see yet. */
static int shared_init(void *mem, void *arg)
{
	const struct plan *plan = arg;
	const struct mproc__body_spec *spec = plan->spec;
	struct mproc__body_shared *s = mem;
	uintptr_t base = atomic_load_explicit(&plan->segment->range->base, memory_order_relaxed);
	uint64_t room_off = (uint64_t)((uintptr_t)mem - base) + sizeof(*s);
	uint64_t len = 0;

	s->layout = MPROC__BODY_LAYOUT;
	s->room = (uint32_t)spec->room;
	if (spec->init)
		len = spec->init((unsigned char *)mem + sizeof(*s), room_off, spec->arg);
	atomic_store_explicit(&s->state[0].block, room_off, memory_order_relaxed);
	atomic_store_explicit(&s->state[0].len, len, memory_order_relaxed);
	return mproc_mutex_init((mproc_mutex *)&s->lock, 0);
}

int mproc__body_handle(struct mproc__body *ret, mproc_segment *segment,
		       const struct mproc__object *object, const struct mproc__body_spec *spec)
{
	struct mproc__body_look look;

	memset(ret, 0, sizeof(*ret));
	ret->segment = segment;
	ret->object = *object;
	ret->shared = object->mem;
	ret->unit = spec->unit;
	ret->noun = spec->noun;
	strncpy(ret->name, spec->name ? spec->name : "(anonymous)", sizeof(ret->name) - 1);
	if ((uintptr_t)object->mem % 64 || !mproc__body_check(object->mem, object->len, &look))
		return mproc__fail(-EBADMSG, "open %s %s: its geometry is impossible", spec->noun,
				   ret->name);
	ret->room = look.room / spec->unit;
	ret->room_off = mproc__body_off(ret, ret->shared + 1);
	return 0;
}

static int create(struct mproc__body *ret, mproc_segment *segment,
		  const struct mproc__body_spec *spec)
{
	struct plan plan = { .spec = spec, .segment = segment };
	const struct mproc__object_spec object_spec = {
		.what = spec->noun,
		.name = spec->name,
		.kind = spec->kind,
		.len = sizeof(struct mproc__body_shared) + spec->room + spec->extra,
		.type = MPROC__BODY_LAYOUT,
		.init = shared_init,
		.arg = &plan,
	};
	struct mproc__object object;
	int r = mproc__object_create(&object, segment, &object_spec);

	if (r < 0)
		return r;
	r = mproc__body_handle(ret, segment, &object, spec);
	if (r < 0)
		(void)mproc__object_remove(segment, &object);
	return r;
}

static int find(struct mproc__body *ret, mproc_segment *segment,
		const struct mproc__body_spec *spec)
{
	const struct mproc__object_spec object_spec = { .what = spec->noun,
							.name = spec->name,
							.kind = spec->kind,
							.type = MPROC__BODY_LAYOUT };
	struct mproc__object object;
	int r;

	r = spec->ref ? mproc__object_open_ref(&object, segment, &object_spec, spec->ref)
		      : mproc__object_open(&object, segment, &object_spec);
	if (r < 0)
		return r;
	r = mproc__body_handle(ret, segment, &object, spec);
	/* Found, and removed before we looked into it: by then it may be anything. */
	if (r < 0 && mproc__object_check(segment, &object) < 0)
		r = mproc__fail(spec->ref ? -ESTALE : -ENOENT, "open %s %s: it is gone", spec->noun,
				ret->name);
	return r;
}

int mproc__body_get(struct mproc__body *ret, mproc_segment *segment,
		    const struct mproc__body_spec *spec, enum mproc__body_way way)
{
	int r = mproc__segment_ref(&segment, segment);

	if (r < 0)
		return r;
	do {
		r = way == MPROC__BODY_CREATE ? -ENOENT : find(ret, segment, spec);
		if (r != -ENOENT || way == MPROC__BODY_OPEN)
			break;
		r = create(ret, segment, spec);
		if (r == 0)
			return way == MPROC__BODY_OPEN_OR_CREATE;
		/* Taken between the two: by now it can be found. */
	} while (r == -EEXIST && way == MPROC__BODY_OPEN_OR_CREATE);
	if (r < 0)
		mproc_segment_close(segment);
	return r;
}

void mproc__body_close(struct mproc__body *b)
{
	mproc_segment_close(b->segment);
}
