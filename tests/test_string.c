/* SPDX-License-Identifier: MIT */

/*
 * mproc/string.h, seen from outside, and what its memory is
 */

#include <mproc/string.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/event.h>

#include "shm/arena.h"
#include "shm/body.h"
#include "tests/support/child.h"

#define MAX 20000

static mproc_segment *segment;
static mproc_string *string;

static int setup(void **state)
{
	(void)state;
	if (mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 1 << 20)) < 0)
		return -1;
	return mproc_string_create(&string, segment, "s", NULL);
}

static int teardown(void **state)
{
	(void)state;
	string = mproc_string_close(string);
	segment = mproc_segment_close(segment);
	return 0;
}

static uint64_t used(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.used;
}

static struct mproc__object object_of(const char *name)
{
	const struct mproc__object_spec spec = {
		.what = "test", .name = name, .kind = MPROC__KIND_STRING, .type = MPROC__BODY_LAYOUT
	};
	struct mproc__object object;

	assert_int_equal(mproc__object_open(&object, segment, &spec), 0);
	return object;
}

static void assert_is(const void *want, size_t len)
{
	static unsigned char buf[MAX];
	size_t got = 7;
	int order = 7;

	assert_int_equal(mproc_string_len(string), len);
	assert_int_equal(mproc_string_get(string, buf, sizeof(buf), &got, MPROC_FOREVER), 0);
	assert_int_equal(got, len);
	assert_memory_equal(buf, want, len);
	assert_int_equal(mproc_string_compare(string, want, len, &order, MPROC_FOREVER), 0);
	assert_int_equal(order, 0);
}

static void open_finds_what_create_made(void **state)
{
	mproc_string *a = NULL, *b = NULL;
	struct mproc__object_spec block = { .what = "test", .name = "l" };
	struct mproc__object object;
	struct mproc_ref ref;
	void *mem;

	(void)state;
	assert_int_equal(mproc_string_open(&b, segment, "n"), -ENOENT);
	assert_null(b);
	assert_int_equal(mproc_string_create(&a, segment, "n",
					     MPROC_STRING_OPTS(.init = "a\0b", .init_len = 3)),
			 0);
	assert_int_equal(mproc_string_create(&b, segment, "n", NULL), -EEXIST);
	assert_int_equal(mproc_string_open(&b, segment, "n"), 0);
	assert_int_equal(mproc_string_len(b), 3);
	assert_int_equal(mproc_string_append(a, "c", 1, MPROC_FOREVER), 0);
	assert_int_equal(mproc_string_len(b), 4);
	b = mproc_string_close(b);
	assert_int_equal(mproc_string_open_or_create(&b, segment, "n", NULL), 0);
	b = mproc_string_close(b);
	assert_int_equal(mproc_string_open_or_create(&b, segment, "o", NULL), 1);
	assert_int_equal(mproc_string_len(b), 0);
	b = mproc_string_close(b);

	assert_int_equal(mproc_string_ref(a, &ref), 0);
	assert_int_equal(mproc_string_open_ref(&b, segment, &ref), 0);
	assert_int_equal(mproc_string_len(b), 4);
	b = mproc_string_close(b);
	ref.off++;
	assert_true(mproc_string_open_ref(&b, segment, &ref) < 0);
	assert_int_equal(mproc_segment_object(&mem, segment, "l", 8, NULL, NULL), 1);
	assert_int_equal(mproc_string_open(&b, segment, "l"), -EEXIST);
	block.kind = MPROC__KIND_BLOCK;
	assert_int_equal(mproc__object_open(&object, segment, &block), 0);
	ref = mproc__object_ref(segment, &object);
	assert_int_equal(mproc_string_open_ref(&b, segment, &ref), -EEXIST);
	assert_null(b);
	assert_null(mproc_string_close(a));
	assert_null(mproc_string_close(NULL));
}

static void bad_options_are_refused(void **state)
{
	struct {
		struct mproc_string_opts opts;
		uint64_t unknown;
	} later = { .opts.size = sizeof(later), .unknown = 1 };
	mproc_string *s = NULL;

	(void)state;
	assert_int_equal(mproc_string_create(&s, segment, NULL, MPROC_STRING_OPTS(.init_len = 1)),
			 -EINVAL);
	assert_int_equal(
		mproc_string_create(&s, segment, NULL, MPROC_STRING_OPTS(.capacity = UINT64_MAX)),
		-EINVAL);
	assert_int_equal(
		mproc_string_create(&s, segment, NULL, MPROC_STRING_OPTS(.capacity = 1 << 29)),
		-ENOSPC);
	assert_int_equal(mproc_string_create(&s, segment, NULL, &later.opts), -E2BIG);
	assert_int_equal(mproc_string_create(&s, segment, "", NULL), -EINVAL);
	assert_null(s);
}

static void a_string_costs_what_the_header_says(void **state)
{
	uint64_t before = used();
	mproc_string *s = NULL;

	(void)state;
	assert_int_equal(mproc_string_create(&s, segment, NULL, NULL), 0);
	assert_int_equal(used() - before, 512);
	mproc_string_close(s);
	before = used();
	assert_int_equal(mproc_string_create(&s, segment, NULL, MPROC_STRING_OPTS(.capacity = 700)),
			 0);
	assert_int_equal(used() - before, 1024);
	mproc_string_close(s);
	before = used();
	assert_int_equal(mproc_string_set(string, "0123456789", 10, MPROC_FOREVER), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(mproc_string_set(string, "9876543210", 10, MPROC_FOREVER), 0);
	assert_int_equal(used(), before);
	static unsigned char text[3000];
	assert_int_equal(mproc_string_set(string, text, 3000, MPROC_FOREVER), 0);
	assert_int_equal(used() - before, 8192);
	assert_int_equal(mproc_string_set(string, text, 3000, MPROC_FOREVER), 0);
	assert_int_equal(used() - before, 8192);
	assert_int_equal(mproc_string_truncate(string, 0, MPROC_FOREVER), 0);
	assert_int_equal(used(), before);
}

static void too_small_a_buffer_is_told_the_length(void **state)
{
	char buf[4] = "xyz";
	size_t len = 9;

	(void)state;
	assert_int_equal(mproc_string_set(string, "abcde", 5, MPROC_FOREVER), 0);
	assert_int_equal(mproc_string_get(string, buf, 4, &len, MPROC_FOREVER), -ENOBUFS);
	assert_int_equal(len, 5);
	assert_string_equal(buf, "xyz");
	assert_int_equal(mproc_string_get(string, NULL, 0, &len, MPROC_FOREVER), -ENOBUFS);
	assert_int_equal(mproc_string_get_range(string, 3, buf, 4, &len, MPROC_FOREVER), 0);
	assert_int_equal(len, 2);
	assert_memory_equal(buf, "de", 2);
	assert_int_equal(mproc_string_get_range(string, 5, buf, 4, &len, MPROC_FOREVER), 0);
	assert_int_equal(len, 0);
	assert_int_equal(mproc_string_get_range(string, 6, buf, 4, &len, MPROC_FOREVER), -EINVAL);
	assert_int_equal(mproc_string_replace(string, 6, 0, "x", 1, MPROC_FOREVER), -EINVAL);
	assert_int_equal(mproc_string_truncate(string, 6, MPROC_FOREVER), -EINVAL);
	assert_is("abcde", 5);
}

static void compare_orders_bytes_and_cas_wants_them_all(void **state)
{
	int r;

	(void)state;
	assert_int_equal(mproc_string_set(string, "b\0c", 3, MPROC_FOREVER), 0);
#define ORDER(text, n) (assert_int_equal(mproc_string_compare(string, text, n, &r, 0), 0), r)
	assert_true(ORDER("a", 1) > 0);
	assert_true(ORDER("c", 1) < 0);
	assert_true(ORDER("b\0", 2) > 0);
	assert_true(ORDER("b\0cc", 4) < 0);
	assert_true(ORDER("b\0\xff", 3) < 0);
	assert_true(ORDER(NULL, 0) > 0);
#undef ORDER
	assert_int_equal(mproc_string_cas(string, "b", 1, "x", 1, MPROC_FOREVER), 0);
	assert_int_equal(mproc_string_cas(string, "b\0d", 3, "x", 1, MPROC_FOREVER), 0);
	assert_is("b\0c", 3);
	assert_int_equal(mproc_string_cas(string, "b\0c", 3, "longer", 6, MPROC_FOREVER), 1);
	assert_is("longer", 6);
	assert_int_equal(mproc_string_cas(string, "longer", 6, NULL, 0, MPROC_FOREVER), 1);
	assert_is("", 0);
}

/* Every change there is, beside a plain buffer. */
static void it_holds_what_a_plain_buffer_would(void **state)
{
	static unsigned char model[MAX], bytes[MAX];
	uint64_t seed = t_seed(), before = used(), len = 0;

	(void)state;
	for (int turn = 0; turn < (t_long() ? 100000 : 4000); turn++) {
		uint64_t limit = t_random(&seed) % 4 ? 40 : 3000;
		uint64_t at = t_random(&seed) % (len + 1), n = t_random(&seed) % (limit + 1);
		uint64_t cut = t_random(&seed) % (len - at + 1);

		for (uint64_t i = 0; i < n; i++)
			bytes[i] = (unsigned char)t_random(&seed);
		switch (t_random(&seed) % 6) {
		case 0:
			at = 0;
			cut = len;
			break;
		case 1:
			at = len;
			cut = 0;
			break;
		case 2:
			n = 0;
			break;
		case 3:
			at = 0;
			n = 0;
			break;
		case 4:
			cut = n < len - at ? n : len - at;
			break;
		default:
			break;
		}
		if (len - cut + n > MAX)
			continue;
		if (n == 0 && at + cut == len)
			assert_int_equal(mproc_string_truncate(string, at, MPROC_FOREVER), 0);
		else if (at == len)
			assert_int_equal(mproc_string_append(string, bytes, n, MPROC_FOREVER), 0);
		else
			assert_int_equal(
				mproc_string_replace(string, at, cut, bytes, n, MPROC_FOREVER), 0);
		memmove(model + at + n, model + at + cut, len - at - cut);
		memcpy(model + at, bytes, n);
		len = len - cut + n;
		assert_is(model, len);
	}
	assert_int_equal(mproc_string_set(string, NULL, 0, MPROC_FOREVER), 0);
	assert_int_equal(used(), before);
}

static void full_segment_changes_nothing(void **state)
{
	static unsigned char big[1 << 20];
	uint64_t before;

	(void)state;
	assert_int_equal(mproc_string_set(string, "content", 7, MPROC_FOREVER), 0);
	before = used();
	assert_int_equal(mproc_string_set(string, big, sizeof(big), MPROC_FOREVER), -ENOSPC);
	assert_non_null(strstr(mproc_error_text(), "wanted"));
	assert_int_equal(mproc_string_append(string, big, sizeof(big), MPROC_FOREVER), -ENOSPC);
	assert_int_equal(mproc_string_replace(string, 0, 1, big, SIZE_MAX / 2, MPROC_FOREVER),
			 -ENOSPC);
	assert_is("content", 7);
	assert_int_equal(used(), before);
}

/* What was long may become short in a segment that is full. */
static void full_segment_lets_it_shrink(void **state)
{
	static unsigned char text[40000];
	mproc_string *filler = NULL;
	size_t n;

	(void)state;
	assert_int_equal(mproc_string_set(string, text, sizeof(text), MPROC_FOREVER), 0);
	for (n = 1 << 19; n; n /= 2)
		while (mproc_string_create(&filler, segment, NULL,
					   MPROC_STRING_OPTS(.capacity = n + 8)) == 0)
			mproc_string_close(filler);
	assert_int_equal(mproc_string_set(string, text, 1000, MPROC_FOREVER), 0);
	assert_int_equal(mproc_string_len(string), 1000);
}

/*
 * Waiting, locking
 */

struct waiter {
	mproc_string *string;
	uint64_t version;
	mproc_event *ready;
};

static void wait_for_change(void *arg)
{
	struct waiter *w = arg;
	char buf[4];
	size_t len;

	t_check(mproc_event_set(w->ready) == 0);
	t_check(mproc_string_wait(w->string, &w->version, mproc_after_ms(20000)) == 0);
	t_check(mproc_string_get(w->string, buf, 4, &len, MPROC_FOREVER) == 0 && len == 3);
}

static int init_event(void *object, void *arg)
{
	(void)arg;
	return mproc_event_init(object, 0);
}

static void wait_ends_with_a_change(void **state)
{
	struct waiter w = { .string = string, .version = mproc_string_version(string) };
	uint64_t version = w.version;
	void *event;
	pid_t pid;

	(void)state;
	assert_int_equal(mproc_string_wait(string, &version, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_string_wait(string, &version, mproc_after_ms(2)), -ETIMEDOUT);
	assert_int_equal(mproc_string_wait(string, &version, -1), -EINVAL);
	assert_int_equal(version, w.version);
	assert_int_equal(
		mproc_segment_object(&event, segment, "e", sizeof(mproc_event), init_event, NULL),
		1);
	w.ready = event;
	pid = t_spawn(wait_for_change, &w);
	assert_int_equal(mproc_event_wait(w.ready, mproc_after_ms(20000)), 0);
	usleep(20000);
	assert_int_equal(mproc_string_set(string, "new", 3, MPROC_FOREVER), 0);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(mproc_string_wait(string, &version, MPROC_NOWAIT), 0);
	assert_int_equal(version, mproc_string_version(string));
}

static void lock_and_die(void *arg)
{
	(void)arg;
	t_check(mproc_string_lock(string, MPROC_FOREVER) == 0);
	t_check(mproc_string_set(string, "half", 4, MPROC_FOREVER) == 0);
	raise(SIGKILL);
}

static void lock_excludes_others_and_tells_of_a_death(void **state)
{
	(void)state;
	assert_int_equal(mproc_string_unlock(string), -EPERM);
	assert_int_equal(mproc_string_consistent(string), -EPERM);
	assert_int_equal(mproc_string_lock(string, MPROC_FOREVER), 0);
	assert_int_equal(mproc_string_lock(string, MPROC_FOREVER), -EDEADLK);
	assert_int_equal(mproc_string_consistent(string), -EINVAL);
	assert_int_equal(mproc_string_append(string, "a", 1, MPROC_FOREVER), 0);
	assert_int_equal(mproc_string_append(string, "b", 1, MPROC_FOREVER), 0);
	assert_int_equal(mproc_string_unlock(string), 0);
	assert_is("ab", 2);

	assert_int_equal(t_reap(t_spawn(lock_and_die, NULL)), SIGKILL);
	/* A call of one step needs no news. */
	assert_is("half", 4);
	assert_int_equal(mproc_string_lock(string, MPROC_FOREVER), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_string_unlock(string), 0);
	assert_int_equal(mproc_string_lock(string, MPROC_FOREVER), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_string_consistent(string), 0);
	assert_int_equal(mproc_string_unlock(string), 0);
	assert_int_equal(mproc_string_lock(string, MPROC_FOREVER), 0);
	assert_int_equal(mproc_string_unlock(string), 0);
}

static void try_while_locked(void *arg)
{
	size_t len;
	char buf[9];

	(void)arg;
	t_check(mproc_string_get(string, buf, 9, &len, MPROC_NOWAIT) == -EAGAIN);
	t_check(mproc_string_set(string, "x", 1, mproc_after_ms(5)) == -ETIMEDOUT);
	t_check(mproc_string_len(string) == 3);
}

static void others_wait_for_the_lock(void **state)
{
	(void)state;
	assert_int_equal(mproc_string_lock(string, MPROC_FOREVER), 0);
	assert_int_equal(mproc_string_set(string, "abc", 3, MPROC_FOREVER), 0);
	assert_int_equal(t_reap(t_spawn(try_while_locked, NULL)), 0);
	assert_int_equal(mproc_string_unlock(string), 0);
	assert_is("abc", 3);
}

static void removal_frees_all_and_handles_go_stale(void **state)
{
	static unsigned char text[5000];
	struct mproc__object object;
	uint64_t before = used(), version;
	mproc_string *s = NULL;
	size_t len;

	(void)state;
	assert_int_equal(mproc_string_create(&s, segment, "gone", NULL), 0);
	assert_int_equal(mproc_string_set(s, text, sizeof(text), MPROC_FOREVER), 0);
	object = object_of("gone");
	version = mproc_string_version(s);
	assert_int_equal(mproc__object_remove(segment, &object), 0);
	assert_int_equal(used(), before);
	assert_int_equal(mproc_string_get(s, text, sizeof(text), &len, MPROC_FOREVER), -ESTALE);
	assert_int_equal(mproc_string_set(s, "x", 1, MPROC_FOREVER), -ESTALE);
	assert_int_equal(mproc_string_lock(s, MPROC_FOREVER), -ESTALE);
	assert_int_equal(mproc_string_wait(s, &version, MPROC_FOREVER), -ESTALE);
	assert_non_null(strstr(mproc_error_text(), "removed"));
	mproc_string_close(s);
	assert_int_equal(used(), before);
}

/*
 * Scribbled memory
 */

/* One that was scribbled in word @i behind the lock: calls end, and say what they find. */
static void try_scribbled(size_t i, uint64_t value)
{
	static unsigned char text[600], buf[4096];
	mproc_string *s = NULL, *other = NULL;
	struct mproc__object object;
	_Atomic(uint64_t) *word;
	size_t len;
	int r;

	assert_int_equal(mproc_string_create(&s, segment, "scribbled", NULL), 0);
	assert_int_equal(mproc_string_set(s, text, sizeof(text), MPROC_FOREVER), 0);
	object = object_of("scribbled");
	word = object.mem;
	atomic_store(&word[i], value);
	r = mproc_string_get(s, buf, sizeof(buf), &len, mproc_after_ms(100));
	assert_true(r == 0 || r == -EBADMSG || r == -ENOBUFS);
	r = mproc_string_append(s, "x", 1, mproc_after_ms(100));
	assert_true(r == 0 || r == -EBADMSG || r == -ENOSPC);
	r = mproc_string_set(s, "abc", 3, mproc_after_ms(100));
	assert_true(r == 0 || r == -EBADMSG || r == -ENOSPC);
	r = mproc_string_open(&other, segment, "scribbled");
	assert_true(r == (i == 0 ? -EBADMSG : 0));
	mproc_string_close(other);
	mproc_string_close(s);
	assert_int_equal(mproc__object_remove(segment, &object), 0);
}

static void scribbled_words_are_errors_or_do_no_harm(void **state)
{
	static const uint64_t values[] = { 1, 0xff, 8, 4096, UINT64_MAX, INT64_MAX, 1 << 20 };

	(void)state;
	/* The lock is left alone: who forges an owner makes others wait for him, rightly. */
	for (size_t i = 0; i < sizeof(struct mproc__body_shared) / 8; i++)
		for (size_t k = 0; k < sizeof(values) / sizeof(values[0]); k++)
			if (i < 1 || i > 2)
				try_scribbled(i, values[k]);
	assert_int_equal(mproc_string_set(string, "whole", 5, MPROC_FOREVER), 0);
	assert_is("whole", 5);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(open_finds_what_create_made),
		TEST(bad_options_are_refused),
		TEST(a_string_costs_what_the_header_says),
		TEST(too_small_a_buffer_is_told_the_length),
		TEST(compare_orders_bytes_and_cas_wants_them_all),
		TEST(it_holds_what_a_plain_buffer_would),
		TEST(full_segment_changes_nothing),
		TEST(full_segment_lets_it_shrink),
		TEST(wait_ends_with_a_change),
		TEST(lock_excludes_others_and_tells_of_a_death),
		TEST(others_wait_for_the_lock),
		TEST(removal_frees_all_and_handles_go_stale),
		TEST(scribbled_words_are_errors_or_do_no_harm),
	};

	return cmocka_run_group_tests_name("string", tests, NULL, NULL);
}
