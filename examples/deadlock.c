/* SPDX-License-Identifier: MIT */

/*
 * Two accounts, two locks, two transfers the opposite way: the deadlock of the
 * tutorials, foreseen while all goes well; then diagnosed from a third process; then the
 * same where it is refused
 */

#include <mproc/deadlock.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/event.h>
#include <mproc/mutex.h>

struct account {
	mproc_mutex mutex;
	mproc_event locked;
	int64_t balance;
};

static int account_init(void *object, void *arg)
{
	struct account *account = object;
	int r = mproc_mutex_init(&account->mutex, 0);

	(void)arg;
	return r < 0 ? r : mproc_event_init(&account->locked, 0);
}

static int transfer(struct account *from, struct account *to, int64_t amount)
{
	int r;

	r = mproc_mutex_lock(&from->mutex, MPROC_FOREVER);
	if (r < 0)
		return r;
	/* Only for the example: the other one has locked his by now. */
	mproc_event_set(&from->locked);
	r = mproc_event_wait(&to->locked, MPROC_FOREVER);
	if (r >= 0)
		r = mproc_mutex_lock(&to->mutex, MPROC_FOREVER);
	if (r >= 0) {
		from->balance -= amount;
		to->balance += amount;
		mproc_mutex_unlock(&to->mutex);
	}
	mproc_mutex_unlock(&from->mutex);
	return r;
}

static void tell(const struct mproc_deadlock *cycle, void *arg)
{
	(void)arg;
	printf("deadlock of %zu:\n", cycle->n_edges);
	for (size_t i = 0; i < cycle->n_edges; i++) {
		const struct mproc_deadlock_edge *edge = &cycle->edges[i];

		printf("  %s %" PRIu32 " waits for %s, held by %" PRIu32 "\n", edge->waiter.exe,
		       edge->waiter.pid, edge->lock, edge->holder.pid);
	}
}

/* Refused: give up what one has, and begin again. */
static int transfer_patiently(struct account *from, struct account *to, int64_t amount)
{
	int r;

	do {
		r = transfer(from, to, amount);
		if (r == -EDEADLK)
			printf("%s\n", mproc_error_text());
	} while (r == -EDEADLK);
	return r;
}

/* Their accounts, in a segment made with @flags. */
static int make(mproc_segment **ret, uint32_t flags, struct account *accounts[2])
{
	static const char *const names[] = { "alice", "bob" };
	void *object;
	int r;

	r = mproc_segment_create(ret, NULL, MPROC_SEGMENT_OPTS(.flags = flags));
	for (int i = 0; i < 2 && r >= 0; i++) {
		r = mproc_segment_object(&object, *ret, names[i], sizeof(struct account),
					 account_init, NULL);
		accounts[i] = object;
	}
	return r;
}

static void warn(const struct mproc_deadlock_pair *pair, void *arg)
{
	(void)arg;
	printf("%s and %s are taken in both orders\n", pair->first, pair->second);
}

/* One transfer after the other: nobody has to wait, and nothing seems to be wrong. */
static int rehearse(void)
{
	struct account *accounts[2];
	mproc_segment *segment;
	int r;

	r = make(&segment, MPROC_SEGMENT_LOCK_ORDER, accounts);
	for (int i = 0; i < 2 && r >= 0; i++) {
		mproc_event_set(&accounts[1 - i]->locked);
		r = transfer(accounts[i], accounts[1 - i], 10);
	}
	if (r < 0)
		return r;
	r = mproc_deadlock_order(segment, warn, NULL, NULL);
	mproc_segment_close(segment);
	return r;
}

/* Alice pays Bob, and Bob pays Alice, at the same time. */
static int run(uint32_t flags, pid_t pids[2], struct account *accounts[2])
{
	mproc_segment *segment;
	int r;

	r = make(&segment, flags, accounts);
	for (int i = 0; i < 2 && r >= 0; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			r = transfer_patiently(accounts[i], accounts[1 - i], 10 * (i + 1));
			fflush(stdout);
			_exit(r < 0);
		}
	}
	return r < 0 ? r : 0;
}

int main(void)
{
	struct account *accounts[2];
	pid_t pids[2];
	int r;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (rehearse() != 1) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	r = run(0, pids, accounts);
	while (r == 0) {
		usleep(1000);
		r = mproc_deadlock_check(NULL, tell, NULL);
	}
	if (r < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	/* Whoever is killed, the other one inherits his lock and goes on. */
	kill(pids[0], SIGKILL);
	while (wait(NULL) > 0)
		;
	r = run(MPROC_SEGMENT_DEADLOCK, pids, accounts);
	while (wait(NULL) > 0)
		;
	printf("alice %" PRId64 ", bob %" PRId64 "\n", accounts[0]->balance, accounts[1]->balance);
	return r < 0 || accounts[0]->balance != 10 || accounts[1]->balance != -10;
}
