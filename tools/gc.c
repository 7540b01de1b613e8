/* SPDX-License-Identifier: MIT */

/*
 * shmtool gc: remove what dead programs have left behind
 *
 * A leftover is a named segment of ours, of any layout, that is not persistent and
 * that nobody takes part in. Looking finds candidates; the library removes them
 * under the lock that openers take, looks again itself, and leaves what has come to
 * life in between. Nothing of another user is touched, by root neither: root can
 * become that user.
 */

#include "tools/shmtool.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/segment.h>

#include "tools/describe.h"

static const char doc[] =
	"Remove segments that dead programs have left behind.\v"
	"Removed are named segments of yours in MPROC_DIR (default /dev/shm) that are not "
	"persistent and that no living process takes part in, and files of segments whose "
	"creator was killed before they had a name.";

struct options {
	bool json;
	bool dry_run;
};

struct tally {
	struct options options;
	json_object *list;
	uint64_t n_removed, n_failed, n_temporary, bytes;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'j':
		options->json = true;
		return 0;
	case 'n':
		options->dry_run = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "too many arguments: '%s'", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* Why it is no leftover, or NULL if it is one. */
static const char *why_kept(const struct segment *segment)
{
	const struct image *image = &segment->image;

	if (segment->source.st.st_uid != geteuid())
		return "another user's";
	if (image->verdict == IMAGE_UNREADABLE || image->verdict == IMAGE_ALIEN)
		return image->why;
	if (!image->has_origin)
		return "of another byte order";
	if (image->head.flags & MPROC_SEGMENT_PERSISTENT)
		return "persistent";
	return image->in_use ? "in use" : NULL;
}

/* Bytes of memory that its file takes, whatever is in it. */
static uint64_t bytes_of(const struct segment *segment)
{
	return (uint64_t)segment->source.st.st_blocks * 512;
}

static void note(struct tally *tally, const struct segment *segment, const char *action,
		 const char *why)
{
	const struct image *image = &segment->image;
	json_object *one = json_object_new_object();
	char id[33], size[24];
	struct text name, exe, shown;
	char *line;

	json_put_bytes(one, "name", segment->found->name, TEXT_MAX);
	json_put_text(one, "id",
		      image->verdict == IMAGE_GOOD ? id_text(id, image->head.uuid) : NULL);
	json_put_uint(one, "size", bytes_of(segment));
	json_put_text(one, "action", action);
	json_put_text(one, "why", why);
	json_object_array_add(tally->list, one);

	text_escape_str(&name, segment->found->name, TEXT_MAX);
	if (!strcmp(action, "failed"))
		say("%s: %s", name.at, why);
	if (tally->options.json || why)
		return;
	text_size(size, bytes_of(segment));
	if (image->verdict == IMAGE_GOOD)
		line = text_format("%s %s: %s, made by %s, pid %" PRIu32,
				   tally->options.dry_run ? "would remove" : "removed", name.at,
				   size,
				   text_escape_str(&exe, image->head.exe, sizeof(image->head.exe)),
				   image->head.pid);
	else
		line = text_format("%s %s: %s, %s",
				   tally->options.dry_run ? "would remove" : "removed", name.at,
				   size, image->why);
	puts(text_terminal(&shown, line));
	free(line);
}

static void collect(struct tally *tally, const struct segment *segment)
{
	const char *why = why_kept(segment);
	int r;

	if (why) {
		note(tally, segment, "kept", why);
		return;
	}
	r = tally->options.dry_run ? 1 : mproc_segment_gc(segment->found->name);
	/* Somebody else has been quicker: to use it, or to remove it. */
	if (r == 0 || r == -ENOENT) {
		note(tally, segment, "kept", r ? "gone" : "in use");
		return;
	}
	if (r < 0) {
		tally->n_failed++;
		note(tally, segment, "failed", mproc_error_text());
		return;
	}
	tally->n_removed++;
	tally->bytes += bytes_of(segment);
	note(tally, segment, tally->options.dry_run ? "would_remove" : "removed", NULL);
}

/* Files that have not become segments. */
static void collect_temporary(struct tally *tally, const char *dir)
{
	int r;

	if (tally->options.dry_run)
		r = find_temporary(dir);
	else
		r = mproc_segment_gc(NULL);
	if (r < 0) {
		tally->n_failed++;
		say("temporary files: %s",
		    tally->options.dry_run ? strerror(-r) : mproc_error_text());
		return;
	}
	tally->n_temporary = (uint64_t)r;
	if (r && !tally->options.json)
		printf("%s %d temporary files of killed creators\n",
		       tally->options.dry_run ? "would remove" : "removed", r);
}

static void print_json(const struct tally *tally, const char *dir)
{
	json_object *json = json_object_new_object();

	json_put_bytes(json, "dir", dir, TEXT_MAX);
	json_put_bool(json, "dry_run", tally->options.dry_run);
	json_put_uint(json, "removed", tally->n_removed);
	json_put_uint(json, "removed_bytes", tally->bytes);
	json_put_uint(json, "temporary", tally->n_temporary);
	json_put_uint(json, "failed", tally->n_failed);
	json_put(json, "segments", tally->list);
	json_print(json);
}

int gc_main(int argc, char **argv)
{
	static const struct argp_option known[] = {
		{ "dry-run", 'n', NULL, 0, "Say what would be removed, remove nothing", 0 },
		{ "json", 'j', NULL, 0, "Write one JSON object; its members are in shmtool(1)", 0 },
		{ 0 },
	};
	static const struct argp argp = { .options = known, .parser = parse, .doc = doc };
	struct tally tally = { 0 };
	struct find find = { 0 };

	argp_parse(&argp, argc, argv, 0, NULL, &tally.options);
	tally.list = json_object_new_array();
	find_named(&find);
	find_sort(&find);
	for (size_t i = 0; i < find.n; i++) {
		struct segment segment;

		segment_read(&segment, &find.at[i]);
		collect(&tally, &segment);
		segment_free(&segment);
	}
	if (find.error) {
		say("%s: %s", find.dir, strerror(-find.error));
		tally.n_failed++;
	} else {
		collect_temporary(&tally, find.dir);
	}
	if (tally.options.json)
		print_json(&tally, find.dir);
	else
		json_object_put(tally.list);
	find_free(&find);
	return tally.n_failed ? EXIT_FAILED : 0;
}
