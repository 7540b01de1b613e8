/* SPDX-License-Identifier: MIT */

/*
 * Slices and parts of an array: a first item, and a shape and strides
 *
 * A view is the caller's own data, so every use begins with a look at it: the item that lies
 * lowest and the one that lies highest are the array's, and the first item and all strides
 * are whole items apart from the array's. What lies between is then inside as well.
 *
 * Nothing here writes shared memory but through cells.c, item by item or row by row; what a
 * kill leaves is said there.
 */

#include <mproc/view.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ipc/error.h"
#include "shm/array.h"

static_assert(MPROC_VIEW_DIMS == MPROC__CELLS_DIMS, "a number has two values");

int(mproc_view_init)(struct mproc_view *ret, mproc_array *array, const struct mproc_type *type)
{
	const struct mproc__cells *c = mproc__array_cells(array);
	const struct mproc__cells_geometry *g = &c->geometry;
	int64_t stride = g->size;
	int r;

	r = mproc__cells_have(c, type, 0, 1);
	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	ret->array = array;
	ret->ptr = c->items;
	ret->kind = g->kind;
	ret->size = g->size;
	ret->n_dims = g->n_dims;
	memcpy(ret->shape, g->shape, sizeof(ret->shape));
	for (uint32_t i = g->n_dims; i-- > 0;) {
		ret->strides[i] = stride;
		/* The product is the bytes of all items, which fit. */
		stride *= (int64_t)g->shape[i];
	}
	return 0;
}

/* Return: 0, or -EINVAL with a text. */
static int check_dim(const struct mproc_view *view, const char *verb, uint32_t dim)
{
	if (view->n_dims <= MPROC_VIEW_DIMS && dim < view->n_dims && !(view->shape[dim] >> 56))
		return 0;
	return mproc__fail(-EINVAL, "view %s: dimension %" PRIu32 " wanted, it has %" PRIu32, verb,
			   dim, view->n_dims);
}

/* An end of a slice as Python has it, within [@least, @most]. */
static int64_t clamp(int64_t i, int64_t n, int64_t least, int64_t most)
{
	if (i < 0)
		i += n;
	return i < least ? least : i > most ? most : i;
}

int mproc_view_slice(struct mproc_view *view, uint32_t dim, int64_t start, int64_t stop,
		     int64_t step)
{
	int64_t n, least, most;
	uint64_t kept = 0;
	int r;

	r = check_dim(view, "slice", dim);
	if (r < 0)
		return r;
	if (!step || step == INT64_MIN)
		return mproc__fail(-EINVAL, "view slice: a step of %" PRId64, step);
	n = (int64_t)view->shape[dim];
	least = step > 0 ? 0 : -1;
	most = step > 0 ? n : n - 1;
	if (start == MPROC_VIEW_OPEN)
		start = step > 0 ? 0 : n - 1;
	else
		start = clamp(start, n, least, most);
	if (stop == MPROC_VIEW_OPEN)
		stop = step > 0 ? n : -1;
	else
		stop = clamp(stop, n, least, most);
	if (step > 0 && start < stop)
		kept = ((uint64_t)(stop - start) - 1) / (uint64_t)step + 1;
	else if (step < 0 && stop < start)
		kept = ((uint64_t)(start - stop) - 1) / (uint64_t)-step + 1;
	/* Of none and one no stride is ever taken, and the product might be too much. */
	if (kept)
		view->ptr = (char *)view->ptr + start * view->strides[dim];
	if (kept > 1)
		view->strides[dim] *= step;
	view->shape[dim] = kept;
	return 0;
}

int mproc_view_index(struct mproc_view *view, uint32_t dim, int64_t i)
{
	uint64_t n;
	int r;

	r = check_dim(view, "index", dim);
	if (r < 0)
		return r;
	n = view->shape[dim];
	if (i < 0 ? (uint64_t) - (i + 1) >= n : (uint64_t)i >= n)
		return mproc__fail(-EINVAL,
				   "view index: %" PRId64 " wanted, dimension %" PRIu32
				   " has %" PRIu64,
				   i, dim, n);
	if (i < 0)
		i += (int64_t)n;
	view->ptr = (char *)view->ptr + i * view->strides[dim];
	view->n_dims--;
	for (uint32_t k = dim; k < view->n_dims; k++) {
		view->shape[k] = view->shape[k + 1];
		view->strides[k] = view->strides[k + 1];
	}
	return 0;
}

int mproc_view_swap(struct mproc_view *view, uint32_t a, uint32_t b)
{
	uint64_t n;
	int64_t stride;
	int r;

	r = check_dim(view, "swap", a);
	if (r == 0)
		r = check_dim(view, "swap", b);
	if (r < 0)
		return r;
	n = view->shape[a];
	stride = view->strides[a];
	view->shape[a] = view->shape[b];
	view->strides[a] = view->strides[b];
	view->shape[b] = n;
	view->strides[b] = stride;
	return 0;
}

uint64_t mproc_view_n_items(const struct mproc_view *view)
{
	uint64_t n = 1;

	for (uint32_t i = 0; i < view->n_dims && i < MPROC_VIEW_DIMS; i++)
		n *= view->shape[i];
	return n;
}

/* A view that was checked: its first item by number, and strides in items. */
struct walk {
	struct mproc__cells *cells;
	const struct mproc_view *view;
	uint64_t first;
	uint64_t n; /* items in all */
};

static int refuse(const struct mproc__cells *c)
{
	return mproc__fail(-EINVAL, "%s %s: the view is not one of it", c->noun, c->name);
}

/* Return: 0, or -EINVAL with a text. */
static int walk_of(struct walk *ret, const struct mproc_view *view)
{
	struct mproc__cells *c = mproc__array_cells(view->array);
	const struct mproc__cells_geometry *g = &c->geometry;
	int64_t size = g->size, low, high, reach;
	uint64_t n = 1;

	if (view->n_dims > MPROC_VIEW_DIMS || view->kind != g->kind || view->size != g->size)
		return refuse(c);
	low = (int64_t)((uintptr_t)view->ptr - (uintptr_t)c->items);
	high = low;
	for (uint32_t i = 0; i < view->n_dims; i++)
		if (__builtin_mul_overflow(n, view->shape[i], &n))
			return refuse(c);
	/* Nothing is touched of nothing. */
	for (uint32_t i = 0; n && i < view->n_dims; i++) {
		if (view->shape[i] == 1)
			continue;
		if (view->strides[i] % size ||
		    __builtin_mul_overflow((int64_t)(view->shape[i] - 1), view->strides[i],
					   &reach) ||
		    __builtin_add_overflow(reach < 0 ? low : high, reach, reach < 0 ? &low : &high))
			return refuse(c);
	}
	if (n && (low < 0 || low % size || high < 0 ||
		  (uint64_t)high > (g->n_items - 1) * (uint64_t)size))
		return refuse(c);
	*ret = (struct walk){ .cells = c, .view = view, .n = n };
	ret->first = (uint64_t)((uintptr_t)view->ptr - (uintptr_t)c->items) / g->size;
	return 0;
}

/* The number of the item at @at, within what was checked. */
static uint64_t item_at(const struct walk *walk, const uint64_t *at)
{
	int64_t i = (int64_t)walk->first;

	for (uint32_t k = 0; k < walk->view->n_dims; k++)
		if (at[k])
			i += (int64_t)at[k] * (walk->view->strides[k] / (int64_t)walk->view->size);
	return (uint64_t)i;
}

/* The next coordinates, leaving out the last @skip dimensions. Return: false at the end. */
static bool advance(const struct mproc_view *view, uint64_t *at, uint32_t skip)
{
	for (uint32_t k = view->n_dims - skip; k-- > 0;) {
		if (++at[k] < view->shape[k])
			return true;
		at[k] = 0;
	}
	return false;
}

void *mproc_view_ptr(const struct mproc_view *view, const struct mproc_type *type, uint32_t n,
		     const uint64_t *at)
{
	struct walk walk;

	if (walk_of(&walk, view) < 0 || mproc__cells_have(walk.cells, type, 0, 1) < 0)
		return NULL;
	if (n != view->n_dims) {
		mproc__fail(-EINVAL, "view: %" PRIu32 " coordinates, it has %" PRIu32, n,
			    view->n_dims);
		return NULL;
	}
	for (uint32_t i = 0; i < n; i++) {
		if (at[i] < view->shape[i])
			continue;
		mproc__fail(-EINVAL,
			    "view: %" PRIu64 " wanted along dimension %" PRIu32 ", which has "
			    "%" PRIu64,
			    at[i], i, view->shape[i]);
		return NULL;
	}
	return walk.cells->items + item_at(&walk, at) * view->size;
}

/* What to do with @n items side by side, the first of which is @i; @done were before. */
typedef void run_function(struct mproc__cells *c, uint64_t i, uint64_t n, uint64_t done,
			  const void *arg);

static void for_all(const struct walk *walk, run_function *fn, const void *arg)
{
	const struct mproc_view *view = walk->view;
	uint32_t last = view->n_dims - 1, skip = 0;
	uint64_t at[MPROC_VIEW_DIMS] = { 0 }, run = 1;

	if (!walk->n)
		return;
	/* Rows go in one piece where they lie in one. */
	if (view->n_dims &&
	    (view->shape[last] == 1 || view->strides[last] == (int64_t)view->size)) {
		run = view->shape[last];
		skip = 1;
	}
	for (uint64_t done = 0; done < walk->n; done += run) {
		fn(walk->cells, item_at(walk, at), run, done, arg);
		if (!advance(view, at, skip))
			break;
	}
}

/* What is done under the lock; @changes: it writes. */
static int locked(const struct mproc_view *view, run_function *fn, const void *arg, uint64_t n,
		  bool changes, int64_t deadline)
{
	struct walk walk;
	bool release;
	int told, r;

	r = walk_of(&walk, view);
	if (r < 0)
		return r;
	if (n != walk.n)
		return mproc__fail(-EINVAL, "%s %s: %" PRIu64 " items given, the view has %" PRIu64,
				   walk.cells->noun, walk.cells->name, n, walk.n);
	told = mproc__cells_begin(walk.cells, changes, deadline, &release);
	if (told < 0)
		return told;
	for_all(&walk, fn, arg);
	r = mproc__cells_end(walk.cells, release, changes);
	return r < 0 ? r : told;
}

static void run_get(struct mproc__cells *c, uint64_t i, uint64_t n, uint64_t done, const void *arg)
{
	unsigned char *const *ret = arg;

	mproc__cells_copy_out(c, i, n, *ret + done * c->geometry.size);
}

static void run_set(struct mproc__cells *c, uint64_t i, uint64_t n, uint64_t done, const void *arg)
{
	mproc__cells_copy_in(c, i, n, (const unsigned char *)arg + done * c->geometry.size);
}

static void run_fill(struct mproc__cells *c, uint64_t i, uint64_t n, uint64_t done, const void *arg)
{
	(void)done;
	for (uint64_t k = 0; k < n; k++)
		mproc__cells_copy_in(c, i + k, 1, arg);
}

static void run_add(struct mproc__cells *c, uint64_t i, uint64_t n, uint64_t done, const void *arg)
{
	const uint64_t *x = arg;

	(void)done;
	for (uint64_t k = 0; k < n; k++)
		mproc__cells_operate(c, MPROC__CELL_ADD, c->items + (i + k) * c->geometry.size, *x);
}

int mproc_view_get(const struct mproc_view *view, void *ret, uint64_t n, int64_t deadline)
{
	return locked(view, run_get, &ret, n, false, deadline);
}

int mproc_view_set(const struct mproc_view *view, const void *from, uint64_t n, int64_t deadline)
{
	return locked(view, run_set, from, n, true, deadline);
}

int mproc_view_fill(const struct mproc_view *view, const void *item, int64_t deadline)
{
	return locked(view, run_fill, item, mproc_view_n_items(view), true, deadline);
}

int mproc_view_add(const struct mproc_view *view, const void *arg)
{
	struct walk walk;
	uint64_t x = 0;
	int r;

	r = walk_of(&walk, view);
	if (r == 0)
		r = mproc__cells_takes(walk.cells, MPROC__CELL_ADD);
	if (r == 0 && mproc__is_read_only(walk.cells->shared))
		r = mproc__fail_read_only("view add");
	if (r < 0)
		return r;
	/* Little-endian: a number's bytes are the low ones. */
	memcpy(&x, arg, view->size);
	for_all(&walk, run_add, &x);
	if (walk.n)
		mproc__cells_signal(walk.cells);
	return 0;
}

int mproc_view_next(struct mproc_view_iter *iter, void **ret)
{
	struct walk walk;
	int r;

	r = walk_of(&walk, iter->view);
	if (r < 0)
		return r;
	if (!walk.n)
		return 0;
	/* 2: it is through, and stays so. */
	if (iter->begun == 2 || (iter->begun && !advance(iter->view, iter->at, 0))) {
		iter->begun = 2;
		return 0;
	}
	iter->begun = 1;
	for (uint32_t i = 0; i < iter->view->n_dims; i++)
		if (iter->at[i] >= iter->view->shape[i])
			return refuse(walk.cells);
	*ret = walk.cells->items + item_at(&walk, iter->at) * iter->view->size;
	return 1;
}
