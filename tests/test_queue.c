/* SPDX-License-Identifier: MIT */

/*
 * mproc/queue.h, seen from outside by one process; test_queue_peers.c has many, and
 * test_queue_corrupt.c what nobody should see
 */

#include <mproc/queue.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "ipc/participant.h"
#include "pipes/queue.h"
#include "shm/arena.h"
#include "tests/support/child.h"

#define LONG_MAX_LEN 100000

static mproc_segment *segment;

static int setup(void **state)
{
	(void)state;
	return mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 4 << 20));
}

static int teardown(void **state)
{
	(void)state;
	segment = mproc_segment_close(segment);
	return 0;
}

static mproc_queue *make(uint32_t depth, uint32_t msg_max, uint64_t bytes)
{
	mproc_queue *q = NULL;

	assert_int_equal(mproc_queue_create(&q, segment, NULL,
					    MPROC_QUEUE_OPTS(.depth = depth, .msg_max = msg_max,
							     .bytes = bytes)),
			 0);
	return q;
}

static struct mproc_queue_stats stats_of(mproc_queue *q)
{
	struct mproc_queue_stats stats;

	mproc_queue_stats(q, &stats, sizeof(stats));
	return stats;
}

static uint64_t arena_used(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.used;
}

/* A message whose bytes tell its number and their place. */
static void fill(unsigned char *msg, size_t len, uint64_t number)
{
	for (size_t i = 0; i < len; i++)
		msg[i] = (unsigned char)(number * 31 + i * 7 + (i >> 8));
}

static void put_number(mproc_queue *q, uint64_t number, size_t len)
{
	unsigned char *msg = malloc(len + 1);

	fill(msg, len, number);
	assert_int_equal(mproc_queue_put(q, msg, len, MPROC_NOWAIT), 0);
	free(msg);
}

static void assert_next_number(mproc_queue *q, uint64_t number, size_t len)
{
	unsigned char *want = malloc(len + 1), *got = malloc(len + 1);
	size_t got_len = SIZE_MAX;

	fill(want, len, number);
	assert_int_equal(mproc_queue_get(q, got, len, &got_len, MPROC_NOWAIT), 0);
	assert_int_equal(got_len, len);
	assert_memory_equal(got, want, len);
	free(want);
	free(got);
}

static void assert_next(mproc_queue *q, const char *want)
{
	char buf[64];
	size_t len;

	assert_int_equal(mproc_queue_get(q, buf, sizeof(buf), &len, mproc_after_ms(1000)), 0);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(buf, want, len);
}

static void messages_come_in_the_order_they_were_put(void **state)
{
	mproc_queue *q = make(4, 8, 0);

	(void)state;
	assert_int_equal(mproc_queue_put(q, "one", 3, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_queue_put(q, "two", 3, MPROC_NOWAIT), 0);
	assert_next(q, "one");
	assert_int_equal(mproc_queue_put(q, NULL, 0, MPROC_NOWAIT), 0);
	assert_next(q, "two");
	assert_next(q, "");
	assert_int_equal(mproc_queue_get(q, NULL, 0, NULL, MPROC_NOWAIT), -EAGAIN);
	mproc_queue_close(q);
}

static void drop_one(mproc_queue *q)
{
	static unsigned char buf[LONG_MAX_LEN];

	assert_int_equal(mproc_queue_get(q, buf, sizeof(buf), NULL, MPROC_NOWAIT), 0);
}

/* The depth alone bounds a queue, whatever the sizes, wherever in the ring it is. */
static void depth_is_exact(void **state)
{
	static const uint32_t depths[] = { 1, 2, 7, 64 };
	static const uint32_t sizes[] = { 1, 8, 57, 1000, 4096 };
	uint64_t seed = t_seed();

	(void)state;
	for (size_t d = 0; d < sizeof(depths) / sizeof(depths[0]); d++) {
		for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
			mproc_queue *q = make(depths[d], sizes[s], 0);
			uint64_t put = 0, got = 0;

			for (int round = 0; round < 40; round++) {
				/* Walk to anywhere in the ring, then fill it. */
				for (uint64_t n = t_random(&seed) % 8; n; n--) {
					put_number(q, put++, t_random(&seed) % sizes[s]);
					drop_one(q);
					got++;
				}
				for (uint32_t i = 0; i < depths[d]; i++) {
					assert_int_equal(mproc_queue_n_messages(q), i);
					assert_false(mproc_queue_is_full(q));
					assert_int_equal(mproc_queue_is_empty(q), i == 0);
					put_number(q, put++, sizes[s]);
				}
				assert_int_equal(mproc_queue_n_messages(q), depths[d]);
				assert_true(mproc_queue_is_full(q));
				assert_int_equal(mproc_queue_put(q, "", 0, MPROC_NOWAIT), -EAGAIN);
				while (got < put)
					assert_next_number(q, got++, sizes[s]);
			}
			mproc_queue_close(q);
		}
	}
}

static void every_size_arrives_whole(void **state)
{
	static const uint32_t maxima[] = { 1, 7, 8, 100, 4096, 4097, LONG_MAX_LEN };
	uint64_t used = arena_used(), number = 0;

	(void)state;
	for (size_t m = 0; m < sizeof(maxima) / sizeof(maxima[0]); m++) {
		mproc_queue *q = make(3, maxima[m], 0);
		uint64_t with_queue = arena_used();
		size_t step = maxima[m] > 5000 ? 997 : 1;

		for (size_t len = 0; len <= maxima[m]; len += step) {
			put_number(q, number, len);
			put_number(q, number + 1, maxima[m]);
			put_number(q, number + 2, maxima[m] - len);
			assert_next_number(q, number, len);
			assert_next_number(q, number + 1, maxima[m]);
			assert_next_number(q, number + 2, maxima[m] - len);
			number += 3;
		}
		/* Long ones lay in the arena, and do no more. */
		assert_int_equal(arena_used(), with_queue);
		mproc_queue_close(q);
	}
	assert_true(arena_used() > used);
}

/* Cursors start just before their ends and go on behind them. */
static void cursors_go_round(void **state)
{
	static const struct {
		uint64_t n_msgs, n_bytes;
	} starts[] = {
		{ 0, 0 },
		{ (1 << 24) - 3, 0 },
		{ 0, (UINT64_C(1) << 40) - 64 },
		{ (1 << 24) - 2, (UINT64_C(1) << 40) - 8 },
		{ (1 << 24) - 1, (UINT64_C(1) << 40) - 200 },
		{ (1 << 23) - 1, (UINT64_C(1) << 39) - 8 },
		{ 5, 1024 - 8 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		mproc_queue *q = make(5, 40, 0);
		uint64_t n = starts[i].n_msgs, before = n;

		mproc__queue_start_at(q, n, starts[i].n_bytes);
		assert_true(mproc_queue_is_empty(q));
		assert_int_equal(mproc_queue_get(q, NULL, 0, NULL, MPROC_NOWAIT), -EAGAIN);
		for (int round = 0; round < 500; round++) {
			for (uint64_t k = 0; k < 5; k++)
				put_number(q, n + k, (n + k) % 41);
			assert_int_equal(mproc_queue_n_messages(q), 5);
			assert_int_equal(mproc_queue_put(q, "", 0, MPROC_NOWAIT), -EAGAIN);
			for (uint64_t k = 0; k < 5; k++, n++)
				assert_next_number(q, n, n % 41);
		}
		assert_int_equal(stats_of(q).n_puts - before, 2500);
		assert_int_equal(stats_of(q).n_gets - before, 2500);
		mproc_queue_close(q);
	}
}

/* Counters know the high bits by the time the low ones have gone round. */
static void counters_are_exact(void **state)
{
	mproc_queue *q = make(4, 16, 0);
	struct mproc_queue_stats stats;
	uint64_t n = (UINT64_C(3) << 24) - 10000;

	(void)state;
	mproc__queue_start_at(q, n, 0);
	for (int i = 0; i < 30000; i++) {
		assert_int_equal(mproc_queue_put(q, "12345", 5, MPROC_NOWAIT), 0);
		stats = stats_of(q);
		assert_int_equal(stats.n_puts, n + 1);
		assert_int_equal(stats.n_gets, n);
		assert_int_equal(stats.n_messages, 1);
		assert_next(q, "12345");
		n++;
	}
	assert_int_equal(stats_of(q).bytes_put, 150000);
	assert_int_equal(stats_of(q).bytes_got, 150000);
	assert_int_equal(stats_of(q).n_put_waits + stats_of(q).n_get_waits, 0);
	assert_int_equal(mproc_queue_get(q, NULL, 0, NULL, 1), -ETIMEDOUT);
	assert_int_equal(stats_of(q).n_get_waits, 1);
	for (int i = 0; i < 4; i++)
		assert_int_equal(mproc_queue_put(q, "", 0, 1), 0);
	assert_int_equal(mproc_queue_put(q, "", 0, 1), -ETIMEDOUT);
	assert_int_equal(stats_of(q).n_put_waits, 1);

	/* A program that knows fewer fields, and one that knows more. */
	memset(&stats, 0x55, sizeof(stats));
	mproc_queue_stats(q, &stats, 8);
	assert_int_equal(stats.depth, 4);
	assert_int_equal(stats.msg_max, 16);
	assert_int_equal(stats.bytes, UINT64_C(0x5555555555555555));
	mproc_queue_close(q);
}

static void message_too_long_for_the_queue_is_refused(void **state)
{
	mproc_queue *q = make(2, 8, 0), *lq = make(2, 5000, 0);
	static char msg[5001];

	(void)state;
	assert_int_equal(mproc_queue_put(q, msg, 9, MPROC_FOREVER), -EMSGSIZE);
	assert_non_null(strstr(mproc_error_text(), "message of 9 bytes"));
	assert_non_null(strstr(mproc_error_text(), "takes 8 at most"));
	assert_int_equal(mproc_queue_put(lq, msg, 5001, MPROC_FOREVER), -EMSGSIZE);
	assert_true(mproc_queue_is_empty(q) && mproc_queue_is_empty(lq));
	mproc_queue_close(q);
	mproc_queue_close(lq);
}

static void message_too_long_for_the_buffer_stays(void **state)
{
	mproc_queue *q = make(4, 10000, 0);
	char buf[8] = "before";
	size_t len = 77;

	(void)state;
	for (size_t want = 12; want <= 9000; want += 8988) {
		put_number(q, 1, want);
		assert_int_equal(mproc_queue_get(q, buf, 8, &len, MPROC_FOREVER), -ENOBUFS);
		assert_int_equal(len, 77);
		assert_string_equal(buf, "before");
		assert_non_null(strstr(mproc_error_text(), want == 12 ? "12 bytes" : "9000 bytes"));
		assert_int_equal(mproc_queue_next_len(q, &len, MPROC_NOWAIT), 0);
		assert_int_equal(len, want);
		len = 77;
		assert_next_number(q, 1, want);
	}
	assert_int_equal(mproc_queue_next_len(q, &len, MPROC_NOWAIT), -EAGAIN);
	mproc_queue_close(q);
}

static void waits_end_when_they_must(void **state)
{
	mproc_queue *q = make(1, 8, 0);
	int64_t begin;
	size_t len;

	(void)state;
	assert_int_equal(mproc_queue_get(q, NULL, 0, NULL, -1), -EINVAL);
	assert_int_equal(mproc_queue_get(q, NULL, 0, NULL, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_queue_get(q, NULL, 0, NULL, 1), -ETIMEDOUT);
	begin = mproc_now();
	assert_int_equal(mproc_queue_get(q, NULL, 0, NULL, mproc_after_ms(20)), -ETIMEDOUT);
	assert_true(mproc_now() - begin >= 20000000);

	assert_int_equal(mproc_queue_put(q, "1", 1, -1), -EINVAL);
	/* A time that has passed still tries once. */
	assert_int_equal(mproc_queue_put(q, "1", 1, 1), 0);
	assert_int_equal(mproc_queue_put(q, "2", 1, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_queue_put(q, "2", 1, 1), -ETIMEDOUT);
	begin = mproc_now();
	assert_int_equal(mproc_queue_put(q, "2", 1, mproc_after_ms(20)), -ETIMEDOUT);
	assert_true(mproc_now() - begin >= 20000000);
	assert_int_equal(mproc_queue_next_len(q, &len, 1), 0);
	assert_next(q, "1");
	mproc_queue_close(q);
}

static void shutdown_ends_puts_and_drains_gets(void **state)
{
	mproc_queue *q = make(4, 10000, 0);
	struct iovec two[2] = { { "a", 1 }, { "b", 1 } };
	static char msg[9000];
	char buf[8];

	(void)state;
	assert_int_equal(mproc_queue_put(q, "1", 1, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_queue_put(q, "2", 1, MPROC_NOWAIT), 0);
	assert_false(mproc_queue_is_shutdown(q));
	assert_int_equal(mproc_queue_shutdown(q), 0);
	assert_int_equal(mproc_queue_shutdown(q), 0);
	assert_true(mproc_queue_is_shutdown(q));
	assert_int_equal(mproc_queue_put(q, "3", 1, MPROC_FOREVER), -EPIPE);
	assert_non_null(strstr(mproc_error_text(), "shut down"));
	assert_int_equal(mproc_queue_put(q, msg, sizeof(msg), MPROC_FOREVER), -EPIPE);
	assert_int_equal(mproc_queue_put_many(q, two, 2, MPROC_FOREVER), -EPIPE);
	assert_next(q, "1");
	assert_next(q, "2");
	assert_int_equal(mproc_queue_get(q, buf, 8, NULL, MPROC_FOREVER), -EPIPE);
	assert_int_equal(mproc_queue_get(q, buf, 8, NULL, MPROC_NOWAIT), -EPIPE);
	assert_int_equal(mproc_queue_get_many(q, buf, 8, two, 2, MPROC_FOREVER), -EPIPE);
	assert_int_equal(mproc_queue_next_len(q, &(size_t){ 0 }, MPROC_FOREVER), -EPIPE);
	mproc_queue_close(q);
}

static void many_at_once_are_the_same_as_one_by_one(void **state)
{
	mproc_queue *q = make(10, 10000, 0);
	struct iovec in[12], out[20];
	static unsigned char bytes[12][9000], buf[40000];
	size_t lens[12] = { 0, 5, 8, 1000, 9000, 3, 9000, 9000, 16, 0, 1, 2 };

	(void)state;
	for (size_t i = 0; i < 12; i++) {
		fill(bytes[i], lens[i], i);
		in[i] = (struct iovec){ .iov_base = bytes[i], .iov_len = lens[i] };
	}
	assert_int_equal(mproc_queue_put_many(q, in, 0, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_queue_put_many(q, in, 12, MPROC_NOWAIT), 10);
	assert_int_equal(mproc_queue_put_many(q, in, 1, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_queue_put_many(q, in, 1, 1), -ETIMEDOUT);
	assert_int_equal(mproc_queue_get_many(q, buf, sizeof(buf), out, 0, MPROC_NOWAIT), -EINVAL);
	for (size_t got = 0; got < 10;) {
		int n = mproc_queue_get_many(q, buf, sizeof(buf), out, 20, MPROC_NOWAIT);

		assert_true(n > 0 && got + (size_t)n <= 10);
		for (int i = 0; i < n; i++, got++) {
			assert_int_equal(out[i].iov_len, lens[got]);
			assert_memory_equal(out[i].iov_base, bytes[got], lens[got]);
			assert_int_equal(((uintptr_t)out[i].iov_base - (uintptr_t)buf) % 8, 0);
		}
	}
	assert_int_equal(mproc_queue_get_many(q, buf, sizeof(buf), out, 20, MPROC_NOWAIT), -EAGAIN);

	/* No more than fits, and what does not fit stays. */
	assert_int_equal(mproc_queue_put_many(q, in + 1, 3, MPROC_NOWAIT), 3);
	assert_int_equal(mproc_queue_get_many(q, buf, 4, out, 20, MPROC_NOWAIT), -ENOBUFS);
	assert_int_equal(mproc_queue_get_many(q, buf, 16, out, 20, MPROC_NOWAIT), 2);
	assert_int_equal(mproc_queue_get_many(q, buf, 999, out, 20, MPROC_NOWAIT), -ENOBUFS);
	assert_int_equal(mproc_queue_get_many(q, buf, 1000, out, 20, MPROC_NOWAIT), 1);
	/* One that is too long comes after those before it were put. */
	in[2].iov_len = 10001;
	assert_int_equal(mproc_queue_put_many(q, in, 3, MPROC_NOWAIT), 2);
	assert_int_equal(mproc_queue_put_many(q, in + 2, 1, MPROC_NOWAIT), -EMSGSIZE);
	assert_int_equal(mproc_queue_n_messages(q), 2);
	mproc_queue_close(q);
}

static void taken_message_stays_until_released(void **state)
{
	mproc_queue *q = make(4, 10000, 0);
	struct mproc__self *me = mproc__self(q->shared, "test");
	uint64_t used = arena_used();
	struct mproc__queue_view view;
	static char msg[9000];

	(void)state;
	assert_int_equal(mproc__queue_take(q, me, MPROC_NOWAIT, &view), -EAGAIN);
	assert_int_equal(mproc_queue_put(q, "0123456789abcdef", 16, MPROC_NOWAIT), 0);
	assert_int_equal(mproc__queue_take(q, me, MPROC_NOWAIT, &view), 0);
	assert_int_equal(view.len, 16);
	assert_memory_equal(view.msg, "0123456789abcdef", 16);
	assert_int_equal((uintptr_t)view.msg % 8, 0);
	assert_int_equal(mproc_queue_n_messages(q), 1);
	/* Putting does not mind. */
	assert_int_equal(mproc_queue_put(q, msg, sizeof(msg), MPROC_NOWAIT), 0);
	assert_int_equal(mproc_queue_get(q, msg, sizeof(msg), NULL, 1), -EDEADLK);
	mproc__queue_untake(q, me, &view);
	assert_int_equal(mproc_queue_n_messages(q), 2);
	assert_int_equal(mproc__queue_take(q, me, MPROC_NOWAIT, &view), 0);
	mproc__queue_release(q, me, &view);
	assert_int_equal(mproc_queue_n_messages(q), 1);
	assert_int_equal(mproc__queue_take(q, me, MPROC_NOWAIT, &view), 0);
	assert_int_equal(view.len, sizeof(msg));
	mproc__queue_release(q, me, &view);
	assert_true(mproc_queue_is_empty(q));
	assert_int_equal(arena_used(), used);
	assert_int_equal(me->n_acts, 0);
	mproc_queue_close(q);
}

static void small_ring_bounds_by_bytes(void **state)
{
	mproc_queue *q = make(100, 120, 1024);
	uint64_t put = 0, got = 0;

	(void)state;
	assert_int_equal(stats_of(q).bytes, 1024);
	for (int round = 0; round < 200; round++) {
		for (; !mproc_queue_is_full(q); put++)
			put_number(q, put, 113 + put % 8);
		/* Full is what the longest finds; a short one may still find room. */
		assert_true(put - got >= 6 && put - got <= 8);
		for (; got < put; got++)
			assert_next_number(q, got, 113 + got % 8);
	}
	mproc_queue_close(q);
}

static void full_segment_is_told_and_changes_nothing(void **state)
{
	mproc_queue *q = make(64, 1 << 20, 0);
	uint64_t used = arena_used();
	static char msg[1 << 20];
	int n = 0, r;

	(void)state;
	while ((r = mproc_queue_put(q, msg, sizeof(msg), MPROC_NOWAIT)) == 0)
		n++;
	assert_true(n > 0 && n < 5);
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(mproc_queue_n_messages(q), n);
	assert_int_equal(mproc_queue_put(q, "short", 5, MPROC_NOWAIT), 0);
	for (; n; n--)
		assert_int_equal(mproc_queue_get(q, msg, sizeof(msg), NULL, MPROC_NOWAIT), 0);
	assert_next(q, "short");
	assert_int_equal(arena_used(), used);
	mproc_queue_close(q);
}

static void one_way_of_making_and_finding(void **state)
{
	struct {
		struct mproc_queue_opts opts;
		uint32_t future;
	} longer = { .opts = { .size = sizeof(longer) }, .future = 1 };
	mproc_queue *a, *b, *untouched = (mproc_queue *)&longer;

	(void)state;
	b = untouched;
	assert_int_equal(mproc_queue_open(&b, segment, "jobs"), -ENOENT);
	assert_int_equal(mproc_queue_create(&a, segment, "jobs", MPROC_QUEUE_OPTS(.depth = 3)), 0);
	assert_int_equal(mproc_queue_create(&b, segment, "jobs", NULL), -EEXIST);
	assert_ptr_equal(b, untouched);
	assert_int_equal(mproc_queue_open(&b, segment, "jobs"), 0);
	assert_int_equal(stats_of(b).depth, 3);
	assert_int_equal(mproc_queue_put(a, "x", 1, MPROC_NOWAIT), 0);
	assert_next(b, "x");
	b = mproc_queue_close(b);
	assert_null(b);
	assert_null(mproc_queue_close(NULL));

	assert_int_equal(mproc_queue_open_or_create(&b, segment, "jobs", NULL), 0);
	mproc_queue_close(b);
	assert_int_equal(
		mproc_queue_open_or_create(&b, segment, "jobs", MPROC_QUEUE_OPTS(.depth = 4)),
		-EPROTO);
	assert_non_null(strstr(mproc_error_text(), "depth 4 wanted, it has 3"));
	assert_int_equal(
		mproc_queue_open_or_create(&b, segment, "jobs", MPROC_QUEUE_OPTS(.msg_max = 4)),
		-EPROTO);
	assert_int_equal(
		mproc_queue_open_or_create(&b, segment, "jobs", MPROC_QUEUE_OPTS(.bytes = 1 << 20)),
		-EPROTO);
	assert_int_equal(mproc_queue_open_or_create(&b, segment, "more", NULL), 1);
	assert_int_equal(stats_of(b).depth, 64);
	assert_int_equal(stats_of(b).msg_max, 65536);
	mproc_queue_close(b);

	assert_int_equal(mproc_segment_object(&(void *){ NULL }, segment, "other", 64, NULL, NULL),
			 1);
	assert_int_equal(mproc_queue_open(&b, segment, "other"), -EEXIST);
	assert_int_equal(mproc_queue_open_or_create(&b, segment, "other", NULL), -EEXIST);

	assert_int_equal(mproc_queue_create(&b, segment, "a/b", &longer.opts), -E2BIG);
	assert_int_equal(mproc_queue_create(&b, segment, "c",
					    MPROC_QUEUE_OPTS(.depth = MPROC_QUEUE_DEPTH_MAX + 1)),
			 -EINVAL);
	assert_int_equal(mproc_queue_create(&b, segment, "c",
					    MPROC_QUEUE_OPTS(.msg_max = MPROC_QUEUE_MSG_MAX + 1)),
			 -EINVAL);
	assert_int_equal(mproc_queue_create(&b, segment, "c",
					    MPROC_QUEUE_OPTS(.bytes = MPROC_QUEUE_BYTES_MAX + 1)),
			 -EINVAL);
	assert_int_equal(mproc_queue_create(&b, segment, "c", MPROC_QUEUE_OPTS(.bytes = 64 << 20)),
			 -ENOSPC);
	mproc_queue_close(a);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(messages_come_in_the_order_they_were_put),
		TEST(depth_is_exact),
		TEST(every_size_arrives_whole),
		TEST(cursors_go_round),
		TEST(counters_are_exact),
		TEST(message_too_long_for_the_queue_is_refused),
		TEST(message_too_long_for_the_buffer_stays),
		TEST(waits_end_when_they_must),
		TEST(shutdown_ends_puts_and_drains_gets),
		TEST(many_at_once_are_the_same_as_one_by_one),
		TEST(taken_message_stays_until_released),
		TEST(small_ring_bounds_by_bytes),
		TEST(full_segment_is_told_and_changes_nothing),
		TEST(one_way_of_making_and_finding),
	};

	return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
