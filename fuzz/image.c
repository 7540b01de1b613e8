/* SPDX-License-Identifier: MIT */

/*
 * How shmtool reads segments, on any bytes
 *
 * The head of a segment is refused for a single wrong bit, so most inputs would end
 * there. It is made sound here: the first bytes of the input choose its tables, the
 * rest is what lies in the segment. An odd first byte leaves all bytes as they are.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tools/image_order.h"

#define CHOICES   4
#define PAGES     16u
#define INPUT_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* Lay out a segment of @size bytes. Return: false if it has no room. */
static bool make_head(unsigned char *image, uint64_t size, const uint8_t *choices)
{
	struct mproc__segment_head head = {
		.magic = { 0 },
		.byte_order = MPROC__SEGMENT_BYTE_ORDER,
		.word_size = 8 * sizeof(void *),
		.layout = MPROC__LAYOUT,
		.flags = choices[0] >> 7 | (choices[0] & 64 ? MPROC_SEGMENT_LOCK_ORDER : 0u),
		.sizes = MPROC__LAYOUT_SIZES,
		.size = size,
		.size_max = size,
		.n_procs = 1 + choices[1] % 8,
		.n_threads = 1 + choices[2] % 16,
		.n_objects = 1 + choices[3] % 32,
		.n_sections = MPROC__SECTIONS,
	};
	uint64_t lens[MPROC__SECTIONS], off = MPROC__SEGMENT_HEAD_LEN;
	struct mproc__registry reg = { 0 };
	struct mproc__arena arena = {
		.layout = MPROC__ARENA_LAYOUT,
		.n_shards = 1 + choices[1] / 8 % 16,
		.n_pages_max = PAGES,
		.n_pages = PAGES,
	};

	memcpy(head.magic, MPROC__SEGMENT_MAGIC, sizeof(head.magic));
	lens[0] = mproc__section_len_min(&head, MPROC__SECTION_REGISTRY);
	lens[1] = mproc__catalogue_bytes(head.n_objects);
	lens[2] = mproc__arena_section_size(PAGES);
	lens[3] = UINT64_C(1) * PAGES * MPROC__ARENA_PAGE;
	for (uint32_t i = 0; i < MPROC__SECTIONS; i++) {
		head.sections[i] = (struct mproc__section){ .off = off, .len = lens[i] };
		off = up(off + lens[i], 256);
	}
	if (off > size)
		return false;
	memcpy(image, &head, sizeof(head));
	memcpy(image + MPROC__SEGMENT_STATE_OFF, &size, sizeof(size));
	/* What the registry and the others repeat of the head. */
	atomic_store(&reg.n_procs, head.n_procs);
	atomic_store(&reg.n_threads, head.n_threads);
	memcpy(image + head.sections[0].off, &reg, 8);
	memcpy(image + head.sections[1].off + offsetof(struct mproc__catalogue, n_entries),
	       &head.n_objects, sizeof(head.n_objects));
	arena.off = head.sections[3].off;
	memcpy(image + head.sections[2].off, &arena, offsetof(struct mproc__arena, off) + 8);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t len = up(size, MPROC__SEGMENT_PAGE) + 40 * MPROC__SEGMENT_PAGE;
	struct source source;
	unsigned char *bytes;
	struct image image;
	struct order order;

	if (size < CHOICES || size > INPUT_MAX)
		return 0;
	bytes = calloc(1, len);
	if (!bytes)
		return 0;
	if (data[0] & 1) {
		memcpy(bytes, data, size);
		len = size;
	} else {
		memcpy(bytes + MPROC__SEGMENT_HEAD_LEN, data + CHOICES, size - CHOICES);
		if (!make_head(bytes, len, data))
			abort();
	}
	source_memory(&source, bytes, len);
	image_read(&image, &source);
	for (size_t i = 0; i < image.n_threads; i++) {
		image_proc(&image, image.threads[i].slot);
		for (uint32_t k = 0; k < image.threads[i].n_holds; k++)
			image_object_at(&image, mproc__what_off(image.threads[i].holds[k]));
	}
	for (size_t i = 0; i < image.n_objects; i++)
		image_owner(&image, image.objects[i].queue.put_owner);
	if (image.verdict == IMAGE_GOOD) {
		order_read(&order, &image);
		order_free(&order);
	}
	image_free(&image);
	free(bytes);
	return 0;
}
