/* SPDX-License-Identifier: MIT */

/*
 * Four processes take what is to be done from one list and put what came of it into
 * another, which at the end is sorted and printed as Python would
 */

#include <mproc/list.h>

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>

#define PROCESSES 4
#define ITEMS     12

static int work(mproc_list *todo, mproc_list *done)
{
	struct mproc_any item;
	int r;

	for (;;) {
		char buf[64], text[80];

		r = mproc_list_pop(todo, 0, &item, buf, sizeof(buf), NULL, MPROC_FOREVER);
		if (r < 0) /* -ENOENT: there is nothing left to do */
			return r == -ENOENT ? 0 : r;
		if (item.kind == MPROC_ANY_INT) {
			r = mproc_list_append(done, item.as.i * item.as.i, MPROC_FOREVER);
		} else {
			mproc_any_text(text, sizeof(text), &item);
			r = mproc_list_append(done, text, MPROC_FOREVER);
		}
		if (r < 0)
			return r;
	}
}

/* The program: fill the one, let them work, print the other. */
static int report(mproc_list *done)
{
	struct mproc_list_iter it = MPROC_LIST_ITER;
	struct mproc_any item;
	char buf[100], text[120];
	int r, n = 0;

	if (mproc_list_sort(done, NULL, NULL, MPROC_FOREVER) < 0)
		return 1;
	while ((r = mproc_list_next(done, &it, &item, buf, sizeof(buf), NULL, MPROC_FOREVER)) > 0) {
		mproc_any_text(text, sizeof(text), &item);
		printf("%s%s", n++ ? ", " : "[", text);
	}
	printf("]\n");
	return r < 0 || n != ITEMS;
}

int main(void)
{
	mproc_list *todo = NULL, *done = NULL;
	int status, failed = 0;

	if (mproc_list_create(&todo, NULL, "todo", NULL) < 0 ||
	    mproc_list_create(&done, NULL, "done", NULL) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	for (int i = 0; i < ITEMS; i++) {
		int r = i % 3 ? mproc_list_append(todo, i, MPROC_FOREVER)
			      : mproc_list_append(todo, "a text among numbers", MPROC_FOREVER);

		failed |= r < 0;
	}
	for (int i = 0; i < PROCESSES; i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(work(todo, done) < 0);
		failed |= child < 0;
	}
	while (wait(&status) > 0)
		failed |= status;
	failed |= report(done);
	mproc_list_close(done);
	mproc_list_close(todo);
	return failed;
}
