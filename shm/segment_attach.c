/* SPDX-License-Identifier: MIT */

/*
 * Coming to a segment that is there: by its name, or by a descriptor
 *
 * By name, byte A keeps the name from being removed while we attach (segment_file.c),
 * and a segment without a living process counts as absent.
 *
 * A descriptor is no name: whoever has one can attach, even if everybody else is dead
 * by now, as whoever has a handle stays. What is locked or mapped is never the
 * description that came, which others share, but one of our own. If a name leads to
 * the file we look it up and take part in its fate, under byte A as well: the last one
 * out removes it. If none does, there is none to be removed, and nobody can make the
 * file vanish under us.
 *
 * Who only reads takes no slot: he is no participant, keeps no name, repairs nothing
 * and locks nothing, and is seen by nobody. His mapping is without PROT_WRITE and his
 * descriptor without O_RDWR, so neither a mistake nor malice can change the segment.
 * Nor can he hold up anybody: byte A is not for him. A name that is removed while he
 * comes was there when he began.
 *
 * Killed anywhere: descriptors, mappings and locks go with the process; a slot that
 * was taken is found by the next, as that of any who is killed. Nothing else changes.
 */

#include <mproc/segment.h>

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/error.h"
#include "ipc/opts.h"
#include "ipc/participant.h"
#include "shm/segment.h"
#include "shm/segment_file.h"
#include "shm/segment_head.h"

/* What readlink(2) says of files of memfd_create(2). */
#define MEMFD "/memfd:"

struct asked {
	const char *name; /* or NULL: by descriptor */
	const char *dir;  /* or NULL */
	bool read_only;
	bool any_owner;
	const char *what; /* for the texts */
};

/* With the name kept: is anybody attached, or may nobody be? Return: 0, -ENOENT or another. */
static int check_lived_in(int fd, const struct mproc__segment_head *head, const char *what)
{
	int r;

	if (head->flags & MPROC_SEGMENT_PERSISTENT || head->byte_order != MPROC__SEGMENT_BYTE_ORDER)
		return 0;
	r = mproc__file_lived_in(fd);
	if (r < 0)
		return mproc__fail_errno(r, "%s: lock", what);
	return r ? 0 : -ENOENT;
}

/*
 * Attach to the file of @fd, a description of our own.
 * @name, @path:	which lead to it, or NULL
 *
 * Return: 0 and the descriptor is the segment's, 1 it was attached already, -EAGAIN if
 * @path does not lead here any more, or negative.
 */
static int open_file(mproc_segment **ret, int fd, const char *name, const char *path,
		     const struct asked *asked)
{
	struct mproc__segment_head head;
	struct mproc__coming coming = { .head = &head,
					.fd = fd,
					.name = name,
					.path = path,
					.what = asked->what,
					.read_only = asked->read_only };
	struct mproc__range *range;
	void *token = NULL;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return mproc__fail_errno(-errno, "%s", asked->what);
	range = mproc__range_find_file(st.st_dev, st.st_ino, asked->read_only);
	if (range) {
		*ret = mproc__segment_of(range);
		(*ret)->n_handles++;
		return 1;
	}
	r = mproc__file_head(fd, &head, asked->what);
	if (r == 0 && path && !asked->read_only)
		r = mproc__file_enter(&token, fd, path, asked->what);
	if (r < 0)
		return r;
	if (asked->name)
		r = check_lived_in(fd, &head, asked->what);
	if (r == 0)
		r = mproc__head_check(fd, &head, &coming.size, asked->what);
	if (r == 0)
		r = mproc__segment_enter(ret, &coming);
	mproc__token_drop(token);
	return r;
}

/* Under the fork lock. Return: 0, or 1 if the process had it mapped. */
static int find(mproc_segment **ret, const struct asked *asked)
{
	char dir[MPROC__PATH_MAX], path[MPROC__PATH_MAX];
	int fd, r;

	r = mproc__segment_dir_of(dir, asked->dir, asked->what);
	if (r == 0)
		r = mproc__segment_path_in(path, dir, asked->name, asked->what);
	if (r < 0)
		return r;
	do {
		fd = mproc__file_find_as(path, asked->read_only, asked->any_owner, asked->what);
		if (fd == -ENOENT)
			return mproc__fail(fd, "%s: there is no %s", asked->what, path);
		if (fd < 0)
			return fd;
		r = open_file(ret, fd, asked->name, path, asked);
		if (r)
			close(fd);
		/* The name leads to another file by now. */
	} while (r == -EAGAIN);
	if (r != -ENOENT)
		return r;
	/* Who only reads leaves that to those who may write. */
	if (!asked->read_only)
		(void)mproc__file_clear(path, asked->what);
	return mproc__fail(r, "%s: its processes are all gone", asked->what);
}

/* What file @base of a directory is the segment of, or NULL. */
static const char *name_in(const char *base)
{
	size_t skip = strlen(MPROC__SEGMENT_PREFIX);

	if (strncmp(base, MPROC__SEGMENT_PREFIX, skip) != 0)
		return NULL;
	base += skip;
	/* A temporary name goes with its creator. */
	return *base == '.' || !*base || strlen(base) > MPROC_SEGMENT_NAME_MAX ? NULL : base;
}

/*
 * The name of the segment that @fd opens: NULL if no path leads there.
 * @path:	what the kernel calls its file; the path, if there is a name
 *
 * A file that was made without a name keeps the one of a deleted file for whoever has
 * the descriptor of its making, or got it from him: then its directory is looked through.
 */
static const char *name_of(int fd, char path[MPROC__PATH_MAX])
{
	char *base = strrchr(path, '/');
	const char *name = NULL;
	struct dirent *entry;
	struct stat st;
	size_t room;
	DIR *dir;

	if (!base || fstat(fd, &st) < 0 || !st.st_nlink)
		return NULL;
	base++;
	if (mproc__file_leads_here(fd, path))
		return name_in(base);
	*base = '\0';
	room = MPROC__PATH_MAX - (size_t)(base - path);
	dir = opendir(path);
	while (dir && !name && (entry = readdir(dir))) {
		if (entry->d_ino != st.st_ino || !name_in(entry->d_name) ||
		    strlen(entry->d_name) >= room)
			continue;
		strcpy(base, entry->d_name);
		name = mproc__file_leads_here(fd, path) ? name_in(base) : NULL;
	}
	if (dir)
		closedir(dir);
	return name;
}

/* Can whoever sent @fd not take away under us what we map? @path is where it was opened. */
static int check_seals(int fd, const char *path, const char *what)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return mproc__fail_errno(-errno, "%s", what);
	/* Without /proc a file that has no name may be one. */
	if (strncmp(path, MEMFD, strlen(MEMFD)) != 0 && (path[0] || st.st_nlink))
		return 0;
	if (seals >= 0 && seals & F_SEAL_SHRINK)
		return 0;
	return mproc__fail(-EPERM,
			   "%s: descriptor %d is of memory that is not sealed against shrinking",
			   what, fd);
}

/* Under the fork lock. Return: 0, or 1 if the process had it mapped. */
static int adopt(mproc_segment **ret, int given, const struct asked *asked)
{
	char self[32], path[MPROC__PATH_MAX];
	const char *name;
	ssize_t len;
	int fd, r;

	/* Before it is opened, which may have effects if it is no file. */
	r = mproc__file_ours(given, asked->any_owner, asked->what);
	if (r < 0)
		return r;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", given);
	len = readlink(self, path, sizeof(path) - 1);
	path[len < 0 ? 0 : len] = '\0';
	r = check_seals(given, path, asked->what);
	if (r < 0)
		return r;
	do {
		fd = mproc__file_reopen(given, NULL, asked->read_only);
		if (fd < 0)
			return mproc__fail_errno(fd, "%s: open %s for %s", asked->what, self,
						 asked->read_only ? "reading" : "writing");
		name = name_of(fd, path);
		r = open_file(ret, fd, name, name ? path : NULL, asked);
		if (r)
			close(fd);
		/* The name was removed between the two looks; then without it. */
	} while (r == -EAGAIN);
	return r;
}

/* By name if @asked has one. */
static int come(mproc_segment **ret, int fd, const struct asked *asked)
{
	mproc_segment *segment;
	int r;

	mproc__fork_lock();
	r = asked->name ? find(&segment, asked) : adopt(&segment, fd, asked);
	mproc__fork_unlock();
	if (r < 0)
		return r;
	/* Mapped already may mean inherited, and not yet attached. */
	if (r > 0 && !asked->read_only && !mproc__self(segment->catalogue, asked->what)) {
		mproc_segment_close(segment);
		return mproc__self_error();
	}
	*ret = segment;
	return 0;
}

int mproc__segment_open(mproc_segment **ret, const char *dir, const char *name)
{
	char what[MPROC__SEGMENT_WHAT_MAX];
	const struct asked asked = { .name = name, .dir = dir, .what = what };

	mproc__segment_what(what, "open", name);
	return come(ret, -1, &asked);
}

int mproc_segment_open(mproc_segment **ret, const char *name)
{
	assert(ret && name);
	return mproc__segment_open(ret, NULL, name);
}

int mproc_segment_attach(mproc_segment **ret, const struct mproc_segment_attach_opts *opts)
{
	const uint32_t flags = MPROC_SEGMENT_READ_ONLY | MPROC_SEGMENT_ANY_OWNER;
	char what[MPROC__SEGMENT_WHAT_MAX];
	struct mproc_segment_attach_opts o;
	struct asked asked = { .what = what };
	int r;

	assert(ret && opts);
	r = mproc__opts_copy("attach", &o, sizeof(o), opts);
	if (r < 0)
		return r;
	mproc__segment_what(what, "attach", o.name);
	if (o.flags & ~flags)
		return mproc__fail(-EINVAL, "%s: unknown flags 0x%" PRIx32, what, o.flags & ~flags);
	/* Negative is how others say "no descriptor". */
	if (o.name && o.fd > 0)
		return mproc__fail(-EINVAL, "%s: both a name and a descriptor (%d) are given", what,
				   o.fd);
	if (!o.name && o.dir)
		return mproc__fail(-EINVAL, "%s: a directory is given, but no name", what);
	asked.name = o.name;
	asked.dir = o.dir;
	asked.read_only = o.flags & MPROC_SEGMENT_READ_ONLY;
	asked.any_owner = o.flags & MPROC_SEGMENT_ANY_OWNER;
	return come(ret, o.fd, &asked);
}

static bool is_of(const struct mproc__range *range, int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_dev == range->dev && st.st_ino == range->ino;
}

int mproc_segment_fd(mproc_segment *segment)
{
	int r;

	r = mproc__segment_get(&segment, segment);
	if (r < 0)
		return r;
	/* Not in the middle of a fork: the child would have it without knowing. */
	mproc__fork_lock();
	/* By name, if it has one: who gets the descriptor finds the name by it. */
	r = segment->range->path[0] ? open(segment->range->path,
					   (segment->range->read_only ? O_RDONLY : O_RDWR) |
						   O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)
				    : -1;
	if (r >= 0 && !is_of(segment->range, r)) {
		close(r);
		r = -1;
	}
	if (r < 0)
		r = mproc__range_reopen(segment->range, "segment fd");
	mproc__fork_unlock();
	return r;
}
