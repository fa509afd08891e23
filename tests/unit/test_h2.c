/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_h2.c — gRPC's framing without sockets: both roles wired back to back, time moved by hand,
 * connections cut at every byte, frames that no honest peer sends */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/rpc/h2.h"
#include "tests/lib/oom.h"

#define SECOND UINT64_C(1000000000)
#define MIB    ((size_t)1 << 20)
#define START  (1000 * SECOND)

/* ---- two ends --------------------------------------------------------------------------------- */

/* one call as one end sees it */
struct call {
	struct h2_stream s;
	struct end *end;
	struct list link; /* of the server's calls, until released */
	unsigned n_messages, n_half_closes, n_drains, n_ends;
	size_t bytes, at;
	uint8_t last[16];
	size_t n_last;
	bool is_released, is_heap;
};

struct end {
	struct h2 *h;
	struct mem mem;
	struct list calls; /* server: alive */
	struct call *latest;
	unsigned n_ended, n_finished, n_released, n_begun, n_wakes;
	char path[64], ask[64];
	/* what the service does: 'e' echo and finish, 'h' hold, 's' echo each message */
	char mode;
};

struct pair {
	struct end server, client;
	struct rpc_limits limits;
	uint64_t now;
	size_t step; /* bytes per h2_recv() */
	size_t cut; /* bytes from the client after which the line is dead; SIZE_MAX = never */
};

static struct call *call_of(struct h2_stream *s)
{
	return container_of(s, struct call, s);
}

static struct h2_stream *new_stream(void *arg)
{
	struct end *e = arg;
	struct call *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->end = e;
	c->is_heap = true;
	list_push(&e->calls, &c->link);
	e->latest = c;
	return &c->s;
}

static bool on_request(struct h2_stream *s)
{
	struct call *c = call_of(s);
	const char *path = h2_stream_field(s, ":path"), *ask = h2_stream_field(s, "x-ask");

	c->end->n_begun++;
	snprintf(c->end->path, sizeof(c->end->path), "%s", path);
	snprintf(c->end->ask, sizeof(c->end->ask), "%s", ask ? ask : "");
	s->is_client_stream = !strcmp(path, "/t.T/Stream");
	if (!strcmp(path, "/t.T/Small"))
		s->max_message_bytes = 10;
	return strcmp(path, "/t.T/None") != 0;
}

static void on_message(struct h2_stream *s, const uint8_t *p, size_t n)
{
	struct call *c = call_of(s);

	assert_int_equal(c->n_ends, 0);
	c->n_messages++;
	c->bytes += n;
	c->n_last = n < sizeof(c->last) ? n : sizeof(c->last);
	if (c->n_last)
		memcpy(c->last, p, c->n_last);
	if (!c->end->mode || c->end->mode == 'h')
		return;
	if (h2_stream_send(s, (void *)p, n, false) == -ENOMEM)
		h2_stream_finish(s, RPC_RESOURCE_EXHAUSTED, "no memory");
	if (c->end->mode == 'e') {
		h2_stream_add_trailer(s, "x-answer", "42");
		h2_stream_finish(s, RPC_OK, NULL);
	}
}

static void on_part(struct h2_stream *s, const uint8_t *p, size_t n, size_t total, size_t at)
{
	struct call *c = call_of(s);

	assert_int_equal(c->n_ends, 0);
	assert_int_equal(at, c->at);
	assert_true(n <= total - at);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(p[i], (uint8_t)(at + i));
	c->at = at + n == total ? 0 : at + n;
	c->n_messages += at + n == total;
	c->bytes += n;
}

static void on_half_close(struct h2_stream *s)
{
	struct call *c = call_of(s);

	c->n_half_closes++;
	if (c->end->mode == 's')
		h2_stream_finish(s, RPC_OK, NULL);
}

static void on_drain(struct h2_stream *s)
{
	assert_int_equal(call_of(s)->n_ends, 0);
	call_of(s)->n_drains++;
}

static void on_end(struct h2_stream *s)
{
	struct call *c = call_of(s);

	assert_int_equal(c->n_ends, 0);
	c->n_ends++;
	c->end->n_ended++;
	c->end->n_finished += s->is_finished;
}

static void release(struct h2_stream *s)
{
	struct call *c = call_of(s);

	c->is_released = true;
	c->end->n_released++;
	if (!c->is_heap)
		return;
	if (c->end) {
		list_del(&c->link);
		if (c->end->latest == c)
			c->end->latest = NULL;
	}
	h2_stream_fini(s);
	free(c);
}

static void wake(void *arg)
{
	((struct end *)arg)->n_wakes++;
}

static const struct h2_events events = {new_stream, on_request, on_message, on_half_close, on_drain,
	on_end, release, wake, on_part};

static int pair_init(struct pair *p)
{
	p->server.mem = mem_init(64 * MIB);
	p->client.mem = mem_init(SIZE_MAX);
	list_init(&p->server.calls);
	list_init(&p->client.calls);
	if (h2_new(&p->server.h, true, &p->limits, &p->server.mem, &events, &p->server, p->now))
		return -ENOMEM;
	if (h2_new(&p->client.h, false, &p->limits, &p->client.mem, &events, &p->client, p->now)) {
		p->server.h = h2_free(p->server.h);
		return -ENOMEM;
	}
	return 0;
}

static void pair_fini(struct pair *p)
{
	p->server.h = h2_free(p->server.h);
	p->client.h = h2_free(p->client.h);
	assert_true(list_empty(&p->server.calls));
	mem_trim(&p->server.mem);
	mem_trim(&p->client.mem);
	assert_int_equal(p->server.mem.used, 0);
}

/* carry - what @from has to say goes to @to; false: nothing */
static bool carry(struct pair *p, struct end *from, struct end *to)
{
	struct iovec iov[H2_IOV];
	bool any = false;
	int k;

	while ((k = h2_output(from->h, iov, H2_IOV)) > 0) {
		size_t n = 0;

		for (int i = 0; i < k; i++) {
			const uint8_t *b = iov[i].iov_base;
			size_t left = iov[i].iov_len;

			n += left;
			while (left) {
				size_t m = left < p->step ? left : p->step;

				if (from == &p->client) {
					if (m > p->cut)
						m = p->cut;
					p->cut -= p->cut == SIZE_MAX ? 0 : m;
				}
				if (!m)
					break;
				h2_recv(to->h, b, m, p->now);
				h2_process(to->h);
				b += m;
				left -= m;
			}
		}
		h2_sent(from->h, n);
		h2_process(from->h);
		any = true;
	}
	return any;
}

/* pump - until both are silent */
static void pump(struct pair *p)
{
	bool any;

	do {
		h2_process(p->client.h);
		h2_process(p->server.h);
		any = carry(p, &p->client, &p->server);
		any |= carry(p, &p->server, &p->client);
	} while (any);
}

static void pass_time(struct pair *p, uint64_t ns)
{
	p->now += ns;
	h2_tick(p->server.h, p->now);
	h2_tick(p->client.h, p->now);
	pump(p);
}

static void call_init(struct call *c, struct pair *p)
{
	memset(c, 0, sizeof(*c));
	c->end = &p->client;
	h2_stream_init(&c->s, &p->client.mem);
	c->s.max_message_bytes = p->limits.max_message_bytes;
}

/* begin - a client's call of @path; @text, if any, is its only message */
static void begin(struct pair *p, struct call *c, const char *path, const char *text)
{
	call_init(c, p);
	if (text) {
		assert_int_equal(h2_stream_send(&c->s, (void *)text, strlen(text), false), 0);
		h2_stream_close_send(&c->s);
	}
	assert_int_equal(h2_open(p->client.h, &c->s, path, "localhost", NULL, 0, 0), 0);
}

static void call_fini(struct call *c)
{
	h2_stream_fini(&c->s);
}

static size_t default_step = SIZE_MAX;

static int setup(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	p->limits = rpc_limits_default;
	p->now = START;
	p->step = default_step;
	p->cut = SIZE_MAX;
	p->server.mode = 'e';
	assert_int_equal(pair_init(p), 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	pair_fini(p);
	free(p);
	return 0;
}

static void expect(const struct call *c, int status, const char *message)
{
	assert_int_equal(c->n_ends, 1);
	assert_int_equal(c->s.status, status);
	assert_string_equal(c->s.message ? c->s.message : "", message);
}

/* ---- honest peers ------------------------------------------------------------------------------ */

static void unary(void **state)
{
	struct pair *p = *state;
	struct rpc_meta meta[] = {{"x-ask", "what?"}};
	struct call c;

	call_init(&c, p);
	h2_stream_send(&c.s, (void *)"hello", 5, false);
	h2_stream_close_send(&c.s);
	assert_int_equal(h2_open(p->client.h, &c.s, "/t.T/Echo", "localhost", meta, 1, 0), 0);
	pump(p);
	expect(&c, RPC_OK, "");
	assert_int_equal(c.s.end, H2_END_STATUS);
	assert_int_equal(c.n_messages, 1);
	assert_memory_equal(c.last, "hello", 5);
	assert_string_equal(h2_stream_field(&c.s, "x-answer"), "42");
	assert_null(h2_stream_field(&c.s, "x-question"));
	assert_true(c.is_released);
	assert_string_equal(p->server.path, "/t.T/Echo");
	assert_string_equal(p->server.ask, "what?");
	assert_int_equal(p->server.n_ended, 1);
	assert_int_equal(p->server.n_finished, 1);
	assert_int_equal(p->server.n_released, 1);
	assert_true(p->client.n_wakes > 0);
	call_fini(&c);
}

static void empty_message(void **state)
{
	struct pair *p = *state;
	struct call c;

	begin(p, &c, "/t.T/Echo", "");
	pump(p);
	expect(&c, RPC_OK, "");
	assert_int_equal(c.n_messages, 1);
	assert_int_equal(c.bytes, 0);
	call_fini(&c);
}

static void trailers_only(void **state)
{
	struct pair *p = *state;
	struct call c, none;

	begin(p, &none, "/t.T/None", "x");
	pump(p);
	expect(&none, RPC_UNIMPLEMENTED, "unknown method /t.T/None");
	/* the service never heard of it */
	assert_int_equal(p->server.n_ended, 0);
	assert_int_equal(p->server.n_released, 1);
	p->server.mode = 'h';
	begin(p, &c, "/t.T/Echo", "x");
	pump(p);
	h2_stream_finish(&p->server.latest->s, RPC_ABORTED, "50% of „it“");
	pump(p);
	expect(&c, RPC_ABORTED, "50% of „it“");
	assert_int_equal(c.n_messages, 0);
	call_fini(&c);
	call_fini(&none);
}

/* many times the windows, both ways, while the receiver holds what it got */
static void larger_than_the_window(void **state)
{
	struct pair *p = *state;
	size_t n = 10 * MIB + 17;
	uint8_t *big = malloc(n);
	struct call c;

	if (p->step < 1000)
		p->step = 1000; /* single bytes would take a minute */
	for (size_t i = 0; i < n; i++)
		big[i] = (uint8_t)(i ^ i >> 8);
	call_init(&c, p);
	assert_int_equal(h2_stream_send(&c.s, big, n, true), 0);
	h2_stream_close_send(&c.s);
	assert_int_equal(h2_open(p->client.h, &c.s, "/t.T/Echo", "localhost", NULL, 0, 0), 0);
	assert_int_equal(h2_stream_queued(&c.s), n + 5);
	pump(p);
	expect(&c, RPC_OK, "");
	assert_int_equal(c.bytes, n);
	assert_int_equal(h2_stream_queued(&c.s), 0);
	assert_int_equal(p->client.mem.used, 0);
	call_fini(&c);
}

/* messages that the server sends piece by piece, and the client takes as they come */
static void parts(void **state)
{
	struct pair *p = *state;
	static const size_t lengths[] = {1, 3 * MIB, 0, 700000, 5};
	struct call c;
	struct h2_stream *s;

	p->server.mode = 'h';
	begin(p, &c, "/t.T/Stream", NULL);
	c.s.takes_parts = true;
	assert_int_equal(h2_stream_send(&c.s, (void *)"x", 1, false), 0);
	pump(p);
	s = &p->server.latest->s;
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		size_t at = 0, total = lengths[i];

		do {
			size_t n = total - at < 300000 ? total - at : 300000;
			uint8_t *b = malloc(n + 1);

			for (size_t k = 0; k < n; k++)
				b[k] = (uint8_t)(at + k);
			assert_int_equal(h2_stream_send_part(s, b, n, total), 0);
			at += n;
			if (at < total) { /* nothing comes between */
				assert_int_equal(h2_stream_send(s, (void *)"x", 1, false), -EINVAL);
				assert_int_equal(h2_stream_send(s, malloc(1), 1, true), -EINVAL);
				assert_int_equal(
					h2_stream_send_part(s, malloc(1), total, total), -EINVAL);
			}
			if (i & 1)
				pump(p);
		} while (at < total);
	}
	pump(p);
	assert_int_equal(c.n_messages, ARRAY_SIZE(lengths));
	assert_int_equal(c.bytes, 3 * MIB + 700006);
	assert_true(h2_stream_is_sent(s));
	assert_int_equal(p->server.mem.used, 0);
	/* an answer that ends in the middle is no answer */
	assert_int_equal(h2_stream_send_part(s, calloc(1, 10), 1, 10), 0);
	h2_stream_finish(s, RPC_OK, NULL);
	pump(p);
	assert_int_equal(c.s.status, RPC_INTERNAL);
	call_fini(&c);
}

static void streams_both_ways(void **state)
{
	struct pair *p = *state;
	struct call c;

	p->server.mode = 's';
	begin(p, &c, "/t.T/Stream", NULL);
	pump(p);
	assert_int_equal(c.n_messages, 0);
	for (unsigned i = 1; i <= 10; i++) {
		assert_int_equal(h2_stream_send(&c.s, &i, sizeof(i), false), 0);
		assert_int_equal(h2_stream_send(&c.s, NULL, 0, false), 0);
		pump(p);
		assert_int_equal(c.n_messages, 2 * i);
		assert_int_equal(c.n_drains, 2 * i); /* framed, sent */
		assert_true(h2_stream_is_sent(&c.s));
	}
	assert_int_equal(p->server.latest->n_messages, 20);
	assert_int_equal(p->server.latest->n_half_closes, 0);
	h2_stream_close_send(&c.s);
	assert_int_equal(h2_stream_send(&c.s, NULL, 0, false), -ECANCELED);
	pump(p);
	expect(&c, RPC_OK, "");
	call_fini(&c);
}

static void answers_before_half_close(void **state)
{
	struct pair *p = *state;
	struct call c;

	begin(p, &c, "/t.T/Stream", NULL);
	h2_stream_send(&c.s, (void *)"x", 1, false);
	pump(p); /* mode 'e': the first message ends it */
	expect(&c, RPC_OK, "");
	assert_int_equal(c.n_messages, 1);
	assert_true(c.is_released);
	assert_int_equal(p->server.n_released, 1);
	assert_int_equal(h2_stream_send(&c.s, (void *)"x", 1, false), -ECANCELED);
	call_fini(&c);
}

static void texts_have_limits(void **state)
{
	struct pair *p = *state;
	struct call c;
	char text[3001], key[16];
	struct h2_stream *s;

	p->server.mode = 'h';
	begin(p, &c, "/t.T/Echo", "x");
	pump(p);
	s = &p->server.latest->s;
	assert_int_equal(h2_stream_add_trailer(s, "grpc-status", "0"), -EINVAL);
	assert_int_equal(h2_stream_add_trailer(s, ":status", "0"), -EINVAL);
	assert_int_equal(h2_stream_add_trailer(s, "Key", "x"), -EINVAL);
	assert_int_equal(h2_stream_add_trailer(s, "key", "x\n"), -EINVAL);
	for (int i = 0; i < 42; i++) {
		snprintf(key, sizeof(key), "key-%d", i);
		assert_int_equal(h2_stream_add_trailer(s, key, key), 0);
	}
	assert_int_equal(h2_stream_add_trailer(s, "one-more", "x"), -E2BIG);
	/* the cut is between characters */
	for (size_t i = 0; i < sizeof(text) - 1; i += 3)
		memcpy(text + i, "€", 3);
	text[sizeof(text) - 1] = 0;
	h2_stream_finish(s, RPC_NOT_FOUND, text);
	pump(p);
	assert_int_equal(c.s.status, RPC_NOT_FOUND);
	assert_int_equal(strlen(c.s.message), 2046);
	assert_memory_equal(c.s.message, text, 2046);
	assert_string_equal(h2_stream_field(&c.s, "key-41"), "key-41");
	call_fini(&c);
}

static void headers_before_messages(void **state)
{
	struct pair *p = *state;
	struct call c;

	p->server.mode = 'h';
	begin(p, &c, "/t.T/Echo", "x");
	pump(p);
	assert_false(c.s.has_response);
	assert_int_equal(h2_stream_send_headers(&p->server.latest->s), 0);
	assert_int_equal(h2_stream_send_headers(&p->server.latest->s), 0);
	pump(p);
	assert_true(c.s.has_response);
	h2_stream_finish(&p->server.latest->s, RPC_DATA_LOSS, "gone");
	pump(p);
	expect(&c, RPC_DATA_LOSS, "gone");
	call_fini(&c);
}

static void client_cancels(void **state)
{
	struct pair *p = *state;
	struct call c;

	p->server.mode = 'h';
	begin(p, &c, "/t.T/Echo", "x");
	pump(p);
	h2_stream_cancel(&c.s, RPC_CANCELLED, "no more");
	assert_int_equal(c.n_ends, 0); /* never from within */
	h2_stream_cancel(&c.s, RPC_ABORTED, "again");
	h2_process(p->client.h);
	expect(&c, RPC_CANCELLED, "no more");
	assert_int_equal(c.s.end, H2_END_LOCAL);
	assert_false(c.is_released);
	pump(p);
	assert_true(c.is_released);
	assert_int_equal(p->server.n_ended, 1);
	assert_int_equal(p->server.n_finished, 0);
	assert_int_equal(p->server.n_released, 1);
	call_fini(&c);
}

static void limits_concurrency(void **state)
{
	struct pair *p = *state;
	struct call c[5];

	pair_fini(p);
	p->limits.max_calls = 3;
	p->server.mode = 'h';
	assert_int_equal(pair_init(p), 0);
	/* before the server's SETTINGS the client cannot know */
	for (int i = 0; i < 5; i++)
		begin(p, &c[i], "/t.T/Echo", "x");
	pump(p);
	for (int i = 0; i < 5; i++)
		assert_int_equal(c[i].s.end, i < 3 ? H2_END_NONE : H2_END_REFUSED);
	assert_false(h2_can_open(p->client.h));
	assert_int_equal(h2_n_streams(p->client.h), 3);
	/* a refused call starts over, its message is still there */
	h2_stream_finish(&p->server.latest->s, RPC_OK, NULL);
	pump(p);
	assert_true(h2_can_open(p->client.h));
	assert_true(c[4].s.can_replay);
	h2_stream_rewind(&c[4].s);
	c[4].n_ends = 0;
	p->server.mode = 'e';
	assert_int_equal(h2_open(p->client.h, &c[4].s, "/t.T/Echo", "localhost", NULL, 0, 0), 0);
	pump(p);
	expect(&c[4], RPC_OK, "");
	assert_memory_equal(c[4].last, "x", 1);
	pair_fini(p);
	for (int i = 0; i < 5; i++)
		call_fini(&c[i]);
	assert_int_equal(pair_init(p), 0);
}

static void keeps_small_requests_for_a_replay(void **state)
{
	struct pair *p = *state;
	struct call small, large;
	uint8_t *big = calloc(1, H2_REPLAY_BYTES + 1);

	p->server.mode = 'h';
	begin(p, &small, "/t.T/Stream", NULL);
	begin(p, &large, "/t.T/Stream", NULL);
	h2_stream_send(&small.s, big, 100, false);
	h2_stream_send(&small.s, big, 200, false);
	h2_stream_send(&large.s, big, 1, false);
	h2_stream_send(&large.s, big, H2_REPLAY_BYTES, false);
	pump(p);
	assert_true(small.s.can_replay);
	assert_false(large.s.can_replay);
	/* GOAWAY: the server has seen neither, it says */
	static const uint8_t goaway[] = {0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

	h2_recv(p->client.h, goaway, sizeof(goaway), p->now);
	h2_process(p->client.h);
	assert_int_equal(small.s.end, H2_END_REFUSED);
	assert_int_equal(large.s.end, H2_END_REFUSED);
	assert_true(h2_is_draining(p->client.h));
	h2_stream_rewind(&small.s);
	assert_int_equal(h2_stream_queued(&small.s), 310);
	assert_int_equal(h2_open(p->client.h, &small.s, "/t.T/Stream", "x", NULL, 0, 0), -EAGAIN);
	/* on another connection */
	pair_fini(p);
	p->server.mode = 's';
	assert_int_equal(pair_init(p), 0);
	small.n_ends = 0;
	h2_stream_close_send(&small.s);
	assert_int_equal(h2_open(p->client.h, &small.s, "/t.T/Stream", "x", NULL, 0, 0), 0);
	pump(p);
	expect(&small, RPC_OK, "");
	assert_int_equal(small.n_messages, 2);
	assert_int_equal(small.bytes, 300);
	call_fini(&small);
	call_fini(&large);
	free(big);
}

static void leaves_politely(void **state)
{
	struct pair *p = *state;
	struct call c, late;

	p->server.mode = 'h';
	begin(p, &c, "/t.T/Echo", "x");
	pump(p);
	h2_goaway(p->server.h);
	pump(p);
	assert_true(h2_is_draining(p->client.h));
	assert_false(h2_is_done(p->client.h));
	assert_false(h2_is_done(p->server.h));
	assert_string_equal(h2_reason(p->client.h), "");
	call_init(&late, p);
	assert_int_equal(h2_open(p->client.h, &late.s, "/t.T/Echo", "x", NULL, 0, 0), -EAGAIN);
	h2_stream_finish(&p->server.latest->s, RPC_OK, NULL);
	pump(p);
	expect(&c, RPC_OK, "");
	assert_true(h2_is_done(p->client.h));
	assert_true(h2_is_done(p->server.h));
	call_fini(&c);
	call_fini(&late);
}

/* ---- time -------------------------------------------------------------------------------------- */

static void keeps_the_deadline(void **state)
{
	struct pair *p = *state;
	struct call c;

	p->server.mode = 'h';
	call_init(&c, p);
	h2_stream_send(&c.s, (void *)"x", 1, false);
	h2_stream_close_send(&c.s);
	assert_int_equal(h2_open(p->client.h, &c.s, "/t.T/Echo", "x", NULL, 0, 3 * SECOND / 2), 0);
	pump(p);
	assert_int_equal(p->server.latest->s.deadline, p->now + 3 * SECOND / 2);
	assert_int_equal(h2_next_deadline(p->server.h), p->now + 3 * SECOND / 2);
	pass_time(p, SECOND);
	assert_int_equal(p->server.n_ended, 0);
	pass_time(p, SECOND);
	assert_int_equal(p->server.n_ended, 1);
	assert_int_equal(p->server.n_finished, 0);
	expect(&c, RPC_DEADLINE_EXCEEDED, "deadline exceeded");
	assert_int_equal(p->server.n_released, 1);
	call_fini(&c);
}

/* an answer that the client does not take cannot outlive the deadline */
static void deadline_with_an_unread_answer(void **state)
{
	struct pair *p = *state;
	struct call c;

	p->server.mode = 'h';
	call_init(&c, p);
	h2_stream_send(&c.s, (void *)"x", 1, false);
	h2_stream_close_send(&c.s);
	assert_int_equal(h2_open(p->client.h, &c.s, "/t.T/Echo", "x", NULL, 0, SECOND), 0);
	pump(p);
	h2_stream_send(&p->server.latest->s, calloc(1, 6 * MIB), 6 * MIB, true);
	h2_stream_finish(&p->server.latest->s, RPC_OK, NULL);
	/* nothing is carried meanwhile */
	p->now += 2 * SECOND;
	h2_tick(p->server.h, p->now);
	h2_process(p->server.h);
	assert_int_equal(p->server.n_ended, 1);
	pump(p);
	assert_int_equal(c.n_ends, 1);
	assert_int_equal(c.s.status, RPC_CANCELLED);
	assert_int_equal(p->server.n_released, 1);
	assert_int_equal(p->server.mem.used, 0);
	call_fini(&c);
}

static void idle_connections_leave(void **state)
{
	struct pair *p = *state;
	struct call c;

	begin(p, &c, "/t.T/Echo", "x");
	pump(p);
	pass_time(p, p->limits.idle_ns - 1);
	assert_false(h2_is_draining(p->server.h));
	assert_true(h2_next_deadline(p->server.h) <= p->now + 1);
	pass_time(p, 1);
	assert_true(h2_is_draining(p->server.h));
	assert_true(h2_is_done(p->server.h));
	assert_true(h2_is_done(p->client.h));
	assert_string_equal(h2_reason(p->client.h), "");
	call_fini(&c);
}

static void silent_peers_are_given_up(void **state)
{
	struct pair *p = *state;
	struct call c;

	p->server.mode = 'h';
	begin(p, &c, "/t.T/Echo", "x");
	pump(p);
	/* both ping, both answer */
	pass_time(p, p->limits.keepalive_ns);
	pass_time(p, 25 * SECOND);
	assert_false(h2_is_dead(p->client.h));
	/* the line is cut */
	p->now += p->limits.keepalive_ns;
	h2_tick(p->client.h, p->now);
	assert_false(h2_is_dead(p->client.h));
	p->now += 19 * SECOND;
	h2_tick(p->client.h, p->now);
	assert_false(h2_is_dead(p->client.h));
	p->now += SECOND;
	h2_tick(p->client.h, p->now);
	assert_true(h2_is_dead(p->client.h));
	h2_process(p->client.h);
	expect(&c, RPC_UNAVAILABLE, "the peer did not answer a ping within 20 s");
	assert_int_equal(c.s.end, H2_END_LOST);
	call_fini(&c);
}

static void no_ping_without_a_call(void **state)
{
	struct pair *p = *state;
	struct call c;
	struct iovec iov[4];

	begin(p, &c, "/t.T/Echo", "x");
	pump(p);
	p->now += p->limits.keepalive_ns + SECOND;
	h2_tick(p->client.h, p->now);
	assert_int_equal(h2_output(p->client.h, iov, 4), 0);
	call_fini(&c);
}

static void handshakes_have_a_limit(void **state)
{
	struct pair *p = *state;

	h2_recv(p->server.h, (const uint8_t *)"PRI * HTTP", 10, p->now);
	p->now += p->limits.handshake_ns;
	assert_true(h2_next_deadline(p->server.h) <= p->now);
	h2_tick(p->server.h, p->now);
	assert_true(h2_is_dead(p->server.h));
	assert_string_equal(h2_reason(p->server.h), "no HTTP/2 handshake within 5.0 s");
}

/* ---- raw frames -------------------------------------------------------------------------------- */

static void put_frame(
	struct buf *b, uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n)
{
	uint8_t h[9] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, type, flags,
		(uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};

	buf_add(b, h, 9);
	buf_add(b, p, n);
}

static void put_field(struct buf *b, const char *key, const char *value)
{
	buf_addc(b, 0);
	buf_addc(b, (char)strlen(key));
	buf_adds(b, key);
	buf_addc(b, (char)strlen(value));
	buf_adds(b, value);
}

/* put_request - a HEADERS frame; @except is left out, @key (if any) added */
static void put_request(struct buf *out, uint32_t id, uint8_t flags, const char *path,
	const char *except, const char *key, const char *value)
{
	static const char *const fields[][2] = {{":method", "POST"}, {":scheme", "http"},
		{":authority", "x"}, {"te", "trailers"}, {"content-type", "application/grpc"}};
	_cleanup_buf_ struct buf b = {0};

	put_field(&b, ":path", path);
	if (key && *key == ':')
		put_field(&b, key, value);
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!except || strcmp(fields[i][0], except) != 0)
			put_field(&b, fields[i][0], fields[i][1]);
	}
	if (key && *key != ':')
		put_field(&b, key, value);
	put_frame(out, NGHTTP2_HEADERS, flags, id, b.data, b.len);
}

static void put_hello(struct buf *out)
{
	buf_adds(out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
	put_frame(out, NGHTTP2_SETTINGS, 0, 0, "", 0);
}

/* hear - give the server what is in @in and collect what it says in @out */
static void hear(struct pair *p, const struct buf *in, struct buf *out)
{
	struct iovec iov[8];
	int k;

	for (size_t i = 0; i < in->len;) {
		size_t n = in->len - i < p->step ? in->len - i : p->step;

		h2_recv(p->server.h, in->data + i, n, p->now);
		h2_process(p->server.h);
		i += n;
	}
	while ((k = h2_output(p->server.h, iov, 8)) > 0) {
		size_t n = 0;

		for (int i = 0; i < k; i++) {
			buf_add(out, iov[i].iov_base, iov[i].iov_len);
			n += iov[i].iov_len;
		}
		h2_sent(p->server.h, n);
		h2_process(p->server.h);
	}
}

/* find_frame - payload of the last frame of this type; NULL */
static const uint8_t *find_frame(const struct buf *b, uint8_t type, size_t *len)
{
	const uint8_t *found = NULL;

	for (size_t i = 0; i + 9 <= b->len;) {
		size_t n = (size_t)b->data[i] << 16 | (size_t)b->data[i + 1] << 8 | b->data[i + 2];

		if (b->data[i + 3] == type) {
			found = b->data + i + 9;
			*len = n;
		}
		i += 9 + n;
	}
	return found;
}

/* judge - the last value of @key in what the server said; "" */
static void judge(struct pair *p, const struct buf *said, const char *key, char *out, size_t cap)
{
	nghttp2_hd_inflater *inf;

	*out = 0;
	assert_int_equal(nghttp2_hd_inflate_new(&inf), 0);
	for (size_t i = 0; i + 9 <= said->len;) {
		size_t n = (size_t)said->data[i] << 16 | (size_t)said->data[i + 1] << 8 |
			   said->data[i + 2];
		const uint8_t *q = said->data + i + 9;
		size_t left = n;

		i += 9 + n;
		if (said->data[i - n - 6] != NGHTTP2_HEADERS)
			continue;
		for (int flags = 0; !(flags & NGHTTP2_HD_INFLATE_FINAL);) {
			nghttp2_nv nv;
			ssize_t k = nghttp2_hd_inflate_hd2(inf, &nv, &flags, q, left, 1);

			assert_true(k >= 0);
			q += k;
			left -= (size_t)k;
			if ((flags & NGHTTP2_HD_INFLATE_EMIT) && nv.namelen == strlen(key) &&
				!memcmp(nv.name, key, nv.namelen))
				snprintf(out, cap, "%.*s", (int)nv.valuelen, (char *)nv.value);
		}
		nghttp2_hd_inflate_end_headers(inf);
	}
	nghttp2_hd_inflate_del(inf);
}

/* ask - one raw request and its data frame; the value of @key in the answer */
static char *ask(struct pair *p, const char *except, const char *key, const char *value,
	const void *data, size_t n, const char *want)
{
	static char answer[256];
	_cleanup_buf_ struct buf in = {0}, out = {0};

	pair_fini(p);
	assert_int_equal(pair_init(p), 0);
	put_hello(&in);
	put_request(&in, 1, NGHTTP2_FLAG_END_HEADERS, "/t.T/Echo", except, key, value);
	put_frame(&in, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, data, n);
	hear(p, &in, &out);
	judge(p, &out, want, answer, sizeof(answer));
	return answer;
}

#define ONE "\0\0\0\0\1x"

static void refuses_what_is_not_grpc(void **state)
{
	struct pair *p = *state;

	assert_string_equal(ask(p, NULL, NULL, NULL, ONE, 6, "grpc-status"), "0");
	assert_string_equal(ask(p, ":method", ":method", "GET", ONE, 6, ":status"), "405");
	assert_string_equal(
		ask(p, "content-type", "content-type", "text/html", ONE, 6, ":status"), "415");
	assert_string_equal(
		ask(p, "content-type", "content-type", "application/grpc-web", ONE, 6, ":status"),
		"415");
	assert_string_equal(ask(p, "content-type", NULL, NULL, ONE, 6, ":status"), "415");
	assert_string_equal(ask(p, "content-type", "content-type", "application/grpc+proto", ONE, 6,
				    "grpc-status"),
		"0");
	assert_string_equal(ask(p, ":scheme", NULL, NULL, ONE, 6, ":status"), ""); /* reset */
	assert_int_equal(p->server.n_ended, 2);
}

static void refuses_bad_messages(void **state)
{
	struct pair *p = *state;

	assert_string_equal(ask(p, NULL, NULL, NULL, "\1\0\0\0\1x", 6, "grpc-status"), "12");
	assert_string_equal(
		ask(p, NULL, NULL, NULL, "\1\0\0\0\1x", 6, "grpc-accept-encoding"), "identity");
	assert_string_equal(ask(p, NULL, NULL, NULL, "\7\0\0\0\1x", 6, "grpc-status"), "13");
	assert_string_equal(ask(p, NULL, NULL, NULL, "\0\0\0\0\2x", 6, "grpc-status"), "3");
	assert_string_equal(ask(p, NULL, NULL, NULL, "\0\0\0", 3, "grpc-status"), "3");
	assert_string_equal(ask(p, NULL, NULL, NULL, "", 0, "grpc-status"), "3");
	assert_string_equal(ask(p, NULL, NULL, NULL, ONE ONE, 12, "grpc-status"), "3");
	assert_string_equal(ask(p, NULL, NULL, NULL, "\0\xff\xff\xff\xffx", 6, "grpc-status"), "8");
	assert_string_equal(ask(p, NULL, NULL, NULL, "\0\xff\xff\xff\xffx", 6, "grpc-message"),
		"message of 4294967295 bytes is larger than the limit of 67108864");
	assert_int_equal(p->server.n_ended, 0);
}

static void refuses_bad_timeouts(void **state)
{
	static const char *const bad[] = {"", "1", "S", "1s", "-1S", "1.5S", "123456789S", "1SS"};
	struct pair *p = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_string_equal(
			ask(p, NULL, "grpc-timeout", bad[i], ONE, 6, "grpc-status"), "3");
	assert_string_equal(ask(p, NULL, "grpc-timeout", "99999999H", ONE, 6, "grpc-status"), "0");
	assert_string_equal(ask(p, NULL, "grpc-timeout", "1n", ONE, 6, "grpc-status"), "0");
}

static void refuses_large_headers(void **state)
{
	struct pair *p = *state;
	_cleanup_buf_ struct buf in = {0}, out = {0}, block = {0};
	char text[64];

	put_hello(&in);
	put_field(&block, ":path", "/t.T/Echo");
	put_field(&block, ":method", "POST");
	put_field(&block, ":scheme", "http");
	put_field(&block, ":authority", "x");
	put_field(&block, "content-type", "application/grpc");
	for (int i = 0; i < 400; i++)
		put_field(&block, "x-much", "of the same, again and again");
	put_frame(&in, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, block.data, block.len);
	put_frame(&in, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, ONE, 6);
	hear(p, &in, &out);
	judge(p, &out, "grpc-status", text, sizeof(text));
	assert_string_equal(text, "8");
}

/* half a header block, then nothing: the stream has no deadline of its own yet */
static void headers_have_a_limit_of_time(void **state)
{
	struct pair *p = *state;
	_cleanup_buf_ struct buf in = {0}, out = {0};

	put_hello(&in);
	put_request(&in, 1, 0, "/t.T/Echo", NULL, NULL, NULL);
	hear(p, &in, &out);
	assert_int_equal(h2_n_streams(p->server.h), 1);
	p->now += p->limits.handshake_ns;
	h2_tick(p->server.h, p->now);
	in.len = out.len = 0;
	hear(p, &in, &out);
	assert_int_equal(h2_n_streams(p->server.h), 0);
}

static void a_length_is_not_believed(void **state)
{
	struct pair *p = *state;
	_cleanup_buf_ struct buf in = {0}, out = {0};
	static const uint8_t prefix[] = {0, 3, 0, 0, 0, 'x'}; /* 48 MiB are announced */

	put_hello(&in);
	for (uint32_t id = 1; id < 101; id += 2) {
		put_request(&in, id, NGHTTP2_FLAG_END_HEADERS, "/t.T/Stream", NULL, NULL, NULL);
		put_frame(&in, NGHTTP2_DATA, 0, id, prefix, sizeof(prefix));
	}
	hear(p, &in, &out);
	assert_int_equal(h2_n_streams(p->server.h), 50);
	assert_true(p->server.mem.used <= 50 * ((size_t)64 << 10));
}

static void not_http2(void **state)
{
	struct pair *p = *state;
	_cleanup_buf_ struct buf in = {0}, out = {0};

	buf_adds(&in, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	hear(p, &in, &out);
	assert_true(h2_is_dead(p->server.h));
	assert_true(h2_is_done(p->server.h));
	assert_string_equal(h2_reason(p->server.h), "the peer does not speak HTTP/2 without TLS");
}

static void broken_frames(void **state)
{
	struct pair *p = *state;
	_cleanup_buf_ struct buf in = {0}, out = {0};
	const uint8_t *goaway;
	size_t n;

	put_hello(&in);
	put_request(&in, 1, NGHTTP2_FLAG_END_HEADERS, "/t.T/Stream", NULL, NULL, NULL);
	put_frame(&in, NGHTTP2_DATA, 0, 1, ONE, 6);
	p->server.mode = 'h';
	hear(p, &in, &out);
	in.len = out.len = 0;
	put_frame(&in, NGHTTP2_PING, 0, 0, "short", 5);
	hear(p, &in, &out);
	goaway = find_frame(&out, NGHTTP2_GOAWAY, &n);
	assert_non_null(goaway);
	assert_int_equal(goaway[7], NGHTTP2_FRAME_SIZE_ERROR);
	assert_true(h2_is_done(p->server.h));
	assert_non_null(strstr(h2_reason(p->server.h), "the peer broke the protocol"));
}

/* each of these frames is cheap to send; by the thousand they are an attack */
static void floods_end_in_calm(void **state)
{
	static const struct {
		uint8_t type;
		uint32_t id;
		const char *payload;
		size_t n;
	} cases[] = {
		{NGHTTP2_DATA, 1, "", 0},
		{NGHTTP2_PRIORITY, 3, "\0\0\0\0\1", 5},
		{NGHTTP2_PING, 0, "12345678", 8},
		{NGHTTP2_SETTINGS, 0, "", 0},
	};
	struct pair *p = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_buf_ struct buf in = {0}, out = {0};
		const uint8_t *goaway = NULL;
		size_t n, k;

		pair_fini(p);
		p->server.mode = 'h';
		assert_int_equal(pair_init(p), 0);
		put_hello(&in);
		put_request(&in, 1, NGHTTP2_FLAG_END_HEADERS, "/t.T/Stream", NULL, NULL, NULL);
		put_frame(&in, NGHTTP2_DATA, 0, 1, ONE, 6);
		for (k = 0; k < 100 && !goaway; k++) {
			hear(p, &in, &out);
			in.len = 0;
			goaway = find_frame(&out, NGHTTP2_GOAWAY, &n);
			for (int j = 0; j < 100; j++)
				put_frame(&in, cases[i].type, 0, cases[i].id, cases[i].payload,
					cases[i].n);
		}
		assert_non_null(goaway);
		assert_true(k > 10);
		assert_int_equal(goaway[7], NGHTTP2_ENHANCE_YOUR_CALM);
		assert_true(h2_is_done(p->server.h));
		h2_fail(p->server.h, "closed");
		h2_process(p->server.h);
	}
	assert_int_equal(p->server.n_ended, ARRAY_SIZE(cases));
}

/* the same number over an hour is an ordinary peer */
static void slow_frames_are_no_flood(void **state)
{
	struct pair *p = *state;
	_cleanup_buf_ struct buf in = {0}, out = {0};

	put_hello(&in);
	for (int i = 0; i < 4000; i++) {
		put_frame(&in, NGHTTP2_PING, 0, 0, "12345678", 8);
		hear(p, &in, &out);
		in.len = out.len = 0;
		p->now += SECOND / 100;
	}
	assert_false(h2_is_draining(p->server.h));
}

static void rapid_reset(void **state)
{
	struct pair *p = *state;
	_cleanup_buf_ struct buf in = {0}, out = {0};
	uint32_t id = 1;

	put_hello(&in);
	while (id < 20000 && !h2_is_draining(p->server.h)) {
		put_request(&in, id, NGHTTP2_FLAG_END_HEADERS, "/t.T/Stream", NULL, NULL, NULL);
		put_frame(&in, NGHTTP2_RST_STREAM, 0, id, "\0\0\0\10", 4);
		hear(p, &in, &out);
		in.len = out.len = 0;
		id += 2;
	}
	assert_true(id < 10000);
	assert_int_equal(h2_n_streams(p->server.h), 0);
}

/* ---- a client and what servers may say ---------------------------------------------------------- */

/* served - the client's call gets these raw frames as its answer */
static void served(struct pair *p, struct call *c, const struct buf *frames)
{
	_cleanup_buf_ struct buf in = {0};
	struct iovec iov[8];
	int k;

	pair_fini(p);
	assert_int_equal(pair_init(p), 0);
	begin(p, c, "/t.T/Echo", "x");
	put_frame(&in, NGHTTP2_SETTINGS, 0, 0, "", 0);
	buf_add(&in, frames->data, frames->len);
	while ((k = h2_output(p->client.h, iov, 8)) > 0) {
		size_t n = 0;

		for (int i = 0; i < k; i++)
			n += iov[i].iov_len;
		h2_sent(p->client.h, n);
	}
	for (size_t i = 0; i < in.len;) {
		size_t n = in.len - i < p->step ? in.len - i : p->step;

		h2_recv(p->client.h, in.data + i, n, p->now);
		h2_process(p->client.h);
		i += n;
	}
	while ((k = h2_output(p->client.h, iov, 8)) > 0) {
		size_t n = 0;

		for (int i = 0; i < k; i++)
			n += iov[i].iov_len;
		h2_sent(p->client.h, n);
		h2_process(p->client.h);
	}
}

struct answer {
	const char *http, *type, *status, *message;
	const char *data;
	size_t n_data;
	bool has_trailers;
	int want;
	const char *text;
};

static void maps_answers(void **state)
{
	static const struct answer answers[] = {
		{"200", "application/grpc", "0", NULL, ONE, 6, true, RPC_OK, ""},
		{"200", "application/grpc", "5", "not%20here%0a%ff%zz", NULL, 0, false,
			RPC_NOT_FOUND, "not here ?%zz"},
		{"200", "application/grpc", "77", NULL, NULL, 0, false, 77, ""},
		{"200", "application/grpc", "x", NULL, NULL, 0, false, RPC_UNKNOWN, ""},
		{"200", "application/grpc", NULL, NULL, ONE, 6, true, RPC_UNKNOWN,
			"the answer has no grpc-status"},
		{"200", "application/grpc", "0", NULL, "\0\0\0\0\7x", 6, true, RPC_INTERNAL,
			"the answer ends within a message"},
		{"200", "application/grpc", "0", NULL, "\0\0", 2, true, RPC_INTERNAL,
			"the answer ends within a message"},
		{"200", "application/grpc", "0", NULL, "\1\0\0\0\1x", 6, true, RPC_UNIMPLEMENTED,
			"compressed messages are not supported, only grpc-encoding identity"},
		{"200", "text/html", NULL, NULL, "<html>", 6, true, RPC_UNKNOWN,
			"the peer answered HTTP 200 instead of gRPC"},
		{"404", "text/html", NULL, NULL, "<html>", 6, true, RPC_UNIMPLEMENTED,
			"the peer answered HTTP 404 instead of gRPC"},
		{"503", "text/html", NULL, NULL, NULL, 0, false, RPC_UNAVAILABLE,
			"the peer answered HTTP 503 instead of gRPC"},
		{"401", "application/grpc", NULL, NULL, NULL, 0, false, RPC_UNAUTHENTICATED,
			"the peer answered HTTP 401 instead of gRPC"},
		{"401", "application/grpc", "7", NULL, NULL, 0, false, RPC_PERMISSION_DENIED, ""},
	};
	struct pair *p = *state;

	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		const struct answer *a = &answers[i];
		_cleanup_buf_ struct buf frames = {0}, head = {0}, tail = {0};
		struct buf *last = a->has_trailers ? &tail : &head;
		struct call c;

		put_field(&head, ":status", a->http);
		put_field(&head, "content-type", a->type);
		if (a->status)
			put_field(last, "grpc-status", a->status);
		if (a->message)
			put_field(last, "grpc-message", a->message);
		put_field(last, "x-more", "y");
		put_frame(
			&frames, NGHTTP2_HEADERS, a->has_trailers ? 4 : 5, 1, head.data, head.len);
		if (a->n_data)
			put_frame(&frames, NGHTTP2_DATA, 0, 1, a->data, a->n_data);
		if (a->has_trailers)
			put_frame(&frames, NGHTTP2_HEADERS, 5, 1, tail.data, tail.len);
		served(p, &c, &frames);
		expect(&c, a->want, a->text);
		assert_true(c.is_released);
		call_fini(&c);
	}
}

static void maps_resets(void **state)
{
	static const struct {
		uint8_t code;
		enum h2_end end;
		int status;
	} cases[] = {
		{NGHTTP2_NO_ERROR, H2_END_RESET, RPC_INTERNAL},
		{NGHTTP2_PROTOCOL_ERROR, H2_END_RESET, RPC_INTERNAL},
		{NGHTTP2_REFUSED_STREAM, H2_END_REFUSED, RPC_UNAVAILABLE},
		{NGHTTP2_CANCEL, H2_END_RESET, RPC_CANCELLED},
		{NGHTTP2_ENHANCE_YOUR_CALM, H2_END_RESET, RPC_RESOURCE_EXHAUSTED},
		{NGHTTP2_INADEQUATE_SECURITY, H2_END_RESET, RPC_PERMISSION_DENIED},
	};
	struct pair *p = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_buf_ struct buf frames = {0};
		uint8_t code[4] = {0, 0, 0, cases[i].code};
		struct call c;

		put_frame(&frames, NGHTTP2_RST_STREAM, 0, 1, code, 4);
		served(p, &c, &frames);
		assert_int_equal(c.n_ends, 1);
		assert_int_equal(c.s.end, cases[i].end);
		assert_int_equal(c.s.status, cases[i].status);
		call_fini(&c);
	}
}

static void goaway_with_an_error(void **state)
{
	_cleanup_buf_ struct buf frames = {0};
	struct pair *p = *state;
	struct call c;

	put_frame(&frames, NGHTTP2_GOAWAY, 0, 0, "\0\0\0\1\0\0\0\013too_many\n", 17);
	served(p, &c, &frames);
	assert_int_equal(c.n_ends, 0); /* our stream was accepted: it may still be answered */
	assert_true(h2_is_draining(p->client.h));
	assert_string_equal(h2_reason(p->client.h),
		"the peer ended the connection: ENHANCE_YOUR_CALM: too_many?");
	h2_fail(p->client.h, "the peer closed the connection");
	h2_process(p->client.h);
	expect(&c, RPC_UNAVAILABLE, "the peer ended the connection: ENHANCE_YOUR_CALM: too_many?");
	call_fini(&c);
}

/* ---- every point of failure --------------------------------------------------------------------- */

/* scenario - unary, streams both ways, a cancelled one: whatever happens, each call ends once */
static void scenario(struct pair *p, struct call c[3])
{
	p->server.mode = 's';
	for (int i = 0; i < 3; i++) {
		call_init(&c[i], p);
		h2_stream_send(&c[i].s, (void *)"hello", 5, false);
		if (h2_open(p->client.h, &c[i].s, i ? "/t.T/Stream" : "/t.T/Echo", "x", NULL, 0,
			    SECOND))
			c[i].n_ends = 1; /* it did not begin */
	}
	if (!c[0].n_ends)
		h2_stream_close_send(&c[0].s);
	pump(p);
	if (!c[1].n_ends) {
		h2_stream_send(&c[1].s, (void *)"more", 4, false);
		h2_stream_close_send(&c[1].s);
	}
	if (!c[2].n_ends)
		h2_stream_cancel(&c[2].s, RPC_CANCELLED, "enough");
	pump(p);
}

static void scenario_check(struct pair *p, struct call c[3])
{
	p->server.h = h2_free(p->server.h);
	p->client.h = h2_free(p->client.h);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(c[i].n_ends, 1);
		call_fini(&c[i]);
	}
	assert_true(list_empty(&p->server.calls));
	mem_trim(&p->server.mem);
	mem_trim(&p->client.mem);
	assert_int_equal(p->server.mem.used, 0);
	assert_int_equal(p->client.mem.used, 0);
}

static void cut_at_every_byte(void **state)
{
	struct pair *p = *state;
	size_t cut = 0;

	for (;; cut++) {
		struct call c[3];

		pair_fini(p);
		assert_int_equal(pair_init(p), 0);
		p->cut = cut;
		scenario(p, c);
		size_t left = p->cut;

		p->cut = SIZE_MAX;
		if (!left) {
			h2_fail(p->server.h, "cut");
			h2_fail(p->client.h, "cut");
		}
		scenario_check(p, c);
		assert_int_equal(pair_init(p), 0);
		if (left)
			break;
	}
	assert_true(cut > 200);
}

static void survives_no_memory(void **state)
{
	struct pair *p = *state;

	pair_fini(p);
	oom_spare_libraries(true);
	OOM_FOR_EACH(n)
	{
		struct call c[3];

		if (pair_init(p))
			continue;
		scenario(p, c);
		oom_stop();
		scenario_check(p, c);
	}
	assert_int_equal(pair_init(p), 0);
}

#define BOTH(t)                                                                                    \
	{                                                                                          \
#t, t, setup, teardown, NULL                                                       \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(unary),
		BOTH(empty_message),
		BOTH(trailers_only),
		BOTH(larger_than_the_window),
		BOTH(streams_both_ways),
		BOTH(parts),
		BOTH(answers_before_half_close),
		BOTH(texts_have_limits),
		BOTH(headers_before_messages),
		BOTH(client_cancels),
		BOTH(limits_concurrency),
		BOTH(keeps_small_requests_for_a_replay),
		BOTH(leaves_politely),
		BOTH(keeps_the_deadline),
		BOTH(deadline_with_an_unread_answer),
		BOTH(idle_connections_leave),
		BOTH(silent_peers_are_given_up),
		BOTH(no_ping_without_a_call),
		BOTH(handshakes_have_a_limit),
		BOTH(refuses_what_is_not_grpc),
		BOTH(refuses_bad_messages),
		BOTH(refuses_bad_timeouts),
		BOTH(refuses_large_headers),
		BOTH(headers_have_a_limit_of_time),
		BOTH(a_length_is_not_believed),
		BOTH(not_http2),
		BOTH(broken_frames),
		BOTH(floods_end_in_calm),
		BOTH(slow_frames_are_no_flood),
		BOTH(rapid_reset),
		BOTH(maps_answers),
		BOTH(maps_resets),
		BOTH(goaway_with_an_error),
		BOTH(cut_at_every_byte),
		BOTH(survives_no_memory),
	};
	int n = cmocka_run_group_tests_name("in big pieces", tests, NULL, NULL);

	default_step = 1;
	return n + cmocka_run_group_tests_name("byte by byte", tests, NULL, NULL);
}
