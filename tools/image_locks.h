/* SPDX-License-Identifier: MIT */
#ifndef SHMTOOL_IMAGE_LOCKS_H
#define SHMTOOL_IMAGE_LOCKS_H

/*
 * Who waits for whose lock, in segments that have been copied
 */

#include "tools/image.h"

#define LOCKS_NONE SIZE_MAX

/* A thread that waits for a lock which another thread owns. */
struct lock_wait {
	const struct image *image;
	const struct image_thread *thread; /* blocked_on is the lock */
	const struct image_thread *owner;
	uint64_t key;  /* of the waiter's process */
	uint64_t word; /* of the lock */
	size_t next;   /* the wait of the owner, or LOCKS_NONE */
	size_t seen;   /* number of the walk that came by */
};

/* waits[order[first]], … each waits for the next one, and the last for the first. */
struct lock_cycle {
	size_t first, n;
};

struct locks {
	struct lock_wait *waits;
	size_t n_waits;
	size_t *order;
	struct lock_cycle *cycles; /* all of their edges were there at the same time */
	size_t n_cycles;
};

/* Find them. The images stay as they are, and are needed until the end. */
void locks_read(struct locks *ret, const struct image *const *images, size_t n);

void locks_free(struct locks *locks);

/*
 * The owner word of the lock @what in the segment itself, as it is now.
 *
 * Return: false if @what is nothing that has one, or lies nowhere.
 */
bool locks_word(const struct image *image, uint64_t what, uint64_t *ret);

/* Does the thread live, as far as can be known? */
bool locks_lives(const struct image_thread *thread);

#endif /* SHMTOOL_IMAGE_LOCKS_H */
