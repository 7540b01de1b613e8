/* SPDX-License-Identifier: MIT */

/*
 * The main() of a sweep: options, jobs, the table, TAP and JSON
 *
 * Jobs are processes, each on a CPU of its own with its whole worlds (a tracer and
 * its victim take turns; on two CPUs every step would wake an idle one). Each takes
 * the next case from a shared counter and leaves its result in shared memory. Only
 * this process prints, and it cleans up: it adopts whatever a job loses.
 */

#include "tests/support/sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/sweep_case.h"
#include "tests/support/sweep_step.h"

#define JOBS_MAX 64
#define NAME_LEN 200 /* of "operation, state" */
#define DIR_LEN  32

struct sweep {
	const char *room;
	const struct t_sweep_case **cases; /* those asked for */
	size_t n;
	bool nested, tap, list;
	const char *json;
	const char *filter;
	unsigned jobs;
	size_t printed;
	bool failed;
	int width[2]; /* of the first two columns */
	char dirs[JOBS_MAX][DIR_LEN];
};

/* What the jobs share. */
static struct board {
	_Atomic(size_t) next;
	struct t_case_result results[];
} * board;

static void name_text(char buf[NAME_LEN], const struct t_sweep_case *c)
{
	snprintf(buf, NAME_LEN, "%s, %s", c->operation, c->state);
}

/* Output. */

static void print_head(struct sweep *s)
{
	s->width[0] = (int)strlen("operation");
	s->width[1] = (int)strlen("start state");
	for (size_t i = 0; i < s->n; i++) {
		int len = (int)strlen(s->cases[i]->operation);

		s->width[0] = len > s->width[0] ? len : s->width[0];
		len = (int)strlen(s->cases[i]->state);
		s->width[1] = len > s->width[1] ? len : s->width[1];
	}
	if (s->tap)
		printf("TAP version 13\n1..%zu\n", s->n);
	printf("%s%-*s  %-*s  instructions  syscalls  images   kills    peer  nested  failures  "
	       "seconds  result\n",
	       s->tap ? "# " : "", s->width[0], "operation", s->width[1], "start state");
}

static const char *verdict(const struct sweep *s, const struct t_sweep_case *c,
			   const struct t_case_result *r)
{
	if (!r->passed)
		return "FAILED";
	if (c->must_fail)
		return s->nested || !(c->flags & T_SWEEP_NESTED_ONLY) ? "flagged" : "ok so far";
	return "ok";
}

static void print_case(struct sweep *s, size_t i)
{
	const struct t_sweep_case *c = s->cases[i];
	const struct t_case_result *r = &board->results[i];
	const char *mark = s->tap ? "# " : "";
	char name[NAME_LEN];

	name_text(name, c);
	printf("%s%-*s  %-*s  %12" PRIu64 "  %8" PRIu64 "  %6" PRIu64 "%s %6" PRIu64 "  %6" PRIu64
	       "  %6" PRIu64 "  %8" PRIu64 "  %7.2f  %s\n",
	       mark, s->width[0], c->operation, s->width[1], c->state, r->instructions, r->calls,
	       r->images, r->varies ? "~" : " ", r->kills, r->peer_kills, r->nested_kills,
	       r->failures, r->seconds, verdict(s, c, r));
	s->failed |= !r->passed;
	if (!r->passed || getenv("MPROC_SWEEP_VERBOSE")) {
		for (unsigned k = 0; k < r->n_lines; k++)
			printf("%s    %s\n", mark, r->lines[k]);
		if (r->failures > r->n_lines)
			printf("%s    and %" PRIu64 " more\n", mark, r->failures - r->n_lines);
		if (r->gave_up)
			printf("%s    given up before the end\n", mark);
		if (!r->passed && c->must_fail && !r->flagged)
			printf("%s    no failure says \"%s\"\n", mark, c->must_fail);
	}
	if (s->tap)
		printf("%sok %zu - %s\n", r->passed ? "" : "not ", i + 1, name);
	fflush(stdout);
}

static void json_string(FILE *f, const char *key, const char *text)
{
	fprintf(f, "\"%s\": \"", key);
	for (; *text; text++) {
		if ((unsigned char)*text < ' ')
			fprintf(f, "\\u%04x", (unsigned)*text);
		else
			fprintf(f, "%s%c", *text == '"' || *text == '\\' ? "\\" : "", *text);
	}
	fputs("\", ", f);
}

static bool write_json(const struct sweep *s)
{
	FILE *f = fopen(s->json, "we");
	bool ok;

	if (!f) {
		fprintf(stderr, "%s: %s\n", s->json, strerror(errno));
		return false;
	}
	fputs("[", f);
	for (size_t i = 0; i < s->n; i++) {
		const struct t_case_result *r = &board->results[i];

		fputs(i ? ",\n{" : "{", f);
		json_string(f, "room", s->room);
		json_string(f, "operation", s->cases[i]->operation);
		json_string(f, "state", s->cases[i]->state);
		fprintf(f,
			"\"instructions\": %" PRIu64 ", \"syscalls\": %" PRIu64
			", \"images\": %" PRIu64 ", \"kills\": %" PRIu64
			", \"peer_kills\": %" PRIu64 ", \"nested_kills\": %" PRIu64
			", \"failures\": %" PRIu64
			", \"must_fail\": %s, \"passed\": %s, \"seconds\": %.3f}",
			r->instructions, r->calls, r->images, r->kills, r->peer_kills,
			r->nested_kills, r->failures, s->cases[i]->must_fail ? "true" : "false",
			r->passed ? "true" : "false", r->seconds);
	}
	fputs("]\n", f);
	ok = !ferror(f);
	return fclose(f) == 0 && ok;
}

/* Jobs. */

static void pin(unsigned job)
{
	cpu_set_t usable, one;
	unsigned n;

	if (sched_getaffinity(0, sizeof(usable), &usable) < 0)
		return;
	n = job % (unsigned)CPU_COUNT(&usable);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &usable) || n-- > 0)
			continue;
		CPU_SET(cpu, &one);
		break;
	}
	sched_setaffinity(0, sizeof(one), &one);
}

/*
 * Tracer and victim wake each other at every instruction. Ask for short slices, which
 * since Linux 6.12 lets the woken run at once; their share of the CPU stays what it was.
 */
static void ask_for_short_slices(void)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} attr;

	if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) < 0)
		return;
	attr.runtime = 100000;
	syscall(SYS_sched_setattr, 0, &attr, 0);
}

_Noreturn static void run_job(const struct sweep *s, unsigned job, pid_t parent)
{
	sigset_t set;
	size_t i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (getppid() != parent)
		_exit(1);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_SETMASK, &set, NULL);
	/* Many a victim is to crash. */
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	pin(job);
	ask_for_short_slices();
	while ((i = atomic_fetch_add(&board->next, 1)) < s->n) {
		t_case_run(s->cases[i], s->nested, s->dirs[job], &board->results[i]);
		atomic_store(&board->results[i].done, 1);
	}
	_exit(0);
}

static void print_done(struct sweep *s)
{
	while (s->printed < s->n && atomic_load(&board->results[s->printed].done))
		print_case(s, s->printed++);
}

/* Start the jobs and print what they find. Return: a signal that ends us, or 0. */
static int run_jobs(struct sweep *s)
{
	const int ending[] = { SIGINT, SIGTERM, SIGHUP, SIGCHLD };
	pid_t self = getpid(), pid;
	unsigned running = 0;
	sigset_t set;
	int sig;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
		sigaddset(&set, ending[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fflush(NULL);
	for (unsigned i = 0; i < s->jobs; i++) {
		pid = fork();
		if (!pid)
			run_job(s, i, self);
		running += pid > 0;
	}
	while (running) {
		sig = sigtimedwait(&set, NULL, &(struct timespec){ 0, 100000000 });
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			running--;
		if (pid < 0)
			running = 0;
		print_done(s);
		if (sig > 0 && sig != SIGCHLD)
			return sig;
	}
	return 0;
}

/*
 * Directories for what worlds put under a name. A lock on each says that its sweep is
 * alive; what a sweep that was killed has left is removed by the next one.
 */

#define DIRS       "/dev/shm"
#define DIR_PREFIX "mproc-sweep."

static int lock_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void remove_stale_dirs(void)
{
	char path[sizeof(DIRS) + NAME_MAX + 2];
	DIR *d = opendir(DIRS);
	int fd;

	if (!d)
		return;
	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		if (strncmp(e->d_name, DIR_PREFIX, strlen(DIR_PREFIX)))
			continue;
		snprintf(path, sizeof(path), "%s/%s", DIRS, e->d_name);
		fd = lock_dir(path);
		if (fd < 0)
			continue;
		t_case_empty_dir(path);
		rmdir(path);
		close(fd);
	}
	closedir(d);
}

static bool make_dir(char path[DIR_LEN])
{
	struct stat here, locked;
	int fd;

	/* Between the two another sweep may take it for a stale one. */
	for (int i = 0; i < 100; i++) {
		strcpy(path, DIRS "/" DIR_PREFIX "XXXXXX");
		if (!mkdtemp(path))
			break;
		fd = lock_dir(path);
		if (fd >= 0 && fstat(fd, &locked) == 0 && stat(path, &here) == 0 &&
		    here.st_ino == locked.st_ino)
			return true;
		if (fd >= 0)
			close(fd);
	}
	perror(path);
	path[0] = 0;
	return false;
}

/* Options and the rest. */

static void usage(FILE *f, const char *program)
{
	fprintf(f,
		"usage: %s [--nested] [--json FILE] [--case SUBSTRING] [--jobs N] [--list] "
		"[--tap]\n",
		program);
}

static bool parse(struct sweep *s, int argc, char **argv)
{
	static const struct option options[] = {
		{ "nested", no_argument, NULL, 'n' },
		{ "json", required_argument, NULL, 'j' },
		{ "case", required_argument, NULL, 'c' },
		{ "jobs", required_argument, NULL, 'J' },
		{ "list", no_argument, NULL, 'l' },
		{ "tap", no_argument, NULL, 't' },
		{ NULL, 0, NULL, 0 },
	};
	const char *output = getenv("CMOCKA_MESSAGE_OUTPUT");
	cpu_set_t usable;
	int c;

	s->tap = output && !strcmp(output, "TAP");
	s->jobs = sched_getaffinity(0, sizeof(usable), &usable) == 0 ? (unsigned)CPU_COUNT(&usable)
								     : 1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'n':
			s->nested = true;
			break;
		case 'j':
			s->json = optarg;
			break;
		case 'c':
			s->filter = optarg;
			break;
		case 'J':
			s->jobs = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'l':
			s->list = true;
			break;
		case 't':
			s->tap = true;
			break;
		default:
			return false;
		}
	}
	if (s->jobs < 1 || s->jobs > JOBS_MAX)
		s->jobs = s->jobs ? JOBS_MAX : 1;
	return optind == argc;
}

static bool select_cases(struct sweep *s, const struct t_sweep_case *cases, size_t n)
{
	char name[NAME_LEN];
	size_t size;

	s->cases = calloc(n + 1, sizeof(*s->cases));
	if (!s->cases)
		return false;
	for (size_t i = 0; i < n; i++) {
		name_text(name, &cases[i]);
		if (!s->filter || strstr(name, s->filter))
			s->cases[s->n++] = &cases[i];
	}
	if (s->jobs > s->n)
		s->jobs = (unsigned)s->n;
	size = sizeof(*board) + s->n * sizeof(board->results[0]);
	board = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED)
		return false;
	remove_stale_dirs();
	for (unsigned i = 0; i < s->jobs; i++)
		if (!make_dir(s->dirs[i]))
			return false;
	return true;
}

static void clean_up(struct sweep *s)
{
	t_case_end_children();
	for (unsigned i = 0; i < s->jobs && s->dirs[i][0]; i++) {
		t_case_empty_dir(s->dirs[i]);
		rmdir(s->dirs[i]);
	}
	free(s->cases);
}

static int sweep(struct sweep *s)
{
	int sig;

	print_head(s);
	sig = run_jobs(s);
	if (sig) {
		fprintf(stderr, "sweep: ended by signal %d\n", sig);
		return 128 + sig;
	}
	print_done(s);
	if (s->printed < s->n) {
		printf("%sa job has died: %zu cases without a result\n", s->tap ? "Bail out! " : "",
		       s->n - s->printed);
		s->failed = true;
	}
	if (s->json && !write_json(s))
		s->failed = true;
	return s->failed;
}

int t_sweep_main(int argc, char **argv, const char *room, const struct t_sweep_case *cases,
		 size_t n)
{
	struct sweep s = { .room = room };
	char name[NAME_LEN];
	int status;

	if (!parse(&s, argc, argv)) {
		usage(stderr, argv[0]);
		return 64;
	}
	if (!t_step_supported()) {
		printf("1..0 # SKIP cannot tell system calls on this machine\n");
		return s.tap ? 0 : 77;
	}
	if (!select_cases(&s, cases, n)) {
		status = 1;
	} else if (s.list) {
		for (size_t i = 0; i < s.n; i++) {
			name_text(name, s.cases[i]);
			printf("%s\n", name);
		}
		status = 0;
	} else if (!s.n) {
		fprintf(stderr, "%s: no such case\n", room);
		status = 64;
	} else {
		prctl(PR_SET_CHILD_SUBREAPER, 1);
		status = sweep(&s);
	}
	clean_up(&s);
	return status;
}
