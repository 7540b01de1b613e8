/* SPDX-License-Identifier: MIT */

/*
 * One segment, for programs: what info prints, and what it leaves out
 */

#include "tools/info.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

json_object *what_json(const struct image *image, uint64_t what)
{
	const struct image_object *object = image_object_at(image, mproc__what_off(what));
	json_object *ret = json_object_new_object();

	json_put_text(ret, "kind", mproc__kind_name(mproc__what_kind(what)));
	json_put_uint(ret, "offset", mproc__what_off(what));
	json_put(ret, "entry", object ? json_object_new_uint64(object->entry) : NULL);
	json_put_bytes(ret, "object", object ? object->view.name : NULL, sizeof(object->view.name));
	return ret;
}

static json_object *whats_json(const struct image *image, const uint64_t *whats, uint32_t n)
{
	json_object *ret = json_object_new_array();

	for (uint32_t i = 0; i < n; i++)
		json_object_array_add(ret, what_json(image, whats[i]));
	return ret;
}

static json_object *proc_json(const struct image_proc *proc)
{
	json_object *ret = json_object_new_object();
	char state[2] = { process_state(proc), '\0' };

	json_put_uint(ret, "slot", proc->slot);
	json_put_text(ret, "state", image_life_name(proc->life));
	json_put_uint(ret, "pid", proc->pid);
	json_put_uint(ret, "pid_namespace", proc->pid_ns);
	json_put_bool(ret, "pid_namespace_is_ours", proc->pid_ns == namespace_here());
	json_put_text(ret, "process_state", state[0] ? state : NULL);
	json_put_bytes(ret, "exe", proc->exe, sizeof(proc->exe));
	json_put_uint(ret, "since_ns", proc->since);
	json_put_uint(ret, "threads", proc->n_threads);
	return ret;
}

static json_object *thread_json(const struct image *image, const struct image_thread *thread)
{
	const struct image_proc *proc = image_proc(image, thread->slot);
	json_object *ret = json_object_new_object();

	json_put_uint(ret, "record", thread->index);
	json_put_uint(ret, "slot", thread->slot);
	json_put_text(ret, "state", image_life_name(thread->life));
	json_put(ret, "pid", proc ? json_object_new_uint64(proc->pid) : NULL);
	json_put_uint(ret, "tid", thread->tid);
	json_put_bytes(ret, "name", thread->name, sizeof(thread->name));
	json_put_uint(ret, "cpu", thread->cpu);
	json_put(ret, "holds", whats_json(image, thread->holds, thread->n_holds));
	json_put_uint(ret, "holds_not_noted", thread->n_lost);
	json_put(ret, "acting", whats_json(image, thread->acting, thread->n_acting));
	json_put(ret, "waits_on", thread->waits_on ? what_json(image, thread->waits_on) : NULL);
	return ret;
}

static json_object *arena_json(const struct image *image)
{
	const struct image_arena *arena = &image->arena;
	json_object *ret = json_object_new_object();

	json_put_uint(ret, "page_size", MPROC__ARENA_PAGE);
	json_put_uint(ret, "pages", arena->geometry.n_pages);
	json_put_uint(ret, "pages_free", arena->pages.n_free);
	json_put_uint(ret, "pages_largest_free", arena->pages.largest_free);
	json_put_uint(ret, "pages_used", arena->pages.n_used);
	json_put_uint(ret, "pages_private", arena->pages.n_private);
	json_put_uint(ret, "pages_slabs", arena->pages.n_slab);
	json_put_uint(ret, "pages_tables", arena->pages.n_tables);
	json_put_uint(ret, "pages_impossible", arena->pages.n_lost);
	json_put_uint(ret, "pages_not_looked_at", arena->n_skipped);
	json_put_uint(ret, "large_blocks", arena->n_runs_used);
	json_put_uint(ret, "small_blocks", arena->blocks.n_used);
	json_put_uint(ret, "small_blocks_free", arena->blocks.n_free);
	json_put_uint(ret, "small_blocks_private", arena->blocks.n_private);
	json_put_uint(ret, "small_blocks_impossible", arena->blocks.n_impossible);
	return ret;
}

/* null: nobody owns it. */
static json_object *owner_json(const struct image *image, uint64_t word)
{
	const struct image_thread *thread = image_owner(image, word);
	const struct image_proc *proc = thread ? image_proc(image, thread->slot) : NULL;
	json_object *ret;

	if (!mproc__owner_id(word))
		return NULL;
	ret = json_object_new_object();
	json_put(ret, "pid", proc ? json_object_new_uint64(proc->pid) : NULL);
	json_put(ret, "tid", thread ? json_object_new_uint64(thread->tid) : NULL);
	json_put_text(ret, "state", thread ? image_life_name(thread->life) : "dead");
	return ret;
}

static json_object *queue_json(const struct image *image, const struct image_object *object)
{
	const struct mproc__queue_look *q = &object->queue;
	json_object *ret = json_object_new_object();

	json_put_uint(ret, "messages", q->n_messages);
	json_put_uint(ret, "depth", q->geometry.depth);
	json_put_uint(ret, "message_max", q->geometry.msg_max);
	json_put_bool(ret, "shut_down", q->down);
	json_put_uint(ret, "ring_used", q->bytes);
	json_put_uint(ret, "ring_size", q->geometry.ring_size);
	json_put_uint(ret, "put", q->n_puts);
	json_put_uint(ret, "got", q->n_gets);
	json_put_uint(ret, "bytes_put", q->bytes_put);
	json_put_uint(ret, "bytes_got", q->bytes_got);
	json_put_uint(ret, "put_waits", q->n_put_waits);
	json_put_uint(ret, "get_waits", q->n_get_waits);
	json_put_uint(ret, "died_inside", q->n_died);
	json_put(ret, "put_lock_owner", owner_json(image, q->put_owner));
	json_put(ret, "get_lock_owner", owner_json(image, q->get_owner));
	json_put_uint(ret, "waiters", object->n_waiters);
	json_put_bool(ret, "sleepers_for_messages", object->queue_sleepers & 1);
	json_put_bool(ret, "sleepers_for_room", object->queue_sleepers & 2);
	return ret;
}

static json_object *pool_json(const struct image *image, const struct image_object *object)
{
	const struct mproc__pool_seen *seen = &object->pool.seen;
	const struct image_object *tasks = image_object_at(image, seen->tasks);
	const struct image_object *done = image_object_at(image, seen->done);
	json_object *ret = json_object_new_object(), *workers = json_object_new_array();

	json_put_text(ret, "state", pool_state(seen));
	json_put_uint(ret, "parent", seen->parent);
	json_put_uint(ret, "queued", seen->slots_submitted);
	json_put_uint(ret, "running", object->pool.n_running);
	json_put_uint(ret, "claimed", seen->slots_claimed);
	json_put_uint(ret, "submitted", seen->n_submitted);
	json_put_uint(ret, "done", seen->n_done);
	json_put_uint(ret, "failed", seen->n_failed);
	json_put_uint(ret, "retried", seen->n_retried);
	json_put_uint(ret, "deaths", seen->n_deaths);
	json_put_uint(ret, "slots", seen->n_tasks);
	json_put_uint(ret, "slots_free", seen->slots_free);
	json_put_uint(ret, "task_max", seen->task_max);
	json_put(ret, "tasks_entry", tasks ? json_object_new_uint64(tasks->entry) : NULL);
	json_put(ret, "results_entry", done ? json_object_new_uint64(done->entry) : NULL);
	for (uint32_t i = 0; i < seen->n_workers; i++) {
		const struct image_worker *worker = &object->pool.workers[i];
		json_object *one = json_object_new_object();
		bool runs = worker->running;

		json_put_uint(one, "pid", worker->pid);
		json_put_text(one, "state", worker_state(image, worker));
		json_put_bool(one, "stopped", worker_stopped(image, worker));
		json_put(one, "slot", runs ? json_object_new_uint64(worker->running - 1) : NULL);
		json_put(one, "attempt", runs ? json_object_new_uint64(worker->attempt) : NULL);
		json_put_uint(one, "done", worker->n_done);
		json_put_uint(one, "deaths", worker->n_deaths);
		json_put_uint(one, "since_ns", worker->since);
		json_object_array_add(workers, one);
	}
	json_put(ret, "workers", workers);
	return ret;
}

/* JSON has no infinities. */
static json_object *number_json(double value)
{
	char text[32];

	snprintf(text, sizeof(text), "%.17g", value);
	return isfinite(value) ? json_object_new_double_s(value, text)
			       : json_object_new_string(text);
}

static json_object *shape_json(const struct mproc__cells_geometry *g)
{
	json_object *ret = json_object_new_array();

	for (uint32_t i = 0; i < g->n_dims; i++)
		json_object_array_add(ret, json_object_new_uint64(g->shape[i]));
	return ret;
}

static json_object *cells_json(const struct image *image, const struct image_object *object)
{
	const struct image_cells *cells = &object->cells;
	json_object *ret = json_object_new_object(), *value = NULL;
	char type[80];

	json_put_bytes(ret, "type", image_type_text(type, cells), sizeof(type));
	json_put_uint(ret, "items", cells->geometry.n_items);
	json_put_uint(ret, "item_size", cells->geometry.size);
	json_put(ret, "shape", shape_json(&cells->geometry));
	json_put_uint(ret, "items_off", object->view.off + cells->geometry.items);
	json_put_bool(ret, "raw", cells->geometry.flags & MPROC__CELLS_RAW);
	if (cells->scalar && cells->geometry.kind == MPROC_BOOL)
		value = json_object_new_boolean(cells->value.b);
	else if (cells->scalar && cells->geometry.kind == MPROC_INT)
		value = json_object_new_int64(cells->value.i);
	else if (cells->scalar && cells->geometry.kind == MPROC_UINT)
		value = json_object_new_uint64(cells->value.u);
	else if (cells->scalar)
		value = number_json(cells->value.f);
	json_put(ret, "value", value);
	json_put(ret, "lock_owner", owner_json(image, cells->owner));
	json_put_bool(ret, "left_by_the_dead", cells->left);
	return ret;
}

static json_object *dict_json(const struct image *image, const struct image_object *object)
{
	const struct mproc__dict_look *d = &object->dict;
	json_object *ret = json_object_new_object();

	json_put_uint(ret, "entries", d->n_items);
	json_put_uint(ret, "entries_max", d->geometry.max_items);
	json_put_uint(ret, "stripes", d->geometry.n_stripes);
	json_put_uint(ret, "buckets", d->n_buckets);
	json_put_uint(ret, "changes", d->n_changes);
	json_put_uint(ret, "stripes_locked", d->n_locked);
	json_put(ret, "lock_owner", owner_json(image, d->owner));
	return ret;
}

static json_object *body_json(const struct image *image, const struct image_object *object)
{
	const struct mproc__body_look *body = &object->body;
	json_object *ret = json_object_new_object();

	json_put_uint(ret, "len", body->len);
	json_put_uint(ret, "changes", body->version);
	json_put(ret, "lock_owner", owner_json(image, body->owner));
	json_put_bool(ret, "left_by_the_dead", body->left);
	json_put_bool(ret, "unfinished", body->busy);
	return ret;
}

static json_object *ringlog_json(const struct image_ringlog *ring)
{
	json_object *ret = json_object_new_object(), *lines = json_object_new_array();

	json_put_uint(ret, "appended", ring->look.seq);
	json_put_uint(ret, "records", ring->n_records);
	json_put_uint(ret, "bytes", ring->look.tail - ring->look.head);
	json_put_uint(ret, "bytes_max", ring->look.cap);
	json_put_uint(ret, "record_max", ring->look.record_max);
	for (uint32_t i = 0; i < ring->n_lines; i++) {
		const struct image_line *line = &ring->lines[i];
		size_t len = line->record.len < IMAGE_LINE_MAX ? line->record.len : IMAGE_LINE_MAX;
		json_object *one = json_object_new_object();

		json_put_uint(one, "seq", line->record.seq);
		json_put_uint(one, "time_ns", (uint64_t)line->record.time);
		json_put_uint(one, "pid", line->record.pid);
		json_put_uint(one, "tid", line->record.tid);
		json_put_uint(one, "len", line->record.len);
		json_put_bytes(one, "text", (const char *)line->bytes, len);
		json_object_array_add(lines, one);
	}
	json_put(ret, "last", lines);
	return ret;
}

static json_object *object_json(const struct image *image, const struct image_object *object)
{
	bool whole = image_object_is_whole(object);
	json_object *ret = json_object_new_object();
	char type[17];

	json_put_uint(ret, "entry", object->entry);
	json_put_bytes(ret, "name", object->view.name, sizeof(object->view.name));
	json_put_text(ret, "kind", mproc__kind_name(object->view.kind));
	json_put_text(ret, "state", mproc__entry_state_name(object->view.state));
	json_put_text(ret, "corrupt", object->possible ? NULL : object->why);
	json_put_uint(ret, "offset", object->view.off);
	json_put_uint(ret, "bytes", object->view.len);
	json_put_uint(ret, "created_ns", object->view.since);
	snprintf(type, sizeof(type), "%016" PRIx64, object->view.type);
	json_put_text(ret, "type", object->view.type ? type : NULL);
	if (whole && object->view.kind == MPROC__KIND_QUEUE)
		json_put(ret, "queue", queue_json(image, object));
	if (whole && object->view.kind == MPROC__KIND_POOL)
		json_put(ret, "pool", pool_json(image, object));
	if (whole && object->view.kind == MPROC__KIND_RINGLOG)
		json_put(ret, "ringlog", ringlog_json(&object->ringlog));
	if (whole &&
	    (object->view.kind == MPROC__KIND_VALUE || object->view.kind == MPROC__KIND_ARRAY))
		json_put(ret, mproc__kind_name(object->view.kind), cells_json(image, object));
	if (whole &&
	    (object->view.kind == MPROC__KIND_DICT || object->view.kind == MPROC__KIND_NAMESPACE))
		json_put(ret, mproc__kind_name(object->view.kind), dict_json(image, object));
	if (whole &&
	    (object->view.kind == MPROC__KIND_LIST || object->view.kind == MPROC__KIND_STRING))
		json_put(ret, mproc__kind_name(object->view.kind), body_json(image, object));
	return ret;
}

static json_object *recovered_json(const struct image *image)
{
	json_object *ret = json_object_new_object();

	json_put_uint(ret, "deaths", image->n_deaths);
	json_put_uint(ret, "takeovers", image->n_takeovers);
	json_put_uint(ret, "heals", image->n_heals);
	return ret;
}

json_object *info_json(const struct segment *segment)
{
	const struct image *image = &segment->image;
	json_object *ret = json_object_new_object(), *procs, *threads, *objects;
	bool good = image->verdict == IMAGE_GOOD;

	procs = json_object_new_array();
	threads = json_object_new_array();
	objects = json_object_new_array();
	for (size_t i = 0; i < image->n_procs; i++)
		json_object_array_add(procs, proc_json(&image->procs[i]));
	for (size_t i = 0; i < image->n_threads; i++)
		json_object_array_add(threads, thread_json(image, &image->threads[i]));
	for (size_t i = 0; i < image->n_objects; i++)
		json_object_array_add(objects, object_json(image, &image->objects[i]));
	json_put(ret, "segment", segment_json(segment));
	json_put(ret, "recovered", good ? recovered_json(image) : NULL);
	json_put(ret, "participants", procs);
	json_put(ret, "threads", threads);
	json_put(ret, "arena", good ? arena_json(image) : NULL);
	json_put(ret, "objects", objects);
	return ret;
}
