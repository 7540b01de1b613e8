/* SPDX-License-Identifier: MIT */

/*
 * The files of segments: made complete, found by name, removed when nobody is left
 *
 * A file is made without a name (O_TMPFILE), allocated, filled, and its creator is
 * attached to it before linkat(2) gives it the name: who finds it finds it whole,
 * with a living participant. Killed before, the kernel frees it. Where files cannot
 * be without a name it has a temporary one, which is a second link; its creator
 * holds byte A of it until he has removed that.
 *
 * Byte A, one lock in the kernel for each inode, orders those who come and those
 * who remove the name:
 *
 *	who opens	holds it shared, from before he looks whether the name still
 *			leads here until he is attached
 *	who removes	holds it alone, while he looks whether anybody is attached and
 *			whether the name still leads here, and unlinks
 *
 * So nobody attaches to a segment whose name is about to go, and nobody removes a
 * name that has been given to another inode. A byte falls with its holder: there is
 * nothing to be repaired. Nobody waits for it in the kernel, since its holder may be
 * stopped; who does not get it in 100 ms leaves the work to whoever comes next.
 *
 * A name without a living participant counts as absent, and whoever comes upon it
 * removes it.
 */

#include "shm/segment_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "ipc/error.h"
#include "ipc/participant.h"
#include "shm/memory.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif

#define TRIES     100                  /* for byte A, a millisecond apart */
#define CHUNK     (UINT64_C(32) << 20) /* allocated at a time: a signal begins one anew, not all */
#define CHUNK_MIN (UINT64_C(64) << 10)
#define TMP_TAIL  "XXXXXX"

static char dir[MPROC__PATH_MAX];
static pthread_once_t dir_once = PTHREAD_ONCE_INIT;

static void dir_read(void)
{
	const char *given = secure_getenv("MPROC_DIR");
	char *resolved;

	if (!given || !*given)
		given = MPROC__SEGMENT_DIR;
	/* A program that changes its directory, as daemon(3) does, still finds it. */
	resolved = realpath(given, NULL);
	snprintf(dir, sizeof(dir), "%s", resolved ? resolved : given);
	free(resolved);
}

const char *mproc__segment_dir(void)
{
	pthread_once(&dir_once, dir_read);
	return dir;
}

int mproc__segment_dir_of(char ret[MPROC__PATH_MAX], const char *given, const char *what)
{
	char *resolved;
	int r = 0;

	if (!given) {
		snprintf(ret, MPROC__PATH_MAX, "%s", mproc__segment_dir());
		return 0;
	}
	resolved = realpath(given, NULL);
	if (!resolved)
		return mproc__fail_errno(-errno, "%s: directory %s", what, given);
	if (snprintf(ret, MPROC__PATH_MAX, "%s", resolved) >= MPROC__PATH_MAX)
		r = mproc__fail(-ENAMETOOLONG, "%s: the path of %.80s is too long", what, resolved);
	free(resolved);
	return r;
}

int mproc__segment_path(char path[MPROC__PATH_MAX], const char *name, const char *what)
{
	return mproc__segment_path_in(path, mproc__segment_dir(), name, what);
}

int mproc__segment_path_in(char path[MPROC__PATH_MAX], const char *in, const char *name,
			   const char *what)
{
	size_t len = strlen(name);

	if (!len || len > MPROC_SEGMENT_NAME_MAX)
		return mproc__fail(-EINVAL, "%.80s: a name of %zu bytes, 1 to %d are possible",
				   what, len, MPROC_SEGMENT_NAME_MAX);
	if (name[0] == '.' || strchr(name, '/'))
		return mproc__fail(-EINVAL, "%s: a name has no slash and does not begin with a dot",
				   what);
	if (snprintf(path, MPROC__PATH_MAX, "%s/" MPROC__SEGMENT_PREFIX "%s", in, name) >=
	    MPROC__PATH_MAX)
		return mproc__fail(-ENAMETOOLONG, "%.80s: its path in %.80s is too long", what, in);
	return 0;
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

int mproc__file_reopen(int fd, const char *path, bool read_only)
{
	int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	struct stat want, got;
	char self[32];
	int own;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	own = open(self, flags);
	if (own >= 0)
		return own;
	if (!path)
		return -errno;
	own = open(path, flags | O_NOFOLLOW);
	if (own < 0)
		return -errno;
	if (fstat(fd, &want) == 0 && fstat(own, &got) == 0 && want.st_dev == got.st_dev &&
	    want.st_ino == got.st_ino)
		return own;
	close(own);
	return -ESTALE;
}

/* Byte A of the file, tried for 100 ms. Return: 0, -EBUSY or what fcntl(2) says. */
static int take_attach(void **ret, int fd, const char *path, short type, const char *what)
{
	int own, r = -EAGAIN;

	for (int i = 0; i < TRIES && r == -EAGAIN; i++) {
		if (i)
			nap();
		own = mproc__file_reopen(fd, path, false);
		if (own < 0)
			return mproc__fail_errno(own, "%s: open again", what);
		r = mproc__token_take(ret, own, MPROC__BYTE_ATTACH, type);
	}
	if (r == -EAGAIN)
		return mproc__fail(-EBUSY, "%s: for %d ms another process was %s it", what, TRIES,
				   type == F_WRLCK ? "opening" : "removing");
	return r < 0 ? mproc__fail_errno(r, "%s: lock", what) : 0;
}

bool mproc__file_leads_here(int fd, const char *path)
{
	struct stat here, there;

	return fstat(fd, &here) == 0 && here.st_nlink > 0 && lstat(path, &there) == 0 &&
	       here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

static int make_anonymous(struct mproc__file *ret, const char *what)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

	ret->fd = memfd_create(MPROC__SEGMENT_MEMFD, flags | MFD_NOEXEC_SEAL);
	if (ret->fd < 0 && errno == EINVAL)
		ret->fd = memfd_create(MPROC__SEGMENT_MEMFD, flags);
	return ret->fd < 0 ? mproc__fail_errno(-errno, "%s: memfd", what) : 0;
}

/* A file of a temporary name, whose byte A we hold: who removes leftovers leaves it. */
static int make_temporary(struct mproc__file *ret, const char *what)
{
	struct stat st;
	int r;

	for (int i = 0; i < TRIES; i++) {
		if (snprintf(ret->tmp, sizeof(ret->tmp), "%s/" MPROC__SEGMENT_TMP TMP_TAIL,
			     ret->dir) >= (int)sizeof(ret->tmp))
			return mproc__fail(-ENAMETOOLONG, "%s: the path of %.80s is too long", what,
					   ret->dir);
		ret->fd = mkostemp(ret->tmp, O_CLOEXEC);
		if (ret->fd < 0)
			break;
		r = take_attach(&ret->pin, ret->fd, ret->tmp, F_RDLCK, what);
		if (r == 0 && fstat(ret->fd, &st) == 0 && st.st_nlink > 0)
			return 0;
		/* Taken for a leftover before we had the lock. */
		mproc__file_discard(ret);
		close(ret->fd);
		if (r < 0)
			return r;
		errno = EBUSY;
	}
	return mproc__fail_errno(-errno, "%s: %s", what, ret->dir);
}

int mproc__file_make(struct mproc__file *ret, const char *in, const char *name, const char *what)
{
	int r;

	ret->dir[0] = '\0';
	ret->path[0] = '\0';
	ret->tmp[0] = '\0';
	ret->pin = NULL;
	if (!name)
		return make_anonymous(ret, what);
	r = mproc__segment_dir_of(ret->dir, in, what);
	if (r == 0)
		r = mproc__segment_path_in(ret->path, ret->dir, name, what);
	if (r < 0)
		return r;
	ret->fd = open(ret->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (ret->fd >= 0)
		return 0;
	if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)
		return make_temporary(ret, what);
	return mproc__fail_errno(-errno, "%s: %s", what, ret->dir);
}

int mproc__file_room(int fd, const char *path, uint64_t end, uint64_t bytes, char *why, size_t cap)
{
	const char *slash = strrchr(path, '/');
	uint64_t left;
	struct rlimit limit;
	struct statvfs fs;
	char have[24];

	/* Beyond this limit fallocate(2) sends a signal that kills. */
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < end) {
		snprintf(why, cap, "files may have %s (RLIMIT_FSIZE)",
			 mproc__size_text(have, limit.rlim_cur));
		return -EFBIG;
	}
	left = mproc__memory_left("");
	if (left < bytes) {
		snprintf(why, cap, "%s left in the memory cgroup", mproc__size_text(have, left));
		return -ENOMEM;
	}
	/* Said also when fallocate(2) should find that it is not enough. */
	if (fstatvfs(fd, &fs) < 0 || !fs.f_blocks) {
		/* Nothing but memory limits this filesystem, and where it ends processes are
		 * killed. */
		left = mproc__memory_available("");
		snprintf(why, cap, "%s of memory available", mproc__size_text(have, left));
	} else {
		left = (uint64_t)fs.f_bavail * fs.f_frsize;
		snprintf(why, cap, "%s free on %.*s", mproc__size_text(have, left),
			 slash ? (int)(slash - path) : 2, slash ? path : "it");
	}
	/* What cannot succeed would take the others' room for a while. */
	return left < bytes ? -ENOSPC : 0;
}

int mproc__file_extend(int fd, const struct mproc__span *spans, uint32_t n)
{
	uint64_t chunk = CHUNK;
	int r = 0;

	for (uint32_t i = 0; i < n; i++) {
		for (uint64_t at = spans[i].off; at < spans[i].end;) {
			uint64_t len = spans[i].end - at < chunk ? spans[i].end - at : chunk;

			r = fallocate(fd, 0, (off_t)at, (off_t)len) < 0 ? -errno : 0;
			if (r == 0)
				at += len;
			else if (r != -EINTR)
				return r;
			else if (chunk > CHUNK_MIN)
				chunk /= 2; /* signals that come often must not come in between */
		}
	}
	return 0;
}

int mproc__file_allocate(const struct mproc__file *file, const struct mproc__span *spans,
			 uint32_t n, const char *what)
{
	uint64_t bytes = 0;
	char want[24], why[MPROC__PATH_MAX];
	int r;

	for (uint32_t i = 0; i < n; i++)
		bytes += spans[i].end - spans[i].off;
	mproc__size_text(want, bytes);
	snprintf(why, sizeof(why), "in memory");
	r = mproc__file_room(file->fd, file->path, spans[n - 1].end, bytes, why, sizeof(why));
	if (r < 0)
		return mproc__fail(r, "%s: %s wanted, %s", what, want, why);
	r = mproc__file_extend(file->fd, spans, n);
	if (r == -EOPNOTSUPP)
		return mproc__fail(r,
				   "%s: the filesystem of %s cannot allocate in advance "
				   "(fallocate), and a full one would kill whoever writes",
				   what, file->path[0] ? file->dir : "memory");
	return r < 0 ? mproc__fail_errno(r, "%s: %s wanted, %s", what, want, why) : 0;
}

void mproc__file_discard(struct mproc__file *file)
{
	if (file->tmp[0] && mproc__file_leads_here(file->fd, file->tmp))
		unlink(file->tmp);
	file->tmp[0] = '\0';
	mproc__token_drop(file->pin);
	file->pin = NULL;
}

static int give_name(const struct mproc__file *file)
{
	char self[32];
	int r;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", file->fd);
	r = file->tmp[0] ? link(file->tmp, file->path)
			 : linkat(AT_FDCWD, self, AT_FDCWD, file->path, AT_SYMLINK_FOLLOW);
	return r < 0 ? -errno : 0;
}

int mproc__file_give(const struct mproc__file *file, uint32_t gid, const char *what)
{
	if (fchown(file->fd, (uid_t)-1, (gid_t)gid) < 0)
		return mproc__fail_errno(-errno, "%s: group %" PRIu32, what, gid);
	return 0;
}

int mproc__file_publish(struct mproc__file *file, uint32_t mode, const char *what)
{
	int r;

	/* Whatever the umask is. */
	if (fchmod(file->fd, (mode_t)mode) < 0)
		return mproc__fail_errno(-errno, "%s: chmod", what);
	if (!file->path[0]) {
		r = fcntl(file->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL);
		return r < 0 ? mproc__fail_errno(-errno, "%s: seal", what) : 0;
	}
	while ((r = give_name(file)) == -EEXIST) {
		r = mproc__file_vacate(file->path, what);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return mproc__fail_errno(r, "%s: %s", what, file->path);
	mproc__file_discard(file);
	return 0;
}

/* Whose is it, and what? Return: 0, or -EPERM, -EPROTO. */
static int check_kind(const struct stat *st, bool any_owner, const char *what)
{
	if (S_ISLNK(st->st_mode))
		return mproc__fail(-EPERM, "%s: it is a symbolic link, which is not followed",
				   what);
	if (!any_owner && st->st_uid != geteuid() && st->st_uid != 0)
		return mproc__fail(-EPERM, "%s: it belongs to user %u, not to %u", what,
				   (unsigned)st->st_uid, (unsigned)geteuid());
	if (!S_ISREG(st->st_mode))
		return mproc__fail(-EPROTO, "%s: it is no regular file", what);
	return 0;
}

int mproc__file_ours(int fd, bool any_owner, const char *what)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return mproc__fail_errno(-errno, "%s", what);
	return check_kind(&st, any_owner, what);
}

/* With a text, but for -ENOENT. */
static int fail_at(const char *path, int error, const char *what)
{
	return error == ENOENT ? -ENOENT : mproc__fail_errno(-error, "%s: %s", what, path);
}

int mproc__file_find_as(const char *path, bool read_only, bool any_owner, const char *what)
{
	int flags = (read_only ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_CLOEXEC;
	struct stat st;
	int fd, r;

	/* To open it may do something: to who waits at a fifo, or has a lease on a file. */
	if (lstat(path, &st) < 0)
		return fail_at(path, errno, what);
	r = check_kind(&st, any_owner, what);
	if (r < 0)
		return r;
	/* By now it may be another: a terminal that must not be ours, something to wait for. */
	fd = open(path, flags | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return fail_at(path, errno, what);
	r = mproc__file_ours(fd, any_owner, what);
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

int mproc__file_find(const char *path, const char *what)
{
	return mproc__file_find_as(path, false, false, what);
}

int mproc__file_head(int fd, struct mproc__segment_head *ret, const char *what)
{
	ssize_t n = pread(fd, ret, sizeof(*ret), 0);

	if (n < 0)
		return mproc__fail_errno(-errno, "%s: read", what);
	if ((size_t)n < sizeof(*ret) || !mproc__segment_is_one(ret))
		return mproc__fail(-EPROTO, "%s: it is no segment", what);
	return 0;
}

int mproc__file_enter(void **ret, int fd, const char *path, const char *what)
{
	int r = take_attach(ret, fd, path, F_RDLCK, what);

	if (r < 0)
		return r;
	if (mproc__file_leads_here(fd, path))
		return 0;
	mproc__token_drop(*ret);
	return -EAGAIN;
}

int mproc__file_lived_in(int fd)
{
	/* All the bytes that could be slots: a segment of another layout counts as well. */
	return mproc__token_query(fd, MPROC__BYTE_SLOT(0), MPROC__PROCS_MAX);
}

/* Is a process other than our own attached, and not about to leave? Return: 1, 0, negative. */
static int somebody_stays(int fd, const struct mproc__attached *a)
{
	int r = mproc__file_lived_in(fd);

	if (r <= 0 || !a->procs)
		return r;
	for (uint32_t i = 0; i < a->n_procs; i++) {
		uint64_t st = atomic_load_explicit(&a->procs[i].st, memory_order_acquire);
		uint64_t leaving = atomic_load_explicit(&a->procs[i].leaving, memory_order_relaxed);

		if ((int)i == a->own || (mproc__proc_state(st) == MPROC__PROC_LIVE &&
					 leaving == mproc__proc_generation(st)))
			continue;
		r = mproc__token_query(fd, MPROC__BYTE_SLOT(i), 1);
		if (r)
			return r;
	}
	return 0;
}

/* Under byte A, which we hold alone. Return: 1, 0 or what unlink(2) says. */
static int unlink_held(int fd, const char *path, const char *what)
{
	if (!mproc__file_leads_here(fd, path))
		return 0;
	if (unlink(path) < 0)
		return mproc__fail_errno(-errno, "%s: remove %s", what, path);
	return 1;
}

int mproc__file_remove(int fd, const char *path, const struct mproc__attached *attached,
		       const char *what)
{
	void *alone;
	int r;

	r = take_attach(&alone, fd, path, F_WRLCK, what);
	if (r < 0)
		return r;
	r = attached ? somebody_stays(fd, attached) : 0;
	r = r == 0 ? unlink_held(fd, path, what) : 0;
	mproc__token_drop(alone);
	return r;
}

/* Is what @fd opens a leftover? Return: 1, or negative with a text. */
static int is_leftover(int fd, const char *what)
{
	struct mproc__segment_head head;
	int r;

	r = mproc__file_head(fd, &head, what);
	if (r < 0)
		return r;
	/* Of whatever layout; but with another byte order we cannot read its flags. */
	if (head.byte_order != MPROC__SEGMENT_BYTE_ORDER)
		return mproc__fail(-EEXIST, "%s: the name is a segment's of another byte order",
				   what);
	if (head.flags & MPROC_SEGMENT_PERSISTENT)
		return mproc__fail(-EEXIST, "%s: the name is a persistent segment's", what);
	r = mproc__file_lived_in(fd);
	if (r < 0)
		return mproc__fail_errno(r, "%s: lock", what);
	return r ? mproc__fail(-EEXIST, "%s: the name is in use", what) : 1;
}

int mproc__file_clear(const char *path, const char *what)
{
	static const struct mproc__attached nobody = { .own = -1 };
	int fd, r;

	fd = mproc__file_find(path, what);
	if (fd < 0)
		return fd;
	r = is_leftover(fd, what);
	if (r > 0)
		r = mproc__file_remove(fd, path, &nobody, what);
	close(fd);
	return r;
}

int mproc__file_vacate(const char *path, const char *what)
{
	int r;

	/* Each turn but the last has seen another process do something. */
	do {
		r = mproc__file_clear(path, what);
	} while (r >= 0);
	/* What is no segment takes the name as well. */
	return r == -ENOENT ? 0 : r == -EPROTO ? -EEXIST : r;
}
