/* SPDX-License-Identifier: MIT */

/*
 * Squares by two processes: numbers go there by one queue, squares come back by another
 */

#include <mproc/queue.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>

#define N 1000

struct square {
	int64_t number, square;
};

/* Until the numbers are used up. Return: 0, or a negative errno. */
static int work(mproc_queue *numbers, mproc_queue *squares)
{
	struct square s;
	int r;

	while ((r = mproc_queue_get(numbers, &s.number, sizeof(s.number), NULL, MPROC_FOREVER)) ==
	       0) {
		s.square = s.number * s.number;
		r = mproc_queue_put(squares, &s, sizeof(s), MPROC_FOREVER);
		if (r < 0)
			return r;
	}
	return r == -EPIPE ? 0 : r;
}

static int run(mproc_queue *numbers, mproc_queue *squares)
{
	int64_t sent = 0, back = 0;
	struct square s;
	int r;

	while (back < N) {
		/* As many as fit; then there is something to be fetched. */
		for (; sent < N; sent++) {
			r = mproc_queue_put(numbers, &sent, sizeof(sent), MPROC_NOWAIT);
			if (r == -EAGAIN)
				break;
			if (r < 0)
				return r;
		}
		r = mproc_queue_get(squares, &s, sizeof(s), NULL, MPROC_FOREVER);
		if (r < 0)
			return r;
		if (s.square != s.number * s.number)
			return -EBADMSG;
		back++;
	}
	printf("%" PRId64 " squares\n", back);
	return mproc_queue_shutdown(numbers);
}

int main(void)
{
	mproc_queue *numbers, *squares;
	int bad = 0, status;

	if (mproc_queue_create(&numbers, NULL, NULL, MPROC_QUEUE_OPTS(.msg_max = 8)) < 0 ||
	    mproc_queue_create(&squares, NULL, NULL, MPROC_QUEUE_OPTS(.msg_max = 16)) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	for (int i = 0; i < 2; i++)
		if (fork() == 0)
			_exit(work(numbers, squares) < 0);
	if (run(numbers, squares) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		mproc_queue_shutdown(numbers);
		bad = 1;
	}
	while (wait(&status) > 0)
		bad |= status;
	mproc_queue_close(numbers);
	mproc_queue_close(squares);
	return bad != 0;
}
