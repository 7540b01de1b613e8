/* SPDX-License-Identifier: MIT */

/*
 * mproc/segment.h: containers, blocks and views in a segment that is only looked at
 *
 * Reads work, and give what is whole although the reader can take no lock and nobody knows
 * of him; everything else is refused. The table of calls is as in test_segment_read_only.c.
 */

#include <mproc/mproc.h>

#include <errno.h>
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

#include "shm/segment.h"
#include "tests/support/child.h"
#include "tests/support/leaks.h"
#include "tests/support/pack_types.h"

#define LONG 200u /* bytes that need a block of their own */

static mproc_segment *seg, *writable;
static mproc_dict *dict;
static mproc_namespace *ns;
static mproc_list *list;
static mproc_string *string;
static mproc_array *array;
static mproc_ringlog *ringlog, *new_log;
static struct mproc_ringlog_iter log_it;
static struct mproc_ringlog_record log_record;
static struct mproc_ringlog_stats log_stats;
static struct mproc_ref dict_ref, ns_ref, list_ref, string_ref, log_ref, block_ref;
static mproc_off block_off;
static void *block, *private_block;
static char long_text[LONG + 1];

/* Where results go. */
static mproc_dict *new_dict;
static mproc_namespace *new_ns;
static mproc_list *new_list;
static mproc_string *new_string;
static struct mproc_any any;
static struct mproc_any many[8];
static char buf[1024];
static size_t len;
static uint64_t number;
static int64_t sum;
static double float_sum;
static int order;
static uint32_t kind;
static void *ptr;
static struct mproc_ref ref;
static struct mproc_arena_owner owner;
static struct mproc_arena_stats arena_stats = MPROC_ARENA_STATS;
static struct mproc_dict_stats dict_stats;
static struct mproc_dict_iter dict_it = MPROC_DICT_ITER;
static struct mproc_list_iter list_it;
static struct mproc_view view;
static struct mproc_view_iter view_it;
static mproc_pack_value *pack;
static int ints[4];

static void make_dict(void)
{
	const tuple t = { 7, 0.25, (char *)"packed" };
	mproc_dict *d;

	assert_int_equal(mproc_dict_create(&d, writable, "dict", NULL), 0);
	assert_int_equal(mproc_dict_put_int(d, "int", 5), 0);
	assert_int_equal(mproc_dict_put_str(d, "long", long_text), 0);
	assert_int_equal(mproc_dict_put_pack(d, "pack", 4, MPROC_PACK_TYPE(tuple), &t), 0);
	mproc_dict_close(d);
}

static void make_others(void)
{
	const struct mproc_any items[] = { mproc_any_int(1), mproc_any_str(long_text),
					   mproc_any_float(2.5), mproc_any_int(1) };
	const struct mproc_any value = mproc_any_str("value");
	mproc_namespace *n;
	mproc_ringlog *log;
	mproc_string *s;
	mproc_array *a;
	mproc_list *l;

	assert_int_equal(mproc_namespace_create(&n, writable, "ns"), 0);
	assert_int_equal(mproc_namespace_set(n, "x", &value), 0);
	assert_int_equal(mproc_namespace_set(n, "i", &items[0]), 0);
	mproc_namespace_close(n);
	assert_int_equal(mproc_list_create(&l, writable, "list", NULL), 0);
	assert_int_equal(mproc_list_extend(l, items, 4, MPROC_FOREVER), 0);
	mproc_list_close(l);
	assert_int_equal(mproc_string_create(&s, writable, "string", NULL), 0);
	assert_int_equal(mproc_string_set(s, "hello", 5, MPROC_FOREVER), 0);
	mproc_string_close(s);
	assert_int_equal(mproc_ringlog_create(&log, writable, "log", NULL), 0);
	assert_int_equal(mproc_ringlog_append(log, "record", 6, MPROC_FOREVER), 0);
	mproc_ringlog_close(log);
	assert_int_equal(
		mproc_array_create(&a, writable, "array",
				   MPROC_ARRAY_OPTS(.type = MPROC_TYPE(int), .n_items = 4,
						    .flags = MPROC_ARRAY_RAW,
						    .init = ((const int[]){ 1, 2, 3, 4 }))),
		0);
	mproc_array_close(a);
}

static void make_blocks(void)
{
	void *mem;

	assert_int_equal(mproc_arena_alloc(&mem, writable, 100), 0);
	assert_int_equal(mproc_arena_publish(writable, mem), 0);
	assert_int_equal(mproc_ref_of(&block_ref, writable, mem), 0);
	block_off = mproc_off_of(writable, mem);
	assert_true(block_off != 0);
	block = mproc_off_ptr(seg, block_off, 100, 8);
	assert_non_null(block);
	assert_ptr_not_equal(block, mem);
	assert_int_equal(mproc_arena_alloc(&mem, writable, 100), 0);
	private_block = mproc_off_ptr(seg, mproc_off_of(writable, mem), 100, 8);
	assert_non_null(private_block);
}

static int setup(void **state)
{
	(void)state;
	t_leaks_begin();
	memset(long_text, 'l', LONG);
	assert_int_equal(mproc_segment_create(&writable, "reader",
					      MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .processes = 8,
								 .threads = 16, .objects = 16)),
			 0);
	make_dict();
	make_others();
	assert_int_equal(mproc_segment_attach(
				 &seg, MPROC_SEGMENT_ATTACH_OPTS(.name = "reader",
								 .flags = MPROC_SEGMENT_READ_ONLY)),
			 0);
	make_blocks();
	assert_int_equal(mproc_dict_open(&dict, seg, "dict"), 0);
	assert_int_equal(mproc_namespace_open(&ns, seg, "ns"), 0);
	assert_int_equal(mproc_list_open(&list, seg, "list"), 0);
	assert_int_equal(mproc_string_open(&string, seg, "string"), 0);
	assert_int_equal(mproc_ringlog_open(&ringlog, seg, "log"), 0);
	assert_int_equal(mproc_array_open(&array, seg, "array", MPROC_TYPE(int)), 0);
	assert_int_equal(mproc_dict_ref(dict, &dict_ref), 0);
	assert_int_equal(mproc_namespace_ref(ns, &ns_ref), 0);
	assert_int_equal(mproc_list_ref(list, &list_ref), 0);
	assert_int_equal(mproc_string_ref(string, &string_ref), 0);
	assert_int_equal(mproc_ringlog_ref(ringlog, &log_ref), 0);
	assert_int_equal(mproc_view_init(&view, array, int), 0);
	view_it = (struct mproc_view_iter)MPROC_VIEW_ITER(&view);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mproc_dict_close(dict);
	mproc_namespace_close(ns);
	mproc_list_close(list);
	mproc_string_close(string);
	mproc_ringlog_close(ringlog);
	mproc_array_close(array);
	mproc_segment_close(seg);
	mproc_segment_close(writable);
	t_leaks_end();
	return 0;
}

#define T     (mproc_after_ms(20000))
#define R     -EROFS
#define INT   MPROC_TYPE(int)
#define TUPLE MPROC_PACK_TYPE(tuple)
#define A_INT (&(const struct mproc_any){ .kind = MPROC_ANY_INT, .as.i = 1 })
#define ITEM  (&(const struct mproc_dict_item){ .key = "k", .key_len = 1, .value = *A_INT })

#define CALLS(X, Q, V, E) \
	X(R, mproc_arena_alloc, &ptr, seg, 8) \
	X(R, mproc_arena_calloc, &ptr, seg, 1, 8) \
	X(R, mproc_arena_alloc_aligned, &ptr, seg, 64, 8) \
	X(R, mproc_arena_realloc, &block, seg, 8) \
	X(R, mproc_arena_free, seg, block) \
	X(128, mproc_arena_size, seg, block) \
	X(R, mproc_arena_publish, seg, private_block) \
	X(R, mproc_arena_adopt, seg, block) \
	X(0, mproc_arena_owner, seg, block, &owner) \
	X(1, mproc_arena_owner, seg, private_block, &owner) \
	X(0, mproc_arena_stats, seg, &arena_stats) \
	X(R, mproc_arena_check, seg, T) \
	X(R, mproc_dict_create, &new_dict, seg, "new", NULL) \
	X(0, mproc_dict_open, &new_dict, seg, "dict") \
	X(0, mproc_dict_open_or_create, &new_dict, seg, "dict", NULL) \
	X(R, mproc_dict_open_or_create, &new_dict, seg, "new", NULL) \
	X(0, mproc_dict_open_ref, &new_dict, seg, &dict_ref) \
	X(0, mproc_dict_ref, dict, &dict_ref) \
	E(0, mproc_dict_close, mproc_dict_close(dict) != NULL) \
	X(R, mproc_dict_destroy, dict) \
	X(R, mproc_dict_put, dict, "int", 3, "x", 1) \
	X(R, mproc_dict_put_any, dict, "int", 3, A_INT) \
	X(0, mproc_dict_get, dict, "int", 3, buf, sizeof(buf), &len) \
	X(-ENOENT, mproc_dict_get, dict, "none", 4, buf, sizeof(buf), &len) \
	X(-ENOBUFS, mproc_dict_get, dict, "long", 4, buf, 8, &len) \
	X(0, mproc_dict_get_any, dict, "long", 4, &any, buf, sizeof(buf), &len) \
	X(1, mproc_dict_contains, dict, "int", 3) \
	X(0, mproc_dict_contains, dict, "none", 4) \
	X(R, mproc_dict_remove, dict, "int", 3) \
	X(R, mproc_dict_pop, dict, "int", 3, &any, buf, sizeof(buf), &len) \
	X(R, mproc_dict_get_or_insert, dict, "i", 1, A_INT, &any, buf, sizeof(buf), &len) \
	X(R, mproc_dict_replace_if, dict, "int", 3, A_INT, A_INT) \
	X(R, mproc_dict_add_int, dict, "int", 3, 1, 0, &sum) \
	X(R, mproc_dict_add_float, dict, "f", 1, 1, 0, &float_sum) \
	X(R, mproc_dict_update, dict, ITEM, 1) \
	X(R, mproc_dict_clear, dict) \
	X(3, mproc_dict_len, dict) \
	X(0, mproc_dict_stats, dict, &dict_stats) \
	X(1, mproc_dict_next, dict, &dict_it, &any, buf, sizeof(buf), &len) \
	X(1, mproc_dict_next, dict, &dict_it, NULL, NULL, 0, NULL) \
	X(R, mproc_dict_wait, dict, "int", 3, A_INT, T) \
	X(R, mproc_dict_put_pack, dict, "t", 1, TUPLE, (&(const tuple){ .s = buf })) \
	X(0, mproc_dict_get_pack, dict, "pack", 4, TUPLE, &pack) \
	X(0, mproc_dict_get_scalar, dict, "int", MPROC_ANY_INT, &any) \
	X(0, mproc_dict_get_str, dict, "long", buf, sizeof(buf)) \
	X(R, mproc_namespace_create, &new_ns, seg, "new") \
	X(0, mproc_namespace_open, &new_ns, seg, "ns") \
	X(0, mproc_namespace_open_or_create, &new_ns, seg, "ns") \
	X(R, mproc_namespace_open_or_create, &new_ns, seg, "new") \
	X(0, mproc_namespace_open_ref, &new_ns, seg, &ns_ref) \
	X(0, mproc_namespace_ref, ns, &ns_ref) \
	E(0, mproc_namespace_close, mproc_namespace_close(ns) != NULL) \
	X(R, mproc_namespace_destroy, ns) \
	X(R, mproc_namespace_set, ns, "x", A_INT) \
	X(0, mproc_namespace_get, ns, "x", &any, buf, sizeof(buf), &len) \
	X(0, mproc_namespace_get_scalar, ns, "i", MPROC_ANY_INT, &any) \
	X(0, mproc_namespace_get_str, ns, "x", buf, sizeof(buf)) \
	X(R, mproc_namespace_remove, ns, "x") \
	X(2, mproc_namespace_len, ns) \
	X(1, mproc_namespace_next, ns, &dict_it, buf, &any, buf + 512, 512, &len) \
	X(R, mproc_list_create, &new_list, seg, "new", NULL) \
	X(0, mproc_list_open, &new_list, seg, "list") \
	X(0, mproc_list_open_or_create, &new_list, seg, "list", NULL) \
	X(R, mproc_list_open_or_create, &new_list, seg, "new", NULL) \
	X(0, mproc_list_open_ref, &new_list, seg, &list_ref) \
	X(0, mproc_list_ref, list, &list_ref) \
	X(1, mproc_list_version, list) \
	X(R, mproc_list_wait, list, &number, T) \
	E(0, mproc_list_close, mproc_list_close(list) != NULL) \
	X(R, mproc_list_lock, list, T) \
	X(R, mproc_list_unlock, list) \
	X(R, mproc_list_consistent, list) \
	X(4, mproc_list_len, list) \
	X(0, mproc_list_get, list, 0, &any, buf, sizeof(buf), &len, T) \
	X(0, mproc_list_get, list, 1, &any, buf, sizeof(buf), &len, T) \
	X(-ENOBUFS, mproc_list_get, list, 1, &any, buf, 8, &len, T) \
	X(-EINVAL, mproc_list_get, list, 4, &any, buf, sizeof(buf), &len, T) \
	X(0, mproc_list_kind, list, 1, &kind, &len, T) \
	X(R, (mproc_list_set), list, 0, A_INT, T) \
	X(R, (mproc_list_append), list, A_INT, T) \
	X(R, mproc_list_extend, list, A_INT, 1, T) \
	X(R, (mproc_list_insert), list, 0, A_INT, T) \
	X(R, mproc_list_replace, list, 0, 1, A_INT, 1, T) \
	X(R, mproc_list_delete, list, 0, 1, T) \
	X(R, mproc_list_clear, list, T) \
	X(R, mproc_list_pop, list, 0, &any, buf, sizeof(buf), &len, T) \
	X(0, (mproc_list_index), list, A_INT, 1, &number, T) \
	X(0, (mproc_list_count), list, A_INT, &number, T) \
	X(R, (mproc_list_remove), list, A_INT, T) \
	X(0, mproc_list_copy_out, list, 0, 8, many, &number, buf, sizeof(buf), &len, T) \
	X(R, mproc_list_reverse, list, T) \
	X(R, mproc_list_sort, list, NULL, NULL, T) \
	X(1, mproc_list_next, list, &list_it, &any, buf, sizeof(buf), &len, T) \
	X(0, mproc_list_changed, list, &list_it) \
	X(R, mproc_string_create, &new_string, seg, "new", NULL) \
	X(0, mproc_string_open, &new_string, seg, "string") \
	X(0, mproc_string_open_or_create, &new_string, seg, "string", NULL) \
	X(R, mproc_string_open_or_create, &new_string, seg, "new", NULL) \
	X(0, mproc_string_open_ref, &new_string, seg, &string_ref) \
	X(0, mproc_string_ref, string, &string_ref) \
	E(0, mproc_string_close, mproc_string_close(string) != NULL) \
	X(R, mproc_string_lock, string, T) \
	X(R, mproc_string_unlock, string) \
	X(R, mproc_string_consistent, string) \
	X(5, mproc_string_len, string) \
	X(0, mproc_string_get, string, buf, sizeof(buf), &len, T) \
	X(-ENOBUFS, mproc_string_get, string, buf, 4, &len, T) \
	X(0, mproc_string_get_range, string, 1, buf, 2, &len, T) \
	X(-EINVAL, mproc_string_get_range, string, 6, buf, 2, &len, T) \
	X(R, mproc_string_set, string, "x", 1, T) \
	X(R, mproc_string_append, string, "x", 1, T) \
	X(R, mproc_string_replace, string, 0, 1, "x", 1, T) \
	X(R, mproc_string_truncate, string, 1, T) \
	X(0, mproc_string_compare, string, "hello", 5, &order, T) \
	X(R, mproc_string_cas, string, "hello", 5, "x", 1, T) \
	X(1, mproc_string_version, string) \
	X(R, mproc_string_wait, string, &number, T) \
	X(R, mproc_ringlog_create, &new_log, seg, "new", NULL) \
	X(0, mproc_ringlog_open, &new_log, seg, "log") \
	X(0, mproc_ringlog_open_or_create, &new_log, seg, "log", NULL) \
	X(0, mproc_ringlog_open_ref, &new_log, seg, &log_ref) \
	X(0, mproc_ringlog_ref, ringlog, &log_ref) \
	X(R, mproc_ringlog_open_or_create, &new_log, seg, "new", NULL) \
	E(0, mproc_ringlog_close, mproc_ringlog_close(ringlog) != NULL) \
	X(R, mproc_ringlog_append, ringlog, "x", 1, T) \
	X(R, mproc_ringlog_printf, ringlog, T, "x") \
	E(R, mproc_ringlog_vprintf, mproc_ringlog_printf(ringlog, T, "x")) \
	X(1, mproc_ringlog_next, ringlog, &log_it, &log_record, buf, sizeof(buf)) \
	X(R, mproc_ringlog_wait, ringlog, &log_it, T) \
	X(0, mproc_ringlog_seek, ringlog, &log_it, 0) \
	X(8192, mproc_ringlog_record_max, ringlog) \
	X(0, mproc_ringlog_stats, ringlog, &log_stats) \
	X(0, mproc_ref_of, &ref, seg, block) \
	X(0, mproc_ref_at, &ptr, seg, &block_ref, 100, 8) \
	E(1, mproc_ref_ptr, mproc_ref_ptr(seg, &block_ref, 100, 8) == block) \
	E(1, mproc_off_of, mproc_off_of(seg, block) == block_off) \
	E(1, mproc_off_ptr, mproc_off_ptr(seg, block_off, 100, 8) == block) \
	X(0, (mproc_view_init), &view, array, INT) \
	X(0, mproc_view_slice, &view, 0, 1, 3, 1) \
	X(0, mproc_view_index, &view, 0, 1) \
	X(0, mproc_view_swap, &view, 0, 0) \
	X(4, mproc_view_n_items, &view) \
	E(1, mproc_view_ptr, mproc_view_ptr(&view, INT, 1, &(const uint64_t){ 3 }) != NULL) \
	X(0, mproc_view_get, &view, ints, 4, T) \
	X(R, mproc_view_set, &view, ints, 4, T) \
	X(R, mproc_view_fill, &view, ints, T) \
	X(R, mproc_view_add, &view, ints) \
	X(1, mproc_view_next, &view_it, &ptr)

#include "tests/support/read_only.h"

static void reads_work_and_all_else_says_that_it_cannot(void **state)
{
	(void)state;
	run_all(writable->catalogue, 1 << 20 >> 1);
}

static void every_function_has_been_called(void **state)
{
	static const char *const rooms[] = { "arena", "dict",    "list",   "namespace", "off",
					     "ref",   "ringlog", "string", "view",      NULL };

	(void)state;
	assert_true(check_rows(rooms) > 100);
}

static void what_is_read_is_what_is_there(void **state)
{
	const tuple *t;
	int64_t i = 0;

	(void)state;
	assert_int_equal(mproc_dict_get_int(dict, "int", &i), 0);
	assert_int_equal(i, 5);
	assert_int_equal(mproc_dict_get_str(dict, "long", buf, sizeof(buf)), 0);
	assert_string_equal(buf, long_text);
	assert_int_equal(mproc_dict_get_pack(dict, "pack", 4, TUPLE, &pack), 0);
	t = mproc_pack_root(pack);
	assert_string_equal(t->s, "packed");
	mproc_pack_release(pack);
	assert_int_equal(mproc_list_get(list, 1, &any, buf, sizeof(buf), &len, T), 0);
	assert_int_equal(len, LONG);
	assert_memory_equal(buf, long_text, LONG);
	assert_int_equal(mproc_list_copy_out(list, -3, 8, many, &number, buf, sizeof(buf), &len, T),
			 0);
	assert_int_equal(number, 3);
	assert_true(many[1].as.f == 2.5);
	assert_int_equal((mproc_list_count)(list, A_INT, &number, T), 0);
	assert_int_equal(number, 2);
	assert_int_equal(mproc_string_get(string, buf, sizeof(buf), &len, T), 0);
	assert_int_equal(len, 5);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(mproc_string_compare(string, "help", 4, &order, T), 0);
	assert_true(order < 0);
	memset(ints, 0, sizeof(ints));
	assert_int_equal(mproc_view_get(&view, ints, 4, T), 0);
	assert_int_equal(ints[3], 4);
	/* Private to this process, but not to the handle that only reads. */
	assert_int_equal(mproc_arena_owner(seg, private_block, &owner), 1);
	assert_int_equal(owner.pid, getpid());
	assert_int_equal(owner.is_mine, 0);
}

/* Of an object that is gone, also when others have its memory. */
static void what_was_removed_is_gone_for_readers(void **state)
{
	(void)state;
	assert_int_equal(mproc_segment_remove(writable, "dict"), 0);
	assert_int_equal(mproc_segment_remove(writable, "ns"), 0);
	assert_int_equal(mproc_segment_remove(writable, "list"), 0);
	assert_int_equal(mproc_segment_remove(writable, "string"), 0);
	make_dict();
	for (int turn = 0; turn < 2; turn++) {
		assert_int_equal(mproc_dict_contains(dict, "int", 3), -ESTALE);
		assert_non_null(strstr(mproc_error_text(), "it is gone"));
		assert_int_equal(mproc_dict_len(dict), -ESTALE);
		assert_int_equal(mproc_dict_next(dict, &dict_it, NULL, NULL, 0, NULL), -ESTALE);
		assert_int_equal(mproc_namespace_len(ns), -ESTALE);
		assert_int_equal(mproc_list_get(list, 1, &any, buf, sizeof(buf), &len, T), -ESTALE);
		assert_int_equal(mproc_string_get(string, buf, sizeof(buf), &len, T), -ESTALE);
		assert_int_equal(mproc_string_compare(string, "x", 1, &order, MPROC_NOWAIT),
				 -ESTALE);
		if (!turn)
			for (int i = 0; i < 64 && mproc_arena_alloc(&ptr, writable, 512) == 0; i++)
				memset(ptr, 0xa5, 512);
	}
}

/*
 * A lock that somebody holds is respected, and one that a dead process left is not.
 */

static void hold(void *arg)
{
	mproc_string *s;
	mproc_list *l;

	t_check(mproc_string_open(&s, writable, "string") == 0);
	t_check(mproc_list_open(&l, writable, "list") == 0);
	t_check(mproc_string_lock(s, MPROC_FOREVER) == 0);
	t_check(mproc_string_set(s, "half", 4, MPROC_FOREVER) == 0);
	t_check(mproc_list_lock(l, MPROC_FOREVER) == 0);
	atomic_store((_Atomic(int) *)arg, 1);
	for (;;)
		pause();
}

static void lock_is_respected_as_long_as_its_owner_lives(void **state)
{
	_Atomic(int) *held = mmap(NULL, sizeof(*held), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const int64_t soon = mproc_after_ms(30);
	pid_t pid;

	(void)state;
	assert_true(held != MAP_FAILED);
	pid = t_spawn(hold, held);
	while (!atomic_load(held))
		usleep(1000);
	assert_int_equal(mproc_string_get(string, buf, sizeof(buf), &len, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_string_get(string, buf, sizeof(buf), &len, soon), -ETIMEDOUT);
	assert_true(mproc_now() >= soon);
	assert_int_equal(mproc_list_get(list, 0, &any, buf, sizeof(buf), &len, MPROC_NOWAIT),
			 -EAGAIN);
	kill(pid, SIGKILL);
	assert_int_equal(t_reap(pid), SIGKILL);
	assert_int_equal(mproc_string_get(string, buf, sizeof(buf), &len, T), 0);
	assert_int_equal(len, 4);
	assert_int_equal(mproc_list_get(list, 0, &any, buf, sizeof(buf), &len, T), 0);
	munmap(held, sizeof(*held));
}

/*
 * Others change everything all the time, and remove it and make it anew; whatever a reader
 * gets is of one moment: all bytes of a text are equal, and as many as they say.
 */

#define TEXT_MAX 600u

static size_t text_make(char text[TEXT_MAX + 1], unsigned int turn)
{
	size_t n = 1 + turn * 37 % TEXT_MAX;

	memset(text, 'a' + (int)(n % 26), n);
	text[n] = '\0';
	return n;
}

static bool text_is_whole(const char *text, size_t n)
{
	if (!n || n > TEXT_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (text[i] != 'a' + (int)(n % 26))
			return false;
	return true;
}

static void change_string_and_list(const char *text, size_t n)
{
	const struct mproc_any item = mproc_any_str(text);
	mproc_string *s;
	mproc_list *l;

	t_check(mproc_string_open_or_create(&s, writable, "s", NULL) >= 0);
	t_check(mproc_list_open_or_create(&l, writable, "l", NULL) >= 0);
	t_check(mproc_string_set(s, text, n, MPROC_FOREVER) == 0);
	if (mproc_list_len(l) < 3)
		t_check((mproc_list_append)(l, &item, MPROC_FOREVER) == 0);
	else
		t_check((mproc_list_set)(l, (int64_t)(n % 3), &item, MPROC_FOREVER) == 0);
	mproc_string_close(s);
	mproc_list_close(l);
}

static void change(void *arg)
{
	char text[TEXT_MAX + 1];
	mproc_dict *d;

	for (unsigned int turn = 1; !atomic_load((_Atomic(int) *)arg); turn++) {
		size_t n = text_make(text, turn);

		t_check(mproc_dict_open_or_create(&d, writable, "d",
						  MPROC_DICT_OPTS(.n_stripes = 1)) >= 0);
		t_check(mproc_dict_put(d, "bytes", 2 + turn % 3, text, n) >= 0);
		t_check(mproc_dict_put_str(d, "k", text) >= 0);
		mproc_dict_close(d);
		change_string_and_list(text, n);
		if (turn % 64 == 0) {
			t_check(mproc_segment_remove(writable, "d") == 0);
			t_check(mproc_segment_remove(writable, "s") == 0);
			t_check(mproc_segment_remove(writable, "l") == 0);
		}
	}
}

/* Is that what can be told of what changes and goes? */
static bool is_expected(int r)
{
	return r == -ESTALE || r == -EBUSY || r == -EAGAIN || r == -ENOENT;
}

/* Return: how often something was read. */
static unsigned int read_dict(void)
{
	struct mproc_dict_iter it = MPROC_DICT_ITER;
	unsigned int n = 0;
	mproc_dict *d;
	int r;

	if (mproc_dict_open(&d, seg, "d") < 0)
		return 0;
	for (int i = 0; i < 50; i++) {
		r = mproc_dict_get_str(d, "k", buf, sizeof(buf));
		t_check(r == 0 ? text_is_whole(buf, strlen(buf)) : is_expected(r));
		n += r == 0;
		r = mproc_dict_next(d, &it, &any, buf, sizeof(buf), &len);
		t_check(r > 0 ? text_is_whole(buf, len) : r == 0 || is_expected(r));
	}
	mproc_dict_close(d);
	return n;
}

static unsigned int read_list_and_string(void)
{
	unsigned int n = 0;
	mproc_string *s;
	mproc_list *l;
	int r;

	if (mproc_string_open(&s, seg, "s") < 0)
		return 0;
	if (mproc_list_open(&l, seg, "l") < 0) {
		mproc_string_close(s);
		return 0;
	}
	for (int i = 0; i < 50; i++) {
		r = mproc_string_get(s, buf, sizeof(buf), &len, MPROC_NOWAIT);
		t_check(r == 0 ? !len || text_is_whole(buf, len) : is_expected(r));
		n += r == 0;
		r = mproc_list_get(l, i % 3, &any, buf, sizeof(buf), &len, MPROC_NOWAIT);
		t_check(r == 0 ? text_is_whole(buf, len) : r == -EINVAL || is_expected(r));
		n += r == 0;
	}
	mproc_string_close(s);
	mproc_list_close(l);
	return n;
}

static void read_while_others_change(void *arg)
{
	unsigned int n_dict = 0, n_others = 0;
	int64_t until = mproc_after_ms(1500);

	(void)arg;
	while (mproc_now() < until) {
		n_dict += read_dict();
		n_others += read_list_and_string();
	}
	t_check(n_dict > 100 && n_others > 100);
}

static void what_is_read_is_of_one_moment(void **state)
{
	_Atomic(int) *stop = mmap(NULL, sizeof(*stop), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[3];

	(void)state;
	assert_true(stop != MAP_FAILED);
	pids[0] = t_spawn(change, (void *)stop);
	pids[1] = t_spawn(read_while_others_change, NULL);
	pids[2] = t_spawn(read_while_others_change, NULL);
	assert_int_equal(t_reap(pids[1]), 0);
	assert_int_equal(t_reap(pids[2]), 0);
	atomic_store(stop, 1);
	assert_int_equal(t_reap(pids[0]), 0);
	munmap(stop, sizeof(*stop));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reads_work_and_all_else_says_that_it_cannot),
		TEST(every_function_has_been_called),
		TEST(what_is_read_is_what_is_there),
		TEST(what_was_removed_is_gone_for_readers),
		TEST(lock_is_respected_as_long_as_its_owner_lives),
		TEST(what_is_read_is_of_one_moment),
	};

	t_private_dir();
	return cmocka_run_group_tests_name("segment_reader", tests, NULL, NULL);
}
