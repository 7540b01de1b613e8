/* SPDX-License-Identifier: MIT */

/*
 * A shared list in another order
 *
 * The new order is made up on the side, from private copies, and written by one commit.
 * Merging, from runs of one to the whole: stable, and whatever the comparison says no index
 * leaves the list.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/error.h"
#include "shm/list.h"

/* What is sorted. */
struct sorting {
	struct mproc__item *items, *sorted;
	struct mproc_any *values;
	unsigned char *bytes; /* of the values */
	uint32_t *order, *other;
	uint64_t n;
	int (*compare)(const struct mproc_any *a, const struct mproc_any *b, void *arg);
	void *arg;
};

static int by_value(const struct mproc_any *a, const struct mproc_any *b, void *arg)
{
	(void)arg;
	return mproc_any_compare(a, b);
}

static void merge(const struct sorting *s, uint64_t from, uint64_t mid, uint64_t end)
{
	uint64_t a = from, b = mid;

	for (uint64_t k = from; k < end; k++) {
		bool take_b =
			a == mid || (b < end && s->compare(&s->values[s->order[a]],
							   &s->values[s->order[b]], s->arg) > 0);

		s->other[k] = s->order[take_b ? b++ : a++];
	}
}

static void merge_sort(struct sorting *s)
{
	for (uint64_t run = 1; run < s->n; run *= 2) {
		uint32_t *swap = s->order;

		for (uint64_t from = 0; from < s->n; from += 2 * run) {
			uint64_t mid = from + run < s->n ? from + run : s->n;
			uint64_t end = mid + run < s->n ? mid + run : s->n;

			merge(s, from, mid, end);
		}
		s->order = s->other;
		s->other = swap;
	}
}

static void sorting_free(struct sorting *s)
{
	free(s->items);
	free(s->sorted);
	free(s->values);
	free(s->bytes);
	free(s->order);
	free(s->other);
}

/* Copies of all values, each with its bytes. Return: 0, -ENOMEM, -EBADMSG. */
static int copy_values(const struct mproc__body_call *c, struct sorting *s)
{
	size_t used = 0, cap = 0;
	mproc__list_near near;
	int r;

	for (int turn = 0; turn < 2; turn++) {
		for (uint64_t i = 0; i < s->n; i++) {
			struct mproc_any *any = &s->values[i];

			r = mproc__list_look(c->body, s->items[i], near, any);
			if (r < 0)
				return r;
			if (any->kind != MPROC_ANY_STR && any->kind != MPROC_ANY_BYTES &&
			    any->kind != MPROC_ANY_PACK)
				continue;
			if (turn == 0) {
				cap += any->as.bytes.len;
				continue;
			}
			/* Somebody may scribble meanwhile. */
			if (any->as.bytes.len > cap - used)
				return mproc__fail(-EBADMSG, "list %s: an item has become longer",
						   c->body->name);
			if (any->as.bytes.len)
				memcpy(s->bytes + used, any->as.bytes.ptr, any->as.bytes.len);
			any->as.bytes.ptr = s->bytes + used;
			used += any->as.bytes.len;
		}
		if (turn == 0)
			s->bytes = malloc(cap ? cap : 1);
		if (!s->bytes)
			return mproc__fail(-ENOMEM, "list %s: no memory to sort it", c->body->name);
	}
	return 0;
}

static int sort(struct mproc__body_call *c, struct sorting *s)
{
	int r;

	s->values = calloc(s->n, sizeof(*s->values));
	s->sorted = calloc(s->n, sizeof(*s->sorted));
	s->order = calloc(s->n, sizeof(*s->order));
	s->other = calloc(s->n, sizeof(*s->other));
	if (!s->values || !s->sorted || !s->order || !s->other)
		return mproc__fail(-ENOMEM, "list %s: no memory to sort it", c->body->name);
	r = copy_values(c, s);
	if (r < 0)
		return r;
	for (uint64_t i = 0; i < s->n; i++)
		s->order[i] = (uint32_t)i;
	merge_sort(s);
	/* We have the lock, but so has who we have called. */
	if (mproc__body_version(c->body) != c->version)
		return mproc__fail(-EBUSY, "list sort %s: the comparison has changed it",
				   c->body->name);
	for (uint64_t i = 0; i < s->n; i++)
		s->sorted[i] = s->items[s->order[i]];
	return mproc__list_permute(c, s->sorted);
}

/* Take the lock, and copies of all items. */
static int begin(struct mproc__body_call *c, struct sorting *s, mproc_list *list, int64_t deadline)
{
	int r = mproc__body_begin(c, mproc__list_body(list), deadline);

	if (r < 0)
		return r;
	s->n = c->len;
	s->items = malloc(c->len ? c->len * sizeof(*s->items) : 1);
	if (!s->items)
		return mproc__body_end(
			c, mproc__fail(-ENOMEM, "list %s: no memory to sort it", c->body->name));
	for (uint64_t i = 0; i < c->len; i++)
		s->items[i] = mproc__slot_get(mproc__list_slot(c, i));
	return 0;
}

int mproc_list_reverse(mproc_list *list, int64_t deadline)
{
	struct sorting s = { 0 };
	struct mproc__body_call c;
	int r = begin(&c, &s, list, deadline);

	if (r < 0)
		return r;
	for (uint64_t i = 0; i < s.n / 2; i++) {
		struct mproc__item item = s.items[i];

		s.items[i] = s.items[s.n - 1 - i];
		s.items[s.n - 1 - i] = item;
	}
	r = mproc__body_end(&c, mproc__list_permute(&c, s.items));
	sorting_free(&s);
	return r;
}

int mproc_list_sort(mproc_list *list,
		    int (*compare)(const struct mproc_any *a, const struct mproc_any *b, void *arg),
		    void *arg, int64_t deadline)
{
	struct sorting s = { .compare = compare ? compare : by_value, .arg = arg };
	struct mproc__body_call c;
	int r = begin(&c, &s, list, deadline);

	if (r < 0)
		return r;
	r = mproc__body_end(&c, s.n < 2 ? 0 : sort(&c, &s));
	sorting_free(&s);
	return r;
}
