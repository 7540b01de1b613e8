/* SPDX-License-Identifier: MIT */
#ifndef SHMTOOL_IMAGE_ORDER_H
#define SHMTOOL_IMAGE_ORDER_H

/*
 * Which locks were taken in both orders, in a segment that has been copied
 */

#include "tools/image.h"

struct order {
	bool recorded; /* the segment was asked to */
	uint64_t n_dropped;
	uint64_t (*pairs)[2]; /* each as in holds, the lower offset first */
	size_t n_pairs;
};

/* Copy the record and find them. Whatever cannot be read is not recorded. */
void order_read(struct order *ret, const struct image *image);

void order_free(struct order *order);

#endif /* SHMTOOL_IMAGE_ORDER_H */
