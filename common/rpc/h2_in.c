/* SPDX-License-Identifier: GPL-2.0-or-later */
/* h2_in.c — what a call receives: header blocks judged, messages put together. See h2.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rpc/h2_internal.h"
#include "common/rpc/status.h"

#define FIRST_GROWTH ((size_t)64 << 10) /* believe a length prefix this far */

/* ---- headers ------------------------------------------------------------------------------ */

const char *h2_stream_field(const struct h2_stream *s, const char *key)
{
	const char *p = buf_str(&s->fields), *end = p + s->fields.len, *found = NULL;

	while (p < end) {
		const char *value = p + strlen(p) + 1;

		if (!strcmp(p, key))
			found = value;
		p = value + strlen(value) + 1;
	}
	return found;
}

static bool is_printable(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] < 0x20 || p[i] > 0x7e)
			return false;
	}
	return true;
}

void h2_stream_on_header(
	struct h2_stream *s, const uint8_t *name, size_t n_name, const uint8_t *v, size_t n_v)
{
	if (s->h2->is_server && s->is_request_done)
		return; /* trailers of a request mean nothing in gRPC */
	s->fields_bytes += n_name + n_v + 32;
	if (s->fields_bytes > H2_MAX_FIELDS)
		return; /* judged when the block is complete */
	if (!is_printable(name, n_name) || !is_printable(v, n_v))
		return; /* neither to be logged nor compared; gRPC forbids it */
	if (n_name == 7 && !memcmp(name, ":status", 7) && n_v == 3) {
		s->http_status = (v[0] - '0') * 100 + (v[1] - '0') * 10 + (v[2] - '0');
		s->has_status_field = true;
	}
	buf_add(&s->fields, name, n_name);
	buf_addc(&s->fields, 0);
	buf_add(&s->fields, v, n_v);
	buf_addc(&s->fields, 0);
}

static bool is_grpc(const char *content_type)
{
	static const char want[] = "application/grpc";
	size_t n = sizeof(want) - 1;

	return content_type && !strncasecmp(content_type, want, n) &&
	       (!content_type[n] || content_type[n] == '+' || content_type[n] == ';');
}

/* answer_http - refuse what is not gRPC in HTTP's own words */
static void answer_http(struct h2_stream *s, const char *status, const char *key, const char *value)
{
	nghttp2_nv nv[2] = {H2_NV(":status", status), H2_NV(key, value)};

	s->has_headers = s->is_trailing = s->is_over = true;
	if (nghttp2_submit_response(s->h2->session, s->id, nv, 2, NULL))
		h2_reset(s, NGHTTP2_INTERNAL_ERROR);
	h2_wake(s->h2);
}

static void spread(struct h2_stream *s)
{
#if NGHTTP2_VERSION_NUM >= 0x013000
	/* without the old priority tree streams would be served one after the other */
	nghttp2_extpri pri = {.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY, .inc = 1};

	nghttp2_session_change_extpri_stream_priority(s->h2->session, s->id, &pri, 1);
#endif
}

static void on_request(struct h2_stream *s)
{
	struct h2 *h = s->h2;
	const char *method = h2_stream_field(s, ":method"), *timeout;
	uint64_t ns;

	s->is_request_done = true;
	heap_remove(&h->timers, &s->timer);
	spread(s);
	s->max_message_bytes = h->limits.max_message_bytes;
	if (s->fields_bytes > H2_MAX_FIELDS) {
		h2_stream_fail(s, RPC_RESOURCE_EXHAUSTED, "request headers larger than %d bytes",
			H2_MAX_FIELDS);
		return;
	}
	if (!buf_ok(&s->fields)) {
		h2_reset(s, NGHTTP2_INTERNAL_ERROR);
		return;
	}
	if (!method || strcmp(method, "POST")) {
		answer_http(s, "405", "allow", "POST");
		return;
	}
	if (!is_grpc(h2_stream_field(s, "content-type"))) {
		answer_http(s, "415", "accept", "application/grpc");
		return;
	}
	timeout = h2_stream_field(s, "grpc-timeout");
	if (timeout) {
		if (status_timeout_parse(timeout, &ns)) {
			h2_stream_fail(s, RPC_INVALID_ARGUMENT,
				"grpc-timeout: want 1 to 8 digits and one of H M S m u n");
			return;
		}
		if (!__builtin_add_overflow(h->now, ns, &s->deadline))
			heap_insert(&h->timers, &s->timer, s->deadline); /* room is reserved */
		else
			s->deadline = UINT64_MAX;
	}
	if (!h->ev.on_request(s)) {
		const char *path = h2_stream_field(s, ":path");

		h2_stream_fail(s, RPC_UNIMPLEMENTED, "unknown method %.200s", path ? path : "");
	}
}

/* response_end - client: what the last header block (or its absence) means */
static void response_end(struct h2_stream *s)
{
	const char *status = h2_stream_field(s, "grpc-status"),
		   *message = h2_stream_field(s, "grpc-message");
	_cleanup_buf_ struct buf text = {0};

	if (s->fields_bytes > H2_MAX_FIELDS) {
		h2_stream_end(s, H2_END_STATUS, RPC_RESOURCE_EXHAUSTED,
			"the answer's trailers are larger than %d bytes", H2_MAX_FIELDS);
		return;
	}
	if (!status && s->http_status != 200) {
		h2_stream_end(s, H2_END_STATUS, status_from_http(s->http_status),
			"the peer answered HTTP %d instead of gRPC", s->http_status);
		return;
	}
	if (!status) {
		h2_stream_end(s, H2_END_STATUS, RPC_UNKNOWN, "the answer has no grpc-status");
		return;
	}
	if (status_parse(status) == RPC_OK && (s->n_prefix || s->in_want)) {
		h2_stream_end(s, H2_END_STATUS, RPC_INTERNAL, "the answer ends within a message");
		return;
	}
	if (message)
		status_message_decode(&text, message);
	h2_stream_end(s, H2_END_STATUS, status_parse(status), "%s", buf_str(&text));
}

static void on_response(struct h2_stream *s)
{
	if (s->http_status >= 100 && s->http_status < 200)
		return; /* informational */
	s->has_response = true;
	h2_stream_drop_sent(s);
	if (s->fields_bytes > H2_MAX_FIELDS)
		h2_stream_cancel(s, RPC_RESOURCE_EXHAUSTED, "the answer's headers are too large");
	else if (s->http_status != 200 || !is_grpc(h2_stream_field(s, "content-type"))) {
		h2_stream_end(s, H2_END_STATUS, status_from_http(s->http_status),
			"the peer answered HTTP %d instead of gRPC", s->http_status);
		h2_reset(s, NGHTTP2_CANCEL);
	}
}

void h2_stream_on_headers_done(struct h2_stream *s, bool is_last)
{
	if (s->h2->is_server) {
		if (!s->is_request_done)
			on_request(s);
	} else if (s->has_status_field && !s->has_end &&
		   !(is_last && h2_stream_field(s, "grpc-status"))) {
		on_response(s);
	}
	if (is_last)
		h2_stream_on_remote_end(s);
}

/* ---- messages --------------------------------------------------------------------------- */

static void reject(struct h2_stream *s, int status, const char *message)
{
	if (s->h2->is_server)
		h2_stream_fail(s, status, "%s", message);
	else
		h2_stream_cancel(s, status, message);
}

static void deliver(struct h2_stream *s, const uint8_t *p, size_t n)
{
	s->is_known = true;
	s->h2->ev.on_message(s, p ? p : (const uint8_t *)"", n);
}

/* drop_in - the assembled message is done with */
static void drop_in(struct h2_stream *s)
{
	s->h2->in_bytes -= s->in_cap;
	mem_put(s->mem, s->in, s->in_cap);
	s->in = NULL;
	s->in_cap = s->in_len = 0;
}

/* begin_message - the five bytes are there; false: rejected */
static bool begin_message(struct h2_stream *s)
{
	const uint8_t *p = s->prefix;
	size_t n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
	_cleanup_free_ char *text = NULL;

	if (p[0] == 1) {
		reject(s, RPC_UNIMPLEMENTED,
			"compressed messages are not supported, only grpc-encoding identity");
		return false;
	}
	if (p[0]) {
		reject(s, RPC_INTERNAL,
			"not a gRPC message: the compressed flag is neither 0 nor 1");
		return false;
	}
	if (n > s->max_message_bytes) {
		if (asprintf(&text, "message of %zu bytes is larger than the limit of %zu", n,
			    s->max_message_bytes) < 0)
			text = NULL;
		reject(s, RPC_RESOURCE_EXHAUSTED, text ? text : "message too large");
		return false;
	}
	if (s->h2->is_server && !s->is_client_stream && s->n_messages) {
		reject(s, RPC_INVALID_ARGUMENT, "more than one request message for a unary call");
		return false;
	}
	s->n_messages++;
	s->in_want = n;
	return true;
}

/* hand_on - as much as is here of a message that the owner takes in parts; returns how much */
static size_t hand_on(struct h2_stream *s, const uint8_t *p, size_t n)
{
	size_t total = s->in_want, at = s->in_len;

	n = n < total - at ? n : total - at;
	s->in_len += n;
	if (s->in_len == total)
		s->n_prefix = s->in_want = s->in_len = 0;
	s->is_known = true;
	s->h2->ev.on_part(s, p, n, total, at);
	return n;
}

/* append - more bytes of a message that did not come whole */
static bool append(struct h2_stream *s, const uint8_t *p, size_t n)
{
	struct h2 *h = s->h2;
	size_t need = s->in_len + n, cap = s->in_cap;
	void *q;

	if (need > cap) {
		/* what arrived decides how much is allocated, not the length it announces */
		size_t want = need < FIRST_GROWTH ? FIRST_GROWTH : need;

		if (want > s->in_want)
			want = s->in_want;
		q = mem_grow(s->mem, s->in, &cap, want, s->in_want);
		if (q) {
			h->in_bytes += cap - s->in_cap;
			s->in = q;
			s->in_cap = cap;
		}
		if (!q || h->in_bytes > h->limits.max_buffered_bytes) {
			reject(s, RPC_RESOURCE_EXHAUSTED,
				"too many bytes of unfinished messages are buffered, retry later");
			return false;
		}
	}
	memcpy(s->in + s->in_len, p, n);
	s->in_len = need;
	return true;
}

void h2_stream_on_data(struct h2_stream *s, const uint8_t *p, size_t n)
{
	/* a unary request waits for the half-close that says that it is the only one */
	bool is_holding = s->h2->is_server && !s->is_client_stream;

	while (!s->is_over && n) {
		size_t k;

		if (s->n_prefix < 5) {
			s->prefix[s->n_prefix++] = *p++;
			n--;
			if (s->n_prefix < 5)
				continue;
			if (!begin_message(s))
				return;
		}
		if (s->takes_parts) {
			k = hand_on(s, p, n);
			p += k;
			n -= k;
			continue;
		}
		k = s->in_want - s->in_len;
		if (!is_holding && !s->in_len && n >= k) {
			s->n_prefix = 0;
			s->in_want = 0;
			deliver(s, p, k); /* whole in the receive buffer: no copy */
			p += k;
			n -= k;
			continue;
		}
		if (k > n)
			k = n;
		if (k && !append(s, p, k))
			return;
		p += k;
		n -= k;
		if (s->in_len < s->in_want)
			return;
		s->n_prefix = 0;
		s->in_want = 0;
		if (is_holding) {
			s->has_held = true;
			continue;
		}
		deliver(s, s->in, s->in_len);
		drop_in(s);
	}
}

void h2_stream_on_remote_end(struct h2_stream *s)
{
	struct h2 *h = s->h2;

	s->is_remote_closed = true;
	if (!h->is_server) {
		if (!s->has_end)
			response_end(s);
		if (!nghttp2_session_get_stream_local_close(h->session, s->id))
			h2_reset(s, NGHTTP2_NO_ERROR);
		return;
	}
	if (s->is_over)
		return;
	if (s->n_prefix || s->in_want) {
		h2_stream_fail(s, RPC_INVALID_ARGUMENT, "the request ends within a message");
	} else if (s->is_client_stream) {
		s->is_known = true;
		if (h->ev.on_half_close)
			h->ev.on_half_close(s);
	} else if (!s->has_held) {
		h2_stream_fail(s, RPC_INVALID_ARGUMENT, "a unary call without a request message");
	} else {
		deliver(s, s->in, s->in_len);
		drop_in(s);
	}
}
