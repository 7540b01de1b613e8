/* SPDX-License-Identifier: MIT */

/*
 * Strings and lists: reading without the lock
 *
 * Who looks reads the version, the state that it says is the present one, what that state
 * names, and the version again. If it is the same nobody has written where he looked: a
 * commit comes before anything is written there (body.c), and before anything is freed.
 *
 * Who may only read the segment has no other way, for a lock is written. He respects it
 * all the same: as long as somebody alive is between lock and unlock he waits, by looking
 * again and again, for nobody could wake him. Nor can anybody know of him: the object may
 * be removed while he reads, and its blocks be anybody's; so he looks at its entry last.
 *
 * Nothing here writes shared memory.
 */

#include <errno.h>
#include <time.h>

#include <mproc/common.h>

#include "ipc/clock.h"
#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/body.h"
#include "shm/cells_layout.h"

#define TRIES_QUICK 64 /* in a row; then with a pause before each */
#define PAUSE_NS    50000

static uint64_t relaxed(const _Atomic(uint64_t) *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

/* What to read. Return: 0, or -EBADMSG: it is impossible, or torn. */
static int look(struct mproc__body_call *c)
{
	struct mproc__body *b = c->body;
	uint64_t generation, cap;
	int r = mproc__object_look(b->segment, &b->object, b->noun, b->name);

	if (r < 0)
		return r;
	mproc__body_peek(b, &c->peek);
	c->version = c->peek.version;
	c->state = &b->shared->state[c->version & 1];
	c->first = c->peek.first;
	c->len = c->peek.len;
	generation = relaxed(&c->state->generation);
	c->block = mproc__body_room(b);
	if (generation) {
		cap = mproc__arena_len(b->segment, c->peek.block);
		c->block = (struct mproc__body_block){
			.off = c->peek.block,
			.generation = generation,
			.mem = mproc__arena_at(b->segment, c->peek.block, cap),
			.cap = cap / b->unit,
		};
	}
	if (c->block.off != c->peek.block || !c->block.mem || !c->block.cap || c->block.off % 8)
		return mproc__fail(-EBADMSG, "%s %s: its block is none", b->noun, b->name);
	if (c->first > c->block.cap || c->len > c->block.cap - c->first)
		return mproc__fail(-EBADMSG, "%s %s: more is in use than there is", b->noun,
				   b->name);
	return 0;
}

/* Is somebody alive between lock and unlock? */
static bool is_locked(const struct mproc__body *b)
{
	uint64_t word;

	if (atomic_load_explicit(&b->shared->section, memory_order_acquire) == MPROC__SECTION_NONE)
		return false;
	word = relaxed(&b->shared->lock.word);
	return mproc__owner_id(word) && !mproc__dead(b->segment->range, word);
}

/* Is it over, with @r? */
static bool is_over(struct mproc__body_call *c, int *r)
{
	const struct mproc__body *b = c->body;
	bool locked, same;
	int gone;

	/* In this order: as long as the version was this one nobody was inside. */
	atomic_thread_fence(memory_order_acquire);
	locked = is_locked(b);
	same = relaxed(&b->shared->version) == c->peek.version;
	gone = mproc__object_look(b->segment, &b->object, b->noun, b->name);
	if (gone < 0) {
		*r = gone;
		return true;
	}
	if (same && !locked)
		return true;
	c->tries++;
	if (c->deadline == MPROC_NOWAIT && (locked || c->tries >= TRIES_QUICK))
		*r = -EAGAIN;
	else if (c->deadline != MPROC_NOWAIT && c->deadline != MPROC_FOREVER &&
		 mproc_now() >= c->deadline)
		*r = -ETIMEDOUT;
	else
		return false;
	/* What was found of the torn is no news. */
	mproc__error_put_back(c->text);
	return true;
}

bool mproc__body_again(struct mproc__body_call *c, int *r)
{
	if (__builtin_expect(c->me != NULL, 1)) {
		*r = mproc__body_end(c, *r);
		return false;
	}
	while (!is_over(c, r)) {
		if (c->tries >= TRIES_QUICK || is_locked(c->body))
			nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
		mproc__error_put_back(c->text);
		*r = look(c);
		if (*r == 0)
			return true;
	}
	return false;
}

int mproc__body_read(struct mproc__body_call *ret, struct mproc__body *b, int64_t deadline)
{
	int r;

	if (__builtin_expect(!b->segment->range->read_only, 1))
		return mproc__body_begin(ret, b, deadline);
	if (deadline < 0)
		return mproc__deadline_check(b->noun, deadline);
	ret->body = b;
	ret->me = NULL;
	ret->deadline = deadline;
	ret->tries = 0;
	mproc__error_keep(ret->text);
	r = look(ret);
	if (r < 0)
		(void)mproc__body_again(ret, &r);
	return r;
}
