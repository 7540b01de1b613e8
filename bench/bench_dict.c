/* SPDX-License-Identifier: MIT */

/*
 * A dict: reading and writing entries, alone and with four processes
 *
 * 4096 entries with keys of 16 bytes and values of 16 to 64; what is put replaces a
 * value of another length. Peers do the same: LMDB with its file on the same tmpfs and
 * without fsync, a transaction for each call.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mproc/dict.h>
#include <mproc/segment.h>

#ifdef HAVE_LMDB
#include <lmdb.h>
#endif

#include "bench/bench.h"

#define N     4096u
#define LEN   16u
#define N_PUT 10u /* of 100 calls */

/* A dict of whatever make. */
struct store {
	void (*get)(struct store *store, const char *key);
	void (*put)(struct store *store, const char *key, const char *value, size_t len);
	mproc_dict *dict;
#ifdef HAVE_LMDB
	MDB_env *env;
	MDB_dbi dbi;
	char path[64];
#endif
};

struct work {
	struct store *store;
	uint64_t random;
	unsigned put_percent;
};

static char keys[N][LEN + 1];

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void one_call(void *arg)
{
	static const char value[64] = "what is put";
	struct work *w = arg;
	uint64_t random = next_random(&w->random);
	const char *key = keys[random % N];

	if ((random >> 32) % 100 < w->put_percent)
		w->store->put(w->store, key, value, 16 + (random >> 40) % 49);
	else
		w->store->get(w->store, key);
}

static uint64_t call_until(const _Atomic(uint32_t) *stop, void *arg)
{
	struct work w = *(const struct work *)arg;
	uint64_t n = 0;

	w.random ^= (uint64_t)(uintptr_t)&w ^ (uint64_t)getpid() << 20;
	for (; !atomic_load_explicit(stop, memory_order_relaxed); n++)
		one_call(&w);
	return n;
}

static double run(const struct bench_case *c, struct store *store, unsigned put_percent)
{
	struct work w = { store, UINT64_C(0x9e3779b97f4a7c15), put_percent };

	for (uint32_t i = 0; i < N; i++) {
		snprintf(keys[i], sizeof(keys[i]), "key %012u", i);
		store->put(store, keys[i], "0123456789abcdef0123456789abcdef", 32);
	}
	if (c->procs > 1)
		return bench_rate(c->procs, call_until, &w, NULL);
	bench_pin(0);
	return 1e9 / bench_call_ns(one_call, &w, 1000);
}

/*
 * Ours
 */

static void mproc_get(struct store *store, const char *key)
{
	char buf[64];

	bench_check(mproc_dict_get(store->dict, key, LEN, buf, sizeof(buf), NULL) == 0);
}

static void mproc_put(struct store *store, const char *key, const char *value, size_t len)
{
	bench_check(mproc_dict_put(store->dict, key, LEN, value, len) >= 0);
}

static struct store *mproc_store(void)
{
	static struct store store = { .get = mproc_get, .put = mproc_put };
	mproc_segment *segment;

	bench_check(mproc_segment_create(&segment, NULL, MPROC_SEGMENT_OPTS(.bytes = 64 << 20)) ==
		    0);
	bench_check(mproc_dict_create(&store.dict, segment, NULL,
				      MPROC_DICT_OPTS(.n_expected = N)) == 0);
	return &store;
}

static double run_mproc_get(const struct bench_case *c)
{
	return run(c, mproc_store(), 0);
}

static double run_mproc_put(const struct bench_case *c)
{
	return run(c, mproc_store(), 100);
}

static double run_mproc_mixed(const struct bench_case *c)
{
	return run(c, mproc_store(), N_PUT);
}

/* Entries that come and go. */
static void insert_and_remove(void *arg)
{
	struct work *w = arg;
	const char *key = keys[next_random(&w->random) % N];

	bench_check(mproc_dict_remove(w->store->dict, key, LEN) == 0);
	bench_check(mproc_dict_put(w->store->dict, key, LEN, key, LEN) == 0);
}

static double run_mproc_churn(const struct bench_case *c)
{
	struct work w = { mproc_store(), 1, 0 };

	run(c, w.store, 0);
	return 2e9 / bench_call_ns(insert_and_remove, &w, 1000);
}

static void count_up(void *arg)
{
	struct work *w = arg;
	const char *key = keys[next_random(&w->random) % N];

	bench_check(mproc_dict_add_int(w->store->dict, key, LEN, 1, 0, NULL) >= 0);
}

static double run_mproc_add(const struct bench_case *c)
{
	struct work w = { mproc_store(), 1, 0 };

	(void)c;
	for (uint32_t i = 0; i < N; i++)
		snprintf(keys[i], sizeof(keys[i]), "key %012u", i);
	bench_pin(0);
	return 1e9 / bench_call_ns(count_up, &w, 1000);
}

#ifdef HAVE_LMDB
static void lmdb_get(struct store *store, const char *key)
{
	MDB_val k = { LEN, (void *)(uintptr_t)key }, v;
	static MDB_txn *txn;
	static int owner;
	char buf[64];

	/* A process keeps its reader, and renews it: the fastest way there is. */
	if (owner != getpid()) {
		bench_check(mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn) == 0);
		owner = getpid();
	} else {
		bench_check(mdb_txn_renew(txn) == 0);
	}
	bench_check(mdb_get(txn, store->dbi, &k, &v) == 0);
	memcpy(buf, v.mv_data, v.mv_size < sizeof(buf) ? v.mv_size : sizeof(buf));
	mdb_txn_reset(txn);
}

static void lmdb_put(struct store *store, const char *key, const char *value, size_t len)
{
	MDB_val k = { LEN, (void *)(uintptr_t)key }, v = { len, (void *)(uintptr_t)value };
	MDB_txn *txn;

	bench_check(mdb_txn_begin(store->env, NULL, 0, &txn) == 0);
	bench_check(mdb_put(txn, store->dbi, &k, &v, 0) == 0);
	bench_check(mdb_txn_commit(txn) == 0);
}

static void lmdb_open(struct store *store)
{
	MDB_txn *txn;

	bench_check(mdb_env_create(&store->env) == 0);
	bench_check(mdb_env_set_mapsize(store->env, 64 << 20) == 0);
	bench_check(mdb_env_open(store->env, store->path, MDB_NOSUBDIR | MDB_NOSYNC | MDB_WRITEMAP,
				 0600) == 0);
	bench_check(mdb_txn_begin(store->env, NULL, 0, &txn) == 0);
	bench_check(mdb_dbi_open(txn, NULL, 0, &store->dbi) == 0);
	bench_check(mdb_txn_commit(txn) == 0);
}

/* An environment must not be carried over a fork: each process opens its own. */
static uint64_t lmdb_until(const _Atomic(uint32_t) *stop, void *arg)
{
	struct work *w = arg;

	lmdb_open(w->store);
	return call_until(stop, w);
}

static double run_lmdb(const struct bench_case *c, unsigned put_percent)
{
	struct store store = { .get = lmdb_get, .put = lmdb_put };
	struct work w = { &store, UINT64_C(0x9e3779b97f4a7c15), put_percent };
	const char *dir = getenv("MPROC_DIR");
	char lock[80];
	double figure;

	snprintf(store.path, sizeof(store.path), "%.30s/bench_dict.%d", dir ? dir : "/dev/shm",
		 (int)getpid());
	snprintf(lock, sizeof(lock), "%s-lock", store.path);
	lmdb_open(&store);
	for (uint32_t i = 0; i < N; i++) {
		snprintf(keys[i], sizeof(keys[i]), "key %012u", i);
		lmdb_put(&store, keys[i], "0123456789abcdef0123456789abcdef", 32);
	}
	bench_pin(0);
	if (c->procs > 1) {
		mdb_env_close(store.env);
		figure = bench_rate(c->procs, lmdb_until, &w, NULL);
	} else {
		figure = 1e9 / bench_call_ns(one_call, &w, 100);
	}
	unlink(store.path);
	unlink(lock);
	return figure;
}

static double run_lmdb_get(const struct bench_case *c)
{
	return run_lmdb(c, 0);
}

static double run_lmdb_put(const struct bench_case *c)
{
	return run_lmdb(c, 100);
}

static double run_lmdb_mixed(const struct bench_case *c)
{
	return run_lmdb(c, N_PUT);
}
#endif

#define CALLS "calls", "/s"
#ifdef HAVE_LMDB
#define BEFORE "; >= 1x LMDB"
#else
#define BEFORE ""
#endif

static const struct bench_case cases[] = {
	{ "dict get", "mproc", "", 0, 1, CALLS, ">= 5e6; >= 500x Manager" BEFORE, false,
	  run_mproc_get },
	{ "dict put", "mproc", "", 0, 1, CALLS, ">= 5e6; >= 500x Manager" BEFORE, false,
	  run_mproc_put },
	{ "dict 90 % get", "mproc", "", 0, 4, CALLS, ">= 8e6" BEFORE, false, run_mproc_mixed },
	{ "dict remove and insert", "mproc", "", 0, 1, CALLS, NULL, false, run_mproc_churn },
	{ "dict add", "mproc", "", 0, 1, CALLS, NULL, false, run_mproc_add },
#ifdef HAVE_LMDB
	{ "dict get", "LMDB", "", 0, 1, CALLS, NULL, false, run_lmdb_get },
	{ "dict put", "LMDB", "", 0, 1, CALLS, NULL, false, run_lmdb_put },
	{ "dict 90 % get", "LMDB", "", 0, 4, CALLS, NULL, false, run_lmdb_mixed },
#endif
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
