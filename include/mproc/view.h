/* SPDX-License-Identifier: MIT */
#ifndef MPROC_VIEW_H
#define MPROC_VIEW_H

/*
 * Slices and parts of an array, without a copy
 *
 * A view says where the items of an array are: the place of the first, and along each of up
 * to 8 dimensions how many there are and how many bytes lie from one to the next. It begins
 * as the whole array and is cut down in place: to every third item of a dimension, back to
 * front, to one row. It is private to a process, plain data, and may be copied; whatever is
 * done by one is checked against the array first.
 *
 *	struct mproc_view v;
 *
 *	r = mproc_view_init(&v, array, double);
 *	if (r == 0)
 *		r = mproc_view_slice(&v, 0, 1, 10, 2);
 *	if (r == 0)
 *		r = mproc_view_set(&v, from, 5, MPROC_FOREVER);
 *
 * is array[1:10:2] = from of Python.
 *
 * Unless a function says otherwise:
 *
 *	Threads		a view is plain data: one thread changes one at a time; any number
 *			may use one
 *	Fork		a copy in the child is as good as that of its parent
 *	Signals		not safe in a signal handler
 *	Killed		a process killed inside a call leaves of each item the old or the
 *			new one, as <mproc/array.h> has it: new ones up to some item, old
 *			ones from there on, in the order of the view
 *	Errors		a negative errno; the call then has had no effect and has not
 *			touched its return parameters
 */

#include <mproc/array.h>
#include <mproc/common.h>
#include <mproc/types.h>

MPROC_BEGIN_DECLS

#define MPROC_VIEW_DIMS 8

/* The default of start and stop in mproc_view_slice(): as if left out in Python. */
#define MPROC_VIEW_OPEN INT64_MIN

struct mproc_view {
	mproc_array *array;
	void *ptr;       /* item [0, 0, ...] */
	uint32_t kind;   /* of enum mproc_kind */
	uint32_t size;   /* bytes of an item */
	uint32_t n_dims; /* 0: a single item */
	uint32_t reserved;
	uint64_t shape[MPROC_VIEW_DIMS];  /* items along each dimension */
	int64_t strides[MPROC_VIEW_DIMS]; /* bytes from one to the next, along each */
};

/**
 * mproc_view_init() - all of an array
 * @ret:	the view
 * @array:	array, to stay open as long as the view is used
 * @type:	of an item; in the macro the type itself
 *
 * Return: 0, or -EPROTO if the array holds another type.
 */
MPROC_API MPROC_MUST int mproc_view_init(struct mproc_view *ret, mproc_array *array,
					 const struct mproc_type *type);

/**
 * mproc_view_slice() - keep some of one dimension: [start:stop:step] of Python
 * @view:	view
 * @dim:	number of the dimension, from 0
 * @start:	the first; negative: counted from the end; MPROC_VIEW_OPEN: the end that
 *		@step leads away from
 * @stop:	the first that is not kept, likewise
 * @step:	from one to the next; negative: back to front
 *
 * What lies outside is cut off, as in Python: nothing may be left.
 *
 * Return: 0, or -EINVAL if there is no such dimension or @step is 0.
 */
MPROC_API MPROC_MUST int mproc_view_slice(struct mproc_view *view, uint32_t dim, int64_t start,
					  int64_t stop, int64_t step);

/**
 * mproc_view_index() - keep one of a dimension, which is one less then
 * @view:	view
 * @dim:	number of the dimension, from 0
 * @i:		which to keep; negative: counted from the end
 *
 * Return: 0, or -EINVAL if there is no such dimension, or no @i in it.
 */
MPROC_API MPROC_MUST int mproc_view_index(struct mproc_view *view, uint32_t dim, int64_t i);

/**
 * mproc_view_swap() - exchange two dimensions: of two, transpose
 * @view:	view
 * @a:		number of a dimension, from 0
 * @b:		number of another
 *
 * Return: 0, or -EINVAL if there is no such dimension.
 */
MPROC_API MPROC_MUST int mproc_view_swap(struct mproc_view *view, uint32_t a, uint32_t b);

/**
 * mproc_view_n_items() - how many items it has
 * @view:	view
 *
 * Return: the product of its shape, 1 of none.
 */
MPROC_API uint64_t mproc_view_n_items(const struct mproc_view *view);

/**
 * mproc_view_ptr() - where an item is
 * @view:	view
 * @type:	of the item
 * @n:		number of coordinates, that of the dimensions
 * @at:		the coordinates, each from 0
 *
 * In C, mproc_view_at(&view, double, 3, 4) is the same as a double *, with the coordinates
 * as arguments; see mproc_array_ptr() for what may be done with it.
 *
 * Return: a pointer, or NULL with a text if the items are of another type, there is no such
 * item, or the view is not one of the array.
 */
MPROC_API void *mproc_view_ptr(const struct mproc_view *view, const struct mproc_type *type,
			       uint32_t n, const uint64_t *at);

/**
 * mproc_view_get() - copy its items out, under the lock
 * @view:	view
 * @ret:	where to: one after the other, the last dimension fastest
 * @n:		how many there is room for: exactly those of the view
 * @deadline:	how long to wait for the lock
 *
 * Return: as mproc_array_copy_out(); -EINVAL if @n is another number, or the view is not one
 * of the array.
 */
MPROC_API MPROC_MUST int mproc_view_get(const struct mproc_view *view, void *ret, uint64_t n,
					int64_t deadline);

/**
 * mproc_view_set() - copy new items in, under the lock
 * @view:	view
 * @from:	where from, as mproc_view_get()
 * @n:		how many: exactly those of the view
 * @deadline:	how long to wait for the lock
 *
 * Return: as mproc_view_get().
 */
MPROC_API MPROC_MUST int mproc_view_set(const struct mproc_view *view, const void *from, uint64_t n,
					int64_t deadline);

/**
 * mproc_view_fill() - make all items the same, under the lock
 * @view:	view
 * @item:	what they shall be, of the array's type
 * @deadline:	how long to wait for the lock
 *
 * Return: as mproc_view_get().
 */
MPROC_API MPROC_MUST int mproc_view_fill(const struct mproc_view *view, const void *item,
					 int64_t deadline);

/**
 * mproc_view_add() - add to every item, each atomically
 * @view:	view of numbers
 * @arg:	what to add, of the array's type
 *
 * Without the lock, as mproc_array_add(). Killed inside, it has been added to the items up
 * to some one.
 *
 * Return: 0, or -EINVAL if they are no numbers, or the view is not one of the array.
 */
MPROC_API MPROC_MUST int mproc_view_add(const struct mproc_view *view, const void *arg);

/* Where an iteration stands: MPROC_VIEW_ITER(&view), for mproc_view_next(). */
struct mproc_view_iter {
	const struct mproc_view *view;
	uint32_t begun;
	uint32_t reserved;
	uint64_t at[MPROC_VIEW_DIMS]; /* coordinates of the item that was returned last */
};

#define MPROC_VIEW_ITER(v) \
	{ \
		.view = (v) \
	}

/**
 * mproc_view_next() - one item after the other, the last dimension fastest
 * @iter:	where the iteration stands; @iter->at are the coordinates of the item
 * @ret:	where the item is, see mproc_array_ptr()
 *
 *	struct mproc_view_iter it = MPROC_VIEW_ITER(&view);
 *
 *	while ((r = mproc_view_next(&it, &item)) > 0)
 *
 * Return: 1 for an item, 0 behind the last, or -EINVAL if the view is not one of the array.
 */
MPROC_API MPROC_MUST int mproc_view_next(struct mproc_view_iter *iter, void **ret);

#ifndef __cplusplus
#define mproc_view_init(ret, a, T) (mproc_view_init)((ret), (a), MPROC_TYPE(T))
#define mproc_view_at(v, T, ...) \
	((T *)(mproc_view_ptr)((v), MPROC_TYPE(T), \
			       sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t), \
			       (const uint64_t[]){ __VA_ARGS__ }))
#endif

MPROC_END_DECLS

#endif /* MPROC_VIEW_H */
