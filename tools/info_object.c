/* SPDX-License-Identifier: MIT */

/*
 * One object of a segment, by its kind, for people
 */

#include "tools/info.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Who owns a lock: "nobody", "pid 4711 tid 4712 (dead)". Return: @buf. */
static char *owner_text(char buf[80], const struct image *image, uint64_t word)
{
	const struct image_thread *thread = image_owner(image, word);
	const struct image_proc *proc = thread ? image_proc(image, thread->slot) : NULL;

	if (!mproc__owner_id(word))
		strcpy(buf, "nobody");
	else if (!thread)
		strcpy(buf, "a thread that is gone");
	else
		snprintf(buf, 80, "pid %" PRIu32 " tid %" PRIu32 " (%s)", proc ? proc->pid : 0,
			 thread->tid, image_life_name(thread->life));
	return buf;
}

static void print_queue(const struct image *image, const struct image_object *object)
{
	const struct mproc__queue_look *q = &object->queue;
	char used[24], ring[24], put[24], got[24], putter[80], getter[80];
	uint32_t n = object->n_waiters;

	printf("  messages     %" PRIu32 " of at most %" PRIu32 ", each of at most %" PRIu32
	       " bytes%s\n",
	       q->n_messages, q->geometry.depth, q->geometry.msg_max, q->down ? "; shut down" : "");
	printf("  ring         %s of %s\n", text_size(used, q->bytes),
	       text_size(ring, q->geometry.ring_size));
	printf("  put          %" PRIu64 " (%s), %" PRIu64 " found it full\n", q->n_puts,
	       text_size(put, q->bytes_put), q->n_put_waits);
	printf("  got          %" PRIu64 " (%s), %" PRIu64 " found it empty\n", q->n_gets,
	       text_size(got, q->bytes_got), q->n_get_waits);
	printf("  locks        putters: %s; getters: %s\n", owner_text(putter, image, q->put_owner),
	       owner_text(getter, image, q->get_owner));
	printf("  asleep       %" PRIu32 "%s%s\n", n,
	       object->queue_sleepers & 1 ? ", for messages" : "",
	       object->queue_sleepers & 2 ? ", for room" : "");
	if (q->n_died)
		printf("  died inside  %" PRIu64 " calls\n", q->n_died);
}

static void print_pool(const struct image *image, const struct image_object *object)
{
	static const char *const heads[] = { "WORKER", "PID",    "STATE", "SINCE",
					     "DONE",   "DEATHS", NULL };
	const struct image_pool *pool = &object->pool;
	const struct mproc__pool_seen *seen = &pool->seen;
	const struct image_object *tasks = image_object_at(image, seen->tasks);
	const struct image_object *done = image_object_at(image, seen->done);
	uint32_t n_finished = 0;
	struct text buf, name;
	struct table table;

	printf("  state        %s, of pid %" PRIu32 "\n", pool_state(seen), seen->parent);
	/* The two counts are of different moments. */
	if (seen->slots_claimed > pool->n_running)
		n_finished = seen->slots_claimed - pool->n_running;
	printf("  tasks        %" PRIu32 " queued, %" PRIu32 " running, %" PRIu32
	       " finished and not collected\n",
	       seen->slots_submitted, pool->n_running, n_finished);
	printf("  so far       %" PRIu64 " submitted, %" PRIu64 " done (%" PRIu64
	       " failed), %" PRIu64 " retried\n",
	       seen->n_submitted, seen->n_done, seen->n_failed, seen->n_retried);
	printf("  slots        %" PRIu32 " free of %" PRIu32 "; a task has at most %" PRIu32
	       " bytes\n",
	       seen->slots_free, seen->n_tasks, seen->task_max);
	printf("  queues       tasks: %s, results: %s\n", tasks ? object_text(&buf, tasks) : "gone",
	       done ? object_text(&name, done) : "gone");
	printf("  workers      %" PRIu32 ", %" PRIu64 " deaths\n", seen->n_workers, seen->n_deaths);
	table_begin(&table, "    ", "rr--rr", heads);
	for (uint32_t i = 0; i < seen->n_workers; i++) {
		const struct image_worker *worker = &pool->workers[i];
		const char *state = worker_state(image, worker);
		bool stopped = worker_stopped(image, worker);
		char when[32];

		table_cell(&table, "%" PRIu32, i);
		table_cell(&table, "%" PRIu32, worker->pid);
		if (worker->running)
			table_cell(&table, "%s, task in slot %" PRIu32 ", attempt %" PRIu32 "%s",
				   state, worker->running - 1, worker->attempt,
				   stopped ? ", stopped" : "");
		else
			table_cell(&table, "%s%s", state, stopped ? ", stopped" : "");
		table_cell(&table, "%s", text_time(when, worker->since));
		table_cell(&table, "%" PRIu64, worker->n_done);
		table_cell(&table, "%" PRIu64, worker->n_deaths);
	}
	table_end(&table, stdout);
}

static void print_dict(const struct image *image, const struct image_object *object)
{
	const struct mproc__dict_look *d = &object->dict;
	char owner[80];

	printf("  entries      %" PRIu64, d->n_items);
	if (d->geometry.max_items)
		printf(" of at most %" PRIu64, d->geometry.max_items);
	printf("\n  stripes      %" PRIu32 ", with %" PRIu64 " buckets\n", d->geometry.n_stripes,
	       d->n_buckets);
	printf("  changes      %" PRIu64 "\n", d->n_changes);
	printf("  locked       %" PRIu32 " stripes", d->n_locked);
	if (d->n_locked)
		printf(", one by %s", owner_text(owner, image, d->owner));
	printf("%s\n", d->n_busy ? "; in the middle of a change" : "");
}

static char *value_text(char buf[40], const struct image_cells *cells)
{
	if (!cells->scalar)
		strcpy(buf, "-");
	else if (cells->geometry.kind == MPROC_BOOL)
		strcpy(buf, cells->value.b ? "true" : "false");
	else if (cells->geometry.kind == MPROC_INT)
		snprintf(buf, 40, "%" PRId64, cells->value.i);
	else if (cells->geometry.kind == MPROC_UINT)
		snprintf(buf, 40, "%" PRIu64, cells->value.u);
	else
		snprintf(buf, 40, "%.*g", cells->geometry.size == sizeof(float) ? 9 : 17,
			 cells->value.f);
	return buf;
}

/* "12", "3 x 4". Return: @buf. */
static char *shape_text(char *buf, size_t cap, const struct mproc__cells_geometry *g)
{
	size_t len = 0;

	buf[0] = '\0';
	for (uint32_t i = 0; i < g->n_dims && len < cap; i++)
		len += (size_t)snprintf(buf + len, cap - len, "%s%" PRIu64, i ? " x " : "",
					g->shape[i]);
	return buf;
}

static bool is_cells(const struct image_object *object)
{
	return image_object_is_whole(object) &&
	       (object->view.kind == MPROC__KIND_VALUE || object->view.kind == MPROC__KIND_ARRAY);
}

static bool is_body(const struct image_object *object)
{
	return image_object_is_whole(object) &&
	       (object->view.kind == MPROC__KIND_LIST || object->view.kind == MPROC__KIND_STRING);
}

static void print_bodies(const struct image *image)
{
	static const char *const heads[] = { "NAME", "KIND", "LEN", "CHANGES", "LOCK", NULL };
	struct table table;
	size_t n = 0;

	table_begin(&table, "  ", "--rr", heads);
	for (size_t i = 0; i < image->n_objects; i++) {
		const struct image_object *object = &image->objects[i];
		const struct mproc__body_look *body = &object->body;
		struct text name;
		char owner[80];

		if (!is_body(object))
			continue;
		n++;
		table_cell(&table, "%s", object_text(&name, object));
		table_cell(&table, "%s", mproc__kind_name(object->view.kind));
		table_cell(&table, "%" PRIu64 " %s", body->len,
			   object->view.kind == MPROC__KIND_LIST ? "items" : "bytes");
		table_cell(&table, "%" PRIu64, body->version);
		table_cell(&table, "%s%s%s", owner_text(owner, image, body->owner),
			   body->left ? "; its last owner died, left as it was" : "",
			   body->busy ? "; a change is to be finished" : "");
	}
	if (n)
		printf("\nstrings and lists: %zu\n", n);
	table_end(&table, n ? stdout : NULL);
}

static void print_cells(const struct image *image)
{
	static const char *const heads[] = { "NAME", "TYPE", "ITEMS", "VALUE", "LOCK", NULL };
	struct table table;
	size_t n = 0;

	table_begin(&table, "  ", "--rr", heads);
	for (size_t i = 0; i < image->n_objects; i++) {
		const struct image_object *object = &image->objects[i];
		const struct image_cells *cells = &object->cells;
		char type[80], value[40], owner[80], items[200];
		struct text name, text;

		if (!is_cells(object))
			continue;
		n++;
		table_cell(&table, "%s", object_text(&name, object));
		table_cell(&table, "%s",
			   text_escape_str(&text, image_type_text(type, cells), sizeof(type)));
		table_cell(&table, "%s", shape_text(items, sizeof(items), &cells->geometry));
		table_cell(&table, "%s", value_text(value, cells));
		if (cells->geometry.flags)
			table_cell(&table, "%s",
				   cells->geometry.mutex ? "a given mutex" : "none: raw");
		else
			table_cell(&table, "%s%s", owner_text(owner, image, cells->owner),
				   cells->left ? "; its last owner died, left as it was" : "");
	}
	if (n)
		printf("\nvalues and arrays: %zu\n", n);
	table_end(&table, n ? stdout : NULL);
}

static void print_ringlog(const struct image_object *object)
{
	const struct image_ringlog *ring = &object->ringlog;
	char used[24], cap[24], when[32];
	struct text buf;

	printf("  records      %" PRIu64 " of %" PRIu64 " ever, each of at most %" PRIu32
	       " bytes\n",
	       ring->n_records, ring->look.seq, ring->look.record_max);
	printf("  ring         %s of %s\n", text_size(used, ring->look.tail - ring->look.head),
	       text_size(cap, ring->look.cap));
	for (uint32_t i = 0; i < ring->n_lines; i++) {
		const struct image_line *line = &ring->lines[i];
		size_t len = line->record.len < IMAGE_LINE_MAX ? line->record.len : IMAGE_LINE_MAX;

		printf("    %" PRIu64 "  %s  pid %" PRIu32 " tid %" PRIu32 "  %s%s\n",
		       line->record.seq, text_time(when, (uint64_t)line->record.time),
		       line->record.pid, line->record.tid, text_escape(&buf, line->bytes, len),
		       len < line->record.len ? " ..." : "");
	}
}

void info_print_objects(const struct image *image)
{
	print_cells(image);
	print_bodies(image);
	for (size_t i = 0; i < image->n_objects; i++) {
		const struct image_object *object = &image->objects[i];
		uint32_t kind = object->view.kind;
		struct text buf, shown;

		if (!image_object_is_whole(object) ||
		    (kind != MPROC__KIND_QUEUE && kind != MPROC__KIND_POOL &&
		     kind != MPROC__KIND_DICT && kind != MPROC__KIND_NAMESPACE &&
		     kind != MPROC__KIND_RINGLOG))
			continue;
		printf("\n%s\n", text_terminal(&shown, object_text(&buf, object)));
		if (kind == MPROC__KIND_QUEUE)
			print_queue(image, object);
		else if (kind == MPROC__KIND_DICT || kind == MPROC__KIND_NAMESPACE)
			print_dict(image, object);
		else if (kind == MPROC__KIND_RINGLOG)
			print_ringlog(object);
		else
			print_pool(image, object);
	}
}
