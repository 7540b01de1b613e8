/* SPDX-License-Identifier: MIT */

/*
 * A dict under SIGKILL at random
 *
 * Each worker counts up a key of its own, and notes in a ledger how far it has come:
 * killed in between, the dict is at most one ahead. Besides, all put, change and remove
 * entries whose values say whether they are whole. At the end every entry can be found,
 * the count is right, and no block is lost.
 */

#include <mproc/dict.h>

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/dict.h"
#include "tests/support/child.h"

#define WORKERS 6
#define KEYS    400u

static mproc_segment *segment;
static mproc_dict *dict;
static struct {
	_Atomic(int64_t) ledger[WORKERS];
	_Atomic(uint64_t) calls;
	_Atomic(uint64_t) n_workers; /* that there have been */
	uint64_t seed;
} * shared;

static int init_shared(void *mem, void *arg)
{
	(void)mem;
	(void)arg;
	return 0;
}

static uint64_t n_blocks(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.n_blocks;
}

/* Words of one number, whose upper half is the key's: which value it is, and whose. */
static void fill_value(unsigned char *value, size_t len, uint32_t key, uint32_t number)
{
	const uint64_t word = (uint64_t)(key + 1) << 32 | number;

	for (size_t i = 0; i < len; i++)
		value[i] = (unsigned char)(word >> 8 * (i % 8));
}

static void assert_whole(const unsigned char *value, size_t len, uint32_t key)
{
	for (size_t i = 8; i < len; i++)
		t_check(value[i] == value[i - 8]);
	for (size_t i = 4; i < 8 && i < len; i++)
		t_check(value[i] == (unsigned char)((key + 1) >> 8 * (i - 4)));
}

static void work_once(uint64_t *random)
{
	unsigned char value[3000];
	uint32_t key = (uint32_t)(t_random(random) % KEYS);
	size_t len = t_random(random) % 16 ? t_random(random) % 150 : t_random(random) % 3000;
	struct mproc_any any;
	int r;

	fill_value(value, len, key, (uint32_t)t_random(random));
	switch (t_random(random) % 8) {
	case 0:
	case 1:
	case 2:
		t_check(mproc_dict_put(dict, &key, sizeof(key), value, len) >= 0);
		break;
	case 3:
		r = mproc_dict_remove(dict, &key, sizeof(key));
		t_check(r == 0 || r == -ENOENT);
		break;
	case 4:
		r = mproc_dict_pop(dict, &key, sizeof(key), &any, value, sizeof(value), &len);
		t_check(r == 0 || r == -ENOENT);
		if (r == 0)
			assert_whole(value, len, key);
		break;
	default:
		r = mproc_dict_get(dict, &key, sizeof(key), value, sizeof(value), &len);
		t_check(r == 0 || r == -ENOENT);
		if (r == 0)
			assert_whole(value, len, key);
	}
}

static void work(void *arg)
{
	const uintptr_t me = (uintptr_t)arg;
	uint64_t random = shared->seed + 77 * atomic_fetch_add(&shared->n_workers, 1);
	int64_t count;
	char key[16];

	snprintf(key, sizeof(key), "worker %u", (unsigned)me);
	/* What the one before us has done and not noted. */
	if (mproc_dict_get_int(dict, key, &count) == 0)
		shared->ledger[me] = count;
	for (;;) {
		t_check(mproc_dict_add_int(dict, key, strlen(key), 1, 0, &count) >= 0);
		t_check(count == shared->ledger[me] + 1);
		shared->ledger[me] = count;
		work_once(&random);
		atomic_fetch_add(&shared->calls, 2);
	}
}

static void assert_ledger(uintptr_t i)
{
	int64_t count = 0;
	char key[16];
	int r;

	snprintf(key, sizeof(key), "worker %u", (unsigned)i);
	r = mproc_dict_get_int(dict, key, &count);
	assert_true(r == 0 || (r == -ENOENT && !shared->ledger[i]));
	assert_in_range(count, shared->ledger[i], shared->ledger[i] + 1);
}

static void assert_all_is_there(void)
{
	struct mproc_dict_iter it = MPROC_DICT_ITER;
	unsigned char value[3000];
	struct mproc_any any;
	uint64_t blocks = 2; /* the dict, and the ledger */
	int64_t n = 0;
	size_t len;

	/* Who comes next finishes what the dead have left, stripe by stripe. */
	for (uint32_t i = 10000; i < 10400; i++)
		assert_int_equal(mproc_dict_remove(dict, &i, sizeof(i)), -ENOENT);
	assert_true(mproc__reap_all(segment->range) >= 0);
	while (mproc_dict_next(dict, &it, &any, value, sizeof(value), &len) == 1) {
		assert_int_equal(mproc_dict_contains(dict, it.key, it.key_len), 1);
		n++;
	}
	assert_int_equal(mproc_dict_len(dict), n);
	for (uint32_t i = 0; i < dict->geometry.n_stripes; i++) {
		blocks += atomic_load(&dict->shared->stripes[i].spare) != 0;
		for (uint32_t j = 0; j < MPROC__DICT_PARTS; j++)
			blocks += atomic_load(&dict->shared->stripes[i].parts[j]) != 0;
	}
	assert_int_equal(n_blocks(), blocks + (uint64_t)n);
}

static void storm(uint32_t n_stripes)
{
	int64_t end = mproc_after_ms(t_long() ? 60000 : 2000);
	uint64_t random = t_seed(), kills = 0;
	pid_t pids[WORKERS];
	void *mem;

	assert_int_equal(
		mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 16 << 20)), 0);
	assert_int_equal(
		mproc_segment_object(&mem, segment, "shared", sizeof(*shared), init_shared, NULL),
		1);
	shared = mem;
	shared->seed = random;
	assert_int_equal(
		mproc_dict_create(&dict, segment, "dict", MPROC_DICT_OPTS(.n_stripes = n_stripes)),
		0);
	for (uintptr_t i = 0; i < WORKERS; i++)
		pids[i] = t_spawn(work, (void *)i);
	while (mproc_now() < end) {
		uintptr_t i = t_random(&random) % WORKERS;

		usleep((useconds_t)(t_random(&random) % 5000));
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
		assert_ledger(i);
		kills++;
		pids[i] = t_spawn(work, (void *)i);
	}
	for (size_t i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
	for (uintptr_t i = 0; i < WORKERS; i++)
		assert_ledger(i);
	assert_all_is_there();
	print_message("# %" PRIu64 " kills in %" PRIu64 " calls\n", kills, (uint64_t)shared->calls);
	assert_int_equal(mproc_dict_destroy(dict), 0);
	assert_int_equal(n_blocks(), 1);
	dict = mproc_dict_close(dict);
	segment = mproc_segment_close(segment);
}

static void killed_workers_lose_nothing_in_one_stripe(void **state)
{
	(void)state;
	storm(1);
}

static void killed_workers_lose_nothing(void **state)
{
	(void)state;
	storm(16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_workers_lose_nothing_in_one_stripe),
		cmocka_unit_test(killed_workers_lose_nothing),
	};

	t_private_dir();
	return cmocka_run_group_tests_name("stress dict", tests, NULL, NULL);
}
