/* SPDX-License-Identifier: MIT */

/*
 * A histogram by four processes: each adds to the bins, the parent copies them out
 */

#include <mproc/array.h>

#include <inttypes.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>

#define PROCESSES 4
#define BINS      10
#define NUMBERS   10000

/* Squares by their last digit. */
static int work(mproc_array *bins, uint64_t first)
{
	int r = 0;

	for (uint64_t n = first; r == 0 && n < NUMBERS; n += PROCESSES)
		r = mproc_array_add(bins, uint64_t, n * n % BINS, 1, NULL);
	return r;
}

static int report(mproc_array *bins)
{
	uint64_t count[BINS], sum = 0;

	if (mproc_array_copy_out(bins, uint64_t, 0, BINS, count, MPROC_FOREVER) < 0)
		return 1;
	for (int i = 0; i < BINS; i++) {
		printf("%d: %" PRIu64 "\n", i, count[i]);
		sum += count[i];
	}
	return sum != NUMBERS;
}

int main(void)
{
	mproc_array *bins = NULL;
	int status, failed = 0;

	if (mproc_array_create(&bins, NULL, "bins",
			       MPROC_ARRAY_OPTS(.type = MPROC_TYPE(uint64_t), .n_items = BINS)) <
	    0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	for (uint64_t i = 0; i < PROCESSES; i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(work(bins, i) < 0);
		failed |= child < 0;
	}
	while (wait(&status) > 0)
		failed |= status;
	failed |= report(bins);
	mproc_array_close(bins);
	return failed;
}
