/* SPDX-License-Identifier: MIT */
#ifndef MPROC__CATALOGUE_LAYOUT_H
#define MPROC__CATALOGUE_LAYOUT_H

/*
 * The catalogue of named objects, as it lies in a segment
 *
 *	catalogue | entry[n_entries]
 *
 * Open addressing with linear probing: an entry is found at the first places from
 * hash % n_entries on, and a search ends at an EMPTY one. The word of an entry
 * says what it is, in its low 4 bits, and whose or which, in the others:
 *
 *	EMPTY				never used, or no search passes here
 *	RESERVED	owner word	being built by that thread; has a name
 *	LIVE		generation 60	an object
 *	DYING		owner word	being removed by that thread
 *	TOMB		generation 60	free; searches go on behind it
 *
 * Below are pure functions that look at a private copy, for the room and shmtool.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ipc/kind_layout.h"
#include "ipc/lock_layout.h"
#include "ipc/participant_layout.h"

#define MPROC__ENTRIES_MAX 65536u
#define MPROC__ENTRY_NAME  64u /* room for a name, its NUL included */

#define MPROC__ENTRY_EMPTY    0u
#define MPROC__ENTRY_RESERVED 1u
#define MPROC__ENTRY_LIVE     2u
#define MPROC__ENTRY_DYING    3u
#define MPROC__ENTRY_TOMB     4u

#define MPROC__ENTRY_GENERATION_MASK ((UINT64_C(1) << 60) - 1)

/* All fields but the word are written by the owner of a RESERVED entry to be. */
struct mproc__entry {
	alignas(128) _Atomic(uint64_t) word;
	_Atomic(uint32_t) kind; /* enum mproc__kind_id */
	_Atomic(uint32_t) hash; /* of the name; of the generation if there is none */
	_Atomic(uint64_t) generation;
	_Atomic(uint64_t) off;   /* of the object's block in the segment */
	_Atomic(uint64_t) block; /* generation of that block */
	_Atomic(uint64_t) len;   /* bytes of the object */
	_Atomic(uint64_t) type;  /* fingerprint of what it holds, 0: none */
	_Atomic(uint64_t) since; /* CLOCK_REALTIME of the creation, ns; for display */
	/* Padded with NULs. Without a name, the last word: see mproc__entry_process(). */
	_Atomic(uint64_t) name[MPROC__ENTRY_NAME / sizeof(uint64_t)];
};

static_assert(sizeof(struct mproc__entry) == 128, "layout changed: bump MPROC__LAYOUT");

struct mproc__catalogue {
	alignas(128) struct mproc__lock lock; /* who creates */
	_Atomic(uint64_t) generation;         /* of the last entry made; under the lock */
	_Atomic(uint32_t) n_entries;          /* fixed at creation */
	mproc__sleepers sleepers;             /* who waits for the end of a reservation */
	uint64_t reserved[12];
	struct mproc__entry entries[];
};

static_assert(offsetof(struct mproc__catalogue, entries) == 128,
	      "layout changed: bump MPROC__LAYOUT");

static inline uint64_t mproc__entry_word(uint64_t generation, uint32_t state)
{
	return generation << 4 | state;
}

static inline uint32_t mproc__entry_state(uint64_t word)
{
	return (uint32_t)word & 15;
}

/* Who reserved it or is removing it: an owner word without flags. */
static inline uint64_t mproc__entry_owner(uint64_t word)
{
	return word & ~UINT64_C(15);
}

static inline uint64_t mproc__entry_generation(uint64_t word)
{
	return word >> 4;
}

/*
 * The process that an object without a name goes with, by mproc__proc_ref(); 0: none.
 * Its room removes it after that one's death.
 */
static inline uint64_t mproc__entry_process(const struct mproc__entry *entry)
{
	uint64_t first = atomic_load_explicit(&entry->name[0], memory_order_relaxed);
	uint32_t last = MPROC__ENTRY_NAME / sizeof(uint64_t) - 1;

	return first ? 0 : atomic_load_explicit(&entry->name[last], memory_order_relaxed);
}

/* Bytes of a catalogue of @n entries. */
static inline uint64_t mproc__catalogue_bytes(uint32_t n)
{
	return offsetof(struct mproc__catalogue, entries) +
	       (uint64_t)n * sizeof(struct mproc__entry);
}

static inline const char *mproc__entry_state_name(uint32_t state)
{
	static const char *const names[] = { "empty", "reserved", "live", "dying", "tomb" };

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : NULL;
}

/* What an entry says, in plain types. */
struct mproc__entry_view {
	uint32_t state;
	uint32_t kind;
	uint64_t owner;      /* word of the thread that builds or removes it, or 0 */
	uint64_t generation; /* of a LIVE one */
	uint64_t off, len, type, since;
	char name[MPROC__ENTRY_NAME]; /* "" if anonymous */
};

/*
 * Look at a copy of an entry.
 * @data_off, @data_len:	where blocks can lie in the segment
 * @why:			what is wrong with it, if something is; @cap bytes
 *
 * Return: is it possible? The view is filled in either way; its name ends in a NUL.
 */
static inline bool mproc__entry_check(const struct mproc__entry *copy, uint64_t data_off,
				      uint64_t data_len, struct mproc__entry_view *ret, char *why,
				      size_t cap)
{
	uint64_t word = atomic_load_explicit(&copy->word, memory_order_relaxed);
	uint64_t end;

	memset(ret, 0, sizeof(*ret));
	ret->state = mproc__entry_state(word);
	if (ret->state == MPROC__ENTRY_EMPTY || ret->state == MPROC__ENTRY_TOMB)
		return true;
	ret->kind = atomic_load_explicit(&copy->kind, memory_order_relaxed);
	ret->off = atomic_load_explicit(&copy->off, memory_order_relaxed);
	ret->len = atomic_load_explicit(&copy->len, memory_order_relaxed);
	ret->type = atomic_load_explicit(&copy->type, memory_order_relaxed);
	ret->since = atomic_load_explicit(&copy->since, memory_order_relaxed);
	for (size_t i = 0; i < MPROC__ENTRY_NAME / sizeof(uint64_t); i++) {
		uint64_t part = atomic_load_explicit(&copy->name[i], memory_order_relaxed);

		memcpy(ret->name + i * sizeof(part), &part, sizeof(part));
	}
	if (ret->state == MPROC__ENTRY_LIVE)
		ret->generation = mproc__entry_generation(word);
	else
		ret->owner = mproc__entry_owner(word);

	if (ret->state > MPROC__ENTRY_TOMB) {
		snprintf(why, cap, "state %" PRIu32 " is none", ret->state);
		return false;
	}
	if (ret->name[0] && ret->name[MPROC__ENTRY_NAME - 1]) {
		ret->name[MPROC__ENTRY_NAME - 1] = '\0';
		snprintf(why, cap, "its name does not end within %u bytes", MPROC__ENTRY_NAME);
		return false;
	}
	end = data_off + data_len;
	if (ret->off < data_off || ret->off > end || ret->len > end - ret->off) {
		snprintf(why, cap,
			 "its %" PRIu64 " bytes at offset %" PRIu64 " do not lie in the arena",
			 ret->len, ret->off);
		return false;
	}
	if (!mproc__kind_name(ret->kind)) {
		snprintf(why, cap, "kind %" PRIu32 " is unknown", ret->kind);
		return false;
	}
	return true;
}

/*
 * Look at a copy of a catalogue's head.
 * @n_objects, @len:	what the header of the segment says
 *
 * Return: is it possible? If not, @why says what is wrong.
 */
static inline bool mproc__catalogue_check(const struct mproc__catalogue *copy, uint32_t n_objects,
					  uint64_t len, char *why, size_t cap)
{
	uint32_t n = atomic_load_explicit(&copy->n_entries, memory_order_relaxed);

	if (n != n_objects) {
		snprintf(why, cap, "catalogue of %" PRIu32 " entries, the header says %" PRIu32, n,
			 n_objects);
		return false;
	}
	if (!n || n > MPROC__ENTRIES_MAX || mproc__catalogue_bytes(n) > len) {
		snprintf(why, cap, "catalogue of %" PRIu32 " entries in %" PRIu64 " bytes", n, len);
		return false;
	}
	return true;
}

#endif /* MPROC__CATALOGUE_LAYOUT_H */
