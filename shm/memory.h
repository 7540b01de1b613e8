/* SPDX-License-Identifier: MIT */
#ifndef MPROC__MEMORY_H
#define MPROC__MEMORY_H

/*
 * How much memory the control groups leave us
 */

#include <stdint.h>

/*
 * Bytes that our memory cgroup and all its visible ancestors still have, page cache
 * that can be dropped and free swap included. It is a look, not a reservation.
 * @root:	put before /proc/... and before every mount point; "" for the system's
 *		own files
 *
 * Return: bytes, UINT64_MAX if nothing limits us.
 */
uint64_t mproc__memory_left(const char *root);

/*
 * Bytes that the machine still has for memory that is no file's on a filesystem of limited
 * size: what it says is available, and free swap. A look as well; UINT64_MAX if unknown.
 */
uint64_t mproc__memory_available(const char *root);

#endif /* MPROC__MEMORY_H */
