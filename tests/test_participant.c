/* SPDX-License-Identifier: MIT */

/*
 * Who lives and who is dead: registration, proof of death, reaping
 */

#include "ipc/participant.h"

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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/mutex.h>

#include "ipc/lock.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

#define PROCS   6
#define THREADS 12

struct shared {
	mproc_mutex mutex;
	_Atomic(uint64_t) word;
	_Atomic(uint64_t) ready;
	_Atomic(uint64_t) words[64];
};

static struct t_range range;
static struct shared *shared;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, PROCS, THREADS, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	return mproc_mutex_init(&shared->mutex, 0);
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

static bool is_ready(void *arg)
{
	return atomic_load(&shared->ready) == (uint64_t)(uintptr_t)arg;
}

static uint32_t count_procs(uint32_t state)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < PROCS; i++)
		n += mproc__proc_state(atomic_load(&range.range->procs[i].st)) == state;
	return n;
}

static uint32_t count_threads(uint32_t state)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < THREADS; i++)
		n += mproc__own_state(atomic_load(&range.range->threads[i].own)) == state;
	return n;
}

/* Publish who we are, and wait to be killed. */
static void show_word(void *arg)
{
	struct mproc__self *me = mproc__self(shared, "test");

	(void)arg;
	t_check(me);
	atomic_store(&shared->word, me->word);
	atomic_fetch_add(&shared->ready, 1);
	for (;;)
		pause();
}

static pid_t spawn_living(void)
{
	uint64_t n = atomic_load(&shared->ready) + 1;
	pid_t pid = t_spawn(show_word, NULL);

	assert_true(t_wait_until(is_ready, (void *)(uintptr_t)n, mproc_after_ms(5000)));
	return pid;
}

static void death_is_proven_by_the_kernel_alone(void **state)
{
	pid_t pid = spawn_living();
	uint64_t word = atomic_load(&shared->word);

	(void)state;
	assert_false(mproc__dead(range.range, word));
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_false(mproc__dead(range.range, word));
	assert_int_equal(kill(pid, SIGKILL), 0);
	/* A zombie that nobody has waited for is dead all the same. */
	assert_int_equal(waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT), 0);
	assert_true(mproc__dead(range.range, word));
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_int_equal(mproc__reap_all(range.range), 1);
	assert_true(mproc__dead(range.range, word));
	/* The slot is used again, under another generation. */
	pid = spawn_living();
	assert_true(mproc__dead(range.range, word));
	assert_false(mproc__dead(range.range, atomic_load(&shared->word)));
	kill(pid, SIGKILL);
	assert_int_equal(t_reap(pid), SIGKILL);
}

static void have_a_child_and_wait(void *arg)
{
	pid_t pid = fork();

	if (pid == 0) {
		/* It never makes a call, and outlives its parent. */
		atomic_store(&shared->words[0], (uint64_t)getpid());
		for (;;)
			pause();
	}
	show_word(arg);
}

static void attach_fork_and_wait(void *arg)
{
	t_check(mproc__self(shared, "test"));
	have_a_child_and_wait(arg);
}

static void living_child_does_not_hide_its_parents_death(void **state)
{
	pid_t pid = t_spawn(attach_fork_and_wait, NULL);
	uint64_t word;

	(void)state;
	assert_true(t_wait_until(is_ready, (void *)1, mproc_after_ms(5000)));
	while (!atomic_load(&shared->words[0]))
		usleep(1000);
	word = atomic_load(&shared->word);
	kill(pid, SIGKILL);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_true(mproc__dead(range.range, word));
	kill((pid_t)shared->words[0], SIGKILL);
}

static void leave_and_wait(void *arg)
{
	struct mproc__range *r = range.range;

	(void)arg;
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT) == 0);
	mproc__fork_lock();
	mproc__range_remove(r);
	mproc__fork_unlock();
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT) == -ENOTCONN);
	atomic_store(&shared->ready, 1);
	for (;;)
		pause();
}

static void who_leaves_gives_everything_back_at_once(void **state)
{
	pid_t pid = t_spawn(leave_and_wait, NULL);

	(void)state;
	assert_true(t_wait_until(is_ready, (void *)1, mproc_after_ms(5000)));
	/* Its slot is free and unlocked though it lives; its mutex passes on. */
	assert_null(t_range_fault(&range, 1, mproc_after_ms(0)));
	assert_int_equal(range.range->reg->deaths, 0);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	kill(pid, SIGKILL);
	assert_int_equal(t_reap(pid), SIGKILL);
}

static void impossible_owner_words_name_the_dead(void **state)
{
	(void)state;
	assert_true(mproc__dead(range.range, mproc__owner_word(THREADS, 1)));
	assert_true(mproc__dead(range.range, mproc__owner_word(16383, 77)));
	assert_true(mproc__dead(range.range, mproc__owner_word(0, 123456)));
}

/* The number of a descriptor that was closed under us says "free" of the living. */
static void recycled_descriptor_is_not_believed(void **state)
{
	pid_t pid = spawn_living();
	uint64_t word = atomic_load(&shared->word);
	int fd = range.range->fd, log, spare = dup(fd);

	(void)state;
	assert_true(spare >= 0);
	close(fd);
	log = memfd_create("log", 0);
	if (log != fd) {
		assert_int_equal(dup2(log, fd), fd);
		close(log);
	}
	assert_false(mproc__dead(range.range, word));
	/* The sibling's descriptor served to get one of our own again. */
	assert_int_not_equal(range.range->fd, fd);
	kill(pid, SIGKILL);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_true(mproc__dead(range.range, word));
	/* The log file is not ours to close. */
	assert_true(fcntl(fd, F_GETFD) >= 0);
	close(fd);
	close(spare);
}

static void without_any_descriptor_the_answer_is_alive(void *arg)
{
	uint64_t word = atomic_load(&shared->word);

	(void)arg;
	t_check(mproc__self(shared, "test"));
	kill((pid_t)(intptr_t)arg, SIGKILL);
	t_check(syscall(SYS_close_range, 3, ~0U, 0) == 0);
	/* Our sibling, the parent, still has one; without any: see below. */
	(void)mproc__dead(range.range, word);
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT) == 0);
	t_check(mproc_mutex_unlock(&shared->mutex) == 0);
}

static void closefrom_disturbs_nobody(void **state)
{
	pid_t pid = spawn_living();

	(void)state;
	assert_int_equal(
		t_reap(t_spawn(without_any_descriptor_the_answer_is_alive, (void *)(intptr_t)pid)),
		0);
	assert_int_equal(t_reap(pid), SIGKILL);
}

static void killed_processes_leave_no_slots_taken(void **state)
{
	(void)state;
	for (int round = 0; round < 5; round++) {
		pid_t pids[PROCS - 1];

		atomic_store(&shared->ready, 0);
		/* Each round fills the table, which the dead of the last one still clutter. */
		for (int i = 0; i < PROCS - 1; i++)
			pids[i] = spawn_living();
		for (int i = 0; i < PROCS - 1; i++)
			kill(pids[i], SIGKILL);
		for (int i = 0; i < PROCS - 1; i++)
			assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
	assert_int_equal(mproc__reap_all(range.range), PROCS - 1);
	assert_int_equal(count_procs(MPROC__PROC_FREE), PROCS - 1);
	assert_int_equal(count_threads(MPROC__THREAD_LIVE), 1);
	assert_int_equal(count_threads(MPROC__THREAD_DYING), 0);
}

static void attach_and_fail(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT) == -EUSERS);
	t_check(strstr(mproc_error_text(), "all 6 process slots"));
}

static void full_table_is_an_error_with_its_number(void **state)
{
	pid_t pids[PROCS - 1];

	(void)state;
	for (int i = 0; i < PROCS - 1; i++)
		pids[i] = spawn_living();
	assert_int_equal(t_reap(t_spawn(attach_and_fail, NULL)), 0);
	for (int i = 0; i < PROCS - 1; i++) {
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
}

static void *use_and_end(void *arg)
{
	intptr_t r = mproc_mutex_lock(&shared->mutex, MPROC_FOREVER);

	(void)arg;
	if (r == 0)
		r = mproc_mutex_unlock(&shared->mutex);
	return (void *)r;
}

static void ended_threads_give_their_records_back(void **state)
{
	(void)state;
	for (int i = 0; i < 10 * THREADS; i++) {
		pthread_t thread;
		void *r;

		assert_int_equal(pthread_create(&thread, NULL, use_and_end, NULL), 0);
		assert_int_equal(pthread_join(thread, &r), 0);
		assert_null(r);
	}
	assert_true(count_threads(MPROC__THREAD_LIVE) <= 1);
}

static void *fork_all_the_time(void *arg)
{
	for (int i = 0; i < 60; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(mproc_mutex_lock(&shared->mutex, mproc_after_ms(20000)) < 0);
		if (t_reap(pid) != 0)
			atomic_fetch_add((_Atomic(uint64_t) *)arg, 1);
	}
	return NULL;
}

/* A private description copied into a child would keep the dead alive. */
static void fork_in_one_thread_while_others_attach(void **state)
{
	_Atomic(uint64_t) failed = 0;
	pthread_t forker;

	(void)state;
	assert_int_equal(pthread_create(&forker, NULL, fork_all_the_time, &failed), 0);
	for (int i = 0; i < 300; i++) {
		struct mproc__identity *other;

		if (mproc__identity_new(&other, range.range) == 0)
			mproc__identity_kill(other);
	}
	assert_int_equal(pthread_join(forker, NULL), 0);
	assert_int_equal(failed, 0);
	mproc__reap_all(range.range);
	assert_int_equal(count_procs(MPROC__PROC_FREE), PROCS - 1);
}

static void fork_and_show_text(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_init(&shared->mutex, 77) == -EINVAL);
	/* No slot is free for the child, which is no error of this process. */
	t_check(t_reap(t_spawn(attach_and_fail, NULL)) == 0);
	t_check(strstr(mproc_error_text(), "unknown flags"));
}

static void fork_leaves_the_error_text_alone(void **state)
{
	pid_t pids[PROCS - 1];

	(void)state;
	range.range->named = true;
	for (int i = 0; i < PROCS - 1; i++)
		pids[i] = spawn_living();
	fork_and_show_text(NULL);
	for (int i = 0; i < PROCS - 1; i++) {
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
}

static void *cancel_self_and_attach(void *arg)
{
	pthread_cancel(pthread_self());
	if (mproc_mutex_lock(&shared->mutex, MPROC_FOREVER) == 0 &&
	    mproc_mutex_unlock(&shared->mutex) == 0)
		atomic_store((_Atomic(uint64_t) *)arg, 1);
	pthread_testcancel();
	return NULL;
}

static void attach_and_cancel(void *arg)
{
	_Atomic(uint64_t) done = 0;
	pthread_t thread;
	void *r;

	(void)arg;
	t_check(pthread_create(&thread, NULL, cancel_self_and_attach, &done) == 0);
	t_check(pthread_join(thread, &r) == 0);
	t_check(r == PTHREAD_CANCELED && done == 1);
	/* It has not taken the fork lock with it. */
	t_check(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT) == 0);
}

/* The child's first call opens, locks, maps and closes. */
static void attaching_is_no_cancellation_point(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(attach_and_cancel, NULL)), 0);
}

static void attach_and_fork(void *arg)
{
	int cancel;

	(void)arg;
	t_check(mproc__self(shared, "test"));
	t_check(t_reap(t_spawn(attach_and_cancel, NULL)) == 0);
	t_check(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &cancel) == 0);
	t_check(cancel == PTHREAD_CANCEL_ENABLE);
}

static void fork_leaves_cancellation_enabled(void **state)
{
	(void)state;
	range.range->named = true;
	assert_int_equal(t_reap(t_spawn(attach_and_fork, NULL)), 0);
}

static void act_in_raw_child(void *arg)
{
	uint64_t parent = atomic_load(&shared->word);
	struct mproc__self *me = mproc__self(shared, "test");

	(void)arg;
	t_check(me && me->word != parent);
	t_check(!mproc__dead(range.range, parent));
}

static void child_made_without_handlers_is_somebody_else(void **state)
{
	struct mproc__self *me = mproc__self(shared, "test");
	pid_t pid;
	int status;

	(void)state;
	atomic_store(&shared->word, me->word);
	/* As _Fork(3) and raw clone(2): no handler of ours runs. */
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0) {
		act_in_raw_child(NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void killed_participant_of_this_process_is_dead(void **state)
{
	struct mproc__identity *other, *me;

	(void)state;
	assert_int_equal(mproc__identity_new(&other, range.range), 0);
	me = mproc__identity_act(other);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), 0);
	mproc__identity_act(me);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), -EAGAIN);
	mproc__identity_kill(other);
	assert_int_equal(mproc_mutex_lock(&shared->mutex, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_mutex_unlock(&shared->mutex), 0);
}

struct logged {
	struct mproc__lock lock;
	_Atomic(uint64_t) words[3];
	struct mproc__redo redo;
};

static void redo_log_is_replayed_or_refused(void **state)
{
	struct logged *l = (struct logged *)shared->words;

	(void)state;
	static_assert(sizeof(struct logged) <= sizeof(shared->words), "room");
	for (uint32_t i = 0; i < 3; i++)
		mproc__redo_add(&l->redo, i, &l->words[i], 10 + i);
	assert_int_equal(mproc__redo_replay(&l->redo, l, sizeof(*l)), 0);
	assert_int_equal(l->words[0], 0);
	atomic_store(&l->redo.n, 3);
	assert_int_equal(mproc__redo_replay(&l->redo, l, sizeof(*l)), 0);
	assert_int_equal(l->words[0], 10);
	assert_int_equal(l->words[2], 12);
	assert_int_equal(l->redo.n, 0);

	/* Planted logs: outside, misaligned, too long. */
	mproc__redo_add(&l->redo, 0, (_Atomic(uint64_t) *)(l + 1), 1);
	atomic_store(&l->redo.n, 1);
	assert_int_equal(mproc__redo_replay(&l->redo, l, sizeof(*l)), -EBADMSG);
	atomic_store(&l->redo.at[0].off, (int64_t)offsetof(struct logged, words) + 4 -
						 (int64_t)offsetof(struct logged, redo));
	assert_int_equal(mproc__redo_replay(&l->redo, l, sizeof(*l)), -EBADMSG);
	atomic_store(&l->redo.n, MPROC__REDO_MAX + 1);
	assert_int_equal(mproc__redo_replay(&l->redo, l, sizeof(*l)), -EBADMSG);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(death_is_proven_by_the_kernel_alone),
		TEST(living_child_does_not_hide_its_parents_death),
		TEST(who_leaves_gives_everything_back_at_once),
		TEST(impossible_owner_words_name_the_dead),
		TEST(recycled_descriptor_is_not_believed),
		TEST(closefrom_disturbs_nobody),
		TEST(killed_processes_leave_no_slots_taken),
		TEST(full_table_is_an_error_with_its_number),
		TEST(ended_threads_give_their_records_back),
		TEST(fork_in_one_thread_while_others_attach),
		TEST(fork_leaves_the_error_text_alone),
		TEST(attaching_is_no_cancellation_point),
		TEST(fork_leaves_cancellation_enabled),
		TEST(child_made_without_handlers_is_somebody_else),
		TEST(killed_participant_of_this_process_is_dead),
		TEST(redo_log_is_replayed_or_refused),
	};

	return cmocka_run_group_tests_name("participant", tests, NULL, NULL);
}
