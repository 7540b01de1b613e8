/* SPDX-License-Identifier: MIT */
#ifndef MPROC__TASK_H
#define MPROC__TASK_H

/*
 * Tasks as a pool sees them: places in a table, and bytes
 *
 * Every function may be called from any thread; none blocks.
 */

#include <mproc/task.h>

/* Room for the text that a failed run leaves, its terminating NUL included. */
#define MPROC__TASK_TEXT 256

/* Entries of the table at most. */
#define MPROC__TASK_MAX 4096u

/*
 * Is the table sound: no two tasks of one name that differ, no more than it holds?
 * @what:	for the text: "pool create"
 *
 * Return: 0, or -EEXIST with a text that names task and field, or -EOVERFLOW.
 */
int mproc__tasks_check(const char *what);

/* Return: the first task of that name, or NULL. */
const struct mproc_task *mproc__task_find(const char *name);

/* Return: the task at a place in the table, or NULL. */
const struct mproc_task *mproc__task_at(uint32_t index);

static inline uint32_t mproc__task_index(const struct mproc_task *task)
{
	return task->entry->index;
}

static inline const char *mproc__task_name(const struct mproc_task *task)
{
	return task->name;
}

/* Return: 0, or -EINVAL with a text if results of @task contain pointers. */
int mproc__task_result_flat(const struct mproc_task *task, const char *what);

/*
 * Encode arguments, as mproc_pack_encode().
 *
 * Return: 0, or -ENOBUFS with *ret_len set to what is needed and no text, or another
 * error of mproc_pack_encode().
 */
int mproc__task_encode(const struct mproc_task *task, const void *args, void *buf, size_t cap,
		       size_t *ret_len);

/*
 * Decode arguments, run the task in this thread, encode its result.
 * @bytes:	the encoded arguments; must not change meanwhile
 * @out:	room for the encoded result, @cap bytes
 * @ret_len:	length of the encoded result
 *
 * Return: 0, or a negative errno with a text, never empty, that the one who submitted
 * shall see: the task's own, or -EMSGSIZE if the result is longer than @cap, or what
 * decoding or encoding says.
 */
int mproc__task_run(const struct mproc_task *task, const void *bytes, size_t len, void *out,
		    size_t cap, size_t *ret_len);

/* The same by place in the table; -ENOENT if there is none. */
int mproc__task_run_index(uint32_t index, const void *bytes, size_t len, void *out, size_t cap,
			  size_t *ret_len);

/*
 * Decode a result.
 * @value:	memory that goes with the future: NULL at first; set if the result has
 *		pointers and used again by later calls
 * @ret:	where the struct goes, or NULL
 *
 * Return: 0, or an error of mproc_pack_decode().
 */
int mproc__task_value(const struct mproc_task *task, const void *bytes, size_t len, void **value,
		      void *ret);

/* Free what mproc__task_value() made, or NULL. */
void mproc__task_value_free(void *value);

#endif /* MPROC__TASK_H */
