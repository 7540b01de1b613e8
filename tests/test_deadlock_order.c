/* SPDX-License-Identifier: MIT */

/*
 * The order in which locks are taken: both orders of two are reported, nothing else is
 */

#include <mproc/deadlock.h>

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
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/mutex.h>
#include <mproc/rmutex.h>
#include <mproc/value.h>

#include "ipc/order_layout.h"
#include "ipc/participant.h"
#include "shm/segment.h"
#include "tests/support/child.h"

#define LINES 8
#define MANY  300 /* more locks than there is room for */

/* Not in a segment: what was said to the logs of all processes. */
struct scene {
	_Atomic(uint32_t) n_lines, n_ready, done;
	char lines[LINES][256];
};

static struct scene *scene;
static mproc_segment *segment, *other;
static mproc_mutex *a, *b, *c;

static int init_mutex(void *object, void *arg)
{
	(void)arg;
	return mproc_mutex_init((void *)((char *)object + 64), 0);
}

static mproc_mutex *make_mutex(mproc_segment *in, const char *name)
{
	void *object;

	assert_int_equal(mproc_segment_object(&object, in, name, 128, init_mutex, NULL), 1);
	return (void *)((char *)object + 64);
}

static void take_line(const char *line, void *arg)
{
	uint32_t n = atomic_fetch_add(&scene->n_lines, 1);

	(void)arg;
	if (n < LINES)
		snprintf(scene->lines[n], sizeof(scene->lines[n]), "%s", line);
}

static int setup(void **state)
{
	(void)state;
	scene = mmap(NULL, sizeof(*scene), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	assert_ptr_not_equal(scene, MAP_FAILED);
	t_private_dir();
	assert_int_equal(mproc_segment_create(&segment, "ordered",
					      MPROC_SEGMENT_OPTS(.flags = MPROC_SEGMENT_LOCK_ORDER,
								 .bytes = 2 << 20)),
			 0);
	assert_int_equal(
		mproc_segment_create(&other, "other", MPROC_SEGMENT_OPTS(.bytes = 2 << 20)), 0);
	a = make_mutex(segment, "a");
	b = make_mutex(segment, "b");
	c = make_mutex(segment, "c");
	mproc_set_log(take_line, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mproc_set_log(NULL, NULL);
	segment = mproc_segment_close(segment);
	other = mproc_segment_close(other);
	munmap(scene, sizeof(*scene));
	return 0;
}

/* What is reported. */
static struct mproc_deadlock_pair seen[LINES];
static unsigned n_seen;
static uint64_t n_dropped;

static void take_pair(const struct mproc_deadlock_pair *pair, void *arg)
{
	assert_ptr_equal(arg, seen);
	if (n_seen < LINES)
		seen[n_seen] = *pair;
	n_seen++;
}

static int reported(mproc_segment *in)
{
	int r;

	n_seen = 0;
	r = mproc_deadlock_order(in, take_pair, seen, &n_dropped);
	assert_int_equal(r, n_seen);
	return r;
}

static void both(mproc_mutex *first, mproc_mutex *second)
{
	t_check(mproc_mutex_lock(first, MPROC_FOREVER) >= 0);
	t_check(mproc_mutex_lock(second, MPROC_FOREVER) >= 0);
	t_check(mproc_mutex_unlock(second) == 0);
	t_check(mproc_mutex_unlock(first) == 0);
}

static void expect_a_and_b(void)
{
	assert_int_equal(reported(segment), 1);
	assert_int_equal(n_dropped, 0);
	assert_string_equal(seen[0].first, "mutex at 64 in block a");
	assert_string_equal(seen[0].second, "mutex at 64 in block b");
	assert_string_equal(seen[0].segment, "ordered");
	assert_int_equal(seen[0].first_offset, mproc__self_off(mproc__self(a, "test"), a));
	assert_int_equal(seen[0].second_offset, mproc__self_off(mproc__self(a, "test"), b));
	assert_int_equal(scene->n_lines, 1);
	assert_non_null(strstr(scene->lines[0], "mutex at 64 in block a"));
	assert_non_null(strstr(scene->lines[0], "mutex at 64 in block b"));
}

static void both_orders_by_one_thread_are_reported_once_with_both_names(void **state)
{
	(void)state;
	assert_true((uintptr_t)a < (uintptr_t)b);
	both(a, b);
	assert_int_equal(reported(segment), 0);
	assert_int_equal(scene->n_lines, 0);
	for (int i = 0; i < 3; i++) {
		both(b, a);
		both(a, b);
	}
	expect_a_and_b();
	assert_int_equal(reported(NULL), 1);
	assert_int_equal(mproc_deadlock_order(segment, NULL, NULL, NULL), 1);
}

static void a_then_b(void *arg)
{
	(void)arg;
	both(a, b);
}

static void b_then_a(void *arg)
{
	(void)arg;
	both(b, a);
}

static void both_orders_by_two_processes_one_after_the_other_are_reported(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(b_then_a, NULL)), 0);
	assert_int_equal(scene->n_lines, 0);
	assert_int_equal(t_reap(t_spawn(a_then_b, NULL)), 0);
	assert_int_equal(t_reap(t_spawn(b_then_a, NULL)), 0);
	expect_a_and_b();
}

static void hold_a_and_b(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_lock(a, MPROC_FOREVER) == 0);
	t_check(mproc_mutex_lock(b, MPROC_FOREVER) == 0);
	kill(getpid(), SIGKILL);
}

static void what_the_dead_have_done_counts(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(hold_a_and_b, NULL)), SIGKILL);
	assert_int_equal(mproc_mutex_lock(b, MPROC_FOREVER), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_mutex_lock(a, MPROC_FOREVER), MPROC_MUTEX_INHERITED);
	expect_a_and_b();
	assert_int_equal(mproc_mutex_unlock(a), 0);
	assert_int_equal(mproc_mutex_unlock(b), 0);
}

/* One order and the other, all at once: who cannot have both gives up. */
static void race(void *arg)
{
	bool turned = arg;

	atomic_fetch_add(&scene->n_ready, 1);
	while (atomic_load(&scene->n_ready) < 4)
		;
	for (int i = 0; i < 50; i++) {
		t_check(mproc_mutex_lock(turned ? b : a, MPROC_FOREVER) >= 0);
		if (mproc_mutex_lock(turned ? a : b, mproc_after_us(200)) >= 0)
			t_check(mproc_mutex_unlock(turned ? a : b) == 0);
		t_check(mproc_mutex_unlock(turned ? b : a) == 0);
	}
}

static void those_who_see_it_at_the_same_time_say_it_once(void **state)
{
	pid_t pids[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		pids[i] = t_spawn(race, i % 2 ? scene : NULL);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	expect_a_and_b();
}

static void every_pair_is_reported(void **state)
{
	(void)state;
	both(a, b);
	both(b, c);
	both(c, b);
	both(b, a);
	assert_int_equal(reported(segment), 2);
	assert_int_equal(scene->n_lines, 2);
	/* All that is held, not only what was taken last. */
	assert_int_equal(mproc_mutex_lock(a, MPROC_FOREVER), 0);
	both(b, c);
	assert_int_equal(mproc_mutex_unlock(a), 0);
	assert_int_equal(reported(segment), 2);
	both(c, a);
	assert_int_equal(reported(segment), 3);
	assert_int_equal(scene->n_lines, 3);
}

static void recursive_mutexes_and_locks_of_values_are_locks(void **state)
{
	mproc_value *value;
	mproc_rmutex *r;
	bool first_is_r;
	void *object;

	(void)state;
	assert_int_equal(mproc_segment_object(&object, segment, "r", sizeof(*r), NULL, NULL), 1);
	r = object;
	assert_int_equal(mproc_rmutex_init(r, 0), 0);
	assert_int_equal(
		mproc_value_create(&value, segment, "v", MPROC_VALUE_OPTS(.type = MPROC_TYPE(int))),
		0);
	/* Once more while it holds the other is no order. */
	assert_int_equal(mproc_rmutex_lock(r, MPROC_FOREVER), 0);
	assert_int_equal(mproc_value_lock(value, MPROC_FOREVER), 0);
	assert_int_equal(mproc_rmutex_lock(r, MPROC_FOREVER), 0);
	assert_int_equal(mproc_rmutex_unlock(r), 0);
	assert_int_equal(mproc_value_unlock(value), 0);
	assert_int_equal(mproc_rmutex_unlock(r), 0);
	assert_int_equal(reported(segment), 0);
	assert_int_equal(mproc_value_lock(value, MPROC_FOREVER), 0);
	assert_int_equal(mproc_rmutex_lock(r, MPROC_FOREVER), 0);
	assert_int_equal(mproc_rmutex_unlock(r), 0);
	assert_int_equal(mproc_value_unlock(value), 0);
	assert_int_equal(reported(segment), 1);
	/* Which has the lower offset is the arena's choice. */
	first_is_r = !strcmp(seen[0].first, "rmutex at 0 in block r");
	assert_string_equal(first_is_r ? seen[0].first : seen[0].second, "rmutex at 0 in block r");
	assert_non_null(strstr(first_is_r ? seen[0].second : seen[0].first, "in value v"));
	assert_true(seen[0].first_offset < seen[0].second_offset);
	assert_int_equal(scene->n_lines, 1);
	mproc_value_close(value);
}

static void a_lock_asked_for_twice_is_no_order(void **state)
{
	(void)state;
	assert_int_equal(mproc_mutex_lock(a, MPROC_FOREVER), 0);
	assert_int_equal(mproc_mutex_lock(b, MPROC_FOREVER), 0);
	assert_int_equal(mproc_mutex_lock(a, MPROC_FOREVER), -EDEADLK);
	assert_int_equal(mproc_mutex_unlock(a), 0);
	assert_int_equal(mproc_mutex_unlock(b), 0);
	assert_int_equal(reported(segment), 0);
	both(b, a);
	expect_a_and_b();
}

static void what_never_waits_is_no_order_but_what_it_got_is_held(void **state)
{
	(void)state;
	both(a, b);
	assert_int_equal(mproc_mutex_lock(b, MPROC_FOREVER), 0);
	assert_int_equal(mproc_mutex_lock(a, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_mutex_unlock(a), 0);
	assert_int_equal(mproc_mutex_unlock(b), 0);
	assert_int_equal(reported(segment), 0);
	assert_int_equal(mproc_mutex_lock(b, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_mutex_lock(a, mproc_after_ms(1000)), 0);
	assert_int_equal(mproc_mutex_unlock(a), 0);
	assert_int_equal(mproc_mutex_unlock(b), 0);
	expect_a_and_b();
}

static void what_anybody_may_unlock_is_left_out(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		uint32_t flags = i ? MPROC_MUTEX_FAIR | MPROC_MUTEX_STRICT : MPROC_MUTEX_ANY_UNLOCK;

		assert_int_equal(mproc_mutex_init(a, flags), 0);
		both(a, b);
		both(b, a);
		assert_int_equal(reported(segment), i);
	}
	expect_a_and_b();
}

static void what_has_been_unlocked_is_held_no_more(void **state)
{
	(void)state;
	/* Out of order, so that notes are moved about. */
	assert_int_equal(mproc_mutex_lock(a, MPROC_FOREVER), 0);
	assert_int_equal(mproc_mutex_lock(b, MPROC_FOREVER), 0);
	assert_int_equal(mproc_mutex_unlock(a), 0);
	assert_int_equal(mproc_mutex_lock(c, MPROC_FOREVER), 0);
	assert_int_equal(mproc_mutex_unlock(b), 0);
	assert_int_equal(mproc_mutex_unlock(c), 0);
	both(c, a);
	/* a was not held any more when c was asked for. */
	assert_int_equal(reported(segment), 0);
	both(c, b);
	assert_int_equal(reported(segment), 1);
}

static void a_place_that_is_made_a_lock_again_is_another_lock(void **state)
{
	(void)state;
	both(a, b);
	mproc_mutex_destroy(a);
	assert_int_equal(mproc_mutex_init(a, 0), 0);
	both(b, a);
	assert_int_equal(reported(segment), 0);
	/* Not destroyed: freed, and given out again. */
	assert_int_equal(mproc_mutex_init(b, 0), 0);
	both(a, b);
	assert_int_equal(reported(segment), 0);
	both(b, a);
	expect_a_and_b();
	/* What was reported of the old one is not said of the new one, which may be again. */
	mproc_mutex_destroy(b);
	assert_int_equal(reported(segment), 0);
	assert_int_equal(mproc_rmutex_init((mproc_rmutex *)b, 0), 0);
	assert_int_equal(mproc_mutex_init(b, 0), 0);
	both(a, b);
	assert_int_equal(reported(segment), 0);
	both(b, a);
	assert_int_equal(reported(segment), 1);
	assert_int_equal(scene->n_lines, 2);
	/* Of the other kind. */
	assert_int_equal(mproc_rmutex_init((mproc_rmutex *)b, 0), 0);
	assert_int_equal(reported(segment), 0);
}

static void a_place_that_is_made_a_recursive_mutex_again_is_another_one(void **state)
{
	mproc_rmutex *r = (mproc_rmutex *)c;

	(void)state;
	assert_int_equal(mproc_rmutex_init(r, 0), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(mproc_mutex_lock(a, MPROC_FOREVER), 0);
		assert_int_equal(mproc_rmutex_lock(r, MPROC_FOREVER), 0);
		assert_int_equal(mproc_rmutex_unlock(r), 0);
		assert_int_equal(mproc_mutex_unlock(a), 0);
		if (i % 2)
			mproc_rmutex_destroy(r);
		assert_int_equal(mproc_rmutex_init(r, 0), 0);
		assert_int_equal(mproc_rmutex_lock(r, MPROC_FOREVER), 0);
		assert_int_equal(mproc_mutex_lock(a, MPROC_FOREVER), 0);
		assert_int_equal(mproc_mutex_unlock(a), 0);
		assert_int_equal(mproc_rmutex_unlock(r), 0);
		assert_int_equal(reported(segment), 0);
		mproc_rmutex_destroy(r);
		assert_int_equal(mproc_rmutex_init(r, 0), 0);
	}
	assert_int_equal(scene->n_lines, 0);
	mproc_rmutex_destroy(r);
	assert_int_equal(mproc_mutex_init(c, 0), 0);
}

static void locks_of_different_segments_are_in_no_pair(void **state)
{
	mproc_mutex *d = make_mutex(other, "d");

	(void)state;
	both(a, d);
	both(d, a);
	assert_int_equal(reported(NULL), 0);
	n_dropped = 7;
	assert_int_equal(mproc_deadlock_order(other, take_pair, seen, &n_dropped), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "segment other"));
	assert_int_equal(n_dropped, 7);
}

static void without_the_option_nothing_is_recorded(void **state)
{
	mproc_mutex *d = make_mutex(other, "d"), *e = make_mutex(other, "e");

	(void)state;
	both(d, e);
	both(e, d);
	assert_int_equal(reported(NULL), 0);
	assert_int_equal(scene->n_lines, 0);
}

/* Locks of one block, always in the order of their places. */
static void ordered_load(void *arg)
{
	mproc_mutex *locks = arg;
	uint64_t random = t_seed() + (uint64_t)getpid();

	for (int i = 0; i < 2000; i++) {
		uint64_t which = t_random(&random) % 256;

		for (unsigned k = 0; k < 8; k++)
			if (which >> k & 1)
				t_check(mproc_mutex_lock(&locks[k], MPROC_FOREVER) >= 0);
		for (unsigned k = 0; k < 8; k++)
			if (which >> k & 1)
				t_check(mproc_mutex_unlock(&locks[k]) == 0);
	}
}

static mproc_mutex *make_many(unsigned n)
{
	mproc_mutex *locks;
	void *object;

	assert_int_equal(
		mproc_segment_object(&object, segment, "many", n * sizeof(*locks), NULL, NULL), 1);
	locks = object;
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(mproc_mutex_init(&locks[i], i % 3 ? 0 : MPROC_MUTEX_FAIR), 0);
	return locks;
}

static void one_order_under_load_is_never_reported(void **state)
{
	mproc_mutex *locks = make_many(8);
	pid_t pids[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		pids[i] = t_spawn(ordered_load, locks);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(reported(segment), 0);
	assert_int_equal(scene->n_lines, 0);
	/* They were all watched. */
	for (unsigned i = 0; i < 7; i++)
		both(&locks[i + 1], &locks[i]);
	assert_int_equal(reported(segment), 7);
	assert_int_equal(scene->n_lines, 7);
}

static void a_full_table_says_so_and_goes_on(void **state)
{
	mproc_mutex *locks = make_many(MANY);

	(void)state;
	both(a, b);
	for (unsigned i = 0; i < MANY; i++)
		both(a, &locks[i]);
	both(&locks[MANY - 1], a);
	assert_int_equal(reported(segment), 0);
	/* a and b and 254 more; the last one asked for a in vain once more. */
	assert_int_equal(n_dropped, MANY - (MPROC__ORDER_LOCKS - 2) + 1);
	assert_int_equal(scene->n_lines, 1);
	assert_non_null(strstr(scene->lines[0], "the table is full"));
	both(b, a);
	assert_int_equal(reported(segment), 1);
	assert_int_equal(scene->n_lines, 2);
}

/* Whatever the table says, calls end, and lock. */
static void a_scribbled_table_harms_nobody(void **state)
{
	struct mproc__order *order = segment->range->order;
	uint64_t random = t_seed();

	(void)state;
	for (int round = 0; round < 100; round++) {
		_Atomic(uint64_t) *words = (void *)order;
		unsigned dense = t_random(&random) % 4;

		for (size_t i = 0; i < sizeof(*order) / 8; i++) {
			uint64_t word = t_random(&random) >> t_random(&random) % 64;

			atomic_store(&words[i], dense ? word : t_random(&random) % 2 ? 0 : ~word);
		}
		for (size_t i = 0; i < MPROC__ORDER_LOCKS && dense == 1; i++)
			atomic_store(&order->locks[i],
				     mproc__what(MPROC__KIND_MUTEX, t_random(&random) % 4 * 8));
		(void)reported(segment);
		both(a, b);
		both(b, a);
		mproc_mutex_destroy(c);
		assert_int_equal(mproc_mutex_init(c, 0), 0);
		both(a, c);
	}
	memset(order, 0, sizeof(*order));
	scene->n_lines = 0;
	both(a, b);
	both(b, a);
	assert_int_equal(reported(segment), 1);
	assert_int_equal(scene->n_lines, 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(both_orders_by_one_thread_are_reported_once_with_both_names),
		TEST(both_orders_by_two_processes_one_after_the_other_are_reported),
		TEST(what_the_dead_have_done_counts),
		TEST(those_who_see_it_at_the_same_time_say_it_once),
		TEST(every_pair_is_reported),
		TEST(recursive_mutexes_and_locks_of_values_are_locks),
		TEST(a_lock_asked_for_twice_is_no_order),
		TEST(what_never_waits_is_no_order_but_what_it_got_is_held),
		TEST(what_anybody_may_unlock_is_left_out),
		TEST(what_has_been_unlocked_is_held_no_more),
		TEST(a_place_that_is_made_a_lock_again_is_another_lock),
		TEST(a_place_that_is_made_a_recursive_mutex_again_is_another_one),
		TEST(locks_of_different_segments_are_in_no_pair),
		TEST(without_the_option_nothing_is_recorded),
		TEST(one_order_under_load_is_never_reported),
		TEST(a_full_table_says_so_and_goes_on),
		TEST(a_scribbled_table_harms_nobody),
	};

	return cmocka_run_group_tests_name("deadlock_order", tests, NULL, NULL);
}
