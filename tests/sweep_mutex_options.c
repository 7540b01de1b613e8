/* SPDX-License-Identifier: MIT */

/*
 * The mutex with options, killed at every instruction
 *
 * As in sweep_mutex.c, two numbers under the mutex are equal whenever it is free, and
 * who is told 0 finds them so. With FAIR, waiters note the order in which they came in:
 * the living among them are served in the order in which they began to wait.
 */

#include <mproc/mutex.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "ipc/kind_layout.h"
#include "ipc/participant.h"
#include "ipc/wait.h"
#include "tests/support/child.h"
#include "tests/support/range.h"
#include "tests/support/sweep.h"

#define PROCS   8
#define THREADS 8

#define ANY    MPROC_MUTEX_ANY_UNLOCK
#define FAIR   MPROC_MUTEX_FAIR
#define STRICT MPROC_MUTEX_STRICT

struct room {
	mproc_mutex mutex;
	_Atomic(uint64_t) a, b, inside;
	_Atomic(uint64_t) given;             /* the mutex has been put into the victim's hands */
	_Atomic(uint64_t) n_order, order[4]; /* helpers that came through */
};

static struct t_range range;
static struct room *room;

/* Of this world. */
static uint32_t options;
static bool dirty;          /* a dead owner, or the news of one, is part of the start state */
static bool give;           /* the victim owns the mutex when it begins ... */
static uint64_t give_flags; /* ... with these flags */
static unsigned n_helpers;  /* living ones, which come through once the mutex is free */
static bool in_order;       /* and in the order of their numbers */
static pid_t holder;        /* one that never lets go */

static _Atomic(uint64_t) *word(void)
{
	return (_Atomic(uint64_t) *)&room->mutex;
}

/* Inside, and out again. */

static void enter(int64_t told)
{
	if (told == 0) {
		t_sweep_check(room->inside == 0);
		t_sweep_check(room->a == room->b);
	} else {
		t_sweep_check(told == MPROC_MUTEX_INHERITED);
		room->b = (uint64_t)room->a;
	}
	room->inside = 1;
}

static void tidy_up(void)
{
	room->a++;
	room->b++;
	room->inside = 0;
}

static void leave(void)
{
	tidy_up();
	t_sweep_check(mproc_mutex_unlock(&room->mutex) == 0);
}

static int64_t lock(void)
{
	int64_t told = mproc_mutex_lock(&room->mutex, MPROC_FOREVER);

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

static int64_t lock_now(void)
{
	int64_t told = mproc_mutex_lock(&room->mutex, MPROC_NOWAIT);

	if (told >= 0)
		enter(told);
	return told;
}

static int64_t unlock(void)
{
	leave();
	return 0;
}

static bool kept_for(const struct mproc__self *me)
{
	uint64_t now = *word();

	return mproc__owner_id(now) == me->word && (now & MPROC__OWNER_HANDED);
}

/* Who has come out of a wait is not waiting, and nothing is kept for him. */
static int64_t lock_and_look(void)
{
	int64_t told = mproc_mutex_lock(&room->mutex, MPROC_FOREVER);

	t_sweep_check(!kept_for(mproc__self(room, "test")));
	return told;
}

/* The owner lives, or has let go before it died: nobody inherits. */
static int64_t ask_for_owner(void)
{
	struct mproc_mutex_owner owner;
	int r = mproc_mutex_owner(&room->mutex, &owner);

	t_sweep_check(r >= 0 && !owner.is_inherited && owner.is_alive == (uint32_t)r);
	return r;
}

/* As if it had unlocked, and then ended. */
static int64_t let_holder_end(void)
{
	uint32_t slot = mproc__own_proc(range.range->threads[mproc__owner_index(*word())].own);

	atomic_store(word(), 0);
	kill(holder, SIGKILL);
	while (mproc__token_held(range.range, MPROC__BYTE_SLOT(slot), 1) != 0)
		usleep(100);
	return 0;
}

/* Of what another has locked, who has left it in order. */
static int64_t unlock_anothers(void)
{
	return mproc_mutex_unlock(&room->mutex);
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
	int64_t told = lock();

	t_sweep_check(told >= 0);
	if (told && options & STRICT)
		t_sweep_check(mproc_mutex_consistent(&room->mutex) == 0);
	room->order[room->n_order] = (uint64_t)(uintptr_t)arg;
	room->n_order++;
	leave();
}

static void hold_a_while(void *arg)
{
	(void)arg;
	t_sweep_check(lock() >= 0);
	t_sweep_rest();
	leave();
}

static void lock_and_rest(void *arg)
{
	(void)arg;
	t_sweep_check(lock() >= 0);
	tidy_up();
	t_sweep_rest();
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

static void find_it_lost(void *arg)
{
	int64_t told = mproc_mutex_lock(&room->mutex, MPROC_FOREVER);

	(void)arg;
	/* Lost, or the one who was to lose it was killed before. */
	if (told >= 0) {
		enter(told);
		t_sweep_check(told == MPROC_MUTEX_INHERITED || room->n_order);
		t_sweep_check(!told || mproc_mutex_consistent(&room->mutex) == 0);
		room->n_order++;
		leave();
	} else {
		t_sweep_check(told == -ENOTRECOVERABLE);
		room->n_order++;
	}
}

/* Whoever unlocks it may have been the first to. */
static void hold_what_others_unlock(void *arg)
{
	(void)arg;
	t_sweep_check(mproc_mutex_lock(&room->mutex, MPROC_FOREVER) == 0);
	t_sweep_rest();
	(void)mproc_mutex_unlock(&room->mutex);
}

/* Start states. */

static void mutex_with(uint32_t flags)
{
	options = flags;
	t_sweep_check(t_range_open(&range, PROCS, THREADS, sizeof(*room)) == 0);
	t_sweep_watch(range.base, range.size);
	room = (void *)range.room;
	t_sweep_check(mproc_mutex_init(&room->mutex, flags) == 0);
}

static void sleepers(unsigned n, void (*fn)(void *))
{
	while (n_helpers < n) {
		n_helpers++;
		t_sweep_helper(fn, (void *)(uintptr_t)n_helpers);
	}
}

static void fair_free(void)
{
	mutex_with(FAIR);
}

static void fair_held(void)
{
	mutex_with(FAIR);
	t_sweep_helper(hold_a_while, NULL);
}

static void fair_held_for_good(void)
{
	mutex_with(FAIR);
	holder = t_sweep_helper(hold_for_good, NULL);
}

/* Those who sleep came before the victim. */
static void fair_held_and_slept_for(void)
{
	fair_held();
	in_order = true;
	sleepers(1, come_through);
}

static void fair_owner_dead(void)
{
	mutex_with(FAIR);
	t_sweep_helper(die_inside, NULL);
	dirty = true;
}

/* Kept for one who is dead, @flags beside. */
static void kept_for_the_dead(uint64_t flags)
{
	fair_owner_dead();
	dirty = flags;
	atomic_store(word(),
		     mproc__owner_id(*word()) | MPROC__OWNER_SHARED | MPROC__OWNER_HANDED | flags);
	room->a = room->b = 0;
	room->inside = 0;
}

static void fair_kept_for_the_dead(void)
{
	kept_for_the_dead(0);
}

static void fair_kept_for_the_dead_with_news(void)
{
	kept_for_the_dead(MPROC__OWNER_INHERITED);
}

/* As a hand-over leaves it that died before it saw that the other had given up. */
static void fair_kept_for_one_that_has_gone(void)
{
	struct mproc__self *me;

	mutex_with(FAIR);
	me = mproc__self(room, "test");
	t_sweep_check(me);
	atomic_store(word(), me->word | MPROC__OWNER_SHARED | MPROC__OWNER_HANDED);
}

/* The mutex is this process's until the victim has arrived; @n sleep for it. */
static void given(uint32_t flags, unsigned n, uint64_t inherited, void (*fn)(void *))
{
	struct mproc__self *me;

	mutex_with(flags);
	me = mproc__self(room, "test");
	t_sweep_check(me);
	give_flags = inherited | (flags & (ANY | FAIR) ? MPROC__OWNER_SHARED : 0);
	atomic_store(word(), me->word | give_flags);
	room->inside = 1;
	in_order = flags & FAIR;
	sleepers(n, fn);
	give = true;
	dirty = inherited;
}

static void fair_owned(void)
{
	given(FAIR, 0, 0, come_through);
}

static void fair_owned_and_one_sleeps(void)
{
	given(FAIR, 1, 0, come_through);
}

static void fair_owned_and_two_sleep(void)
{
	given(FAIR, 2, 0, come_through);
}

static void fair_owned_by_an_heir(void)
{
	given(FAIR, 1, MPROC__OWNER_INHERITED, come_through);
}

/* The one who came first is dead. */
static void fair_owned_and_a_dead_one_is_first(void)
{
	pid_t pid;

	given(FAIR, 0, 0, come_through);
	pid = t_sweep_helper(come_through, (void *)9);
	sleepers(1, come_through);
	kill(pid, SIGKILL);
	while (mproc__token_held(range.range, MPROC__BYTE_SLOT(1), 1) != 0)
		;
}

static void any_owned_and_one_sleeps(void)
{
	given(ANY, 1, 0, come_through);
}

static void any_locked_by_another(void)
{
	mutex_with(ANY);
	t_sweep_helper(lock_and_rest, NULL);
	sleepers(1, come_through);
}

static void any_fair_locked_by_another(void)
{
	mutex_with(ANY | FAIR);
	t_sweep_helper(lock_and_rest, NULL);
	in_order = true;
	sleepers(2, come_through);
}

static void any_fair_held(void)
{
	mutex_with(ANY | FAIR);
	t_sweep_helper(hold_what_others_unlock, NULL);
}

static void any_owner_dead(void)
{
	mutex_with(ANY);
	t_sweep_helper(die_inside, NULL);
	dirty = true;
}

static void strict_owned_by_an_heir(void)
{
	given(STRICT, 1, MPROC__OWNER_INHERITED, find_it_lost);
}

static void strict_fair_owned_by_an_heir(void)
{
	given(STRICT | FAIR, 2, MPROC__OWNER_INHERITED, find_it_lost);
	in_order = false;
}

static void strict_owner_dead(void)
{
	mutex_with(STRICT);
	t_sweep_helper(die_inside, NULL);
	dirty = true;
}

static void arrive(void)
{
	struct mproc__self *me = mproc__self(room, "test");

	t_sweep_check(me);
	if (!give || atomic_exchange(&room->given, 1))
		return;
	atomic_store(&me->rec->holds[0], mproc__what(MPROC__KIND_MUTEX, mproc__self_off(me, room)));
	me->n_holds = 1;
	atomic_store(word(), me->word | give_flags);
}

/* Checks. */

static bool helpers_are_through(void *arg)
{
	(void)arg;
	return room->n_order >= n_helpers;
}

static void registry_is_clean(void)
{
	const char *fault;

	t_sweep_check(*word() == 0);
	fault = t_range_fault(&range, 2, mproc_after_ms(2000));
	if (fault)
		t_sweep_fail("%s", fault);
}

/*
 * @owned_it:	the victim that returned died as the owner
 * @freed:	the victim that returned had freed the mutex
 */
static void sound(const struct t_sweep_seen *seen, bool owned_it, bool freed)
{
	bool late = seen->recovering && !seen->recovered;
	int64_t told;

	t_sweep_check(!seen->peer || seen->peer_result == -EAGAIN || seen->peer_result == 0 ||
		      (dirty && seen->peer_result == MPROC_MUTEX_INHERITED));
	if (holder) {
		kill(holder, SIGKILL);
		dirty = true;
	}
	t_sweep_rouse();
	/* Those who sleep are before us in a fair one. */
	t_sweep_check(t_wait_until(helpers_are_through, NULL, mproc_after_ms(4000)));
	for (unsigned i = 0; in_order && i < n_helpers; i++)
		t_sweep_check(room->order[i] == i + 1);
	told = mproc_mutex_lock(&room->mutex, mproc_after_ms(4000));
	t_sweep_check(told >= 0);
	if (options & STRICT && n_helpers)
		t_sweep_check(told == 0 || dirty);
	else if (dirty || (seen->returned && owned_it))
		t_sweep_check(told == MPROC_MUTEX_INHERITED);
	else if (seen->returned && freed && !late)
		t_sweep_check(told == 0);
	enter(told);
	if (told)
		t_sweep_check(mproc_mutex_consistent(&room->mutex) == 0);
	leave();
	t_sweep_check(lock_now() == 0);
	leave();
	registry_is_clean();
}

static void locked(const struct t_sweep_seen *seen)
{
	sound(seen, seen->result >= 0, false);
}

/* It was never owned by the dead: nobody is told of a death but that of the victim. */
static void locked_without_news(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	locked(seen);
}

static void refused_in_time(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -ETIMEDOUT);
	sound(seen, false, false);
}

static void unlocked(const struct t_sweep_seen *seen)
{
	sound(seen, false, true);
}

/* An heir's unlock without consistent(): the mutex is lost, or he died as its owner. */
static void lost(const struct t_sweep_seen *seen)
{
	int64_t told;

	t_sweep_check(!seen->peer || seen->peer_result == -EAGAIN ||
		      seen->peer_result == -ENOTRECOVERABLE);
	t_sweep_check(t_wait_until(helpers_are_through, NULL, mproc_after_ms(4000)));
	told = mproc_mutex_lock(&room->mutex, mproc_after_ms(4000));
	if (seen->returned && !seen->recovering)
		t_sweep_check(told == -ENOTRECOVERABLE);
	t_sweep_check(told == -ENOTRECOVERABLE || told == 0);
	if (told == 0) {
		enter(told);
		leave();
		registry_is_clean();
	}
}

/* Anybody's unlock: of what another, living, has locked and left in order. */
static void unlocked_anothers(const struct t_sweep_seen *seen)
{
	if (!seen->returned && mproc_mutex_is_locked(&room->mutex) == 1 && room->n_order == 0)
		(void)mproc_mutex_unlock(&room->mutex);
	sound(seen, false, true);
}

/* Somebody else unlocked it while the one that got it was on its way out of its wait. */
static void had_by_all_in_turn(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	t_sweep_check(!seen->peer || seen->peer_result == 0 || seen->peer_result == -EPERM);
	t_sweep_rouse();
	t_sweep_check(mproc_mutex_lock(&room->mutex, mproc_after_ms(4000)) >= 0);
}

static void told_of_the_living(const struct t_sweep_seen *seen)
{
	if (!seen->peer)
		let_holder_end();
	t_sweep_check(mproc_mutex_lock(&room->mutex, MPROC_NOWAIT) == 0);
}

#define LOCK    .arrive = arrive, .peer = section_now, .recover = section
#define ALONE   .arrive = arrive, .recover = section
#define ONLY    .arrive = arrive
#define RESUMED .flags = T_SWEEP_RESUME

static const struct t_sweep_case cases[] = {
	T_SWEEP("fair lock", "free", fair_free, lock, locked, LOCK),
	T_SWEEP("fair lock", "held", fair_held, lock, locked, LOCK),
	T_SWEEP("fair lock", "held, slept for", fair_held_and_slept_for, lock, locked, LOCK),
	T_SWEEP("fair lock in time", "held", fair_held_for_good, lock_in_time, refused_in_time,
		ONLY),
	T_SWEEP("fair lock", "owner dead", fair_owner_dead, lock, locked, LOCK),
	T_SWEEP("fair lock now", "owner dead", fair_owner_dead, lock_now, locked, LOCK),
	T_SWEEP("fair lock", "kept for the dead", fair_kept_for_the_dead, lock, locked_without_news,
		LOCK),
	T_SWEEP("fair lock", "kept for the dead, inherited", fair_kept_for_the_dead_with_news, lock,
		locked, LOCK),
	T_SWEEP("fair lock", "kept for one gone", fair_kept_for_one_that_has_gone, lock,
		locked_without_news, LOCK),
	T_SWEEP("fair unlock", "owned", fair_owned, unlock, unlocked, LOCK, RESUMED),
	T_SWEEP("fair unlock", "one sleeper", fair_owned_and_one_sleeps, unlock, unlocked, LOCK,
		RESUMED),
	T_SWEEP("fair unlock", "two sleepers", fair_owned_and_two_sleep, unlock, unlocked, LOCK,
		RESUMED),
	T_SWEEP("fair unlock", "first sleeper dead", fair_owned_and_a_dead_one_is_first, unlock,
		unlocked, LOCK, RESUMED),
	T_SWEEP("fair unlock", "inherited", fair_owned_by_an_heir, unlock, unlocked, LOCK, RESUMED),
	T_SWEEP("any unlock", "one sleeper", any_owned_and_one_sleeps, unlock, unlocked, LOCK,
		RESUMED),
	T_SWEEP("any unlock", "another's", any_locked_by_another, unlock_anothers,
		unlocked_anothers, ALONE),
	T_SWEEP("any fair unlock", "another's", any_fair_locked_by_another, unlock_anothers,
		unlocked_anothers, ALONE),
	T_SWEEP("any fair lock", "held", any_fair_held, lock_and_look, had_by_all_in_turn,
		.arrive = arrive, .peer = unlock_anothers, .recover = lock_and_look, RESUMED),
	T_SWEEP("owner", "held", fair_held_for_good, ask_for_owner, told_of_the_living,
		.arrive = arrive, .peer = let_holder_end, RESUMED),
	T_SWEEP("any lock", "owner dead", any_owner_dead, lock, locked, LOCK),
	T_SWEEP("strict lock", "owner dead", strict_owner_dead, lock, locked, ONLY),
	T_SWEEP("strict unlock", "inherited", strict_owned_by_an_heir, unlock, lost, ONLY),
	T_SWEEP("strict fair unlock", "inherited", strict_fair_owned_by_an_heir, unlock, lost,
		ONLY),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "mutex options", cases, sizeof(cases) / sizeof(cases[0]));
}
