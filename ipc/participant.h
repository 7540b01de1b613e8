/* SPDX-License-Identifier: MIT */
#ifndef MPROC__PARTICIPANT_H
#define MPROC__PARTICIPANT_H

/*
 * Who lives, who is dead, and cleaning up after the dead
 */

#include "ipc/attach.h"

/*
 * Is the party that @word names dead? Exact and immediate; no pid, no time-out.
 * An answer "alive" may become untrue at once, an answer "dead" never does.
 */
bool mproc__dead(struct mproc__range *range, uint64_t word);

/* The same for a process slot under a generation. */
bool mproc__proc_dead(struct mproc__range *range, uint32_t proc, uint64_t generation);

/*
 * A kernel lock on one byte of a segment's file that falls with this process's
 * address space (or with mproc__token_drop()), and is not inherited by fork.
 * @fd:		a private description; closed by this call, whatever comes
 * @type:	F_WRLCK or F_RDLCK
 *
 * Return: 0 and the pin in @ret, or -EAGAIN if another holds it, or what
 * fcntl(2) and mmap(2) report.
 */
int mproc__token_take(void **ret, int fd, int64_t byte, short type);
void mproc__token_drop(void *pin);

/*
 * Is some byte of [@byte, @byte + @n) of the file locked for writing?
 *
 * Return: 1, 0, or what fcntl(2) says.
 */
int mproc__token_query(int fd, int64_t byte, int64_t n);

/*
 * Ask whether some byte of [@byte, @byte + @n) is locked for writing.
 *
 * Return: 1 held, 0 free, -EAGAIN if the descriptor is not ours any more.
 */
int mproc__token_held(struct mproc__range *range, int64_t byte, int64_t n);

/*
 * Is any process other than this one attached?
 *
 * Return: 1, 0, or a negative errno.
 */
int mproc__others_attached(struct mproc__range *range);

/*
 * Try once on this filesystem whether a lock held by a mapping lives and falls
 * with it.
 *
 * Return: 0, or -ENOTSUP with a text.
 */
int mproc__token_selftest(int fd, const char *where);

/*
 * Reap every process slot whose owner is dead. Never waits for the living.
 *
 * Return: how many slots were freed, or a negative errno.
 */
int mproc__reap_all(struct mproc__range *range);

/* The same for a caller who holds the fork lock; @me may be NULL. */
int mproc__reap_all_held(struct mproc__range *range, struct mproc__self *me);

/*
 * Lock the byte of slot @proc if nobody lives there; what has died there is dead for
 * everybody before the byte is locked. The caller holds the fork lock.
 *
 * Return: 0 and the pin, or -EAGAIN if it is taken, or a negative errno with a text.
 */
int mproc__slot_lock(struct mproc__range *range, uint32_t proc, void **ret_pin);

/*
 * Free slot @proc, whose byte the caller has locked, as @me (or NULL).
 *
 * Return: 0, or 1 if something had to be left for later: the slot stays REAPING.
 */
int mproc__reap_locked(struct mproc__range *range, struct mproc__self *me, uint32_t proc);

/*
 * Give back one thread record of this process, which is in the middle of nothing:
 * its locks pass on as inherited.
 */
void mproc__thread_release(struct mproc__range *range, struct mproc__thread *rec);

/*
 * Claim a thread record for process slot @proc and become it.
 *
 * Return: 0 and @ret filled in, or -EUSERS: no record is free.
 */
int mproc__thread_claim(struct mproc__self *ret, struct mproc__range *range, uint32_t proc);

/*
 * Is a living thread other than @me, one that is not asleep there, noted as holding
 * @what or acting on it? Asked when only the quantum ended a sleep: if nobody is
 * about who may still be going to wake us, a wake-up was lost, and that is counted.
 */
bool mproc__somebody_at(struct mproc__self *me, uint64_t what);

/*
 * Begin and end acting on an object. Calls nest; what lies deeper than the record
 * has room is not noted. Return of the first: what the second is given.
 */
static inline uint64_t mproc__act_begin(struct mproc__self *me, uint64_t what)
{
	uint32_t depth = me->n_acts++;

	if (depth < MPROC__ACTS)
		atomic_store_explicit(&me->rec->acting[depth], what, memory_order_relaxed);
	/* A kill exposes a prefix of program order: the word stands before what it announces. */
	atomic_signal_fence(memory_order_seq_cst);
	return depth;
}

static inline void mproc__act_end(struct mproc__self *me, uint64_t depth)
{
	atomic_signal_fence(memory_order_seq_cst);
	me->n_acts = (uint32_t)depth;
	/* Release: who sees that we are out, and frees what we were in, comes after our last use.
	 */
	if (depth < MPROC__ACTS)
		atomic_store_explicit(&me->rec->acting[depth], 0, memory_order_release);
}

/* Would mproc__act_begin() make a note now? Who relies on his note asks before. */
static inline bool mproc__act_fits(const struct mproc__self *me)
{
	return me->n_acts < MPROC__ACTS;
}

/*
 * Is a living thread inside a call on @what? Asked by who removes it, or in the name of who
 * died removing it. The caller's own note counts if @own: who waits for it would wait for
 * himself, but who came to clean up in the middle of a call of his own must leave what that
 * call is about. (Notes of a dead thread whose record the caller has succeeded to do not.)
 */
bool mproc__somebody_inside(const struct mproc__self *me, uint64_t what, bool own);

/* A moment between two looks whether they are gone; no cancellation point. */
void mproc__pause(void);

#endif /* MPROC__PARTICIPANT_H */
