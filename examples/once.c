/* SPDX-License-Identifier: MIT */

/*
 * A table that is built by whoever needs it first, also if the first one dies
 */

#include <mproc/once.h>

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/segment.h>

#define USERS  4
#define PRIMES 100

/* Lies in the segment. */
struct table {
	mproc_once built;
	int n;
	int primes[PRIMES];
};

static int table_init(void *object, void *arg)
{
	struct table *table = object;

	(void)arg;
	return mproc_once_init(&table->built, 0);
}

/* Begins from the beginning: another may have died half-way. */
static int build(void *arg)
{
	struct table *table = arg;

	table->n = 0;
	for (int i = 2; table->n < PRIMES; i++) {
		int k = 0;

		while (k < table->n && i % table->primes[k])
			k++;
		if (k == table->n)
			table->primes[table->n++] = i;
	}
	return 0;
}

static int build_and_die(void *arg)
{
	struct table *table = arg;

	table->n = 7;
	table->primes[0] = 4;
	raise(SIGKILL);
	return 0;
}

static int use(struct table *table)
{
	int r = mproc_once_run(&table->built, build, table, mproc_after_ms(5000));

	if (r < 0)
		return r;
	if (r == MPROC_ONCE_RAN)
		printf("built by process %d\n", (int)getpid());
	fflush(stdout);
	return table->n == PRIMES && table->primes[PRIMES - 1] == 541 ? 0 : -1;
}

int main(void)
{
	struct table *table;
	int bad = 0, status, r;
	void *object;
	pid_t pid;

	r = mproc_segment_object(&object, NULL, "table", sizeof(*table), table_init, NULL);
	if (r < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	table = object;
	pid = fork();
	if (pid == 0)
		_exit(mproc_once_run(&table->built, build_and_die, table, MPROC_FOREVER) < 0);
	waitpid(pid, NULL, 0);
	printf("the first one died, done: %d\n", mproc_once_is_done(&table->built));
	fflush(stdout);
	for (int i = 0; i < USERS; i++)
		if (fork() == 0)
			_exit(use(table) < 0);
	while (wait(&status) > 0)
		bad |= status;
	return bad != 0 || mproc_once_is_done(&table->built) != 1;
}
