/* SPDX-License-Identifier: MIT */

/*
 * Maps: many items in few messages
 *
 *	task	head | for each item: length 4 | encoded arguments
 *	result	head | for each item: code 4 | length 4 | encoded result, or a text
 *
 * A chunk of items is one task: one slot, one message there, one message back, whose
 * commit makes the whole chunk done (worker.c has the argument). So a chunk is also what
 * an attempt is about: if its worker dies in it, nothing of it has been returned, and all
 * of it is tried again or fails. What an item's function returns is that item's alone.
 *
 * The result message must have room for whatever the items return, since an item that has
 * run cannot be given back. Results of a map have no pointers, hence a longest encoding,
 * which the descriptor tells: a chunk has so many items at most that each may take that
 * much, or a text. Both sides compute it from the same task.
 *
 * Items go into a chunk as long as their arguments fit into a message; one that is alone
 * in the end is submitted like any other task, without what a chunk adds.
 */

#include <mproc/pool.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "pool/pool.h"
#include "pool/task.h"

/* What an encoded struct needs at most besides the bytes of its arrays, for each field. */
#define FIELD_MAX 11u
#define ITEM_HEAD sizeof(struct mproc__item_done)
#define CAP_MIN   4096u

/*
 * Of arguments, and of the longest results: long enough that a message costs little beside
 * its items, and short enough that the segment has room for those of all workers.
 */
#define CHUNK_BYTES (64u << 10)

/* The longest encoding of a struct without pointers. */
static uint64_t longest(const struct mproc_pack_type *type)
{
	uint64_t n = FIELD_MAX;

	for (uint32_t i = 0; i < type->n_fields; i++) {
		const struct mproc_pack_field *field = &type->fields[i];

		n += FIELD_MAX;
		n += field->kind == MPROC_PACK_KIND_IN ? longest(field->type) : field->size;
	}
	return n;
}

/* Room for what one item returns, its head included. */
static uint64_t item_room(const struct mproc_task *task)
{
	uint64_t n = longest(task->result);

	return ITEM_HEAD + (n > MPROC__TASK_TEXT ? n : MPROC__TASK_TEXT);
}

/* Bytes of a chunk's message, either way. */
static size_t chunk_bytes(const mproc_pool *pool)
{
	return pool->opts.task_max < CHUNK_BYTES ? pool->opts.task_max : CHUNK_BYTES;
}

uint32_t mproc__map_chunk_max(const mproc_pool *pool, const struct mproc_task *task)
{
	return (uint32_t)(chunk_bytes(pool) / item_room(task));
}

/* One item of a chunk. Return: bytes at @out. */
static size_t run_item(const struct mproc_task *task, const unsigned char *in, size_t len,
		       unsigned char *out, size_t room)
{
	struct mproc__item_done head = { 0 };
	size_t out_len = 0;

	head.code = mproc__task_run(task, in, len, out + ITEM_HEAD, room - ITEM_HEAD, &out_len);
	if (head.code < 0) {
		out_len = strnlen(mproc_error_text(), room - ITEM_HEAD);
		memcpy(out + ITEM_HEAD, mproc_error_text(), out_len);
	} else {
		head.code = 0;
	}
	head.len = (uint32_t)out_len;
	memcpy(out, &head, ITEM_HEAD);
	return ITEM_HEAD + out_len;
}

/* Do @n items fill @len bytes? */
static bool is_whole(uint32_t n, const unsigned char *in, size_t len)
{
	uint32_t item_len;

	while (n-- > 0) {
		if (len < sizeof(item_len))
			return false;
		memcpy(&item_len, in, sizeof(item_len));
		in += sizeof(item_len);
		len -= sizeof(item_len);
		if (len < item_len)
			return false;
		in += item_len;
		len -= item_len;
	}
	return len == 0;
}

int mproc__map_run(uint32_t index, uint32_t n, const unsigned char *in, size_t len,
		   unsigned char *out, size_t cap, size_t *ret_len)
{
	const struct mproc_task *task = mproc__task_at(index);
	size_t room, at = 0, done = 0;
	uint32_t item_len;

	/* It says what is wrong. */
	if (!task)
		return mproc__task_run_index(index, NULL, 0, NULL, 0, ret_len);
	room = item_room(task);
	/* None runs of a chunk that is not whole. */
	if (n > cap / room || !is_whole(n, in, len))
		return mproc__fail(-EBADMSG, "task %s: a chunk of %" PRIu32 " items is corrupt",
				   mproc__task_name(task), n);
	for (uint32_t i = 0; i < n; i++) {
		memcpy(&item_len, in + at, sizeof(item_len));
		at += sizeof(item_len);
		done += run_item(task, in + at, item_len, out + done, room);
		at += item_len;
	}
	*ret_len = done;
	return 0;
}

/* Room for @n bytes of message, its head included. Return: 0 or -ENOMEM. */
static int msg_grow(struct mproc__chunk *c, size_t n)
{
	size_t cap = c->cap ? 2 * c->cap : CAP_MIN;
	unsigned char *larger;

	while (cap < n)
		cap *= 2;
	larger = realloc(c->msg, cap);
	if (!larger)
		return mproc__fail(-ENOMEM, "pool map: no memory for %zu bytes", cap);
	c->msg = larger;
	c->cap = cap;
	return 0;
}

int mproc__chunk_add(struct mproc__chunk *c, mproc_pool *pool, const struct mproc_task *task,
		     const void *args)
{
	size_t most = sizeof(struct mproc__task_msg) + chunk_bytes(pool), at, len = 0;
	uint32_t item_len;
	int r;

	if (!c->n)
		c->len = sizeof(struct mproc__task_msg);
	do {
		at = c->len + sizeof(item_len);
		r = c->cap < at + len ? msg_grow(c, at + len) : 0;
		if (r < 0)
			return r;
		r = mproc__task_encode(task, args, c->msg + at, c->cap - at, &len);
		if ((r == 0 || r == -ENOBUFS) && (at > most || len > most - at))
			return 0;
	} while (r == -ENOBUFS);
	if (r < 0)
		return r;
	item_len = (uint32_t)len;
	memcpy(c->msg + c->len, &item_len, sizeof(item_len));
	c->len = at + len;
	c->n++;
	return 1;
}

/* Submit some of @n items, @args the first. Return: how many, or a negative errno. */
static int64_t submit_some(mproc_future **ret, mproc_pool *pool, const struct mproc_task *task,
			   struct mproc__chunk *c, const char *args, size_t stride, size_t n,
			   int64_t deadline)
{
	int r = 1;

	c->n = 0;
	/* An error of the encoder is told when that item is the first. */
	while (n > 1 && c->n < n && r == 1)
		r = mproc__chunk_add(c, pool, task, args + c->n * stride);
	if (c->n > 1)
		r = mproc__pool_submit_chunk(ret, pool, task, c, deadline);
	if (c->n > 1 && r == 0)
		return c->n;
	/* No room for a long message: a short one needs none of the segment's. */
	if (c->n <= 1 || r == -ENOSPC)
		r = mproc__pool_submit_one(ret, pool, task, args, deadline);
	return r < 0 ? r : 1;
}

/* The first error of a map, and its text. */
struct first {
	int code;
	char text[MPROC__ERROR_MAX];
};

static void note(struct first *first, int code)
{
	if (code >= 0 || first->code < 0)
		return;
	first->code = code;
	mproc__error_keep(first->text);
}

int mproc__chunk_gather(const struct mproc_task *task, uint32_t n, const unsigned char *bytes,
			size_t len, char *results, size_t stride)
{
	struct mproc__item_done head;
	struct first first = { 0 };
	size_t at = 0;

	for (uint32_t i = 0; i < n; i++) {
		void *value = NULL;

		if (len - at < ITEM_HEAD)
			return mproc__fail(-EBADMSG, "pool map: a chunk's results are corrupt");
		memcpy(&head, bytes + at, ITEM_HEAD);
		at += ITEM_HEAD;
		if (len - at < head.len)
			return mproc__fail(-EBADMSG, "pool map: a chunk's results are corrupt");
		if (head.code < 0)
			note(&first, mproc__fail(head.code, "%.*s", (int)head.len, bytes + at));
		else
			note(&first, mproc__task_value(task, bytes + at, head.len, &value,
						       results + i * stride));
		at += head.len;
	}
	if (first.code < 0)
		mproc__error_put_back(first.text);
	return first.code;
}

/* What was submitted: @counts[i] items each. */
struct map {
	mproc_future **futures;
	uint32_t *counts;
	size_t n;
};

static int submit_all(struct map *map, mproc_pool *pool, const struct mproc_task *task,
		      const char *args, size_t stride, size_t n, size_t chunk, int64_t deadline)
{
	struct mproc__chunk c = { .msg = NULL };
	int64_t r = 0;

	for (size_t i = 0; i < n && r >= 0; i += (size_t)r) {
		r = submit_some(&map->futures[map->n], pool, task, &c, args + i * stride, stride,
				n - i < chunk ? n - i : chunk, deadline);
		if (r > 0)
			map->counts[map->n++] = (uint32_t)r;
	}
	free(c.msg);
	return r < 0 ? (int)r : 0;
}

static void gather_all(struct map *map, const struct mproc_task *task, char *results, size_t stride,
		       int64_t deadline, struct first *first)
{
	for (size_t i = 0; i < map->n; i++) {
		mproc_future *future = map->futures[i];
		bool single = map->counts[i] == 1;
		int r;

		r = mproc_future_result(future, task, single ? results : NULL, deadline);
		/* Done: nobody changes it any more. */
		if (r == 0 && !single)
			r = mproc__chunk_gather(task, map->counts[i], future->bytes, future->len,
						results, stride);
		note(first, r);
		results += map->counts[i] * stride;
		mproc_future_unref(future);
	}
}

int mproc_pool_map(mproc_pool *pool, const struct mproc_task *task, const void *args,
		   size_t args_stride, void *results, size_t results_stride, size_t n, size_t chunk,
		   int64_t deadline)
{
	struct first first = { 0 };
	struct map map = { 0 };
	char text[MPROC__ERROR_MAX];
	struct mproc__self *me;
	size_t most;
	int r;

	r = mproc__deadline_check("pool map", deadline);
	if (r == 0)
		r = mproc__task_result_flat(task, "pool map");
	if (r < 0 || !n)
		return r;
	r = mproc__pool_check(pool, "pool map", &me);
	if (r < 0)
		return r;
	if (!chunk)
		chunk = (n - 1) / (4 * (size_t)pool->opts.workers) + 1;
	most = mproc__map_chunk_max(pool, task);
	if (chunk > most)
		chunk = most ? most : 1;
	if (n <= SIZE_MAX / sizeof(*map.futures))
		map.futures = malloc(n * sizeof(*map.futures));
	map.counts = map.futures ? malloc(n * sizeof(*map.counts)) : NULL;
	if (!map.counts) {
		free(map.futures);
		return mproc__fail(-ENOMEM, "pool map: no memory for %zu futures", n);
	}
	r = submit_all(&map, pool, task, args, args_stride, n, chunk, deadline);
	mproc__error_keep(text);
	/* What was submitted is waited for, and comes before what was not. */
	gather_all(&map, task, results, results_stride, deadline, &first);
	mproc__error_put_back(first.code < 0 ? first.text : text);
	free(map.futures);
	free(map.counts);
	return first.code < 0 ? first.code : r;
}
