/* SPDX-License-Identifier: MIT */

/*
 * Children for multi-process tests, and what such tests need around them
 *
 * Nothing a test starts may outlive it: a child dies by the kernel when its
 * parent does, by its own alarm when it hangs, and by t_reap() when it is
 * stopped and its alarm hence cannot reach it.
 */

#include "tests/support/child.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/common.h>

#define REAP_MS 120000

static char private_dir[64];
static pid_t private_dir_pid;

bool t_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
	return true;
#else
	return false;
#endif
#else
	return false;
#endif
}

bool t_long(void)
{
	return getenv("MPROC_TEST_LONG") != NULL;
}

_Noreturn void t_child_fail(const char *file, int line, const char *expr)
{
	dprintf(STDERR_FILENO, "%s:%d: child %d: %s is false (%s)\n", file, line, (int)getpid(),
		expr, strerror(errno));
	_exit(1);
}

pid_t t_spawn(void (*fn)(void *), void *arg)
{
	pid_t parent = getpid(), pid;
	sigset_t none;

	/* What is buffered now would be written twice. */
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		perror("t_spawn: fork");
		abort();
	}
	if (pid)
		return pid;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The parent may have died before the line above. */
	if (getppid() != parent)
		_exit(1);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	alarm(t_sanitized() || t_long() ? 300 : 60);
	fn(arg);
	_exit(0);
}

int t_reap(pid_t pid)
{
	struct pollfd p = { .fd = pidfd_open(pid, 0), .events = POLLIN };
	int64_t end = mproc_after_ms(REAP_MS);
	int status, r;

	if (p.fd < 0) {
		fprintf(stderr, "t_reap: child %d: %s\n", (int)pid, strerror(errno));
		return -1;
	}
	do {
		int64_t left = (end - mproc_now()) / 1000000;

		r = poll(&p, 1, left > 0 ? (int)left : 0);
	} while (r < 0 && errno == EINTR);
	close(p.fd);
	if (r == 0) {
		fprintf(stderr, "t_reap: child %d did not end in %d ms: killed\n", (int)pid,
			REAP_MS);
		kill(pid, SIGKILL);
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR) {
			fprintf(stderr, "t_reap: child %d: %s\n", (int)pid, strerror(errno));
			return -1;
		}
	}
	if (r == 0)
		return -1;
	if (WIFSIGNALED(status))
		return WTERMSIG(status);
	return WEXITSTATUS(status) ? -1 : 0;
}

bool t_wait_until(bool (*fn)(void *), void *arg, int64_t deadline)
{
	while (!fn(arg)) {
		if (mproc_now() >= deadline)
			return false;
		poll(NULL, 0, 1);
	}
	return true;
}

char t_state(pid_t pid)
{
	char path[32], line[512], *end;
	char state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	/* The name stands in parentheses and may hold any character, these too. */
	if (fgets(line, sizeof(line), f)) {
		end = strrchr(line, ')');
		if (end && end[1] == ' ')
			state = end[2];
	}
	fclose(f);
	return state;
}

static size_t count_entries(const char *dir, const char *prefix)
{
	size_t n = 0;
	DIR *d = opendir(dir);

	if (!d) {
		fprintf(stderr, "%s: %s\n", dir, strerror(errno));
		abort();
	}
	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (!strncmp(e->d_name, prefix, strlen(prefix)))
			n++;
	}
	closedir(d);
	return n;
}

size_t t_count_fds(void)
{
	/* One of them is the directory being read. */
	return count_entries("/proc/self/fd", "") - 1;
}

size_t t_dir_entries(const char *dir, const char *prefix)
{
	if (!dir)
		dir = getenv("MPROC_DIR");
	return count_entries(dir ? dir : "/dev/shm", prefix);
}

static void remove_private_dir(void)
{
	char path[sizeof(private_dir) + NAME_MAX + 2];
	DIR *d;

	/* Children inherit the handler, not the right to clean up. */
	if (getpid() != private_dir_pid)
		return;
	d = opendir(private_dir);
	if (!d)
		return;
	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		snprintf(path, sizeof(path), "%s/%s", private_dir, e->d_name);
		unlink(path);
	}
	closedir(d);
	rmdir(private_dir);
}

const char *t_private_dir(void)
{
	if (private_dir[0])
		return private_dir;
	strcpy(private_dir, "/dev/shm/mproc-test.XXXXXX");
	if (!mkdtemp(private_dir) || setenv("MPROC_DIR", private_dir, 1)) {
		perror(private_dir);
		abort();
	}
	private_dir_pid = getpid();
	atexit(remove_private_dir);
	return private_dir;
}

uint64_t t_seed(void)
{
	static uint64_t seed;
	static bool known;
	const char *given = getenv("MPROC_TEST_SEED");

	if (known)
		return seed;
	known = true;
	if (given)
		seed = strtoull(given, NULL, 0);
	else if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = (uint64_t)mproc_now();
	printf("# MPROC_TEST_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	return seed;
}

uint64_t t_random(uint64_t *state)
{
	/* splitmix64: any state will do, zero too */
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}
