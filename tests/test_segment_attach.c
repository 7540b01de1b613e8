/* SPDX-License-Identifier: MIT */

/*
 * mproc/segment.h: coming to a segment by descriptor, by exec, by a name elsewhere
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
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/mutex.h>
#include <mproc/value.h>

#include "ipc/participant.h"
#include "shm/segment.h"
#include "shm/segment_layout.h"
#include "tests/support/child.h"
#include "tests/support/leaks.h"

#define SMALL MPROC_SEGMENT_OPTS(.bytes = 512 << 10, .processes = 8, .threads = 16, .objects = 8)

/* What a segment is recognised by, and used by. */
struct tally {
	mproc_mutex mutex;
	uint64_t mark;
	uint64_t n;
};

#define MARK UINT64_C(0x6b72616d)

static const char *program; /* of this test, to be executed anew */

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

static int tally_init(void *object, void *arg)
{
	struct tally *tally = object;

	(void)arg;
	tally->mark = MARK;
	return mproc_mutex_init(&tally->mutex, 0);
}

static struct tally *tally_of(mproc_segment *segment)
{
	struct tally *tally;

	if (mproc_segment_object((void **)&tally, segment, "tally", sizeof(*tally), tally_init,
				 NULL) < 0)
		return NULL;
	return tally;
}

/* Add one under the mutex. Return: what the lock said. */
static int count(struct tally *tally)
{
	int r = mproc_mutex_lock(&tally->mutex, mproc_after_ms(20000));

	if (r == MPROC_MUTEX_INHERITED && mproc_mutex_consistent(&tally->mutex) < 0)
		return -EIO;
	if (r < 0)
		return r;
	tally->n++;
	return mproc_mutex_unlock(&tally->mutex) < 0 ? -EIO : r;
}

static void send_fd(int socket, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = "s", .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	t_check(sendmsg(socket, &msg, 0) == 1);
}

static int receive_fd(int socket)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	int fd;

	t_check(recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) == 1);
	t_check(CMSG_FIRSTHDR(&msg) && CMSG_FIRSTHDR(&msg)->cmsg_type == SCM_RIGHTS);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

static bool is_alone(void *arg)
{
	return mproc__others_attached(((mproc_segment *)arg)->range) == 0;
}

/*
 * What this program does when it is executed anew: attach to what comes through a
 * socket, or was inherited, and count.
 */

static int count_in(int fd)
{
	mproc_segment *segment;
	struct tally *tally;

	if (mproc_segment_attach(&segment, MPROC_SEGMENT_ATTACH_OPTS(.fd = fd)) < 0) {
		dprintf(STDERR_FILENO, "%s\n", mproc_error_text());
		return 2;
	}
	close(fd);
	tally = tally_of(segment);
	t_check(tally && tally->mark == MARK);
	t_check(count(tally) == 0);
	mproc_segment_close(segment);
	return 0;
}

static int executed(const char *role, int fd)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(60);
	if (!strcmp(role, "receive"))
		return count_in(receive_fd(fd));
	if (!strcmp(role, "inherit"))
		return count_in(fd);
	return 3;
}

static void execute(const char *role, int fd)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", fd);
	t_check(fcntl(fd, F_SETFD, 0) == 0);
	execl(program, program, role, number, (char *)NULL);
	t_check(!"exec");
}

static void receive_unrelated(void *arg)
{
	execute("receive", *(int *)arg);
}

static void unrelated_process_attaches_by_a_descriptor_that_was_sent(void **state)
{
	mproc_segment *segment;
	struct tally *tally;
	int pair[2], fd;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	/* Forked, and another program, before there is a segment. */
	pid = t_spawn(receive_unrelated, &pair[1]);
	assert_int_equal(mproc_segment_create(&segment, NULL, SMALL), 0);
	tally = tally_of(segment);
	assert_non_null(tally);
	fd = mproc_segment_fd(segment);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	send_fd(pair[0], fd);
	/* What is in flight needs no sender's descriptor. */
	close(fd);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(tally->n, 1);
	assert_true(t_wait_until(is_alone, segment, mproc_after_ms(20000)));
	mproc_segment_close(segment);
	close(pair[0]);
	close(pair[1]);
}

static void inherit_by_exec(void *arg)
{
	int fd = mproc_segment_fd(arg);

	t_check(fd >= 0);
	execute("inherit", fd);
}

static void child_attaches_after_exec_by_an_inherited_descriptor(void **state)
{
	static const char *const names[] = { NULL, "jobs" };
	mproc_segment *segment;
	struct tally *tally;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(mproc_segment_create(&segment, names[i], SMALL), 0);
		tally = tally_of(segment);
		assert_non_null(tally);
		for (uint64_t n = 1; n <= 3; n++) {
			assert_int_equal(t_reap(t_spawn(inherit_by_exec, segment)), 0);
			assert_int_equal(tally->n, n);
		}
		/* He who came by descriptor and went did not take the name along. */
		assert_int_equal(t_dir_entries(NULL, ""), i);
		mproc_segment_close(segment);
	}
}

/* A child that has a segment, and tells its parent the number of a descriptor. */
struct maker {
	const char *name;
	int pair[2];
	bool unlink;
	bool lock;
};

static void make_and_wait(void *arg)
{
	const struct maker *maker = arg;
	mproc_segment *segment;
	struct tally *tally;

	t_check(mproc_segment_create(&segment, maker->name, SMALL) == 0);
	tally = tally_of(segment);
	t_check(tally);
	if (maker->unlink)
		t_check(mproc_segment_unlink(maker->name) == 0);
	if (maker->lock)
		t_check(mproc_mutex_lock(&tally->mutex, MPROC_FOREVER) == 0);
	send_fd(maker->pair[1], mproc_segment_fd(segment));
	for (;;)
		pause();
}

/* Its descriptor, after the maker was killed. */
static int of_a_dead_maker(struct maker *maker)
{
	pid_t pid;
	int fd;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, maker->pair), 0);
	pid = t_spawn(make_and_wait, maker);
	fd = receive_fd(maker->pair[0]);
	kill(pid, SIGKILL);
	assert_int_equal(t_reap(pid), SIGKILL);
	close(maker->pair[0]);
	close(maker->pair[1]);
	return fd;
}

static void descriptor_outlives_everybody_and_what_the_dead_held_is_inherited(void **state)
{
	struct maker maker = { .lock = true };
	mproc_segment *segment, *again;
	struct tally *tally;
	int fd;

	(void)state;
	fd = of_a_dead_maker(&maker);
	assert_int_equal(mproc_segment_attach(&segment, MPROC_SEGMENT_ATTACH_OPTS(.fd = fd)), 0);
	assert_string_equal(mproc_segment_name(segment), "");
	tally = tally_of(segment);
	assert_non_null(tally);
	assert_int_equal(tally->mark, MARK);
	assert_int_equal(count(tally), MPROC_MUTEX_INHERITED);
	assert_int_equal(count(tally), 0);
	/* One mapping for each segment and process. */
	assert_int_equal(mproc_segment_attach(&again, MPROC_SEGMENT_ATTACH_OPTS(.fd = fd)), 0);
	assert_ptr_equal(again, segment);
	mproc_segment_close(again);
	close(fd);
	assert_int_equal(count(tally), 0);
	mproc_segment_close(segment);
}

static void who_comes_by_descriptor_shares_the_fate_of_the_name(void **state)
{
	struct maker maker = { .name = "jobs" };
	mproc_segment *segment, *other;
	int fd;

	(void)state;
	fd = of_a_dead_maker(&maker);
	assert_int_equal(t_dir_entries(NULL, ""), 1);
	assert_int_equal(mproc_segment_attach(&segment, MPROC_SEGMENT_ATTACH_OPTS(.fd = fd)), 0);
	close(fd);
	assert_string_equal(mproc_segment_name(segment), "jobs");
	/* Somebody lives there again. */
	assert_int_equal(mproc_segment_create(&other, "jobs", SMALL), -EEXIST);
	assert_int_equal(mproc_segment_open(&other, "jobs"), 0);
	assert_ptr_equal(other, segment);
	mproc_segment_close(other);
	assert_int_equal(t_dir_entries(NULL, ""), 1);
	mproc_segment_close(segment);
	assert_int_equal(t_dir_entries(NULL, ""), 0);
}

static void descriptor_of_a_segment_without_its_name_is_as_good(void **state)
{
	struct maker maker = { .name = "jobs", .unlink = true };
	mproc_segment *segment, *other;
	struct tally *tally;
	int fd;

	(void)state;
	fd = of_a_dead_maker(&maker);
	assert_int_equal(t_dir_entries(NULL, ""), 0);
	/* The name is another's by now, who keeps it. */
	assert_int_equal(mproc_segment_create(&other, "jobs", SMALL), 0);
	assert_int_equal(mproc_segment_attach(&segment, MPROC_SEGMENT_ATTACH_OPTS(.fd = fd)), 0);
	close(fd);
	assert_ptr_not_equal(segment, other);
	assert_string_equal(mproc_segment_name(segment), "");
	tally = tally_of(segment);
	assert_true(tally && tally->mark == MARK);
	assert_int_equal(count(tally), 0);
	mproc_segment_close(segment);
	assert_int_equal(t_dir_entries(NULL, ""), 1);
	mproc_segment_close(other);
}

static void attach_and_wait(void *arg)
{
	int *pair = arg;
	int fd = receive_fd(pair[1]);
	mproc_segment *segment;

	/* The description is the sender's as well. */
	t_check(mproc_segment_attach(&segment, MPROC_SEGMENT_ATTACH_OPTS(.fd = fd)) == 0);
	t_check(write(pair[1], "a", 1) == 1);
	for (;;)
		pause();
}

/* A lock on a description that two have falls with neither's death alone. */
static void death_is_seen_though_the_description_was_shared(void **state)
{
	mproc_segment *segment;
	int pair[2], fd;
	char byte;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = t_spawn(attach_and_wait, pair);
	assert_int_equal(mproc_segment_create(&segment, NULL, SMALL), 0);
	fd = mproc_segment_fd(segment);
	send_fd(pair[0], fd);
	assert_int_equal(read(pair[0], &byte, 1), 1);
	assert_int_equal(mproc__others_attached(segment->range), 1);
	kill(pid, SIGKILL);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_true(t_wait_until(is_alone, segment, mproc_after_ms(20000)));
	close(fd);
	close(pair[0]);
	close(pair[1]);
	mproc_segment_close(segment);
}

static void descriptor_can_be_fetched_by_pidfd_getfd(void **state)
{
	struct maker maker = { .name = "jobs" };
	mproc_segment *segment;
	int pidfd, sent, fd, number;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, maker.pair), 0);
	pid = t_spawn(make_and_wait, &maker);
	sent = receive_fd(maker.pair[0]);
	close(sent);
	assert_int_equal(mproc_segment_open(&segment, "jobs"), 0);
	number = (int)atomic_load(&segment->range->procs[0].fd);
	mproc_segment_close(segment);
	pidfd = pidfd_open(pid, 0);
	assert_true(pidfd >= 0);
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	if (fd < 0)
		print_message("# left out: pidfd_getfd: %s\n", strerror(errno));
	if (fd >= 0) {
		assert_int_equal(
			mproc_segment_attach(&segment, MPROC_SEGMENT_ATTACH_OPTS(.fd = fd)), 0);
		assert_int_equal(count(tally_of(segment)), 0);
		mproc_segment_close(segment);
		close(fd);
	}
	kill(pid, SIGKILL);
	assert_int_equal(t_reap(pid), SIGKILL);
	close(pidfd);
	close(maker.pair[0]);
	close(maker.pair[1]);
	assert_int_equal(mproc_segment_gc("jobs"), 1);
}

static void assert_refused(const struct mproc_segment_attach_opts *opts, int code, const char *text)
{
	mproc_segment *untouched = (void *)&program, *segment = untouched;

	assert_int_equal(mproc_segment_attach(&segment, opts), code);
	assert_ptr_equal(segment, untouched);
	if (!strstr(mproc_error_text(), text))
		print_message("# %s\n", mproc_error_text());
	assert_non_null(strstr(mproc_error_text(), text));
}

static void what_makes_no_sense_is_refused(void **state)
{
	struct {
		struct mproc_segment_attach_opts opts;
		uint64_t later;
	} longer = { .opts = { .size = sizeof(longer), .name = "jobs" }, .later = 1 };

	(void)state;
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.name = "jobs"), -ENOENT,
		       "attach jobs: there is no ");
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.name = "jobs", .flags = 1), -EINVAL,
		       "unknown flags 0x1");
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.name = "jobs", .fd = 7), -EINVAL,
		       "both a name and a descriptor (7)");
	/* No descriptor at all is none beside a name. */
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.name = "jobs", .fd = -1), -ENOENT,
		       "attach jobs: there is no ");
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.fd = -1), -EBADF, "");
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.dir = "/"), -EINVAL, "no name");
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.name = "jobs", .dir = "/no/such"), -ENOENT,
		       "directory /no/such");
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.name = "a/b"), -EINVAL, "slash");
	assert_refused(&(const struct mproc_segment_attach_opts){ 0 }, -EINVAL, "0 bytes");
	assert_refused(&longer.opts, -E2BIG, "unknown to this library");
}

static void what_is_no_segment_is_refused(void **state)
{
	char path[512];
	int fds[2], fd;

	(void)state;
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.fd = 1000), -EBADF, "attach segment");
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.fd = fds[0]), -EPROTO, "no regular file");
	close(fds[0]);
	close(fds[1]);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.fd = fd), -EPROTO, "no regular file");
	close(fd);
	fd = open(t_private_dir(), O_RDONLY | O_CLOEXEC);
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.fd = fd), -EPROTO, "no regular file");
	close(fd);
	snprintf(path, sizeof(path), "%s/other", t_private_dir());
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.fd = fd), -EPROTO, "it is no segment");
	close(fd);
	unlink(path);
	fd = memfd_create("other", MFD_CLOEXEC);
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.fd = fd), -EPERM, "not sealed against shrinking");
	close(fd);
	fd = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.fd = fd), -EPROTO, "it is no segment");
	close(fd);
}

/* The very bytes of a segment, in memory that its sender could shrink under us. */
static void unsealed_copy_is_refused_before_it_is_mapped(void **state)
{
	mproc_segment *segment;
	char buf[65536];
	ssize_t n;
	int from, to;

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, NULL, SMALL), 0);
	from = mproc_segment_fd(segment);
	to = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	while ((n = read(from, buf, sizeof(buf))) > 0)
		assert_int_equal(write(to, buf, (size_t)n), n);
	mproc_segment_close(segment);
	close(from);
	assert_int_equal(fchmod(to, 0600), 0);
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.fd = to), -EPERM, "not sealed against shrinking");
	assert_int_equal(fcntl(to, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(mproc_segment_attach(&segment, MPROC_SEGMENT_ATTACH_OPTS(.fd = to)), 0);
	mproc_segment_close(segment);
	close(to);
}

static void make_as_another(void *arg)
{
	t_check(setgid(4711) == 0 && setuid(4711) == 0);
	make_and_wait(arg);
}

static void segment_of_another_user_takes_any_owner(void **state)
{
	struct maker maker = { 0 };
	mproc_segment *segment;
	pid_t pid;
	int fd;

	(void)state;
	if (geteuid() != 0) {
		print_message("# left out: only root can be two users\n");
		return;
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, maker.pair), 0);
	pid = t_spawn(make_as_another, &maker);
	fd = receive_fd(maker.pair[0]);
	assert_refused(MPROC_SEGMENT_ATTACH_OPTS(.fd = fd), -EPERM, "belongs to user 4711");
	assert_int_equal(
		mproc_segment_attach(
			&segment,
			MPROC_SEGMENT_ATTACH_OPTS(.fd = fd, .flags = MPROC_SEGMENT_ANY_OWNER)),
		0);
	assert_int_equal(count(tally_of(segment)), 0);
	mproc_segment_close(segment);
	kill(pid, SIGKILL);
	assert_int_equal(t_reap(pid), SIGKILL);
	close(fd);
	close(maker.pair[0]);
	close(maker.pair[1]);
}

static void hand_over_the_default(void *arg)
{
	mproc_segment *segment, *same;
	int fd = mproc_segment_fd(NULL);

	(void)arg;
	t_check(fd >= 0);
	t_check(mproc_segment_attach(&segment, MPROC_SEGMENT_ATTACH_OPTS(.fd = fd)) == 0);
	t_check(mproc_segment_default(&same) == 0 && same == segment);
	mproc_segment_close(segment);
}

static void default_segment_has_a_descriptor_as_well(void **state)
{
	(void)state;
	/* In a child: a default segment is never given up. */
	assert_int_equal(t_reap(t_spawn(hand_over_the_default, NULL)), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(unrelated_process_attaches_by_a_descriptor_that_was_sent),
		TEST(child_attaches_after_exec_by_an_inherited_descriptor),
		TEST(descriptor_outlives_everybody_and_what_the_dead_held_is_inherited),
		TEST(who_comes_by_descriptor_shares_the_fate_of_the_name),
		TEST(descriptor_of_a_segment_without_its_name_is_as_good),
		TEST(death_is_seen_though_the_description_was_shared),
		TEST(descriptor_can_be_fetched_by_pidfd_getfd),
		TEST(what_makes_no_sense_is_refused),
		TEST(what_is_no_segment_is_refused),
		TEST(unsealed_copy_is_refused_before_it_is_mapped),
		TEST(segment_of_another_user_takes_any_owner),
		TEST(default_segment_has_a_descriptor_as_well),
	};

	if (argc == 3)
		return executed(argv[1], atoi(argv[2]));
	program = "/proc/self/exe";
	t_private_dir();
	return cmocka_run_group_tests_name("segment_attach", tests, NULL, NULL);
}
