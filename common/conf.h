/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conf.h — INI text (inih) to a struct by a table of options. No policy.
 *
 * One row per option feeds the parser, --help, `config` listings and the manual's table. Every
 * error is reported, each with file and line, before anything is used; a later duplicate of a key
 * is an error that names both lines (except CONF_LIST, which appends).
 */
#ifndef COMMON_CONF_H
#define COMMON_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

enum conf_type {
	CONF_STRING, /* char *, owned by the struct */
	CONF_BOOL, /* bool: yes/no/true/false/on/off/1/0 */
	CONF_U64, /* uint64_t, min..max */
	CONF_SIZE, /* uint64_t bytes (num_size) */
	CONF_DURATION, /* uint64_t nanoseconds (num_duration) */
	CONF_ENUM, /* int: index into `names` */
	CONF_LIST, /* char *, comma separated and appended on repetition; owned */
};

struct conf_option {
	const char *section, *key;
	enum conf_type type;
	size_t offset; /* of the member in the target struct */
	uint64_t min, max; /* U64, SIZE, DURATION; max 0 = no bound */
	const char *def; /* default as text; NULL = NULL/0/false */
	const char *unit; /* for help: "bytes", "seconds" …; NULL */
	const char *help; /* one sentence */
	const char *const *names; /* ENUM: NULL-terminated */
};

struct conf_origin {
	unsigned line; /* 0 = default */
};

/* conf_defaults - fill @target from the defaults. 0 or -ENOMEM (-EINVAL: the table is wrong). */
int conf_defaults(const struct conf_option *opts, size_t n, void *target);
/* conf_parse - @text over the values already in @target. @origins (n entries, may be NULL) records
 * the line of each option. Errors go to @errors as lines "FILE:LINE: what, why, what would be
 * right\n". Returns 0, or the number of errors, or -ENOMEM; with errors @target is partly filled
 * and must be thrown away. */
int conf_parse(const struct conf_option *opts, size_t n, void *target, const char *file,
	const char *text, size_t len, struct conf_origin *origins, struct buf *errors);
/* conf_keep_section, conf_drop_section - blank every line outside (of) @section in place, so that
 * one file can serve several programs and line numbers stay; done before conf_parse */
void conf_keep_section(char *text, size_t len, const char *section);
void conf_drop_section(char *text, size_t len, const char *section);
/* conf_set - one value by text, as if from a command line */
int conf_set(const struct conf_option *opt, void *target, const char *value, char *reason);
/* conf_fini - free the strings of @target */
void conf_fini(const struct conf_option *opts, size_t n, void *target);
/* conf_format - the value of @opt in @target as text that conf_parse would accept */
void conf_format(const struct conf_option *opt, const void *target, struct buf *out);

#endif
