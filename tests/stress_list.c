/* SPDX-License-Identifier: MIT */

/*
 * Two lists under random SIGKILL and SIGSTOP, with a ledger
 *
 * Producers put numbered items at the end, in the middle or at the beginning, consumers pop
 * at both ends. The ledger lies in memory of its own, which no kill tears: for each item a
 * byte that says how often it was put in and taken out. One who is killed in a call leaves
 * the one item it was about undecided; it announces that item before. At the end every item
 * that was put in has been taken out, once, no item came that nobody put in, and no block
 * is left.
 */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <mproc/list.h>

#include "ipc/participant.h"
#include "shm/arena.h"
#include "shm/segment.h"
#include "tests/support/child.h"

#define WORKERS 6
#define ITEMS   (1u << 22)
#define LONG    90u /* bytes of a long item */

struct ledger {
	_Atomic(uint32_t) stop;
	_Atomic(uint32_t) next; /* number of the next item to be put in */
	_Atomic(uint64_t) n_wrong, n_taken, n_undecided;
	_Atomic(uint32_t) putting[WORKERS]; /* the item a worker is putting in, or 0 */
	_Atomic(uint32_t) taking[WORKERS];  /* a worker is taking one out */
	_Atomic(uint8_t) put[ITEMS], taken[ITEMS];
};

static mproc_segment *segment;
/*
 * Two of them: a block that one has lost is the other's next, full of slots that name blocks
 * in use. Who repairs the one must not find those.
 */
static mproc_list *lists[2];
static struct ledger *ledger;
static uint64_t base_used;

static uint64_t used(void)
{
	struct mproc__arena_stats stats;

	mproc__arena_stats(segment, &stats);
	return stats.used;
}

static int setup(void **state)
{
	(void)state;
	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ledger == MAP_FAILED ||
	    mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 4 << 20)) < 0 ||
	    mproc_list_create(&lists[0], segment, "list", NULL) < 0 ||
	    mproc_list_create(&lists[1], segment, "another", MPROC_LIST_OPTS(.capacity = 1)) < 0)
		return -1;
	ledger->next = 1;
	base_used = used();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++)
		lists[i] = mproc_list_close(lists[i]);
	segment = mproc_segment_close(segment);
	munmap(ledger, sizeof(*ledger));
	return 0;
}

static int64_t seconds(double by_default)
{
	const char *given = getenv("MPROC_STRESS_SECONDS");

	return (int64_t)(1e9 * (given ? atof(given) : t_long() ? 10 * by_default : by_default));
}

/* Every byte of a long item says which one it is. */
static struct mproc_any item_of(uint32_t number, unsigned char text[LONG])
{
	if (number % 3)
		return mproc_any_uint(number);
	for (uint32_t i = 0; i < LONG; i++)
		text[i] = (unsigned char)(number >> 8 * (i % 4));
	return mproc_any_bytes(text, LONG);
}

/* Return: its number, or 0 if it is not whole. */
static uint32_t number_of(const struct mproc_any *any)
{
	unsigned char text[LONG];
	uint32_t number = 0;

	if (any->kind == MPROC_ANY_UINT)
		return any->as.u % 3 ? (uint32_t)any->as.u : 0;
	if (any->kind != MPROC_ANY_BYTES || any->as.bytes.len != LONG)
		return 0;
	memcpy(&number, any->as.bytes.ptr, sizeof(number));
	(void)item_of(number, text);
	return number % 3 == 0 && !memcmp(text, any->as.bytes.ptr, LONG) ? number : 0;
}

static void put_one(mproc_list *list, uint32_t who, uint64_t *seed)
{
	uint32_t number = atomic_fetch_add(&ledger->next, 1);
	unsigned char text[LONG];
	struct mproc_any any;
	int r;

	if (number >= ITEMS) {
		atomic_store(&ledger->stop, 1);
		return;
	}
	any = item_of(number, text);
	atomic_store(&ledger->putting[who], number);
	switch (t_random(seed) % 6) {
	case 0:
		r = mproc_list_insert(list, 0, &any, MPROC_FOREVER);
		break;
	case 1:
		r = mproc_list_insert(list, (int64_t)(mproc_list_len(list) / 2), &any,
				      MPROC_FOREVER);
		break;
	default:
		r = mproc_list_append(list, &any, MPROC_FOREVER);
	}
	t_check(r == 0 || r == -EINVAL || r == -ENOSPC);
	if (r == 0)
		atomic_fetch_add(&ledger->put[number], 1);
	atomic_store(&ledger->putting[who], 0);
}

static void note_taken(const struct mproc_any *any)
{
	uint32_t number = number_of(any);

	if (!number || number >= ITEMS)
		atomic_fetch_add(&ledger->n_wrong, 1);
	else if (atomic_fetch_add(&ledger->taken[number], 1))
		atomic_fetch_add(&ledger->n_wrong, 1);
	atomic_fetch_add(&ledger->n_taken, 1);
}

static void take_one(mproc_list *list, uint32_t who, uint64_t *seed)
{
	unsigned char buf[LONG];
	struct mproc_any any;
	int r;

	atomic_store(&ledger->taking[who], 1);
	r = mproc_list_pop(list, t_random(seed) % 2 ? 0 : -1, &any, buf, sizeof(buf), NULL,
			   MPROC_FOREVER);
	t_check(r == 0 || r == -ENOENT);
	if (r == 0)
		note_taken(&any);
	atomic_store(&ledger->taking[who], 0);
}

struct worker {
	uint32_t number;
	uint64_t seed;
};

static void work(void *arg)
{
	struct worker w = *(struct worker *)arg;

	alarm(600);
	while (!atomic_load(&ledger->stop)) {
		mproc_list *list = lists[t_random(&w.seed) % 2];
		bool full = mproc_list_len(list) > 200;

		if (!full && t_random(&w.seed) % 2)
			put_one(list, w.number, &w.seed);
		else if (t_random(&w.seed) % 50)
			take_one(list, w.number, &w.seed);
		else
			t_check(mproc_list_reverse(list, MPROC_FOREVER) == 0);
	}
}

/* One is dead: what it was about may have happened or not, and nobody else will say. */
static void settle(uint32_t who)
{
	uint32_t number = atomic_exchange(&ledger->putting[who], 0);

	if (number)
		atomic_store(&ledger->put[number], 2);
	if (atomic_exchange(&ledger->taking[who], 0))
		atomic_fetch_add(&ledger->n_undecided, 1);
}

static void assert_balanced(void)
{
	uint64_t n_missing = 0;
	unsigned char buf[LONG];
	struct mproc_any any;

	for (int i = 0; i < 2; i++)
		while (mproc_list_pop(lists[i], 0, &any, buf, sizeof(buf), NULL, MPROC_FOREVER) ==
		       0)
			note_taken(&any);
	for (uint32_t i = 1; i < ledger->next && i < ITEMS; i++) {
		/* 0: refused; 1: put in; 2: perhaps. */
		if (ledger->put[i] == 0)
			assert_int_equal(ledger->taken[i], 0);
		else if (ledger->put[i] == 1 && !ledger->taken[i])
			n_missing++;
	}
	assert_int_equal(ledger->n_wrong, 0);
	/* A taker who was killed may have taken one along, and one alone. */
	assert_true(n_missing <= ledger->n_undecided);
	while (mproc__reap_all(segment->range) > 0)
		;
	assert_int_equal(mproc_list_len(lists[0]) + mproc_list_len(lists[1]), 0);
	assert_int_equal(used(), base_used);
}

static void nap_us(uint64_t us)
{
	nanosleep(&(struct timespec){ 0, (long)us * 1000 }, NULL);
}

static void start(struct worker *w, pid_t *pid, uint64_t *seed)
{
	w->seed = t_random(seed);
	*pid = t_spawn(work, w);
}

static bool enough_was_taken(void *arg)
{
	(void)arg;
	return atomic_load(&ledger->n_taken) > (t_sanitized() ? 500 : 20000);
}

static void undisturbed_workers_lose_nothing_and_heal_nothing(void **state)
{
	struct worker w[WORKERS] = { { 0 } };
	uint64_t seed = t_seed();
	pid_t pids[WORKERS];

	(void)state;
	for (uint32_t i = 0; i < WORKERS; i++) {
		w[i].number = i;
		start(&w[i], &pids[i], &seed);
	}
	assert_true(t_wait_until(enough_was_taken, NULL, mproc_after_ms(30000)));
	atomic_store(&ledger->stop, 1);
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(t_reap(pids[i]), 0);
	assert_int_equal(segment->range->reg->heals, 0);
	assert_int_equal(ledger->n_undecided, 0);
	assert_balanced();
}

static void killed_and_stopped_workers_lose_at_most_what_they_held(void **state)
{
	int64_t end = mproc_after_ns(seconds(3));
	struct worker w[WORKERS] = { { 0 } };
	uint64_t seed = t_seed(), kills = 0;
	pid_t pids[WORKERS];

	(void)state;
	for (uint32_t i = 0; i < WORKERS; i++) {
		w[i].number = i;
		start(&w[i], &pids[i], &seed);
	}
	/* However busy the machine is, some are killed. */
	while ((mproc_now() < end || kills < 20) && !atomic_load(&ledger->stop)) {
		uint32_t i = (uint32_t)(t_random(&seed) % WORKERS);

		nap_us(t_random(&seed) % 4000);
		if (t_random(&seed) % 4 == 0) {
			kill(pids[i], SIGSTOP);
			nap_us(t_random(&seed) % 20000);
			if (t_random(&seed) % 2) {
				kill(pids[i], SIGCONT);
				continue;
			}
		}
		kill(pids[i], SIGKILL);
		assert_int_equal(t_reap(pids[i]), SIGKILL);
		settle(i);
		start(&w[i], &pids[i], &seed);
		kills++;
	}
	for (uint32_t i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGKILL);
		(void)t_reap(pids[i]);
		settle(i);
	}
	print_message("# %llu kills, %u items put in, %llu taken, %llu takers killed inside\n",
		      (unsigned long long)kills, ledger->next - 1,
		      (unsigned long long)ledger->n_taken, (unsigned long long)ledger->n_undecided);
	assert_true(ledger->n_taken > 0);
	assert_balanced();
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(undisturbed_workers_lose_nothing_and_heal_nothing),
		TEST(killed_and_stopped_workers_lose_at_most_what_they_held),
	};

	return cmocka_run_group_tests_name("stress list", tests, NULL, NULL);
}
