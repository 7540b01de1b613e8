/* SPDX-License-Identifier: MIT */
#ifndef MPROC_RINGLOG_H
#define MPROC_RINGLOG_H

/*
 * The last records of many processes: a flight recorder
 *
 * A ring log keeps the youngest records, as many as fit its bytes or as were asked for, and
 * drops the oldest for new ones. Any process may append; each record gets a sequence number,
 * the time, and its writer's process and thread. Whoever reads is told exactly how many
 * records he has missed. It stays readable, by shmtool as well, when all writers are dead.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one handle at the same time
 *	Fork		inherited handles work in the child: its first call attaches it
 *	Signals		not safe in a signal handler
 *	Killed		a writer killed inside a call has appended its record or not, and
 *			blocks nobody; the oldest records may be gone already that would
 *			have made room for it. Sequence numbers have no gaps.
 *	Removed		mproc_segment_remove() waits for who is inside a call; all that come
 *			after it get -ESTALE, who sleeps in mproc_ringlog_wait() as well
 *	Errors		a negative errno; the call then has had no effect and
 *			has not touched its return parameters
 *
 * Bytes of the segment: the ring and 128. A record takes 32 and its own, rounded up to 8.
 */

#include <stdarg.h>

#include <mproc/common.h>
#include <mproc/segment.h>

MPROC_BEGIN_DECLS

typedef struct mproc_ringlog mproc_ringlog;

/* Zero in any field asks for the default. */
struct mproc_ringlog_opts {
	size_t size;         /* of this struct, set by MPROC_RINGLOG_OPTS() */
	uint64_t bytes;      /* of the ring, 256 or more, rounded up to a power of two; 64 KiB */
	uint64_t n_records;  /* kept at most; default: as many as there is room for */
	uint32_t record_max; /* bytes of the longest record; an eighth of the ring */
};

/* MPROC_RINGLOG_OPTS(.bytes = 1 << 20); C only, evaluates to a pointer. */
#define MPROC_RINGLOG_OPTS(...) \
	(&(const struct mproc_ringlog_opts){ .size = sizeof(struct mproc_ringlog_opts), \
					     __VA_ARGS__ })

/**
 * mproc_ringlog_create() - make a ring log
 * @ret:	the new handle
 * @segment:	where it shall live, or NULL for the default segment
 * @name:	1 to 63 bytes, or NULL for one that only forked children share
 * @opts:	options, or NULL for the defaults
 *
 * Return: 0, or -EEXIST if @name is taken, -EINVAL if the name is none or the options do
 * not fit (a record must fit the ring, less 64 bytes), -E2BIG if @opts uses a field this
 * library does not know, -ENOSPC if the segment is full, -ENOMEM, or as
 * mproc_segment_default().
 */
MPROC_API MPROC_MUST int mproc_ringlog_create(mproc_ringlog **ret, mproc_segment *segment,
					      const char *name,
					      const struct mproc_ringlog_opts *opts);

/**
 * mproc_ringlog_open() - find a ring log
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @name:	its name
 *
 * Return: 0, or -ENOENT if nothing has that name, -EEXIST if something else than a ring log
 * has it, -EBADMSG if it is impossible, -EINVAL, -ENOMEM.
 */
MPROC_API MPROC_MUST int mproc_ringlog_open(mproc_ringlog **ret, mproc_segment *segment,
					    const char *name);

/**
 * mproc_ringlog_open_or_create() - find a ring log, or make it
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @name:	its name
 * @opts:	options if it is made, or NULL for the defaults; one that is there is taken as
 *		it is
 *
 * Return: 1 if it was made, 0 if it was there, or as the two calls above.
 */
MPROC_API MPROC_MUST int mproc_ringlog_open_or_create(mproc_ringlog **ret, mproc_segment *segment,
						      const char *name,
						      const struct mproc_ringlog_opts *opts);

/**
 * mproc_ringlog_ref() - what names the log in every process, with a name or without one
 * @log:	ring log
 * @ret:	the reference
 *
 * Return: 0, or -ESTALE if it was removed.
 */
MPROC_API MPROC_MUST int mproc_ringlog_ref(mproc_ringlog *log, struct mproc_ref *ret);

/**
 * mproc_ringlog_open_ref() - find a ring log by reference
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @ref:	from mproc_ringlog_ref()
 *
 * Return: 0, or -EINVAL if @ref is another segment's or no object's, -ESTALE if the log was
 * removed, -EEXIST if it is of another kind, -EBADMSG, -ENOMEM.
 */
MPROC_API MPROC_MUST int mproc_ringlog_open_ref(mproc_ringlog **ret, mproc_segment *segment,
						const struct mproc_ref *ref);

/**
 * mproc_ringlog_close() - give up this process's handle
 * @log:	handle, or NULL
 *
 * The log stays in the segment. No other thread may be inside a call on @log.
 *
 * Return: NULL.
 */
MPROC_API mproc_ringlog *mproc_ringlog_close(mproc_ringlog *log);

/**
 * mproc_ringlog_append() - add a record, dropping the oldest if there is no room
 * @log:	ring log
 * @bytes:	the record; may be NULL if @len is 0
 * @len:	its length in bytes
 * @deadline:	how long to wait for others who are just appending
 *
 * Writers take turns, each for as long as it takes to copy a record. One that is killed is
 * passed over; one that is stopped inside makes the others wait: a flight recorder says
 * MPROC_NOWAIT and goes without.
 *
 * Return: 0, -EMSGSIZE if @len is more than record_max, -EAGAIN or -ETIMEDOUT if somebody
 * was appending all the time, -EINVAL for a negative deadline, -EBADMSG if the log's
 * cursors are corrupt, -ENOTCONN, -EUSERS, -EROFS.
 */
MPROC_API MPROC_MUST int mproc_ringlog_append(mproc_ringlog *log, const void *bytes, size_t len,
					      int64_t deadline);

/**
 * mproc_ringlog_printf() - add a record of text
 * @log:	ring log
 * @deadline:	as of mproc_ringlog_append()
 * @fmt:	as of printf(3); the record has no NUL and no newline but what is in the text
 *
 * Return: 0, or 1 if the text was cut to record_max or 4 KiB; -EINVAL if it cannot be
 * formatted, or as mproc_ringlog_append().
 */
MPROC_API MPROC_MUST int mproc_ringlog_printf(mproc_ringlog *log, int64_t deadline, const char *fmt,
					      ...) __attribute__((__format__(__printf__, 3, 4)));

/* mproc_ringlog_vprintf() - the same by a list of arguments */
MPROC_API MPROC_MUST int mproc_ringlog_vprintf(mproc_ringlog *log, int64_t deadline,
					       const char *fmt, va_list ap)
	__attribute__((__format__(__printf__, 3, 0)));

/* Where a reader stands; private to him. MPROC_RINGLOG_ITER is before the oldest record. */
struct mproc_ringlog_iter {
	uint64_t pos;      /* for the library */
	uint64_t seq;      /* of the record to come next */
	uint64_t n_missed; /* so far, in all */
	uint32_t begun;    /* 0: where the oldest record is, wherever that is by then */
	uint32_t reserved;
};

#define MPROC_RINGLOG_ITER \
	{ \
		0, 0, 0, 0, 0 \
	}

struct mproc_ringlog_record {
	uint64_t seq;      /* 0, 1, 2 ... without gaps */
	uint64_t n_missed; /* that were dropped before this reader came to them, just before this */
	int64_t time;      /* CLOCK_REALTIME, ns */
	uint32_t pid;      /* of the writer, as its PID namespace numbers it */
	uint32_t tid;      /* of its thread, likewise */
	size_t len;        /* bytes */
};

/**
 * mproc_ringlog_next() - the next record
 * @log:	ring log
 * @iter:	where the reader stands; moved on
 * @ret:	what there is to say of the record
 * @buf:	where to copy its bytes
 * @cap:	bytes of @buf; mproc_ringlog_record_max() always suffice
 *
 * Never waits for writers, but that after 64 records were dropped while it copied them it
 * keeps writers out for one copy, for which it tries to have the lock for at most 50 ms, a
 * few times. It writes nothing otherwise.
 *
 * Return: 1 for a record, 0 if there is none (yet), -ENOBUFS if it has more than @cap bytes
 * (the text says how many; it stays the next one), -EINVAL if @iter is not one of this log,
 * -EBADMSG if the log is corrupt (a record that was scribbled over goes when there is no
 * room left: all that is there is dropped then), -EAGAIN if it was overtaken 64 times, again
 * and again, and may not write or could not have the lock.
 * @buf may have been written to whatever is returned.
 */
MPROC_API MPROC_MUST int mproc_ringlog_next(mproc_ringlog *log, struct mproc_ringlog_iter *iter,
					    struct mproc_ringlog_record *ret, void *buf,
					    size_t cap);

/**
 * mproc_ringlog_wait() - wait until there is a record
 * @log:	ring log
 * @iter:	where the reader stands
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * Return: 0, -EAGAIN or -ETIMEDOUT if none came in time, -EINVAL for a negative deadline,
 * -ENOTCONN, -EUSERS, -EROFS.
 */
MPROC_API MPROC_MUST int
mproc_ringlog_wait(mproc_ringlog *log, const struct mproc_ringlog_iter *iter, int64_t deadline);

/**
 * mproc_ringlog_seek() - stand before a record of that number
 * @log:	ring log
 * @iter:	where the reader stands; moved
 * @seq:	sequence number; UINT64_MAX: behind the youngest record, to see what comes
 *
 * One that was dropped already counts as missed, as do those behind it up to the oldest.
 *
 * Return: 0, -EINVAL if no record has had that number yet, or as mproc_ringlog_next().
 */
MPROC_API MPROC_MUST int mproc_ringlog_seek(mproc_ringlog *log, struct mproc_ringlog_iter *iter,
					    uint64_t seq);

/* mproc_ringlog_record_max() - bytes of the longest record there can be */
MPROC_API size_t mproc_ringlog_record_max(const mproc_ringlog *log);

struct mproc_ringlog_stats {
	uint64_t n_appended; /* records, ever: the number of the next one */
	uint64_t n_records;  /* that are there */
	uint64_t bytes;      /* that these take in the ring */
	uint64_t bytes_max;  /* of the ring */
};

/**
 * mproc_ringlog_stats() - how full it is
 * @log:	ring log
 * @ret:	filled; n_records may be of another moment than the others if somebody is appending
 *
 * Return: 0, -EBADMSG if the log is corrupt, -EAGAIN as mproc_ringlog_next().
 */
MPROC_API MPROC_MUST int mproc_ringlog_stats(mproc_ringlog *log, struct mproc_ringlog_stats *ret);

MPROC_END_DECLS

#endif /* MPROC_RINGLOG_H */
