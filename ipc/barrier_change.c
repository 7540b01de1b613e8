/* SPDX-License-Identifier: MIT */

/*
 * The barrier: making it, joining, leaving, breaking, and making it as it was
 *
 * See barrier.c for what is committed by which store, and who finishes it.
 */

#include <errno.h>
#include <inttypes.h>

#include "ipc/barrier_inside.h"
#include "ipc/error.h"
#include "ipc/participant.h"

size_t mproc_barrier_size(uint32_t parties)
{
	if (!parties || parties > MPROC_BARRIER_PARTIES_MAX)
		return 0;
	return sizeof(struct mproc__barrier) + parties * sizeof(struct mproc__barrier_place);
}

int mproc_barrier_init(mproc_barrier *barrier, uint32_t parties, uint32_t flags)
{
	struct mproc__barrier *b = (struct mproc__barrier *)barrier;
	struct mproc__range *range;

	if (flags & ~(uint32_t)FLAGS || flags == FLAGS)
		return mproc__fail(
			-EINVAL, "barrier init: unknown or contradicting flags 0x%" PRIx32, flags);
	if (!mproc_barrier_size(parties))
		return mproc__fail(-EINVAL,
				   "barrier init: %" PRIu32 " parties, 1 to %d are possible",
				   parties, MPROC_BARRIER_PARTIES_MAX);
	if ((uintptr_t)barrier % alignof(mproc_barrier))
		return mproc__fail(-EINVAL, "barrier init: %p is not aligned to %zu bytes",
				   (void *)barrier, alignof(mproc_barrier));
	range = mproc__range_find(barrier);
	if (!range ||
	    !mproc__range_has(range, (uintptr_t)barrier - range->base, mproc_barrier_size(parties)))
		return mproc__fail(-ENOTCONN,
				   "barrier init: %zu bytes at %p lie in no attached segment",
				   mproc_barrier_size(parties), (void *)barrier);
	if (mproc__is_read_only(barrier))
		return mproc__fail_read_only("barrier init");
	for (uint32_t i = 0; i < parties; i++) {
		atomic_store_explicit(&b->places[i].owner, VACANT, memory_order_relaxed);
		atomic_store_explicit(&b->places[i].ticket, 0, memory_order_relaxed);
	}
	atomic_store_explicit(&b->lock.word, 0, memory_order_relaxed);
	atomic_store_explicit(&b->lock.sleepers, 0, memory_order_relaxed);
	atomic_store_explicit(&b->sleepers, 0, memory_order_relaxed);
	atomic_store_explicit(&b->shape, flags << 16 | parties, memory_order_relaxed);
	atomic_store_explicit(&b->state, state_word(1, parties, 0), memory_order_relaxed);
	atomic_store_explicit(&b->lock.tag, BARRIER_TAG, memory_order_release);
	return 0;
}

void mproc_barrier_destroy(mproc_barrier *barrier)
{
	if (barrier && !mproc__is_read_only(barrier))
		atomic_store_explicit(&((struct mproc__barrier *)barrier)->lock.tag, 0,
				      memory_order_release);
}

/* With the lock. Return: 0, -EPIPE, -EUSERS. */
static int join(struct mproc__barrier_call *call)
{
	struct mproc__barrier *b = call->b;
	struct mproc__barrier_place *place;
	uint64_t state;
	int i;

	i = mproc__barrier_place_of(call, call->me->word);
	if (i < 0)
		i = mproc__barrier_place_of(call, VACANT);
	if (i < 0)
		mproc__barrier_bury(call);
	if (i < 0)
		i = mproc__barrier_place_of(call, VACANT);
	state = get(&b->state);
	if (state & BROKEN)
		return -EPIPE;
	/*
	 * Its owner is no party: it is as good as vacant, and is made so first. Were the
	 * ticket to say JOINED beside the old owner, his death would break the barrier.
	 */
	if (i < 0 && (call->flags & MPROC_BARRIER_ANONYMOUS)) {
		i = mproc__barrier_idle_place(call, state);
		if (i >= 0)
			put(&b->places[i].owner, VACANT);
	}
	if (i < 0)
		i = mproc__barrier_place_of(call, CLOSED);
	if (i < 0)
		return -EUSERS;
	place = &b->places[i];
	if (get(&place->owner) == call->me->word) {
		put(&place->ticket, get(&place->ticket) | JOINED);
		return 0;
	}
	put(&place->ticket, JOINED);
	if (get(&place->owner) == VACANT) {
		put(&place->owner, call->me->word);
		return 0;
	}
	put(&place->owner, call->me->word);
	mproc__barrier_put_state(
		call, state_word(phase_of(state), parties_of(state) + 1, arrived_of(state)) |
			      (state & 15));
	return 0;
}

int mproc_barrier_join(mproc_barrier *barrier)
{
	struct mproc__barrier_call call = { 0 };
	int r;

	r = mproc__barrier_enter(&call, barrier, "barrier join");
	if (r == 0)
		r = mproc__barrier_take(&call);
	if (r < 0)
		return r;
	r = join(&call);
	mproc__barrier_give(&call);
	if (r == -EPIPE)
		return mproc__fail(r, "barrier join: the barrier at %p is broken", (void *)barrier);
	if (r == -EUSERS)
		return mproc__fail(
			r, "barrier join: all %" PRIu32 " places of the barrier at %p are taken",
			call.n, (void *)barrier);
	return r;
}

/*
 * With the lock. Who has arrived, and is here, is in its action: nobody else could tell
 * that it has died in it if the place were not its own.
 *
 * Return: 0, -EPERM, -EDEADLK.
 */
static int leave(struct mproc__barrier_call *call)
{
	uint64_t state = get(&call->b->state), ticket;
	int i = mproc__barrier_place_of(call, call->me->word);

	if (i < 0)
		return -EPERM;
	ticket = get(&call->b->places[i].ticket);
	if ((ticket & FAILED) || has_arrived(ticket, state))
		return -EDEADLK;
	if ((call->flags & MPROC_BARRIER_ANONYMOUS) && !(ticket & JOINED))
		return -EPERM;
	mproc__barrier_close_place(call, &call->b->places[i]);
	return 0;
}

int mproc_barrier_leave(mproc_barrier *barrier)
{
	struct mproc__barrier_call call = { 0 };
	int r;

	r = mproc__barrier_enter(&call, barrier, "barrier leave");
	if (r == 0)
		r = mproc__barrier_take(&call);
	if (r < 0)
		return r;
	r = leave(&call);
	mproc__barrier_give(&call);
	if (r == -EPERM)
		return mproc__fail(r,
				   "barrier leave: the calling thread is no party of the barrier "
				   "at %p",
				   (void *)barrier);
	if (r == -EDEADLK)
		return mproc__fail(r,
				   "barrier leave: the calling thread has arrived at %p already, "
				   "and runs the action",
				   (void *)barrier);
	return r;
}

int mproc_barrier_abort(mproc_barrier *barrier)
{
	struct mproc__barrier_call call = { 0 };
	int r;

	r = mproc__barrier_enter(&call, barrier, "barrier abort");
	if (r == 0)
		r = mproc__barrier_take(&call);
	if (r < 0)
		return r;
	mproc__barrier_put_state(&call, get(&call.b->state) | BROKEN);
	mproc__barrier_give(&call);
	return 0;
}

int mproc_barrier_reset(mproc_barrier *barrier)
{
	struct mproc__barrier_call call = { 0 };
	int r;

	r = mproc__barrier_enter(&call, barrier, "barrier reset");
	if (r == 0)
		r = mproc__barrier_take(&call);
	if (r < 0)
		return r;
	/* From here on it is an heir's business as well as ours. */
	mproc__barrier_put_state(&call, get(&call.b->state) | BROKEN | RESETTING);
	mproc__barrier_finish_reset(&call);
	mproc__barrier_give(&call);
	return 0;
}

static int look(mproc_barrier *barrier, const char *what, uint64_t *ret)
{
	struct mproc__barrier_call call = { 0 };
	int r;

	r = mproc__barrier_enter(&call, barrier, what);
	if (r == 0)
		*ret = get(&call.b->state);
	return r;
}

int mproc_barrier_n_parties(mproc_barrier *barrier)
{
	uint64_t state = 0;
	int r = look(barrier, "barrier n_parties", &state);

	return r < 0 ? r : (int)parties_of(state);
}

int mproc_barrier_n_waiting(mproc_barrier *barrier)
{
	uint64_t state = 0;
	int r = look(barrier, "barrier n_waiting", &state);

	if (r < 0)
		return r;
	return state & BROKEN ? 0 : (int)arrived_of(state);
}

int mproc_barrier_is_broken(mproc_barrier *barrier)
{
	uint64_t state = 0;
	int r = look(barrier, "barrier is_broken", &state);

	return r < 0 ? r : (state & BROKEN) != 0;
}
