/* SPDX-License-Identifier: MIT */

/*
 * mproc/semaphore.h, seen from outside and from beside dead holders
 */

#include <mproc/semaphore.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/segment.h>

#include "ipc/participant.h"
#include "ipc/semaphore.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

#define N    3
#define WIDE 1000

struct shared {
	MPROC_SEMAPHORE_WITH(N) permits;
	mproc_semaphore signals;
	MPROC_SEMAPHORE_WITH(N) leases;
	MPROC_SEMAPHORE_WITH(70) many;
	MPROC_SEMAPHORE_WITH(WIDE) wide;
	uint64_t none[16];
	_Atomic(uint64_t) ready, inside, most, through;
};

static struct t_range range;
static struct shared *shared;
static mproc_semaphore *permits, *signals, *leases;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, 16, 32, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	permits = &shared->permits.semaphore;
	signals = &shared->signals;
	leases = &shared->leases.semaphore;
	assert_int_equal(mproc_semaphore_init(permits, MPROC_SEMAPHORE_PERMITS, N, NULL), 0);
	assert_int_equal(mproc_semaphore_init(signals, MPROC_SEMAPHORE_SIGNALS, 0, NULL), 0);
	return mproc_semaphore_init(leases, MPROC_SEMAPHORE_LEASES, 0,
				    MPROC_SEMAPHORE_OPTS(.leases = N, .max = 5));
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

static int acquire_now(mproc_semaphore *semaphore)
{
	return mproc_semaphore_acquire(semaphore, MPROC_NOWAIT);
}

/* What all kinds have in common. */

static void sizes_are_what_the_header_says(void **state)
{
	(void)state;
	assert_int_equal(sizeof(mproc_semaphore), 40);
	assert_int_equal(mproc_semaphore_size(MPROC_SEMAPHORE_SIGNALS, 0), 40);
	assert_int_equal(mproc_semaphore_size(MPROC_SEMAPHORE_PERMITS, 1), 56);
	assert_int_equal(mproc_semaphore_size(MPROC_SEMAPHORE_PERMITS, N), sizeof(shared->permits));
	assert_int_equal(mproc_semaphore_size(MPROC_SEMAPHORE_LEASES, N), sizeof(shared->leases));
	assert_int_equal(mproc_semaphore_size(MPROC_SEMAPHORE_PERMITS, MPROC_SEMAPHORE_CELLS_MAX),
			 40 + 16 * 65535);
	assert_int_equal(mproc_semaphore_size(MPROC_SEMAPHORE_PERMITS, 0), 0);
	assert_int_equal(mproc_semaphore_size(MPROC_SEMAPHORE_PERMITS, 65536), 0);
	assert_int_equal(mproc_semaphore_size(MPROC_SEMAPHORE_SIGNALS, 1), 0);
	assert_int_equal(mproc_semaphore_size(0, 1), 0);
	assert_int_equal(mproc_semaphore_size(4, 1), 0);
}

static void init_refuses_what_cannot_be(void **state)
{
	struct shared was;
	mproc_semaphore outside;
	struct {
		struct mproc_semaphore_opts known;
		uint64_t unknown;
	} future = { .known.size = sizeof(future), .unknown = 1 };
	const uint32_t P = MPROC_SEMAPHORE_PERMITS, S = MPROC_SEMAPHORE_SIGNALS,
		       L = MPROC_SEMAPHORE_LEASES;

	(void)state;
	memcpy(&was, shared, sizeof(was));
	assert_int_equal(mproc_semaphore_init(permits, 0, 1, NULL), -EINVAL);
	assert_int_equal(mproc_semaphore_init(permits, 4, 1, NULL), -EINVAL);
	assert_int_equal(mproc_semaphore_init(permits, P, 0, NULL), -EINVAL);
	assert_int_equal(mproc_semaphore_init(permits, P, 65536, NULL), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "65536 permits, from 1 to 65535"));
	assert_int_equal(mproc_semaphore_init(permits, P, 2, MPROC_SEMAPHORE_OPTS(.max = 3)),
			 -EINVAL);
	assert_int_equal(mproc_semaphore_init(permits, P, 2, MPROC_SEMAPHORE_OPTS(.leases = 1)),
			 -EINVAL);
	assert_int_equal(mproc_semaphore_init(signals, S, 4, MPROC_SEMAPHORE_OPTS(.max = 3)),
			 -EINVAL);
	assert_int_equal(mproc_semaphore_init(signals, S, (uint32_t)MPROC_SEMAPHORE_MAX + 1, NULL),
			 -EINVAL);
	assert_int_equal(mproc_semaphore_init(signals, S, 0, MPROC_SEMAPHORE_OPTS(.leases = 1)),
			 -EINVAL);
	assert_int_equal(mproc_semaphore_init(leases, L, 0, NULL), -EINVAL);
	assert_int_equal(mproc_semaphore_init(leases, L, 0, MPROC_SEMAPHORE_OPTS(.leases = 65536)),
			 -EINVAL);
	assert_int_equal(mproc_semaphore_init(signals, S, 0, (void *)&future), -E2BIG);
	assert_int_equal(mproc_semaphore_init((void *)((char *)signals + 4), S, 0, NULL), -EINVAL);
	assert_int_equal(mproc_semaphore_init(&outside, S, 0, NULL), -ENOTCONN);
	/* Its head is inside, its last cells are not. */
	assert_int_equal(mproc_semaphore_init(permits, P, 65535, NULL), -ENOTCONN);
	assert_memory_equal(&was, shared, sizeof(was));
	assert_int_equal(mproc_semaphore_init(signals, S, MPROC_SEMAPHORE_MAX, NULL), 0);
	assert_int_equal(mproc_semaphore_value(signals), MPROC_SEMAPHORE_MAX);
	assert_int_equal(mproc_semaphore_release(signals, 1), -ERANGE);
}

static void refuses_everything(mproc_semaphore *semaphore, int code)
{
	struct mproc_semaphore_holder holder;

	assert_int_equal(acquire_now(semaphore), code);
	assert_int_equal(mproc_semaphore_acquire(semaphore, MPROC_FOREVER), code);
	assert_int_equal(mproc_semaphore_ack(semaphore), code);
	assert_int_equal(mproc_semaphore_value(semaphore), code);
	assert_int_equal(mproc_semaphore_holders(semaphore, &holder, 1), code);
}

static void what_is_no_semaphore_is_refused(void **state)
{
	mproc_semaphore *none = (void *)shared->none, outside;
	struct shared was;

	(void)state;
	memset(&outside, 0, sizeof(outside));
	refuses_everything(&outside, -ENOTCONN);
	assert_non_null(strstr(mproc_error_text(), "lies in no attached segment"));
	assert_int_equal(mproc_semaphore_release(&outside, 1), -EINVAL);
	memset(shared->none, 0xa5, sizeof(shared->none));
	memcpy(&was, shared, sizeof(was));
	refuses_everything(none, -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "no semaphore at"));
	assert_int_equal(mproc_semaphore_release(none, 1), -EINVAL);
	assert_int_equal(mproc_semaphore_acquire(permits, -1), -EINVAL);
	assert_int_equal(mproc_semaphore_acquire(signals, -1), -EINVAL);
	assert_int_equal(mproc_semaphore_acquire(leases, -1), -EINVAL);
	assert_int_equal(mproc_semaphore_release(permits, 0), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "0 permits"));
	assert_int_equal(mproc_semaphore_release(signals, 0), -EINVAL);
	assert_int_equal(mproc_semaphore_ack(permits), -EINVAL);
	assert_int_equal(mproc_semaphore_ack(signals), -EINVAL);
	assert_memory_equal(&was, shared, sizeof(was));

	mproc_semaphore_destroy(NULL);
	mproc_semaphore_destroy(permits);
	refuses_everything(permits, -EINVAL);
	assert_int_equal(mproc_semaphore_release(permits, 1), -EINVAL);
}

static void scribbled_numbers_are_told_and_lead_nowhere(void **state)
{
	struct mproc__semaphore *s = (void *)leases;

	(void)state;
	assert_int_equal(mproc_semaphore_release(leases, 1), 0);
	/* A unit on its way to a cell that is not there. */
	atomic_store(&s->taken, 200);
	assert_int_equal(acquire_now(leases), -EBADMSG);
	assert_non_null(strstr(mproc_error_text(), "cell 199, there are 3"));
	atomic_store(&s->taken, 0);
	assert_int_equal(acquire_now(leases), 0);
	/* More cells than the segment has room for. */
	atomic_store(&s->n_cells, 60000);
	refuses_everything(leases, -EBADMSG);
	atomic_store(&s->n_cells, 0);
	refuses_everything(leases, -EBADMSG);
	atomic_store(&((struct mproc__semaphore *)permits)->n_cells, UINT32_MAX);
	refuses_everything(permits, -EBADMSG);
	assert_int_equal(mproc_semaphore_release(permits, 1), -EBADMSG);
	/* An owner that cannot be is dead. */
	atomic_store(&((struct mproc__semaphore *)permits)->n_cells, 1);
	atomic_store(&((struct mproc__semaphore *)permits)->cells[0].owner, UINT64_MAX);
	assert_int_equal(mproc_semaphore_value(permits), 1);
	assert_int_equal(acquire_now(permits), 0);
}

static void cells_behind_the_end_of_memory_are_not_touched(void **state)
{
	const struct mproc_segment_opts *much =
		MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .bytes_max = 1 << 28);
	const uint32_t kinds[] = { MPROC_SEMAPHORE_PERMITS, MPROC_SEMAPHORE_LEASES };
	mproc_segment *segment;
	void *at;

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, NULL, much), 0);
	assert_int_equal(
		mproc_segment_object(&at, segment, "s", sizeof(shared->permits), NULL, NULL), 1);
	for (size_t i = 0; i < 2; i++) {
		/* A MiB of cells: the addresses are reserved, there is no memory. */
		assert_int_equal(
			mproc_semaphore_init(at, kinds[i], MPROC_SEMAPHORE_CELLS_MAX,
					     kinds[i] == MPROC_SEMAPHORE_LEASES
						     ? MPROC_SEMAPHORE_OPTS(.leases = 65535)
						     : NULL),
			-ENOTCONN);
		assert_int_equal(mproc_semaphore_init(at, kinds[i], N,
						      kinds[i] == MPROC_SEMAPHORE_LEASES
							      ? MPROC_SEMAPHORE_OPTS(.leases = N)
							      : NULL),
				 0);
		atomic_store(&((struct mproc__semaphore *)at)->n_cells, MPROC_SEMAPHORE_CELLS_MAX);
		refuses_everything(at, -EBADMSG);
		assert_non_null(strstr(mproc_error_text(), "says it has 65535 cells"));
		if (kinds[i] == MPROC_SEMAPHORE_PERMITS)
			assert_int_equal(mproc_semaphore_release(at, 1), -EBADMSG);
		mproc_semaphore_destroy(at);
	}
	mproc_segment_close(segment);
}

static bool all_sleep(void *arg)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < range.range->n_threads; i++)
		n += atomic_load(&range.range->threads[i].waits_on) != 0;
	return n == (uint64_t)(uintptr_t)arg;
}

static void come_through(void *arg)
{
	/* Only a wake-up ends the sleep. */
	atomic_store(&mproc__quantum_off, true);
	t_check(mproc_semaphore_acquire(arg, MPROC_FOREVER) == 0);
	atomic_fetch_add(&shared->through, 1);
	if (arg == (void *)leases)
		t_check(mproc_semaphore_ack(arg) == 0);
}

static bool are_through(void *arg)
{
	return atomic_load(&shared->through) == (uint64_t)(uintptr_t)arg;
}

/* A release of two wakes two of four; no more come through, and none is forgotten. */
static void release_wakes_as_many(mproc_semaphore *semaphore)
{
	pid_t pids[4];

	for (size_t i = 0; i < 4; i++)
		pids[i] = t_spawn(come_through, semaphore);
	assert_true(t_wait_until(all_sleep, (void *)4, mproc_after_ms(5000)));
	usleep(20000);
	assert_int_equal(mproc_semaphore_release(semaphore, 2), 0);
	assert_true(t_wait_until(are_through, (void *)2, mproc_after_ms(5000)));
	usleep(20000);
	assert_int_equal(shared->through, 2);
	assert_int_equal(mproc_semaphore_release(semaphore, 2), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(mproc_semaphore_value(semaphore), 0);
	assert_int_equal(range.range->reg->heals, 0);
}

static void release_of_two_signals_wakes_two(void **state)
{
	(void)state;
	release_wakes_as_many(signals);
}

static void release_of_two_units_wakes_two(void **state)
{
	(void)state;
	release_wakes_as_many(leases);
}

static void release_of_more_than_sleep_wakes_all_and_keeps_the_rest(void **state)
{
	pid_t pids[3];

	(void)state;
	for (size_t i = 0; i < 3; i++)
		pids[i] = t_spawn(come_through, signals);
	assert_true(t_wait_until(all_sleep, (void *)3, mproc_after_ms(5000)));
	usleep(20000);
	assert_int_equal(mproc_semaphore_release(signals, 20), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(mproc_semaphore_value(signals), 17);
}

/* Permits. */

static void permits_are_as_many_as_at_the_start(void **state)
{
	(void)state;
	assert_int_equal(mproc_semaphore_value(permits), N);
	assert_int_equal(mproc_semaphore_release(permits, 1), -ERANGE);
	assert_non_null(strstr(mproc_error_text(), "none of the 3 permits is held"));
	for (int i = 0; i < N; i++) {
		assert_int_equal(mproc_semaphore_acquire(permits, MPROC_FOREVER), 0);
		assert_int_equal(mproc_semaphore_value(permits), N - i - 1);
	}
	assert_int_equal(acquire_now(permits), -EAGAIN);
	assert_int_equal(mproc_semaphore_acquire(permits, mproc_after_ms(20)), -ETIMEDOUT);
	assert_int_equal(mproc_semaphore_acquire(permits, 1), -ETIMEDOUT);
	assert_int_equal(mproc_semaphore_release(permits, N + 1), -ERANGE);
	assert_int_equal(mproc_semaphore_value(permits), 0);
	assert_int_equal(mproc_semaphore_release(permits, 2), 0);
	assert_int_equal(mproc_semaphore_value(permits), 2);
	assert_int_equal(mproc_semaphore_release(permits, 2), -ERANGE);
	assert_non_null(strstr(mproc_error_text(), "2 permits to give back, 1 of 3 are held"));
	assert_int_equal(mproc_semaphore_value(permits), 2);
	assert_int_equal(mproc_semaphore_release(permits, 1), 0);
	assert_int_equal(mproc_semaphore_release(permits, 1), -ERANGE);
	assert_int_equal(mproc_semaphore_value(permits), N);
	/* A time that has passed still tries once. */
	assert_int_equal(mproc_semaphore_acquire(permits, 1), 0);
}

static void seventy_permits_are_seventy(void **state)
{
	mproc_semaphore *many = &shared->many.semaphore;

	(void)state;
	assert_int_equal(mproc_semaphore_init(many, MPROC_SEMAPHORE_PERMITS, 70, NULL), 0);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 70; i++)
			assert_int_equal(acquire_now(many), 0);
		assert_int_equal(acquire_now(many), -EAGAIN);
		assert_int_equal(mproc_semaphore_holders(many, NULL, 0), 70);
		assert_int_equal(mproc_semaphore_release(many, 23), 0);
		assert_int_equal(mproc_semaphore_value(many), 23);
		assert_int_equal(mproc_semaphore_release(many, 47), 0);
	}
}

static void take_and_die(void *arg)
{
	t_check(acquire_now(arg) == 0);
	t_check(acquire_now(arg) == 0);
	raise(SIGKILL);
}

static void permits_of_the_dead_come_back(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(take_and_die, permits)), SIGKILL);
	assert_int_equal(mproc_semaphore_value(permits), N);
	assert_int_equal(mproc_semaphore_release(permits, 1), -ERANGE);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < N; i++)
			assert_int_equal(acquire_now(permits), 0);
		assert_int_equal(acquire_now(permits), -EAGAIN);
		assert_int_equal(mproc_semaphore_release(permits, N), 0);
		assert_int_equal(t_reap(t_spawn(take_and_die, permits)), SIGKILL);
	}
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
	assert_int_equal(mproc_semaphore_value(permits), N);
}

static void *take_and_end(void *arg)
{
	for (int i = 0; i < N; i++)
		if (acquire_now(arg) < 0)
			return (void *)1;
	return NULL;
}

static void permits_of_an_ended_thread_come_back(void **state)
{
	pthread_t thread;
	void *r;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, take_and_end, permits), 0);
	assert_int_equal(pthread_join(thread, &r), 0);
	assert_null(r);
	assert_int_equal(mproc_semaphore_value(permits), N);
	assert_int_equal(acquire_now(permits), 0);
	assert_int_equal(mproc_semaphore_value(permits), N - 1);
}

static void hold_all(void *arg)
{
	for (int i = 0; i < N; i++)
		t_check(mproc_semaphore_acquire(arg, MPROC_FOREVER) == 0);
	atomic_store(&shared->ready, 1);
	for (;;)
		pause();
}

static bool is_ready(void *arg)
{
	(void)arg;
	return atomic_load(&shared->ready) == 1;
}

static void waiter_is_given_what_dies_while_it_waits(mproc_semaphore *semaphore)
{
	pid_t pid = t_spawn(hold_all, semaphore);
	struct mproc_semaphore_holder holders[2];

	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(5000)));
	assert_int_equal(mproc_semaphore_holders(semaphore, holders, 2), N);
	assert_int_equal(holders[0].pid, pid);
	assert_int_equal(holders[1].tid, pid);
	/* A stopped holder is not dead. */
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(mproc_semaphore_acquire(semaphore, mproc_after_ms(200)), -ETIMEDOUT);
	assert_int_equal(mproc_semaphore_value(semaphore), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(mproc_semaphore_acquire(semaphore, mproc_after_ms(5000)), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_int_equal(mproc_semaphore_value(semaphore), N - 1);
	assert_int_equal(mproc_semaphore_holders(semaphore, holders, 2), 1);
	assert_int_equal(holders[0].pid, getpid());
	assert_int_equal(range.range->reg->heals, 0);
}

static void waiter_is_given_the_permit_of_who_dies_meanwhile(void **state)
{
	(void)state;
	waiter_is_given_what_dies_while_it_waits(permits);
}

static void waiter_is_given_the_lease_of_who_dies_meanwhile(void **state)
{
	(void)state;
	assert_int_equal(mproc_semaphore_release(leases, N), 0);
	waiter_is_given_what_dies_while_it_waits(leases);
}

static void *wait_for_permit(void *arg)
{
	return (void *)(intptr_t)mproc_semaphore_acquire(arg, mproc_after_ms(5000));
}

static void permit_released_by_one_who_holds_none_is_the_longest_held_of_his_process(void **state)
{
	struct mproc__semaphore *s = (void *)permits;
	struct mproc__identity *first, *second, *other, *me;
	uint64_t first_word, second_word, other_word;
	int left[2] = { 0, 0 };

	(void)state;
	/* Another process's is held for longer than both of ours. */
	assert_int_equal(mproc__identity_new(&other, range.range), 0);
	assert_int_equal(mproc__identity_new(&first, range.range), 0);
	me = mproc__identity_act(other);
	assert_int_equal(acquire_now(permits), 0);
	other_word = mproc__self(permits, "test")->word;
	mproc__identity_act(first);
	assert_int_equal(acquire_now(permits), 0);
	assert_int_equal(acquire_now(permits), 0);
	first_word = mproc__self(permits, "test")->word;
	/* Participants of their own are processes of their own: they go in turn. */
	mproc__identity_act(me);
	second = me;
	second_word = mproc__self(permits, "test")->word;
	assert_int_equal(mproc_semaphore_release(permits, 1), 0);
	for (int i = 0; i < N; i++) {
		left[0] += atomic_load(&s->cells[i].owner) == other_word;
		left[1] += atomic_load(&s->cells[i].owner) == first_word;
	}
	assert_int_equal(left[0], 0);
	assert_int_equal(left[1], 2);
	assert_int_equal(mproc_semaphore_value(permits), 1);
	(void)second;
	(void)second_word;
	mproc__identity_kill(other);
	mproc__identity_kill(first);
	assert_int_equal(mproc_semaphore_value(permits), N);
	assert_int_equal(mproc_semaphore_release(permits, 1), -ERANGE);
}

static void hold_one(void *arg)
{
	t_check(mproc_semaphore_acquire(arg, MPROC_FOREVER) == 0);
	atomic_store(&shared->ready, 1);
	for (;;)
		pause();
}

static void *take_one_and_stay(void *arg)
{
	intptr_t r = mproc_semaphore_acquire(arg, MPROC_FOREVER);

	atomic_store(&shared->ready, 2);
	while (atomic_load(&shared->ready) != 3)
		usleep(1000);
	return (void *)r;
}

static bool is_two(void *arg)
{
	(void)arg;
	return atomic_load(&shared->ready) == 2;
}

static void own_process_goes_before_one_who_has_held_for_longer(void **state)
{
	struct mproc_semaphore_holder holder;
	pthread_t thread;
	pid_t pid;

	(void)state;
	pid = t_spawn(hold_one, permits);
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(5000)));
	assert_int_equal(pthread_create(&thread, NULL, take_one_and_stay, permits), 0);
	assert_true(t_wait_until(is_two, NULL, mproc_after_ms(5000)));
	/* We hold none; the thread holds one for less long than the child. */
	assert_int_equal(mproc_semaphore_release(permits, 1), 0);
	assert_int_equal(mproc_semaphore_holders(permits, &holder, 1), 1);
	assert_int_equal(holder.pid, pid);
	/* Then the child's. */
	assert_int_equal(mproc_semaphore_release(permits, 1), 0);
	assert_int_equal(mproc_semaphore_value(permits), N);
	assert_int_equal(mproc_semaphore_release(permits, 1), -ERANGE);
	atomic_store(&shared->ready, 3);
	assert_int_equal(pthread_join(thread, NULL), 0);
	kill(pid, SIGKILL);
	assert_int_equal(t_reap(pid), SIGKILL);
}

static void child_tries_what_its_parent_holds(void *arg)
{
	(void)arg;
	t_check(acquire_now(permits) == -EAGAIN);
	t_check(mproc_semaphore_ack(leases) == -EPERM);
}

static void forked_child_holds_nothing_of_its_parents(void **state)
{
	(void)state;
	for (int i = 0; i < N; i++)
		assert_int_equal(acquire_now(permits), 0);
	assert_int_equal(mproc_semaphore_release(leases, 1), 0);
	assert_int_equal(acquire_now(leases), 0);
	assert_int_equal(t_reap(t_spawn(child_tries_what_its_parent_holds, NULL)), 0);
	/* It died, we have them still. */
	assert_int_equal(mproc_semaphore_value(permits), 0);
	assert_int_equal(mproc_semaphore_ack(leases), 0);
}

static void released_permit_wakes_one_after_the_other(void **state)
{
	pthread_t threads[4];
	void *r;

	(void)state;
	for (int i = 0; i < N; i++)
		assert_int_equal(acquire_now(permits), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, wait_for_permit, permits), 0);
	assert_true(t_wait_until(all_sleep, (void *)4, mproc_after_ms(5000)));
	/* The threads end with their permits, which come back by that. */
	assert_int_equal(mproc_semaphore_release(permits, 1), 0);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], &r), 0);
		assert_null(r);
	}
	assert_int_equal(mproc_semaphore_value(permits), 1);
}

/* Signals. */

static void signals_are_counted_up_and_down(void **state)
{
	(void)state;
	assert_int_equal(acquire_now(signals), -EAGAIN);
	assert_int_equal(mproc_semaphore_acquire(signals, mproc_after_ms(10)), -ETIMEDOUT);
	assert_int_equal(mproc_semaphore_release(signals, 3), 0);
	assert_int_equal(mproc_semaphore_value(signals), 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(acquire_now(signals), 0);
	assert_int_equal(acquire_now(signals), -EAGAIN);
	assert_int_equal(mproc_semaphore_holders(signals, NULL, 0), 0);
}

static void over_release_of_bounded_signals_changes_nothing(void **state)
{
	(void)state;
	assert_int_equal(mproc_semaphore_init(signals, MPROC_SEMAPHORE_SIGNALS, 2,
					      MPROC_SEMAPHORE_OPTS(.max = 3)),
			 0);
	assert_int_equal(mproc_semaphore_release(signals, 2), -ERANGE);
	assert_int_equal(mproc_semaphore_release(signals, UINT32_MAX), -ERANGE);
	assert_int_equal(mproc_semaphore_value(signals), 2);
	assert_int_equal(mproc_semaphore_release(signals, 1), 0);
	assert_int_equal(mproc_semaphore_release(signals, 1), -ERANGE);
	assert_int_equal(mproc_semaphore_value(signals), 3);
}

static void signals_taken_by_the_dead_are_gone(void **state)
{
	(void)state;
	assert_int_equal(mproc_semaphore_release(signals, 3), 0);
	assert_int_equal(t_reap(t_spawn(take_and_die, signals)), SIGKILL);
	assert_int_equal(mproc_semaphore_value(signals), 1);
}

static mproc_semaphore *alarmed;

static void on_alarm(int signal)
{
	(void)signal;
	mproc_semaphore_release(alarmed, 1);
}

static void release_works_in_a_signal_handler(void **state)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval timer = { .it_value.tv_usec = 20000 };
	mproc_semaphore *kinds[] = { signals, leases };

	(void)state;
	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	for (size_t i = 0; i < 2; i++) {
		alarmed = kinds[i];
		assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
		assert_int_equal(mproc_semaphore_acquire(alarmed, mproc_after_ms(5000)), 0);
	}
	signal(SIGALRM, SIG_DFL);
	assert_int_equal(mproc_semaphore_ack(leases), 0);
}

/* Leases. */

static void lease_is_somebodys_until_the_ack(void **state)
{
	(void)state;
	assert_int_equal(mproc_semaphore_ack(leases), -EPERM);
	assert_non_null(strstr(mproc_error_text(), "holds no lease"));
	assert_int_equal(acquire_now(leases), -EAGAIN);
	assert_int_equal(mproc_semaphore_release(leases, 2), 0);
	assert_int_equal(mproc_semaphore_value(leases), 2);
	assert_int_equal(acquire_now(leases), 0);
	assert_int_equal(mproc_semaphore_value(leases), 1);
	assert_int_equal(mproc_semaphore_holders(leases, NULL, 0), 1);
	assert_int_equal(acquire_now(leases), 0);
	assert_int_equal(acquire_now(leases), -EAGAIN);
	assert_int_equal(mproc_semaphore_ack(leases), 0);
	assert_int_equal(mproc_semaphore_ack(leases), 0);
	assert_int_equal(mproc_semaphore_ack(leases), -EPERM);
	assert_int_equal(acquire_now(leases), -EAGAIN);
	assert_int_equal(mproc_semaphore_value(leases), 0);
}

static void leases_are_bounded_both_ways(void **state)
{
	(void)state;
	assert_int_equal(mproc_semaphore_release(leases, 6), -ERANGE);
	assert_int_equal(mproc_semaphore_value(leases), 0);
	assert_int_equal(mproc_semaphore_release(leases, 5), 0);
	assert_int_equal(mproc_semaphore_release(leases, 1), -ERANGE);
	/* As many out as may be: units are there, and none can be had. */
	for (int i = 0; i < N; i++)
		assert_int_equal(acquire_now(leases), 0);
	assert_int_equal(mproc_semaphore_value(leases), 2);
	assert_int_equal(acquire_now(leases), -EAGAIN);
	assert_int_equal(mproc_semaphore_acquire(leases, mproc_after_ms(10)), -ETIMEDOUT);
	assert_int_equal(mproc_semaphore_ack(leases), 0);
	assert_int_equal(acquire_now(leases), 0);
	/* Leased units are not counted against the maximum. */
	assert_int_equal(mproc_semaphore_release(leases, 5), -ERANGE);
	assert_int_equal(mproc_semaphore_release(leases, 4), 0);
	assert_int_equal(mproc_semaphore_value(leases), 5);
}

static void ack_wakes_one_who_waits_for_a_cell(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(mproc_semaphore_release(leases, N + 1), 0);
	for (int i = 0; i < N; i++)
		assert_int_equal(acquire_now(leases), 0);
	pid = t_spawn(come_through, leases);
	assert_true(t_wait_until(all_sleep, (void *)1, mproc_after_ms(5000)));
	usleep(20000);
	assert_int_equal(mproc_semaphore_ack(leases), 0);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(mproc_semaphore_value(leases), 0);
}

static void leases_of_the_dead_are_leased_again(void **state)
{
	(void)state;
	assert_int_equal(mproc_semaphore_release(leases, 2), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(t_reap(t_spawn(take_and_die, leases)), SIGKILL);
		assert_int_equal(mproc_semaphore_value(leases), 2);
		assert_int_equal(mproc_semaphore_holders(leases, NULL, 0), 0);
	}
	assert_int_equal(acquire_now(leases), 0);
	assert_int_equal(mproc_semaphore_ack(leases), 0);
	assert_int_equal(acquire_now(leases), 0);
	assert_int_equal(acquire_now(leases), -EAGAIN);
	assert_int_equal(mproc_semaphore_ack(leases), 0);
	assert_int_equal(mproc_semaphore_value(leases), 0);
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
}

/* What one leaves who takes a unit and dies before a waiter has come to see it. */
static void lease_behind_the_sleepers_back_and_die(void *arg)
{
	struct mproc__semaphore *s = (void *)leases;
	struct mproc__self *me = mproc__self(s, "test");

	(void)arg;
	t_check(me && t_wait_until(all_sleep, (void *)1, mproc_after_ms(5000)));
	atomic_store(&s->cells[0].grant, 1 << 1 | 1);
	atomic_store(&s->cells[0].owner, me->word);
	atomic_store(&s->taken, 1 << 16);
	atomic_store(&s->count, 1);
	raise(SIGKILL);
}

static void waiter_notices_within_a_quantum_who_came_and_died_after_it_slept(void **state)
{
	int64_t least = INT64_MAX, begin;
	pid_t pid;

	(void)state;
	/* 100 ms, by quanta since the wait began; a busy machine may miss one, not five. */
	for (int i = 0; i < 5 && least > 200 * INT64_C(1000000); i++) {
		assert_int_equal(mproc_semaphore_init(leases, MPROC_SEMAPHORE_LEASES, 0,
						      MPROC_SEMAPHORE_OPTS(.leases = N)),
				 0);
		pid = t_spawn(lease_behind_the_sleepers_back_and_die, NULL);
		begin = mproc_now();
		assert_int_equal(mproc_semaphore_acquire(leases, mproc_after_ms(5000)), 0);
		if (mproc_now() - begin < least)
			least = mproc_now() - begin;
		assert_int_equal(t_reap(pid), SIGKILL);
		assert_int_equal(mproc_semaphore_value(leases), 0);
	}
	assert_in_range(least, 1, 200 * INT64_C(1000000));
	assert_int_equal(range.range->reg->heals, 0);
}

static void *take_two_and_end(void *arg)
{
	return (void *)(intptr_t)(acquire_now(arg) || acquire_now(arg));
}

static void leases_of_an_ended_thread_are_leased_again(void **state)
{
	pthread_t thread;
	void *r;

	(void)state;
	assert_int_equal(mproc_semaphore_release(leases, 2), 0);
	assert_int_equal(pthread_create(&thread, NULL, take_two_and_end, leases), 0);
	assert_int_equal(pthread_join(thread, &r), 0);
	assert_null(r);
	assert_int_equal(mproc_semaphore_value(leases), 2);
	assert_int_equal(acquire_now(leases), 0);
	assert_int_equal(acquire_now(leases), 0);
	assert_int_equal(acquire_now(leases), -EAGAIN);
}

/* Threads as participants on one mapping, for the thread sanitizer and for the count. */

#define ROUNDS 3000

static void *go_in_and_out(void *arg)
{
	uint64_t inside, most;

	mproc__identity_act(arg);
	for (int i = 0; i < ROUNDS; i++) {
		if (mproc_semaphore_acquire(permits, MPROC_FOREVER) < 0)
			return (void *)1;
		inside = atomic_fetch_add(&shared->inside, 1) + 1;
		most = atomic_load(&shared->most);
		while (inside > most && !atomic_compare_exchange_weak(&shared->most, &most, inside))
			;
		atomic_fetch_sub(&shared->inside, 1);
		if (mproc_semaphore_release(permits, 1) < 0 ||
		    mproc_semaphore_release(leases, 1) == -EINVAL ||
		    mproc_semaphore_acquire(leases, MPROC_FOREVER) < 0 ||
		    mproc_semaphore_ack(leases) < 0)
			return (void *)1;
		if (mproc_semaphore_release(signals, 1) < 0 ||
		    mproc_semaphore_acquire(signals, MPROC_FOREVER) < 0)
			return (void *)1;
	}
	mproc__identity_act(NULL);
	return NULL;
}

static void threads_as_participants_keep_all_numbers(void **state)
{
	struct mproc__identity *who[5];
	pthread_t threads[5];
	void *r;

	(void)state;
	assert_int_equal(mproc_semaphore_init(leases, MPROC_SEMAPHORE_LEASES, 0,
					      MPROC_SEMAPHORE_OPTS(.leases = N)),
			 0);
	/* Nobody dies, so only a wake-up may end a sleep. */
	atomic_store(&mproc__quantum_off, true);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(mproc__identity_new(&who[i], range.range), 0);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, go_in_and_out, who[i]), 0);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(pthread_join(threads[i], &r), 0);
		assert_null(r);
	}
	atomic_store(&mproc__quantum_off, false);
	assert_int_equal(range.range->reg->heals, 0);
	assert_int_equal(mproc_semaphore_value(permits), N);
	assert_int_equal(mproc_semaphore_value(signals), 0);
	assert_int_equal(mproc_semaphore_value(leases), 0);
	assert_int_equal(mproc_semaphore_holders(leases, NULL, 0), 0);
	assert_true(shared->most > 0 && shared->most <= N);
	for (size_t i = 0; i < 5; i++)
		mproc__identity_kill(who[i]);
}

/* One of two free cells is taken and freed, then the other, never both at a time. */
static void *take_and_free_in_turn(void *arg)
{
	struct mproc__identity **who = arg;

	for (int i = 0; !atomic_load(&shared->ready); i ^= 2) {
		mproc__identity_act(who[i]);
		if (acquire_now(&shared->wide.semaphore) == 0)
			mproc_semaphore_ack(&shared->wide.semaphore);
	}
	mproc__identity_act(NULL);
	return NULL;
}

static void place_for_a_lease_is_found_wherever_it_is_while_one_looks(void **state)
{
	mproc_semaphore *wide = &shared->wide.semaphore;
	struct mproc__semaphore *s = (void *)wide;
	struct mproc__identity *who[3], *was;
	uint32_t failed = 0, at;
	pthread_t thread;

	(void)state;
	assert_int_equal(mproc_semaphore_init(wide, MPROC_SEMAPHORE_LEASES, MPROC_SEMAPHORE_MAX,
					      MPROC_SEMAPHORE_OPTS(.leases = WIDE)),
			 0);
	for (int i = 0; i < WIDE; i++)
		assert_int_equal(acquire_now(wide), 0);
	/* Each begins to look at the cell of its number: the middle one between the two. */
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(mproc__identity_new(&who[i], range.range), 0);
	was = mproc__identity_act(NULL);
	for (size_t i = 0; i < 3; i += 2) {
		mproc__identity_act(who[i]);
		at = mproc__owner_index(mproc__self(wide, "test")->word) % WIDE;
		atomic_fetch_and(&s->cells[at].grant, ~UINT64_C(1));
		atomic_store(&s->cells[at].owner, 0);
	}
	mproc__identity_act(who[1]);
	assert_int_equal(pthread_create(&thread, NULL, take_and_free_in_turn, who), 0);
	for (int64_t end = mproc_after_ms(300); mproc_now() < end;)
		if (mproc__leases_take(s, mproc__self(wide, "test"), WIDE) < 0)
			failed++;
		else if (mproc_semaphore_ack(wide) < 0)
			failed += 10000;
	atomic_store(&shared->ready, 1);
	assert_int_equal(pthread_join(thread, NULL), 0);
	mproc__identity_act(was);
	assert_int_equal(failed, 0);
	for (size_t i = 0; i < 3; i++)
		mproc__identity_kill(who[i]);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(sizes_are_what_the_header_says),
		TEST(init_refuses_what_cannot_be),
		TEST(what_is_no_semaphore_is_refused),
		TEST(scribbled_numbers_are_told_and_lead_nowhere),
		TEST(cells_behind_the_end_of_memory_are_not_touched),
		TEST(release_of_two_signals_wakes_two),
		TEST(release_of_two_units_wakes_two),
		TEST(release_of_more_than_sleep_wakes_all_and_keeps_the_rest),
		TEST(permits_are_as_many_as_at_the_start),
		TEST(seventy_permits_are_seventy),
		TEST(permits_of_the_dead_come_back),
		TEST(permits_of_an_ended_thread_come_back),
		TEST(waiter_is_given_the_permit_of_who_dies_meanwhile),
		TEST(waiter_is_given_the_lease_of_who_dies_meanwhile),
		TEST(permit_released_by_one_who_holds_none_is_the_longest_held_of_his_process),
		TEST(own_process_goes_before_one_who_has_held_for_longer),
		TEST(forked_child_holds_nothing_of_its_parents),
		TEST(released_permit_wakes_one_after_the_other),
		TEST(signals_are_counted_up_and_down),
		TEST(over_release_of_bounded_signals_changes_nothing),
		TEST(signals_taken_by_the_dead_are_gone),
		TEST(release_works_in_a_signal_handler),
		TEST(lease_is_somebodys_until_the_ack),
		TEST(leases_are_bounded_both_ways),
		TEST(ack_wakes_one_who_waits_for_a_cell),
		TEST(leases_of_the_dead_are_leased_again),
		TEST(leases_of_an_ended_thread_are_leased_again),
		TEST(waiter_notices_within_a_quantum_who_came_and_died_after_it_slept),
		TEST(threads_as_participants_keep_all_numbers),
		TEST(place_for_a_lease_is_found_wherever_it_is_while_one_looks),
	};

	return cmocka_run_group_tests_name("semaphore", tests, NULL, NULL);
}
