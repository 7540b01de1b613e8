/* SPDX-License-Identifier: MIT */
#ifndef MPROC__RINGLOG_H
#define MPROC__RINGLOG_H

/*
 * Ring logs, for the floor that knows all kinds
 */

#include <mproc/ringlog.h>

#include "ipc/kind.h"

extern const struct mproc__kind mproc__kind_ringlog;

#endif /* MPROC__RINGLOG_H */
