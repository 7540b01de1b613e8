/* SPDX-License-Identifier: MIT */

/*
 * Jobs that are leased: each is done once, though workers die with some in their hands
 */

#include <mproc/semaphore.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/segment.h>

#define WORKERS 3
#define JOBS    20

/* Lies in the segment. */
struct work {
	MPROC_SEMAPHORE_WITH(WORKERS + 1) jobs; /* so many may be in work at a time */
	mproc_semaphore finished;
	_Atomic(int) begun;
};

static int work_init(void *object, void *arg)
{
	struct work *work = object;
	int r;

	(void)arg;
	r = mproc_semaphore_init(&work->jobs.semaphore, MPROC_SEMAPHORE_LEASES, JOBS,
				 MPROC_SEMAPHORE_OPTS(.leases = WORKERS + 1));
	if (r < 0)
		return r;
	return mproc_semaphore_init(&work->finished, MPROC_SEMAPHORE_SIGNALS, 0, NULL);
}

static int do_jobs(struct work *work)
{
	int r;

	/* Taken and not yet done with: if we die here another is given the job. */
	while ((r = mproc_semaphore_acquire(&work->jobs.semaphore, mproc_after_ms(500))) == 0) {
		work->begun++;
		usleep(1000);
		r = mproc_semaphore_release(&work->finished, 1);
		if (r == 0)
			r = mproc_semaphore_ack(&work->jobs.semaphore);
		if (r < 0)
			return r;
	}
	return r == -ETIMEDOUT ? 0 : r;
}

static void die_at_work(struct work *work)
{
	if (mproc_semaphore_acquire(&work->jobs.semaphore, MPROC_FOREVER) == 0) {
		work->begun++;
		raise(SIGKILL);
	}
	_exit(1);
}

int main(void)
{
	struct work *work;
	int bad = 0, status, r;
	void *object;
	pid_t pid;

	r = mproc_segment_object(&object, NULL, "work", sizeof(*work), work_init, NULL);
	if (r < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	work = object;
	pid = fork();
	if (pid == 0)
		die_at_work(work);
	waitpid(pid, &status, 0);
	printf("one worker died at work, %d of %d jobs are there\n",
	       mproc_semaphore_value(&work->jobs.semaphore), JOBS);
	fflush(stdout);
	for (int i = 0; i < WORKERS; i++)
		if (fork() == 0)
			_exit(do_jobs(work) < 0);
	for (int i = 0; i < JOBS && r >= 0; i++)
		r = mproc_semaphore_acquire(&work->finished, mproc_after_ms(5000));
	if (r < 0)
		fprintf(stderr, "wait for the jobs: %d\n", r);
	while (wait(&status) > 0)
		bad |= status;
	printf("%d jobs begun, %d finished\n", work->begun, JOBS);
	return r < 0 || bad != 0 || work->begun != JOBS + 1;
}
