/* SPDX-License-Identifier: MIT */

/*
 * The lock of a mutex that has options
 *
 *	word	0			free
 *		INHERITED		free, and the next owner is told of a death
 *		LOST			not recoverable, for ever
 *		owner | flags		owned; SHARED among the flags if others may write it
 *		thread | HANDED | flags	free, and kept for the one that is named
 *
 * With ANY_UNLOCK and FAIR the word of a living owner has other writers, so nobody
 * stores it: every change is a CAS from the very word that was looked at. Such words
 * bear MPROC__OWNER_SHARED, which sends them past the short ways of mutex.c.
 *
 * Fair hand-over. A waiter notes in its record what it waits for and since when
 * (blocked_on, blocked_since), sets the bit in the lock's sleepers word, and only then
 * looks at the owner; it sleeps on a word of its own. Who releases looks at the bit. If
 * it is set he goes through the records, picks the living waiter that has waited
 * longest, and writes its name and HANDED into the word. The mutex is free then, but
 * for nobody else; the one that is named takes HANDED out, which makes it the owner.
 *
 * A waiter that gives up clears its note, fences, and looks at the word once more; who
 * hands over writes the word, fences, and looks at the note once more. One of them at
 * least sees the other: either the waiter takes what it was handed, or the word goes to
 * the next. Should who hands over die before that look, then whoever wants the mutex
 * finds it kept for one that does not wait for it, or is dead, and hands it on. The
 * CAS decides between all of them. It was never owned meanwhile, so nobody is told of
 * an inheritance. Where anybody may unlock, a waiter may have taken the mutex and lost it
 * again while its note still stands, and be handed it once more: so it looks after it has
 * cleared the note also if it was served, and then hands on what it finds.
 *
 * Nobody overtakes a waiter that has noted itself, except where the mutex was free at
 * the time. The order is that of CLOCK_MONOTONIC, one for all of a machine except in
 * time namespaces of its own.
 *
 * Sleepers. With FAIR the bit says that somebody may have noted himself; who finds
 * nobody clears it, unless somebody has announced himself since. The wakes in it are
 * counted at every hand-over all the same: by them a sleeper knows that the owner has
 * changed. Every look at the bit comes after the fence of a CAS, so no sleeper pays for
 * a barrier in other processes.
 *
 * Kills. Before the CAS of a release: the owner is dead, the next one inherits. After it
 * and before the wake-up: the quantum. A dead owner's word is first made free with
 * INHERITED, or handed on with it, and then taken like any other: killed in between,
 * that is what the next one finds.
 */

#include "ipc/owned.h"

#include <errno.h>
#include <inttypes.h>

#include "ipc/error.h"
#include "ipc/graph.h"
#include "ipc/participant.h"

#define SHARED    MPROC__OWNER_SHARED
#define HANDED    MPROC__OWNER_HANDED
#define INHERITED MPROC__OWNER_INHERITED
#define LOST      MPROC__OWNER_LOST

#define ASLEEP 1u       /* of a sleepers word: somebody may sleep */
#define WAKE   0x10000u /* and one wake-up */

struct claim {
	struct mproc__lock *lock;
	struct mproc__self *me;
	uint64_t what;
	uint32_t options;
	uint64_t word; /* that was in the way */
};

static uint64_t shared_flag(uint32_t options)
{
	return options & (MPROC__MUTEX_ANY_UNLOCK | MPROC__MUTEX_FAIR) ? SHARED : 0;
}

/* Change the word from what was seen. Seq_cst: looks at notes and bits come after it. */
static bool change(struct mproc__lock *lock, uint64_t from, uint64_t to)
{
	return atomic_compare_exchange_strong_explicit(&lock->word, &from, to, memory_order_seq_cst,
						       memory_order_relaxed);
}

/* Does the thread that @word names wait for @what? */
static bool waits_for(const struct mproc__range *range, uint64_t word, uint64_t what)
{
	uint32_t index = mproc__owner_index(word);
	struct mproc__thread *rec;
	uint64_t own;

	if (index >= range->n_threads)
		return false;
	rec = &range->threads[index];
	own = atomic_load_explicit(&rec->own, memory_order_acquire);
	return mproc__own_state(own) == MPROC__THREAD_LIVE &&
	       mproc__owner_generation(own) == mproc__owner_generation(word) &&
	       atomic_load_explicit(&rec->blocked_on, memory_order_seq_cst) == what;
}

/* The record of the thread that waits for @what longest. Return: NULL if there is none. */
static struct mproc__thread *longest(const struct mproc__range *range, uint64_t what,
				     uint64_t *ret_word)
{
	struct mproc__thread *best = NULL;
	uint64_t best_since = UINT64_MAX;

	for (uint32_t i = 0; i < range->n_threads; i++) {
		struct mproc__thread *rec = &range->threads[i];
		uint64_t own, since;

		if (atomic_load_explicit(&rec->blocked_on, memory_order_acquire) != what)
			continue;
		own = atomic_load_explicit(&rec->own, memory_order_acquire);
		since = atomic_load_explicit(&rec->blocked_since, memory_order_relaxed) >> 1;
		if (mproc__own_state(own) != MPROC__THREAD_LIVE || !since || since >= best_since)
			continue;
		best = rec;
		best_since = since;
		*ret_word = mproc__owner_word(i, mproc__owner_generation(own));
	}
	return best;
}

/* The same among the living. Who is found dead is no longer LIVE for the next round. */
static struct mproc__thread *next_waiter(struct mproc__range *range, uint64_t what,
					 uint64_t *ret_word)
{
	for (uint32_t i = 0; i <= range->n_threads; i++) {
		struct mproc__thread *rec = longest(range, what, ret_word);

		if (!rec || !mproc__dead(range, *ret_word))
			return rec;
	}
	return NULL;
}

static void wake(struct mproc__thread *rec)
{
	if (atomic_load_explicit(&rec->wake, memory_order_relaxed) & ASLEEP)
		mproc__wake_slow(&rec->wake, 1);
}

/*
 * Turn @word, which is the caller's to change, into the next waiter's, or free.
 * @flags:	INHERITED or 0
 *
 * Return: false if somebody has changed the word before.
 */
static bool hand_over(const struct claim *c, uint64_t word, uint64_t flags)
{
	struct mproc__lock *lock = c->lock;

	for (bool first = true;; first = false) {
		uint32_t seen = atomic_load_explicit(&lock->sleepers, memory_order_seq_cst);
		struct mproc__thread *rec = NULL;
		uint64_t next = 0;

		if (seen & ASLEEP)
			rec = next_waiter(c->me->range, c->what, &next);
		next = rec ? next | SHARED | HANDED | flags : flags;
		if (word != next && !change(lock, word, next))
			return !first;
		/* The waiter clears its note, or sets the bit, before it looks at the word. */
		atomic_thread_fence(memory_order_seq_cst);
		word = next;
		if (rec && waits_for(c->me->range, next, c->what)) {
			atomic_fetch_add_explicit(&lock->sleepers, WAKE, memory_order_relaxed);
			wake(rec);
			return true;
		}
		if (rec)
			continue; /* it gave up */
		if (!(seen & ASLEEP)) {
			if (!(atomic_load_explicit(&lock->sleepers, memory_order_seq_cst) & ASLEEP))
				return true;
		} else if (atomic_compare_exchange_strong_explicit(
				   &lock->sleepers, &seen, seen & ~ASLEEP, memory_order_seq_cst,
				   memory_order_relaxed)) {
			return true;
		}
	}
}

/*
 * Take what is free, or kept for us.
 *
 * Return: 0, MPROC__LOCK_INHERITED, -EDEADLK, -ENOTRECOVERABLE, or -EAGAIN and the word
 * that is in the way.
 */
static int try_take(struct claim *c)
{
	for (;;) {
		uint64_t word = atomic_load_explicit(&c->lock->word, memory_order_seq_cst);
		uint64_t mine = c->me->word | shared_flag(c->options) | (word & INHERITED);

		c->word = word;
		if (!mproc__owner_id(word) && (word & LOST))
			return -ENOTRECOVERABLE;
		if (mproc__owned_by_me(c->me, word) && !(c->options & MPROC__MUTEX_ANY_UNLOCK))
			return -EDEADLK;
		if (mproc__owned_by_any(word) ||
		    (mproc__owner_id(word) && mproc__owner_id(word) != c->me->word))
			return -EAGAIN;
		if (change(c->lock, word, mine))
			return word & INHERITED ? MPROC__LOCK_INHERITED : 0;
	}
}

/* Is @c->word a dead one's, or kept for one that has gone? Then it is freed or handed on. */
static bool pass_over(struct claim *c)
{
	struct mproc__range *range = c->me->range;
	uint64_t flags = c->word & INHERITED;
	bool handed = c->word & HANDED;

	if (!(handed && !waits_for(range, c->word, c->what)) && !mproc__dead(range, c->word))
		return false;
	if (!handed) {
		flags = INHERITED;
		atomic_fetch_add_explicit(&range->reg->takeovers, 1, memory_order_relaxed);
	}
	if (c->options & MPROC__MUTEX_FAIR)
		(void)hand_over(c, c->word, flags);
	else
		(void)change(c->lock, c->word, flags);
	return true;
}

/* Sleep, unless the mutex can be had. Return: as try_take(). */
static int sleep_once(struct claim *c, struct mproc__wait *wait)
{
	bool fair = c->options & MPROC__MUTEX_FAIR;
	mproc__sleepers *at = fair ? &c->me->rec->wake : &c->lock->sleepers;
	uint32_t key =
		fair ? mproc__wait_announce_fenced(wait, at) : mproc__wait_announce(wait, at);
	uint32_t seen = atomic_load_explicit(&c->lock->sleepers, memory_order_seq_cst);
	int r = try_take(c);

	if (r != -EAGAIN)
		return r;
	mproc__wait_block(wait);
	/* What anybody may unlock waits for nobody in particular. */
	if (!(c->options & MPROC__MUTEX_ANY_UNLOCK) && mproc__graph_refuses(c->me, c->what))
		return -EDEADLK;
	mproc__wait_saw(wait, seen);
	mproc__wait_sleep(wait, at, key);
	return try_take(c);
}

int mproc__owned_take(struct mproc__lock *lock, struct mproc__self *me, uint64_t what,
		      uint32_t options, int64_t deadline)
{
	struct claim c = { lock, me, what, options, 0 };
	struct mproc__wait wait;
	int r = try_take(&c), turn;

	if (r != -EAGAIN)
		return r;
	mproc__wait_begin(&wait, me, what, deadline, MPROC__QUANTUM_OWNED);
	if ((options & MPROC__MUTEX_FAIR) && deadline != MPROC_NOWAIT) {
		/* Its place in the order is taken before it polls. */
		mproc__wait_block(&wait);
		mproc__wait_announce_fenced(&wait, &lock->sleepers);
		r = try_take(&c);
	}
	while (r == -EAGAIN) {
		turn = mproc__wait_turn(&wait, mproc__owner_cpu(me->range, c.word));
		if (turn == MPROC__WAIT_POLL || pass_over(&c)) {
			r = try_take(&c);
		} else if (turn == MPROC__WAIT_SLEEP) {
			r = sleep_once(&c, &wait);
		} else {
			r = turn;
			break;
		}
	}
	mproc__wait_end(&wait, r >= 0);
	if (!(options & MPROC__MUTEX_FAIR) || (r >= 0 && !(options & MPROC__MUTEX_ANY_UNLOCK)))
		return r;
	/* Our note is gone; what we were handed before that is ours. */
	atomic_thread_fence(memory_order_seq_cst);
	c.word = atomic_load_explicit(&lock->word, memory_order_seq_cst);
	if (mproc__owner_id(c.word) != me->word || !(c.word & HANDED))
		return r;
	/* We had it, and another has unlocked it since and found our note: it is the next one's. */
	if (r >= 0)
		(void)hand_over(&c, c.word, c.word & INHERITED);
	else if (change(lock, c.word, c.word & ~HANDED))
		return c.word & INHERITED ? MPROC__LOCK_INHERITED : 0;
	return r;
}

/* Nobody will get it any more: let all who wait find that out. */
static void wake_everybody(const struct claim *c)
{
	struct mproc__range *range = c->me->range;

	mproc__wake_all(c->me, &c->lock->sleepers);
	for (uint32_t i = 0; i < range->n_threads && (c->options & MPROC__MUTEX_FAIR); i++)
		if (atomic_load_explicit(&range->threads[i].blocked_on, memory_order_seq_cst) ==
		    c->what)
			wake(&range->threads[i]);
}

int mproc__owned_release(struct mproc__lock *lock, struct mproc__self *me, uint64_t what,
			 uint32_t options)
{
	struct claim c = { lock, me, what, options, 0 };

	for (;;) {
		uint64_t word = atomic_load_explicit(&lock->word, memory_order_seq_cst);
		uint64_t flags = word & INHERITED;

		if (!mproc__owned_by_any(word))
			return -EPERM;
		if (mproc__owner_id(word) != me->word) {
			if (!(options & MPROC__MUTEX_ANY_UNLOCK))
				return -EPERM;
			/* The news of a death is not lost by another's unlock. */
			if (mproc__dead(me->range, word))
				flags = INHERITED;
		}
		/* Only who was told can have failed to say consistent. */
		if (flags && (options & MPROC__MUTEX_STRICT) && mproc__owner_id(word) == me->word) {
			if (!change(lock, word, LOST))
				continue;
			wake_everybody(&c);
			return 0;
		}
		if (options & MPROC__MUTEX_FAIR) {
			if (hand_over(&c, word, flags))
				return 0;
		} else if (change(lock, word, flags)) {
			mproc__wake_one(me, &lock->sleepers);
			return 0;
		}
	}
}

int mproc__owned_refuse(const struct mproc__lock *lock, const struct mproc__self *me, uint64_t word,
			const char *what, const char *noun)
{
	if (!mproc__owned_by_any(word))
		return mproc__fail(-EPERM, "%s: nobody owns the %s at %p", what, noun,
				   (const void *)lock);
	return mproc__fail(-EPERM,
			   "%s: the %s at %p is owned by thread record %" PRIu32 ", not %" PRIu32,
			   what, noun, (const void *)lock, mproc__owner_index(word),
			   mproc__owner_index(me->word));
}

int mproc__owned_consistent(struct mproc__lock *lock, const struct mproc__self *me,
			    const char *what, const char *noun)
{
	uint64_t word;

	do {
		word = atomic_load_explicit(&lock->word, memory_order_relaxed);
		if (!mproc__owned_by_me(me, word))
			return mproc__owned_refuse(lock, me, word, what, noun);
		if (!(word & INHERITED))
			return mproc__fail(-EINVAL, "%s: the %s at %p is not inherited", what, noun,
					   (void *)lock);
	} while (!change(lock, word, word & ~INHERITED));
	return 0;
}
