/* SPDX-License-Identifier: MIT */

/*
 * Does the sweep find what is broken? Does it pass what is not?
 *
 * Every control is a known mistake that the sweep must flag, with the words that
 * must_fail gives; beside each stands its twin without the mistake, which must pass.
 * None depends on the library or on a bug of the kernel.
 */

#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <mproc/common.h>

#include "tests/support/child.h"
#include "tests/support/sweep.h"
#include "tests/support/token.h"

#define N_TOKENS 16

static uint32_t me; /* token of this process; set by arrive() */

static void arrive(void)
{
	int token = t_token_take();

	if (token < 0 || token >= N_TOKENS)
		t_sweep_fail("token %d", token);
	me = (uint32_t)token;
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ 0, ms * 1000000 }, NULL);
}

/*
 * A ring of four by Vyukov: claims an index, then fills the cell. Who is killed in
 * between leaves a cell that nobody may touch, for ever.
 */

#define RING_CAP 4u

struct cell {
	_Atomic(uint64_t) word; /* Vyukov: sequence; ours: see below */
	_Atomic(uint64_t) value;
};

static struct ring {
	_Atomic(uint64_t) head, tail;
	struct cell cells[RING_CAP];
} * ring;

static bool (*ring_push)(uint64_t value);
static bool (*ring_pop)(uint64_t *value);

static bool vyukov_push(uint64_t value)
{
	uint64_t t = ring->tail;
	struct cell *cell;

	do {
		cell = &ring->cells[t % RING_CAP];
		if (cell->word != t)
			return false;
	} while (!atomic_compare_exchange_strong(&ring->tail, &t, t + 1));
	cell->value = value;
	cell->word = t + 1;
	return true;
}

static bool vyukov_pop(uint64_t *value)
{
	uint64_t h = ring->head;
	struct cell *cell;

	do {
		cell = &ring->cells[h % RING_CAP];
		if (cell->word != h + 1)
			return false;
	} while (!atomic_compare_exchange_strong(&ring->head, &h, h + 1));
	*value = cell->value;
	cell->word = h + RING_CAP;
	return true;
}

/*
 * The same ring with claim and owner in one word, {sequence 48 | owner 14 | state 2};
 * indices lag and are helped forward. The dead writer's cell is skipped, the dead
 * reader's is full again.
 */

enum { EMPTY, WRITING, FULL, READING };

static uint64_t cell_word(uint64_t seq, uint32_t owner, unsigned state)
{
	return seq << 16 | (uint64_t)owner << 2 | state;
}

/* Repair the cell of a dead owner. Return: false if its owner lives. */
static bool owned_repair(struct cell *cell, uint64_t word)
{
	uint64_t seq = word >> 16, next;

	if (!t_token_dead(word >> 2 & 0x3fff))
		return false;
	next = (word & 3) == WRITING ? cell_word(seq + RING_CAP, 0, EMPTY)
				     : cell_word(seq, 0, FULL);
	atomic_compare_exchange_strong(&cell->word, &word, next);
	return true;
}

static bool owned_push(uint64_t value)
{
	for (;;) {
		uint64_t t = ring->tail, word;
		struct cell *cell = &ring->cells[t % RING_CAP];

		word = cell->word;
		if (word == cell_word(t, 0, EMPTY)) {
			if (!atomic_compare_exchange_strong(&cell->word, &word,
							    cell_word(t, me, WRITING)))
				continue;
			cell->value = value;
			cell->word = cell_word(t, 0, FULL);
			atomic_compare_exchange_strong(&ring->tail, &t, t + 1);
			return true;
		}
		if ((word & 3) == WRITING || ((word & 3) == READING && word >> 16 < t)) {
			if (!owned_repair(cell, word))
				return false;
		} else if (word >> 16 < t) {
			return false;
		} else {
			atomic_compare_exchange_strong(&ring->tail, &t, t + 1);
		}
	}
}

static bool owned_pop(uint64_t *value)
{
	for (;;) {
		uint64_t h = ring->head, word;
		struct cell *cell = &ring->cells[h % RING_CAP];

		word = cell->word;
		if (word == cell_word(h, 0, FULL)) {
			if (!atomic_compare_exchange_strong(&cell->word, &word,
							    cell_word(h, me, READING)))
				continue;
			*value = cell->value;
			cell->word = cell_word(h + RING_CAP, 0, EMPTY);
			atomic_compare_exchange_strong(&ring->head, &h, h + 1);
			return true;
		}
		if (word >> 16 > h)
			atomic_compare_exchange_strong(&ring->head, &h, h + 1);
		else if ((word & 3) == EMPTY || !owned_repair(cell, word))
			return false;
	}
}

/* Two messages, 10 and 11; the victim adds 12 or takes 10; who recovers adds 13. */
static void begin_ring(bool (*push)(uint64_t), bool (*pop)(uint64_t *), bool vyukov)
{
	ring = t_sweep_map(sizeof(*ring));
	t_sweep_check(t_token_init() == 0);
	ring_push = push;
	ring_pop = pop;
	for (uint64_t i = 0; i < RING_CAP; i++)
		ring->cells[i].word = vyukov ? i : cell_word(i, 0, EMPTY);
	t_sweep_check(push(10) && push(11));
}

static void vyukov_of_two(void)
{
	begin_ring(vyukov_push, vyukov_pop, true);
}

static void owned_of_two(void)
{
	begin_ring(owned_push, owned_pop, false);
}

static int64_t push_12(void)
{
	return ring_push(12) ? 12 : -1;
}

static int64_t push_13(void)
{
	return ring_push(13) ? 13 : -1;
}

static int64_t pop_one(void)
{
	uint64_t value;

	return ring_pop(&value) ? (int64_t)value : -1;
}

static void ring_is_sound(const struct t_sweep_seen *seen)
{
	uint64_t value, last = seen->returned && seen->result == 10 ? 10 : 9;
	bool there[16] = { false };
	unsigned n = 0;

	arrive();
	while (n < RING_CAP && ring_pop(&value)) {
		if (value <= last || value > 13)
			t_sweep_fail("took %ju after %ju", (uintmax_t)value, (uintmax_t)last);
		there[value] = true;
		last = value;
		n++;
	}
	t_sweep_check(there[11] && (!seen->returned || seen->result == 10 || there[12]));
	t_sweep_check(!seen->recovered || there[13]);
	for (n = 0; n < RING_CAP && ring_push(n); n++)
		;
	if (n < RING_CAP)
		t_sweep_fail("the ring takes %u of %u", n, RING_CAP);
	for (n = 0; n < RING_CAP && ring_pop(&value) && value == n; n++)
		;
	if (n < RING_CAP)
		t_sweep_fail("the ring gives %u of %u", n, RING_CAP);
}

/*
 * Three words that must be equal, under a lock that passes on when its owner is
 * dead. With no log; with a log in the record of the dead; with one in the object.
 */

struct redo {
	_Atomic(uint64_t) n, value;
};

static struct {
	_Atomic(uint32_t) owner; /* token, 0: free */
	struct redo log;
	_Atomic(uint64_t) words[3];
	struct redo logs[N_TOKENS]; /* the threads' records */
} * triple;

static struct redo *(*log_of)(uint32_t token);

static struct redo *no_log(uint32_t token)
{
	(void)token;
	return NULL;
}

static struct redo *log_of_thread(uint32_t token)
{
	return &triple->logs[token];
}

static struct redo *log_of_object(uint32_t token)
{
	(void)token;
	return &triple->log;
}

static void begin_triple(struct redo *(*which)(uint32_t))
{
	triple = t_sweep_map(sizeof(*triple));
	t_sweep_check(t_token_init() == 0);
	log_of = which;
}

static void triple_without_log(void)
{
	begin_triple(no_log);
}

static void triple_with_log_in_thread(void)
{
	begin_triple(log_of_thread);
}

static void triple_with_log_in_object(void)
{
	begin_triple(log_of_object);
}

static void apply(struct redo *log)
{
	for (unsigned i = 0; i < log->n; i++)
		triple->words[i] = log->value;
	log->n = 0;
}

static void triple_lock(void)
{
	for (;;) {
		uint32_t owner = 0;

		if (atomic_compare_exchange_strong(&triple->owner, &owner, me))
			return;
		if (t_token_dead(owner) &&
		    atomic_compare_exchange_strong(&triple->owner, &owner, me)) {
			if (log_of(owner))
				apply(log_of(owner));
			return;
		}
		pause_ms(1);
	}
}

static int64_t triple_update(void)
{
	struct redo *log = log_of(me);
	uint64_t value;

	triple_lock();
	value = triple->words[0] + 1;
	if (log) {
		log->value = value;
		log->n = 3;
		apply(log);
	} else {
		for (unsigned i = 0; i < 3; i++)
			triple->words[i] = value;
	}
	triple->owner = 0;
	return 0;
}

static void triple_is_whole(const struct t_sweep_seen *seen)
{
	const _Atomic(uint64_t) *w = triple->words;

	arrive();
	triple_lock();
	if (w[0] != w[1] || w[1] != w[2])
		t_sweep_fail("torn: %ju %ju %ju", (uintmax_t)w[0], (uintmax_t)w[1],
			     (uintmax_t)w[2]);
	t_sweep_check(w[0] >= (uint64_t)seen->returned + seen->recovered);
}

/*
 * A futex mutex {sleepers 1 | owner 31} that passes on when its owner is dead. Its
 * sleepers look at the owner when they wake up: by a quantum, or only when woken.
 *
 * The first helper owns it. Once the victim sleeps in line, the second helper lines
 * up behind it, and then the first unlocks, which wakes the victim.
 */

#define SLEEPERS (UINT32_C(1) << 31)

static struct {
	_Atomic(uint32_t) word;
	_Atomic(uint32_t) second; /* 1: is about to lock, 2: has locked */
} * mutex;

static int64_t mutex_quantum_ms; /* 0: sleep until woken */
static pid_t second_pid;

static int64_t mutex_lock(void)
{
	struct timespec quantum = { 0, mutex_quantum_ms * 1000000 };
	uint32_t word = 0;

	if (atomic_compare_exchange_strong(&mutex->word, &word, me))
		return 0;
	for (;;) {
		/* Who has slept cannot know of others: it takes the mutex as if there were. */
		if ((!word || t_token_dead(word & ~SLEEPERS)) &&
		    atomic_compare_exchange_strong(&mutex->word, &word, me | SLEEPERS))
			return 0;
		if (word && ((word & SLEEPERS) ||
			     atomic_compare_exchange_strong(&mutex->word, &word, word | SLEEPERS)))
			syscall(SYS_futex, &mutex->word, FUTEX_WAIT, word | SLEEPERS,
				mutex_quantum_ms ? &quantum : NULL, NULL, 0);
		word = mutex->word;
	}
}

static void mutex_unlock(void)
{
	if (atomic_exchange(&mutex->word, 0) & SLEEPERS)
		syscall(SYS_futex, &mutex->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void own_until_all_sleep(void *arg)
{
	(void)arg;
	arrive();
	mutex_lock();
	t_sweep_rest();
	while (mutex->second != 1 || t_state(second_pid) != 'S')
		pause_ms(1);
	mutex_unlock();
}

static void lock_second(void *arg)
{
	(void)arg;
	arrive();
	t_sweep_rest();
	mutex->second = 1;
	mutex_lock();
	mutex->second = 2;
	mutex_unlock();
	t_sweep_rest();
}

static void begin_mutex(int64_t quantum_ms)
{
	mutex = t_sweep_map(sizeof(*mutex));
	t_sweep_check(t_token_init() == 0);
	mutex_quantum_ms = quantum_ms;
	second_pid = t_sweep_helper(lock_second, NULL);
	t_sweep_helper(own_until_all_sleep, NULL);
}

static void mutex_without_quantum(void)
{
	begin_mutex(0);
}

static void mutex_with_quantum(void)
{
	begin_mutex(20);
}

static bool second_has_locked(void *arg)
{
	(void)arg;
	return mutex->second == 2;
}

static void second_gets_the_mutex(const struct t_sweep_seen *seen)
{
	(void)seen;
	t_sweep_rouse();
	if (!t_wait_until(second_has_locked, NULL, mproc_after_ms(mutex_quantum_ms ? 5000 : 500)))
		t_sweep_fail("the second sleeper sleeps for ever, the mutex is %s",
			     mutex->word ? "owned by the dead" : "free");
}

/*
 * A question about the living asked through a descriptor that was closed, as a
 * daemon does, and whose number another file has got since.
 */

static struct stat token_file;
static bool (*owner_dead)(uint32_t token);
static uint32_t *holder; /* token of the helper that owns */

static bool dead_by_number(uint32_t token)
{
	return t_token_dead(token);
}

static bool leads_to_tokens(void)
{
	struct stat now;

	return fstat(t_token_fd, &now) == 0 && now.st_dev == token_file.st_dev &&
	       now.st_ino == token_file.st_ino;
}

static bool dead_by_file(uint32_t token)
{
	return leads_to_tokens() && t_token_dead(token) && leads_to_tokens();
}

static void own_for_ever(void *arg)
{
	(void)arg;
	arrive();
	*holder = me;
	triple_lock();
	t_sweep_rest();
}

static void begin_owned(bool (*dead)(uint32_t))
{
	begin_triple(no_log);
	holder = t_sweep_map(sizeof(*holder));
	t_sweep_check(fstat(t_token_fd, &token_file) == 0);
	owner_dead = dead;
	t_sweep_helper(own_for_ever, NULL);
}

static void owned_trusting(void)
{
	begin_owned(dead_by_number);
}

static void owned_careful(void)
{
	begin_owned(dead_by_file);
}

static void arrive_and_lose_the_file(void)
{
	int other;

	arrive();
	close(t_token_fd);
	other = memfd_create("log file", MFD_CLOEXEC);
	t_sweep_check(other >= 0 && (other == t_token_fd || dup2(other, t_token_fd) >= 0));
}

static int64_t inherit(void)
{
	uint32_t owner = triple->owner;

	return owner && owner_dead(owner) &&
	       atomic_compare_exchange_strong(&triple->owner, &owner, me);
}

static void owner_is_alone(const struct t_sweep_seen *seen)
{
	if (triple->owner != *holder || (seen->returned && seen->result))
		t_sweep_fail("mutual exclusion is broken: the owner lives");
}

static const struct t_sweep_case cases[] = {
	T_SWEEP("push", "Vyukov's ring", vyukov_of_two, push_12, ring_is_sound, .arrive = arrive,
		.must_fail = "the ring"),
	T_SWEEP("pop", "Vyukov's ring", vyukov_of_two, pop_one, ring_is_sound, .arrive = arrive,
		.must_fail = "the ring"),
	T_SWEEP("push", "ring of owned cells", owned_of_two, push_12, ring_is_sound,
		.arrive = arrive, .recover = push_13),
	T_SWEEP("pop", "ring of owned cells", owned_of_two, pop_one, ring_is_sound,
		.arrive = arrive, .recover = push_13),
	T_SWEEP("update of 3 words", "no log", triple_without_log, triple_update, triple_is_whole,
		.arrive = arrive, .must_fail = "torn"),
	T_SWEEP("update of 3 words", "log in the thread", triple_with_log_in_thread, triple_update,
		triple_is_whole, .arrive = arrive, .recover = triple_update,
		.flags = T_SWEEP_NESTED_ONLY, .must_fail = "torn"),
	T_SWEEP("update of 3 words", "log in the object", triple_with_log_in_object, triple_update,
		triple_is_whole, .arrive = arrive, .recover = triple_update),
	T_SWEEP("lock", "no quantum, 2 sleepers", mutex_without_quantum, mutex_lock,
		second_gets_the_mutex, .arrive = arrive, .must_fail = "woken from futex"),
	T_SWEEP("lock", "quantum, 2 sleepers", mutex_with_quantum, mutex_lock,
		second_gets_the_mutex, .arrive = arrive, .recover = mutex_lock),
	T_SWEEP("inherit", "recycled descriptor", owned_trusting, inherit, owner_is_alone,
		.arrive = arrive_and_lose_the_file, .must_fail = "mutual exclusion is broken"),
	T_SWEEP("inherit", "recycled, looked at", owned_careful, inherit, owner_is_alone,
		.arrive = arrive_and_lose_the_file, .flags = T_SWEEP_READ_ONLY),
};

int main(int argc, char **argv)
{
	return t_sweep_main(argc, argv, "controls", cases, sizeof(cases) / sizeof(cases[0]));
}
