/* SPDX-License-Identifier: MIT */

/*
 * The text of an error, and the log
 *
 * Each thread owns one buffer of fixed size, so that a failing call never
 * allocates. The text decides nothing: no code of the library reads it. The
 * log is one function and its argument behind a process-private lock; it is
 * called outside that lock, so it may call into the library.
 */

#include <mproc/error.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ipc/error.h"

static _Thread_local char text[MPROC__ERROR_MAX];

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*log_fn)(const char *line, void *arg);
static void *log_arg;

const char *mproc_error_text(void)
{
	return text;
}

void mproc_set_log(void (*fn)(const char *line, void *arg), void *arg)
{
	pthread_mutex_lock(&log_lock);
	log_fn = fn;
	log_arg = arg;
	pthread_mutex_unlock(&log_lock);
}

int mproc__fail(int code, const char *fmt, ...)
{
	/* The arguments may point into the old text. */
	char line[MPROC__ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	memcpy(text, line, sizeof(text));
	return code;
}

int mproc__fail_errno(int code, const char *fmt, ...)
{
	char line[MPROC__ERROR_MAX], why[64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	/* The GNU form returns the string, which need not lie in the buffer. */
	return mproc__fail(code, "%.180s: %s", line, strerror_r(-code, why, sizeof(why)));
}

void mproc__error_clear(void)
{
	text[0] = 0;
}

void mproc__log(const char *fmt, ...)
{
	void (*fn)(const char *line, void *arg);
	char line[MPROC__ERROR_MAX];
	void *arg;
	va_list ap;

	pthread_mutex_lock(&log_lock);
	fn = log_fn;
	arg = log_arg;
	pthread_mutex_unlock(&log_lock);
	if (!fn)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fn(line, arg);
}

char *mproc__size_text(char buf[24], uint64_t size)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	size_t unit = 0;
	double shown = (double)size;

	while (shown >= 1024 && unit < sizeof(units) / sizeof(units[0]) - 1) {
		shown /= 1024;
		unit++;
	}
	/* One decimal where it says something: "1.5 KiB", but "64 MiB". */
	snprintf(buf, 24, shown == (double)(uint64_t)shown ? "%.0f %s" : "%.1f %s", shown,
		 units[unit]);
	return buf;
}
