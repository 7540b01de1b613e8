/* SPDX-License-Identifier: MIT */

/*
 * Removing names of segments: on request, and when nobody is left
 *
 * Both go the way of the last one out (segment_file.c): under byte A of the inode
 * that is removed, so that nobody attaches meanwhile.
 */

#include <mproc/segment.h>

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ipc/attach.h"
#include "ipc/error.h"
#include "shm/segment_file.h"

#define WHAT_MAX (MPROC_SEGMENT_NAME_MAX + 32)

/* Return: 0, or what is wrong with the name or the directory. */
static int path_of(char path[MPROC__PATH_MAX], const char *dir, const char *name, const char *what)
{
	char resolved[MPROC__PATH_MAX];
	int r = mproc__segment_dir_of(resolved, dir, what);

	return r < 0 ? r : mproc__segment_path_in(path, resolved, name, what);
}

int mproc_segment_unlink(const char *name)
{
	return mproc_segment_unlink_in(NULL, name);
}

int mproc_segment_unlink_in(const char *dir, const char *name)
{
	char path[MPROC__PATH_MAX], what[WHAT_MAX];
	int fd, r;

	snprintf(what, sizeof(what), "unlink %s", name);
	r = path_of(path, dir, name, what);
	if (r < 0)
		return r;
	mproc__fork_lock();
	do {
		fd = mproc__file_find(path, what);
		r = fd;
		if (fd < 0)
			break;
		/* 0: another has removed it; the name may be the next one's by now. */
		r = mproc__file_remove(fd, path, NULL, what);
		close(fd);
	} while (r == 0);
	mproc__fork_unlock();
	if (r == -ENOENT)
		mproc__fail(r, "%s: there is no %s", what, path);
	return r < 0 ? r : 0;
}

/* A temporary name: if its creator lives he holds byte A. Return: 1, 0 or negative. */
static int clear_temporary(const char *path)
{
	int fd = mproc__file_find(path, "gc");
	int r;

	if (fd < 0)
		return fd;
	r = mproc__file_remove(fd, path, NULL, "gc");
	close(fd);
	return r;
}

static int gc_temporaries(const char *dir)
{
	char path[MPROC__PATH_MAX];
	struct dirent *entry;
	DIR *d = opendir(dir);
	int n = 0;

	if (!d)
		return mproc__fail_errno(-errno, "gc: %s", dir);
	while ((entry = readdir(d))) {
		if (strncmp(entry->d_name, MPROC__SEGMENT_TMP, strlen(MPROC__SEGMENT_TMP)) != 0 ||
		    snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name) >= (int)sizeof(path))
			continue;
		/* What is another user's, or somebody is making, stays. */
		n += clear_temporary(path) == 1;
	}
	closedir(d);
	return n;
}

int mproc_segment_gc(const char *name)
{
	return mproc_segment_gc_in(NULL, name);
}

int mproc_segment_gc_in(const char *dir, const char *name)
{
	char path[MPROC__PATH_MAX], what[WHAT_MAX], text[MPROC__ERROR_MAX];
	int r;

	mproc__error_keep(text);
	if (!name) {
		r = mproc__segment_dir_of(path, dir, "gc");
		if (r < 0)
			return r;
		mproc__fork_lock();
		r = gc_temporaries(path);
		mproc__fork_unlock();
		if (r >= 0)
			mproc__error_put_back(text);
		return r;
	}
	snprintf(what, sizeof(what), "gc %s", name);
	r = path_of(path, dir, name, what);
	if (r < 0)
		return r;
	mproc__fork_lock();
	do {
		r = mproc__file_clear(path, what);
	} while (r == 0);
	mproc__fork_unlock();
	if (r == -ENOENT)
		mproc__fail(r, "%s: there is no %s", what, path);
	if (r == -EEXIST)
		r = 0;
	if (r >= 0)
		mproc__error_put_back(text);
	return r;
}
