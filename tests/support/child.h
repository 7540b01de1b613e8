/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_CHILD_H
#define MPROC_TESTS_CHILD_H

/*
 * Children for multi-process tests, and what such tests need around them
 *
 * A cmocka assertion longjmp()s back into the runner, and in a forked child
 * that is a second copy of the runner. Never assert in a child: t_check()
 * prints and _exit()s. The parent asserts on how the child ended.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define t_check(expr) ((expr) ? (void)0 : t_child_fail(__FILE__, __LINE__, #expr))

_Noreturn void t_child_fail(const char *file, int line, const char *expr);

/*
 * Run fn(arg) in a child with default signals that dies with its parent, or
 * after a minute (five under a sanitizer or with MPROC_TEST_LONG); a child that
 * needs longer calls alarm(2) itself. The kernel ties the child to the thread
 * that forked it: that thread must outlive it.
 */
pid_t t_spawn(void (*fn)(void *), void *arg);

/*
 * Wait for the end of a child. One that outlives even its alarm, because it is
 * stopped, is killed after two minutes.
 *
 * Return: 0 if the child ended well, its signal if killed, -1 otherwise.
 */
int t_reap(pid_t pid);

/* Ask fn(arg) every millisecond. Return: true once it says so, false at the deadline. */
bool t_wait_until(bool (*fn)(void *), void *arg, int64_t deadline);

/* Is @pid a zombie, stopped, asleep ...: the state letter of /proc/PID/stat, 0 if gone. */
char t_state(pid_t pid);

/* Open descriptors of this process. */
size_t t_count_fds(void);

/*
 * Entries of @dir whose names start with @prefix ("" counts all).
 * @dir:	a directory, or NULL for MPROC_DIR, or /dev/shm if that is unset
 */
size_t t_dir_entries(const char *dir, const char *prefix);

/*
 * A directory on /dev/shm for this test alone, which MPROC_DIR names from now
 * on; other tests run at the same time, so leaks are counted here. It is removed
 * when the test's process exits. Every call returns the same one.
 */
const char *t_private_dir(void);

/* The seed of this run, printed; MPROC_TEST_SEED=N repeats a run. */
uint64_t t_seed(void);

/* The next number of the sequence that @state (any value, say t_seed()) stands in. */
uint64_t t_random(uint64_t *state);

/* MPROC_TEST_LONG is set: more rounds are welcome. */
bool t_long(void);

/* Built with a sanitizer: slower, and with memory of its own. */
bool t_sanitized(void);

#endif /* MPROC_TESTS_CHILD_H */
