/* SPDX-License-Identifier: MIT */

/*
 * The pages behind a segment: huge ones, if the kernel has some, and those of disks
 *
 * Huge pages are a wish. Whether files in memory get them is the administrator's to say
 * (/sys/kernel/mm/transparent_hugepage/shmem_enabled), and whether there are any is a
 * matter of luck; so nothing here fails, and what came of it is asked of the kernel.
 * Files are allocated before they are mapped, hence with small pages: MADV_COLLAPSE
 * makes them huge afterwards, where the kernel knows it (6.1).
 */

#include "shm/segment_pages.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <mproc/segment.h>

#include "ipc/attach.h"
#include "ipc/error.h"
#include "shm/segment.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define HUGE_PAGE (UINT64_C(2) << 20) /* as far as this is not so, there are none */

void mproc__pages_huge(void *base, size_t len, uint64_t from, uint64_t to)
{
	int saved = errno;

	(void)madvise(base, len, MADV_HUGEPAGE);
	/* One by one: where one cannot be had the next may. */
	from = (from + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
	for (uint64_t at = from; at + HUGE_PAGE <= to; at += HUGE_PAGE)
		if (madvise((char *)base + at, HUGE_PAGE, MADV_COLLAPSE) < 0 && errno == EINVAL)
			break;
	errno = saved;
}

uint64_t mproc__pages_n_huge(const void *base, size_t len)
{
	FILE *maps = fopen("/proc/self/smaps", "re");
	uintptr_t begin, end;
	uint64_t n = 0, kib;
	bool ours = false;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) == 2)
			ours = begin >= (uintptr_t)base && end <= (uintptr_t)base + len;
		else if (ours && (sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) == 1 ||
				  sscanf(line, "FilePmdMapped: %" SCNu64, &kib) == 1))
			n += kib << 10;
	}
	if (maps)
		fclose(maps);
	return n;
}

/*
 * The whole file, of which this process may have no more than a part mapped; what others
 * have written through their mappings is the kernel's to find. Where the file cannot be
 * opened again, as one that this process may only read, there is the part.
 */
int mproc_segment_sync(mproc_segment *segment)
{
	int r = mproc__segment_get(&segment, segment), fd;
	char text[MPROC__ERROR_MAX];
	uint64_t size;
	void *base;

	if (r < 0)
		return r;
	mproc__error_keep(text);
	fd = mproc__range_reopen(segment->range, NULL);
	mproc__error_put_back(text);
	if (fd >= 0) {
		r = fsync(fd) < 0 ? -errno : 0;
		close(fd);
	} else {
		base = (void *)atomic_load_explicit(&segment->range->base, memory_order_relaxed);
		size = mproc__segment_size(segment);
		if (size > segment->range->size)
			size = segment->range->size;
		r = msync(base, (size_t)size, MS_SYNC) < 0 ? -errno : 0;
	}
	return r < 0 ? mproc__fail_errno(r, "sync %s", segment->name) : 0;
}
