/* SPDX-License-Identifier: MIT */

/*
 * The mutex, killed at every instruction
 *
 * Under the mutex lie two numbers that must be equal whenever it is free, and a mark
 * that somebody is inside. Who is told 0 by a lock finds them so. Who is told
 * MPROC_MUTEX_INHERITED makes them so, but only the survivor says consistent(): so the
 * news of a death must reach him through whoever comes in between.
 */

#include <mproc/mutex.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "ipc/kind_layout.h"
#include "ipc/lock.h"
#include "ipc/participant.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"
#include "tests/support/sweep.h"

#define PROCS   8
#define THREADS 8

struct room {
	mproc_mutex mutex;
	_Atomic(uint64_t) a, b, inside;
	_Atomic(uint64_t) given; /* the mutex has been put into the victim's hands */
	_Atomic(uint64_t) done;  /* helpers that came through */
};

static struct t_range range;
static struct room *room;

/* Of this world. */
static bool dirty;          /* a dead owner, or the news of one, is part of the start state */
static bool give;           /* the victim owns the mutex when it begins ... */
static uint64_t give_flags; /* ... with these flags */
static unsigned n_helpers;  /* living ones, which come through once the mutex is free */
static pid_t holder;        /* one that never lets go */

/* Inside, and out again. */

static void enter(int told)
{
	if (told == 0) {
		t_sweep_check(room->inside == 0);
		t_sweep_check(room->a == room->b);
	} else {
		t_sweep_check(told == MPROC_MUTEX_INHERITED);
		room->b = room->a;
	}
	room->inside = 1;
}

static void leave(void)
{
	room->a++;
	room->b++;
	room->inside = 0;
	t_sweep_check(mproc_mutex_unlock(&room->mutex) == 0);
}

static int64_t lock(void)
{
	int told = mproc_mutex_lock(&room->mutex, MPROC_FOREVER);

	if (told >= 0)
		enter(told);
	return told;
}

/* One sleep, which the deadline ends. */
static int64_t lock_in_time(void)
{
	atomic_store(&mproc__quantum_off, true);
	return mproc_mutex_lock(&room->mutex, mproc_after_ms(200));
}

static int64_t lock_too_late(void)
{
	return mproc_mutex_lock(&room->mutex, 1);
}

static int64_t lock_now(void)
{
	int told = mproc_mutex_lock(&room->mutex, MPROC_NOWAIT);

	if (told >= 0)
		enter(told);
	return told;
}

static int64_t unlock(void)
{
	leave();
	return 0;
}

static int64_t say_consistent(void)
{
	return mproc_mutex_consistent(&room->mutex);
}

static int64_t section(void)
{
	int64_t told = lock();

	if (told >= 0)
		leave();
	return told;
}

static int64_t section_now(void)
{
	int64_t told = lock_now();

	if (told >= 0)
		leave();
	return told;
}

/* Helpers. */

static void come_through(void *arg)
{
	(void)arg;
	t_sweep_check(section() >= 0);
	room->done++;
}

static void hold_a_while(void *arg)
{
	(void)arg;
	t_sweep_check(lock() >= 0);
	t_sweep_rest();
	leave();
	room->done++;
}

static void hold_for_good(void *arg)
{
	(void)arg;
	t_sweep_check(lock() >= 0);
	for (;;)
		pause();
}

static void die_inside(void *arg)
{
	(void)arg;
	t_sweep_check(lock() >= 0);
	room->a++;
}

static void die_in_repair(void *arg)
{
	struct mproc__lock *inner = (struct mproc__lock *)&room->mutex;
	struct mproc__self *me = mproc__self(room, "test");

	(void)arg;
	t_sweep_check(mproc__lock_take(inner, me, 0, MPROC_FOREVER) == MPROC__LOCK_INHERITED);
	t_sweep_check(atomic_load(&inner->word) & MPROC__OWNER_REPAIR);
}

static void pass_on(void *arg)
{
	(void)arg;
	t_sweep_check(section() == MPROC_MUTEX_INHERITED);
}

/* Start states. */

static void free_mutex(void)
{
	t_sweep_check(t_range_open(&range, PROCS, THREADS, sizeof(*room)) == 0);
	t_sweep_watch(range.base, range.size);
	room = (void *)range.room;
	t_sweep_check(mproc_mutex_init(&room->mutex, 0) == 0);
}

static void held(void)
{
	free_mutex();
	t_sweep_helper(hold_a_while, NULL);
	n_helpers = 1;
}

static void held_for_good(void)
{
	free_mutex();
	holder = t_sweep_helper(hold_for_good, NULL);
}

static void held_and_slept_for(void)
{
	held();
	t_sweep_helper(come_through, NULL);
	n_helpers = 2;
}

static void owner_dead(void)
{
	free_mutex();
	t_sweep_helper(die_inside, NULL);
	dirty = true;
}

static void heir_dead(void)
{
	owner_dead();
	t_sweep_helper(die_inside, NULL);
}

static void repairer_dead(void)
{
	owner_dead();
	t_sweep_helper(die_in_repair, NULL);
}

static void inherited_and_free(void)
{
	owner_dead();
	t_sweep_helper(pass_on, NULL);
}

/* A sleeper beside an owner who is dead by the time the victim arrives. */
static void owner_dead_and_slept_for(void)
{
	held_for_good();
	t_sweep_helper(come_through, NULL);
	n_helpers = 1;
	kill(holder, SIGKILL);
	while (mproc__token_held(range.range, MPROC__BYTE_SLOT(1), 1) != 0)
		;
	holder = 0;
	dirty = true;
}

/* The mutex is this process's until the victim has arrived; @n sleep for it. */
static void given(unsigned n, uint64_t flags)
{
	struct mproc__self *me;

	free_mutex();
	me = mproc__self(room, "test");
	t_sweep_check(me);
	atomic_store((_Atomic(uint64_t) *)&room->mutex, me->word | flags);
	room->inside = 1;
	for (; n_helpers < n; n_helpers++)
		t_sweep_helper(come_through, NULL);
	give = true;
	give_flags = flags;
	dirty = flags & MPROC__OWNER_INHERITED;
}

static void owned(void)
{
	given(0, 0);
}

static void owned_and_one_sleeps(void)
{
	given(1, 0);
}

static void owned_and_two_sleep(void)
{
	given(2, 0);
}

static void owned_by_an_heir(void)
{
	given(1, MPROC__OWNER_INHERITED);
}

static void arrive(void)
{
	struct mproc__self *me = mproc__self(room, "test");

	t_sweep_check(me);
	if (!give || atomic_exchange(&room->given, 1))
		return;
	atomic_store(&me->rec->holds[0], mproc__what(MPROC__KIND_MUTEX, mproc__self_off(me, room)));
	me->n_holds = 1;
	atomic_store((_Atomic(uint64_t) *)&room->mutex, me->word | give_flags);
}

/* Checks. */

static bool helpers_are_through(void *arg)
{
	(void)arg;
	return room->done == n_helpers;
}

/*
 * @owned:	the victim that returned died as the owner
 * @freed:	the victim that returned had freed the mutex
 */
static void sound(const struct t_sweep_seen *seen, bool owned_it, bool freed)
{
	bool late = seen->recovering && !seen->recovered;
	int64_t told;

	/* A peer got it from the victim, or from nobody, or not at all. */
	t_sweep_check(!seen->peer || seen->peer_result == -EAGAIN || seen->peer_result == 0 ||
		      (dirty && seen->peer_result == MPROC_MUTEX_INHERITED));
	t_sweep_check(mproc__proc_dead(range.range, 0, 1) == false);
	if (holder) {
		kill(holder, SIGKILL);
		dirty = true;
	}
	t_sweep_rouse();
	told = mproc_mutex_lock(&room->mutex, mproc_after_ms(4000));
	t_sweep_check(told >= 0);
	if (dirty || (seen->returned && owned_it))
		t_sweep_check(told == MPROC_MUTEX_INHERITED);
	else if (seen->returned && freed && !late)
		t_sweep_check(told == 0);
	enter((int)told);
	if (told)
		t_sweep_check(mproc_mutex_consistent(&room->mutex) == 0);
	leave();

	/* Nobody sleeps for ever, and the news is gone. */
	t_sweep_check(t_wait_until(helpers_are_through, NULL, mproc_after_ms(4000)));
	t_sweep_check(lock_now() == 0);
	leave();
	t_sweep_check(*(_Atomic(uint64_t) *)&room->mutex == 0);
	if (t_range_fault(&range, 2, mproc_after_ms(2000)))
		t_sweep_fail("%s", t_range_fault(&range, 2, mproc_after_ms(2000)));
}

static void locked(const struct t_sweep_seen *seen)
{
	sound(seen, seen->result >= 0, false);
}

static void refused_in_time(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -ETIMEDOUT);
	sound(seen, false, false);
}

static void refused_now(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -EAGAIN);
	sound(seen, false, false);
}

static void unlocked(const struct t_sweep_seen *seen)
{
	sound(seen, false, true);
}

#define LOCK    .arrive = arrive, .peer = section_now, .recover = section
#define TRY     .arrive = arrive, .peer = section_now, .recover = section_now
#define RESUMED .flags = T_SWEEP_RESUME

static const struct t_sweep_case cases[] = {
	T_SWEEP("lock", "free", free_mutex, lock, locked, LOCK),
	T_SWEEP("lock", "held", held, lock, locked, LOCK),
	T_SWEEP("lock", "held, slept for", held_and_slept_for, lock, locked, LOCK),
	T_SWEEP("lock", "owner dead", owner_dead, lock, locked, LOCK),
	T_SWEEP("lock", "owner dead, slept for", owner_dead_and_slept_for, lock, locked, LOCK),
	T_SWEEP("lock", "heir dead", heir_dead, lock, locked, LOCK),
	T_SWEEP("lock", "repairer dead", repairer_dead, lock, locked, LOCK),
	T_SWEEP("lock", "inherited, free", inherited_and_free, lock, locked, LOCK),
	T_SWEEP("lock in time", "held", held_for_good, lock_in_time, refused_in_time, TRY),
	T_SWEEP("lock too late", "held", held_for_good, lock_too_late, refused_in_time, TRY),
	T_SWEEP("lock now", "held", held_for_good, lock_now, refused_now, TRY),
	T_SWEEP("lock now", "owner dead", owner_dead, lock_now, locked, LOCK),
	T_SWEEP("unlock", "owned", owned, unlock, unlocked, LOCK, RESUMED),
	T_SWEEP("unlock", "one sleeper", owned_and_one_sleeps, unlock, unlocked, LOCK, RESUMED),
	T_SWEEP("unlock", "two sleepers", owned_and_two_sleep, unlock, unlocked, LOCK, RESUMED),
	T_SWEEP("unlock", "inherited", owned_by_an_heir, unlock, unlocked, LOCK, RESUMED),
	T_SWEEP("consistent", "inherited", owned_by_an_heir, say_consistent, locked, LOCK),
	T_SWEEP("lock, unlock", "free", free_mutex, section, unlocked, LOCK, RESUMED),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "mutex", cases, sizeof(cases) / sizeof(cases[0]));
}
