/* SPDX-License-Identifier: MIT */

/*
 * Attaching, dying and reaping as in ipc/participant.c, for Spin
 *
 * One process slot, its byte in the kernel, and two thread records. Newcomers attach to
 * the slot (reaping what the dead before them left), live, work, and leave; a reaper who
 * lives in another slot reaps it; an observer asks whether the owner of a word is dead,
 * twice. Any of the newcomers and the reaper may be killed anywhere, in the middle of
 * reaping one another as well. What a search of all interleavings shows:
 *
 *	- nobody who lives is found dead, or reaped
 *	- who has been found dead is never found alive again
 *	- a record is freed once for each generation of it, and not before what its thread
 *	  was in the middle of has been repaired
 *	- however long the chain of dying reapers, the next one leaves nothing behind
 *
 * MODEL short safety 20000 -DKILLS=2 -DREAPERS=0
 * MODEL short safety 20000 -DKILLS=2 -DREAPERS=0 -DTHREADS
 * MODEL short safety 50000 -DKILLS=1 -DREAPERS=1
 * MODEL short safety 50000 -DKILLS=1 -DREAPERS=0 -DOBSERVER
 * MODEL long safety 1000000 -DKILLS=2 -DREAPERS=1 -DTHREADS
 * MODEL long safety 1000000 -DKILLS=2 -DREAPERS=1 -DOBSERVER
 * BROKEN safety -DKILLS=1 -DREAPERS=1 -DBUG_NO_BYTE
 * BROKEN safety -DKILLS=1 -DREAPERS=0 -DOBSERVER -DBUG_NOT_WRITTEN_DOWN
 * BROKEN safety -DKILLS=2 -DREAPERS=0 -DBUG_SLOT_FREED_FIRST
 * BROKEN safety -DKILLS=1 -DREAPERS=0 -DOBSERVER -DBUG_SAME_GENERATION
 * BROKEN safety -DKILLS=1 -DREAPERS=0 -DOBSERVER -DBUG_DEAD_BY_STORE
 * BROKEN safety -DKILLS=2 -DREAPERS=0 -DTHREADS -DBUG_REPAIRED_FIRST
 */

#define NOBODY  255
#define PARTIES (2 + REAPERS) /* newcomers come first */
#define MONITOR 7
#define RECORDS 2

#define FREE    0
#define LIVE    1
#define DYING   2
#define REAPING 3

byte holder = NOBODY; /* of the byte */
byte slot = FREE;
byte state[RECORDS] = FREE;
byte generation[RECORDS];
bool acting[RECORDS], repaired[RECORDS];

bool killed[3];

/* What is claimed, no part of the algorithm: who is alive in a record. */
byte tenant[RECORDS] = NOBODY;

#define ALIVE(r) (tenant[r] != NOBODY && !killed[tenant[r]])

#ifdef BUG_SAME_GENERATION
#define NEXT 0
#else
#define NEXT 1
#endif

/* mproc__dead(): of generation @g of record @r. */
inline dead(r, g, ret)
{
	atomic {
		ret = generation[r] != g || state[r] != LIVE
	}
	if
	:: ret
	:: else ->
		ret = holder == NOBODY;
		if
		:: ret ->
			atomic {
				if
#ifdef BUG_NOT_WRITTEN_DOWN
				:: false ->
#elif defined(BUG_DEAD_BY_STORE)
				:: true ->
#else
				:: generation[r] == g && state[r] == LIVE ->
#endif
					assert(!ALIVE(r));
					state[r] = DYING
				:: else
				fi
			}
		:: else
		fi
	fi
}

inline write_down(r)
{
	atomic { live = state[r] == LIVE; g = generation[r] }
	if
	:: live -> dead(r, g, live)
	:: else
	fi
}

/* mproc__slot_lock() */
inline slot_lock(ret)
{
	ret = holder == NOBODY;
	if
	:: ret ->
		if
		:: slot != FREE -> write_down(0); write_down(1)
		:: else
		fi;
		/* The slot's own word: LIVE -> REAPING, by compare and swap. */
		live = slot == LIVE;
		if
		:: live && holder == NOBODY ->
			atomic {
				if
				:: slot == LIVE && holder == NOBODY -> slot = REAPING
				:: else
				fi
			}
		:: else
		fi;
#ifdef BUG_NO_BYTE
		skip
#else
		atomic {
			if
			:: holder == NOBODY -> holder = i
			:: else -> ret = false
			fi
		}
#endif
	:: else
	fi;
	atomic { g = 0; live = false }
}

inline repair_record(r)
{
	atomic {
		if
		:: state[r] == DYING && acting[r] -> repaired[r] = true
		:: else
		fi
	}
}

inline free_record(r)
{
	if
	:: state[r] == DYING ->
		atomic {
			assert(!acting[r] || repaired[r]);
			acting[r] = false
		}
		atomic {
			assert(state[r] == DYING); /* not freed yet, and nobody's */
			assert(!ALIVE(r) || tenant[r] == i);
			repaired[r] = false;
			tenant[r] = NOBODY;
			state[r] = FREE
		}
	:: else
	fi
}

inline become(r, ret)
{
	state[r] = LIVE;
	generation[r] = generation[r] + NEXT;
	tenant[r] = i;
	ret = r
}

/* Claim a record that is free, or succeed one of the dead. */
inline claim(from, ret)
{
	atomic {
		if
		:: state[0] == from -> become(0, ret)
		:: state[0] != from && state[1] == from -> become(1, ret)
		:: else -> ret = NOBODY
		fi
	}
}

inline mark_dying(r)
{
	atomic {
		if
		:: state[r] == LIVE ->
			assert(!ALIVE(r) || tenant[r] == i);
			tenant[r] = NOBODY;
			state[r] = DYING
		:: else
		fi
	}
}

/* mproc__reap_locked(); the byte is ours. */
inline reap_locked(identity)
{
	if
	:: slot == FREE
	:: else ->
		slot = REAPING;
#ifdef BUG_REPAIRED_FIRST
		repair_record(0);
		repair_record(1);
#endif
		mark_dying(0);
		mark_dying(1);
		own = NOBODY;
		successor = false;
		if
		:: !identity ->
			claim(FREE, own);
			if
			:: own == NOBODY -> claim(DYING, own); successor = own != NOBODY
			:: else
			fi
		:: else
		fi;
#ifndef BUG_REPAIRED_FIRST
		repair_record(0);
		repair_record(1);
#endif
		if
		:: own != NOBODY ->
			atomic {
				if
				:: acting[own] -> repaired[own] = true
				:: else
				fi
			}
			if
			:: successor -> mark_dying(own)
			:: else -> mark_dying(own); free_record(own)
			fi
		:: else
		fi;
#ifdef BUG_SLOT_FREED_FIRST
		slot = FREE;
		free_record(0);
		free_record(1)
#else
		free_record(0);
		free_record(1);
		slot = FREE
#endif
	fi;
	atomic { own = NOBODY; successor = false }
}

inline nothing_left()
{
	atomic {
		assert(state[0] == FREE && state[1] == FREE);
		assert(!acting[0] && !acting[1])
	}
}

inline unlock_slot()
{
	atomic {
		if
		:: holder == i -> holder = NOBODY
		:: else
		fi
	}
}

inline one_life()
{
	slot_lock(ok);
	if
	:: ok ->
		reap_locked(false);
		nothing_left();
		slot = LIVE;
		claim(FREE, mine);
		assert(mine != NOBODY);
		acting[mine] = true;
#ifdef THREADS
		/* A second thread, so that the dead may leave no record free. */
		claim(FREE, second);
#endif
		acting[mine] = false;
		reap_locked(false); /* leaves */
		unlock_slot()
	:: else
	fi
}

proctype Newcomer(byte i)
{
	byte g, own = NOBODY, mine = NOBODY;
#ifdef THREADS
	byte second = NOBODY;
#endif
	bool ok, live, successor;

	{
		one_life()
	} unless {
		killed[i]
	}
}

inline reap_slot()
{
	if
	:: slot == FREE
	:: else ->
		slot_lock(ok);
		if
		:: ok -> reap_locked(true); unlock_slot()
		:: else
		fi
	fi
}

#if REAPERS > 0
proctype Reaper(byte i)
{
	byte g, own = NOBODY;
	bool ok, live, successor;

	{
		reap_slot()
	} unless {
		killed[i]
	}
}
#endif

/* Reads a word with a living owner's name, as from a lock, and asks about it. */
proctype Observer(byte n)
{
	byte g;
	bool first, again;

	if
	:: atomic { state[n] == LIVE -> g = generation[n] }
		dead(n, g, first);
		atomic { assert(!first || generation[n] != g || !ALIVE(n)) }
		dead(n, g, again);
		assert(!first || again)
	:: skip
	fi
}

/* The killed end, and the kernel lets go of what they held. */
proctype Killer()
{
	byte n = KILLS;
	byte p;

	do
	:: n > 0 ->
		n--;
		if
		:: p = 0
		:: p = 1
#if REAPERS > 0
		:: p = 2
#endif
		fi;
		killed[p] = true;
		atomic {
			if
			:: holder == p -> holder = NOBODY
			:: else
			fi
		}
	:: break
	od
}

/* The last one finds nobody alive, and leaves nothing. */
proctype Monitor(byte i)
{
	byte g, own = NOBODY;
	bool ok, live, successor;

	timeout;
	reap_slot();
	nothing_left();
	assert(slot == FREE && holder == NOBODY)
}

init
{
	atomic {
		run Newcomer(0);
		run Newcomer(1);
#if REAPERS > 0
		run Reaper(2);
#endif
#ifdef OBSERVER
		run Observer(0);
#endif
		run Killer();
		run Monitor(MONITOR)
	}
}
