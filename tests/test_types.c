/* SPDX-License-Identifier: MIT */

/*
 * mproc/types.h, seen from outside; that both sides agree is tested with values
 */

#include <mproc/types.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <wchar.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/ref.h>

static void assert_code(const char *code, const struct mproc_type *want, const char *back)
{
	const struct mproc_type *type = mproc_type_from_code(code);

	assert_non_null(type);
	assert_int_equal(type->kind, want->kind);
	assert_int_equal(type->size, want->size);
	assert_int_equal(type->align, want->align);
	assert_string_equal(mproc_type_code(type), back);
}

static void every_code_of_python_is_its_c_type(void **state)
{
	(void)state;
	assert_code("b", MPROC_TYPE(signed char), "b");
	assert_code("B", MPROC_TYPE(unsigned char), "B");
	assert_code("h", MPROC_TYPE(short), "h");
	assert_code("H", MPROC_TYPE(unsigned short), "H");
	assert_code("i", MPROC_TYPE(int), "i");
	assert_code("I", MPROC_TYPE(unsigned), "I");
	assert_code("l", MPROC_TYPE(long), sizeof(long) == 8 ? "q" : "i");
	assert_code("L", MPROC_TYPE(unsigned long), sizeof(long) == 8 ? "Q" : "I");
	assert_code("q", MPROC_TYPE(long long), "q");
	assert_code("Q", MPROC_TYPE(unsigned long long), "Q");
	assert_code("n", MPROC_TYPE(ssize_t), sizeof(size_t) == 8 ? "q" : "i");
	assert_code("N", MPROC_TYPE(size_t), sizeof(size_t) == 8 ? "Q" : "I");
	assert_code("f", MPROC_TYPE(float), "f");
	assert_code("d", MPROC_TYPE(double), "d");
	assert_code("?", MPROC_TYPE(bool), "?");
	assert_code("c", MPROC_TYPE(char), (char)-1 < 0 ? "b" : "B");
	assert_code("u", MPROC_TYPE(wchar_t), (wchar_t)-1 < 0 ? "i" : "I");
}

static void every_width_has_a_code(void **state)
{
	(void)state;
	assert_code("i8", MPROC_TYPE(int8_t), "b");
	assert_code("u8", MPROC_TYPE(uint8_t), "B");
	assert_code("i16", MPROC_TYPE(int16_t), "h");
	assert_code("u16", MPROC_TYPE(uint16_t), "H");
	assert_code("i32", MPROC_TYPE(int32_t), "i");
	assert_code("u32", MPROC_TYPE(uint32_t), "I");
	assert_code("i64", MPROC_TYPE(int64_t), "q");
	assert_code("u64", MPROC_TYPE(uint64_t), "Q");
	assert_code("f32", MPROC_TYPE(float), "f");
	assert_code("f64", MPROC_TYPE(double), "d");
}

static void what_is_no_code_is_refused(void **state)
{
	(void)state;
	assert_null(mproc_type_from_code("x"));
	assert_string_equal(mproc_error_text(), "type: there is no type code \"x\"");
	assert_null(mproc_type_from_code(""));
	assert_null(mproc_type_from_code("ii"));
	assert_null(mproc_type_from_code(NULL));
	assert_null(mproc_type_code(MPROC_TYPE(struct mproc_ref)));
	assert_string_equal(mproc_error_text(), "type: there is no code for struct mproc_ref");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_of_python_is_its_c_type),
		cmocka_unit_test(every_width_has_a_code),
		cmocka_unit_test(what_is_no_code_is_refused),
	};

	return cmocka_run_group_tests_name("types", tests, NULL, NULL);
}
