/* SPDX-License-Identifier: MIT */

/*
 * mproc/thread.h, seen from outside
 */

#include <mproc/thread.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/mutex.h>
#include <mproc/task.h>

#include "tests/support/child.h"
#include "tests/support/range.h"

#define NAME MPROC_THREAD_NAME_SIZE

static _Atomic(int) go, n_begun;

static int setup(void **state)
{
	(void)state;
	atomic_store(&go, 0);
	atomic_store(&n_begun, 0);
	return 0;
}

static bool is(void *arg)
{
	return atomic_load((_Atomic(int) *)arg) != 0;
}

/* Until the test says go; its number is the result. */
static int hold(void *arg, int64_t *result)
{
	atomic_fetch_add(&n_begun, 1);
	if (!t_wait_until(is, &go, mproc_after_ms(60000)))
		return -ETIMEDOUT;
	*result = (intptr_t)arg;
	return 0;
}

static mproc_thread *start(int (*fn)(void *arg, int64_t *result), void *arg)
{
	mproc_thread *thread = NULL;

	assert_int_equal(mproc_thread_start(&thread, fn, arg, NULL), 0);
	assert_non_null(thread);
	return thread;
}

static void end(mproc_thread *thread)
{
	assert_int_equal(mproc_thread_join(thread, NULL, mproc_after_ms(60000)), 0);
	assert_null(mproc_thread_unref(thread));
}

static void join_gives_the_result_as_often_as_it_is_asked(void **state)
{
	mproc_thread *threads[4];
	int64_t result = -1;

	(void)state;
	for (intptr_t i = 0; i < 4; i++)
		threads[i] = start(hold, (void *)(INT64_MIN + i));
	assert_int_equal(mproc_thread_join(threads[0], &result, MPROC_NOWAIT), -EAGAIN);
	assert_int_equal(mproc_thread_join(threads[0], &result, mproc_after_ms(20)), -ETIMEDOUT);
	assert_int_equal(mproc_thread_join(threads[0], &result, 1), -ETIMEDOUT);
	assert_int_equal(mproc_thread_join(threads[0], &result, -1), -EINVAL);
	assert_int_equal(result, -1);
	assert_int_equal(mproc_thread_is_alive(threads[0]), 1);
	atomic_store(&go, 1);
	for (intptr_t i = 0; i < 4; i++) {
		for (int again = 0; again < 3; again++) {
			assert_int_equal(mproc_thread_join(threads[i], &result,
							   again ? MPROC_NOWAIT : MPROC_FOREVER),
					 0);
			assert_true(result == INT64_MIN + i);
		}
		assert_int_equal(mproc_thread_is_alive(threads[i]), 0);
		assert_null(mproc_thread_unref(threads[i]));
	}
	assert_null(mproc_thread_unref(NULL));
}

static size_t count_tasks(void)
{
	return t_dir_entries("/proc/self/task", "") - t_dir_entries("/proc/self/task", ".");
}

static bool tasks_are(void *arg)
{
	return count_tasks() == *(size_t *)arg;
}

static size_t n_idle; /* tasks before the first test: those of later ones are slow to go */

static void nothing_of_a_joined_thread_is_left(void **state)
{
	(void)state;
	atomic_store(&go, 1);
	for (int i = 0; i < 200; i++) {
		mproc_thread *thread = start(hold, NULL);

		assert_int_equal(mproc_thread_join(thread, NULL, MPROC_FOREVER), 0);
		/* The kernel says that it has ended a moment before it leaves /proc. */
		assert_true(t_sanitized() ||
			    t_wait_until(tasks_are, &n_idle, mproc_after_ms(10000)));
		mproc_thread_unref(thread);
	}
}

static void *join_it(void *arg)
{
	int64_t result = 0;
	int r = mproc_thread_join(arg, &result, mproc_after_ms(60000));

	return (void *)(intptr_t)(r == 0 ? result : -1);
}

static void many_may_join_one(void **state)
{
	mproc_thread *thread = start(hold, (void *)77);
	pthread_t joiners[4];
	void *got;

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&joiners[i], NULL, join_it, thread), 0);
	atomic_store(&go, 1);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(joiners[i], &got), 0);
		assert_int_equal((intptr_t)got, 77);
	}
	mproc_thread_unref(thread);
}

struct told {
	mproc_thread *thread, *within;
	int code, n;
	char text[256];
};

static void note(mproc_thread *thread, int code, const char *text, void *arg)
{
	struct told *told = arg;

	told->thread = thread;
	told->within = mproc_thread_current();
	told->code = code;
	told->n++;
	snprintf(told->text, sizeof(told->text), "%s", text);
}

static int fail_with_a_text(void *arg, int64_t *result)
{
	*result = 5;
	return mproc_task_fail(-EDOM, "no %s here", (const char *)arg);
}

static int fail_silently(void *arg, int64_t *result)
{
	(void)arg;
	(void)result;
	return -EIO;
}

static int leave(void *arg, int64_t *result)
{
	(void)arg;
	*result = 5;
	pthread_exit(NULL);
}

static int succeed_oddly(void *arg, int64_t *result)
{
	(void)arg;
	*result = -EIO;
	return 12;
}

static void failure_is_told_to_the_hook_and_to_who_joins(void **state)
{
	struct told told = { 0 };
	mproc_thread *thread;
	int64_t result = 0;

	(void)state;
	mproc_thread_set_error_hook(note, &told);
	thread = start(fail_with_a_text, "number");
	assert_int_equal(mproc_thread_join(thread, &result, MPROC_FOREVER), MPROC_THREAD_FAILED);
	assert_int_equal(result, -EDOM);
	assert_string_equal(mproc_error_text(), "no number here");
	assert_ptr_equal(told.thread, thread);
	assert_ptr_equal(told.within, thread);
	assert_int_equal(told.code, -EDOM);
	assert_string_equal(told.text, "no number here");
	mproc_thread_unref(thread);

	assert_int_equal(
		mproc_thread_start(&thread, fail_silently, NULL, MPROC_THREAD_OPTS(.name = "mute")),
		0);
	assert_int_equal(mproc_thread_join(thread, NULL, MPROC_FOREVER), MPROC_THREAD_FAILED);
	assert_string_equal(mproc_error_text(), "thread mute: Input/output error");
	assert_int_equal(told.n, 2);
	mproc_thread_unref(thread);

	/* No failure of its function's: joined as one, but the hook is not told. */
	thread = start(leave, NULL);
	assert_int_equal(mproc_thread_join(thread, &result, MPROC_FOREVER), MPROC_THREAD_FAILED);
	assert_int_equal(result, -ECANCELED);
	mproc_thread_unref(thread);
	thread = start(succeed_oddly, NULL);
	assert_int_equal(mproc_thread_join(thread, &result, MPROC_FOREVER), 0);
	assert_int_equal(result, -EIO);
	mproc_thread_unref(thread);
	assert_int_equal(told.n, 2);
	mproc_thread_set_error_hook(NULL, NULL);
}

static void note_line(const char *line, void *arg)
{
	snprintf(arg, 256, "%s", line);
}

static void failure_goes_to_the_log_if_there_is_no_hook(void **state)
{
	mproc_thread *thread;
	char line[256] = "";

	(void)state;
	mproc_set_log(note_line, line);
	thread = start(fail_with_a_text, "word");
	assert_int_equal(mproc_thread_join(thread, NULL, MPROC_FOREVER), MPROC_THREAD_FAILED);
	mproc_set_log(NULL, NULL);
	assert_non_null(strstr(line, "failed (-33): no word here"));
	mproc_thread_unref(thread);
}

static int join_myself(void *arg, int64_t *result)
{
	(void)arg;
	*result = mproc_thread_join(mproc_thread_current(), NULL, MPROC_FOREVER);
	return 0;
}

static mproc_thread *pair[2];

static int join_the_other(void *arg, int64_t *result)
{
	while (!atomic_load(&go) && (intptr_t)arg == 0)
		usleep(200);
	*result = mproc_thread_join(pair[1 - (intptr_t)arg], NULL, MPROC_FOREVER);
	return 0;
}

static void joining_oneself_or_each_other_is_refused(void **state)
{
	mproc_thread *thread = start(join_myself, NULL);
	int64_t results[2];

	(void)state;
	assert_int_equal(mproc_thread_join(thread, &results[0], mproc_after_ms(20000)), 0);
	assert_int_equal(results[0], -EDEADLK);
	mproc_thread_unref(thread);

	/* Who comes second would close the circle. */
	pair[0] = start(join_the_other, (void *)0);
	pair[1] = start(join_the_other, (void *)1);
	usleep(20000);
	atomic_store(&go, 1);
	for (int i = 0; i < 2; i++)
		assert_int_equal(mproc_thread_join(pair[i], &results[i], mproc_after_ms(20000)), 0);
	for (int i = 0; i < 2; i++)
		mproc_thread_unref(pair[i]);
	assert_int_equal(results[0] + results[1], -EDEADLK);
}

static void *start_and_tell(void *arg)
{
	*(mproc_thread **)arg = mproc_thread_ref(mproc_thread_current());
	return NULL;
}

static void those_we_did_not_start_are_not_joined(void **state)
{
	mproc_thread *foreign;
	pthread_t thread;

	(void)state;
	assert_int_equal(mproc_thread_join(mproc_thread_main(), NULL, MPROC_FOREVER), -EINVAL);
	assert_int_equal(pthread_create(&thread, NULL, start_and_tell, &foreign), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(mproc_thread_is_alive(foreign), 0);
	assert_int_equal(mproc_thread_join(foreign, NULL, MPROC_FOREVER), -EINVAL);
	mproc_thread_unref(foreign);
}

static int tell_who(void *arg, int64_t *result)
{
	*result = gettid();
	*(mproc_thread **)arg = mproc_thread_current();
	return mproc_thread_current() == mproc_thread_main() ? -EIO : 0;
}

static void thread_knows_itself_and_its_numbers(void **state)
{
	mproc_thread *main_thread = mproc_thread_main(), *seen = NULL, *thread;
	uint64_t last = mproc_thread_ident(main_thread);
	int64_t tid;

	(void)state;
	assert_ptr_equal(mproc_thread_current(), main_thread);
	assert_int_equal(mproc_thread_native_id(main_thread), getpid());
	assert_int_equal(mproc_thread_is_daemon(main_thread), 0);
	for (int i = 0; i < 20; i++) {
		thread = start(tell_who, &seen);
		assert_int_equal(mproc_thread_join(thread, &tid, MPROC_FOREVER), 0);
		assert_ptr_equal(seen, thread);
		assert_int_equal(mproc_thread_native_id(thread), tid);
		assert_true(mproc_thread_ident(thread) > last);
		last = mproc_thread_ident(thread);
		mproc_thread_unref(thread);
	}
	thread = start(hold, NULL);
	assert_true(mproc_thread_native_id(thread) > 0);
	atomic_store(&go, 1);
	end(thread);
}

static void kernel_name(char ret[32], int tid)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", tid);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(ret, 32, file));
	fclose(file);
	ret[strcspn(ret, "\n")] = '\0';
}

static void names_reach_the_kernel_cut(void **state)
{
	char name[NAME], comm[32], before[32], longest[NAME + 1];
	mproc_thread *thread, *plain;

	(void)state;
	assert_int_equal(mproc_thread_start(&thread, hold, NULL,
					    MPROC_THREAD_OPTS(.name = "reader of many things")),
			 0);
	plain = start(hold, NULL);
	mproc_thread_name(thread, name);
	assert_string_equal(name, "reader of many things");
	kernel_name(comm, mproc_thread_native_id(thread));
	assert_string_equal(comm, "reader of many ");
	snprintf(longest, sizeof(longest), "thread-%d", (int)mproc_thread_ident(plain));
	mproc_thread_name(plain, name);
	assert_string_equal(name, longest);

	assert_int_equal(mproc_thread_set_name(thread, "fourteen bytes\xc3\xa4"), 0);
	kernel_name(comm, mproc_thread_native_id(thread));
	assert_string_equal(comm, "fourteen bytes");
	memset(longest, 'x', NAME);
	longest[NAME] = '\0';
	assert_int_equal(mproc_thread_set_name(thread, longest), -EINVAL);
	assert_int_equal(mproc_thread_set_name(thread, ""), -EINVAL);
	longest[NAME - 1] = '\0';
	assert_int_equal(mproc_thread_set_name(thread, longest), 0);
	mproc_thread_name(thread, name);
	assert_string_equal(name, longest);

	/* The main thread's name in the kernel is the process's. */
	kernel_name(before, getpid());
	mproc_thread_name(mproc_thread_main(), name);
	assert_string_equal(name, "main");
	assert_int_equal(mproc_thread_set_name(mproc_thread_main(), "boss"), 0);
	kernel_name(comm, getpid());
	assert_string_equal(comm, before);
	assert_int_equal(mproc_thread_set_name(mproc_thread_main(), "main"), 0);
	atomic_store(&go, 1);
	end(thread);
	end(plain);
}

static void *foreign_holds(void *arg)
{
	mproc_thread *self = mproc_thread_current();

	*(mproc_thread **)arg = self;
	atomic_fetch_add(&n_begun, 1);
	while (!atomic_load(&go))
		usleep(200);
	return NULL;
}

static void the_living_are_enumerated(void **state)
{
	mproc_thread *threads[3], *foreign = NULL, *list[16];
	uint64_t ident = 0;
	pthread_t thread;
	size_t n;

	(void)state;
	assert_int_equal(mproc_thread_n_active(), 1);
	for (int i = 0; i < 3; i++)
		threads[i] = start(hold, NULL);
	assert_int_equal(pthread_create(&thread, NULL, foreign_holds, &foreign), 0);
	while (atomic_load(&n_begun) < 4)
		usleep(200);
	n = mproc_thread_enumerate(list, 16);
	assert_int_equal(n, 5);
	assert_ptr_equal(list[0], mproc_thread_main());
	for (int i = 0; i < 3; i++)
		assert_ptr_equal(list[i + 1], threads[i]);
	assert_ptr_equal(list[4], foreign);
	assert_int_equal(mproc_thread_is_daemon(foreign), 1);
	for (size_t i = 0; i < n; i++) {
		assert_true(mproc_thread_ident(list[i]) > ident);
		ident = mproc_thread_ident(list[i]);
	}
	list[7] = NULL;
	assert_int_equal(mproc_thread_enumerate(list + 5, 2), 5);
	assert_ptr_equal(list[6], threads[0]);
	assert_null(list[7]);
	atomic_store(&go, 1);
	for (size_t i = 0; i < 7; i++)
		mproc_thread_unref(list[i]);
	for (int i = 0; i < 3; i++)
		end(threads[i]);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(mproc_thread_n_active(), 1);
}

static void bad_options_start_nothing(void **state)
{
	struct {
		struct mproc_thread_opts opts;
		uint64_t later;
	} future = { .opts = { .size = sizeof(future) }, .later = 1 };
	char longest[NAME + 1];
	mproc_thread *thread = (void *)1;

	(void)state;
	memset(longest, 'x', NAME);
	longest[NAME] = '\0';
	assert_int_equal(
		mproc_thread_start(&thread, hold, NULL, MPROC_THREAD_OPTS(.name = longest)),
		-EINVAL);
	assert_int_equal(mproc_thread_start(&thread, hold, NULL, MPROC_THREAD_OPTS(.name = "")),
			 -EINVAL);
	assert_int_equal(mproc_thread_start(&thread, hold, NULL, MPROC_THREAD_OPTS(.flags = 2)),
			 -EINVAL);
	assert_int_equal(
		mproc_thread_start(&thread, hold, NULL, MPROC_THREAD_OPTS(.stack_size = 1000)),
		-EINVAL);
	assert_non_null(strstr(mproc_error_text(), "a stack of 1000 bytes, 64 KiB to 1 TiB"));
	assert_int_equal(mproc_thread_start(&thread, hold, NULL, &future.opts), -E2BIG);
	assert_ptr_equal(thread, (void *)1);
	assert_int_equal(mproc_thread_set_stack_size(4096), -EINVAL);
	assert_int_equal(mproc_thread_set_stack_size((UINT64_C(1) << 40) + 1), -EINVAL);
	assert_int_equal(mproc_thread_n_active(), 1);
}

static void ask_for_too_much(void *arg)
{
	struct rlimit limit = { UINT64_C(1) << 36, UINT64_C(1) << 36 };
	mproc_thread *thread = arg;

	t_check(setrlimit(RLIMIT_AS, &limit) == 0);
	t_check(mproc_thread_start(&thread, hold, NULL,
				   MPROC_THREAD_OPTS(.stack_size = UINT64_C(1) << 40)) == -EAGAIN);
	t_check(strstr(mproc_error_text(), "1099511627776 bytes of stack"));
	t_check(thread == arg);
	t_check(mproc_thread_n_active() == 1);
}

static void no_memory_for_a_stack_starts_nothing(void **state)
{
	(void)state;
	if (t_sanitized()) {
		print_message("# left out: a sanitizer has mapped terabytes for itself\n");
		return;
	}
	assert_int_equal(t_reap(t_spawn(ask_for_too_much, NULL)), 0);
}

static int tell_stack(void *arg, int64_t *result)
{
	pthread_attr_t attr;
	size_t size;

	(void)arg;
	if (pthread_getattr_np(pthread_self(), &attr) != 0 ||
	    pthread_attr_getstacksize(&attr, &size) != 0)
		return -EIO;
	pthread_attr_destroy(&attr);
	*result = (int64_t)size;
	return 0;
}

/* The system may take a stack that it has kept, if it is not much larger. */
static bool has_stack(size_t opt, size_t wanted)
{
	mproc_thread *thread;
	int64_t size;

	assert_int_equal(
		mproc_thread_start(&thread, tell_stack, NULL, MPROC_THREAD_OPTS(.stack_size = opt)),
		0);
	assert_int_equal(mproc_thread_join(thread, &size, MPROC_FOREVER), 0);
	mproc_thread_unref(thread);
	return (size_t)size >= wanted && (size_t)size <= 4 * wanted;
}

static void stacks_have_the_size_asked_for(void **state)
{
	size_t mib = 1 << 20;

	(void)state;
	assert_int_equal(mproc_thread_stack_size(), 0);
	assert_true(has_stack(64 * mib, 64 * mib));
	assert_true(has_stack(mib, mib));
	assert_int_equal(mproc_thread_set_stack_size(256 * mib - 1), 0);
	assert_int_equal(mproc_thread_stack_size(), 256 * mib);
	assert_true(has_stack(0, 256 * mib));
	assert_true(has_stack(mib, mib));
	assert_int_equal(mproc_thread_set_stack_size(0), 0);
	assert_true(has_stack(0, 8 * mib));
}

static int look_at_mask(void *arg, int64_t *result)
{
	sigset_t mask;

	(void)arg;
	if (pthread_sigmask(SIG_BLOCK, NULL, &mask) != 0)
		return -EIO;
	*result = sigismember(&mask, SIGUSR1) * 2 + sigismember(&mask, SIGUSR2);
	return 0;
}

static void signal_mask_is_inherited(void **state)
{
	sigset_t one;
	mproc_thread *thread;
	int64_t mask;

	(void)state;
	sigemptyset(&one);
	sigaddset(&one, SIGUSR1);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &one, NULL), 0);
	thread = start(look_at_mask, NULL);
	assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &one, NULL), 0);
	assert_int_equal(mproc_thread_join(thread, &mask, MPROC_FOREVER), 0);
	assert_int_equal(mask, 2);
	mproc_thread_unref(thread);
}

/* Nobody refers to them, and they end at any time. */
static void forgotten_threads_leave_nothing(void **state)
{
	(void)state;
	atomic_store(&go, 1);
	for (int i = 0; i < 300; i++) {
		mproc_thread *thread;

		if (i % 3 == 0)
			assert_int_equal(mproc_thread_start(NULL, hold, NULL, NULL), 0);
		else
			assert_int_equal(mproc_thread_start(&thread, hold, NULL, NULL), 0);
		if (i % 3 == 2)
			while (mproc_thread_is_alive(thread))
				;
		if (i % 3)
			mproc_thread_unref(thread);
	}
	/* While tasks go, a directory of them may be read incompletely. */
	for (int i = 0; i < 20000 && mproc_thread_n_active() > 1; i++)
		usleep(1000);
	assert_int_equal(mproc_thread_n_active(), 1);
	/* A sanitizer has tasks of its own, which come later. */
	assert_true(t_sanitized() || t_wait_until(tasks_are, &n_idle, mproc_after_ms(20000)));
}

/* What a thread leaves locked. */

static struct t_range range;
static mproc_mutex *mutex;

static int lock_and_return(void *arg, int64_t *result)
{
	int r = mproc_mutex_lock(mutex, MPROC_FOREVER);

	(void)result;
	if (r < 0)
		return r;
	if (arg)
		pthread_exit(NULL);
	return 0;
}

static void ended_threads_mutex_is_inherited_by_who_has_joined_it(void **state)
{
	(void)state;
	assert_int_equal(t_range_open(&range, 4, 16, sizeof(mproc_mutex)), 0);
	mutex = (void *)range.room;
	assert_int_equal(mproc_mutex_init(mutex, 0), 0);
	for (int i = 0; i < 20; i++) {
		mproc_thread *thread = start(lock_and_return, i % 2 ? mutex : NULL);

		assert_int_equal(mproc_thread_join(thread, NULL, MPROC_FOREVER), i % 2);
		assert_int_equal(mproc_mutex_lock(mutex, MPROC_NOWAIT), MPROC_MUTEX_INHERITED);
		assert_int_equal(mproc_mutex_consistent(mutex), 0);
		assert_int_equal(mproc_mutex_unlock(mutex), 0);
		mproc_thread_unref(thread);
	}
	/* Their records came back, all but ours. */
	assert_null(t_range_fault(&range, 1, mproc_after_ms(5000)));
	t_range_close(&range);
}

/* Destructors of the program's run while the thread still is itself. */
static pthread_key_t late;

static void look_late(void *arg)
{
	struct told *told = arg;

	told->within = mproc_thread_current();
	/* Once more, as somebody does who used what has to be given back again. */
	if (told->n++ == 0)
		pthread_setspecific(late, told);
}

static int set_late(void *arg, int64_t *result)
{
	(void)result;
	return -pthread_setspecific(late, arg);
}

static void destructors_run_before_the_end(void **state)
{
	struct told told = { 0 };
	mproc_thread *thread;

	(void)state;
	assert_int_equal(pthread_key_create(&late, look_late), 0);
	thread = start(set_late, &told);
	assert_int_equal(mproc_thread_join(thread, NULL, MPROC_FOREVER), 0);
	assert_int_equal(told.n, 2);
	assert_ptr_equal(told.within, thread);
	mproc_thread_unref(thread);
	assert_int_equal(pthread_key_delete(late), 0);
}

/* Fork. */

static mproc_thread *parents[1];

static void be_alone(void *arg)
{
	mproc_thread *self = mproc_thread_current(), *thread;
	mproc_thread *list[4];
	int64_t result;

	t_check(mproc_thread_n_active() == 1);
	t_check(mproc_thread_enumerate(list, 4) == 1 && list[0] == self);
	t_check(mproc_thread_main() == self);
	t_check(mproc_thread_native_id(self) == getpid());
	t_check(arg == NULL || self == arg);
	t_check(mproc_thread_is_alive(parents[0]) == 0);
	t_check(mproc_thread_join(parents[0], &result, MPROC_FOREVER) == -ESRCH);
	t_check(strstr(mproc_error_text(), "of the parent process"));
	t_check(mproc_thread_join(self, &result, MPROC_FOREVER) == -EINVAL);
	t_check(!mproc_thread_unref(parents[0]));
	/* And there is life; ThreadSanitizer holds the parent's threads to be there. */
	if (t_sanitized())
		return;
	t_check(mproc_thread_start(&thread, tell_who, &list[1], NULL) == 0);
	t_check(mproc_thread_join(thread, &result, MPROC_FOREVER) == 0);
	t_check(list[1] == thread && mproc_thread_ident(thread) > mproc_thread_ident(self));
	mproc_thread_unref(thread);
}

static int fork_from_a_thread(void *arg, int64_t *result)
{
	(void)arg;
	*result = t_reap(t_spawn(be_alone, mproc_thread_current()));
	return 0;
}

static void *fork_from_a_stranger(void *arg)
{
	return (void *)(intptr_t)t_reap(t_spawn(be_alone, arg));
}

static void only_who_forks_is_in_the_child(void **state)
{
	mproc_thread *thread;
	pthread_t stranger;
	pthread_t joiner;
	int64_t result;
	void *r;

	(void)state;
	parents[0] = start(hold, NULL);
	/* Asleep for it in the parent, and not there in the child. */
	assert_int_equal(pthread_create(&joiner, NULL, join_it, parents[0]), 0);
	usleep(20000);
	assert_int_equal(t_reap(t_spawn(be_alone, mproc_thread_main())), 0);
	thread = start(fork_from_a_thread, NULL);
	assert_int_equal(mproc_thread_join(thread, &result, MPROC_FOREVER), 0);
	assert_int_equal(result, 0);
	mproc_thread_unref(thread);
	assert_int_equal(pthread_create(&stranger, NULL, fork_from_a_stranger, NULL), 0);
	assert_int_equal(pthread_join(stranger, &r), 0);
	assert_null(r);
	/* Here nothing has changed. */
	assert_int_equal(mproc_thread_n_active(), 2);
	atomic_store(&go, 1);
	assert_int_equal(pthread_join(joiner, &r), 0);
	assert_null(r);
	end(parents[0]);
}

static mproc_thread *of_parent, *joined_in_parent;
static pthread_key_t hang;

/* The end has come for those who join, but the thread is there. */
static void hang_when_ended(void *arg)
{
	if (mproc_thread_is_alive(arg)) {
		pthread_setspecific(hang, arg);
		return;
	}
	atomic_fetch_add(&n_begun, 1);
	while (!atomic_load(&go))
		usleep(200);
}

static int end_and_hang(void *arg, int64_t *result)
{
	(void)arg;
	(void)result;
	return -pthread_setspecific(hang, mproc_thread_current());
}

static int take_a_while(void *arg, int64_t *result)
{
	(void)arg;
	usleep(20000);
	*result = 77;
	return 0;
}

static void do_not_join_those_of_the_parent(void *arg)
{
	mproc_thread *thread = NULL;
	int64_t result = 0;

	(void)arg;
	/* The next one may be given the pthread_t of one that has ended. */
	if (!t_sanitized())
		t_check(mproc_thread_start(&thread, take_a_while, NULL, NULL) == 0);
	t_check(mproc_thread_join(of_parent, &result, MPROC_FOREVER) == -ESRCH);
	t_check(strstr(mproc_error_text(), "of the parent process"));
	t_check(result == 0);
	t_check(!mproc_thread_unref(of_parent));
	t_check(mproc_thread_join(joined_in_parent, &result, MPROC_FOREVER) == 0 && result == 77);
	t_check(!mproc_thread_unref(joined_in_parent));
	if (!thread)
		return;
	result = 0;
	t_check(mproc_thread_join(thread, &result, MPROC_FOREVER) == 0 && result == 77);
	mproc_thread_unref(thread);
}

static void thread_that_ended_before_a_fork_is_not_joined_in_the_child(void **state)
{
	pthread_t joiner;
	int64_t result;
	void *r;

	(void)state;
	joined_in_parent = start(take_a_while, NULL);
	assert_int_equal(mproc_thread_join(joined_in_parent, &result, MPROC_FOREVER), 0);
	of_parent = start(succeed_oddly, NULL);
	while (mproc_thread_is_alive(of_parent))
		usleep(200);
	usleep(20000);
	assert_int_equal(t_reap(t_spawn(do_not_join_those_of_the_parent, NULL)), 0);
	assert_int_equal(mproc_thread_join(of_parent, NULL, MPROC_FOREVER), 0);
	of_parent = mproc_thread_unref(of_parent);

	/* Nor one that another thread is joining at that moment. */
	assert_int_equal(pthread_key_create(&hang, hang_when_ended), 0);
	of_parent = start(end_and_hang, NULL);
	while (atomic_load(&n_begun) == 0)
		usleep(200);
	assert_int_equal(pthread_create(&joiner, NULL, join_it, of_parent), 0);
	usleep(20000);
	assert_int_equal(t_reap(t_spawn(do_not_join_those_of_the_parent, NULL)), 0);
	atomic_store(&go, 1);
	assert_int_equal(pthread_join(joiner, &r), 0);
	assert_null(r);
	assert_int_equal(mproc_thread_join(of_parent, NULL, MPROC_FOREVER), 0);
	of_parent = mproc_thread_unref(of_parent);
	joined_in_parent = mproc_thread_unref(joined_in_parent);
	assert_int_equal(pthread_key_delete(hang), 0);
}

static void *churn(void *arg)
{
	(void)arg;
	while (!atomic_load(&go))
		if (mproc_thread_start(NULL, fail_silently, NULL, NULL) < 0)
			usleep(1000);
	return NULL;
}

static void start_one(void *arg)
{
	mproc_thread *thread;
	int64_t result;

	(void)arg;
	t_check(mproc_thread_start(&thread, succeed_oddly, NULL, NULL) == 0);
	t_check(mproc_thread_join(thread, &result, MPROC_FOREVER) == 0);
	t_check(mproc_thread_n_active() == 1);
}

static void fork_at_any_moment_leaves_the_child_whole(void **state)
{
	int rounds = t_long() ? 1000 : 50;
	pthread_t threads[2];

	(void)state;
	if (t_sanitized()) {
		print_message("# left out: a sanitizer's own locks are not fit for that\n");
		return;
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, NULL), 0);
	for (int i = 0; i < rounds; i++)
		assert_int_equal(t_reap(t_spawn(start_one, NULL)), 0);
	atomic_store(&go, 1);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (int i = 0; i < 20000 && mproc_thread_n_active() > 1; i++)
		usleep(1000);
	assert_int_equal(mproc_thread_n_active(), 1);
}

/* Exit. */

static struct ends {
	_Atomic(int) worker, second, before, after, order;
} * ends;

static void mark(_Atomic(int) *end_of)
{
	atomic_store(end_of, atomic_fetch_add(&ends->order, 1) + 1);
}

static int end_second(void *arg, int64_t *result)
{
	(void)arg;
	(void)result;
	usleep(30000);
	mark(&ends->second);
	return 0;
}

static int end_late(void *arg, int64_t *result)
{
	(void)arg;
	(void)result;
	usleep(50000);
	/* Started while the process is ending: waited for as well. */
	if (mproc_thread_start(NULL, end_second, NULL, NULL) < 0)
		return -EIO;
	mark(&ends->worker);
	return 0;
}

static int never_end(void *arg, int64_t *result)
{
	(void)arg;
	(void)result;
	while (pause() < 0)
		;
	return 0;
}

static void registered_before(void)
{
	mark(&ends->before);
}

static void registered_after(void)
{
	mark(&ends->after);
}

static void return_from_main(void *arg)
{
	(void)arg;
	t_check(atexit(registered_before) == 0);
	t_check(mproc_thread_start(NULL, never_end, NULL,
				   MPROC_THREAD_OPTS(.flags = MPROC_THREAD_DAEMON)) == 0);
	t_check(mproc_thread_start(NULL, end_late, NULL, NULL) == 0);
	t_check(atexit(registered_after) == 0);
	exit(0);
}

static void exit_waits_for_all_but_daemons(void **state)
{
	(void)state;
	/* The first of the tests: no thread has been started in this process. */
	memset(ends, 0, sizeof(*ends));
	assert_int_equal(t_reap(t_spawn(return_from_main, NULL)), 0);
	assert_int_equal(ends->after, 1);
	assert_int_equal(ends->worker, 2);
	assert_int_equal(ends->second, 3);
	assert_int_equal(ends->before, 4);
}

static int exit_here(void *arg, int64_t *result)
{
	(void)arg;
	(void)result;
	usleep(20000);
	exit(0);
}

static void exit_in_a_thread(void *arg)
{
	mproc_thread *thread;

	(void)arg;
	t_check(mproc_thread_start(NULL, end_second, NULL, NULL) == 0);
	t_check(mproc_thread_start(&thread, exit_here, NULL, NULL) == 0);
	t_check(mproc_thread_join(thread, NULL, MPROC_FOREVER) == 0);
}

static int join_the_first(void *arg, int64_t *result)
{
	(void)result;
	return mproc_thread_join(arg, NULL, MPROC_FOREVER) == 0 ? 0 : -EIO;
}

static void exit_in_a_joined_thread(void *arg)
{
	mproc_thread *thread;

	(void)arg;
	t_check(mproc_thread_start(&thread, exit_here, NULL, NULL) == 0);
	t_check(mproc_thread_start(NULL, join_the_first, thread, NULL) == 0);
	t_check(mproc_thread_join(thread, NULL, MPROC_FOREVER) == 0);
}

static void thread_that_exits_does_not_wait_for_itself(void **state)
{
	(void)state;
	memset(ends, 0, sizeof(*ends));
	assert_int_equal(t_reap(t_spawn(exit_in_a_thread, NULL)), 0);
	assert_int_equal(ends->second, 1);
	assert_int_equal(t_reap(t_spawn(exit_in_a_joined_thread, NULL)), 0);
}

#define TEST(fn) cmocka_unit_test_setup(fn, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(exit_waits_for_all_but_daemons),
		TEST(join_gives_the_result_as_often_as_it_is_asked),
		TEST(nothing_of_a_joined_thread_is_left),
		TEST(many_may_join_one),
		TEST(failure_is_told_to_the_hook_and_to_who_joins),
		TEST(failure_goes_to_the_log_if_there_is_no_hook),
		TEST(joining_oneself_or_each_other_is_refused),
		TEST(those_we_did_not_start_are_not_joined),
		TEST(thread_knows_itself_and_its_numbers),
		TEST(names_reach_the_kernel_cut),
		TEST(the_living_are_enumerated),
		TEST(bad_options_start_nothing),
		TEST(no_memory_for_a_stack_starts_nothing),
		TEST(stacks_have_the_size_asked_for),
		TEST(signal_mask_is_inherited),
		TEST(forgotten_threads_leave_nothing),
		TEST(ended_threads_mutex_is_inherited_by_who_has_joined_it),
		TEST(destructors_run_before_the_end),
		TEST(only_who_forks_is_in_the_child),
		TEST(thread_that_ended_before_a_fork_is_not_joined_in_the_child),
		TEST(fork_at_any_moment_leaves_the_child_whole),
		TEST(thread_that_exits_does_not_wait_for_itself),
	};

	ends = mmap(NULL, sizeof(*ends), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ends == MAP_FAILED)
		return 1;
	n_idle = count_tasks();
	return cmocka_run_group_tests_name("thread", tests, NULL, NULL);
}
