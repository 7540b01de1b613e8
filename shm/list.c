/* SPDX-License-Identifier: MIT */

/*
 * A list that processes share and change
 *
 * One body (body.c) whose units are slots of 16 bytes; how they are changed is said in
 * list_change.c, how they are read in list_items.c. An item of a list that is just made may
 * lie behind the room, in the object's own block, and is freed with that.
 */

#include "shm/list.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/any.h"
#include "ipc/error.h"
#include "ipc/kind.h"
#include "ipc/opts.h"

#define ROOM_DEFAULT 16u
#define ROOM_MAX     (UINT64_C(1) << 24)

static uint64_t far_bytes(size_t len)
{
	return len > MPROC__SLOT_INLINE ? MPROC__SLOT_FIRST + ((len + 7) & ~(uint64_t)7) : 0;
}

/* Bytes behind the room for the first items. Return: 0 or -EINVAL. */
static int extra_of(const struct mproc_list_opts *o, const char *verb, uint64_t *ret)
{
	const void *bytes;
	size_t len;

	*ret = 0;
	if (o->capacity > ROOM_MAX || o->n_init > ROOM_MAX)
		return mproc__fail(
			-EINVAL, "%s: room for %" PRIu64 " items, at most %" PRIu64 " are possible",
			verb, o->capacity > o->n_init ? o->capacity : o->n_init, ROOM_MAX);
	if (o->n_init && !o->init)
		return mproc__fail(-EINVAL,
				   "%s: %" PRIu64 " items at first, and no pointer to them", verb,
				   o->n_init);
	for (uint64_t i = 0; i < o->n_init; i++) {
		if (mproc__any_bytes(&o->init[i], &bytes, &len) < 0)
			return mproc__fail(-EINVAL,
					   "%s: item %" PRIu64 " of kind %" PRIu32 " is impossible",
					   verb, i, o->init[i].kind);
		if (len > PTRDIFF_MAX || far_bytes(len) > UINT64_MAX / 4 - *ret)
			return mproc__fail(-ENOSPC, "%s: item %" PRIu64 " has %zu bytes", verb, i,
					   len);
		*ret += far_bytes(len);
	}
	return 0;
}

/* The first items, in a block that nobody else can see yet. */
static uint64_t init(unsigned char *room, uint64_t room_off, void *arg)
{
	const struct mproc_list_opts *o = arg;
	struct mproc__slot *slot = (void *)room;
	uint64_t skip = (o->capacity > o->n_init ? o->capacity : o->n_init) * MPROC__LIST_UNIT;

	for (uint64_t i = 0; i < o->n_init; i++) {
		uint32_t kind = o->init[i].kind;
		const void *bytes = NULL;
		uint64_t long_len;
		size_t len = 0;

		(void)mproc__any_bytes(&o->init[i], &bytes, &len);
		if (!far_bytes(len)) {
			mproc__slot_put(&slot[i], mproc__item_near(kind, bytes, len));
			continue;
		}
		long_len = len;
		memcpy(room + skip, &long_len, sizeof(long_len));
		memcpy(room + skip + MPROC__SLOT_FIRST, bytes, len);
		mproc__slot_put(&slot[i], mproc__item_far(kind, room_off + skip, 0));
		skip += far_bytes(len);
	}
	return o->n_init;
}

static int handle_new(mproc_list **ret, mproc_segment *segment, const struct mproc__body_spec *spec,
		      enum mproc__body_way way)
{
	mproc_list *list;
	int r;

	assert(ret);
	list = calloc(1, sizeof(*list));
	if (!list)
		return mproc__fail(-ENOMEM, "list: no memory for a handle");
	r = mproc__body_get(&list->body, segment, spec, way);
	if (r < 0) {
		free(list);
		return r;
	}
	list->magic = MPROC__LIST_MAGIC;
	*ret = list;
	return r;
}

static int make(mproc_list **ret, mproc_segment *segment, const char *name,
		const struct mproc_list_opts *opts, const char *verb, enum mproc__body_way way)
{
	struct mproc__body_spec spec = { .noun = "list",
					 .kind = MPROC__KIND_LIST,
					 .name = name,
					 .unit = MPROC__LIST_UNIT,
					 .init = init };
	struct mproc_list_opts o;
	int r;

	r = mproc__opts_copy(verb, &o, sizeof(o), opts);
	if (r == 0)
		r = extra_of(&o, verb, &spec.extra);
	if (r < 0)
		return r;
	if (!o.capacity)
		o.capacity = ROOM_DEFAULT;
	spec.room = (o.capacity > o.n_init ? o.capacity : o.n_init) * MPROC__LIST_UNIT;
	spec.arg = &o;
	return handle_new(ret, segment, &spec, way);
}

int mproc_list_create(mproc_list **ret, mproc_segment *segment, const char *name,
		      const struct mproc_list_opts *opts)
{
	return make(ret, segment, name, opts, "create list", MPROC__BODY_CREATE);
}

int mproc_list_open_or_create(mproc_list **ret, mproc_segment *segment, const char *name,
			      const struct mproc_list_opts *opts)
{
	assert(name);
	return make(ret, segment, name, opts, "open list", MPROC__BODY_OPEN_OR_CREATE);
}

int mproc_list_open(mproc_list **ret, mproc_segment *segment, const char *name)
{
	const struct mproc__body_spec spec = {
		.noun = "list", .kind = MPROC__KIND_LIST, .name = name, .unit = MPROC__LIST_UNIT
	};

	assert(name);
	return handle_new(ret, segment, &spec, MPROC__BODY_OPEN);
}

int mproc_list_open_ref(mproc_list **ret, mproc_segment *segment, const struct mproc_ref *ref)
{
	const struct mproc__body_spec spec = {
		.noun = "list", .kind = MPROC__KIND_LIST, .ref = ref, .unit = MPROC__LIST_UNIT
	};

	assert(ref);
	return handle_new(ret, segment, &spec, MPROC__BODY_OPEN);
}

int mproc_list_ref(const mproc_list *list, struct mproc_ref *ret)
{
	assert(ret);
	return mproc__body_ref(mproc__list_body(list), ret);
}

mproc_list *mproc_list_close(mproc_list *list)
{
	if (!list)
		return NULL;
	mproc__body_close(mproc__list_body(list));
	list->magic = 0;
	free(list);
	return NULL;
}

int mproc_list_lock(mproc_list *list, int64_t deadline)
{
	return mproc__body_lock(mproc__list_body(list), deadline);
}

int mproc_list_unlock(mproc_list *list)
{
	return mproc__body_unlock(mproc__list_body(list));
}

int mproc_list_consistent(mproc_list *list)
{
	return mproc__body_consistent(mproc__list_body(list));
}

uint64_t mproc_list_len(const mproc_list *list)
{
	return mproc__body_len(mproc__list_body(list));
}

uint64_t mproc_list_version(const mproc_list *list)
{
	return mproc__body_version_now(mproc__list_body(list));
}

int mproc_list_wait(mproc_list *list, uint64_t *version, int64_t deadline)
{
	assert(version);
	return mproc__body_wait(mproc__list_body(list), version, deadline);
}

static int dispose(struct mproc__range *range, struct mproc__self *me, uint64_t off, uint64_t len,
		   bool wait)
{
	return mproc__body_dispose(range, me, off, len, wait, MPROC__KIND_LIST, MPROC__LIST_UNIT);
}

const struct mproc__kind mproc__kind_list = {
	.id = MPROC__KIND_LIST,
	.name = "list",
	.dispose = dispose,
};
