/* SPDX-License-Identifier: MIT */
#ifndef MPROC__WAITABLE_H
#define MPROC__WAITABLE_H

/*
 * What every object that can be waited for contains
 *
 * A waitable is the sleeping half of an object: the word sleepers sleep on and a
 * word that says somebody polls a doorbell as well. The truth ("is it ready?")
 * is the object's own and comes as a function.
 */

#include "ipc/wait.h"

/*
 * Wait until @try says something else than -EAGAIN.
 * @try:	tries once; -EAGAIN: not ready; anything else ends the wait
 * @cpu:	where the expected partner last ran, or MPROC__CPU_ANY
 *
 * Return: what @try said, or -EAGAIN or -ETIMEDOUT by the deadline.
 */
int mproc__waitable_wait(struct mproc__waitable *w, struct mproc__self *me, uint64_t what,
			 int64_t deadline, const _Atomic(uint32_t) *cpu, int (*try)(void *arg),
			 void *arg);

/* The object has changed: wake one waiter, or all. */
static inline void mproc__waitable_signal(struct mproc__waitable *w, const struct mproc__self *me)
{
	mproc__wake_one(me, &w->sleepers);
}

static inline void mproc__waitable_signal_all(struct mproc__waitable *w,
					      const struct mproc__self *me)
{
	mproc__wake_all(me, &w->sleepers);
}

#endif /* MPROC__WAITABLE_H */
