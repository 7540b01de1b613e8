/* SPDX-License-Identifier: MIT */

/*
 * mproc/segment.h: segments in other directories and filesystems, of groups, of huge pages
 */

#include <mproc/segment.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
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
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/mutex.h>

#include "ipc/participant.h"
#include "shm/segment.h"
#include "shm/segment_pages.h"
#include "tests/support/child.h"
#include "tests/support/leaks.h"

#define AT(where, ...) \
	MPROC_SEGMENT_OPTS(.bytes = 512 << 10, .processes = 8, .threads = 16, .objects = 8, \
			   .dir = (where), __VA_ARGS__)

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

struct tally {
	mproc_mutex mutex;
	uint64_t n;
};

static int tally_init(void *object, void *arg)
{
	(void)arg;
	return mproc_mutex_init(&((struct tally *)object)->mutex, 0);
}

static struct tally *tally_of(mproc_segment *segment)
{
	struct tally *tally;
	int r = mproc_segment_object((void **)&tally, segment, "tally", sizeof(*tally), tally_init,
				     NULL);

	return r < 0 ? NULL : tally;
}

static void visit(void *arg)
{
	struct tally *tally;
	mproc_segment *s;

	t_check(mproc_segment_open_or_create(&s, "far", AT(arg, .mode = 0)) == 0);
	tally = tally_of(s);
	t_check(tally && mproc_mutex_lock(&tally->mutex, mproc_after_ms(20000)) == 0);
	tally->n++;
	t_check(mproc_mutex_unlock(&tally->mutex) == 0);
	mproc_segment_close(s);
}

/* Killed with the mutex. */
static void visit_and_die(void *arg)
{
	struct tally *tally;
	mproc_segment *s;

	t_check(mproc_segment_attach(&s, MPROC_SEGMENT_ATTACH_OPTS(.name = "far", .dir = arg)) ==
		0);
	tally = tally_of(s);
	t_check(tally && mproc_mutex_lock(&tally->mutex, mproc_after_ms(20000)) == 0);
	raise(SIGKILL);
}

static void make_and_die(void *arg)
{
	mproc_segment *s;

	t_check(mproc_segment_create(&s, "far", AT(arg, .mode = 0)) == 0);
	raise(SIGKILL);
}

/* What segments do everywhere; in a child, which may have a filesystem of its own. */
static void use(const char *dir)
{
	struct tally *tally;
	mproc_segment *s;
	int fd;

	t_check(mproc_segment_create(&s, "far", AT(dir, .mode = 0)) == 0);
	t_check(t_dir_entries(NULL, "") == 0 || !strcmp(dir, t_private_dir()));
	t_check(t_dir_entries(dir, "mproc.far") == 1);
	tally = tally_of(s);
	t_check(tally);
	t_check(t_reap(t_spawn(visit, (void *)(uintptr_t)dir)) == 0);
	t_check(tally->n == 1);
	t_check(t_reap(t_spawn(visit_and_die, (void *)(uintptr_t)dir)) == SIGKILL);
	t_check(mproc_mutex_lock(&tally->mutex, mproc_after_ms(20000)) == MPROC_MUTEX_INHERITED);
	t_check(mproc_segment_sync(s) == 0);
	fd = mproc_segment_fd(s);
	t_check(fd >= 0 && pread(fd, &fd, 0, 0) == 0);
	close(fd);
	mproc_segment_close(s);
	t_check(t_dir_entries(dir, "mproc.") == 0);
	/* The dead leave it to the next, or to gc. */
	t_check(t_reap(t_spawn(make_and_die, (void *)(uintptr_t)dir)) == SIGKILL);
	t_check(t_dir_entries(dir, "mproc.") == 1);
	t_check(mproc_segment_gc_in(dir, "far") == 1);
	t_check(mproc_segment_gc_in(dir, NULL) == 0);
	t_check(mproc_segment_gc_in(dir, "far") == -ENOENT);
	t_check(mproc_segment_create(
			&s, "far",
			AT(dir, .flags = MPROC_SEGMENT_PERSISTENT | MPROC_SEGMENT_HUGE)) == 0);
	mproc_segment_close(s);
	t_check(mproc_segment_unlink("far") == -ENOENT);
	t_check(mproc_segment_unlink_in(dir, "far") == 0);
	t_check(t_dir_entries(dir, "mproc.") == 0);
}

static void use_on_disk(void *arg)
{
	char dir[] = "/var/tmp/mproc-test-XXXXXX";
	struct statfs fs;

	(void)arg;
	t_check(mkdtemp(dir));
	t_check(statfs(dir, &fs) == 0);
	printf("# /var/tmp is filesystem 0x%lx\n", (unsigned long)fs.f_type);
	use(dir);
	t_check(rmdir(dir) == 0);
}

static void works_on_the_disk_of_this_machine(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(use_on_disk, NULL)), 0);
}

/*
 * Filesystems that are made here
 */

struct filesystem {
	const char *name;    /* as mount(2) says it */
	const char *options; /* or NULL */
	const char *image;   /* the program that makes one in a file, or NULL */
	int want;            /* of create */
};

#define UNMOUNTABLE 77

static char mount_point[64];

/* Return: whether there is one at mount_point now, which goes with this process. */
static bool mount_it(const struct filesystem *f)
{
	char image[80], command[4096];

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return false;
	if (!f->image)
		return mount("none", mount_point, f->name, 0, f->options) == 0;
	snprintf(image, sizeof(image), "%s.img", mount_point);
	snprintf(command, sizeof(command),
		 "command -v %s >/dev/null && truncate -s 512M %s && %s %s >/dev/null 2>&1 && "
		 "mount -o loop %s %s 2>/dev/null",
		 f->image, image, f->image, image, image, mount_point);
	return system(command) == 0;
}

static void use_filesystem(void *arg)
{
	const struct filesystem *f = arg;
	mproc_segment *s;
	int r;

	if (!mount_it(f))
		_exit(UNMOUNTABLE);
	/* The caller looks what became of it. */
	t_check(chmod(mount_point, 01777) == 0);
	if (f->want == 0) {
		use(mount_point);
		return;
	}
	r = mproc_segment_create(&s, "far", AT(mount_point, .mode = 0));
	t_check(r == f->want);
	t_check(strstr(mproc_error_text(), "cannot allocate in advance"));
	t_check(strstr(mproc_error_text(), mount_point));
	t_check(t_dir_entries(mount_point, "mproc.") == 0);
}

static void works_on_every_filesystem_that_can_be_had_or_says_why_not(void **state)
{
	static const struct filesystem all[] = {
		{ "tmpfs", "size=8m", NULL, 0 },  { "ramfs", NULL, NULL, -EOPNOTSUPP },
		{ "ext4", NULL, "mkfs.ext4", 0 }, { "ext2", NULL, "mkfs.ext2", -EOPNOTSUPP },
		{ "xfs", NULL, "mkfs.xfs", 0 },   { "btrfs", NULL, "mkfs.btrfs", 0 },
	};
	char image[80];

	(void)state;
	if (geteuid() != 0) {
		print_message("# left out: only root can mount\n");
		return;
	}
	snprintf(mount_point, sizeof(mount_point), "/var/tmp/mproc-mount-%d", (int)getpid());
	assert_int_equal(mkdir(mount_point, 0700), 0);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int status = 0;
		pid_t pid = fork();

		if (!pid) {
			alarm(60);
			use_filesystem((void *)(uintptr_t)&all[i]);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		snprintf(image, sizeof(image), "%s.img", mount_point);
		unlink(image);
		if (WIFEXITED(status) && WEXITSTATUS(status) == UNMOUNTABLE)
			print_message("# left out: %s cannot be made and mounted here\n",
				      all[i].name);
		else
			assert_int_equal(status, 0);
	}
	assert_int_equal(rmdir(mount_point), 0);
}

static void directory_that_is_none_is_refused(void **state)
{
	mproc_segment *s;

	(void)state;
	assert_int_equal(mproc_segment_create(&s, "far", AT("/no/such", .mode = 0)), -ENOENT);
	assert_non_null(strstr(mproc_error_text(), "create far: directory /no/such"));
	assert_int_equal(mproc_segment_create(&s, NULL, AT("/tmp", .mode = 0)), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "in no directory"));
	assert_int_equal(mproc_segment_unlink_in("/no/such", "far"), -ENOENT);
	assert_int_equal(mproc_segment_gc_in("/no/such", "far"), -ENOENT);
	assert_int_equal(mproc_segment_gc_in("/no/such", NULL), -ENOENT);
}

/*
 * Groups
 */

static void join_as_one_of_the_group(void *arg)
{
	const struct mproc_segment_attach_opts plain = { .size = sizeof(plain), .name = "ours" };
	struct mproc_segment_attach_opts any = plain;
	struct tally *tally;
	mproc_segment *s;

	(void)arg;
	any.flags = MPROC_SEGMENT_ANY_OWNER;
	t_check(setgroups(0, NULL) == 0 && setgid(4712) == 0 && setuid(4711) == 0);
	t_check(mproc_segment_attach(&s, &plain) == -EPERM);
	t_check(mproc_segment_open(&s, "ours") == -EPERM);
	t_check(mproc_segment_attach(&s, &any) == 0);
	tally = tally_of(s);
	t_check(tally && mproc_mutex_lock(&tally->mutex, mproc_after_ms(20000)) == 0);
	tally->n++;
	t_check(mproc_mutex_unlock(&tally->mutex) == 0);
	mproc_segment_close(s);
}

static void be_refused_as_a_stranger(void *arg)
{
	mproc_segment *s;

	(void)arg;
	t_check(setgroups(0, NULL) == 0 && setgid(4713) == 0 && setuid(4711) == 0);
	t_check(mproc_segment_attach(&s,
				     MPROC_SEGMENT_ATTACH_OPTS(.name = "ours",
							       .flags = MPROC_SEGMENT_ANY_OWNER)) ==
		-EACCES);
}

static void share_as_somebody(void *arg)
{
	struct tally *tally;
	mproc_segment *s;
	struct stat st;

	(void)arg;
	/* No root, whose segments are open to all who may write. */
	t_check(setgroups(1, &(gid_t){ 4712 }) == 0 && setgid(4710) == 0 && seteuid(4710) == 0);
	t_check(mproc_segment_create(
			&s, "ours",
			AT(NULL, .mode = 0660, .gid = 4712, .flags = MPROC_SEGMENT_GID)) == 0);
	t_check(stat(t_segment_path("ours"), &st) == 0);
	t_check(st.st_uid == 4710 && st.st_gid == 4712 && (st.st_mode & 07777) == 0660);
	tally = tally_of(s);
	t_check(tally);
	t_check(seteuid(0) == 0);
	t_check(t_reap(t_spawn(join_as_one_of_the_group, NULL)) == 0);
	t_check(t_reap(t_spawn(be_refused_as_a_stranger, NULL)) == 0);
	t_check(seteuid(4710) == 0);
	t_check(tally->n == 1);
	mproc_segment_close(s);
	/* A group that is not his to give. */
	t_check(mproc_segment_create(
			&s, "ours",
			AT(NULL, .mode = 0660, .gid = 4799, .flags = MPROC_SEGMENT_GID)) == -EPERM);
	t_check(strstr(mproc_error_text(), "group 4799"));
	t_check(t_dir_entries(NULL, "") == 0);
}

static void group_shares_what_its_owner_gives_it(void **state)
{
	mproc_segment *s;

	(void)state;
	assert_int_equal(mproc_segment_create(&s, "ours", AT(NULL, .gid = 1)), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "without MPROC_SEGMENT_GID"));
	if (geteuid() != 0) {
		print_message("# left out: only root can be several users\n");
		return;
	}
	assert_int_equal(chmod(t_private_dir(), 01777), 0);
	assert_int_equal(t_reap(t_spawn(share_as_somebody, NULL)), 0);
}

/*
 * Huge pages, and the mode of what has no name
 */

static void huge_pages_are_asked_for_and_never_an_error(void **state)
{
	static const char *const names[] = { NULL, "huge" };
	mproc_segment *s;
	uint64_t n;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(
			mproc_segment_create(
				&s, names[i],
				MPROC_SEGMENT_OPTS(.bytes = 8 << 20, .flags = MPROC_SEGMENT_HUGE)),
			0);
		n = mproc__pages_n_huge((void *)s->range->base, s->range->size);
		print_message("# %s: %llu of 8 MiB in huge pages\n",
			      names[i] ? "named" : "anonymous", (unsigned long long)(n >> 20));
		assert_true(n <= 8 << 20);
		assert_int_equal(s->range->base % (2 << 20), 0);
		assert_non_null(tally_of(s));
		mproc_segment_close(s);
	}
}

static void anonymous_segment_has_the_mode_that_was_asked_for(void **state)
{
	mproc_segment *s;
	struct stat st;
	int fd;

	(void)state;
	assert_int_equal(mproc_segment_create(&s, NULL, AT(NULL, .mode = 0640)), 0);
	fd = mproc_segment_fd(s);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	close(fd);
	mproc_segment_close(s);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(works_on_the_disk_of_this_machine),
		TEST(works_on_every_filesystem_that_can_be_had_or_says_why_not),
		TEST(directory_that_is_none_is_refused),
		TEST(group_shares_what_its_owner_gives_it),
		TEST(huge_pages_are_asked_for_and_never_an_error),
		TEST(anonymous_segment_has_the_mode_that_was_asked_for),
	};

	t_private_dir();
	return cmocka_run_group_tests_name("segment_where", tests, NULL, NULL);
}
