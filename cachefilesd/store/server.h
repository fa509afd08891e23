/* SPDX-License-Identifier: GPL-2.0-or-later */
/* server.h — the sessions of the store's clients: requests in, replies and descriptors out.
 *
 * Runs on the door thread's loop. What may block on the disk (create, attach, commit, changes of a
 * record, deletion, expiry, writing times of use) runs on the loop's worker pool and is answered when it
 * is done; the rest is answered at once, in the order of arrival.
 * Every client is bounded: leases, requests in flight, bytes reserved; one that does not read its
 * replies for SERVER_SLOW_NS is dropped, and one that holds leases and is silent for STORE_SILENT_NS. Who is served is decided by the peer credentials.
 */
#ifndef CACHEFILESD_STORE_SERVER_H
#define CACHEFILESD_STORE_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cachefilesd/api/store.h"
#include "cachefilesd/store/depot.h"

#define SERVER_SESSIONS 256
#define SERVER_REQUESTS 128 /* in flight and unread replies, each session */
#define SERVER_LEASES   8192 /* each session */
#define SERVER_SLOW_NS  30000000000ull

struct loop;
struct server;
struct server_ask; /* a request that somebody outside answers */

struct server_settings {
	bool has_group;
	gid_t group; /* whose members may connect, beside root and our own uid */
	bool has_user;
	uid_t user; /* dfdaemon's: trusted to act for other uids */
	uint64_t client_max_bytes; /* reserved by one client at a time; 0 = no bound */
	bool is_enabled; /* false: only control requests are served */
	uint64_t silent_ns; /* 0 = STORE_SILENT_NS */
};

/* What the server asks of the daemon around it. All are called on the door thread. */
struct server_hooks {
	/* make @avail_bytes available; the daemon calls server_space_changed() when it moved */
	void (*need_space)(void *arg, uint64_t avail_bytes);
	/* answer later with server_answer(); the words are nul-terminated */
	void (*control)(void *arg, struct server_ask *ask, const char *words, bool is_trusted);
	void (*cull)(void *arg, struct server_ask *ask, bool dry_run, uint64_t bytes);
	void *arg;
};

/* server_new - @depot NULL: no store here, control requests only. The loop needs workers. */
int server_new(struct server **out, struct loop *l, struct depot *depot,
	const struct server_settings *set, const struct server_hooks *hooks);
/* server_listen - accept from @fd (a listening SOCK_SEQPACKET socket), which is taken */
void server_listen(struct server *s, int fd);
/* server_stop - no new clients, sessions end; @done runs from the loop when nothing is in flight
 * any more, then server_free() may be called */
void server_stop(struct server *s, void (*done)(void *arg), void *arg);
struct server *server_free(struct server *s); /* NULL */
void server_reload(struct server *s, const struct server_settings *set);

void server_reap(struct server *s); /* there is something in trash/ */
void server_space_changed(struct server *s); /* creates that wait are tried again */
void server_broadcast(struct server *s, enum store_event e);
/* server_answer - @fd (may be -1) is taken and becomes data_fd */
void server_answer(struct server_ask *ask, enum store_status st, const char *message, int fd,
	uint64_t freed_bytes);
size_t server_sessions(const struct server *s);

#endif
