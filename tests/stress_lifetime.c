/* SPDX-License-Identifier: MIT */

/*
 * Everybody is killed at once, again and again; and somebody stands still
 *
 * In each round a few processes make, open and clear away one name, and all of them
 * are killed at the same moment, wherever that hits them. Whoever is attached sees the
 * name lead to what he has mapped, as long as he lives. After the round the next one
 * to come, in whichever way, leaves nothing.
 */

#include <mproc/segment.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/mutex.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "tests/support/child.h"

#define WORKERS    4
#define ROUNDS     (t_long() ? 1000u : 100u)
#define STOPPED_MS (t_long() ? 60000 : 3000)
#define OPTS       MPROC_SEGMENT_OPTS(.bytes = 256 << 10, .processes = 16, .threads = 32, .objects = 16)

struct board {
	_Atomic(uint64_t) n_created;
	_Atomic(uint64_t) n_opened;
	_Atomic(uint64_t) block; /* of who is stopped */
	_Atomic(uint32_t) go;
	_Atomic(uint32_t) bad;
	char why[256];
};

static struct board *board;
static char path[512];

static void bad(const char *what, int r)
{
	if (!atomic_exchange(&board->bad, 1))
		snprintf(board->why, sizeof(board->why), "%s: %d (%s)", what, r,
			 r < 0 ? mproc_error_text() : "");
}

static void check_name(const mproc_segment *segment)
{
	struct stat st;

	if (stat(path, &st) < 0)
		bad("the name of a segment that is lived in is gone", -errno);
	else if (st.st_ino != segment->range->ino || st.st_dev != segment->range->dev)
		bad("the name of a segment that is lived in leads elsewhere", 0);
}

static int come(mproc_segment **ret, uint64_t *seed)
{
	int r;

	switch (t_random(seed) % 4) {
	case 0:
		return mproc_segment_open(ret, "one");
	case 1:
		r = mproc_segment_gc("one");
		return r < 0 ? r : -ENOENT;
	default:
		return mproc_segment_open_or_create(ret, "one", OPTS);
	}
}

static void work(void *arg)
{
	uint64_t seed = *(uint64_t *)arg;
	mproc_segment *segment;
	void *object;
	int r;

	while (!atomic_load(&board->go))
		usleep(50);
	while (!atomic_load(&board->bad)) {
		r = come(&segment, &seed);
		if (r < 0 && r != -ENOENT && r != -EBUSY)
			bad("come", r);
		if (r < 0)
			continue;
		atomic_fetch_add(r ? &board->n_created : &board->n_opened, 1);
		check_name(segment);
		r = mproc_segment_object(&object, segment, "x", 5000, NULL, NULL);
		if (r < 0)
			bad("object", r);
		check_name(segment);
		/* Some stay until they are killed. */
		while (t_random(&seed) % 8 == 0 && !atomic_load(&board->bad)) {
			usleep(300);
			check_name(segment);
		}
		mproc_segment_close(segment);
	}
}

/* Who comes next, in one of the ways there are. */
static void come_after(unsigned way)
{
	mproc_segment *segment;
	int r;

	switch (way % 4) {
	case 0:
		assert_int_equal(mproc_segment_open(&segment, "one"), -ENOENT);
		break;
	case 1:
		r = mproc_segment_gc("one");
		assert_true(r == 1 || r == -ENOENT);
		break;
	case 2:
		assert_int_equal(mproc_segment_create(&segment, "one", OPTS), 0);
		mproc_segment_close(segment);
		break;
	default:
		assert_int_equal(mproc_segment_open_or_create(&segment, "one", OPTS), 1);
		mproc_segment_close(segment);
	}
	assert_int_equal(t_dir_entries(NULL, ""), 0);
}

static void when_all_are_killed_the_next_one_leaves_nothing(void **state)
{
	uint64_t seed = t_seed(), own, n_left = 0;
	pid_t pids[WORKERS];

	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		atomic_store(&board->go, 0);
		for (int i = 0; i < WORKERS; i++) {
			own = t_random(&seed);
			pids[i] = t_spawn(work, &own);
		}
		atomic_store(&board->go, 1);
		usleep((useconds_t)(t_random(&seed) % 15000));
		for (int i = 0; i < WORKERS; i++)
			kill(pids[i], SIGKILL);
		for (int i = 0; i < WORKERS; i++)
			assert_int_equal(t_reap(pids[i]), SIGKILL);
		if (atomic_load(&board->bad))
			fail_msg("%s", board->why);
		n_left += t_dir_entries(NULL, "") != 0;
		come_after(round);
	}
	print_message("# %u rounds, a leftover after %llu; created %llu, opened %llu\n", ROUNDS,
		      (unsigned long long)n_left, (unsigned long long)board->n_created,
		      (unsigned long long)board->n_opened);
	/* Else nothing was tried. */
	assert_true(n_left > ROUNDS / 4);
	assert_true(board->n_created > 0 && board->n_opened > 0);
}

/*
 * Standing still is not death
 */

static int init_mutex(void *object, void *arg)
{
	(void)arg;
	return mproc_mutex_init(object, 0);
}

static void stand_still(void *arg)
{
	mproc_segment *segment;
	struct mproc__self *me;
	uint64_t off;
	void *mutex;

	(void)arg;
	alarm(180);
	t_check(mproc_segment_open(&segment, "one") == 0);
	t_check(mproc_segment_object(&mutex, segment, "mutex", sizeof(mproc_mutex), NULL, NULL) ==
		0);
	t_check(mproc_mutex_lock(mutex, MPROC_NOWAIT) == 0);
	me = mproc__self(segment->arena, "test");
	t_check(me && mproc__arena_alloc(segment, me, 3000, true, &off) == 0);
	atomic_store(&board->block, off);
	atomic_store(&board->go, 2);
	while (atomic_load(&board->go) == 2)
		usleep(1000);
	/* All is still ours. */
	t_check(mproc__arena_publish(segment, me, off) == 0);
	t_check(mproc__arena_free(segment, me, off) == 0);
	t_check(mproc_mutex_unlock(mutex) == 0);
	check_name(segment);
	mproc_segment_close(segment);
}

static bool is_stopped(void *arg)
{
	return t_state(*(pid_t *)arg) == 'T';
}

/* What those who live do meanwhile to what the one who is stopped has. */
static void try_to_take(mproc_segment *segment, void *mutex, uint64_t off)
{
	struct mproc__self *me = mproc__self(segment->arena, "test");
	mproc_segment *again;
	int r;

	assert_non_null(me);
	r = mproc_mutex_lock(mutex, mproc_after_ms(100));
	assert_int_equal(r, -ETIMEDOUT);
	assert_int_equal(mproc__reap_all(segment->range), 0);
	assert_int_equal(mproc__arena_free(segment, me, off), -ESTALE);
	assert_true(mproc__arena_len(segment, off) >= 3000);
	assert_int_equal(mproc_segment_gc("one"), 0);
	assert_int_equal(mproc_segment_create(&again, "one", OPTS), -EEXIST);
	check_name(segment);
	assert_int_equal(atomic_load(&board->bad), 0);
}

static void who_stands_still_keeps_what_he_has(void **state)
{
	mproc_segment *segment;
	int64_t end;
	void *mutex;
	pid_t pid;

	(void)state;
	atomic_store(&board->go, 0);
	assert_int_equal(mproc_segment_create(&segment, "one", OPTS), 0);
	assert_int_equal(mproc_segment_object(&mutex, segment, "mutex", sizeof(mproc_mutex),
					      init_mutex, NULL),
			 1);
	pid = t_spawn(stand_still, NULL);
	while (atomic_load(&board->go) != 2)
		usleep(1000);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_true(t_wait_until(is_stopped, &pid, mproc_after_ms(5000)));
	end = mproc_after_ms(STOPPED_MS);
	do {
		try_to_take(segment, mutex, atomic_load(&board->block));
		/* Also when he alone is left: nobody who comes clears the name away. */
		mproc_segment_close(segment);
		assert_int_equal(mproc_segment_gc("one"), 0);
		usleep(100000);
		assert_int_equal(mproc_segment_open(&segment, "one"), 0);
		assert_int_equal(mproc_segment_object(&mutex, segment, "mutex", sizeof(mproc_mutex),
						      NULL, NULL),
				 0);
	} while (mproc_now() < end);
	atomic_store(&board->go, 3);
	assert_int_equal(kill(pid, SIGCONT), 0);
	assert_int_equal(t_reap(pid), 0);
	/* Given back, not inherited. */
	assert_int_equal(mproc_mutex_lock(mutex, mproc_after_ms(1000)), 0);
	assert_int_equal(mproc_mutex_unlock(mutex), 0);
	mproc_segment_close(segment);
	assert_int_equal(t_dir_entries(NULL, ""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(when_all_are_killed_the_next_one_leaves_nothing),
		cmocka_unit_test(who_stands_still_keeps_what_he_has),
	};

	snprintf(path, sizeof(path), "%s/mproc.one", t_private_dir());
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	return cmocka_run_group_tests_name("stress lifetime", tests, NULL, NULL);
}
