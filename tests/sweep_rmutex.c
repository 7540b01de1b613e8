/* SPDX-License-Identifier: MIT */

/*
 * The recursive mutex, killed at every instruction
 *
 * Two numbers under it are equal whenever it is free. Whatever the depth at which its
 * owner dies, the next one inherits all of it, at depth one.
 */

#include <mproc/rmutex.h>

#include <errno.h>
#include <stdatomic.h>

#include "ipc/participant.h"
#include "ipc/rmutex.h"
#include "tests/support/child.h"
#include "tests/support/range.h"
#include "tests/support/sweep.h"

#define PROCS   8
#define THREADS 8

struct room {
	mproc_rmutex rmutex;
	_Atomic(uint64_t) a, b;
	_Atomic(uint64_t) done; /* helpers that came through */
};

static struct t_range range;
static struct room *room;
static bool dirty; /* a dead owner is part of the start state */
static unsigned n_helpers;
static int depth; /* so often the victim has locked it when it begins */

static int64_t lock(void)
{
	int told = mproc_rmutex_lock(&room->rmutex, MPROC_FOREVER);

	if (told == 0)
		t_sweep_check(room->a == room->b);
	else if (told > 0)
		room->b = (uint64_t)room->a;
	return told;
}

static int64_t unlock(void)
{
	room->a++;
	room->b++;
	return mproc_rmutex_unlock(&room->rmutex);
}

/* In twice, out twice. */
static int64_t section(void)
{
	int64_t told = lock();

	t_sweep_check(told >= 0 && lock() == told);
	t_sweep_check(unlock() == 0 && unlock() == 0);
	return told;
}

static int64_t release_all(void)
{
	return mproc__rmutex_release_all(&room->rmutex);
}

static int64_t retake(void)
{
	return mproc__rmutex_retake(&room->rmutex, 3);
}

/* Helpers. */

static void hold_a_while(void *arg)
{
	(void)arg;
	t_sweep_check(lock() >= 0 && lock() >= 0);
	t_sweep_rest();
	t_sweep_check(unlock() == 0 && unlock() == 0);
	room->done++;
}

static void die_deep(void *arg)
{
	(void)arg;
	t_sweep_check(lock() >= 0 && lock() >= 0);
	room->a++;
}

/* Start states. */

static void free_one(void)
{
	t_sweep_check(t_range_open(&range, PROCS, THREADS, sizeof(*room)) == 0);
	t_sweep_watch(range.base, range.size);
	room = (void *)range.room;
	t_sweep_check(mproc_rmutex_init(&room->rmutex, 0) == 0);
}

static void held(void)
{
	free_one();
	t_sweep_helper(hold_a_while, NULL);
	n_helpers = 1;
}

static void owner_dead(void)
{
	free_one();
	t_sweep_helper(die_deep, NULL);
	dirty = true;
}

static void owned_once(void)
{
	free_one();
	depth = 1;
}

static void owned_deep(void)
{
	free_one();
	depth = 3;
}

static void arrive(void)
{
	t_sweep_check(mproc__self(room, "test"));
	for (int i = 0; i < depth; i++)
		t_sweep_check(lock() >= 0);
}

/* Who recovers has nothing of the victim's. */
static void arrive_empty_handed(void)
{
	t_sweep_check(mproc__self(room, "test"));
}

/* Checks. */

static bool helpers_are_through(void *arg)
{
	(void)arg;
	return room->done == n_helpers;
}

/* @owned: the victim that returned died as the owner. */
static void sound(const struct t_sweep_seen *seen, bool owned, bool freed)
{
	const char *fault;
	int64_t told;

	t_sweep_rouse();
	t_sweep_check(t_wait_until(helpers_are_through, NULL, mproc_after_ms(4000)));
	told = lock();
	t_sweep_check(told >= 0 && mproc_rmutex_depth(&room->rmutex) == 1);
	if (dirty || (seen->returned && owned))
		t_sweep_check(told == MPROC_MUTEX_INHERITED);
	else if (seen->returned && freed)
		t_sweep_check(told == 0);
	if (told)
		t_sweep_check(mproc_rmutex_consistent(&room->rmutex) == 0);
	t_sweep_check(unlock() == 0);
	t_sweep_check(section() == 0);
	t_sweep_check(*(_Atomic(uint64_t) *)&room->rmutex == 0);
	fault = t_range_fault(&range, 2, mproc_after_ms(2000));
	if (fault)
		t_sweep_fail("%s", fault);
}

static void locked(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result >= 0);
	sound(seen, true, false);
}

static void unlocked(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result >= 0);
	sound(seen, false, true);
}

#define ALONE .arrive = arrive
#define HEIR  .arrive = arrive_empty_handed, .recover = section

static const struct t_sweep_case cases[] = {
	T_SWEEP("lock", "free", free_one, lock, locked, HEIR),
	T_SWEEP("lock", "held deep", held, lock, locked, HEIR),
	T_SWEEP("lock", "owner dead, deep", owner_dead, lock, locked, HEIR),
	T_SWEEP("lock", "owned deep", owned_deep, lock, locked, ALONE, .flags = T_SWEEP_READ_ONLY),
	T_SWEEP("unlock", "owned once", owned_once, unlock, unlocked, ALONE),
	T_SWEEP("unlock", "owned deep", owned_deep, unlock, locked, ALONE),
	T_SWEEP("release all", "owned deep", owned_deep, release_all, unlocked, ALONE),
	T_SWEEP("take again", "free", free_one, retake, locked, HEIR),
	T_SWEEP("lock twice, unlock twice", "free", free_one, section, unlocked, HEIR),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "rmutex", cases, sizeof(cases) / sizeof(cases[0]));
}
