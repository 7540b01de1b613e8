/* SPDX-License-Identifier: MIT */
#ifndef MPROC_ERROR_H
#define MPROC_ERROR_H

/*
 * The text of an error, and the log
 *
 * A call that fails for good leaves one line for its thread that names the
 * thing, the value and the limit: "create jobs: 64 MiB wanted, 12 MiB free on
 * /dev/shm". The log is for what no return value can carry: a worker that was
 * replaced, a lock that was inherited.
 *
 * Unless a function says otherwise:
 *
 *	Threads		each thread has a text of its own; there is one log
 *	Fork		the child starts with its parent's text and log
 *	Signals		not safe in a signal handler
 *	Killed		nothing here writes shared memory
 *	Errors		none
 */

#include <mproc/common.h>

MPROC_BEGIN_DECLS

/**
 * mproc_error_text() - what the last failing call of this thread says
 *
 * Calls that give -EAGAIN or -ETIMEDOUT leave no text, nor does the -ENOENT of a key or an
 * item that is not there: they may happen a million times a second, and what this tells
 * then is of an earlier call.
 *
 * Return: a line without a newline, at most 255 bytes, "" if no call of this
 * thread has failed; valid until the thread's next failing call.
 */
MPROC_API const char *mproc_error_text(void);

/**
 * mproc_set_log() - say who is told what no return value can carry
 * @fn:		called with one line, no newline, or NULL for silence (the
 *		default); from any thread, so it must be thread-safe
 * @arg:	handed to @fn
 */
MPROC_API void mproc_set_log(void (*fn)(const char *line, void *arg), void *arg);

MPROC_END_DECLS

#endif /* MPROC_ERROR_H */
