/* SPDX-License-Identifier: MIT */
#ifndef MPROC__POOL_LAYOUT_H
#define MPROC__POOL_LAYOUT_H

/*
 * A pool as it lies in a segment, and what its messages look like
 *
 *	head | worker[n_workers] | slot[n_tasks]
 *
 * A slot is one word: who may do what with the task that has it.
 *
 *	generation 36 | worker 12 | attempt 12 | state 4
 *
 * FREE -> SUBMITTED by the parent, SUBMITTED -> CLAIMED by the worker that runs it,
 * back to SUBMITTED (next attempt) or to FREE (next generation) by the parent.
 */

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define MPROC__POOL_LAYOUT      UINT32_C(0x6c6f7001)
#define MPROC__POOL_WORKERS_MAX 1024u
#define MPROC__POOL_TASKS_MAX   65536u
#define MPROC__POOL_TASK_MAX    ((UINT32_C(1) << 30) - 4096)

#define MPROC__SLOT_FREE      0u
#define MPROC__SLOT_SUBMITTED 1u
#define MPROC__SLOT_CLAIMED   2u

#define MPROC__SLOT_ATTEMPT_MAX     4095u
#define MPROC__SLOT_GENERATION_MASK ((UINT64_C(1) << 36) - 1)

static inline uint64_t mproc__slot_word(uint64_t generation, uint32_t worker, uint32_t attempt,
					uint32_t state)
{
	return generation << 28 | (uint64_t)worker << 16 | attempt << 4 | state;
}

static inline uint32_t mproc__slot_state(uint64_t word)
{
	return (uint32_t)word & 15;
}

static inline uint32_t mproc__slot_attempt(uint64_t word)
{
	return (uint32_t)(word >> 4) & 4095;
}

static inline uint32_t mproc__slot_worker(uint64_t word)
{
	return (uint32_t)(word >> 16) & 4095;
}

static inline uint64_t mproc__slot_generation(uint64_t word)
{
	return word >> 28;
}

/* A place for a worker; the process in it may change. */
struct mproc__pool_worker {
	alignas(64) _Atomic(uint32_t) pid; /* 0: none */
	_Atomic(uint32_t) ready;           /* this process has begun to take tasks */
	_Atomic(uint64_t) n_done;          /* tasks returned by all processes of this place */
	_Atomic(uint64_t) n_deaths;        /* written by the parent */
	_Atomic(uint32_t) running;         /* number of the slot it runs plus 1, 0: idle */
	_Atomic(uint32_t) task;            /* index of that task in the registry */
	_Atomic(uint64_t) since;           /* CLOCK_REALTIME of the process's start, ns */
	_Atomic(uint64_t) process;         /* mproc__proc_ref() of that process, once it is one */
	uint64_t reserved[1];
};

static_assert(sizeof(struct mproc__pool_worker) == 64, "layout changed: bump MPROC__POOL_LAYOUT");

#define MPROC__POOL_RUNNING 1u
#define MPROC__POOL_DOWN    2u /* no more tasks; those under way are finished */
#define MPROC__POOL_BROKEN  3u /* its workers cannot be kept alive */

struct mproc__pool_shared {
	alignas(64) _Atomic(uint32_t) layout;
	_Atomic(uint32_t) state;
	_Atomic(uint32_t) n_workers; /* fixed at creation, as the next two */
	_Atomic(uint32_t) n_tasks;
	_Atomic(uint32_t) task_max;
	_Atomic(uint32_t) parent; /* pid, for display */
	_Atomic(uint64_t) tasks;  /* offset of the queue of tasks, of the queue of results */
	_Atomic(uint64_t) done;
	/* Written by the parent under its private lock. */
	alignas(64) _Atomic(uint64_t) n_submitted;
	_Atomic(uint64_t) n_done;
	_Atomic(uint64_t) n_failed;
	_Atomic(uint64_t) n_retried;
	_Atomic(uint64_t) n_deaths;
	_Atomic(uint64_t) process; /* mproc__proc_ref() of the parent */
	uint64_t reserved[2];
};

static_assert(sizeof(struct mproc__pool_shared) == 128, "layout changed: bump MPROC__POOL_LAYOUT");

static inline uint64_t mproc__pool_slots_off(uint32_t n_workers)
{
	return sizeof(struct mproc__pool_shared) +
	       (uint64_t)n_workers * sizeof(struct mproc__pool_worker);
}

static inline uint64_t mproc__pool_size(uint32_t n_workers, uint32_t n_tasks)
{
	return mproc__pool_slots_off(n_workers) + (uint64_t)n_tasks * sizeof(uint64_t);
}

/* What a copied image of a pool says of itself. */
struct mproc__pool_seen {
	uint32_t state, n_workers, n_tasks, task_max, parent;
	uint64_t n_submitted, n_done, n_failed, n_retried, n_deaths;
	uint32_t slots_free, slots_submitted, slots_claimed;
	uint64_t tasks, done;
};

/*
 * Check a private copy of @len bytes.
 *
 * Return: 0, or -1 with a reason in @why.
 */
static inline int mproc__pool_look(const void *image, uint64_t len, struct mproc__pool_seen *ret,
				   char *why, size_t why_cap)
{
	const struct mproc__pool_shared *s = image;
	const _Atomic(uint64_t) *slots;

	if (len < sizeof(*s) || s->layout != MPROC__POOL_LAYOUT) {
		snprintf(why, why_cap, "not a pool of this layout");
		return -1;
	}
	*ret = (struct mproc__pool_seen){ .state = s->state,
					  .n_workers = s->n_workers,
					  .n_tasks = s->n_tasks,
					  .task_max = s->task_max,
					  .parent = s->parent,
					  .n_submitted = s->n_submitted,
					  .n_done = s->n_done,
					  .n_failed = s->n_failed,
					  .n_retried = s->n_retried,
					  .n_deaths = s->n_deaths,
					  .tasks = s->tasks,
					  .done = s->done };
	if (!ret->n_workers || ret->n_workers > MPROC__POOL_WORKERS_MAX || !ret->n_tasks ||
	    ret->n_tasks > MPROC__POOL_TASKS_MAX ||
	    mproc__pool_size(ret->n_workers, ret->n_tasks) > len) {
		snprintf(why, why_cap, "a pool of %u workers and %u tasks is impossible here",
			 ret->n_workers, ret->n_tasks);
		return -1;
	}
	slots = (const void *)((const char *)image + mproc__pool_slots_off(ret->n_workers));
	for (uint32_t i = 0; i < ret->n_tasks; i++) {
		uint32_t state = mproc__slot_state(slots[i]);

		ret->slots_free += state == MPROC__SLOT_FREE;
		ret->slots_submitted += state == MPROC__SLOT_SUBMITTED;
		ret->slots_claimed += state == MPROC__SLOT_CLAIMED;
	}
	return 0;
}

/*
 * Head of a message in the queue of tasks; the encoded arguments follow. A chunk of a map
 * has for each item its length, 4 bytes, and its arguments.
 */
struct mproc__task_msg {
	uint64_t generation;
	uint32_t slot;
	uint32_t attempt;
	uint32_t task;    /* index in the registry */
	uint32_t n_items; /* of a chunk; 0: one task alone */
};

enum mproc__done_what {
	MPROC__DONE_RESULT = 1, /* the encoded result follows */
	MPROC__DONE_FAILED = 2, /* the task's own negative errno; its text follows */
	MPROC__DONE_DIED = 3,   /* the worker is dead; from the supervisor */
	MPROC__DONE_NUDGE = 4,  /* nothing, but look around */
};

/* Head of a message in the queue of results. */
struct mproc__done_msg {
	uint64_t generation;
	uint32_t slot;
	uint32_t attempt;
	uint32_t what;
	int32_t code;
	uint32_t pid;
	int32_t signal;
	int32_t exit_code;
	uint32_t core;
};

/* What a chunk returns for each item: this, and the encoded result or a text. */
struct mproc__item_done {
	int32_t code; /* 0, or the item's own negative errno: a text follows */
	uint32_t len; /* bytes that follow */
};

#endif /* MPROC__POOL_LAYOUT_H */
