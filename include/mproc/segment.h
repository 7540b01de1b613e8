/* SPDX-License-Identifier: MIT */
#ifndef MPROC_SEGMENT_H
#define MPROC_SEGMENT_H

/*
 * Segments: shared memory that is the home of everything else
 *
 * Locks, values, arrays, queues and pools live in a segment and are found by
 * name in its catalogue. A segment is anonymous (shared by inheritance) or has
 * a name, which is the file mproc.NAME in MPROC_DIR, by default /dev/shm.
 *
 * A segment grows while it is in use, up to a maximum that is given when it is made:
 * what finds no room in it makes it larger, in any process, and the others notice
 * when they come upon something that lies there. Addresses stay what they are. All
 * memory is allocated before anybody can touch it: a full filesystem is an error of
 * the call that wanted more, with the bytes wanted and those left, never a SIGBUS
 * later. Memory goes back to the system with the segment. Where a call takes a segment,
 * NULL means the default segment: an anonymous one, made by the first call that
 * needs it and shared with children forked after that.
 *
 * Everybody may write to /dev/shm. A name that another user has taken, with whatever
 * kind of file, alive or left over, is -EPERM in every call, and the file is left as it
 * was; only MPROC_SEGMENT_ANY_OWNER lets one attach to it. A symbolic link is not
 * followed, whoever made it. A file of the caller's or of root's is believed to be meant.
 * How many names it has is not looked at, since a creator who is killed where files
 * cannot be without a name leaves two: who may make hard links to files that are not his
 * (fs.protected_hardlinks=0) can give a user's segment a second name. Under both it is
 * that one segment, with that user's permissions; removing one leaves the other.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one handle at the same time
 *	Fork		inherited handles work in the child: its first call attaches it
 *	Signals		not safe in a signal handler
 *	Killed		a process killed inside a call leaves no half-made segment and
 *			no half-made object; the last one out is cleaned up after by
 *			whoever comes next to the name, or by shmtool gc
 *	Errors		a negative errno; the call then has had no effect and
 *			has not touched its return parameters
 */

#include <mproc/common.h>
#include <mproc/ref.h>

MPROC_BEGIN_DECLS

typedef struct mproc_segment mproc_segment;

/* Bytes in the longest name of a segment, its NUL not counted. */
#define MPROC_SEGMENT_NAME_MAX 200

enum mproc_segment_flags {
	MPROC_SEGMENT_PERSISTENT = 1, /* the name outlives the last process */
	MPROC_SEGMENT_DUMP = 2,       /* let core files contain the segment */
	MPROC_SEGMENT_DEADLOCK =
		4, /* what would wait in a cycle gets -EDEADLK: <mproc/deadlock.h> */
	MPROC_SEGMENT_LOCK_ORDER = 8, /* record in which order locks are taken: the same */
	MPROC_SEGMENT_HUGE = 16,      /* ask for huge pages; statistics say how many came */
	MPROC_SEGMENT_GID = 32,       /* the file is group .gid's */
	/* Of mproc_segment_attach(): */
	MPROC_SEGMENT_READ_ONLY = 64,  /* look, change nothing, take no process slot */
	MPROC_SEGMENT_ANY_OWNER = 128, /* another user's is welcome as well */
};

/* Zero in any field asks for the default. */
struct mproc_segment_opts {
	size_t size;        /* of this struct, set by MPROC_SEGMENT_OPTS() */
	uint64_t bytes;     /* of memory it begins with, its tables included; default 16 MiB */
	uint64_t bytes_max; /* it may become; default: bytes, or 16 GiB if neither is given */
	uint32_t mode;      /* permission bits; default 0600 */
	uint32_t processes; /* attached at the same time; default 64, at most 4,096 */
	uint32_t threads;   /* of all processes; default 256, at most 16,383 */
	uint32_t objects;   /* in the catalogue; default 512, at most 65,536 */
	uint32_t flags;     /* of enum mproc_segment_flags */
	uint32_t gid;       /* group of the file, with MPROC_SEGMENT_GID */
	const char *dir;    /* where the name shall be; default MPROC_DIR, or /dev/shm */
};

/* MPROC_SEGMENT_OPTS(.bytes = 1 << 20); C only, evaluates to a pointer. */
#define MPROC_SEGMENT_OPTS(...) \
	(&(const struct mproc_segment_opts){ .size = sizeof(struct mproc_segment_opts), \
					     __VA_ARGS__ })

/**
 * mproc_segment_create() - make a segment
 * @ret:	the new handle
 * @name:	1 to MPROC_SEGMENT_NAME_MAX bytes without a slash, not starting
 *		with a dot, or NULL for an anonymous segment
 * @opts:	options, or NULL for the defaults
 *
 * The name appears when the segment is complete: nobody can open half of one. A
 * name whose processes are all gone, unless persistent, counts as free.
 *
 * .dir is a directory on any filesystem that can allocate in advance (fallocate(2)) and
 * lock (F_OFD_SETLK): ext4, xfs, btrfs and tmpfs can. On a disk the segment is a file like
 * another, in memory while it is used: see mproc_segment_sync(). Who opens it says the
 * same directory to mproc_segment_attach(), or mproc_segment_open_or_create().
 *
 * With MPROC_SEGMENT_GID and a .mode of 0660 the processes of group .gid can attach, who
 * say MPROC_SEGMENT_ANY_OWNER; 0640 lets them look. In a sticky directory only the owner
 * can remove the name: a last one out who is of the group leaves it to him.
 *
 * Return: 0, or -EEXIST if @name is in use, -EINVAL if the name or an option is
 * out of range, -E2BIG if @opts uses a field this library does not know, -ENOSPC
 * if the filesystem has no room, -EOPNOTSUPP if it cannot allocate in advance, -ENOMEM if the
 * memory cgroup or the address space has none, -EPERM if the name belongs to another
 * user's file, or the group may not be given, -ENOTSUP if file locks are no proof of life
 * on this filesystem, -EMFILE if this process has 64 segments already, -EBUSY if a process
 * that stands still is in the middle of opening or removing a leftover of that name, or
 * what open(2), fallocate(2) and mmap(2) report.
 */
MPROC_API MPROC_MUST int mproc_segment_create(mproc_segment **ret, const char *name,
					      const struct mproc_segment_opts *opts);

/**
 * mproc_segment_open() - attach to a named segment
 * @ret:	the handle; a second open in one process shares the mapping
 * @name:	its name
 *
 * Return: 0, or -ENOENT if there is none (or only one whose processes are all
 * gone and which is not persistent), -EPERM if it belongs to another user or is
 * writable by others than its owner asked for, -EPROTO if it is not a segment or
 * of another layout, word size or byte order (the text names both sides),
 * -EBADMSG if its header is impossible, -EUSERS if no process slot is free, and
 * as mproc_segment_create().
 */
MPROC_API MPROC_MUST int mproc_segment_open(mproc_segment **ret, const char *name);

/* Either .name or, if that is NULL, .fd says which. Zero elsewhere asks for the default. */
struct mproc_segment_attach_opts {
	size_t size;      /* of this struct, set by MPROC_SEGMENT_ATTACH_OPTS() */
	const char *name; /* of the segment */
	const char *dir;  /* where the name is; default MPROC_DIR, or /dev/shm */
	int fd; /* if .name is NULL: a descriptor, which stays the caller's; 0 is standard input */
	uint32_t flags; /* MPROC_SEGMENT_READ_ONLY, MPROC_SEGMENT_ANY_OWNER */
};

/* MPROC_SEGMENT_ATTACH_OPTS(.fd = fd); C only, evaluates to a pointer. */
#define MPROC_SEGMENT_ATTACH_OPTS(...) \
	(&(const struct mproc_segment_attach_opts){ \
		.size = sizeof(struct mproc_segment_attach_opts), __VA_ARGS__ })

/**
 * mproc_segment_attach() - attach to a segment by descriptor, or by name and in another way
 * @ret:	the handle; a second one in the process shares the mapping, but one that is
 *		read-only has its own
 * @opts:	what to attach to and how
 *
 * By name it is mproc_segment_open(). By descriptor (of mproc_segment_fd(), that came by
 * SCM_RIGHTS or pidfd_getfd(2), or was inherited over exec) the segment may be anonymous,
 * may have lost its name, and its other processes may all be gone: the memory lives as
 * long as a descriptor. The descriptor may be closed at once; nothing is locked through
 * it, the file is opened anew, which takes /proc and the file's permission.
 *
 * MPROC_SEGMENT_READ_ONLY maps the segment for reading, takes no slot and writes nothing,
 * so permission to read suffices, and nobody can tell that the process is there: the name
 * goes when all others have. What needs no identity works: finding objects by name or
 * reference, mproc_value_load(), mproc_array_load() and mproc_array_ptr(), is_set and the
 * like of events, latches and onces, reading dicts, namespaces, lists and strings, views of
 * arrays without a lock, references, statistics, iteration. All that would write returns
 * -EROFS; what returns nothing does nothing. To write through an address is a SIGSEGV.
 *
 * MPROC_SEGMENT_ANY_OWNER: the file may be another user's, as a group needs (see .gid).
 * All that is in it is checked, as ever; but its owner can truncate it, which is a SIGBUS
 * here.
 *
 * Return: 0, or as mproc_segment_open(); -EINVAL for unknown flags, or a name and a
 * descriptor; -EBADF; -EPERM if the descriptor is of memory that can be shrunk
 * (F_SEAL_SHRINK); -EACCES if the file may not be opened.
 */
MPROC_API MPROC_MUST int mproc_segment_attach(mproc_segment **ret,
					      const struct mproc_segment_attach_opts *opts);

/**
 * mproc_segment_fd() - a descriptor of the segment, to send or to inherit
 * @segment:	handle, or NULL for the default segment
 *
 * A new one, close-on-exec, the caller's to close. Of a read-only handle it is O_RDONLY;
 * but what a receiver may do is said by the mode of the segment, also of an anonymous one:
 * with 0600 the same user can attach for writing, another one not at all (-EACCES).
 *
 * Return: the descriptor, or -ENOTCONN if the segment cannot be opened again, or as
 * mproc_segment_default().
 */
MPROC_API MPROC_MUST int mproc_segment_fd(mproc_segment *segment);

/**
 * mproc_segment_open_or_create() - attach to a named segment, or make it
 * @ret:	the handle
 * @name:	its name
 * @opts:	options for a new one, or NULL for the defaults
 *
 * Of two processes that call it at the same time one creates and both attach.
 *
 * Return: 1 if it was created, 0 if it was there, or a negative errno as the two
 * calls above.
 */
MPROC_API MPROC_MUST int mproc_segment_open_or_create(mproc_segment **ret, const char *name,
						      const struct mproc_segment_opts *opts);

/**
 * mproc_segment_close() - give up this process's handle
 * @segment:	handle, or NULL
 *
 * With the last handle of the process go its private blocks (<mproc/arena.h>): publish what
 * is to stay.
 *
 * The mapping goes with the last handle of the process; no other thread may be
 * inside a call on the segment then. The last process out removes the name,
 * unless the segment is persistent. A program that ends without this call is
 * cleaned up after all the same.
 *
 * Return: NULL.
 */
MPROC_API mproc_segment *mproc_segment_close(mproc_segment *segment);

/**
 * mproc_segment_unlink() - remove the name of a segment
 * @name:	its name
 *
 * Processes that are attached keep the memory.
 *
 * Return: 0, or -ENOENT, -EINVAL, -EPERM if it is another user's, -EPROTO if it is
 * no file, -EBUSY if a process that stands still is just opening it, or what
 * unlink(2) reports.
 */
MPROC_API MPROC_MUST int mproc_segment_unlink(const char *name);

/**
 * mproc_segment_gc() - remove the name of a segment whose processes are all gone
 * @name:	its name, or NULL: temporary names that creators who were killed have
 *		left in MPROC_DIR where files cannot be without a name
 *
 * Who creates or opens a segment does it as well; this is for names that nobody
 * comes upon any more.
 *
 * Return: 1 if it was removed (NULL: how many), 0 if it is in use or persistent,
 * -ENOENT, -EINVAL, -EPERM if it is another user's, -EPROTO if it is no segment,
 * -EBUSY if a process that stands still is just opening it, or what unlink(2)
 * reports.
 */
MPROC_API MPROC_MUST int mproc_segment_gc(const char *name);

/* The two in another directory than that of segments: @dir as .dir of the options. */
MPROC_API MPROC_MUST int mproc_segment_unlink_in(const char *dir, const char *name);
MPROC_API MPROC_MUST int mproc_segment_gc_in(const char *dir, const char *name);

/**
 * mproc_segment_sync() - wait until the disk has what the segment had
 * @segment:	handle, or NULL for the default segment
 *
 * For segments whose .dir is on a disk; elsewhere there is nothing to wait for. What is
 * written meanwhile may be on the disk or not: so a machine that stops leaves no segment
 * that could be trusted, unless it stood still during the sync and after it.
 *
 * Return: 0, or -EIO and what else fsync(2) and msync(2) report.
 */
MPROC_API MPROC_MUST int mproc_segment_sync(mproc_segment *segment);

/**
 * mproc_segment_default() - the default segment
 * @ret:	its handle, which needs no close
 *
 * To be called, or NULL to be used, before fork(2): children that are the first to use it
 * have one each, and names in it are not shared.
 *
 * Return: 0, or as mproc_segment_create().
 */
MPROC_API MPROC_MUST int mproc_segment_default(mproc_segment **ret);

/**
 * mproc_segment_grow() - make a segment at least this large, now
 * @segment:	segment, or NULL for the default one
 * @bytes:	of memory that it shall take, its tables included
 *
 * Nobody need call this: what finds no room makes the segment larger. It is for those
 * who want to have the memory before they depend on it. A segment never gets smaller.
 * Several may grow it at the same time, and none waits for another process for longer
 * than some milliseconds. A process killed in this call hinders nobody, and what it has
 * allocated is not lost. One that is stopped in it hinders nobody from growing the
 * segment; while it has the arena's lock, for a few hundred instructions, others that
 * allocate large blocks wait for it to go on, as they do in any allocation.
 *
 * Return: 0, or -EINVAL if @bytes is more than the segment's bytes_max, -ENOSPC if
 * the filesystem, the memory cgroup, RLIMIT_FSIZE or this process's addresses (RLIMIT_AS)
 * have no room for it, or the file cannot be reached any more, its descriptor closed and its
 * name gone: the text names both sides. A filesystem that others fill in
 * the same moment may leave the segment a part larger. -EBADMSG if it is corrupt.
 */
MPROC_API MPROC_MUST int mproc_segment_grow(mproc_segment *segment, uint64_t bytes);

/**
 * mproc_segment_object() - find or construct memory of the user's own, by name
 * @ret:	its address, aligned to 64 bytes
 * @segment:	segment, or NULL for the default one
 * @name:	1 to 63 bytes
 * @len:	bytes; must be the same for all who name it
 * @init:	called once, on zeroed memory, before anybody can find the
 *		object: where in-place types are initialised; or NULL
 * @arg:	handed to @init
 *
 * Whoever asks for the name meanwhile waits for the end of @init, or of its process.
 * So @init may make and find other objects, but not wait for one that waits for it.
 * A process killed inside @init leaves nothing behind.
 *
 * Return: 1 if it was constructed, 0 if it was there, or -EINVAL for a bad name
 * or a length of 0, -EEXIST if the name is that of another kind of object or of
 * another length, -ENOSPC if the segment or its catalogue is full, -EDEADLK if @init
 * asks for its own object, -ENOTCONN if this process cannot attach, -EUSERS, or what
 * @init returned if that is negative.
 */
MPROC_API MPROC_MUST int mproc_segment_object(void **ret, mproc_segment *segment, const char *name,
					      size_t len, int (*init)(void *object, void *arg),
					      void *arg);

/**
 * mproc_segment_name() - the name it was made with
 * @segment:	handle
 *
 * Return: the name, "" if anonymous; valid as long as the handle.
 */
MPROC_API const char *mproc_segment_name(const mproc_segment *segment);

/* What an object is. */
enum mproc_object_kind {
	MPROC_OBJECT_VALUE = 5,
	MPROC_OBJECT_ARRAY = 6,
	MPROC_OBJECT_QUEUE = 7,
	MPROC_OBJECT_POOL = 8,
	MPROC_OBJECT_BLOCK = 9, /* of mproc_segment_object() */
	MPROC_OBJECT_DICT = 17,
	MPROC_OBJECT_LIST = 18,
	MPROC_OBJECT_STRING = 19,
	MPROC_OBJECT_NAMESPACE = 20,
	MPROC_OBJECT_RINGLOG = 21,
};

struct mproc_segment_stats {
	size_t size;           /* of this struct, set by MPROC_SEGMENT_STATS */
	uint64_t id;           /* of this segment and no other: what references name */
	uint64_t bytes;        /* of memory, its tables included */
	uint64_t bytes_max;    /* that it may become */
	uint64_t growths;      /* changes of bytes, ever */
	uint64_t used;         /* bytes in blocks in use */
	uint64_t free;         /* bytes that blocks can have */
	uint64_t largest_free; /* bytes of the largest block that could be had at once */
	uint64_t blocks;       /* in use */
	uint64_t bytes_huge;   /* in huge pages of this process, with MPROC_SEGMENT_HUGE */
	uint64_t deaths;       /* processes that went without a close and were cleaned up after */
	uint64_t takeovers;    /* locks that were taken over from the dead */
	uint64_t heals;        /* sleeps that only their time limit ended: 0 unless somebody died */
	uint32_t objects;      /* in the catalogue, with a name or without */
	uint32_t objects_max;
	uint32_t processes; /* alive; those that only read do not count */
	uint32_t processes_max;
	uint32_t threads; /* alive, of those that have made a call in the segment */
	uint32_t threads_max;
};

/* struct mproc_segment_stats stats = MPROC_SEGMENT_STATS; */
#define MPROC_SEGMENT_STATS \
	{ \
		.size = sizeof(struct mproc_segment_stats) \
	}

/**
 * mproc_segment_stats() - numbers about a segment
 * @segment:	handle, or NULL for the default segment
 * @ret:	filled as far as .size says; what only the caller knows of it is zeroed
 *
 * Each number was true at one instant while others go on, not all at the same. Asking
 * the kernel who lives takes about half a microsecond for each process, going through
 * the arena about 2 ns for each 4 KiB, counting huge pages much longer.
 *
 * Return: 0, or -EINVAL if .size is impossible, or as mproc_segment_default().
 */
MPROC_API MPROC_MUST int mproc_segment_stats(mproc_segment *segment,
					     struct mproc_segment_stats *ret);

/* Where one who looks at all objects has got. Private to whoever looks. */
struct mproc_segment_iter {
	uint64_t at;
};

/* struct mproc_segment_iter it = MPROC_SEGMENT_ITER; */
#define MPROC_SEGMENT_ITER \
	{ \
		0 \
	}

struct mproc_segment_info {
	size_t size;           /* of this struct, set by MPROC_SEGMENT_INFO */
	const char *kind_name; /* "value"; valid for ever */
	uint64_t bytes;        /* wanted at its creation; blocks it refers to do not count */
	int64_t since;         /* its creation, CLOCK_REALTIME in ns; 0 if it was not noted */
	struct mproc_ref ref;  /* by which it can be opened */
	uint32_t kind;         /* enum mproc_object_kind, or one that this header does not know */
	char name[64];         /* "" if it has none */
};

/* struct mproc_segment_info info = MPROC_SEGMENT_INFO; */
#define MPROC_SEGMENT_INFO \
	{ \
		.size = sizeof(struct mproc_segment_info) \
	}

/**
 * mproc_segment_next() - the next object of a segment
 * @segment:	handle, or NULL for the default segment
 * @it:		where to go on; MPROC_SEGMENT_ITER at first
 * @ret:	filled as far as .size says
 *
 *	while ((r = mproc_segment_next(segment, &it, &info)) > 0)
 *
 * In no order that means anything. Others may make and remove objects meanwhile: what
 * is there all the time is met exactly once; what comes or goes once or never; and what
 * is told of an object was true of it at one instant. Nothing is locked.
 *
 * Return: 1, 0 if there are no more, or as mproc_segment_stats().
 */
MPROC_API MPROC_MUST int mproc_segment_next(mproc_segment *segment, struct mproc_segment_iter *it,
					    struct mproc_segment_info *ret);

/**
 * mproc_segment_remove() - destroy an object, by name, with its memory
 * @segment:	segment, or NULL for the default one
 * @name:	its name
 *
 * The name is free at once. As with free(3), it is the program's business that nobody
 * uses the object any more: who has it open keeps a handle, but the memory may be another
 * object's by then. All that may be done with such a handle is to close it; an address
 * may not be used at all. A reference to it is found to be stale: opening by one gives
 * -ESTALE, now and for ever. A process killed inside the call has removed it or not.
 *
 * What else the object has in the segment goes with it: the messages of a queue, the
 * entries of a dict, long items of a list. Whoever is inside a call on one of these is
 * waited for, also while he is stopped; who sleeps at a queue wakes up with -EPIPE, and so
 * does who puts to it as long as its memory is nobody else's.
 *
 * Lists and strings know of their removal: all calls on a handle give -ESTALE, and their
 * memory is no other object's as long as somebody is inside a call on them or has their lock.
 * So the call waits for those, without a deadline, also for one who stands still; with
 * MPROC_SEGMENT_DEADLOCK it does not wait for who waits for the caller, and what is left goes
 * back when the caller ends. Who has the lock himself loses it: his unlock gives -ESTALE. Who
 * removes from within a call (the comparison of a sort) does so when he ends, too.
 *
 * Return: 0, or -ENOENT if nothing has that name (or only something that is just being
 * made), -EBUSY if it is a pool whose process lives, or one whose workers still end;
 * -EOPNOTSUPP if it is of a kind that this program does not know, -EINVAL for a name that
 * can be none, -ENOTCONN, -EUSERS, -EROFS.
 */
MPROC_API MPROC_MUST int mproc_segment_remove(mproc_segment *segment, const char *name);

/**
 * mproc_segment_remove_ref() - destroy an object, by reference: also one without a name
 * @segment:	segment, or NULL for the default one
 * @ref:	of an object: from its own function, or mproc_segment_next(); may lie in shared
 *		memory
 *
 * Otherwise as mproc_segment_remove(), but that it is this object or none.
 *
 * Return: 0, or -ESTALE if it is gone already, -EINVAL if @ref is another segment's or no
 * object's, -EBUSY, -EOPNOTSUPP, -ENOTCONN, -EUSERS, -EROFS.
 */
MPROC_API MPROC_MUST int mproc_segment_remove_ref(mproc_segment *segment,
						  const struct mproc_ref *ref);

/**
 * mproc_after_fork() - attach a forked child to what it inherited, now
 *
 * The first use does it as well. For programs that are about to drop privileges
 * or to close all their descriptors.
 *
 * Return: 0, or the first error of an attach (the others are tried all the same).
 */
MPROC_API MPROC_MUST int mproc_after_fork(void);

MPROC_END_DECLS

#endif /* MPROC_SEGMENT_H */
