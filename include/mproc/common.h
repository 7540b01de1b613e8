/* SPDX-License-Identifier: MIT */
#ifndef MPROC_COMMON_H
#define MPROC_COMMON_H

/*
 * What every header of mproc stands on: linkage, results, deadlines
 *
 * Results. A function that can fail returns an int (or ssize_t): zero or a
 * positive value when it happened, a negative errno when it did not. A failed
 * call has had no effect and has not touched its return parameters.
 *
 * Deadlines. Every call that can block takes a last parameter int64_t
 * deadline, absolute CLOCK_MONOTONIC nanoseconds: MPROC_NOWAIT tries once and
 * gives -EAGAIN, MPROC_FOREVER never gives up, anything else gives -ETIMEDOUT
 * when that time has come (a time that has passed already tries once). A
 * negative deadline is -EINVAL. Deadlines are private to a process: never put
 * one into shared memory.
 *
 *	Threads		every function here may be called from any thread
 *	Fork		nothing here changes across fork(2)
 *	Signals		the deadline functions are async-signal-safe
 *	Killed		nothing here writes shared memory
 *	Errors		none
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define MPROC_BEGIN_DECLS extern "C" {
#define MPROC_END_DECLS   }
#else
#define MPROC_BEGIN_DECLS
#define MPROC_END_DECLS
#endif

#define MPROC_API  __attribute__((__visibility__("default")))
#define MPROC_MUST __attribute__((__warn_unused_result__))

#define MPROC_NOWAIT  INT64_C(0)
#define MPROC_FOREVER INT64_MAX

MPROC_BEGIN_DECLS

/**
 * mproc_now() - the present time of the clock that deadlines use
 *
 * Return: CLOCK_MONOTONIC in nanoseconds, greater than zero.
 */
MPROC_API int64_t mproc_now(void);

/**
 * mproc_after_ns() - the deadline that lies @ns nanoseconds from now
 * @ns:	nanoseconds; zero or less is a deadline that has just passed
 *
 * Return: a deadline between 1 and MPROC_FOREVER; it never overflows.
 */
MPROC_API int64_t mproc_after_ns(int64_t ns);

/**
 * mproc_after_us() - the deadline that lies @us microseconds from now
 * @us:	microseconds, see mproc_after_ns()
 *
 * Return: a deadline between 1 and MPROC_FOREVER; it never overflows.
 */
MPROC_API int64_t mproc_after_us(int64_t us);

/**
 * mproc_after_ms() - the deadline that lies @ms milliseconds from now
 * @ms:	milliseconds, see mproc_after_ns()
 *
 * Return: a deadline between 1 and MPROC_FOREVER; it never overflows.
 */
MPROC_API int64_t mproc_after_ms(int64_t ms);

MPROC_END_DECLS

#endif /* MPROC_COMMON_H */
