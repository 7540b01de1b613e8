/* SPDX-License-Identifier: MIT */

/*
 * The codec: small structs, arrays, and a task's arguments
 *
 * The limit is a flat copy of the same data, which no other machine could read. All
 * work on one set of buffers, which stay in the cache.
 */

#include <stdbool.h>
#include <string.h>

#include <mproc/pack.h>
#include <mproc/task.h>

#include "bench/bench.h"

#define N_INTS    1000u
#define N_DOUBLES 131072u

/* Calls of one batch: some microseconds. */
#define BATCH_SMALL 200
#define BATCH_INTS  50
#define BATCH_LARGE 1

typedef struct tuple {
	int32_t i;
	double d;
	const char *s;
} tuple;

typedef struct record {
	int64_t id;
	uint32_t flags;
	uint8_t kind;
	bool on;
	double x, y;
	float weight;
	int32_t delta;
	const char *name, *city;
} record;

typedef struct ints {
	const int32_t *v;
	uint32_t n;
} ints;

typedef struct doubles {
	const double *v;
	size_t n;
} doubles;

MPROC_PACK_STRUCT(tuple, (val, i), (val, d), (str, s));
MPROC_PACK_STRUCT(record, (val, id), (val, flags), (val, kind), (val, on), (val, x), (val, y),
		  (val, weight), (val, delta), (str, name), (str, city));
MPROC_PACK_STRUCT(ints, (vec, v, n));
MPROC_PACK_STRUCT(doubles, (vec, v, n));

MPROC_TASK_DECLARE(double, weigh, (val, int, n), (val, double, w), (str, label));
MPROC_TASK(double, weigh, (val, int, n), (val, double, w), (str, label))
{
	return n * w + label[0];
}

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
static struct weigh_args the_args = { .n = 3, .w = 2.5, .label = "kg" };
static int32_t int_values[N_INTS];
static double double_values[N_DOUBLES];
static ints the_ints = { int_values, N_INTS };
static doubles the_doubles = { double_values, N_DOUBLES };

static unsigned char wire[N_DOUBLES * sizeof(double) + 64];
static size_t wire_len;
static unsigned char scratch[sizeof(wire)];
static union {
	tuple tuple;
	record record;
	ints ints;
	doubles doubles;
	struct weigh_args args;
} out;

/* The compiler must believe that somebody looks at the memory. */
#define SEEN(x) __asm__ volatile("" : : "r"(x) : "memory")

struct job {
	const struct mproc_pack_type *type;
	const void *value;
};

static void encode(void *arg)
{
	const struct job *job = arg;

	bench_check(mproc_pack_encode(job->type, job->value, wire, sizeof(wire), &wire_len, NULL) ==
		    0);
	SEEN(wire);
}

static void decode(void *arg)
{
	const struct job *job = arg;
	struct mproc_pack_arena arena = MPROC_PACK_ARENA(scratch, sizeof(scratch));

	bench_check(mproc_pack_decode(job->type, wire, wire_len, &out, &arena, NULL) == 0);
	SEEN(&out);
}

/* Arguments to bytes, to arguments, the call, and its result to bytes. */
static void run_task(void *arg)
{
	const struct job *job = arg;
	unsigned char result[32];
	size_t result_len;
	double value;

	encode(arg);
	decode(arg);
	bench_check(weigh_task.run(&out.args, &value) == 0);
	bench_check(mproc_pack_encode(weigh_task.result, &value, result, sizeof(result),
				      &result_len, NULL) == 0);
	SEEN(result);
	SEEN(job);
}

static void fill_values(void)
{
	for (uint32_t i = 0; i < N_INTS; i++)
		int_values[i] = (int32_t)(i * 2654435761u % 1000000u);
	for (uint32_t i = 0; i < N_DOUBLES; i++)
		double_values[i] = i * 0.5;
}

static double encode_ns(const struct mproc_pack_type *type, const void *value, size_t batch)
{
	struct job job = { type, value };

	fill_values();
	return bench_call_ns(encode, &job, batch);
}

static double decode_ns(const struct mproc_pack_type *type, const void *value, size_t batch)
{
	struct job job = { type, value };

	fill_values();
	encode(&job);
	return bench_call_ns(decode, &job, batch);
}

static double encode_tuple(const struct bench_case *c)
{
	(void)c;
	return encode_ns(MPROC_PACK_TYPE(tuple), &the_tuple, BATCH_SMALL);
}

static double decode_tuple(const struct bench_case *c)
{
	(void)c;
	return decode_ns(MPROC_PACK_TYPE(tuple), &the_tuple, BATCH_SMALL);
}

static double encode_record(const struct bench_case *c)
{
	(void)c;
	return encode_ns(MPROC_PACK_TYPE(record), &the_record, BATCH_SMALL);
}

static double decode_record(const struct bench_case *c)
{
	(void)c;
	return decode_ns(MPROC_PACK_TYPE(record), &the_record, BATCH_SMALL);
}

static double encode_ints(const struct bench_case *c)
{
	(void)c;
	return encode_ns(MPROC_PACK_TYPE(ints), &the_ints, BATCH_INTS);
}

static double decode_ints(const struct bench_case *c)
{
	(void)c;
	return decode_ns(MPROC_PACK_TYPE(ints), &the_ints, BATCH_INTS);
}

static double encode_doubles(const struct bench_case *c)
{
	(void)c;
	return encode_ns(MPROC_PACK_TYPE(doubles), &the_doubles, BATCH_LARGE);
}

static double decode_doubles(const struct bench_case *c)
{
	(void)c;
	return decode_ns(MPROC_PACK_TYPE(doubles), &the_doubles, BATCH_LARGE);
}

static double call_task(const struct bench_case *c)
{
	struct job job = { weigh_task.args, &the_args };

	(void)c;
	return bench_call_ns(run_task, &job, BATCH_SMALL);
}

/* What a sender without typed arrays writes: [[1, 2, …]]. */
static double decode_items(const struct bench_case *c)
{
	struct job job = { MPROC_PACK_TYPE(ints), NULL };
	unsigned char *p = wire;

	(void)c;
	fill_values();
	*p++ = 0x81;
	*p++ = 0x99;
	*p++ = N_INTS >> 8;
	*p++ = N_INTS & 0xff;
	for (uint32_t i = 0; i < N_INTS; i++) {
		*p++ = 0x1a;
		for (int shift = 24; shift >= 0; shift -= 8)
			*p++ = (unsigned char)(int_values[i] >> shift);
	}
	wire_len = (size_t)(p - wire);
	return bench_call_ns(decode, &job, BATCH_INTS);
}

static size_t copy_string(unsigned char *to, const char *s)
{
	size_t len = strlen(s) + 1;

	memcpy(to, s, len);
	return len;
}

static void flat_encode_tuple(void *arg)
{
	SEEN(arg);
	memcpy(wire, &the_tuple, sizeof(the_tuple));
	wire_len = sizeof(the_tuple) + copy_string(wire + sizeof(the_tuple), the_tuple.s);
	SEEN(wire);
}

static void flat_decode_tuple(void *arg)
{
	SEEN(arg);
	memcpy(&out.tuple, wire, sizeof(out.tuple));
	memcpy(scratch, wire + sizeof(out.tuple), wire_len - sizeof(out.tuple));
	out.tuple.s = (char *)scratch;
	SEEN(&out);
	SEEN(scratch);
}

static void flat_encode_record(void *arg)
{
	SEEN(arg);
	memcpy(wire, &the_record, sizeof(the_record));
	wire_len = sizeof(the_record);
	wire_len += copy_string(wire + wire_len, the_record.name);
	wire_len += copy_string(wire + wire_len, the_record.city);
	SEEN(wire);
}

static void flat_decode_record(void *arg)
{
	SEEN(arg);
	memcpy(&out.record, wire, sizeof(out.record));
	memcpy(scratch, wire + sizeof(out.record), wire_len - sizeof(out.record));
	out.record.name = (char *)scratch;
	out.record.city = (char *)scratch + strlen((char *)scratch) + 1;
	SEEN(&out);
	SEEN(scratch);
}

static void flat_copy(void *arg)
{
	const size_t *len = arg;

	SEEN(double_values);
	memcpy(wire, double_values, *len);
	SEEN(wire);
}

static double flat_tuple(const struct bench_case *c)
{
	bool encodes = !strcmp(c->figure, "encode");

	flat_encode_tuple(&the_tuple);
	return bench_call_ns(encodes ? flat_encode_tuple : flat_decode_tuple, &the_tuple,
			     BATCH_SMALL);
}

static double flat_record(const struct bench_case *c)
{
	bool encodes = !strcmp(c->figure, "encode");

	flat_encode_record(&the_record);
	return bench_call_ns(encodes ? flat_encode_record : flat_decode_record, &the_record,
			     BATCH_SMALL);
}

static double flat_array(const struct bench_case *c)
{
	size_t len = c->size;

	fill_values();
	return bench_call_ns(flat_copy, &len, len < 10000 ? BATCH_INTS : BATCH_LARGE);
}

#define INTS    sizeof(int_values)
#define DOUBLES sizeof(double_values)

static const struct bench_case cases[] = {
	{ "pack tuple", "mproc", "", 27, 1, "encode", "ns", ">= 0.38x limit", false, encode_tuple },
	{ "pack tuple", BENCH_LIMIT, "flat copy", 27, 1, "encode", "ns", NULL, false, flat_tuple },
	{ "pack tuple", "mproc", "", 27, 1, "decode", "ns", ">= 0.27x limit", false, decode_tuple },
	{ "pack tuple", BENCH_LIMIT, "flat copy", 27, 1, "decode", "ns", NULL, false, flat_tuple },
	{ "pack record", "mproc", "", 65, 1, "encode", "ns", ">= 0.29x limit", false,
	  encode_record },
	{ "pack record", BENCH_LIMIT, "flat copy", 65, 1, "encode", "ns", NULL, false,
	  flat_record },
	{ "pack record", "mproc", "", 65, 1, "decode", "ns", ">= 0.53x limit", false,
	  decode_record },
	{ "pack record", BENCH_LIMIT, "flat copy", 65, 1, "decode", "ns", NULL, false,
	  flat_record },
	{ "pack ints", "mproc", "", INTS, 1, "encode", "ns", ">= 0.87x limit", false, encode_ints },
	{ "pack ints", BENCH_LIMIT, "memcpy", INTS, 1, "encode", "ns", NULL, false, flat_array },
	{ "pack ints", "mproc", "", INTS, 1, "decode", "ns", ">= 0.74x limit", false, decode_ints },
	{ "pack ints", BENCH_LIMIT, "memcpy", INTS, 1, "decode", "ns", NULL, false, flat_array },
	{ "pack items", "mproc", "", INTS, 1, "decode", "ns", "<= 2000", false, decode_items },
	{ "pack doubles", "mproc", "", DOUBLES, 1, "encode", "ns", ">= 0.95x limit", false,
	  encode_doubles },
	{ "pack doubles", BENCH_LIMIT, "memcpy", DOUBLES, 1, "encode", "ns", NULL, false,
	  flat_array },
	{ "pack doubles", "mproc", "", DOUBLES, 1, "decode", "ns", ">= 0.95x limit", false,
	  decode_doubles },
	{ "pack doubles", BENCH_LIMIT, "memcpy", DOUBLES, 1, "decode", "ns", NULL, false,
	  flat_array },
	{ "pack task", "mproc", "", 14, 1, "encode, decode, call", "ns", "<= 60", false,
	  call_task },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
