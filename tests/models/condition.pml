/* SPDX-License-Identifier: MIT */

/*
 * The waiting of ipc/condition.c, for Spin
 *
 * Waiters draw tickets and are queued by a word in their own records; one number says up
 * to which ticket all are notified; the notification of one who dies before he has left
 * passes on to the living one who has waited longest, by whoever has the lock: a notifier,
 * the next waiter, a sleeper at the end of his quantum, the reaper. His record says first
 * to which ticket (moved). What a search of all interleavings shows:
 *
 *	- a notification is neither lost nor doubled, at any instant: as many as were given
 *	  have ended a wait, are on their way (on_way below), or were those of dead ones
 *	  when nobody who lived waited. So notify(1) ends one wait, a deadline that passes
 *	  meanwhile loses nothing, and what a death leaves passes on exactly once
 *	- without kills and without the quantum nobody who is notified sleeps for ever
 *	- with kills, when the quantum has passed, nobody who is notified and lives has not
 *	  returned, and nobody who lives waits while a dead one has a notification
 *	- a record is not written for a dead one after it was freed
 *
 * The mutex and the lock are one step each way, a wake-up is one step: mutex.pml is about
 * these, and about the barrier between a change and the look at who sleeps. A kill stops
 * a process between any two stores. A quantum ends when nothing else moves (TICKS times)
 * and with EARLY, once for each waiter, at any moment. Scans are one step: of what they
 * read all but the deaths changes under the lock alone, and a death may come right after.
 *
 * WAITING and NOTIFIED begin where all wait already (1: the first record first, 2: the
 * last) and so many of them are notified.
 *
 * MODEL short safety 2000 -DWAITERS=2
 * MODEL short safety 300000 -DWAITERS=3 -DCALLS=2 -DDEADLINE
 * MODEL short safety 200000 -DWAITERS=2 -DKILLS=1 -DTICKS=1 -DDEADLINE
 * MODEL short safety 200000 -DWAITERS=3 -DKILLS=1 -DTICKS=1 -DWAITING=1
 * MODEL long safety 1000000 -DWAITERS=3 -DKILLS=2 -DEARLY -DTICKS=1 -DWAITING=2 -DNOTIFIED=1 -DWAITERS_DIE
 * BROKEN safety -DWAITERS=2 -DKILLS=1
 * BROKEN safety -DWAITERS=2 -DBUG_WAKES_FIRST
 * BROKEN safety -DWAITERS=2 -DBUG_ALWAYS_ALL
 * BROKEN safety -DWAITERS=2 -DDEADLINE -DBUG_LATE_IS_LATE
 * BROKEN safety -DWAITERS=2 -DKILLS=1 -DTICKS=1 -DBUG_FREES_FIRST
 * BROKEN safety -DWAITERS=3 -DKILLS=2 -DEARLY -DTICKS=1 -DWAITING=2 -DNOTIFIED=1 -DWAITERS_DIE -DBUG_NOT_WRITTEN_DOWN
 * BROKEN safety -DWAITERS=3 -DKILLS=2 -DEARLY -DTICKS=1 -DWAITING=2 -DNOTIFIED=1 -DWAITERS_DIE -DBUG_MOVED_IN_TURN -DBUG_ARRIVES_AT_THE_DEAD
 */

#ifndef KILLS
#define KILLS 0
#endif
#ifndef TICKS
#define TICKS 0
#endif
#ifndef CALLS
#define CALLS 1
#endif
#ifndef N
#define N 1
#endif
#define NOTIFIER WAITERS /* waiters come first, each with the record of his number */
#define REAPER   (WAITERS + 1)
#define PARTIES  (WAITERS + 2)
#define NOBODY   255

byte mutex = NOBODY, lock = NOBODY;
byte last_ticket, notified;

/* The records. */
bool queued[WAITERS], moved[WAITERS], asleep[WAITERS];
byte ticket[WAITERS];
bool freed[WAITERS];

bool killed[PARTIES], tick[WAITERS];

/* What is claimed, no part of the algorithm. */
byte given, ended, left_over;

#define WAITS(j) (queued[j] && !moved[j] && ticket[j] > notified)

/* Does the notification of @j's record count? One that moves has arrived or has not. */
#define ON_WAY(j) (queued[j] && (moved[j] != (ticket[j] <= notified)))

#if WAITERS == 2
#define ALL_ON_WAY ON_WAY(0) + ON_WAY(1)
#elif WAITERS == 3
#define ALL_ON_WAY ON_WAY(0) + ON_WAY(1) + ON_WAY(2)
#else
#define ALL_ON_WAY ON_WAY(0) + ON_WAY(1) + ON_WAY(2) + ON_WAY(3)
#endif

/* Who finds the owner dead inherits, and has nothing to repair. */
#define FREE(what) (what == NOBODY || killed[what])
#define TAKE_BOTH atomic { FREE(mutex) && FREE(lock) -> mutex = i; lock = i }
#define RELEASE_BOTH atomic { mutex = NOBODY; lock = NOBODY }
#define TAKE_LOCK atomic { FREE(lock) -> lock = i }
#define RELEASE_LOCK lock = NOBODY


/* The living one who waits with the least ticket above @after, or NOBODY. The dead go out. */
inline first_living_above(after)
{
	best = NOBODY;
	x = 0;
	do
	:: x < WAITERS ->
		if
		:: queued[x] && !moved[x] && ticket[x] > after && !killed[x] &&
			(best == NOBODY || ticket[x] < ticket[best]) -> best = x
		:: else
		fi;
		x++
	:: else -> break
	od;
	x = 0;
	do
	:: x < WAITERS ->
		if
		:: queued[x] && !moved[x] && ticket[x] > after && killed[x] &&
			(best == NOBODY || ticket[x] < ticket[best]) -> queued[x] = false
		:: else
		fi;
		x++
	:: else -> break
	od;
	x = 0
}

#define NOTHING 0
#define ARRIVED 1
#define DELIVER 2
#define CHOOSE  3

/* What is to be done with the record of @j, and who is next. */
inline look_at()
{
	d_step {
		todo = NOTHING;
		best = NOBODY;
		if
#ifdef BUG_MOVED_IN_TURN
		:: queued[j] && killed[j] && (moved[j] || ticket[j] <= notified) ->
#else
		:: queued[j] && killed[j] && moved[j] == !others &&
			(moved[j] || ticket[j] <= notified) ->
#endif
			todo = CHOOSE;
			if
			:: moved[j] && ticket[j] <= notified -> todo = ARRIVED
			:: moved[j] && ticket[j] > notified ->
				x = 0;
				do
				:: x < WAITERS ->
					if
					:: queued[x] && !moved[x] &&
#ifndef BUG_ARRIVES_AT_THE_DEAD
						!killed[x] &&
#endif
						ticket[x] == ticket[j] -> todo = DELIVER; best = x
					:: else
					fi;
					x++
				:: else -> break
				od;
				x = 0
			:: else
			fi;
			if
			:: todo == CHOOSE -> first_living_above(notified)
			:: else
			fi
		:: else
		fi;
		if
		:: best != NOBODY -> to = ticket[best]
		:: else -> to = 0
		fi
	}
}

inline take_out(r)
{
	queued[r] = false
}

/* A notification passes from @j to @best. */
inline move()
{
#ifndef BUG_NOT_WRITTEN_DOWN
	atomic {
		if
		:: todo == CHOOSE -> assert(!freed[j]); ticket[j] = to; moved[j] = true
		:: else
		fi
	}
#endif
#ifdef BUG_WAKES_FIRST
	asleep[best] = false;
	notified = to;
	take_out(j)
#else
	notified = to;
	take_out(j);
	asleep[best] = false
#endif
}

inline pass_on()
{
	do
	:: atomic { j < WAITERS ->
		look_at() }
		if
		:: todo == NOTHING
		:: todo == ARRIVED -> take_out(j)
		:: todo >= DELIVER && best != NOBODY -> move()
		:: todo == CHOOSE && best == NOBODY ->
			atomic { queued[j] = false; left_over++ }
		fi;
		atomic { todo = NOTHING; best = NOBODY; to = 0; j++ }
#ifdef BUG_MOVED_IN_TURN
	:: atomic { j == WAITERS -> j = 0; break }
#else
	:: atomic { j == WAITERS && !others -> others = true; j = 0 }
	:: atomic { j == WAITERS && others -> others = false; j = 0; break }
#endif
	od
}

proctype Waiter(byte i)
{
	byte j, x, best = NOBODY, todo, to;
	bool others, early, late, success;

	{
#ifndef WAITING
		TAKE_BOTH;
		pass_on();
		last_ticket++;
		ticket[i] = last_ticket;
		queued[i] = true;
		RELEASE_BOTH;
#endif
		do
		:: ticket[i] <= notified -> break
		:: else ->
			asleep[i] = true;
			if
			:: ticket[i] <= notified -> break
			:: else
			fi;
end_asleep:		if
			:: atomic { !asleep[i] -> skip }
#if TICKS > 0
			:: atomic { asleep[i] && tick[i] -> tick[i] = false }
				TAKE_LOCK;
				pass_on();
				RELEASE_LOCK
#endif
#ifdef EARLY
			:: atomic { asleep[i] && !early -> early = true }
				TAKE_LOCK;
				pass_on();
				RELEASE_LOCK
#endif
#ifdef DEADLINE
			:: atomic { asleep[i] -> late = true; break }
#endif
			fi
		od;
		atomic {
			FREE(mutex) && FREE(lock);
			success = ticket[i] <= notified;
#ifdef BUG_LATE_IS_LATE
			success = success && !late;
#endif
			queued[i] = false;
			ended = ended + success
		}
	} unless {
		killed[i]
	}
}

inline count_waiting()
{
	d_step {
		waiting = 0;
		j = 0;
		do
		:: j < WAITERS ->
			if
			:: WAITS(j) && killed[j] -> queued[j] = false
			:: WAITS(j) && !killed[j] -> waiting++
			:: else
			fi;
			j++
		:: else -> break
		od;
		j = 0
	}
}

/* Of which ticket is the last one to notify? */
inline choose_last()
{
	d_step {
		last = notified;
		count = 0;
		if
		:: N >= waiting -> last = last_ticket; count = waiting
		:: else ->
			do
			:: count < N ->
				first_living_above(last);
				if
				:: best == NOBODY -> break
				:: else -> last = ticket[best]; count++
				fi
			:: else -> break
			od
		fi;
#ifdef BUG_ALWAYS_ALL
		last = last_ticket;
#endif
		before = notified;
		best = NOBODY;
		waiting = 0
	}
}

inline wake_those()
{
	do
	:: j < WAITERS ->
		if
		:: queued[j] && ticket[j] > before && ticket[j] <= last -> asleep[j] = false
		:: else
		fi;
		j++
	:: else -> atomic { j = 0; break }
	od
}

proctype Notifier(byte i)
{
	byte j, x, best = NOBODY, todo, to, calls, waiting, count, last, before;
	bool others;

	{
		do
		:: calls < CALLS ->
			TAKE_BOTH;
			pass_on();
			count_waiting();
			choose_last();
#ifdef BUG_WAKES_FIRST
			wake_those();
#endif
			/* One store; the rest is for the claim. */
			atomic {
				notified = last;
				given = given + count
			}
#ifndef BUG_WAKES_FIRST
			wake_those();
#endif
			RELEASE_BOTH;
			atomic { calls++; last = 0; count = 0; before = 0 }
		:: else -> break
		od
	} unless {
		killed[i]
	}
}

#if KILLS > 0
#define REAPABLE(n) killed[n] && !freed[n]

proctype Reaper(byte i)
{
	byte j, x, best = NOBODY, todo, to, r;
	bool others;

	{
end_idle:	do
		:: atomic {
				if
				:: REAPABLE(0) -> r = 0
				:: REAPABLE(1) -> r = 1
#if WAITERS > 2
				:: REAPABLE(2) -> r = 2
#endif
#if WAITERS > 3
				:: REAPABLE(3) -> r = 3
#endif
				fi
			}
#ifndef BUG_FREES_FIRST
			if
			:: queued[r] ->
				TAKE_LOCK;
				pass_on();
				take_out(r);
				RELEASE_LOCK
			:: else
			fi;
#endif
			atomic { queued[r] = false; freed[r] = true; r = 0 }
		od
	} unless {
		killed[i]
	}
}

proctype Killer()
{
	byte n = KILLS;

	do
	:: n > 0 ->
		atomic {
			n--;
			if
			:: killed[0] = true
			:: killed[1] = true
#if WAITERS > 2
			:: killed[2] = true
#endif
#if WAITERS > 3
			:: killed[3] = true
#endif
#ifndef WAITERS_DIE
			:: killed[NOTIFIER] = true
			:: killed[REAPER] = true
#endif
			fi
		}
	:: break
	od
}
#endif

/* No notification is lost or doubled. */
proctype Law()
{
end_holds:
	atomic {
		given != ended + left_over + ALL_ON_WAY -> assert(false)
	}
}

/* When nothing moves any more the quantum of those who sleep ends; then all is done. */
proctype Monitor()
{
	byte n, j, living;

	do
	:: atomic { timeout && n < TICKS ->
			n++;
			j = 0;
			do
			:: j < WAITERS -> tick[j] = queued[j] && asleep[j] && !killed[j]; j++
			:: else -> break
			od;
			j = 0
		}
	:: atomic { timeout && n == TICKS -> break }
	od;
	atomic {
		j = 0;
		do
		:: j < WAITERS -> living = living + (WAITS(j) && !killed[j]); j++
		:: else -> break
		od;
		j = 0;
		do
		:: j < WAITERS ->
			assert(!ON_WAY(j) || (killed[j] && !living));
			j++
		:: else -> break
		od;
		j = 0
	}
}

#define WAITS_ALREADY(n, at) ticket[n] = at; queued[n] = true

init
{
	atomic {
#ifdef WAITING
#if WAITING == 1 /* the first first */
		WAITS_ALREADY(0, 1);
		WAITS_ALREADY(1, 2);
		WAITS_ALREADY(2, 3);
#if WAITERS > 3
		WAITS_ALREADY(3, 4);
#endif
#else /* the last first */
		WAITS_ALREADY(0, 3);
		WAITS_ALREADY(1, 2);
		WAITS_ALREADY(2, 1);
#endif
		last_ticket = WAITERS;
#endif
#ifdef NOTIFIED
		notified = NOTIFIED;
		given = NOTIFIED;
#else
		run Notifier(NOTIFIER);
#endif
		run Waiter(0);
		run Waiter(1);
#if WAITERS > 2
		run Waiter(2);
#endif
#if WAITERS > 3
		run Waiter(3);
#endif
#if KILLS > 0
		run Reaper(REAPER);
		run Killer();
#endif
		run Law();
		run Monitor()
	}
}
