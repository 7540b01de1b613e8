/* SPDX-License-Identifier: MIT */
#ifndef SHMTOOL_INFO_H
#define SHMTOOL_INFO_H

/*
 * One segment, in its two forms
 */

#include "tools/describe.h"

/* What is special to the kinds of objects. */
void info_print_objects(const struct image *image);

/* Everything, for programs. */
json_object *info_json(const struct segment *segment);

/* An object that is held, acted on or waited for. */
json_object *what_json(const struct image *image, uint64_t what);

#endif /* SHMTOOL_INFO_H */
