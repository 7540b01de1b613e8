/* SPDX-License-Identifier: MIT */

/*
 * Tasks: the program's table of them, and running one from bytes
 *
 * The table is a fixed array that only grows. A place is taken by one atomic add and
 * filled by one release store, so registration needs no lock that a fork could leave
 * taken, and a reader of any place finds a whole task or none. The table is filled
 * before main() begins, or by dlopen(); what comes after a worker was forked is unknown
 * to it, and a task that it does not know is an error of that task.
 *
 * What can be wrong with the table (too many tasks, two that differ under one name)
 * cannot be told while constructors run. It is told by whoever first needs the table.
 *
 * A task runs on what decoding made of its arguments: on the stack if they are small,
 * else in an arena. The arena is the thread's current one while the task runs, which is
 * where mproc_task_alloc() takes from; it is freed when the result has been encoded.
 * Everything is private to the process.
 */

#include <mproc/task.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mproc/error.h>

#include "ipc/error.h"
#include "ipc/pack.h"
#include "pool/task.h"

/* Argument and result structs, and what they point to, that need no malloc(). */
#define STRUCT_SMALL 256u
#define ARENA_SMALL  2048u

/* Of hashes that tell names apart; twice the tasks, a power of two. */
#define NAMES (2 * MPROC__TASK_MAX)

static_assert(MPROC__TASK_TEXT >= MPROC__ERROR_MAX, "a text must fit");

static _Atomic(const struct mproc_task *) table[MPROC__TASK_MAX];
static _Atomic(uint32_t) n_tasks; /* places asked for */

/* Of the task that this thread is running, or NULL. */
static _Thread_local struct mproc_pack_arena *current;

void mproc_task_register(const struct mproc_task *task)
{
	uint32_t index = atomic_fetch_add_explicit(&n_tasks, 1, memory_order_relaxed);

	task->entry->index = index;
	if (index < MPROC__TASK_MAX)
		/* A1, pairs with R1 in mproc__task_at() */
		atomic_store_explicit(&table[index], task, memory_order_release);
}

const struct mproc_task *mproc__task_at(uint32_t index)
{
	if (index >= MPROC__TASK_MAX)
		return NULL;
	/* R1, pairs with A1 in mproc_task_register() */
	return atomic_load_explicit(&table[index], memory_order_acquire);
}

const struct mproc_task *mproc__task_find(const char *name)
{
	const struct mproc_task *task;

	for (uint32_t i = 0; i < MPROC__TASK_MAX; i++) {
		task = mproc__task_at(i);
		if (!task)
			break;
		if (!strcmp(task->name, name))
			return task;
	}
	return NULL;
}

/* Do two fields send the same? */
static bool fields_agree(const struct mproc_pack_field *a, const struct mproc_pack_field *b)
{
	if (strcmp(a->name, b->name) || a->kind != b->kind || a->elem != b->elem ||
	    a->size != b->size || !a->type != !b->type)
		return false;
	return !a->type || mproc_pack_fingerprint(a->type) == mproc_pack_fingerprint(b->type);
}

/* Return: the first field of @a or @b that the other has not, or NULL. */
static const char *difference(const struct mproc_pack_type *a, const struct mproc_pack_type *b)
{
	uint32_t n = a->n_fields > b->n_fields ? a->n_fields : b->n_fields;

	for (uint32_t i = 0; i < n; i++) {
		if (i >= a->n_fields)
			return b->fields[i].name;
		if (i >= b->n_fields || !fields_agree(&a->fields[i], &b->fields[i]))
			return a->fields[i].name;
	}
	return NULL;
}

static int check_pair(const char *what, const struct mproc_task *a, const struct mproc_task *b)
{
	const char *arg = difference(a->args, b->args);
	const char *result = difference(a->result, b->result);

	if (!arg && !result)
		return 0;
	return mproc__fail(-EEXIST, "%s: two tasks of the name %s differ in their %s: %s", what,
			   a->name, arg ? "arguments" : "results", arg ? arg : result);
}

static size_t name_hash(const char *name)
{
	size_t hash = 0;

	for (; *name; name++)
		hash = hash * 31 + (unsigned char)*name;
	return hash;
}

int mproc__tasks_check(const char *what)
{
	uint16_t seen[NAMES] = { 0 }; /* 1 + the place of the first of that name */
	uint32_t n = atomic_load_explicit(&n_tasks, memory_order_relaxed);
	int r = 0;

	if (n > MPROC__TASK_MAX)
		return mproc__fail(-EOVERFLOW, "%s: %" PRIu32 " tasks are registered, at most %u",
				   what, n, MPROC__TASK_MAX);
	for (uint32_t i = 0; i < n && r == 0; i++) {
		const struct mproc_task *task = mproc__task_at(i);
		size_t at;

		if (!task)
			continue;
		at = name_hash(task->name) % NAMES;
		while (seen[at] && strcmp(mproc__task_at(seen[at] - 1u)->name, task->name))
			at = (at + 1) % NAMES;
		if (seen[at])
			r = check_pair(what, mproc__task_at(seen[at] - 1u), task);
		else
			seen[at] = (uint16_t)(i + 1);
	}
	return r;
}

int mproc__task_result_flat(const struct mproc_task *task, const char *what)
{
	if (mproc__pack_is_flat(task->result))
		return 0;
	return mproc__fail(-EINVAL, "%s: results of task %s contain pointers", what, task->name);
}

/*
 * Whoever carries the bytes limits their number, so the codec need not; and large
 * messages, where the budget for decoding is a fixed one, have one of their own.
 */
static const struct mproc_pack_limits *task_limits(struct mproc_pack_limits *limits, size_t len)
{
	*limits = (struct mproc_pack_limits){
		.size = sizeof(*limits),
		.message = SIZE_MAX,
		.memory = len < MPROC__PACK_MESSAGE ? 0
			  : len > SIZE_MAX / 4      ? SIZE_MAX
						    : 4 * len,
	};
	return limits;
}

int mproc__task_encode(const struct mproc_task *task, const void *args, void *buf, size_t cap,
		       size_t *ret_len)
{
	struct mproc_pack_limits limits;

	return mproc__pack_encode(task->args, args, buf, cap, ret_len, task_limits(&limits, 0));
}

/* Memory for a struct: @small if it is large enough. Return: NULL if there is none. */
static void *struct_room(struct mproc_pack_arena *arena, const struct mproc_pack_type *type,
			 void *small)
{
	if (type->size <= STRUCT_SMALL && type->align <= alignof(max_align_t))
		return small;
	return mproc__arena_take(arena, type->size, type->align);
}

/* Run it. Return: 0, or its own failure with a text. */
static int call(const struct mproc_task *task, struct mproc_pack_arena *arena, const void *args,
		void *result)
{
	struct mproc_pack_arena *outer = current;
	int r;

	/* A text of before says nothing about this task. */
	mproc__error_clear();
	current = arena;
	r = task->run(args, result);
	current = outer;
	if (r < 0 && !*mproc_error_text())
		mproc__fail_errno(r, "task %s", task->name);
	return r;
}

static int run(const struct mproc_task *task, struct mproc_pack_arena *arena, const void *bytes,
	       size_t len, void *out, size_t cap, size_t *ret_len)
{
	alignas(max_align_t) unsigned char small_args[STRUCT_SMALL], small_result[STRUCT_SMALL];
	void *args = struct_room(arena, task->args, small_args);
	void *result = struct_room(arena, task->result, small_result);
	struct mproc_pack_limits limits;
	size_t out_len;
	int r;

	if (!args || !result)
		return mproc__fail(-ENOMEM, "task %s: no memory for arguments and result",
				   task->name);
	r = mproc__pack_decode(task->args, bytes, len, args, arena, task_limits(&limits, len));
	if (r < 0)
		return mproc__fail(r, "task %s: arguments: %s", task->name, mproc_error_text());
	memset(result, 0, task->result->size);
	r = call(task, arena, args, result);
	if (r < 0)
		return r;
	r = mproc__pack_encode(task->result, result, out, cap, &out_len, task_limits(&limits, 0));
	if (r == -ENOBUFS)
		return mproc__fail(-EMSGSIZE, "task %s: a result of %zu bytes, at most %zu",
				   task->name, out_len, cap);
	if (r < 0)
		return mproc__fail(r, "task %s: result: %s", task->name, mproc_error_text());
	*ret_len = out_len;
	return 0;
}

int mproc__task_run(const struct mproc_task *task, const void *bytes, size_t len, void *out,
		    size_t cap, size_t *ret_len)
{
	alignas(max_align_t) unsigned char small[ARENA_SMALL];
	struct mproc_pack_arena arena = MPROC_PACK_ARENA(small, sizeof(small));
	int r = run(task, &arena, bytes, len, out, cap, ret_len);

	mproc_pack_arena_release(&arena);
	return r;
}

int mproc__task_run_index(uint32_t index, const void *bytes, size_t len, void *out, size_t cap,
			  size_t *ret_len)
{
	const struct mproc_task *task = mproc__task_at(index);

	if (!task)
		return mproc__fail(-ENOENT,
				   "task number %" PRIu32 " is not known to this worker, which "
				   "may be older than the task's library",
				   index);
	return mproc__task_run(task, bytes, len, out, cap, ret_len);
}

int mproc__task_value(const struct mproc_task *task, const void *bytes, size_t len, void **value,
		      void *ret)
{
	struct mproc_pack_limits limits;
	mproc_pack_value *loaded;
	int r;

	if (!ret)
		return 0;
	task_limits(&limits, len);
	if (mproc__pack_is_flat(task->result))
		return mproc_pack_decode(task->result, bytes, len, ret, NULL, &limits);
	if (!*value) {
		r = mproc_pack_loads(&loaded, task->result, bytes, len, &limits);
		if (r < 0)
			return r;
		*value = loaded;
	}
	memcpy(ret, mproc_pack_root(*value), task->result->size);
	return 0;
}

void mproc__task_value_free(void *value)
{
	mproc_pack_release(value);
}

int mproc_task_fail(int code, const char *fmt, ...)
{
	char line[MPROC__ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	return mproc__fail(code, "%s", line);
}

void *mproc_task_alloc(size_t len)
{
	void *bytes;

	if (!current) {
		mproc__fail(-EPERM, "task alloc: no task is running in this thread");
		return NULL;
	}
	bytes = mproc__arena_take(current, len, alignof(max_align_t));
	if (!bytes) {
		mproc__fail(-ENOMEM, "task alloc: no memory for %zu bytes", len);
		return NULL;
	}
	memset(bytes, 0, len);
	return bytes;
}
