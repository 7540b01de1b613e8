/* SPDX-License-Identifier: MIT */

/*
 * How many CPUs may be used, beside how many there are
 */

#include <mproc/cpu.h>

#include <stdio.h>
#include <unistd.h>

int main(void)
{
	unsigned n = mproc_cpu_count();

	printf("%u of %ld CPUs may be used\n", n, sysconf(_SC_NPROCESSORS_ONLN));
	return 0;
}
