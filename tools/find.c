/* SPDX-License-Identifier: MIT */

/*
 * Which files may be segments: those with names, and those that processes hold
 *
 *	MPROC_DIR/mproc.NAME		named ones
 *	/proc/PID/fd/N			anonymous ones, those whose name was removed, and
 *					those of another mount namespace
 *	/proc/PID/map_files/A-B		the same where the descriptor was closed; the
 *					kernel lets few open these
 *
 * Several processes have one segment: a file is known by its device and inode.
 * Whether it is a segment is for the reader of its header to say.
 */

#include "tools/find.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/segment_layout.h"
#include "tools/source.h"
#include "tools/text.h"

#define PREFIX     MPROC__SEGMENT_PREFIX
#define MEMFD      "/memfd:" MPROC__SEGMENT_MEMFD
#define DELETED    " (deleted)"
#define PF_KTHREAD 0x00200000u /* in the flags of /proc/PID/stat */
#define LINKS_MAX  65536       /* descriptors or mappings of one process that are looked at */
#define MAPS_LINE  (PATH_MAX + 128)

const char *find_dir(void)
{
	const char *dir = secure_getenv("MPROC_DIR");

	return dir && *dir ? dir : MPROC__SEGMENT_DIR;
}

/* A file was seen once more. */
static struct found *found_add(struct find *find, const struct stat *st, enum found_how how)
{
	struct found *found;

	if (find->n % 64 == 0)
		find->at = text_alloc(find->at, (find->n + 64) * sizeof(*find->at));
	found = &find->at[find->n++];
	memset(found, 0, sizeof(*found));
	found->named = how == FOUND_NAMED;
	found->how = how;
	found->dev = st->st_dev;
	found->ino = st->st_ino;
	return found;
}

void find_path(struct find *find, const char *path, const char *name)
{
	struct stat st = { 0 };
	struct found *found;

	/* Why it is not there is told by who opens it. */
	if (stat(path, &st) < 0)
		memset(&st, 0, sizeof(st));
	found = found_add(find, &st, FOUND_ELSEWHERE);
	found->path = text_format("%s", path);
	found->name = name ? text_format("%s", name) : NULL;
}

void find_named(struct find *find)
{
	DIR *dir;
	struct dirent *entry;

	find->dir = find_dir();
	dir = opendir(find->dir);
	if (!dir) {
		find->error = -errno;
		return;
	}
	while ((entry = readdir(dir))) {
		const char *name = entry->d_name + strlen(PREFIX);
		struct found *found;
		struct stat st;

		/* No name starts with a dot: that is a name for the time of making one. */
		if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) || !*name || *name == '.' ||
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		found = found_add(find, &st, FOUND_NAMED);
		found->path = text_format("%s/%s", find->dir, entry->d_name);
		found->name = text_format("%s", name);
	}
	closedir(dir);
}

int find_temporary(const char *dir_path)
{
	DIR *dir = opendir(dir_path);
	struct dirent *entry;
	int n = 0;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		struct source source;
		char *path;

		if (strncmp(entry->d_name, MPROC__SEGMENT_TMP, strlen(MPROC__SEGMENT_TMP)))
			continue;
		path = text_format("%s/%s", dir_path, entry->d_name);
		if (source_open(&source, path, false) == 0) {
			/* A living creator holds this byte. */
			n += source.st.st_uid == geteuid() &&
			     source.held(&source, MPROC__BYTE_ATTACH, 1) == 0;
			source_close(&source);
		}
		free(path);
	}
	closedir(dir);
	return n;
}

/*
 * What a link of /proc says about a file that may be a segment.
 * @ret_name:	points into @target, or NULL if it tells none
 */
static bool link_looks_right(char *target, const char **ret_name)
{
	size_t len = strlen(target), cut = strlen(DELETED);
	const char *base;

	if (len > cut && !strcmp(target + len - cut, DELETED))
		target[len - cut] = '\0';
	*ret_name = NULL;
	if (!strncmp(target, MEMFD, strlen(MEMFD)))
		return true;
	base = strrchr(target, '/');
	if (!base)
		return false;
	/* Made without a name, as named segments are: the link of their creator stays so. */
	if (base[1] == '#')
		return base[2] && !base[2 + strspn(base + 2, "0123456789")];
	if (strncmp(base + 1, PREFIX, strlen(PREFIX)))
		return false;
	*ret_name = base + 1 + strlen(PREFIX);
	return **ret_name && **ret_name != '.';
}

/* @path, a link of /proc, leads to @target. */
static void add_link(struct find *find, pid_t pid, const char *path, char *target)
{
	struct stat st, there;
	struct found *found;
	const char *name;
	bool placed;

	if (!link_looks_right(target, &name) || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	/* A name in another directory serves longer than a link of a process. */
	placed = name && stat(target, &there) == 0 && there.st_dev == st.st_dev &&
		 there.st_ino == st.st_ino;
	found = found_add(find, &st, placed ? FOUND_ELSEWHERE : FOUND_HELD);
	found->path = text_format("%s", placed ? target : path);
	found->name = name ? text_format("%s", name) : NULL;
	found->holders[0] = pid;
	found->n_holders = 1;
}

static int find_in_fds(struct find *find, pid_t pid)
{
	char path[64], link[384], target[PATH_MAX];
	struct dirent *entry;
	ssize_t len;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? -ESRCH : -errno;
	for (int n = 0; n < LINKS_MAX && (entry = readdir(dir)); n++) {
		len = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		if (len < 0)
			continue;
		target[len] = '\0';
		snprintf(link, sizeof(link), "%s/%s", path, entry->d_name);
		add_link(find, pid, link, target);
	}
	closedir(dir);
	return 0;
}

static void find_in_maps(struct find *find, pid_t pid)
{
	char path[64], link[128], line[MAPS_LINE];
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (!maps)
		return;
	for (int n = 0; n < LINKS_MAX && fgets(line, sizeof(line), maps); n++) {
		uint64_t from, to;
		char *target = strchr(line, '/');

		if (!target || sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to) != 2)
			continue;
		target[strcspn(target, "\n")] = '\0';
		snprintf(link, sizeof(link), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)pid,
			 from, to);
		add_link(find, pid, link, target);
	}
	fclose(maps);
}

int find_in_process(struct find *find, pid_t pid)
{
	int r = find_in_fds(find, pid);

	if (!r)
		find_in_maps(find, pid);
	return r;
}

bool find_process_state(pid_t pid, char *ret_state, unsigned *ret_flags)
{
	char path[64], text[1024];
	const char *rest;
	ssize_t len;
	int fd;

	/* Other files there wait for locks of the process; this one does not. */
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[len > 0 ? len : 0] = '\0';
	/* The name, in parentheses, may contain anything: the last one ends it. */
	rest = strrchr(text, ')');
	return rest && sscanf(rest + 1, " %c %*d %*d %*d %*d %*d %u", ret_state, ret_flags) == 2;
}

/* Has @pid memory that is hidden from us? Kernel threads and zombies have none. */
static bool has_memory(pid_t pid)
{
	unsigned flags;
	char state;

	return find_process_state(pid, &state, &flags) && state != 'Z' && state != 'X' &&
	       !(flags & PF_KTHREAD);
}

void find_in_processes(struct find *find)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	if (!proc)
		return;
	while ((entry = readdir(proc))) {
		pid_t pid = (pid_t)atoi(entry->d_name);

		if (!isdigit((unsigned char)entry->d_name[0]) || pid == getpid())
			continue;
		if (find_in_process(find, pid) == -EACCES && has_memory(pid))
			find->n_hidden++;
	}
	closedir(proc);
}

static int compare_file(const struct found *x, const struct found *y)
{
	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* The same file side by side, and there by who has it: names, which nobody has, first. */
static int compare_seen(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	int r = compare_file(x, y);

	if (!r)
		r = x->holders[0] < y->holders[0] ? -1 : x->holders[0] > y->holders[0];
	if (!r)
		r = x->how < y->how ? -1 : x->how > y->how;
	return r ? r : strcmp(x->path, y->path);
}

static int compare_shown(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	if (x->named != y->named)
		return x->named ? -1 : 1;
	return x->named ? strcmp(x->name, y->name) : compare_file(x, y);
}

/* @more is the same file as @into, and comes behind it. */
static void merge(struct found *into, struct found *more, pid_t *last)
{
	struct found better = *more;

	if (into->how > more->how) {
		more->path = into->path;
		more->name = into->name;
		into->path = better.path;
		into->name = better.name;
		into->named = better.named;
		into->how = better.how;
	}
	if (!into->name) {
		into->name = more->name;
		more->name = NULL;
	}
	/* They come sorted: a process that has it twice comes twice in a row. */
	if (more->n_holders && more->holders[0] != *last) {
		*last = more->holders[0];
		if (into->n_holders < FIND_HOLDERS_MAX)
			into->holders[into->n_holders] = *last;
		into->n_holders++;
	}
	free(more->path);
	free(more->name);
}

void find_sort(struct find *find)
{
	pid_t last = 0;
	size_t n = 0;

	if (!find->n)
		return;
	qsort(find->at, find->n, sizeof(*find->at), compare_seen);
	for (size_t i = 0; i < find->n; i++) {
		if (n && !compare_file(&find->at[n - 1], &find->at[i])) {
			merge(&find->at[n - 1], &find->at[i], &last);
		} else {
			last = find->at[i].holders[0];
			find->at[n++] = find->at[i];
		}
	}
	find->n = n;
	qsort(find->at, n, sizeof(*find->at), compare_shown);
}

void find_free(struct find *find)
{
	for (size_t i = 0; i < find->n; i++) {
		free(find->at[i].path);
		free(find->at[i].name);
	}
	free(find->at);
	memset(find, 0, sizeof(*find));
}
