/* SPDX-License-Identifier: MIT */
#ifndef MPROC__STRING_H
#define MPROC__STRING_H

/*
 * What the floors above need of strings
 */

#include "ipc/kind.h"

extern const struct mproc__kind mproc__kind_string;

#endif /* MPROC__STRING_H */
