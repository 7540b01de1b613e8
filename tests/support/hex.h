/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_HEX_H
#define MPROC_TESTS_HEX_H

/*
 * Bytes as hex digits, for tests that show them
 */

#include <stddef.h>

/*
 * Bytes from hex digits; spaces are skipped.
 *
 * Return: memory of exactly *ret_len bytes, so that a sanitizer sees one too many.
 */
unsigned char *t_unhex(const char *hex, size_t *ret_len);

/* Hex digits of @len bytes, to be freed. */
char *t_hex(const void *bytes, size_t len);

#endif
