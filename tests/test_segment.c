/* SPDX-License-Identifier: MIT */

/*
 * mproc/segment.h: making, finding and using segments
 *
 * Who leaves, and what is left behind then, is in test_segment_end.c; what is
 * refused in test_segment_refused.c.
 */

#include <mproc/segment.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/error.h>
#include <mproc/mutex.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/segment.h"
#include "shm/segment_layout.h"
#include "tests/support/child.h"
#include "tests/support/leaks.h"

#define SMALL MPROC_SEGMENT_OPTS(.bytes = 512 << 10, .processes = 8, .threads = 16, .objects = 8)

/* What processes tell each other outside of any segment. */
struct shared {
	_Atomic(uint32_t) go;
	_Atomic(uint32_t) ready;
	_Atomic(uint32_t) n_created;
	_Atomic(uint32_t) n_inits;
};

static struct shared *shared;

static int setup(void **state)
{
	(void)state;
	memset(shared, 0, sizeof(*shared));
	t_leaks_begin();
	return 0;
}

/* Whatever a test did: no descriptor and no file is left. */
static int teardown(void **state)
{
	(void)state;
	t_leaks_end();
	return 0;
}

static uint64_t blocks_used(mproc_segment *segment)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.n_blocks;
}

static void name_is_there_as_long_as_somebody_is(void **state)
{
	mproc_segment *a, *b;

	(void)state;
	assert_int_equal(mproc_segment_open(&a, "jobs"), -ENOENT);
	assert_non_null(strstr(mproc_error_text(), "open jobs"));
	assert_int_equal(mproc_segment_create(&a, "jobs", SMALL), 0);
	assert_string_equal(mproc_segment_name(a), "jobs");
	assert_int_equal(access(t_segment_path("jobs"), F_OK), 0);
	assert_int_equal(mproc_segment_create(&b, "jobs", SMALL), -EEXIST);
	assert_string_equal(mproc_error_text(), "create jobs: the name is in use");
	assert_int_equal(mproc_segment_open_or_create(&b, "jobs", SMALL), 0);
	/* One mapping for each segment and process. */
	assert_ptr_equal(a, b);
	assert_null(mproc_segment_close(a));
	assert_int_equal(access(t_segment_path("jobs"), F_OK), 0);
	assert_null(mproc_segment_close(b));
	assert_int_equal(access(t_segment_path("jobs"), F_OK), -1);
	assert_int_equal(mproc_segment_open_or_create(&a, "jobs", SMALL), 1);
	assert_null(mproc_segment_close(a));
	assert_null(mproc_segment_close(NULL));
}

static void new_file_is_complete_and_its_creators_alone(void **state)
{
	mproc_segment *segment;
	struct stat st;
	mode_t mask = umask(0777);

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, "mine", SMALL), 0);
	assert_int_equal(stat(t_segment_path("mine"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(st.st_size, 512 << 10);
	/* All of it is allocated: touching it cannot fail any more. */
	assert_true((uint64_t)st.st_blocks * 512 >= 512 << 10);
	mproc_segment_close(segment);
	assert_int_equal(mproc_segment_create(&segment, "ours",
					      MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .mode = 0660)),
			 0);
	assert_int_equal(stat(t_segment_path("ours"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	mproc_segment_close(segment);
	umask(mask);
}

static void anonymous_segment_cannot_be_shrunk(void **state)
{
	mproc_segment *segment;
	struct stat st;
	int fd;

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, NULL, SMALL), 0);
	assert_string_equal(mproc_segment_name(segment), "");
	fd = segment->range->fd;
	assert_int_equal(fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_SEAL | F_SEAL_GROW),
			 F_SEAL_SHRINK | F_SEAL_SEAL);
	assert_int_equal(ftruncate(fd, 4096), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	mproc_segment_close(segment);
}

/* A success after failures inside leaves the text of the last failing call alone. */
static void success_leaves_the_text_alone(void **state)
{
	mproc_segment *segment;
	void *object;

	(void)state;
	assert_int_equal(mproc_segment_open(&segment, "a/b"), -EINVAL);
	assert_int_equal(mproc_segment_open_or_create(&segment, "text", SMALL), 1);
	assert_int_equal(mproc_segment_object(&object, segment, "x", 8, NULL, NULL), 1);
	mproc_segment_close(segment);
	assert_int_equal(mproc_segment_create(&segment, "text", SMALL), 0);
	mproc_segment_close(segment);
	assert_string_equal(mproc_error_text(),
			    "open a/b: a name has no slash and does not begin with a dot");
}

static void race_to_open_or_create(void *arg)
{
	mproc_segment *segment;
	void *object;
	int r;

	(void)arg;
	atomic_fetch_add(&shared->ready, 1);
	while (!atomic_load(&shared->go))
		;
	r = mproc_segment_open_or_create(&segment, "race", SMALL);
	t_check(r >= 0);
	atomic_fetch_add(&shared->n_created, (uint32_t)r);
	/* It is one and the same, and nobody sees half of it. */
	r = mproc_segment_object(&object, segment, "counter", sizeof(uint32_t), NULL, NULL);
	t_check(r >= 0);
	atomic_fetch_add((_Atomic(uint32_t) *)object, 1);
	/* Nobody leaves before all have come. */
	while (atomic_load((_Atomic(uint32_t) *)object) < 6)
		usleep(100);
	mproc_segment_close(segment);
}

static bool six_are_ready(void *arg)
{
	(void)arg;
	return atomic_load(&shared->ready) == 6;
}

static void one_of_those_who_race_creates_and_all_attach(void **state)
{
	pid_t pids[6];

	(void)state;
	for (int round = 0; round < 10; round++) {
		memset(shared, 0, sizeof(*shared));
		for (int i = 0; i < 6; i++)
			pids[i] = t_spawn(race_to_open_or_create, NULL);
		assert_true(t_wait_until(six_are_ready, NULL, mproc_after_ms(5000)));
		atomic_store(&shared->go, 1);
		for (int i = 0; i < 6; i++)
			assert_int_equal(t_reap(pids[i]), 0);
		assert_int_equal(shared->n_created, 1);
		assert_int_equal(t_dir_entries(NULL, ""), 0);
	}
}

static int init_mutex(void *object, void *arg)
{
	(void)arg;
	atomic_fetch_add(&shared->n_inits, 1);
	return mproc_mutex_init(object, 0);
}

static void lock_by_name(void *arg)
{
	mproc_mutex *mutex;

	t_check(mproc_segment_object((void **)&mutex, arg, "mutex", sizeof(*mutex), init_mutex,
				     NULL) == 0);
	t_check(mproc_mutex_lock(mutex, mproc_after_ms(5000)) == 0);
	t_check(mproc_mutex_unlock(mutex) == 0);
}

static void object_is_constructed_once_and_found_by_all(void **state)
{
	mproc_segment *segment;
	mproc_mutex *mutex;
	void *other;

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, NULL, SMALL), 0);
	assert_int_equal(mproc_segment_object((void **)&mutex, segment, "mutex", sizeof(*mutex),
					      init_mutex, NULL),
			 1);
	assert_int_equal((uintptr_t)mutex % 64, 0);
	assert_int_equal(t_reap(t_spawn(lock_by_name, segment)), 0);
	assert_int_equal(
		mproc_segment_object(&other, segment, "mutex", sizeof(*mutex), init_mutex, NULL),
		0);
	assert_ptr_equal(other, mutex);
	assert_int_equal(shared->n_inits, 1);
	assert_int_equal(mproc_segment_object(&other, segment, "mutex", 99, NULL, NULL), -EEXIST);
	assert_string_equal(mproc_error_text(), "open object mutex: 99 bytes wanted, it has 16");
	assert_int_equal(mproc_segment_object(&other, segment, "none", 0, NULL, NULL), -EINVAL);
	assert_int_equal(mproc_segment_object(&other, segment, "", 8, NULL, NULL), -EINVAL);
	mproc_segment_close(segment);
}

static void use_inherited(void *arg)
{
	lock_by_name(arg);
	/* The child is somebody: one more slot is taken. */
	t_check(mproc__others_attached(((mproc_segment *)arg)->range) == 1);
	mproc_segment_close(arg);
}

static void attach_early(void *arg)
{
	mproc_segment *segment = arg;

	t_check(mproc__range_slot(segment->range) < 0);
	t_check(mproc_after_fork() == 0);
	t_check(mproc__range_slot(segment->range) >= 0);
	/* The first child of the two has gone, its slot is free again. */
	t_check(mproc__range_slot(segment->range) <= 1);
	lock_by_name(arg);
}

static void forked_child_attaches_by_its_first_use(void **state)
{
	mproc_segment *segment;
	mproc_mutex *mutex;

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, NULL, SMALL), 0);
	assert_int_equal(mproc_segment_object((void **)&mutex, segment, "mutex", sizeof(*mutex),
					      init_mutex, NULL),
			 1);
	assert_int_equal(t_reap(t_spawn(use_inherited, segment)), 0);
	assert_int_equal(t_reap(t_spawn(attach_early, segment)), 0);
	mproc_segment_close(segment);
}

static void open_inherited(void *arg)
{
	mproc_segment *again;

	t_check(mproc_segment_open(&again, "family") == 0);
	t_check(again == arg);
	t_check(mproc__range_slot(again->range) >= 0);
	mproc_segment_close(again);
	/* The handle that was inherited is ours too. */
	lock_by_name(arg);
	mproc_segment_close(arg);
}

static void inherited_handle_and_opened_one_are_the_same(void **state)
{
	mproc_segment *segment;
	mproc_mutex *mutex;

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, "family", SMALL), 0);
	assert_int_equal(mproc_segment_object((void **)&mutex, segment, "mutex", sizeof(*mutex),
					      init_mutex, NULL),
			 1);
	assert_int_equal(t_reap(t_spawn(open_inherited, segment)), 0);
	assert_int_equal(access(t_segment_path("family"), F_OK), 0);
	mproc_segment_close(segment);
}

static void use_default(void *arg)
{
	void *object;

	t_check(mproc_segment_object(&object, NULL, "shared", 8, NULL, NULL) == 0);
	t_check(object == arg);
	atomic_fetch_add((_Atomic(uint64_t) *)object, 1);
}

/* In a child, since the default segment stays as long as its process. */
static void have_default(void *arg)
{
	mproc_segment *first, *second, *third;
	_Atomic(uint64_t) *object;

	(void)arg;
	t_check(mproc_segment_default(&first) == 0);
	t_check(mproc_segment_default(&second) == 0);
	t_check(first == second);
	t_check(mproc__segment_ref(&third, NULL) == 0 && third == first);
	t_check(mproc_segment_object((void **)&object, NULL, "shared", 8, NULL, NULL) == 1);
	t_check(t_reap(t_spawn(use_default, (void *)object)) == 0);
	t_check(atomic_load(object) == 1);
	/* It needs no close, and too many of them do not take it away. */
	mproc_segment_close(first);
	mproc_segment_close(second);
	mproc_segment_close(third);
	atomic_fetch_add(object, 1);
	t_check(mproc_segment_object((void **)&object, NULL, "shared", 8, NULL, NULL) == 0);
	t_check(atomic_load(object) == 2);
}

static void default_segment_is_one_for_the_family(void **state)
{
	(void)state;
	assert_int_equal(t_reap(t_spawn(have_default, NULL)), 0);
}

static void limit_of_segments_is_an_error(void **state)
{
	mproc_segment *segments[MPROC__RANGES_MAX], *one_more;
	unsigned n = 0;

	(void)state;
	while (n < MPROC__RANGES_MAX && mproc_segment_create(&segments[n], NULL, SMALL) == 0)
		n++;
	assert_int_equal(n, MPROC__RANGES_MAX);
	assert_int_equal(mproc_segment_create(&one_more, NULL, SMALL), -EMFILE);
	assert_int_equal(mproc_segment_create(&one_more, "many", SMALL), -EMFILE);
	while (n)
		mproc_segment_close(segments[--n]);
	assert_int_equal(mproc_segment_create(&one_more, "many", SMALL), 0);
	mproc_segment_close(one_more);
}

static void reserve_with_little_room(void *arg)
{
	struct rlimit limit = { .rlim_cur = UINT64_C(1) << 30, .rlim_max = UINT64_C(1) << 30 };
	mproc_segment *segment;
	void *object;

	(void)arg;
	t_check(setrlimit(RLIMIT_AS, &limit) == 0);
	t_check(mproc_segment_create(
			&segment, "much",
			MPROC_SEGMENT_OPTS(.bytes = 1 << 20, .bytes_max = UINT64_C(1) << 36)) == 0);
	/* What could be had, which is a good part of what there is. */
	t_check(segment->range->size > 64 << 20 && segment->range->size < 1 << 30);
	t_check(mproc_segment_object(&object, segment, "x", 8, NULL, NULL) == 1);
	mproc_segment_close(segment);
}

static void addresses_are_reserved_for_growth(void **state)
{
	mproc_segment *segment;
	uint64_t size;

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, NULL,
					      MPROC_SEGMENT_OPTS(.bytes = 1 << 20,
								 .bytes_max = UINT64_C(1) << 36)),
			 0);
	size = mproc__segment_size(segment);
	assert_in_range(mproc__segment_memory(segment), (1 << 20) - 8192, 1 << 20);
	assert_true(segment->range->size == UINT64_C(1) << 36);
	/* Addresses that have no memory yet are not handed out. */
	assert_null(mproc__segment_at(segment, size, 1));
	assert_non_null(mproc__segment_at(segment, size - 1, 1));
	assert_non_null(mproc__segment_at(segment, segment->arena_at.off, 1));
	assert_null(mproc__segment_at(segment, segment->arena_at.off - 1, 1));
	mproc_segment_close(segment);
	/* A sanitizer has reserved far more than the limit for itself. */
	if (!t_sanitized())
		assert_int_equal(t_reap(t_spawn(reserve_with_little_room, NULL)), 0);
}

static void create_without_nameless_files(void *arg)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_TMPFILE & ~O_DIRECTORY, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };
	mproc_segment *segment, *again;
	struct stat st;

	(void)arg;
	t_check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	t_check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
	t_check(open(t_private_dir(), O_TMPFILE | O_RDWR, 0600) < 0 && errno == EOPNOTSUPP);
	t_check(mproc_segment_create(&segment, "old", SMALL) == 0);
	t_check(t_dir_entries(NULL, "") == 1);
	t_check(stat(t_segment_path("old"), &st) == 0 && st.st_nlink == 1);
	t_check(mproc_segment_create(&again, "old", SMALL) == -EEXIST);
	t_check(mproc_segment_create(&again, "large",
				     MPROC_SEGMENT_OPTS(.bytes = UINT64_C(1) << 45)) == -ENOSPC);
	t_check(t_dir_entries(NULL, "") == 1);
	mproc_segment_close(segment);
	t_check(t_dir_entries(NULL, "") == 0);
	/* A creator that is killed leaves a temporary name. */
	t_check(mproc_segment_create(&segment, "old", SMALL) == 0);
	kill(getpid(), SIGKILL);
}

static void filesystems_without_nameless_files_do(void **state)
{
	mproc_segment *segment;
	char tmp[512];

	(void)state;
	assert_int_equal(t_reap(t_spawn(create_without_nameless_files, NULL)), SIGKILL);
	assert_int_equal(mproc_segment_open(&segment, "old"), -ENOENT);
	/* As a creator leaves it who is killed before it has its name, or just after. */
	snprintf(tmp, sizeof(tmp), "%s/mproc..tmp123456", t_private_dir());
	close(open(tmp, O_CREAT | O_EXCL | O_RDWR, 0600));
	assert_int_equal(mproc_segment_create(&segment, "new", SMALL), 0);
	assert_int_equal(link(t_segment_path("new"), strcat(tmp, "7")), 0);
	assert_int_equal(mproc_segment_gc(NULL), 2);
	assert_int_equal(mproc_segment_gc(NULL), 0);
	assert_int_equal(access(t_segment_path("new"), F_OK), 0);
	mproc_segment_close(segment);
}

static void *open_and_close(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++) {
		mproc_segment *segment;
		_Atomic(uint64_t) *object;

		if (mproc_segment_open_or_create(&segment, "threads", SMALL) < 0 ||
		    mproc_segment_object((void **)&object, segment, "n", 8, NULL, NULL) < 0)
			return (void *)1;
		atomic_fetch_add(object, 1);
		mproc_segment_close(segment);
	}
	return NULL;
}

static void threads_may_open_and_close_at_will(void **state)
{
	mproc_segment *segment;
	_Atomic(uint64_t) *object;
	pthread_t threads[4];
	void *r;

	(void)state;
	assert_int_equal(mproc_segment_create(&segment, "threads", SMALL), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, NULL), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], &r), 0);
		assert_null(r);
	}
	assert_int_equal(mproc_segment_object((void **)&object, segment, "n", 8, NULL, NULL), 0);
	assert_int_equal(*object, 400);
	assert_int_equal(blocks_used(segment), 1);
	mproc_segment_close(segment);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(name_is_there_as_long_as_somebody_is),
		TEST(new_file_is_complete_and_its_creators_alone),
		TEST(anonymous_segment_cannot_be_shrunk),
		TEST(success_leaves_the_text_alone),
		TEST(one_of_those_who_race_creates_and_all_attach),
		TEST(object_is_constructed_once_and_found_by_all),
		TEST(forked_child_attaches_by_its_first_use),
		TEST(inherited_handle_and_opened_one_are_the_same),
		TEST(default_segment_is_one_for_the_family),
		TEST(limit_of_segments_is_an_error),
		TEST(addresses_are_reserved_for_growth),
		TEST(filesystems_without_nameless_files_do),
		TEST(threads_may_open_and_close_at_will),
	};

	t_private_dir();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
