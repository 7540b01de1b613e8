/* SPDX-License-Identifier: MIT */

/*
 * A condition without a list, for Spin
 *
 * Here each notification is a mark in the waiter's own record. Where it is one number in
 * the condition, up to which all tickets are notified, and the notification of one who
 * dies on his way passes on, this says what waiting, waking, deadlines and the reuse of
 * records must do, and nothing about the number or the passing on.
 *
 * There is no list of waiters. Under the mutex a waiter writes a ticket into its own
 * record, which queues it, lets the mutex go and sleeps on a word of its own; whoever
 * notifies scans the records under the mutex, marks those with the smallest tickets
 * that are not dead, each by one compare and swap of the ticket for a mark, and wakes
 * them. Every waiter takes the mutex again and only then looks whether it was marked,
 * whatever ended its sleep. What a search of all interleavings shows:
 *
 *	- notify(n) marks n of the living who wait, oldest first, or all if there are fewer
 *	- a wait returns success if, and only if, it was marked: a deadline that passes
 *	  meanwhile loses nothing, and the dead take no notification with them that came
 *	  after their death
 *	- without the quantum nobody who is marked and lives sleeps for ever, unless the
 *	  notifier was killed
 *	- a record whose thread died and that has a new owner is never marked for the old
 *
 * The mutex is one step each way: mutex.pml is about that. The wake-up is the one of
 * mutex.pml on a word with one sleeper, store buffer and kills as there. With QUANTUM a
 * sleep may end at any moment.
 *
 * MODEL short safety 1000 -DWAITERS=2 -DNOTIFIERS=1 -DN=1
 * MODEL short safety 2000 -DWAITERS=2 -DNOTIFIERS=1 -DN=1 -DDEADLINE
 * MODEL short safety 10000 -DWAITERS=2 -DNOTIFIERS=2 -DN=1
 * MODEL short safety 10000 -DWAITERS=2 -DNOTIFIERS=1 -DN=1 -DDEADLINE -DQUANTUM -DKILLS=1
 * MODEL long safety 100000 -DWAITERS=3 -DNOTIFIERS=1 -DN=2 -DDEADLINE
 * MODEL long safety 100000 -DWAITERS=2 -DNOTIFIERS=2 -DN=1 -DQUANTUM -DKILLS=1
 * MODEL long safety 100000 -DWAITERS=3 -DNOTIFIERS=1 -DN=2 -DKILLS=1 -DQUANTUM
 * BROKEN safety -DWAITERS=2 -DNOTIFIERS=1 -DN=1 -DBUG_LOOK_FIRST
 * BROKEN safety -DWAITERS=2 -DNOTIFIERS=1 -DN=1 -DBUG_NO_BARRIER
 * BROKEN safety -DWAITERS=2 -DNOTIFIERS=1 -DN=1 -DBUG_QUEUED_LATE
 * BROKEN safety -DWAITERS=2 -DNOTIFIERS=1 -DN=1 -DBUG_YOUNGEST_FIRST
 * BROKEN safety -DWAITERS=2 -DNOTIFIERS=1 -DN=1 -DDEADLINE -DBUG_LOOKED_TOO_SOON
 * BROKEN safety -DWAITERS=2 -DNOTIFIERS=1 -DN=1 -DKILLS=1 -DQUANTUM -DBUG_MARKS_THE_DEAD
 * BROKEN safety -DWAITERS=2 -DNOTIFIERS=1 -DN=1 -DKILLS=1 -DQUANTUM -DBUG_MARK_BY_STORE
 * BROKEN safety -DWAITERS=2 -DNOTIFIERS=1 -DN=1 -DKILLS=1 -DWAKES_MAY_BE_KILLED
 */

#ifndef KILLS
#define KILLS 0
#endif
#define PARTIES (WAITERS + NOTIFIERS) /* waiters come first */
#define NOBODY  255

/* Of a record: 0, a ticket, or MARKED. */
#define MARKED  100
#define FOREIGN 99 /* the ticket of the record's next owner, who waits for something else */
#define QUEUED(s) ((s) != 0 && (s) != MARKED && (s) != FOREIGN)

byte owner = NOBODY;
byte next_ticket = 1;
byte state[WAITERS];
byte buf[PARTIES] = NOBODY; /* a notifier's mark that nobody sees yet */

bool asleep[WAITERS], fresh[WAITERS], queued[WAITERS];
bool killed[PARTIES], gone[PARTIES];
bool finish;

/* What is claimed, no part of the algorithm. */
bool waits[WAITERS], marked[WAITERS];
byte place[WAITERS], n_places;
bool waker_killed;

#define DRAIN(p) \
	if \
	:: buf[p] != NOBODY -> state[buf[p]] = MARKED; buf[p] = NOBODY \
	:: else \
	fi

inline lock()
{
	atomic { owner == NOBODY || gone[owner] -> owner = i }
}

inline unlock()
{
	atomic {
		assert(owner == i);
		DRAIN(i);
		owner = NOBODY
	}
}

inline queue()
{
	atomic { state[i] = next_ticket; next_ticket++ }
}

inline begin_wait()
{
	atomic { waits[i] = true; n_places++; place[i] = n_places }
}

proctype Waiter(byte i)
{
	bool success;
	byte p;

	{
		lock();
		begin_wait();
#ifdef BUG_QUEUED_LATE
		unlock();
		queue();
#else
		queue();
		unlock();
#endif
again:
		if
		:: state[i] == MARKED
		:: else ->
			if
			:: finish -> goto out /* the search is over, not the wait */
			:: else
			fi;
			atomic { asleep[i] = true; fresh[i] = true }
#ifndef BUG_NO_BARRIER
			atomic {
				p = WAITERS;
				do
				:: p < PARTIES -> DRAIN(p); p++
				:: else -> break
				od;
				p = 0
			}
#endif
			if
			:: state[i] == MARKED
			:: else ->
				atomic { queued[i] = fresh[i]; fresh[i] = false }
				if
				:: atomic { !queued[i] -> skip }
				:: atomic { queued[i] && finish -> queued[i] = false }
#ifdef QUANTUM
				:: atomic { queued[i] -> queued[i] = false }
#endif
#ifdef DEADLINE
				:: atomic { queued[i] -> queued[i] = false }
					goto late
#endif
				fi;
				goto again
			fi
		fi;
late:
#ifdef BUG_LOOKED_TOO_SOON
		success = state[i] == MARKED;
		lock();
#else
		lock();
		success = state[i] == MARKED;
#endif
		atomic {
			assert(success == marked[i]);
			state[i] = 0;
			waits[i] = false
		}
		unlock();
out:		skip
	} unless {
		killed[i]
	}
}

/* The oldest who waits and lives, or NOBODY. Looked for record by record. */
inline find()
{
	atomic {
		was_gone = gone[0] | (gone[1] << 1);
#if WAITERS > 2
		was_gone = was_gone | (gone[2] << 2)
#endif
	}
	best = NOBODY;
	age = 0;
	j = 0;
	do
	:: j < WAITERS ->
		seen = state[j];
		if
#ifdef BUG_MARKS_THE_DEAD
		:: QUEUED(seen) &&
#else
		:: QUEUED(seen) && !gone[j] &&
#endif
#ifdef BUG_YOUNGEST_FIRST
			(best == NOBODY || seen > age) ->
#else
			(best == NOBODY || seen < age) ->
#endif
			best = j;
			age = seen
		:: else
		fi;
		j++
	:: else -> break
	od;
	j = 0;
	seen = 0
}

/* Nobody older who lives is passed over. */
inline check_order()
{
	j = 0;
	do
	:: j < WAITERS ->
		assert(!waits[j] || marked[j] || killed[j] || place[j] >= place[best]);
		j++
	:: else -> break
	od;
	j = 0
}

inline check_nobody_left()
{
	j = 0;
	do
	:: j < WAITERS -> assert(!waits[j] || marked[j] || killed[j]); j++
	:: else -> break
	od;
	j = 0
}

inline wake()
{
	atomic {
		if
		:: asleep[best] -> DRAIN(i); fresh[best] = false; ok = true
		:: else -> ok = false
		fi
	}
	if
	:: ok -> atomic { queued[best] = false; asleep[best] = false; ok = false }
	:: else
	fi
}

inline mark()
{
	/* A buffered store stands for the worst: a mark that is not even a locked instruction. */
	atomic {
#ifdef BUG_MARK_BY_STORE
		ok = true;
#else
		ok = state[best] == age;
#endif
		if
		:: ok ->
			assert(state[best] != FOREIGN);
			assert(!((was_gone >> best) & 1));
			check_order();
			buf[i] = best;
			marked[best] = true
		:: else
		fi
	}
}

proctype Notifier(byte i)
{
	byte n, j, best, seen, age, was_gone;
	bool ok;

	{
		lock();
		do
		:: n < N ->
			find();
			if
			:: best == NOBODY -> atomic { check_nobody_left() } break
			:: else
			fi;
#ifdef BUG_LOOK_FIRST
			ok = asleep[best];
			if
			:: ok -> mark(); wake()
			:: else -> mark(); ok = false
			fi;
			n++
#else
			mark();
			if
			:: ok -> n++; wake()
			:: else /* he has died meanwhile */
			fi
#endif
			;
			atomic { DRAIN(i) } /* the buffer has one place: the next mark pushes this one out */
			best = NOBODY;
			age = 0;
			was_gone = 0
		:: else -> break
		od;
		unlock()
	} unless {
		killed[i]
	}
}

proctype Machine()
{
	byte i;

end:	do
	:: atomic { buf[WAITERS] != NOBODY -> DRAIN(WAITERS) }
#if NOTIFIERS > 1
	:: atomic { buf[WAITERS + 1] != NOBODY -> DRAIN(WAITERS + 1) }
#endif
#if KILLS > 0
	:: atomic { killed[0] && !gone[0] -> gone[0] = true; queued[0] = false }
	:: atomic { killed[1] && !gone[1] -> gone[1] = true; queued[1] = false }
	/* Reaped, and the record is another's, who waits for something else. */
	:: atomic { gone[0] && state[0] != 0 && state[0] != FOREIGN -> state[0] = FOREIGN }
	:: atomic { gone[1] && state[1] != 0 && state[1] != FOREIGN -> state[1] = FOREIGN }
#if WAITERS > 2
	:: atomic { killed[2] && !gone[2] -> gone[2] = true; queued[2] = false }
	:: atomic { gone[2] && state[2] != 0 && state[2] != FOREIGN -> state[2] = FOREIGN }
#endif
	:: atomic { killed[WAITERS] && !gone[WAITERS] && buf[WAITERS] == NOBODY ->
		gone[WAITERS] = true }
#if NOTIFIERS > 1
	:: atomic { killed[WAITERS + 1] && !gone[WAITERS + 1] && buf[WAITERS + 1] == NOBODY ->
		gone[WAITERS + 1] = true }
#endif
#endif
	od
}

#if KILLS > 0
proctype Killer()
{
	byte n = KILLS;

	do
	:: n > 0 ->
		n--;
		if
		:: killed[0] = true
		:: killed[1] = true
#if WAITERS > 2
		:: killed[2] = true
#endif
		:: atomic { killed[WAITERS] = true; waker_killed = true }
#if NOTIFIERS > 1
		:: atomic { killed[WAITERS + 1] = true; waker_killed = true }
#endif
		fi
	:: break
	od
}
#endif

/* When nothing moves any more: who was marked and lives has returned. */
proctype Monitor()
{
	byte j;

	timeout;
	atomic {
		do
		:: j < WAITERS ->
#ifdef WAKES_MAY_BE_KILLED
			assert(!waits[j] || !marked[j] || killed[j]);
#else
			assert(!waits[j] || !marked[j] || killed[j] || waker_killed);
#endif
			j++
		:: else -> break
		od;
		finish = true
	}
}

init
{
	atomic {
		run Waiter(0);
		run Waiter(1);
#if WAITERS > 2
		run Waiter(2);
#endif
		run Notifier(WAITERS);
#if NOTIFIERS > 1
		run Notifier(WAITERS + 1);
#endif
		run Machine();
		run Monitor();
#if KILLS > 0
		run Killer()
#endif
	}
}
