/* SPDX-License-Identifier: MIT */

/*
 * Who owns a mutex, and who waits for it
 *
 * Reads owner word and records, and writes nothing. A record is believed if its owner
 * and generation were the same after it was read as before.
 *
 * How long. Sleepers note the count of wake-ups (the upper half of the lock's sleepers
 * word) that they saw before they found the mutex owned, and when. A release that finds
 * the bit in that word set counts a wake-up, and the bit is set while anybody sleeps:
 * if the count is still the same there was no release since, save one that is between
 * its store and its count.
 */

#include <string.h>

#include "ipc/owned.h"
#include "ipc/participant.h"

#define WAKES_MASK 0xffff0000u

#define ROUNDS_MAX 1000 /* each of them an owner that came, let go and ended meanwhile */

static int64_t since_ns(uint64_t noted, int64_t now)
{
	int64_t since = (int64_t)(noted >> 1);

	return since && since < now ? now - since : 0;
}

static void copy_text(char *to, const char *from, size_t len)
{
	memcpy(to, from, len);
	to[len - 1] = '\0';
}

static void tell_owner(struct mproc__range *range, uint64_t word, struct mproc_mutex_owner *ret)
{
	uint32_t index = mproc__owner_index(word);
	struct mproc__thread *rec;
	struct mproc__proc *proc;
	uint64_t own;

	if (index >= range->n_threads)
		return;
	rec = &range->threads[index];
	own = atomic_load_explicit(&rec->own, memory_order_acquire);
	if (mproc__owner_generation(own) != mproc__owner_generation(word) ||
	    mproc__own_state(own) == MPROC__THREAD_FREE || mproc__own_proc(own) >= range->n_procs)
		return;
	proc = &range->procs[mproc__own_proc(own)];
	ret->pid = atomic_load_explicit(&proc->pid, memory_order_relaxed);
	ret->pid_ns = atomic_load_explicit(&proc->pid_ns, memory_order_relaxed);
	ret->tid = atomic_load_explicit(&rec->tid, memory_order_relaxed);
	static_assert(sizeof(ret->process) == sizeof(proc->exe), "a name would be cut");
	copy_text(ret->process, proc->exe, sizeof(ret->process));
	copy_text(ret->thread, rec->name, sizeof(ret->thread));
	ret->is_alive = !mproc__dead(range, word);
	atomic_thread_fence(memory_order_acquire);
	own ^= atomic_load_explicit(&rec->own, memory_order_relaxed);
	/* Its state may have changed, from alive to dying. */
	if (own & ~UINT64_C(15))
		memset(ret, 0, sizeof(*ret));
}

static void tell_waiters(struct mproc__range *range, const struct mproc__lock *lock, uint64_t what,
			 struct mproc_mutex_owner *ret)
{
	uint32_t wakes = atomic_load_explicit(&lock->sleepers, memory_order_acquire) & WAKES_MASK;
	int64_t now = mproc_now();

	for (uint32_t i = 0; i < range->n_threads; i++) {
		struct mproc__thread *rec = &range->threads[i];
		uint64_t own, since, saw_since, saw;
		int64_t ns;

		if (atomic_load_explicit(&rec->blocked_on, memory_order_acquire) != what)
			continue;
		own = atomic_load_explicit(&rec->own, memory_order_relaxed);
		if (mproc__dead(range, mproc__owner_word(i, mproc__owner_generation(own))))
			continue;
		since = atomic_load_explicit(&rec->blocked_since, memory_order_relaxed);
		saw_since = atomic_load_explicit(&rec->saw_since, memory_order_acquire);
		saw = atomic_load_explicit(&rec->saw, memory_order_relaxed);
		ret->n_waiters++;
		ns = since_ns(since, now);
		if (ns > ret->waited_ns)
			ret->waited_ns = ns;
		ns = since_ns(saw_since, now);
		if (saw == wakes && ns > ret->held_ns)
			ret->held_ns = ns;
	}
}

int mproc__owned_tell(struct mproc__lock *lock, struct mproc__self *me, uint64_t what,
		      struct mproc_mutex_owner *ret)
{
	uint64_t word = 0;
	bool owned = false;

	/* Who is found dead while the word still names it has left it; or it had let go before. */
	for (int i = 0; i < ROUNDS_MAX; i++) {
		word = atomic_load_explicit(&lock->word, memory_order_acquire);
		owned = mproc__owned_by_any(word);
		memset(ret, 0, sizeof(*ret));
		if (owned)
			tell_owner(me->range, word, ret);
		if (!owned || ret->is_alive ||
		    atomic_load_explicit(&lock->word, memory_order_acquire) == word)
			break;
	}
	tell_waiters(me->range, lock, what, ret);
	if (!owned)
		ret->held_ns = 0;
	/* A dead owner leaves it inherited, whether anybody has found out yet or not. */
	ret->is_inherited = (word & (MPROC__OWNER_INHERITED | MPROC__OWNER_REPAIR)) ||
			    (owned && !ret->is_alive);
	return owned;
}
