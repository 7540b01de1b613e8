/* SPDX-License-Identifier: MIT */

/*
 * The way of a stepped process to its kill point
 *
 * A kill point is known by a key: the chain of the places (program counter, system
 * call) at which the process, until there, has changed what is watched or finished
 * a system call. That is all that can have made a difference to others, so two
 * worlds in which the chains are equal are equal for a survivor, up to values that
 * differ from world to world (keys drawn at random, times).
 *
 * Entering a system call is no kill point: a process killed there has done nothing
 * since the point before. Sleeping in one is, and so is coming out of it.
 *
 * Links of the chain that were found by stepping are remembered, and later worlds run
 * to them at full speed. Running stops at the places of all known links and at every
 * system call, and there the image is compared: if it has changed on the way, there was
 * a place nobody knew, the world is thrown away, and the next one steps that stretch.
 * The last world of every sweep is stepped all the way.
 */

#include "tests/support/sweep_way.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <mproc/common.h>

#include "tests/support/sweep_step.h"
#include "tests/support/sweep_text.h"

#define WATCH_MAX     64
#define STEPPED_LIMIT 12 /* limits that a stepped operation may take in all */
#define SLEEPS_MAX    32 /* of a stepped operation */

static struct {
	const void *base;
	void *image; /* as of the last step */
	size_t len;
} watched[WATCH_MAX];
static unsigned n_watched;

struct go {
	const struct t_order *order;
	int i;
	struct t_proc *p;
	struct t_way *way;
	uint64_t chain;
	unsigned sleeps;
	bool fast;  /* may run */
	bool ran;   /* since the last link, rather than only stepped */
	bool alone; /* no helpers */
};

void t_sweep_watch(const void *base, size_t len)
{
	if (n_watched == WATCH_MAX)
		t_sweep_fail("more than %d watched regions", WATCH_MAX);
	watched[n_watched].base = base;
	watched[n_watched].len = len;
	watched[n_watched].image = malloc(len);
	if (!watched[n_watched].image)
		t_sweep_fail("no memory for an image of %zu bytes", len);
	n_watched++;
}

static bool image_changed(void)
{
	bool changed = false;

	for (unsigned i = 0; i < n_watched; i++) {
		if (!memcmp(watched[i].image, watched[i].base, watched[i].len))
			continue;
		memcpy(watched[i].image, watched[i].base, watched[i].len);
		changed = true;
	}
	return changed;
}

static uint64_t point_key(const struct go *go, enum t_point point)
{
	if (point == T_POINT_START || point == T_POINT_END)
		return t_key_mix(go->chain, point);
	return t_key_mix(t_key_mix(t_key_mix(go->chain, go->way->pc), (uint64_t)go->way->call),
			 point);
}

/* A kill point: is this the one? */
static bool arrived(struct go *go, enum t_point point, uint64_t key)
{
	go->way->point = point;
	go->way->key = key;
	if (go->i == T_RECOVERER)
		key = t_world_key_nested(t_world->victim.key, key);
	else
		key = t_world_key(go->order->pass, key);
	return !t_keys_has(go->order->done, key);
}

/* Is @pc in the program rather than in a library? */
static bool is_own(uint64_t pc)
{
	extern const char __executable_start[], etext[];

	return pc >= (uintptr_t)__executable_start && pc < (uintptr_t)etext;
}

/* The links after @chain: their places. Return: how many. */
static unsigned links_after(uint64_t chain, uint64_t pcs[T_RUN_MAX])
{
	unsigned n = 0;

	for (uint32_t i = (uint32_t)chain % T_LINKS; t_world->links[i].chain && n < T_RUN_MAX;
	     i = (i + 1) % T_LINKS)
		if (t_world->links[i].chain == chain)
			pcs[n++] = t_world->links[i].pc;
	return n;
}

/* The link after @chain at @pc, or where it is to be put: then its chain is 0. */
static struct t_link *link_at(uint64_t chain, uint64_t pc)
{
	uint32_t i = (uint32_t)chain % T_LINKS;

	while (t_world->links[i].chain &&
	       (t_world->links[i].chain != chain || t_world->links[i].pc != pc))
		i = (i + 1) % T_LINKS;
	return &t_world->links[i];
}

static bool link_add(uint64_t chain, const struct t_way *way)
{
	struct t_link *link = link_at(chain, way->pc);

	if (link->chain || t_world->n_links >= T_LINKS / 2)
		return false;
	*link = (struct t_link){
		.chain = chain, .pc = way->pc, .steps = way->steps, .n_own = way->n_own
	};
	memcpy(link->own_pcs, way->own_pcs, sizeof(link->own_pcs));
	t_world->n_links++;
	return true;
}

/*
 * The start state makes the way, for a recoverer together with the victim's end: more
 * than one place after a chain, or one end, and there is something else.
 */
static void watch_for_variety(struct go *go, bool end)
{
	uint64_t pcs[T_RUN_MAX], chain = go->chain;
	struct t_way at = *go->way;

	if (end) {
		chain = T_POINT_END;
		at.pc = go->chain;
	}
	if (end || go->i == T_RECOVERER) {
		chain = t_key_mix(chain, go->i == T_RECOVERER ? t_world->victim.key : 0) | 1;
		link_add(chain, &at);
	}
	if (links_after(chain, pcs) > 1)
		t_world->varies = true;
}

/* This world is worth nothing, and the next one steps where it got lost. */
static enum t_outcome lose(struct go *go)
{
	t_world->lost[go->i] = go->chain;
	return T_OUTCOME_AGAIN;
}

/* The chain goes on here. Return: false if that is news to one who ran. */
static bool pass_link(struct go *go)
{
	struct t_way *way = go->way;
	const struct t_link *link = link_at(go->chain, way->pc);

	if (link->chain && go->ran) {
		way->steps = link->steps;
		way->n_own = link->n_own;
		memcpy(way->own_pcs, link->own_pcs, sizeof(way->own_pcs));
	} else if (go->ran) {
		return false;
	} else if (link_add(go->chain, way) && t_world->lost[go->i] == go->chain) {
		t_world->lost[go->i] = 0;
	}
	watch_for_variety(go, false);
	go->ran = false;
	return true;
}

/* Run to the next place of interest, if any is known. Return: false if lost. */
static bool run_ahead(struct go *go)
{
	uint64_t pcs[T_RUN_MAX];
	unsigned n;

	if (!go->fast || go->p->in_call || go->p->sig || go->chain == t_world->lost[go->i] ||
	    t_trace_children())
		return true;
	n = links_after(go->chain, pcs);
	if (!n)
		return true;
	go->ran = true;
	switch (t_step_run(go->p, pcs, n, t_world_deadline())) {
	case T_RUN_BREAK:
	case T_RUN_CALL:
		return !image_changed();
	default:
		return false;
	}
}

/* One step. Return: what there was, T_STEP_GONE if the case has failed. */
static enum t_step step(struct go *go)
{
	struct t_proc *p = go->p;
	struct t_way *way = go->way;
	uint64_t pc = p->in_call && !p->entering ? way->pc : t_step_pc(p);
	enum t_step what = t_step(p, t_world_deadline());

	switch (what) {
	case T_STEP_INSN:
	case T_STEP_CALL:
		way->steps++;
		way->calls += what == T_STEP_CALL;
		way->slept = what == T_STEP_CALL && p->slept;
		/* fall through */
	case T_STEP_ASLEEP:
		way->pc = pc;
		way->call = what == T_STEP_INSN ? -1 : p->call;
		if (is_own(pc))
			way->own_pcs[way->n_own++ % T_WAY_OWN] = pc;
		break;
	case T_STEP_GONE:
		t_world_tell_end(p, t_world_roles[go->i]);
		break;
	case T_STEP_LATE:
		t_world->stuck = true;
		t_world_tell("%s: stuck in %s", t_world_roles[go->i], t_call_name(p->call));
		return T_STEP_GONE;
	}
	return what;
}

/* It sleeps: whoever rests may act until it comes out of its call. */
static void let_others_act(void)
{
	t_trace_thaw();
	t_sweep_rouse();
}

/* After a step that was done. Return: T_OUTCOME_DRY to go on, otherwise the end. */
static enum t_outcome look_around(struct go *go, enum t_step what)
{
	bool changed = image_changed();

	go->way->changes += changed;
	if (!changed && what != T_STEP_CALL)
		return T_OUTCOME_DRY;
	if (!pass_link(go))
		return lose(go);
	/* Coming out of a sleep that others could end differs from a call without one. */
	go->chain = point_key(go, what == T_STEP_CALL ? T_POINT_CALL : T_POINT_CHANGE) +
		    (go->way->slept && !go->alone);
	return arrived(go, what == T_STEP_CALL ? T_POINT_CALL : T_POINT_CHANGE, go->chain)
		       ? T_OUTCOME_KILLED
		       : T_OUTCOME_DRY;
}

static bool has_returned(const struct go *go)
{
	return atomic_load(&t_world->returned[go->i]);
}

static enum t_outcome go_on(struct go *go)
{
	int64_t end = mproc_after_ns(STEPPED_LIMIT * t_world_limit_ns(go->order->c));
	enum t_outcome outcome;
	uint64_t expiries;
	enum t_step what;

	for (;;) {
		if (!run_ahead(go))
			return lose(go);
		if (has_returned(go))
			break;
		expiries = t_trace_expiries();
		what = step(go);
		if (what == T_STEP_GONE)
			return T_OUTCOME_NONE;
		if (mproc_now() > end) {
			t_world_tell("%s: has not returned in time", t_world_roles[go->i]);
			return T_OUTCOME_NONE;
		}
		if (what == T_STEP_ASLEEP) {
			/* No link of the chain: a short sleep is not always seen. */
			if (arrived(go, T_POINT_ASLEEP, point_key(go, T_POINT_ASLEEP)))
				return T_OUTCOME_KILLED;
			if (++go->sleeps > SLEEPS_MAX) {
				t_world_tell("%s: sleeps again and again, and nobody ends it",
					     t_world_roles[go->i]);
				return T_OUTCOME_NONE;
			}
			let_others_act();
			continue;
		}
		if (go->way->slept && !t_trace_settle(t_world_deadline())) {
			t_world_tell("a helper does not come to rest again");
			return T_OUTCOME_NONE;
		}
		/* It may have found nobody to wake where there is always somebody. */
		if (go->way->call == SYS_futex && !go->way->slept && t_trace_expiries() != expiries)
			return T_OUTCOME_AGAIN;
		if (has_returned(go))
			break;
		outcome = look_around(go, what);
		if (outcome != T_OUTCOME_DRY)
			return outcome;
	}
	watch_for_variety(go, true);
	return arrived(go, T_POINT_END, point_key(go, T_POINT_END)) ? T_OUTCOME_KILLED
								    : T_OUTCOME_DRY;
}

enum t_outcome t_way_go(const struct t_order *order, int i, struct t_proc *p, struct t_way *way)
{
	struct go go = { .order = order,
			 .i = i,
			 .p = p,
			 .way = way,
			 .chain = 1 + (uint64_t)i,
			 /* Another thread would run into the breakpoints. */
			 .fast = order->fast[i] && t_step_is_single(p),
			 .alone = t_trace_helpers() == 0 };

	image_changed();
	if (arrived(&go, T_POINT_START, point_key(&go, T_POINT_START)))
		return T_OUTCOME_KILLED;
	return go_on(&go);
}
