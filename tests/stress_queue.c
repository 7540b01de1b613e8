/* SPDX-License-Identifier: MIT */

/*
 * Queues under random SIGKILL and SIGSTOP, with a ledger of every message
 *
 * The ledger lies in memory of its own, which no kill tears: one word a message,
 * written by the putter before and after his put and by the getter after his get.
 * At the end of each round the queue is drained and the books are balanced.
 */

#include <mproc/queue.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "ipc/participant.h"
#include "ipc/wait.h"
#include "pipes/queue.h"
#include "shm/arena.h"
#include "tests/support/child.h"

#define PUTTERS  3
#define GETTERS  3
#define WORKERS  (PUTTERS + GETTERS)
#define DEPTH    8
#define LONG_LEN 6000
#define IDS      (1u << 21) /* a round */
#define LIVES    (1u << 14) /* putters of a round, the replaced ones counted */

/* Words of the ledger. */
#define TRIED 1u
#define DONE  2u
#define GOT   4u /* and more: how often */

struct ledger {
	_Atomic(uint64_t) next_id; /* of the round */
	_Atomic(uint32_t) next_life;
	_Atomic(uint32_t) stop;     /* putters shall end */
	_Atomic(uint64_t) n_broken; /* messages that were not whole */
	_Atomic(uint64_t) n_disorder;
	_Atomic(uint32_t) ids[IDS];
};

struct message {
	uint32_t id, life, number, len;
	unsigned char more[LONG_LEN - 16];
};

static struct ledger *ledger;
static mproc_segment *segment;
static mproc_queue *q;

static int setup(void **state)
{
	(void)state;
	if (mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 4 << 20)) < 0)
		return -1;
	return mproc_queue_create(&q, segment, "storm",
				  MPROC_QUEUE_OPTS(.depth = DEPTH, .msg_max = LONG_LEN));
}

static int teardown(void **state)
{
	(void)state;
	atomic_store(&mproc__quantum_off, false);
	atomic_store(&mproc__polls_off, false);
	q = mproc_queue_close(q);
	segment = mproc_segment_close(segment);
	return 0;
}

static int64_t seconds(double by_default)
{
	const char *given = getenv("MPROC_STRESS_SECONDS");

	return (int64_t)(1e9 * (given ? atof(given) : t_sanitized() ? by_default / 2 : by_default));
}

static uint64_t heals(void)
{
	return atomic_load(&segment->range->reg->heals);
}

static uint64_t arena_used(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.used;
}

static unsigned char byte_of(const struct message *msg, size_t i)
{
	return (unsigned char)(msg->id * 7 + msg->number + i * 13);
}

static uint32_t len_of(uint32_t id)
{
	uint32_t mix = id * 2654435761u;

	return mix % 16 == 0 ? LONG_LEN : 16 + (mix >> 8) % 100;
}

static void putter(void *arg)
{
	static struct message msg;

	(void)arg;
	alarm(600);
	msg.life = atomic_fetch_add(&ledger->next_life, 1);
	while (!atomic_load(&ledger->stop)) {
		uint64_t id = atomic_fetch_add(&ledger->next_id, 1);
		int r;

		if (id >= IDS)
			break;
		msg.id = (uint32_t)id;
		msg.len = len_of(msg.id);
		for (size_t i = 0; i < msg.len - 16; i++)
			msg.more[i] = byte_of(&msg, i);
		atomic_fetch_or(&ledger->ids[id], TRIED);
		r = mproc_queue_put(q, &msg, msg.len, MPROC_FOREVER);
		t_check(r == 0);
		atomic_fetch_or(&ledger->ids[id], DONE);
		msg.number++;
	}
}

/* Book one message. @last: of each putter's life, its last number + 1 that we saw */
static void book(const struct message *msg, size_t len, uint32_t *last)
{
	bool whole = len >= 16 && msg->id < IDS && msg->len == len && len == len_of(msg->id);

	for (size_t i = 0; whole && i < len - 16; i++)
		whole = msg->more[i] == byte_of(msg, i);
	if (!whole) {
		atomic_fetch_add(&ledger->n_broken, 1);
		return;
	}
	if (last && msg->life < LIVES) {
		if (msg->number < last[msg->life])
			atomic_fetch_add(&ledger->n_disorder, 1);
		last[msg->life] = msg->number + 1;
	}
	atomic_fetch_add(&ledger->ids[msg->id], GOT);
}

static void getter(void *arg)
{
	static struct message msg;
	static uint32_t last[LIVES];
	size_t len;

	(void)arg;
	alarm(600);
	for (;;) {
		t_check(mproc_queue_get(q, &msg, sizeof(msg), &len, MPROC_FOREVER) == 0);
		if (len == 4)
			return; /* told to end */
		book(&msg, len, last);
	}
}

static pid_t start(int i)
{
	return t_spawn(i < PUTTERS ? putter : getter, NULL);
}

static void sleep_us(uint64_t us)
{
	nanosleep(&(struct timespec){ .tv_nsec = (long)us * 1000 }, NULL);
}

/* What @kills and @stops, in 1/256 of the disturbances, do to the workers until @end. */
static uint64_t storm(pid_t *pids, int64_t end, uint64_t *seed, uint32_t kills)
{
	uint64_t n_got_killed = 0;

	while (mproc_now() < end && atomic_load(&ledger->next_id) < IDS) {
		int i = (int)(t_random(seed) % WORKERS);
		bool kill_it = t_random(seed) % 256 < kills;

		sleep_us(t_random(seed) % 3000);
		if (!kill_it || t_random(seed) % 8 == 0) {
			kill(pids[i], SIGSTOP);
			sleep_us(t_random(seed) % 3000);
			if (!kill_it)
				kill(pids[i], SIGCONT);
		}
		if (!kill_it)
			continue;
		kill(pids[i], SIGKILL);
		/* It may have come to its end before. */
		assert_true(t_reap(pids[i]) == SIGKILL || atomic_load(&ledger->next_id) >= IDS);
		n_got_killed += i >= PUTTERS;
		if (t_random(seed) % 16 == 0)
			assert_true(mproc__reap_all(segment->range) >= 0);
		pids[i] = start(i);
	}
	return n_got_killed;
}

/* The putters end, then the getters, who take what is left. */
static void calm_down(pid_t *pids)
{
	atomic_store(&ledger->stop, 1);
	for (int i = 0; i < PUTTERS; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	for (int i = 0; i < GETTERS; i++)
		assert_int_equal(mproc_queue_put(q, "stop", 4, mproc_after_ms(60000)), 0);
	for (int i = PUTTERS; i < WORKERS; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(mproc_queue_n_messages(q), 0);
}

static void balance(uint64_t n_got_killed)
{
	uint64_t n = atomic_load(&ledger->next_id), lost = 0, twice = 0, unput = 0;

	if (n > IDS)
		n = IDS;
	for (uint64_t id = 0; id < n; id++) {
		uint32_t word = atomic_load(&ledger->ids[id]);

		lost += (word & DONE) && word < GOT;
		twice += word >= 2 * GOT;
		unput += word >= GOT && !(word & TRIED);
	}
	printf("# %llu messages, %llu getters killed, %llu messages taken by the dead\n",
	       (unsigned long long)n, (unsigned long long)n_got_killed, (unsigned long long)lost);
	fflush(stdout);
	assert_int_equal(atomic_load(&ledger->n_broken), 0);
	assert_int_equal(atomic_load(&ledger->n_disorder), 0);
	assert_int_equal(twice, 0);
	assert_int_equal(unput, 0);
	assert_true(lost <= n_got_killed);
}

/* Exactly as many as ever fit in, in the order they were put. */
static void still_a_queue(void)
{
	static char msg[LONG_LEN];
	char buf[LONG_LEN];

	for (uint32_t i = 0; i < DEPTH; i++) {
		msg[0] = (char)i;
		assert_int_equal(mproc_queue_put(q, msg, i & 1 ? LONG_LEN : 100, MPROC_NOWAIT), 0);
	}
	assert_int_equal(mproc_queue_put(q, msg, 1, MPROC_NOWAIT), -EAGAIN);
	for (uint32_t i = 0; i < DEPTH; i++) {
		assert_int_equal(mproc_queue_get(q, buf, sizeof(buf), NULL, MPROC_NOWAIT), 0);
		assert_int_equal(buf[0], i);
	}
}

/*
 * @kills:	of 256 disturbances; the others stop a worker for a while
 */
static void run_storm(double by_default, uint32_t kills)
{
	uint64_t used = arena_used(), seed = t_seed();
	int64_t end = mproc_now() + seconds(by_default);

	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	assert_ptr_not_equal(ledger, MAP_FAILED);
	do {
		int64_t stop = mproc_after_ms(2000);
		pid_t pids[WORKERS];
		uint64_t n_got_killed;

		madvise(ledger, sizeof(*ledger), MADV_REMOVE);
		for (int i = 0; i < WORKERS; i++)
			pids[i] = start(i);
		n_got_killed = storm(pids, stop < end ? stop : end, &seed, kills);
		calm_down(pids);
		balance(n_got_killed);
		assert_true(mproc__reap_all(segment->range) >= 0);
		assert_int_equal(arena_used(), used);
		still_a_queue();
		assert_int_equal(arena_used(), used);
	} while (mproc_now() < end);
	munmap(ledger, sizeof(*ledger));
}

static void killed_parties_take_at_most_one_message_each(void **state)
{
	(void)state;
	run_storm(2, 192);
}

static void stopped_parties_are_not_taken_for_dead(void **state)
{
	(void)state;
	run_storm(1, 0);
	assert_int_equal(atomic_load(&segment->range->reg->takeovers), 0);
	assert_int_equal(heals(), 0);
}

static void echo(void *arg)
{
	mproc_queue *back = arg;
	char buf[64];
	size_t len;
	int r;

	alarm(600);
	while ((r = mproc_queue_get(q, buf, sizeof(buf), &len, MPROC_FOREVER)) == 0)
		t_check(mproc_queue_put(back, buf, len, MPROC_FOREVER) == 0);
	t_check(r == -EPIPE);
}

/* With the quantum off a wake-up that is lost is a hang, and the alarm's. */
static void parked_parties_are_always_unparked(void **state)
{
	int64_t end = mproc_now() + seconds(1);
	mproc_queue *back;
	pid_t pids[3];
	uint64_t n = 0;
	char buf[64];

	(void)state;
	assert_int_equal(mproc_queue_create(&back, segment, "back", MPROC_QUEUE_OPTS(.depth = 2)),
			 0);
	atomic_store(&mproc__quantum_off, true);
	atomic_store(&mproc__polls_off, true);
	for (int i = 0; i < 3; i++)
		pids[i] = t_spawn(echo, back);
	alarm(600);
	while (mproc_now() < end) {
		/* One at a time, then as many as there are sleepers, then more than fit. */
		uint64_t at_once = n % 7 + 1;

		for (uint64_t i = 0; i < at_once; i++)
			assert_int_equal(mproc_queue_put(q, "ping", 4, MPROC_FOREVER), 0);
		for (uint64_t i = 0; i < at_once; i++)
			assert_int_equal(
				mproc_queue_get(back, buf, sizeof(buf), NULL, MPROC_FOREVER), 0);
		n++;
	}
	alarm(0);
	assert_int_equal(mproc_queue_shutdown(q), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(heals(), 0);
	assert_true(n > 10);
	mproc_queue_close(back);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(killed_parties_take_at_most_one_message_each),
		TEST(stopped_parties_are_not_taken_for_dead),
		TEST(parked_parties_are_always_unparked),
	};

	return cmocka_run_group_tests_name("stress queue", tests, NULL, NULL);
}
