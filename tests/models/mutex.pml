/* SPDX-License-Identifier: MIT */

/*
 * The lock of ipc/lock.c and the sleepers word of ipc/wait.c, for Spin
 *
 * Some processes take the lock a few times each and end. What a search of all their
 * interleavings shows:
 *
 *	- nobody is inside together with another who lives
 *	- without kills and without the quantum all of them end: no wake-up is lost
 *	- with kills and the quantum all who live end, whatever the scheduler does that is
 *	  fair: no run goes on for ever
 *	- whoever comes after a death is told so until somebody has said consistent(), and
 *	  nobody else is; he finds the two words that the log guards equal, also when heirs
 *	  died in the middle of their repairs
 *
 * The machine. A store to the owner word stands in its CPU's store buffer (buf) until
 * that drains: at any time, at a locked instruction, in a system call, at another's
 * membarrier(2). So a waker may look at the sleepers before anybody sees what it has
 * changed. Stores under the lock enter the same buffer earlier and leave it earlier:
 * they need none of their own here. A kill stops a process between any two
 * instructions; what it has stored still drains, and only then does the kernel drop
 * the lock that proves it alive (gone).
 *
 * The counts of the sleepers word do not wrap here; in life they do after 2^16 wakes
 * between a waiter's look and its sleep.
 *
 * The quantum is a time-out that may come at any moment of a sleep. Polls are left out:
 * they look as often as one likes, and so does a wait that finds the key changed.
 *
 * MODEL short safety 10000 -DPROCS=2 -DROUNDS=3
 * MODEL short safety 50000 -DPROCS=3 -DROUNDS=1
 * MODEL short safety 80000 -DPROCS=2 -DROUNDS=2 -DKILLS=1 -DQUANTUM
 * MODEL long safety 1000000 -DPROCS=3 -DROUNDS=1 -DKILLS=1 -DQUANTUM
 * MODEL short progress 30000 -DPROCS=2 -DROUNDS=1 -DKILLS=1 -DQUANTUM
 * MODEL long safety 1000000 -DPROCS=3 -DROUNDS=2
 * MODEL long safety 5000000 -DPROCS=3 -DROUNDS=1 -DKILLS=2 -DQUANTUM
 * MODEL long progress 100000 -DPROCS=2 -DROUNDS=2 -DKILLS=2 -DQUANTUM
 * BROKEN safety -DPROCS=2 -DROUNDS=2 -DBUG_LOOK_FIRST
 * BROKEN safety -DPROCS=2 -DROUNDS=2 -DBUG_NO_BARRIER
 * BROKEN safety -DPROCS=2 -DROUNDS=2 -DBUG_NO_COUNT
 * BROKEN safety -DPROCS=3 -DROUNDS=1 -DBUG_CLEAR_ANYWAY
 * BROKEN safety -DPROCS=2 -DROUNDS=1 -DKILLS=1 -DQUANTUM -DBUG_IMPATIENT
 * BROKEN safety -DPROCS=3 -DROUNDS=1 -DKILLS=1 -DQUANTUM -DBUG_TAKE_BY_STORE
 * BROKEN safety -DPROCS=3 -DROUNDS=1 -DKILLS=2 -DQUANTUM -DBUG_LOG_EMPTIED_FIRST
 * BROKEN safety -DPROCS=3 -DROUNDS=1 -DKILLS=1 -DQUANTUM -DBUG_NEWS_DROPPED
 * BROKEN safety -DPROCS=2 -DROUNDS=1 -DKILLS=1
 */

#ifndef KILLS
#define KILLS 0
#endif

#define NOBODY 255
#define NONE   255 /* in a store buffer */

/* Owner word: number of the owner from 1, and flags. */
#define OWNER(w)  ((w) & 7)
#define REPAIR    8
#define INHERITED 16

byte word;
byte buf[PROCS] = NONE;

/*
 * The sleepers word: its bit, and instead of the counts who knows the word as it is.
 * To count is to make every other's key stale.
 */
bool asleep;
bool fresh[PROCS];
bool queued[PROCS]; /* in the kernel's queue */

bool killed[PROCS], gone[PROCS];

/* What lies under the lock, and its log. */
bit a, b, log_value;
bool log_pending;

/* What is claimed, no part of the algorithm. */
byte inside = NOBODY;
bool death_untold;

#define DRAIN(p) \
	if \
	:: buf[p] != NONE -> word = buf[p]; buf[p] = NONE \
	:: else \
	fi

inline drain_all()
{
	DRAIN(0);
	DRAIN(1);
#if PROCS > 2
	DRAIN(2);
#endif
}

inline all_stale()
{
	fresh[0] = false;
	fresh[1] = false;
#if PROCS > 2
	fresh[2] = false;
#endif
}

/* One locked instruction. */
inline cas(from, to, ok)
{
	atomic {
		DRAIN(i);
		if
		:: word == from -> word = to; ok = true
		:: else -> ok = false
		fi
	}
}

inline store(value)
{
	atomic {
		DRAIN(i);
		buf[i] = value
	}
}

/* FUTEX_WAKE of one: whichever the kernel likes. */
inline futex_wake()
{
	atomic {
		DRAIN(i);
		if
		:: queued[0] -> queued[0] = false; ok = true
		:: queued[1] -> queued[1] = false; ok = true
#if PROCS > 2
		:: queued[2] -> queued[2] = false; ok = true
#endif
		:: else -> ok = false
		fi
	}
}

inline wake_slow()
{
	atomic {
		if
		:: !asleep -> ok = false
		:: else ->
			DRAIN(i);
#ifndef BUG_NO_COUNT
			all_stale();
#endif
			fresh[i] = true;
			ok = true
		fi
	}
	if
	:: ok ->
		futex_wake();
		if
		:: ok
		:: else ->
			atomic {
				DRAIN(i);
				if
#ifndef BUG_CLEAR_ANYWAY
				:: fresh[i] -> asleep = false; all_stale()
				:: else
#else
				:: asleep = false; all_stale()
#endif
				fi;
				fresh[i] = false
			}
		fi
	:: else
	fi;
	fresh[i] = false
}

/* mproc__wait_announce() and, if the word still is @seen, mproc__wait_sleep(). */
inline announce_and_sleep()
{
	atomic {
		DRAIN(i);
		asleep = true;
		all_stale();
		fresh[i] = true
	}
#ifndef BUG_NO_BARRIER
	atomic { drain_all() }
#endif
	if
	:: word == seen ->
		atomic { /* FUTEX_WAIT */
			DRAIN(i);
			queued[i] = fresh[i];
			fresh[i] = false
		}
		if
		:: atomic { !queued[i] -> skip }
#ifdef QUANTUM
		:: atomic { queued[i] -> queued[i] = false }
#endif
		fi
	:: else -> fresh[i] = false
	fi
}

/* The heir writes again what had been committed. Any of these steps may be his last. */
inline replay()
{
#ifdef BUG_LOG_EMPTIED_FIRST
	ok = log_pending;
	log_pending = false;
	if
	:: ok -> a = log_value; b = log_value
	:: else
	fi
#else
	if
	:: log_pending -> a = log_value; b = log_value; log_pending = false
	:: else
	fi
#endif
}

#ifdef BUG_IMPATIENT
#define DEAD(p) true
#else
#define DEAD(p) gone[p]
#endif

inline take()
{
	cas(0, i + 1, ok);
	if
	:: ok -> told = false; goto have
	:: else
	fi;
again:	seen = word;
	if
	:: OWNER(seen) == 0 ->
		cas(seen, (i + 1) | seen, ok);
		if
		:: ok -> told = seen != 0; goto have
		:: else -> goto again
		fi
	:: OWNER(seen) != 0 && DEAD(OWNER(seen) - 1) ->
#ifdef BUG_TAKE_BY_STORE
		store((i + 1) | REPAIR | (seen & INHERITED));
#else
		cas(seen, (i + 1) | REPAIR | (seen & INHERITED), ok);
		if
		:: ok
		:: else -> goto again
		fi;
#endif
		told = true;
		replay();
		store((i + 1) | INHERITED);
		goto have
	:: else ->
		announce_and_sleep();
		goto again
	fi;
have:	seen = 0
}

inline work()
{
	atomic {
		assert(inside == NOBODY || gone[inside]);
		inside = i;
#if KILLS > 0
		assert(told == death_untold);
		assert(a == b && !log_pending)
#endif
	}
#if KILLS > 0
	log_value = 1 - a;
	log_pending = true;
	a = log_value;
	b = log_value;
	log_pending = false;
	if
	:: told -> /* mproc_mutex_consistent(), or not */
		if
		:: atomic { store(i + 1); death_untold = false; told = false }
		:: skip
		fi
	:: else
	fi;
#endif
	atomic {
		assert(inside == i);
		inside = NOBODY
	}
}

inline release()
{
#ifdef BUG_LOOK_FIRST
	ok = asleep;
#endif
#ifdef BUG_NEWS_DROPPED
	store(0);
#else
	store((told -> INHERITED : 0));
#endif
#ifndef BUG_LOOK_FIRST
	ok = asleep;
#endif
	if
	:: ok -> wake_slow()
	:: else
	fi;
	atomic { ok = false; told = false }
}

proctype Process(byte i)
{
	byte seen, round;
	bool ok, told;

	{
		do
		:: round < ROUNDS ->
			round++;
			take();
			work();
			release()
		:: else -> break
		od
	} unless {
		killed[i]
	}
}

/* The CPUs and the kernel: buffers drain, the killed end. */
proctype Machine()
{
	byte i;

end:	do
	:: atomic { buf[0] != NONE -> DRAIN(0) }
	:: atomic { buf[1] != NONE -> DRAIN(1) }
#if PROCS > 2
	:: atomic { buf[2] != NONE -> DRAIN(2) }
#endif
#if KILLS > 0
	:: atomic { killed[0] && !gone[0] && buf[0] == NONE -> gone[0] = true; queued[0] = false }
	:: atomic { killed[1] && !gone[1] && buf[1] == NONE -> gone[1] = true; queued[1] = false }
#if PROCS > 2
	:: atomic { killed[2] && !gone[2] && buf[2] == NONE -> gone[2] = true; queued[2] = false }
#endif
#endif
	od
}

#if KILLS > 0
inline kill(p)
{
	killed[p] = true;
	if
	:: buf[p] == NONE && OWNER(word) == p + 1 -> death_untold = true
	:: buf[p] != NONE && OWNER(buf[p]) == p + 1 -> death_untold = true
	:: else
	fi
}

proctype Killer()
{
	byte n = KILLS;

	do
	:: n > 0 ->
		n--;
		if
		:: atomic { !killed[0] -> kill(0) }
		:: atomic { !killed[1] -> kill(1) }
#if PROCS > 2
		:: atomic { !killed[2] -> kill(2) }
#endif
		fi
	:: break
	od
}
#endif

init
{
	atomic {
		run Process(0);
		run Process(1);
#if PROCS > 2
		run Process(2);
#endif
		run Machine();
#if KILLS > 0
		run Killer()
#endif
	}
}
