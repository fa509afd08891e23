/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_h2_server.c — what a client may send to a gRPC server: one byte of options, then its bytes
 *
 * Options: bit 0: the connection preface comes first; bits 1-2: bytes per read (all, 1, 7, 64);
 * bit 3: the client does not read; bit 4: time passes between reads; bit 5: the server stops midway.
 * Checked besides crashes: every call that began ends once, and all memory comes back. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rpc/h2.h"

#define MAGIC "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

struct call {
	struct h2_stream s;
	bool has_begun, has_ended;
};

static struct call *held;
static unsigned n_calls;

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static struct call *call_of(struct h2_stream *s)
{
	return container_of(s, struct call, s);
}

static struct h2_stream *new_stream(void *arg)
{
	struct call *c = calloc(1, sizeof(*c));

	n_calls += c != NULL;
	return c ? &c->s : NULL;
}

static bool on_request(struct h2_stream *s)
{
	const char *path = h2_stream_field(s, ":path");

	if (!path || strlen(path) < 2)
		return false;
	s->is_client_stream = path[1] == 's';
	s->max_message_bytes = 1 << 20;
	return true;
}

static void on_message(struct h2_stream *s, const uint8_t *p, size_t n)
{
	struct call *c = call_of(s);

	if (c->has_ended || s->is_over)
		abort();
	c->has_begun = true;
	switch (n ? p[0] % 5 : 0) {
	case 0:
		h2_stream_send(s, (void *)p, n, false);
		h2_stream_add_trailer(s, "x-trailer", "value");
		h2_stream_finish(s, RPC_OK, NULL);
		break;
	case 1:
		h2_stream_finish(s, RPC_NOT_FOUND, "nothing\nhere 100%");
		break;
	case 2:
		held = c;
		break;
	case 3:
		if (held && held != c)
			h2_stream_finish(&held->s, RPC_ABORTED, "another call");
		held = c;
		break;
	default:
		h2_stream_send_headers(s);
		for (int i = 0; i < 3; i++)
			h2_stream_send(s, calloc(1, 100000), 100000, true);
		if (p[0] & 64)
			h2_stream_finish(s, RPC_OK, NULL);
	}
}

static void on_half_close(struct h2_stream *s)
{
	call_of(s)->has_begun = true;
	h2_stream_finish(s, RPC_OK, "bye");
}

static void on_drain(struct h2_stream *s)
{
	if (call_of(s)->has_ended)
		abort();
}

static void on_end(struct h2_stream *s)
{
	struct call *c = call_of(s);

	if (c->has_ended || !c->has_begun)
		abort();
	c->has_ended = true;
	if (held == c)
		held = NULL;
}

static void release(struct h2_stream *s)
{
	struct call *c = call_of(s);

	if (c->has_begun && !c->has_ended)
		abort();
	n_calls--;
	h2_stream_fini(s);
	free(c);
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
		volatile uint8_t sum = 0;

		for (int j = 0; j < k; j++) {
			n += iov[j].iov_len;
			for (size_t b = 0; b < iov[j].iov_len; b += 61)
				sum += ((uint8_t *)iov[j].iov_base)[b];
		}
		(void)sum;
		if (!reads)
			break;
		h2_sent(h, n > 3 ? n - 3 : n);
		h2_process(h);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const struct h2_events ev = {
		new_stream, on_request, on_message, on_half_close, on_drain, on_end, release, wake};
	static const size_t steps[] = {SIZE_MAX, 1, 7, 64};
	struct rpc_limits l = rpc_limits_default;
	struct mem mem = mem_init(8 << 20);
	uint64_t now = UINT64_C(1) << 40;
	struct h2 *h;
	uint8_t opt;
	size_t step;

	if (!n)
		return 0;
	opt = *p++;
	n--;
	l.max_buffered_bytes = 2 << 20;
	l.max_calls = 8;
	held = NULL;
	if (h2_new(&h, true, &l, &mem, &ev, NULL, now))
		return 0;
	if (opt & 1)
		h2_recv(h, (const uint8_t *)MAGIC, sizeof(MAGIC) - 1, now);
	step = steps[opt >> 1 & 3];
	for (size_t i = 0; n; i++) {
		size_t k = n < step ? n : step;
		uint8_t *exact = malloc(k); /* overreads are seen */

		memcpy(exact, p, k);
		h2_recv(h, exact, k, now);
		free(exact);
		h2_process(h);
		drain(h, !(opt & 8));
		p += k;
		n -= k;
		if (opt & 16) {
			now += UINT64_C(1) << 30;
			h2_tick(h, now);
			h2_process(h);
		}
		if (opt & 32 && i == 2)
			h2_goaway(h);
		if (h2_is_done(h))
			break;
	}
	drain(h, true);
	h2_tick(h, now + (UINT64_C(1) << 42));
	h2_process(h);
	h2_free(h);
	mem_trim(&mem);
	if (n_calls || mem.used)
		abort();
	return 0;
}
