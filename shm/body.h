/* SPDX-License-Identifier: MIT */
#ifndef MPROC__BODY_H
#define MPROC__BODY_H

/*
 * What strings and lists are made of: a head under a lock, and blocks that come and go
 */

#include "ipc/error.h"
#include "shm/body_layout.h"
#include "shm/catalogue.h"

/* A handle on one. */
struct mproc__body {
	mproc_segment *segment;
	struct mproc__object object;
	struct mproc__body_shared *shared;
	uint64_t unit; /* bytes of what is counted: 1, or a slot's */
	uint64_t room_off;
	uint64_t room; /* units */
	/* Under the lock: where the block of this generation is here. */
	uint64_t seen_block, seen_generation, seen_cap;
	unsigned char *seen_mem;
	const char *noun;                      /* "list" */
	char name[MPROC__OBJECT_NAME_MAX + 1]; /* for texts */
};

/* What to make or find. */
struct mproc__body_spec {
	const char *noun;
	uint32_t kind; /* of the object */
	const char *name;
	const struct mproc_ref *ref; /* instead of a name */
	uint64_t unit;
	uint64_t room;  /* bytes, a multiple of 8: of a new one */
	uint64_t extra; /* bytes behind the room: of a new one */
	/* Fills the room and the extra bytes behind it. Return: the units in use. */
	uint64_t (*init)(unsigned char *room, uint64_t room_off, void *arg);
	void *arg;
};

enum mproc__body_way { MPROC__BODY_CREATE, MPROC__BODY_OPEN, MPROC__BODY_OPEN_OR_CREATE };

/*
 * A handle; takes one use of the segment, which mproc__body_close() gives back.
 *
 * Return: 0, or 1 if OPEN_OR_CREATE made it, or as mproc_list_create() and its sisters.
 */
int mproc__body_get(struct mproc__body *ret, mproc_segment *segment,
		    const struct mproc__body_spec *spec, enum mproc__body_way way);
void mproc__body_close(struct mproc__body *body);

/* A handle on @object, nothing more. Return: 0 or -EBADMSG. */
int mproc__body_handle(struct mproc__body *ret, mproc_segment *segment,
		       const struct mproc__object *object, const struct mproc__body_spec *spec);

/* Return: -ESTALE, with the text that it was removed. */
int mproc__body_gone(const struct mproc__body *body);

/* The user's lock. */
int mproc__body_lock(struct mproc__body *body, int64_t deadline);
int mproc__body_unlock(struct mproc__body *body);
int mproc__body_consistent(struct mproc__body *body);

/* A block that the caller has allocated, private to him until mproc__body_publish(). */
struct mproc__body_block {
	uint64_t off, generation; /* 0: none */
	unsigned char *mem;
	uint64_t cap; /* units */
};

/* The present state for those who do not have the lock. */
struct mproc__body_peek {
	uint64_t version;
	const struct mproc__body_state *state;
	uint64_t block, first, len;
};

/* What the object is, and what it is to be, for who has the lock. */
struct mproc__body_call {
	struct mproc__body *body;
	struct mproc__self *me; /* NULL: who only looks, and has no lock */
	uint64_t act;
	bool nested; /* the thread had the lock before */
	uint64_t version;
	struct mproc__body_state *state; /* the present one */
	/* Checked copies: */
	struct mproc__body_block block;
	uint64_t first, len;
	/* Of who only looks: */
	struct mproc__body_peek peek;
	int64_t deadline;
	uint32_t tries;
	char text[MPROC__ERROR_MAX];
};

/* What it is to be. Zero: nothing is given up. */
struct mproc__body_next {
	struct mproc__body_block block;
	uint64_t first, len;
	bool drop_block;                /* the present block is given up */
	uint64_t drop_slots, n_drop;    /* offset of slots whose items are given up */
	uint64_t patch_at;              /* or one item is replaced: its number + 1 ... */
	struct mproc__item patch, gone; /* ... by this; what it was */
};

/*
 * Take the lock, or go on under it, and look. What a dead owner has left is finished.
 *
 * Return: 0, or as mproc_mutex_lock(), or -EBADMSG.
 */
int mproc__body_begin(struct mproc__body_call *ret, struct mproc__body *body, int64_t deadline);

/* What it does under the lock, for who has taken that in another way. Return: 0 or -EBADMSG. */
int mproc__body_look(struct mproc__body_call *call);

/* Release the lock, unless the thread had it before. Return: @r. */
int mproc__body_end(struct mproc__body_call *call, int r);

/*
 * The same for a call that only reads, in a loop:
 *
 *	r = mproc__body_read(&c, body, deadline);
 *	if (r < 0)
 *		return r;
 *	do {
 *		r = ...
 *	} while (mproc__body_again(&c, &r));
 *
 * Who may only read the segment takes no lock: what he read may be torn, or be another
 * object's by now, and then the loop goes on. Memory does not go away under him, and what
 * he reads he checks as everybody does.
 *
 * Return: as mproc__body_begin(), and -ESTALE, -EAGAIN, -ETIMEDOUT also from the second.
 */
int mproc__body_read(struct mproc__body_call *ret, struct mproc__body *body, int64_t deadline);
bool mproc__body_again(struct mproc__body_call *call, int *r);

/*
 * A private block of @units at least, with a reserve for growth if there is room for it.
 *
 * Return: 0 or -ENOSPC.
 */
int mproc__body_alloc(struct mproc__body_call *call, uint64_t units, uint64_t reserve,
		      struct mproc__body_block *ret);

/* Free a private block. */
void mproc__body_abort(struct mproc__body_call *call, const struct mproc__body_block *block);

/*
 * Publish what is to belong to the object: @block, or NULL, and the blocks of @n items in
 * the slots at offset @slots. Killed from here to mproc__body_commit(), who comes next frees
 * them.
 *
 * Return: 0, or -EBADMSG; then all of them are freed.
 */
int mproc__body_publish(struct mproc__body_call *call, const struct mproc__body_block *block,
			uint64_t slots, uint64_t n);

/* Make it @next, by one store; then free what is given up, and wake who waits. */
void mproc__body_commit(struct mproc__body_call *call, const struct mproc__body_next *next);

/* Offset in the segment of what lies in it at @at. */
static inline uint64_t mproc__body_off(const struct mproc__body *body, const void *at)
{
	return (uint64_t)((uintptr_t)at -
			  atomic_load_explicit(&body->segment->range->base, memory_order_relaxed));
}

/* The room of the object itself. */
struct mproc__body_block mproc__body_room(const struct mproc__body *body);

void mproc__body_peek(const struct mproc__body *body, struct mproc__body_peek *ret);

/*
 * Was that, and what was read since, the state at one instant when nobody was between lock
 * and unlock?
 */
bool mproc__body_peeked(const struct mproc__body *body, const struct mproc__body_peek *peek);

/* Units in use, at some instant; 0 with a text if the object was removed. */
uint64_t mproc__body_len(const struct mproc__body *body);

/* The second: 0 with a text if the object was removed. The first looks at memory alone. */
uint64_t mproc__body_version(const struct mproc__body *body);
uint64_t mproc__body_version_now(const struct mproc__body *body);

/* Return: 0, or -ESTALE if the object was removed. */
int mproc__body_ref(const struct mproc__body *body, struct mproc_ref *ret);

/*
 * Wait until the version is not @seen.
 *
 * Return: as mproc_string_wait().
 */
int mproc__body_wait(struct mproc__body *body, uint64_t *seen, int64_t deadline);

/*
 * The object at @off is removed: free what it refers to, and wait until nobody is inside a
 * call, or between lock and unlock. See struct mproc__kind. Also with @wait it returns 1 if
 * the caller himself is inside a call, or who has the lock waits for him.
 */
int mproc__body_dispose(struct mproc__range *range, struct mproc__self *me, uint64_t off,
			uint64_t len, bool wait, uint32_t kind, uint64_t unit);

/* Slots, word by word: who is killed between two, or looks without the lock, has whole words. */
static inline struct mproc__item mproc__slot_get(const struct mproc__slot *slot)
{
	return (struct mproc__item){ atomic_load_explicit(&slot->head, memory_order_relaxed),
				     atomic_load_explicit(&slot->tail, memory_order_relaxed) };
}

static inline void mproc__slot_put(struct mproc__slot *slot, struct mproc__item item)
{
	atomic_store_explicit(&slot->head, item.head, memory_order_relaxed);
	atomic_store_explicit(&slot->tail, item.tail, memory_order_relaxed);
}

#endif /* MPROC__BODY_H */
