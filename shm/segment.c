/* SPDX-License-Identifier: MIT */

/*
 * Segments: shared memory that is the home of everything else
 *
 *	head | state | registry | catalogue | arena's head | arena's data
 *
 * The head is written before anybody can find the segment and never again. Who
 * opens reads it from the file, not through a mapping, checks the copy, and takes
 * every size and offset from it. Nothing here is shared but what the rooms share;
 * what is below is private to the process: one mapping and one handle for each
 * segment, counted, in a list that changes under the fork lock.
 *
 * The mapping covers all the addresses the segment may grow into, beyond the end
 * of the file: growing then needs no call in any other process, and no address
 * changes. Pages beyond the end cannot be touched, so every offset is checked
 * against the bytes that are allocated. What the process has no addresses for
 * (RLIMIT_AS) is not reserved, and growth ends there.
 *
 * Who leaves. close() gives the slot back first, then removes the name if nobody
 * else is attached, under byte A (see segment_file.c). At exit() other threads may
 * be inside a call, so the slot cannot be given back: its leaving mark says that
 * it is no reason to keep the name. Of several who leave at the same time the last
 * to get byte A finds the marks of all the others. Who is killed leaves the name to
 * whoever comes upon it next.
 */

#include <mproc/segment.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/error.h"
#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/catalogue.h"
#include "shm/segment.h"
#include "shm/segment_file.h"
#include "shm/segment_head.h"

#define WHAT_MAX (MPROC_SEGMENT_NAME_MAX + 32)

/* Handles of this process; under the fork lock. */
static mproc_segment *segments;

static _Atomic(mproc_segment *) default_segment;

static void what_make(char what[WHAT_MAX], const char *verb, const char *name)
{
	/* A name that is too long gets its own error. */
	snprintf(what, WHAT_MAX, "%s %s", verb, name ? name : "segment");
}

/* Map @size bytes of @fd, with as many addresses behind them as can be had, up to @max. */
static int map(int fd, uint64_t size, uint64_t max, void **ret, size_t *ret_len, const char *what)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), len = max;
	char want[24];

	for (;;) {
		void *base = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		if (base != MAP_FAILED) {
			*ret = base;
			*ret_len = (size_t)len;
			return 0;
		}
		/* ENOMEM: RLIMIT_AS; EAGAIN: what is mapped is locked, and RLIMIT_MEMLOCK. */
		if (len == size || (errno != ENOMEM && errno != EAGAIN))
			return mproc__fail_errno(-errno, "%s: map %s", what,
						 mproc__size_text(want, len));
		len = size + (len - size) / 2 / page * page;
	}
}

/* Who may be a reason to keep the name; @own is not. */
static struct mproc__attached attached_of(const mproc_segment *segment, int own)
{
	return (struct mproc__attached){
		.procs = segment->range->procs,
		.n_procs = segment->range->n_procs,
		.own = own,
	};
}

/*
 * Attach to the mapping of @fd, which becomes the segment's, and enter the handle
 * into the list.
 */
static int handle_new(mproc_segment **ret, const struct mproc__segment_head *head, int fd,
		      void *base, size_t len, uint64_t size, const char *name, const char *path,
		      const char *what)
{
	const struct mproc__section *sections = head->sections;
	mproc_segment *segment = calloc(1, sizeof(*segment));
	int r;

	if (!segment)
		return mproc__fail(-ENOMEM, "%s: no memory for a handle", what);
	memcpy(&segment->id, head->uuid, sizeof(segment->id));
	segment->size = size;
	segment->n_objects = head->n_objects;
	segment->flags = head->flags;
	segment->n_handles = 1;
	snprintf(segment->name, sizeof(segment->name), "%s", name ? name : "");
	segment->catalogue = (void *)((char *)base + sections[MPROC__SECTION_CATALOGUE].off);
	segment->arena = (void *)((char *)base + sections[MPROC__SECTION_ARENA].off);
	r = mproc__arena_open(segment, base);
	if (r == 0)
		r = mproc__range_add(&segment->range, base, len,
				     (void *)((char *)base + sections[MPROC__SECTION_REGISTRY].off),
				     sections[MPROC__SECTION_REGISTRY].len, fd, path, segment);
	if (r < 0) {
		free(segment);
		return r;
	}
	segment->next = segments;
	segments = segment;
	*ret = segment;
	return 0;
}

/* Map and attach. @fresh: write what a new segment begins with. */
static int enter(mproc_segment **ret, const struct mproc__segment_head *head, int fd, uint64_t size,
		 bool fresh, const char *name, const char *path, const char *what)
{
	void *base = NULL;
	size_t len = 0;
	int r;

	r = map(fd, size, head->size_max, &base, &len, what);
	if (r < 0)
		return r;
	/* A core file would take long to write, and our slot be held until it is. */
	if (!(head->flags & MPROC_SEGMENT_DUMP) && madvise(base, len, MADV_DONTDUMP) < 0)
		r = mproc__fail_errno(-errno, "%s: madvise", what);
	if (r == 0 && fresh)
		r = mproc__head_write(base, head, what);
	if (r == 0)
		r = handle_new(ret, head, fd, base, len, size, name, path, what);
	if (r < 0)
		munmap(base, len);
	return r;
}

/*
 * Detach and unmap. @leave: the last one out removes the name.
 */
static void let_go(mproc_segment *segment, bool leave)
{
	struct mproc__attached attached = attached_of(segment, -1);
	struct mproc__range *range = segment->range;
	void *base = (void *)atomic_load_explicit(&range->base, memory_order_relaxed);
	size_t len = atomic_load_explicit(&range->size, memory_order_relaxed);
	char path[MPROC__PATH_MAX], text[MPROC__ERROR_MAX];
	int fd = -1;

	mproc__error_keep(text);
	snprintf(path, sizeof(path), "%s", range->path);
	if (leave && path[0] && !(segment->flags & MPROC_SEGMENT_PERSISTENT))
		fd = mproc__range_reopen(range, NULL);
	for (mproc_segment **at = &segments; *at; at = &(*at)->next) {
		if (*at == segment) {
			*at = segment->next;
			break;
		}
	}
	/* First: of two who leave at once, each would find the other attached. */
	mproc__range_remove(range);
	if (fd >= 0) {
		(void)mproc__file_remove(fd, path, &attached, "close");
		close(fd);
	}
	munmap(base, len);
	free(segment);
	mproc__error_put_back(text);
}

/* Under the fork lock. */
static int create(mproc_segment **ret, const char *name, const struct mproc__segment_head *head,
		  const char *what)
{
	mproc_segment *segment = NULL;
	struct mproc__file file;
	int r;

	r = mproc__file_make(&file, name, what);
	if (r < 0)
		return r;
	/* Before anything is allocated in vain. */
	r = name ? mproc__file_vacate(file.path, what) : 0;
	if (r == 0)
		r = mproc__file_allocate(&file, head->size, what);
	if (r == 0)
		r = enter(&segment, head, file.fd, head->size, true, name, name ? file.path : NULL,
			  what);
	if (r == 0)
		r = mproc__file_publish(&file, head->mode, what);
	if (r == 0) {
		*ret = segment;
		return 0;
	}
	mproc__file_discard(&file);
	if (segment)
		let_go(segment, false);
	else
		close(file.fd);
	return r;
}

int mproc_segment_create(mproc_segment **ret, const char *name,
			 const struct mproc_segment_opts *opts)
{
	struct mproc__segment_head head;
	char what[WHAT_MAX];
	int r;

	assert(ret);
	what_make(what, "create", name);
	r = mproc__head_make(&head, name, opts, what);
	if (r < 0)
		return r;
	mproc__fork_lock();
	r = create(ret, name, &head, what);
	mproc__fork_unlock();
	return r;
}

/* With the name kept: is anybody attached, or may nobody be? Return: 0, -ENOENT or another. */
static int check_lived_in(int fd, const struct mproc__segment_head *head, const char *what)
{
	int r;

	if (head->flags & MPROC_SEGMENT_PERSISTENT || head->byte_order != MPROC__SEGMENT_BYTE_ORDER)
		return 0;
	r = mproc__file_lived_in(fd);
	if (r < 0)
		return mproc__fail_errno(r, "%s: lock", what);
	return r ? 0 : -ENOENT;
}

/* Return: 0 and the descriptor is the segment's, 1 it was attached already, or negative. */
static int open_file(mproc_segment **ret, int fd, const char *name, const char *path,
		     const char *what)
{
	struct mproc__segment_head head;
	struct mproc__range *range;
	struct stat st;
	uint64_t size = 0;
	void *token;
	int r;

	if (fstat(fd, &st) < 0)
		return mproc__fail_errno(-errno, "%s", what);
	range = mproc__range_find_file(st.st_dev, st.st_ino);
	if (range) {
		*ret = mproc__segment_of(range);
		(*ret)->n_handles++;
		return 1;
	}
	r = mproc__file_head(fd, &head, what);
	if (r == 0)
		r = mproc__file_enter(&token, fd, path, what);
	if (r < 0)
		return r;
	r = check_lived_in(fd, &head, what);
	if (r == 0)
		r = mproc__head_check(fd, &head, &size, what);
	if (r == 0)
		r = enter(ret, &head, fd, size, false, name, path, what);
	mproc__token_drop(token);
	return r;
}

/* Under the fork lock. Return: 0, or 1 if the process had it mapped. */
static int find(mproc_segment **ret, const char *name, const char *what)
{
	char path[MPROC__PATH_MAX];
	int fd, r;

	r = mproc__segment_path(path, name, what);
	if (r < 0)
		return r;
	do {
		fd = mproc__file_find(path, what);
		if (fd == -ENOENT)
			return mproc__fail(fd, "%s: there is no %s", what, path);
		if (fd < 0)
			return fd;
		r = open_file(ret, fd, name, path, what);
		if (r)
			close(fd);
		/* The name leads to another file by now. */
	} while (r == -EAGAIN);
	if (r != -ENOENT)
		return r;
	(void)mproc__file_clear(path, what);
	return mproc__fail(r, "%s: its processes are all gone", what);
}

int mproc_segment_open(mproc_segment **ret, const char *name)
{
	mproc_segment *segment;
	char what[WHAT_MAX];
	int r;

	assert(ret && name);
	what_make(what, "open", name);
	mproc__fork_lock();
	r = find(&segment, name, what);
	mproc__fork_unlock();
	if (r < 0)
		return r;
	/* Mapped already may mean inherited, and not yet attached. */
	if (r > 0 && !mproc__self(segment->catalogue, what)) {
		mproc_segment_close(segment);
		return mproc__self_error();
	}
	*ret = segment;
	return 0;
}

int mproc_segment_open_or_create(mproc_segment **ret, const char *name,
				 const struct mproc_segment_opts *opts)
{
	char text[MPROC__ERROR_MAX];
	int r;

	mproc__error_keep(text);
	/* Each turn that fails has met another process that succeeded in something. */
	do {
		r = mproc_segment_open(ret, name);
		if (r != -ENOENT)
			break;
		r = mproc_segment_create(ret, name, opts);
		if (r == 0)
			r = 1;
	} while (r == -EEXIST);
	if (r >= 0)
		mproc__error_put_back(text);
	return r;
}

mproc_segment *mproc_segment_close(mproc_segment *segment)
{
	if (!segment)
		return NULL;
	mproc__fork_lock();
	assert(segment->n_handles);
	/* The default segment's own handle is never given up. */
	if (segment->n_handles > 1)
		segment->n_handles--;
	else if (segment != atomic_load_explicit(&default_segment, memory_order_relaxed))
		let_go(segment, true);
	mproc__fork_unlock();
	return NULL;
}

int mproc_segment_default(mproc_segment **ret)
{
	struct mproc__segment_head head;
	mproc_segment *segment;
	int r = 0;

	segment = atomic_load_explicit(&default_segment, memory_order_acquire);
	if (!segment) {
		r = mproc__head_make(&head, NULL, NULL, "default segment");
		if (r < 0)
			return r;
		mproc__fork_lock();
		segment = atomic_load_explicit(&default_segment, memory_order_relaxed);
		if (!segment)
			r = create(&segment, NULL, &head, "default segment");
		if (r == 0)
			atomic_store_explicit(&default_segment, segment, memory_order_release);
		mproc__fork_unlock();
	}
	if (r == 0)
		*ret = segment;
	return r;
}

int mproc__segment_get(mproc_segment **ret, mproc_segment *segment)
{
	if (!segment)
		return mproc_segment_default(ret);
	*ret = segment;
	return 0;
}

int mproc__segment_ref(mproc_segment **ret, mproc_segment *segment)
{
	int r = mproc__segment_get(&segment, segment);

	if (r < 0)
		return r;
	mproc__fork_lock();
	segment->n_handles++;
	mproc__fork_unlock();
	*ret = segment;
	return 0;
}

int mproc_segment_object(void **ret, mproc_segment *segment, const char *name, size_t len,
			 int (*init)(void *object, void *arg), void *arg)
{
	const struct mproc__object_spec spec = {
		.what = "object",
		.name = name ? name : "",
		.kind = MPROC__KIND_BLOCK,
		.len = len,
		.init = init,
		.arg = arg,
	};
	struct mproc__object object;
	int r;

	assert(ret);
	if (!len)
		return mproc__fail(-EINVAL, "object %.63s: a length of 0 bytes", spec.name);
	r = mproc__segment_get(&segment, segment);
	if (r < 0)
		return r;
	r = mproc__object_open_or_create(&object, segment, &spec);
	if (r < 0)
		return r == -EPROTO ? -EEXIST : r;
	*ret = object.mem;
	return r;
}

const char *mproc_segment_name(const mproc_segment *segment)
{
	return segment->name;
}

int mproc_after_fork(void)
{
	return mproc__range_attach_all();
}

/*
 * The program ends. Later than the program's own atexit(3) functions, which may use
 * segments; nothing is unmapped, since other threads may be inside a call.
 */
__attribute__((__destructor__)) static void leave_all(void)
{
	if (!segments)
		return;
	mproc__fork_lock();
	for (mproc_segment *segment = segments; segment; segment = segment->next) {
		struct mproc__range *range = segment->range;
		int own = mproc__range_slot(range), fd;
		struct mproc__attached attached = attached_of(segment, own);

		if (!range->path[0] || (segment->flags & MPROC_SEGMENT_PERSISTENT))
			continue;
		if (own >= 0)
			atomic_store_explicit(&range->procs[own].leaving,
					      mproc__proc_generation(atomic_load_explicit(
						      &range->procs[own].st, memory_order_relaxed)),
					      memory_order_release);
		fd = mproc__range_reopen(range, NULL);
		if (fd < 0)
			continue;
		(void)mproc__file_remove(fd, range->path, &attached, "exit");
		close(fd);
	}
	mproc__fork_unlock();
}
