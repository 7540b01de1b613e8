/* SPDX-License-Identifier: MIT */

/*
 * Queues: round trips and streams, beside pipe(2) and a ring that is not crash-safe
 *
 * Every message is copied from the putter's memory and into the getter's. Its first
 * words say whose it is and which; a getter to whom they do not grow stops the run.
 */

#include <sched.h>
#include <stdalign.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <mproc/queue.h>

#include "bench/bench.h"

#define PARTIES        2u /* putters, and getters, at most */
#define AT_ONCE        16u
#define SIZE_MAX_BYTES (1u << 20)
#define RING_BYTES     65536u

/* A way for messages; some peer's. */
struct way {
	void (*put)(struct way *way, const void *msg, size_t len);
	void (*get)(struct way *way, void *buf, size_t len);
	mproc_queue *queue;
	struct tickets *tickets;
	int pipe[2];
};

struct message {
	uint64_t putter;
	uint64_t number;
	unsigned char more[SIZE_MAX_BYTES - 16];
};

static void queue_put(struct way *way, const void *msg, size_t len)
{
	bench_check(mproc_queue_put(way->queue, msg, len, MPROC_FOREVER) == 0);
}

static void queue_get(struct way *way, void *buf, size_t len)
{
	size_t got;

	bench_check(mproc_queue_get(way->queue, buf, len, &got, MPROC_FOREVER) == 0);
	bench_check(got == len);
}

static void pipe_put(struct way *way, const void *msg, size_t len)
{
	const char *at = msg;
	ssize_t n;

	for (; len; at += n, len -= (size_t)n) {
		n = write(way->pipe[1], at, len);
		bench_check(n > 0);
	}
}

static void pipe_get(struct way *way, void *buf, size_t len)
{
	char *at = buf;
	ssize_t n;

	for (; len; at += n, len -= (size_t)n) {
		n = read(way->pipe[0], at, len);
		bench_check(n > 0);
	}
}

/*
 * Tickets: one fetch_add a message, a turn word in each slot. Whoever has drawn a
 * ticket and dies stops everybody; nobody sleeps. What one gives up for being killed.
 */
#define TICKET_SLOTS 1024u

struct tickets {
	alignas(128) _Atomic(uint64_t) head;
	alignas(128) _Atomic(uint64_t) tail;
	struct {
		alignas(128) _Atomic(uint64_t) turn;
		unsigned char msg[64];
	} slots[TICKET_SLOTS];
};

static void await_turn(const _Atomic(uint64_t) *turn, uint64_t want)
{
	for (unsigned n = 1; atomic_load_explicit(turn, memory_order_acquire) != want; n++)
		if (n % 100 == 0)
			sched_yield();
}

static void tickets_put(struct way *way, const void *msg, size_t len)
{
	struct tickets *t = way->tickets;
	uint64_t n = atomic_fetch_add(&t->tail, 1);

	await_turn(&t->slots[n % TICKET_SLOTS].turn, n / TICKET_SLOTS * 2);
	memcpy(t->slots[n % TICKET_SLOTS].msg, msg, len);
	atomic_store_explicit(&t->slots[n % TICKET_SLOTS].turn, n / TICKET_SLOTS * 2 + 1,
			      memory_order_release);
}

static void tickets_get(struct way *way, void *buf, size_t len)
{
	struct tickets *t = way->tickets;
	uint64_t n = atomic_fetch_add(&t->head, 1);

	await_turn(&t->slots[n % TICKET_SLOTS].turn, n / TICKET_SLOTS * 2 + 1);
	memcpy(buf, t->slots[n % TICKET_SLOTS].msg, len);
	atomic_store_explicit(&t->slots[n % TICKET_SLOTS].turn, n / TICKET_SLOTS * 2 + 2,
			      memory_order_release);
}

static void make_way(struct way *way, const struct bench_case *c)
{
	static mproc_segment *segment;

	if (!strcmp(c->peer, "mproc")) {
		if (!segment)
			bench_check(mproc_segment_create(&segment, NULL,
							 MPROC_SEGMENT_OPTS(.bytes = 64 << 20)) ==
				    0);
		bench_check(mproc_queue_create(&way->queue, segment, NULL,
					       MPROC_QUEUE_OPTS(.depth = 1024,
								.msg_max = (uint32_t)c->size,
								.bytes = RING_BYTES)) == 0);
		way->put = queue_put;
		way->get = queue_get;
	} else if (!strcmp(c->peer, "pipe")) {
		bench_check(pipe(way->pipe) == 0);
		way->put = pipe_put;
		way->get = pipe_get;
	} else {
		way->tickets = bench_shared(sizeof(*way->tickets));
		way->put = tickets_put;
		way->get = tickets_get;
	}
}

/* Round trips: there by one way, back by another. */
struct trip {
	struct way there, back;
	size_t size;
	unsigned cpu;
};

static struct message msg;

static void echo(void *arg)
{
	struct trip *trip = arg;

	bench_pin(trip->cpu);
	for (;;) {
		trip->there.get(&trip->there, &msg, trip->size);
		trip->back.put(&trip->back, &msg, trip->size);
	}
}

static void ping(void *arg)
{
	struct trip *trip = arg;
	uint64_t number = ++msg.number;

	trip->there.put(&trip->there, &msg, trip->size);
	trip->back.get(&trip->back, &msg, trip->size);
	bench_check(msg.number == number);
}

static double run_trip(const struct bench_case *c)
{
	static struct trip trip;

	make_way(&trip.there, c);
	make_way(&trip.back, c);
	trip.size = c->size;
	trip.cpu = c->apart;
	bench_fork(echo, &trip);
	bench_pin(0);
	return bench_call_ns(ping, &trip, c->size > 65536 ? 4 : 64) / 1000;
}

static double run_line(const struct bench_case *c)
{
	(void)c;
	return bench_line_ns() / 1000;
}

static double run_futex(const struct bench_case *c)
{
	return bench_futex_ns(c->apart) / 1000;
}

/* Streams: some put, some get, all the time. */
struct count {
	alignas(128) _Atomic(uint64_t) n;
};

struct stream {
	struct way way;
	size_t size;
	bool at_once;
	_Atomic(uint32_t) ready;
	struct count counts[PARTIES];
};

struct party {
	struct stream *stream;
	unsigned i; /* among putters, or getters */
	unsigned cpu;
};

static void check_order(const struct message *m, uint64_t *last)
{
	bench_check(m->putter < PARTIES && m->number > last[m->putter]);
	last[m->putter] = m->number;
}

static void put_stream(void *arg)
{
	struct party *p = arg;
	struct stream *s = p->stream;
	static unsigned char many[AT_ONCE][64];
	struct iovec msgs[AT_ONCE];

	bench_pin(p->cpu);
	atomic_fetch_add(&s->ready, 1);
	msg.putter = p->i;
	while (!s->at_once) {
		msg.number++;
		s->way.put(&s->way, &msg, s->size);
	}
	for (unsigned i = 0; i < AT_ONCE; i++)
		msgs[i] = (struct iovec){ .iov_base = many[i], .iov_len = 64 };
	for (;;) {
		for (unsigned i = 0; i < AT_ONCE; i++) {
			msg.number++;
			memcpy(many[i], &msg, 16);
		}
		bench_check(mproc_queue_put_many(s->way.queue, msgs, AT_ONCE, MPROC_FOREVER) ==
			    AT_ONCE);
	}
}

static void get_stream(void *arg)
{
	struct party *p = arg;
	struct stream *s = p->stream;
	static _Alignas(8) unsigned char many[AT_ONCE][64];
	struct iovec msgs[AT_ONCE];
	uint64_t last[PARTIES] = { 0 }, n = 0;
	int r;

	bench_pin(p->cpu);
	atomic_fetch_add(&s->ready, 1);
	while (!s->at_once) {
		s->way.get(&s->way, &msg, s->size);
		check_order(&msg, last);
		atomic_store_explicit(&s->counts[p->i].n, ++n, memory_order_relaxed);
	}
	for (;;) {
		r = mproc_queue_get_many(s->way.queue, many, sizeof(many), msgs, AT_ONCE,
					 MPROC_FOREVER);
		bench_check(r > 0);
		for (int i = 0; i < r; i++) {
			memcpy(&msg, msgs[i].iov_base, 16);
			check_order(&msg, last);
		}
		n += (uint64_t)r;
		atomic_store_explicit(&s->counts[p->i].n, n, memory_order_relaxed);
	}
}

static uint64_t counted(const struct stream *s)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < PARTIES; i++)
		n += atomic_load(&s->counts[i].n);
	return n;
}

/* Return: messages in a second. The parties end with this process. */
static double rate(const struct bench_case *c, bool at_once)
{
	struct timespec warm_up = { .tv_nsec = BENCH_NS / 10 }, pause = { .tv_nsec = BENCH_NS };
	struct stream *s = bench_shared(sizeof(*s));
	unsigned each = c->procs / 2;
	int64_t before;
	uint64_t n;

	make_way(&s->way, c);
	s->size = c->size;
	s->at_once = at_once;
	for (unsigned i = 0; i < each; i++) {
		struct party putter = { s, i, i }, getter = { s, i, each + i };

		bench_fork(put_stream, &putter);
		bench_fork(get_stream, &getter);
	}
	while (atomic_load(&s->ready) < c->procs)
		sched_yield();
	nanosleep(&warm_up, NULL);
	before = mproc_now();
	n = counted(s);
	nanosleep(&pause, NULL);
	n = counted(s) - n;
	return (double)n * 1e9 / (double)(mproc_now() - before);
}

static double run_rate(const struct bench_case *c)
{
	return rate(c, false);
}

static double run_rate_at_once(const struct bench_case *c)
{
	return rate(c, true);
}

static double run_bytes(const struct bench_case *c)
{
	return rate(c, false) * (double)c->size / 1e9;
}

#define TRIP    "round trip p50", "us"
#define TRIP_ON "round trip p50, same CPU", "us"
#define STREAM  "stream", "/s"
#define BYTES   "stream", "GB/s"
#define MANY    "two putters, two getters", "/s"
#define MIB     (1u << 20)
#define TICKETS BENCH_LIMIT, "tickets, not crash-safe"

static const struct bench_case cases[] = {
	{ "queue", "mproc", "", 64, 2, TRIP, "<= 0.25", true, run_trip },
	{ "queue", "pipe", "", 64, 2, TRIP, NULL, true, run_trip },
	{ "queue", TICKETS, 64, 2, TRIP, NULL, true, run_trip },
	{ "queue", BENCH_LIMIT, "raw cache line", 64, 2, TRIP, NULL, true, run_line },
	{ "queue", "mproc", "", 1024, 2, TRIP, NULL, true, run_trip },
	{ "queue", "pipe", "", 1024, 2, TRIP, NULL, true, run_trip },
	{ "queue", "mproc", "", MIB, 2, TRIP, NULL, true, run_trip },
	{ "queue", "pipe", "", MIB, 2, TRIP, NULL, true, run_trip },
	{ "queue", "mproc", "", 64, 2, TRIP_ON, ">= 0.91x limit", false, run_trip },
	{ "queue", "pipe", "", 64, 2, TRIP_ON, NULL, false, run_trip },
	{ "queue", BENCH_LIMIT, "bare futex", 64, 2, TRIP_ON, NULL, false, run_futex },
	{ "queue", "mproc", "", 64, 2, STREAM, ">= 60e6", true, run_rate },
	{ "queue", "mproc", "16 at once", 64, 2, STREAM, NULL, true, run_rate_at_once },
	{ "queue", "pipe", "", 64, 2, STREAM, NULL, true, run_rate },
	{ "queue", TICKETS, 64, 2, STREAM, NULL, true, run_rate },
	{ "queue", "mproc", "", MIB, 2, BYTES, NULL, true, run_bytes },
	{ "queue", "pipe", "", MIB, 2, BYTES, NULL, true, run_bytes },
	{ "queue", "mproc", "", 64, 4, MANY, ">= 57e6", false, run_rate },
	{ "queue", "mproc", "16 at once", 64, 4, MANY, ">= 65e6", false, run_rate_at_once },
	{ "queue", "pipe", "", 64, 4, MANY, NULL, false, run_rate },
	{ "queue", TICKETS, 64, 4, MANY, NULL, false, run_rate },
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
