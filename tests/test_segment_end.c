/* SPDX-License-Identifier: MIT */

/*
 * mproc/segment.h: who leaves a segment, in which way, and what is left behind
 */

#include <mproc/segment.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/mutex.h>

#include "ipc/participant.h"
#include "shm/segment.h"
#include "shm/segment_file.h"
#include "tests/support/child.h"
#include "tests/support/leaks.h"

#define SMALL MPROC_SEGMENT_OPTS(.bytes = 512 << 10, .processes = 8, .threads = 16, .objects = 8)

struct shared {
	_Atomic(uint32_t) go;
	_Atomic(uint32_t) ready;
	_Atomic(uint32_t) pid;
};

static struct shared *shared;

static bool is_there(const char *name)
{
	return access(t_segment_path(name), F_OK) == 0;
}

static int setup(void **state)
{
	(void)state;
	memset(shared, 0, sizeof(*shared));
	t_leaks_begin();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_leaks_end();
	return 0;
}

static bool n_ready(void *arg)
{
	return atomic_load(&shared->ready) >= (uint32_t)(uintptr_t)arg;
}

static void wait_ready(uint32_t n)
{
	assert_true(t_wait_until(n_ready, (void *)(uintptr_t)n, mproc_after_ms(8000)));
}

static void create_and_tell(void *arg)
{
	mproc_segment *segment;

	t_check(mproc_segment_open_or_create(&segment, arg, SMALL) >= 0);
	atomic_fetch_add(&shared->ready, 1);
}

static void create_and_stay(void *arg)
{
	create_and_tell(arg);
	for (;;)
		pause();
}

static void create_and_exit(void *arg)
{
	create_and_tell(arg);
	while (!atomic_load(&shared->go))
		usleep(10);
	exit(0);
}

static void die(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
}

/* Open or create it in a process that is killed: the @n th that was ready. */
static void leave(char *name, uint32_t n)
{
	pid_t pid = t_spawn(create_and_stay, name);

	wait_ready(n);
	die(pid);
}

static void name_of_the_killed_counts_as_absent(void **state)
{
	mproc_segment *segment;
	pid_t pid;

	(void)state;
	/* Who opens it finds nothing, and leaves nothing. */
	leave("left", 1);
	assert_true(is_there("left"));
	assert_int_equal(mproc_segment_open(&segment, "left"), -ENOENT);
	assert_string_equal(mproc_error_text(), "open left: its processes are all gone");
	assert_false(is_there("left"));
	/* Who creates it gets a new one. */
	leave("left", 2);
	assert_true(is_there("left"));
	assert_int_equal(mproc_segment_create(&segment, "left", SMALL), 0);
	mproc_segment_close(segment);
	leave("left", 3);
	assert_int_equal(mproc_segment_open_or_create(&segment, "left", SMALL), 1);
	mproc_segment_close(segment);
	/* Who looks after leftovers removes it, if it is one. */
	pid = t_spawn(create_and_stay, "left");
	wait_ready(4);
	assert_int_equal(mproc_segment_gc("left"), 0);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(mproc_segment_gc("left"), 0);
	die(pid);
	assert_int_equal(mproc_segment_gc("left"), 1);
	assert_int_equal(mproc_segment_gc("left"), -ENOENT);
}

static void persistent_name_outlives_its_processes(void **state)
{
	mproc_segment *segment;
	_Atomic(uint64_t) *object;

	(void)state;
	assert_int_equal(
		mproc_segment_create(
			&segment, "kept",
			MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .flags = MPROC_SEGMENT_PERSISTENT)),
		0);
	assert_int_equal(
		mproc_segment_object((void **)&object, segment, "n", sizeof(*object), NULL, NULL),
		1);
	atomic_store(object, 42);
	mproc_segment_close(segment);
	assert_int_equal(mproc_segment_gc("kept"), 0);
	assert_int_equal(mproc_segment_create(&segment, "kept", SMALL), -EEXIST);
	assert_string_equal(mproc_error_text(), "create kept: the name is a persistent segment's");
	leave("kept", 1);
	assert_int_equal(mproc_segment_open(&segment, "kept"), 0);
	assert_int_equal(
		mproc_segment_object((void **)&object, segment, "n", sizeof(*object), NULL, NULL),
		0);
	assert_int_equal(*object, 42);
	/* The name goes, the memory stays for those who have it. */
	assert_int_equal(mproc_segment_unlink("kept"), 0);
	assert_int_equal(mproc_segment_unlink("kept"), -ENOENT);
	assert_int_equal(*object, 42);
	mproc_segment_close(segment);
}

static void unlinked_name_is_free_at_once(void **state)
{
	mproc_segment *old, *new;

	(void)state;
	assert_int_equal(mproc_segment_create(&old, "same", SMALL), 0);
	assert_int_equal(mproc_segment_unlink("same"), 0);
	assert_int_equal(mproc_segment_create(&new, "same", SMALL), 0);
	assert_ptr_not_equal(old, new);
	/* The last one out of the old one has no business with the new one's name. */
	mproc_segment_close(old);
	assert_true(is_there("same"));
	mproc_segment_close(new);
}

static void exit_of_the_last_removes_the_name(void **state)
{
	pid_t pids[4];

	(void)state;
	atomic_store(&shared->go, 1);
	assert_int_equal(t_reap(t_spawn(create_and_exit, "exit")), 0);
	assert_false(is_there("exit"));
	/* All at once: none of them takes the others' being there for staying. */
	for (int round = 0; round < 20; round++) {
		memset(shared, 0, sizeof(*shared));
		for (int i = 0; i < 4; i++)
			pids[i] = t_spawn(create_and_exit, "exit");
		wait_ready(4);
		assert_true(is_there("exit"));
		atomic_store(&shared->go, 1);
		for (int i = 0; i < 4; i++)
			assert_int_equal(t_reap(pids[i]), 0);
		assert_false(is_there("exit"));
	}
}

static void exit_of_one_leaves_it_to_the_others(void **state)
{
	mproc_segment *segment;

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, "stay", SMALL), 0);
	atomic_store(&shared->go, 1);
	assert_int_equal(t_reap(t_spawn(create_and_exit, "stay")), 0);
	assert_true(is_there("stay"));
	mproc_segment_close(segment);
	assert_false(is_there("stay"));
}

static mproc_segment *to_be_used_at_exit;

static void use_at_exit(void)
{
	void *object;

	/* The program's own handlers run before the library's. */
	if (mproc_segment_object(&object, to_be_used_at_exit, "x", 8, NULL, NULL) != 1)
		_exit(1);
}

static void exit_with_a_handler(void *arg)
{
	(void)arg;
	atexit(use_at_exit);
	t_check(mproc_segment_create(&to_be_used_at_exit, "handler", SMALL) == 0);
	exit(0);
}

static void exit_handlers_of_the_program_may_use_it(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(exit_with_a_handler, NULL)), 0);
	assert_false(is_there("handler"));
}

static void close_when_told(void *arg)
{
	mproc_segment *segment;

	t_check(mproc_segment_open_or_create(&segment, arg, SMALL) >= 0);
	atomic_fetch_add(&shared->ready, 1);
	while (!atomic_load(&shared->go))
		;
	mproc_segment_close(segment);
}

static void of_those_who_close_at_once_the_last_removes_the_name(void **state)
{
	pid_t pids[4];

	(void)state;
	for (int round = 0; round < 20; round++) {
		memset(shared, 0, sizeof(*shared));
		for (int i = 0; i < 4; i++)
			pids[i] = t_spawn(close_when_told, "close");
		wait_ready(4);
		atomic_store(&shared->go, 1);
		for (int i = 0; i < 4; i++)
			assert_int_equal(t_reap(pids[i]), 0);
		assert_false(is_there("close"));
	}
}

/* A server: creates its segment, then goes into the background. */
static void create_then_daemon(void *arg)
{
	mproc_segment *segment;
	_Atomic(uint64_t) *n;

	(void)arg;
	t_check(mproc_segment_create(&segment, "server", SMALL) == 0);
	/* Later than our end the test reaps us, who are an orphan then. */
	t_check(daemon(0, 0) == 0);
	prctl(PR_SET_PDEATHSIG, 0);
	alarm(20);
	atomic_store(&shared->pid, (uint32_t)getpid());
	t_check(mproc_segment_object((void **)&n, segment, "n", sizeof(*n), NULL, NULL) == 1);
	atomic_fetch_add(&shared->ready, 1);
	while (atomic_load(n) != 7)
		usleep(1000);
	exit(0);
}

static void daemon_keeps_the_name_and_works(void **state)
{
	mproc_segment *segment;
	_Atomic(uint64_t) *n;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(t_reap(t_spawn(create_then_daemon, NULL)), 0);
	/* The parent is gone by now. There was no moment without somebody attached. */
	assert_int_equal(mproc_segment_open(&segment, "server"), 0);
	wait_ready(1);
	assert_int_equal(mproc_segment_object((void **)&n, segment, "n", sizeof(*n), NULL, NULL),
			 0);
	atomic_store(n, 7);
	pid = (pid_t)atomic_load(&shared->pid);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	assert_true(is_there("server"));
	mproc_segment_close(segment);
}

static void close_all_and_use(void *arg)
{
	mproc_segment *segment;
	mproc_mutex *mutex;
	int fd;

	t_check(mproc_segment_create(&segment, arg, SMALL) == 0);
	fd = segment->range->fd;
	closefrom(3);
	/* The number now is a log file's. */
	t_check(open("/dev/null", O_WRONLY) == fd);
	t_check(mproc_segment_object((void **)&mutex, segment, "m", 16, NULL, NULL) == 1);
	t_check(mproc_mutex_init(mutex, 0) == 0);
	t_check(mproc_mutex_lock(mutex, MPROC_FOREVER) == 0);
	t_check(mproc_mutex_unlock(mutex) == 0);
	if (arg) {
		t_check(is_there(arg));
		t_check(mproc_segment_create(&segment, arg, SMALL) == -EEXIST);
		t_check(mproc_segment_open(&segment, arg) == 0);
		mproc_segment_close(segment);
	}
	mproc_segment_close(segment);
	if (arg)
		t_check(!is_there(arg));
	/* What is not ours was not closed. */
	t_check(fcntl(fd, F_GETFD) >= 0);
}

static void closed_and_recycled_descriptors_do_no_harm(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(close_all_and_use, "bare")), 0);
	assert_int_equal(t_reap(t_spawn(close_all_and_use, NULL)), 0);
}

static void exec_another(void *arg)
{
	create_and_tell(arg);
	execl("/bin/sleep", "sleep", "5", (char *)NULL);
	t_check(!"exec");
}

static void exec_is_an_end_as_well(void **state)
{
	mproc_segment *segment;
	pid_t pid = t_spawn(exec_another, "exec");
	int r;

	(void)state;
	wait_ready(1);
	do {
		r = mproc_segment_open(&segment, "exec");
		if (r == 0)
			mproc_segment_close(segment);
	} while (r == 0);
	assert_int_equal(r, -ENOENT);
	die(pid);
}

static void drop_privileges(void *arg)
{
	mproc_segment *segment = arg;
	void *object;

	t_check(mproc_after_fork() == 0);
	t_check(setuid(4711) == 0);
	t_check(mproc_segment_object(&object, segment, "x", 8, NULL, NULL) == 0);
}

static void attached_child_may_drop_its_privileges(void **state)
{
	mproc_segment *segment;
	void *object;

	(void)state;
	if (geteuid() != 0) {
		print_message("# skipped: not root: has no privileges to drop\n");
		return;
	}
	assert_int_equal(mproc_segment_create(&segment, NULL, SMALL), 0);
	assert_int_equal(mproc_segment_object(&object, segment, "x", 8, NULL, NULL), 1);
	assert_int_equal(t_reap(t_spawn(drop_privileges, segment)), 0);
	mproc_segment_close(segment);
}

/* Whoever opens it stands still with byte A in his hands. */
static void hold_byte_a(void *arg)
{
	void *token;
	int fd;

	do {
		fd = open(t_segment_path(arg), O_RDWR | O_CLOEXEC);
	} while (fd < 0);
	t_check(mproc__token_take(&token, fd, MPROC__BYTE_ATTACH, F_RDLCK) == 0);
	atomic_fetch_add(&shared->ready, 1);
	for (;;)
		pause();
}

static void nobody_waits_long_for_an_opener_that_stands_still(void **state)
{
	mproc_segment *segment;
	int64_t began;
	pid_t pid;

	(void)state;
	/* Before we have it: a child of ours would be attached. */
	pid = t_spawn(hold_byte_a, "held");
	assert_int_equal(mproc_segment_create(&segment, "held", SMALL), 0);
	wait_ready(1);
	began = mproc_now();
	mproc_segment_close(segment);
	assert_true(mproc_now() - began < INT64_C(3000000000));
	/* What could not be done is left to whoever comes next. */
	assert_true(is_there("held"));
	began = mproc_now();
	assert_int_equal(mproc_segment_create(&segment, "held", SMALL), -EBUSY);
	assert_string_equal(mproc_error_text(),
			    "create held: for 100 ms another process was opening it");
	assert_int_equal(mproc_segment_open(&segment, "held"), -ENOENT);
	assert_int_equal(mproc_segment_unlink("held"), -EBUSY);
	assert_true(mproc_now() - began < INT64_C(5000000000));
	die(pid);
	assert_int_equal(mproc_segment_create(&segment, "held", SMALL), 0);
	mproc_segment_close(segment);
}

/* As a version to come leaves it when it is killed. */
static void leave_another_layout(void *arg)
{
	uint32_t layout = 99;
	int fd;

	create_and_tell(arg);
	fd = open(t_segment_path(arg), O_RDWR | O_CLOEXEC);
	t_check(pwrite(fd, &layout, sizeof(layout), offsetof(struct mproc__segment_head, layout)) ==
		sizeof(layout));
	atomic_fetch_add(&shared->ready, 1);
	for (;;)
		pause();
}

static void leftover_of_another_layout_is_no_obstacle(void **state)
{
	mproc_segment *segment;
	pid_t pid = t_spawn(leave_another_layout, "next");

	(void)state;
	wait_ready(2);
	/* While it is used it is refused. */
	assert_int_equal(mproc_segment_open(&segment, "next"), -EPROTO);
	assert_int_equal(mproc_segment_create(&segment, "next", SMALL), -EEXIST);
	assert_true(is_there("next"));
	die(pid);
	assert_int_equal(mproc_segment_open_or_create(&segment, "next", SMALL), 1);
	mproc_segment_close(segment);
}

/* The flags of the mapping that @addr lies in, as the kernel shows them. */
static void vm_flags(const void *addr, char flags[512])
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long begin, end;
	char line[512];
	bool here = false;

	flags[0] = '\0';
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
			here = (uintptr_t)addr >= begin && (uintptr_t)addr < end;
		else if (here && !strncmp(line, "VmFlags:", 8))
			snprintf(flags, 512, "%s", line + 8);
	}
	fclose(f);
}

static void mappings_are_kept_out_of_core_files_unless_asked(void **state)
{
	mproc_segment *segment;
	char flags[512];

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, NULL, SMALL), 0);
	vm_flags(segment->catalogue, flags);
	assert_non_null(strstr(flags, " dd "));
	mproc_segment_close(segment);
	assert_int_equal(mproc_segment_create(
				 &segment, "dumped",
				 MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .flags = MPROC_SEGMENT_DUMP)),
			 0);
	vm_flags(segment->catalogue, flags);
	assert_non_null(strstr(flags, " sh "));
	assert_null(strstr(flags, " dd "));
	mproc_segment_close(segment);
}

static void crash_with_a_large_segment(void *arg)
{
	struct rlimit core = { .rlim_cur = 64 << 20, .rlim_max = 64 << 20 };
	mproc_segment *segment;

	(void)arg;
	/* Anonymous: without a file name the kernel takes it for private memory. */
	t_check(mproc_segment_create(&segment, NULL,
				     MPROC_SEGMENT_OPTS(.bytes = 48 << 20,
							.bytes_max = UINT64_C(1) << 40)) == 0);
	memset(mproc__segment_at(segment, 40 << 20, 4 << 20), 0x55, 4 << 20);
	t_check(chdir(t_private_dir()) == 0 && setrlimit(RLIMIT_CORE, &core) == 0);
	raise(SIGSEGV);
}

/* The bytes of core files here; they are removed. */
static uint64_t take_cores(void)
{
	DIR *d = opendir(t_private_dir());
	uint64_t bytes = 0;

	assert_non_null(d);
	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		struct stat st;

		if (strncmp(e->d_name, "core", 4) != 0)
			continue;
		assert_int_equal(fstatat(dirfd(d), e->d_name, &st, 0), 0);
		bytes += (uint64_t)st.st_size;
		assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
	}
	closedir(d);
	return bytes;
}

static void crash_writes_a_small_core_soon(void **state)
{
	int64_t began = mproc_now();
	uint64_t bytes;

	(void)state;
	if (t_sanitized()) {
		print_message("# skipped: a sanitizer's core is large\n");
		return;
	}
	assert_int_equal(t_reap(t_spawn(crash_with_a_large_segment, NULL)), SIGSEGV);
	/* Walking a terabyte of reservation would take minutes. */
	assert_true(mproc_now() - began < INT64_C(8000000000));
	bytes = take_cores();
	assert_true(bytes < 16 << 20);
	if (!bytes)
		print_message("# no core file was written: its size is not tested\n");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(name_of_the_killed_counts_as_absent),
		TEST(persistent_name_outlives_its_processes),
		TEST(unlinked_name_is_free_at_once),
		TEST(exit_of_the_last_removes_the_name),
		TEST(exit_of_one_leaves_it_to_the_others),
		TEST(exit_handlers_of_the_program_may_use_it),
		TEST(of_those_who_close_at_once_the_last_removes_the_name),
		TEST(daemon_keeps_the_name_and_works),
		TEST(closed_and_recycled_descriptors_do_no_harm),
		TEST(exec_is_an_end_as_well),
		TEST(attached_child_may_drop_its_privileges),
		TEST(nobody_waits_long_for_an_opener_that_stands_still),
		TEST(leftover_of_another_layout_is_no_obstacle),
		TEST(mappings_are_kept_out_of_core_files_unless_asked),
		TEST(crash_writes_a_small_core_soon),
	};

	t_private_dir();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	return cmocka_run_group_tests_name("segment end", tests, NULL, NULL);
}
