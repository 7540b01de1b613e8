/* SPDX-License-Identifier: MIT */

/*
 * The best of what four processes find: a struct that is compared and replaced
 * under its lock, and a count that needs none
 */

#include <mproc/value.h>

#include <inttypes.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>

#define PROCESSES 4
#define TRIES     1000

struct find {
	int64_t cost; /* 0: nothing was found yet */
	int32_t process, number;
};

static int improve(mproc_value *best, const struct find *found)
{
	struct find now;
	int r;

	r = mproc_value_lock(best, MPROC_FOREVER);
	if (r == MPROC_MUTEX_INHERITED) /* set() leaves nothing half done */
		r = mproc_value_consistent(best);
	if (r < 0)
		return r;
	r = mproc_value_get(best, struct find, &now, MPROC_FOREVER);
	if (r == 0 && (now.cost == 0 || found->cost < now.cost))
		r = mproc_value_set(best, struct find, found, MPROC_FOREVER);
	mproc_value_unlock(best);
	return r;
}

/* What a search would work out. */
static int64_t cost_of(int32_t process, int32_t number)
{
	return 1 + (int64_t)(process * 7919 + number * 104729) % 99991;
}

static int work(mproc_value *best, mproc_value *tries, int32_t process)
{
	int r = 0;

	for (int32_t n = 0; r >= 0 && n < TRIES; n++) {
		struct find found = { cost_of(process, n), process, n };

		r = improve(best, &found);
		if (r >= 0)
			r = mproc_value_add(tries, uint32_t, 1, NULL);
	}
	return r;
}

static int report(mproc_value *best, mproc_value *tries)
{
	struct find found;
	uint32_t n;

	if (mproc_value_get(best, struct find, &found, MPROC_FOREVER) < 0 ||
	    mproc_value_load(tries, uint32_t, &n) < 0)
		return 1;
	printf("%" PRIu32 " tries, cost %" PRId64 " by process %" PRId32 "\n", n, found.cost,
	       found.process);
	return n != PROCESSES * TRIES || found.cost != cost_of(found.process, found.number);
}

int main(void)
{
	mproc_value *best = NULL, *tries = NULL;
	int status, failed = 0;

	if (mproc_value_create(&best, NULL, "best",
			       MPROC_VALUE_OPTS(.type = MPROC_TYPE(struct find))) < 0 ||
	    mproc_value_create(&tries, NULL, "tries",
			       MPROC_VALUE_OPTS(.type = MPROC_TYPE(uint32_t))) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	for (int32_t i = 0; i < PROCESSES; i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(work(best, tries, i) < 0);
		failed |= child < 0;
	}
	while (wait(&status) > 0)
		failed |= status;
	failed |= report(best, tries);
	mproc_value_close(tries);
	mproc_value_close(best);
	return failed;
}
