/* SPDX-License-Identifier: MIT */

/*
 * What a failing call says, and where the log goes
 */

#include <mproc/error.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <mproc/segment.h>

static void print_line(const char *line, void *arg)
{
	fprintf(arg, "mproc: %s\n", line);
}

static int open_jobs(mproc_segment **ret)
{
	int r = mproc_segment_open(ret, "no such jobs");

	if (r == -ENOENT)
		printf("not there yet (%s)\n", mproc_error_text());
	else if (r < 0)
		fprintf(stderr, "%s: %s\n", strerror(-r), mproc_error_text());
	return r;
}

int main(void)
{
	mproc_segment *segment;
	int r;

	mproc_set_log(print_line, stderr);
	r = open_jobs(&segment);
	if (r == 0)
		mproc_segment_close(segment);
	return r != -ENOENT;
}
