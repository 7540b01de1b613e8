/* SPDX-License-Identifier: MIT */

/*
 * The one waiting routine: try, poll while that can help, sleep bounded, repeat
 *
 * Why no wake-up is lost between the living. Sleepers word: {wakes | announcements
 * | bit}.
 *
 *	sleeper				waker
 *	a: announcements + 1, bit	1: change the thing
 *	b: membarrier			2: bit set? (plain load)
 *	c: look at the thing		3: wakes + 1
 *	d: FUTEX_WAIT(word, as of a)	4: FUTEX_WAKE(1)
 *					5: nobody there: {as of 3} -> bit clear
 *
 * If the waker's look (2) comes before the barrier (b) its change (1) does as well,
 * is seen at (c), and the sleeper does not sleep. If it comes later it finds the
 * bit, and (3) makes (d) fail for every sleeper that has not queued yet, which then
 * looks again; those that have queued are there for (4). The bit stays set until a
 * wake finds nobody (5), so one waker never hides a sleeper from the next one, and
 * (5) fails if anybody has announced himself since (3). Or it finds the bit cleared
 * since (b), by another waker's (3) and (5), and those have made (d) fail. Waking
 * all clears the bit in (3).
 *
 * What kills do. A waker killed between (1) and (4) leaves sleepers that nobody
 * wakes; a sleeper killed after it was woken has taken the wake-up with it. Both
 * are healed by the quantum that bounds every sleep. Without a death the quantum
 * must never be what ends a wait: mproc__wait_end() counts that as a healing when
 * nobody was woken since we announced and nobody who might still be going to wake
 * us is about.
 *
 * The barrier. A wake-up costs its waker no fence: the sleeper makes every
 * running process of the machine that registered execute one (membarrier(2),
 * GLOBAL_EXPEDITED; all participants register as they attach). Where one cannot,
 * the registry says so and wakers fence.
 *
 * Polling. An idle CPU takes 20 us and more to be woken, a line moves between two
 * in 0.1 us: a short poll wins if the party that must act runs on another CPU, and
 * loses if it needs ours. So we poll only if that party was last seen elsewhere.
 *
 * For what somebody owns we poll about as long as a sleep would cost, which is never
 * more than twice the best that could be done, and look ever more rarely: each look
 * takes the line from the owner, who needs it to let go (measured: twice the rate of
 * looking every time). For what nobody owes us we look all the time, since the
 * answer's delay is what counts there, with a budget that grows while polling pays
 * and shrinks while it does not.
 */

#include "ipc/wait.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stddef.h>
#include <unistd.h>

#include "ipc/futex.h"
#include "ipc/participant.h"

/* Of a sleepers word. */
#define ASLEEP   1u
#define ANNOUNCE 2u
#define WAKE     0x10000u

/* Budgets of polls, each a pause of the CPU: 25 ns where this was measured. */
#define POLLS_MIN   16u
#define POLLS_START 128u
#define POLLS_MAX   512u
#define STEP_MAX    64u /* pauses between two looks at something owned */

_Atomic(bool) mproc__quantum_off;
_Atomic(bool) mproc__polls_off;

static _Atomic(uint32_t) online_cpus; /* 0: not asked yet */

bool mproc__wait_can_fence(void)
{
	/* Asked at every attach; registering twice is harmless. */
	return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

/* The machine's CPUs, not ours: who is pinned to one may wait for one pinned elsewhere. */
static bool single_cpu(void)
{
	uint32_t n = atomic_load_explicit(&online_cpus, memory_order_relaxed);

	if (!n) {
		n = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
		atomic_store_explicit(&online_cpus, n, memory_order_relaxed);
	}
	return n == 1;
}

uint32_t mproc__cpu_ask(void)
{
	int cpu = sched_getcpu();

	return cpu < 0 ? 0 : (uint32_t)cpu;
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#else
	atomic_signal_fence(memory_order_seq_cst);
#endif
}

void mproc__wait_begin(struct mproc__wait *wait, struct mproc__self *me, uint64_t what,
		       int64_t deadline, int64_t quantum)
{
	wait->me = me;
	wait->what = what;
	wait->deadline = deadline;
	wait->quantum = quantum;
	wait->word = NULL;
	wait->blocked = 0;
	wait->saw = 0;
	wait->polled = 0;
	wait->sleeps = 0;
	wait->overslept = 0;
	wait->owned = quantum == MPROC__QUANTUM_OWNED;
	wait->step = 1;
	if (!me->polls)
		me->polls = POLLS_START;
	/* Now and then a full budget, or one that shrank would never learn better. */
	wait->polls = wait->owned || (++me->n_waits & 31) == 0 ? POLLS_MAX : me->polls;
	if (single_cpu() || atomic_load_explicit(&mproc__polls_off, memory_order_relaxed))
		wait->polls = 0;
	atomic_store_explicit(&me->rec->cpu, mproc__cpu(), memory_order_relaxed);
}

int mproc__wait_turn(struct mproc__wait *wait, uint32_t cpu)
{
	if (wait->deadline == MPROC_NOWAIT)
		return -EAGAIN;
	if (wait->deadline != MPROC_FOREVER && mproc_now() >= wait->deadline)
		return -ETIMEDOUT;
	if (__builtin_expect(mproc__range_is_spoilt(wait->me->range), 0))
		return mproc__range_refuse("wait");
	if (wait->polls && cpu != mproc__cpu()) {
		uint32_t n = wait->step < wait->polls ? wait->step : wait->polls;

		wait->polls -= n;
		wait->polled += n;
		if (wait->owned && wait->step < STEP_MAX)
			wait->step *= 2;
		while (n-- > 0)
			cpu_relax();
		return MPROC__WAIT_POLL;
	}
	return MPROC__WAIT_SLEEP;
}

void mproc__fence_all(struct mproc__self *me)
{
	if (!me->fence && syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) < 0) {
		/* Forbidden since we attached: from now on the others fence. */
		me->fence = 1;
		atomic_store(&me->range->reg->fence, 1);
	}
	if (me->fence)
		atomic_thread_fence(memory_order_seq_cst);
}

static uint32_t announce(struct mproc__wait *wait, mproc__sleepers *word)
{
	uint32_t seen = atomic_load_explicit(word, memory_order_relaxed);
	uint32_t key;

	do {
		key = (seen & ~(WAKE - 1)) | ((seen + ANNOUNCE) & (WAKE - 1)) | ASLEEP;
	} while (!atomic_compare_exchange_weak_explicit(word, &seen, key, memory_order_seq_cst,
							memory_order_relaxed));
	wait->word = word;
	wait->key = key;
	return key;
}

uint32_t mproc__wait_announce_fenced(struct mproc__wait *wait, mproc__sleepers *word)
{
	uint32_t key = announce(wait, word);

	atomic_thread_fence(memory_order_seq_cst);
	return key;
}

uint32_t mproc__wait_announce(struct mproc__wait *wait, mproc__sleepers *word)
{
	uint32_t key = announce(wait, word);

	mproc__fence_all(wait->me);
	return key;
}

void mproc__wait_block(struct mproc__wait *wait)
{
	struct mproc__thread *rec = wait->me->rec;

	if (wait->blocked)
		return;
	wait->blocked = 1;
	/* A try within a wait may have to wait for a lock. */
	wait->outer_on = atomic_load_explicit(&rec->blocked_on, memory_order_relaxed);
	wait->outer_since = atomic_load_explicit(&rec->blocked_since, memory_order_relaxed);
	/* Release: who sees this time sees the end of the wait before. */
	atomic_store_explicit(&rec->blocked_since,
			      (uint64_t)mproc_now() << 1 | (wait->deadline != MPROC_FOREVER),
			      memory_order_release);
	/* Who looks for a cycle stands in it himself before he looks. */
	atomic_store_explicit(&rec->blocked_on, wait->what, memory_order_seq_cst);
}

void mproc__wait_saw(struct mproc__wait *wait, uint32_t sleepers)
{
	struct mproc__thread *rec = wait->me->rec;

	mproc__wait_block(wait);
	/* Who has announced himself does not matter, whether anybody was woken does. */
	sleepers &= ~(WAKE - 1);
	if (wait->saw && atomic_load_explicit(&rec->saw, memory_order_relaxed) == sleepers)
		return;
	wait->saw = 1;
	atomic_store_explicit(&rec->saw_since, 0, memory_order_relaxed);
	atomic_store_explicit(&rec->saw, sleepers, memory_order_release);
	atomic_store_explicit(&rec->saw_since, (uint64_t)mproc_now() << 1, memory_order_release);
}

/*
 * The wait is over: what the record says is what it said before. The wait around it is
 * said to be a nanosecond younger, so that a time that is read twice was there between.
 */
static void unblock(struct mproc__wait *wait)
{
	struct mproc__thread *rec = wait->me->rec;

	atomic_store_explicit(&rec->saw_since, 0, memory_order_relaxed);
	atomic_store_explicit(&rec->blocked_on, wait->outer_on, memory_order_relaxed);
	atomic_store_explicit(&rec->blocked_since, wait->outer_since ? wait->outer_since + 2 : 0,
			      memory_order_release);
}

void mproc__wait_sleep(struct mproc__wait *wait, mproc__sleepers *word, uint32_t key)
{
	struct mproc__thread *rec = wait->me->rec;
	int64_t ns = wait->quantum, left;
	bool bounded = !atomic_load_explicit(&mproc__quantum_off, memory_order_relaxed);

	if (!bounded)
		ns = -1;
	if (wait->deadline != MPROC_FOREVER) {
		left = wait->deadline - mproc_now();
		if (left <= 0)
			left = 1;
		if (ns < 0 || left < ns) {
			ns = left;
			bounded = false;
		}
	}
	mproc__wait_block(wait);
	atomic_store_explicit(&rec->waits_on, wait->what, memory_order_relaxed);
	wait->sleeps++;
	wait->overslept = mproc__futex_wait(word, key, ns) == -ETIMEDOUT && bounded;
	atomic_store_explicit(&rec->waits_on, 0, memory_order_relaxed);
	if (wait->overslept && wait->quantum < MPROC__QUANTUM_MAX) {
		wait->quantum *= 2;
		if (wait->quantum > MPROC__QUANTUM_MAX)
			wait->quantum = MPROC__QUANTUM_MAX;
	}
	atomic_store_explicit(&rec->cpu, mproc__cpu(), memory_order_relaxed);
}

/* Was anybody woken since we announced ourselves? */
static bool woken(const struct mproc__wait *wait)
{
	atomic_thread_fence(memory_order_acquire);
	return (atomic_load_explicit(wait->word, memory_order_relaxed) ^ wait->key) >= WAKE;
}

void mproc__wait_end(struct mproc__wait *wait, bool ok)
{
	struct mproc__self *me = wait->me;

	if (wait->blocked)
		unblock(wait);
	if (!wait->owned && wait->polled && wait->sleeps)
		me->polls = me->polls / 2 < POLLS_MIN ? POLLS_MIN : me->polls / 2;
	else if (!wait->owned && wait->polled && ok)
		me->polls = me->polls >= POLLS_MAX - wait->polled ? POLLS_MAX
								  : me->polls + wait->polled;
	if (ok && wait->overslept && !woken(wait) && !mproc__somebody_at(me, wait->what) &&
	    !woken(wait)) /* again: by one who has gone since */
		atomic_fetch_add_explicit(&me->range->reg->heals, 1, memory_order_relaxed);
}

void mproc__wake_slow(mproc__sleepers *word, int n)
{
	uint32_t seen = atomic_load_explicit(word, memory_order_relaxed);
	uint32_t next;

	do {
		if (!(seen & ASLEEP))
			return; /* cleared by another: its wake made every sleeper look again */
		next = n == 1 ? seen + WAKE : (seen + WAKE) & ~ASLEEP;
	} while (!atomic_compare_exchange_weak_explicit(word, &seen, next, memory_order_seq_cst,
							memory_order_relaxed));
	if (mproc__futex_wake(word, n) == 0 && n == 1)
		atomic_compare_exchange_strong_explicit(word, &next, next & ~ASLEEP,
							memory_order_relaxed, memory_order_relaxed);
}
