/* SPDX-License-Identifier: GPL-2.0-or-later */
/* report.h — failures said to a person (standard error) or a script (--json, standard output):
 * what failed, where, what to try. The exit status is the first word of each failure.
 */
#ifndef DFCACHE_REPORT_H
#define DFCACHE_REPORT_H

#include <stdbool.h>

#include "dfcache/cli.h"
#include "dfcache/exit.h"

/* a failure on its way from where it happened to where it is told; all zero = none */
struct failure {
	enum exit_status status;
	char *message, *hint; /* owned; hint may be NULL */
};

/* failure_set - returns @status; the first failure stays */
int failure_set(struct failure *f, enum exit_status status, const char *hint, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* failure_from_rpc - of a call that ended with gRPC @status: the sentence and what to try */
int failure_from_rpc(struct failure *f, int status, const char *message, const char *endpoint);
void failure_fini(struct failure *f);
const char *exit_status_name(enum exit_status s); /* "not_found" … for JSON */

/* report - tell it and log it; returns the exit status. @what: the thing, "import /tmp/a" */
int report(const struct cli *c, const char *what, const struct failure *f);
/* report_warning - on standard error and in the log */
void report_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
