/* SPDX-License-Identifier: MIT */
#ifndef MPROC_VALUE_H
#define MPROC_VALUE_H

/*
 * One value that processes share
 *
 * A value lives in a segment, where it is found by name; it holds a bool, an
 * integer of any width, a float, a double or a plain struct, and a lock. Scalars
 * have atomic operations, which do not look at the lock; get and set go through
 * it and are all there is for structs. A read, a change and a write that belong
 * together go between mproc_value_lock() and mproc_value_unlock(), or are one
 * atomic operation: nothing here looks like += and is not atomic.
 *
 * In C, functions that take a type are macros as well: mproc_value_add(v, int64_t,
 * 1, &old) describes the type and checks the pointers; (mproc_value_add)(v,
 * MPROC_TYPE(int64_t), &one, &old) calls the function.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one handle at the same time
 *	Fork		inherited handles work in the child: its first call attaches it
 *	Signals		not safe in a signal handler
 *	Killed		a process killed inside a call leaves the old value or the new
 *			one, never a mixture; killed between lock and unlock, the next
 *			one to come is told
 *	Errors		a negative errno; the call then has had no effect and
 *			has not touched its return parameters
 */

#include <mproc/common.h>
#include <mproc/mutex.h>
#include <mproc/ref.h>
#include <mproc/segment.h>
#include <mproc/types.h>

MPROC_BEGIN_DECLS

typedef struct mproc_value mproc_value;

struct mproc_value_opts {
	size_t size;                   /* of this struct, set by MPROC_VALUE_OPTS() */
	const struct mproc_type *type; /* of what it holds; no default */
	const void *init;              /* what it holds at first; default all zero */
	uint32_t flags;                /* 0 or MPROC_VALUE_RAW */
	uint32_t reserved;             /* zero */
	mproc_mutex *mutex; /* to use instead of one of its own, see below; default NULL */
};

enum {
	/*
	 * No lock: mproc_value_lock() is refused; get and set copy without one, so a struct
	 * may be copied while another process writes it, and be a mixture, and a process
	 * killed while it sets a struct leaves one. Numbers are still read and written whole,
	 * and atomic operations are what they are.
	 */
	MPROC_VALUE_RAW = 1,
};

/*
 * A mutex that is given lies in the same segment, is not MPROC_MUTEX_STRICT, and stays
 * there as long as the value. Several values and arrays may have the same one, and the
 * program may lock it itself: who has it, has all of them. The news of a death with it is
 * told by whatever locks it next, until somebody says consistent, by mproc_mutex_consistent()
 * or that of any of them: also if the dead was inside a get or set, which has left nothing
 * half done. A lock of its own, which the value has otherwise, is recursive: the thread that
 * has it may lock it again, and unlocks it as often. A given mutex is not (-EDEADLK).
 *
 * Bytes of the segment: 64 for a number, of which it uses 56 and its size, or 32 and its size
 * raw; for a struct 120 and twice its size, or 88 and its size raw. As all blocks they are
 * rounded up to a power of two, at least 64, beyond 2 KiB to pages of 4 KiB.
 */

/* MPROC_VALUE_OPTS(.type = MPROC_TYPE(int), .init = &(int){ 7 }); C only, a pointer. */
#define MPROC_VALUE_OPTS(...) \
	(&(const struct mproc_value_opts){ .size = sizeof(struct mproc_value_opts), __VA_ARGS__ })

/**
 * mproc_value_create() - make a value
 * @ret:	the new handle
 * @segment:	where it shall live, or NULL for the default segment
 * @name:	1 to 63 bytes, or NULL for a value that only forked children share
 * @opts:	its type, and perhaps what it holds at first
 *
 * Return: 0, or -EEXIST if @name is taken, -EINVAL if the name is none, no type
 * is given or it cannot be shared (pointers, more than 64 bytes of alignment),
 * -E2BIG if @opts uses a field this library does not know, -ENOSPC if the
 * segment is full, -ENOMEM, or as mproc_segment_default().
 */
MPROC_API MPROC_MUST int mproc_value_create(mproc_value **ret, mproc_segment *segment,
					    const char *name, const struct mproc_value_opts *opts);

/**
 * mproc_value_open() - find a value
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @name:	its name
 * @type:	what it must hold
 *
 * Return: 0, or -ENOENT if nothing has that name, -EEXIST if something else than
 * a value has it, -EPROTO if it holds another type (the text names both), -EBADMSG
 * if it is impossible, -EINVAL, -ENOMEM.
 */
MPROC_API MPROC_MUST int mproc_value_open(mproc_value **ret, mproc_segment *segment,
					  const char *name, const struct mproc_type *type);

/**
 * mproc_value_open_or_create() - find a value, or make it
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @name:	its name
 * @opts:	its type; what it holds at first if it is made
 *
 * Return: 1 if it was made, 0 if it was there, or -EPROTO if it was there with or by another
 * lock, and as the two calls above.
 */
MPROC_API MPROC_MUST int mproc_value_open_or_create(mproc_value **ret, mproc_segment *segment,
						    const char *name,
						    const struct mproc_value_opts *opts);

/**
 * mproc_value_ref() - what names the value in every process, with a name or without one
 * @value:	value
 * @ret:	a reference, which may be stored in shared memory and sent
 *
 * Return: 0, or -ESTALE if the value was removed.
 */
MPROC_API MPROC_MUST int mproc_value_ref(mproc_value *value, struct mproc_ref *ret);

/**
 * mproc_value_open_ref() - find a value by reference
 * @ret:	the new handle
 * @segment:	where it lives, or NULL for the default segment
 * @ref:	from mproc_value_ref()
 * @type:	what it holds
 *
 * Return: 0, or -EINVAL if @ref is another segment's or names no object, -ESTALE if the
 * value is gone, -EEXIST if it is an object of another kind, and as mproc_value_open().
 */
MPROC_API MPROC_MUST int mproc_value_open_ref(mproc_value **ret, mproc_segment *segment,
					      const struct mproc_ref *ref,
					      const struct mproc_type *type);

/**
 * mproc_value_close() - give up this process's handle
 * @value:	handle, or NULL
 *
 * The value stays in the segment. No other thread may be inside a call on @value.
 *
 * Return: NULL.
 */
MPROC_API mproc_value *mproc_value_close(mproc_value *value);

/**
 * mproc_value_lock() - exclude all others who lock, get or set
 * @value:	value
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * Atomic operations are not excluded. A thread that has the lock may lock it again, unless
 * it is a given mutex.
 *
 * Return: 0, or MPROC_MUTEX_INHERITED: you have the lock, and somebody died
 * between lock and unlock; everybody is told so until mproc_value_consistent();
 * -EINVAL if it was made without a lock; or as mproc_mutex_lock().
 */
MPROC_API MPROC_MUST int mproc_value_lock(mproc_value *value, int64_t deadline);

/**
 * mproc_value_unlock() - let others in again
 * @value:	value whose lock the calling thread has
 *
 * Return: 0, -EPERM if it does not have it, -ENOTCONN, -EUSERS.
 */
MPROC_API int mproc_value_unlock(mproc_value *value);

/**
 * mproc_value_consistent() - say that what was left half done is in order again
 * @value:	value whose lock the calling thread has, inherited
 *
 * Return: 0, -EPERM if the calling thread does not have the lock, -EINVAL if
 * nobody died, -ENOTCONN, -EUSERS.
 */
MPROC_API MPROC_MUST int mproc_value_consistent(mproc_value *value);

/**
 * mproc_value_get() - copy the value out, under the lock
 * @value:	value
 * @type:	what it holds; in the macro the type itself
 * @ret:	where to
 * @deadline:	how long to wait for the lock
 *
 * A thread that has the lock may call it as well.
 *
 * Return: 0, or MPROC_MUTEX_INHERITED if it was copied, yet somebody died between
 * lock and unlock and nobody has said consistent; -EPROTO if it holds another type,
 * or as mproc_mutex_lock().
 */
MPROC_API MPROC_MUST int mproc_value_get(mproc_value *value, const struct mproc_type *type,
					 void *ret, int64_t deadline);

/**
 * mproc_value_set() - copy a new value in, under the lock
 * @value:	value
 * @type:	what it holds; in the macro the type itself
 * @from:	where from
 * @deadline:	how long to wait for the lock
 *
 * Killed inside the call, a process leaves the old value or the new one, whatever
 * the size. A thread that has the lock may call it as well.
 *
 * Return: as mproc_value_get().
 */
MPROC_API MPROC_MUST int mproc_value_set(mproc_value *value, const struct mproc_type *type,
					 const void *from, int64_t deadline);

/**
 * mproc_value_load() - the present value, atomically
 * @value:	value that holds a scalar
 * @type:	what it holds; in the macro the type itself
 * @ret:	the value
 *
 * All atomic operations, of all values and arrays, are in one order that all
 * processes see (seq_cst).
 *
 * Return: 0, or -EPROTO if it holds another type, -EINVAL if that is no scalar.
 */
MPROC_API MPROC_MUST int mproc_value_load(mproc_value *value, const struct mproc_type *type,
					  void *ret);

/**
 * mproc_value_store() - a new value, atomically
 * @value:	value that holds a scalar
 * @type:	what it holds; in the macro the type itself
 * @arg:	pointer to the new value; in the macro the value itself
 *
 * Return: 0, -EPROTO, -EINVAL.
 */
MPROC_API MPROC_MUST int mproc_value_store(mproc_value *value, const struct mproc_type *type,
					   const void *arg);

/**
 * mproc_value_xchg() - a new value for the old one, atomically
 * @value:	value that holds a scalar
 * @type:	what it holds; in the macro the type itself
 * @arg:	pointer to the new value; in the macro the value itself
 * @ret:	the old value, or NULL
 *
 * Return: 0, -EPROTO, -EINVAL.
 */
MPROC_API MPROC_MUST int mproc_value_xchg(mproc_value *value, const struct mproc_type *type,
					  const void *arg, void *ret);

/**
 * mproc_value_cas() - a new value if the old one is what is expected, atomically
 * @value:	value that holds a scalar
 * @type:	what it holds; in the macro the type itself
 * @expected:	what it is expected to hold; where it does not, what it holds instead
 * @arg:	pointer to the new value; in the macro the value itself
 *
 * Values are compared bit by bit: -0.0 is not 0.0, a NaN is itself.
 *
 * Return: 1 if it was exchanged, 0 if not, or -EPROTO, -EINVAL.
 */
MPROC_API MPROC_MUST int mproc_value_cas(mproc_value *value, const struct mproc_type *type,
					 void *expected, const void *arg);

/**
 * mproc_value_add() - add to a number, atomically
 * @value:	value that holds an integer, a float or a double
 * @type:	what it holds; in the macro the type itself
 * @arg:	pointer to what to add; in the macro what to add itself
 * @ret:	the old value, or NULL
 *
 * Integers wrap around, signed ones as well. A float is exchanged for the sum, and again if
 * somebody else has been faster: it is rounded once for each addition, so the order of
 * additions may show.
 *
 * Return: 0, -EPROTO, -EINVAL if it holds no number.
 */
MPROC_API MPROC_MUST int mproc_value_add(mproc_value *value, const struct mproc_type *type,
					 const void *arg, void *ret);

/* mproc_value_and() - bitwise and, atomically; see mproc_value_add() */
MPROC_API MPROC_MUST int mproc_value_and(mproc_value *value, const struct mproc_type *type,
					 const void *arg, void *ret);

/* mproc_value_or() - bitwise or, atomically; see mproc_value_add() */
MPROC_API MPROC_MUST int mproc_value_or(mproc_value *value, const struct mproc_type *type,
					const void *arg, void *ret);

/* mproc_value_min() - the smaller of old value and @arg, atomically; see mproc_value_add() */
MPROC_API MPROC_MUST int mproc_value_min(mproc_value *value, const struct mproc_type *type,
					 const void *arg, void *ret);

/* mproc_value_max() - the larger of old value and @arg, atomically; see mproc_value_add() */
MPROC_API MPROC_MUST int mproc_value_max(mproc_value *value, const struct mproc_type *type,
					 const void *arg, void *ret);

/**
 * mproc_value_wait() - wait until the value is not what the caller has seen
 * @value:	value that holds a scalar
 * @type:	what it holds; in the macro the type itself
 * @seen:	what the caller has seen; what it holds instead, once it does
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * Returns at once if it differs already. Values are compared bit by bit, and the lock is
 * not looked at: a change by mproc_value_set() is seen before mproc_value_unlock(). A
 * change that is taken back soon may go unseen. Whoever changes the value pays nothing
 * for this but a look at one word while nobody waits.
 *
 * Return: 0, -EAGAIN or -ETIMEDOUT if it did not change in time, -EPROTO if it holds
 * another type, -EINVAL if that is no scalar or the deadline is negative, -ENOTCONN,
 * -EUSERS.
 */
MPROC_API MPROC_MUST int mproc_value_wait(mproc_value *value, const struct mproc_type *type,
					  void *seen, int64_t deadline);

/**
 * mproc_value_ptr() - where the value is
 * @value:	value
 * @type:	what it holds
 *
 * In C, mproc_value_at(v, double) is the same as a double *. What is read and written through
 * a pointer is nobody's business but the caller's: lock, or use the atomic operations.
 *
 * Return: a pointer that is valid as long as the handle, or NULL with a text if it holds
 * another type.
 */
MPROC_API void *mproc_value_ptr(mproc_value *value, const struct mproc_type *type);

/**
 * mproc_value_notify() - wake those who wait for a change
 * @value:	value
 *
 * After a change through a pointer, by an atomic instruction or followed by a barrier. All
 * functions here do so themselves.
 */
MPROC_API void mproc_value_notify(mproc_value *value);

#ifndef __cplusplus
/* Not for programs: the macros below, which call the function where it takes more. */
static inline __attribute__((__always_inline__)) int mproc__value_do(mproc_value *value,
								     enum mproc__items_op op,
								     const struct mproc_type *type,
								     const void *arg, void *ret)
{
	const struct mproc__items *items = (const struct mproc__items *)(const void *)value;

	if (__builtin_expect(mproc__items_do(items, op, type, 0, arg, ret), 1)) {
		if (op != MPROC__ITEMS_LOAD && mproc__items_waited(items))
			mproc_value_notify(value);
		return 0;
	}
	switch (op) {
	case MPROC__ITEMS_LOAD:
		return (mproc_value_load)(value, type, ret);
	case MPROC__ITEMS_STORE:
		return (mproc_value_store)(value, type, arg);
	case MPROC__ITEMS_XCHG:
		return (mproc_value_xchg)(value, type, arg, ret);
	default:
		return (mproc_value_add)(value, type, arg, ret);
	}
}

static inline __attribute__((__always_inline__)) void *
mproc__value_at(mproc_value *value, const struct mproc_type *type)
{
	void *at = mproc__items_at((const struct mproc__items *)(const void *)value, type, 0);

	return __builtin_expect(!!at, 1) ? at : mproc_value_ptr(value, type);
}

#define mproc_value_at(v, T) ((T *)mproc__value_at((v), MPROC_TYPE(T)))
#define mproc_value_load(v, T, ret) \
	mproc__value_do((v), MPROC__ITEMS_LOAD, MPROC_TYPE(T), NULL, MPROC__PTR(T, ret))
#define mproc_value_store(v, T, x) \
	mproc__value_do((v), MPROC__ITEMS_STORE, MPROC_TYPE(T), &(const T){ (x) }, NULL)
#define mproc_value_xchg(v, T, x, ret) \
	mproc__value_do((v), MPROC__ITEMS_XCHG, MPROC_TYPE(T), &(const T){ (x) }, \
			MPROC__PTR(T, ret))
#define mproc_value_add(v, T, x, ret) \
	mproc__value_do((v), MPROC__ITEMS_ADD, MPROC_TYPE(T), &(const T){ (x) }, MPROC__PTR(T, ret))
#define mproc_value_wait(v, T, seen, deadline) \
	(mproc_value_wait)((v), MPROC_TYPE(T), MPROC__PTR(T, seen), (deadline))
#define mproc_value_get(v, T, ret, deadline) \
	(mproc_value_get)((v), MPROC_TYPE(T), MPROC__PTR(T, ret), (deadline))
#define mproc_value_set(v, T, from, deadline) \
	(mproc_value_set)((v), MPROC_TYPE(T), MPROC__CONST_PTR(T, from), (deadline))
#define mproc_value_cas(v, T, expected, x) \
	(mproc_value_cas)((v), MPROC_TYPE(T), MPROC__PTR(T, expected), &(const T){ (x) })
#define mproc_value_and(v, T, x, ret) \
	(mproc_value_and)((v), MPROC_TYPE(T), &(const T){ (x) }, MPROC__PTR(T, ret))
#define mproc_value_or(v, T, x, ret) \
	(mproc_value_or)((v), MPROC_TYPE(T), &(const T){ (x) }, MPROC__PTR(T, ret))
#define mproc_value_min(v, T, x, ret) \
	(mproc_value_min)((v), MPROC_TYPE(T), &(const T){ (x) }, MPROC__PTR(T, ret))
#define mproc_value_max(v, T, x, ret) \
	(mproc_value_max)((v), MPROC_TYPE(T), &(const T){ (x) }, MPROC__PTR(T, ret))
#endif

MPROC_END_DECLS

#endif /* MPROC_VALUE_H */
