/* SPDX-License-Identifier: MIT */

/*
 * A bare attached range for tests of ipc/: a memfd with a registry and some room
 */

#include "tests/support/range.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <mproc/common.h>
#include <mproc/error.h>

#include "ipc/participant.h"

int t_range_open(struct t_range *ret, unsigned procs, unsigned threads, size_t room_len)
{
	return t_range_open_reserving(ret, procs, threads, room_len, 0);
}

int t_range_open_reserving(struct t_range *ret, unsigned procs, unsigned threads, size_t room_len,
			   size_t reserve)
{
	size_t reg_len = (mproc__registry_size(procs, threads) + 4095) & ~(size_t)4095;
	size_t size = reg_len + ((room_len + 4095) & ~(size_t)4095);
	int fd = memfd_create("t_range", MFD_CLOEXEC);
	struct mproc__mapping mapping;
	void *base;
	int r;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0)
		return -errno;
	size += reserve;
	base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	mproc__fork_lock();
	mproc__registry_init(base, procs, threads);
	mapping = (struct mproc__mapping){ .base = base, .size = size, .bytes = size - reserve };
	r = mproc__range_add(&ret->range, &mapping, base, reg_len, fd, NULL, NULL);
	mproc__fork_unlock();
	if (r < 0) {
		close(fd);
		munmap(base, size);
		return r;
	}
	ret->base = base;
	ret->size = size;
	ret->room = (char *)base + reg_len;
	ret->room_len = room_len;
	return 0;
}

void t_range_close(struct t_range *range)
{
	mproc__fork_lock();
	mproc__range_remove(range->range);
	mproc__fork_unlock();
	munmap(range->base, range->size);
}

static unsigned count_slots(const struct mproc__range *range, uint32_t state)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < range->n_procs; i++)
		n += mproc__proc_state(atomic_load(&range->procs[i].st)) == state;
	return n;
}

/* What is wrong with one record, or NULL. */
static const char *record_fault(const struct mproc__range *range, const struct mproc__thread *rec)
{
	uint64_t own = atomic_load(&rec->own);
	uint32_t proc = mproc__own_proc(own);

	if (mproc__own_state(own) == MPROC__THREAD_DYING)
		return "is still dying";
	if (mproc__own_state(own) == MPROC__THREAD_LIVE) {
		if (proc >= range->n_procs ||
		    mproc__proc_state(atomic_load(&range->procs[proc].st)) != MPROC__PROC_LIVE)
			return "lives in a slot that does not";
		return NULL;
	}
	if (mproc__own_state(own) != MPROC__THREAD_FREE)
		return "is in no state";
	for (unsigned i = 0; i < MPROC__HOLDS; i++)
		if (atomic_load(&rec->holds[i]))
			return "is free and holds something";
	for (unsigned i = 0; i < MPROC__ACTS; i++)
		if (atomic_load(&rec->acting[i]))
			return "is free and acts";
	for (unsigned i = 0; i < MPROC__READS; i++)
		if (atomic_load(&rec->reads[i]))
			return "is free and reads";
	if (atomic_load(&rec->waits_on) || atomic_load(&rec->blocked_on) ||
	    atomic_load(&rec->blocked_since) || atomic_load(&rec->queued_at) ||
	    atomic_load(&rec->n_lost))
		return "is free and not clean";
	return NULL;
}

const char *t_range_fault(struct t_range *range, unsigned living, int64_t deadline)
{
	static char text[120];
	struct mproc__range *r = range->range;
	const char *fault;

	for (;;) {
		if (mproc__reap_all(r) < 0)
			return mproc_error_text();
		if (count_slots(r, MPROC__PROC_FREE) + living == r->n_procs)
			break;
		if (mproc_now() >= deadline) {
			snprintf(text, sizeof(text),
				 "%u slots live, %u are being reaped, %u processes live",
				 count_slots(r, MPROC__PROC_LIVE),
				 count_slots(r, MPROC__PROC_REAPING), living);
			return text;
		}
		usleep(500);
	}
	if (count_slots(r, MPROC__PROC_LIVE) != living)
		return "a slot is in no state";
	for (uint32_t i = 0; i < r->n_procs; i++) {
		bool lives = mproc__proc_state(atomic_load(&r->procs[i].st)) == MPROC__PROC_LIVE;

		if (mproc__token_held(r, MPROC__BYTE_SLOT(i), 1) != lives) {
			snprintf(text, sizeof(text), "slot %u %s", i,
				 lives ? "lives and is not locked" : "is free and locked");
			return text;
		}
	}
	for (uint32_t i = 0; i < r->n_threads; i++) {
		fault = record_fault(r, &r->threads[i]);
		if (fault) {
			snprintf(text, sizeof(text), "record %u %s", i, fault);
			return text;
		}
	}
	return NULL;
}
