/* SPDX-License-Identifier: GPL-2.0-or-later */
/* daemon.h — dfdaemon put together: builds the rooms in order, wires their arrows, runs until told to
 * stop, and takes everything down in reverse.
 */
#ifndef P2P_DAEMON_H
#define P2P_DAEMON_H

struct config;

/* daemon_run - SIGTERM, SIGINT, SIGHUP and SIGPIPE must be blocked in all threads. Returns 0 after an
 * orderly stop, or -errno after a sentence in the log. */
int daemon_run(const struct config *cfg);

#endif
