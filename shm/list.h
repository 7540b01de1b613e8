/* SPDX-License-Identifier: MIT */
#ifndef MPROC__LIST_H
#define MPROC__LIST_H

/*
 * What the list's own files share
 */

#include <mproc/list.h>

#include <assert.h>

#include "shm/body.h"

#define MPROC__LIST_UNIT  sizeof(struct mproc__slot)
#define MPROC__LIST_MAGIC UINT32_C(0x6c697374)

struct mproc_list {
	uint32_t magic;
	struct mproc__body body;
};

static inline struct mproc__body *mproc__list_body(const mproc_list *list)
{
	assert(list && list->magic == MPROC__LIST_MAGIC);
	return (struct mproc__body *)&list->body;
}

/* Private bytes of an item that is not far. */
typedef unsigned char mproc__list_near[MPROC__SLOT_INLINE + 2];

/*
 * An item from a value; a block that it needs is private to the caller.
 *
 * Return: 0, or -EINVAL, -ENOSPC.
 */
int mproc__list_make(struct mproc__body_call *call, const struct mproc_any *any,
		     struct mproc__item *ret);

/* The same for @n of them; or none. */
int mproc__list_make_all(struct mproc__body_call *call, const struct mproc_any *any, uint64_t n,
			 struct mproc__item *ret);

/* Free the private blocks of items that come to nothing. */
void mproc__list_unmake(struct mproc__body_call *call, const struct mproc__item *items, uint64_t n);

/*
 * A value from an item; where its kind has bytes they are in @near, or shared memory: then
 * the lock must be held.
 *
 * Return: 0 or -EBADMSG.
 */
int mproc__list_look(struct mproc__body *body, struct mproc__item item, mproc__list_near near,
		     struct mproc_any *ret);

/* The slot of item @i, which is there. */
static inline struct mproc__slot *mproc__list_slot(const struct mproc__body_call *call, uint64_t i)
{
	return (struct mproc__slot *)(void *)call->block.mem + call->first + i;
}

/* Item @i itself. The lock's owner has finished what was to be written; others have not. */
static inline struct mproc__item mproc__list_item(const struct mproc__body_call *call, uint64_t i)
{
	/* Pairs with the release in finish(): without a patch it is in place. */
	if (__builtin_expect(!call->me, 0) &&
	    atomic_load_explicit(&call->state->patch_at, memory_order_acquire) == i + 1)
		return mproc__slot_get(&call->state->patch);
	return mproc__slot_get(mproc__list_slot(call, i));
}

/*
 * Put @n_items items, made by mproc__list_make(), in the place of @n from @i on, which are
 * there. If that fails they are unmade.
 *
 * Return: 0, -ENOSPC, -EBADMSG.
 */
int mproc__list_splice(struct mproc__body_call *call, uint64_t i, uint64_t n,
		       const struct mproc__item *items, uint64_t n_items);

/* The same items in another order. Return: 0, -ENOSPC, -EBADMSG. */
int mproc__list_permute(struct mproc__body_call *call, const struct mproc__item *items);

extern const struct mproc__kind mproc__kind_list;

#endif /* MPROC__LIST_H */
