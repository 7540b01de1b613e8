/* SPDX-License-Identifier: MIT */

/*
 * A task that takes a struct, gives one, and says why when it fails
 */

#include <mproc/task.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <mproc/common.h>
#include <mproc/error.h>
#include <mproc/future.h>
#include <mproc/pool.h>

typedef struct question {
	char *path;
} question;

typedef struct answer {
	uint64_t bytes;
	uint32_t lines;
	char *first_line;
} answer;

MPROC_TASK_FN_DECLARE(count, question, answer);

MPROC_PACK_STRUCT(question, (str, path));
MPROC_PACK_STRUCT(answer, (val, bytes), (val, lines), (str, first_line));

int count(const question *in, answer *out)
{
	char line[256];
	FILE *f;

	f = fopen(in->path, "re");
	if (!f)
		return mproc_task_fail(-errno, "%s: %s", in->path, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		if (!out->first_line) {
			out->first_line = mproc_task_alloc(sizeof(line));
			if (!out->first_line)
				break;
			strcpy(out->first_line, line);
		}
		out->bytes += strlen(line);
		out->lines += strchr(line, '\n') != NULL;
	}
	fclose(f);
	return 0;
}
MPROC_TASK_FN(count, question, answer);

static void show(mproc_pool *pool, const char *path)
{
	question in = { .path = (char *)path };
	mproc_future *future = count_submit(pool, &in);
	answer out;

	if (!future || count_result(future, &out, MPROC_FOREVER) < 0)
		printf("%s\n", mproc_error_text());
	else
		printf("%u lines, the first of them is %s", out.lines,
		       out.first_line ? out.first_line : "not there\n");
	mproc_future_unref(future);
}

int main(void)
{
	mproc_pool *pool;

	if (mproc_pool_create(&pool, NULL, NULL, NULL) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	show(pool, "/proc/self/status");
	show(pool, "/proc/self/nothing");
	mproc_pool_close(pool);
	return 0;
}
