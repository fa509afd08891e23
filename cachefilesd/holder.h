/* SPDX-License-Identifier: GPL-2.0-or-later */
/* holder.h — somebody who does not crash keeps the device open.
 *
 * The last close of /dev/cachefiles withdraws the kernel's cache. So the descriptors live twice: in
 * the worker (the real daemon) and with a holder: systemd's descriptor store when NOTIFY_SOCKET is
 * set, else a tiny process of our own that restarts the worker when it dies. Either of the two
 * processes may be killed at any time: the holder starts a new worker, the worker a new holder.
 * Kept: device, root, cache and graveyard directory, and a memfd with the text of the configuration
 * that is bound, because the kernel cannot tell it.
 *
 * main.c: options and configuration first, then
 *	return holder_run(argv, want, worker, arg);
 * worker() is the daemon: asks holder_adopted(), binds or adopts, holder_keep(), runs, returns its
 * exit status. Before holder_keep() a failing worker ends the program with its status; afterwards
 * it is restarted (back-off 0.1 to 10 s) unless it returns 0: an orderly stop.
 * The pid file names the worker, which writes it anew at each start.
 * Signals: SIGTERM, SIGINT and SIGHUP sent to the holder are passed on to the worker.
 */
#ifndef CACHEFILESD_HOLDER_H
#define CACHEFILESD_HOLDER_H

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct holder;

enum holder_kind {
	HOLDER_NONE, /* nothing survives: no kernel cache, or debugging */
	HOLDER_SYSTEMD, /* systemd's descriptor store */
	HOLDER_PROCESS, /* a process of our own */
};

enum holder_slot { HOLDER_DEVICE, HOLDER_ROOT, HOLDER_CACHE, HOLDER_GRAVEYARD, HOLDER_N_SLOTS };

/* holder_choose - SYSTEMD when started by systemd with a descriptor store, else PROCESS */
enum holder_kind holder_choose(void);
/* holder_is_replacement - this process was started by a worker whose holder died: parse options
 * and configuration (errors do not matter), do not daemonise, write no pid file, and call
 * holder_run() with HOLDER_PROCESS */
bool holder_is_replacement(void);
/* holder_run - runs @worker under @kind; returns the exit status of the program. @argv is used to
 * start a new holder (NULL-terminated, kept). In PROCESS the worker is a fork: what the caller
 * parsed is there, but it must start its threads itself. */
int holder_run(
	char **argv, enum holder_kind kind, int (*worker)(struct holder *h, void *arg), void *arg);
enum holder_kind holder_kind(const struct holder *h);

/* holder_adopted - descriptors of an earlier life, once: true and @fds (the caller's; all of them
 * valid) and @bound, the configuration text given to holder_keep() then */
bool holder_adopted(struct holder *h, int fds[HOLDER_N_SLOTS], struct buf *bound);
/* holder_keep - hand duplicates to the holder, replacing earlier ones. 0 or -errno: then the
 * daemon works, but a crash would withdraw the cache (log it). */
int holder_keep(struct holder *h, const int fds[HOLDER_N_SLOTS], const char *bound, size_t len);
/* holder_drop - let go of everything and wait until it happened (bounded, 5 s): before a rebind,
 * and in an orderly stop. systemd keeps its copies over a stop that is part of a restart, so on
 * SIGTERM under SYSTEMD it is not called: systemd drops them when the unit ends. */
int holder_drop(struct holder *h);
/* holder_fd - readable when holder_service() has something to do (our process died); -1 = never.
 * It changes: ask again after each service. */
int holder_fd(const struct holder *h);
void holder_service(struct holder *h);

#endif
