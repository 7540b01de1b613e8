/* SPDX-License-Identifier: MIT */
#ifndef MPROC__MUTEX_LAYOUT_H
#define MPROC__MUTEX_LAYOUT_H

/*
 * Mutexes as they lie in segments: an mproc__lock, and what its tag says
 *
 *	tag	0x7874757 | options 4		a mutex
 *		0x7874756d			a recursive mutex
 */

#include <stdbool.h>
#include <stdint.h>

#define MPROC__MUTEX_TAG  0x78747570u /* "putx": memory that holds something else is refused */
#define MPROC__RMUTEX_TAG 0x7874756du /* "mutx" */

/* The same as in <mproc/mutex.h>. */
enum mproc__mutex_options {
	MPROC__MUTEX_ANY_UNLOCK = 1, /* who waits for it need not wait for its owner */
	MPROC__MUTEX_FAIR = 2,
	MPROC__MUTEX_STRICT = 4,
};

#define MPROC__MUTEX_OPTIONS 7u

static inline bool mproc__mutex_is(uint32_t tag)
{
	return (tag & ~MPROC__MUTEX_OPTIONS) == MPROC__MUTEX_TAG;
}

#endif /* MPROC__MUTEX_LAYOUT_H */
