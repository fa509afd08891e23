/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cli.h — one table of options per command, and what was made of it.
 *
 * The table feeds the parser, the help texts, the configuration file, the environment, `dfcache
 * config` and the completions; the manual is compared with it by a test. A value comes from the
 * command line, else from the environment variable DFCACHE_<COMMAND>_<env>, else from the key in
 * the section [dfcache] of the configuration file, else from the table; all four go through the
 * same strict parser, and its complaint names the place.
 * Long options may not be abbreviated. Parsing does no I/O.
 */
#ifndef DFCACHE_CLI_H
#define DFCACHE_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

enum opt_type {
	OPT_FLAG,
	OPT_STRING, /* UTF-8 */
	OPT_PATH, /* any bytes */
	OPT_U64,
	OPT_SIZE, /* bytes */
	OPT_DURATION, /* ns */
	OPT_LEVEL, /* a log level; syslog's number */
	OPT_DIGEST, /* <algorithm>:<value>; the text becomes the canonical form */
};

struct opt {
	const char *name; /* without dashes */
	char letter; /* 0 = none */
	enum opt_type type;
	const char *value; /* placeholder in help; NULL for a flag */
	const char *def; /* as text; NULL = absent (a flag: false) */
	const char *env; /* what follows DFCACHE_<COMMAND>_; NULL = none */
	const char *key; /* in [dfcache]; NULL = none */
	const char *alias; /* an older name; NULL = none */
	bool is_required;
	const char *help; /* first sentence: the short help; the rest: the long one */
};

struct cli;

struct command {
	const char *name, *args; /* args: "<PATH>..." */
	unsigned min_args, max_args;
	const char *summary, *details; /* one sentence; what the long help adds */
	const char *example;
	const struct opt *opts;
	size_t n_opts;
	int (*run)(struct cli *c); /* exit status */
};

enum origin { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENVIRONMENT, ORIGIN_OPTION };

struct value {
	bool is_set;
	enum origin origin;
	char *text; /* owned; NULL when not set */
	uint64_t number; /* U64, SIZE, DURATION, LEVEL, FLAG */
	unsigned line; /* ORIGIN_FILE */
};

struct cli {
	const struct command *command;
	struct value *values; /* one per option of the command; owned */
	char **args; /* positional, borrowed from argv */
	unsigned n_args;
	bool want_help, want_long_help;
	const char *config_path; /* of the file that was read; borrowed; NULL = none */
};

/* cli_parse - the words after the command's name. 0, or -EINVAL with the whole message (usage hint
 * included) in @error, or -ENOMEM. With want_help nothing else is checked. */
int cli_parse(struct cli *c, const struct command *cmd, int argc, char **argv, struct buf *error);
/* cli_environment - fill what the command line left open. @get: getenv, or a test's */
int cli_environment(struct cli *c, const char *(*get)(const char *name), struct buf *error);
/* cli_file - fill from the text of a configuration file what is still open, and check all of the
 * section [dfcache] against @commands. The other sections are not looked at. */
int cli_file(struct cli *c, const struct command *commands, size_t n_commands, const char *path,
	char *text, size_t len, struct buf *error);
/* cli_defaults - fill the rest from the table; 0 or -ENOMEM */
int cli_defaults(struct cli *c);
/* cli_check - required options must be there; -EINVAL with @error */
int cli_check(const struct cli *c, struct buf *error);
void cli_fini(struct cli *c);

/* Lookups by name; asking for what is not in the table is a bug and aborts. */
const struct value *cli_value(const struct cli *c, const char *name);
const char *cli_text(const struct cli *c, const char *name); /* NULL when not set */
uint64_t cli_number(const struct cli *c, const char *name); /* 0 when not set */
bool cli_flag(const struct cli *c, const char *name);
bool cli_has(const struct cli *c, const char *name); /* is it in this command's table? */

/* cli_env_name - DFCACHE_IMPORT_TTL …; @o->env must be set */
void cli_env_name(const struct command *cmd, const struct opt *o, char out[96]);
/* cli_help - the text of `dfcache COMMAND -h` or `--help` */
void cli_help(const struct command *cmd, bool is_long, struct buf *out);
/* cli_completion - a script for "bash", "zsh" or "fish"; -EINVAL for another shell */
int cli_completion(const struct command *commands, size_t n, const char *shell, struct buf *out);

#endif
