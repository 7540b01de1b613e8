/* SPDX-License-Identifier: MIT */

/*
 * One row of a sweep's table, swept
 *
 * Every world steps its victim to the first kill point that no world before it has
 * dealt with. Nothing is recorded beforehand and nothing has to be repeated exactly:
 * a victim that goes another way (a clock, a random number) merely finds other kill
 * points, and the sweep is over when a world finds none. If the ways differed, three
 * worlds in a row have to find none.
 */

#include "tests/support/sweep_case.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/common.h>

#include "tests/support/sweep_text.h"
#include "tests/support/sweep_world.h"

#define POINTS_MAX   20000 /* of one victim or recoverer */
#define FAILURES_MAX 50    /* then the case is given up */
#define STUCK_MAX    5     /* likewise: each costs its whole limit */
#define AGAIN_MAX    100
#define WORLD_LIMIT  40 /* limits of its processes that a world may take */
#define END_NS       INT64_C(10000000000)
#define SETTLE_MS    900000 /* for all points of one victim or recoverer */

struct run {
	const struct t_sweep_case *c;
	const char *dir;
	struct t_case_result *ret;
	struct t_keys done;
	bool full[2]; /* the next world steps all of the victim's, of the recoverer's way */
	unsigned again;
	unsigned stuck;
	bool hopeless; /* nothing more to be learnt */
};

/* The set of kill points. */

static size_t key_slot(const struct t_keys *keys, uint64_t key)
{
	size_t i = (size_t)t_key_mix(key, 0) & (keys->cap - 1);

	while (keys->at[i] && keys->at[i] != key)
		i = (i + 1) & (keys->cap - 1);
	return i;
}

bool t_keys_has(const struct t_keys *keys, uint64_t key)
{
	return keys->cap && keys->at[key_slot(keys, key)];
}

void t_keys_add(struct t_keys *keys, uint64_t key)
{
	struct t_keys old = *keys;

	if (keys->n * 2 >= keys->cap) {
		keys->cap = old.cap ? old.cap * 2 : 256;
		keys->at = calloc(keys->cap, sizeof(*keys->at));
		if (!keys->at) {
			perror("sweep");
			abort();
		}
		for (size_t i = 0; i < old.cap; i++)
			if (old.at[i])
				keys->at[key_slot(keys, old.at[i])] = old.at[i];
		free(old.at);
	}
	keys->n += !t_keys_has(keys, key);
	keys->at[key_slot(keys, key)] = key;
}

/* Cleaning up after a world. */

void t_case_empty_dir(const char *dir)
{
	DIR *d = opendir(dir);

	if (!d)
		return;
	for (struct dirent *e = readdir(d); e; e = readdir(d))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
}

static void kill_children(void)
{
	char path[64], line[256], *end;
	DIR *proc = opendir("/proc");
	pid_t self = getpid();
	FILE *f;

	if (!proc)
		return;
	for (struct dirent *e = readdir(proc); e; e = readdir(proc)) {
		if (e->d_name[0] < '0' || e->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/stat", e->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		/* After the name, which may hold parentheses: state, parent. */
		if (fgets(line, sizeof(line), f) && (end = strrchr(line, ')')) && strlen(end) > 4 &&
		    atoi(end + 4) == self)
			kill(atoi(e->d_name), SIGKILL);
		fclose(f);
	}
	closedir(proc);
}

bool t_case_end_children(void)
{
	int64_t end = mproc_after_ns(END_NS), look = mproc_after_ms(2);
	pid_t pid;

	for (;;) {
		do
			pid = waitpid(-1, NULL, __WALL | WNOHANG);
		while (pid > 0);
		if (pid < 0)
			return true;
		if (mproc_now() >= end)
			return false;
		/* The dead hand their children to us: look again until none is left. */
		if (mproc_now() >= look) {
			kill_children();
			look = mproc_after_ms(5);
		}
		usleep(100);
	}
}

/* Failures. */

__attribute__((__format__(__printf__, 2, 3))) static void note(struct run *run, const char *fmt,
							       ...)
{
	struct t_case_result *ret = run->ret;
	char line[T_SWEEP_LINE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (run->c->must_fail && strstr(line, run->c->must_fail))
		ret->flagged = true;
	if (ret->n_lines < T_SWEEP_LINES)
		strcpy(ret->lines[ret->n_lines++], line);
	if (++ret->failures >= FAILURES_MAX)
		run->hopeless = true;
}

static void note_world(struct run *run, enum t_pass pass)
{
	char where[T_SWEEP_LINE / 2];

	t_where_text(where, sizeof(where), pass, t_world);
	note(run, "%s: %s", where,
	     atomic_load(&t_world->told) ? t_world->text : "a failure without a text");
	if (t_world->stuck && ++run->stuck >= STUCK_MAX)
		run->hopeless = true;
}

/* Worlds. */

/* Wait for the world process. Return: false if it had to be killed. */
static bool wait_world(pid_t pid, int64_t deadline, int *status)
{
	sigset_t chld;
	int64_t left;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	while (waitpid(pid, status, WNOHANG) == 0) {
		left = deadline - mproc_now();
		if (left <= 0) {
			kill(pid, SIGKILL);
			waitpid(pid, status, 0);
			return false;
		}
		sigtimedwait(&chld, NULL,
			     &(struct timespec){ left / 1000000000, left % 1000000000 });
	}
	return true;
}

/* Make a world and wait for its end. */
static enum t_outcome make_world(struct run *run, enum t_pass pass)
{
	int64_t deadline = mproc_after_ns(WORLD_LIMIT * t_world_limit_ns(run->c));
	struct t_order order = { .c = run->c, .pass = pass, .done = &run->done };
	pid_t self = getpid(), pid;
	int status = 0;

	for (int i = 0; i < 2; i++)
		order.fast[i] = !run->full[i];
	memset(t_world, 0, offsetof(struct t_world, varies));
	t_case_empty_dir(run->dir);
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		note(run, "fork: %s", strerror(errno));
		run->hopeless = true;
		return T_OUTCOME_NONE;
	}
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != self)
			_exit(1);
		t_world_run(&order);
	}
	if (!wait_world(pid, deadline, &status)) {
		note(run, "the world is stuck, in setup or between steps");
		run->hopeless = true;
	}
	if (!t_case_end_children()) {
		note(run, "processes that cannot be killed");
		run->hopeless = true;
	}
	if (run->hopeless)
		return T_OUTCOME_NONE;
	if (atomic_load(&t_world->failed)) {
		note_world(run, pass);
	} else if (WIFSIGNALED(status)) {
		note(run, "setup: killed by signal %d (%s)", WTERMSIG(status),
		     strsignal(WTERMSIG(status)));
	} else if (t_world->outcome == T_OUTCOME_NONE) {
		note(run, "setup: ended by itself with status %d", WEXITSTATUS(status));
	}
	return t_world->outcome;
}

/* Worlds of one victim in one pass, or of one recoverer after one death of the victim. */
struct progress {
	int i;           /* T_VICTIM, T_RECOVERER */
	uint64_t after;  /* recoverer: key of the victim's kill point */
	uint64_t points; /* done */
	int64_t end;     /* when they should be, or 0 */
	unsigned dry;    /* worlds since that found nothing */
};

/* A world had no kill for us. Return: whether another one is to be made. */
static bool try_again(struct run *run)
{
	if (t_world->outcome == T_OUTCOME_NONE) {
		run->hopeless = true;
	} else if (++run->again >= AGAIN_MAX) {
		note(run, "does not go the same way twice, or its helpers' sleeps are too short");
		run->hopeless = true;
	} else if (run->again >= AGAIN_MAX / 2) {
		run->full[T_VICTIM] = run->full[T_RECOVERER] = true;
	}
	return !run->hopeless;
}

/*
 * A world found nothing new. Only one that was stepped all the way is believed, and
 * where ways differ only the third of three.
 *
 * Return: true if there is nothing left.
 */
static bool is_dry(struct run *run, struct progress *p)
{
	p->dry += run->full[p->i];
	run->full[p->i] = true;
	if (p->dry < (t_world->varies ? 3 : 1))
		return false;
	run->full[p->i] = false;
	return true;
}

static void count_point(struct run *run, struct progress *p, uint64_t key)
{
	run->again = 0;
	run->full[p->i] = false;
	p->dry = 0;
	t_keys_add(&run->done, key);
	if (++p->points < POINTS_MAX && (!p->end || mproc_now() < p->end))
		return;
	note(run, "does not settle: %" PRIu64 " kill points and no end", p->points);
	run->hopeless = true;
}

static void run_pass(struct run *run, enum t_pass pass, uint64_t *kills)
{
	struct progress all = { .i = T_VICTIM, .end = mproc_after_ms(SETTLE_MS) };

	while (!run->hopeless) {
		switch (make_world(run, pass)) {
		case T_OUTCOME_NONE:
		case T_OUTCOME_AGAIN:
			if (!try_again(run))
				return;
			break;
		case T_OUTCOME_KILLED:
			count_point(run, &all, t_world_key(pass, t_world->victim.key));
			++*kills;
			break;
		case T_OUTCOME_DRY:
			run->ret->instructions = t_world->victim.steps;
			run->ret->calls = t_world->victim.calls;
			run->ret->images = t_world->victim.changes + 1;
			if (is_dry(run, &all))
				return;
			break;
		}
	}
}

/* The victim died elsewhere than in the world before: the recoverer starts anew. */
static void follow_victim(struct run *run, struct progress *inner)
{
	uint64_t key = t_world_key(T_PASS_NESTED, t_world->victim.key);

	if (inner->after == key)
		return;
	*inner = (struct progress){ .i = T_RECOVERER,
				    .after = key,
				    .end = mproc_after_ms(SETTLE_MS) };
	run->full[T_RECOVERER] = false;
}

static void run_nested(struct run *run)
{
	struct progress outer = { .i = T_VICTIM }, inner = { .i = T_RECOVERER };

	while (!run->hopeless) {
		switch (make_world(run, T_PASS_NESTED)) {
		case T_OUTCOME_NONE:
		case T_OUTCOME_AGAIN:
			if (!try_again(run))
				return;
			break;
		case T_OUTCOME_KILLED:
			follow_victim(run, &inner);
			count_point(
				run, &inner,
				t_world_key_nested(t_world->victim.key, t_world->recoverer.key));
			run->ret->nested_kills++;
			break;
		case T_OUTCOME_DRY:
			if (t_keys_has(&run->done,
				       t_world_key(T_PASS_NESTED, t_world->victim.key))) {
				/* It was the victim that returned. */
				if (is_dry(run, &outer))
					return;
				break;
			}
			follow_victim(run, &inner);
			if (!is_dry(run, &inner))
				break;
			/* All deaths of the recoverer after this one of the victim are done. */
			count_point(run, &outer, inner.after);
			break;
		}
	}
}

static void run_simple(struct run *run)
{
	struct t_case_result *ret = run->ret;

	run_pass(run, T_PASS_KILL, &ret->kills);
	if (run->c->peer && !run->hopeless)
		run_pass(run, T_PASS_PEER, &ret->peer_kills);
	if (run->c->peer && (run->c->flags & T_SWEEP_RESUME) && !run->hopeless)
		run_pass(run, T_PASS_RESUME, &ret->peer_kills);
	if (run->hopeless)
		return;
	if (run->c->flags & T_SWEEP_READ_ONLY) {
		if (ret->images > 1)
			note(run, "the operation is to change nothing: %" PRIu64 " images",
			     ret->images);
	} else if (ret->images <= 1 && !ret->calls) {
		note(run, "the operation changed nothing and called nothing: 1 image");
	}
}

void t_case_run(const struct t_sweep_case *c, bool nested, const char *dir,
		struct t_case_result *ret)
{
	struct run run = { .c = c, .dir = dir, .ret = ret };
	int64_t begun = mproc_now();
	bool clean;

	setenv("MPROC_DIR", dir, 1);
	t_world = mmap(NULL, sizeof(*t_world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (t_world == MAP_FAILED) {
		note(&run, "no memory: %s", strerror(errno));
		t_world = NULL;
		return;
	}
	run_simple(&run);
	clean = !ret->failures;
	if (nested && c->recover && !run.hopeless && !ret->flagged)
		run_nested(&run);
	ret->varies = t_world->varies;
	munmap(t_world, sizeof(*t_world));
	t_world = NULL;
	free(run.done.at);

	if (!c->must_fail)
		ret->passed = !ret->failures;
	else if (!(c->flags & T_SWEEP_NESTED_ONLY))
		ret->passed = ret->flagged;
	else
		ret->passed = clean && (ret->flagged || !nested);
	ret->gave_up = run.hopeless;
	ret->seconds = (double)(mproc_now() - begun) / 1e9;
}
