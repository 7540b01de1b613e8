/* SPDX-License-Identifier: MIT */

/*
 * A fuzz harness without a fuzzer: runs the files it is given, or standard input
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define INPUT_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run(FILE *f)
{
	uint8_t *data = malloc(INPUT_MAX), *exact;
	size_t size;

	if (!data)
		return 1;
	size = fread(data, 1, INPUT_MAX, f);
	/* In memory of its exact size, a sanitizer sees one byte too many. */
	exact = realloc(data, size ? size : 1);
	if (exact)
		data = exact;
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	int bad = 0;

	if (argc == 1)
		return run(stdin);
	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "re");

		if (!f) {
			perror(argv[i]);
			bad = 1;
			continue;
		}
		bad |= run(f);
		fclose(f);
	}
	return bad;
}
