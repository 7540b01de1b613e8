/* SPDX-License-Identifier: MIT */

/*
 * Segments that grow while they are in use
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/arena.h>
#include <mproc/error.h>
#include <mproc/segment.h>

#include "ipc/error.h"
#include "ipc/kind.h"
#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/arena_inside.h"
#include "shm/segment.h"
#include "shm/segment_layout.h"
#include "tests/support/child.h"

#define PAGE UINT64_C(4096)
#define MIB  (UINT64_C(1) << 20)
#define GIB  (UINT64_C(1) << 30)

/* Tables of a few KiB: 8 KiB of header, registry and catalogue, 64 KiB of data. */
#define TINY .processes = 16, .threads = 32, .objects = 8

static mproc_segment *segment;

static struct mproc__self *me(void)
{
	return mproc__self(segment->catalogue, "test");
}

static int alloc(uint64_t len, uint64_t *ret)
{
	return mproc__arena_alloc(segment, me(), len, false, ret);
}

static int release(uint64_t off)
{
	return mproc__arena_free(segment, me(), off);
}

static uint64_t bytes_free(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.free;
}

static uint64_t n_blocks(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.n_blocks;
}

/* Bytes of memory that the segment's file has, as the filesystem counts. */
static uint64_t memory_of_file(void)
{
	struct stat st;

	return fstat(atomic_load(&segment->range->fd), &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

/* The least that a segment with small tables and this maximum can begin with. */
static uint64_t least(uint64_t max)
{
	const struct mproc_segment_opts opts = {
		.size = sizeof(opts), .bytes = 64 << 10, .bytes_max = max, TINY
	};
	const char *takes;
	mproc_segment *no;
	double kib = 0;

	assert_int_equal(mproc_segment_create(&no, NULL, &opts), -EINVAL);
	takes = strstr(mproc_error_text(), "it takes ");
	assert_non_null(takes);
	assert_int_equal(sscanf(takes, "it takes %lf KiB", &kib), 1);
	return (uint64_t)(kib * 1024);
}

static void make(uint64_t bytes, uint64_t max)
{
	const struct mproc_segment_opts opts = {
		.size = sizeof(opts), .bytes = bytes, .bytes_max = max, TINY
	};

	assert_int_equal(mproc_segment_create(&segment, NULL, &opts), 0);
}

static int teardown(void **state)
{
	(void)state;
	segment = mproc_segment_close(segment);
	return 0;
}

static void segment_that_may_become_large_is_small(void **state)
{
	uint64_t bytes = least(8 * GIB);

	(void)state;
	make(bytes, 8 * GIB);
	/* 8 header, 13 registry, 2 catalogue, 12 of the arena's tables, 64 data: in KiB. */
	assert_int_equal(memory_of_file(), bytes);
	assert_int_equal(mproc__segment_memory(segment), bytes);
	assert_in_range(bytes, 80 << 10, 112 << 10);
	assert_int_equal(bytes_free(), 64 << 10);
	/* Looking at all of it makes no memory of the holes. */
	assert_int_equal(n_blocks(), 0);
	assert_int_equal(memory_of_file(), bytes);
	assert_int_equal(segment->range->size, 8 * GIB);
}

static void default_segment_may_become_16_gib(void **state)
{
	uint64_t off;

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, NULL, NULL), 0);
	assert_int_equal(segment->size_max, 16 * GIB);
	assert_in_range(mproc__segment_memory(segment), 16 * MIB - 2 * PAGE, 16 * MIB);
	assert_int_equal(memory_of_file(), mproc__segment_memory(segment));
	assert_int_equal(alloc(20 * MIB, &off), 0);
	assert_int_equal(memory_of_file(), mproc__segment_memory(segment));
}

static void given_size_is_final(void **state)
{
	uint64_t off;

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = MIB)), 0);
	assert_int_equal(memory_of_file(), MIB);
	assert_int_equal(alloc(2 * MIB, &off), -ENOSPC);
	assert_non_null(strstr(mproc_error_text(), "2 MiB (2097152 B) wanted"));
	assert_int_equal(mproc_segment_grow(segment, MIB), 0);
	assert_int_equal(mproc_segment_grow(segment, MIB + 1), -EINVAL);
	assert_int_equal(memory_of_file(), MIB);
}

/* Allocate, fill and keep; what was kept stays what it was, where it was. */
static void blocks_stay_where_they_are(void **state)
{
	enum { N = 200 };
	uint64_t off[N], size;
	char *at[N];
	size_t n;

	(void)state;
	make(least(64 * MIB), 64 * MIB);
	size = mproc__segment_memory(segment);
	for (n = 0; n < N; n++) {
		uint64_t len = n % 3 ? 100 * n + 1 : 3000 * n + 1;

		assert_int_equal(alloc(len, &off[n]), 0);
		at[n] = mproc__arena_at(segment, off[n], len);
		assert_non_null(at[n]);
		memset(at[n], (int)n, len);
	}
	assert_true(mproc__segment_memory(segment) > 10 * size);
	assert_int_equal(memory_of_file(), mproc__segment_memory(segment));
	for (n = 0; n < N; n++) {
		uint64_t len = n % 3 ? 100 * n + 1 : 3000 * n + 1;

		assert_ptr_equal(mproc__arena_at(segment, off[n], len), at[n]);
		for (uint64_t i = 0; i < len; i++)
			assert_int_equal((unsigned char)at[n][i], n & 255);
		assert_int_equal(release(off[n]), 0);
	}
	assert_int_equal(n_blocks(), 0);
}

static void one_block_may_span_what_was_added_in_steps(void **state)
{
	struct mproc__arena_stats stats;
	uint64_t off, most;

	(void)state;
	make(least(16 * MIB), 16 * MIB);
	/* Nobody joins pages before somebody wants some. */
	assert_int_equal(alloc(1, &off), 0);
	assert_int_equal(release(off), 0);
	assert_int_equal(mproc__arena_gather(&(struct mproc__arena_view){
				 .segment = segment, .at = &segment->arena_at, .me = me() }),
			 0);
	for (uint64_t bytes = 1; bytes <= 16; bytes++)
		assert_int_equal(mproc_segment_grow(segment, bytes * MIB), 0);
	mproc__arena_stats(segment, &stats);
	most = stats.bytes;
	assert_int_equal(most, segment->arena_at.n_pages_max * PAGE);
	assert_int_equal(stats.largest_free, most);
	assert_in_range(memory_of_file(), 16 * MIB - 2 * PAGE, 16 * MIB);
	assert_int_equal(alloc(most, &off), 0);
	memset(mproc__arena_at(segment, off, most), 1, most);
	assert_int_equal(release(off), 0);
	assert_int_equal(alloc(most + 1, &off), -ENOSPC);
	assert_int_equal(mproc_segment_grow(segment, 16 * MIB + 1), -EINVAL);
}

static void free_pages_at_the_end_count(void **state)
{
	uint64_t off, most;

	(void)state;
	make(least(MIB), MIB);
	most = segment->arena_at.n_pages_max * PAGE;
	/* All there can be, of which 64 KiB are there and free. */
	assert_int_equal(alloc(most, &off), 0);
	assert_int_equal(alloc(1, &(uint64_t){ 0 }), -ENOSPC);
	assert_non_null(strstr(mproc_error_text(), "as large as it may become"));
	assert_int_equal(release(off), 0);
	assert_int_equal(alloc(most + 1, &off), -ENOSPC);
	assert_non_null(strstr(mproc_error_text(), "could never be as large"));
}

static void grow_makes_as_much_as_was_asked_for(void **state)
{
	uint64_t before;

	(void)state;
	make(least(GIB), GIB);
	before = bytes_free();
	assert_int_equal(mproc_segment_grow(segment, 1), 0);
	assert_int_equal(bytes_free(), before);
	for (uint64_t bytes = 200 << 10; bytes < 80 * MIB; bytes += bytes / 3) {
		assert_int_equal(mproc_segment_grow(segment, bytes), 0);
		assert_in_range(mproc__segment_memory(segment), bytes, bytes + 5 * PAGE);
		assert_int_equal(memory_of_file(), mproc__segment_memory(segment));
	}
	assert_int_equal(mproc_segment_grow(segment, 2 * GIB), -EINVAL);
	assert_non_null(
		strstr(mproc_error_text(), "2 GiB (2147483648 B) wanted, it may become 1 GiB"));
}

struct two {
	_Atomic(uint64_t) off; /* of what the child has allocated */
	_Atomic(uint32_t) turn;
};

static struct two *two;

static void allocate_beyond(void *arg)
{
	uint64_t off;

	(void)arg;
	t_check(alloc(8 * MIB, &off) == 0);
	memset(mproc__arena_at(segment, off, 8 * MIB), 0x77, 8 * MIB);
	t_check(mproc__arena_publish(segment, me(), off) == 0);
	atomic_store(&two->off, off);
}

/* What another has made is found, read and freed by one who knew nothing of it. */
static void others_notice_when_they_come_upon_it(void **state)
{
	uint64_t off, small;
	const char *at;

	(void)state;
	two = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(two, MAP_FAILED);
	for (int i = 0; i < 3; i++) {
		make(least(64 * MIB), 64 * MIB);
		assert_int_equal(alloc(64, &small), 0);
		assert_int_equal(t_reap(t_spawn(allocate_beyond, NULL)), 0);
		off = atomic_load(&two->off);
		assert_true(mproc__arena_n_pages(
				    &(struct mproc__arena_view){ .at = &segment->arena_at }) == 16);
		switch (i) {
		case 0:
			at = mproc__segment_at(segment, off, 8 * MIB);
			break;
		case 1:
			at = mproc__arena_at(segment, off, 8 * MIB);
			break;
		default:
			assert_int_equal(mproc__arena_len(segment, off), 8 * MIB);
			at = mproc__range_at(segment->range, off, 8 * MIB);
		}
		assert_non_null(at);
		assert_int_equal(at[0], 0x77);
		assert_int_equal(at[8 * MIB - 1], 0x77);
		assert_null(mproc__segment_at(segment, off + 64 * MIB, 1));
		assert_int_equal(release(off), 0);
		assert_int_equal(release(small), 0);
		assert_int_equal(n_blocks(), 0);
		teardown(NULL);
	}
	munmap(two, 4096);
}

/* The dead had blocks, small and large, where the reaper has never been. */
static void die_beyond(void *arg)
{
	uint64_t off;

	(void)arg;
	for (int i = 0; i < 500; i++)
		t_check(alloc(64u << i % 6, &off) == 0);
	t_check(alloc(MIB, &off) == 0);
	raise(SIGKILL);
}

static void blocks_of_the_dead_come_back_from_there(void **state)
{
	(void)state;
	make(least(64 * MIB), 64 * MIB);
	assert_int_equal(t_reap(t_spawn(die_beyond, NULL)), SIGKILL);
	assert_int_equal(mproc__reap_all(segment->range), 1);
	assert_int_equal(n_blocks(), 0);
	assert_true(bytes_free() > MIB);
}

struct hidden {
	_Atomic(uint64_t) large; /* a block of pages that all know */
	_Atomic(uint64_t) n;
	_Atomic(uint64_t) off[6][8];
	_Atomic(uint32_t) turn;
};

static struct hidden *hidden;

/* As one that has closed its descriptors and changed its root: nothing leads to the file. */
static void be_blind(void)
{
	atomic_store(&segment->range->fd, -1);
	for (uint32_t i = 0; i < segment->range->n_procs; i++)
		atomic_store(&segment->range->procs[i].fd, UINT32_MAX);
	t_check(mproc__range_is_blind(segment->range));
}

static bool hidden_turn_is(void *arg)
{
	return atomic_load(&hidden->turn) >= *(uint32_t *)arg;
}

static void hidden_await(uint32_t turn)
{
	t_check(t_wait_until(hidden_turn_is, &turn, mproc_after_ms(20000)));
}

static bool is_hidden_error(int r)
{
	return r == -ENOTCONN && strstr(mproc_error_text(), "cannot ask by how much");
}

static void live_blind(void *arg)
{
	struct mproc__arena_view v;
	uint64_t off, here, len;

	(void)arg;
	t_check(alloc(64, &here) == 0);
	atomic_store(&hidden->turn, 1);
	hidden_await(2);
	be_blind();
	t_check(segment->arena_at.n_pages < atomic_load(&segment->arena->n_pages));
	/* What it knows stays usable; the freed pages are left to others. */
	(void)!mproc__fail(-EIO, "of before");
	t_check(release(atomic_load(&hidden->large)) == 0);
	t_check(strcmp(mproc_error_text(), "of before") == 0);
	t_check(is_hidden_error(alloc(8 * MIB, &off)));
	for (len = 64; len <= 2048; len *= 2) {
		int r = alloc(len, &off);

		t_check(r == 0 || is_hidden_error(r));
		t_check(r < 0 || mproc__arena_publish(segment, me(), off) == 0);
	}
	v = mproc__arena_view(segment, me());
	t_check(is_hidden_error(mproc__arena_gather(&v)));
	t_check(is_hidden_error(mproc_arena_check(segment, mproc_after_ms(1000))));
	/* What a dead process had there is for others to free: its slot is not to be given back. */
	t_check(mproc__kind_arena.reap(segment->range, me(), 15, 1) == -ENOTCONN);
	t_check(release(here) == 0);
}

/* Dies with blocks that the blind one cannot see, and in a shard that it comes to. */
static void die_hidden(void *arg)
{
	uint64_t off;

	(void)arg;
	t_check(alloc(100, &off) == 0 && alloc(3 * PAGE, &off) == 0);
	t_check(mproc__lock_take(&segment->arena->shards[0].lock, me(), 0, MPROC_NOWAIT) == 0);
	raise(SIGKILL);
}

/* A published block of @n pages that exist. Return: false if there is no room for it. */
static bool keep_pages(uint32_t n, uint64_t *ret)
{
	const struct mproc__arena_view v = mproc__arena_view(segment, me());
	uint32_t page;
	int r;

	assert_int_equal(mproc__arena_runs_lock(&v), 0);
	r = mproc__arena_runs_alloc(&v, n, 1, &page);
	mproc__arena_runs_unlock(&v);
	if (r < 0)
		return false;
	*ret = v.at->off + page * PAGE;
	assert_int_equal(mproc__arena_publish(segment, me(), *ret), 0);
	return true;
}

/* The slabs of shard 0 in pages from @first on: lost if the shard forgets them. */
static uint64_t sum_of_current(uint32_t first)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < MPROC__ARENA_CLASSES; i++) {
		uint32_t entry = atomic_load(&segment->arena->shards[0].current[i]);

		sum = sum * 31 + (entry > first ? entry : 0);
	}
	return sum;
}

static void who_cannot_learn_of_it_breaks_nothing(void **state)
{
	uint64_t off, first = 0, before, current;
	pid_t pid, dead;
	uint32_t known;

	(void)state;
	hidden = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(hidden, MAP_FAILED);
	make(MIB, 64 * MIB);
	/* A slab, and so a table; then all pages that there are. */
	assert_int_equal(alloc(64, &off), 0);
	assert_int_equal(mproc__arena_publish(segment, me(), off), 0);
	known = atomic_load(&segment->arena->n_pages);
	pid = t_spawn(live_blind, NULL);
	hidden_await(1);
	for (uint32_t n = 64; n; n /= 2)
		while (keep_pages(n, &off))
			first = first ? first : off;
	atomic_store(&hidden->large, first);
	/* Slabs in new pages, with tables of the old. */
	for (uint32_t k = 0; k < 5; k++)
		for (uint32_t i = 0; i < 8; i++) {
			assert_int_equal(alloc(UINT64_C(128) << k, &off), 0);
			assert_int_equal(mproc__arena_publish(segment, me(), off), 0);
			memset(mproc__arena_at(segment, off, 128), 0x33, 128);
			atomic_store(&hidden->off[k][i], off);
		}
	dead = t_spawn(die_hidden, NULL);
	assert_int_equal(t_reap(dead), SIGKILL);
	before = n_blocks() - 2;
	assert_int_equal(mproc__reap_all(segment->range), 1);
	assert_int_equal(n_blocks(), before);
	current = sum_of_current(known);
	assert_true(current);
	atomic_store(&hidden->turn, 2);
	assert_int_equal(t_reap(pid), 0);
	assert_true(sum_of_current(known) == current);
	for (uint32_t k = 0; k < 5; k++)
		for (uint32_t i = 0; i < 8; i++) {
			off = atomic_load(&hidden->off[k][i]);
			assert_int_equal(mproc__arena_len(segment, off), 128 << k);
			assert_int_equal(*(char *)mproc__arena_at(segment, off, 1), 0x33);
		}
	/* One block was published at most for each length, and one freed; the pages are found. */
	assert_in_range(n_blocks(), before - 2, before + 4);
	assert_int_equal(alloc(256 << 10, &off), 0);
	assert_int_equal(off, first);
	assert_int_equal(mproc_arena_check(segment, mproc_after_ms(1000)), 0);
	munmap(hidden, 4096);
}

/* Numbers that the file does not cover are not believed. */
static void scribbled_sizes_are_not_believed(void **state)
{
	static const uint64_t wrong[] = { 0, 4096, 1 << 30, UINT64_MAX, UINT64_C(1) << 63 };
	struct mproc__segment_state *shared;
	uint64_t off, size;

	(void)state;
	make(least(64 * MIB), 64 * MIB);
	shared = (void *)(atomic_load(&segment->range->base) + MPROC__SEGMENT_STATE_OFF);
	size = mproc__segment_size(segment);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		atomic_store(&shared->size, wrong[i]);
		assert_int_equal(mproc__segment_size(segment), size);
		assert_null(mproc__segment_at(segment, size, 1));
		assert_int_equal(alloc(64, &off), 0);
		assert_int_equal(release(off), 0);
	}
	atomic_store(&shared->size, size + 4096);
	assert_int_equal(mproc__segment_size(segment), size);
	assert_null(mproc__segment_at(segment, size, 1));
	atomic_store(&shared->size, size);
	for (uint32_t n = 0; n < 64; n += 15) {
		atomic_store(&segment->arena->n_pages, n ? n : UINT32_MAX);
		assert_null(mproc__arena_at(segment, size, 1));
		assert_int_equal(alloc(MIB, &off), -EBADMSG);
	}
	atomic_store(&segment->arena->n_pages, 16);
	assert_int_equal(alloc(MIB, &off), 0);
}

static bool turn_is(void *arg)
{
	return atomic_load(&two->turn) >= *(uint32_t *)arg;
}

static void await(uint32_t turn)
{
	t_check(t_wait_until(turn_is, &turn, mproc_after_ms(20000)));
}

static void live_with_few_addresses(void *arg)
{
	struct rlimit limit = { .rlim_cur = 256 * MIB, .rlim_max = 256 * MIB };
	uint64_t off[40], reach;

	(void)arg;
	await(1);
	t_check(setrlimit(RLIMIT_AS, &limit) == 0);
	t_check(mproc_segment_open(&segment, "grow") == 0);
	reach = segment->range->size;
	t_check(reach < 256 * MIB && reach > 32 * MIB);
	t_check(alloc(64, &off[0]) == 0);
	atomic_store(&two->off, reach);
	atomic_store(&two->turn, 2);

	/* All that we can reach is taken; there is more than that, for others. */
	await(3);
	t_check(atomic_load(&two->off) > reach);
	t_check(!mproc__arena_at(segment, atomic_load(&two->off), 1));
	t_check(!mproc__segment_at(segment, atomic_load(&two->off), 1));
	/* The file is synced all the same, what we do not reach of it as well. */
	t_check(mproc_segment_sync(segment) == 0);
	for (int i = 0; i < 200; i++) {
		int r = alloc(2048, &off[1]);

		t_check(r == 0 || r == -ENOSPC);
		t_check(r < 0 || off[1] < reach);
		if (r < 0)
			break;
	}
	t_check(alloc(2 * MIB, &off[1]) == -ENOSPC);
	t_check(strstr(mproc_error_text(), "addresses for no more") != NULL);
	t_check(mproc_segment_grow(segment, 512 * MIB) == -ENOSPC);
	t_check(strstr(mproc_error_text(), "addresses for") != NULL);
	atomic_store(&two->turn, 4);

	await(5);
	for (int i = 1; i < 40; i++) {
		t_check(alloc(i % 2 ? 500 : 100000, &off[i]) == 0);
		t_check(off[i] + 100000 < reach);
		memset(mproc__arena_at(segment, off[i], 500), i, 500);
	}
	for (int i = 0; i < 40; i++)
		t_check(release(off[i]) == 0);
	atomic_store(&two->turn, 6);
	raise(SIGKILL);
}

static void process_with_few_addresses_stays_within_them(void **state)
{
	uint64_t large, rest, off[64];
	pid_t pid;

	(void)state;
	if (t_sanitized()) {
		print_message("# left out: a sanitizer needs more addresses than there would be\n");
		return;
	}
	two = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(two, MAP_FAILED);
	pid = t_spawn(live_with_few_addresses, NULL);
	assert_int_equal(mproc_segment_create(&segment, "grow",
					      MPROC_SEGMENT_OPTS(.bytes = MIB, .bytes_max = GIB)),
			 0);
	atomic_store(&two->turn, 1);
	await(2);
	/* As far as it reaches, but for what makes no whole megabyte, and from there on. */
	rest = (atomic_load(&two->off) - segment->arena_at.off) / MIB;
	assert_int_equal(alloc((rest - 1) * MIB, &large), 0);
	for (int i = 0; i < 64; i++)
		assert_int_equal(alloc(i % 2 ? 1000 : 60000, &off[i]), 0);
	assert_int_equal(alloc(64 * MIB, &rest), 0);
	atomic_store(&two->off, rest);
	atomic_store(&two->turn, 3);
	await(4);
	assert_int_equal(release(large), 0);
	atomic_store(&two->turn, 5);
	await(6);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_int_equal(mproc__reap_all(segment->range), 1);
	for (int i = 0; i < 64; i++)
		assert_int_equal(release(off[i]), 0);
	assert_int_equal(release(rest), 0);
	assert_int_equal(n_blocks(), 0);
	munmap(two, 4096);
}

/* In a namespace of its own: a filesystem of 4 MiB. */
static void fill_the_filesystem(void *arg)
{
	uint64_t off[64], memory;
	int n = 0, r;
	FILE *ids;

	(void)arg;
	if (geteuid() != 0) {
		t_check(unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0);
		ids = fopen("/proc/self/uid_map", "w");
		t_check(ids && fprintf(ids, "0 %u 1", (unsigned)getuid()) > 0 && !fclose(ids));
	} else {
		t_check(unshare(CLONE_NEWNS) == 0);
	}
	t_check(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	t_check(mount("tmpfs", t_private_dir(), "tmpfs", 0, "size=4m") == 0);
	t_check(mproc_segment_create(
			&segment, "grow",
			MPROC_SEGMENT_OPTS(.bytes = 256 << 10, .bytes_max = GIB, TINY)) == 0);
	/* Until there is no more; each of them is memory that can be written. */
	while ((r = alloc(100000, &off[n])) == 0) {
		t_check(n < 63);
		memset(mproc__arena_at(segment, off[n], 100000), n + 1, 100000);
		n++;
	}
	t_check(r == -ENOSPC && n > 30);
	print_message("# %s\n", mproc_error_text());
	t_check(strstr(mproc_error_text(), "(100000 B) wanted"));
	t_check(strstr(mproc_error_text(), " free on "));
	t_check(strstr(mproc_error_text(), t_private_dir()));
	/* Down to less than what was wanted, by what is wanted and no more. */
	memory = mproc__segment_memory(segment);
	t_check(memory > (4 << 20) - 128000 && memory <= 4 << 20);
	t_check(mproc_segment_grow(segment, 8 << 20) == -ENOSPC);
	t_check(strstr(mproc_error_text(), "grow: 8 MiB (8388608 B) wanted, it has "));
	t_check(mproc__segment_memory(segment) == memory);
	/* What is too small for that is still to be had. */
	t_check(alloc(64, &off[n]) == 0);
	t_check(release(off[n]) == 0);

	/* Room is made: growth goes on. */
	t_check(mount("tmpfs", t_private_dir(), "tmpfs", MS_REMOUNT, "size=8m") == 0);
	t_check(alloc(MIB, &off[n]) == 0);
	t_check(mproc_segment_grow(segment, 7 << 20) == 0);
	t_check(release(off[n]) == 0);
	while (n--) {
		const unsigned char *mem = mproc__arena_at(segment, off[n], 100000);

		for (int i = 0; i < 100000; i++)
			t_check(mem[i] == n + 1);
		t_check(release(off[n]) == 0);
	}
	t_check(n_blocks() == 0);
	segment = mproc_segment_close(segment);
}

static void can_mount(void *arg)
{
	(void)arg;
	if (unshare(geteuid() ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS) < 0)
		_exit(1);
}

static void full_filesystem_is_an_error_and_then_goes_on(void **state)
{
	(void)state;
	if (t_reap(t_spawn(can_mount, NULL))) {
		print_message("# left out: no mount namespace of our own: no small tmpfs\n");
		return;
	}
	assert_int_equal(t_reap(t_spawn(fill_the_filesystem, NULL)), 0);
}

static void exceed_file_size(void *arg)
{
	struct rlimit limit = { .rlim_cur = 4 * MIB, .rlim_max = 4 * MIB };
	uint64_t off;

	(void)arg;
	t_check(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	/* The kernel would send SIGXFSZ. */
	t_check(alloc(8 * MIB, &off) == -ENOSPC);
	t_check(strstr(mproc_error_text(), "files may have 4 MiB (RLIMIT_FSIZE)"));
	t_check(alloc(MIB, &off) == 0);
}

static void limit_of_file_sizes_is_an_error_not_a_signal(void **state)
{
	(void)state;
	make(least(GIB / 8), GIB / 8);
	assert_int_equal(t_reap(t_spawn(exceed_file_size, NULL)), 0);
}

static void lock_all_memory(void *arg)
{
	uint64_t off;

	(void)arg;
	if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0) {
		print_message("# left out: mlockall: %s\n", strerror(errno));
		return;
	}
	/* The tables of what may become 16 GiB would be 100 MiB. */
	t_check(mproc_segment_create(&segment, NULL, NULL) == 0);
	t_check(memory_of_file() == mproc__segment_memory(segment));
	t_check(alloc(20 * MIB, &off) == 0);
	t_check(memory_of_file() == mproc__segment_memory(segment));
	segment = mproc_segment_close(segment);
}

static void locked_memory_is_no_more_than_the_segments(void **state)
{
	(void)state;
	if (t_sanitized()) {
		print_message("# left out: a sanitizer has more than can be locked\n");
		return;
	}
	assert_int_equal(t_reap(t_spawn(lock_all_memory, NULL)), 0);
}

struct crowd {
	_Atomic(uint64_t) n;
};

static void *grow_in_a_thread(void *arg)
{
	struct crowd *crowd = arg;
	uint64_t off, sum = 0;
	char *mem;

	for (int i = 0; i < 300; i++) {
		uint64_t len = i % 7 ? 700 : 20000;

		if (alloc(len, &off) < 0)
			return arg;
		mem = mproc__segment_at(segment, off, len);
		if (!mem || mem != mproc__arena_at(segment, off, len))
			return arg;
		memset(mem, i, len);
		sum += mproc__arena_len(segment, off);
	}
	atomic_fetch_add(&crowd->n, sum);
	return NULL;
}

static void threads_learn_of_it_together(void **state)
{
	struct mproc__arena_stats stats;
	struct crowd crowd = { 0 };
	pthread_t threads[4];
	void *wrong;

	(void)state;
	make(least(64 * MIB), 64 * MIB);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, grow_in_a_thread, &crowd), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
	mproc__arena_stats(segment, &stats);
	assert_int_equal(stats.used, atomic_load(&crowd.n));
	assert_int_equal(stats.n_blocks, 1200);
}

#define RACES 30000u

struct race {
	uint64_t off; /* of a block in pages that were appended */
	_Atomic(uint32_t) round;
	_Atomic(uint32_t) n_there;
	_Atomic(uint32_t) n_missed;
};

static void *look_at_once(void *arg)
{
	struct race *race = arg;

	for (uint32_t i = 1; i <= RACES; i++) {
		uint32_t late = atomic_fetch_add(&race->n_there, 1) % 2 ? i % 61 : i % 7;

		for (uint32_t n = 1; atomic_load(&race->round) < i; n++)
			if (n % 1024 == 0)
				sched_yield();
		/* One comes at every step of the other. */
		while (late--)
			atomic_load(&race->n_missed);
		if (mproc__arena_len(segment, race->off) != PAGE)
			atomic_fetch_add(&race->n_missed, 1);
	}
	atomic_fetch_add(&race->n_there, 1);
	return NULL;
}

/* What a thread does not know is looked for once more, also if another has learned it by then. */
static void who_learns_of_it_second_finds_it_too(void **state)
{
	struct race race = { 0 };
	pthread_t threads[2];

	(void)state;
	make(least(64 * MIB), 64 * MIB);
	assert_int_equal(mproc_segment_grow(segment, MIB), 0);
	assert_int_equal(alloc(32 * PAGE, &race.off), 0);
	assert_int_equal(alloc(PAGE, &race.off), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, look_at_once, &race), 0);
	for (uint32_t i = 1; i <= RACES + 1; i++) {
		while (atomic_load(&race.n_there) < 2 * i)
			sched_yield();
		/* As it was before the growth, in this process alone. */
		atomic_store(&segment->arena_at.n_pages, 16);
		atomic_store(&segment->arena_at.n_reach, 16);
		atomic_store(&race.round, i);
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(atomic_load(&race.n_missed), 0);
	assert_int_equal(mproc__arena_len(segment, race.off), PAGE);
}

/*
 * Threads that are cancelled, and children, while it grows
 */

static _Atomic(uint32_t) n_grown;

static void *grow_cancelled(void *arg)
{
	/* Pending before the call: its first cancellation point would be its end. */
	pthread_cancel(pthread_self());
	for (uint64_t i = 1; i <= 8; i++)
		if (mproc_segment_grow(segment, *(uint64_t *)arg + i * MIB) == 0)
			atomic_fetch_add(&n_grown, 1);
	pthread_testcancel();
	return NULL;
}

static void growing_is_no_cancellation_point(void **state)
{
	uint64_t bytes = least(GIB);
	size_t fds = t_count_fds();
	pthread_t thread;
	void *ret;

	(void)state;
	make(bytes, GIB);
	fds = t_count_fds();
	atomic_store(&n_grown, 0);
	assert_int_equal(pthread_create(&thread, NULL, grow_cancelled, &bytes), 0);
	assert_int_equal(pthread_join(thread, &ret), 0);
	assert_ptr_equal(ret, PTHREAD_CANCELED);
	assert_int_equal(atomic_load(&n_grown), 8);
	assert_int_equal(t_count_fds(), fds);
}

static void *grow_on(void *arg)
{
	for (uint64_t bytes = 4 * MIB; !atomic_load((_Atomic(uint32_t) *)arg); bytes += MIB)
		if (mproc_segment_grow(segment, bytes < GIB / 4 ? bytes : GIB / 4) < 0)
			return arg;
	return NULL;
}

static void count_descriptors(void *arg)
{
	t_check(t_count_fds() == *(size_t *)arg);
}

static void forked_children_have_no_copy_of_its_descriptor(void **state)
{
	_Atomic(uint32_t) stop = 0;
	pthread_t thread;
	void *wrong;
	size_t fds;
	int ends = 0;

	(void)state;
	make(least(GIB), GIB);
	assert_non_null(me());
	fds = t_count_fds();
	assert_int_equal(t_reap(t_spawn(count_descriptors, &fds)), 0);
	assert_int_equal(pthread_create(&thread, NULL, grow_on, &stop), 0);
	for (int i = 0; i < 60; i++)
		ends |= t_reap(t_spawn(count_descriptors, &fds));
	atomic_store(&stop, 1);
	assert_int_equal(pthread_join(thread, &wrong), 0);
	assert_null(wrong);
	assert_int_equal(ends, 0);
}

/* Root may open what it likes, until it is somebody else. */
static void grow_without_permission(void *arg)
{
	char path[64];
	uint64_t off;

	(void)arg;
	t_check(me() != NULL);
	if (geteuid() == 0)
		t_check(setgid(65534) == 0 && setuid(65534) == 0);
	else
		t_check(fchmod(atomic_load(&segment->range->fd), 0) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", atomic_load(&segment->range->fd));
	t_check(open(path, O_RDWR) < 0);
	t_check(alloc(4 * MIB, &off) == 0);
	t_check(mproc_segment_grow(segment, 16 * MIB) == 0);
	memset(mproc__arena_at(segment, off, 4 * MIB), 1, 4 * MIB);
}

static void grows_though_the_file_could_not_be_opened_again(void **state)
{
	(void)state;
	make(MIB, 64 * MIB);
	assert_int_equal(t_reap(t_spawn(grow_without_permission, NULL)), 0);
	assert_in_range(mproc__segment_memory(segment), 16 * MIB, 16 * MIB + 5 * PAGE);
}

/* Another file by the range's number must not become large in its place. */
static void grow_beside_another_file(void *arg)
{
	int other = memfd_create("other", MFD_CLOEXEC);
	struct stat st;

	(void)arg;
	t_check(me() != NULL);
	t_check(other >= 0 && dup2(other, atomic_load(&segment->range->fd)) >= 0);
	/* The parent's own descriptor is still there. */
	t_check(mproc_segment_grow(segment, 4 * MIB) == 0);
	t_check(fstat(other, &st) == 0 && st.st_size == 0 && st.st_blocks == 0);
}

static void another_file_under_its_number_is_left_alone(void **state)
{
	(void)state;
	make(MIB, 64 * MIB);
	assert_int_equal(t_reap(t_spawn(grow_beside_another_file, NULL)), 0);
	assert_in_range(mproc__segment_memory(segment), 4 * MIB, 4 * MIB + 5 * PAGE);
}

static void stop_with_the_lock(void *arg)
{
	const struct mproc__arena_view v = mproc__arena_view(segment, me());

	(void)arg;
	t_check(mproc__arena_runs_lock(&v) == 0);
	raise(SIGSTOP);
	mproc__arena_runs_unlock(&v);
}

static bool is_stopped(void *arg)
{
	return t_state(*(pid_t *)arg) == 'T';
}

static void grow_beside_who_is_stopped(void *arg)
{
	(void)arg;
	alarm(10);
	(void)!mproc__fail(-EIO, "of before");
	t_check(mproc_segment_grow(segment, 4 * MIB) == 0);
	t_check(strcmp(mproc_error_text(), "of before") == 0);
	t_check(mproc__segment_memory(segment) >= 4 * MIB);
}

static void growing_waits_for_nobody_who_is_stopped(void **state)
{
	pid_t stopped;
	int end;

	(void)state;
	make(MIB, 64 * MIB);
	stopped = t_spawn(stop_with_the_lock, NULL);
	assert_true(t_wait_until(is_stopped, &stopped, mproc_after_ms(20000)));
	end = t_reap(t_spawn(grow_beside_who_is_stopped, NULL));
	kill(stopped, SIGCONT);
	assert_int_equal(t_reap(stopped), 0);
	assert_int_equal(end, 0);
	/* What was published is used by who next needs it. */
	{
		uint64_t off;

		assert_int_equal(alloc(3 * MIB, &off), 0);
		assert_in_range(mproc__segment_memory(segment), 4 * MIB, 4 * MIB + 5 * PAGE);
	}
}

#define TEST(fn) cmocka_unit_test_teardown(fn, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(segment_that_may_become_large_is_small),
		TEST(default_segment_may_become_16_gib),
		TEST(given_size_is_final),
		TEST(blocks_stay_where_they_are),
		TEST(one_block_may_span_what_was_added_in_steps),
		TEST(free_pages_at_the_end_count),
		TEST(grow_makes_as_much_as_was_asked_for),
		TEST(others_notice_when_they_come_upon_it),
		TEST(blocks_of_the_dead_come_back_from_there),
		TEST(who_cannot_learn_of_it_breaks_nothing),
		TEST(scribbled_sizes_are_not_believed),
		TEST(process_with_few_addresses_stays_within_them),
		TEST(full_filesystem_is_an_error_and_then_goes_on),
		TEST(limit_of_file_sizes_is_an_error_not_a_signal),
		TEST(locked_memory_is_no_more_than_the_segments),
		TEST(threads_learn_of_it_together),
		TEST(who_learns_of_it_second_finds_it_too),
		TEST(growing_is_no_cancellation_point),
		TEST(forked_children_have_no_copy_of_its_descriptor),
		TEST(grows_though_the_file_could_not_be_opened_again),
		TEST(another_file_under_its_number_is_left_alone),
		TEST(growing_waits_for_nobody_who_is_stopped),
	};

	/* Sets MPROC_DIR. */
	t_private_dir();
	return cmocka_run_group_tests_name("segment grow", tests, NULL, NULL);
}
