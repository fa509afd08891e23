/* SPDX-License-Identifier: GPL-2.0-or-later */
/* session.h — inside store/: one client's connection, its leases, its requests. server.c owns the
 * list of sessions and the requests that wait for space or for each other; session.c moves messages
 * and holds leases; request.c is what each request does.
 */
#ifndef CACHEFILESD_STORE_SESSION_H
#define CACHEFILESD_STORE_SESSION_H

#include <sys/socket.h>

#include "cachefilesd/api/proto.h"
#include "cachefilesd/store/server.h"
#include "common/loop.h"

struct job;

struct server {
	struct loop *loop;
	struct depot *depot;
	struct server_settings set;
	struct server_hooks hooks;
	int fd; /* listening; -1 = none */
	struct loop_op accept, timer, reaper, expirer, stamp_timer, stamper, over;
	bool is_stopping, reap_again, expire_again;
	uint64_t
		expires_ns; /* wall clock: when the expirer has something to do; 0 = nothing known */
	void (*stopped)(void *arg);
	void *stopped_arg;
	struct list sessions;
	size_t n_sessions, n_jobs;
	struct list waiting; /* creates that wait for space, first come first served */
	struct list parked; /* commits that wait for another commit of the same id */
	pthread_mutex_t rewrite; /* one change of a record at a time */
	struct record scratch; /* of the request in hand */
};

struct lease {
	struct session *session;
	uint32_t number;
	struct task *task; /* a read lease … */
	struct partial *partial; /* … or a write lease */
	int record; /* write: read-write, owned */
	struct record *head; /* write: what the piece table needs; owned */
	uint8_t *bitmap; /* write: pieces present; owned */
	uint64_t reserve;
	bool is_busy; /* a job works on it */
	bool is_closing; /* its session ended meanwhile */
};

struct out;

struct session {
	struct list link;
	struct server *server;
	int fd;
	struct ucred cred;
	bool is_trusted; /* root, ourselves, or the configured user */
	bool is_closed;
	struct loop_op recv, send;
	struct list outs;
	size_t n_outs, n_jobs;
	uint64_t reserved_bytes, heard_ns;
	struct lease **leases; /* by slot; NULL = free */
	uint32_t n_slots, n_leases, lease_serial;
	struct msghdr in_msg, out_msg;
	struct iovec in_iov, out_iov;
	struct {
		_Alignas(struct cmsghdr) char buf[CMSG_SPACE(3 * sizeof(int))];
	} control;
	uint8_t in[PROTO_MESSAGE_MAX];
};

/* A request that is not answered at once. */
struct job {
	struct loop_op op;
	struct list link; /* in server.waiting or server.parked */
	struct session *session;
	enum proto_type type;
	uint32_t number;
	struct lease *lease;
	struct task *task;
	struct store_info info;
	uint64_t reserve, deadline_ns, expires_ns, bytes;
	bool pin, has_attrs, punch;
	enum store_status status;
	int data, read_only, record, record_ro;
	uint32_t n_cleared;
	uint8_t *bitmap;
	char message[STORE_MESSAGE_MAX];
	struct record *want; /* a create that takes up an orphan: what to create if that fails */
	struct record rec;
};

struct server_ask {
	struct session *session;
	enum proto_type type;
	uint32_t number;
};

/* session.c */
int session_new(struct server *s, int fd);
void session_close(struct session *c, const char *why); /* why NULL: the client left */
void session_maybe_free(struct session *c);
/* session_reply - @fds (n, -1 = none there) are taken */
void session_reply(struct session *c, struct proto_reply *r, int data, int record, int read_only);
void session_say(struct session *c, enum proto_type t, uint32_t number, enum store_status st,
	const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void session_resume(struct session *c); /* read on, if it may */
/* session_oldest_out - since when the first unsent reply waits; UINT64_MAX = none */
uint64_t session_oldest_out(const struct session *c);
struct lease *session_lease_new(struct session *c); /* NULL: too many, or no memory */
struct lease *session_lease_find(struct session *c, uint32_t number);
/* lease_end - give back what it protects; for a partial: it stays as an orphan */
void lease_end(struct lease *l);
/* lease_forget - the entry alone */
void lease_forget(struct lease *l);

/* request.c */
void request_handle(struct session *c, const struct proto_request *rq);
bool request_retry_create(struct job *j); /* from server.waiting; true: it must wait on */
void request_retry_commit(struct job *j);
void request_retry_parked(struct server *s); /* all of server.parked */
void request_timed_out(struct job *j);
void request_drop(struct job *j); /* its session ended while it waited */

/* server.c */
void server_tick(struct server *s); /* expiry may have changed */
void server_arm(struct server *s); /* when the next tick is, by what is known now */
void server_used(struct server *s); /* a time of use changed: it is written soon */
void server_session_gone(struct server *s);

#endif
