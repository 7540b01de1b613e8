/* SPDX-License-Identifier: MIT */

/*
 * A reminder that comes, a timeout that is cancelled, and a clock that ticks three times
 */

#include <mproc/timer.h>

#include <stdatomic.h>
#include <stdio.h>

#include <mproc/error.h>

#define PERIOD_NS INT64_C(5000000)

struct ticker {
	_Atomic(int) n;
	int64_t next;
};

static void remind(void *arg)
{
	printf("it is time for %s\n", (const char *)arg);
}

static void give_up(void *arg)
{
	(void)arg;
	printf("this takes too long\n");
}

/* Starts its own successor, from the time that it should have run at: it does not drift. */
static void tick(void *arg)
{
	struct ticker *ticker = arg;

	ticker->next += PERIOD_NS;
	if (atomic_fetch_add(&ticker->n, 1) < 2 &&
	    mproc_timer_start(NULL, ticker->next, tick, ticker) < 0)
		printf("%s\n", mproc_error_text());
}

int main(void)
{
	struct ticker ticker = { .next = mproc_now() };
	mproc_timer *reminder, *timeout, *last;
	int cancelled;

	if (mproc_timer_start(&reminder, mproc_after_ms(10), remind, "tea") < 0 ||
	    mproc_timer_start(&timeout, mproc_after_ms(60000), give_up, NULL) < 0 ||
	    mproc_timer_start(NULL, ticker.next, tick, &ticker) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	if (mproc_timer_join(reminder, MPROC_FOREVER) < 0)
		return 1;
	mproc_timer_close(reminder);

	cancelled = mproc_timer_cancel(timeout);
	printf("%s\n", cancelled == 1 ? "done in time" : "too late");
	mproc_timer_close(timeout);

	while (atomic_load(&ticker.n) < 3) {
		if (mproc_timer_start(&last, mproc_after_ms(1), remind, "another look") < 0 ||
		    mproc_timer_join(last, MPROC_FOREVER) < 0)
			return 1;
		mproc_timer_close(last);
	}
	return cancelled != 1;
}
