/* SPDX-License-Identifier: MIT */

/*
 * Who lives, who is dead, and cleaning up after the dead
 *
 * Proof of death. A process holds an exclusive open-file-description lock on the
 * byte of its slot, through a description that nothing refers to but one mapping
 * of one page, which fork does not copy. The kernel drops the lock with the
 * address space, after the last thread of the process has executed its last
 * instruction; no signal, exec or descriptor table can drop it earlier, SIGSTOP
 * does not drop it, and a recycled pid means nothing to it. Whoever asks may be
 * asked back in time: "alive" can be stale, "dead" never is, since a record is
 * claimed under a held byte and its generation never comes again.
 *
 * A thread record is LIVE from the CAS that claims it until its thread ends or
 * its process is reaped. A word names its record's index and generation, so
 *
 *	dead(word)	the generation has moved on, or the record is not LIVE,
 *			or the byte of the record's process is free
 *
 * Whoever finds the byte free writes that down (record LIVE -> DYING, slot LIVE ->
 * REAPING, by a CAS from the very word that was read before the question): a reaper
 * locks the byte, and were he stopped then, the dead would look alive again. A
 * reaper writes it down before he locks.
 *
 * Reaping is done by whoever holds the byte of the dead: he is the only one, and
 * when he dies in turn the kernel frees the byte for the next. Steps, each of
 * which may be repeated:
 *
 *	1. slot LIVE -> REAPING		what the process owned is now dead
 *	2. its records LIVE -> DYING	so are its threads
 *	3. unfinished calls are repaired by their rooms
 *	4. every room takes back what the process owned
 *	5. its records DYING -> FREE
 *	6. slot REAPING -> FREE
 *
 * A reaper that has no identity of its own yet (it is just attaching) claims a
 * record under the slot it reaps: after step 2 whatever is LIVE there is his. If
 * he dies, the next one turns that record DYING as well and repairs what it was
 * doing. Where the dead have left no record free he succeeds one of them: its
 * generation moves on, what it was doing stays noted in it, and his own doings,
 * for which there is no room, are found undone by whoever repeats the repair.
 * Locks are never waited for: a lock of the living leaves the slot REAPING for a
 * later pass.
 *
 * A thread that ends by itself goes the same way: DYING, its locks' waiters woken
 * to find it so, FREE.
 */

#include "ipc/participant.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ipc/error.h"
#include "ipc/futex.h"
#include "ipc/kind.h"
#include "ipc/lock.h"

static int set_lock(int fd, int64_t byte, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	while (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		if (errno == EACCES)
			return -EAGAIN;
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int mproc__token_take(void **ret, int fd, int64_t byte, short type)
{
	void *pin;
	int r;

	r = set_lock(fd, byte, type);
	if (r < 0) {
		close(fd);
		return r;
	}
	pin = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ, MAP_SHARED, fd, 0);
	r = pin == MAP_FAILED ? -errno : 0;
	/* A child that kept the mapping would keep us alive after our death. */
	if (!r && madvise(pin, (size_t)sysconf(_SC_PAGESIZE), MADV_DONTFORK) < 0) {
		r = -errno;
		mproc__token_drop(pin);
	}
	close(fd);
	if (!r)
		*ret = pin;
	return r;
}

void mproc__token_drop(void *pin)
{
	if (pin)
		munmap(pin, (size_t)sysconf(_SC_PAGESIZE));
}

static bool is_file(int fd, dev_t dev, ino_t ino)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

int mproc__token_query(int fd, int64_t byte, int64_t n)
{
	/* Asked as a reader: a read lock, which anybody may take, is no sign of life. */
	struct flock lock = {
		.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = n
	};

	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type != F_UNLCK;
}

int mproc__token_held(struct mproc__range *range, int64_t byte, int64_t n)
{
	int own = mproc__range_slot(range);
	int fd, old, r;

	for (int round = 0; round < 2; round++) {
		fd = atomic_load_explicit(&range->fd, memory_order_relaxed);
		/*
		 * Our descriptor may have been closed under us and its number be some log
		 * file's by now, on which every byte is free: look before and after.
		 */
		if (is_file(fd, range->dev, range->ino)) {
			r = mproc__token_query(fd, byte, n);
			if (r >= 0 && is_file(fd, range->dev, range->ino))
				return r;
		}
		old = fd;
		fd = mproc__range_reopen(range, NULL);
		if (fd < 0)
			return -EAGAIN;
		/* The old number is somebody else's, not ours to close; another may be quicker. */
		if (!atomic_compare_exchange_strong(&range->fd, &old, fd))
			close(fd);
		else if (own >= 0)
			atomic_store_explicit(&range->procs[own].fd, (uint32_t)fd,
					      memory_order_relaxed);
	}
	return -EAGAIN;
}

int mproc__token_selftest(int fd, const char *where)
{
	static _Atomic(uint64_t) passed[8];
	char self[32];
	struct stat st;
	uint64_t dev, at;
	int64_t byte;
	void *pin;
	int own, r;

	if (fstat(fd, &st) < 0)
		return mproc__fail_errno(-errno, "%s", where);
	dev = (uint64_t)st.st_dev + 1;
	for (size_t i = 0; i < 8; i++)
		if (atomic_load_explicit(&passed[i], memory_order_relaxed) == dev)
			return 0;
	/* A byte of our own among a million, so that two who test do not meet. */
	if (getrandom(&at, sizeof(at), 0) != sizeof(at))
		at = (uint64_t)getpid() * 4099;
	byte = MPROC__BYTE_TEST + (int64_t)(at & 0xfffff);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	own = open(self, O_RDWR | O_CLOEXEC);
	if (own < 0)
		return mproc__fail_errno(-errno, "%s: open %s", where, self);
	r = mproc__token_take(&pin, own, byte, F_WRLCK);
	if (r == -ENOMEM) /* of the mapping; it says nothing of locks */
		return mproc__fail_errno(r, "%s: attach", where);
	if (r < 0)
		return mproc__fail(-ENOTSUP, "%s: file locks do not work here: %s", where,
				   strerror(-r));
	r = mproc__token_query(fd, byte, 1);
	mproc__token_drop(pin);
	if (r != 1 || mproc__token_query(fd, byte, 1) != 0)
		return mproc__fail(-ENOTSUP,
				   "%s: a file lock does not live and fall with a mapping here, "
				   "so nobody's death could be proven",
				   where);
	for (size_t i = 0; i < 8; i++) {
		uint64_t none = 0;

		if (atomic_compare_exchange_strong(&passed[i], &none, dev))
			break;
	}
	return 0;
}

int mproc__others_attached(struct mproc__range *range)
{
	int own = mproc__range_slot(range);
	int r;

	if (own < 0)
		return mproc__token_held(range, MPROC__BYTE_SLOT(0), range->n_procs);
	/* A lock that our own pin holds would answer the question as well. */
	r = own ? mproc__token_held(range, MPROC__BYTE_SLOT(0), own) : 0;
	if (r == 0 && (uint32_t)own + 1 < range->n_procs)
		r = mproc__token_held(range, MPROC__BYTE_SLOT(own + 1), range->n_procs - own - 1);
	return r;
}

bool mproc__dead(struct mproc__range *range, uint64_t word)
{
	uint32_t index = mproc__owner_index(word);
	uint64_t own;

	/* Nobody has such an index: scribbled, and owned by no living party. */
	if (index >= range->n_threads)
		return true;
	own = atomic_load_explicit(&range->threads[index].own, memory_order_acquire);
	if (mproc__owner_generation(own) != mproc__owner_generation(word) ||
	    mproc__own_state(own) != MPROC__THREAD_LIVE || mproc__own_proc(own) >= range->n_procs)
		return true;
	if (mproc__range_slot(range) == (int)mproc__own_proc(own) ||
	    mproc__token_held(range, MPROC__BYTE_SLOT(mproc__own_proc(own)), 1) != 0)
		return false;
	if (range->read_only)
		return true;
	atomic_compare_exchange_strong(&range->threads[index].own, &own,
				       (own & ~UINT64_C(15)) | MPROC__THREAD_DYING);
	return true;
}

bool mproc__proc_dead(struct mproc__range *range, uint32_t proc, uint64_t generation)
{
	uint64_t st;

	if (proc >= range->n_procs)
		return true;
	st = atomic_load_explicit(&range->procs[proc].st, memory_order_acquire);
	if (mproc__proc_generation(st) != generation || mproc__proc_state(st) != MPROC__PROC_LIVE)
		return true;
	if (mproc__range_slot(range) == (int)proc ||
	    mproc__token_held(range, MPROC__BYTE_SLOT(proc), 1) != 0)
		return false;
	if (range->read_only)
		return true;
	atomic_compare_exchange_strong(&range->procs[proc].st, &st,
				       mproc__proc_word(generation, MPROC__PROC_REAPING));
	return true;
}

/* Fill in who the owner of @rec is, and let it be one whom sleepers reach. */
static void become(struct mproc__self *ret, struct mproc__range *range, struct mproc__thread *rec,
		   uint64_t generation, uint32_t proc)
{
	/* But the sizes: they are 0, and others may be looking at them. */
	memset(&ret->word, 0, sizeof(*ret) - offsetof(struct mproc__self, word));
	atomic_store_explicit(&ret->kept, 0, memory_order_relaxed);
	ret->base = atomic_load_explicit(&range->base, memory_order_relaxed);
	ret->word = mproc__owner_word((uint32_t)(rec - range->threads), generation);
	ret->rec = rec;
	ret->range = range;
	ret->proc = proc;
	ret->holds_quick = MPROC__HOLDS;
	if (atomic_load_explicit(&range->reg->options, memory_order_relaxed) &
	    MPROC__OPTION_LOCK_ORDER)
		ret->holds_quick = 0;
	ret->fence = !mproc__wait_can_fence();
	if (ret->fence)
		atomic_store(&range->reg->fence, 1);
	atomic_store_explicit(&rec->tid, (uint32_t)syscall(SYS_gettid), memory_order_relaxed);
	atomic_store_explicit(&rec->cpu, mproc__cpu(), memory_order_relaxed);
	/* Release: mproc__range_spoil() reads whose identity it is, where there is one. */
	atomic_store_explicit(&ret->size, range->size, memory_order_release);
}

int mproc__thread_claim(struct mproc__self *ret, struct mproc__range *range, uint32_t proc)
{
	uint32_t tid = (uint32_t)syscall(SYS_gettid);

	for (uint32_t n = 0; n < range->n_threads; n++) {
		uint32_t i = (tid + n) % range->n_threads;
		struct mproc__thread *rec = &range->threads[i];
		uint64_t own = atomic_load_explicit(&rec->own, memory_order_relaxed);
		uint64_t generation = (mproc__owner_generation(own) + 1) & MPROC__GENERATION_MASK;

		if (mproc__own_state(own) != MPROC__THREAD_FREE)
			continue;
		/* Acquire: the cleaning by whoever freed the record comes before our use. */
		if (!atomic_compare_exchange_strong_explicit(
			    &rec->own, &own, mproc__own_word(generation, proc, MPROC__THREAD_LIVE),
			    memory_order_acq_rel, memory_order_relaxed))
			continue;
		become(ret, range, rec, generation, proc);
		return 0;
	}
	return -EUSERS;
}

/* A reaper without a record succeeds a dead thread of the slot it reaps. */
static int thread_succeed(struct mproc__self *ret, struct mproc__range *range, uint32_t proc)
{
	for (uint32_t i = 0; i < range->n_threads; i++) {
		struct mproc__thread *rec = &range->threads[i];
		uint64_t own = atomic_load_explicit(&rec->own, memory_order_acquire);
		uint64_t generation = (mproc__owner_generation(own) + 1) & MPROC__GENERATION_MASK;

		if (mproc__own_state(own) != MPROC__THREAD_DYING || mproc__own_proc(own) != proc)
			continue;
		/* The dead neither read nor wait any more; what stood there would now be ours. */
		atomic_store_explicit(&rec->waits_on, 0, memory_order_relaxed);
		atomic_store_explicit(&rec->blocked_on, 0, memory_order_relaxed);
		atomic_store_explicit(&rec->blocked_since, 0, memory_order_relaxed);
		atomic_store_explicit(&rec->saw_since, 0, memory_order_relaxed);
		for (uint32_t k = 0; k < MPROC__READS; k++)
			atomic_store_explicit(&rec->reads[k], 0, memory_order_relaxed);
		atomic_store_explicit(&rec->own,
				      mproc__own_word(generation, proc, MPROC__THREAD_LIVE),
				      memory_order_release);
		become(ret, range, rec, generation, proc);
		/* What it was doing must stay noted until it is repaired. */
		ret->n_acts = MPROC__ACTS;
		ret->succeeded = 1;
		return 0;
	}
	return -EUSERS;
}

/* Empty a record and free it. What it held is found dead by the next to want it. */
static void free_record(struct mproc__range *range, struct mproc__thread *rec)
{
	uint64_t own = atomic_load_explicit(&rec->own, memory_order_relaxed);

	for (uint32_t i = 0; i < MPROC__HOLDS; i++) {
		uint64_t hold = atomic_load_explicit(&rec->holds[i], memory_order_relaxed);
		struct mproc__lock *lock =
			mproc__range_at(range, mproc__what_off(hold), sizeof(*lock));

		atomic_store_explicit(&rec->holds[i], 0, memory_order_relaxed);
		/* A nudge, so that the next one need not sit out its quantum. */
		if (hold && lock && !(mproc__what_off(hold) & 7))
			mproc__futex_wake((_Atomic(uint32_t) *)&lock->sleepers, INT_MAX);
	}
	for (uint32_t i = 0; i < MPROC__ACTS; i++)
		atomic_store_explicit(&rec->acting[i], 0, memory_order_relaxed);
	for (uint32_t i = 0; i < MPROC__READS; i++)
		atomic_store_explicit(&rec->reads[i], 0, memory_order_relaxed);
	atomic_store_explicit(&rec->waits_on, 0, memory_order_relaxed);
	atomic_store_explicit(&rec->blocked_on, 0, memory_order_relaxed);
	atomic_store_explicit(&rec->blocked_since, 0, memory_order_relaxed);
	atomic_store_explicit(&rec->saw_since, 0, memory_order_relaxed);
	atomic_store_explicit(&rec->queued_at, 0, memory_order_relaxed);
	atomic_store_explicit(&rec->n_lost, 0, memory_order_relaxed);
	atomic_store_explicit(&rec->own,
			      mproc__own_word(mproc__owner_generation(own), 0, MPROC__THREAD_FREE),
			      memory_order_release);
}

/* Step 3 for one record. Return: what is left. */
static int repair_record(struct mproc__range *range, struct mproc__self *me,
			 struct mproc__thread *rec)
{
	int left = 0;

	/* The inner call first: the outer one's repair may need what that one locked. */
	for (uint32_t i = MPROC__ACTS; i-- > 0;) {
		uint64_t what = atomic_load_explicit(&rec->acting[i], memory_order_relaxed);
		const struct mproc__kind *kind = mproc__kind_find(mproc__what_kind(what));

		if (!what || !kind || !kind->repair)
			continue;
		if (kind->repair(range, me, mproc__what_off(what), rec))
			left = 1;
	}
	return left;
}

/* Call @fn for each record of slot @proc in @state. Return: what is left. */
static int each_record(struct mproc__range *range, uint32_t proc, uint32_t state,
		       int (*fn)(struct mproc__range *, struct mproc__self *,
				 struct mproc__thread *),
		       struct mproc__self *me)
{
	int left = 0;

	for (uint32_t i = 0; i < range->n_threads; i++) {
		struct mproc__thread *rec = &range->threads[i];
		uint64_t own = atomic_load_explicit(&rec->own, memory_order_acquire);

		if (mproc__own_state(own) == state && mproc__own_proc(own) == proc &&
		    fn(range, me, rec))
			left = 1;
	}
	return left;
}

/* Dead from here on. */
static int mark_dying(struct mproc__range *range, struct mproc__self *me, struct mproc__thread *rec)
{
	uint64_t own = atomic_load_explicit(&rec->own, memory_order_relaxed);

	(void)range;
	(void)me;
	atomic_store_explicit(&rec->own, (own & ~UINT64_C(15)) | MPROC__THREAD_DYING,
			      memory_order_release);
	return 0;
}

void mproc__thread_release(struct mproc__range *range, struct mproc__thread *rec)
{
	mark_dying(range, NULL, rec);
	free_record(range, rec);
}

/* Ask whether it is dead, which will be remembered. */
static int write_down(struct mproc__range *range, struct mproc__self *me, struct mproc__thread *rec)
{
	uint64_t own = atomic_load_explicit(&rec->own, memory_order_relaxed);

	(void)me;
	(void)mproc__dead(range, mproc__owner_word((uint32_t)(rec - range->threads),
						   mproc__owner_generation(own)));
	return 0;
}

static int finish_record(struct mproc__range *range, struct mproc__self *me,
			 struct mproc__thread *rec)
{
	(void)me;
	free_record(range, rec);
	return 0;
}

int mproc__reap_locked(struct mproc__range *range, struct mproc__self *me, uint32_t proc)
{
	struct mproc__proc *slot = &range->procs[proc];
	uint64_t st = atomic_load_explicit(&slot->st, memory_order_acquire);
	uint64_t generation = mproc__proc_generation(st);
	struct mproc__self own;
	int left;

	if (mproc__proc_state(st) == MPROC__PROC_FREE)
		return 0;
	atomic_store_explicit(&slot->st, mproc__proc_word(generation, MPROC__PROC_REAPING),
			      memory_order_release);
	each_record(range, proc, MPROC__THREAD_LIVE, mark_dying, me);
	own.rec = NULL;
	if (!me &&
	    (mproc__thread_claim(&own, range, proc) == 0 || thread_succeed(&own, range, proc) == 0))
		me = &own;

	left = each_record(range, proc, MPROC__THREAD_DYING, repair_record, me);
	if (own.rec && repair_record(range, me, own.rec))
		left = 1;
	for (size_t i = 0; i < mproc__n_kinds; i++)
		if (mproc__kinds[i]->reap && mproc__kinds[i]->reap(range, me, proc, generation))
			left = 1;
	if (own.rec && own.n_acts)
		mark_dying(range, me, own.rec); /* a dead one's notes are in it */
	else if (own.rec)
		mproc__thread_release(range, own.rec);
	if (left)
		return 1;
	each_record(range, proc, MPROC__THREAD_DYING, finish_record, me);
	/* Who reaps himself is leaving. */
	if (mproc__range_slot(range) != (int)proc)
		atomic_fetch_add_explicit(&range->reg->deaths, 1, memory_order_relaxed);
	atomic_store_explicit(&slot->st, mproc__proc_word(generation, MPROC__PROC_FREE),
			      memory_order_release);
	atomic_fetch_add_explicit(&range->reg->reaped, 1, memory_order_release);
	mproc__futex_wake(&range->reg->reaped, INT_MAX);
	return 0;
}

int mproc__slot_lock(struct mproc__range *range, uint32_t proc, void **ret_pin)
{
	uint64_t st = atomic_load_explicit(&range->procs[proc].st, memory_order_acquire);
	int fd, r;

	/* A look first: a private description costs an open. */
	if (mproc__token_held(range, MPROC__BYTE_SLOT(proc), 1) > 0)
		return -EAGAIN;
	if (mproc__proc_state(st) != MPROC__PROC_FREE)
		each_record(range, proc, MPROC__THREAD_LIVE, write_down, NULL);
	(void)mproc__proc_dead(range, proc, mproc__proc_generation(st));
	fd = mproc__range_reopen(range, "lock a slot");
	if (fd < 0)
		return fd;
	r = mproc__token_take(ret_pin, fd, MPROC__BYTE_SLOT(proc), F_WRLCK);
	if (r < 0 && r != -EAGAIN)
		mproc__fail_errno(r, "lock slot %" PRIu32, proc);
	return r;
}

/* Return: 1 freed, 0 its owner lives or work is left, or negative. */
static int reap_slot(struct mproc__range *range, struct mproc__self *me, uint32_t proc)
{
	uint64_t st = atomic_load_explicit(&range->procs[proc].st, memory_order_acquire);
	void *pin;
	int r;

	if (mproc__proc_state(st) == MPROC__PROC_FREE)
		return 0;
	r = mproc__slot_lock(range, proc, &pin);
	if (r < 0)
		return r == -EAGAIN ? 0 : r;
	r = !mproc__reap_locked(range, me, proc);
	mproc__token_drop(pin);
	return r;
}

int mproc__reap_all_held(struct mproc__range *range, struct mproc__self *me)
{
	int n = 0, r;

	for (uint32_t i = 0; i < range->n_procs; i++) {
		r = reap_slot(range, me, i);
		if (r < 0)
			return r;
		n += r;
	}
	return n;
}

int mproc__reap_all(struct mproc__range *range)
{
	struct mproc__self *me = mproc__self(
		(void *)atomic_load_explicit(&range->base, memory_order_relaxed), "reap");
	int r;

	if (!me)
		return mproc__self_error();
	mproc__fork_lock();
	r = mproc__reap_all_held(range, me);
	mproc__fork_unlock();
	return r;
}

bool mproc__somebody_at(struct mproc__self *me, uint64_t what)
{
	struct mproc__range *range = me->range;

	for (uint32_t i = 0; i < range->n_threads; i++) {
		struct mproc__thread *rec = &range->threads[i];
		uint64_t own = atomic_load_explicit(&rec->own, memory_order_acquire);
		bool at;

		if (mproc__own_state(own) != MPROC__THREAD_LIVE || rec == me->rec)
			continue;
		/* Who is asleep there owes nobody a wake-up. */
		if (atomic_load_explicit(&rec->waits_on, memory_order_relaxed) == what)
			continue;
		at = false;
		for (uint32_t k = 0; k < MPROC__ACTS && !at; k++)
			at = atomic_load_explicit(&rec->acting[k], memory_order_relaxed) == what;
		for (uint32_t k = 0; k < MPROC__HOLDS && !at; k++)
			at = atomic_load_explicit(&rec->holds[k], memory_order_relaxed) == what;
		if (at && !mproc__dead(range, mproc__owner_word(i, mproc__owner_generation(own))))
			return true;
	}
	return false;
}

bool mproc__somebody_inside(const struct mproc__self *me, uint64_t what, bool own)
{
	struct mproc__range *range = me->range;

	for (uint32_t i = 0; i < range->n_threads; i++) {
		struct mproc__thread *rec = &range->threads[i];
		uint64_t word = atomic_load_explicit(&rec->own, memory_order_acquire);

		if (mproc__own_state(word) != MPROC__THREAD_LIVE ||
		    (rec == me->rec && (!own || me->succeeded)))
			continue;
		/* Acquire: see mproc__act_end(). */
		for (uint32_t k = 0; k < MPROC__ACTS; k++)
			if (atomic_load_explicit(&rec->acting[k], memory_order_acquire) == what &&
			    !mproc__dead(range,
					 mproc__owner_word(i, mproc__owner_generation(word))))
				return true;
	}
	return false;
}

void mproc__pause(void)
{
	int was;

	/* A thread that was cancelled here would end with what it holds. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	pthread_setcancelstate(was, &was);
}
