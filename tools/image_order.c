/* SPDX-License-Identifier: MIT */

/*
 * Which locks were taken in both orders, in a segment that has been copied
 *
 * Bits are set one by one and stay until a lock's place is cleared, so one copy is as
 * good as two: what it shows has been so. Its words are checked by the room that owns
 * them; the number of pairs is bounded by the size of the matrix.
 */

#include "tools/image_order.h"

#include <stdlib.h>
#include <string.h>

#include "ipc/order_layout.h"
#include "tools/text.h"

void order_read(struct order *ret, const struct image *image)
{
	const struct mproc__segment_head *head = &image->head;
	uint64_t off = head->sections[MPROC__SECTION_REGISTRY].off +
		       mproc__order_off(head->n_procs, head->n_threads);
	static struct mproc__order copy;
	uint64_t pair[2];

	memset(ret, 0, sizeof(*ret));
	if (!(head->flags & MPROC_SEGMENT_LOCK_ORDER) || off > MPROC__SEGMENT_SIZE_MAX ||
	    image->source->read(image->source, &copy, sizeof(copy), off) != (ssize_t)sizeof(copy))
		return;
	ret->recorded = true;
	ret->n_dropped = atomic_load_explicit(&copy.n_dropped, memory_order_relaxed);
	for (uint32_t a = 0; a < MPROC__ORDER_LOCKS; a++)
		for (uint32_t b = a + 1; b < MPROC__ORDER_LOCKS; b++) {
			if (!mproc__order_pair(&copy, a, b, image->size, pair))
				continue;
			if (ret->n_pairs % 64 == 0)
				ret->pairs = text_alloc(ret->pairs,
							(ret->n_pairs + 64) * sizeof(*ret->pairs));
			memcpy(ret->pairs[ret->n_pairs++], pair, sizeof(pair));
		}
}

void order_free(struct order *order)
{
	free(order->pairs);
	memset(order, 0, sizeof(*order));
}
