/* SPDX-License-Identifier: MIT */

/*
 * Functions that each lock, and call each other
 */

#include <mproc/rmutex.h>

#include <inttypes.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/segment.h>

#define WORKERS 4
#define N       5000

/* Lies in the segment. */
struct account {
	mproc_rmutex rmutex;
	int64_t balance, n_bookings;
};

static int account_init(void *object, void *arg)
{
	struct account *account = object;

	(void)arg;
	return mproc_rmutex_init(&account->rmutex, 0);
}

static int book(struct account *account, int64_t amount)
{
	int r = mproc_rmutex_lock(&account->rmutex, mproc_after_ms(5000));

	if (r < 0)
		return r;
	account->balance += amount;
	account->n_bookings++;
	return mproc_rmutex_unlock(&account->rmutex);
}

/* Both bookings or none are seen by others. */
static int book_with_fee(struct account *account, int64_t amount)
{
	int r = mproc_rmutex_lock(&account->rmutex, mproc_after_ms(5000));

	if (r < 0)
		return r;
	r = book(account, amount);
	if (r == 0)
		r = book(account, -1);
	mproc_rmutex_unlock(&account->rmutex);
	return r;
}

static int work(struct account *account)
{
	int r = 0;

	for (int i = 0; i < N && r == 0; i++)
		r = book_with_fee(account, 10);
	return r;
}

int main(void)
{
	struct account *account;
	void *object;
	int r;

	r = mproc_segment_object(&object, NULL, "account", sizeof(*account), account_init, NULL);
	if (r < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	account = object;
	for (int i = 0; i < WORKERS; i++)
		if (fork() == 0)
			_exit(work(account) < 0);
	while (wait(NULL) > 0)
		;
	printf("%" PRId64 " bookings, balance %" PRId64 "\n", account->n_bookings,
	       account->balance);
	return account->n_bookings != 2 * WORKERS * N || account->balance != 9 * WORKERS * N;
}
