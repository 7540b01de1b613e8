/* SPDX-License-Identifier: MIT */

/*
 * Settings that a child reads and a result that it leaves
 */

#include <mproc/namespace.h>

#include <inttypes.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>

static int child(mproc_namespace *ns)
{
	char greeting[32];
	int64_t x = 0;

	if (mproc_namespace_get_int(ns, "x", &x) < 0 ||
	    mproc_namespace_get_str(ns, "y", greeting, sizeof(greeting)) < 0)
		return 1;
	printf("%s from a child that found x = %" PRId64 "\n", greeting, x);
	fflush(stdout);
	return mproc_namespace_set_int(ns, "x", x + 1) < 0;
}

int main(void)
{
	mproc_namespace *ns = NULL;
	int64_t x = 0;
	int status = 1;
	pid_t pid;

	if (mproc_namespace_create(&ns, NULL, "settings") < 0 ||
	    mproc_namespace_set_int(ns, "x", 10) < 0 ||
	    mproc_namespace_set_str(ns, "y", "hello") < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	pid = fork();
	if (pid == 0)
		_exit(child(ns));
	if (pid < 0 || wait(&status) < 0 || status)
		return 1;
	if (mproc_namespace_get_int(ns, "x", &x) < 0)
		return 1;
	printf("now x = %" PRId64 "\n", x);
	mproc_namespace_close(ns);
	return x != 11;
}
