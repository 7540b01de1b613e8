/* SPDX-License-Identifier: MIT */
#ifndef MPROC_EVENT_H
#define MPROC_EVENT_H

/*
 * A flag that threads of any processes can wait for
 *
 * An event is set or clear. Waiting ends when it is set, and also when it has
 * been set and cleared again since the wait began: a set is never missed. It
 * lies in place, in memory of a segment.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one event at the same time
 *	Fork		an event that lies in an inherited segment works in the child
 *	Signals		mproc_event_set() is async-signal-safe, the others are not
 *	Killed		a call has happened or has not; a setter killed before it woke
 *			the waiters costs them at most 0.25 s
 *	Errors		a negative errno; the call then has had no effect
 */

#include <mproc/common.h>

MPROC_BEGIN_DECLS

/* 16 bytes; never copied or moved while in use. */
typedef struct mproc_event {
	uint64_t opaque[2];
} mproc_event;

/**
 * mproc_event_init() - make an event that is clear
 * @event:	8-byte aligned memory in an attached segment, not in use by anybody
 * @flags:	0; other bits are for versions to come
 *
 * Return: 0, -EINVAL for unknown flags or a misaligned address, -ENOTCONN if
 * @event lies in no attached segment.
 */
MPROC_API MPROC_MUST int mproc_event_init(mproc_event *event, uint32_t flags);

/**
 * mproc_event_destroy() - let later use be an error
 * @event:	event that nobody waits for, or NULL
 */
MPROC_API void mproc_event_destroy(mproc_event *event);

/**
 * mproc_event_set() - set it and wake everybody who waits
 * @event:	event
 *
 * Return: 0, or -EINVAL if there is no event (no text: this call may be made in a
 * signal handler).
 */
MPROC_API int mproc_event_set(mproc_event *event);

/**
 * mproc_event_clear() - clear it
 * @event:	event
 *
 * Return: 0, or -EINVAL if there is no event.
 */
MPROC_API int mproc_event_clear(mproc_event *event);

/**
 * mproc_event_is_set() - is it set at this moment?
 * @event:	event
 *
 * Return: 1, 0, or -EINVAL if there is no event.
 */
MPROC_API int mproc_event_is_set(mproc_event *event);

/**
 * mproc_event_wait() - wait until it is, or has been, set
 * @event:	event
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * Return: 0, -EAGAIN or -ETIMEDOUT, -EINVAL for a negative deadline or memory that
 * holds no event, -ENOTCONN if it lies in no segment that is or can be attached,
 * -EUSERS if the segment has no record left for this process or thread.
 */
MPROC_API MPROC_MUST int mproc_event_wait(mproc_event *event, int64_t deadline);

MPROC_END_DECLS

#endif /* MPROC_EVENT_H */
