/* SPDX-License-Identifier: MIT */

/*
 * Values that say what they are: what is stored of them, and what comes back
 */

#include <mproc/any.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ipc/any.h"

static void assert_comes_back(struct mproc_any any, size_t len)
{
	struct mproc_any back;
	unsigned char copy[64];
	const void *bytes = NULL;
	size_t got = 0;

	assert_int_equal(mproc__any_bytes(&any, &bytes, &got), 0);
	assert_int_equal(got, len);
	if (got)
		memcpy(copy, bytes, got);
	assert_int_equal(mproc__any_from(any.kind, copy, got, &back), 0);
	assert_int_equal(back.kind, any.kind);
	if (any.kind == MPROC_ANY_STR || any.kind == MPROC_ANY_BYTES) {
		assert_int_equal(back.as.bytes.len, len);
		assert_memory_equal(back.as.bytes.ptr, any.as.bytes.ptr, len);
	} else {
		assert_memory_equal(&back, &any, sizeof(any));
	}
}

static void what_is_stored_comes_back(void **state)
{
	const struct mproc_ref ref = { 1, 2, 3 };

	(void)state;
	assert_comes_back(mproc_any_none(), 0);
	assert_comes_back(mproc_any_bool(true), 1);
	assert_comes_back(mproc_any_int(-7), 8);
	assert_comes_back(mproc_any_uint(UINT64_MAX), 8);
	assert_comes_back(mproc_any_float(-0.5), 8);
	assert_comes_back(mproc_any_str(""), 0);
	assert_comes_back(mproc_any_str("text"), 4);
	assert_comes_back(mproc_any_bytes("a\0b", 3), 3);
	assert_comes_back(mproc_any_ref(ref), sizeof(ref));
}

static void what_is_impossible_is_refused(void **state)
{
	struct mproc_any any = mproc_any_bytes(NULL, 1), back;
	const void *bytes = NULL;
	size_t len = 0;

	(void)state;
	assert_int_equal(mproc__any_bytes(&any, &bytes, &len), -EINVAL);
	any.kind = 77;
	assert_int_equal(mproc__any_bytes(&any, &bytes, &len), -EINVAL);
	assert_int_equal(mproc__any_from(77, "", 0, &back), -EBADMSG);
	assert_int_equal(mproc__any_from(MPROC_ANY_INT, "1234", 4, &back), -EBADMSG);
	assert_int_equal(mproc__any_from(MPROC_ANY_NONE, "1", 1, &back), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_stored_comes_back),
		cmocka_unit_test(what_is_impossible_is_refused),
	};

	return cmocka_run_group_tests_name("any", tests, NULL, NULL);
}
