/* SPDX-License-Identifier: MIT */

/*
 * The shared library as the dynamic linker sees it
 *
 * abi_library LIBRARY MAP: this program is not linked with the library, so that
 * it can be loaded and dropped here.
 */

#include <mproc/mproc.h>

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *library, *map;

static int load(void **state)
{
	*state = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	if (!*state)
		print_error("%s\n", dlerror());
	return *state ? 0 : -1;
}

static int drop(void **state)
{
	return dlclose(*state);
}

static void every_listed_symbol_is_there_under_its_version(void **state)
{
	char line[128], node[64] = "", name[64];
	size_t n = 0;
	FILE *f = fopen(map, "re");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63[A-Z0-9_.] {", node) == 1)
			continue;
		if (sscanf(line, " %63[a-z0-9_];", name) != 1 || strncmp(name, "mproc_", 6))
			continue;
		if (!dlvsym(*state, name, node))
			fail_msg("%s is not there as %s of %s", name, name, node);
		n++;
	}
	fclose(f);
	assert_true(n > 0);
}

static void private_functions_are_hidden(void **state)
{
	assert_null(dlsym(*state, "mproc__fail"));
	assert_null(dlsym(*state, "mproc__opts_copy"));
}

static void library_has_its_major_version_in_its_name(void **state)
{
	(void)state;
	/* Loaded by path; the linker knows it by its soname. */
	void *same = dlopen("libmproc.so.0", RTLD_NOW | RTLD_NOLOAD);

	assert_non_null(same);
	dlclose(same);
}

static void library_outlives_dlclose(void **state)
{
	void *again = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	int64_t (*now)(void);

	assert_non_null(again);
	now = (int64_t(*)(void))(intptr_t)dlsym(again, "mproc_now");
	assert_non_null(now);
	dlclose(again);
	dlclose(*state);
	/* Unmapped, this would be a jump into nothing. */
	assert_true(now() > 0);
	assert_int_equal(load(state), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, load, drop)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(every_listed_symbol_is_there_under_its_version),
		TEST(private_functions_are_hidden),
		TEST(library_has_its_major_version_in_its_name),
		TEST(library_outlives_dlclose),
	};

	if (argc != 3) {
		fprintf(stderr, "usage: %s LIBRARY MAP\n", argv[0]);
		return 64;
	}
	library = argv[1];
	map = argv[2];
	return cmocka_run_group_tests_name("library", tests, NULL, NULL);
}
