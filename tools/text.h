/* SPDX-License-Identifier: MIT */
#ifndef SHMTOOL_TEXT_H
#define SHMTOOL_TEXT_H

/*
 * Text for people: strings of strangers made harmless, sizes, times, tables
 */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Bytes of a stranger's string that are looked at; what is longer is cut. */
#define TEXT_MAX 256

/* Room for an escaped string. */
struct text {
	char at[4 * TEXT_MAX + 4];
};

/*
 * Make @len bytes fit for a terminal: valid UTF-8 stays as it is, a backslash is
 * doubled, and control bytes, marks that turn the direction of text, and bytes that
 * are no UTF-8 become \xHH. So the text tells the bytes exactly.
 *
 * Return: @buf's text.
 */
const char *text_escape(struct text *buf, const void *bytes, size_t len);

/* The same for bytes that end at the first NUL, or after @cap of them. */
const char *text_escape_str(struct text *buf, const char *bytes, size_t cap);

/* Where the terminal reads no UTF-8: text_terminal() escapes all that is not ASCII. */
void text_init(void);

/* An escaped text as this terminal takes it. Return: @buf's text, or @escaped itself. */
const char *text_terminal(struct text *buf, const char *escaped);

/* "64 MiB", "1.5 KiB", "17 B". Return: @buf. */
char *text_size(char buf[24], uint64_t size);

/* "5 s", "3 min", "2 h", "12 d": from @then until @now, both CLOCK_REALTIME in ns. */
char *text_age(char buf[24], uint64_t then, uint64_t now);

/* "2026-11-21 12:53:00" in local time, "?" if it cannot be one. */
char *text_time(char buf[32], uint64_t ns);

/* Rows of cells, printed with columns as wide as they need be. */
struct table {
	char **cells;
	size_t n_cells, room;
	size_t n_columns;
	const char *indent;
	const char *align; /* one character a column: 'r' sets it flush right */
};

/*
 * @heads:	NULL-terminated
 * @align:	as table.align; columns beyond it are flush left
 */
void table_begin(struct table *table, const char *indent, const char *align,
		 const char *const heads[]);
void table_cell(struct table *table, const char *fmt, ...)
	__attribute__((__format__(__printf__, 2, 3)));

/* Print it, unless @out is NULL, and free it. */
void table_end(struct table *table, FILE *out);

/* malloc() and the like that end the program with a message where there is no memory. */
void *text_alloc(void *old, size_t size);
char *text_vformat(const char *fmt, va_list ap);
char *text_format(const char *fmt, ...) __attribute__((__format__(__printf__, 1, 2)));

#endif /* SHMTOOL_TEXT_H */
