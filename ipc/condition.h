/* SPDX-License-Identifier: MIT */
#ifndef MPROC__CONDITION_H
#define MPROC__CONDITION_H

/*
 * Conditions, for those who reap the dead
 */

#include "ipc/kind.h"

extern const struct mproc__kind mproc__kind_condition;

#endif /* MPROC__CONDITION_H */
