/* SPDX-License-Identifier: MIT */

/*
 * A lock call that looks for cycles, killed at every instruction
 *
 * The victim owns mutex a, for which a helper sleeps that owns mutex b: what it asks
 * for next closes the cycle. Refused or killed, it leaves a to the helper, who then
 * lets both go. In the other start state nobody waits for the victim, and it gets b.
 *
 * And one that records the order of locks: the victim takes b while it owns a. Whatever
 * has become of the record, the survivor finds what he then does in it, once.
 */

#include <mproc/error.h>
#include <mproc/mutex.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "ipc/graph.h"
#include "ipc/kind_layout.h"
#include "ipc/order.h"
#include "ipc/participant.h"
#include "tests/support/child.h"
#include "tests/support/range.h"
#include "tests/support/sweep.h"

struct room {
	mproc_mutex a, b, c;
	_Atomic(uint64_t) given; /* a has been put into the victim's hands */
	_Atomic(uint64_t) done;  /* the helper has come through */
	_Atomic(uint64_t) lines; /* said to the log */
};

static struct t_range range;
static struct room *room;
static bool gives; /* of this world */

/* Setups. */

static void open_room(void)
{
	t_sweep_check(t_range_open(&range, 8, 8, sizeof(*room)) == 0);
	t_sweep_watch(range.base, range.size);
	atomic_store(&range.range->reg->options, MPROC__OPTION_DEADLOCK);
	room = (void *)range.room;
	t_sweep_check(mproc_mutex_init(&room->a, 0) == 0);
	t_sweep_check(mproc_mutex_init(&room->b, 0) == 0);
}

static void b_then_a(void *arg)
{
	(void)arg;
	t_sweep_check(mproc_mutex_lock(&room->b, MPROC_FOREVER) == 0);
	/* The youngest wait of a cycle is refused, and this is the older one. */
	t_sweep_check(mproc_mutex_lock(&room->a, MPROC_FOREVER) >= 0);
	(void)!mproc_mutex_consistent(&room->a);
	t_sweep_check(mproc_mutex_unlock(&room->a) == 0);
	t_sweep_check(mproc_mutex_unlock(&room->b) == 0);
	room->done = 1;
}

static void b_for_a_while(void *arg)
{
	(void)arg;
	t_sweep_check(mproc_mutex_lock(&room->b, MPROC_FOREVER) == 0);
	t_sweep_rest();
	t_sweep_check(mproc_mutex_unlock(&room->b) == 0);
	room->done = 1;
}

/* The world owns a until the victim has arrived. */
static void about_to_close(void)
{
	struct mproc__self *me;

	open_room();
	me = mproc__self(room, "test");
	t_sweep_check(me);
	atomic_store((_Atomic(uint64_t) *)&room->a, me->word);
	t_sweep_helper(b_then_a, NULL);
	gives = true;
}

static void taken(void)
{
	open_room();
	t_sweep_helper(b_for_a_while, NULL);
}

static void arrive(void)
{
	struct mproc__self *me = mproc__self(room, "test");

	t_sweep_check(me);
	if (!gives || atomic_exchange(&room->given, 1))
		return;
	atomic_store(&me->rec->holds[0], mproc__what(MPROC__KIND_MUTEX, mproc__self_off(me, room)));
	me->n_holds = 1;
	atomic_store((_Atomic(uint64_t) *)&room->a, me->word);
}

/* Operations. */

static int64_t lock_b(void)
{
	return mproc_mutex_lock(&room->b, MPROC_FOREVER);
}

static int ignore(const struct mproc__edge *edges, size_t n, void *arg)
{
	(void)edges;
	(void)n;
	(void)arg;
	return 0;
}

static int64_t look(void)
{
	return mproc__graph_cycles(NULL, ignore, NULL);
}

/* Checks. */

static bool helper_is_through(void *arg)
{
	(void)arg;
	return room->done;
}

static void sound(void)
{
	t_sweep_rouse();
	t_sweep_check(t_wait_until(helper_is_through, NULL, mproc_after_ms(8000)));
	t_sweep_check(mproc__graph_cycles(NULL, ignore, NULL) == 0);
	for (int i = 0; i < 2; i++) {
		mproc_mutex *mutex = i ? &room->b : &room->a;

		t_sweep_check(mproc_mutex_lock(mutex, mproc_after_ms(4000)) >= 0);
		(void)!mproc_mutex_consistent(mutex);
		t_sweep_check(mproc_mutex_unlock(mutex) == 0);
		t_sweep_check(*(_Atomic(uint64_t) *)mutex == 0);
	}
	if (t_range_fault(&range, 2, mproc_after_ms(4000)))
		t_sweep_fail("%s", t_range_fault(&range, 2, mproc_after_ms(4000)));
}

static void refused(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -EDEADLK);
	sound();
}

static void locked(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	sound();
}

static void seen_none(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	sound();
}

/* The order of locks. */

static void count_line(const char *line, void *arg)
{
	(void)line;
	(void)arg;
	atomic_fetch_add(&room->lines, 1);
}

/* The record lies apart from the registry, and both are watched. */
static void open_ordered(void)
{
	t_sweep_check(t_range_open(&range, 8, 8, sizeof(*room)) == 0);
	range.range->order = t_sweep_map(sizeof(*range.range->order));
	t_sweep_watch(range.base, range.size);
	atomic_store(&range.range->reg->options, MPROC__OPTION_LOCK_ORDER);
	room = (void *)range.room;
	t_sweep_check(mproc_mutex_init(&room->a, 0) == 0);
	t_sweep_check(mproc_mutex_init(&room->b, 0) == 0);
	t_sweep_check(mproc_mutex_init(&room->c, 0) == 0);
	mproc_set_log(count_line, NULL);
}

static void take_both(mproc_mutex *first, mproc_mutex *second)
{
	mproc_mutex *both[] = { first, second };

	for (int i = 0; i < 2; i++) {
		t_sweep_check(mproc_mutex_lock(both[i], mproc_after_ms(4000)) >= 0);
		(void)!mproc_mutex_consistent(both[i]);
	}
	t_sweep_check(mproc_mutex_unlock(second) == 0);
	t_sweep_check(mproc_mutex_unlock(first) == 0);
}

static void unrecorded(void)
{
	open_ordered();
}

static void reversed_before(void)
{
	open_ordered();
	take_both(&room->b, &room->a);
}

static void told_before(void)
{
	reversed_before();
	take_both(&room->a, &room->b);
	t_sweep_check(room->lines == 1);
}

static void own_a(void)
{
	t_sweep_check(mproc_mutex_lock(&room->a, mproc_after_ms(4000)) >= 0);
}

static int64_t make_b(void)
{
	return mproc_mutex_init(&room->b, 0);
}

static int64_t unmake_b(void)
{
	mproc_mutex_destroy(&room->b);
	return 0;
}

static int ignore_pair(struct mproc__range *in, const uint64_t whats[2], void *arg)
{
	(void)in;
	(void)whats;
	(void)arg;
	return 0;
}

static int n_pairs(void)
{
	uint64_t dropped;
	int r = mproc__order_pairs(range.range, ignore_pair, NULL, &dropped);

	t_sweep_check(dropped == 0);
	return r;
}

/* All that the survivor does from here on is recorded and told. */
static void order_is_sound(void)
{
	uint64_t lines = room->lines;

	t_sweep_check(lines <= 1);
	take_both(&room->a, &room->b);
	take_both(&room->b, &room->a);
	t_sweep_check(n_pairs() == 1);
	/* Whoever has set the pair's bit and was killed took the line along. */
	t_sweep_check(room->lines <= 1);
	lines = room->lines;
	take_both(&room->a, &room->c);
	t_sweep_check(n_pairs() == 1);
	take_both(&room->c, &room->a);
	t_sweep_check(n_pairs() == 2);
	t_sweep_check(room->lines == lines + 1);
	/* A place that is made a lock again has no past, whatever was left of it. */
	t_sweep_check(mproc_mutex_init(&room->a, 0) == 0);
	t_sweep_check(n_pairs() == 0);
	take_both(&room->a, &room->b);
	t_sweep_check(n_pairs() == 0);
	take_both(&room->b, &room->a);
	t_sweep_check(n_pairs() == 1);
	t_sweep_check(room->lines == lines + 2);
	if (t_range_fault(&range, 2, mproc_after_ms(4000)))
		t_sweep_fail("%s", t_range_fault(&range, 2, mproc_after_ms(4000)));
}

static void recorded_first(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	t_sweep_check(n_pairs() == 0 && room->lines == 0);
	order_is_sound();
	/* Nobody was there to tell before the survivor. */
	t_sweep_check(room->lines == 3);
}

static void recorded_reversed(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || (seen->result == 0 && n_pairs() == 1));
	t_sweep_check(!seen->returned || room->lines == 1);
	order_is_sound();
}

static void forgotten(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || n_pairs() == 0);
	t_sweep_check(mproc_mutex_init(&room->b, 0) == 0);
	t_sweep_check(n_pairs() == 0);
	room->lines = 0;
	order_is_sound();
	t_sweep_check(room->lines == 3);
}

static const struct t_sweep_case cases[] = {
	T_SWEEP("lock", "closes a cycle", about_to_close, lock_b, refused, .arrive = arrive),
	T_SWEEP("lock", "taken", taken, lock_b, locked, .arrive = arrive),
	T_SWEEP("look", "no cycle", about_to_close, look, seen_none, .arrive = arrive,
		.flags = T_SWEEP_READ_ONLY),
	T_SWEEP("record", "nothing before", unrecorded, lock_b, recorded_first, .arrive = own_a),
	T_SWEEP("record", "the opposite before", reversed_before, lock_b, recorded_reversed,
		.arrive = own_a),
	T_SWEEP("record", "told before", told_before, lock_b, recorded_reversed, .arrive = own_a),
	T_SWEEP("forget by init", "told before", told_before, make_b, forgotten),
	T_SWEEP("forget by destroy", "told before", told_before, unmake_b, forgotten),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "deadlock", cases, sizeof(cases) / sizeof(cases[0]));
}
