/* SPDX-License-Identifier: MIT */

/*
 * The event, killed at every instruction
 *
 * Each operation is one atomic instruction: the event is what it was or what it was
 * to become. Whoever waits comes through once it has been set, even if the setter died
 * before it woke anybody; and nobody comes through an event that was never set.
 */

#include <mproc/event.h>

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
	mproc_event event;
	_Atomic(uint64_t) done; /* helpers that came through */
};

static struct t_range range;
static struct room *room;
static unsigned n_helpers;

static int64_t set(void)
{
	return mproc_event_set(&room->event);
}

static int64_t clear(void)
{
	return mproc_event_clear(&room->event);
}

static int64_t wait_for_it(void)
{
	return mproc_event_wait(&room->event, MPROC_FOREVER);
}

/* One sleep, which the deadline ends. */
static int64_t wait_in_time(void)
{
	atomic_store(&mproc__quantum_off, true);
	return mproc_event_wait(&room->event, mproc_after_ms(200));
}

static int64_t set_and_clear(void)
{
	int64_t r = set();

	return r ? r : clear();
}

/* Helpers. */

static void come_through(void *arg)
{
	(void)arg;
	t_sweep_check(wait_for_it() == 0);
	room->done++;
}

static void set_after_a_while(void *arg)
{
	(void)arg;
	t_sweep_rest();
	t_sweep_check(set_and_clear() == 0);
	room->done++;
}

static bool helpers_are_through(void *arg)
{
	(void)arg;
	return room->done == n_helpers;
}

/* Start states. */

static void clear_event(void)
{
	t_sweep_check(t_range_open(&range, PROCS, THREADS, sizeof(*room)) == 0);
	t_sweep_watch(range.base, range.size);
	room = (void *)range.room;
	t_sweep_check(mproc_event_init(&room->event, 0) == 0);
}

static void event_that_is_set(void)
{
	clear_event();
	t_sweep_check(set() == 0);
}

static void one_sleeps(void)
{
	clear_event();
	t_sweep_helper(come_through, NULL);
	n_helpers = 1;
}

static void two_sleep(void)
{
	one_sleeps();
	t_sweep_helper(come_through, NULL);
	n_helpers = 2;
}

static void to_be_set(void)
{
	clear_event();
	t_sweep_helper(set_after_a_while, NULL);
	n_helpers = 1;
}

/* To be set while another sleeps already. */
static void to_be_set_for_two(void)
{
	one_sleeps();
	t_sweep_helper(set_after_a_while, NULL);
	n_helpers = 2;
}

static void arrive(void)
{
	t_sweep_check(mproc__self(room, "test"));
}

/* Checks. */

static void everybody_comes_through(void)
{
	const char *fault;

	t_sweep_rouse();
	t_sweep_check(t_wait_until(helpers_are_through, NULL, mproc_after_ms(4000)));
	/* The event works. */
	t_sweep_check(set() == 0 && mproc_event_is_set(&room->event) == 1);
	t_sweep_check(mproc_event_wait(&room->event, MPROC_NOWAIT) == 0);
	t_sweep_check(clear() == 0 && mproc_event_is_set(&room->event) == 0);
	t_sweep_check(mproc_event_wait(&room->event, MPROC_NOWAIT) == -EAGAIN);
	fault = t_range_fault(&range, 2, mproc_after_ms(2000));
	if (fault)
		t_sweep_fail("%s", fault);
}

static void was_set(const struct t_sweep_seen *seen)
{
	int is_set = mproc_event_is_set(&room->event);

	t_sweep_check(is_set == 1 || (is_set == 0 && !seen->returned && !seen->peer));
	if (!is_set) {
		t_sweep_check(room->done == 0);
		t_sweep_check(set() == 0);
	}
	everybody_comes_through();
}

static void was_set_before(const struct t_sweep_seen *seen)
{
	(void)seen;
	t_sweep_check(mproc_event_is_set(&room->event) == 1);
	everybody_comes_through();
}

static void was_cleared(const struct t_sweep_seen *seen)
{
	int is_set = mproc_event_is_set(&room->event);

	t_sweep_check(is_set == 0 || (is_set == 1 && !seen->returned));
	everybody_comes_through();
}

static void was_clear_before(const struct t_sweep_seen *seen)
{
	(void)seen;
	t_sweep_check(mproc_event_is_set(&room->event) == 0 && room->done == 0);
	t_sweep_check(set() == 0);
	everybody_comes_through();
}

static void was_waited_for(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	everybody_comes_through();
}

static void was_refused_in_time(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -ETIMEDOUT || seen->peer);
	everybody_comes_through();
}

#define SET  .arrive = arrive, .peer = set, .recover = set
#define WAIT .arrive = arrive, .peer = set_and_clear, .recover = set
#define LOOK .arrive = arrive

static const struct t_sweep_case cases[] = {
	T_SWEEP("set", "clear", clear_event, set, was_set, SET),
	T_SWEEP("set", "set", event_that_is_set, set, was_set_before, SET),
	T_SWEEP("set", "one sleeps", one_sleeps, set, was_set, SET),
	T_SWEEP("set", "two sleep", two_sleep, set, was_set, SET),
	T_SWEEP("clear", "set", event_that_is_set, clear, was_cleared, LOOK),
	T_SWEEP("clear", "two sleep", two_sleep, clear, was_clear_before, LOOK,
		.flags = T_SWEEP_READ_ONLY),
	T_SWEEP("wait", "set", event_that_is_set, wait_for_it, was_set_before, LOOK,
		.flags = T_SWEEP_READ_ONLY),
	T_SWEEP("wait", "set while it waits", to_be_set, wait_for_it, was_waited_for, SET,
		.flags = T_SWEEP_RESUME),
	T_SWEEP("wait", "set while two wait", to_be_set_for_two, wait_for_it, was_waited_for, WAIT),
	T_SWEEP("wait in time", "clear", clear_event, wait_in_time, was_refused_in_time, WAIT),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "event", cases, sizeof(cases) / sizeof(cases[0]));
}
