/* SPDX-License-Identifier: MIT */

/*
 * Attaching to a segment that others use: by name, by descriptor, to read
 *
 * A child keeps the segment, with a few objects and other participants in it, so that
 * nobody who leaves is the last. The time is that of the attach alone, each followed by
 * a close that is not measured. The limit is what the kernel takes for a file and a
 * mapping; a peer is the same by shm_open(3), which finds no dead and checks nothing.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mproc/segment.h>
#include <mproc/value.h>

#include "bench/bench.h"

#define ROUNDS 2000
#define KEPT   8 /* processes that are attached */

static char name[64];

struct keeper {
	_Atomic(uint32_t) ready;
};

static void keep(void *arg)
{
	struct keeper *keeper = arg;
	mproc_segment *segment;

	bench_check(mproc_segment_open(&segment, name) == 0);
	atomic_fetch_add(&keeper->ready, 1);
	for (;;)
		pause();
}

static void make_and_keep(void *arg)
{
	struct keeper *keeper = arg;
	mproc_segment *segment;
	mproc_value *value;

	bench_check(mproc_segment_create(&segment, name, NULL) == 0);
	bench_check(mproc_value_create(&value, segment, "value",
				       MPROC_VALUE_OPTS(.type = MPROC_TYPE(int))) == 0);
	for (unsigned i = 1; i < KEPT; i++)
		bench_fork(keep, keeper);
	atomic_fetch_add(&keeper->ready, 1);
	for (;;)
		pause();
}

/* A segment that is lived in as long as this process is there. */
static void begin(void)
{
	struct keeper *keeper = bench_shared(sizeof(*keeper));

	snprintf(name, sizeof(name), "bench-attach-%d", (int)getpid());
	bench_fork(make_and_keep, keeper);
	while (atomic_load(&keeper->ready) < KEPT)
		usleep(100);
}

static void end(void)
{
	/* Its keepers die with us; the name goes now. */
	bench_check(mproc_segment_unlink(name) == 0);
}

/* Return: microseconds of @attach, the median. */
static double median_of(mproc_segment *(*attach)(void *arg), void *arg)
{
	static double us[ROUNDS];
	mproc_segment *segment;
	int64_t was;

	for (unsigned i = 0; i < ROUNDS; i++) {
		was = mproc_now();
		segment = attach(arg);
		us[i] = (double)(mproc_now() - was) / 1000;
		mproc_segment_close(segment);
	}
	return bench_median(us, ROUNDS);
}

static mproc_segment *by_name(void *arg)
{
	mproc_segment *segment;

	(void)arg;
	bench_check(mproc_segment_open(&segment, name) == 0);
	return segment;
}

static mproc_segment *by_options(void *arg)
{
	mproc_segment *segment;

	bench_check(mproc_segment_attach(&segment, arg) == 0);
	return segment;
}

static double run_name(const struct bench_case *c)
{
	double us;

	(void)c;
	begin();
	us = median_of(by_name, NULL);
	end();
	return us;
}

static double run_read_only(const struct bench_case *c)
{
	struct mproc_segment_attach_opts opts = { .size = sizeof(opts),
						  .name = name,
						  .flags = MPROC_SEGMENT_READ_ONLY };
	double us;

	(void)c;
	begin();
	us = median_of(by_options, &opts);
	end();
	return us;
}

static double run_fd(const struct bench_case *c)
{
	struct mproc_segment_attach_opts opts = { .size = sizeof(opts) };
	mproc_segment *segment;
	double us;

	(void)c;
	begin();
	bench_check(mproc_segment_open(&segment, name) == 0);
	opts.fd = mproc_segment_fd(segment);
	bench_check(opts.fd >= 0);
	mproc_segment_close(segment);
	us = median_of(by_options, &opts);
	close(opts.fd);
	end();
	return us;
}

static double run_shm_open(const struct bench_case *c)
{
	static double us[ROUNDS];
	char shm[80];
	struct stat st;
	void *base;
	int fd;

	(void)c;
	snprintf(shm, sizeof(shm), "/bench-attach-%d", (int)getpid());
	fd = shm_open(shm, O_RDWR | O_CREAT | O_EXCL, 0600);
	bench_check(fd >= 0 && posix_fallocate(fd, 0, 16 << 20) == 0);
	close(fd);
	for (unsigned i = 0; i < ROUNDS; i++) {
		int64_t was = mproc_now();

		fd = shm_open(shm, O_RDWR, 0);
		bench_check(fd >= 0 && fstat(fd, &st) == 0);
		base = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		bench_check(base != MAP_FAILED);
		us[i] = (double)(mproc_now() - was) / 1000;
		munmap(base, (size_t)st.st_size);
		close(fd);
	}
	shm_unlink(shm);
	return bench_median(us, ROUNDS);
}

#define ATTACH 0, 1, "p50", "us"

static const struct bench_case cases[] = {
	{ "attach by name", "mproc", "", ATTACH, "<= 200", false, run_name },
	{ "attach by name", "shm_open", "", ATTACH, NULL, false, run_shm_open },
	{ "attach by descriptor", "mproc", "", ATTACH, "<= 200", false, run_fd },
	{ "attach to read", "mproc", "", ATTACH, "<= 200", false, run_read_only },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
