/* SPDX-License-Identifier: MIT */
#ifndef MPROC__SEGMENT_PAGES_H
#define MPROC__SEGMENT_PAGES_H

/*
 * The pages behind a mapping: huge ones, if the kernel has some
 */

#include <stddef.h>
#include <stdint.h>

/*
 * Ask for huge pages behind [@base, + @len), and that those of [@from, @to) in it, which
 * are allocated, become huge now: what is a hole would be filled.
 */
void mproc__pages_huge(void *base, size_t len, uint64_t from, uint64_t to);

/* How many bytes of [@base, + @len) this process has in huge pages. */
uint64_t mproc__pages_n_huge(const void *base, size_t len);

#endif /* MPROC__SEGMENT_PAGES_H */
