/* SPDX-License-Identifier: GPL-2.0-or-later */
/* options.c — see options.h. --help and --version count only alone, as they always did. */
#include "cachefilesd/options.h"

#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"

static const struct option_row rows[] = {
	{'d', NULL, "more debugging output; may be repeated"},
	{'f', "FILE", "read the configuration from FILE (default " OPTIONS_CONFIG ")"},
	{'n', NULL, "stay in the foreground; no pid file is written"},
	{'N', NULL, "do not cull and do not scan"},
	{'p', "FILE", "write the pid to FILE (default " OPTIONS_PIDFILE ")"},
	{'s', NULL, "write messages to standard error instead of the system log"},
	{'v', NULL, "print the version and exit (also a lone --version)"},
};

const struct option_row *options_table(size_t *n)
{
	*n = ARRAY_SIZE(rows);
	return rows;
}

void options_usage(char *out, size_t cap)
{
	size_t n = (size_t)snprintf(out, cap, "usage: cachefilesd [-dnNsv] [-f FILE] [-p FILE]\n");

	for (size_t i = 0; i < ARRAY_SIZE(rows) && n < cap; i++)
		n += (size_t)snprintf(out + n, cap - n, "  -%c %-5s %s\n", rows[i].letter,
			rows[i].argument ? rows[i].argument : "", rows[i].help);
	if (n < cap)
		snprintf(out + n, cap - n, "  a lone --help prints this text\n");
}

static const struct option_row *find(char c)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].letter == c)
			return &rows[i];
	return NULL;
}

static void apply(struct options *o, char c, const char *value)
{
	switch (c) {
	case 'd':
		o->debug++;
		break;
	case 'f':
		o->config = value;
		break;
	case 'n':
		o->foreground = true;
		break;
	case 'N':
		o->no_cull = true;
		break;
	case 'p':
		o->pidfile = value;
		break;
	case 's':
		o->use_stderr = true;
		break;
	default:
		break;
	}
}

enum options_result options_parse(int argc, char **argv, struct options *o, char *reason)
{
	*o = (struct options){.config = OPTIONS_CONFIG, .pidfile = OPTIONS_PIDFILE};
	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return OPTIONS_HELP;
	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		return OPTIONS_VERSION;
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (strcmp(a, "--") == 0)
			break;
		if (a[0] != '-' || !a[1])
			continue; /* other arguments were always ignored */
		for (const char *c = a + 1; *c; c++) {
			const struct option_row *row = find(*c);
			const char *value = NULL;

			if (!row) {
				snprintf(reason, OPTIONS_REASON,
					"Unknown commandline option '%c' in \"%.100s\"", *c, a);
				return OPTIONS_WRONG;
			}
			if (row->letter == 'v')
				return OPTIONS_VERSION;
			if (row->argument) {
				value = c[1] ? c + 1 : i + 1 < argc ? argv[++i] : NULL;
				if (!value) {
					snprintf(reason, OPTIONS_REASON, "option -%c needs a %s",
						*c, row->argument);
					return OPTIONS_WRONG;
				}
			}
			apply(o, *c, value);
			if (row->argument)
				break;
		}
	}
	return OPTIONS_RUN;
}
