/* SPDX-License-Identifier: MIT */
#ifndef SHMTOOL_H
#define SHMTOOL_H

/*
 * What the commands of shmtool share
 */

/* Exit statuses beside 0: nothing found or something failed; wrong usage. */
#define EXIT_FAILED 1
#define EXIT_USAGE  64

/* One command each, called with "shmtool COMMAND" as argv[0]. Return: exit status. */
int ls_main(int argc, char **argv);
int info_main(int argc, char **argv);
int locks_main(int argc, char **argv);
int gc_main(int argc, char **argv);

/* One line on standard error, after "shmtool: ". */
void say(const char *fmt, ...) __attribute__((__format__(__printf__, 1, 2)));

#endif /* SHMTOOL_H */
