/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_SWEEP_WAY_H
#define MPROC_TESTS_SWEEP_WAY_H

/*
 * The way of a stepped process to its kill point
 */

#include "tests/support/sweep_trace.h"
#include "tests/support/sweep_world.h"

/*
 * Step @p to the first kill point that is not done, or to its end, and note it in
 * @way. It stands at the beginning of its operation.
 * @i:		T_VICTIM or T_RECOVERER
 */
enum t_outcome t_way_go(const struct t_order *order, int i, struct t_proc *p, struct t_way *way);

#endif /* MPROC_TESTS_SWEEP_WAY_H */
