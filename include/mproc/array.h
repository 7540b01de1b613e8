/* SPDX-License-Identifier: MIT */
#ifndef MPROC_ARRAY_H
#define MPROC_ARRAY_H

/*
 * Items of one type, in a row, that processes share
 *
 * An array lives in a segment, where it is found by name; its items are bools,
 * integers of any width, floats, doubles or plain structs, as many as were asked
 * for when it was made. It is what a value is (see <mproc/value.h>), by index:
 * scalars have atomic operations, which do not look at the lock; get, set and the
 * copies of many go through it. One with several dimensions is in row-major order, and
 * slices and parts of it are views, see <mproc/view.h>.
 *
 * In C, functions that take a type are macros as well: mproc_array_add(a, int64_t,
 * 3, 1, &old) describes the type and checks the pointers; (mproc_array_add)(a,
 * MPROC_TYPE(int64_t), 3, &one, &old) calls the function.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one handle at the same time
 *	Fork		inherited handles work in the child: its first call attaches it
 *	Signals		not safe in a signal handler
 *	Killed		a process killed inside a call leaves of each item the old or the
 *			new one, never a mixture; killed between lock and unlock, the
 *			next one to come is told
 *	Errors		a negative errno; the call then has had no effect and
 *			has not touched its return parameters
 */

#include <mproc/common.h>
#include <mproc/mutex.h>
#include <mproc/ref.h>
#include <mproc/segment.h>
#include <mproc/types.h>

MPROC_BEGIN_DECLS

typedef struct mproc_array mproc_array;

struct mproc_array_opts {
	size_t size;                   /* of this struct, set by MPROC_ARRAY_OPTS() */
	const struct mproc_type *type; /* of an item; no default */
	uint64_t n_items;              /* of a new one; no default */
	const void *init;              /* as many items as it has, copied; default all zero */
	uint32_t flags;                /* 0 or MPROC_ARRAY_RAW */
	uint32_t n_dims;               /* 0 to 8; 0 is 1, with n_items */
	const uint64_t *shape;         /* items along each of n_dims; n_items may be 0 then */
	mproc_mutex *mutex;            /* to use instead of one of its own; see <mproc/value.h> */
};

enum {
	MPROC_ARRAY_RAW = 1, /* no lock, see MPROC_VALUE_RAW */
};

/*
 * Bytes of the segment: those of the items, and before them 64 (128 or 192 of structs, or of
 * many dimensions), and one more item of structs with a lock. As all blocks they are rounded
 * up to a power of two, beyond 2 KiB to pages of 4 KiB. The first item is aligned to 64.
 */

/* MPROC_ARRAY_OPTS(.type = MPROC_TYPE(double), .n_items = 100); C only, a pointer. */
#define MPROC_ARRAY_OPTS(...) \
	(&(const struct mproc_array_opts){ .size = sizeof(struct mproc_array_opts), __VA_ARGS__ })

/**
 * mproc_array_create() - make an array
 * @ret:	the new handle
 * @segment:	where it shall live, or NULL for the default segment
 * @name:	1 to 63 bytes, or NULL for an array that only forked children share
 * @opts:	type and number of items, and perhaps what they are at first
 *
 * Return: 0, or -EEXIST if @name is taken, -EINVAL if the name is none, type or
 * number is not given or the type cannot be shared (pointers, more than 64 bytes
 * of alignment), -E2BIG if @opts uses a field this library does not know, -ENOSPC
 * if the segment has no room, -ENOMEM, or as mproc_segment_default().
 */
MPROC_API MPROC_MUST int mproc_array_create(mproc_array **ret, mproc_segment *segment,
					    const char *name, const struct mproc_array_opts *opts);

/**
 * mproc_array_open() - find an array
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @name:	its name
 * @type:	what its items must be; how many there are tells mproc_array_n_items()
 *
 * Return: 0, or -ENOENT if nothing has that name, -EEXIST if something else than
 * an array has it, -EPROTO if it holds another type (the text names both),
 * -EBADMSG if it is impossible, -EINVAL, -ENOMEM.
 */
MPROC_API MPROC_MUST int mproc_array_open(mproc_array **ret, mproc_segment *segment,
					  const char *name, const struct mproc_type *type);

/**
 * mproc_array_open_or_create() - find an array, or make it
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @name:	its name
 * @opts:	type and number of items; what they are at first if it is made
 *
 * Return: 1 if it was made, 0 if it was there, or -EPROTO if it was there with
 * another number of items, or with or by another lock, and as the two calls above.
 */
MPROC_API MPROC_MUST int mproc_array_open_or_create(mproc_array **ret, mproc_segment *segment,
						    const char *name,
						    const struct mproc_array_opts *opts);

/**
 * mproc_array_ref() - what names the array in every process, with a name or without one
 * @array:	array
 * @ret:	a reference, which may be stored in shared memory and sent
 *
 * Return: 0, or -ESTALE if the array was removed.
 */
MPROC_API MPROC_MUST int mproc_array_ref(mproc_array *array, struct mproc_ref *ret);

/**
 * mproc_array_open_ref() - find an array by reference
 * @ret:	the new handle
 * @segment:	where it lives, or NULL for the default segment
 * @ref:	from mproc_array_ref()
 * @type:	what it holds
 *
 * Return: 0, or -EINVAL if @ref is another segment's or names no object, -ESTALE if the
 * array is gone, -EEXIST if it is an object of another kind, and as mproc_array_open().
 */
MPROC_API MPROC_MUST int mproc_array_open_ref(mproc_array **ret, mproc_segment *segment,
					      const struct mproc_ref *ref,
					      const struct mproc_type *type);

/**
 * mproc_array_close() - give up this process's handle
 * @array:	handle, or NULL
 *
 * The array stays in the segment. No other thread may be inside a call on @array,
 * and pointers into it may be used no more.
 *
 * Return: NULL.
 */
MPROC_API mproc_array *mproc_array_close(mproc_array *array);

/**
 * mproc_array_n_items() - how many items it has
 * @array:	array
 *
 * Return: their number, at least 1; it never changes.
 */
MPROC_API uint64_t mproc_array_n_items(const mproc_array *array);

/**
 * mproc_array_n_dims() - how many dimensions it has
 * @array:	array
 * @ret:	items along each of them, room for 8; or NULL
 *
 * Return: 1 to 8; neither number ever changes.
 */
MPROC_API uint32_t mproc_array_n_dims(const mproc_array *array, uint64_t *ret);

/**
 * mproc_array_ptr() - where an item is
 * @array:	array
 * @type:	of the item
 * @i:		its index, from 0
 *
 * In C, mproc_array_at(a, double, i) is the same as a double *. Items lie as in a C
 * array, so the ones behind it follow. What is read and written through a pointer
 * is nobody's business but the caller's: lock, or use the atomic operations.
 *
 * Return: a pointer that is valid as long as the handle, or NULL with a text if the
 * array holds another type or no such item.
 */
MPROC_API void *mproc_array_ptr(mproc_array *array, const struct mproc_type *type, uint64_t i);

/**
 * mproc_array_lock() - exclude all others who lock, get or set
 * @array:	array
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * Atomic operations are not excluded. A thread that has the lock may lock it again, unless
 * it is a given mutex.
 *
 * Return: 0, or MPROC_MUTEX_INHERITED: you have the lock, and somebody died
 * between lock and unlock; everybody is told so until mproc_array_consistent();
 * -EINVAL if it was made without a lock; or as mproc_mutex_lock().
 */
MPROC_API MPROC_MUST int mproc_array_lock(mproc_array *array, int64_t deadline);

/**
 * mproc_array_unlock() - let others in again
 * @array:	array whose lock the calling thread has
 *
 * Return: 0, -EPERM if it does not have it, -ENOTCONN, -EUSERS.
 */
MPROC_API int mproc_array_unlock(mproc_array *array);

/**
 * mproc_array_consistent() - say that what was left half done is in order again
 * @array:	array whose lock the calling thread has, inherited
 *
 * Return: 0, -EPERM if the calling thread does not have the lock, -EINVAL if
 * nobody died, -ENOTCONN, -EUSERS.
 */
MPROC_API MPROC_MUST int mproc_array_consistent(mproc_array *array);

/**
 * mproc_array_get() - copy an item out, under the lock
 * @array:	array
 * @type:	of the item; in the macro the type itself
 * @i:		its index, from 0
 * @ret:	where to
 * @deadline:	how long to wait for the lock
 *
 * A thread that has the lock may call it as well.
 *
 * Return: 0, or MPROC_MUTEX_INHERITED if it was copied, yet somebody died between
 * lock and unlock and nobody has said consistent; -EPROTO if the array holds another
 * type, -EINVAL if it has no such item, or as mproc_mutex_lock().
 */
MPROC_API MPROC_MUST int mproc_array_get(mproc_array *array, const struct mproc_type *type,
					 uint64_t i, void *ret, int64_t deadline);

/**
 * mproc_array_set() - copy a new item in, under the lock
 * @array:	array
 * @type:	of the item; in the macro the type itself
 * @i:		its index, from 0
 * @from:	where from
 * @deadline:	how long to wait for the lock
 *
 * Killed inside the call, a process leaves the old item or the new one, whatever
 * the size. A thread that has the lock may call it as well.
 *
 * Return: as mproc_array_get().
 */
MPROC_API MPROC_MUST int mproc_array_set(mproc_array *array, const struct mproc_type *type,
					 uint64_t i, const void *from, int64_t deadline);

/**
 * mproc_array_copy_out() - copy items out, under the lock
 * @array:	array
 * @type:	of an item; in the macro the type itself
 * @i:		index of the first, from 0
 * @n:		how many
 * @ret:	where to
 * @deadline:	how long to wait for the lock
 *
 * A thread that has the lock may call it as well.
 *
 * Return: 0, or MPROC_MUTEX_INHERITED if they were copied, yet somebody died
 * between lock and unlock and nobody has said consistent; -EPROTO if it holds
 * another type, -EINVAL if it does not have all of them, or as mproc_mutex_lock().
 */
MPROC_API MPROC_MUST int mproc_array_copy_out(mproc_array *array, const struct mproc_type *type,
					      uint64_t i, uint64_t n, void *ret, int64_t deadline);

/**
 * mproc_array_copy_in() - copy new items in, under the lock
 * @array:	array
 * @type:	of an item; in the macro the type itself
 * @i:		index of the first, from 0
 * @n:		how many
 * @from:	where from
 * @deadline:	how long to wait for the lock
 *
 * Killed inside the call, a process leaves new items up to some index and old ones
 * from there on, each of them whole. A thread that has the lock may call it as well.
 *
 * Return: as mproc_array_copy_out().
 */
MPROC_API MPROC_MUST int mproc_array_copy_in(mproc_array *array, const struct mproc_type *type,
					     uint64_t i, uint64_t n, const void *from,
					     int64_t deadline);

/**
 * mproc_array_load() - an item as it is now, atomically
 * @array:	array of scalars
 * @type:	of the item; in the macro the type itself
 * @i:		its index, from 0
 * @ret:	the item
 *
 * All atomic operations, of all values and arrays, are in one order that all
 * processes see (seq_cst).
 *
 * Return: 0, or -EPROTO if the array holds another type, -EINVAL if that is no scalar
 * or there is no such item.
 */
MPROC_API MPROC_MUST int mproc_array_load(mproc_array *array, const struct mproc_type *type,
					  uint64_t i, void *ret);

/**
 * mproc_array_store() - a new item, atomically
 * @array:	array of scalars
 * @type:	of the item; in the macro the type itself
 * @i:		its index, from 0
 * @arg:	pointer to the new item; in the macro the item itself
 *
 * Return: 0, -EPROTO, -EINVAL.
 */
MPROC_API MPROC_MUST int mproc_array_store(mproc_array *array, const struct mproc_type *type,
					   uint64_t i, const void *arg);

/**
 * mproc_array_xchg() - a new item for the old one, atomically
 * @array:	array of scalars
 * @type:	of the item; in the macro the type itself
 * @i:		its index, from 0
 * @arg:	pointer to the new item; in the macro the item itself
 * @ret:	the old item, or NULL
 *
 * Return: 0, -EPROTO, -EINVAL.
 */
MPROC_API MPROC_MUST int mproc_array_xchg(mproc_array *array, const struct mproc_type *type,
					  uint64_t i, const void *arg, void *ret);

/**
 * mproc_array_cas() - a new item if the old one is what is expected, atomically
 * @array:	array of scalars
 * @type:	of the item; in the macro the type itself
 * @i:		its index, from 0
 * @expected:	what the item is expected to be; where it is not, what it is instead
 * @arg:	pointer to the new item; in the macro the item itself
 *
 * Values are compared bit by bit: -0.0 is not 0.0, a NaN is itself.
 *
 * Return: 1 if it was exchanged, 0 if not, or -EPROTO, -EINVAL.
 */
MPROC_API MPROC_MUST int mproc_array_cas(mproc_array *array, const struct mproc_type *type,
					 uint64_t i, void *expected, const void *arg);

/**
 * mproc_array_add() - add to a number, atomically
 * @array:	array of integers, floats or doubles
 * @type:	of the item; in the macro the type itself
 * @i:		its index, from 0
 * @arg:	pointer to what to add; in the macro what to add itself
 * @ret:	the old item, or NULL
 *
 * Integers wrap around, signed ones as well; of floats see mproc_value_add().
 *
 * Return: 0, -EPROTO, -EINVAL if it holds no numbers or has no such item.
 */
MPROC_API MPROC_MUST int mproc_array_add(mproc_array *array, const struct mproc_type *type,
					 uint64_t i, const void *arg, void *ret);

/* mproc_array_and() - bitwise and, atomically; see mproc_array_add() */
MPROC_API MPROC_MUST int mproc_array_and(mproc_array *array, const struct mproc_type *type,
					 uint64_t i, const void *arg, void *ret);

/* mproc_array_or() - bitwise or, atomically; see mproc_array_add() */
MPROC_API MPROC_MUST int mproc_array_or(mproc_array *array, const struct mproc_type *type,
					uint64_t i, const void *arg, void *ret);

/* mproc_array_min() - the smaller of old item and @arg, atomically; see mproc_array_add() */
MPROC_API MPROC_MUST int mproc_array_min(mproc_array *array, const struct mproc_type *type,
					 uint64_t i, const void *arg, void *ret);

/* mproc_array_max() - the larger of old item and @arg, atomically; see mproc_array_add() */
MPROC_API MPROC_MUST int mproc_array_max(mproc_array *array, const struct mproc_type *type,
					 uint64_t i, const void *arg, void *ret);

/**
 * mproc_array_wait() - wait until an item is not what the caller has seen
 * @array:	array of scalars
 * @type:	of the item; in the macro the type itself
 * @i:		its index, from 0
 * @seen:	what the caller has seen; what it is instead, once it is
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * As mproc_value_wait(). A change of any item wakes all who wait; they look, and sleep on.
 *
 * Return: 0, -EAGAIN or -ETIMEDOUT if it did not change in time, -EPROTO if the array holds
 * another type, -EINVAL if that is no scalar, if there is no such item or the deadline is
 * negative, -ENOTCONN, -EUSERS.
 */
MPROC_API MPROC_MUST int mproc_array_wait(mproc_array *array, const struct mproc_type *type,
					  uint64_t i, void *seen, int64_t deadline);

/**
 * mproc_array_wait_any() - wait until any of many items is not what the caller has seen
 * @array:	array of scalars
 * @type:	of an item; in the macro the type itself
 * @i:		index of the first, from 0
 * @n:		how many; all of them are a change of the whole array
 * @seen:	what the caller has seen of all; what they are instead, once one differs
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * Nobody counts changes: all @n are compared whenever any item of the array has changed.
 *
 * Return: as mproc_array_wait().
 */
MPROC_API MPROC_MUST int mproc_array_wait_any(mproc_array *array, const struct mproc_type *type,
					      uint64_t i, uint64_t n, void *seen, int64_t deadline);

/**
 * mproc_array_get_text() - copy out an array of characters up to its first NUL
 * @array:	array of items of 1 byte, integers
 * @buf:	where to; a NUL is put behind
 * @cap:	bytes of @buf
 * @ret_len:	bytes of the text, the NUL not counted, also on -ENOBUFS; or NULL
 * @deadline:	how long to wait for the lock
 *
 * An array that is full has no NUL: all of it is text. mproc_array_copy_out() gets every
 * byte, NULs at the end as well.
 *
 * Return: as mproc_array_get(), or -ENOBUFS if the text and a NUL are more than @cap
 * bytes.
 */
MPROC_API MPROC_MUST int mproc_array_get_text(mproc_array *array, char *buf, size_t cap,
					      size_t *ret_len, int64_t deadline);

/**
 * mproc_array_set_text() - make text of an array of characters
 * @array:	array of items of 1 byte, integers
 * @text:	bytes; NULs among them are copied like any other
 * @len:	how many
 * @deadline:	how long to wait for the lock
 *
 * A NUL is put behind if there is room; what follows stays as it is. Killed inside the call
 * a process leaves new bytes up to some index.
 *
 * Return: as mproc_array_set(), or -EMSGSIZE if the array has less than @len items.
 */
MPROC_API MPROC_MUST int mproc_array_set_text(mproc_array *array, const char *text, size_t len,
					      int64_t deadline);

/**
 * mproc_array_notify() - wake those who wait for a change
 * @array:	array
 *
 * After a change through a pointer, by an atomic instruction or followed by a barrier. All
 * functions here do so themselves.
 */
MPROC_API void mproc_array_notify(mproc_array *array);

#ifndef __cplusplus
/* Not for programs: the macros below, which call the function where it takes more. */
static inline __attribute__((__always_inline__)) int
mproc__array_do(mproc_array *array, enum mproc__items_op op, const struct mproc_type *type,
		uint64_t i, const void *arg, void *ret)
{
	const struct mproc__items *items = (const struct mproc__items *)(const void *)array;

	if (__builtin_expect(mproc__items_do(items, op, type, i, arg, ret), 1)) {
		if (op != MPROC__ITEMS_LOAD && mproc__items_waited(items))
			mproc_array_notify(array);
		return 0;
	}
	switch (op) {
	case MPROC__ITEMS_LOAD:
		return (mproc_array_load)(array, type, i, ret);
	case MPROC__ITEMS_STORE:
		return (mproc_array_store)(array, type, i, arg);
	case MPROC__ITEMS_XCHG:
		return (mproc_array_xchg)(array, type, i, arg, ret);
	default:
		return (mproc_array_add)(array, type, i, arg, ret);
	}
}

static inline __attribute__((__always_inline__)) void *
mproc__array_at(mproc_array *array, const struct mproc_type *type, uint64_t i)
{
	void *at = mproc__items_at((const struct mproc__items *)(const void *)array, type, i);

	return __builtin_expect(!!at, 1) ? at : mproc_array_ptr(array, type, i);
}

#define mproc_array_at(a, T, i) ((T *)mproc__array_at((a), MPROC_TYPE(T), (i)))
#define mproc_array_load(a, T, i, ret) \
	mproc__array_do((a), MPROC__ITEMS_LOAD, MPROC_TYPE(T), (i), NULL, MPROC__PTR(T, ret))
#define mproc_array_store(a, T, i, x) \
	mproc__array_do((a), MPROC__ITEMS_STORE, MPROC_TYPE(T), (i), &(const T){ (x) }, NULL)
#define mproc_array_xchg(a, T, i, x, ret) \
	mproc__array_do((a), MPROC__ITEMS_XCHG, MPROC_TYPE(T), (i), &(const T){ (x) }, \
			MPROC__PTR(T, ret))
#define mproc_array_add(a, T, i, x, ret) \
	mproc__array_do((a), MPROC__ITEMS_ADD, MPROC_TYPE(T), (i), &(const T){ (x) }, \
			MPROC__PTR(T, ret))
#define mproc_array_wait(a, T, i, seen, deadline) \
	(mproc_array_wait)((a), MPROC_TYPE(T), (i), MPROC__PTR(T, seen), (deadline))
#define mproc_array_wait_any(a, T, i, n, seen, deadline) \
	(mproc_array_wait_any)((a), MPROC_TYPE(T), (i), (n), MPROC__PTR(T, seen), (deadline))
#define mproc_array_get(a, T, i, ret, deadline) \
	(mproc_array_get)((a), MPROC_TYPE(T), (i), MPROC__PTR(T, ret), (deadline))
#define mproc_array_set(a, T, i, from, deadline) \
	(mproc_array_set)((a), MPROC_TYPE(T), (i), MPROC__CONST_PTR(T, from), (deadline))
#define mproc_array_copy_out(a, T, i, n, ret, deadline) \
	(mproc_array_copy_out)((a), MPROC_TYPE(T), (i), (n), MPROC__PTR(T, ret), (deadline))
#define mproc_array_copy_in(a, T, i, n, from, deadline) \
	(mproc_array_copy_in)((a), MPROC_TYPE(T), (i), (n), MPROC__CONST_PTR(T, from), (deadline))
#define mproc_array_cas(a, T, i, expected, x) \
	(mproc_array_cas)((a), MPROC_TYPE(T), (i), MPROC__PTR(T, expected), &(const T){ (x) })
#define mproc_array_and(a, T, i, x, ret) \
	(mproc_array_and)((a), MPROC_TYPE(T), (i), &(const T){ (x) }, MPROC__PTR(T, ret))
#define mproc_array_or(a, T, i, x, ret) \
	(mproc_array_or)((a), MPROC_TYPE(T), (i), &(const T){ (x) }, MPROC__PTR(T, ret))
#define mproc_array_min(a, T, i, x, ret) \
	(mproc_array_min)((a), MPROC_TYPE(T), (i), &(const T){ (x) }, MPROC__PTR(T, ret))
#define mproc_array_max(a, T, i, x, ret) \
	(mproc_array_max)((a), MPROC_TYPE(T), (i), &(const T){ (x) }, MPROC__PTR(T, ret))
#endif

MPROC_END_DECLS

#endif /* MPROC_ARRAY_H */
