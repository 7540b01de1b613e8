/* SPDX-License-Identifier: MIT */

/*
 * Items of one type, in a row: cells.c, by index
 *
 * Nothing here writes shared memory; what a kill leaves is said in cells.c.
 */

#include <mproc/array.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/error.h"
#include "ipc/kind_layout.h"
#include "ipc/opts.h"
#include "shm/array.h"
#include "shm/cells.h"

#define MAGIC UINT32_C(0x61727279)

static_assert(MPROC_ARRAY_RAW == (int)MPROC__CELLS_RAW, "an option has two numbers");

struct mproc_array {
	struct mproc__items items; /* first: what the macros look at */
	uint32_t magic;
	struct mproc__cells cells;
};

static struct mproc__cells *cells_of(mproc_array *array)
{
	assert(array && array->magic == MAGIC);
	return &array->cells;
}

struct mproc__cells *mproc__array_cells(mproc_array *array)
{
	return cells_of(array);
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
	mproc__cells_show(&array->cells, &array->items);
	array->magic = MAGIC;
	*ret = array;
	return r;
}

/* What @opts asks for. Return: 0, or -EINVAL or -E2BIG with a text. */
static int spec_of(struct mproc__cells_spec *ret, const char *verb, const char *name,
		   const struct mproc_array_opts *opts)
{
	struct mproc_array_opts o;
	uint64_t n = 1;
	int r;

	r = mproc__opts_copy(verb, &o, sizeof(o), opts);
	if (r < 0)
		return r;
	if (o.n_dims && !o.shape)
		return mproc__fail(-EINVAL, "%s %s: %" PRIu32 " dimensions without a shape", verb,
				   name ? name : "(anonymous)", o.n_dims);
	/* What is too much to be a number of items does not fit the shape either. */
	for (uint32_t i = 0; i < o.n_dims && i < MPROC__CELLS_DIMS && !o.n_items; i++)
		if (__builtin_mul_overflow(n, o.shape[i], &n))
			n = 0;
	if (o.n_dims && !o.n_items)
		o.n_items = n;
	if (!o.n_items)
		return mproc__fail(-EINVAL, "%s %s: no number of items is given", verb,
				   name ? name : "(anonymous)");
	*ret = (struct mproc__cells_spec){ .noun = "array",
					   .kind = MPROC__KIND_ARRAY,
					   .name = name,
					   .type = o.type,
					   .n_items = o.n_items,
					   .init = o.init,
					   .n_dims = o.n_dims,
					   .shape = o.shape,
					   .as_made = true,
					   .flags = o.flags,
					   .mutex = o.mutex };
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

int mproc_array_open_ref(mproc_array **ret, mproc_segment *segment, const struct mproc_ref *ref,
			 const struct mproc_type *type)
{
	const struct mproc__cells_spec spec = {
		.noun = "array",
		.kind = MPROC__KIND_ARRAY,
		.ref = ref,
		.type = type,
	};

	assert(ref);
	return handle_new(ret, segment, &spec, mproc__cells_open);
}

int mproc_array_ref(mproc_array *array, struct mproc_ref *ret)
{
	assert(ret);
	return mproc__cells_ref(cells_of(array), ret);
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

uint32_t mproc_array_n_dims(const mproc_array *array, uint64_t *ret)
{
	assert(array && array->magic == MAGIC);
	if (ret)
		memcpy(ret, array->cells.geometry.shape,
		       array->cells.geometry.n_dims * sizeof(*ret));
	return array->cells.geometry.n_dims;
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

int(mproc_array_wait)(mproc_array *array, const struct mproc_type *type, uint64_t i, void *seen,
		      int64_t deadline)
{
	return mproc__cells_wait(cells_of(array), type, i, seen, deadline);
}

int(mproc_array_wait_any)(mproc_array *array, const struct mproc_type *type, uint64_t i, uint64_t n,
			  void *seen, int64_t deadline)
{
	return mproc__cells_wait_any(cells_of(array), type, i, n, seen, deadline);
}

/* Is it an array of characters? Return: 0, or -EPROTO with a text. */
static int check_text(const struct mproc__cells *c)
{
	const struct mproc__cells_geometry *g = &c->geometry;
	char text[80];

	if (g->size == 1 && (g->kind == MPROC_INT || g->kind == MPROC_UINT))
		return 0;
	return mproc__fail(-EPROTO, "%s %s: it holds %s, not characters", c->noun, c->name,
			   mproc__cell_text(text, sizeof(text), g->kind, g->size, g->type_name));
}

int mproc_array_get_text(mproc_array *array, char *buf, size_t cap, size_t *ret_len,
			 int64_t deadline)
{
	struct mproc__cells *c = cells_of(array);
	uint64_t n = c->geometry.n_items, len;
	bool release;
	int told, r;

	r = check_text(c);
	if (r < 0)
		return r;
	told = mproc__cells_begin(c, false, deadline, &release);
	if (told < 0)
		return told;
	/* Atomic operations are not kept out: what is copied is what was looked at. */
	for (len = 0; len < n; len++) {
		unsigned char byte;

		mproc__cells_copy_out(c, len, 1, &byte);
		if (!byte)
			break;
	}
	if (len < cap)
		mproc__cells_copy_out(c, 0, len, (unsigned char *)buf);
	r = mproc__cells_end(c, release, false);
	if (r < 0)
		return r;
	if (ret_len)
		*ret_len = (size_t)len;
	if (len >= cap)
		return mproc__fail(-ENOBUFS,
				   "%s %s: a text of %" PRIu64 " bytes and a NUL, %zu bytes to put "
				   "it",
				   c->noun, c->name, len, cap);
	buf[len] = '\0';
	return told;
}

int mproc_array_set_text(mproc_array *array, const char *text, size_t len, int64_t deadline)
{
	struct mproc__cells *c = cells_of(array);
	bool release;
	int told, r;

	assert(text || !len);
	r = check_text(c);
	if (r < 0)
		return r;
	if (len > c->geometry.n_items)
		return mproc__fail(-EMSGSIZE, "%s %s: a text of %zu bytes, it has %" PRIu64,
				   c->noun, c->name, len, c->geometry.n_items);
	told = mproc__cells_begin(c, true, deadline, &release);
	if (told < 0)
		return told;
	if (len)
		mproc__cells_copy_in(c, 0, len, (const unsigned char *)text);
	if (len < c->geometry.n_items)
		mproc__cells_copy_in(c, len, 1, (const unsigned char *)"");
	r = mproc__cells_end(c, release, true);
	return r < 0 ? r : told;
}

void mproc_array_notify(mproc_array *array)
{
	mproc__cells_signal(cells_of(array));
}
