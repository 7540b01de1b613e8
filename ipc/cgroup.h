/* SPDX-License-Identifier: MIT */
#ifndef MPROC__CGROUP_H
#define MPROC__CGROUP_H

/*
 * The control groups that bind this process
 */

#include <stdbool.h>
#include <stddef.h>

/*
 * Call @fn for our own group and for every ancestor that can be seen, in all
 * hierarchies, v1 and v2, that could have @controller.
 * @root:	put before /proc/self/... and before every mount point; "" for the
 *		system's own files
 */
void mproc__cgroup_each(const char *root, const char *controller,
			void (*fn)(const char *dir, bool v2, void *arg), void *arg);

/* The first line of file @name of @dir. Return: is there one? */
bool mproc__cgroup_line(const char *dir, const char *name, char *buf, size_t cap);

#endif /* MPROC__CGROUP_H */
