/* SPDX-License-Identifier: MIT */

/*
 * Option structs that may be shorter or longer than the library knows
 *
 * The rule is that of the kernel's copy_struct_from_user(): fields are only
 * ever appended, zero means default, so a short struct is completed by zeroes
 * and a long one is accepted while what we do not know is zero.
 */

#include "ipc/opts.h"

#include <errno.h>
#include <string.h>

#include "ipc/error.h"

#define OPTS_SIZE_MAX 4096

int mproc__opts_copy(const char *what, void *dst, size_t dst_size, const void *src)
{
	const unsigned char *bytes = src;
	size_t size;

	memset(dst, 0, dst_size);
	if (!src) {
		memcpy(dst, &dst_size, sizeof(dst_size));
		return 0;
	}
	memcpy(&size, src, sizeof(size));
	if (size < sizeof(size) || size > OPTS_SIZE_MAX)
		return mproc__fail(-EINVAL, "%s: option struct of %zu bytes, expected %zu", what,
				   size, dst_size);
	for (size_t i = dst_size; i < size; i++)
		if (bytes[i])
			return mproc__fail(-E2BIG,
					   "%s: option at byte %zu is unknown to this library, "
					   "which knows %zu bytes",
					   what, i, dst_size);
	memcpy(dst, src, size < dst_size ? size : dst_size);
	memcpy(dst, &dst_size, sizeof(dst_size));
	return 0;
}
