/* SPDX-License-Identifier: MIT */

/*
 * Producer and consumers with a sentinel, the classic of Python's tutorials
 *
 * An empty message says that no more will come; each consumer that finds it puts it
 * back for the next one. With mproc_queue_shutdown() there is no need for it, but
 * where several producers end at different times one may count sentinels.
 */

#include <mproc/queue.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>

#define N_CONSUMERS 3
#define N_WORDS     10000

static int produce(mproc_queue *queue)
{
	static const char *const words[] = { "spam", "eggs", "ham", "bacon" };
	int r = 0;

	for (int i = 0; i < N_WORDS && r == 0; i++)
		r = mproc_queue_put(queue, words[i % 4], strlen(words[i % 4]), MPROC_FOREVER);
	return r < 0 ? r : mproc_queue_put(queue, NULL, 0, MPROC_FOREVER);
}

/* Return: how many words there were, or a negative errno. */
static int consume(mproc_queue *queue)
{
	char word[16];
	size_t len;
	int n = 0, r;

	for (;;) {
		r = mproc_queue_get(queue, word, sizeof(word), &len, MPROC_FOREVER);
		if (r < 0)
			return r;
		if (!len)
			break;
		n++;
	}
	r = mproc_queue_put(queue, NULL, 0, MPROC_FOREVER);
	return r < 0 ? r : n;
}

int main(void)
{
	mproc_queue *words, *counts;
	int sum = 0, status, bad = 0, n;

	if (mproc_queue_create(&words, NULL, NULL, MPROC_QUEUE_OPTS(.msg_max = 16)) < 0 ||
	    mproc_queue_create(&counts, NULL, NULL, NULL) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	for (int i = 0; i < N_CONSUMERS; i++) {
		if (fork() == 0) {
			n = consume(words);
			_exit(mproc_queue_put(counts, &n, sizeof(n), MPROC_FOREVER) < 0);
		}
	}
	bad |= produce(words) < 0;
	for (int i = 0; i < N_CONSUMERS && !bad; i++) {
		bad |= mproc_queue_get(counts, &n, sizeof(n), NULL, MPROC_FOREVER) < 0 || n < 0;
		sum += n;
	}
	if (bad)
		mproc_queue_shutdown(words);
	while (wait(&status) > 0)
		bad |= status;
	printf("%d words\n", sum);
	mproc_queue_close(words);
	mproc_queue_close(counts);
	return bad || sum != N_WORDS;
}
