/* SPDX-License-Identifier: MIT */

/*
 * One value that processes share: one item of cells.c, under a name of its own
 *
 * Nothing here writes shared memory; what a kill leaves is said in cells.c.
 */

#include <mproc/value.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "ipc/error.h"
#include "ipc/kind_layout.h"
#include "ipc/opts.h"
#include "shm/cells.h"

#define MAGIC UINT32_C(0x76616c75)

static_assert(MPROC_VALUE_RAW == (int)MPROC__CELLS_RAW, "an option has two numbers");

struct mproc_value {
	struct mproc__items items; /* first: what the macros look at */
	uint32_t magic;
	struct mproc__cells cells;
};

static struct mproc__cells *cells_of(mproc_value *value)
{
	assert(value && value->magic == MAGIC);
	return &value->cells;
}

/* A handle by one of the three ways. */
static int
handle_new(mproc_value **ret, mproc_segment *segment, const struct mproc__cells_spec *spec,
	   int (*way)(struct mproc__cells *, mproc_segment *, const struct mproc__cells_spec *))
{
	mproc_value *value;
	int r;

	assert(ret);
	value = calloc(1, sizeof(*value));
	if (!value)
		return mproc__fail(-ENOMEM, "value: no memory for a handle");
	r = way(&value->cells, segment, spec);
	if (r < 0) {
		free(value);
		return r;
	}
	mproc__cells_show(&value->cells, &value->items);
	value->magic = MAGIC;
	*ret = value;
	return r;
}

/* What @opts asks for. Return: 0, or -EINVAL or -E2BIG with a text. */
static int spec_of(struct mproc__cells_spec *ret, const char *verb, const char *name,
		   const struct mproc_value_opts *opts)
{
	struct mproc_value_opts o;
	int r;

	r = mproc__opts_copy(verb, &o, sizeof(o), opts);
	if (r < 0)
		return r;
	*ret = (struct mproc__cells_spec){ .noun = "value",
					   .kind = MPROC__KIND_VALUE,
					   .name = name,
					   .type = o.type,
					   .n_items = 1,
					   .init = o.init,
					   .as_made = true,
					   .flags = o.flags,
					   .mutex = o.mutex };
	return 0;
}

int mproc_value_create(mproc_value **ret, mproc_segment *segment, const char *name,
		       const struct mproc_value_opts *opts)
{
	struct mproc__cells_spec spec;
	int r = spec_of(&spec, "create value", name, opts);

	return r < 0 ? r : handle_new(ret, segment, &spec, mproc__cells_create);
}

int mproc_value_open(mproc_value **ret, mproc_segment *segment, const char *name,
		     const struct mproc_type *type)
{
	const struct mproc__cells_spec spec = {
		.noun = "value", .kind = MPROC__KIND_VALUE, .name = name, .type = type, .n_items = 1
	};

	assert(name);
	return handle_new(ret, segment, &spec, mproc__cells_open);
}

int mproc_value_open_ref(mproc_value **ret, mproc_segment *segment, const struct mproc_ref *ref,
			 const struct mproc_type *type)
{
	const struct mproc__cells_spec spec = {
		.noun = "value",
		.kind = MPROC__KIND_VALUE,
		.ref = ref,
		.type = type,
		.n_items = 1,
	};

	assert(ref);
	return handle_new(ret, segment, &spec, mproc__cells_open);
}

int mproc_value_ref(mproc_value *value, struct mproc_ref *ret)
{
	assert(ret);
	return mproc__cells_ref(cells_of(value), ret);
}

int mproc_value_open_or_create(mproc_value **ret, mproc_segment *segment, const char *name,
			       const struct mproc_value_opts *opts)
{
	struct mproc__cells_spec spec;
	int r = spec_of(&spec, "open value", name, opts);

	assert(name);
	return r < 0 ? r : handle_new(ret, segment, &spec, mproc__cells_open_or_create);
}

mproc_value *mproc_value_close(mproc_value *value)
{
	if (!value)
		return NULL;
	mproc__cells_close(cells_of(value));
	value->magic = 0;
	free(value);
	return NULL;
}

int mproc_value_lock(mproc_value *value, int64_t deadline)
{
	return mproc__cells_lock(cells_of(value), deadline);
}

int mproc_value_unlock(mproc_value *value)
{
	return mproc__cells_unlock(cells_of(value));
}

int mproc_value_consistent(mproc_value *value)
{
	return mproc__cells_consistent(cells_of(value));
}

/* The names in parentheses are macros otherwise. */

int(mproc_value_get)(mproc_value *value, const struct mproc_type *type, void *ret, int64_t deadline)
{
	struct mproc__cells *c = cells_of(value);
	int r = mproc__cells_have(c, type, 0, 1);

	return r < 0 ? r : mproc__cells_get(c, 0, 1, ret, deadline);
}

int(mproc_value_set)(mproc_value *value, const struct mproc_type *type, const void *from,
		     int64_t deadline)
{
	struct mproc__cells *c = cells_of(value);
	int r = mproc__cells_have(c, type, 0, 1);

	return r < 0 ? r : mproc__cells_set(c, 0, 1, from, deadline);
}

int(mproc_value_load)(mproc_value *value, const struct mproc_type *type, void *ret)
{
	return mproc__cells_atomic(cells_of(value), MPROC__CELL_LOAD, type, 0, NULL, ret);
}

int(mproc_value_store)(mproc_value *value, const struct mproc_type *type, const void *arg)
{
	return mproc__cells_atomic(cells_of(value), MPROC__CELL_STORE, type, 0, arg, NULL);
}

int(mproc_value_cas)(mproc_value *value, const struct mproc_type *type, void *expected,
		     const void *arg)
{
	return mproc__cells_cas(cells_of(value), type, 0, expected, arg);
}

int(mproc_value_xchg)(mproc_value *value, const struct mproc_type *type, const void *arg, void *ret)
{
	return mproc__cells_atomic(cells_of(value), MPROC__CELL_XCHG, type, 0, arg, ret);
}

int(mproc_value_add)(mproc_value *value, const struct mproc_type *type, const void *arg, void *ret)
{
	return mproc__cells_atomic(cells_of(value), MPROC__CELL_ADD, type, 0, arg, ret);
}

int(mproc_value_and)(mproc_value *value, const struct mproc_type *type, const void *arg, void *ret)
{
	return mproc__cells_atomic(cells_of(value), MPROC__CELL_AND, type, 0, arg, ret);
}

int(mproc_value_or)(mproc_value *value, const struct mproc_type *type, const void *arg, void *ret)
{
	return mproc__cells_atomic(cells_of(value), MPROC__CELL_OR, type, 0, arg, ret);
}

int(mproc_value_min)(mproc_value *value, const struct mproc_type *type, const void *arg, void *ret)
{
	return mproc__cells_atomic(cells_of(value), MPROC__CELL_MIN, type, 0, arg, ret);
}

int(mproc_value_max)(mproc_value *value, const struct mproc_type *type, const void *arg, void *ret)
{
	return mproc__cells_atomic(cells_of(value), MPROC__CELL_MAX, type, 0, arg, ret);
}

int(mproc_value_wait)(mproc_value *value, const struct mproc_type *type, void *seen,
		      int64_t deadline)
{
	return mproc__cells_wait(cells_of(value), type, 0, seen, deadline);
}

void *mproc_value_ptr(mproc_value *value, const struct mproc_type *type)
{
	struct mproc__cells *c = cells_of(value);

	return mproc__cells_have(c, type, 0, 1) < 0 ? NULL : c->items;
}

void mproc_value_notify(mproc_value *value)
{
	mproc__cells_signal(cells_of(value));
}
