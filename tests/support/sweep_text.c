/* SPDX-License-Identifier: MIT */

/*
 * Kill points in words
 *
 * The place is asked of addr2line(1), which knows static and inlined functions;
 * without it, it is an offset into the program's file.
 */

#include "tests/support/sweep_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
	long number;
	const char *name;
} calls[] = {
	{ SYS_clock_nanosleep, "clock_nanosleep" },
	{ SYS_clone, "clone" },
	{ SYS_clone3, "clone3" },
	{ SYS_close, "close" },
	{ SYS_close_range, "close_range" },
	{ SYS_epoll_pwait, "epoll_pwait" },
	{ SYS_exit_group, "exit_group" },
	{ SYS_fallocate, "fallocate" },
	{ SYS_fchmod, "fchmod" },
	{ SYS_fcntl, "fcntl" },
	{ SYS_fstat, "fstat" },
	{ SYS_ftruncate, "ftruncate" },
	{ SYS_futex, "futex" },
	{ SYS_getpid, "getpid" },
	{ SYS_getrandom, "getrandom" },
	{ SYS_gettid, "gettid" },
	{ SYS_kill, "kill" },
	{ SYS_linkat, "linkat" },
	{ SYS_madvise, "madvise" },
	{ SYS_membarrier, "membarrier" },
	{ SYS_memfd_create, "memfd_create" },
	{ SYS_mmap, "mmap" },
	{ SYS_mprotect, "mprotect" },
	{ SYS_munmap, "munmap" },
	{ SYS_newfstatat, "newfstatat" },
	{ SYS_openat, "openat" },
	{ SYS_ppoll, "ppoll" },
	{ SYS_prctl, "prctl" },
	{ SYS_pread64, "pread64" },
	{ SYS_read, "read" },
	{ SYS_rt_sigprocmask, "rt_sigprocmask" },
	{ SYS_sched_yield, "sched_yield" },
	{ SYS_unlinkat, "unlinkat" },
	{ SYS_wait4, "wait4" },
	{ SYS_waitid, "waitid" },
	{ SYS_write, "write" },
};

const char *t_call_name(long call)
{
	static char buf[40];

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i].number == call)
			return calls[i].name;
	snprintf(buf, sizeof(buf), "system call %ld", call);
	return buf;
}

/*
 * Where in the source: "lock_take at lock.c:71". The last instructions of the program
 * may belong to a jump into a library, which has no source: then the one before.
 */
static void place_text(char *buf, size_t len, const struct t_way *way)
{
	extern const char __executable_start[];
	char exe[512], line[640];
	uint64_t offs[T_WAY_OWN];
	size_t used, n = 0;
	ssize_t exe_len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	FILE *f;

	for (uint64_t i = way->n_own; i > 0 && n < T_WAY_OWN; i--)
		offs[n++] = way->own_pcs[(i - 1) % T_WAY_OWN] - (uintptr_t)__executable_start;
	snprintf(buf, len, "+0x%" PRIx64, n ? offs[0] : 0);
	if (!n || exe_len <= 0)
		return;
	exe[exe_len] = 0;
	if (strchr(exe, '\''))
		return;
	used = (size_t)snprintf(line, sizeof(line), "exec addr2line -fspe '%s' 2>/dev/null", exe);
	for (size_t i = 0; i < n && used + 24 < sizeof(line); i++)
		used += (size_t)snprintf(line + used, sizeof(line) - used, " 0x%" PRIx64, offs[i]);
	f = popen(line, "re");
	if (!f)
		return;
	for (size_t i = 0; i < n && fgets(line, sizeof(line), f); i++) {
		if (line[0] == '?')
			continue;
		line[strcspn(line, "\n(")] = 0;
		snprintf(buf, len, "%.200s (+0x%" PRIx64 ")", line, offs[i]);
		break;
	}
	while (fgets(line, sizeof(line), f))
		;
	pclose(f);
}

static void way_text(char *buf, size_t len, const char *did, const struct t_way *way)
{
	char place[256];

	if (way->point == T_POINT_START) {
		snprintf(buf, len, "%s before its first instruction", did);
		return;
	}
	if (way->point == T_POINT_END) {
		snprintf(buf, len, "%s after it had returned (%" PRIu64 " instructions)", did,
			 way->steps);
		return;
	}
	place_text(place, sizeof(place), way);
	switch (way->point) {
	case T_POINT_ASLEEP:
		snprintf(buf, len, "%s asleep in %s, instruction %" PRIu64 ", %s", did,
			 t_call_name(way->call), way->steps + 1, place);
		break;
	case T_POINT_CALL:
		snprintf(buf, len, "%s %s %s, instruction %" PRIu64 ", %s", did,
			 way->slept ? "woken from" : "after", t_call_name(way->call), way->steps,
			 place);
		break;
	default:
		snprintf(buf, len, "%s after instruction %" PRIu64 ", %s", did, way->steps, place);
		break;
	}
}

void t_where_text(char *buf, size_t len, enum t_pass pass, const struct t_world *world)
{
	static const char *const did[] = {
		[T_PASS_KILL] = "victim killed",
		[T_PASS_PEER] = "victim stopped, peer acted, victim killed;",
		[T_PASS_RESUME] = "victim stopped, peer acted, victim went on;",
		[T_PASS_NESTED] = "victim killed",
	};
	char place[256];
	size_t used;

	if (world->outcome == T_OUTCOME_NONE) {
		place_text(place, sizeof(place), &world->victim);
		if (world->victim.steps)
			snprintf(buf, len, "undisturbed, after instruction %" PRIu64 ", %s",
				 world->victim.steps, place);
		else
			snprintf(buf, len, "before the operation");
		return;
	}
	way_text(buf, len, did[pass], &world->victim);
	used = strlen(buf);
	if (pass != T_PASS_NESTED || used + 3 >= len)
		return;
	memcpy(buf + used, "; ", 3);
	way_text(buf + used + 2, len - used - 2, "recoverer killed", &world->recoverer);
}
