/* SPDX-License-Identifier: MIT */

/*
 * mproc/rwlock.h, seen from outside and from beside the dead
 */

#include <mproc/rwlock.h>

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
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "ipc/participant.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

#define OTHERS (MPROC_RWLOCK_READS_MAX + 2)

struct shared {
	mproc_rwlock rwlock, other[OTHERS], lenient;
	_Atomic(uint64_t) a, b; /* equal whenever nobody writes */
	_Atomic(uint64_t) ready, go, broken;
	uint64_t none[3]; /* no lock */
};

static struct t_range range;
static struct shared *shared;
static struct mproc__identity *second, *third; /* participants beside this one */

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, 16, 32, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	for (size_t i = 0; i < OTHERS; i++)
		assert_int_equal(mproc_rwlock_init(&shared->other[i], 0), 0);
	assert_int_equal(mproc_rwlock_init(&shared->lenient, MPROC_RWLOCK_PREFER_READERS), 0);
	assert_int_equal(mproc__identity_new(&second, range.range), 0);
	assert_int_equal(mproc__identity_new(&third, range.range), 0);
	return mproc_rwlock_init(&shared->rwlock, 0);
}

static int teardown(void **state)
{
	(void)state;
	mproc__identity_kill(second);
	mproc__identity_kill(third);
	t_range_close(&range);
	return 0;
}

/* What @lock says to @who, who tries once. */
static int as(struct mproc__identity *who, int (*lock)(mproc_rwlock *, int64_t), mproc_rwlock *rw)
{
	struct mproc__identity *me = mproc__identity_act(who);
	int r = lock(rw, MPROC_NOWAIT);

	mproc__identity_act(me);
	return r;
}

static int unlock_as(struct mproc__identity *who, mproc_rwlock *rw)
{
	struct mproc__identity *me = mproc__identity_act(who);
	int r = mproc_rwlock_unlock(rw);

	mproc__identity_act(me);
	return r;
}

#define READ  mproc_rwlock_read_lock
#define WRITE mproc_rwlock_write_lock

static void readers_share_it_and_writers_do_not(void **state)
{
	mproc_rwlock *locks[] = { &shared->rwlock, &shared->lenient };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		mproc_rwlock *rw = locks[i];

		assert_int_equal(READ(rw, MPROC_FOREVER), 0);
		assert_int_equal(as(second, READ, rw), 0);
		assert_int_equal(as(third, WRITE, rw), -EAGAIN);
		assert_int_equal(mproc_rwlock_unlock(rw), 0);
		assert_int_equal(as(third, WRITE, rw), -EAGAIN);
		assert_int_equal(unlock_as(second, rw), 0);
		assert_int_equal(as(third, WRITE, rw), 0);
		assert_int_equal(READ(rw, MPROC_NOWAIT), -EAGAIN);
		assert_int_equal(WRITE(rw, MPROC_NOWAIT), -EAGAIN);
		assert_int_equal(unlock_as(third, rw), 0);
		assert_int_equal(READ(rw, MPROC_NOWAIT), 0);
		assert_int_equal(mproc_rwlock_unlock(rw), 0);
	}
}

static void deadlines_are_kept(void **state)
{
	(void)state;
	assert_int_equal(as(second, READ, &shared->rwlock), 0);
	assert_int_equal(WRITE(&shared->rwlock, mproc_after_ms(20)), -ETIMEDOUT);
	assert_int_equal(WRITE(&shared->rwlock, 1), -ETIMEDOUT);
	assert_int_equal(WRITE(&shared->rwlock, -1), -EINVAL);
	/* Who gave up is not in the way. */
	assert_int_equal(as(third, READ, &shared->rwlock), 0);
	assert_int_equal(unlock_as(third, &shared->rwlock), 0);
	assert_int_equal(unlock_as(second, &shared->rwlock), 0);

	assert_int_equal(as(second, WRITE, &shared->rwlock), 0);
	assert_int_equal(READ(&shared->rwlock, mproc_after_ms(20)), -ETIMEDOUT);
	assert_int_equal(WRITE(&shared->rwlock, mproc_after_ms(20)), -ETIMEDOUT);
	assert_int_equal(READ(&shared->rwlock, 1), -ETIMEDOUT);
	assert_int_equal(READ(&shared->rwlock, -1), -EINVAL);
	assert_int_equal(unlock_as(second, &shared->rwlock), 0);
	/* A time that has passed still tries once. */
	assert_int_equal(READ(&shared->rwlock, 1), 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
	assert_int_equal(WRITE(&shared->rwlock, 1), 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
}

static void misuse_is_told_and_changes_nothing(void **state)
{
	mproc_rwlock outside, *none = (void *)shared->none;
	struct shared before;

	(void)state;
	memset(&outside, 0, sizeof(outside));
	memcpy(&before, shared, sizeof(before));
	assert_int_equal(mproc_rwlock_init(&outside, 0), -ENOTCONN);
	assert_int_equal(mproc_rwlock_init(&shared->rwlock, 2), -EINVAL);
	assert_int_equal(mproc_rwlock_init((void *)((char *)none + 4), 0), -EINVAL);
	assert_int_equal(READ(&outside, MPROC_NOWAIT), -ENOTCONN);
	assert_non_null(strstr(mproc_error_text(), "lies in no attached segment"));
	assert_int_equal(WRITE(&outside, MPROC_NOWAIT), -ENOTCONN);
	assert_int_equal(mproc_rwlock_unlock(&outside), -ENOTCONN);
	assert_int_equal(READ(none, MPROC_NOWAIT), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "no rwlock at"));
	assert_int_equal(WRITE(none, MPROC_NOWAIT), -EINVAL);
	assert_int_equal(mproc_rwlock_unlock(none), -EINVAL);
	assert_int_equal(mproc_rwlock_consistent(none), -EINVAL);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), -EPERM);
	assert_non_null(strstr(mproc_error_text(), "nobody writes"));
	assert_int_equal(mproc_rwlock_consistent(&shared->rwlock), -EPERM);
	assert_memory_equal(&before, shared, sizeof(before));

	assert_int_equal(as(second, WRITE, &shared->rwlock), 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), -EPERM);
	assert_non_null(strstr(mproc_error_text(), "writes, not"));
	assert_int_equal(unlock_as(second, &shared->rwlock), 0);
	assert_int_equal(as(second, READ, &shared->rwlock), 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), -EPERM);
	assert_int_equal(unlock_as(second, &shared->rwlock), 0);
	assert_int_equal(WRITE(&shared->rwlock, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rwlock_consistent(&shared->rwlock), -EINVAL);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);

	mproc_rwlock_destroy(&shared->rwlock);
	mproc_rwlock_destroy(NULL);
	assert_int_equal(READ(&shared->rwlock, MPROC_NOWAIT), -EINVAL);
	assert_int_equal(WRITE(&shared->rwlock, MPROC_NOWAIT), -EINVAL);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), -EINVAL);
}

static void thread_that_would_wait_for_itself_is_told(void **state)
{
	(void)state;
	assert_int_equal(READ(&shared->rwlock, MPROC_FOREVER), 0);
	assert_int_equal(WRITE(&shared->rwlock, MPROC_FOREVER), -EDEADLK);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
	assert_int_equal(WRITE(&shared->rwlock, MPROC_FOREVER), 0);
	assert_int_equal(WRITE(&shared->rwlock, MPROC_FOREVER), -EDEADLK);
	assert_int_equal(READ(&shared->rwlock, MPROC_FOREVER), -EDEADLK);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
}

static bool somebody_sleeps(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < range.range->n_threads; i++)
		if (atomic_load(&range.range->threads[i].waits_on))
			return true;
	return false;
}

static void write_once(void *arg)
{
	mproc_rwlock *rw = arg;

	/* Only a wake-up ends its sleep. */
	atomic_store(&mproc__quantum_off, true);
	t_check(WRITE(rw, MPROC_FOREVER) == 0);
	t_check(mproc_rwlock_unlock(rw) == 0);
}

static void reader_gets_it_again_while_a_writer_waits(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(READ(&shared->rwlock, MPROC_NOWAIT), 0);
	pid = t_spawn(write_once, &shared->rwlock);
	assert_true(t_wait_until(somebody_sleeps, NULL, mproc_after_ms(5000)));
	assert_int_equal(READ(&shared->rwlock, MPROC_NOWAIT), 0);
	/* One who does not read yet has to wait for that writer. */
	assert_int_equal(as(second, READ, &shared->rwlock), -EAGAIN);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
	assert_int_equal(as(second, WRITE, &shared->rwlock), -EAGAIN);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), -EPERM);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(range.range->reg->heals, 0);
}

static void readers_come_in_before_a_waiting_writer_if_asked_for(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(READ(&shared->lenient, MPROC_NOWAIT), 0);
	pid = t_spawn(write_once, &shared->lenient);
	assert_true(t_wait_until(somebody_sleeps, NULL, mproc_after_ms(5000)));
	assert_int_equal(as(second, READ, &shared->lenient), 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->lenient), 0);
	assert_int_equal(as(third, READ, &shared->lenient), 0);
	assert_int_equal(unlock_as(second, &shared->lenient), 0);
	assert_int_equal(unlock_as(third, &shared->lenient), 0);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(range.range->reg->heals, 0);
}

static void more_reads_than_there_is_room_for_are_refused(void **state)
{
	struct mproc__self *me = mproc__self(shared, "test");
	int r = 0;

	(void)state;
	for (size_t i = 0; i < MPROC_RWLOCK_READS_MAX; i++)
		assert_int_equal(READ(&shared->other[i], MPROC_NOWAIT), 0);
	assert_int_equal(READ(&shared->rwlock, MPROC_NOWAIT), -ENOLCK);
	assert_non_null(strstr(mproc_error_text(), "8 other rwlocks"));
	/* One more of what it has is no matter, and writing needs no such room. */
	assert_int_equal(READ(&shared->other[3], MPROC_NOWAIT), 0);
	assert_int_equal(WRITE(&shared->rwlock, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
	/* Any of them may go first. */
	assert_int_equal(mproc_rwlock_unlock(&shared->other[3]), 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->other[3]), 0);
	assert_int_equal(READ(&shared->rwlock, MPROC_NOWAIT), 0);
	assert_int_equal(as(second, WRITE, &shared->other[3]), 0);
	assert_int_equal(as(second, WRITE, &shared->rwlock), -EAGAIN);
	for (size_t i = 0; i < MPROC_RWLOCK_READS_MAX; i++) {
		assert_int_equal(mproc_rwlock_unlock(&shared->other[i]), i == 3 ? -EPERM : 0);
		assert_int_equal(as(second, WRITE, &shared->other[i]), i == 3 ? -EDEADLK : 0);
	}
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
	assert_int_equal(me->reads_used, 0);

	for (uint32_t i = 0; i <= UINT16_MAX; i++)
		assert_int_equal(READ(&shared->rwlock, MPROC_NOWAIT), 0);
	assert_int_equal(READ(&shared->rwlock, MPROC_NOWAIT), -ENOLCK);
	assert_non_null(strstr(mproc_error_text(), "65536 times"));
	for (uint32_t i = 0; i <= UINT16_MAX; i++)
		r |= mproc_rwlock_unlock(&shared->rwlock);
	assert_int_equal(r, 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), -EPERM);
}

static void read_and_die(void *arg)
{
	t_check(READ(arg, MPROC_FOREVER) >= 0);
	t_check(READ(arg, MPROC_FOREVER) >= 0);
	raise(SIGKILL);
}

static void write_and_die(void *arg)
{
	t_check(WRITE(arg, MPROC_FOREVER) >= 0);
	raise(SIGKILL);
}

static void dead_reader_is_no_reader(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(read_and_die, &shared->rwlock)), SIGKILL);
	/* Nobody has cleared his entry away. */
	assert_int_equal(WRITE(&shared->rwlock, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
	assert_int_equal(t_reap(t_spawn(read_and_die, &shared->lenient)), SIGKILL);
	assert_int_equal(WRITE(&shared->lenient, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->lenient), 0);
	assert_null(t_range_fault(&range, 3, mproc_after_ms(5000)));
}

static void dead_writer_is_told_to_all_until_somebody_says_consistent(void **state)
{
	mproc_rwlock *locks[] = { &shared->rwlock, &shared->lenient };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		mproc_rwlock *rw = locks[i];

		assert_int_equal(t_reap(t_spawn(write_and_die, rw)), SIGKILL);
		/* A reader is the first to find him. */
		assert_int_equal(READ(rw, MPROC_NOWAIT), MPROC_RWLOCK_INHERITED);
		assert_int_equal(READ(rw, MPROC_NOWAIT), MPROC_RWLOCK_INHERITED);
		assert_int_equal(as(second, READ, rw), MPROC_RWLOCK_INHERITED);
		assert_int_equal(mproc_rwlock_consistent(rw), -EPERM);
		assert_int_equal(unlock_as(second, rw), 0);
		assert_int_equal(mproc_rwlock_unlock(rw), 0);
		assert_int_equal(mproc_rwlock_unlock(rw), 0);
		assert_int_equal(WRITE(rw, MPROC_NOWAIT), MPROC_RWLOCK_INHERITED);
		assert_int_equal(mproc_rwlock_unlock(rw), 0);
		assert_int_equal(READ(rw, MPROC_NOWAIT), MPROC_RWLOCK_INHERITED);
		assert_int_equal(mproc_rwlock_unlock(rw), 0);

		/* Or a writer. */
		assert_int_equal(t_reap(t_spawn(write_and_die, rw)), SIGKILL);
		assert_int_equal(WRITE(rw, MPROC_NOWAIT), MPROC_RWLOCK_INHERITED);
		assert_int_equal(mproc_rwlock_consistent(rw), 0);
		assert_int_equal(mproc_rwlock_consistent(rw), -EINVAL);
		assert_int_equal(mproc_rwlock_unlock(rw), 0);
		assert_int_equal(READ(rw, MPROC_NOWAIT), 0);
		assert_int_equal(mproc_rwlock_unlock(rw), 0);
		assert_int_equal(WRITE(rw, MPROC_NOWAIT), 0);
		assert_int_equal(mproc_rwlock_unlock(rw), 0);
	}
}

/* It has claimed the lock, and has changed nothing. */
static void writer_that_died_waiting_is_not_told(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(READ(&shared->rwlock, MPROC_NOWAIT), 0);
	pid = t_spawn(write_once, &shared->rwlock);
	assert_true(t_wait_until(somebody_sleeps, NULL, mproc_after_ms(5000)));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_int_equal(as(second, READ, &shared->rwlock), 0);
	assert_int_equal(unlock_as(second, &shared->rwlock), 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
	assert_int_equal(WRITE(&shared->rwlock, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);

	/* Nor does its death hide that of one before it. */
	assert_int_equal(t_reap(t_spawn(write_and_die, &shared->rwlock)), SIGKILL);
	assert_int_equal(READ(&shared->rwlock, MPROC_NOWAIT), MPROC_RWLOCK_INHERITED);
	pid = t_spawn(write_once, &shared->rwlock);
	assert_true(t_wait_until(somebody_sleeps, NULL, mproc_after_ms(5000)));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
	assert_int_equal(WRITE(&shared->rwlock, MPROC_NOWAIT), MPROC_RWLOCK_INHERITED);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
}

static void read_and_stay(void *arg)
{
	t_check(READ(arg, MPROC_FOREVER) == 0);
	atomic_store(&shared->ready, 1);
	for (;;)
		pause();
}

static void write_and_stay(void *arg)
{
	t_check(WRITE(arg, MPROC_FOREVER) == 0);
	atomic_store(&shared->ready, 1);
	for (;;)
		pause();
}

static bool is_ready(void *arg)
{
	(void)arg;
	return atomic_load(&shared->ready) == 1;
}

static void stopped_reader_is_waited_for_and_a_killed_one_is_not(void **state)
{
	pid_t pid = t_spawn(read_and_stay, &shared->rwlock);

	(void)state;
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(5000)));
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(WRITE(&shared->rwlock, mproc_after_ms(200)), -ETIMEDOUT);
	assert_int_equal(kill(pid, SIGKILL), 0);
	/* Killed, perhaps not yet gone. */
	assert_int_equal(WRITE(&shared->rwlock, mproc_after_ms(5000)), 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_int_equal(range.range->reg->heals, 0);
}

static void stopped_writer_is_waited_for_and_a_killed_one_is_not(void **state)
{
	pid_t pid = t_spawn(write_and_stay, &shared->rwlock);

	(void)state;
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(5000)));
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(READ(&shared->rwlock, mproc_after_ms(200)), -ETIMEDOUT);
	assert_int_equal(WRITE(&shared->rwlock, mproc_after_ms(200)), -ETIMEDOUT);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(READ(&shared->rwlock, mproc_after_ms(5000)), MPROC_RWLOCK_INHERITED);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_int_equal(range.range->reg->heals, 0);
}

static void *read_and_end(void *arg)
{
	return (void *)(intptr_t)READ(arg, MPROC_FOREVER);
}

static void *write_and_end(void *arg)
{
	return (void *)(intptr_t)WRITE(arg, MPROC_FOREVER);
}

static void ended_thread_holds_nothing(void **state)
{
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, read_and_end, &shared->rwlock), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(WRITE(&shared->rwlock, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
	assert_int_equal(pthread_create(&thread, NULL, write_and_end, &shared->rwlock), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(READ(&shared->rwlock, MPROC_NOWAIT), MPROC_RWLOCK_INHERITED);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
}

static void child_holds_nothing(void *arg)
{
	(void)arg;
	t_check(mproc_rwlock_unlock(&shared->rwlock) == -EPERM);
	t_check(WRITE(&shared->rwlock, MPROC_NOWAIT) == -EAGAIN);
	t_check(READ(&shared->rwlock, MPROC_NOWAIT) == 0);
	t_check(mproc_rwlock_unlock(&shared->rwlock) == 0);
	t_check(mproc_rwlock_unlock(&shared->rwlock) == -EPERM);
}

static void forked_child_does_not_read_under_what_its_parent_locked(void **state)
{
	(void)state;
	assert_int_equal(READ(&shared->rwlock, MPROC_NOWAIT), 0);
	assert_int_equal(t_reap(t_spawn(child_holds_nothing, NULL)), 0);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
}

static void read_when_told(void *arg)
{
	atomic_store(&mproc__quantum_off, true);
	t_check(READ(arg, MPROC_FOREVER) == 0);
	atomic_fetch_add(&shared->ready, 1);
	t_check(mproc_rwlock_unlock(arg) == 0);
}

static bool three_sleep(void *arg)
{
	unsigned n = 0;

	(void)arg;
	for (uint32_t i = 0; i < range.range->n_threads; i++)
		n += atomic_load(&range.range->threads[i].waits_on) != 0;
	return n == 3;
}

static void writer_that_goes_wakes_readers_and_a_writer(void **state)
{
	pid_t pids[3];

	(void)state;
	assert_int_equal(WRITE(&shared->rwlock, MPROC_NOWAIT), 0);
	pids[0] = t_spawn(read_when_told, &shared->rwlock);
	pids[1] = t_spawn(read_when_told, &shared->rwlock);
	pids[2] = t_spawn(write_once, &shared->rwlock);
	assert_true(t_wait_until(three_sleep, NULL, mproc_after_ms(5000)));
	usleep(20000);
	assert_int_equal(mproc_rwlock_unlock(&shared->rwlock), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(range.range->reg->heals, 0);
}

/* As above, but the writer gives up, while it waits for a reader. */
static void writer_that_gives_up_lets_the_others_in(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(as(second, READ, &shared->rwlock), 0);
	pid = t_spawn(read_when_told, &shared->rwlock);
	assert_int_equal(WRITE(&shared->rwlock, mproc_after_ms(100)), -ETIMEDOUT);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(shared->ready, 1);
	assert_int_equal(unlock_as(second, &shared->rwlock), 0);
}

static void *wait_and_see(void *arg)
{
	struct mproc__identity *before = mproc__identity_act(second);
	intptr_t r = WRITE(arg, mproc_after_ms(10000));

	mproc__identity_act(before);
	return (void *)r;
}

/* A record is claimed again, by one who reads something else, while a writer waits. */
static void record_of_a_dead_reader_is_nobodys_once_it_is_another_ones(void **state)
{
	pid_t pid = t_spawn(read_and_stay, &shared->rwlock);
	pthread_t thread;
	void *r;

	(void)state;
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(5000)));
	assert_int_equal(pthread_create(&thread, NULL, wait_and_see, &shared->rwlock), 0);
	assert_true(t_wait_until(somebody_sleeps, NULL, mproc_after_ms(5000)));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_null(t_range_fault(&range, 3, mproc_after_ms(5000)));
	assert_int_equal(t_reap(t_spawn(read_and_die, &shared->other[0])), SIGKILL);
	assert_int_equal(pthread_join(thread, &r), 0);
	assert_int_equal((intptr_t)r, 0);
	assert_int_equal(as(second, READ, &shared->rwlock), -EDEADLK);
	assert_int_equal(unlock_as(second, &shared->rwlock), 0);
}

#define ROUNDS 4000

static void count_and_look(void *arg)
{
	mproc_rwlock *rw = arg;

	for (int i = 0; i < ROUNDS; i++) {
		t_check(WRITE(rw, MPROC_FOREVER) == 0);
		atomic_store(&shared->a, atomic_load(&shared->a) + 1);
		atomic_store(&shared->b, atomic_load(&shared->b) + 1);
		t_check(mproc_rwlock_unlock(rw) == 0);
		for (int k = 0; k < 8; k++) {
			t_check(READ(rw, MPROC_FOREVER) == 0);
			if (atomic_load(&shared->a) != atomic_load(&shared->b))
				atomic_store(&shared->broken, 1);
			t_check(mproc_rwlock_unlock(rw) == 0);
		}
	}
}

static void run_four(mproc_rwlock *rw)
{
	pid_t pids[4];

	for (size_t i = 0; i < 4; i++)
		pids[i] = t_spawn(count_and_look, rw);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(shared->a, 4 * ROUNDS);
	assert_int_equal(shared->broken, 0);
	assert_int_equal(range.range->reg->heals, 0);
	assert_int_equal(range.range->reg->takeovers, 0);
}

static void readers_see_what_writers_left(void **state)
{
	(void)state;
	run_four(&shared->rwlock);
}

static void readers_that_go_first_see_what_writers_left(void **state)
{
	(void)state;
	run_four(&shared->lenient);
}

static void readers_that_fence_see_what_writers_left(void **state)
{
	(void)state;
	atomic_store(&range.range->reg->fence, 1);
	run_four(&shared->rwlock);
}

static void forbid_membarrier(void)
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

	t_check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	t_check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

static void count_without_membarrier(void *arg)
{
	t_check(mproc__self(shared, "test"));
	forbid_membarrier();
	/* Locking is no cancellation point, least of all where it has to wait for readers' fences.
	 */
	t_check(pthread_cancel(pthread_self()) == 0);
	t_check(WRITE(arg, MPROC_FOREVER) == 0);
	t_check(mproc_rwlock_unlock(arg) == 0);
	t_check(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL) == 0);
	count_and_look(arg);
}

/* One of four cannot make the others fence: from its first lock on they do so themselves. */
static void writer_without_membarrier_excludes_readers_all_the_same(void **state)
{
	pid_t pids[4];

	(void)state;
	assert_int_equal(range.range->reg->fence, 0);
	for (size_t i = 0; i < 4; i++)
		pids[i] = t_spawn(i ? count_and_look : count_without_membarrier, &shared->rwlock);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(range.range->reg->fence, 1);
	assert_int_equal(shared->a, 4 * ROUNDS);
	assert_int_equal(shared->broken, 0);
}

static void *thread_counts(void *arg)
{
	count_and_look(arg);
	return NULL;
}

static void threads_exclude_each_other(void **state)
{
	pthread_t threads[3];

	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, thread_counts, &shared->rwlock),
				 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(shared->a, 3 * ROUNDS);
	assert_int_equal(shared->broken, 0);
}

static void record_of_an_impossible_process_reads_nothing(void **state)
{
	mproc_rwlock *locks[] = { &shared->rwlock, &shared->lenient };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		_Atomic(uint64_t) *own = NULL;
		uint64_t was;

		assert_int_equal(as(second, READ, locks[i]), 0);
		for (uint32_t k = 0; k < range.range->n_threads; k++)
			if (atomic_load(&range.range->threads[k].reads[0]))
				own = &range.range->threads[k].own;
		assert_non_null(own);
		was = atomic_fetch_or(own, UINT64_C(0x3fff) << 4);
		assert_int_equal(WRITE(locks[i], mproc_after_ms(2000)), 0);
		assert_int_equal(mproc_rwlock_unlock(locks[i]), 0);
		atomic_store(own, was);
		assert_int_equal(WRITE(locks[i], MPROC_NOWAIT), -EAGAIN);
		assert_int_equal(unlock_as(second, locks[i]), 0);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(readers_share_it_and_writers_do_not),
		TEST(deadlines_are_kept),
		TEST(misuse_is_told_and_changes_nothing),
		TEST(thread_that_would_wait_for_itself_is_told),
		TEST(reader_gets_it_again_while_a_writer_waits),
		TEST(readers_come_in_before_a_waiting_writer_if_asked_for),
		TEST(more_reads_than_there_is_room_for_are_refused),
		TEST(dead_reader_is_no_reader),
		TEST(dead_writer_is_told_to_all_until_somebody_says_consistent),
		TEST(writer_that_died_waiting_is_not_told),
		TEST(stopped_reader_is_waited_for_and_a_killed_one_is_not),
		TEST(stopped_writer_is_waited_for_and_a_killed_one_is_not),
		TEST(ended_thread_holds_nothing),
		TEST(forked_child_does_not_read_under_what_its_parent_locked),
		TEST(writer_that_goes_wakes_readers_and_a_writer),
		TEST(writer_that_gives_up_lets_the_others_in),
		TEST(record_of_a_dead_reader_is_nobodys_once_it_is_another_ones),
		TEST(readers_see_what_writers_left),
		TEST(readers_that_go_first_see_what_writers_left),
		TEST(readers_that_fence_see_what_writers_left),
		TEST(writer_without_membarrier_excludes_readers_all_the_same),
		TEST(threads_exclude_each_other),
		TEST(record_of_an_impossible_process_reads_nothing),
	};

	return cmocka_run_group_tests_name("rwlock", tests, NULL, NULL);
}
