/* SPDX-License-Identifier: MIT */

/*
 * shmtool info: one segment, for people
 */

#include "tools/shmtool.h"

#include <argp.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "tools/info.h"
#include "tools/resolve.h"
#include "tools/text.h"

static const char doc[] =
	"Show one segment: who takes part, how full it is, and what lies in it.\v"
	"SEGMENT is a name, the number of a process that has one, PID:FD, the first digits of "
	"an id as ls shows it, or the path of a file (anything with a slash in it). A copy of "
	"a segment's file will do.";

struct options {
	bool json;
	const char *what;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'j':
		options->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (options->what)
			argp_error(state, "too many arguments: '%s'", arg);
		options->what = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "which segment?");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void __attribute__((__format__(__printf__, 2, 3)))
line(const char *key, const char *fmt, ...)
{
	struct text buf;
	char *value;
	va_list ap;

	va_start(ap, fmt);
	value = text_vformat(fmt, ap);
	va_end(ap);
	printf("  %-12s %s\n", key, text_terminal(&buf, value));
	free(value);
}

static void print_holders(const struct found *found)
{
	printf("  %-12s", "open in");
	for (size_t i = 0; i < found->n_holders && i < FIND_HOLDERS_MAX; i++)
		printf("%s%d", i ? ", " : " ", (int)found->holders[i]);
	if (found->n_holders > FIND_HOLDERS_MAX)
		printf(" and %zu more", found->n_holders - FIND_HOLDERS_MAX);
	printf("%s\n", found->n_holders ? "" : " no process that may be looked into");
}

static void print_onlookers(const struct segment *segment)
{
	pid_t pids[FIND_HOLDERS_MAX];
	size_t n = segment_onlookers(segment, pids);

	if (!n)
		return;
	printf("  %-12s", "looking on");
	for (size_t i = 0; i < n; i++)
		printf("%s%d", i ? ", " : " ", (int)pids[i]);
	printf("\n");
}

static void print_head(const struct segment *segment)
{
	const struct found *found = segment->found;
	const struct image *image = &segment->image;
	const struct mproc__segment_head *head = &image->head;
	const struct stat *st = &segment->source.st;
	char size[24], most[24], used[24], when[32], id[33];
	struct text buf, group;

	printf("segment %s\n",
	       found->name ? text_escape_str(&buf, found->name, TEXT_MAX) : "anonymous");
	line("file", "%s%s", text_escape_str(&buf, found->path, TEXT_MAX),
	     found->name && !st->st_nlink ? " (unlinked)" : "");
	line("state", "%s", segment_state_text(segment, &buf));
	line("owner", "%s, group %s, mode %04o", user_text(&buf, st->st_uid),
	     group_text(&group, st->st_gid), (unsigned)(st->st_mode & 07777));
	if (image->verdict != IMAGE_GOOD)
		return;
	print_holders(found);
	print_onlookers(segment);
	line("id", "%s", id_text(id, head->uuid));
	line("layout", "%" PRIu32, head->layout);
	line("size", "%s, may grow to %s; %s of the arena used; grown %" PRIu64 " times",
	     text_size(size, image_memory(image)), text_size(most, head->size_max),
	     text_size(used, image_used(image)), image->n_grown);
	line("created", "%s by %s, pid %" PRIu32, text_time(when, head->since),
	     text_escape_str(&buf, head->exe, sizeof(head->exe)), head->pid);
	line("recovered",
	     "%" PRIu64 " deaths, %" PRIu64 " locks taken over, %" PRIu64 " sleeps healed",
	     image->n_deaths, image->n_takeovers, image->n_heals);
}

static void print_procs(const struct image *image)
{
	static const char *const heads[] = { "SLOT",    "PID",     "STATE",         "SINCE",
					     "THREADS", "PROGRAM", "PID NAMESPACE", NULL };
	uint64_t here = namespace_here();
	struct table table;

	printf("\nparticipants: %zu living, %zu dead, of at most %" PRIu32 "\n", image->n_living,
	       image->n_dead, image->head.n_procs);
	if (!image->n_procs)
		return;
	table_begin(&table, "  ", "rr--r", heads);
	for (size_t i = 0; i < image->n_procs; i++) {
		const struct image_proc *proc = &image->procs[i];
		char when[32], state = process_state(proc);
		struct text buf;

		table_cell(&table, "%" PRIu32, proc->slot);
		table_cell(&table, "%" PRIu32, proc->pid);
		table_cell(&table, "%s%s", image_life_name(proc->life),
			   state == 'T' || state == 't' ? ", stopped" : "");
		table_cell(&table, "%s", text_time(when, proc->since));
		table_cell(&table, "%" PRIu32, proc->n_threads);
		table_cell(&table, "%s", text_escape_str(&buf, proc->exe, sizeof(proc->exe)));
		if (proc->pid_ns == here)
			table_cell(&table, "this");
		else
			table_cell(&table, "%" PRIu64, proc->pid_ns);
	}
	table_end(&table, stdout);
}

/* "mutex at 64 in block table, queue jobs", "-". The caller frees it. */
static char *list_whats(const struct image *image, const uint64_t *whats, uint32_t n,
			uint32_t n_more)
{
	char *ret = text_format("%s", n || n_more ? "" : "-");

	for (uint32_t i = 0; i < n; i++) {
		struct text buf;
		char *longer =
			text_format("%s%s%s", ret, i ? ", " : "", what_text(&buf, image, whats[i]));

		free(ret);
		ret = longer;
	}
	if (n_more) {
		char *longer = text_format("%s and %" PRIu32 " more", ret, n_more);

		free(ret);
		ret = longer;
	}
	return ret;
}

static void print_threads(const struct image *image)
{
	static const char *const heads[] = { "PID",   "TID",    "STATE", "NAME", "CPU",
					     "HOLDS", "ACTING", "WAITS", NULL };
	struct table table;

	printf("\nthreads: %zu, of at most %" PRIu32 "\n", image->n_threads, image->head.n_threads);
	if (!image->n_threads)
		return;
	table_begin(&table, "  ", "rr--r", heads);
	for (size_t i = 0; i < image->n_threads; i++) {
		const struct image_thread *thread = &image->threads[i];
		const struct image_proc *proc = image_proc(image, thread->slot);
		char *holds = list_whats(image, thread->holds, thread->n_holds, thread->n_lost);
		char *acting = list_whats(image, thread->acting, thread->n_acting, 0);
		struct text buf;

		table_cell(&table, "%" PRIu32, proc ? proc->pid : 0);
		table_cell(&table, "%" PRIu32, thread->tid);
		table_cell(&table, "%s", image_life_name(thread->life));
		table_cell(&table, "%s", text_escape_str(&buf, thread->name, sizeof(thread->name)));
		table_cell(&table, "%" PRIu32, thread->cpu);
		table_cell(&table, "%s", holds);
		table_cell(&table, "%s", acting);
		table_cell(&table, "%s",
			   thread->waits_on ? what_text(&buf, image, thread->waits_on) : "-");
		free(holds);
		free(acting);
	}
	table_end(&table, stdout);
}

static char *pages_text(char buf[24], uint64_t n)
{
	return text_size(buf, n * MPROC__ARENA_PAGE);
}

static void print_arena(const struct image *image)
{
	const struct image_arena *arena = &image->arena;
	char total[24], free_[24], largest[24], slabs[24], runs[24], private[24];

	printf("\narena: %s in pages, %s free, the largest free run %s\n",
	       pages_text(total, arena->geometry.n_pages), pages_text(free_, arena->pages.n_free),
	       pages_text(largest, arena->pages.largest_free));
	line("blocks", "%" PRIu64 " of whole pages (%s), %" PRIu32 " small (in %s of slabs)",
	     arena->n_runs_used, pages_text(runs, arena->pages.n_used), arena->blocks.n_used,
	     pages_text(slabs, arena->pages.n_slab));
	line("private", "%s of whole pages, %" PRIu32 " small: not published yet",
	     pages_text(private, arena->pages.n_private), arena->blocks.n_private);
	if (arena->pages.n_lost || arena->blocks.n_impossible)
		line("impossible",
		     "%" PRIu64 " pages and %" PRIu32 " small blocks (several looks agree)",
		     arena->pages.n_lost, arena->blocks.n_impossible);
	if (arena->n_skipped)
		line("not seen", "%" PRIu64 " pages, too many to be looked at", arena->n_skipped);
}

static void print_objects(const struct image *image)
{
	static const char *const heads[] = { "ENTRY",  "KIND",  "NAME", "BYTES",
					     "OFFSET", "STATE", NULL };
	struct table table;

	printf("\nobjects: %zu, of at most %" PRIu32 "\n", image->n_live, image->head.n_objects);
	if (!image->n_objects)
		return;
	table_begin(&table, "  ", "r--rr", heads);
	for (size_t i = 0; i < image->n_objects; i++) {
		const struct image_object *object = &image->objects[i];
		const char *state = mproc__entry_state_name(object->view.state);
		const char *kind = mproc__kind_name(object->view.kind);
		struct text buf;

		table_cell(&table, "%" PRIu32, object->entry);
		table_cell(&table, "%s", kind ? kind : "?");
		table_cell(&table, "%s",
			   object->view.name[0] ? text_escape_str(&buf, object->view.name,
								  sizeof(object->view.name))
						: "-");
		table_cell(&table, "%" PRIu64, object->view.len);
		table_cell(&table, "%" PRIu64, object->view.off);
		table_cell(&table, "%s%s%s", state ? state : "?",
			   object->possible ? "" : ", corrupt: ", object->why);
	}
	table_end(&table, stdout);
	info_print_objects(image);
}

int info_main(int argc, char **argv)
{
	static const struct argp_option known[] = {
		{ "json", 'j', NULL, 0, "Write one JSON object; its members are in shmtool(1)", 0 },
		{ 0 },
	};
	static const struct argp argp = {
		.options = known, .parser = parse, .args_doc = "SEGMENT", .doc = doc
	};
	struct options options = { 0 };
	struct resolved resolved;
	const struct image *image;
	bool good;

	argp_parse(&argp, argc, argv, 0, NULL, &options);
	if (!resolve(&resolved, options.what))
		return EXIT_FAILED;
	image = &resolved.segment.image;
	good = image->verdict == IMAGE_GOOD;
	if (options.json) {
		json_print(info_json(&resolved.segment));
	} else if (image->verdict == IMAGE_UNREADABLE || image->verdict == IMAGE_ALIEN) {
		say("%s: %s", options.what, image->why);
	} else {
		print_head(&resolved.segment);
		if (good) {
			print_procs(image);
			print_threads(image);
			print_arena(image);
			print_objects(image);
		}
	}
	resolved_free(&resolved);
	return good ? 0 : EXIT_FAILED;
}
