/* SPDX-License-Identifier: MIT */
#ifndef SHMTOOL_SOURCE_H
#define SHMTOOL_SOURCE_H

/*
 * Where the bytes of a segment come from: a file that is read by copying
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct source {
	/*
	 * Copy [off, off + len) as it is now. Return: how many bytes of it there are,
	 * fewer at the end, or a negative errno.
	 */
	ssize_t (*read)(struct source *source, void *buf, size_t len, uint64_t off);
	/*
	 * Does somebody hold one of the @n lock bytes from @byte on? Return: 1, 0, or a
	 * negative errno if that cannot be known.
	 */
	int (*held)(struct source *source, int64_t byte, int64_t n);
	uint64_t size; /* of the file when it was opened; it may shrink and grow */
	int fd;
	const void *bytes; /* of a source in memory */
	struct stat st;    /* of the file */
};

/*
 * Open a regular file for reading: never a device, never a fifo, and through a last
 * symbolic link only if @follow.
 *
 * Return: 0, or -EINVAL if it is no regular file, -ELOOP, or what open(2) reports.
 */
int source_open(struct source *ret, const char *path, bool follow);

/* @size bytes of memory, of which nobody holds a lock. */
void source_memory(struct source *ret, const void *bytes, uint64_t size);

void source_close(struct source *source);

#endif /* SHMTOOL_SOURCE_H */
