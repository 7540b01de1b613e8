/* SPDX-License-Identifier: MIT */

/*
 * Held locks and deadlocks, for programs
 */

#include <inttypes.h>

#include "tools/info.h"
#include "tools/locks.h"

static json_object *thread_json(const struct image *image, const struct image_thread *thread)
{
	const struct image_proc *proc = image_proc(image, thread->slot);
	json_object *ret = json_object_new_object();

	json_put(ret, "pid", proc ? json_object_new_uint64(proc->pid) : NULL);
	json_put_uint(ret, "tid", thread->tid);
	json_put_bytes(ret, "name", thread->name, sizeof(thread->name));
	json_put_bytes(ret, "exe", proc ? proc->exe : NULL, proc ? sizeof(proc->exe) : 0);
	json_put_text(ret, "state", locks_state(image, thread));
	return ret;
}

/* What is not known is null. */
static json_object *span_json(int64_t ns)
{
	return ns < 0 ? NULL : json_object_new_int64(ns);
}

static json_object *lock_json(const struct segment *segment, uint64_t what)
{
	json_object *ret = what_json(&segment->image, what);
	struct text buf;

	json_put_text(ret, "text", what_text(&buf, &segment->image, what));
	json_put_bytes(ret, "segment", segment->found->name, TEXT_MAX);
	return ret;
}

static json_object *waiter_json(const struct look *look, const struct image *image,
				const struct image_thread *thread)
{
	json_object *ret = thread_json(image, thread);

	json_put(ret, "waited_ns", span_json(locks_waited(look, thread)));
	json_put_bool(ret, "deadline", thread->blocked_since & 1);
	return ret;
}

static json_object *held_json(const struct look *look, const struct held *held)
{
	const struct image *image = &held->segment->image;
	json_object *ret = json_object_new_object(), *waiters = json_object_new_array();

	for (size_t i = 0; i < image->n_threads; i++)
		if (image->threads[i].blocked_on == held->what)
			json_object_array_add(waiters,
					      waiter_json(look, image, &image->threads[i]));
	json_put(ret, "lock", lock_json(held->segment, held->what));
	json_put_bool(ret, "read", held->read);
	json_put(ret, "holder", held->holder ? thread_json(image, held->holder) : NULL);
	json_put(ret, "held_at_least_ns", span_json(held->held));
	json_put(ret, "waiters", waiters);
	return ret;
}

static json_object *cycle_json(const struct look *look, const struct lock_cycle *cycle)
{
	json_object *ret = json_object_new_array();

	for (size_t i = 0; i < cycle->n; i++) {
		const struct lock_wait *wait =
			&look->locks.waits[look->locks.order[cycle->first + i]];
		const struct segment *segment = locks_segment(look, wait->image);
		json_object *edge = json_object_new_object();

		json_put(edge, "waiter", waiter_json(look, wait->image, wait->thread));
		json_put(edge, "lock",
			 segment ? lock_json(segment, wait->thread->blocked_on) : NULL);
		json_put(edge, "holder", thread_json(wait->image, wait->owner));
		json_object_array_add(ret, edge);
	}
	return ret;
}

static json_object *order_json(const struct segment *segment, const struct order *order)
{
	json_object *ret = json_object_new_object(), *pairs = json_object_new_array();

	for (size_t i = 0; i < order->n_pairs; i++) {
		json_object *pair = json_object_new_array();

		for (size_t k = 0; k < 2; k++)
			json_object_array_add(pair, lock_json(segment, order->pairs[i][k]));
		json_object_array_add(pairs, pair);
	}
	json_put_bytes(ret, "segment", segment->found->name, TEXT_MAX);
	json_put(ret, "pairs", pairs);
	json_put_uint(ret, "dropped", order->n_dropped);
	return ret;
}

json_object *locks_json(const struct look *look)
{
	json_object *ret = json_object_new_object();
	json_object *held = json_object_new_array(), *cycles = json_object_new_array();
	json_object *orders = json_object_new_array();

	for (size_t i = 0; i < look->n; i++)
		json_object_array_add(held, held_json(look, &look->at[i]));
	for (size_t i = 0; i < look->locks.n_cycles; i++)
		json_object_array_add(cycles, cycle_json(look, &look->locks.cycles[i]));
	json_put(ret, "locks", held);
	for (size_t i = 0; i < look->n_segments; i++)
		if (look->orders[i].recorded)
			json_object_array_add(orders,
					      order_json(&look->segments[i], &look->orders[i]));
	json_put(ret, "deadlocks", cycles);
	json_put(ret, "orders", orders);
	return ret;
}
