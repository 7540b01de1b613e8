/* SPDX-License-Identifier: MIT */
#ifndef SHMTOOL_DESCRIBE_H
#define SHMTOOL_DESCRIBE_H

/*
 * What ls and info both say of a segment
 */

#include <json-c/json.h>

#include "tools/find.h"
#include "tools/image.h"
#include "tools/text.h"

/* A segment that was found, and what was read of it. */
struct segment {
	const struct found *found;
	struct source source;
	struct image image;
};

/* Open and read it. Whatever goes wrong is in the image. */
void segment_read(struct segment *ret, const struct found *found);
void segment_free(struct segment *segment);

/*
 * One word: live, dead (a leftover that gc removes), persistent, unused (anonymous,
 * nobody takes part), copy (nobody can take part), foreign, corrupt, alien, unreadable.
 * @ret_why:	more of it, or NULL
 */
const char *segment_state(const struct segment *segment, const char **ret_why);

/* The same and the reason, for people. Return: @buf's text. */
const char *segment_state_text(const struct segment *segment, struct text *buf);

/* What to say after its name: " (unlinked)", " (elsewhere)", or "". */
const char *segment_place(const struct segment *segment);

/* "root", or the number if it has no name. Return: @buf's text. */
const char *user_text(struct text *buf, uid_t uid);

/* The same of a group. */
const char *group_text(struct text *buf, gid_t gid);

/*
 * The holders that take no part: they have it open to read, or have not attached yet.
 * None while a participant is in another PID namespace: it may be any of them.
 *
 * Return: how many.
 */
size_t segment_onlookers(const struct segment *segment, pid_t ret[FIND_HOLDERS_MAX]);

/* 32 hexadecimal digits. Return: @buf. */
char *id_text(char buf[33], const unsigned char uuid[16]);

/* The inode of our PID namespace. */
uint64_t namespace_here(void);

/* A process's state by the letter of ps(1), or 0 if @proc's pid means nothing here. */
char process_state(const struct image_proc *proc);

/* One word: none, dead, starting, idle, running. */
const char *worker_state(const struct image *image, const struct image_worker *worker);

/* Is its process stopped, as far as can be seen from here? */
bool worker_stopped(const struct image *image, const struct image_worker *worker);

/* One word: running, down, broken; "?" if it is none of them. */
const char *pool_state(const struct mproc__pool_seen *seen);

/* "queue jobs", or "queue #5" by its entry if it has no name. Return: @buf's text. */
const char *object_text(struct text *buf, const struct image_object *object);

/* "queue jobs", "mutex at 4096 in block table": what a thread holds or does. */
const char *what_text(struct text *buf, const struct image *image, uint64_t what);

/* What stands in the JSON of both commands; the man page lists it. */
json_object *segment_json(const struct segment *segment);

/* Members of objects; a NULL string is null. */
void json_put(json_object *object, const char *key, json_object *value);
void json_put_text(json_object *object, const char *key, const char *text);
/* A stranger's string, escaped; "" is null. */
void json_put_bytes(json_object *object, const char *key, const char *bytes, size_t cap);
void json_put_uint(json_object *object, const char *key, uint64_t value);
void json_put_bool(json_object *object, const char *key, bool value);

/* Print it, one member a line, and free it. */
void json_print(json_object *object);

#endif /* SHMTOOL_DESCRIBE_H */
