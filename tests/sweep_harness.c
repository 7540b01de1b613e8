/* SPDX-License-Identifier: MIT */

/*
 * The sweep itself: what it must notice, one row each, and what it must not mind
 */

#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/sweep.h"
#include "tests/support/token.h"

/*
 * A box for one message: written, then announced. Three ways to get it wrong.
 */

static struct {
	_Atomic(uint64_t) message, there;
} * box;

static void empty_box(void)
{
	box = t_sweep_map(sizeof(*box));
}

static int64_t put(void)
{
	box->message = 7;
	box->there = 1;
	return 0;
}

static int64_t put_announced_first(void)
{
	box->there = 1;
	box->message = 7;
	return 0;
}

static int64_t put_unannounced(void)
{
	box->message = 7;
	return 0;
}

static int64_t look(void)
{
	return (int64_t)box->there;
}

static int64_t sleep_in_vain(void)
{
	box->message = 7;
	pause();
	return 0;
}

static int64_t spin_in_vain(void)
{
	box->message = 7;
	while (!box->there)
		;
	return 0;
}

static int64_t crash(void)
{
	box->message = 7;
	raise(SIGSEGV);
	return 0;
}

/* Other stores in every world: the sweep must settle, and pass. */
static int64_t put_at_random(void)
{
	unsigned char random;

	/* Not the function: a sweep gives that the same numbers in every world. */
	if (syscall(SYS_getrandom, &random, 1, 0) != 1)
		return -1;
	for (unsigned i = 0; i < random % 4u; i++)
		box->message++;
	box->message = 7;
	box->there = 1;
	return 0;
}

static void box_is_sound(const struct t_sweep_seen *seen)
{
	if (seen->returned && !box->there)
		t_sweep_fail("returned, not there");
	if (box->there && box->message != 7)
		t_sweep_fail("there, not written");
}

static void anything_goes(const struct t_sweep_seen *seen)
{
	(void)seen;
}

static void hang(const struct t_sweep_seen *seen)
{
	(void)seen;
	pause();
}

static void crash_in_check(const struct t_sweep_seen *seen)
{
	(void)seen;
	raise(SIGSEGV);
}

/*
 * A counter whose dead are undone: right when the victim dies alone, wrong once
 * somebody else has counted in between. And one that is read, then written: right
 * unless somebody counts in between and the victim goes on.
 */

static struct {
	_Atomic(uint64_t) count, before, undo;
} * counter;

static void counter_at_zero(void)
{
	counter = t_sweep_map(sizeof(*counter));
}

static int64_t count_with_undo(void)
{
	counter->before = counter->count;
	counter->undo = 1;
	counter->count++;
	counter->undo = 0;
	return 0;
}

static int64_t count_in_two_steps(void)
{
	uint64_t next = counter->count + 1;

	counter->before = next;
	counter->count = next;
	return 0;
}

static int64_t count(void)
{
	counter->count++;
	return 0;
}

static void nothing_is_lost(const struct t_sweep_seen *seen)
{
	uint64_t least = (uint64_t)seen->returned + seen->peer;

	if (counter->undo)
		counter->count = counter->before;
	if (counter->count < least)
		t_sweep_fail("lost: %ju of %ju", (uintmax_t)counter->count, (uintmax_t)least);
}

/* A file that grows by two calls, and by one: nothing in memory tells of either. */

static void empty_file(void)
{
	t_sweep_check(t_token_init() == 0 && ftruncate(t_token_fd, 0) == 0);
}

static int64_t grow_twice(void)
{
	return ftruncate(t_token_fd, 4096) || ftruncate(t_token_fd, 8192);
}

static int64_t grow_once(void)
{
	return ftruncate(t_token_fd, 8192);
}

static void file_is_whole(const struct t_sweep_seen *seen)
{
	struct stat st;

	t_sweep_check(fstat(t_token_fd, &st) == 0);
	if (st.st_size == 4096)
		t_sweep_fail("half grown");
	t_sweep_check(!seen->returned || st.st_size == 8192);
}

/*
 * A message that is longer than its pipe: whoever is killed asleep in write(2) has
 * written half of it. The reader waits until the writer sleeps.
 */

#define PIPE_LEN 4096

static int pipe_ends[2];
static size_t message_len;
static _Atomic(uint64_t) *taken;

static void take_message(void *arg)
{
	char buf[PIPE_LEN];
	ssize_t n;

	(void)arg;
	t_sweep_rest();
	while (*taken < message_len && (n = read(pipe_ends[0], buf, sizeof(buf))) > 0)
		*taken += (uint64_t)n;
	t_sweep_rest();
}

static void begin_pipe(size_t len)
{
	message_len = len;
	taken = t_sweep_map(sizeof(*taken));
	t_sweep_check(pipe2(pipe_ends, O_CLOEXEC) == 0);
	t_sweep_check(fcntl(pipe_ends[1], F_SETPIPE_SZ, PIPE_LEN) == PIPE_LEN);
	t_sweep_helper(take_message, NULL);
}

static void pipe_too_short(void)
{
	begin_pipe(2 * PIPE_LEN);
}

static void pipe_long_enough(void)
{
	begin_pipe(PIPE_LEN);
}

static int64_t send(void)
{
	static const char message[2 * PIPE_LEN];

	return write(pipe_ends[1], message, message_len);
}

static void message_is_whole(const struct t_sweep_seen *seen)
{
	uint64_t len;
	int left;

	t_sweep_check(ioctl(pipe_ends[0], FIONREAD, &left) == 0);
	len = *taken + (uint64_t)left;
	if (len && len != message_len)
		t_sweep_fail("half a message");
	t_sweep_check(!seen->returned || len);
}

/*
 * A sleeper with a quantum much shorter than the stepped operation that wakes it: it
 * must be found asleep all the same.
 */

static _Atomic(uint32_t) *bell;

static void sleep_by_quanta(void *arg)
{
	struct timespec quantum = { 0, 3000000 };

	(void)arg;
	for (;;)
		syscall(SYS_futex, bell, FUTEX_WAIT, 0, &quantum, NULL, 0);
}

static void sleeper_with_quantum(void)
{
	bell = t_sweep_map(sizeof(*bell));
	t_sweep_helper(sleep_by_quanta, NULL);
}

static int64_t wake_late(void)
{
	for (volatile unsigned i = 0; i < 200; i++)
		;
	return syscall(SYS_futex, bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void sleeper_was_there(const struct t_sweep_seen *seen)
{
	t_sweep_check(!seen->returned || seen->result == 1);
}

/* A child that outlives its killed parent, and one that does not. */

static int64_t have_child(void)
{
	pid_t pid = fork();

	if (!pid)
		pause();
	box->there = 1;
	return pid;
}

static int64_t have_loyal_child(void)
{
	pid_t self = getpid(), pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == self)
			pause();
		_exit(0);
	}
	box->there = 1;
	return pid;
}

static const struct t_sweep_case cases[] = {
	T_SWEEP("put", "box", empty_box, put, box_is_sound, .recover = put),
	T_SWEEP("put, announced first", "box", empty_box, put_announced_first, box_is_sound,
		.must_fail = "there, not written"),
	T_SWEEP("put, never announced", "box", empty_box, put_unannounced, box_is_sound,
		.must_fail = "victim killed after it had returned"),
	T_SWEEP("put, at random", "box", empty_box, put_at_random, box_is_sound),
	T_SWEEP("look", "box", empty_box, look, anything_goes, .must_fail = "changed nothing"),
	T_SWEEP("look, read only", "box", empty_box, look, anything_goes,
		.flags = T_SWEEP_READ_ONLY),
	T_SWEEP("put, read only", "box", empty_box, put, anything_goes, .flags = T_SWEEP_READ_ONLY,
		.must_fail = "to change nothing"),
	T_SWEEP("sleep in vain", "box", empty_box, sleep_in_vain, anything_goes, .limit_ms = 500,
		.must_fail = "victim: stuck in"),
	T_SWEEP("spin in vain", "box", empty_box, spin_in_vain, anything_goes, .limit_ms = 300,
		.must_fail = "has not returned"),
	T_SWEEP("crash", "box", empty_box, crash, anything_goes,
		.must_fail = "victim: killed by signal 11"),
	T_SWEEP("survivor hangs", "box", empty_box, put, hang, .limit_ms = 500,
		.must_fail = "survivor: stuck"),
	T_SWEEP("survivor crashes", "box", empty_box, put, crash_in_check,
		.must_fail = "survivor: killed by signal 11"),
	T_SWEEP("count, undone", "counter", counter_at_zero, count_with_undo, nothing_is_lost,
		.peer = count, .must_fail = "peer acted, victim killed"),
	T_SWEEP("count in two steps", "counter", counter_at_zero, count_in_two_steps,
		nothing_is_lost, .peer = count, .flags = T_SWEEP_RESUME,
		.must_fail = "peer acted, victim went on"),
	T_SWEEP("count", "counter", counter_at_zero, count, nothing_is_lost, .peer = count,
		.flags = T_SWEEP_RESUME),
	T_SWEEP("grow twice", "file", empty_file, grow_twice, file_is_whole,
		.must_fail = "half grown"),
	T_SWEEP("grow once", "file", empty_file, grow_once, file_is_whole),
	T_SWEEP("send", "pipe too short", pipe_too_short, send, message_is_whole,
		.must_fail = "victim killed asleep in write"),
	T_SWEEP("send", "pipe long enough", pipe_long_enough, send, message_is_whole),
	T_SWEEP("wake late", "sleeper", sleeper_with_quantum, wake_late, sleeper_was_there),
	T_SWEEP("have a child", "none", empty_box, have_child, anything_goes,
		.must_fail = "outlives it"),
	T_SWEEP("have a loyal child", "none", empty_box, have_loyal_child, anything_goes),
};

/* A harness that says "ok" whatever happens would say so below as well: ask it first. */
static bool says_no(const struct t_sweep_case *c)
{
	char *argv[] = { "sweep_harness", NULL };
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

		dup2(null, STDOUT_FILENO);
		exit(t_sweep_main(1, argv, "harness", c, 1));
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

int main(int argc, char **argv)
{
	const struct t_sweep_case broken = T_SWEEP("put, announced first", "box", empty_box,
						   put_announced_first, box_is_sound);
	const struct t_sweep_case sound = T_SWEEP("put", "box", empty_box, put, box_is_sound,
						  .must_fail = "there, not written");

	const struct t_sweep_case other =
		T_SWEEP("put, announced first", "box", empty_box, put_announced_first, box_is_sound,
			.must_fail = "something else");

	if (!says_no(&broken) || !says_no(&sound) || !says_no(&other)) {
		fprintf(stderr, "the harness passes what fails\n");
		return 1;
	}
	return t_sweep_main(argc, argv, "harness", cases, sizeof(cases) / sizeof(cases[0]));
}
