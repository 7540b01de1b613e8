/* SPDX-License-Identifier: MIT */

/*
 * Objects that hold bytes: strings, ring logs, blocks of the arena
 */

#include "fuzz/segment_bytes.h"

#include <stdbool.h>
#include <string.h>

#include <mproc/arena.h>
#include <mproc/ref.h>
#include <mproc/ringlog.h>
#include <mproc/string.h>

#include "fuzz/segment_calls.h"
#include "ipc/participant.h"
#include "shm/segment.h"

#define CALL_MS  2
#define SOON()   mproc_after_ms(CALL_MS)
#define N(array) (sizeof(array) / sizeof((array)[0]))
#define BUF      6000u
#define STEPS    100000u /* of an iterator; a segment holds far fewer */

static unsigned char buf[BUF];

static int make_string(mproc_segment *segment)
{
	mproc_string *string, *small;
	int r;

	r = mproc_string_create(&small, segment, "small string",
				MPROC_STRING_OPTS(.init = "idle", .init_len = 4));
	if (r == 0)
		r = mproc_string_create(&string, segment, "string",
					MPROC_STRING_OPTS(.capacity = 64));
	if (r == 0)
		r = mproc_string_set(string, buf, 3000, SOON());
	if (r == 0) {
		mproc_string_close(small);
		mproc_string_close(string);
	}
	return r;
}

/* The ring has been gone round. */
static int make_log(mproc_segment *segment)
{
	mproc_ringlog *log;
	int r;

	r = mproc_ringlog_create(&log, segment, "log", MPROC_RINGLOG_OPTS(.bytes = 1024));
	for (int i = 0; r == 0 && i < 40; i++)
		r = mproc_ringlog_printf(log, SOON(), "record %d%*s", i, i % 50, "");
	if (r == 0)
		mproc_ringlog_close(log);
	return r;
}

int fuzz_bytes_make(mproc_segment *segment)
{
	int r = make_log(segment);

	return r < 0 ? r : make_string(segment);
}

void fuzz_bytes_hold(mproc_segment *segment)
{
	mproc_string *string;
	void *block;

	if (mproc_string_open(&string, segment, "string") == 0)
		(void)!mproc_string_lock(string, SOON());
	for (size_t len = 1; len < 40000; len *= 6)
		(void)!mproc_arena_alloc(&block, segment, len);
}

static int use_string(mproc_string *string, uint8_t op)
{
	uint64_t version = mproc_string_version(string);
	size_t len;
	int order;

	switch (op % 12) {
	case 0:
		return mproc_string_get(string, buf, sizeof(buf), &len, SOON());
	case 1:
		return mproc_string_get_range(string, op * 8u, buf, sizeof(buf), &len, SOON());
	case 2:
		return mproc_string_set(string, buf, op * 40u, SOON());
	case 3:
		return mproc_string_append(string, buf, op * 8u, SOON());
	case 4:
		return mproc_string_replace(string, op / 16, 2, buf, op, SOON());
	case 5:
		return mproc_string_truncate(string, op, SOON());
	case 6:
		return mproc_string_compare(string, buf, 3000, &order, SOON());
	case 7:
		return mproc_string_cas(string, buf, 3000, "other", 5, SOON());
	case 8:
		return mproc_string_wait(string, &version, SOON());
	case 9:
		return (int)(mproc_string_len(string) % 2);
	default:
		return mproc_string_replace(string, 0, mproc_string_len(string), buf, op, SOON());
	}
}

int fuzz_call_string(mproc_segment *segment, uint8_t op)
{
	struct mproc_ref ref;
	mproc_string *string;
	bool locked;
	int r;

	r = mproc_string_open(&string, segment, op & 1 ? "small string" : "string");
	if (r < 0)
		return r;
	if (mproc_string_ref(string, &ref) < 0)
		memset(&ref, 0, sizeof(ref));
	locked = op % 5 == 4;
	if (locked)
		r = mproc_string_lock(string, SOON());
	if (r == MPROC_MUTEX_INHERITED && op & 2)
		(void)!mproc_string_consistent(string);
	if (r >= 0)
		r = use_string(string, op >> 1);
	if (locked)
		mproc_string_unlock(string);
	mproc_string_close(string);
	if (op % 16 == 15 && mproc_string_open_ref(&string, segment, &ref) == 0)
		mproc_string_close(string);
	return r;
}

static int walk_log(mproc_ringlog *log, uint64_t from)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;
	struct mproc_ringlog_record record;
	int r = from ? mproc_ringlog_seek(log, &it, from) : 0;

	for (uint32_t i = 0; r >= 0 && i < STEPS; i++) {
		r = mproc_ringlog_next(log, &it, &record, buf, sizeof(buf));
		if (r == 0)
			break;
	}
	return r;
}

int fuzz_call_log(mproc_segment *segment, uint8_t op)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;
	struct mproc_ringlog_record record;
	struct mproc_ringlog_stats stats;
	mproc_ringlog *log;
	int r;

	r = mproc_ringlog_open(&log, segment, "log");
	if (r < 0)
		return r;
	switch (op % 8) {
	case 0:
		r = mproc_ringlog_append(log, buf, op / 2, SOON());
		break;
	case 1:
		r = mproc_ringlog_append(log, buf, mproc_ringlog_record_max(log) % sizeof(buf),
					 SOON());
		break;
	case 2:
		r = mproc_ringlog_next(log, &it, &record, buf, op & 8 ? 4 : sizeof(buf));
		break;
	case 3:
		r = mproc_ringlog_wait(log, &it, SOON());
		break;
	case 4:
		r = mproc_ringlog_stats(log, &stats);
		break;
	case 5: /* all of the ring anew */
		for (int i = 0; r == 0 && i < 30; i++)
			r = mproc_ringlog_printf(log, SOON(), "%*d", op, i);
		break;
	case 6:
		r = walk_log(log, op / 2);
		break;
	default:
		r = walk_log(log, 0);
	}
	mproc_ringlog_close(log);
	return r;
}

/* One block's life, some of it. */
int fuzz_call_block(mproc_segment *segment, uint8_t op)
{
	static const uint32_t lens[] = { 1, 200, 2048, 5000, 60000, 90, 8200, 300000 };
	uint32_t len = lens[op % N(lens)], more = lens[(op >> 3) % N(lens)];
	struct mproc_arena_owner owner;
	void *block;
	int r;

	if (op & 1)
		r = mproc_arena_calloc(&block, segment, 2, len / 2 + 1);
	else if (op & 32)
		r = mproc_arena_alloc_aligned(&block, segment, UINT64_C(1) << op % 16, len);
	else
		r = mproc_arena_alloc(&block, segment, len);
	if (r < 0)
		return r;
	memset(block, op, len);
	if (op & 2) {
		r = mproc_arena_realloc(&block, segment, more);
		if (r == 0)
			memset(block, op, more);
	}
	if (r == 0 && op & 4)
		r = mproc_arena_publish(segment, block);
	if (r == 0 && op & 8)
		r = mproc_arena_adopt(segment, block);
	if (r == 0 && op & 16)
		r = mproc_arena_owner(segment, block, &owner);
	if (mproc_arena_size(segment, block) > 1u << 30)
		return -1000; /* no such errno */
	return op & 64 ? mproc_arena_free(segment, block) : r;
}

int fuzz_call_arena(mproc_segment *segment, uint8_t op)
{
	struct mproc_arena_stats stats = MPROC_ARENA_STATS;
	void *object;

	switch (op % 5) {
	case 0:
		return mproc_arena_check(segment, SOON());
	case 1:
		return mproc_arena_stats(segment, &stats);
	case 2:
		return mproc__reap_all(segment->range);
	case 3:
		return mproc_segment_grow(segment, fuzz_segment_opts.bytes + op * UINT64_C(4096));
	default: /* an address that is no block's */
		if (mproc_segment_object(&object, segment, "extra", 300, NULL, NULL) < 0)
			return 0;
		return mproc_arena_free(segment, (char *)object + 64 * (size_t)(op / 4));
	}
}
