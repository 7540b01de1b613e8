/* SPDX-License-Identifier: MIT */

/*
 * mproc/pack.h beside other people's CBOR: libcbor and Python's cbor2
 *
 * libcbor says whether bytes are well-formed; what it accepts we must be able to skip,
 * and nothing else, apart from indefinite lengths. cbor2 reads structs of random values
 * and writes them again in three ways, which must all mean the same to us.
 */

#include <mproc/pack.h>

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef HAVE_LIBCBOR
#include <cbor.h>
#endif

#include "tests/golden/cbor.h"
#include "tests/support/child.h"
#include "tests/support/hex.h"
#include "tests/support/pack_types.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

#define PYTHON "/usr/bin/python3"

#ifdef HAVE_LIBCBOR

/* No field at all: whatever a message holds is skipped. */
static const struct mproc_pack_type none_type = { "none", NULL, 0, 1, 1, 0 };

/* What libcbor has told about one head. */
struct head {
	uint64_t n;   /* items that belong to it */
	bool outside; /* indefinite length, break */
};

static void on_uint8(void *arg, uint8_t v)
{
	(void)arg;
	(void)v;
}

static void on_uint16(void *arg, uint16_t v)
{
	(void)arg;
	(void)v;
}

static void on_uint32(void *arg, uint32_t v)
{
	(void)arg;
	(void)v;
}

static void on_uint64(void *arg, uint64_t v)
{
	(void)arg;
	(void)v;
}

static void on_float(void *arg, float v)
{
	(void)arg;
	(void)v;
}

static void on_double(void *arg, double v)
{
	(void)arg;
	(void)v;
}

static void on_bool(void *arg, bool v)
{
	(void)arg;
	(void)v;
}

static void on_nothing(void *arg)
{
	(void)arg;
}

static void on_string(void *arg, cbor_data at, size_t len)
{
	(void)arg;
	(void)at;
	(void)len;
}

static void on_array(void *arg, size_t n)
{
	((struct head *)arg)->n = n;
}

static void on_map(void *arg, size_t n)
{
	((struct head *)arg)->n = n > SIZE_MAX / 2 ? SIZE_MAX : 2 * n;
}

static void on_tag(void *arg, uint64_t v)
{
	(void)v;
	((struct head *)arg)->n = 1;
}

static void on_outside(void *arg)
{
	((struct head *)arg)->outside = true;
}

static const struct cbor_callbacks callbacks = {
	.uint8 = on_uint8,
	.uint16 = on_uint16,
	.uint32 = on_uint32,
	.uint64 = on_uint64,
	.negint8 = on_uint8,
	.negint16 = on_uint16,
	.negint32 = on_uint32,
	.negint64 = on_uint64,
	.byte_string = on_string,
	.byte_string_start = on_outside,
	.string = on_string,
	.string_start = on_outside,
	.array_start = on_array,
	.indef_array_start = on_outside,
	.map_start = on_map,
	.indef_map_start = on_outside,
	.tag = on_tag,
	.float2 = on_float,
	.float4 = on_float,
	.float8 = on_double,
	.boolean = on_bool,
	.null = on_nothing,
	.undefined = on_nothing,
	.indef_break = on_outside,
};

/* Does libcbor find one item of definite lengths at @bytes, and nothing behind it? */
static bool libcbor_accepts(const unsigned char *bytes, size_t len)
{
	uint64_t wanted = 1;

	while (wanted) {
		struct head head = { 0, false };
		struct cbor_decoder_result result =
			cbor_stream_decode(bytes, len, &callbacks, &head);

		if (result.status != CBOR_DECODER_FINISHED || head.outside)
			return false;
		bytes += result.read;
		len -= result.read;
		wanted--;
		/* Each item takes a byte: more than are left is too many, and may not overflow. */
		if (head.n > len)
			return false;
		wanted += head.n;
		if (wanted > len)
			return false;
	}
	return !len;
}

/* libcbor 0.8 refuses tags and simple values that no standard had assigned. */
static bool has_unassigned(const unsigned char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((bytes[i] >= 0xc5 && bytes[i] <= 0xd4) ||
		    (bytes[i] >= 0xe0 && bytes[i] <= 0xf3) || bytes[i] == 0xf8)
			return true;
	return false;
}

static bool we_accept(const unsigned char *item, size_t len)
{
	unsigned char *message = malloc(len + 1), nothing;
	int r;

	t_check(message);
	message[0] = 0x81;
	memcpy(message + 1, item, len);
	r = mproc_pack_decode(&none_type, message, len + 1, &nothing, NULL, NULL);
	free(message);
	return r == 0;
}

static void check_verdict(const unsigned char *item, size_t len)
{
	bool ours = we_accept(item, len), theirs = libcbor_accepts(item, len);
	char *hex;

	if (ours == theirs || (ours && has_unassigned(item, len)))
		return;
	hex = t_hex(item, len);
	print_error("%s: accepted by us: %d, by libcbor: %d\n", hex, ours, theirs);
	free(hex);
	fail();
}

static void check_hex(const char *const *hex, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t len;
		unsigned char *bytes = t_unhex(hex[i], &len);

		check_verdict(bytes, len);
		free(bytes);
	}
}

static void libcbor_agrees_on_what_is_well_formed(void **state)
{
	uint64_t seed = t_seed();
	size_t rounds = t_long() ? 2000000 : 100000;

	(void)state;
	check_hex(well_formed, N(well_formed));
	check_hex(indefinite, N(indefinite));
	check_hex(ill_formed, N(ill_formed));
	/* Random bytes, short so that some are right, and golden messages with errors. */
	for (size_t i = 0; i < rounds; i++) {
		unsigned char bytes[16];
		size_t len = t_random(&seed) % sizeof(bytes) + 1;

		for (size_t at = 0; at < len; at++)
			bytes[at] = (unsigned char)t_random(&seed);
		check_verdict(bytes, len);
	}
	for (size_t i = 0; i < rounds; i++) {
		size_t len;
		unsigned char *bytes = t_unhex(t_goldens[i % t_n_goldens].hex, &len);

		for (size_t n = t_random(&seed) % 3 + 1; n; n--)
			bytes[t_random(&seed) % len] = (unsigned char)t_random(&seed);
		check_verdict(bytes, len);
		free(bytes);
	}
}

#else

static void libcbor_agrees_on_what_is_well_formed(void **state)
{
	(void)state;
	print_message("# skipped: no libcbor here\n");
}

#endif

/*
 * Hex in, hex out: as it is, with all lists marked as shared, and with plain arrays in
 * place of typed ones.
 */
static const char script[] =
	"import sys\n"
	"try:\n"
	"    import array, cbor2\n"
	"except ImportError as e:\n"
	"    sys.exit(77)\n"
	"KIND = {64:'B', 69:'H', 70:'I', 71:'Q', 72:'b', 77:'h', 78:'i', 79:'q', 85:'f', 86:'d'}\n"
	"def hook(decoder, tag, shareable_index=None):\n"
	"    return list(array.array(KIND[tag.tag], tag.value)) if tag.tag in KIND else tag\n"
	"for line in sys.stdin:\n"
	"    data = bytes.fromhex(line)\n"
	"    value = cbor2.loads(data)\n"
	"    plain = cbor2.loads(data, tag_hook=hook)\n"
	"    print(cbor2.dumps(value).hex())\n"
	"    print(cbor2.dumps(value, value_sharing=True).hex())\n"
	"    print(cbor2.dumps(plain).hex(), flush=True)\n";

struct python {
	pid_t pid;
	FILE *to, *from;
};

static void start_python(struct python *python)
{
	int in[2], out[2];

	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	fflush(NULL);
	python->pid = fork();
	assert_true(python->pid >= 0);
	if (python->pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		close(out[0]);
		execl(PYTHON, PYTHON, "-c", script, (char *)NULL);
		_exit(77);
	}
	close(in[0]);
	close(out[1]);
	python->to = fdopen(in[1], "w");
	python->from = fdopen(out[0], "r");
	assert_non_null(python->to);
	assert_non_null(python->from);
}

/* Return: its exit code. */
static int end_python(struct python *python)
{
	int status;

	fclose(python->to);
	fclose(python->from);
	assert_int_equal(waitpid(python->pid, &status, 0), python->pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A number of any magnitude. */
static uint64_t random_width(uint64_t *seed)
{
	return t_random(seed) >> t_random(seed) % 64;
}

static double random_double(uint64_t *seed)
{
	double v = (double)(int64_t)random_width(seed) / (double)(1 + random_width(seed));

	return t_random(seed) % 16 ? v : t_random(seed) % 2 ? __builtin_inf() : -0.0;
}

static void random_string(uint64_t *seed, char *s, size_t cap)
{
	size_t len = t_random(seed) % cap;

	for (size_t i = 0; i < len; i++)
		s[i] = (char)(t_random(seed) % (t_random(seed) % 4 ? 127 : 255) + 1);
	s[len] = 0;
}

static void random_everything(uint64_t *seed, everything *value, address *home, char text[2][64],
			      int16_t numbers[32])
{
	memset(value, 0, sizeof(*value));
	value->yes = t_random(seed) % 2;
	value->i8 = (int8_t)random_width(seed);
	value->i16 = (int16_t)random_width(seed);
	value->i32 = (int32_t)random_width(seed);
	value->i64 = (int64_t)random_width(seed);
	value->u8 = (uint8_t)random_width(seed);
	value->u16 = (uint16_t)random_width(seed);
	value->u32 = (uint32_t)random_width(seed);
	value->u64 = random_width(seed);
	value->f32 = (float)(int32_t)random_width(seed) / 64;
	value->f64 = random_double(seed);
	value->colour = (enum colour)(uint32_t)random_width(seed);
	random_string(seed, text[0], 64);
	random_string(seed, text[1], 64);
	random_string(seed, value->chars, sizeof(value->chars));
	value->str = t_random(seed) % 8 ? text[0] : NULL;
	value->blob = t_random(seed) % 8 ? text[1] : NULL;
	value->blob_len = value->blob ? t_random(seed) % 64 : 0;
	for (size_t i = 0; i < 4; i++)
		value->octets[i] = (unsigned char)t_random(seed);
	for (size_t i = 0; i < 32; i++)
		numbers[i] = (int16_t)random_width(seed);
	value->vec = t_random(seed) % 8 ? numbers : NULL;
	value->n_vec = value->vec ? t_random(seed) % 32 : 0;
	value->arr[0] = random_double(seed);
	value->in.x = random_double(seed);
	home->street = text[1];
	home->zip = (int32_t)random_width(seed);
	value->own = t_random(seed) % 2 ? home : NULL;
}

static void assert_means(const struct mproc_pack_type *type, const char *line, const char *want)
{
	char trimmed[4096], *hex;
	unsigned char *bytes;
	mproc_pack_value *value;
	void *again;
	size_t len;

	snprintf(trimmed, sizeof(trimmed), "%s", line);
	trimmed[strcspn(trimmed, "\n")] = 0;
	bytes = t_unhex(trimmed, &len);
	assert_int_equal(mproc_pack_loads(&value, type, bytes, len, NULL), 0);
	assert_int_equal(mproc_pack_dumps(&again, type, mproc_pack_root(value), &len, NULL), 0);
	hex = t_hex(again, len);
	assert_string_equal(hex, want);
	free(hex);
	free(again);
	free(bytes);
	mproc_pack_release(value);
}

/* Return: false if there is no cbor2. */
static bool check_with_python(struct python *python, const struct mproc_pack_type *type,
			      const char *hex)
{
	char line[4096];

	fprintf(python->to, "%s\n", hex);
	fflush(python->to);
	for (int i = 0; i < 3; i++) {
		if (!fgets(line, sizeof(line), python->from))
			return false;
		assert_means(type, line, hex);
	}
	return true;
}

static void cbor2_reads_and_writes_what_we_do(void **state)
{
	uint64_t seed = t_seed();
	size_t rounds = t_long() ? 20000 : 500;
	struct python python;
	bool there = true;
	int code;

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	start_python(&python);
	for (size_t i = 0; i < t_n_goldens && there; i++)
		there = check_with_python(&python, t_goldens[i].type, t_goldens[i].hex);
	for (size_t i = 0; i < rounds && there; i++) {
		everything value;
		address home;
		char text[2][64], *hex;
		int16_t numbers[32];
		void *bytes;
		size_t len;

		random_everything(&seed, &value, &home, text, numbers);
		assert_int_equal(
			mproc_pack_dumps(&bytes, MPROC_PACK_TYPE(everything), &value, &len, NULL),
			0);
		hex = t_hex(bytes, len);
		there = check_with_python(&python, MPROC_PACK_TYPE(everything), hex);
		free(hex);
		free(bytes);
	}
	code = end_python(&python);
	if (code == 77) {
		print_message("# skipped: no %s with cbor2 here\n", PYTHON);
		return;
	}
	assert_int_equal(code, 0);
	assert_true(there);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(libcbor_agrees_on_what_is_well_formed),
		cmocka_unit_test(cbor2_reads_and_writes_what_we_do),
	};

	return cmocka_run_group_tests_name("pack oracle", tests, NULL, NULL);
}
