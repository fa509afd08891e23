/* SPDX-License-Identifier: GPL-2.0-or-later */
/* log.c — see log.h. The log is one of the few things that are truly per process; its state is the
 * one struct below. A sink is changed by atomically replacing what the descriptor number refers to
 * (dup3), so a thread in the middle of a line never writes to a closed descriptor. */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"

#define LINE_BYTES       2048
#define LIMIT_PER_WINDOW 10
#define LIMIT_WINDOW_NS  1000000000ull

static struct {
	_Atomic int sink, level, file_fd;
	_Atomic bool is_journal, is_also_stderr;
	const char *_Atomic ident;
	pthread_mutex_t lock; /* path, and the counters of limited sites */
	char *path;
} log_state = {
	.sink = LOG_SINK_STDERR,
	.level = LOG_INFO,
	.file_fd = -1,
	.ident = "",
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

static const char *const level_names[] = {
	"emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"};

/* stderr_is_journal - systemd says device:inode of the stream that it connected (systemd.exec(5)) */
static bool stderr_is_journal(void)
{
	const char *s = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return s && sscanf(s, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == dev && st.st_ino == ino;
}

static int open_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);

	return fd < 0 ? -errno : fd;
}

/* install_file - @fd becomes the log file; consumed. Called with the lock held. */
static int install_file(int fd)
{
	if (log_state.file_fd < 0) {
		log_state.file_fd = fd;
		return 0;
	}
	if (dup3(fd, log_state.file_fd, O_CLOEXEC) < 0) {
		int e = -errno;

		fd_close(fd);
		return e;
	}
	fd_close(fd);
	return 0;
}

int log_open(enum log_sink sink, const char *ident, const char *path)
{
	if (sink == LOG_SINK_FILE) {
		_cleanup_free_ char *copy = NULL;
		int fd, r;

		if (!path)
			return -EINVAL;
		copy = strdup(path);
		if (!copy)
			return -ENOMEM;
		fd = open_file(path);
		if (fd < 0)
			return fd;
		pthread_mutex_lock(&log_state.lock);
		r = install_file(fd);
		if (r == 0) {
			free(log_state.path);
			log_state.path = take_ptr(&copy);
		}
		pthread_mutex_unlock(&log_state.lock);
		if (r)
			return r;
	} else if (sink == LOG_SINK_SYSLOG) {
		openlog(ident, LOG_PID | LOG_NDELAY, LOG_DAEMON);
	} else {
		log_state.is_journal = stderr_is_journal();
	}
	log_state.ident = ident ? ident : "";
	log_state.sink = sink;
	return 0;
}

int log_reopen(void)
{
	int r = 0;

	pthread_mutex_lock(&log_state.lock);
	if (log_state.sink == LOG_SINK_FILE) {
		r = open_file(log_state.path);
		if (r >= 0)
			r = install_file(r);
	}
	pthread_mutex_unlock(&log_state.lock);
	return r;
}

void log_also_stderr(bool on)
{
	log_state.is_also_stderr = on;
}

void log_set_level(int level)
{
	log_state.level = level;
}

int log_level(void)
{
	return log_state.level;
}

bool log_enabled(int level)
{
	return level <= log_state.level && log_state.sink != LOG_SINK_NONE;
}

int log_level_parse(const char *text)
{
	static const struct {
		const char *name;
		int level;
	} names[] = {
		{"error", LOG_ERR},
		{"warn", LOG_WARNING},
		{"warning", LOG_WARNING},
		{"notice", LOG_NOTICE},
		{"info", LOG_INFO},
		{"debug", LOG_DEBUG},
		{"trace", LOG_DEBUG},
		{"1", LOG_ERR},
		{"2", LOG_WARNING},
		{"3", LOG_INFO},
		{"4", LOG_DEBUG},
		{"5", LOG_DEBUG},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcasecmp(text, names[i].name))
			return names[i].level;
	return -EINVAL;
}

/* append - formatted text after @len bytes of @line; the new length, at most LINE_BYTES - 1 */
__attribute__((format(printf, 3, 0))) static size_t vappend(
	char *line, size_t len, const char *fmt, va_list ap)
{
	int n = vsnprintf(line + len, LINE_BYTES - len, fmt, ap);

	if (n < 0)
		return len;
	return len + (size_t)n < LINE_BYTES ? len + (size_t)n : LINE_BYTES - 1;
}

__attribute__((format(printf, 3, 4))) static size_t append(
	char *line, size_t len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	len = vappend(line, len, fmt, ap);
	va_end(ap);
	return len;
}

static size_t prefix(char *line, int level, int sink)
{
	const char *name = level_names[level & 7], *ident = log_state.ident;

	if (sink == LOG_SINK_FILE) {
		struct timespec ts;
		struct tm tm;

		clock_gettime(CLOCK_REALTIME, &ts);
		gmtime_r(&ts.tv_sec, &tm);
		return append(line, 0,
			"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %s[%d]: ", tm.tm_year + 1900,
			tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
			ts.tv_nsec / 1000000, name, ident, (int)getpid());
	}
	if (sink == LOG_SINK_SYSLOG)
		return 0;
	if (log_state.is_journal)
		return append(line, 0, "<%d>", level & 7);
	return append(line, 0, "%s%s%s: ", ident, *ident ? ": " : "", name);
}

__attribute__((format(printf, 3, 0))) static void emit(
	int level, unsigned n_suppressed, const char *fmt, va_list ap)
{
	int sink = log_state.sink, fd, e = errno;
	char line[LINE_BYTES];
	size_t start, len;
	ssize_t r;

	start = len = prefix(line, level, sink);
	errno = e; /* for %m */
	len = vappend(line, len, fmt, ap);
	if (n_suppressed)
		len = append(line, len, " suppressed=%u", n_suppressed);
	/* one event, one line, whatever a stranger put into a field */
	for (size_t i = start; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	if (sink == LOG_SINK_SYSLOG) {
		syslog(level, "%.*s", (int)len, line);
		errno = e;
		return;
	}
	if (len == LINE_BYTES - 1) {
		memcpy(line + len - 4, "...", 3);
		len--;
	}
	line[len++] = '\n';
	fd = sink == LOG_SINK_FILE ? log_state.file_fd : STDERR_FILENO;
	do
		r = write(fd, line, len);
	while (r < 0 && errno == EINTR);
	if (sink == LOG_SINK_FILE && log_state.is_also_stderr) {
		do
			r = write(STDERR_FILENO, line, len);
		while (r < 0 && errno == EINTR);
	}
	errno = e;
}

void log_line(int level, const char *fmt, ...)
{
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	emit(level, 0, fmt, ap);
	va_end(ap);
}

void log_limited(struct log_site *site, int level, const char *fmt, ...)
{
	unsigned n_suppressed = 0;
	struct timespec ts;
	bool is_over;
	uint64_t now;
	va_list ap;

	if (!log_enabled(level))
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	pthread_mutex_lock(&log_state.lock);
	if (!site->window_start_ns || now - site->window_start_ns >= LIMIT_WINDOW_NS) {
		site->window_start_ns = now;
		site->n_in_window = 0;
	}
	is_over = site->n_in_window >= LIMIT_PER_WINDOW;
	if (is_over) {
		if (site->n_suppressed < UINT32_MAX)
			site->n_suppressed++;
	} else {
		site->n_in_window++;
		n_suppressed = site->n_suppressed;
		site->n_suppressed = 0;
	}
	pthread_mutex_unlock(&log_state.lock);
	if (is_over)
		return;
	va_start(ap, fmt);
	emit(level, n_suppressed, fmt, ap);
	va_end(ap);
}
