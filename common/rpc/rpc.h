/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rpc.h — gRPC over HTTP/2 (nghttp2) on the loop: server, client, both roles of streaming.
 *
 * Knows no method names and no protobuf: messages are bytes (pbc.h turns them into structs).
 * The framing core (h2.[ch]) does no I/O; this header is what services and callers see.
 * Hostile-input rules: dependencies.md §2.4-2.5. Everything runs on the loop's thread.
 *
 * Limits per connection and in total are in struct rpc_limits; who goes over is answered
 * RESOURCE_EXHAUSTED or disconnected, and the log line is rate-limited.
 */
#ifndef COMMON_RPC_RPC_H
#define COMMON_RPC_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct loop;
struct tls_context;

enum rpc_status {
	RPC_OK = 0,
	RPC_CANCELLED = 1,
	RPC_UNKNOWN = 2,
	RPC_INVALID_ARGUMENT = 3,
	RPC_DEADLINE_EXCEEDED = 4,
	RPC_NOT_FOUND = 5,
	RPC_ALREADY_EXISTS = 6,
	RPC_PERMISSION_DENIED = 7,
	RPC_RESOURCE_EXHAUSTED = 8,
	RPC_FAILED_PRECONDITION = 9,
	RPC_ABORTED = 10,
	RPC_OUT_OF_RANGE = 11,
	RPC_UNIMPLEMENTED = 12,
	RPC_INTERNAL = 13,
	RPC_UNAVAILABLE = 14,
	RPC_DATA_LOSS = 15,
	RPC_UNAUTHENTICATED = 16,
};
const char *rpc_status_name(int status); /* "NOT_FOUND"; "status 99" forms for unknown ones */

struct rpc_meta {
	const char *key, *value; /* lower-case ASCII key; value printable ASCII */
};

struct rpc_limits {
	size_t max_message_bytes; /* per received message unless the method says less; 64 MiB */
	/* per connection: received and not yet delivered, and (server) queued and not yet sent;
	 * 96 MiB each */
	size_t max_buffered_bytes;
	size_t max_total_bytes; /* server: both, of all connections together; 256 MiB */
	/* server: 256; for one more, that which is idle longest is closed. One uid (unix, other than root and our own) or one address (TCP, other than
	 * loopback) gets at most half of them. */
	unsigned max_connections;
	unsigned max_calls; /* per connection: 100 */
	unsigned max_fds; /* descriptors parked on one unix connection: 4 */
	uint64_t handshake_ns, idle_ns, keepalive_ns; /* 0 = default (5 s, 10 min, 300 s) */
};
extern const struct rpc_limits rpc_limits_default;
/* rpc_limits_complete - put the default where a field is 0 (max_fds apart: 0 = none) */
void rpc_limits_complete(struct rpc_limits *l);

/* ---- server ------------------------------------------------------------------------------ */

struct rpc_server;
struct rpc_call; /* one call being served; alive until its on_end callback has returned */

struct rpc_method {
	const char *path; /* "/package.Service/Method" */
	size_t max_request_bytes; /* 0 = the limit of the server */
	bool is_client_stream; /* false: exactly one request message, else INVALID_ARGUMENT-like */
	/* on_message - one whole request message; the bytes are valid during the callback only */
	void (*on_message)(struct rpc_call *call, void *service, const uint8_t *p, size_t n);
	/* on_half_close - the client sends no more (client streams only; may be NULL) */
	void (*on_half_close)(struct rpc_call *call, void *service);
	/* on_drain - what was queued by rpc_call_send() has left the queue, and once more when the
	 * socket has it (may be NULL) */
	void (*on_drain)(struct rpc_call *call, void *service);
	/* on_end - exactly once for each call that on_message or on_half_close has seen: answered,
	 * cancelled, deadline, or the connection died. After it the call is gone. @finished:
	 * rpc_call_finish() was called before. Never from within a rpc_call_*() function. May be
	 * NULL. */
	void (*on_end)(struct rpc_call *call, void *service, bool finished);
};

struct rpc_service {
	const struct rpc_method *methods;
	size_t n_methods;
	void *ctx; /* the `service` argument of the callbacks */
};

struct rpc_peer {
	bool is_unix;
	pid_t pid; /* unix only, SO_PEERCRED at accept */
	uid_t uid;
	gid_t gid;
	int fd; /* the connected socket itself; borrowed, never to be read, written or closed */
	struct sockaddr_storage addr;
	char name[64]; /* for logs: "10.0.0.1:4001", "unix:uid=1000" */
	const char *certificate; /* TLS: its subject, verified; NULL: plaintext, or at accept */
};

/* rpc_server_new - serve @listen_fds (owned from now on; unix or TCP stream sockets that listen).
 * @services is copied, the tables must stay. */
int rpc_server_new(struct rpc_server **out, struct loop *l, const int *listen_fds, size_t n_fds,
	const struct rpc_service *services, size_t n_services, const struct rpc_limits *limits);
/* rpc_server_stop - no new connections; GOAWAY; calls go on until done or @deadline_ns; then
 * @done (once, from the loop), after which rpc_server_free() is allowed */
void rpc_server_stop(struct rpc_server *s, uint64_t deadline_ns, void (*done)(void *), void *arg);
/* rpc_server_move - @fd (consumed) listens in place of listener @i; connections that are open stay */
void rpc_server_move(struct rpc_server *s, size_t i, int fd);
struct rpc_server *rpc_server_free(struct rpc_server *s);
size_t rpc_server_n_connections(const struct rpc_server *s);
/* rpc_server_set_tls - TCP connections from now on speak TLS, plaintext is refused. It holds a reference. */
void rpc_server_set_tls(struct rpc_server *s, struct tls_context *tls);
/* optional gate: called at accept; false = close at once (the callee logs why) */
void rpc_server_set_gate(
	struct rpc_server *s, bool (*gate)(void *arg, const struct rpc_peer *p), void *arg);

const struct rpc_peer *rpc_call_peer(const struct rpc_call *c);
const char *rpc_call_path(const struct rpc_call *c);
/* rpc_call_metadata - value of a request header, NULL if absent */
const char *rpc_call_metadata(const struct rpc_call *c, const char *key);
/* deadline in loop time, UINT64_MAX when the client sent none */
uint64_t rpc_call_deadline(const struct rpc_call *c);
/* rpc_call_take_fd - descriptor number @index of those that arrived on this connection and were not
 * yet taken, named by a metadata value "0", "1" …; caller owns it; -ENOENT */
int rpc_call_take_fd(struct rpc_call *c, unsigned index);
/* the owner's pointer, NULL at first */
void rpc_call_set_data(struct rpc_call *c, void *data);
void *rpc_call_data(const struct rpc_call *c);

/* rpc_call_send - queue one response message (copied). 0, -ENOMEM (also: over the limit of queued
 * bytes), or -ECANCELED (call over). */
int rpc_call_send(struct rpc_call *c, const void *p, size_t n);
/* rpc_call_send_owned - same without a copy: @p is malloc'd and consumed in every case */
int rpc_call_send_owned(struct rpc_call *c, void *p, size_t n);
/* rpc_call_send_part - a message of @total bytes piece by piece: @n bytes, malloc'd and consumed in
 * every case. The first call of a message tells its length; until it is complete nothing else may be
 * sent. -EINVAL: more than its length. */
int rpc_call_send_part(struct rpc_call *c, void *p, size_t n, size_t total);
/* rpc_call_block - @n bytes for rpc_call_send_part() or free(): a block that was sent before, when
 * there is one, which saves the kernel the work of fresh pages */
void *rpc_call_block(struct rpc_call *c, size_t n);
/* rpc_call_send_headers - answer headers now, not with the first message: clients that wait for
 * them (tonic does) know that a long stream has begun. 0, -ENOMEM, -ECANCELED. */
int rpc_call_send_headers(struct rpc_call *c);
size_t rpc_call_queued(const struct rpc_call *c); /* bytes not yet framed: back-pressure */
/* rpc_call_is_sent - the socket took all that was queued: its memory is free again */
bool rpc_call_is_sent(const struct rpc_call *c);
/* rpc_call_trailer - add trailing metadata (copied; printable ASCII) before rpc_call_finish(). 0, -EINVAL
 * (not such text, or reserved), -E2BIG (more than 4 KiB or 42), -ENOMEM, -ECANCELED. */
int rpc_call_trailer(struct rpc_call *c, const char *key, const char *value);
/* rpc_call_finish - status and message (UTF-8, may be NULL, cut at 2 KiB) end the call. Once. */
void rpc_call_finish(struct rpc_call *c, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* rpc_call_abort - end a call whose caller does not take what is queued, and throw that away: the stream
 * is reset, or, when it is the socket that takes nothing, the connection is closed. on_end follows. */
void rpc_call_abort(struct rpc_call *c, int status, const char *message);

/* ---- client ------------------------------------------------------------------------------ */

struct rpc_channel; /* one address; connects when first needed, reconnects with back-off */
struct rpc_request; /* one call being made; alive until its on_done callback has returned */

struct rpc_handlers {
	/* one response message; bytes valid during the callback only. A unary call too may see none
	 * (then the status should be an error) or, from a broken server, several. May be NULL. */
	void (*on_message)(struct rpc_request *r, void *arg, const uint8_t *p, size_t n);
	/* exactly once, from the loop; after it the request is gone. @message is never NULL. */
	void (*on_done)(struct rpc_request *r, void *arg, int status, const char *message);
	void (*on_drain)(struct rpc_request *r, void *arg); /* may be NULL */
	/* instead of on_message, each message in parts as they arrive, none of them kept: @n bytes from
	 * @at of @total; the last part has at + n == total, and an empty message has one part */
	void (*on_part)(struct rpc_request *r, void *arg, const uint8_t *p, size_t n, size_t total,
		size_t at);
};

struct rpc_channel_options {
	const struct rpc_limits *limits; /* NULL = defaults */
	uint64_t connect_timeout_ns; /* 0 = 3 s */
	const char *authority; /* NULL = made from the address */
	bool no_backoff; /* a CLI: every call may try to connect at once */
	struct tls_context *tls; /* TCP over TLS; the channel holds a reference */
	const char *tls_name; /* who the server's certificate must name; NULL = the address */
	/* Whose memory the socket is read into, or NULL. Asked before each read, so that the bytes of an
	 * on_part may be used, by a thread say, until the owner itself gives the same buffer again. */
	uint8_t *(*read_buffer)(void *arg, size_t *len);
	void *read_arg;
	const struct sockaddr *source; /* connections come from there (port 0); NULL = as routed */
};

/* rpc_channel_new_unix / _tcp - never blocks, never fails for an unreachable address */
int rpc_channel_new_unix(struct rpc_channel **out, struct loop *l, const char *path,
	const struct rpc_channel_options *o);
int rpc_channel_new_tcp(struct rpc_channel **out, struct loop *l, const struct sockaddr *sa,
	socklen_t len, const struct rpc_channel_options *o);
/* rpc_channel_attach_fds - descriptors that go with the first bytes of the connection (unix, before
 * the first call; duplicated, the caller keeps its own) */
int rpc_channel_attach_fds(struct rpc_channel *c, const int *fds, size_t n);
/* rpc_channel_free - running requests end with CANCELLED: their on_done comes later, from the loop;
 * memory goes when the last one ended and nothing is in flight (a program that ends runs its loop
 * until loop_get_stats().n_inflight is 0). Returns NULL. */
struct rpc_channel *rpc_channel_free(struct rpc_channel *c);
bool rpc_channel_is_connected(const struct rpc_channel *c);

/* rpc_request_start - begin a call. @timeout_ns 0 = none (else sent as grpc-timeout and enforced
 * here). Returns the request (owned by the channel; the pointer is valid until on_done), or NULL
 * when out of memory (on_done is then not called). */
struct rpc_request *rpc_request_start(struct rpc_channel *c, const char *path,
	const struct rpc_meta *meta, size_t n_meta, uint64_t timeout_ns,
	const struct rpc_handlers *h, void *arg);
int rpc_request_send(
	struct rpc_request *r, const void *p, size_t n); /* queue one message (copied) */
int rpc_request_send_owned(struct rpc_request *r, void *p, size_t n); /* see rpc_call_send_owned */
void rpc_request_close_send(struct rpc_request *r); /* half-close */
void rpc_request_cancel(struct rpc_request *r); /* on_done(CANCELLED) follows */
size_t rpc_request_queued(const struct rpc_request *r);
/* rpc_request_trailer - value of a trailing metadata key, NULL if absent; only within on_done */
const char *rpc_request_trailer(const struct rpc_request *r, const char *key);
/* rpc_unary - start + send + close_send */
struct rpc_request *rpc_unary(struct rpc_channel *c, const char *path, const void *p, size_t n,
	uint64_t timeout_ns, const struct rpc_handlers *h, void *arg);

#endif
