/* SPDX-License-Identifier: GPL-2.0-or-later */
/* door.h — the door thread: the store's socket, control requests, signals, time, readiness.
 *
 * main.c composes: door_open() makes the socket and reads the store (so that errors are known
 * before the daemon reports success), door_run() serves until a signal ends it. Only epoll, never
 * the ring. What may block on a disk is done by the loop's two workers or the culling thread.
 */
#ifndef CACHEFILESD_DOOR_H
#define CACHEFILESD_DOOR_H

#include <stdbool.h>
#include <stddef.h>

#include "cachefilesd/config.h"
#include "cachefilesd/source.h"

struct door;
struct culler;

#define DOOR_REASON 512

/* door_open - the store (when @cfg asks for it) in @dirfd, which is not consumed, and the socket.
 * 0, or -errno and a sentence in @reason. The socket is only a warning when @cfg does not ask for
 * the store. Blocks SIGTERM, SIGINT, SIGHUP and SIGUSR1: the loop receives them. */
int door_open(struct door **out, const struct config *cfg, int dirfd, char *reason);
/* door_source - the tasks as a tenant for the culling thread; NULL when there is no store */
struct cull_source *door_source(struct door *d);
/* door_run - serve. @culler may be NULL (no culling: tests of the door alone). @reload is called on
 * SIGHUP and returns the new configuration (kept by the caller) or NULL to go on as before. Returns
 * 0 after SIGTERM or SIGINT, -errno when the loop or the culling thread failed. */
int door_run(struct door *d, struct culler *culler, const struct config *(*reload)(void *arg),
	void *arg);
struct door *door_close(struct door *d); /* NULL */

#endif
