/* SPDX-License-Identifier: MIT */
#ifndef MPROC__ANY_H
#define MPROC__ANY_H

/*
 * How a struct mproc_any is stored: its kind in a place of its own, and bytes
 *
 *	NONE			0 bytes
 *	BOOL			1, which is 0 or 1
 *	INT, UINT, FLOAT	8
 *	REF			24
 *	STR, BYTES, PACK	their own
 */

#include <errno.h>

#include <mproc/any.h>

/*
 * Which bytes to store.
 *
 * Return: 0, or -EINVAL if @any is impossible: no such kind, a length without bytes.
 */
static inline int mproc__any_bytes(const struct mproc_any *any, const void **ret, size_t *ret_len)
{
	switch (any->kind) {
	case MPROC_ANY_NONE:
		*ret = NULL;
		*ret_len = 0;
		return 0;
	case MPROC_ANY_BOOL:
		*ret = &any->as.b;
		*ret_len = 1;
		return 0;
	case MPROC_ANY_INT:
	case MPROC_ANY_UINT:
	case MPROC_ANY_FLOAT:
		*ret = &any->as.u;
		*ret_len = 8;
		return 0;
	case MPROC_ANY_REF:
		*ret = &any->as.ref;
		*ret_len = sizeof(any->as.ref);
		return 0;
	case MPROC_ANY_STR:
	case MPROC_ANY_BYTES:
	case MPROC_ANY_PACK:
		if (any->as.bytes.len && !any->as.bytes.ptr)
			return -EINVAL;
		*ret = any->as.bytes.ptr;
		*ret_len = any->as.bytes.len;
		return 0;
	default:
		return -EINVAL;
	}
}

/*
 * What was stored: @bytes is a private copy, and is pointed to by the result where the
 * kind has bytes.
 *
 * Return: 0, or -EBADMSG if there is no such kind, or not of that length.
 */
static inline int mproc__any_from(uint32_t kind, const void *bytes, size_t len,
				  struct mproc_any *ret)
{
	struct mproc_any any = mproc_any_none();
	size_t want = 0;
	unsigned char b;

	any.kind = kind;
	switch (kind) {
	case MPROC_ANY_NONE:
		break;
	case MPROC_ANY_BOOL:
		want = 1;
		break;
	case MPROC_ANY_INT:
	case MPROC_ANY_UINT:
	case MPROC_ANY_FLOAT:
		want = 8;
		break;
	case MPROC_ANY_REF:
		want = sizeof(any.as.ref);
		break;
	case MPROC_ANY_STR:
	case MPROC_ANY_BYTES:
	case MPROC_ANY_PACK:
		*ret = mproc_any_of(kind, bytes, len);
		return 0;
	default:
		return -EBADMSG;
	}
	if (len != want)
		return -EBADMSG;
	if (kind == MPROC_ANY_BOOL) {
		memcpy(&b, bytes, 1);
		any.as.b = b & 1;
	} else if (want) {
		memcpy(&any.as, bytes, want);
	}
	*ret = any;
	return 0;
}

#endif /* MPROC__ANY_H */
