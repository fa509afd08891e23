/* SPDX-License-Identifier: GPL-2.0-or-later */
/* h2.h — gRPC on one HTTP/2 connection, either role, without I/O: bytes in, iovecs out, the time is
 * an argument, events are callbacks. nghttp2 does HTTP/2; this file does gRPC's framing, limits and
 * time limits. Users: conn.c (sockets), the unit tests and the fuzz targets.
 *
 * A call is a struct h2_stream embedded in its owner (server.c, client.c). Callbacks run only from
 * h2_recv() (on_request, on_message) and h2_process() (all others), so no function that a
 * service calls ever calls back. After h2_recv(), h2_tick() and h2_output() the caller runs
 * h2_process(). h2_free() must not be called from a callback.
 *
 * Protocol: RFC 9113, grpc/doc/PROTOCOL-HTTP2.md; the rules against hostile peers are
 * dependencies.md §2.4-2.5.
 */
#ifndef COMMON_RPC_H2_H
#define COMMON_RPC_H2_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/buf.h"
#include "common/heap.h"
#include "common/list.h"
#include "common/rpc/mem.h"
#include "common/rpc/rpc.h"

struct nghttp2_session;

/* What a peer may send unasked. A client asked for what it gets, so that its server need not stop and wait. */
#define H2_SERVER_STREAM     (512 << 10)
#define H2_SERVER_CONNECTION (4 << 20)
#define H2_CLIENT_STREAM     (4 << 20)
#define H2_CLIENT_CONNECTION (8 << 20)
#define H2_MAX_FRAME         (256 << 10) /* that we accept */
#define H2_MAX_FRAME_OUT     (1 << 20) /* that we send where the peer accepts it */
#define H2_MAX_FIELDS        (16 << 10) /* bytes of one header block, counted as RFC 9113 10.5.1 does */
#define H2_REPLAY_BYTES      (64 << 10) /* of a request, kept until the answer begins */
#define H2_IOV               64

struct h2;
struct h2_stream;
struct h2_msg;

struct h2_events {
	/* server: memory for one more call (h2_stream_init() is the core's); NULL refuses it */
	struct h2_stream *(*new_stream)(void *arg);
	/* server: headers are complete and a POST of gRPC. Sets max_message_bytes and
	 * is_client_stream and returns true, or returns false: UNIMPLEMENTED */
	bool (*on_request)(struct h2_stream *s);
	void (*on_message)(struct h2_stream *s, const uint8_t *p, size_t n);
	void (*on_half_close)(struct h2_stream *s); /* server, client streams only */
	void (*on_drain)(
		struct h2_stream *s); /* the queue is empty; and once more when it is sent */
	/* Once per stream: nothing more will happen to it. Client: status and message are set.
	 * Server: is_finished tells whether h2_stream_finish() was called in time. Not called
	 * on a server for a call of which the owner never heard (no on_message, no half-close). */
	void (*on_end)(struct h2_stream *s);
	/* the core has forgotten the stream: free it (or, a client, open it elsewhere) */
	void (*release)(struct h2_stream *s);
	/* there is output or an event: run h2_output() and h2_process() soon. May come at any time. */
	void (*wake)(void *arg);
	/* instead of on_message where takes_parts: @n bytes from @at of a message of @total; at
	 * least one call for each message, the last one has at + n == total */
	void (*on_part)(struct h2_stream *s, const uint8_t *p, size_t n, size_t total, size_t at);
};

enum h2_end { /* why a client's stream ended */
	H2_END_NONE,
	H2_END_STATUS, /* the peer's status */
	H2_END_LOCAL, /* cancelled, deadline, limits */
	H2_END_RESET, /* the peer reset the stream */
	H2_END_REFUSED, /* not processed by the peer: may be opened again */
	H2_END_LOST, /* the connection died */
};

struct h2_stream {
	/* set by the owner on_request (server) or before h2_open() (client) */
	size_t max_message_bytes;
	bool is_client_stream, takes_parts;
	/* to be read by the owner */
	int status;
	char *message; /* owned; NULL = none */
	enum h2_end end;
	bool is_finished; /* no more messages will be queued */
	bool is_over; /* nothing more is delivered; sends are refused */
	bool can_replay; /* what was sent is still here: h2_stream_rewind() works */
	uint64_t deadline; /* loop time; UINT64_MAX = none */
	/* private */
	struct h2 *h2; /* NULL when not open */
	struct mem *mem;
	struct list link, event;
	struct heap_node timer;
	int32_t id;
	bool is_known; /* server: the owner has heard of it */
	bool has_end, has_drain, is_told, is_closed;
	/* outgoing */
	struct list out, sent;
	struct list staged; /* in h2.staged while the socket has not taken what was framed last */
	size_t out_off, out_bytes, sent_bytes;
	size_t out_left; /* of the message begun by h2_stream_send_part() */
	bool has_headers, is_deferred, is_trailing;
	struct buf trailers; /* "key\0value\0" … */
	size_t n_trailers;
	/* incoming */
	struct buf fields; /* "key\0value\0" …, the latest block */
	size_t fields_bytes;
	int http_status;
	bool has_status_field, is_request_done, is_remote_closed, has_response;
	uint8_t prefix[5];
	unsigned n_prefix, n_messages;
	uint8_t *in;
	size_t in_len, in_cap, in_want;
	bool has_held;
};

/* h2_new - one connection; the limits are copied, @m is shared and borrowed */
int h2_new(struct h2 **out, bool is_server, const struct rpc_limits *l, struct mem *m,
	const struct h2_events *ev, void *arg, uint64_t now);
/* h2_free - streams that are left end (on_end, release) as by h2_fail("connection closed") */
struct h2 *h2_free(struct h2 *h);

/* h2_recv - bytes from the peer. After an error h2_is_dead(), and the bytes are ignored. */
void h2_recv(struct h2 *h, const uint8_t *p, size_t n, uint64_t now);
/* h2_output - what is to be written next, at most @max iovecs; valid until h2_sent() or the next
 * h2_output(). Returns how many. */
int h2_output(struct h2 *h, struct iovec *iov, int max);
void h2_sent(struct h2 *h, size_t n);
/* h2_tick - let time pass: deadlines, idle, keepalive. Then h2_process(). */
void h2_tick(struct h2 *h, uint64_t now);
uint64_t h2_next_deadline(const struct h2 *h); /* when to call h2_tick() */
/* h2_process - run the pending callbacks */
void h2_process(struct h2 *h);

/* h2_goaway - no new streams; those that run go on */
void h2_goaway(struct h2 *h);
/* h2_fail - the connection is lost: every stream ends with UNAVAILABLE and this sentence */
void h2_fail(struct h2 *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* h2_cancel_all - client: h2_stream_cancel() for every stream */
void h2_cancel_all(struct h2 *h, int status, const char *message);
bool h2_is_dead(const struct h2 *h); /* nothing will be read or written any more */
bool h2_is_draining(const struct h2 *h); /* new streams are not possible: open another connection */
bool h2_is_ready(const struct h2 *h); /* the peer's SETTINGS have arrived */
bool h2_is_done(const struct h2 *h); /* dead, or drained and all written: close it */
const char *h2_reason(const struct h2 *h); /* why it is dead or leaving; "" = no error */
size_t h2_n_streams(const struct h2 *h);
uint64_t h2_idle_since(const struct h2 *h); /* the last end of a call, or the beginning */
bool h2_can_open(const struct h2 *h); /* a client may open one more stream now */
void *h2_arg(const struct h2 *h);

void h2_stream_init(struct h2_stream *s, struct mem *m);
void h2_stream_fini(struct h2_stream *s);
/* h2_open - client: send the request headers; the stream then belongs to @h until release. Messages
 * may be queued before. 0, -EAGAIN (draining: use another connection), -ENOMEM. */
int h2_open(struct h2 *h, struct h2_stream *s, const char *path, const char *authority,
	const struct rpc_meta *meta, size_t n_meta, uint64_t timeout_ns);
/* h2_stream_rewind - make a released stream with can_replay fit for h2_open() again */
void h2_stream_rewind(struct h2_stream *s);
/* h2_stream_send - queue one message. @p is copied, or, @owned, consumed in every case (malloc'd).
 * 0, -ENOMEM (or over the limits), -ECANCELED (over or finished) */
int h2_stream_send(struct h2_stream *s, void *p, size_t n, bool owned);
/* h2_stream_send_part - the same for @n bytes of a message of @total, @p consumed in every case: the
 * first of a message when none is unfinished, else the next. -EINVAL: more than @total. */
int h2_stream_send_part(struct h2_stream *s, void *p, size_t n, size_t total);
size_t h2_stream_queued(const struct h2_stream *s); /* bytes not yet framed */
bool h2_stream_is_sent(
	const struct h2_stream *s); /* nothing is queued, and the socket took it all */
/* h2_stream_send_headers - server: answer headers now instead of with the first message */
int h2_stream_send_headers(struct h2_stream *s);
int h2_stream_add_trailer(struct h2_stream *s, const char *key, const char *value);
/* h2_stream_finish - server: the status ends the call after what is queued */
void h2_stream_finish(struct h2_stream *s, int status, const char *message);
/* h2_stream_abort - server: reset it, whatever is queued; on_end comes from h2_process() */
void h2_stream_abort(struct h2_stream *s, int status, const char *message);
/* h2_stream_is_stuck - has the socket not taken what was framed of it last? */
bool h2_stream_is_stuck(const struct h2_stream *s);
/* h2_stream_close_send - client: half-close after what is queued */
void h2_stream_close_send(struct h2_stream *s);
/* h2_stream_cancel - client: end it with this status; on_end comes from h2_process() */
void h2_stream_cancel(struct h2_stream *s, int status, const char *message);
/* h2_stream_field - value in the latest header block received, NULL if absent */
const char *h2_stream_field(const struct h2_stream *s, const char *key);

#endif
