/* SPDX-License-Identifier: MIT */

/*
 * One object of a segment, by its kind, for people
 */

#include "tools/info.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Who owns a lock: "nobody", "pid 4711 tid 4712 (dead)". Return: @buf. */
static char *owner_text(char buf[80], const struct image *image, uint64_t word)
{
	const struct image_thread *thread = image_owner(image, word);
	const struct image_proc *proc = thread ? image_proc(image, thread->slot) : NULL;

	if (!mproc__owner_id(word))
		strcpy(buf, "nobody");
	else if (!thread)
		strcpy(buf, "a thread that is gone");
	else
		snprintf(buf, 80, "pid %" PRIu32 " tid %" PRIu32 " (%s)", proc ? proc->pid : 0,
			 thread->tid, image_life_name(thread->life));
	return buf;
}

static void print_queue(const struct image *image, const struct image_object *object)
{
	const struct mproc__queue_look *q = &object->queue;
	char used[24], ring[24], put[24], got[24], putter[80], getter[80];
	uint32_t n = object->n_waiters;

	printf("  messages     %" PRIu32 " of at most %" PRIu32 ", each of at most %" PRIu32
	       " bytes%s\n",
	       q->n_messages, q->geometry.depth, q->geometry.msg_max, q->down ? "; shut down" : "");
	printf("  ring         %s of %s\n", text_size(used, q->bytes),
	       text_size(ring, q->geometry.ring_size));
	printf("  put          %" PRIu64 " (%s), %" PRIu64 " found it full\n", q->n_puts,
	       text_size(put, q->bytes_put), q->n_put_waits);
	printf("  got          %" PRIu64 " (%s), %" PRIu64 " found it empty\n", q->n_gets,
	       text_size(got, q->bytes_got), q->n_get_waits);
	printf("  locks        putters: %s; getters: %s\n", owner_text(putter, image, q->put_owner),
	       owner_text(getter, image, q->get_owner));
	printf("  asleep       %" PRIu32 "%s%s\n", n,
	       object->queue_sleepers & 1 ? ", for messages" : "",
	       object->queue_sleepers & 2 ? ", for room" : "");
	if (q->n_died)
		printf("  died inside  %" PRIu64 " calls\n", q->n_died);
}

static void print_pool(const struct image *image, const struct image_object *object)
{
	static const char *const heads[] = { "WORKER", "PID",    "STATE", "SINCE",
					     "DONE",   "DEATHS", NULL };
	const struct image_pool *pool = &object->pool;
	const struct mproc__pool_seen *seen = &pool->seen;
	const struct image_object *tasks = image_object_at(image, seen->tasks);
	const struct image_object *done = image_object_at(image, seen->done);
	struct text buf, name;
	struct table table;

	printf("  state        %s, of pid %" PRIu32 "\n", pool_state(seen), seen->parent);
	printf("  tasks        %" PRIu32 " queued, %" PRIu32 " running; %" PRIu64
	       " submitted, %" PRIu64 " done (%" PRIu64 " failed), %" PRIu64 " retried\n",
	       seen->slots_submitted, seen->slots_claimed, seen->n_submitted, seen->n_done,
	       seen->n_failed, seen->n_retried);
	printf("  slots        %" PRIu32 " free of %" PRIu32 "; a task has at most %" PRIu32
	       " bytes\n",
	       seen->slots_free, seen->n_tasks, seen->task_max);
	printf("  queues       tasks: %s, results: %s\n", tasks ? object_text(&buf, tasks) : "gone",
	       done ? object_text(&name, done) : "gone");
	printf("  workers      %" PRIu32 ", %" PRIu64 " deaths\n", seen->n_workers, seen->n_deaths);
	table_begin(&table, "    ", "rr--rr", heads);
	for (uint32_t i = 0; i < seen->n_workers; i++) {
		const struct image_worker *worker = &pool->workers[i];
		const char *state = worker_state(image, worker);
		bool stopped = worker_stopped(image, worker);
		char when[32];

		table_cell(&table, "%" PRIu32, i);
		table_cell(&table, "%" PRIu32, worker->pid);
		if (worker->running)
			table_cell(&table, "%s, task in slot %" PRIu32 ", attempt %" PRIu32 "%s",
				   state, worker->running - 1, worker->attempt,
				   stopped ? ", stopped" : "");
		else
			table_cell(&table, "%s%s", state, stopped ? ", stopped" : "");
		table_cell(&table, "%s", text_time(when, worker->since));
		table_cell(&table, "%" PRIu64, worker->n_done);
		table_cell(&table, "%" PRIu64, worker->n_deaths);
	}
	table_end(&table, stdout);
}

void info_print_object(const struct image *image, const struct image_object *object)
{
	struct text buf, shown;

	if (!image_object_is_whole(object))
		return;
	switch (object->view.kind) {
	case MPROC__KIND_QUEUE:
	case MPROC__KIND_POOL:
		printf("\n%s\n", text_terminal(&shown, object_text(&buf, object)));
		if (object->view.kind == MPROC__KIND_QUEUE)
			print_queue(image, object);
		else
			print_pool(image, object);
		break;
	default:
		break;
	}
}
