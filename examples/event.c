/* SPDX-License-Identifier: MIT */

/*
 * Everybody starts at once, and stops at Ctrl-C or when time is up
 */

#include <mproc/event.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/segment.h>

#define RUNNERS 3

/* Lies in the segment. */
struct race {
	mproc_event start, stop;
};

static struct race *race;

static int race_init(void *object, void *arg)
{
	struct race *r = object;
	int result = mproc_event_init(&r->start, 0);

	(void)arg;
	return result < 0 ? result : mproc_event_init(&r->stop, 0);
}

/* Setting an event is all that a signal handler may do here. */
static void on_interrupt(int signal)
{
	(void)signal;
	mproc_event_set(&race->stop);
}

static int run(void)
{
	uint64_t rounds = 0;
	int r;

	r = mproc_event_wait(&race->start, MPROC_FOREVER);
	if (r < 0)
		return r;
	/* A round takes a millisecond, or less if that is the end. */
	while ((r = mproc_event_wait(&race->stop, mproc_after_ms(1))) == -ETIMEDOUT)
		rounds++;
	if (r == 0)
		printf("%" PRIu64 " rounds\n", rounds);
	return r;
}

int main(void)
{
	int bad = 0, status, r;
	void *object;

	r = mproc_segment_object(&object, NULL, "race", sizeof(*race), race_init, NULL);
	if (r < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	race = object;
	signal(SIGINT, on_interrupt);
	for (int i = 0; i < RUNNERS; i++) {
		if (fork() == 0) {
			r = run();
			fflush(stdout);
			_exit(r < 0);
		}
	}
	mproc_event_set(&race->start);
	r = mproc_event_wait(&race->stop, mproc_after_ms(50));
	if (r == -ETIMEDOUT)
		mproc_event_set(&race->stop);
	while (wait(&status) > 0)
		bad |= status;
	return bad != 0;
}
