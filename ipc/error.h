/* SPDX-License-Identifier: MIT */
#ifndef MPROC__ERROR_H
#define MPROC__ERROR_H

/*
 * How the library leaves the text of an error and writes to the log
 */

#include <string.h>

#include <mproc/error.h>

/* Room for a text, its terminating NUL included. */
#define MPROC__ERROR_MAX 256

/*
 * Leave a text for this thread; a text that is too long is cut.
 *
 * Return: @code, so that one can write return mproc__fail(-EINVAL, "…").
 */
int mproc__fail(int code, const char *fmt, ...) __attribute__((__format__(__printf__, 2, 3)));

/* The same, with ": " and the meaning of the errno -@code appended. */
int mproc__fail_errno(int code, const char *fmt, ...) __attribute__((__format__(__printf__, 2, 3)));

/* For a call that succeeds after a part of it has failed: its text stays as it was. */
static inline void mproc__error_keep(char text[MPROC__ERROR_MAX])
{
	memcpy(text, mproc_error_text(), MPROC__ERROR_MAX);
}

static inline void mproc__error_put_back(const char text[MPROC__ERROR_MAX])
{
	(void)mproc__fail(0, "%s", text);
}

/* Make the text "": what comes after it is about something else. */
void mproc__error_clear(void);

/* One line to whoever asked for the log. */
void mproc__log(const char *fmt, ...) __attribute__((__format__(__printf__, 1, 2)));

/*
 * "64 MiB", "1.5 KiB", "17 B": a size for a text.
 *
 * Return: @buf.
 */
char *mproc__size_text(char buf[24], uint64_t size);

#endif /* MPROC__ERROR_H */
