/* SPDX-License-Identifier: MIT */

/*
 * Results in the order in which they come, and what a crash costs: one task
 */

#include <mproc/future.h>

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include <mproc/error.h>
#include <mproc/pool.h>

MPROC_TASK_DECLARE(int32_t, square, (val, int32_t, x));

MPROC_TASK(int32_t, square, (val, int32_t, x))
{
	static const struct rlimit no_core;

	setrlimit(RLIMIT_CORE, &no_core);
	if (x == 13)
		raise(SIGSEGV);
	return x * x;
}

static int gather(mproc_pool *pool, int32_t n)
{
	struct mproc_future_iter iter = MPROC_FUTURE_ITER;
	mproc_future *future;
	int failed = 0;

	for (int32_t x = 0; x < n; x++) {
		future = square_submit(pool, x);
		if (!future || mproc_future_iter_add(&iter, future) < 0)
			return -1;
	}
	while (mproc_future_as_completed(&iter, &future, MPROC_FOREVER) > 0) {
		int32_t y;

		if (square_result(future, &y, MPROC_NOWAIT) == 0) {
			printf("%d\n", (int)y);
		} else {
			printf("%s\n", mproc_error_text());
			failed++;
		}
		mproc_future_unref(future);
	}
	return failed;
}

int main(void)
{
	mproc_pool *pool;
	int failed;

	if (mproc_pool_create(&pool, NULL, NULL, MPROC_POOL_OPTS(.workers = 2)) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	failed = gather(pool, 20);
	mproc_pool_close(pool);
	return failed != 1;
}
