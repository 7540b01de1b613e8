/* SPDX-License-Identifier: MIT */

/*
 * shmtool: look at segments from outside
 *
 * Everything is read by copying: no segment is mapped, no lock is taken, and a
 * program that is stopped, crashed or hostile is looked at like any other. What
 * changes something (gc) is one call of the library.
 */

#include "tools/shmtool.h"

#include <argp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/text.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "ls", ls_main },
	{ "info", info_main },
	{ "locks", locks_main },
	{ "gc", gc_main },
};

static const char doc[] =
	"Look at shared memory segments of mproc programs.\v"
	"Commands:\n"
	"  ls     list segments: named ones, and anonymous ones of running processes\n"
	"  info   show one segment: who takes part, what lies in it\n"
	"  locks  show who holds and who waits for which lock, and deadlocks\n"
	"  gc     remove what dead programs have left behind\n"
	"\n"
	"shmtool COMMAND --help tells more.\n"
	"\n"
	"Exit status: 0, 1 if nothing was found or something failed, 2 if locks found a deadlock, "
	"64 for wrong usage.";

void say(const char *fmt, ...)
{
	struct text buf;
	char *line;
	va_list ap;

	va_start(ap, fmt);
	line = text_vformat(fmt, ap);
	va_end(ap);
	fprintf(stderr, "shmtool: %s\n", text_terminal(&buf, line));
	free(line);
}

struct call {
	const struct command *command;
	int argc;
	char **argv;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct call *call = state->input;

	if (key == ARGP_KEY_NO_ARGS)
		argp_usage(state);
	if (key != ARGP_KEY_ARG)
		return ARGP_ERR_UNKNOWN;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(arg, commands[i].name))
			call->command = &commands[i];
	if (!call->command)
		argp_error(state, "unknown command '%s'", arg);
	call->argc = state->argc - (state->next - 1);
	call->argv = state->argv + (state->next - 1);
	state->next = state->argc;
	return 0;
}

int main(int argc, char **argv)
{
	static const struct argp argp = { .parser = parse, .args_doc = "COMMAND", .doc = doc };
	struct call call = { 0 };
	char name[32];
	int r;

	argp_program_version = "shmtool " SHMTOOL_VERSION;
	argp_err_exit_status = EXIT_USAGE;
	text_init();
	/* A reader who has seen enough is no error; what was not written is. */
	signal(SIGPIPE, SIG_DFL);
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &call);
	snprintf(name, sizeof(name), "shmtool %s", call.command->name);
	call.argv[0] = name;
	r = call.command->run(call.argc, call.argv);
	if (fflush(stdout) || ferror(stdout)) {
		say("standard output: cannot be written");
		return EXIT_FAILED;
	}
	return r;
}
