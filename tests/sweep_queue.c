/* SPDX-License-Identifier: MIT */

/*
 * Queues: killed at every instruction of a put, a get, a take and a shutdown
 *
 * A message is one character, its tag, over and over: small letters and digits are
 * short messages, capitals long ones. Whoever puts or gets keeps a book, in memory
 * that no kill tears and that nobody watches, before and after each call. At the end
 * the survivor drains the queue and balances the books: every message once, whole, in
 * order; lost at most those whose getter was killed inside his call; no memory lost;
 * room for exactly as many as ever.
 */

#include <mproc/queue.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <mproc/arena.h>
#include <mproc/error.h>

#include "ipc/lock.h"
#include "ipc/participant.h"
#include "pipes/queue.h"
#include "shm/arena.h"
#include "tests/support/sweep.h"

#define DEPTH     3u
#define SHORT_LEN 20u
#define LONG_LEN  200u /* more than an eighth of the ring */
#define RING      1024u

struct book {
	_Atomic(uint32_t) tried[128]; /* put, at least begun */
	_Atomic(uint32_t) put[128];   /* and done */
	_Atomic(uint32_t) refused[128];
	_Atomic(uint32_t) got[128];
	_Atomic(uint32_t) gets_tried; /* messages wanted at most */
	_Atomic(uint32_t) gets_done;
	_Atomic(uint32_t) order[64]; /* tags in the order of their puts, where that is known */
	_Atomic(uint32_t) n_order;
	_Atomic(uint32_t) helper_done;
};

static struct book *book;
static mproc_segment *segment;
static mproc_queue *q;
static uint64_t used_at_start, used_without;
static bool has_helper;

static struct mproc__self *self(void)
{
	struct mproc__self *me = mproc__self(q->shared, "sweep");

	t_sweep_check(me);
	return me;
}

static uint64_t arena_used(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.used;
}

static size_t len_of(char tag)
{
	return tag >= 'A' && tag <= 'Z' ? LONG_LEN : SHORT_LEN;
}

static int64_t put(char tag, int64_t deadline)
{
	char msg[LONG_LEN];
	int r;

	memset(msg, tag, sizeof(msg));
	atomic_store(&book->tried[(int)tag], 1);
	r = mproc_queue_put(q, msg, len_of(tag), deadline);
	atomic_store(r < 0 ? &book->refused[(int)tag] : &book->put[(int)tag], 1);
	return r;
}

/* Messages that are there at the start, in their order. */
static void put_at_start(const char *tags)
{
	for (; *tags; tags++) {
		t_sweep_check(put(*tags, MPROC_NOWAIT) == 0);
		atomic_store(&book->order[atomic_fetch_add(&book->n_order, 1)], (uint32_t)*tags);
	}
}

/* Return: the tag of a message that is whole. */
static char tag_of(const void *msg, size_t len)
{
	const char *bytes = msg;

	t_sweep_check(len && len == len_of(bytes[0]));
	for (size_t i = 1; i < len; i++)
		t_sweep_check(bytes[i] == bytes[0]);
	return bytes[0];
}

static int64_t get(int64_t deadline)
{
	char msg[LONG_LEN], tag;
	size_t len;
	int r;

	atomic_fetch_add(&book->gets_tried, 1);
	r = mproc_queue_get(q, msg, sizeof(msg), &len, deadline);
	tag = r < 0 ? 0 : tag_of(msg, len);
	if (tag)
		atomic_fetch_add(&book->got[(int)tag], 1);
	atomic_fetch_add(&book->gets_done, 1);
	return r < 0 ? r : tag;
}

/* Operations. None waits for ever: a state may leave it nothing to do. */
static int64_t put_short(void)
{
	return put('v', mproc_after_ms(2000));
}

static int64_t put_long(void)
{
	return put('V', mproc_after_ms(2000));
}

static int64_t put_three(void)
{
	char msgs[3][SHORT_LEN];
	struct iovec iov[3];
	int r;

	for (int i = 0; i < 3; i++) {
		memset(msgs[i], 'x' + i, SHORT_LEN);
		iov[i] = (struct iovec){ .iov_base = msgs[i], .iov_len = SHORT_LEN };
		atomic_store(&book->tried['x' + i], 1);
	}
	r = mproc_queue_put_many(q, iov, 3, mproc_after_ms(2000));
	for (int i = 0; i < 3; i++)
		atomic_store(i < r ? &book->put['x' + i] : &book->refused['x' + i], 1);
	return r;
}

static int64_t get_one(void)
{
	return get(mproc_after_ms(2000));
}

static int64_t get_three(void)
{
	char buf[3 * LONG_LEN];
	struct iovec msgs[3];
	int r;

	atomic_fetch_add(&book->gets_tried, 3);
	r = mproc_queue_get_many(q, buf, sizeof(buf), msgs, 3, mproc_after_ms(2000));
	for (int i = 0; i < r; i++)
		atomic_fetch_add(&book->got[(int)tag_of(msgs[i].iov_base, msgs[i].iov_len)], 1);
	atomic_fetch_add(&book->gets_done, 3);
	return r;
}

static int64_t take_and_release(void)
{
	struct mproc__self *me = self();
	struct mproc__queue_view view;
	char tag;
	int r;

	atomic_fetch_add(&book->gets_tried, 1);
	r = mproc__queue_take(q, me, mproc_after_ms(2000), &view);
	if (r == 0) {
		tag = tag_of(view.msg, view.len);
		mproc__queue_release(q, me, &view);
		atomic_fetch_add(&book->got[(int)tag], 1);
	}
	atomic_fetch_add(&book->gets_done, 1);
	return r;
}

/* Nothing may be missing after this one, wherever it was killed. */
static int64_t take_and_untake(void)
{
	struct mproc__self *me = self();
	struct mproc__queue_view view;
	int r;

	r = mproc__queue_take(q, me, mproc_after_ms(2000), &view);
	if (r == 0) {
		tag_of(view.msg, view.len);
		mproc__queue_untake(q, me, &view);
	}
	return r;
}

static int64_t shut_down(void)
{
	return mproc_queue_shutdown(q);
}

static int64_t remove_it(void)
{
	return mproc_segment_remove(segment, "q");
}

static int64_t reap(void)
{
	return mproc__reap_all(segment->range);
}

/* What peers do: they wait for nobody, since the victim stands still. */
static int64_t peer_put(void)
{
	return put('p', MPROC_NOWAIT);
}

static int64_t peer_get(void)
{
	return get(MPROC_NOWAIT);
}

/* What was private to the dead is another's then. */
static int64_t peer_reap_and_make(void)
{
	void *mem;

	t_sweep_check(mproc__reap_all(segment->range) >= 0);
	t_sweep_check(mproc_segment_object(&mem, segment, "other", LONG_LEN, NULL, NULL) == 1);
	return 0;
}

/* After -EPIPE nobody may find a message any more, not even the victim's. */
static int64_t peer_shut_down_and_drain(void)
{
	int64_t r;

	t_sweep_check(mproc_queue_shutdown(q) == 0);
	do
		r = get(MPROC_NOWAIT);
	while (r >= 0);
	return r;
}

/* What recoverers do. They do not wait either: the victim may have left them nothing. */
static int64_t recover_put(void)
{
	return put('r', MPROC_NOWAIT);
}

static int64_t recover_get(void)
{
	return get(MPROC_NOWAIT);
}

static void arrive(void)
{
	self();
}

/* Start states. */
static void empty(void)
{
	book = mmap(NULL, sizeof(*book), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	t_sweep_check(book != MAP_FAILED);
	has_helper = false;
	t_sweep_check(mproc_segment_create(&segment, NULL,
					   MPROC_SEGMENT_OPTS(.bytes = 128 << 10, .processes = 8,
							      .threads = 8, .objects = 4)) == 0);
	used_without = arena_used();
	t_sweep_check(mproc_queue_create(&q, segment, "q",
					 MPROC_QUEUE_OPTS(.depth = DEPTH, .msg_max = LONG_LEN,
							  .bytes = RING)) == 0);
	used_at_start = arena_used();
	t_sweep_watch((const void *)segment->range->base, mproc__segment_size(segment));
}

static void one(void)
{
	empty();
	put_at_start("1");
}

static void full(void)
{
	empty();
	put_at_start("123");
}

static void one_long(void)
{
	empty();
	put_at_start("A");
}

static void mixed(void)
{
	empty();
	put_at_start("1B3");
}

/* The next record does not fit before the end of the ring, and both counts go round. */
static void wrapping(void)
{
	empty();
	mproc__queue_start_at(q, (1 << 24) - 1, (UINT64_C(1) << 40) - 8);
}

static void wrapping_one(void)
{
	wrapping();
	put_at_start("1");
}

static void take_put_lock(void *arg)
{
	(void)arg;
	t_sweep_check(mproc__lock_take(&q->shared->put.lock, self(), q->what, MPROC_FOREVER) >= 0);
}

static void take_get_lock(void *arg)
{
	(void)arg;
	t_sweep_check(mproc__lock_take(&q->shared->get.lock, self(), q->what, MPROC_FOREVER) >= 0);
}

static void put_owner_dead(void)
{
	one();
	t_sweep_helper(take_put_lock, NULL);
}

static void get_owner_dead(void)
{
	one();
	t_sweep_helper(take_get_lock, NULL);
}

static void both_owners_dead(void)
{
	empty();
	put_at_start("1B");
	t_sweep_helper(take_get_lock, NULL);
	t_sweep_helper(take_put_lock, NULL);
}

static void helper_puts(void *arg)
{
	put_at_start(arg);
}

/* Queued, yet its block still says that it is private to the dead. */
static void long_of_the_dead(void)
{
	empty();
	t_sweep_helper(helper_puts, "A");
}

static void seize_and_die(void *arg)
{
	struct mproc__queue_view view;

	(void)arg;
	t_sweep_check(mproc__queue_take(q, self(), MPROC_NOWAIT, &view) == 0);
	t_sweep_check(mproc__arena_seize(segment, self(), view.block) == 0);
}

/* Private to a getter who died before he let go of it. */
static void long_seized_by_the_dead(void)
{
	one_long();
	t_sweep_helper(seize_and_die, NULL);
}

static void helper_get(void *arg)
{
	(void)arg;
	(void)get(MPROC_FOREVER);
	atomic_store(&book->helper_done, 1);
}

static void helper_put(void *arg)
{
	(void)arg;
	(void)put('h', MPROC_FOREVER);
	atomic_store(&book->helper_done, 1);
}

static void getter_asleep(void)
{
	empty();
	has_helper = true;
	t_sweep_helper(helper_get, NULL);
}

static void putter_asleep(void)
{
	full();
	has_helper = true;
	t_sweep_helper(helper_put, NULL);
}

/* The helper who slept at the start has what he waited for, once others do their part. */
static void await_helper(void)
{
	int64_t deadline = mproc_after_ms(3000);

	for (int i = 0; !atomic_load(&book->helper_done); i++) {
		t_sweep_check(mproc_now() < deadline);
		if (i % 200 == 20) {
			/* Nothing yet: give a getter a message and a putter room. */
			if (mproc_queue_is_empty(q) && !atomic_load(&book->tried['s']))
				(void)put('s', MPROC_NOWAIT);
			else if (mproc_queue_is_full(q))
				(void)get(MPROC_NOWAIT);
		}
		usleep(500);
	}
}

static void balance_books(void)
{
	uint32_t in_flight = atomic_load(&book->gets_tried) - atomic_load(&book->gets_done);
	uint32_t lost = 0;

	for (int tag = 0; tag < 128; tag++) {
		uint32_t got = atomic_load(&book->got[tag]);

		if (got > 1)
			t_sweep_fail("message %c was delivered %u times", tag, got);
		if (got && !atomic_load(&book->tried[tag]))
			t_sweep_fail("message %c was never put", tag);
		if (got && atomic_load(&book->refused[tag]))
			t_sweep_fail("message %c was refused and came all the same", tag);
		lost += !got && atomic_load(&book->put[tag]);
	}
	if (lost > in_flight)
		t_sweep_fail("%u messages are lost, %u were in the hands of the dead", lost,
			     in_flight);
}

/* What is drained is a tail of what was there at the start, in its order, then others. */
static void check_order(const char *drained)
{
	uint32_t n = atomic_load(&book->n_order), at = n;

	for (uint32_t i = 0; i < n && at == n; i++)
		if (drained[0] == (char)atomic_load(&book->order[i]))
			at = i;
	for (; at < n; at++, drained++)
		if (*drained != (char)atomic_load(&book->order[at]))
			t_sweep_fail("%c came where %c should have", *drained,
				     (int)atomic_load(&book->order[at]));
	for (; *drained; drained++)
		for (uint32_t i = 0; i < n; i++)
			if (*drained == (char)atomic_load(&book->order[i]))
				t_sweep_fail("%c came out of turn", *drained);
}

static void drain(void)
{
	char drained[2 * DEPTH + 1] = "";
	int64_t tag;
	size_t n = 0;

	for (;;) {
		/* A stuck neighbour would make this -EAGAIN with messages left. */
		tag = get(MPROC_NOWAIT);
		if (tag < 0)
			break;
		t_sweep_check(n < sizeof(drained) - 1);
		drained[n++] = (char)tag;
	}
	t_sweep_check(tag == (mproc_queue_is_shutdown(q) ? -EPIPE : -EAGAIN));
	t_sweep_check(mproc_queue_n_messages(q) == 0);
	check_order(drained);
}

/* As many as ever fit in, short and long. */
static void check_room(void)
{
	static const char *const loads[] = { "abc", "DEF", "gHi" };

	for (size_t k = 0; k < sizeof(loads) / sizeof(loads[0]); k++) {
		for (size_t i = 0; i < DEPTH; i++) {
			int64_t r = put(loads[k][i], MPROC_NOWAIT);

			if (mproc_queue_is_shutdown(q)) {
				t_sweep_check(r == -EPIPE);
				return;
			}
			t_sweep_check(r == 0);
		}
		t_sweep_check(put('z' + 1, MPROC_NOWAIT) == -EAGAIN);
		for (size_t i = 0; i < DEPTH; i++)
			t_sweep_check(get(MPROC_NOWAIT) == loads[k][i]);
	}
}

static void check_no_remains(void)
{
	struct mproc__range *range = segment->range;
	struct mproc_queue_stats stats;

	t_sweep_check(mproc__reap_all(range) >= 0);
	for (uint32_t i = 0; i < range->n_procs; i++)
		t_sweep_check(mproc__proc_state(atomic_load(&range->procs[i].st)) !=
			      MPROC__PROC_REAPING);
	if (arena_used() != used_at_start)
		t_sweep_fail("%lld bytes of the segment are lost",
			     (long long)(arena_used() - used_at_start));
	mproc_queue_stats(q, &stats, sizeof(stats));
	t_sweep_check(stats.n_puts == stats.n_gets);
}

static void check(const struct t_sweep_seen *seen)
{
	(void)seen;
	if (has_helper)
		await_helper();
	drain();
	balance_books();
	check_room();
	check_no_remains();
}

/* The same, by one who reaps before he does anything else. */
static void check_reaped(const struct t_sweep_seen *seen)
{
	t_sweep_check(mproc__reap_all(segment->range) >= 0);
	check(seen);
}

static void check_drained(const struct t_sweep_seen *seen)
{
	if (seen->peer && seen->peer_result == -EPIPE)
		t_sweep_check(mproc_queue_is_empty(q));
	check(seen);
}

static void check_shut_down(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || mproc_queue_is_shutdown(q));
	t_sweep_check(mproc_queue_shutdown(q) == 0);
	check(seen);
}

/* There as a whole, or gone with all it had. */
static void check_removed(const struct t_sweep_seen *seen)
{
	mproc_queue *again;
	void *other;
	int r;

	if (seen->peer) {
		r = mproc_segment_object(&other, segment, "other", LONG_LEN, NULL, NULL);
		t_sweep_check(r == 0 && mproc_arena_size(segment, other) >= LONG_LEN);
		t_sweep_check(mproc_segment_remove(segment, "other") == 0);
	}
	r = mproc_queue_open(&again, segment, "q");

	if (r == 0) {
		mproc_queue_close(again);
		t_sweep_check(!seen->returned);
		check(seen);
		return;
	}
	t_sweep_check(r == -ENOENT && (!seen->returned || seen->result == 0));
	/* Who slept there does not any more, though whoever removed it may be dead. */
	for (int64_t until = mproc_after_ms(3000);;) {
		r = mproc__reap_all(segment->range);
		t_sweep_check(r >= 0 && mproc_now() < until);
		if (!r && (!has_helper || atomic_load(&book->helper_done)))
			break;
		usleep(500);
	}
	while (has_helper && mproc__reap_all(segment->range))
		usleep(500);
	if (arena_used() != used_without)
		t_sweep_fail("%lld bytes of the segment are lost",
			     (long long)(arena_used() - used_without));
	t_sweep_check(mproc_queue_create(&again, segment, "q",
					 MPROC_QUEUE_OPTS(.depth = DEPTH, .msg_max = LONG_LEN,
							  .bytes = RING)) == 0);
}

#define ROW(operation, state, setup, victim, check, recover) \
	{ \
		operation, state, setup, victim, check, arrive, NULL, recover, 0, 0, NULL \
	}
#define ROW_PEER(operation, state, setup, victim, check, peer) \
	{ \
		operation, state, setup, victim, check, arrive, peer, NULL, T_SWEEP_RESUME, 0, \
			NULL \
	}

static const struct t_sweep_case cases[] = {
	ROW("put", "empty", empty, put_short, check, recover_put),
	ROW("put", "one", one, put_short, check, recover_get),
	ROW("put", "wrapping", wrapping, put_short, check, recover_put),
	ROW("put", "put owner dead", put_owner_dead, put_short, check, recover_put),
	ROW("put", "both owners dead", both_owners_dead, put_short, check, NULL),
	ROW("put", "getter asleep", getter_asleep, put_short, check, recover_put),
	ROW("put three", "empty", empty, put_three, check, recover_put),
	ROW("put three", "wrapping", wrapping, put_three, check, NULL),
	ROW("put three", "getter asleep", getter_asleep, put_three, check, NULL),
	ROW("put long", "empty", empty, put_long, check, recover_get),
	ROW("put long", "empty, reaped", empty, put_long, check_reaped, reap),
	ROW("put long", "wrapping", wrapping_one, put_long, check, NULL),
	ROW("put long", "put owner dead", put_owner_dead, put_long, check_reaped, NULL),
	ROW("put long", "getter asleep", getter_asleep, put_long, check, NULL),

	ROW("get", "one", one, get_one, check, recover_get),
	ROW("get", "full", full, get_one, check, recover_put),
	ROW("get", "wrapping", wrapping_one, get_one, check, recover_get),
	ROW("get", "get owner dead", get_owner_dead, get_one, check, recover_get),
	ROW("get", "both owners dead", both_owners_dead, get_one, check, NULL),
	ROW("get", "putter asleep", putter_asleep, get_one, check, recover_get),
	ROW("get three", "full", full, get_three, check, recover_get),
	ROW("get three", "mixed", mixed, get_three, check, NULL),
	ROW("get three", "putter asleep", putter_asleep, get_three, check, NULL),
	ROW("get long", "one", one_long, get_one, check, recover_get),
	ROW("get long", "one, reaped", one_long, get_one, check_reaped, reap),
	ROW("get long", "of the dead", long_of_the_dead, get_one, check, recover_get),
	ROW("get long", "of the dead, reaped", long_of_the_dead, get_one, check_reaped, reap),
	ROW("get long", "seized by the dead", long_seized_by_the_dead, get_one, check, recover_get),
	ROW("get long", "seized by the dead, reaped", long_seized_by_the_dead, get_one,
	    check_reaped, reap),
	ROW("reap", "long of the dead", long_of_the_dead, reap, check, reap),
	ROW("reap", "long seized by the dead", long_seized_by_the_dead, reap, check, recover_get),

	ROW("take and release", "full", full, take_and_release, check, recover_get),
	ROW("take and release", "get owner dead", get_owner_dead, take_and_release, check, NULL),
	ROW("take and release", "long", one_long, take_and_release, check_reaped, NULL),
	ROW("take and release", "putter asleep", putter_asleep, take_and_release, check, NULL),
	ROW("take and untake", "full", full, take_and_untake, check, recover_get),

	ROW("shutdown", "full", full, shut_down, check_shut_down, shut_down),
	ROW("shutdown", "getter asleep", getter_asleep, shut_down, check_shut_down, recover_get),
	ROW("shutdown", "putter asleep", putter_asleep, shut_down, check_shut_down, NULL),

	ROW("remove", "mixed", mixed, remove_it, check_removed, remove_it),
	ROW("remove", "one long", one_long, remove_it, check_removed, NULL),
	ROW("remove", "long of the dead", long_of_the_dead, remove_it, check_removed, NULL),
	ROW("remove", "long seized by the dead", long_seized_by_the_dead, remove_it, check_removed,
	    NULL),
	ROW("remove", "both owners dead", both_owners_dead, remove_it, check_removed, NULL),
	ROW("remove", "getter asleep", getter_asleep, remove_it, check_removed, NULL),

	ROW_PEER("put", "one, peer gets", one, put_short, check, peer_get),
	ROW_PEER("put", "empty, peer puts", empty, put_short, check, peer_put),
	ROW_PEER("put long", "empty, peer gets", empty, put_long, check, peer_get),
	ROW_PEER("put long", "empty, peer reaps", empty, put_long, check, reap),
	ROW_PEER("put long", "empty, peer puts", empty, put_long, check, peer_put),
	ROW_PEER("get", "full, peer puts", full, get_one, check, peer_put),
	ROW_PEER("get", "full, peer gets", full, get_one, check, peer_get),
	ROW_PEER("get long", "one, peer gets", one_long, get_one, check, peer_get),
	ROW_PEER("get long", "of the dead, peer reaps", long_of_the_dead, get_one, check, reap),
	ROW_PEER("take and release", "full, peer puts", full, take_and_release, check, peer_put),
	ROW_PEER("shutdown", "one, peer gets", one, shut_down, check_shut_down, peer_get),
	ROW_PEER("shutdown", "one, peer puts", one, shut_down, check_shut_down, peer_put),
	ROW_PEER("remove", "long of the dead, peer makes", long_of_the_dead, remove_it,
		 check_removed, peer_reap_and_make),
	ROW_PEER("put", "one, peer shuts down", one, put_short, check, shut_down),
	ROW_PEER("get", "one, peer shuts down", one, get_one, check, shut_down),
	ROW_PEER("put", "one, peer drains", one, put_short, check_drained,
		 peer_shut_down_and_drain),
	ROW_PEER("put long", "one, peer drains", one, put_long, check_drained,
		 peer_shut_down_and_drain),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "queue", cases, sizeof(cases) / sizeof(cases[0]));
}
