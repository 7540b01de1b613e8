/* SPDX-License-Identifier: MIT */

/*
 * A reader who lives through what others do to the file of a segment
 */

#include <mproc/guard.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <mproc/array.h>
#include <mproc/error.h>

#define N_SAMPLES 50000

/* The mean of all samples; a negative errno if they cannot be had. */
static int mean(mproc_segment *segment, mproc_array *samples, double *ret)
{
	static double copy[N_SAMPLES];
	double sum = 0;
	int r;

	r = mproc_array_copy_out(samples, double, 0, N_SAMPLES, copy, mproc_after_ms(1000));
	if (r < 0)
		return r;
	/* It may have been cut under this very call: then there are zeroes among them. */
	if (mproc_guard_is_corrupt(segment))
		return -EBADMSG;
	for (int i = 0; i < N_SAMPLES; i++)
		sum += copy[i];
	*ret = sum / N_SAMPLES;
	return 0;
}

/* What should not happen: a tool that is run on the wrong file, a script gone wild. */
static void accident(const char *name)
{
	const char *dir = getenv("MPROC_DIR");
	char path[512];

	snprintf(path, sizeof(path), "%s/mproc.%s", dir ? dir : "/dev/shm", name);
	if (truncate(path, 65536) < 0)
		perror(path);
}

int main(void)
{
	mproc_segment *segment;
	mproc_array *samples;
	char name[32];
	double m = 0;
	int r;

	snprintf(name, sizeof(name), "guard-%d", (int)getpid());
	r = mproc_guard_install(0);
	if (r == 0)
		r = mproc_segment_create(&segment, name, MPROC_SEGMENT_OPTS(.bytes = 1 << 20));
	if (r == 0)
		r = mproc_array_create(
			&samples, segment, "samples",
			MPROC_ARRAY_OPTS(.type = MPROC_TYPE(double), .n_items = N_SAMPLES));
	if (r == 0)
		r = mean(segment, samples, &m);
	if (r < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	printf("mean %g\n", m);

	accident(name);
	r = mean(segment, samples, &m);
	printf("after the accident: %s\n", r < 0 ? "corrupt, as it should be" : "good?");
	mproc_array_close(samples);
	/* Nobody can open what is left of it: the name goes with its last user. */
	mproc_segment_close(segment);
	return r != -EBADMSG;
}
