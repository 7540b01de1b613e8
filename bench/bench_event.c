/* SPDX-License-Identifier: MIT */

/*
 * Being woken: two processes that tell each other by turns that something has happened
 *
 * The limit is a bare futex, which is all that sleeping can be had for.
 */

#include <mproc/event.h>
#include <mproc/segment.h>

#include "bench/bench.h"

struct game {
	mproc_event there[2], back[2]; /* used by turns, so that each is cleared in time */
	uint32_t n;                    /* the parent's */
};

static int init_game(void *object, void *arg)
{
	struct game *game = object;

	(void)arg;
	for (int i = 0; i < 2; i++)
		if (mproc_event_init(&game->there[i], 0) < 0 ||
		    mproc_event_init(&game->back[i], 0) < 0)
			return -1;
	game->n = 0;
	return 0;
}

static void answer(struct game *game)
{
	for (uint32_t n = 0;; n++) {
		bench_check(mproc_event_wait(&game->there[n % 2], MPROC_FOREVER) == 0);
		bench_check(mproc_event_clear(&game->there[n % 2]) == 0);
		bench_check(mproc_event_set(&game->back[n % 2]) == 0);
	}
}

static void answer_near(void *arg)
{
	bench_pin(0);
	answer(arg);
}

static void answer_far(void *arg)
{
	bench_pin(1);
	answer(arg);
}

static void ask(void *arg)
{
	struct game *game = arg;
	uint32_t i = game->n++ % 2;

	bench_check(mproc_event_set(&game->there[i]) == 0);
	bench_check(mproc_event_wait(&game->back[i], MPROC_FOREVER) == 0);
	bench_check(mproc_event_clear(&game->back[i]) == 0);
}

static double round_trip(void (*answering)(void *arg))
{
	mproc_segment *segment;
	void *object;

	bench_check(mproc_segment_create(&segment, NULL, NULL) == 0);
	bench_check(mproc_segment_object(&object, segment, "game", sizeof(struct game), init_game,
					 NULL) == 1);
	bench_fork(answering, object);
	bench_pin(0);
	return bench_call_ns(ask, object, 100);
}

static double run_far(const struct bench_case *c)
{
	(void)c;
	return round_trip(answer_far);
}

static double run_near(const struct bench_case *c)
{
	(void)c;
	return round_trip(answer_near);
}

static double run_futex_far(const struct bench_case *c)
{
	(void)c;
	return bench_futex_ns(true);
}

static double run_futex_near(const struct bench_case *c)
{
	(void)c;
	return bench_futex_ns(false);
}

static double run_bytes(const struct bench_case *c)
{
	(void)c;
	return (double)sizeof(mproc_event);
}

#define FAR  "round trip p50", "ns"
#define NEAR "round trip p50, same CPU", "ns"
#define GOAL ">= 0.909x limit"

static const struct bench_case cases[] = {
	{ "event", "mproc", "", 0, 2, FAR, GOAL, true, run_far },
	{ "event", BENCH_LIMIT, "bare futex", 0, 2, FAR, NULL, true, run_futex_far },
	{ "event", "mproc", "", 0, 2, NEAR, GOAL, false, run_near },
	{ "event", BENCH_LIMIT, "bare futex", 0, 2, NEAR, NULL, false, run_futex_near },
	{ "event", "mproc", "", 0, 1, "memory", "B", NULL, false, run_bytes },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
