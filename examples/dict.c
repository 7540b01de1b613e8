/* SPDX-License-Identifier: MIT */

/*
 * Counting words with four processes: one dict, and no count is lost
 */

#include <mproc/dict.h>

#include <inttypes.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>

#define PROCESSES 4
#define ROUNDS    1000

static const char *const words[] = { "to", "be", "or", "not", "to", "be" };
#define N_WORDS (sizeof(words) / sizeof(words[0]))

static int count_words(mproc_dict *counts)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ROUNDS * N_WORDS; i++) {
		const char *word = words[i % N_WORDS];

		r = mproc_dict_add_int(counts, word, strlen(word), 1, 0, NULL);
	}
	return r;
}

static int64_t print_all(mproc_dict *counts)
{
	struct mproc_dict_iter it = MPROC_DICT_ITER;
	struct mproc_any count;
	int64_t sum = 0;

	while (mproc_dict_next(counts, &it, &count, NULL, 0, NULL) == 1) {
		printf("%.*s: %" PRId64 "\n", (int)it.key_len, (const char *)it.key, count.as.i);
		sum += count.as.i;
	}
	return sum;
}

int main(void)
{
	mproc_dict *counts = NULL;
	int64_t to = 0;
	int status, failed = 0;

	if (mproc_dict_create(&counts, NULL, "counts", NULL) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	for (int i = 0; i < PROCESSES; i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(count_words(counts) < 0);
		failed |= child < 0;
	}
	while (wait(&status) > 0)
		failed |= status;
	failed |= print_all(counts) != PROCESSES * ROUNDS * (int64_t)N_WORDS;
	failed |= mproc_dict_get_int(counts, "to", &to) < 0 || to != 2 * PROCESSES * ROUNDS;
	mproc_dict_close(counts);
	return failed;
}
