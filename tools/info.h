/* SPDX-License-Identifier: MIT */
#ifndef SHMTOOL_INFO_H
#define SHMTOOL_INFO_H

/*
 * One segment, in its two forms
 */

#include "tools/describe.h"

/* What is special to an object's kind, if there is something to say. */
void info_print_object(const struct image *image, const struct image_object *object);

/* Everything, for programs. */
json_object *info_json(const struct segment *segment);

#endif /* SHMTOOL_INFO_H */
