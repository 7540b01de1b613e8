/* SPDX-License-Identifier: MIT */

/*
 * A deadline is set once and serves everything that must end by it
 */

#include <mproc/common.h>

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool file_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static void nap_ms(int ms)
{
	poll(NULL, 0, ms);
}

static int wait_for_file(const char *path)
{
	int64_t deadline = mproc_after_ms(250);

	while (!file_exists(path)) {
		if (mproc_now() >= deadline)
			return -ETIMEDOUT;
		nap_ms(1);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : argv[0];
	int r = wait_for_file(path);

	if (r < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(-r));
	return r < 0;
}
