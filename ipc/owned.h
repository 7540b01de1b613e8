/* SPDX-License-Identifier: MIT */
#ifndef MPROC__OWNED_H
#define MPROC__OWNED_H

/*
 * The lock of a mutex that has options, and who owns a mutex
 *
 * What a mutex without options does is ipc/lock.h; these are the long ways of the
 * others. The word differs in its flags only: see participant_layout.h.
 */

#include <mproc/mutex.h>

#include "ipc/lock.h"
#include "ipc/mutex_layout.h"

/*
 * Take the lock.
 * @what:	the mutex, as the thread's waits are noted
 * @options:	enum mproc__mutex_options
 *
 * Return: 0, MPROC__LOCK_INHERITED, -EAGAIN, -ETIMEDOUT, -EDEADLK if the calling
 * thread owns it and nobody else may unlock it, or as mproc__lock_take(), which alone
 * has a text, -ENOTRECOVERABLE.
 */
int mproc__owned_take(struct mproc__lock *lock, struct mproc__self *me, uint64_t what,
		      uint32_t options, int64_t deadline);

/*
 * Release it.
 *
 * Return: 0, or -EPERM if it is free, or another's and that matters. No text.
 */
int mproc__owned_release(struct mproc__lock *lock, struct mproc__self *me, uint64_t what,
			 uint32_t options);

/* Does the calling thread own it? One to whom it was handed has it when he has said so. */
static inline bool mproc__owned_by_me(const struct mproc__self *me, uint64_t word)
{
	return mproc__owner_id(word) == me->word && !(word & MPROC__OWNER_HANDED);
}

/* Does anybody? */
static inline bool mproc__owned_by_any(uint64_t word)
{
	return mproc__owner_id(word) && !(word & MPROC__OWNER_HANDED);
}

/*
 * Why @word is not the caller's to release or to judge.
 * @what:	for the text: "mutex unlock"
 * @noun:	"mutex", "rmutex"
 *
 * Return: -EPERM with a text.
 */
int mproc__owned_refuse(const struct mproc__lock *lock, const struct mproc__self *me, uint64_t word,
			const char *what, const char *noun);

/*
 * Say that what an inherited lock protects is in order.
 *
 * Return: 0, -EPERM or -EINVAL, with a text.
 */
int mproc__owned_consistent(struct mproc__lock *lock, const struct mproc__self *me,
			    const char *what, const char *noun);

/*
 * Who owns it, and who waits.
 *
 * Return: 1 and all of @ret, or 0 if nobody owns it and all of @ret.
 */
int mproc__owned_tell(struct mproc__lock *lock, struct mproc__self *me, uint64_t what,
		      struct mproc_mutex_owner *ret);

#endif /* MPROC__OWNED_H */
