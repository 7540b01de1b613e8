/* SPDX-License-Identifier: MIT */

/*
 * What a worker does with one file
 *
 * The file was regular when the walk saw it. It may be anything by now: it is
 * opened so that nothing can block or be followed, and looked at again. Whatever
 * goes wrong with a file is a value of the result and no failure of the task.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "examples/hashtree.h"

static EVP_MD *sha256;
static EVP_MD_CTX *context;

bool hash_prepare(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	context = EVP_MD_CTX_new();
	return sha256 && context && EVP_MD_get_size(sha256) == HASH_LEN;
}

/* Return: 0 or a positive errno. */
static int read_all(int fd, uint64_t *ret_size)
{
	static unsigned char chunk[256 << 10];
	ssize_t n;

	for (;;) {
		n = read(fd, chunk, sizeof(chunk));
		if (n == 0)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		if (!EVP_DigestUpdate(context, chunk, (size_t)n))
			return ENOMEM;
		*ret_size += (uint64_t)n;
	}
}

static int hash_fd(int fd, hash_result *result)
{
	struct stat st;
	int error;

	if (fstat(fd, &st) < 0)
		return errno;
	if (!S_ISREG(st.st_mode))
		return ESTALE;
	/* Twice the usual read-ahead; no matter if the filesystem declines. */
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	if (!EVP_DigestInit_ex2(context, sha256, NULL))
		return ENOMEM;
	error = read_all(fd, &result->size);
	if (error)
		return error;
	return EVP_DigestFinal_ex(context, result->digest, NULL) ? 0 : ENOMEM;
}

MPROC_PACK_STRUCT(hash_args, (str, path));
MPROC_PACK_STRUCT(hash_result, (bytes, digest), (val, size), (val, error));
MPROC_TASK_FN(hash_file, hash_args, hash_result);

int hash_file(const hash_args *args, hash_result *result)
{
	int fd;

	fd = open(args->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0) {
		result->error = errno;
		return 0;
	}
	result->error = hash_fd(fd, result);
	close(fd);
	return 0;
}
