/* SPDX-License-Identifier: MIT */

/*
 * mproc/condition.h, seen from outside and from beside the dead
 */

#include <mproc/condition.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/rmutex.h>

#include "ipc/kind_layout.h"
#include "ipc/lock_layout.h"
#include "ipc/participant.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

struct shared {
	mproc_condition condition;
	mproc_mutex mutex, other;
	mproc_rmutex rmutex;
	_Atomic(uint64_t) n_back, back[8]; /* who returned, one after the other */
	_Atomic(uint64_t) ready, value;
};

static struct t_range range;
static struct shared *shared;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, 16, 32, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	assert_int_equal(mproc_condition_init(&shared->condition, 0), 0);
	assert_int_equal(mproc_mutex_init(&shared->other, 0), 0);
	assert_int_equal(mproc_rmutex_init(&shared->rmutex, 0), 0);
	return mproc_mutex_init(&shared->mutex, 0);
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

/* How many wait and have not been notified yet. */
static unsigned n_queued(void)
{
	uint64_t off = (uint64_t)((char *)&shared->condition - range.base);
	uint64_t notified = atomic_load((_Atomic(uint64_t) *)&shared->condition.opaque[3]);
	unsigned n = 0;

	for (uint32_t i = 0; i < range.range->n_threads; i++)
		n += atomic_load(&range.range->threads[i].queued_at) ==
			     mproc__what(MPROC__KIND_CONDITION, off) &&
		     atomic_load(&range.range->threads[i].ticket) >> 1 > notified;
	return n;
}

static bool so_many_queued(void *arg)
{
	return n_queued() == (uintptr_t)arg;
}

static bool is_ready(void *arg)
{
	return atomic_load(&shared->ready) == (uintptr_t)arg;
}

static void lock(void)
{
	assert_int_equal(mproc_mutex_lock(&shared->mutex, mproc_after_ms(5000)), 0);
}

static void unlock(void)
{
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
}

static int notify(uint32_t n)
{
	int r;

	lock();
	r = mproc_condition_notify(&shared->condition, n);
	unlock();
	return r;
}

static void wait_once(void *arg)
{
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == 0);
	t_check(mproc_condition_wait(&shared->condition, &shared->mutex, MPROC_FOREVER) == 0);
	t_check(mproc_mutex_is_locked(&shared->mutex) == 1);
	shared->back[shared->n_back] = (uintptr_t)arg;
	shared->n_back++;
	t_check(mproc_mutex_unlock(&shared->mutex) == 0);
}

/* @n wait, the first of them first. */
static void queue_up(pid_t *pids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		pids[i] = t_spawn(wait_once, (void *)(i + 1));
		assert_true(t_wait_until(so_many_queued, (void *)(i + 1), mproc_after_ms(5000)));
	}
}

static void notify_ends_exactly_so_many_waits_in_order(void **state)
{
	pid_t pids[5];

	(void)state;
	queue_up(pids, 5);
	assert_int_equal(notify(2), 2);
	assert_int_equal(t_reap(pids[0]), 0);
	assert_int_equal(t_reap(pids[1]), 0);
	/* Longer than a quantum: the others sleep on. */
	usleep(300000);
	assert_int_equal(shared->n_back, 2);
	assert_int_equal(n_queued(), 3);
	assert_int_equal(notify(1), 1);
	assert_int_equal(t_reap(pids[2]), 0);
	assert_int_equal(shared->back[2], 3);
	assert_int_equal(notify(100), 2);
	for (size_t i = 3; i < 5; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(shared->n_back, 5);
	assert_int_equal(range.range->reg->heals, 0);
}

static void surplus_is_not_stored(void **state)
{
	pid_t pids[3];

	(void)state;
	assert_int_equal(notify(1), 0);
	lock();
	assert_int_equal(mproc_condition_notify_all(&shared->condition), 0);
	assert_int_equal(mproc_condition_notify(&shared->condition, 0), 0);
	assert_int_equal(
		mproc_condition_wait(&shared->condition, &shared->mutex, mproc_after_ms(20)),
		-ETIMEDOUT);
	unlock();
	queue_up(pids, 3);
	assert_int_equal(notify(7), 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	queue_up(pids, 2);
	usleep(20000);
	assert_int_equal(shared->n_back, 3);
	lock();
	assert_int_equal(mproc_condition_notify_all(&shared->condition), 2);
	unlock();
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(t_reap(pids[i]), 0);
}

static void deadline_ends_a_wait_with_the_mutex_held(void **state)
{
	(void)state;
	lock();
	assert_int_equal(mproc_condition_wait(&shared->condition, &shared->mutex, MPROC_NOWAIT),
			 -EAGAIN);
	assert_int_equal(mproc_condition_wait(&shared->condition, &shared->mutex, 1), -ETIMEDOUT);
	assert_int_equal(
		mproc_condition_wait(&shared->condition, &shared->mutex, mproc_after_ms(10)),
		-ETIMEDOUT);
	assert_int_equal(n_queued(), 0);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), -EDEADLK);
	unlock();
}

static void misuse_is_told_and_changes_nothing(void **state)
{
	mproc_condition outside, before;
	mproc_mutex outside_mutex;
	struct t_range second;
	pid_t pid;

	(void)state;
	memset(&outside, 0, sizeof(outside));
	memset(&outside_mutex, 0, sizeof(outside_mutex));
	assert_int_equal(mproc_condition_init(&outside, 0), -ENOTCONN);
	assert_int_equal(mproc_condition_init(&shared->condition, 1), -EINVAL);
	assert_int_equal(mproc_condition_notify(&outside, 1), -ENOTCONN);
	assert_int_equal(mproc_condition_wait(&outside, &shared->mutex, MPROC_NOWAIT), -ENOTCONN);
	before = shared->condition;
	assert_int_equal(mproc_condition_wait(&shared->condition, &shared->mutex, MPROC_FOREVER),
			 -EPERM);
	assert_non_null(strstr(mproc_error_text(), "nobody owns"));
	assert_int_equal(mproc_condition_wait(&shared->condition, &outside_mutex, MPROC_FOREVER),
			 -EINVAL);
	assert_int_equal(mproc_condition_wait(&shared->condition, &shared->value, MPROC_FOREVER),
			 -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "no mutex at"));
	assert_int_equal(mproc_condition_wait((mproc_condition *)(void *)&shared->mutex,
					      &shared->mutex, MPROC_FOREVER),
			 -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "no condition at"));
	assert_int_equal(t_range_open(&second, 4, 4, 64), 0);
	assert_int_equal(mproc_mutex_init((mproc_mutex *)(void *)second.room, 0), 0);
	assert_int_equal(mproc_mutex_lock((mproc_mutex *)(void *)second.room, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_condition_wait(&shared->condition, second.room, MPROC_FOREVER),
			 -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "another segment"));
	t_range_close(&second);
	lock();
	assert_int_equal(mproc_condition_wait(&shared->condition, &shared->mutex, -1), -EINVAL);
	unlock();
	assert_memory_equal(&before, &shared->condition, sizeof(before));

	/* While one waits. */
	queue_up(&pid, 1);
	before = shared->condition;
	assert_int_equal(mproc_condition_notify(&shared->condition, 1), -EPERM);
	assert_non_null(strstr(mproc_error_text(), "does not own the mutex"));
	assert_int_equal(mproc_condition_notify_all(&shared->condition), -EPERM);
	assert_int_equal(mproc_mutex_lock(&shared->other, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_condition_wait(&shared->condition, &shared->other, MPROC_FOREVER),
			 -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "others wait with the mutex at"));
	assert_int_equal(mproc_mutex_unlock(&shared->other), 0);
	assert_memory_equal(&before, &shared->condition, sizeof(before));
	assert_int_equal(n_queued(), 1);
	assert_int_equal(notify(1), 1);
	assert_int_equal(t_reap(pid), 0);
	/* Nobody waits: another mutex may be next. */
	assert_int_equal(mproc_mutex_lock(&shared->other, MPROC_NOWAIT), 0);
	assert_int_equal(
		mproc_condition_wait(&shared->condition, &shared->other, mproc_after_ms(1)),
		-ETIMEDOUT);
	mproc_condition_destroy(&shared->condition);
	assert_int_equal(mproc_condition_notify(&shared->condition, 1), -EINVAL);
	assert_int_equal(mproc_condition_wait(&shared->condition, &shared->other, MPROC_NOWAIT),
			 -EINVAL);
	assert_int_equal(mproc_mutex_unlock(&shared->other), 0);
}

static void killed_waiters_leave_no_trace(void **state)
{
	pid_t pids[4];

	(void)state;
	queue_up(pids, 4);
	for (size_t i = 0; i < 4; i += 2) {
		assert_int_equal(kill(pids[i], SIGKILL), 0);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
	/* The first of the living. */
	assert_int_equal(notify(1), 1);
	assert_int_equal(t_reap(pids[1]), 0);
	assert_int_equal(shared->n_back, 1);
	assert_int_equal(shared->back[0], 2);
	assert_int_equal(notify(5), 1);
	assert_int_equal(t_reap(pids[3]), 0);
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
}

static void stop(pid_t pid)
{
	siginfo_t info = { 0 };

	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOWAIT), 0);
}

static void stopped_waiter_is_notified_and_returns_when_it_goes_on(void **state)
{
	pid_t pids[2];

	(void)state;
	queue_up(pids, 2);
	stop(pids[0]);
	assert_int_equal(notify(1), 1);
	usleep(300000);
	/* It is its notification, not the other's. */
	assert_int_equal(shared->n_back, 0);
	assert_int_equal(kill(pids[0], SIGCONT), 0);
	assert_int_equal(t_reap(pids[0]), 0);
	assert_int_equal(shared->back[0], 1);
	assert_int_equal(notify(1), 1);
	assert_int_equal(t_reap(pids[1]), 0);
}

/* Passed on by one who sleeps; by the next call; by a reaper. */
static void notification_of_the_killed_passes_on_to_the_next(void **state)
{
	(void)state;
	for (int way = 0; way < 3; way++) {
		pid_t pids[3];

		atomic_store(&shared->n_back, 0);
		queue_up(pids, 3);
		stop(pids[0]);
		if (way)
			stop(pids[1]);
		assert_int_equal(notify(1), 1);
		assert_int_equal(kill(pids[0], SIGKILL), 0);
		assert_int_equal(t_reap(pids[0]), SIGKILL);
		if (way == 1)
			/* The second has the first one's notification; this is the third's. */
			assert_int_equal(notify(1), 1);
		if (way == 2)
			assert_true(mproc__reap_all(range.range) >= 1);
		if (way)
			assert_int_equal(kill(pids[1], SIGCONT), 0);
		assert_int_equal(t_reap(pids[1]), 0);
		if (way != 1) {
			usleep(300000);
			assert_int_equal(shared->n_back, 1);
			assert_int_equal(shared->back[0], 2);
			assert_int_equal(notify(3), 1);
		}
		assert_int_equal(t_reap(pids[2]), 0);
		assert_int_equal(shared->n_back, 2);
		assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
	}
}

/* To the living only, and to nobody who comes when it is known to be lost. */
static void notification_of_the_last_one_killed_is_not_stored(void **state)
{
	pid_t pid;

	(void)state;
	queue_up(&pid, 1);
	stop(pid);
	assert_int_equal(notify(1), 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	lock();
	assert_int_equal(
		mproc_condition_wait(&shared->condition, &shared->mutex, mproc_after_ms(300)),
		-ETIMEDOUT);
	unlock();
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
}

/* Notified after its deadline, while it waits for the mutex. */
static void wait_late(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == 0);
	t_check(mproc_condition_wait(&shared->condition, &shared->mutex, mproc_after_ms(50)) == 0);
	t_check(mproc_mutex_unlock(&shared->mutex) == 0);
}

static bool waits_for_mutex(void *arg)
{
	uint64_t off = (uint64_t)((char *)&shared->mutex - range.base);

	(void)arg;
	for (uint32_t i = 0; i < range.range->n_threads; i++)
		if (atomic_load(&range.range->threads[i].blocked_on) ==
		    mproc__what(MPROC__KIND_MUTEX, off))
			return true;
	return false;
}

static void notification_after_the_deadline_is_not_lost(void **state)
{
	pid_t pid;

	(void)state;
	pid = t_spawn(wait_late, NULL);
	assert_true(t_wait_until(so_many_queued, (void *)1, mproc_after_ms(5000)));
	lock();
	assert_true(t_wait_until(waits_for_mutex, NULL, mproc_after_ms(5000)));
	assert_int_equal(mproc_condition_notify(&shared->condition, 1), 1);
	unlock();
	assert_int_equal(t_reap(pid), 0);
}

/* The record of the only one that is queued, notified or not; NULL if there is none. */
static struct mproc__thread *queued(void)
{
	uint64_t off = (uint64_t)((char *)&shared->condition - range.base);

	for (uint32_t i = 0; i < range.range->n_threads; i++)
		if (atomic_load(&range.range->threads[i].queued_at) ==
		    mproc__what(MPROC__KIND_CONDITION, off))
			return &range.range->threads[i];
	return NULL;
}

static void new_condition_knows_nothing_of_the_dead_of_the_old(void **state)
{
	pid_t pid;

	(void)state;
	queue_up(&pid, 1);
	/* Killed in the middle of a move, for all that its record says. */
	stop(pid);
	atomic_store(&queued()->ticket, 1 << 1 | 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	mproc_condition_destroy(&shared->condition);
	assert_non_null(queued());
	assert_int_equal(mproc_condition_init(&shared->condition, 0), 0);
	assert_null(queued());
	queue_up(&pid, 1);
	assert_true(mproc__reap_all(range.range) >= 0);
	assert_int_equal(n_queued(), 1);
	assert_int_equal(notify(2), 1);
	assert_int_equal(t_reap(pid), 0);
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
}

static void condition_is_not_made_where_the_living_wait(void **state)
{
	mproc_condition before;
	pid_t pid;

	(void)state;
	queue_up(&pid, 1);
	before = shared->condition;
	assert_int_equal(mproc_condition_init(&shared->condition, 0), -EBUSY);
	assert_non_null(strstr(mproc_error_text(), "living thread"));
	assert_memory_equal(&before, &shared->condition, sizeof(before));
	assert_int_equal(notify(1), 1);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(mproc_condition_init(&shared->condition, 0), 0);
}

static void wait_and_find_the_lock_corrupt(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == 0);
	t_check(mproc_condition_wait(&shared->condition, &shared->mutex, mproc_after_ms(500)) ==
		-EBADMSG);
	t_check(mproc__self(shared, "test")->rec->queued_at == 0);
	t_check(mproc_mutex_unlock(&shared->mutex) == 0);
}

/* The word says that the caller has the lock already, and has not let it go. */
static void corrupt_lock_is_told(void **state)
{
	struct mproc__lock *inner = (struct mproc__lock *)(void *)&shared->condition;
	struct mproc__self *me = mproc__self(shared, "test");
	mproc_condition before;
	struct mproc__thread *rec;
	pid_t pid;

	(void)state;
	queue_up(&pid, 1);
	lock();
	atomic_store(&inner->word, me->word);
	before = shared->condition;
	assert_int_equal(mproc_condition_notify(&shared->condition, 1), -EBADMSG);
	assert_non_null(strstr(mproc_error_text(), "corrupt"));
	assert_int_equal(mproc_condition_wait(&shared->condition, &shared->mutex, MPROC_NOWAIT),
			 -EBADMSG);
	assert_memory_equal(&before, &shared->condition, sizeof(before));
	assert_int_equal(me->rec->queued_at, 0);
	assert_int_equal(me->rec->acting[0], 0);
	atomic_store(&inner->word, 0);
	assert_int_equal(mproc_condition_notify(&shared->condition, 1), 1);
	unlock();
	assert_int_equal(t_reap(pid), 0);

	/* Of one who has waited. */
	pid = t_spawn(wait_and_find_the_lock_corrupt, NULL);
	assert_true(t_wait_until(so_many_queued, (void *)1, mproc_after_ms(5000)));
	lock();
	rec = queued();
	assert_non_null(rec);
	atomic_store(&inner->word,
		     mproc__owner_word((uint32_t)(rec - range.range->threads),
				       mproc__owner_generation(atomic_load(&rec->own))));
	unlock();
	assert_int_equal(t_reap(pid), 0);
}

static void lock_and_die(void *arg)
{
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) >= 0);
	if (arg)
		t_check(mproc_condition_notify(&shared->condition, 1) == 1);
	raise(SIGKILL);
}

static void wait_and_inherit(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == 0);
	t_check(mproc_condition_wait(&shared->condition, &shared->mutex, mproc_after_ms(5000)) ==
		MPROC_MUTEX_INHERITED);
	/* Told once: a second wait ends in time. */
	t_check(mproc_condition_wait(&shared->condition, &shared->mutex, mproc_after_ms(5)) ==
		-ETIMEDOUT);
	t_check(mproc_mutex_consistent(&shared->mutex) == 0);
	t_check(mproc_mutex_unlock(&shared->mutex) == 0);
}

static void waiter_is_told_of_an_inherited_mutex(void **state)
{
	pid_t pid;

	(void)state;
	pid = t_spawn(wait_and_inherit, NULL);
	assert_true(t_wait_until(so_many_queued, (void *)1, mproc_after_ms(5000)));
	assert_int_equal(t_reap(t_spawn(lock_and_die, shared)), SIGKILL);
	assert_int_equal(t_reap(pid), 0);
}

static void *wait_deep(void *arg)
{
	mproc__identity_act(arg);
	for (int i = 0; i < 3; i++)
		t_check(mproc_rmutex_lock(&shared->rmutex, MPROC_FOREVER) == 0);
	t_check(mproc_condition_wait(&shared->condition, &shared->rmutex, MPROC_FOREVER) == 0);
	t_check(mproc_rmutex_depth(&shared->rmutex) == 3);
	for (int i = 0; i < 3; i++)
		t_check(mproc_rmutex_unlock(&shared->rmutex) == 0);
	mproc__identity_act(NULL);
	return NULL;
}

static void recursive_mutex_is_given_up_in_full_and_had_again_as_deep(void **state)
{
	struct mproc__identity *who;
	pthread_t thread;

	(void)state;
	assert_int_equal(mproc__identity_new(&who, range.range), 0);
	assert_int_equal(pthread_create(&thread, NULL, wait_deep, who), 0);
	assert_true(t_wait_until(so_many_queued, (void *)1, mproc_after_ms(5000)));
	assert_int_equal(mproc_condition_notify(&shared->condition, 1), -EPERM);
	assert_int_equal(mproc_rmutex_lock(&shared->rmutex, mproc_after_ms(5000)), 0);
	assert_int_equal(mproc_condition_notify(&shared->condition, 1), 1);
	assert_int_equal(mproc_rmutex_unlock(&shared->rmutex), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	mproc__identity_kill(who);
	assert_int_equal(mproc_rmutex_is_locked(&shared->rmutex), 0);
}

static int is_seven(void *arg)
{
	(void)arg;
	if (shared->value == 99)
		return -ECANCELED;
	return shared->value == 7;
}

static void wait_for_seven(void *arg)
{
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == 0);
	atomic_store(&shared->ready, 1);
	t_check(mproc_condition_wait_for(&shared->condition, &shared->mutex, is_seven, NULL,
					 MPROC_FOREVER) == (int)(intptr_t)arg);
	t_check(mproc_mutex_unlock(&shared->mutex) == 0);
}

static void predicate_decides_when_a_wait_ends(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(mproc_condition_wait_for(&shared->condition, &shared->mutex, is_seven,
						  NULL, MPROC_FOREVER),
			 -EPERM);
	lock();
	assert_int_equal(mproc_condition_wait_for(&shared->condition, &shared->mutex, is_seven,
						  NULL, MPROC_NOWAIT),
			 -EAGAIN);
	assert_int_equal(mproc_condition_wait_for(&shared->condition, &shared->mutex, is_seven,
						  NULL, mproc_after_ms(10)),
			 -ETIMEDOUT);
	unlock();
	pid = t_spawn(wait_for_seven, NULL);
	assert_true(t_wait_until(is_ready, (void *)1, mproc_after_ms(5000)));
	for (uint64_t i = 1; i <= 7; i++) {
		assert_true(t_wait_until(so_many_queued, (void *)1, mproc_after_ms(5000)));
		lock();
		shared->value = i;
		assert_int_equal(mproc_condition_notify(&shared->condition, 1), 1);
		unlock();
	}
	assert_int_equal(t_reap(pid), 0);
	shared->value = 99;
	pid = t_spawn(wait_for_seven, (void *)(intptr_t)-ECANCELED);
	assert_int_equal(t_reap(pid), 0);
}

static void wait_and_find_it_lost(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == 0);
	t_check(mproc_condition_wait(&shared->condition, &shared->mutex, MPROC_FOREVER) ==
		-ENOTRECOVERABLE);
	t_check(mproc_mutex_unlock(&shared->mutex) == -EPERM);
}

static void mutex_that_is_lost_meanwhile_is_told(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(mproc_mutex_init(&shared->mutex, MPROC_MUTEX_STRICT), 0);
	pid = t_spawn(wait_and_find_it_lost, NULL);
	assert_true(t_wait_until(so_many_queued, (void *)1, mproc_after_ms(5000)));
	assert_int_equal(t_reap(t_spawn(lock_and_die, NULL)), SIGKILL);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_condition_notify(&shared->condition, 1), 1);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(n_queued(), 0);
}

static void wait_does_not_lose_an_inherited_strict_mutex(void **state)
{
	mproc_condition before = shared->condition;

	(void)state;
	assert_int_equal(mproc_mutex_init(&shared->mutex, MPROC_MUTEX_STRICT), 0);
	assert_int_equal(t_reap(t_spawn(lock_and_die, NULL)), SIGKILL);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, mproc_after_ms(5000)),
			 MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_condition_wait(&shared->condition, &shared->mutex, MPROC_NOWAIT),
			 -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "mproc_mutex_consistent()"));
	assert_int_equal(mproc_condition_wait_for(&shared->condition, &shared->mutex, is_seven,
						  NULL, MPROC_NOWAIT),
			 -EINVAL);
	assert_memory_equal(&before, &shared->condition, sizeof(before));
	assert_int_equal(mproc_mutex_consistent(&shared->mutex), 0);
	assert_int_equal(mproc_condition_wait(&shared->condition, &shared->mutex, MPROC_NOWAIT),
			 -EAGAIN);
	unlock();
	lock();
	unlock();
}

#define ROUNDS 3000

static uint64_t items, taken; /* under the mutex, and seen by ThreadSanitizer */

static int has_item(void *arg)
{
	(void)arg;
	return items != 0;
}

static void *consume(void *arg)
{
	mproc__identity_act(arg);
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == 0);
	for (int i = 0; i < ROUNDS; i++) {
		t_check(mproc_condition_wait_for(&shared->condition, &shared->mutex, has_item, NULL,
						 MPROC_FOREVER) == 0);
		items--;
		taken++;
	}
	t_check(mproc_mutex_unlock(&shared->mutex) == 0);
	mproc__identity_act(NULL);
	return NULL;
}

static void threads_as_participants_lose_no_notification(void **state)
{
	struct mproc__identity *who[3];
	pthread_t threads[3];

	(void)state;
	items = taken = 0;
	atomic_store(&mproc__quantum_off, true);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(mproc__identity_new(&who[i], range.range), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, consume, who[i]), 0);
	for (int i = 0; i < 3 * ROUNDS; i++) {
		lock();
		items++;
		assert_true(mproc_condition_notify(&shared->condition, 1) >= 0);
		unlock();
	}
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	atomic_store(&mproc__quantum_off, false);
	for (size_t i = 0; i < 3; i++)
		mproc__identity_kill(who[i]);
	assert_int_equal(taken, 3 * ROUNDS);
	assert_int_equal(items, 0);
	assert_int_equal(range.range->reg->heals, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(notify_ends_exactly_so_many_waits_in_order),
		TEST(surplus_is_not_stored),
		TEST(deadline_ends_a_wait_with_the_mutex_held),
		TEST(misuse_is_told_and_changes_nothing),
		TEST(killed_waiters_leave_no_trace),
		TEST(stopped_waiter_is_notified_and_returns_when_it_goes_on),
		TEST(notification_of_the_killed_passes_on_to_the_next),
		TEST(notification_of_the_last_one_killed_is_not_stored),
		TEST(notification_after_the_deadline_is_not_lost),
		TEST(new_condition_knows_nothing_of_the_dead_of_the_old),
		TEST(condition_is_not_made_where_the_living_wait),
		TEST(corrupt_lock_is_told),
		TEST(waiter_is_told_of_an_inherited_mutex),
		TEST(recursive_mutex_is_given_up_in_full_and_had_again_as_deep),
		TEST(predicate_decides_when_a_wait_ends),
		TEST(mutex_that_is_lost_meanwhile_is_told),
		TEST(wait_does_not_lose_an_inherited_strict_mutex),
		TEST(threads_as_participants_lose_no_notification),
	};

	return cmocka_run_group_tests_name("condition", tests, NULL, NULL);
}
