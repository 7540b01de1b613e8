/* SPDX-License-Identifier: MIT */

/*
 * One world: its start state, the death of its victim, the survivor
 *
 * This process builds the start state, so that what it leaves in static variables
 * and mappings is there in all that it forks. From then on it only drives them. It
 * ends with everything that belongs to the world, whatever has become of that.
 */

#include "tests/support/sweep_world.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/common.h>

#include "tests/support/sweep_step.h"
#include "tests/support/sweep_text.h"
#include "tests/support/sweep_trace.h"
#include "tests/support/sweep_way.h"

#define LIMIT_MS   10000
#define ORPHANS_NS 1000000000

const char *const t_world_roles[2] = { "victim", "recoverer" };

struct t_world *t_world;

static const struct t_order *order;
static const char *who = "setup"; /* this process is */

int64_t t_world_limit_ns(const struct t_sweep_case *c)
{
	return (int64_t)(c->limit_ms ? c->limit_ms : LIMIT_MS) * 1000000;
}

int64_t t_world_deadline(void)
{
	return mproc_after_ns(t_world_limit_ns(order->c));
}

uint64_t t_world_key(enum t_pass pass, uint64_t victim)
{
	return t_key_mix(pass + 1, victim) | 1;
}

uint64_t t_world_key_nested(uint64_t victim, uint64_t recoverer)
{
	return t_key_mix(t_world_key(T_PASS_NESTED, victim), recoverer) | 1;
}

/* Failures. */

static void tell_list(const char *fmt, va_list ap)
{
	size_t len;

	if (atomic_exchange(&t_world->failed, 1))
		return;
	len = (size_t)snprintf(t_world->text, sizeof(t_world->text), "%s: ", who);
	vsnprintf(t_world->text + len, sizeof(t_world->text) - len, fmt, ap);
	atomic_store(&t_world->told, 1);
}

void t_world_tell(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tell_list(fmt, ap);
	va_end(ap);
}

void t_sweep_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tell_list(fmt, ap);
	va_end(ap);
	_exit(1);
}

/* What a process that does not end is doing. */
static const char *doing(pid_t pid, char *buf, size_t len)
{
	char path[32], line[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return "";
	if (fgets(line, sizeof(line), f) && line[0] >= '0' && line[0] <= '9')
		snprintf(buf, len, " in %s", t_call_name(strtol(line, NULL, 10)));
	else
		snprintf(buf, len, ", running");
	fclose(f);
	return buf;
}

void t_world_tell_end(const struct t_proc *p, const char *name)
{
	char buf[64];

	who = name;
	if (!p->gone) {
		t_world->stuck = true;
		t_world_tell("stuck%s", doing(p->pid, buf, sizeof(buf)));
	} else if (WIFSIGNALED(p->status)) {
		t_world_tell("killed by signal %d (%s)", WTERMSIG(p->status),
			     strsignal(WTERMSIG(p->status)));
	} else {
		t_world_tell("ended by itself with status %d", WEXITSTATUS(p->status));
	}
	who = "world";
}

/* What a case's setup() calls. */

void *t_sweep_map(size_t len)
{
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		t_sweep_fail("map %zu bytes: %s", len, strerror(errno));
	t_sweep_watch(mem, len);
	return mem;
}

static void be_helper(void)
{
	who = "helper";
}

pid_t t_sweep_helper(void (*fn)(void *), void *arg)
{
	struct t_proc *p = t_trace_fork(T_ROLE_HELPER, be_helper, fn, arg, t_world_deadline());

	if (!p)
		t_sweep_fail("helper: fork: %s", strerror(errno));
	if (!t_trace_settle(t_world_deadline()))
		t_sweep_fail("a helper does not come to rest");
	if (p->gone && !(WIFSIGNALED(p->status) && WTERMSIG(p->status) == SIGKILL)) {
		t_world_tell_end(p, "helper");
		_exit(1);
	}
	return p->pid;
}

void t_sweep_rest(void)
{
	uint32_t seen = atomic_load(&t_world->rouse);

	while (atomic_load(&t_world->rouse) == seen)
		syscall(SYS_futex, &t_world->rouse, FUTEX_WAIT, seen, NULL, NULL, 0);
}

void t_sweep_rouse(void)
{
	atomic_fetch_add(&t_world->rouse, 1);
	syscall(SYS_futex, &t_world->rouse, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/*
 * Takes the place of the C library's: the same numbers in every world, so that what
 * begins at a random place goes the same way every time.
 */
ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	unsigned char *bytes = buf;
	uint64_t bits;

	/* Other tests link this file too. */
	if (!t_world)
		return syscall(SYS_getrandom, buf, len, flags);
	for (size_t i = 0; i < len; i++) {
		bits = atomic_fetch_add(&t_world->randoms, 1);
		bytes[i] = (unsigned char)(t_key_mix(bits, 0) >> 32);
	}
	return (ssize_t)len;
}

/* The processes that are stepped. */

static void be_stepped(void *arg)
{
	int i = *(int *)arg;
	int64_t result;

	t_trace_stop_here();
	result = i == T_VICTIM ? order->c->victim() : order->c->recover();
	t_world->result[i] = result;
	atomic_store(&t_world->returned[i], 1);
	/* One that was not stepped to its end stops here for us. */
	syscall(SYS_kill, getpid(), SIGSTOP);
}

static void arrive_victim(void)
{
	who = t_world_roles[T_VICTIM];
	if (order->c->arrive)
		order->c->arrive();
}

static void arrive_recoverer(void)
{
	who = t_world_roles[T_RECOVERER];
	if (order->c->arrive)
		order->c->arrive();
}

static struct t_proc *start(int i)
{
	static int numbers[] = { T_VICTIM, T_RECOVERER };
	struct t_proc *p =
		t_trace_fork(T_ROLE_STEPPED, i == T_VICTIM ? arrive_victim : arrive_recoverer,
			     be_stepped, &numbers[i], t_world_deadline());

	who = "world";
	if (!p) {
		t_world_tell("%s: %s", t_world_roles[i],
			     errno == ETIMEDOUT ? "stuck in arrive()" : strerror(errno));
		return NULL;
	}
	if (p->gone) {
		t_world_tell_end(p, t_world_roles[i]);
		return NULL;
	}
	return p;
}

/* Peers and survivors. */

static void be_peer(void *arg)
{
	(void)arg;
	who = "peer";
	t_world->peer_result = order->c->peer();
}

static void be_survivor(void *arg)
{
	who = "survivor";
	order->c->check(arg);
}

/* Run fn(arg) in a process of its own, which must end well and in time. */
static void run_plain(const char *name, void (*fn)(void *), void *arg)
{
	struct t_proc *p = t_trace_fork(T_ROLE_PLAIN, NULL, fn, arg, 0);

	if (!p) {
		t_world_tell("%s: fork: %s", name, strerror(errno));
		return;
	}
	if (!t_trace_join(p, t_world_deadline()) || !WIFEXITED(p->status) || WEXITSTATUS(p->status))
		t_world_tell_end(p, name);
	t_trace_kill(p);
}

/* The victim stands still at its kill point. */
static bool peer_acts(struct t_proc *victim)
{
	t_trace_thaw();
	run_plain("peer", be_peer, NULL);
	if (atomic_load(&t_world->failed))
		return false;
	if (order->pass != T_PASS_RESUME || t_world->victim.point == T_POINT_END)
		return true;
	if (!t_step_off(victim, t_world_deadline())) {
		t_world->stuck = true;
		t_world_tell("victim: stuck after a peer has acted");
		return false;
	}
	if (victim->gone)
		t_world_tell_end(victim, t_world_roles[T_VICTIM]);
	return !victim->gone;
}

/* The victim is dead: step who recovers and kill that too. */
static enum t_outcome recover(struct t_sweep_seen *seen)
{
	struct t_proc *p = start(T_RECOVERER);
	enum t_outcome outcome;

	if (!p)
		return T_OUTCOME_NONE;
	outcome = t_way_go(order, T_RECOVERER, p, &t_world->recoverer);
	if (outcome == T_OUTCOME_KILLED)
		t_trace_kill(p);
	seen->recovering = true;
	seen->recovered = atomic_load(&t_world->returned[T_RECOVERER]);
	seen->recover_result = t_world->result[T_RECOVERER];
	return outcome;
}

static void check(struct t_sweep_seen *seen)
{
	const struct t_proc *bad;
	unsigned n;

	t_trace_thaw();
	run_plain("survivor", be_survivor, seen);
	bad = t_trace_bad_helper();
	if (bad)
		t_world_tell_end(bad, "helper");
	if (atomic_load(&t_world->failed) || (order->c->flags & T_SWEEP_ORPHANS))
		return;
	n = t_trace_orphans(mproc_after_ns(ORPHANS_NS));
	if (n)
		t_world_tell("%u process%s of the victim outlive%s it", n, n == 1 ? "" : "es",
			     n == 1 ? "s" : "");
}

static enum t_outcome live(void)
{
	struct t_sweep_seen seen = { .peer = order->pass == T_PASS_PEER ||
					     order->pass == T_PASS_RESUME };
	struct t_proc *victim;
	enum t_outcome outcome;

	order->c->setup();
	who = "world";
	if (atomic_load(&t_world->failed))
		return T_OUTCOME_NONE;
	victim = start(T_VICTIM);
	if (!victim)
		return T_OUTCOME_NONE;
	outcome = t_way_go(order, T_VICTIM, victim, &t_world->victim);
	if (outcome != T_OUTCOME_KILLED)
		return outcome;
	if (seen.peer && !peer_acts(victim))
		return outcome;
	seen.peer_result = t_world->peer_result;
	seen.returned = atomic_load(&t_world->returned[T_VICTIM]);
	seen.result = t_world->result[T_VICTIM];
	t_trace_kill(victim);
	if (order->pass == T_PASS_NESTED) {
		outcome = recover(&seen);
		if (outcome != T_OUTCOME_KILLED)
			return outcome;
	}
	check(&seen);
	return outcome;
}

void t_world_run(const struct t_order *what)
{
	order = what;
	t_trace_init();
	t_world->outcome = live();
	_exit(0);
}
