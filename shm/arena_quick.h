/* SPDX-License-Identifier: MIT */
#ifndef MPROC__ARENA_QUICK_H
#define MPROC__ARENA_QUICK_H

/*
 * Small blocks where nothing is in the way: what most allocations are, in one piece
 *
 * The steps are those of arena_slabs.c, whose argument holds here as well.
 */

#include "shm/arena_inside.h"

/* Which blocks of a slab of @class are free. */
uint64_t mproc__arena_free_bits(const struct mproc__arena_table *table, uint32_t class);

/* A block of the shard's current slab of @class, if it has one left. */
static inline bool mproc__arena_take(const struct mproc__arena_view *v, uint32_t shard,
				     uint32_t class, uint64_t *ret_rel)
{
	struct mproc__arena_shard *sh = &v->at->arena->shards[shard];
	uint32_t page = atomic_load_explicit(&sh->current[class], memory_order_relaxed) - 1;
	struct mproc__arena_table *table;
	uint32_t reach = mproc__arena_n_reach(v), i;
	uint64_t bits, word;

	/* Others may have addresses for slabs of which we have a part, or nothing. */
	if (page >= reach || mproc__arena_class_pages(class) > reach - page)
		return false;
	/* Under its shard's lock a slab stays what it is. */
	word = mproc__arena_page_word(v, page);
	table = mproc__arena_slab_table(v, page);
	if ((word & 0xffff) != mproc__arena_slab_word(0, shard + 1, class) || !table)
		return false;
	bits = atomic_load_explicit(&sh->free[class], memory_order_relaxed);
	/* They lie among what everybody writes. */
	bits &= ~UINT64_C(0) >> (64 - mproc__arena_class_blocks(class));
	if (!bits)
		bits = mproc__arena_free_bits(table, class);
	for (; bits; bits &= bits - 1) {
		i = (uint32_t)__builtin_ctzll(bits);
		word = atomic_load_explicit(&table->words[i], memory_order_acquire);
		/* The bits of a shard whose last owner was killed run behind the words. */
		if (mproc__arena_state(word) != MPROC__ARENA_FREE)
			continue;
		mproc__arena_owners_add(v, page);
		atomic_store_explicit(&table->words[i],
				      mproc__arena_word(mproc__arena_generation(word) + 1, v->owner,
							MPROC__ARENA_PRIVATE),
				      memory_order_relaxed);
		atomic_store_explicit(&sh->free[class], bits & (bits - 1), memory_order_relaxed);
		*ret_rel = (uint64_t)page * MPROC__ARENA_PAGE + i * mproc__arena_class_size(class);
		return true;
	}
	atomic_store_explicit(&sh->free[class], 0, memory_order_relaxed);
	return false;
}

/*
 * A block of @class from the calling thread's shard, if nobody is in that and its current
 * slab has one. Return: false if it is to be sought in the long way.
 */
static inline bool mproc__arena_small_quick(const struct mproc__arena_view *v, uint32_t class,
					    uint64_t *ret_rel)
{
	uint32_t n = atomic_load_explicit(&v->at->n_spread, memory_order_relaxed);
	uint32_t own = mproc__owner_index(v->me->word) & (n - 1);
	struct mproc__lock *lock = &v->at->arena->shards[own].lock;
	uint64_t outer, free = 0;
	bool done = false;

	if (__builtin_expect(atomic_load_explicit(&lock->word, memory_order_relaxed) != 0, 0))
		return false;
	outer = mproc__act_begin(v->me, v->at->what);
	if (__builtin_expect(atomic_compare_exchange_strong_explicit(
				     &lock->word, &free, v->me->word, memory_order_acquire,
				     memory_order_relaxed),
			     1)) {
		done = mproc__arena_take(v, own, class, ret_rel);
		mproc__lock_release(lock, v->me);
	}
	mproc__act_end(v->me, outer);
	return done;
}

#endif /* MPROC__ARENA_QUICK_H */
