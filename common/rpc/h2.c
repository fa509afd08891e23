/* SPDX-License-Identifier: GPL-2.0-or-later */
/* h2.c — the connection: nghttp2's session, output queue, time limits, floods. See h2.h.
 *
 * Output: nghttp2 frames what it has whenever the queue has drained. Its own bytes and
 * small messages are copied to a staging buffer; big ones are referred to (NO_COPY), so a message
 * is not touched between rpc_call_send_owned() and sendmsg(). */
#include "common/rpc/h2.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/rpc/h2_internal.h"

#define PULL_BYTES ((size_t)256 << 10) /* framed ahead of the socket */
#define COPY_BELOW ((size_t)4 << 10)
#define PING_WAIT  (UINT64_C(20) * 1000000000)
#define LEAVE_WAIT (UINT64_C(2) * 1000000000)
#define TRIM_AFTER (UINT64_C(2) * 1000000000)
#define GLITCH_MAX 2000 /* cheap frames at once … */
#define GLITCH_NS  (UINT64_C(5) * 1000000) /* … and one more per this time */
#define MAX_OUTQ   4000 /* frames that a peer who does not read may make us hold */

const struct rpc_limits rpc_limits_default = {
	.max_message_bytes = (size_t)64 << 20,
	.max_buffered_bytes = (size_t)96 << 20,
	.max_total_bytes = (size_t)256 << 20,
	.max_connections = 256,
	.max_calls = 100,
	.max_fds = 4,
	.handshake_ns = UINT64_C(5) * 1000000000,
	.idle_ns = UINT64_C(600) * 1000000000,
	.keepalive_ns = UINT64_C(300) * 1000000000,
};

void h2_printable(char *out, size_t cap, const uint8_t *p, size_t n)
{
	size_t i;

	for (i = 0; i < n && i + 1 < cap; i++)
		out[i] = p[i] >= 0x20 && p[i] < 0x7f ? (char)p[i] : '?';
	out[i] = 0;
}

__attribute__((format(printf, 2, 0))) static void set_reason(
	struct h2 *h, const char *fmt, va_list ap)
{
	if (!h->reason[0])
		vsnprintf(h->reason, sizeof(h->reason), fmt, ap);
}

void h2_wake(struct h2 *h)
{
	h->ev.wake(h->arg);
}

void h2_event(struct h2_stream *s)
{
	if (list_is_linked(&s->event))
		return;
	list_push(&s->h2->events, &s->event);
	h2_wake(s->h2);
}

/* h2_die - no more I/O; the streams are told by h2_process() */
void h2_die(struct h2 *h, const char *fmt, ...)
{
	va_list ap;

	if (h->is_dead)
		return;
	va_start(ap, fmt);
	set_reason(h, fmt, ap);
	va_end(ap);
	h->is_dead = h->is_draining = true;
	h2_wake(h);
}

static void die_nghttp2(struct h2 *h, ssize_t rv)
{
	if (rv == NGHTTP2_ERR_BAD_CLIENT_MAGIC)
		h2_die(h, "the peer does not speak HTTP/2 without TLS");
	else if (rv == NGHTTP2_ERR_FLOODED)
		h2_die(h, "the peer floods the connection with control frames");
	else
		h2_die(h, "HTTP/2: %s", nghttp2_strerror((int)rv));
}

/* throw_out - GOAWAY with an error; what the peer still sends is not read */
static void throw_out(struct h2 *h, uint32_t error_code, const char *why)
{
	if (h->is_ignoring || h->is_dead)
		return;
	snprintf(h->reason, sizeof(h->reason), "%s", why);
	h->is_ignoring = h->is_draining = true;
	h->leave_by = h->now + LEAVE_WAIT;
	if (nghttp2_session_terminate_session(h->session, error_code))
		h2_die(h, "out of memory");
	h2_wake(h);
}

void h2_reset(struct h2_stream *s, uint32_t error_code)
{
	if (s->is_closed || s->h2->is_dead)
		return;
	if (nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, error_code))
		h2_die(s->h2, "out of memory");
	h2_wake(s->h2);
}

/* ---- callbacks of nghttp2 ------------------------------------------------------------------ */

static struct h2_stream *find(struct h2 *h, int32_t id)
{
	return id ? nghttp2_session_get_stream_user_data(h->session, id) : NULL;
}

/* glitch - a frame that costs its sender nothing: allowed now and then, not by the thousand */
static void glitch(struct h2 *h)
{
	uint64_t leaked = (h->now - h->glitch_at) / GLITCH_NS;

	h->n_glitches -= leaked < h->n_glitches ? (unsigned)leaked : h->n_glitches;
	h->glitch_at += leaked * GLITCH_NS;
	if (++h->n_glitches > GLITCH_MAX)
		throw_out(h, NGHTTP2_ENHANCE_YOUR_CALM,
			"the peer floods the connection with empty or control frames");
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
	struct h2 *h = arg;

	switch (hd->type) {
	case NGHTTP2_DATA:
		if (!hd->length && !(hd->flags & NGHTTP2_FLAG_END_STREAM))
			glitch(h);
		break;
	case NGHTTP2_HEADERS:
	case NGHTTP2_CONTINUATION:
	case NGHTTP2_WINDOW_UPDATE:
	case NGHTTP2_GOAWAY:
		break;
	case NGHTTP2_RST_STREAM:
		/* a server resets no more streams than we opened */
		if (h->is_server)
			glitch(h);
		break;
	default:
		glitch(h);
	}
	return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *s;
	uint64_t deadline;

	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	if (!h->is_server || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
		s = find(h, frame->hd.stream_id);
		if (s && !h->is_server) {
			s->fields.len = s->fields_bytes = 0;
			s->has_status_field = false;
		}
		return 0;
	}
	s = h->is_ignoring ? NULL : h->ev.new_stream(h->arg);
	if (!s || heap_reserve(&h->timers, h->n_streams + 1)) {
		if (s) {
			h2_stream_init(s, h->mem);
			h->ev.release(s);
		}
		return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
			       NGHTTP2_REFUSED_STREAM)
			       ? NGHTTP2_ERR_CALLBACK_FAILURE
			       : 0;
	}
	h2_stream_init(s, h->mem);
	h2_stream_attach(h, s, frame->hd.stream_id);
	nghttp2_session_set_stream_user_data(session, s->id, s);
	/* until the headers are complete; then their grpc-timeout */
	deadline = h->now + h->limits.handshake_ns;
	heap_insert(&h->timers, &s->timer, deadline);
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
	size_t n_name, const uint8_t *value, size_t n_value, uint8_t flags, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *s = find(h, frame->hd.stream_id);

	if (s && frame->hd.type == NGHTTP2_HEADERS)
		h2_stream_on_header(s, name, n_name, value, n_value);
	return 0;
}

static int on_data_chunk(
	nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *s = find(h, id);

	if (s && !h->is_ignoring)
		h2_stream_on_data(s, p, n);
	return 0;
}

static void on_goaway(struct h2 *h, const nghttp2_goaway *g)
{
	char text[80];

	h->is_draining = true;
	if (g->error_code != NGHTTP2_NO_ERROR && !h->reason[0]) {
		h2_printable(text, sizeof(text), g->opaque_data, g->opaque_data_len);
		snprintf(h->reason, sizeof(h->reason), "the peer ended the connection: %s%s%s",
			nghttp2_http2_strerror(g->error_code), text[0] ? ": " : "", text);
	}
	h2_wake(h);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *s = find(h, frame->hd.stream_id);
	bool is_last = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (h->is_ignoring)
		return 0;
	switch (frame->hd.type) {
	case NGHTTP2_SETTINGS:
		if (!(frame->hd.flags & NGHTTP2_FLAG_ACK) && !h->is_ready) {
			h->is_ready = true;
			h2_wake(h);
		}
		break;
	case NGHTTP2_GOAWAY:
		on_goaway(h, &frame->goaway);
		break;
	case NGHTTP2_HEADERS:
		if (s)
			h2_stream_on_headers_done(s, is_last);
		break;
	case NGHTTP2_DATA:
		if (s && is_last)
			h2_stream_on_remote_end(s);
		break;
	}
	return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *s;
	char text[80];

	if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR &&
		!h->is_ignoring) {
		/* the library's own verdict on what the peer sent */
		h2_printable(text, sizeof(text), frame->goaway.opaque_data,
			frame->goaway.opaque_data_len);
		snprintf(h->reason, sizeof(h->reason), "the peer broke the protocol: %s%s%s",
			nghttp2_http2_strerror(frame->goaway.error_code), text[0] ? ": " : "",
			text);
		h->is_ignoring = h->is_draining = true;
		h->leave_by = h->now + LEAVE_WAIT;
		return 0;
	}
	if (!h->is_server || frame->hd.type != NGHTTP2_HEADERS ||
		!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	/* The answer has left. If the request goes on, tell the client to stop; earlier, the reset
	 * would have overtaken the answer. */
	s = find(h, frame->hd.stream_id);
	if (s && !s->is_remote_closed)
		h2_reset(s, NGHTTP2_NO_ERROR);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *s = find(h, id);

	if (s) {
		nghttp2_session_set_stream_user_data(session, id, NULL);
		h2_stream_on_close(s, error_code);
	}
	return 0;
}

static ssize_t frame_length(nghttp2_session *session, uint8_t type, int32_t id,
	int32_t session_window, int32_t stream_window, uint32_t max_frame, void *arg)
{
	size_t n = H2_MAX_FRAME_OUT;

	if (n > max_frame)
		n = max_frame;
	if (session_window < 1 || stream_window < 1)
		return 1; /* nghttp2 asks only when there is window; it would take 0 for an error */
	if (n > (size_t)session_window)
		n = (size_t)session_window;
	if (n > (size_t)stream_window)
		n = (size_t)stream_window;
	return (ssize_t)n;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
	size_t length, nghttp2_data_source *source, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *s = find(h, frame->hd.stream_id);

	if (h->queued >= PULL_BYTES)
		return NGHTTP2_ERR_WOULDBLOCK;
	if (!s)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (h2_stage(h, framehd, 9) || h2_stream_emit(s, length))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static int submit_settings(struct h2 *h)
{
	nghttp2_settings_entry iv[8];
	size_t n = 0;

	iv[n++] = (nghttp2_settings_entry){
		NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, h->is_server ? h->limits.max_calls : 0};
	if (!h->is_server)
		iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
	iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW};
	iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_FRAME_SIZE, H2_MAX_FRAME};
	iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_MAX_FIELDS};
#if NGHTTP2_VERSION_NUM >= 0x013000
	iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1};
#endif
	return nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, iv, n) ||
			       nghttp2_session_set_local_window_size(
				       h->session, NGHTTP2_FLAG_NONE, 0, H2_CONNECTION_WINDOW)
		       ? -ENOMEM
		       : 0;
}

static int new_session(struct h2 *h)
{
	nghttp2_session_callbacks *cb;
	nghttp2_option *opt;
	int r;

	if (nghttp2_session_callbacks_new(&cb))
		return -ENOMEM;
	if (nghttp2_option_new(&opt)) {
		nghttp2_session_callbacks_del(cb);
		return -ENOMEM;
	}
	nghttp2_option_set_no_closed_streams(opt, 1);
#if NGHTTP2_VERSION_NUM >= 0x013900
	/* glitch() counts resets; the library's own limit must not be the stricter one */
	nghttp2_option_set_stream_reset_rate_limit(opt, GLITCH_MAX, 1000000000 / GLITCH_NS);
#endif
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_callbacks_set_data_source_read_length_callback(cb, frame_length);
	nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
	r = h->is_server ? nghttp2_session_server_new2(&h->session, cb, h, opt)
			 : nghttp2_session_client_new2(&h->session, cb, h, opt);
	nghttp2_option_del(opt);
	nghttp2_session_callbacks_del(cb);
	if (r)
		h->session = NULL; /* the library leaves a dangling one */
	return r ? -ENOMEM : submit_settings(h);
}

int h2_new(struct h2 **out, bool is_server, const struct rpc_limits *l, struct mem *m,
	const struct h2_events *ev, void *arg, uint64_t now)
{
	struct h2 *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	h->is_server = is_server;
	h->limits = *l;
	h->mem = m;
	h->ev = *ev;
	h->arg = arg;
	h->now = h->born = h->last_recv = h->idle_since = h->glitch_at = now;
	h->leave_by = UINT64_MAX;
	list_init(&h->streams);
	list_init(&h->events);
	r = new_session(h);
	if (r) {
		nghttp2_session_del(h->session);
		free(h);
		return r;
	}
	*out = h;
	return 0;
}

static void drop_output(struct h2 *h)
{
	for (size_t i = h->first; i < h->n_segs; i++) {
		if (h->segs[i].msg)
			h2_msg_unref(h->segs[i].msg);
	}
	h->first = h->n_segs = h->queued = 0;
	h->staging.len = 0;
}

struct h2 *h2_free(struct h2 *h)
{
	if (!h)
		return NULL;
	h2_fail(h, "connection closed");
	h2_process(h);
	drop_output(h);
	nghttp2_session_del(h->session);
	heap_fini(&h->timers);
	buf_fini(&h->staging);
	free(h->segs);
	free(h);
	return NULL;
}

void h2_fail(struct h2 *h, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set_reason(h, fmt, ap);
	va_end(ap);
	h2_die(h, "%s", h->reason);
}

void h2_goaway(struct h2 *h)
{
	if (h->is_dead || h->is_ignoring || h->leave_by != UINT64_MAX)
		return;
	h->is_draining = true;
	h->leave_by = h->n_streams ? UINT64_MAX - 1 : h->now + LEAVE_WAIT;
	if (nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
		    nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR, NULL, 0))
		h2_die(h, "out of memory");
	h2_wake(h);
}

void h2_cancel_all(struct h2 *h, int status, const char *message)
{
	list_for_each (it, &h->streams)
		h2_stream_cancel(list_entry(it, struct h2_stream, link), status, message);
}

bool h2_is_dead(const struct h2 *h)
{
	return h->is_dead;
}

bool h2_is_draining(const struct h2 *h)
{
	return h->is_draining;
}

bool h2_is_ready(const struct h2 *h)
{
	return h->is_ready;
}

bool h2_is_done(const struct h2 *h)
{
	if (h->is_dead)
		return true;
	return h->first == h->n_segs && !nghttp2_session_want_read(h->session) &&
	       !nghttp2_session_want_write(h->session);
}

const char *h2_reason(const struct h2 *h)
{
	return h->reason;
}

size_t h2_n_streams(const struct h2 *h)
{
	return h->n_streams;
}

uint64_t h2_idle_since(const struct h2 *h)
{
	return h->idle_since;
}

bool h2_can_open(const struct h2 *h)
{
	uint32_t max = h->is_ready ? nghttp2_session_get_remote_settings(
					     h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
				   : 100;

	return !h->is_draining && h->n_streams < max;
}

void *h2_arg(const struct h2 *h)
{
	return h->arg;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

void h2_recv(struct h2 *h, const uint8_t *p, size_t n, uint64_t now)
{
	ssize_t r;

	h->now = now;
	if (h->is_dead || h->is_ignoring || !n)
		return;
	h->last_recv = now;
	h->is_pinging = false; /* any sign of life will do */
	r = nghttp2_session_mem_recv(h->session, p, n);
	if (r < 0)
		die_nghttp2(h, r);
	else if (nghttp2_session_get_outbound_queue_size(h->session) > MAX_OUTQ)
		h2_die(h, "the peer sends and does not read");
}

static struct h2_seg *add_seg(struct h2 *h)
{
	if (h->n_segs == h->segs_cap) {
		size_t cap = h->segs_cap ? h->segs_cap * 2 : 8;
		struct h2_seg *v = reallocarray(h->segs, cap, sizeof(*v));

		if (!v)
			return NULL;
		h->segs = v;
		h->segs_cap = cap;
	}
	h->segs[h->n_segs] = (struct h2_seg){0};
	return &h->segs[h->n_segs++];
}

/* h2_stage - output that is copied */
int h2_stage(struct h2 *h, const uint8_t *p, size_t n)
{
	struct h2_seg *last = h->n_segs ? &h->segs[h->n_segs - 1] : NULL;
	size_t off = h->staging.len;

	buf_add(&h->staging, p, n);
	if (!buf_ok(&h->staging))
		return -ENOMEM;
	if (!last || last->msg) {
		last = add_seg(h);
		if (!last)
			return -ENOMEM;
		last->off = off;
	}
	last->n += n;
	h->queued += n;
	return 0;
}

/* h2_stage_msg - output that stays where it is: a part of @m */
int h2_stage_msg(struct h2 *h, struct h2_msg *m, const uint8_t *p, size_t n)
{
	struct h2_seg *seg;

	if (n < COPY_BELOW)
		return h2_stage(h, p, n);
	seg = add_seg(h);
	if (!seg)
		return -ENOMEM;
	seg->p = p;
	seg->n = n;
	seg->msg = m;
	m->refs++;
	h->queued += n;
	return 0;
}

static void pull(struct h2 *h)
{
	drop_output(h);
	while (h->queued < PULL_BYTES) {
		const uint8_t *p;
		ssize_t n = nghttp2_session_mem_send(h->session, &p);

		if (n < 0) {
			die_nghttp2(h, n);
			return;
		}
		if (!n)
			break;
		if (h2_stage(h, p, (size_t)n)) {
			h2_die(h, "out of memory");
			return;
		}
	}
	if (!h->n_segs && !h->n_streams) {
		/* idle connections are many: keep no buffers for them */
		buf_fini(&h->staging);
		free(h->segs);
		h->segs = NULL;
		h->segs_cap = 0;
	}
}

int h2_output(struct h2 *h, struct iovec *iov, int max)
{
	int k = 0;

	if (h->is_dead)
		return 0;
	if (h->first == h->n_segs)
		pull(h);
	if (h->is_dead)
		return 0;
	for (size_t i = h->first; i < h->n_segs && k < max; i++, k++) {
		const struct h2_seg *seg = &h->segs[i];

		iov[k].iov_base = (void *)(seg->msg ? seg->p : h->staging.data + seg->off);
		iov[k].iov_len = seg->n;
	}
	return k;
}

void h2_sent(struct h2 *h, size_t n)
{
	h->queued -= n;
	while (n) {
		struct h2_seg *seg = &h->segs[h->first];
		size_t k = n < seg->n ? n : seg->n;

		if (seg->msg)
			seg->p += k;
		seg->off += k;
		seg->n -= k;
		n -= k;
		if (seg->n)
			break;
		if (seg->msg)
			h2_msg_unref(seg->msg);
		h->first++;
	}
}

/* ---- time ------------------------------------------------------------------------------------ */

static uint64_t keepalive_at(const struct h2 *h)
{
	if (!h->n_streams)
		return UINT64_MAX;
	if (h->is_pinging)
		return h->ping_at + PING_WAIT;
	return h->last_recv + h->limits.keepalive_ns;
}

uint64_t h2_next_deadline(const struct h2 *h)
{
	const struct heap_node *first = heap_first(&h->timers);
	uint64_t t = UINT64_MAX, x;

#define SOONER(when) ((x = (when)), t = x < t ? x : t)
	if (h->is_dead)
		return 0;
	if (!h->is_ready)
		SOONER(h->born + h->limits.handshake_ns);
	if (first)
		SOONER(first->key);
	SOONER(keepalive_at(h));
	if (!h->n_streams)
		SOONER(h->leave_by != UINT64_MAX ? h->leave_by : h->idle_since + h->limits.idle_ns);
	else if (h->is_ignoring)
		SOONER(h->leave_by);
	if (h->mem->kept_bytes)
		SOONER(h->last_recv + TRIM_AFTER);
#undef SOONER
	return t;
}

static void check_liveness(struct h2 *h)
{
	if (!h->is_ready && h->now >= h->born + h->limits.handshake_ns) {
		h2_die(h, "no HTTP/2 handshake within %.1f s",
			(double)h->limits.handshake_ns / 1e9);
		return;
	}
	if (h->now >= keepalive_at(h)) {
		if (h->is_pinging) {
			h2_die(h, "the peer did not answer a ping within %u s",
				(unsigned)(PING_WAIT / 1000000000));
			return;
		}
		h->ping_at = h->now;
		h->is_pinging = true;
		if (nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL))
			h2_die(h, "out of memory");
		h2_wake(h);
	}
	if (!h->n_streams && h->leave_by == UINT64_MAX &&
		h->now >= h->idle_since + h->limits.idle_ns)
		h2_goaway(h);
	else if ((!h->n_streams || h->is_ignoring) && h->now >= h->leave_by)
		h2_die(h, "the peer did not take the last bytes of the connection");
}

void h2_tick(struct h2 *h, uint64_t now)
{
	struct heap_node *first;

	h->now = now;
	if (h->is_dead)
		return;
	while ((first = heap_first(&h->timers)) && first->key <= now) {
		heap_remove(&h->timers, first);
		h2_stream_expire(container_of(first, struct h2_stream, timer));
	}
	if (now >= h->last_recv + TRIM_AFTER)
		mem_trim(h->mem);
	check_liveness(h);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void forget(struct h2 *h, struct h2_stream *s)
{
	heap_remove(&h->timers, &s->timer);
	list_del(&s->link);
	list_del(&s->event);
	h->n_streams--;
	h->out_bytes -= s->out_bytes;
	h->in_bytes -= s->in_cap;
	mem_put(s->mem, s->in, s->in_cap);
	s->in = NULL;
	s->in_cap = s->in_len = 0;
	s->h2 = NULL;
	if (!h->n_streams) {
		h->idle_since = h->now;
		if (h->leave_by == UINT64_MAX - 1)
			h->leave_by = h->now + LEAVE_WAIT;
	}
	h->ev.release(s);
}

void h2_process(struct h2 *h)
{
	struct list *e;

	if (h->is_dead) {
		list_for_each (it, &h->streams)
			h2_stream_on_close(
				list_entry(it, struct h2_stream, link), NGHTTP2_INTERNAL_ERROR);
	}
	while ((e = list_pop(&h->events))) {
		struct h2_stream *s = list_entry(e, struct h2_stream, event);

		if (s->has_drain) {
			s->has_drain = false;
			if (!s->is_over && h->ev.on_drain)
				h->ev.on_drain(s);
		}
		if (s->has_end && !s->is_told) {
			s->is_told = true;
			if (!h->is_server || s->is_known)
				h->ev.on_end(s);
		}
		if (s->is_closed && s->is_told)
			forget(h, s);
	}
}
