/* SPDX-License-Identifier: MIT */

/*
 * mproc/segment.h: names that another user has taken, with a file, a segment that lives
 * or is dead, a hard link, a symbolic link, a directory, a fifo
 *
 * Everybody can write to /dev/shm. Whoever finds another user's there is told so, and
 * leaves it as it was, root as well. The processes of this test have the users' numbers;
 * permissions are as wide as they can be, so that nothing but whose it is decides.
 */

#include <mproc/segment.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "tests/support/child.h"
#include "tests/support/leaks.h"

#define SQUATTER 4711
#define VICTIM   4712
#define SMALL \
	MPROC_SEGMENT_OPTS(.bytes = 256 << 10, .processes = 4, .threads = 8, .objects = 4, \
			   .mode = 0666)
#define N(array) (sizeof(array) / sizeof((array)[0]))

enum squat { TEXT, LIVE, DEAD, KEPT, LINK, LOOP, DIRECTORY, FIFO, N_SQUATS };

static const char *const names[] = { "text",    "live",    "dead",      "kept",
				     "symlink", "nowhere", "directory", "fifo" };

static void become(uid_t uid)
{
	t_check(setgid(uid) == 0 && setuid(uid) == 0);
}

static void make_segment(const char *name, uint32_t flags)
{
	struct mproc_segment_opts opts = *SMALL;
	mproc_segment *segment;

	opts.flags = flags;
	t_check(mproc_segment_create(&segment, name, &opts) == 0);
}

static void live(void *arg)
{
	int fd = *(int *)arg;

	become(SQUATTER);
	make_segment("live", 0);
	t_check(write(fd, "x", 1) == 1);
	pause();
}

static void squat(void *arg)
{
	char target[512];
	int fd;

	(void)arg;
	become(SQUATTER);
	umask(0);
	fd = open(t_segment_path("text"), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
	t_check(fd >= 0 && write(fd, "no segment", 10) == 10);
	close(fd);
	t_check(mkdir(t_segment_path("directory"), 0777) == 0);
	t_check(mkfifo(t_segment_path("fifo"), 0666) == 0);
	make_segment("kept", MPROC_SEGMENT_PERSISTENT);
	snprintf(target, sizeof(target), "%s/mproc.kept", t_private_dir());
	t_check(symlink(target, t_segment_path("symlink")) == 0);
	t_check(symlink("/nowhere", t_segment_path("nowhere")) == 0);
	/* What creators leave who were killed, where files cannot be without a name. */
	t_check(mkfifo(t_segment_path(".tmpFIFOxx"), 0666) == 0);
	fd = open(t_segment_path(".tmpFILExx"), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
	t_check(fd >= 0);
	make_segment("dead", 0);
	kill(getpid(), SIGKILL);
}

/* Comes back once somebody opens the other end of the fifo. */
static void open_fifo(void *arg)
{
	(void)arg;
	become(SQUATTER);
	close(open(t_segment_path("fifo"), O_RDONLY | O_CLOEXEC));
}

static bool in_open(void *arg)
{
	char path[64], text[32] = "";
	FILE *file;

	/* Its number and arguments; asleep elsewhere, it would not have got there. */
	snprintf(path, sizeof(path), "/proc/%d/syscall", *(pid_t *)arg);
	file = fopen(path, "re");
	if (!file)
		return t_state(*(pid_t *)arg) == 'S';
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	return t_state(*(pid_t *)arg) == 'S' && text[0] != 'r';
}

struct seen {
	struct stat st[N_SQUATS];
	char target[256];
	size_t n;
};

/* All that can be seen from outside, but for when somebody has looked. */
static void look(struct seen *seen)
{
	memset(seen, 0, sizeof(*seen));
	for (uint32_t i = 0; i < N_SQUATS; i++) {
		assert_int_equal(lstat(t_segment_path(names[i]), &seen->st[i]), 0);
		memset(&seen->st[i].st_atim, 0, sizeof(seen->st[i].st_atim));
	}
	assert_true(readlink(t_segment_path("symlink"), seen->target, 255) > 0);
	seen->n = t_dir_entries(NULL, "");
}

static void check(const char *name, const char *call, int r, int code, const char *text)
{
	if (r == code && strstr(mproc_error_text(), text))
		return;
	fprintf(stderr, "%s %s: %d \"%s\", expected %d \"%s\"\n", call, name, r, mproc_error_text(),
		code, text);
	t_check(r == code);
	t_check(strstr(mproc_error_text(), text));
}

static void find_taken(const char *name, const char *text)
{
	mproc_segment *segment;

	check(name, "create", mproc_segment_create(&segment, name, SMALL), -EPERM, text);
	check(name, "open", mproc_segment_open(&segment, name), -EPERM, text);
	check(name, "open_or_create", mproc_segment_open_or_create(&segment, name, SMALL), -EPERM,
	      text);
	check(name, "attach",
	      mproc_segment_attach(&segment, MPROC_SEGMENT_ATTACH_OPTS(.name = name)), -EPERM,
	      text);
	check(name, "look",
	      mproc_segment_attach(
		      &segment,
		      MPROC_SEGMENT_ATTACH_OPTS(.name = name, .flags = MPROC_SEGMENT_READ_ONLY)),
	      -EPERM, text);
	check(name, "unlink", mproc_segment_unlink(name), -EPERM, text);
	check(name, "gc", mproc_segment_gc(name), -EPERM, text);
}

/* Whose it is may be of no account: then what it is decides, and it stays all the same. */
static void find_welcome(const char *name, int code, const char *text)
{
	mproc_segment *segment;

	check(name, "attach",
	      mproc_segment_attach(
		      &segment,
		      MPROC_SEGMENT_ATTACH_OPTS(.name = name, .flags = MPROC_SEGMENT_ANY_OWNER)),
	      code, text);
}

static void meet(void *arg)
{
	uid_t uid = *(uid_t *)arg;
	char whose[64];

	if (uid)
		become(uid);
	snprintf(whose, sizeof(whose), "it belongs to user %d, not to %u", SQUATTER, uid);
	for (uint32_t i = 0; i < N_SQUATS; i++)
		find_taken(names[i], i == LINK || i == LOOP ? "symbolic link" : whose);
	find_welcome("text", -EPROTO, "it is no segment");
	find_welcome("dead", -ENOENT, "its processes are all gone");
	find_welcome("symlink", -EPERM, "symbolic link");
	find_welcome("directory", -EPROTO, "no regular file");
	find_welcome("fifo", -EPROTO, "no regular file");
	t_check(mproc_segment_gc(NULL) == 0);
}

static bool is_root(void)
{
	if (geteuid() == 0)
		return true;
	print_message("# left out: not root, so nobody here can be another user\n");
	return false;
}

static void remove_all(void)
{
	static const char *const others[] = { ".tmpFIFOxx", ".tmpFILExx" };

	for (uint32_t i = 0; i < N_SQUATS; i++)
		assert_int_equal(remove(t_segment_path(names[i])), 0);
	for (uint32_t i = 0; i < N(others); i++)
		assert_int_equal(remove(t_segment_path(others[i])), 0);
}

static void another_users_names_are_refused_and_left_alone(void **state)
{
	static uid_t users[] = { VICTIM, 0 };
	struct seen before, after;
	int pipe_fds[2];
	pid_t alive, waits;
	char x;

	(void)state;
	if (!is_root())
		return;
	assert_int_equal(chmod(t_private_dir(), 01777), 0);
	assert_int_equal(t_reap(t_spawn(squat, NULL)), SIGKILL);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	alive = t_spawn(live, &pipe_fds[1]);
	assert_int_equal(read(pipe_fds[0], &x, 1), 1);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	waits = t_spawn(open_fifo, NULL);
	assert_true(t_wait_until(in_open, &waits, INT64_MAX));
	look(&before);
	for (size_t i = 0; i < N(users); i++) {
		assert_int_equal(t_reap(t_spawn(meet, &users[i])), 0);
		look(&after);
		assert_memory_equal(&before, &after, sizeof(before));
	}
	/* Nor has anybody opened it. */
	assert_int_equal(waitpid(waits, NULL, WNOHANG), 0);
	kill(waits, SIGKILL);
	t_reap(waits);
	kill(alive, SIGKILL);
	t_reap(alive);
	remove_all();
}

static void use_links(void *arg)
{
	mproc_segment *own, *other;

	(void)arg;
	become(VICTIM);
	/* It is ours, whoever has made the link: what it is decides. */
	check("secret", "open", mproc_segment_open(&own, "secret"), -EPROTO, "it is no segment");
	check("secret", "create", mproc_segment_create(&own, "secret", SMALL), -EEXIST,
	      "it is no segment");
	check("secret", "open_or_create", mproc_segment_open_or_create(&own, "secret", SMALL),
	      -EPROTO, "it is no segment");
	check("secret", "gc", mproc_segment_gc("secret"), -EPROTO, "it is no segment");
	/* Two names of one segment. */
	t_check(mproc_segment_open(&own, "own") == 0);
	t_check(mproc_segment_open(&other, "linked") == 0);
	t_check(own == other);
	check("linked", "create", mproc_segment_create(&other, "linked", SMALL), -EEXIST, "");
	mproc_segment_close(own);
	mproc_segment_close(own);
	/* Of its names only the one that is given. */
	t_check(mproc_segment_unlink("linked") == 0);
	t_check(mproc_segment_open(&own, "own") == 0);
	mproc_segment_close(own);
	t_check(mproc_segment_unlink("secret") == 0);
}

static void make_own(void *arg)
{
	int fd;

	(void)arg;
	become(VICTIM);
	make_segment("own", MPROC_SEGMENT_PERSISTENT);
	fd = open(t_segment_path("file"), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	t_check(fd >= 0 && write(fd, "secret", 6) == 6);
}

/* Root makes the links, as others can with fs.protected_hardlinks=0. */
static void hard_links_are_names_of_the_users_own_files(void **state)
{
	char from[512], secret[8] = "";
	int fd;

	(void)state;
	if (!is_root())
		return;
	assert_int_equal(chmod(t_private_dir(), 01777), 0);
	assert_int_equal(t_reap(t_spawn(make_own, NULL)), 0);
	snprintf(from, sizeof(from), "%s", t_segment_path("file"));
	assert_int_equal(link(from, t_segment_path("secret")), 0);
	snprintf(from, sizeof(from), "%s", t_segment_path("own"));
	assert_int_equal(link(from, t_segment_path("linked")), 0);
	assert_int_equal(t_reap(t_spawn(use_links, NULL)), 0);
	fd = open(t_segment_path("file"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, secret, sizeof(secret)), 6);
	assert_string_equal(secret, "secret");
	close(fd);
	assert_int_equal(unlink(t_segment_path("file")), 0);
	assert_int_equal(unlink(t_segment_path("own")), 0);
}

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(another_users_names_are_refused_and_left_alone,
						setup, teardown),
		cmocka_unit_test_setup_teardown(hard_links_are_names_of_the_users_own_files, setup,
						teardown),
	};

	t_private_dir();
	return cmocka_run_group_tests_name("segment squatted", tests, NULL, NULL);
}
