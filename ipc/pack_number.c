/* SPDX-License-Identifier: MIT */

/*
 * Numbers, and arrays of them, in every form that a sender may choose
 *
 * A sender of another language, age or machine may write 1.0 as 1 or in 16 bits, an
 * int64_t where a uint8_t is wanted, a typed array in the other byte order, or a plain
 * array of numbers. Everything goes if the value fits: an integer keeps its value, a
 * float field takes what it can hold exactly from integers, and rounds floats as C
 * does; a finite number never becomes infinite. A float is no integer, 1.0 neither.
 */

#include <mproc/pack.h>

#include <assert.h>
#include <float.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#include "ipc/pack.h"
#include "ipc/pack_item.h"

#define FAULT MPROC__UNPACK_FAULT

static_assert(FLT_MANT_DIG == 24 && DBL_MANT_DIG == 53, "floats are binary32 and binary64");

/* From here on a double rounds to a float's infinity. */
#define FLOAT_OVERFLOW 0x1.ffffffp127

/* -2^64, the one integer whose magnitude has no uint64_t. */
#define LEAST (-18446744073709551616.0)

enum form {
	POSITIVE, /* integer */
	NEGATIVE, /* -1 - integer */
	FLOAT,
};

struct number {
	enum form form;
	uint64_t integer;
	double real;
};

static double from_bits64(uint64_t bits)
{
	double v;

	memcpy(&v, &bits, sizeof(v));
	return v;
}

static double from_bits32(uint32_t bits)
{
	float v;

	memcpy(&v, &bits, sizeof(v));
	return (double)v;
}

static double from_bits16(unsigned bits)
{
	uint64_t sign = (uint64_t)(bits >> 15) << 63, fraction = bits & 0x3ffu;
	unsigned exponent = bits >> 10 & 0x1fu;

	if (!exponent)
		return (double)fraction * (sign ? -0x1p-24 : 0x1p-24);
	if (exponent == 0x1f)
		return from_bits64(sign | UINT64_C(0x7ff) << 52 | fraction << 42);
	return from_bits64(sign | (uint64_t)(exponent - 15 + 1023) << 52 | fraction << 42);
}

/* Return: false if @head is no number. */
static bool number_of(const struct mproc__head *head, struct number *ret)
{
	ret->integer = head->arg;
	ret->real = 0;
	if (head->major <= MPROC__NEGATIVE) {
		ret->form = head->major == MPROC__UINT ? POSITIVE : NEGATIVE;
		return true;
	}
	ret->form = FLOAT;
	switch (*head->at) {
	case MPROC__FLOAT16:
		ret->real = from_bits16((unsigned)head->arg);
		return true;
	case MPROC__FLOAT32:
		ret->real = from_bits32((uint32_t)head->arg);
		return true;
	case MPROC__FLOAT64:
		ret->real = from_bits64(head->arg);
		return true;
	default:
		return false;
	}
}

/* Return: false if the integer is none that a double can hold. */
static bool integer_as_real(const struct number *number, double *ret)
{
	uint64_t magnitude = number->integer + (number->form == NEGATIVE);
	double real = (double)magnitude;

	if (number->form == NEGATIVE && !magnitude) {
		*ret = LEAST;
		return true;
	}
	/* 2^64 itself is what the largest integers are rounded up to. */
	if (real >= -LEAST || (uint64_t)real != magnitude)
		return false;
	*ret = number->form == NEGATIVE ? -real : real;
	return true;
}

/* Store what fits. Return: false if it does not. */
static bool store_real(unsigned kind, const struct number *number, void *dst)
{
	double real = number->real;
	float narrow;

	if (number->form != FLOAT && !integer_as_real(number, &real))
		return false;
	if (kind == MPROC_PACK_KIND_FLOAT64) {
		memcpy(dst, &real, sizeof(real));
		return true;
	}
	if ((real >= FLOAT_OVERFLOW || real <= -FLOAT_OVERFLOW) && real - real == 0)
		return false;
	narrow = (float)real;
	if (number->form != FLOAT && (double)narrow != real)
		return false;
	memcpy(dst, &narrow, sizeof(narrow));
	return true;
}

static bool store_integer(unsigned kind, const struct number *number, void *dst)
{
	static const uint64_t max[] = {
		[MPROC_PACK_KIND_INT8] = INT8_MAX,     [MPROC_PACK_KIND_INT16] = INT16_MAX,
		[MPROC_PACK_KIND_INT32] = INT32_MAX,   [MPROC_PACK_KIND_INT64] = INT64_MAX,
		[MPROC_PACK_KIND_UINT8] = UINT8_MAX,   [MPROC_PACK_KIND_UINT16] = UINT16_MAX,
		[MPROC_PACK_KIND_UINT32] = UINT32_MAX, [MPROC_PACK_KIND_UINT64] = UINT64_MAX,
	};
	uint64_t v = number->integer;

	if (v > max[kind] || (number->form == NEGATIVE && kind >= MPROC_PACK_KIND_UINT8))
		return false;
	if (number->form == NEGATIVE)
		v = ~v;
	/* Two's complement: the low bytes are the number. */
	switch (mproc__pack_kind_size(kind)) {
	case 1:
		memcpy(dst, &(uint8_t){ (uint8_t)v }, 1);
		break;
	case 2:
		memcpy(dst, &(uint16_t){ (uint16_t)v }, 2);
		break;
	case 4:
		memcpy(dst, &(uint32_t){ (uint32_t)v }, 4);
		break;
	default:
		memcpy(dst, &v, 8);
		break;
	}
	return true;
}

static void does_not_fit(struct mproc__unpack *u, const unsigned char *at, unsigned kind,
			 const struct number *number)
{
	const char *name = mproc__pack_kind_name(kind);
	size_t offset = (size_t)(at - u->start);

	if (number->form == FLOAT && kind < MPROC_PACK_KIND_FLOAT32)
		mproc__pack_fault(MPROC_PACK_ERROR_WRONG_TYPE, offset,
				  "a floating-point number where %s is wanted", name);
	else if (number->form == FLOAT)
		mproc__pack_fault(MPROC_PACK_ERROR_RANGE, offset, "%g does not fit %s",
				  number->real, name);
	else if (number->form == POSITIVE)
		mproc__pack_fault(MPROC_PACK_ERROR_RANGE, offset, "%" PRIu64 " does not fit %s",
				  number->integer, name);
	else if (number->integer == UINT64_MAX)
		mproc__pack_fault(MPROC_PACK_ERROR_RANGE, offset,
				  "-18446744073709551616 does not fit %s", name);
	else
		mproc__pack_fault(MPROC_PACK_ERROR_RANGE, offset, "-%" PRIu64 " does not fit %s",
				  number->integer + 1, name);
}

/* Return: false with a fault if @number is none for @kind. */
static bool store(struct mproc__unpack *u, const unsigned char *at, unsigned kind,
		  const struct number *number, void *dst)
{
	bool fits;

	if (kind >= MPROC_PACK_KIND_FLOAT32)
		fits = store_real(kind, number, dst);
	else
		fits = number->form != FLOAT && store_integer(kind, number, dst);
	if (!fits)
		does_not_fit(u, at, kind, number);
	return fits;
}

const unsigned char *mproc__unpack_scalar(struct mproc__unpack *u, const unsigned char *p,
					  unsigned kind, void *dst)
{
	struct mproc__head head;
	struct number number;

	p = mproc__unpack_head(u, p, &head);
	if (!p)
		return NULL;
	if (kind == MPROC_PACK_KIND_BOOL) {
		if (*head.at != MPROC__FALSE && *head.at != MPROC__TRUE)
			return mproc__unpack_wrong(u, &head, "bool");
		memcpy(dst, &(bool){ *head.at == MPROC__TRUE }, sizeof(bool));
		return p;
	}
	if (!number_of(&head, &number))
		return mproc__unpack_wrong(u, &head, mproc__pack_kind_name(kind));
	return store(u, head.at, kind, &number, dst) ? p : NULL;
}

bool mproc__unpack_count(struct mproc__unpack *u, const unsigned char *at,
			 const struct mproc_pack_type *type, const struct mproc_pack_field *field,
			 unsigned char *value, uint64_t n)
{
	struct number number = { .form = POSITIVE, .integer = n };
	const struct mproc_pack_field *end = type->fields + type->n_fields;
	size_t offset = (size_t)(at - u->start);

	for (const struct mproc_pack_field *other = type->fields; other < end; other++) {
		bool counts =
			other->kind == MPROC_PACK_KIND_BYTES || other->kind == MPROC_PACK_KIND_VEC;

		if (counts && other < field && other->count_offset == field->count_offset &&
		    mproc__pack_count(other, value) != n) {
			mproc__pack_fault(MPROC_PACK_ERROR_RANGE, offset,
					  "a count of %" PRIu64 ", which is %" PRIu64 " for %s", n,
					  mproc__pack_count(other, value), other->name);
			return false;
		}
		if (other->kind <= MPROC_PACK_KIND_FLOAT64 &&
		    other->offset == field->count_offset) {
			mproc__pack_fault(MPROC_PACK_ERROR_UNPICKLABLE, offset,
					  "a descriptor that sends the count as %s besides",
					  other->name);
			return false;
		}
	}
	if (store_integer(field->count_kind, &number, value + field->count_offset))
		return true;
	mproc__pack_fault(MPROC_PACK_ERROR_RANGE, offset, "a count of %" PRIu64 " does not fit %s",
			  n, mproc__pack_kind_name(field->count_kind));
	return false;
}

/* Where numbers come from: elements of a typed array, or items of a plain one. */
struct source {
	const unsigned char *at; /* the array's head, for errors */
	const unsigned char *elements;
	uint64_t n;
	unsigned tag; /* 0: plain */
	size_t size;  /* of a typed element */
};

/* Bits of a tag: 010 is-float is-signed is-little size-class(2). */
static bool is_float_tag(unsigned tag)
{
	return tag & 0x10;
}

static bool is_signed_tag(unsigned tag)
{
	return tag & 0x08;
}

static bool is_little_tag(unsigned tag)
{
	return tag & 0x04;
}

static size_t element_size(unsigned tag)
{
	return (size_t)1 << ((tag & 3) + is_float_tag(tag));
}

/*
 * What an array is to be filled from; no elements at all, not even none, for null,
 * which only a pointer may be.
 *
 * Return: behind the head or heads, or NULL.
 */
static const unsigned char *open_source(struct mproc__unpack *u, const unsigned char *p, bool fixed,
					struct source *ret)
{
	struct mproc__head head;
	unsigned tag;

	p = mproc__unpack_head(u, p, &head);
	if (!p)
		return NULL;
	*ret = (struct source){ .at = head.at, .elements = p, .n = head.arg, .size = 1 };
	if (*head.at == MPROC__NULL && !fixed) {
		ret->elements = NULL;
		ret->n = 0;
		return p;
	}
	if (head.major == MPROC__TAG && head.arg >= MPROC__TAG_ARRAY &&
	    head.arg < MPROC__TAG_ARRAY_END) {
		tag = (unsigned)head.arg;
		/* 76 is reserved. */
		if (tag == 76 || element_size(tag) > 8)
			return mproc__unpack_wrong(u, &head, "numbers of at most 64 bits");
		p = mproc__unpack_head(u, p, &head);
		if (!p)
			return NULL;
		if (head.major != MPROC__BYTES)
			return mproc__unpack_wrong(u, &head, "the bytes of a typed array");
		ret->tag = tag;
		ret->size = element_size(tag);
	} else if (head.major != MPROC__ARRAY) {
		return mproc__unpack_wrong(u, &head, "an array of numbers");
	}
	/* An item takes a byte at least, so this holds for both. */
	if (head.arg > (size_t)(u->end - p))
		return FAULT(u, MPROC_PACK_ERROR_TRUNCATED, head.at,
			     "%" PRIu64 " %s claimed, %zu bytes left", head.arg,
			     ret->tag ? "bytes" : "items", (size_t)(u->end - p));
	if (head.arg % ret->size)
		return FAULT(u, MPROC_PACK_ERROR_MALFORMED, head.at,
			     "%" PRIu64 " bytes are no whole elements of %zu", head.arg, ret->size);
	ret->elements = p;
	ret->n = head.arg / ret->size;
	return p;
}

/* One element of a typed array, as the number it is. */
static struct number load_element(const struct source *source, const unsigned char *at)
{
	unsigned bits = 8 * (unsigned)source->size;
	struct number ret = { .form = POSITIVE };
	uint64_t v = 0;

	for (size_t i = 0; i < source->size; i++)
		v = v << 8 | at[is_little_tag(source->tag) ? source->size - 1 - i : i];
	ret.integer = v;
	if (is_float_tag(source->tag)) {
		ret.form = FLOAT;
		ret.real = bits == 16   ? from_bits16((unsigned)v)
			   : bits == 32 ? from_bits32((uint32_t)v)
					: from_bits64(v);
	} else if (is_signed_tag(source->tag) && v >> (bits - 1)) {
		ret.form = NEGATIVE;
		ret.integer = ~v & UINT64_MAX >> (64 - bits);
	}
	return ret;
}

/* Copy @n elements of @size bytes in the other byte order. */
static void copy_swapped(unsigned char *dst, const unsigned char *src, uint64_t n, size_t size)
{
	for (uint64_t i = 0; i < n; i++, src += size, dst += size) {
		if (size == 2)
			memcpy(dst, &(uint16_t){ __builtin_bswap16(mproc__load_u16(src)) }, 2);
		else if (size == 4)
			memcpy(dst, &(uint32_t){ __builtin_bswap32(mproc__load_u32(src)) }, 4);
		else
			memcpy(dst, &(uint64_t){ __builtin_bswap64(mproc__load_u64(src)) }, 8);
	}
}

/* Return: behind the elements, or NULL. */
static const unsigned char *fill_typed(struct mproc__unpack *u, const struct source *source,
				       unsigned kind, unsigned char *dst)
{
	size_t size = mproc__pack_kind_size(kind);
	const unsigned char *p = source->elements;

	/* Clamped arithmetic (tag 68) is the sender's business: these are bytes. */
	if (source->tag == mproc__pack_array_tag(kind, MPROC__LITTLE_ENDIAN) ||
	    (source->tag == 68 && kind == MPROC_PACK_KIND_UINT8)) {
		memcpy(dst, p, source->n * size);
		return p + source->n * size;
	}
	if (source->tag == mproc__pack_array_tag(kind, !MPROC__LITTLE_ENDIAN)) {
		copy_swapped(dst, p, source->n, size);
		return p + source->n * size;
	}
	for (uint64_t i = 0; i < source->n; i++, p += source->size, dst += size) {
		struct number number = load_element(source, p);

		if (!store(u, p, kind, &number, dst)) {
			mproc__pack_path_index(i);
			return NULL;
		}
	}
	return p;
}

static const unsigned char *fill_plain(struct mproc__unpack *u, const struct source *source,
				       unsigned kind, unsigned char *dst)
{
	size_t size = mproc__pack_kind_size(kind);
	const unsigned char *p = source->elements;

	for (uint64_t i = 0; i < source->n; i++, dst += size) {
		const unsigned char *behind = mproc__get_scalar(p, u->end, kind, dst);

		p = MPROC__LIKELY(behind) ? behind : mproc__unpack_scalar(u, p, kind, dst);
		if (MPROC__UNLIKELY(!p)) {
			mproc__pack_path_index(i);
			return NULL;
		}
	}
	return p;
}

const unsigned char *mproc__unpack_numbers(struct mproc__unpack *u, const unsigned char *p,
					   const struct mproc_pack_type *type,
					   const struct mproc_pack_field *field,
					   unsigned char *value)
{
	size_t size = mproc__pack_kind_size(field->elem);
	unsigned char *at = value + field->offset, *dst = at;
	bool fixed = field->kind == MPROC_PACK_KIND_ARR;
	struct source source;

	p = open_source(u, p, fixed, &source);
	if (!p)
		return NULL;
	if (!fixed && !mproc__unpack_count(u, source.at, type, field, value, source.n))
		return NULL;
	if (!source.elements)
		return p; /* NULL, as it is */
	if (fixed && source.n != field->size / size)
		return FAULT(u, MPROC_PACK_ERROR_RANGE, source.at,
			     "%" PRIu64 " elements do not fit %s[%zu]", source.n,
			     mproc__pack_kind_name(field->elem), field->size / size);
	if (!fixed) {
		if (source.n > u->memory / size)
			return FAULT(u, MPROC_PACK_ERROR_LIMIT, source.at,
				     "%" PRIu64
				     " elements of %zu bytes, %zu bytes left by the limit",
				     source.n, size, u->memory);
		dst = mproc__unpack_take(u, source.n * size, size, source.at);
		if (!dst)
			return NULL;
		memcpy(at, &dst, sizeof(dst));
	}
	if (source.tag)
		return fill_typed(u, &source, field->elem, dst);
	return fill_plain(u, &source, field->elem, dst);
}
