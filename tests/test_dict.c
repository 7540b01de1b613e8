/* SPDX-License-Identifier: MIT */

/*
 * mproc/dict.h, seen from outside by one process; test_dict_peers.c has several
 */

#include <mproc/dict.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/value.h>

#include "shm/arena.h"
#include "shm/arena_layout.h"
#include "shm/dict.h"
#include "tests/support/child.h"
#include "tests/support/pack_types.h"

static mproc_segment *segment;
static mproc_dict *dict;

static int setup(void **state)
{
	int r;

	(void)state;
	r = mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 64 << 20));
	return r < 0 ? r : mproc_dict_create(&dict, segment, "dict", NULL);
}

static int teardown(void **state)
{
	(void)state;
	dict = mproc_dict_close(dict);
	segment = mproc_segment_close(segment);
	return 0;
}

static uint64_t n_blocks(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.n_blocks;
}

static int put(const char *key, const char *value)
{
	return mproc_dict_put(dict, key, strlen(key), value, strlen(value));
}

static void assert_value(const char *key, const char *want)
{
	char buf[256];
	size_t len = 0;

	assert_int_equal(mproc_dict_get(dict, key, strlen(key), buf, sizeof(buf), &len), 0);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(buf, want, len);
}

static void what_is_put_is_got(void **state)
{
	(void)state;
	assert_int_equal(put("a", "1"), 0);
	assert_int_equal(put("b", ""), 0);
	assert_value("a", "1");
	assert_value("b", "");
	assert_int_equal(put("a", "two"), 1);
	assert_value("a", "two");
	assert_int_equal(mproc_dict_len(dict), 2);
	assert_int_equal(mproc_dict_contains(dict, "a", 1), 1);
	assert_int_equal(mproc_dict_contains(dict, "aa", 2), 0);
	assert_int_equal(mproc_dict_get(dict, "c", 1, NULL, 0, NULL), -ENOENT);
	assert_int_equal(mproc_dict_remove(dict, "a", 1), 0);
	assert_int_equal(mproc_dict_remove(dict, "a", 1), -ENOENT);
	assert_int_equal(mproc_dict_len(dict), 1);
}

/* Every length after every other: in place, in the same block, in a new one. */
static void a_value_may_be_replaced_by_one_of_any_length(void **state)
{
	static const size_t lens[] = { 0, 1, 7, 8, 9, 24, 25, 63, 64, 65, 200, 2000, 5000, 100000 };
	const size_t n = sizeof(lens) / sizeof(lens[0]);
	unsigned char *bytes = malloc(100000), *got = malloc(100000);
	uint64_t blocks = n_blocks();
	size_t len;

	(void)state;
	for (size_t i = 0; i < n * n; i++) {
		size_t want = lens[i % n], was = lens[i / n];

		memset(bytes, 0x11, was);
		assert_true(mproc_dict_put(dict, "key", 3, bytes, was) >= 0);
		for (size_t j = 0; j < want; j++)
			bytes[j] = (unsigned char)(i + j);
		assert_int_equal(mproc_dict_put(dict, "key", 3, bytes, want), 1);
		assert_int_equal(mproc_dict_get(dict, "key", 3, got, 100000, &len), 0);
		assert_int_equal(len, want);
		assert_memory_equal(got, bytes, want);
		/* The entry, its stripe's buckets, and a spare. */
		assert_in_range(n_blocks(), blocks + 2, blocks + 3);
	}
	free(bytes);
	free(got);
}

static void keys_are_bytes_of_1_to_1024(void **state)
{
	unsigned char key[MPROC_DICT_KEY_MAX + 1];

	(void)state;
	memset(key, 0, sizeof(key));
	for (uint32_t len = 1; len <= MPROC_DICT_KEY_MAX; len++)
		assert_int_equal(mproc_dict_put(dict, key, len, &len, sizeof(len)), 0);
	for (uint32_t len = 1, got; len <= MPROC_DICT_KEY_MAX; len++) {
		assert_int_equal(mproc_dict_get(dict, key, len, &got, sizeof(got), NULL), 0);
		assert_int_equal(got, len);
	}
	assert_int_equal(mproc_dict_put(dict, key, 0, "", 0), -EINVAL);
	assert_string_equal(mproc_error_text(),
			    "dict dict: a key of 0 bytes, 1 to 1024 are possible");
	assert_int_equal(mproc_dict_get(dict, key, 1025, NULL, 0, NULL), -EINVAL);
	assert_int_equal(mproc_dict_len(dict), 1024);
}

static void too_short_a_buffer_tells_the_length_and_takes_nothing(void **state)
{
	struct mproc_any any;
	char buf[8];
	size_t len = 0;

	(void)state;
	assert_int_equal(put("k", "0123456789"), 0);
	assert_int_equal(mproc_dict_get(dict, "k", 1, buf, 9, &len), -ENOBUFS);
	assert_int_equal(len, 10);
	assert_string_equal(mproc_error_text(),
			    "dict dict: a value of 10 bytes, there is room for 9");
	len = 0;
	assert_int_equal(mproc_dict_pop(dict, "k", 1, &any, buf, sizeof(buf), &len), -ENOBUFS);
	assert_int_equal(len, 10);
	assert_value("k", "0123456789");
}

static struct mproc_ref ref_of(mproc_dict *d)
{
	struct mproc_ref ref = MPROC_REF_NONE;

	assert_int_equal(mproc_dict_ref(d, &ref), 0);
	return ref;
}

static void values_keep_their_kind(void **state)
{
	const struct mproc_ref ref = ref_of(dict);
	const struct mproc_any all[] = {
		mproc_any_none(),        mproc_any_bool(true), mproc_any_int(-7),
		mproc_any_uint(7),       mproc_any_float(0.5), mproc_any_str("text"),
		mproc_any_bytes("x", 1), mproc_any_ref(ref),
	};
	struct mproc_any any;
	char buf[8], key[2] = "a";
	mproc_dict *same;

	(void)state;
	for (size_t at = 0; at < sizeof(all) / sizeof(all[0]); at++, key[0]++) {
		assert_int_equal(mproc_dict_put_any(dict, key, 1, &all[at]), 0);
		assert_int_equal(mproc_dict_get_any(dict, key, 1, &any, buf, sizeof(buf), NULL), 0);
		assert_int_equal(any.kind, all[at].kind);
		if (any.kind == MPROC_ANY_STR || any.kind == MPROC_ANY_BYTES)
			assert_memory_equal(any.as.bytes.ptr, all[at].as.bytes.ptr,
					    all[at].as.bytes.len);
		else
			assert_memory_equal(&any, &all[at], sizeof(any));
	}
	assert_int_equal(mproc_dict_open_ref(&same, segment, &any.as.ref), 0);
	assert_int_equal(mproc_dict_len(same), 8);
	mproc_dict_close(same);
}

static void typed_calls_refuse_another_type(void **state)
{
	char text[8];
	int64_t i = 5;
	double f = 0;
	bool b = false;

	(void)state;
	assert_int_equal(mproc_dict_put_str(dict, "s", "value"), 0);
	assert_int_equal(mproc_dict_put_int(dict, "i", 3), 0);
	assert_int_equal(mproc_dict_put_float(dict, "f", 1.5), 0);
	assert_int_equal(mproc_dict_put_bool(dict, "b", true), 0);
	assert_int_equal(mproc_dict_get_int(dict, "s", &i), -EPROTO);
	assert_string_equal(mproc_error_text(), "dict dict: s is of kind 5, not 2");
	assert_int_equal(i, 5);
	assert_int_equal(mproc_dict_get_int(dict, "i", &i), 0);
	assert_int_equal(i, 3);
	assert_int_equal(mproc_dict_get_float(dict, "f", &f), 0);
	assert_true(f == 1.5);
	assert_int_equal(mproc_dict_get_bool(dict, "b", &b), 0);
	assert_true(b);
	assert_int_equal(mproc_dict_get_str(dict, "i", text, sizeof(text)), -EPROTO);
	assert_int_equal(mproc_dict_get_str(dict, "s", text, 6), 0);
	assert_string_equal(text, "value");
	assert_int_equal(mproc_dict_get_str(dict, "s", text, 5), -ENOBUFS);
	assert_int_equal(mproc_dict_get_str(dict, "x", text, 5), -ENOENT);
	assert_int_equal(mproc_dict_add_int(dict, "f", 1, 1, 0, NULL), -EPROTO);
}

static void structs_go_in_and_come_out(void **state)
{
	const tuple in = { 7, 0.25, (char *)"a string that is longer than the rest" };
	mproc_pack_value *value = NULL;
	const tuple *out;

	(void)state;
	assert_int_equal(mproc_dict_put_pack(dict, "t", 1, MPROC_PACK_TYPE(tuple), &in), 0);
	assert_int_equal(mproc_dict_get_pack(dict, "t", 1, MPROC_PACK_TYPE(tuple), &value), 0);
	out = mproc_pack_root(value);
	assert_int_equal(out->i, 7);
	assert_string_equal(out->s, in.s);
	mproc_pack_release(value);
	assert_int_equal(mproc_dict_put_int(dict, "i", 1), 0);
	assert_int_equal(mproc_dict_get_pack(dict, "i", 1, MPROC_PACK_TYPE(tuple), &value),
			 -EPROTO);
	assert_int_equal(mproc_dict_get_pack(dict, "x", 1, MPROC_PACK_TYPE(tuple), &value),
			 -ENOENT);
}

static void changes_depend_on_what_is_there(void **state)
{
	const struct mproc_any one = mproc_any_int(1), two = mproc_any_int(2);
	const struct mproc_any text = mproc_any_str("text");
	struct mproc_any any;
	char buf[8];
	int64_t sum;

	(void)state;
	assert_int_equal(mproc_dict_replace_if(dict, "k", 1, &one, &two), 0);
	assert_int_equal(mproc_dict_replace_if(dict, "k", 1, NULL, &one), 1);
	assert_int_equal(mproc_dict_replace_if(dict, "k", 1, NULL, &one), 0);
	assert_int_equal(mproc_dict_replace_if(dict, "k", 1, &two, &one), 0);
	assert_int_equal(mproc_dict_replace_if(dict, "k", 1, &one, &text), 1);
	assert_int_equal(mproc_dict_replace_if(dict, "k", 1, &text, NULL), 1);
	assert_int_equal(mproc_dict_replace_if(dict, "k", 1, NULL, NULL), 1);
	assert_int_equal(mproc_dict_contains(dict, "k", 1), 0);

	assert_int_equal(mproc_dict_get_or_insert(dict, "k", 1, &text, &any, buf, 8, NULL), 1);
	assert_int_equal(mproc_dict_get_or_insert(dict, "k", 1, &one, &any, buf, 8, NULL), 0);
	assert_int_equal(any.kind, MPROC_ANY_STR);
	assert_memory_equal(any.as.bytes.ptr, "text", 4);
	assert_int_equal(mproc_dict_get_or_insert(dict, "k", 1, &one, &any, buf, 3, NULL),
			 -ENOBUFS);

	assert_int_equal(mproc_dict_add_int(dict, "n", 1, 5, 10, &sum), 1);
	assert_int_equal(sum, 15);
	assert_int_equal(mproc_dict_add_int(dict, "n", 1, -20, 10, &sum), 0);
	assert_int_equal(sum, -5);
	assert_int_equal(mproc_dict_add_int(dict, "k", 1, 1, 0, &sum), -EPROTO);

	assert_int_equal(mproc_dict_pop(dict, "n", 1, &any, NULL, 0, NULL), 0);
	assert_int_equal(any.as.i, -5);
	assert_int_equal(mproc_dict_pop(dict, "n", 1, &any, NULL, 0, NULL), -ENOENT);
}

static void many_are_put_one_after_the_other(void **state)
{
	const struct mproc_dict_item items[] = {
		{ "a", 1, mproc_any_int(1) }, { "b", 1, mproc_any_int(2) },
		{ "a", 1, mproc_any_int(3) }, { "", 0, mproc_any_int(4) },
		{ "c", 1, mproc_any_int(5) },
	};
	int64_t i;

	(void)state;
	assert_int_equal(mproc_dict_update(dict, items, 5), 3);
	assert_int_equal(mproc_dict_update(dict, items + 3, 2), -EINVAL);
	assert_int_equal(mproc_dict_get_int(dict, "a", &i), 0);
	assert_int_equal(i, 3);
	assert_int_equal(mproc_dict_len(dict), 2);
	assert_int_equal(mproc_dict_clear(dict), 2);
	assert_int_equal(mproc_dict_len(dict), 0);
	assert_int_equal(mproc_dict_contains(dict, "a", 1), 0);
}

#define N_MANY 100000u

static void it_grows_and_every_key_comes_once(void **state)
{
	static unsigned char seen[N_MANY];
	struct mproc_dict_iter it = MPROC_DICT_ITER;
	struct mproc_dict_stats stats;
	struct mproc_any any;
	uint64_t blocks = n_blocks(), n = 0;

	(void)state;
	memset(seen, 0, sizeof(seen));
	for (uint32_t i = 0; i < N_MANY; i++)
		assert_int_equal(mproc_dict_put(dict, &i, sizeof(i), &i, sizeof(i)), 0);
	assert_int_equal(mproc_dict_stats(dict, &stats), 0);
	assert_int_equal(stats.n_items, N_MANY);
	assert_int_equal(stats.n_changes, N_MANY);
	assert_true(stats.n_buckets >= 2 * N_MANY && stats.n_buckets <= 2 * N_MANY + 16 * 8);
	for (uint32_t i = 0, got; i < N_MANY; i++) {
		assert_int_equal(mproc_dict_get(dict, &i, sizeof(i), &got, sizeof(got), NULL), 0);
		assert_int_equal(got, i);
	}
	while (mproc_dict_next(dict, &it, &any, &(uint32_t){ 0 }, 4, NULL) == 1) {
		uint32_t key;

		assert_int_equal(it.key_len, sizeof(key));
		memcpy(&key, it.key, sizeof(key));
		assert_true(key < N_MANY && !seen[key]++);
		assert_memory_equal(any.as.bytes.ptr, &key, sizeof(key));
		n++;
	}
	assert_int_equal(n, N_MANY);
	for (uint32_t i = 0; i < N_MANY; i += 2)
		assert_int_equal(mproc_dict_remove(dict, &i, sizeof(i)), 0);
	assert_int_equal(mproc_dict_len(dict), N_MANY / 2);
	assert_int_equal(mproc_dict_clear(dict), N_MANY / 2);
	/* The buckets stay: of 16 stripes, in parts of 8, 8, 16 ... 8192 each; and spares. */
	assert_in_range(n_blocks(), blocks + 16 * 2, blocks + 16 * (12 + 1));
	assert_int_equal(mproc_dict_destroy(dict), 0);
	assert_int_equal(n_blocks(), blocks - 1);
}

static void iteration_survives_changes_and_growth(void **state)
{
	struct mproc_dict_iter it = MPROC_DICT_ITER;
	uint32_t seen[256] = { 0 };
	uint32_t more = 1000, n = 0;

	(void)state;
	for (uint32_t i = 0; i < 256; i++)
		assert_int_equal(mproc_dict_put(dict, &i, sizeof(i), "v", 1), 0);
	while (mproc_dict_next(dict, &it, NULL, NULL, 0, NULL) == 1) {
		uint32_t key;

		memcpy(&key, it.key, sizeof(key));
		if (key < 256)
			seen[key]++;
		/* The one we stand on goes, and many others come. */
		if (key >= 192 || key % 4 == 3)
			assert_int_equal(mproc_dict_remove(dict, &key, sizeof(key)), 0);
		for (uint32_t i = 0; n < 10000 && i < 40; i++, more++, n++)
			assert_int_equal(mproc_dict_put(dict, &more, sizeof(more), "v", 1), 0);
	}
	for (uint32_t i = 0; i < 256; i++)
		assert_int_equal(seen[i], 1);
}

static void what_an_entry_costs_is_as_documented(void **state)
{
	static const struct {
		size_t key, value, bytes;
	} costs[] = { { 16, 24, 64 }, { 16, 25, 128 }, { 16, 88, 128 },
		      { 8, 8, 64 },   { 16, 89, 256 }, { 8, 5000, 8192 } };
	struct mproc__arena_stats before, after;
	char bytes[5000] = { 0 };

	(void)state;
	mproc_dict_close(dict);
	assert_int_equal(mproc_dict_create(&dict, segment, NULL, MPROC_DICT_OPTS(.n_stripes = 1)),
			 0);
	/* The buckets, and a spare that fits none of them. */
	assert_int_equal(mproc_dict_put(dict, bytes, 500, "", 0), 0);
	assert_int_equal(mproc_dict_remove(dict, bytes, 500), 0);
	for (size_t i = 0; i < sizeof(costs) / sizeof(costs[0]); i++) {
		mproc__arena_stats(segment, &before);
		assert_int_equal(mproc_dict_put(dict, bytes, costs[i].key, bytes, costs[i].value),
				 0);
		mproc__arena_stats(segment, &after);
		assert_int_equal(after.used - before.used, costs[i].bytes);
		assert_int_equal(mproc_dict_remove(dict, bytes, costs[i].key), 0);
		mproc__arena_stats(segment, &after);
		assert_int_equal(after.used, before.used);
	}
	mproc__arena_stats(segment, &before);
	dict = mproc_dict_close(dict);
	assert_int_equal(mproc_dict_create(&dict, segment, NULL, MPROC_DICT_OPTS(.n_stripes = 1)),
			 0);
	mproc__arena_stats(segment, &after);
	assert_int_equal(after.used - before.used, 1024);
	assert_int_equal(put("k", "v"), 0);
	mproc__arena_stats(segment, &after);
	assert_int_equal(after.used - before.used, 1024 + 64 + 64);
}

static void a_maximum_is_kept(void **state)
{
	(void)state;
	mproc_dict_close(dict);
	assert_int_equal(mproc_dict_create(&dict, segment, NULL, MPROC_DICT_OPTS(.max_items = 2)),
			 0);
	assert_int_equal(put("a", "1"), 0);
	assert_int_equal(put("b", "1"), 0);
	assert_int_equal(put("c", "1"), -ENOSPC);
	assert_string_equal(mproc_error_text(),
			    "dict (anonymous): it has 2 entries, which is its maximum");
	assert_int_equal(put("a", "2"), 1);
	assert_int_equal(mproc_dict_remove(dict, "a", 1), 0);
	assert_int_equal(put("c", "1"), 0);
}

static void a_full_segment_refuses_and_stays_whole(void **state)
{
	char value[900] = { 0 };
	uint32_t n = 0;
	int r;

	(void)state;
	for (;; n++) {
		r = mproc_dict_put(dict, &n, sizeof(n), value, sizeof(value));
		if (r)
			break;
	}
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(mproc_dict_len(dict), n);
	assert_true(n > 50000);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(mproc_dict_remove(dict, &i, sizeof(i)), 0);
	assert_int_equal(put("a", "1"), 0);
}

static void options_and_names_are_checked(void **state)
{
	mproc_dict *other = dict;
	mproc_value *value;

	(void)state;
	assert_int_equal(mproc_dict_create(&other, segment, "dict", NULL), -EEXIST);
	assert_int_equal(mproc_dict_open(&other, segment, "none"), -ENOENT);
	assert_int_equal(mproc_dict_create(&other, segment, NULL, MPROC_DICT_OPTS(.n_stripes = 3)),
			 -EINVAL);
	assert_string_equal(mproc_error_text(),
			    "create dict: 3 stripes, a power of two up to 256 is possible");
	assert_int_equal(
		mproc_dict_create(&other, segment, NULL, MPROC_DICT_OPTS(.n_expected = UINT64_MAX)),
		-EINVAL);
	assert_int_equal(mproc_value_create(&value, segment, "value",
					    MPROC_VALUE_OPTS(.type = MPROC_TYPE(int))),
			 0);
	mproc_value_close(value);
	assert_int_equal(mproc_dict_open(&other, segment, "value"), -EEXIST);
	assert_ptr_equal(other, dict);
	/* What is there keeps its stripes, whoever finds it with other options. */
	assert_int_equal(mproc_dict_open_or_create(&other, segment, "dict",
						   MPROC_DICT_OPTS(.n_stripes = 64)),
			 0);
	mproc_dict_close(other);
	assert_int_equal(mproc_dict_open_or_create(&other, segment, "new", NULL), 1);
	mproc_dict_close(other);
}

static void a_destroyed_dict_is_gone_for_every_handle(void **state)
{
	struct mproc_dict_iter it = MPROC_DICT_ITER;
	struct mproc_ref ref = ref_of(dict);
	uint64_t blocks = n_blocks();
	mproc_dict *other;

	(void)state;
	assert_int_equal(put("a", "1"), 0);
	assert_int_equal(mproc_dict_open(&other, segment, "dict"), 0);
	assert_int_equal(mproc_dict_destroy(other), 0);
	assert_int_equal(n_blocks(), blocks - 1);
	assert_int_equal(mproc_dict_destroy(other), -ESTALE);
	mproc_dict_close(other);
	assert_int_equal(put("a", "1"), -ESTALE);
	assert_string_equal(mproc_error_text(), "dict dict: it is gone");
	assert_int_equal(mproc_dict_get(dict, "a", 1, NULL, 0, NULL), -ESTALE);
	assert_int_equal(mproc_dict_next(dict, &it, NULL, NULL, 0, NULL), -ESTALE);
	assert_int_equal(mproc_dict_len(dict), -ESTALE);
	assert_int_equal(mproc_dict_clear(dict), -ESTALE);
	assert_int_equal(mproc_dict_wait(dict, "b", 1, NULL, mproc_after_ms(1)), -ESTALE);
	assert_int_equal(mproc_dict_open_ref(&other, segment, &ref), -ESTALE);
	assert_int_equal(mproc_dict_ref(dict, &ref), -ESTALE);
}

/* Against a model that is too simple to be wrong. */
static void it_does_what_an_array_does(void **state)
{
	enum { KEYS = 300 };
	static struct {
		bool there;
		size_t len;
		unsigned char bytes[160];
	} model[KEYS];
	uint64_t random = t_seed();
	unsigned char got[160];
	uint32_t n = 0;
	size_t len;

	(void)state;
	memset(model, 0, sizeof(model));
	for (uint32_t round = 0; round < (t_long() ? 2000000 : 100000); round++) {
		uint32_t key = (uint32_t)(t_random(&random) % KEYS);
		bool there = model[key].there;

		switch (t_random(&random) % 4) {
		case 0:
			assert_int_equal(mproc_dict_remove(dict, &key, sizeof(key)),
					 there ? 0 : -ENOENT);
			n -= there;
			model[key].there = false;
			break;
		case 1:
			model[key].len = t_random(&random) % 160;
			memset(model[key].bytes, (int)round, model[key].len);
			assert_int_equal(mproc_dict_put(dict, &key, sizeof(key), model[key].bytes,
							model[key].len),
					 there);
			n += !there;
			model[key].there = true;
			break;
		default:
			assert_int_equal(
				mproc_dict_get(dict, &key, sizeof(key), got, sizeof(got), &len),
				there ? 0 : -ENOENT);
			if (there) {
				assert_int_equal(len, model[key].len);
				assert_memory_equal(got, model[key].bytes, len);
			}
		}
	}
	assert_int_equal(mproc_dict_len(dict), n);
}

static void what_has_bytes_is_no_scalar(void **state)
{
	struct mproc_any any = { .kind = MPROC_ANY_NONE };

	(void)state;
	assert_int_equal(mproc_dict_put_str(dict, "s", "hello"), 0);
	assert_int_equal(mproc_dict_get_scalar(dict, "s", MPROC_ANY_STR, &any), -EINVAL);
	assert_int_equal(mproc_dict_get_scalar(dict, "s", MPROC_ANY_BYTES, &any), -EINVAL);
	assert_int_equal(mproc_dict_get_scalar(dict, "none", MPROC_ANY_PACK, &any), -EINVAL);
	assert_int_equal(any.kind, MPROC_ANY_NONE);
	assert_int_equal(mproc_dict_get_scalar(dict, "s", MPROC_ANY_INT, &any), -EPROTO);
}

static void who_wants_no_value_needs_no_room_for_it(void **state)
{
	const struct mproc_any one = mproc_any_int(1);
	size_t len = 0;

	(void)state;
	assert_int_equal(mproc_dict_put_str(dict, "s", "hello"), 0);
	assert_int_equal(mproc_dict_get_or_insert(dict, "s", 1, &one, NULL, NULL, 0, &len), 0);
	assert_int_equal(len, 5);
	assert_int_equal(mproc_dict_get_or_insert(dict, "i", 1, &one, NULL, NULL, 0, NULL), 1);
	assert_int_equal(mproc_dict_get_or_insert(dict, "s", 1, &one, &(struct mproc_any){ 0 },
						  NULL, 0, NULL),
			 -ENOBUFS);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_put_is_got),
		TEST(a_value_may_be_replaced_by_one_of_any_length),
		TEST(keys_are_bytes_of_1_to_1024),
		TEST(too_short_a_buffer_tells_the_length_and_takes_nothing),
		TEST(values_keep_their_kind),
		TEST(typed_calls_refuse_another_type),
		TEST(structs_go_in_and_come_out),
		TEST(changes_depend_on_what_is_there),
		TEST(many_are_put_one_after_the_other),
		TEST(it_grows_and_every_key_comes_once),
		TEST(iteration_survives_changes_and_growth),
		TEST(what_an_entry_costs_is_as_documented),
		TEST(a_maximum_is_kept),
		TEST(a_full_segment_refuses_and_stays_whole),
		TEST(options_and_names_are_checked),
		TEST(a_destroyed_dict_is_gone_for_every_handle),
		TEST(it_does_what_an_array_does),
		TEST(what_has_bytes_is_no_scalar),
		TEST(who_wants_no_value_needs_no_room_for_it),
	};

	t_private_dir();
	return cmocka_run_group_tests_name("dict", tests, NULL, NULL);
}
