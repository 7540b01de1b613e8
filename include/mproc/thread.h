/* SPDX-License-Identifier: MIT */
#ifndef MPROC_THREAD_H
#define MPROC_THREAD_H

/*
 * Threads of this process: started, named, joined, counted
 *
 * What Python's threading adds to pthreads: a thread has a name, a number of its own
 * and a result; whoever joins it has a deadline; a failure nobody looks at is told; the
 * process does not end before its threads have, unless they are daemons. All of it is
 * private to the process. Locks between threads are those of <mproc/mutex.h> or pthread
 * ones.
 *
 * A thread is alive until its function has returned and the destructors of its
 * thread-specific data (those of <mproc/local.h> too) have run. A thread that ends while
 * it owns something in shared memory counts as dead there: a mutex passes on as
 * inherited, and whoever has joined the thread finds it so at once.
 *
 * When the process ends by exit(3) or by return from main(), threads that are no daemons
 * are waited for. That is one atexit(3) handler, registered by the first call that starts
 * a thread: handlers registered after that run before it, while threads still run, those
 * registered before that run after it, when all but daemons have ended. A thread that
 * calls exit() itself does not wait for itself, nor for who has joined it for ever.
 * _exit(2), and with it the end of a pool's worker, waits for nobody.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one mproc_thread at the same time
 *	Fork		only the thread that forks is in the child; it is the main thread
 *			there. The others have ended there: joining them is -ESRCH, unless
 *			they had been joined before
 *	Signals		not safe in a signal handler; a thread starts with the signal mask
 *			of the one that starts it. No call is a cancellation point
 *	Killed		nothing here writes shared memory
 *	Errors		a negative errno; the call then has had no effect and
 *			has not touched its return parameters
 */

#include <mproc/common.h>

MPROC_BEGIN_DECLS

typedef struct mproc_thread mproc_thread;

/* Bytes of a name, its terminating NUL included. */
#define MPROC_THREAD_NAME_SIZE 64

/* What mproc_thread_join() says of a thread that has ended by failing. */
#define MPROC_THREAD_FAILED 1

enum mproc_thread_flags {
	MPROC_THREAD_DAEMON = 1, /* the process may end before the thread does */
};

/* Zero in any field asks for the default. */
struct mproc_thread_opts {
	size_t size;       /* of this struct, set by MPROC_THREAD_OPTS() */
	const char *name;  /* 1 to 63 bytes, copied; default "thread-IDENT" */
	size_t stack_size; /* bytes; default mproc_thread_stack_size() */
	uint32_t flags;    /* of enum mproc_thread_flags; not inherited from who starts it */
};

/* MPROC_THREAD_OPTS(.name = "reader"); C only, evaluates to a pointer. */
#define MPROC_THREAD_OPTS(...) \
	(&(const struct mproc_thread_opts){ .size = sizeof(struct mproc_thread_opts), __VA_ARGS__ })

/**
 * mproc_thread_start() - run a function in a thread of its own
 * @ret:	the thread, with one reference; or NULL, if nobody is going to ask
 * @fn:		the function: stores a result in *@result (0 before) and returns 0 or more,
 *		or fails with a negative errno, with a text by mproc_task_fail() or by the
 *		mproc call that failed. A pointer is a result as (intptr_t)pointer
 * @arg:	handed to @fn
 * @opts:	options, or NULL for the defaults
 *
 * A thread that leaves @fn by pthread_exit(3) or pthread_cancel(3) has failed with
 * -ECANCELED, which the error hook is not told.
 *
 * Return: 0, -EINVAL if a name, a stack size or a flag is out of range, -E2BIG if @opts
 * uses a field this library does not know, -EAGAIN if the system allows no more threads,
 * -ENOMEM.
 */
MPROC_API MPROC_MUST int mproc_thread_start(mproc_thread **ret,
					    int (*fn)(void *arg, int64_t *result), void *arg,
					    const struct mproc_thread_opts *opts);

/**
 * mproc_thread_join() - wait for the end of a thread
 * @thread:	thread that mproc_thread_start() started
 * @ret:	its result, or its negative errno if it has failed; or NULL
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * May be called by any number of threads, any number of times. When it returns 0 or more
 * nothing of the thread is left but its result. A thread whose last steps have begun is
 * waited for, whatever the deadline.
 *
 * Return: 0, or MPROC_THREAD_FAILED: the thread has ended by failing, and
 * mproc_error_text() is the text it left; -EAGAIN or -ETIMEDOUT if it is still alive,
 * -EDEADLK if the caller is @thread, or if @thread, waiting without deadline, waits in
 * turn for the caller, who wants to wait without deadline; -EINVAL for a negative
 * deadline or a thread that was not started by mproc_thread_start() (the main one for
 * instance), -ESRCH if the thread is of the parent process, not in this forked child, and had
 * not been joined before the fork.
 */
MPROC_API MPROC_MUST int mproc_thread_join(mproc_thread *thread, int64_t *ret, int64_t deadline);

/**
 * mproc_thread_is_alive() - has it not ended?
 * @thread:	thread
 *
 * Return: 1 from the start, 0 from the end.
 */
MPROC_API int mproc_thread_is_alive(mproc_thread *thread);

/**
 * mproc_thread_is_daemon() - may the process end before it does?
 * @thread:	thread
 *
 * Return: 1 for those started so and for those that mproc_thread_start() did not start,
 * else 0; 0 for the main thread.
 */
MPROC_API int mproc_thread_is_daemon(mproc_thread *thread);

/**
 * mproc_thread_name() - its name
 * @thread:	thread
 * @ret:	MPROC_THREAD_NAME_SIZE bytes for it
 */
MPROC_API void mproc_thread_name(mproc_thread *thread, char ret[MPROC_THREAD_NAME_SIZE]);

/**
 * mproc_thread_set_name() - give it another name
 * @thread:	thread
 * @name:	1 to 63 bytes, copied
 *
 * The first 15 bytes, less a character that would be cut, are the kernel's name of the
 * thread too, which ps(1) and debuggers show; and shmtool, if the thread has it when it
 * first uses a segment. The main thread's is the process's, and stays as it is.
 *
 * Return: 0, or -EINVAL for a name that is empty or too long.
 */
MPROC_API MPROC_MUST int mproc_thread_set_name(mproc_thread *thread, const char *name);

/**
 * mproc_thread_ident() - the number of a thread
 * @thread:	thread
 *
 * Return: more than 0; no two threads of a process ever have the same one.
 */
MPROC_API uint64_t mproc_thread_ident(mproc_thread *thread);

/**
 * mproc_thread_native_id() - the kernel's number of a thread
 * @thread:	thread
 *
 * Waits, for some microseconds, until a thread that was just started has begun. The
 * kernel may give the number to another when the thread has ended.
 *
 * Return: what gettid(2) says in the thread.
 */
MPROC_API int mproc_thread_native_id(mproc_thread *thread);

/**
 * mproc_thread_current() - the calling thread
 *
 * Return: the thread, without a reference: valid until it ends, or as long as somebody
 * has one; NULL with a text if a thread that mproc_thread_start() did not start is unknown
 * so far and there is no memory for it, or if it is in the last of its destructors.
 */
MPROC_API mproc_thread *mproc_thread_current(void);

/**
 * mproc_thread_main() - the main thread
 *
 * In a forked child that is the thread that forked.
 *
 * Return: the thread, without a reference: valid until the process ends or forks.
 */
MPROC_API mproc_thread *mproc_thread_main(void);

/**
 * mproc_thread_enumerate() - all that are alive
 * @ret:	room for @cap threads, each with a reference of its own that the caller gives
 *		up by mproc_thread_unref(); in the order of their numbers
 * @cap:	how many there is room for
 *
 * The main one, those started by mproc_thread_start(), and those others that have called
 * mproc_thread_current().
 *
 * Return: how many are alive; if that is more than @cap, @ret has the first @cap.
 */
MPROC_API size_t mproc_thread_enumerate(mproc_thread **ret, size_t cap);

/**
 * mproc_thread_n_active() - how many are alive
 *
 * Return: as mproc_thread_enumerate().
 */
MPROC_API size_t mproc_thread_n_active(void);

/**
 * mproc_thread_set_error_hook() - say who is told of threads that fail
 * @fn:		called in the thread whose function has returned a negative errno @code,
 *		before its destructors run; @text is never empty. NULL for the default: one
 *		line to the log (<mproc/error.h>)
 * @arg:	handed to @fn
 *
 * The hook is called whether or not somebody is going to join the thread. Threads that
 * are failing just now may still call the former one when this returns.
 */
MPROC_API void mproc_thread_set_error_hook(void (*fn)(mproc_thread *thread, int code,
						      const char *text, void *arg),
					   void *arg);

/**
 * mproc_thread_stack_size() - bytes of stack that threads get from now on
 *
 * Return: bytes, 0 (the default) for what the system says (RLIMIT_STACK).
 */
MPROC_API size_t mproc_thread_stack_size(void);

/**
 * mproc_thread_set_stack_size() - change it
 * @size:	64 KiB to 1 TiB, rounded up to whole pages, or 0 for the system's default
 *
 * Return: 0, or -EINVAL if it is out of range.
 */
MPROC_API MPROC_MUST int mproc_thread_set_stack_size(size_t size);

/**
 * mproc_thread_ref() - one more reference
 * @thread:	thread
 *
 * Return: @thread.
 */
MPROC_API mproc_thread *mproc_thread_ref(mproc_thread *thread);

/**
 * mproc_thread_unref() - give up a reference
 * @thread:	thread, or NULL
 *
 * The thread itself goes on, and is waited for at exit if it is no daemon.
 *
 * Return: NULL.
 */
MPROC_API mproc_thread *mproc_thread_unref(mproc_thread *thread);

MPROC_END_DECLS

#endif /* MPROC_THREAD_H */
