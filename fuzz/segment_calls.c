/* SPDX-License-Identifier: MIT */

/*
 * One object of each kind in a segment, and one call on each
 */

#include "fuzz/segment_calls.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <mproc/array.h>
#include <mproc/barrier.h>
#include <mproc/condition.h>
#include <mproc/deadlock.h>
#include <mproc/event.h>
#include <mproc/latch.h>
#include <mproc/mutex.h>
#include <mproc/once.h>
#include <mproc/queue.h>
#include <mproc/rmutex.h>
#include <mproc/rwlock.h>
#include <mproc/semaphore.h>
#include <mproc/value.h>

#include "ipc/kind.h"
#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/catalogue.h"

#define CALL_MS     2
#define ITEMS       300u
#define MSG_MAX     2000u
#define N(array)    (sizeof(array) / sizeof((array)[0]))
#define SOON()      mproc_after_ms(CALL_MS)
#define INT64       MPROC_TYPE(int64_t)
#define POINT       MPROC_TYPE(struct point)
#define BARRIER_FOR 3u

struct point {
	int32_t x, y;
	char label[24];
};

const struct mproc_segment_opts fuzz_segment_opts = {
	.size = sizeof(struct mproc_segment_opts),
	.bytes = 384 << 10,
	.processes = 5,
	.threads = 9,
	.objects = 32,
	.flags = MPROC_SEGMENT_PERSISTENT,
};

/* All that is initialised in place. */
struct in_place {
	mproc_mutex mutex, fair, strict, any;
	mproc_rmutex rmutex;
	mproc_rwlock rwlock, readers;
	MPROC_SEMAPHORE_WITH(4) permits;
	MPROC_SEMAPHORE_WITH(4) leases;
	mproc_semaphore signals;
	mproc_event event;
	mproc_condition condition;
	mproc_mutex of_condition;
	mproc_latch latch;
	mproc_once once;
	union {
		mproc_barrier barrier;
		char room[512];
	} barrier;
};

static int init_in_place(void *object, void *arg)
{
	struct in_place *o = object;
	int r = 0;

	(void)arg;
	if (mproc_barrier_size(BARRIER_FOR) > sizeof(o->barrier))
		return -EINVAL;
#define INIT(call) r = r < 0 ? r : (call)
	INIT(mproc_mutex_init(&o->mutex, 0));
	INIT(mproc_mutex_init(&o->fair, MPROC_MUTEX_FAIR));
	INIT(mproc_mutex_init(&o->strict, MPROC_MUTEX_STRICT));
	INIT(mproc_mutex_init(&o->any, MPROC_MUTEX_ANY_UNLOCK));
	INIT(mproc_mutex_init(&o->of_condition, 0));
	INIT(mproc_rmutex_init(&o->rmutex, 0));
	INIT(mproc_rwlock_init(&o->rwlock, 0));
	INIT(mproc_rwlock_init(&o->readers, MPROC_RWLOCK_PREFER_READERS));
	INIT(mproc_semaphore_init(&o->permits.semaphore, MPROC_SEMAPHORE_PERMITS, 4, NULL));
	INIT(mproc_semaphore_init(&o->leases.semaphore, MPROC_SEMAPHORE_LEASES, 3,
				  MPROC_SEMAPHORE_OPTS(.leases = 4)));
	INIT(mproc_semaphore_init(&o->signals, MPROC_SEMAPHORE_SIGNALS, 2, NULL));
	INIT(mproc_event_init(&o->event, 0));
	INIT(mproc_condition_init(&o->condition, 0));
	INIT(mproc_latch_init(&o->latch, 2));
	INIT(mproc_once_init(&o->once, 0));
	INIT(mproc_barrier_init(&o->barrier.barrier, BARRIER_FOR, 0));
#undef INIT
	return r;
}

static int make_cells(mproc_segment *segment)
{
	mproc_value *value = NULL, *point = NULL;
	mproc_array *array = NULL, *points = NULL;
	int r;

	r = mproc_value_create(&value, segment, "value", MPROC_VALUE_OPTS(.type = INT64));
	if (r == 0)
		r = mproc_value_create(&point, segment, "point", MPROC_VALUE_OPTS(.type = POINT));
	if (r == 0)
		r = mproc_array_create(&array, segment, "array",
				       MPROC_ARRAY_OPTS(.type = INT64, .n_items = ITEMS));
	if (r == 0)
		r = mproc_array_create(&points, segment, "points",
				       MPROC_ARRAY_OPTS(.type = POINT, .n_items = ITEMS));
	mproc_array_close(points);
	mproc_array_close(array);
	mproc_value_close(point);
	mproc_value_close(value);
	return r;
}

static int make_queue(mproc_segment *segment)
{
	static const size_t lens[] = { 3, 1500, 0, 100, MSG_MAX };
	static unsigned char msg[MSG_MAX];
	mproc_queue *queue;
	int r;

	r = mproc_queue_create(&queue, segment, "queue",
			       MPROC_QUEUE_OPTS(.depth = 8, .msg_max = MSG_MAX, .bytes = 2048));
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < N(lens); i++)
		r = mproc_queue_put(queue, msg, lens[i], MPROC_NOWAIT);
	if (r == 0)
		r = mproc_queue_get(queue, msg, sizeof(msg), NULL, MPROC_NOWAIT);
	mproc_queue_close(queue);
	return r;
}

static int make(mproc_segment *segment)
{
	struct in_place *o;
	int r;

	r = mproc_segment_object((void **)&o, segment, "in place", sizeof(*o), init_in_place, NULL);
	if (r < 0)
		return r;
	r = make_cells(segment);
	return r < 0 ? r : make_queue(segment);
}

/* Memory that nobody knows of but who allocated it, small and large. */
static void hold_memory(mproc_segment *segment)
{
	struct mproc__self *me = mproc__self(segment->arena, "fuzz");
	uint64_t off;

	for (uint64_t len = 1; me && len < 40000; len *= 6)
		(void)!mproc__arena_alloc(segment, me, len, false, &off);
}

static void hold(mproc_segment *segment)
{
	mproc_value *value;
	struct in_place *o;

	if (mproc_segment_object((void **)&o, segment, "in place", sizeof(*o), NULL, NULL) < 0)
		return;
	(void)!mproc_mutex_lock(&o->mutex, SOON());
	(void)!mproc_mutex_lock(&o->fair, SOON());
	(void)!mproc_mutex_lock(&o->strict, SOON());
	(void)!mproc_rmutex_lock(&o->rmutex, SOON());
	(void)!mproc_rmutex_lock(&o->rmutex, SOON());
	(void)!mproc_rwlock_write_lock(&o->rwlock, SOON());
	(void)!mproc_rwlock_read_lock(&o->readers, SOON());
	(void)!mproc_semaphore_acquire(&o->permits.semaphore, SOON());
	(void)!mproc_semaphore_acquire(&o->leases.semaphore, SOON());
	if (mproc_value_open(&value, segment, "point", POINT) == 0)
		(void)!mproc_value_lock(value, SOON());
	hold_memory(segment);
}

static int once_fn(void *arg)
{
	return *(uint8_t *)arg & 16 ? -EIO : 0;
}

static int call_mutex(mproc_mutex *mutex, uint8_t op)
{
	struct mproc_mutex_owner owner;
	int r;

	switch (op % 6) {
	case 0:
		return mproc_mutex_unlock(mutex);
	case 1:
		return mproc_mutex_consistent(mutex);
	case 2:
		return mproc_mutex_is_locked(mutex);
	case 3:
		return mproc_mutex_owner(mutex, &owner);
	default:
		r = mproc_mutex_lock(mutex, SOON());
		if (r == MPROC_MUTEX_INHERITED && op & 32)
			(void)!mproc_mutex_consistent(mutex);
		if (r >= 0 && op & 16)
			(void)!mproc_mutex_unlock(mutex);
		return r;
	}
}

static int call_rmutex(mproc_rmutex *rmutex, uint8_t op)
{
	struct mproc_mutex_owner owner;

	switch (op % 6) {
	case 0:
		return mproc_rmutex_unlock(rmutex);
	case 1:
		return mproc_rmutex_consistent(rmutex);
	case 2:
		return mproc_rmutex_depth(rmutex);
	case 3:
		return mproc_rmutex_owner(rmutex, &owner);
	default:
		return mproc_rmutex_lock(rmutex, SOON());
	}
}

static int call_rwlock(mproc_rwlock *rwlock, uint8_t op)
{
	int r;

	switch (op % 5) {
	case 0:
		return mproc_rwlock_unlock(rwlock);
	case 1:
		return mproc_rwlock_consistent(rwlock);
	case 2:
		r = mproc_rwlock_read_lock(rwlock, SOON());
		break;
	default:
		r = mproc_rwlock_write_lock(rwlock, SOON());
	}
	if (r >= 0 && op & 64)
		(void)!mproc_rwlock_unlock(rwlock);
	return r;
}

static int call_semaphore(mproc_semaphore *semaphore, uint8_t op)
{
	struct mproc_semaphore_holder holders[4];

	switch (op % 6) {
	case 0:
		return mproc_semaphore_release(semaphore, op >> 5);
	case 1:
		return mproc_semaphore_ack(semaphore);
	case 2:
		return mproc_semaphore_value(semaphore);
	case 3:
		return mproc_semaphore_holders(semaphore, holders, N(holders));
	default:
		return mproc_semaphore_acquire(semaphore, SOON());
	}
}

static int call_barrier(mproc_barrier *barrier, uint8_t op)
{
	switch (op % 9) {
	case 0:
		return mproc_barrier_join(barrier);
	case 1:
		return mproc_barrier_leave(barrier);
	case 2:
		return mproc_barrier_abort(barrier);
	case 3:
		return mproc_barrier_reset(barrier);
	case 4:
		return mproc_barrier_n_parties(barrier);
	case 5:
		return mproc_barrier_n_waiting(barrier);
	case 6:
		return mproc_barrier_is_broken(barrier);
	default:
		return mproc_barrier_wait(barrier, once_fn, &op, SOON());
	}
}

static int call_condition(struct in_place *o, uint8_t op)
{
	int r;

	switch (op % 4) {
	case 0:
		return mproc_condition_notify(&o->condition, op >> 4);
	case 1:
		return mproc_condition_notify_all(&o->condition);
	default:
		r = mproc_mutex_lock(&o->of_condition, SOON());
		if (r < 0)
			return r;
		r = mproc_condition_wait(&o->condition, &o->of_condition, SOON());
		(void)!mproc_mutex_unlock(&o->of_condition);
		return r;
	}
}

static int call_signal(struct in_place *o, uint8_t op)
{
	switch (op % 10) {
	case 0:
		return mproc_event_set(&o->event);
	case 1:
		return mproc_event_clear(&o->event);
	case 2:
		return mproc_event_wait(&o->event, SOON());
	case 3:
		return mproc_latch_count_down(&o->latch, op >> 5);
	case 4:
		return mproc_latch_count(&o->latch);
	case 5:
		return mproc_latch_wait(&o->latch, SOON());
	case 6:
		return mproc_once_is_done(&o->once);
	case 7:
		return mproc_event_is_set(&o->event);
	default:
		return mproc_once_run(&o->once, once_fn, &op, SOON());
	}
}

static int call_value(mproc_segment *segment, uint8_t op)
{
	int64_t one = 1, was = 0;
	mproc_value *value;
	int r;

	r = mproc_value_open(&value, segment, "value", INT64);
	if (r < 0)
		return r;
	switch (op % 8) {
	case 0:
		r = (mproc_value_get)(value, INT64, &was, SOON());
		break;
	case 1:
		r = (mproc_value_set)(value, INT64, &one, SOON());
		break;
	case 2:
		r = (mproc_value_add)(value, INT64, &one, &was);
		break;
	case 3:
		r = (mproc_value_cas)(value, INT64, &was, &one);
		break;
	case 4:
		r = (mproc_value_wait)(value, INT64, &was, SOON());
		break;
	case 5:
		r = mproc_value_unlock(value);
		break;
	case 6:
		r = mproc_value_consistent(value);
		break;
	default:
		r = mproc_value_lock(value, SOON());
	}
	mproc_value_close(value);
	return r;
}

static int call_point(mproc_segment *segment, uint8_t op)
{
	struct point point = { 1, 2, "three" };
	mproc_value *value;
	int r;

	r = mproc_value_open(&value, segment, "point", POINT);
	if (r < 0)
		return r;
	if (op & 1)
		r = (mproc_value_get)(value, POINT, &point, SOON());
	else
		r = (mproc_value_set)(value, POINT, &point, SOON());
	mproc_value_close(value);
	return r;
}

static int call_array(mproc_segment *segment, uint8_t op)
{
	static int64_t items[ITEMS];
	mproc_array *array;
	int64_t one = 1;
	uint64_t n;
	int r;

	r = mproc_array_open(&array, segment, "array", INT64);
	if (r < 0)
		return r;
	n = mproc_array_n_items(array);
	switch (op % 6) {
	case 0:
		r = (mproc_array_get)(array, INT64, op % ITEMS, &one, SOON());
		break;
	case 1:
		r = (mproc_array_set)(array, INT64, n ? n - 1 : 0, &one, SOON());
		break;
	case 2:
		r = (mproc_array_add)(array, INT64, op % ITEMS, &one, &one);
		break;
	case 3:
		r = (mproc_array_copy_out)(array, INT64, 0, n < ITEMS ? n : ITEMS, items, SOON());
		break;
	case 4:
		r = (mproc_array_copy_in)(array, INT64, 0, n < ITEMS ? n : ITEMS, items, SOON());
		break;
	default:
		r = mproc_array_lock(array, SOON());
		if (r >= 0)
			(void)!mproc_array_unlock(array);
	}
	mproc_array_close(array);
	return r;
}

static int call_points(mproc_segment *segment, uint8_t op)
{
	static struct point points[ITEMS];
	mproc_array *array;
	uint64_t n;
	int r;

	r = mproc_array_open(&array, segment, "points", POINT);
	if (r < 0)
		return r;
	n = mproc_array_n_items(array);
	if (op & 1)
		r = (mproc_array_set)(array, POINT, n ? n - 1 : 0, points, SOON());
	else
		r = (mproc_array_copy_out)(array, POINT, 0, n < ITEMS ? n : ITEMS, points, SOON());
	mproc_array_close(array);
	return r;
}

static int call_queue(mproc_segment *segment, uint8_t op)
{
	static unsigned char buf[2 * MSG_MAX];
	struct iovec iov[4] = { { buf, 9 }, { buf, 1500 } };
	struct mproc_queue_stats stats;
	mproc_queue *queue;
	size_t len;
	int r;

	r = mproc_queue_open(&queue, segment, "queue");
	if (r < 0)
		return r;
	switch (op % 8) {
	case 0:
		r = mproc_queue_put(queue, buf, op * UINT32_C(7), SOON());
		break;
	case 1:
		r = mproc_queue_put_many(queue, iov, 2, SOON());
		break;
	case 2:
		r = mproc_queue_get_many(queue, buf, sizeof(buf), iov, N(iov), SOON());
		break;
	case 3:
		r = mproc_queue_next_len(queue, &len, SOON());
		break;
	case 4:
		mproc_queue_stats(queue, &stats, sizeof(stats));
		r = (int)mproc_queue_is_full(queue);
		break;
	case 5:
		r = mproc_queue_shutdown(queue);
		break;
	default:
		r = mproc_queue_get(queue, buf, sizeof(buf), &len, SOON());
	}
	mproc_queue_close(queue);
	return r;
}

static int call_memory(mproc_segment *segment, uint8_t op)
{
	static const uint32_t lens[] = { 1, 64, 200, 1000, 2048, 5000, 60000, 300000 };
	const struct mproc__object_spec spec = { .what = "thing",
						 .name = op & 64 ? "thing" : NULL,
						 .kind = MPROC__KIND_BLOCK,
						 .len = lens[op % N(lens)] };
	struct mproc__arena_stats stats;
	struct mproc__object object;
	int r;

	if (op & 32)
		mproc__arena_stats(segment, &stats);
	r = mproc__object_create(&object, segment, &spec);
	if (r == 0) {
		memset(object.mem, op, spec.len);
		if (op & 16)
			r = mproc__object_remove(segment, &object);
	}
	return r;
}

static void see_cycle(const struct mproc_deadlock *cycle, void *arg)
{
	(void)cycle;
	(void)arg;
}

static void see_pair(const struct mproc_deadlock_pair *pair, void *arg)
{
	(void)pair;
	(void)arg;
}

static int call_segment(mproc_segment *segment, uint8_t op)
{
	uint64_t dropped;

	switch (op % 5) {
	case 0:
		return mproc__reap_all(segment->range);
	case 3:
		return mproc_segment_grow(segment, fuzz_segment_opts.bytes + op * UINT64_C(4096));
	case 1:
		return mproc_deadlock_check(segment, see_cycle, NULL);
	case 2:
		return mproc_deadlock_order(segment, see_pair, NULL, &dropped);
	default:
		return mproc_segment_gc(mproc_segment_name(segment));
	}
}

static int call_in_place(mproc_segment *segment, uint32_t i, uint8_t op)
{
	struct in_place *o;
	int r;

	r = mproc_segment_object((void **)&o, segment, "in place", sizeof(*o), NULL, NULL);
	if (r < 0)
		return r;
	switch (i) {
	case 0:
		return call_mutex(&o->mutex, op);
	case 1:
		return call_mutex(&o->fair, op);
	case 2:
		return call_mutex(&o->strict, op);
	case 3:
		return call_mutex(&o->any, op);
	case 4:
		return call_rmutex(&o->rmutex, op);
	case 5:
		return call_rwlock(&o->rwlock, op);
	case 6:
		return call_rwlock(&o->readers, op);
	case 7:
		return call_semaphore(&o->permits.semaphore, op);
	case 8:
		return call_semaphore(&o->leases.semaphore, op);
	case 9:
		return call_semaphore(&o->signals, op);
	case 10:
		return call_barrier(&o->barrier.barrier, op);
	case 11:
		return call_condition(o, op);
	default:
		return call_signal(o, op);
	}
}

#define IN_PLACE 13u

static int (*const calls[])(mproc_segment *segment, uint8_t op) = {
	call_value, call_point, call_array, call_points, call_queue, call_memory, call_segment,
};

static int call(mproc_segment *segment, uint32_t i, uint8_t op)
{
	return i < IN_PLACE ? call_in_place(segment, i, op) : calls[i - IN_PLACE](segment, op);
}

const struct fuzz_objects fuzz_plain = {
	.n = IN_PLACE + N(calls),
	.make = make,
	.hold = hold,
	.call = call,
};
