/* SPDX-License-Identifier: MIT */
#ifndef MPROC_GUARD_H
#define MPROC_GUARD_H

/*
 * A guard against those who cut the files of segments
 *
 * Whoever may write to a segment's file can truncate it. Memory behind the new end
 * then is gone in every process, and who touches it gets a SIGBUS, which ends him.
 * Nothing in the library truncates; a program that has to live through what others
 * do installs the guard. Segments without a name are sealed and need none.
 *
 * The guard is a handler of SIGBUS for the whole process. For an address in an
 * attached segment it puts a page of zeroes there, this process's own, so that the
 * access that failed completes, and the segment counts as corrupt in this process
 * from then on: calls on it fail with -EBADMSG, "the segment was truncated by another
 * process". The process can close it and go on. What it had read since the cut may
 * have been zeroes.
 *
 *	Threads		guards all of them; a thread that blocks SIGBUS is ended by it
 *	Fork		the guard and what it has found out are inherited
 *	Signals		mproc_guard_is_corrupt() is safe in a signal handler, install is not
 *	Killed		nothing is shared: the others have guards of their own, or none
 *	Errors		a negative errno
 */

#include <stdbool.h>

#include <mproc/common.h>
#include <mproc/segment.h>

MPROC_BEGIN_DECLS

/**
 * mproc_guard_install() - guard this process from now on
 * @flags:	0; other bits are for versions to come
 *
 * A SIGBUS that is not about a segment, or that is about addresses which a segment has
 * for growing and nobody has made memory of, goes to the handler that was there before, or
 * does what it would have done. The guard stays; further calls change nothing. A
 * handler that is installed over it has to pass on what is not its own.
 *
 * A call that is in the middle of something when the segment is cut comes to its end;
 * it may succeed. After that a thread that holds locks of the segment is let in until
 * it has released them; others fail, also those who are waiting. What needs to know
 * nothing of the caller does not fail, and sees zeroes: accessors and predicates of
 * handles, atomic operations on values and arrays, event set and is_set. While a segment
 * is being opened, for some microseconds, it is not guarded yet.
 *
 * Return: 0, -EINVAL if @flags is not 0, or what sigaction(2) says.
 */
MPROC_API MPROC_MUST int mproc_guard_install(uint32_t flags);

/**
 * mproc_guard_is_corrupt() - has the guard found a segment truncated?
 * @segment:	handle
 */
MPROC_API bool mproc_guard_is_corrupt(const mproc_segment *segment);

MPROC_END_DECLS

#endif /* MPROC_GUARD_H */
