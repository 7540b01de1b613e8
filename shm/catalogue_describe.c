/* SPDX-License-Identifier: MIT */

/*
 * The catalogue: what to call a place in a segment, in a text for people
 *
 * Nothing is locked: an entry that changes while it is looked at is looked at again,
 * and what was found may be gone by the time it is read. Nothing is decided by it.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ipc/attach.h"
#include "shm/catalogue_inside.h"
#include "shm/segment.h"

/* The object that contains @off. Return: false if there is none. */
static bool object_around(const mproc_segment *segment, uint64_t off, uint32_t *ret_at,
			  struct mproc__image *ret)
{
	for (uint32_t at = 0; at < segment->n_objects; at++) {
		const struct mproc__entry *entry = mproc__entry_at(segment, at);
		uint64_t word;

		do {
			word = atomic_load_explicit(&entry->word, memory_order_acquire);
			if (mproc__entry_state(word) != MPROC__ENTRY_LIVE)
				break;
		} while (!mproc__image_take(entry, word, ret));
		*ret_at = at;
		if (mproc__entry_state(word) == MPROC__ENTRY_LIVE && off >= ret->off &&
		    off - ret->off < ret->len)
			return true;
	}
	return false;
}

void mproc__catalogue_describe(struct mproc__range *range, uint64_t what, char *buf, size_t cap)
{
	const char *kind = mproc__kind_name(mproc__what_kind(what)), *around;
	const mproc_segment *segment = mproc__segment_of(range);
	char object[MPROC__ENTRY_NAME + 16] = "", name[MPROC__ENTRY_NAME];
	uint64_t off = mproc__what_off(what);
	struct mproc__image image;
	uint32_t at;

	if (!segment || !object_around(segment, off, &at, &image))
		return;
	around = mproc__kind_name(image.kind);
	memcpy(name, image.name, sizeof(name));
	name[sizeof(name) - 1] = '\0';
	/* A name goes to terminals and logs. */
	for (char *c = name; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	if (name[0])
		snprintf(object, sizeof(object), "%s %s", around ? around : "object", name);
	else
		snprintf(object, sizeof(object), "%s #%" PRIu32, around ? around : "object", at);
	if (image.kind == mproc__what_kind(what))
		snprintf(buf, cap, "%s", object);
	else
		snprintf(buf, cap, "%s at %" PRIu64 " in %s", kind ? kind : "object",
			 off - image.off, object);
}
