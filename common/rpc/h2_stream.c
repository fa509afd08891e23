/* SPDX-License-Identifier: GPL-2.0-or-later */
/* h2_stream.c — one call: how it begins and how it ends. What it sends: h2_out.c, receives: h2_in.c. See h2.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/rpc/h2_internal.h"
#include "common/rpc/status.h"

void h2_stream_init(struct h2_stream *s, struct mem *m)
{
	*s = (struct h2_stream){.mem = m, .deadline = UINT64_MAX};
	list_init(&s->out);
	list_init(&s->sent);
	list_init(&s->staged);
}

void h2_stream_fini(struct h2_stream *s)
{
	h2_msg_drop(&s->out);
	h2_msg_drop(&s->sent);
	buf_fini(&s->trailers);
	buf_fini(&s->fields);
	mem_put(s->mem, s->in, s->in_cap);
	s->in = NULL;
	s->in_cap = 0;
	free(s->message);
	s->message = NULL;
}

void h2_stream_attach(struct h2 *h, struct h2_stream *s, int32_t id)
{
	s->h2 = h;
	s->id = id;
	h->out_bytes += s->out_bytes;
	list_push(&h->streams, &s->link);
	h->n_streams++;
}

int h2_open(struct h2 *h, struct h2_stream *s, const char *path, const char *authority,
	const struct rpc_meta *meta, size_t n_meta, uint64_t timeout_ns)
{
	nghttp2_data_provider prd = {.read_callback = h2_stream_read};
	char timeout[STATUS_TIMEOUT_TEXT];
	nghttp2_nv nv[H2_MAX_NV];
	size_t n = 0;
	int32_t id;

	if (!h2_can_open(h))
		return -EAGAIN;
	nv[n++] = H2_NV(":method", "POST");
	nv[n++] = H2_NV(":scheme", "http");
	nv[n++] = H2_NV(":path", path);
	nv[n++] = H2_NV(":authority", authority);
	nv[n++] = H2_NV("te", "trailers");
	nv[n++] = H2_NV("content-type", "application/grpc");
	nv[n++] = H2_NV("user-agent", "dfcachefiles/" VERSION);
	nv[n++] = H2_NV("grpc-accept-encoding", "identity");
	if (timeout_ns)
		nv[n++] = H2_NV("grpc-timeout", status_timeout_format(timeout_ns, timeout));
	if (n_meta > H2_MAX_NV - n)
		return -EINVAL;
	for (size_t i = 0; i < n_meta; i++) {
		if (!h2_is_header_text(meta[i].key, meta[i].value))
			return -EINVAL;
		nv[n++] = H2_NV(meta[i].key, meta[i].value);
		nv[n - 1].flags = NGHTTP2_NV_FLAG_NONE;
	}
	id = nghttp2_submit_request(h->session, NULL, nv, n, &prd, s);
	if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE) {
		h->is_draining = true;
		return -EAGAIN;
	}
	if (id < 0)
		return id == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPROTO;
	s->can_replay = true;
	h2_stream_attach(h, s, id);
	h2_wake(h);
	return 0;
}

void h2_stream_rewind(struct h2_stream *s)
{
	struct list *it;
	size_t bytes = 0;

	while (!list_empty(&s->sent)) {
		it = s->sent.prev;
		list_del(it);
		list_push_front(&s->out, it);
	}
	list_for_each (m, &s->out)
		bytes += list_entry(m, struct h2_msg, link)->n_prefix +
			 list_entry(m, struct h2_msg, link)->len;
	s->out_bytes = bytes;
	s->out_off = s->sent_bytes = 0;
	s->fields.len = s->fields_bytes = 0;
	s->http_status = 0;
	s->n_prefix = s->n_messages = 0;
	s->in_want = s->in_len = 0;
	s->end = H2_END_NONE;
	s->status = 0;
	free(s->message);
	s->message = NULL;
	s->is_over = s->has_end = s->is_told = s->is_closed = s->is_deferred = false;
	s->has_drain = s->is_remote_closed = s->has_response = s->has_status_field = false;
}

/* h2_stream_end - the verdict on the owner's side */
void h2_stream_end(struct h2_stream *s, enum h2_end end, int status, const char *fmt, ...)
{
	va_list ap;

	if (s->has_end)
		return;
	s->has_end = s->is_over = true;
	if (!s->h2->is_server) {
		s->end = end;
		s->status = status;
		va_start(ap, fmt);
		free(s->message);
		if (vasprintf(&s->message, fmt, ap) < 0)
			s->message = NULL;
		va_end(ap);
	}
	h2_event(s);
}

void h2_stream_on_close(struct h2_stream *s, uint32_t error_code)
{
	struct h2 *h = s->h2;

	if (s->is_closed)
		return;
	s->is_closed = true;
	if (h->is_dead)
		h2_stream_end(s, H2_END_LOST, RPC_UNAVAILABLE, "%s",
			h->reason[0] ? h->reason : "connection lost");
	else if (error_code == NGHTTP2_REFUSED_STREAM)
		h2_stream_end(s, H2_END_REFUSED, RPC_UNAVAILABLE,
			"the peer refused the call before it began");
	else if (error_code == NGHTTP2_NO_ERROR)
		h2_stream_end(
			s, H2_END_RESET, RPC_INTERNAL, "the peer ended the call without a status");
	else
		h2_stream_end(s, H2_END_RESET, status_from_h2(error_code),
			"the peer reset the call (%s)", nghttp2_http2_strerror(error_code));
	h2_event(s);
}

void h2_stream_cancel(struct h2_stream *s, int status, const char *message)
{
	if (s->has_end)
		return;
	h2_reset(s, NGHTTP2_CANCEL);
	h2_stream_end(s, H2_END_LOCAL, status, "%s", message);
}

/* h2_stream_expire - server: the client's deadline, or headers that do not become complete */
void h2_stream_expire(struct h2_stream *s)
{
	if (s->is_closed)
		return;
	if (s->is_request_done && !s->out_bytes && !s->out_left && !s->is_finished) {
		h2_stream_fail(s, RPC_DEADLINE_EXCEEDED, "deadline exceeded");
		h2_stream_end(s, H2_END_LOCAL, RPC_DEADLINE_EXCEEDED, "deadline exceeded");
	} else { /* a message is half sent: a status cannot follow it */
		h2_stream_abort(s, RPC_DEADLINE_EXCEEDED, "deadline exceeded");
	}
}

void h2_stream_abort(struct h2_stream *s, int status, const char *message)
{
	if (s->is_closed)
		return;
	h2_reset(s, NGHTTP2_CANCEL);
	h2_stream_end(s, H2_END_LOCAL, status, "%s", message);
}
