/* SPDX-License-Identifier: MIT */

/*
 * A table that many look at and few change, one of whom dies while he does
 */

#include <mproc/rwlock.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/segment.h>

#define READERS 3
#define LOOKS   20000
#define CHANGES 200
#define PRICES  16

/* Lies in the segment; a price is always a hundred times the version. */
struct table {
	mproc_rwlock rwlock;
	int64_t version, prices[PRICES];
};

static int table_init(void *object, void *arg)
{
	struct table *table = object;

	(void)arg;
	return mproc_rwlock_init(&table->rwlock, 0);
}

static int table_change(struct table *table, int64_t version)
{
	int r = mproc_rwlock_write_lock(&table->rwlock, mproc_after_ms(5000));

	if (r < 0)
		return r;
	table->version = version;
	for (int i = 0; i < PRICES; i++) {
		if (version < 0 && i == PRICES / 2)
			raise(SIGKILL);
		table->prices[i] = version * 100;
	}
	/* All is written anew: whatever a dead writer may have left is gone. */
	if (r == MPROC_RWLOCK_INHERITED)
		r = mproc_rwlock_consistent(&table->rwlock);
	mproc_rwlock_unlock(&table->rwlock);
	return r;
}

/* Return: how many prices are wrong, or a negative errno. */
static int table_look(struct table *table)
{
	int wrong = 0;
	int r = mproc_rwlock_read_lock(&table->rwlock, mproc_after_ms(5000));

	if (r < 0)
		return r;
	/* A dead writer's table is not worth reading; the next version will be. */
	for (int i = 0; i < PRICES && r != MPROC_RWLOCK_INHERITED; i++)
		wrong += table->prices[i] != table->version * 100;
	mproc_rwlock_unlock(&table->rwlock);
	return wrong;
}

static int read_all(struct table *table)
{
	for (int i = 0; i < LOOKS; i++)
		if (table_look(table) != 0)
			return 1;
	return 0;
}

static int write_all(struct table *table)
{
	for (int i = 1; i <= CHANGES; i++)
		if (table_change(table, i) < 0)
			return 1;
	return 0;
}

int main(void)
{
	struct table *table;
	int status, bad = 0;
	void *object;

	if (mproc_segment_object(&object, NULL, "table", sizeof(*table), table_init, NULL) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	table = object;
	for (int i = 0; i < READERS; i++)
		if (fork() == 0)
			_exit(read_all(table));
	if (fork() == 0)
		_exit(table_change(table, -1) < 0);
	if (fork() == 0)
		_exit(write_all(table));
	while (wait(&status) > 0)
		bad += WIFEXITED(status) && WEXITSTATUS(status) != 0;
	/* The one who died may have been the last to write. */
	if (table_change(table, CHANGES + 1) < 0 || table_look(table) != 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	printf("version %" PRId64 ", %d processes saw something wrong\n", table->version, bad);
	return bad != 0;
}
