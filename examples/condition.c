/* SPDX-License-Identifier: MIT */

/*
 * A buffer of ten places between producers and consumers in processes of their own
 */

#include <mproc/condition.h>

#include <inttypes.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/segment.h>

#define PAIRS  2
#define N      2000
#define PLACES 10

/* Lies in the segment. */
struct buffer {
	mproc_mutex mutex;
	mproc_condition not_empty, not_full;
	uint64_t n, places[PLACES];
	uint64_t sum;
};

static int buffer_init(void *object, void *arg)
{
	struct buffer *buffer = object;
	int r;

	(void)arg;
	r = mproc_mutex_init(&buffer->mutex, 0);
	if (r == 0)
		r = mproc_condition_init(&buffer->not_empty, 0);
	if (r == 0)
		r = mproc_condition_init(&buffer->not_full, 0);
	return r;
}

static int is_full(struct buffer *buffer)
{
	return buffer->n == PLACES;
}

static int buffer_put(struct buffer *buffer, uint64_t item)
{
	int r = mproc_mutex_lock(&buffer->mutex, mproc_after_ms(5000));

	while (r == 0 && is_full(buffer))
		r = mproc_condition_wait(&buffer->not_full, &buffer->mutex, mproc_after_ms(5000));
	if (r == 0) {
		buffer->places[buffer->n++] = item;
		mproc_condition_notify(&buffer->not_empty, 1);
	}
	mproc_mutex_unlock(&buffer->mutex);
	return r;
}

static int has_items(void *arg)
{
	struct buffer *buffer = arg;

	return buffer->n > 0;
}

static int buffer_get(struct buffer *buffer)
{
	int r = mproc_mutex_lock(&buffer->mutex, mproc_after_ms(5000));

	if (r == 0)
		r = mproc_condition_wait_for(&buffer->not_empty, &buffer->mutex, has_items, buffer,
					     mproc_after_ms(5000));
	if (r == 0) {
		buffer->sum += buffer->places[--buffer->n];
		mproc_condition_notify(&buffer->not_full, 1);
	}
	mproc_mutex_unlock(&buffer->mutex);
	return r;
}

static int work(struct buffer *buffer, int produces)
{
	int r = 0;

	for (uint64_t i = 1; i <= N && r == 0; i++)
		r = produces ? buffer_put(buffer, i) : buffer_get(buffer);
	return r;
}

int main(void)
{
	struct buffer *buffer;
	void *object;
	int r;

	r = mproc_segment_object(&object, NULL, "buffer", sizeof(*buffer), buffer_init, NULL);
	if (r < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	buffer = object;
	for (int i = 0; i < 2 * PAIRS; i++)
		if (fork() == 0)
			_exit(work(buffer, i % 2) < 0);
	while (wait(NULL) > 0)
		;
	printf("the sum of all items is %" PRIu64 "\n", buffer->sum);
	return buffer->sum != (uint64_t)PAIRS * N * (N + 1) / 2;
}
