/* SPDX-License-Identifier: GPL-2.0-or-later */
/* h2.c — the connection: its life, output queue, time limits, events. See h2.h.
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

#define COPY_BELOW ((size_t)4 << 10)
#define PING_WAIT  (UINT64_C(20) * 1000000000)
#define TRIM_AFTER (UINT64_C(2) * 1000000000)
#define MAX_OUTQ   4000 /* frames that a peer who does not read may make us hold */

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

void h2_reset(struct h2_stream *s, uint32_t error_code)
{
	if (s->is_closed || s->h2->is_dead)
		return;
	if (nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, error_code))
		h2_die(s->h2, "out of memory");
	h2_wake(s->h2);
}

/* ---- life ------------------------------------------------------------------------------------ */

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
	list_init(&h->staged);
	r = h2_session_new(h);
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
	h->leave_by = h->n_streams ? UINT64_MAX - 1 : h->now + H2_LEAVE_WAIT;
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
	struct list *e;

	drop_output(h);
	while ((e = list_pop(&h->staged)))
		h2_stream_on_sent(list_entry(e, struct h2_stream, staged));
	while (h->queued < H2_PULL_BYTES) {
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
	list_del(&s->staged);
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
			h->leave_by = h->now + H2_LEAVE_WAIT;
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
