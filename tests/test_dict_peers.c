/* SPDX-License-Identifier: MIT */

/*
 * A dict that several processes use, that one stands still in, and that somebody has
 * scribbled over
 */

#include <mproc/dict.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "shm/dict.h"
#include "tests/support/child.h"

#define PEERS 4
#define KEYS  200u

static mproc_segment *segment;
static mproc_dict *dict;

static struct {
	_Atomic(uint32_t) n_inserted, stop, ready;
	uint32_t winner[PEERS][KEYS];
} * shared;

static int init_shared(void *mem, void *arg)
{
	(void)mem;
	(void)arg;
	return 0;
}

static int setup(void **state)
{
	void *mem;
	int r;

	(void)state;
	r = mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 16 << 20));
	if (r < 0)
		return r;
	r = mproc_segment_object(&mem, segment, "shared", sizeof(*shared), init_shared, NULL);
	shared = mem;
	return r < 0 ? r : mproc_dict_create(&dict, segment, "dict", NULL);
}

static int teardown(void **state)
{
	(void)state;
	dict = mproc_dict_close(dict);
	segment = mproc_segment_close(segment);
	return 0;
}

static void run_peers(void (*fn)(void *arg))
{
	pid_t pids[PEERS];

	for (uintptr_t i = 0; i < PEERS; i++)
		pids[i] = t_spawn(fn, (void *)i);
	for (size_t i = 0; i < PEERS; i++)
		assert_int_equal(t_reap(pids[i]), 0);
}

static void insert_all(void *arg)
{
	const uintptr_t me = (uintptr_t)arg;
	const struct mproc_any value = mproc_any_uint(me);
	struct mproc_any any;
	int r;

	for (uint32_t key = 0; key < KEYS; key++) {
		r = mproc_dict_get_or_insert(dict, &key, sizeof(key), &value, &any, NULL, 0, NULL);
		t_check(r >= 0 && any.kind == MPROC_ANY_UINT);
		t_check(!r || any.as.u == me);
		shared->winner[me][key] = (uint32_t)any.as.u;
		atomic_fetch_add(&shared->n_inserted, (uint32_t)r);
	}
}

static void of_many_who_insert_one_does_and_all_get_his_value(void **state)
{
	(void)state;
	run_peers(insert_all);
	assert_int_equal(shared->n_inserted, KEYS);
	for (uint32_t key = 0; key < KEYS; key++)
		for (uint32_t i = 1; i < PEERS; i++)
			assert_int_equal(shared->winner[i][key], shared->winner[0][key]);
	assert_int_equal(mproc_dict_len(dict), KEYS);
}

#define ROUNDS 5000

static void count(void *arg)
{
	double f;

	(void)arg;
	for (uint32_t i = 0; i < ROUNDS; i++) {
		t_check(mproc_dict_add_int(dict, &(uint32_t){ i % 7 }, 4, 1, 0, NULL) >= 0);
		t_check(mproc_dict_add_float(dict, "f", 1, 0.5, 0, &f) >= 0);
	}
}

static void no_addition_is_lost(void **state)
{
	struct mproc_any any;
	int64_t sum = 0;
	double f = 0;

	(void)state;
	run_peers(count);
	for (uint32_t i = 0; i < 7; i++) {
		assert_int_equal(mproc_dict_pop(dict, &i, 4, &any, NULL, 0, NULL), 0);
		sum += any.as.i;
	}
	assert_int_equal(sum, PEERS * ROUNDS);
	assert_int_equal(mproc_dict_get_float(dict, "f", &f), 0);
	assert_true(f == PEERS * ROUNDS * 0.5);
}

/* Entries that come, change and go, in one table that grows all the time. */
static void churn(void *arg)
{
	unsigned char value[120];
	uint64_t random = 1;

	(void)arg;
	for (uint32_t i = 0; !shared->stop; i++) {
		uint32_t key = 1000 + i % 20000, old = 1000 + (uint32_t)(t_random(&random) % 20000);

		memset(value, (int)key, sizeof(value));
		t_check(mproc_dict_put(dict, &key, sizeof(key), value, key % 120) >= 0);
		if (i % 4)
			t_check(mproc_dict_remove(dict, &old, sizeof(old)) != -EBADMSG);
		key = i % KEYS;
		memset(value, (int)i, sizeof(value));
		t_check(mproc_dict_put(dict, &key, sizeof(key), value, i % 120) == 1);
		if (i == 100)
			shared->ready = 1;
	}
}

static bool is_ready(void *arg)
{
	(void)arg;
	return shared->ready;
}

static void who_reads_and_iterates_sees_whole_values_and_each_key_once(void **state)
{
	unsigned char value[120], seen[KEYS];
	pid_t pid;
	size_t len;

	(void)state;
	for (uint32_t key = 0; key < KEYS; key++)
		assert_int_equal(mproc_dict_put(dict, &key, sizeof(key), "", 0), 0);
	pid = t_spawn(churn, NULL);
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(10000)));
	for (int round = 0; round < 30; round++) {
		struct mproc_dict_iter it = MPROC_DICT_ITER;
		struct mproc_any any;
		uint32_t key;
		int r;

		memset(seen, 0, sizeof(seen));
		while ((r = mproc_dict_next(dict, &it, &any, value, sizeof(value), &len)) == 1) {
			memcpy(&key, it.key, sizeof(key));
			for (size_t i = 1; i < len; i++)
				assert_int_equal(value[i], value[0]);
			if (key < KEYS)
				seen[key]++;
			else
				assert_true(!len ||
					    (len == key % 120 && value[0] == (unsigned char)key));
		}
		assert_int_equal(r, 0);
		for (key = 0; key < KEYS; key++) {
			assert_int_equal(seen[key], 1);
			assert_int_equal(
				mproc_dict_get(dict, &key, sizeof(key), value, sizeof(value), &len),
				0);
			for (size_t i = 1; i < len; i++)
				assert_int_equal(value[i], value[0]);
		}
	}
	shared->stop = 1;
	assert_int_equal(t_reap(pid), 0);
}

/* One entry, in place and in new nodes, and another in the block it leaves. */
static void change_all_the_time(void *arg)
{
	unsigned char value[88];

	(void)arg;
	for (uint32_t i = 0; !shared->stop; i++) {
		memset(value, (int)i, sizeof(value));
		t_check(mproc_dict_put(dict, "k", 1, value, i % 8 ? 64 : 88) >= 0);
		if (i % 16 == 0)
			t_check(mproc_dict_remove(dict, "k", 1) == 0);
		shared->ready = 1;
	}
}

static void a_value_that_changes_all_the_time_is_read_whole(void **state)
{
	int64_t end = mproc_after_ms(t_long() ? 10000 : 500);
	unsigned char value[88];
	uint64_t n = 0;
	pid_t pid;
	size_t len;
	int r;

	(void)state;
	mproc_dict_close(dict);
	/* One stripe, whose spare is put to use at once. */
	assert_int_equal(mproc_dict_create(&dict, segment, NULL, MPROC_DICT_OPTS(.n_stripes = 1)),
			 0);
	pid = t_spawn(change_all_the_time, NULL);
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(10000)));
	for (; n < 20000 || mproc_now() < end; n++) {
		r = mproc_dict_get(dict, "k", 1, value, sizeof(value), &len);
		if (r == -ENOENT)
			continue;
		assert_int_equal(r, 0);
		for (size_t i = 1; i < len; i++)
			assert_int_equal(value[i], value[0]);
	}
	shared->stop = 1;
	assert_int_equal(t_reap(pid), 0);
}

static void put_later(void *arg)
{
	(void)arg;
	usleep(20000);
	t_check(mproc_dict_put_int(dict, "k", 1) == 0);
	usleep(20000);
	t_check(mproc_dict_put_int(dict, "k", 2) == 1);
	usleep(20000);
	t_check(mproc_dict_remove(dict, "k", 1) == 0);
}

static void one_can_wait_for_a_key_to_come_and_to_change(void **state)
{
	const struct mproc_any one = mproc_any_int(1), two = mproc_any_int(2);
	pid_t pid;

	(void)state;
	assert_int_equal(mproc_dict_wait(dict, "k", 1, NULL, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_dict_wait(dict, "k", 1, NULL, mproc_after_ms(5)), -ETIMEDOUT);
	assert_int_equal(mproc_dict_wait(dict, "k", 1, NULL, -1), -EINVAL);
	assert_int_equal(mproc_dict_wait(dict, "k", 1, &one, MPROC_NOWAIT), 0);
	pid = t_spawn(put_later, NULL);
	assert_int_equal(mproc_dict_wait(dict, "k", 1, NULL, mproc_after_ms(10000)), 0);
	assert_int_equal(mproc_dict_wait(dict, "k", 1, &one, mproc_after_ms(10000)), 0);
	assert_int_equal(mproc_dict_wait(dict, "k", 1, &two, mproc_after_ms(10000)), 0);
	assert_int_equal(t_reap(pid), 0);
}

static void wait_for_what_never_comes(void *arg)
{
	(void)arg;
	shared->ready = 1;
	t_check(mproc_dict_wait(dict, "k", 1, NULL, MPROC_FOREVER) == -ESTALE);
}

static void who_waits_is_told_of_the_end(void **state)
{
	pid_t pid;

	(void)state;
	pid = t_spawn(wait_for_what_never_comes, NULL);
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(10000)));
	usleep(10000);
	assert_int_equal(mproc_dict_destroy(dict), 0);
	assert_int_equal(t_reap(pid), 0);
}

static void stay_inside(void *arg)
{
	struct mproc__dict_call call;

	(void)arg;
	t_check(mproc__dict_enter(dict, &call) == 0);
	shared->ready = 1;
	usleep(50000);
	shared->stop = 1;
	mproc__dict_leave(&call);
}

static void the_end_waits_for_who_is_inside(void **state)
{
	pid_t pid;

	(void)state;
	pid = t_spawn(stay_inside, NULL);
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(10000)));
	assert_int_equal(mproc_dict_destroy(dict), 0);
	assert_int_equal(shared->stop, 1);
	assert_int_equal(t_reap(pid), 0);
}

/* In the middle of a change of the stripe of "k": the new value is staged. */
static void stop_in_the_middle(void *arg)
{
	struct mproc__dict_call call;
	struct mproc__dict_key key;
	struct mproc__dict_spot spot;
	struct mproc__dict_stripe *s;

	(void)arg;
	t_check(mproc__dict_key_make(dict, "k", 1, &key) == 0);
	t_check(mproc__dict_enter(dict, &call) == 0);
	s = key.stripe;
	t_check(mproc__dict_lock(&call, s, MPROC_FOREVER) == 0);
	t_check(mproc__dict_seek(dict, &key, mproc__dict_version(s), &spot) == 1);
	mproc__dict_bump(s);
	atomic_store(&s->stage_meta, mproc__dict_meta(MPROC_ANY_BYTES, 0, 1, 9));
	atomic_store(&s->stage[0], mproc__dict_word((const unsigned char *)"new valu", 8, 0));
	atomic_store(&s->stage[1], 'e');
	atomic_store(&s->staged, spot.off);
	mproc__dict_bump(s);
	atomic_store(&spot.node->words[1], 0);
	shared->ready = 1;
	raise(SIGSTOP);
}

static void who_stands_still_keeps_no_reader_and_no_other_stripe(void **state)
{
	struct mproc__dict_key k, other;
	char buf[16];
	size_t len;
	pid_t pid;

	(void)state;
	assert_int_equal(mproc_dict_put(dict, "k", 1, "old", 3), 0);
	assert_int_equal(mproc__dict_key_make(dict, "k", 1, &k), 0);
	pid = t_spawn(stop_in_the_middle, NULL);
	assert_true(t_wait_until(is_ready, NULL, mproc_after_ms(10000)));
	for (int i = 0; t_state(pid) != 'T' && i < 1000; i++)
		usleep(1000);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(mproc_dict_get(dict, "k", 1, buf, sizeof(buf), &len), 0);
		assert_int_equal(len, 9);
		assert_memory_equal(buf, "new value", 9);
	}
	for (uint32_t i = 0, n = 0; n < 100; i++) {
		assert_int_equal(mproc__dict_key_make(dict, &i, sizeof(i), &other), 0);
		if (other.stripe == k.stripe)
			continue;
		assert_int_equal(mproc_dict_put(dict, &i, sizeof(i), "v", 1), 0);
		n++;
	}
	assert_int_equal(mproc_dict_len(dict), 101);
	kill(pid, SIGKILL);
	assert_int_equal(t_reap(pid), SIGKILL);
	/* And dead, he keeps nobody at all; what he had committed stands. */
	assert_int_equal(mproc_dict_remove(dict, "nobody", 6), -ENOENT);
	assert_int_equal(mproc_dict_get(dict, "k", 1, buf, sizeof(buf), &len), 0);
	assert_memory_equal(buf, "new value", 9);
	assert_int_equal(mproc_dict_put(dict, "k", 1, "newer", 5), 1);
	assert_int_equal(atomic_load(&k.stripe->staged), 0);
}

/*
 * Scribbled over
 */

static struct mproc__dict_key key_of(const char *key)
{
	struct mproc__dict_key k;

	assert_int_equal(mproc__dict_key_make(dict, key, strlen(key), &k), 0);
	return k;
}

static void assert_corrupt(void)
{
	struct mproc_dict_iter it = MPROC_DICT_ITER;
	char buf[16];
	int r;

	assert_int_equal(mproc_dict_get(dict, "k", 1, buf, sizeof(buf), NULL), -EBADMSG);
	assert_string_equal(mproc_error_text(), "dict dict: a chain of its entries is impossible");
	assert_int_equal(mproc_dict_put(dict, "k", 1, "v", 1), -EBADMSG);
	assert_int_equal(mproc_dict_remove(dict, "k", 1), -EBADMSG);
	while ((r = mproc_dict_next(dict, &it, NULL, NULL, 0, NULL)) == 1)
		;
	assert_int_equal(r, -EBADMSG);
}

static void scribbles_are_told_and_lead_nowhere(void **state)
{
	struct mproc_dict_iter it = MPROC_DICT_ITER;
	struct mproc__dict_key k = key_of("k");
	struct mproc__dict_spot spot;
	uint64_t was;

	(void)state;
	assert_int_equal(mproc_dict_put(dict, "k", 1, "value", 5), 0);
	assert_int_equal(mproc__dict_seek(dict, &k, mproc__dict_version(k.stripe), &spot), 1);
	static const uint64_t offs[] = { 1, 64, 1 << 13, UINT64_MAX, UINT64_MAX - 63, 1ull << 40 };

	was = atomic_load(spot.link);
	for (size_t i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
		atomic_store(spot.link, offs[i]);
		assert_corrupt();
	}
	atomic_store(spot.link, was);
	was = atomic_load(&spot.node->meta);
	atomic_store(&spot.node->meta, 0);
	assert_corrupt();
	atomic_store(&spot.node->meta, was | UINT32_MAX);
	assert_corrupt();
	atomic_store(&spot.node->meta, was);
	/* A circle, of one entry that comes again and again. */
	atomic_store(&spot.node->next, spot.off);
	assert_int_equal(mproc_dict_next(dict, &it, NULL, NULL, 0, NULL), 1);
	assert_int_equal(mproc_dict_next(dict, &it, NULL, NULL, 0, NULL), -EBADMSG);
	atomic_store(&spot.node->next, 0);
	/* Another, of what comes before. */
	atomic_store(&spot.node->order, 0);
	atomic_store(&spot.node->next, spot.off);
	assert_int_equal(mproc_dict_get(dict, "k", 1, NULL, 0, NULL), -EBADMSG);
	atomic_store(&spot.node->next, 0);
	atomic_store(&spot.node->order, k.order);
	was = atomic_load(&k.stripe->parts[0]);
	atomic_store(&k.stripe->parts[0], UINT64_MAX);
	assert_corrupt();
	atomic_store(&k.stripe->parts[0], was);
	was = atomic_load(&k.stripe->n_buckets);
	atomic_store(&k.stripe->n_buckets, UINT64_MAX);
	assert_int_equal(mproc_dict_put(dict, "k", 1, "v", 1), -EBADMSG);
	atomic_store(&k.stripe->n_buckets, was);
	assert_int_equal(mproc_dict_put(dict, "k", 1, "v", 1), 1);
}

static void die_with_the_lock(void *arg)
{
	struct mproc__dict_call call;
	struct mproc__dict_stripe *s = arg;
	uint64_t random = 7;

	t_check(mproc__dict_enter(dict, &call) == 0);
	t_check(mproc__dict_lock(&call, s, MPROC_FOREVER) == 0);
	/* A log that says anything. */
	for (size_t i = 0; i < MPROC__DICT_LOG; i++) {
		atomic_store(&s->log[i].off, t_random(&random));
		atomic_store(&s->log[i].generation, t_random(&random));
	}
	atomic_store(&s->staged, t_random(&random) & ~63ull);
	atomic_store(&s->stage_meta, t_random(&random) | MPROC__DICT_MARK << 56);
	atomic_store(&s->busy, 1);
}

static void an_heir_of_nonsense_survives(void **state)
{
	struct mproc__dict_key k = key_of("k");

	(void)state;
	assert_int_equal(mproc_dict_put(dict, "k", 1, "value", 5), 0);
	assert_int_equal(t_reap(t_spawn(die_with_the_lock, k.stripe)), 0);
	assert_int_equal(mproc_dict_put(dict, "k", 1, "v", 1), 1);
	assert_int_equal(atomic_load(&k.stripe->busy), 0);
}

static void impossible_geometry_is_refused(void **state)
{
	static const struct {
		size_t off;
		uint32_t val;
	} bad[] = { { 4, 0 }, { 4, 3 }, { 4, 32 },       { 4, 512 },
		    { 8, 0 }, { 8, 7 }, { 8, 1u << 25 }, { 0, 1 } };
	mproc_dict *other;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint32_t *at = (uint32_t *)(void *)((char *)dict->shared + bad[i].off), was = *at;

		*at = bad[i].val;
		assert_int_equal(mproc_dict_open(&other, segment, "dict"), -EBADMSG);
		*at = was;
	}
	assert_int_equal(mproc_dict_open(&other, segment, "dict"), 0);
	mproc_dict_close(other);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(of_many_who_insert_one_does_and_all_get_his_value),
		TEST(no_addition_is_lost),
		TEST(who_reads_and_iterates_sees_whole_values_and_each_key_once),
		TEST(a_value_that_changes_all_the_time_is_read_whole),
		TEST(one_can_wait_for_a_key_to_come_and_to_change),
		TEST(who_waits_is_told_of_the_end),
		TEST(the_end_waits_for_who_is_inside),
		TEST(who_stands_still_keeps_no_reader_and_no_other_stripe),
		TEST(scribbles_are_told_and_lead_nowhere),
		TEST(an_heir_of_nonsense_survives),
		TEST(impossible_geometry_is_refused),
	};

	t_private_dir();
	return cmocka_run_group_tests_name("dict peers", tests, NULL, NULL);
}
