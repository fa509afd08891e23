/* SPDX-License-Identifier: GPL-2.0-or-later */
/* h2_session.c — nghttp2's session of a connection: what it is told at first, and what it tells us.
 * See h2.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/rpc/h2_internal.h"

#define GLITCH_MAX 2000 /* cheap frames at once … */
#define GLITCH_NS  (UINT64_C(5) * 1000000) /* … and one more per this time */

/* throw_out - GOAWAY with an error; what the peer still sends is not read */
static void throw_out(struct h2 *h, uint32_t error_code, const char *why)
{
	if (h->is_ignoring || h->is_dead)
		return;
	snprintf(h->reason, sizeof(h->reason), "%s", why);
	h->is_ignoring = h->is_draining = true;
	h->leave_by = h->now + H2_LEAVE_WAIT;
	if (nghttp2_session_terminate_session(h->session, error_code))
		h2_die(h, "out of memory");
	h2_wake(h);
}

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
		h->leave_by = h->now + H2_LEAVE_WAIT;
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

	if (h->queued >= H2_PULL_BYTES)
		return NGHTTP2_ERR_WOULDBLOCK;
	if (!s)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (h2_stage(h, framehd, 9) || h2_stream_emit(s, length))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return 0;
}

static int submit_settings(struct h2 *h)
{
	nghttp2_settings_entry iv[8];
	uint32_t window = h->is_server ? H2_SERVER_STREAM : H2_CLIENT_STREAM;
	int32_t all = h->is_server ? H2_SERVER_CONNECTION : H2_CLIENT_CONNECTION;
	size_t n = 0;

	iv[n++] = (nghttp2_settings_entry){
		NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, h->is_server ? h->limits.max_calls : 0};
	if (!h->is_server)
		iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
	iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window};
	iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_FRAME_SIZE, H2_MAX_FRAME};
	iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_MAX_FIELDS};
#if NGHTTP2_VERSION_NUM >= 0x013000
	iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1};
#endif
	return nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, iv, n) ||
			       nghttp2_session_set_local_window_size(
				       h->session, NGHTTP2_FLAG_NONE, 0, all)
		       ? -ENOMEM
		       : 0;
}

int h2_session_new(struct h2 *h)
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
