/* SPDX-License-Identifier: MIT */

/*
 * mproc/segment.h: a segment that is only looked at
 *
 * Every function that takes something in a segment is called with what lies in one
 * that is mapped for reading; what has blocks of its own is in test_segment_reader.c.
 */

#include <mproc/mproc.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/kind_layout.h"
#include "ipc/participant.h"
#include "shm/catalogue.h"
#include "shm/segment.h"
#include "tests/support/child.h"
#include "tests/support/leaks.h"

#define OPTS \
	MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .processes = 8, .threads = 16, .objects = 16, \
			   .flags = MPROC_SEGMENT_LOCK_ORDER)

struct record {
	char text[40];
};

/* One of each that lies in a program's own memory. */
struct room {
	mproc_mutex mutex;
	mproc_rmutex rmutex;
	mproc_event event;
	mproc_rwlock rwlock;
	mproc_condition condition;
	mproc_once once;
	mproc_latch latch;
	MPROC_BARRIER_WITH(2) barrier;
	mproc_semaphore signals;
	_Alignas(64) unsigned char permits[512];
	_Alignas(64) unsigned char leases[512];
};

/* Found through the read-only handle, what is written to as well. */
static mproc_segment *seg, *writable;
static struct room *room;
static mproc_value *value, *record;
static mproc_array *array, *text;
static struct mproc_ref value_ref, array_ref;
static mproc_queue *queue;

#define PERMITS ((mproc_semaphore *)(void *)room->permits)
#define LEASES  ((mproc_semaphore *)(void *)room->leases)

static int room_init(void *object, void *arg)
{
	struct room *r = object;
	mproc_semaphore *permits = (void *)r->permits, *leases = (void *)r->leases;

	(void)arg;
	if (mproc_mutex_init(&r->mutex, 0) < 0 || mproc_rmutex_init(&r->rmutex, 0) < 0 ||
	    mproc_event_init(&r->event, 0) < 0 || mproc_rwlock_init(&r->rwlock, 0) < 0 ||
	    mproc_condition_init(&r->condition, 0) < 0 || mproc_once_init(&r->once, 0) < 0 ||
	    mproc_latch_init(&r->latch, 3) < 0 ||
	    mproc_barrier_init(&r->barrier.barrier, 2, 0) < 0 ||
	    mproc_semaphore_init(&r->signals, MPROC_SEMAPHORE_SIGNALS, 5, NULL) < 0 ||
	    mproc_semaphore_init(permits, MPROC_SEMAPHORE_PERMITS, 4, NULL) < 0 ||
	    mproc_semaphore_init(leases, MPROC_SEMAPHORE_LEASES, 2,
				 MPROC_SEMAPHORE_OPTS(.leases = 4)) < 0)
		return -EIO;
	return 0;
}

static void make_all(void)
{
	const struct record init = { "thirty-nine characters and no more" };
	mproc_value *v;
	mproc_array *a;
	mproc_queue *q;
	void *mem;

	assert_int_equal(mproc_segment_create(&writable, "ro", OPTS), 0);
	assert_int_equal(
		mproc_segment_object(&mem, writable, "room", sizeof(struct room), room_init, NULL),
		1);
	assert_int_equal(mproc_value_create(&v, writable, "value",
					    MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t),
							     .init = &(int64_t){ 7 })),
			 0);
	mproc_value_close(v);
	assert_int_equal(mproc_value_create(&v, writable, "record",
					    MPROC_VALUE_OPTS(.type = MPROC_TYPE(struct record),
							     .init = &init)),
			 0);
	mproc_value_close(v);
	assert_int_equal(
		mproc_array_create(&a, writable, "array",
				   MPROC_ARRAY_OPTS(.type = MPROC_TYPE(int), .n_items = 4,
						    .init = ((const int[]){ 1, 2, 3, 4 }))),
		0);
	mproc_array_close(a);
	assert_int_equal(
		mproc_array_create(&a, writable, "text",
				   MPROC_ARRAY_OPTS(.type = MPROC_TYPE(char), .n_items = 16)),
		0);
	mproc_array_close(a);
	assert_int_equal(mproc_queue_create(&q, writable, "queue", NULL), 0);
	assert_int_equal(mproc_queue_put(q, "m", 1, MPROC_NOWAIT), 0);
	mproc_queue_close(q);
}

static void find_all(void)
{
	void *mem;

	assert_int_equal(mproc_segment_attach(
				 &seg, MPROC_SEGMENT_ATTACH_OPTS(.name = "ro",
								 .flags = MPROC_SEGMENT_READ_ONLY)),
			 0);
	assert_ptr_not_equal(seg, writable);
	assert_int_equal(mproc_segment_object(&mem, seg, "room", sizeof(struct room), NULL, NULL),
			 0);
	room = mem;
	assert_int_equal(mproc_value_open(&value, seg, "value", MPROC_TYPE(int64_t)), 0);
	assert_int_equal(mproc_value_open(&record, seg, "record", MPROC_TYPE(struct record)), 0);
	assert_int_equal(mproc_array_open(&array, seg, "array", MPROC_TYPE(int)), 0);
	assert_int_equal(mproc_array_open(&text, seg, "text", MPROC_TYPE(char)), 0);
	assert_int_equal(mproc_queue_open(&queue, seg, "queue"), 0);
	assert_int_equal(mproc_value_ref(value, &value_ref), 0);
	assert_int_equal(mproc_array_ref(array, &array_ref), 0);
}

static int setup(void **state)
{
	(void)state;
	t_leaks_begin();
	make_all();
	find_all();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mproc_value_close(value);
	mproc_value_close(record);
	mproc_array_close(array);
	mproc_array_close(text);
	mproc_queue_close(queue);
	mproc_segment_close(seg);
	mproc_segment_close(writable);
	t_leaks_end();
	return 0;
}

/*
 * The calls
 */

static int one(void *arg)
{
	(void)arg;
	return 1;
}

static void told_cycle(const struct mproc_deadlock *cycle, void *arg)
{
	(void)cycle;
	(void)arg;
}

static void told_pair(const struct mproc_deadlock_pair *pair, void *arg)
{
	(void)pair;
	(void)arg;
}

/* Where results go. */
static struct mproc_mutex_owner owner;
static struct mproc_semaphore_holder holder;
static struct mproc_queue_stats queue_stats;
static struct iovec iov[2];
static int ints[4];
static int64_t number;
static char bytes[64];
static size_t len;
static struct mproc_ref a_ref;
static mproc_value *new_value;
static mproc_array *new_array;
static mproc_queue *new_queue;
static mproc_pool *new_pool;
static void *object;
static struct mproc_segment_stats stats = MPROC_SEGMENT_STATS;
static struct mproc_segment_iter it = MPROC_SEGMENT_ITER;
static struct mproc_segment_info info = MPROC_SEGMENT_INFO;

#define T     (mproc_after_ms(20000))
#define I64   MPROC_TYPE(int64_t)
#define INT   MPROC_TYPE(int)
#define V_NEW MPROC_VALUE_OPTS(.type = I64)
#define A_NEW MPROC_ARRAY_OPTS(.type = INT, .n_items = 4)

#define R -EROFS
#define CALLS(X, Q, V, E) \
	X(R, mproc_mutex_init, &room->mutex, 0) \
	V(mproc_mutex_destroy, &room->mutex) \
	X(R, mproc_mutex_lock, &room->mutex, T) \
	X(R, mproc_mutex_unlock, &room->mutex) \
	X(R, mproc_mutex_consistent, &room->mutex) \
	X(R, mproc_mutex_is_locked, &room->mutex) \
	X(R, mproc_mutex_owner, &room->mutex, &owner) \
	X(R, mproc_rmutex_init, &room->rmutex, 0) \
	V(mproc_rmutex_destroy, &room->rmutex) \
	X(R, mproc_rmutex_lock, &room->rmutex, T) \
	X(R, mproc_rmutex_unlock, &room->rmutex) \
	X(R, mproc_rmutex_consistent, &room->rmutex) \
	X(R, mproc_rmutex_is_locked, &room->rmutex) \
	X(R, mproc_rmutex_depth, &room->rmutex) \
	X(R, mproc_rmutex_owner, &room->rmutex, &owner) \
	X(R, mproc_event_init, &room->event, 0) \
	V(mproc_event_destroy, &room->event) \
	Q(R, mproc_event_set, &room->event) \
	X(R, mproc_event_clear, &room->event) \
	X(0, mproc_event_is_set, &room->event) \
	X(R, mproc_event_wait, &room->event, T) \
	X(R, mproc_rwlock_init, &room->rwlock, 0) \
	V(mproc_rwlock_destroy, &room->rwlock) \
	X(R, mproc_rwlock_read_lock, &room->rwlock, T) \
	X(R, mproc_rwlock_write_lock, &room->rwlock, T) \
	X(R, mproc_rwlock_unlock, &room->rwlock) \
	X(R, mproc_rwlock_consistent, &room->rwlock) \
	X(R, mproc_condition_init, &room->condition, 0) \
	V(mproc_condition_destroy, &room->condition) \
	X(R, mproc_condition_wait, &room->condition, &room->mutex, T) \
	X(R, mproc_condition_wait_for, &room->condition, &room->mutex, one, NULL, T) \
	X(R, mproc_condition_notify, &room->condition, 1) \
	X(R, mproc_condition_notify_all, &room->condition) \
	X(R, mproc_once_init, &room->once, 0) \
	V(mproc_once_destroy, &room->once) \
	X(R, mproc_once_run, &room->once, one, NULL, T) \
	X(0, mproc_once_is_done, &room->once) \
	X(R, mproc_latch_init, &room->latch, 1) \
	V(mproc_latch_destroy, &room->latch) \
	Q(R, mproc_latch_count_down, &room->latch, 1) \
	X(3, mproc_latch_count, &room->latch) \
	X(R, mproc_latch_wait, &room->latch, T) \
	X(64, mproc_barrier_size, 2) \
	X(R, mproc_barrier_init, &room->barrier.barrier, 2, 0) \
	V(mproc_barrier_destroy, &room->barrier.barrier) \
	X(R, mproc_barrier_wait, &room->barrier.barrier, NULL, NULL, T) \
	X(R, mproc_barrier_join, &room->barrier.barrier) \
	X(R, mproc_barrier_leave, &room->barrier.barrier) \
	X(R, mproc_barrier_abort, &room->barrier.barrier) \
	X(R, mproc_barrier_reset, &room->barrier.barrier) \
	X(R, mproc_barrier_n_parties, &room->barrier.barrier) \
	X(R, mproc_barrier_n_waiting, &room->barrier.barrier) \
	X(R, mproc_barrier_is_broken, &room->barrier.barrier) \
	X(40, mproc_semaphore_size, MPROC_SEMAPHORE_SIGNALS, 0) \
	X(R, mproc_semaphore_init, &room->signals, MPROC_SEMAPHORE_SIGNALS, 1, NULL) \
	V(mproc_semaphore_destroy, &room->signals) \
	X(R, mproc_semaphore_acquire, &room->signals, T) \
	X(R, mproc_semaphore_acquire, PERMITS, T) \
	X(R, mproc_semaphore_acquire, LEASES, T) \
	Q(R, mproc_semaphore_release, &room->signals, 1) \
	X(R, mproc_semaphore_release, PERMITS, 1) \
	Q(R, mproc_semaphore_release, LEASES, 1) \
	X(R, mproc_semaphore_ack, LEASES) \
	X(R, mproc_semaphore_value, &room->signals) \
	X(R, mproc_semaphore_holders, PERMITS, &holder, 1) \
	X(R, mproc_value_create, &new_value, seg, "new", V_NEW) \
	X(R, mproc_value_create, &new_value, seg, NULL, V_NEW) \
	X(0, mproc_value_open, &new_value, seg, "value", I64) \
	X(-ENOENT, mproc_value_open, &new_value, seg, "new", I64) \
	X(0, mproc_value_open_or_create, &new_value, seg, "value", V_NEW) \
	X(R, mproc_value_open_or_create, &new_value, seg, "new", V_NEW) \
	X(R, mproc_value_lock, value, T) \
	X(R, mproc_value_unlock, value) \
	X(R, mproc_value_consistent, value) \
	X(R, (mproc_value_get), value, I64, &number, T) \
	X(R, (mproc_value_set), value, I64, &number, T) \
	X(R, (mproc_value_set), record, MPROC_TYPE(struct record), bytes, T) \
	X(0, (mproc_value_load), value, I64, &number) \
	X(R, (mproc_value_store), value, I64, &number) \
	X(R, (mproc_value_cas), value, I64, &number, &number) \
	X(R, (mproc_value_xchg), value, I64, &number, &number) \
	X(R, (mproc_value_add), value, I64, &number, NULL) \
	X(R, (mproc_value_and), value, I64, &number, NULL) \
	X(R, (mproc_value_or), value, I64, &number, NULL) \
	X(R, (mproc_value_min), value, I64, &number, NULL) \
	X(R, (mproc_value_max), value, I64, &number, NULL) \
	X(R, (mproc_value_wait), value, I64, &number, T) \
	X(0, mproc_value_ref, value, &a_ref) \
	X(0, mproc_value_open_ref, &new_value, seg, &value_ref, I64) \
	E(1, mproc_value_ptr, mproc_value_ptr(value, I64) != NULL) \
	V(mproc_value_notify, value) \
	E(0, mproc_value_close, mproc_value_close(value) != NULL) \
	X(R, mproc_array_create, &new_array, seg, "new", A_NEW) \
	X(0, mproc_array_open, &new_array, seg, "array", INT) \
	X(0, mproc_array_open_or_create, &new_array, seg, "array", A_NEW) \
	X(R, mproc_array_open_or_create, &new_array, seg, "new", A_NEW) \
	X(4, mproc_array_n_items, array) \
	X(R, mproc_array_lock, array, T) \
	X(R, mproc_array_unlock, array) \
	X(R, mproc_array_consistent, array) \
	X(R, (mproc_array_get), array, INT, 1, ints, T) \
	X(R, (mproc_array_set), array, INT, 1, ints, T) \
	X(R, (mproc_array_copy_out), array, INT, 0, 4, ints, T) \
	X(R, (mproc_array_copy_in), array, INT, 0, 4, ints, T) \
	X(0, (mproc_array_load), array, INT, 1, ints) \
	X(R, (mproc_array_store), array, INT, 1, ints) \
	X(R, (mproc_array_cas), array, INT, 1, ints, ints) \
	X(R, (mproc_array_xchg), array, INT, 1, ints, ints) \
	X(R, (mproc_array_add), array, INT, 1, ints, NULL) \
	X(R, (mproc_array_and), array, INT, 1, ints, NULL) \
	X(R, (mproc_array_or), array, INT, 1, ints, NULL) \
	X(R, (mproc_array_min), array, INT, 1, ints, NULL) \
	X(R, (mproc_array_max), array, INT, 1, ints, NULL) \
	X(0, mproc_array_ref, array, &a_ref) \
	X(0, mproc_array_open_ref, &new_array, seg, &array_ref, INT) \
	E(1, mproc_array_ptr, mproc_array_ptr(array, INT, 0) != NULL) \
	X(1, mproc_array_n_dims, array, NULL) \
	X(R, (mproc_array_wait), array, INT, 0, ints, T) \
	X(R, (mproc_array_wait_any), array, INT, 0, 4, ints, T) \
	X(R, mproc_array_get_text, text, bytes, sizeof(bytes), &len, T) \
	X(R, mproc_array_set_text, text, "text", 4, T) \
	V(mproc_array_notify, array) \
	E(0, mproc_array_close, mproc_array_close(array) != NULL) \
	X(R, mproc_queue_create, &new_queue, seg, "new", NULL) \
	X(0, mproc_queue_open, &new_queue, seg, "queue") \
	X(0, mproc_queue_open_or_create, &new_queue, seg, "queue", NULL) \
	X(R, mproc_queue_open_or_create, &new_queue, seg, "new", NULL) \
	X(R, mproc_queue_put, queue, "x", 1, T) \
	X(R, mproc_queue_get, queue, bytes, sizeof(bytes), &len, T) \
	X(R, mproc_queue_put_many, queue, iov, 1, T) \
	X(R, mproc_queue_get_many, queue, bytes, sizeof(bytes), iov, 2, T) \
	X(R, mproc_queue_next_len, queue, &len, T) \
	X(R, mproc_queue_shutdown, queue) \
	X(0, mproc_queue_is_shutdown, queue) \
	X(1, mproc_queue_n_messages, queue) \
	X(0, mproc_queue_is_empty, queue) \
	X(0, mproc_queue_is_full, queue) \
	V(mproc_queue_stats, queue, &queue_stats, sizeof(queue_stats)) \
	V(mproc_queue_close, queue) \
	X(R, mproc_pool_create, &new_pool, seg, "new", NULL) \
	X(R, mproc_pool_create, &new_pool, seg, NULL, NULL) \
	X(0, mproc_segment_object, &object, seg, "room", sizeof(struct room), NULL, NULL) \
	X(R, mproc_segment_object, &object, seg, "new", 8, NULL, NULL) \
	X(R, mproc_segment_object, &object, seg, "new", 8, room_init, NULL) \
	X(0, mproc_segment_stats, seg, &stats) \
	X(1, mproc_segment_next, seg, &it, &info) \
	X(R, mproc_segment_remove, seg, "value") \
	X(R, mproc_segment_remove, seg, "new") \
	X(R, mproc_segment_grow, seg, 2 << 20) \
	X(0, mproc_segment_sync, seg) \
	X(0, mproc_deadlock_check, seg, told_cycle, NULL) \
	X(0, mproc_deadlock_order, seg, told_pair, NULL, NULL)

#include "tests/support/read_only.h"

static void no_call_writes_and_all_say_so(void **state)
{
	(void)state;
	run_all(writable->catalogue, 1 << 20 >> 1);
}

static void every_function_has_been_called(void **state)
{
	static const char *const rooms[] = { "array",  "barrier", "condition", "event",
					     "latch",  "mutex",   "once",      "queue",
					     "rmutex", "rwlock",  "semaphore", "value",
					     NULL };

	(void)state;
	assert_true(check_rows(rooms) > 100);
}

static void what_needs_no_identity_works(void **state)
{
	struct mproc__object_spec spec = { .what = "value", .kind = MPROC__KIND_VALUE };
	struct mproc__object found, by_ref;
	struct mproc_ref ref;
	int64_t x = 0;
	int i = 0;

	(void)state;
	assert_int_equal(mproc_value_load(value, int64_t, &x), 0);
	assert_int_equal(x, 7);
	assert_int_equal(mproc_array_load(array, int, 2, &i), 0);
	assert_int_equal(i, 3);
	assert_int_equal(*(int *)mproc_array_ptr(array, INT, 3), 4);
	assert_null(mproc_array_ptr(array, INT, 4));
	spec.name = "value";
	for (uint32_t at = 0; at < seg->n_objects; at++)
		if (mproc__object_at(seg, at, MPROC__KIND_VALUE, 0, &found))
			break;
	ref = mproc__object_ref(seg, &found);
	spec.type = found.type;
	assert_int_equal(mproc__object_open_ref(&by_ref, seg, &spec, &ref), 0);
	assert_ptr_equal(by_ref.mem, found.mem);
	/* What others write is seen at once. */
	assert_int_equal(
		mproc_segment_object(&object, writable, "room", sizeof(struct room), NULL, NULL),
		0);
	assert_int_equal(mproc_event_set(&((struct room *)object)->event), 0);
	assert_int_equal(mproc_event_is_set(&room->event), 1);
	assert_int_equal(mproc_after_fork(), 0);
}

static uint32_t n_attached(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < writable->range->n_procs; i++)
		n += mproc__proc_state(atomic_load(&writable->range->procs[i].st)) ==
		     MPROC__PROC_LIVE;
	return n;
}

static void look(void *arg)
{
	int64_t x = 0;

	(void)arg;
	/* Nothing that fork could have taken away: there is no identity. */
	t_check(mproc_value_load(value, int64_t, &x) == 0 && x == 7);
	t_check(mproc_after_fork() == 0);
	t_check(mproc_mutex_lock(&room->mutex, MPROC_NOWAIT) == -EROFS);
	t_check(mproc__is_read_only(room));
	t_check(!mproc__is_read_only(writable->catalogue));
}

static void forked_child_keeps_it(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(look, NULL)), 0);
}

static void reader_takes_no_slot_and_keeps_no_name(void **state)
{
	mproc_segment *alone, *reader;
	uint32_t n = n_attached();

	(void)state;
	assert_int_equal(n, 1);
	assert_int_equal(mproc_segment_create(&alone, "alone",
					      MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .processes = 1)),
			 0);
	for (int i = 0; i < 3; i++) {
		const struct mproc_segment_attach_opts opts = { .size = sizeof(opts),
								.name = "alone",
								.flags = MPROC_SEGMENT_READ_ONLY };
		assert_int_equal(mproc_segment_attach(&reader, &opts), 0);
		assert_int_equal(mproc__others_attached(alone->range), 0);
		if (i < 2)
			mproc_segment_close(reader);
	}
	mproc_segment_close(alone);
	assert_int_equal(access(t_segment_path("alone"), F_OK), -1);
	/* The memory stays. */
	assert_int_equal(mproc_segment_object(&object, reader, "x", 8, NULL, NULL), -EROFS);
	mproc_segment_close(reader);
}

static void reader_sees_what_grows_meanwhile(void **state)
{
	mproc_segment *growing, *reader;
	unsigned char *far_away;
	void *seen;

	(void)state;
	assert_int_equal(
		mproc_segment_create(&growing, "grow",
				     MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .bytes_max = 16 << 20)),
		0);
	assert_int_equal(
		mproc_segment_attach(&reader,
				     MPROC_SEGMENT_ATTACH_OPTS(.name = "grow",
							       .flags = MPROC_SEGMENT_READ_ONLY)),
		0);
	assert_int_equal(
		mproc_segment_object((void **)&far_away, growing, "far", 8 << 20, NULL, NULL), 1);
	far_away[(8 << 20) - 1] = 77;
	assert_int_equal(mproc_segment_object(&seen, reader, "far", 8 << 20, NULL, NULL), 0);
	assert_int_equal(((unsigned char *)seen)[(8 << 20) - 1], 77);
	assert_int_equal(mproc_segment_stats(reader, &stats), 0);
	assert_true(stats.growths > 0 && stats.bytes > 8 << 20);
	mproc_segment_close(reader);
	mproc_segment_close(growing);
}

static void leftover_is_absent_for_a_reader_and_stays_for_others(void **state)
{
	mproc_segment *s;
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		t_check(mproc_segment_create(&s, "left", OPTS) == 0);
		_exit(0);
	}
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(mproc_segment_attach(
				 &s, MPROC_SEGMENT_ATTACH_OPTS(.name = "left",
							       .flags = MPROC_SEGMENT_READ_ONLY)),
			 -ENOENT);
	assert_int_equal(access(t_segment_path("left"), F_OK), 0);
	assert_int_equal(mproc_segment_gc("left"), 1);
}

/* Another user, to whom the file says that he may read. */
static void read_as_another(void *arg)
{
	const struct mproc_segment_attach_opts opts[] = {
		{ sizeof(opts[0]), "shown", NULL, 0, MPROC_SEGMENT_READ_ONLY },
		{ sizeof(opts[0]), "shown", NULL, 0, MPROC_SEGMENT_ANY_OWNER },
		{ sizeof(opts[0]), "shown", NULL, 0,
		  MPROC_SEGMENT_READ_ONLY | MPROC_SEGMENT_ANY_OWNER },
	};
	mproc_segment *s;
	mproc_value *v;
	int64_t x = 0;
	int fd;

	(void)arg;
	t_check(setgid(4712) == 0 && setuid(4711) == 0);
	t_check(mproc_segment_attach(&s, &opts[0]) == -EPERM);
	t_check(strstr(mproc_error_text(), "belongs to user 4713, not to 4711"));
	/* Not to write. */
	t_check(mproc_segment_attach(&s, &opts[1]) == -EACCES);
	t_check(mproc_segment_attach(&s, &opts[2]) == 0);
	t_check(mproc_value_open(&v, s, "value", MPROC_TYPE(int64_t)) == 0);
	t_check(mproc_value_load(v, int64_t, &x) == 0 && x == 8);
	t_check((mproc_value_store)(v, MPROC_TYPE(int64_t), &x) == -EROFS);
	fd = mproc_segment_fd(s);
	t_check(fd >= 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
	mproc_value_close(v);
	mproc_segment_close(s);
}

static void other_user_reads_by_the_group(void **state)
{
	mproc_segment *s;
	mproc_value *v;

	(void)state;
	if (geteuid() != 0) {
		print_message("# left out: only root can be two users\n");
		return;
	}
	assert_int_equal(mproc_segment_create(&s, "shown",
					      MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .mode = 0640)),
			 0);
	assert_int_equal(mproc_value_create(&v, s, "value",
					    MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t),
							     .init = &(int64_t){ 8 })),
			 0);
	assert_int_equal(chown(t_segment_path("shown"), 4713, 4712), 0);
	assert_int_equal(chmod(t_private_dir(), 0711), 0);
	assert_int_equal(t_reap(t_spawn(read_as_another, NULL)), 0);
	mproc_value_close(v);
	mproc_segment_close(s);
}

/* By a descriptor that itself can only read. */
static void descriptor_for_reading_is_enough(void **state)
{
	const struct mproc_segment_attach_opts by_fd = { .size = sizeof(by_fd),
							 .fd = mproc_segment_fd(seg),
							 .flags = MPROC_SEGMENT_READ_ONLY };
	mproc_segment *same;

	(void)state;
	assert_true(by_fd.fd >= 0);
	assert_int_equal(fcntl(by_fd.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(mproc_segment_attach(&same, &by_fd), 0);
	assert_ptr_equal(same, seg);
	mproc_segment_close(same);
	close(by_fd.fd);
}

static void write_through(void *arg)
{
	signal(SIGSEGV, SIG_DFL);
	*(volatile int *)mproc_array_ptr(arg, INT, 0) = 1;
}

static void address_cannot_be_written_through(void **state)
{
	(void)state;
	if (t_sanitized()) {
		print_message("# left out: the sanitizer has a handler for SIGSEGV\n");
		return;
	}
	assert_int_equal(t_reap(t_spawn(write_through, array)), SIGSEGV);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(no_call_writes_and_all_say_so),
		TEST(every_function_has_been_called),
		TEST(what_needs_no_identity_works),
		TEST(forked_child_keeps_it),
		TEST(reader_takes_no_slot_and_keeps_no_name),
		TEST(reader_sees_what_grows_meanwhile),
		TEST(leftover_is_absent_for_a_reader_and_stays_for_others),
		TEST(other_user_reads_by_the_group),
		TEST(descriptor_for_reading_is_enough),
		TEST(address_cannot_be_written_through),
	};

	t_private_dir();
	return cmocka_run_group_tests_name("segment_read_only", tests, NULL, NULL);
}
