/* SPDX-License-Identifier: GPL-2.0-or-later */
/* commands.h — the table of commands, and what each one runs. Each takes a finished struct cli and
 * returns an exit status; results go to standard output, all else to standard error.
 */
#ifndef DFCACHE_COMMANDS_H
#define DFCACHE_COMMANDS_H

#include <stddef.h>

#include "dfcache/cli.h"

#define DFCACHE_CONFIG_PATH "/etc/dragonfly/dfcache.conf"

extern const struct command commands[];
extern const size_t n_commands;

const struct command *command_find(const char *name); /* NULL: no such command */
/* dfcache_main - the whole program but exit(3) */
int dfcache_main(int argc, char **argv);

int import_run(struct cli *c);
int export_run(struct cli *c);
int stat_run(struct cli *c);
int list_run(struct cli *c);
int remove_run(struct cli *c);
int pin_run(struct cli *c);
int unpin_run(struct cli *c);
int ttl_run(struct cli *c);
int config_run(struct cli *c);
int completion_run(struct cli *c);

#endif
