/* SPDX-License-Identifier: GPL-2.0-or-later */
/* h2_stream.c — one call: headers, messages in and out, how it ends. See h2.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rpc/h2_internal.h"
#include "common/rpc/status.h"

#define FIRST_GROWTH     ((size_t)64 << 10) /* believe a length prefix this far */
#define MAX_TRAILERS     ((size_t)4 << 10)
#define MAX_MESSAGE_TEXT ((size_t)2 << 10)
#define MAX_NV           48
#define NV(n, v, flag)                                                                             \
	(nghttp2_nv)                                                                               \
	{                                                                                          \
		(uint8_t *)(n), (uint8_t *)(v), strlen(n), strlen(v),                              \
			NGHTTP2_NV_FLAG_NO_COPY_NAME | (flag)                                      \
	}
#define NV_COPY(n, v) NV(n, v, 0)

/* ---- messages ------------------------------------------------------------------------------ */

static struct h2_msg *msg_new(struct mem *mem, void *p, size_t n, bool is_owned)
{
	struct h2_msg *m = calloc(1, sizeof(*m));

	if (!m)
		goto fail;
	m->mem = mem;
	m->refs = 1;
	m->len = n;
	m->is_owned = is_owned;
	if (is_owned) {
		if (!mem_charge(mem, n))
			goto fail;
		m->p = p;
		m->cap = n;
	} else {
		m->p = mem_get(mem, n, &m->cap);
		if (!m->p)
			goto fail;
		if (n)
			memcpy(m->p, p, n);
	}
	m->prefix[1] = (uint8_t)(n >> 24);
	m->prefix[2] = (uint8_t)(n >> 16);
	m->prefix[3] = (uint8_t)(n >> 8);
	m->prefix[4] = (uint8_t)n;
	return m;
fail:
	free(m);
	if (is_owned)
		free(p);
	return NULL;
}

void h2_msg_unref(struct h2_msg *m)
{
	if (--m->refs)
		return;
	if (m->is_owned) {
		mem_discharge(m->mem, m->cap);
		free(m->p);
	} else {
		mem_put(m->mem, m->p, m->cap);
	}
	free(m);
}

static void drop_list(struct list *l)
{
	struct list *it;

	while ((it = list_pop(l)))
		h2_msg_unref(list_entry(it, struct h2_msg, link));
}

static void drop_sent(struct h2_stream *s)
{
	s->can_replay = false;
	s->sent_bytes = 0;
	drop_list(&s->sent);
}

/* ---- life ---------------------------------------------------------------------------------- */

void h2_stream_init(struct h2_stream *s, struct mem *m)
{
	*s = (struct h2_stream){.mem = m, .deadline = UINT64_MAX};
	list_init(&s->out);
	list_init(&s->sent);
}

void h2_stream_fini(struct h2_stream *s)
{
	drop_list(&s->out);
	drop_list(&s->sent);
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

/* is_token - a name or a value that may stand in a header */
static bool is_header_text(const char *key, const char *value)
{
	if (!*key || *key == ':')
		return false;
	for (; *key; key++) {
		if (*key <= 0x20 || *key >= 0x7f || (*key >= 'A' && *key <= 'Z') || *key == ':')
			return false;
	}
	for (; *value; value++) {
		if (*value < 0x20 || *value >= 0x7f)
			return false;
	}
	return true;
}

int h2_open(struct h2 *h, struct h2_stream *s, const char *path, const char *authority,
	const struct rpc_meta *meta, size_t n_meta, uint64_t timeout_ns)
{
	nghttp2_data_provider prd = {.read_callback = h2_stream_read};
	char timeout[STATUS_TIMEOUT_TEXT];
	nghttp2_nv nv[MAX_NV];
	size_t n = 0;
	int32_t id;

	if (!h2_can_open(h))
		return -EAGAIN;
	nv[n++] = NV_COPY(":method", "POST");
	nv[n++] = NV_COPY(":scheme", "http");
	nv[n++] = NV_COPY(":path", path);
	nv[n++] = NV_COPY(":authority", authority);
	nv[n++] = NV_COPY("te", "trailers");
	nv[n++] = NV_COPY("content-type", "application/grpc");
	nv[n++] = NV_COPY("user-agent", "dfcachefiles/" VERSION);
	nv[n++] = NV_COPY("grpc-accept-encoding", "identity");
	if (timeout_ns)
		nv[n++] = NV_COPY("grpc-timeout", status_timeout_format(timeout_ns, timeout));
	if (n_meta > MAX_NV - n)
		return -EINVAL;
	for (size_t i = 0; i < n_meta; i++) {
		if (!is_header_text(meta[i].key, meta[i].value))
			return -EINVAL;
		nv[n++] = NV(meta[i].key, meta[i].value, 0);
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
		bytes += 5 + list_entry(m, struct h2_msg, link)->len;
	s->out_bytes = bytes;
	s->out_off = s->sent_bytes = 0;
	s->fields.len = s->fields_bytes = 0;
	s->http_status = 0;
	s->n_prefix = s->n_messages = 0;
	s->in_want = 0;
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
	if (s->is_request_done && !s->out_bytes && !s->is_finished)
		h2_stream_fail(s, RPC_DEADLINE_EXCEEDED, "deadline exceeded");
	else
		h2_reset(s, NGHTTP2_CANCEL); /* a message is half sent: a status cannot follow it */
	h2_stream_end(s, H2_END_LOCAL, RPC_DEADLINE_EXCEEDED, "deadline exceeded");
}

/* ---- headers in ------------------------------------------------------------------------------ */

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
	nghttp2_nv nv[2] = {NV_COPY(":status", status), NV_COPY(key, value)};

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
	drop_sent(s);
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

/* ---- messages in --------------------------------------------------------------------------- */

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

/* ---- messages out ---------------------------------------------------------------------------- */

static void resume(struct h2_stream *s)
{
	if (!s->h2)
		return;
	if (s->is_deferred) {
		s->is_deferred = false;
		if (nghttp2_session_resume_data(s->h2->session, s->id) == NGHTTP2_ERR_NOMEM)
			h2_die(s->h2, "out of memory");
	}
	h2_wake(s->h2);
}

int h2_stream_send_headers(struct h2_stream *s)
{
	nghttp2_data_provider prd = {.read_callback = h2_stream_read};
	nghttp2_nv nv[] = {
		NV_COPY(":status", "200"),
		NV_COPY("content-type", "application/grpc"),
		NV_COPY("grpc-accept-encoding", "identity"),
	};

	if (s->has_headers)
		return 0;
	if (!s->h2 || s->is_over || s->is_closed)
		return -ECANCELED;
	if (nghttp2_submit_response(s->h2->session, s->id, nv, ARRAY_SIZE(nv), &prd)) {
		h2_reset(s, NGHTTP2_INTERNAL_ERROR);
		return -ENOMEM;
	}
	s->has_headers = true;
	h2_wake(s->h2);
	return 0;
}

int h2_stream_send(struct h2_stream *s, void *p, size_t n, bool owned)
{
	struct h2 *h = s->h2;
	bool is_server = h && h->is_server;
	struct h2_msg *m;

	if (s->is_over || s->is_finished || n > UINT32_MAX ||
		(is_server && (n > h->limits.max_buffered_bytes ||
				      h->out_bytes > h->limits.max_buffered_bytes - n))) {
		if (owned)
			free(p);
		return s->is_over || s->is_finished ? -ECANCELED : -ENOMEM;
	}
	if (is_server && h2_stream_send_headers(s)) {
		if (owned)
			free(p);
		return -ENOMEM;
	}
	m = msg_new(s->mem, p, n, owned);
	if (!m)
		return -ENOMEM;
	list_push(&s->out, &m->link);
	s->out_bytes += 5 + n;
	if (h)
		h->out_bytes += 5 + n;
	resume(s);
	return 0;
}

size_t h2_stream_queued(const struct h2_stream *s)
{
	return s->out_bytes;
}

int h2_stream_add_trailer(struct h2_stream *s, const char *key, const char *value)
{
	if (!is_header_text(key, value) || !strncmp(key, "grpc-", 5))
		return -EINVAL;
	if (s->is_over)
		return -ECANCELED;
	if (s->n_trailers == MAX_NV - 6 || /* six are ours */
		s->trailers.len + strlen(key) + strlen(value) + 2 > MAX_TRAILERS)
		return -E2BIG;
	s->n_trailers++;
	buf_add(&s->trailers, key, strlen(key) + 1);
	buf_add(&s->trailers, value, strlen(value) + 1);
	return buf_ok(&s->trailers) ? 0 : -ENOMEM;
}

/* submit_status - the last HEADERS: trailers, or, with nothing sent before, the whole answer */
static int submit_status(struct h2_stream *s)
{
	_cleanup_buf_ struct buf text = {0};
	nghttp2_nv nv[MAX_NV];
	char status[16];
	size_t n = 0;
	const char *p = buf_str(&s->trailers), *end = p + s->trailers.len;

	if (s->is_trailing)
		return 0;
	s->is_trailing = true;
	if (!s->has_headers) {
		nv[n++] = NV_COPY(":status", "200");
		nv[n++] = NV_COPY("content-type", "application/grpc");
		nv[n++] = NV_COPY("grpc-accept-encoding", "identity");
	}
	snprintf(status, sizeof(status), "%d", s->status);
	nv[n++] = NV_COPY("grpc-status", status);
	if (s->message && *s->message) {
		status_message_encode(&text, s->message);
		if (buf_ok(&text))
			nv[n++] = NV_COPY("grpc-message", buf_str(&text));
	}
	while (p < end) {
		const char *value = p + strlen(p) + 1;

		nv[n] = NV_COPY(p, value);
		nv[n++].flags = NGHTTP2_NV_FLAG_NONE;
		p = value + strlen(value) + 1;
	}
	if (s->has_headers)
		return nghttp2_submit_trailer(s->h2->session, s->id, nv, n);
	s->has_headers = true;
	return nghttp2_submit_response(s->h2->session, s->id, nv, n, NULL);
}

/* message_length - as much as surely fits the peer's header limit when encoded, in whole characters */
static size_t message_length(const char *s)
{
	size_t n = strnlen(s, MAX_MESSAGE_TEXT + 1);

	if (n <= MAX_MESSAGE_TEXT)
		return n;
	for (n = MAX_MESSAGE_TEXT; n && ((uint8_t)s[n] & 0xc0) == 0x80; n--)
		;
	return n;
}

static void conclude(struct h2_stream *s, int status, const char *message)
{
	bool is_answering = s->has_headers;

	s->is_over = true;
	s->status = status;
	free(s->message);
	s->message = message && *message ? strndup(message, message_length(message)) : NULL;
	if (s->is_closed)
		return;
	if (is_answering)
		resume(s); /* the trailers follow what is queued: h2_stream_read() */
	else if (submit_status(s))
		h2_reset(s, NGHTTP2_INTERNAL_ERROR);
	h2_wake(s->h2);
}

void h2_stream_finish(struct h2_stream *s, int status, const char *message)
{
	if (s->is_over)
		return;
	s->is_finished = true;
	conclude(s, status, message);
}

/* h2_stream_fail - server: the core's own verdict, because of what the client did */
void h2_stream_fail(struct h2_stream *s, int status, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	if (s->is_over)
		return;
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	conclude(s, status, text);
}

void h2_stream_close_send(struct h2_stream *s)
{
	if (s->is_finished)
		return;
	s->is_finished = true;
	resume(s);
}

ssize_t h2_stream_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
	uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
	size_t n;
	bool is_last;

	if (!s)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = s->out_bytes < length ? s->out_bytes : length;
	is_last = n == s->out_bytes && (s->h2->is_server ? s->is_over : s->is_finished);
	if (!n && !is_last) {
		s->is_deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (is_last) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (s->h2->is_server) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			if (submit_status(s))
				return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		}
	}
	return (ssize_t)n;
}

/* pulled - the first message has been framed to its end */
static void pulled(struct h2_stream *s, struct h2_msg *m)
{
	list_del(&m->link);
	s->out_off = 0;
	if (s->can_replay && s->sent_bytes + m->len <= H2_REPLAY_BYTES) {
		s->sent_bytes += m->len;
		list_push(&s->sent, &m->link);
		return;
	}
	if (s->can_replay)
		drop_sent(s);
	h2_msg_unref(m);
}

/* h2_stream_emit - stage the next @n bytes of what is queued (nghttp2 asked for them) */
int h2_stream_emit(struct h2_stream *s, size_t n)
{
	s->out_bytes -= n;
	s->h2->out_bytes -= n;
	while (n) {
		struct h2_msg *m = list_entry(s->out.next, struct h2_msg, link);
		size_t k;
		int r;

		if (s->out_off < 5) {
			k = 5 - s->out_off < n ? 5 - s->out_off : n;
			r = h2_stage(s->h2, m->prefix + s->out_off, k);
		} else {
			k = 5 + m->len - s->out_off;
			k = k < n ? k : n;
			r = h2_stage_msg(s->h2, m, m->p + (s->out_off - 5), k);
		}
		if (r)
			return r;
		s->out_off += k;
		n -= k;
		if (s->out_off == 5 + m->len)
			pulled(s, m);
	}
	if (!s->out_bytes && !s->has_drain && !s->is_over) {
		s->has_drain = true;
		h2_event(s);
	}
	return 0;
}
