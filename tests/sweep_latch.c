/* SPDX-License-Identifier: MIT */

/*
 * The latch, killed at every instruction
 *
 * Counting down is one atomic instruction: the count is what it was or what it was to
 * become, and never more is taken away than was asked for. Nobody comes through a latch
 * that is not open, and everybody through one that is, even if the one who opened it
 * died before he woke anybody.
 */

#include <mproc/latch.h>

#include <errno.h>
#include <stdatomic.h>

#include "ipc/participant.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"
#include "tests/support/sweep.h"

#define PROCS   8
#define THREADS 8

struct room {
	mproc_latch latch;
	_Atomic(uint64_t) done; /* helpers that came through */
};

static struct t_range range;
static struct room *room;
static unsigned n_helpers;
static int start; /* count at the start */

static int64_t count_one(void)
{
	return mproc_latch_count_down(&room->latch, 1);
}

static int64_t count_two(void)
{
	return mproc_latch_count_down(&room->latch, 2);
}

static int64_t wait_for_it(void)
{
	return mproc_latch_wait(&room->latch, MPROC_FOREVER);
}

/* One sleep, which the deadline ends. */
static int64_t wait_in_time(void)
{
	atomic_store(&mproc__quantum_off, true);
	return mproc_latch_wait(&room->latch, mproc_after_ms(200));
}

static void come_through(void *arg)
{
	(void)arg;
	t_sweep_check(wait_for_it() == 0);
	t_sweep_check(mproc_latch_count(&room->latch) == 0);
	room->done++;
}

static void open_after_a_while(void *arg)
{
	(void)arg;
	t_sweep_rest();
	count_two();
	room->done++;
}

static bool helpers_are_through(void *arg)
{
	(void)arg;
	return room->done == n_helpers;
}

/* Start states. */

static void latch_at(int count)
{
	t_sweep_check(t_range_open(&range, PROCS, THREADS, sizeof(*room)) == 0);
	t_sweep_watch(range.base, range.size);
	room = (void *)range.room;
	start = count;
	t_sweep_check(mproc_latch_init(&room->latch, (uint32_t)count) == 0);
}

static void at_three(void)
{
	latch_at(3);
}

static void at_two(void)
{
	latch_at(2);
}

static void at_one(void)
{
	latch_at(1);
}

static void is_open(void)
{
	latch_at(0);
}

static void one_sleeps(void)
{
	latch_at(2);
	t_sweep_helper(come_through, NULL);
	n_helpers = 1;
}

static void two_sleep(void)
{
	one_sleeps();
	t_sweep_helper(come_through, NULL);
	n_helpers = 2;
}

static void to_be_opened(void)
{
	latch_at(2);
	t_sweep_helper(open_after_a_while, NULL);
	n_helpers = 1;
}

static void arrive(void)
{
	t_sweep_check(mproc__self(room, "test"));
}

/* Checks. */

/* @least, @most: what victim, peer and recoverer may have counted. */
static void sound(int least, int most)
{
	int count = mproc_latch_count(&room->latch);
	const char *fault;

	t_sweep_check(count >= 0 && count <= start - least && count >= start - most);
	t_sweep_check(count == 0 || room->done == 0 || n_helpers == 0);
	t_sweep_rouse();
	/* Whoever is still to count does; then all are through. */
	while ((count = mproc_latch_count(&room->latch)) > 0)
		(void)mproc_latch_count_down(&room->latch, (uint32_t)count);
	t_sweep_check(t_wait_until(helpers_are_through, NULL, mproc_after_ms(4000)));
	t_sweep_check(mproc_latch_wait(&room->latch, MPROC_NOWAIT) == 0);
	t_sweep_check(mproc_latch_count_down(&room->latch, 1) == -ERANGE);
	fault = t_range_fault(&range, 2, mproc_after_ms(2000));
	if (fault)
		t_sweep_fail("%s", fault);
}

static int counted(int64_t result, int n)
{
	return result >= 0 ? n : 0;
}

static void one_was_counted(const struct t_sweep_seen *seen)
{
	int others = (seen->peer ? counted(seen->peer_result, 1) : 0) +
		     (seen->recovered ? counted(seen->recover_result, 1) : 0);

	t_sweep_check(!seen->returned || seen->result >= 0 || seen->peer);
	sound((seen->returned ? counted(seen->result, 1) : 0) + others,
	      1 + (seen->peer ? 1 : 0) + (seen->recovering ? 1 : 0));
}

static void two_were_counted(const struct t_sweep_seen *seen)
{
	int others = (seen->peer ? counted(seen->peer_result, 1) : 0) +
		     (seen->recovered ? counted(seen->recover_result, 1) : 0);

	sound((seen->returned ? counted(seen->result, 2) : 0) + others,
	      2 + (seen->peer ? 1 : 0) + (seen->recovering ? 1 : 0));
}

static void was_refused(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -ERANGE);
	sound(0, 0);
}

static void was_waited_for(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	sound(0, start);
}

static void was_refused_in_time(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -ETIMEDOUT || seen->peer);
	sound(0, start);
}

#define COUNT .arrive = arrive, .peer = count_one, .recover = count_one, .flags = T_SWEEP_RESUME
#define WAIT  .arrive = arrive, .peer = count_two, .recover = count_two
#define LOOK  .arrive = arrive, .flags = T_SWEEP_READ_ONLY

static const struct t_sweep_case cases[] = {
	T_SWEEP("count one", "three to come", at_three, count_one, one_was_counted, COUNT),
	T_SWEEP("count one", "the last", at_one, count_one, one_was_counted, COUNT),
	T_SWEEP("count two", "the last", at_two, count_two, two_were_counted, COUNT),
	T_SWEEP("count two", "one too many", at_one, count_two, was_refused, LOOK),
	T_SWEEP("count one", "open", is_open, count_one, was_refused, LOOK),
	T_SWEEP("count one", "one sleeps", one_sleeps, count_one, one_was_counted, COUNT),
	T_SWEEP("count two", "one sleeps", one_sleeps, count_two, two_were_counted, COUNT),
	T_SWEEP("count two", "two sleep", two_sleep, count_two, two_were_counted, COUNT),
	T_SWEEP("wait", "open", is_open, wait_for_it, was_waited_for, LOOK),
	T_SWEEP("wait", "opened while it waits", to_be_opened, wait_for_it, was_waited_for, WAIT,
		.flags = T_SWEEP_RESUME),
	T_SWEEP("wait in time", "closed", at_two, wait_in_time, was_refused_in_time, WAIT),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "latch", cases, sizeof(cases) / sizeof(cases[0]));
}
