/* SPDX-License-Identifier: MIT */

/*
 * The processes of one world, under ptrace(2)
 *
 * Stepped processes are driven by sweep_step.c. What they fork is traced too, so that
 * nothing escapes (PTRACE_O_EXITKILL), but runs.
 *
 * Helpers. A signal or an attaching tracer would throw a sleeper out of its futex
 * queue, so helpers are traced from birth and stop at their system calls only. One
 * that sleeps is undisturbed and still in its queue. When its sleep ends it stops
 * before it has executed anything: if the sleep timed out, the same call is made
 * again, as though no time had passed; if somebody woke it, it is held there. A
 * helper is "resting" from the moment it was found asleep until t_trace_thaw().
 */

#include "tests/support/sweep_trace.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/common.h>

#include "tests/support/child.h"
#include "tests/support/sweep_arch.h"

#define PROCS_MAX 512
#define LOOK_NS   50000       /* between two looks whether a helper sleeps */
#define END_NS    10000000000 /* for killed processes to be gone */

#define TRACE_OPTIONS \
	(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | \
	 PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC)

static struct t_proc procs[PROCS_MAX];
static unsigned n_procs;
static uint64_t expiries;

struct __ptrace_syscall_info t_trace_call_info(const struct t_proc *p)
{
	struct __ptrace_syscall_info info;

	memset(&info, 0, sizeof(info));
	ptrace(PTRACE_GET_SYSCALL_INFO, p->pid, sizeof(info), &info);
	return info;
}

unsigned long t_trace_peek(const struct t_proc *p, uint64_t addr)
{
	return (unsigned long)ptrace(PTRACE_PEEKTEXT, p->pid, (void *)addr, NULL);
}

bool t_trace_poke(const struct t_proc *p, uint64_t addr, unsigned long text)
{
	return ptrace(PTRACE_POKETEXT, p->pid, (void *)addr, (void *)text) == 0;
}

void t_trace_resume(struct t_proc *p, int request)
{
	p->stopped = false;
	/* ESRCH: it was killed meanwhile; its end will be reported. */
	ptrace(request, p->pid, NULL, (void *)(intptr_t)p->sig);
	p->sig = 0;
}

static struct t_proc *find(pid_t pid)
{
	for (unsigned i = n_procs; i-- > 0;)
		if (procs[i].pid == pid && !procs[i].gone)
			return &procs[i];
	return NULL;
}

static struct t_proc *add(pid_t pid, enum t_role role)
{
	struct t_proc *p;

	if (n_procs == PROCS_MAX) {
		fprintf(stderr, "sweep: more than %d processes in one world\n", PROCS_MAX);
		_exit(1);
	}
	p = &procs[n_procs++];
	*p = (struct t_proc){ .pid = pid, .role = role };
	return p;
}

/* A process that is a copy of @parent is what its parent is, but never stepped. */
static void on_fork(const struct t_proc *parent)
{
	enum t_role role = parent->role == T_ROLE_HELPER ? T_ROLE_HELPER : T_ROLE_CHILD;
	unsigned long pid = 0;
	struct t_proc *p;

	ptrace(PTRACE_GETEVENTMSG, parent->pid, NULL, &pid);
	p = find((pid_t)pid);
	if (!p) {
		add((pid_t)pid, role);
		return;
	}
	p->role = role;
	t_trace_resume(p, role == T_ROLE_HELPER ? PTRACE_SYSCALL : PTRACE_CONT);
}

static void on_helper_call(struct t_proc *p)
{
	struct __ptrace_syscall_info info = t_trace_call_info(p);

	if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
		t_arch_get_regs(p->pid, &p->entry);
		p->call = (long)info.entry.nr;
		p->in_call = true;
	} else if (p->resting && p->call == SYS_futex && info.exit.rval == -ETIMEDOUT) {
		struct user_regs_struct regs = p->entry;

		expiries++;
		t_arch_call_again(&regs);
		t_arch_set_regs(p->pid, &regs);
	} else {
		p->in_call = false;
		if (p->resting) {
			p->held = true;
			return;
		}
	}
	t_trace_resume(p, PTRACE_SYSCALL);
}

static void on_stop(struct t_proc *p, int status)
{
	int sig = WSTOPSIG(status), event = status >> 16;

	p->sig = 0;
	if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK ||
	    event == PTRACE_EVENT_CLONE)
		on_fork(p);
	switch (p->role) {
	case T_ROLE_STEPPED:
		p->stopped = true;
		p->status = status;
		break;
	case T_ROLE_HELPER:
		if (sig == (SIGTRAP | 0x80)) {
			on_helper_call(p);
			break;
		}
		/* The first stop of a forked helper is a SIGSTOP that nobody sent. */
		p->sig = event || sig == SIGSTOP ? 0 : sig;
		t_trace_resume(p, PTRACE_SYSCALL);
		break;
	case T_ROLE_CHILD:
		p->sig = event || sig == SIGSTOP || sig == (SIGTRAP | 0x80) ? 0 : sig;
		t_trace_resume(p, PTRACE_CONT);
		break;
	case T_ROLE_PLAIN:
	case T_ROLE_UNKNOWN:
		break;
	}
}

static void on_event(pid_t pid, int status)
{
	struct t_proc *p = find(pid);

	if (!WIFSTOPPED(status)) {
		if (p) {
			p->gone = true;
			p->status = status;
			p->in_call = p->stopped = p->held = false;
		}
		return;
	}
	if (p)
		on_stop(p, status);
	else
		add(pid, T_ROLE_UNKNOWN);
}

bool t_trace_serve(int64_t until)
{
	bool any = false;
	int64_t left;
	sigset_t chld;
	int status;
	pid_t pid;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	for (;;) {
		while ((pid = waitpid(-1, &status, __WALL | WNOHANG)) > 0) {
			on_event(pid, status);
			any = true;
		}
		left = until - mproc_now();
		if (any || left <= 0)
			return any;
		sigtimedwait(&chld, NULL,
			     &(struct timespec){ left / 1000000000, left % 1000000000 });
	}
}

void t_trace_init(void)
{
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

void t_trace_stop_here(void)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(1);
	/* Straight to the kernel: what follows the stop is stepped. */
	syscall(SYS_kill, getpid(), SIGSTOP);
}

_Noreturn static void run_child(enum t_role role, pid_t parent, void (*arrive)(void),
				void (*fn)(void *), void *arg)
{
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (arrive)
		arrive();
	if (role == T_ROLE_HELPER)
		t_trace_stop_here();
	fn(arg);
	if (role == T_ROLE_HELPER)
		kill(getpid(), SIGKILL);
	_exit(0);
}

struct t_proc *t_trace_fork(enum t_role role, void (*arrive)(void), void (*fn)(void *), void *arg,
			    int64_t deadline)
{
	pid_t self = getpid(), pid;
	struct t_proc *p;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return NULL;
	if (!pid)
		run_child(role, self, arrive, fn, arg);
	if (role == T_ROLE_PLAIN)
		return add(pid, role);

	/* Until its stop it is one to be stepped, whatever it will be. */
	p = add(pid, T_ROLE_STEPPED);
	while (!p->gone && !(p->stopped && WSTOPSIG(p->status) == SIGSTOP)) {
		if (p->stopped) {
			p->sig = WSTOPSIG(p->status);
			t_trace_resume(p, PTRACE_CONT);
		}
		if (!t_trace_serve(deadline)) {
			errno = ETIMEDOUT;
			return NULL;
		}
	}
	if (p->gone)
		return p;
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)TRACE_OPTIONS) < 0)
		return NULL;
	p->role = role;
	if (role == T_ROLE_HELPER)
		t_trace_resume(p, PTRACE_SYSCALL);
	return p;
}

void t_trace_wait(struct t_proc *p)
{
	int status;

	while (waitpid(p->pid, &status, __WALL) < 0)
		if (errno != EINTR)
			return;
	on_event(p->pid, status);
}

bool t_trace_wait_until(struct t_proc *p, int64_t deadline)
{
	while (!p->stopped && !p->gone)
		if (!t_trace_serve(deadline))
			return false;
	return true;
}

bool t_trace_join(struct t_proc *p, int64_t deadline)
{
	while (!p->gone)
		if (!t_trace_serve(deadline) && mproc_now() >= deadline)
			return p->gone;
	return true;
}

void t_trace_kill(struct t_proc *p)
{
	if (p->gone)
		return;
	kill(p->pid, SIGKILL);
	t_trace_join(p, mproc_now() + END_NS);
}

void t_trace_thaw(void)
{
	for (unsigned i = 0; i < n_procs; i++) {
		struct t_proc *p = &procs[i];

		if (p->role != T_ROLE_HELPER || p->gone)
			continue;
		p->resting = false;
		if (p->held) {
			p->held = false;
			t_trace_resume(p, PTRACE_SYSCALL);
		}
	}
}

static bool at_rest(const struct t_proc *p)
{
	return p->gone || p->held || (p->in_call && t_state(p->pid) == 'S');
}

bool t_trace_settle(int64_t deadline)
{
	unsigned i = 0;

	t_trace_serve(0);
	while (i < n_procs) {
		struct t_proc *p = &procs[i];

		if (p->role != T_ROLE_HELPER || at_rest(p)) {
			p->resting = true;
			i++;
			continue;
		}
		if (mproc_now() >= deadline)
			return false;
		if (t_trace_serve(mproc_now() + LOOK_NS))
			i = 0;
	}
	return true;
}

unsigned t_trace_helpers(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < n_procs; i++)
		n += procs[i].role == T_ROLE_HELPER && !procs[i].gone;
	return n;
}

uint64_t t_trace_expiries(void)
{
	return expiries;
}

unsigned t_trace_children(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < n_procs; i++)
		n += procs[i].role == T_ROLE_CHILD && !procs[i].gone;
	return n;
}

unsigned t_trace_orphans(int64_t deadline)
{
	unsigned n;

	while ((n = t_trace_children()) > 0)
		if (!t_trace_serve(deadline) && mproc_now() >= deadline)
			break;
	return n;
}

const struct t_proc *t_trace_bad_helper(void)
{
	for (unsigned i = 0; i < n_procs; i++) {
		const struct t_proc *p = &procs[i];

		if (p->role == T_ROLE_HELPER && p->gone &&
		    !(WIFSIGNALED(p->status) && WTERMSIG(p->status) == SIGKILL))
			return p;
	}
	return NULL;
}
