/* SPDX-License-Identifier: MIT */

/*
 * shm/catalogue.h: making, finding and removing objects, and what the dead leave
 */

#include "shm/catalogue.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "ipc/participant.h"
#include "ipc/wait.h"
#include "shm/arena.h"
#include "shm/catalogue_layout.h"
#include "shm/segment_layout.h"
#include "tests/support/child.h"

#define N 32 /* entries of the catalogue */

/* What processes tell each other beside the segment. */
struct shared {
	_Atomic(uint32_t) entered; /* constructions begun */
	_Atomic(uint32_t) go;      /* what they wait for */
	_Atomic(uint32_t) wanted;  /* who is about to ask for a name */
};

static struct shared *shared;
static mproc_segment *segment;

static uint64_t n_blocks(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.n_blocks;
}

static uint32_t n_entries(uint32_t state)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < N; i++)
		n += mproc__entry_state(atomic_load(&segment->catalogue->entries[i].word)) == state;
	return n;
}

static int setup(void **state)
{
	(void)state;
	memset(shared, 0, sizeof(*shared));
	return mproc_segment_create(
		&segment, NULL,
		MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .processes = 8, .threads = 16, .objects = N));
}

static int teardown(void **state)
{
	(void)state;
	/* Nobody was asleep that somebody ought to have woken. */
	assert_int_equal(segment->range->reg->heals, 0);
	segment = mproc_segment_close(segment);
	return 0;
}

static const char *numbered(uint32_t i)
{
	static _Thread_local char name[16];

	snprintf(name, sizeof(name), "object-%u", (unsigned)i);
	return name;
}

static struct mproc__object_spec spec_of(const char *name)
{
	return (struct mproc__object_spec){
		.what = "thing",
		.name = name,
		.kind = MPROC__KIND_BLOCK,
		.len = 100,
	};
}

static int create(struct mproc__object *ret, const char *name)
{
	struct mproc__object_spec spec = spec_of(name);

	return mproc__object_create(ret, segment, &spec);
}

static int find(struct mproc__object *ret, const char *name)
{
	struct mproc__object_spec spec = spec_of(name);

	return mproc__object_open(ret, segment, &spec);
}

static void assert_text(const char *text)
{
	if (!strstr(mproc_error_text(), text))
		fail_msg("\"%s\" has no \"%s\"", mproc_error_text(), text);
}

static void object_is_found_as_it_was_made(void **state)
{
	struct mproc__object_spec spec = {
		.what = "queue", .name = "jobs", .kind = MPROC__KIND_QUEUE, .len = 100, .type = 77
	};
	struct mproc__object made, found;

	(void)state;
	assert_int_equal(mproc__object_open(&found, segment, &spec), -ENOENT);
	assert_text("open queue jobs: there is none");
	assert_int_equal(mproc__object_create(&made, segment, &spec), 0);
	assert_int_equal((uintptr_t)made.mem % 64, 0);
	for (size_t i = 0; i < made.len; i++)
		assert_int_equal(((char *)made.mem)[i], 0);
	assert_int_equal(mproc__object_open(&found, segment, &spec), 0);
	assert_ptr_equal(found.mem, made.mem);
	assert_int_equal(found.entry, made.entry);
	assert_int_equal(found.generation, made.generation);
	assert_int_equal(found.off, made.off);
	assert_int_equal(found.len, 100);
	assert_int_equal(found.type, 77);
	assert_int_equal(found.kind, MPROC__KIND_QUEUE);
	assert_int_equal(mproc__object_create(&made, segment, &spec), -EEXIST);
	assert_text("create queue jobs: the name is taken");
	spec.len = 0;
	assert_int_equal(mproc__object_open(&found, segment, &spec), 0);
	spec.len = 101;
	assert_int_equal(mproc__object_open(&found, segment, &spec), -EPROTO);
	assert_text("101 bytes wanted, it has 100");
	spec.len = 100;
	spec.type = 78;
	assert_int_equal(mproc__object_open(&found, segment, &spec), -EPROTO);
	assert_text("000000000000004e wanted, it has 000000000000004d");
	spec.kind = MPROC__KIND_VALUE;
	assert_int_equal(mproc__object_open(&found, segment, &spec), -EEXIST);
	assert_text("the name is that of another kind: queue");
}

static void names_have_1_to_63_bytes(void **state)
{
	struct mproc__object object, other;
	char name[65];

	(void)state;
	memset(name, 'n', sizeof(name));
	name[64] = '\0';
	assert_int_equal(create(&object, name), -EINVAL);
	assert_text("64 bytes, 1 to 63");
	assert_int_equal(create(&object, ""), -EINVAL);
	name[63] = '\0';
	assert_int_equal(create(&object, name), 0);
	/* Another one that differs in its last byte. */
	name[62] = 'm';
	assert_int_equal(find(&other, name), -ENOENT);
	assert_int_equal(create(&other, name), 0);
	assert_int_not_equal(object.entry, other.entry);
}

static void full_catalogue_is_an_error_with_its_number(void **state)
{
	struct mproc__object objects[N], object;

	(void)state;
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(create(&objects[i], numbered(i)), 0);
	assert_int_equal(create(&object, "more"), -ENOSPC);
	assert_text("create thing more: all 32 entries of the catalogue are taken");
	assert_int_equal(create(&object, NULL), -ENOSPC);
	assert_int_equal(n_blocks(), N);
	assert_int_equal(mproc__object_remove(segment, &objects[7]), 0);
	assert_int_equal(create(&object, "more"), 0);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(find(&object, numbered(i)), i == 7 ? -ENOENT : 0);
	assert_int_equal(n_blocks(), N);
}

static void large_object_that_does_not_fit_takes_no_entry(void **state)
{
	struct mproc__object_spec spec = spec_of("large");
	struct mproc__object object;

	(void)state;
	spec.len = 1 << 20;
	assert_int_equal(mproc__object_create(&object, segment, &spec), -ENOSPC);
	assert_int_equal(n_entries(MPROC__ENTRY_EMPTY), N);
	spec.len = 512 << 10;
	assert_int_equal(mproc__object_create(&object, segment, &spec), 0);
}

static void handle_on_a_removed_object_is_stale(void **state)
{
	struct mproc__object old, new;

	(void)state;
	assert_int_equal(create(&old, "x"), 0);
	assert_int_equal(mproc__object_check(segment, &old), 0);
	assert_int_equal(mproc__object_remove(segment, &old), 0);
	assert_int_equal(n_blocks(), 0);
	assert_int_equal(mproc__object_check(segment, &old), -ESTALE);
	assert_int_equal(mproc__object_remove(segment, &old), -ESTALE);
	assert_int_equal(find(&new, "x"), -ENOENT);
	/* The same entry again is not the same object. */
	assert_int_equal(create(&new, "x"), 0);
	assert_int_equal(new.entry, old.entry);
	assert_int_equal(mproc__object_check(segment, &old), -ESTALE);
	assert_int_equal(mproc__object_remove(segment, &old), -ESTALE);
	assert_int_equal(mproc__object_check(segment, &new), 0);
	assert_int_equal(n_blocks(), 1);
}

static void anonymous_objects_have_entries_too(void **state)
{
	struct mproc__object objects[4];
	struct mproc__entry_view view;
	char why[128];

	(void)state;
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(create(&objects[i], NULL), 0);
		assert_true(mproc__entry_check(&segment->catalogue->entries[objects[i].entry], 0,
					       mproc__segment_size(segment), &view, why,
					       sizeof(why)));
		assert_int_equal(view.state, MPROC__ENTRY_LIVE);
		assert_string_equal(view.name, "");
		assert_int_equal(view.off, objects[i].off);
	}
	assert_int_equal(n_entries(MPROC__ENTRY_LIVE), 4);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(mproc__object_remove(segment, &objects[i]), 0);
	assert_int_equal(n_blocks(), 0);
}

/* Against a table of what should be there: any order of making and removing. */
static void searches_pass_removed_entries(void **state)
{
	struct mproc__object objects[64], found;
	bool there[64] = { false };
	uint64_t seed = t_seed();
	uint32_t n = 0;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		uint32_t i = (uint32_t)(t_random(&seed) % 64);
		int r;

		if (there[i]) {
			assert_int_equal(mproc__object_remove(segment, &objects[i]), 0);
			n--;
			there[i] = false;
		} else {
			r = create(&objects[i], numbered(i));
			assert_int_equal(r, n < N ? 0 : -ENOSPC);
			there[i] = r == 0;
			n += r == 0;
		}
		i = (uint32_t)(t_random(&seed) % 64);
		assert_int_equal(find(&found, numbered(i)), there[i] ? 0 : -ENOENT);
		if (there[i])
			assert_int_equal(found.generation, objects[i].generation);
	}
	assert_int_equal(n_blocks(), n);
}

static void entries_that_were_removed_become_empty_again(void **state)
{
	struct mproc__object object, kept;

	(void)state;
	assert_int_equal(create(&kept, "kept"), 0);
	for (uint32_t i = 0; i < 1000; i++) {
		assert_int_equal(create(&object, numbered(i)), 0);
		assert_int_equal(mproc__object_remove(segment, &object), 0);
		assert_int_equal(find(&object, "kept"), 0);
	}
	/* Or searches for what is not there would look at every entry for ever. */
	assert_true(n_entries(MPROC__ENTRY_EMPTY) > N / 4);
}

static int give_up(void *mem, void *arg)
{
	(void)mem;
	return *(int *)arg;
}

static void construction_that_fails_leaves_nothing(void **state)
{
	struct mproc__object_spec spec = spec_of("never");
	struct mproc__object object = { .entry = 4711 };
	int why = -ENODATA;

	(void)state;
	spec.init = give_up;
	spec.arg = &why;
	assert_int_equal(mproc__object_create(&object, segment, &spec), -ENODATA);
	assert_int_equal(mproc__object_open_or_create(&object, segment, &spec), -ENODATA);
	assert_int_equal(object.entry, 4711);
	assert_int_equal(n_blocks(), 0);
	assert_int_equal(n_entries(MPROC__ENTRY_LIVE), 0);
	assert_int_equal(n_entries(MPROC__ENTRY_RESERVED), 0);
	assert_int_equal(find(&object, "never"), -ENOENT);
	assert_int_equal(create(&object, "never"), 0);
}

static int make_others(void *mem, void *arg)
{
	struct mproc__object_spec self = spec_of("outer");
	struct mproc__object object;

	(void)mem;
	(void)arg;
	/* No lock is held. What is being made cannot be found yet. */
	if (create(&object, "inner") != 0 || find(&object, "inner") != 0 ||
	    find(&object, "outer") != -ENOENT)
		return -EIO;
	if (mproc__object_open_or_create(&object, segment, &self) != -EDEADLK)
		return -EIO;
	return 0;
}

static void construction_may_use_the_library(void **state)
{
	struct mproc__object_spec spec = spec_of("outer");
	struct mproc__object object;

	(void)state;
	spec.init = make_others;
	assert_int_equal(mproc__object_create(&object, segment, &spec), 0);
	assert_text("create thing outer: asked for from inside its own construction");
	assert_int_equal(find(&object, "outer"), 0);
	assert_int_equal(find(&object, "inner"), 0);
}

static bool is_entered(void *arg)
{
	return atomic_load(&shared->entered) == (uint32_t)(uintptr_t)arg;
}

/* Wait until the number in @arg is reached. */
static int construct_slowly(void *mem, void *arg)
{
	strcpy(mem, "done");
	atomic_fetch_add(&shared->entered, 1);
	while (atomic_load(&shared->go) < (uint32_t)(uintptr_t)arg)
		usleep(100);
	return 0;
}

static void build_slowly(void *arg)
{
	struct mproc__object_spec spec = spec_of("slow");
	struct mproc__object object;

	spec.init = construct_slowly;
	spec.arg = arg;
	t_check(mproc__object_create(&object, segment, &spec) == 0);
}

static void want_it(void *arg)
{
	struct mproc__object_spec spec = spec_of("slow");
	struct mproc__object object;

	spec.init = construct_slowly;
	atomic_fetch_add(&shared->wanted, 1);
	t_check(mproc__object_open_or_create(&object, segment, &spec) == (int)(intptr_t)arg);
	t_check(!strcmp(object.mem, "done"));
}

/* Are this many asleep for something? */
static bool are_asleep(void *arg)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < segment->range->n_threads; i++)
		n += atomic_load(&segment->range->threads[i].waits_on) != 0;
	return n == (uint32_t)(uintptr_t)arg;
}

static void who_comes_second_waits_for_the_first(void **state)
{
	pid_t builder, waiters[2];
	struct mproc__object object;

	(void)state;
	builder = t_spawn(build_slowly, (void *)1);
	assert_true(t_wait_until(is_entered, (void *)1, mproc_after_ms(5000)));
	assert_int_equal(find(&object, "slow"), -ENOENT);
	for (int i = 0; i < 2; i++)
		waiters[i] = t_spawn(want_it, (void *)0);
	assert_true(t_wait_until(are_asleep, (void *)2, mproc_after_ms(5000)));
	atomic_store(&shared->go, 1);
	assert_int_equal(t_reap(builder), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(t_reap(waiters[i]), 0);
	assert_int_equal(shared->entered, 1);
	assert_int_equal(n_blocks(), 1);
}

static void builder_who_is_killed_is_replaced(void **state)
{
	pid_t builder, waiter;
	struct mproc__object object;

	(void)state;
	builder = t_spawn(build_slowly, (void *)1);
	assert_true(t_wait_until(is_entered, (void *)1, mproc_after_ms(5000)));
	waiter = t_spawn(want_it, (void *)1);
	assert_true(t_wait_until(are_asleep, (void *)1, mproc_after_ms(5000)));
	/* One who stands still is waited for. */
	assert_int_equal(kill(builder, SIGSTOP), 0);
	usleep(200000);
	assert_int_equal(shared->entered, 1);
	assert_int_equal(kill(builder, SIGKILL), 0);
	assert_int_equal(t_reap(builder), SIGKILL);
	assert_int_equal(t_reap(waiter), 0);
	assert_int_equal(shared->entered, 2);
	assert_int_equal(find(&object, "slow"), 0);
	assert_true(mproc__reap_all(segment->range) >= 0);
	assert_int_equal(n_blocks(), 1);
}

static void build_anonymously(void *arg)
{
	struct mproc__object_spec spec = spec_of(NULL);
	struct mproc__object object;

	spec.init = construct_slowly;
	spec.arg = arg;
	t_check(mproc__object_create(&object, segment, &spec) == 0);
}

static void entries_of_dead_builders_are_room(void **state)
{
	struct mproc__object object;
	pid_t pids[4];

	(void)state;
	for (uint32_t i = 0; i < 4; i++)
		pids[i] = t_spawn(build_anonymously, (void *)1);
	assert_true(t_wait_until(is_entered, (void *)4, mproc_after_ms(5000)));
	for (uint32_t i = 0; i < N - 4; i++)
		assert_int_equal(create(&object, numbered(i)), 0);
	assert_int_equal(create(&object, "last"), -ENOSPC);
	for (uint32_t i = 0; i < 4; i++) {
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
	/* The want of room is what makes us look after the dead. */
	assert_int_equal(create(&object, "last"), 0);
	assert_int_equal(n_entries(MPROC__ENTRY_RESERVED), 0);
	assert_int_equal(n_blocks(), N - 3);
}

static int fork_inside(void *mem, void *arg)
{
	(void)mem;
	*(pid_t *)arg = fork();
	return 0;
}

static void child_forked_by_a_construction_has_built_nothing(void **state)
{
	struct mproc__object_spec spec = spec_of("forked");
	struct mproc__object object;
	pid_t pid = -1;
	int r;

	(void)state;
	spec.init = fork_inside;
	spec.arg = &pid;
	r = mproc__object_create(&object, segment, &spec);
	if (pid == 0)
		_exit(r == -ENOTCONN && find(&object, "forked") <= 0 ? 0 : 1);
	assert_int_equal(r, 0);
	assert_int_equal(t_reap(pid), 0);
	assert_int_equal(find(&object, "forked"), 0);
	assert_int_equal(n_blocks(), 1);
}

struct worker {
	uint64_t seed;
	uint64_t n_made, n_found;
	bool bad;
};

static int mark(void *mem, void *arg)
{
	memcpy(mem, arg, strlen(arg) + 1);
	return 0;
}

/* Make, find and remove a few names that all threads want. */
static void *work(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < (t_sanitized() ? 1000 : 5000) && !w->bad; i++) {
		char name[8] = { (char)('a' + t_random(&w->seed) % 4), '\0' };
		struct mproc__object_spec spec = spec_of(name);
		struct mproc__object object;
		int r;

		spec.init = mark;
		spec.arg = name;
		r = mproc__object_open_or_create(&object, segment, &spec);
		/* Another thread may have removed it since, and its memory be anything then. */
		if (r < 0 || (memcmp(object.mem, name, 2) != 0 &&
			      mproc__object_check(segment, &object) == 0))
			w->bad = true;
		w->n_made += r == 1;
		w->n_found += r == 0;
		if (t_random(&w->seed) % 2)
			(void)mproc__object_remove(segment, &object);
	}
	return NULL;
}

static void threads_find_whole_objects_or_none(void **state)
{
	struct worker workers[4];
	struct mproc__object object;
	uint64_t seed = t_seed();
	pthread_t threads[4];
	char name[2] = "a";
	uint32_t n = 0;

	(void)state;
	for (int i = 0; i < 4; i++) {
		workers[i] = (struct worker){ .seed = t_random(&seed) };
		assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_false(workers[i].bad);
		assert_true(workers[i].n_made > 0);
	}
	for (; name[0] < 'e'; name[0]++) {
		int r = find(&object, name);

		assert_true(r == 0 || r == -ENOENT);
		n += r == 0;
	}
	assert_int_equal(n_entries(MPROC__ENTRY_LIVE), n);
	assert_int_equal(n_blocks(), n);
}

static void impossible_copies_are_told(void **state)
{
	struct mproc__entry entry = { .word = mproc__entry_word(3, MPROC__ENTRY_LIVE),
				      .kind = MPROC__KIND_BLOCK,
				      .off = 8192,
				      .len = 100 };
	struct mproc__entry_view view;
	struct mproc__catalogue *head = segment->catalogue;
	uint64_t len = mproc__catalogue_size(N);
	char why[128];

	(void)state;
	assert_true(mproc__entry_check(&entry, 4096, 8192, &view, why, sizeof(why)));
	assert_int_equal(view.generation, 3);
	entry.len = 4097;
	assert_false(mproc__entry_check(&entry, 4096, 8192, &view, why, sizeof(why)));
	assert_string_equal(why, "its 4097 bytes at offset 8192 do not lie in the arena");
	entry.len = UINT64_MAX;
	assert_false(mproc__entry_check(&entry, 4096, 8192, &view, why, sizeof(why)));
	entry.len = 100;
	entry.off = 100;
	assert_false(mproc__entry_check(&entry, 4096, 8192, &view, why, sizeof(why)));
	entry.off = 8192;
	entry.kind = 200;
	assert_false(mproc__entry_check(&entry, 4096, 8192, &view, why, sizeof(why)));
	assert_string_equal(why, "kind 200 is unknown");
	entry.kind = MPROC__KIND_BLOCK;
	memset(&entry.name, 'x', sizeof(entry.name));
	assert_false(mproc__entry_check(&entry, 4096, 8192, &view, why, sizeof(why)));
	assert_int_equal(strlen(view.name), 63);
	entry.word = 15;
	assert_false(mproc__entry_check(&entry, 4096, 8192, &view, why, sizeof(why)));
	assert_string_equal(why, "state 15 is none");

	assert_true(mproc__catalogue_check(head, N, len, why, sizeof(why)));
	assert_false(mproc__catalogue_check(head, N + 1, len, why, sizeof(why)));
	assert_false(mproc__catalogue_check(head, N, len - 1, why, sizeof(why)));
}

/* Nobody finds it, and nobody can take its name: to be told that it is there helps nobody. */
static void entry_with_the_hash_of_another_name_is_an_error(void **state)
{
	const struct mproc__object_spec spec = spec_of("x");
	struct mproc__object object, found;

	(void)state;
	assert_int_equal(create(&object, "x"), 0);
	atomic_fetch_add(&segment->catalogue->entries[object.entry].hash, 1);
	assert_int_equal(find(&found, "x"), -ENOENT);
	assert_int_equal(create(&found, "x"), -EBADMSG);
	assert_text("has that name and another's hash");
	assert_int_equal(mproc__object_open_or_create(&found, segment, &spec), -EBADMSG);
	assert_int_equal(n_blocks(), 1);
}

/* A segment is all its users': a scribbled entry is an error, nothing else. */
static void scribbled_entries_are_errors(void **state)
{
	struct mproc__object object, found;
	struct mproc__entry *entry;

	(void)state;
	assert_int_equal(create(&object, "x"), 0);
	entry = &segment->catalogue->entries[object.entry];
	atomic_store(&entry->off, UINT64_MAX - 50);
	assert_int_equal(find(&found, "x"), -EBADMSG);
	atomic_store(&entry->off, object.off + 64);
	assert_int_equal(find(&found, "x"), -EBADMSG);
	/* Within its block, but where no object begins: its words would be misaligned. */
	atomic_store(&entry->off, object.off + 1);
	atomic_store(&entry->len, object.len);
	assert_int_equal(find(&found, "x"), -EBADMSG);
	atomic_store(&entry->off, object.off);
	atomic_store(&entry->len, UINT64_MAX);
	assert_int_equal(mproc__object_open(&found, segment,
					    &(struct mproc__object_spec){
						    .what = "thing",
						    .name = "x",
						    .kind = MPROC__KIND_BLOCK,
					    }),
			 -EBADMSG);
	/* What a dead owner that never was has reserved does not stop anybody. */
	atomic_store(&entry->len, object.len);
	atomic_store(&entry->word, mproc__owner_word(16383, 5) | MPROC__ENTRY_RESERVED);
	assert_int_equal(create(&found, "x"), 0);
	assert_int_equal(n_blocks(), 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(object_is_found_as_it_was_made),
		TEST(names_have_1_to_63_bytes),
		TEST(full_catalogue_is_an_error_with_its_number),
		TEST(large_object_that_does_not_fit_takes_no_entry),
		TEST(handle_on_a_removed_object_is_stale),
		TEST(anonymous_objects_have_entries_too),
		TEST(searches_pass_removed_entries),
		TEST(entries_that_were_removed_become_empty_again),
		TEST(construction_that_fails_leaves_nothing),
		TEST(construction_may_use_the_library),
		TEST(who_comes_second_waits_for_the_first),
		TEST(builder_who_is_killed_is_replaced),
		TEST(entries_of_dead_builders_are_room),
		TEST(child_forked_by_a_construction_has_built_nothing),
		TEST(threads_find_whole_objects_or_none),
		TEST(impossible_copies_are_told),
		TEST(entry_with_the_hash_of_another_name_is_an_error),
		TEST(scribbled_entries_are_errors),
	};

	t_private_dir();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	return cmocka_run_group_tests_name("catalogue", tests, NULL, NULL);
}
