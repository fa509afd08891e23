/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_h2_client.c — what a server may send to a gRPC client: one byte of options, then its bytes
 *
 * Options: bits 0-1: bytes per read (all, 1, 7, 64); bit 2: a call is cancelled midway; bit 3: the
 * server does not read; bit 4: time passes between reads; bit 5: refused calls are opened again.
 * Checked besides crashes: every call ends once, with a status, and all memory comes back. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rpc/h2.h"

#define CALLS 3

struct call {
	struct h2_stream s;
	unsigned n_ends;
	bool is_open, wants_retry;
};

struct state {
	struct h2 *h;
	struct call calls[CALLS];
	bool may_retry;
};

static struct state st;

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static struct call *call_of(struct h2_stream *s)
{
	return container_of(s, struct call, s);
}

static void on_message(struct h2_stream *s, const uint8_t *p, size_t n)
{
	if (call_of(s)->n_ends || s->is_over)
		abort();
	if (n && p[0] == 'c')
		h2_stream_cancel(s, RPC_CANCELLED, "seen enough");
	else if (n && p[0] == 's')
		h2_stream_send(s, (void *)p, n, false);
	else if (n && p[0] == 'e')
		h2_stream_close_send(s);
}

static void on_drain(struct h2_stream *s)
{
	if (call_of(s)->n_ends)
		abort();
}

static void on_end(struct h2_stream *s)
{
	struct call *c = call_of(s);

	if (s->end == H2_END_NONE)
		abort();
	if (st.may_retry && s->end == H2_END_REFUSED && s->can_replay) {
		st.may_retry = false;
		c->wants_retry = true;
		return;
	}
	if (++c->n_ends != 1)
		abort();
	h2_stream_field(s, "x");
}

static void release(struct h2_stream *s)
{
	struct call *c = call_of(s);

	c->is_open = false;
	if (!c->wants_retry && c->n_ends != 1)
		abort();
}

static void wake(void *arg)
{
}

static void drain(struct h2 *h, bool reads)
{
	struct iovec iov[8];
	int k;

	for (int i = 0; i < 100 && (k = h2_output(h, iov, 8)) > 0; i++) {
		size_t n = 0;

		for (int j = 0; j < k; j++)
			n += iov[j].iov_len;
		if (!reads)
			break;
		h2_sent(h, n);
		h2_process(h);
	}
}

static void retry(void)
{
	for (int i = 0; i < CALLS; i++) {
		struct call *c = &st.calls[i];

		if (!c->wants_retry || c->is_open)
			continue;
		c->wants_retry = false;
		h2_stream_rewind(&c->s);
		if (h2_open(st.h, &c->s, "/a.B/C", "localhost", NULL, 0, 0))
			c->n_ends = 1;
		else
			c->is_open = true;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const struct h2_events ev = {.on_message = on_message,
		.on_drain = on_drain,
		.on_end = on_end,
		.release = release,
		.wake = wake};
	static const size_t steps[] = {SIZE_MAX, 1, 7, 64};
	static const struct rpc_meta meta[] = {{"x-key", "value"}};
	static uint8_t message[70000];
	struct rpc_limits l = rpc_limits_default;
	struct mem mem = mem_init(8 << 20);
	uint64_t now = UINT64_C(1) << 40;
	uint8_t opt;
	size_t step;

	if (!n)
		return 0;
	opt = *p++;
	n--;
	l.max_message_bytes = 1 << 20;
	l.max_buffered_bytes = 2 << 20;
	memset(&st, 0, sizeof(st));
	st.may_retry = opt & 32;
	if (h2_new(&st.h, false, &l, &mem, &ev, NULL, now))
		return 0;
	for (int i = 0; i < CALLS; i++) {
		struct call *c = &st.calls[i];

		h2_stream_init(&c->s, &mem);
		c->s.max_message_bytes = l.max_message_bytes;
		/* small, larger than the window and than what is kept, and nothing at all */
		if (i < 2)
			h2_stream_send(&c->s, message, i ? sizeof(message) : 10, false);
		if (!i)
			h2_stream_close_send(&c->s);
		c->is_open = !h2_open(st.h, &c->s, "/a.B/C", "localhost", meta, 1, i * 1000000);
	}
	drain(st.h, !(opt & 8));
	step = steps[opt & 3];
	for (size_t i = 0; n; i++) {
		size_t k = n < step ? n : step;
		uint8_t *exact = malloc(k); /* overreads are seen */

		memcpy(exact, p, k);
		h2_recv(st.h, exact, k, now);
		free(exact);
		h2_process(st.h);
		drain(st.h, !(opt & 8));
		p += k;
		n -= k;
		if (opt & 4 && i == 1 && st.calls[1].is_open)
			h2_stream_cancel(&st.calls[1].s, RPC_CANCELLED, "midway");
		if (opt & 16) {
			now += UINT64_C(1) << 30;
			h2_tick(st.h, now);
			h2_process(st.h);
		}
		retry();
		if (h2_is_done(st.h))
			break;
	}
	drain(st.h, true);
	h2_tick(st.h, now + (UINT64_C(1) << 42));
	h2_process(st.h);
	st.may_retry = false;
	h2_free(st.h);
	for (int i = 0; i < CALLS; i++) {
		if (st.calls[i].is_open)
			abort();
		h2_stream_fini(&st.calls[i].s);
	}
	mem_trim(&mem);
	if (mem.used)
		abort();
	return 0;
}
