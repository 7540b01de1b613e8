/* SPDX-License-Identifier: MIT */

/*
 * A status line: one process changes it, others are woken and print what it says
 */

#include <mproc/string.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>

#define WATCHERS 3
#define DONE     "done"

static int watch(mproc_string *status)
{
	char text[100];
	size_t len = 0;
	int r, same = 1;

	do {
		uint64_t version = mproc_string_version(status);

		r = mproc_string_get(status, text, sizeof(text), &len, MPROC_FOREVER);
		if (r < 0)
			return r;
		printf("%d: %.*s\n", (int)getpid(), (int)len, text);
		r = mproc_string_compare(status, DONE, strlen(DONE), &same, MPROC_FOREVER);
		if (r == 0 && same != 0)
			r = mproc_string_wait(status, &version, MPROC_FOREVER);
	} while (r == 0 && same != 0);
	return r;
}

/* The program: begin, report, end. */
static int run(mproc_string *status)
{
	char text[32];
	int r = 0;

	for (int percent = 0; r == 0 && percent < 100; percent += 25) {
		snprintf(text, sizeof(text), "%d %% of it", percent);
		r = mproc_string_set(status, text, strlen(text), MPROC_FOREVER);
		usleep(2000);
	}
	return r < 0 ? r : mproc_string_set(status, DONE, strlen(DONE), MPROC_FOREVER);
}

int main(void)
{
	mproc_string *status = NULL;
	int ended, failed;

	if (mproc_string_create(&status, NULL, "status",
				MPROC_STRING_OPTS(.init = "idle", .init_len = 4)) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	fflush(stdout);
	failed = 0;
	for (int i = 0; i < WATCHERS; i++) {
		pid_t child = fork();

		if (child == 0) {
			int r = watch(status);

			fflush(stdout);
			_exit(r < 0);
		}
		failed |= child < 0;
	}
	failed |= run(status) < 0;
	while (wait(&ended) > 0)
		failed |= ended;
	mproc_string_close(status);
	return failed;
}
