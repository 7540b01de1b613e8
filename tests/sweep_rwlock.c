/* SPDX-License-Identifier: MIT */

/*
 * The rwlock, killed at every instruction
 *
 * Under the lock lie two numbers that are equal whenever nobody writes, and a mark
 * that somebody does. Who is told 0 finds them so. A writer that is told of a death
 * makes them so, but only the survivor says consistent(): so the news must reach him
 * through whoever comes in between.
 *
 * At every point a peer tries to get in beside the victim, and where the victim goes
 * on to its end, it may find that the peer has stayed inside (the world's process, which
 * lives, holds it in the peer's place).
 */

#include <mproc/rwlock.h>

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

#define INSIDE UINT64_C(8) /* as ipc/rwlock.c has it in the word */

enum { OUT = 0, READS = 1, WRITES = 2 };

struct room {
	mproc_rwlock rwlock;
	_Atomic(uint64_t) a, b, writing;
	_Atomic(uint64_t) victim; /* inside, as one of the above */
	_Atomic(uint64_t) stays;  /* the peer does */
	_Atomic(uint64_t) given;  /* the lock has been put into the victim's hands */
	_Atomic(uint64_t) done;   /* helpers that came through */
};

static struct t_range range;
static struct room *room;
static struct mproc__self world; /* a copy: what a fork leaves of the original is nothing */

/* Of this world. */
static bool dirty;          /* a dead writer, or the news of one, is part of the start state */
static uint64_t give;       /* the victim is inside when it begins, as one of the above ... */
static uint64_t give_flags; /* ... with these flags */
static unsigned n_helpers;  /* living ones, which come through once they can */
static pid_t holder;        /* one that never lets go, as the next says */
static uint64_t held_as;

static _Atomic(uint64_t) *word(void)
{
	return (_Atomic(uint64_t) *)&room->rwlock;
}

static uint64_t what(void)
{
	return mproc__what(MPROC__KIND_RWLOCK, (uint64_t)((char *)room - range.base));
}

/* Inside, and out again. */

static void enter_read(int64_t told)
{
	if (told == 0) {
		t_sweep_check(room->writing == 0);
		t_sweep_check(room->a == room->b);
	} else {
		t_sweep_check(told == MPROC_RWLOCK_INHERITED);
	}
}

static void enter_write(int64_t told)
{
	enter_read(told);
	room->b = room->a;
	room->writing = 1;
}

static void leave_read(void)
{
	t_sweep_check(mproc_rwlock_unlock(&room->rwlock) == 0);
}

static void leave_write(void)
{
	room->a++;
	room->b++;
	room->writing = 0;
	t_sweep_check(mproc_rwlock_unlock(&room->rwlock) == 0);
}

static int64_t read_until(int64_t deadline)
{
	int64_t told = mproc_rwlock_read_lock(&room->rwlock, deadline);

	if (told >= 0)
		enter_read(told);
	return told;
}

static int64_t write_until(int64_t deadline)
{
	int64_t told = mproc_rwlock_write_lock(&room->rwlock, deadline);

	if (told >= 0)
		enter_write(told);
	return told;
}

static int64_t read_section(void)
{
	int64_t told = read_until(MPROC_FOREVER);

	if (told >= 0)
		leave_read();
	return told;
}

static int64_t write_section(void)
{
	int64_t told = write_until(MPROC_FOREVER);

	if (told >= 0)
		leave_write();
	return told;
}

/* What the victim does. */

static int64_t inside(int64_t told, uint64_t as)
{
	if (told < 0)
		return told;
	t_sweep_check(room->stays == OUT || (room->stays == READS && as == READS));
	room->victim = as;
	return told;
}

static int64_t outside(int64_t told, void (*leave)(void))
{
	room->victim = OUT;
	if (told >= 0)
		leave();
	return told;
}

static int64_t read_lock(void)
{
	return inside(read_until(MPROC_FOREVER), READS);
}

static int64_t write_lock(void)
{
	return inside(write_until(MPROC_FOREVER), WRITES);
}

static int64_t read_now(void)
{
	return outside(inside(read_until(MPROC_NOWAIT), READS), leave_read);
}

static int64_t write_now(void)
{
	return outside(inside(write_until(MPROC_NOWAIT), WRITES), leave_write);
}

/* One sleep, which the deadline ends. */
static int64_t read_in_time(void)
{
	atomic_store(&mproc__quantum_off, true);
	return inside(read_until(mproc_after_ms(200)), READS);
}

static int64_t write_in_time(void)
{
	atomic_store(&mproc__quantum_off, true);
	return inside(write_until(mproc_after_ms(200)), WRITES);
}

static int64_t read_and_leave(void)
{
	return outside(read_lock(), leave_read);
}

static int64_t write_and_leave(void)
{
	return outside(write_lock(), leave_write);
}

static int64_t read_twice(void)
{
	int64_t told = read_lock();

	t_sweep_check(read_until(MPROC_NOWAIT) >= 0);
	leave_read();
	return outside(told, leave_read);
}

static int64_t unlock(void)
{
	return outside(0, give == READS ? leave_read : leave_write);
}

static int64_t say_consistent(void)
{
	return mproc_rwlock_consistent(&room->rwlock);
}

/* What a peer does while the victim stands still. */

static int64_t peer_reads(void)
{
	int64_t told = mproc_rwlock_read_lock(&room->rwlock, MPROC_NOWAIT);

	if (told < 0)
		return told;
	t_sweep_check(room->victim != WRITES);
	enter_read(told);
	leave_read();
	return told;
}

static int64_t peer_writes(void)
{
	int64_t told = mproc_rwlock_write_lock(&room->rwlock, MPROC_NOWAIT);

	if (told < 0)
		return told;
	t_sweep_check(room->victim == OUT);
	enter_write(told);
	leave_write();
	return told;
}

static int64_t peer_reads_and_stays(void)
{
	int64_t told = mproc_rwlock_read_lock(&room->rwlock, MPROC_NOWAIT);

	if (told < 0)
		return told;
	t_sweep_check(room->victim != WRITES);
	room->stays = READS;
	atomic_store(&world.rec->reads[0], what());
	leave_read();
	return told;
}

static int64_t peer_writes_and_stays(void)
{
	int64_t told = mproc_rwlock_write_lock(&room->rwlock, MPROC_NOWAIT);

	if (told < 0)
		return told;
	t_sweep_check(room->victim == OUT);
	room->stays = WRITES;
	atomic_store(word(), world.word | (*word() & MPROC__OWNER_FLAGS));
	return told;
}

static int64_t peer_writes_and_dies(void)
{
	int64_t told = mproc_rwlock_write_lock(&room->rwlock, MPROC_NOWAIT);

	if (told < 0)
		return told;
	t_sweep_check(room->victim == OUT);
	room->a++;
	return told;
}

/* Helpers. */

static void read_through(void *arg)
{
	(void)arg;
	t_sweep_check(read_section() >= 0);
	room->done++;
}

static void write_through(void *arg)
{
	(void)arg;
	t_sweep_check(write_section() >= 0);
	room->done++;
}

static void read_a_while(void *arg)
{
	(void)arg;
	t_sweep_check(read_until(MPROC_FOREVER) >= 0);
	t_sweep_rest();
	leave_read();
	room->done++;
}

static void write_a_while(void *arg)
{
	(void)arg;
	t_sweep_check(write_until(MPROC_FOREVER) >= 0);
	t_sweep_rest();
	leave_write();
	room->done++;
}

static void hold_for_good(void *arg)
{
	(void)arg;
	t_sweep_check((held_as == READS ? read_until : write_until)(MPROC_FOREVER) >= 0);
	for (;;)
		pause();
}

static void die_reading(void *arg)
{
	(void)arg;
	t_sweep_check(read_until(MPROC_FOREVER) >= 0);
}

static void die_writing(void *arg)
{
	(void)arg;
	t_sweep_check(write_until(MPROC_FOREVER) >= 0);
	room->a++;
}

/* An heir that has not yet said for himself what he found. */
static void die_as_heir(void *arg)
{
	struct mproc__self *me = mproc__self(room, "test");

	(void)arg;
	t_sweep_check(mproc__lock_take((struct mproc__lock *)&room->rwlock, me, 0, MPROC_FOREVER) ==
		      MPROC__LOCK_INHERITED);
}

static void wait_to_write(void *arg)
{
	(void)arg;
	(void)write_until(MPROC_FOREVER);
	t_sweep_fail("it was never free");
}

/* Start states. */

static void free_as(uint32_t flags)
{
	t_sweep_check(t_range_open(&range, PROCS, THREADS, sizeof(*room)) == 0);
	t_sweep_watch(range.base, range.size);
	room = (void *)range.room;
	world = *mproc__self(room, "test");
	t_sweep_check(mproc_rwlock_init(&room->rwlock, flags) == 0);
}

static void free_lock(void)
{
	free_as(0);
}

static void lenient(void)
{
	free_as(MPROC_RWLOCK_PREFER_READERS);
}

static void fenced(void)
{
	free_as(0);
	atomic_store(&range.range->reg->fence, 1);
}

static void read_by_one(void)
{
	free_lock();
	t_sweep_helper(read_a_while, NULL);
	n_helpers = 1;
}

static void lenient_read_by_one(void)
{
	lenient();
	t_sweep_helper(read_a_while, NULL);
	n_helpers = 1;
}

static void held_for_good(uint64_t as)
{
	free_lock();
	held_as = as;
	holder = t_sweep_helper(hold_for_good, NULL);
}

static void read_for_good(void)
{
	held_for_good(READS);
}

static void written_for_good(void)
{
	held_for_good(WRITES);
}

static void reader_dead(void)
{
	free_lock();
	t_sweep_helper(die_reading, NULL);
}

static void lenient_reader_dead(void)
{
	lenient();
	t_sweep_helper(die_reading, NULL);
}

static void written_by_one(void)
{
	free_lock();
	t_sweep_helper(write_a_while, NULL);
	n_helpers = 1;
}

/* The writer waits for one that reads; the latter rests. */
static void writer_waits(void)
{
	read_by_one();
	t_sweep_helper(write_through, NULL);
	n_helpers = 2;
}

static void writer_dead(void)
{
	free_lock();
	t_sweep_helper(die_writing, NULL);
	dirty = true;
}

static void lenient_writer_dead(void)
{
	lenient();
	t_sweep_helper(die_writing, NULL);
	dirty = true;
}

static void heir_dead(void)
{
	writer_dead();
	t_sweep_helper(die_as_heir, NULL);
}

static void writer_dead_and_slept_for(void)
{
	written_for_good();
	t_sweep_helper(read_through, NULL);
	t_sweep_helper(write_through, NULL);
	n_helpers = 2;
	kill(holder, SIGKILL);
	while (mproc__token_held(range.range, MPROC__BYTE_SLOT(1), 1) != 0)
		;
	holder = 0;
	dirty = true;
}

/* It has claimed the lock and has not come in, since one reads. */
static void waiting_writer_dead(void)
{
	pid_t pid;

	read_by_one();
	pid = t_sweep_helper(wait_to_write, NULL);
	kill(pid, SIGKILL);
	while (mproc__token_held(range.range, MPROC__BYTE_SLOT(2), 1) != 0)
		;
}

static void inherited_and_free(void)
{
	writer_dead();
	t_sweep_helper(read_through, NULL);
	room->done = 0;
}

/* This process is inside until the victim has arrived; these wait. */
static void given(uint64_t as, uint64_t flags, unsigned readers, unsigned writers)
{
	free_lock();
	t_sweep_check((as == READS ? read_until : write_until)(MPROC_NOWAIT) == 0);
	if (flags)
		atomic_store(word(), world.word | INSIDE | flags);
	for (unsigned i = 0; i < readers; i++)
		t_sweep_helper(read_through, NULL);
	for (unsigned i = 0; i < writers; i++)
		t_sweep_helper(write_through, NULL);
	n_helpers = readers + writers;
	give = as;
	give_flags = flags;
	dirty = flags;
}

static void reading(void)
{
	given(READS, 0, 0, 0);
}

static void reading_and_a_writer_waits(void)
{
	given(READS, 0, 0, 1);
}

static void reading_and_all_wait(void)
{
	given(READS, 0, 0, 2);
	t_sweep_helper(read_through, NULL);
	n_helpers = 3;
}

static void writing(void)
{
	given(WRITES, 0, 0, 0);
}

static void writing_and_all_wait(void)
{
	given(WRITES, 0, 2, 1);
}

static void writing_as_heir(void)
{
	given(WRITES, MPROC__OWNER_INHERITED, 1, 1);
}

static void arrive(void)
{
	struct mproc__self *me = mproc__self(room, "test");

	t_sweep_check(me);
	if (!give || atomic_exchange(&room->given, 1))
		return;
	room->victim = give;
	if (give == READS) {
		atomic_store(&me->rec->reads[0], what());
		me->reads_used = 1;
		atomic_store(&world.rec->reads[0], 0);
	} else {
		atomic_store(&me->rec->holds[0], what());
		me->n_holds = 1;
		atomic_store(word(), me->word | INSIDE | give_flags);
		atomic_store(&world.rec->holds[0], 0);
	}
}

/* Checks. */

static bool helpers_are_through(void *arg)
{
	(void)arg;
	return room->done == n_helpers;
}

/* Those that are inside for good go. */
static void clear_away(void)
{
	if (holder) {
		kill(holder, SIGKILL);
		dirty |= held_as == WRITES;
	}
	if (room->stays == READS)
		atomic_store(&world.rec->reads[0], 0);
	if (room->stays == WRITES) {
		room->writing = 0;
		atomic_store(word(), *word() & MPROC__OWNER_INHERITED);
	}
	t_sweep_rouse();
}

/*
 * @died:	the victim that returned died as the writer
 * @wrote:	the victim may have been a writer
 */
static void sound(const struct t_sweep_seen *seen, bool died, bool wrote)
{
	bool late = seen->recovering && !seen->recovered;
	const char *fault;
	int64_t told;

	t_sweep_check(!mproc__proc_dead(range.range, 0, 1));
	clear_away();
	told = mproc_rwlock_write_lock(&room->rwlock, mproc_after_ms(4000));
	t_sweep_check(told >= 0);
	if (dirty || (seen->returned && died))
		t_sweep_check(told == MPROC_RWLOCK_INHERITED);
	else if (!late && !seen->peer && (!wrote || seen->returned))
		t_sweep_check(told == 0);
	enter_write(told);
	if (told)
		t_sweep_check(mproc_rwlock_consistent(&room->rwlock) == 0);
	leave_write();

	/* Nobody sleeps for ever, and the news is gone. */
	t_sweep_check(t_wait_until(helpers_are_through, NULL, mproc_after_ms(4000)));
	room->stays = OUT;
	t_sweep_check(read_now() == 0);
	t_sweep_check(write_now() == 0);
	t_sweep_check(*word() == 0);
	fault = t_range_fault(&range, 2, mproc_after_ms(2000));
	if (fault)
		t_sweep_fail("%s", fault);
}

static void was_read(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == (dirty ? MPROC_RWLOCK_INHERITED : 0) ||
		      (seen->peer && seen->result >= 0));
	sound(seen, false, false);
}

static void was_written(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result >= 0);
	sound(seen, true, true);
}

static void was_left(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result >= 0);
	sound(seen, false, true);
}

static void was_refused_in_time(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -ETIMEDOUT);
	sound(seen, false, false);
}

static void was_refused_now(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -EAGAIN);
	sound(seen, false, false);
}

/* Where a peer stays the victim may be refused. */
static void was_tried(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result >= 0 || (seen->peer && room->stays));
	sound(seen, false, true);
}

static void was_said(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	/* The victim dies inside: the news is there again. */
	sound(seen, true, true);
}

#define READ    .arrive = arrive, .peer = peer_reads, .recover = read_section
#define WRITE   .arrive = arrive, .peer = peer_writes, .recover = write_section
#define DIES    .arrive = arrive, .peer = peer_writes_and_dies, .recover = read_section
#define R_STAYS .arrive = arrive, .peer = peer_reads_and_stays, .flags = T_SWEEP_RESUME
#define W_STAYS .arrive = arrive, .peer = peer_writes_and_stays, .flags = T_SWEEP_RESUME
#define RESUMED .flags = T_SWEEP_RESUME

static const struct t_sweep_case cases[] = {
	T_SWEEP("read", "free", free_lock, read_lock, was_read, WRITE),
	T_SWEEP("read", "free, fences", fenced, read_lock, was_read, WRITE),
	T_SWEEP("read", "read", read_by_one, read_lock, was_read, READ),
	T_SWEEP("read", "written", written_by_one, read_lock, was_read, WRITE),
	T_SWEEP("read", "a writer waits", writer_waits, read_lock, was_read, READ),
	T_SWEEP("read", "waiting writer dead", waiting_writer_dead, read_lock, was_read, READ),
	T_SWEEP("read", "writer dead", writer_dead, read_lock, was_read, WRITE),
	T_SWEEP("read", "writer dead, readers first", lenient_writer_dead, read_lock, was_read,
		WRITE),
	T_SWEEP("read", "writer dead, slept for", writer_dead_and_slept_for, read_lock, was_read,
		READ),
	T_SWEEP("read", "heir dead", heir_dead, read_lock, was_read, WRITE),
	T_SWEEP("read", "inherited, free", inherited_and_free, read_lock, was_read, WRITE),
	T_SWEEP("read in time", "written", written_for_good, read_in_time, was_refused_in_time,
		READ),
	T_SWEEP("read now", "written", written_for_good, read_now, was_refused_now, READ),
	T_SWEEP("read now", "a writer comes", free_lock, read_now, was_tried, W_STAYS),
	T_SWEEP("read now", "a writer comes, readers first", lenient, read_now, was_tried, W_STAYS),
	T_SWEEP("write", "free", free_lock, write_lock, was_written, READ),
	T_SWEEP("write", "free, fences", fenced, write_lock, was_written, WRITE),
	T_SWEEP("write", "free, readers first", lenient, write_lock, was_written, READ),
	T_SWEEP("write", "read", read_by_one, write_lock, was_written, WRITE),
	T_SWEEP("write", "read, readers first", lenient_read_by_one, write_lock, was_written, READ),
	T_SWEEP("write", "reader dead", reader_dead, write_lock, was_written, WRITE),
	T_SWEEP("write", "reader dead, readers first", lenient_reader_dead, write_lock, was_written,
		READ),
	T_SWEEP("write", "written", written_by_one, write_lock, was_written, READ),
	T_SWEEP("write", "a writer waits", writer_waits, write_lock, was_written, READ),
	T_SWEEP("write", "waiting writer dead", waiting_writer_dead, write_lock, was_written, READ),
	T_SWEEP("write", "writer dead", writer_dead, write_lock, was_written, READ),
	T_SWEEP("write", "writer dead, slept for", writer_dead_and_slept_for, write_lock,
		was_written, READ),
	T_SWEEP("write", "heir dead", heir_dead, write_lock, was_written, WRITE),
	T_SWEEP("write", "inherited, free", inherited_and_free, write_lock, was_written, READ),
	T_SWEEP("write in time", "read", read_for_good, write_in_time, was_refused_in_time, READ),
	T_SWEEP("write in time", "written", written_for_good, write_in_time, was_refused_in_time,
		READ),
	T_SWEEP("write now", "read", read_for_good, write_now, was_refused_now, READ),
	T_SWEEP("write now", "a reader comes", free_lock, write_now, was_tried, R_STAYS),
	T_SWEEP("write now", "a reader comes, readers first", lenient, write_now, was_tried,
		R_STAYS),
	T_SWEEP("write now", "a writer comes", free_lock, write_now, was_tried, W_STAYS),
	T_SWEEP("unlock", "reads", reading, unlock, was_read, WRITE, RESUMED),
	T_SWEEP("unlock", "reads, a writer waits", reading_and_a_writer_waits, unlock, was_read,
		READ, RESUMED),
	T_SWEEP("unlock", "reads, all wait", reading_and_all_wait, unlock, was_read, WRITE,
		RESUMED),
	T_SWEEP("unlock", "writes", writing, unlock, was_left, READ, RESUMED),
	T_SWEEP("unlock", "writes, all wait", writing_and_all_wait, unlock, was_left, WRITE,
		RESUMED),
	T_SWEEP("unlock", "writes, inherited", writing_as_heir, unlock, was_left, READ, RESUMED),
	T_SWEEP("consistent", "inherited", writing_as_heir, say_consistent, was_said, READ),
	T_SWEEP("read, unlock", "a writer goes by", free_lock, read_and_leave, was_left, WRITE,
		RESUMED),
	T_SWEEP("read, unlock", "a writer dies", free_lock, read_and_leave, was_left, DIES,
		RESUMED),
	T_SWEEP("read twice", "a writer goes by", free_lock, read_twice, was_left, WRITE, RESUMED),
	T_SWEEP("write, unlock", "a reader goes by", free_lock, write_and_leave, was_left, READ,
		RESUMED),
	T_SWEEP("write, unlock", "readers first", lenient, write_and_leave, was_left, READ,
		RESUMED),
	T_SWEEP("write, unlock", "a writer dies", free_lock, write_and_leave, was_left, DIES,
		RESUMED),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "rwlock", cases, sizeof(cases) / sizeof(cases[0]));
}
