/* SPDX-License-Identifier: MIT */

/*
 * Queues between processes and threads: waking, dying, stopping, many at once
 */

#include <mproc/queue.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "ipc/lock.h"
#include "ipc/participant.h"
#include "pipes/queue.h"
#include "shm/arena.h"
#include "tests/support/child.h"

#define LONG_LEN 20000

struct tally {
	_Atomic(uint64_t) n, sum, broken, ready;
};

static mproc_segment *segment;
static mproc_queue *q;
static struct tally *tally;

static int setup(void **state)
{
	void *mem;

	(void)state;
	if (mproc_segment_create(&segment, NULL, NULL) < 0 ||
	    mproc_segment_object(&mem, segment, "tally", sizeof(*tally), NULL, NULL) < 0)
		return -1;
	tally = mem;
	return mproc_queue_create(&q, segment, "q",
				  MPROC_QUEUE_OPTS(.depth = 4, .msg_max = LONG_LEN));
}

static int teardown(void **state)
{
	(void)state;
	atomic_store(&mproc__quantum_off, false);
	q = mproc_queue_close(q);
	segment = mproc_segment_close(segment);
	return 0;
}

static uint64_t arena_used(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.used;
}

static uint64_t heals(void)
{
	return atomic_load(&segment->range->reg->heals);
}

static bool is_asleep(void *arg)
{
	return t_state(*(pid_t *)arg) == 'S';
}

/* The child has gone to sleep inside its call: it has nothing else to sleep in. */
static void await_sleep(pid_t pid)
{
	assert_true(t_wait_until(is_asleep, &pid, mproc_after_ms(5000)));
}

static void get_and_check(void *arg)
{
	char buf[8];
	size_t len;

	t_check(mproc_queue_get(q, buf, sizeof(buf), &len, MPROC_FOREVER) == 0);
	t_check(len == strlen(arg) && !memcmp(buf, arg, len));
}

static void put_and_check(void *arg)
{
	t_check(mproc_queue_put(q, arg, strlen(arg), MPROC_FOREVER) == 0);
}

/* The quantum is off: who is not woken sleeps until his alarm. */
static void sleeping_getter_is_woken(void **state)
{
	pid_t pid;

	(void)state;
	atomic_store(&mproc__quantum_off, true);
	pid = t_spawn(get_and_check, "hello");
	await_sleep(pid);
	assert_int_equal(mproc_queue_put(q, "hello", 5, MPROC_NOWAIT), 0);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(heals(), 0);
}

static void sleeping_putter_is_woken(void **state)
{
	char buf[8];
	pid_t pid;

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(mproc_queue_put(q, "full", 4, MPROC_NOWAIT), 0);
	atomic_store(&mproc__quantum_off, true);
	pid = t_spawn(put_and_check, "more");
	await_sleep(pid);
	assert_int_equal(mproc_queue_get(q, buf, 8, NULL, MPROC_NOWAIT), 0);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(mproc_queue_n_messages(q), 4);
	assert_int_equal(heals(), 0);
}

/* Each message wakes one getter, and each of those messages reaches one. */
static void all_sleeping_getters_are_woken_by_as_many_messages(void **state)
{
	struct iovec three[3] = { { "x", 1 }, { "x", 1 }, { "x", 1 } };
	pid_t pids[4];

	(void)state;
	atomic_store(&mproc__quantum_off, true);
	for (int i = 0; i < 4; i++)
		pids[i] = t_spawn(get_and_check, "x");
	for (int i = 0; i < 4; i++)
		await_sleep(pids[i]);
	assert_int_equal(mproc_queue_put_many(q, three, 3, MPROC_NOWAIT), 3);
	assert_int_equal(mproc_queue_put(q, "x", 1, MPROC_NOWAIT), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_true(mproc_queue_is_empty(q));
}

static void get_too_small(void *arg)
{
	char buf[1];

	(void)arg;
	t_check(mproc_queue_get(q, buf, sizeof(buf), NULL, MPROC_FOREVER) == -ENOBUFS);
}

/* A getter who is woken and cannot use the message hands the wake-up on. */
static void wake_up_that_was_no_use_is_handed_on(void **state)
{
	pid_t small, large;

	(void)state;
	atomic_store(&mproc__quantum_off, true);
	small = t_spawn(get_too_small, NULL);
	await_sleep(small);
	large = t_spawn(get_and_check, "twice");
	await_sleep(large);
	/* One wake-up, and futexes are fair: it is the small one's. */
	assert_int_equal(mproc_queue_put(q, "twice", 5, MPROC_NOWAIT), 0);
	assert_int_equal(t_reap(large), 0);
	/* If that was faster, the small one still waits. */
	(void)!mproc_queue_put(q, "twice", 5, MPROC_NOWAIT);
	assert_int_equal(t_reap(small), 0);
}

static void get_until_pipe(void *arg)
{
	(void)arg;
	t_check(mproc_queue_get(q, NULL, 0, NULL, MPROC_FOREVER) == -EPIPE);
}

static void put_until_pipe(void *arg)
{
	(void)arg;
	t_check(mproc_queue_put(q, "", 0, MPROC_FOREVER) == -EPIPE);
}

static void shutdown_wakes_all(void **state)
{
	pid_t pids[3];

	(void)state;
	atomic_store(&mproc__quantum_off, true);
	for (int i = 0; i < 3; i++)
		pids[i] = t_spawn(get_until_pipe, NULL);
	for (int i = 0; i < 3; i++)
		await_sleep(pids[i]);
	assert_int_equal(mproc_queue_shutdown(q), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	atomic_store(&mproc__quantum_off, false);
	teardown(NULL);
	setup(NULL);

	for (int i = 0; i < 4; i++)
		assert_int_equal(mproc_queue_put(q, "", 0, MPROC_NOWAIT), 0);
	atomic_store(&mproc__quantum_off, true);
	for (int i = 0; i < 3; i++)
		pids[i] = t_spawn(put_until_pipe, NULL);
	for (int i = 0; i < 3; i++)
		await_sleep(pids[i]);
	assert_int_equal(mproc_queue_shutdown(q), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(mproc_queue_get(q, NULL, 0, NULL, MPROC_FOREVER), 0);
	assert_int_equal(mproc_queue_get(q, NULL, 0, NULL, MPROC_FOREVER), -EPIPE);
}

static void grandchild(void *arg)
{
	(void)arg;
	t_check(mproc_queue_put(q, "grandchild", 10, MPROC_FOREVER) == 0);
}

static void child_with_child(void *arg)
{
	mproc_queue *again;

	(void)arg;
	t_check(mproc_queue_put(q, "child", 5, MPROC_FOREVER) == 0);
	t_check(t_reap(t_spawn(grandchild, NULL)) == 0);
	t_check(mproc_queue_open(&again, segment, "q") == 0);
	t_check(mproc_queue_put(again, "again", 5, MPROC_FOREVER) == 0);
}

static void inherited_handles_work_in_children(void **state)
{
	static const char *const want[] = { "parent", "child", "grandchild", "again" };
	char buf[16];
	size_t len;

	(void)state;
	assert_int_equal(mproc_queue_put(q, "parent", 6, MPROC_FOREVER), 0);
	assert_int_equal(t_reap(t_spawn(child_with_child, NULL)), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(mproc_queue_get(q, buf, sizeof(buf), &len, MPROC_NOWAIT), 0);
		assert_int_equal(len, strlen(want[i]));
		assert_memory_equal(buf, want[i], len);
	}
}

static void take_and(void *arg)
{
	struct mproc__self *me = mproc__self(q->shared, "test");
	struct mproc__queue_view view;
	int sig = *(int *)arg;

	t_check(me && mproc__queue_take(q, me, MPROC_FOREVER, &view) == 0);
	raise(sig);
	mproc__queue_release(q, me, &view);
}

static void killed_taker_has_taken_nothing(void **state)
{
	char buf[8];

	(void)state;
	assert_int_equal(mproc_queue_put(q, "mine", 4, MPROC_NOWAIT), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(t_reap(t_spawn(take_and, &(int){ SIGKILL })), SIGKILL);
		assert_int_equal(mproc_queue_n_messages(q), 1);
	}
	assert_int_equal(mproc_queue_get(q, buf, 8, NULL, MPROC_NOWAIT), 0);
	assert_memory_equal(buf, "mine", 4);
}

/* A neighbour who is stopped inside his call keeps his side; nobody mistakes him for dead. */
static void stopped_neighbour_is_waited_for_in_time(void **state)
{
	int64_t begin;
	int status;
	pid_t pid;
	char buf[8];

	(void)state;
	assert_int_equal(mproc_queue_put(q, "1", 1, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_queue_put(q, "2", 1, MPROC_NOWAIT), 0);
	pid = t_spawn(take_and, &(int){ SIGSTOP });
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	begin = mproc_now();
	assert_int_equal(mproc_queue_get(q, buf, 8, NULL, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_queue_get(q, buf, 8, NULL, mproc_after_ms(50)), -ETIMEDOUT);
	assert_true(mproc_now() - begin < INT64_C(5000000000));
	/* The other side does not mind. */
	assert_int_equal(mproc_queue_put(q, "3", 1, MPROC_NOWAIT), 0);
	kill(pid, SIGCONT);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(mproc_queue_get(q, buf, 8, NULL, MPROC_NOWAIT), 0);
	assert_memory_equal(buf, "2", 1);
}

static void die_with_put_lock(void *arg)
{
	struct mproc__self *me = mproc__self(q->shared, "test");

	(void)arg;
	t_check(mproc__lock_take(&q->shared->put.lock, me, q->what, MPROC_FOREVER) == 0);
	raise(SIGKILL);
}

static void dead_putter_keeps_nobody_out(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(die_with_put_lock, NULL)), SIGKILL);
	assert_int_equal(mproc_queue_put(q, "x", 1, MPROC_NOWAIT), 0);
	assert_int_equal(t_reap(t_spawn(die_with_put_lock, NULL)), SIGKILL);
	assert_int_equal(mproc_queue_shutdown(q), 0);
	get_and_check("x");
	assert_int_equal(mproc_queue_get(q, NULL, 0, NULL, MPROC_FOREVER), -EPIPE);
}

static void put_long_and_die(void *arg)
{
	static char msg[LONG_LEN];

	memset(msg, 'L', sizeof(msg));
	t_check(mproc_queue_put(q, msg, sizeof(msg), MPROC_FOREVER) == 0);
	if (arg)
		raise(SIGKILL);
}

/* Long messages of the dead are whole, and the memory of none is lost. */
static void long_messages_survive_their_putters(void **state)
{
	static char buf[LONG_LEN];
	uint64_t used = arena_used();
	size_t len;

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(t_reap(t_spawn(put_long_and_die, i & 1 ? q : NULL)),
				 i & 1 ? SIGKILL : 0);
	assert_true(mproc__reap_all(segment->range) >= 0);
	assert_true(arena_used() >= used + 4 * LONG_LEN);
	for (int i = 0; i < 4; i++) {
		memset(buf, 0, sizeof(buf));
		assert_int_equal(mproc_queue_get(q, buf, sizeof(buf), &len, MPROC_NOWAIT), 0);
		assert_int_equal(len, LONG_LEN);
		for (size_t k = 0; k < len; k++)
			if (buf[k] != 'L')
				fail_msg("byte %zu of message %d", k, i);
	}
	assert_int_equal(arena_used(), used);
}

/* The same when all blocks have been made anew by others in between. */
static void memory_of_the_dead_is_not_given_out_twice(void **state)
{
	static char buf[LONG_LEN];
	uint64_t used = arena_used();

	(void)state;
	for (int round = 0; round < 20; round++) {
		assert_int_equal(t_reap(t_spawn(put_long_and_die, q)), SIGKILL);
		assert_int_equal(mproc_queue_get(q, buf, sizeof(buf), NULL, MPROC_NOWAIT), 0);
		memset(buf, 'L', sizeof(buf));
		assert_int_equal(mproc_queue_put(q, buf, sizeof(buf), MPROC_NOWAIT), 0);
		assert_true(mproc__reap_all(segment->range) >= 0);
		assert_int_equal(mproc_queue_get(q, buf, sizeof(buf), NULL, MPROC_NOWAIT), 0);
		assert_int_equal(arena_used(), used);
	}
}

/*
 * Many at once. Putter p puts (p, 0), (p, 1), …; every getter must see each putter's
 * numbers grow, and all together must get each once. Lengths vary, some are long.
 */
#define PUTTERS 2
#define GETTERS 2

struct numbered {
	uint64_t putter, number, len;
	unsigned char more[LONG_LEN - 24];
};

static uint64_t rounds(void)
{
	return t_sanitized() ? 3000 : t_long() ? 1000000 : 40000;
}

static size_t len_of(uint64_t putter, uint64_t number)
{
	uint64_t mix = number * 2654435761u + putter;

	return mix % 500 == 0 ? LONG_LEN : 24 + mix % 200;
}

static void put_numbers(uint64_t putter)
{
	static _Thread_local struct numbered msg;

	for (uint64_t i = 0; i < rounds(); i++) {
		msg.putter = putter;
		msg.number = i;
		msg.len = len_of(putter, i);
		t_check(mproc_queue_put(q, &msg, msg.len, MPROC_FOREVER) == 0);
	}
}

static void get_numbers(void)
{
	static _Thread_local struct numbered msg;
	uint64_t next[PUTTERS] = { 0 }, n = 0, sum = 0;
	size_t len;
	int r;

	while ((r = mproc_queue_get(q, &msg, sizeof(msg), &len, MPROC_FOREVER)) == 0) {
		t_check(msg.putter < PUTTERS && msg.number >= next[msg.putter]);
		t_check(len == msg.len && len == len_of(msg.putter, msg.number));
		next[msg.putter] = msg.number + 1;
		sum += msg.number + 1;
		n++;
	}
	t_check(r == -EPIPE);
	atomic_fetch_add(&tally->n, n);
	atomic_fetch_add(&tally->sum, sum);
}

static void run_party(void *arg)
{
	uint64_t i = (uint64_t)(uintptr_t)arg;

	if (i < PUTTERS)
		put_numbers(i);
	else
		get_numbers();
}

static void assert_all_came_once(void)
{
	uint64_t n = rounds();

	assert_int_equal(atomic_load(&tally->n), PUTTERS * n);
	assert_int_equal(atomic_load(&tally->sum), PUTTERS * (n * (n + 1) / 2));
	assert_int_equal(heals(), 0);
}

static void processes_get_each_message_once_and_in_order(void **state)
{
	uint64_t used = arena_used();
	pid_t pids[PUTTERS + GETTERS];

	(void)state;
	atomic_store(&mproc__quantum_off, true);
	for (uint64_t i = 0; i < PUTTERS + GETTERS; i++)
		pids[i] = t_spawn(run_party, (void *)(uintptr_t)i);
	for (int i = 0; i < PUTTERS; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(mproc_queue_shutdown(q), 0);
	for (int i = PUTTERS; i < PUTTERS + GETTERS; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_all_came_once();
	assert_int_equal(arena_used(), used);
}

struct party {
	pthread_t thread;
	struct mproc__identity *identity;
	uint64_t i;
};

static void *thread_main(void *arg)
{
	struct party *party = arg;

	mproc__identity_act(party->identity);
	run_party((void *)(uintptr_t)party->i);
	mproc__identity_act(NULL);
	return NULL;
}

/* Threads on one mapping, each a participant of its own: what ThreadSanitizer can see. */
static void threads_get_each_message_once_and_in_order(void **state)
{
	struct party parties[PUTTERS + GETTERS];

	(void)state;
	for (uint64_t i = 0; i < PUTTERS + GETTERS; i++) {
		parties[i].i = i;
		assert_int_equal(mproc__identity_new(&parties[i].identity, segment->range), 0);
		assert_int_equal(pthread_create(&parties[i].thread, NULL, thread_main, &parties[i]),
				 0);
	}
	for (int i = 0; i < PUTTERS; i++)
		pthread_join(parties[i].thread, NULL);
	assert_int_equal(mproc_queue_shutdown(q), 0);
	for (int i = PUTTERS; i < PUTTERS + GETTERS; i++)
		pthread_join(parties[i].thread, NULL);
	for (int i = 0; i < PUTTERS + GETTERS; i++)
		mproc__identity_kill(parties[i].identity);
	assert_all_came_once();
}

static void watch_numbers(void *arg)
{
	(void)arg;
	atomic_store(&tally->ready, 1);
	while (!mproc_queue_is_shutdown(q)) {
		struct mproc_queue_stats stats;

		mproc_queue_stats(q, &stats, sizeof(stats));
		t_check(stats.n_messages <= 4);
		t_check(stats.n_puts - stats.n_gets == stats.n_messages);
		(void)mproc_queue_is_full(q);
	}
}

/* Someone who looks on never sees what cannot be. */
static void numbers_are_true_at_some_instant(void **state)
{
	pid_t putter, getter, watcher;

	(void)state;
	watcher = t_spawn(watch_numbers, NULL);
	putter = t_spawn(run_party, (void *)0);
	getter = t_spawn(run_party, (void *)(uintptr_t)PUTTERS);
	assert_int_equal(t_reap(putter), 0);
	assert_int_equal(mproc_queue_shutdown(q), 0);
	assert_int_equal(t_reap(getter), 0);
	assert_int_equal(t_reap(watcher), 0);
	assert_int_equal(atomic_load(&tally->n), rounds());
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(sleeping_getter_is_woken),
		TEST(sleeping_putter_is_woken),
		TEST(all_sleeping_getters_are_woken_by_as_many_messages),
		TEST(wake_up_that_was_no_use_is_handed_on),
		TEST(shutdown_wakes_all),
		TEST(inherited_handles_work_in_children),
		TEST(killed_taker_has_taken_nothing),
		TEST(stopped_neighbour_is_waited_for_in_time),
		TEST(dead_putter_keeps_nobody_out),
		TEST(long_messages_survive_their_putters),
		TEST(memory_of_the_dead_is_not_given_out_twice),
		TEST(processes_get_each_message_once_and_in_order),
		TEST(threads_get_each_message_once_and_in_order),
		TEST(numbers_are_true_at_some_instant),
	};

	return cmocka_run_group_tests_name("queue_peers", tests, NULL, NULL);
}
