/* SPDX-License-Identifier: MIT */

/*
 * Threads that count for themselves, without a lock, and one that sums them up
 */

#include <mproc/local.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <mproc/error.h>
#include <mproc/thread.h>

#define WORKERS 4
#define ROUNDS  25000

/* What each thread remembers. */
struct mine {
	_Atomic(long) n;
};

static mproc_local *local;
static _Atomic(long) n_of_the_ended;

static int mine_init(void **ret, void *arg)
{
	(void)arg;
	*ret = calloc(1, sizeof(struct mine));
	return *ret ? 0 : -ENOMEM;
}

static void mine_destroy(void *value, void *arg)
{
	struct mine *mine = value;

	(void)arg;
	atomic_fetch_add(&n_of_the_ended, atomic_load(&mine->n));
	free(mine);
}

static int count(void *arg, int64_t *result)
{
	struct mine *mine;
	void *value;
	int r;

	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		/* Made when this thread first asks for it. */
		r = mproc_local_get(local, &value);
		if (r < 0)
			return r;
		mine = value;
		/* No other thread writes it: a load and a store are enough. */
		atomic_store_explicit(&mine->n, atomic_load(&mine->n) + 1, memory_order_relaxed);
	}
	*result = ROUNDS;
	return 0;
}

static int add(void *value, void *arg)
{
	struct mine *mine = value;

	*(long *)arg += atomic_load(&mine->n);
	return 0;
}

int main(void)
{
	mproc_thread *workers[WORKERS];
	long n = 0;

	if (mproc_local_create(&local,
			       MPROC_LOCAL_OPTS(.init = mine_init, .destroy = mine_destroy)) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	for (int i = 0; i < WORKERS; i++)
		if (mproc_thread_start(&workers[i], count, NULL, NULL) < 0)
			return 1;
	/* At any time, while they count. */
	if (mproc_local_each(local, add, &n) < 0)
		return 1;
	printf("%ld so far\n", n + atomic_load(&n_of_the_ended));
	for (int i = 0; i < WORKERS; i++) {
		if (mproc_thread_join(workers[i], NULL, MPROC_FOREVER) != 0)
			return 1;
		mproc_thread_unref(workers[i]);
	}
	mproc_local_close(local);
	printf("%ld in the end\n", atomic_load(&n_of_the_ended));
	return atomic_load(&n_of_the_ended) != WORKERS * ROUNDS;
}
