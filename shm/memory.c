/* SPDX-License-Identifier: MIT */

/*
 * How much memory the control groups leave us
 *
 * Who allocates more shared memory than its memory cgroup has gets no ENOSPC: the
 * kernel kills somebody in the group, most likely the caller. So we look before.
 * A group has left
 *
 *	limit - usage + page cache of files + swap it may use
 *
 * Page cache counts as usage, and fills every group that reads files up to its
 * limit, but is dropped before anybody is killed; shared memory is not in it. On
 * v1 a second limit may bind memory and swap together.
 */

#include "shm/memory.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/cgroup.h"

struct look {
	uint64_t swap_free; /* of the machine */
	uint64_t left;      /* of the poorest group so far */
};

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* A number in a file. Return: @none if there is no such file or it says "max". */
static uint64_t number(const char *dir, const char *name, uint64_t none)
{
	char line[64], *end;
	uint64_t n;

	if (!mproc__cgroup_line(dir, name, line, sizeof(line)))
		return none;
	n = strtoull(line, &end, 10);
	return end == line ? none : n;
}

/* The sum of the numbers behind the words @a and @b in a file of lines "WORD NUMBER ...". */
static uint64_t sum_of(const char *path, const char *a, const char *b)
{
	uint64_t sum = 0, n;
	char line[256], word[64];
	FILE *f = fopen(path, "re");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %" SCNu64, word, &n) == 2 &&
		    (!strcmp(word, a) || !strcmp(word, b)))
			sum = add(sum, n);
	fclose(f);
	return sum;
}

static uint64_t rest(uint64_t limit, uint64_t usage)
{
	if (limit == UINT64_MAX)
		return limit;
	return limit > usage ? limit - usage : 0;
}

static void look_at(const char *dir, bool v2, void *arg)
{
	struct look *look = arg;
	uint64_t left, cache, swap;
	char stat[PATH_MAX];

	if (snprintf(stat, sizeof(stat), "%s/memory.stat", dir) >= (int)sizeof(stat))
		return;
	if (v2) {
		left = rest(number(dir, "memory.max", UINT64_MAX),
			    number(dir, "memory.current", 0));
		cache = sum_of(stat, "inactive_file", "active_file");
		swap = rest(number(dir, "memory.swap.max", UINT64_MAX),
			    number(dir, "memory.swap.current", 0));
		left = add(add(left, cache), min(swap, look->swap_free));
	} else {
		left = rest(number(dir, "memory.limit_in_bytes", UINT64_MAX),
			    number(dir, "memory.usage_in_bytes", 0));
		cache = sum_of(stat, "total_inactive_file", "total_active_file");
		swap = rest(number(dir, "memory.memsw.limit_in_bytes", UINT64_MAX),
			    number(dir, "memory.memsw.usage_in_bytes", 0));
		left = min(add(add(left, cache), look->swap_free), add(swap, cache));
	}
	look->left = min(look->left, left);
}

uint64_t mproc__memory_left(const char *root)
{
	struct look look = { .left = UINT64_MAX };
	char meminfo[PATH_MAX];

	if (snprintf(meminfo, sizeof(meminfo), "%s/proc/meminfo", root) < (int)sizeof(meminfo))
		look.swap_free = 1024 * sum_of(meminfo, "SwapFree:", "");
	mproc__cgroup_each(root, "memory", look_at, &look);
	return look.left;
}

uint64_t mproc__memory_available(const char *root)
{
	char meminfo[PATH_MAX];
	uint64_t kib;

	if (snprintf(meminfo, sizeof(meminfo), "%s/proc/meminfo", root) >= (int)sizeof(meminfo))
		return UINT64_MAX;
	kib = sum_of(meminfo, "MemAvailable:", "SwapFree:");
	return kib ? 1024 * kib : UINT64_MAX;
}
