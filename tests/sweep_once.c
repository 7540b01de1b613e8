/* SPDX-License-Identifier: MIT */

/*
 * The once, killed at every instruction
 *
 * What is done are two numbers that must become 1, and then stay: the function sets them
 * to 0 first, as it must. Nobody is told that it is done unless both are 1, one at most
 * is told that he did it, and if nobody did, the survivor can.
 */

#include <mproc/once.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "ipc/lock.h"
#include "ipc/participant.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"
#include "tests/support/sweep.h"

#define PROCS   8
#define THREADS 8

struct room {
	mproc_once once;
	_Atomic(uint64_t) a, b;
	_Atomic(uint64_t) told; /* those who were told that they ran it */
	_Atomic(uint64_t) done; /* helpers that came through */
};

static struct t_range range;
static struct room *room;
static unsigned n_helpers;
static pid_t holder; /* one that never ends */

static int work(void *arg)
{
	(void)arg;
	room->a = 0;
	room->b = 0;
	room->a = 1;
	room->b = 1;
	return 0;
}

static int fail(void *arg)
{
	(void)arg;
	room->a = 2;
	return -EIO;
}

static int64_t told(int r)
{
	if (r >= 0)
		t_sweep_check(room->a == 1 && room->b == 1);
	if (r == MPROC_ONCE_RAN)
		room->told++;
	return r;
}

static int64_t run(void)
{
	return told(mproc_once_run(&room->once, work, NULL, MPROC_FOREVER));
}

static int64_t run_now(void)
{
	return told(mproc_once_run(&room->once, work, NULL, MPROC_NOWAIT));
}

static int64_t run_and_fail(void)
{
	return mproc_once_run(&room->once, fail, NULL, MPROC_FOREVER);
}

/* One sleep, which the deadline ends. */
static int64_t run_in_time(void)
{
	atomic_store(&mproc__quantum_off, true);
	return told(mproc_once_run(&room->once, work, NULL, mproc_after_ms(200)));
}

/* Helpers. */

static int die(void *arg)
{
	(void)arg;
	room->a = 1;
	raise(SIGKILL);
	return 0;
}

static void die_inside(void *arg)
{
	(void)arg;
	(void)!mproc_once_run(&room->once, die, NULL, MPROC_FOREVER);
}

static int stay(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return 0;
}

static void stay_inside(void *arg)
{
	(void)arg;
	(void)!mproc_once_run(&room->once, stay, NULL, MPROC_FOREVER);
}

static int work_after_a_while(void *arg)
{
	t_sweep_rest();
	return work(arg);
}

static void run_a_while(void *arg)
{
	(void)arg;
	told(mproc_once_run(&room->once, work_after_a_while, NULL, MPROC_FOREVER));
	room->done++;
}

static void come_through(void *arg)
{
	(void)arg;
	t_sweep_check(run() >= 0);
	room->done++;
}

static void die_after_take_over(void *arg)
{
	struct mproc__lock *inner = (struct mproc__lock *)&room->once;
	struct mproc__self *me = mproc__self(room, "test");

	(void)arg;
	t_sweep_check(mproc__lock_take(inner, me, 0, MPROC_FOREVER) == MPROC__LOCK_INHERITED);
}

/* Start states. */

static void not_done(void)
{
	t_sweep_check(t_range_open(&range, PROCS, THREADS, sizeof(*room)) == 0);
	t_sweep_watch(range.base, range.size);
	room = (void *)range.room;
	t_sweep_check(mproc_once_init(&room->once, 0) == 0);
}

static void is_done(void)
{
	not_done();
	t_sweep_check(run() == MPROC_ONCE_RAN);
}

static void runner_dead(void)
{
	not_done();
	t_sweep_helper(die_inside, NULL);
}

static void heir_dead(void)
{
	runner_dead();
	t_sweep_helper(die_after_take_over, NULL);
}

static void running(void)
{
	not_done();
	t_sweep_helper(run_a_while, NULL);
	n_helpers = 1;
}

static void running_and_slept_for(void)
{
	running();
	t_sweep_helper(come_through, NULL);
	n_helpers = 2;
}

static void running_for_good(void)
{
	not_done();
	holder = t_sweep_helper(stay_inside, NULL);
}

static void runner_dead_and_slept_for(void)
{
	running_for_good();
	t_sweep_helper(come_through, NULL);
	n_helpers = 1;
	kill(holder, SIGKILL);
	while (mproc__token_held(range.range, MPROC__BYTE_SLOT(1), 1) != 0)
		;
	holder = 0;
}

static void arrive(void)
{
	t_sweep_check(mproc__self(room, "test"));
}

/* Checks. */

static bool helpers_are_through(void *arg)
{
	(void)arg;
	return room->done == n_helpers;
}

static void sound(void)
{
	const char *fault;
	uint64_t word;
	int r;

	if (holder)
		kill(holder, SIGKILL);
	t_sweep_rouse();
	r = mproc_once_run(&room->once, work, NULL, mproc_after_ms(4000));
	t_sweep_check(r >= 0);
	told(r);
	t_sweep_check(t_wait_until(helpers_are_through, NULL, mproc_after_ms(4000)));
	t_sweep_check(room->told <= 1);
	t_sweep_check(mproc_once_is_done(&room->once) == 1);
	t_sweep_check(run_now() == 0 && run() == 0);
	/* Of one who died letting go of it nobody needs to take it over. */
	word = atomic_load((_Atomic(uint64_t) *)&room->once);
	t_sweep_check(word == 0 || mproc__dead(range.range, word));
	fault = t_range_fault(&range, 2, mproc_after_ms(2000));
	if (fault)
		t_sweep_fail("%s", fault);
}

static void was_run(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result >= 0);
	t_sweep_check(!seen->returned || mproc_once_is_done(&room->once) == 1);
	t_sweep_check(!seen->peer || seen->peer_result >= 0 || seen->peer_result == -EAGAIN);
	sound();
}

static void was_tried_and_failed(const struct t_sweep_seen *seen)
{
	/* A peer may have done it meanwhile. */
	t_sweep_check(!seen->returned || seen->result == -EIO || seen->peer);
	t_sweep_check(seen->peer || seen->recovering || mproc_once_is_done(&room->once) == 0);
	sound();
}

static void was_done_before(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	t_sweep_check(mproc_once_is_done(&room->once) == 1);
	sound();
}

static void was_refused(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -EAGAIN || seen->result == -ETIMEDOUT);
	t_sweep_check(mproc_once_is_done(&room->once) == 0);
	sound();
}

#define RUN  .arrive = arrive, .peer = run_now, .recover = run
#define TRY  .arrive = arrive, .peer = run_now, .recover = run_now
#define LOOK .arrive = arrive, .flags = T_SWEEP_READ_ONLY

static const struct t_sweep_case cases[] = {
	T_SWEEP("run", "not done", not_done, run, was_run, RUN, .flags = T_SWEEP_RESUME),
	T_SWEEP("run", "done", is_done, run, was_done_before, LOOK),
	T_SWEEP("run", "runner dead", runner_dead, run, was_run, RUN),
	T_SWEEP("run", "runner dead, slept for", runner_dead_and_slept_for, run, was_run, RUN),
	T_SWEEP("run", "heir dead", heir_dead, run, was_run, RUN),
	T_SWEEP("run", "running", running, run, was_run, RUN),
	T_SWEEP("run", "running, slept for", running_and_slept_for, run, was_run, RUN),
	T_SWEEP("run and fail", "not done", not_done, run_and_fail, was_tried_and_failed, RUN,
		.flags = T_SWEEP_RESUME),
	T_SWEEP("run now", "running", running_for_good, run_now, was_refused, TRY),
	T_SWEEP("run now", "runner dead", runner_dead, run_now, was_run, RUN),
	T_SWEEP("run in time", "running", running_for_good, run_in_time, was_refused, TRY),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "once", cases, sizeof(cases) / sizeof(cases[0]));
}
