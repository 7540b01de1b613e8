/* SPDX-License-Identifier: MIT */

/*
 * Semaphores, of three kinds that differ in what a death does
 *
 * Here: the contract, the waiting, and the kind without owners. permits.c and leases.c
 * have the other two, with their arguments.
 *
 * Signals are one word; acquiring is a CAS n -> n - 1, releasing a CAS n -> n + k. A kill
 * is before or after it. What was taken by one who died is gone.
 *
 * Waiting. Who finds nothing tries again as wait.c has it, and before each sleep, and
 * before giving up, looks for what the dead hold: that costs a system call for each
 * holder. So a death needs no wake-up to be noticed, and no deadline is answered "none"
 * while there is something of the dead.
 *
 * Releasing k units wakes k sleepers, one by one: waking a number of them at once would
 * hide the rest. Units are counted before, and each sleeper that is woken tries before it
 * gives up; so what is there is never slept on, except after a death (see wait.c).
 *
 * Releasers of signals and leases have no identity, as they may be in a signal handler.
 * They do not rely on the sleeper's membarrier: they change the count, then look at the
 * sleepers; a sleeper changes the sleepers, then looks at the count; all four are
 * sequentially consistent, so one at least sees the other.
 */

#include <mproc/semaphore.h>

#include <errno.h>
#include <inttypes.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/kind_layout.h"
#include "ipc/opts.h"
#include "ipc/participant.h"
#include "ipc/semaphore.h"
#include "ipc/wait.h"

#define WAKES_MAX 8u /* one by one; when more are to be woken all are */

static_assert(sizeof(struct mproc__semaphore) == sizeof(mproc_semaphore),
	      "cells come right after what users embed");
static_assert(sizeof(MPROC_SEMAPHORE_WITH(3)) ==
		      sizeof(struct mproc__semaphore) + 3 * sizeof(struct mproc__semaphore_cell),
	      "the macro has other room than the cells need");

static struct mproc__semaphore *shared_of(mproc_semaphore *semaphore)
{
	return (struct mproc__semaphore *)semaphore;
}

static inline uint32_t tag_of(struct mproc__semaphore *s)
{
	return atomic_load_explicit(&s->tag, memory_order_relaxed);
}

static inline size_t size_of(uint32_t n_cells)
{
	return sizeof(struct mproc__semaphore) +
	       (size_t)n_cells * sizeof(struct mproc__semaphore_cell);
}

/* Does a semaphore of @n_cells at @off lie where there is memory? */
static inline bool is_backed(const struct mproc__range *range, uint64_t off, uint32_t n_cells)
{
	return n_cells <= MPROC_SEMAPHORE_CELLS_MAX &&
	       mproc__range_has(range, off, size_of(n_cells));
}

/* The same of @n_cells as read from shared memory. */
static inline bool fits(const struct mproc__semaphore *s, const struct mproc__self *me,
			uint32_t n_cells)
{
	return is_backed(me->range, mproc__self_off(me, s), n_cells);
}

/* Who we are, and what there is. Return: 0 or negative. */
static int enter(mproc_semaphore *semaphore, const char *what, struct mproc__self **ret,
		 uint32_t *ret_tag, uint32_t *ret_n_cells)
{
	struct mproc__semaphore *s = shared_of(semaphore);
	struct mproc__self *me = mproc__self(semaphore, what);
	uint32_t n_cells, tag;

	if (!me)
		return mproc__self_error();
	tag = tag_of(s);
	if (tag != MPROC__SEMAPHORE_PERMITS && tag != MPROC__SEMAPHORE_SIGNALS &&
	    tag != MPROC__SEMAPHORE_LEASES)
		return mproc__fail(-EINVAL, "%s: no semaphore at %p", what, (void *)semaphore);
	n_cells = atomic_load_explicit(&s->n_cells, memory_order_relaxed);
	if (!fits(s, me, n_cells) || (!n_cells && tag != MPROC__SEMAPHORE_SIGNALS))
		return mproc__fail(-EBADMSG,
				   "%s: the semaphore at %p says it has %" PRIu32 " cells", what,
				   (void *)semaphore, n_cells);
	*ret = me;
	*ret_tag = tag;
	*ret_n_cells = n_cells;
	return 0;
}

bool mproc__semaphore_dead(struct mproc__self *me, uint64_t owner, uint64_t *alive)
{
	if (owner == *alive || owner == me->word)
		return false;
	if (mproc__dead(me->range, owner))
		return true;
	*alive = owner;
	return false;
}

size_t mproc_semaphore_size(uint32_t kind, uint32_t n)
{
	if (kind == MPROC_SEMAPHORE_SIGNALS)
		return n ? 0 : size_of(0);
	if ((kind != MPROC_SEMAPHORE_PERMITS && kind != MPROC_SEMAPHORE_LEASES) || !n ||
	    n > MPROC_SEMAPHORE_CELLS_MAX)
		return 0;
	return size_of(n);
}

/* What @kind, @value and @opts ask for. Return: its tag, cells and maximum, or -EINVAL. */
static int plan(uint32_t kind, uint32_t value, const struct mproc_semaphore_opts *opts,
		uint32_t *ret_tag, uint32_t *ret_n_cells, uint32_t *ret_max)
{
	bool permits = kind == MPROC_SEMAPHORE_PERMITS, leases = kind == MPROC_SEMAPHORE_LEASES;
	uint32_t max = opts->max ? opts->max : permits ? value : MPROC_SEMAPHORE_MAX;
	uint32_t n_cells = permits ? value : opts->leases;

	if (!permits && !leases && kind != MPROC_SEMAPHORE_SIGNALS)
		return mproc__fail(-EINVAL, "semaphore init: unknown kind %" PRIu32, kind);
	if (max > MPROC_SEMAPHORE_MAX || value > max)
		return mproc__fail(-EINVAL,
				   "semaphore init: %" PRIu32 " units, a maximum of %" PRIu32
				   ", %d are possible",
				   value, max, MPROC_SEMAPHORE_MAX);
	if (permits && max != value)
		return mproc__fail(-EINVAL,
				   "semaphore init: %" PRIu32 " permits, a maximum of %" PRIu32
				   ": permits are all there at the start",
				   value, max);
	if (opts->leases && !leases)
		return mproc__fail(-EINVAL, "semaphore init: .leases is for leases");
	if ((permits || leases) && (!n_cells || n_cells > MPROC_SEMAPHORE_CELLS_MAX))
		return mproc__fail(-EINVAL,
				   "semaphore init: %" PRIu32 " %s, from 1 to %u are possible",
				   n_cells, permits ? "permits" : "leases at a time",
				   MPROC_SEMAPHORE_CELLS_MAX);
	*ret_tag = permits  ? MPROC__SEMAPHORE_PERMITS
		   : leases ? MPROC__SEMAPHORE_LEASES
			    : MPROC__SEMAPHORE_SIGNALS;
	*ret_n_cells = n_cells;
	*ret_max = max;
	return 0;
}

int mproc_semaphore_init(mproc_semaphore *semaphore, uint32_t kind, uint32_t value,
			 const struct mproc_semaphore_opts *opts)
{
	struct mproc__semaphore *s = shared_of(semaphore);
	struct mproc_semaphore_opts o;
	struct mproc__range *range;
	uint32_t tag = 0, n_cells = 0, max = 0;
	int r;

	r = mproc__opts_copy("semaphore init", &o, sizeof(o), opts);
	if (r < 0)
		return r;
	r = plan(kind, value, &o, &tag, &n_cells, &max);
	if (r < 0)
		return r;
	if ((uintptr_t)semaphore % alignof(mproc_semaphore))
		return mproc__fail(-EINVAL, "semaphore init: %p is not aligned to %zu bytes",
				   (void *)semaphore, alignof(mproc_semaphore));
	range = mproc__range_find(semaphore);
	if (!range || !is_backed(range, (uintptr_t)semaphore - range->base, n_cells))
		return mproc__fail(-ENOTCONN,
				   "semaphore init: [%p, + %zu) lies in no attached segment",
				   (void *)semaphore, size_of(n_cells));
	if (mproc__is_read_only(semaphore))
		return mproc__fail_read_only("semaphore init");
	atomic_store_explicit(&s->n_cells, n_cells, memory_order_relaxed);
	atomic_store_explicit(&s->waitable.sleepers, 0, memory_order_relaxed);
	atomic_store_explicit(&s->waitable.polled, 0, memory_order_relaxed);
	atomic_store_explicit(&s->count, kind == MPROC_SEMAPHORE_PERMITS ? 0 : value,
			      memory_order_relaxed);
	atomic_store_explicit(&s->taken, 0, memory_order_relaxed);
	atomic_store_explicit(&s->max, max, memory_order_relaxed);
	atomic_store_explicit(&s->freed, 0, memory_order_relaxed);
	for (uint32_t i = 0; i < n_cells; i++) {
		atomic_store_explicit(&s->cells[i].owner, 0, memory_order_relaxed);
		atomic_store_explicit(&s->cells[i].grant, 0, memory_order_relaxed);
	}
	atomic_store_explicit(&s->tag, tag, memory_order_release);
	return 0;
}

void mproc_semaphore_destroy(mproc_semaphore *semaphore)
{
	if (semaphore && !mproc__is_read_only(semaphore))
		atomic_store_explicit(&shared_of(semaphore)->tag, 0, memory_order_release);
}

static inline int signals_take(struct mproc__semaphore *s)
{
	uint64_t count = atomic_load_explicit(&s->count, memory_order_seq_cst);

	while (count)
		if (atomic_compare_exchange_weak_explicit(&s->count, &count, count - 1,
							  memory_order_seq_cst,
							  memory_order_seq_cst))
			return 0;
	return -EAGAIN;
}

struct taker {
	struct mproc__semaphore *s;
	struct mproc__self *me;
	uint32_t tag, n_cells;
};

static inline int take(const struct taker *t)
{
	if (t->tag == MPROC__SEMAPHORE_SIGNALS)
		return signals_take(t->s);
	if (t->tag == MPROC__SEMAPHORE_PERMITS)
		return mproc__permits_take(t->s, t->me, t->n_cells);
	return mproc__leases_take(t->s, t->me, t->n_cells);
}

/* The same, and what the dead hold. */
static int take_or_inherit(const struct taker *t)
{
	int r = take(t);

	if (r != -EAGAIN || t->tag == MPROC__SEMAPHORE_SIGNALS)
		return r;
	if (t->tag == MPROC__SEMAPHORE_PERMITS)
		return mproc__permits_inherit(t->s, t->me, t->n_cells);
	return mproc__leases_inherit(t->s, t->me, t->n_cells);
}

/*
 * How often to look for the dead. Also where nobody has anything yet: who takes one while
 * we sleep may die with it.
 */
static int64_t quantum_of(const struct taker *t)
{
	if (t->tag == MPROC__SEMAPHORE_SIGNALS)
		return MPROC__QUANTUM_IDLE;
	for (uint32_t i = 0; i < t->n_cells; i++)
		if (atomic_load_explicit(&t->s->cells[i].owner, memory_order_relaxed))
			return MPROC__QUANTUM_OWNED;
	return MPROC__QUANTUM_MAX;
}

/* Whatever is not the usual case: none there, misused, first call. */
static __attribute__((__noinline__)) int acquire_long(mproc_semaphore *semaphore, int64_t deadline)
{
	struct taker t = { .s = shared_of(semaphore) };
	struct mproc__wait wait;
	uint32_t key;
	int r, turn;

	r = enter(semaphore, "semaphore acquire", &t.me, &t.tag, &t.n_cells);
	if (r < 0)
		return r;
	if (deadline < 0)
		return mproc__deadline_check("semaphore acquire", deadline);
	r = take(&t);
	if (r != -EAGAIN)
		return r < 0 ? r : 0;
	mproc__wait_begin(&wait, t.me,
			  mproc__what(MPROC__KIND_SEMAPHORE, mproc__self_off(t.me, semaphore)),
			  deadline, quantum_of(&t));
	while (r == -EAGAIN) {
		turn = mproc__wait_turn(&wait, MPROC__CPU_ANY);
		if (turn < 0) {
			/* Giving up is no reason to leave anything with the dead. */
			r = take_or_inherit(&t);
			if (r == -EAGAIN)
				r = turn;
			break;
		}
		if (turn == MPROC__WAIT_SLEEP) {
			key = mproc__wait_announce(&wait, &t.s->waitable.sleepers);
			r = take_or_inherit(&t);
			if (r != -EAGAIN)
				break;
			mproc__wait_sleep(&wait, &t.s->waitable.sleepers, key);
		}
		r = take(&t);
	}
	mproc__wait_end(&wait, r == 0);
	return r < 0 ? r : 0;
}

int mproc_semaphore_acquire(mproc_semaphore *semaphore, int64_t deadline)
{
	struct taker t = { .s = shared_of(semaphore), .me = mproc__self_quick(semaphore) };

	if (__builtin_expect(!t.me || deadline < 0, 0))
		return acquire_long(semaphore, deadline);
	t.tag = tag_of(t.s);
	t.n_cells = atomic_load_explicit(&t.s->n_cells, memory_order_relaxed);
	if (t.tag == MPROC__SEMAPHORE_SIGNALS) {
		if (signals_take(t.s) == 0)
			return 0;
	} else if (t.tag == MPROC__SEMAPHORE_PERMITS && fits(t.s, t.me, t.n_cells)) {
		if (mproc__permits_take(t.s, t.me, t.n_cells) == 0)
			return 0;
	}
	return acquire_long(semaphore, deadline);
}

/* Up to @n sleepers are to try again. Needs no identity; see the top for its order. */
static void wake(struct mproc__semaphore *s, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (!(atomic_load_explicit(&s->waitable.sleepers, memory_order_seq_cst) & 1))
			return;
		if (n > WAKES_MAX) {
			mproc__wake_slow(&s->waitable.sleepers, INT32_MAX);
			return;
		}
		mproc__wake_slow(&s->waitable.sleepers, 1);
	}
}

static int signals_add(struct mproc__semaphore *s, uint32_t n)
{
	uint64_t count = atomic_load_explicit(&s->count, memory_order_relaxed);
	uint32_t max = atomic_load_explicit(&s->max, memory_order_relaxed);

	do {
		if (count > max || n > max - count)
			return -ERANGE;
	} while (!atomic_compare_exchange_weak_explicit(
		&s->count, &count, count + n, memory_order_seq_cst, memory_order_relaxed));
	return 0;
}

static inline int release_permits(mproc_semaphore *semaphore, uint32_t n)
{
	uint32_t tag, n_cells;
	struct mproc__semaphore *s = shared_of(semaphore);
	struct mproc__self *me = mproc__self_quick(semaphore);
	int r;

	n_cells = atomic_load_explicit(&s->n_cells, memory_order_relaxed);
	if (__builtin_expect(!me || !n_cells || !fits(s, me, n_cells), 0)) {
		r = enter(semaphore, "semaphore release", &me, &tag, &n_cells);
		if (r < 0)
			return r;
	}
	return mproc__permits_give(s, me, n_cells, n);
}

int mproc_semaphore_release(mproc_semaphore *semaphore, uint32_t n)
{
	struct mproc__semaphore *s = shared_of(semaphore);
	uint32_t tag = tag_of(s);
	int saved, r;

	if (tag == MPROC__SEMAPHORE_PERMITS)
		return n ? release_permits(semaphore, n)
			 : mproc__fail(-EINVAL, "semaphore release: 0 permits");
	/* The others may be released in a signal handler: no text. */
	if (!n || (tag != MPROC__SEMAPHORE_SIGNALS && tag != MPROC__SEMAPHORE_LEASES))
		return -EINVAL;
	if (mproc__is_read_only(semaphore))
		return -EROFS;
	r = tag == MPROC__SEMAPHORE_SIGNALS ? signals_add(s, n) : mproc__leases_add(s, n);
	if (r == 0 && (atomic_load_explicit(&s->waitable.sleepers, memory_order_seq_cst) & 1)) {
		saved = errno;
		wake(s, n);
		errno = saved;
	}
	return r;
}

int mproc_semaphore_ack(mproc_semaphore *semaphore)
{
	struct mproc__self *me;
	uint32_t tag, n_cells;
	int r;

	r = enter(semaphore, "semaphore ack", &me, &tag, &n_cells);
	if (r < 0)
		return r;
	if (tag != MPROC__SEMAPHORE_LEASES)
		return mproc__fail(-EINVAL, "semaphore ack: the semaphore at %p is not of leases",
				   (void *)semaphore);
	return mproc__leases_ack(shared_of(semaphore), me, n_cells);
}

int mproc_semaphore_value(mproc_semaphore *semaphore)
{
	struct mproc__semaphore *s = shared_of(semaphore);
	struct mproc__self *me;
	uint32_t tag, n_cells;
	uint64_t n = 0;
	int r;

	r = enter(semaphore, "semaphore value", &me, &tag, &n_cells);
	if (r < 0)
		return r;
	if (tag == MPROC__SEMAPHORE_SIGNALS) {
		n = atomic_load_explicit(&s->count, memory_order_acquire);
	} else if (tag == MPROC__SEMAPHORE_LEASES) {
		n = mproc__leases_value(s, me, n_cells);
	} else {
		r = mproc_semaphore_holders(semaphore, NULL, 0);
		if (r < 0)
			return r;
		n = n_cells > (uint32_t)r ? n_cells - (uint32_t)r : 0;
	}
	return n > MPROC_SEMAPHORE_MAX ? MPROC_SEMAPHORE_MAX : (int)n;
}

int mproc_semaphore_holders(mproc_semaphore *semaphore, struct mproc_semaphore_holder *ret,
			    size_t cap)
{
	struct mproc__semaphore *s = shared_of(semaphore);
	uint32_t tag, n_cells, n = 0;
	struct mproc__self *me;
	uint64_t alive = 0;
	int r;

	r = enter(semaphore, "semaphore holders", &me, &tag, &n_cells);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < n_cells; i++) {
		uint64_t owner = atomic_load_explicit(&s->cells[i].owner, memory_order_acquire);
		uint32_t index = mproc__owner_index(owner), proc;

		if (!owner || (tag == MPROC__SEMAPHORE_LEASES && !mproc__leases_held(s, i)) ||
		    index >= me->range->n_threads || mproc__semaphore_dead(me, owner, &alive))
			continue;
		if (n++ >= cap)
			continue;
		proc = mproc__own_proc(
			atomic_load_explicit(&me->range->threads[index].own, memory_order_relaxed));
		ret[n - 1].pid = proc < me->range->n_procs ? me->range->procs[proc].pid : 0;
		ret[n - 1].tid = me->range->threads[index].tid;
	}
	return (int)n;
}
