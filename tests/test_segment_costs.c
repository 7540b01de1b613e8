/* SPDX-License-Identifier: MIT */

/*
 * What everything costs in bytes: each number of the table in mproc_segment(3)
 */

#include <mproc/mproc.h>

#include <assert.h>
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/child.h"
#include "tests/support/leaks.h"

struct record {
	char text[200];
};

/* What is left of a segment for blocks. */
static uint64_t room_of(const struct mproc_segment_opts *opts)
{
	struct mproc_segment_stats stats = MPROC_SEGMENT_STATS;
	mproc_segment *segment;

	if (mproc_segment_create(&segment, NULL, opts) < 0)
		return 0;
	assert_int_equal(mproc_segment_stats(segment, &stats), 0);
	mproc_segment_close(segment);
	return stats.free;
}

static uint64_t default_bytes(void)
{
	struct mproc_segment_stats stats = MPROC_SEGMENT_STATS;
	mproc_segment *segment;

	assert_int_equal(mproc_segment_create(&segment, NULL, NULL), 0);
	assert_int_equal(mproc_segment_stats(segment, &stats), 0);
	mproc_segment_close(segment);
	return stats.bytes;
}

static uint64_t default_tables(void)
{
	return default_bytes() - room_of(NULL);
}

/* The bytes that a segment with such tables must have. */
static uint64_t least(uint32_t processes, uint32_t threads, uint32_t objects)
{
	uint64_t bytes = 4096;

	while (!room_of(MPROC_SEGMENT_OPTS(.bytes = bytes, .processes = processes,
					   .threads = threads, .objects = objects)))
		bytes += 4096;
	return bytes;
}

static uint64_t smallest(void)
{
	return least(1, 1, 1);
}

static uint64_t smallest_room(void)
{
	return room_of(MPROC_SEGMENT_OPTS(.bytes = smallest(), .processes = 1, .threads = 1,
					  .objects = 1));
}

/* 1,024 more take whole pages, so that no rounding is measured. */

static uint64_t process(void)
{
	return (least(1025, 1, 1) - smallest()) / 1024;
}

static uint64_t thread(void)
{
	return (least(1, 1025, 1) - smallest()) / 1024;
}

static uint64_t entry(void)
{
	return (least(1, 1, 1025) - smallest()) / 1024;
}

/* What making something takes from the blocks. */
static uint64_t of(int (*make)(mproc_segment *segment))
{
	struct mproc_segment_stats was = MPROC_SEGMENT_STATS, is = MPROC_SEGMENT_STATS;
	mproc_segment *segment;

	assert_int_equal(mproc_segment_create(&segment, NULL, NULL), 0);
	assert_int_equal(mproc_segment_stats(segment, &was), 0);
	assert_int_equal(make(segment), 0);
	assert_int_equal(mproc_segment_stats(segment, &is), 0);
	mproc_segment_close(segment);
	return is.used - was.used;
}

static int make_value(mproc_segment *segment)
{
	mproc_value *v;
	int r = mproc_value_create(&v, segment, "x", MPROC_VALUE_OPTS(.type = MPROC_TYPE(int64_t)));

	if (r == 0)
		mproc_value_close(v);
	return r;
}

static int make_record(mproc_segment *segment)
{
	mproc_value *v;
	int r = mproc_value_create(&v, segment, "x",
				   MPROC_VALUE_OPTS(.type = MPROC_TYPE(struct record)));

	if (r == 0)
		mproc_value_close(v);
	return r;
}

static int make_array(mproc_segment *segment)
{
	mproc_array *a;
	int r = mproc_array_create(&a, segment, "x",
				   MPROC_ARRAY_OPTS(.type = MPROC_TYPE(int), .n_items = 1000));

	if (r == 0)
		mproc_array_close(a);
	return r;
}

static int make_queue(mproc_segment *segment)
{
	mproc_queue *q;
	int r = mproc_queue_create(&q, segment, "x", NULL);

	if (r == 0)
		mproc_queue_close(q);
	return r;
}

static int make_ringlog(mproc_segment *segment)
{
	mproc_ringlog *object;
	int r = mproc_ringlog_create(&object, segment, "x", NULL);

	if (r == 0)
		mproc_ringlog_close(object);
	return r;
}

static int make_dict(mproc_segment *segment)
{
	mproc_dict *object;
	int r = mproc_dict_create(&object, segment, "x", NULL);

	if (r == 0)
		mproc_dict_close(object);
	return r;
}

static int make_list(mproc_segment *segment)
{
	mproc_list *object;
	int r = mproc_list_create(&object, segment, "x", NULL);

	if (r == 0)
		mproc_list_close(object);
	return r;
}

static int make_string(mproc_segment *segment)
{
	mproc_string *object;
	int r = mproc_string_create(&object, segment, "x", NULL);

	if (r == 0)
		mproc_string_close(object);
	return r;
}

static int make_namespace(mproc_segment *segment)
{
	mproc_namespace *object;
	int r = mproc_namespace_create(&object, segment, "x");

	if (r == 0)
		mproc_namespace_close(object);
	return r;
}

static int make_block(mproc_segment *segment)
{
	void *block;

	return mproc_segment_object(&block, segment, "x", 1, NULL, NULL) == 1 ? 0 : -1;
}

static uint64_t value(void)
{
	return of(make_value);
}

static uint64_t value_of_200(void)
{
	return of(make_record);
}

static uint64_t array(void)
{
	return of(make_array);
}

static uint64_t queue(void)
{
	return of(make_queue);
}

static uint64_t ringlog(void)
{
	return of(make_ringlog);
}

static uint64_t dict(void)
{
	return of(make_dict);
}

static uint64_t list(void)
{
	return of(make_list);
}

static uint64_t string(void)
{
	return of(make_string);
}

static uint64_t namespace(void)
{
	return of(make_namespace);
}

/* With its two queues; its entries in the catalogue are three. */
static uint64_t pool(void)
{
	struct mproc_segment_stats was = MPROC_SEGMENT_STATS, is = MPROC_SEGMENT_STATS;
	mproc_segment *segment;
	mproc_pool *p;

	assert_int_equal(mproc_segment_create(&segment, NULL, NULL), 0);
	assert_int_equal(mproc_segment_stats(segment, &was), 0);
	assert_int_equal(mproc_pool_create(&p, segment, "x", MPROC_POOL_OPTS(.workers = 1)), 0);
	assert_int_equal(mproc_segment_stats(segment, &is), 0);
	mproc_pool_close(p);
	mproc_segment_close(segment);
	return is.used - was.used;
}

static uint64_t block(void)
{
	return of(make_block);
}

#define SIZE(name, size) \
	static uint64_t name(void) \
	{ \
		return size; \
	} \
	static_assert((size) > 0, "")

SIZE(mutex, sizeof(mproc_mutex));
SIZE(rmutex, sizeof(mproc_rmutex));
SIZE(event, sizeof(mproc_event));
SIZE(condition, sizeof(mproc_condition));
SIZE(rwlock, sizeof(mproc_rwlock));
SIZE(latch, sizeof(mproc_latch));
SIZE(once, sizeof(mproc_once));
SIZE(signals, sizeof(mproc_semaphore));

static uint64_t permit(void)
{
	return mproc_semaphore_size(MPROC_SEMAPHORE_PERMITS, 2) -
	       mproc_semaphore_size(MPROC_SEMAPHORE_PERMITS, 1);
}

static uint64_t barrier(void)
{
	return mproc_barrier_size(2);
}

static const struct {
	const char *label;
	uint64_t (*measure)(void);
} rows[] = {
	{ "segment of default options", default_bytes },
	{ "of these, its tables", default_tables },
	{ "smallest segment, of one process, thread and object", smallest },
	{ "of these, for blocks", smallest_room },
	{ "each process", process },
	{ "each thread", thread },
	{ "each object, in the catalogue", entry },
	{ "and its block: value of int64_t", value },
	{ "value of a struct of 200 bytes", value_of_200 },
	{ "array of 1,000 int", array },
	{ "queue of default options", queue },
	{ "ring log of default options", ringlog },
	{ "dict of default options", dict },
	{ "list of default options", list },
	{ "string of default options", string },
	{ "namespace", namespace },
	{ "pool of 1 worker, its two queues with it", pool },
	{ "object of 1 byte", block },
	{ "in place: mutex", mutex },
	{ "rmutex", rmutex },
	{ "event", event },
	{ "condition", condition },
	{ "rwlock", rwlock },
	{ "latch", latch },
	{ "once", once },
	{ "semaphore", signals },
	{ "each permit of one", permit },
	{ "barrier of 2 parties", barrier },
};

/* "16,777,216" */
static uint64_t number_of(const char *text)
{
	uint64_t n = 0;

	for (; *text && *text != '\n'; text++) {
		if (isdigit((unsigned char)*text))
			n = n * 10 + (uint64_t)(*text - '0');
		else
			assert_int_equal(*text, ',');
	}
	return n;
}

static void every_number_of_the_manual_is_true(void **state)
{
	FILE *page = fopen(MPROC_DOC "/mproc_segment.3.scd", "r");
	const size_t n_rows = sizeof(rows) / sizeof(rows[0]);
	char line[256], label[256];
	bool inside = false;
	size_t n = 0;

	(void)state;
	assert_non_null(page);
	while (fgets(line, sizeof(line), page)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '#')
			inside = !strcmp(line, "# COSTS");
		if (inside && !strncmp(line, "|  ", 3)) {
			snprintf(label, sizeof(label), "%s", line + 3);
		} else if (inside && !strncmp(line, ":  ", 3)) {
			uint64_t got;

			assert_true(n < n_rows);
			assert_string_equal(label, rows[n].label);
			got = rows[n].measure();
			if (got != number_of(line + 3))
				print_message("# %s: %llu, the manual says %s\n", label,
					      (unsigned long long)got, line + 3);
			assert_int_equal(got, number_of(line + 3));
			n++;
		}
	}
	fclose(page);
	assert_int_equal(n, n_rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_number_of_the_manual_is_true),
	};

	return cmocka_run_group_tests_name("segment_costs", tests, NULL, NULL);
}
