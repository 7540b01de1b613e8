/* SPDX-License-Identifier: MIT */

/*
 * The end of dicts and lists while somebody is inside a call on them: who waits, who
 * comes after one who died removing them, and who must not; and who must not be the heir
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
#include <sys/mman.h>
#include <sys/resource.h>
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

/*
 * A process with few addresses, which has come before the segment had so much
 */

static struct {
	_Atomic(uint32_t) turn;
	_Atomic(uint64_t) reach;
	char key[16];
} * two;

static bool turn_is(void *arg)
{
	return atomic_load(&two->turn) >= *(uint32_t *)arg;
}

static void await(uint32_t turn)
{
	t_check(t_wait_until(turn_is, &turn, mproc_after_ms(20000)));
}

static void live_with_few_addresses(void *arg)
{
	struct rlimit limit = { .rlim_cur = 96 << 20, .rlim_max = 96 << 20 };
	mproc_segment *large;
	char key[16], buf[100];
	mproc_dict *d;
	int r;

	(void)arg;
	await(1);
	t_check(setrlimit(RLIMIT_AS, &limit) == 0);
	t_check(mproc_segment_open(&large, "large") == 0);
	t_check(mproc_dict_open(&d, large, "d") == 0);
	t_check(large->range->size < (96 << 20));
	atomic_store(&two->reach, large->range->size);
	atomic_store(&two->turn, 2);

	await(3);
	for (uint32_t i = 0; i < 60; i++) {
		snprintf(key, sizeof(key), "%u", i);
		r = mproc_dict_get(d, key, strlen(key), buf, sizeof(buf), NULL);
		t_check(r == -ENOMEM);
		t_check(strstr(mproc_error_text(), "no more addresses") != NULL);
		t_check(mproc_dict_contains(d, key, strlen(key)) == -ENOMEM);
	}
	/* We inherit the lock, and cannot say whether what was to be linked is. */
	t_check(mproc_dict_put(d, "k", 1, "v", 1) == -ENOMEM);
	t_check(mproc_dict_remove(d, two->key, strlen(two->key)) == -ENOMEM);
	t_check(mproc_dict_clear(d) == -ENOMEM);
	atomic_store(&two->turn, 4);

	await(5);
	t_check(mproc_dict_destroy(d) == 0);
	t_check(mproc_dict_put(d, "k", 1, "v", 1) == -ESTALE);
	atomic_store(&two->turn, 6);
	raise(SIGKILL);
}

static uint64_t alloc_published(uint64_t len)
{
	uint64_t off;

	assert_int_equal(mproc__arena_alloc(segment, me, len, false, &off), 0);
	assert_int_equal(mproc__arena_publish(segment, me, off), 0);
	return off;
}

/* A key whose place is behind an entry that the other does not see. */
static void choose_key(void)
{
	struct mproc__dict_spot spot;
	struct mproc__dict_key key;

	for (uint32_t i = 0;; i++) {
		snprintf(two->key, sizeof(two->key), "new %u", i);
		assert_int_equal(mproc__dict_key_make(dict, two->key, strlen(two->key), &key), 0);
		assert_int_equal(
			mproc__dict_seek(dict, &key, mproc__dict_version(key.stripe), &spot), 0);
		if (mproc__self_off(me, spot.link) > two->reach)
			return;
	}
}

/* As mproc_dict_put(), up to the store that links. */
static void die_behind_the_link(void *arg)
{
	const struct mproc__dict_value value = { MPROC_ANY_BYTES, LONG, sizeof(LONG) };
	struct mproc__dict_call call;
	struct mproc__dict_spot spot;
	struct mproc__dict_stripe *s;
	struct mproc__dict_key key;
	uint64_t off;

	(void)arg;
	t_check(mproc__dict_key_make(dict, two->key, strlen(two->key), &key) == 0);
	s = key.stripe;
	t_check(mproc__dict_enter(dict, &call) == 0);
	t_check(mproc__dict_lock(&call, s, MPROC_FOREVER) == 0);
	t_check(mproc__dict_seek(dict, &key, mproc__dict_version(s), &spot) == 0);
	t_check(mproc__dict_node_make(&call, &key, &value, &off) == 0);
	/* One that the other does see. */
	t_check(off < two->reach);
	mproc__dict_set(&((struct mproc__dict_node *)mproc__dict_block_at(dict, off, 64))->next,
			spot.off);
	atomic_store(&s->log[0].off, off);
	atomic_store(&s->log[0].generation, mproc__arena_generation_of(segment, off));
	atomic_store(&s->log[1].off, 0);
	atomic_store(&s->log[2].off, 0);
	atomic_store(&s->order, key.order);
	atomic_store(&s->was, atomic_load(&s->n_items));
	atomic_store(&s->busy, 1);
	t_check(mproc__arena_publish(segment, call.me, off) == 0);
	atomic_store(spot.link, off);
	raise(SIGKILL);
}

static void have_entries_beyond(uint64_t reach)
{
	char key[16];

	while (alloc_published(2 << 20) < reach)
		;
	while (alloc_published(128) < reach)
		;
	for (uint32_t i = 0; i < 60; i++) {
		snprintf(key, sizeof(key), "%u", i);
		assert_int_equal(mproc_dict_put(dict, key, strlen(key), LONG, sizeof(LONG)), 0);
	}
}

static void who_sees_too_little_leaves_it_to_others(void **state)
{
	char buf[100];
	uint64_t low, blocks;
	size_t len;
	pid_t pid;

	(void)state;
	if (t_sanitized()) {
		print_message("# left out: a sanitizer needs more addresses than there would be\n");
		return;
	}
	two = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(two, MAP_FAILED);
	pid = t_spawn(live_with_few_addresses, NULL);
	assert_int_equal(
		mproc_segment_create(&segment, "large",
				     MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .bytes_max = 1u << 30)),
		0);
	me = mproc__self(segment->arena, "test");
	assert_int_equal(mproc_dict_create(&dict, segment, "d",
					   MPROC_DICT_OPTS(.n_stripes = 1, .n_expected = 64)),
			 0);
	assert_int_equal(mproc_dict_put(dict, "first", 5, LONG, sizeof(LONG)), 0);
	low = alloc_published(128);
	atomic_store(&two->turn, 1);
	await(2);
	have_entries_beyond(two->reach);
	choose_key();
	assert_int_equal(mproc__arena_free(segment, me, low), 0);
	assert_int_equal(t_reap(t_spawn(die_behind_the_link, NULL)), SIGKILL);
	blocks = n_blocks();
	atomic_store(&two->turn, 3);

	await(4);
	assert_int_equal(n_blocks(), blocks);
	assert_int_equal(mproc_dict_get(dict, two->key, strlen(two->key), buf, sizeof(buf), &len),
			 0);
	assert_int_equal(len, sizeof(LONG));
	assert_int_equal(dict->shared->stripes[0].busy, 1);
	/* We see it all: the entry is there, and counts. */
	assert_int_equal(mproc_dict_remove(dict, "nobody", 6), -ENOENT);
	assert_int_equal(dict->shared->stripes[0].busy, 0);
	assert_int_equal(mproc_dict_len(dict), 62);
	assert_int_equal(mproc_dict_contains(dict, two->key, strlen(two->key)), 1);
	assert_int_equal(n_blocks(), blocks);

	atomic_store(&two->turn, 5);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_true(n_blocks() > blocks - 64);
	assert_true(mproc__reap_all(segment->range) >= 0);
	assert_int_equal(n_blocks(), blocks - 64);
	assert_int_equal(mproc__arena_len(segment, dict->object.off), 0);
	dict = mproc_dict_close(dict);
	segment = mproc_segment_close(segment);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(who_reaps_in_the_middle_of_a_change_leaves_the_dict_he_changes),
		TEST(who_reaps_in_the_middle_of_a_change_leaves_the_list_he_changes),
		TEST(a_call_that_cannot_be_noted_is_refused),
		TEST(who_is_cancelled_while_he_removes_goes_through_with_it),
		cmocka_unit_test(who_sees_too_little_leaves_it_to_others),
	};

	t_private_dir();
	return cmocka_run_group_tests_name("dict end", tests, NULL, NULL);
}
