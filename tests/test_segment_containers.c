/* SPDX-License-Identifier: MIT */

/*
 * Segments between containers that share one directory and nothing else
 *
 * Each container is a mount and a PID namespace: its processes have numbers of their
 * own, its /proc shows no others, its /dev/shm is empty, and the directory that they
 * share has another path in each. Who lives and who is dead is known all the same.
 */

#include <mproc/segment.h>

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/mutex.h>

#include "tests/support/child.h"

#define FORBIDDEN 77
#define OPTS      MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .processes = 8, .threads = 16, .objects = 8)

/* How the test follows what they do; no part of what they share as containers. */
struct script {
	_Atomic(uint32_t) step;
	_Atomic(uint32_t) init; /* of the holder, as seen from outside */
	char dir[64];
};

static struct script *script;

static int init_hall(void *object, void *arg)
{
	(void)arg;
	return mproc_mutex_init(object, 0);
}

static mproc_mutex *hall_of(mproc_segment *segment)
{
	void *hall;
	int r = mproc_segment_object(&hall, segment, "hall", sizeof(mproc_mutex), init_hall, NULL);

	t_check(r >= 0);
	return hall;
}

static uint32_t n_alive(mproc_segment *segment)
{
	struct mproc_segment_stats stats = MPROC_SEGMENT_STATS;

	t_check(mproc_segment_stats(segment, &stats) == 0);
	return stats.processes;
}

/* Has the mutex until it is killed from outside. */
static void hold(void)
{
	mproc_segment *segment;

	t_check(mproc_segment_create(&segment, "box", OPTS) == 0);
	t_check(mproc_mutex_lock(hall_of(segment), MPROC_NOWAIT) == 0);
	atomic_store(&script->step, 1);
	for (;;)
		pause();
}

static void await(uint32_t step)
{
	int64_t end = mproc_after_ms(20000);

	while (atomic_load(&script->step) < step) {
		t_check(mproc_now() < end);
		usleep(1000);
	}
}

static void wait_for_it(void)
{
	int64_t end = mproc_after_ms(20000);
	mproc_segment *segment;
	mproc_mutex *hall;

	await(1);
	t_check(mproc_segment_create(&segment, "box", OPTS) == -EEXIST);
	t_check(mproc_segment_gc("box") == 0);
	t_check(mproc_segment_open(&segment, "box") == 0);
	hall = hall_of(segment);
	/* He lives, though no process here has his number. */
	t_check(n_alive(segment) == 2);
	t_check(mproc_mutex_lock(hall, mproc_after_ms(100)) == -ETIMEDOUT);
	atomic_store(&script->step, 2);
	/* He is killed, which only the kernel can tell us. */
	t_check(mproc_mutex_lock(hall, mproc_after_ms(20000)) == MPROC_MUTEX_INHERITED);
	t_check(mproc_mutex_consistent(hall) == 0);
	t_check(mproc_mutex_unlock(hall) == 0);
	while (n_alive(segment) != 1)
		t_check(mproc_now() < end);
	mproc_segment_close(segment);
	/* The last one out. */
	t_check(mproc_segment_open(&segment, "box") == -ENOENT);
	t_check(t_dir_entries(NULL, "") == 0);
}

/* From here on nothing is as outside but the directory, which is elsewhere. */
static void furnish(const char *where)
{
	char path[128];

	t_check(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	t_check(mount("none", "/mnt", "tmpfs", 0, NULL) == 0);
	snprintf(path, sizeof(path), "/mnt/%s", where);
	t_check(mkdir(path, 0700) == 0);
	t_check(mount(script->dir, path, NULL, MS_BIND, NULL) == 0);
	t_check(mount("none", "/dev/shm", "tmpfs", 0, NULL) == 0);
	t_check(mount("none", "/var/tmp", "tmpfs", 0, NULL) == 0);
	t_check(mount("proc", "/proc", "proc", 0, NULL) == 0);
	t_check(access(script->dir, F_OK) < 0);
	t_check(setenv("MPROC_DIR", path, 1) == 0);
}

struct container {
	const char *where;
	void (*run)(void);
	bool is_holder;
};

static void contain(void *arg)
{
	const struct container *c = arg;
	int status = 0;
	pid_t pid;

	if (unshare(CLONE_NEWNS | CLONE_NEWPID) < 0)
		_exit(FORBIDDEN);
	pid = fork();
	t_check(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(60);
		furnish(c->where);
		t_check(getpid() == 1);
		c->run();
		_exit(0);
	}
	if (c->is_holder)
		atomic_store(&script->init, (uint32_t)pid);
	t_check(waitpid(pid, &status, 0) == pid);
	_exit(WIFSIGNALED(status) ? 100 + WTERMSIG(status) : WEXITSTATUS(status));
}

static int status_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool waiter_has_seen(void *arg)
{
	(void)arg;
	return atomic_load(&script->step) == 2;
}

static void living_is_told_from_dead_across_containers(void **state)
{
	static const struct container holder = { "here", hold, true },
				      waiter = { "there", wait_for_it, false };
	pid_t a, b;
	int status;

	(void)state;
	atomic_store(&script->step, 0);
	strcpy(script->dir, "/var/tmp/mproc-shared-XXXXXX");
	assert_non_null(mkdtemp(script->dir));
	a = t_spawn(contain, (void *)(uintptr_t)&holder);
	b = t_spawn(contain, (void *)(uintptr_t)&waiter);
	if (!t_wait_until(waiter_has_seen, NULL, mproc_after_ms(2000)) &&
	    waitpid(a, &status, WNOHANG) == a && WEXITSTATUS(status) == FORBIDDEN) {
		assert_int_equal(status_of(b), FORBIDDEN);
		print_message("# left out: namespaces are forbidden here\n");
		assert_int_equal(rmdir(script->dir), 0);
		return;
	}
	assert_true(t_wait_until(waiter_has_seen, NULL, mproc_after_ms(20000)));
	assert_int_equal(kill((pid_t)atomic_load(&script->init), SIGKILL), 0);
	assert_int_equal(status_of(a), 100 + SIGKILL);
	assert_int_equal(status_of(b), 0);
	assert_int_equal(rmdir(script->dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(living_is_told_from_dead_across_containers),
	};

	script = mmap(NULL, sizeof(*script), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (script == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests_name("segment_containers", tests, NULL, NULL);
}
