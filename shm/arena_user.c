/* SPDX-License-Identifier: MIT */

/*
 * Blocks as programs get them: pointers in, pointers out
 *
 * Nothing here decides whose a block is; that is in arena.c. A pointer becomes an
 * offset in the segment and is then judged there: who frees what he does not own, or
 * what is no block, changes nothing. Blocks of objects, which are published by their
 * rooms and not by mproc_arena_publish(), are none of the caller's.
 *
 * Moving. The new block is private, filled, and only then the old one is freed: both
 * are the caller's in between, so that a kill leaves nothing. A published block cannot
 * move: between the end of the one and the publication of the other somebody would find
 * neither, or nobody know of one.
 */

#include <mproc/arena.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ipc/error.h"
#include "shm/arena_quick.h"
#include "shm/segment_layout.h"

static_assert(MPROC_ARENA_ALIGN_MAX == MPROC__SEGMENT_ALIGN_MAX, "mappings are not aligned so");

/* Find out where we are and who. Return: 0, or negative with a text. */
static inline int enter(mproc_segment **segment, struct mproc__self **ret_me, const char *what)
{
	int r = *segment ? 0 : mproc__segment_get(segment, NULL);

	if (r < 0)
		return r;
	*ret_me = mproc__self((*segment)->arena, what);
	return __builtin_expect(*ret_me != NULL, 1) ? 0 : mproc__self_error();
}

static uintptr_t base_of(const mproc_segment *segment)
{
	return atomic_load_explicit(&segment->range->base, memory_order_relaxed);
}

static uint64_t off_of(const mproc_segment *segment, const void *block)
{
	return (uint64_t)((uintptr_t)block - base_of(segment));
}

static int foreign(const char *what, const void *block, const mproc_segment *segment)
{
	return mproc__fail(-EINVAL, "%s: address %p is not in segment %s", what, block,
			   segment->name[0] ? segment->name : "without a name");
}

/* The same, and where @block is. */
static inline int enter_at(mproc_segment **segment, struct mproc__self **ret_me, uint64_t *ret_off,
			   const void *block, const char *what)
{
	int r = enter(segment, ret_me, what);

	if (r < 0)
		return r;
	*ret_off = off_of(*segment, block);
	if (__builtin_expect(!mproc__segment_at(*segment, *ret_off, 1), 0))
		return foreign(what, block, *segment);
	return 0;
}

static int alloc(void **ret, mproc_segment *segment, uint64_t len, bool zero)
{
	struct mproc__self *me;
	uint64_t off;
	int r;

	assert(ret);
	r = enter(&segment, &me, "alloc");
	if (r == 0)
		r = mproc__arena_alloc(segment, me, len, zero, &off);
	if (r == 0)
		*ret = (void *)(base_of(segment) + (uintptr_t)off);
	return r;
}

int mproc_arena_alloc(void **ret, mproc_segment *segment, size_t len)
{
	struct mproc__arena_view v;
	struct mproc__self *me;
	uint64_t rel;

	if (len <= MPROC__ARENA_SMALL_MAX && segment &&
	    (me = mproc__self_quick(segment->arena)) != NULL) {
		v = mproc__arena_view(segment, me);
		if (mproc__arena_small_quick(&v, mproc__arena_class_of(len), &rel)) {
			*ret = v.at->data + rel;
			return 0;
		}
	}
	return alloc(ret, segment, len, false);
}

int mproc_arena_calloc(void **ret, mproc_segment *segment, size_t n, size_t len)
{
	size_t all;

	if (__builtin_mul_overflow(n, len, &all))
		return mproc__fail(-ENOSPC, "alloc: %zu times %zu bytes wanted", n, len);
	return alloc(ret, segment, all, true);
}

int mproc_arena_alloc_aligned(void **ret, mproc_segment *segment, size_t align, size_t len)
{
	struct mproc__self *me;
	char text[24];
	uint64_t off;
	int r;

	assert(ret);
	if (!align || (align & (align - 1)) || align > MPROC_ARENA_ALIGN_MAX)
		return mproc__fail(-EINVAL, "alloc: an alignment of %zu bytes", align);
	r = enter(&segment, &me, "alloc");
	if (r < 0)
		return r;
	/* Offsets are what is aligned; addresses are as far as the mapping is. */
	if (base_of(segment) & (align - 1))
		return mproc__fail(-ENOTSUP,
				   "alloc: at a multiple of %s wanted, and the segment's mapping "
				   "is at none",
				   mproc__size_text(text, align));
	r = mproc__arena_alloc_aligned(segment, me, len, align, &off);
	if (r == 0)
		*ret = (void *)(base_of(segment) + (uintptr_t)off);
	return r;
}

int mproc_arena_free(mproc_segment *segment, void *block)
{
	struct mproc__self *me;
	uint64_t off;
	int r;

	if (!block)
		return 0;
	r = enter_at(&segment, &me, &off, block, "free");
	return r < 0 ? r : mproc__arena_free_user(segment, me, off);
}

int mproc_arena_publish(mproc_segment *segment, void *block)
{
	struct mproc__self *me;
	uint64_t off;
	int r = enter_at(&segment, &me, &off, block, "publish");

	return r < 0 ? r : mproc__arena_publish_user(segment, me, off);
}

int mproc_arena_adopt(mproc_segment *segment, void *block)
{
	struct mproc__self *me;
	uint64_t off;
	int r = enter_at(&segment, &me, &off, block, "adopt");

	return r < 0 ? r : mproc__arena_adopt_user(segment, me, off);
}

size_t mproc_arena_size(mproc_segment *segment, const void *block)
{
	uint64_t off, size;

	if (mproc__segment_get(&segment, segment) < 0)
		return 0;
	off = off_of(segment, block);
	size = mproc__arena_len(segment, off);
	if (!size)
		(void)mproc__fail(0, "size: no block at offset %" PRIu64, off);
	return (size_t)size;
}

/* What can be done without moving. Return: 0, -ENOSPC: it has to be moved, or another. */
static int resize(const struct mproc__arena_view *v, const struct mproc__arena_block *b,
		  uint64_t len)
{
	uint64_t want = len / MPROC__ARENA_PAGE + (len % MPROC__ARENA_PAGE != 0);
	uint64_t outer;
	int r;

	if (b->small)
		return len <= b->size ? 0 : -ENOSPC;
	if (!want)
		want = 1;
	if (want * MPROC__ARENA_PAGE == b->size)
		return 0;
	if (want > mproc__arena_n_pages(v))
		return -ENOSPC;
	outer = mproc__act_begin(v->me, v->at->what);
	r = mproc__arena_runs_lock(v);
	if (r == 0) {
		r = mproc__arena_runs_resize(v, b->page, mproc__arena_generation(b->value),
					     (uint32_t)want);
		mproc__arena_runs_unlock(v);
	}
	mproc__act_end(v->me, outer);
	return r;
}

/* Contents of the private block at @off, of @size bytes, to a new one of @len or more. */
static int move(void **block, mproc_segment *segment, struct mproc__self *me, uint64_t off,
		uint64_t size, uint64_t len)
{
	uint64_t new;
	void *to;
	int r;

	r = mproc__arena_alloc(segment, me, len, false, &new);
	if (r < 0)
		return r;
	to = (void *)(base_of(segment) + (uintptr_t) new);
	memcpy(to, *block, (size_t)(size < len ? size : len));
	r = mproc__arena_free_user(segment, me, off);
	if (r < 0) {
		(void)mproc__arena_free_user(segment, me, new);
		return r;
	}
	*block = to;
	return 0;
}

int mproc_arena_realloc(void **block, mproc_segment *segment, size_t len)
{
	struct mproc__arena_block b;
	struct mproc__arena_view v;
	struct mproc__self *me;
	uint64_t off, owner;
	int r;

	assert(block);
	if (!*block)
		return alloc(block, segment, len, false);
	r = enter_at(&segment, &me, &off, *block, "realloc");
	if (r < 0)
		return r;
	v = mproc__arena_view(segment, me);
	if (!mproc__arena_find(&v, off, &b) || b.rel != off - v.at->off ||
	    !mproc__arena_in_use(b.value))
		return mproc__fail(-ESTALE, "realloc: no block at offset %" PRIu64, off);
	owner = b.value & MPROC__ARENA_OWNER_MASK;
	if (owner != (mproc__arena_state(b.value) == MPROC__ARENA_PRIVATE
			      ? v.owner
			      : MPROC__ARENA_OWNER_USER))
		return mproc__fail(-ESTALE, "realloc: no block of this process at offset %" PRIu64,
				   off);
	r = resize(&v, &b, len);
	if (r == -ESTALE)
		return mproc__fail(r, "realloc: the block at offset %" PRIu64 " was freed", off);
	if (r != -ENOSPC)
		return r;
	if (mproc__arena_state(b.value) != MPROC__ARENA_PRIVATE)
		return mproc__fail(-EPERM,
				   "realloc: the block at offset %" PRIu64
				   " is published and has no room where it is: adopt it first",
				   off);
	return move(block, segment, me, off, b.size, len);
}

static void tell_owner(struct mproc__range *range, uint64_t word, uint64_t mine,
		       struct mproc_arena_owner *ret)
{
	uint32_t slot = mproc__arena_owner_slot(word);
	struct mproc__proc *proc;
	uint64_t generation;

	ret->is_mine = (word & MPROC__ARENA_OWNER_MASK) == mine;
	if (slot >= range->n_procs)
		return;
	proc = &range->procs[slot];
	generation = mproc__proc_generation(atomic_load_explicit(&proc->st, memory_order_acquire));
	/* Who was there before has no blocks any more: the word is one that was scribbled. */
	if (mproc__arena_owner_bits(slot, generation) != (word & MPROC__ARENA_OWNER_MASK))
		return;
	ret->pid = atomic_load_explicit(&proc->pid, memory_order_relaxed);
	ret->pid_ns = atomic_load_explicit(&proc->pid_ns, memory_order_relaxed);
	static_assert(sizeof(ret->process) == sizeof(proc->exe), "a name would be cut");
	memcpy(ret->process, proc->exe, sizeof(ret->process));
	ret->process[sizeof(ret->process) - 1] = '\0';
	ret->is_alive = ret->is_mine || !mproc__proc_dead(range, slot, generation);
}

int mproc_arena_owner(mproc_segment *segment, const void *block, struct mproc_arena_owner *ret)
{
	struct mproc_arena_owner owner = { 0 };
	struct mproc__arena_block b;
	struct mproc__arena_view v;
	struct mproc__self *me;
	uint64_t off;
	int r;

	assert(ret);
	r = mproc__segment_get(&segment, segment);
	if (r < 0)
		return r;
	/* Who may only read has no identity and owns nothing. */
	me = segment->range->read_only ? NULL : mproc__self(segment->arena, "owner");
	if (!me && !segment->range->read_only)
		return mproc__self_error();
	off = off_of(segment, block);
	if (!mproc__segment_at(segment, off, 1))
		return foreign("owner", block, segment);
	v = mproc__arena_view(segment, me);
	if (!mproc__arena_find(&v, off, &b) || b.rel != off - v.at->off ||
	    !mproc__arena_in_use(b.value))
		return mproc__fail(-ESTALE, "owner: no block at offset %" PRIu64, off);
	r = mproc__arena_state(b.value) == MPROC__ARENA_PRIVATE;
	if (r)
		tell_owner(segment->range, b.value, me ? v.owner : UINT64_MAX, &owner);
	*ret = owner;
	return r;
}
