/* SPDX-License-Identifier: MIT */

/*
 * Where am I, and who am I there: attached ranges, and each thread's identity
 *
 * Three kinds of process-private state, told apart by what fork may do to them:
 *
 *	ranges[]	ordinary memory, which a child inherits with the mappings it
 *			describes. Entries change under the fork lock and are published
 *			by one store of their base, so that no copy is torn.
 *	struct process	the fork lock, our slot in each range and its pin. On a page
 *			that fork wipes: zero means not locked, not attached.
 *	identities	one a thread: owner word and record in each range. On wiped
 *			pages too, so a child can never act as its parent: its first
 *			call misses and attaches it. Nothing on the fast path asks.
 *
 * The slow paths run under the fork lock, which fork(2) takes as well. So no
 * private descriptor that has just locked a byte is copied into a child, which
 * would keep that byte locked after our death.
 *
 * Named segments are handed over without a gap: the parent pins a free slot
 * through a mapping that fork does copy, drops its own reference after the fork,
 * and the child adopts it. A server that calls daemon(3) keeps its name thereby.
 *
 * Killed at any point: a slot whose byte is locked and that is not LIVE is free
 * when the kernel drops the lock; one that is LIVE is reaped by the next who
 * looks. Nothing else here is shared.
 */

#include "ipc/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/order_layout.h"
#include "ipc/participant.h"
#include "ipc/wait.h"

struct attachment {
	uint32_t attached;
	uint32_t proc;
	void *pin;
};

struct process {
	pthread_mutex_t lock;
	uint64_t key;
	struct attachment at[MPROC__RANGES_MAX];
};

/* A thread's identity, and what of it must survive the wiping. */
struct holder {
	struct holder *next;
	_Atomic(uint32_t) used;
	struct mproc__identity *identity;
	void *pin; /* of a participant made by mproc__identity_new() */
};

static struct mproc__range ranges[MPROC__RANGES_MAX];

static struct process *process;
static pthread_once_t process_once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_key;

static _Atomic(struct holder *) holders;

/* What a thread is before its first call: attached nowhere. Never written. */
static struct mproc__identity nobody;

_Thread_local struct mproc__identity *mproc__identity
	__attribute__((__tls_model__("initial-exec"))) = &nobody;

_Atomic(uint32_t) mproc__n_read_only;

static _Thread_local int self_error;

/* Of the thread that holds the fork lock, to be given back to it; guarded by that lock. */
static int cancel_state;

/* Slots pinned for a child that is being forked; ordinary memory, for the child to see. */
static struct attachment handover[MPROC__RANGES_MAX];

static void *wiped_alloc(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		return NULL;
	if (madvise(mem, size, MADV_WIPEONFORK) < 0) {
		munmap(mem, size);
		return NULL;
	}
	return mem;
}

static void thread_end(void *arg);
static void fork_prepare(void);
static void fork_parent(void);
static void fork_child(void);

static void process_init(void)
{
	static struct process fallback;

	process = wiped_alloc(sizeof(*process));
	if (!process || pthread_key_create(&thread_key, thread_end) != 0 ||
	    pthread_atfork(fork_prepare, fork_parent, fork_child) != 0)
		/* Lockable, yet no range is ever added: see mproc__range_add(). */
		process = &fallback, process->key = UINT64_MAX;
}

void mproc__fork_lock(void)
{
	int was;

	pthread_once(&process_once, process_init);
	/* Slow paths open and close: a thread that was cancelled there would keep the lock. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	pthread_mutex_lock(&process->lock);
	cancel_state = was;
}

void mproc__fork_unlock(void)
{
	int was = cancel_state;

	pthread_mutex_unlock(&process->lock);
	pthread_setcancelstate(was, &was);
}

int mproc__self_error(void)
{
	return self_error;
}

int mproc__range_slot(const struct mproc__range *range)
{
	const struct attachment *at = &process->at[range->index];

	return at->attached ? (int)at->proc : -1;
}

void mproc__registry_init(struct mproc__registry *reg, uint32_t n_procs, uint32_t n_threads)
{
	atomic_store_explicit(&reg->n_procs, n_procs, memory_order_relaxed);
	atomic_store_explicit(&reg->n_threads, n_threads, memory_order_relaxed);
}

struct mproc__range *mproc__range_find(const void *addr)
{
	for (uint32_t i = 0; i < MPROC__RANGES_MAX; i++) {
		uintptr_t base = atomic_load_explicit(&ranges[i].base, memory_order_acquire);
		size_t size = atomic_load_explicit(&ranges[i].size, memory_order_acquire);

		/* The entry may have become another range's meanwhile: the base says so. */
		if (base && (uintptr_t)addr - base < size &&
		    atomic_load_explicit(&ranges[i].base, memory_order_relaxed) == base)
			return &ranges[i];
	}
	return NULL;
}

/* All that a signal handler may do: atomic loads and stores, and no lock. */
void mproc__range_spoil(struct mproc__range *range)
{
	/* First: who attaches now looks after he has made his identity. */
	atomic_store(&range->spoilt, 1);
	for (struct holder *h = atomic_load(&holders); h; h = h->next)
		for (uint32_t i = 0; i < MPROC__RANGES_MAX; i++) {
			struct mproc__self *me = &h->identity->at[i];
			size_t size = atomic_load(&me->size);

			if (!size || me->range != range)
				continue;
			atomic_store(&me->kept, size);
			atomic_store(&me->size, 0);
		}
}

int mproc__range_refuse(const char *what)
{
	return mproc__fail(-EBADMSG, "%s: the segment was truncated by another process", what);
}

/* The calling thread in a spoilt @range, if it holds something that it is to give back. */
static struct mproc__self *self_spoilt(const struct mproc__range *range)
{
	for (uint32_t i = 0; i < MPROC__RANGES_MAX; i++) {
		struct mproc__self *me = &mproc__identity->at[i];

		if (atomic_load_explicit(&me->kept, memory_order_relaxed) && me->range == range &&
		    (me->n_holds || me->n_acts || me->reads_used))
			return me;
	}
	return NULL;
}

struct mproc__range *mproc__range_nth(uint32_t i)
{
	return atomic_load_explicit(&ranges[i].base, memory_order_acquire) ? &ranges[i] : NULL;
}

struct mproc__range *mproc__range_find_file(dev_t dev, ino_t ino, bool read_only)
{
	for (uint32_t i = 0; i < MPROC__RANGES_MAX; i++)
		if (atomic_load_explicit(&ranges[i].base, memory_order_acquire) &&
		    ranges[i].dev == dev && ranges[i].ino == ino &&
		    ranges[i].read_only == read_only)
			return &ranges[i];
	return NULL;
}

bool mproc__is_read_only_slow(const void *object)
{
	const struct mproc__range *range = mproc__range_find(object);

	return range && range->read_only;
}

int mproc__fail_read_only(const char *what)
{
	return mproc__fail(-EROFS, "%s: the segment is attached for reading only", what);
}

/*
 * Open @path if it leads to the range's file. Return: a descriptor; -EMFILE, -ENFILE if
 * there are no more of them; or -ENOTCONN.
 */
static int open_same(struct mproc__range *range, const char *path, int flags)
{
	struct stat st;
	int fd;

	/* A look first: to open whatever else this leads to by now may have effects. */
	if (stat(path, &st) < 0 || st.st_dev != range->dev || st.st_ino != range->ino)
		return -ENOTCONN;
	fd = open(path, (range->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | flags);
	if (fd < 0)
		return errno == EMFILE || errno == ENFILE ? -errno : -ENOTCONN;
	if (fstat(fd, &st) == 0 && st.st_dev == range->dev && st.st_ino == range->ino)
		return fd;
	close(fd);
	return -ENOTCONN;
}

int mproc__range_reopen(struct mproc__range *range, const char *what)
{
	int fd = atomic_load_explicit(&range->fd, memory_order_relaxed);
	int saved = errno, own, cancel;
	char path[64];

	/* Liveness is asked for outside the fork lock, too. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open_same(range, path, 0);
	if (own == -ENOTCONN && range->path[0])
		own = open_same(range, range->path, O_NOFOLLOW);
	/* Closed under us and without a name: a sibling may still have it open. */
	for (uint32_t i = 0; own == -ENOTCONN && i < range->n_procs; i++) {
		struct mproc__proc *slot = &range->procs[i];

		if (mproc__proc_state(atomic_load(&slot->st)) != MPROC__PROC_LIVE)
			continue;
		snprintf(path, sizeof(path), "/proc/%" PRIu32 "/fd/%" PRIu32,
			 atomic_load_explicit(&slot->pid, memory_order_relaxed),
			 atomic_load_explicit(&slot->fd, memory_order_relaxed));
		own = open_same(range, path, 0);
	}
	pthread_setcancelstate(cancel, &cancel);
	errno = saved;
	if (own >= 0 || !what)
		return own;
	if (own != -ENOTCONN)
		return mproc__fail_errno(own, "%s: open the segment again", what);
	return mproc__fail(-ENOTCONN,
			   "%s: the segment cannot be opened again, neither through its descriptor "
			   "%d in /proc/self/fd nor by name nor through a sibling's",
			   what, fd);
}

int mproc__range_descriptor(struct mproc__range *range)
{
	int saved = errno, own;
	struct stat st;

	own = fcntl(atomic_load_explicit(&range->fd, memory_order_relaxed), F_DUPFD_CLOEXEC, 0);
	errno = saved;
	/* Asked of the copy: the number may have become another file's, or do so now. */
	if (own >= 0 && fstat(own, &st) == 0 && st.st_dev == range->dev && st.st_ino == range->ino)
		return own;
	if (own >= 0)
		close(own);
	errno = saved;
	return mproc__range_reopen(range, NULL);
}

/* What tells others who we are, for display; and the slot is ours. */
static void slot_publish(struct mproc__range *range, uint32_t proc)
{
	struct mproc__proc *slot = &range->procs[proc];
	uint64_t st = atomic_load_explicit(&slot->st, memory_order_acquire);
	struct stat ns;

	if (!process->key && getrandom(&process->key, sizeof(process->key), 0) < 0)
		process->key = (uint64_t)mproc_now();
	atomic_store_explicit(&slot->key, process->key, memory_order_relaxed);
	atomic_store_explicit(&slot->pid, (uint32_t)getpid(), memory_order_relaxed);
	atomic_store_explicit(&slot->pid_ns,
			      stat("/proc/self/ns/pid", &ns) == 0 ? (uint64_t)ns.st_ino : 0,
			      memory_order_relaxed);
	atomic_store_explicit(&slot->since, (uint64_t)mproc__clock_real(), memory_order_relaxed);
	atomic_store_explicit(&slot->fd, (uint32_t)range->fd, memory_order_relaxed);
	memset(slot->exe, 0, sizeof(slot->exe));
	strncpy(slot->exe, program_invocation_short_name, sizeof(slot->exe) - 1);
	atomic_store_explicit(&slot->st,
			      mproc__proc_word(mproc__proc_generation(st) + 1, MPROC__PROC_LIVE),
			      memory_order_release);
}

/*
 * Lock a slot that nobody lives in, reaping what is left in it.
 * @forked:	the pin is to be inherited by the next child
 *
 * Return: 0, -EUSERS with a text, or what open(2), fcntl(2) and mmap(2) report.
 */
static int slot_take(struct mproc__range *range, bool forked, uint32_t *ret_proc, void **ret_pin)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int r;

	for (uint32_t i = 0; i < range->n_procs; i++) {
		r = mproc__slot_lock(range, i, ret_pin);
		if (r == -EAGAIN)
			continue;
		if (r < 0)
			return r;
		if (mproc__reap_locked(range, NULL, i)) {
			mproc__token_drop(*ret_pin);
			continue;
		}
		if (forked && madvise(*ret_pin, page, MADV_DOFORK) < 0) {
			r = -errno;
			mproc__token_drop(*ret_pin);
			return mproc__fail_errno(r, "attach: madvise");
		}
		*ret_proc = i;
		return 0;
	}
	return mproc__fail(-EUSERS,
			   "attach: all %" PRIu32 " process slots of the segment are taken",
			   range->n_procs);
}

/* Attach this process to @range. The caller holds the fork lock. */
static int process_attach(struct mproc__range *range)
{
	struct attachment *at = &process->at[range->index];
	int r;

	/* Who only reads is none of those who take part. */
	if (at->attached || range->read_only)
		return 0;
	r = slot_take(range, false, &at->proc, &at->pin);
	if (r < 0)
		return r;
	slot_publish(range, at->proc);
	at->attached = 1;
	return 0;
}

int mproc__range_attach_all(void)
{
	int r = 0, first = 0;

	mproc__fork_lock();
	for (uint32_t i = 0; i < MPROC__RANGES_MAX; i++) {
		if (atomic_load_explicit(&ranges[i].base, memory_order_relaxed) &&
		    !mproc__range_is_spoilt(&ranges[i]))
			r = process_attach(&ranges[i]);
		if (r < 0 && !first)
			first = r;
	}
	mproc__fork_unlock();
	return first;
}

/* Raise @word to @value; it never falls. */
static void raise_size(_Atomic(size_t) *word, size_t value)
{
	size_t was = atomic_load_explicit(word, memory_order_relaxed);

	while (was < value &&
	       !atomic_compare_exchange_weak_explicit(word, &was, value, memory_order_relaxed,
						      memory_order_relaxed))
		;
}

/* Bytes of the range's file, 0 if it cannot be asked. */
static uint64_t file_size(struct mproc__range *range)
{
	int saved = errno, fd, cancel;
	uint64_t size = 0;
	struct stat st;

	/* One call tells whose size it is: the number may have become another file's. */
	fd = atomic_load_explicit(&range->fd, memory_order_relaxed);
	if (fstat(fd, &st) == 0 && st.st_dev == range->dev && st.st_ino == range->ino) {
		size = (uint64_t)st.st_size;
	} else {
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
		fd = mproc__range_reopen(range, NULL);
		if (fd >= 0) {
			size = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
			close(fd);
		}
		pthread_setcancelstate(cancel, &cancel);
	}
	errno = saved;
	return size;
}

bool mproc__range_is_blind(struct mproc__range *range)
{
	return file_size(range) == 0;
}

uint64_t mproc__range_grown(struct mproc__range *range)
{
	/* Acquire: who sees what a sibling has found out sees the bytes that it raised before. */
	uint64_t known = atomic_load_explicit(&range->known, memory_order_acquire), now;
	size_t size = atomic_load_explicit(&range->size, memory_order_relaxed);

	if (!range->published)
		return known;
	/* Acquire: what was allocated before it was published. */
	now = atomic_load_explicit(range->published, memory_order_acquire);
	if (now <= known || now > range->max || now > file_size(range))
		return known;
	raise_size(&range->bytes, now < size ? (size_t)now : size);
	/* Release, and last. */
	while (known < now &&
	       !atomic_compare_exchange_weak_explicit(&range->known, &known, now,
						      memory_order_release, memory_order_acquire))
		;
	return known < now ? now : known;
}

/*
 * Describe the mapping in a free entry of the table, which nobody can find there yet.
 *
 * Return: 0, -ENOMEM, -EMFILE, -EBADMSG or what fstat(2) says; with a text.
 */
static int range_fill(struct mproc__range **ret, const struct mproc__mapping *mapping,
		      struct mproc__registry *reg, uint64_t reg_room, int fd, const char *path)
{
	struct mproc__range *range = NULL;
	struct stat st;

	if (process->key == UINT64_MAX)
		return mproc__fail(-ENOMEM, "attach: no memory that fork wipes (MADV_WIPEONFORK)");
	for (uint32_t i = 0; i < MPROC__RANGES_MAX && !range; i++)
		if (!atomic_load_explicit(&ranges[i].base, memory_order_relaxed))
			range = &ranges[i];
	if (!range)
		return mproc__fail(-EMFILE, "attach: %u segments are attached, the limit",
				   MPROC__RANGES_MAX);
	if (fstat(fd, &st) < 0)
		return mproc__fail_errno(-errno, "attach: descriptor %d", fd);

	range->index = (uint32_t)(range - ranges);
	/* Release: who still takes the entry for another range sees its base withdrawn. */
	atomic_store_explicit(&range->size, mapping->size, memory_order_release);
	atomic_store_explicit(&range->spoilt, 0, memory_order_relaxed);
	atomic_store_explicit(&range->bytes,
			      mapping->bytes < mapping->size ? mapping->bytes : mapping->size,
			      memory_order_relaxed);
	atomic_store_explicit(&range->known, mapping->bytes, memory_order_relaxed);
	range->published = mapping->published;
	range->max = mapping->max;
	range->hole = mapping->hole;
	range->hole_end = mapping->hole_end;
	range->reg = reg;
	range->n_procs = atomic_load_explicit(&reg->n_procs, memory_order_relaxed);
	range->n_threads = atomic_load_explicit(&reg->n_threads, memory_order_relaxed);
	if (!range->n_procs || range->n_procs > MPROC__PROCS_MAX || !range->n_threads ||
	    range->n_threads > MPROC__THREADS_MAX ||
	    mproc__registry_size(range->n_procs, range->n_threads) > reg_room)
		return mproc__fail(-EBADMSG,
				   "attach: a registry of %" PRIu32 " processes and %" PRIu32
				   " threads is impossible here",
				   range->n_procs, range->n_threads);
	range->procs = (void *)((char *)reg + mproc__registry_procs_off());
	range->threads = (void *)((char *)reg + mproc__registry_threads_off(range->n_procs));
	/* Asked for, and there is room: the options are no more to be believed than the rest. */
	range->order = NULL;
	if ((atomic_load_explicit(&reg->options, memory_order_relaxed) &
	     MPROC__OPTION_LOCK_ORDER) &&
	    mproc__order_registry_size(range->n_procs, range->n_threads) <= reg_room)
		range->order =
			(void *)((char *)reg + mproc__order_off(range->n_procs, range->n_threads));
	atomic_store_explicit(&range->fd, fd, memory_order_relaxed);
	range->dev = st.st_dev;
	range->ino = st.st_ino;
	range->named = path;
	snprintf(range->path, sizeof(range->path), "%s", path ? path : "");
	memset(&process->at[range->index], 0, sizeof(process->at[0]));
	*ret = range;
	return 0;
}

int mproc__range_add(struct mproc__range **ret, const struct mproc__mapping *mapping,
		     struct mproc__registry *reg, uint64_t reg_room, int fd, const char *path,
		     void *owner)
{
	struct mproc__range *range;
	int r;

	r = range_fill(&range, mapping, reg, reg_room, fd, path);
	if (r < 0)
		return r;
	range->owner = owner;
	range->read_only = false;
	r = mproc__token_selftest(fd, path ? path : "memfd");
	if (r < 0)
		return r;
	/* Reaping, which attaching may entail, needs both. */
	*ret = range;
	atomic_store_explicit(&range->base, (uintptr_t)mapping->base, memory_order_release);
	r = process_attach(range);
	if (r < 0) {
		atomic_store_explicit(&range->base, 0, memory_order_release);
		*ret = NULL;
	}
	return r;
}

int mproc__range_add_read_only(struct mproc__range **ret, const struct mproc__mapping *mapping,
			       struct mproc__registry *reg, uint64_t reg_room, int fd,
			       const char *path, void *owner)
{
	struct mproc__range *range;
	int r;

	r = range_fill(&range, mapping, reg, reg_room, fd, path);
	if (r < 0)
		return r;
	range->owner = owner;
	range->read_only = true;
	*ret = range;
	/* Before anybody can come upon an address in it. */
	atomic_fetch_add_explicit(&mproc__n_read_only, 1, memory_order_relaxed);
	atomic_store_explicit(&range->base, (uintptr_t)mapping->base, memory_order_release);
	return 0;
}

void mproc__range_remove(struct mproc__range *range)
{
	struct attachment *at = &process->at[range->index];
	int fd = atomic_load_explicit(&range->fd, memory_order_relaxed);
	struct stat st;

	for (struct holder *h = atomic_load(&holders); h; h = h->next) {
		if (!atomic_load(&h->used))
			continue;
		for (uint32_t i = 0; i < MPROC__RANGES_MAX; i++)
			if (h->identity->at[i].range == range) {
				atomic_store_explicit(&h->identity->at[i].size, 0,
						      memory_order_relaxed);
				atomic_store_explicit(&h->identity->at[i].kept, 0,
						      memory_order_relaxed);
			}
	}
	if (at->attached) {
		/* We hold our own byte: reaping ourselves is leaving in good order. */
		mproc__reap_locked(range, NULL, at->proc);
		mproc__token_drop(at->pin);
	}
	memset(at, 0, sizeof(*at));
	atomic_store_explicit(&range->base, 0, memory_order_release);
	if (range->read_only)
		atomic_fetch_sub_explicit(&mproc__n_read_only, 1, memory_order_relaxed);
	/* A number that was recycled is not ours to close. */
	if (fstat(fd, &st) == 0 && st.st_dev == range->dev && st.st_ino == range->ino)
		close(fd);
}

/* An identity of all zeroes, old or new. */
static struct holder *holder_get(void)
{
	struct holder *h;

	for (h = atomic_load(&holders); h; h = h->next) {
		uint32_t unused = 0;

		if (atomic_compare_exchange_strong(&h->used, &unused, 1))
			return h;
	}
	h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->identity = wiped_alloc(sizeof(*h->identity));
	if (!h->identity) {
		free(h);
		return NULL;
	}
	atomic_init(&h->used, 1);
	h->next = atomic_load(&holders);
	while (!atomic_compare_exchange_weak(&holders, &h->next, h))
		;
	return h;
}

static void holder_put(struct holder *h)
{
	memset(h->identity, 0, sizeof(*h->identity));
	h->pin = NULL;
	atomic_store(&h->used, 0);
}

static struct holder *holder_of(const struct mproc__identity *identity)
{
	struct holder *h = atomic_load(&holders);

	while (h && h->identity != identity)
		h = h->next;
	return h;
}

static bool is_attached(const struct mproc__self *me)
{
	return atomic_load_explicit(&me->size, memory_order_relaxed) ||
	       atomic_load_explicit(&me->kept, memory_order_relaxed);
}

/* A thread ends: what it holds passes on as inherited. */
static void thread_end(void *arg)
{
	struct holder *h = arg;

	mproc__fork_lock();
	for (uint32_t i = 0; i < MPROC__RANGES_MAX; i++) {
		struct mproc__self *me = &h->identity->at[i];

		if (is_attached(me))
			mproc__thread_release(me->range, me->rec);
	}
	holder_put(h);
	mproc__identity = &nobody;
	mproc__fork_unlock();
}

void mproc__self_end(void)
{
	void *h = pthread_getspecific(thread_key);

	if (h && pthread_setspecific(thread_key, NULL) == 0)
		thread_end(h);
}

/* Claim a record in @range for the calling thread. The caller holds the fork lock. */
static struct mproc__self *thread_attach(struct mproc__range *range, uint32_t proc)
{
	struct mproc__self *me = NULL;
	int r;

	for (uint32_t i = 0; i < MPROC__RANGES_MAX && !me; i++)
		if (!is_attached(&mproc__identity->at[i]))
			me = &mproc__identity->at[i];
	if (!me) {
		self_error = -EMFILE;
		return NULL;
	}
	r = mproc__thread_claim(me, range, proc);
	if (r == -EUSERS && mproc__reap_all_held(range, NULL) > 0)
		r = mproc__thread_claim(me, range, proc);
	if (r < 0) {
		self_error = mproc__fail(
			r, "attach: all %" PRIu32 " thread records of the segment are taken",
			range->n_threads);
		return NULL;
	}
	pthread_getname_np(pthread_self(), me->rec->name, sizeof(me->rec->name));
	return me;
}

struct mproc__self *mproc__self_slow(const void *object, const char *what)
{
	struct mproc__range *range;
	struct mproc__self *me = NULL;
	int r;

	for (uint32_t i = 1; i < MPROC__RANGES_MAX; i++) {
		me = &mproc__identity->at[i];
		if ((uintptr_t)object - me->base <
		    atomic_load_explicit(&me->size, memory_order_relaxed))
			return me;
	}
	range = mproc__range_find(object);
	if (!range) {
		self_error = mproc__fail(-ENOTCONN, "%s: address %p lies in no attached segment",
					 what, object);
		return NULL;
	}
	if (mproc__range_is_spoilt(range)) {
		me = self_spoilt(range);
		if (!me)
			self_error = mproc__range_refuse(what);
		return me;
	}
	if (range->read_only) {
		self_error = mproc__fail_read_only(what);
		return NULL;
	}
	mproc__fork_lock();
	me = NULL;
	r = process_attach(range);
	if (r < 0) {
		self_error = r;
		goto out;
	}
	if (mproc__identity == &nobody) {
		struct holder *h = holder_get();

		if (!h || pthread_setspecific(thread_key, h) != 0) {
			if (h)
				holder_put(h);
			self_error =
				mproc__fail(-ENOMEM, "%s: no memory for a thread's identity", what);
			goto out;
		}
		mproc__identity = h->identity;
	}
	me = thread_attach(range, process->at[range->index].proc);
	/* Meanwhile, and those who said so may not have seen us. */
	if (me && atomic_load(&range->spoilt)) {
		mproc__range_spoil(range);
		self_error = mproc__range_refuse(what);
		me = NULL;
	}
out:
	mproc__fork_unlock();
	return me;
}

int mproc__identity_new(struct mproc__identity **ret, struct mproc__range *range)
{
	struct mproc__identity *was = mproc__identity;
	struct holder *h;
	uint32_t proc;
	int r;

	mproc__fork_lock();
	h = holder_get();
	r = h ? slot_take(range, false, &proc, &h->pin) : -ENOMEM;
	if (r == 0) {
		slot_publish(range, proc);
		mproc__identity = h->identity;
		r = thread_attach(range, proc) ? 0 : self_error;
		mproc__identity = was;
	}
	if (r < 0 && h) {
		mproc__token_drop(h->pin);
		holder_put(h);
	}
	mproc__fork_unlock();
	if (r == 0)
		*ret = h->identity;
	return r;
}

struct mproc__identity *mproc__identity_act(struct mproc__identity *identity)
{
	struct mproc__identity *was = mproc__identity;

	mproc__identity = identity ? identity : &nobody;
	return was == &nobody ? NULL : was;
}

void mproc__identity_kill(struct mproc__identity *identity)
{
	struct holder *h = holder_of(identity);

	mproc__fork_lock();
	mproc__token_drop(h->pin);
	holder_put(h);
	mproc__fork_unlock();
}

static void fork_prepare(void)
{
	char text[MPROC__ERROR_MAX];

	mproc__fork_lock();
	mproc__error_keep(text);
	for (uint32_t i = 0; i < MPROC__RANGES_MAX; i++) {
		handover[i].attached = 0;
		if (!atomic_load_explicit(&ranges[i].base, memory_order_relaxed) ||
		    !ranges[i].named || !process->at[i].attached)
			continue;
		/* Without a free slot the child attaches on its first call, if it can. */
		if (slot_take(&ranges[i], true, &handover[i].proc, &handover[i].pin) == 0)
			handover[i].attached = 1;
		else
			mproc__error_put_back(text);
	}
}

static void fork_parent(void)
{
	for (uint32_t i = 0; i < MPROC__RANGES_MAX; i++)
		if (handover[i].attached)
			mproc__token_drop(handover[i].pin);
	mproc__fork_unlock();
}

static void fork_child(void)
{
	int cancel = cancel_state;

	/* The lock that fork_prepare() took was wiped with its page. */
#if defined(__SANITIZE_THREAD__)
	/* ThreadSanitizer remembers it all the same, as locked. */
	pthread_mutex_unlock(&process->lock);
	memset(&process->lock, 0, sizeof(process->lock));
#endif
	mproc__fork_lock();
	cancel_state = cancel;
	/* Threads other than ours are not here to give their identities back. */
	for (struct holder *h = atomic_load(&holders); h; h = h->next)
		if (h != pthread_getspecific(thread_key) && h->identity != mproc__identity) {
			h->pin = NULL;
			atomic_store(&h->used, 0);
		}
	for (uint32_t i = 0; i < MPROC__RANGES_MAX; i++) {
		if (!handover[i].attached)
			continue;
		madvise(handover[i].pin, (size_t)sysconf(_SC_PAGESIZE), MADV_DONTFORK);
		process->at[i] = handover[i];
		slot_publish(&ranges[i], handover[i].proc);
	}
	mproc__fork_unlock();
}
