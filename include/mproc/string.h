/* SPDX-License-Identifier: MIT */
#ifndef MPROC_STRING_H
#define MPROC_STRING_H

/*
 * A string of bytes that processes share and change
 *
 * A string lives in a segment, where it is found by name or by reference. It has a length
 * of its own and holds any bytes, NULs as well, as many as the segment has room for. Every
 * call is one step to all others: they see what was there before it, or what is there
 * after it. Calls wait for each other; lock and unlock make one step of several.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one handle at the same time
 *	Fork		inherited handles work in the child: its first call attaches it
 *	Signals		not safe in a signal handler
 *	Killed		a process killed inside a call leaves the old content or the new
 *			one, and no memory is lost; killed between lock and unlock, the
 *			next one to lock is told
 *	Errors		a negative errno; the call then has had no effect and has not
 *			touched its return parameters, but for the length on -ENOBUFS
 *
 * A string takes 256 bytes and its room, which is 256 bytes unless a capacity is asked
 * for, rounded up to a power of two (beyond 2 KiB: to pages of 4 KiB). Content that does
 * not fit into the room goes into a block of its own, up to twice as long as it is, so
 * that it can be changed without another one.
 *
 * In a segment that was attached to for reading only, what reads works all the same: get,
 * get_range, compare, len, version. Such a reader waits as long as somebody alive is between
 * lock and unlock, and where others change the string without a pause; he has no place in
 * the queue. All else gives -EROFS.
 */

#include <stddef.h>

#include <mproc/common.h>
#include <mproc/mutex.h>
#include <mproc/ref.h>
#include <mproc/segment.h>

MPROC_BEGIN_DECLS

typedef struct mproc_string mproc_string;

struct mproc_string_opts {
	size_t size;       /* of this struct, set by MPROC_STRING_OPTS() */
	const void *init;  /* content at first; default none */
	size_t init_len;   /* bytes of it */
	uint64_t capacity; /* bytes that need no further block, up to 1 GiB; default 256 */
};

/* MPROC_STRING_OPTS(.init = "idle", .init_len = 4); C only, a pointer. */
#define MPROC_STRING_OPTS(...) \
	(&(const struct mproc_string_opts){ .size = sizeof(struct mproc_string_opts), __VA_ARGS__ })

/**
 * mproc_string_create() - make a string
 * @ret:	the new handle
 * @segment:	where it shall live, or NULL for the default segment
 * @name:	1 to 63 bytes, or NULL for one that only forked children and who is given a
 *		reference share
 * @opts:	what it holds at first, or NULL for nothing
 *
 * Return: 0, or -EEXIST if @name is taken, -EINVAL if the name is none or the capacity too
 * large, -E2BIG if @opts uses a field this library does not know, -ENOSPC if the segment is
 * full, -ENOMEM, or as mproc_segment_default().
 */
MPROC_API MPROC_MUST int mproc_string_create(mproc_string **ret, mproc_segment *segment,
					     const char *name,
					     const struct mproc_string_opts *opts);

/**
 * mproc_string_open() - find a string
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @name:	its name
 *
 * Return: 0, or -ENOENT if nothing has that name, -EEXIST if something else than a string
 * has it, -EPROTO or -EBADMSG if it is impossible, -EINVAL, -ENOMEM.
 */
MPROC_API MPROC_MUST int mproc_string_open(mproc_string **ret, mproc_segment *segment,
					   const char *name);

/**
 * mproc_string_open_or_create() - find a string, or make it
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @name:	its name
 * @opts:	what it holds at first if it is made, or NULL
 *
 * Return: 1 if it was made, 0 if it was there, or as the two calls above.
 */
MPROC_API MPROC_MUST int mproc_string_open_or_create(mproc_string **ret, mproc_segment *segment,
						     const char *name,
						     const struct mproc_string_opts *opts);

/**
 * mproc_string_open_ref() - find a string by reference
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @ref:	what mproc_string_ref() gave, in this process or another
 *
 * Return: 0, or -EINVAL if @ref is another segment's or no object's, -ESTALE if the string
 * is gone, -EEXIST if it is something else, -EPROTO, -EBADMSG, -ENOMEM.
 */
MPROC_API MPROC_MUST int mproc_string_open_ref(mproc_string **ret, mproc_segment *segment,
					       const struct mproc_ref *ref);

/**
 * mproc_string_ref() - what names the string in every process, with a name or without one
 * @string:	string
 * @ret:	a reference, which may be stored in shared memory and sent
 *
 * Return: 0, or -ESTALE if the string was removed.
 */
MPROC_API MPROC_MUST int mproc_string_ref(const mproc_string *string, struct mproc_ref *ret);

/**
 * mproc_string_close() - give up this process's handle
 * @string:	handle, or NULL
 *
 * The string stays in the segment. No other thread may be inside a call on @string.
 *
 * Return: NULL.
 */
MPROC_API mproc_string *mproc_string_close(mproc_string *string);

/**
 * mproc_string_lock() - make one step of several calls
 * @string:	string
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * Not recursive: who has the lock and locks again gets -EDEADLK.
 *
 * Return: 0, or MPROC_MUTEX_INHERITED: you have the lock, and somebody died between lock
 * and unlock; everybody who locks is told so until mproc_string_consistent(); or as
 * mproc_mutex_lock(), or -ESTALE if the string was removed.
 */
MPROC_API MPROC_MUST int mproc_string_lock(mproc_string *string, int64_t deadline);

/*
 * mproc_string_unlock() - let others in again. Return: 0, -EPERM if the calling thread does
 * not have the lock, -ESTALE (it has no lock either) if the string was removed, -ENOTCONN,
 * -EUSERS. Removed by another while we have the lock it still is to be unlocked: 0.
 */
MPROC_API int mproc_string_unlock(mproc_string *string);

/**
 * mproc_string_consistent() - say that what was left half done is in order again
 * @string:	string whose lock the calling thread has, inherited
 *
 * Return: 0, -EPERM if the calling thread does not have the lock, -EINVAL if nobody died,
 * -ENOTCONN, -EUSERS.
 */
MPROC_API MPROC_MUST int mproc_string_consistent(mproc_string *string);

/* mproc_string_len() - bytes it has at this moment, 0 once removed; no lock is looked at */
MPROC_API uint64_t mproc_string_len(const mproc_string *string);

/**
 * mproc_string_get() - copy the content out
 * @string:	string
 * @buf:	where to; may be NULL if @cap is 0
 * @cap:	bytes there
 * @ret_len:	bytes copied; on -ENOBUFS those there are; not NULL
 * @deadline:	how long to wait for who is changing it
 *
 * No NUL is added.
 *
 * Return: 0, or -ENOBUFS if @cap is too small, -ESTALE if the string was removed, -EBADMSG if
 * it is impossible, -ELOOP if the thread is inside three other calls already, or as
 * mproc_mutex_lock(). These errors all calls have in common.
 */
MPROC_API MPROC_MUST int mproc_string_get(mproc_string *string, void *buf, size_t cap,
					  size_t *ret_len, int64_t deadline);

/**
 * mproc_string_get_range() - copy a part of the content out
 * @string:	string
 * @at:		first byte
 * @buf:	where to
 * @n:		bytes wanted
 * @ret_len:	bytes copied: fewer than @n where the string ends
 * @deadline:	how long to wait
 *
 * Return: 0, or -EINVAL if @at is behind the end, or as mproc_string_get().
 */
MPROC_API MPROC_MUST int mproc_string_get_range(mproc_string *string, uint64_t at, void *buf,
						size_t n, size_t *ret_len, int64_t deadline);

/**
 * mproc_string_set() - new content
 * @string:	string
 * @bytes:	content; may be NULL if @len is 0
 * @len:	bytes of it
 * @deadline:	how long to wait
 *
 * Return: 0, or -ENOSPC if the segment has no room, or as mproc_string_get().
 */
MPROC_API MPROC_MUST int mproc_string_set(mproc_string *string, const void *bytes, size_t len,
					  int64_t deadline);

/* mproc_string_append() - more content behind the present one; see mproc_string_set() */
MPROC_API MPROC_MUST int mproc_string_append(mproc_string *string, const void *bytes, size_t len,
					     int64_t deadline);

/**
 * mproc_string_replace() - other bytes for some
 * @string:	string
 * @at:		first byte that goes
 * @n:		bytes that go; UINT64_MAX, or more than there are: to the end
 * @bytes:	what comes instead
 * @len:	bytes of that
 * @deadline:	how long to wait
 *
 * With @n 0 it inserts before @at, with @len 0 it removes.
 *
 * Return: 0, or -EINVAL if @at is behind the end, or as mproc_string_set().
 */
MPROC_API MPROC_MUST int mproc_string_replace(mproc_string *string, uint64_t at, uint64_t n,
					      const void *bytes, size_t len, int64_t deadline);

/**
 * mproc_string_truncate() - keep the first bytes only
 * @string:	string
 * @len:	how many
 * @deadline:	how long to wait
 *
 * Return: 0, or -EINVAL if it has fewer, or as mproc_string_get().
 */
MPROC_API MPROC_MUST int mproc_string_truncate(mproc_string *string, uint64_t len,
					       int64_t deadline);

/**
 * mproc_string_compare() - compare with bytes
 * @string:	string
 * @bytes:	others
 * @len:	how many
 * @ret:	negative, 0 or positive: it comes before them, is equal, or comes after
 * @deadline:	how long to wait
 *
 * Byte by byte, as memcmp(3); a beginning comes before what it begins.
 *
 * Return: 0, or as mproc_string_get().
 */
MPROC_API MPROC_MUST int mproc_string_compare(mproc_string *string, const void *bytes, size_t len,
					      int *ret, int64_t deadline);

/**
 * mproc_string_cas() - new content if the present one is what is expected
 * @string:	string
 * @expected:	bytes
 * @n_expected:	how many
 * @bytes:	new content
 * @len:	bytes of it
 * @deadline:	how long to wait
 *
 * Return: 1 if it was exchanged, 0 if it held something else, or as mproc_string_set().
 */
MPROC_API MPROC_MUST int mproc_string_cas(mproc_string *string, const void *expected,
					  size_t n_expected, const void *bytes, size_t len,
					  int64_t deadline);

/*
 * mproc_string_version() - how often it has been changed: what mproc_string_wait() takes; 0
 * once it was removed
 */
MPROC_API uint64_t mproc_string_version(const mproc_string *string);

/**
 * mproc_string_wait() - wait until it has been changed since
 * @string:	string
 * @version:	of mproc_string_version() before one has looked; what it is then
 * @deadline:	how long to wait
 *
 * The lock is not looked at: a change between lock and unlock is seen before the unlock.
 * Setting the same content again is a change.
 *
 * Return: 0, -EAGAIN or -ETIMEDOUT if it was not changed in time, -ESTALE if the string was
 * removed, -EINVAL if the deadline is negative, -ENOTCONN, -EUSERS.
 */
MPROC_API MPROC_MUST int mproc_string_wait(mproc_string *string, uint64_t *version,
					   int64_t deadline);

MPROC_END_DECLS

#endif /* MPROC_STRING_H */
