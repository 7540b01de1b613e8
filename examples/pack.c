/* SPDX-License-Identifier: MIT */

/*
 * A struct with strings, an array and another struct: to bytes and back
 */

#include <mproc/pack.h>

#include <stdio.h>
#include <stdlib.h>

#include <mproc/error.h>

typedef struct address {
	char *street;
	int32_t zip;
} address;

typedef struct person {
	char *name;
	uint8_t age;
	uint32_t n_scores;
	double *scores;
	address *home;
	void *scratch; /* not described: not sent, NULL after decoding */
} person;

MPROC_PACK_STRUCT(address, (str, street), (val, zip));
MPROC_PACK_STRUCT(person, (str, name), (val, age), (vec, scores, n_scores), (own, home, address));

/* Return: 0, or a negative errno. */
static int show(const void *bytes, size_t len)
{
	mproc_pack_value *value;
	const person *p;
	int r;

	r = mproc_pack_loads(&value, MPROC_PACK_TYPE(person), bytes, len, NULL);
	if (r < 0)
		return r;
	p = mproc_pack_root(value);
	printf("%s, %d, %u scores", p->name ? p->name : "nobody", p->age, p->n_scores);
	if (p->home && p->home->street)
		printf(", %s", p->home->street);
	printf("\n");
	mproc_pack_release(value);
	return 0;
}

int main(void)
{
	double scores[] = { 9.5, 8.25 };
	address home = { "Main St", 12345 };
	person ann = {
		.name = "Ann",
		.age = 41,
		.n_scores = 2,
		.scores = scores,
		.home = &home,
	};
	char schema[512];
	size_t len, schema_len;
	void *bytes;
	int r;

	r = mproc_pack_schema(MPROC_PACK_TYPE(person), schema, sizeof(schema), &schema_len);
	if (r == 0)
		r = mproc_pack_dumps(&bytes, MPROC_PACK_TYPE(person), &ann, &len, NULL);
	if (r < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	printf("%s%zu bytes\n", schema, len);
	r = show(bytes, len);
	/* The age is the sixth byte; a text stands there instead. */
	((unsigned char *)bytes)[5] = 0x60;
	if (show(bytes, len) < 0)
		printf("%s\n", mproc_error_text());
	free(bytes);
	return r < 0;
}
