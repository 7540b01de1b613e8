/* SPDX-License-Identifier: MIT */

/*
 * Many readers or one writer, in any processes
 *
 *	lock.word	0			nobody writes
 *		INHERITED		nobody writes, and the last writer died inside
 *		owner | flags		a writer: it waits for the readers, or, with
 *					INSIDE, has come in
 *	reads[] of a thread's record	the locks that it reads under
 *
 * Readers have no common word. A reader writes the lock into a free entry of its own
 * record and then looks at the lock's word; a writer writes the word and then looks
 * at the entries of all records. Whatever the timing, one of the two sees the other:
 *
 *	reader				writer
 *	1: entry = lock			a: word = me
 *	2: (fence of the writer's)	b: membarrier
 *	3: word free?			c: entries of the living
 *
 * If (3) comes before the barrier (b) on the reader's CPU, so does (1), and (c) finds
 * the entry; if it comes after, it finds the word. Then the reader takes its entry
 * back and waits; the writer waits for entries to go. So the reader's order costs it
 * nothing but a compiler barrier, and the writer a system call. Where a participant
 * cannot be reached by membarrier(2), readers fence (mproc__publish()). A writer that
 * cannot use it itself relies on their doing so, and lets some time go by first: who
 * looked whether to fence just before it was so told must have his store out of the
 * CPU by then.
 *
 * Why looking at each entry once is exact. An entry stays in its place, in one piece,
 * from the lock until the last unlock: locking again counts in private memory. An
 * entry that is written after (b) belongs to a reader that will see the word and
 * retreat. So an entry seen empty after (b) stays so for our purposes, and none can
 * move from a place not yet looked at to one already passed. A record claimed anew
 * since (b) reads nothing of ours for the same reason: that its generation is another
 * one than we saw does not matter. The dead are told from the living by
 * mproc__dead(), which is final: a dead reader's entries count no more. Whoever
 * succeeds to a dead one's record empties them before its own generation is there.
 *
 * A thread that reads already is let in again without looking at the word: since its
 * entry stands no writer can be inside, and to let it wait for one would be a deadlock.
 *
 * Preferring readers. They then ignore a writer that is not INSIDE; the writer waits
 * until it sees no reader, says INSIDE, makes everybody fence, looks once more, and
 * if it finds one, takes INSIDE back.
 *
 * Kills. A reader, anywhere: its entry is a dead one's. A writer before INSIDE:
 * whoever finds it dead frees the word or takes it over, and nobody is told, since
 * nothing was changed. With INSIDE: he leaves INHERITED, by the same CAS, and
 * everybody is told until a writer takes it out. There is nothing to repair, so no
 * state between: an heir killed before he has turned the flags he found (REPAIR,
 * INSIDE) into INHERITED leaves them, and they say the same to the next one. Killed
 * after the change and before the wake: the sleepers' quantum.
 */

#include <mproc/rwlock.h>

#include <errno.h>
#include <inttypes.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/futex.h"
#include "ipc/holds.h"
#include "ipc/kind_layout.h"
#include "ipc/lock.h"
#include "ipc/participant.h"

/* "rwlk": memory that holds something else is refused. The lowest bit: readers first. */
#define RWLOCK_TAG    0x6b6c7772u
#define READERS_FIRST 1u

/* Of the owner word: the writer has come in. */
#define INSIDE UINT64_C(8)

/* For a store to leave the CPU it was made on; a thousand times what that takes. */
#define GRACE_NS 10000000

struct rwlock {
	struct mproc__lock lock; /* the writers' */
	mproc__sleepers readers; /* who waits for the writer to go */
	mproc__sleepers drain;   /* the writer, waiting for the readers to go */
};

static_assert(sizeof(struct rwlock) <= sizeof(mproc_rwlock), "a rwlock has outgrown its type");
static_assert(alignof(struct rwlock) <= alignof(mproc_rwlock), "a rwlock is misaligned");
static_assert(MPROC_RWLOCK_READS_MAX == MPROC__READS, "the header says how many");
static_assert((INSIDE & MPROC__OWNER_FLAGS) == INSIDE, "INSIDE is no flag of an owner word");

/* A writer on its way in. */
struct entry {
	struct rwlock *rw;
	struct mproc__self *me;
	uint64_t what;
	int64_t deadline;
	struct mproc__wait wait;
	bool begun; /* the wait has */
	bool died;  /* a reader was found dead */
};

static struct rwlock *rwlock_of(mproc_rwlock *rwlock)
{
	return (struct rwlock *)rwlock;
}

static inline uint64_t word_of(struct rwlock *rw)
{
	/* Acquire: pairs with the release by which a writer's word goes or changes. */
	return atomic_load_explicit(&rw->lock.word, memory_order_acquire);
}

static inline bool is_rwlock(struct rwlock *rw)
{
	return (atomic_load_explicit(&rw->lock.tag, memory_order_relaxed) & ~READERS_FIRST) ==
	       RWLOCK_TAG;
}

static bool readers_first(struct rwlock *rw)
{
	return atomic_load_explicit(&rw->lock.tag, memory_order_relaxed) & READERS_FIRST;
}

/* Who we are where @rwlock lies, if there is one. Return: 0 or a negative errno. */
static int enter(mproc_rwlock *rwlock, const char *what, struct mproc__self **ret)
{
	*ret = mproc__self(rwlock, what);
	if (!*ret)
		return mproc__self_error();
	if (!is_rwlock(rwlock_of(rwlock)))
		return mproc__fail(-EINVAL, "%s: no rwlock at %p", what, (void *)rwlock);
	return 0;
}

static inline uint64_t what_of(const struct mproc__self *me, const mproc_rwlock *rwlock)
{
	return mproc__what(MPROC__KIND_RWLOCK, mproc__self_off(me, rwlock));
}

/* Whether a writer that is gone, and left @word behind, may have left things half done. */
static bool is_news(uint64_t word)
{
	return word & (MPROC__OWNER_INHERITED | INSIDE);
}

static bool is_closed(struct rwlock *rw, uint64_t word)
{
	return mproc__owner_id(word) && ((word & INSIDE) || !readers_first(rw));
}

static int told(uint64_t word)
{
	return word & MPROC__OWNER_INHERITED ? MPROC_RWLOCK_INHERITED : 0;
}

int mproc_rwlock_init(mproc_rwlock *rwlock, uint32_t flags)
{
	struct rwlock *rw = rwlock_of(rwlock);

	if (flags & ~(uint32_t)MPROC_RWLOCK_PREFER_READERS)
		return mproc__fail(-EINVAL, "rwlock init: unknown flags 0x%" PRIx32, flags);
	if ((uintptr_t)rwlock % alignof(mproc_rwlock))
		return mproc__fail(-EINVAL, "rwlock init: %p is not aligned to %zu bytes",
				   (void *)rwlock, alignof(mproc_rwlock));
	if (!mproc__range_find(rwlock))
		return mproc__fail(-ENOTCONN, "rwlock init: address %p lies in no attached segment",
				   (void *)rwlock);
	if (mproc__is_read_only(rwlock))
		return mproc__fail_read_only("rwlock init");
	atomic_store_explicit(&rw->lock.word, 0, memory_order_relaxed);
	atomic_store_explicit(&rw->lock.sleepers, 0, memory_order_relaxed);
	atomic_store_explicit(&rw->readers, 0, memory_order_relaxed);
	atomic_store_explicit(&rw->drain, 0, memory_order_relaxed);
	atomic_store_explicit(&rw->lock.tag, RWLOCK_TAG | (flags ? READERS_FIRST : 0),
			      memory_order_release);
	return 0;
}

void mproc_rwlock_destroy(mproc_rwlock *rwlock)
{
	if (rwlock && !mproc__is_read_only(rwlock))
		atomic_store_explicit(&rwlock_of(rwlock)->lock.tag, 0, memory_order_release);
}

/* Readers. */

/* Our entry for @what, or MPROC__READS. */
static uint32_t entry_of(const struct mproc__self *me, uint64_t what)
{
	uint32_t k;

	for (k = 0; k < MPROC__READS; k++)
		if ((me->reads_used & 1u << k) &&
		    atomic_load_explicit(&me->rec->reads[k], memory_order_relaxed) == what)
			break;
	return k;
}

/* Empty an entry; a writer may be waiting for that. */
static inline void take_back(struct rwlock *rw, const struct mproc__self *me, uint32_t k)
{
	/* Release: what was read under the lock was read before the writer comes in. */
	atomic_store_explicit(&me->rec->reads[k], 0, memory_order_release);
	mproc__wake_all(me, &rw->drain);
}

/* The word has become free. */
static void wake_everybody(struct rwlock *rw, const struct mproc__self *me)
{
	mproc__wake_all(me, &rw->readers);
	mproc__wake_one(me, &rw->lock.sleepers);
}

/* The writer named by @word is dead: free the word, with the news if there are any. */
static void bury(struct rwlock *rw, struct mproc__self *me, uint64_t word)
{
	if (!atomic_compare_exchange_strong_explicit(&rw->lock.word, &word,
						     is_news(word) ? MPROC__OWNER_INHERITED : 0,
						     memory_order_acq_rel, memory_order_relaxed))
		return;
	atomic_fetch_add_explicit(&me->range->reg->takeovers, 1, memory_order_relaxed);
	wake_everybody(rw, me);
}

/* Come in by entry @k. Return: as mproc_rwlock_read_lock(). */
static int read_enter(struct rwlock *rw, struct mproc__self *me, uint32_t k, uint64_t what,
		      int64_t deadline)
{
	struct mproc__wait wait;
	bool begun = false;
	int r, turn;

	for (;;) {
		uint64_t word = word_of(rw);
		uint32_t key;

		if (!is_closed(rw, word)) {
			atomic_store_explicit(&me->rec->reads[k], what, memory_order_relaxed);
			mproc__publish(me);
			word = word_of(rw);
			if (!is_closed(rw, word)) {
				r = told(word);
				break;
			}
			take_back(rw, me, k);
		}
		if (!begun)
			mproc__wait_begin(&wait, me, what, deadline, MPROC__QUANTUM_OWNED);
		begun = true;
		turn = mproc__wait_turn(&wait, mproc__owner_cpu(me->range, word));
		if (turn == MPROC__WAIT_POLL)
			continue;
		if (mproc__dead(me->range, word)) {
			bury(rw, me, word);
			continue;
		}
		if (turn < 0) {
			r = turn;
			break;
		}
		key = mproc__wait_announce(&wait, &rw->readers);
		if (atomic_load_explicit(&rw->lock.word, memory_order_relaxed) == word)
			mproc__wait_sleep(&wait, &rw->readers, key);
	}
	if (begun)
		mproc__wait_end(&wait, r == 0);
	return r;
}

/* Whatever is not the usual case: a writer, news, misuse, first call, many locks. */
static __attribute__((__noinline__)) int read_long(mproc_rwlock *rwlock, int64_t deadline)
{
	struct rwlock *rw = rwlock_of(rwlock);
	struct mproc__self *me;
	uint64_t what;
	uint32_t k;
	int r;

	r = enter(rwlock, "rwlock read lock", &me);
	if (r < 0)
		return r;
	if (deadline < 0)
		return mproc__deadline_check("rwlock read lock", deadline);
	what = what_of(me, rwlock);
	k = entry_of(me, what);
	if (k < MPROC__READS) {
		if (me->read_depth[k] == UINT16_MAX)
			return mproc__fail(-ENOLCK,
					   "rwlock read lock: the calling thread reads under the "
					   "rwlock at %p %u times already",
					   (void *)rwlock, UINT16_MAX + 1u);
		me->read_depth[k]++;
		return told(word_of(rw));
	}
	if (mproc__owner_id(word_of(rw)) == me->word)
		return mproc__fail(-EDEADLK,
				   "rwlock read lock: the calling thread writes under the rwlock "
				   "at %p already",
				   (void *)rwlock);
	for (k = 0; k < MPROC__READS && (me->reads_used & 1u << k); k++)
		;
	if (k == MPROC__READS)
		return mproc__fail(-ENOLCK,
				   "rwlock read lock: the calling thread reads under %u other "
				   "rwlocks of this segment, which is all it can",
				   MPROC__READS);
	r = read_enter(rw, me, k, what, deadline);
	if (r < 0)
		return r;
	me->read_depth[k] = 0;
	me->reads_used |= 1u << k;
	return r;
}

int mproc_rwlock_read_lock(mproc_rwlock *rwlock, int64_t deadline)
{
	struct mproc__self *me = mproc__self_quick(rwlock);
	struct rwlock *rw = rwlock_of(rwlock);

	if (__builtin_expect(me && deadline >= 0 && !me->reads_used && is_rwlock(rw), 1)) {
		atomic_store_explicit(&me->rec->reads[0], what_of(me, rwlock),
				      memory_order_relaxed);
		mproc__publish(me);
		if (__builtin_expect(word_of(rw) == 0, 1)) {
			me->reads_used = 1;
			me->read_depth[0] = 0;
			return 0;
		}
		take_back(rw, me, 0);
	}
	return read_long(rwlock, deadline);
}

/* Writers. */

static bool reads(struct mproc__thread *rec, uint64_t what)
{
	for (uint32_t k = 0; k < MPROC__READS; k++)
		/* Acquire: pairs with take_back(). */
		if (atomic_load_explicit(&rec->reads[k], memory_order_acquire) == what)
			return true;
	return false;
}

/*
 * Does @rec, with that @own, read under @what? A process slot that nobody has is
 * scribbled: mproc__dead() says so, and does not change the word.
 */
static bool reads_as(const struct mproc__range *range, struct mproc__thread *rec, uint64_t own,
		     uint64_t what)
{
	return mproc__own_state(own) == MPROC__THREAD_LIVE &&
	       mproc__own_proc(own) < range->n_procs && reads(rec, what);
}

static bool lives_and_reads(const struct mproc__range *range, struct mproc__thread *rec,
			    uint64_t what)
{
	return reads_as(range, rec, atomic_load_explicit(&rec->own, memory_order_acquire), what);
}

/* mproc__wait_turn() of a wait that may have to begin. */
static int turn_of(struct entry *entry, uint32_t cpu)
{
	if (!entry->begun)
		mproc__wait_begin(&entry->wait, entry->me, entry->what, entry->deadline,
				  MPROC__QUANTUM_OWNED);
	entry->begun = true;
	return mproc__wait_turn(&entry->wait, cpu);
}

/* Wait until @rec does not read, or is dead. Return: 0, -EAGAIN, -ETIMEDOUT. */
static int wait_for_reader(struct entry *entry, struct mproc__thread *rec)
{
	struct mproc__range *range = entry->me->range;
	uint32_t index = (uint32_t)(rec - range->threads);

	for (;;) {
		uint64_t own = atomic_load_explicit(&rec->own, memory_order_acquire);
		uint32_t key;
		int turn;

		if (!reads_as(range, rec, own, entry->what))
			return 0;
		turn = turn_of(entry, atomic_load_explicit(&rec->cpu, memory_order_relaxed));
		if (turn == MPROC__WAIT_POLL)
			continue;
		/* Giving up is no reason to take a dead one for a reader. His word changes. */
		if (mproc__dead(range, mproc__owner_word(index, mproc__owner_generation(own)))) {
			entry->died = true;
			continue;
		}
		if (turn < 0)
			return turn;
		key = mproc__wait_announce(&entry->wait, &entry->rw->drain);
		if (lives_and_reads(range, rec, entry->what))
			mproc__wait_sleep(&entry->wait, &entry->rw->drain, key);
	}
}

static int wait_for_readers(struct entry *entry)
{
	struct mproc__range *range = entry->me->range;
	int r = 0;

	for (uint32_t i = 0; i < range->n_threads && r == 0; i++)
		r = wait_for_reader(entry, &range->threads[i]);
	return r;
}

static bool anybody_reads(const struct entry *entry)
{
	struct mproc__range *range = entry->me->range;

	for (uint32_t i = 0; i < range->n_threads; i++)
		if (lives_and_reads(range, &range->threads[i], entry->what))
			return true;
	return false;
}

/* From here on readers see the word, or we see them. */
static void fence_readers(struct mproc__self *me)
{
	mproc__sleepers nobody = 0;
	int64_t end;

	mproc__fence_all(me);
	if (me->fence != 1)
		return;
	/* A reader may have looked whether it must fence just before it was told to. */
	end = mproc_now() + GRACE_NS;
	/* Not nanosleep(2), where a thread that is cancelled would end with the lock. */
	for (int64_t left = GRACE_NS; left > 0; left = end - mproc_now())
		(void)mproc__futex_wait(&nobody, 0, left);
	me->fence = 2;
}

/* The word is ours, without INSIDE: come in. Return: 0, -EAGAIN, -ETIMEDOUT. */
static int write_enter(struct entry *entry)
{
	struct rwlock *rw = entry->rw;
	struct mproc__self *me = entry->me;
	uint64_t word = atomic_load_explicit(&rw->lock.word, memory_order_relaxed);
	int r;

	if (!readers_first(rw)) {
		fence_readers(me);
		r = wait_for_readers(entry);
		if (r < 0)
			return r;
		atomic_store_explicit(&rw->lock.word, word | INSIDE, memory_order_relaxed);
		/* Nothing of what is done inside comes before the word that says so. */
		atomic_signal_fence(memory_order_seq_cst);
		return 0;
	}
	for (;;) {
		r = wait_for_readers(entry);
		if (r < 0)
			return r;
		atomic_store_explicit(&rw->lock.word, word | INSIDE, memory_order_relaxed);
		fence_readers(me);
		if (!anybody_reads(entry))
			return 0;
		atomic_store_explicit(&rw->lock.word, word, memory_order_release);
		mproc__wake_all(me, &rw->readers);
		r = turn_of(entry, MPROC__CPU_ANY);
		if (r < 0)
			return r;
	}
}

/* The word is ours: let it go. */
static void write_leave(struct rwlock *rw, struct mproc__self *me, uint64_t what)
{
	uint64_t word = atomic_load_explicit(&rw->lock.word, memory_order_relaxed);

	/* Release: what was written under the lock stands before it is free. */
	atomic_store_explicit(&rw->lock.word, word & MPROC__OWNER_INHERITED, memory_order_release);
	wake_everybody(rw, me);
	mproc__hold_remove(me, what);
}

int mproc_rwlock_write_lock(mproc_rwlock *rwlock, int64_t deadline)
{
	struct rwlock *rw = rwlock_of(rwlock);
	struct entry entry = { .rw = rw, .deadline = deadline };
	struct mproc__self *me;
	uint64_t word;
	int r;

	r = enter(rwlock, "rwlock write lock", &me);
	if (r < 0)
		return r;
	if (deadline < 0)
		return mproc__deadline_check("rwlock write lock", deadline);
	entry.me = me;
	entry.what = what_of(me, rwlock);
	if (entry_of(me, entry.what) < MPROC__READS)
		return mproc__fail(-EDEADLK,
				   "rwlock write lock: the calling thread reads under the rwlock "
				   "at %p",
				   (void *)rwlock);
	mproc__hold_add(me, entry.what);
	r = mproc__lock_take(&rw->lock, me, entry.what, deadline);
	if (r < 0) {
		mproc__hold_remove(me, entry.what);
		if (r == -EDEADLK)
			mproc__fail(r,
				    "rwlock write lock: the calling thread writes under the rwlock "
				    "at %p already",
				    (void *)rwlock);
		return r;
	}
	if (r == MPROC__LOCK_INHERITED) {
		word = atomic_load_explicit(&rw->lock.word, memory_order_relaxed);
		word = me->word | (is_news(word) ? MPROC__OWNER_INHERITED : 0);
		atomic_store_explicit(&rw->lock.word, word, memory_order_release);
		/* INSIDE is gone: readers that go first may come in. */
		mproc__wake_all(me, &rw->readers);
	}
	r = write_enter(&entry);
	if (entry.begun)
		mproc__wait_end(&entry.wait, r == 0 && !entry.died);
	if (r < 0) {
		write_leave(rw, me, entry.what);
		return r;
	}
	return told(atomic_load_explicit(&rw->lock.word, memory_order_relaxed));
}

/* Return: 0 or -EPERM. */
static int owned(struct rwlock *rw, const struct mproc__self *me, const char *what)
{
	uint64_t word = word_of(rw);

	if (mproc__owner_id(word) == me->word)
		return 0;
	if (!mproc__owner_id(word))
		return mproc__fail(-EPERM,
				   "%s: the calling thread does not read under the rwlock at %p, "
				   "and nobody writes",
				   what, (void *)rw);
	return mproc__fail(
		-EPERM, "%s: under the rwlock at %p thread record %" PRIu32 " writes, not %" PRIu32,
		what, (void *)rw, mproc__owner_index(word), mproc__owner_index(me->word));
}

static __attribute__((__noinline__)) int unlock_long(mproc_rwlock *rwlock)
{
	struct rwlock *rw = rwlock_of(rwlock);
	struct mproc__self *me;
	uint64_t what;
	uint32_t k;
	int r;

	r = enter(rwlock, "rwlock unlock", &me);
	if (r < 0)
		return r;
	what = what_of(me, rwlock);
	k = entry_of(me, what);
	if (k < MPROC__READS) {
		if (me->read_depth[k]) {
			me->read_depth[k]--;
			return 0;
		}
		me->reads_used &= ~(1u << k);
		take_back(rw, me, k);
		return 0;
	}
	r = owned(rw, me, "rwlock unlock");
	if (r < 0)
		return r;
	write_leave(rw, me, what);
	return 0;
}

int mproc_rwlock_unlock(mproc_rwlock *rwlock)
{
	struct mproc__self *me = mproc__self_quick(rwlock);

	/* One lock, once, to read. */
	if (__builtin_expect(
		    !me || me->reads_used != 1 || me->read_depth[0] ||
			    atomic_load_explicit(&me->rec->reads[0], memory_order_relaxed) !=
				    what_of(me, rwlock),
		    0))
		return unlock_long(rwlock);
	me->reads_used = 0;
	take_back(rwlock_of(rwlock), me, 0);
	return 0;
}

int mproc_rwlock_consistent(mproc_rwlock *rwlock)
{
	struct rwlock *rw = rwlock_of(rwlock);
	struct mproc__self *me;
	int r;

	r = enter(rwlock, "rwlock consistent", &me);
	if (r < 0)
		return r;
	r = owned(rw, me, "rwlock consistent");
	if (r < 0)
		return r;
	if (!told(word_of(rw)))
		return mproc__fail(-EINVAL, "rwlock consistent: the rwlock at %p is not inherited",
				   (void *)rwlock);
	atomic_store_explicit(&rw->lock.word, me->word | INSIDE, memory_order_release);
	return 0;
}
