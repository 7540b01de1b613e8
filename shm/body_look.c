/* SPDX-License-Identifier: MIT */

/*
 * Looking at strings and lists without the lock
 *
 * Nothing is written. What is read may be half of something, or, once the object was
 * removed, another's: so the version, or the catalogue, is looked at afterwards.
 */

#include "ipc/error.h"
#include "shm/body.h"
#include "shm/cells_layout.h"

static uint64_t relaxed(const _Atomic(uint64_t) *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

void mproc__body_peek(const struct mproc__body *b, struct mproc__body_peek *ret)
{
	ret->version = atomic_load_explicit(&b->shared->version, memory_order_acquire);
	ret->state = &b->shared->state[ret->version & 1];
	ret->block = relaxed(&ret->state->block);
	ret->first = relaxed(&ret->state->first);
	ret->len = relaxed(&ret->state->len);
}

bool mproc__body_peeked(const struct mproc__body *b, const struct mproc__body_peek *peek)
{
	/*
	 * The version did not change, so whatever was read is of it; and while it was this one
	 * nobody was in a section, at the moment of the look.
	 */
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&b->shared->section, memory_order_acquire) ==
		       MPROC__SECTION_NONE &&
	       relaxed(&b->shared->version) == peek->version;
}

uint64_t mproc__body_len(const struct mproc__body *b)
{
	struct mproc__body_peek peek;

	/* Each turn that fails has met another's commit. */
	for (int i = 0; i < 1000; i++) {
		mproc__body_peek(b, &peek);
		atomic_thread_fence(memory_order_acquire);
		if (relaxed(&b->shared->version) == peek.version)
			break;
	}
	/* Of a block that was freed, it is somebody else's. */
	if (mproc__object_check(b->segment, &b->object) < 0) {
		(void)mproc__body_gone(b);
		return 0;
	}
	return peek.len;
}

uint64_t mproc__body_version(const struct mproc__body *b)
{
	return atomic_load_explicit(&b->shared->version, memory_order_acquire);
}

uint64_t mproc__body_version_now(const struct mproc__body *b)
{
	uint64_t version = mproc__body_version(b);

	if (mproc__object_check(b->segment, &b->object) == 0)
		return version;
	(void)mproc__body_gone(b);
	return 0;
}

int mproc__body_ref(const struct mproc__body *b, struct mproc_ref *ret)
{
	if (mproc__object_check(b->segment, &b->object) < 0)
		return mproc__body_gone(b);
	*ret = mproc__object_ref(b->segment, &b->object);
	return 0;
}
