/* SPDX-License-Identifier: MIT */

/*
 * Coming, leaving and being reaped, killed at every instruction
 *
 * The registry is small, and the start states fill it. Beside the mutex of the room
 * there is a desk, a kind of object of this test's own: two numbers that change
 * together through the desk's redo log, and a seat that a process owns. It is what the
 * dead were in the middle of, and shows that their repair was done, once or several
 * times over, by whoever came to do it.
 *
 * Whatever the kill: the dead are reaped to the last slot and record, what they held
 * or were doing is in order, and a living one who was there all the time still lives
 * and holds what it held.
 */

#include "ipc/participant.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/mutex.h>

#include "ipc/kind.h"
#include "ipc/lock.h"
#include "tests/support/child.h"
#include "tests/support/range.h"
#include "tests/support/sweep.h"

struct desk {
	struct mproc__lock lock;
	_Atomic(uint64_t) a, b; /* equal whenever the desk is free */
	struct mproc__redo redo;
	_Atomic(uint64_t) seat; /* process slot + 1 of who sits there */
};

struct room {
	mproc_mutex mutex, his; /* his: held by the living helper */
	struct desk desk;
	_Atomic(uint64_t) him; /* his owner word */
};

static struct t_range range;
static struct room *room;
static unsigned n_living; /* processes that live to the end, the survivor included */
static bool dirty;        /* the mutex of the room is inherited when it is next locked */

/* The desk. */

static uint64_t desk_what(void)
{
	return mproc__what(MPROC__KIND_BLOCK, (uint64_t)((char *)&room->desk - range.base));
}

static void desk_take(struct mproc__self *me)
{
	struct desk *desk = &room->desk;
	int r = mproc__lock_take(&desk->lock, me, desk_what(), MPROC_FOREVER);

	t_sweep_check(r >= 0);
	if (r == MPROC__LOCK_INHERITED) {
		t_sweep_check(mproc__redo_replay(&desk->redo, desk, sizeof(*desk)) == 0);
		mproc__lock_repaired(&desk->lock, me);
	}
}

static int repair(struct mproc__range *r, struct mproc__self *me, uint64_t off,
		  struct mproc__thread *rec)
{
	struct desk *desk = mproc__range_at(r, off, sizeof(*desk));
	int got = me && desk ? mproc__lock_try(&desk->lock, me) : -EAGAIN;

	(void)rec;
	/* Who repairs waits for nothing, whoever had his record before. */
	t_sweep_check(!me || (!me->rec->blocked_on && !me->rec->blocked_since &&
			      !me->rec->waits_on && !me->rec->saw_since));
	if (got < 0)
		return 1;
	if (got == MPROC__LOCK_INHERITED) {
		t_sweep_check(mproc__redo_replay(&desk->redo, desk, sizeof(*desk)) == 0);
		mproc__lock_repaired(&desk->lock, me);
	}
	t_sweep_check(desk->a == desk->b);
	mproc__lock_release(&desk->lock, me);
	return 0;
}

static int reap_seat(struct mproc__range *r, struct mproc__self *me, uint32_t proc,
		     uint64_t generation)
{
	uint64_t owner = proc + 1;

	(void)r;
	(void)me;
	(void)generation;
	atomic_compare_exchange_strong(&room->desk.seat, &owner, 0);
	return 0;
}

static const struct mproc__kind desks = {
	.id = MPROC__KIND_BLOCK,
	.name = "desk",
	.repair = repair,
	.reap = reap_seat,
};

/* In the place of the library's own. */
const struct mproc__kind *const mproc__kinds[] = { &desks };
const size_t mproc__n_kinds = 1;

/* Helpers. */

static void live(void *arg)
{
	(void)arg;
	t_sweep_check(mproc_mutex_lock(&room->his, MPROC_NOWAIT) == 0);
	room->him = mproc__self(room, "test")->word;
	for (;;)
		pause();
}

/* Sit down and begin to change both numbers; the change is half written at the end. */
static void work_at_desk(void)
{
	struct mproc__self *me = mproc__self(room, "test");
	struct desk *desk = &room->desk;
	uint64_t nobody = 0;

	t_sweep_check(me);
	mproc__act_begin(me, desk_what());
	desk_take(me);
	atomic_compare_exchange_strong(&desk->seat, &nobody, me->proc + 1);
	mproc__redo_add(&desk->redo, 0, &desk->a, desk->a + 1);
	mproc__redo_add(&desk->redo, 1, &desk->b, desk->b + 1);
	atomic_store(&desk->redo.n, 2);
	desk->a++;
	/* It might be waiting as well. */
	atomic_store(&me->rec->waits_on, desk_what());
	atomic_store(&me->rec->saw_since, 2);
	atomic_store(&me->rec->blocked_since, 2);
	atomic_store(&me->rec->blocked_on, desk_what());
}

static void wait_for_death(void)
{
	for (;;)
		pause();
}

static void die_at_desk(void *arg)
{
	(void)arg;
	t_sweep_check(mproc_mutex_lock(&room->mutex, MPROC_NOWAIT) >= 0);
	work_at_desk();
}

static void linger_at_desk(void *arg)
{
	(void)arg;
	work_at_desk();
	wait_for_death();
}

/* In the middle of the same, yet still without the lock; and owning the mutex. */
static void queue_for_desk(void *arg)
{
	(void)arg;
	t_sweep_check(mproc_mutex_lock(&room->mutex, MPROC_NOWAIT) >= 0);
	work_at_desk();
}

static void linger(void *arg)
{
	(void)arg;
	t_sweep_check(mproc__self(room, "test"));
	wait_for_death();
}

/* Start states: this process's own slot, a living one, the dead. */

static void open_room(unsigned procs, unsigned threads)
{
	t_sweep_check(t_range_open(&range, procs, threads, sizeof(*room)) == 0);
	t_sweep_watch(range.base, range.size);
	room = (void *)range.room;
	t_sweep_check(mproc_mutex_init(&room->mutex, 0) == 0);
	t_sweep_check(mproc_mutex_init(&room->his, 0) == 0);
	t_sweep_helper(live, NULL);
	n_living = 3;
}

static void nobody_else(void)
{
	open_room(6, 6);
}

static void named(void)
{
	nobody_else();
	range.range->named = true;
}

static void one_dead(void)
{
	nobody_else();
	t_sweep_helper(die_at_desk, NULL);
	dirty = true;
}

/* No slot and no record is free but those of the dead. */
static void full_of_dead(void)
{
	open_room(3, 2);
	t_sweep_helper(die_at_desk, NULL);
	dirty = true;
}

/* Dead in higher slots than the next one to come takes: he does not reap them. */
static void several_dead(void (*const fns[])(void *), unsigned n)
{
	pid_t pids[4];

	nobody_else();
	for (unsigned i = 0; i < n; i++)
		pids[i] = t_sweep_helper(fns[i], NULL);
	for (unsigned i = 0; i < n; i++) {
		kill(pids[i], SIGKILL);
		while (mproc__token_held(range.range, MPROC__BYTE_SLOT(2 + i), 1) != 0)
			usleep(100);
	}
}

static void one_dead_above(void)
{
	several_dead((void (*const[])(void *)){ linger, linger_at_desk }, 2);
}

static void two_dead_above(void)
{
	several_dead((void (*const[])(void *)){ linger, linger_at_desk, queue_for_desk }, 3);
	dirty = true;
}

static void dead_and_named(void)
{
	two_dead_above();
	range.range->named = true;
}

/* What stepped processes do. */

static int64_t attach(void)
{
	return mproc__self(room, "test") ? 0 : mproc__self_error();
}

static int64_t reap(void)
{
	return mproc__reap_all(range.range);
}

static int64_t end_thread(void)
{
	mproc__self_end();
	return 0;
}

static int64_t leave(void)
{
	mproc__fork_lock();
	mproc__range_remove(range.range);
	mproc__fork_unlock();
	return 0;
}

/* A child that acts under an identity of its own. */
static int64_t have_a_child(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(mproc_mutex_lock(&room->mutex, mproc_after_ms(3000)) < 0 ||
		      mproc_mutex_unlock(&room->mutex) < 0);
	return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

/* Peers come, use what is there and are dead thereafter. */
static int64_t come_and_go(void)
{
	int r = mproc_mutex_lock(&room->mutex, MPROC_NOWAIT);

	if (r >= 0)
		t_sweep_check(mproc_mutex_unlock(&room->mutex) == 0);
	return r;
}

/* Before they are stepped. */

static void arrive_process(void)
{
	t_sweep_check(mproc__range_attach_all() == 0);
}

static void arrive_thread(void)
{
	t_sweep_check(mproc__self(room, "test"));
}

/* Owning the mutex, sitting at the desk. */
static void arrive_laden(void)
{
	struct mproc__self *me = mproc__self(room, "test");
	uint64_t nobody = 0;

	t_sweep_check(me);
	if (mproc_mutex_lock(&room->mutex, MPROC_NOWAIT) == 0)
		atomic_compare_exchange_strong(&room->desk.seat, &nobody, me->proc + 1);
}

/* Checks. */

static void in_order(bool inherited)
{
	struct desk *desk = &room->desk;
	const char *fault;
	int told;

	/* He lives, and what was his is his. */
	t_sweep_check(!mproc__dead(range.range, room->him));
	t_sweep_check(mproc_mutex_lock(&room->his, MPROC_NOWAIT) == -EAGAIN);

	fault = t_range_fault(&range, n_living, mproc_after_ms(2000));
	if (fault)
		t_sweep_fail("%s", fault);
	t_sweep_check(desk->lock.word == 0 && desk->redo.n == 0 && desk->a == desk->b);
	t_sweep_check(desk->seat == 0);
	told = mproc_mutex_lock(&room->mutex, MPROC_NOWAIT);
	t_sweep_check(told == (inherited ? MPROC_MUTEX_INHERITED : 0));
	t_sweep_check(mproc_mutex_unlock(&room->mutex) == 0);
	t_sweep_check(mproc_mutex_lock(&room->his, MPROC_NOWAIT) == -EAGAIN);
}

static void came(const struct t_sweep_seen *seen)
{
	if (seen->returned && seen->result)
		t_sweep_fail("attach: %lld", (long long)seen->result);
	if (seen->peer && seen->peer_result < 0)
		t_sweep_fail("peer: %lld", (long long)seen->peer_result);
	in_order(dirty);
}

static void reaped(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result >= 0);
	in_order(dirty);
}

/* The mutex that the victim owned passes on as inherited. */
static void went(const struct t_sweep_seen *seen)
{
	if (seen->returned && !seen->recovering)
		t_sweep_check(range.range->reg->deaths == 0);
	in_order(true);
}

#define COME(arrive_)  .arrive = (arrive_), .peer = come_and_go, .recover = attach
#define REAP(recover_) .arrive = arrive_thread, .peer = reap, .recover = (recover_)
#define GO(recover_)   .arrive = arrive_laden, .recover = (recover_)

/* Of those that recover, the long ones do so in the long tests only. */
static struct t_sweep_case cases[] = {
	T_SWEEP("attach process", "nobody else", nobody_else, attach, came, COME(NULL)),
	T_SWEEP("attach process", "one dead", one_dead, attach, came, COME(NULL)),
	T_SWEEP("attach process", "full of dead", full_of_dead, attach, came, .recover = attach),
	T_SWEEP("attach thread", "nobody else", nobody_else, attach, came, COME(arrive_process)),
	T_SWEEP("end thread", "owns", nobody_else, end_thread, went, GO(end_thread)),
	T_SWEEP("leave", "owns", nobody_else, leave, went, GO(leave)),
	T_SWEEP("reap", "one dead", one_dead_above, reap, reaped, REAP(reap)),
	T_SWEEP("reap", "two dead", two_dead_above, reap, reaped, REAP(reap)),
	T_SWEEP("fork", "named", named, have_a_child, came, .arrive = arrive_thread,
		.peer = come_and_go),
	T_SWEEP("fork", "named, dead", dead_and_named, have_a_child, came,
		.arrive = arrive_process),
};

int main(int argc, char **argv)
{
	size_t n = sizeof(cases) / sizeof(cases[0]);

	for (size_t i = 0; i < n; i++)
		if (cases[i].victim == attach && cases[i].arrive != arrive_process && !t_long())
			cases[i].recover = NULL;
	return t_sweep_main(argc, argv, "participant", cases, n);
}
