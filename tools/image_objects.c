/* SPDX-License-Identifier: MIT */

/*
 * What lies in a copied segment: the catalogue, and the objects by their kinds
 *
 * Mutexes and events that users put into blocks of their own are not in the
 * catalogue: nothing in memory says where they are.
 */

#include "tools/image.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tools/text.h"

#define GROW    64
#define BUDGET  (UINT64_C(32) << 20)
#define RETRIES 16 /* of a look at cursors that belong to different moments */

static void __attribute__((__format__(__printf__, 2, 3)))
impossible(struct image_object *object, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(object->why, sizeof(object->why), fmt, ap);
	va_end(ap);
	object->possible = false;
}

static void add_object(struct image *image, uint32_t i, const void *record)
{
	const struct mproc__section *data = &image->head.sections[MPROC__SECTION_DATA];
	struct mproc__entry_view view;
	struct image_object *object;
	char why[IMAGE_WHY] = "";
	bool possible;

	possible = mproc__entry_check(record, data->off, image->size - data->off, &view, why,
				      sizeof(why));
	if (view.state == MPROC__ENTRY_EMPTY || view.state == MPROC__ENTRY_TOMB)
		return;
	/* Where a reservation leads to is written last; a removal leads nowhere any more. */
	if (view.state == MPROC__ENTRY_RESERVED || view.state == MPROC__ENTRY_DYING)
		possible = true;
	if (image->n_objects % GROW == 0)
		image->objects = text_alloc(image->objects,
					    (image->n_objects + GROW) * sizeof(*image->objects));
	object = &image->objects[image->n_objects++];
	memset(object, 0, sizeof(*object));
	object->entry = i;
	object->view = view;
	object->possible = possible;
	memcpy(object->why, why, sizeof(why));
	image->n_live += view.state == MPROC__ENTRY_LIVE;
}

bool image_read_catalogue(struct image *image)
{
	const struct mproc__section *section = &image->head.sections[MPROC__SECTION_CATALOGUE];
	struct mproc__catalogue head;

	if (!image_copy(image, &head, sizeof(head), section->off, "catalogue"))
		return false;
	if (!mproc__catalogue_check(&head, image->head.n_objects, section->len, image->why,
				    sizeof(image->why))) {
		image->verdict = IMAGE_CORRUPT;
		return false;
	}
	return image_records(image, section->off + offsetof(struct mproc__catalogue, entries),
			     sizeof(struct mproc__entry), image->head.n_objects, "catalogue",
			     add_object);
}

/* Copy some of an object; what cannot be had condemns the object, not the segment. */
static bool copy_object(struct image *image, struct image_object *object, void *buf, size_t len,
			uint64_t at)
{
	ssize_t r;

	if (len > image->budget) {
		object->skipped = true;
		return false;
	}
	image->budget -= len;
	r = image->source->read(image->source, buf, len, object->view.off + at);
	if (r == (ssize_t)len)
		return true;
	impossible(object, "%s", r < 0 ? strerror((int)-r) : "the file ends inside it");
	return false;
}

static void read_queue(struct image *image, struct image_object *object)
{
	struct mproc__queue_shared head;

	for (int i = 0; i < RETRIES; i++) {
		if (!copy_object(image, object, &head, sizeof(head), 0))
			return;
		if (!mproc__queue_look(&head, object->view.len, &object->queue)) {
			impossible(object, "its geometry is impossible, or of another layout");
			return;
		}
		if (object->queue.possible)
			break;
	}
	if (!object->queue.possible)
		impossible(object, "its cursors do not fit its geometry");
	object->queue_sleepers =
		(atomic_load_explicit(&head.not_empty.sleepers, memory_order_relaxed) & 1) |
		(atomic_load_explicit(&head.not_full.sleepers, memory_order_relaxed) & 1) << 1;
}

static void copy_workers(struct image_pool *pool, const void *copy)
{
	const struct mproc__pool_shared *shared = copy;
	const struct mproc__pool_worker *raw = (const void *)(shared + 1);
	const _Atomic(uint64_t) *slots =
		(const void *)((const char *)copy + mproc__pool_slots_off(pool->seen.n_workers));

	free(pool->workers);
	pool->n_running = 0;
	pool->workers = text_alloc(NULL, pool->seen.n_workers * sizeof(*pool->workers));
	for (uint32_t i = 0; i < pool->seen.n_workers; i++) {
		uint32_t running = atomic_load_explicit(&raw[i].running, memory_order_relaxed);

		pool->workers[i] = (struct image_worker){
			.pid = atomic_load_explicit(&raw[i].pid, memory_order_relaxed),
			.ready = atomic_load_explicit(&raw[i].ready, memory_order_relaxed),
			.n_done = atomic_load_explicit(&raw[i].n_done, memory_order_relaxed),
			.n_deaths = atomic_load_explicit(&raw[i].n_deaths, memory_order_relaxed),
			.since = atomic_load_explicit(&raw[i].since, memory_order_relaxed),
		};
		if (running && running <= pool->seen.n_tasks) {
			pool->n_running++;
			pool->workers[i].running = running;
			pool->workers[i].attempt = mproc__slot_attempt(
				atomic_load_explicit(&slots[running - 1], memory_order_relaxed));
		}
	}
}

static void read_pool(struct image *image, struct image_object *object)
{
	uint64_t most = mproc__pool_size(MPROC__POOL_WORKERS_MAX, MPROC__POOL_TASKS_MAX);
	uint64_t len = object->view.len < most ? object->view.len : most;
	void *copy;

	if (len < sizeof(struct mproc__pool_shared)) {
		impossible(object, "%u bytes are too few for a pool", (unsigned)len);
		return;
	}
	/* The structs in it are aligned to what they are aligned to in a segment. */
	copy = aligned_alloc(64, (size_t)((len + 63) & ~UINT64_C(63)));
	if (!copy) {
		impossible(object, "no memory for a copy");
		return;
	}
	if (copy_object(image, object, copy, (size_t)len, 0)) {
		if (mproc__pool_look(copy, len, &object->pool.seen, object->why,
				     sizeof(object->why)) < 0)
			object->possible = false;
		else
			copy_workers(&object->pool, copy);
	}
	free(copy);
}

static int compare_off(const void *a, const void *b, void *arg)
{
	const struct image *image = arg;
	uint64_t x = image->objects[*(const size_t *)a].view.off;
	uint64_t y = image->objects[*(const size_t *)b].view.off;

	return x < y ? -1 : x > y;
}

static void index_objects(struct image *image)
{
	image->by_off = text_alloc(NULL, image->n_objects * sizeof(*image->by_off));
	for (size_t i = 0; i < image->n_objects; i++)
		if (image->objects[i].possible && image->objects[i].view.state == MPROC__ENTRY_LIVE)
			image->by_off[image->n_by_off++] = i;
	if (image->n_by_off)
		qsort_r(image->by_off, image->n_by_off, sizeof(*image->by_off), compare_off, image);
}

/* Index of the object that contains @off, or image->n_objects. */
static size_t find_object(const struct image *image, uint64_t off)
{
	size_t from = 0, to = image->n_by_off;
	const struct mproc__entry_view *view;

	/* The last one that does not begin behind it. */
	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (image->objects[image->by_off[middle]].view.off <= off)
			from = middle + 1;
		else
			to = middle;
	}
	if (!from)
		return image->n_objects;
	view = &image->objects[image->by_off[from - 1]].view;
	return off - view->off < view->len ? image->by_off[from - 1] : image->n_objects;
}

const struct image_object *image_object_at(const struct image *image, uint64_t off)
{
	size_t i = find_object(image, off);

	return i < image->n_objects ? &image->objects[i] : NULL;
}

/* One item of a type that is a number. */
static void take_scalar(struct image_cells *cells, const unsigned char bytes[8])
{
	uint32_t size = cells->geometry.size;
	uint64_t word = 0;
	float small;

	/* Little endian: the low bytes come first. */
	memcpy(&word, bytes, size);
	cells->scalar = true;
	switch (cells->geometry.kind) {
	case MPROC_BOOL:
		cells->value.b = word != 0;
		break;
	case MPROC_INT:
		cells->value.i = (int64_t)(word << (64 - 8 * size)) >> (64 - 8 * size);
		break;
	case MPROC_UINT:
		cells->value.u = word;
		break;
	case MPROC_FLOAT:
		memcpy(&small, bytes, sizeof(small));
		if (size == sizeof(small))
			cells->value.f = small;
		else
			memcpy(&cells->value.f, bytes, sizeof(double));
		break;
	default:
		cells->scalar = false;
	}
}

static void read_cells(struct image *image, struct image_object *object)
{
	struct image_cells *cells = &object->cells;
	/* Aligned as it is in a segment. */
	uint64_t head[MPROC__CELLS_HEAD_MAX / sizeof(uint64_t)] = { 0 };
	uint64_t len = object->view.len < sizeof(head) ? object->view.len : sizeof(head);
	const struct mproc__cells_lock *lock;
	unsigned char item[8] = { 0 };

	if (!copy_object(image, object, head, (size_t)len, 0))
		return;
	if (!mproc__cells_check(head, object->view.len, &cells->geometry)) {
		impossible(object, "its type is impossible, or of another layout");
		return;
	}
	if (cells->geometry.lock) {
		lock = (const void *)((const char *)head + cells->geometry.lock);
		cells->owner = atomic_load_explicit(&lock->lock.word, memory_order_relaxed);
		cells->left = (atomic_load_explicit(&lock->section, memory_order_relaxed) &
			       MPROC__SECTION_STATE) == MPROC__SECTION_LEFT;
	}
	if (cells->geometry.n_items == 1 && cells->geometry.kind != MPROC_BYTES &&
	    copy_object(image, object, item, cells->geometry.size, cells->geometry.items))
		take_scalar(cells, item);
}

static void read_dict(struct image *image, struct image_object *object)
{
	uint64_t len = object->view.len;
	struct mproc__dict_shared *copy;

	if (len < sizeof(*copy) || len > mproc__dict_bytes(MPROC__DICT_STRIPES_MAX)) {
		impossible(object, "%" PRIu64 " bytes are no dict", len);
		return;
	}
	copy = aligned_alloc(128, (size_t)((len + 127) & ~UINT64_C(127)));
	if (!copy) {
		impossible(object, "no memory for a copy");
		return;
	}
	if (copy_object(image, object, copy, (size_t)len, 0) &&
	    !mproc__dict_look(copy, len, &object->dict))
		impossible(object, "its geometry is impossible, or of another layout");
	free(copy);
}

static void read_body(struct image *image, struct image_object *object)
{
	struct mproc__body_shared head;

	if (object->view.len < sizeof(head)) {
		impossible(object, "%u bytes are too few", (unsigned)object->view.len);
		return;
	}
	if (!copy_object(image, object, &head, sizeof(head), 0))
		return;
	if (!mproc__body_check(&head, object->view.len, &object->body))
		impossible(object, "its head is impossible, or of another layout");
}

char *image_type_text(char buf[80], const struct image_cells *cells)
{
	return mproc__cell_text(buf, 80, cells->geometry.kind, cells->geometry.size,
				cells->geometry.type_name);
}

/* The records of a copied ring, of which the last ones are kept. */
static bool take_lines(struct image_ringlog *ring, const uint64_t *words)
{
	const struct mproc__ringlog_look *look = &ring->look;
	uint64_t mask = look->cap / 8 - 1, pos = look->head;

	ring->lines = text_alloc(NULL, IMAGE_LINES * sizeof(*ring->lines));
	/* Each turn takes a record from what is at most a ring. */
	while (pos != look->tail) {
		struct image_line *line = &ring->lines[IMAGE_LINES - 1];
		uint64_t head[MPROC__RINGLOG_WORDS];
		size_t n;

		for (uint32_t i = 0; i < MPROC__RINGLOG_WORDS; i++)
			head[i] = words[(pos / 8 + i) & mask];
		if (ring->n_lines < IMAGE_LINES)
			line = &ring->lines[ring->n_lines++];
		else
			memmove(ring->lines, ring->lines + 1,
				(IMAGE_LINES - 1) * sizeof(*ring->lines));
		if (!mproc__ringlog_record(head, pos, look->tail - pos, look->record_max,
					   &line->record)) {
			ring->n_lines--;
			return false;
		}
		n = line->record.len < IMAGE_LINE_MAX ? line->record.len : IMAGE_LINE_MAX;
		for (size_t i = 0; i < n; i++) {
			uint64_t at = pos + MPROC__RINGLOG_HEAD + i;

			line->bytes[i] = (unsigned char)(words[at / 8 & mask] >> at % 8 * 8);
		}
		ring->n_records++;
		pos += line->record.size;
	}
	return true;
}

static void read_ringlog(struct image *image, struct image_object *object)
{
	struct image_ringlog *ring = &object->ringlog;
	struct mproc__ringlog_shared head, later;
	struct mproc__ringlog_look now;
	uint64_t *words;

	if (object->view.len < sizeof(head)) {
		impossible(object, "%u bytes are too few", (unsigned)object->view.len);
		return;
	}
	if (!copy_object(image, object, &head, sizeof(head), 0))
		return;
	if (!mproc__ringlog_look(&head, object->view.len, &ring->look) || !ring->look.possible) {
		impossible(object, "its geometry is impossible, or of another layout");
		return;
	}
	/* Only the records are left out of a log that is too large to be looked at. */
	if (ring->look.cap > image->budget)
		return;
	words = text_alloc(NULL, (size_t)ring->look.cap);
	/* What was overwritten while it was copied is before the head as it is after that. */
	if (copy_object(image, object, words, (size_t)ring->look.cap, sizeof(head)) &&
	    copy_object(image, object, &later, sizeof(later), 0)) {
		if (mproc__ringlog_look(&later, object->view.len, &now) &&
		    now.head - ring->look.head <= ring->look.tail - ring->look.head)
			ring->look.head = now.head;
		else
			ring->look.head = ring->look.tail;
		if (!take_lines(ring, words))
			impossible(object, "what should be a record is none");
	}
	free(words);
}

void image_read_object(struct image *image, struct image_object *object)
{
	switch (object->view.kind) {
	case MPROC__KIND_QUEUE:
		read_queue(image, object);
		break;
	case MPROC__KIND_POOL:
		read_pool(image, object);
		break;
	case MPROC__KIND_VALUE:
	case MPROC__KIND_ARRAY:
		read_cells(image, object);
		break;
	case MPROC__KIND_DICT:
	case MPROC__KIND_NAMESPACE:
		read_dict(image, object);
		break;
	case MPROC__KIND_LIST:
	case MPROC__KIND_STRING:
		read_body(image, object);
		break;
	case MPROC__KIND_RINGLOG:
		read_ringlog(image, object);
		break;
	default:
		break;
	}
}

void image_read_objects(struct image *image)
{
	index_objects(image);
	image->budget = BUDGET;
	for (size_t i = 0; i < image->n_objects; i++) {
		struct image_object *object = &image->objects[i];

		if (object->possible && object->view.state == MPROC__ENTRY_LIVE)
			image_read_object(image, object);
		image->n_damaged += !object->possible;
	}
	for (size_t i = 0; i < image->n_threads; i++) {
		uint64_t what = image->threads[i].waits_on;
		size_t k = find_object(image, mproc__what_off(what));

		if (what && k < image->n_objects)
			image->objects[k].n_waiters++;
	}
}
