/* SPDX-License-Identifier: MIT */

/*
 * A word list that several processes build at once: nodes that point at each other,
 * in memory that none of them owns
 *
 * A node is private to who makes it until it is complete, so a process that is killed
 * leaves no half-made one; the link is one word, so it leaves no broken list.
 */

#include <mproc/arena.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/ref.h>

#define PROCESSES 4
#define WORDS     250

struct node {
	mproc_off next;
	char word[32];
};

struct list {
	_Atomic(mproc_off) first;
};

static int list_add(struct list *list, const char *word)
{
	struct node *node;
	mproc_off off;
	int r;

	r = mproc_arena_calloc((void **)&node, NULL, 1, sizeof(*node));
	if (r < 0)
		return r;
	snprintf(node->word, sizeof(node->word), "%s", word);
	off = mproc_off_of(NULL, node);
	/* Killed behind this and before the link, it leaves one node that nobody knows. */
	r = mproc_arena_publish(NULL, node);
	if (r < 0)
		return r;
	node->next = atomic_load(&list->first);
	while (!atomic_compare_exchange_weak(&list->first, &node->next, off))
		;
	return 0;
}

static int work(struct list *list, int process)
{
	char word[32];
	int r = 0;

	for (int i = 0; r == 0 && i < WORDS; i++) {
		snprintf(word, sizeof(word), "word %d of %d", i, process);
		r = list_add(list, word);
	}
	return r;
}

/* Count the words, and free them. */
static int list_empty(struct list *list)
{
	mproc_off off = atomic_exchange(&list->first, 0);
	struct node *node;
	int n = 0;

	while ((node = mproc_off_get(NULL, off, struct node))) {
		off = node->next;
		n += strlen(node->word) > 0;
		mproc_arena_free(NULL, node);
	}
	return n;
}

int main(void)
{
	struct mproc_arena_stats stats = MPROC_ARENA_STATS;
	int status, failed = 0, n;
	struct list *list;

	if (mproc_segment_object((void **)&list, NULL, "list", sizeof(*list), NULL, NULL) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	for (int i = 0; i < PROCESSES; i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(work(list, i) < 0);
		failed |= child < 0;
	}
	while (wait(&status) > 0)
		failed |= status;
	n = list_empty(list);
	failed |= mproc_arena_stats(NULL, &stats) < 0 || stats.n_private;
	printf("%d words; %llu bytes free, %llu of them in one block\n", n,
	       (unsigned long long)stats.free, (unsigned long long)stats.largest_free);
	return failed || n != PROCESSES * WORDS;
}
