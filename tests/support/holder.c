/* SPDX-License-Identifier: MIT */

/*
 * holder NAME [WORD...]: a program that has a segment, for tests that look at it
 *
 *	NAME		of the segment; "-" for an anonymous one
 *	open		attach to it instead of making it
 *	look		the same, to read only, and nothing else of what follows
 *	persistent	it outlives its processes
 *	ordered		it records in which order locks are taken
 *	both		take the mutexes of hold: and want: in both orders first
 *	mutex		take the mutex in block "table" and keep it
 *	values		make values and an array, and keep the lock of value "count"
 *	grid		make array "grid", 3 by 4 doubles, and print item [1, 2] at the end
 *	log		make ring log "log" with 12 records
 *	hold:BLOCK	let a thread, "abba", take the mutex in block BLOCK, made if need be;
 *			from SIGUSR1 on it waits
 *	want:BLOCK	for that in this one,
 *	in:SEGMENT	which lies in this segment,
 *	deadline	for a minute
 *	wait		let a thread wait for a message of queue "idle"
 *	grows		it may become 64 MiB, and does: blocks are allocated without end
 *	close		close every descriptor, as a daemon does
 *
 * It holds a queue "jobs" with three messages, and an anonymous queue. When all is
 * as asked for it prints "ready", and ends with its standard input.
 */

#include <mproc/arena.h>
#include <mproc/array.h>
#include <mproc/error.h>
#include <mproc/mutex.h>
#include <mproc/queue.h>
#include <mproc/ringlog.h>
#include <mproc/segment.h>
#include <mproc/value.h>

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define TABLE_LEN 4096

static void check(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "holder: %s: %d %s\n", what, r, mproc_error_text());
	exit(1);
}

static bool asked(char **words, const char *word)
{
	for (; *words; words++)
		if (!strcmp(*words, word))
			return true;
	return false;
}

static int init_table(void *object, void *arg)
{
	(void)arg;
	return mproc_mutex_init((void *)((char *)object + 64), 0);
}

static void *wait_for_message(void *arg)
{
	mproc_queue *idle = arg;

	/* What a hostile name would do to a terminal. */
	prctl(PR_SET_NAME, "wait\033[31m\n");
	check(mproc_queue_get(idle, NULL, 0, NULL, MPROC_FOREVER), "get");
	return NULL;
}

/* What stands after @prefix in a word, or NULL. */
static const char *told(char **words, const char *prefix)
{
	for (; *words; words++)
		if (!strncmp(*words, prefix, strlen(prefix)))
			return *words + strlen(prefix);
	return NULL;
}

static struct {
	mproc_mutex *hold, *want;
	int64_t deadline;
	atomic_bool holds;
} abba;

static mproc_mutex *mutex_in(mproc_segment *segment, const char *block)
{
	void *object;

	check(mproc_segment_object(&object, segment, block, TABLE_LEN, init_table, NULL), block);
	return (void *)((char *)object + 64);
}

static void *hold_and_want(void *arg)
{
	sigset_t set;
	int sig;

	(void)arg;
	prctl(PR_SET_NAME, "abba");
	check(mproc_mutex_lock(abba.hold, MPROC_FOREVER), "hold");
	abba.holds = true;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigwait(&set, &sig);
	check(mproc_mutex_lock(abba.want, abba.deadline), "want");
	pause();
	return NULL;
}

static void take_both(mproc_mutex *first, mproc_mutex *second)
{
	check(mproc_mutex_lock(first, MPROC_FOREVER), "first of both");
	check(mproc_mutex_lock(second, MPROC_FOREVER), "second of both");
	check(mproc_mutex_unlock(second), "second of both");
	check(mproc_mutex_unlock(first), "first of both");
}

static void begin_abba(mproc_segment *segment, char **words)
{
	const char *in = told(words, "in:");
	mproc_segment *other = segment;
	pthread_t thread;
	sigset_t set;

	if (in)
		check(mproc_segment_open(&other, in), in);
	abba.hold = mutex_in(segment, told(words, "hold:"));
	abba.want = mutex_in(other, told(words, "want:"));
	if (asked(words, "both")) {
		take_both(abba.hold, abba.want);
		take_both(abba.want, abba.hold);
	}
	abba.deadline = asked(words, "deadline") ? mproc_after_ms(60000) : MPROC_FOREVER;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (pthread_create(&thread, NULL, hold_and_want, NULL) != 0)
		exit(1);
	while (!abba.holds)
		usleep(1000);
}

static void fill(mproc_segment *segment, char **words)
{
	/* Held to the end: not lost, for those who look for leaks. */
	static mproc_queue *jobs, *idle, *nameless;
	pthread_t thread;
	void *table;

	check(mproc_queue_open_or_create(&jobs, segment, "jobs",
					 MPROC_QUEUE_OPTS(.depth = 8, .msg_max = 100)),
	      "queue jobs");
	check(mproc_queue_open_or_create(&idle, segment, "id\033[2Jle\xff", NULL), "queue idle");
	if (!asked(words, "open")) {
		check(mproc_queue_create(&nameless, segment, NULL, NULL), "queue");
		for (int i = 0; i < 3; i++)
			check(mproc_queue_put(jobs, "message", 7, MPROC_NOWAIT), "put");
	}
	check(mproc_segment_object(&table, segment, "table", TABLE_LEN, init_table, NULL), "table");
	if (asked(words, "mutex"))
		check(mproc_mutex_lock((void *)((char *)table + 64), MPROC_FOREVER), "lock");
	if (asked(words, "wait") && pthread_create(&thread, NULL, wait_for_message, idle) != 0)
		exit(1);
}

struct point {
	int32_t x, y;
	double weight;
};

static void make_values(mproc_segment *segment)
{
	const struct mproc_value_opts *const opts[] = {
		MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t), .init = &(int64_t){ -42 }),
		MPROC_VALUE_OPTS(.type = MPROC_TYPE(double), .init = &(double){ 0.5 }),
		MPROC_VALUE_OPTS(.type = MPROC_TYPE(float), .init = &(float){ INFINITY }),
		MPROC_VALUE_OPTS(.type = MPROC_TYPE(bool), .init = &(bool){ true }),
		MPROC_VALUE_OPTS(.type = MPROC_TYPE(struct point)),
	};
	static const char *const names[] = { "count", "ratio", "endless", "flag", "point" };
	mproc_value *values[sizeof(names) / sizeof(names[0])];
	mproc_array *array;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		check(mproc_value_create(&values[i], segment, names[i], opts[i]), names[i]);
	check(mproc_array_create(&array, segment, "samples",
				 MPROC_ARRAY_OPTS(.type = MPROC_TYPE(uint16_t), .n_items = 5)),
	      "samples");
	check(mproc_value_lock(values[0], MPROC_FOREVER), "lock count");
}

/* Item [i, j] is i + j / 10. */
static mproc_array *make_grid(mproc_segment *segment)
{
	const uint64_t shape[] = { 3, 4 };
	mproc_array *grid;
	double init[12];

	for (int i = 0; i < 12; i++)
		init[i] = i / 4 + i % 4 / 10.0;
	check(mproc_array_create(&grid, segment, "grid",
				 MPROC_ARRAY_OPTS(.type = MPROC_TYPE(double), .init = init,
						  .n_dims = 2, .shape = shape)),
	      "grid");
	return grid;
}

/* The last record is not for terminals. */
static void make_log(mproc_segment *segment)
{
	mproc_ringlog *log;

	check(mproc_ringlog_create(&log, segment, "log", NULL), "log");
	for (int i = 0; i < 11; i++)
		check(mproc_ringlog_printf(log, MPROC_FOREVER, "line %d", i), "append");
	check(mproc_ringlog_append(log, "\033[2J\0x", 6, MPROC_FOREVER), "append");
}

/* Until somebody kills us. What is private goes with us, what is published stays. */
static void grow(mproc_segment *segment)
{
	static void *blocks[4096];
	uint32_t n = 0;
	int r;

	for (;;) {
		r = mproc_arena_alloc(&blocks[n], segment, 100 + n % 7 * 9000);
		if (r == 0 && n % 3 == 0)
			check(mproc_arena_publish(segment, blocks[n]), "publish");
		if (r == 0 && ++n < sizeof(blocks) / sizeof(blocks[0]))
			continue;
		while (n)
			check(mproc_arena_free(segment, blocks[--n]), "free");
	}
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 && strcmp(argv[1], "-") != 0 ? argv[1] : NULL;
	static mproc_array *grid;
	mproc_segment *segment;
	double item;
	char byte;

	if (argc < 2)
		return 64;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(120);
	if (asked(argv + 2, "look"))
		check(mproc_segment_attach(
			      &segment,
			      MPROC_SEGMENT_ATTACH_OPTS(.name = name,
							.flags = MPROC_SEGMENT_READ_ONLY)),
		      "look");
	else if (asked(argv + 2, "open"))
		check(mproc_segment_open(&segment, name), "open");
	else
		check(mproc_segment_create(
			      &segment, name,
			      MPROC_SEGMENT_OPTS(.bytes = 1 << 20,
						 .bytes_max = asked(argv + 2, "grows") ? 64 << 20
										       : 4 << 20,
						 .processes = 8, .threads = 16, .objects = 32,
						 .flags = (asked(argv + 2, "persistent")
								   ? MPROC_SEGMENT_PERSISTENT
								   : 0u) |
							  (asked(argv + 2, "ordered")
								   ? MPROC_SEGMENT_LOCK_ORDER
								   : 0u))),
		      "create");
	if (!asked(argv + 2, "look"))
		fill(segment, argv + 2);
	if (asked(argv + 2, "values"))
		make_values(segment);
	if (asked(argv + 2, "grid"))
		grid = make_grid(segment);
	if (asked(argv + 2, "log"))
		make_log(segment);
	if (told(argv + 2, "hold:"))
		begin_abba(segment, argv + 2);
	puts("ready");
	fflush(stdout);
	if (asked(argv + 2, "close"))
		close_range(1, ~0u, 0);
	if (asked(argv + 2, "grows"))
		grow(segment);
	while (read(0, &byte, 1) > 0)
		;
	if (grid) {
		check(mproc_array_load(grid, double, 6, &item), "load");
		printf("%.17g\n", item);
	}
	return 0;
}
