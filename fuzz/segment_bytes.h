/* SPDX-License-Identifier: MIT */
#ifndef MPROC_FUZZ_SEGMENT_BYTES_H
#define MPROC_FUZZ_SEGMENT_BYTES_H

/*
 * Of fuzz_typed, see segment_calls.h, what holds bytes
 */

#include <stdint.h>

#include <mproc/segment.h>

int fuzz_bytes_make(mproc_segment *segment);

/* The lock of a string, and blocks that are private. */
void fuzz_bytes_hold(mproc_segment *segment);

int fuzz_call_string(mproc_segment *segment, uint8_t op);
int fuzz_call_log(mproc_segment *segment, uint8_t op);
int fuzz_call_block(mproc_segment *segment, uint8_t op);
int fuzz_call_arena(mproc_segment *segment, uint8_t op);

#endif /* MPROC_FUZZ_SEGMENT_BYTES_H */
