/* SPDX-License-Identifier: MIT */

/*
 * A pool of connections behind a BoundedSemaphore, as tutorials have it
 *
 *	pool_sema = BoundedSemaphore(value=maxconnections)
 *	with pool_sema:
 *		conn = connectdb()
 *
 * Here the workers are processes, and one of them is killed while it is connected.
 * Python's semaphore would be one connection short from then on.
 */

#include <mproc/semaphore.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mproc/error.h>
#include <mproc/segment.h>

#define MAX_CONNECTIONS 2
#define WORKERS         5
#define QUERIES         20

/* Lies in the segment. */
struct database {
	MPROC_SEMAPHORE_WITH(MAX_CONNECTIONS) connections;
	_Atomic(int) queries;
};

static int database_init(void *object, void *arg)
{
	struct database *db = object;

	(void)arg;
	return mproc_semaphore_init(&db->connections.semaphore, MPROC_SEMAPHORE_PERMITS,
				    MAX_CONNECTIONS, NULL);
}

static int work(struct database *db)
{
	for (int i = 0; i < QUERIES; i++) {
		int r = mproc_semaphore_acquire(&db->connections.semaphore, mproc_after_ms(5000));

		if (r < 0)
			return r;
		db->queries++;
		usleep(100);
		mproc_semaphore_release(&db->connections.semaphore, 1);
	}
	return 0;
}

static void die_connected(struct database *db)
{
	if (mproc_semaphore_acquire(&db->connections.semaphore, MPROC_FOREVER) == 0)
		raise(SIGKILL);
	_exit(1);
}

int main(void)
{
	struct database *db;
	int bad = 0, status, r;
	void *object;

	r = mproc_segment_object(&object, NULL, "database", sizeof(*db), database_init, NULL);
	if (r < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	db = object;
	for (int i = 0; i < MAX_CONNECTIONS; i++)
		if (fork() == 0)
			die_connected(db);
	while (wait(&status) > 0)
		bad |= !WIFSIGNALED(status);
	for (int i = 0; i < WORKERS; i++)
		if (fork() == 0)
			_exit(work(db) < 0);
	while (wait(&status) > 0)
		bad |= status;
	printf("%d died connected; %d queries, %d of %d connections are free\n", MAX_CONNECTIONS,
	       db->queries, mproc_semaphore_value(&db->connections.semaphore), MAX_CONNECTIONS);
	/* One release too many is an error and changes nothing. */
	r = mproc_semaphore_release(&db->connections.semaphore, 1);
	printf("one release more: %s\n", r == -ERANGE ? mproc_error_text() : "?");
	return bad || r != -ERANGE || db->queries != WORKERS * QUERIES ||
	       mproc_semaphore_value(&db->connections.semaphore) != MAX_CONNECTIONS;
}
