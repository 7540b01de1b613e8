/* SPDX-License-Identifier: MIT */

/*
 * Whoever is killed in a list, wherever: it is the old list or the new one, item by item,
 * and no block is lost
 */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <mproc/list.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/list.h"
#include "tests/support/child.h"
#include "tests/support/sweep.h"

/* Room for 4 items; those that are texts are in blocks of 64 bytes. */
#define ROOM  4
#define MAX   16
#define TEXT  "a text with a block of its own, "
#define ONE   TEXT "one"
#define TWO   TEXT "two"
#define THREE TEXT "three"

static mproc_segment *segment;
static mproc_list *list;
static mproc_list *second; /* of some rows */
static uint64_t base_used; /* bytes in blocks while the list is empty */

/* The list at first; what the operation, and after it the recoverer, make of it. */
static struct mproc_any old[MAX], new[MAX];
static uint64_t n_old, n_new;

static uint64_t used(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.used;
}

/* How slabs come to be is the arena's sweep. */
static void make_slabs(void)
{
	struct mproc__self *me = mproc__self(segment->arena, "fill");
	uint64_t off;

	for (uint64_t len = 64; len <= 512; len *= 2)
		t_sweep_check(mproc__arena_alloc(segment, me, len, false, &off) == 0 &&
			      mproc__arena_free(segment, me, off) == 0);
}

static void open_segment(void)
{
	t_sweep_check(mproc_segment_create(&segment, NULL,
					   MPROC_SEGMENT_OPTS(.bytes = 96 << 10, .processes = 4,
							      .threads = 8, .objects = 4)) == 0);
	t_sweep_check(
		mproc_list_create(&list, segment, "list", MPROC_LIST_OPTS(.capacity = ROOM)) == 0);
	base_used = used();
	make_slabs();
	t_sweep_watch((void *)atomic_load(&segment->range->base), segment->range->bytes);
}

/* A list of @n, texts and numbers by turns. */
static void list_of(uint64_t n)
{
	static const char *const texts[] = { TEXT "A", TEXT "B", TEXT "C", TEXT "D", TEXT "E" };

	open_segment();
	for (n_old = 0; n_old < n; n_old++)
		old[n_old] = n_old & 1 ? MPROC_ANY((int)n_old) : MPROC_ANY(texts[n_old / 2]);
	t_sweep_check(mproc_list_extend(list, old, n, MPROC_FOREVER) == 0);
}

static void empty(void)
{
	list_of(0);
}

static void one(void)
{
	list_of(1);
}

static void three(void)
{
	list_of(3);
}

/* The room is full: who appends moves the list to a block. */
static void room_full(void)
{
	list_of(ROOM);
}

/* In a block, with room at both ends. */
static void in_a_block(void)
{
	list_of(7);
	t_sweep_check(mproc_list_delete(list, 0, 1, MPROC_FOREVER) == 0);
	memmove(old, old + 1, --n_old * sizeof(old[0]));
}

static void block_full(void)
{
	list_of(8);
}

/* There is another list, in its room as yet. */
static void two_lists(void)
{
	room_full();
	t_sweep_check(
		mproc_list_create(&second, segment, "second", MPROC_LIST_OPTS(.capacity = 1)) == 0);
}

static void segment_full(void)
{
	uint64_t off;

	room_full();
	for (uint64_t len = 16 * 4096; len >= 64; len /= 2)
		while (mproc__arena_alloc(segment, mproc__self(segment->arena, "fill"), len, false,
					  &off) == 0)
			;
}

static void die_locked(void *arg)
{
	(void)arg;
	t_sweep_check(mproc_list_lock(list, MPROC_FOREVER) == 0);
	t_sweep_check(mproc_list_append(list, ONE, MPROC_FOREVER) == 0);
}

static void owner_died_between_lock_and_unlock(void)
{
	three();
	t_sweep_helper(die_locked, NULL);
	old[n_old++] = MPROC_ANY(ONE);
}

/*
 * Operations: each says what it makes of the list, in the survivor too
 */

static void arrive(void)
{
	t_sweep_check(mproc__self(segment->arena, "arrive") != NULL);
}

static int64_t append_text(void)
{
	return mproc_list_append(list, ONE, MPROC_FOREVER);
}

static int64_t append_number(void)
{
	return mproc_list_append(list, 7, MPROC_FOREVER);
}

static int64_t extend(void)
{
	const struct mproc_any more[] = { MPROC_ANY(ONE), MPROC_ANY(1), MPROC_ANY(TWO) };

	return mproc_list_extend(list, more, 3, MPROC_FOREVER);
}

static int64_t insert_first(void)
{
	return mproc_list_insert(list, 0, ONE, MPROC_FOREVER);
}

static int64_t insert_second(void)
{
	return mproc_list_insert(list, 1, ONE, MPROC_FOREVER);
}

static int64_t set_text(void)
{
	return mproc_list_set(list, 0, ONE, MPROC_FOREVER);
}

static int64_t set_number(void)
{
	return mproc_list_set(list, -1, 7, MPROC_FOREVER);
}

static int64_t pop_first(void)
{
	struct mproc_any any;
	char buf[64];

	return mproc_list_pop(list, 0, &any, buf, sizeof(buf), NULL, MPROC_FOREVER);
}

static int64_t pop_last(void)
{
	struct mproc_any any;
	char buf[64];

	return mproc_list_pop(list, -1, &any, buf, sizeof(buf), NULL, MPROC_FOREVER);
}

static int64_t delete_second(void)
{
	return mproc_list_delete(list, 1, 1, MPROC_FOREVER);
}

static int64_t replace(void)
{
	const struct mproc_any more[] = { MPROC_ANY(ONE), MPROC_ANY(1), MPROC_ANY(TWO) };

	return mproc_list_replace(list, 1, 2, more, 3, MPROC_FOREVER);
}

static int64_t clear(void)
{
	return mproc_list_clear(list, MPROC_FOREVER);
}

static int64_t reverse(void)
{
	return mproc_list_reverse(list, MPROC_FOREVER);
}

static int64_t sort(void)
{
	return mproc_list_sort(list, NULL, NULL, MPROC_FOREVER);
}

static int64_t get_last(void)
{
	struct mproc_any any;
	char buf[64];

	return mproc_list_get(list, -1, &any, buf, sizeof(buf), NULL, MPROC_FOREVER);
}

static int64_t recover(void)
{
	return mproc_list_append(list, THREE, MPROC_FOREVER);
}

static int64_t remove_it(void)
{
	const struct mproc__object_spec spec = {
		.what = "test", .name = "list", .kind = MPROC__KIND_LIST, .type = MPROC__BODY_LAYOUT
	};
	struct mproc__object object;

	t_sweep_check(mproc__object_open(&object, segment, &spec) == 0);
	return mproc__object_remove(segment, &object);
}

/*
 * While the victim stands still in its unlock the list is removed, and all blocks of its
 * size are filled: if its own is among them, what the victim does there is seen.
 */
#define FILLED 60

static struct {
	uint64_t n, off[FILLED];
} * filled;

static void locked_by_the_victim(void)
{
	three();
	filled = t_sweep_map(sizeof(*filled));
}

static void arrive_and_lock(void)
{
	t_sweep_check(mproc_list_lock(list, MPROC_FOREVER) == 0);
}

static int64_t unlock(void)
{
	return mproc_list_unlock(list);
}

static int64_t remove_and_fill(void)
{
	const struct mproc__object_spec spec = {
		.what = "test", .name = "list", .kind = MPROC__KIND_LIST, .type = MPROC__BODY_LAYOUT
	};
	struct mproc__self *me = mproc__self(segment->arena, "fill");
	struct mproc__object object;
	uint64_t off;

	t_sweep_check(mproc__object_open(&object, segment, &spec) == 0);
	t_sweep_check(mproc__object_remove_as(segment, me, &object) == 0);
	while (filled->n < FILLED && mproc__arena_alloc(segment, me, 512, false, &off) == 0) {
		memset(mproc__segment_at(segment, off, 512), 0xef, 512);
		t_sweep_check(mproc__arena_publish(segment, me, off) == 0);
		filled->off[filled->n++] = off;
	}
	return 0;
}

static void nothing_else_was_written(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0 || seen->result == -ESTALE);
	for (uint64_t i = 0; i < filled->n; i++) {
		const unsigned char *mem = mproc__segment_at(segment, filled->off[i], 512);

		for (int k = 0; k < 512; k++)
			t_sweep_check(mem[k] == 0xef);
	}
}

static int64_t create_another(void)
{
	const struct mproc_any items[] = { MPROC_ANY(ONE), MPROC_ANY(2) };
	static mproc_list *another;

	return mproc_list_create(&another, segment, "another",
				 MPROC_LIST_OPTS(.init = items, .n_init = 2));
}

/*
 * What the survivor finds
 */

static void is_now(uint64_t i, uint64_t n, const struct mproc_any *items, uint64_t n_items)
{
	memcpy(new, old, sizeof(old));
	memmove(new + i + n_items, new + i + n, (n_old - i - n) * sizeof(new[0]));
	memcpy(new + i, items, n_items * sizeof(new[0]));
	n_new = n_old - n + n_items;
}

static struct mproc_any now[MAX + 2];
static uint64_t n_now;

static void look(void)
{
	static char buf[2000];
	size_t len;

	t_sweep_check(mproc_list_copy_out(list, 0, MAX + 2, now, &n_now, buf, sizeof(buf), &len,
					  MPROC_FOREVER) == 0);
}

static bool is(const struct mproc_any *items, uint64_t n)
{
	if (n_now < n)
		return false;
	for (uint64_t i = 0; i < n; i++)
		if (now[i].kind != items[i].kind || !mproc_any_equal(&now[i], &items[i]))
			return false;
	return true;
}

static void no_block_is_lost(void)
{
	int r = mproc_list_lock(list, MPROC_FOREVER);

	t_sweep_check(r >= 0);
	if (r == MPROC_MUTEX_INHERITED)
		t_sweep_check(mproc_list_consistent(list) == 0);
	t_sweep_check(mproc_list_unlock(list) == 0);
	t_sweep_check(mproc_list_clear(list, MPROC_FOREVER) == 0);
	while (mproc__reap_all(segment->range) > 0)
		;
	t_sweep_check(used() == base_used);
	t_sweep_check(mproc_list_append(list, TWO, MPROC_FOREVER) == 0);
	t_sweep_check(mproc_list_len(list) == 1);
}

/* It is the new list, or the old one if the call has not returned; then the recoverer's item. */
static void old_or_new(const struct t_sweep_seen *seen)
{
	const struct mproc_any more = MPROC_ANY(THREE);
	uint64_t n = 0;

	t_sweep_check(!seen->returned || seen->result >= 0);
	look();
	if (seen->recovering && n_now && mproc_any_equal(&now[n_now - 1], &more))
		n = 1;
	t_sweep_check(!seen->recovered || (seen->recover_result == 0 && n == 1));
	n_now -= n;
	t_sweep_check((n_now == n_new && is(new, n_new)) ||
		      (!seen->returned && n_now == n_old && is(old, n_old)));
	no_block_is_lost();
}

#define CHECK(name, i, n, ...) \
	static void name(const struct t_sweep_seen *seen) \
	{ \
		const struct mproc_any items[] = { __VA_ARGS__ }; \
\
		is_now((i), (n), items, sizeof(items) / sizeof(items[0])); \
		old_or_new(seen); \
	} \
	static_assert(true, "")

CHECK(text_is_appended, n_old, 0, MPROC_ANY(ONE));
CHECK(number_is_appended, n_old, 0, MPROC_ANY(7));
CHECK(is_extended, n_old, 0, MPROC_ANY(ONE), MPROC_ANY(1), MPROC_ANY(TWO));
CHECK(is_inserted_first, 0, 0, MPROC_ANY(ONE));
CHECK(is_inserted_second, 1, 0, MPROC_ANY(ONE));
CHECK(text_is_set, 0, 1, MPROC_ANY(ONE));
CHECK(number_is_set, n_old - 1, 1, MPROC_ANY(7));
CHECK(is_replaced, 1, 2, MPROC_ANY(ONE), MPROC_ANY(1), MPROC_ANY(TWO));

/* All blocks of a size are taken but one: that which @list names as limbo, if it may be. */
static void leave_one_block(void)
{
	const struct mproc__body_shared *s = list->body.shared;
	struct mproc__self *me = mproc__self(segment->arena, "fill");
	uint64_t limbo = s->state[s->version & 1].limbo_block, off, last = 0;

	while (mproc__arena_alloc(segment, me, 256, false, &off) == 0)
		if (!last || last != limbo)
			last = off;
	t_sweep_check(last && mproc__arena_free(segment, me, last) == 0);
}

/*
 * The dead are reaped, and what they had is given to another list before anybody looks at
 * the first: what that has left to be finished must not be looked for where others are.
 */
static void other_list_is_whole(const struct t_sweep_seen *seen)
{
	static const char *const texts[] = { TEXT "V", TEXT "W", TEXT "X", TEXT "Y", TEXT "Z" };
	enum { N = sizeof(texts) / sizeof(texts[0]) };
	struct mproc_any items[N], any;
	uint64_t off;
	char buf[64];
	size_t len;

	t_sweep_check(!seen->returned || seen->result == 0);
	while (mproc__reap_all(segment->range) > 0)
		;
	leave_one_block();
	for (int i = 0; i < N; i++)
		items[i] = MPROC_ANY(texts[i]);
	t_sweep_check(mproc_list_extend(second, items, N, MPROC_FOREVER) == 0);
	look();
	/* Whatever was freed meanwhile is another's now. */
	for (int i = 0; i < 2 * N; i++) {
		t_sweep_check(mproc__arena_alloc(segment, mproc__self(segment->arena, "fill"), 40,
						 false, &off) == 0);
		memset(mproc__segment_at(segment, off, 64), 0xee, 64);
	}
	for (int i = 0; i < N; i++) {
		t_sweep_check(mproc_list_get(second, i, &any, buf, sizeof(buf), &len,
					     MPROC_FOREVER) == 0);
		t_sweep_check(mproc_any_equal(&any, &items[i]));
	}
}

static void without(const struct t_sweep_seen *seen, uint64_t i, uint64_t n)
{
	is_now(i, n, old, 0);
	old_or_new(seen);
}

static void first_is_popped(const struct t_sweep_seen *seen)
{
	without(seen, 0, 1);
}

static void last_is_popped(const struct t_sweep_seen *seen)
{
	without(seen, n_old - 1, 1);
}

static void second_is_deleted(const struct t_sweep_seen *seen)
{
	without(seen, 1, 1);
}

static void is_cleared(const struct t_sweep_seen *seen)
{
	without(seen, 0, n_old);
}

static void is_as_it_was(const struct t_sweep_seen *seen)
{
	without(seen, 0, 0);
}

static void is_reversed(const struct t_sweep_seen *seen)
{
	for (n_new = 0; n_new < n_old; n_new++)
		new[n_new] = old[n_old - 1 - n_new];
	old_or_new(seen);
}

/* Numbers come before texts; both are in order. */
static void is_sorted(const struct t_sweep_seen *seen)
{
	n_new = 0;
	for (uint64_t i = 0; i < n_old; i++)
		if (old[i].kind == MPROC_ANY_INT)
			new[n_new++] = old[i];
	for (uint64_t i = 0; i < n_old; i++)
		if (old[i].kind != MPROC_ANY_INT)
			new[n_new++] = old[i];
	old_or_new(seen);
}

static void news_stays(const struct t_sweep_seen *seen)
{
	t_sweep_check(mproc_list_lock(list, MPROC_FOREVER) == MPROC_MUTEX_INHERITED);
	t_sweep_check(mproc_list_unlock(list) == 0);
	number_is_appended(seen);
}

static void was_refused(const struct t_sweep_seen *seen)
{
	uint64_t before;

	t_sweep_check(!seen->returned || seen->result == -ENOSPC);
	look();
	t_sweep_check(n_now == n_old && is(old, n_old));
	while (mproc__reap_all(segment->range) > 0)
		;
	before = used();
	t_sweep_check(mproc_list_clear(list, MPROC_FOREVER) == 0);
	t_sweep_check(before - used() == n_old / 2 * 64);
}

/* There as a whole, or gone as a whole. */
static void was_removed(const struct t_sweep_seen *seen)
{
	mproc_list *l = NULL;
	int r;

	while (mproc__reap_all(segment->range) > 0)
		;
	r = mproc_list_open(&l, segment, "list");
	t_sweep_check(r == 0 || r == -ENOENT);
	t_sweep_check(!seen->returned || (seen->result == 0 && r == -ENOENT));
	if (r == 0) {
		is_as_it_was(seen);
		return;
	}
	t_sweep_check(mproc_list_append(list, 1, MPROC_FOREVER) == -ESTALE);
	t_sweep_check(used() == base_used - 512);
}

static void was_created(const struct t_sweep_seen *seen)
{
	mproc_list *l = NULL;
	int r;

	while (mproc__reap_all(segment->range) > 0)
		;
	r = mproc_list_open(&l, segment, "another");
	t_sweep_check(r == 0 || (r == -ENOENT && !seen->returned));
	t_sweep_check(r != 0 || mproc_list_len(l) == 2);
	t_sweep_check(used() == base_used + (r == 0 ? 1024 : 0));
}

#define OP(op, state, setup, victim, check) \
	T_SWEEP(op, state, setup, victim, check, .arrive = arrive, .recover = recover)

/* The first goes through the whole arena, which takes long: with MPROC_TEST_LONG alone. */
static const struct t_sweep_case cases[] = {
	T_SWEEP("append number", "segment full", segment_full, append_number, was_refused,
		.arrive = arrive),
	OP("append text", "empty", empty, append_text, text_is_appended),
	OP("append text", "three", three, append_text, text_is_appended),
	OP("append text", "room full", room_full, append_text, text_is_appended),
	OP("append text", "in a block", in_a_block, append_text, text_is_appended),
	OP("append text", "block full", block_full, append_text, text_is_appended),
	T_SWEEP("append text", "two lists, room full", two_lists, append_text, other_list_is_whole,
		.arrive = arrive),
	T_SWEEP("extend", "two lists, room full", two_lists, extend, other_list_is_whole,
		.arrive = arrive),
	OP("append number", "three", three, append_number, number_is_appended),
	OP("append number", "room full", room_full, append_number, number_is_appended),
	OP("extend", "empty", empty, extend, is_extended),
	OP("extend", "room full", room_full, extend, is_extended),
	OP("extend", "block full", block_full, extend, is_extended),
	OP("insert first", "empty", empty, insert_first, is_inserted_first),
	OP("insert first", "room full", room_full, insert_first, is_inserted_first),
	OP("insert first", "in a block", in_a_block, insert_first, is_inserted_first),
	OP("insert second", "three", three, insert_second, is_inserted_second),
	OP("insert second", "in a block", in_a_block, insert_second, is_inserted_second),
	OP("insert second", "block full", block_full, insert_second, is_inserted_second),
	OP("set text", "one", one, set_text, text_is_set),
	OP("set text", "block full", block_full, set_text, text_is_set),
	OP("set number", "three", three, set_number, number_is_set),
	OP("pop first", "one", one, pop_first, first_is_popped),
	OP("pop first", "room full", room_full, pop_first, first_is_popped),
	OP("pop first", "in a block", in_a_block, pop_first, first_is_popped),
	OP("pop last", "one", one, pop_last, last_is_popped),
	OP("pop last", "three", three, pop_last, last_is_popped),
	OP("pop last", "block full", block_full, pop_last, last_is_popped),
	OP("delete second", "three", three, delete_second, second_is_deleted),
	OP("delete second", "block full", block_full, delete_second, second_is_deleted),
	OP("replace", "room full", room_full, replace, is_replaced),
	OP("replace", "block full", block_full, replace, is_replaced),
	OP("clear", "one", one, clear, is_cleared),
	OP("clear", "block full", block_full, clear, is_cleared),
	OP("reverse", "three", three, reverse, is_reversed),
	OP("reverse", "block full", block_full, reverse, is_reversed),
	OP("sort", "block full", block_full, sort, is_sorted),
	OP("get last", "three", three, get_last, is_as_it_was),
	OP("append number", "owner died between lock and unlock",
	   owner_died_between_lock_and_unlock, append_number, news_stays),
	T_SWEEP("remove", "three", three, remove_it, was_removed, .arrive = arrive),
	T_SWEEP("remove", "block full", block_full, remove_it, was_removed, .arrive = arrive),
	T_SWEEP("unlock", "somebody removes the list", locked_by_the_victim, unlock,
		nothing_else_was_written, .arrive = arrive_and_lock, .peer = remove_and_fill,
		.flags = T_SWEEP_RESUME),
	T_SWEEP("create", "free", empty, create_another, was_created, .arrive = arrive),
};

int main(int argc, char **argv)
{
	size_t skip = t_long() ? 0 : 1;

	return t_sweep_main(argc, argv, "list", cases + skip,
			    sizeof(cases) / sizeof(cases[0]) - skip);
}
