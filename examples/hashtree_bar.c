/* SPDX-License-Identifier: MIT */

/*
 * A progress bar
 *
 * Small files cost by their number and large ones by their bytes. How far the job
 * is counts both: each file as FILE_BYTES more than it has.
 */

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <mproc/common.h>

#include "examples/hashtree.h"

#define FILE_BYTES  16384
#define INTERVAL_MS 100
#define WIDTH_MAX   200
#define BAR_MIN     8 /* columns below which a bar says nothing */

char *bytes_text(char buf[16], double bytes)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
	size_t unit = 0;

	while (bytes >= 999.5 && unit < sizeof(units) / sizeof(units[0]) - 1) {
		bytes /= 1000;
		unit++;
	}
	snprintf(buf, 16, unit && bytes < 99.95 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
	return buf;
}

void bar_init(struct bar *bar, bool wanted)
{
	*bar = (struct bar){ .on = wanted && isatty(STDERR_FILENO) };
}

static int terminal_width(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_col)
		return 80;
	return size.ws_col < WIDTH_MAX ? size.ws_col : WIDTH_MAX;
}

/* Between 0 and 1. */
static double share_done(const struct progress *p)
{
	double found = (double)p->bytes_found + (double)p->n_found * FILE_BYTES;
	double done = (double)p->bytes_done + (double)p->n_done * FILE_BYTES;

	/* Files grow, and some tell no size before they are read. */
	return done < found ? done / found : 1;
}

/* What is to be seen in @width columns. */
static void compose(char *line, int width, const struct progress *p)
{
	double seconds = (double)(mproc_now() - p->start) / 1e9;
	char done[16], rate[16], text[128];
	int share = (int)(share_done(p) * 100), cells, n;

	bytes_text(done, (double)p->bytes_done);
	bytes_text(rate, seconds > 0 ? (double)p->bytes_done / seconds : 0);
	n = snprintf(text, sizeof(text), "%llu of %s%llu files, %s, %s/s",
		     (unsigned long long)p->n_done, p->walking ? "at least " : "",
		     (unsigned long long)p->n_found, done, rate);
	/* Of a total that is not known yet there is no share. */
	cells = width - n - (int)strlen("[] 100% ");
	if (p->walking || cells < BAR_MIN) {
		snprintf(line, (size_t)width + 1, "%s", text);
		return;
	}
	line += sprintf(line, "[");
	for (int i = 0; i < cells; i++)
		*line++ = i < cells * share / 100 ? '#' : '.';
	sprintf(line, "] %3d%% %s", share, text);
}

/* Write @line over what is there, in one piece. */
static void rewrite(struct bar *bar, const char *line)
{
	char out[2 * WIDTH_MAX + 2];
	int n = (int)strlen(line), pad = bar->shown > n ? bar->shown - n : 0;

	snprintf(out, sizeof(out), "\r%s%*s", line, pad, "");
	/* A terminal that is gone costs the bar, not the job. */
	if (write(STDERR_FILENO, out, strlen(out)) < 0)
		bar->on = false;
	bar->shown = n;
}

void bar_show(struct bar *bar, const struct progress *p)
{
	char line[WIDTH_MAX + 1];
	int64_t now;

	if (!bar->on)
		return;
	now = mproc_now();
	if (now < bar->next)
		return;
	bar->next = now + INTERVAL_MS * INT64_C(1000000);
	/* The last column stays free: some terminals go on to the next line there. */
	compose(line, terminal_width() - 1, p);
	rewrite(bar, line);
}

void bar_clear(struct bar *bar)
{
	if (!bar->on || !bar->shown)
		return;
	rewrite(bar, "");
	if (write(STDERR_FILENO, "\r", 1) < 0)
		bar->on = false;
}
