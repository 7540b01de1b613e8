/* SPDX-License-Identifier: MIT */
#ifndef MPROC__PACK_ITEM_H
#define MPROC__PACK_ITEM_H

/*
 * Heads of CBOR items (RFC 8949 section 3), and short strings
 *
 * Everything here stands in the innermost loops of encoding and decoding. A head is
 * a byte of major type and size class, and an argument of 0, 1, 2, 4 or 8 bytes in
 * network order. Arguments are moved as 8 bytes whatever their size, which takes no
 * branch for the size and 9 bytes of room.
 */

#include <mproc/pack.h>

#include <stdbool.h>
#include <string.h>

#define MPROC__LIKELY(x)   __builtin_expect(!!(x), 1)
#define MPROC__UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Room that putting a head takes. */
#define MPROC__HEAD_MAX 9u

enum mproc__major {
	MPROC__UINT = 0,
	MPROC__NEGATIVE = 1, /* -1 - argument */
	MPROC__BYTES = 2,
	MPROC__TEXT = 3,
	MPROC__ARRAY = 4,
	MPROC__MAP = 5,
	MPROC__TAG = 6,
	MPROC__SIMPLE = 7, /* false, true, null; floats, by size class */
};

/* Low five bits of the first byte: the argument itself, or its size. */
#define MPROC__INFO_1    24u
#define MPROC__INFO_2    25u
#define MPROC__INFO_4    26u
#define MPROC__INFO_8    27u
#define MPROC__INFO_MAX  27u /* above it: reserved, and indefinite lengths */
#define MPROC__FALSE     0xf4u
#define MPROC__TRUE      0xf5u
#define MPROC__NULL      0xf6u
#define MPROC__SIMPLE_1  0xf8u /* simple value in a byte of its own, from 32 on */
#define MPROC__FLOAT16   0xf9u
#define MPROC__FLOAT32   0xfau
#define MPROC__FLOAT64   0xfbu
#define MPROC__TAG_SHARE 28u /* what follows may be referred to */
#define MPROC__TAG_REF   29u

/* Typed arrays (RFC 8746): tags 64 to 87, 0b010fsell of form, sign, order and length. */
#define MPROC__TAG_ARRAY     64u
#define MPROC__TAG_ARRAY_END 88u

#define MPROC__LITTLE_ENDIAN (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)

/* Members are read and written as bytes: long and long long may both be int64_t. */
#define MPROC__LOADER(name, T) \
	static inline T name(const void *at) \
	{ \
		T v; \
\
		memcpy(&v, at, sizeof(v)); \
		return v; \
	}
MPROC__LOADER(mproc__load_i8, int8_t)
MPROC__LOADER(mproc__load_i16, int16_t)
MPROC__LOADER(mproc__load_i32, int32_t)
MPROC__LOADER(mproc__load_i64, int64_t)
MPROC__LOADER(mproc__load_u8, uint8_t)
MPROC__LOADER(mproc__load_u16, uint16_t)
MPROC__LOADER(mproc__load_u32, uint32_t)
MPROC__LOADER(mproc__load_u64, uint64_t)
MPROC__LOADER(mproc__load_pointer, const unsigned char *)
#undef MPROC__LOADER

static inline uint64_t mproc__load_be64(const void *at)
{
	uint64_t v = mproc__load_u64(at);

	return MPROC__LITTLE_ENDIAN ? __builtin_bswap64(v) : v;
}

static inline uint32_t mproc__load_be32(const void *at)
{
	uint32_t v = mproc__load_u32(at);

	return MPROC__LITTLE_ENDIAN ? __builtin_bswap32(v) : v;
}

static inline void mproc__store_be64(void *at, uint64_t v)
{
	v = MPROC__LITTLE_ENDIAN ? __builtin_bswap64(v) : v;
	memcpy(at, &v, sizeof(v));
}

static inline void mproc__store_be32(void *at, uint32_t v)
{
	v = MPROC__LITTLE_ENDIAN ? __builtin_bswap32(v) : v;
	memcpy(at, &v, sizeof(v));
}

/* Needs MPROC__HEAD_MAX bytes at @p and may write all of them. Return: behind the head. */
static inline unsigned char *mproc__put_head(unsigned char *p, unsigned major, uint64_t arg)
{
	unsigned class;

	if (MPROC__LIKELY(arg < MPROC__INFO_1)) {
		*p = (unsigned char)(major << 5 | arg);
		return p + 1;
	}
	class = (arg > UINT8_MAX) + (arg > UINT16_MAX) + (arg > UINT32_MAX);
	*p = (unsigned char)(major << 5 | (MPROC__INFO_1 + class));
	mproc__store_be64(p + 1, arg << (64 - (8u << class)));
	return p + 1 + (1u << class);
}

static inline unsigned char *mproc__put_int(unsigned char *p, int64_t v)
{
	uint64_t negative = v < 0 ? UINT64_MAX : 0;

	return mproc__put_head(p, negative & MPROC__NEGATIVE, (uint64_t)v ^ negative);
}

/*
 * Read the head at @p.
 *
 * Return: behind it, or NULL if it is cut off, reserved or of indefinite length.
 */
static inline const unsigned char *mproc__get_head(const unsigned char *p, const unsigned char *end,
						   unsigned *ret_major, uint64_t *ret_arg)
{
	size_t left = (size_t)(end - p), size;
	unsigned info;

	if (MPROC__UNLIKELY(!left))
		return NULL;
	info = *p & 31u;
	*ret_major = *p >> 5;
	if (MPROC__LIKELY(info < MPROC__INFO_1)) {
		*ret_arg = info;
		return p + 1;
	}
	if (info > MPROC__INFO_MAX)
		return NULL;
	size = (size_t)1 << (info - MPROC__INFO_1);
	if (MPROC__LIKELY(left >= MPROC__HEAD_MAX)) {
		*ret_arg = mproc__load_be64(p + 1) >> (64 - 8 * size);
		return p + 1 + size;
	}
	if (left <= size)
		return NULL;
	*ret_arg = 0;
	for (size_t i = 1; i <= size; i++)
		*ret_arg = *ret_arg << 8 | p[i];
	return p + 1 + size;
}

/* An integer of at most @max, or of -1 - @max. Return: behind it, or NULL. */
static inline const unsigned char *
mproc__get_signed(const unsigned char *p, const unsigned char *end, uint64_t max, int64_t *ret)
{
	unsigned major;
	uint64_t arg;

	p = mproc__get_head(p, end, &major, &arg);
	if (MPROC__UNLIKELY(!p || major > MPROC__NEGATIVE || arg > max))
		return NULL;
	*ret = (int64_t)(arg ^ -(uint64_t)major);
	return p;
}

static inline const unsigned char *
mproc__get_unsigned(const unsigned char *p, const unsigned char *end, uint64_t max, uint64_t *ret)
{
	unsigned major;

	p = mproc__get_head(p, end, &major, ret);
	return MPROC__UNLIKELY(!p || major != MPROC__UINT || *ret > max) ? NULL : p;
}

/*
 * The usual form of a number or truth value of a scalar kind.
 *
 * Return: behind it, or NULL if it must go the long way.
 */
static inline const unsigned char *mproc__get_scalar(const unsigned char *p,
						     const unsigned char *end, unsigned kind,
						     unsigned char *at)
{
	const unsigned char *behind;
	size_t left = (size_t)(end - p);
	uint64_t n = 0;
	int64_t i = 0;

	switch (kind) {
	case MPROC_PACK_KIND_BOOL:
		if (!left || (*p != MPROC__FALSE && *p != MPROC__TRUE))
			return NULL;
		memcpy(at, &(bool){ *p == MPROC__TRUE }, sizeof(bool));
		return p + 1;
	case MPROC_PACK_KIND_INT8:
		behind = mproc__get_signed(p, end, INT8_MAX, &i);
		if (behind)
			memcpy(at, &(int8_t){ (int8_t)i }, 1);
		return behind;
	case MPROC_PACK_KIND_INT16:
		behind = mproc__get_signed(p, end, INT16_MAX, &i);
		if (behind)
			memcpy(at, &(int16_t){ (int16_t)i }, 2);
		return behind;
	case MPROC_PACK_KIND_INT32:
		behind = mproc__get_signed(p, end, INT32_MAX, &i);
		if (behind)
			memcpy(at, &(int32_t){ (int32_t)i }, 4);
		return behind;
	case MPROC_PACK_KIND_INT64:
		behind = mproc__get_signed(p, end, INT64_MAX, &i);
		if (behind)
			memcpy(at, &i, 8);
		return behind;
	case MPROC_PACK_KIND_UINT8:
		behind = mproc__get_unsigned(p, end, UINT8_MAX, &n);
		if (behind)
			memcpy(at, &(uint8_t){ (uint8_t)n }, 1);
		return behind;
	case MPROC_PACK_KIND_UINT16:
		behind = mproc__get_unsigned(p, end, UINT16_MAX, &n);
		if (behind)
			memcpy(at, &(uint16_t){ (uint16_t)n }, 2);
		return behind;
	case MPROC_PACK_KIND_UINT32:
		behind = mproc__get_unsigned(p, end, UINT32_MAX, &n);
		if (behind)
			memcpy(at, &(uint32_t){ (uint32_t)n }, 4);
		return behind;
	case MPROC_PACK_KIND_UINT64:
		behind = mproc__get_unsigned(p, end, UINT64_MAX, &n);
		if (behind)
			memcpy(at, &n, 8);
		return behind;
	case MPROC_PACK_KIND_FLOAT32:
		if (left < 5 || *p != MPROC__FLOAT32)
			return NULL;
		memcpy(at, &(uint32_t){ mproc__load_be32(p + 1) }, 4);
		return p + 5;
	case MPROC_PACK_KIND_FLOAT64:
		if (left < 9 || *p != MPROC__FLOAT64)
			return NULL;
		memcpy(at, &(uint64_t){ mproc__load_be64(p + 1) }, 8);
		return p + 9;
	default:
		return NULL;
	}
}

/* Bits 0x80 are set where a byte of @w is not ASCII, or is zero and @nul is set. */
static inline uint64_t mproc__odd_bytes(uint64_t w, bool nul)
{
	/* The subtraction borrows from a zero byte only; what it spoils above is odd anyway. */
	return (nul ? w | (w - UINT64_C(0x0101010101010101)) : w) & UINT64_C(0x8080808080808080);
}

/*
 * Is every byte ASCII and, if @nul is set, none of them zero? Reads no byte too many:
 * the last 8 bytes are looked at together, some of them for the second time.
 */
static inline bool mproc__is_plain(const unsigned char *s, size_t n, bool nul)
{
	uint64_t odd = 0;

	if (n >= 8) {
		for (size_t i = 0; i < n - 8; i += 8)
			odd |= mproc__odd_bytes(mproc__load_u64(s + i), nul);
		return !(odd | mproc__odd_bytes(mproc__load_u64(s + n - 8), nul));
	}
	for (size_t i = 0; i < n; i++)
		odd |= s[i] >= 0x80 || (nul && !s[i]);
	return !odd;
}

/* memcpy() that does not call it for the short strings that most are. */
static inline void mproc__copy(unsigned char *dst, const unsigned char *src, size_t n)
{
	uint64_t head, tail;
	uint32_t head32, tail32;

	if (n > 16) {
		memcpy(dst, src, n);
	} else if (n >= 8) {
		memcpy(&head, src, 8);
		memcpy(&tail, src + n - 8, 8);
		memcpy(dst, &head, 8);
		memcpy(dst + n - 8, &tail, 8);
	} else if (n >= 4) {
		memcpy(&head32, src, 4);
		memcpy(&tail32, src + n - 4, 4);
		memcpy(dst, &head32, 4);
		memcpy(dst + n - 4, &tail32, 4);
	} else if (n) {
		dst[0] = src[0];
		dst[n / 2] = src[n / 2];
		dst[n - 1] = src[n - 1];
	}
}

#endif /* MPROC__PACK_ITEM_H */
