/* SPDX-License-Identifier: MIT */

/*
 * mproc/mutex.h: who owns a mutex, and who waits for it
 */

#include <mproc/mutex.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/kind_layout.h"
#include "ipc/participant.h"
#include "tests/support/child.h"
#include "tests/support/mutex_queue.h"
#include "tests/support/range.h"

#define FAIR MPROC_MUTEX_FAIR

struct shared {
	mproc_mutex mutex;
	_Atomic(uint64_t) ready, rest; /* who is inside stays there */
};

static struct t_range range;
static struct shared *shared;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, 16, 32, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

static bool so_many_wait(void *arg)
{
	return t_mutex_n_blocked(&range, &shared->mutex) == (uintptr_t)arg;
}

static bool is_ready(void *arg)
{
	return atomic_load(&shared->ready) == (uintptr_t)arg;
}

static void come_in(void *arg)
{
	int told = mproc_mutex_lock(&shared->mutex, MPROC_FOREVER);

	t_check(told >= 0);
	while (atomic_load(&shared->rest) == (uintptr_t)arg)
		usleep(1000);
	t_check(mproc_mutex_unlock(&shared->mutex) == 0);
}

static void hold_until_told(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) >= 0);
	atomic_store(&shared->ready, 1);
	for (;;)
		pause();
}

static void owner_is_told_with_names_and_times(void **state)
{
	struct mproc_mutex_owner owner;
	struct stat ns;
	pid_t pid, waiter;

	(void)state;
	for (uint32_t flags = 0; flags <= FAIR; flags += FAIR) {
		assert_int_equal(mproc_mutex_init(&shared->mutex, flags), 0);
		atomic_store(&shared->ready, 0);
		memset(&owner, 0xff, sizeof(owner));
		assert_int_equal(mproc_mutex_owner(&shared->mutex, &owner), 0);
		assert_int_equal(owner.pid | owner.is_alive | owner.n_waiters, 0);
		pid = t_spawn(hold_until_told, NULL);
		assert_true(t_wait_until(is_ready, (void *)1, mproc_after_ms(5000)));
		assert_int_equal(mproc_mutex_owner(&shared->mutex, &owner), 1);
		assert_int_equal(owner.pid, pid);
		assert_int_equal(owner.tid, pid);
		assert_int_equal(stat("/proc/self/ns/pid", &ns), 0);
		assert_true(owner.pid_ns == ns.st_ino);
		assert_string_equal(owner.process, "test_mutex_owner");
		assert_int_not_equal(strlen(owner.thread), 0);
		assert_int_equal(owner.is_alive, 1);
		assert_int_equal(owner.is_inherited, 0);
		assert_int_equal(owner.n_waiters, 0);
		assert_true(owner.held_ns == 0 && owner.waited_ns == 0);

		waiter = t_spawn(come_in, (void *)1);
		assert_true(t_wait_until(so_many_wait, (void *)1, mproc_after_ms(5000)));
		usleep(50000);
		assert_int_equal(mproc_mutex_owner(&shared->mutex, &owner), 1);
		assert_int_equal(owner.n_waiters, 1);
		assert_in_range(owner.held_ns, 20000000, INT64_C(60000000000));
		assert_true(owner.waited_ns >= owner.held_ns);

		assert_int_equal(kill(waiter, SIGKILL), 0);
		assert_int_equal(t_reap(waiter), SIGKILL);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(t_reap(pid), SIGKILL);
		assert_int_equal(mproc_mutex_owner(&shared->mutex, &owner), 1);
		assert_int_equal(owner.pid, pid);
		assert_int_equal(owner.is_alive, 0);
		assert_int_equal(owner.is_inherited, 1);
		assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 1);
		assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
		assert_int_equal(mproc_mutex_owner(&shared->mutex, &owner), 0);
		assert_int_equal(owner.is_inherited, 1);
		mproc_mutex_destroy(&shared->mutex);
		assert_int_equal(mproc_mutex_owner(&shared->mutex, &owner), -EINVAL);
	}
}

static bool is_owned_by(void *arg)
{
	struct mproc_mutex_owner owner;

	return mproc_mutex_owner(&shared->mutex, &owner) == 1 &&
	       (pid_t)owner.pid == *(pid_t *)arg && owner.n_waiters == 1;
}

/* The wait began long before the present owner came: that is no time of his. */
static void new_owner_has_not_held_it_since_the_first_wait(void **state)
{
	struct mproc_mutex_owner owner;
	pid_t pids[2];

	(void)state;
	assert_int_equal(mproc_mutex_init(&shared->mutex, FAIR), 0);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
	atomic_store(&shared->rest, 1);
	t_queue_up(come_in, so_many_wait, pids, 2);
	usleep(300000);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	assert_true(t_wait_until(is_owned_by, &pids[0], mproc_after_ms(10000)));
	assert_int_equal(mproc_mutex_owner(&shared->mutex, &owner), 1);
	assert_int_equal(owner.pid, pids[0]);
	assert_int_equal(owner.n_waiters, 1);
	assert_true(owner.waited_ns >= 300000000);
	assert_true(owner.held_ns < owner.waited_ns - 200000000);
	atomic_store(&shared->rest, 0);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(t_reap(pids[i]), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(owner_is_told_with_names_and_times),
		TEST(new_owner_has_not_held_it_since_the_first_wait),
	};

	return cmocka_run_group_tests_name("mutex owner", tests, NULL, NULL);
}
