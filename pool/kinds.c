/* SPDX-License-Identifier: MIT */

/*
 * All kinds of objects, on the floor that knows every room
 *
 * Reaping calls the rooms in this order. Each room writes itself in here.
 */

#include "ipc/kind.h"

#include "ipc/condition.h"
#include "pipes/queue.h"
#include "pool/pool.h"
#include "shm/arena.h"
#include "shm/catalogue.h"
#include "shm/dict.h"
#include "shm/list.h"
#include "shm/ringlog.h"
#include "shm/string.h"

const struct mproc__kind *const mproc__kinds[] = {
	&mproc__kind_catalogue,
	&mproc__kind_condition,
	&mproc__kind_queue,
	&mproc__kind_pool,
	&mproc__kind_dict,
	&mproc__kind_namespace,
	&mproc__kind_list,
	&mproc__kind_string,
	&mproc__kind_ringlog,
	&mproc__kind_arena, /* last: other rooms may say whose a block is */
	NULL,               /* ends the list, and lets it be empty */
};

const size_t mproc__n_kinds = sizeof(mproc__kinds) / sizeof(mproc__kinds[0]) - 1;
