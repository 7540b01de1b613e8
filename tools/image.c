/* SPDX-License-Identifier: MIT */

/*
 * What the bytes of a segment say, copied, checked, in plain types
 *
 * Nothing of a segment is believed. Each part is copied to private memory by
 * pread(2), the copy is checked by the pure functions of the room that owns it,
 * and what was checked is used. Others write meanwhile, so two words of one copy
 * may belong to different moments: records tell by their first word that they were
 * replaced during the copy, and are copied again; what looks impossible is looked
 * at a few times more before it is called so.
 *
 * Bounds. Counts come from the checked header, which the layout limits: at most
 * 4,096 processes, 16,383 threads, 65,536 objects. All of the latter may claim to
 * be large pools in the same place, and the arena's pages are limited by nothing:
 * how much of both is read has a limit of its own.
 */

#include "tools/image.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tools/text.h"

#define CHUNK   16384
#define RETRIES 3

struct chunk {
	alignas(256) unsigned char at[CHUNK];
};

bool image_fail(struct image *image, enum image_verdict verdict, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(image->why, sizeof(image->why), fmt, ap);
	va_end(ap);
	image->verdict = verdict;
	return false;
}

bool image_copy(struct image *image, void *buf, size_t len, uint64_t off, const char *what)
{
	/* Offsets are signed in the kernel; no segment reaches that far. */
	ssize_t r = off > MPROC__SEGMENT_SIZE_MAX
			    ? 0
			    : image->source->read(image->source, buf, len, off);

	if (r < 0)
		return image_fail(image, IMAGE_UNREADABLE, "%s: %s", what, strerror((int)-r));
	if ((size_t)r < len)
		return image_fail(image, IMAGE_CORRUPT, "the file ends inside its %s", what);
	return true;
}

static uint64_t first_word(const void *record)
{
	uint64_t word;

	memcpy(&word, record, sizeof(word));
	return word;
}

/* Copy @n records, again while any is replaced by another during the copy. */
static bool copy_records(struct image *image, struct chunk *ret, uint64_t off, size_t stride,
			 uint32_t n, const char *what)
{
	struct chunk again;
	bool same = false;

	for (int i = 0; i < RETRIES && !same; i++) {
		if (!image_copy(image, ret->at, n * stride, off, what) ||
		    !image_copy(image, again.at, n * stride, off, what))
			return false;
		same = true;
		for (uint32_t k = 0; k < n; k++)
			same &= first_word(ret->at + k * stride) ==
				first_word(again.at + k * stride);
	}
	return true;
}

bool image_records(struct image *image, uint64_t off, size_t stride, uint32_t n, const char *what,
		   void (*fn)(struct image *image, uint32_t i, const void *record))
{
	uint32_t at_once = (uint32_t)(CHUNK / stride);
	struct chunk chunk;

	for (uint32_t i = 0; i < n; i += at_once) {
		uint32_t now = n - i < at_once ? n - i : at_once;

		if (!copy_records(image, &chunk, off + i * stride, stride, now, what))
			return false;
		for (uint32_t k = 0; k < now; k++)
			fn(image, i + k, chunk.at + k * stride);
	}
	return true;
}

/* What the first page says. */
static bool read_head(struct image *image)
{
	struct mproc__segment_head *head = &image->head;
	struct source *source = image->source;
	ssize_t r = source->read(source, head, sizeof(*head), 0);
	int code;

	if (r < 0)
		return image_fail(image, IMAGE_UNREADABLE, "%s", strerror((int)-r));
	/* A short file has zeroes where there is nothing, and no part that is all zero is good. */
	if (!mproc__segment_is_one(head))
		return image_fail(image, IMAGE_ALIEN, "it is no segment");
	code = mproc__segment_head_check(head, source->size, image->why, sizeof(image->why));
	if (code == -EPROTO) {
		image->has_origin = head->byte_order == MPROC__SEGMENT_BYTE_ORDER;
		image->verdict = IMAGE_FOREIGN;
		return false;
	}
	image->has_origin = true;
	if (code < 0) {
		image->verdict = IMAGE_CORRUPT;
		return false;
	}
	return true;
}

bool image_read_state(struct image *image)
{
	struct mproc__segment_state state;

	if (!image_copy(image, &state, sizeof(state), MPROC__SEGMENT_STATE_OFF, "header"))
		return false;
	/* It may have grown since the file was looked at: what ends too early shows when read. */
	if (mproc__segment_state_check(&state, &image->head,
				       image->source->size > image->head.size_max
					       ? image->source->size
					       : image->head.size_max,
				       image->why, sizeof(image->why)) < 0) {
		image->verdict = IMAGE_CORRUPT;
		return false;
	}
	image->size = atomic_load_explicit(&state.size, memory_order_relaxed);
	image->n_grown = atomic_load_explicit(&state.epoch, memory_order_relaxed);
	return true;
}

uint64_t image_memory(const struct image *image)
{
	const struct mproc__segment_head *head = &image->head;

	return mproc__layout_memory(image->size, head->sections[MPROC__SECTION_ARENA].off,
				    head->sections[MPROC__SECTION_DATA].off,
				    mproc__head_pages(head, head->size_max));
}

void image_read(struct image *ret, struct source *source)
{
	memset(ret, 0, sizeof(*ret));
	ret->source = source;
	ret->size = source->size;
	/* Byte by byte the same in every layout. */
	ret->in_use = source->held(source, MPROC__BYTE_SLOT(0), MPROC__PROCS_MAX);
	if (!read_head(ret) || !image_read_state(ret) || !image_read_registry(ret) ||
	    !image_read_arena(ret) || !image_read_catalogue(ret))
		return;
	image_read_objects(ret);
}

void image_unreadable(struct image *ret, int error)
{
	memset(ret, 0, sizeof(*ret));
	ret->in_use = error;
	image_fail(ret, IMAGE_UNREADABLE, "%s",
		   error == -EINVAL  ? "it is no regular file"
		   : error == -ELOOP ? "it is a symbolic link"
				     : strerror(-error));
}

void image_free(struct image *image)
{
	for (size_t i = 0; i < image->n_objects; i++) {
		free(image->objects[i].pool.workers);
		free(image->objects[i].ringlog.lines);
	}
	free(image->objects);
	free(image->by_off);
	free(image->threads);
	free(image->procs);
	memset(image, 0, sizeof(*image));
}
