/* SPDX-License-Identifier: MIT */
#ifndef MPROC_DICT_H
#define MPROC_DICT_H

/*
 * A hash map that processes share
 *
 * Keys are bytes; a value is a struct mproc_any: nothing, a bool, a number, a string,
 * bytes, a packed struct, or a reference to another object, so that a dict can hold
 * dicts, lists and queues. Reads take no lock; changes lock one of the dict's stripes.
 * Every call on one key is atomic: it happens as a whole at one instant between its
 * beginning and its end, or not at all. A dict grows bit by bit, while it is used.
 *
 * Where Python's d[k] += 1 loses counts when two do it, mproc_dict_add_int() does not;
 * other changes that depend on what is there are mproc_dict_replace_if() in a loop.
 *
 * Memory, of the segment: a dict has MPROC_DICT_BYTES, and MPROC_DICT_STRIPE_BYTES for
 * each stripe, in whole pages of 4 KiB beyond 2 KiB; a stripe has 64 bytes more from its
 * first entry on. An entry has a block of MPROC_DICT_ENTRY_BYTES and the bytes of key
 * and value, each rounded up to 8: the next power of two from 64 bytes on, whole pages
 * beyond 2 KiB (a key of 16 bytes and a value of up to 24: 64; of up to 88: 128), and 16
 * to 32 bytes in its stripe's buckets. Blocks of entries go back when these do, but for
 * one of at most 2 KiB in each stripe; buckets are kept until the dict is destroyed.
 *
 * Unless a function says otherwise:
 *
 *	Threads		any number may use one handle at the same time
 *	Fork		inherited handles work in the child: its first call attaches it
 *	Signals		not safe in a signal handler
 *	Killed		a process killed inside a call has made the whole change or none,
 *			and keeps nobody; its memory goes back
 *	Errors		a negative errno; the call then has had no effect and has not
 *			touched its return parameters, but for @ret_len as documented.
 *			-ENOENT for a key that is not there leaves no text
 *
 * No call has a deadline but mproc_dict_wait(), since none waits for what a program
 * decides. Who changes a key waits for who is just changing another of the same stripe,
 * also if that process is stopped (SIGSTOP): readers, and other stripes, go on, unless it
 * stands still where the segment itself hands out memory, which some inserts and long
 * values take; then all wait who need the same. A mproc_dict_clear() of many entries
 * keeps readers of a stripe until that is empty. One that is killed keeps nobody.
 *
 * All calls give -EINVAL for a key that is empty or too long, -ESTALE once the dict is
 * destroyed, -EBADMSG if somebody has scribbled over it, -ELOOP if the thread is inside
 * three other calls already (an init function that makes an object, and so on), and
 * -EUSERS, -ENOTCONN or -EROFS if the thread cannot attach.
 *
 * In a segment that was attached to for reading only, what reads works all the same: get,
 * contains, len, stats and iteration. Such a reader can lock nobody out: where writers have
 * left him no gap in some thousand tries he gets -EBUSY. All else gives -EROFS.
 */

#include <mproc/any.h>
#include <mproc/common.h>
#include <mproc/pack.h>
#include <mproc/ref.h>
#include <mproc/segment.h>

MPROC_BEGIN_DECLS

#define MPROC_DICT_KEY_MAX      1024u               /* bytes */
#define MPROC_DICT_VALUE_MAX    (UINT64_C(1) << 30) /* bytes */
#define MPROC_DICT_STRIPES_MAX  256u
#define MPROC_DICT_EXPECTED_MAX (UINT64_C(1) << 32)
#define MPROC_DICT_BYTES        128u
#define MPROC_DICT_STRIPE_BYTES 512u
#define MPROC_DICT_ENTRY_BYTES  24u

typedef struct mproc_dict mproc_dict;

struct mproc_dict_opts {
	size_t size;         /* of this struct, set by MPROC_DICT_OPTS() */
	uint64_t n_expected; /* entries: so many need no growing; default 0 */
	/*
	 * Entries; 0: as many as the segment has room for. Who inserts at the same instant
	 * may all get in: it is exceeded by one less than these at most.
	 */
	uint64_t max_items;
	uint32_t n_stripes; /* a power of two: how many change it at a time; default 16 */
	uint32_t reserved;
};

/* MPROC_DICT_OPTS(.n_expected = 100000); C only, a pointer. */
#define MPROC_DICT_OPTS(...) \
	(&(const struct mproc_dict_opts){ .size = sizeof(struct mproc_dict_opts), __VA_ARGS__ })

/**
 * mproc_dict_create() - make a dict
 * @ret:	the new handle
 * @segment:	where it shall live, or NULL for the default segment
 * @name:	1 to 63 bytes, or NULL for a dict found by reference or inherited only
 * @opts:	options, or NULL for the defaults
 *
 * Return: 0, or -EEXIST if @name is taken, -EINVAL for a name or an option out of range,
 * -E2BIG if @opts uses a field this library does not know, -ENOSPC if the segment is
 * full, -ENOMEM, or as mproc_segment_default().
 */
MPROC_API MPROC_MUST int mproc_dict_create(mproc_dict **ret, mproc_segment *segment,
					   const char *name, const struct mproc_dict_opts *opts);

/**
 * mproc_dict_open() - find a dict
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @name:	its name
 *
 * Return: 0, or -ENOENT if nothing has that name, -EEXIST if something else than a dict
 * has it, -EPROTO if it is of another layout, -EBADMSG, -EINVAL, -ENOMEM.
 */
MPROC_API MPROC_MUST int mproc_dict_open(mproc_dict **ret, mproc_segment *segment,
					 const char *name);

/**
 * mproc_dict_open_or_create() - find a dict, or make it
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @name:	its name
 * @opts:	if it is made; what is found may have others
 *
 * Return: 1 if it was made, 0 if it was there, or as the two calls above.
 */
MPROC_API MPROC_MUST int mproc_dict_open_or_create(mproc_dict **ret, mproc_segment *segment,
						   const char *name,
						   const struct mproc_dict_opts *opts);

/**
 * mproc_dict_open_ref() - find a dict by reference, as it is found in another dict
 * @ret:	the handle
 * @segment:	where it lives, or NULL for the default segment
 * @ref:	what mproc_dict_ref() has given
 *
 * Return: 0, or -ESTALE if it is gone, -EINVAL if @ref is another segment's or no
 * object's, -EEXIST if it is something else, -EPROTO, -EBADMSG, -ENOMEM.
 */
MPROC_API MPROC_MUST int mproc_dict_open_ref(mproc_dict **ret, mproc_segment *segment,
					     const struct mproc_ref *ref);

/**
 * mproc_dict_ref() - what names the dict in every process
 * @dict:	dict
 * @ret:	the reference, which does not keep it alive
 *
 * Return: 0, or -ESTALE if the dict is destroyed.
 */
MPROC_API MPROC_MUST int mproc_dict_ref(mproc_dict *dict, struct mproc_ref *ret);

/**
 * mproc_dict_close() - give up this process's handle
 * @dict:	handle, or NULL
 *
 * The dict stays in the segment. No other thread may be inside a call on @dict.
 *
 * Return: NULL.
 */
MPROC_API mproc_dict *mproc_dict_close(mproc_dict *dict);

/**
 * mproc_dict_destroy() - remove a dict for everybody and free all it has
 * @dict:	dict; the handle is still to be closed
 *
 * Objects that it refers to stay. Everybody's calls give -ESTALE from now on; those who
 * are inside one are waited for, also while they are stopped. Of a process killed in this
 * call, the dict's memory and the slot in the segment come back once those have come out.
 *
 * Return: 0, or -ESTALE if it is gone already, -EUSERS, -ENOTCONN.
 */
MPROC_API MPROC_MUST int mproc_dict_destroy(mproc_dict *dict);

/**
 * mproc_dict_put() - set the value of a key to bytes
 * @dict:	dict
 * @key:	1 to MPROC_DICT_KEY_MAX bytes
 * @key_len:	how many
 * @value:	bytes, kept as MPROC_ANY_BYTES; may be NULL if @len is 0
 * @len:	how many, up to MPROC_DICT_VALUE_MAX
 *
 * Return: 1 if it replaces another value, 0 if the key is new; or -EMSGSIZE if @len is
 * too much, -ENOSPC if the segment has no room or the dict its maximum.
 */
MPROC_API MPROC_MUST int mproc_dict_put(mproc_dict *dict, const void *key, size_t key_len,
					const void *value, size_t len);

/**
 * mproc_dict_put_any() - set the value of a key
 *
 * Return: as mproc_dict_put(); -EINVAL if @value is impossible.
 */
MPROC_API MPROC_MUST int mproc_dict_put_any(mproc_dict *dict, const void *key, size_t key_len,
					    const struct mproc_any *value);

/**
 * mproc_dict_get() - the value of a key, of whatever kind, as bytes
 * @dict:	dict
 * @key:	key
 * @key_len:	its length in bytes
 * @buf:	where to copy it; may be NULL if @cap is 0
 * @cap:	room at @buf in bytes; what does not belong to the value may be written to
 * @ret_len:	bytes of the value, also with -ENOBUFS; may be NULL
 *
 * Return: 0, or -ENOENT if the key is not there, -ENOBUFS if the value is longer.
 */
MPROC_API MPROC_MUST int mproc_dict_get(mproc_dict *dict, const void *key, size_t key_len,
					void *buf, size_t cap, size_t *ret_len);

/**
 * mproc_dict_get_any() - the value of a key
 * @dict:	dict
 * @key:	key
 * @key_len:	its length in bytes
 * @ret:	the value; strings, bytes and packs lie at @buf
 * @buf:	room for these; may be NULL if @cap is 0
 * @cap:	bytes at @buf
 * @ret_len:	bytes of the value, also with -ENOBUFS; may be NULL
 *
 * Return: as mproc_dict_get().
 */
MPROC_API MPROC_MUST int mproc_dict_get_any(mproc_dict *dict, const void *key, size_t key_len,
					    struct mproc_any *ret, void *buf, size_t cap,
					    size_t *ret_len);

/**
 * mproc_dict_contains() - is the key there?
 *
 * Return: 1, 0, or a negative errno.
 */
MPROC_API MPROC_MUST int mproc_dict_contains(mproc_dict *dict, const void *key, size_t key_len);

/**
 * mproc_dict_remove() - remove a key
 *
 * Return: 0, or -ENOENT if it is not there.
 */
MPROC_API MPROC_MUST int mproc_dict_remove(mproc_dict *dict, const void *key, size_t key_len);

/**
 * mproc_dict_pop() - remove a key and get its value: of many who do, one gets it
 *
 * Return: as mproc_dict_get_any(); with -ENOBUFS it stays.
 */
MPROC_API MPROC_MUST int mproc_dict_pop(mproc_dict *dict, const void *key, size_t key_len,
					struct mproc_any *ret, void *buf, size_t cap,
					size_t *ret_len);

/**
 * mproc_dict_get_or_insert() - the value of a key, which is inserted if it is not there
 * @dict:	dict
 * @key:	key
 * @key_len:	its length in bytes
 * @value:	what to insert
 * @ret:	the value that is there now, or NULL; it is @value if that was inserted
 * @buf:	as for mproc_dict_get_any()
 * @cap:	bytes at @buf; no value is wanted if @ret and @buf are NULL and this is 0
 * @ret_len:	bytes of the value, also with -ENOBUFS; may be NULL
 *
 * Of many who call for one key one inserts, and all get that one's value.
 *
 * Return: 1 if it was inserted, 0 if it was there, or -ENOBUFS if what is there is
 * longer than @cap, or as mproc_dict_put_any().
 */
MPROC_API MPROC_MUST int mproc_dict_get_or_insert(mproc_dict *dict, const void *key, size_t key_len,
						  const struct mproc_any *value,
						  struct mproc_any *ret, void *buf, size_t cap,
						  size_t *ret_len);

/**
 * mproc_dict_replace_if() - change a key if its value is what one thinks it is
 * @dict:	dict
 * @key:	key
 * @key_len:	its length in bytes
 * @expected:	what it is to be now, kind and bytes; NULL: not there
 * @value:	what to make it; NULL: remove it
 *
 * Return: 1 if it was as expected and is changed, 0 if it was not, or as
 * mproc_dict_put_any().
 */
MPROC_API MPROC_MUST int mproc_dict_replace_if(mproc_dict *dict, const void *key, size_t key_len,
					       const struct mproc_any *expected,
					       const struct mproc_any *value);

/**
 * mproc_dict_add_int() - add to a number
 * @dict:	dict
 * @key:	key
 * @key_len:	its length in bytes
 * @delta:	what to add; sums wrap around
 * @initial:	what the number counts as if the key is not there
 * @ret:	the sum; may be NULL
 *
 * Return: 1 if the key is new, 0 if it was there, or -EPROTO if it is no
 * MPROC_ANY_INT, -ENOSPC.
 */
MPROC_API MPROC_MUST int mproc_dict_add_int(mproc_dict *dict, const void *key, size_t key_len,
					    int64_t delta, int64_t initial, int64_t *ret);

/* mproc_dict_add_float() - the same with a double, which is an MPROC_ANY_FLOAT. */
MPROC_API MPROC_MUST int mproc_dict_add_float(mproc_dict *dict, const void *key, size_t key_len,
					      double delta, double initial, double *ret);

struct mproc_dict_item {
	const void *key;
	size_t key_len; /* bytes */
	struct mproc_any value;
};

/**
 * mproc_dict_update() - put many entries, one after the other
 * @dict:	dict
 * @items:	entries; the last one counts if a key comes twice
 * @n:		how many
 *
 * Not atomic as a whole: others see some of them there and some not yet, and a process
 * killed inside has put the first few.
 *
 * Return: how many were put, which is @n or, once at least one is put, fewer if one
 * cannot be; else the error of mproc_dict_put_any().
 */
MPROC_API MPROC_MUST int mproc_dict_update(mproc_dict *dict, const struct mproc_dict_item *items,
					   size_t n);

/**
 * mproc_dict_clear() - remove all that is there
 *
 * Stripe by stripe: what others insert meanwhile may stay. Who reads or changes an entry of
 * the stripe that is just being cleared waits until that is done.
 *
 * Return: how many were removed, or a negative errno: some may have been, then.
 */
MPROC_API MPROC_MUST int64_t mproc_dict_clear(mproc_dict *dict);

/**
 * mproc_dict_len() - how many entries there are
 *
 * Exact if nobody changes the dict meanwhile; else the count of each stripe is of some
 * instant during the call. After a kill it counts again what the dead was just
 * inserting or removing once the next change comes to that stripe.
 *
 * Return: the number, or a negative errno.
 */
MPROC_API MPROC_MUST int64_t mproc_dict_len(mproc_dict *dict);

struct mproc_dict_stats {
	uint64_t n_items;
	uint64_t n_buckets;
	uint64_t n_changes; /* calls that changed something, since it was made; clear apart */
	uint64_t max_items; /* 0: none */
	uint32_t n_stripes;
	uint32_t reserved;
};

/* mproc_dict_stats() - numbers of a dict. Return: 0, or a negative errno. */
MPROC_API MPROC_MUST int mproc_dict_stats(mproc_dict *dict, struct mproc_dict_stats *ret);

/* A place in a dict, private to a thread; start with MPROC_DICT_ITER. */
struct mproc_dict_iter {
	uint64_t order;
	uint32_t stripe;
	uint32_t key_len;                      /* bytes of the present key */
	unsigned char key[MPROC_DICT_KEY_MAX]; /* the present key */
};

#define MPROC_DICT_ITER \
	{ \
		.order = 0 \
	}

/**
 * mproc_dict_next() - go to the next entry
 * @dict:	dict
 * @it:		where one is; afterwards @it->key is the key
 * @ret:	its value, as for mproc_dict_get_any(); NULL: the key is enough
 * @buf:	room for strings, bytes and packs
 * @cap:	bytes at @buf
 * @ret_len:	bytes of the value, also with -ENOBUFS; may be NULL
 *
 * Others may change the dict meanwhile, and it may grow: a key that is there all the
 * time comes exactly once, one that comes or goes meanwhile once or not at all; a value
 * is one that the key had between the beginning and the end of the call. The order is
 * none that means anything. A step only goes forward, so it comes to its end.
 *
 * Return: 1, 0 at the end, or -ENOBUFS: the iterator stays where it is.
 */
MPROC_API MPROC_MUST int mproc_dict_next(mproc_dict *dict, struct mproc_dict_iter *it,
					 struct mproc_any *ret, void *buf, size_t cap,
					 size_t *ret_len);

/**
 * mproc_dict_wait() - wait until the value of a key is another one
 * @dict:	dict
 * @key:	key
 * @key_len:	its length in bytes
 * @seen:	the value; NULL: not there
 * @deadline:	how long to wait, see <mproc/common.h>
 *
 * A value that changes and changes back may go unnoticed.
 *
 * Return: 0 once it is something else than @seen, or not there any more; -EAGAIN or
 * -ETIMEDOUT if it was not in time, -ESTALE if the dict is destroyed meanwhile.
 */
MPROC_API MPROC_MUST int mproc_dict_wait(mproc_dict *dict, const void *key, size_t key_len,
					 const struct mproc_any *seen, int64_t deadline);

/**
 * mproc_dict_put_pack() - set the value of a key to a struct
 * @dict:	dict
 * @key:	key
 * @key_len:	its length in bytes
 * @type:	descriptor of the struct, see <mproc/pack.h>
 * @value:	the struct
 *
 * Return: as mproc_dict_put(), or as mproc_pack_dumps().
 */
MPROC_API MPROC_MUST int mproc_dict_put_pack(mproc_dict *dict, const void *key, size_t key_len,
					     const struct mproc_pack_type *type, const void *value);

/**
 * mproc_dict_get_pack() - the value of a key as a struct in memory of its own
 * @dict:	dict
 * @key:	key
 * @key_len:	its length in bytes
 * @type:	descriptor of the struct
 * @ret:	the struct, to be given to mproc_pack_release()
 *
 * Return: 0, or -ENOENT, -EPROTO if it is no MPROC_ANY_PACK, -ENOMEM, or as
 * mproc_pack_loads().
 */
MPROC_API MPROC_MUST int mproc_dict_get_pack(mproc_dict *dict, const void *key, size_t key_len,
					     const struct mproc_pack_type *type,
					     mproc_pack_value **ret);

/*
 * For keys that are strings: their NUL is not part of them.
 */

static inline int mproc_dict_put_str(mproc_dict *dict, const char *key, const char *text)
{
	const struct mproc_any any = mproc_any_str(text);

	return mproc_dict_put_any(dict, key, strlen(key), &any);
}

static inline int mproc_dict_put_int(mproc_dict *dict, const char *key, int64_t i)
{
	const struct mproc_any any = mproc_any_int(i);

	return mproc_dict_put_any(dict, key, strlen(key), &any);
}

static inline int mproc_dict_put_float(mproc_dict *dict, const char *key, double f)
{
	const struct mproc_any any = mproc_any_float(f);

	return mproc_dict_put_any(dict, key, strlen(key), &any);
}

static inline int mproc_dict_put_bool(mproc_dict *dict, const char *key, bool b)
{
	const struct mproc_any any = mproc_any_bool(b);

	return mproc_dict_put_any(dict, key, strlen(key), &any);
}

static inline int mproc_dict_put_ref(mproc_dict *dict, const char *key, struct mproc_ref ref)
{
	const struct mproc_any any = mproc_any_ref(ref);

	return mproc_dict_put_any(dict, key, strlen(key), &any);
}

/*
 * mproc_dict_get_scalar() - the value of a key that is to be of @kind: no string, bytes
 * or pack
 *
 * Return: 0, -ENOENT, or -EPROTO if it is of another kind, -EINVAL if @kind has bytes.
 */
MPROC_API MPROC_MUST int mproc_dict_get_scalar(mproc_dict *dict, const char *key, uint32_t kind,
					       struct mproc_any *ret);

/**
 * mproc_dict_get_str() - a value that is to be a string
 * @dict:	dict
 * @key:	key
 * @buf:	where to copy it, with a NUL behind it
 * @cap:	bytes at @buf
 *
 * Return: 0, -ENOENT, -EPROTO if it is no string, -ENOBUFS.
 */
MPROC_API MPROC_MUST int mproc_dict_get_str(mproc_dict *dict, const char *key, char *buf,
					    size_t cap);

static inline int mproc_dict_get_int(mproc_dict *dict, const char *key, int64_t *ret)
{
	struct mproc_any any;
	int r = mproc_dict_get_scalar(dict, key, MPROC_ANY_INT, &any);

	if (r == 0)
		*ret = any.as.i;
	return r;
}

static inline int mproc_dict_get_float(mproc_dict *dict, const char *key, double *ret)
{
	struct mproc_any any;
	int r = mproc_dict_get_scalar(dict, key, MPROC_ANY_FLOAT, &any);

	if (r == 0)
		*ret = any.as.f;
	return r;
}

static inline int mproc_dict_get_bool(mproc_dict *dict, const char *key, bool *ret)
{
	struct mproc_any any;
	int r = mproc_dict_get_scalar(dict, key, MPROC_ANY_BOOL, &any);

	if (r == 0)
		*ret = any.as.b;
	return r;
}

static inline int mproc_dict_get_ref(mproc_dict *dict, const char *key, struct mproc_ref *ret)
{
	struct mproc_any any;
	int r = mproc_dict_get_scalar(dict, key, MPROC_ANY_REF, &any);

	if (r == 0)
		*ret = any.as.ref;
	return r;
}

MPROC_END_DECLS

#endif /* MPROC_DICT_H */
