/* SPDX-License-Identifier: MIT */
#ifndef SHMTOOL_FIND_H
#define SHMTOOL_FIND_H

/*
 * Which files may be segments: those with names, and those that processes hold
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Processes remembered as holders of one segment; more are only counted. */
#define FIND_HOLDERS_MAX 16

/* How good a path is: the last one leads to the file as long as a process has it. */
enum found_how { FOUND_NAMED, FOUND_ELSEWHERE, FOUND_HELD };

struct found {
	char *path; /* where it can be opened */
	char *name; /* of the segment, NULL if anonymous */
	bool named; /* it has its name in the directory now */
	enum found_how how;
	dev_t dev;
	ino_t ino;
	size_t n_holders; /* processes that have it open or mapped, as far as is seen */
	pid_t holders[FIND_HOLDERS_MAX];
};

struct find {
	struct found *at; /* a file may be there several times, until find_sort() */
	size_t n;
	size_t n_hidden; /* processes that may not be looked into */
	int error;       /* why the directory cannot be read, 0 or a negative errno */
	const char *dir;
};

/* The directory of named segments: MPROC_DIR, or /dev/shm. */
const char *find_dir(void);

/* The file at @path alone, whatever it is. */
void find_path(struct find *find, const char *path, const char *name);

/* The names in find_dir(). */
void find_named(struct find *find);

/*
 * Files of ours in @dir that never became segments: their creators are dead.
 *
 * Return: how many, or a negative errno.
 */
int find_temporary(const char *dir);

/* What process @pid holds. Return: 0, or -ESRCH, -EACCES. */
int find_in_process(struct find *find, pid_t pid);

/* What any process holds. */
void find_in_processes(struct find *find);

/*
 * After the last of the calls above: each file once, named ones first, sorted by name,
 * the others by device and inode.
 */
void find_sort(struct find *find);

/*
 * The state letter of process @pid and its flags, as /proc/PID/stat has them.
 *
 * Return: false if it is not there.
 */
bool find_process_state(pid_t pid, char *ret_state, unsigned *ret_flags);

void find_free(struct find *find);

#endif /* SHMTOOL_FIND_H */
