/* SPDX-License-Identifier: MIT */

/*
 * Waiting, with a mutex held, until another has changed what the mutex protects
 *
 * There is no list. A waiter draws a ticket and writes into its thread record that it
 * is queued at this condition, and its ticket; it sleeps on a word of its own there.
 *
 *	ticket		the last one drawn
 *	notified	who has a ticket up to this one has been notified
 *	record:		queued_at = this condition, ticket
 *
 *	waiting		queued, ticket >  notified
 *	notified	queued, ticket <= notified: on its way back to the mutex
 *
 * Those who are notified are always those with the least tickets, so notify(n) looks up
 * the ticket of the n-th living waiter and writes it into "notified": one store notifies
 * all n. ticket == notified says that nobody waits.
 *
 * All this changes under the condition's own lock, which is held for the length of a
 * scan and never while anybody waits for the mutex. A waiter alone reads "notified"
 * without it: the number only grows, so what it has once read stays true. When it has
 * the mutex again it leaves, under the lock: queued_at = 0.
 *
 * The dead. A record that is queued and whose thread is dead does not count: who meets it
 * waiting takes it out. One that was notified and is still queued has died on its way,
 * and its notification passes on to the living waiter with the least ticket: "notified"
 * is set to that ticket. So that it passes on once, the record of the dead says first to
 * which ticket (MOVED): who finds it so, with "notified" there or further, knows that it
 * has happened; else, if that waiter is still queued, he does it; else it is again as if
 * it had never moved. Those between, if any, are taken out before; they are dead. This is
 * done by whoever has the lock: notifiers, waiters at the end of a quantum, and the
 * reaper, who does not free such a record before. Only a record of a dead thread that is
 * queued here is written by others than its thread, and it cannot be another's before it
 * has been taken out here.
 *
 * At most one move is unfinished at any time, and "notified" as it says. Everybody who
 * writes MOVED or "notified" (notifiers, look_around, queue_up, the reaper: all by
 * pass_on, and notify after it) first finishes what he finds, without letting go of the
 * lock, and makes one move after the other; a waiter that leaves writes neither. So
 * "notified" cannot have come to a MOVED ticket by another way than that move, two moves
 * never lead to the same ticket, and one that leads to a waiter who has died since is
 * notified before the loop that passes on begins, and the loop finds it wherever it is.
 *
 * Kills. A notifier: before the store nothing has happened, after it the quantum wakes
 * whom it did not. A waiter: before queued_at is set it does not wait; until it is
 * cleared see above; after that it owns the mutex, which passes on as inherited. Under
 * the lock: the lock's heir finds a state of the above and has nothing to repair.
 */

#include <mproc/condition.h>

#include <errno.h>
#include <inttypes.h>

#include "ipc/clock.h"
#include "ipc/condition.h"
#include "ipc/error.h"
#include "ipc/lock.h"
#include "ipc/mutex_layout.h"
#include "ipc/owned.h"
#include "ipc/participant.h"
#include "ipc/rmutex.h"

#define CONDITION_TAG 0x646e6f63u /* "cond" */
#define MOVED         UINT64_C(1) /* of a record's ticket, which is shifted by one */

struct condition {
	struct mproc__lock lock; /* its tag is ours */
	_Atomic(uint64_t) ticket;
	_Atomic(uint64_t) notified;
	_Atomic(uint64_t) mutex; /* of those who wait, or waited last, as in holds */
	uint64_t reserved;
};

static_assert(sizeof(struct condition) <= sizeof(mproc_condition), "a condition outgrew its type");
static_assert(alignof(struct condition) <= alignof(mproc_condition), "a condition is misaligned");

/* What lies at an offset that was read from memory, or NULL. */
static void *object_at(const struct mproc__range *range, uint64_t off, uint64_t len)
{
	return off % 8 ? NULL : mproc__range_at(range, off, len);
}

/* One who looks after a condition. */
struct keeper {
	struct condition *c;
	struct mproc__self *me;
	uint64_t what;
	const struct mproc__thread *gone; /* a record whose thread is known to be dead, or NULL */
};

static struct condition *condition_of(mproc_condition *condition)
{
	return (struct condition *)condition;
}

/* Return: 0 or a negative errno. */
static int enter(mproc_condition *condition, const char *what, struct keeper *ret)
{
	ret->gone = NULL;
	ret->c = condition_of(condition);
	ret->me = mproc__self(condition, what);
	if (!ret->me)
		return mproc__self_error();
	if (atomic_load_explicit(&ret->c->lock.tag, memory_order_relaxed) != CONDITION_TAG)
		return mproc__fail(-EINVAL, "%s: no condition at %p", what, (void *)condition);
	ret->what = mproc__what(MPROC__KIND_CONDITION, mproc__self_off(ret->me, condition));
	return 0;
}

/* Return: 0, or -EBADMSG: the lock's word is not what we left there. */
static int lock(const struct keeper *k)
{
	int r = mproc__lock_take(&k->c->lock, k->me, k->what, MPROC_FOREVER);

	if (r < 0)
		return mproc__fail(-EBADMSG, "the lock of the condition at %p is corrupt",
				   (void *)k->c);
	/* An heir has nothing to repair but the word. */
	if (r == MPROC__LOCK_INHERITED)
		mproc__lock_repaired(&k->c->lock, k->me);
	return 0;
}

static void unlock(const struct keeper *k)
{
	mproc__lock_release(&k->c->lock, k->me);
}

static uint64_t notified(const struct keeper *k)
{
	return atomic_load_explicit(&k->c->notified, memory_order_acquire);
}

/* Notify all tickets up to this one. */
static void set_notified(const struct keeper *k, uint64_t ticket)
{
	/* A kill exposes a prefix of program order: what was written before stands. */
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&k->c->notified, ticket, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
}

/* What follows, up to mproc_condition_init(), is for those who have the lock. */

static bool is_queued(const struct keeper *k, const struct mproc__thread *rec)
{
	return atomic_load_explicit(&rec->queued_at, memory_order_acquire) == k->what;
}

static bool is_dead(const struct keeper *k, const struct mproc__thread *rec)
{
	uint64_t own = atomic_load_explicit(&rec->own, memory_order_acquire);

	return rec == k->gone ||
	       mproc__dead(k->me->range, mproc__owner_word((uint32_t)(rec - k->me->range->threads),
							   mproc__owner_generation(own)));
}

/* Take out the record of a dead one. */
static void take_out(const struct keeper *k, struct mproc__thread *rec)
{
	uint64_t what = k->what;

	/* It may have been freed meanwhile, and be another's who waits elsewhere. */
	atomic_compare_exchange_strong(&rec->queued_at, &what, 0);
}

/* The record, dead or alive, with the least ticket above @after; or NULL. */
static struct mproc__thread *first_above(const struct keeper *k, uint64_t after,
					 uint64_t *ret_ticket)
{
	struct mproc__range *range = k->me->range;
	struct mproc__thread *best = NULL;

	for (uint32_t i = 0; i < range->n_threads; i++) {
		struct mproc__thread *rec = &range->threads[i];
		uint64_t ticket;

		if (!is_queued(k, rec))
			continue;
		ticket = atomic_load_explicit(&rec->ticket, memory_order_relaxed);
		if (ticket & MOVED || ticket >> 1 <= after || (best && ticket >> 1 > *ret_ticket))
			continue;
		best = rec;
		*ret_ticket = ticket >> 1;
	}
	return best;
}

/* The same among the living; the dead that are met are taken out. */
static struct mproc__thread *first_living_above(const struct keeper *k, uint64_t after,
						uint64_t *ret_ticket)
{
	struct mproc__thread *rec;

	for (uint32_t i = 0; i <= k->me->range->n_threads; i++) {
		rec = first_above(k, after, ret_ticket);
		if (!rec || !is_dead(k, rec))
			return rec;
		take_out(k, rec);
	}
	return NULL;
}

static void wake(const struct keeper *k, struct mproc__thread *rec)
{
	mproc__wake_all(k->me, &rec->wake);
}

/* Has a notification that was moved to @ticket arrived? If its waiter is there it has now. */
static bool has_arrived(const struct keeper *k, uint64_t ticket)
{
	struct mproc__thread *rec;
	uint64_t found;

	if (ticket <= notified(k))
		return true;
	rec = first_above(k, ticket - 1, &found);
	if (!rec || found != ticket)
		return false;
	set_notified(k, ticket);
	wake(k, rec);
	return true;
}

/* Finish the move that a keeper was killed in, before anything else becomes notified. */
static void finish_moves(const struct keeper *k)
{
	struct mproc__range *range = k->me->range;

	for (uint32_t i = 0; i < range->n_threads; i++) {
		struct mproc__thread *rec = &range->threads[i];
		uint64_t ticket;

		if (!is_queued(k, rec))
			continue;
		ticket = atomic_load_explicit(&rec->ticket, memory_order_relaxed);
		if (!(ticket & MOVED) || !is_dead(k, rec))
			continue;
		if (has_arrived(k, ticket >> 1))
			take_out(k, rec);
		else
			/* Notified, and not moved. */
			atomic_store_explicit(&rec->ticket, 0, memory_order_relaxed);
	}
}

/* Pass on the notifications of those who died before they left. */
static void pass_on(const struct keeper *k)
{
	struct mproc__range *range = k->me->range;

	finish_moves(k);
	for (uint32_t i = 0; i < range->n_threads; i++) {
		struct mproc__thread *rec = &range->threads[i], *next;
		uint64_t ticket, to;

		if (!is_queued(k, rec))
			continue;
		ticket = atomic_load_explicit(&rec->ticket, memory_order_relaxed);
		if (ticket & MOVED || ticket >> 1 > notified(k) || !is_dead(k, rec))
			continue;
		next = first_living_above(k, notified(k), &to);
		if (next) {
			atomic_store_explicit(&rec->ticket, to << 1 | MOVED, memory_order_relaxed);
			set_notified(k, to);
		}
		take_out(k, rec);
		if (next)
			wake(k, next);
	}
}

/* How many living ones wait, of whom the dead are taken out. */
static uint32_t n_waiting(const struct keeper *k)
{
	uint64_t after = notified(k);
	uint32_t n = 0;

	for (uint32_t i = 0; i < k->me->range->n_threads; i++) {
		struct mproc__thread *rec = &k->me->range->threads[i];
		uint64_t ticket;

		if (!is_queued(k, rec))
			continue;
		ticket = atomic_load_explicit(&rec->ticket, memory_order_relaxed);
		if (ticket & MOVED || ticket >> 1 <= after)
			continue;
		if (is_dead(k, rec))
			take_out(k, rec);
		else
			n++;
	}
	return n;
}

/* Is there any living one that is queued, waiting or on its way? */
static bool anybody(const struct keeper *k)
{
	for (uint32_t i = 0; i < k->me->range->n_threads; i++) {
		struct mproc__thread *rec = &k->me->range->threads[i];

		if (is_queued(k, rec) && !is_dead(k, rec))
			return true;
	}
	return false;
}

/*
 * Take out those who were killed in a wait for what lay here before.
 *
 * Return: 0, or -EBUSY and nothing changed: a living thread is queued here.
 */
static int forget_dead(struct mproc__range *range, uint64_t what)
{
	struct mproc__self nobody = { .range = range };
	struct keeper k = { .me = &nobody, .what = what };

	if (anybody(&k))
		return -EBUSY;
	for (uint32_t i = 0; i < range->n_threads; i++)
		if (is_queued(&k, &range->threads[i]))
			take_out(&k, &range->threads[i]);
	return 0;
}

int mproc_condition_init(mproc_condition *condition, uint32_t flags)
{
	struct condition *c = condition_of(condition);
	struct mproc__range *range;

	if (flags)
		return mproc__fail(-EINVAL, "condition init: unknown flags 0x%" PRIx32, flags);
	if ((uintptr_t)condition % alignof(mproc_condition))
		return mproc__fail(-EINVAL, "condition init: %p is not aligned to %zu bytes",
				   (void *)condition, alignof(mproc_condition));
	range = mproc__range_find(condition);
	if (!range)
		return mproc__fail(-ENOTCONN,
				   "condition init: address %p lies in no attached segment",
				   (void *)condition);
	if (mproc__is_read_only(condition))
		return mproc__fail_read_only("condition init");
	if (forget_dead(range,
			mproc__what(MPROC__KIND_CONDITION, (uintptr_t)condition - range->base)) < 0)
		return mproc__fail(-EBUSY,
				   "condition init: a living thread waits for a condition at %p",
				   (void *)condition);
	atomic_store_explicit(&c->lock.word, 0, memory_order_relaxed);
	atomic_store_explicit(&c->lock.sleepers, 0, memory_order_relaxed);
	atomic_store_explicit(&c->ticket, 0, memory_order_relaxed);
	atomic_store_explicit(&c->notified, 0, memory_order_relaxed);
	atomic_store_explicit(&c->mutex, 0, memory_order_relaxed);
	atomic_store_explicit(&c->lock.tag, CONDITION_TAG, memory_order_release);
	return 0;
}

void mproc_condition_destroy(mproc_condition *condition)
{
	if (condition && !mproc__is_read_only(condition))
		atomic_store_explicit(&condition_of(condition)->lock.tag, 0, memory_order_release);
}

/* The mutex of a wait, as in holds, and its owner word. Return: 0 or a negative errno. */
static int mutex_of(const struct keeper *k, void *mutex, uint64_t *ret_what, uint64_t *ret_word)
{
	const struct mproc__self *me = k->me;
	struct mproc__lock *inner = mutex;
	size_t size = atomic_load_explicit(&me->size, memory_order_relaxed);
	uintptr_t off = (uintptr_t)mutex - me->base;
	uint32_t tag;

	if (size < sizeof(*inner) || off > size - sizeof(*inner) || off % 8)
		return mproc__fail(-EINVAL,
				   "condition wait: the mutex at %p lies in another segment than "
				   "the condition",
				   mutex);
	tag = atomic_load_explicit(&inner->tag, memory_order_relaxed);
	if (tag != MPROC__RMUTEX_TAG && !mproc__mutex_is(tag))
		return mproc__fail(-EINVAL, "condition wait: no mutex at %p", mutex);
	*ret_what =
		mproc__what(tag == MPROC__RMUTEX_TAG ? MPROC__KIND_RMUTEX : MPROC__KIND_MUTEX, off);
	*ret_word = atomic_load_explicit(&inner->word, memory_order_relaxed);
	if (!mproc__owned_by_me(me, *ret_word))
		return mproc__owned_refuse(inner, me, *ret_word, "condition wait", "mutex");
	/* To wait is to unlock, which would lose it. */
	if (tag != MPROC__RMUTEX_TAG && tag & MPROC__MUTEX_STRICT &&
	    *ret_word & MPROC__OWNER_INHERITED)
		return mproc__fail(-EINVAL,
				   "condition wait: the mutex at %p is strict and inherited, and "
				   "nobody has called mproc_mutex_consistent()",
				   mutex);
	return 0;
}

/* Draw a ticket and queue. Return: 0 and the ticket, or -EINVAL or -EBADMSG. */
static int queue_up(const struct keeper *k, uint64_t mutex, uint64_t *ret_ticket)
{
	struct condition *c = k->c;
	uint64_t theirs;
	int r;

	r = lock(k);
	if (r < 0)
		return r;
	pass_on(k);
	theirs = atomic_load_explicit(&c->mutex, memory_order_relaxed);
	if (theirs != mutex && theirs && anybody(k)) {
		r = -EINVAL;
	} else {
		atomic_store_explicit(&c->mutex, mutex, memory_order_relaxed);
		*ret_ticket = atomic_load_explicit(&c->ticket, memory_order_relaxed) + 1;
		atomic_store_explicit(&c->ticket, *ret_ticket, memory_order_relaxed);
		atomic_store_explicit(&k->me->rec->ticket, *ret_ticket << 1, memory_order_relaxed);
		/* Release, and for the prefix a kill leaves: queued with this ticket. */
		atomic_store_explicit(&k->me->rec->queued_at, k->what, memory_order_release);
	}
	unlock(k);
	if (r < 0)
		mproc__fail(r,
			    "condition wait: others wait with the mutex at %" PRIu64
			    " of the segment, not %" PRIu64,
			    mproc__what_off(theirs), mproc__what_off(mutex));
	return r;
}

/* Leave. Return: 1: we were notified, 0: we were not, or -EBADMSG. */
static int leave(const struct keeper *k, uint64_t ticket)
{
	int r = lock(k), ret = ticket <= notified(k);

	/* Where there is no lock any more, no record may stay queued all the same. */
	atomic_store_explicit(&k->me->rec->queued_at, 0, memory_order_release);
	if (r < 0)
		return r;
	unlock(k);
	return ret;
}

/* Nobody has woken us for a quantum: one that was notified before us may have died. */
static void look_around(const struct keeper *k)
{
	int r = mproc__lock_try(&k->c->lock, k->me);

	if (r < 0)
		return;
	if (r == MPROC__LOCK_INHERITED)
		mproc__lock_repaired(&k->c->lock, k->me);
	pass_on(k);
	unlock(k);
}

/* Sleep until notified. Return: 0, -EAGAIN or -ETIMEDOUT. */
static int sleep_until(const struct keeper *k, uint64_t ticket, int64_t deadline)
{
	mproc__sleepers *at = &k->me->rec->wake;
	struct mproc__wait wait;
	int r = 0;

	if (ticket <= notified(k))
		return 0;
	mproc__wait_begin(&wait, k->me, k->what, deadline, MPROC__QUANTUM_IDLE);
	while (ticket > notified(k)) {
		int turn = mproc__wait_turn(&wait, MPROC__CPU_ANY);
		uint32_t key;

		if (turn < 0) {
			r = turn;
			break;
		}
		if (turn == MPROC__WAIT_POLL)
			continue;
		key = mproc__wait_announce(&wait, at);
		if (ticket <= notified(k))
			break;
		mproc__wait_sleep(&wait, at, key);
		if (wait.overslept && ticket > notified(k))
			look_around(k);
	}
	mproc__wait_end(&wait, r == 0);
	return r;
}

/* Own the mutex again, as deep as before. */
static int retake(void *mutex, uint64_t what, int depth)
{
	int r;

	if (mproc__what_kind(what) == MPROC__KIND_RMUTEX)
		r = mproc__rmutex_retake(mutex, depth);
	else
		r = mproc_mutex_lock(mutex, MPROC_FOREVER);
	if (r == -EINVAL)
		return mproc__fail(
			-EIDRM, "condition wait: the mutex at %p was destroyed meanwhile", mutex);
	return r;
}

int mproc_condition_wait(mproc_condition *condition, void *mutex, int64_t deadline)
{
	uint64_t what, word, ticket = 0, act;
	struct keeper k;
	int r, depth, told, was_notified;

	r = enter(condition, "condition wait", &k);
	if (r < 0)
		return r;
	if (deadline < 0)
		return mproc__deadline_check("condition wait", deadline);
	r = mutex_of(&k, mutex, &what, &word);
	if (r < 0)
		return r;
	act = mproc__act_begin(k.me, k.what);
	r = queue_up(&k, what, &ticket);
	if (r < 0) {
		mproc__act_end(k.me, act);
		return r;
	}
	depth = 1;
	if (mproc__what_kind(what) == MPROC__KIND_RMUTEX)
		depth = mproc__rmutex_release_all(mutex);
	else
		(void)mproc_mutex_unlock(mutex);
	r = sleep_until(&k, ticket, deadline);
	told = retake(mutex, what, depth);
	was_notified = leave(&k, ticket);
	mproc__act_end(k.me, act);
	if (told < 0 || was_notified < 0)
		return told < 0 ? told : was_notified;
	/* Told before this wait, it is no reason for a wait in time to go on and on. */
	if (told && (was_notified || !(word & MPROC__OWNER_INHERITED)))
		return MPROC_MUTEX_INHERITED;
	return was_notified ? 0 : r;
}

int mproc_condition_wait_for(mproc_condition *condition, void *mutex, int (*predicate)(void *arg),
			     void *arg, int64_t deadline)
{
	uint64_t what, word;
	struct keeper k;
	int r, holds;

	r = enter(condition, "condition wait", &k);
	if (r < 0)
		return r;
	if (deadline < 0)
		return mproc__deadline_check("condition wait", deadline);
	/* The predicate is asked with the mutex held, or not at all. */
	r = mutex_of(&k, mutex, &what, &word);
	if (r < 0)
		return r;
	for (;;) {
		holds = predicate(arg);
		if (holds)
			return holds < 0 ? holds : 0;
		if (r == -EAGAIN || r == -ETIMEDOUT)
			return r;
		r = mproc_condition_wait(condition, mutex, deadline);
		if (r > 0 || (r < 0 && r != -EAGAIN && r != -ETIMEDOUT))
			return r;
	}
}

/* Does the calling thread own the mutex of those who wait? */
static bool owns_mutex(const struct keeper *k)
{
	uint64_t what = atomic_load_explicit(&k->c->mutex, memory_order_relaxed);
	const struct mproc__lock *inner =
		object_at(k->me->range, mproc__what_off(what), sizeof(*inner));

	return inner &&
	       mproc__owned_by_me(k->me, atomic_load_explicit(&inner->word, memory_order_relaxed));
}

/* Choose @n, or all, write the last one's ticket, and wake them. Return: how many. */
static uint32_t notify(const struct keeper *k, uint32_t n)
{
	struct mproc__range *range = k->me->range;
	uint64_t before = notified(k), last = before;
	uint32_t waiting = n_waiting(k), count = 0;

	if (n >= waiting) {
		/* No ticket is left that waits. */
		last = atomic_load_explicit(&k->c->ticket, memory_order_relaxed);
		count = waiting;
	} else {
		while (count < n && first_living_above(k, last, &last))
			count++;
	}
	if (last == before)
		return 0;
	set_notified(k, last);
	for (uint32_t i = 0; i < range->n_threads && count; i++) {
		struct mproc__thread *rec = &range->threads[i];
		uint64_t ticket = atomic_load_explicit(&rec->ticket, memory_order_relaxed) >> 1;

		if (is_queued(k, rec) && ticket > before && ticket <= last)
			wake(k, rec);
	}
	return count;
}

int mproc_condition_notify(mproc_condition *condition, uint32_t n)
{
	struct keeper k;
	uint64_t act;
	int r;

	r = enter(condition, "condition notify", &k);
	if (r < 0)
		return r;
	/* Who owns the mutex sees the ticket of everybody who waits with it. */
	if (!n || atomic_load_explicit(&k.c->ticket, memory_order_relaxed) == notified(&k))
		return 0;
	act = mproc__act_begin(k.me, k.what);
	r = lock(&k);
	if (r < 0) {
		mproc__act_end(k.me, act);
		return r;
	}
	pass_on(&k);
	if (owns_mutex(&k))
		r = (int)notify(&k, n);
	else if (n_waiting(&k))
		r = -EPERM;
	unlock(&k);
	mproc__act_end(k.me, act);
	if (r < 0)
		mproc__fail(
			r,
			"condition notify: the calling thread does not own the mutex at %" PRIu64
			" of the segment, with which others wait",
			mproc__what_off(atomic_load(&k.c->mutex)));
	return r;
}

int mproc_condition_notify_all(mproc_condition *condition)
{
	return mproc_condition_notify(condition, UINT32_MAX);
}

/* A thread died in the middle of a call: if it was queued, it is no more. */
static int repair(struct mproc__range *range, struct mproc__self *me, uint64_t off,
		  struct mproc__thread *rec)
{
	struct keeper k = { .me = me,
			    .what = mproc__what(MPROC__KIND_CONDITION, off),
			    .gone = rec };
	int r;

	if (!is_queued(&k, rec))
		return 0;
	k.c = object_at(range, off, sizeof(*k.c));
	if (!k.c || atomic_load_explicit(&k.c->lock.tag, memory_order_relaxed) != CONDITION_TAG)
		return 0;
	r = me ? mproc__lock_try(&k.c->lock, me) : -EAGAIN;
	if (r < 0)
		return 1;
	if (r == MPROC__LOCK_INHERITED)
		mproc__lock_repaired(&k.c->lock, me);
	pass_on(&k);
	take_out(&k, rec);
	unlock(&k);
	return 0;
}

const struct mproc__kind mproc__kind_condition = {
	.id = MPROC__KIND_CONDITION,
	.name = "condition",
	.repair = repair,
};
