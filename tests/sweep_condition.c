/* SPDX-License-Identifier: MIT */

/*
 * The condition, killed at every instruction
 *
 * Those who wait note when they are back, in their order. A notifier that is killed has
 * notified all it was asked for, or none; a waiter that is killed has taken nobody's
 * notification: what it was given goes to the next.
 */

#include <mproc/condition.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/rmutex.h>

#include "ipc/condition.h"
#include "ipc/kind_layout.h"
#include "ipc/lock.h"
#include "ipc/participant.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"
#include "tests/support/sweep.h"

#define PROCS   10
#define THREADS 10
#define MAX     4

struct room {
	mproc_condition condition;
	mproc_mutex mutex;
	mproc_rmutex rmutex;
	_Atomic(uint64_t) n_back, back[MAX]; /* waiters that came back, not by their deadline */
	_Atomic(uint64_t) told;              /* notifiers that have done it */
	_Atomic(uint64_t) coming;            /* under the mutex: another is about to wait */
	_Atomic(uint64_t) left;              /* under the mutex: the victim's wait has ended */
};

static struct t_range range;
static struct room *room;
static unsigned n_helpers; /* that wait, in the order of their numbers */
static unsigned n_notifiers;
static bool recursive;

static void enter(void)
{
	int r = recursive ? mproc_rmutex_lock(&room->rmutex, mproc_after_ms(5000))
			  : mproc_mutex_lock(&room->mutex, mproc_after_ms(5000));

	t_sweep_check(r >= 0);
	if (r && recursive)
		t_sweep_check(mproc_rmutex_consistent(&room->rmutex) == 0);
	else if (r)
		t_sweep_check(mproc_mutex_consistent(&room->mutex) == 0);
}

static void leave(void)
{
	t_sweep_check((recursive ? mproc_rmutex_unlock(&room->rmutex)
				 : mproc_mutex_unlock(&room->mutex)) == 0);
}

static void *mutex(void)
{
	return recursive ? (void *)&room->rmutex : (void *)&room->mutex;
}

static int64_t notify_n(uint32_t n)
{
	int64_t r;

	enter();
	r = mproc_condition_notify(&room->condition, n);
	leave();
	return r;
}

static int64_t notify_one(void)
{
	return notify_n(1);
}

static int64_t notify_two(void)
{
	return notify_n(2);
}

static int64_t notify_all(void)
{
	return notify_n(UINT32_MAX);
}

static int64_t wait_until(int64_t deadline)
{
	int64_t r;

	enter();
	if (recursive)
		enter();
	r = mproc_condition_wait(&room->condition, mutex(), deadline);
	t_sweep_check(r >= 0 || r == -ETIMEDOUT);
	room->left = 1;
	if (r > 0 && recursive)
		t_sweep_check(mproc_rmutex_consistent(&room->rmutex) == 0);
	else if (r > 0)
		t_sweep_check(mproc_mutex_consistent(&room->mutex) == 0);
	if (recursive)
		leave();
	leave();
	return r;
}

static int64_t wait_for_ever(void)
{
	return wait_until(MPROC_FOREVER);
}

/* One sleep, which the deadline ends. */
static int64_t wait_in_time(void)
{
	atomic_store(&mproc__quantum_off, true);
	return wait_until(mproc_after_ms(300));
}

static int64_t reap(void)
{
	return mproc__reap_all(range.range);
}

static struct mproc__thread *first_dead;

/* What a reaper does for one who waited, here the first one that he meets. */
static int64_t repair(void)
{
	uint64_t off = (uint64_t)((char *)&room->condition - range.base);

	return mproc__kind_condition.repair(range.range, mproc__self(room, "test"), off,
					    first_dead);
}

/* Helpers. */

static void come_back(void *arg)
{
	enter();
	t_sweep_check(mproc_condition_wait(&room->condition, mutex(), MPROC_FOREVER) >= 0);
	room->back[room->n_back] = (uint64_t)(uintptr_t)arg;
	room->n_back++;
	if (recursive)
		(void)!mproc_rmutex_consistent(&room->rmutex);
	else
		(void)!mproc_mutex_consistent(&room->mutex);
	leave();
}

static void notify_and_say_so(void *arg)
{
	t_sweep_check(notify_n((uint32_t)(uintptr_t)arg) >= 0);
	room->told++;
}

static void notify_after_a_while(void *arg)
{
	t_sweep_rest();
	notify_and_say_so(arg);
}

/* It waits behind the victim, if that waits. */
static void come_back_later(void *arg)
{
	t_sweep_rest();
	enter();
	room->coming = 1;
	t_sweep_check(mproc_condition_wait(&room->condition, mutex(), MPROC_FOREVER) >= 0);
	room->back[room->n_back] = (uint64_t)(uintptr_t)arg;
	room->n_back++;
	(void)!mproc_mutex_consistent(&room->mutex);
	leave();
}

/* Who has the mutex after it was said that somebody is about to wait finds him waiting. */
static void notify_when_another_waits(void *arg)
{
	t_sweep_rest();
	while (!room->coming)
		usleep(1000);
	notify_and_say_so(arg);
}

static void wait_and_be_killed(void *arg)
{
	(void)arg;
	(void)wait_for_ever();
}

static void be_killed(void *arg)
{
	(void)arg;
	t_sweep_check(mproc__self(room, "test"));
	pause();
}

/* Start states. */

static void nobody_waits(void)
{
	t_sweep_check(t_range_open(&range, PROCS, THREADS, sizeof(*room)) == 0);
	t_sweep_watch(range.base, range.size);
	room = (void *)range.room;
	t_sweep_check(mproc_condition_init(&room->condition, 0) == 0);
	t_sweep_check(mproc_rmutex_init(&room->rmutex, 0) == 0);
	t_sweep_check(mproc_mutex_init(&room->mutex, 0) == 0);
}

static void so_many_wait(unsigned n)
{
	nobody_waits();
	while (n_helpers < n) {
		n_helpers++;
		t_sweep_helper(come_back, (void *)(uintptr_t)n_helpers);
	}
}

static void one_waits(void)
{
	so_many_wait(1);
}

static void two_wait(void)
{
	so_many_wait(2);
}

static void three_wait(void)
{
	so_many_wait(3);
}

static void kill_helper(pid_t pid)
{
	kill(pid, SIGKILL);
	while (t_state(pid) != 'Z' && t_state(pid))
		;
}

/* One who came before them has been killed. */
static void dead_one_and_two_wait(void)
{
	pid_t pid;

	nobody_waits();
	pid = t_sweep_helper(wait_and_be_killed, NULL);
	while (n_helpers < 2) {
		n_helpers++;
		t_sweep_helper(come_back, (void *)(uintptr_t)n_helpers);
	}
	kill_helper(pid);
}

/* It had been notified, and was killed before it could have the mutex. */
static void dead_notified_one_and_two_wait(void)
{
	pid_t pid;

	nobody_waits();
	pid = t_sweep_helper(wait_and_be_killed, NULL);
	while (n_helpers < 2) {
		n_helpers++;
		t_sweep_helper(come_back, (void *)(uintptr_t)n_helpers);
	}
	enter();
	t_sweep_check(mproc_condition_notify(&room->condition, 1) == 1);
	kill_helper(pid);
	leave();
}

static void to_be_notified(void)
{
	nobody_waits();
	t_sweep_helper(notify_after_a_while, (void *)1);
	n_notifiers = 1;
}

static void to_be_notified_deep(void)
{
	recursive = true;
	to_be_notified();
}

/* Another waits already, and both are notified while the victim sleeps. */
static void both_to_be_notified(void)
{
	one_waits();
	t_sweep_helper(notify_after_a_while, (void *)2);
	n_notifiers = 1;
}

/* Another comes to wait while the victim sleeps, and one is notified then. */
static void one_to_be_notified_of_two(void)
{
	nobody_waits();
	n_helpers = 1;
	t_sweep_helper(come_back_later, (void *)1);
	t_sweep_helper(notify_when_another_waits, (void *)1);
	n_notifiers = 1;
}

static uint64_t what(void)
{
	return mproc__what(MPROC__KIND_CONDITION,
			   (uint64_t)((char *)&room->condition - range.base));
}

/*
 * @n are dead, whose records are returned in their order; then @living wait, with the
 * tickets from @n + 1 on. The lock is taken: until made() nobody looks at the records.
 */
static void dead_and_living(struct mproc__thread **ret, unsigned n, unsigned living)
{
	pid_t pids[2], first;

	nobody_waits();
	first = t_sweep_helper(be_killed, NULL);
	for (unsigned i = 0; i < n; i++)
		pids[i] = t_sweep_helper(wait_and_be_killed, NULL);
	while (n_helpers < living) {
		n_helpers++;
		t_sweep_helper(come_back, (void *)(uintptr_t)n_helpers);
	}
	for (unsigned i = 0; i < n; i++)
		kill_helper(pids[i]);
	/* Who attaches takes over the first dead one's slot, and repairs what it was doing. */
	kill_helper(first);
	t_sweep_check(mproc__lock_take((struct mproc__lock *)(void *)&room->condition,
				       mproc__self(room, "test"), what(), MPROC_FOREVER) == 0);
	for (uint32_t i = 0; i < range.range->n_threads; i++) {
		struct mproc__thread *rec = &range.range->threads[i];

		if (rec->queued_at == what() && rec->ticket >> 1 <= n)
			*ret++ = rec;
	}
}

/* The state is made: write up to which ticket there are notifications. */
static void made(uint64_t notified)
{
	atomic_store((_Atomic(uint64_t) *)&room->condition.opaque[3], notified);
	mproc__lock_release((struct mproc__lock *)(void *)&room->condition,
			    mproc__self(room, "test"));
}

/*
 * A keeper was killed when he had noted that the notification of a dead one moves to
 * the next, and before he had moved it; then the next was killed, whose record comes
 * first.
 */
static void move_to_one_killed_since(void)
{
	struct mproc__thread *dead[2];

	dead_and_living(dead, 2, 2);
	dead[0]->ticket = 2 << 1;
	dead[1]->ticket = 2 << 1 | 1;
	first_dead = dead[0];
	made(1);
}

/*
 * The same, and then another was killed that had been notified and comes first: two
 * notifications are on their way.
 */
static void move_and_another_to_make(void)
{
	struct mproc__thread *dead[2];

	dead_and_living(dead, 2, 3);
	dead[0]->ticket = 2 << 1;
	dead[1]->ticket = 3 << 1 | 1;
	first_dead = dead[0];
	made(2);
}

static void arrive(void)
{
	t_sweep_check(mproc__self(room, "test"));
}

/* Checks. */

static bool all_are_told(void *arg)
{
	(void)arg;
	return room->told == n_notifiers;
}

static bool all_are_back(void *arg)
{
	(void)arg;
	return room->n_back >= n_helpers;
}

/* @least and @most of the helpers have been notified; they come back, and the rest then. */
static void come_home(unsigned least, unsigned most)
{
	const char *fault;
	int64_t rest;

	t_sweep_rouse();
	t_sweep_check(t_wait_until(all_are_told, NULL, mproc_after_ms(4000)));
	rest = notify_all();
	t_sweep_check(rest >= 0 && rest + most >= n_helpers && rest + least <= n_helpers);
	t_sweep_check(t_wait_until(all_are_back, NULL, mproc_after_ms(4000)));
	t_sweep_check(room->n_back == n_helpers);
	/* Nothing is stored. */
	t_sweep_check(notify_all() == 0);
	enter();
	t_sweep_check(mproc_condition_wait(&room->condition, mutex(), mproc_after_ms(1)) ==
		      -ETIMEDOUT);
	leave();
	fault = t_range_fault(&range, 2, mproc_after_ms(2000));
	if (fault)
		t_sweep_fail("%s", fault);
}

/* All or none of @n. */
static void notified(const struct t_sweep_seen *seen, unsigned n)
{
	bool late = seen->recovering || seen->peer;

	t_sweep_check(!seen->returned || late || seen->result == n);
	/* Those who were notified come back by themselves, the others do not. */
	if (!late && seen->returned) {
		for (int i = 0; i < 2000 && room->n_back < n; i++)
			usleep(1000);
		t_sweep_check(room->n_back == n);
	}
	if (!late) {
		int64_t rest = notify_all();

		t_sweep_check(rest == n_helpers || rest == n_helpers - n);
		t_sweep_check(t_wait_until(all_are_back, NULL, mproc_after_ms(4000)));
	}
	come_home(0, n_helpers);
}

static void notified_one(const struct t_sweep_seen *seen)
{
	notified(seen, 1);
}

static void notified_none(const struct t_sweep_seen *seen)
{
	notified(seen, 0);
}

static void notified_two(const struct t_sweep_seen *seen)
{
	notified(seen, 2);
}

static void notified_three(const struct t_sweep_seen *seen)
{
	notified(seen, 3);
}

/* A notification is on its way to the second of the helpers, from one who is dead. */
static void passed_on(const struct t_sweep_seen *seen)
{
	int64_t rest;

	if (seen->recovering) {
		come_home(0, n_helpers);
		return;
	}
	/* One is passed on, one is new if it has happened. */
	rest = notify_all();
	t_sweep_check(rest == 0 || rest == 1);
	t_sweep_check(!seen->returned || rest == 0);
	t_sweep_check(t_wait_until(all_are_back, NULL, mproc_after_ms(4000)));
	come_home(2, 2);
}

static unsigned n_to_come;

static bool so_many_are_back(void *arg)
{
	(void)arg;
	return room->n_back >= n_to_come;
}

/* The notifications of the dead reach @n of the living, and no more. */
static void reached(const struct t_sweep_seen *seen, unsigned n)
{
	/* Who recovers notifies all. */
	if (seen->recovering) {
		come_home(0, n_helpers);
		return;
	}
	t_sweep_check(reap() >= 0);
	n_to_come = n;
	t_sweep_check(t_wait_until(so_many_are_back, NULL, mproc_after_ms(2000)));
	come_home(n, n);
}

static void reached_one(const struct t_sweep_seen *seen)
{
	reached(seen, 1);
}

static void reached_two(const struct t_sweep_seen *seen)
{
	reached(seen, 2);
}

/* The victim waited alone, and one notification came. */
static void waited(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	come_home(0, 0);
}

/* It waited behind the helper, and two came. */
static void waited_behind(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	come_home(seen->recovering ? 0 : 1, 1);
}

/* Do some wait who have not been notified? */
static bool any_waits(void)
{
	for (uint32_t i = 0; i < range.range->n_threads; i++) {
		const struct mproc__thread *rec = &range.range->threads[i];

		if (rec->queued_at == what() &&
		    rec->ticket >> 1 > ((_Atomic(uint64_t) *)room->condition.opaque)[3])
			return true;
	}
	return false;
}

/*
 * It waited before the helper, if it came so far, and one notification came: the
 * victim's, until it left with the mutex held, which then is the news of its death.
 */
static void waited_before(const struct t_sweep_seen *seen)
{
	struct mproc_mutex_owner owner;

	t_sweep_check(!seen->returned || seen->result == 0);
	if (seen->recovering) {
		come_home(0, 1);
		return;
	}
	t_sweep_rouse();
	t_sweep_check(t_wait_until(all_are_told, NULL, mproc_after_ms(4000)));
	t_sweep_check(reap() >= 0);
	t_sweep_check(!seen->returned || any_waits());
	if (any_waits()) {
		bool held = mproc_mutex_owner(&room->mutex, &owner) == 1 && !owner.is_alive;

		t_sweep_check(held || room->left);
		come_home(0, 0);
		return;
	}
	t_sweep_check(!room->left);
	t_sweep_check(t_wait_until(all_are_back, NULL, mproc_after_ms(4000)));
	come_home(1, 1);
}

static void waited_in_vain(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -ETIMEDOUT);
	come_home(0, 0);
}

#define NOTIFY .arrive = arrive, .recover = notify_all
#define ALONE  .arrive = arrive

static const struct t_sweep_case cases[] = {
	T_SWEEP("notify 1", "nobody waits", nobody_waits, notify_one, notified_none, ALONE),
	T_SWEEP("notify 1", "one waits", one_waits, notify_one, notified_one, NOTIFY),
	T_SWEEP("notify 1", "two wait", two_wait, notify_one, notified_one, NOTIFY),
	T_SWEEP("notify 2", "three wait", three_wait, notify_two, notified_two, NOTIFY),
	T_SWEEP("notify 1", "first waiter dead", dead_one_and_two_wait, notify_one, notified_one,
		NOTIFY),
	T_SWEEP("notify 1", "notified waiter dead", dead_notified_one_and_two_wait, notify_one,
		passed_on, NOTIFY),
	T_SWEEP("notify all", "three wait", three_wait, notify_all, notified_three, NOTIFY),
	T_SWEEP("wait", "notified", to_be_notified, wait_for_ever, waited, NOTIFY),
	T_SWEEP("wait", "notified, rmutex", to_be_notified_deep, wait_for_ever, waited, NOTIFY),
	T_SWEEP("wait", "notified, one before", both_to_be_notified, wait_for_ever, waited_behind,
		NOTIFY),
	T_SWEEP("wait", "notified, one behind", one_to_be_notified_of_two, wait_for_ever,
		waited_before, NOTIFY),
	T_SWEEP("repair", "move to a dead one", move_to_one_killed_since, repair, reached_one,
		NOTIFY),
	T_SWEEP("repair", "move, another to make", move_and_another_to_make, repair, reached_two,
		NOTIFY),
	T_SWEEP("wait in time", "nobody waits", nobody_waits, wait_in_time, waited_in_vain, ALONE),
	T_SWEEP("wait in time", "one waits", one_waits, wait_in_time, waited_in_vain, ALONE),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "condition", cases, sizeof(cases) / sizeof(cases[0]));
}
