/* SPDX-License-Identifier: MIT */

/*
 * Four processes count to 4000 together: a read, a change and a write that belong
 * together go under the lock; or the change is one atomic operation
 */

#include <mproc/value.h>

#include <inttypes.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>

#define PROCESSES 4
#define TIMES     1000

static int count(mproc_value *counter)
{
	int64_t n;
	int r;

	r = mproc_value_lock(counter, MPROC_FOREVER);
	if (r < 0)
		return r;
	r = mproc_value_get(counter, int64_t, &n, MPROC_FOREVER);
	n++;
	if (r >= 0)
		r = mproc_value_set(counter, int64_t, &n, MPROC_FOREVER);
	mproc_value_unlock(counter);
	return r;
}

static int work(mproc_value *counter, mproc_value *atomic)
{
	int r = 0;

	for (int i = 0; r >= 0 && i < TIMES; i++) {
		r = count(counter);
		if (r >= 0)
			r = mproc_value_add(atomic, int64_t, 1, NULL);
	}
	return r;
}

int main(void)
{
	mproc_value *counter = NULL, *atomic = NULL;
	int64_t counted = 0, added = 0;
	int status, failed = 0;

	if (mproc_value_create(&counter, NULL, "counter",
			       MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t))) < 0 ||
	    mproc_value_create(&atomic, NULL, "atomic",
			       MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t))) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	for (int i = 0; i < PROCESSES; i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(work(counter, atomic) < 0);
		failed |= child < 0;
	}
	while (wait(&status) > 0)
		failed |= status;
	if (mproc_value_load(counter, int64_t, &counted) < 0 ||
	    mproc_value_load(atomic, int64_t, &added) < 0)
		failed = 1;
	printf("%" PRId64 " %" PRId64 "\n", counted, added);
	mproc_value_close(atomic);
	mproc_value_close(counter);
	return failed || counted != PROCESSES * TIMES || added != counted;
}
