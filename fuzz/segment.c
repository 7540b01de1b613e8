/* SPDX-License-Identifier: MIT */

/*
 * Segments over which somebody has scribbled: attach, and one call on each object
 *
 * The bytes of the input are edits of a sound segment with an object of each kind: most
 * inputs get past the door that way, and then meet one impossible word. Some edits
 * are made in the file before it is opened, some in the memory after that, some
 * between two calls. Half of the inputs begin with what a killed process has left, who
 * held whatever can be held; half with objects of fixed length, half with the others.
 *
 *	input	variant 8 | edits before 8 | edits after 8 | edit ... | call 8 ...
 *	edit	region 8 | how 8 | where 16 | value 64
 *
 * Allowed are all return codes that are a negative errno or a success, in bounded time.
 */

#include "fuzz/segment_calls.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>

#include "ipc/attach.h"
#include "ipc/order_layout.h"
#include "shm/segment.h"
#include "shm/segment_layout.h"

#define VARIANTS    8u
#define EDITS_MAX   16u
#define REGIONS_MAX 96u
#define CALL_NS_MAX INT64_C(5000000000) /* of a call that waits 2 ms, on a busy machine */
#define PAGES       24u
#define NAME        "fuzzed"
#define N(array)    (sizeof(array) / sizeof((array)[0]))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct region {
	uint64_t off;
	uint64_t len;
};

/* What inputs begin with: the bytes of a segment, and where in it something is. */
struct variant {
	unsigned char *bytes;
	uint64_t size;
	uint32_t n_regions;
	struct region regions[REGIONS_MAX];
};

struct input {
	const uint8_t *at;
	size_t left;
};

/* What is edited: a private copy, or the memory of @segment. */
struct target {
	unsigned char *bytes;
	const struct variant *variant;
	mproc_segment *segment; /* or NULL */
};

static struct variant variants[VARIANTS];
static char dir[64];
static char path[128];

/* Where the harness stands, for whoever looks at it from outside. */
static const char *doing;

static uint64_t take(struct input *input, size_t n)
{
	uint64_t v = 0;

	if (n > input->left)
		n = input->left;
	memcpy(&v, input->at, n);
	input->at += n;
	input->left -= n;
	return v;
}

static void stop(const char *what, int64_t n)
{
	fprintf(stderr, "fuzz segment: %s: %s (%lld) \"%s\"\n", doing, what, (long long)n,
		mproc_error_text());
	abort();
}

static void check(int64_t begin, int r)
{
	int64_t took = mproc_now() - begin;

	if (r < 0 && !strerrorname_np(-r))
		stop("no errno", r);
	if (took > CALL_NS_MAX)
		stop("took long", took);
}

/* A fuzzer ends by _exit(2), and in between: nothing may be left after an input. */
static void clear_away(void)
{
	unlink(path);
	if (dir[0])
		rmdir(dir);
}

static const struct fuzz_objects *objects_of(uint32_t variant)
{
	return variant & 4 ? &fuzz_typed : &fuzz_plain;
}

/* In a child, which does not outlive it: make the segment, and leave it or die in it. */
static void make_and_end(uint32_t variant)
{
	struct mproc_segment_opts opts = fuzz_segment_opts;
	const struct fuzz_objects *objects = objects_of(variant);
	mproc_segment *segment;

	if (variant & 2)
		opts.flags |= MPROC_SEGMENT_DEADLOCK | MPROC_SEGMENT_LOCK_ORDER;
	if (variant & 2)
		opts.bytes_max = 4 * opts.bytes;
	if (mproc_segment_create(&segment, NAME, &opts) < 0 || objects->make(segment) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		_exit(1);
	}
	if (variant & 1) {
		objects->hold(segment);
		kill(getpid(), SIGKILL);
	}
	mproc_segment_close(segment);
	_exit(0);
}

static void add(struct variant *v, uint64_t off, uint64_t len)
{
	if (v->n_regions < REGIONS_MAX && off < v->size && len)
		v->regions[v->n_regions++] =
			(struct region){ off, len < v->size - off ? len : v->size - off };
}

/* The objects, and the blocks beside them: the first pages of the arena's data. */
static void add_objects(struct variant *v, const struct mproc__segment_head *head)
{
	uint64_t off =
		head->sections[MPROC__SECTION_CATALOGUE].off + sizeof(struct mproc__catalogue);

	for (uint32_t i = 0; i < head->n_objects; i++) {
		struct mproc__entry entry;

		memcpy((void *)&entry, v->bytes + off + i * sizeof(entry), sizeof(entry));
		if (mproc__entry_state(entry.word) != MPROC__ENTRY_LIVE)
			continue;
		add(v, off + i * sizeof(entry), sizeof(entry));
		/* Heads of objects are worth more than what they hold. */
		add(v, entry.off, 64);
		add(v, entry.off, entry.len < 1024 ? entry.len : 1024);
		add(v, entry.off, entry.len);
	}
}

static void find_regions(struct variant *v)
{
	struct mproc__segment_head head;
	const struct mproc__section *s = head.sections;
	uint64_t registry, threads;

	memcpy(&head, v->bytes, sizeof(head));
	registry = s[MPROC__SECTION_REGISTRY].off;
	threads = registry + mproc__registry_threads_off(head.n_procs);
	add(v, 0, offsetof(struct mproc__segment_head, uuid));
	add(v, MPROC__SEGMENT_STATE_OFF, sizeof(struct mproc__segment_state));
	add(v, registry, sizeof(struct mproc__registry));
	add(v, registry + mproc__registry_procs_off(), head.n_procs * sizeof(struct mproc__proc));
	for (uint32_t i = 0; i < 2; i++)
		add(v, threads + i * sizeof(struct mproc__thread), sizeof(struct mproc__thread));
	add(v, threads, head.n_threads * sizeof(struct mproc__thread));
	if (head.flags & MPROC_SEGMENT_LOCK_ORDER)
		add(v, registry + mproc__order_off(head.n_procs, head.n_threads), 4096);
	add(v, s[MPROC__SECTION_CATALOGUE].off, sizeof(struct mproc__catalogue));
	add(v, s[MPROC__SECTION_CATALOGUE].off, s[MPROC__SECTION_CATALOGUE].len);
	add(v, s[MPROC__SECTION_ARENA].off, offsetof(struct mproc__arena, shards));
	add(v, s[MPROC__SECTION_ARENA].off, offsetof(struct mproc__arena, pages));
	add(v, s[MPROC__SECTION_ARENA].off + offsetof(struct mproc__arena, pages),
	    24 * sizeof(struct mproc__arena_page));
	add(v, s[MPROC__SECTION_ARENA].off, s[MPROC__SECTION_ARENA].len);
	add(v, s[MPROC__SECTION_DATA].off, 4 * MPROC__ARENA_PAGE);
	/* Small blocks of each class, of which the objects of fuzz_typed consist. */
	for (uint32_t i = 0; v >= &variants[4] && i < PAGES; i++)
		add(v, s[MPROC__SECTION_DATA].off + i * UINT64_C(4096), 4096);
	add_objects(v, &head);
	add(v, 0, v->size);
}

static void make_variant(uint32_t i)
{
	struct variant *v = &variants[i];
	struct stat st;
	int status, fd;
	pid_t pid;

	pid = fork();
	if (pid == 0)
		make_and_end(i);
	if (pid < 0 || waitpid(pid, &status, 0) != pid ||
	    (WIFEXITED(status) && WEXITSTATUS(status)))
		abort();
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		abort();
	v->size = (uint64_t)st.st_size;
	v->bytes = malloc(v->size);
	if (!v->bytes || pread(fd, v->bytes, v->size, 0) != (ssize_t)v->size)
		abort();
	close(fd);
	unlink(path);
	find_regions(v);
}

static void begin(void)
{
	const char *given = getenv("MPROC_DIR");

	if (!given) {
		snprintf(dir, sizeof(dir), "/dev/shm/mproc-fuzz.XXXXXX");
		given = mkdtemp(dir);
		if (!given || setenv("MPROC_DIR", given, 1) < 0)
			abort();
	}
	snprintf(path, sizeof(path), "%s/" MPROC__SEGMENT_PREFIX NAME, given);
	unlink(path);
	for (uint32_t i = 0; i < VARIANTS; i++)
		make_variant(i);
}

/* A word that may mean something where it is written. */
static uint64_t telling(const struct target *t, uint64_t value)
{
	static const uint64_t numbers[] = {
		0,  1,  2,          7,         8,          63,          64,   255,
		~0, ~7, UINT32_MAX, INT64_MIN, 0x7fffffff, 0x80000000u, 4096, 0x100000000,
	};
	const struct variant *v = t->variant;
	const struct region *r = &v->regions[value / 8 % v->n_regions];
	uint64_t word;

	switch (value % 8) {
	case 0:
	case 1:
		return numbers[value / 8 % N(numbers)];
	case 2: /* where something is */
		return r->off;
	case 3:
		return v->size - value / 8 % 32 * 8;
	case 4: /* what stands elsewhere: an owner, a generation, a length */
		memcpy(&word,
		       t->bytes + r->off / 8 * 8 +
			       value / 512 % (r->len / 8 + 1) * 8 % (v->size - r->off / 8 * 8),
		       8);
		return word;
	default: /* us, once we are there */
		if (!t->segment || mproc__identity->at[0].range != t->segment->range)
			return v->size / 2;
		return mproc__identity->at[0].word | (value / 8 & MPROC__OWNER_FLAGS);
	}
}

static void edit(struct target *t, struct input *input)
{
	uint64_t which = take(input, 1), how = take(input, 1), where = take(input, 2);
	uint64_t value = take(input, 8), word;
	const struct region *r = &t->variant->regions[which % t->variant->n_regions];
	uint64_t len = how & 64 ? 4 : 8;
	unsigned char *at = t->bytes + r->off + where * 4 % r->len / len * len;

	if (at + sizeof(word) > t->bytes + t->variant->size)
		return;
	memcpy(&word, at, sizeof(word));
	switch (how % 6) {
	case 0:
		word = value;
		break;
	case 1:
		word ^= UINT64_C(1) << value % 64;
		break;
	case 2:
		word += (uint64_t)(int64_t)(int8_t)value;
		break;
	default:
		word = telling(t, value);
	}
	memcpy(at, &word, len);
}

static void call_all(struct target *t, struct input *input)
{
	const struct fuzz_objects *objects = objects_of((uint32_t)(t->variant - variants));
	uint32_t n = objects->n, first = (uint32_t)take(input, 1) % n;
	static char now[32];

	/* All the calls that the input has bytes for, at least one. */
	for (uint32_t i = 0; i < n && (!i || input->left); i++) {
		uint8_t op = (uint8_t)take(input, 1);
		int64_t start;

		if (op & 128 && input->left)
			edit(t, input);
		snprintf(now, sizeof(now), "call %u of object %u", op, (first + i) % n);
		doing = now;
		start = mproc_now();
		check(start, objects->call(t->segment, (first + i) % n, op));
	}
}

static void write_file(const unsigned char *bytes, uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || pwrite(fd, bytes, size, 0) != (ssize_t)size)
		abort();
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	uint64_t n_before, n_after;
	mproc_segment *segment;
	struct variant *v;
	struct target t;
	int64_t start;
	int r;

	if (!variants[0].bytes)
		begin();
	else if (dir[0] && mkdir(dir, 0700) < 0)
		abort();
	v = &variants[take(&input, 1) % VARIANTS];
	n_before = take(&input, 1) % EDITS_MAX;
	n_after = take(&input, 1) % EDITS_MAX;
	t = (struct target){ .bytes = malloc(v->size), .variant = v };
	if (!t.bytes)
		abort();
	memcpy(t.bytes, v->bytes, v->size);
	while (n_before--)
		edit(&t, &input);
	write_file(t.bytes, v->size);
	free(t.bytes);
	doing = "open";
	start = mproc_now();
	r = mproc_segment_open(&segment, NAME);
	check(start, r);
	if (r == 0) {
		t.segment = segment;
		t.bytes = (void *)atomic_load_explicit(&segment->range->base, memory_order_relaxed);
		while (n_after--)
			edit(&t, &input);
		call_all(&t, &input);
		doing = "close";
		start = mproc_now();
		mproc_segment_close(segment);
		check(start, 0);
	}
	clear_away();
	return 0;
}
