/* SPDX-License-Identifier: MIT */

/*
 * shmtool ls: named segments, and anonymous ones of running processes
 */

#include "tools/shmtool.h"

#include <argp.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "tools/describe.h"
#include "tools/find.h"
#include "tools/text.h"

static const char doc[] =
	"List segments: named ones, and anonymous ones that running processes have open.\v"
	"Named segments are looked for in MPROC_DIR (default /dev/shm). State is live, dead (a "
	"leftover that gc removes), persistent, unused (anonymous, open, but nobody takes "
	"part), foreign, corrupt, alien (no segment) or unreadable.";

struct options {
	bool json;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'j':
		options->json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "too many arguments: '%s'", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void row(struct table *table, const struct segment *segment, uint64_t now)
{
	const struct found *found = segment->found;
	const struct image *image = &segment->image;
	const struct mproc__segment_head *head = &image->head;
	char size[24], size_max[24], used[24], age[24], id[33];
	bool good = image->verdict == IMAGE_GOOD;
	struct text buf;

	if (found->name)
		table_cell(table, "%s%s", text_escape_str(&buf, found->name, TEXT_MAX),
			   segment_place(segment));
	else
		table_cell(table, "anonymous");
	if (good) {
		table_cell(table, "%.8s", id_text(id, head->uuid));
		table_cell(table, "%s", text_size(size, image_memory(image)));
		table_cell(table, "%s", text_size(size_max, head->size_max));
		table_cell(table, "%s", text_size(used, image_used(image)));
		if (image->n_dead)
			table_cell(table, "%zu+%zu dead", image->n_living, image->n_dead);
		else
			table_cell(table, "%zu", image->n_living);
		table_cell(table, "%zu", image->n_threads);
		table_cell(table, "%zu", image->n_live);
	} else {
		table_cell(table, "-");
		table_cell(table, "%s", text_size(size, image->size));
		for (int i = 0; i < 5; i++)
			table_cell(table, "-");
	}
	table_cell(table, "%s", user_text(&buf, segment->source.st.st_uid));
	table_cell(table, "%s", good ? text_age(age, head->since, now) : "-");
	table_cell(table, "%s", segment_state_text(segment, &buf));
	if (good)
		table_cell(table, "%s:%" PRIu32,
			   text_escape_str(&buf, head->exe, sizeof(head->exe)), head->pid);
	else
		table_cell(table, "-");
}

/* What has no name and is no segment is some other program's file. */
static bool is_shown(const struct segment *segment)
{
	return segment->found->named || (segment->image.verdict != IMAGE_ALIEN &&
					 segment->image.verdict != IMAGE_UNREADABLE);
}

int ls_main(int argc, char **argv)
{
	static const struct argp_option known[] = {
		{ "json", 'j', NULL, 0, "Write one JSON object; its members are in shmtool(1)", 0 },
		{ 0 },
	};
	static const struct argp argp = { .options = known, .parser = parse, .doc = doc };
	static const char *const heads[] = { "NAME",  "ID",      "SIZE",    "MAX",   "USED",
					     "PROCS", "THREADS", "OBJECTS", "OWNER", "AGE",
					     "STATE", "CREATOR", NULL };
	struct options options = { 0 };
	json_object *json, *list;
	struct find find = { 0 };
	struct table table;
	struct timespec ts;
	size_t n = 0;
	int status;

	argp_parse(&argp, argc, argv, 0, NULL, &options);
	find_named(&find);
	find_in_processes(&find);
	find_sort(&find);
	clock_gettime(CLOCK_REALTIME, &ts);
	list = json_object_new_array();
	table_begin(&table, "", "llrrrrrrlr", heads);
	for (size_t i = 0; i < find.n; i++) {
		struct segment segment;

		segment_read(&segment, &find.at[i]);
		if (is_shown(&segment)) {
			if (options.json)
				json_object_array_add(list, segment_json(&segment));
			else
				row(&table, &segment,
				    (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec);
			n++;
		}
		segment_free(&segment);
	}
	if (options.json) {
		json = json_object_new_object();
		json_put_bytes(json, "dir", find.dir, TEXT_MAX);
		json_put_uint(json, "hidden_processes", find.n_hidden);
		json_put(json, "segments", list);
		json_print(json);
	}
	if (find.error)
		say("%s: %s", find.dir, strerror(-find.error));
	if (find.n_hidden)
		say("%zu processes may not be looked into, what only they have open is not shown",
		    find.n_hidden);
	if (!n)
		say("no segment in %s, none held by a process", find.dir);
	if (!options.json)
		json_object_put(list);
	table_end(&table, n && !options.json ? stdout : NULL);
	status = n && !find.error ? 0 : EXIT_FAILED;
	find_free(&find);
	return status;
}
