/* SPDX-License-Identifier: MIT */

/*
 * mproc/segment.h: what is in a segment, told as structs; removing objects
 */

#include <mproc/mproc.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/participant.h"
#include "pipes/queue.h"
#include "shm/arena.h"
#include "shm/catalogue.h"
#include "shm/catalogue_layout.h"
#include "shm/segment.h"
#include "tests/support/child.h"
#include "tests/support/leaks.h"

#define SMALL MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .processes = 8, .threads = 16, .objects = 64)

static mproc_segment *seg;

static int setup(void **state)
{
	(void)state;
	t_leaks_begin();
	return mproc_segment_create(&seg, NULL, SMALL);
}

static int teardown(void **state)
{
	(void)state;
	mproc_segment_close(seg);
	t_leaks_end();
	return 0;
}

static struct mproc_segment_stats stats_of(mproc_segment *segment)
{
	struct mproc_segment_stats stats = MPROC_SEGMENT_STATS;

	assert_int_equal(mproc_segment_stats(segment, &stats), 0);
	return stats;
}

static mproc_value *value_in(mproc_segment *segment, const char *name)
{
	mproc_value *value;

	assert_int_equal(mproc_value_create(&value, segment, name,
					    MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t))),
			 0);
	return value;
}

/*
 * Numbers
 */

static void numbers_of_an_empty_segment(void **state)
{
	struct mproc_segment_stats s = stats_of(seg);

	(void)state;
	assert_int_equal(s.size, sizeof(s));
	assert_int_equal(s.id, seg->id);
	assert_int_equal(s.bytes, 1 << 20);
	assert_int_equal(s.bytes_max, 1 << 20);
	assert_int_equal(s.growths, 0);
	assert_int_equal(s.used, 0);
	assert_true(s.free > 900 << 10 && s.free < 1 << 20);
	assert_true(s.largest_free > 0 && s.largest_free <= s.free);
	assert_int_equal(s.blocks, 0);
	assert_int_equal(s.objects, 0);
	assert_int_equal(s.objects_max, 64);
	assert_int_equal(s.processes, 1);
	assert_int_equal(s.processes_max, 8);
	assert_int_equal(s.threads, 0);
	assert_int_equal(s.threads_max, 16);
	assert_int_equal(s.deaths + s.takeovers + s.heals + s.bytes_huge, 0);
}

static void numbers_follow_what_happens(void **state)
{
	struct mproc_segment_stats was = stats_of(seg), is;
	mproc_value *value = value_in(seg, "value");

	(void)state;
	is = stats_of(seg);
	assert_int_equal(is.objects, 1);
	assert_int_equal(is.blocks, 1);
	assert_int_equal(is.threads, 1);
	/* A page or two are tables of small blocks now. */
	assert_true(is.used + is.free <= was.free && is.used + is.free + 8192 >= was.free);
	assert_true(is.used >= 64);
	mproc_value_close(value);
	assert_int_equal(mproc_segment_remove(seg, "value"), 0);
	is = stats_of(seg);
	assert_int_equal(is.objects, 0);
	assert_int_equal(is.blocks, 0);
	assert_int_equal(is.used, 0);
}

struct hall {
	mproc_mutex mutex;
	_Atomic(uint32_t) ready;
};

static int hall_init(void *object, void *arg)
{
	(void)arg;
	return mproc_mutex_init(&((struct hall *)object)->mutex, 0);
}

static void lock_and_wait(void *arg)
{
	struct hall *hall = arg;

	t_check(mproc_mutex_lock(&hall->mutex, mproc_after_ms(20000)) >= 0);
	atomic_store(&hall->ready, 1);
	for (;;)
		pause();
}

static bool is_ready(void *arg)
{
	return atomic_load(&((struct hall *)arg)->ready);
}

static bool one_lives(void *arg)
{
	return stats_of(arg).processes == 1;
}

static void dead_are_not_counted_though_nobody_cleaned_up(void **state)
{
	struct mproc_segment_stats s;
	struct hall *hall;
	pid_t pid;

	(void)state;
	assert_int_equal(
		mproc_segment_object((void **)&hall, seg, "hall", sizeof(*hall), hall_init, NULL),
		1);
	pid = t_spawn(lock_and_wait, hall);
	assert_true(t_wait_until(is_ready, hall, mproc_after_ms(20000)));
	s = stats_of(seg);
	assert_int_equal(s.processes, 2);
	assert_int_equal(s.threads, 2);
	kill(pid, SIGKILL);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_true(t_wait_until(one_lives, seg, mproc_after_ms(20000)));
	s = stats_of(seg);
	assert_int_equal(s.threads, 1);
	assert_int_equal(s.deaths, 0);
	assert_int_equal(mproc_mutex_lock(&hall->mutex, mproc_after_ms(20000)),
			 MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc__reap_all(seg->range), 1);
	s = stats_of(seg);
	assert_int_equal(s.deaths, 1);
	assert_int_equal(s.takeovers, 1);
	assert_int_equal(s.heals, 0);
}

static void default_segment_is_meant_by_null(void *arg)
{
	struct mproc_segment_stats s = MPROC_SEGMENT_STATS;
	struct mproc_segment_iter it = MPROC_SEGMENT_ITER;
	struct mproc_segment_info info = MPROC_SEGMENT_INFO;

	(void)arg;
	t_check(mproc_segment_stats(NULL, &s) == 0);
	t_check(s.bytes == 16 << 20 && s.processes_max == 64);
	t_check(mproc_segment_next(NULL, &it, &info) == 0);
	t_check(mproc_segment_remove(NULL, "x") == -ENOENT);
}

static void null_is_the_default_segment(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(default_segment_is_meant_by_null, NULL)), 0);
}

static void older_and_newer_programs_get_what_they_know(void **state)
{
	struct {
		struct mproc_segment_stats known;
		uint64_t later[2];
	} newer = { .known.size = sizeof(newer), .later = { 7, 7 } };
	struct {
		size_t size;
		uint64_t id, bytes, guard;
	} older = { .size = 24, .guard = 7 };
	struct mproc_segment_stats untouched = { .size = 7, .id = 7 };
	struct mproc_segment_iter it = MPROC_SEGMENT_ITER;
	struct mproc_segment_info info = { .size = 0 };

	(void)state;
	assert_int_equal(mproc_segment_stats(seg, &newer.known), 0);
	assert_int_equal(newer.known.size, sizeof(newer));
	assert_int_equal(newer.known.bytes, 1 << 20);
	assert_int_equal(newer.later[0] | newer.later[1], 0);
	assert_int_equal(mproc_segment_stats(seg, (void *)&older), 0);
	assert_int_equal(older.size, 24);
	assert_int_equal(older.bytes, 1 << 20);
	assert_int_equal(older.guard, 7);
	assert_int_equal(mproc_segment_stats(seg, &untouched), -EINVAL);
	assert_int_equal(untouched.id, 7);
	assert_int_equal(mproc_segment_next(seg, &it, &info), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "0 bytes"));
}

/*
 * Objects
 */

static void objects_are_told_with_all_that_is_known(void **state)
{
	struct mproc_segment_iter it = MPROC_SEGMENT_ITER;
	struct mproc_segment_info info = MPROC_SEGMENT_INFO;
	int64_t now = (int64_t)time(NULL) * 1000000000;
	mproc_value *named = value_in(seg, "named"), *anonymous = value_in(seg, NULL);
	unsigned n_named = 0, n_anonymous = 0;
	mproc_queue *queue;
	void *block;
	int r;

	(void)state;
	assert_int_equal(mproc_segment_object(&block, seg, "block", 100, NULL, NULL), 1);
	assert_int_equal(mproc_queue_create(&queue, seg, "queue", NULL), 0);
	while ((r = mproc_segment_next(seg, &it, &info)) > 0) {
		int64_t apart = info.since - now;

		assert_int_equal(info.ref.segment, seg->id);
		assert_true(apart > INT64_C(-60000000000) && apart < INT64_C(60000000000));
		if (!strcmp(info.name, "named")) {
			assert_int_equal(info.kind, MPROC_OBJECT_VALUE);
			assert_string_equal(info.kind_name, "value");
			n_named++;
		} else if (!strcmp(info.name, "block")) {
			assert_int_equal(info.kind, MPROC_OBJECT_BLOCK);
			assert_int_equal(info.bytes, 100);
			n_named++;
		} else if (!strcmp(info.name, "queue")) {
			assert_int_equal(info.kind, MPROC_OBJECT_QUEUE);
			n_named++;
		} else {
			assert_string_equal(info.name, "");
			assert_int_equal(info.kind, MPROC_OBJECT_VALUE);
			n_anonymous++;
		}
	}
	assert_int_equal(r, 0);
	assert_int_equal(n_named, 3);
	assert_int_equal(n_anonymous, 1);
	/* At the end it stays. */
	assert_int_equal(mproc_segment_next(seg, &it, &info), 0);
	mproc_value_close(named);
	mproc_value_close(anonymous);
	mproc_queue_close(queue);
}

#define KEPT 20

static void come_and_go(void *arg)
{
	char name[32];

	for (uint64_t i = 0;; i++) {
		mproc_segment *segment = arg;
		void *block;

		snprintf(name, sizeof(name), "fleeting %d %d", (int)getpid(), (int)(i % 7));
		t_check(mproc_segment_object(&block, segment, name, 64, NULL, NULL) == 1);
		t_check(mproc_segment_remove(segment, name) == 0);
	}
}

static void what_is_there_all_the_time_is_met_once_while_others_come_and_go(void **state)
{
	unsigned rounds = 0;
	uint64_t met = 0;
	char name[32];
	pid_t pids[2];
	int64_t stop;

	(void)state;
	for (int i = 0; i < KEPT; i++) {
		void *block;

		snprintf(name, sizeof(name), "kept %d", i);
		assert_int_equal(mproc_segment_object(&block, seg, name, 64, NULL, NULL), 1);
	}
	for (int i = 0; i < 2; i++)
		pids[i] = t_spawn(come_and_go, seg);
	for (stop = mproc_after_ms(t_long() ? 20000 : 1000); mproc_now() < stop; rounds++) {
		struct mproc_segment_iter it = MPROC_SEGMENT_ITER;
		struct mproc_segment_info info = MPROC_SEGMENT_INFO;
		unsigned n[KEPT] = { 0 };
		int which, end;

		while (mproc_segment_next(seg, &it, &info) > 0) {
			assert_int_equal(info.kind, MPROC_OBJECT_BLOCK);
			assert_int_equal(info.bytes, 64);
			end = 0;
			if (sscanf(info.name, "kept %d%n", &which, &end) == 1) {
				assert_int_equal(info.name[end], 0);
				assert_in_range(which, 0, KEPT - 1);
				n[which]++;
				continue;
			}
			/* A whole name, not of two. */
			assert_int_equal(sscanf(info.name, "fleeting %*d %d%n", &which, &end), 1);
			assert_int_equal(info.name[end], 0);
			met++;
		}
		for (int i = 0; i < KEPT; i++)
			assert_int_equal(n[i], 1);
	}
	for (int i = 0; i < 2; i++) {
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
	print_message("# %u rounds, %llu fleeting objects met\n", rounds, (unsigned long long)met);
	assert_true(rounds > 10 && met > 0);
}

static void scribbled_entries_are_told_without_harm(void **state)
{
	struct mproc_segment_iter it = MPROC_SEGMENT_ITER;
	struct mproc_segment_info info = MPROC_SEGMENT_INFO;
	struct mproc__entry *entry = NULL;
	void *block;

	(void)state;
	assert_int_equal(mproc_segment_object(&block, seg, "block", 64, NULL, NULL), 1);
	assert_int_equal(mproc_segment_next(seg, &it, &info), 1);
	entry = &seg->catalogue->entries[it.at - 1];
	memset((void *)entry->name, 'x', sizeof(entry->name));
	atomic_store(&entry->kind, 4711);
	atomic_store(&entry->len, UINT64_MAX);
	it.at = 0;
	assert_int_equal(mproc_segment_next(seg, &it, &info), 1);
	assert_int_equal(strlen(info.name), 63);
	assert_string_equal(info.kind_name, "unknown");
	assert_int_equal(info.kind, 4711);
	it.at = UINT64_MAX;
	assert_int_equal(mproc_segment_next(seg, &it, &info), 0);
	assert_int_equal(mproc_segment_remove(seg, "block"), -ENOENT);
}

static void removed_object_is_gone_for_name_and_reference(void **state)
{
	struct mproc__object_spec spec = { .what = "value", .kind = MPROC__KIND_VALUE };
	struct mproc_segment_iter it = MPROC_SEGMENT_ITER;
	struct mproc_segment_info info = MPROC_SEGMENT_INFO;
	struct mproc__object object;
	mproc_value *value = value_in(seg, "v"), *other;

	(void)state;
	assert_int_equal(mproc_segment_next(seg, &it, &info), 1);
	spec.type = atomic_load(&seg->catalogue->entries[it.at - 1].type);
	assert_int_equal(mproc__object_open_ref(&object, seg, &spec, &info.ref), 0);
	assert_int_equal(mproc_segment_remove(seg, "v"), 0);
	assert_int_equal(mproc__object_open_ref(&object, seg, &spec, &info.ref), -ESTALE);
	assert_int_equal(mproc_value_open(&other, seg, "v", MPROC_TYPE(int64_t)), -ENOENT);
	assert_int_equal(mproc_segment_remove(seg, "v"), -ENOENT);
	assert_non_null(strstr(mproc_error_text(), "remove v: there is none"));
	mproc_value_close(value);
	/* The name is free, and the next one is another. */
	other = value_in(seg, "v");
	assert_int_equal(mproc__object_open_ref(&object, seg, &spec, &info.ref), -ESTALE);
	mproc_value_close(other);
}

static void fill_containers(void)
{
	char text[300] = { 0 };
	mproc_ringlog *log;
	mproc_namespace *ns;
	mproc_string *string;
	mproc_list *list;
	mproc_dict *dict;

	memset(text, 'x', sizeof(text) - 1);
	assert_int_equal(mproc_dict_create(&dict, seg, "dict", NULL), 0);
	assert_int_equal(mproc_list_create(&list, seg, "list", NULL), 0);
	assert_int_equal(mproc_string_create(&string, seg, "string", NULL), 0);
	assert_int_equal(mproc_namespace_create(&ns, seg, "ns"), 0);
	assert_int_equal(mproc_ringlog_create(&log, seg, "log", NULL), 0);
	for (int i = 0; i < 100; i++) {
		const struct mproc_any any = mproc_any_str(text + i);

		assert_int_equal(mproc_dict_put(dict, &i, sizeof(i), text, sizeof(text)), 0);
		assert_int_equal((mproc_list_append)(list, &any, MPROC_FOREVER), 0);
		assert_int_equal(mproc_string_append(string, text, 50, MPROC_FOREVER), 0);
		assert_true(mproc_namespace_set(ns, i % 2 ? "odd" : "even", &any) >= 0);
	}
	mproc_ringlog_close(log);
	mproc_dict_close(dict);
	mproc_list_close(list);
	mproc_string_close(string);
	mproc_namespace_close(ns);
}

/* One message was put by somebody who is dead, and whom nobody has looked after yet. */
static void put_and_die(void *arg)
{
	char msg[5000] = { 1 };

	t_check(mproc_queue_put(arg, msg, sizeof(msg), MPROC_NOWAIT) == 0);
	raise(SIGKILL);
}

static void removed_object_gives_back_all_it_has(void **state)
{
	static const char *const names[] = { "v", "dict", "list", "string", "ns", "log", "queue" };
	char msg[5000] = { 2 };
	mproc_queue *queue;
	uint64_t used;

	(void)state;
	used = stats_of(seg).used;
	mproc_value_close(value_in(seg, "v"));
	fill_containers();
	assert_int_equal(mproc_queue_create(&queue, seg, "queue", NULL), 0);
	assert_int_equal(mproc_queue_put(queue, "m", 1, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_queue_put(queue, msg, sizeof(msg), MPROC_NOWAIT), 0);
	assert_int_equal(t_reap(t_spawn(put_and_die, queue)), SIGKILL);
	mproc_queue_close(queue);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(mproc_segment_remove(seg, names[i]), 0);
		assert_int_equal(mproc_segment_remove(seg, names[i]), -ENOENT);
	}
	assert_true(mproc__reap_all(seg->range) >= 0);
	assert_int_equal(stats_of(seg).used, used);
	assert_int_equal(mproc_segment_remove(seg, ""), -EINVAL);
}

static void get_until_it_is_gone(void *arg)
{
	char msg[8];

	t_check(mproc_queue_get(arg, msg, sizeof(msg), NULL, MPROC_FOREVER) == -EPIPE);
}

static void who_sleeps_at_a_removed_queue_wakes_up(void **state)
{
	mproc_queue *queue;
	pid_t pid;

	(void)state;
	assert_int_equal(mproc_queue_create(&queue, seg, "queue", NULL), 0);
	pid = t_spawn(get_until_it_is_gone, queue);
	while (!atomic_load(&queue->shared->n_get_waits))
		usleep(1000);
	usleep(20000);
	assert_int_equal(mproc_segment_remove(seg, "queue"), 0);
	assert_int_equal(t_reap(pid), 0);
	mproc_queue_close(queue);
}

static void make_pool_and_die(void *arg)
{
	mproc_pool *pool;

	t_check(mproc_pool_create(&pool, arg, "pool",
				  MPROC_POOL_OPTS(.workers = 2, .tasks = 4, .task_max = 256)) == 0);
	raise(SIGKILL);
}

static void pool_is_removed_when_its_process_is_dead(void **state)
{
	uint64_t used = stats_of(seg).used;
	mproc_pool *pool;
	int r;

	(void)state;
	assert_int_equal(
		mproc_pool_create(&pool, seg, "pool",
				  MPROC_POOL_OPTS(.workers = 2, .tasks = 4, .task_max = 256)),
		0);
	assert_int_equal(mproc_segment_remove(seg, "pool"), -EBUSY);
	assert_non_null(strstr(mproc_error_text(), "remove pool: it is the pool of process"));
	assert_non_null(strstr(mproc_error_text(), "which lives"));
	mproc_pool_close(pool);
	assert_int_equal(stats_of(seg).used, used);
	assert_int_equal(t_reap(t_spawn(make_pool_and_die, seg)), SIGKILL);
	do {
		usleep(1000);
		r = mproc_segment_remove(seg, "pool");
	} while (r == -EBUSY);
	/* Or somebody has looked after the dead in between. */
	assert_true(r == 0 || r == -ENOENT);
	while (mproc__reap_all(seg->range) > 0)
		usleep(1000);
	assert_int_equal(stats_of(seg).used, used);
}

static void numbers_and_objects_can_be_had_by_who_only_reads(void **state)
{
	struct mproc_segment_iter it = MPROC_SEGMENT_ITER;
	struct mproc_segment_info info = MPROC_SEGMENT_INFO;
	struct mproc_segment_stats a, b;
	mproc_segment *reader;
	void *block;
	int fd;

	(void)state;
	assert_int_equal(mproc_segment_object(&block, seg, "block", 64, NULL, NULL), 1);
	fd = mproc_segment_fd(seg);
	assert_int_equal(
		mproc_segment_attach(
			&reader,
			MPROC_SEGMENT_ATTACH_OPTS(.fd = fd, .flags = MPROC_SEGMENT_READ_ONLY)),
		0);
	close(fd);
	a = stats_of(seg);
	b = stats_of(reader);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(mproc_segment_next(reader, &it, &info), 1);
	assert_string_equal(info.name, "block");
	assert_int_equal(mproc_segment_next(reader, &it, &info), 0);
	assert_int_equal(mproc_segment_remove(reader, "block"), -EROFS);
	mproc_segment_close(reader);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(numbers_of_an_empty_segment),
		TEST(numbers_follow_what_happens),
		TEST(dead_are_not_counted_though_nobody_cleaned_up),
		TEST(null_is_the_default_segment),
		TEST(older_and_newer_programs_get_what_they_know),
		TEST(objects_are_told_with_all_that_is_known),
		TEST(what_is_there_all_the_time_is_met_once_while_others_come_and_go),
		TEST(scribbled_entries_are_told_without_harm),
		TEST(removed_object_is_gone_for_name_and_reference),
		TEST(removed_object_gives_back_all_it_has),
		TEST(who_sleeps_at_a_removed_queue_wakes_up),
		TEST(pool_is_removed_when_its_process_is_dead),
		TEST(numbers_and_objects_can_be_had_by_who_only_reads),
	};

	t_private_dir();
	return cmocka_run_group_tests_name("segment_stats", tests, NULL, NULL);
}
