/* SPDX-License-Identifier: GPL-2.0-or-later */
/* app.c — from the words of the command line to the command that runs, and the two commands about
 * dfcache itself: config and completion */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"
#include "dfcache/commands.h"
#include "dfcache/exit.h"
#include "dfcache/logs.h"

#define MAX_CONFIG (1u << 20)

static const char version[] = "dfcache " VERSION " (" GIT_COMMIT ", " GIT_DATE ")";

static int usage(FILE *to)
{
	fputs("Import and export files of a P2P cache of persistent tasks.\n\n"
	      "Usage: dfcache <COMMAND>\n\nCommands:\n",
		to);
	for (size_t i = 0; i < n_commands; i++)
		fprintf(to, "  %-10s  %s\n", commands[i].name, commands[i].summary);
	fputs("  help        Print this text, or the help of a command.\n\n"
	      "Options:\n  -h, --help     Print help\n  -V, --version  Print version\n",
		to);
	return to == stdout ? EXIT_OK : EXIT_USAGE;
}

static int help_of(const char *name, bool is_long)
{
	const struct command *cmd = command_find(name);
	_cleanup_buf_ struct buf b = {0};

	if (!cmd) {
		fprintf(stderr,
			"error: unrecognized subcommand '%s'\n\nFor more information, try '--help'.\n",
			name);
		return EXIT_USAGE;
	}
	cli_help(cmd, is_long, &b);
	fputs(buf_str(&b), stdout);
	return EXIT_OK;
}

static const char *environment(const char *name)
{
	return getenv(name);
}

/* read_config - the configuration file (@asked by option, or NULL) into @text; *path NULL when there
 * is none and none was asked for */
static int read_config(const char *asked, const char **path, struct buf *text, struct buf *error)
{
	int r;

	if (!asked)
		asked = getenv("DFCACHE_CONFIG");
	*path = asked ? asked : DFCACHE_CONFIG_PATH;
	r = fd_read_file(AT_FDCWD, *path, MAX_CONFIG, text);
	/* nobody asked for it, and it may be for root's eyes */
	if (!asked && (r == -ENOENT || r == -EACCES)) {
		*path = NULL;
		return 0;
	}
	if (r < 0)
		buf_addf(error, "error: cannot read the configuration file %s: %s\n", *path,
			strerror(-r));
	return r;
}

/* settle - environment, file, defaults */
static int settle(struct cli *c, const char *config, struct buf *error)
{
	_cleanup_buf_ struct buf text = {0};
	const char *path;
	int r = cli_environment(c, environment, error);

	if (r == 0)
		r = read_config(config, &path, &text, error);
	if (r == 0 && path)
		r = cli_file(c, commands, n_commands, path, (char *)text.data, text.len, error);
	return r < 0 ? r : cli_defaults(c);
}

static void warn_no_log(const struct cli *c, int r)
{
	fprintf(stderr, "dfcache: warning: no log file in %s: %s; --log-dir names another place\n",
		cli_text(c, "log-dir"), strerror(-r));
}

/* run_logged - An ordinary user need not have a place in the default directory: then it matters only
 * when something failed, and one may want to read the log. */
static int run_logged(struct cli *c)
{
	int r = logs_open(cli_text(c, "log-dir"), cli_number(c, "log-max-files"),
		(int)cli_number(c, "log-level"), cli_flag(c, "console"));
	bool is_asked = cli_value(c, "log-dir")->origin != ORIGIN_DEFAULT || geteuid() == 0;
	int status;

	if (r < 0 && is_asked)
		warn_no_log(c, r);
	status = c->command->run(c);
	if (r < 0 && !is_asked && status != EXIT_OK)
		warn_no_log(c, r);
	return status;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	_cleanup_buf_ struct buf error = {0};
	CLEANUP(cli_fini) struct cli c = {0};
	int r = cli_parse(&c, cmd, argc, argv, &error);

	if (r == 0 && c.want_help)
		return help_of(cmd->name, c.want_long_help);
	if (r == 0)
		r = settle(&c, cli_has(&c, "config") ? cli_text(&c, "config") : NULL, &error);
	if (r == 0)
		r = cli_check(&c, &error);
	if (r < 0) {
		fputs(error.len ? buf_str(&error) : "dfcache: out of memory\n", stderr);
		return r == -ENOMEM ? EXIT_FAILED : EXIT_USAGE;
	}
	return cli_has(&c, "log-dir") ? run_logged(&c) : cmd->run(&c);
}

int dfcache_main(int argc, char **argv)
{
	const struct command *cmd;
	int status;

	setlocale(LC_ALL, "");
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2)
		return usage(stderr);
	if (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"))
		return usage(stdout);
	if (!strcmp(argv[1], "-V") || !strcmp(argv[1], "--version")) {
		puts(version);
		return EXIT_OK;
	}
	if (!strcmp(argv[1], "help"))
		return argc < 3 ? usage(stdout) : help_of(argv[2], true);
	cmd = command_find(argv[1]);
	if (!cmd) {
		fprintf(stderr,
			"error: %s '%s'\n\nUsage: dfcache <COMMAND>\n\n"
			"For more information, try '--help'.\n",
			argv[1][0] == '-' ? "unexpected argument" : "unrecognized subcommand",
			argv[1]);
		return EXIT_USAGE;
	}
	status = run(cmd, argc - 2, argv + 2);
	/* a full disk behind the pipe, or a closed one: the result was not delivered */
	if ((ferror(stdout) || fflush(stdout) != 0) && status == EXIT_OK) {
		fputs("dfcache: the result could not be written to standard output\n", stderr);
		return EXIT_FAILED;
	}
	return status;
}

/* ---- dfcache config, dfcache completion ---------------------------------------------------- */

static void origin_text(
	const struct cli *c, const struct opt *o, const struct value *v, char out[512])
{
	char env[96];

	switch (v->origin) {
	case ORIGIN_FILE:
		snprintf(out, 512, "%s:%u", c->config_path, v->line);
		return;
	case ORIGIN_ENVIRONMENT:
		cli_env_name(c->command, o, env);
		snprintf(out, 512, "environment %s", env);
		return;
	case ORIGIN_OPTION:
		snprintf(out, 512, "option");
		return;
	case ORIGIN_DEFAULT:
		snprintf(out, 512, v->is_set ? "default" : "unset");
	}
}

static void show_text(const struct cli *c, struct buf *out)
{
	buf_addf(out, "[%s]\n", c->command->name);
	for (size_t i = 0; i < c->command->n_opts; i++) {
		const struct opt *o = &c->command->opts[i];
		const struct value *v = &c->values[i];
		const char *shown = v->text ? v->text : o->type == OPT_FLAG ? "false" : "-";
		char from[512];

		origin_text(c, o, v, from);
		buf_addf(out, "%-32s %-36s # %s\n", o->name, *shown ? shown : "\"\"", from);
	}
}

static void show_json(const struct cli *c, bool is_first, struct buf *out)
{
	buf_adds(out, is_first ? "{\n" : ",\n");
	buf_json_string(out, c->command->name);
	buf_adds(out, ": {");
	for (size_t i = 0; i < c->command->n_opts; i++) {
		const struct opt *o = &c->command->opts[i];
		const struct value *v = &c->values[i];
		char from[512];

		origin_text(c, o, v, from);
		buf_adds(out, i ? ",\n  " : "\n  ");
		buf_json_string(out, o->name);
		buf_adds(out, ": {\"value\": ");
		if (o->type == OPT_FLAG)
			buf_adds(out, v->number ? "true" : "false");
		else if (v->text)
			buf_json_string(out, v->text);
		else
			buf_adds(out, "null");
		buf_adds(out, ", \"origin\": ");
		buf_json_string(out, from);
		buf_addc(out, '}');
	}
	buf_addc(out, '}');
}

/* show_one - the settings of one command as it would start now, without words of its own */
static int show_one(const struct cli *outer, const struct command *cmd, bool is_first,
	struct buf *out, struct buf *error)
{
	struct command bare = *cmd;
	CLEANUP(cli_fini) struct cli c = {0};
	int r;

	bare.min_args = 0;
	r = cli_parse(&c, &bare, 0, NULL, error);
	if (r == 0)
		r = settle(&c, cli_text(outer, "config"), error);
	if (r < 0)
		return r;
	if (cli_flag(outer, "json"))
		show_json(&c, is_first, out);
	else
		show_text(&c, out);
	return 0;
}

int config_run(struct cli *c)
{
	const struct command *only = c->n_args ? command_find(c->args[0]) : NULL;
	_cleanup_buf_ struct buf out = {0}, error = {0};
	bool is_first = true;
	int r = 0;

	if (c->n_args && !only) {
		fprintf(stderr, "error: there is no command '%s'\n", c->args[0]);
		return EXIT_USAGE;
	}
	for (size_t i = 0; i < n_commands && r == 0; i++) {
		if (!commands[i].n_opts || (only && only != &commands[i]))
			continue;
		r = show_one(c, &commands[i], is_first, &out, &error);
		is_first = false;
	}
	if (r < 0) {
		fputs(error.len ? buf_str(&error) : "dfcache: out of memory\n", stderr);
		return EXIT_USAGE;
	}
	if (cli_flag(c, "json"))
		buf_adds(&out, "\n}\n");
	fputs(buf_str(&out), stdout);
	return EXIT_OK;
}

int completion_run(struct cli *c)
{
	_cleanup_buf_ struct buf out = {0};

	if (cli_completion(commands, n_commands, c->args[0], &out) < 0) {
		fprintf(stderr, "error: invalid value '%s' for '<SHELL>': bash, zsh or fish\n",
			c->args[0]);
		return EXIT_USAGE;
	}
	fputs(buf_str(&out), stdout);
	return EXIT_OK;
}
