/* SPDX-License-Identifier: MIT */

/*
 * Queues over which somebody has scribbled: calls fail in time, or work, and never
 * crash, whatever the words say
 */

#include <mproc/queue.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "ipc/participant.h"
#include "pipes/queue.h"
#include "tests/support/child.h"

#define DEPTH   6u
#define MSG_MAX 700u /* more than an eighth of the ring: some go to the arena */
#define RING    2048u

static mproc_segment *segment;
static mproc_queue *q;
static int n_bad, n_good;

static int setup(void **state)
{
	(void)state;
	if (mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 1 << 20)) < 0)
		return -1;
	return mproc_queue_create(
		&q, segment, "q",
		MPROC_QUEUE_OPTS(.depth = DEPTH, .msg_max = MSG_MAX, .bytes = RING));
}

static int teardown(void **state)
{
	(void)state;
	q = mproc_queue_close(q);
	segment = mproc_segment_close(segment);
	return 0;
}

static unsigned char *memory(void)
{
	return (unsigned char *)q->shared;
}

static size_t memory_len(void)
{
	return sizeof(struct mproc__queue_shared) + (size_t)q->geometry.ring_size;
}

/* Some messages of either kind, somewhere in the ring. */
static void fill(uint64_t *seed)
{
	static unsigned char msg[MSG_MAX];

	for (uint64_t n = t_random(seed) % DEPTH; n; n--)
		assert_int_equal(mproc_queue_put(q, msg, t_random(seed) % (n & 1 ? 64 : MSG_MAX),
						 MPROC_NOWAIT),
				 0);
	for (uint64_t n = t_random(seed) % 3; n; n--)
		(void)!mproc_queue_get(q, msg, sizeof(msg), NULL, MPROC_NOWAIT);
}

static int call(uint64_t which, uint64_t *seed)
{
	static unsigned char buf[2 * MSG_MAX];
	struct iovec iov[8] = { { buf, 9 }, { buf, 600 } };
	struct mproc_queue_stats stats;
	size_t len;

	switch (which % 7) {
	case 0:
		return mproc_queue_put(q, buf, t_random(seed) % (MSG_MAX + 1), MPROC_NOWAIT);
	case 1:
		return mproc_queue_put_many(q, iov, 2, MPROC_NOWAIT);
	case 2:
		return mproc_queue_get_many(q, buf, sizeof(buf), iov, 8, MPROC_NOWAIT);
	case 3:
		return mproc_queue_next_len(q, &len, MPROC_NOWAIT);
	case 4:
		mproc_queue_stats(q, &stats, sizeof(stats));
		(void)mproc_queue_is_full(q);
		assert_true(mproc_queue_n_messages(q) <= DEPTH);
		return mproc__reap_all(segment->range) < 0 ? -EIO : 0;
	default:
		return mproc_queue_get(q, buf, sizeof(buf), &len, MPROC_NOWAIT);
	}
}

static void use(uint64_t *seed)
{
	for (uint64_t i = 0; i < 14; i++) {
		int64_t begin = mproc_now();
		int r = call(t_random(seed), seed);

		assert_true(mproc_now() - begin < INT64_C(5000000000));
		assert_int_not_equal(r, -EIO);
		n_bad += r == -EBADMSG;
		n_good += r >= 0;
	}
}

/* Each word of the head and of the first records in turn, by what bugs write. */
static void any_word_may_be_wrong(void **state)
{
	static const uint64_t values[] = { 0, 1, 7, 8, UINT64_MAX, UINT64_C(1) << 63, 1 << 20 };
	uint64_t seed = t_seed();

	(void)state;
	for (size_t at = 0; at < sizeof(struct mproc__queue_shared) + 256; at += 8) {
		for (size_t i = 0; i < 2 * sizeof(values) / sizeof(values[0]); i++) {
			uint64_t word;

			teardown(NULL);
			setup(NULL);
			fill(&seed);
			memcpy(&word, memory() + at, sizeof(word));
			word = i & 1 ? word + values[i / 2] : values[i / 2];
			memcpy(memory() + at, &word, sizeof(word));
			use(&seed);
		}
	}
	/* Neither all nor none of it is noticed. */
	assert_true(n_bad > 0 && n_good > 0);
}

static void many_words_may_be_wrong(void **state)
{
	uint64_t seed = t_seed();

	(void)state;
	for (int round = 0; round < (t_long() ? 100000 : 2000); round++) {
		if (round % 8 == 0) {
			teardown(NULL);
			setup(NULL);
		}
		if (round % 8 == 0)
			fill(&seed);
		for (uint64_t n = 1 + t_random(&seed) % 4; n; n--) {
			size_t at = t_random(&seed) % (n & 1 ? 512 : memory_len()) & ~(size_t)7;
			uint64_t word = t_random(&seed) >> t_random(&seed) % 64;

			memcpy(memory() + at, &word, sizeof(word));
		}
		use(&seed);
	}
	assert_true(n_bad > 0 && n_good > 0);
}

/* What is sure to be found out, and what it says. */
static void corruption_is_told(void **state)
{
	char buf[64];

	(void)state;
	assert_int_equal(mproc_queue_put(q, "message", 7, MPROC_NOWAIT), 0);
	q->shared->ring[7] ^= 1; /* the kind of the record */
	assert_int_equal(mproc_queue_get(q, buf, sizeof(buf), NULL, MPROC_NOWAIT), -EBADMSG);
	assert_non_null(strstr(mproc_error_text(), "queue q: the record at its head"));
	q->shared->ring[7] ^= 1;
	q->shared->ring[4] ^= 1; /* its number */
	assert_int_equal(mproc_queue_get(q, buf, sizeof(buf), NULL, MPROC_NOWAIT), -EBADMSG);
	q->shared->ring[4] ^= 1;
	q->shared->ring[1] ^= 1; /* its length: more than there is */
	assert_int_equal(mproc_queue_get(q, buf, sizeof(buf), NULL, MPROC_NOWAIT), -EBADMSG);
	q->shared->ring[1] ^= 1;
	atomic_fetch_add(&q->shared->put.cursor, RING);
	atomic_store(&q->shared->put.seen, 0);
	atomic_store(&q->shared->get.seen, 0);
	assert_int_equal(mproc_queue_get(q, buf, sizeof(buf), NULL, MPROC_FOREVER), -EBADMSG);
	assert_non_null(strstr(mproc_error_text(), "the distance of its cursors"));
	assert_int_equal(mproc_queue_put(q, buf, 64, MPROC_FOREVER), -EBADMSG);
	atomic_fetch_sub(&q->shared->put.cursor, RING);
	assert_int_equal(mproc_queue_get(q, buf, sizeof(buf), NULL, MPROC_NOWAIT), 0);
	assert_memory_equal(buf, "message", 7);

	/* A reference to what is no block. */
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(mproc_queue_put(q, memory(), MSG_MAX, MPROC_NOWAIT), 0);
	for (uint64_t at = 8; at < 64; at += 8)
		if (q->shared->ring[at + 7] == MPROC__QUEUE_REFERENCE)
			memcpy(q->shared->ring + at + 8, buf, 8);
	assert_int_equal(mproc_queue_get(q, buf, sizeof(buf), NULL, MPROC_NOWAIT), -EBADMSG);
	assert_non_null(strstr(mproc_error_text(), "the block of its oldest message"));
}

static void impossible_geometry_is_not_opened(void **state)
{
	struct mproc__queue_shared *s = q->shared;
	mproc_queue *again = NULL;

	(void)state;
	s->ring_size *= 2;
	assert_int_equal(mproc_queue_open(&again, segment, "q"), -EBADMSG);
	s->ring_size = RING - 8;
	assert_int_equal(mproc_queue_open(&again, segment, "q"), -EBADMSG);
	s->ring_size = RING;
	s->inline_max = MSG_MAX + 1;
	assert_int_equal(mproc_queue_open(&again, segment, "q"), -EBADMSG);
	s->inline_max = RING / 8;
	s->depth = 0;
	assert_int_equal(mproc_queue_open(&again, segment, "q"), -EBADMSG);
	assert_null(again);
	s->depth = DEPTH;
	assert_int_equal(mproc_queue_open(&again, segment, "q"), 0);
	mproc_queue_close(again);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(any_word_may_be_wrong),
		TEST(many_words_may_be_wrong),
		TEST(corruption_is_told),
		TEST(impossible_geometry_is_not_opened),
	};

	return cmocka_run_group_tests_name("queue_corrupt", tests, NULL, NULL);
}
