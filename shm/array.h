/* SPDX-License-Identifier: MIT */
#ifndef MPROC__ARRAY_H
#define MPROC__ARRAY_H

/*
 * What views need of an array
 */

#include <mproc/array.h>

#include "shm/cells.h"

struct mproc__cells *mproc__array_cells(mproc_array *array);

#endif /* MPROC__ARRAY_H */
