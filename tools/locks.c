/* SPDX-License-Identifier: MIT */

/*
 * shmtool locks: who holds what, who waits for it, and who waits in a circle
 *
 * What a thread notes among its holds it may hold or be about to: where the lock has
 * an owner word, that word decides. How long a lock has been held is written nowhere,
 * since it would slow down those who take it; but a holder that waits has held it
 * since before it began to wait.
 */

#include "tools/locks.h"

#include <argp.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/resolve.h"
#include "tools/shmtool.h"

#define SEGMENTS_MAX 64
#define EXIT_CYCLE   2
#define WAITERS_MAX  16 /* of one lock that are shown to people */

static const char doc[] =
	"Show who holds which lock and who waits for it, and find deadlocks.\v"
	"SEGMENT is what shmtool info takes. Name several to find deadlocks whose locks lie "
	"in different segments.\n"
	"\n"
	"Exit status: 0 if there is no deadlock, 2 if there is one, 1 if something failed, 64 "
	"for wrong usage.";

struct options {
	bool json;
	size_t n;
	const char *whats[SEGMENTS_MAX];
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'j':
		options->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (options->n == SEGMENTS_MAX)
			argp_error(state, "at most %d segments", SEGMENTS_MAX);
		else
			options->whats[options->n++] = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "which segment?");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

const char *locks_state(const struct image *image, const struct image_thread *thread)
{
	const struct image_proc *proc = image_proc(image, thread->slot);
	char state = proc ? process_state(proc) : 0;

	return state == 'T' || state == 't' ? "stopped" : image_life_name(thread->life);
}

int64_t locks_waited(const struct look *look, const struct image_thread *thread)
{
	int64_t since = (int64_t)(thread->blocked_since >> 1);

	/* Of a saved copy the clock may have been another machine's. */
	if (!thread->blocked_since || thread->life == IMAGE_UNKNOWN || since > look->now)
		return -1;
	return look->now - since;
}

const struct segment *locks_segment(const struct look *look, const struct image *image)
{
	for (size_t i = 0; i < look->n; i++)
		if (&look->at[i].segment->image == image)
			return look->at[i].segment;
	return NULL;
}

static struct held *add(struct look *look, const struct segment *segment, uint64_t what)
{
	struct held *ret;

	if (look->n % 64 == 0)
		look->at = text_alloc(look->at, (look->n + 64) * sizeof(*look->at));
	ret = &look->at[look->n++];
	*ret = (struct held){ .segment = segment, .what = what, .held = -1 };
	return ret;
}

static void add_holder(struct look *look, const struct segment *segment,
		       const struct image_thread *thread, uint64_t what, bool read)
{
	struct held *held = add(look, segment, what);

	held->holder = thread;
	held->read = read;
	if (thread->blocked_on && thread->blocked_on != what)
		held->held = locks_waited(look, thread);
}

static void add_thread(struct look *look, const struct segment *segment,
		       const struct image_thread *thread)
{
	uint64_t word;

	for (uint32_t i = 0; i < thread->n_holds; i++)
		if (!locks_word(&segment->image, thread->holds[i], &word) ||
		    image_owner(&segment->image, word) == thread)
			add_holder(look, segment, thread, thread->holds[i], false);
	for (uint32_t i = 0; i < thread->n_reads; i++)
		add_holder(look, segment, thread, thread->reads[i], true);
}

static int compare_held(const void *a, const void *b)
{
	const struct held *x = a, *y = b;

	if (x->segment != y->segment)
		return x->segment < y->segment ? -1 : 1;
	if (x->what != y->what)
		return x->what < y->what ? -1 : 1;
	/* Without a holder: last, and dropped if there is one. */
	if (!x->holder || !y->holder)
		return !x->holder - !y->holder;
	return x->holder < y->holder ? -1 : x->holder > y->holder;
}

/* What is held, and what is waited for, each lock once or once for each holder. */
static void look_at(struct look *ret, const struct segment *segments, size_t n_segments)
{
	size_t n = 0;

	for (size_t i = 0; i < n_segments; i++) {
		const struct image *image = &segments[i].image;

		for (size_t k = 0; k < image->n_threads; k++) {
			const struct image_thread *thread = &image->threads[k];
			uint64_t word;

			add_thread(ret, &segments[i], thread);
			if (!thread->blocked_on)
				continue;
			if (locks_word(image, thread->blocked_on, &word) &&
			    image_owner(image, word))
				/* Its owner may have had no room for a note. */
				add_holder(ret, &segments[i], image_owner(image, word),
					   thread->blocked_on, false);
			else
				add(ret, &segments[i], thread->blocked_on);
		}
	}
	if (!ret->n)
		return;
	qsort(ret->at, ret->n, sizeof(*ret->at), compare_held);
	for (size_t i = 0; i < ret->n; i++) {
		const struct held *held = &ret->at[i], *last = n ? &ret->at[n - 1] : NULL;

		if (last && last->segment == held->segment && last->what == held->what &&
		    (last->holder == held->holder || !held->holder))
			continue;
		ret->at[n++] = *held;
	}
	ret->n = n;
}

/* "3.204 s", "-". Return: @buf. */
static char *span_text(char buf[32], int64_t ns)
{
	if (ns < 0)
		strcpy(buf, "-");
	else
		snprintf(buf, 32, "%" PRId64 ".%03d s", ns / 1000000000,
			 (int)(ns / 1000000 % 1000));
	return buf;
}

/* "pid 4711 tid 4712 (worker)". Return: @buf's text. */
static char *thread_text(struct text *buf, const struct image *image,
			 const struct image_thread *thread)
{
	const struct image_proc *proc = image_proc(image, thread->slot);
	struct text name;

	snprintf(buf->at, sizeof(buf->at), "pid %" PRIu32 " tid %" PRIu32 " (%s)",
		 proc ? proc->pid : 0, thread->tid,
		 text_escape_str(&name, thread->name, sizeof(thread->name)));
	return buf->at;
}

/* Who waits for it, and how long. The caller frees it. */
static char *waiters_text(const struct look *look, const struct held *held)
{
	const struct image *image = &held->segment->image;
	char *ret = text_format("%s", "");
	size_t n = 0;

	for (size_t i = 0; i < image->n_threads; i++) {
		const struct image_thread *thread = &image->threads[i];
		struct text buf;
		char span[32], *longer;

		if (thread->blocked_on != held->what || ++n > WAITERS_MAX)
			continue;
		longer = text_format("%s%s%s%s for %s%s", ret, *ret ? ", " : "",
				     thread_text(&buf, image, thread),
				     locks_lives(thread) ? "" : ", dead,",
				     span_text(span, locks_waited(look, thread)),
				     thread->blocked_since & 1 ? " with a deadline" : "");
		free(ret);
		ret = longer;
	}
	if (!n || n > WAITERS_MAX) {
		char *longer =
			n ? text_format("%s and %zu more", ret, n - WAITERS_MAX) : text_format("-");

		free(ret);
		ret = longer;
	}
	return ret;
}

static const char *segment_text(struct text *buf, const struct segment *segment)
{
	const struct found *found = segment->found;

	return text_escape_str(buf, found->name ? found->name : found->path, TEXT_MAX);
}

static void print_held(const struct look *look, bool many)
{
	static const char *const heads[] = { "LOCK",          "KIND",    "HOLDER", "STATE",
					     "HELD AT LEAST", "WAITERS", NULL };
	struct table table;

	printf("locks held or waited for: %zu\n", look->n);
	if (!look->n)
		return;
	table_begin(&table, "  ", "----r", heads);
	for (size_t i = 0; i < look->n; i++) {
		const struct held *held = &look->at[i];
		const struct image *image = &held->segment->image;
		const char *kind = mproc__kind_name(mproc__what_kind(held->what));
		char span[32], *waiters = waiters_text(look, held);
		struct text name, segment, holder;

		table_cell(&table, "%s%s%s", what_text(&name, image, held->what),
			   many ? " of segment " : "",
			   many ? segment_text(&segment, held->segment) : "");
		table_cell(&table, "%s%s", kind ? kind : "?", held->read ? ", read" : "");
		table_cell(&table, "%s",
			   held->holder ? thread_text(&holder, image, held->holder) : "-");
		table_cell(&table, "%s", held->holder ? locks_state(image, held->holder) : "-");
		table_cell(&table, "%s", span_text(span, held->held));
		table_cell(&table, "%s", waiters);
		free(waiters);
	}
	table_end(&table, stdout);
}

static void print_cycle(const struct look *look, const struct lock_cycle *cycle, bool many)
{
	printf("\ndeadlock:\n");
	for (size_t i = 0; i < cycle->n; i++) {
		const struct lock_wait *wait =
			&look->locks.waits[look->locks.order[cycle->first + i]];
		const struct segment *in = locks_segment(look, wait->image);
		struct text waiter, name, segment, holder, shown;
		char span[32], *line;

		line = text_format("%s waits for %s%s%s for %s%s, held by %s",
				   thread_text(&waiter, wait->image, wait->thread),
				   what_text(&name, wait->image, wait->thread->blocked_on),
				   many && in ? " of segment " : "",
				   many && in ? segment_text(&segment, in) : "",
				   span_text(span, locks_waited(look, wait->thread)),
				   wait->thread->blocked_since & 1 ? " with a deadline" : "",
				   thread_text(&holder, wait->image, wait->owner));
		printf("  %s\n", text_terminal(&shown, line));
		free(line);
	}
}

/* Which locks of one segment were taken in both orders. */
static void print_order(const struct segment *segment, const struct order *order, bool many)
{
	struct text name, one, two, shown[2];

	if (!order->recorded)
		return;
	printf("\nlocks taken in both orders%s%s: %zu\n", many ? " in segment " : "",
	       many ? segment_text(&name, segment) : "", order->n_pairs);
	for (size_t i = 0; i < order->n_pairs; i++) {
		const char *first = text_terminal(
			&shown[0], what_text(&one, &segment->image, order->pairs[i][0]));
		const char *second = text_terminal(
			&shown[1], what_text(&two, &segment->image, order->pairs[i][1]));

		printf("  order: %s before %s and %s before %s\n", first, second, second, first);
	}
	if (order->n_dropped)
		printf("  not recorded, since there are more than %u locks: %" PRIu64 " calls\n",
		       MPROC__ORDER_LOCKS, order->n_dropped);
}

/* Resolve all that were asked for, each once. Return: how many, or -1. */
static int read_all(struct resolved *ret, const struct options *options)
{
	int n = 0;

	for (size_t i = 0; i < options->n; i++) {
		const struct image *image;
		bool twice = false;

		if (!resolve(&ret[n], options->whats[i]))
			return -1;
		n++;
		image = &ret[n - 1].segment.image;
		if (image->verdict != IMAGE_GOOD) {
			say("%s: %s", options->whats[i],
			    image->why[0] ? image->why : "it cannot be read");
			return -1;
		}
		for (int k = 0; k < n - 1; k++)
			twice |= !memcmp(ret[k].segment.image.head.uuid, image->head.uuid,
					 sizeof(image->head.uuid));
		if (twice)
			resolved_free(&ret[--n]);
	}
	return n;
}

int locks_main(int argc, char **argv)
{
	static const struct argp_option known[] = {
		{ "json", 'j', NULL, 0, "Write one JSON object; its members are in shmtool(1)", 0 },
		{ 0 },
	};
	static const struct argp argp = {
		.options = known, .parser = parse, .args_doc = "SEGMENT...", .doc = doc
	};
	static struct resolved resolved[SEGMENTS_MAX];
	static struct segment segments[SEGMENTS_MAX];
	static struct order orders[SEGMENTS_MAX];
	const struct image *images[SEGMENTS_MAX];
	struct options options = { 0 };
	struct look look = { .segments = segments, .orders = orders };
	struct timespec ts;
	int n;

	argp_parse(&argp, argc, argv, 0, NULL, &options);
	n = read_all(resolved, &options);
	if (n < 0)
		return EXIT_FAILED;
	for (int i = 0; i < n; i++) {
		segments[i] = resolved[i].segment;
		segments[i].image.source = &segments[i].source;
		images[i] = &segments[i].image;
		order_read(&orders[i], images[i]);
	}
	look.n_segments = (size_t)n;
	/* Before the look: nobody has waited longer than is said. */
	clock_gettime(CLOCK_MONOTONIC, &ts);
	look.now = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	look_at(&look, segments, (size_t)n);
	locks_read(&look.locks, images, (size_t)n);
	if (options.json) {
		json_print(locks_json(&look));
	} else {
		print_held(&look, n > 1);
		for (size_t i = 0; i < look.locks.n_cycles; i++)
			print_cycle(&look, &look.locks.cycles[i], n > 1);
		for (size_t i = 0; i < look.n_segments; i++)
			print_order(&segments[i], &orders[i], n > 1);
	}
	n = look.locks.n_cycles ? EXIT_CYCLE : 0;
	locks_free(&look.locks);
	for (size_t i = 0; i < look.n_segments; i++)
		order_free(&orders[i]);
	free(look.at);
	for (size_t i = 0; i < SEGMENTS_MAX && resolved[i].find.at; i++)
		resolved_free(&resolved[i]);
	return n;
}
