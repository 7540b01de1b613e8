/* SPDX-License-Identifier: MIT */

/*
 * Values that say what they are: comparing them, and what they look like
 *
 * Numbers are compared exactly, whatever their kinds: an integer and a float by the whole
 * part of the float, which is exact in 64 bits wherever it is in their range, and then by
 * what is left of it. (Converting the integer to a float would make neighbours of 2^53
 * equal.) All functions are pure.
 */

#include <mproc/any.h>

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "ipc/error.h"

/* Which come first: None, numbers, strings, bytes, packed, references; the unknown last. */
static int rank_of(uint32_t kind)
{
	switch (kind) {
	case MPROC_ANY_NONE:
		return 0;
	case MPROC_ANY_BOOL:
	case MPROC_ANY_INT:
	case MPROC_ANY_UINT:
	case MPROC_ANY_FLOAT:
		return 1;
	case MPROC_ANY_STR:
		return 2;
	case MPROC_ANY_BYTES:
		return 3;
	case MPROC_ANY_PACK:
		return 4;
	case MPROC_ANY_REF:
		return 5;
	default:
		return 6;
	}
}

/* A number: a sign and 64 bits, or a float. */
struct number {
	bool is_float;
	bool negative; /* then it is mag below 0 */
	uint64_t mag;
	double f;
};

static struct number number_of(const struct mproc_any *any)
{
	struct number n = { 0 };

	switch (any->kind) {
	case MPROC_ANY_BOOL:
		n.mag = any->as.b;
		break;
	case MPROC_ANY_INT:
		n.negative = any->as.i < 0;
		n.mag = n.negative ? -(uint64_t)any->as.i : (uint64_t)any->as.i;
		break;
	case MPROC_ANY_UINT:
		n.mag = any->as.u;
		break;
	default:
		n.is_float = true;
		n.f = any->as.f;
	}
	return n;
}

static int sign(bool more, bool less)
{
	return (int)more - (int)less;
}

static int compare_integers(struct number a, struct number b)
{
	if (a.negative != b.negative)
		return a.negative ? -1 : 1;
	return a.negative ? sign(a.mag<b.mag, a.mag> b.mag) : sign(a.mag > b.mag, a.mag < b.mag);
}

/* @f is no NaN. */
static int compare_with_float(struct number a, double f)
{
	struct number whole = { .negative = f < 0 };
	double size = f < 0 ? -f : f, part;
	int r;

	/* 2^64 and more, infinity too. */
	if (size >= 18446744073709551616.0)
		return whole.negative ? 1 : -1;
	whole.mag = (uint64_t)size;
	if (!whole.mag)
		whole.negative = false;
	r = compare_integers(a, whole);
	if (r)
		return r;
	/* The whole parts are equal: what is behind the point decides. */
	part = size - (double)whole.mag;
	return part == 0 ? 0 : f < 0 ? 1 : -1;
}

/* NaN comes after all, and is as good as NaN. */
static int compare_numbers(struct number a, struct number b)
{
	bool a_nan = a.is_float && isnan(a.f), b_nan = b.is_float && isnan(b.f);

	if (a_nan || b_nan)
		return sign(a_nan, b_nan);
	if (a.is_float && b.is_float)
		return sign(a.f > b.f, a.f < b.f);
	if (a.is_float)
		return -compare_with_float(b, a.f);
	return b.is_float ? compare_with_float(a, b.f) : compare_integers(a, b);
}

static int compare_bytes(const struct mproc_any *a, const struct mproc_any *b)
{
	size_t n = a->as.bytes.len < b->as.bytes.len ? a->as.bytes.len : b->as.bytes.len;
	int r = n ? memcmp(a->as.bytes.ptr, b->as.bytes.ptr, n) : 0;

	return r ? r : sign(a->as.bytes.len > b->as.bytes.len, a->as.bytes.len < b->as.bytes.len);
}

static int compare_words(const uint64_t *a, const uint64_t *b, int n)
{
	for (int i = 0; i < n; i++)
		if (a[i] != b[i])
			return sign(a[i] > b[i], a[i] < b[i]);
	return 0;
}

int mproc_any_compare(const struct mproc_any *a, const struct mproc_any *b)
{
	int rank = rank_of(a->kind), other = rank_of(b->kind);

	if (rank != other)
		return sign(rank > other, rank < other);
	switch (rank) {
	case 0:
		return 0;
	case 1:
		return compare_numbers(number_of(a), number_of(b));
	case 2:
	case 3:
	case 4:
		return compare_bytes(a, b);
	case 5:
		return compare_words((const uint64_t[]){ a->as.ref.segment, a->as.ref.off,
							 a->as.ref.generation },
				     (const uint64_t[]){ b->as.ref.segment, b->as.ref.off,
							 b->as.ref.generation },
				     3);
	default:
		return sign(a->kind > b->kind, a->kind < b->kind);
	}
}

static bool is_nan(const struct mproc_any *any)
{
	return any->kind == MPROC_ANY_FLOAT && isnan(any->as.f);
}

int mproc_any_equal(const struct mproc_any *a, const struct mproc_any *b)
{
	if (rank_of(a->kind) > 5 || is_nan(a) || is_nan(b))
		return 0;
	/* Most that differ do so here, and no byte is looked at. */
	if (rank_of(a->kind) > 1 && a->kind == b->kind && a->kind != MPROC_ANY_REF &&
	    a->as.bytes.len != b->as.bytes.len)
		return 0;
	return mproc_any_compare(a, b) == 0;
}

/*
 * Texts
 */

struct text {
	char *buf;
	size_t cap, len; /* len may be more than fits */
};

static void put(struct text *t, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++, t->len++)
		if (t->len + 1 < t->cap)
			t->buf[t->len] = bytes[i];
}

static __attribute__((__format__(__printf__, 2, 3))) void putf(struct text *t, const char *fmt, ...)
{
	char small[400];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	if (n > 0)
		put(t, small, (size_t)n < sizeof(small) ? (size_t)n : sizeof(small) - 1);
}

/* Bytes of the UTF-8 character at @s that can be printed, or 0. */
static size_t utf8_len(const unsigned char *s, size_t n)
{
	uint32_t code, min;
	size_t len;

	if (s[0] >= 0xc2 && s[0] < 0xe0)
		len = 2, code = s[0] & 31, min = 0x80;
	else if (s[0] >= 0xe0 && s[0] < 0xf0)
		len = 3, code = s[0] & 15, min = 0x800;
	else if (s[0] >= 0xf0 && s[0] < 0xf5)
		len = 4, code = s[0] & 7, min = 0x10000;
	else
		return 0;
	if (len > n)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 63);
	}
	/* Too long, surrogates, past the end; and controls, which a terminal would obey. */
	if (code < min || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff || code < 0xa0)
		return 0;
	return len;
}

static void put_quoted(struct text *t, const struct mproc_any *any)
{
	const unsigned char *s = any->as.bytes.ptr;
	bool is_str = any->kind == MPROC_ANY_STR;
	size_t n = any->as.bytes.len, len;

	put(t, is_str ? "'" : "b'", is_str ? 1 : 2);
	for (size_t i = 0; i < n; i += len) {
		len = 1;
		if (s[i] == '\'' || s[i] == '\\')
			putf(t, "\\%c", s[i]);
		else if (s[i] == '\n')
			put(t, "\\n", 2);
		else if (s[i] == '\r')
			put(t, "\\r", 2);
		else if (s[i] == '\t')
			put(t, "\\t", 2);
		else if (s[i] >= 0x20 && s[i] < 0x7f)
			put(t, (const char *)&s[i], 1);
		else if (is_str && utf8_len(&s[i], n - i))
			put(t, (const char *)&s[i], len = utf8_len(&s[i], n - i));
		else
			putf(t, "\\x%02x", s[i]);
	}
	put(t, "'", 1);
}

/* The fewest digits that are this float, as Python writes them. */
static void put_float(struct text *t, double f)
{
	char digits[40], out[40];
	int n = 0, exponent, p = 1;

	if (isnan(f) || isinf(f)) {
		putf(t, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
		return;
	}
	for (; p <= 17; p++) {
		snprintf(digits, sizeof(digits), "%.*e", p - 1, f);
		if (strtod(digits, NULL) == f)
			break;
	}
	exponent = atoi(strchr(digits, 'e') + 1);
	if (exponent < -4 || exponent >= 16)
		n = snprintf(out, sizeof(out), "%s", digits);
	else
		n = snprintf(out, sizeof(out), "%.*f", p - 1 > exponent ? p - 1 - exponent : 1, f);
	for (int i = 0; i < n; i++) {
		/* Whatever the locale has for a point. */
		if (!strchr("0123456789+-e", out[i]))
			out[i] = '.';
	}
	put(t, out, (size_t)n);
}

size_t mproc_any_text(char *buf, size_t cap, const struct mproc_any *any)
{
	struct text t = { buf, cap, 0 };

	switch (any->kind) {
	case MPROC_ANY_NONE:
		putf(&t, "None");
		break;
	case MPROC_ANY_BOOL:
		putf(&t, "%s", any->as.b ? "True" : "False");
		break;
	case MPROC_ANY_INT:
		putf(&t, "%" PRId64, any->as.i);
		break;
	case MPROC_ANY_UINT:
		putf(&t, "%" PRIu64, any->as.u);
		break;
	case MPROC_ANY_FLOAT:
		put_float(&t, any->as.f);
		break;
	case MPROC_ANY_STR:
	case MPROC_ANY_BYTES:
		put_quoted(&t, any);
		break;
	case MPROC_ANY_PACK:
		putf(&t, "<pack of %zu bytes>", any->as.bytes.len);
		break;
	case MPROC_ANY_REF:
		putf(&t, "<ref to %016" PRIx64 " at %" PRIu64 ", generation %" PRIu64 ">",
		     any->as.ref.segment, any->as.ref.off, any->as.ref.generation);
		break;
	default:
		putf(&t, "<kind %" PRIu32 ">", any->kind);
	}
	if (cap)
		buf[t.len < cap ? t.len : cap - 1] = '\0';
	return t.len;
}

/*
 * Structs
 */

int mproc_any_pack(struct mproc_any *ret, const struct mproc_pack_type *type, const void *value,
		   void *buf, size_t cap)
{
	size_t len;
	int r = mproc_pack_encode(type, value, buf, cap, &len, NULL);

	if (r == 0)
		*ret = mproc_any_of(MPROC_ANY_PACK, buf, len);
	return r;
}

int mproc_any_unpack(const struct mproc_any *any, const struct mproc_pack_type *type, void *ret,
		     struct mproc_pack_arena *arena)
{
	if (any->kind != MPROC_ANY_PACK)
		return mproc__fail(-EPROTO, "any unpack: a value of kind %" PRIu32 ", %u wanted",
				   any->kind, MPROC_ANY_PACK);
	return mproc_pack_decode(type, any->as.bytes.ptr, any->as.bytes.len, ret, arena, NULL);
}
