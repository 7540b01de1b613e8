/* SPDX-License-Identifier: MIT */

/*
 * Named values that processes share: a dict of one stripe under a kind of its own
 *
 * Nothing here writes shared memory; what a kill leaves is said in dict_table.c.
 */

#include <mproc/namespace.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "ipc/error.h"
#include "ipc/kind_layout.h"
#include "shm/dict.h"

/* The handle is the dict's, which no caller gets to see as one. */
struct mproc_namespace {
	mproc_dict dict;
};

static int handle(mproc_namespace **ret, mproc_segment *segment, enum mproc__dict_way way,
		  const char *name, const struct mproc_ref *ref)
{
	const struct mproc__dict_spec spec = {
		.noun = "namespace",
		.kind = MPROC__KIND_NAMESPACE,
		.name = name,
		.opts = MPROC_DICT_OPTS(.n_stripes = 1),
		.ref = ref,
		.way = way,
	};
	mproc_dict *dict = NULL;
	int r;

	assert(ret && (name || way == MPROC__DICT_CREATE || ref));
	r = mproc__dict_handle(&dict, segment, &spec);
	if (r >= 0)
		*ret = (mproc_namespace *)dict;
	return r;
}

int mproc_namespace_create(mproc_namespace **ret, mproc_segment *segment, const char *name)
{
	return handle(ret, segment, MPROC__DICT_CREATE, name, NULL);
}

int mproc_namespace_open(mproc_namespace **ret, mproc_segment *segment, const char *name)
{
	return handle(ret, segment, MPROC__DICT_OPEN, name, NULL);
}

int mproc_namespace_open_or_create(mproc_namespace **ret, mproc_segment *segment, const char *name)
{
	return handle(ret, segment, MPROC__DICT_OPEN_OR_CREATE, name, NULL);
}

int mproc_namespace_open_ref(mproc_namespace **ret, mproc_segment *segment,
			     const struct mproc_ref *ref)
{
	return handle(ret, segment, MPROC__DICT_OPEN_REF, NULL, ref);
}

int mproc_namespace_ref(mproc_namespace *ns, struct mproc_ref *ret)
{
	return mproc_dict_ref(&ns->dict, ret);
}

mproc_namespace *mproc_namespace_close(mproc_namespace *ns)
{
	if (ns)
		mproc_dict_close(&ns->dict);
	return NULL;
}

int mproc_namespace_destroy(mproc_namespace *ns)
{
	return mproc_dict_destroy(&ns->dict);
}

/* Return: bytes of @name, or -EINVAL with a text. */
static int len_of(const mproc_namespace *ns, const char *name)
{
	size_t len = strlen(name);

	if (len && len <= MPROC_NAMESPACE_NAME_MAX)
		return (int)len;
	return mproc__fail(-EINVAL, "namespace %s: a name of %zu bytes, 1 to %u are possible",
			   ns->dict.name, len, MPROC_NAMESPACE_NAME_MAX);
}

int mproc_namespace_set(mproc_namespace *ns, const char *name, const struct mproc_any *value)
{
	int len = len_of(ns, name);

	return len < 0 ? len : mproc_dict_put_any(&ns->dict, name, (size_t)len, value);
}

int mproc_namespace_get(mproc_namespace *ns, const char *name, struct mproc_any *ret, void *buf,
			size_t cap, size_t *ret_len)
{
	int len = len_of(ns, name);

	return len < 0 ? len
		       : mproc_dict_get_any(&ns->dict, name, (size_t)len, ret, buf, cap, ret_len);
}

int mproc_namespace_get_scalar(mproc_namespace *ns, const char *name, uint32_t kind,
			       struct mproc_any *ret)
{
	int len = len_of(ns, name);

	return len < 0 ? len : mproc_dict_get_scalar(&ns->dict, name, kind, ret);
}

int mproc_namespace_get_str(mproc_namespace *ns, const char *name, char *buf, size_t cap)
{
	int len = len_of(ns, name);

	return len < 0 ? len : mproc_dict_get_str(&ns->dict, name, buf, cap);
}

int mproc_namespace_remove(mproc_namespace *ns, const char *name)
{
	int len = len_of(ns, name);

	return len < 0 ? len : mproc_dict_remove(&ns->dict, name, (size_t)len);
}

int64_t mproc_namespace_len(mproc_namespace *ns)
{
	return mproc_dict_len(&ns->dict);
}

int mproc_namespace_next(mproc_namespace *ns, struct mproc_dict_iter *it, char *ret_name,
			 struct mproc_any *ret, void *buf, size_t cap, size_t *ret_len)
{
	struct mproc_dict_iter was = *it;
	int r = mproc_dict_next(&ns->dict, it, ret, buf, cap, ret_len);

	if (r <= 0)
		return r;
	if (it->key_len > MPROC_NAMESPACE_NAME_MAX || memchr(it->key, '\0', it->key_len)) {
		*it = was;
		return mproc__fail(-EBADMSG, "namespace %s: a key that is no name", ns->dict.name);
	}
	memcpy(ret_name, it->key, it->key_len);
	ret_name[it->key_len] = '\0';
	return r;
}
