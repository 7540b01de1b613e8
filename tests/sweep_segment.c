/* SPDX-License-Identifier: MIT */

/*
 * Whoever is killed while he makes, opens, leaves or removes a segment, wherever:
 * the name can be used, the living keep what they have, and nothing is left behind
 *
 * What a creator writes before the name is there nobody can see, so his system
 * calls are the points that count until then. The world itself is attached to
 * nothing: it maps the file of a segment that a helper has made, and watches it.
 */

#include <mproc/segment.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mproc/error.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/catalogue.h"
#include "shm/memory.h"
#include "shm/segment.h"
#include "shm/segment_layout.h"
#include "tests/support/child.h"
#include "tests/support/sweep.h"

#define SIZE  (128 << 10)
#define SMALL MPROC_SEGMENT_OPTS(.bytes = SIZE, .processes = 4, .threads = 8, .objects = 4)
#define KEPT \
	MPROC_SEGMENT_OPTS(.bytes = SIZE, .processes = 4, .threads = 8, .objects = 4, \
			   .flags = MPROC_SEGMENT_PERSISTENT)
#define MARK UINT64_C(0x6b72616d)

/* Of the segment that setup() has made, if any; read-only. */
static const char *image;
static int owner = -1; /* a descriptor: who recovers must not kill who has his number now */

/* The victim's own handle, opened by arrive(). */
static mproc_segment *mine;

/* In the library's place: a look at some files that takes 400,000 instructions. */
uint64_t mproc__memory_left(const char *root)
{
	(void)root;
	return UINT64_MAX;
}

uint64_t mproc__memory_available(const char *root)
{
	(void)root;
	return UINT64_MAX;
}

static char path[512];

static const char *path_of(const char *name)
{
	snprintf(path, sizeof(path), "%s/mproc.%s", getenv("MPROC_DIR"), name);
	return path;
}

static bool is_there(void)
{
	return access(path_of("s"), F_OK) == 0;
}

/*
 * Start states
 */

static void nothing(void)
{
}

static void make(const struct mproc_segment_opts *opts)
{
	mproc_segment *segment;
	uint64_t *object;

	if (mproc_segment_create(&segment, "s", opts) < 0 ||
	    mproc_segment_object((void **)&object, segment, "mark", sizeof(*object), NULL, NULL) !=
		    1)
		t_sweep_fail("%s", mproc_error_text());
	*object = MARK;
}

static void make_and_die(void *arg)
{
	(void)arg;
	make(SMALL);
}

static void keep_and_die(void *arg)
{
	(void)arg;
	make(KEPT);
}

static void make_and_rest(void *arg)
{
	(void)arg;
	make(SMALL);
	for (;;)
		t_sweep_rest();
}

static void watch(void)
{
	int fd = open(path_of("s"), O_RDONLY | O_CLOEXEC);

	image = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (fd < 0 || image == MAP_FAILED)
		t_sweep_fail("%s: %s", path, strerror(errno));
	close(fd);
	t_sweep_watch(image, SIZE);
}

static void left_by_the_dead(void)
{
	t_sweep_helper(make_and_die, NULL);
	watch();
}

static void lived_in(void)
{
	owner = pidfd_open(t_sweep_helper(make_and_rest, NULL), 0);
	t_sweep_check(owner >= 0);
	watch();
}

static void persistent(void)
{
	t_sweep_helper(keep_and_die, NULL);
	watch();
}

/*
 * Operations
 */

static int64_t create(void)
{
	mproc_segment *segment;

	return mproc_segment_create(&segment, "s", SMALL);
}

static int64_t create_with_all_options(void)
{
	mproc_segment *segment;

	return mproc_segment_create(
		&segment, "s",
		MPROC_SEGMENT_OPTS(.bytes = SIZE, .processes = 4, .threads = 8, .objects = 4,
				   .mode = 0660, .gid = (uint32_t)getegid(),
				   .dir = getenv("MPROC_DIR"),
				   .flags = MPROC_SEGMENT_GID | MPROC_SEGMENT_HUGE));
}

static int64_t open_it(void)
{
	mproc_segment *segment;

	return mproc_segment_open(&segment, "s");
}

static int64_t open_or_create(void)
{
	mproc_segment *segment;

	return mproc_segment_open_or_create(&segment, "s", SMALL);
}

/* The victim alone has it, from before it begins. */
static int descriptor = -1;

static void have_descriptor(void)
{
	descriptor = open(path_of("s"), O_RDWR | O_CLOEXEC);
}

static int64_t attach_by_descriptor(void)
{
	mproc_segment *segment;

	return mproc_segment_attach(&segment, MPROC_SEGMENT_ATTACH_OPTS(.fd = descriptor));
}

static int64_t attach_to_read(void)
{
	mproc_segment *segment;

	return mproc_segment_attach(
		&segment, MPROC_SEGMENT_ATTACH_OPTS(.name = "s", .flags = MPROC_SEGMENT_READ_ONLY));
}

/* Come and go again, having done something. */
static int64_t visit(void)
{
	mproc_segment *segment;
	void *object;
	int r;

	r = mproc_segment_open_or_create(&segment, "s", SMALL);
	if (r >= 0 && mproc_segment_object(&object, segment, "visit", 8, NULL, NULL) < 0)
		r = -EIO;
	if (r >= 0)
		mproc_segment_close(segment);
	return r;
}

static int64_t close_mine(void)
{
	mine = mproc_segment_close(mine);
	return 0;
}

static int64_t unlink_it(void)
{
	return mproc_segment_unlink("s");
}

static int64_t gc(void)
{
	return mproc_segment_gc("s");
}

/* The victim alone: whoever recovers comes later, and finds what there is. */
static void attach_as_second(void)
{
	if (mproc_segment_open(&mine, "s") < 0)
		mine = NULL;
}

static void attach_as_last(void)
{
	attach_as_second();
	/* The owner is a child of the world; its slot is free some time after the signal. */
	if (mine && pidfd_send_signal(owner, SIGKILL, NULL, 0) == 0)
		while (mproc__others_attached(mine->range) > 0)
			usleep(100);
}

/* From here on this process can make no nameless files. */
static void forbid_tmpfile(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_TMPFILE & ~O_DIRECTORY, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		t_sweep_fail("seccomp: %s", strerror(errno));
}

/*
 * What must hold
 */

/* All slots can be taken, all memory can be had, all names be given. */
static void segment_is_whole(mproc_segment *segment, uint64_t n_blocks, uint32_t n_attached)
{
	const struct mproc__object_spec spec = { .what = "object",
						 .name = "visit",
						 .kind = MPROC__KIND_BLOCK };
	struct mproc__arena_stats stats;
	struct mproc__object visited;
	void *object;
	uint32_t n = 0;

	/* Whoever was killed in the middle of a visit may have left this, whole. */
	n_blocks += mproc__object_open(&visited, segment, &spec) == 0;
	t_sweep_check(mproc_segment_object(&object, segment, "new", 8, NULL, NULL) == 1);
	t_sweep_check(mproc__reap_all(segment->range) >= 0);
	mproc__arena_stats(segment, &stats);
	t_sweep_check(stats.n_blocks == n_blocks + 1);
	for (uint32_t i = 0; i < segment->range->n_procs; i++)
		n += mproc__proc_state(atomic_load(&segment->range->procs[i].st)) !=
		     MPROC__PROC_FREE;
	t_sweep_check(n == n_attached);
}

/* Nobody is left: the name is free, and then there is nothing. */
static void name_is_free(const struct t_sweep_seen *seen)
{
	mproc_segment *segment;

	t_sweep_check(!seen->returned || seen->result >= 0);
	/* One who stands still while he opens or removes it can be in the way. */
	t_sweep_check(!seen->peer || seen->peer_result >= 0 || seen->peer_result == -EBUSY);
	t_sweep_check(!seen->recovered || seen->recover_result >= 0);
	t_sweep_check(mproc_segment_open(&segment, "s") == -ENOENT);
	t_sweep_check(!is_there());
	t_sweep_check(mproc_segment_create(&segment, "s", SMALL) == 0);
	segment_is_whole(segment, 0, 1);
	mproc_segment_close(segment);
	t_sweep_check(mproc_segment_gc(NULL) >= 0);
	t_sweep_check(t_dir_entries(NULL, "") == 0);
}

static void name_is_free_or_was_not_there(const struct t_sweep_seen *seen)
{
	struct t_sweep_seen as_ok = *seen;

	/* What the dead have left is no segment; a peer may have made one, or removed it. */
	t_sweep_check(!seen->returned || seen->result == -ENOENT ||
		      (seen->peer && seen->result >= 0));
	as_ok.returned = false;
	name_is_free(&as_ok);
}

static void leftover_is_gone(const struct t_sweep_seen *seen)
{
	struct t_sweep_seen as_ok = *seen;

	/* A peer may have been first. */
	t_sweep_check(!seen->returned || seen->result == 1 ||
		      (seen->peer && (seen->result == 0 || seen->result == -ENOENT)));
	as_ok.returned = false;
	name_is_free(&as_ok);
}

/* Whoever came and whatever became of him: the owner has lost nothing. */
static void owner_keeps_it(int64_t result, const struct t_sweep_seen *seen)
{
	mproc_segment *segment;
	uint64_t *object;

	t_sweep_check(!seen->returned || seen->result == result);
	t_sweep_check(is_there());
	t_sweep_check(mproc_segment_open(&segment, "s") == 0);
	t_sweep_check(mproc_segment_object((void **)&object, segment, "mark", sizeof(*object), NULL,
					   NULL) == 0);
	t_sweep_check(*object == MARK);
	segment_is_whole(segment, 1, 2);
	mproc_segment_close(segment);
	t_sweep_check(is_there());
	t_sweep_check(t_dir_entries(NULL, "") == 1);
}

static void owner_keeps_it_from_the_creator(const struct t_sweep_seen *seen)
{
	owner_keeps_it(-EEXIST, seen);
}

static void owner_keeps_it_and_shares(const struct t_sweep_seen *seen)
{
	owner_keeps_it(0, seen);
}

static void persistent_name_stays(const struct t_sweep_seen *seen)
{
	mproc_segment *segment;
	uint64_t *object;

	t_sweep_check(!seen->returned || seen->result == 0);
	t_sweep_check(mproc_segment_open(&segment, "s") == 0);
	t_sweep_check(mproc_segment_object((void **)&object, segment, "mark", sizeof(*object), NULL,
					   NULL) == 0);
	t_sweep_check(*object == MARK);
	segment_is_whole(segment, 1, 1);
	mproc_segment_close(segment);
	t_sweep_check(is_there());
}

/* Taken away in the middle of its use: the owner's memory stays, the name is free. */
static void name_was_taken_away(const struct t_sweep_seen *seen)
{
	mproc_segment *segment;
	int r;

	t_sweep_check(!seen->returned || seen->result == 0);
	r = mproc_segment_open_or_create(&segment, "s", SMALL);
	t_sweep_check(r == 0 || r == 1);
	t_sweep_check(!seen->returned || r == 1);
	if (r == 1)
		segment_is_whole(segment, 0, 1);
	mproc_segment_close(segment);
	t_sweep_check(is_there() == (r == 0));
}

/* The name is whose peer it was: one is left that cannot be told from any other. */
static const struct t_sweep_case cases[] = {
	T_SWEEP("create", "fresh", nothing, create, name_is_free, .recover = visit),
	T_SWEEP("create, all options", "fresh", nothing, create_with_all_options, name_is_free,
		.recover = visit),
	T_SWEEP("create, all options", "no nameless files", nothing, create_with_all_options,
		name_is_free, .arrive = forbid_tmpfile, .recover = visit),
	T_SWEEP("create", "left by the dead", left_by_the_dead, create, name_is_free,
		.recover = visit),
	T_SWEEP("create", "in use", lived_in, create, owner_keeps_it_from_the_creator,
		.recover = visit),
	T_SWEEP("create", "no nameless files", nothing, create, name_is_free,
		.arrive = forbid_tmpfile, .recover = visit),
	T_SWEEP("open", "fresh", nothing, open_it, name_is_free_or_was_not_there),
	T_SWEEP("open", "left by the dead", left_by_the_dead, open_it,
		name_is_free_or_was_not_there, .peer = visit, .flags = T_SWEEP_RESUME),
	T_SWEEP("open", "in use", lived_in, open_it, owner_keeps_it_and_shares, .peer = visit,
		.flags = T_SWEEP_RESUME, .recover = visit),
	T_SWEEP("open", "persistent", persistent, open_it, persistent_name_stays, .recover = visit),
	T_SWEEP("attach by descriptor", "in use", lived_in, attach_by_descriptor,
		owner_keeps_it_and_shares, .arrive = have_descriptor, .recover = visit),
	T_SWEEP("attach by descriptor", "left by the dead", left_by_the_dead, attach_by_descriptor,
		name_is_free, .arrive = have_descriptor, .recover = visit),
	T_SWEEP("attach to read", "in use", lived_in, attach_to_read, owner_keeps_it_and_shares),
	T_SWEEP("attach to read", "left by the dead", left_by_the_dead, attach_to_read,
		name_is_free_or_was_not_there),
	T_SWEEP("open or create", "fresh", nothing, open_or_create, name_is_free, .peer = visit,
		.flags = T_SWEEP_RESUME),
	T_SWEEP("open or create", "left by the dead", left_by_the_dead, open_or_create,
		name_is_free, .peer = visit, .flags = T_SWEEP_RESUME),
	T_SWEEP("close", "second of two", lived_in, close_mine, owner_keeps_it_and_shares,
		.arrive = attach_as_second, .recover = visit),
	T_SWEEP("close", "last", lived_in, close_mine, name_is_free, .arrive = attach_as_last,
		.peer = visit, .flags = T_SWEEP_RESUME, .recover = visit),
	T_SWEEP("unlink", "in use", lived_in, unlink_it, name_was_taken_away),
	T_SWEEP("gc", "left by the dead", left_by_the_dead, gc, leftover_is_gone, .peer = visit,
		.flags = T_SWEEP_RESUME),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "segment", cases, sizeof(cases) / sizeof(cases[0]));
}
