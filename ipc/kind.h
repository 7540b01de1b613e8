/* SPDX-License-Identifier: MIT */
#ifndef MPROC__KIND_H
#define MPROC__KIND_H

/*
 * What kinds of objects there are, and how each is repaired
 *
 * The rooms of all floors have kinds, yet ipc/ includes nobody: the array is
 * defined on the top floor (pool/kinds.c) and called through from here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/kind_layout.h"

struct mproc__range;
struct mproc__self;
struct mproc__thread;

struct mproc__kind {
	uint32_t id;
	const char *name;
	/*
	 * A dead thread was in the middle of something at @off (rec->acting,
	 * rec->args, which are to be distrusted): finish it or undo it. Called by the
	 * one reaper, who may die at any instruction and be followed by another:
	 * idempotent. Never waits for the living: a lock is taken by mproc__lock_try()
	 * as @me, the reaper's own identity; @me is NULL when it could not get one, and
	 * then no lock can be taken. @rec->own does not tell what words the dead thread
	 * left behind: @me may have succeeded it in @rec (mproc__dead() does tell).
	 *
	 * Return: 0, or 1 if a lock of the living is in the way: try again later.
	 */
	int (*repair)(struct mproc__range *range, struct mproc__self *me, uint64_t off,
		      struct mproc__thread *rec);
	/*
	 * The process in slot @proc under @generation is dead: take back what it
	 * owned of this kind in the whole segment. Same rules.
	 */
	int (*reap)(struct mproc__range *range, struct mproc__self *me, uint32_t proc,
		    uint64_t generation);
	/*
	 * An object of this kind, @len bytes at @off, has been removed, or its builder died
	 * when it was whole: give back the blocks that it alone refers to. Called before its
	 * own block is freed, once by whoever removes it (@wait: it may wait for the living
	 * who are inside a call on it) and again by a reaper if that one dies meanwhile:
	 * idempotent. NULL: there is nothing else to free.
	 *
	 * Return: 0, or 1 if the living are in the way (never with @wait): try again later.
	 */
	int (*dispose)(struct mproc__range *range, struct mproc__self *me, uint64_t off,
		       uint64_t len, bool wait);
	/*
	 * May a program remove the object named @name, @len bytes at @off? For kinds that
	 * belong to a process. NULL: yes, if there is dispose().
	 *
	 * Return: 0, or negative with a text.
	 */
	int (*may_remove)(struct mproc__range *range, uint64_t off, uint64_t len, const char *name);
	/*
	 * Write what the text of an error calls @what: "mutex at 64 in block table". Of
	 * the catalogue alone, which knows the names. Takes no lock.
	 */
	void (*describe)(struct mproc__range *range, uint64_t what, char *buf, size_t cap);
};

extern const struct mproc__kind *const mproc__kinds[];
extern const size_t mproc__n_kinds;

const struct mproc__kind *mproc__kind_find(uint32_t id);

#endif /* MPROC__KIND_H */
