/* SPDX-License-Identifier: MIT */
#ifndef SHMTOOL_LOCKS_H
#define SHMTOOL_LOCKS_H

/*
 * Held locks and deadlocks, in their two forms
 */

#include "tools/describe.h"
#include "tools/image_locks.h"
#include "tools/image_order.h"

/* A lock that somebody holds, or, if @holder is NULL, that somebody waits for. */
struct held {
	const struct segment *segment;
	const struct image_thread *holder;
	uint64_t what;
	bool read;    /* shared with other readers */
	int64_t held; /* at least so long, ns; -1: not known */
};

struct look {
	struct held *at;
	size_t n;
	struct locks locks;
	const struct segment *segments;
	struct order *orders; /* of each of them */
	size_t n_segments;
	int64_t now; /* CLOCK_MONOTONIC */
};

/* "alive", "stopped", "dead", … */
const char *locks_state(const struct image *image, const struct image_thread *thread);

/* How long the thread has been waiting, ns; -1: not known. */
int64_t locks_waited(const struct look *look, const struct image_thread *thread);

/* The segment whose image @image is. */
const struct segment *locks_segment(const struct look *look, const struct image *image);

/* Everything, for programs. */
json_object *locks_json(const struct look *look);

#endif /* SHMTOOL_LOCKS_H */
