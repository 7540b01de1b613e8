/* SPDX-License-Identifier: MIT */

/*
 * mproc/namespace.h, seen from outside: what is a dict's is tested there
 */

#include <mproc/namespace.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "shm/arena.h"
#include "tests/support/child.h"

static mproc_segment *segment;
static mproc_namespace *ns;

static int setup(void **state)
{
	int r;

	(void)state;
	r = mproc_segment_create(&segment, NULL, NULL);
	return r < 0 ? r : mproc_namespace_create(&ns, segment, "ns");
}

static int teardown(void **state)
{
	(void)state;
	ns = mproc_namespace_close(ns);
	segment = mproc_segment_close(segment);
	return 0;
}

static void set_all(void *arg)
{
	(void)arg;
	t_check(mproc_namespace_set_int(ns, "x", 10) == 0);
	t_check(mproc_namespace_set_str(ns, "y", "hello") == 0);
	t_check(mproc_namespace_set_float(ns, "z", 0.5) == 0);
	t_check(mproc_namespace_set_bool(ns, "done", true) == 0);
}

static void what_one_process_sets_another_gets(void **state)
{
	char text[16];
	int64_t x = 0;
	double z = 0;
	bool done = false;

	(void)state;
	assert_int_equal(t_reap(t_spawn(set_all, NULL)), 0);
	assert_int_equal(mproc_namespace_get_int(ns, "x", &x), 0);
	assert_int_equal(x, 10);
	assert_int_equal(mproc_namespace_get_str(ns, "y", text, sizeof(text)), 0);
	assert_string_equal(text, "hello");
	assert_int_equal(mproc_namespace_get_float(ns, "z", &z), 0);
	assert_true(z == 0.5);
	assert_int_equal(mproc_namespace_get_bool(ns, "done", &done), 0);
	assert_true(done);
	assert_int_equal(mproc_namespace_len(ns), 4);
	assert_int_equal(mproc_namespace_get_int(ns, "y", &x), -EPROTO);
	assert_string_equal(mproc_error_text(), "namespace ns: y is of kind 5, not 2");
	assert_int_equal(mproc_namespace_set_int(ns, "y", 1), 1);
	assert_int_equal(mproc_namespace_remove(ns, "y"), 0);
	assert_int_equal(mproc_namespace_remove(ns, "y"), -ENOENT);
	assert_int_equal(mproc_namespace_get_str(ns, "y", text, sizeof(text)), -ENOENT);
}

static void names_have_1_to_63_bytes(void **state)
{
	char name[65];
	int64_t x = 0;

	(void)state;
	memset(name, 'n', sizeof(name));
	name[64] = '\0';
	assert_int_equal(mproc_namespace_set_int(ns, name, 1), -EINVAL);
	assert_string_equal(mproc_error_text(),
			    "namespace ns: a name of 64 bytes, 1 to 63 are possible");
	assert_int_equal(mproc_namespace_get_int(ns, name, &x), -EINVAL);
	assert_int_equal(mproc_namespace_get_str(ns, name, name, 1), -EINVAL);
	assert_int_equal(mproc_namespace_remove(ns, ""), -EINVAL);
	name[63] = '\0';
	assert_int_equal(mproc_namespace_set_int(ns, name, 7), 0);
	assert_int_equal(mproc_namespace_get_int(ns, name, &x), 0);
	assert_int_equal(x, 7);
}

static void all_names_can_be_listed(void **state)
{
	struct mproc_dict_iter it = MPROC_DICT_ITER;
	char name[MPROC_NAMESPACE_NAME_MAX + 1], buf[16];
	struct mproc_any any;
	int seen = 0, r;
	size_t len;

	(void)state;
	set_all(NULL);
	while ((r = mproc_namespace_next(ns, &it, name, &any, buf, sizeof(buf), &len)) == 1) {
		seen++;
		if (!strcmp(name, "y"))
			assert_memory_equal(any.as.bytes.ptr, "hello", 5);
		else if (!strcmp(name, "x"))
			assert_int_equal(any.as.i, 10);
		else
			assert_true(!strcmp(name, "z") || !strcmp(name, "done"));
	}
	assert_int_equal(r, 0);
	assert_int_equal(seen, 4);
}

static void it_is_a_kind_of_its_own(void **state)
{
	struct mproc__arena_stats before, after;
	mproc_namespace *other;
	struct mproc_ref ref;
	mproc_dict *dict;

	(void)state;
	assert_int_equal(mproc_namespace_ref(ns, &ref), 0);
	assert_int_equal(mproc_dict_open(&dict, segment, "ns"), -EEXIST);
	assert_int_equal(mproc_dict_open_ref(&dict, segment, &ref), -EEXIST);
	assert_int_equal(mproc_namespace_open(&other, segment, "none"), -ENOENT);
	assert_int_equal(mproc_namespace_open_or_create(&other, segment, "ns"), 0);
	mproc_namespace_close(other);
	assert_int_equal(mproc_namespace_open_ref(&other, segment, &ref), 0);
	assert_int_equal(mproc_namespace_set_int(other, "x", 1), 0);
	mproc_namespace_close(other);
	assert_int_equal(mproc_namespace_len(ns), 1);
	mproc__arena_stats(segment, &before);
	assert_int_equal(mproc_namespace_destroy(ns), 0);
	mproc__arena_stats(segment, &after);
	assert_int_equal(before.used - after.used, 1024 + 64 + 64);
	assert_int_equal(mproc_namespace_set_int(ns, "x", 1), -ESTALE);
	assert_string_equal(mproc_error_text(), "namespace ns: it is gone");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_one_process_sets_another_gets),
		TEST(names_have_1_to_63_bytes),
		TEST(all_names_can_be_listed),
		TEST(it_is_a_kind_of_its_own),
	};

	t_private_dir();
	return cmocka_run_group_tests_name("namespace", tests, NULL, NULL);
}
