/* SPDX-License-Identifier: MIT */

/*
 * Taking back what was private to the dead
 *
 * One reaper at a time comes for a dead process. He looks at every first page, and
 * inside a slab only if the slab's entry says that the process may have had blocks
 * there, and frees each block by the CAS that its owner would have made. No lock is
 * needed for that; the joining of runs is left to others if their lock is taken.
 *
 * Killed anywhere, the next reaper finds what is left: PRIVATE still names the dead.
 */

#include <errno.h>

#include "ipc/kind.h"
#include "shm/arena_inside.h"

/* Free the block that @word is the truth of, and was @was. */
static bool free_block(_Atomic(uint64_t) *word, uint64_t was, uint32_t state)
{
	/* Somebody may just be making it his own, by a right that its owner gave him. */
	return atomic_compare_exchange_strong_explicit(
		word, &was, mproc__arena_word(mproc__arena_generation(was), 0, state),
		memory_order_seq_cst, memory_order_relaxed);
}

static bool is_of(uint64_t word, uint32_t proc)
{
	return mproc__arena_state(word) == MPROC__ARENA_PRIVATE &&
	       mproc__arena_owner_slot(word) == proc;
}

/*
 * Free what the process in @proc has in the slab at @page. Return: 0, or -ENOMEM: it is
 * for a process that has addresses for the slab's table.
 */
static int reap_slab(const struct mproc__arena_view *v, uint32_t page,
		     const struct mproc__arena_run *slab, uint32_t proc, uint32_t n_procs)
{
	uint64_t bit = UINT64_C(1) << (proc & 63);
	struct mproc__arena_table *table = mproc__arena_table_at(v, slab->table);
	bool freed = false;
	uint64_t word;

	if (!(atomic_load_explicit(&v->at->pages[page].owners, memory_order_seq_cst) & bit))
		return 0;
	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < mproc__arena_class_blocks(slab->class); i++) {
		word = atomic_load_explicit(&table->words[i], memory_order_acquire);
		if (!is_of(word, proc))
			continue;
		/* A table that has become user data may say anything. */
		if (mproc__arena_generation(mproc__arena_page_word(v, page)) != slab->generation)
			return 0;
		if (free_block(&table->words[i], word, MPROC__ARENA_FREE))
			freed = true;
	}
	/* Where two slots share a bit, the other one may be about to need it. */
	if (n_procs <= 64)
		atomic_fetch_and_explicit(&v->at->pages[page].owners, ~bit, memory_order_seq_cst);
	if (freed)
		mproc__arena_slab_freed(v, page, slab->class);
	return 0;
}

static int reap(struct mproc__range *range, struct mproc__self *me, uint32_t proc,
		uint64_t generation)
{
	mproc_segment *segment = mproc__segment_of(range);
	struct mproc__arena_view v;
	struct mproc__arena_run run;
	uint32_t n_pages;
	uint64_t word;
	int r = 0;

	(void)generation; /* who was in this slot before is dead as well */
	if (!segment || !segment->arena_at.arena)
		return 0;
	v = mproc__arena_view(segment, me);
	/* The dead may have allocated in pages that we do not know yet. */
	mproc__arena_refresh(&v);
	n_pages = mproc__arena_n_pages(&v);
	/* For a process that can learn of the others: the slot stays in reaping until then. */
	if (mproc__arena_is_hidden(&v, n_pages))
		r = -ENOTCONN;
	for (uint32_t page = 0; page < n_pages; page += run.n_pages) {
		word = mproc__arena_page_word(&v, page);
		if (!mproc__arena_run_at(&v, page, &run)) {
			/* It has just been joined to the one before. */
			run.n_pages = 1;
			continue;
		}
		if (run.state == MPROC__ARENA_SLAB) {
			if (reap_slab(&v, page, &run, proc, range->n_procs) < 0)
				r = -ENOMEM;
		} else if (is_of(word, proc) &&
			   free_block(&v.at->pages[page].word, word, MPROC__ARENA_DROPPED)) {
			mproc__arena_runs_join(&v, page, mproc__arena_generation(word), false);
		}
	}
	return r;
}

const struct mproc__kind mproc__kind_arena = {
	.id = MPROC__KIND_ARENA,
	.name = "arena",
	.reap = reap,
};
