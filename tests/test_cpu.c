/* SPDX-License-Identifier: MIT */

/*
 * mproc/cpu.h: on fake trees, under real masks and, where we may, in real groups
 *
 * The count is taken in children: the environment is read once in a process.
 */

#include <mproc/cpu.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "pool/cpu.h"
#include "tests/support/child.h"

#define ANY MPROC__CPU_ANY_NUMBER

#define V1_MOUNT "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
#define V2_MOUNT "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"

static char root[64]; /* of the fake tree */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int setup(void **state)
{
	(void)state;
	strcpy(root, "/tmp/mproc-test.XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Write a file of the fake tree, with the directories above it. */
static void put(const char *name, const char *text)
{
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s%s", root, name);
	for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
		*at = '/';
	}
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* A tree with one hierarchy, and our path in it. */
static void tree(const char *cgroup, const char *mountinfo)
{
	put("/proc/self/cgroup", cgroup);
	put("/proc/self/mountinfo", mountinfo);
}

static void quota_v1(const char *dir, const char *quota, const char *period)
{
	char name[PATH_MAX];

	snprintf(name, sizeof(name), "%s/cpu.cfs_quota_us", dir);
	put(name, quota);
	snprintf(name, sizeof(name), "%s/cpu.cfs_period_us", dir);
	put(name, period);
}

static void quota_is_rounded_up_to_whole_cpus(void **state)
{
	static const struct {
		const char *quota, *period;
		uint32_t n;
	} cases[] = {
		{ "-1\n", "100000\n", ANY },
		{ "1000\n", "100000\n", 1 },
		{ "50000\n", "100000\n", 1 },
		{ "100000\n", "100000\n", 1 },
		{ "100001\n", "100000\n", 2 },
		{ "150000\n", "100000\n", 2 },
		{ "1600000\n", "100000\n", 16 },
		{ "75000\n", "50000\n", 2 },
		{ "9223372036854775807\n", "1\n", ANY },
		/* impossible: sets no limit */
		{ "0\n", "100000\n", ANY },
		{ "100000\n", "0\n", ANY },
		{ "100000\n", "-1\n", ANY },
		{ "", "100000\n", ANY },
		{ "nonsense\n", "100000\n", ANY },
	};
	char max[64];

	(void)state;
	tree("2:cpuacct:/\n1:cpu:/a\n0::/\n", V1_MOUNT);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		quota_v1("/sys/fs/cgroup/cpu/a", cases[i].quota, cases[i].period);
		assert_int_equal(mproc__cpu_quota(root), cases[i].n);
	}

	tree("0::/a\n", V2_MOUNT);
	put("/sys/fs/cgroup/a/cpu.max", "max 100000\n");
	assert_int_equal(mproc__cpu_quota(root), ANY);
	for (size_t i = 1; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(max, sizeof(max), "%.*s %s", (int)strcspn(cases[i].quota, "\n"),
			 cases[i].quota, cases[i].period);
		put("/sys/fs/cgroup/a/cpu.max", max);
		assert_int_equal(mproc__cpu_quota(root), cases[i].n);
	}
}

static void smallest_quota_of_all_ancestors_counts(void **state)
{
	(void)state;
	tree("0::/a/b/c\n", V2_MOUNT);
	assert_int_equal(mproc__cpu_quota(root), ANY);
	put("/sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n");
	assert_int_equal(mproc__cpu_quota(root), 8);
	put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
	assert_int_equal(mproc__cpu_quota(root), 8);
	put("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
	assert_int_equal(mproc__cpu_quota(root), 3);
	/* In a container the top of what is mounted has a quota, too. */
	put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
	assert_int_equal(mproc__cpu_quota(root), 2);
	/* Neither what is beside us nor what is above the mount point is ours. */
	put("/sys/fs/cgroup/a/b/d/cpu.max", "1000 100000\n");
	put("/sys/fs/cpu.max", "1000 100000\n");
	put("/cpu.max", "1000 100000\n");
	assert_int_equal(mproc__cpu_quota(root), 2);
}

static void both_versions_count_at_the_same_time(void **state)
{
	(void)state;
	tree("4:memory:/m\n3:cpu,cpuacct:/x\n0::/y\n",
	     "30 1 0:2 / /cg/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
	     "31 1 0:3 / /cg/unified rw - cgroup2 cgroup2 rw\n"
	     "32 1 0:4 / /cg/memory rw - cgroup cgroup rw,memory\n");
	quota_v1("/cg/cpu,cpuacct/x", "400000", "100000");
	assert_int_equal(mproc__cpu_quota(root), 4);
	put("/cg/unified/y/cpu.max", "300000 100000\n");
	assert_int_equal(mproc__cpu_quota(root), 3);
	/* A v1 hierarchy without the cpu controller has no say, nor is our path there ours here. */
	quota_v1("/cg/memory/m", "100000", "100000");
	quota_v1("/cg/cpu,cpuacct/m", "100000", "100000");
	assert_int_equal(mproc__cpu_quota(root), 3);
}

static void group_is_found_below_the_root_of_its_mount(void **state)
{
	static const struct {
		const char *path, *mount_root;
		const char *dir; /* one of ours, or NULL: nothing there is */
		const char *why;
	} cases[] = {
		{ "/", "/", "", "a namespace of our own" },
		{ "/docker/abc", "/docker/abc", "", "a container that sees the host's paths" },
		{ "/docker/abc/x", "/docker/abc", "/x", "a group made in such a container" },
		{ "/docker/abcd", "/docker/abc", NULL, "a neighbour whose name begins with ours" },
		{ "/other", "/docker/abc", NULL, "a mount of somebody else's groups" },
		{ "/x", "/..", "", "a mount from outside of our namespace" },
		{ "/", "/../..", "", "the same, two groups up" },
		{ "/../x", "/..", "/x", "we are outside of our namespace, the mount too" },
		{ "/../x", "/", NULL, "we were moved out of our namespace" },
		{ "/../../x", "/..", NULL, "further out than the mount" },
		{ "/..x", "/", "/..x", "a name that begins with dots" },
		{ "/x:y", "/", "/x:y", "a name with a colon" },
		{ "/a b", "/", "/a b", "a name with a blank" },
	};
	char cgroup[128], mountinfo[256], name[PATH_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(cgroup, sizeof(cgroup), "0::%s\n", cases[i].path);
		snprintf(mountinfo, sizeof(mountinfo),
			 "41 31 0:38 %s /cg%zu rw - cgroup2 cgroup2 rw\n", cases[i].mount_root, i);
		tree(cgroup, mountinfo);
		snprintf(name, sizeof(name), "/cg%zu%s/cpu.max", i,
			 cases[i].dir ? cases[i].dir : "");
		put(name, "700000 100000\n");
		if (mproc__cpu_quota(root) != (cases[i].dir ? 7 : ANY))
			fail_msg("%s: path %s, mount root %s: %u", cases[i].why, cases[i].path,
				 cases[i].mount_root, mproc__cpu_quota(root));
	}
}

static void names_in_mountinfo_are_unescaped(void **state)
{
	(void)state;
	tree("0::/a b/\\c\n", "41 31 0:38 /a\\040b /the\\040mount\\134x rw - cgroup2 cgroup2 rw\n");
	put("/the mount\\x/\\c/cpu.max", "500000 100000\n");
	assert_int_equal(mproc__cpu_quota(root), 5);
}

static void hierarchy_mounted_twice_counts_in_both_places(void **state)
{
	(void)state;
	tree("0::/a/b\n", "41 31 0:38 /a /inner rw - cgroup2 cgroup2 rw\n"
			  "42 31 0:38 / /outer rw - cgroup2 cgroup2 rw\n");
	put("/inner/b/cpu.max", "600000 100000\n");
	put("/outer/a/b/cpu.max", "600000 100000\n");
	assert_int_equal(mproc__cpu_quota(root), 6);
	put("/outer/cpu.max", "400000 100000\n");
	assert_int_equal(mproc__cpu_quota(root), 4);
}

static void nonsense_sets_no_limit(void **state)
{
	static const char *const cgroups[] = {
		"", "\n", "0", "0:", "0:\n", "0::", "::\n", "0::/a", "1:cpu\n", "x:y:z\n:::::\n",
	};
	static const char *const mounts[] = {
		"",
		"\n",
		"1\n",
		"1 2 3 4 5\n",
		"1 2 3 / /cg rw\n",
		"1 2 3 / /cg rw -\n",
		"1 2 3 / /cg rw - cgroup2\n",
		"1 2 3 / /cg rw - cgroup cgroup\n",
		"1 2 3 /\\ /\\04 rw - cgroup2 x rw\n",
	};

	(void)state;
	assert_int_equal(mproc__cpu_quota(root), ANY); /* no /proc at all */
	for (size_t i = 0; i < sizeof(cgroups) / sizeof(cgroups[0]); i++) {
		for (size_t j = 0; j < sizeof(mounts) / sizeof(mounts[0]); j++) {
			tree(cgroups[i], mounts[j]);
			assert_int_equal(mproc__cpu_quota(root), ANY);
		}
	}
}

static void override_is_a_plain_number(void **state)
{
	static const struct {
		const char *text;
		uint32_t n;
	} cases[] = {
		{ NULL, 0 },    { "", 0 },           { "0", 0 },
		{ "1", 1 },     { "07", 7 },         { "65536", 65536 },
		{ "65537", 0 }, { "4294967297", 0 }, { "18446744073709551617", 0 },
		{ "-1", 0 },    { "+1", 0 },         { " 1", 0 },
		{ "1 ", 0 },    { "0x2", 0 },        { "2.5", 0 },
		{ "all", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(mproc__cpu_override(cases[i].text), cases[i].n);
}

/* What a child counts under a mask and an environment, and what it logs. */
struct count {
	int cpus;          /* in its mask; 0: as it is */
	const char *value; /* of MPROC_CPU_COUNT, or NULL */
	unsigned want;
	const char *log; /* expected, or NULL */
};

static int n_lines;
static char last_line[256];

static void note_line(const char *line, void *arg)
{
	(void)arg;
	n_lines++;
	snprintf(last_line, sizeof(last_line), "%s", line);
	/* Whoever reads the log may call the library. */
	t_check(mproc_cpu_count() >= 1);
}

static void limit_mask(int cpus)
{
	cpu_set_t set, small;

	t_check(sched_getaffinity(0, sizeof(set), &set) == 0);
	CPU_ZERO(&small);
	for (int i = CPU_SETSIZE - 1; i >= 0 && CPU_COUNT(&small) < cpus; i--)
		if (CPU_ISSET(i, &set))
			CPU_SET(i, &small);
	t_check(sched_setaffinity(0, sizeof(small), &small) == 0);
}

static void count_once(void *arg)
{
	const struct count *c = arg;

	if (c->cpus)
		limit_mask(c->cpus);
	if (c->value)
		t_check(setenv("MPROC_CPU_COUNT", c->value, 1) == 0);
	else
		t_check(unsetenv("MPROC_CPU_COUNT") == 0);
	mproc_set_log(note_line, NULL);
	for (int i = 0; i < 3; i++)
		t_check(mproc_cpu_count() == c->want);
	t_check(n_lines == (c->log ? 1 : 0));
	t_check(!c->log || !strcmp(last_line, c->log));
}

static void assert_count(struct count c)
{
	assert_int_equal(t_reap(t_spawn(count_once, &c)), 0);
}

static void count_is_that_of_the_mask(void **state)
{
	unsigned all = mproc__cpu_affinity(), quota = mproc__cpu_quota("");

	(void)state;
	assert_true(all >= 1 && all < ANY);
	assert_count((struct count){ .cpus = 1, .want = 1 });
	if (all > 1 && quota > 1)
		assert_count((struct count){ .cpus = 2, .want = 2 });
	assert_count((struct count){ .want = all < quota ? all : quota });
}

static void environment_overrides_the_count(void **state)
{
	(void)state;
	assert_count((struct count){ .cpus = 1, .value = "3", .want = 3 });
	assert_count((struct count){ .cpus = 1,
				     .value = "many\n",
				     .want = 1,
				     .log = "MPROC_CPU_COUNT=many? ignored: not a number from "
					    "1 to 65536" });
	assert_count((struct count){ .cpus = 1,
				     .value = "",
				     .want = 1,
				     .log = "MPROC_CPU_COUNT= ignored: not a number from 1 to "
					    "65536" });
}

/* Into a file of a real group. Return: 0 or a negative errno. */
static int write_group(const char *group, const char *file, const char *text)
{
	char path[PATH_MAX];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", group, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	n = n < 0 ? -errno : 0;
	close(fd);
	return (int)n;
}

static void count_in_group(void *group)
{
	unsigned free_count = mproc_cpu_count();
	char quota[32];

	t_check(write_group(group, "cgroup.procs", "0") == 0);
	t_check(mproc_cpu_count() == 1);

	/* A quota of all CPUs is no limit. */
	snprintf(quota, sizeof(quota), "%u", 100000 * free_count);
	t_check(write_group(group, "../cpu.cfs_quota_us", quota) == 0);
	t_check(mproc_cpu_count() == free_count);
}

static void real_quota_of_a_parent_group_counts(void **state)
{
	char parent[64], child[96];
	int r;

	(void)state;
	snprintf(parent, sizeof(parent), "/sys/fs/cgroup/cpu/mproc-test-%d", (int)getpid());
	snprintf(child, sizeof(child), "%s/child", parent);
	if (mkdir(parent, 0755) < 0) {
		print_message("# skipped: cannot make a v1 cpu group: %s\n", strerror(errno));
		return;
	}
	r = mkdir(child, 0755) < 0 ? -errno : write_group(parent, "cpu.cfs_quota_us", "50000");
	if (!r)
		r = t_reap(t_spawn(count_in_group, child));
	rmdir(child);
	rmdir(parent);
	assert_int_equal(r, 0);
}

#define FAKE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE(quota_is_rounded_up_to_whole_cpus),
		FAKE(smallest_quota_of_all_ancestors_counts),
		FAKE(both_versions_count_at_the_same_time),
		FAKE(group_is_found_below_the_root_of_its_mount),
		FAKE(names_in_mountinfo_are_unescaped),
		FAKE(hierarchy_mounted_twice_counts_in_both_places),
		FAKE(nonsense_sets_no_limit),
		cmocka_unit_test(override_is_a_plain_number),
		cmocka_unit_test(count_is_that_of_the_mask),
		cmocka_unit_test(environment_overrides_the_count),
		cmocka_unit_test(real_quota_of_a_parent_group_counts),
	};

	return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
