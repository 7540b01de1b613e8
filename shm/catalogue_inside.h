/* SPDX-License-Identifier: MIT */
#ifndef MPROC__CATALOGUE_INSIDE_H
#define MPROC__CATALOGUE_INSIDE_H

/*
 * What the catalogue's own files share
 */

#include "shm/catalogue.h"
#include "shm/catalogue_layout.h"

#define MPROC__NAME_WORDS (MPROC__ENTRY_NAME / sizeof(uint64_t))

/* A name as entries have it. */
struct mproc__name {
	uint32_t hash;
	uint64_t words[MPROC__NAME_WORDS];
};

/* What an entry said while its word was @word. */
struct mproc__image {
	uint64_t word;
	uint32_t kind;
	uint64_t off, len, type;
	uint64_t name[MPROC__NAME_WORDS];
};

static inline struct mproc__entry *mproc__entry_at(const mproc_segment *segment, uint32_t at)
{
	return &segment->catalogue->entries[at];
}

/* The catalogue or an entry of it as an object that is acted on. */
static inline uint64_t mproc__catalogue_what(const mproc_segment *segment, const void *mem)
{
	uintptr_t base = atomic_load_explicit(&segment->range->base, memory_order_relaxed);

	return mproc__what(MPROC__KIND_CATALOGUE, (uint64_t)((uintptr_t)mem - base));
}

/* Check and hash the name of @spec. @verb is for the text. Return: 0 or -EINVAL. */
int mproc__name_make(struct mproc__name *ret, const struct mproc__object_spec *spec,
		     const char *verb);

/* Copy the fields. Return: false if they were not those of @word all the time. */
bool mproc__image_take(const struct mproc__entry *entry, uint64_t word, struct mproc__image *ret);

/* Without a lock: the LIVE entry of that name. Return: false if there is none. */
bool mproc__entry_find(const mproc_segment *segment, const struct mproc__name *name,
		       uint32_t *ret_at, struct mproc__image *ret);

/*
 * The owner of @entry, as @word has it, is dead: undo what he was building, end what
 * he was removing. Never waits for the living.
 *
 * Return: 0, or 1 if they are in the way: the entry is as it was.
 */
int mproc__entry_repair(mproc_segment *segment, struct mproc__self *me, struct mproc__entry *entry,
			uint64_t word);

/* "mutex at 64 in block table", "value count": see struct mproc__kind. */
void mproc__catalogue_describe(struct mproc__range *range, uint64_t what, char *buf, size_t cap);

#endif /* MPROC__CATALOGUE_INSIDE_H */
