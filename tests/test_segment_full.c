/* SPDX-License-Identifier: MIT */

/*
 * Segments where there is no room: a full filesystem, and each limit a process can have
 *
 * Several processes make segments, grow them, allocate and free, at random, where all
 * of it soon is in use. Calls succeed or say that there is no room; nobody is sent a
 * signal, and what was allocated holds what was written to it.
 */

#include <mproc/segment.h>

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "ipc/kind.h"
#include "shm/catalogue.h"
#include "tests/support/child.h"

#define WORKERS 4
#define CALLS   (t_long() ? 100000u : 10000u) /* of all workers */
#define OBJECTS 24u                           /* that a worker has at a time */

/* What a worker is given to live with. */
struct limits {
	const char *mount; /* options of the tmpfs */
	int resource;      /* of setrlimit(2), or -1 */
	rlim_t limit;      /* of addresses: beyond those that are in use already */
};

struct board {
	_Atomic(uint64_t) n_good;
	_Atomic(uint64_t) n_no_room;
};

static struct board *board;

struct worker {
	uint64_t seed;
	char name[16];
	mproc_segment *segment;
	struct mproc__object objects[OBJECTS];
	bool there[OBJECTS];
};

/* Count a call. Return: has it succeeded? */
static bool good(int r)
{
	if (r >= 0) {
		atomic_fetch_add(&board->n_good, 1);
		return true;
	}
	if (r != -ENOSPC && r != -ENOMEM && r != -EFBIG && r != -EMFILE)
		fprintf(stderr, "%s: %s\n", strerror(-r), mproc_error_text());
	t_check(r == -ENOSPC || r == -ENOMEM || r == -EFBIG || r == -EMFILE);
	atomic_fetch_add(&board->n_no_room, 1);
	return false;
}

static void come(struct worker *w)
{
	const uint64_t bytes = (192u + t_random(&w->seed) % 256) << 10;
	const bool shared = t_random(&w->seed) % 2;
	/* One descriptor more or less: where they are few, sometimes one too many. */
	int r, spare = t_random(&w->seed) % 2 ? dup(STDIN_FILENO) : -1;

	r = mproc_segment_open_or_create(&w->segment, shared ? "shared" : w->name,
					 MPROC_SEGMENT_OPTS(.bytes = bytes, .bytes_max = 4 << 20,
							    .processes = 8, .threads = 16,
							    .objects = 64 * WORKERS));
	if (!good(r))
		w->segment = NULL;
	if (spare >= 0)
		close(spare);
}

static void leave(struct worker *w)
{
	for (uint32_t i = 0; i < OBJECTS; i++)
		if (w->there[i])
			t_check(mproc__object_remove(w->segment, &w->objects[i]) == 0);
	memset(w->there, 0, sizeof(w->there));
	w->segment = mproc_segment_close(w->segment);
}

static void check_and_remove(struct worker *w, uint32_t i)
{
	const struct mproc__object *object = &w->objects[i];
	const unsigned char *bytes = object->mem;

	for (uint64_t k = 0; k < object->len; k++)
		t_check(bytes[k] == (unsigned char)object->len);
	t_check(good(mproc__object_remove(w->segment, object)));
	w->there[i] = false;
}

static void make(struct worker *w, uint32_t i)
{
	const struct mproc__object_spec spec = {
		.what = "thing",
		.kind = MPROC__KIND_BLOCK,
		.len = 1 + t_random(&w->seed) % (t_random(&w->seed) % 4 ? 5000 : 200000),
	};

	if (!good(mproc__object_create(&w->objects[i], w->segment, &spec)))
		return;
	memset(w->objects[i].mem, (unsigned char)spec.len, spec.len);
	w->there[i] = true;
}

static void step(struct worker *w)
{
	uint32_t i = (uint32_t)(t_random(&w->seed) % OBJECTS);

	if (!w->segment) {
		come(w);
		return;
	}
	switch (t_random(&w->seed) % 32) {
	case 0:
		leave(w);
		break;
	case 1:
	case 2:
		(void)good(mproc_segment_grow(w->segment, (200 + t_random(&w->seed) % 1000) << 10));
		break;
	default:
		if (w->there[i])
			check_and_remove(w, i);
		else
			make(w, i);
	}
}

static void work(void *arg)
{
	static struct worker w;

	w.seed = *(uint64_t *)arg;
	snprintf(w.name, sizeof(w.name), "own-%d", (int)getpid());
	for (uint32_t n = CALLS / WORKERS; n; n--)
		step(&w);
	for (uint32_t i = 0; i < OBJECTS; i++)
		if (w.there[i])
			check_and_remove(&w, i);
	mproc_segment_close(w.segment);
}

/* A stack that cannot grow is a SIGSEGV, which is nobody's fault here. */
static void use_stack(void)
{
	volatile char room[512 << 10];

	for (size_t i = 0; i < sizeof(room); i += 512)
		room[i] = 1;
}

static rlim_t addresses(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long long pages = 0;

	t_check(f && fscanf(f, "%llu", &pages) == 1);
	fclose(f);
	return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* In a mount namespace of its own, where the directory of segments is a small one. */
static void live_within(void *arg)
{
	const struct limits *limits = arg;
	uint64_t seed = t_seed(), own;
	pid_t pids[WORKERS];
	int ends = 0;

	t_check(unshare(CLONE_NEWNS) == 0);
	t_check(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	t_check(mount("tmpfs", t_private_dir(), "tmpfs", 0, limits->mount) == 0);
	if (limits->resource >= 0) {
		struct rlimit limit = { .rlim_cur = limits->limit };

		use_stack();
		if (limits->resource == RLIMIT_AS)
			limit.rlim_cur += addresses();
		limit.rlim_max = limit.rlim_cur;
		t_check(setrlimit((unsigned)limits->resource, &limit) == 0);
	}
	for (int i = 0; i < WORKERS; i++) {
		own = t_random(&seed);
		pids[i] = t_spawn(work, &own);
	}
	for (int i = 0; i < WORKERS; i++)
		ends |= t_reap(pids[i]);
	t_check(ends == 0);
	/* Whoever left has taken everything with him. */
	t_check(t_dir_entries(NULL, "") == 0);
}

static void assert_lives_within(const struct limits *limits)
{
	if (geteuid() != 0) {
		print_message("# left out: not root: cannot mount a small tmpfs\n");
		return;
	}
	memset(board, 0, sizeof(*board));
	assert_int_equal(t_reap(t_spawn(live_within, (void *)(uintptr_t)limits)), 0);
	print_message("# %llu calls succeeded, %llu found no room\n",
		      (unsigned long long)board->n_good, (unsigned long long)board->n_no_room);
	/* Else it was not full, or nothing but full. */
	assert_true(board->n_good > CALLS / 10);
	assert_true(board->n_no_room > CALLS / 1000);
}

static void full_filesystem_is_told_and_nothing_else_happens(void **state)
{
	static const struct limits limits = { .mount = "size=1m", .resource = -1 };

	(void)state;
	assert_lives_within(&limits);
}

static void filesystem_without_inodes_is_told(void **state)
{
	/* One for the directory: two of the five segments there may be. */
	static const struct limits limits = { .mount = "size=16m,nr_inodes=3", .resource = -1 };

	(void)state;
	assert_lives_within(&limits);
}

static void limit_of_file_sizes_is_told(void **state)
{
	static const struct limits limits = { .mount = "size=32m",
					      .resource = RLIMIT_FSIZE,
					      .limit = 512 << 10 };

	(void)state;
	assert_lives_within(&limits);
}

static void limit_of_addresses_is_told(void **state)
{
	static const struct limits limits = { .mount = "size=32m",
					      .resource = RLIMIT_AS,
					      .limit = 640 << 10 };

	(void)state;
	if (t_sanitized()) {
		print_message("# left out: a sanitizer has addresses of its own\n");
		return;
	}
	assert_lives_within(&limits);
}

static void limit_of_descriptors_is_told(void **state)
{
	static const struct limits limits = { .mount = "size=32m",
					      .resource = RLIMIT_NOFILE,
					      .limit = 5 };

	(void)state;
	assert_lives_within(&limits);
}

#define TEST(fn) cmocka_unit_test(fn)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(full_filesystem_is_told_and_nothing_else_happens),
		TEST(filesystem_without_inodes_is_told),
		TEST(limit_of_file_sizes_is_told),
		TEST(limit_of_addresses_is_told),
		TEST(limit_of_descriptors_is_told),
	};

	t_private_dir();
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	return cmocka_run_group_tests_name("segment full", tests, NULL, NULL);
}
