/* SPDX-License-Identifier: MIT */
#ifndef MPROC_LIST_H
#define MPROC_LIST_H

/*
 * A list that processes share and change
 *
 * A list lives in a segment, where it is found by name or by reference. Its items are
 * values that say what they are (see <mproc/any.h>): None, bools, integers, floats,
 * strings and bytes of any length, structs that mproc_pack_encode() has written, and
 * references to other objects; an item may be replaced by one of another kind and length.
 * Every call is one step to all others, those that take many items as well: they see the
 * list as it was before, or as it is after. Calls that change it wait for each other; lock
 * and unlock make one step of several.
 *
 * Items are counted from 0; from the end as in Python: -1 is the last one.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one handle at the same time
 *	Fork		inherited handles work in the child: its first call attaches it
 *	Signals		not safe in a signal handler
 *	Killed		a process killed inside a call leaves the old list or the new one,
 *			and no memory is lost; killed between lock and unlock, the next one
 *			to lock is told
 *	Errors		a negative errno; the call then has had no effect and has not
 *			touched its return parameters, but for the length on -ENOBUFS
 *
 * Errors that all calls have in common: -ESTALE if the list was removed, -EBADMSG if it is
 * impossible, -ELOOP if the thread is inside three other calls already, and those of
 * mproc_mutex_lock(). Calls that store items: -EINVAL if one is impossible (no such kind, a
 * length without bytes), -ENOSPC if the segment has no room.
 *
 * A list takes 256 bytes and 16 for each item that there is room for; at first there is
 * room for 16 of them, or as many as were asked for. When that is full it moves to a block
 * of its own with room for twice as many. An item of up to 14 bytes (numbers, bools, None,
 * short strings) takes no more; a longer one takes a block of its length and 8 bytes,
 * rounded up to a power of two (64 at least; beyond 2 KiB: to pages of 4 KiB).
 *
 * Time. get, set, append, and pop at both ends take the same time whatever the length;
 * everything else that changes a list of n items copies 16 n bytes, and takes a block for
 * them if the present one has no room: -ENOSPC, also where items are only removed.
 *
 * In a segment that was attached to for reading only, what reads works all the same: get,
 * kind, len, next, index, count, copy_out. Such a reader waits as long as somebody alive is
 * between lock and unlock, and where others change the list without a pause; he has no place
 * in the queue. All else gives -EROFS.
 */

#include <stddef.h>

#include <mproc/any.h>
#include <mproc/common.h>
#include <mproc/mutex.h>
#include <mproc/ref.h>
#include <mproc/segment.h>

MPROC_BEGIN_DECLS

typedef struct mproc_list mproc_list;

struct mproc_list_opts {
	size_t size;                  /* of this struct, set by MPROC_LIST_OPTS() */
	const struct mproc_any *init; /* items at first; default none */
	uint64_t n_init;
	uint64_t capacity; /* items that there is room for at first, up to 2^24; default 16 */
};

/* MPROC_LIST_OPTS(.capacity = 1000); C only, a pointer. */
#define MPROC_LIST_OPTS(...) \
	(&(const struct mproc_list_opts){ .size = sizeof(struct mproc_list_opts), __VA_ARGS__ })

/**
 * mproc_list_create() - make a list
 * @ret:	the new handle
 * @segment:	where it shall live, or NULL for the default segment
 * @name:	1 to 63 bytes, or NULL for one that only forked children and who is given a
 *		reference share
 * @opts:	what it holds at first, or NULL for nothing
 *
 * Nobody sees it before it holds that.
 *
 * Return: 0, or -EEXIST if @name is taken, -EINVAL if the name is none, an item is
 * impossible or the capacity too large, -E2BIG if @opts uses a field this library does not
 * know, -ENOSPC if the segment is full, -ENOMEM, or as mproc_segment_default().
 */
MPROC_API MPROC_MUST int mproc_list_create(mproc_list **ret, mproc_segment *segment,
					   const char *name, const struct mproc_list_opts *opts);

/**
 * mproc_list_open() - find a list
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @name:	its name
 *
 * Return: 0, or -ENOENT if nothing has that name, -EEXIST if something else than a list has
 * it, -EPROTO or -EBADMSG if it is impossible, -EINVAL, -ENOMEM.
 */
MPROC_API MPROC_MUST int mproc_list_open(mproc_list **ret, mproc_segment *segment,
					 const char *name);

/**
 * mproc_list_open_or_create() - find a list, or make it
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @name:	its name
 * @opts:	what it holds at first if it is made, or NULL
 *
 * Return: 1 if it was made, 0 if it was there, or as the two calls above.
 */
MPROC_API MPROC_MUST int mproc_list_open_or_create(mproc_list **ret, mproc_segment *segment,
						   const char *name,
						   const struct mproc_list_opts *opts);

/**
 * mproc_list_open_ref() - find a list by reference
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @ref:	what mproc_list_ref() gave, in this process or another
 *
 * Return: 0, or -EINVAL if @ref is another segment's or no object's, -ESTALE if the list is
 * gone, -EEXIST if it is something else, -EPROTO, -EBADMSG, -ENOMEM.
 */
MPROC_API MPROC_MUST int mproc_list_open_ref(mproc_list **ret, mproc_segment *segment,
					     const struct mproc_ref *ref);

/**
 * mproc_list_ref() - what names the list in every process, with a name or without one
 * @list:	list
 * @ret:	a reference, which may be stored in shared memory and sent: an item of another list
 *
 * Return: 0, or -ESTALE if the list was removed.
 */
MPROC_API MPROC_MUST int mproc_list_ref(const mproc_list *list, struct mproc_ref *ret);

/**
 * mproc_list_close() - give up this process's handle
 * @list:	handle, or NULL
 *
 * The list stays in the segment. No other thread may be inside a call on @list.
 *
 * Return: NULL.
 */
MPROC_API mproc_list *mproc_list_close(mproc_list *list);

/**
 * mproc_list_lock() - make one step of several calls
 * @list:	list
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * Not recursive: who has the lock and locks again gets -EDEADLK.
 *
 * Return: 0, or MPROC_MUTEX_INHERITED: you have the lock, and somebody died between lock
 * and unlock; everybody who locks is told so until mproc_list_consistent(); or as
 * mproc_mutex_lock().
 */
MPROC_API MPROC_MUST int mproc_list_lock(mproc_list *list, int64_t deadline);

/*
 * mproc_list_unlock() - let others in again. Return: 0, -EPERM if the calling thread does not
 * have the lock, -ESTALE (it has no lock either) if the list was removed, -ENOTCONN, -EUSERS.
 * Removed by another while we have the lock it still is to be unlocked: 0.
 */
MPROC_API int mproc_list_unlock(mproc_list *list);

/**
 * mproc_list_consistent() - say that what was left half done is in order again
 * @list:	list whose lock the calling thread has, inherited
 *
 * Return: 0, -EPERM if the calling thread does not have the lock, -EINVAL if nobody died,
 * -ENOTCONN, -EUSERS.
 */
MPROC_API MPROC_MUST int mproc_list_consistent(mproc_list *list);

/* mproc_list_len() - items it has at this moment, 0 once removed; no lock is looked at */
MPROC_API uint64_t mproc_list_len(const mproc_list *list);

/**
 * mproc_list_get() - look at an item
 * @list:	list
 * @i:		which
 * @ret:	the item; where its kind has bytes they are in @buf
 * @buf:	where to; may be NULL if @cap is 0: numbers, bools, None and references need none
 * @cap:	bytes there
 * @ret_len:	bytes of the item, also on -ENOBUFS; or NULL
 * @deadline:	how long to wait for who is changing the list
 *
 * Items of up to 14 bytes are read without the lock where nobody is between lock and
 * unlock.
 *
 * Return: 0, or -EINVAL if there is no item @i, -ENOBUFS if @cap is too small.
 */
MPROC_API MPROC_MUST int mproc_list_get(mproc_list *list, int64_t i, struct mproc_any *ret,
					void *buf, size_t cap, size_t *ret_len, int64_t deadline);

/* mproc_list_kind() - of enum mproc_any_kind, and bytes of item @i; both pointers are needed; see
 * mproc_list_get() */
MPROC_API MPROC_MUST int mproc_list_kind(mproc_list *list, int64_t i, uint32_t *ret_kind,
					 size_t *ret_len, int64_t deadline);

/**
 * mproc_list_set() - another item for one
 * @list:	list
 * @i:		which
 * @item:	what it shall be
 * @deadline:	how long to wait
 *
 * Return: 0, or -EINVAL if there is no item @i.
 */
MPROC_API MPROC_MUST int mproc_list_set(mproc_list *list, int64_t i, const struct mproc_any *item,
					int64_t deadline);

/* mproc_list_append() - one more item at the end. Return: 0. */
MPROC_API MPROC_MUST int mproc_list_append(mproc_list *list, const struct mproc_any *item,
					   int64_t deadline);

/* mproc_list_extend() - @n more items at the end, all at once. Return: 0. */
MPROC_API MPROC_MUST int mproc_list_extend(mproc_list *list, const struct mproc_any *items,
					   uint64_t n, int64_t deadline);

/**
 * mproc_list_insert() - one more item before item @i
 * @list:	list
 * @i:		which; the length of the list: at the end
 * @item:	what
 * @deadline:	how long to wait
 *
 * Return: 0, or -EINVAL if there is no item @i (Python takes the end then).
 */
MPROC_API MPROC_MUST int mproc_list_insert(mproc_list *list, int64_t i,
					   const struct mproc_any *item, int64_t deadline);

/**
 * mproc_list_replace() - other items for some: what slices are in Python
 * @list:	list
 * @i:		first item that goes, or the length of the list
 * @n:		items that go; UINT64_MAX, or more than there are: to the end
 * @items:	what comes instead; may be NULL if @n_items is 0
 * @n_items:	how many, any number
 * @deadline:	how long to wait
 *
 * Return: 0, or -EINVAL if there is no place @i.
 */
MPROC_API MPROC_MUST int mproc_list_replace(mproc_list *list, int64_t i, uint64_t n,
					    const struct mproc_any *items, uint64_t n_items,
					    int64_t deadline);

/* mproc_list_delete() - remove @n items from @i on; mproc_list_replace() by none */
MPROC_API MPROC_MUST int mproc_list_delete(mproc_list *list, int64_t i, uint64_t n,
					   int64_t deadline);

/* mproc_list_clear() - remove all items. Return: 0. */
MPROC_API MPROC_MUST int mproc_list_clear(mproc_list *list, int64_t deadline);

/**
 * mproc_list_pop() - remove an item and return it
 * @list:	list
 * @i:		which: -1 the last, 0 the first, these two quickly
 * @ret:	the item
 * @buf:	see mproc_list_get()
 * @cap:	bytes there
 * @ret_len:	bytes of the item, also on -ENOBUFS; or NULL
 * @deadline:	how long to wait
 *
 * Each item is popped by one process. One that is killed inside the call has either left
 * it in the list or taken it along.
 *
 * Return: 0, -ENOENT if the list is empty, -EINVAL if there is no item @i, -ENOBUFS, or
 * -ENOSPC if it is neither the first nor the last and the segment has no room for the other
 * slots; the item stays then, and its bytes may be in @buf.
 */
MPROC_API MPROC_MUST int mproc_list_pop(mproc_list *list, int64_t i, struct mproc_any *ret,
					void *buf, size_t cap, size_t *ret_len, int64_t deadline);

/**
 * mproc_list_index() - where a value is
 * @list:	list
 * @item:	value, see mproc_any_equal()
 * @i:		first item to look at
 * @ret:	the first one that is equal, counted from 0
 * @deadline:	how long to wait
 *
 * Return: 0, or -ENOENT if there is none, -EINVAL if there is no place @i.
 */
MPROC_API MPROC_MUST int mproc_list_index(mproc_list *list, const struct mproc_any *item, int64_t i,
					  uint64_t *ret, int64_t deadline);

/* mproc_list_count() - how many items are equal to @item. Return: 0. */
MPROC_API MPROC_MUST int mproc_list_count(mproc_list *list, const struct mproc_any *item,
					  uint64_t *ret, int64_t deadline);

/* mproc_list_remove() - remove the first item that is equal to @item. Return: 0, -ENOENT. */
MPROC_API MPROC_MUST int mproc_list_remove(mproc_list *list, const struct mproc_any *item,
					   int64_t deadline);

/**
 * mproc_list_copy_out() - copies of several items, all of one moment
 * @list:	list
 * @i:		first, or the length of the list
 * @n:		how many; fewer where the list ends
 * @ret:	@n items; those whose kind has bytes point into @buf
 * @ret_n:	how many
 * @buf:	where to
 * @cap:	bytes there
 * @ret_len:	bytes in @buf; on -ENOBUFS those that are needed
 * @deadline:	how long to wait
 *
 * Return: 0, -EINVAL if there is no place @i, -ENOBUFS if @cap is too small.
 */
MPROC_API MPROC_MUST int mproc_list_copy_out(mproc_list *list, int64_t i, uint64_t n,
					     struct mproc_any *ret, uint64_t *ret_n, void *buf,
					     size_t cap, size_t *ret_len, int64_t deadline);

/* mproc_list_reverse() - the last first. Return: 0, -ENOSPC, -ENOMEM. */
MPROC_API MPROC_MUST int mproc_list_reverse(mproc_list *list, int64_t deadline);

/**
 * mproc_list_sort() - sort the items
 * @list:	list
 * @compare:	returns less than, equal to or greater than 0 as @a comes before @b, is as
 *		good, or comes after; NULL: mproc_any_compare()
 * @arg:	for @compare
 * @deadline:	how long to wait
 *
 * Stable: items that are as good stay in their order. @compare sees private copies; the
 * lock is held meanwhile, so it must end, and must not change this list.
 *
 * Return: 0, -ENOSPC, -ENOMEM, -EBUSY if @compare has changed the list.
 */
MPROC_API MPROC_MUST int mproc_list_sort(mproc_list *list,
					 int (*compare)(const struct mproc_any *a,
							const struct mproc_any *b, void *arg),
					 void *arg, int64_t deadline);

/* struct mproc_list_iter it = MPROC_LIST_ITER; private to a thread. */
struct mproc_list_iter {
	uint64_t next;    /* number of the item that comes next */
	uint64_t version; /* of the list at the first step */
	uint64_t begun;
};

#define MPROC_LIST_ITER \
	{ \
		0, 0, 0 \
	}

/**
 * mproc_list_next() - the next item
 * @list:	list
 * @it:		where one is
 * @ret:	the item
 * @buf:	see mproc_list_get()
 * @cap:	bytes there
 * @ret_len:	bytes of the item, also on -ENOBUFS; or NULL
 * @deadline:	how long to wait
 *
 * Goes by number, as Python does: what others append meanwhile comes as well, what they
 * replace comes as it is then; where they insert or remove before @it->next an item may
 * come twice or not at all. mproc_list_changed() tells whether they did anything. For one
 * moment of the whole list see mproc_list_copy_out() and mproc_list_lock().
 *
 * Return: 1, or 0 at the end, -ENOBUFS (the same item comes again).
 */
MPROC_API MPROC_MUST int mproc_list_next(mproc_list *list, struct mproc_list_iter *it,
					 struct mproc_any *ret, void *buf, size_t cap,
					 size_t *ret_len, int64_t deadline);

/*
 * mproc_list_changed() - 1 if the list was changed since the first step of @it, or was
 * removed, else 0
 */
MPROC_API int mproc_list_changed(const mproc_list *list, const struct mproc_list_iter *it);

/* mproc_list_version() - how often it has been changed, for mproc_list_wait(); 0 once removed */
MPROC_API uint64_t mproc_list_version(const mproc_list *list);

/**
 * mproc_list_wait() - wait until it has been changed since
 * @list:	list
 * @version:	of mproc_list_version() before one has looked; what it is then
 * @deadline:	how long to wait
 *
 * The lock is not looked at: a change between lock and unlock is seen before the unlock.
 * Setting an item to what it was is a change.
 *
 * Return: 0, -EAGAIN or -ETIMEDOUT if it was not changed in time, -ESTALE if the list was
 * removed, -EINVAL if the deadline is negative, -ELOOP, -ENOTCONN, -EUSERS.
 */
MPROC_API MPROC_MUST int mproc_list_wait(mproc_list *list, uint64_t *version, int64_t deadline);

/*
 * In C a value will do for an item: mproc_list_append(list, 7, MPROC_FOREVER), "text",
 * 0.5, or a struct mproc_any. A name in parentheses is the function that takes a pointer.
 */
#ifndef __cplusplus
#define mproc_list_append(list, x, deadline) \
	(mproc_list_append)((list), MPROC_ANY_PTR(x), (deadline))
#define mproc_list_set(list, i, x, deadline) \
	(mproc_list_set)((list), (i), MPROC_ANY_PTR(x), (deadline))
#define mproc_list_insert(list, i, x, deadline) \
	(mproc_list_insert)((list), (i), MPROC_ANY_PTR(x), (deadline))
#define mproc_list_index(list, x, i, ret, deadline) \
	(mproc_list_index)((list), MPROC_ANY_PTR(x), (i), (ret), (deadline))
#define mproc_list_count(list, x, ret, deadline) \
	(mproc_list_count)((list), MPROC_ANY_PTR(x), (ret), (deadline))
#define mproc_list_remove(list, x, deadline) \
	(mproc_list_remove)((list), MPROC_ANY_PTR(x), (deadline))
#endif

MPROC_END_DECLS

#endif /* MPROC_LIST_H */
