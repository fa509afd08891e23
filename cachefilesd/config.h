/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config.h — the text of cachefilesd.conf to a struct: cachefilesd.conf(5). Pure, fuzzed.
 *
 * The grammar is the old daemon's: one command a line, no quoting, no trailing comments; an
 * existing file means exactly what it meant. What it meant to accept and did not (nocull,
 * resume_thresholds, percentages in any order), and what is merely untidy (blanks around a line,
 * CR LF, no final newline) is accepted, untidiness with a warning. The words of our own are off
 * unless given. Everything is read and every error is reported before anything is used.
 */
#ifndef CACHEFILESD_CONFIG_H
#define CACHEFILESD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cachefilesd/limits.h"

struct buf;

#define CONFIG_LINE_MAX    4096 /* bytes of a command with its newline must be fewer */
#define CONFIG_TEXT_MAX    (1u << 20)
#define CONFIG_SOCKET      "/run/cachefilesd/store.sock"
#define CONFIG_RESUME_NONE (-1)

struct config {
	/* the old words. Strings are owned; NULL = not given */
	char *dir; /* as written, blanks at the end included */
	char *tag, *secctx;
	struct limits limits;
	unsigned culltable; /* log2, 12..20 */
	bool nocull;
	int64_t resume_blocks, resume_files; /* CONFIG_RESUME_NONE = `-` */
	char **raw; /* other commands for the kernel ("debug 7") */
	size_t n_raw;
	/* ours */
	bool nokernel, store, fsverity, allow_foreign;
	char *socket, *socket_group, *store_user;
	unsigned pins_max_pct, pins_uid_max_pct, overshoot_pct;
	uint64_t tasks_max_size, tasks_max_age_ns, kernel_max_size, kernel_max_age_ns,
		client_max_reserve, grace_ns;
	unsigned dir_line;
};

void config_defaults(struct config *c);
void config_fini(struct config *c);

/* config_parse - @text over the defaults. Errors and warnings are appended as lines
 * "FILE:LINE:message\n". Returns the number of errors, or -ENOMEM; then @c still needs
 * config_fini() and must not be used. */
int config_parse(const char *file, const char *text, size_t len, struct config *c,
	struct buf *errors, struct buf *warnings);

/* One row for each word: parser, manual page and tests come from it. */
struct config_word {
	const char *name, *argument; /* argument NULL = none */
	bool is_ours;
	bool needs_restart; /* a change takes effect only when the daemon is started again */
};
const struct config_word *config_words(size_t *n);
/* config_value - the value of word @name in @c as text into @out, "" when not given: for comparing
 * two configurations */
void config_value(const struct config *c, const char *name, struct buf *out);

#endif
