/* SPDX-License-Identifier: MIT */

/*
 * A flight recorder: workers write what they do, one crashes, and its last words are read
 */

#include <mproc/ringlog.h>

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>

static void work(mproc_ringlog *log, int worker)
{
	for (int step = 0; step < 100; step++) {
		/* To go without a line is better than to wait. */
		(void)!mproc_ringlog_printf(log, MPROC_NOWAIT, "worker %d: step %d", worker, step);
		if (worker == 1 && step == 60)
			raise(SIGKILL);
	}
	_exit(0);
}

static int print_last(mproc_ringlog *log, uint32_t pid)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;
	struct mproc_ringlog_record record;
	char text[200];
	int r, n = 0;

	while ((r = mproc_ringlog_next(log, &it, &record, text, sizeof(text))) > 0) {
		if (record.pid != pid)
			continue;
		n++;
		printf("%.*s\n", (int)record.len, text);
	}
	return r < 0 ? r : n;
}

int main(void)
{
	mproc_ringlog *log = NULL;
	pid_t child[2];
	int n;

	if (mproc_ringlog_create(&log, NULL, "log",
				 MPROC_RINGLOG_OPTS(.n_records = 20, .record_max = 200)) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	for (int i = 0; i < 2; i++) {
		child[i] = fork();
		if (child[i] == 0)
			work(log, i);
		if (child[i] < 0)
			return 1;
		/* One after the other, for the reader's sake. */
		waitpid(child[i], NULL, 0);
	}
	n = print_last(log, (uint32_t)child[1]);
	mproc_ringlog_close(log);
	return n != 20;
}
