/* SPDX-License-Identifier: MIT */

/*
 * Two numbers that belong together, and a process that dies between them
 */

#include <mproc/mutex.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/segment.h>

#define WORKERS 4
#define N       10000

/* Lies in the segment; out is always -in, except under the mutex. */
struct books {
	mproc_mutex mutex;
	int64_t in, out;
};

static int books_init(void *object, void *arg)
{
	struct books *books = object;

	(void)arg;
	return mproc_mutex_init(&books->mutex, 0);
}

static int books_lock(struct books *books)
{
	int r = mproc_mutex_lock(&books->mutex, mproc_after_ms(5000));

	if (r != MPROC_MUTEX_INHERITED)
		return r;
	/* The last owner died inside: put in order what he may have left half done. */
	books->out = -books->in;
	return mproc_mutex_consistent(&books->mutex);
}

static int books_add(struct books *books, int64_t amount)
{
	int r = books_lock(books);

	if (r < 0)
		return r;
	books->in += amount;
	books->out -= amount;
	return mproc_mutex_unlock(&books->mutex);
}

static int work(struct books *books)
{
	int r = 0;

	for (int i = 0; i < N && r == 0; i++)
		r = books_add(books, 1);
	return r;
}

static int die_inside(struct books *books)
{
	int r = books_lock(books);

	if (r < 0)
		return r;
	books->in += 1000;
	raise(SIGKILL);
	return 0;
}

int main(void)
{
	struct books *books;
	void *object;
	int r;

	r = mproc_segment_object(&object, NULL, "books", sizeof(*books), books_init, NULL);
	if (r < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	books = object;
	for (int i = 0; i < WORKERS; i++)
		if (fork() == 0)
			_exit(work(books) < 0);
	if (fork() == 0)
		_exit(die_inside(books) < 0);
	while (wait(NULL) > 0)
		;
	if (books_lock(books) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	printf("in %" PRId64 ", out %" PRId64 "\n", books->in, books->out);
	r = books->in + books->out != 0 || books->in != WORKERS * N + 1000;
	mproc_mutex_unlock(&books->mutex);
	return r;
}
