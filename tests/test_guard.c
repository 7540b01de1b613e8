/* SPDX-License-Identifier: MIT */

/*
 * mproc/guard.h, seen from outside: files that others cut under us
 */

#include <mproc/guard.h>

#include <errno.h>
#include <fcntl.h>
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/array.h>
#include <mproc/error.h>
#include <mproc/event.h>
#include <mproc/mutex.h>

#include "ipc/lock_layout.h"
#include "shm/cells.h"
#include "tests/support/child.h"

#define BYTES   (1u << 20)
#define ITEMS   60000u /* of 8 bytes: the data ends far behind its head */
#define THREADS 4
#define INT64   MPROC_TYPE(int64_t)
#define TEXT    "the segment was truncated by another process"
#define OPTS    MPROC_SEGMENT_OPTS(.bytes = BYTES, .processes = 8, .threads = 32, .objects = 8)

/* In the segment, on pages of its own. */
struct things {
	mproc_mutex mutex;
	mproc_event event;
	_Atomic(uint32_t) n_waiting;
	char page[8192];
	_Atomic(char) late[8192];
};

static char path[512];
static mproc_segment *segment;
static struct things *things;

static int init_things(void *object, void *arg)
{
	struct things *t = object;
	int r = mproc_mutex_init(&t->mutex, 0);

	(void)arg;
	return r < 0 ? r : mproc_event_init(&t->event, 0);
}

static int setup(void **state)
{
	void *object;

	(void)state;
	if (mproc_segment_create(&segment, "cut", OPTS) < 0 ||
	    mproc_segment_object(&object, segment, "things", sizeof(*things), init_things, NULL) <
		    0)
		return -1;
	things = object;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	/* What is behind the new end is not ours to touch: the parent has no guard. */
	if (truncate(path, BYTES) < 0)
		return -1;
	segment = mproc_segment_close(segment);
	return access(path, F_OK) == 0;
}

/* Cut the file so that @first is not there any more. */
static void cut_at(const volatile void *first)
{
	const char *base = (const char *)atomic_load(&segment->range->base);

	t_check(truncate(path, ((const volatile char *)first - base) / 4096 * 4096) == 0);
}

static bool refused(int r)
{
	return r == -EBADMSG && strstr(mproc_error_text(), TEXT);
}

static void touch_what_is_gone(void *arg)
{
	if (*(bool *)arg)
		t_check(mproc_guard_install(0) == 0);
	cut_at(things->late + 4096);
	t_check(things->late[8000] == 0);
	things->late[8000] = 1;
	t_check(things->late[8000] == 1);
	t_check(mproc_guard_is_corrupt(segment));
}

static void without_it_the_process_ends_by_sigbus(void **state)
{
	bool guard = false;

	(void)state;
	assert_int_equal(t_reap(t_spawn(touch_what_is_gone, &guard)), SIGBUS);
}

static void with_it_the_access_completes(void **state)
{
	bool guard = true;

	(void)state;
	assert_int_equal(t_reap(t_spawn(touch_what_is_gone, &guard)), 0);
}

static void find_out(void)
{
	t_check(mproc_guard_install(0) == 0);
	t_check(!mproc_guard_is_corrupt(segment));
	cut_at(things->late);
	(void)things->late[8000];
	t_check(mproc_guard_is_corrupt(segment));
}

static void call_all(void *arg)
{
	mproc_segment *again;
	void *object;

	(void)arg;
	t_check(mproc_mutex_lock(&things->mutex, MPROC_NOWAIT) == 0);
	t_check(mproc_mutex_unlock(&things->mutex) == 0);
	find_out();
	t_check(refused(mproc_mutex_lock(&things->mutex, MPROC_NOWAIT)));
	t_check(refused(mproc_event_wait(&things->event, MPROC_NOWAIT)));
	t_check(refused(
		mproc_segment_object(&object, segment, "things", sizeof(*things), NULL, NULL)));
	t_check(refused(mproc_segment_object(&object, segment, "new", 8, NULL, NULL)));
	t_check(refused(mproc_segment_open(&again, "cut")));
	/* The default one is another. */
	t_check(mproc_segment_object(&object, NULL, "new", 8, NULL, NULL) == 1);
	mproc_segment_close(segment);
	t_check(mproc_segment_open(&again, "cut") == -EBADMSG);
	t_check(strstr(mproc_error_text(), "open cut: the file has "));
}

static void calls_on_a_cut_segment_are_refused_and_it_can_be_closed(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(call_all, NULL)), 0);
}

static void lock_and_find_out(void *arg)
{
	(void)arg;
	t_check(mproc_mutex_lock(&things->mutex, MPROC_NOWAIT) == 0);
	find_out();
	t_check(mproc_mutex_unlock(&things->mutex) == 0);
	t_check(refused(mproc_mutex_lock(&things->mutex, MPROC_NOWAIT)));
}

static void what_is_locked_is_released_to_the_others(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(lock_and_find_out, NULL)), 0);
	assert_int_equal(mproc_mutex_is_locked(&things->mutex), 0);
	/* Not inherited: nobody has died with it. */
	assert_int_equal(mproc_mutex_lock(&things->mutex, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_mutex_unlock(&things->mutex), 0);
}

struct copy {
	mproc_array *array;
	int64_t *items;
};

static void copy_both_ways(void *arg)
{
	struct copy *copy = arg;
	int r;

	t_check(mproc_guard_install(0) == 0);
	t_check((mproc_array_copy_out)(copy->array, INT64, 0, ITEMS, copy->items, MPROC_NOWAIT) ==
		0);
	cut_at((char *)mproc_array_ptr(copy->array, INT64, ITEMS / 2));
	/* In the middle of its memcpy, with the array's lock. */
	r = (mproc_array_copy_in)(copy->array, INT64, 0, ITEMS, copy->items, MPROC_NOWAIT);
	t_check(r == 0 || refused(r));
	t_check(mproc_guard_is_corrupt(segment));
	r = (mproc_array_copy_in)(copy->array, INT64, 0, ITEMS, copy->items, MPROC_NOWAIT);
	t_check(refused(r));
	t_check(refused(mproc_array_lock(copy->array, MPROC_NOWAIT)));
}

static void a_call_that_has_begun_ends_and_releases_its_lock(void **state)
{
	struct copy copy = { .items = calloc(ITEMS, sizeof(int64_t)) };

	(void)state;
	assert_non_null(copy.items);
	assert_int_equal(mproc_array_create(&copy.array, segment, "array",
					    MPROC_ARRAY_OPTS(.type = INT64, .n_items = ITEMS)),
			 0);
	assert_int_equal(t_reap(t_spawn(copy_both_ways, &copy)), 0);
	/* We have not touched what is gone. */
	assert_int_equal(mproc_array_lock(copy.array, MPROC_NOWAIT), 0);
	assert_int_equal(mproc_array_unlock(copy.array), 0);
	mproc_array_close(copy.array);
	free(copy.items);
}

static void *read_and_call(void *arg)
{
	uint32_t n = THREADS;

	(void)arg;
	t_check(mproc_mutex_lock(&things->mutex, MPROC_FOREVER) == 0);
	t_check(mproc_mutex_unlock(&things->mutex) == 0);
	atomic_fetch_add(&things->n_waiting, 1);
	while (atomic_load(&things->n_waiting) < n)
		usleep(100);
	if (atomic_fetch_add(&things->n_waiting, 1) == n)
		cut_at(things->late);
	while (things->late[4096])
		usleep(100);
	for (int i = 0; i < 1000; i++)
		things->late[i * 8] = 0;
	t_check(refused(mproc_mutex_lock(&things->mutex, MPROC_NOWAIT)));
	return NULL;
}

static void run_threads(void *arg)
{
	pthread_t threads[THREADS];

	(void)arg;
	t_check(mproc_guard_install(0) == 0);
	things->late[4096] = 1;
	for (int i = 0; i < THREADS; i++)
		t_check(pthread_create(&threads[i], NULL, read_and_call, NULL) == 0);
	for (int i = 0; i < THREADS; i++)
		t_check(pthread_join(threads[i], NULL) == 0);
}

static void threads_find_out_together(void **state)
{
	(void)state;
#if defined(__SANITIZE_THREAD__)
	print_message("# left out: for ThreadSanitizer to map a page is to write it\n");
	return;
#endif
	assert_int_equal(t_reap(t_spawn(run_threads, NULL)), 0);
}

static void *wait_for_event(void *arg)
{
	(void)arg;
	atomic_fetch_add(&things->n_waiting, 1);
	t_check(refused(mproc_event_wait(&things->event, MPROC_FOREVER)));
	return NULL;
}

static void *wait_for_mutex(void *arg)
{
	(void)arg;
	atomic_fetch_add(&things->n_waiting, 1);
	t_check(refused(mproc_mutex_lock(&things->mutex, MPROC_FOREVER)));
	return NULL;
}

static void wait_and_find_out(void *arg)
{
	pthread_t threads[2];

	(void)arg;
	t_check(mproc_mutex_lock(&things->mutex, MPROC_NOWAIT) == 0);
	t_check(pthread_create(&threads[0], NULL, wait_for_event, NULL) == 0);
	t_check(pthread_create(&threads[1], NULL, wait_for_mutex, NULL) == 0);
	while (atomic_load(&things->n_waiting) < 2)
		usleep(1000);
	usleep(50000);
	find_out();
	t_check(pthread_join(threads[0], NULL) == 0);
	t_check(pthread_join(threads[1], NULL) == 0);
	t_check(mproc_mutex_unlock(&things->mutex) == 0);
}

static void those_who_wait_are_told(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(wait_and_find_out, NULL)), 0);
}

static void forked_touch(void *arg)
{
	(void)arg;
	t_check(!mproc_guard_is_corrupt(segment));
	cut_at(things->late);
	t_check(things->late[8000] == 0);
	t_check(refused(mproc_mutex_lock(&things->mutex, MPROC_NOWAIT)));
}

static void forked_call(void *arg)
{
	(void)arg;
	t_check(mproc_guard_is_corrupt(segment));
	t_check(refused(mproc_mutex_lock(&things->mutex, MPROC_NOWAIT)));
}

static pid_t fork_and(void (*fn)(void *))
{
	pid_t pid = fork();

	t_check(pid >= 0);
	if (pid == 0) {
		fn(NULL);
		_exit(0);
	}
	return pid;
}

static void fork_before_and_after(void *arg)
{
	int status;

	(void)arg;
	t_check(mproc_guard_install(0) == 0);
	t_check(waitpid(fork_and(forked_touch), &status, 0) > 0 && status == 0);
	/* What the child has found out is its own affair. */
	t_check(!mproc_guard_is_corrupt(segment));
	(void)things->late[8000];
	t_check(waitpid(fork_and(forked_call), &status, 0) > 0 && status == 0);
}

static void children_inherit_the_guard_and_its_findings(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(fork_before_and_after, NULL)), 0);
}

static void read_only(void *arg)
{
	mproc_segment *reader;
	void *object;

	(void)arg;
	t_check(mproc_guard_install(0) == 0);
	t_check(mproc_segment_attach(
			&reader, MPROC_SEGMENT_ATTACH_OPTS(.name = "cut",
							   .flags = MPROC_SEGMENT_READ_ONLY)) == 0);
	t_check(mproc_segment_object(&object, reader, "things", sizeof(*things), NULL, NULL) == 0);
	cut_at(things->late);
	t_check(((struct things *)object)->late[8000] == 0);
	t_check(mproc_guard_is_corrupt(reader));
	t_check(refused(
		mproc_segment_object(&object, reader, "things", sizeof(*things), NULL, NULL)));
	/* The other handle's mapping has not been touched there. */
	t_check(!mproc_guard_is_corrupt(segment));
	mproc_segment_close(reader);
}

static void who_only_reads_is_guarded_as_well(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(read_only, NULL)), 0);
}

/*
 * What is none of its business
 */

static volatile char *foreign;
static volatile sig_atomic_t n_simple, n_info;

static void on_simple(int sig)
{
	(void)sig;
	n_simple++;
}

static void on_info(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	n_info += info->si_addr == foreign && info->si_code == BUS_ADRERR;
	/* So that the access completes. */
	mmap((void *)(uintptr_t)foreign, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
	     -1, 0);
}

/* A page without a file behind it that no segment has. */
static void map_foreign(void)
{
	int fd = memfd_create("foreign", MFD_CLOEXEC);

	t_check(fd >= 0);
	foreign = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	t_check(foreign != MAP_FAILED);
}

enum was { BY_DEFAULT, IGNORED, SIMPLE, INFO };
enum what { ACCESS, SENT };

struct way {
	enum was was;
	enum what what;
	int end;
};

static void go_the_way(void *arg)
{
	const struct way *way = arg;
	struct sigaction action = { .sa_handler = SIG_DFL };

	if (way->was == IGNORED)
		action.sa_handler = SIG_IGN;
	if (way->was == SIMPLE)
		action.sa_handler = on_simple;
	if (way->was == INFO)
		action = (struct sigaction){ .sa_sigaction = on_info, .sa_flags = SA_SIGINFO };
	t_check(sigaction(SIGBUS, &action, NULL) == 0);
	t_check(mproc_guard_install(0) == 0);
	t_check(mproc_guard_install(0) == 0);
	map_foreign();
	if (way->what == ACCESS)
		(void)*foreign;
	else
		raise(SIGBUS);
	t_check(n_simple == (way->was == SIMPLE));
	t_check(n_info == (way->was == INFO && way->what == ACCESS));
	t_check(!mproc_guard_is_corrupt(segment));
}

static void other_signals_go_where_they_went_before(void **state)
{
	static struct way ways[] = {
		{ BY_DEFAULT, ACCESS, SIGBUS },
		{ BY_DEFAULT, SENT, SIGBUS },
		{ IGNORED, ACCESS, SIGBUS },
		{ IGNORED, SENT, 0 },
		{ SIMPLE, SENT, 0 },
		{ INFO, ACCESS, 0 },
		{ INFO, SENT, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (t_reap(t_spawn(go_the_way, &ways[i])) != ways[i].end)
			fail_msg("way %zu does not end by %d", i, ways[i].end);
}

static jmp_buf back;

static void jump_back(int sig)
{
	(void)sig;
	longjmp(back, 1);
}

static void touch_what_nobody_has_made(void *arg)
{
	mproc_segment *large;
	void *object;

	(void)arg;
	t_check(mproc_segment_create(&large, NULL,
				     MPROC_SEGMENT_OPTS(.bytes = BYTES, .bytes_max = 64 * BYTES)) ==
		0);
	t_check(mproc_guard_install(0) == 0);
	if (setjmp(back) == 0)
		/* A stray pointer of the program, into addresses for growing. */
		*(volatile char *)(atomic_load(&large->range->base) + 40 * BYTES) = 1;
	t_check(!mproc_guard_is_corrupt(large));
	t_check(mproc_segment_grow(large, 48 * BYTES) == 0);
	t_check(mproc_segment_object(&object, large, "new", 8, NULL, NULL) == 1);
	/* And it is memory of the segment then, not a page of our own. */
	*(volatile char *)(atomic_load(&large->range->base) + 40 * BYTES) = 0;
	mproc_segment_close(large);
}

static void touch_and_jump(void *arg)
{
	struct sigaction ours = { .sa_handler = jump_back, .sa_flags = SA_NODEFER };

	t_check(sigaction(SIGBUS, &ours, NULL) == 0);
	touch_what_nobody_has_made(arg);
}

static void stray_access_behind_the_end_is_the_programs_own(void **state)
{
	(void)state;
	/* It has the end that it would have without a guard, or the program's own handler. */
	assert_int_equal(t_reap(t_spawn(touch_what_nobody_has_made, NULL)), SIGBUS);
	assert_int_equal(t_reap(t_spawn(touch_and_jump, NULL)), 0);
}

static void flags_of_later_versions_are_refused(void **state)
{
	(void)state;
	assert_int_equal(mproc_guard_install(1), -EINVAL);
	assert_string_equal(mproc_error_text(), "guard install: unknown flags 0x1");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(without_it_the_process_ends_by_sigbus),
		TEST(with_it_the_access_completes),
		TEST(calls_on_a_cut_segment_are_refused_and_it_can_be_closed),
		TEST(what_is_locked_is_released_to_the_others),
		TEST(a_call_that_has_begun_ends_and_releases_its_lock),
		TEST(threads_find_out_together),
		TEST(those_who_wait_are_told),
		TEST(children_inherit_the_guard_and_its_findings),
		TEST(who_only_reads_is_guarded_as_well),
		TEST(other_signals_go_where_they_went_before),
		TEST(stray_access_behind_the_end_is_the_programs_own),
		TEST(flags_of_later_versions_are_refused),
	};

	snprintf(path, sizeof(path), "%s/mproc.cut", t_private_dir());
	return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
