/* SPDX-License-Identifier: MIT */

/*
 * Who takes part: the registry of a copied segment, and who of them lives
 *
 * The registry says who somebody is; whether he lives is the kernel's to say, by
 * the lock on the byte of his slot. The two are asked one after the other, so a
 * process that comes or goes in between may be shown as arriving or dead for once.
 */

#include "tools/image.h"

#include <stdlib.h>
#include <string.h>

#include "tools/text.h"

#define GROW 64

static enum image_life life_of(struct image *image, uint32_t slot, uint32_t state)
{
	int held = image->source->held(image->source, MPROC__BYTE_SLOT(slot), 1);

	if (held < 0)
		return IMAGE_UNKNOWN;
	if (!held)
		return IMAGE_DEAD;
	return state == MPROC__PROC_LIVE   ? IMAGE_ALIVE
	       : state == MPROC__PROC_FREE ? IMAGE_ARRIVING
					   : IMAGE_REAPED;
}

static void add_proc(struct image *image, uint32_t i, const void *record)
{
	const struct mproc__proc *raw = record;
	uint64_t st = atomic_load_explicit(&raw->st, memory_order_relaxed);
	enum image_life life = life_of(image, i, mproc__proc_state(st));
	struct image_proc *proc;

	if (mproc__proc_state(st) == MPROC__PROC_FREE && life != IMAGE_ARRIVING)
		return;
	if (image->n_procs % GROW == 0)
		image->procs =
			text_alloc(image->procs, (image->n_procs + GROW) * sizeof(*image->procs));
	proc = &image->procs[image->n_procs++];
	memset(proc, 0, sizeof(*proc));
	proc->slot = i;
	proc->life = life;
	image->n_living += life == IMAGE_ALIVE || life == IMAGE_ARRIVING;
	image->n_dead += life == IMAGE_DEAD || life == IMAGE_REAPED;
	/* What stands there is the last owner's. */
	if (life == IMAGE_ARRIVING)
		return;
	proc->generation = mproc__proc_generation(st);
	proc->pid = atomic_load_explicit(&raw->pid, memory_order_relaxed);
	proc->pid_ns = atomic_load_explicit(&raw->pid_ns, memory_order_relaxed);
	proc->key = atomic_load_explicit(&raw->key, memory_order_relaxed);
	proc->since = atomic_load_explicit(&raw->since, memory_order_relaxed);
	memcpy(proc->exe, raw->exe, sizeof(proc->exe));
}

static struct image_proc *find_proc(const struct image *image, uint32_t slot)
{
	/* They stand in the order of their slots. */
	size_t from = 0, to = image->n_procs;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (image->procs[middle].slot < slot)
			from = middle + 1;
		else
			to = middle;
	}
	return from < image->n_procs && image->procs[from].slot == slot ? &image->procs[from]
									: NULL;
}

const struct image_proc *image_proc(const struct image *image, uint32_t slot)
{
	return find_proc(image, slot);
}

static void add_thread(struct image *image, uint32_t i, const void *record)
{
	const struct mproc__thread *raw = record;
	uint64_t own = atomic_load_explicit(&raw->own, memory_order_relaxed), what;
	struct image_thread *thread;
	struct image_proc *proc;

	if (mproc__own_state(own) == MPROC__THREAD_FREE)
		return;
	if (image->n_threads % GROW == 0)
		image->threads = text_alloc(image->threads,
					    (image->n_threads + GROW) * sizeof(*image->threads));
	thread = &image->threads[image->n_threads++];
	memset(thread, 0, sizeof(*thread));
	thread->index = i;
	thread->slot = mproc__own_proc(own);
	thread->own = own;
	thread->generation = mproc__owner_generation(own);
	proc = find_proc(image, thread->slot);
	thread->life = !proc                                         ? IMAGE_DEAD
		       : mproc__own_state(own) != MPROC__THREAD_LIVE ? IMAGE_REAPED
								     : proc->life;
	if (proc)
		proc->n_threads++;
	thread->tid = atomic_load_explicit(&raw->tid, memory_order_relaxed);
	thread->cpu = atomic_load_explicit(&raw->cpu, memory_order_relaxed);
	thread->n_lost = atomic_load_explicit(&raw->n_lost, memory_order_relaxed);
	thread->blocked_on = atomic_load_explicit(&raw->blocked_on, memory_order_relaxed);
	thread->blocked_since = atomic_load_explicit(&raw->blocked_since, memory_order_relaxed);
	thread->waits_on = atomic_load_explicit(&raw->waits_on, memory_order_relaxed);
	for (uint32_t k = 0; k < MPROC__ACTS; k++) {
		what = atomic_load_explicit(&raw->acting[k], memory_order_relaxed);
		if (what)
			thread->acting[thread->n_acting++] = what;
	}
	for (uint32_t k = 0; k < MPROC__HOLDS; k++) {
		what = atomic_load_explicit(&raw->holds[k], memory_order_relaxed);
		if (what)
			thread->holds[thread->n_holds++] = what;
	}
	for (uint32_t k = 0; k < MPROC__READS; k++) {
		what = atomic_load_explicit(&raw->reads[k], memory_order_relaxed);
		if (what)
			thread->reads[thread->n_reads++] = what;
	}
	memcpy(thread->name, raw->name, sizeof(thread->name));
}

bool image_read_registry(struct image *image)
{
	const struct mproc__segment_head *head = &image->head;
	uint64_t off = head->sections[MPROC__SECTION_REGISTRY].off;
	struct mproc__registry reg;
	uint32_t n_procs, n_threads;

	if (!image_copy(image, &reg, sizeof(reg), off, "registry"))
		return false;
	n_procs = atomic_load_explicit(&reg.n_procs, memory_order_relaxed);
	n_threads = atomic_load_explicit(&reg.n_threads, memory_order_relaxed);
	if (n_procs != head->n_procs || n_threads != head->n_threads)
		return image_fail(image, IMAGE_CORRUPT,
				  "registry of %u processes and %u threads, the header says %u and "
				  "%u",
				  n_procs, n_threads, head->n_procs, head->n_threads);
	image->n_heals = atomic_load_explicit(&reg.heals, memory_order_relaxed);
	image->n_deaths = atomic_load_explicit(&reg.deaths, memory_order_relaxed);
	image->n_takeovers = atomic_load_explicit(&reg.takeovers, memory_order_relaxed);
	return image_records(image, off + mproc__registry_procs_off(), sizeof(struct mproc__proc),
			     n_procs, "processes", add_proc) &&
	       image_records(image, off + mproc__registry_threads_off(n_procs),
			     sizeof(struct mproc__thread), n_threads, "threads", add_thread);
}

const struct image_thread *image_owner(const struct image *image, uint64_t word)
{
	size_t from = 0, to = image->n_threads;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (image->threads[middle].index < mproc__owner_index(word))
			from = middle + 1;
		else
			to = middle;
	}
	if (from == image->n_threads || image->threads[from].index != mproc__owner_index(word) ||
	    image->threads[from].generation != mproc__owner_generation(word))
		return NULL;
	return &image->threads[from];
}

const char *image_life_name(enum image_life life)
{
	static const char *const names[] = { "alive", "arriving", "reaping", "dead", "unknown" };

	return names[life];
}
