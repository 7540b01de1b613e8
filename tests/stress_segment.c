/* SPDX-License-Identifier: MIT */

/*
 * One name that everybody makes, opens, leaves and dies in, at random
 *
 * Workers come to the segment of that name and go again; they are killed and
 * stopped wherever that hits them. Whoever is attached sees the name lead to what he
 * has mapped, all the time: no segment that is lived in is ever removed. And when
 * nobody is left, the next one to ask for the name finds nothing and leaves nothing.
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
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/mutex.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/catalogue.h"
#include "shm/segment_layout.h"
#include "tests/support/child.h"

#define WORKERS  5
#define ROUND_MS 300
#define OPTS \
	MPROC_SEGMENT_OPTS(.bytes = 256 << 10, .processes = 2 * WORKERS, .threads = 32, \
			   .objects = 16)

/* What outlives every segment and every worker. */
struct board {
	_Atomic(uint64_t) n_created;
	_Atomic(uint64_t) n_opened;
	_Atomic(uint64_t) n_missed; /* calls that found the name gone, or taken */
	_Atomic(uint64_t) n_busy;   /* calls that somebody who stood still was in the way of */
	_Atomic(uint32_t) bad;
	char why[256];
};

/* In the segment: two numbers that are equal whenever nobody owns the mutex. */
struct pair {
	mproc_mutex mutex;
	uint64_t a, b;
};

static struct board *board;
static char path[512];

static void bad(const char *what, int r)
{
	if (!atomic_exchange(&board->bad, 1))
		snprintf(board->why, sizeof(board->why), "%s: %d (%s)", what, r,
			 r < 0 ? mproc_error_text() : "");
}

static int64_t seconds(int64_t otherwise)
{
	const char *given = getenv("MPROC_STRESS_SECONDS");
	int64_t s = given ? strtoll(given, NULL, 10) : t_long() ? 60 : otherwise;

	return s * INT64_C(1000000000);
}

static int init_pair(void *object, void *arg)
{
	struct pair *pair = object;

	(void)arg;
	return mproc_mutex_init(&pair->mutex, 0);
}

/* Somebody is attached, we are: so the name must lead here. */
static void check_name(const mproc_segment *segment)
{
	struct stat st;

	if (stat(path, &st) < 0)
		bad("the name of a segment that is lived in is gone", -errno);
	else if (st.st_ino != segment->range->ino || st.st_dev != segment->range->dev)
		bad("the name of a segment that is lived in leads elsewhere", 0);
}

static void use(mproc_segment *segment, uint64_t *seed)
{
	const struct mproc__object_spec spec = { .what = "thing",
						 .kind = MPROC__KIND_BLOCK,
						 .len = 5000 };
	struct mproc__object object;
	struct pair *pair;
	int r;

	r = mproc_segment_object((void **)&pair, segment, "pair", sizeof(*pair), init_pair, NULL);
	if (r < 0)
		bad("object", r);
	if (r < 0 || atomic_load(&board->bad))
		return;
	r = mproc_mutex_lock(&pair->mutex, MPROC_FOREVER);
	if (r == MPROC_MUTEX_INHERITED) {
		pair->b = pair->a;
		r = mproc_mutex_consistent(&pair->mutex);
	}
	if (r < 0)
		bad("lock", r);
	if (pair->a != pair->b)
		bad("two numbers differ", 0);
	pair->a++;
	check_name(segment);
	pair->b++;
	r = mproc_mutex_unlock(&pair->mutex);
	if (r < 0)
		bad("unlock", r);
	if (t_random(seed) % 4 == 0) {
		r = mproc__object_create(&object, segment, &spec);
		if (r == 0)
			r = mproc__object_remove(segment, &object);
		if (r < 0)
			bad("anonymous object", r);
	}
	r = mproc_segment_gc("one");
	if (r != 0 && r != -EBUSY)
		bad("gc of a segment that is lived in", r);
}

static int come(mproc_segment **ret, uint64_t *seed)
{
	switch (t_random(seed) % 3) {
	case 0:
		return mproc_segment_open(ret, "one");
	case 1:
		return mproc_segment_create(ret, "one", OPTS) < 0 ? -EEXIST : 1;
	default:
		return mproc_segment_open_or_create(ret, "one", OPTS);
	}
}

static void work(void *arg)
{
	uint64_t seed = *(uint64_t *)arg;
	mproc_segment *segment;

	alarm(120);
	while (!atomic_load(&board->bad)) {
		int r = come(&segment, &seed);

		atomic_fetch_add(r == 1        ? &board->n_created
				 : r == 0      ? &board->n_opened
				 : r == -EBUSY ? &board->n_busy
					       : &board->n_missed,
				 1);
		if (r < 0 && r != -ENOENT && r != -EEXIST && r != -EBUSY)
			bad("come", r);
		if (r < 0)
			continue;
		for (uint64_t n = t_random(&seed) % 4; n; n--)
			use(segment, &seed);
		check_name(segment);
		if (t_random(&seed) % 16 == 0)
			exit(0);
		mproc_segment_close(segment);
	}
}

static void start(pid_t *pid, uint64_t *seed)
{
	uint64_t own = t_random(seed);

	*pid = t_spawn(work, &own);
}

/* Nobody is left. Whoever comes finds nothing, and so does whoever comes after him. */
static void assert_nothing_is_left(void)
{
	mproc_segment *segment;

	if (board->bad)
		fail_msg("%s", board->why);
	assert_int_equal(mproc_segment_open(&segment, "one"), -ENOENT);
	assert_int_equal(t_dir_entries(NULL, ""), 0);
	assert_int_equal(mproc_segment_create(&segment, "one", OPTS), 0);
	mproc_segment_close(segment);
	assert_int_equal(t_dir_entries(NULL, ""), 0);
}

static void storm(pid_t pids[WORKERS], int64_t end, uint64_t *seed, uint64_t *n_kills)
{
	while (mproc_now() < end && !atomic_load(&board->bad)) {
		pid_t *pid = &pids[t_random(seed) % WORKERS];

		usleep((useconds_t)(t_random(seed) % 3000));
		if (t_random(seed) % 8 == 0) {
			kill(*pid, SIGSTOP);
			usleep((useconds_t)(t_random(seed) % 10000));
			kill(*pid, SIGCONT);
			continue;
		}
		kill(*pid, SIGKILL);
		/* Some have ended by themselves. */
		if (t_reap(*pid) == SIGKILL)
			++*n_kills;
		start(pid, seed);
	}
}

static void killed_and_stopped_processes_never_take_it_from_the_living(void **state)
{
	int64_t end = mproc_after_ns(seconds(3));
	uint64_t seed = t_seed(), n_kills = 0, n_rounds = 0;
	pid_t pids[WORKERS];

	(void)state;
	do {
		for (int i = 0; i < WORKERS; i++)
			start(&pids[i], &seed);
		storm(pids, mproc_after_ms(ROUND_MS), &seed, &n_kills);
		for (int i = 0; i < WORKERS; i++)
			kill(pids[i], SIGKILL);
		for (int i = 0; i < WORKERS; i++)
			t_reap(pids[i]);
		assert_nothing_is_left();
		n_rounds++;
	} while (mproc_now() < end);
	print_message(
		"# %llu rounds, %llu kills; created %llu, opened %llu, missed %llu, busy %llu\n",
		(unsigned long long)n_rounds, (unsigned long long)n_kills,
		(unsigned long long)board->n_created, (unsigned long long)board->n_opened,
		(unsigned long long)board->n_missed, (unsigned long long)board->n_busy);
	assert_true(board->n_created > n_rounds && board->n_opened > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_and_stopped_processes_never_take_it_from_the_living),
	};

	snprintf(path, sizeof(path), "%s/mproc.one", t_private_dir());
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	return cmocka_run_group_tests_name("stress segment", tests, NULL, NULL);
}
