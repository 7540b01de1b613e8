/* SPDX-License-Identifier: MIT */

/*
 * The control groups that bind this process
 *
 * What limits a group binds everything below it, so all ancestors count, as far as
 * they can be seen: a container often sees only its own part of the tree. Two files
 * tell. /proc/self/cgroup has our path in each hierarchy; /proc/self/mountinfo has
 * where each hierarchy is mounted, and which of its groups (the mount's root) is
 * what one finds there. Our path less that root, below the mount point, is our own
 * group; from there we walk up to the mount point.
 */

#include "ipc/cgroup.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line of /proc/self/mountinfo, as far as it concerns us; points into the line. */
struct mount {
	bool v2;
	char *root;  /* the group that is found at the mount point */
	char *point; /* where that is */
};

bool mproc__cgroup_line(const char *dir, const char *name, char *buf, size_t cap)
{
	char path[PATH_MAX];
	bool there;
	FILE *f;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return false;
	f = fopen(path, "re");
	if (!f)
		return false;
	there = fgets(buf, (int)cap, f) != NULL;
	fclose(f);
	return there;
}

/* Is @word in @list, which has commas between its words? */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (!strncmp(at, word, len) && (at[len] == ',' || at[len] == '\0'))
			return true;
	}
	return false;
}

/*
 * Our path in the unified hierarchy, or in the one that has @controller.
 *
 * Lines are "ID:CONTROLLERS:PATH"; v2 is "0::PATH". A path may contain colons, and
 * is written as it is: no group has a newline in its name.
 *
 * Return: the path, to be freed, or NULL.
 */
static char *own_group(const char *root, const char *controller)
{
	char file[PATH_MAX], *line = NULL, *found = NULL;
	size_t size = 0;
	ssize_t len;
	FILE *f;

	if (snprintf(file, sizeof(file), "%s/proc/self/cgroup", root) >= (int)sizeof(file))
		return NULL;
	f = fopen(file, "re");
	if (!f)
		return NULL;
	while (!found && (len = getline(&line, &size, f)) > 0) {
		char *controllers = strchr(line, ':');
		char *path = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!path)
			continue;
		if (line[len - 1] == '\n')
			line[len - 1] = '\0';
		*controllers++ = '\0';
		*path++ = '\0';
		if (controller ? has_word(controllers, controller)
			       : !strcmp(line, "0") && !*controllers)
			found = strdup(path);
	}
	free(line);
	fclose(f);
	return found;
}

/* mountinfo writes blanks, tabs, newlines and backslashes as three octal digits. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/*
 * "ID PARENT DEV ROOT POINT OPTIONS [TAG...] - TYPE SOURCE SUPEROPTIONS"
 *
 * Return: does the line mount a hierarchy that can have @controller?
 */
static bool parse_mount(char *line, const char *controller, struct mount *ret)
{
	char *field[5], *save = NULL, *word, *type, *options;

	for (size_t i = 0; i < 5; i++) {
		field[i] = strtok_r(i ? NULL : line, " \n", &save);
		if (!field[i])
			return false;
	}
	/* A lone "-" ends the tags, of which there may be any number. */
	do {
		word = strtok_r(NULL, " \n", &save);
	} while (word && strcmp(word, "-") != 0);
	type = strtok_r(NULL, " \n", &save);
	if (!word || !type || !strtok_r(NULL, " \n", &save))
		return false;
	options = strtok_r(NULL, " \n", &save);
	ret->v2 = !strcmp(type, "cgroup2");
	if (!ret->v2 && (strcmp(type, "cgroup") != 0 || !options || !has_word(options, controller)))
		return false;
	unescape(field[3]);
	unescape(field[4]);
	ret->root = field[3];
	ret->point = field[4];
	return true;
}

/* Paths that leave our cgroup namespace begin with "/..", once for each group left. */
static bool climbs(const char *path)
{
	return !strncmp(path, "/..", 3) && (path[3] == '/' || path[3] == '\0');
}

/*
 * Where our group lies below the mount point.
 *
 * Return: "" or "/a/b", which points into @path; NULL if we are outside of what is
 * mounted, and its limits hence are not ours.
 */
static const char *below(const char *mount_root, const char *path)
{
	size_t len = strlen(mount_root);
	const char *rest;

	if (len && mount_root[len - 1] == '/')
		len--;
	if (!strncmp(path, mount_root, len) && (path[len] == '/' || path[len] == '\0')) {
		rest = path + len;
		if (climbs(rest))
			return NULL;
		return strcmp(rest, "/") ? rest : "";
	}
	/*
	 * A mount that was made outside of our namespace: the groups between its root
	 * and ours cannot be named from here, yet what is mounted is an ancestor.
	 */
	for (rest = mount_root; climbs(rest); rest += 3)
		;
	return *rest || climbs(path) ? NULL : "";
}

/* All groups from our own up to the one at the mount point. */
static void each_of_mount(const char *root, const struct mount *mount, const char *path,
			  void (*fn)(const char *dir, bool v2, void *arg), void *arg)
{
	const char *rest = below(mount->root, path);
	char dir[PATH_MAX];
	size_t top;

	if (!rest)
		return;
	top = strlen(root) + strlen(mount->point);
	if (snprintf(dir, sizeof(dir), "%s%s%s", root, mount->point, rest) >= (int)sizeof(dir))
		return;
	for (;;) {
		char *slash;

		fn(dir, mount->v2, arg);
		slash = strrchr(dir, '/');
		if (!slash || (size_t)(slash - dir) < top)
			return;
		*slash = '\0';
	}
}

void mproc__cgroup_each(const char *root, const char *controller,
			void (*fn)(const char *dir, bool v2, void *arg), void *arg)
{
	char file[PATH_MAX], *line = NULL, *path[2];
	struct mount mount;
	size_t size = 0;
	FILE *f = NULL;

	if (snprintf(file, sizeof(file), "%s/proc/self/mountinfo", root) < (int)sizeof(file))
		f = fopen(file, "re");
	if (!f)
		return;
	path[0] = own_group(root, controller);
	path[1] = own_group(root, NULL);
	/* A hierarchy may be mounted several times, each time with other ancestors. */
	while (getline(&line, &size, f) > 0)
		if (parse_mount(line, controller, &mount) && path[mount.v2])
			each_of_mount(root, &mount, path[mount.v2], fn, arg);
	free(path[0]);
	free(path[1]);
	free(line);
	fclose(f);
}
