/* SPDX-License-Identifier: MIT */
#ifndef MPROC_QUEUE_H
#define MPROC_QUEUE_H

/*
 * Bounded queue of messages between processes
 *
 * A queue carries whole messages, first in first out, between any number of
 * putters and getters in any number of processes. It lives in a segment, where
 * it is found by name; an mproc_queue is one process's handle on it. Order is
 * strict: messages are got in the order in which they were put, whoever put
 * them. Longer messages travel as memory of the segment and a reference, so a
 * full segment is an error of mproc_queue_put().
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one handle at the same time
 *	Fork		inherited handles work in the child: its first call attaches it
 *	Signals		not safe in a signal handler
 *	Killed		a process killed inside a call leaves the queue usable and every
 *			message whole: the call has happened in full or not at all. A
 *			message whose getter is killed after the queue let go of it and
 *			before the call returned has been taken by the dead (at most once
 *			delivery); n_died of the statistics bounds how many those are
 *	Errors		a negative errno; the call then has had no effect and
 *			has not touched its return parameters
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <mproc/common.h>
#include <mproc/segment.h>

MPROC_BEGIN_DECLS

typedef struct mproc_queue mproc_queue;

/* Limits of the options. */
#define MPROC_QUEUE_DEPTH_MAX (1u << 22)
#define MPROC_QUEUE_MSG_MAX   (1u << 30)
#define MPROC_QUEUE_BYTES_MAX (UINT64_C(1) << 36)

/* Zero in any field asks for the default. */
struct mproc_queue_opts {
	size_t size;      /* of this struct, set by MPROC_QUEUE_OPTS() */
	uint32_t depth;   /* messages held at most; default 64 */
	uint32_t msg_max; /* bytes in the longest message; default 65,536 */
	/*
	 * Bytes of the ring, rounded up to a power of two, at least 1,024. By default
	 * enough for @depth messages, whatever their lengths: then the depth alone
	 * bounds the queue. With less, a put may have to wait for bytes as well. Each
	 * message takes its own bytes and 8 to 15 more; a long one takes 16, and memory
	 * of the segment while it is queued. Long is more than 4,096 bytes, or 1,024
	 * where msg_max exceeds 4,096, or an eighth of a ring given here.
	 */
	uint64_t bytes;
};

/* MPROC_QUEUE_OPTS(.depth = 8, .msg_max = 64); C only, evaluates to a pointer. */
#define MPROC_QUEUE_OPTS(...) \
	(&(const struct mproc_queue_opts){ .size = sizeof(struct mproc_queue_opts), __VA_ARGS__ })

/**
 * mproc_queue_create() - make a queue
 * @ret:	the new handle
 * @segment:	where it shall live, or NULL for the default segment
 * @name:	1 to 63 bytes, or NULL for a queue that only forked children share
 * @opts:	options, or NULL for the defaults
 *
 * Return: 0, or -EEXIST if @name is taken, -EINVAL if the name or an option is
 * out of range, -E2BIG if @opts uses a field this library does not know, -ENOSPC
 * if the segment has no room for the ring, -ENOMEM, or as
 * mproc_segment_default().
 */
MPROC_API MPROC_MUST int mproc_queue_create(mproc_queue **ret, mproc_segment *segment,
					    const char *name, const struct mproc_queue_opts *opts);

/**
 * mproc_queue_open() - find a queue
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @name:	its name
 *
 * Return: 0, or -ENOENT if nothing has that name, -EEXIST if something else than
 * a queue has it, -EPROTO if it is a queue of another layout, -EBADMSG if its
 * geometry is impossible, -EINVAL, -ENOMEM.
 */
MPROC_API MPROC_MUST int mproc_queue_open(mproc_queue **ret, mproc_segment *segment,
					  const char *name);

/**
 * mproc_queue_open_or_create() - find a queue, or make it
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @name:	its name
 * @opts:	options for a new one, or NULL for the defaults; fields of a queue that
 *		is there already may differ only where they are zero here
 *
 * Return: 1 if it was made, 0 if it was there, or -EPROTO if what is there
 * differs from @opts (the text names both), and as the two calls above.
 */
MPROC_API MPROC_MUST int mproc_queue_open_or_create(mproc_queue **ret, mproc_segment *segment,
						    const char *name,
						    const struct mproc_queue_opts *opts);

/**
 * mproc_queue_close() - give up this process's handle
 * @queue:	handle, or NULL
 *
 * The queue and its messages stay in the segment. No other thread may be inside
 * a call on @queue.
 *
 * Return: NULL.
 */
MPROC_API mproc_queue *mproc_queue_close(mproc_queue *queue);

/**
 * mproc_queue_put() - append one message
 * @queue:	queue
 * @msg:	message; may be NULL if @len is 0
 * @len:	its length in bytes
 * @deadline:	how long to wait for room, see <mproc/common.h>
 *
 * With MPROC_NOWAIT the call waits for nobody's get; for a neighbour who is in
 * the middle of a put it waits up to 10 ms.
 *
 * Return: 0 once a getter can see the message, or -EMSGSIZE if @len exceeds the
 * queue's msg_max, -EAGAIN or -ETIMEDOUT if there was no room in time, -EPIPE
 * after mproc_queue_shutdown(), -ENOSPC if the segment has no memory for a long
 * message, -EBADMSG if the queue is corrupt, -EINVAL for a negative deadline,
 * -EUSERS or -ENOTCONN if this thread cannot attach.
 */
MPROC_API MPROC_MUST int mproc_queue_put(mproc_queue *queue, const void *msg, size_t len,
					 int64_t deadline);

/**
 * mproc_queue_get() - take the oldest message
 * @queue:	queue
 * @buf:	where to copy it; may be NULL if @cap is 0
 * @cap:	room at @buf in bytes
 * @ret_len:	length of the message in bytes; may be NULL
 * @deadline:	how long to wait for a message
 *
 * With MPROC_NOWAIT the call waits for nobody's put; for a neighbour who is in
 * the middle of a get it waits up to 10 ms.
 *
 * Return: 0, or -ENOBUFS if the message is longer than @cap (it stays where it
 * is; mproc_queue_next_len() and the error text tell its length), -EAGAIN or
 * -ETIMEDOUT if none came in time, -EPIPE once the queue is shut down and empty,
 * -EBADMSG if the queue is corrupt, -EINVAL for a negative deadline, -EUSERS or
 * -ENOTCONN if this thread cannot attach.
 */
MPROC_API MPROC_MUST int mproc_queue_get(mproc_queue *queue, void *buf, size_t cap, size_t *ret_len,
					 int64_t deadline);

/**
 * mproc_queue_put_many() - append messages in their order
 * @queue:	queue
 * @msgs:	messages: iov_base (NULL if the length is 0) and iov_len in bytes
 * @n:		how many; 0 does nothing
 * @deadline:	how long to wait for room
 *
 * Faster than one by one: neighbours in @msgs are published and getters woken at
 * once. Messages of other putters may come between. A putter killed inside has
 * put the first few or all of them.
 *
 * Return: how many were put, which is @n or, once at least one is put, fewer if
 * the deadline came or any error of mproc_queue_put() would have; else that error.
 */
MPROC_API MPROC_MUST int mproc_queue_put_many(mproc_queue *queue, const struct iovec *msgs,
					      size_t n, int64_t deadline);

/**
 * mproc_queue_get_many() - take the oldest messages
 * @queue:	queue
 * @buf:	where to copy them, one behind the other, each aligned to 8 bytes
 *		relative to @buf; may be NULL if @cap is 0
 * @cap:	room at @buf in bytes
 * @ret_msgs:	@n entries: set to where in @buf each message is, and its length
 * @n:		messages wanted at most, at least 1
 * @deadline:	how long to wait for the first message
 *
 * Takes what is there when the first message is: never waits for a second one.
 *
 * Return: how many were taken, at least 1, or the errors of mproc_queue_get(),
 * -ENOBUFS if not even the first fits, and -EINVAL if @n is 0.
 */
MPROC_API MPROC_MUST int mproc_queue_get_many(mproc_queue *queue, void *buf, size_t cap,
					      struct iovec *ret_msgs, size_t n, int64_t deadline);

/**
 * mproc_queue_next_len() - the length of the oldest message
 * @queue:	queue
 * @ret_len:	its length in bytes
 * @deadline:	how long to wait for a message
 *
 * The message stays; another getter may take it before this process does.
 *
 * Return: 0, or the errors of mproc_queue_get() except -ENOBUFS.
 */
MPROC_API MPROC_MUST int mproc_queue_next_len(mproc_queue *queue, size_t *ret_len,
					      int64_t deadline);

/**
 * mproc_queue_shutdown() - refuse further messages, wake every waiter
 * @queue:	queue
 *
 * Puts that begin after it has returned fail with -EPIPE, and so do those that
 * wait for room; gets go on until the queue is empty. Holds for all processes
 * and cannot be undone. Never waits.
 *
 * Return: 0, or -EUSERS or -ENOTCONN if this thread cannot attach.
 */
MPROC_API int mproc_queue_shutdown(mproc_queue *queue);

/**
 * mproc_queue_is_shutdown() - has somebody called mproc_queue_shutdown()?
 * @queue:	queue
 *
 * Return: true or false.
 */
MPROC_API bool mproc_queue_is_shutdown(const mproc_queue *queue);

/**
 * mproc_queue_n_messages() - how many messages are queued
 * @queue:	queue
 *
 * Return: a number that was exact at some instant during the call, from 0 to the
 * queue's depth.
 */
MPROC_API uint32_t mproc_queue_n_messages(const mproc_queue *queue);

/**
 * mproc_queue_is_empty() - is no message queued?
 * @queue:	queue
 *
 * Return: what was true at some instant during the call.
 */
MPROC_API bool mproc_queue_is_empty(const mproc_queue *queue);

/**
 * mproc_queue_is_full() - would a put of the longest message have to wait?
 * @queue:	queue
 *
 * Return: what was true at some instant during the call.
 */
MPROC_API bool mproc_queue_is_full(const mproc_queue *queue);

/* What has happened to a queue, in all processes together. */
struct mproc_queue_stats {
	uint32_t depth;       /* messages held at most */
	uint32_t msg_max;     /* bytes in the longest message */
	uint64_t bytes;       /* of the ring */
	uint64_t n_messages;  /* queued now */
	uint64_t n_puts;      /* messages ever put */
	uint64_t n_gets;      /* messages ever got; n_puts - n_gets are queued */
	uint64_t bytes_put;   /* in those put; a kill inside a call may lose its share */
	uint64_t bytes_got;   /* in those got; likewise */
	uint64_t n_put_waits; /* puts that found no room at first */
	uint64_t n_get_waits; /* gets that found no message at first */
	uint64_t n_died;      /* calls whose process died inside them, as far as reaped */
};

/**
 * mproc_queue_stats() - counters and limits
 * @queue:	queue
 * @ret:	filled; n_messages, n_puts and n_gets belong to one instant
 * @size:	sizeof(*@ret), so that a program and a newer library agree; what
 *		lies beyond the fields the library knows is zeroed
 */
MPROC_API void mproc_queue_stats(const mproc_queue *queue, struct mproc_queue_stats *ret,
				 size_t size);

MPROC_END_DECLS

#endif /* MPROC_QUEUE_H */
