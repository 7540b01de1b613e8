/* SPDX-License-Identifier: MIT */
#ifndef MPROC__RMUTEX_H
#define MPROC__RMUTEX_H

/*
 * What conditions need of a recursive mutex: give up all levels, have them again
 */

#include <mproc/rmutex.h>

/* Give the rmutex up, however often the caller has locked it. Return: how often, or -EPERM. */
int mproc__rmutex_release_all(mproc_rmutex *rmutex);

/* Own it again, @depth times. Return: as mproc_rmutex_lock(). */
int mproc__rmutex_retake(mproc_rmutex *rmutex, int depth);

#endif /* MPROC__RMUTEX_H */
