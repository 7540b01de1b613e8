/* SPDX-License-Identifier: MIT */

/*
 * mproc/task.h: what the macros make, the table, and running from bytes
 *
 * Pools, which carry the bytes, are in test_pool.c.
 */

#include <mproc/task.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <mproc/error.h>

#include "pool/task.h"
#include "tests/support/child.h"
#include "tests/support/pack_types.h"

typedef struct request {
	char *text;
	int32_t times;
} request;

typedef struct answer {
	char *text;
	int32_t *lengths;
	uint32_t n_lengths;
	int32_t times;
} answer;

/* Larger than what a task gets on the stack. */
typedef struct big {
	char name[2000];
	uint32_t n;
} big;

MPROC_TASK_DECLARE(double, weigh, (val, int, n), (val, double, w), (str, label));
MPROC_TASK_DECLARE(int64_t, answer_to_all);
MPROC_TASK_DECLARE(double, eight, (str, s), (bytes, b), (in, point, p), (val, unsigned long, u),
		   (val, float, f), (val, bool, flag), (bytes, c), (in, point, q));
MPROC_TASK_DECLARE(bool, is_missing, (str, s));
MPROC_TASK_DECLARE(uint8_t, low_byte, (val, uint64_t, n));
MPROC_TASK_FN_DECLARE(repeat, request, answer);
MPROC_TASK_FN_DECLARE(fail_so, request, point);
MPROC_TASK_FN_DECLARE(copy_big, big, big);
MPROC_TASK_FN_DECLARE(run_another, point, point);

MPROC_PACK_STRUCT(request, (str, text), (val, times));
MPROC_PACK_STRUCT(answer, (str, text), (vec, lengths, n_lengths), (val, times));
MPROC_PACK_STRUCT(big, (chars, name), (val, n));

MPROC_TASK(double, weigh, (val, int, n), (val, double, w), (str, label))
{
	return n * w + (double)strlen(label);
}

MPROC_TASK(int64_t, answer_to_all)
{
	return 42;
}

MPROC_TASK(double, eight, (str, s), (bytes, b), (in, point, p), (val, unsigned long, u),
	   (val, float, f), (val, bool, flag), (bytes, c), (in, point, q))
{
	return (double)strlen(s) + (double)b_len + ((const char *)b)[2] + p->x * 100 + p->y * 1000 +
	       (double)u + (double)f + (flag ? 0.25 : 0) + (c ? 1e6 : 0) + (double)c_len +
	       q->x * 1e7 + q->y;
}

MPROC_TASK(bool, is_missing, (str, s))
{
	return !s;
}

MPROC_TASK(uint8_t, low_byte, (val, uint64_t, n))
{
	return (uint8_t)n;
}

/* The text several times, and as many lengths. */
int repeat(const request *in, answer *out)
{
	size_t len = strlen(in->text);

	t_check(!out->text && !out->lengths && !out->n_lengths && !out->times);
	out->times = in->times;
	out->text = mproc_task_alloc(len * (size_t)in->times + 1);
	out->lengths = mproc_task_alloc((size_t)in->times * sizeof(*out->lengths));
	if (!out->text || !out->lengths)
		return -ENOMEM;
	t_check((uintptr_t)out->lengths % _Alignof(max_align_t) == 0);
	for (int32_t i = 0; i < in->times; i++) {
		memcpy(out->text + (size_t)i * len, in->text, len);
		out->lengths[out->n_lengths++] = (int32_t)len;
	}
	return 0;
}
MPROC_TASK_FN(repeat, request, answer);

/* Fails with -times, saying text if there is one. */
int fail_so(const request *in, point *out)
{
	out->x = 1;
	return in->text ? mproc_task_fail(-in->times, "no %s", in->text) : -in->times;
}
MPROC_TASK_FN(fail_so, request, point);

int copy_big(const big *in, big *out)
{
	*out = *in;
	out->n++;
	return 0;
}
MPROC_TASK_FN(copy_big, big, big);

/* A task inside a task. */
int run_another(const point *in, point *out)
{
	unsigned char bytes[128], result[128];
	char *mine = mproc_task_alloc(16);
	request inner = { "x", 3 };
	size_t len;

	t_check(mine);
	strcpy(mine, "still mine");
	t_check(mproc__task_encode(&repeat_task, &inner, bytes, sizeof(bytes), &len) == 0);
	t_check(mproc__task_run(&repeat_task, bytes, len, result, sizeof(result), &len) == 0);
	t_check(!strcmp(mine, "still mine"));
	t_check(mproc_task_alloc(1));
	out->x = in->x + (double)len;
	return 0;
}
MPROC_TASK_FN(run_another, point, point);

/* Encode, run, decode, as two processes would. */
static int travel(const struct mproc_task *task, const void *args, void **value, void *ret)
{
	unsigned char in[8192], out[8192];
	size_t len, out_len = 77;
	int r;

	*value = NULL;
	assert_int_equal(mproc__task_encode(task, args, in, sizeof(in), &len), 0);
	r = mproc__task_run_index(mproc__task_index(task), in, len, out, sizeof(out), &out_len);
	if (r < 0) {
		assert_int_equal(out_len, 77);
		return r;
	}
	return mproc__task_value(task, out, out_len, value, ret);
}

static void typed_task_gives_what_its_function_does(void **state)
{
	struct weigh_args args = { .n = 3, .w = 2.5, .label = "kg" };
	double got;
	void *value;

	(void)state;
	assert_true(weigh(3, 2.5, "kg") == 9.5);
	assert_int_equal(travel(&weigh_task, &args, &value, &got), 0);
	assert_true(got == 9.5);
	/* A number needs no memory. */
	assert_null(value);
}

static void task_takes_none_to_eight_arguments_of_every_verb(void **state)
{
	struct answer_to_all_args none = { 0 };
	struct eight_args args = {
		.s = "four",
		.b = "abc",
		.b_len = 3,
		.p = { 1, 2 },
		.u = 1 << 20,
		.f = 0.5f,
		.flag = true,
		.c = NULL,
		.q = { 3, 0.125 },
	};
	struct is_missing_args missing = { NULL }, there = { "" };
	struct low_byte_args number = { 0x1234 };
	double real;
	int64_t integer;
	uint8_t byte;
	bool truth;
	void *value;

	(void)state;
	assert_int_equal(travel(&answer_to_all_task, &none, &value, &integer), 0);
	assert_int_equal(integer, 42);
	assert_int_equal(answer_to_all_task.args->n_fields, 0);

	assert_int_equal(travel(&eight_task, &args, &value, &real), 0);
	assert_true(real ==
		    eight("four", "abc", 3, &args.p, 1 << 20, 0.5f, true, NULL, 0, &args.q));
	assert_true(real > 3e7);
	assert_int_equal(eight_task.args->n_fields, 8);

	assert_int_equal(travel(&is_missing_task, &missing, &value, &truth), 0);
	assert_true(truth);
	assert_int_equal(travel(&is_missing_task, &there, &value, &truth), 0);
	assert_false(truth);
	assert_int_equal(travel(&low_byte_task, &number, &value, &byte), 0);
	assert_int_equal(byte, 0x34);
}

static void result_lives_as_long_as_its_value(void **state)
{
	request in = { "hello ", 3 };
	answer got, again;
	unsigned char bytes[256], out[256];
	void *value = NULL;
	size_t len;

	(void)state;
	assert_int_equal(mproc__task_encode(&repeat_task, &in, bytes, sizeof(bytes), &len), 0);
	assert_int_equal(mproc__task_run(&repeat_task, bytes, len, out, sizeof(out), &len), 0);
	memset(bytes, 0xaa, sizeof(bytes));
	/* Nobody asks for it. */
	assert_int_equal(mproc__task_value(&repeat_task, out, len, &value, NULL), 0);
	assert_null(value);
	assert_int_equal(mproc__task_value(&repeat_task, out, len, &value, &got), 0);
	assert_non_null(value);
	memset(out, 0xaa, sizeof(out));
	assert_string_equal(got.text, "hello hello hello ");
	assert_int_equal(got.n_lengths, 3);
	assert_int_equal(got.lengths[2], 6);
	assert_int_equal(got.times, 3);
	/* The bytes are not looked at again. */
	assert_int_equal(mproc__task_value(&repeat_task, out, len, &value, &again), 0);
	assert_ptr_equal(again.text, got.text);
	mproc__task_value_free(value);
	mproc__task_value_free(NULL);
}

static void large_structs_and_messages_are_run_as_well(void **state)
{
	static unsigned char bytes[300000], out[1000000];
	static char text[100001];
	big in = { .n = 1 }, got;
	request long_request = { text, 9 };
	answer long_answer;
	void *value = NULL;
	size_t len;

	(void)state;
	memset(in.name, 'n', sizeof(in.name) - 1);
	assert_int_equal(travel(&copy_big_task, &in, &value, &got), 0);
	assert_string_equal(got.name, in.name);
	assert_int_equal(got.n, 2);

	memset(text, 't', sizeof(text) - 1);
	assert_int_equal(
		mproc__task_encode(&repeat_task, &long_request, bytes, sizeof(bytes), &len), 0);
	assert_int_equal(mproc__task_run(&repeat_task, bytes, len, out, sizeof(out), &len), 0);
	assert_int_equal(mproc__task_value(&repeat_task, out, len, &value, &long_answer), 0);
	assert_int_equal(strlen(long_answer.text), 900000);
	mproc__task_value_free(value);
}

static void failing_task_gives_its_code_and_its_text(void **state)
{
	request in = { "such file", ENOENT };
	char longest[300];
	point got = { 7, 8 };
	void *value;

	(void)state;
	assert_int_equal(travel(&fail_so_task, &in, &value, &got), -ENOENT);
	assert_string_equal(mproc_error_text(), "no such file");
	assert_true(got.x == 7);

	/* Without a text of its own, and not with one that was left before. */
	in.text = NULL;
	in.times = EIO;
	assert_int_equal(travel(&fail_so_task, &in, &value, &got), -EIO);
	assert_string_equal(mproc_error_text(), "task fail_so: Input/output error");

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	in.text = longest;
	assert_int_equal(travel(&fail_so_task, &in, &value, &got), -EIO);
	assert_true(strlen(mproc_error_text()) < MPROC__TASK_TEXT);
}

static void arguments_that_are_no_arguments_fail_the_task(void **state)
{
	static const unsigned char wrong[] = { 0x83, 0x01, 0x61, 'x', 0xf6 }, out_of_range[] = {
		0x83, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0, 0x00, 0xf6
	};
	unsigned char out[64];
	size_t len = 77;

	(void)state;
	assert_int_equal(mproc__task_run(&weigh_task, wrong, sizeof(wrong), out, sizeof(out), &len),
			 -EBADMSG);
	assert_string_equal(mproc_error_text(), "task weigh: arguments: weigh.w: a text string "
						"where double is wanted (byte 2)");
	assert_int_equal(mproc__task_run(&weigh_task, out_of_range, sizeof(out_of_range), out,
					 sizeof(out), &len),
			 -ERANGE);
	assert_string_equal(mproc_error_text(), "task weigh: arguments: weigh.n: 4294967296 does "
						"not fit int32_t (byte 1)");
	for (size_t cut = 0; cut < sizeof(wrong); cut++)
		assert_int_equal(mproc__task_run(&weigh_task, wrong, cut, out, sizeof(out), &len),
				 -EBADMSG);
	assert_int_equal(len, 77);
}

static void result_that_does_not_fit_fails_the_task(void **state)
{
	request in = { "0123456789", 10 };
	unsigned char bytes[64], out[64];
	size_t len, out_len = 77;

	(void)state;
	assert_int_equal(mproc__task_encode(&repeat_task, &in, bytes, sizeof(bytes), &len), 0);
	assert_int_equal(mproc__task_run(&repeat_task, bytes, len, out, sizeof(out), &out_len),
			 -EMSGSIZE);
	assert_int_equal(out_len, 77);
	assert_string_equal(mproc_error_text(), "task repeat: a result of 148 bytes, at most 64");
	/* Arguments likewise, but their sender has a larger buffer. */
	assert_int_equal(mproc__task_encode(&repeat_task, &in, bytes, 5, &len), -ENOBUFS);
	assert_int_equal(len, 13);
}

static int leave_half(const void *in, void *out)
{
	(void)in;
	((answer *)out)->n_lengths = 5;
	return 0;
}

static void result_that_no_bytes_stand_for_fails_the_task(void **state)
{
	struct mproc_task_entry entry = { 0 };
	const struct mproc_task half = { "half", MPROC_PACK_TYPE(point), MPROC_PACK_TYPE(answer),
					 leave_half, &entry };
	static const unsigned char no_arguments[] = { 0x80 };
	unsigned char out[64];
	size_t len;

	(void)state;
	assert_int_equal(mproc__task_run(&half, no_arguments, 1, out, sizeof(out), &len), -ENOTSUP);
	assert_string_equal(mproc_error_text(),
			    "task half: result: answer.lengths: NULL with a count of 5");
}

static void memory_of_a_task_is_there_only_while_it_runs(void **state)
{
	point in = { 1, 2 }, got;
	void *value;

	(void)state;
	assert_null(mproc_task_alloc(1));
	assert_string_equal(mproc_error_text(), "task alloc: no task is running in this thread");
	assert_int_equal(travel(&run_another_task, &in, &value, &got), 0);
	assert_true(got.x > 1);
	assert_null(mproc_task_alloc(1));
}

static void tasks_are_found_by_name_and_place(void **state)
{
	static const struct mproc_task *const tasks[] = { &weigh_task, &answer_to_all_task,
							  &repeat_task };
	unsigned char out[8];
	size_t len;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_ptr_equal(mproc__task_find(mproc__task_name(tasks[i])), tasks[i]);
		assert_ptr_equal(mproc__task_at(mproc__task_index(tasks[i])), tasks[i]);
	}
	assert_string_equal(mproc__task_name(&weigh_task), "weigh");
	assert_null(mproc__task_find("unheard of"));
	assert_null(mproc__task_at(MPROC__TASK_MAX - 1));
	assert_null(mproc__task_at(MPROC__TASK_MAX));
	assert_null(mproc__task_at(UINT32_MAX));
	assert_int_equal(mproc__task_run_index(99, "\x80", 1, out, sizeof(out), &len), -ENOENT);
	assert_string_equal(mproc_error_text(), "task number 99 is not known to this worker, which "
						"may be older than the task's library");
	assert_int_equal(mproc__tasks_check("test"), 0);
}

static void pointers_in_a_result_are_told(void **state)
{
	(void)state;
	assert_int_equal(mproc__task_result_flat(&weigh_task, "pool map"), 0);
	assert_int_equal(mproc__task_result_flat(&copy_big_task, "pool map"), 0);
	assert_int_equal(mproc__task_result_flat(&repeat_task, "pool map"), -EINVAL);
	assert_string_equal(mproc_error_text(),
			    "pool map: results of task repeat contain pointers");
}

/* In children: what is registered stays. */
static void register_another(const struct mproc_pack_type *args,
			     const struct mproc_pack_type *result, int want, const char *text)
{
	static struct mproc_task_entry entry;
	static struct mproc_task task;

	task = (struct mproc_task){ "repeat", args, result, leave_half, &entry };
	mproc_task_register(&task);
	t_check(mproc__task_at(entry.index) == &task);
	t_check(mproc__tasks_check("pool create") == want);
	t_check(!want || !strcmp(mproc_error_text(), text));
}

static void register_the_same(void *arg)
{
	(void)arg;
	register_another(MPROC_PACK_TYPE(request), MPROC_PACK_TYPE(answer), 0, NULL);
	/* The first of that name is the one that is found. */
	t_check(mproc__task_find("repeat") == &repeat_task);
}

static void register_other_arguments(void *arg)
{
	static const struct mproc_pack_field fields[] = {
		{ .name = "text", .kind = MPROC_PACK_KIND_STR },
		{ .name = "times", .kind = MPROC_PACK_KIND_INT64, .offset = 8 },
	};
	static const struct mproc_pack_type wider = { "request", fields, 2, 16, 8, 0 };

	(void)arg;
	register_another(&wider, MPROC_PACK_TYPE(answer), -EEXIST,
			 "pool create: two tasks of the name repeat differ in their arguments: "
			 "times");
}

static void register_another_result(void *arg)
{
	(void)arg;
	register_another(MPROC_PACK_TYPE(request), MPROC_PACK_TYPE(request), -EEXIST,
			 "pool create: two tasks of the name repeat differ in their results: "
			 "lengths");
}

static void register_too_many(void *arg)
{
	static struct mproc_task_entry entries[MPROC__TASK_MAX];
	static struct mproc_task tasks[MPROC__TASK_MAX];
	static char names[MPROC__TASK_MAX][8];
	uint32_t n = 0;

	(void)arg;
	while (mproc__task_at(n))
		n++;
	for (uint32_t i = 0; i < MPROC__TASK_MAX; i++) {
		if (n + i == MPROC__TASK_MAX)
			t_check(mproc__tasks_check("pool create") == 0);
		snprintf(names[i], sizeof(names[i]), "t%u", i);
		tasks[i] = (struct mproc_task){ names[i], MPROC_PACK_TYPE(point),
						MPROC_PACK_TYPE(point), leave_half, &entries[i] };
		mproc_task_register(&tasks[i]);
	}
	t_check(mproc__task_find("t4000") == &tasks[4000]);
	t_check(mproc__tasks_check("pool create") == -EOVERFLOW);
	t_check(!strncmp(mproc_error_text(), "pool create: 41", 15));
}

static void tasks_of_one_name_must_be_alike(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(register_the_same, NULL)), 0);
	assert_int_equal(t_reap(t_spawn(register_other_arguments, NULL)), 0);
	assert_int_equal(t_reap(t_spawn(register_another_result, NULL)), 0);
}

static void table_that_is_full_is_told(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(register_too_many, NULL)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(typed_task_gives_what_its_function_does),
		cmocka_unit_test(task_takes_none_to_eight_arguments_of_every_verb),
		cmocka_unit_test(result_lives_as_long_as_its_value),
		cmocka_unit_test(large_structs_and_messages_are_run_as_well),
		cmocka_unit_test(failing_task_gives_its_code_and_its_text),
		cmocka_unit_test(arguments_that_are_no_arguments_fail_the_task),
		cmocka_unit_test(result_that_does_not_fit_fails_the_task),
		cmocka_unit_test(result_that_no_bytes_stand_for_fails_the_task),
		cmocka_unit_test(memory_of_a_task_is_there_only_while_it_runs),
		cmocka_unit_test(tasks_are_found_by_name_and_place),
		cmocka_unit_test(pointers_in_a_result_are_told),
		cmocka_unit_test(tasks_of_one_name_must_be_alike),
		cmocka_unit_test(table_that_is_full_is_told),
	};

	return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
