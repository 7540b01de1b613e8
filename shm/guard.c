/* SPDX-License-Identifier: MIT */

/*
 * A guard against those who cut the files of segments
 *
 * A mapping whose file has become shorter is there still, without pages: an access
 * raises SIGBUS with the address. The handler maps a page over it and returns, and the
 * instruction that failed is done again. So no call is left half-way: what it writes
 * goes to a page of our own, its locks are released by the same code as ever, and the
 * loops over shared data end because they are bounded by private numbers.
 *
 * All that the handler uses is the table of ranges, whose entries are published by
 * one store, and mmap(2), which is a bare system call. Two threads that fail on one page
 * at the same time map two pages, one over the other: what the first has written
 * there since is lost, in a page that is nobody's data.
 *
 * A SIGBUS of another kind (a misaligned access, broken memory), of another address, or
 * sent by kill(2) is none of ours. What was set before gets it as the kernel would have
 * given it: a handler is called; where there is none the default is set again, and the
 * access, done again, ends the process by a signal that names the right address.
 */

#include <mproc/guard.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/attach.h"
#include "ipc/error.h"
#include "shm/segment.h"

/* Written before the handler can run, and read by it alone. */
static struct sigaction previous;
static uintptr_t page_size;

static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;
static bool installed;

/* A page of zeroes where the segment has none any more. Return: was it a segment's? */
static bool mend(const siginfo_t *info)
{
	uintptr_t at = (uintptr_t)info->si_addr & ~(page_size - 1);
	struct mproc__range *range;
	uintptr_t off;

	if (info->si_code != BUS_ADRERR)
		return false;
	range = mproc__range_find(info->si_addr);
	if (!range)
		return false;
	/*
	 * Behind what is memory as far as this process knows there are addresses for the
	 * growth to come. Nobody has been led there, so a stray pointer of the program was,
	 * and no file was cut: what is wrong would be found out later, and not be this.
	 */
	off = (uintptr_t)info->si_addr - atomic_load_explicit(&range->base, memory_order_relaxed);
	if (off >= atomic_load_explicit(&range->bytes, memory_order_relaxed) &&
	    !mproc__range_is_spoilt(range))
		return false;
	mproc__range_spoil(range);
	return mmap((void *)at, page_size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

/* What the kernel would have done had we not been here. */
static void pass_on(int sig, siginfo_t *info, void *context)
{
	const struct sigaction by_default = { .sa_handler = SIG_DFL };

	if (previous.sa_flags & SA_SIGINFO) {
		previous.sa_sigaction(sig, info, context);
		return;
	}
	if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
		previous.sa_handler(sig);
		return;
	}
	/* A signal of an access cannot be ignored: the access would fail for ever. */
	if (previous.sa_handler == SIG_IGN && info->si_code <= 0)
		return;
	sigaction(sig, &by_default, NULL);
	/* Blocked while we are here; an access needs no signal, it fails again. */
	if (info->si_code <= 0)
		raise(sig);
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	int saved = errno;

	if (!mend(info))
		pass_on(sig, info, context);
	errno = saved;
}

static int install(void)
{
	struct sigaction ours = { .sa_sigaction = on_sigbus };

	page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
	if (sigaction(SIGBUS, NULL, &previous) < 0)
		return mproc__fail_errno(-errno, "guard install: sigaction");
	/* As the one that we may call expects it; where there is a stack for signals, on it. */
	ours.sa_mask = previous.sa_mask;
	ours.sa_flags = SA_SIGINFO | SA_ONSTACK | (previous.sa_flags & (SA_RESTART | SA_NODEFER));
	if (sigaction(SIGBUS, &ours, NULL) < 0)
		return mproc__fail_errno(-errno, "guard install: sigaction");
	installed = true;
	return 0;
}

int mproc_guard_install(uint32_t flags)
{
	int r;

	if (flags)
		return mproc__fail(-EINVAL, "guard install: unknown flags 0x%x", (unsigned)flags);
	pthread_mutex_lock(&install_lock);
	r = installed ? 0 : install();
	pthread_mutex_unlock(&install_lock);
	return r;
}

bool mproc_guard_is_corrupt(const mproc_segment *segment)
{
	assert(segment);
	return mproc__range_is_spoilt(segment->range);
}
