/* SPDX-License-Identifier: MIT */

/*
 * The last records of many processes
 *
 *	ring	... | oldest | ... | youngest | free ...
 *		    ^ head                     ^ tail
 *
 * Who appends has the lock. He takes three steps:
 *
 *	1. head = behind the records that are to make room	they are gone
 *	2. the record is written behind the tail		nobody looks there
 *	3. tail = behind it					the commit
 *
 * The number of the record to come is in seq[], at the place that a bit of the tail names:
 * the next one is written to the other place before step 3, which thus commits both. So
 * there is nothing to repair: killed between two steps a writer leaves a log that is whole,
 * with room that somebody else will use. A lock that comes from the dead is just taken.
 *
 * Readers take no lock. One copies a record and then looks at the head: is it still not
 * beyond the record, nothing of it can have been overwritten, because the head is moved
 * before the room behind it is written (A1, pairs with R1). Otherwise what was copied is
 * thrown away and he goes on at the oldest record; its number says how many are missed.
 * Whoever is overtaken all the time takes the lock for one copy, with a deadline: a writer
 * who stands still inside has it, but then nobody overtakes.
 *
 * A header that is none of the oldest record, scribbled over, ends nothing: where the next
 * one begins is unknown, so who needs its room drops all that there is.
 *
 * Who removes a log makes that seen in the catalogue and then waits for those who are noted
 * inside (append, wait, a reader with the lock), whom it wakes. Readers without the lock are
 * not noted: they look at the catalogue after they have read, and what was read of memory
 * that is another's by then is thrown away.
 *
 * Nothing of shared memory is believed: lengths and positions are checked as copies, and
 * the loops over records end after as many as a ring can hold.
 */

#include <mproc/ringlog.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/kind.h"
#include "ipc/kind_layout.h"
#include "ipc/lock.h"
#include "ipc/opts.h"
#include "ipc/participant.h"
#include "ipc/waitable.h"
#include "shm/arena.h"
#include "shm/catalogue.h"
#include "shm/ringlog.h"
#include "shm/ringlog_layout.h"

#define MAGIC     UINT32_C(0x72696e67)
#define BYTES     UINT64_C(65536)
#define TEXT_MAX  4096
#define PATIENCE  64 /* times that a reader is overtaken before he keeps writers out */
#define KEEP_OUT  50 /* ms that he tries to, before he looks whether they still overtake him */
#define ROUNDS    4  /* of both */
#define TAIL_MASK (~UINT64_C(1))

struct mproc_ringlog {
	uint32_t magic, record_max;
	uint64_t cap, n_max;
	mproc_segment *segment;
	struct mproc__ringlog_shared *shared;
	struct mproc__object object;
	char name[MPROC__OBJECT_NAME_MAX + 1]; /* for texts */
};

static int log_init(void *mem, void *arg)
{
	struct mproc__ringlog_shared *s = mem;
	const struct mproc__ringlog_look *plan = arg;

	s->layout = MPROC__RINGLOG_LAYOUT;
	s->cap = plan->cap;
	s->n_max = plan->n_max;
	s->record_max = plan->record_max;
	return 0;
}

/* Return: 0, or -EINVAL or -E2BIG with a text. */
static int plan_of(struct mproc__ringlog_look *ret, const char *name,
		   const struct mproc_ringlog_opts *opts)
{
	struct mproc_ringlog_opts o;
	uint64_t bytes, cap = MPROC__RINGLOG_CAP_MIN, most;
	int r;

	r = mproc__opts_copy("create ringlog", &o, sizeof(o), opts);
	if (r < 0)
		return r;
	bytes = o.bytes ? o.bytes : BYTES;
	while (cap < bytes && cap < MPROC__RINGLOG_CAP_MAX)
		cap *= 2;
	most = cap / 8 < INT32_MAX ? cap / 8 : INT32_MAX;
	ret->cap = cap;
	ret->n_max = o.n_records;
	ret->record_max = o.record_max ? o.record_max : (uint32_t)most;
	if (bytes < MPROC__RINGLOG_CAP_MIN || bytes > MPROC__RINGLOG_CAP_MAX ||
	    !mproc__ringlog_geometry(cap, ret->record_max))
		return mproc__fail(-EINVAL,
				   "create ringlog %s: records of %" PRIu32
				   " bytes do not fit a ring of %" PRIu64
				   ", which may have 256 to 2^40 bytes",
				   name ? name : "(anonymous)", ret->record_max, bytes);
	return 0;
}

/* A handle on @object, which takes over one use of @segment if it succeeds. */
static int handle_new(mproc_ringlog **ret, mproc_segment *segment,
		      const struct mproc__object *object, const char *name)
{
	struct mproc__ringlog_look look;
	mproc_ringlog *log;

	if (!mproc__ringlog_look(object->mem, object->len, &look))
		return mproc__fail(-EBADMSG, "open ringlog %s: its geometry is impossible",
				   name ? name : "(anonymous)");
	log = calloc(1, sizeof(*log));
	if (!log)
		return mproc__fail(-ENOMEM, "ringlog: no memory for a handle");
	log->cap = look.cap;
	log->n_max = look.n_max;
	log->record_max = look.record_max;
	log->segment = segment;
	log->shared = object->mem;
	log->object = *object;
	strncpy(log->name, name ? name : "(anonymous)", sizeof(log->name) - 1);
	log->magic = MAGIC;
	*ret = log;
	return 0;
}

static int ref_way(struct mproc__object *ret, mproc_segment *segment,
		   const struct mproc__object_spec *spec)
{
	return mproc__object_open_ref(ret, segment, spec, spec->arg);
}

static int enter(mproc_ringlog **ret, mproc_segment *segment, const char *name,
		 const struct mproc__ringlog_look *plan, const struct mproc_ref *ref,
		 int (*way)(struct mproc__object *, mproc_segment *,
			    const struct mproc__object_spec *))
{
	const struct mproc__object_spec spec = {
		.what = "ringlog",
		.name = name,
		.kind = MPROC__KIND_RINGLOG,
		.len = plan ? sizeof(struct mproc__ringlog_shared) + plan->cap : 0,
		.type = MPROC__RINGLOG_LAYOUT,
		.init = log_init,
		.arg = ref ? (void *)ref : (void *)plan,
	};
	struct mproc__object object;
	int r, made;

	assert(ret);
	r = mproc__segment_ref(&segment, segment);
	if (r < 0)
		return r;
	made = way(&object, segment, &spec);
	r = made < 0 ? made : handle_new(ret, segment, &object, name);
	if (r < 0 && made >= 0 && way == mproc__object_create)
		(void)mproc__object_remove(segment, &object);
	if (r < 0)
		mproc_segment_close(segment);
	return r < 0 ? r : made;
}

int mproc_ringlog_create(mproc_ringlog **ret, mproc_segment *segment, const char *name,
			 const struct mproc_ringlog_opts *opts)
{
	struct mproc__ringlog_look plan;
	int r = plan_of(&plan, name, opts);

	return r < 0 ? r : enter(ret, segment, name, &plan, NULL, mproc__object_create);
}

int mproc_ringlog_open(mproc_ringlog **ret, mproc_segment *segment, const char *name)
{
	assert(name);
	return enter(ret, segment, name, NULL, NULL, mproc__object_open);
}

int mproc_ringlog_open_ref(mproc_ringlog **ret, mproc_segment *segment, const struct mproc_ref *ref)
{
	struct mproc_ref own;

	assert(ref);
	/* It may lie in shared memory. */
	memcpy(&own, ref, sizeof(own));
	return enter(ret, segment, NULL, NULL, &own, ref_way);
}

int mproc_ringlog_open_or_create(mproc_ringlog **ret, mproc_segment *segment, const char *name,
				 const struct mproc_ringlog_opts *opts)
{
	struct mproc__ringlog_look plan;
	int r = plan_of(&plan, name, opts);

	assert(name);
	while (r >= 0) {
		r = mproc_ringlog_open(ret, segment, name);
		if (r != -ENOENT)
			break;
		r = enter(ret, segment, name, &plan, NULL, mproc__object_create);
		if (r != -EEXIST)
			return r < 0 ? r : 1;
		r = 0; /* taken between the two: by now it can be found */
	}
	return r;
}

mproc_ringlog *mproc_ringlog_close(mproc_ringlog *log)
{
	if (!log)
		return NULL;
	assert(log->magic == MAGIC);
	mproc_segment_close(log->segment);
	log->magic = 0;
	free(log);
	return NULL;
}

size_t mproc_ringlog_record_max(const mproc_ringlog *log)
{
	assert(log && log->magic == MAGIC);
	return log->record_max;
}

static bool is_gone(const mproc_ringlog *log)
{
	return mproc__object_check(log->segment, &log->object) < 0;
}

static int gone(const mproc_ringlog *log)
{
	return mproc__fail(-ESTALE, "ringlog %s: it was removed", log->name);
}

/* @r, of what was read without a note, if it was the log's all the time. */
static int if_there(const mproc_ringlog *log, int r)
{
	/* Who frees the block has executed a fence after he made the entry's new word. */
	atomic_thread_fence(memory_order_acquire);
	return __builtin_expect(is_gone(log), 0) ? gone(log) : r;
}

int mproc_ringlog_ref(mproc_ringlog *log, struct mproc_ref *ret)
{
	assert(log && log->magic == MAGIC && ret);
	if (is_gone(log))
		return gone(log);
	*ret = mproc__object_ref(log->segment, &log->object);
	return 0;
}

static int corrupt(const mproc_ringlog *log, const char *what)
{
	return mproc__fail(-EBADMSG, "ringlog %s: %s", log->name, what);
}

static _Atomic(uint64_t) *word_at(const mproc_ringlog *log, uint64_t pos)
{
	return &log->shared->ring[(pos & (log->cap - 1)) / 8];
}

/*
 * The record at @pos, @room bytes before the tail.
 *
 * Return: false if there is none that is possible.
 */
static bool record_at(const mproc_ringlog *log, uint64_t pos, uint64_t room,
		      struct mproc__ringlog_record *ret)
{
	uint64_t words[MPROC__RINGLOG_WORDS];

	for (uint32_t i = 0; i < MPROC__RINGLOG_WORDS; i++)
		words[i] = atomic_load_explicit(word_at(log, pos + 8 * i), memory_order_relaxed);
	return mproc__ringlog_record(words, pos, room, log->record_max, ret);
}

/*
 * Writing
 */

/* Under the lock: where the head must be for a record of @size. */
static uint64_t make_room(const mproc_ringlog *log, const struct mproc__ringlog_look *now,
			  uint64_t size)
{
	struct mproc__ringlog_record record;
	uint64_t head = now->head;

	/* Each turn takes a record from what is at most a ring. */
	while (head != now->tail) {
		bool fits = log->cap - (now->tail - head) >= size;

		if (fits && !log->n_max)
			break;
		/* A flight recorder goes on: readers see by the numbers what they have missed. */
		if (!record_at(log, head, now->tail - head, &record))
			return now->tail;
		if (fits && now->seq - record.seq < log->n_max)
			break;
		head += record.size;
	}
	return head;
}

/* Under the lock: step 2. */
static void write_record(const mproc_ringlog *log, const struct mproc__self *me, uint64_t pos,
			 uint64_t seq, const unsigned char *bytes, size_t len)
{
	const struct mproc__proc *proc = &me->range->procs[me->proc];
	uint64_t pid = atomic_load_explicit(&proc->pid, memory_order_relaxed);
	const uint64_t words[MPROC__RINGLOG_WORDS] = {
		(uint64_t)len << 32 | mproc__ringlog_check(pos),
		seq,
		(uint64_t)mproc__clock_real(),
		pid << 32 | atomic_load_explicit(&me->rec->tid, memory_order_relaxed),
	};

	for (uint32_t i = 0; i < MPROC__RINGLOG_WORDS; i++)
		atomic_store_explicit(word_at(log, pos + 8 * i), words[i], memory_order_relaxed);
	pos += MPROC__RINGLOG_HEAD;
	for (size_t done = 0; done < len; done += 8) {
		uint64_t word = 0;

		memcpy(&word, bytes + done, len - done < 8 ? len - done : 8);
		atomic_store_explicit(word_at(log, pos + done), word, memory_order_relaxed);
	}
}

static int append_locked(const mproc_ringlog *log, const struct mproc__self *me, const void *bytes,
			 size_t len)
{
	struct mproc__ringlog_shared *s = log->shared;
	uint64_t size = mproc__ringlog_size(len), tail, head, which;
	struct mproc__ringlog_look now;

	tail = atomic_load_explicit(&s->tail, memory_order_relaxed);
	now.head = atomic_load_explicit(&s->head, memory_order_relaxed);
	now.tail = tail & TAIL_MASK;
	now.seq = atomic_load_explicit(&s->seq[tail & 1], memory_order_relaxed);
	if ((now.head | now.tail) & 7 || now.tail - now.head > log->cap)
		return corrupt(log, "its cursors do not fit its ring");
	head = make_room(log, &now, size);
	atomic_store_explicit(&s->head, head, memory_order_release);
	/* R1: who sees anything of what is written now sees where the head is. */
	atomic_thread_fence(memory_order_release);
	write_record(log, me, now.tail, now.seq, bytes, len);
	which = ~tail & 1;
	atomic_store_explicit(&s->seq[which], now.seq + 1, memory_order_relaxed);
	/* Release: the record stands before it can be found. */
	atomic_store_explicit(&s->tail, (now.tail + size) | which, memory_order_release);
	return 0;
}

static uint64_t what_of(const mproc_ringlog *log, const struct mproc__self *me)
{
	return mproc__what(MPROC__KIND_RINGLOG, mproc__self_off(me, log->shared));
}

/* Who is in the log, and the note of it. */
struct stay {
	struct mproc__self *me;
	uint64_t act;
};

/* Be noted, then see that the log is there: who removes it does it the other way round. */
static int come(const mproc_ringlog *log, struct stay *ret, const char *what)
{
	struct mproc__self *me = mproc__self(log->shared, what);

	if (!me)
		return mproc__self_error();
	ret->me = me;
	ret->act = mproc__act_begin(me, what_of(log, me));
	mproc__publish(me);
	if (__builtin_expect(!is_gone(log), 1))
		return 0;
	mproc__act_end(me, ret->act);
	return gone(log);
}

static void go(const struct stay *stay)
{
	mproc__act_end(stay->me, stay->act);
}

/* Come and take the lock. Return: 0 or negative. */
static int lock_log(const mproc_ringlog *log, struct stay *ret, const char *what, int64_t deadline)
{
	struct mproc__lock *lock = &log->shared->lock;
	int r = come(log, ret, what);

	if (r < 0)
		return r;
	r = mproc__lock_take(lock, ret->me, what_of(log, ret->me), deadline);
	if (r == MPROC__LOCK_INHERITED)
		mproc__lock_repaired(lock, ret->me);
	if (r < 0)
		go(ret);
	return r < 0 ? r : 0;
}

static void unlock_log(const mproc_ringlog *log, const struct stay *stay)
{
	mproc__lock_release(&log->shared->lock, stay->me);
	go(stay);
}

int mproc_ringlog_append(mproc_ringlog *log, const void *bytes, size_t len, int64_t deadline)
{
	struct stay stay;
	int r;

	assert(log && log->magic == MAGIC && (bytes || !len));
	if (len > log->record_max)
		return mproc__fail(-EMSGSIZE,
				   "ringlog %s: a record of %zu bytes, %" PRIu32 " is the most",
				   log->name, len, log->record_max);
	if (deadline < 0)
		return mproc__deadline_check("ringlog append", deadline);
	r = lock_log(log, &stay, "ringlog append", deadline);
	if (r < 0)
		return r;
	/* Who removes it has perhaps woken us: nobody would ever find the record. */
	r = is_gone(log) ? gone(log) : append_locked(log, stay.me, bytes, len);
	mproc__lock_release(&log->shared->lock, stay.me);
	if (r == 0)
		mproc__waitable_signal_all(&log->shared->waitable, stay.me);
	go(&stay);
	return r;
}

int mproc_ringlog_vprintf(mproc_ringlog *log, int64_t deadline, const char *fmt, va_list ap)
{
	char text[TEXT_MAX];
	size_t len;
	int n, r;

	assert(log && log->magic == MAGIC);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	if (n < 0)
		return mproc__fail(-EINVAL, "ringlog %s: the text cannot be formatted", log->name);
	len = (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
	if (len > log->record_max)
		len = log->record_max;
	r = mproc_ringlog_append(log, text, len, deadline);
	return r < 0 ? r : (size_t)n > len;
}

int mproc_ringlog_printf(mproc_ringlog *log, int64_t deadline, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = mproc_ringlog_vprintf(log, deadline, fmt, ap);
	va_end(ap);
	return r;
}

/*
 * Reading
 */

/* Was nothing overwritten from @pos on? After the copies that this is about. */
static bool still_there(const mproc_ringlog *log, uint64_t pos)
{
	/* A1, pairs with R1 in append_locked() */
	atomic_thread_fence(memory_order_acquire);
	return (int64_t)(pos - atomic_load_explicit(&log->shared->head, memory_order_relaxed)) >= 0;
}

/*
 * Where @iter stands, or the oldest record if that is behind.
 *
 * Return: 1 if there is a record at @ret_pos, 0 if there is none, -EAGAIN if head and tail
 * were of different moments, -EINVAL, -EBADMSG.
 */
static int stand(const mproc_ringlog *log, const struct mproc_ringlog_iter *iter, uint64_t *ret_pos,
		 uint64_t *ret_tail)
{
	uint64_t head = atomic_load_explicit(&log->shared->head, memory_order_acquire);
	uint64_t tail = atomic_load_explicit(&log->shared->tail, memory_order_acquire) & TAIL_MASK;
	uint64_t pos = iter->begun ? iter->pos : head;

	if ((head | tail) & 7 || tail - head > log->cap)
		return still_there(log, head) ? corrupt(log, "its cursors do not fit its ring")
					      : -EAGAIN;
	if ((int64_t)(pos - head) < 0)
		pos = head;
	if (pos & 7 || pos - head > tail - head)
		return mproc__fail(-EINVAL, "ringlog %s: the iterator is not one of it", log->name);
	*ret_pos = pos;
	*ret_tail = tail;
	return pos != tail;
}

static void copy_out(const mproc_ringlog *log, uint64_t pos, unsigned char *buf, size_t len)
{
	for (size_t done = 0; done < len; done += 8) {
		uint64_t word =
			atomic_load_explicit(word_at(log, pos + done), memory_order_relaxed);

		memcpy(buf + done, &word, len - done < 8 ? len - done : 8);
	}
}

/*
 * Try once.
 * @buf:	NULL: the record is not to be copied, and @iter stands before it, or at the end
 *
 * Return: as mproc_ringlog_next(), or -EAGAIN if it was overtaken.
 */
static int try_next(const mproc_ringlog *log, struct mproc_ringlog_iter *iter,
		    struct mproc__ringlog_record *ret, unsigned char *buf, size_t cap)
{
	uint64_t pos, tail;
	bool possible;
	int r;

	r = stand(log, iter, &pos, &tail);
	if (!buf && r >= 0) {
		iter->pos = pos;
		iter->begun = 1;
	}
	if (r <= 0)
		return r;
	possible = record_at(log, pos, tail - pos, ret);
	if (!still_there(log, pos))
		return -EAGAIN;
	if (!possible)
		return corrupt(log, "what should be a record is none");
	if (!buf)
		return 1;
	if (ret->len > cap)
		return mproc__fail(-ENOBUFS,
				   "ringlog %s: a record of %" PRIu32 " bytes, %zu to put it",
				   log->name, ret->len, cap);
	copy_out(log, pos + MPROC__RINGLOG_HEAD, buf, ret->len);
	if (!still_there(log, pos))
		return -EAGAIN;
	iter->pos = pos + ret->size;
	return 1;
}

static int overtaken(const mproc_ringlog *log)
{
	return mproc__fail(-EAGAIN, "ringlog %s: others append faster than it can be read",
			   log->name);
}

/*
 * Keep writers out for a moment. Return: 0, or 1 if that could not be done in time: one who
 * stands still has the lock, or others were quicker.
 */
static int keep_out(const mproc_ringlog *log, struct stay *ret, const char *what)
{
	int r;

	if (mproc__is_read_only(log->shared))
		return 1;
	r = lock_log(log, ret, what, mproc_after_ms(KEEP_OUT));
	return r == -ETIMEDOUT ? 1 : r;
}

/* The same until it is not overtaken. */
static int next(const mproc_ringlog *log, struct mproc_ringlog_iter *iter,
		struct mproc__ringlog_record *ret, unsigned char *buf, size_t cap)
{
	struct stay stay;
	int r;

	for (int i = 1; i <= PATIENCE * ROUNDS; i++) {
		r = try_next(log, iter, ret, buf, cap);
		if (r != -EAGAIN)
			return r;
		if (i % PATIENCE)
			continue;
		r = keep_out(log, &stay, "ringlog next");
		if (r < 0)
			return r;
		if (r)
			continue;
		r = try_next(log, iter, ret, buf, cap);
		unlock_log(log, &stay);
		return r == -EAGAIN ? corrupt(log, "it is written without its lock") : r;
	}
	return overtaken(log);
}

/* The cursors and the number of the record to come, of one instant. */
static int look_at(const mproc_ringlog *log, struct mproc__ringlog_look *ret)
{
	uint64_t len = sizeof(*log->shared) + log->cap;
	struct stay stay;
	int r;

	for (int i = 0; i < ROUNDS; i++) {
		if (!mproc__ringlog_look(log->shared, len, ret))
			return corrupt(log, "its geometry is impossible");
		if (ret->settled)
			return 0;
		r = keep_out(log, &stay, "ringlog seek");
		if (r < 0)
			return r;
		if (r)
			continue;
		r = mproc__ringlog_look(log->shared, len, ret) && ret->settled
			    ? 0
			    : corrupt(log, "it is written without its lock");
		unlock_log(log, &stay);
		return r;
	}
	return overtaken(log);
}

int mproc_ringlog_next(mproc_ringlog *log, struct mproc_ringlog_iter *iter,
		       struct mproc_ringlog_record *ret, void *buf, size_t cap)
{
	struct mproc__ringlog_record record;
	struct mproc_ringlog_iter it;
	unsigned char none;
	int r;

	assert(log && log->magic == MAGIC && iter && ret && (buf || !cap));
	it = *iter;
	r = if_there(log, next(log, &it, &record, buf ? buf : &none, cap));
	if (r <= 0)
		return r;
	*iter = it;
	*ret = (struct mproc_ringlog_record){
		.seq = record.seq,
		.n_missed = iter->begun ? record.seq - iter->seq : 0,
		.time = record.time,
		.pid = record.pid,
		.tid = record.tid,
		.len = record.len,
	};
	iter->n_missed += ret->n_missed;
	iter->seq = record.seq + 1;
	iter->begun = 1;
	return 1;
}

struct arrival {
	const mproc_ringlog *log;
	const struct mproc_ringlog_iter *iter;
};

static int try_arrival(void *arg)
{
	const struct arrival *arrival = arg;
	uint64_t pos, tail;
	int r;

	if (is_gone(arrival->log))
		return gone(arrival->log);
	r = stand(arrival->log, arrival->iter, &pos, &tail);
	/* Cursors of different moments: somebody is writing, so there is something. */
	return r == 0 ? -EAGAIN : r == -EAGAIN || r > 0 ? 0 : r;
}

int mproc_ringlog_wait(mproc_ringlog *log, const struct mproc_ringlog_iter *iter, int64_t deadline)
{
	struct arrival arrival = { log, iter };
	struct stay stay;
	int r;

	assert(log && log->magic == MAGIC && iter);
	if (deadline < 0)
		return mproc__deadline_check("ringlog wait", deadline);
	r = come(log, &stay, "ringlog wait");
	if (r < 0)
		return r;
	r = mproc__waitable_wait(&log->shared->waitable, stay.me, what_of(log, stay.me), deadline,
				 NULL, try_arrival, &arrival);
	go(&stay);
	return r;
}

static int seek(const mproc_ringlog *log, struct mproc_ringlog_iter *iter, uint64_t seq)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;
	struct mproc__ringlog_record record;
	struct mproc__ringlog_look now;
	int r;

	r = look_at(log, &now);
	if (r < 0)
		return r;
	if (seq == UINT64_MAX) {
		*iter = (struct mproc_ringlog_iter){ .pos = now.tail, .seq = now.seq, .begun = 1 };
		return 0;
	}
	if ((int64_t)(now.seq - seq) < 0)
		return mproc__fail(-EINVAL,
				   "ringlog %s: record %" PRIu64 " wanted, the next is %" PRIu64,
				   log->name, seq, now.seq);
	/* Each turn passes one of the records that are there now, or some that were dropped. */
	for (uint64_t i = 0; i <= log->cap / MPROC__RINGLOG_HEAD; i++) {
		r = next(log, &it, &record, NULL, 0);
		if (r < 0)
			return r;
		if (r == 0 || (int64_t)(record.seq - seq) >= 0) {
			/* What was dropped is counted when the next record is read. */
			it.seq = seq;
			*iter = it;
			return 0;
		}
		it.pos += record.size;
	}
	return corrupt(log, "it has more records than there is room for");
}

int mproc_ringlog_seek(mproc_ringlog *log, struct mproc_ringlog_iter *iter, uint64_t seq)
{
	struct mproc_ringlog_iter it;
	int r;

	assert(log && log->magic == MAGIC && iter);
	r = if_there(log, seek(log, &it, seq));
	if (r == 0)
		*iter = it;
	return r;
}

int mproc_ringlog_stats(mproc_ringlog *log, struct mproc_ringlog_stats *ret)
{
	struct mproc_ringlog_iter it = MPROC_RINGLOG_ITER;
	struct mproc__ringlog_record oldest;
	struct mproc__ringlog_look look;
	int r;

	assert(log && log->magic == MAGIC && ret);
	r = look_at(log, &look);
	if (r == 0)
		r = next(log, &it, &oldest, NULL, 0);
	r = if_there(log, r);
	if (r < 0)
		return r;
	*ret = (struct mproc_ringlog_stats){
		.n_appended = look.seq,
		.n_records = r && (int64_t)(look.seq - oldest.seq) > 0 ? look.seq - oldest.seq : 0,
		.bytes = look.tail - look.head <= log->cap ? look.tail - look.head : log->cap,
		.bytes_max = log->cap,
	};
	return 0;
}

static int dispose(struct mproc__range *range, struct mproc__self *me, uint64_t off, uint64_t len,
		   bool wait)
{
	mproc_segment *segment = mproc__segment_of(range);
	struct mproc__ringlog_shared *s = mproc__arena_at(segment, off, len);
	uint64_t what = mproc__what(MPROC__KIND_RINGLOG, off);

	if (!s || len < sizeof(*s))
		return 0;
	/* Who comes from now on sees that it is gone; who has come is noted. */
	mproc__fence_all(me);
	while (mproc__somebody_inside(me, what, !wait)) {
		mproc__wake_slow(&s->lock.sleepers, INT32_MAX);
		mproc__wake_slow(&s->waitable.sleepers, INT32_MAX);
		if (!wait)
			return 1;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return 0;
}

const struct mproc__kind mproc__kind_ringlog = {
	.id = MPROC__KIND_RINGLOG,
	.name = "ringlog",
	.dispose = dispose,
};
