/* SPDX-License-Identifier: MIT */

/*
 * Count primes below 200,000 in eight parts, on all usable CPUs
 */

#include <mproc/pool.h>

#include <inttypes.h>
#include <stdio.h>

#include <mproc/error.h>

MPROC_TASK_DECLARE(int64_t, count_primes, (val, int64_t, from), (val, int64_t, to));

MPROC_TASK(int64_t, count_primes, (val, int64_t, from), (val, int64_t, to))
{
	int64_t n = 0;

	for (int64_t i = from < 2 ? 2 : from; i < to; i++) {
		int64_t k = 2;

		while (k * k <= i && i % k)
			k++;
		n += k * k > i;
	}
	return n;
}

static int run(void)
{
	mproc_future *parts[8];
	mproc_pool *pool;
	int64_t sum = 0;
	int r;

	r = mproc_pool_create(&pool, NULL, NULL, NULL); /* one worker per usable CPU */
	if (r < 0)
		return r;
	for (int i = 0; i < 8; i++)
		parts[i] = count_primes_submit(pool, i * 25000, (i + 1) * 25000);
	for (int i = 0; i < 8; i++) {
		int64_t n = 0;

		r = parts[i] ? count_primes_result(parts[i], &n, MPROC_FOREVER) : -1;
		if (r < 0)
			fprintf(stderr, "part %d: %s\n", i, mproc_error_text());
		sum += n;
		mproc_future_unref(parts[i]);
	}
	mproc_pool_close(pool);
	printf("%" PRId64 " primes\n", sum);
	return sum == 17984 ? 0 : -1;
}

int main(void)
{
	return run() < 0;
}
