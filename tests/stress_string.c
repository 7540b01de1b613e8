/* SPDX-License-Identifier: MIT */

/*
 * A string under random SIGKILL: whoever looks finds what somebody has set, whole, and at
 * the end no block is left
 */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/string.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/segment.h"
#include "tests/support/child.h"

#define WORKERS 5
#define UNIT    7 /* content is so many equal bytes, or a multiple */
#define MAX     3000

static mproc_segment *segment;
static mproc_string *string;
static uint64_t base_used;

static uint64_t used(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.used;
}

static int setup(void **state)
{
	(void)state;
	if (mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 2 << 20)) < 0 ||
	    mproc_string_create(&string, segment, "string", MPROC_STRING_OPTS(.capacity = 64)) < 0)
		return -1;
	base_used = used();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	string = mproc_string_close(string);
	segment = mproc_segment_close(segment);
	return 0;
}

/* Groups of UNIT equal bytes: no change of ours cuts one. */
static bool is_whole(const unsigned char *buf, size_t len)
{
	if (len % UNIT)
		return false;
	for (size_t i = 0; i < len; i++)
		if (buf[i] != buf[i - i % UNIT])
			return false;
	return true;
}

static void change(uint64_t *seed)
{
	unsigned char buf[MAX];
	uint64_t at = t_random(seed) % 20 * UNIT, n = t_random(seed) % 10 * UNIT;
	size_t len = t_random(seed) % (MAX / UNIT / (t_random(seed) % 8 ? 20 : 1)) * UNIT;
	int r;

	memset(buf, (int)t_random(seed), len);
	switch (t_random(seed) % 4) {
	case 0:
		r = mproc_string_set(string, buf, len, MPROC_FOREVER);
		break;
	case 1:
		r = mproc_string_append(string, buf, len % (40 * UNIT), MPROC_FOREVER);
		break;
	case 2:
		r = mproc_string_truncate(string, at, MPROC_FOREVER);
		break;
	default:
		r = mproc_string_replace(string, at, n, buf, len % (30 * UNIT), MPROC_FOREVER);
	}
	t_check(r == 0 || r == -EINVAL);
	if (mproc_string_len(string) > MAX * 2)
		t_check(mproc_string_set(string, NULL, 0, MPROC_FOREVER) == 0);
}

static void work(void *arg)
{
	uint64_t seed = *(uint64_t *)arg;
	static unsigned char buf[MAX * 4];
	size_t len;
	int r;

	alarm(600);
	for (;;) {
		if (t_random(&seed) % 3) {
			change(&seed);
			continue;
		}
		r = mproc_string_get(string, buf, sizeof(buf), &len, MPROC_FOREVER);
		t_check(r == 0 && is_whole(buf, len));
	}
}

static void killed_and_stopped_workers_leave_whole_content(void **state)
{
	const char *given = getenv("MPROC_STRESS_SECONDS");
	int64_t end = mproc_after_ns((int64_t)(1e9 * (given ? atof(given) : t_long() ? 20 : 2)));
	uint64_t seed = t_seed(), seeds[WORKERS], kills = 0;
	static unsigned char buf[MAX * 4];
	pid_t pids[WORKERS];
	size_t len;

	(void)state;
	for (int i = 0; i < WORKERS; i++) {
		seeds[i] = t_random(&seed);
		pids[i] = t_spawn(work, &seeds[i]);
	}
	/* However busy the machine is, some are killed. */
	while (mproc_now() < end || kills < 20) {
		uint64_t i = t_random(&seed) % WORKERS;

		nanosleep(&(struct timespec){ 0, (long)(t_random(&seed) % 4000000) }, NULL);
		if (t_random(&seed) % 4 == 0) {
			kill(pids[i], SIGSTOP);
			nanosleep(&(struct timespec){ 0, (long)(t_random(&seed) % 20000000) },
				  NULL);
		}
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
		seeds[i] = t_random(&seed);
		pids[i] = t_spawn(work, &seeds[i]);
		kills++;
	}
	for (int i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
	}
	assert_int_equal(mproc_string_get(string, buf, sizeof(buf), &len, MPROC_FOREVER), 0);
	assert_true(is_whole(buf, len));
	print_message("# %llu kills, %llu changes\n", (unsigned long long)kills,
		      (unsigned long long)mproc_string_version(string));
	assert_true(mproc_string_version(string) > 0);
	assert_int_equal(mproc_string_truncate(string, 0, MPROC_FOREVER), 0);
	while (mproc__reap_all(segment->range) > 0)
		;
	assert_int_equal(used(), base_used);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(killed_and_stopped_workers_leave_whole_content,
						setup, teardown),
	};

	return cmocka_run_group_tests_name("stress string", tests, NULL, NULL);
}
