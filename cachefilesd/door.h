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
struct holder;

#define DOOR_REASON 512

struct door_config {
	const struct config *cfg; /* stays valid until door_close() or the next reload */
	const char *dir; /* absolute; the caller's */
	int dirfd; /* of it; not consumed */
	struct holder *holder; /* may be NULL */
	/* on SIGHUP: read the configuration again and tell the culling thread; returns the new
	 * configuration, or NULL to go on as before */
	const struct config *(*reload)(void *arg, struct culler *culler);
	void *arg;
};

/* door_open - the store (when the configuration asks for it) and the socket. 0, or -errno and a
 * sentence in @reason. The socket is only a warning when the store is off. Blocks SIGTERM, SIGINT,
 * SIGHUP and SIGUSR1: the loop receives them. */
int door_open(struct door **out, const struct door_config *dc, char *reason);
/* door_source - the tasks as a tenant for the culling thread; NULL when there is no store */
struct cull_source *door_source(struct door *d);
/* door_run - serve until SIGTERM or SIGINT, then stop the clients and @culler (which is taken).
 * Returns 0, or -errno when the loop or the culling thread failed. */
int door_run(struct door *d, struct culler *culler);
struct door *door_close(struct door *d); /* NULL */

#endif
