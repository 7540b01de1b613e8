/* SPDX-License-Identifier: MIT */
#ifndef MPROC__OPTS_H
#define MPROC__OPTS_H

/*
 * Option structs that may be shorter or longer than the library knows
 */

#include <stddef.h>

/*
 * Copy an option struct whose first member is size_t size.
 * @what:	for the text: "create jobs"
 * @dst:	the library's own struct, @dst_size bytes
 * @src:	what the caller gave, or NULL for all defaults
 *
 * A shorter struct is filled up with zeroes, as an older caller means it.
 *
 * Return: 0, or -EINVAL if the size cannot be one, -E2BIG if a field that the
 * library does not know is not zero.
 */
int mproc__opts_copy(const char *what, void *dst, size_t dst_size, const void *src);

#endif /* MPROC__OPTS_H */
