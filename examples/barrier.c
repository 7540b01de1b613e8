/* SPDX-License-Identifier: MIT */

/*
 * Heat that spreads along a rod, computed step by step; one worker dies on the way
 *
 * In each step every worker reads its neighbours' part of the last step, so none may
 * begin a step before all have ended the last one. Where one is missing the rest is
 * wrong: all are told, and begin again from where the last common step was.
 */

#include <mproc/barrier.h>

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/segment.h>

#define WORKERS 4
#define CELLS   64
#define STEPS   200

struct rod {
	MPROC_BARRIER_WITH(WORKERS) step;
	int64_t heat[2][CELLS];
	uint32_t steps; /* done by all; heat[steps % 2] is the last */
};

static int rod_init(void *object, void *arg)
{
	struct rod *rod = object;

	(void)arg;
	rod->heat[0][CELLS / 2] = 1000000000;
	return mproc_barrier_init(&rod->step.barrier, WORKERS, 0);
}

static int count_step(void *arg)
{
	struct rod *rod = arg;

	rod->steps++;
	return 0;
}

static void spread(struct rod *rod, int worker)
{
	const int64_t *from = rod->heat[rod->steps % 2];
	int64_t *to = rod->heat[(rod->steps + 1) % 2];

	for (int i = worker * CELLS / WORKERS; i < (worker + 1) * CELLS / WORKERS; i++) {
		int64_t left = from[i ? i - 1 : 0];
		int64_t right = from[i < CELLS - 1 ? i + 1 : i];

		to[i] = (left + 2 * from[i] + right) / 4;
	}
}

static int work(struct rod *rod, int worker, uint32_t dies_at)
{
	int r = 0;

	while (rod->steps < STEPS && r >= 0) {
		if (rod->steps == dies_at)
			raise(SIGKILL);
		spread(rod, worker);
		r = mproc_barrier_wait(&rod->step.barrier, count_step, rod, mproc_after_ms(10000));
	}
	return r < 0;
}

/* Return: how many workers did not come to the end. */
static int run(struct rod *rod, uint32_t dies_at)
{
	int status, bad = 0;

	for (int i = 0; i < WORKERS; i++)
		if (fork() == 0)
			_exit(work(rod, i, i == 1 ? dies_at : UINT32_MAX));
	while (wait(&status) > 0)
		bad += status != 0;
	return bad;
}

int main(void)
{
	struct rod *rod;
	void *object;
	int bad;

	if (mproc_segment_object(&object, NULL, "rod", sizeof(*rod), rod_init, NULL) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	rod = object;
	bad = run(rod, STEPS / 2);
	printf("%d of %d workers ended, at step %u\n", bad, WORKERS, (unsigned)rod->steps);
	if (bad != WORKERS || mproc_barrier_reset(&rod->step.barrier) < 0)
		return 1;
	bad = run(rod, UINT32_MAX);
	printf("%d of %d workers ended, at step %u\n", bad, WORKERS, (unsigned)rod->steps);
	return bad != 0 || rod->steps != STEPS;
}
