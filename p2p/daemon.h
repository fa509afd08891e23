/* SPDX-License-Identifier: GPL-2.0-or-later */
/* daemon.h — dfdaemon put together: builds the rooms in order, wires their arrows, runs until told to
 * stop, and takes everything down in reverse.
 */
#ifndef P2P_DAEMON_H
#define P2P_DAEMON_H

struct buf;
struct config;

/* daemon_reread_fn - the configuration once more, into @next, which is initialised; 0, or lines in @errors */
typedef int (*daemon_reread_fn)(void *arg, struct config *next, struct buf *errors);

/* daemon_run - SIGTERM, SIGINT, SIGHUP and SIGPIPE must be blocked in all threads. SIGHUP calls
 * @reread(@arg, …), and what can change while it runs is changed, in @cfg too. Returns 0 after an
 * orderly stop, or -errno after a sentence in the log. */
int daemon_run(struct config *cfg, daemon_reread_fn reread, void *arg);

#endif
