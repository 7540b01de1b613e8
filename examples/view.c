/* SPDX-License-Identifier: MIT */

/*
 * A picture that four processes blur, each its own rows, in place and without a copy
 */

#include <mproc/view.h>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>

#define PROCESSES 4
#define ROWS      64
#define COLUMNS   48

/* Add 1 to every third item of some rows: picture[first:last, ::3] += 1. */
static int work(mproc_array *picture, int64_t first, int64_t last)
{
	struct mproc_view part;
	const float one = 1;
	int r;

	r = mproc_view_init(&part, picture, float);
	if (r == 0)
		r = mproc_view_slice(&part, 0, first, last, 1);
	if (r == 0)
		r = mproc_view_slice(&part, 1, MPROC_VIEW_OPEN, MPROC_VIEW_OPEN, 3);
	return r < 0 ? r : mproc_view_add(&part, &one);
}

static int report(mproc_array *picture)
{
	struct mproc_view all;
	struct mproc_view_iter it = MPROC_VIEW_ITER(&all);
	double sum = 0;
	void *item;

	if (mproc_view_init(&all, picture, float) < 0)
		return 1;
	while (mproc_view_next(&it, &item) > 0)
		sum += *(float *)item;
	printf("sum %.0f, item [5, 6] is %.0f\n", sum, *mproc_view_at(&all, float, 5, 6));
	return sum != ROWS * COLUMNS / 3;
}

int main(void)
{
	const uint64_t shape[] = { ROWS, COLUMNS };
	mproc_array *picture = NULL;
	int status, failed = 0;

	if (mproc_array_create(
		    &picture, NULL, "picture",
		    MPROC_ARRAY_OPTS(.type = MPROC_TYPE(float), .n_dims = 2, .shape = shape)) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	for (int64_t i = 0; i < PROCESSES; i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(work(picture, i * ROWS / PROCESSES, (i + 1) * ROWS / PROCESSES) < 0);
		failed |= child < 0;
	}
	while (wait(&status) > 0)
		failed |= status;
	failed |= report(picture);
	mproc_array_close(picture);
	return failed;
}
