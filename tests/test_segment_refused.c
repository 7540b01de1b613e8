/* SPDX-License-Identifier: MIT */

/*
 * mproc/segment.h: what is refused, with which code and which words
 */

#include <mproc/segment.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "ipc/participant.h"
#include "shm/catalogue.h"
#include "shm/memory.h"
#include "shm/segment_layout.h"
#include "tests/support/child.h"
#include "tests/support/leaks.h"

#define SMALL MPROC_SEGMENT_OPTS(.bytes = 512 << 10, .processes = 8, .threads = 16, .objects = 8)
#define KEPT \
	MPROC_SEGMENT_OPTS(.bytes = 512 << 10, .processes = 8, .threads = 16, .objects = 8, \
			   .flags = MPROC_SEGMENT_PERSISTENT)

static int setup(void **state)
{
	(void)state;
	t_leaks_begin();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_leaks_end();
	return 0;
}

static void assert_refused(int r, int code, const char *text)
{
	if (r != code || !strstr(mproc_error_text(), text))
		fail_msg("%d \"%s\", expected %d \"...%s...\"", r, mproc_error_text(), code, text);
}

static void names_that_can_be_none_are_refused(void **state)
{
	mproc_segment *segment;
	char longest[MPROC_SEGMENT_NAME_MAX + 2];

	(void)state;
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_refused(mproc_segment_create(&segment, longest, SMALL), -EINVAL,
		       "201 bytes, 1 to 200");
	assert_refused(mproc_segment_open(&segment, longest), -EINVAL, "201 bytes, 1 to 200");
	assert_refused(mproc_segment_unlink(longest), -EINVAL, "201 bytes, 1 to 200");
	assert_refused(mproc_segment_create(&segment, "", SMALL), -EINVAL, "0 bytes, 1 to 200");
	assert_refused(mproc_segment_create(&segment, "a/b", SMALL), -EINVAL, "no slash");
	assert_refused(mproc_segment_create(&segment, ".a", SMALL), -EINVAL, "begin with a dot");
	longest[MPROC_SEGMENT_NAME_MAX] = '\0';
	assert_int_equal(mproc_segment_create(&segment, longest, SMALL), 0);
	assert_string_equal(mproc_segment_name(segment), longest);
	mproc_segment_close(segment);
}

static void options_out_of_range_are_refused(void **state)
{
	struct {
		struct mproc_segment_opts known;
		uint64_t later;
	} newer = { .known = { .size = sizeof(newer) }, .later = 1 };
	mproc_segment *segment;

	(void)state;
	assert_refused(mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 4096)),
		       -EINVAL, "create segment: 4 KiB are too few");
	assert_refused(mproc_segment_create(&segment, NULL,
					    MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .bytes_max = 1)),
		       -EINVAL, "1048576 bytes that may become 1");
	assert_refused(
		mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = UINT64_MAX - 1)),
		-EINVAL, "impossible");
	assert_refused(mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.processes = 4097)),
		       -EINVAL, "at most 4096, 16383, 65536");
	assert_refused(mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.threads = 16384)),
		       -EINVAL, "at most 4096, 16383, 65536");
	assert_refused(mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.objects = 65537)),
		       -EINVAL, "at most 4096, 16383, 65536");
	assert_refused(mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.flags = 64)),
		       -EINVAL, "unknown flags 0x40");
	assert_refused(mproc_segment_create(&segment, NULL, KEPT), -EINVAL, "without a name");
	assert_refused(mproc_segment_create(&segment, "m", MPROC_SEGMENT_OPTS(.mode = 0700)),
		       -EINVAL, "mode 0700");
	assert_refused(mproc_segment_create(&segment, "m", MPROC_SEGMENT_OPTS(.mode = 0060)),
		       -EINVAL, "mode 060");
	assert_refused(mproc_segment_create(&segment, NULL, &newer.known), -E2BIG, "unknown");
	newer.later = 0;
	assert_int_equal(mproc_segment_create(&segment, NULL, &newer.known), 0);
	mproc_segment_close(segment);
}

/* The largest tables there are leave a segment that works. */
static void limits_of_the_options_can_be_reached(void **state)
{
	mproc_segment *segment;
	void *object;

	(void)state;
	assert_int_equal(
		mproc_segment_create(
			&segment, NULL,
			MPROC_SEGMENT_OPTS(.processes = 4096, .threads = 16383, .objects = 65536)),
		0);
	assert_int_equal(mproc_segment_object(&object, segment, "x", 8, NULL, NULL), 1);
	mproc_segment_close(segment);
	assert_int_equal(mproc_segment_create(&segment, NULL,
					      MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .processes = 1,
								 .threads = 1, .objects = 1)),
			 0);
	assert_int_equal(mproc_segment_object(&object, segment, "x", 8, NULL, NULL), 1);
	assert_refused(mproc_segment_object(&object, segment, "y", 8, NULL, NULL), -ENOSPC,
		       "create object y: all 1 entries");
	mproc_segment_close(segment);
}

/* Overwrite some of the head of the persistent segment "kept". */
static void poke(size_t off, const void *bytes, size_t len, void *was)
{
	int fd = open(t_segment_path("kept"), O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, was, len, (off_t)off), len);
	assert_int_equal(pwrite(fd, bytes, len, (off_t)off), len);
	close(fd);
}

#define POKE(field, value, code, text) \
	do { \
		__typeof__(((struct mproc__segment_head *)0)->field) poked = value, good; \
		mproc_segment *opened; \
\
		poke(offsetof(struct mproc__segment_head, field), &poked, sizeof(poked), &good); \
		assert_refused(mproc_segment_open(&opened, "kept"), code, text); \
		poke(offsetof(struct mproc__segment_head, field), &good, sizeof(good), &poked); \
	} while (0)

static void other_layouts_are_refused_by_name_of_both(void **state)
{
	mproc_segment *segment;
	unsigned char magic[8] = "mproc?";
	char was[8], both[80];

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, "kept", KEPT), 0);
	mproc_segment_close(segment);
	snprintf(both, sizeof(both), "open kept: layout %u here, %u in the segment", MPROC__LAYOUT,
		 MPROC__LAYOUT + 1);
	POKE(layout, MPROC__LAYOUT + 1, -EPROTO, both);
	POKE(sizes, 0xabcd, -EPROTO, "0000abcd in the segment");
	POKE(word_size, 32, -EPROTO, "64 bit here, 32 bit in the segment");
	POKE(byte_order, UINT32_C(0x04030201), -EPROTO,
	     "byte order 04030201 here, 01020304 in the segment");
	poke(0, magic, 8, was);
	assert_refused(mproc_segment_open(&segment, "kept"), -EPROTO, "it is no segment");
	poke(0, was, 8, magic);
	/* Nothing was touched: it still opens. */
	assert_int_equal(mproc_segment_open(&segment, "kept"), 0);
	mproc_segment_close(segment);
	assert_int_equal(mproc_segment_unlink("kept"), 0);
}

static void impossible_headers_are_refused(void **state)
{
	struct mproc__section wild = { .off = UINT64_MAX - 255, .len = 4096 };
	struct mproc__section low = { .off = 256, .len = 4096 };
	mproc_segment *segment;
	uint64_t size = 4096, was;

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, "kept", KEPT), 0);
	mproc_segment_close(segment);
	POKE(n_procs, 0, -EBADMSG, "tables of 0 processes");
	POKE(n_procs, 8000, -EBADMSG, "tables of 8000 processes");
	POKE(n_procs, 4000, -EBADMSG, "section 0");
	POKE(n_threads, UINT32_MAX, -EBADMSG, "tables of");
	POKE(n_objects, 65536, -EBADMSG, "section 1");
	POKE(n_sections, 3, -EBADMSG, "3 sections");
	POKE(n_sections, 17, -EBADMSG, "17 sections");
	POKE(size, 512 << 20, -EBADMSG, "a size of");
	POKE(size, 4096, -EBADMSG, "section");
	POKE(size_max, UINT64_MAX, -EBADMSG, "a size of");
	POKE(sections[2], wild, -EBADMSG, "section 2");
	POKE(sections[1], low, -EBADMSG, "section 1");
	poke(MPROC__SEGMENT_STATE_OFF, &size, sizeof(size), &was);
	assert_refused(mproc_segment_open(&segment, "kept"), -EBADMSG, "4096 bytes are published");
	poke(MPROC__SEGMENT_STATE_OFF, &was, sizeof(was), &size);
	/* Cut by somebody: what is promised is not there. */
	assert_int_equal(truncate(t_segment_path("kept"), 256 << 10), 0);
	assert_refused(mproc_segment_open(&segment, "kept"), -EBADMSG,
		       "the file has 262144 bytes, the segment 524288");
	assert_int_equal(truncate(t_segment_path("kept"), 100), 0);
	assert_refused(mproc_segment_open(&segment, "kept"), -EPROTO, "it is no segment");
	assert_int_equal(mproc_segment_unlink("kept"), 0);
}

static void what_is_no_segment_keeps_its_name(void **state)
{
	mproc_segment *segment;
	int fd;

	(void)state;
	fd = open(t_segment_path("text"), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "hello", 5), 5);
	close(fd);
	assert_refused(mproc_segment_open(&segment, "text"), -EPROTO, "it is no segment");
	assert_refused(mproc_segment_create(&segment, "text", SMALL), -EEXIST, "it is no segment");
	assert_refused(mproc_segment_open_or_create(&segment, "text", SMALL), -EPROTO,
		       "it is no segment");
	assert_refused(mproc_segment_gc("text"), -EPROTO, "it is no segment");
	assert_int_equal(mproc_segment_unlink("text"), 0);

	assert_int_equal(symlink("/etc/passwd", t_segment_path("link")), 0);
	assert_refused(mproc_segment_open(&segment, "link"), -EPERM, "symbolic link");
	assert_refused(mproc_segment_create(&segment, "link", SMALL), -EPERM, "symbolic link");
	assert_refused(mproc_segment_unlink("link"), -EPERM, "symbolic link");
	assert_int_equal(unlink(t_segment_path("link")), 0);

	assert_int_equal(mkfifo(t_segment_path("fifo"), 0600), 0);
	assert_refused(mproc_segment_open(&segment, "fifo"), -EPROTO, "no regular file");
	assert_refused(mproc_segment_create(&segment, "fifo", SMALL), -EEXIST, "no regular file");
	assert_int_equal(unlink(t_segment_path("fifo")), 0);

	assert_int_equal(mkdir(t_segment_path("dir"), 0700), 0);
	assert_refused(mproc_segment_open(&segment, "dir"), -EPROTO, "no regular file");
	assert_int_equal(rmdir(t_segment_path("dir")), 0);
	assert_refused(mproc_segment_unlink("dir"), -ENOENT, "unlink dir: there is no");
}

static void writable_by_others_than_asked_is_refused(void **state)
{
	mproc_segment *segment;

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, "kept", KEPT), 0);
	mproc_segment_close(segment);
	assert_int_equal(chmod(t_segment_path("kept"), 0620), 0);
	assert_refused(mproc_segment_open(&segment, "kept"), -EPERM,
		       "mode 0620, its creator asked for 0600");
	assert_int_equal(mproc_segment_unlink("kept"), 0);
	assert_int_equal(
		mproc_segment_create(&segment, "kept",
				     MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .mode = 0660,
							.flags = MPROC_SEGMENT_PERSISTENT)),
		0);
	mproc_segment_close(segment);
	assert_int_equal(mproc_segment_open(&segment, "kept"), 0);
	mproc_segment_close(segment);
	assert_int_equal(chmod(t_segment_path("kept"), 0662), 0);
	assert_refused(mproc_segment_open(&segment, "kept"), -EPERM, "asked for 0660");
	assert_int_equal(mproc_segment_unlink("kept"), 0);
}

#define SOMEBODY 4711
#define ANOTHER  4712

static void refuse_what_others_own(void *arg)
{
	mproc_segment *segment;

	(void)arg;
	t_check(setuid(ANOTHER) == 0);
	t_check(mproc_segment_open(&segment, "theirs") == -EPERM);
	t_check(strstr(mproc_error_text(), "it belongs to user 4711, not to 4712"));
	t_check(mproc_segment_create(&segment, "theirs", SMALL) == -EPERM);
	t_check(mproc_segment_open_or_create(&segment, "theirs", SMALL) == -EPERM);
	t_check(mproc_segment_unlink("theirs") == -EPERM);
	t_check(mproc_segment_gc("theirs") == -EPERM);
	/* Root's is accepted, if root lets us: here only its mode does not. */
	t_check(mproc_segment_open(&segment, "roots") == -EACCES);
}

static void name_of_another_user_is_refused_and_never_repaired(void **state)
{
	mproc_segment *segment;

	(void)state;
	if (geteuid() != 0) {
		print_message("# skipped: not root: cannot give a file to somebody\n");
		return;
	}
	/* As a leftover it would be replaced, if it were ours. */
	assert_int_equal(mproc_segment_create(&segment, "theirs", KEPT), 0);
	mproc_segment_close(segment);
	assert_int_equal(mproc_segment_create(&segment, "roots", KEPT), 0);
	mproc_segment_close(segment);
	assert_int_equal(chmod(t_private_dir(), 01777), 0);
	assert_int_equal(chown(t_segment_path("theirs"), SOMEBODY, SOMEBODY), 0);
	assert_int_equal(t_reap(t_spawn(refuse_what_others_own, NULL)), 0);
	assert_int_equal(chmod(t_segment_path("theirs"), 0666), 0);
	assert_int_equal(t_reap(t_spawn(refuse_what_others_own, NULL)), 0);
	assert_refused(mproc_segment_open(&segment, "theirs"), -EPERM,
		       "it belongs to user 4711, not to 0");
	assert_refused(mproc_segment_create(&segment, "theirs", SMALL), -EPERM, "user 4711");
	assert_int_equal(unlink(t_segment_path("theirs")), 0);
	assert_int_equal(mproc_segment_unlink("roots"), 0);
}

static void join_roots(void *arg)
{
	mproc_segment *segment;
	void *object;

	(void)arg;
	t_check(setgid(SOMEBODY) == 0 && setuid(SOMEBODY) == 0);
	t_check(mproc_segment_open(&segment, "service") == 0);
	t_check(mproc_segment_object(&object, segment, "x", 8, NULL, NULL) == 0);
	mproc_segment_close(segment);
}

static void root_may_share_with_a_group(void **state)
{
	mproc_segment *segment;
	void *object;

	(void)state;
	if (geteuid() != 0) {
		print_message("# skipped: not root: cannot be somebody else\n");
		return;
	}
	assert_int_equal(mproc_segment_create(&segment, "service",
					      MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .mode = 0660)),
			 0);
	assert_int_equal(mproc_segment_object(&object, segment, "x", 8, NULL, NULL), 1);
	assert_int_equal(chmod(t_private_dir(), 0755), 0);
	assert_int_equal(chown(t_segment_path("service"), 0, SOMEBODY), 0);
	assert_int_equal(t_reap(t_spawn(join_roots, NULL)), 0);
	mproc_segment_close(segment);
}

/* In a child that has a mount namespace of its own. */
static void fill_a_small_filesystem(void *arg)
{
	mproc_segment *segment, *second;
	struct statvfs fs;
	uint64_t was;

	(void)arg;
	t_check(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	t_check(mount("tmpfs", t_private_dir(), "tmpfs", 0, "size=1m") == 0);
	t_check(statvfs(t_private_dir(), &fs) == 0);
	was = fs.f_bavail;
	t_check(mproc_segment_create(&segment, "big", MPROC_SEGMENT_OPTS(.bytes = 64 << 20)) ==
		-ENOSPC);
	t_check(strstr(mproc_error_text(), "create big: 64 MiB wanted, 1 MiB free on "));
	t_check(strstr(mproc_error_text(), t_private_dir()));
	t_check(statvfs(t_private_dir(), &fs) == 0 && fs.f_bavail == was);
	t_check(t_dir_entries(NULL, "") == 0);
	t_check(mproc_segment_create(&segment, "fits", MPROC_SEGMENT_OPTS(.bytes = 640 << 10)) ==
		0);
	t_check(mproc_segment_create(&second, "late", MPROC_SEGMENT_OPTS(.bytes = 640 << 10)) ==
		-ENOSPC);
	t_check(strstr(mproc_error_text(), "create late: 640 KiB wanted, 384 KiB free on "));
	/* All that was promised can be written: no signal comes. */
	memset(mproc__segment_at(segment, 384 << 10, 256 << 10), 0x55, 256 << 10);
	mproc_segment_close(segment);
	t_check(mproc_segment_create(&second, "late", MPROC_SEGMENT_OPTS(.bytes = 1 << 20)) == 0);
	mproc_segment_close(second);
	t_check(t_dir_entries(NULL, "") == 0);
}

static void enter_namespace(void *arg)
{
	t_check(unshare(CLONE_NEWNS) == 0);
	fill_a_small_filesystem(arg);
}

static bool can_mount(void)
{
	return geteuid() == 0 && access("/proc/self/ns/mnt", F_OK) == 0;
}

static void full_filesystem_is_an_error_with_both_numbers(void **state)
{
	(void)state;
	if (!can_mount()) {
		print_message("# skipped: not root: cannot mount a small tmpfs\n");
		return;
	}
	assert_int_equal(t_reap(t_spawn(enter_namespace, NULL)), 0);
}

static void exceed_file_size(void *arg)
{
	struct rlimit limit = { .rlim_cur = 1 << 20, .rlim_max = 1 << 20 };
	mproc_segment *segment;

	(void)arg;
	t_check(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	/* The kernel would send SIGXFSZ. */
	t_check(mproc_segment_create(&segment, "x", NULL) == -EFBIG);
	t_check(strstr(mproc_error_text(), "16 MiB wanted, files may have 1 MiB"));
}

static void limit_of_file_sizes_is_an_error_not_a_signal(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(exceed_file_size, NULL)), 0);
}

static char fake[64];

static void fake_file(const char *path, const char *text)
{
	char full[512], *slash;
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", fake, path);
	for (slash = strchr(full + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(full, 0700);
		*slash = '/';
	}
	f = fopen(full, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void fake_end(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", fake);
	assert_int_equal(system(command), 0);
}

static void memory_cgroup_leaves_what_it_says(void **state)
{
	(void)state;
	strcpy(fake, "/tmp/mproc-test.XXXXXX");
	assert_non_null(mkdtemp(fake));
	assert_true(mproc__memory_left(fake) == UINT64_MAX);
	fake_file("/proc/self/cgroup", "0::/a/b\n");
	fake_file("/proc/self/mountinfo", "30 24 0:26 / /cg rw shared:4 - cgroup2 cgroup2 rw\n");
	fake_file("/cg/a/b/memory.max", "max\n");
	assert_true(mproc__memory_left(fake) == UINT64_MAX);
	/* An ancestor binds us; what its page cache has can be dropped. */
	fake_file("/cg/a/memory.max", "1000000\n");
	fake_file("/cg/a/memory.current", "900000\n");
	fake_file("/cg/a/memory.stat",
		  "anon 1\ninactive_file 30000\nactive_file 7000\nshmem 500000\n");
	assert_int_equal(mproc__memory_left(fake), 137000);
	/* Swap counts as far as we may use it. */
	fake_file("/proc/meminfo", "MemTotal: 99999 kB\nSwapFree:  1 kB\n");
	assert_int_equal(mproc__memory_left(fake), 138024);
	fake_file("/cg/a/memory.swap.max", "0\n");
	assert_int_equal(mproc__memory_left(fake), 137000);
	/* Our own group is poorer still. */
	fake_file("/cg/a/b/memory.max", "1000\n");
	fake_file("/cg/a/b/memory.current", "2000\n");
	assert_int_equal(mproc__memory_left(fake), 0 + 1024);
	fake_end();

	assert_int_equal(mkdir(fake, 0700), 0);
	fake_file("/proc/self/cgroup", "4:memory:/job\n3:cpu:/\n");
	fake_file("/proc/self/mountinfo", "31 24 0:27 / /m rw - cgroup cgroup rw,memory\n");
	fake_file("/m/job/memory.limit_in_bytes", "9223372036854771712\n");
	fake_file("/m/job/memory.usage_in_bytes", "1\n");
	assert_true(mproc__memory_left(fake) > UINT64_C(1) << 60);
	fake_file("/m/job/memory.limit_in_bytes", "5000\n");
	fake_file("/m/job/memory.usage_in_bytes", "4000\n");
	fake_file("/m/job/memory.stat", "cache 1\ntotal_inactive_file 200\ntotal_active_file 20\n");
	assert_int_equal(mproc__memory_left(fake), 1220);
	/* Memory and swap together are bound as well. */
	fake_file("/proc/meminfo", "SwapFree: 8 kB\n");
	assert_int_equal(mproc__memory_left(fake), 1220 + 8192);
	fake_file("/m/job/memory.memsw.limit_in_bytes", "6000\n");
	fake_file("/m/job/memory.memsw.usage_in_bytes", "4500\n");
	assert_int_equal(mproc__memory_left(fake), 1500 + 220);
	fake_end();
}

/* What is asked for does not fit into the cgroup at @arg. */
static void allocate_in_cgroup(void *arg)
{
	mproc_segment *segment;
	char line[64];
	int fd;

	snprintf(line, sizeof(line), "%s/cgroup.procs", (char *)arg);
	fd = open(line, O_WRONLY | O_CLOEXEC);
	snprintf(line, sizeof(line), "%d", (int)getpid());
	t_check(fd >= 0 && write(fd, line, strlen(line)) > 0);
	t_check(mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 256 << 20)) ==
		-ENOMEM);
	t_check(strstr(mproc_error_text(), "create segment: 256 MiB wanted, "));
	t_check(strstr(mproc_error_text(), " left in the memory cgroup"));
	t_check(mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 1 << 20)) == 0);
	mproc_segment_close(segment);
}

static void full_memory_cgroup_is_an_error_not_a_kill(void **state)
{
	static char group[64];
	char limit[128];
	int fd, n;

	(void)state;
	snprintf(group, sizeof(group), "/sys/fs/cgroup/memory/mproc-test-%d", (int)getpid());
	snprintf(limit, sizeof(limit), "%s/memory.limit_in_bytes", group);
	if (mkdir(group, 0700) < 0) {
		snprintf(group, sizeof(group), "/sys/fs/cgroup/mproc-test-%d", (int)getpid());
		snprintf(limit, sizeof(limit), "%s/memory.max", group);
		if (mkdir(group, 0700) < 0) {
			print_message("# skipped: cannot make a memory cgroup\n");
			return;
		}
	}
	fd = open(limit, O_WRONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : (int)write(fd, "67108864", 8);
	close(fd);
	if (n == 8)
		assert_int_equal(t_reap(t_spawn(allocate_in_cgroup, group)), 0);
	/* What left it is gone only when the kernel has noticed. */
	for (int i = 0; i < 1000 && rmdir(group) < 0; i++)
		usleep(1000);
	if (n != 8) {
		print_message("# skipped: no memory controller\n");
		return;
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(names_that_can_be_none_are_refused),
		TEST(options_out_of_range_are_refused),
		TEST(limits_of_the_options_can_be_reached),
		TEST(other_layouts_are_refused_by_name_of_both),
		TEST(impossible_headers_are_refused),
		TEST(what_is_no_segment_keeps_its_name),
		TEST(writable_by_others_than_asked_is_refused),
		TEST(name_of_another_user_is_refused_and_never_repaired),
		TEST(root_may_share_with_a_group),
		TEST(full_filesystem_is_an_error_with_both_numbers),
		TEST(limit_of_file_sizes_is_an_error_not_a_signal),
		TEST(memory_cgroup_leaves_what_it_says),
		TEST(full_memory_cgroup_is_an_error_not_a_kill),
	};

	t_private_dir();
	return cmocka_run_group_tests_name("segment refused", tests, NULL, NULL);
}
