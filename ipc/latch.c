/* SPDX-License-Identifier: MIT */

/*
 * A gate that opens when something has been counted down to zero
 *
 * One word counts; a CAS takes away what is done, so a count below zero never exists
 * and a kill is before or after the one store. It never grows again: zero, once seen,
 * stays.
 *
 * Counting asks for no identity and fences itself, as setting an event does, so that it
 * can be done in a signal handler.
 */

#include <mproc/latch.h>

#include <errno.h>
#include <inttypes.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/kind_layout.h"
#include "ipc/waitable.h"

#define LATCH_TAG 0x6374616cu /* "latc": memory that holds something else is refused */

struct latch {
	_Atomic(uint32_t) count;
	_Atomic(uint32_t) tag;
	struct mproc__waitable waitable;
};

static_assert(sizeof(struct latch) <= sizeof(mproc_latch), "a latch has outgrown its type");

static struct latch *latch_of(mproc_latch *latch)
{
	return (struct latch *)latch;
}

static bool is_latch(mproc_latch *latch)
{
	return atomic_load_explicit(&latch_of(latch)->tag, memory_order_relaxed) == LATCH_TAG;
}

int mproc_latch_init(mproc_latch *latch, uint32_t count)
{
	struct latch *l = latch_of(latch);

	if (count > MPROC_LATCH_MAX)
		return mproc__fail(-EINVAL, "latch init: a count of %" PRIu32 ", at most %d", count,
				   MPROC_LATCH_MAX);
	if ((uintptr_t)latch % alignof(mproc_latch))
		return mproc__fail(-EINVAL, "latch init: %p is not aligned to %zu bytes",
				   (void *)latch, alignof(mproc_latch));
	if (!mproc__range_find(latch))
		return mproc__fail(-ENOTCONN, "latch init: address %p lies in no attached segment",
				   (void *)latch);
	if (mproc__is_read_only(latch))
		return mproc__fail_read_only("latch init");
	atomic_store_explicit(&l->count, count, memory_order_relaxed);
	atomic_store_explicit(&l->waitable.sleepers, 0, memory_order_relaxed);
	atomic_store_explicit(&l->waitable.polled, 0, memory_order_relaxed);
	atomic_store_explicit(&l->tag, LATCH_TAG, memory_order_release);
	return 0;
}

void mproc_latch_destroy(mproc_latch *latch)
{
	if (latch && !mproc__is_read_only(latch))
		atomic_store_explicit(&latch_of(latch)->tag, 0, memory_order_release);
}

int mproc_latch_count_down(mproc_latch *latch, uint32_t n)
{
	struct latch *l = latch_of(latch);
	uint32_t count;
	int saved = errno;

	if (!is_latch(latch))
		return -EINVAL;
	if (mproc__is_read_only(latch))
		return -EROFS;
	count = atomic_load_explicit(&l->count, memory_order_relaxed);
	do {
		/* More than INT32_MAX was never there: scribbled, and not to be told as an error.
		 */
		if (n > count || count > MPROC_LATCH_MAX)
			return -ERANGE;
	} while (!atomic_compare_exchange_weak_explicit(
		&l->count, &count, count - n, memory_order_seq_cst, memory_order_relaxed));
	if (count == n && n) {
		/* Nobody may have registered for membarrier on our behalf: we fence. */
		atomic_thread_fence(memory_order_seq_cst);
		if (atomic_load_explicit(&l->waitable.sleepers, memory_order_relaxed) & 1)
			mproc__wake_slow(&l->waitable.sleepers, INT32_MAX);
	}
	errno = saved;
	return (int)(count - n);
}

int mproc_latch_count(mproc_latch *latch)
{
	uint32_t count;

	if (!is_latch(latch))
		return mproc__fail(-EINVAL, "latch count: no latch at %p", (void *)latch);
	count = atomic_load_explicit(&latch_of(latch)->count, memory_order_acquire);
	return count > MPROC_LATCH_MAX ? MPROC_LATCH_MAX : (int)count;
}

static int try_latch(void *arg)
{
	struct latch *l = arg;

	/* Acquire, pairs with the CAS of whoever counted: his work is seen by who comes in. */
	return atomic_load_explicit(&l->count, memory_order_acquire) ? -EAGAIN : 0;
}

int mproc_latch_wait(mproc_latch *latch, int64_t deadline)
{
	struct latch *l = latch_of(latch);
	struct mproc__self *me;

	me = mproc__self(latch, "latch wait");
	if (!me)
		return mproc__self_error();
	if (!is_latch(latch))
		return mproc__fail(-EINVAL, "latch wait: no latch at %p", (void *)latch);
	if (deadline < 0)
		return mproc__deadline_check("latch wait", deadline);
	return mproc__waitable_wait(&l->waitable, me,
				    mproc__what(MPROC__KIND_LATCH, mproc__self_off(me, latch)),
				    deadline, NULL, try_latch, l);
}
