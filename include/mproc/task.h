/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TASK_H
#define MPROC_TASK_H

/*
 * Tasks: functions that other processes run
 *
 * One macro declares a task in a header, another one defines it in a source file.
 * Together they make a typed NAME_submit() and NAME_result(), and enter the task by
 * its name in the program's table before main() begins. A task travels as its place
 * in that table and its arguments as bytes (mproc/pack.h), never as an address.
 *
 * Unless a function says otherwise:
 *
 *	Threads		everything may be called from any thread
 *	Fork		a child has the tasks of its parent
 *	Signals		not safe in a signal handler
 *	Killed		nothing here writes shared memory
 *	Errors		none
 *
 * A shared library that defines tasks must not be unloaded.
 */

#include <mproc/common.h>
#include <mproc/pack.h>

MPROC_BEGIN_DECLS

typedef struct mproc_pool mproc_pool;
typedef struct mproc_future mproc_future;

/* The registry's, for one task. */
struct mproc_task_entry {
	uint32_t index; /* in the program's table */
};

/* A task as it is registered. Immutable, except for its entry. */
struct mproc_task {
	const char *name;
	const struct mproc_pack_type *args;
	const struct mproc_pack_type *result;
	/* Reads a struct of type args, fills a zeroed one of type result. 0 or negative. */
	int (*run)(const void *args, void *result);
	struct mproc_task_entry *entry;
};

/*
 * MPROC_TASK_DECLARE(R, NAME, (verb, …), …); in a header declares the function
 * R NAME(…) and, beside it,
 *
 *	mproc_future *NAME_submit(mproc_pool *pool, …);
 *	int NAME_result(mproc_future *future, R *ret, int64_t deadline);
 *	extern const struct mproc_task NAME_task;
 *
 * MPROC_TASK(R, NAME, (verb, …), …) { body } with the same list in one source file
 * defines it. R is bool, an integer, an enum, float or double. There are 0 to 8
 * arguments:
 *
 *	(val, T, n)	T n, of a type that may be R as well
 *	(str, s)	const char *s: a string, or NULL
 *	(bytes, b)	const void *b, size_t b_len
 *	(in, T, x)	const T *x: a struct described by MPROC_PACK_STRUCT(T, …) in the
 *			source file, sent by value
 *
 * NAME_submit() encodes the arguments before it returns; it gives NULL with
 * mproc_error_text() and errno set if that, or mproc_pool_submit(), fails.
 * NAME_result() waits as mproc_future_result() does. C only.
 */
#define MPROC_TASK_DECLARE(...) MPROC__TASK_DECLARE(__VA_ARGS__, MPROC__TASK_NONE, ~)
#define MPROC_TASK(...)         MPROC__TASK_DEFINE(__VA_ARGS__, MPROC__TASK_NONE, ~)

/*
 * The form for tasks that can fail, or return more than a number:
 *
 *	MPROC_TASK_FN_DECLARE(NAME, IN, OUT);	in a header
 *	MPROC_TASK_FN(NAME, IN, OUT);		in one source file
 *	int NAME(const IN *in, OUT *out)	the function, anywhere
 *
 * IN and OUT are described by MPROC_PACK_STRUCT() in the source file, out comes
 * zeroed. A negative errno is the task's own failure: the future fails with it and
 * with the text of mproc_task_fail(). What out points to must live until the next
 * task begins: memory of in, of the program, or of mproc_task_alloc().
 *
 *	mproc_future *NAME_submit(mproc_pool *pool, const IN *in);
 *	int NAME_result(mproc_future *future, OUT *ret, int64_t deadline);
 *
 * What *ret points to lives as long as the future. C only.
 */
#define MPROC_TASK_FN_DECLARE(id, IN, OUT) \
	int id(const IN *in, OUT *out); \
	extern const struct mproc_task id##_task; \
	MPROC__TASK_INLINE mproc_future *id##_submit(mproc_pool *mproc__pool, const IN *in) \
	{ \
		return mproc_pool_submit(mproc__pool, &id##_task, in); \
	} \
	MPROC__TASK_RESULT(OUT, id)
#define MPROC_TASK_FN(id, IN, OUT) \
	static int id##_run(const void *in, void *out) \
	{ \
		return id((const IN *)in, (OUT *)out); \
	} \
	MPROC__TASK_REGISTER(id, &mproc_pack_type_##IN, &mproc_pack_type_##OUT)

/**
 * mproc_task_register() - enter a task in the program's table
 * @task:	task; stays where it is for good
 *
 * The macros do it before main() begins. Two tasks of one name whose arguments or
 * results differ, and more than 4,096 tasks, are told by mproc_pool_create().
 */
MPROC_API void mproc_task_register(const struct mproc_task *task);

/**
 * mproc_task_fail() - say why a task fails, where it returns
 * @code:	negative errno
 * @fmt:	as for printf(3): what the one who submitted finds in
 *		mproc_error_text() and mproc_future_error(), at most 191 bytes
 *
 * Return: @code, so that one can write return mproc_task_fail(-errno, "…").
 */
MPROC_API int mproc_task_fail(int code, const char *fmt, ...)
	__attribute__((__format__(__printf__, 2, 3)));

/**
 * mproc_task_alloc() - memory for what a task's result points to
 * @len:	bytes
 *
 * The memory is zeroed, aligned for any type, and freed when the result has been
 * encoded. Works inside a task only.
 *
 * Return: the memory, or NULL with mproc_error_text() if there is none or no task is
 * running in this thread.
 */
MPROC_API MPROC_MUST void *mproc_task_alloc(size_t len);

/* Of mproc/pool.h and mproc/future.h, for the generated code. */
MPROC_MUST mproc_future *mproc_pool_submit(mproc_pool *pool, const struct mproc_task *task,
					   const void *args);
MPROC_MUST int mproc_future_result(mproc_future *future, const struct mproc_task *task, void *ret,
				   int64_t deadline);

/*
 * What the macros above stand on. The list is padded to more than 8 items, and each
 * item (verb, …) becomes, by the verb, a parameter, a member of the argument struct, its
 * initialiser, an argument and a field of the descriptor. A list of none becomes (void)
 * and a member that nobody describes, since C has no empty struct.
 */
#define MPROC__TASK_NONE \
	(none, ~), (none, ~), (none, ~), (none, ~), (none, ~), (none, ~), (none, ~), (none, ~), \
		(none, ~)

#define MPROC__TASK_INLINE __attribute__((__unused__)) MPROC_MUST static inline

#define MPROC__TASK_DECLARE(...) MPROC__TASK_DECLARE_(__VA_ARGS__)
#define MPROC__TASK_DECLARE_(R, id, a, b, c, d, e, f, g, h, more, ...) \
	struct id##_args { \
		MPROC__TASK_END(MPROC__PACK_OPEN more) \
		MPROC__TASK_MEMBERS(a, b, c, d, e, f, g, h) \
	}; \
	R id(MPROC__TASK_EACH(PARAM, a, b, c, d, e, f, g, h)); \
	extern const struct mproc_task id##_task; \
	MPROC__TASK_INLINE mproc_future *id##_submit( \
		mproc_pool *mproc__pool MPROC__TASK_MORE(PARAM, a, b, c, d, e, f, g, h)) \
	{ \
		const struct id##_args mproc__args = { MPROC__TASK_EACH(SET, a, b, c, d, e, f, g, \
									h) }; \
\
		return mproc_pool_submit(mproc__pool, &id##_task, &mproc__args); \
	} \
	MPROC__TASK_RESULT(R, id)

#define MPROC__TASK_RESULT(R, id) \
	MPROC__TASK_INLINE int id##_result(mproc_future *mproc__future, R *mproc__ret, \
					   int64_t mproc__deadline) \
	{ \
		return mproc_future_result(mproc__future, &id##_task, mproc__ret, \
					   mproc__deadline); \
	} \
	extern const struct mproc_task id##_task

/* The struct of the result has the layout of its one member: *ret is one. */
#define MPROC__TASK_DEFINE(...) MPROC__TASK_DEFINE_(__VA_ARGS__)
#define MPROC__TASK_DEFINE_(R, id, a, b, c, d, e, f, g, h, more, ...) \
	struct id##_value { \
		MPROC__TASK_END(MPROC__PACK_OPEN more) \
		R value; \
	}; \
	_Static_assert(sizeof(struct id##_value) == sizeof(R), "a result and nothing else"); \
	static const struct mproc_pack_field id##_args_fields[] = { MPROC__TASK_FIELDS( \
		struct id##_args, a, b, c, d, e, f, g, h){ .name = NULL } }; \
	static const struct mproc_pack_type id##_args_type = { \
		#id, \
		id##_args_fields, \
		sizeof(id##_args_fields) / sizeof(id##_args_fields[0]) - 1, \
		sizeof(struct id##_args), \
		_Alignof(struct id##_args), \
		0 \
	}; \
	MPROC__PACK_DEFINE(static, static, id##_value_type, struct id##_value, #id "_result", \
			   (val, value)); \
	static int id##_run(const void *mproc__in, void *mproc__out) \
	{ \
		const struct id##_args *mproc__args = (const struct id##_args *)mproc__in; \
\
		(void)mproc__args; \
		((struct id##_value *)mproc__out)->value = \
			id(MPROC__TASK_EACH(GIVE, a, b, c, d, e, f, g, h)); \
		return 0; \
	} \
	MPROC__TASK_REGISTER(id, &id##_args_type, &id##_value_type); \
	R id(MPROC__TASK_EACH(PARAM, a, b, c, d, e, f, g, h))

#define MPROC__TASK_REGISTER(id, args, result) \
	static struct mproc_task_entry id##_task_entry; \
	const struct mproc_task id##_task = { #id, args, result, id##_run, &id##_task_entry }; \
	__attribute__((__constructor__)) static void id##_task_register(void) \
	{ \
		mproc_task_register(&id##_task); \
	} \
	extern const struct mproc_task id##_task

/* What follows from an item, separated by commas; MORE alone begins with one. */
#define MPROC__TASK_EACH(what, a, b, c, d, e, f, g, h) \
	MPROC__TASK_ITEM(what, MPROC__PACK_OPEN a) \
	MPROC__TASK_MORE(what, (none, ~), b, c, d, e, f, g, h)
#define MPROC__TASK_MORE(what, a, b, c, d, e, f, g, h) \
	MPROC__TASK_NEXT(what, MPROC__PACK_OPEN a) \
	MPROC__TASK_NEXT(what, MPROC__PACK_OPEN b) \
	MPROC__TASK_NEXT(what, MPROC__PACK_OPEN c) \
	MPROC__TASK_NEXT(what, MPROC__PACK_OPEN d) \
	MPROC__TASK_NEXT(what, MPROC__PACK_OPEN e) \
	MPROC__TASK_NEXT(what, MPROC__PACK_OPEN f) \
	MPROC__TASK_NEXT(what, MPROC__PACK_OPEN g) \
	MPROC__TASK_NEXT(what, MPROC__PACK_OPEN h)
#define MPROC__TASK_ITEM(...)              MPROC__TASK_ITEM_(__VA_ARGS__)
#define MPROC__TASK_ITEM_(what, verb, ...) MPROC__TASK_##what##_##verb(__VA_ARGS__)
#define MPROC__TASK_NEXT(...)              MPROC__TASK_NEXT_(__VA_ARGS__)
#define MPROC__TASK_NEXT_(what, verb, ...) MPROC__TASK_NEXT_##verb(what, __VA_ARGS__)
#define MPROC__TASK_NEXT_none(what, x)
#define MPROC__TASK_NEXT_val(what, T, n) , MPROC__TASK_##what##_val(T, n)
#define MPROC__TASK_NEXT_str(what, n)    , MPROC__TASK_##what##_str(n)
#define MPROC__TASK_NEXT_bytes(what, n)  , MPROC__TASK_##what##_bytes(n)
#define MPROC__TASK_NEXT_in(what, T, n)  , MPROC__TASK_##what##_in(T, n)

#define MPROC__TASK_END(...)        MPROC__TASK_END_(__VA_ARGS__)
#define MPROC__TASK_END_(verb, ...) MPROC_TASK_takes_at_most_8_arguments_##verb
#define MPROC_TASK_takes_at_most_8_arguments_none

/* A parameter. */
#define MPROC__TASK_PARAM_none(x)   void
#define MPROC__TASK_PARAM_val(T, n) T n
#define MPROC__TASK_PARAM_str(n)    const char *n
#define MPROC__TASK_PARAM_bytes(n)  const void *n, size_t n##_len
#define MPROC__TASK_PARAM_in(T, n)  const T *n

/* The initialiser of a member, from the parameters. */
#define MPROC__TASK_SET_none(x)   0
#define MPROC__TASK_SET_val(T, n) .n = n
#define MPROC__TASK_SET_str(n)    .n = n
#define MPROC__TASK_SET_bytes(n)  .n = n, .n##_len = n##_len
#define MPROC__TASK_SET_in(T, n)  .n = *n

/* An argument, from the struct. */
#define MPROC__TASK_GIVE_none(x)
#define MPROC__TASK_GIVE_val(T, n) mproc__args->n
#define MPROC__TASK_GIVE_str(n)    mproc__args->n
#define MPROC__TASK_GIVE_bytes(n)  mproc__args->n, mproc__args->n##_len
#define MPROC__TASK_GIVE_in(T, n)  &mproc__args->n

/* A member of the argument struct. */
#define MPROC__TASK_MEMBERS(a, b, c, d, e, f, g, h) \
	MPROC__TASK_ITEM(ALONE, MPROC__PACK_OPEN a) \
	MPROC__TASK_ITEM(MEMBER, MPROC__PACK_OPEN a) \
	MPROC__TASK_ITEM(MEMBER, MPROC__PACK_OPEN b) \
	MPROC__TASK_ITEM(MEMBER, MPROC__PACK_OPEN c) \
	MPROC__TASK_ITEM(MEMBER, MPROC__PACK_OPEN d) \
	MPROC__TASK_ITEM(MEMBER, MPROC__PACK_OPEN e) \
	MPROC__TASK_ITEM(MEMBER, MPROC__PACK_OPEN f) \
	MPROC__TASK_ITEM(MEMBER, MPROC__PACK_OPEN g) \
	MPROC__TASK_ITEM(MEMBER, MPROC__PACK_OPEN h)
#define MPROC__TASK_MEMBER_none(x)
#define MPROC__TASK_MEMBER_val(T, n) T n;
#define MPROC__TASK_MEMBER_str(n)    const char *n;
#define MPROC__TASK_MEMBER_bytes(n) \
	const void *n; \
	size_t n##_len;
#define MPROC__TASK_MEMBER_in(T, n) T n;
#define MPROC__TASK_ALONE_none(x)   char mproc__nothing;
#define MPROC__TASK_ALONE_val(T, n)
#define MPROC__TASK_ALONE_str(n)
#define MPROC__TASK_ALONE_bytes(n)
#define MPROC__TASK_ALONE_in(T, n)

/* A field of the descriptor: the verbs of mproc/pack.h, on the members above. */
#define MPROC__TASK_FIELDS(S, a, b, c, d, e, f, g, h) \
	MPROC__TASK_FIELD(S, MPROC__PACK_OPEN a) \
	MPROC__TASK_FIELD(S, MPROC__PACK_OPEN b) \
	MPROC__TASK_FIELD(S, MPROC__PACK_OPEN c) \
	MPROC__TASK_FIELD(S, MPROC__PACK_OPEN d) \
	MPROC__TASK_FIELD(S, MPROC__PACK_OPEN e) \
	MPROC__TASK_FIELD(S, MPROC__PACK_OPEN f) \
	MPROC__TASK_FIELD(S, MPROC__PACK_OPEN g) \
	MPROC__TASK_FIELD(S, MPROC__PACK_OPEN h)
#define MPROC__TASK_FIELD(...)           MPROC__TASK_FIELD_(__VA_ARGS__)
#define MPROC__TASK_FIELD_(S, verb, ...) MPROC__TASK_FIELD_##verb(S, __VA_ARGS__)
#define MPROC__TASK_FIELD_none(S, x)
#define MPROC__TASK_FIELD_val(S, T, n) MPROC__PACK_val(S, n)
#define MPROC__TASK_FIELD_str(S, n)    MPROC__PACK_str(S, n)
#define MPROC__TASK_FIELD_bytes(S, n)  MPROC__PACK_BYTES(S, n, n##_len)
#define MPROC__TASK_FIELD_in(S, T, n)  MPROC__PACK_in(S, n, T)

MPROC_END_DECLS

#endif /* MPROC_TASK_H */
