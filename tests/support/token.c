/* SPDX-License-Identifier: MIT */

/*
 * A proof of life of the tests' own
 *
 * A shared counter gives every holder a byte that nobody had before, so a token
 * whose byte is free names a dead process for ever.
 */

#include "tests/support/token.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define TOKEN_BASE (INT64_C(1) << 40) /* beyond any data */

int t_token_fd = -1;

static _Atomic(uint32_t) *taken;

static struct flock byte_of(uint32_t token, short type)
{
	return (struct flock){
		.l_type = type, .l_whence = SEEK_SET, .l_start = TOKEN_BASE + token, .l_len = 1
	};
}

int t_token_init(void)
{
	t_token_fd = memfd_create("tokens", MFD_CLOEXEC);
	if (t_token_fd < 0 || ftruncate(t_token_fd, 4096) < 0)
		return -errno;
	taken = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, t_token_fd, 0);
	return taken == MAP_FAILED ? -errno : 0;
}

int t_token_take(void)
{
	uint32_t token = atomic_fetch_add(taken, 1) + 1;
	struct flock lock = byte_of(token, F_WRLCK);
	char path[32];
	void *pin;
	int fd, r = (int)token;

	/* A description of our own: the inherited one would keep the lock for our children. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", t_token_fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		r = -errno;
	} else {
		pin = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		if (pin == MAP_FAILED || madvise(pin, 4096, MADV_DONTFORK) < 0)
			r = -errno;
	}
	close(fd);
	return r;
}

bool t_token_dead(uint32_t token)
{
	struct flock lock = byte_of(token, F_RDLCK);

	return fcntl(t_token_fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
}
