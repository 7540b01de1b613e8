/* SPDX-License-Identifier: MIT */

/*
 * The semaphore, killed at every instruction
 *
 * Permits: whoever dies wherever, as many as at the start can be held by the living, and
 * not one more. Signals: a unit is lost only with one who was taking it. Leases: a unit
 * is lost never; it is gone when somebody has said that it is done with. And whoever
 * waits for what is there comes through, also if nobody has lived to wake him.
 */

#include <mproc/semaphore.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "ipc/participant.h"
#include "ipc/semaphore_layout.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"
#include "tests/support/sweep.h"

#define PROCS   8
#define THREADS 8
#define N       2

struct room {
	MPROC_SEMAPHORE_WITH(N) s;
	_Atomic(uint64_t) given;    /* what the victim owns has been put into its hands */
	_Atomic(uint64_t) done;     /* helpers that came through */
	_Atomic(uint64_t) consumed; /* units that helpers and peers have done with */
};

static struct t_range range;
static struct room *room;
static mproc_semaphore *s;
static struct mproc__semaphore *raw;

/* Of this world. */
static uint32_t kind;
static int units;          /* there at the start */
static unsigned give;      /* cells that the victim owns when it begins */
static unsigned n_helpers; /* living ones, which come through once they can */
static pid_t holder;       /* one that never lets go */

/* Operations. */

static int64_t acquire(void)
{
	return mproc_semaphore_acquire(s, MPROC_FOREVER);
}

static int64_t acquire_now(void)
{
	return mproc_semaphore_acquire(s, MPROC_NOWAIT);
}

/* One sleep, which the deadline ends. */
static int64_t acquire_in_time(void)
{
	atomic_store(&mproc__quantum_off, true);
	return mproc_semaphore_acquire(s, mproc_after_ms(100));
}

static int64_t release_one(void)
{
	return mproc_semaphore_release(s, 1);
}

static int64_t release_two(void)
{
	return mproc_semaphore_release(s, 2);
}

static int64_t ack(void)
{
	return mproc_semaphore_ack(s);
}

/* What is taken is done with, or goes back. */
static int64_t take_and_finish(int64_t deadline)
{
	int64_t r = mproc_semaphore_acquire(s, deadline);

	if (r < 0)
		return r;
	t_sweep_check(r == 0);
	if (kind == MPROC_SEMAPHORE_PERMITS) {
		t_sweep_check(release_one() == 0);
		return r;
	}
	if (kind == MPROC_SEMAPHORE_LEASES)
		t_sweep_check(ack() == 0);
	room->consumed++;
	return r;
}

static int64_t pass_now(void)
{
	return take_and_finish(MPROC_NOWAIT);
}

/* Helpers. */

static void come_through(void *arg)
{
	(void)arg;
	t_sweep_check(take_and_finish(MPROC_FOREVER) == 0);
	room->done++;
}

static void hold(uintptr_t n)
{
	for (uintptr_t i = 0; i < n; i++)
		t_sweep_check(acquire() == 0);
}

static void hold_a_while(void *arg)
{
	hold((uintptr_t)arg);
	t_sweep_rest();
	for (uintptr_t i = 0; i < (uintptr_t)arg; i++) {
		t_sweep_check((kind == MPROC_SEMAPHORE_LEASES ? ack() : release_one()) == 0);
		room->consumed += kind == MPROC_SEMAPHORE_LEASES;
	}
	room->done++;
}

static void hold_for_good(void *arg)
{
	hold((uintptr_t)arg);
	for (;;)
		pause();
}

static void die_holding(void *arg)
{
	hold((uintptr_t)arg);
}

/* What its thread held goes as if that had ended; the process lives on. */
static void live_on(void *arg)
{
	hold((uintptr_t)arg);
	mproc__self_end();
	for (;;)
		pause();
}

static void release_after_a_while(void *arg)
{
	t_sweep_rest();
	t_sweep_check(mproc_semaphore_release(s, (uint32_t)(uintptr_t)arg) == 0);
	room->done++;
}

/* Dead with a cell that holds nothing. */
static void die_with_a_cell(void *arg)
{
	(void)arg;
	atomic_store(&raw->cells[0].owner, mproc__self(room, "test")->word);
}

/* Dead with a unit on its way. */
static void die_on_the_way(void *arg)
{
	die_with_a_cell(arg);
	atomic_store(&raw->taken, 1 << 16 | 1);
}

/* Start states. */

static void make(uint32_t k, int n)
{
	t_sweep_check(t_range_open(&range, PROCS, THREADS, sizeof(*room)) == 0);
	t_sweep_watch(range.base, range.size);
	room = (void *)range.room;
	s = &room->s.semaphore;
	raw = (void *)s;
	kind = k;
	units = n;
	t_sweep_check(mproc_semaphore_init(s, k, (uint32_t)n,
					   k == MPROC_SEMAPHORE_LEASES
						   ? MPROC_SEMAPHORE_OPTS(.leases = N, .max = 4)
					   : k == MPROC_SEMAPHORE_SIGNALS
						   ? MPROC_SEMAPHORE_OPTS(.max = 4)
						   : NULL) == 0);
}

static void helper(void (*fn)(void *arg), uintptr_t n)
{
	t_sweep_helper(fn, (void *)n);
	n_helpers++;
}

/* The victim is to own @n cells; until it has arrived they are this process's. */
static void given(unsigned n)
{
	struct mproc__self *me = mproc__self(room, "test");

	t_sweep_check(me);
	for (unsigned i = 0; i < n; i++) {
		atomic_store(&raw->cells[i].owner, me->word);
		if (kind == MPROC_SEMAPHORE_LEASES) {
			atomic_store(&raw->cells[i].grant, (uint64_t)(i + 1) << 1 | 1);
			atomic_store(&raw->taken, (uint64_t)(i + 1) << 16);
		}
	}
	give = n;
}

static void arrive(void)
{
	struct mproc__self *me = mproc__self(room, "test");

	t_sweep_check(me);
	if (!give || atomic_exchange(&room->given, 1))
		return;
	for (unsigned i = 0; i < give; i++)
		atomic_store(&raw->cells[i].owner, me->word);
}

static void permits_free(void)
{
	make(MPROC_SEMAPHORE_PERMITS, N);
}

static void permits_held(void)
{
	permits_free();
	helper(hold_a_while, N);
}

static void permits_held_and_slept_for(void)
{
	permits_held();
	helper(come_through, 0);
}

static void permits_held_for_good(void)
{
	permits_free();
	holder = t_sweep_helper(hold_for_good, (void *)N);
}

static void one_permit_held(void)
{
	permits_free();
	holder = t_sweep_helper(hold_for_good, (void *)1);
}

static void permits_of_the_dead(void)
{
	permits_free();
	t_sweep_helper(die_holding, (void *)N);
}

static void permits_of_an_ended_thread(void)
{
	permits_free();
	holder = t_sweep_helper(live_on, (void *)N);
}

/* One who sleeps beside holders that have died since. */
static void permits_of_the_dead_and_slept_for(void)
{
	permits_held_for_good();
	helper(come_through, 0);
	kill(holder, SIGKILL);
	while (mproc__token_held(range.range, MPROC__BYTE_SLOT(1), 1) != 0)
		;
	holder = 0;
}

static void sleeper_dead(void)
{
	pid_t sleeper;

	permits_held();
	sleeper = t_sweep_helper(come_through, NULL);
	kill(sleeper, SIGKILL);
	while (mproc__token_held(range.range, MPROC__BYTE_SLOT(2), 1) != 0)
		;
}

static void permit_owned(void)
{
	permits_free();
	given(1);
}

static void permits_owned_and_slept_for(void)
{
	permits_free();
	given(N);
	helper(come_through, 0);
	helper(come_through, 0);
}

static void no_signal(void)
{
	make(MPROC_SEMAPHORE_SIGNALS, 0);
}

static void one_signal(void)
{
	make(MPROC_SEMAPHORE_SIGNALS, 1);
}

static void signals_full(void)
{
	make(MPROC_SEMAPHORE_SIGNALS, 4);
}

static void signal_to_come(void)
{
	no_signal();
	helper(release_after_a_while, 2);
	units = 2;
}

static void signals_slept_for(void)
{
	no_signal();
	helper(come_through, 0);
	helper(come_through, 0);
}

static void no_unit(void)
{
	make(MPROC_SEMAPHORE_LEASES, 0);
}

static void one_unit(void)
{
	make(MPROC_SEMAPHORE_LEASES, 1);
}

static void units_full(void)
{
	make(MPROC_SEMAPHORE_LEASES, 4);
}

static void unit_to_come(void)
{
	no_unit();
	helper(release_after_a_while, 1);
	units = 1;
}

static void units_slept_for(void)
{
	no_unit();
	helper(come_through, 0);
	helper(come_through, 0);
}

static void units_of_the_dead(void)
{
	make(MPROC_SEMAPHORE_LEASES, N);
	t_sweep_helper(die_holding, (void *)N);
}

static void unit_of_an_ended_thread(void)
{
	one_unit();
	holder = t_sweep_helper(live_on, (void *)1);
}

static void unit_on_its_way_to_the_dead(void)
{
	one_unit();
	t_sweep_helper(die_on_the_way, NULL);
}

static void cells_of_the_dead(void)
{
	one_unit();
	t_sweep_helper(die_with_a_cell, NULL);
	atomic_store(&raw->cells[1].owner, atomic_load(&raw->cells[0].owner));
}

/* A unit is there, yet as many are out as may be. */
static void all_leased(void)
{
	make(MPROC_SEMAPHORE_LEASES, N + 1);
	helper(hold_a_while, N);
}

static void leased_for_good(void)
{
	make(MPROC_SEMAPHORE_LEASES, N);
	holder = t_sweep_helper(hold_for_good, (void *)N);
}

static void unit_owned(void)
{
	one_unit();
	given(1);
}

static void units_owned_and_slept_for(void)
{
	make(MPROC_SEMAPHORE_LEASES, N + 1);
	given(N);
	helper(come_through, 0);
}

/* Checks. */

static bool as_many_are_through(void *arg)
{
	return room->done >= (uint64_t)(uintptr_t)arg;
}

static void wait_for(unsigned n)
{
	t_sweep_check(
		t_wait_until(as_many_are_through, (void *)(uintptr_t)n, mproc_after_ms(4000)));
}

static void in_order(void)
{
	const char *fault = t_range_fault(&range, 2, mproc_after_ms(2000));

	if (fault)
		t_sweep_fail("%s", fault);
}

static void let_all_go(void)
{
	if (holder)
		kill(holder, SIGKILL);
	t_sweep_rouse();
}

static void permits_are_sound(void)
{
	struct mproc_semaphore_holder holders[N + 1];

	let_all_go();
	wait_for(n_helpers);
	for (int i = 0; i < N; i++)
		t_sweep_check(mproc_semaphore_acquire(s, mproc_after_ms(4000)) == 0);
	t_sweep_check(acquire_now() == -EAGAIN);
	t_sweep_check(mproc_semaphore_value(s) == 0);
	t_sweep_check(mproc_semaphore_holders(s, holders, N + 1) == N);
	t_sweep_check(holders[0].pid == (uint32_t)getpid());
	t_sweep_check(release_two() == 0);
	t_sweep_check(release_one() == -ERANGE);
	t_sweep_check(mproc_semaphore_value(s) == N);
	in_order();
}

/* @least, @most: units that have been, beyond those at the start. */
static void units_are_sound(int least, int most)
{
	int64_t end = mproc_after_ms(8000);
	int there, n = 0, extra = 0, r;

	let_all_go();
	/* What is there, or leased to the dead, reaches those who wait without our doing. */
	there = mproc_semaphore_value(s);
	t_sweep_check(there >= 0);
	if (there > 0 && n_helpers)
		wait_for(1);
	/* Those for whom nothing was meant to be there are given something. */
	while (!t_wait_until(as_many_are_through, (void *)(uintptr_t)n_helpers,
			     mproc_after_ms(20))) {
		t_sweep_check(mproc_now() < end);
		if (mproc_semaphore_value(s) == 0 && release_one() == 0)
			extra++;
	}
	/* What one had whom we have just killed may take a moment to be his no more. */
	do {
		bool more = holder && n + (int)room->consumed < units + most;

		r = mproc_semaphore_acquire(s, more ? mproc_after_ms(2000) : MPROC_NOWAIT);
		n += r == 0;
		if (r == 0 && kind == MPROC_SEMAPHORE_LEASES)
			t_sweep_check(ack() == 0);
	} while (r == 0);
	t_sweep_check(r == -EAGAIN || r == -ETIMEDOUT);
	n += (int)room->consumed - extra - units;
	if (n < least || n > most)
		t_sweep_fail("%d units more than at the start, from %d to %d were to be", n, least,
			     most);
	t_sweep_check(mproc_semaphore_value(s) == 0);
	t_sweep_check(mproc_semaphore_holders(s, NULL, 0) == 0);
	t_sweep_check(release_two() == 0 && release_two() == 0 && release_one() == -ERANGE);
	t_sweep_check(acquire_now() == 0 && acquire_now() == 0);
	in_order();
}

static void permit_was_taken(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	t_sweep_check(!seen->peer || seen->peer_result == 0 || seen->peer_result == -EAGAIN);
	permits_are_sound();
}

static void permit_was_refused(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -EAGAIN || seen->result == -ETIMEDOUT);
	permits_are_sound();
}

static void permit_was_released(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	permits_are_sound();
}

static void release_was_refused(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -ERANGE);
	permits_are_sound();
}

/* One whom a peer has been quicker than. */
static bool outrun(const struct t_sweep_seen *seen)
{
	return seen->peer && seen->result == -EAGAIN;
}

/* Killed as it takes one: gone, with recoverers that did the same. */
static void signal_was_taken(const struct t_sweep_seen *seen)
{
	int took = seen->returned && seen->result == 0;

	t_sweep_check(!seen->returned || seen->result == 0 || outrun(seen));
	took += seen->recovered && seen->recover_result == 0;
	units_are_sound(-1 - seen->recovering, -took);
}

static void signal_was_refused(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -EAGAIN || seen->result == -ETIMEDOUT);
	units_are_sound(0, 0);
}

static void signals_were_released(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	units_are_sound((seen->returned ? 2 : 0) - seen->recovering, 2);
}

static void units_were_refused(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -ERANGE);
	units_are_sound(0, 0);
}

static void unit_was_leased(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0 || outrun(seen));
	units_are_sound(0, 0);
}

static void unit_was_refused(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -EAGAIN || seen->result == -ETIMEDOUT);
	units_are_sound(0, 0);
}

static void units_were_released(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	units_are_sound(seen->returned ? 2 : 0, 2);
}

static void unit_was_acked(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	units_are_sound(-1, seen->returned ? -1 : 0);
}

static void ack_was_refused(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -EPERM);
	units_are_sound(0, 0);
}

#define ALL     .arrive = arrive, .peer = pass_now, .recover = acquire
#define NOW     .arrive = arrive, .peer = pass_now, .recover = acquire_now
#define RESUMED .flags = T_SWEEP_RESUME
#define P       "permits: "
#define S       "signals: "
#define L       "leases: "

static const struct t_sweep_case cases[] = {
	T_SWEEP(P "acquire", "free", permits_free, acquire, permit_was_taken, ALL, RESUMED),
	T_SWEEP(P "acquire", "one held", one_permit_held, acquire, permit_was_taken, ALL),
	T_SWEEP(P "acquire", "all held", permits_held, acquire, permit_was_taken, ALL),
	T_SWEEP(P "acquire", "all held, slept for", permits_held_and_slept_for, acquire,
		permit_was_taken, ALL),
	T_SWEEP(P "acquire", "all held, sleeper dead", sleeper_dead, acquire, permit_was_taken,
		ALL),
	T_SWEEP(P "acquire", "holder dead", permits_of_the_dead, acquire, permit_was_taken, ALL,
		RESUMED),
	T_SWEEP(P "acquire", "holder dead, slept for", permits_of_the_dead_and_slept_for, acquire,
		permit_was_taken, ALL),
	T_SWEEP(P "acquire", "holder's thread ended", permits_of_an_ended_thread, acquire,
		permit_was_taken, ALL),
	T_SWEEP(P "acquire now", "all held", permits_held_for_good, acquire_now, permit_was_refused,
		NOW),
	T_SWEEP(P "acquire now", "holder dead", permits_of_the_dead, acquire_now, permit_was_taken,
		NOW),
	T_SWEEP(P "acquire in time", "all held", permits_held_for_good, acquire_in_time,
		permit_was_refused, NOW),
	T_SWEEP(P "release one", "owned", permit_owned, release_one, permit_was_released, ALL,
		RESUMED),
	T_SWEEP(P "release one", "owned, two sleep", permits_owned_and_slept_for, release_one,
		permit_was_released, ALL, RESUMED),
	T_SWEEP(P "release two", "owned, two sleep", permits_owned_and_slept_for, release_two,
		permit_was_released, ALL, RESUMED),
	T_SWEEP(P "release one", "another's", one_permit_held, release_one, permit_was_released,
		ALL),
	T_SWEEP(P "release one", "full", permits_free, release_one, release_was_refused,
		.arrive = arrive, .flags = T_SWEEP_READ_ONLY),
	T_SWEEP(P "release one", "held by the dead", permits_of_the_dead, release_one,
		release_was_refused, ALL),
	T_SWEEP(P "release two", "one held", one_permit_held, release_two, release_was_refused,
		ALL),

	T_SWEEP(S "acquire", "one there", one_signal, acquire_now, signal_was_taken, NOW, RESUMED),
	T_SWEEP(S "acquire", "to come", signal_to_come, acquire, signal_was_taken, ALL),
	T_SWEEP(S "acquire in time", "none", no_signal, acquire_in_time, signal_was_refused, NOW),
	T_SWEEP(S "release two", "none", no_signal, release_two, signals_were_released, NOW,
		RESUMED),
	T_SWEEP(S "release two", "two sleep", signals_slept_for, release_two, signals_were_released,
		NOW, RESUMED),
	T_SWEEP(S "release two", "full", signals_full, release_two, units_were_refused,
		.arrive = arrive, .flags = T_SWEEP_READ_ONLY),

	T_SWEEP(L "acquire", "one there", one_unit, acquire_now, unit_was_leased, NOW, RESUMED),
	T_SWEEP(L "acquire", "full", units_full, acquire, unit_was_leased, NOW, RESUMED),
	T_SWEEP(L "acquire", "to come", unit_to_come, acquire, unit_was_leased, NOW),
	T_SWEEP(L "acquire", "holder dead", units_of_the_dead, acquire, unit_was_leased, NOW,
		RESUMED),
	T_SWEEP(L "acquire", "holder's thread ended", unit_of_an_ended_thread, acquire,
		unit_was_leased, NOW),
	T_SWEEP(L "acquire", "on its way to the dead", unit_on_its_way_to_the_dead, acquire_now,
		unit_was_leased, NOW, RESUMED),
	T_SWEEP(L "acquire", "cells are the dead's", cells_of_the_dead, acquire_now,
		unit_was_leased, NOW, RESUMED),
	T_SWEEP(L "acquire", "all leased", all_leased, acquire, unit_was_leased, NOW),
	T_SWEEP(L "acquire in time", "all leased", leased_for_good, acquire_in_time,
		unit_was_refused, NOW),
	T_SWEEP(L "release two", "none", no_unit, release_two, units_were_released, NOW, RESUMED),
	T_SWEEP(L "release two", "two sleep", units_slept_for, release_two, units_were_released,
		NOW, RESUMED),
	T_SWEEP(L "release two", "full", units_full, release_two, units_were_refused,
		.arrive = arrive, .flags = T_SWEEP_READ_ONLY),
	T_SWEEP(L "ack", "owned", unit_owned, ack, unit_was_acked, NOW, RESUMED),
	T_SWEEP(L "ack", "owned, slept for", units_owned_and_slept_for, ack, unit_was_acked, NOW,
		RESUMED),
	T_SWEEP(L "ack", "nothing owned", one_unit, ack, ack_was_refused, .arrive = arrive,
		.flags = T_SWEEP_READ_ONLY),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "semaphore", cases, sizeof(cases) / sizeof(cases[0]));
}
