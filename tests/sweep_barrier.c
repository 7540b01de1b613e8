/* SPDX-License-Identifier: MIT */

/*
 * The barrier, killed at every instruction
 *
 * However a phase ends, it ends the same way for all who waited: all get numbers of
 * their own, the action having run, or all are told that it came to nothing. Nobody
 * waits for ever: where the victim died without a trace the survivor arrives in its
 * place. And a reset makes the barrier as it was at first.
 *
 * The calls take a lock, so a peer could do nothing beside a victim that has it: there
 * are no peers here.
 */

#include <mproc/barrier.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/participant.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"
#include "tests/support/sweep.h"

#define PROCS   8
#define THREADS 8
#define PLACES  3

struct room {
	MPROC_BARRIER_WITH(PLACES) start;
	_Atomic(uint64_t) acted;
	_Atomic(uint64_t) joined;        /* the victim has; the recoverer does not */
	_Atomic(uint64_t) done;          /* helpers that came through ... */
	_Atomic(int64_t) result[PLACES]; /* ... with these */
};

static struct t_range range;
static struct room *room;
static mproc_barrier *barrier;

/* Of this world. */
static unsigned n_parties, n_helpers;
static bool victim_joins; /* before its operation */
static bool with_action;
static uint64_t gone; /* who had the place */

static int act(void *arg)
{
	(void)arg;
	room->acted++;
	return 0;
}

static int64_t wait_until(int64_t deadline)
{
	return mproc_barrier_wait(barrier, with_action ? act : NULL, NULL, deadline);
}

static int64_t wait_for_all(void)
{
	return wait_until(MPROC_FOREVER);
}

/* One sleep, which the deadline ends. */
static int64_t wait_in_time(void)
{
	atomic_store(&mproc__quantum_off, true);
	return wait_until(mproc_after_ms(200));
}

static int64_t wait_now(void)
{
	return wait_until(MPROC_NOWAIT);
}

/* Too late before it has begun. */
static int64_t wait_late(void)
{
	return wait_until(1);
}

static int64_t join(void)
{
	return mproc_barrier_join(barrier);
}

static int64_t leave(void)
{
	return mproc_barrier_leave(barrier);
}

static int64_t break_it(void)
{
	return mproc_barrier_abort(barrier);
}

static int64_t reset(void)
{
	return mproc_barrier_reset(barrier);
}

/* Helpers. */

static void arrive(void *arg)
{
	int64_t r;

	(void)arg;
	r = wait_for_all();
	room->result[atomic_fetch_add(&room->done, 1)] = r;
}

static void arrive_later(void *arg)
{
	t_sweep_check(mproc__self(room, "test"));
	t_sweep_rest();
	arrive(arg);
}

static void join_and_die(void *arg)
{
	(void)arg;
	t_sweep_check(join() == 0);
}

static void join_and_leave(void *arg)
{
	(void)arg;
	t_sweep_check(join() == 0 && leave() == 0);
}

static void arrive_alone(void *arg)
{
	(void)arg;
	t_sweep_check(wait_now() == 0);
}

static void arrive_and_die(void *arg)
{
	(void)arg;
	(void)wait_for_all();
	t_sweep_fail("it was released");
}

/* Start states. */

static void made_for(unsigned parties, uint32_t flags)
{
	t_sweep_check(t_range_open(&range, PROCS, THREADS, sizeof(*room)) == 0);
	t_sweep_watch(range.base, range.size);
	room = (void *)range.room;
	barrier = &room->start.barrier;
	n_parties = parties;
	t_sweep_check(mproc_barrier_init(barrier, parties, flags) == 0);
}

static void waiting(unsigned parties, unsigned helpers)
{
	made_for(parties, 0);
	for (; n_helpers < helpers; n_helpers++)
		t_sweep_helper(arrive, NULL);
}

static void nobody_there(void)
{
	made_for(2, 0);
}

static void one_waits(void)
{
	waiting(2, 1);
}

static void two_wait(void)
{
	waiting(3, 2);
}

static void one_waits_for_an_action(void)
{
	with_action = true;
	one_waits();
}

static void one_of_three_waits(void)
{
	waiting(3, 1);
}

static void one_comes_later(void)
{
	made_for(2, 0);
	t_sweep_helper(arrive_later, NULL);
	n_helpers = 1;
}

static void another_waits_and_one_comes_later(void)
{
	waiting(3, 1);
	t_sweep_helper(arrive_later, NULL);
	n_helpers = 2;
}

static void one_joined_and_died(void)
{
	made_for(2, 0);
	t_sweep_helper(join_and_die, NULL);
}

static void one_is_missed_by_nobody(void)
{
	made_for(2, MPROC_BARRIER_SHRINK);
	t_sweep_helper(join_and_die, NULL);
}

static void one_is_missed_by_nobody_who_acts(void)
{
	with_action = true;
	one_is_missed_by_nobody();
}

static void one_died_waiting(void)
{
	pid_t pid;

	made_for(2, 0);
	pid = t_sweep_helper(arrive_and_die, NULL);
	kill(pid, SIGKILL);
	while (mproc__token_held(range.range, MPROC__BYTE_SLOT(1), 1) != 0)
		;
}

static void one_is_gone_and_missed_by_nobody(void)
{
	one_is_missed_by_nobody();
	while (mproc__token_held(range.range, MPROC__BYTE_SLOT(1), 1) != 0)
		;
}

static uint64_t word_of_place(unsigned i)
{
	return ((_Atomic(uint64_t) *)room->start.places)[i];
}

static void one_has_gone_on(void)
{
	made_for(1, MPROC_BARRIER_ANONYMOUS);
	t_sweep_helper(arrive_alone, NULL);
	while (mproc__token_held(range.range, MPROC__BYTE_SLOT(1), 1) != 0)
		;
	gone = word_of_place(0);
	t_sweep_check(gone);
}

static void it_is_broken(void)
{
	made_for(2, 0);
	t_sweep_check(break_it() == 0);
}

static void one_has_left(void)
{
	made_for(1, 0);
	t_sweep_helper(join_and_leave, NULL);
}

static void joined_and_one_waits(void)
{
	victim_joins = true;
	one_waits();
}

static void joined_and_two_wait_for_an_action(void)
{
	victim_joins = with_action = true;
	two_wait();
}

static void victim_arrives(void)
{
	t_sweep_check(mproc__self(room, "test"));
	if (victim_joins && !atomic_exchange(&room->joined, 1))
		t_sweep_check(join() == 0);
}

static void recoverer_arrives(void)
{
	t_sweep_check(mproc__self(room, "test"));
}

/* Checks. */

static bool helpers_are_through(void *arg)
{
	(void)arg;
	return room->done == n_helpers;
}

static pid_t arrive_beside(void)
{
	pid_t pid = fork();

	t_sweep_check(pid >= 0);
	if (pid == 0)
		_exit(mproc_barrier_wait(barrier, NULL, NULL, mproc_after_ms(4000)) < 0);
	return pid;
}

static void it_works_again(void)
{
	pid_t pids[PLACES];
	const char *fault;
	int status;

	t_sweep_check(reset() == 0);
	t_sweep_check(mproc_barrier_is_broken(barrier) == 0);
	t_sweep_check(mproc_barrier_n_waiting(barrier) == 0);
	t_sweep_check(mproc_barrier_n_parties(barrier) == (int)n_parties);
	for (unsigned i = 1; i < n_parties; i++)
		pids[i] = arrive_beside();
	t_sweep_check(mproc_barrier_wait(barrier, NULL, NULL, mproc_after_ms(4000)) >= 0);
	for (unsigned i = 1; i < n_parties; i++) {
		t_sweep_check(waitpid(pids[i], &status, 0) == pids[i]);
		t_sweep_check(status == 0);
	}
	fault = t_range_fault(&range, 2, mproc_after_ms(2000));
	if (fault)
		t_sweep_fail("%s", fault);
}

/*
 * Is there nothing left to be done by those who wait? A dead owner of the lock is found
 * by them, and who is complete releases himself.
 */
static bool is_settled(void *arg)
{
	uint64_t word = *(_Atomic(uint64_t) *)barrier;
	int n = mproc_barrier_n_waiting(barrier);

	if (helpers_are_through(arg))
		return true;
	if (mproc__owner_id(word) && mproc__dead(range.range, word))
		return false;
	return n == 0 || n < mproc_barrier_n_parties(barrier);
}

/* Arrive where the victim did not, if it is waited for. Return: the result, or INT64_MIN. */
static int64_t substitute(void)
{
	t_sweep_check(t_wait_until(is_settled, NULL, mproc_after_ms(4000)));
	if (t_wait_until(helpers_are_through, NULL, mproc_after_ms(100)))
		return INT64_MIN;
	if (mproc_barrier_is_broken(barrier) == 1 || mproc_barrier_n_waiting(barrier) == 0)
		return INT64_MIN;
	return wait_until(mproc_after_ms(4000));
}

/* A phase ended in one way for all. Return: whether it was released. */
static bool same_for_all(int64_t victims, int64_t substitutes)
{
	unsigned numbers = 0, released = 0, n = n_helpers;
	int64_t all[PLACES + 2];

	for (unsigned i = 0; i < n_helpers; i++)
		all[i] = room->result[i];
	if (victims != INT64_MIN)
		all[n++] = victims;
	if (substitutes != INT64_MIN)
		all[n++] = substitutes;
	for (unsigned i = 0; i < n; i++) {
		if (all[i] < 0) {
			t_sweep_check(all[i] == -EPIPE || (i >= n_helpers && all[i] == -ETIMEDOUT));
			continue;
		}
		t_sweep_check(!(numbers & 1u << all[i]));
		numbers |= 1u << all[i];
		released++;
	}
	t_sweep_check(released == 0 || released == n);
	t_sweep_check(!released || !with_action || room->acted == 1);
	return n && released == n;
}

static bool sound(int64_t victims)
{
	int64_t substitutes;
	bool released;

	t_sweep_rouse();
	substitutes = substitute();
	t_sweep_check(t_wait_until(helpers_are_through, NULL, mproc_after_ms(4000)));
	released = same_for_all(victims, substitutes);
	it_works_again();
	return released;
}

static void was_waited_for(const struct t_sweep_seen *seen)
{
	bool released = sound(seen->returned ? seen->result : INT64_MIN);

	t_sweep_check(!seen->returned || released == (seen->result >= 0));
}

static void was_released(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result >= 0);
	was_waited_for(seen);
}

static void was_told(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -EPIPE);
	was_waited_for(seen);
}

static void was_refused_in_time(const struct t_sweep_seen *seen)
{
	if (seen->returned) {
		t_sweep_check(seen->result == -ETIMEDOUT);
		t_sweep_check(seen->recovering || mproc_barrier_is_broken(barrier) == 1);
	}
	was_waited_for(seen);
}

static void was_refused_now(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -EAGAIN);
	sound(INT64_MIN);
}

static void was_joined(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	if (seen->returned && !seen->recovering)
		t_sweep_check(mproc_barrier_n_parties(barrier) == (int)n_parties);
	sound(INT64_MIN);
}

static void took_the_place(const struct t_sweep_seen *seen)
{
	/* Who has gone on has not joined: his death would count. */
	t_sweep_check(!(word_of_place(1) & 4) || word_of_place(0) != gone);
	was_joined(seen);
}

static void was_left(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	if (seen->returned && !seen->recovering)
		t_sweep_check(mproc_barrier_n_parties(barrier) == (int)n_parties - 1);
	/* It may have died with its place, which breaks the barrier, or without. */
	t_sweep_check(sound(INT64_MIN) || !seen->returned || seen->recovering);
}

static void was_broken(const struct t_sweep_seen *seen)
{
	if (seen->returned && !seen->recovering)
		t_sweep_check(mproc_barrier_is_broken(barrier) == 1);
	t_sweep_check(!sound(INT64_MIN) || !seen->returned);
}

static void was_reset(const struct t_sweep_seen *seen)
{
	if (seen->returned && !seen->recovering) {
		t_sweep_check(mproc_barrier_is_broken(barrier) == 0);
		t_sweep_check(mproc_barrier_n_waiting(barrier) == 0);
	}
	t_sweep_check(!sound(INT64_MIN) || !seen->returned);
}

#define RESET .arrive = victim_arrives, .recover = reset
#define BREAK .arrive = victim_arrives, .recover = break_it
#define JOIN  .arrive = recoverer_arrives, .recover = join

static const struct t_sweep_case cases[] = {
	T_SWEEP("wait", "one waits", one_waits, wait_for_all, was_released, RESET),
	T_SWEEP("wait", "two wait", two_wait, wait_for_all, was_released, BREAK),
	T_SWEEP("wait", "one waits, action", one_waits_for_an_action, wait_for_all, was_released,
		RESET),
	T_SWEEP("wait", "one comes later", one_comes_later, wait_for_all, was_released, BREAK),
	T_SWEEP("wait", "one waits, one comes", another_waits_and_one_comes_later, wait_for_all,
		was_released, RESET),
	T_SWEEP("wait", "one joined, died", one_joined_and_died, wait_for_all, was_told, RESET),
	T_SWEEP("wait", "one died, shrinks", one_is_missed_by_nobody, wait_for_all, was_released,
		RESET),
	T_SWEEP("wait", "one died, shrinks, action", one_is_missed_by_nobody_who_acts, wait_for_all,
		was_released, BREAK),
	T_SWEEP("wait", "one died waiting", one_died_waiting, wait_for_all, was_waited_for, RESET),
	T_SWEEP("wait", "broken", it_is_broken, wait_for_all, was_told, RESET),
	T_SWEEP("wait in time", "nobody", nobody_there, wait_in_time, was_refused_in_time, RESET),
	T_SWEEP("wait in time", "one waits", one_of_three_waits, wait_in_time, was_refused_in_time,
		RESET),
	T_SWEEP("wait now", "nobody", nobody_there, wait_now, was_refused_now, RESET),
	T_SWEEP("wait now", "one waits", one_waits, wait_now, was_released, JOIN),
	T_SWEEP("join", "vacant", nobody_there, join, was_joined, JOIN),
	T_SWEEP("wait now", "one died, shrinks", one_is_gone_and_missed_by_nobody, wait_now,
		was_released, RESET),
	T_SWEEP("wait late", "one died, shrinks", one_is_gone_and_missed_by_nobody, wait_late,
		was_released, RESET),
	T_SWEEP("join", "one has gone on", one_has_gone_on, join, took_the_place, JOIN),
	T_SWEEP("join", "one has left", one_has_left, join, was_joined, JOIN),
	T_SWEEP("leave", "one waits", joined_and_one_waits, leave, was_left, RESET),
	T_SWEEP("leave", "two wait, action", joined_and_two_wait_for_an_action, leave, was_left,
		BREAK),
	T_SWEEP("abort", "one waits", one_waits, break_it, was_broken, RESET),
	T_SWEEP("abort", "two wait", two_wait, break_it, was_broken, RESET),
	T_SWEEP("reset", "two wait", two_wait, reset, was_reset, RESET),
	T_SWEEP("reset", "broken", it_is_broken, reset, was_reset, RESET),
	T_SWEEP("reset", "one has left", one_has_left, reset, was_reset, BREAK),
	T_SWEEP("reset", "one died waiting", one_died_waiting, reset, was_reset, RESET),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "barrier", cases, sizeof(cases) / sizeof(cases[0]));
}
