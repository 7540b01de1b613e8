/* SPDX-License-Identifier: MIT */

/*
 * SIGKILL at random in three PID namespaces, where everybody's thread id is 1
 *
 * Every worker is the init of a PID namespace of its own, so all of them have the same
 * pid and tid, and none could see another's. They share a segment: a mutex with a ledger
 * under it, and an event by which one that waits is told of a section. Who dies is found
 * dead, who lives never is.
 */

#include <mproc/event.h>
#include <mproc/mutex.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/participant.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

#define WORKERS 3
#define NUMBERS 8

struct shared {
	mproc_mutex mutex;
	mproc_event turn;
	_Atomic(uint64_t) numbers[NUMBERS];
	_Atomic(uint64_t) inside; /* number of the worker inside, from 1 */
	_Atomic(uint64_t) sections, inherited, waits, broken, false_deaths;
	_Atomic(uint64_t) words[WORKERS], pid_ns[WORKERS]; /* who they are, and where */
};

static struct t_range range;
static struct shared *shared;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, WORKERS + 2, 2 * WORKERS, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	assert_int_equal(mproc_event_init(&shared->turn, 0), 0);
	return mproc_mutex_init(&shared->mutex, 0);
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

/* One section: whoever is told nothing finds the ledger in order. */
static void section(uint64_t worker, uint64_t *random)
{
	int told = mproc_mutex_lock(&shared->mutex, MPROC_FOREVER);
	uint64_t inside = atomic_load(&shared->inside);

	t_check(told >= 0);
	if (told == 0 && inside)
		atomic_fetch_add(&shared->broken, 1);
	atomic_store(&shared->inside, worker);
	for (size_t i = 1; i < NUMBERS; i++) {
		if (shared->numbers[i] == shared->numbers[0])
			continue;
		if (told == 0)
			atomic_fetch_add(&shared->broken, 1);
		shared->numbers[i] = shared->numbers[0];
	}
	if (told == MPROC_MUTEX_INHERITED) {
		atomic_fetch_add(&shared->inherited, 1);
		t_check(mproc_mutex_consistent(&shared->mutex) == 0);
	}
	for (size_t i = 0; i < NUMBERS; i++) {
		shared->numbers[i]++;
		if (t_random(random) % 256 == 0)
			usleep(300);
	}
	if (atomic_load(&shared->inside) != worker)
		atomic_fetch_add(&shared->broken, 1);
	atomic_store(&shared->inside, 0);
	t_check(mproc_mutex_unlock(&shared->mutex) == 0);
	atomic_fetch_add(&shared->sections, 1);
}

static void work(void *arg)
{
	uint64_t worker = (uint64_t)(uintptr_t)arg, random = worker;
	struct mproc__self *me;

	/* Its end is a SIGKILL. */
	alarm(0);
	t_check(getpid() == 1 && syscall(SYS_gettid) == 1);
	me = mproc__self(shared, "test");
	t_check(me);
	atomic_store(&shared->pid_ns[worker - 1],
		     atomic_load(&range.range->procs[me->proc].pid_ns));
	atomic_store(&shared->words[worker - 1], me->word);
	for (;;) {
		section(worker, &random);
		for (size_t i = 0; i < WORKERS; i++) {
			uint64_t word = atomic_load(&shared->words[i]);

			/* Asking writes a death down; one that was false would be seen at once. */
			(void)mproc__dead(range.range, word);
		}
		if (mproc__dead(range.range, me->word))
			atomic_fetch_add(&shared->false_deaths, 1);
		if (random % 2) {
			t_check(mproc_event_set(&shared->turn) == 0);
			continue;
		}
		t_check(mproc_event_clear(&shared->turn) == 0);
		if (mproc_event_wait(&shared->turn, mproc_after_ms(1)) == 0)
			atomic_fetch_add(&shared->waits, 1);
	}
}

/* Children of this process become inits of new namespaces. Return: 0 or a negative errno. */
static int leave_namespace(void)
{
	if (unshare(CLONE_NEWPID) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0)
		return 0;
	return -errno;
}

/* An init dies with the process outside that made it, whose end of @pipe it alone has. */
static void be_init(void *arg, const int pipe[2])
{
	struct pollfd gone = { .fd = pipe[0] };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(pipe[1]);
	/* It may have died before the line above; who it was cannot be seen from here. */
	t_check(poll(&gone, 1, 0) == 0);
	work(arg);
}

/* A namespace takes one init only: each worker comes from a process that unshared anew. */
static void be_outside(void *arg)
{
	int fds[2], status;
	pid_t pid;

	alarm(0);
	t_check(leave_namespace() == 0);
	t_check(pipe2(fds, O_CLOEXEC) == 0);
	pid = fork();
	t_check(pid >= 0);
	if (!pid)
		be_init(arg, fds);
	t_check(waitpid(pid, &status, 0) == pid);
	t_check(WIFSIGNALED(status));
}

static pid_t start(size_t i)
{
	atomic_store(&shared->words[i], 0);
	return t_spawn(be_outside, (void *)(i + 1));
}

static bool has_begun(void *arg)
{
	return atomic_load(&shared->words[*(size_t *)arg]) != 0;
}

static bool has_moved(void *arg)
{
	return atomic_load(&shared->sections) != *(uint64_t *)arg;
}

static bool is_dead(void *arg)
{
	return mproc__dead(range.range, *(uint64_t *)arg);
}

/* The one outside dies; its child dies with it, at some instruction of its own. */
static void end(size_t i, pid_t *pid)
{
	uint64_t word, sections;

	assert_true(t_wait_until(has_begun, &i, mproc_after_ms(20000)));
	word = atomic_load(&shared->words[i]);
	for (size_t k = 0; k < WORKERS; k++)
		if (atomic_load(&shared->words[k]))
			assert_false(mproc__dead(range.range, atomic_load(&shared->words[k])));
	assert_int_equal(kill(*pid, SIGKILL), 0);
	assert_int_equal(t_reap(*pid), SIGKILL);
	assert_true(t_wait_until(is_dead, &word, mproc_after_ms(20000)));
	sections = atomic_load(&shared->sections);
	assert_true(t_wait_until(has_moved, &sections, mproc_after_ms(20000)));
	*pid = start(i);
}

static void all_have_the_same_tid_and_nobody_is_mistaken(void **state)
{
	int64_t stop = mproc_after_ms(t_long() ? 60000 : 3000);
	uint64_t random = t_seed(), kills = 0;
	pid_t pids[WORKERS];

	(void)state;
	for (size_t i = 0; i < WORKERS; i++)
		pids[i] = start(i);
	for (size_t i = 0; i < WORKERS; i++)
		assert_true(t_wait_until(has_begun, &i, mproc_after_ms(20000)));
	for (size_t i = 0; i < WORKERS; i++)
		for (size_t k = 0; k < i; k++)
			assert_int_not_equal(shared->pid_ns[i], shared->pid_ns[k]);
	for (; mproc_now() < stop || kills < 20; kills++) {
		size_t i = t_random(&random) % WORKERS;

		usleep(t_random(&random) % 3000);
		end(i, &pids[i]);
	}
	for (size_t i = 0; i < WORKERS; i++) {
		assert_true(t_wait_until(has_begun, &i, mproc_after_ms(20000)));
		assert_int_equal(kill(pids[i], SIGKILL), 0);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
	assert_null(t_range_fault(&range, 1, mproc_after_ms(20000)));
	section(WORKERS + 1, &random);
	print_message("# %" PRIu64 " sections, %" PRIu64 " kills, %" PRIu64 " inherited, %" PRIu64
		      " events\n",
		      shared->sections, kills, shared->inherited, shared->waits);
	assert_int_equal(shared->broken, 0);
	assert_int_equal(shared->false_deaths, 0);
	assert_true(shared->waits > 0);
	assert_true(shared->inherited <= kills + WORKERS);
}

static void try_to_leave(void *arg)
{
	(void)arg;
	t_check(leave_namespace() == 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_have_the_same_tid_and_nobody_is_mistaken),
	};

	if (t_reap(t_spawn(try_to_leave, NULL)) != 0) {
		printf("1..0 # SKIP the kernel lets this user make no PID namespaces\n");
		return 0;
	}
	return cmocka_run_group_tests_name("stress pidns", tests, NULL, NULL);
}
