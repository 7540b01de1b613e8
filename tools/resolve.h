/* SPDX-License-Identifier: MIT */
#ifndef SHMTOOL_RESOLVE_H
#define SHMTOOL_RESOLVE_H

/*
 * Which segment somebody means
 */

#include "tools/describe.h"

/* A segment that was asked for; find owns what segment.found points to. */
struct resolved {
	struct find find;
	struct segment segment;
};

/*
 * Find and read the segment that @what means: a path, a name, PID, PID:FD, the first
 * digits of an id, or a file.
 *
 * Return: false after saying on standard error why there is none, or not one.
 */
bool resolve(struct resolved *ret, const char *what);

void resolved_free(struct resolved *resolved);

#endif /* SHMTOOL_RESOLVE_H */
