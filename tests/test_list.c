/* SPDX-License-Identifier: MIT */

/*
 * mproc/list.h, seen from outside, and what its memory is
 */

#include <mproc/list.h>

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/string.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/list.h"
#include "tests/support/child.h"

#define FOREVER MPROC_FOREVER
#define TEXT    "a text with a block of its own"

static mproc_segment *segment;
static mproc_list *list;

static int setup(void **state)
{
	(void)state;
	if (mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 2 << 20)) < 0)
		return -1;
	return mproc_list_create(&list, segment, "l", NULL);
}

static int teardown(void **state)
{
	(void)state;
	list = mproc_list_close(list);
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
		.what = "test", .name = name, .kind = MPROC__KIND_LIST, .type = MPROC__BODY_LAYOUT
	};
	struct mproc__object object;

	assert_int_equal(mproc__object_open(&object, segment, &spec), 0);
	return object;
}

static bool same(const struct mproc_any *a, const struct mproc_any *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == MPROC_ANY_FLOAT)
		return !memcmp(&a->as.f, &b->as.f, sizeof(a->as.f));
	return mproc_any_equal(a, b);
}

/* The list is what @want says, however one looks at it. */
static void assert_is(const struct mproc_any *want, uint64_t n)
{
	static struct mproc_any got[4000];
	static unsigned char buf[1 << 20];
	struct mproc_list_iter it = MPROC_LIST_ITER;
	uint64_t n_got = 7, i = 0;
	struct mproc_any any;
	size_t len;

	assert_int_equal(mproc_list_len(list), n);
	assert_int_equal(mproc_list_copy_out(list, 0, UINT64_MAX, got, &n_got, buf, sizeof(buf),
					     &len, FOREVER),
			 0);
	assert_int_equal(n_got, n);
	for (i = 0; i < n; i++)
		assert_true(same(&got[i], &want[i]));
	for (i = 0; mproc_list_next(list, &it, &any, buf, sizeof(buf), NULL, FOREVER) > 0; i++)
		assert_true(i < n && same(&any, &want[i]));
	assert_int_equal(i, n);
	assert_false(mproc_list_changed(list, &it));
}

#define ASSERT_IS(...) \
	do { \
		const struct mproc_any want_[] = { __VA_ARGS__ }; \
		assert_is(want_, sizeof(want_) / sizeof(want_[0])); \
	} while (0)

static void open_finds_what_create_made(void **state)
{
	const struct mproc_any init[] = { MPROC_ANY(1), MPROC_ANY(TEXT), mproc_any_none() };
	mproc_list *a = NULL, *b = NULL;
	mproc_string *string = NULL;
	struct mproc_ref ref;
	char buf[64];
	struct mproc_any any;

	(void)state;
	assert_int_equal(mproc_list_open(&b, segment, "n"), -ENOENT);
	assert_int_equal(
		mproc_list_create(&a, segment, "n", MPROC_LIST_OPTS(.init = init, .n_init = 3)), 0);
	assert_int_equal(mproc_list_create(&b, segment, "n", NULL), -EEXIST);
	assert_null(b);
	assert_int_equal(mproc_list_open(&b, segment, "n"), 0);
	assert_int_equal(mproc_list_len(b), 3);
	assert_int_equal(mproc_list_get(b, 1, &any, buf, sizeof(buf), NULL, FOREVER), 0);
	assert_true(same(&any, &init[1]));
	b = mproc_list_close(b);
	assert_int_equal(mproc_list_open_or_create(&b, segment, "n", NULL), 0);
	b = mproc_list_close(b);
	assert_int_equal(mproc_list_open_or_create(&b, segment, "o", NULL), 1);
	b = mproc_list_close(b);

	/* One list in another: by reference. */
	assert_int_equal(mproc_list_ref(a, &ref), 0);
	assert_int_equal(mproc_list_append(list, ref, FOREVER), 0);
	assert_int_equal(mproc_list_get(list, -1, &any, NULL, 0, NULL, FOREVER), 0);
	assert_int_equal(any.kind, MPROC_ANY_REF);
	assert_int_equal(mproc_list_open_ref(&b, segment, &any.as.ref), 0);
	assert_int_equal(mproc_list_len(b), 3);
	b = mproc_list_close(b);
	any.as.ref.generation++;
	assert_true(mproc_list_open_ref(&b, segment, &any.as.ref) < 0);
	assert_int_equal(mproc_string_create(&string, segment, "s", NULL), 0);
	assert_int_equal(mproc_list_open(&b, segment, "s"), -EEXIST);
	assert_int_equal(mproc_string_ref(string, &ref), 0);
	assert_int_equal(mproc_list_open_ref(&b, segment, &ref), -EEXIST);
	assert_null(b);
	mproc_string_close(string);
	assert_null(mproc_list_close(a));
	assert_null(mproc_list_close(NULL));
}

static void bad_options_and_items_are_refused(void **state)
{
	const struct mproc_any bad = mproc_any_of(77, NULL, 0), empty = mproc_any_bytes(NULL, 5);
	const struct mproc_any items[] = { MPROC_ANY(TEXT), bad };
	uint64_t before = used();
	mproc_list *l = NULL;

	(void)state;
	assert_int_equal(
		mproc_list_create(&l, segment, NULL, MPROC_LIST_OPTS(.capacity = UINT64_MAX)),
		-EINVAL);
	assert_int_equal(mproc_list_create(&l, segment, NULL, MPROC_LIST_OPTS(.n_init = 1)),
			 -EINVAL);
	assert_int_equal(
		mproc_list_create(&l, segment, NULL, MPROC_LIST_OPTS(.init = items, .n_init = 2)),
		-EINVAL);
	assert_int_equal(mproc_list_create(&l, segment, NULL, MPROC_LIST_OPTS(.capacity = 1 << 24)),
			 -ENOSPC);
	assert_null(l);
	assert_int_equal(mproc_list_append(list, bad, FOREVER), -EINVAL);
	assert_int_equal(mproc_list_append(list, empty, FOREVER), -EINVAL);
	assert_int_equal(mproc_list_extend(list, items, 2, FOREVER), -EINVAL);
	assert_int_equal(mproc_list_len(list), 0);
	assert_int_equal(used(), before);
}

static void items_of_all_kinds_come_back_as_they_were(void **state)
{
	static unsigned char big[9000];
	const struct mproc_ref ref = { 1, 2, 3 };
	const struct mproc_any items[] = {
		mproc_any_none(),
		MPROC_ANY((bool)true),
		MPROC_ANY((bool)false),
		MPROC_ANY(INT64_MIN),
		MPROC_ANY(UINT64_MAX),
		MPROC_ANY(-0.0),
		MPROC_ANY(NAN),
		MPROC_ANY(""),
		MPROC_ANY("14 bytes long."),
		MPROC_ANY("15 bytes, no..."),
		MPROC_ANY("Gr\xc3\xbc\xc3\x9f Gott, \xe2\x82\xac \xf0\x9f\x98\x80"),
		mproc_any_of(MPROC_ANY_STR, "zero\0\0", 6),
		mproc_any_bytes("\0\xff", 2),
		mproc_any_bytes("a long one that ends in zeros\0\0\0", 32),
		mproc_any_bytes(big, sizeof(big)),
		mproc_any_of(MPROC_ANY_PACK, "\x01", 1),
		MPROC_ANY(ref),
	};
	const uint64_t n = sizeof(items) / sizeof(items[0]);
	static unsigned char buf[9000];
	uint64_t before = used();
	struct mproc_any any;
	uint32_t kind;
	size_t len, kind_len;

	(void)state;
	memset(big, 0x5a, sizeof(big));
	for (uint64_t i = 0; i < n; i++) {
		assert_int_equal(mproc_list_append(list, items[i], FOREVER), 0);
		assert_int_equal(mproc_list_get(list, -1, &any, buf, sizeof(buf), &len, FOREVER),
				 0);
		assert_true(same(&any, &items[i]));
		assert_int_equal(mproc_list_kind(list, -1, &kind, &kind_len, FOREVER), 0);
		assert_int_equal(kind, items[i].kind);
		assert_int_equal(kind_len, len);
	}
	/* Each replaced by each other, whatever kind and length. */
	for (uint64_t i = 0; i < n; i++) {
		for (uint64_t k = 0; k < n; k++) {
			assert_int_equal(mproc_list_set(list, (int64_t)i, items[k], FOREVER), 0);
			assert_int_equal(mproc_list_get(list, (int64_t)i, &any, buf, sizeof(buf),
							&len, FOREVER),
					 0);
			assert_true(same(&any, &items[k]));
		}
	}
	assert_int_equal(mproc_list_clear(list, FOREVER), 0);
	assert_int_equal(used(), before);
}

static void a_list_costs_what_the_header_says(void **state)
{
	uint64_t before = used();
	mproc_list *l = NULL;

	(void)state;
	assert_int_equal(mproc_list_create(&l, segment, NULL, NULL), 0);
	assert_int_equal(used() - before, 256 + 16 * 16);
	mproc_list_close(l);
	before = used();
	assert_int_equal(mproc_list_create(&l, segment, NULL, MPROC_LIST_OPTS(.capacity = 48)), 0);
	assert_int_equal(used() - before, 256 + 48 * 16);
	mproc_list_close(l);
	before = used();
	for (int i = 0; i < 16; i++)
		assert_int_equal(mproc_list_append(list, "fourteen bytes", FOREVER), 0);
	assert_int_equal(used(), before);
	assert_int_equal(mproc_list_append(list, 17, FOREVER), 0);
	assert_int_equal(used() - before, 1024); /* room for 34, rounded up */
	for (int i = 17; i < 64; i++)
		assert_int_equal(mproc_list_append(list, i, FOREVER), 0);
	assert_int_equal(used() - before, 1024);
	assert_int_equal(mproc_list_append(list, TEXT, FOREVER), 0);
	assert_int_equal(used() - before, 4096 + 64); /* 130 are more than 2 KiB */
	assert_int_equal(mproc_list_set(list, -1, mproc_any_none(), FOREVER), 0);
	assert_int_equal(used() - before, 4096);
	assert_int_equal(mproc_list_clear(list, FOREVER), 0);
	assert_int_equal(used(), before);
}

static void indices_are_those_of_python(void **state)
{
	struct mproc_any any = MPROC_ANY(99);

	(void)state;
	assert_int_equal(mproc_list_pop(list, -1, &any, NULL, 0, NULL, FOREVER), -ENOENT);
	assert_int_equal(mproc_list_get(list, 0, &any, NULL, 0, NULL, FOREVER), -EINVAL);
	assert_int_equal(mproc_list_get(list, -1, &any, NULL, 0, NULL, FOREVER), -EINVAL);
	for (int i = 0; i < 3; i++)
		assert_int_equal(mproc_list_append(list, i, FOREVER), 0);
	assert_int_equal(mproc_list_get(list, 3, &any, NULL, 0, NULL, FOREVER), -EINVAL);
	assert_non_null(strstr(mproc_error_text(), "item 3, it has 3"));
	assert_int_equal(mproc_list_get(list, -4, &any, NULL, 0, NULL, FOREVER), -EINVAL);
	assert_int_equal(mproc_list_get(list, INT64_MIN, &any, NULL, 0, NULL, FOREVER), -EINVAL);
	assert_int_equal(mproc_list_set(list, 3, 1, FOREVER), -EINVAL);
	assert_int_equal(mproc_list_insert(list, 4, 1, FOREVER), -EINVAL);
	assert_int_equal(mproc_list_delete(list, -4, 1, FOREVER), -EINVAL);
	assert_int_equal(mproc_list_pop(list, 3, &any, NULL, 0, NULL, FOREVER), -EINVAL);
	assert_int_equal(any.as.i, 99);
	ASSERT_IS(MPROC_ANY(0), MPROC_ANY(1), MPROC_ANY(2));
	assert_int_equal(mproc_list_get(list, -3, &any, NULL, 0, NULL, FOREVER), 0);
	assert_int_equal(any.as.i, 0);
	assert_int_equal(mproc_list_insert(list, -1, "x", FOREVER), 0);
	assert_int_equal(mproc_list_insert(list, 4, "end", FOREVER), 0);
	assert_int_equal(mproc_list_insert(list, 0, "begin", FOREVER), 0);
	ASSERT_IS(MPROC_ANY("begin"), MPROC_ANY(0), MPROC_ANY(1), MPROC_ANY("x"), MPROC_ANY(2),
		  MPROC_ANY("end"));
	assert_int_equal(mproc_list_delete(list, -2, UINT64_MAX, FOREVER), 0);
	assert_int_equal(mproc_list_pop(list, 1, &any, NULL, 0, NULL, FOREVER), 0);
	assert_int_equal(any.as.i, 0);
	assert_int_equal(mproc_list_delete(list, 3, 1, FOREVER), 0);
	ASSERT_IS(MPROC_ANY("begin"), MPROC_ANY(1), MPROC_ANY("x"));
}

static void too_small_a_buffer_is_told_the_length(void **state)
{
	struct mproc_any any = MPROC_ANY(99), items[3];
	char buf[8] = "";
	uint64_t n = 9;
	size_t len = 0;

	(void)state;
	assert_int_equal(mproc_list_append(list, TEXT, FOREVER), 0);
	assert_int_equal(mproc_list_append(list, "short", FOREVER), 0);
	assert_int_equal(mproc_list_get(list, 0, &any, buf, 8, &len, FOREVER), -ENOBUFS);
	assert_int_equal(len, strlen(TEXT));
	assert_int_equal(mproc_list_pop(list, 0, &any, buf, 8, &len, FOREVER), -ENOBUFS);
	assert_int_equal(mproc_list_get(list, 1, &any, buf, 4, &len, FOREVER), -ENOBUFS);
	assert_int_equal(len, 5);
	assert_int_equal(any.as.i, 99);
	assert_string_equal(buf, "");
	assert_int_equal(mproc_list_copy_out(list, 0, 2, items, &n, buf, 8, &len, FOREVER),
			 -ENOBUFS);
	assert_int_equal(len, strlen(TEXT) + 5);
	assert_int_equal(n, 9);
	assert_int_equal(mproc_list_copy_out(list, 1, 9, items, &n, buf, 8, &len, FOREVER), 0);
	assert_int_equal(n, 1);
	assert_int_equal(mproc_list_copy_out(list, 2, 9, items, &n, buf, 8, &len, FOREVER), 0);
	assert_int_equal(n, 0);
	assert_int_equal(mproc_list_copy_out(list, 3, 9, items, &n, buf, 8, &len, FOREVER),
			 -EINVAL);
	assert_int_equal(mproc_list_len(list), 2);
}

static void values_are_found_as_in_python(void **state)
{
	uint64_t n = 0;

	(void)state;
	assert_int_equal(mproc_list_append(list, 1, FOREVER), 0);
	assert_int_equal(mproc_list_append(list, TEXT, FOREVER), 0);
	assert_int_equal(mproc_list_append(list, (bool)true, FOREVER), 0);
	assert_int_equal(mproc_list_append(list, NAN, FOREVER), 0);
	assert_int_equal(mproc_list_append(list, 1.0, FOREVER), 0);
	assert_int_equal(mproc_list_count(list, 1u, &n, FOREVER), 0);
	assert_int_equal(n, 3);
	assert_int_equal(mproc_list_count(list, NAN, &n, FOREVER), 0);
	assert_int_equal(n, 0);
	assert_int_equal(mproc_list_index(list, TEXT, 0, &n, FOREVER), 0);
	assert_int_equal(n, 1);
	assert_int_equal(mproc_list_index(list, 1, 1, &n, FOREVER), 0);
	assert_int_equal(n, 2);
	assert_int_equal(mproc_list_index(list, TEXT, 2, &n, FOREVER), -ENOENT);
	assert_int_equal(mproc_list_index(list, TEXT, 6, &n, FOREVER), -EINVAL);
	assert_int_equal(n, 2);
	assert_int_equal(mproc_list_remove(list, 1.0, FOREVER), 0);
	assert_int_equal(mproc_list_remove(list, "none", FOREVER), -ENOENT);
	ASSERT_IS(MPROC_ANY(TEXT), MPROC_ANY((bool)true), MPROC_ANY(NAN), MPROC_ANY(1.0));
}

static int by_tens(const struct mproc_any *a, const struct mproc_any *b, void *arg)
{
	++*(int *)arg;
	return (int)(a->as.i / 10 - b->as.i / 10);
}

static int meddle(const struct mproc_any *a, const struct mproc_any *b, void *arg)
{
	(void)a;
	(void)b;
	(void)arg;
	return mproc_list_append(list, 1, FOREVER) < 0;
}

/* Says nothing but nonsense. */
static int at_random(const struct mproc_any *a, const struct mproc_any *b, void *arg)
{
	(void)a;
	(void)b;
	return (int)(t_random(arg) % 3) - 1;
}

static void sort_is_stable_and_reverse_turns_round(void **state)
{
	uint64_t seed = t_seed();
	int64_t last = INT64_MIN;
	struct mproc_any any;
	int n_calls = 0;

	(void)state;
	assert_int_equal(mproc_list_sort(list, NULL, NULL, FOREVER), 0);
	assert_int_equal(mproc_list_reverse(list, FOREVER), 0);
	assert_int_equal(mproc_list_append(list, TEXT, FOREVER), 0);
	assert_int_equal(mproc_list_append(list, 0.5, FOREVER), 0);
	assert_int_equal(mproc_list_append(list, "a", FOREVER), 0);
	assert_int_equal(mproc_list_append(list, mproc_any_none(), FOREVER), 0);
	assert_int_equal(mproc_list_append(list, -3, FOREVER), 0);
	assert_int_equal(mproc_list_sort(list, NULL, NULL, FOREVER), 0);
	ASSERT_IS(mproc_any_none(), MPROC_ANY(-3), MPROC_ANY(0.5), MPROC_ANY("a"), MPROC_ANY(TEXT));
	assert_int_equal(mproc_list_reverse(list, FOREVER), 0);
	ASSERT_IS(MPROC_ANY(TEXT), MPROC_ANY("a"), MPROC_ANY(0.5), MPROC_ANY(-3), mproc_any_none());
	assert_int_equal(mproc_list_sort(list, meddle, NULL, FOREVER), -EBUSY);
	assert_int_equal(mproc_list_clear(list, FOREVER), 0);

	/* The number of the item in the last digit, over and over: it grows among equals. */
	for (int i = 0; i < 1000; i++)
		assert_int_equal(
			mproc_list_append(list, (int)(t_random(&seed) % 9) * 10 + i / 112, FOREVER),
			0);
	assert_int_equal(mproc_list_sort(list, by_tens, &n_calls, FOREVER), 0);
	assert_true(n_calls < 10000);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(mproc_list_get(list, i, &any, NULL, 0, NULL, FOREVER), 0);
		assert_true(any.as.i >= last);
		last = any.as.i;
	}
	assert_int_equal(mproc_list_sort(list, at_random, &seed, FOREVER), 0);
	assert_int_equal(mproc_list_len(list), 1000);
}

/* Every change there is, beside a plain array. */

#define MODEL_MAX 3000

static struct mproc_any model[MODEL_MAX];
static uint64_t n_model;

static struct mproc_any random_item(uint64_t *seed)
{
	static unsigned char text[2000];
	uint64_t dice = t_random(seed) % 10;

	if (dice < 4)
		return MPROC_ANY((int64_t)t_random(seed));
	if (dice < 5)
		return mproc_any_none();
	/* All texts lie in one place: which part it is says which one it is. */
	if (!text[0])
		for (size_t i = 0; i < sizeof(text); i++)
			text[i] = (unsigned char)(1 + t_random(seed) % 255);
	return mproc_any_bytes(text + t_random(seed) % 1000,
			       t_random(seed) % (dice < 9 ? 40 : 1000));
}

static void random_change(uint64_t *seed)
{
	uint64_t i = t_random(seed) % (n_model + 1), n = 0, n_more = t_random(seed) % 4;
	struct mproc_any more[4], any;
	static char buf[1000];

	for (uint64_t k = 0; k < n_more; k++)
		more[k] = random_item(seed);
	switch (t_random(seed) % 8) {
	case 0:
		i = n_model;
		break;
	case 1:
		i = 0;
		break;
	case 2:
		if (!n_model)
			return;
		i = t_random(seed) % 2 ? 0 : n_model - 1;
		n = 1;
		n_more = 0;
		break;
	case 3:
		n = t_random(seed) % (n_model - i + 1);
		n_more = 0;
		break;
	case 4:
		n = 1;
		n_more = 1;
		more[0] = random_item(seed);
		break;
	default:
		n = t_random(seed) % 4;
	}
	if (n > n_model - i)
		n = n_model - i;
	if (n_model - n + n_more > MODEL_MAX)
		return;
	if (n == 1 && !n_more) {
		assert_int_equal(
			mproc_list_pop(list, (int64_t)i, &any, buf, sizeof(buf), NULL, FOREVER), 0);
		assert_true(same(&any, &model[i]));
	} else if (n == 1 && n_more == 1) {
		assert_int_equal(mproc_list_set(list, (int64_t)i, more[0], FOREVER), 0);
	} else {
		assert_int_equal(mproc_list_replace(list, (int64_t)i, n, more, n_more, FOREVER), 0);
	}
	memmove(model + i + n_more, model + i + n, (n_model - i - n) * sizeof(model[0]));
	memcpy(model + i, more, n_more * sizeof(model[0]));
	n_model = n_model - n + n_more;
}

static void it_holds_what_a_plain_array_would(void **state)
{
	uint64_t seed = t_seed(), before = used();

	(void)state;
	n_model = 0;
	for (int turn = 0; turn < (t_long() ? 50000 : 3000); turn++) {
		random_change(&seed);
		if (t_random(&seed) % 100 == 0)
			for (int i = 0; i < 60; i++) {
				model[n_model] = random_item(&seed);
				if (n_model == MODEL_MAX - 1)
					break;
				assert_int_equal(mproc_list_append(list, &model[n_model], FOREVER),
						 0);
				n_model++;
			}
		assert_is(model, n_model);
	}
	assert_int_equal(mproc_list_clear(list, FOREVER), 0);
	assert_int_equal(used(), before);
}

static void full_segment_changes_nothing(void **state)
{
	static unsigned char big[1 << 20];
	struct mproc_any items[3] = { MPROC_ANY(TEXT), mproc_any_bytes(big, 600000),
				      mproc_any_bytes(big, sizeof(big)) };
	uint64_t before = used(), n = 0;
	int r;

	(void)state;
	assert_int_equal(mproc_list_append(list, items[2], FOREVER), 0);
	assert_int_equal(mproc_list_extend(list, items, 3, FOREVER), -ENOSPC);
	assert_int_equal(mproc_list_set(list, 0, items[2], FOREVER), -ENOSPC);
	assert_int_equal(mproc_list_replace(list, 0, 1, items, 3, FOREVER), -ENOSPC);
	assert_int_equal(mproc_list_extend(list, items, UINT64_MAX, FOREVER), -ENOSPC);
	assert_int_equal(mproc_list_len(list), 1);
	while ((r = mproc_list_append(list, TEXT, FOREVER)) == 0)
		n++;
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(mproc_list_len(list), n + 1);
	/* What needs no room is still possible. */
	assert_int_equal(mproc_list_set(list, 0, 1, FOREVER), 0);
	assert_int_equal(mproc_list_delete(list, -5, 5, FOREVER), 0);
	assert_int_equal(mproc_list_clear(list, FOREVER), 0);
	assert_int_equal(used(), before);
}

static void iteration_says_whether_the_list_was_changed(void **state)
{
	struct mproc_list_iter it = MPROC_LIST_ITER;
	struct mproc_any any;
	char buf[4];
	size_t len;

	(void)state;
	assert_false(mproc_list_changed(list, &it));
	assert_int_equal(mproc_list_append(list, 1, FOREVER), 0);
	assert_int_equal(mproc_list_append(list, "long", FOREVER), 0);
	assert_int_equal(mproc_list_next(list, &it, &any, buf, 4, NULL, FOREVER), 1);
	assert_int_equal(mproc_list_next(list, &it, &any, buf, 3, &len, FOREVER), -ENOBUFS);
	assert_int_equal(len, 4);
	assert_int_equal(mproc_list_next(list, &it, &any, buf, 4, &len, FOREVER), 1);
	assert_memory_equal(any.as.bytes.ptr, "long", 4);
	assert_int_equal(mproc_list_next(list, &it, &any, buf, 4, NULL, FOREVER), 0);
	assert_false(mproc_list_changed(list, &it));
	assert_int_equal(mproc_list_append(list, 3, FOREVER), 0);
	assert_true(mproc_list_changed(list, &it));
	assert_int_equal(mproc_list_next(list, &it, &any, buf, 4, NULL, FOREVER), 1);
	assert_int_equal(any.as.i, 3);
}

/*
 * Other processes
 */

static void lock_and_die(void *arg)
{
	(void)arg;
	t_check(mproc_list_lock(list, FOREVER) == 0);
	t_check(mproc_list_append(list, "half", FOREVER) == 0);
	raise(SIGKILL);
}

static void try_while_locked(void *arg)
{
	struct mproc_any any;
	char buf[64];

	(void)arg;
	/* Neither the short way nor the long one shows what is between lock and unlock. */
	t_check(mproc_list_get(list, 0, &any, buf, 64, NULL, MPROC_NOWAIT) == -EAGAIN);
	t_check(mproc_list_get(list, 1, &any, buf, 64, NULL, MPROC_NOWAIT) == -EAGAIN);
	t_check(mproc_list_append(list, 1, mproc_after_ms(5)) == -ETIMEDOUT);
	t_check(mproc_list_append(list, 1, -1) == -EINVAL);
	t_check(mproc_list_len(list) == 2);
}

static void lock_makes_one_step_of_many(void **state)
{
	(void)state;
	assert_int_equal(mproc_list_unlock(list), -EPERM);
	assert_int_equal(mproc_list_consistent(list), -EPERM);
	assert_int_equal(mproc_list_lock(list, FOREVER), 0);
	assert_int_equal(mproc_list_lock(list, FOREVER), -EDEADLK);
	assert_int_equal(mproc_list_consistent(list), -EINVAL);
	assert_int_equal(mproc_list_append(list, 1, FOREVER), 0);
	assert_int_equal(mproc_list_append(list, TEXT, FOREVER), 0);
	assert_int_equal(t_reap(t_spawn(try_while_locked, NULL)), 0);
	ASSERT_IS(MPROC_ANY(1), MPROC_ANY(TEXT));
	assert_int_equal(mproc_list_unlock(list), 0);

	assert_int_equal(t_reap(t_spawn(lock_and_die, NULL)), SIGKILL);
	ASSERT_IS(MPROC_ANY(1), MPROC_ANY(TEXT), MPROC_ANY("half"));
	assert_int_equal(mproc_list_lock(list, FOREVER), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_list_unlock(list), 0);
	assert_int_equal(mproc_list_lock(list, FOREVER), MPROC_MUTEX_INHERITED);
	assert_int_equal(mproc_list_consistent(list), 0);
	assert_int_equal(mproc_list_unlock(list), 0);
	assert_int_equal(mproc_list_lock(list, FOREVER), 0);
	assert_int_equal(mproc_list_unlock(list), 0);
}

#define PAIRS 20000

/* Items 0 and 1 are always set together: who sees two that differ saw half a step. */
static void set_pairs(void *arg)
{
	(void)arg;
	for (int i = 1; i <= PAIRS; i++) {
		const struct mproc_any pair[] = { MPROC_ANY(i), MPROC_ANY(i) };

		t_check(mproc_list_replace(list, 0, 2, pair, 2, FOREVER) == 0);
		t_check(mproc_list_set(list, 2, i, FOREVER) == 0);
	}
}

static void readers_see_no_half_of_a_change(void **state)
{
	const struct mproc_any first[] = { MPROC_ANY(0), MPROC_ANY(0), MPROC_ANY(0) };
	struct mproc_any got[3], any;
	int64_t last = 0, last_set = 0;
	uint64_t n;
	size_t len;
	pid_t pid;

	(void)state;
	assert_int_equal(mproc_list_extend(list, first, 3, FOREVER), 0);
	pid = t_spawn(set_pairs, NULL);
	while (last_set < PAIRS) {
		assert_int_equal(mproc_list_copy_out(list, 0, 3, got, &n, NULL, 0, &len, FOREVER),
				 0);
		assert_int_equal(n, 3);
		assert_int_equal(got[0].as.i, got[1].as.i);
		assert_true(got[2].as.i == got[0].as.i || got[2].as.i == got[0].as.i - 1);
		/* Without the lock: never backwards, and never anything else. */
		for (int k = 0; k < 20; k++) {
			assert_int_equal(mproc_list_get(list, k & 1, &any, NULL, 0, NULL, FOREVER),
					 0);
			assert_true(any.kind == MPROC_ANY_INT && any.as.i >= last);
			last = any.as.i;
			assert_int_equal(mproc_list_get(list, -1, &any, NULL, 0, NULL, FOREVER), 0);
			assert_true(any.kind == MPROC_ANY_INT && any.as.i >= last_set);
			last_set = any.as.i;
		}
	}
	assert_int_equal(t_reap(pid), 0);
}

/* What goes in comes out, of all threads together. */
static _Atomic(int64_t) balance;

static void *put_and_take(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	struct mproc_any any;
	char buf[64];

	for (int i = 0; i < (t_sanitized() ? 1000 : 5000); i++) {
		switch (t_random(&seed) % 5) {
		case 0:
			t_check(mproc_list_append(list, TEXT, FOREVER) == 0);
			atomic_fetch_add(&balance, 1);
			break;
		case 1:
			t_check(mproc_list_append(list, i, FOREVER) == 0);
			atomic_fetch_add(&balance, 1);
			break;
		case 2:
			if (mproc_list_set(list, 0, i & 1 ? MPROC_ANY(i) : MPROC_ANY(TEXT),
					   FOREVER) == 0)
				t_check(mproc_list_reverse(list, FOREVER) == 0);
			break;
		case 3:
			if (mproc_list_pop(list, i & 1 ? 0 : -1, &any, buf, sizeof(buf), NULL,
					   FOREVER) == 0)
				atomic_fetch_sub(&balance, 1);
			break;
		default:
			if (mproc_list_get(list, -1, &any, buf, sizeof(buf), NULL, FOREVER) == 0)
				t_check(any.kind == MPROC_ANY_INT ||
					(any.kind == MPROC_ANY_STR &&
					 any.as.bytes.len == strlen(TEXT) &&
					 !memcmp(buf, TEXT, strlen(TEXT))));
		}
	}
	return NULL;
}

static void threads_share_a_handle(void **state)
{
	uint64_t seed = t_seed(), before = used();
	pthread_t threads[3];

	(void)state;
	atomic_store(&balance, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, put_and_take,
						(void *)(uintptr_t)t_random(&seed)),
				 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(mproc_list_len(list), atomic_load(&balance));
	assert_int_equal(mproc_list_clear(list, FOREVER), 0);
	assert_int_equal(used(), before);
}

/* All free blocks of the size that a list has, filled: whoever writes there is seen. */
static size_t fill(uint64_t offs[], size_t cap)
{
	struct mproc__self *me = mproc__self(segment->arena, "fill");
	size_t n = 0;

	while (n < cap && mproc__arena_alloc(segment, me, 512, false, &offs[n]) == 0) {
		uint64_t *words = mproc__segment_at(segment, offs[n++], 512);

		/* What an owner's word of the calling thread looks like. */
		for (int i = 0; i < 64; i++)
			words[i] = me->word;
	}
	return n;
}

static void empty(uint64_t offs[], size_t n)
{
	struct mproc__self *me = mproc__self(segment->arena, "empty");

	for (size_t i = 0; i < n; i++) {
		const uint64_t *words = mproc__segment_at(segment, offs[i], 512);

		for (int k = 0; k < 64; k++)
			assert_int_equal(words[k], me->word);
		assert_int_equal(mproc__arena_free(segment, me, offs[i]), 0);
	}
}

static void removal_frees_all_and_handles_go_stale(void **state)
{
	uint64_t before = used();
	enum { N = 40 };
	struct mproc_list_iter it = MPROC_LIST_ITER;
	struct mproc_ref ref = { .off = 7 };
	struct mproc__object object;
	uint64_t offs[N], version;
	struct mproc_any any;
	mproc_list *l = NULL;
	char buf[64];
	size_t n;

	(void)state;
	assert_int_equal(mproc_list_create(&l, segment, "gone", NULL), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(mproc_list_append(l, TEXT, FOREVER), 0);
	assert_int_equal(mproc_list_append(l, 7, FOREVER), 0);
	object = object_of("gone");
	assert_int_equal(mproc_list_next(l, &it, &any, buf, sizeof(buf), NULL, FOREVER), 1);
	assert_int_equal(mproc_list_changed(l, &it), 0);
	version = mproc_list_version(l);
	assert_int_equal(version, 101);
	it.version = version;
	assert_int_equal(mproc__object_remove(segment, &object), 0);
	assert_int_equal(used(), before);
	assert_int_equal(mproc_list_get(l, -1, &any, NULL, 0, NULL, FOREVER), -ESTALE);
	assert_int_equal(mproc_list_append(l, 1, FOREVER), -ESTALE);
	assert_int_equal(mproc_list_lock(l, FOREVER), -ESTALE);
	/* The block is another's by now: what is looked at without the lock is not told. */
	n = fill(offs, N);
	assert_int_equal(mproc_list_len(l), 0);
	assert_non_null(strstr(mproc_error_text(), "list gone: it was removed"));
	assert_int_equal(mproc_list_version(l), 0);
	assert_int_equal(mproc_list_wait(l, &version, FOREVER), -ESTALE);
	assert_int_equal(mproc_list_changed(l, &it), 1);
	assert_int_equal(mproc_list_ref(l, &ref), -ESTALE);
	assert_int_equal(ref.off, 7);
	empty(offs, n);
	mproc_list_close(l);
	assert_int_equal(used(), before);
}

static void append_soon(void *arg)
{
	(void)arg;
	usleep(20000);
	t_check(mproc_list_append(list, 1, FOREVER) == 0);
}

static void remove_soon(void *arg)
{
	usleep(20000);
	t_check(mproc__object_remove(segment, arg) == 0);
}

static void wait_ends_with_a_change_and_with_removal(void **state)
{
	uint64_t version = mproc_list_version(list);
	struct mproc__object object = object_of("l");
	pid_t pid;

	(void)state;
	assert_int_equal(mproc_list_wait(list, &version, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_list_wait(list, &version, -5), -EINVAL);
	pid = t_spawn(append_soon, NULL);
	assert_int_equal(mproc_list_wait(list, &version, FOREVER), 0);
	assert_int_equal(version, mproc_list_version(list));
	assert_int_equal(mproc_list_wait(list, &version, mproc_after_ms(5)), -ETIMEDOUT);
	assert_int_equal(t_reap(pid), 0);
	pid = t_spawn(remove_soon, &object);
	assert_int_equal(mproc_list_wait(list, &version, FOREVER), -ESTALE);
	assert_int_equal(t_reap(pid), 0);
}

/* In the middle: the other slots are to be written to a block that there is no room for. */
static void pop_without_room_touches_nothing(void **state)
{
	struct mproc__self *me = mproc__self(segment->arena, "fill");
	struct mproc_any any = mproc_any_int(77);
	size_t len = 77;
	uint64_t off;
	char buf[64];

	(void)state;
	for (int i = 0; i < 33; i++)
		assert_int_equal(mproc_list_append(list, TEXT, FOREVER), 0);
	for (uint64_t n = 1 << 20; n >= 64; n /= 2)
		while (mproc__arena_alloc(segment, me, n, false, &off) == 0)
			;
	while (mproc_list_len(list) > 0 && len == 77) {
		int r = mproc_list_append(list, 1, FOREVER);

		if (r == 0)
			continue;
		assert_int_equal(r, -ENOSPC);
		r = mproc_list_pop(list, 1, &any, buf, sizeof(buf), &len, FOREVER);
		assert_int_equal(r, -ENOSPC);
		assert_int_equal(len, 77);
		assert_int_equal(any.as.i, 77);
		break;
	}
	assert_int_equal(mproc_list_pop(list, 0, &any, buf, 3, &len, FOREVER), -ENOBUFS);
	assert_int_equal(len, strlen(TEXT));
	assert_int_equal(any.as.i, 77);
	assert_int_equal(mproc_list_pop(list, 0, &any, buf, sizeof(buf), &len, FOREVER), 0);
}

struct churn {
	mproc_list *list;
};

static void append_until_gone(void *arg)
{
	struct churn *churn = arg;
	int r;

	do {
		r = mproc_list_append(churn->list, TEXT, FOREVER);
		if (r == 0 && mproc_list_len(churn->list) > 50)
			r = mproc_list_clear(churn->list, FOREVER);
	} while (r == 0);
	t_check(r == -ESTALE);
}

static void removal_waits_for_who_is_inside(void **state)
{
	struct mproc__object object;
	struct churn churn = { NULL };
	pid_t pids[3];
	uint64_t before = used();

	(void)state;
	for (int round = 0; round < (t_sanitized() ? 5 : 30); round++) {
		assert_int_equal(mproc_list_create(&churn.list, segment, "churn", NULL), 0);
		object = object_of("churn");
		for (int i = 0; i < 3; i++)
			pids[i] = t_spawn(append_until_gone, &churn);
		while (mproc_list_len(churn.list) < 5)
			usleep(100);
		usleep(2000);
		assert_int_equal(mproc__object_remove(segment, &object), 0);
		for (int i = 0; i < 3; i++)
			assert_int_equal(t_reap(pids[i]), 0);
		mproc_list_close(churn.list);
		while (mproc__reap_all(segment->range) > 0)
			;
		assert_int_equal(used(), before);
	}
}

static void append_once(void *arg)
{
	struct churn *churn = arg;

	t_check(mproc_list_append(churn->list, TEXT, FOREVER) == -ESTALE);
}

static bool is_asleep(void *arg)
{
	return t_state(*(pid_t *)arg) == 'S';
}

static void removal_by_who_has_the_lock_releases_it(void **state)
{
	enum { N = 40 };
	uint64_t before = used(), offs[N];
	struct churn churn = { NULL };
	struct mproc__object object;
	size_t n;
	pid_t pid;

	(void)state;
	alarm(60);
	assert_int_equal(mproc_list_create(&churn.list, segment, "mine", NULL), 0);
	for (int i = 0; i < 40; i++)
		assert_int_equal(mproc_list_append(churn.list, TEXT, FOREVER), 0);
	object = object_of("mine");
	assert_int_equal(mproc_list_lock(churn.list, FOREVER), 0);
	pid = t_spawn(append_once, &churn);
	assert_true(t_wait_until(is_asleep, &pid, mproc_after_ms(10000)));
	assert_int_equal(mproc__object_remove(segment, &object), 0);
	assert_int_equal(t_reap(pid), 0);
	while (mproc__reap_all(segment->range) > 0)
		;
	assert_int_equal(used(), before);
	/* Another's by now. */
	n = fill(offs, N);
	assert_int_equal(mproc_list_unlock(churn.list), -ESTALE);
	assert_int_equal(mproc_list_consistent(churn.list), -ESTALE);
	empty(offs, n);
	/* The lock is not among those that we hold. */
	assert_int_equal(mproc__self(segment->arena, "look")->n_holds, 0);
	mproc_list_close(churn.list);
	alarm(0);
}

static void lock_a_while(void *arg)
{
	struct churn *churn = arg;

	t_check(mproc_list_lock(churn->list, FOREVER) == 0);
	t_check(mproc_list_append(churn->list, 1, FOREVER) == 0);
	while (mproc_list_append(churn->list, 1, FOREVER) == 0)
		usleep(1000);
	usleep(20000);
	t_check(mproc_list_append(churn->list, 1, FOREVER) == -ESTALE);
	t_check(mproc_list_unlock(churn->list) == 0);
	t_check(mproc_list_unlock(churn->list) == -ESTALE ||
		mproc_list_unlock(churn->list) == -EPERM);
}

static void removal_waits_for_who_is_between_lock_and_unlock(void **state)
{
	struct mproc__object object;
	struct churn churn = { NULL };
	uint64_t before = used();
	pid_t pid;

	(void)state;
	assert_int_equal(mproc_list_create(&churn.list, segment, "locked", NULL), 0);
	object = object_of("locked");
	pid = t_spawn(lock_a_while, &churn);
	while (!mproc_list_len(churn.list))
		usleep(100);
	assert_int_equal(mproc__object_remove(segment, &object), 0);
	assert_int_equal(mproc__arena_generation_of(segment, object.off), 0);
	assert_int_equal(t_reap(pid), 0);
	mproc_list_close(churn.list);
	while (mproc__reap_all(segment->range) > 0)
		;
	assert_int_equal(used(), before);
}

static void remove_for_ever(void *arg)
{
	(void)mproc__object_remove(segment, arg);
	t_check(false);
}

static bool is_removed(void *arg)
{
	return mproc__object_check(segment, arg) < 0;
}

/* The remover dies; who is inside reaps him: the blocks that it is using are not free. */
static void a_dead_removers_work_waits_for_the_reaper_himself(void **state)
{
	struct mproc__self *me = mproc__self(segment->arena, "test");
	struct mproc__object object;
	uint64_t before = used(), act = 0, block;
	mproc_list *l = NULL;
	pid_t pid;

	(void)state;
	for (int locked = 0; locked < 2; locked++) {
		assert_int_equal(mproc_list_create(&l, segment, "mine", NULL), 0);
		assert_int_equal(mproc_list_append(l, TEXT, FOREVER), 0);
		object = object_of("mine");
		block = mproc__arena_generation_of(segment, object.off);
		if (locked)
			assert_int_equal(mproc_list_lock(l, FOREVER), 0);
		else
			act = mproc__act_begin(me, mproc__what(MPROC__KIND_LIST, object.off));
		pid = t_spawn(remove_for_ever, &object);
		assert_true(t_wait_until(is_removed, &object, mproc_after_ms(10000)));
		usleep(10000);
		kill(pid, SIGKILL);
		assert_int_equal(t_reap(pid), SIGKILL);
		(void)mproc__reap_all(segment->range);
		assert_int_equal(mproc__arena_generation_of(segment, object.off), block);
		if (locked)
			assert_int_equal(mproc_list_unlock(l), 0);
		else
			mproc__act_end(me, act);
		while (mproc__reap_all(segment->range) > 0)
			;
		assert_int_equal(used(), before);
		mproc_list_close(l);
	}
}

static void calls_too_deep_in_others_to_be_noted_are_refused(void **state)
{
	struct mproc__self *me = mproc__self(segment->arena, "test");
	uint64_t act = mproc__act_begin(me, 1);

	(void)state;
	assert_int_equal(mproc_list_append(list, 1, FOREVER), 0);
	while (me->n_acts < MPROC__ACTS)
		(void)mproc__act_begin(me, 1);
	assert_int_equal(mproc_list_append(list, 1, FOREVER), -ELOOP);
	assert_non_null(strstr(mproc_error_text(), "inside 3 other calls"));
	assert_int_equal(me->n_acts, MPROC__ACTS);
	for (uint64_t i = MPROC__ACTS; i-- > act;)
		mproc__act_end(me, i);
	assert_int_equal(mproc_list_len(list), 1);
}

struct crossed {
	mproc_segment *segment;
	mproc_list *list;
	mproc_mutex *mutex;
	_Atomic(int) *locked;
};

static void lock_both(void *arg)
{
	struct crossed *c = arg;

	t_check(mproc_list_lock(c->list, FOREVER) == 0);
	atomic_store(c->locked, 1);
	/* Who has it removes the list, and waits for us: one of the two is told. */
	while (mproc_list_append(c->list, 1, FOREVER) == 0)
		usleep(1000);
	usleep(20000);
	t_check(mproc_mutex_lock(c->mutex, FOREVER) == -EDEADLK);
	t_check(mproc_list_unlock(c->list) == 0);
}

static int mutex_init(void *mem, void *arg)
{
	(void)arg;
	return mproc_mutex_init(mem, 0);
}

static int int_init(void *mem, void *arg)
{
	(void)mem;
	(void)arg;
	return 0;
}

static void a_remover_who_waits_is_an_edge_of_the_graph(void **state)
{
	struct crossed c = { .segment = NULL };
	void *mem = NULL;
	pid_t pid;

	(void)state;
	alarm(60);
	assert_int_equal(mproc_segment_create(&c.segment, NULL,
					      MPROC_SEGMENT_OPTS(.bytes = 1 << 20,
								 .flags = MPROC_SEGMENT_DEADLOCK)),
			 0);
	assert_int_equal(mproc_list_create(&c.list, c.segment, "l", NULL), 0);
	assert_true(mproc_segment_object(&mem, c.segment, "m", sizeof(mproc_mutex), mutex_init,
					 NULL) >= 0);
	c.mutex = mem;
	assert_true(mproc_segment_object(&mem, c.segment, "i", sizeof(int), int_init, NULL) >= 0);
	c.locked = mem;
	assert_int_equal(mproc_mutex_lock(c.mutex, FOREVER), 0);
	pid = t_spawn(lock_both, &c);
	while (!atomic_load(c.locked))
		usleep(100);
	assert_int_equal(mproc_segment_remove(c.segment, "l"), 0);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(mproc_mutex_unlock(c.mutex), 0);
	mproc_list_close(c.list);
	mproc_segment_close(c.segment);
	alarm(0);
}

/*
 * Scribbled memory
 */

static void try_scribbled(size_t i, uint64_t value, bool in_block)
{
	static unsigned char buf[4096];
	mproc_list *l = NULL, *other = NULL;
	struct mproc__object object;
	struct mproc__body_shared *s;
	struct mproc_any any, many[40];
	_Atomic(uint64_t) *word;
	size_t len;
	uint64_t n;
	int r;

	assert_int_equal(mproc_list_create(&l, segment, "scribbled", NULL), 0);
	for (int k = 0; k < 20; k++)
		assert_int_equal(
			mproc_list_append(l, k & 1 ? MPROC_ANY(k) : MPROC_ANY(TEXT), FOREVER), 0);
	object = object_of("scribbled");
	s = object.mem;
	word = object.mem;
	if (in_block)
		word = mproc__segment_at(segment, s->state[s->version & 1].block, 320);
	atomic_store(&word[i], value);
#define ENDS(call) \
	do { \
		r = (call); \
		assert_true(r >= 0 || r == -EBADMSG || r == -EINVAL || r == -ENOBUFS || \
			    r == -ENOSPC || r == -ENOENT); \
	} while (0)
	for (int k = 0; k < 3; k++)
		ENDS(mproc_list_get(l, k, &any, buf, sizeof(buf), &len, mproc_after_ms(100)));
	ENDS(mproc_list_copy_out(l, 0, 40, many, &n, buf, sizeof(buf), &len, mproc_after_ms(100)));
	ENDS(mproc_list_count(l, TEXT, &n, mproc_after_ms(100)));
	ENDS(mproc_list_set(l, 1, TEXT, mproc_after_ms(100)));
	ENDS(mproc_list_append(l, TEXT, mproc_after_ms(100)));
	ENDS(mproc_list_insert(l, 1, TEXT, mproc_after_ms(100)));
	ENDS(mproc_list_sort(l, NULL, NULL, mproc_after_ms(100)));
	ENDS(mproc_list_pop(l, 0, &any, buf, sizeof(buf), &len, mproc_after_ms(100)));
	ENDS(mproc_list_clear(l, mproc_after_ms(100)));
#undef ENDS
	r = mproc_list_open(&other, segment, "scribbled");
	assert_true(r == 0 || r == -EBADMSG);
	mproc_list_close(other);
	mproc_list_close(l);
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
				try_scribbled(i, values[k], false);
	for (size_t i = 0; i < 8; i++)
		for (size_t k = 0; k < sizeof(values) / sizeof(values[0]); k++)
			try_scribbled(i, values[k], true);
	assert_int_equal(mproc_list_append(list, 1, FOREVER), 0);
	ASSERT_IS(MPROC_ANY(1));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(open_finds_what_create_made),
		TEST(bad_options_and_items_are_refused),
		TEST(items_of_all_kinds_come_back_as_they_were),
		TEST(a_list_costs_what_the_header_says),
		TEST(indices_are_those_of_python),
		TEST(too_small_a_buffer_is_told_the_length),
		TEST(values_are_found_as_in_python),
		TEST(sort_is_stable_and_reverse_turns_round),
		TEST(it_holds_what_a_plain_array_would),
		TEST(full_segment_changes_nothing),
		TEST(iteration_says_whether_the_list_was_changed),
		TEST(lock_makes_one_step_of_many),
		TEST(readers_see_no_half_of_a_change),
		TEST(threads_share_a_handle),
		TEST(removal_frees_all_and_handles_go_stale),
		TEST(wait_ends_with_a_change_and_with_removal),
		TEST(pop_without_room_touches_nothing),
		TEST(removal_waits_for_who_is_inside),
		TEST(removal_by_who_has_the_lock_releases_it),
		TEST(removal_waits_for_who_is_between_lock_and_unlock),
		TEST(a_dead_removers_work_waits_for_the_reaper_himself),
		TEST(calls_too_deep_in_others_to_be_noted_are_refused),
		TEST(a_remover_who_waits_is_an_edge_of_the_graph),
		TEST(scribbled_words_are_errors_or_do_no_harm),
	};

	return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
