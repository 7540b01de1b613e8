/* SPDX-License-Identifier: MIT */

/*
 * mproc/barrier.h, seen from outside and from beside the dead
 */

#include <mproc/barrier.h>

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

#include "ipc/lock.h"
#include "ipc/participant.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"

#define PARTIES 5
#define PHASES  1000

struct shared {
	MPROC_BARRIER_WITH(PARTIES) start;
	_Atomic(uint64_t) seen[PHASES]; /* bits: the numbers that were given out */
	_Atomic(uint64_t) actions, early, ready, after;
	_Atomic(int64_t) result[PARTIES + 1];
	uint64_t none[4]; /* no barrier */
};

static struct t_range range;
static struct shared *shared;
static mproc_barrier *barrier;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, 16, 32, sizeof(struct shared)), 0);
	shared = (void *)range.room;
	barrier = &shared->start.barrier;
	for (size_t i = 0; i <= PARTIES; i++)
		shared->result[i] = INT64_MIN;
	return mproc_barrier_init(barrier, PARTIES, 0);
}

static int teardown(void **state)
{
	(void)state;
	t_range_close(&range);
	return 0;
}

static void init(uint32_t parties, uint32_t flags)
{
	assert_int_equal(mproc_barrier_init(barrier, parties, flags), 0);
}

static int wait_long(void)
{
	return mproc_barrier_wait(barrier, NULL, NULL, mproc_after_ms(20000));
}

/* A child that arrives once, as number @arg of the results. */
static void arrive_once(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;

	atomic_store(&shared->result[i], mproc_barrier_wait(barrier, NULL, NULL, MPROC_FOREVER));
}

static pid_t arrive(size_t i)
{
	return t_spawn(arrive_once, (void *)i);
}

static bool so_many_wait(void *arg)
{
	return mproc_barrier_n_waiting(barrier) == (int)(intptr_t)arg;
}

static bool so_many_sleep(void *arg)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < range.range->n_threads; i++)
		n += atomic_load(&range.range->threads[i].waits_on) != 0;
	return n == (uint64_t)(uintptr_t)arg;
}

static void assert_waiting(int n)
{
	assert_true(t_wait_until(so_many_wait, (void *)(intptr_t)n, mproc_after_ms(5000)));
}

/* They have announced themselves; that they are in the system call takes a moment more. */
static void assert_asleep(int n)
{
	assert_waiting(n);
	assert_true(t_wait_until(so_many_sleep, (void *)(intptr_t)n, mproc_after_ms(5000)));
	usleep(20000);
}

static void assert_killed(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
}

static int count_action(void *arg)
{
	uint64_t phase = *(uint64_t *)arg;

	/* Nobody has gone on before it has run. */
	if (atomic_load(&shared->seen[phase]))
		atomic_store(&shared->early, 1);
	atomic_fetch_add(&shared->actions, 1);
	return 0;
}

static void go_through_all_phases(void *arg)
{
	(void)arg;
	for (uint64_t i = 0; i < PHASES; i++) {
		int r = mproc_barrier_wait(barrier, count_action, &i, MPROC_FOREVER);

		t_check(r >= 0 && r < PARTIES);
		/* Given out to nobody else. */
		t_check(!(atomic_fetch_or(&shared->seen[i], 1u << r) & 1u << r));
		/* The phase before is over for all but the last steps of some. */
		t_check(atomic_load(&shared->actions) > i);
	}
}

static void all_get_numbers_of_their_own_over_and_over(void **state)
{
	pid_t pids[PARTIES];

	(void)state;
	for (size_t i = 0; i < PARTIES; i++)
		pids[i] = t_spawn(go_through_all_phases, NULL);
	for (size_t i = 0; i < PARTIES; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	for (size_t i = 0; i < PHASES; i++)
		assert_int_equal(shared->seen[i], (1u << PARTIES) - 1);
	assert_int_equal(shared->actions, PHASES);
	assert_int_equal(shared->early, 0);
	assert_int_equal(range.range->reg->heals, 0);
	assert_int_equal(range.range->reg->takeovers, 0);
}

static void *thread_goes_through(void *arg)
{
	go_through_all_phases(arg);
	return NULL;
}

static void threads_get_numbers_of_their_own_as_well(void **state)
{
	pthread_t threads[PARTIES];

	(void)state;
	for (size_t i = 0; i < PARTIES; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, thread_goes_through, NULL), 0);
	for (size_t i = 0; i < PARTIES; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(shared->actions, PHASES);
	assert_int_equal(shared->early, 0);
}

static void one_party_alone_never_waits(void **state)
{
	(void)state;
	init(1, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(mproc_barrier_wait(barrier, NULL, NULL, MPROC_NOWAIT), 0);
}

static void misuse_is_told_and_changes_nothing(void **state)
{
	mproc_barrier outside, *none = (void *)shared->none;
	MPROC_BARRIER_WITH(3) three;
	struct shared before;

	(void)state;
	memset(&outside, 0, sizeof(outside));
	memcpy(&before, shared, sizeof(before));
	assert_int_equal(mproc_barrier_size(0), 0);
	assert_int_equal(mproc_barrier_size(MPROC_BARRIER_PARTIES_MAX + 1), 0);
	assert_int_equal(mproc_barrier_size(3), sizeof(three));
	assert_int_equal(mproc_barrier_init(&outside, 1, 0), -ENOTCONN);
	assert_int_equal(mproc_barrier_init(none, 0, 0), -EINVAL);
	assert_int_equal(mproc_barrier_init(none, MPROC_BARRIER_PARTIES_MAX + 1, 0), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "4096 parties, 1 to 4095"));
	assert_int_equal(mproc_barrier_init(none, 1, 4), -EINVAL);
	assert_int_equal(mproc_barrier_init(none, 1, 3), -EINVAL);
	assert_int_equal(mproc_barrier_init((void *)((char *)none + 4), 1, 0), -EINVAL);
	/* It begins in the segment and does not end there. */
	assert_int_equal(mproc_barrier_init((void *)(range.base + range.size - 64), 4, 0),
			 -ENOTCONN);
	assert_int_equal(mproc_barrier_wait(&outside, NULL, NULL, MPROC_NOWAIT), -ENOTCONN);
	assert_int_equal(mproc_barrier_wait(none, NULL, NULL, MPROC_NOWAIT), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "no barrier at"));
	assert_int_equal(mproc_barrier_join(none), -EINVAL);
	assert_int_equal(mproc_barrier_leave(none), -EINVAL);
	assert_int_equal(mproc_barrier_abort(none), -EINVAL);
	assert_int_equal(mproc_barrier_reset(none), -EINVAL);
	assert_int_equal(mproc_barrier_n_parties(none), -EINVAL);
	assert_int_equal(mproc_barrier_n_waiting(none), -EINVAL);
	assert_int_equal(mproc_barrier_is_broken(none), -EINVAL);
	assert_int_equal(mproc_barrier_wait(barrier, NULL, NULL, -1), -EINVAL);
	assert_int_equal(mproc_barrier_wait(barrier, NULL, NULL, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_barrier_leave(barrier), -EPERM);
	assert_memory_equal(&before, shared, sizeof(before));
	assert_int_equal(mproc_barrier_n_parties(barrier), PARTIES);
	mproc_barrier_destroy(barrier);
	mproc_barrier_destroy(NULL);
	assert_int_equal(mproc_barrier_wait(barrier, NULL, NULL, MPROC_NOWAIT), -EINVAL);
}

static void scribbled_barrier_is_refused(void **state)
{
	_Atomic(uint32_t) *shape = (_Atomic(uint32_t) *)barrier + 7;
	struct mproc__self *me = mproc__self(shared, "test");

	(void)state;
	assert_int_equal(*shape, PARTIES);
	*shape = 0;
	assert_int_equal(mproc_barrier_wait(barrier, NULL, NULL, MPROC_NOWAIT), -EBADMSG);
	*shape = 4000;
	assert_int_equal(mproc_barrier_wait(barrier, NULL, NULL, MPROC_NOWAIT), -EBADMSG);
	*shape = PARTIES;
	/* The lock inside is ours though we are not inside. */
	atomic_store((_Atomic(uint64_t) *)barrier, me->word);
	assert_int_equal(mproc_barrier_abort(barrier), -EBADMSG);
}

static void nothing_behind_the_end_of_the_file_is_touched(void **state)
{
	struct t_range other;
	mproc_barrier *b;

	(void)state;
	assert_int_equal(t_range_open_reserving(&other, 4, 4, 4096, 1 << 20), 0);
	b = (void *)other.room;
	assert_int_equal(mproc_barrier_init(b, MPROC_BARRIER_PARTIES_MAX, 0), -ENOTCONN);
	assert_int_equal(mproc_barrier_init((void *)(other.room + 8192), 1, 0), -ENOTCONN);
	assert_int_equal(mproc_barrier_init(b, 3, 0), 0);
	((_Atomic(uint32_t) *)b)[7] = MPROC_BARRIER_PARTIES_MAX;
	assert_int_equal(mproc_barrier_leave(b), -EBADMSG);
	assert_int_equal(mproc_barrier_wait(b, NULL, NULL, MPROC_NOWAIT), -EBADMSG);
	t_range_close(&other);
}

static void who_gives_up_breaks_it_for_all(void **state)
{
	pid_t pid;

	(void)state;
	init(3, 0);
	pid = arrive(0);
	assert_waiting(1);
	assert_int_equal(mproc_barrier_wait(barrier, NULL, NULL, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_barrier_is_broken(barrier), 0);
	assert_int_equal(mproc_barrier_wait(barrier, NULL, NULL, mproc_after_ms(20)), -ETIMEDOUT);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(shared->result[0], -EPIPE);
	assert_int_equal(mproc_barrier_is_broken(barrier), 1);
	assert_int_equal(mproc_barrier_n_waiting(barrier), 0);
	assert_int_equal(wait_long(), -EPIPE);
	assert_non_null(strstr(mproc_error_text(), "is broken"));
	assert_int_equal(mproc_barrier_join(barrier), -EPIPE);
	/* A time that has passed arrives once, and breaks it as well. */
	assert_int_equal(mproc_barrier_reset(barrier), 0);
	assert_int_equal(mproc_barrier_is_broken(barrier), 0);
	assert_int_equal(mproc_barrier_wait(barrier, NULL, NULL, 1), -ETIMEDOUT);
	assert_int_equal(mproc_barrier_is_broken(barrier), 1);
}

static void abort_and_reset_tell_those_who_wait(void **state)
{
	pid_t pids[2];

	(void)state;
	init(3, 0);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < 2; i++)
			pids[i] = arrive(i);
		assert_asleep(2);
		assert_int_equal(
			round ? mproc_barrier_reset(barrier) : mproc_barrier_abort(barrier), 0);
		for (size_t i = 0; i < 2; i++) {
			assert_int_equal(t_reap(pids[i]), 0);
			assert_int_equal(shared->result[i], -EPIPE);
		}
		assert_int_equal(mproc_barrier_is_broken(barrier), !round);
		if (!round)
			assert_int_equal(mproc_barrier_reset(barrier), 0);
	}
	for (size_t i = 0; i < 2; i++)
		pids[i] = arrive(i);
	assert_true(wait_long() >= 0);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(t_reap(pids[i]), 0);
		assert_true(shared->result[i] >= 0);
	}
	assert_int_equal(range.range->reg->heals, 0);
}

static int fail_action(void *arg)
{
	(void)arg;
	return -EDOM;
}

static int wait_in_action(void *arg)
{
	(void)arg;
	return mproc_barrier_wait(barrier, NULL, NULL, MPROC_FOREVER);
}

static int abort_in_action(void *arg)
{
	(void)arg;
	return mproc_barrier_abort(barrier);
}

static void action_that_fails_breaks_it(void **state)
{
	static const struct {
		int (*action)(void *arg);
		int r;
	} cases[] = { { fail_action, -EDOM },
		      { wait_in_action, -EDEADLK },
		      { abort_in_action, -EPIPE } };

	(void)state;
	init(2, 0);
	for (size_t i = 0; i < 3; i++) {
		pid_t pid = arrive(0);

		assert_asleep(1);
		assert_int_equal(mproc_barrier_wait(barrier, cases[i].action, NULL, MPROC_NOWAIT),
				 cases[i].r);
		assert_int_equal(t_reap(pid), 0);
		assert_int_equal(shared->result[0], -EPIPE);
		assert_int_equal(mproc_barrier_is_broken(barrier), 1);
		assert_int_equal(mproc_barrier_reset(barrier), 0);
	}
}

/* Runs until it is let go; two at once are one too many. */
static int long_action(void *arg)
{
	(void)arg;
	if (atomic_fetch_add(&shared->actions, 1))
		atomic_store(&shared->early, 1);
	atomic_store(&shared->ready, 1);
	while (!atomic_load(&shared->after))
		usleep(1000);
	return 0;
}

static void arrive_with_long_action(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;

	atomic_store(&shared->result[i],
		     mproc_barrier_wait(barrier, long_action, NULL, MPROC_FOREVER));
}

static bool is_ready(void *arg)
{
	(void)arg;
	return atomic_load(&shared->ready);
}

/* All had arrived without it: neither the action nor the phase is its business. */
static void who_joins_while_the_action_runs_comes_to_the_next_phase(void **state)
{
	uint64_t phase = 0;
	pid_t pids[3];

	(void)state;
	init(3, 0);
	assert_int_equal(mproc_barrier_join(barrier), 0);
	assert_int_equal(mproc_barrier_leave(barrier), 0);
	pids[0] = arrive(0);
	assert_waiting(1);
	pids[1] = t_spawn(arrive_with_long_action, (void *)1);
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(5000)));
	assert_int_equal(mproc_barrier_join(barrier), 0);
	assert_int_equal(mproc_barrier_wait(barrier, count_action, &phase, MPROC_NOWAIT), -EAGAIN);
	/* Not arrived, so it breaks nothing. */
	assert_int_equal(mproc_barrier_wait(barrier, count_action, &phase, mproc_after_ms(20)),
			 -ETIMEDOUT);
	assert_int_equal(mproc_barrier_is_broken(barrier), 0);
	assert_int_equal(mproc_barrier_n_waiting(barrier), 2);
	assert_int_equal(shared->actions, 1);
	assert_int_equal(shared->result[0], INT64_MIN);
	/* There is a place for it as soon as these have gone on. */
	pids[2] = t_spawn(arrive_with_long_action, (void *)2);
	usleep(20000);
	atomic_store(&shared->after, 1);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(shared->result[0], 0);
	assert_int_equal(shared->result[1], 1);
	assert_int_equal(shared->actions, 1);
	assert_int_equal(mproc_barrier_n_parties(barrier), 3);
	assert_int_equal(mproc_barrier_abort(barrier), 0);
	assert_int_equal(t_reap(pids[2]), 0);
	assert_int_equal(shared->result[2], -EPIPE);
}

static int die_action(void *arg)
{
	(void)arg;
	raise(SIGKILL);
	return 0;
}

static void arrive_and_die_acting(void *arg)
{
	(void)arg;
	t_check(mproc_barrier_wait(barrier, die_action, NULL, MPROC_FOREVER) == 0);
}

static void actor_that_dies_breaks_it_whatever_the_flags(void **state)
{
	static const uint32_t flags[] = { 0, MPROC_BARRIER_SHRINK, MPROC_BARRIER_ANONYMOUS };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		pid_t pid;

		init(2, flags[i]);
		pid = arrive(0);
		assert_waiting(1);
		assert_int_equal(t_reap(t_spawn(arrive_and_die_acting, NULL)), SIGKILL);
		assert_int_equal(t_reap(pid), 0);
		assert_int_equal(shared->result[0], -EPIPE);
	}
}

static void party_that_dies_waiting_breaks_it(void **state)
{
	pid_t pids[2];

	(void)state;
	for (uint32_t flags = 0; flags <= MPROC_BARRIER_ANONYMOUS;
	     flags += MPROC_BARRIER_ANONYMOUS) {
		init(3, flags);
		pids[0] = arrive(0);
		pids[1] = arrive(1);
		assert_asleep(2);
		assert_killed(pids[0]);
		assert_int_equal(t_reap(pids[1]), 0);
		assert_int_equal(shared->result[1], -EPIPE);
		assert_int_equal(mproc_barrier_is_broken(barrier), 1);
	}
}

static void party_that_dies_waiting_has_arrived_where_it_shrinks(void **state)
{
	pid_t pids[2];

	(void)state;
	init(3, MPROC_BARRIER_SHRINK);
	pids[0] = arrive(0);
	pids[1] = arrive(1);
	assert_asleep(2);
	assert_killed(pids[0]);
	usleep(50000);
	assert_true(wait_long() >= 0);
	assert_int_equal(t_reap(pids[1]), 0);
	assert_true(shared->result[1] >= 0);
	/* For the next phase there is one less, and then, that child having ended, two. */
	assert_int_equal(mproc_barrier_wait(barrier, NULL, NULL, MPROC_FOREVER), 0);
	assert_int_equal(mproc_barrier_n_parties(barrier), 1);
	assert_int_equal(mproc_barrier_is_broken(barrier), 0);
}

static void go_through_twice(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;

	t_check(mproc_barrier_wait(barrier, NULL, NULL, MPROC_FOREVER) >= 0);
	if (i == 0) {
		atomic_store(&shared->ready, 1);
		for (;;)
			pause();
	}
	atomic_store(&shared->result[i], mproc_barrier_wait(barrier, NULL, NULL, MPROC_FOREVER));
	/* Not to be a death of its own. */
	(void)mproc_barrier_leave(barrier);
}

/* It was there in the phase before, and dies on its way to this one. */
static void kill_one_before_it_arrives(uint32_t flags)
{
	pid_t pids[3];

	init(3, flags);
	for (size_t i = 0; i < 3; i++)
		pids[i] = t_spawn(go_through_twice, (void *)i);
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(5000)));
	assert_asleep(2);
	assert_int_equal(mproc_barrier_n_waiting(barrier), 2);
	/* A stopped one is not dead. */
	assert_int_equal(kill(pids[0], SIGSTOP), 0);
	usleep(100000);
	assert_int_equal(mproc_barrier_n_waiting(barrier), 2);
	assert_killed(pids[0]);
	for (size_t i = 1; i < 3; i++)
		assert_int_equal(t_reap(pids[i]), 0);
}

static void party_that_dies_before_it_arrives_breaks_it(void **state)
{
	(void)state;
	kill_one_before_it_arrives(0);
	assert_int_equal(shared->result[1], -EPIPE);
	assert_int_equal(shared->result[2], -EPIPE);
	assert_int_equal(mproc_barrier_is_broken(barrier), 1);
}

static void party_that_dies_before_it_arrives_is_not_missed_where_it_shrinks(void **state)
{
	(void)state;
	kill_one_before_it_arrives(MPROC_BARRIER_SHRINK);
	assert_int_equal(shared->result[1] + shared->result[2], 1);
	assert_true(shared->result[1] >= 0 && shared->result[2] >= 0);
	assert_int_equal(mproc_barrier_is_broken(barrier), 0);
	assert_int_equal(mproc_barrier_n_parties(barrier), 0);
	/* A substitute, and another one, but no more than it was made for. */
	assert_int_equal(wait_long(), -EUSERS);
	assert_int_equal(mproc_barrier_join(barrier), 0);
	assert_int_equal(mproc_barrier_n_parties(barrier), 1);
	assert_int_equal(wait_long(), 0);
	assert_int_equal(mproc_barrier_reset(barrier), 0);
	assert_int_equal(mproc_barrier_n_parties(barrier), 3);
}

static void join_and_stay(void *arg)
{
	(void)arg;
	t_check(mproc_barrier_join(barrier) == 0);
	t_check(mproc_barrier_join(barrier) == 0);
	atomic_store(&shared->ready, 1);
	for (;;)
		pause();
}

/* A death that nobody could have known of without. */
static void party_that_joined_and_dies_is_noticed(void **state)
{
	pid_t pids[2];

	(void)state;
	for (uint32_t flags = 0; flags <= MPROC_BARRIER_ANONYMOUS; flags++) {
		init(2, flags);
		atomic_store(&shared->ready, 0);
		pids[0] = t_spawn(join_and_stay, NULL);
		assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(5000)));
		pids[1] = arrive(1);
		assert_asleep(1);
		assert_killed(pids[0]);
		assert_int_equal(t_reap(pids[1]), 0);
		assert_int_equal(shared->result[1], flags == MPROC_BARRIER_SHRINK ? 0 : -EPIPE);
	}
}

static void join_and_end(void *arg)
{
	(void)arg;
	t_check(mproc_barrier_join(barrier) == 0);
}

static void death_is_noticed_however_short_the_deadline(void **state)
{
	static const struct {
		uint32_t flags;
		int64_t deadline;
		int r;
	} cases[] = { { 0, MPROC_NOWAIT, -EPIPE },
		      { 0, 1, -EPIPE },
		      { MPROC_BARRIER_SHRINK, MPROC_NOWAIT, 0 },
		      { MPROC_BARRIER_SHRINK, 1, 0 } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		init(3, cases[i].flags);
		for (int k = 0; k < 2; k++)
			assert_int_equal(t_reap(t_spawn(join_and_end, NULL)), 0);
		assert_int_equal(mproc_barrier_wait(barrier, NULL, NULL, cases[i].deadline),
				 cases[i].r);
		assert_int_equal(mproc_barrier_is_broken(barrier), cases[i].r < 0);
		assert_int_equal(mproc_barrier_n_parties(barrier), cases[i].r < 0 ? 3 : 1);
	}
}

static int fork_action(void *arg)
{
	pid_t *pid = arg;

	*pid = fork();
	return 0;
}

static void fork_and_return(void *arg)
{
	pid_t parent = getpid(), child = -1;
	int r;

	(void)arg;
	r = mproc_barrier_wait(barrier, fork_action, &child, MPROC_FOREVER);
	if (getpid() == parent) {
		t_check(r == 0 && child > 0);
		t_check(t_reap(child) == 0);
		return;
	}
	t_check(r == -EPERM && strstr(mproc_error_text(), "forked from"));
	t_check(mproc_barrier_leave(barrier) == -EPERM);
	_exit(0);
}

static void child_that_returns_from_the_action_is_told(void **state)
{
	pid_t pid;

	(void)state;
	/* The last one to arrive, and one that waited. */
	init(1, 0);
	assert_int_equal(t_reap(t_spawn(fork_and_return, NULL)), 0);
	init(2, 0);
	assert_int_equal(mproc_barrier_join(barrier), 0);
	pid = t_spawn(fork_and_return, NULL);
	assert_asleep(1);
	assert_int_equal(mproc_barrier_leave(barrier), 0);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(mproc_barrier_is_broken(barrier), 0);
}

static void act_once(void *arg)
{
	uint64_t phase = 0;

	(void)arg;
	atomic_store(&mproc__quantum_off, true);
	atomic_store(&shared->result[0],
		     mproc_barrier_wait(barrier, count_action, &phase, MPROC_FOREVER));
}

static void who_leaves_lets_the_others_go(void **state)
{
	pid_t pid;

	(void)state;
	init(2, 0);
	assert_int_equal(mproc_barrier_join(barrier), 0);
	pid = t_spawn(act_once, NULL);
	assert_asleep(1);
	assert_int_equal(mproc_barrier_leave(barrier), 0);
	/* One of those who wait runs the action, since nobody else can. */
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(shared->result[0], 0);
	assert_int_equal(shared->actions, 1);
	assert_int_equal(mproc_barrier_n_parties(barrier), 1);
	assert_int_equal(mproc_barrier_leave(barrier), -EPERM);
	assert_int_equal(range.range->reg->heals, 0);
}

static void *arrive_in_thread(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)wait_long();
}

/* Three at a time, none of whom comes twice. */
static void threads_come_and_go_at_an_anonymous_barrier(void **state)
{
	(void)state;
	init(3, MPROC_BARRIER_ANONYMOUS);
	for (int round = 0; round < 20; round++) {
		pthread_t threads[3];
		intptr_t sum = 0;
		void *r;

		for (size_t i = 0; i < 3; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, arrive_in_thread, NULL),
					 0);
		for (size_t i = 0; i < 3; i++) {
			assert_int_equal(pthread_join(threads[i], &r), 0);
			sum += (intptr_t)r;
		}
		assert_int_equal(sum, 3);
	}
	assert_int_equal(mproc_barrier_n_parties(barrier), 3);
}

static int leave_in_action(void *arg)
{
	*(int *)arg = mproc_barrier_leave(barrier);
	return 0;
}

static int reset_and_leave_in_action(void *arg)
{
	int r = mproc_barrier_reset(barrier);

	return r < 0 ? r : leave_in_action(arg);
}

/* Whose death in it would end the phase then? */
static void nobody_leaves_in_an_action(void **state)
{
	int left = 0;

	(void)state;
	for (uint32_t flags = 0; flags <= MPROC_BARRIER_ANONYMOUS; flags++) {
		init(1, flags);
		assert_int_equal(mproc_barrier_wait(barrier, leave_in_action, &left, MPROC_NOWAIT),
				 0);
		assert_int_equal(left, -EDEADLK);
		assert_int_equal(
			mproc_barrier_wait(barrier, reset_and_leave_in_action, &left, MPROC_NOWAIT),
			-EPIPE);
		assert_int_equal(left, -EDEADLK);
		assert_int_equal(mproc_barrier_n_parties(barrier), 1);
		assert_int_equal(mproc_barrier_wait(barrier, NULL, NULL, MPROC_NOWAIT), 0);
	}
}

static void who_has_gone_on_is_no_party_of_an_anonymous_barrier(void **state)
{
	pthread_t threads[2];

	(void)state;
	init(2, MPROC_BARRIER_ANONYMOUS);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, arrive_in_thread, NULL), 0);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(mproc_barrier_join(barrier), 0);
	assert_int_equal(mproc_barrier_n_parties(barrier), 2);
	/* One of them has arrived: the other's place, and no third one. */
	assert_int_equal(pthread_create(&threads[0], NULL, arrive_in_thread, NULL), 0);
	assert_waiting(1);
	assert_int_equal(mproc_barrier_leave(barrier), 0);
	assert_int_equal(pthread_join(threads[0], NULL), 0);

	init(2, MPROC_BARRIER_ANONYMOUS);
	assert_int_equal(pthread_create(&threads[0], NULL, arrive_in_thread, NULL), 0);
	assert_true(wait_long() >= 0);
	assert_int_equal(pthread_join(threads[0], NULL), 0);
	assert_int_equal(mproc_barrier_leave(barrier), -EPERM);
	assert_int_equal(mproc_barrier_n_parties(barrier), 2);
}

static void newcomer_takes_the_place_of_one_who_has_not_joined(void **state)
{
	pid_t pids[2];

	(void)state;
	init(2, 0);
	/* This thread is a party by having arrived; two others come, and it does not. */
	pids[0] = arrive(0);
	assert_true(wait_long() >= 0);
	assert_int_equal(t_reap(pids[0]), 0);
	assert_int_equal(mproc_barrier_reset(barrier), 0);
	pids[0] = t_spawn(go_through_twice, (void *)1);
	assert_true(wait_long() >= 0);
	assert_waiting(1);
	pids[1] = arrive(2);
	assert_int_equal(t_reap(pids[0]), 0);
	assert_int_equal(t_reap(pids[1]), 0);
	assert_int_equal(shared->result[1] + shared->result[2], 1);
}

static void nobody_takes_the_place_of_one_who_has_joined(void **state)
{
	struct mproc__identity *other, *me;

	(void)state;
	init(1, 0);
	assert_int_equal(mproc_barrier_join(barrier), 0);
	assert_int_equal(mproc__identity_new(&other, range.range), 0);
	me = mproc__identity_act(other);
	assert_int_equal(wait_long(), -EUSERS);
	assert_int_equal(mproc_barrier_join(barrier), -EUSERS);
	assert_non_null(strstr(mproc_error_text(), "all 1 places"));
	assert_int_equal(mproc_barrier_leave(barrier), -EPERM);
	mproc__identity_act(me);
	assert_int_equal(wait_long(), 0);
	mproc__identity_kill(other);
}

static pid_t arrive_and_stop(void)
{
	pid_t pid = arrive(0);
	siginfo_t info = { 0 };

	assert_asleep(1);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT), 0);
	assert_int_equal(info.si_code, CLD_STOPPED);
	return pid;
}

/* However much later it looks, and whoever has its place by then. */
static void release_is_never_missed(void **state)
{
	struct mproc__identity *other, *me;
	pid_t pid;

	(void)state;
	init(2, 0);
	pid = arrive_and_stop();
	assert_int_equal(wait_long(), 1);
	/* Leaves and joins go by, phases, a time-out, resets. */
	assert_int_equal(mproc__identity_new(&other, range.range), 0);
	me = mproc__identity_act(other);
	assert_int_equal(mproc_barrier_wait(barrier, NULL, NULL, 1), -ETIMEDOUT);
	assert_int_equal(mproc_barrier_reset(barrier), 0);
	assert_int_equal(mproc_barrier_leave(barrier), -EPERM);
	assert_int_equal(mproc_barrier_wait(barrier, NULL, NULL, 1), -ETIMEDOUT);
	mproc__identity_act(me);
	assert_int_equal(mproc_barrier_reset(barrier), 0);
	assert_int_equal(mproc_barrier_reset(barrier), 0);
	assert_int_equal(kill(pid, SIGCONT), 0);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(shared->result[0], 0);
	mproc__identity_kill(other);
}

static void reset_is_never_taken_for_a_release(void **state)
{
	pid_t pid, other;

	(void)state;
	init(2, 0);
	pid = arrive_and_stop();
	assert_int_equal(mproc_barrier_reset(barrier), 0);
	assert_int_equal(mproc_barrier_n_waiting(barrier), 0);
	assert_int_equal(mproc_barrier_reset(barrier), 0);
	/* One place is that one's until it has seen what became of it. */
	other = arrive(1);
	assert_waiting(1);
	assert_int_equal(mproc_barrier_wait(barrier, NULL, NULL, mproc_after_ms(20)), -ETIMEDOUT);
	assert_int_equal(mproc_barrier_is_broken(barrier), 0);
	assert_int_equal(kill(pid, SIGCONT), 0);
	assert_true(wait_long() >= 0);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(t_reap(other), 0);
	assert_int_equal(shared->result[0], -EPIPE);
	assert_true(shared->result[1] >= 0);
}

/* The same, but it never looks. */
static void dead_need_not_see_a_reset(void **state)
{
	pid_t pid, other;

	(void)state;
	init(2, 0);
	pid = arrive_and_stop();
	assert_int_equal(mproc_barrier_reset(barrier), 0);
	assert_killed(pid);
	other = arrive(1);
	assert_true(wait_long() >= 0);
	assert_int_equal(t_reap(other), 0);
	assert_true(shared->result[1] >= 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_get_numbers_of_their_own_over_and_over),
		TEST(threads_get_numbers_of_their_own_as_well),
		TEST(one_party_alone_never_waits),
		TEST(misuse_is_told_and_changes_nothing),
		TEST(scribbled_barrier_is_refused),
		TEST(nothing_behind_the_end_of_the_file_is_touched),
		TEST(who_gives_up_breaks_it_for_all),
		TEST(abort_and_reset_tell_those_who_wait),
		TEST(action_that_fails_breaks_it),
		TEST(who_joins_while_the_action_runs_comes_to_the_next_phase),
		TEST(actor_that_dies_breaks_it_whatever_the_flags),
		TEST(party_that_dies_waiting_breaks_it),
		TEST(party_that_dies_waiting_has_arrived_where_it_shrinks),
		TEST(party_that_dies_before_it_arrives_breaks_it),
		TEST(party_that_dies_before_it_arrives_is_not_missed_where_it_shrinks),
		TEST(party_that_joined_and_dies_is_noticed),
		TEST(death_is_noticed_however_short_the_deadline),
		TEST(child_that_returns_from_the_action_is_told),
		TEST(who_leaves_lets_the_others_go),
		TEST(threads_come_and_go_at_an_anonymous_barrier),
		TEST(nobody_leaves_in_an_action),
		TEST(who_has_gone_on_is_no_party_of_an_anonymous_barrier),
		TEST(newcomer_takes_the_place_of_one_who_has_not_joined),
		TEST(nobody_takes_the_place_of_one_who_has_joined),
		TEST(release_is_never_missed),
		TEST(reset_is_never_taken_for_a_release),
		TEST(dead_need_not_see_a_reset),
	};

	return cmocka_run_group_tests_name("barrier", tests, NULL, NULL);
}
