/* SPDX-License-Identifier: GPL-2.0-or-later */
/* log.h — one line per event, for operators.
 *
 * A message is a sentence in lower case without a full stop, followed by fields: `key=value`.
 * Levels: err = act now, warning = degraded, notice = life cycle, info = one line per journey,
 * debug = the rest. Log where an error is handled, once. Never log content or tokens.
 * Sinks: standard error (with <N> prefixes when it is the journal), syslog, or a file that is
 * reopened by log_reopen(). Thread-safe; a line is written with one write(2).
 * Strangers cannot fill the log: LOG_LIMITED lines are limited per call site (10 a second) and
 * the number suppressed is reported with the next one that passes.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h> /* LOG_ERR … LOG_DEBUG */

enum log_sink { LOG_SINK_STDERR, LOG_SINK_SYSLOG, LOG_SINK_FILE, LOG_SINK_NONE };

struct log_site {
	uint64_t window_start_ns;
	uint32_t n_in_window, n_suppressed;
};

/* log_open - choose the sink; @ident names the program (must outlive the log); @path for a file.
 * Returns 0 or -errno (file only; the previous sink then stays). Before it, standard error is used.
 */
int log_open(enum log_sink sink, const char *ident, const char *path);
int log_reopen(void);
/* log_also_stderr - lines of a log file go to standard error too, as they are */
void log_also_stderr(bool on);
/* log_set_level - LOG_ERR … LOG_DEBUG; higher ones are dropped. Default LOG_INFO. */
void log_set_level(int level);
int log_level(void);
/* log_level_parse - error warn(ing) info debug trace, or 1..5, any case; -EINVAL */
int log_level_parse(const char *text);
bool log_enabled(int level);
void log_line(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_limited(struct log_site *site, int level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_err(...)     log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_enabled(LOG_DEBUG))                                                        \
			log_line(LOG_DEBUG, __VA_ARGS__);                                          \
	} while (0)
/* for events that a stranger can cause */
#define LOG_LIMITED(level, ...)                                                                    \
	do {                                                                                       \
		static struct log_site log_site_;                                                  \
		log_limited(&log_site_, (level), __VA_ARGS__);                                     \
	} while (0)

#endif
