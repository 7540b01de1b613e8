/* SPDX-License-Identifier: MIT */
#ifndef MPROC__KIND_LAYOUT_H
#define MPROC__KIND_LAYOUT_H

/*
 * The numbers of the kinds of objects, as they stand in segments
 *
 * A number is never used again for something else.
 */

#include <stddef.h>
#include <stdint.h>

enum mproc__kind_id {
	MPROC__KIND_NONE = 0,
	MPROC__KIND_MUTEX = 1,
	MPROC__KIND_EVENT = 2,
	MPROC__KIND_CATALOGUE = 3,
	MPROC__KIND_ARENA = 4,
	MPROC__KIND_VALUE = 5,
	MPROC__KIND_ARRAY = 6,
	MPROC__KIND_QUEUE = 7,
	MPROC__KIND_POOL = 8,
	MPROC__KIND_BLOCK = 9, /* memory of the user's own */
	MPROC__KIND_RMUTEX = 10,
	MPROC__KIND_SEMAPHORE = 11,
	MPROC__KIND_CONDITION = 12,
	MPROC__KIND_BARRIER = 13,
	MPROC__KIND_RWLOCK = 14,
	MPROC__KIND_ONCE = 15,
	MPROC__KIND_LATCH = 16,
	MPROC__KIND_DICT = 17,
	MPROC__KIND_LIST = 18,
	MPROC__KIND_STRING = 19,
	MPROC__KIND_NAMESPACE = 20,
	MPROC__KIND_RINGLOG = 21,
};

static inline const char *mproc__kind_name(uint32_t id)
{
	static const char *const names[] = {
		"none",  "mutex", "event",  "catalogue", "arena",     "value",   "array",  "queue",
		"pool",  "block", "rmutex", "semaphore", "condition", "barrier", "rwlock", "once",
		"latch", "dict",  "list",   "string",    "namespace", "ringlog",
	};

	return id < sizeof(names) / sizeof(names[0]) ? names[id] : NULL;
}

#endif /* MPROC__KIND_LAYOUT_H */
