/* SPDX-License-Identifier: MIT */

/*
 * The helpers that the tests of killing stand on
 */

#include "tests/support/child.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/common.h>

static void end_well(void *arg)
{
	(void)arg;
}

static void fail_a_check(void *arg)
{
	/* Not among the test's own messages, where it would look like a failure. */
	t_check(close(STDERR_FILENO) == 0);
	t_check(arg);
}

static void kill_itself(void *arg)
{
	raise(*(int *)arg);
}

static void reaping_tells_how_the_child_ended(void **state)
{
	int killed = SIGKILL, crashed = SIGSEGV;

	(void)state;
	assert_int_equal(t_reap(t_spawn(end_well, NULL)), 0);
	assert_int_equal(t_reap(t_spawn(fail_a_check, NULL)), -1);
	assert_int_equal(t_reap(t_spawn(kill_itself, &killed)), SIGKILL);
	assert_int_equal(t_reap(t_spawn(kill_itself, &crashed)), SIGSEGV);
}

static void find_default_signals(void *arg)
{
	struct sigaction sa;
	sigset_t blocked;

	(void)arg;
	t_check(sigaction(SIGUSR1, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL);
	t_check(sigprocmask(SIG_BLOCK, NULL, &blocked) == 0 && !sigismember(&blocked, SIGUSR1));
	t_check(alarm(0) > 0);
}

static void child_has_default_signals_and_an_alarm(void **state)
{
	sigset_t set;

	(void)state;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	assert_int_equal(sigprocmask(SIG_BLOCK, &set, NULL), 0);
	signal(SIGUSR1, SIG_IGN);
	assert_int_equal(t_reap(t_spawn(find_default_signals, NULL)), 0);
	signal(SIGUSR1, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void wait_for_the_end(void *arg)
{
	(void)arg;
	for (;;)
		pause();
}

static void spawn_and_die(void *arg)
{
	pid_t *grandchild = arg;

	*grandchild = t_spawn(wait_for_the_end, NULL);
	raise(SIGKILL);
}

static bool is_gone(void *arg)
{
	char s = t_state(*(pid_t *)arg);

	/* Its new parent may be slow to reap it. */
	return s == 0 || s == 'Z';
}

static void child_dies_with_its_parent(void **state)
{
	pid_t *grandchild = mmap(NULL, sizeof(*grandchild), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(grandchild, MAP_FAILED);
	assert_int_equal(t_reap(t_spawn(spawn_and_die, grandchild)), SIGKILL);
	assert_true(*grandchild > 0);
	/* Much sooner than its alarm. */
	assert_true(t_wait_until(is_gone, grandchild, mproc_after_ms(5000)));
	munmap(grandchild, sizeof(*grandchild));
}

static bool is_stopped(void *arg)
{
	return t_state(*(pid_t *)arg) == 'T';
}

static void state_of_a_process_is_told(void **state)
{
	pid_t pid = t_spawn(wait_for_the_end, NULL);

	(void)state;
	assert_int_equal(t_state(getpid()), 'R');
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_true(t_wait_until(is_stopped, &pid, mproc_after_ms(5000)));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_int_equal(t_state(pid), 0);
}

static bool never(void *arg)
{
	++*(int *)arg;
	return false;
}

static void waiting_ends_at_the_deadline(void **state)
{
	int64_t deadline = mproc_after_ms(20);
	int asked = 0;

	(void)state;
	assert_false(t_wait_until(never, &asked, deadline));
	assert_true(mproc_now() >= deadline);
	assert_true(asked > 0);

	/* A deadline that has passed asks once. */
	asked = 0;
	assert_false(t_wait_until(never, &asked, deadline));
	assert_int_equal(asked, 1);
}

static void leaks_are_counted(void **state)
{
	const char *dir = t_private_dir();
	size_t n_fds = t_count_fds();
	char path[PATH_MAX];
	int fd;

	(void)state;
	assert_string_equal(getenv("MPROC_DIR"), dir);
	assert_string_equal(t_private_dir(), dir);
	assert_int_equal(t_dir_entries(NULL, ""), 0);

	snprintf(path, sizeof(path), "%s/mproc.leak", dir);
	fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(t_count_fds(), n_fds + 1);
	assert_int_equal(t_dir_entries(NULL, ""), 1);
	assert_int_equal(t_dir_entries(dir, "mproc."), 1);
	assert_int_equal(t_dir_entries(dir, "other."), 0);

	close(fd);
	assert_int_equal(t_count_fds(), n_fds);
	unlink(path);
	assert_int_equal(t_dir_entries(NULL, ""), 0);
}

static void leave_by_exit(void *arg)
{
	(void)arg;
	/* Runs what the parent registered to run at its own exit. */
	exit(0);
}

static void private_directory_outlives_children(void **state)
{
	const char *dir = t_private_dir();

	(void)state;
	assert_int_equal(t_reap(t_spawn(leave_by_exit, NULL)), 0);
	assert_int_equal(access(dir, W_OK), 0);
}

static void random_sequence_follows_from_its_seed(void **state)
{
	uint64_t a = 1234567, b = 1234567;

	(void)state;
	assert_true(t_seed() == t_seed());
	/* The published values of splitmix64 for this seed. */
	assert_true(t_random(&a) == UINT64_C(6457827717110365317));
	assert_true(t_random(&a) == UINT64_C(3203168211198807973));
	assert_true(t_random(&b) == UINT64_C(6457827717110365317));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reaping_tells_how_the_child_ended),
		cmocka_unit_test(child_has_default_signals_and_an_alarm),
		cmocka_unit_test(child_dies_with_its_parent),
		cmocka_unit_test(state_of_a_process_is_told),
		cmocka_unit_test(waiting_ends_at_the_deadline),
		cmocka_unit_test(leaks_are_counted),
		cmocka_unit_test(private_directory_outlives_children),
		cmocka_unit_test(random_sequence_follows_from_its_seed),
	};

	return cmocka_run_group_tests_name("support", tests, NULL, NULL);
}
