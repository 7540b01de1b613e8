/* SPDX-License-Identifier: MIT */

/*
 * A string of bytes that processes share and change
 *
 * One body (body.c) whose units are bytes. The content is in a row, [first, first + len) of
 * its block, and a change writes where the content is not:
 *
 *	more behind it		there, if the block goes on so far
 *	less of it		nothing, only first and len change
 *	anything else		the whole new content, before or behind the present one in
 *				the same block, else in the room, else in a new block
 *
 * So whatever is killed where, the content is the old one or the new one, and a string
 * that keeps its length allocates nothing: a block has room for two.
 */

#include <mproc/string.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/error.h"
#include "ipc/opts.h"
#include "shm/body.h"
#include "shm/string.h"

#define MAGIC        UINT32_C(0x73747269)
#define ROOM_DEFAULT 256u
#define CAPACITY_MAX (UINT64_C(1) << 30)
#define KEEP         4096u /* a block this long is not given up for a shorter one */

struct mproc_string {
	uint32_t magic;
	struct mproc__body body;
};

static struct mproc__body *body_of(const mproc_string *string)
{
	assert(string && string->magic == MAGIC);
	return (struct mproc__body *)&string->body;
}

static uint64_t init(unsigned char *room, uint64_t room_off, void *arg)
{
	const struct mproc_string_opts *o = arg;

	(void)room_off;
	if (o->init_len)
		memcpy(room, o->init, o->init_len);
	return o->init_len;
}

static int handle_new(mproc_string **ret, mproc_segment *segment,
		      const struct mproc__body_spec *spec, enum mproc__body_way way)
{
	mproc_string *string;
	int r;

	assert(ret);
	string = calloc(1, sizeof(*string));
	if (!string)
		return mproc__fail(-ENOMEM, "string: no memory for a handle");
	r = mproc__body_get(&string->body, segment, spec, way);
	if (r < 0) {
		free(string);
		return r;
	}
	string->magic = MAGIC;
	*ret = string;
	return r;
}

/* By name, with options. */
static int make(mproc_string **ret, mproc_segment *segment, const char *name,
		const struct mproc_string_opts *opts, const char *verb, enum mproc__body_way way)
{
	struct mproc__body_spec spec = {
		.noun = "string", .kind = MPROC__KIND_STRING, .name = name, .unit = 1, .init = init
	};
	struct mproc_string_opts o;
	uint64_t room;
	int r;

	r = mproc__opts_copy(verb, &o, sizeof(o), opts);
	if (r < 0)
		return r;
	if (o.init_len && !o.init)
		return mproc__fail(-EINVAL, "%s: %zu bytes at first, and no pointer to them", verb,
				   o.init_len);
	room = o.capacity > o.init_len ? o.capacity : o.init_len;
	if (room > CAPACITY_MAX)
		return mproc__fail(-EINVAL,
				   "%s: a capacity of %" PRIu64 " bytes, at most %" PRIu64
				   " are possible",
				   verb, room, CAPACITY_MAX);
	spec.room = room < ROOM_DEFAULT && !o.capacity ? ROOM_DEFAULT : (room + 7) & ~UINT64_C(7);
	spec.arg = &o;
	return handle_new(ret, segment, &spec, way);
}

int mproc_string_create(mproc_string **ret, mproc_segment *segment, const char *name,
			const struct mproc_string_opts *opts)
{
	return make(ret, segment, name, opts, "create string", MPROC__BODY_CREATE);
}

int mproc_string_open_or_create(mproc_string **ret, mproc_segment *segment, const char *name,
				const struct mproc_string_opts *opts)
{
	assert(name);
	return make(ret, segment, name, opts, "open string", MPROC__BODY_OPEN_OR_CREATE);
}

int mproc_string_open(mproc_string **ret, mproc_segment *segment, const char *name)
{
	const struct mproc__body_spec spec = {
		.noun = "string", .kind = MPROC__KIND_STRING, .name = name, .unit = 1
	};

	assert(name);
	return handle_new(ret, segment, &spec, MPROC__BODY_OPEN);
}

int mproc_string_open_ref(mproc_string **ret, mproc_segment *segment, const struct mproc_ref *ref)
{
	const struct mproc__body_spec spec = {
		.noun = "string", .kind = MPROC__KIND_STRING, .ref = ref, .unit = 1
	};

	assert(ref);
	return handle_new(ret, segment, &spec, MPROC__BODY_OPEN);
}

int mproc_string_ref(const mproc_string *string, struct mproc_ref *ret)
{
	assert(ret);
	return mproc__body_ref(body_of(string), ret);
}

mproc_string *mproc_string_close(mproc_string *string)
{
	if (!string)
		return NULL;
	mproc__body_close(body_of(string));
	string->magic = 0;
	free(string);
	return NULL;
}

int mproc_string_lock(mproc_string *string, int64_t deadline)
{
	return mproc__body_lock(body_of(string), deadline);
}

int mproc_string_unlock(mproc_string *string)
{
	return mproc__body_unlock(body_of(string));
}

int mproc_string_consistent(mproc_string *string)
{
	return mproc__body_consistent(body_of(string));
}

uint64_t mproc_string_len(const mproc_string *string)
{
	return mproc__body_len(body_of(string));
}

uint64_t mproc_string_version(const mproc_string *string)
{
	return mproc__body_version_now(body_of(string));
}

int mproc_string_wait(mproc_string *string, uint64_t *version, int64_t deadline)
{
	assert(version);
	return mproc__body_wait(body_of(string), version, deadline);
}

static int behind(const struct mproc__body_call *c, const char *verb, uint64_t at)
{
	return mproc__fail(-EINVAL, "string %s %s: byte %" PRIu64 ", it has %" PRIu64, verb,
			   c->body->name, at, c->len);
}

static const unsigned char *content(const struct mproc__body_call *c)
{
	return c->block.mem + c->first;
}

int mproc_string_get(mproc_string *string, void *buf, size_t cap, size_t *ret_len, int64_t deadline)
{
	struct mproc__body_call c;
	int r;

	assert((buf || !cap) && ret_len);
	r = mproc__body_read(&c, body_of(string), deadline);
	if (r < 0)
		return r;
	do {
		r = 0;
		*ret_len = c.len;
		if (c.len > cap)
			r = mproc__fail(-ENOBUFS, "string get %s: %" PRIu64 " bytes, room for %zu",
					c.body->name, c.len, cap);
		else if (c.len)
			memcpy(buf, content(&c), c.len);
	} while (mproc__body_again(&c, &r));
	return r;
}

int mproc_string_get_range(mproc_string *string, uint64_t at, void *buf, size_t n, size_t *ret_len,
			   int64_t deadline)
{
	struct mproc__body_call c;
	size_t len;
	int r;

	assert((buf || !n) && ret_len);
	r = mproc__body_read(&c, body_of(string), deadline);
	if (r < 0)
		return r;
	do {
		r = at > c.len ? behind(&c, "get", at) : 0;
		if (r < 0)
			continue;
		len = n > c.len - at ? c.len - at : n;
		if (len)
			memcpy(buf, content(&c) + at, len);
		*ret_len = len;
	} while (mproc__body_again(&c, &r));
	return r;
}

/* A change: @n bytes from @at on give way to others. */
struct splice {
	uint64_t at, n;
	const unsigned char *bytes;
	uint64_t len;
};

/* The whole new content to where it shall be, which is not where it is now. */
static void write_all(const struct mproc__body_call *c, const struct splice *s, unsigned char *to)
{
	if (s->at)
		memcpy(to, content(c), s->at);
	if (s->len)
		memcpy(to + s->at, s->bytes, s->len);
	if (c->len - s->at - s->n)
		memcpy(to + s->at + s->len, content(c) + s->at + s->n, c->len - s->at - s->n);
}

enum place { NOWHERE, WASTEFUL, GOOD };

/* Where @len bytes can be without another block. */
static enum place find_place(const struct mproc__body_call *c, uint64_t len,
			     struct mproc__body_next *next)
{
	struct mproc__body_block room = mproc__body_room(c->body);
	uint64_t end = c->first + c->len;

	if (c->block.generation && len <= room.cap) {
		next->block = room;
		next->first = 0;
		next->drop_block = true;
		return GOOD;
	}
	next->block = c->block;
	if (len <= c->first)
		next->first = 0;
	else if (len <= c->block.cap - end)
		next->first = end;
	else
		return NOWHERE;
	/* A block that is far too long is given up; the room cannot be. */
	if (!c->block.generation || c->block.cap <= KEEP || c->block.cap / 8 <= len)
		return GOOD;
	return WASTEFUL;
}

static int rewrite(struct mproc__body_call *c, const struct splice *s, uint64_t len)
{
	struct mproc__body_next next = { .len = len };
	enum place place = find_place(c, len, &next);
	struct mproc__body_block block;
	int r = place == GOOD ? -ENOSPC : mproc__body_alloc(c, len, len, &block);

	/* What is wasteful is better than nothing. */
	if (r == -ENOSPC && place != NOWHERE) {
		write_all(c, s, next.block.mem + next.first);
		mproc__body_commit(c, &next);
		return 0;
	}
	if (r < 0)
		return r;
	write_all(c, s, block.mem);
	r = mproc__body_publish(c, &block, 0, 0);
	if (r < 0)
		return r;
	next = (struct mproc__body_next){ .block = block, .len = len, .drop_block = true };
	mproc__body_commit(c, &next);
	return 0;
}

static int splice(struct mproc__body_call *c, const struct splice *s)
{
	struct mproc__body_next next = { .block = c->block, .first = c->first };
	uint64_t kept = c->len - s->n, end = c->first + c->len;

	if (s->len > UINT64_MAX / 4 - kept)
		return mproc__fail(-ENOSPC, "string %s: %" PRIu64 " bytes wanted", c->body->name,
				   s->len);
	next.len = kept + s->len;
	if (!next.len && c->block.generation) {
		/* Nothing is left: the block is not needed. */
		next.block = mproc__body_room(c->body);
		next.first = 0;
		next.drop_block = true;
	} else if (!s->len && s->at + s->n == c->len) {
		/* Less at the end, or nothing at all. */
	} else if (!s->len && !s->at) {
		next.first += s->n;
	} else if (!s->n && s->at == c->len && s->len <= c->block.cap - end) {
		memcpy(c->block.mem + end, s->bytes, s->len);
	} else {
		return rewrite(c, s, next.len);
	}
	mproc__body_commit(c, &next);
	return 0;
}

int mproc_string_set(mproc_string *string, const void *bytes, size_t len, int64_t deadline)
{
	return mproc_string_replace(string, 0, UINT64_MAX, bytes, len, deadline);
}

int mproc_string_append(mproc_string *string, const void *bytes, size_t len, int64_t deadline)
{
	struct splice s = { .bytes = bytes, .len = len };
	struct mproc__body_call c;
	int r;

	assert(bytes || !len);
	r = mproc__body_begin(&c, body_of(string), deadline);
	if (r < 0)
		return r;
	s.at = c.len;
	return mproc__body_end(&c, splice(&c, &s));
}

int mproc_string_replace(mproc_string *string, uint64_t at, uint64_t n, const void *bytes,
			 size_t len, int64_t deadline)
{
	struct splice s = { .at = at, .n = n, .bytes = bytes, .len = len };
	struct mproc__body_call c;
	int r;

	assert(bytes || !len);
	r = mproc__body_begin(&c, body_of(string), deadline);
	if (r < 0)
		return r;
	if (at > c.len)
		return mproc__body_end(&c, behind(&c, "replace", at));
	if (n > c.len - at)
		s.n = c.len - at;
	return mproc__body_end(&c, splice(&c, &s));
}

int mproc_string_truncate(mproc_string *string, uint64_t len, int64_t deadline)
{
	struct splice s = { .at = len };
	struct mproc__body_call c;
	int r;

	r = mproc__body_begin(&c, body_of(string), deadline);
	if (r < 0)
		return r;
	if (len > c.len)
		return mproc__body_end(&c, behind(&c, "truncate", len));
	s.n = c.len - len;
	return mproc__body_end(&c, splice(&c, &s));
}

static int compare(const struct mproc__body_call *c, const void *bytes, size_t len)
{
	uint64_t n = c->len < len ? c->len : len;
	int r = n ? memcmp(content(c), bytes, n) : 0;

	return r ? r : (c->len > len) - (c->len < len);
}

int mproc_string_compare(mproc_string *string, const void *bytes, size_t len, int *ret,
			 int64_t deadline)
{
	struct mproc__body_call c;
	int r;

	assert((bytes || !len) && ret);
	r = mproc__body_read(&c, body_of(string), deadline);
	if (r < 0)
		return r;
	do {
		*ret = compare(&c, bytes, len);
		r = 0;
	} while (mproc__body_again(&c, &r));
	return r;
}

int mproc_string_cas(mproc_string *string, const void *expected, size_t n_expected,
		     const void *bytes, size_t len, int64_t deadline)
{
	struct splice s = { .bytes = bytes, .len = len };
	struct mproc__body_call c;
	int r;

	assert((expected || !n_expected) && (bytes || !len));
	r = mproc__body_begin(&c, body_of(string), deadline);
	if (r < 0)
		return r;
	if (compare(&c, expected, n_expected))
		return mproc__body_end(&c, 0);
	s.n = c.len;
	r = splice(&c, &s);
	return mproc__body_end(&c, r < 0 ? r : 1);
}

static int dispose(struct mproc__range *range, struct mproc__self *me, uint64_t off, uint64_t len,
		   bool wait)
{
	return mproc__body_dispose(range, me, off, len, wait, MPROC__KIND_STRING, 1);
}

const struct mproc__kind mproc__kind_string = {
	.id = MPROC__KIND_STRING,
	.name = "string",
	.dispose = dispose,
};
