/* SPDX-License-Identifier: MIT */
#ifndef MPROC__CATALOGUE_H
#define MPROC__CATALOGUE_H

/*
 * The catalogue: every object of a segment, found by name or by reference
 *
 * One way of making and finding for all kinds. An anonymous object has an entry
 * without a name, so that shmtool sees it.
 */

#include <mproc/ref.h>

#include "shm/segment.h"

/* Bytes in the longest name of an object, its NUL not counted. */
#define MPROC__OBJECT_NAME_MAX 63

/* A checked private copy of an entry. */
struct mproc__object {
	uint32_t entry; /* index in the catalogue */
	uint32_t kind;
	uint64_t generation;
	uint64_t off;  /* of the object's block */
	uint64_t len;  /* bytes wanted at creation */
	uint64_t type; /* fingerprint of what it holds, 0: none */
	void *mem;     /* its address */
};

struct mproc__object_spec {
	const char *what; /* for texts: "queue" */
	const char *name; /* 1 to MPROC__OBJECT_NAME_MAX bytes, or NULL */
	uint32_t kind;
	uint64_t len;
	uint64_t type;
	uint64_t process; /* without a name: mproc__proc_ref() of whom it goes with, or 0 */
	/* Fills the zeroed memory before the entry is LIVE. Return: 0 or a negative errno. */
	int (*init)(void *mem, void *arg);
	void *arg;
};

/*
 * Make an object: its block and its entry, LIVE by one store.
 *
 * Return: 0, or -EEXIST, -EINVAL (name), -ENOSPC (arena or catalogue), -ENOTCONN,
 * -EUSERS, or what init returned; with a text.
 */
int mproc__object_create(struct mproc__object *ret, mproc_segment *segment,
			 const struct mproc__object_spec *spec);

/*
 * Find an object by name. @spec->init is not used; @spec->len 0 means any.
 *
 * Return: 0, or -ENOENT, -EINVAL (name), -EEXIST if it is of another kind,
 * -EPROTO if its length or type differs (the text names both), -EBADMSG.
 */
int mproc__object_open(struct mproc__object *ret, mproc_segment *segment,
		       const struct mproc__object_spec *spec);

/* Either; the race is solved inside. Return: 1 if it was created, 0 if found, or negative. */
int mproc__object_open_or_create(struct mproc__object *ret, mproc_segment *segment,
				 const struct mproc__object_spec *spec);

/*
 * What names an object in every process, with a name or without one: the offset of its
 * entry, which no block of the arena has.
 */
struct mproc_ref mproc__object_ref(mproc_segment *segment, const struct mproc__object *object);

/*
 * Find an object by reference. @spec->name and @spec->init are not used; @spec->len 0
 * means any.
 *
 * Return: 0, or -EINVAL if @ref is another segment's or no object's, -ESTALE if the object
 * is gone, -EEXIST if it is of another kind, -EPROTO, -EBADMSG.
 */
int mproc__object_open_ref(struct mproc__object *ret, mproc_segment *segment,
			   const struct mproc__object_spec *spec, const struct mproc_ref *ref);

/*
 * Remove an object, free what its kind says else belongs to it, and its block. Handles
 * that are still open find -ESTALE by mproc__object_check().
 *
 * Return: 0, or -ESTALE if it is gone already.
 */
int mproc__object_remove(mproc_segment *segment, const struct mproc__object *object);

/* The same for who acts as @me: a reaper. Never waits for the living. */
int mproc__object_remove_as(mproc_segment *segment, struct mproc__self *me,
			    const struct mproc__object *object);

/*
 * The object of entry @at if it is LIVE, of that kind, and goes with @process (0: any).
 *
 * Return: is it? Then @ret is a checked copy.
 */
bool mproc__object_at(mproc_segment *segment, uint32_t at, uint32_t kind, uint64_t process,
		      struct mproc__object *ret);

/* Return: 0, or -ESTALE if the entry is not the object's any more. */
int mproc__object_check(mproc_segment *segment, const struct mproc__object *object);

/*
 * For those who only look (range->read_only), who leave no note and so are not waited for:
 * asked after they have read. What was read belongs to the object if it is there still,
 * and so does what is read until they ask again.
 *
 * Return: 0, or -ESTALE, or -EBADMSG if the segment is spoilt, with a text.
 */
int mproc__object_look(mproc_segment *segment, const struct mproc__object *object, const char *noun,
		       const char *name);

/*
 * Is the object removed, but its block not free yet? If so, what the caller has read of the
 * block before was the object's.
 */
bool mproc__object_is_dying(mproc_segment *segment, const struct mproc__object *object);

uint64_t mproc__catalogue_size(uint32_t n_objects);
void mproc__catalogue_init(struct mproc__catalogue *catalogue, uint32_t n_objects);

extern const struct mproc__kind mproc__kind_catalogue;

#endif /* MPROC__CATALOGUE_H */
