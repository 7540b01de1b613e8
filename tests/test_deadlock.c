/* SPDX-License-Identifier: MIT */

/*
 * Deadlocks: cycles that are reported, and calls that are refused
 */

#include <mproc/deadlock.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
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
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/event.h>
#include <mproc/mutex.h>
#include <mproc/rwlock.h>
#include <mproc/value.h>

#include "ipc/participant.h"
#include "shm/segment.h"
#include "tests/support/child.h"

#define WORKERS 8

/* Not in a segment: what is said there is no part of what is tested. */
struct scene {
	_Atomic(uint32_t) n_ready, n_wanted;
	_Atomic(int) result[WORKERS];
	_Atomic(uint32_t) done[WORKERS];
	_Atomic(uint32_t) tid[WORKERS];
	char text[WORKERS][256];
};

static struct scene *scene;
static mproc_segment *left, *right;
static mproc_mutex *a, *b, *c; /* in left, but for b, which may lie in right */

/* What one thread does: lock the one, wait for the others, lock the other. */
struct part {
	unsigned i;
	mproc_mutex *first, *second;
	int64_t deadline_ms; /* 0: for ever */
	bool robbed;         /* another will have unlocked the first */
};

static struct part parts[WORKERS];
static pid_t pids[WORKERS];
static unsigned n_pids;

static int init_mutex(void *object, void *arg)
{
	(void)arg;
	return mproc_mutex_init((void *)((char *)object + 64), 0);
}

static mproc_mutex *make_mutex(mproc_segment *segment, const char *name)
{
	void *object;

	assert_int_equal(mproc_segment_object(&object, segment, name, 128, init_mutex, NULL), 1);
	return (void *)((char *)object + 64);
}

static int set_up(uint32_t left_flags, uint32_t right_flags, bool apart)
{
	scene = mmap(NULL, sizeof(*scene), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	assert_ptr_not_equal(scene, MAP_FAILED);
	t_private_dir();
	assert_int_equal(
		mproc_segment_create(&left, "left", MPROC_SEGMENT_OPTS(.flags = left_flags)), 0);
	assert_int_equal(
		mproc_segment_create(&right, "right", MPROC_SEGMENT_OPTS(.flags = right_flags)), 0);
	a = make_mutex(left, "a");
	b = make_mutex(apart ? right : left, "b");
	c = make_mutex(left, "c");
	n_pids = 0;
	return 0;
}

static int plain(void **state)
{
	(void)state;
	return set_up(0, 0, false);
}

static int apart(void **state)
{
	(void)state;
	return set_up(0, 0, true);
}

static int refusing(void **state)
{
	(void)state;
	return set_up(MPROC_SEGMENT_DEADLOCK, MPROC_SEGMENT_DEADLOCK, false);
}

static int refusing_apart(void **state)
{
	(void)state;
	return set_up(MPROC_SEGMENT_DEADLOCK, MPROC_SEGMENT_DEADLOCK, true);
}

static int refusing_in_one(void **state)
{
	(void)state;
	return set_up(0, MPROC_SEGMENT_DEADLOCK, true);
}

static void end_workers(void)
{
	for (unsigned i = 0; i < n_pids; i++) {
		kill(pids[i], SIGKILL);
		(void)t_reap(pids[i]);
	}
	n_pids = 0;
}

static int tear_down(void **state)
{
	(void)state;
	end_workers();
	left = mproc_segment_close(left);
	right = mproc_segment_close(right);
	munmap(scene, sizeof(*scene));
	return 0;
}

static void act(const struct part *part)
{
	int r;

	atomic_store(&scene->tid[part->i], (uint32_t)gettid());
	t_check(mproc_mutex_lock(part->first, MPROC_FOREVER) >= 0);
	atomic_fetch_add(&scene->n_ready, 1);
	while (atomic_load(&scene->n_ready) < atomic_load(&scene->n_wanted))
		usleep(100);
	r = mproc_mutex_lock(part->second,
			     part->deadline_ms ? mproc_after_ms(part->deadline_ms) : MPROC_FOREVER);
	atomic_store(&scene->result[part->i], r);
	if (r < 0)
		snprintf(scene->text[part->i], sizeof(scene->text[part->i]), "%s",
			 mproc_error_text());
	if (r >= 0)
		t_check(mproc_mutex_unlock(part->second) == 0);
	t_check(mproc_mutex_unlock(part->first) == (part->robbed ? -EPERM : 0));
	atomic_store(&scene->done[part->i], 1);
}

static void act_alone(void *arg)
{
	act(arg);
}

static void *act_as_thread(void *arg)
{
	pthread_setname_np(pthread_self(), ((struct part *)arg)->i ? "second" : "first");
	act(arg);
	return NULL;
}

/* A process of two threads. */
static void act_as_two(void *arg)
{
	pthread_t threads[2];

	for (unsigned i = 0; i < 2; i++)
		t_check(pthread_create(&threads[i], NULL, act_as_thread, (struct part *)arg + i) ==
			0);
	for (unsigned i = 0; i < 2; i++)
		t_check(pthread_join(threads[i], NULL) == 0);
}

static void set_part(unsigned i, mproc_mutex *first, mproc_mutex *second, int64_t deadline_ms)
{
	parts[i] = (struct part){ i, first, second, deadline_ms, false };
	if (atomic_load(&scene->n_wanted) < i + 1)
		atomic_store(&scene->n_wanted, i + 1);
}

static void start(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		pids[n_pids++] = t_spawn(act_alone, &parts[i]);
}

static unsigned n_blocked(const mproc_segment *segment)
{
	const struct mproc__range *range = segment->range;
	unsigned n = 0;

	for (uint32_t i = 0; i < range->n_threads; i++)
		n += atomic_load(&range->threads[i].waits_on) != 0;
	return n;
}

static bool are_blocked(void *arg)
{
	return n_blocked(left) + n_blocked(right) == *(unsigned *)arg;
}

static void wait_for_blocked(unsigned n)
{
	assert_true(t_wait_until(are_blocked, &n, mproc_after_ms(20000)));
}

static bool is_done(void *arg)
{
	return atomic_load(&scene->done[((struct part *)arg)->i]);
}

static void wait_for_done(unsigned i)
{
	assert_true(t_wait_until(is_done, &parts[i], mproc_after_ms(20000)));
}

/* What a check has found. */
static unsigned n_seen;
static size_t n_edges;
static struct mproc_deadlock_edge seen[WORKERS];

static void take(const struct mproc_deadlock *cycle, void *arg)
{
	assert_ptr_equal(arg, &n_seen);
	n_seen++;
	n_edges = cycle->n_edges;
	assert_true(n_edges >= 2 && n_edges <= WORKERS);
	memcpy(seen, cycle->edges, n_edges * sizeof(seen[0]));
	for (size_t i = 0; i < n_edges; i++)
		assert_memory_equal(&seen[i].holder, &seen[(i + 1) % n_edges].waiter,
				    sizeof(seen[i].holder));
}

static int check(mproc_segment *segment)
{
	int r;

	n_seen = 0;
	r = mproc_deadlock_check(segment, take, &n_seen);
	assert_int_equal(r, n_seen);
	return r;
}

/* The edge of the thread that part @i was. */
static const struct mproc_deadlock_edge *edge_of(unsigned i)
{
	for (size_t k = 0; k < n_edges; k++)
		if (seen[k].waiter.tid == scene->tid[i])
			return &seen[k];
	fail_msg("thread %u is in no edge", i);
	return NULL;
}

static void two_processes_are_reported_with_locks_holders_and_waiters(void **state)
{
	(void)state;
	assert_int_equal(check(NULL), 0);
	set_part(0, a, b, 0);
	set_part(1, b, a, 0);
	start(2);
	wait_for_blocked(2);
	usleep(20000);
	assert_int_equal(check(NULL), 1);
	assert_int_equal(n_edges, 2);
	for (unsigned i = 0; i < 2; i++) {
		const struct mproc_deadlock_edge *edge = edge_of(i);

		assert_string_equal(edge->lock,
				    i ? "mutex at 64 in block a" : "mutex at 64 in block b");
		assert_string_equal(edge->kind, "mutex");
		assert_string_equal(edge->segment, "left");
		assert_int_equal(edge->offset, mproc__self_off(mproc__self(a, "test"), i ? a : b));
		assert_int_equal(edge->deadline, 0);
		assert_int_equal(edge->waiter.pid, pids[i]);
		assert_int_equal(edge->holder.pid, pids[1 - i]);
		assert_int_equal(edge->holder.tid, pids[1 - i]);
		assert_string_equal(edge->waiter.exe, program_invocation_short_name);
		assert_in_range(edge->waited, 20000000, INT64_C(60000000000));
	}
	assert_true(seen[0].waited <= seen[1].waited);
	assert_int_equal(check(left), 1);
	assert_int_equal(check(right), 0);
	assert_int_equal(mproc_deadlock_check(left, NULL, NULL), 1);
}

static void two_threads_of_a_process_are_reported_by_their_names(void **state)
{
	(void)state;
	set_part(0, a, b, 0);
	set_part(1, b, a, 0);
	pids[n_pids++] = t_spawn(act_as_two, parts);
	wait_for_blocked(2);
	assert_int_equal(check(left), 1);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(edge_of(i)->waiter.pid, pids[0]);
		assert_int_equal(edge_of(i)->holder.pid, pids[0]);
		assert_int_equal(edge_of(i)->holder.tid, scene->tid[1 - i]);
		assert_string_equal(edge_of(i)->waiter.name, i ? "second" : "first");
	}
}

static void locks_in_different_segments_are_in_one_cycle(void **state)
{
	(void)state;
	set_part(0, a, b, 0);
	set_part(1, b, a, 0);
	start(2);
	wait_for_blocked(2);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(check(i == 0 ? NULL : i == 1 ? left : right), 1);
		assert_int_equal(n_edges, 2);
		assert_string_equal(edge_of(0)->lock, "mutex at 64 in block b");
		assert_string_equal(edge_of(0)->segment, "right");
		assert_string_equal(edge_of(1)->lock, "mutex at 64 in block a");
		assert_string_equal(edge_of(1)->segment, "left");
		assert_int_equal(edge_of(0)->holder.tid, scene->tid[1]);
	}
}

static void three_and_one_who_waits_for_them_are_one_cycle_of_three(void **state)
{
	(void)state;
	set_part(0, a, b, 0);
	set_part(1, b, c, 0);
	set_part(2, c, a, 0);
	start(3);
	wait_for_blocked(3);
	/* It holds nothing that the others want. */
	parts[3] = (struct part){ 3, a, b, 0, false };
	pids[n_pids++] = t_spawn(act_alone, &parts[3]);
	wait_for_blocked(4);
	assert_int_equal(check(NULL), 1);
	assert_int_equal(n_edges, 3);
	assert_int_equal(edge_of(0)->holder.tid, scene->tid[1]);
	assert_int_equal(edge_of(1)->holder.tid, scene->tid[2]);
	assert_int_equal(edge_of(2)->holder.tid, scene->tid[0]);
}

static void two_cycles_are_two(void **state)
{
	mproc_mutex *d = make_mutex(left, "d");

	(void)state;
	set_part(0, a, b, 0);
	set_part(1, b, a, 0);
	set_part(2, c, d, 0);
	set_part(3, d, c, 0);
	start(4);
	wait_for_blocked(4);
	assert_int_equal(check(NULL), 2);
}

static void who_waits_for_one_that_can_go_on_is_in_no_cycle(void **state)
{
	(void)state;
	assert_int_equal(mproc_mutex_lock(c, MPROC_FOREVER), 0);
	set_part(0, a, b, 0);
	set_part(1, b, c, 0);
	start(2);
	wait_for_blocked(2);
	assert_int_equal(check(NULL), 0);
	assert_int_equal(mproc_mutex_unlock(c), 0);
	wait_for_done(0);
	wait_for_done(1);
	assert_int_equal(check(NULL), 0);
}

static void a_deadline_is_told_and_ends_the_cycle(void **state)
{
	(void)state;
	set_part(0, a, b, 1500);
	set_part(1, b, a, 0);
	start(2);
	wait_for_blocked(2);
	assert_int_equal(check(NULL), 1);
	assert_int_equal(edge_of(0)->deadline, 1);
	assert_int_equal(edge_of(1)->deadline, 0);
	wait_for_done(0);
	wait_for_done(1);
	assert_int_equal(scene->result[0], -ETIMEDOUT);
	assert_int_equal(scene->result[1], 0);
	assert_int_equal(check(NULL), 0);
}

static void a_stopped_one_is_in_a_cycle_and_a_dead_one_in_none(void **state)
{
	(void)state;
	set_part(0, a, b, 0);
	set_part(1, b, a, 0);
	start(2);
	wait_for_blocked(2);
	assert_int_equal(kill(pids[0], SIGSTOP), 0);
	while (t_state(pids[0]) != 'T')
		usleep(100);
	assert_int_equal(check(NULL), 1);
	/* Nobody has cleaned up after it yet: its record says what it said. */
	assert_int_equal(kill(pids[1], SIGSTOP), 0);
	while (t_state(pids[1]) != 'T')
		usleep(100);
	assert_int_equal(check(NULL), 1);
	assert_int_equal(kill(pids[0], SIGKILL), 0);
	assert_int_equal(t_reap(pids[0]), SIGKILL);
	pids[0] = pids[--n_pids];
	assert_int_equal(check(NULL), 0);
	assert_int_equal(kill(pids[0], SIGCONT), 0);
	wait_for_done(1);
	assert_int_equal(scene->result[1], MPROC_MUTEX_INHERITED);
}

static void locks_of_values_are_locks(void **state)
{
	mproc_value *x, *y;
	pid_t pid;

	(void)state;
	assert_int_equal(
		mproc_value_create(&x, left, "x", MPROC_VALUE_OPTS(.type = MPROC_TYPE(int))), 0);
	assert_int_equal(
		mproc_value_create(&y, right, "y", MPROC_VALUE_OPTS(.type = MPROC_TYPE(int))), 0);
	for (int i = 0; i < 2; i++) {
		pid = fork();
		assert_true(pid >= 0);
		if (!pid) {
			alarm(60);
			if (mproc_value_lock(i ? y : x, MPROC_FOREVER) != 0)
				_exit(1);
			atomic_fetch_add(&scene->n_ready, 1);
			while (atomic_load(&scene->n_ready) < 2)
				usleep(100);
			t_check(mproc_value_lock(i ? x : y, MPROC_FOREVER) >= 0);
			_exit(1);
		}
		pids[n_pids++] = pid;
	}
	wait_for_blocked(2);
	assert_int_equal(check(NULL), 1);
	assert_int_equal(n_edges, 2);
	for (size_t i = 0; i < 2; i++)
		assert_non_null(strstr(seen[i].lock, strcmp(seen[i].segment, "left")
							     ? " in value y"
							     : " in value x"));
	end_workers();
	mproc_value_close(x);
	mproc_value_close(y);
}

static void without_the_option_nobody_is_refused(void **state)
{
	(void)state;
	set_part(0, a, b, 300);
	set_part(1, b, a, 2000);
	start(2);
	wait_for_done(0);
	wait_for_done(1);
	assert_int_equal(scene->result[0], -ETIMEDOUT);
	assert_int_equal(scene->result[1], 0);
}

/* One of the @n is refused, and the others come through. Return: which one. */
static unsigned expect_one_refused(unsigned n)
{
	unsigned refused = n;

	for (unsigned i = 0; i < n; i++)
		wait_for_done(i);
	for (unsigned i = 0; i < n; i++) {
		if (scene->result[i] == -EDEADLK) {
			assert_int_equal(refused, n);
			refused = i;
		} else {
			assert_int_equal(scene->result[i], 0);
		}
	}
	assert_int_not_equal(refused, n);
	return refused;
}

static void again(void)
{
	end_workers();
	memset(scene, 0, sizeof(*scene));
}

static void one_of_a_cycle_is_refused_and_told_locks_and_owners(void **state)
{
	char holder[64];
	unsigned i;

	(void)state;
	for (int round = 0; round < 20; round++) {
		set_part(0, a, b, round % 2 ? 0 : 10000);
		set_part(1, b, a, 0);
		start(2);
		i = expect_one_refused(2);
		assert_non_null(strstr(scene->text[i], "block a"));
		assert_non_null(strstr(scene->text[i], "block b"));
		snprintf(holder, sizeof(holder), "held by pid %d tid %d, which", (int)pids[1 - i],
			 (int)pids[1 - i]);
		assert_non_null(strstr(scene->text[i], holder));
		assert_non_null(strstr(scene->text[i], "held by the calling thread"));
		assert_int_equal(check(NULL), 0);
		again();
	}
}

static void the_call_that_closes_the_cycle_is_the_one_refused(void **state)
{
	(void)state;
	assert_int_equal(mproc_mutex_lock(b, MPROC_FOREVER), 0);
	set_part(0, a, b, 0);
	start(1);
	wait_for_blocked(1);
	assert_int_equal(mproc_mutex_lock(a, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_mutex_lock(a, MPROC_FOREVER), -EDEADLK);
	/* It has had no effect: one more time is as good. */
	assert_int_equal(mproc_mutex_lock(a, MPROC_FOREVER), -EDEADLK);
	assert_int_equal(mproc_mutex_unlock(a), -EPERM);
	assert_int_equal(mproc_mutex_unlock(b), 0);
	wait_for_done(0);
	assert_int_equal(scene->result[0], 0);
	assert_int_equal(mproc_mutex_lock(a, MPROC_FOREVER), 0);
	assert_int_equal(mproc_mutex_lock(a, MPROC_FOREVER), -EDEADLK);
	assert_non_null(strstr(mproc_error_text(), "owns the mutex"));
	assert_int_equal(mproc_mutex_unlock(a), 0);
}

static void one_thread_of_two_is_refused(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		set_part(0, a, b, 0);
		set_part(1, b, a, 0);
		pids[n_pids++] = t_spawn(act_as_two, parts);
		expect_one_refused(2);
		again();
	}
}

static void one_of_three_is_refused(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		set_part(0, a, b, 0);
		set_part(1, b, c, 0);
		set_part(2, c, a, 0);
		start(3);
		expect_one_refused(3);
		again();
	}
}

static void who_waits_where_it_is_asked_for_is_refused(void **state)
{
	unsigned i;

	(void)state;
	/* Part 1 waits in the segment that does not ask. */
	for (int round = 0; round < 10; round++) {
		set_part(0, a, b, 0);
		set_part(1, b, a, 0);
		start(2);
		i = expect_one_refused(2);
		assert_int_equal(i, 0);
		again();
	}
}

static void make_with(mproc_mutex *mutex, uint32_t flags)
{
	mproc_mutex_destroy(mutex);
	assert_int_equal(mproc_mutex_init(mutex, flags), 0);
}

static void what_anybody_may_unlock_is_in_no_cycle(void **state)
{
	(void)state;
	make_with(a, MPROC_MUTEX_ANY_UNLOCK);
	set_part(0, a, b, 0);
	set_part(1, b, a, 0);
	parts[0].robbed = true;
	start(2);
	wait_for_blocked(2);
	usleep(20000);
	assert_int_equal(check(NULL), 0);
	/* A third one does. */
	assert_int_equal(mproc_mutex_unlock(a), 0);
	wait_for_done(0);
	wait_for_done(1);
	assert_int_equal(scene->result[0], 0);
	assert_int_equal(scene->result[1], 0);
}

static void one_of_those_who_queue_is_refused(void **state)
{
	(void)state;
	make_with(a, MPROC_MUTEX_FAIR);
	make_with(b, MPROC_MUTEX_FAIR | MPROC_MUTEX_STRICT);
	for (int round = 0; round < 10; round++) {
		set_part(0, a, b, 0);
		set_part(1, b, a, 0);
		start(2);
		expect_one_refused(2);
		again();
	}
}

static mproc_rwlock *rw;

static void read_then_lock(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_lock(a, MPROC_FOREVER) == 0);
	atomic_fetch_add(&scene->n_ready, 1);
	while (atomic_load(&scene->n_ready) < 2)
		usleep(100);
	(void)!mproc_rwlock_read_lock(rw, MPROC_FOREVER);
}

static void write_then_lock(void *arg)
{
	(void)arg;
	t_check(mproc_rwlock_write_lock(rw, MPROC_FOREVER) == 0);
	atomic_fetch_add(&scene->n_ready, 1);
	while (atomic_load(&scene->n_ready) < 2)
		usleep(100);
	(void)!mproc_mutex_lock(a, MPROC_FOREVER);
}

static void who_waits_for_a_writer_is_in_the_cycle(void **state)
{
	void *object;

	(void)state;
	assert_int_equal(mproc_segment_object(&object, left, "rw", sizeof(*rw), NULL, NULL), 1);
	rw = object;
	assert_int_equal(mproc_rwlock_init(rw, 0), 0);
	pids[n_pids++] = t_spawn(read_then_lock, NULL);
	pids[n_pids++] = t_spawn(write_then_lock, NULL);
	wait_for_blocked(2);
	assert_int_equal(check(left), 1);
	assert_int_equal(n_edges, 2);
	for (size_t i = 0; i < 2; i++)
		assert_string_equal(seen[i].lock, seen[i].waiter.pid == (uint32_t)pids[0]
							  ? "rwlock at 0 in block rw"
							  : "mutex at 64 in block a");
}

/* Whatever records and locks say, a look at them ends, and harms nobody. */
static void scribbled_records_are_no_cycle(void **state)
{
	struct mproc__range *range = left->range;
	struct mproc__thread *was;
	uint64_t random = t_seed();

	(void)state;
	assert_int_equal(mproc_mutex_lock(a, MPROC_FOREVER), 0);
	was = malloc(range->n_threads * sizeof(*was));
	assert_non_null(was);
	memcpy(was, range->threads, range->n_threads * sizeof(*was));
	for (int round = 0; round < 300; round++) {
		for (uint32_t i = 0; i < range->n_threads; i++) {
			struct mproc__thread *rec = &range->threads[i];

			if (&range->threads[i] == mproc__self(a, "test")->rec)
				continue;
			atomic_store(&rec->own,
				     mproc__own_word(t_random(&random) % 4, t_random(&random) % 70,
						     t_random(&random) % 3));
			atomic_store(&rec->blocked_since, t_random(&random) % 3);
			atomic_store(&rec->blocked_on,
				     mproc__what(t_random(&random) % 20,
						 t_random(&random) >> t_random(&random) % 64 >> 8));
			atomic_store(&rec->tid, t_random(&random) % 4);
		}
		assert_int_equal(check(NULL), 0);
	}
	memcpy(range->threads, was, range->n_threads * sizeof(*was));
	free(was);
	assert_int_equal(mproc_mutex_unlock(a), 0);
}

#define TEST(fn, setup) cmocka_unit_test_setup_teardown(fn, setup, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(two_processes_are_reported_with_locks_holders_and_waiters, plain),
		TEST(two_threads_of_a_process_are_reported_by_their_names, plain),
		TEST(locks_in_different_segments_are_in_one_cycle, apart),
		TEST(three_and_one_who_waits_for_them_are_one_cycle_of_three, plain),
		TEST(two_cycles_are_two, plain),
		TEST(who_waits_for_one_that_can_go_on_is_in_no_cycle, plain),
		TEST(a_deadline_is_told_and_ends_the_cycle, plain),
		TEST(a_stopped_one_is_in_a_cycle_and_a_dead_one_in_none, plain),
		TEST(locks_of_values_are_locks, plain),
		TEST(without_the_option_nobody_is_refused, plain),
		TEST(one_of_a_cycle_is_refused_and_told_locks_and_owners, refusing),
		TEST(one_of_a_cycle_is_refused_and_told_locks_and_owners, refusing_apart),
		TEST(the_call_that_closes_the_cycle_is_the_one_refused, refusing),
		TEST(the_call_that_closes_the_cycle_is_the_one_refused, refusing_apart),
		TEST(one_thread_of_two_is_refused, refusing),
		TEST(one_thread_of_two_is_refused, refusing_apart),
		TEST(one_of_three_is_refused, refusing),
		TEST(one_of_three_is_refused, refusing_apart),
		TEST(who_waits_where_it_is_asked_for_is_refused, refusing_in_one),
		TEST(what_anybody_may_unlock_is_in_no_cycle, plain),
		TEST(what_anybody_may_unlock_is_in_no_cycle, refusing),
		TEST(one_of_those_who_queue_is_refused, refusing),
		TEST(who_waits_for_a_writer_is_in_the_cycle, plain),
		TEST(scribbled_records_are_no_cycle, plain),
	};

	return cmocka_run_group_tests_name("deadlock", tests, NULL, NULL);
}
