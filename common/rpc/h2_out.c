/* SPDX-License-Identifier: GPL-2.0-or-later */
/* h2_out.c — what a call sends: headers, messages without a copy, the status that ends it. See h2.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rpc/h2_internal.h"
#include "common/rpc/status.h"

#define MAX_TRAILERS     ((size_t)4 << 10)
#define MAX_MESSAGE_TEXT ((size_t)2 << 10)

/* ---- messages ------------------------------------------------------------------------------ */

/* msg_new - @n bytes of a message of @total, the first ones if it @begins */
static struct h2_msg *msg_new(
	struct mem *mem, void *p, size_t n, bool is_owned, size_t total, bool begins)
{
	struct h2_msg *m = calloc(1, sizeof(*m));

	if (!m)
		goto fail;
	m->mem = mem;
	m->refs = 1;
	m->len = n;
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
	m->n_prefix = begins ? 5 : 0;
	m->prefix[1] = (uint8_t)(total >> 24);
	m->prefix[2] = (uint8_t)(total >> 16);
	m->prefix[3] = (uint8_t)(total >> 8);
	m->prefix[4] = (uint8_t)total;
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
	mem_put(m->mem, m->p, m->cap);
	free(m);
}

void h2_msg_drop(struct list *l)
{
	struct list *it;

	while ((it = list_pop(l)))
		h2_msg_unref(list_entry(it, struct h2_msg, link));
}

void h2_stream_drop_sent(struct h2_stream *s)
{
	s->can_replay = false;
	s->sent_bytes = 0;
	h2_msg_drop(&s->sent);
}

/* ---- calls ---------------------------------------------------------------------------- */

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
		H2_NV(":status", "200"),
		H2_NV("content-type", "application/grpc"),
		H2_NV("grpc-accept-encoding", "identity"),
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

static int queue(struct h2_stream *s, void *p, size_t n, bool owned, size_t total, bool begins)
{
	struct h2 *h = s->h2;
	bool is_server = h && h->is_server;
	struct h2_msg *m;

	if (s->is_over || s->is_finished || total > UINT32_MAX ||
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
	m = msg_new(s->mem, p, n, owned, total, begins);
	if (!m)
		return -ENOMEM;
	list_push(&s->out, &m->link);
	s->out_bytes += m->n_prefix + n;
	if (h)
		h->out_bytes += m->n_prefix + n;
	resume(s);
	return 0;
}

int h2_stream_send(struct h2_stream *s, void *p, size_t n, bool owned)
{
	if (!s->out_left)
		return queue(s, p, n, owned, n, true);
	if (owned)
		free(p);
	return -EINVAL;
}

int h2_stream_send_part(struct h2_stream *s, void *p, size_t n, size_t total)
{
	bool begins = !s->out_left;
	size_t left = begins ? total : s->out_left;
	int r;

	if (n > left) {
		free(p);
		return -EINVAL;
	}
	r = queue(s, p, n, true, total, begins);
	if (r == 0)
		s->out_left = left - n;
	return r;
}

size_t h2_stream_queued(const struct h2_stream *s)
{
	return s->out_bytes;
}

bool h2_stream_is_sent(const struct h2_stream *s)
{
	return !s->out_bytes && !list_is_linked(&s->staged);
}

bool h2_stream_is_stuck(const struct h2_stream *s)
{
	return list_is_linked(&s->staged);
}

bool h2_is_header_text(const char *key, const char *value)
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

int h2_stream_add_trailer(struct h2_stream *s, const char *key, const char *value)
{
	if (!h2_is_header_text(key, value) || !strncmp(key, "grpc-", 5))
		return -EINVAL;
	if (s->is_over)
		return -ECANCELED;
	if (s->n_trailers == H2_MAX_NV - 6 || /* six are ours */
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
	nghttp2_nv nv[H2_MAX_NV];
	char status[16];
	size_t n = 0;
	const char *p = buf_str(&s->trailers), *end = p + s->trailers.len;

	if (s->is_trailing)
		return 0;
	s->is_trailing = true;
	if (!s->has_headers) {
		nv[n++] = H2_NV(":status", "200");
		nv[n++] = H2_NV("content-type", "application/grpc");
		nv[n++] = H2_NV("grpc-accept-encoding", "identity");
	}
	snprintf(status, sizeof(status), "%d", s->status);
	nv[n++] = H2_NV("grpc-status", status);
	if (s->message && *s->message) {
		status_message_encode(&text, s->message);
		if (buf_ok(&text))
			nv[n++] = H2_NV("grpc-message", buf_str(&text));
	}
	while (p < end) {
		const char *value = p + strlen(p) + 1;

		nv[n] = H2_NV(p, value);
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
	if (s->out_left && status == RPC_OK) {
		status = RPC_INTERNAL;
		message = "the answer ends within a message";
	}
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
		h2_stream_drop_sent(s);
	h2_msg_unref(m);
}

static void tell_drained(struct h2_stream *s)
{
	if (s->out_bytes || s->has_drain || s->is_over)
		return;
	s->has_drain = true;
	h2_event(s);
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

		if (s->out_off < m->n_prefix) {
			k = m->n_prefix - s->out_off < n ? m->n_prefix - s->out_off : n;
			r = h2_stage(s->h2, m->prefix + s->out_off, k);
		} else {
			k = m->n_prefix + m->len - s->out_off;
			k = k < n ? k : n;
			r = h2_stage_msg(s->h2, m, m->p + (s->out_off - m->n_prefix), k);
		}
		if (r)
			return r;
		s->out_off += k;
		n -= k;
		if (s->out_off == m->n_prefix + m->len)
			pulled(s, m);
	}
	if (!list_is_linked(&s->staged))
		list_push(&s->h2->staged, &s->staged);
	tell_drained(s);
	return 0;
}

void h2_stream_on_sent(struct h2_stream *s)
{
	tell_drained(s);
}
