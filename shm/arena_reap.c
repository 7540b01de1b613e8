/* SPDX-License-Identifier: MIT */

/*
 * Taking back what was private to the dead
 *
 * One reaper at a time comes for a dead process, and its blocks are turned by him
 * alone. He looks at every first page, and inside a slab only if the slab's entry
 * says that the process may have had blocks there. A small block is freed by the
 * CAS that its owner would have made. A run needs the lock of the runs, which is
 * tried, never waited for: if a living party holds it, the rest is left for later.
 *
 * Killed anywhere, the next reaper finds what is left: PRIVATE or FREEING still
 * names the dead.
 */

#include "ipc/kind.h"
#include "shm/arena_inside.h"

/* Free what the process in @proc has in the slab at @page. */
static void reap_slab(const struct mproc__arena_view *v, uint32_t page,
		      const struct mproc__arena_run *slab, uint32_t proc, uint32_t n_procs)
{
	uint64_t bit = UINT64_C(1) << (proc & 63);
	struct mproc__arena_table *table = mproc__arena_table_at(v, slab->table);
	bool freed = false;

	if (!(atomic_load_explicit(&v->at->pages[page].owners, memory_order_seq_cst) & bit))
		return;
	for (uint32_t i = 0; i < mproc__arena_class_blocks(slab->class); i++) {
		uint64_t word = atomic_load_explicit(&table->words[i], memory_order_acquire);

		if (mproc__arena_state(word) != MPROC__ARENA_PRIVATE ||
		    mproc__arena_owner_slot(word) != proc)
			continue;
		/* A table that has become user data may say anything. */
		if (mproc__arena_generation(mproc__arena_page_word(v, page)) != slab->generation)
			return;
		if (atomic_compare_exchange_strong_explicit(
			    &table->words[i], &word,
			    mproc__arena_word(mproc__arena_generation(word), 0, MPROC__ARENA_FREE),
			    memory_order_seq_cst, memory_order_relaxed))
			freed = true;
	}
	/* Where two slots share a bit, the other one may be about to need it. */
	if (n_procs <= 64)
		atomic_fetch_and_explicit(&v->at->pages[page].owners, ~bit, memory_order_seq_cst);
	if (freed)
		mproc__arena_slab_freed(v, page, slab->class);
}

/* Free the run at @page if it is still the dead's. The lock of the runs is held. */
static void reap_run(const struct mproc__arena_view *v, uint32_t page, uint32_t proc)
{
	struct mproc__arena_run run;
	uint64_t word = mproc__arena_page_word(v, page);

	if (!mproc__arena_run_at(v, page, &run) ||
	    (run.state != MPROC__ARENA_PRIVATE && run.state != MPROC__ARENA_FREEING) ||
	    run.slot != proc || run.generation != mproc__arena_generation(word))
		return;
	if (atomic_compare_exchange_strong_explicit(
		    &v->at->pages[page].word, &word,
		    mproc__arena_word(run.generation, word & MPROC__ARENA_OWNER_MASK,
				      MPROC__ARENA_FREEING),
		    memory_order_seq_cst, memory_order_relaxed))
		mproc__arena_runs_free(v, page, run.n_pages);
}

static int reap(struct mproc__range *range, struct mproc__self *me, uint32_t proc,
		uint64_t generation)
{
	mproc_segment *segment = mproc__segment_of(range);
	struct mproc__arena_view v;
	struct mproc__arena_run run;
	bool locked = false;
	int left = 0;

	(void)generation; /* who was in this slot before is dead as well */
	if (!segment || !segment->arena_at.arena)
		return 0;
	v = mproc__arena_view(segment, me);
	for (uint32_t page = 0; page < v.at->n_pages; page += run.n_pages) {
		if (!mproc__arena_run_at(&v, page, &run)) {
			/* It has just been joined to the one before. */
			run.n_pages = 1;
			continue;
		}
		if (run.state == MPROC__ARENA_SLAB)
			reap_slab(&v, page, &run, proc, range->n_procs);
		if ((run.state != MPROC__ARENA_PRIVATE && run.state != MPROC__ARENA_FREEING) ||
		    run.slot != proc)
			continue;
		if (!locked)
			locked = me && mproc__arena_runs_try(&v) == 0;
		if (!locked) {
			left = 1;
			continue;
		}
		/* A word that a kill has left inside a run must not be taken for a block. */
		if (mproc__arena_runs_settle(&v) < 0)
			break; /* nobody can: to keep the slot would not help */
		reap_run(&v, page, proc);
	}
	if (locked)
		mproc__arena_runs_unlock(&v);
	return left;
}

const struct mproc__kind mproc__kind_arena = {
	.id = MPROC__KIND_ARENA,
	.name = "arena",
	.reap = reap,
};
