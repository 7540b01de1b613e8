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
 * of the file: growing (segment_grow.c) then needs no call in any other process, and
 * no address changes. Pages beyond the end cannot be touched, so every offset is
 * checked against the bytes that are allocated, as far as they are known: who meets
 * an offset behind them looks how large the segment has become. What the process has
 * no addresses for (RLIMIT_AS) is not reserved, and growth ends there.
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
#include "ipc/opts.h"
#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/catalogue.h"
#include "shm/segment.h"
#include "shm/segment_file.h"
#include "shm/segment_head.h"
#include "shm/segment_pages.h"

/* Handles of this process; under the fork lock. */
static mproc_segment *segments;

static _Atomic(mproc_segment *) default_segment;

/*
 * Map @len bytes of @fd, without access, at a multiple of the largest power of two that fits into
 * them, up to MPROC__SEGMENT_ALIGN_MAX: then an offset is aligned as its address is, and blocks can
 * have any alignment that a segment has room for. Whoever has no addresses for that gets them as
 * they come.
 */
static void *map_aligned(int fd, size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE),
	       align = (size_t)1 << (63 - __builtin_clzll(len));
	size_t whole = (len + page - 1) & ~(page - 1);
	uintptr_t start, at;
	void *room, *base;

	if (align > MPROC__SEGMENT_ALIGN_MAX)
		align = MPROC__SEGMENT_ALIGN_MAX;
	if (align < page)
		align = page;
	room = mmap(NULL, whole + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		    0);
	if (room == MAP_FAILED)
		return mmap(NULL, len, PROT_NONE, MAP_SHARED, fd, 0);
	start = (uintptr_t)room;
	at = (start + align - 1) & ~(uintptr_t)(align - 1);
	base = mmap((void *)at, len, PROT_NONE, MAP_SHARED | MAP_FIXED, fd, 0);
	if (base == MAP_FAILED) {
		int code = errno;

		munmap(room, whole + align);
		errno = code;
		return base;
	}
	if (at > start)
		munmap(room, at - start);
	if (start + align > at)
		munmap((void *)(at + whole), start + align - at);
	return base;
}

/*
 * Map @len bytes of the file. In two steps: in a program that has said mlockall(2) the
 * first would make memory of all that can be accessed, also of the holes between tables.
 */
static void *map_len(const struct mproc__coming *c, size_t len)
{
	int prot = c->read_only ? PROT_READ : PROT_READ | PROT_WRITE, error;
	void *base = map_aligned(c->fd, len);

	if (base == MAP_FAILED || mprotect(base, len, prot) == 0)
		return base;
	error = errno;
	munmap(base, len);
	errno = error;
	return MAP_FAILED;
}

/* Map the file, with as many addresses behind it as can be had, up to its maximum. */
static int map(const struct mproc__coming *c, void **ret, size_t *ret_len)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), len = c->head->size_max;
	char want[24];

	for (;;) {
		void *base = map_len(c, (size_t)len);

		if (base != MAP_FAILED) {
			*ret = base;
			*ret_len = (size_t)len;
			return 0;
		}
		/* ENOMEM: RLIMIT_AS; EAGAIN: what is mapped is locked, and RLIMIT_MEMLOCK. */
		if (len == c->size || (errno != ENOMEM && errno != EAGAIN))
			return mproc__fail_errno(-errno, "%s: map %s", c->what,
						 mproc__size_text(want, len));
		len = c->size + (len - c->size) / 2 / page * page;
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

/* How the segment lies at @base, where it has @len bytes of addresses. */
static struct mproc__mapping mapping_of(const struct mproc__segment_head *head, void *base,
					size_t len, uint64_t size)
{
	struct mproc__segment_state *state = (void *)((char *)base + MPROC__SEGMENT_STATE_OFF);
	const struct mproc__section *sections = head->sections;

	return (struct mproc__mapping){
		.base = base,
		.size = len,
		.bytes = size,
		.max = head->size_max,
		/* The arena's tables. */
		.hole = sections[MPROC__SECTION_ARENA].off + sizeof(struct mproc__arena),
		.hole_end = sections[MPROC__SECTION_DATA].off,
		.published = &state->size,
	};
}

/* Attach to the mapping, and enter the handle into the list; the descriptor becomes its. */
static int handle_new(mproc_segment **ret, const struct mproc__coming *c,
		      const struct mproc__mapping *mapping)
{
	const struct mproc__section *sections = c->head->sections;
	uint64_t reg_len = sections[MPROC__SECTION_REGISTRY].len;
	mproc_segment *segment = calloc(1, sizeof(*segment));
	char *base = mapping->base;
	void *reg = base + sections[MPROC__SECTION_REGISTRY].off;
	int r;

	if (!segment)
		return mproc__fail(-ENOMEM, "%s: no memory for a handle", c->what);
	memcpy(&segment->id, c->head->uuid, sizeof(segment->id));
	segment->size_max = c->head->size_max;
	segment->n_objects = c->head->n_objects;
	segment->flags = c->head->flags;
	segment->n_handles = 1;
	snprintf(segment->name, sizeof(segment->name), "%s", c->name ? c->name : "");
	segment->catalogue = (void *)(base + sections[MPROC__SECTION_CATALOGUE].off);
	segment->arena = (void *)(base + sections[MPROC__SECTION_ARENA].off);
	r = mproc__arena_open(segment, mapping);
	/* What growing takes is computed from these: both must say the same. */
	if (r == 0 &&
	    (segment->arena_at.off != sections[MPROC__SECTION_DATA].off ||
	     segment->arena_at.n_pages_max != mproc__head_pages(c->head, c->head->size_max)))
		r = mproc__fail(-EBADMSG, "%s: the geometry of its arena is not its own", c->what);
	if (r == 0 && c->read_only)
		r = mproc__range_add_read_only(&segment->range, mapping, reg, reg_len, c->fd,
					       c->path, segment);
	else if (r == 0)
		r = mproc__range_add(&segment->range, mapping, reg, reg_len, c->fd, c->path,
				     segment);
	if (r < 0) {
		free(segment);
		return r;
	}
	segment->next = segments;
	segments = segment;
	*ret = segment;
	return 0;
}

int mproc__segment_enter(mproc_segment **ret, const struct mproc__coming *c)
{
	struct mproc__mapping mapping;
	void *base = NULL;
	size_t len = 0;
	int r;

	r = map(c, &base, &len);
	if (r < 0)
		return r;
	mapping = mapping_of(c->head, base, len, c->size);
	/* A core file would take long to write, and our slot be held until it is. */
	if (!(c->head->flags & MPROC_SEGMENT_DUMP) && madvise(base, len, MADV_DONTDUMP) < 0)
		r = mproc__fail_errno(-errno, "%s: madvise", c->what);
	if (r == 0 && c->fresh)
		r = mproc__head_write(base, c->head, c->what);
	if (r == 0 && c->head->flags & MPROC_SEGMENT_HUGE)
		mproc__pages_huge(base, len, c->head->sections[MPROC__SECTION_DATA].off,
				  c->fresh ? c->size : 0);
	if (r == 0)
		r = handle_new(ret, c, &mapping);
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
	if (leave && path[0] && !range->read_only && !(segment->flags & MPROC_SEGMENT_PERSISTENT))
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
		  const struct mproc_segment_opts *o, const char *what)
{
	struct mproc__span spans[MPROC__HEAD_SPANS];
	mproc_segment *segment = NULL;
	struct mproc__file file;
	int r;

	mproc__head_spans(head, spans);
	r = mproc__file_make(&file, o->dir, name, what);
	if (r < 0)
		return r;
	/* Before anything is allocated in vain. */
	r = name ? mproc__file_vacate(file.path, what) : 0;
	if (r == 0)
		r = mproc__file_allocate(&file, spans, MPROC__HEAD_SPANS, what);
	if (r == 0)
		r = mproc__segment_enter(&segment, &(struct mproc__coming){
							   .head = head,
							   .fd = file.fd,
							   .size = head->size,
							   .name = name,
							   .path = name ? file.path : NULL,
							   .what = what,
							   .fresh = true,
						   });
	if (r == 0 && o->flags & MPROC_SEGMENT_GID)
		r = mproc__file_give(&file, o->gid, what);
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
	char what[MPROC__SEGMENT_WHAT_MAX];
	struct mproc_segment_opts o;
	int r;

	assert(ret);
	mproc__segment_what(what, "create", name);
	r = mproc__head_make(&head, name, opts, what);
	if (r == 0)
		r = mproc__opts_copy(what, &o, sizeof(o), opts);
	if (r < 0)
		return r;
	mproc__fork_lock();
	r = create(ret, name, &head, &o, what);
	mproc__fork_unlock();
	return r;
}

int mproc_segment_open_or_create(mproc_segment **ret, const char *name,
				 const struct mproc_segment_opts *opts)
{
	char text[MPROC__ERROR_MAX];
	struct mproc_segment_opts o;
	int r;

	assert(ret && name);
	mproc__error_keep(text);
	r = mproc__opts_copy("open or create", &o, sizeof(o), opts);
	if (r < 0)
		return r;
	/* Each turn that fails has met another process that succeeded in something. */
	do {
		r = mproc__segment_open(ret, o.dir, name);
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
	const struct mproc_segment_opts o = { .size = sizeof(o) };
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
			r = create(&segment, NULL, &head, &o, "default segment");
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

		if (!range->path[0] || range->read_only ||
		    (segment->flags & MPROC_SEGMENT_PERSISTENT))
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
