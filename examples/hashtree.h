/* SPDX-License-Identifier: MIT */
#ifndef HASHTREE_H
#define HASHTREE_H

/*
 * hashtree in three parts: the job (hashtree.c), what a worker does with one file
 * (hashtree_file.c), and what a person at a terminal sees (hashtree_bar.c)
 */

#include <stdbool.h>
#include <stdint.h>

#include <mproc/task.h>

#define HASH_LEN 32 /* bytes of SHA-256 */

typedef struct hash_args {
	const char *path;
} hash_args;

typedef struct hash_result {
	uint8_t digest[HASH_LEN];
	uint64_t size; /* bytes read */
	int32_t error; /* 0, or a positive errno: why the file could not be read */
} hash_result;

/* Runs in a worker: hash the regular file at path. */
MPROC_TASK_FN_DECLARE(hash_file, hash_args, hash_result);

/* Before the pool is made, so that workers inherit it. Return: false if libcrypto cannot. */
bool hash_prepare(void);

/* How far the job is. */
struct progress {
	int64_t start;                 /* mproc_now() when it began */
	bool walking;                  /* more files may be found */
	uint64_t n_found, bytes_found; /* files, and what lstat(2) says of them */
	uint64_t n_done, bytes_done;   /* hashed or given up, and what was read */
	uint64_t n_failed;             /* of those done */
};

/* One line on standard error, rewritten in place. */
struct bar {
	bool on;
	int64_t next; /* when to write it again */
	int shown;    /* columns it takes now */
};

/* A bar if standard error is a terminal and @wanted. */
void bar_init(struct bar *bar, bool wanted);

/* Show how far it is, ten times a second at most. */
void bar_show(struct bar *bar, const struct progress *p);

/* Take the line away. */
void bar_clear(struct bar *bar);

/* "1.2 GB": bytes for people, in powers of 1000. Return: @buf. */
char *bytes_text(char buf[16], double bytes);

#endif /* HASHTREE_H */
