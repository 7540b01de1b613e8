/* SPDX-License-Identifier: MIT */
#ifndef BENCH_BOOST_H
#define BENCH_BOOST_H

/*
 * A managed_shared_memory of Boost.Interprocess, for those who write C
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Make the one there is, without a name, shared with children. Return: 0 or -1. */
int bench_boost_open(uint64_t bytes);

void *bench_boost_alloc(size_t len); /* NULL: no room */
void bench_boost_free(void *block);
uint64_t bench_boost_taken(void); /* bytes that are not free */

#ifdef __cplusplus
}
#endif

#endif /* BENCH_BOOST_H */
