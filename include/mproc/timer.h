/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TIMER_H
#define MPROC_TIMER_H

/*
 * Timers: run a function once, later, unless it is cancelled first
 *
 * All timers of a process are served by one thread of the library's own, which the first
 * timer starts: functions run one after the other, in the order of their times. So they
 * should be short; one that wants to block starts a thread (<mproc/thread.h>) or submits a
 * task. A timer that has run may start the next one: that is a period.
 *
 * The process does not wait for timers when it ends; those still pending do not run.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one timer at the same time
 *	Fork		timers run in the process that started them; a forked child has
 *			none of its parent's (-ESRCH) and may start its own
 *	Signals		not safe in a signal handler; all signals are blocked in the thread
 *			of the timers. No call is a cancellation point
 *	Killed		nothing here writes shared memory
 *	Errors		a negative errno; the call then has had no effect and
 *			has not touched its return parameters
 */

#include <mproc/common.h>

MPROC_BEGIN_DECLS

typedef struct mproc_timer mproc_timer;

/* What mproc_timer_join() says of a timer that was cancelled before it ran. */
#define MPROC_TIMER_CANCELLED 1

/**
 * mproc_timer_start() - run a function once when a time has come
 * @ret:	the timer, stored before @fn can run; or NULL, if nobody is going to ask
 * @when:	CLOCK_MONOTONIC in nanoseconds, as mproc_after_ms() gives it; a time that has
 *		passed, MPROC_NOWAIT too, runs at once, MPROC_FOREVER never
 * @fn:		called in the thread of the timers; gives up what it has locked
 * @arg:	handed to @fn
 *
 * Never early. Late by what the scheduler and the functions before it take. Timers of the
 * same time run in the order in which they were started. Beside its memory a timer costs
 * nothing, no descriptor, no thread.
 *
 * Return: 0, -EINVAL if @when is negative, -ENOMEM, -EAGAIN if the system allows no thread.
 */
MPROC_API MPROC_MUST int mproc_timer_start(mproc_timer **ret, int64_t when, void (*fn)(void *arg),
					   void *arg);

/**
 * mproc_timer_cancel() - do not run it
 * @timer:	timer
 *
 * Never waits: whoever needs to know that a function that runs at this moment has come to
 * its end calls mproc_timer_join() after it.
 *
 * Return: 1 if this call has cancelled it: it never runs; 0 if it has run, runs (also if it
 * is the caller itself), or was cancelled before; -ESRCH if it is of the parent process.
 */
MPROC_API int mproc_timer_cancel(mproc_timer *timer);

/**
 * mproc_timer_join() - wait until it has run or was cancelled
 * @timer:	timer
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * May be called by any number of threads, any number of times.
 *
 * Return: 0 when it has run to its end, or MPROC_TIMER_CANCELLED; -EAGAIN or -ETIMEDOUT if
 * it is pending or runs, -EDEADLK in a timer's function, while which no other timer runs,
 * -EINVAL for a negative deadline, -ESRCH if it is of the parent process.
 */
MPROC_API MPROC_MUST int mproc_timer_join(mproc_timer *timer, int64_t deadline);

/**
 * mproc_timer_close() - give up the handle
 * @timer:	timer, or NULL; pending, running or done, also from its own function
 *
 * The timer goes on. No other thread may be inside a call on it.
 *
 * Return: NULL.
 */
MPROC_API mproc_timer *mproc_timer_close(mproc_timer *timer);

MPROC_END_DECLS

#endif /* MPROC_TIMER_H */
