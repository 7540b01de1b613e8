/* SPDX-License-Identifier: MIT */

/*
 * Typed items: copying them in and out, and atomic operations on one
 *
 * What is a word is copied word by word, so that one who is killed, and one who
 * looks without the lock, has whole ones. What is longer goes by the stage, see
 * cells.c. Atomic operations are those of the machine, on the width of the item.
 */

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/kind_layout.h"
#include "shm/cells.h"

#define DEFINE_COPIES(bits) \
	static void out_##bits(const unsigned char *items, uint64_t n, unsigned char *ret) \
	{ \
		const _Atomic(uint##bits##_t) *item = (const void *)items; \
		for (uint64_t i = 0; i < n; i++) { \
			uint##bits##_t x = atomic_load_explicit(&item[i], memory_order_relaxed); \
			memcpy(ret + i * sizeof(x), &x, sizeof(x)); \
		} \
	} \
	static void in_##bits(unsigned char *items, uint64_t n, const unsigned char *from) \
	{ \
		_Atomic(uint##bits##_t) *item = (void *)items; \
		for (uint64_t i = 0; i < n; i++) { \
			uint##bits##_t x; \
			memcpy(&x, from + i * sizeof(x), sizeof(x)); \
			atomic_store_explicit(&item[i], x, memory_order_relaxed); \
		} \
	} \
	static_assert(sizeof(_Atomic(uint##bits##_t)) * 8 == (bits), "atomics are larger")

DEFINE_COPIES(8);
DEFINE_COPIES(16);
DEFINE_COPIES(32);
DEFINE_COPIES(64);

void mproc__cells_copy_out(const struct mproc__cells *c, uint64_t i, uint64_t n, unsigned char *ret)
{
	const struct mproc__cells_geometry *g = &c->geometry;
	const unsigned char *from = c->items + i * g->size;

	switch (g->size) {
	case 1:
		out_8(from, n, ret);
		break;
	case 2:
		out_16(from, n, ret);
		break;
	case 4:
		out_32(from, n, ret);
		break;
	case 8:
		out_64(from, n, ret);
		break;
	default:
		memcpy(ret, from, (size_t)(n * g->size));
	}
	/* Any other byte than 0 and 1 is no bool, and to look at one is undefined. */
	if (g->kind == MPROC_BOOL)
		for (uint64_t k = 0; k < n; k++)
			ret[k] = ret[k] != 0;
}

/* Step 3 of a change that a dead owner of the lock had committed. */
void mproc__cells_finish(struct mproc__cells *c)
{
	uint64_t pending;

	if (!c->pending)
		return;
	pending = atomic_load_explicit(c->pending, memory_order_relaxed);
	if (!pending)
		return;
	if (pending <= c->geometry.n_items)
		memcpy(c->items + (pending - 1) * c->geometry.size, c->stage, c->geometry.size);
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(c->pending, 0, memory_order_relaxed);
}

/* Change one item that is longer than a word. */
static void stage_in(struct mproc__cells *c, uint64_t i, const unsigned char *from)
{
	memcpy(c->stage, from, c->geometry.size);
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(c->pending, i + 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	mproc__cells_finish(c);
}

void mproc__cells_copy_in(struct mproc__cells *c, uint64_t i, uint64_t n, const unsigned char *from)
{
	unsigned char *to = c->items + i * c->geometry.size;

	switch (c->geometry.size) {
	case 1:
		in_8(to, n, from);
		break;
	case 2:
		in_16(to, n, from);
		break;
	case 4:
		in_32(to, n, from);
		break;
	case 8:
		in_64(to, n, from);
		break;
	default:
		if (!c->stage)
			memcpy(to, from, (size_t)(n * c->geometry.size));
		for (uint64_t k = 0; c->stage && k < n; k++)
			stage_in(c, i + k, from + k * c->geometry.size);
	}
}

/*
 * Atomic operations
 */

/* @x as 64 bits with its sign, or with none. */
static uint64_t widen(uint64_t x, size_t size, bool is_signed)
{
	uint32_t shift = 64 - 8 * (uint32_t)size;

	return is_signed ? (uint64_t)((int64_t)(x << shift) >> shift) : x;
}

/* @x and @was combined, floats of 4 or 8 bytes. Return: @was if it stays. */
static uint64_t combine_floats(enum mproc__cell_op op, uint64_t x, uint64_t was, size_t size)
{
	double a, b;
	float f, g;

	if (size == sizeof(f)) {
		memcpy(&f, &x, sizeof(f));
		memcpy(&g, &was, sizeof(g));
		a = f;
		b = g;
	} else {
		memcpy(&a, &x, sizeof(a));
		memcpy(&b, &was, sizeof(b));
	}
	if (op != MPROC__CELL_ADD)
		return (op == MPROC__CELL_MIN ? a < b : a > b) ? x : was;
	/* The sum of two floats in double is exact enough to be rounded but once. */
	a += b;
	f = (float)a;
	was = 0;
	memcpy(&was, size == sizeof(f) ? (void *)&f : (void *)&a, size);
	return was;
}

/* What becomes of @was by @x, for what the machine has no instruction for. */
static uint64_t combine(enum mproc__cell_op op, uint64_t x, uint64_t was, size_t size,
			uint32_t kind)
{
	/* With the sign turned over signed numbers are in the order of unsigned ones. */
	uint64_t sign = kind == MPROC_INT ? UINT64_C(1) << 63 : 0;
	uint64_t a, b;

	if (kind == MPROC_FLOAT)
		return combine_floats(op, x, was, size);
	a = widen(x, size, kind == MPROC_INT) ^ sign;
	b = widen(was, size, kind == MPROC_INT) ^ sign;
	return (op == MPROC__CELL_MIN ? a < b : a > b) ? x : was;
}

#define DEFINE_ATOMIC(bits) \
	static uint64_t atomic_##bits(unsigned char *at, enum mproc__cell_op op, uint64_t arg, \
				      uint32_t kind) \
	{ \
		_Atomic(uint##bits##_t) *item = (void *)at; \
		uint##bits##_t x = (uint##bits##_t)arg, was, next; \
\
		switch (op) { \
		case MPROC__CELL_LOAD: \
			return atomic_load(item); \
		case MPROC__CELL_STORE: \
			atomic_store(item, x); \
			return 0; \
		case MPROC__CELL_XCHG: \
			return atomic_exchange(item, x); \
		case MPROC__CELL_ADD: \
			if (kind == MPROC_FLOAT) \
				break; \
			return atomic_fetch_add(item, x); \
		case MPROC__CELL_AND: \
			return atomic_fetch_and(item, x); \
		case MPROC__CELL_OR: \
			return atomic_fetch_or(item, x); \
		default: \
			break; \
		} \
		was = atomic_load(item); \
		do \
			next = (uint##bits##_t)combine(op, x, was, sizeof(x), kind); \
		while (next != was && !atomic_compare_exchange_weak(item, &was, next)); \
		return was; \
	} \
	static bool cas_##bits(unsigned char *at, uint64_t *expected, uint64_t arg) \
	{ \
		uint##bits##_t was = (uint##bits##_t) * expected; \
		bool ok = atomic_compare_exchange_strong((_Atomic(uint##bits##_t) *)(void *)at, \
							 &was, (uint##bits##_t)arg); \
\
		*expected = was; \
		return ok; \
	} \
	static_assert(sizeof(uint##bits##_t) * 8 == (bits), "")

DEFINE_ATOMIC(8);
DEFINE_ATOMIC(16);
DEFINE_ATOMIC(32);
DEFINE_ATOMIC(64);

/* The bytes of a scalar as a number: little-endian, as everywhere here. */
static uint64_t word_from(const void *bytes, uint32_t size)
{
	uint64_t word = 0;

	memcpy(&word, bytes, size);
	return word;
}

int mproc__cells_takes(const struct mproc__cells *c, enum mproc__cell_op op)
{
	uint32_t kind = c->geometry.kind;
	bool integer = kind == MPROC_INT || kind == MPROC_UINT;
	const char *wanted = NULL;
	char text[80];

	if (kind == MPROC_BYTES)
		wanted = "a scalar";
	else if (op >= MPROC__CELL_AND && !integer)
		wanted = "an integer";
	else if (op >= MPROC__CELL_ADD && !integer && kind != MPROC_FLOAT)
		wanted = "a number";
	if (!wanted)
		return 0;
	return mproc__fail(
		-EINVAL, "%s %s: it holds %s, and this takes %s", c->noun, c->name,
		mproc__cell_text(text, sizeof(text), kind, c->geometry.size, c->geometry.type_name),
		wanted);
}

/* Return: 0, -EPROTO or -EINVAL. */
static inline int check_scalar(const struct mproc__cells *c, const struct mproc_type *type,
			       uint64_t i, enum mproc__cell_op op)
{
	int r = mproc__cells_have(c, type, i, 1);

	if (r < 0)
		return r;
	if (__builtin_expect(c->geometry.kind == MPROC_INT || c->geometry.kind == MPROC_UINT, 1))
		return 0;
	return mproc__cells_takes(c, op);
}

uint64_t mproc__cells_operate(const struct mproc__cells *c, enum mproc__cell_op op,
			      unsigned char *at, uint64_t arg)
{
	uint32_t kind = c->geometry.kind;

	switch (c->geometry.size) {
	case 1:
		return atomic_8(at, op, arg, kind);
	case 2:
		return atomic_16(at, op, arg, kind);
	case 4:
		return atomic_32(at, op, arg, kind);
	default:
		return atomic_64(at, op, arg, kind);
	}
}

int mproc__cells_atomic(struct mproc__cells *c, enum mproc__cell_op op,
			const struct mproc_type *type, uint64_t i, const void *arg, void *ret)
{
	uint32_t size = c->geometry.size;
	uint64_t was;
	int r;

	r = check_scalar(c, type, i, op);
	if (r < 0)
		return r;
	if (op != MPROC__CELL_LOAD && mproc__is_read_only(c->shared))
		return mproc__fail_read_only(c->noun);
	was = mproc__cells_operate(c, op, c->items + i * size, arg ? word_from(arg, size) : 0);
	if (op != MPROC__CELL_LOAD)
		mproc__cells_signal(c);
	if (c->geometry.kind == MPROC_BOOL)
		was = was != 0;
	if (ret)
		memcpy(ret, &was, size);
	return 0;
}

int mproc__cells_cas(struct mproc__cells *c, const struct mproc_type *type, uint64_t i,
		     void *expected, const void *arg)
{
	uint32_t size = c->geometry.size;
	unsigned char *at;
	uint64_t x, was;
	bool ok;
	int r;

	r = check_scalar(c, type, i, MPROC__CELL_LOAD);
	if (r < 0)
		return r;
	if (mproc__is_read_only(c->shared))
		return mproc__fail_read_only(c->noun);
	at = c->items + i * size;
	x = word_from(arg, size);
	was = word_from(expected, size);
	switch (size) {
	case 1:
		ok = cas_8(at, &was, x);
		break;
	case 2:
		ok = cas_16(at, &was, x);
		break;
	case 4:
		ok = cas_32(at, &was, x);
		break;
	default:
		ok = cas_64(at, &was, x);
	}
	if (ok) {
		mproc__cells_signal(c);
		return 1;
	}
	if (c->geometry.kind == MPROC_BOOL)
		was = was != 0;
	memcpy(expected, &was, size);
	return 0;
}

/*
 * Waiting for a change. Who waits looks at the item, without the lock, and sleeps on a
 * word beside it. A change by an atomic operation is ordered before its look at that
 * word by the operation itself, one under the lock by a barrier that the sleeper pays
 * for (ipc/wait.c). Killed between the change and the wake: the sleeper's quantum.
 */

struct change {
	const struct mproc__cells *cells;
	unsigned char *at;
	unsigned char *seen; /* n items: as they were, and once one has changed, as they are */
	uint64_t n;
};

static int try_change(void *arg)
{
	const struct change *change = arg;
	const struct mproc__cells *c = change->cells;
	uint32_t size = c->geometry.size;

	int r = -EAGAIN;

	for (uint64_t i = 0; i < change->n; i++) {
		uint64_t now = mproc__cells_operate(c, MPROC__CELL_LOAD, change->at + i * size, 0);

		if (c->geometry.kind == MPROC_BOOL)
			now = now != 0;
		if (now != word_from(change->seen + i * size, size)) {
			memcpy(change->seen + i * size, &now, size);
			r = 0;
		}
	}
	return r;
}

int mproc__cells_wait_any(struct mproc__cells *c, const struct mproc_type *type, uint64_t i,
			  uint64_t n, void *seen, int64_t deadline)
{
	struct change change = { .cells = c, .seen = seen, .n = n };
	struct mproc__self *me;
	char what[40];
	int r;

	r = mproc__cells_have(c, type, i, n);
	if (r == 0)
		r = mproc__cells_takes(c, MPROC__CELL_LOAD);
	if (r < 0)
		return r;
	snprintf(what, sizeof(what), "%s wait", c->noun);
	if (deadline < 0)
		return mproc__deadline_check(what, deadline);
	me = mproc__self(c->shared, what);
	if (!me)
		return mproc__self_error();
	change.at = c->items + i * c->geometry.size;
	return mproc__waitable_wait(&c->shared->waitable, me,
				    mproc__what(c->object.kind, mproc__self_off(me, c->shared)),
				    deadline, NULL, try_change, &change);
}

int mproc__cells_wait(struct mproc__cells *c, const struct mproc_type *type, uint64_t i, void *seen,
		      int64_t deadline)
{
	return mproc__cells_wait_any(c, type, i, 1, seen, deadline);
}
