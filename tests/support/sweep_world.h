/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_SWEEP_WORLD_H
#define MPROC_TESTS_SWEEP_WORLD_H

/*
 * One world of a crash sweep, and what it tells the process that ordered it
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/sweep.h"
#include "tests/support/sweep_trace.h"

/* The set of kill points that are done; grows in the process that orders worlds. */
struct t_keys {
	uint64_t *at; /* open addressing, 0: free */
	size_t cap;   /* a power of two, or 0 */
	size_t n;
};

bool t_keys_has(const struct t_keys *keys, uint64_t key);
void t_keys_add(struct t_keys *keys, uint64_t key);

/* Both ways: a key made of two. */
static inline uint64_t t_key_mix(uint64_t a, uint64_t b)
{
	uint64_t z = (a ^ (b + UINT64_C(0x9e3779b97f4a7c15))) * UINT64_C(0xbf58476d1ce4e5b9);

	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* What is done at a kill point. */
enum t_pass {
	T_PASS_KILL,   /* kill */
	T_PASS_PEER,   /* a peer acts, then kill */
	T_PASS_RESUME, /* a peer acts, the victim goes on to its end, then kill */
	T_PASS_NESTED, /* kill, then step the recoverer and kill that */
	T_PASSES,
};

enum t_point {
	T_POINT_START,  /* nothing executed */
	T_POINT_CHANGE, /* what is watched has changed */
	T_POINT_CALL,   /* a system call is over */
	T_POINT_ASLEEP, /* asleep in a system call */
	T_POINT_END,    /* the operation has returned */
};

enum { T_VICTIM, T_RECOVERER };

#define T_WAY_OWN 4u

/* How far a stepped process came. */
struct t_way {
	uint64_t key;                /* of the kill point */
	uint64_t steps;              /* instructions, a system call counts as one */
	uint64_t calls;              /* system calls done */
	uint64_t changes;            /* of what is watched */
	uint64_t pc;                 /* of the last instruction */
	uint64_t n_own;              /* instructions of the program itself, not of a library ... */
	uint64_t own_pcs[T_WAY_OWN]; /* ... the last of them, a ring */
	long call;                   /* number of the last system call */
	bool slept;                  /* in it */
	enum t_point point;
};

/*
 * What is known of the ways that processes take: at which instructions (@pc) the chain
 * of changes and system calls can go on after @chain. An instruction that was found by
 * stepping can be run to from then on.
 */
struct t_link {
	uint64_t chain; /* 0: free */
	uint64_t pc;
	uint64_t steps; /* as in struct t_way, for those who run */
	uint64_t n_own;
	uint64_t own_pcs[T_WAY_OWN];
};

#define T_LINKS 65536u /* open addressing by chain */

enum t_outcome {
	T_OUTCOME_NONE,   /* no kill: the start state or the operation failed */
	T_OUTCOME_KILLED, /* at a kill point that was not done */
	T_OUTCOME_DRY,    /* the operation returned, every kill point was done */
	T_OUTCOME_AGAIN,  /* a helper's sleep ended at a wrong moment, or who ran got lost */
};

/* What is to be done in a world. */
struct t_order {
	const struct t_sweep_case *c;
	enum t_pass pass;
	const struct t_keys *done;
	bool fast[2]; /* victim, recoverer may run where the way is known */
};

#define T_SWEEP_TEXT 400

/* Shared between the ordering process and all of the world. */
struct t_world {
	enum t_outcome outcome;
	struct t_way victim;
	struct t_way recoverer;
	bool stuck; /* something had to be killed because it did not end */

	_Atomic(uint32_t) returned[2]; /* victim, recoverer: the operation has, with its ... */
	int64_t result[2];             /* ... result */
	int64_t peer_result;
	_Atomic(uint32_t) rouse;   /* futex: helpers rest until it changes */
	_Atomic(uint64_t) randoms; /* bytes that getrandom() has given */

	_Atomic(uint32_t) failed; /* the first failure wins ... */
	_Atomic(uint32_t) told;   /* ... and this says that its text is complete */
	char text[T_SWEEP_TEXT];

	/* From here on it outlives the world, until its case is done. */
	bool varies;      /* after the same chain, different things have happened */
	uint64_t lost[2]; /* who runs on after this chain gets lost: step */
	uint32_t n_links;
	struct t_link links[T_LINKS];
};

/* The world that this process is in, orders, or NULL. */
extern struct t_world *t_world;

/*
 * Be a world: build the start state, step the victim to the first kill point that
 * is not done, kill it there and ask a survivor. Leaves all in *t_world.
 */
_Noreturn void t_world_run(const struct t_order *order);

/* The case of this world has failed; the first one to say so is heard. */
void t_world_tell(const char *fmt, ...) __attribute__((__format__(__printf__, 1, 2)));

/* A process has not ended, or it has and was not to: tell that. */
void t_world_tell_end(const struct t_proc *p, const char *name);

/* "victim", "recoverer" */
extern const char *const t_world_roles[2];

/* Under which key a point is done; for T_PASS_NESTED @recoverer says of whose. */
uint64_t t_world_key(enum t_pass pass, uint64_t victim);
uint64_t t_world_key_nested(uint64_t victim, uint64_t recoverer);

int64_t t_world_limit_ns(const struct t_sweep_case *c);

/* In a world: limit_ms from now. */
int64_t t_world_deadline(void);

#endif /* MPROC_TESTS_SWEEP_WORLD_H */
