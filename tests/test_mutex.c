/* SPDX-License-Identifier: MIT */

/*
 * mproc/mutex.h, seen from outside and from beside a dead owner
 */

#include <mproc/mutex.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "ipc/participant.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

struct shared {
	mproc_mutex mutex, other[20];
	_Atomic(uint64_t) counter, inside, broken, ready, go;
};

static struct t_range range;
static struct shared *shared;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, 16, 32, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(mproc_mutex_init(&shared->other[i], 0), 0);
	return mproc_mutex_init(&shared->mutex, 0);
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

static void locked_mutex_refuses_in_time(void **state)
{
	struct mproc__identity *other, *me;

	(void)state;
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
	assert_int_equal(mproc__identity_new(&other, range.range), 0);
	me = mproc__identity_act(other);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, mproc_after_ms(20)), -ETIMEDOUT);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, 1), -ETIMEDOUT);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, -1), -EINVAL);
	mproc__identity_act(me);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	mproc__identity_act(other);
	/* A time that has passed still tries once. */
	assert_int_equal(mproc_mutex_lock(&shared->mutex, 1), 0);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	mproc__identity_act(me);
	mproc__identity_kill(other);
}

static void misuse_is_told_and_changes_nothing(void **state)
{
	mproc_mutex outside;
	mproc_mutex *none = (void *)(range.room + sizeof(struct shared) - 16);

	(void)state;
	memset(&outside, 0, sizeof(outside));
	assert_int_equal(mproc_mutex_init(&outside, 0), -ENOTCONN);
	assert_int_equal(mproc_mutex_lock(&outside, MPROC_NOWAIT), -ENOTCONN);
	assert_non_null(strstr(mproc_error_text(), "lies in no attached segment"));
	assert_int_equal(mproc_mutex_init(&shared->mutex, 8), -EINVAL);
	assert_int_equal(mproc_mutex_lock(none, MPROC_NOWAIT), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "no mutex at"));

	assert_int_equal(mproc_mutex_unlock(&shared->mutex), -EPERM);
	assert_non_null(strstr(mproc_error_text(), "nobody owns"));
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER), 0);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER), -EDEADLK);
	assert_int_equal(mproc_mutex_consistent(&shared->mutex), -EINVAL);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	mproc_mutex_destroy(&shared->mutex);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), -EINVAL);
}

static void lock_and_die(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) >= 0);
	raise(SIGKILL);
}

static void dead_owner_is_told_until_somebody_says_consistent(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(lock_and_die, NULL)), SIGKILL);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);

	assert_int_equal(t_reap(t_spawn(lock_and_die, NULL)), SIGKILL);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_mutex_consistent(&shared->mutex), 0);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
}

static void hold_until_killed(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == 0);
	atomic_store(&shared->ready, 1);
	for (;;)
		pause();
}

static bool is_ready(void *arg)
{
	(void)arg;
	return atomic_load(&shared->ready) == 1;
}

static void stopped_owner_is_not_dead(void **state)
{
	pid_t pid = t_spawn(hold_until_killed, NULL);

	(void)state;
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(5000)));
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, mproc_after_ms(200)), -ETIMEDOUT);
	assert_int_equal(kill(pid, SIGKILL), 0);
	/* Killed, perhaps not yet gone: whoever waits is told. */
	assert_int_equal(mproc_mutex_lock(&shared->mutex, mproc_after_ms(5000)),
			 MPROC_MUTEX_INHERITED);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
}

static void *lock_and_end(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)mproc_mutex_lock(&shared->mutex, MPROC_FOREVER);
}

static void ended_thread_leaves_its_mutex_inherited(void **state)
{
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, lock_and_end, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_mutex_consistent(&shared->mutex), 0);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
}

static void child_unlocks_and_fails(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_unlock(&shared->mutex) == -EPERM);
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT) == -EAGAIN);
}

static void forked_child_does_not_own_what_its_parent_locked(void **state)
{
	(void)state;
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER), 0);
	assert_int_equal(t_reap(t_spawn(child_unlocks_and_fails, NULL)), 0);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
}

static void holds_are_noted_in_any_order(void **state)
{
	struct mproc__self *me = mproc__self(shared, "test");

	(void)state;
	/* More than the record has room for, released first in first out. */
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(mproc_mutex_lock(&shared->other[i], MPROC_FOREVER), 0);
	assert_int_equal(me->rec->n_lost, 20 - MPROC__HOLDS);
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(mproc_mutex_unlock(&shared->other[i]), 0);
	assert_int_equal(me->rec->n_lost, 0);
	for (size_t i = 0; i < MPROC__HOLDS; i++)
		assert_int_equal(me->rec->holds[i], 0);

	/* Noted ones first, then those that were not, then the rest. */
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(mproc_mutex_lock(&shared->other[i], MPROC_FOREVER), 0);
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(mproc_mutex_unlock(&shared->other[(i < 3 ? i : 22 - i)]), 0);
	assert_int_equal(me->rec->n_lost, 0);
	for (size_t i = 0; i < MPROC__HOLDS; i++)
		assert_int_equal(me->rec->holds[i], 0);
}

static void wait_for_mutex(void *arg)
{
	/* Only a wake-up ends the sleep, or only its quantum. */
	atomic_store(&mproc__quantum_off, arg != NULL);
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) >= 0);
	t_check(mproc_mutex_unlock(&shared->mutex) == 0);
}

static bool somebody_sleeps(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < range.range->n_threads; i++)
		if (atomic_load(&range.range->threads[i].waits_on))
			return true;
	return false;
}

static void *lock_and_end_when_slept_for(void *arg)
{
	(void)arg;
	if (mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) < 0)
		return (void *)1;
	atomic_store(&shared->ready, 1);
	if (!t_wait_until(somebody_sleeps, NULL, mproc_after_ms(5000)))
		return (void *)1;
	/* It is noted just before the sleep begins. */
	usleep(20000);
	return NULL;
}

static void ended_thread_wakes_who_sleeps_for_its_mutex(void **state)
{
	pthread_t thread;
	void *r;
	pid_t pid;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, lock_and_end_when_slept_for, NULL), 0);
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(5000)));
	pid = t_spawn(wait_for_mutex, shared);
	assert_int_equal(pthread_join(thread, &r), 0);
	assert_null(r);
	assert_int_equal(t_reap(pid), 0);
}

static bool all_sleep(void *arg)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < range.range->n_threads; i++)
		n += atomic_load(&range.range->threads[i].waits_on) != 0;
	return n == (uint64_t)(uintptr_t)arg;
}

/* One release wakes one; that one's release wakes the next, and so on. */
static void release_goes_through_all_who_sleep(void **state)
{
	pid_t pids[3];

	(void)state;
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER), 0);
	for (size_t i = 0; i < 3; i++)
		pids[i] = t_spawn(wait_for_mutex, shared);
	assert_true(t_wait_until(all_sleep, (void *)3, mproc_after_ms(5000)));
	usleep(20000);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(range.range->reg->heals, 0);
}

static void lost_wake_up_is_healed_and_counted(void **state)
{
	_Atomic(uint64_t) *word = (_Atomic(uint64_t) *)&shared->mutex;
	struct mproc__self *me = mproc__self(shared, "test");
	pid_t pids[2];

	(void)state;
	atomic_store(word, me->word);
	for (size_t i = 0; i < 2; i++)
		pids[i] = t_spawn(wait_for_mutex, NULL);
	assert_true(t_wait_until(somebody_sleeps, NULL, mproc_after_ms(5000)));
	usleep(20000);
	assert_int_equal(range.range->reg->heals, 0);
	/* Released, and nobody is told. */
	atomic_store(word, 0);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_true(range.range->reg->heals >= 1);
}

static void wait_without_membarrier(void *arg)
{
	/* clang-format off */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	/* clang-format on */
	struct sock_fprog filter = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	t_check(mproc__self(shared, "test"));
	t_check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	t_check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
	wait_for_mutex(arg);
}

/* Forbidden after it attached: from then on whoever wakes pays for the order. */
static void process_without_membarrier_is_woken_all_the_same(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER), 0);
	assert_int_equal(range.range->reg->fence, 0);
	pid = t_spawn(wait_without_membarrier, shared);
	assert_true(t_wait_until(somebody_sleeps, NULL, mproc_after_ms(5000)));
	assert_int_equal(range.range->reg->fence, 1);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	assert_int_equal(t_reap(pid), 0);
}

#define ROUNDS 20000

static void count_under_mutex(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == 0);
		if (atomic_fetch_add(&shared->inside, 1) != 0)
			atomic_store(&shared->broken, 1);
		atomic_store(&shared->counter, atomic_load(&shared->counter) + 1);
		atomic_fetch_sub(&shared->inside, 1);
		t_check(mproc_mutex_unlock(&shared->mutex) == 0);
	}
}

static void processes_exclude_each_other_and_nothing_heals(void **state)
{
	pid_t pids[4];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		pids[i] = t_spawn(count_under_mutex, NULL);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(shared->counter, 4 * ROUNDS);
	assert_int_equal(shared->broken, 0);
	assert_int_equal(range.range->reg->heals, 0);
	assert_int_equal(range.range->reg->takeovers, 0);
}

static void *thread_counts(void *arg)
{
	mproc__identity_act(arg);
	count_under_mutex(NULL);
	mproc__identity_act(NULL);
	return NULL;
}

static void threads_as_participants_exclude_each_other(void **state)
{
	struct mproc__identity *who[3];
	pthread_t threads[3];

	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(mproc__identity_new(&who[i], range.range), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, thread_counts, who[i]), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (size_t i = 0; i < 3; i++)
		mproc__identity_kill(who[i]);
	assert_int_equal(shared->counter, 3 * ROUNDS);
	assert_int_equal(shared->broken, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(locked_mutex_refuses_in_time),
		TEST(misuse_is_told_and_changes_nothing),
		TEST(dead_owner_is_told_until_somebody_says_consistent),
		TEST(stopped_owner_is_not_dead),
		TEST(ended_thread_leaves_its_mutex_inherited),
		TEST(forked_child_does_not_own_what_its_parent_locked),
		TEST(holds_are_noted_in_any_order),
		TEST(ended_thread_wakes_who_sleeps_for_its_mutex),
		TEST(release_goes_through_all_who_sleep),
		TEST(lost_wake_up_is_healed_and_counted),
		TEST(process_without_membarrier_is_woken_all_the_same),
		TEST(processes_exclude_each_other_and_nothing_heals),
		TEST(threads_as_participants_exclude_each_other),
	};

	return cmocka_run_group_tests_name("mutex", tests, NULL, NULL);
}
