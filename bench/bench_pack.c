/* SPDX-License-Identifier: MIT */

/*
 * bench_pack [--repeats N] [CASE…]
 *
 * Encoding and decoding of small structs, of arrays, and of a task's arguments, beside
 * a flat copy of the same data, which is the floor. Prints a JSON list with one object
 * for each sample; peers take turns within a repeat.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mproc/common.h>
#include <mproc/error.h>
#include <mproc/pack.h>

#define INTS    1000u
#define DOUBLES (131072u)

/*
 * A sample is the best of several runs, each of this length at least: what disturbs a
 * run of some microseconds of pure computation only ever makes it longer.
 */
#define RUN_NS 100000
#define RUNS   10

struct tuple {
	int32_t i;
	double d;
	const char *s;
};
typedef struct tuple tuple;
MPROC_PACK_STRUCT(tuple, (val, i), (val, d), (str, s));

struct record {
	int64_t id;
	uint32_t flags;
	uint8_t kind;
	bool on;
	double x, y;
	float weight;
	int32_t delta;
	const char *name, *city;
};
typedef struct record record;
MPROC_PACK_STRUCT(record, (val, id), (val, flags), (val, kind), (val, on), (val, x), (val, y),
		  (val, weight), (val, delta), (str, name), (str, city));

struct ints {
	const int32_t *v;
	uint32_t n;
};
typedef struct ints ints;
MPROC_PACK_STRUCT(ints, (vec, v, n));

struct doubles {
	const double *v;
	size_t n;
};
typedef struct doubles doubles;
MPROC_PACK_STRUCT(doubles, (vec, v, n));

/* What one case works on; a bench has one of its kind, so it is static. */
static tuple the_tuple = { .i = 123456, .d = 3.25, .s = "hello world" };
static record the_record = {
	.id = 1234567890123,
	.flags = 70000,
	.kind = 7,
	.on = true,
	.x = 1.5,
	.y = -2.25,
	.weight = 0.5f,
	.delta = -17,
	.name = "Ann Example",
	.city = "Springfield",
};
static int32_t int_values[INTS];
static double double_values[DOUBLES];
static ints the_ints = { int_values, INTS };
static doubles the_doubles = { double_values, DOUBLES };

static unsigned char wire[DOUBLES * 8 + 64];
static size_t wire_len;
static unsigned char scratch[DOUBLES * 8 + 64];
static union {
	tuple tuple;
	record record;
	ints ints;
	doubles doubles;
} out;

/* The compiler must believe that somebody looks at the memory. */
#define SEEN(x) __asm__ volatile("" : : "r"(x) : "memory")

static void fail(const char *what)
{
	fprintf(stderr, "bench_pack: %s: %s\n", what, mproc_error_text());
	exit(1);
}

static void encode(const struct mproc_pack_type *type, const void *value)
{
	if (mproc_pack_encode(type, value, wire, sizeof(wire), &wire_len, NULL) < 0)
		fail("encode");
	SEEN(wire);
}

static void decode(const struct mproc_pack_type *type)
{
	struct mproc_pack_arena arena = MPROC_PACK_ARENA(scratch, sizeof(scratch));

	if (mproc_pack_decode(type, wire, wire_len, &out, &arena, NULL) < 0)
		fail("decode");
	SEEN(&out);
}

static size_t copy_string(unsigned char *to, const char *s)
{
	size_t len = strlen(s) + 1;

	memcpy(to, s, len);
	return len;
}

static void tuple_mproc_encode(void)
{
	encode(MPROC_PACK_TYPE(tuple), &the_tuple);
}

static void tuple_mproc_decode(void)
{
	decode(MPROC_PACK_TYPE(tuple));
}

static void tuple_memcpy_encode(void)
{
	SEEN(&the_tuple);
	memcpy(wire, &the_tuple, sizeof(the_tuple));
	wire_len = sizeof(the_tuple) + copy_string(wire + sizeof(the_tuple), the_tuple.s);
	SEEN(wire);
}

static void tuple_memcpy_decode(void)
{
	SEEN(wire);
	memcpy(&out.tuple, wire, sizeof(out.tuple));
	out.tuple.s = (char *)scratch;
	memcpy(scratch, wire + sizeof(out.tuple), wire_len - sizeof(out.tuple));
	SEEN(&out);
	SEEN(scratch);
}

static void record_mproc_encode(void)
{
	encode(MPROC_PACK_TYPE(record), &the_record);
}

static void record_mproc_decode(void)
{
	decode(MPROC_PACK_TYPE(record));
}

static void record_memcpy_encode(void)
{
	SEEN(&the_record);
	memcpy(wire, &the_record, sizeof(the_record));
	wire_len = sizeof(the_record);
	wire_len += copy_string(wire + wire_len, the_record.name);
	wire_len += copy_string(wire + wire_len, the_record.city);
	SEEN(wire);
}

static void record_memcpy_decode(void)
{
	SEEN(wire);
	memcpy(&out.record, wire, sizeof(out.record));
	memcpy(scratch, wire + sizeof(out.record), wire_len - sizeof(out.record));
	out.record.name = (char *)scratch;
	out.record.city = (char *)scratch + strlen((char *)scratch) + 1;
	SEEN(&out);
	SEEN(scratch);
}

static void ints_mproc_encode(void)
{
	encode(MPROC_PACK_TYPE(ints), &the_ints);
}

static void ints_mproc_decode(void)
{
	decode(MPROC_PACK_TYPE(ints));
}

static void ints_memcpy_encode(void)
{
	wire_len = sizeof(int_values);
	SEEN(int_values);
	memcpy(wire, int_values, sizeof(int_values));
	SEEN(wire);
}

static void ints_memcpy_decode(void)
{
	SEEN(wire);
	memcpy(scratch, wire, sizeof(int_values));
	SEEN(scratch);
}

/* What a sender without typed arrays writes: [[1, 2, …]]. */
static void items_prepare(void)
{
	unsigned char *p = wire;

	*p++ = 0x81;
	*p++ = 0x99;
	*p++ = INTS >> 8;
	*p++ = INTS & 0xff;
	for (uint32_t i = 0; i < INTS; i++) {
		uint32_t v = (uint32_t)int_values[i];

		*p++ = 0x1a;
		for (int shift = 24; shift >= 0; shift -= 8)
			*p++ = (unsigned char)(v >> shift);
	}
	wire_len = (size_t)(p - wire);
}

static void doubles_mproc_encode(void)
{
	encode(MPROC_PACK_TYPE(doubles), &the_doubles);
}

static void doubles_mproc_decode(void)
{
	decode(MPROC_PACK_TYPE(doubles));
}

static void doubles_memcpy_encode(void)
{
	wire_len = sizeof(double_values);
	SEEN(double_values);
	memcpy(wire, double_values, sizeof(double_values));
	SEEN(wire);
}

static void doubles_memcpy_decode(void)
{
	SEEN(wire);
	memcpy(scratch, wire, sizeof(double_values));
	SEEN(scratch);
}

static const struct bench {
	const char *name, *peer, *figure;
	void (*prepare)(void); /* leaves in wire what run works on, or NULL */
	void (*run)(void);
} benches[] = {
	{ "pack-tuple", "mproc", "encode", NULL, tuple_mproc_encode },
	{ "pack-tuple", "memcpy", "encode", NULL, tuple_memcpy_encode },
	{ "pack-tuple", "mproc", "decode", tuple_mproc_encode, tuple_mproc_decode },
	{ "pack-tuple", "memcpy", "decode", tuple_memcpy_encode, tuple_memcpy_decode },
	{ "pack-record", "mproc", "encode", NULL, record_mproc_encode },
	{ "pack-record", "memcpy", "encode", NULL, record_memcpy_encode },
	{ "pack-record", "mproc", "decode", record_mproc_encode, record_mproc_decode },
	{ "pack-record", "memcpy", "decode", record_memcpy_encode, record_memcpy_decode },
	{ "pack-ints", "mproc", "encode", NULL, ints_mproc_encode },
	{ "pack-ints", "memcpy", "encode", NULL, ints_memcpy_encode },
	{ "pack-ints", "mproc", "decode", ints_mproc_encode, ints_mproc_decode },
	{ "pack-ints", "memcpy", "decode", ints_memcpy_encode, ints_memcpy_decode },
	{ "pack-items", "mproc", "decode", items_prepare, ints_mproc_decode },
	{ "pack-doubles", "mproc", "encode", NULL, doubles_mproc_encode },
	{ "pack-doubles", "memcpy", "encode", NULL, doubles_memcpy_encode },
	{ "pack-doubles", "mproc", "decode", doubles_mproc_encode, doubles_mproc_decode },
	{ "pack-doubles", "memcpy", "decode", doubles_memcpy_encode, doubles_memcpy_decode },
};

#define N_BENCHES (sizeof(benches) / sizeof(benches[0]))

static int64_t run(const struct bench *bench, uint64_t n)
{
	int64_t begin = mproc_now();

	for (uint64_t i = 0; i < n; i++)
		bench->run();
	return mproc_now() - begin;
}

static double sample(const struct bench *bench)
{
	int64_t ns, best = INT64_MAX;
	uint64_t n = 1;

	if (bench->prepare)
		bench->prepare();
	while (run(bench, n) < RUN_NS)
		n *= 2;
	for (int i = 0; i < RUNS; i++) {
		ns = run(bench, n);
		best = ns < best ? ns : best;
	}
	return (double)best / (double)n;
}

static bool is_wanted(const struct bench *bench, char *const *names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (!strcmp(*names, bench->name))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	unsigned long repeats = 5;
	const char *comma = "[\n";
	char **names = argv + 1;

	if (argc > 2 && !strcmp(argv[1], "--repeats")) {
		repeats = strtoul(argv[2], NULL, 10);
		names = argv + 3;
	}
	for (uint32_t i = 0; i < INTS; i++)
		int_values[i] = (int32_t)(i * 2654435761u % 1000000u);
	for (uint32_t i = 0; i < DOUBLES; i++)
		double_values[i] = i * 0.5;
	for (unsigned long repeat = 0; repeat < repeats; repeat++) {
		for (size_t i = 0; i < N_BENCHES; i++) {
			const struct bench *bench = &benches[i];
			double ns;

			if (!is_wanted(bench, names))
				continue;
			ns = sample(bench);
			printf("%s{\"case\": \"%s\", \"peer\": \"%s\", \"mode\": \"\", \"size\": "
			       "%zu, "
			       "\"procs\": 1, \"figure\": \"%s\", \"unit\": \"ns\", \"value\": "
			       "%.2f}",
			       comma, bench->name, bench->peer, wire_len, bench->figure, ns);
			comma = ",\n";
		}
	}
	printf("%s]\n", repeats ? "\n" : "[");
	return 0;
}
