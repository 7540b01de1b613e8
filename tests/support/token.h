/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_TOKEN_H
#define MPROC_TESTS_TOKEN_H

/*
 * A proof of life of the tests' own: one byte of a file, locked while a process lives
 *
 * The controls of the sweep must not stand on the library they guard. The lock is
 * held by a mapping of a private open file description, so it is not inherited, is
 * not lost with a descriptor, and falls with the address space.
 */

#include <stdbool.h>
#include <stdint.h>

/* The file that the tokens are bytes of, for its descriptor to be closed or recycled. */
extern int t_token_fd;

/* Once per world, before the others. Return: 0 or a negative errno. */
int t_token_init(void);

/* Take the next token for the calling process. Return: its number from 1, or a negative errno. */
int t_token_take(void);

/* Is the holder dead? Asks whatever t_token_fd leads to now. */
bool t_token_dead(uint32_t token);

#endif /* MPROC_TESTS_TOKEN_H */
