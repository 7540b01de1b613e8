/* SPDX-License-Identifier: MIT */

/*
 * SHA-256 of all files of a directory tree, by a pool of worker processes
 *
 *	hashtree [OPTION]... DIR...
 *
 * prints what "find DIR... -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum"
 * prints, and uses all CPUs. One process walks the tree, hands files to workers and
 * gathers digests; the workers read. A window bounds what is under way, and the list
 * of files is the only thing that grows. While no digest has come, the walk goes on;
 * only when it is over does this process sleep.
 *
 * A worker killed from outside costs nothing but time: its file is given to another,
 * as often as it takes. A file whose workers crash is given up after four attempts,
 * since the fourth shows that it is the file.
 */

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mproc/common.h>
#include <mproc/cpu.h>
#include <mproc/error.h>
#include <mproc/future.h>
#include <mproc/pool.h>
#include <mproc/segment.h>

#include "examples/hashtree.h"

#define EXIT_UNREAD 1 /* some file could not be read */
#define EXIT_FATAL  2

#define WORKERS_MAX 1024

/* Files under way: enough that no worker waits for us. */
#define WINDOW(workers) (256 + 4 * (size_t)(workers))

/* Bytes of a path, encoded. */
#define TASK_MAX 8192

struct file {
	char *why; /* it could not be read; NULL: digest is valid, once it has come */
	uint8_t digest[HASH_LEN];
	char path[];
};

/* A file that a worker has. */
struct flight {
	mproc_future *future;
	struct file *file;
};

struct job {
	uint32_t workers;
	bool quiet;

	char **dirs; /* still to be walked, NULL at the end */
	FTS *fts;    /* being walked */

	struct file **files;
	size_t n_files, files_cap;
	size_t next; /* the first one that was not looked at for submission */

	mproc_pool *pool;
	struct mproc_future_iter iter;
	struct flight *flights;
	size_t n_flights, window;

	struct progress progress;
	struct bar bar;
};

static const char usage_text[] =
	"usage: hashtree [OPTION]... DIR...\n"
	"\n"
	"Print the SHA-256 digest of every regular file below DIR, sorted by path, in the\n"
	"format of sha256sum. Symbolic links are not followed.\n"
	"\n"
	"  -w, --workers N  worker processes, 1 to 1024; default: one per usable CPU\n"
	"  -q, --quiet      neither progress nor summary on standard error\n"
	"  -h, --help       print this and exit\n"
	"\n"
	"Exit status: 0 if all files were read, 1 if some could not be (they are listed on\n"
	"standard error), 2 for wrong usage and all other failures.\n";

static __attribute__((__format__(__printf__, 2, 3))) _Noreturn void fatal(struct job *job,
									  const char *fmt, ...)
{
	va_list ap;

	bar_clear(&job->bar);
	fputs("hashtree: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	/* The workers end with us. */
	exit(EXIT_FATAL);
}

static void *must(struct job *job, void *mem)
{
	if (!mem)
		fatal(job, "out of memory after %zu files", job->n_files);
	return mem;
}

/* Add a file to the list. Return: the file. */
static struct file *add_file(struct job *job, const char *path)
{
	size_t len = strlen(path) + 1;
	struct file *file = must(job, malloc(sizeof(*file) + len));

	if (job->n_files == job->files_cap) {
		job->files_cap = job->files_cap ? job->files_cap * 2 : 1024;
		job->files =
			must(job, reallocarray(job->files, job->files_cap, sizeof(struct file *)));
	}
	file->why = NULL;
	memcpy(file->path, path, len);
	job->files[job->n_files++] = file;
	return file;
}

static void give_up(struct job *job, struct file *file, const char *why)
{
	file->why = must(job, strdup(why));
	job->progress.n_failed++;
}

/* Look at the next entry of the tree. Return: false if there is none. */
static bool walk(struct job *job)
{
	FTSENT *entry;

	if (!job->fts) {
		char *dir[] = { *job->dirs, NULL };

		if (!dir[0])
			return false;
		job->dirs++;
		job->fts = fts_open(dir, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
		if (!job->fts)
			give_up(job, add_file(job, dir[0]), strerror(errno));
		return true;
	}
	errno = 0;
	entry = fts_read(job->fts);
	if (!entry) {
		if (errno)
			fatal(job, "walking the tree: %s", strerror(errno));
		fts_close(job->fts);
		job->fts = NULL;
		return true;
	}
	switch (entry->fts_info) {
	case FTS_F:
		add_file(job, entry->fts_path);
		job->progress.n_found++;
		job->progress.bytes_found += (uint64_t)entry->fts_statp->st_size;
		break;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		give_up(job, add_file(job, entry->fts_path), strerror(entry->fts_errno));
		break;
	case FTS_DC:
		give_up(job, add_file(job, entry->fts_path), strerror(ELOOP));
		break;
	}
	return true;
}

/* Hand the next file to the workers. Return: false if there is none, or no room. */
static bool submit(struct job *job)
{
	struct flight *flight = &job->flights[job->n_flights];
	hash_args args;

	/* What the walk could not read is in the list, too. */
	while (job->next < job->n_files && job->files[job->next]->why)
		job->next++;
	if (job->next == job->n_files || job->n_flights == job->window)
		return false;
	flight->file = job->files[job->next];
	args.path = flight->file->path;
	flight->future = hash_file_submit(job->pool, &args);
	if (!flight->future || mproc_future_iter_add(&job->iter, flight->future) < 0)
		fatal(job, "%s", mproc_error_text());
	job->n_flights++;
	job->next++;
	return true;
}

/* What has come of a file. */
static void land(struct job *job, const struct flight *flight)
{
	hash_result result = { .error = 0 };
	struct mproc_future_error error;

	if (hash_file_result(flight->future, &result, MPROC_NOWAIT) < 0)
		give_up(job, flight->file,
			mproc_future_error(flight->future, &error) == 1 ? error.text
									: mproc_error_text());
	else if (result.error)
		give_up(job, flight->file, strerror(result.error));
	else
		memcpy(flight->file->digest, result.digest, HASH_LEN);
	job->progress.n_done++;
	job->progress.bytes_done += result.size;
}

/* Take one result, waiting for it until @deadline. Return: was there one? */
static bool collect(struct job *job, int64_t deadline)
{
	mproc_future *future;
	size_t i = 0;
	int r;

	r = mproc_future_as_completed(&job->iter, &future, deadline);
	if (r == 0 || r == -EAGAIN || r == -ETIMEDOUT)
		return false;
	if (r < 0)
		fatal(job, "%s", mproc_error_text());
	while (job->flights[i].future != future)
		i++;
	land(job, &job->flights[i]);
	mproc_future_unref(future);
	job->flights[i] = job->flights[--job->n_flights];
	return true;
}

static void hash_tree(struct job *job)
{
	job->progress = (struct progress){ .start = mproc_now(), .walking = true };
	bar_init(&job->bar, !job->quiet);
	for (;;) {
		bar_show(&job->bar, &job->progress);
		if (submit(job))
			continue;
		if (job->progress.walking) {
			if (!collect(job, MPROC_NOWAIT))
				job->progress.walking = walk(job);
		} else if (job->n_flights) {
			collect(job, mproc_after_ms(100));
		} else {
			break;
		}
	}
	bar_clear(&job->bar);
}

static int by_path(const void *a, const void *b)
{
	const struct file *const *left = a, *const *right = b;

	/* As unsigned bytes: what LC_ALL=C sort does. */
	return strcmp((*left)->path, (*right)->path);
}

/* One line as sha256sum writes it: a leading backslash says that the name is escaped. */
static void print_digest(const struct file *file)
{
	static const char digits[] = "0123456789abcdef";
	bool escape = strpbrk(file->path, "\\\n\r") != NULL;

	if (escape)
		putchar_unlocked('\\');
	for (size_t i = 0; i < HASH_LEN; i++) {
		putchar_unlocked(digits[file->digest[i] >> 4]);
		putchar_unlocked(digits[file->digest[i] & 15]);
	}
	fputs_unlocked("  ", stdout);
	for (const char *at = file->path; *at; at++) {
		if (*at == '\\' || *at == '\n' || *at == '\r')
			putchar_unlocked('\\');
		putchar_unlocked(*at == '\n' ? 'n' : *at == '\r' ? 'r' : *at);
	}
	putchar_unlocked('\n');
}

static void print_digests(struct job *job)
{
	for (size_t i = 0; i < job->n_files && !ferror(stdout); i++)
		if (!job->files[i]->why)
			print_digest(job->files[i]);
	/* The disk may turn out to be full as late as this. */
	if (ferror(stdout) || fflush(stdout) == EOF || close(STDOUT_FILENO) < 0)
		fatal(job, "standard output: %s", strerror(errno));
}

/* A name that cannot play tricks on a terminal. */
static void print_name(const char *name)
{
	for (; *name; name++) {
		if ((unsigned char)*name < ' ' || *name == 0x7f)
			fprintf(stderr, "\\%03o", (unsigned char)*name);
		else
			fputc(*name, stderr);
	}
}

static void print_unread(const struct job *job)
{
	for (size_t i = 0; i < job->n_files; i++) {
		if (!job->files[i]->why)
			continue;
		fputs("hashtree: ", stderr);
		print_name(job->files[i]->path);
		fprintf(stderr, ": %s\n", job->files[i]->why);
	}
}

static void print_summary(const struct job *job, double seconds)
{
	const struct progress *p = &job->progress;
	struct mproc_pool_worker worker;
	struct mproc_pool_stats stats;
	char bytes[16];

	mproc_pool_stats(job->pool, &stats);
	fprintf(stderr,
		"hashtree: %" PRIu64 " files, %" PRIu64 " bytes (%s) in %.2f s, %.2f GB/s\n",
		p->n_done, p->bytes_done, bytes_text(bytes, (double)p->bytes_done), seconds,
		(double)p->bytes_done / 1e9 / seconds);
	fprintf(stderr, "hashtree: tasks per worker:");
	for (uint32_t i = 0; mproc_pool_worker(job->pool, i, &worker) == 0; i++)
		fprintf(stderr, " %" PRIu64, worker.n_done);
	fprintf(stderr, "\nhashtree: tasks retried: %" PRIu64 ", workers lost: %" PRIu64 "\n",
		stats.n_retried, stats.n_deaths);
	fprintf(stderr, "hashtree: files that could not be read: %" PRIu64 "\n", p->n_failed);
}

/* One that is missing would be taken by the next descriptor that is opened. */
static void open_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		/* The wrong way round, so that using it fails. */
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			_exit(EXIT_FATAL);
}

static uint32_t parse_workers(struct job *job, const char *text)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (end == text || *end || errno || n < 1 || n > WORKERS_MAX)
		fatal(job, "--workers takes a number from 1 to %d, not \"%s\"", WORKERS_MAX, text);
	return (uint32_t)n;
}

static void parse_options(struct job *job, int argc, char **argv)
{
	static const struct option options[] = {
		{ "workers", required_argument, NULL, 'w' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "w:qh", options, NULL)) != -1) {
		switch (c) {
		case 'w':
			job->workers = parse_workers(job, optarg);
			break;
		case 'q':
			job->quiet = true;
			break;
		case 'h':
			fputs(usage_text, stdout);
			if (fflush(stdout) == EOF)
				fatal(job, "standard output: %s", strerror(errno));
			exit(0);
		default:
			/* getopt_long() has said what is wrong. */
			exit(EXIT_FATAL);
		}
	}
	if (optind == argc)
		fatal(job, "no DIR given (see hashtree --help)");
	job->dirs = argv + optind;
}

static void start_pool(struct job *job, mproc_segment **segment)
{
	uint32_t n = job->workers ? job->workers : mproc_cpu_count();

	if (n > WORKERS_MAX)
		n = WORKERS_MAX;
	job->window = WINDOW(n);
	job->flights = must(job, calloc(job->window, sizeof(*job->flights)));
	if (!hash_prepare())
		fatal(job, "libcrypto has no SHA-256 here");
	/* The place of a worker that died may be taken a moment longer than its life. */
	if (mproc_segment_create(segment, NULL,
				 MPROC_SEGMENT_OPTS(.processes = 2 * n + 16, .threads = 4 * n + 32,
						    .bytes = (UINT64_C(16) << 20) +
							     job->window * TASK_MAX)) < 0 ||
	    mproc_pool_create(&job->pool, *segment, "hashtree",
			      MPROC_POOL_OPTS(.workers = n, .tasks = (uint32_t)job->window,
					      .task_max = TASK_MAX,
					      .retry_killed = MPROC_POOL_UNLIMITED,
					      .retry_crashed = 3)) < 0)
		fatal(job, "%s", mproc_error_text());
}

int main(int argc, char **argv)
{
	struct job job = { .iter = MPROC_FUTURE_ITER };
	mproc_segment *segment;
	double seconds;

	open_standard_descriptors();
	/* A reader that goes away is told from, not died of. */
	signal(SIGPIPE, SIG_IGN);
	parse_options(&job, argc, argv);
	start_pool(&job, &segment);

	hash_tree(&job);
	seconds = (double)(mproc_now() - job.progress.start) / 1e9;
	/* When the workers have ended, their counts are final. One that was stopped is killed. */
	if (mproc_pool_shutdown(job.pool, 0, mproc_after_ms(2000)) < 0 && !job.quiet)
		fputs("hashtree: some workers did not end by themselves\n", stderr);
	if (job.n_files)
		qsort(job.files, job.n_files, sizeof(struct file *), by_path);
	print_digests(&job);
	print_unread(&job);
	if (!job.quiet)
		print_summary(&job, seconds);

	job.pool = mproc_pool_close(job.pool);
	mproc_segment_close(segment);
	for (size_t i = 0; i < job.n_files; i++) {
		free(job.files[i]->why);
		free(job.files[i]);
	}
	free(job.files);
	free(job.flights);
	return job.progress.n_failed ? EXIT_UNREAD : 0;
}
