/* SPDX-License-Identifier: MIT */

/*
 * Objects that hold values of any kind: dicts, namespaces, lists
 *
 * Of each there is one with something in each place where it can be: items in their
 * object and far from it, chains, a second part of the buckets, a block of its own.
 */

#include "fuzz/segment_bytes.h"
#include "fuzz/segment_calls.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <mproc/any.h>
#include <mproc/dict.h>
#include <mproc/list.h>
#include <mproc/namespace.h>
#include <mproc/ref.h>

#define CALL_MS   2
#define SOON()    mproc_after_ms(CALL_MS)
#define N(array)  (sizeof(array) / sizeof((array)[0]))
#define BUF       6000u
#define N_ENTRIES 40u
#define N_ITEMS   30u
#define STEPS     100000u /* of an iterator; a segment holds far fewer */

static unsigned char buf[BUF];

/* One value of each kind, short and long; what is pointed to stays. */
static struct mproc_any some(mproc_segment *segment, uint32_t i)
{
	static const unsigned char bytes[3000] = "some bytes";
	static struct mproc_ref ref;

	switch (i % 10) {
	case 0:
		return mproc_any_none();
	case 1:
		return mproc_any_bool(i & 16);
	case 2:
		return mproc_any_int(-(int64_t)i);
	case 3:
		return mproc_any_uint(UINT64_MAX - i);
	case 4:
		return mproc_any_float(i / 3.0);
	case 5:
		return mproc_any_str("short");
	case 6:
		return mproc_any_str("a text that is too long for the place of an item");
	case 7:
		return mproc_any_bytes(bytes, i & 16 ? 3000 : 300);
	case 8:
		return mproc_any_of(MPROC_ANY_PACK, bytes, 40);
	default:
		if (mproc_ref_of(&ref, segment, mproc_segment_name(segment)) < 0)
			ref.segment = i;
		return mproc_any_ref(ref);
	}
}

static size_t key_of(char key[MPROC_DICT_KEY_MAX], uint32_t i)
{
	/* Some shorter than a word, some longer than a small block. */
	size_t len = (size_t)snprintf(key, MPROC_DICT_KEY_MAX, "key %u", i);

	while (i % 8 == 7 && len < 700)
		key[len++] = 'k';
	return len;
}

static int make_dict(mproc_segment *segment)
{
	char key[MPROC_DICT_KEY_MAX];
	mproc_dict *dict;
	int r;

	r = mproc_dict_create(&dict, segment, "dict",
			      MPROC_DICT_OPTS(.n_expected = 8, .n_stripes = 2));
	for (uint32_t i = 0; r >= 0 && i < N_ENTRIES; i++) {
		const struct mproc_any value = some(segment, i);

		r = mproc_dict_put_any(dict, key, key_of(key, i), &value);
	}
	if (r >= 0)
		mproc_dict_close(dict);
	return r < 0 ? r : 0;
}

static int make_namespace(mproc_segment *segment)
{
	mproc_namespace *ns;
	int r;

	r = mproc_namespace_create(&ns, segment, "namespace");
	if (r >= 0)
		r = mproc_namespace_set_int(ns, "counter", 7);
	if (r >= 0)
		r = mproc_namespace_set_str(ns, "state", "running");
	if (r >= 0)
		r = mproc_namespace_set_float(ns, "a name that is as long as one may be, or nearly",
					      0.5);
	if (r >= 0)
		mproc_namespace_close(ns);
	return r < 0 ? r : 0;
}

static int make_list(mproc_segment *segment)
{
	struct mproc_any items[N_ITEMS];
	mproc_list *list, *small;
	int r;

	for (uint32_t i = 0; i < N_ITEMS; i++)
		items[i] = some(segment, i);
	r = mproc_list_create(&small, segment, "small list",
			      MPROC_LIST_OPTS(.init = items, .n_init = 5));
	if (r == 0)
		r = mproc_list_create(&list, segment, "list", NULL);
	if (r == 0)
		r = mproc_list_extend(list, items, N_ITEMS, SOON());
	if (r == 0) {
		mproc_list_close(small);
		mproc_list_close(list);
	}
	return r;
}

static int make(mproc_segment *segment)
{
	int r = make_dict(segment);

	if (r == 0)
		r = make_namespace(segment);
	if (r == 0)
		r = make_list(segment);
	return r < 0 ? r : fuzz_bytes_make(segment);
}

static void hold(mproc_segment *segment)
{
	mproc_list *list;

	if (mproc_list_open(&list, segment, "list") == 0 && mproc_list_lock(list, SOON()) == 0)
		(void)!mproc_list_append(list, 1, SOON());
	fuzz_bytes_hold(segment);
}

static int walk_dict(mproc_dict *dict)
{
	struct mproc_dict_iter it = MPROC_DICT_ITER;
	struct mproc_any any;
	int r = 1;

	for (uint32_t i = 0; r > 0 && i < STEPS; i++)
		r = mproc_dict_next(dict, &it, &any, buf, sizeof(buf), NULL);
	return r;
}

static int read_dict(mproc_dict *dict, uint8_t op, const char *key, size_t len)
{
	struct mproc_any any = mproc_any_none();
	struct mproc_dict_stats stats;
	size_t ret_len;

	switch (op % 8) {
	case 0:
		return mproc_dict_get(dict, key, len, buf, op & 8 ? sizeof(buf) : 9, &ret_len);
	case 1:
		return mproc_dict_get_any(dict, key, len, &any, buf, sizeof(buf), NULL);
	case 2:
		return mproc_dict_contains(dict, key, len);
	case 3:
		return mproc_dict_len(dict) < 0 ? -EBADMSG : 0;
	case 4:
		return mproc_dict_stats(dict, &stats);
	case 5:
		if (mproc_dict_get_any(dict, key, len, &any, buf, sizeof(buf), NULL) < 0)
			any = mproc_any_none();
		return mproc_dict_wait(dict, key, len, &any, SOON());
	default:
		return walk_dict(dict);
	}
}

static int update_dict(mproc_dict *dict, const struct mproc_any *value)
{
	struct mproc_dict_item items[4];
	char keys[4][MPROC_DICT_KEY_MAX];

	for (uint32_t i = 0; i < N(items); i++)
		items[i] = (struct mproc_dict_item){ keys[i], key_of(keys[i], 5 * i + 7), *value };
	return mproc_dict_update(dict, items, N(items));
}

static int change_dict(mproc_dict *dict, mproc_segment *segment, uint8_t op, const char *key,
		       size_t len)
{
	struct mproc_any any, value = some(segment, op);
	char more[MPROC_DICT_KEY_MAX];
	int64_t i;
	double f;
	int r = 0;

	switch (op % 10) {
	case 0:
		return mproc_dict_remove(dict, key, len);
	case 1:
		return mproc_dict_pop(dict, key, len, &any, buf, sizeof(buf), NULL);
	case 2:
		return mproc_dict_get_or_insert(dict, key, len, &value, &any, buf, sizeof(buf),
						NULL);
	case 3:
		return mproc_dict_replace_if(dict, key, len, op & 16 ? &value : NULL, &value);
	case 4:
		return mproc_dict_add_int(dict, key, len, 1, 2, &i);
	case 5:
		return mproc_dict_add_float(dict, key, len, 1, 2, &f);
	case 6:
		return update_dict(dict, &value);
	case 7:
		return mproc_dict_clear(dict) < 0 ? -EBADMSG : 0;
	case 8: /* more than it has buckets for */
		for (uint32_t k = 0; r >= 0 && k < 64; k++)
			r = mproc_dict_put_any(dict, more, key_of(more, 1000 + 2 * k), &value);
		return r;
	default:
		return mproc_dict_put_any(dict, key, len, &value);
	}
}

static int call_dict(mproc_segment *segment, uint8_t op)
{
	char key[MPROC_DICT_KEY_MAX];
	size_t len = key_of(key, op / 3u);
	struct mproc_ref ref;
	mproc_dict *dict;
	int r;

	r = mproc_dict_open(&dict, segment, "dict");
	if (r < 0)
		return r;
	if (op % 16 == 15) {
		r = mproc_dict_ref(dict, &ref);
		mproc_dict_close(dict);
		if (r == 0)
			r = mproc_dict_open_ref(&dict, segment, &ref);
		if (r < 0)
			return r;
	}
	if (op % 41 == 40)
		r = mproc_dict_destroy(dict);
	else if (op & 1)
		r = read_dict(dict, op >> 1, key, len);
	else
		r = change_dict(dict, segment, op >> 1, key, len);
	mproc_dict_close(dict);
	return r;
}

static int walk_namespace(mproc_namespace *ns)
{
	struct mproc_dict_iter it = MPROC_DICT_ITER;
	char name[MPROC_NAMESPACE_NAME_MAX + 1];
	struct mproc_any any;
	int r = 1;

	for (uint32_t i = 0; r > 0 && i < STEPS; i++)
		r = mproc_namespace_next(ns, &it, name, &any, buf, sizeof(buf), NULL);
	return r;
}

static int call_namespace(mproc_segment *segment, uint8_t op)
{
	static const char *const names[] = { "counter", "state", "new",
					     "a name that is as long as one may be, or nearly" };
	const char *name = names[op / 16 % N(names)];
	struct mproc_any any = some(segment, op);
	mproc_namespace *ns;
	char text[32];
	int r;

	r = mproc_namespace_open(&ns, segment, "namespace");
	if (r < 0)
		return r;
	switch (op % 8) {
	case 0:
		r = mproc_namespace_set(ns, name, &any);
		break;
	case 1:
		r = mproc_namespace_get(ns, name, &any, buf, sizeof(buf), NULL);
		break;
	case 2:
		r = mproc_namespace_get_scalar(ns, name, MPROC_ANY_FLOAT, &any);
		break;
	case 3:
		r = mproc_namespace_get_str(ns, name, text, sizeof(text));
		break;
	case 4:
		r = mproc_namespace_remove(ns, name);
		break;
	case 5:
		r = mproc_namespace_len(ns) < 0 ? -EBADMSG : 0;
		break;
	case 6:
		r = op & 64 ? mproc_namespace_destroy(ns) : 0;
		break;
	default:
		r = walk_namespace(ns);
	}
	mproc_namespace_close(ns);
	return r;
}

static int walk_list(mproc_list *list)
{
	struct mproc_list_iter it = MPROC_LIST_ITER;
	struct mproc_any any;
	int r = 1;

	/* What it says of its length may be anything: who walks stops by himself. */
	for (uint32_t i = 0; r > 0 && i < 1000; i++)
		r = mproc_list_next(list, &it, &any, buf, sizeof(buf), NULL, SOON());
	return mproc_list_changed(list, &it) < 0 ? -EBADMSG : r;
}

static int read_list(mproc_list *list, const struct mproc_any *item, uint8_t op)
{
	struct mproc_any items[N_ITEMS];
	uint64_t n = 0;
	uint32_t kind;
	size_t len;

	switch (op % 8) {
	case 0:
		return mproc_list_get(list, op % 32, items, buf, sizeof(buf), NULL, SOON());
	case 1:
		return mproc_list_get(list, -1 - op % 32, items, buf, 20, &len, SOON());
	case 2:
		return mproc_list_kind(list, op % 32, &kind, &len, SOON());
	case 3:
		return (mproc_list_index)(list, item, 0, &n, SOON());
	case 4:
		return (mproc_list_count)(list, item, &n, SOON());
	case 5:
		return mproc_list_copy_out(list, op % 16, op % N_ITEMS, items, &n, buf, sizeof(buf),
					   &len, SOON());
	case 6:
		return (int)(mproc_list_len(list) % 2);
	default:
		return walk_list(list);
	}
}

static int change_list(mproc_list *list, const struct mproc_any *item, uint8_t op)
{
	const struct mproc_any items[] = { *item, mproc_any_int(1), *item };
	struct mproc_any any;
	int64_t i = op % 32;

	switch (op % 12) {
	case 0:
		return (mproc_list_set)(list, i, item, SOON());
	case 1:
		return (mproc_list_append)(list, item, SOON());
	case 2:
		return mproc_list_extend(list, items, N(items), SOON());
	case 3:
		return (mproc_list_insert)(list, i, item, SOON());
	case 4:
		return mproc_list_replace(list, i, 2, items, N(items), SOON());
	case 5:
		return mproc_list_delete(list, i, 3, SOON());
	case 6:
		return mproc_list_clear(list, SOON());
	case 7:
		return (mproc_list_remove)(list, item, SOON());
	case 8:
		return mproc_list_reverse(list, SOON());
	case 9:
		return mproc_list_sort(list, NULL, NULL, SOON());
	default:
		return mproc_list_pop(list, op & 16 ? 0 : -1, &any, buf, sizeof(buf), NULL, SOON());
	}
}

static int call_list(mproc_segment *segment, uint8_t op)
{
	const struct mproc_any item = some(segment, op);
	struct mproc_ref ref;
	mproc_list *list;
	bool locked;
	int r;

	r = mproc_list_open(&list, segment, op & 8 ? "small list" : "list");
	if (r < 0)
		return r;
	if (op % 41 == 40) {
		r = mproc_list_ref(list, &ref);
		mproc_list_close(list);
		if (r < 0)
			return r;
		r = mproc_list_open_ref(&list, segment, &ref);
		if (r < 0)
			return r;
	}
	locked = op % 5 == 4;
	if (locked)
		r = mproc_list_lock(list, SOON());
	if (r == MPROC_MUTEX_INHERITED && op & 1)
		(void)!mproc_list_consistent(list);
	if (r >= 0)
		r = op & 1 ? read_list(list, &item, op >> 1) : change_list(list, &item, op >> 1);
	if (locked)
		mproc_list_unlock(list);
	mproc_list_close(list);
	return r;
}

static int (*const calls[])(mproc_segment *segment, uint8_t op) = {
	call_dict,       call_namespace,  call_list,     fuzz_call_string,
	fuzz_call_block, fuzz_call_arena, fuzz_call_log,
};

static int call(mproc_segment *segment, uint32_t i, uint8_t op)
{
	return calls[i](segment, op);
}

const struct fuzz_objects fuzz_typed = {
	.n = N(calls),
	.make = make,
	.hold = hold,
	.call = call,
};
