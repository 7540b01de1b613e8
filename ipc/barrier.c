/* SPDX-License-Identifier: MIT */

/*
 * A place in the program that nobody leaves before all have come
 *
 *	state		phase 36 | parties 12 | arrived 12 | flags 4
 *	place[n]	owner: 0 vacant, CLOSED, or a party
 *			ticket: phase 36 | number 12 | flags of the place
 *
 * All is written by whoever has the lock, and each call is committed by one store, to
 * the state or to a place's owner:
 *
 *	arrive		ticket, owner, then arrived + 1; the last one without an action
 *			writes the next phase in the same store
 *	leave, shrink	owner = CLOSED, then parties - 1
 *	break		BROKEN
 *	reset		BROKEN and RESETTING; places one by one; then the next phase
 *
 * A ticket says that its owner has arrived if its phase is the present one and its
 * number is less than arrived: what was written before the commit does not count yet.
 * Whoever gets the lock from a dead owner takes such tickets away, before another
 * arrival could make them count, counts the closed places for parties, and finishes a
 * reset. Each of these may be done again.
 *
 * Those who wait look at the state alone, without the lock. A phase of g that goes on
 * to g + 1 was released, unless a reset did it: that writes FAILED into the tickets of
 * all who wait, before. A place with FAILED stays its owner's until he has seen it or is
 * dead. Any other may be another's by the time he wakes, which says that he was
 * released. So nobody misses how his phase ended, however late he looks and whatever
 * has become of the barrier since.
 *
 * Complete but not released. When a party leaves or is shrunk away the rest may be
 * complete, and nobody among those in the call is waiting: every waiter tests for that
 * and one of them gets the lock first. If it has an action to run it says ACTING in the
 * state and ACTOR in its ticket and gives the lock up meanwhile: no action of the user's
 * runs under our lock.
 *
 * Deaths are looked for by those who wait when a sleep was ended by its quantum, and by
 * who finds no vacant place: mproc__dead() of the owners, of the lock and of the places.
 *
 * Kills. Of the lock's owner, see above; of a releaser after the commit and before the
 * wake, the sleepers' quantum; of any party, the policy; of the actor, BROKEN.
 */

#include <mproc/barrier.h>

#include <errno.h>
#include <inttypes.h>

#include "ipc/barrier_inside.h"
#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/participant.h"

/* What is to be done about a place. */
enum verdict { FINE, GIVE_BACK, CLOSE, BREAK };

void mproc__barrier_put_state(struct mproc__barrier_call *call, uint64_t state)
{
	put(&call->b->state, state);
	call->changed = true;
}

void mproc__barrier_close_place(struct mproc__barrier_call *call,
				struct mproc__barrier_place *place)
{
	uint64_t state = get(&call->b->state);

	put(&place->owner, CLOSED);
	mproc__barrier_put_state(
		call, state_word(phase_of(state), parties_of(state) - 1, arrived_of(state)) |
			      (state & 15));
}

static void release(struct mproc__barrier_call *call, uint64_t state)
{
	mproc__barrier_put_state(call, state_word(phase_of(state) + 1, parties_of(state), 0));
}

/* BROKEN and RESETTING are there: vacate the places, but for those who must be told. */
void mproc__barrier_finish_reset(struct mproc__barrier_call *call)
{
	struct mproc__barrier *b = call->b;
	uint64_t state = get(&b->state);

	for (uint32_t i = 0; i < call->n; i++) {
		struct mproc__barrier_place *place = &b->places[i];
		uint64_t ticket = get(&place->ticket), owner = get(&place->owner);

		if (mproc__owner_id(owner) && !mproc__dead(call->me->range, owner) &&
		    ((ticket & FAILED) || has_arrived(ticket, state))) {
			put(&place->ticket, ticket | FAILED);
			continue;
		}
		put(&place->owner, VACANT);
		put(&place->ticket, 0);
	}
	mproc__barrier_put_state(call, state_word(phase_of(state) + 1, call->n, 0));
}

/* The lock's last owner died with it. */
static void repair(struct mproc__barrier_call *call)
{
	struct mproc__barrier *b = call->b;
	uint64_t state = get(&b->state), parties = call->n, right;

	for (uint32_t i = 0; i < call->n; i++) {
		uint64_t ticket = get(&b->places[i].ticket);

		if ((ticket & ARRIVED) && phase_of(ticket) == phase_of(state) &&
		    !has_arrived(ticket, state))
			put(&b->places[i].ticket, ticket & JOINED);
		else if ((ticket & ACTOR) && !(state & ACTING))
			put(&b->places[i].ticket, ticket & ~ACTOR);
		parties -= get(&b->places[i].owner) == CLOSED;
	}
	right = state_word(phase_of(state), parties, arrived_of(state)) | (state & 15);
	if (!(state & RESETTING) && right != state)
		mproc__barrier_put_state(call, right);
	if (state & RESETTING)
		mproc__barrier_finish_reset(call);
}

/* Return: 0, or -EBADMSG: the lock's word is not what we left there. */
int mproc__barrier_take(struct mproc__barrier_call *call)
{
	int r;

	call->changed = false;
	/* Noted while we may owe the others a wake-up. */
	call->acts = mproc__act_begin(call->me, call->what);
	r = mproc__lock_take(&call->b->lock, call->me, call->what, MPROC_FOREVER);
	if (r < 0) {
		mproc__act_end(call->me, call->acts);
		return mproc__fail(-EBADMSG, "the lock of the barrier at %p is corrupt",
				   (void *)call->b);
	}
	if (r == MPROC__LOCK_INHERITED) {
		repair(call);
		mproc__lock_repaired(&call->b->lock, call->me);
	}
	return 0;
}

void mproc__barrier_give(struct mproc__barrier_call *call)
{
	mproc__lock_release(&call->b->lock, call->me);
	if (call->changed) {
		/* One wakes many, so it is the one who pays for the order. */
		atomic_thread_fence(memory_order_seq_cst);
		if (atomic_load_explicit(&call->b->sleepers, memory_order_relaxed) & 1)
			mproc__wake_slow(&call->b->sleepers, INT32_MAX);
	}
	mproc__act_end(call->me, call->acts);
}

static int broken(struct mproc__barrier_call *call, const char *what)
{
	return mproc__fail(-EPIPE, "%s: the barrier at %p is broken, or was reset", what,
			   (void *)call->b);
}

/* Who we are where @barrier lies, if there is one. Return: 0 or a negative errno. */
int mproc__barrier_enter(struct mproc__barrier_call *call, mproc_barrier *barrier, const char *what)
{
	struct mproc__barrier *b = (struct mproc__barrier *)barrier;
	uint32_t shape;

	call->b = b;
	call->me = mproc__self(barrier, what);
	if (!call->me)
		return mproc__self_error();
	if (atomic_load_explicit(&b->lock.tag, memory_order_relaxed) != BARRIER_TAG)
		return mproc__fail(-EINVAL, "%s: no barrier at %p", what, (void *)barrier);
	shape = atomic_load_explicit(&b->shape, memory_order_relaxed);
	call->n = shape & 0xffff;
	call->flags = shape >> 16;
	if (!mproc_barrier_size(call->n) ||
	    !mproc__range_has(call->me->range, mproc__self_off(call->me, barrier),
			      mproc_barrier_size(call->n)))
		return mproc__fail(-EBADMSG, "%s: the barrier at %p is corrupt: %" PRIu32 " places",
				   what, (void *)barrier, call->n);
	call->what = mproc__what(MPROC__KIND_BARRIER, mproc__self_off(call->me, barrier));
	return 0;
}

/* Deaths. */

/* Ask whether the owner of @place is dead, if that matters, and say what follows. */
static enum verdict judge(const struct mproc__barrier_call *call,
			  struct mproc__barrier_place *place, uint64_t state)
{
	uint64_t ticket = get(&place->ticket), owner = get(&place->owner);
	bool arrived = has_arrived(ticket, state);

	if (!mproc__owner_id(owner) || ((state & BROKEN) && !(ticket & FAILED)))
		return FINE;
	if ((call->flags & MPROC_BARRIER_ANONYMOUS) && !arrived && !(ticket & (JOINED | FAILED)))
		return FINE;
	if ((call->flags & MPROC_BARRIER_SHRINK) && arrived && !(ticket & FAILED) &&
	    !((ticket & ACTOR) && (state & ACTING)))
		return FINE;
	if (!mproc__dead(call->me->range, owner))
		return FINE;
	if (ticket & FAILED)
		return GIVE_BACK;
	return (call->flags & MPROC_BARRIER_SHRINK) && !arrived ? CLOSE : BREAK;
}

/* With the lock. Return: whether anything was done. */
bool mproc__barrier_bury(struct mproc__barrier_call *call)
{
	bool done = false;

	for (uint32_t i = 0; i < call->n; i++) {
		struct mproc__barrier_place *place = &call->b->places[i];
		uint64_t state = get(&call->b->state);
		enum verdict verdict = judge(call, place, state);

		if (verdict == FINE)
			continue;
		if (verdict == GIVE_BACK)
			put(&place->owner, VACANT);
		else if (verdict == CLOSE)
			mproc__barrier_close_place(call, place);
		else
			mproc__barrier_put_state(call, state | BROKEN);
		done = call->died = call->changed = true;
	}
	return done;
}

/* Without it: it is taken only where there is something to do. Return: 0 or negative. */
static int look_for_dead(struct mproc__barrier_call *call)
{
	uint64_t state = get(&call->b->state), word = get(&call->b->lock.word);
	bool found;
	int r;

	/* He may have changed a place, and not yet the state that we look at. */
	found = mproc__owner_id(word) && mproc__dead(call->me->range, word);
	for (uint32_t i = 0; i < call->n && !found; i++)
		found = judge(call, &call->b->places[i], state) != FINE;
	if (!found)
		return 0;
	r = mproc__barrier_take(call);
	if (r < 0)
		return r;
	mproc__barrier_bury(call);
	mproc__barrier_give(call);
	return 0;
}

/* Arriving. */

int mproc__barrier_place_of(const struct mproc__barrier_call *call, uint64_t owner)
{
	for (uint32_t i = 0; i < call->n; i++)
		if (get(&call->b->places[i].owner) == owner)
			return (int)i;
	return -1;
}

int mproc__barrier_idle_place(const struct mproc__barrier_call *call, uint64_t state)
{
	for (uint32_t i = 0; i < call->n; i++) {
		uint64_t ticket = get(&call->b->places[i].ticket);

		if (mproc__owner_id(get(&call->b->places[i].owner)) &&
		    !(ticket & (JOINED | FAILED)) && !has_arrived(ticket, state))
			return (int)i;
	}
	return -1;
}

/*
 * A place to arrive at.
 *
 * Return: its number; -EAGAIN if there will be one when the others go on, -EPIPE if
 * the barrier is broken, -EUSERS.
 */
static int find_place(struct mproc__barrier_call *call)
{
	uint64_t state;
	int i;

	i = mproc__barrier_place_of(call, call->me->word);
	if (i < 0)
		i = mproc__barrier_place_of(call, VACANT);
	/* Somebody's place: his death, if it is one, must not be hidden by ours. */
	while (i < 0 && mproc__barrier_bury(call))
		i = mproc__barrier_place_of(call, VACANT);
	state = get(&call->b->state);
	if (state & BROKEN)
		return -EPIPE;
	if (i < 0)
		i = mproc__barrier_idle_place(call, state);
	if (i >= 0)
		return i;
	/* All have arrived and go on soon, or somebody has still to see that he failed. */
	if ((state & ACTING) || (parties_of(state) && arrived_of(state) >= parties_of(state)))
		return -EAGAIN;
	for (uint32_t k = 0; k < call->n; k++)
		if (get(&call->b->places[k].ticket) & FAILED)
			return -EAGAIN;
	return -EUSERS;
}

/* With the lock. Return: 0 or 1: arrived, and it is ours to act; or negative. */
static int arrive(struct mproc__barrier_call *call)
{
	struct mproc__barrier *b = call->b;
	uint64_t state = get(&b->state), ticket, keep = 0;
	struct mproc__barrier_place *place;
	bool last;
	int i;

	if (state & BROKEN)
		return -EPIPE;
	/* Who only ever looks in would never learn of a death that others wait to notice. */
	if (call->deadline == MPROC_NOWAIT && arrived_of(state) + 1 < parties_of(state))
		mproc__barrier_bury(call);
	i = find_place(call);
	if (i < 0)
		return i;
	state = get(&b->state);
	place = &b->places[i];
	if (get(&place->owner) == call->me->word) {
		keep = get(&place->ticket) & JOINED;
		if (has_arrived(get(&place->ticket), state))
			return -EDEADLK;
	}
	/* Whoever has joined since all had arrived comes to the next phase. */
	if (state & ACTING)
		return -EAGAIN;
	last = arrived_of(state) + 1 >= parties_of(state);
	if (call->deadline == MPROC_NOWAIT && !last)
		return -EAGAIN;
	ticket = ticket_word(phase_of(state), arrived_of(state), ARRIVED | keep);
	call->seat = (uint32_t)i;
	call->ticket = ticket;
	call->arrived = true;
	put(&place->ticket, ticket | (last && call->action ? ACTOR : 0));
	put(&place->owner, call->me->word);
	state = state_word(phase_of(state), parties_of(state), arrived_of(state) + 1);
	if (last && !call->action)
		release(call, state);
	else
		put(&b->state, state | (last ? ACTING : 0));
	return last && call->action;
}

/* Our arrival has come to nothing: take it back, or notice that it was. */
static int settle_broken(struct mproc__barrier_call *call)
{
	struct mproc__barrier_place *place = &call->b->places[call->seat];
	int r;

	r = mproc__barrier_take(call);
	if (r < 0)
		return r;
	if (get(&place->owner) == call->me->word) {
		uint64_t ticket = get(&place->ticket);

		if (ticket & FAILED)
			put(&place->owner, VACANT);
		put(&place->ticket, ticket & FAILED ? 0 : ticket & JOINED);
		/* Somebody may be waiting for a place. */
		call->changed = true;
	}
	mproc__barrier_give(call);
	return broken(call, "barrier wait");
}

/* All have arrived and the state says ACTING, because of us. */
static int act(struct mproc__barrier_call *call)
{
	uint64_t state, word = call->me->word;
	int acted, r;

	acted = call->action(call->arg);
	/* Asked anew: it may have forked, or closed the segment. */
	call->gone = true;
	call->me = mproc__self(call->b, "barrier wait");
	if (!call->me)
		return mproc__self_error();
	if (call->me->word != word)
		return mproc__fail(-EPERM,
				   "barrier wait: the party of the barrier at %p is the process "
				   "that this one was forked from",
				   (void *)call->b);
	call->gone = false;
	r = mproc__barrier_take(call);
	if (r < 0)
		return r;
	state = get(&call->b->state);
	if (phase_of(state) != phase_of(call->ticket) || (state & BROKEN)) {
		mproc__barrier_give(call);
		return settle_broken(call);
	}
	if (acted < 0) {
		mproc__barrier_put_state(call, state | BROKEN);
		put(&call->b->places[call->seat].ticket, call->ticket & JOINED);
	} else {
		release(call, state);
	}
	mproc__barrier_give(call);
	return acted < 0 ? acted : number_of(call->ticket);
}

/* We saw that all have arrived and nobody releases them. */
static int complete(struct mproc__barrier_call *call)
{
	uint64_t state;
	int r;

	r = mproc__barrier_take(call);
	if (r < 0)
		return r;
	state = get(&call->b->state);
	if (phase_of(state) != phase_of(call->ticket) || !is_complete(state)) {
		mproc__barrier_give(call);
		return -EAGAIN;
	}
	if (!call->action) {
		release(call, state);
		mproc__barrier_give(call);
		return number_of(call->ticket);
	}
	put(&call->b->places[call->seat].ticket, call->ticket | ACTOR);
	put(&call->b->state, state | ACTING);
	mproc__barrier_give(call);
	return act(call);
}

/* How has our phase ended? Return: the number, -EPIPE, or -EAGAIN: it has not. */
static int look(struct mproc__barrier_call *call)
{
	struct mproc__barrier_place *place = &call->b->places[call->seat];
	uint64_t state = get(&call->b->state), ticket;

	if (phase_of(state) == phase_of(call->ticket)) {
		if (state & (BROKEN | RESETTING))
			return settle_broken(call);
		return is_complete(state) ? complete(call) : -EAGAIN;
	}
	ticket = get(&place->ticket);
	if (get(&place->owner) == call->me->word && (ticket & FAILED) &&
	    phase_of(ticket) == phase_of(call->ticket))
		return settle_broken(call);
	return number_of(call->ticket);
}

static int attempt(struct mproc__barrier_call *call)
{
	int r;

	if (call->arrived)
		return look(call);
	r = mproc__barrier_take(call);
	if (r < 0)
		return r;
	r = arrive(call);
	mproc__barrier_give(call);
	if (r == 1)
		return act(call);
	if (r == -EPIPE)
		return broken(call, "barrier wait");
	if (r == -EUSERS)
		return mproc__fail(r,
				   "barrier wait: no place at %p is vacant or belongs to one who "
				   "has not joined",
				   (void *)call->b);
	if (r == -EDEADLK)
		return mproc__fail(
			r,
			"barrier wait: the calling thread has arrived at %p already, and "
			"runs the action",
			(void *)call->b);
	return r < 0 ? r : look(call);
}

/* It has arrived and does not wait any longer. */
static int give_up(struct mproc__barrier_call *call, int why)
{
	uint64_t state;
	int r;

	r = mproc__barrier_take(call);
	if (r < 0)
		return r;
	state = get(&call->b->state);
	if (phase_of(state) != phase_of(call->ticket) || (state & BROKEN)) {
		mproc__barrier_give(call);
		return look(call);
	}
	mproc__barrier_put_state(call, state | BROKEN);
	put(&call->b->places[call->seat].ticket, call->ticket & JOINED);
	mproc__barrier_give(call);
	return why;
}

/*
 * The deadline has passed. It may be shorter than the sleep at whose end we look for
 * the dead, whom we are not to break a barrier for that would go on without them.
 */
static int last_look(struct mproc__barrier_call *call, int why)
{
	int r;

	if (!call->arrived)
		return why;
	r = look_for_dead(call);
	if (r == 0)
		r = attempt(call);
	return r == -EAGAIN ? give_up(call, why) : r;
}

/* Return: as mproc_barrier_wait(). */
static int wait_for_all(struct mproc__barrier_call *call)
{
	struct mproc__wait wait;
	uint32_t key;
	int r, turn;

	r = attempt(call);
	if (r != -EAGAIN)
		return r;
	mproc__wait_begin(&wait, call->me, call->what, call->deadline, MPROC__QUANTUM_IDLE);
	/* Polled for like what nobody owes us; but deaths are to be noticed soon. */
	wait.quantum = MPROC__QUANTUM_OWNED;
	for (;;) {
		turn = mproc__wait_turn(&wait, MPROC__CPU_ANY);
		if (turn < 0) {
			r = last_look(call, turn);
			break;
		}
		if (turn == MPROC__WAIT_SLEEP) {
			key = mproc__wait_announce_fenced(&wait, &call->b->sleepers);
			r = attempt(call);
			if (r != -EAGAIN)
				break;
			mproc__wait_sleep(&wait, &call->b->sleepers, key);
			r = wait.overslept ? look_for_dead(call) : 0;
			if (r < 0)
				break;
		}
		r = attempt(call);
		if (r != -EAGAIN)
			break;
	}
	/* Of one who has become another the wait is the other's no more. */
	if (!call->gone)
		mproc__wait_end(&wait, r >= 0 && !call->died);
	return r;
}

int mproc_barrier_wait(mproc_barrier *barrier, int (*action)(void *arg), void *arg,
		       int64_t deadline)
{
	struct mproc__barrier_call call = { .action = action, .arg = arg, .deadline = deadline };
	int r;

	r = mproc__barrier_enter(&call, barrier, "barrier wait");
	if (r < 0)
		return r;
	if (deadline < 0)
		return mproc__deadline_check("barrier wait", deadline);
	return wait_for_all(&call);
}
