/* SPDX-License-Identifier: MIT */

/*
 * Threads with names that count primes, one that fails, and a daemon
 */

#include <mproc/thread.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/task.h>

#define WORKERS 4
#define EACH    10000

struct part {
	int64_t from, to;
};

static int count_primes(void *arg, int64_t *result)
{
	const struct part *part = arg;

	if (part->from >= part->to)
		return mproc_task_fail(-EDOM, "nothing between %" PRId64 " and %" PRId64,
				       part->from, part->to);
	for (int64_t i = part->from < 2 ? 2 : part->from; i < part->to; i++) {
		int64_t k = 2;

		while (k * k <= i && i % k)
			k++;
		*result += k * k > i;
	}
	return 0;
}

/* The process does not wait for this one. */
static int watch(void *arg, int64_t *result)
{
	(void)arg;
	(void)result;
	while (pause() < 0)
		;
	return 0;
}

static void tell(mproc_thread *thread, int code, const char *text, void *arg)
{
	char name[MPROC_THREAD_NAME_SIZE];

	mproc_thread_name(thread, name);
	fprintf(arg, "%s fails with %d: %s\n", name, code, text);
}

int main(void)
{
	mproc_thread *workers[WORKERS + 1];
	struct part parts[WORKERS + 1];
	char name[MPROC_THREAD_NAME_SIZE];
	int64_t sum = 0, n;
	int failed = 0;

	mproc_thread_set_error_hook(tell, stdout);
	if (mproc_thread_start(NULL, watch, NULL,
			       MPROC_THREAD_OPTS(.name = "watch", .flags = MPROC_THREAD_DAEMON)) <
	    0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	for (int i = 0; i <= WORKERS; i++) {
		/* There is nothing left for the last one. */
		parts[i].from = i * EACH;
		parts[i].to = i < WORKERS ? (i + 1) * EACH : parts[i].from;
		snprintf(name, sizeof(name), "counter %d", i);
		if (mproc_thread_start(&workers[i], count_primes, &parts[i],
				       MPROC_THREAD_OPTS(.name = name)) < 0)
			return 1;
	}
	for (int i = 0; i <= WORKERS; i++) {
		switch (mproc_thread_join(workers[i], &n, mproc_after_ms(60000))) {
		case 0:
			sum += n;
			break;
		case MPROC_THREAD_FAILED:
			failed++;
			break;
		default:
			fprintf(stderr, "%s\n", mproc_error_text());
		}
		mproc_thread_unref(workers[i]);
	}
	printf("%" PRId64 " primes below %d, %zu threads alive\n", sum, WORKERS * EACH,
	       mproc_thread_n_active());
	return sum != 4203 || failed != 1;
}
