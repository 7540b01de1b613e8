/* SPDX-License-Identifier: MIT */

/*
 * Where the bytes of a segment come from: a file that is read by copying
 *
 * A mapping would die of SIGBUS when somebody truncates the file; pread(2) gives
 * fewer bytes. A file is looked at before it is opened, through O_PATH, so that
 * whatever a name or a link of /proc leads to, no device is opened and no fifo
 * waited for.
 *
 * Who lives is asked by F_OFD_GETLK as a reader would: it sees the lock that a
 * participant holds on its byte and takes none.
 */

#include "tools/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static ssize_t file_read(struct source *source, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;
	ssize_t r;

	while (done < len) {
		r = pread(source->fd, (char *)buf + done, len - done, (off_t)(off + done));
		if (r == 0)
			break;
		if (r > 0)
			done += (size_t)r;
		else if (errno != EINTR)
			return -errno;
	}
	return (ssize_t)done;
}

static int file_held(struct source *source, int64_t byte, int64_t n)
{
	struct flock lock = {
		.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = n
	};

	if (fcntl(source->fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type != F_UNLCK;
}

/* Open for reading what @look refers to; @path leads there too. Return: a descriptor or -1. */
static int open_seen(int look, const struct stat *seen, const char *path)
{
	const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	struct stat st;
	char self[32];
	int fd;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", look);
	fd = open(self, flags);
	if (fd >= 0 || errno != ENOENT)
		return fd;
	/* There is no /proc here. */
	fd = open(path, flags);
	if (fd >= 0 &&
	    (fstat(fd, &st) < 0 || st.st_dev != seen->st_dev || st.st_ino != seen->st_ino)) {
		close(fd);
		fd = -1;
		errno = ENOENT;
	}
	return fd;
}

int source_open(struct source *ret, const char *path, bool follow)
{
	int look = open(path, O_PATH | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW));
	int r;

	if (look < 0)
		return -errno;
	memset(ret, 0, sizeof(*ret));
	ret->read = file_read;
	ret->held = file_held;
	ret->fd = -1;
	if (fstat(look, &ret->st) < 0)
		r = -errno;
	else if (S_ISLNK(ret->st.st_mode))
		r = -ELOOP;
	else if (!S_ISREG(ret->st.st_mode))
		r = -EINVAL;
	else
		r = 0;
	if (!r) {
		ret->fd = open_seen(look, &ret->st, path);
		if (ret->fd < 0)
			r = -errno;
		ret->size = (uint64_t)ret->st.st_size;
	}
	close(look);
	return r;
}

static ssize_t memory_read(struct source *source, void *buf, size_t len, uint64_t off)
{
	if (off >= source->size)
		return 0;
	if (len > source->size - off)
		len = (size_t)(source->size - off);
	memcpy(buf, (const char *)source->bytes + off, len);
	return (ssize_t)len;
}

static int memory_held(struct source *source, int64_t byte, int64_t n)
{
	(void)source;
	(void)byte;
	(void)n;
	return 0;
}

void source_memory(struct source *ret, const void *bytes, uint64_t size)
{
	memset(ret, 0, sizeof(*ret));
	ret->read = memory_read;
	ret->held = memory_held;
	ret->size = size;
	ret->fd = -1;
	ret->bytes = bytes;
	ret->st.st_size = (off_t)size;
}

void source_close(struct source *source)
{
	if (source->fd >= 0)
		close(source->fd);
	source->fd = -1;
}
