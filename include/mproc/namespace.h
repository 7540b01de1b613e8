/* SPDX-License-Identifier: MIT */
#ifndef MPROC_NAMESPACE_H
#define MPROC_NAMESPACE_H

/*
 * Named values that processes share
 *
 * What Python's Manager().Namespace() is: a few names, each with a value of any kind. It
 * is a dict (<mproc/dict.h>) of one stripe whose keys are names, strings of 1 to 63
 * bytes, and behaves as one in all that is not said here.
 *
 * Memory, of the segment: 1 KiB, 64 bytes from the first name on, and entries and buckets
 * as those of a dict (a name of up to 16 bytes with a number: 64 bytes).
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one handle at the same time
 *	Fork		inherited handles work in the child: its first call attaches it
 *	Signals		not safe in a signal handler
 *	Killed		a process killed inside a call has made the whole change or none,
 *			and keeps nobody
 *	Errors		a negative errno; the call then has had no effect and has not
 *			touched its return parameters, but for @ret_len as documented.
 *			-ENOENT for a name that is not there leaves no text
 *
 * All calls with a name give -EINVAL if it has no byte or more than 63.
 */

#include <mproc/any.h>
#include <mproc/common.h>
#include <mproc/dict.h>
#include <mproc/ref.h>
#include <mproc/segment.h>

MPROC_BEGIN_DECLS

#define MPROC_NAMESPACE_NAME_MAX 63u /* bytes, the NUL not counted */

typedef struct mproc_namespace mproc_namespace;

/**
 * mproc_namespace_create() - make a namespace
 * @ret:	the new handle
 * @segment:	where it shall live, or NULL for the default segment
 * @name:	1 to 63 bytes, or NULL for one found by reference or inherited only
 *
 * Return: 0, or as mproc_dict_create().
 */
MPROC_API MPROC_MUST int mproc_namespace_create(mproc_namespace **ret, mproc_segment *segment,
						const char *name);

/* mproc_namespace_open() - find a namespace. Return: 0, or as mproc_dict_open(). */
MPROC_API MPROC_MUST int mproc_namespace_open(mproc_namespace **ret, mproc_segment *segment,
					      const char *name);

/*
 * mproc_namespace_open_or_create() - find a namespace, or make it
 *
 * Return: 1 if it was made, 0 if it was there, or as the two calls above.
 */
MPROC_API MPROC_MUST int mproc_namespace_open_or_create(mproc_namespace **ret,
							mproc_segment *segment, const char *name);

/* mproc_namespace_open_ref() - find one by reference. Return: as mproc_dict_open_ref(). */
MPROC_API MPROC_MUST int mproc_namespace_open_ref(mproc_namespace **ret, mproc_segment *segment,
						  const struct mproc_ref *ref);

/* mproc_namespace_ref() - what names the namespace in every process; 0 or -ESTALE */
MPROC_API MPROC_MUST int mproc_namespace_ref(mproc_namespace *ns, struct mproc_ref *ret);

/**
 * mproc_namespace_close() - give up this process's handle
 * @ns:		handle, or NULL
 *
 * The namespace stays in the segment. No other thread may be inside a call on @ns.
 *
 * Return: NULL.
 */
MPROC_API mproc_namespace *mproc_namespace_close(mproc_namespace *ns);

/* mproc_namespace_destroy() - remove it for everybody. Return: as mproc_dict_destroy(). */
MPROC_API MPROC_MUST int mproc_namespace_destroy(mproc_namespace *ns);

/**
 * mproc_namespace_set() - give a name a value
 * @ns:		namespace
 * @name:	name
 * @value:	value
 *
 * Return: 1 if it had another one before, 0 if the name is new, or as
 * mproc_dict_put_any().
 */
MPROC_API MPROC_MUST int mproc_namespace_set(mproc_namespace *ns, const char *name,
					     const struct mproc_any *value);

/**
 * mproc_namespace_get() - the value of a name
 * @ns:		namespace
 * @name:	name
 * @ret:	the value; strings, bytes and packs lie at @buf
 * @buf:	room for these; may be NULL if @cap is 0
 * @cap:	bytes at @buf
 * @ret_len:	bytes of the value, also with -ENOBUFS; may be NULL
 *
 * Return: 0, or -ENOENT if there is no such name, -ENOBUFS if the value is longer than
 * @cap.
 */
MPROC_API MPROC_MUST int mproc_namespace_get(mproc_namespace *ns, const char *name,
					     struct mproc_any *ret, void *buf, size_t cap,
					     size_t *ret_len);

/**
 * mproc_namespace_get_scalar() - the value of a name that is to be of a kind
 * @ns:		namespace
 * @name:	name
 * @kind:	kind: no string, bytes or pack
 * @ret:	the value
 *
 * Return: 0, -ENOENT, or -EPROTO if it is of another kind, -EINVAL if @kind has bytes.
 */
MPROC_API MPROC_MUST int mproc_namespace_get_scalar(mproc_namespace *ns, const char *name,
						    uint32_t kind, struct mproc_any *ret);

/**
 * mproc_namespace_get_str() - a value that is to be a string
 * @ns:		namespace
 * @name:	name
 * @buf:	where to copy it, with a NUL behind it
 * @cap:	bytes at @buf
 *
 * Return: 0, -ENOENT, -EPROTO if it is no string, -ENOBUFS.
 */
MPROC_API MPROC_MUST int mproc_namespace_get_str(mproc_namespace *ns, const char *name, char *buf,
						 size_t cap);

/* mproc_namespace_remove() - remove a name. Return: 0, or -ENOENT if there is none. */
MPROC_API MPROC_MUST int mproc_namespace_remove(mproc_namespace *ns, const char *name);

/* mproc_namespace_len() - how many names there are. Return: as mproc_dict_len(). */
MPROC_API MPROC_MUST int64_t mproc_namespace_len(mproc_namespace *ns);

/**
 * mproc_namespace_next() - go to the next name
 * @ns:		namespace
 * @it:		where one is; begins as MPROC_DICT_ITER
 * @ret_name:	the name and a NUL, MPROC_NAMESPACE_NAME_MAX + 1 bytes of room
 * @ret:	its value, as for mproc_namespace_get(); NULL: the name is enough
 * @buf:	room for strings, bytes and packs
 * @cap:	bytes at @buf
 * @ret_len:	bytes of the value, also with -ENOBUFS; may be NULL
 *
 * Return: as mproc_dict_next().
 */
MPROC_API MPROC_MUST int mproc_namespace_next(mproc_namespace *ns, struct mproc_dict_iter *it,
					      char *ret_name, struct mproc_any *ret, void *buf,
					      size_t cap, size_t *ret_len);

static inline int mproc_namespace_set_int(mproc_namespace *ns, const char *name, int64_t i)
{
	const struct mproc_any any = mproc_any_int(i);

	return mproc_namespace_set(ns, name, &any);
}

static inline int mproc_namespace_set_float(mproc_namespace *ns, const char *name, double f)
{
	const struct mproc_any any = mproc_any_float(f);

	return mproc_namespace_set(ns, name, &any);
}

static inline int mproc_namespace_set_bool(mproc_namespace *ns, const char *name, bool b)
{
	const struct mproc_any any = mproc_any_bool(b);

	return mproc_namespace_set(ns, name, &any);
}

static inline int mproc_namespace_set_str(mproc_namespace *ns, const char *name, const char *text)
{
	const struct mproc_any any = mproc_any_str(text);

	return mproc_namespace_set(ns, name, &any);
}

static inline int mproc_namespace_get_int(mproc_namespace *ns, const char *name, int64_t *ret)
{
	struct mproc_any any;
	int r = mproc_namespace_get_scalar(ns, name, MPROC_ANY_INT, &any);

	if (r == 0)
		*ret = any.as.i;
	return r;
}

static inline int mproc_namespace_get_float(mproc_namespace *ns, const char *name, double *ret)
{
	struct mproc_any any;
	int r = mproc_namespace_get_scalar(ns, name, MPROC_ANY_FLOAT, &any);

	if (r == 0)
		*ret = any.as.f;
	return r;
}

static inline int mproc_namespace_get_bool(mproc_namespace *ns, const char *name, bool *ret)
{
	struct mproc_any any;
	int r = mproc_namespace_get_scalar(ns, name, MPROC_ANY_BOOL, &any);

	if (r == 0)
		*ret = any.as.b;
	return r;
}

MPROC_END_DECLS

#endif /* MPROC_NAMESPACE_H */
