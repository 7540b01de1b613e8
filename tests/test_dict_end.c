/* SPDX-License-Identifier: MIT */

/*
 * The end of dicts and lists while somebody is inside a call on them: who waits, who
 * comes after one who died removing them, and who must not
 */

#include <mproc/dict.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/list.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/body.h"
#include "shm/dict.h"
#include "shm/list.h"
#include "tests/support/child.h"

#define LONG "a value that is so long that it has a block of its own, wherever it is put to"

static mproc_segment *segment;
static mproc_dict *dict;
static struct mproc__self *me;

static struct {
	_Atomic(uint32_t) inside, out;
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

	(void)state;
	assert_int_equal(
		mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 512 << 10)), 0);
	assert_int_equal(
		mproc_segment_object(&mem, segment, "shared", sizeof(*shared), init_shared, NULL),
		1);
	shared = mem;
	assert_int_equal(mproc_dict_create(&dict, segment, "dict", MPROC_DICT_OPTS(.n_stripes = 1)),
			 0);
	me = mproc__self(segment->arena, "test");
	assert_non_null(me);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dict = mproc_dict_close(dict);
	segment = mproc_segment_close(segment);
	return 0;
}

static uint64_t n_blocks(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.n_blocks;
}

/* From here on an allocation finds no room, and reaps. */
static void fill(void)
{
	uint64_t off;

	for (uint64_t len = 65536; len >= 64; len /= 2)
		while (mproc__arena_alloc(segment, me, len, false, &off) == 0)
			assert_int_equal(mproc__arena_publish(segment, me, off), 0);
}

static void remove_dict(void *arg)
{
	(void)arg;
	shared->inside = 1;
	t_check(mproc_dict_destroy(dict) == 0);
	shared->out = 1;
}

static void remove_list(void *arg)
{
	shared->inside = 1;
	t_check(mproc__object_remove(segment, &mproc__list_body(arg)->object) == 0);
	shared->out = 1;
}

static bool is_dict_gone(void *arg)
{
	(void)arg;
	return mproc__object_check(segment, &dict->object) < 0;
}

/* One who removes it, and waits for us, is killed. */
static void let_a_remover_die(void (*remover)(void *), void *arg, bool (*is_gone)(void *))
{
	pid_t pid = t_spawn(remover, arg);

	assert_true(t_wait_until(is_gone, arg, mproc_after_ms(10000)));
	usleep(20000);
	assert_int_equal(shared->out, 0);
	kill(pid, SIGKILL);
	assert_int_equal(t_reap(pid), SIGKILL);
}

static void who_reaps_in_the_middle_of_a_change_leaves_the_dict_he_changes(void **state)
{
	const struct mproc__dict_value value = { MPROC_ANY_BYTES, LONG, sizeof(LONG) };
	struct mproc__dict_call call;
	struct mproc__dict_spot spot;
	struct mproc__dict_key key;
	uint64_t node = 0, blocks;
	char name[16];

	(void)state;
	for (int i = 0; i < 50; i++) {
		int len = snprintf(name, sizeof(name), "%d", i);

		assert_int_equal(mproc_dict_put(dict, name, (size_t)len, LONG, sizeof(LONG)), 0);
	}
	fill();
	/* What mproc_dict_put() does before it allocates. */
	assert_int_equal(mproc__dict_key_make(dict, "new", 3, &key), 0);
	assert_int_equal(mproc__dict_enter(dict, &call), 0);
	assert_int_equal(mproc__dict_lock(&call, key.stripe, MPROC_FOREVER), 0);
	assert_int_equal(mproc__dict_seek(dict, &key, mproc__dict_version(key.stripe), &spot), 0);
	let_a_remover_die(remove_dict, NULL, is_dict_gone);
	blocks = n_blocks();
	assert_int_equal(mproc__dict_store(&call, &key, &spot, false, &value, &node), -ENOSPC);
	assert_int_equal(n_blocks(), blocks);
	assert_true(mproc__arena_len(segment, dict->object.off) >= dict->object.len);
	mproc__dict_unlock(&call, key.stripe);
	mproc__dict_leave(&call);
	/* Out of it, the same reaper frees it: the dict, 50 entries and their buckets. */
	assert_true(mproc__reap_all(segment->range) >= 0);
	assert_true(n_blocks() <= blocks - 52);
	assert_int_equal(mproc__arena_len(segment, dict->object.off), 0);
}

static bool is_list_gone(void *arg)
{
	const struct mproc__body *body = mproc__list_body(arg);

	return mproc__object_check(segment, &body->object) < 0;
}

static void who_reaps_in_the_middle_of_a_change_leaves_the_list_he_changes(void **state)
{
	struct mproc__body_block block;
	struct mproc__body_call call;
	struct mproc__body *body;
	mproc_list *list;
	uint64_t blocks, version;

	(void)state;
	assert_int_equal(mproc_list_create(&list, segment, "list", NULL), 0);
	for (int i = 0; i < 20; i++)
		assert_int_equal(mproc_list_append(list, LONG, MPROC_FOREVER), 0);
	body = mproc__list_body(list);
	fill();
	assert_int_equal(mproc__body_begin(&call, body, MPROC_FOREVER), 0);
	let_a_remover_die(remove_list, list, is_list_gone);
	blocks = n_blocks();
	version = mproc__body_version(body);
	assert_int_equal(mproc__body_alloc(&call, 4000, 0, &block), -ENOSPC);
	assert_int_equal(n_blocks(), blocks);
	assert_int_equal(mproc__body_version(body), version);
	assert_int_equal(mproc__body_end(&call, 0), 0);
	assert_true(mproc__reap_all(segment->range) >= 0);
	assert_true(n_blocks() <= blocks - 21);
	assert_int_equal(mproc__arena_len(segment, body->object.off), 0);
	list = mproc_list_close(list);
}

static void a_call_that_cannot_be_noted_is_refused(void **state)
{
	uint64_t acts[MPROC__ACTS];
	mproc_list *list;

	(void)state;
	assert_int_equal(mproc_list_create(&list, segment, "list", NULL), 0);
	for (size_t i = 0; i < MPROC__ACTS; i++)
		acts[i] = mproc__act_begin(me, 64 + i);
	assert_int_equal(mproc_dict_put(dict, "k", 1, "v", 1), -ELOOP);
	assert_string_equal(mproc_error_text(), "dict dict: called inside 3 other calls");
	assert_int_equal(mproc_dict_contains(dict, "k", 1), -ELOOP);
	assert_int_equal(mproc_list_append(list, 1, MPROC_FOREVER), -ELOOP);
	assert_int_equal(me->n_acts, MPROC__ACTS);
	mproc__act_end(me, acts[MPROC__ACTS - 1]);
	assert_int_equal(mproc_dict_put(dict, "k", 1, "v", 1), 0);
	mproc__act_end(me, acts[0]);
	list = mproc_list_close(list);
}

static void stay_inside(void *arg)
{
	struct mproc__dict_call call;

	(void)arg;
	t_check(mproc__dict_enter(dict, &call) == 0);
	shared->inside = 1;
	usleep(100000);
	shared->out = 1;
	mproc__dict_leave(&call);
}

static bool is_inside(void *arg)
{
	(void)arg;
	return shared->inside;
}

static void *destroy(void *arg)
{
	*(int *)arg = mproc_dict_destroy(dict);
	return NULL;
}

static void who_is_cancelled_while_he_removes_goes_through_with_it(void **state)
{
	pthread_t thread;
	int r = -1;
	pid_t pid;

	(void)state;
	pid = t_spawn(stay_inside, NULL);
	assert_true(t_wait_until(is_inside, NULL, mproc_after_ms(10000)));
	assert_int_equal(pthread_create(&thread, NULL, destroy, &r), 0);
	assert_true(t_wait_until(is_dict_gone, NULL, mproc_after_ms(10000)));
	assert_int_equal(pthread_cancel(thread), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(r, 0);
	assert_int_equal(shared->out, 1);
	assert_int_equal(mproc__arena_len(segment, dict->object.off), 0);
	assert_int_equal(t_reap(pid), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(who_reaps_in_the_middle_of_a_change_leaves_the_dict_he_changes),
		TEST(who_reaps_in_the_middle_of_a_change_leaves_the_list_he_changes),
		TEST(a_call_that_cannot_be_noted_is_refused),
		TEST(who_is_cancelled_while_he_removes_goes_through_with_it),
	};

	t_private_dir();
	return cmocka_run_group_tests_name("dict end", tests, NULL, NULL);
}
