/* SPDX-License-Identifier: MIT */

/*
 * Which segment somebody means
 *
 * A name comes first, then a process, then an id: digits that are all three mean
 * the first. Several that fit are named, none is chosen.
 */

#include "tools/resolve.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/shmtool.h"

#define ID_MIN 4 /* digits of an id that are enough to ask by */

/* Of a file that is looked at wherever it lies. */
static int saved_held(struct source *source, int64_t byte, int64_t n)
{
	(void)source;
	(void)byte;
	(void)n;
	return -ENOTSUP;
}

/* Take over one of @find's, which is the one. */
static bool choose(struct resolved *ret, struct find *find, size_t i)
{
	ret->find = *find;
	segment_read(&ret->segment, &ret->find.at[i]);
	return true;
}

/* The same, after a look where else it is to be found, and who has it. */
static bool choose_anywhere(struct resolved *ret, struct find *find, size_t i)
{
	const struct found one = find->at[i];

	find_named(find);
	find_in_processes(find);
	find_sort(find);
	for (i = 0; find->at[i].dev != one.dev || find->at[i].ino != one.ino; i++)
		;
	return choose(ret, find, i);
}

static bool choose_path(struct resolved *ret, const char *path)
{
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	size_t cut = strlen(MPROC__SEGMENT_PREFIX);
	bool prefixed = !strncmp(base, MPROC__SEGMENT_PREFIX, cut) && base[cut];
	struct image *image = &ret->segment.image;
	struct find find = { 0 };

	find_path(&find, path, prefixed ? base + cut : NULL);
	choose_anywhere(ret, &find, 0);
	/* Of a copy elsewhere nobody can be dead, and nobody alive. */
	if (!prefixed && strncmp(path, "/proc/", 6) && image->verdict != IMAGE_UNREADABLE &&
	    !image->in_use) {
		image_free(image);
		ret->segment.source.held = saved_held;
		image_read(image, &ret->segment.source);
	}
	return true;
}

static bool is_segment(const struct found *found)
{
	struct segment segment;
	bool ret;

	segment_read(&segment, found);
	ret = segment.image.verdict != IMAGE_ALIEN && segment.image.verdict != IMAGE_UNREADABLE;
	segment_free(&segment);
	return ret;
}

/* Drop what is no segment. */
static void keep_segments(struct find *find)
{
	size_t n = 0;

	for (size_t i = 0; i < find->n; i++) {
		if (is_segment(&find->at[i])) {
			find->at[n++] = find->at[i];
		} else {
			free(find->at[i].path);
			free(find->at[i].name);
		}
	}
	find->n = n;
}

/* "jobs, 4711:5, 4711:6": how to ask for each. */
static void say_which(const char *what, const struct find *find)
{
	char line[1024] = "", one[300];
	int pid, fd;

	for (size_t i = 0; i < find->n && strlen(line) + sizeof(one) < sizeof(line); i++) {
		const struct found *found = &find->at[i];
		struct text buf;

		if (found->named)
			snprintf(one, sizeof(one), "%.200s",
				 text_escape_str(&buf, found->name, TEXT_MAX));
		else if (sscanf(found->path, "/proc/%d/fd/%d", &pid, &fd) == 2)
			snprintf(one, sizeof(one), "%d:%d", pid, fd);
		else
			snprintf(one, sizeof(one), "%.200s", found->path);
		strcat(strcat(line, i ? ", " : ""), one);
	}
	say("%s: %zu segments fit: %s", what, find->n, line);
}

/* Return: 1 chosen, 0 it is nothing of the kind, -1 said why not. */
static int by_process(struct resolved *ret, const char *what)
{
	struct find find = { 0 };
	char path[64], *end;
	long pid, fd;
	int r;

	if (!isdigit((unsigned char)*what))
		return 0;
	errno = 0;
	pid = strtol(what, &end, 10);
	if (errno || pid <= 0 || pid > INT32_MAX)
		return 0;
	if (*end == ':' && isdigit((unsigned char)end[1])) {
		fd = strtol(end + 1, &end, 10);
		if (errno || *end || fd > INT32_MAX)
			return 0;
		snprintf(path, sizeof(path), "/proc/%ld/fd/%ld", pid, fd);
		return choose_path(ret, path);
	}
	if (*end)
		return 0;
	r = find_in_process(&find, (pid_t)pid);
	find_sort(&find);
	if (r == -EACCES || r == -EPERM) {
		say("%s: this process may not be looked into by you", what);
		return -1;
	}
	keep_segments(&find);
	if (find.n == 1)
		return choose_anywhere(ret, &find, 0);
	if (find.n)
		say_which(what, &find);
	r = find.n ? -1 : 0;
	find_free(&find);
	return r;
}

/* The same. */
static int by_id(struct resolved *ret, const char *what)
{
	size_t len = strlen(what), n = 0;
	struct find find = { 0 };

	if (len < ID_MIN || len > 32 || strspn(what, "0123456789abcdef") < len)
		return 0;
	find_named(&find);
	find_in_processes(&find);
	find_sort(&find);
	for (size_t i = 0; i < find.n; i++) {
		struct segment segment;
		char id[33];
		bool same;

		segment_read(&segment, &find.at[i]);
		same = segment.image.verdict == IMAGE_GOOD &&
		       !strncmp(id_text(id, segment.image.head.uuid), what, len);
		segment_free(&segment);
		if (same) {
			struct found found = find.at[n];

			find.at[n++] = find.at[i];
			find.at[i] = found;
		}
	}
	if (n == 1)
		return choose(ret, &find, 0);
	if (n) {
		struct find some = { .at = find.at, .n = n };

		say_which(what, &some);
	}
	find_free(&find);
	return n ? -1 : 0;
}

static bool by_name(struct resolved *ret, const char *what)
{
	struct find find = { 0 };

	find_named(&find);
	for (size_t i = 0; i < find.n; i++)
		if (!strcmp(find.at[i].name, what))
			return choose_anywhere(ret, &find, i);
	find_free(&find);
	return false;
}

bool resolve(struct resolved *ret, const char *what)
{
	struct stat st;
	int r;

	memset(ret, 0, sizeof(*ret));
	if (strchr(what, '/'))
		return choose_path(ret, what);
	if (by_name(ret, what))
		return true;
	r = by_process(ret, what);
	if (!r)
		r = by_id(ret, what);
	if (!r && stat(what, &st) == 0)
		r = choose_path(ret, what);
	if (!r)
		say("%s: no segment in %s has this name, no process this number and a segment, "
		    "no segment this id",
		    what, find_dir());
	return r > 0;
}

void resolved_free(struct resolved *resolved)
{
	segment_free(&resolved->segment);
	find_free(&resolved->find);
}
