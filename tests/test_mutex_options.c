/* SPDX-License-Identifier: MIT */

/*
 * mproc/mutex.h: the options of a mutex
 */

#include <mproc/mutex.h>

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

#include "ipc/kind_layout.h"
#include "ipc/participant.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/mutex_queue.h"
#include "tests/support/range.h"

#define ANY    MPROC_MUTEX_ANY_UNLOCK
#define FAIR   MPROC_MUTEX_FAIR
#define STRICT MPROC_MUTEX_STRICT

struct shared {
	mproc_mutex mutex, other;
	_Atomic(uint64_t) counter, inside, broken, ready;
	_Atomic(uint64_t) n_order, order[8]; /* who came in, one after the other */
	_Atomic(uint64_t) rest;              /* who is inside stays there */
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

static void make(uint32_t flags)
{
	assert_int_equal(mproc_mutex_init(&shared->mutex, flags), 0);
}

static uint64_t word(void)
{
	return atomic_load((_Atomic(uint64_t) *)&shared->mutex);
}

static void lock_and_die(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) >= 0);
	raise(SIGKILL);
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
	shared->order[shared->n_order] = (uintptr_t)arg;
	shared->n_order++;
	while (atomic_load(&shared->rest) == (uintptr_t)arg)
		usleep(1000);
	t_check(mproc_mutex_unlock(&shared->mutex) == 0);
}

/* ANY_UNLOCK */

static void unlock_it(void *arg)
{
	t_check(mproc_mutex_unlock(&shared->mutex) == (int)(intptr_t)arg);
}

static void anybody_may_unlock_what_is_locked(void **state)
{
	struct mproc__self *me;

	(void)state;
	make(ANY);
	me = mproc__self(shared, "test");
	/* More often than there is room for notes: one note is all it leaves. */
	for (int i = 0; i < 20; i++) {
		assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
		assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), -EAGAIN);
		assert_int_equal(mproc_mutex_lock(&shared->mutex, mproc_after_ms(1)), -ETIMEDOUT);
		assert_int_equal(t_reap(t_spawn(unlock_it, (void *)0)), 0);
		assert_int_equal(word(), 0);
		assert_int_equal(me->n_holds, 1);
	}
	assert_int_equal(me->rec->n_lost, 0);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	assert_int_equal(me->n_holds, 0);
	assert_int_equal(me->rec->holds[0], 0);
}

static void unlock_of_a_free_one_is_refused_and_changes_nothing(void **state)
{
	static const uint32_t flags[] = { ANY, ANY | FAIR, ANY | STRICT, FAIR, STRICT };
	mproc_mutex before;

	(void)state;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		make(flags[i]);
		before = shared->mutex;
		assert_int_equal(mproc_mutex_unlock(&shared->mutex), -EPERM);
		assert_non_null(strstr(mproc_error_text(), "nobody owns"));
		assert_memory_equal(&before, &shared->mutex, sizeof(before));
		assert_int_equal(mproc_mutex_consistent(&shared->mutex), -EPERM);
		assert_memory_equal(&before, &shared->mutex, sizeof(before));
	}
}

static void stranger_may_not_unlock_without_the_option(void **state)
{
	static const uint32_t flags[] = { FAIR, STRICT, FAIR | STRICT };

	(void)state;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		make(flags[i]);
		assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
		assert_int_equal(t_reap(t_spawn(unlock_it, (void *)-EPERM)), 0);
		assert_int_equal(mproc_mutex_is_locked(&shared->mutex), 1);
		assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER), -EDEADLK);
		assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	}
	assert_int_equal(mproc_mutex_init(&shared->mutex, 8), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "unknown flags 0x8"));
	mproc_mutex_destroy(&shared->mutex);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), -EINVAL);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), -EINVAL);
	assert_int_equal(mproc_mutex_is_locked(&shared->mutex), -EINVAL);
}

static void unlock_later(void *arg)
{
	(void)arg;
	t_check(t_wait_until(so_many_wait, (void *)1, mproc_after_ms(5000)));
	t_check(mproc_mutex_unlock(&shared->mutex) == 0);
}

/* As Python's Lock: the second lock waits for whoever unlocks it. */
static void owner_that_locks_again_waits_for_another_to_unlock(void **state)
{
	pid_t pid;

	(void)state;
	for (uint32_t flags = ANY; flags <= (ANY | FAIR); flags += FAIR) {
		make(flags);
		assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER), 0);
		pid = t_spawn(unlock_later, NULL);
		assert_int_equal(mproc_mutex_lock(&shared->mutex, mproc_after_ms(5000)), 0);
		assert_int_equal(t_reap(pid), 0);
		assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
		assert_int_equal(word(), 0);
	}
}

static void death_of_the_owner_frees_it_with_every_option(void **state)
{
	(void)state;
	for (uint32_t flags = 0; flags < 8; flags++) {
		make(flags);
		assert_int_equal(t_reap(t_spawn(lock_and_die, NULL)), SIGKILL);
		assert_int_equal(mproc_mutex_is_locked(&shared->mutex), 1);
		assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT),
				 MPROC_MUTEX_INHERITED);
		assert_int_equal(mproc_mutex_consistent(&shared->mutex), 0);
		assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
		assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
		assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	}
}

static void news_of_a_death_outlives_anothers_unlock(void **state)
{
	(void)state;
	make(ANY);
	assert_int_equal(t_reap(t_spawn(lock_and_die, NULL)), SIGKILL);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	assert_int_equal(mproc_mutex_is_locked(&shared->mutex), 0);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_mutex_consistent(&shared->mutex), 0);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
}

static void waits_as_owner(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == 0);
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == 0);
}

/* The owner waits for itself, and that is no deadlock. */
static void wait_for_what_anybody_may_unlock_is_no_deadlock(void **state)
{
	struct mproc__registry *reg = range.range->reg;
	pid_t pids[2];

	(void)state;
	atomic_store(&reg->options, MPROC__OPTION_DEADLOCK);
	make(ANY);
	pids[0] = t_spawn(waits_as_owner, NULL);
	assert_true(t_wait_until(so_many_wait, (void *)1, mproc_after_ms(5000)));
	pids[1] = t_spawn(come_in, (void *)1);
	assert_true(t_wait_until(so_many_wait, (void *)2, mproc_after_ms(5000)));
	usleep(20000);
	assert_int_equal(t_mutex_n_blocked(&range, &shared->mutex), 2);
	/* One unlock by a third party is all that either of them waits for. */
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(t_reap(pids[i]), 0);
}

/* STRICT */

static void find_it_lost(void *arg)
{
	atomic_store(&mproc__quantum_off, true);
	t_check(mproc_mutex_lock(&shared->mutex, (intptr_t)arg) == -ENOTRECOVERABLE);
}

static void unlock_without_consistent_loses_a_strict_mutex(void **state)
{
	pid_t pids[2];

	(void)state;
	for (uint32_t flags = STRICT; flags <= (STRICT | FAIR); flags += FAIR) {
		make(flags);
		/* Heirs may die as well: the next one is told, and may say consistent. */
		assert_int_equal(t_reap(t_spawn(lock_and_die, NULL)), SIGKILL);
		assert_int_equal(t_reap(t_spawn(lock_and_die, NULL)), SIGKILL);
		assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT),
				 MPROC_MUTEX_INHERITED);
		assert_int_equal(mproc_mutex_consistent(&shared->mutex), 0);
		assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
		assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
		assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);

		assert_int_equal(t_reap(t_spawn(lock_and_die, NULL)), SIGKILL);
		assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT),
				 MPROC_MUTEX_INHERITED);
		for (size_t i = 0; i < 2; i++)
			pids[i] = t_spawn(find_it_lost, (void *)(intptr_t)MPROC_FOREVER);
		assert_true(t_wait_until(so_many_wait, (void *)2, mproc_after_ms(5000)));
		usleep(20000);
		assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
		for (size_t i = 0; i < 2; i++)
			assert_int_equal(t_reap(pids[i]), 0);
		assert_int_equal(t_reap(t_spawn(find_it_lost, NULL)), 0);
		assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER), -ENOTRECOVERABLE);
		assert_non_null(strstr(mproc_error_text(), "is lost"));
		assert_int_equal(mproc_mutex_unlock(&shared->mutex), -EPERM);
		assert_int_equal(mproc_mutex_consistent(&shared->mutex), -EPERM);
		assert_int_equal(mproc_mutex_is_locked(&shared->mutex), 0);
	}
	make(STRICT);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
}

static void inherit_and_stay(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == MPROC_MUTEX_INHERITED);
	atomic_store(&shared->ready, 1);
	pause();
}

/* Nobody can say consistent for what he was never told of. */
static void unlock_of_a_strict_one_by_another_loses_nothing(void **state)
{
	pid_t pid;

	(void)state;
	for (uint32_t flags = ANY | STRICT; flags <= (ANY | STRICT | FAIR); flags += FAIR) {
		make(flags);
		atomic_store(&shared->ready, 0);
		assert_int_equal(t_reap(t_spawn(lock_and_die, NULL)), SIGKILL);
		assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
		pid = t_spawn(inherit_and_stay, NULL);
		assert_true(t_wait_until(is_ready, (void *)1, mproc_after_ms(5000)));
		assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(t_reap(pid), SIGKILL);
		assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT),
				 MPROC_MUTEX_INHERITED);
		assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
		assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), -ENOTRECOVERABLE);
	}
}

/* FAIR */

static void fair_mutex_goes_to_who_came_first(void **state)
{
	pid_t pids[5];

	(void)state;
	make(FAIR);
	for (int round = 0; round < 3; round++) {
		shared->n_order = 0;
		assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
		t_queue_up(come_in, so_many_wait, pids, 5);
		assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
		for (size_t i = 0; i < 5; i++)
			assert_int_equal(t_reap(pids[i]), 0);
		for (size_t i = 0; i < 5; i++)
			assert_int_equal(shared->order[i], i + 1);
	}
	assert_int_equal(word(), 0);
	assert_int_equal(range.range->reg->heals, 0);
	assert_int_equal(range.range->reg->takeovers, 0);
}

static void nobody_overtakes_who_waits_for_a_fair_one(void **state)
{
	pid_t pid;

	(void)state;
	make(FAIR);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
	atomic_store(&shared->rest, 1);
	t_queue_up(come_in, so_many_wait, &pid, 1);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	/* Handed over already, whether the other one has woken up or not. */
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), -EPERM);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, mproc_after_ms(20)), -ETIMEDOUT);
	atomic_store(&shared->rest, 0);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
}

static void wait_in_vain(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_lock(&shared->mutex, mproc_after_ms(100)) == -ETIMEDOUT);
	atomic_store(&shared->ready, 1);
	pause();
}

/* One waiter has died, one has given up and lives, one is the next. */
static void dead_and_timed_out_waiters_are_skipped(void **state)
{
	pid_t dead, late, pid;

	(void)state;
	make(FAIR);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
	dead = t_spawn(come_in, (void *)1);
	assert_true(t_wait_until(so_many_wait, (void *)1, mproc_after_ms(5000)));
	late = t_spawn(wait_in_vain, NULL);
	assert_true(t_wait_until(so_many_wait, (void *)2, mproc_after_ms(5000)));
	pid = t_spawn(come_in, (void *)3);
	assert_true(t_wait_until(is_ready, (void *)1, mproc_after_ms(5000)));
	assert_true(t_wait_until(so_many_wait, (void *)2, mproc_after_ms(5000)));
	assert_int_equal(kill(dead, SIGKILL), 0);
	assert_int_equal(t_reap(dead), SIGKILL);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(shared->n_order, 1);
	assert_int_equal(shared->order[0], 3);
	assert_int_equal(kill(late, SIGKILL), 0);
	assert_int_equal(t_reap(late), SIGKILL);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
}

/* Handed to one that is stopped and then dies: the next one gets it, and is told nothing. */
static void waiter_that_dies_with_a_hand_over_leaves_no_news(void **state)
{
	siginfo_t info = { 0 };
	pid_t pids[2];

	(void)state;
	make(FAIR);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
	t_queue_up(come_in, so_many_wait, pids, 2);
	assert_int_equal(kill(pids[0], SIGSTOP), 0);
	assert_int_equal(waitid(P_PID, (id_t)pids[0], &info, WSTOPPED | WNOWAIT), 0);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	assert_true(word() & MPROC__OWNER_HANDED);
	assert_int_equal(mproc_mutex_is_locked(&shared->mutex), 0);
	usleep(30000); /* more than a quantum: a stopped one is not dead, and keeps its turn */
	assert_int_equal(shared->n_order, 0);
	assert_int_equal(kill(pids[0], SIGKILL), 0);
	assert_int_equal(t_reap(pids[0]), SIGKILL);
	assert_int_equal(t_reap(pids[1]), 0);
	assert_int_equal(shared->n_order, 1);
	assert_int_equal(shared->order[0], 2);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
	assert_int_equal(range.range->reg->takeovers, 0);
}

/* What a hand-over leaves whose author died before he saw that the other had given up. */
static void mutex_kept_for_one_that_does_not_wait_is_free(void **state)
{
	struct mproc__identity *other, *me;
	struct mproc__self *self;

	(void)state;
	make(FAIR);
	assert_int_equal(mproc__identity_new(&other, range.range), 0);
	self = mproc__self(shared, "test");
	me = mproc__identity;
	atomic_store((_Atomic(uint64_t) *)&shared->mutex,
		     self->word | MPROC__OWNER_SHARED | MPROC__OWNER_HANDED);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), -EPERM);
	mproc__identity_act(other);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	assert_int_equal(word(), 0);
	mproc__identity_act(me);
	atomic_store((_Atomic(uint64_t) *)&shared->mutex,
		     self->word | MPROC__OWNER_SHARED | MPROC__OWNER_HANDED);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	mproc__identity_kill(other);
}

static void come_in_unhealed(void *arg)
{
	atomic_store(&mproc__quantum_off, true);
	come_in(arg);
}

/*
 * We have the mutex and wait for the other one. Its owner waits for the mutex, and for a
 * shorter time than we, so it is the one to be refused; a third waits for the mutex too.
 */
static void deadlock_check_hides_nobody_who_queues(void **state)
{
	struct mproc__identity *second, *me;
	struct mproc__thread *rec;
	pid_t pid;

	(void)state;
	atomic_store(&range.range->reg->options, MPROC__OPTION_DEADLOCK);
	make(FAIR);
	assert_int_equal(mproc_mutex_init(&shared->other, FAIR), 0);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
	me = mproc__identity;
	assert_int_equal(mproc__identity_new(&second, range.range), 0);
	mproc__identity_act(second);
	assert_int_equal(mproc_mutex_lock(&shared->other, MPROC_NOWAIT), 0);
	rec = mproc__self(shared, "test")->rec;
	mproc__identity_act(me);
	pid = t_spawn(come_in_unhealed, (void *)1);
	assert_true(t_wait_until(so_many_wait, (void *)1, mproc_after_ms(5000)));
	assert_true(t_wait_until(t_is_asleep, (void *)(intptr_t)pid, mproc_after_ms(5000)));

	atomic_store(&rec->wake, 1); /* the bit: somebody sleeps here */
	atomic_store(&rec->blocked_since, (uint64_t)mproc_after_ms(60000) << 1);
	atomic_store(&rec->blocked_on, t_mutex_what(&range, &shared->mutex));
	assert_int_equal(mproc_mutex_lock(&shared->other, mproc_after_ms(50)), -ETIMEDOUT);
	assert_int_equal(atomic_load(&rec->wake) & 1, 0);
	assert_true(atomic_load(&rec->wake) >> 16);
	atomic_store(&rec->blocked_on, 0);
	atomic_store(&rec->blocked_since, 0);

	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(range.range->reg->heals, 0);
	mproc__identity_kill(second);
}

/* Exclusion */

#define ROUNDS 3000

static void count_under_mutex(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == 0);
		if (atomic_fetch_add(&shared->inside, 1) != 0)
			atomic_store(&shared->broken, 1);
		atomic_store_explicit(&shared->counter,
				      atomic_load_explicit(&shared->counter, memory_order_relaxed) +
					      1,
				      memory_order_relaxed);
		atomic_fetch_sub(&shared->inside, 1);
		t_check(mproc_mutex_unlock(&shared->mutex) == 0);
	}
}

static void processes_exclude_each_other_with_every_option(void **state)
{
	pid_t pids[4];

	(void)state;
	for (uint32_t flags = 1; flags < 8; flags++) {
		make(flags);
		shared->counter = 0;
		for (size_t i = 0; i < 4; i++)
			pids[i] = t_spawn(count_under_mutex, NULL);
		for (size_t i = 0; i < 4; i++)
			assert_int_equal(t_reap(pids[i]), 0);
		assert_int_equal(shared->counter, 4 * ROUNDS);
		assert_int_equal(shared->broken, 0);
		assert_int_equal(word(), 0);
	}
	/*
	 * A sanitizer makes the moment between a change and its wake-up so long that a
	 * quantum may end in it, and then a sleep that was about to be woken is counted.
	 */
	if (!t_sanitized())
		assert_int_equal(range.range->reg->heals, 0);
	assert_int_equal(range.range->reg->takeovers, 0);
}

static uint64_t plain; /* under the mutex, and seen by ThreadSanitizer */

static void *thread_counts(void *arg)
{
	mproc__identity_act(arg);
	for (int i = 0; i < ROUNDS; i++) {
		t_check(mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == 0);
		plain++;
		t_check(mproc_mutex_unlock(&shared->mutex) == 0);
	}
	mproc__identity_act(NULL);
	return NULL;
}

static void threads_as_participants_exclude_each_other(void **state)
{
	static const uint32_t flags[] = { 0, ANY, FAIR, STRICT };
	struct mproc__identity *who[3];
	pthread_t threads[3];

	(void)state;
	for (size_t k = 0; k < sizeof(flags) / sizeof(flags[0]); k++) {
		make(flags[k]);
		plain = 0;
		for (size_t i = 0; i < 3; i++)
			assert_int_equal(mproc__identity_new(&who[i], range.range), 0);
		for (size_t i = 0; i < 3; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, thread_counts, who[i]),
					 0);
		for (size_t i = 0; i < 3; i++)
			assert_int_equal(pthread_join(threads[i], NULL), 0);
		for (size_t i = 0; i < 3; i++)
			mproc__identity_kill(who[i]);
		assert_int_equal(plain, 3 * ROUNDS);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(anybody_may_unlock_what_is_locked),
		TEST(unlock_of_a_free_one_is_refused_and_changes_nothing),
		TEST(stranger_may_not_unlock_without_the_option),
		TEST(owner_that_locks_again_waits_for_another_to_unlock),
		TEST(wait_for_what_anybody_may_unlock_is_no_deadlock),
		TEST(death_of_the_owner_frees_it_with_every_option),
		TEST(news_of_a_death_outlives_anothers_unlock),
		TEST(unlock_without_consistent_loses_a_strict_mutex),
		TEST(unlock_of_a_strict_one_by_another_loses_nothing),
		TEST(fair_mutex_goes_to_who_came_first),
		TEST(nobody_overtakes_who_waits_for_a_fair_one),
		TEST(dead_and_timed_out_waiters_are_skipped),
		TEST(waiter_that_dies_with_a_hand_over_leaves_no_news),
		TEST(mutex_kept_for_one_that_does_not_wait_is_free),
		TEST(deadlock_check_hides_nobody_who_queues),
		TEST(processes_exclude_each_other_with_every_option),
		TEST(threads_as_participants_exclude_each_other),
	};

	return cmocka_run_group_tests_name("mutex options", tests, NULL, NULL);
}
