/* SPDX-License-Identifier: MIT */

/*
 * How shmtool reads: whatever the bytes of a segment are, and whatever happens to them
 */

#include "tools/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/queue.h>
#include <mproc/segment.h>

#include "tests/support/child.h"
#include "tools/image_order.h"
#include "tools/text.h"

#define IMAGE_LEN (256u << 10)

/* A file that loses its end while it is read. */
struct shrinking {
	struct source source; /* first, so that one is the other */
	struct source whole;
	uint32_t n_reads_left;
	uint64_t size_then;
};

struct fixture {
	mproc_segment *segment;
	mproc_queue *queue;
	void *block;
	char path[512];
	unsigned char *sound, *scratch; /* IMAGE_LEN bytes each */
	uint64_t seed;
	char why[IMAGE_WHY]; /* what the last image that shrank was found to be */
};

static int read_file(const char *path, void *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : pread(fd, buf, len, 0);

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)len ? 0 : -1;
}

static int setup(void **state)
{
	static struct fixture f;

	*state = &f;
	memset(&f, 0, sizeof(f));
	f.seed = t_seed();
	snprintf(f.path, sizeof(f.path), "%s/mproc.image", t_private_dir());
	/* As aligned as a segment is: tests write structs into them. */
	f.sound = aligned_alloc(4096, IMAGE_LEN);
	f.scratch = aligned_alloc(4096, IMAGE_LEN);
	if (!f.sound || !f.scratch)
		return -1;
	if (mproc_segment_create(&f.segment, "image",
				 MPROC_SEGMENT_OPTS(.bytes = IMAGE_LEN, .processes = 4,
						    .threads = 8, .objects = 16,
						    .flags = MPROC_SEGMENT_LOCK_ORDER)) < 0 ||
	    mproc_queue_create(&f.queue, f.segment, "jobs",
			       MPROC_QUEUE_OPTS(.depth = 4, .msg_max = 64)) < 0 ||
	    mproc_segment_object(&f.block, f.segment, "block", 5000, NULL, NULL) < 0)
		return -1;
	for (int i = 0; i < 3; i++)
		if (mproc_queue_put(f.queue, "message", 7, MPROC_NOWAIT) < 0)
			return -1;
	return read_file(f.path, f.sound, IMAGE_LEN);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	mproc_queue_close(f->queue);
	mproc_segment_close(f->segment);
	free(f->sound);
	free(f->scratch);
	return 0;
}

/* Read an image and ask all that the commands ask of it. Return: the verdict. */
static enum image_verdict look(struct source *source)
{
	enum image_verdict ret;
	struct image image;
	struct order order;

	image_read(&image, source);
	ret = image.verdict;
	if (ret == IMAGE_GOOD) {
		order_read(&order, &image);
		for (size_t i = 0; i < order.n_pairs; i++)
			assert_true(mproc__what_off(order.pairs[i][0]) < image.size &&
				    mproc__what_off(order.pairs[i][1]) < image.size);
		order_free(&order);
	}
	if (ret == IMAGE_GOOD)
		assert_true(image_used(&image) <= image.size);
	else
		assert_true(image.why[0]);
	assert_true(image.n_procs <= MPROC__PROCS_MAX);
	assert_true(image.n_threads <= MPROC__THREADS_MAX);
	assert_true(image.n_objects <= MPROC__ENTRIES_MAX);
	for (size_t i = 0; i < image.n_threads; i++) {
		const struct image_thread *thread = &image.threads[i];

		assert_true(thread->n_holds <= MPROC__HOLDS);
		assert_true(thread->n_acting <= MPROC__ACTS);
		image_proc(&image, thread->slot);
		image_object_at(&image, mproc__what_off(thread->waits_on));
	}
	for (size_t i = 0; i < image.n_objects; i++) {
		const struct image_object *object = &image.objects[i];

		assert_true(object->possible || object->why[0]);
		if (image_object_is_whole(object) && object->view.kind == MPROC__KIND_QUEUE)
			assert_true(object->queue.n_messages <= object->queue.geometry.depth);
		image_owner(&image, object->queue.put_owner);
		image_object_at(&image, object->pool.seen.tasks);
	}
	image_free(&image);
	return ret;
}

static enum image_verdict look_at(const void *bytes, uint64_t size)
{
	struct source source;

	source_memory(&source, bytes, size);
	return look(&source);
}

static const struct image_object *object_named(const struct image *image, const char *name)
{
	for (size_t i = 0; i < image->n_objects; i++)
		if (!strcmp(image->objects[i].view.name, name))
			return &image->objects[i];
	return NULL;
}

static void sound_segment_is_told_in_full(void **state)
{
	const struct image_object *queue, *block;
	struct fixture *f = *state;
	struct source source;
	struct image image;

	assert_int_equal(source_open(&source, f->path, false), 0);
	image_read(&image, &source);
	assert_int_equal(image.verdict, IMAGE_GOOD);
	assert_int_equal(image.in_use, 1);
	assert_int_equal(image.size, IMAGE_LEN);
	assert_int_equal(image.n_procs, 1);
	assert_int_equal(image.n_living, 1);
	assert_int_equal(image.procs[0].life, IMAGE_ALIVE);
	assert_int_equal(image.procs[0].pid, getpid());
	assert_int_equal(image.procs[0].n_threads, 1);
	assert_int_equal(image.n_threads, 1);
	assert_int_equal(image.threads[0].tid, gettid());
	assert_int_equal(image.n_live, 2);
	assert_int_equal(image.n_damaged, 0);
	assert_int_equal(image.arena.pages.n_lost, 0);
	assert_int_equal(image.arena.blocks.n_impossible, 0);

	queue = object_named(&image, "jobs");
	assert_non_null(queue);
	assert_true(image_object_is_whole(queue));
	assert_int_equal(queue->queue.n_messages, 3);
	assert_int_equal(queue->queue.geometry.depth, 4);
	assert_int_equal(queue->queue.n_puts, 3);
	assert_int_equal(queue->queue.bytes_put, 21);
	block = object_named(&image, "block");
	assert_non_null(block);
	assert_int_equal(block->view.len, 5000);
	assert_ptr_equal(image_object_at(&image, block->view.off), block);
	assert_ptr_equal(image_object_at(&image, block->view.off + 4999), block);
	assert_ptr_not_equal(image_object_at(&image, block->view.off + 5000), block);
	image_free(&image);
	source_close(&source);
}

struct attached {
	int ready[2];
};

static void attach_and_stay(void *arg)
{
	struct attached *a = arg;
	mproc_segment *segment;

	t_check(mproc_segment_open(&segment, "image") == 0);
	t_check(write(a->ready[1], "", 1) == 1);
	pause();
}

/* What @path's segment says of process @pid. */
static enum image_life life_of(const char *path, pid_t pid)
{
	enum image_life ret = IMAGE_UNKNOWN;
	struct source source;
	struct image image;

	assert_int_equal(source_open(&source, path, false), 0);
	image_read(&image, &source);
	assert_int_equal(image.verdict, IMAGE_GOOD);
	for (size_t i = 0; i < image.n_procs; i++)
		if (image.procs[i].pid == (uint32_t)pid)
			ret = image.procs[i].life;
	image_free(&image);
	source_close(&source);
	return ret;
}

static void dead_participant_is_told_from_a_stopped_one(void **state)
{
	struct fixture *f = *state;
	struct attached a;
	char byte;
	pid_t pid;

	assert_int_equal(pipe(a.ready), 0);
	pid = t_spawn(attach_and_stay, &a);
	assert_int_equal(read(a.ready[0], &byte, 1), 1);
	assert_int_equal(life_of(f->path, pid), IMAGE_ALIVE);
	kill(pid, SIGSTOP);
	assert_int_equal(life_of(f->path, pid), IMAGE_ALIVE);
	kill(pid, SIGKILL);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_int_equal(life_of(f->path, pid), IMAGE_DEAD);
	close(a.ready[0]);
	close(a.ready[1]);
}

static void reading_is_read_only_and_changes_no_byte(void **state)
{
	struct fixture *f = *state;
	struct source source;

	assert_int_equal(read_file(f->path, f->sound, IMAGE_LEN), 0);
	assert_int_equal(source_open(&source, f->path, false), 0);
	assert_int_equal(fcntl(source.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(look(&source), IMAGE_GOOD);
	assert_int_equal(read_file(f->path, f->scratch, IMAGE_LEN), 0);
	assert_memory_equal(f->sound, f->scratch, IMAGE_LEN);
	source_close(&source);
}

static void truncated_image_is_never_called_good(void **state)
{
	struct fixture *f = *state;

	for (uint64_t size = 0; size < IMAGE_LEN; size += size < 16384 ? 8 : 1000)
		assert_int_not_equal(look_at(f->sound, size), IMAGE_GOOD);
	assert_int_equal(look_at(f->sound, IMAGE_LEN), IMAGE_GOOD);
}

static ssize_t shrinking_read(struct source *source, void *buf, size_t len, uint64_t off)
{
	struct shrinking *s = (struct shrinking *)source;

	if (s->n_reads_left)
		s->n_reads_left--;
	else
		s->whole.size = s->size_then;
	return s->whole.read(&s->whole, buf, len, off);
}

/* Read a file of which @size_then bytes are left after @n_reads reads. Return: was all of it good?
 */
static bool look_at_shrinking(struct fixture *f, uint32_t *n_reads, uint64_t size_then)
{
	struct shrinking s;
	struct image image;
	bool ret;

	source_memory(&s.source, f->sound, IMAGE_LEN);
	s.whole = s.source;
	s.source.read = shrinking_read;
	s.n_reads_left = *n_reads;
	s.size_then = size_then;
	image_read(&image, &s.source);
	ret = image.verdict == IMAGE_GOOD && !image.n_damaged;
	memcpy(f->why, image.why, sizeof(f->why));
	for (size_t i = 0; i < image.n_objects; i++)
		if (!image.objects[i].possible)
			memcpy(f->why, image.objects[i].why, sizeof(f->why));
	image_free(&image);
	*n_reads -= s.n_reads_left;
	return ret;
}

static void file_that_shrinks_while_it_is_read_is_never_called_good(void **state)
{
	static const uint64_t sizes[] = { 0, 100, 4096, 8192 };
	struct fixture *f = *state;
	uint32_t n_all = UINT32_MAX, n_reads;

	assert_true(look_at_shrinking(f, &n_all, 0));
	assert_true(n_all > 10);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		/* The head, which is read first, is all there with the larger sizes. */
		for (uint32_t n = 0; n < n_all; n++) {
			n_reads = n;
			assert_false(look_at_shrinking(f, &n_reads, sizes[i]));
			assert_true(f->why[0]);
		}
	assert_non_null(strstr(f->why, "the file ends inside it"));
	n_reads = n_all;
	assert_true(look_at_shrinking(f, &n_reads, 0));
}

static ssize_t failing_read(struct source *source, void *buf, size_t len, uint64_t off)
{
	(void)source;
	(void)buf;
	(void)len;
	(void)off;
	return -EIO;
}

static void what_is_no_segment_of_ours_is_said_to_be_so(void **state)
{
	struct fixture *f = *state;
	struct mproc__segment_head *head = (void *)f->scratch;
	struct source source;

	memset(f->scratch, 0, IMAGE_LEN);
	assert_int_equal(look_at(f->scratch, IMAGE_LEN), IMAGE_ALIEN);
	memcpy(f->scratch, f->sound, IMAGE_LEN);
	head->magic[7] ^= 1;
	assert_int_equal(look_at(f->scratch, IMAGE_LEN), IMAGE_ALIEN);
	memcpy(f->scratch, f->sound, IMAGE_LEN);
	head->layout++;
	assert_int_equal(look_at(f->scratch, IMAGE_LEN), IMAGE_FOREIGN);
	memcpy(f->scratch, f->sound, IMAGE_LEN);
	head->sizes++;
	assert_int_equal(look_at(f->scratch, IMAGE_LEN), IMAGE_FOREIGN);
	memcpy(f->scratch, f->sound, IMAGE_LEN);
	head->byte_order = __builtin_bswap32(head->byte_order);
	assert_int_equal(look_at(f->scratch, IMAGE_LEN), IMAGE_FOREIGN);
	memcpy(f->scratch, f->sound, IMAGE_LEN);
	head->n_threads = 7;
	assert_int_equal(look_at(f->scratch, IMAGE_LEN), IMAGE_CORRUPT);
	source_memory(&source, f->sound, IMAGE_LEN);
	source.read = failing_read;
	assert_int_equal(look(&source), IMAGE_UNREADABLE);
}

static const uint64_t extremes[] = {
	0,
	1,
	7,
	64,
	4096,
	UINT64_C(0xffffffff),
	UINT64_C(1) << 31,
	UINT64_C(1) << 40,
	UINT64_C(1) << 63,
	UINT64_MAX - 4095,
	UINT64_MAX,
};

/* Each half of each word of all that is no user's data, with each extreme value. */
static void no_single_wrong_word_does_harm(void **state)
{
	struct fixture *f = *state;
	const struct mproc__segment_head *head = (const void *)f->sound;
	uint64_t end = head->sections[MPROC__SECTION_ARENA].off + sizeof(struct mproc__arena);
	/* A sanitizer makes this long, and finds as much in a part of it. */
	uint64_t step = t_sanitized() && !t_long() ? 60 : 4;

	memcpy(f->scratch, f->sound, IMAGE_LEN);
	for (uint64_t at = 0; at + 8 <= end && at < IMAGE_LEN; at += at < 1024 ? 4 : step) {
		for (size_t i = 0; i < sizeof(extremes) / sizeof(extremes[0]); i++) {
			/* One at each place is enough where few places mean much. */
			if (at >= 1024 && i != at / step % 11)
				continue;
			memcpy(f->scratch + at, &extremes[i], at % 8 ? 4 : 8);
			look_at(f->scratch, IMAGE_LEN);
			memcpy(f->scratch + at, f->sound + at, 8);
		}
	}
}

static void no_number_of_wrong_words_does_harm(void **state)
{
	struct fixture *f = *state;
	const struct mproc__segment_head *head = (const void *)f->sound;
	uint32_t rounds = t_long() ? 20000 : 1000, n_good = 0;
	uint64_t seed = f->seed;

	for (uint32_t i = 0; i < rounds; i++) {
		uint32_t n = 1u << t_random(&seed) % 10;

		memcpy(f->scratch, f->sound, IMAGE_LEN);
		while (n--) {
			const struct mproc__section *s =
				&head->sections[t_random(&seed) % MPROC__SECTIONS];
			uint64_t word = t_random(&seed), at;

			if (word % 4 == 0)
				word = extremes[word / 4 % 11];
			at = s->off + (t_random(&seed) % (s->len - 8) & ~UINT64_C(3));
			memcpy(f->scratch + at, &word, 8);
		}
		n_good += look_at(f->scratch, IMAGE_LEN) == IMAGE_GOOD;
	}
	/* Else the same few checks have refused all of them. */
	assert_true(n_good > rounds / 100);
}

static void many_objects_that_claim_one_place_are_soon_enough(void **state)
{
	struct fixture *f = *state;
	const struct mproc__segment_head *head = (const void *)f->scratch;
	const struct mproc__section *data = &head->sections[MPROC__SECTION_DATA];
	struct mproc__entry *entries;
	struct mproc__pool_shared *pool;
	struct mproc__pool_worker *workers;
	struct source source;
	struct image image;
	uint32_t n_pools = 0;

	memcpy(f->scratch, f->sound, IMAGE_LEN);
	entries = (void *)(f->scratch + head->sections[MPROC__SECTION_CATALOGUE].off +
			   offsetof(struct mproc__catalogue, entries));
	pool = (void *)(f->scratch + data->off + 64);
	memset((void *)pool, 0, mproc__pool_size(3, 100));
	atomic_store(&pool->layout, MPROC__POOL_LAYOUT);
	atomic_store(&pool->n_workers, 3);
	atomic_store(&pool->n_tasks, 100);
	workers = (void *)(pool + 1);
	atomic_store(&workers[0].running, 100);
	/* There are no such slots. */
	atomic_store(&workers[1].running, 101);
	atomic_store(&workers[2].running, UINT32_MAX);
	for (uint32_t i = 0; i < head->n_objects; i++) {
		atomic_store(&entries[i].word, mproc__entry_word(i + 1, MPROC__ENTRY_LIVE));
		atomic_store(&entries[i].kind, MPROC__KIND_POOL);
		atomic_store(&entries[i].off, data->off + 64);
		atomic_store(&entries[i].len, data->len - 64);
	}
	source_memory(&source, f->scratch, IMAGE_LEN);
	image_read(&image, &source);
	assert_int_equal(image.verdict, IMAGE_GOOD);
	assert_int_equal(image.n_objects, head->n_objects);
	for (size_t i = 0; i < image.n_objects; i++)
		n_pools += image_object_is_whole(&image.objects[i]) &&
			   image.objects[i].pool.seen.n_workers == 3 &&
			   image.objects[i].pool.n_running == 1;
	assert_int_equal(n_pools, head->n_objects);
	/* What they may cost together is bounded, however many they are. */
	image.budget = 1;
	image_read_object(&image, &image.objects[0]);
	assert_true(image.objects[0].skipped);
	image_free(&image);
}

/* Make the first entry of the copy in scratch a value or array of these items. */
static void plant_cells(struct fixture *f, uint32_t kind, uint32_t size, uint64_t n_items,
			const void *item)
{
	const struct mproc__segment_head *head = (const void *)f->sound;
	uint64_t off = head->sections[MPROC__SECTION_DATA].off;
	struct mproc__cells_geometry g = {
		.kind = kind, .size = size, .align = size, .n_items = n_items, .n_dims = 1
	};
	struct mproc__cells_type *type;
	struct mproc__cells_shared *shared = (void *)(f->scratch + off);
	struct mproc__catalogue *catalogue =
		(void *)(f->scratch + head->sections[MPROC__SECTION_CATALOGUE].off);

	memcpy(f->scratch, f->sound, IMAGE_LEN);
	mproc__cells_place(&g);
	memset((void *)shared, 0, MPROC__CELLS_HEAD_MAX);
	shared->layout = MPROC__CELLS_LAYOUT;
	shared->kind = (uint8_t)kind;
	shared->n_dims = 1;
	shared->size = size;
	shared->align = (uint16_t)size;
	shared->items = (uint16_t)g.items;
	shared->n_items = n_items;
	type = (void *)(f->scratch + off + g.type);
	if (g.type)
		strcpy(type->name, "struct \033[1m");
	memcpy(f->scratch + off + g.items, item, size);
	for (uint32_t i = 0; i < head->n_objects; i++)
		atomic_store(&catalogue->entries[i].word, 0);
	atomic_store(&catalogue->entries[0].word, mproc__entry_word(1, MPROC__ENTRY_LIVE));
	atomic_store(&catalogue->entries[0].kind, MPROC__KIND_VALUE);
	atomic_store(&catalogue->entries[0].off, off);
	atomic_store(&catalogue->entries[0].len, g.len);
}

static void look_at_cells(struct fixture *f, struct image_object *ret)
{
	struct source source;
	struct image image;

	source_memory(&source, f->scratch, IMAGE_LEN);
	image_read(&image, &source);
	assert_int_equal(image.verdict, IMAGE_GOOD);
	assert_int_equal(image.n_objects, 1);
	*ret = image.objects[0];
	image_free(&image);
}

/* What was given back is nobody's, though it is not yet joined to what is free beside it. */
static void dropped_pages_are_told_as_free(void **state)
{
	struct fixture *f = *state;
	const struct mproc__segment_head *head = (void *)f->scratch;
	struct mproc__arena_look before, now;
	struct mproc__arena_page *page;
	struct source source;
	struct image image;
	uint64_t off, word;

	memcpy(f->scratch, f->sound, IMAGE_LEN);
	source_memory(&source, f->scratch, IMAGE_LEN);
	image_read(&image, &source);
	before = image.arena.pages;
	off = object_named(&image, "block")->view.off;
	image_free(&image);
	page = (void *)(f->scratch + head->sections[MPROC__SECTION_ARENA].off +
			sizeof(struct mproc__arena));
	page += (off - head->sections[MPROC__SECTION_DATA].off) / MPROC__ARENA_PAGE;
	word = atomic_load(&page->word);
	assert_int_equal(mproc__arena_state(word), MPROC__ARENA_USED);
	atomic_store(&page->word,
		     mproc__arena_word(mproc__arena_generation(word), 0, MPROC__ARENA_DROPPED));
	image_read(&image, &source);
	now = image.arena.pages;
	assert_int_equal(now.n_used, before.n_used - 2);
	assert_int_equal(now.n_free, before.n_free + 2);
	assert_int_equal(now.n_private, before.n_private);
	image_free(&image);
}

static void value_is_told_by_its_type(void **state)
{
	struct fixture *f = *state;
	struct image_object object;
	char text[80];

	plant_cells(f, MPROC_INT, 1, 1, &(int8_t){ -5 });
	look_at_cells(f, &object);
	assert_true(object.cells.scalar);
	assert_int_equal(object.cells.value.i, -5);
	assert_string_equal(image_type_text(text, &object.cells), "int8");
	plant_cells(f, MPROC_INT, 8, 1, &(int64_t){ INT64_MIN });
	look_at_cells(f, &object);
	assert_int_equal(object.cells.value.i, INT64_MIN);
	plant_cells(f, MPROC_UINT, 8, 1, &(uint64_t){ UINT64_MAX });
	look_at_cells(f, &object);
	assert_true(object.cells.value.u == UINT64_MAX);
	plant_cells(f, MPROC_FLOAT, 4, 1, &(float){ 1.5F });
	look_at_cells(f, &object);
	assert_true(object.cells.value.f == 1.5);
	plant_cells(f, MPROC_FLOAT, 8, 1, &(double){ -0.25 });
	look_at_cells(f, &object);
	assert_true(object.cells.value.f == -0.25);
	plant_cells(f, MPROC_BOOL, 1, 1, &(uint8_t){ 77 });
	look_at_cells(f, &object);
	assert_true(object.cells.scalar && object.cells.value.b);

	/* Neither an array nor a struct is one number. */
	plant_cells(f, MPROC_INT, 4, 3, &(int32_t){ 7 });
	look_at_cells(f, &object);
	assert_true(image_object_is_whole(&object) && !object.cells.scalar);
	assert_int_equal(object.cells.geometry.n_items, 3);
	plant_cells(f, MPROC_BYTES, 8, 1, &(uint64_t){ 7 });
	look_at_cells(f, &object);
	assert_true(image_object_is_whole(&object) && !object.cells.scalar);
	/* And what cannot be is said to be so. */
	plant_cells(f, MPROC_FLOAT, 2, 1, &(uint16_t){ 7 });
	look_at_cells(f, &object);
	assert_false(object.possible);
	assert_true(object.why[0]);
}

/* What a terminal gets of @text: no control characters, and valid UTF-8. */
static bool is_harmless(const char *text)
{
	for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
		if (*s < 0x20 || *s == 0x7f || *s >= 0xf8)
			return false;
		if (*s == 0xc2 && s[1] < 0xa0)
			return false;
	}
	return true;
}

static void no_string_from_memory_reaches_a_terminal_as_it_is(void **state)
{
	struct fixture *f = *state;
	unsigned char longest[4 * TEXT_MAX];
	uint64_t seed = f->seed;
	struct text buf;

	for (unsigned a = 0; a < 256; a++)
		for (unsigned b = 0; b < 256; b++) {
			unsigned char bytes[2] = { (unsigned char)a, (unsigned char)b };

			assert_true(is_harmless(text_escape(&buf, bytes, 2)));
		}
	for (int i = 0; i < 20000; i++) {
		unsigned char bytes[300];
		size_t len = t_random(&seed) % sizeof(bytes);

		for (size_t k = 0; k < len; k++)
			bytes[k] = (unsigned char)t_random(&seed);
		assert_true(is_harmless(text_escape(&buf, bytes, len)));
		assert_true(strlen(buf.at) < sizeof(buf.at));
	}
	/* At most so much of it, however long it is. */
	memset(longest, 1, sizeof(longest));
	assert_int_equal(strlen(text_escape(&buf, longest, sizeof(longest))), 4 * TEXT_MAX + 3);
	assert_string_equal(text_escape(&buf, "a\033[1m\\", 6), "a\\x1b[1m\\\\");
	assert_string_equal(text_escape(&buf, "Gr\xc3\xbc\xc3\x9f", 6), "Gr\xc3\xbc\xc3\x9f");
	assert_string_equal(text_escape(&buf, "\xe2\x80\xae", 3), "\\xe2\\x80\\xae");
	assert_string_equal(text_escape(&buf, "\xc0\xaf", 2), "\\xc0\\xaf");
	assert_string_equal(text_escape(&buf, "\xed\xa0\x80", 3), "\\xed\\xa0\\x80");
	assert_string_equal(text_escape(&buf, "\xc3", 1), "\\xc3");
}

static void sizes_and_ages_are_short(void **state)
{
	char buf[32];

	(void)state;
	assert_string_equal(text_size(buf, 0), "0 B");
	assert_string_equal(text_size(buf, 1536), "1.5 KiB");
	assert_string_equal(text_size(buf, UINT64_MAX), "16 EiB");
	assert_string_equal(text_age(buf, 5, 5), "0 s");
	assert_string_equal(text_age(buf, 5, 4), "0 s");
	assert_string_equal(text_age(buf, 0, 4), "?");
	assert_string_equal(text_age(buf, 1, UINT64_C(7200000000001)), "2 h");
	assert_string_equal(text_time(buf, 0), "?");
	/* Whatever is in memory must not end the program. */
	text_time(buf, UINT64_MAX);
}

static mproc_segment *growing;

static void grow_by_and_by(void *arg)
{
	char name[32];
	void *object;

	(void)arg;
	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "%d", i);
		t_check(mproc_segment_object(&object, growing, name, 300000, NULL, NULL) == 1);
	}
}

/* Nobody is stopped for a look: size, pages and objects are of different moments. */
static void segment_that_grows_meanwhile_is_found_good(void **state)
{
	uint64_t n_looks = 0, n_grown = 0;
	struct source source;
	char path[512];
	struct image image;
	pid_t pid;
	siginfo_t ended = { 0 };

	(void)state;
	assert_int_equal(mproc_segment_create(
				 &growing, "growing",
				 MPROC_SEGMENT_OPTS(.bytes = 512 << 10, .bytes_max = 256 << 20)),
			 0);
	snprintf(path, sizeof(path), "%s/mproc.growing", t_private_dir());
	pid = t_spawn(grow_by_and_by, NULL);
	do {
		assert_int_equal(waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
		assert_int_equal(source_open(&source, path, false), 0);
		image_read(&image, &source);
		if (image.verdict != IMAGE_GOOD)
			print_message("# %s\n", image.why);
		assert_int_equal(image.verdict, IMAGE_GOOD);
		assert_true(image.n_grown >= n_grown);
		assert_true(image_memory(&image) <= 256 << 20);
		n_grown = image.n_grown;
		n_looks++;
		image_free(&image);
		source_close(&source);
	} while (!ended.si_pid);
	assert_true(n_looks > 1);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(source_open(&source, path, false), 0);
	image_read(&image, &source);
	assert_int_equal(image.verdict, IMAGE_GOOD);
	assert_int_equal(image.n_live, 400);
	assert_true(image.n_grown > 5);
	assert_int_equal(image_memory(&image), (uint64_t)source.st.st_blocks * 512);
	assert_int_equal(image.arena.pages.n_lost, 0);
	image_free(&image);
	source_close(&source);
	mproc_segment_close(growing);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(sound_segment_is_told_in_full),
		TEST(dead_participant_is_told_from_a_stopped_one),
		TEST(reading_is_read_only_and_changes_no_byte),
		TEST(truncated_image_is_never_called_good),
		TEST(file_that_shrinks_while_it_is_read_is_never_called_good),
		TEST(what_is_no_segment_of_ours_is_said_to_be_so),
		TEST(no_single_wrong_word_does_harm),
		TEST(no_number_of_wrong_words_does_harm),
		TEST(many_objects_that_claim_one_place_are_soon_enough),
		TEST(dropped_pages_are_told_as_free),
		TEST(value_is_told_by_its_type),
		TEST(no_string_from_memory_reaches_a_terminal_as_it_is),
		TEST(sizes_and_ages_are_short),
		cmocka_unit_test(segment_that_grows_meanwhile_is_found_good),
	};

	return cmocka_run_group_tests_name("shmtool_image", tests, NULL, NULL);
}
