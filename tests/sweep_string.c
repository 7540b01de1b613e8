/* SPDX-License-Identifier: MIT */

/*
 * Whoever is killed in a string, wherever: it is the old one or the new one, who locks next
 * is told of a death between lock and unlock and of no other, and no block is lost
 */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <mproc/string.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/body.h"
#include "tests/support/child.h"
#include "tests/support/sweep.h"

/* Room for 16 bytes: what is longer is in a block. */
#define SHORT "short"
#define LONG  "long enough for a block of its own"
#define MORE  "one that needs a longer block than the one before, which has 128 bytes, "
#define NEW   MORE MORE
#define FITS  "one that fits behind the one before, into the same block"
#define OTHER "what the recoverer sets"

static mproc_segment *segment;
static mproc_string *string;
static const char *old;
static uint64_t base_used; /* bytes in blocks but those of the content */

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
	t_sweep_check(mproc_string_create(&string, segment, "string",
					  MPROC_STRING_OPTS(.capacity = 16)) == 0);
	base_used = used();
	make_slabs();
	t_sweep_watch((void *)atomic_load(&segment->range->base), segment->range->bytes);
}

static void set_to(const char *text)
{
	t_sweep_check(mproc_string_set(string, text, strlen(text), MPROC_FOREVER) == 0);
	old = text;
}

static void empty(void)
{
	open_segment();
	set_to("");
}

static void in_the_room(void)
{
	open_segment();
	set_to(SHORT);
}

static void in_a_block(void)
{
	open_segment();
	set_to(LONG);
}

/* No room for another block, however small. */
static void segment_full(void)
{
	uint64_t off;

	in_a_block();
	for (uint64_t len = 4096; len >= 64; len /= 2)
		while (mproc__arena_alloc(segment, mproc__self(segment->arena, "fill"), len, false,
					  &off) == 0)
			;
}

static void die_locked(void *arg)
{
	(void)arg;
	t_sweep_check(mproc_string_lock(string, MPROC_FOREVER) == 0);
}

static void owner_died_between_lock_and_unlock(void)
{
	in_a_block();
	t_sweep_helper(die_locked, NULL);
}

static void arrive(void)
{
	t_sweep_check(mproc__self(segment->arena, "arrive") != NULL);
}

static void arrive_and_lock(void)
{
	t_sweep_check(mproc_string_lock(string, MPROC_FOREVER) >= 0);
}

/*
 * Operations
 */

static int64_t set(void)
{
	return mproc_string_set(string, NEW, strlen(NEW), MPROC_FOREVER);
}

static int64_t set_fitting(void)
{
	return mproc_string_set(string, FITS, strlen(FITS), MPROC_FOREVER);
}

static int64_t set_short(void)
{
	return mproc_string_set(string, "tiny", 4, MPROC_FOREVER);
}

static int64_t append(void)
{
	return mproc_string_append(string, "!!", 2, MPROC_FOREVER);
}

static int64_t append_long(void)
{
	return mproc_string_append(string, NEW, strlen(NEW), MPROC_FOREVER);
}

static int64_t insert(void)
{
	return mproc_string_replace(string, 1, 1, "<>", 2, MPROC_FOREVER);
}

static int64_t cut_head(void)
{
	return mproc_string_replace(string, 0, 2, NULL, 0, MPROC_FOREVER);
}

static int64_t truncate_to_2(void)
{
	return mproc_string_truncate(string, 2, MPROC_FOREVER);
}

static int64_t clear(void)
{
	return mproc_string_truncate(string, 0, MPROC_FOREVER);
}

static int64_t cas(void)
{
	return mproc_string_cas(string, LONG, strlen(LONG), NEW, strlen(NEW), MPROC_FOREVER);
}

static int64_t recover(void)
{
	return mproc_string_set(string, OTHER, strlen(OTHER), MPROC_FOREVER);
}

static int64_t lock(void)
{
	return mproc_string_lock(string, MPROC_FOREVER);
}

static int64_t unlock(void)
{
	return mproc_string_unlock(string);
}

static int64_t consistent(void)
{
	return mproc_string_consistent(string);
}

static int64_t get(void)
{
	char buf[200];
	size_t len;

	return mproc_string_get(string, buf, sizeof(buf), &len, MPROC_FOREVER);
}

static int64_t remove_it(void)
{
	const struct mproc__object_spec spec = { .what = "test",
						 .name = "string",
						 .kind = MPROC__KIND_STRING,
						 .type = MPROC__BODY_LAYOUT };
	struct mproc__object object;

	t_sweep_check(mproc__object_open(&object, segment, &spec) == 0);
	return mproc__object_remove(segment, &object);
}

static int64_t create_another(void)
{
	static mproc_string *s;

	return mproc_string_create(&s, segment, "another",
				   MPROC_STRING_OPTS(.init = LONG, .init_len = sizeof(LONG) - 1));
}

/*
 * What the survivor finds
 */

/* Whoever comes can use it, and when it is empty nothing is left of all that. */
static void no_block_is_lost(void)
{
	int r = mproc_string_lock(string, MPROC_FOREVER);

	t_sweep_check(r >= 0);
	if (r == MPROC_MUTEX_INHERITED)
		t_sweep_check(mproc_string_consistent(string) == 0);
	t_sweep_check(mproc_string_unlock(string) == 0);
	t_sweep_check(mproc_string_truncate(string, 0, MPROC_FOREVER) == 0);
	while (mproc__reap_all(segment->range) > 0)
		;
	t_sweep_check(used() == base_used);
	t_sweep_check(mproc_string_set(string, SHORT, 5, MPROC_FOREVER) == 0);
	t_sweep_check(mproc_string_len(string) == 5);
}

static bool is(const char *buf, size_t len, const char *text)
{
	return len == strlen(text) && !memcmp(buf, text, len);
}

/* It is @old, unless the call has returned, or @want. */
static void old_or(const struct t_sweep_seen *seen, const char *want)
{
	char buf[400];
	size_t len;

	t_sweep_check(!seen->returned || seen->result >= 0);
	t_sweep_check(mproc_string_get(string, buf, sizeof(buf), &len, MPROC_FOREVER) == 0);
	t_sweep_check(is(buf, len, want) || (!seen->returned && is(buf, len, old)) ||
		      (seen->recovering && is(buf, len, OTHER)));
	t_sweep_check(!seen->recovered || is(buf, len, OTHER));
	no_block_is_lost();
}

static void was_set(const struct t_sweep_seen *seen)
{
	old_or(seen, NEW);
}

static void was_set_fitting(const struct t_sweep_seen *seen)
{
	old_or(seen, FITS);
}

static void was_set_short(const struct t_sweep_seen *seen)
{
	old_or(seen, "tiny");
}

static void was_appended(const struct t_sweep_seen *seen)
{
	char want[200];

	strcat(strcpy(want, old), "!!");
	old_or(seen, want);
}

static void was_appended_long(const struct t_sweep_seen *seen)
{
	char want[200];

	strcat(strcpy(want, old), NEW);
	old_or(seen, want);
}

static void was_inserted(const struct t_sweep_seen *seen)
{
	char want[200] = { old[0] };

	strcat(strcat(want, "<>"), old + 2);
	old_or(seen, want);
}

static void head_was_cut(const struct t_sweep_seen *seen)
{
	old_or(seen, old + 2);
}

static void was_truncated(const struct t_sweep_seen *seen)
{
	old_or(seen, (char[]){ old[0], old[1], 0 });
}

static void was_cleared(const struct t_sweep_seen *seen)
{
	old_or(seen, "");
}

static void was_refused(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -ENOSPC);
	t_sweep_check(mproc_string_len(string) == strlen(old));
}

static void is_as_it_was(const struct t_sweep_seen *seen)
{
	old_or(seen, old);
}

/* One who was killed with the lock is told of; one who was just taking it may be. */
static void locked(const struct t_sweep_seen *seen)
{
	int r = mproc_string_lock(string, MPROC_FOREVER);

	t_sweep_check(r >= 0 && (!seen->returned || r == MPROC_MUTEX_INHERITED));
	t_sweep_check(mproc_string_unlock(string) == 0);
	is_as_it_was(seen);
}

static void unlocked(const struct t_sweep_seen *seen)
{
	int r = mproc_string_lock(string, MPROC_FOREVER);

	t_sweep_check(r >= 0 && (!seen->returned || r == 0));
	t_sweep_check(mproc_string_unlock(string) == 0);
	is_as_it_was(seen);
}

static void news_stays(const struct t_sweep_seen *seen)
{
	t_sweep_check(mproc_string_lock(string, MPROC_FOREVER) == MPROC_MUTEX_INHERITED);
	t_sweep_check(mproc_string_unlock(string) == 0);
	was_set(seen);
}

/* There as a whole, or gone as a whole. */
static void was_removed(const struct t_sweep_seen *seen)
{
	mproc_string *s = NULL;
	char buf[200];
	size_t len;
	int r;

	while (mproc__reap_all(segment->range) > 0)
		;
	r = mproc_string_open(&s, segment, "string");
	t_sweep_check(r == 0 || r == -ENOENT);
	t_sweep_check(!seen->returned || (seen->result == 0 && r == -ENOENT));
	if (r == 0) {
		t_sweep_check(mproc_string_get(s, buf, sizeof(buf), &len, MPROC_FOREVER) == 0);
		t_sweep_check(is(buf, len, old));
		no_block_is_lost();
		return;
	}
	t_sweep_check(mproc_string_set(string, "x", 1, MPROC_FOREVER) == -ESTALE);
	t_sweep_check(used() == base_used - 512);
}

static void was_created(const struct t_sweep_seen *seen)
{
	mproc_string *s = NULL;
	int r;

	while (mproc__reap_all(segment->range) > 0)
		;
	r = mproc_string_open(&s, segment, "another");
	t_sweep_check(r == 0 || (r == -ENOENT && !seen->returned));
	t_sweep_check(r != 0 || mproc_string_len(s) == strlen(LONG));
	t_sweep_check(used() == base_used + (r == 0 ? 512 : 0));
}

#define OP(op, state, setup, victim, check) \
	T_SWEEP(op, state, setup, victim, check, .arrive = arrive, .recover = recover)

/* The first goes through the whole arena, which takes long: with MPROC_TEST_LONG alone. */
static const struct t_sweep_case cases[] = {
	T_SWEEP("append long", "segment full", segment_full, append_long, was_refused,
		.arrive = arrive),
	OP("set", "empty", empty, set, was_set),
	OP("set", "in the room", in_the_room, set, was_set),
	OP("set", "in a block", in_a_block, set, was_set),
	OP("set fitting", "in a block", in_a_block, set_fitting, was_set_fitting),
	OP("set short", "in the room", in_the_room, set_short, was_set_short),
	OP("set short", "in a block", in_a_block, set_short, was_set_short),
	OP("append", "empty", empty, append, was_appended),
	OP("append", "in the room", in_the_room, append, was_appended),
	OP("append", "in a block", in_a_block, append, was_appended),
	OP("append long", "in the room", in_the_room, append_long, was_appended_long),
	OP("append long", "in a block", in_a_block, append_long, was_appended_long),
	OP("insert", "in the room", in_the_room, insert, was_inserted),
	OP("insert", "in a block", in_a_block, insert, was_inserted),
	OP("cut head", "in a block", in_a_block, cut_head, head_was_cut),
	OP("truncate", "in a block", in_a_block, truncate_to_2, was_truncated),
	OP("clear", "in a block", in_a_block, clear, was_cleared),
	OP("compare and set", "in a block", in_a_block, cas, was_set),
	OP("get", "in a block", in_a_block, get, is_as_it_was),
	OP("lock", "free", in_a_block, lock, locked),
	T_SWEEP("unlock", "locked", in_a_block, unlock, unlocked, .arrive = arrive_and_lock),
	OP("set", "owner died between lock and unlock", owner_died_between_lock_and_unlock, set,
	   news_stays),
	T_SWEEP("consistent", "inherited", owner_died_between_lock_and_unlock, consistent, locked,
		.arrive = arrive_and_lock),
	T_SWEEP("remove", "in a block", in_a_block, remove_it, was_removed, .arrive = arrive),
	T_SWEEP("create", "free", empty, create_another, was_created, .arrive = arrive),
};

int main(int argc, char **argv)
{
	size_t skip = t_long() ? 0 : 1;

	return t_sweep_main(argc, argv, "string", cases + skip,
			    sizeof(cases) / sizeof(cases[0]) - skip);
}
