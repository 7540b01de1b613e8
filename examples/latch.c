/* SPDX-License-Identifier: MIT */

/*
 * Wait until every part has been loaded, however many processes load them
 */

#include <mproc/latch.h>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/segment.h>

#define LOADERS 3
#define PARTS   12

/* Lies in the segment. */
struct table {
	mproc_latch loaded;
	int parts[PARTS];
};

static int table_init(void *object, void *arg)
{
	struct table *table = object;

	(void)arg;
	return mproc_latch_init(&table->loaded, PARTS);
}

static int load(struct table *table, int from)
{
	for (int i = from; i < PARTS; i += LOADERS) {
		table->parts[i] = i * i;
		int r = mproc_latch_count_down(&table->loaded, 1);

		if (r < 0)
			return r;
		if (r == 0)
			printf("loader %d had the last part\n", from);
	}
	fflush(stdout);
	return 0;
}

int main(void)
{
	struct table *table;
	int bad = 0, status, sum = 0, r;
	void *object;

	r = mproc_segment_object(&object, NULL, "table", sizeof(*table), table_init, NULL);
	if (r < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	table = object;
	for (int i = 0; i < LOADERS; i++)
		if (fork() == 0)
			_exit(load(table, i) < 0);
	/* A loader that dies never counts: say when to give up. */
	r = mproc_latch_wait(&table->loaded, mproc_after_ms(5000));
	if (r < 0) {
		fprintf(stderr, "%d parts are missing\n", mproc_latch_count(&table->loaded));
		return 1;
	}
	for (int i = 0; i < PARTS; i++)
		sum += table->parts[i];
	printf("sum %d\n", sum);
	while (wait(&status) > 0)
		bad |= status;
	return bad != 0 || sum != 506;
}
