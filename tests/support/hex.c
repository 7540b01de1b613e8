/* SPDX-License-Identifier: MIT */

#include "tests/support/hex.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/child.h"

static int digit(char c)
{
	const char *digits = "0123456789abcdef";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

unsigned char *t_unhex(const char *hex, size_t *ret_len)
{
	unsigned char *bytes = malloc(strlen(hex) / 2 + 1), *exact;
	size_t len = 0;

	t_check(bytes);
	for (; *hex; hex++) {
		if (*hex == ' ')
			continue;
		t_check(digit(hex[0]) >= 0 && digit(hex[1]) >= 0);
		bytes[len++] = (unsigned char)(digit(hex[0]) << 4 | digit(hex[1]));
		hex++;
	}
	exact = realloc(bytes, len ? len : 1);
	*ret_len = len;
	return exact ? exact : bytes;
}

char *t_hex(const void *bytes, size_t len)
{
	char *hex = malloc(2 * len + 1);

	t_check(hex);
	hex[0] = 0;
	for (size_t i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", ((const unsigned char *)bytes)[i]);
	return hex;
}
