/* SPDX-License-Identifier: MIT */

/*
 * Whoever is killed in a dict, wherever: each entry is the old one or the new one,
 * the others are what they were, the count is right, and no block is lost
 */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <mproc/dict.h>
#include <mproc/error.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/dict.h"
#include "shm/segment_layout.h"
#include "tests/support/child.h"
#include "tests/support/sweep.h"

#define SEGMENT (256u << 10)
#define SHORT   "short"
#define MIDDLE  "a value that is longer than a word of 8"
#define OTHER   "another value that is as long as that.."
#define LONG \
	"a value that is so long that it does not fit where the short one was, and is " \
	"put into a node of its own"

static mproc_segment *segment;
static mproc_dict *dict;
static uint32_t n_others;  /* entries that nobody changes */
static uint32_t n_objects; /* blocks that are no dict's */
static const char *before; /* value of "k", or NULL */

static uint32_t numbers[16]; /* of the first of them, or 0 */

static const char *other(uint32_t i)
{
	static char key[24];

	snprintf(key, sizeof(key), "other %u", i < 16 && numbers[i] ? numbers[i] : i);
	return key;
}

static int64_t put_value(const char *key, const char *value)
{
	return mproc_dict_put(dict, key, strlen(key), value, strlen(value));
}

/*
 * Start states: one stripe, so that all is in one table, which begins with 8 buckets
 */

static void have_dict(void)
{
	t_sweep_check(mproc_segment_create(&segment, NULL,
					   MPROC_SEGMENT_OPTS(.bytes = SEGMENT, .processes = 6,
							      .threads = 8, .objects = 8)) == 0);
	t_sweep_check(mproc_dict_create(&dict, segment, "dict", MPROC_DICT_OPTS(.n_stripes = 1)) ==
		      0);
	t_sweep_watch((const char *)segment->range->reg, SEGMENT - MPROC__SEGMENT_HEAD_LEN);
}

static void have_entries(uint32_t n, const char *k)
{
	n_others = n;
	before = k;
	for (uint32_t i = 0; i < n; i++)
		t_sweep_check(put_value(other(i), other(i)) == 0);
	if (k)
		t_sweep_check(put_value("k", k) == 0);
}

static void have(uint32_t n, const char *k)
{
	have_dict();
	have_entries(n, k);
}

/* Let the next of the others come before k in its chain, or behind it. */
static void choose(uint32_t i, bool behind)
{
	struct mproc__dict_key k, o;

	t_sweep_check(mproc__dict_key_make(dict, "k", 1, &k) == 0);
	for (numbers[i] = 1000 * (i + 1);; numbers[i]++) {
		t_sweep_check(mproc__dict_key_make(dict, other(i), strlen(other(i)), &o) == 0);
		/* Of one bucket, of 16 at most; what is split off is the other ones. */
		if ((o.hash & 15) == (k.hash & 15) && (o.order > k.order) == behind)
			return;
	}
}

static void have_chain(uint32_t n_before, uint32_t n_behind, const char *k)
{
	struct mproc__dict_spot spot;
	struct mproc__dict_key key;
	uint64_t n;
	bool first;

	have_dict();
	for (uint32_t i = 0; i < n_before + n_behind; i++)
		choose(i, i >= n_before);
	have_entries(n_before + n_behind, k);
	t_sweep_check(mproc__dict_key_make(dict, "k", 1, &key) == 0);
	t_sweep_check(mproc__dict_seek(dict, &key, mproc__dict_version(key.stripe), &spot) ==
		      (k != NULL));
	n = atomic_load(&key.stripe->n_buckets);
	first = spot.link ==
		mproc__dict_bucket_at(dict, key.stripe, mproc__dict_bucket(key.hash, n));
	t_sweep_check(first == !n_before);
	if (k)
		t_sweep_check((atomic_load(&spot.node->next) != 0) == (n_behind != 0));
	else
		t_sweep_check((spot.off != 0) == (n_behind != 0));
}

static void empty(void)
{
	have(0, NULL);
}

static void one(void)
{
	have(0, MIDDLE);
}

/* k has entries of the same bucket before it and behind it, or on one side only. */
static void chains(void)
{
	have_chain(2, 2, MIDDLE);
}

static void head(void)
{
	have_chain(0, 3, MIDDLE);
}

static void tail(void)
{
	have_chain(3, 0, MIDDLE);
}

static void a_gap(void)
{
	have_chain(2, 2, NULL);
}

static void a_gap_and_a_long_spare(void)
{
	have_chain(2, 2, NULL);
	t_sweep_check(put_value("x", LONG) == 0);
	t_sweep_check(mproc_dict_remove(dict, "x", 1) == 0);
}

/* The next one needs a bucket, and a part of the buckets. */
static void about_to_grow(void)
{
	have(8, NULL);
}

/* Will some of the entries belong to the next bucket? */
static bool next_split_moves(void)
{
	struct mproc__dict_stripe *s = &dict->shared->stripes[0];
	uint64_t n = atomic_load(&s->n_buckets);
	_Atomic(uint64_t) *link = mproc__dict_bucket_at(dict, s, n - mproc__dict_floor(n));

	for (uint64_t off; (off = atomic_load(link)) != 0;) {
		struct mproc__dict_node *node = mproc__dict_block_at(dict, off, 64);

		if (mproc__dict_bucket(mproc__dict_reverse(atomic_load(&node->order)), n + 1) == n)
			return true;
		link = &node->next;
	}
	return false;
}

/* The next one needs a bucket, to which some of the others belong. */
static void growing(void)
{
	have(10, NULL);
	for (; !next_split_moves(); n_others++)
		t_sweep_check(put_value(other(n_others), other(n_others)) == 0);
}

/* A block of the size of the short one, or of the long one, is kept. */
static void short_spare(void)
{
	have(5, MIDDLE);
	t_sweep_check(put_value("x", SHORT) == 0);
	t_sweep_check(mproc_dict_remove(dict, "x", 1) == 0);
}

static void long_spare(void)
{
	have(5, MIDDLE);
	t_sweep_check(put_value("x", LONG) == 0);
	t_sweep_check(mproc_dict_remove(dict, "x", 1) == 0);
}

static void long_spare_and_no_k(void)
{
	have(5, NULL);
	t_sweep_check(put_value("x", LONG) == 0);
	t_sweep_check(mproc_dict_remove(dict, "x", 1) == 0);
}

static void a_number(void)
{
	have(5, NULL);
	t_sweep_check(mproc_dict_add_int(dict, "k", 1, 7, 0, NULL) == 1);
}

/* Nothing is left but what the dict has. */
static void full(void)
{
	uint64_t off;

	have(8, SHORT);
	n_objects = 0;
	for (uint64_t len = 65536; len >= 64; len /= 2)
		while (mproc__arena_alloc(segment, mproc__self(segment->arena, "fill"), len, false,
					  &off) == 0) {
			t_sweep_check(mproc__arena_publish(segment,
							   mproc__self(segment->arena, "fill"),
							   off) == 0);
			n_objects++;
		}
}

static void attach(void)
{
	t_sweep_check(mproc__self(segment->arena, "sweep"));
}

/*
 * Operations
 */

static int64_t put_short(void)
{
	return put_value("k", SHORT);
}

static int64_t put_middle(void)
{
	return put_value("k", OTHER);
}

static int64_t put_long(void)
{
	return put_value("k", LONG);
}

static int64_t put_recovering(void)
{
	return put_value("r", "recovered");
}

static int64_t add(void)
{
	return mproc_dict_add_int(dict, "k", 1, 1, 0, NULL);
}

static int64_t remove_it(void)
{
	return mproc_dict_remove(dict, "k", 1);
}

static int64_t pop(void)
{
	struct mproc_any any;
	char buf[200];
	size_t len;
	int r = mproc_dict_pop(dict, "k", 1, &any, buf, sizeof(buf), &len);

	return r == 0 && (len != strlen(before) || memcmp(buf, before, len) != 0) ? -EIO : r;
}

static int64_t get_or_insert(void)
{
	const struct mproc_any value = mproc_any_bytes(SHORT, strlen(SHORT));

	return mproc_dict_get_or_insert(dict, "k", 1, &value, NULL, NULL, 0, NULL);
}

static int64_t replace_if(void)
{
	const struct mproc_any was = mproc_any_bytes(MIDDLE, strlen(MIDDLE));
	const struct mproc_any is = mproc_any_bytes(LONG, strlen(LONG));

	return mproc_dict_replace_if(dict, "k", 1, &was, &is);
}

static int64_t clear(void)
{
	return mproc_dict_clear(dict);
}

static int64_t destroy(void)
{
	return mproc_dict_destroy(dict);
}

static int64_t create(void)
{
	mproc_dict *made;

	return mproc_dict_create(&made, segment, "new", MPROC_DICT_OPTS(.n_stripes = 1));
}

/*
 * What must hold
 */

static bool has(const char *key, const char *value)
{
	char buf[200];
	size_t len;
	int r = mproc_dict_get(dict, key, strlen(key), buf, sizeof(buf), &len);

	t_sweep_check(r == 0 || r == -ENOENT);
	if (!value)
		return r == -ENOENT;
	return r == 0 && len == strlen(value) && !memcmp(buf, value, len);
}

static uint64_t n_blocks(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.n_blocks;
}

/* Each entry is in its own bucket, and there once. Return: how many there are. */
static uint64_t n_linked(void)
{
	struct mproc__dict_stripe *s = &dict->shared->stripes[0];
	uint64_t n = atomic_load(&s->n_buckets), seen = 0;

	for (uint64_t at = 0; at < n; at++) {
		_Atomic(uint64_t) *link = mproc__dict_bucket_at(dict, s, at);

		for (uint64_t off; (off = atomic_load(link)) != 0; seen++) {
			struct mproc__dict_node *node = mproc__dict_block_at(dict, off, 64);
			uint64_t hash = mproc__dict_reverse(atomic_load(&node->order));

			t_sweep_check(mproc__dict_bucket(hash, n) == at);
			link = &node->next;
		}
	}
	return seen;
}

/* Each block is the dict, an entry, or a part of its buckets. */
static void all_is_accounted_for(uint64_t n_items)
{
	const struct mproc__dict_stripe *s = &dict->shared->stripes[0];
	struct mproc_dict_iter it = MPROC_DICT_ITER;
	uint64_t parts = 0, n = 0;

	/* Who comes next finishes what the dead has left. */
	t_sweep_check(mproc_dict_remove(dict, "nobody", 6) == -ENOENT);
	t_sweep_check(mproc__reap_all(segment->range) >= 0);
	t_sweep_check(mproc_dict_len(dict) == (int64_t)n_items);
	while (mproc_dict_next(dict, &it, NULL, NULL, 0, NULL) == 1) {
		t_sweep_check(mproc_dict_contains(dict, it.key, it.key_len) == 1);
		n++;
	}
	t_sweep_check(n == n_items && n_linked() == n_items);
	for (uint32_t i = 0; i < MPROC__DICT_PARTS; i++)
		parts += atomic_load(&s->parts[i]) != 0;
	t_sweep_check(!atomic_load(&s->busy) && !atomic_load(&s->staged));
	t_sweep_check(n_blocks() ==
		      n_objects + 1 + parts + n_items + (atomic_load(&s->spare) != 0));
}

static void others_are_there(void)
{
	for (uint32_t i = 0; i < n_others; i++)
		t_sweep_check(has(other(i), other(i)));
}

/* And the dict can be used, by who comes as by any other. */
static void is_old_or_new(const struct t_sweep_seen *seen, const char *new)
{
	bool recovered = seen->recovering && has("r", "recovered");
	bool changed;

	/* Before anybody has taken the lock, and after. */
	for (int i = 0; i < 2; i++) {
		changed = !has("k", before);
		t_sweep_check(!changed || has("k", new));
		t_sweep_check(!seen->returned || changed);
		t_sweep_check(!seen->recovered || recovered);
		others_are_there();
		if (i == 0)
			all_is_accounted_for(n_others + recovered +
					     ((changed ? new : before) != NULL));
	}
	if (n_objects)
		return;
	t_sweep_check(put_value("next", LONG) == 0 && has("next", LONG));
	t_sweep_check(put_value("next", SHORT) == 1 && has("next", SHORT));
	t_sweep_check(put_value("k", SHORT) == ((changed ? new : before) != NULL));
	t_sweep_check(has("k", SHORT));
	others_are_there();
	t_sweep_check(mproc_dict_destroy(dict) == 0);
	t_sweep_check(n_blocks() == 0);
}

static void is_short(const struct t_sweep_seen *seen)
{
	is_old_or_new(seen, SHORT);
}

static void is_middle(const struct t_sweep_seen *seen)
{
	is_old_or_new(seen, OTHER);
}

static void is_long(const struct t_sweep_seen *seen)
{
	is_old_or_new(seen, LONG);
}

static void is_gone(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	is_old_or_new(seen, NULL);
}

/* There is no room for it: nothing has happened. */
static void is_short_still(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -ENOSPC);
	t_sweep_check(has("k", SHORT));
	others_are_there();
	all_is_accounted_for(n_others + 1);
}

static void is_added_once(const struct t_sweep_seen *seen)
{
	int64_t is = 7;
	bool there = mproc_dict_get_int(dict, "k", &is) == 0;
	bool recovered = seen->recovering && has("r", "recovered");

	t_sweep_check(n_others != 5 || there);
	t_sweep_check(!seen->returned || there);
	if (n_others == 5)
		t_sweep_check(is == 8 || (!seen->returned && is == 7));
	else if (there)
		t_sweep_check(is == 1);
	others_are_there();
	all_is_accounted_for(n_others + there + recovered);
}

/* Each is there or not; nothing is lost. */
static void some_are_there(const struct t_sweep_seen *seen)
{
	uint32_t n = (before && has("k", before)) + (seen->recovering && has("r", "recovered"));

	for (uint32_t i = 0; i < n_others; i++)
		n += has(other(i), other(i));
	t_sweep_check(!seen->returned || seen->recovering || n == 0);
	all_is_accounted_for(n);
	t_sweep_check(put_value("k", SHORT) >= 0 && has("k", SHORT));
}

static void is_whole_or_gone(const struct t_sweep_seen *seen)
{
	mproc_dict *found;
	int r;

	t_sweep_check(mproc__reap_all(segment->range) >= 0);
	r = mproc_dict_open(&found, segment, "dict");
	t_sweep_check(r == 0 || r == -ENOENT);
	t_sweep_check(!seen->returned || r == -ENOENT);
	if (r == -ENOENT) {
		t_sweep_check(put_value("k", SHORT) == -ESTALE);
		t_sweep_check(n_blocks() == 0);
		return;
	}
	t_sweep_check(!before || has("k", before));
	others_are_there();
	t_sweep_check(mproc_dict_destroy(dict) == 0);
	t_sweep_check(n_blocks() == 0);
}

static void is_made_or_not(const struct t_sweep_seen *seen)
{
	mproc_dict *made;
	int r;

	r = mproc_dict_open(&made, segment, "new");
	t_sweep_check(r == 0 || (r == -ENOENT && !seen->returned));
	if (r == -ENOENT)
		t_sweep_check(mproc_dict_create(&made, segment, "new", NULL) == 0);
	t_sweep_check(mproc_dict_put(made, "k", 1, "v", 1) == 0);
	t_sweep_check(mproc_dict_destroy(made) == 0);
	t_sweep_check(mproc_dict_destroy(dict) == 0);
	t_sweep_check(mproc__reap_all(segment->range) >= 0);
	t_sweep_check(n_blocks() == 0);
}

#define CASE(...) T_SWEEP(__VA_ARGS__, .arrive = attach, .recover = put_recovering)

static const struct t_sweep_case cases[] = {
	CASE("put", "empty", empty, put_short, is_short),
	CASE("put", "growing", growing, put_long, is_long),
	CASE("put short", "chains", chains, put_short, is_short),
	CASE("put where it lies", "chains", chains, put_middle, is_middle),
	CASE("put longer", "chains", chains, put_long, is_long),
	CASE("put", "a gap", a_gap, put_short, is_short),
	CASE("put longer", "short spare", short_spare, put_long, is_long),
	CASE("put longer", "long spare", long_spare, put_long, is_long),
	CASE("put long", "long spare", long_spare_and_no_k, put_long, is_long),
	CASE("add", "number", a_number, add, is_added_once),
	CASE("remove", "chains", chains, remove_it, is_gone),
	CASE("remove", "short spare", short_spare, remove_it, is_gone),
	CASE("pop", "chains", chains, pop, is_gone),
	CASE("clear", "chains", chains, clear, some_are_there),
	T_SWEEP("destroy", "one", one, destroy, is_whole_or_gone, .arrive = attach,
		.recover = destroy),
	/* With MPROC_TEST_LONG, or what the command line asks for: */
	CASE("put", "about to grow", about_to_grow, put_short, is_short),
	CASE("put where it lies", "one", one, put_middle, is_middle),
	CASE("put longer", "head", head, put_long, is_long),
	CASE("put longer", "tail", tail, put_long, is_long),
	CASE("put long", "a gap and a spare", a_gap_and_a_long_spare, put_long, is_long),
	CASE("remove", "head", head, remove_it, is_gone),
	CASE("remove", "tail", tail, remove_it, is_gone),
	T_SWEEP("put longer", "full", full, put_long, is_short_still, .arrive = attach),
	CASE("add", "empty", empty, add, is_added_once),
	CASE("get or insert", "empty", empty, get_or_insert, is_short),
	CASE("replace if", "chains", chains, replace_if, is_long),
	CASE("remove", "one", one, remove_it, is_gone),
	T_SWEEP("create", "one", one, create, is_made_or_not, .arrive = attach),
	T_SWEEP("destroy", "growing", growing, destroy, is_whole_or_gone, .arrive = attach,
		.recover = destroy),
};

#define N_SHORT 15

int main(int argc, char **argv)
{
	size_t n = t_long() || argc > 2 ? sizeof(cases) / sizeof(cases[0]) : N_SHORT;

	return t_sweep_main(argc, argv, "dict", cases, n);
}
