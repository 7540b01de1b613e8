/* SPDX-License-Identifier: MIT */

/*
 * Whoever is killed in a value or an array, wherever: every item is one that
 * somebody has set, and who has the lock next is told if, and only if, the dead
 * had it by lock()
 */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <mproc/array.h>
#include <mproc/value.h>
#include <mproc/view.h>

#include "ipc/kind_layout.h"
#include "shm/cells.h"
#include "tests/support/child.h"
#include "tests/support/sweep.h"

struct point {
	int64_t x, y, z;
	int32_t tag;
	char name[12];
};

#define POINT(n) ((struct point){ (n), (n)*2, (n)*3, (n), "point" })
#define N_ITEMS  3

static mproc_segment *segment;
static mproc_value *value;
static mproc_value *number;
static mproc_array *array;

/* Two values under one mutex that was given, and a number without a lock. */
static mproc_mutex *mutex;
static mproc_value *given, *neighbour, *raw;

static int init_mutex(void *object, void *arg)
{
	(void)arg;
	return mproc_mutex_init(object, 0);
}

static void watch_object(const char *name, uint32_t kind)
{
	const struct mproc__object_spec spec = {
		.what = "test", .name = name, .kind = kind, .type = MPROC__CELLS_LAYOUT
	};
	struct mproc__object object;

	t_sweep_check(mproc__object_open(&object, segment, &spec) == 0);
	t_sweep_watch(object.mem, object.len);
}

static void fresh(void)
{
	struct point init[N_ITEMS] = { POINT(1), POINT(1), POINT(1) };

	t_sweep_check(mproc_segment_create(&segment, NULL,
					   MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .processes = 8,
							      .threads = 16, .objects = 8)) == 0);
	t_sweep_check(mproc_value_create(&value, segment, "value",
					 MPROC_VALUE_OPTS(.type = MPROC_TYPE(struct point),
							  .init = init)) == 0);
	t_sweep_check(mproc_value_create(&number, segment, "number",
					 MPROC_VALUE_OPTS(.type = MPROC_TYPE(int32_t),
							  .init = &(int32_t){ 1 })) == 0);
	t_sweep_check(mproc_array_create(&array, segment, "array",
					 MPROC_ARRAY_OPTS(.type = MPROC_TYPE(struct point),
							  .n_items = N_ITEMS, .init = init)) == 0);
	t_sweep_watch(segment->range->procs, 8 * sizeof(struct mproc__proc));
	t_sweep_watch(segment->range->threads, 16 * sizeof(struct mproc__thread));
	watch_object("value", MPROC__KIND_VALUE);
	watch_object("number", MPROC__KIND_VALUE);
	watch_object("array", MPROC__KIND_ARRAY);
}

static void fresh_given(void)
{
	const struct point init = POINT(1);
	void *object;

	fresh();
	t_sweep_check(mproc_segment_object(&object, segment, "mutex", sizeof(*mutex), init_mutex,
					   NULL) == 1);
	mutex = object;
	t_sweep_check(mproc_value_create(&given, segment, "given",
					 MPROC_VALUE_OPTS(.type = MPROC_TYPE(struct point),
							  .init = &init, .mutex = mutex)) == 0);
	t_sweep_check(mproc_value_create(&neighbour, segment, "neighbour",
					 MPROC_VALUE_OPTS(.type = MPROC_TYPE(struct point),
							  .init = &init, .mutex = mutex)) == 0);
	t_sweep_check(mproc_value_create(&raw, segment, "raw",
					 MPROC_VALUE_OPTS(.type = MPROC_TYPE(double),
							  .init = &(double){ 1 },
							  .flags = MPROC_VALUE_RAW)) == 0);
	t_sweep_watch(mutex, sizeof(*mutex));
	watch_object("given", MPROC__KIND_VALUE);
	watch_object("neighbour", MPROC__KIND_VALUE);
	watch_object("raw", MPROC__KIND_VALUE);
}

/* What somebody is killed in the middle of: the stage is full, the item half written. */
static void die_while_setting(void *arg)
{
	struct mproc__object_spec spec = { .what = "test",
					   .name = "value",
					   .kind = MPROC__KIND_VALUE,
					   .type = MPROC__CELLS_LAYOUT };
	const struct point new = POINT(2);
	struct mproc__cells_geometry g;
	_Atomic(uint64_t) *pending;
	struct mproc__object object;
	char *mem;

	(void)arg;
	t_sweep_check(mproc__object_open(&object, segment, &spec) == 0);
	mem = object.mem;
	t_sweep_check(mproc__cells_check(mem, object.len, &g));
	pending = (void *)(mem + g.pending);
	t_sweep_check(mproc_mutex_lock((void *)(mem + g.lock), MPROC_FOREVER) == 0);
	memcpy(mem + g.stage, &new, sizeof(new));
	*pending = 1;
	memcpy(mem + g.items, &new, sizeof(new) / 2);
}

static void owner_died_setting(void)
{
	fresh();
	t_sweep_helper(die_while_setting, NULL);
}

static void die_in_section(void *arg)
{
	(void)arg;
	t_sweep_check(mproc_value_lock(value, MPROC_FOREVER) == 0);
}

static void owner_died_between_lock_and_unlock(void)
{
	fresh();
	t_sweep_helper(die_in_section, NULL);
}

static void arrive(void)
{
	t_sweep_check(mproc__self(segment->arena, "arrive") != NULL);
}

static void arrive_and_lock(void)
{
	t_sweep_check(mproc_value_lock(value, MPROC_FOREVER) >= 0);
}

/*
 * Operations
 */

static int64_t set(void)
{
	const struct point new = POINT(3);

	return mproc_value_set(value, struct point, &new, MPROC_FOREVER);
}

static int64_t set_other(void)
{
	const struct point new = POINT(4);

	return mproc_value_set(value, struct point, &new, MPROC_FOREVER);
}

static int64_t set_number(void)
{
	return mproc_value_set(number, int32_t, &(int32_t){ 3 }, MPROC_FOREVER);
}

static int64_t set_number_other(void)
{
	return mproc_value_set(number, int32_t, &(int32_t){ 4 }, MPROC_FOREVER);
}

static int64_t add_number(void)
{
	return mproc_value_add(number, int32_t, 2, NULL);
}

static int64_t set_given(void)
{
	const struct point new = POINT(3);

	return mproc_value_set(given, struct point, &new, MPROC_FOREVER);
}

/* The news of the death may reach somebody who only knows the neighbour. */
static int64_t set_neighbour_first(void)
{
	const struct point new = POINT(4);
	int r = mproc_value_set(neighbour, struct point, &new, MPROC_FOREVER);

	return r < 0 ? r : mproc_value_set(given, struct point, &new, MPROC_FOREVER);
}

static int64_t add_raw(void)
{
	return mproc_value_add(raw, double, 2, NULL);
}

static int64_t lock_twice(void)
{
	int r = mproc_value_lock(value, MPROC_FOREVER);

	return r < 0 ? r : mproc_value_lock(value, MPROC_FOREVER);
}

static int64_t set_view(void)
{
	const struct point new[2] = { POINT(3), POINT(3) };
	struct mproc_view view;
	int r;

	r = mproc_view_init(&view, array, struct point);
	if (r == 0)
		r = mproc_view_slice(&view, 0, MPROC_VIEW_OPEN, MPROC_VIEW_OPEN, -2);
	return r < 0 ? r : mproc_view_set(&view, new, 2, MPROC_FOREVER);
}

static int64_t lock(void)
{
	return mproc_value_lock(value, MPROC_FOREVER);
}

static int64_t unlock(void)
{
	return mproc_value_unlock(value);
}

static int64_t consistent(void)
{
	return mproc_value_consistent(value);
}

static int64_t copy_in(void)
{
	const struct point new[N_ITEMS] = { POINT(3), POINT(3), POINT(3) };

	return mproc_array_copy_in(array, struct point, 0, N_ITEMS, new, MPROC_FOREVER);
}

static int64_t copy_in_other(void)
{
	const struct point new[N_ITEMS] = { POINT(4), POINT(4), POINT(4) };

	return mproc_array_copy_in(array, struct point, 0, N_ITEMS, new, MPROC_FOREVER);
}

/* Sleeping for a change, and what wakes from it. */

static struct waiting {
	_Atomic(uint64_t) done;
} * waiting;

static int64_t wait_number(void)
{
	int32_t seen = 1;

	return mproc_value_wait(number, int32_t, &seen, MPROC_FOREVER);
}

static void wait_and_tell(void *arg)
{
	(void)arg;
	t_sweep_check(wait_number() == 0);
	waiting->done = 1;
}

static void one_waits(void)
{
	fresh();
	waiting = t_sweep_map(sizeof(*waiting));
	t_sweep_helper(wait_and_tell, NULL);
}

static void add_later(void *arg)
{
	(void)arg;
	t_sweep_check(mproc__self(segment->arena, "arrive"));
	t_sweep_rest();
	t_sweep_check(add_number() == 0);
	waiting->done = 1;
}

static void one_adds_later(void)
{
	fresh();
	waiting = t_sweep_map(sizeof(*waiting));
	t_sweep_helper(add_later, NULL);
}

static bool helper_is_through(void *arg)
{
	(void)arg;
	return waiting->done;
}

/*
 * What the survivor finds
 */

/* The number of a point that somebody has set whole, or 0. */
static int64_t number_of(const struct point *p)
{
	const struct point want = POINT(p->tag);

	return memcmp(p, &want, sizeof(want)) ? 0 : p->tag;
}

/* Return: the number of the value. @told: what get() said besides. */
static int64_t look(int *told)
{
	struct point p;
	int64_t n;

	*told = mproc_value_get(value, struct point, &p, MPROC_FOREVER);
	t_sweep_check(*told >= 0);
	n = number_of(&p);
	t_sweep_check(n > 0);
	return n;
}

/* Whoever comes can use it. */
static void is_usable(void)
{
	const struct point new = POINT(9);
	int told, r;

	r = mproc_value_lock(value, MPROC_FOREVER);
	t_sweep_check(r >= 0);
	if (r == MPROC_MUTEX_INHERITED)
		t_sweep_check(mproc_value_consistent(value) == 0);
	t_sweep_check(mproc_value_unlock(value) == 0);
	t_sweep_check(mproc_value_set(value, struct point, &new, MPROC_FOREVER) == 0);
	t_sweep_check(look(&told) == 9 && told == 0);
}

static void value_is_whole(const struct t_sweep_seen *seen, int64_t old)
{
	int told;
	int64_t n = look(&told);

	t_sweep_check(n == old || n == 3 || (seen->recovering && n == 4));
	t_sweep_check(!seen->returned || n != old);
	t_sweep_check(!seen->recovered || n == 4);
	/* set() leaves nothing half done, so there is no news of a death in it. */
	t_sweep_check(told == 0 && (!seen->returned || seen->result == 0));
	is_usable();
}

static void old_or_new(const struct t_sweep_seen *seen)
{
	value_is_whole(seen, 1);
}

/* What the dead had committed stands, until it is set anew. */
static void committed_or_new(const struct t_sweep_seen *seen)
{
	value_is_whole(seen, 2);
}

static void news_stays(const struct t_sweep_seen *seen)
{
	int told;

	look(&told);
	t_sweep_check(told == MPROC_MUTEX_INHERITED);
	t_sweep_check(!seen->returned || seen->result == MPROC_MUTEX_INHERITED);
	is_usable();
}

/* One who was killed with the lock is told of; one who was just taking it may be. */
static void locked(const struct t_sweep_seen *seen)
{
	int told;
	int64_t n = look(&told);

	t_sweep_check(n == 1 || (seen->recovering && n == 4));
	t_sweep_check(!seen->returned || (seen->result == 0 && told == MPROC_MUTEX_INHERITED));
	is_usable();
}

/* After unlock() nobody is; one who was just calling it may be. */
static void unlocked(const struct t_sweep_seen *seen)
{
	int told;

	look(&told);
	t_sweep_check(!seen->returned || (seen->result == 0 && told == 0));
	is_usable();
}

/* He has the lock still, and dies with it: there is news again. */
static void made_consistent(const struct t_sweep_seen *seen)
{
	int told;

	look(&told);
	t_sweep_check(told == MPROC_MUTEX_INHERITED);
	t_sweep_check(!seen->returned || seen->result == 0);
	is_usable();
}

static void number_is_whole(const struct t_sweep_seen *seen)
{
	int32_t n;

	t_sweep_check(mproc_value_get(number, int32_t, &n, MPROC_FOREVER) == 0);
	t_sweep_check(n == 1 || n == 3 || (seen->recovering && n == 4));
	t_sweep_check(!seen->returned || n != 1);
	t_sweep_check(!seen->recovered || n == 4);
}

static void number_is_added_once(const struct t_sweep_seen *seen)
{
	int32_t n;

	t_sweep_check(mproc_value_load(number, int32_t, &n) == 0);
	t_sweep_check(n == 3 || (!seen->returned && n == 1));
}

/* He who waits comes through by himself once it has changed. */
static void change_is_noticed(const struct t_sweep_seen *seen)
{
	int32_t n;

	t_sweep_rouse();
	t_sweep_check(mproc_value_load(number, int32_t, &n) == 0);
	t_sweep_check(n != 1 || !seen->returned || seen->recovering);
	if (n == 1)
		t_sweep_check(!waiting->done && add_number() == 0);
	t_sweep_check(t_wait_until(helper_is_through, NULL, mproc_after_ms(4000)));
}

static void was_waited_for(const struct t_sweep_seen *seen)
{
	int32_t n;

	t_sweep_check(!seen->returned || seen->result == 0);
	t_sweep_rouse();
	t_sweep_check(t_wait_until(helper_is_through, NULL, mproc_after_ms(4000)));
	t_sweep_check(mproc_value_load(number, int32_t, &n) == 0 && n == 3);
}

/* New items up to some index, old ones behind it; the recoverer's before both. */
static void items_are_whole(const struct t_sweep_seen *seen)
{
	struct point p[N_ITEMS];
	int64_t n, last = 0;

	t_sweep_check(mproc_array_copy_out(array, struct point, 0, N_ITEMS, p, MPROC_FOREVER) == 0);
	for (int i = 0; i < N_ITEMS; i++) {
		n = number_of(&p[i]);
		t_sweep_check(n == 1 || n == 3 || (n == 4 && seen->recovering));
		t_sweep_check(!last || n <= last);
		t_sweep_check(!seen->returned || n != 1);
		t_sweep_check(!seen->recovered || n == 4);
		last = n;
	}
	t_sweep_check(mproc_array_lock(array, MPROC_FOREVER) == 0);
	t_sweep_check(mproc_array_unlock(array) == 0);
}

/* Whoever has had the mutex in between, the dead's commit is finished or never was. */
static void given_is_whole(const struct t_sweep_seen *seen)
{
	struct point p;
	int64_t n;
	int r;

	t_sweep_check(mproc_value_get(neighbour, struct point, &p, MPROC_FOREVER) >= 0);
	n = number_of(&p);
	t_sweep_check(n == 1 || (n == 4 && seen->recovering));
	r = mproc_mutex_lock(mutex, MPROC_FOREVER);
	t_sweep_check(r >= 0);
	if (r == MPROC_MUTEX_INHERITED)
		t_sweep_check(mproc_mutex_consistent(mutex) == 0);
	/* By one who has locked it himself. */
	t_sweep_check(mproc_value_get(given, struct point, &p, MPROC_FOREVER) == 0);
	t_sweep_check(mproc_mutex_unlock(mutex) == 0);
	n = number_of(&p);
	t_sweep_check(n == 1 || n == 3 || (n == 4 && seen->recovering));
	t_sweep_check(!seen->returned || n != 1);
	t_sweep_check(!seen->recovered || n == 4);
}

static void raw_is_added_once(const struct t_sweep_seen *seen)
{
	double x;

	t_sweep_check(mproc_value_get(raw, double, &x, MPROC_FOREVER) == 0);
	t_sweep_check(x == 3 || (!seen->returned && x == 1));
}

/* The last first, as the view goes; the one between is not touched. */
static void view_is_whole(const struct t_sweep_seen *seen)
{
	struct point p[N_ITEMS];
	int64_t first, last;

	t_sweep_check(mproc_array_copy_out(array, struct point, 0, N_ITEMS, p, MPROC_FOREVER) == 0);
	first = number_of(&p[0]);
	last = number_of(&p[2]);
	t_sweep_check(number_of(&p[1]) == (seen->recovering ? number_of(&p[1]) : 1));
	t_sweep_check(first && last && (seen->recovering || first <= last));
	t_sweep_check(!seen->returned || seen->recovering || (first == 3 && last == 3));
	t_sweep_check(mproc_array_lock(array, MPROC_FOREVER) == 0);
	t_sweep_check(mproc_array_unlock(array) == 0);
}

static const struct t_sweep_case cases[] = {
	T_SWEEP("set struct", "free", fresh, set, old_or_new, .arrive = arrive,
		.recover = set_other),
	T_SWEEP("set struct", "owner died setting", owner_died_setting, set, committed_or_new,
		.arrive = arrive, .recover = set_other),
	T_SWEEP("set struct", "owner died between lock and unlock",
		owner_died_between_lock_and_unlock, set, news_stays, .arrive = arrive,
		.recover = set_other),
	T_SWEEP("lock", "free", fresh, lock, locked, .arrive = arrive, .recover = set_other),
	T_SWEEP("lock", "owner died between lock and unlock", owner_died_between_lock_and_unlock,
		lock, news_stays, .arrive = arrive, .recover = set_other),
	T_SWEEP("unlock", "locked", fresh, unlock, unlocked, .arrive = arrive_and_lock),
	T_SWEEP("consistent", "inherited", owner_died_between_lock_and_unlock, consistent,
		made_consistent, .arrive = arrive_and_lock),
	T_SWEEP("set number", "free", fresh, set_number, number_is_whole, .arrive = arrive,
		.recover = set_number_other),
	T_SWEEP("add number", "free", fresh, add_number, number_is_added_once, .arrive = arrive),
	T_SWEEP("set number", "one waits", one_waits, set_number, change_is_noticed,
		.arrive = arrive, .recover = set_number_other),
	T_SWEEP("add number", "one waits", one_waits, add_number, change_is_noticed,
		.arrive = arrive),
	T_SWEEP("wait", "one adds later", one_adds_later, wait_number, was_waited_for,
		.arrive = arrive),
	T_SWEEP("set struct", "free, its mutex is given", fresh_given, set_given, given_is_whole,
		.arrive = arrive, .recover = set_neighbour_first),
	T_SWEEP("add float", "free, raw", fresh_given, add_raw, raw_is_added_once,
		.arrive = arrive),
	T_SWEEP("lock twice", "free", fresh, lock_twice, locked, .arrive = arrive,
		.recover = set_other),
	T_SWEEP("set view", "free", fresh, set_view, view_is_whole, .arrive = arrive),
	T_SWEEP("copy in", "free", fresh, copy_in, items_are_whole, .arrive = arrive,
		.recover = copy_in_other),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "value", cases, sizeof(cases) / sizeof(cases[0]));
}
