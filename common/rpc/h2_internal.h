/* SPDX-License-Identifier: GPL-2.0-or-later */
/* h2_internal.h — shared by h2.c, h2_session.c (the connection), h2_stream.c, h2_in.c, h2_out.c (its calls)
 * and nobody else. */
#ifndef COMMON_RPC_H2_INTERNAL_H
#define COMMON_RPC_H2_INTERNAL_H

#include <nghttp2/nghttp2.h>

#include "common/rpc/h2.h"

#define H2_REASON     200
#define H2_PULL_BYTES ((size_t)256 << 10) /* framed ahead of the socket */
#define H2_LEAVE_WAIT (UINT64_C(2) * 1000000000) /* for the last bytes to be taken */

/* a header of ours: the name stays where it is, the value is copied by the library */
#define H2_MAX_NV 48
#define H2_NV(n, v)                                                                                \
	(nghttp2_nv)                                                                               \
	{                                                                                          \
		(uint8_t *)(n), (uint8_t *)(v), strlen(n), strlen(v), NGHTTP2_NV_FLAG_NO_COPY_NAME \
	}

struct h2_msg {
	struct list link;
	unsigned refs; /* the list it is on, and each piece of output */
	size_t len, cap; /* payload bytes; cap: as charged */
	struct mem *mem;
	uint8_t *p;
	uint8_t n_prefix,
		prefix[5]; /* gRPC: compressed flag, length; none where a message goes on */
};

/* one piece of output: bytes of a message, or (msg NULL) of the staging buffer */
struct h2_seg {
	const uint8_t *p;
	size_t off, n;
	struct h2_msg *msg;
};

struct h2 {
	nghttp2_session *session;
	bool is_server;
	struct rpc_limits limits;
	struct mem *mem;
	struct h2_events ev;
	void *arg;
	uint64_t now;

	struct list streams, events, staged;
	size_t n_streams;
	struct heap timers;

	struct buf staging;
	struct h2_seg *segs;
	size_t n_segs, segs_cap, first, queued;
	size_t in_bytes, out_bytes; /* received and not delivered; to be sent and not yet framed */

	bool is_ready, is_dead, is_draining, is_ignoring, is_pinging;
	uint64_t born, last_recv, idle_since, ping_at, leave_by, glitch_at;
	unsigned n_glitches;
	char reason[H2_REASON];
};

/* h2.c */
void h2_die(struct h2 *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void h2_wake(struct h2 *h);
void h2_event(struct h2_stream *s); /* let h2_process() look at @s */
int h2_stage(struct h2 *h, const uint8_t *p, size_t n);
int h2_stage_msg(struct h2 *h, struct h2_msg *m, const uint8_t *p, size_t n);
void h2_reset(struct h2_stream *s, uint32_t error_code);
/* sanitised copy of foreign text for log lines and status messages */
void h2_printable(char *out, size_t cap, const uint8_t *p, size_t n);

/* h2_session.c */
int h2_session_new(struct h2 *h); /* 0 or -ENOMEM, then h->session is NULL */

/* h2_stream.c */
void h2_stream_attach(struct h2 *h, struct h2_stream *s, int32_t id);
void h2_stream_end(struct h2_stream *s, enum h2_end end, int status, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void h2_stream_expire(struct h2_stream *s);
void h2_stream_on_close(struct h2_stream *s, uint32_t error_code);

/* h2_in.c */
void h2_stream_on_header(
	struct h2_stream *s, const uint8_t *name, size_t n_name, const uint8_t *v, size_t n_v);
void h2_stream_on_headers_done(struct h2_stream *s, bool is_last);
void h2_stream_on_data(struct h2_stream *s, const uint8_t *p, size_t n);
void h2_stream_on_remote_end(struct h2_stream *s);

/* h2_out.c */
void h2_msg_unref(struct h2_msg *m);
void h2_msg_drop(struct list *l); /* all of a list */
void h2_stream_drop_sent(struct h2_stream *s); /* no replay any more */
bool h2_is_header_text(const char *key, const char *value); /* may stand in a header of ours */
void h2_stream_fail(struct h2_stream *s, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
ssize_t h2_stream_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
	uint32_t *flags, nghttp2_data_source *source, void *arg);
int h2_stream_emit(struct h2_stream *s, size_t n);
void h2_stream_on_sent(struct h2_stream *s); /* what was framed is with the socket */

#endif
