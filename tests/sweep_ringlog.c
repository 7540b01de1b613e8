/* SPDX-License-Identifier: MIT */

/*
 * Whoever is killed in a ring log, wherever: every record that is there is whole, numbers
 * have no gaps, and whoever comes can append and read
 */

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <mproc/ringlog.h>

#include "ipc/kind_layout.h"
#include "ipc/participant.h"
#include "shm/catalogue.h"
#include "shm/ringlog_layout.h"
#include "tests/support/child.h"
#include "tests/support/sweep.h"

static mproc_segment *segment;
static mproc_ringlog *ring;
static uint64_t first, n_before;

static struct waiting {
	_Atomic(uint64_t) done;
} * waiting;

/* Record number i is 1 + i % 50 bytes of value i. */
static int append(void)
{
	struct mproc_ringlog_stats stats;
	unsigned char bytes[64];

	t_sweep_check(mproc_ringlog_stats(ring, &stats) == 0);
	memset(bytes, (int)(unsigned char)stats.n_appended, sizeof(bytes));
	return mproc_ringlog_append(ring, bytes, 1 + stats.n_appended % 50, MPROC_FOREVER);
}

static struct mproc__ringlog_shared *inside(void)
{
	const struct mproc__object_spec spec = { .what = "test",
						 .name = "ring",
						 .kind = MPROC__KIND_RINGLOG,
						 .type = MPROC__RINGLOG_LAYOUT };
	struct mproc__object object;

	t_sweep_check(mproc__object_open(&object, segment, &spec) == 0);
	return object.mem;
}

static void make(uint64_t from, uint64_t n, uint64_t n_max)
{
	struct mproc__ringlog_shared *s;

	t_sweep_check(mproc_segment_create(&segment, NULL,
					   MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .processes = 8,
							      .threads = 16, .objects = 8)) == 0);
	t_sweep_check(mproc_ringlog_create(&ring, segment, "ring",
					   MPROC_RINGLOG_OPTS(.bytes = 256, .record_max = 64,
							      .n_records = n_max)) == 0);
	s = inside();
	s->seq[0] = from;
	s->head = s->tail = from * 8;
	first = from;
	n_before = n;
	for (uint64_t i = 0; i < n; i++)
		t_sweep_check(append() == 0);
	t_sweep_watch(segment->range->procs, 8 * sizeof(struct mproc__proc));
	t_sweep_watch(segment->range->threads, 16 * sizeof(struct mproc__thread));
	t_sweep_watch((void *)s, sizeof(*s) + 256);
}

static void empty(void)
{
	make(0, 0, 0);
}

static void full(void)
{
	make(40, 12, 0);
}

static void at_its_limit(void)
{
	make(3, 5, 2);
}

/* Positions and numbers wrap within the operation. */
static void about_to_wrap(void)
{
	make(UINT64_MAX - 5, 6, 0);
}

static void wait_and_tell(void *arg)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;

	(void)arg;
	t_sweep_check(mproc_ringlog_wait(ring, &it, MPROC_FOREVER) == 0);
	waiting->done = 1;
}

static void one_waits(void)
{
	make(0, 0, 0);
	waiting = t_sweep_map(sizeof(*waiting));
	t_sweep_helper(wait_and_tell, NULL);
}

static void arrive(void)
{
	t_sweep_check(mproc__self(inside(), "arrive") != NULL);
}

static int64_t do_append(void)
{
	return append();
}

static int64_t do_read(void)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;
	struct mproc_ringlog_record record;
	char buf[64];
	int64_t n = 0;

	while (mproc_ringlog_next(ring, &it, &record, buf, sizeof(buf)) == 1)
		n++;
	return n;
}

/* Whole records, numbers without a gap. Return: how many have ever been appended. */
static uint64_t look(uint64_t *ret_kept)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;
	struct mproc_ringlog_record record;
	struct mproc_ringlog_stats stats;
	unsigned char buf[64];
	uint64_t n = 0;
	int r;

	t_sweep_check(mproc_ringlog_stats(ring, &stats) == 0);
	while ((r = mproc_ringlog_next(ring, &it, &record, buf, sizeof(buf))) == 1) {
		t_sweep_check(record.n_missed == 0 && record.len == 1 + record.seq % 50);
		for (size_t i = 0; i < record.len; i++)
			t_sweep_check(buf[i] == (unsigned char)record.seq);
		t_sweep_check(record.pid != 0 && record.time != 0);
		n++;
	}
	t_sweep_check(r == 0);
	t_sweep_check(n == stats.n_records && (!n || it.seq == stats.n_appended));
	*ret_kept = n;
	return stats.n_appended - first;
}

static void log_is_whole(const struct t_sweep_seen *seen)
{
	uint64_t kept, n = look(&kept), most = n_before + 1 + (seen->recovering ? 1 : 0);

	t_sweep_check(n >= n_before && n <= most);
	t_sweep_check(!seen->returned || (seen->result == 0 && n > n_before));
	t_sweep_check(!seen->recovered || (seen->recover_result == 0 && n > n_before));
	t_sweep_check(append() == 0);
	t_sweep_check(look(&kept) == n + 1 && kept > 0);
	/* There is room for as much as ever. */
	for (int i = 0; i < 12; i++)
		t_sweep_check(append() == 0);
	t_sweep_check(look(&kept) == n + 13 && kept >= 2);
}

static void one_is_woken(const struct t_sweep_seen *seen)
{
	uint64_t kept;

	t_sweep_rouse();
	if (look(&kept) == 0)
		t_sweep_check(!seen->returned && !waiting->done && append() == 0);
	for (int i = 0; i < 4000 && !waiting->done; i++)
		usleep(1000);
	t_sweep_check(waiting->done);
}

static void was_read(const struct t_sweep_seen *seen)
{
	uint64_t kept;

	t_sweep_check(look(&kept) == n_before);
	t_sweep_check(!seen->returned || seen->result == (int64_t)kept);
}

static const struct t_sweep_case cases[] = {
	T_SWEEP("append", "empty", empty, do_append, log_is_whole, .arrive = arrive,
		.recover = do_append),
	T_SWEEP("append", "full", full, do_append, log_is_whole, .arrive = arrive,
		.recover = do_append),
	T_SWEEP("append", "as many as are kept", at_its_limit, do_append, log_is_whole,
		.arrive = arrive, .recover = do_append),
	T_SWEEP("append", "counters about to wrap", about_to_wrap, do_append, log_is_whole,
		.arrive = arrive, .recover = do_append),
	T_SWEEP("append", "one waits", one_waits, do_append, one_is_woken, .arrive = arrive),
	T_SWEEP("read", "full", full, do_read, was_read, .arrive = arrive,
		.flags = T_SWEEP_READ_ONLY),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "ringlog", cases, sizeof(cases) / sizeof(cases[0]));
}
