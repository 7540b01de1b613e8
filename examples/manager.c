/* SPDX-License-Identifier: MIT */

/*
 * What the tutorials of Python do with a Manager, without one
 *
 *	with Manager() as m:
 *	    d, l, ns, lock = m.dict(), m.list(range(10)), m.Namespace(), m.Lock()
 *	    q, v, a = m.JoinableQueue(), m.Value('i', 0), m.Array('i', 5)
 *	    ps = [Process(target=f, args=(i, d, l, ns, lock, q, v, a)) for i in range(5)]
 *
 * Five processes share all of it by handles that they inherit, another program would by the
 * names; at the end it adds up to the last unit, or the exit status tells.
 */

#include <mproc/mproc.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES 5
#define TIMES     1000
#define JOBS      100

static mproc_dict *dict, *seen;
static mproc_list *list, *inner;
static mproc_namespace *ns;
static mproc_queue *jobs;
static mproc_value *value;
static mproc_array *array;

/* What a custom manager would keep in its server process. */
struct account {
	mproc_mutex lock;
	mproc_latch undone; /* jobs of the queue that nobody has done yet */
	int64_t mine, yours;
};

static struct account *account;

static int account_init(void *object, void *arg)
{
	struct account *a = object;

	(void)arg;
	a->mine = 10000;
	if (mproc_mutex_init(&a->lock, 0) < 0)
		return -EINVAL;
	return mproc_latch_init(&a->undone, JOBS);
}

/* m.dict(), m.list(), ...: in the default segment, which five children will inherit. */
static int make_all(void)
{
	void *object;
	int r = 0;

	r |= mproc_dict_create(&dict, NULL, "d", NULL);
	r |= mproc_dict_create(&seen, NULL, "seen", NULL);
	r |= mproc_list_create(&list, NULL, "l", NULL);
	r |= mproc_list_create(&inner, NULL, NULL, NULL);
	r |= mproc_namespace_create(&ns, NULL, "ns");
	r |= mproc_queue_create(&jobs, NULL, "q", MPROC_QUEUE_OPTS(.depth = 8, .msg_max = 8));
	r |= mproc_value_create(&value, NULL, "v", MPROC_VALUE_OPTS(.type = MPROC_TYPE(int)));
	r |= mproc_array_create(&array, NULL, "a",
				MPROC_ARRAY_OPTS(.type = MPROC_TYPE(int), .n_items = PROCESSES));
	if (r < 0)
		return r;
	r = mproc_segment_object(&object, NULL, "account", sizeof(*account), account_init, NULL);
	if (r >= 0)
		account = object;
	return r;
}

/*
 * In each child
 */

static int use_dict(int i)
{
	char key[32];
	int r;

	snprintf(key, sizeof(key), "square of %d", i);
	r = mproc_dict_put_int(dict, key, i * i);
	for (int n = 0; r >= 0 && n < TIMES; n++)
		r = mproc_dict_add_int(dict, "calls", 5, 1, 0, NULL);
	return r;
}

/* m.set(): a dict whose values are nothing; the one who is told 0 was the first. */
static int use_set(void)
{
	int r = 0;

	for (int64_t n = 0; r >= 0 && n < 20; n++)
		r = mproc_dict_put(seen, &n, sizeof(n), NULL, 0);
	return r;
}

/* A list in a dict: found by its reference, in whatever process. */
static int use_nested(int i)
{
	struct mproc_ref ref;
	mproc_list *l;
	int r;

	r = mproc_dict_get_ref(dict, "inner", &ref);
	if (r >= 0)
		r = mproc_list_open_ref(&l, NULL, &ref);
	if (r < 0)
		return r;
	r = mproc_list_append(l, i, MPROC_FOREVER);
	mproc_list_close(l);
	return r;
}

/* What is more than one call: under the lock. */
static int transfer(void)
{
	int r = mproc_mutex_lock(&account->lock, mproc_after_ms(5000));

	if (r < 0)
		return r;
	if (r == MPROC_MUTEX_INHERITED) { /* somebody was killed between the two lines below */
		account->yours = 10000 - account->mine;
		r = mproc_mutex_consistent(&account->lock);
	}
	account->mine--;
	account->yours++;
	mproc_mutex_unlock(&account->lock);
	return r;
}

/* q.get(), q.task_done() until there are no jobs left. */
static int do_jobs(void)
{
	int64_t job;
	int r;

	while ((r = mproc_queue_get(jobs, &job, sizeof(job), NULL, MPROC_FOREVER)) == 0) {
		r = mproc_list_append(list, job * job, MPROC_FOREVER);
		if (r < 0)
			return r;
		mproc_latch_count_down(&account->undone, 1);
	}
	return r == -EPIPE ? 0 : r;
}

static int use_cells(int i)
{
	int64_t step = 0;
	int r = mproc_namespace_get_int(ns, "step", &step);

	for (int n = 0; r >= 0 && n < TIMES; n++) {
		r = mproc_value_add(value, int, (int)step, NULL);
		if (r >= 0)
			r = mproc_array_add(array, int, (uint64_t)i, i, NULL);
		if (r >= 0)
			r = transfer();
	}
	return r;
}

static int child(int i)
{
	int r = use_dict(i);

	if (r >= 0)
		r = use_set();
	if (r >= 0)
		r = use_nested(i);
	if (r >= 0)
		r = use_cells(i);
	if (r >= 0)
		r = do_jobs();
	if (r < 0)
		fprintf(stderr, "child %d: %s\n", i, mproc_error_text());
	return r < 0;
}

/*
 * In the parent
 */

/* q.put() for each job, q.join() */
static int give_jobs(void)
{
	int r = 0;

	for (int64_t job = 0; r >= 0 && job < JOBS; job++)
		r = mproc_queue_put(jobs, &job, sizeof(job), mproc_after_ms(10000));
	if (r >= 0)
		r = mproc_latch_wait(&account->undone, mproc_after_ms(10000));
	return mproc_queue_shutdown(jobs) < 0 ? -1 : r;
}

/* m.Pool(5).map(square, range(10)) */
MPROC_TASK_DECLARE(int64_t, square, (val, int64_t, x));

MPROC_TASK(int64_t, square, (val, int64_t, x))
{
	return x * x;
}

static int use_pool(void)
{
	struct square_args args[10];
	int64_t squares[10];
	mproc_pool *pool;
	int r;

	for (int64_t i = 0; i < 10; i++)
		args[i].x = i;
	r = mproc_pool_create(&pool, NULL, NULL, MPROC_POOL_OPTS(.workers = PROCESSES));
	if (r < 0)
		return r;
	r = mproc_pool_map(pool, &square_task, args, sizeof(args[0]), squares, sizeof(squares[0]),
			   10, 0, MPROC_FOREVER);
	mproc_pool_close(pool);
	for (int64_t i = 0; r >= 0 && i < 10; i++)
		r = squares[i] == i * i ? r : -EBADMSG;
	return r;
}

static int wrong(const char *what, int64_t is, int64_t should_be)
{
	printf("%-22s %" PRId64 "\n", what, is);
	if (is != should_be)
		fprintf(stderr, "%s: should be %" PRId64 "\n", what, should_be);
	return is != should_be;
}

/* print(sorted(l)[-1]); a list of what five processes appended, none of it lost */
static int check_list(void)
{
	struct mproc_list_iter it = MPROC_LIST_ITER;
	struct mproc_any item;
	int64_t sum = 0;
	int r;

	r = mproc_list_sort(list, NULL, NULL, MPROC_FOREVER);
	while (r >= 0 && (r = mproc_list_next(list, &it, &item, NULL, 0, NULL, MPROC_FOREVER)) > 0)
		sum += item.as.i;
	if (r >= 0)
		r = mproc_list_get(list, -1, &item, NULL, 0, NULL, MPROC_FOREVER);
	return r < 0 || wrong("largest of the list", item.as.i, 99 * 99) ||
	       wrong("sum of the list", sum, 99 * 100 * 199 / 6);
}

static int check_all(void)
{
	int64_t calls = 0, square_of_4 = 0, balance;
	int n = 0, items[PROCESSES] = { 0 }, sum = 0, bad = 0;

	bad |= mproc_dict_get_int(dict, "calls", &calls) < 0;
	bad |= mproc_dict_get_int(dict, "square of 4", &square_of_4) < 0;
	bad |= mproc_value_load(value, int, &n) < 0;
	bad |= mproc_array_copy_out(array, int, 0, PROCESSES, items, MPROC_FOREVER) != 0;
	for (int i = 0; i < PROCESSES; i++)
		sum += items[i];
	balance = account->mine + account->yours;
	bad |= wrong("calls in the dict", calls, PROCESSES * TIMES);
	bad |= wrong("square of 4", square_of_4, 16);
	bad |= wrong("in the set", mproc_dict_len(seen), 20);
	bad |= wrong("in the nested list", (int64_t)mproc_list_len(inner), PROCESSES);
	bad |= wrong("the value", n, PROCESSES * TIMES * 3);
	bad |= wrong("sum of the array", sum, (0 + 1 + 2 + 3 + 4) * TIMES);
	bad |= wrong("transferred", account->yours, PROCESSES * TIMES);
	bad |= wrong("balance", balance, 10000);
	return bad | check_list();
}

int main(void)
{
	int status, bad = 0;
	struct mproc_ref ref;

	if (make_all() < 0 || mproc_namespace_set_int(ns, "step", 3) < 0 ||
	    mproc_list_ref(inner, &ref) < 0 || mproc_dict_put_ref(dict, "inner", ref) < 0) {
		fprintf(stderr, "%s\n", mproc_error_text());
		return 1;
	}
	for (int i = 0; i < PROCESSES; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(child(i));
		bad |= pid < 0;
	}
	if (give_jobs() < 0) {
		fprintf(stderr, "the jobs: %s\n", mproc_error_text());
		bad = 1;
	}
	while (wait(&status) > 0)
		bad |= status;
	if (use_pool() < 0) {
		fprintf(stderr, "the pool: %s\n", mproc_error_text());
		bad = 1;
	}
	return bad | check_all() ? 1 : 0;
}
