/* SPDX-License-Identifier: MIT */

/*
 * The header of a segment: what a new one shall be like, whether another's is in order
 *
 * The options decide the sizes of the tables; what they leave is the arena's. The
 * head is a private struct until all of it is known, and is then written at once.
 */

#include "shm/segment_head.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/attach.h"
#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/opts.h"
#include "shm/arena.h"
#include "shm/catalogue.h"

#define BYTES_DEFAULT   (UINT64_C(16) << 20)
#define MAX_DEFAULT     (UINT64_C(16) << 30) /* of a segment whose size nobody has given */
#define PROCS_DEFAULT   64u
#define THREADS_DEFAULT 256u
#define OBJECTS_DEFAULT 512u
#define DATA_MIN        (UINT64_C(64) << 10) /* of the arena */

static uint64_t round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

static uint32_t or_default(uint32_t given, uint32_t otherwise)
{
	return given ? given : otherwise;
}

/*
 * Lay out the sections of a segment that takes @bytes of memory, and set its size.
 * Return: the bytes that are needed at least.
 */
static uint64_t lay_out(struct mproc__segment_head *head, uint64_t bytes)
{
	const uint32_t min = DATA_MIN / MPROC__ARENA_PAGE;
	uint64_t at = MPROC__SEGMENT_HEAD_LEN, least;
	bool grows = bytes < head->size_max;
	uint32_t n, n_max;

	head->n_sections = MPROC__SECTIONS;
	for (uint32_t i = MPROC__SECTION_REGISTRY; i <= MPROC__SECTION_CATALOGUE; i++) {
		head->sections[i].off = at;
		head->sections[i].len = mproc__section_len_min(head, i);
		at = round_up(at + head->sections[i].len, MPROC__SEGMENT_PAGE);
	}
	n_max = head->size_max > at ? mproc__arena_pages_within(head->size_max - at, 0) : 0;
	least = at + mproc__arena_memory(min, n_max > min ? n_max : min);
	if (bytes < least || n_max < min)
		return least > bytes ? least : bytes + 1;
	n = grows ? mproc__arena_pages_within(bytes - at, n_max) : n_max;
	head->sections[MPROC__SECTION_ARENA].off = at;
	head->sections[MPROC__SECTION_ARENA].len = mproc__arena_section_size(n_max);
	at += head->sections[MPROC__SECTION_ARENA].len;
	head->sections[MPROC__SECTION_DATA].off = at;
	head->sections[MPROC__SECTION_DATA].len = (uint64_t)n * MPROC__ARENA_PAGE;
	head->size = grows ? at + head->sections[MPROC__SECTION_DATA].len : head->size_max;
	return least;
}

/* What a segment may become that was given no size. */
static uint64_t max_default(uint64_t bytes)
{
	uint64_t max = MAX_DEFAULT < SIZE_MAX / 8 ? MAX_DEFAULT : bytes;
	struct rlimit limit;

	/* Offsets that no file can have cannot be those of its data. */
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < max)
		max = limit.rlim_cur;
	return max < bytes ? bytes : max;
}

static int sizes_set(struct mproc__segment_head *head, const struct mproc_segment_opts *o,
		     const char *what)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), bytes, least;
	char want[24], need[24];

	head->n_procs = or_default(o->processes, PROCS_DEFAULT);
	head->n_threads = or_default(o->threads, THREADS_DEFAULT);
	head->n_objects = or_default(o->objects, OBJECTS_DEFAULT);
	if (head->n_procs > MPROC__PROCS_MAX || head->n_threads > MPROC__THREADS_MAX ||
	    head->n_objects > MPROC__ENTRIES_MAX)
		return mproc__fail(-EINVAL,
				   "%s: %" PRIu32 " processes, %" PRIu32 " threads, %" PRIu32
				   " objects: at most %u, %u, %u are possible",
				   what, head->n_procs, head->n_threads, head->n_objects,
				   MPROC__PROCS_MAX, MPROC__THREADS_MAX, MPROC__ENTRIES_MAX);
	bytes = o->bytes ? o->bytes : BYTES_DEFAULT;
	if (!o->bytes && o->bytes_max && o->bytes_max < bytes)
		bytes = o->bytes_max;
	if (!o->bytes_max)
		head->size_max = o->bytes ? bytes : max_default(bytes);
	else
		head->size_max = o->bytes_max;
	if (bytes > MPROC__SEGMENT_SIZE_MAX || head->size_max > MPROC__SEGMENT_SIZE_MAX ||
	    head->size_max > SIZE_MAX / 2 || head->size_max < bytes)
		return mproc__fail(-EINVAL,
				   "%s: %" PRIu64 " bytes that may become %" PRIu64 ": impossible",
				   what, bytes, head->size_max);
	bytes = round_up(bytes, page);
	head->size_max = round_up(head->size_max, page);
	least = lay_out(head, bytes);
	if (bytes < least)
		return mproc__fail(
			-EINVAL, "%s: %s are too few, with tables of these sizes it takes %s", what,
			mproc__size_text(want, bytes), mproc__size_text(need, least));
	return 0;
}

int mproc__head_make(struct mproc__segment_head *head, const char *name,
		     const struct mproc_segment_opts *opts, const char *what)
{
	const uint32_t flags = MPROC_SEGMENT_PERSISTENT | MPROC_SEGMENT_DUMP |
			       MPROC_SEGMENT_DEADLOCK | MPROC_SEGMENT_LOCK_ORDER |
			       MPROC_SEGMENT_HUGE | MPROC_SEGMENT_GID;
	struct mproc_segment_opts o;
	struct stat ns;
	int r;

	r = mproc__opts_copy(what, &o, sizeof(o), opts);
	if (r < 0)
		return r;
	if (o.flags & ~flags)
		return mproc__fail(-EINVAL, "%s: unknown flags 0x%" PRIx32, what, o.flags & ~flags);
	if (!name && (o.flags & MPROC_SEGMENT_PERSISTENT))
		return mproc__fail(-EINVAL, "%s: without a name it cannot be persistent", what);
	if (!name && o.dir)
		return mproc__fail(-EINVAL, "%s: without a name it is in no directory", what);
	if (o.gid && !(o.flags & MPROC_SEGMENT_GID))
		return mproc__fail(-EINVAL, "%s: a group is given without MPROC_SEGMENT_GID", what);
	if (o.mode && ((o.mode & ~0666u) || (o.mode & 0600) != 0600))
		return mproc__fail(-EINVAL, "%s: mode 0%" PRIo32 " is not within 0600 to 0666",
				   what, o.mode);
	memset(head, 0, sizeof(*head));
	memcpy(head->magic, MPROC__SEGMENT_MAGIC, sizeof(head->magic));
	head->byte_order = MPROC__SEGMENT_BYTE_ORDER;
	head->word_size = 8 * sizeof(void *);
	head->layout = MPROC__LAYOUT;
	head->sizes = MPROC__LAYOUT_SIZES;
	/* Who has the group is the file's to say. */
	head->flags = o.flags & ~(uint32_t)MPROC_SEGMENT_GID;
	head->mode = or_default(o.mode, 0600);
	r = sizes_set(head, &o, what);
	if (r < 0)
		return r;
	if (getrandom(head->uuid, sizeof(head->uuid), 0) != (ssize_t)sizeof(head->uuid))
		return mproc__fail_errno(-errno, "%s: random bytes", what);
	head->since = (uint64_t)mproc__clock_real();
	head->pid_ns = stat("/proc/self/ns/pid", &ns) == 0 ? (uint64_t)ns.st_ino : 0;
	head->pid = (uint32_t)getpid();
	head->uid = (uint32_t)geteuid();
	strncpy(head->exe, program_invocation_short_name, sizeof(head->exe) - 1);
	return 0;
}

int mproc__head_write(void *base, const struct mproc__segment_head *head, const char *what)
{
	const struct mproc__section *sections = head->sections;
	struct mproc__segment_state *state = (void *)((char *)base + MPROC__SEGMENT_STATE_OFF);
	struct mproc__registry *reg =
		(void *)((char *)base + sections[MPROC__SECTION_REGISTRY].off);
	uint32_t options = 0;
	int r;

	memcpy(base, head, sizeof(*head));
	atomic_store_explicit(&state->size, head->size, memory_order_relaxed);
	mproc__registry_init(reg, head->n_procs, head->n_threads);
	if (head->flags & MPROC_SEGMENT_DEADLOCK)
		options |= MPROC__OPTION_DEADLOCK;
	if (head->flags & MPROC_SEGMENT_LOCK_ORDER)
		options |= MPROC__OPTION_LOCK_ORDER;
	atomic_store_explicit(&reg->options, options, memory_order_relaxed);
	mproc__catalogue_init((void *)((char *)base + sections[MPROC__SECTION_CATALOGUE].off),
			      head->n_objects);
	r = mproc__arena_init((void *)((char *)base + sections[MPROC__SECTION_ARENA].off),
			      sections[MPROC__SECTION_DATA].off, sections[MPROC__SECTION_DATA].len,
			      head->size_max - sections[MPROC__SECTION_DATA].off);
	return r < 0 ? mproc__fail_errno(r, "%s: arena", what) : 0;
}

void mproc__head_spans(const struct mproc__segment_head *head,
		       struct mproc__span ret[MPROC__HEAD_SPANS])
{
	const struct mproc__section *arena = &head->sections[MPROC__SECTION_ARENA];
	const struct mproc__section *data = &head->sections[MPROC__SECTION_DATA];
	uint32_t n_max = mproc__head_pages(head, head->size_max);

	mproc__arena_spans(mproc__head_pages(head, head->size), n_max, ret);
	for (uint32_t i = 0; i < MPROC__ARENA_SPANS; i++) {
		ret[i].off += arena->off;
		ret[i].end += arena->off;
	}
	ret[0].off = 0;
	ret[MPROC__ARENA_SPANS].off = data->off;
	ret[MPROC__ARENA_SPANS].end = head->size;
}

int mproc__head_check(int fd, const struct mproc__segment_head *head, uint64_t *ret_size,
		      const char *what)
{
	struct mproc__segment_state state;
	struct stat st;
	char why[128];
	int r;

	if (fstat(fd, &st) < 0)
		return mproc__fail_errno(-errno, "%s", what);
	r = mproc__segment_head_check(head, (uint64_t)st.st_size, why, sizeof(why));
	if (r < 0)
		return mproc__fail(r, "%s: %s", what, why);
	if (st.st_mode & 022 & ~head->mode)
		return mproc__fail(-EPERM, "%s: mode %04o, its creator asked for %04" PRIo32, what,
				   (unsigned)st.st_mode & 07777, head->mode);
	if (pread(fd, &state, sizeof(state), MPROC__SEGMENT_STATE_OFF) != (ssize_t)sizeof(state))
		return mproc__fail_errno(-EIO, "%s: read", what);
	/* Once more: somebody who grows makes the file longer first, perhaps since we looked. */
	if (fstat(fd, &st) < 0)
		return mproc__fail_errno(-errno, "%s", what);
	r = mproc__segment_state_check(&state, head, (uint64_t)st.st_size, why, sizeof(why));
	if (r < 0)
		return mproc__fail(r, "%s: %s", what, why);
	*ret_size = atomic_load_explicit(&state.size, memory_order_relaxed);
	return 0;
}
