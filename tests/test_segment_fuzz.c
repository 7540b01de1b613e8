/* SPDX-License-Identifier: MIT */

/*
 * fuzz/segment.c without a fuzzer: segments with random errors in them
 *
 * A short walk for every run of the tests; a fuzzer goes further. And somebody who
 * scribbles while calls run: what is read twice may differ.
 */

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "fuzz/segment.c"
#include "fuzz/segment_calls.c"
#include "tests/support/child.h"

#define INPUT_MAX 400u
#define BATCH     250u /* inputs that a child runs */
#define BATCHES   (t_long() ? 400u : t_sanitized() ? 2u : 6u)
#define ROUNDS    (t_long() ? 200u : 10u)
#define ROUND_MS  300

/* The input that a child is running, for whoever finds it dead. */
struct shown {
	size_t len;
	uint8_t bytes[INPUT_MAX];
};

static struct shown *shown;

static void run(const uint8_t *bytes, size_t len)
{
	shown->len = len;
	memcpy(shown->bytes, bytes, len);
	LLVMFuzzerTestOneInput(bytes, len);
}

static void assert_survived(int end)
{
	char hex[2 * INPUT_MAX + 1] = "";

	if (!end)
		return;
	for (size_t i = 0; i < shown->len; i++)
		snprintf(hex + 2 * i, 3, "%02x", shown->bytes[i]);
	fail_msg("ended by %d with input %s", end, hex);
}

static void run_file(const char *dir_name, const char *name)
{
	uint8_t bytes[INPUT_MAX];
	char file[512];
	ssize_t n;
	int fd;

	snprintf(file, sizeof(file), "%s/%s", dir_name, name);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	t_check(fd >= 0);
	n = read(fd, bytes, sizeof(bytes));
	close(fd);
	if (n > 0)
		run(bytes, (size_t)n);
}

static void run_corpus(void *arg)
{
	const char *dir_name = arg;
	DIR *d = opendir(dir_name);
	struct dirent *entry;
	unsigned n = 0;

	t_check(d);
	while ((entry = readdir(d)))
		if (entry->d_name[0] != '.') {
			run_file(dir_name, entry->d_name);
			n++;
		}
	closedir(d);
	t_check(n > 10);
}

/* On what nobody has scribbled over calls succeed: elsewhere they are no walk at the door. */
static void call_what_is_sound(void *arg)
{
	uint32_t variant = *(uint32_t *)arg;
	const struct fuzz_objects *objects = objects_of(variant);
	mproc_segment *opened;

	begin();
	for (uint32_t i = 0; i < objects->n; i++) {
		unsigned n_good = 0;

		write_file(variants[variant].bytes, variants[variant].size);
		t_check(mproc_segment_open(&opened, NAME) == 0);
		for (uint8_t op = 0; op < 128; op += 3)
			n_good += objects->call(opened, i, op) >= 0;
		mproc_segment_close(opened);
		unlink(path);
		if (n_good < 10)
			fprintf(stderr, "object %u: %u\n", i, n_good);
		t_check(n_good >= 10);
	}
}

static void calls_are_made_in_earnest(void **state)
{
	static uint32_t some[] = { 0, 5 }; /* of either kind; the second was killed */

	(void)state;
	shown->len = 0;
	for (size_t i = 0; i < N(some); i++)
		assert_survived(t_reap(t_spawn(call_what_is_sound, &some[i])));
}

static void what_fuzzers_have_found_is_survived(void **state)
{
	const char *root = getenv("MPROC_FUZZ_CORPUS");
	char corpus[512];

	(void)state;
	if (!root) {
		print_message("# left out: MPROC_FUZZ_CORPUS does not say where the corpus is\n");
		return;
	}
	snprintf(corpus, sizeof(corpus), "%s/segment", root);
	assert_survived(t_reap(t_spawn(run_corpus, corpus)));
}

/* Few edits: of many the first that is noticed hides the others. */
static size_t make_input(uint8_t bytes[INPUT_MAX], uint64_t *seed)
{
	size_t len = 30 + t_random(seed) % 120;

	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)t_random(seed);
	bytes[1] %= 3;
	bytes[2] %= 3;
	return len;
}

static void run_batch(void *arg)
{
	uint64_t *seed = arg;
	uint8_t bytes[INPUT_MAX];

	for (unsigned i = 0; i < BATCH; i++)
		run(bytes, make_input(bytes, seed));
}

static void run_batches(uint64_t seed)
{
	for (unsigned i = 0; i < BATCHES; i++) {
		uint64_t own = t_random(&seed);

		assert_survived(t_reap(t_spawn(run_batch, &own)));
	}
}

static void any_words_may_be_wrong(void **state)
{
	(void)state;
	run_batches(1);
	run_batches(t_seed());
}

static struct variant *scribbled;
static int scribbled_fd;

static void scribble(void *arg)
{
	uint64_t seed = *(uint64_t *)arg;
	struct target t = { .variant = scribbled };

	t.bytes = mmap(NULL, t.variant->size, PROT_READ | PROT_WRITE, MAP_SHARED, scribbled_fd, 0);
	t_check(t.bytes != MAP_FAILED);
	for (;;) {
		uint64_t words[2] = { t_random(&seed), t_random(&seed) };
		struct input input = { (const uint8_t *)words, 12 };

		edit(&t, &input);
		if (t_random(&seed) % 4 == 0)
			usleep((useconds_t)(t_random(&seed) % 300));
	}
}

/* A new file, and who scribbles over it: the name may be gone before he comes to run. */
static pid_t scribbler_new(uint64_t *seed)
{
	pid_t pid;

	write_file(scribbled->bytes, scribbled->size);
	scribbled_fd = open(path, O_RDWR | O_CLOEXEC);
	t_check(scribbled_fd >= 0);
	pid = t_spawn(scribble, seed);
	close(scribbled_fd);
	return pid;
}

/* Calls of all kinds on what another process scribbles over all the time. */
static void call_while_scribbled(void *arg)
{
	uint64_t *seed = arg, own = t_random(seed);
	int64_t end = mproc_after_ms(ROUND_MS), start;
	const struct fuzz_objects *objects;
	pid_t pid;

	begin();
	scribbled = &variants[own & 4];
	objects = objects_of(own & 4);
	pid = scribbler_new(&own);
	while (mproc_now() < end) {
		mproc_segment *opened;
		int r;

		start = mproc_now();
		r = mproc_segment_open(&opened, NAME);
		check(start, r);
		for (int i = 0; r == 0 && i < 200 && mproc_now() < end; i++) {
			uint64_t n = t_random(seed);

			start = mproc_now();
			check(start,
			      objects->call(opened, (uint32_t)(n >> 8) % objects->n, (uint8_t)n));
		}
		if (r == 0)
			mproc_segment_close(opened);
		/* Its header is broken for good, perhaps, or it lost its name. */
		unlink(path);
		if (r < 0)
			break;
		kill(pid, SIGKILL);
		t_check(t_reap(pid) == SIGKILL);
		own = t_random(seed);
		pid = scribbler_new(&own);
	}
	kill(pid, SIGKILL);
	t_reap(pid);
	unlink(path);
}

static void words_may_change_while_calls_run(void **state)
{
	uint64_t seed = t_seed();

	(void)state;
	shown->len = 0;
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t own = t_random(&seed);

		assert_survived(t_reap(t_spawn(call_while_scribbled, &own)));
		/* Who was killed has left the name. */
		unlink(path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_are_made_in_earnest),
		cmocka_unit_test(what_fuzzers_have_found_is_survived),
		cmocka_unit_test(any_words_may_be_wrong),
		cmocka_unit_test(words_may_change_while_calls_run),
	};

	t_private_dir();
	shown = mmap(NULL, sizeof(*shown), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	return cmocka_run_group_tests_name("segment fuzz", tests, NULL, NULL);
}
