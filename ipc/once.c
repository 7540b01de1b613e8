/* SPDX-License-Identifier: MIT */

/*
 * Something that is done once, by one of many processes
 *
 * A once is an mproc__lock whose tag says that there is one, and whether it is done.
 * The runner holds the lock while his function runs. One store of the tag commits; it
 * comes before the release, so whoever gets the lock afterwards sees it. Done is for
 * good: one acquire load answers for ever after.
 *
 * Kills. Before the commit: the lock is the dead runner's, the next one takes it over
 * and runs. Between commit and release: it is done, and whoever takes the lock over has
 * nothing to do but to let go of it. Nothing else is changed under the lock, so there is
 * no log to replay.
 */

#include <mproc/once.h>

#include <errno.h>
#include <inttypes.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/holds.h"
#include "ipc/kind_layout.h"
#include "ipc/lock.h"

/* Of the tag; memory that holds something else is refused. */
#define ONCE_TAG  0x65636e6fu /* "once": not done */
#define ONCE_DONE 0x656e6f64u /* "done" */

static_assert(sizeof(struct mproc__lock) <= sizeof(mproc_once), "a once has outgrown its type");
static_assert(alignof(struct mproc__lock) <= alignof(mproc_once), "a once is misaligned");

static struct mproc__lock *lock_of(mproc_once *once)
{
	return (struct mproc__lock *)once;
}

/* Return: 1 done, 0 not, -EINVAL there is no once. */
static inline int look(mproc_once *once)
{
	/* Acquire, pairs with the commit in run(): what the runner wrote is seen. */
	uint32_t tag = atomic_load_explicit(&lock_of(once)->tag, memory_order_acquire);

	if (tag == ONCE_DONE)
		return 1;
	return tag == ONCE_TAG ? 0 : -EINVAL;
}

int mproc_once_init(mproc_once *once, uint32_t flags)
{
	if (flags)
		return mproc__fail(-EINVAL, "once init: unknown flags 0x%" PRIx32, flags);
	if ((uintptr_t)once % alignof(mproc_once))
		return mproc__fail(-EINVAL, "once init: %p is not aligned to %zu bytes",
				   (void *)once, alignof(mproc_once));
	if (!mproc__range_find(once))
		return mproc__fail(-ENOTCONN, "once init: address %p lies in no attached segment",
				   (void *)once);
	if (mproc__is_read_only(once))
		return mproc__fail_read_only("once init");
	atomic_store_explicit(&lock_of(once)->word, 0, memory_order_relaxed);
	atomic_store_explicit(&lock_of(once)->sleepers, 0, memory_order_relaxed);
	atomic_store_explicit(&lock_of(once)->tag, ONCE_TAG, memory_order_release);
	return 0;
}

void mproc_once_destroy(mproc_once *once)
{
	if (once && !mproc__is_read_only(once))
		atomic_store_explicit(&lock_of(once)->tag, 0, memory_order_release);
}

static int no_once(mproc_once *once, const char *what)
{
	return mproc__fail(-EINVAL, "%s: no once at %p", what, (void *)once);
}

static void let_go(mproc_once *once, struct mproc__self *me, uint64_t what)
{
	mproc__lock_release(lock_of(once), me);
	mproc__hold_remove(me, what);
}

/* The calling thread owns the lock. Return: as of mproc_once_run(). */
static int run(mproc_once *once, int (*fn)(void *arg), void *arg, uint64_t what)
{
	int r = fn(arg);
	/* Asked anew: @fn may have forked, or closed the segment. */
	struct mproc__self *me = mproc__self(once, "once run");

	if (!me)
		return mproc__self_error();
	if (!mproc__lock_mine(lock_of(once), me))
		return mproc__fail(-EPERM,
				   "once run: the runner of the once at %p is the process that "
				   "this one was forked from",
				   (void *)once);
	/* Release: what @fn wrote stands before the news. */
	if (r >= 0)
		atomic_store_explicit(&lock_of(once)->tag, ONCE_DONE, memory_order_release);
	let_go(once, me, what);
	return r < 0 ? r : MPROC_ONCE_RAN;
}

/* Not known to be done. */
static int run_slow(mproc_once *once, int (*fn)(void *arg), void *arg, int64_t deadline)
{
	struct mproc__self *me = mproc__self(once, "once run");
	uint64_t what;
	int r;

	if (!me)
		return mproc__self_error();
	r = look(once);
	if (r < 0)
		return no_once(once, "once run");
	if (deadline < 0)
		return mproc__deadline_check("once run", deadline);
	if (!fn)
		return mproc__fail(-EINVAL, "once run: no function to run");
	if (r == 1)
		return 0;
	what = mproc__what(MPROC__KIND_ONCE, mproc__self_off(me, once));
	mproc__hold_add(me, what);
	r = mproc__lock_take(lock_of(once), me, what, deadline);
	if (r < 0) {
		mproc__hold_remove(me, what);
		/* Who has it now may only be letting go of it. */
		if ((r == -EAGAIN || r == -ETIMEDOUT) && look(once) == 1)
			return 0;
		if (r == -EDEADLK)
			mproc__fail(r, "once run: the function of the once at %p asks for itself",
				    (void *)once);
		return r;
	}
	if (r == MPROC__LOCK_INHERITED)
		mproc__lock_repaired(lock_of(once), me);
	r = look(once);
	if (r == 0)
		return run(once, fn, arg, what);
	let_go(once, me, what);
	return r == 1 ? 0 : no_once(once, "once run");
}

int mproc_once_run(mproc_once *once, int (*fn)(void *arg), void *arg, int64_t deadline)
{
	if (__builtin_expect(mproc__self_quick(once) && look(once) == 1 && deadline >= 0 && fn, 1))
		return 0;
	return run_slow(once, fn, arg, deadline);
}

int mproc_once_is_done(mproc_once *once)
{
	int r = look(once);

	return r < 0 ? no_once(once, "once is_done") : r;
}
