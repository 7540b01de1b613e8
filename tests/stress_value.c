/* SPDX-License-Identifier: MIT */

/*
 * Values and arrays under SIGKILL at random
 *
 * Workers add to a value and to the items of an array, and note each addition before and
 * after it in memory of their own; set a struct whose words are all the same; and change two
 * values that have one mutex, which differ by one only in between. One stores what a
 * watcher waits for. They are killed one after the other, and it all still adds up.
 */

#include <mproc/array.h>
#include <mproc/value.h>

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/child.h"

#define WORKERS 4
#define ITEMS   8
#define WORDS   4096 /* copied in as long a time as all the rest takes */

struct words {
	uint64_t at[WORDS];
};

struct ledger {
	_Atomic(uint64_t) before[WORKERS], after[WORKERS];
	_Atomic(int64_t) seen; /* by the watcher */
};

static mproc_segment *segment;
static mproc_value *sum, *words, *left, *right, *beat;
static mproc_array *array;
static struct ledger *ledger;

static int mutex_init(void *object, void *arg)
{
	(void)arg;
	return mproc_mutex_init(object, 0);
}

static mproc_value *make(const struct mproc_type *type, mproc_mutex *mutex)
{
	mproc_value *ret;

	assert_int_equal(mproc_value_create(&ret, segment, NULL,
					    MPROC_VALUE_OPTS(.type = type, .mutex = mutex)),
			 0);
	return ret;
}

static int setup(void **state)
{
	void *object;

	(void)state;
	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	assert_true(ledger != MAP_FAILED);
	assert_int_equal(mproc_segment_create(&segment, NULL, NULL), 0);
	assert_true(mproc_segment_object(&object, segment, "mutex", sizeof(mproc_mutex), mutex_init,
					 NULL) >= 0);
	sum = make(MPROC_TYPE(int64_t), NULL);
	words = make(MPROC_TYPE(struct words), NULL);
	left = make(MPROC_TYPE(int64_t), object);
	right = make(MPROC_TYPE(int64_t), object);
	beat = make(MPROC_TYPE(int64_t), NULL);
	assert_int_equal(
		mproc_array_create(&array, segment, NULL,
				   MPROC_ARRAY_OPTS(.type = MPROC_TYPE(int64_t), .n_items = ITEMS)),
		0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mproc_array_close(array);
	mproc_value_close(beat);
	mproc_value_close(right);
	mproc_value_close(left);
	mproc_value_close(words);
	mproc_value_close(sum);
	segment = mproc_segment_close(segment);
	munmap(ledger, sizeof(*ledger));
	return 0;
}

/*
 * In workers, and in the parent, whose end by t_check() is a failure as well
 */

/* Lock the pair, putting in order what the dead have left. Return: 1 if there was any. */
static int lock_pair(int64_t *ret, int64_t deadline)
{
	int64_t r = 0;
	int news = mproc_value_lock(left, deadline);

	t_check(news == 0 || news == MPROC_MUTEX_INHERITED);
	t_check(mproc_value_get(left, int64_t, ret, MPROC_FOREVER) >= 0);
	t_check(mproc_value_get(right, int64_t, &r, MPROC_FOREVER) >= 0);
	if (news == MPROC_MUTEX_INHERITED) {
		t_check(*ret == r || *ret == r + 1);
		t_check(mproc_value_set(right, int64_t, ret, MPROC_FOREVER) >= 0);
		t_check(mproc_value_consistent(left) == 0);
	} else {
		t_check(*ret == r);
	}
	return news;
}

static void check_words(void)
{
	struct words w;

	memset(&w, 0xff, sizeof(w));
	t_check(mproc_value_get(words, struct words, &w, MPROC_FOREVER) >= 0);
	for (size_t i = 1; i < WORDS; i++)
		t_check(w.at[i] == w.at[0]);
}

static void change_pair(void)
{
	int64_t n = 0;

	lock_pair(&n, MPROC_FOREVER);
	n++;
	t_check(mproc_value_set(left, int64_t, &n, MPROC_FOREVER) == 0);
	check_words(); /* takes time: many die here */
	t_check(mproc_value_set(right, int64_t, &n, MPROC_FOREVER) == 0);
	t_check(mproc_value_unlock(right) == 0);
}

static void work(void *arg)
{
	uint64_t me = (uint64_t)(uintptr_t)arg;

	alarm(0); /* its end is a SIGKILL */
	for (uint64_t n = 0;; n++) {
		struct words w;

		atomic_fetch_add(&ledger->before[me], 1);
		t_check(mproc_value_add(sum, int64_t, 1, NULL) == 0);
		t_check(mproc_array_add(array, int64_t, n % ITEMS, 1, NULL) == 0);
		atomic_fetch_add(&ledger->after[me], 1);
		for (size_t i = 0; i < WORDS; i++)
			w.at[i] = n << 8 | me;
		t_check(mproc_value_set(words, struct words, &w, MPROC_FOREVER) >= 0);
		change_pair();
		/* One alone, so that nobody else's call wakes the watcher. */
		if (me == 0)
			t_check(mproc_value_add(beat, int64_t, 1, NULL) == 0);
	}
}

static void watch(void *arg)
{
	int64_t seen = 0;

	(void)arg;
	alarm(0);
	for (;;) {
		t_check(mproc_value_wait(beat, int64_t, &seen, MPROC_FOREVER) == 0);
		atomic_store(&ledger->seen, seen);
	}
}

/* With worker 0 dead: has the watcher seen what that one stored last? */
static bool is_seen(void *arg)
{
	int64_t last = -1;

	(void)arg;
	return mproc_value_load(beat, int64_t, &last) == 0 && atomic_load(&ledger->seen) == last;
}

static void check_sums(uint64_t kills)
{
	uint64_t before = 0, after = 0, added = 0;
	int64_t items[ITEMS], n = 0;

	for (size_t i = 0; i < WORKERS; i++) {
		before += ledger->before[i];
		after += ledger->after[i];
	}
	assert_int_equal(mproc_value_load(sum, int64_t, &n), 0);
	assert_true((uint64_t)n >= after && (uint64_t)n <= before);
	assert_true(mproc_array_copy_out(array, int64_t, 0, ITEMS, items, mproc_after_ms(10000)) >=
		    0);
	for (size_t i = 0; i < ITEMS; i++)
		added += (uint64_t)items[i];
	assert_true(added >= after && added <= (uint64_t)n);
	assert_true(before - after <= kills);
	print_message("# %" PRId64 " additions, %" PRIu64 " kills\n", n, kills);
}

static void nothing_is_lost_torn_or_unseen(void **state)
{
	int64_t end = mproc_after_ms(t_long() ? 60000 : 3000);
	uint64_t random = t_seed(), kills = 0, inherited = 0;
	pid_t workers[WORKERS], watcher;
	int64_t n = 0;

	(void)state;
	watcher = t_spawn(watch, NULL);
	for (size_t i = 0; i < WORKERS; i++)
		workers[i] = t_spawn(work, (void *)i);
	while (mproc_now() < end) {
		size_t i = t_random(&random) % WORKERS;

		usleep(t_random(&random) % 3000);
		kill(workers[i], SIGKILL);
		assert_int_equal(t_reap(workers[i]), SIGKILL);
		kills++;
		if (i == 0)
			assert_true(t_wait_until(is_seen, NULL, mproc_after_ms(10000)));
		check_words();
		inherited += lock_pair(&n, mproc_after_ms(10000)) == MPROC_MUTEX_INHERITED;
		assert_int_equal(mproc_value_unlock(left), 0);
		workers[i] = t_spawn(work, (void *)i);
	}
	for (size_t i = 0; i < WORKERS; i++) {
		kill(workers[i], SIGKILL);
		assert_int_equal(t_reap(workers[i]), SIGKILL);
		kills++;
	}
	assert_true(t_wait_until(is_seen, NULL, mproc_after_ms(10000)));
	kill(watcher, SIGKILL);
	assert_int_equal(t_reap(watcher), SIGKILL);
	print_message("# %" PRIu64 " of the dead had the mutex when this process came\n",
		      inherited);
	check_sums(kills);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_is_lost_torn_or_unseen, setup, teardown),
	};

	return cmocka_run_group_tests_name("value", tests, NULL, NULL);
}
