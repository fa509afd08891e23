/* SPDX-License-Identifier: GPL-2.0-or-later */
/* session.h — what every command that talks to dfdaemon does: connect, one way to fail, one way out.
 */
#ifndef DFCACHE_SESSION_H
#define DFCACHE_SESSION_H

#include "dfcache/cli.h"
#include "dfcache/client.h"
#include "dfcache/report.h"

#define STAT_TIMEOUT_NS (15ull * 1000000000ull) /* of calls that have no --timeout */

struct session {
	struct cli *cli;
	struct client *client;
	struct failure failure;
};

/* session_begin - 0, or the exit status after a report */
int session_begin(struct session *s, struct cli *c);
/* session_end - report what failed as @what ("export 123"), release all; the exit status of the
 * program: 128 + signal when one interrupted it */
int session_end(struct session *s, const char *what);

#endif
