/* SPDX-License-Identifier: MIT */

/*
 * mproc/rmutex.h, seen from outside and from beside a dead owner
 */

#include <mproc/rmutex.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "ipc/participant.h"
#include "ipc/rmutex.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

#define MANY (MPROC_RMUTEX_DEEP_MAX + 1)

struct shared {
	mproc_rmutex rmutex, others[MANY];
	mproc_mutex mutex;
	_Atomic(uint64_t) counter, inside, broken;
};

static struct t_range range;
static struct shared *shared;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, 16, 32, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(mproc_rmutex_init(&shared->others[i], 0), 0);
	assert_int_equal(mproc_mutex_init(&shared->mutex, 0), 0);
	return mproc_rmutex_init(&shared->rmutex, 0);
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

static void lock_once(void *arg)
{
	t_check(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT) == (int)(intptr_t)arg);
	if ((intptr_t)arg >= 0)
		t_check(mproc_rmutex_unlock(&shared->rmutex) == 0);
}

static void owner_locks_again_and_frees_it_with_the_last_unlock(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(mproc_rmutex_depth(&shared->rmutex), i);
		assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), 0);
	}
	for (int i = 3; i > 0; i--) {
		assert_int_equal(mproc_rmutex_depth(&shared->rmutex), i);
		assert_int_equal(mproc_rmutex_is_locked(&shared->rmutex), 1);
		assert_int_equal(t_reap(t_spawn(lock_once, (void *)(intptr_t)-EAGAIN)), 0);
		assert_int_equal(mproc_rmutex_unlock(&shared->rmutex), 0);
	}
	assert_int_equal(mproc_rmutex_depth(&shared->rmutex), 0);
	assert_int_equal(mproc_rmutex_is_locked(&shared->rmutex), 0);
	assert_int_equal(t_reap(t_spawn(lock_once, (void *)0)), 0);
	assert_int_equal(mproc_rmutex_unlock(&shared->rmutex), -EPERM);
	assert_non_null(strstr(mproc_error_text(), "nobody owns the rmutex"));
}

static void misuse_is_told_and_changes_nothing(void **state)
{
	mproc_rmutex outside, before;
	struct mproc_mutex_owner owner;

	(void)state;
	memset(&outside, 0, sizeof(outside));
	assert_int_equal(mproc_rmutex_init(&outside, 0), -ENOTCONN);
	assert_int_equal(mproc_rmutex_lock(&outside, MPROC_NOWAIT), -ENOTCONN);
	assert_int_equal(mproc_rmutex_unlock(&outside), -ENOTCONN);
	assert_int_equal(mproc_rmutex_depth(&outside), -ENOTCONN);
	assert_int_equal(mproc_rmutex_init(&shared->rmutex, 1), -EINVAL);
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, -1), -EINVAL);
	/* A mutex is no rmutex, nor the other way round. */
	assert_int_equal(mproc_rmutex_lock((mproc_rmutex *)&shared->mutex, MPROC_NOWAIT), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "no rmutex at"));
	assert_int_equal(mproc_mutex_lock((mproc_mutex *)&shared->rmutex, MPROC_NOWAIT), -EINVAL);

	before = shared->rmutex;
	assert_int_equal(mproc_rmutex_unlock(&shared->rmutex), -EPERM);
	assert_int_equal(mproc_rmutex_consistent(&shared->rmutex), -EPERM);
	assert_memory_equal(&before, &shared->rmutex, sizeof(before));
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rmutex_consistent(&shared->rmutex), -EINVAL);
	assert_int_equal(mproc_rmutex_unlock(&shared->rmutex), 0);
	mproc_rmutex_destroy(&shared->rmutex);
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), -EINVAL);
	assert_int_equal(mproc_rmutex_unlock(&shared->rmutex), -EINVAL);
	assert_int_equal(mproc_rmutex_depth(&shared->rmutex), -EINVAL);
	assert_int_equal(mproc_rmutex_owner(&shared->rmutex, &owner), -EINVAL);
}

static void depth_and_number_are_bounded_and_an_error_changes_nothing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MPROC_RMUTEX_DEPTH_MAX; i++)
		assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), -EOVERFLOW);
	assert_non_null(strstr(mproc_error_text(), "65535 times"));
	assert_int_equal(mproc_rmutex_depth(&shared->rmutex), MPROC_RMUTEX_DEPTH_MAX);
	for (unsigned i = 0; i < MPROC_RMUTEX_DEPTH_MAX; i++)
		assert_int_equal(mproc_rmutex_unlock(&shared->rmutex), 0);
	assert_int_equal(mproc_rmutex_is_locked(&shared->rmutex), 0);

	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(mproc_rmutex_lock(&shared->others[i], MPROC_NOWAIT), 0);
	for (size_t i = 0; i < MANY - 1; i++)
		assert_int_equal(mproc_rmutex_lock(&shared->others[i], MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rmutex_lock(&shared->others[MANY - 1], MPROC_NOWAIT), -ENOLCK);
	assert_non_null(strstr(mproc_error_text(), "32 others"));
	assert_int_equal(mproc_rmutex_depth(&shared->others[MANY - 1]), 1);
	/* Out of order, and one that is not deep any more makes room. */
	assert_int_equal(mproc_rmutex_unlock(&shared->others[3]), 0);
	assert_int_equal(mproc_rmutex_lock(&shared->others[MANY - 1], MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rmutex_unlock(&shared->others[MANY - 1]), 0);
	assert_int_equal(mproc_rmutex_unlock(&shared->others[MANY - 1]), 0);
	assert_int_equal(mproc_rmutex_unlock(&shared->others[3]), 0);
	for (size_t i = 0; i < MANY - 1; i++)
		for (int n = mproc_rmutex_depth(&shared->others[i]); n > 0; n--)
			assert_int_equal(mproc_rmutex_unlock(&shared->others[i]), 0);
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(mproc_rmutex_is_locked(&shared->others[i]), 0);
}

/* The table says more than the word does: made anew while it was deep. */
static void depth_of_an_earlier_life_does_not_count(void **state)
{
	(void)state;
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rmutex_init(&shared->rmutex, 0), 0);
	assert_int_equal(mproc_rmutex_depth(&shared->rmutex), 0);
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rmutex_depth(&shared->rmutex), 1);
	assert_int_equal(mproc_rmutex_unlock(&shared->rmutex), 0);
	assert_int_equal(mproc_rmutex_is_locked(&shared->rmutex), 0);
	/* And what is left of many makes room for others. */
	for (size_t i = 0; i < MANY - 1; i++) {
		assert_int_equal(mproc_rmutex_lock(&shared->others[i], MPROC_NOWAIT), 0);
		assert_int_equal(mproc_rmutex_lock(&shared->others[i], MPROC_NOWAIT), 0);
		assert_int_equal(mproc_rmutex_init(&shared->others[i], 0), 0);
	}
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rmutex_depth(&shared->rmutex), 2);
}

static void lock_twice_and_die(void *arg)
{
	(void)arg;
	t_check(mproc_rmutex_lock(&shared->rmutex, MPROC_FOREVER) >= 0);
	t_check(mproc_rmutex_lock(&shared->rmutex, MPROC_FOREVER) >= 0);
	raise(SIGKILL);
}

static void dead_owner_is_told_at_every_depth_until_somebody_says_consistent(void **state)
{
	struct mproc_mutex_owner owner;

	(void)state;
	assert_int_equal(t_reap(t_spawn(lock_twice_and_die, NULL)), SIGKILL);
	assert_int_equal(mproc_rmutex_owner(&shared->rmutex, &owner), 1);
	assert_int_equal(owner.is_alive, 0);
	assert_int_equal(owner.is_inherited, 1);
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_rmutex_depth(&shared->rmutex), 1);
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_rmutex_unlock(&shared->rmutex), 0);
	assert_int_equal(mproc_rmutex_unlock(&shared->rmutex), 0);
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_rmutex_consistent(&shared->rmutex), 0);
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rmutex_depth(&shared->rmutex), 3);
	assert_int_equal(mproc_rmutex_owner(&shared->rmutex, &owner), 1);
	assert_int_equal(owner.pid, getpid());
	assert_int_equal(owner.is_alive, 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(mproc_rmutex_unlock(&shared->rmutex), 0);
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT), 0);
}

static void child_is_a_stranger(void *arg)
{
	(void)arg;
	t_check(mproc_rmutex_depth(&shared->rmutex) == 0);
	t_check(mproc_rmutex_unlock(&shared->rmutex) == -EPERM);
	t_check(mproc_rmutex_lock(&shared->rmutex, MPROC_NOWAIT) == -EAGAIN);
	t_check(mproc_rmutex_lock(&shared->rmutex, mproc_after_ms(5)) == -ETIMEDOUT);
}

static void forked_child_does_not_own_what_its_parent_locked(void **state)
{
	struct mproc__identity *other, *me;

	(void)state;
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_FOREVER), 0);
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_FOREVER), 0);
	assert_int_equal(t_reap(t_spawn(child_is_a_stranger, NULL)), 0);
	/* Nor does another participant of this process. */
	assert_int_equal(mproc__identity_new(&other, range.range), 0);
	me = mproc__identity_act(other);
	child_is_a_stranger(NULL);
	mproc__identity_act(me);
	mproc__identity_kill(other);
	assert_int_equal(mproc_rmutex_depth(&shared->rmutex), 2);
	assert_int_equal(mproc_rmutex_unlock(&shared->rmutex), 0);
	assert_int_equal(mproc_rmutex_unlock(&shared->rmutex), 0);
}

static void notes_are_made_once_for_all_depths(void **state)
{
	struct mproc__self *me = mproc__self(shared, "test");

	(void)state;
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_FOREVER), 0);
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_FOREVER), 0);
	assert_int_equal(me->n_holds, 1);
	assert_int_equal(mproc_rmutex_unlock(&shared->rmutex), 0);
	assert_int_equal(me->n_holds, 1);
	assert_int_not_equal(me->rec->holds[0], 0);
	assert_int_equal(me->rec->holds[1], 0);
	assert_int_equal(mproc_rmutex_unlock(&shared->rmutex), 0);
	assert_int_equal(me->n_holds, 0);
	assert_int_equal(me->rec->holds[0], 0);
	/* What a condition does: all levels at once, and back. */
	for (int i = 0; i < 5; i++)
		assert_int_equal(mproc_rmutex_lock(&shared->rmutex, MPROC_FOREVER), 0);
	assert_int_equal(mproc__rmutex_release_all(&shared->rmutex), 5);
	assert_int_equal(mproc_rmutex_is_locked(&shared->rmutex), 0);
	assert_int_equal(mproc__rmutex_release_all(&shared->rmutex), -EPERM);
	assert_int_equal(mproc__rmutex_retake(&shared->rmutex, 5), 0);
	assert_int_equal(mproc_rmutex_depth(&shared->rmutex), 5);
}

#define ROUNDS 5000

static uint64_t plain; /* under the rmutex, and seen by ThreadSanitizer */

static void *thread_counts(void *arg)
{
	mproc__identity_act(arg);
	for (int i = 0; i < ROUNDS; i++) {
		t_check(mproc_rmutex_lock(&shared->rmutex, MPROC_FOREVER) == 0);
		t_check(mproc_rmutex_lock(&shared->rmutex, MPROC_FOREVER) == 0);
		plain++;
		t_check(mproc_rmutex_unlock(&shared->rmutex) == 0);
		plain++;
		t_check(mproc_rmutex_unlock(&shared->rmutex) == 0);
	}
	mproc__identity_act(NULL);
	return NULL;
}

static void threads_as_participants_exclude_each_other(void **state)
{
	struct mproc__identity *who[3];
	pthread_t threads[3];

	(void)state;
	plain = 0;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(mproc__identity_new(&who[i], range.range), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, thread_counts, who[i]), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (size_t i = 0; i < 3; i++)
		mproc__identity_kill(who[i]);
	assert_int_equal(plain, 6 * ROUNDS);
	assert_int_equal(range.range->reg->heals, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(owner_locks_again_and_frees_it_with_the_last_unlock),
		TEST(misuse_is_told_and_changes_nothing),
		TEST(depth_and_number_are_bounded_and_an_error_changes_nothing),
		TEST(depth_of_an_earlier_life_does_not_count),
		TEST(dead_owner_is_told_at_every_depth_until_somebody_says_consistent),
		TEST(forked_child_does_not_own_what_its_parent_locked),
		TEST(notes_are_made_once_for_all_depths),
		TEST(threads_as_participants_exclude_each_other),
	};

	return cmocka_run_group_tests_name("rmutex", tests, NULL, NULL);
}
