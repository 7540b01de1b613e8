/* SPDX-License-Identifier: MIT */
#ifndef MPROC__CLOCK_H
#define MPROC__CLOCK_H

/*
 * Time for deadlines (monotonic, private) and for display (real, shared)
 */

#include <mproc/common.h>

/*
 * Check a deadline that a caller gave.
 *
 * Return: 0, or -EINVAL with a text that starts with @what.
 */
int mproc__deadline_check(const char *what, int64_t deadline);

/* CLOCK_REALTIME in nanoseconds: the only kind of time that may be shared. */
int64_t mproc__clock_real(void);

#endif /* MPROC__CLOCK_H */
