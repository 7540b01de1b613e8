/* SPDX-License-Identifier: MIT */

/*
 * Thread-local values: one name, another value in each thread
 *
 *	local		a place in the table of locals, a serial number, its values
 *	thread		its cells, one for each place it has used, and its values
 *	value		in both lists; the cell of its place points to it
 *
 * A place is given out again when its local is closed; the serial number never. A cell says
 * whose value it points to by serial number, so the cells of other threads need no clearing
 * when a local is closed: they are passed over from then on. Getting a value therefore reads
 * the handle and the thread's own memory alone, and takes no lock.
 *
 * Lists change under the one lock. Whoever unlinks a value destroys it, outside the lock:
 * its thread (set, end) or who closes the local. A function of the program's that runs for a
 * local is counted in it, and closing waits until there is none.
 *
 * Visiting holds the lock, so that no value goes away meanwhile. A function that is called
 * then must not come back here for the lock: it is told so. If it forks, the lock is held
 * already, and in the child the visit goes on with what is left there.
 *
 * A thread's end is a destructor of thread-specific data. What makes new values while it
 * runs sets that again, and POSIX runs it again, four rounds in all. What is left then
 * stays in its local until that is closed. The thread's lists are on the heap, since what
 * somebody's destructor makes in the fourth round for the first time is never asked for.
 *
 * fork(2) takes the lock. The child forgets the values of threads that it does not have.
 */

#include <mproc/local.h>

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/error.h"
#include "ipc/opts.h"

#define LOCALS_MAX 65536u

struct value {
	_Atomic(void *) value; /* written by its thread; read by visits */
	mproc_local *local;
	struct thread *thread;                    /* NULL: that has ended */
	struct value *next, **link;               /* of its local */
	struct value *thread_next, **thread_link; /* of its thread */
};

struct mproc_local {
	struct mproc_local_opts opts;
	uint64_t serial;
	uint32_t place;
	uint32_t n_inside; /* functions of it that run now */
	struct value *first;
};

struct cell {
	uint64_t serial;
	struct value *value;
};

struct thread {
	struct cell *cells;
	uint32_t n_cells;
	uint32_t rounds; /* of destructors */
	struct value *first;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t outside = PTHREAD_COND_INITIALIZER; /* a function has returned */
static mproc_local **places;
static uint32_t n_places;
static uint32_t none_free; /* all places below this one are taken */
static uint64_t n_serials;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int init_error;
static pthread_key_t key;

/* A function of the program's that this thread runs for a local. */
struct frame {
	mproc_local *local;
	struct frame *outer;
};

static _Thread_local struct thread *me;
static _Thread_local struct frame *frames;
static _Thread_local struct frame *initialising; /* init functions; not counted */
static _Thread_local bool is_visiting;
static struct value *visit_next; /* under the lock, in which a visit is */

/* Return: 0, or -EDEADLK with a text if this thread has the lock. */
static int lock_all(const char *what, int *ret_was)
{
	if (is_visiting)
		return mproc__fail(-EDEADLK, "%s: called by a function of mproc_local_each()",
				   what);
	/* A thread that was cancelled in here would keep the lock. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, ret_was);
	pthread_mutex_lock(&lock);
	return 0;
}

static void unlock_all(int was)
{
	pthread_mutex_unlock(&lock);
	pthread_setcancelstate(was, &was);
}

/* Under the lock. */
static void value_link(struct value *v, mproc_local *local, struct thread *thread)
{
	v->local = local;
	v->next = local->first;
	v->link = &local->first;
	if (v->next)
		v->next->link = &v->next;
	local->first = v;
	v->thread = thread;
	v->thread_next = thread->first;
	v->thread_link = &thread->first;
	if (v->thread_next)
		v->thread_next->thread_link = &v->thread_next;
	thread->first = v;
}

/* Under the lock: out of its thread's list. */
static void value_leave(struct value *v)
{
	if (!v->thread)
		return;
	*v->thread_link = v->thread_next;
	if (v->thread_next)
		v->thread_next->thread_link = v->thread_link;
	v->thread = NULL;
}

static void value_unlink(struct value *v)
{
	*v->link = v->next;
	if (v->next)
		v->next->link = v->link;
	value_leave(v);
}

/* Under the lock, which is let go of meanwhile: @value is in no list any more. */
static void destroy(mproc_local *local, void *value)
{
	struct frame frame = { local, frames };

	if (!local->opts.destroy || !value)
		return;
	frames = &frame;
	local->n_inside++;
	pthread_mutex_unlock(&lock);
	local->opts.destroy(value, local->opts.arg);
	pthread_mutex_lock(&lock);
	local->n_inside--;
	frames = frame.outer;
	pthread_cond_broadcast(&outside);
}

/* Under the lock: unlink it, destroy it, free it. */
static void value_destroy(struct value *v)
{
	value_unlink(v);
	destroy(v->local, atomic_load_explicit(&v->value, memory_order_relaxed));
	free(v);
}

static void thread_end(void *arg)
{
	struct value *v, *todo;
	int was;

	(void)arg;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	pthread_mutex_lock(&lock);
	/* Those there are now. What their destruction makes is for the next round. */
	todo = me->first;
	me->first = NULL;
	if (todo)
		todo->thread_link = &todo;
	while ((v = todo)) {
		me->cells[v->local->place] = (struct cell){ 0, NULL };
		value_destroy(v);
	}
	/* After the last round nobody comes back for what is left. */
	if (++me->rounds == PTHREAD_DESTRUCTOR_ITERATIONS)
		while (me->first)
			value_leave(me->first);
	if (!me->first) {
		free(me->cells);
		free(me);
		me = NULL;
	}
	unlock_all(was);
}

static void fork_prepare(void)
{
	if (!is_visiting)
		pthread_mutex_lock(&lock);
}

static void fork_parent(void)
{
	if (!is_visiting)
		pthread_mutex_unlock(&lock);
}

/* Without values this thread is unknown, and those that have ended are no thread's. */
static bool is_own(const struct value *v)
{
	return me && v->thread == me;
}

static void fork_child(void)
{
	struct value *v, *next;

	pthread_cond_init(&outside, NULL);
	while (is_visiting && visit_next && !is_own(visit_next))
		visit_next = visit_next->next;
	for (uint32_t i = 0; i < n_places; i++) {
		if (!places[i])
			continue;
		places[i]->n_inside = 0;
		for (v = places[i]->first; v; v = next) {
			next = v->next;
			if (is_own(v))
				continue;
			v->thread = NULL;
			value_unlink(v);
			free(v);
		}
	}
	for (struct frame *f = frames; f; f = f->outer)
		f->local->n_inside++;
	fork_parent();
}

static void init(void)
{
	init_error = -pthread_key_create(&key, thread_end);
	if (init_error == 0)
		init_error = -pthread_atfork(fork_prepare, fork_parent, fork_child);
}

/* Under the lock: a free place. Return: it, or a negative errno. */
static int64_t place_get(void)
{
	mproc_local **larger;
	uint32_t i = none_free, n;

	while (i < n_places && places[i])
		i++;
	none_free = i;
	if (i < n_places)
		return i;
	if (n_places == LOCALS_MAX)
		return mproc__fail(-ENOSPC, "local create: %u are in use, the limit", LOCALS_MAX);
	n = n_places ? 2 * n_places : 16;
	larger = realloc(places, n * sizeof(*places));
	if (!larger)
		return mproc__fail(-ENOMEM, "local create: no memory");
	places = larger;
	memset(places + n_places, 0, (n - n_places) * sizeof(*places));
	n_places = n;
	return i;
}

int mproc_local_create(mproc_local **ret, const struct mproc_local_opts *opts)
{
	mproc_local *local = calloc(1, sizeof(*local));
	int64_t place;
	int r, was;

	if (!local)
		return mproc__fail(-ENOMEM, "local create: no memory");
	r = mproc__opts_copy("local create", &local->opts, sizeof(local->opts), opts);
	if (r < 0)
		goto err;
	pthread_once(&once, init);
	if (init_error < 0) {
		r = mproc__fail_errno(init_error, "local create: prepare this process");
		goto err;
	}
	r = lock_all("local create", &was);
	if (r < 0)
		goto err;
	place = place_get();
	if (place >= 0) {
		local->place = (uint32_t)place;
		local->serial = ++n_serials;
		places[place] = local;
		*ret = local;
	}
	unlock_all(was);
	if (place >= 0)
		return 0;
	r = (int)place;
err:
	free(local);
	return r;
}

/* The calling thread's value, or NULL. */
static struct value *find(const mproc_local *local)
{
	if (me && local->place < me->n_cells && me->cells[local->place].serial == local->serial)
		return me->cells[local->place].value;
	return NULL;
}

/* A cell for it in this thread, whose end will be noticed. Return: 0 or -ENOMEM. */
static int cell_make(const mproc_local *local)
{
	uint32_t n = local->place + 1 < 16 ? 16 : 2 * (local->place + 1);
	struct cell *larger;

	if (!me)
		me = calloc(1, sizeof(*me));
	if (!me)
		return -ENOMEM;
	if (local->place >= me->n_cells) {
		larger = realloc(me->cells, n * sizeof(*larger));
		if (!larger)
			return -ENOMEM;
		memset(larger + me->n_cells, 0, (n - me->n_cells) * sizeof(*larger));
		me->cells = larger;
		me->n_cells = n;
	}
	return -pthread_setspecific(key, me);
}

/* Give the calling thread its first value. */
static int value_make(mproc_local *local, void *value, const char *what)
{
	struct value *v = malloc(sizeof(*v));
	int r, was;

	if (!v || cell_make(local) < 0) {
		free(v);
		return mproc__fail(-ENOMEM, "%s: no memory", what);
	}
	r = lock_all(what, &was);
	if (r < 0) {
		free(v);
		return r;
	}
	atomic_init(&v->value, value);
	value_link(v, local, me);
	me->cells[local->place] = (struct cell){ local->serial, v };
	unlock_all(was);
	return 0;
}

static bool is_among(const struct frame *frame, const mproc_local *local)
{
	while (frame && frame->local != local)
		frame = frame->outer;
	return frame;
}

static void init_left(void *arg)
{
	initialising = ((struct frame *)arg)->outer;
}

/* The thread may end in there: what its destructors ask for must not find this frame. */
static int run_init(mproc_local *local, void **ret)
{
	struct frame frame = { local, initialising };
	int r;

	initialising = &frame;
	pthread_cleanup_push(init_left, &frame);
	r = local->opts.init(ret, local->opts.arg);
	pthread_cleanup_pop(1);
	return r;
}

/* The thread has no value: make one. */
static int get_first(mproc_local *local, void **ret)
{
	void *value = NULL;
	struct value *v;
	int r = 0;

	if (!local->opts.init) {
		*ret = NULL;
		return 0;
	}
	if (is_visiting || is_among(initialising, local))
		return mproc__fail(-EDEADLK, "local get: the value is asked for inside %s",
				   is_visiting ? "mproc_local_each()" : "its init function");
	r = run_init(local, &value);
	if (r < 0)
		return r;
	v = find(local);
	if (!v && value)
		r = value_make(local, value, "local get");
	else if (value)
		r = mproc_local_set(local, value);
	else if (v)
		value = atomic_load_explicit(&v->value, memory_order_relaxed);
	if (r == 0)
		*ret = value;
	else if (local->opts.destroy)
		local->opts.destroy(value, local->opts.arg);
	return r;
}

int mproc_local_get(mproc_local *local, void **ret)
{
	struct value *v = find(local);

	if (!v)
		return get_first(local, ret);
	*ret = atomic_load_explicit(&v->value, memory_order_relaxed);
	return 0;
}

int mproc_local_set(mproc_local *local, void *value)
{
	struct value *v = find(local);
	void *old;
	int r, was;

	if (!v)
		return value ? value_make(local, value, "local set") : 0;
	r = lock_all("local set", &was);
	if (r < 0)
		return r;
	old = atomic_load_explicit(&v->value, memory_order_relaxed);
	if (value) {
		/* Release: a visit that sees the value sees what is in it. */
		atomic_store_explicit(&v->value, value, memory_order_release);
		if (old != value)
			destroy(local, old);
	} else {
		me->cells[local->place] = (struct cell){ 0, NULL };
		value_destroy(v);
	}
	unlock_all(was);
	return 0;
}

int mproc_local_each(mproc_local *local, int (*fn)(void *value, void *arg), void *arg)
{
	int r, was;

	r = lock_all("local each", &was);
	if (r < 0)
		return r;
	is_visiting = true;
	for (struct value *v = local->first; v && r == 0; v = visit_next) {
		visit_next = v->next;
		r = fn(atomic_load_explicit(&v->value, memory_order_acquire), arg);
	}
	is_visiting = false;
	unlock_all(was);
	return r;
}

mproc_local *mproc_local_close(mproc_local *local)
{
	int was;

	if (!local)
		return NULL;
	assert(!is_visiting);
	assert(!is_among(initialising, local) && !is_among(frames, local));
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	pthread_mutex_lock(&lock);
	/* What a function of it has set is destroyed once that has returned: it may use it. */
	while (local->first || local->n_inside > 0)
		if (local->n_inside > 0)
			pthread_cond_wait(&outside, &lock);
		else
			value_destroy(local->first);
	places[local->place] = NULL;
	if (local->place < none_free)
		none_free = local->place;
	unlock_all(was);
	free(local);
	return NULL;
}
