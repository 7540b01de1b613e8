/* SPDX-License-Identifier: MIT */

/*
 * Items of one type, in a row: cells.c, by index
 *
 * Nothing here writes shared memory; what a kill leaves is said in cells.c. That

 */

#include <mproc/array.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "ipc/error.h"
#include "ipc/kind_layout.h"
#include "ipc/opts.h"
#include "shm/cells.h"

#define MAGIC UINT32_C(0x61727279)

struct mproc_array {
	uint32_t magic;
	struct mproc__cells cells;
};

static struct mproc__cells *cells_of(mproc_array *array)
{
	assert(array && array->magic == MAGIC);
	return &array->cells;
}

/* A handle by one of the three ways. */
static int
handle_new(mproc_array **ret, mproc_segment *segment, const struct mproc__cells_spec *spec,
	   int (*way)(struct mproc__cells *, mproc_segment *, const struct mproc__cells_spec *))
{
	mproc_array *array;
	int r;

	assert(ret);
	array = calloc(1, sizeof(*array));
	if (!array)
		return mproc__fail(-ENOMEM, "array: no memory for a handle");
	r = way(&array->cells, segment, spec);
	if (r < 0) {
		free(array);
		return r;
	}
	array->magic = MAGIC;
	*ret = array;
	return r;
}

/* What @opts asks for. Return: 0, or -EINVAL or -E2BIG with a text. */
static int spec_of(struct mproc__cells_spec *ret, const char *verb, const char *name,
		   const struct mproc_array_opts *opts)
{
	struct mproc_array_opts o;
	int r;

	r = mproc__opts_copy(verb, &o, sizeof(o), opts);
	if (r < 0)
		return r;
	if (!o.n_items)
		return mproc__fail(-EINVAL, "%s %s: no number of items is given", verb,
				   name ? name : "(anonymous)");
	*ret = (struct mproc__cells_spec){ .noun = "array",
					   .kind = MPROC__KIND_ARRAY,
					   .name = name,
					   .type = o.type,
					   .n_items = o.n_items,
					   .init = o.init };
	return 0;
}

int mproc_array_create(mproc_array **ret, mproc_segment *segment, const char *name,
		       const struct mproc_array_opts *opts)
{
	struct mproc__cells_spec spec;
	int r = spec_of(&spec, "create array", name, opts);

	return r < 0 ? r : handle_new(ret, segment, &spec, mproc__cells_create);
}

int mproc_array_open(mproc_array **ret, mproc_segment *segment, const char *name,
		     const struct mproc_type *type)
{
	const struct mproc__cells_spec spec = {
		.noun = "array",
		.kind = MPROC__KIND_ARRAY,
		.name = name,
		.type = type,
	};

	assert(name);
	return handle_new(ret, segment, &spec, mproc__cells_open);
}

int mproc_array_open_or_create(mproc_array **ret, mproc_segment *segment, const char *name,
			       const struct mproc_array_opts *opts)
{
	struct mproc__cells_spec spec;
	int r = spec_of(&spec, "open array", name, opts);

	assert(name);
	return r < 0 ? r : handle_new(ret, segment, &spec, mproc__cells_open_or_create);
}

mproc_array *mproc_array_close(mproc_array *array)
{
	if (!array)
		return NULL;
	mproc__cells_close(cells_of(array));
	array->magic = 0;
	free(array);
	return NULL;
}

uint64_t mproc_array_n_items(const mproc_array *array)
{
	assert(array && array->magic == MAGIC);
	return array->cells.geometry.n_items;
}

void *mproc_array_ptr(mproc_array *array, const struct mproc_type *type, uint64_t i)
{
	struct mproc__cells *c = cells_of(array);

	if (mproc__cells_have(c, type, i, 1) < 0)
		return NULL;
	return c->items + i * c->geometry.size;
}

int mproc_array_lock(mproc_array *array, int64_t deadline)
{
	return mproc__cells_lock(cells_of(array), deadline);
}

int mproc_array_unlock(mproc_array *array)
{
	return mproc__cells_unlock(cells_of(array));
}

int mproc_array_consistent(mproc_array *array)
{
	return mproc__cells_consistent(cells_of(array));
}

/* The names in parentheses are macros otherwise. */

int(mproc_array_get)(mproc_array *array, const struct mproc_type *type, uint64_t i, void *ret,
		     int64_t deadline)
{
	struct mproc__cells *c = cells_of(array);
	int r = mproc__cells_have(c, type, i, 1);

	return r < 0 ? r : mproc__cells_get(c, i, 1, ret, deadline);
}

int(mproc_array_set)(mproc_array *array, const struct mproc_type *type, uint64_t i,
		     const void *from, int64_t deadline)
{
	struct mproc__cells *c = cells_of(array);
	int r = mproc__cells_have(c, type, i, 1);

	return r < 0 ? r : mproc__cells_set(c, i, 1, from, deadline);
}

int(mproc_array_copy_out)(mproc_array *array, const struct mproc_type *type, uint64_t i, uint64_t n,
			  void *ret, int64_t deadline)
{
	struct mproc__cells *c = cells_of(array);
	int r = mproc__cells_have(c, type, i, n);

	return r < 0 ? r : mproc__cells_get(c, i, n, ret, deadline);
}

int(mproc_array_copy_in)(mproc_array *array, const struct mproc_type *type, uint64_t i, uint64_t n,
			 const void *from, int64_t deadline)
{
	struct mproc__cells *c = cells_of(array);
	int r = mproc__cells_have(c, type, i, n);

	return r < 0 ? r : mproc__cells_set(c, i, n, from, deadline);
}

int(mproc_array_load)(mproc_array *array, const struct mproc_type *type, uint64_t i, void *ret)
{
	return mproc__cells_atomic(cells_of(array), MPROC__CELL_LOAD, type, i, NULL, ret);
}

int(mproc_array_store)(mproc_array *array, const struct mproc_type *type, uint64_t i,
		       const void *arg)
{
	return mproc__cells_atomic(cells_of(array), MPROC__CELL_STORE, type, i, arg, NULL);
}

int(mproc_array_cas)(mproc_array *array, const struct mproc_type *type, uint64_t i, void *expected,
		     const void *arg)
{
	return mproc__cells_cas(cells_of(array), type, i, expected, arg);
}

int(mproc_array_xchg)(mproc_array *array, const struct mproc_type *type, uint64_t i,
		      const void *arg, void *ret)
{
	return mproc__cells_atomic(cells_of(array), MPROC__CELL_XCHG, type, i, arg, ret);
}

int(mproc_array_add)(mproc_array *array, const struct mproc_type *type, uint64_t i, const void *arg,
		     void *ret)
{
	return mproc__cells_atomic(cells_of(array), MPROC__CELL_ADD, type, i, arg, ret);
}

int(mproc_array_and)(mproc_array *array, const struct mproc_type *type, uint64_t i, const void *arg,
		     void *ret)
{
	return mproc__cells_atomic(cells_of(array), MPROC__CELL_AND, type, i, arg, ret);
}

int(mproc_array_or)(mproc_array *array, const struct mproc_type *type, uint64_t i, const void *arg,
		    void *ret)
{
	return mproc__cells_atomic(cells_of(array), MPROC__CELL_OR, type, i, arg, ret);
}

int(mproc_array_min)(mproc_array *array, const struct mproc_type *type, uint64_t i, const void *arg,
		     void *ret)
{
	return mproc__cells_atomic(cells_of(array), MPROC__CELL_MIN, type, i, arg, ret);
}

int(mproc_array_max)(mproc_array *array, const struct mproc_type *type, uint64_t i, const void *arg,
		     void *ret)
{
	return mproc__cells_atomic(cells_of(array), MPROC__CELL_MAX, type, i, arg, ret);
}
