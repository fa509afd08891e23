/* SPDX-License-Identifier: GPL-2.0-or-later */
/* options.h — the command line of cachefilesd(8), as the old daemon took it. Pure: no output, no
 * exit.
 */
#ifndef CACHEFILESD_OPTIONS_H
#define CACHEFILESD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#define OPTIONS_CONFIG  "/etc/cachefilesd.conf"
#define OPTIONS_PIDFILE "/var/run/cachefilesd.pid"

struct options {
	unsigned debug; /* -d, cumulative */
	bool use_stderr; /* -s */
	bool foreground; /* -n */
	bool no_cull; /* -N */
	const char *config, *pidfile; /* into argv */
};

enum options_result {
	OPTIONS_RUN,
	OPTIONS_VERSION, /* print the version, exit 0 */
	OPTIONS_HELP, /* print the usage to standard error, exit 2 */
	OPTIONS_WRONG, /* @reason says what; exit 2 */
};

#define OPTIONS_REASON 256
enum options_result options_parse(int argc, char **argv, struct options *o, char *reason);
/* options_usage - the text of --help, made from the table of options */
void options_usage(char *out, size_t cap);

struct option_row {
	char letter;
	const char *argument, *help;
};
const struct option_row *options_table(size_t *n);

#endif
