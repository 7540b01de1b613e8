/* SPDX-License-Identifier: MIT */

/*
 * Text for people: strings of strangers made harmless, sizes, times, tables
 *
 * Names come from memory that anybody may have written. A terminal acts on
 * control bytes, on their two-byte forms in UTF-8 and, if it takes its input for
 * Latin-1, on bytes inside other characters; text can also be made to read
 * backwards. All of that is escaped, by rules that no locale changes, so that the
 * JSON of the same bytes is the same everywhere.
 */

#include "tools/text.h"

#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

static bool ascii_only = true;

/* Length of the UTF-8 character at @s, of which @len bytes are there; 0 if it is none. */
static size_t utf8_len(const unsigned char *s, size_t len, uint32_t *ret)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	uint32_t c = n == 1 ? s[0] : s[0] & (0x7fu >> n);

	if ((s[0] & 0xc0) == 0x80 || s[0] >= 0xf8 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	/* Forms that are too long, halves of surrogate pairs, and beyond Unicode. */
	if (c < least[n] || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
		return 0;
	*ret = c;
	return n;
}

/* Does a terminal or an editor act on this character instead of showing it? */
static bool is_harmful(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c ||
	       (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff0 && c <= 0xfffb) ||
	       (c >= 0xe0000 && c <= 0xe0fff);
}

const char *text_escape(struct text *buf, const void *bytes, size_t len)
{
	const unsigned char *s = bytes;
	size_t kept = len < TEXT_MAX ? len : TEXT_MAX, n;
	char *at = buf->at;

	for (size_t i = 0; i < kept; i += n) {
		uint32_t c = 0;

		n = utf8_len(s + i, kept - i, &c);
		if (n && c == '\\') {
			at = stpcpy(at, "\\\\");
		} else if (n && !is_harmful(c)) {
			memcpy(at, s + i, n);
			at += n;
		} else {
			n = n ? n : 1;
			for (size_t k = 0; k < n; k++)
				at += sprintf(at, "\\x%02x", s[i + k]);
		}
	}
	strcpy(at, kept < len ? "..." : "");
	return buf->at;
}

const char *text_escape_str(struct text *buf, const char *bytes, size_t cap)
{
	return text_escape(buf, bytes, strnlen(bytes, cap));
}

void text_init(void)
{
	/* Nothing else of the locale: messages and numbers are read by programs too. */
	setlocale(LC_CTYPE, "");
	ascii_only = strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
}

const char *text_terminal(struct text *buf, const char *escaped)
{
	char *at = buf->at;

	if (!ascii_only)
		return escaped;
	for (; *escaped && at < buf->at + sizeof(buf->at) - 5; escaped++) {
		if ((unsigned char)*escaped < 0x80)
			*at++ = *escaped;
		else
			at += sprintf(at, "\\x%02x", (unsigned char)*escaped);
	}
	*at = '\0';
	return buf->at;
}

char *text_size(char buf[24], uint64_t size)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	size_t unit = 0;
	double shown = (double)size;

	while (shown >= 1024 && unit < sizeof(units) / sizeof(units[0]) - 1) {
		shown /= 1024;
		unit++;
	}
	snprintf(buf, 24, shown == (double)(uint64_t)shown ? "%.0f %s" : "%.1f %s", shown,
		 units[unit]);
	return buf;
}

char *text_age(char buf[24], uint64_t then, uint64_t now)
{
	/* The clock may have been set back, and @then may be anything. */
	uint64_t s = now > then ? (now - then) / 1000000000 : 0;

	if (!then)
		strcpy(buf, "?");
	else if (s < 120)
		snprintf(buf, 24, "%" PRIu64 " s", s);
	else if (s < 120 * 60)
		snprintf(buf, 24, "%" PRIu64 " min", s / 60);
	else if (s < 48 * 3600)
		snprintf(buf, 24, "%" PRIu64 " h", s / 3600);
	else
		snprintf(buf, 24, "%" PRIu64 " d", s / 86400);
	return buf;
}

char *text_time(char buf[32], uint64_t ns)
{
	time_t s = (time_t)(ns / 1000000000);
	struct tm tm;

	if (!ns || !localtime_r(&s, &tm) || !strftime(buf, 32, "%Y-%m-%d %H:%M:%S", &tm))
		strcpy(buf, "?");
	return buf;
}

void *text_alloc(void *old, size_t size)
{
	void *mem = realloc(old, size ? size : 1);

	if (!mem) {
		fprintf(stderr, "shmtool: no memory for %zu bytes\n", size);
		exit(EXIT_FAILURE);
	}
	return mem;
}

char *text_vformat(const char *fmt, va_list ap)
{
	char *ret;

	if (vasprintf(&ret, fmt, ap) < 0) {
		fprintf(stderr, "shmtool: no memory for a text\n");
		exit(EXIT_FAILURE);
	}
	return ret;
}

char *text_format(const char *fmt, ...)
{
	va_list ap;
	char *ret;

	va_start(ap, fmt);
	ret = text_vformat(fmt, ap);
	va_end(ap);
	return ret;
}

static void add_cell(struct table *table, char *cell)
{
	if (table->n_cells == table->room) {
		table->room = table->room ? 2 * table->room : 64;
		table->cells = text_alloc(table->cells, table->room * sizeof(*table->cells));
	}
	table->cells[table->n_cells++] = cell;
}

void table_begin(struct table *table, const char *indent, const char *align,
		 const char *const heads[])
{
	memset(table, 0, sizeof(*table));
	table->indent = indent;
	table->align = align;
	while (heads[table->n_columns])
		add_cell(table, text_format("%s", heads[table->n_columns++]));
}

void table_cell(struct table *table, const char *fmt, ...)
{
	struct text buf;
	char *raw, *cell;
	va_list ap;

	va_start(ap, fmt);
	raw = text_vformat(fmt, ap);
	va_end(ap);
	cell = text_format("%s", text_terminal(&buf, raw));
	free(raw);
	add_cell(table, cell);
}

/* Columns that a cell takes on the terminal. */
static size_t width(const char *cell)
{
	wchar_t wide[4 * TEXT_MAX];
	size_t n = mbstowcs(wide, cell, sizeof(wide) / sizeof(wide[0]));
	int w;

	if (n == (size_t)-1 || n == sizeof(wide) / sizeof(wide[0]))
		return strlen(cell);
	w = wcswidth(wide, n);
	return w < 0 ? strlen(cell) : (size_t)w;
}

void table_end(struct table *table, FILE *out)
{
	size_t n = table->n_columns, n_aligned = strlen(table->align);
	size_t *widths = text_alloc(NULL, n * sizeof(*widths));

	memset(widths, 0, n * sizeof(*widths));
	for (size_t i = 0; i < table->n_cells; i++) {
		size_t w = width(table->cells[i]);

		if (w > widths[i % n])
			widths[i % n] = w;
	}
	for (size_t i = 0; i < table->n_cells; i++) {
		size_t column = i % n;
		int pad = (int)(widths[column] - width(table->cells[i]));
		bool right = column < n_aligned && table->align[column] == 'r';

		if (out) {
			fprintf(out, "%s%*s%s", column ? "  " : table->indent, right ? pad : 0, "",
				table->cells[i]);
			/* No blanks at the end of a line. */
			if (column == n - 1)
				fputc('\n', out);
			else if (!right)
				fprintf(out, "%*s", pad, "");
		}
		free(table->cells[i]);
	}
	free(table->cells);
	free(widths);
}
