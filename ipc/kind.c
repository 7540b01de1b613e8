/* SPDX-License-Identifier: MIT */

/*
 * What kinds of objects there are: looking one up by its number
 */

#include "ipc/kind.h"

const struct mproc__kind *mproc__kind_find(uint32_t id)
{
	for (size_t i = 0; i < mproc__n_kinds; i++)
		if (mproc__kinds[i]->id == id)
			return mproc__kinds[i];
	return NULL;
}
