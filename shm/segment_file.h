/* SPDX-License-Identifier: MIT */
#ifndef MPROC__SEGMENT_FILE_H
#define MPROC__SEGMENT_FILE_H

/*
 * The files of segments: made complete, found by name, removed when nobody is left
 *
 * All of it runs under the fork lock. @what is for the texts: "create jobs".
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "ipc/participant_layout.h"
#include "shm/segment_layout.h"

/* Room for a path, its NUL included: what a range can remember. */
#define MPROC__PATH_MAX 512

/* A file that has no name yet, or that never gets one. */
struct mproc__file {
	int fd;
	char dir[MPROC__PATH_MAX];  /* where that will be */
	char path[MPROC__PATH_MAX]; /* the name to be, "" if anonymous */
	char tmp[MPROC__PATH_MAX];  /* where no file can be without a name: one of another kind */
	void *pin;                  /* which is ours as long as this stands */
};

/* Those who are attached. */
struct mproc__attached {
	const struct mproc__proc *procs; /* NULL: not mapped; whoever holds a byte counts */
	uint32_t n_procs;
	int own; /* the slot that does not count, or -1 */
};

/* The directory of segments: MPROC_DIR as it was at first use, resolved. */
const char *mproc__segment_dir(void);

/*
 * The directory a call names, resolved: NULL is that of segments.
 *
 * Return: 0, -ENAMETOOLONG, or what realpath(3) says.
 */
int mproc__segment_dir_of(char ret[MPROC__PATH_MAX], const char *given, const char *what);

/*
 * The path of segment @name.
 *
 * Return: 0, -EINVAL if it can be no name, -ENAMETOOLONG.
 */
int mproc__segment_path(char path[MPROC__PATH_MAX], const char *name, const char *what);

/* The same in a directory that is resolved. */
int mproc__segment_path_in(char path[MPROC__PATH_MAX], const char *dir, const char *name,
			   const char *what);

/*
 * Make an empty file that nobody can find.
 * @dir:	where, or NULL: in the directory of segments
 * @name:	what it shall be called once it is complete, or NULL: never
 */
int mproc__file_make(struct mproc__file *ret, const char *dir, const char *name, const char *what);

/*
 * Give it the memory of @spans, in ascending order: it ends where the last one does.
 *
 * Return: 0, -ENOSPC, -ENOMEM or -EFBIG with the numbers, or what fallocate(2) says.
 */
int mproc__file_allocate(const struct mproc__file *file, const struct mproc__span *spans,
			 uint32_t n, const char *what);

/*
 * Is there room for @bytes more in a file that then has @end?
 * @path:	where it is, "" if it has no name
 * @why:	what there is too little of, in words
 *
 * Return: 0, -ENOSPC, -ENOMEM (of the memory cgroup), -EFBIG; without a text.
 */
int mproc__file_room(int fd, const char *path, uint64_t end, uint64_t bytes, char *why, size_t cap);

/* Allocate @spans. Return: 0 or what fallocate(2) says. */
int mproc__file_extend(int fd, const struct mproc__span *spans, uint32_t n);

/* Let group @gid have it. Return: 0, or what fchown(2) says. */
int mproc__file_give(const struct mproc__file *file, uint32_t gid, const char *what);

/*
 * Set its mode; give it its name, which may be that of a segment that nobody lives
 * in any more; or seal it, if it is anonymous.
 *
 * Return: 0, -EEXIST, -EPERM or -EBUSY as mproc__file_vacate(), or what fchmod(2),
 * linkat(2), fcntl(2) say.
 */
int mproc__file_publish(struct mproc__file *file, uint32_t mode, const char *what);

/* Forget a file that was not published; its descriptor stays open. */
void mproc__file_discard(struct mproc__file *file);

/*
 * Open what stands at @path, if it is ours to open.
 *
 * Return: a descriptor, -ENOENT without a text, -EPERM if it is a link or another user's, -EPROTO
 * if it can be no segment, or what open(2) says.
 */
int mproc__file_find(const char *path, const char *what);

/* The same, for reading alone, or whoever's it is. */
int mproc__file_find_as(const char *path, bool read_only, bool any_owner, const char *what);

/* May we use what @fd opens? Return: 0, -EPERM if it is another user's, -EPROTO if no file. */
int mproc__file_ours(int fd, bool any_owner, const char *what);

/*
 * A description of the file of @fd that nobody shares.
 * @path:	where it may be found as well, or NULL
 *
 * Return: a descriptor, or what open(2) says, without a text.
 */
int mproc__file_reopen(int fd, const char *path, bool read_only);

/* Does @path lead to the file of @fd? */
bool mproc__file_leads_here(int fd, const char *path);

/*
 * Read the head of a file that was found.
 *
 * Return: 0, or -EPROTO if it is no segment, of whatever layout.
 */
int mproc__file_head(int fd, struct mproc__segment_head *ret, const char *what);

/*
 * Keep the name from being removed while we attach.
 *
 * Return: 0 and the token in @ret, -EAGAIN if the name does not lead to this file any
 * more, -EBUSY if somebody seems to be removing it and does not come to an end.
 */
int mproc__file_enter(void **ret, int fd, const char *path, const char *what);

/* Does anybody hold a process slot? Return: 1, 0, or a negative errno. */
int mproc__file_lived_in(int fd);

/*
 * Remove @path if it still leads to @fd and nobody but those who are about to leave
 * is attached; @attached NULL: whoever is.
 *
 * Return: 1 removed, 0 not, -EBUSY if others kept opening it for 100 ms, or what
 * unlink(2) says.
 */
int mproc__file_remove(int fd, const char *path, const struct mproc__attached *attached,
		       const char *what);

/*
 * Make the name @path free if what stands there is a leftover: a segment of
 * whatever layout that is not persistent and that nobody is attached to.
 *
 * Return: 1 removed, 0 it came to life or was removed meanwhile, -ENOENT there is
 * none (no text), -EEXIST in use or persistent, -EPROTO no segment, -EPERM another user's,
 * -EBUSY.
 */
int mproc__file_clear(const char *path, const char *what);

/* Clear @path until there is nothing. Return: 0, -EEXIST, -EPERM, -EBUSY. */
int mproc__file_vacate(const char *path, const char *what);

#endif /* MPROC__SEGMENT_FILE_H */
