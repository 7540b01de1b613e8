/* SPDX-License-Identifier: MIT */

/*
 * A flag that threads of any processes can wait for
 *
 *	state	generation 31 | set 1
 *
 * Setting adds one to the generation and sets the bit by one CAS; clearing takes
 * the bit away. A waiter remembers the state it began with: the bit, or another
 * generation, says that the event has been set since. Both are one word, so every
 * operation is one atomic instruction and a kill is before or after it.
 *
 * Setting asks for no identity and fences itself, so that it can be done in a
 * signal handler, by a thread that never made a call.
 */

#include <mproc/event.h>

#include <errno.h>
#include <inttypes.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/kind_layout.h"
#include "ipc/waitable.h"

#define EVENT_TAG 0x746e7665u /* "evnt": memory that holds something else is refused */

struct event {
	_Atomic(uint32_t) state;
	_Atomic(uint32_t) tag;
	struct mproc__waitable waitable;
};

static_assert(sizeof(struct event) <= sizeof(mproc_event), "an event has outgrown its type");

struct attempt {
	struct event *event;
	uint32_t began;
};

static struct event *event_of(mproc_event *event)
{
	return (struct event *)event;
}

static bool is_event(mproc_event *event)
{
	return atomic_load_explicit(&event_of(event)->tag, memory_order_relaxed) == EVENT_TAG;
}

int mproc_event_init(mproc_event *event, uint32_t flags)
{
	struct event *e = event_of(event);

	if (flags)
		return mproc__fail(-EINVAL, "event init: unknown flags 0x%" PRIx32, flags);
	if ((uintptr_t)event % alignof(mproc_event))
		return mproc__fail(-EINVAL, "event init: %p is not aligned to %zu bytes",
				   (void *)event, alignof(mproc_event));
	if (!mproc__range_find(event))
		return mproc__fail(-ENOTCONN, "event init: address %p lies in no attached segment",
				   (void *)event);
	if (mproc__is_read_only(event))
		return mproc__fail_read_only("event init");
	atomic_store_explicit(&e->state, 0, memory_order_relaxed);
	atomic_store_explicit(&e->waitable.sleepers, 0, memory_order_relaxed);
	atomic_store_explicit(&e->waitable.polled, 0, memory_order_relaxed);
	atomic_store_explicit(&e->tag, EVENT_TAG, memory_order_release);
	return 0;
}

void mproc_event_destroy(mproc_event *event)
{
	if (event && !mproc__is_read_only(event))
		atomic_store_explicit(&event_of(event)->tag, 0, memory_order_release);
}

int mproc_event_set(mproc_event *event)
{
	struct event *e = event_of(event);
	uint32_t state;
	int saved = errno;

	if (!is_event(event))
		return -EINVAL;
	if (mproc__is_read_only(event))
		return -EROFS;
	state = atomic_load_explicit(&e->state, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&e->state, &state, ((state & ~1u) + 2) | 1,
						      memory_order_seq_cst, memory_order_relaxed))
		;
	/* Nobody may have registered for membarrier on our behalf: we fence. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&e->waitable.sleepers, memory_order_relaxed) & 1)
		mproc__wake_slow(&e->waitable.sleepers, INT32_MAX);
	errno = saved;
	return 0;
}

int mproc_event_clear(mproc_event *event)
{
	if (!is_event(event))
		return mproc__fail(-EINVAL, "event clear: no event at %p", (void *)event);
	if (mproc__is_read_only(event))
		return mproc__fail_read_only("event clear");
	atomic_fetch_and_explicit(&event_of(event)->state, ~1u, memory_order_acq_rel);
	return 0;
}

int mproc_event_is_set(mproc_event *event)
{
	if (!is_event(event))
		return mproc__fail(-EINVAL, "event is_set: no event at %p", (void *)event);
	return atomic_load_explicit(&event_of(event)->state, memory_order_acquire) & 1;
}

static int try_event(void *arg)
{
	struct attempt *attempt = arg;
	uint32_t state = atomic_load_explicit(&attempt->event->state, memory_order_acquire);

	return (state & 1) || state != attempt->began ? 0 : -EAGAIN;
}

int mproc_event_wait(mproc_event *event, int64_t deadline)
{
	struct event *e = event_of(event);
	struct attempt attempt = { .event = e };
	struct mproc__self *me;

	me = mproc__self(event, "event wait");
	if (!me)
		return mproc__self_error();
	if (!is_event(event))
		return mproc__fail(-EINVAL, "event wait: no event at %p", (void *)event);
	if (deadline < 0)
		return mproc__deadline_check("event wait", deadline);
	/* Without the bit: only another generation differs from a clear event. */
	attempt.began = atomic_load_explicit(&e->state, memory_order_acquire) & ~1u;
	return mproc__waitable_wait(&e->waitable, me,
				    mproc__what(MPROC__KIND_EVENT, mproc__self_off(me, event)),
				    deadline, NULL, try_event, &attempt);
}
