/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rpc_echo.c — our gRPC as a program, for other implementations to talk to.
 *
 *	rpc_echo serve ADDRESS [LOOP]
 *	rpc_echo call ADDRESS METHOD [key=value …]
 *
 * ADDRESS is unix:PATH or tcp:PORT (127.0.0.1; 0 = any). serve prints "ready PORT" and serves until
 * SIGTERM, then stops gracefully. call sends `count` messages of `size` bytes, or the `text`, and
 * prints one line: what came back. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/loop.h"
#include "common/rpc/health.h"
#include "common/rpc/health.pb-c.h"
#include "common/rpc/listen.h"
#include "common/rpc/pbc.h"
#include "common/rpc/rpc.h"

#define SECOND UINT64_C(1000000000)

/* ---- server ---------------------------------------------------------------------------------- */

struct stream {
	size_t left, size;
};

static void echo(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
	const char *ask = rpc_call_metadata(c, "x-ask");

	if (ask)
		rpc_call_trailer(c, "x-answer", ask);
	rpc_call_finish(c, rpc_call_send(c, p, n) ? RPC_RESOURCE_EXHAUSTED : RPC_OK, NULL);
}

static void fail(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
	rpc_call_finish(c, RPC_NOT_FOUND, "не найдено: 100%% of %.*s", (int)n, (const char *)p);
}

static void parse(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
	ProtobufCMessage *m = pbc_unpack(&grpc__health__v1__health_check_request__descriptor, p, n);

	if (m)
		rpc_call_finish(c, RPC_OK, NULL);
	else
		rpc_call_finish(c, RPC_INVALID_ARGUMENT, "not a HealthCheckRequest");
	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
}

static void refill(struct rpc_call *c, void *service)
{
	struct stream *s = rpc_call_data(c);

	while (s && s->left && rpc_call_queued(c) < (4 << 20)) {
		uint8_t *p = malloc(s->size + 1);

		if (!p) {
			rpc_call_finish(c, RPC_RESOURCE_EXHAUSTED, "out of memory");
			return;
		}
		memset(p, (int)(s->left & 0xff), s->size);
		s->left--;
		if (rpc_call_send_owned(c, p, s->size)) {
			rpc_call_finish(c, RPC_RESOURCE_EXHAUSTED, "too much is queued");
			return;
		}
	}
	if (s && !s->left)
		rpc_call_finish(c, RPC_OK, NULL);
}

/* stream - "COUNT SIZE" */
static void stream(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
	struct stream *s = calloc(1, sizeof(*s));
	char text[64];

	snprintf(text, sizeof(text), "%.*s", (int)n, (const char *)p);
	if (!s || sscanf(text, "%zu %zu", &s->left, &s->size) != 2) {
		free(s);
		rpc_call_finish(c, RPC_INVALID_ARGUMENT, "want COUNT SIZE");
		return;
	}
	rpc_call_set_data(c, s);
	refill(c, NULL);
}

static void stream_end(struct rpc_call *c, void *service, bool finished)
{
	free(rpc_call_data(c));
}

static void bidi(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
	if (rpc_call_send(c, p, n))
		rpc_call_finish(c, RPC_RESOURCE_EXHAUSTED, "too much is queued");
}

static void bidi_half_close(struct rpc_call *c, void *service)
{
	rpc_call_finish(c, RPC_OK, NULL);
}

static void early(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
	rpc_call_send(c, p, n);
	rpc_call_finish(c, RPC_ABORTED, "enough");
}

static void hold(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
	rpc_call_send_headers(c);
}

static void silent(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
}

static const struct rpc_method methods[] = {
	{.path = "/test.Echo/Unary", .on_message = echo},
	{.path = "/test.Echo/Small", .max_request_bytes = 1024, .on_message = echo},
	{.path = "/test.Echo/Fail", .on_message = fail},
	{.path = "/test.Echo/Parse", .on_message = parse},
	{.path = "/test.Echo/Stream",
		.on_message = stream,
		.on_drain = refill,
		.on_end = stream_end},
	{.path = "/test.Echo/Bidi",
		.is_client_stream = true,
		.on_message = bidi,
		.on_half_close = bidi_half_close},
	{.path = "/test.Echo/Early", .is_client_stream = true, .on_message = early},
	{.path = "/test.Echo/Hold", .on_message = hold},
	{.path = "/test.Echo/Silent", .on_message = silent},
};

struct server {
	struct loop *l;
	struct rpc_server *s;
	struct loop_op sig;
};

static void on_stopped(void *arg)
{
	loop_quit(((struct server *)arg)->l);
}

static void on_signal(struct loop_op *op, int res)
{
	struct server *sv = container_of(op, struct server, sig);

	rpc_server_stop(sv->s, loop_now(sv->l) + 5 * SECOND, on_stopped, sv);
}

static int listen_at(const char *address)
{
	struct sockaddr_in a = {.sin_family = AF_INET};

	if (!strncmp(address, "unix:", 5))
		return rpc_listen_unix(address + 5, 0600, (gid_t)-1);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a.sin_port = htons((uint16_t)atoi(address + 4));
	return rpc_listen_tcp((struct sockaddr *)&a, sizeof(a));
}

static int serve(const char *address, const char *loop_name)
{
	struct server sv = {0};
	struct health *health = health_new();
	struct rpc_service services[2] = {{methods, ARRAY_SIZE(methods), NULL}};
	struct sockaddr_in a = {0};
	socklen_t len = sizeof(a);
	int fd = listen_at(address), r;
	sigset_t set;

	if (fd < 0 || !health) {
		fprintf(stderr, "cannot listen at %s: %s\n", address, strerror(-fd));
		return 1;
	}
	r = loop_new_auto(&sv.l, loop_name, 1);
	if (r) {
		fprintf(stderr, "%s: %s\n", loop_name, strerror(-r));
		return 4;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	loop_op_init(&sv.sig, on_signal);
	loop_poll(sv.l, &sv.sig, signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), 1 /* POLLIN */);
	if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		a.sin_port = 0;
	services[1] = health_service(health);
	health_set(health, "test.Echo", true);
	if (rpc_server_new(&sv.s, sv.l, &fd, 1, services, 2, NULL))
		return 1;
	printf("ready %u\n", a.sin_family == AF_INET ? ntohs(a.sin_port) : 0);
	fflush(stdout);
	loop_run(sv.l);
	rpc_server_free(sv.s);
	health_free(health);
	loop_free(sv.l);
	return 0;
}

/* ---- client ------------------------------------------------------------------------------------ */

struct client {
	struct loop *l;
	size_t n_messages, bytes, cancel_after, left, size, n_calls, n_done, n_ok;
	uint32_t crc;
	const char *text;
};

static void on_message(struct rpc_request *r, void *arg, const uint8_t *p, size_t n)
{
	struct client *c = arg;

	c->n_messages++;
	c->bytes += n;
	c->crc = digest_crc32(c->crc, p, n);
	if (c->n_messages == c->cancel_after)
		rpc_request_cancel(r);
}

static void on_done(struct rpc_request *r, void *arg, int status, const char *message)
{
	struct client *c = arg;
	const char *answer = rpc_request_trailer(r, "x-answer");

	c->n_ok += status == RPC_OK;
	if (++c->n_done < c->n_calls)
		return;
	printf("status=%s messages=%zu bytes=%zu crc=%08x ok=%zu answer=%s message=%s\n",
		rpc_status_name(status), c->n_messages, c->bytes, c->crc, c->n_ok,
		answer ? answer : "", message);
	loop_quit(c->l);
}

static void feed(struct rpc_request *r, void *arg)
{
	struct client *c = arg;

	while (c->left && rpc_request_queued(r) < (4 << 20)) {
		uint8_t *p = malloc(c->size + 1);

		if (!p)
			abort();
		for (size_t i = 0; i < c->size; i++)
			p[i] = (uint8_t)(i * 7 + (i >> 13));
		c->left--;
		rpc_request_send_owned(r, p, c->size);
	}
	if (!c->left)
		rpc_request_close_send(r);
}

static int call(int argc, char **argv)
{
	static const struct rpc_handlers h = {on_message, on_done, feed};
	struct rpc_channel_options o = {.no_backoff = true};
	struct rpc_meta meta[1];
	struct rpc_channel *ch;
	struct client c = {.left = 1, .n_calls = 1};
	const char *loop_name = "auto";
	uint64_t timeout = 20 * SECOND;
	size_t n_meta = 0;
	int r;

	for (int i = 4; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (!value) {
			fprintf(stderr, "want key=value, not %s\n", argv[i]);
			return 2;
		}
		*value++ = 0;
		if (!strcmp(argv[i], "size"))
			c.size = (size_t)atol(value);
		else if (!strcmp(argv[i], "count"))
			c.left = (size_t)atol(value);
		else if (!strcmp(argv[i], "calls"))
			c.n_calls = (size_t)atol(value);
		else if (!strcmp(argv[i], "text"))
			c.text = value;
		else if (!strcmp(argv[i], "timeout_ms"))
			timeout = (uint64_t)atol(value) * 1000000;
		else if (!strcmp(argv[i], "cancel_after"))
			c.cancel_after = (size_t)atol(value);
		else if (!strcmp(argv[i], "loop"))
			loop_name = value;
		else if (!strcmp(argv[i], "ask"))
			meta[n_meta++] = (struct rpc_meta){"x-ask", value};
		else
			return 2;
	}
	r = loop_new_auto(&c.l, loop_name, 1);
	if (r) {
		fprintf(stderr, "%s: %s\n", loop_name, strerror(-r));
		return 4;
	}
	if (!strncmp(argv[2], "unix:", 5)) {
		r = rpc_channel_new_unix(&ch, c.l, argv[2] + 5, &o);
	} else {
		struct sockaddr_in a = {.sin_family = AF_INET,
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
			.sin_port = htons((uint16_t)atoi(argv[2] + 4))};

		r = rpc_channel_new_tcp(&ch, c.l, (struct sockaddr *)&a, sizeof(a), &o);
	}
	if (r)
		return 1;
	for (size_t i = 0; i < c.n_calls; i++) {
		struct rpc_request *rq =
			rpc_request_start(ch, argv[3], meta, n_meta, timeout, &h, &c);

		if (!rq)
			return 1;
		if (c.text) {
			rpc_request_send(rq, c.text, strlen(c.text));
			rpc_request_close_send(rq);
		} else {
			size_t left = c.left;

			feed(rq, &c);
			if (c.n_calls > 1)
				c.left = left;
		}
	}
	loop_run(c.l);
	rpc_channel_free(ch);
	while (loop_get_stats(c.l).n_inflight)
		loop_step(c.l, SECOND);
	loop_free(c.l);
	return 0;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc >= 3 && !strcmp(argv[1], "serve"))
		return serve(argv[2], argc > 3 ? argv[3] : "auto");
	if (argc >= 4 && !strcmp(argv[1], "call"))
		return call(argc, argv);
	fprintf(stderr,
		"usage: rpc_echo serve ADDRESS [LOOP] | call ADDRESS METHOD [key=value …]\n");
	return 2;
}
