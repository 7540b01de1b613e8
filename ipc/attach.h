/* SPDX-License-Identifier: MIT */
#ifndef MPROC__ATTACH_H
#define MPROC__ATTACH_H

/*
 * Where am I, and who am I there: attached ranges, and each thread's identity
 *
 * A range is the memory of one segment in this process. Its registry names the
 * processes and threads that take part. mproc__self() finds, from the address
 * of any object, the range it lies in and the calling thread's record there,
 * attaching the process or the thread on their first call.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipc/participant_layout.h"

#define MPROC__RANGES_MAX 64u

struct mproc__order;

struct mproc__range {
	_Atomic(uintptr_t) base; /* 0: this entry is free; published last, withdrawn first */
	_Atomic(size_t) size;    /* bytes of address space, the reservation included */
	_Atomic(size_t) bytes;   /* of them, those that are known to be memory; only grows */
	_Atomic(uint64_t) known; /* published bytes, checked; more than that if addresses lack */
	const _Atomic(uint64_t) *published; /* where the segment says them; NULL: it does not */
	uint64_t max;                       /* what it may say at most */
	uint64_t hole, hole_end; /* no object lies between these offsets, memory or not */
	struct mproc__registry *reg;
	struct mproc__proc *procs;
	struct mproc__thread *threads;
	struct mproc__order *order; /* NULL: the order of locks is not recorded */
	uint32_t n_procs;           /* checked copies */
	uint32_t n_threads;
	uint32_t index;  /* of this entry */
	_Atomic(int) fd; /* of the segment; may be closed under us by closefrom(3) */
	/* Somebody has cut the file: what is behind some pages is not the segment any more. */
	_Atomic(uint32_t) spoilt;
	dev_t dev;
	ino_t ino;
	bool named;     /* fork hands over its slot, so that a daemon keeps its name */
	bool read_only; /* mapped for reading alone: this process takes no part in it */
	char path[512]; /* of the file, "" if anonymous */
	void *owner;    /* the segment's handle, for shm/ alone */
};

/* What a thread is in one range; private to the process, gone after fork. */
struct mproc__self {
	uintptr_t base;
	_Atomic(size_t) size; /* 0: not attached here */
	_Atomic(size_t) kept; /* what the size was when the range was spoilt, or 0 */
	uint64_t word;        /* owner word without flags */
	struct mproc__thread *rec;
	struct mproc__range *range;
	uint32_t proc;        /* slot of the process */
	uint32_t n_holds;     /* notes in the record's holds[], which are kept dense */
	uint32_t holds_quick; /* notes that fast paths may make; 0: all locking is watched */
	uint32_t n_acts;
	uint32_t succeeded; /* the record was a dead thread's, and has its notes */
	uint32_t fence;     /* this process cannot be reached by membarrier(2) */
	uint32_t polls;     /* budget of the last waits, adapted */
	uint32_t n_waits;
	uint32_t n_releases;               /* of permits; makes the mark of each another one */
	uint32_t reads_used;               /* which of the record's reads[] are taken */
	uint16_t read_depth[MPROC__READS]; /* how often more each is held */
};

/* How often a thread has locked a recursive mutex, if more than once. */
struct mproc__depth {
	uintptr_t at; /* address of the rmutex */
	uint32_t n;
};

#define MPROC__DEPTHS 32u

struct mproc__identity {
	struct mproc__self at[MPROC__RANGES_MAX];
	uint32_t n_depths;
	struct mproc__depth depths[MPROC__DEPTHS]; /* kept dense */
};

extern _Thread_local struct mproc__identity *mproc__identity
	__attribute__((__tls_model__("initial-exec")));

/* The same when the fast path misses. */
struct mproc__self *mproc__self_slow(const void *object, const char *what);

/* Who the calling thread is where @object lies, or NULL: ask mproc__self(). */
static inline struct mproc__self *mproc__self_quick(const void *object)
{
	struct mproc__self *me = &mproc__identity->at[0];

	if ((uintptr_t)object - me->base < atomic_load_explicit(&me->size, memory_order_relaxed))
		return me;
	return NULL;
}

/*
 * Who the calling thread is where @object lies.
 * @what:	for the text: "mutex lock"
 *
 * Return: NULL with a text if the object lies in no attached range, or the
 * process or thread cannot attach; mproc__self_error() then is the code.
 */
static inline struct mproc__self *mproc__self(const void *object, const char *what)
{
	struct mproc__self *me = mproc__self_quick(object);

	return me ? me : mproc__self_slow(object, what);
}

/* The code of this thread's last failed mproc__self(): -ENOTCONN, -EUSERS, … */
int mproc__self_error(void);

/* What the end of a thread does: its records go back, its locks pass on as inherited. */
void mproc__self_end(void);

static inline uint64_t mproc__self_off(const struct mproc__self *me, const void *object)
{
	return (uint64_t)((uintptr_t)object - me->base);
}

/*
 * Others may have made the segment larger: look how large it says to be, and believe
 * it if it has not shrunk, is within its maximum, and the file is that long.
 *
 * Return: the bytes published, as far as they are to be believed; what of them this
 * process has addresses for counts as memory from here on.
 */
uint64_t mproc__range_grown(struct mproc__range *range);

/*
 * Can this process not ask how long the range's file is? It has closed the descriptor, and
 * finds the file in no other way: it never learns that others have made the segment larger.
 */
bool mproc__range_is_blind(struct mproc__range *range);

/*
 * Is [off, off + len) memory of the range that an object can lie in? Addresses behind
 * the file are reserved, and whoever touches them gets a SIGBUS.
 */
static inline bool mproc__range_has(const struct mproc__range *range, uint64_t off, uint64_t len)
{
	uint64_t bytes = atomic_load_explicit(&range->bytes, memory_order_relaxed);

	if (__builtin_expect(len > bytes || off > bytes - len, 0)) {
		/* What we learn is no change of the range. */
		mproc__range_grown((struct mproc__range *)range);
		bytes = atomic_load_explicit(&range->bytes, memory_order_relaxed);
		if (len > bytes || off > bytes - len)
			return false;
	}
	return off >= range->hole_end || off + len <= range->hole;
}

/* The address of @off in the range, or NULL if [off, off + len) is not its memory. */
static inline void *mproc__range_at(const struct mproc__range *range, uint64_t off, uint64_t len)
{
	if (!mproc__range_has(range, off, len))
		return NULL;
	return (void *)(atomic_load_explicit(&range->base, memory_order_relaxed) + (uintptr_t)off);
}

/* Lay out a registry in zeroed memory of mproc__registry_size() bytes. */
void mproc__registry_init(struct mproc__registry *reg, uint32_t n_procs, uint32_t n_threads);

/* A segment's memory as it is mapped. */
struct mproc__mapping {
	void *base;
	size_t size;                        /* of address space, the reservation included */
	uint64_t bytes;                     /* published and checked */
	uint64_t max;                       /* they can become at most */
	uint64_t hole;                      /* no object lies from here ... */
	uint64_t hole_end;                  /* ... to there */
	const _Atomic(uint64_t) *published; /* in the mapping; NULL: it does not grow */
};

/*
 * Enter a mapped segment into the table and attach the process.
 * @reg:		its registry; @reg_room bytes may belong to it
 * @fd:			descriptor of the segment, owned by the range from here on
 * @path:		where it can be opened again, or NULL if it has no name
 * @owner:		the segment's handle: reaping in a slot that is taken over
 *			calls the rooms, which find it as range->owner
 *
 * The caller holds the fork lock. @ret is written before the process attaches, for
 * the same reason, and is NULL again after a failure.
 *
 * Return: 0, or -EUSERS if no process slot is free, -ENOMEM, -EMFILE if the
 * table is full, -EBADMSG if the registry is impossible, -ENOTSUP if file
 * locks are no proof of life here, or what open(2), fcntl(2) and mmap(2)
 * report. The descriptor then is still the caller's.
 */
int mproc__range_add(struct mproc__range **ret, const struct mproc__mapping *mapping,
		     struct mproc__registry *reg, uint64_t reg_room, int fd, const char *path,
		     void *owner);

/*
 * The same for a mapping that cannot be written to: the process takes no slot, and has
 * no identity there. mproc__self() is NULL then, and mproc__self_error() -EROFS.
 */
int mproc__range_add_read_only(struct mproc__range **ret, const struct mproc__mapping *mapping,
			       struct mproc__registry *reg, uint64_t reg_room, int fd,
			       const char *path, void *owner);

/*
 * Leave: give back the records of all threads of this process and its slot,
 * forget every thread's cached identity, close the descriptor. The mapping
 * stays, for the caller to unmap. The caller holds the fork lock.
 */
void mproc__range_remove(struct mproc__range *range);

/*
 * From now on mproc__self() fails with -EBADMSG in @range, but for threads that hold
 * something there, until they do not; waits end likewise. Safe in a signal handler.
 */
void mproc__range_spoil(struct mproc__range *range);

static inline bool mproc__range_is_spoilt(const struct mproc__range *range)
{
	return atomic_load_explicit(&range->spoilt, memory_order_relaxed) != 0;
}

/* The -EBADMSG that calls in a spoilt range end with, and its text. */
int mproc__range_refuse(const char *what);

/* The range that holds [addr, addr + 1), or NULL. */
struct mproc__range *mproc__range_find(const void *addr);

/* Entry @i of the table, below MPROC__RANGES_MAX, or NULL if it is free. */
struct mproc__range *mproc__range_nth(uint32_t i);

/*
 * The range of the file, or NULL: one mapping per segment, process and way of using it.
 * The caller holds the fork lock.
 */
struct mproc__range *mproc__range_find_file(dev_t dev, ino_t ino, bool read_only);

/* How many ranges of this process are read-only. */
extern _Atomic(uint32_t) mproc__n_read_only;

bool mproc__is_read_only_slow(const void *object);

/*
 * Does @object lie where this process may only read? For calls that write without an
 * identity, which mproc__self() would refuse. Can be asked in a signal handler.
 */
static inline bool mproc__is_read_only(const void *object)
{
	return __builtin_expect(
		       atomic_load_explicit(&mproc__n_read_only, memory_order_relaxed) != 0, 0) &&
	       mproc__is_read_only_slow(object);
}

/* What such a call then says of itself: "mutex init". Return: -EROFS. */
int mproc__fail_read_only(const char *what);

/*
 * A private description of the range's file, never shared with anybody.
 * @what:	for the text, or NULL for none: the caller can do without
 *
 * Return: a descriptor, -EMFILE or -ENFILE if there are no more of them, or -ENOTCONN.
 */
int mproc__range_reopen(struct mproc__range *range, const char *what);

/*
 * The same for what any description of the file serves for, that locks nothing: the
 * range's own one, if it is there still, needs neither /proc nor permission to open.
 */
int mproc__range_descriptor(struct mproc__range *range);

/* The slot this process attached with, or -1. */
int mproc__range_slot(const struct mproc__range *range);

/*
 * The process's own fork lock: taken by fork(2) itself and by every slow path. A
 * thread that holds it cannot be cancelled.
 */
void mproc__fork_lock(void);
void mproc__fork_unlock(void);

/* Attach this process to all inherited ranges now rather than on first use. */
int mproc__range_attach_all(void);

/*
 * A participant of its own within this process, for tests: it has a slot and a
 * thread record, and a thread that acts as it is it until it stops.
 * mproc__identity_kill() drops its kernel lock and nothing else, as SIGKILL does.
 */
int mproc__identity_new(struct mproc__identity **ret, struct mproc__range *range);
struct mproc__identity *mproc__identity_act(struct mproc__identity *identity);
void mproc__identity_kill(struct mproc__identity *identity);

#endif /* MPROC__ATTACH_H */
