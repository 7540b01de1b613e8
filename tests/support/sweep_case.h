/* SPDX-License-Identifier: MIT */
#ifndef MPROC_TESTS_SWEEP_CASE_H
#define MPROC_TESTS_SWEEP_CASE_H

/*
 * One row of a sweep's table, swept
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/support/sweep.h"

#define T_SWEEP_LINES 8
#define T_SWEEP_LINE  900

struct t_case_result {
	uint64_t instructions; /* of an undisturbed run, a system call counts as one */
	uint64_t calls;        /* system calls of it */
	uint64_t images;       /* different ones, the first included */
	uint64_t kills;        /* worlds that ended in a kill of the victim alone */
	uint64_t peer_kills;   /* after a peer has acted */
	uint64_t nested_kills; /* of the victim, then of the recoverer */
	uint64_t failures;
	bool varies;  /* it did not go the same way every time */
	bool flagged; /* a failure says what must_fail asks for */
	bool gave_up; /* before its end */
	bool passed;
	double seconds;
	unsigned n_lines;
	char lines[T_SWEEP_LINES][T_SWEEP_LINE]; /* the first failures */
	_Atomic(uint32_t) done;
};

/*
 * Sweep one case. The calling process must have no children but those this makes.
 * @dir:	made MPROC_DIR, emptied for every world
 */
void t_case_run(const struct t_sweep_case *c, bool nested, const char *dir,
		struct t_case_result *ret);

/* Remove everything in @dir, which has no directories. */
void t_case_empty_dir(const char *dir);

/* Kill and reap every child of this process, adopted ones too. Return: all are gone. */
bool t_case_end_children(void);

#endif /* MPROC_TESTS_SWEEP_CASE_H */
