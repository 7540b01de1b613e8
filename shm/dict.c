/* SPDX-License-Identifier: MIT */

/*
 * A hash map that processes share: handles, and the end of a dict
 *
 * A dict is a block with a head and stripes; which stripe a key belongs to is said by
 * its hash. Nothing of the head changes. What is in the stripes, who writes it and what
 * a kill leaves is said in dict_table.c.
 *
 * The hash is SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF",
 * 2012, with one and three rounds as Rust and Python have it) under a secret of each
 * dict: who chooses keys cannot choose where they go.
 *
 * The end. Blocks of a dict that is removed must not be anybody else's while somebody
 * still walks in them. So a thread notes in its record that it is acting on the dict,
 * and then looks whether it is there; who removes it makes the entry of the catalogue
 * DYING, and then looks for such notes, until there are none of the living. One of the
 * two sees the other: all threads are made to execute a fence in between. From then on
 * whoever removes is alone, and frees node by node by the log of the stripe; killed, he
 * is followed by a reaper, who goes on.
 */

#include <mproc/dict.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <mproc/error.h>

#include "ipc/error.h"
#include "ipc/kind.h"
#include "ipc/kind_layout.h"
#include "ipc/opts.h"
#include "shm/arena.h"
#include "shm/dict.h"

#define MAGIC           UINT32_C(0x64696374)
#define STRIPES_DEFAULT 16u

static_assert(MPROC_DICT_KEY_MAX == MPROC__DICT_KEY_MAX, "the header and the layout differ");
static_assert(MPROC_DICT_VALUE_MAX == MPROC__DICT_VALUE_MAX, "the header and the layout differ");
static_assert(MPROC_DICT_STRIPES_MAX == MPROC__DICT_STRIPES_MAX,
	      "the header and the layout differ");
static_assert(sizeof(struct mproc__dict_stripe) == MPROC_DICT_STRIPE_BYTES &&
		      sizeof(struct mproc__dict_shared) == MPROC_DICT_BYTES &&
		      sizeof(struct mproc__dict_node) == MPROC_DICT_ENTRY_BYTES,
	      "the header says what a dict costs");

/*
 * The hash
 */

struct sip {
	uint64_t a, b, c, d;
};

static inline uint64_t rotate(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

static inline void sip_round(struct sip *s)
{
	s->a += s->b;
	s->c += s->d;
	s->b = rotate(s->b, 13) ^ s->a;
	s->d = rotate(s->d, 16) ^ s->c;
	s->a = rotate(s->a, 32);
	s->c += s->b;
	s->a += s->d;
	s->b = rotate(s->b, 17) ^ s->c;
	s->d = rotate(s->d, 21) ^ s->a;
	s->c = rotate(s->c, 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
	s->d ^= word;
	sip_round(s);
	s->a ^= word;
}

static uint64_t hash_of(const uint64_t secret[2], const unsigned char *bytes, size_t len)
{
	struct sip s = {
		secret[0] ^ UINT64_C(0x736f6d6570736575),
		secret[1] ^ UINT64_C(0x646f72616e646f6d),
		secret[0] ^ UINT64_C(0x6c7967656e657261),
		secret[1] ^ UINT64_C(0x7465646279746573),
	};
	uint64_t last = (uint64_t)len << 56, word;
	size_t i;

	for (i = 0; i + 8 <= len; i += 8) {
		memcpy(&word, bytes + i, 8);
		sip_word(&s, word);
	}
	if (i < len)
		last |= mproc__dict_word(bytes, len, i);
	sip_word(&s, last);
	s.c ^= 255;
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	return s.a ^ s.b ^ s.c ^ s.d;
}

int mproc__dict_key_make(const mproc_dict *d, const void *key, size_t len,
			 struct mproc__dict_key *ret)
{
	assert(d && d->magic == MAGIC && (key || !len));
	if (__builtin_expect(len - 1 >= MPROC_DICT_KEY_MAX, 0))
		return mproc__fail(-EINVAL, "%s %s: a key of %zu bytes, 1 to %u are possible",
				   d->noun, d->name, len, MPROC_DICT_KEY_MAX);
	ret->bytes = key;
	ret->len = len;
	ret->hash = hash_of(d->geometry.secret, key, len);
	ret->order = mproc__dict_reverse(ret->hash);
	/* Buckets are chosen by the lowest bits. */
	ret->stripe = &d->shared->stripes[ret->hash >> 40 & (d->geometry.n_stripes - 1)];
	return 0;
}

int mproc__dict_enter(mproc_dict *d, struct mproc__dict_call *ret)
{
	assert(d && d->magic == MAGIC);
	ret->d = d;
	ret->me = mproc__self(d->shared, d->noun);
	if (__builtin_expect(!ret->me, 0))
		return mproc__self_error();
	/* Without a note the blocks might be freed under us. */
	if (__builtin_expect(!mproc__act_fits(ret->me), 0))
		return mproc__fail(-ELOOP, "%s %s: called inside %" PRIu32 " other calls", d->noun,
				   d->name, ret->me->n_acts);
	ret->act = mproc__act_begin(ret->me, d->what);
	/* Our note stands before we look; see dispose(). */
	mproc__publish(ret->me);
	if (__builtin_expect(mproc__object_check(d->segment, &d->object) < 0, 0)) {
		mproc__dict_leave(ret);
		return mproc__fail(-ESTALE, "%s %s: it is gone", d->noun, d->name);
	}
	return 0;
}

int mproc__dict_enter_reader(mproc_dict *d, struct mproc__dict_call *ret)
{
	assert(d && d->magic == MAGIC);
	if (__builtin_expect(!d->segment->range->read_only, 1))
		return mproc__dict_enter(d, ret);
	*ret = (struct mproc__dict_call){ .d = d };
	return mproc__object_look(d->segment, &d->object, d->noun, d->name);
}

/*
 * Making and finding
 */

/* In zeroed memory that nobody else can see yet. */
static int shared_init(void *mem, void *arg)
{
	const struct mproc__dict_geometry *g = arg;
	struct mproc__dict_shared *s = mem;

	s->layout = MPROC__DICT_LAYOUT;
	s->n_stripes = g->n_stripes;
	s->base = g->base;
	s->max_items = g->max_items;
	if (getrandom(s->secret, sizeof(s->secret), 0) != sizeof(s->secret))
		return mproc__fail_errno(-errno, "dict: getrandom");
	return 0;
}

static int geometry_of(const struct mproc__dict_spec *spec, struct mproc__dict_geometry *ret)
{
	struct mproc_dict_opts o;
	uint64_t each;
	char what[32];
	int r;

	snprintf(what, sizeof(what), "create %s", spec->noun);
	r = mproc__opts_copy(what, &o, sizeof(o), spec->opts);
	if (r < 0)
		return r;
	if (!o.n_stripes)
		o.n_stripes = STRIPES_DEFAULT;
	if (o.n_stripes > MPROC__DICT_STRIPES_MAX || (o.n_stripes & (o.n_stripes - 1)))
		return mproc__fail(-EINVAL,
				   "%s: %" PRIu32 " stripes, a power of two up to %u is possible",
				   what, o.n_stripes, MPROC__DICT_STRIPES_MAX);
	if (o.n_expected > MPROC_DICT_EXPECTED_MAX)
		return mproc__fail(-EINVAL, "%s: %" PRIu64 " entries expected, at most %" PRIu64,
				   what, o.n_expected, MPROC_DICT_EXPECTED_MAX);
	*ret = (struct mproc__dict_geometry){
		.n_stripes = o.n_stripes,
		.base = MPROC__DICT_BASE_MIN,
		.max_items = o.max_items,
	};
	each = 2 * o.n_expected / o.n_stripes;
	while (ret->base < each && ret->base < MPROC__DICT_BASE_MAX)
		ret->base *= 2;
	return 0;
}

static int handle_init(mproc_dict *d, mproc_segment *segment, const struct mproc__object *object,
		       const struct mproc__dict_spec *spec)
{
	uintptr_t base = atomic_load_explicit(&segment->range->base, memory_order_relaxed);

	d->kind = spec->kind;
	d->segment = segment;
	d->object = *object;
	d->shared = object->mem;
	d->noun = spec->noun;
	d->what = mproc__what(spec->kind, (uint64_t)((uintptr_t)object->mem - base));
	strncpy(d->name, spec->name ? spec->name : "(anonymous)", sizeof(d->name) - 1);
	if ((uintptr_t)object->mem % 128 ||
	    !mproc__dict_geometry_check(d->shared, object->len, &d->geometry))
		return mproc__fail(-EBADMSG, "open %s %s: its geometry is impossible", d->noun,
				   d->name);
	d->magic = MAGIC;
	return 0;
}

/* Return: 1 made, 0 found or made, or negative. */
static int object_of(struct mproc__object *ret, mproc_segment *segment,
		     const struct mproc__dict_spec *spec, struct mproc__dict_geometry *g)
{
	struct mproc__object_spec object = {
		.what = spec->noun,
		.name = spec->name,
		.kind = spec->kind,
		.type = MPROC__DICT_LAYOUT,
		.init = shared_init,
		.arg = g,
	};
	char text[MPROC__ERROR_MAX];
	int r;

	if (spec->way == MPROC__DICT_OPEN_REF)
		return mproc__object_open_ref(ret, segment, &object, spec->ref);
	if (spec->way == MPROC__DICT_OPEN)
		return mproc__object_open(ret, segment, &object);
	mproc__error_keep(text);
	/* Each turn that fails has met another process that succeeded in something. */
	do {
		/* What is found may have another number of stripes, hence another length. */
		object.len = 0;
		r = spec->way == MPROC__DICT_CREATE ? -ENOENT
						    : mproc__object_open(ret, segment, &object);
		if (r != -ENOENT)
			break;
		object.len = mproc__dict_bytes(g->n_stripes);
		r = mproc__object_create(ret, segment, &object);
		if (r == 0)
			r = 1;
	} while (r == -EEXIST && spec->way == MPROC__DICT_OPEN_OR_CREATE);
	if (r >= 0)
		mproc__error_put_back(text);
	return r;
}

int mproc__dict_handle(mproc_dict **ret, mproc_segment *segment,
		       const struct mproc__dict_spec *spec)
{
	struct mproc__dict_geometry g = { 0 };
	struct mproc__object object;
	mproc_dict *d;
	int r, made;

	assert(ret);
	if (spec->way == MPROC__DICT_CREATE || spec->way == MPROC__DICT_OPEN_OR_CREATE) {
		r = geometry_of(spec, &g);
		if (r < 0)
			return r;
	}
	r = mproc__segment_ref(&segment, segment);
	if (r < 0)
		return r;
	d = calloc(1, sizeof(*d));
	if (!d) {
		r = mproc__fail(-ENOMEM, "%s: no memory for a handle", spec->noun);
		goto err_close;
	}
	do {
		made = object_of(&object, segment, spec, &g);
		r = made < 0 ? made : handle_init(d, segment, &object, spec);
		/* Found, and removed before we looked into it: by then it may be anything. */
		if (made >= 0 && r < 0 && mproc__object_check(segment, &object) < 0)
			r = mproc__fail(spec->way == MPROC__DICT_OPEN_REF ? -ESTALE : -ENOENT,
					"open %s %s: it is gone", d->noun, d->name);
	} while (r == -ENOENT && spec->way == MPROC__DICT_OPEN_OR_CREATE);
	if (r < 0)
		goto err_free;
	*ret = d;
	return spec->way == MPROC__DICT_CREATE ? 0 : made;

err_free:
	free(d);
err_close:
	mproc_segment_close(segment);
	return r;
}

static int handle(mproc_dict **ret, mproc_segment *segment, enum mproc__dict_way way,
		  const char *name, const struct mproc_dict_opts *opts, const struct mproc_ref *ref)
{
	const struct mproc__dict_spec spec = {
		.noun = "dict",
		.kind = MPROC__KIND_DICT,
		.name = name,
		.opts = opts,
		.ref = ref,
		.way = way,
	};

	assert(name || way == MPROC__DICT_CREATE || ref);
	return mproc__dict_handle(ret, segment, &spec);
}

int mproc_dict_create(mproc_dict **ret, mproc_segment *segment, const char *name,
		      const struct mproc_dict_opts *opts)
{
	return handle(ret, segment, MPROC__DICT_CREATE, name, opts, NULL);
}

int mproc_dict_open(mproc_dict **ret, mproc_segment *segment, const char *name)
{
	return handle(ret, segment, MPROC__DICT_OPEN, name, NULL, NULL);
}

int mproc_dict_open_or_create(mproc_dict **ret, mproc_segment *segment, const char *name,
			      const struct mproc_dict_opts *opts)
{
	return handle(ret, segment, MPROC__DICT_OPEN_OR_CREATE, name, opts, NULL);
}

int mproc_dict_open_ref(mproc_dict **ret, mproc_segment *segment, const struct mproc_ref *ref)
{
	return handle(ret, segment, MPROC__DICT_OPEN_REF, NULL, NULL, ref);
}

int mproc_dict_ref(mproc_dict *dict, struct mproc_ref *ret)
{
	assert(dict && dict->magic == MAGIC && ret);
	if (mproc__object_check(dict->segment, &dict->object) < 0)
		return mproc__fail(-ESTALE, "%s %s: it is gone", dict->noun, dict->name);
	*ret = mproc__object_ref(dict->segment, &dict->object);
	return 0;
}

mproc_dict *mproc_dict_close(mproc_dict *dict)
{
	if (!dict)
		return NULL;
	assert(dict->magic == MAGIC);
	dict->magic = 0;
	mproc_segment_close(dict->segment);
	free(dict);
	return NULL;
}

int mproc_dict_destroy(mproc_dict *dict)
{
	assert(dict && dict->magic == MAGIC);
	return mproc__object_remove(dict->segment, &dict->object);
}

/*
 * The end
 */

/*
 * Nobody is inside, and nobody can get in. Return: false if somebody is (never with @wait).
 *
 * Who reaps (not @wait) may be inside himself: a change that finds no room reaps, with the
 * stripe's lock and a place in a chain in its hands. Then it is left to another time. Who
 * removes has no note for the dict but that of the catalogue's entry.
 */
static bool be_alone(const struct mproc__dict_call *call, bool wait)
{
	mproc__fence_all(call->me);
	while (mproc__somebody_inside(call->me, call->d->what, !wait)) {
		/* Who waits for a key finds that there is none. */
		for (uint32_t i = 0; i < call->d->geometry.n_stripes; i++)
			mproc__wake_slow(&call->d->shared->stripes[i].waitable.sleepers, INT32_MAX);
		if (!wait)
			return false;
		mproc__pause();
	}
	return true;
}

static int dispose_as(uint32_t kind, struct mproc__range *range, struct mproc__self *me,
		      uint64_t off, uint64_t len, bool wait)
{
	mproc_dict d = { .magic = MAGIC,
			 .segment = mproc__segment_of(range),
			 .what = mproc__what(kind, off),
			 .noun = "dict",
			 .name = "(removed)" };
	struct mproc__dict_call call = { .d = &d, .me = me };

	d.shared = mproc__segment_at(d.segment, off, len);
	/* What is scribbled over keeps what it may still refer to. */
	if (!d.shared || off % 128 || !mproc__dict_geometry_check(d.shared, len, &d.geometry))
		return 0;
	if (!be_alone(&call, wait))
		return 1;
	for (uint32_t i = 0; i < d.geometry.n_stripes; i++) {
		/*
		 * A dead owner of the lock may have left something. What we have no addresses for
		 * is for somebody else: if need be when this process, which removes it, has ended.
		 */
		if (mproc__dict_repair(&call, &d.shared->stripes[i]) < 0 ||
		    mproc__dict_empty(&call, &d.shared->stripes[i], true) == -ENOMEM)
			return 1;
	}
	return 0;
}

static int dispose_dict(struct mproc__range *range, struct mproc__self *me, uint64_t off,
			uint64_t len, bool wait)
{
	return dispose_as(MPROC__KIND_DICT, range, me, off, len, wait);
}

static int dispose_namespace(struct mproc__range *range, struct mproc__self *me, uint64_t off,
			     uint64_t len, bool wait)
{
	return dispose_as(MPROC__KIND_NAMESPACE, range, me, off, len, wait);
}

const struct mproc__kind mproc__kind_dict = {
	.id = MPROC__KIND_DICT,
	.name = "dict",
	.dispose = dispose_dict,
};

const struct mproc__kind mproc__kind_namespace = {
	.id = MPROC__KIND_NAMESPACE,
	.name = "namespace",
	.dispose = dispose_namespace,
};
