/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_SWEEP_H
#define MPROC_TESTS_SWEEP_H

/*
 * Crash sweeps: kill an operation wherever that can make a difference
 *
 * A sweep single-steps an operation (ptrace) and kills the process that runs it
 * at every instruction after which the shared memory has changed and after every
 * system call; a survivor then says whether what is left is sound. Between two
 * such points nothing that a survivor can see has changed, so they are all there
 * is to try, and that is what lets the nested sweep (who recovers is stepped and
 * killed likewise, at every point for every point of the first victim) run to its
 * end. Nothing is sampled, nothing is cut short.
 *
 * A sweep file holds the operations of one room and one table, a row for each
 * pair of operation and start state:
 *
 *	static struct {
 *		_Atomic(uint64_t) message, there;
 *	} *box;
 *
 *	static void empty_box(void)
 *	{
 *		box = t_sweep_map(sizeof(*box));
 *	}
 *
 *	static int64_t put(void)
 *	{
 *		box->message = 7;
 *		box->there = 1;
 *		return 0;
 *	}
 *
 *	static void box_is_sound(const struct t_sweep_seen *seen)
 *	{
 *		t_sweep_check(!seen->returned || box->there);
 *		t_sweep_check(!box->there || box->message == 7);
 *	}
 *
 *	static const struct t_sweep_case cases[] = {
 *		T_SWEEP("put", "empty", empty_box, put, box_is_sound, .recover = put),
 *	};
 *
 *	int main(int argc, char **argv)
 *	{
 *		return t_sweep_main(argc, argv, "box", cases, sizeof(cases) / sizeof(cases[0]));
 *	}
 *
 * Worlds. Every kill happens in a world of its own: a process forked for it runs
 * setup(), and the victim, peers, recoverer and survivor are forked from that
 * one. What setup() leaves in static variables, they all find there; so file
 * statics are the world, and nothing of one world reaches the next. MPROC_DIR
 * names a directory that is empty at the start of every world.
 *
 *	world		setup() runs here; then it only watches, but it lives on: if
 *			setup() attached it to a segment, it is a living participant
 *	helpers		made by setup() to be part of the start state: the owner of a
 *			lock, dead or alive; sleepers. t_sweep_helper()
 *	victim		arrive(), then victim(), stepped and killed
 *	peer		peer(), while the victim stands still; then the victim is killed
 *	recoverer	arrive(), then recover(), after the victim's death; stepped and
 *			killed with --nested, not run at all without
 *	survivor	check(), at the end of every world
 *
 * What to watch. Register the memory that other processes decide by, and all of
 * it: a change outside is no kill point. The cost of a step grows above some 64
 * KiB. A large payload copied with rep movs changes at every byte; watch its
 * first words only.
 *
 * Time. Helpers stand still while a victim or recoverer is stepped: one that is
 * asleep stays asleep, its quantum does not pass. They run whenever the stepped
 * process sleeps in a system call itself, and once stepping is over. The clock is
 * not stopped for the stepped process, which runs some ten thousand times slower
 * than usual: give its deadlines room, or MPROC_FOREVER if the sleep must end.
 *
 * A process asleep in a system call is killed there, and also when it has come
 * out of it: by its own timeout, or after the helpers that rest (t_sweep_rest())
 * were let go to wake it.
 *
 * What differs from world to world does no harm: kill points are known by the
 * places (program counters) of the changes and system calls before them. Times in
 * shared memory, loops in private memory and the vdso do not count; getrandom()
 * gives the same numbers in every world. A sweep goes on until a world that was
 * stepped all the way finds no unknown kill point; if the operation goes different
 * ways (its images are marked with "~"), until three in a row find none. What was
 * stepped once may run at full speed in later worlds, between the places of interest.
 *
 * What makes a case fail: t_sweep_check() or t_sweep_fail() in any of its
 * processes; one that crashes or exits by itself; setup, peer() or check() that does
 * not end within limit_ms ("stuck"); an operation that stays in one system call for
 * longer, takes twelve times as long when stepped, or sleeps more than 32 times; one
 * that changes nothing and calls nothing, unless its row is T_SWEEP_READ_ONLY (then:
 * one that does change something); descendants of the victim that outlive check(); a
 * sweep that does not settle.
 *
 * Link with -z now, or the first world steps through the dynamic linker. Not under
 * a sanitizer: it multiplies the steps and shares memory of its own. On arm64 a
 * load-exclusive loop never ends under single-step, since the exception clears the
 * monitor: compile sweeps and library with -march=armv8.1-a.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What the survivor's check is told. */
struct t_sweep_seen {
	bool returned;          /* the victim's operation had returned to its caller ... */
	int64_t result;         /* ... this */
	bool peer;              /* a peer acted while the victim stood still ... */
	int64_t peer_result;    /* ... and its operation returned this */
	bool recovering;        /* a recoverer was at work before us (--nested) ... */
	bool recovered;         /* ... and its operation had returned ... */
	int64_t recover_result; /* ... this */
};

/* Flags of a case. */
enum {
	T_SWEEP_READ_ONLY = 1,   /* the operation must not change what is watched */
	T_SWEEP_RESUME = 2,      /* at every point also: peer acts, the victim goes on to its end */
	T_SWEEP_ORPHANS = 4,     /* children of the victim may outlive the check */
	T_SWEEP_NESTED_ONLY = 8, /* must_fail: by the nested sweep; the simple one must pass */
};

struct t_sweep_case {
	const char *operation;
	const char *state;                              /* start state, a word or two */
	void (*setup)(void);                            /* builds it, in the world process */
	int64_t (*victim)(void);                        /* the operation */
	void (*check)(const struct t_sweep_seen *seen); /* the survivor's; t_sweep_check() in it */

	/* These may be NULL or zero. */
	void (*arrive)(void);     /* in victim and recoverer, unstepped: attach, take locks */
	int64_t (*peer)(void);    /* what another process does while the victim stands still */
	int64_t (*recover)(void); /* what is stepped and killed with --nested */
	uint32_t flags;
	uint32_t limit_ms;     /* for setup, peer, check each; default 10000 */
	const char *must_fail; /* control: passes only if failures say this */
};

/* T_SWEEP("put", "empty", empty_box, put, box_is_sound, .recover = put): one row. */
#define T_SWEEP(operation_, state_, setup_, victim_, ...) \
	{ \
		.operation = (operation_), .state = (state_), .setup = (setup_), \
		.victim = (victim_), .check = __VA_ARGS__ \
	}

/*
 * The main() of a sweep: [--nested] [--json FILE] [--case SUBSTRING] [--jobs N]
 * [--list] [--tap]. SUBSTRING is looked for in "operation, state". TAP also if
 * CMOCKA_MESSAGE_OUTPUT=TAP. With MPROC_SWEEP_VERBOSE set in the environment the
 * failures of controls are shown too.
 *
 * Return: an exit status: 0 if every case passed.
 */
int t_sweep_main(int argc, char **argv, const char *room, const struct t_sweep_case *cases,
		 size_t n);

/* In setup(): compare [base, base + len), shared memory, after every step. */
void t_sweep_watch(const void *base, size_t len);

/* In setup(): anonymous shared memory, zeroed and watched. */
void *t_sweep_map(size_t len);

/*
 * In setup(): run fn(arg) in another process until it comes to rest: it sleeps in
 * a system call (say, of a lock that is taken), or it is dead. When fn returns the
 * process dies as if by SIGKILL: a helper that takes a lock and returns is a dead
 * owner. A helper that never rests is a failure.
 *
 * Return: its process id.
 */
pid_t t_sweep_helper(void (*fn)(void *), void *arg);

/*
 * In a helper: rest, alive, until the stepped process (victim or recoverer) sleeps
 * in a system call, or the survivor calls t_sweep_rouse(). Every call rests anew.
 */
void t_sweep_rest(void);

/* In check(): let the helpers that rest go on. */
void t_sweep_rouse(void);

/* In any process of a world: the case has failed, and this process ends here. */
_Noreturn void t_sweep_fail(const char *fmt, ...) __attribute__((__format__(__printf__, 1, 2)));

#define t_sweep_check(expr) \
	((expr) ? (void)0 : t_sweep_fail("%s:%d: %s is false", __FILE__, __LINE__, #expr))

#endif /* MPROC_TESTS_SWEEP_H */
