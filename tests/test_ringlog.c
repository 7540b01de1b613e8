/* SPDX-License-Identifier: MIT */

/*
 * mproc/ringlog.h, seen from outside
 */

#include <mproc/ringlog.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "ipc/kind_layout.h"
#include "ipc/lock.h"
#include "ipc/participant.h"
#include "shm/catalogue.h"
#include "shm/ringlog_layout.h"
#include "tests/support/child.h"

static mproc_segment *segment;
static mproc_ringlog *ring;

static int setup(void **state)
{
	(void)state;
	return mproc_segment_create(&segment, NULL, NULL);
}

static int teardown(void **state)
{
	(void)state;
	segment = mproc_segment_close(segment);
	return 0;
}

static void make(uint64_t bytes, uint64_t n)
{
	assert_int_equal(mproc_ringlog_create(&ring, segment, "ring",
					      MPROC_RINGLOG_OPTS(.bytes = bytes, .n_records = n,
								 .record_max = 64)),
			 0);
}

static struct mproc__ringlog_shared *inside(void)
{
	const struct mproc__object_spec spec = { .what = "test",
						 .name = "ring",
						 .kind = MPROC__KIND_RINGLOG,
						 .type = MPROC__RINGLOG_LAYOUT };
	struct mproc__object object;

	assert_int_equal(mproc__object_open(&object, segment, &spec), 0);
	return object.mem;
}

static void append_number(uint64_t n)
{
	assert_int_equal(
		mproc_ringlog_printf(ring, MPROC_NOWAIT, "number %04llu", (unsigned long long)n),
		0);
}

/* The next record is number @seq, after @missed. */
static void assert_next(struct mproc_ringlog_iter *it, uint64_t seq, uint64_t missed)
{
	struct mproc_ringlog_record record;
	char buf[65], want[65];

	assert_int_equal(mproc_ringlog_next(ring, it, &record, buf, 64), 1);
	assert_true(record.seq == seq);
	assert_int_equal(record.n_missed, missed);
	snprintf(want, sizeof(want), "number %04llu", (unsigned long long)seq);
	assert_int_equal(record.len, strlen(want));
	assert_memory_equal(buf, want, record.len);
}

static void assert_end(struct mproc_ringlog_iter *it)
{
	struct mproc_ringlog_record record;
	char buf[64];

	assert_int_equal(mproc_ringlog_next(ring, it, &record, buf, sizeof(buf)), 0);
	assert_int_equal(mproc_ringlog_wait(ring, it, MPROC_NOWAIT), -EAGAIN);
}

static void records_come_in_order_with_time_and_writer(void **state)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;
	struct mproc_ringlog_record record;
	struct timespec before, after;
	char buf[64];

	(void)state;
	make(1024, 0);
	assert_end(&it);
	clock_gettime(CLOCK_REALTIME, &before);
	assert_int_equal(mproc_ringlog_append(ring, "a\0b", 3, MPROC_FOREVER), 0);
	assert_int_equal(mproc_ringlog_append(ring, NULL, 0, MPROC_FOREVER), 0);
	clock_gettime(CLOCK_REALTIME, &after);
	assert_int_equal(mproc_ringlog_wait(ring, &it, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_ringlog_next(ring, &it, &record, buf, 3), 1);
	assert_memory_equal(buf, "a\0b", 3);
	assert_true(record.len == 3 && record.seq == 0 && record.n_missed == 0);
	assert_int_equal(record.pid, getpid());
	assert_int_equal(record.tid, gettid());
	assert_true(record.time >= before.tv_sec * 1000000000 + before.tv_nsec &&
		    record.time <= after.tv_sec * 1000000000 + after.tv_nsec);
	assert_int_equal(mproc_ringlog_next(ring, &it, &record, NULL, 0), 1);
	assert_true(record.len == 0 && record.seq == 1);
	assert_end(&it);
	ring = mproc_ringlog_close(ring);
}

static void oldest_are_dropped_and_counted(void **state)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER, late = MPROC_RINGLOG_ITER;
	struct mproc_ringlog_stats stats;

	(void)state;
	/* 48 bytes each: five of them in 256. */
	make(256, 0);
	for (uint64_t i = 0; i < 3; i++)
		append_number(i);
	assert_next(&it, 0, 0);
	for (uint64_t i = 3; i < 12; i++)
		append_number(i);
	assert_int_equal(mproc_ringlog_stats(ring, &stats), 0);
	assert_int_equal(stats.n_appended, 12);
	assert_int_equal(stats.n_records, 5);
	assert_int_equal(stats.bytes, 5 * 48);
	assert_int_equal(stats.bytes_max, 256);
	assert_next(&it, 7, 6);
	assert_next(&it, 8, 0);
	for (uint64_t i = 7; i < 12; i++)
		assert_next(&late, i, 0);
	assert_end(&late);
	assert_int_equal(it.n_missed, 6);
	ring = mproc_ringlog_close(ring);
}

static void number_of_records_can_be_limited(void **state)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;

	(void)state;
	make(4096, 3);
	for (uint64_t i = 0; i < 8; i++)
		append_number(i);
	for (uint64_t i = 5; i < 8; i++)
		assert_next(&it, i, 0);
	assert_end(&it);
	ring = mproc_ringlog_close(ring);
}

static void any_record_can_be_sought(void **state)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;

	(void)state;
	make(256, 0);
	assert_int_equal(mproc_ringlog_seek(ring, &it, 0), 0);
	assert_end(&it);
	assert_int_equal(mproc_ringlog_seek(ring, &it, 1), -EINVAL);
	for (uint64_t i = 0; i < 12; i++)
		append_number(i);
	assert_int_equal(mproc_ringlog_seek(ring, &it, 9), 0);
	assert_next(&it, 9, 0);
	assert_int_equal(mproc_ringlog_seek(ring, &it, 2), 0);
	assert_next(&it, 7, 5);
	assert_int_equal(mproc_ringlog_seek(ring, &it, 12), 0);
	assert_end(&it);
	assert_int_equal(mproc_ringlog_seek(ring, &it, 13), -EINVAL);
	assert_int_equal(mproc_ringlog_seek(ring, &it, UINT64_MAX), 0);
	assert_end(&it);
	append_number(12);
	assert_next(&it, 12, 0);
	/* One that falls behind afterwards is told of what was dropped since. */
	assert_int_equal(mproc_ringlog_seek(ring, &it, 10), 0);
	for (uint64_t i = 13; i < 23; i++)
		append_number(i);
	assert_next(&it, 18, 8);
	ring = mproc_ringlog_close(ring);
}

static void every_counter_may_wrap(void **state)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER, from = MPROC_RINGLOG_ITER;
	struct mproc__ringlog_shared *s;
	uint64_t first = UINT64_MAX - 6;
	struct mproc_ringlog_stats stats;

	(void)state;
	make(256, 4);
	s = inside();
	atomic_store(&s->head, UINT64_MAX - 7 - 40 * 8);
	atomic_store(&s->tail, UINT64_MAX - 7 - 40 * 8);
	atomic_store(&s->seq[0], first);
	for (uint64_t i = 0; i < 20; i++) {
		append_number(first + i);
		assert_next(&it, first + i, 0);
		assert_end(&it);
		if (i == 7) {
			assert_int_equal(mproc_ringlog_seek(ring, &from, first + 5), 0);
			assert_next(&from, first + 5, 0);
			assert_int_equal(mproc_ringlog_stats(ring, &stats), 0);
			assert_int_equal(stats.n_records, 4);
		}
	}
	assert_true(atomic_load(&s->tail) < 4096);
	assert_next(&from, first + 16, 10);
	ring = mproc_ringlog_close(ring);
}

static void too_long_is_refused_and_text_is_cut(void **state)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;
	struct mproc_ringlog_record record;
	mproc_ringlog *other = NULL;
	char buf[100] = { 0 };

	(void)state;
	make(256, 0);
	assert_int_equal(mproc_ringlog_record_max(ring), 64);
	assert_int_equal(mproc_ringlog_append(ring, buf, 65, MPROC_NOWAIT), -EMSGSIZE);
	assert_string_equal(mproc_error_text(),
			    "ringlog ring: a record of 65 bytes, 64 is the most");
	assert_int_equal(mproc_ringlog_printf(ring, MPROC_NOWAIT, "%0100d", 7), 1);
	assert_int_equal(mproc_ringlog_next(ring, &it, &record, buf, 63), -ENOBUFS);
	assert_int_equal(mproc_ringlog_next(ring, &it, &record, buf, 64), 1);
	assert_int_equal(record.len, 64);
	assert_int_equal(mproc_ringlog_append(ring, buf, 1, -1), -EINVAL);
	assert_int_equal(mproc_ringlog_wait(ring, &it, -1), -EINVAL);
	assert_int_equal(
		mproc_ringlog_create(&other, segment, NULL, MPROC_RINGLOG_OPTS(.bytes = 255)),
		-EINVAL);
	assert_int_equal(mproc_ringlog_create(&other, segment, NULL,
					      MPROC_RINGLOG_OPTS(.bytes = 256, .record_max = 200)),
			 -EINVAL);
	assert_int_equal(mproc_ringlog_create(&other, segment, "ring", NULL), -EEXIST);
	assert_int_equal(mproc_ringlog_open(&other, segment, "none"), -ENOENT);
	assert_int_equal(mproc_ringlog_open_or_create(&other, segment, "ring", NULL), 0);
	mproc_ringlog_close(other);
	assert_int_equal(mproc_ringlog_open_or_create(&other, segment, "new", NULL), 1);
	assert_int_equal(mproc_ringlog_record_max(other), 8192);
	mproc_ringlog_close(other);
	ring = mproc_ringlog_close(ring);
}

static void append_later(void *arg)
{
	(void)arg;
	usleep(20000);
	t_check(mproc_ringlog_printf(ring, MPROC_FOREVER, "number 0000") == 0);
}

static void reader_is_woken_by_another_process(void **state)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;
	pid_t pid;

	(void)state;
	make(1024, 0);
	assert_int_equal(mproc_ringlog_wait(ring, &it, mproc_after_ms(5)), -ETIMEDOUT);
	pid = t_spawn(append_later, NULL);
	assert_int_equal(mproc_ringlog_wait(ring, &it, mproc_after_ms(20000)), 0);
	assert_next(&it, 0, 0);
	assert_int_equal(t_reap(pid), 0);
	ring = mproc_ringlog_close(ring);
}

static void write_and_be_killed(void *arg)
{
	(void)arg;
	t_check(mproc_ringlog_printf(ring, MPROC_NOWAIT, "number 0000") == 0);
	t_check(mproc_ringlog_printf(ring, MPROC_NOWAIT, "number 0001") == 0);
	raise(SIGKILL);
}

static void log_of_the_dead_is_readable(void **state)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;

	(void)state;
	make(1024, 0);
	assert_int_equal(t_reap(t_spawn(write_and_be_killed, NULL)), SIGKILL);
	assert_next(&it, 0, 0);
	assert_next(&it, 1, 0);
	append_number(2);
	assert_next(&it, 2, 0);
	ring = mproc_ringlog_close(ring);
}

/* Records of one writer are in order, and all bytes of one are its own. */
static void write_many(void *arg)
{
	unsigned char id = *(unsigned char *)arg, bytes[64];

	memset(bytes, id, sizeof(bytes));
	for (int i = 0; i < 20000; i++)
		t_check(mproc_ringlog_append(ring, bytes, 1 + (size_t)i % 64, MPROC_FOREVER) == 0);
}

static void readers_see_whole_records_while_others_overwrite(void **state)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;
	struct mproc_ringlog_record record;
	unsigned char ids[] = { 1, 2, 3 }, buf[64];
	uint64_t n = 0;
	pid_t pid[3];
	int r;

	(void)state;
	make(16384, 0);
	assert_int_equal(mproc_ringlog_seek(ring, &it, 0), 0);
	for (int i = 0; i < 3; i++)
		pid[i] = t_spawn(write_many, &ids[i]);
	while (n + it.n_missed < 60000) {
		r = mproc_ringlog_next(ring, &it, &record, buf, sizeof(buf));
		assert_true(r >= 0);
		if (r == 0) {
			assert_int_equal(mproc_ringlog_wait(ring, &it, mproc_after_ms(20000)), 0);
			continue;
		}
		assert_true(record.seq == n + it.n_missed);
		n++;
		assert_true(record.len >= 1 && record.len <= 64 && buf[0] >= 1 && buf[0] <= 3);
		for (size_t i = 1; i < record.len; i++)
			assert_int_equal(buf[i], buf[0]);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(t_reap(pid[i]), 0);
	print_message("# read %llu of 60000\n", (unsigned long long)n);
	ring = mproc_ringlog_close(ring);
}

/*
 * Two appends, as a signal handler can make them, wherever its thread is just then: the
 * record of number n lies at 32 n.
 */
static struct mproc__ringlog_shared *moving;
static _Atomic(int) n_moved;

static void append_two(int sig)
{
	(void)sig;
	for (int i = 0; i < 2; i++) {
		uint64_t tail = moving->tail, which = ~tail & 1;

		moving->seq[which] = moving->seq[tail & 1] + 1;
		moving->head = (tail & ~UINT64_C(1)) + 32;
		moving->tail = ((tail & ~UINT64_C(1)) + 32) | which;
	}
	n_moved++;
}

static void position_and_number_are_of_one_instant(void **state)
{
	const struct itimerval often = { { 0, 20 }, { 0, 20 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction act = { .sa_handler = append_two }, old;
	struct mproc__ringlog_look look = { 0 };

	(void)state;
	make(256, 0);
	moving = inside();
	assert_int_equal(sigaction(SIGALRM, &act, &old), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
	while (n_moved < 3000) {
		if (!mproc__ringlog_look(moving, sizeof(*moving) + 256, &look) || !look.settled ||
		    look.seq != look.tail / 32)
			break;
	}
	assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
	assert_int_equal(sigaction(SIGALRM, &old, NULL), 0);
	assert_true(look.settled);
	assert_true(look.seq == look.tail / 32);
	assert_true(n_moved >= 3000);
	ring = mproc_ringlog_close(ring);
}

static void append_for_ever(void *arg)
{
	(void)arg;
	for (;;)
		t_check(mproc_ringlog_append(ring, "x", 1, MPROC_FOREVER) == 0);
}

static void seek_to_the_end_while_others_append(void **state)
{
	struct mproc_ringlog_record record;
	struct mproc_ringlog_iter it;
	char buf[64];
	pid_t pid;
	int r;

	(void)state;
	make(65536, 0);
	pid = t_spawn(append_for_ever, NULL);
	for (int i = 0; i < 5000; i++) {
		it = (struct mproc_ringlog_iter)MPROC_RINGLOG_ITER;
		assert_int_equal(mproc_ringlog_seek(ring, &it, UINT64_MAX), 0);
		do
			r = mproc_ringlog_next(ring, &it, &record, buf, sizeof(buf));
		while (r == 0);
		assert_int_equal(r, 1);
		/* More than there are would be less than none. */
		assert_true(record.n_missed <= record.seq);
	}
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	ring = mproc_ringlog_close(ring);
}

static void stop_inside(void *arg)
{
	struct mproc__self *me = mproc__self(arg, "test");

	t_check(me && mproc__lock_take(&((struct mproc__ringlog_shared *)arg)->lock, me,
				       mproc__what(MPROC__KIND_RINGLOG, mproc__self_off(me, arg)),
				       MPROC_FOREVER) == 0);
	raise(SIGSTOP);
}

static void writer_who_stands_still_holds_up_no_reader(void **state)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;
	struct mproc_ringlog_stats stats;
	int status;
	pid_t pid;

	(void)state;
	make(256, 0);
	append_number(0);
	pid = t_spawn(stop_inside, inside());
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	assert_next(&it, 0, 0);
	assert_int_equal(mproc_ringlog_seek(ring, &it, 0), 0);
	assert_int_equal(mproc_ringlog_stats(ring, &stats), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(t_reap(pid), SIGKILL);
	ring = mproc_ringlog_close(ring);
}

static void what_was_scribbled_over_is_refused(void **state)
{
	static _Alignas(64) unsigned char saved[sizeof(struct mproc__ringlog_shared) + 256];
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER, at;
	struct mproc__ringlog_shared *s, *copy;
	struct mproc_ringlog_record record;
	struct mproc_ringlog_stats stats;
	size_t len = sizeof(*s) + 256;
	uint64_t seed = t_seed();
	char buf[64];
	int r;

	(void)state;
	make(256, 0);
	s = inside();
	for (uint64_t i = 0; i < 9; i++)
		append_number(i);
	copy = (void *)saved;
	memcpy((void *)copy, (void *)s, len);
	s->tail += 8;
	assert_int_equal(mproc_ringlog_append(ring, "x", 1, MPROC_NOWAIT), 0);
	s->head += 4;
	assert_int_equal(mproc_ringlog_append(ring, "x", 1, MPROC_NOWAIT), -EBADMSG);
	assert_string_equal(mproc_error_text(), "ringlog ring: its cursors do not fit its ring");
	assert_int_equal(mproc_ringlog_next(ring, &it, &record, buf, 64), -EBADMSG);
	memcpy((void *)s, (void *)copy, len);
	s->head += 8;
	assert_int_equal(mproc_ringlog_next(ring, &it, &record, buf, 64), -EBADMSG);
	/* What appends need the room of is dropped, and all is well. */
	assert_int_equal(mproc_ringlog_append(ring, buf, 64, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_ringlog_next(ring, &it, &record, buf, 64), 1);
	assert_int_equal(record.seq, 9);
	assert_int_equal(mproc_ringlog_next(ring, &it, &record, buf, 64), 0);
	/* An iterator of something else. */
	memcpy((void *)s, (void *)copy, len);
	at = (struct mproc_ringlog_iter){ .pos = 1 << 20, .begun = 1 };
	assert_int_equal(mproc_ringlog_next(ring, &at, &record, buf, 64), -EINVAL);
	assert_int_equal(mproc_ringlog_wait(ring, &at, MPROC_NOWAIT), -EINVAL);
	/* Anything anywhere, but the lock and who sleeps: an error or a record, in time. */
	for (int i = 0; i < 20000; i++) {
		size_t off = 48 + 8 * (t_random(&seed) % 4) +
			     (t_random(&seed) % 4 ? 0 : 80 + 8 * (t_random(&seed) % 32));
		uint64_t word = t_random(&seed) >> (t_random(&seed) % 64);

		if (off == 48 + 24)
			word += copy->tail;
		memcpy((char *)s + off, &word, 8);
		it = (struct mproc_ringlog_iter)MPROC_RINGLOG_ITER;
		for (int k = 0; k < 12; k++) {
			r = mproc_ringlog_next(ring, &it, &record, buf, sizeof(buf));
			assert_true(r == 0 || r == 1 || r == -EBADMSG || r == -EINVAL);
			if (r == 1)
				assert_true(record.len <= 64);
		}
		r = mproc_ringlog_append(ring, buf, (size_t)(t_random(&seed) % 65), MPROC_NOWAIT);
		assert_true(r == 0 || r == -EBADMSG);
		r = mproc_ringlog_seek(ring, &it, t_random(&seed) % 9);
		assert_true(r == 0 || r == -EBADMSG || r == -EINVAL);
		r = mproc_ringlog_stats(ring, &stats);
		assert_true(r == 0 || r == -EBADMSG);
		memcpy((void *)s, (void *)copy, len);
	}
	s->cap = 257;
	assert_int_equal(mproc_ringlog_open(&(mproc_ringlog *){ NULL }, segment, "ring"), -EBADMSG);
	ring = mproc_ringlog_close(ring);
}

static bool is_asleep(void *pid)
{
	return t_state(*(pid_t *)pid) == 'S';
}

static void await_a_record(void *arg)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;

	(void)arg;
	t_check(mproc_ringlog_wait(ring, &it, mproc_after_ms(60000)) == -ESTALE);
}

static void log_without_a_name_is_found_and_removed_by_reference(void **state)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;
	struct mproc_ringlog_record record;
	struct mproc_ringlog_stats stats;
	struct mproc_segment_stats before = MPROC_SEGMENT_STATS, after = before;
	struct mproc_ref ref, other;
	mproc_ringlog *same;
	pid_t pid;

	(void)state;
	assert_int_equal(mproc_segment_stats(segment, &before), 0);
	assert_int_equal(
		mproc_ringlog_create(&ring, segment, NULL, MPROC_RINGLOG_OPTS(.bytes = 4096)), 0);
	assert_int_equal(mproc_ringlog_ref(ring, &ref), 0);
	assert_int_equal(mproc_ringlog_open_ref(&same, segment, &ref), 0);
	pid = t_spawn(await_a_record, NULL);
	assert_true(t_wait_until(is_asleep, &pid, mproc_after_ms(20000)));
	other = ref;
	other.generation++;
	assert_int_equal(mproc_segment_remove_ref(segment, &other), -ESTALE);
	other.off += 1;
	assert_int_equal(mproc_segment_remove_ref(segment, &other), -EINVAL);
	other.segment++;
	assert_int_equal(mproc_segment_remove_ref(segment, &other), -EINVAL);
	assert_int_equal(mproc_segment_remove_ref(segment, &ref), 0);
	/* Who slept in it is out before its memory is another's. */
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(mproc_segment_remove_ref(segment, &ref), -ESTALE);
	assert_int_equal(mproc_ringlog_append(ring, "x", 1, MPROC_NOWAIT), -ESTALE);
	assert_string_equal(mproc_error_text(), "ringlog (anonymous): it was removed");
	assert_int_equal(mproc_ringlog_next(same, &it, &record, NULL, 0), -ESTALE);
	assert_int_equal(mproc_ringlog_wait(same, &it, MPROC_NOWAIT), -ESTALE);
	assert_int_equal(mproc_ringlog_seek(same, &it, 0), -ESTALE);
	assert_int_equal(mproc_ringlog_stats(same, &stats), -ESTALE);
	assert_int_equal(mproc_ringlog_ref(same, &ref), -ESTALE);
	assert_int_equal(mproc_ringlog_open_ref(&same, segment, &ref), -ESTALE);
	/* All of it went back. */
	assert_int_equal(mproc_segment_stats(segment, &after), 0);
	assert_int_equal(after.used, before.used);
	assert_int_equal(after.objects, before.objects);
	mproc_ringlog_close(same);
	ring = mproc_ringlog_close(ring);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(records_come_in_order_with_time_and_writer),
		TEST(oldest_are_dropped_and_counted),
		TEST(number_of_records_can_be_limited),
		TEST(any_record_can_be_sought),
		TEST(every_counter_may_wrap),
		TEST(too_long_is_refused_and_text_is_cut),
		TEST(reader_is_woken_by_another_process),
		TEST(log_of_the_dead_is_readable),
		TEST(readers_see_whole_records_while_others_overwrite),
		TEST(position_and_number_are_of_one_instant),
		TEST(seek_to_the_end_while_others_append),
		TEST(writer_who_stands_still_holds_up_no_reader),
		TEST(what_was_scribbled_over_is_refused),
		TEST(log_without_a_name_is_found_and_removed_by_reference),
	};

	return cmocka_run_group_tests_name("ringlog", tests, NULL, NULL);
}
