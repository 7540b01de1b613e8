/* SPDX-License-Identifier: MIT */

/*
 * A tally that every run of this program adds to, however many run at once
 *
 * The first one makes the segment, the others find it; who is the last removes it.
 */

#include <mproc/segment.h>

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/mutex.h>

struct tally {
	mproc_mutex mutex;
	uint64_t runs;
};

/* Called once, before anybody can find the tally; the memory is zeroed. */
static int tally_init(void *object, void *arg)
{
	struct tally *tally = object;

	(void)arg;
	return mproc_mutex_init(&tally->mutex, 0);
}

static int count(struct tally *tally)
{
	int r = mproc_mutex_lock(&tally->mutex, MPROC_FOREVER);

	/* One number is never half-written: there is nothing to be repaired. */
	if (r == MPROC_MUTEX_INHERITED)
		r = mproc_mutex_consistent(&tally->mutex);
	if (r < 0)
		return r;
	printf("run number %" PRIu64 "\n", ++tally->runs);
	return mproc_mutex_unlock(&tally->mutex);
}

static int run(const char *name)
{
	mproc_segment *segment;
	struct tally *tally;
	int r;

	r = mproc_segment_open_or_create(&segment, name, MPROC_SEGMENT_OPTS(.bytes = 1 << 20));
	if (r < 0)
		return r;
	r = mproc_segment_object((void **)&tally, segment, "tally", sizeof(*tally), tally_init,
				 NULL);
	if (r >= 0)
		r = count(tally);
	mproc_segment_close(segment);
	return r;
}

int main(int argc, char **argv)
{
	char name[32];
	int r;

	/* Without a name to share: one that is nobody else's. */
	snprintf(name, sizeof(name), "tally-%d", (int)getpid());
	r = run(argc > 1 ? argv[1] : name);
	if (r < 0)
		fprintf(stderr, "%s\n", mproc_error_text());
	return r < 0;
}
