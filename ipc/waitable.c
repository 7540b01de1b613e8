/* SPDX-License-Identifier: MIT */

/*
 * What every object that can be waited for contains
 *
 * The loop that waits, for all of them. A waitable holds no truth: killed anywhere,
 * it says at worst that somebody sleeps who does not.
 */

#include "ipc/waitable.h"

#include <errno.h>

int mproc__waitable_wait(struct mproc__waitable *w, struct mproc__self *me, uint64_t what,
			 int64_t deadline, const _Atomic(uint32_t) *cpu, int (*try)(void *arg),
			 void *arg)
{
	struct mproc__wait wait;
	uint32_t key;
	int r, turn;

	r = try(arg);
	if (r != -EAGAIN)
		return r;
	mproc__wait_begin(&wait, me, what, deadline, MPROC__QUANTUM_IDLE);
	for (;;) {
		turn = mproc__wait_turn(&wait, cpu ? atomic_load_explicit(cpu, memory_order_relaxed)
						   : MPROC__CPU_ANY);
		if (turn < 0) {
			mproc__wait_end(&wait, false);
			return turn;
		}
		if (turn == MPROC__WAIT_SLEEP) {
			key = mproc__wait_announce(&wait, &w->sleepers);
			r = try(arg);
			if (r != -EAGAIN)
				break;
			mproc__wait_sleep(&wait, &w->sleepers, key);
		}
		r = try(arg);
		if (r != -EAGAIN)
			break;
	}
	mproc__wait_end(&wait, r >= 0);
	return r;
}
