/* SPDX-License-Identifier: MIT */

/*
 * More memory: the file of a segment grows while it is in use
 *
 *	... | tables: memory, hole | tables: memory, hole | ... | data | addresses
 *	                    ->                      ->               ->
 *
 * All processes have mapped what the segment may become, so nobody need do anything
 * when it grows. Who wants more allocates, at most CHUNK at a time, first what the
 * tables need, then the data behind the published size, and publishes that by raising
 * the size: by a CAS that only raises it. No shared lock is needed, and so no process that
 * stands still hinders others: fallocate(2) of what is allocated already changes nothing,
 * also when it fails or is interrupted by a kill (tmpfs takes back only what the failing
 * call itself has added), and of those who publish the same chunk one is heard. Within a
 * process the fork lock is held for each chunk, see file_get().
 *
 * So for every published size all that lies before it is memory, but for the holes
 * that no page's tables need: publishers begin where an earlier size ends. Killed
 * before the CAS one leaves memory behind the published end, which the next one finds
 * allocated; nothing was begun that must be ended.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ipc/error.h"
#include "ipc/participant.h"
#include "shm/arena_inside.h"
#include "shm/segment_file.h"
#include "shm/segment_layout.h"

#define CHUNK (UINT64_C(32) << 20)

static struct mproc__segment_state *state_of(mproc_segment *segment)
{
	return (void *)(atomic_load_explicit(&segment->range->base, memory_order_relaxed) +
			MPROC__SEGMENT_STATE_OFF);
}

/* The arena's own section, in the segment. */
static uint64_t section_of(const mproc_segment *segment)
{
	return (uintptr_t)segment->arena -
	       atomic_load_explicit(&segment->range->base, memory_order_relaxed);
}

/* What growing from @size to @end takes: of the tables, then of the data. */
static void lack_of(const mproc_segment *segment, uint64_t size, uint64_t end,
		    struct mproc__span ret[MPROC__ARENA_SPANS + 1])
{
	const struct mproc__arena_place *at = &segment->arena_at;
	struct mproc__span now[MPROC__ARENA_SPANS], then[MPROC__ARENA_SPANS];
	uint64_t section = section_of(segment);

	mproc__arena_spans((uint32_t)((size - at->off) / MPROC__ARENA_PAGE), at->n_pages_max, now);
	mproc__arena_spans((uint32_t)((end - at->off) / MPROC__ARENA_PAGE), at->n_pages_max, then);
	for (uint32_t i = 0; i < MPROC__ARENA_SPANS; i++) {
		ret[i].off = section + now[i].end;
		ret[i].end = section + then[i].end;
	}
	ret[MPROC__ARENA_SPANS].off = size;
	ret[MPROC__ARENA_SPANS].end = end;
}

static uint64_t bytes_of(const struct mproc__span *spans, uint32_t n)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += spans[i].end - spans[i].off;
	return sum;
}

/* Say that the segment is memory up to @end. */
static void publish(mproc_segment *segment, uint64_t end)
{
	struct mproc__segment_state *state = state_of(segment);
	uint64_t size = atomic_load_explicit(&state->size, memory_order_relaxed);

	while (size < end) {
		/* Release: the memory is there before the number that says so. */
		if (atomic_compare_exchange_weak_explicit(
			    &state->size, &size, end, memory_order_release, memory_order_relaxed)) {
			atomic_fetch_add_explicit(&state->epoch, 1, memory_order_relaxed);
			return;
		}
	}
}

/*
 * A descriptor of the segment's file, and the fork lock with it: a child that is forked
 * has no copy, and a thread that is cancelled does not leave it open, nor end in the
 * middle of the call that grows, which has locks. Given back by file_put().
 *
 * Return: -ENOTCONN, without a text, and without the lock.
 */
static int file_get(mproc_segment *segment)
{
	char text[MPROC__ERROR_MAX];
	int fd;

	mproc__fork_lock();
	mproc__error_keep(text);
	fd = mproc__range_descriptor(segment->range);
	mproc__error_put_back(text);
	if (fd < 0)
		mproc__fork_unlock();
	return fd;
}

static void file_put(int fd)
{
	close(fd);
	mproc__fork_unlock();
}

static int no_file(char *why, size_t cap)
{
	snprintf(why, cap, "its file cannot be reached any more");
	return -ENOTCONN;
}

/* Is there room for what growing from @size to @end takes? */
static int check(mproc_segment *segment, uint64_t size, uint64_t end, char *why, size_t cap)
{
	struct mproc__span lack[MPROC__ARENA_SPANS + 1];
	int fd, r;

	fd = file_get(segment);
	if (fd < 0)
		return no_file(why, cap);
	lack_of(segment, size, end, lack);
	r = mproc__file_room(fd, segment->range->path, end, bytes_of(lack, MPROC__ARENA_SPANS + 1),
			     why, cap);
	file_put(fd);
	return r;
}

/* Make memory from @size to @end. Return: 0 or negative. */
static int allocate(mproc_segment *segment, uint64_t size, uint64_t end, char *why, size_t cap)
{
	struct mproc__span lack[MPROC__ARENA_SPANS + 1];
	int fd, r;

	/* Anew for each chunk, so that a fork waits for no more than one. */
	fd = file_get(segment);
	if (fd < 0)
		return no_file(why, cap);
	lack_of(segment, size, end, lack);
	r = mproc__file_extend(fd, lack, MPROC__ARENA_SPANS + 1);
	file_put(fd);
	if (r == 0)
		publish(segment, end);
	else if (r != -ENOSPC)
		snprintf(why, cap, "%s", strerror(-r));
	return r;
}

int mproc__segment_extend(mproc_segment *segment, uint64_t least, uint64_t end, char *why,
			  size_t cap)
{
	uint64_t size = mproc__segment_size(segment), next;
	int r;

	if (!segment->range->published) {
		snprintf(why, cap, "it cannot grow");
		return -ENOSPC;
	}
	if (end <= size)
		return 0;
	r = check(segment, size, end, why, cap);
	if (r < 0) {
		end = least;
		r = end > size ? check(segment, size, end, why, cap) : 0;
	}
	while (r == 0 && size < end) {
		next = end - size < CHUNK ? end : size + CHUNK;
		r = allocate(segment, size, next, why, cap);
		/* Others may have been faster. */
		size = mproc__segment_size(segment);
		if (r == 0 && size < next) {
			snprintf(why, cap, "its size was scribbled over");
			r = -ENOSPC;
		} else if (r < 0 && size < least && least < next) {
			/* Others have taken the room for more than is wanted at least. */
			end = least;
			r = 0;
		}
	}
	/* What is wanted at least is there, whoever has seen to it. */
	return size >= least ? 0 : -ENOSPC;
}

/*
 * Make pages of what is published, if the lock can be had soon. Where somebody stands
 * still with it this is left to whoever next finds no room: published is had.
 */
static int append(const struct mproc__arena_view *v)
{
	char text[MPROC__ERROR_MAX];
	int r;

	mproc__error_keep(text);
	r = mproc__arena_runs_lock_until(v, mproc_after_ms(MPROC__ARENA_NEIGHBOUR_MS));
	if (r == -ETIMEDOUT) {
		mproc__error_put_back(text);
		return 0;
	}
	if (r < 0)
		return r;
	r = mproc__arena_append(v);
	mproc__arena_runs_unlock(v);
	return r;
}

int mproc_segment_grow(mproc_segment *segment, uint64_t bytes)
{
	char why[120] = "", want[24], max[24], have[24];
	const struct mproc__arena_place *at;
	uint64_t fixed, n_max, end;
	struct mproc__arena_view v;
	struct mproc__self *me;
	uint32_t n;
	int r;

	r = mproc__segment_get(&segment, segment);
	if (r < 0)
		return r;
	me = mproc__self(segment->catalogue, "grow");
	if (!me)
		return mproc__self_error();
	at = &segment->arena_at;
	n_max = at->n_pages_max;
	fixed = section_of(segment);
	mproc__size_text(want, bytes);
	if (bytes > segment->size_max)
		return mproc__fail(-EINVAL, "grow: %s (%" PRIu64 " B) wanted, it may become %s",
				   want, bytes, mproc__size_text(max, segment->size_max));
	/* The fewest pages that take as much; the maximum need not be a whole number of them. */
	n = bytes > fixed ? mproc__arena_pages_within(bytes - fixed, at->n_pages_max) : 0;
	if (n < n_max && fixed + mproc__arena_memory(n, at->n_pages_max) < bytes)
		n++;
	end = at->off + (uint64_t)n * MPROC__ARENA_PAGE;
	if (end > at->reserved)
		return mproc__fail(-ENOSPC, "grow: %s wanted, this process has addresses for %s",
				   want, mproc__size_text(max, at->reserved));
	v = mproc__arena_view(segment, me);
	r = mproc__segment_extend(segment, end, end, why, sizeof(why));
	if (r < 0)
		return mproc__fail(r, "grow: %s (%" PRIu64 " B) wanted, it has %s: %s", want, bytes,
				   mproc__size_text(have, mproc__segment_memory(segment)), why);
	return append(&v);
}

uint64_t mproc__segment_memory(mproc_segment *segment)
{
	const struct mproc__arena_place *at = &segment->arena_at;
	uint64_t size = mproc__segment_size(segment);

	return mproc__layout_memory(size, section_of(segment), at->off, at->n_pages_max);
}
