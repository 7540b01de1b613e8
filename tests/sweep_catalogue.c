/* SPDX-License-Identifier: MIT */

/*
 * Whoever is killed while he makes, finds or removes an object, wherever: an object
 * is there whole or not at all, every entry can be used, and no block is lost
 */

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include <mproc/error.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/catalogue.h"
#include "shm/catalogue_layout.h"
#include "shm/segment_layout.h"
#include "tests/support/sweep.h"

#define N    8 /* entries */
#define MARK UINT64_C(0x6b72616d)

static mproc_segment *segment;

/* What remove() is about. */
static struct mproc__object object;

/* Of "x", in the middle of it. A descriptor: his number may be another's by now. */
static int builder = -1;

static int mark(void *mem, void *arg)
{
	(void)arg;
	for (size_t i = 0; i < 8; i++)
		((uint64_t *)mem)[i] = MARK + i;
	return 0;
}

static struct mproc__object_spec spec_of(const char *name)
{
	return (struct mproc__object_spec){
		.what = "thing",
		.name = name,
		.kind = MPROC__KIND_BLOCK,
		.len = 64,
		.init = mark,
	};
}

static int make(const char *name, struct mproc__object *ret)
{
	struct mproc__object_spec spec = spec_of(name);

	return mproc__object_create(ret, segment, &spec);
}

/*
 * Start states
 */

static void fresh(void)
{
	const struct mproc_segment_opts opts = {
		.size = sizeof(opts),
		.bytes = 128 << 10,
		.processes = 6,
		.threads = 8,
		.objects = N,
	};

	if (mproc_segment_create(&segment, NULL, &opts) < 0)
		t_sweep_fail("%s", mproc_error_text());
	/* The header stands; all that follows is decided by. */
	t_sweep_watch((const char *)segment->range->reg, (128 << 10) - MPROC__SEGMENT_HEAD_LEN);
}

static int rest_in_the_middle(void *mem, void *arg)
{
	mark(mem, arg);
	((uint64_t *)mem)[3] = 0;
	t_sweep_rest();
	((uint64_t *)mem)[3] = MARK + 3;
	return 0;
}

static void begin_and_rest(void *arg)
{
	struct mproc__object_spec spec = spec_of("x");
	struct mproc__object made;

	(void)arg;
	spec.init = rest_in_the_middle;
	if (mproc__object_create(&made, segment, &spec) < 0)
		t_sweep_fail("%s", mproc_error_text());
	for (;;)
		t_sweep_rest();
}

static void begun(void)
{
	fresh();
	builder = pidfd_open(t_sweep_helper(begin_and_rest, NULL), 0);
	t_sweep_check(builder >= 0);
}

/* Make @n objects beside "x". */
static void fill(uint32_t n)
{
	char name[2] = "a";
	struct mproc__object made;

	for (; n; n--, name[0]++)
		t_sweep_check(make(name, &made) == 0);
}

static void full(void)
{
	fresh();
	fill(N);
}

static void full_with_one_begun(void)
{
	begun();
	fill(N - 1);
}

/* Every entry was used, and "x" lies behind some that are not any more. */
static void tombs(void)
{
	struct mproc__object made[N];
	char name[2] = "a";

	fresh();
	for (uint32_t i = 0; i < N; i++, name[0]++)
		t_sweep_check(make(name, &made[i]) == 0);
	for (uint32_t i = 0; i < N; i += 2)
		t_sweep_check(mproc__object_remove(segment, &made[i]) == 0);
	t_sweep_check(make("x", &object) == 0);
}

/* So many were made and removed that the next to be made sweeps up after them. */
static void many_tombs(void)
{
	tombs();
	t_sweep_check(mproc__object_remove(segment, &object) == 0);
}

static void two_objects(void)
{
	fresh();
	fill(1);
	t_sweep_check(make("x", &object) == 0);
}

static void attach(void)
{
	t_sweep_check(mproc__self(segment->catalogue, "sweep"));
}

static bool is_being_built_by_the_living(void)
{
	for (uint32_t i = 0; i < N; i++) {
		uint64_t word = atomic_load(&segment->catalogue->entries[i].word);

		if (mproc__entry_state(word) == MPROC__ENTRY_RESERVED &&
		    !mproc__dead(segment->range, mproc__entry_owner(word)))
			return true;
	}
	return false;
}

/* In this order: who attaches looks after the dead. */
static void attach_and_kill_the_builder(void)
{
	attach();
	pidfd_send_signal(builder, SIGKILL, NULL, 0);
	while (is_being_built_by_the_living())
		usleep(100);
}

/*
 * Operations
 */

static int64_t create(void)
{
	struct mproc__object made;

	return make("x", &made);
}

static int64_t create_anonymous(void)
{
	struct mproc__object made;

	return make(NULL, &made);
}

static int give_up(void *mem, void *arg)
{
	mark(mem, arg);
	return -ENODATA;
}

static int64_t create_in_vain(void)
{
	struct mproc__object_spec spec = spec_of("x");
	struct mproc__object made;

	spec.init = give_up;
	return mproc__object_create(&made, segment, &spec);
}

static int64_t open_or_create(void)
{
	struct mproc__object_spec spec = spec_of("x");
	struct mproc__object found;

	return mproc__object_open_or_create(&found, segment, &spec);
}

static int64_t open_it(void)
{
	struct mproc__object_spec spec = spec_of("x");
	struct mproc__object found;

	return mproc__object_open(&found, segment, &spec);
}

/* What can be found is whole. */
static int64_t look(void)
{
	struct mproc__object_spec spec = spec_of("x");
	struct mproc__object found;
	int r;

	r = mproc__object_open(&found, segment, &spec);
	for (size_t i = 0; r == 0 && i < 8; i++)
		if (((uint64_t *)found.mem)[i] != MARK + i)
			return -EIO;
	return r == -ENOENT ? 0 : r;
}

static int64_t remove_it(void)
{
	return mproc__object_remove(segment, &object);
}

/* Remove it, and make it again. */
static int64_t replace(void)
{
	int r = mproc__object_remove(segment, &object);

	if (r == 0 || r == -ESTALE)
		r = make("x", &object);
	return r == -EEXIST ? 0 : r;
}

/*
 * What must hold
 */

static uint64_t n_blocks(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.n_blocks;
}

static uint32_t n_live(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < N; i++) {
		uint64_t word = atomic_load(&segment->catalogue->entries[i].word);

		switch (mproc__entry_state(word)) {
		case MPROC__ENTRY_LIVE:
			n++;
			break;
		case MPROC__ENTRY_EMPTY:
		case MPROC__ENTRY_TOMB:
			break;
		default:
			t_sweep_fail("entry %u is %s", (unsigned)i,
				     mproc__entry_state_name(mproc__entry_state(word)));
		}
	}
	return n;
}

/* Find "x" or make it: whole it is. Return: 1 if it was made. */
static int have_x(void)
{
	struct mproc__object_spec spec = spec_of("x");
	struct mproc__object found;
	int r;

	r = mproc__object_open_or_create(&found, segment, &spec);
	if (r < 0)
		t_sweep_fail("%s", mproc_error_text());
	for (size_t i = 0; i < 8; i++)
		t_sweep_check(((uint64_t *)found.mem)[i] == MARK + i);
	t_sweep_check(mproc__object_open(&found, segment, &spec) == 0);
	return r;
}

/* No entry and no block is lost: all of them can be had. */
static void all_is_accounted_for(void)
{
	struct mproc__object made;
	uint32_t n;
	int r;

	t_sweep_check(mproc__reap_all(segment->range) >= 0);
	n = n_live();
	t_sweep_check(n_blocks() == n);
	while ((r = make(NULL, &made)) == 0)
		n++;
	t_sweep_check(r == -ENOSPC && n == N);
	t_sweep_check(n_live() == N && n_blocks() == N);
}

static void x_is_whole_or_not_there(const struct t_sweep_seen *seen)
{
	int made;

	t_sweep_rouse();
	t_sweep_check(!seen->returned || seen->result >= 0);
	t_sweep_check(!seen->peer || seen->peer_result == 0);
	t_sweep_check(!seen->recovered || seen->recover_result >= 0);
	made = have_x();
	t_sweep_check(!made || !(seen->returned || seen->recovered));
	all_is_accounted_for();
}

static void x_is_the_builders(const struct t_sweep_seen *seen)
{
	t_sweep_rouse();
	t_sweep_check(!seen->returned || seen->result == -EEXIST);
	t_sweep_check(have_x() == 0);
	all_is_accounted_for();
}

static void x_is_found(const struct t_sweep_seen *seen)
{
	t_sweep_rouse();
	t_sweep_check(!seen->returned || seen->result == 0);
	t_sweep_check(have_x() == 0);
	all_is_accounted_for();
}

static void there_is_no_x(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -ENODATA);
	t_sweep_check(open_it() == -ENOENT || seen->recovering);
	t_sweep_check(have_x() == 1 || seen->recovering);
	all_is_accounted_for();
}

static void there_is_no_room(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == -ENOSPC);
	all_is_accounted_for();
}

static void nothing_is_lost(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0);
	all_is_accounted_for();
}

static void x_is_gone_or_not(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0 ||
		      (seen->peer && seen->result == -ESTALE));
	/* Of two who remove it one does. */
	if (seen->returned && seen->peer)
		t_sweep_check((seen->result == 0) + (seen->peer_result == 0) == 1);
	if (seen->returned || (seen->peer && seen->peer_result == 0)) {
		t_sweep_check(mproc__object_check(segment, &object) == -ESTALE);
		if (!seen->recovering)
			t_sweep_check(open_it() == -ENOENT);
	}
	have_x();
	all_is_accounted_for();
}

/* As remove, then create by a peer: the one who stood still touches only the old one. */
static void new_x_is_left_alone(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 0 ||
		      (seen->peer && seen->result == -ESTALE));
	if (seen->peer) {
		t_sweep_check(seen->peer_result == 0);
		t_sweep_check(have_x() == 0);
	}
	all_is_accounted_for();
}

static const struct t_sweep_case cases[] = {
	T_SWEEP("create", "fresh", fresh, create, x_is_whole_or_not_there, .arrive = attach,
		.recover = open_or_create),
	T_SWEEP("create", "begun by the dead", begun, create, x_is_whole_or_not_there,
		.arrive = attach_and_kill_the_builder, .recover = open_or_create),
	T_SWEEP("create", "begun by the living", begun, create, x_is_the_builders, .arrive = attach,
		.recover = open_or_create),
	T_SWEEP("create", "tombs", many_tombs, create, x_is_whole_or_not_there, .arrive = attach,
		.recover = open_or_create),
	T_SWEEP("create", "full", full, create, there_is_no_room, .arrive = attach),
	T_SWEEP("create anonymous", "full with a dead one", full_with_one_begun, create_anonymous,
		nothing_is_lost, .arrive = attach_and_kill_the_builder, .recover = open_or_create),
	T_SWEEP("create anonymous", "fresh", fresh, create_anonymous, nothing_is_lost,
		.arrive = attach, .recover = create_anonymous),
	T_SWEEP("create in vain", "fresh", fresh, create_in_vain, there_is_no_x, .arrive = attach,
		.recover = create_in_vain),
	/* Who looks for it takes no lock, whoever stands still with one. */
	T_SWEEP("open or create", "fresh", fresh, open_or_create, x_is_whole_or_not_there,
		.arrive = attach, .peer = look, .flags = T_SWEEP_RESUME),
	T_SWEEP("open or create", "begun by the living", begun, open_or_create, x_is_found,
		.arrive = attach),
	T_SWEEP("open", "tombs", tombs, open_it, x_is_found, .arrive = attach,
		.flags = T_SWEEP_READ_ONLY),
	T_SWEEP("remove", "two objects", two_objects, remove_it, x_is_gone_or_not, .arrive = attach,
		.peer = remove_it, .recover = open_or_create, .flags = T_SWEEP_RESUME),
	T_SWEEP("remove", "tombs", tombs, remove_it, x_is_gone_or_not, .arrive = attach,
		.recover = open_or_create),
	T_SWEEP("remove", "made anew", two_objects, remove_it, new_x_is_left_alone,
		.arrive = attach, .peer = replace, .flags = T_SWEEP_RESUME),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "catalogue", cases, sizeof(cases) / sizeof(cases[0]));
}
