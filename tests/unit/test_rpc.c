/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_rpc.c — server and client on real unix and TCP sockets, on both loop back ends */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/loop.h"
#include "common/rpc/health.h"
#include "common/rpc/listen.h"
#include "common/rpc/rpc.h"
#include "common/tls.h"
#include "tests/lib/certs.h"

#define SECOND    UINT64_C(1000000000)
#define TEST_WAIT (20 * SECOND)
#define MIB       ((size_t)1 << 20)

/* ---- the service under test ----------------------------------------------------------------- */

struct svc {
	unsigned n_ends, n_finished, n_messages, n_half_closes, n_drains;
	struct rpc_call *held; /* the last call of Hold */
	size_t left; /* messages that Stream still has to send */
	size_t most_queued;
	struct loop *loop;
};

static void on_end(struct rpc_call *c, void *service, bool finished)
{
	struct svc *s = service;

	s->n_ends++;
	s->n_finished += finished;
	if (s->held == c)
		s->held = NULL;
}

static void echo(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
	struct svc *s = service;

	s->n_messages++;
	assert_int_equal(rpc_call_send(c, p, n), 0);
	assert_int_equal(rpc_call_trailer(c, "x-pid", "1"), 0);
	if (rpc_call_metadata(c, "x-ask"))
		assert_int_equal(rpc_call_trailer(c, "x-answer", rpc_call_metadata(c, "x-ask")), 0);
	rpc_call_finish(c, RPC_OK, NULL);
	assert_int_equal(rpc_call_send(c, "x", 1), -ECANCELED);
}

static void not_found(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
	rpc_call_finish(c, RPC_NOT_FOUND, "no such task „%.*s“, 100%%\n", (int)n, (const char *)p);
}

static void hold(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
	((struct svc *)service)->held = c;
}

static void refill(struct rpc_call *c, void *service)
{
	struct svc *s = service;

	s->n_drains++;
	while (s->left && rpc_call_queued(c) < 4 * MIB) {
		uint8_t *p = malloc(MIB);

		memset(p, (int)(s->left & 0xff), MIB);
		s->left--;
		assert_int_equal(rpc_call_send_owned(c, p, MIB), 0);
	}
	if (rpc_call_queued(c) > s->most_queued)
		s->most_queued = rpc_call_queued(c);
	if (!s->left)
		rpc_call_finish(c, RPC_OK, NULL);
}

static void stream(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
	struct svc *s = service;

	s->left = (size_t)atoi((const char *)p);
	refill(c, s);
}

static void bidi(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
	((struct svc *)service)->n_messages++;
	assert_int_equal(rpc_call_send(c, p, n), 0);
}

static void bidi_end(struct rpc_call *c, void *service)
{
	((struct svc *)service)->n_half_closes++;
	rpc_call_finish(c, RPC_OK, NULL);
}

static void early(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
	rpc_call_finish(c, RPC_ABORTED, "enough");
}

static void take(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
	_cleanup_fd_ int fd = rpc_call_take_fd(c, (unsigned)atoi((const char *)p));
	char text[64];
	ssize_t k;

	if (fd < 0) {
		rpc_call_finish(c, RPC_NOT_FOUND, "no descriptor");
		return;
	}
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	k = fd_pread_full(fd, text, sizeof(text), 0);
	assert_true(k >= 0);
	assert_int_equal(rpc_call_send(c, text, (size_t)k), 0);
	rpc_call_finish(c, RPC_OK, NULL);
}

static void whoami(struct rpc_call *c, void *service, const uint8_t *p, size_t n)
{
	const struct rpc_peer *peer = rpc_call_peer(c);
	char text[128];

	snprintf(text, sizeof(text), "%d %d %d %s", peer->is_unix, (int)peer->pid, (int)peer->uid,
		peer->name);
	assert_int_equal(rpc_call_send(c, text, strlen(text)), 0);
	rpc_call_finish(c, RPC_OK, NULL);
}

static const struct rpc_method methods[] = {
	{.path = "/t.T/Echo", .on_message = echo, .on_end = on_end},
	{.path = "/t.T/Small", .max_request_bytes = 10, .on_message = echo, .on_end = on_end},
	{.path = "/t.T/Fail", .on_message = not_found, .on_end = on_end},
	{.path = "/t.T/Hold", .on_message = hold, .on_end = on_end},
	{.path = "/t.T/Stream", .on_message = stream, .on_drain = refill, .on_end = on_end},
	{.path = "/t.T/Bidi",
		.is_client_stream = true,
		.on_message = bidi,
		.on_half_close = bidi_end,
		.on_end = on_end},
	{.path = "/t.T/Early", .is_client_stream = true, .on_message = early, .on_end = on_end},
	{.path = "/t.T/Take", .on_message = take, .on_end = on_end},
	{.path = "/t.T/Who", .on_message = whoami, .on_end = on_end},
};

static struct tls_context *tls_server, *tls_client; /* NULL: plaintext */

/* ---- fixture ----------------------------------------------------------------------------------- */

struct env {
	struct loop *l;
	struct svc svc;
	struct health *health;
	struct rpc_server *server;
	struct rpc_channel *ch;
	struct rpc_limits limits;
	char dir[64], path[96];
	bool is_tcp, is_stopped;
	struct sockaddr_in addr;
};

/* one answer as the client saw it */
struct got {
	unsigned n_messages, n_done, n_drains;
	size_t bytes;
	int status;
	char message[256];
	struct buf last;
	char trailer[64];
	bool has_cancelled; /* after the first message */
};

static void got_message(struct rpc_request *r, void *arg, const uint8_t *p, size_t n)
{
	struct got *g = arg;

	assert_int_equal(g->n_done, 0);
	g->n_messages++;
	g->bytes += n;
	g->last.len = 0;
	buf_add(&g->last, p, n);
	if (g->has_cancelled)
		rpc_request_cancel(r);
}

static void got_done(struct rpc_request *r, void *arg, int status, const char *message)
{
	struct got *g = arg;
	const char *t = rpc_request_trailer(r, "x-answer");

	assert_non_null(message);
	g->n_done++;
	g->status = status;
	snprintf(g->message, sizeof(g->message), "%s", message);
	snprintf(g->trailer, sizeof(g->trailer), "%s", t ? t : "");
}

static void got_drain(struct rpc_request *r, void *arg)
{
	((struct got *)arg)->n_drains++;
}

static const struct rpc_handlers handlers = {got_message, got_done, got_drain};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

#define RUN_UNTIL(l, cond)                                                                         \
	do {                                                                                       \
		uint64_t end_ = now_ns() + TEST_WAIT;                                              \
		while (!(cond)) {                                                                  \
			if (now_ns() > end_)                                                       \
				fail_msg("timeout waiting for %s", #cond);                         \
			assert_int_equal(loop_step((l), SECOND / 10), 0);                          \
		}                                                                                  \
	} while (0)

static void start_server(struct env *e)
{
	struct rpc_service services[2];
	socklen_t len = sizeof(e->addr);
	int fd;

	services[0] = (struct rpc_service){methods, ARRAY_SIZE(methods), &e->svc};
	services[1] = health_service(e->health);
	if (e->is_tcp) {
		e->addr.sin_family = AF_INET;
		e->addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		fd = rpc_listen_tcp((struct sockaddr *)&e->addr, sizeof(e->addr));
		assert_true(fd >= 0);
		assert_int_equal(getsockname(fd, (struct sockaddr *)&e->addr, &len), 0);
	} else {
		fd = rpc_listen_unix(e->path, 0600, (gid_t)-1);
		assert_true(fd >= 0);
	}
	e->is_stopped = false;
	assert_int_equal(rpc_server_new(&e->server, e->l, &fd, 1, services, 2, &e->limits), 0);
	rpc_server_set_tls(e->server, tls_server);
}

static void on_stopped(void *arg)
{
	((struct env *)arg)->is_stopped = true;
}

static void stop_server(struct env *e, uint64_t patience_ns)
{
	if (!e->server)
		return;
	rpc_server_stop(e->server, now_ns() + patience_ns, on_stopped, e);
	RUN_UNTIL(e->l, e->is_stopped);
	e->server = rpc_server_free(e->server);
}

static struct rpc_channel *new_channel(struct env *e, const struct rpc_channel_options *o)
{
	struct rpc_channel_options opts = o ? *o : (struct rpc_channel_options){0};
	struct rpc_channel *ch;

	opts.tls = tls_client;
	if (e->is_tcp)
		assert_int_equal(rpc_channel_new_tcp(&ch, e->l, (struct sockaddr *)&e->addr,
					 sizeof(e->addr), &opts),
			0);
	else
		assert_int_equal(rpc_channel_new_unix(&ch, e->l, e->path, o), 0);
	return ch;
}

static const struct loop_backend *backend = &loop_backend_epoll;
static bool use_tcp;

static int setup(void **state)
{
	struct env *e = calloc(1, sizeof(*e));
	int r = loop_new(&e->l, backend, 1);

	if (r) {
		free(e);
		return r;
	}
	e->limits = rpc_limits_default;
	e->is_tcp = use_tcp;
	strcpy(e->dir, "/tmp/test_rpc.XXXXXX");
	assert_non_null(mkdtemp(e->dir));
	snprintf(e->path, sizeof(e->path), "%s/s", e->dir);
	e->health = health_new();
	assert_non_null(e->health);
	e->svc.loop = e->l;
	start_server(e);
	e->ch = new_channel(e, NULL);
	*state = e;
	return 0;
}

static int teardown(void **state)
{
	struct env *e = *state;

	e->ch = rpc_channel_free(e->ch);
	stop_server(e, TEST_WAIT);
	RUN_UNTIL(e->l, !loop_get_stats(e->l).n_inflight);
	loop_free(e->l);
	health_free(e->health);
	unlink(e->path);
	rmdir(e->dir);
	free(e);
	return 0;
}

static void call(struct env *e, const char *path, const void *p, size_t n, struct got *g)
{
	assert_non_null(rpc_unary(e->ch, path, p, n, TEST_WAIT, &handlers, g));
	RUN_UNTIL(e->l, g->n_done);
	assert_int_equal(g->n_done, 1);
}

/* ---- tests --------------------------------------------------------------------------------------- */

static void answers_unary(void **state)
{
	struct env *e = *state;
	struct got g = {0};

	call(e, "/t.T/Echo", "hello", 5, &g);
	assert_int_equal(g.status, RPC_OK);
	assert_string_equal(g.message, "");
	assert_int_equal(g.n_messages, 1);
	assert_string_equal(buf_str(&g.last), "hello");
	RUN_UNTIL(e->l, e->svc.n_ends == 1);
	assert_int_equal(e->svc.n_finished, 1);
	buf_fini(&g.last);
}

static void answers_the_empty_message(void **state)
{
	struct env *e = *state;
	struct got g = {0};

	call(e, "/t.T/Echo", "", 0, &g);
	assert_int_equal(g.status, RPC_OK);
	assert_int_equal(g.n_messages, 1);
	assert_int_equal(g.bytes, 0);
	buf_fini(&g.last);
}

static void carries_metadata_and_trailers(void **state)
{
	struct env *e = *state;
	struct rpc_meta meta[] = {{"x-ask", "a b=c"}};
	struct got g = {0};
	struct rpc_request *r =
		rpc_request_start(e->ch, "/t.T/Echo", meta, 1, TEST_WAIT, &handlers, &g);

	assert_non_null(r);
	assert_int_equal(rpc_request_send(r, "x", 1), 0);
	rpc_request_close_send(r);
	assert_int_equal(rpc_request_send(r, "x", 1), -ECANCELED);
	RUN_UNTIL(e->l, g.n_done);
	assert_int_equal(g.status, RPC_OK);
	assert_string_equal(g.trailer, "a b=c");
	buf_fini(&g.last);
}

static void refuses_bad_metadata(void **state)
{
	struct env *e = *state;
	struct rpc_meta bad[] = {{"x-ask", "a\nb"}};
	struct got g = {0};

	assert_non_null(rpc_request_start(e->ch, "/t.T/Echo", bad, 1, 0, &handlers, &g));
	RUN_UNTIL(e->l, g.n_done);
	assert_int_equal(g.status, RPC_INTERNAL);
}

static void carries_errors(void **state)
{
	struct env *e = *state;
	struct got g = {0};

	call(e, "/t.T/Fail", "x", 1, &g);
	assert_int_equal(g.status, RPC_NOT_FOUND);
	/* control characters do not reach a log line */
	assert_string_equal(g.message, "no such task „x“, 100% ");
	assert_int_equal(g.n_messages, 0);
	g = (struct got){0};
	call(e, "/t.T/Nope", "x", 1, &g);
	assert_int_equal(g.status, RPC_UNIMPLEMENTED);
	assert_string_equal(g.message, "unknown method /t.T/Nope");
}

static void carries_40_mib(void **state)
{
	struct env *e = *state;
	size_t n = 40 * MIB;
	uint8_t *p = malloc(n);
	struct got g = {0};

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 7 + (i >> 13));
	call(e, "/t.T/Echo", p, n, &g);
	assert_int_equal(g.status, RPC_OK);
	assert_int_equal(g.bytes, n);
	assert_memory_equal(g.last.data, p, n);
	free(p);
	buf_fini(&g.last);
}

static void keeps_the_limits(void **state)
{
	struct env *e = *state;
	struct got g = {0};

	call(e, "/t.T/Small", "1234567890", 10, &g);
	assert_int_equal(g.status, RPC_OK);
	g.n_done = 0;
	call(e, "/t.T/Small", "12345678901", 11, &g);
	assert_int_equal(g.status, RPC_RESOURCE_EXHAUSTED);
	assert_string_equal(g.message, "message of 11 bytes is larger than the limit of 10");
	buf_fini(&g.last);
	/* the client's own limit */
	struct rpc_limits small = rpc_limits_default;
	struct rpc_channel_options o = {.limits = &small};

	small.max_message_bytes = 4;
	rpc_channel_free(e->ch);
	e->ch = new_channel(e, &o);
	g = (struct got){0};
	call(e, "/t.T/Echo", "hello", 5, &g);
	assert_int_equal(g.status, RPC_RESOURCE_EXHAUSTED);
	assert_int_equal(g.n_messages, 0);
}

static void limits_what_is_buffered(void **state)
{
	struct env *e = *state;
	struct got g[4] = {{0}};
	uint8_t *p = calloc(1, 3 * MIB);

	stop_server(e, TEST_WAIT);
	e->limits.max_buffered_bytes = 4 * MIB;
	start_server(e);
	rpc_channel_free(e->ch);
	e->ch = new_channel(e, NULL);
	/* four requests of 3 MiB that never end: not all can be held */
	for (int i = 0; i < 4; i++) {
		struct rpc_request *r = rpc_request_start(
			e->ch, "/t.T/Hold", NULL, 0, 2 * SECOND, &handlers, &g[i]);

		assert_int_equal(rpc_request_send(r, p, 3 * MIB), 0);
	}
	RUN_UNTIL(e->l, g[0].n_done + g[1].n_done + g[2].n_done + g[3].n_done >= 3);
	int n_refused = 0;

	for (int i = 0; i < 4; i++)
		n_refused += g[i].n_done && g[i].status == RPC_RESOURCE_EXHAUSTED;
	assert_true(n_refused >= 2);
	RUN_UNTIL(e->l, g[0].n_done && g[1].n_done && g[2].n_done && g[3].n_done);
	struct got again = {0};

	call(e, "/t.T/Echo", "x", 1, &again);
	assert_int_equal(again.status, RPC_OK);
	buf_fini(&again.last);
	free(p);
}

static void streams_from_the_server(void **state)
{
	struct env *e = *state;
	struct got g = {0};

	call(e, "/t.T/Stream", "50", 3, &g);
	assert_int_equal(g.status, RPC_OK);
	assert_int_equal(g.n_messages, 50);
	assert_int_equal(g.bytes, 50 * MIB);
	assert_true(e->svc.n_drains > 5);
	assert_true(e->svc.most_queued <= 5 * (MIB + 5));
	g.n_messages = g.n_done = 0;
	call(e, "/t.T/Stream", "0", 2, &g);
	assert_int_equal(g.status, RPC_OK);
	assert_int_equal(g.n_messages, 0);
	buf_fini(&g.last);
}

static void streams_both_ways(void **state)
{
	struct env *e = *state;
	struct got g = {0};
	struct rpc_request *r =
		rpc_request_start(e->ch, "/t.T/Bidi", NULL, 0, TEST_WAIT, &handlers, &g);

	for (unsigned i = 1; i <= 20; i++) {
		char text[16];

		snprintf(text, sizeof(text), "ping %u", i);
		assert_int_equal(rpc_request_send(r, text, strlen(text)), 0);
		RUN_UNTIL(e->l, g.n_messages == i);
		assert_string_equal(buf_str(&g.last), text);
		assert_int_equal(rpc_request_queued(r), 0);
	}
	assert_int_equal(e->svc.n_half_closes, 0);
	rpc_request_close_send(r);
	RUN_UNTIL(e->l, g.n_done);
	assert_int_equal(g.status, RPC_OK);
	assert_int_equal(e->svc.n_half_closes, 1);
	assert_true(g.n_drains > 0);
	buf_fini(&g.last);
}

static void replies_before_half_close(void **state)
{
	struct env *e = *state;
	struct got g = {0};
	struct rpc_request *r =
		rpc_request_start(e->ch, "/t.T/Early", NULL, 0, TEST_WAIT, &handlers, &g);

	assert_int_equal(rpc_request_send(r, "x", 1), 0);
	RUN_UNTIL(e->l, g.n_done);
	assert_int_equal(g.status, RPC_ABORTED);
	assert_string_equal(g.message, "enough");
	RUN_UNTIL(e->l, e->svc.n_ends == 1);
	assert_int_equal(e->svc.n_finished, 1);
}

static void keeps_deadlines(void **state)
{
	struct env *e = *state;
	struct got g = {0};
	uint64_t t = now_ns();

	assert_non_null(rpc_unary(e->ch, "/t.T/Hold", "x", 1, SECOND / 5, &handlers, &g));
	RUN_UNTIL(e->l, g.n_done && e->svc.n_ends);
	assert_int_equal(g.status, RPC_DEADLINE_EXCEEDED);
	assert_string_equal(g.message, "deadline exceeded");
	assert_int_equal(e->svc.n_finished, 0);
	assert_true(now_ns() - t >= SECOND / 5);
	assert_true(now_ns() - t < 5 * SECOND);
}

static void client_cancels(void **state)
{
	struct env *e = *state;
	struct got g = {0};
	struct rpc_request *r = rpc_unary(e->ch, "/t.T/Hold", "x", 1, 0, &handlers, &g);

	RUN_UNTIL(e->l, e->svc.held);
	rpc_request_cancel(r);
	assert_int_equal(g.n_done, 0);
	rpc_request_cancel(r);
	RUN_UNTIL(e->l, g.n_done && e->svc.n_ends);
	assert_int_equal(g.status, RPC_CANCELLED);
	assert_int_equal(e->svc.n_finished, 0);
	/* before it was sent at all */
	g = (struct got){0};
	r = rpc_unary(e->ch, "/t.T/Hold", "x", 1, 0, &handlers, &g);
	rpc_request_cancel(r);
	RUN_UNTIL(e->l, g.n_done);
	assert_int_equal(g.status, RPC_CANCELLED);
	/* amid a stream, from the callback */
	g = (struct got){.has_cancelled = true};
	e->svc.n_ends = 0;
	call(e, "/t.T/Stream", "1000", 5, &g);
	assert_int_equal(g.status, RPC_CANCELLED);
	assert_int_equal(g.n_messages, 1);
	RUN_UNTIL(e->l, e->svc.n_ends == 1);
	assert_true(e->svc.left > 0);
	buf_fini(&g.last);
}

static void server_ends_a_held_call(void **state)
{
	struct env *e = *state;
	struct got g = {0};

	assert_non_null(rpc_unary(e->ch, "/t.T/Hold", "x", 1, 0, &handlers, &g));
	RUN_UNTIL(e->l, e->svc.held);
	rpc_call_finish(e->svc.held, RPC_ABORTED, "changed my mind");
	rpc_call_finish(e->svc.held, RPC_OK, NULL); /* the first one counts */
	assert_int_equal(e->svc.n_ends, 0);
	RUN_UNTIL(e->l, g.n_done && e->svc.n_ends);
	assert_int_equal(g.status, RPC_ABORTED);
	assert_int_equal(e->svc.n_finished, 1);
}

static void serves_500_calls_at_once(void **state)
{
	struct env *e = *state;
	struct got *g = calloc(500, sizeof(*g));
	unsigned n_ok = 0;

	for (int i = 0; i < 500; i++)
		assert_non_null(
			rpc_unary(e->ch, "/t.T/Echo", &i, sizeof(i), TEST_WAIT, &handlers, &g[i]));
	for (int i = 0; i < 500; i++) {
		RUN_UNTIL(e->l, g[i].n_done);
		n_ok += g[i].status == RPC_OK && g[i].n_messages == 1 &&
			!memcmp(g[i].last.data, &i, sizeof(i));
		buf_fini(&g[i].last);
	}
	assert_int_equal(n_ok, 500);
	RUN_UNTIL(e->l, e->svc.n_ends == 500);
	assert_int_equal(rpc_server_n_connections(e->server), 1);
	free(g);
}

/* the client does not know the limit before the server's first SETTINGS: what goes beyond it is
 * refused and tried again */
static void tries_refused_calls_again(void **state)
{
	struct env *e = *state;
	struct got g[80] = {{0}};

	stop_server(e, TEST_WAIT);
	e->limits.max_calls = 3;
	start_server(e);
	rpc_channel_free(e->ch);
	e->ch = new_channel(e, NULL);
	for (int i = 0; i < 80; i++)
		assert_non_null(
			rpc_unary(e->ch, "/t.T/Echo", &i, sizeof(i), TEST_WAIT, &handlers, &g[i]));
	for (int i = 0; i < 80; i++) {
		RUN_UNTIL(e->l, g[i].n_done);
		assert_string_equal(g[i].message, "");
		assert_int_equal(g[i].status, RPC_OK);
		assert_memory_equal(g[i].last.data, &i, sizeof(i));
		buf_fini(&g[i].last);
	}
}

static void passes_descriptors(void **state)
{
	struct env *e = *state;
	struct got g = {0};
	FILE *f[2] = {tmpfile(), tmpfile()};
	int fds[5];

	if (e->is_tcp) {
		int fd = 0;

		assert_int_equal(rpc_channel_attach_fds(e->ch, &fd, 1), -EAFNOSUPPORT);
		call(e, "/t.T/Take", "0", 2, &g);
		assert_int_equal(g.status, RPC_NOT_FOUND);
		goto out;
	}
	for (int i = 0; i < 2; i++) {
		fprintf(f[i], "file %d", i);
		fflush(f[i]);
		fds[i] = fileno(f[i]);
	}
	fds[2] = fds[3] = fds[4] = fds[0];
	assert_int_equal(rpc_channel_attach_fds(e->ch, fds, 5), -E2BIG);
	assert_int_equal(rpc_channel_attach_fds(e->ch, fds, 2), 0);
	call(e, "/t.T/Take", "1", 2, &g);
	assert_int_equal(g.status, RPC_OK);
	assert_string_equal(buf_str(&g.last), "file 1");
	g.n_done = 0;
	call(e, "/t.T/Take", "1", 2, &g); /* taken */
	assert_int_equal(g.status, RPC_NOT_FOUND);
	g.n_done = 0;
	call(e, "/t.T/Take", "7", 2, &g);
	assert_int_equal(g.status, RPC_NOT_FOUND);
	g.n_done = 0;
	call(e, "/t.T/Take", "0", 2, &g);
	assert_string_equal(buf_str(&g.last), "file 0");
	/* one more than the server parks: refused */
	stop_server(e, TEST_WAIT);
	e->limits.max_fds = 1;
	start_server(e);
	g.n_done = 0;
	call(e, "/t.T/Take", "0", 2, &g);
	assert_int_equal(g.status, RPC_UNAVAILABLE);
	buf_fini(&g.last);
out:
	fclose(f[0]);
	fclose(f[1]);
}

static void knows_the_peer(void **state)
{
	struct env *e = *state;
	struct got g = {0};
	char want[128];

	call(e, "/t.T/Who", "", 0, &g);
	if (e->is_tcp)
		assert_non_null(strstr(buf_str(&g.last), "0 -1 -1 127.0.0.1:"));
	else {
		snprintf(want, sizeof(want), "1 %d %d unix:uid=%d", (int)getpid(), (int)getuid(),
			(int)getuid());
		assert_string_equal(buf_str(&g.last), want);
	}
	buf_fini(&g.last);
}

static bool no_entry(void *arg, const struct rpc_peer *p)
{
	return false;
}

static void gate_keeps_out(void **state)
{
	struct env *e = *state;
	struct got g = {0};

	rpc_server_set_gate(e->server, no_entry, NULL);
	call(e, "/t.T/Echo", "", 0, &g);
	assert_int_equal(g.status, RPC_UNAVAILABLE);
}

static void stops_gracefully(void **state)
{
	struct env *e = *state;
	struct got g = {0}, late = {0};
	struct rpc_channel *second = new_channel(e, NULL);

	assert_non_null(rpc_unary(e->ch, "/t.T/Hold", "x", 1, 0, &handlers, &g));
	RUN_UNTIL(e->l, e->svc.held);
	rpc_server_stop(e->server, now_ns() + TEST_WAIT, on_stopped, e);
	/* nobody new gets in; the held call goes on */
	rpc_unary(second, "/t.T/Echo", "x", 1, 0, &handlers, &late);
	RUN_UNTIL(e->l, late.n_done);
	assert_int_equal(late.status, RPC_UNAVAILABLE);
	assert_false(e->is_stopped);
	assert_int_equal(g.n_done, 0);
	assert_int_equal(rpc_call_send(e->svc.held, "bye", 3), 0);
	rpc_call_finish(e->svc.held, RPC_OK, NULL);
	RUN_UNTIL(e->l, g.n_done);
	assert_int_equal(g.status, RPC_OK);
	assert_string_equal(buf_str(&g.last), "bye");
	RUN_UNTIL(e->l, e->is_stopped);
	e->server = rpc_server_free(e->server);
	rpc_channel_free(second);
	/* a new server at the same place: the channel finds it */
	if (!e->is_tcp) {
		start_server(e);
		for (g.n_done = 0, g.status = -1; g.status != RPC_OK; g.n_done = 0)
			call(e, "/t.T/Echo", "again", 5, &g);
		assert_string_equal(buf_str(&g.last), "again");
	}
	buf_fini(&g.last);
}

static void stops_at_the_deadline(void **state)
{
	struct env *e = *state;
	struct got g = {0};

	assert_non_null(rpc_unary(e->ch, "/t.T/Hold", "x", 1, 0, &handlers, &g));
	RUN_UNTIL(e->l, e->svc.held);
	stop_server(e, SECOND / 10);
	assert_int_equal(e->svc.n_ends, 1);
	assert_int_equal(e->svc.n_finished, 0);
	RUN_UNTIL(e->l, g.n_done);
	assert_int_equal(g.status, RPC_UNAVAILABLE);
}

static void says_why_it_cannot_connect(void **state)
{
	struct env *e = *state;
	struct got g = {0};
	char want[256];

	stop_server(e, TEST_WAIT);
	if (e->is_tcp)
		snprintf(want, sizeof(want), "cannot connect to 127.0.0.1:%d: Connection refused",
			ntohs(e->addr.sin_port));
	else {
		unlink(e->path);
		snprintf(want, sizeof(want), "cannot connect to unix:%s: No such file or directory",
			e->path);
	}
	call(e, "/t.T/Echo", "x", 1, &g);
	assert_int_equal(g.status, RPC_UNAVAILABLE);
	assert_string_equal(g.message, want);
	/* within the back-off the answer is the same, without a new attempt */
	g.n_done = 0;
	call(e, "/t.T/Echo", "x", 1, &g);
	assert_string_equal(g.message, want);
}

/* a listener that never accepts, or accepts and says nothing */
static void gives_up_on_a_silent_server(void **state)
{
	struct env *e = *state;
	struct got g = {0};
	struct rpc_channel_options o = {.connect_timeout_ns = SECOND / 5};
	int fd;

	if (e->is_tcp) {
		struct sockaddr_in a = {
			.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		socklen_t len = sizeof(a);

		fd = rpc_listen_tcp((struct sockaddr *)&a, sizeof(a));
		assert_true(fd >= 0);
		getsockname(fd, (struct sockaddr *)&a, &len);
		rpc_channel_free(e->ch);
		assert_int_equal(
			rpc_channel_new_tcp(&e->ch, e->l, (struct sockaddr *)&a, len, &o), 0);
	} else {
		char path[128];

		snprintf(path, sizeof(path), "%s.silent", e->path);
		fd = rpc_listen_unix(path, 0600, (gid_t)-1);
		assert_true(fd >= 0);
		rpc_channel_free(e->ch);
		assert_int_equal(rpc_channel_new_unix(&e->ch, e->l, path, &o), 0);
		call(e, "/t.T/Echo", "x", 1, &g);
		unlink(path);
		goto check;
	}
	call(e, "/t.T/Echo", "x", 1, &g);
check:
	assert_int_equal(g.status, RPC_UNAVAILABLE);
	assert_non_null(strstr(g.message, "no HTTP/2 handshake within 0.2 s"));
	close(fd);
}

/* the reason stands in what the server said before it hung up, amid our sending */
static void hears_the_last_words(void **state)
{
	static const char words[] = "\0\0\0\4\0\0\0\0\0" /* SETTINGS */
				    "\0\0\20\7\0\0\0\0\0\0\0\0\1\0\0\0\13too_many"; /* GOAWAY */
	struct env *e = *state;
	_cleanup_fd_ int fd = -1, peer = -1;
	struct got g = {0};
	char path[128];
	uint8_t *big = calloc(1, 8 * MIB);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	rpc_channel_free(e->ch);
	if (e->is_tcp) {
		fd = rpc_listen_tcp((struct sockaddr *)&a, sizeof(a));
		assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
		assert_int_equal(
			rpc_channel_new_tcp(&e->ch, e->l, (struct sockaddr *)&a, len, NULL), 0);
	} else {
		snprintf(path, sizeof(path), "%s.raw", e->path);
		fd = rpc_listen_unix(path, 0600, (gid_t)-1);
		assert_int_equal(rpc_channel_new_unix(&e->ch, e->l, path, NULL), 0);
	}
	assert_non_null(rpc_unary(e->ch, "/t.T/Echo", big, 8 * MIB, TEST_WAIT, &handlers, &g));
	RUN_UNTIL(e->l, (peer = accept(fd, NULL, NULL)) >= 0);
	assert_int_equal(write(peer, words, sizeof(words) - 1), sizeof(words) - 1);
	if (e->is_tcp) {
		/* what was sent must be read, or TCP's reset takes the words away */
		assert_int_equal(shutdown(peer, SHUT_WR), 0);
		assert_int_equal(fd_set_nonblock(peer), 0);
		RUN_UNTIL(e->l, (recv(peer, big, MIB, 0) < 0 || true) && g.n_done);
	} else {
		peer = fd_close(peer);
		RUN_UNTIL(e->l, g.n_done);
	}
	assert_int_equal(g.status, RPC_UNAVAILABLE);
	assert_non_null(strstr(g.message, "ENHANCE_YOUR_CALM: too_many"));
	if (!e->is_tcp)
		unlink(path);
	free(big);
}

static void freeing_a_channel_cancels(void **state)
{
	struct env *e = *state;
	struct got g = {0}, pending = {0};

	rpc_unary(e->ch, "/t.T/Hold", "x", 1, 0, &handlers, &g);
	RUN_UNTIL(e->l, e->svc.held);
	rpc_unary(e->ch, "/t.T/Hold", "x", 1, 0, &handlers, &pending);
	e->ch = rpc_channel_free(e->ch);
	assert_int_equal(g.n_done, 0);
	RUN_UNTIL(e->l, g.n_done && pending.n_done && e->svc.n_ends);
	assert_int_equal(g.status, RPC_CANCELLED);
	assert_int_equal(pending.status, RPC_CANCELLED);
}

static void serves_health(void **state)
{
	struct env *e = *state;
	struct got g = {0}, watch = {0};
	struct rpc_request *w;

	call(e, "/grpc.health.v1.Health/Check", "", 0, &g);
	assert_int_equal(g.status, RPC_OK);
	assert_memory_equal(g.last.data, "\x08\x01", 2);
	g.n_done = 0;
	call(e, "/grpc.health.v1.Health/Check", "\x0a\x03t.T", 5, &g);
	assert_int_equal(g.status, RPC_NOT_FOUND);
	w = rpc_unary(
		e->ch, "/grpc.health.v1.Health/Watch", "\x0a\x03t.T", 5, 0, &handlers, &watch);
	RUN_UNTIL(e->l, watch.n_messages == 1);
	assert_memory_equal(watch.last.data, "\x08\x03", 2);
	health_set(e->health, "t.T", true);
	health_set(e->health, "t.T", true);
	RUN_UNTIL(e->l, watch.n_messages == 2);
	assert_memory_equal(watch.last.data, "\x08\x01", 2);
	health_set(e->health, "t.T", false);
	RUN_UNTIL(e->l, watch.n_messages == 3);
	assert_memory_equal(watch.last.data, "\x08\x02", 2);
	rpc_request_cancel(w);
	RUN_UNTIL(e->l, watch.n_done);
	g.n_done = 0;
	call(e, "/grpc.health.v1.Health/Check", "\xff", 1, &g);
	assert_int_equal(g.status, RPC_INVALID_ARGUMENT);
	buf_fini(&g.last);
	buf_fini(&watch.last);
}

static void stopping_ends_health_watches(void **state)
{
	struct env *e = *state;
	struct got watch = {0};
	uint64_t t = now_ns();

	rpc_unary(e->ch, "/grpc.health.v1.Health/Watch", "", 0, 0, &handlers, &watch);
	RUN_UNTIL(e->l, watch.n_messages == 1);
	health_stop(e->health);
	stop_server(e, TEST_WAIT);
	assert_true(now_ns() - t < TEST_WAIT / 2);
	RUN_UNTIL(e->l, watch.n_done);
	assert_int_equal(watch.status, RPC_UNAVAILABLE);
	assert_string_equal(watch.message, "the server is stopping");
	assert_int_equal(watch.n_messages, 2);
	assert_memory_equal(watch.last.data, "\x08\x02", 2);
	buf_fini(&watch.last);
}

/* the peer is another process that is killed while calls run */
static void survives_the_death_of_a_client(void **state)
{
	struct env *e = *state;
	struct got g = {0};
	pid_t pid = fork();

	if (!pid) {
		/* a fresh loop: nothing of the parent's is touched */
		struct loop *l;
		struct rpc_channel *ch;
		struct got mine = {0};

		if (loop_new(&l, backend, 1))
			_exit(1);
		e->l = l;
		ch = new_channel(e, NULL);
		rpc_unary(ch, "/t.T/Hold", "x", 1, 0, &handlers, &mine);
		for (;;)
			loop_step(l, SECOND);
	}
	RUN_UNTIL(e->l, e->svc.held);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	RUN_UNTIL(e->l, e->svc.n_ends == 1);
	assert_int_equal(e->svc.n_finished, 0);
	call(e, "/t.T/Echo", "x", 1, &g);
	assert_int_equal(g.status, RPC_OK);
	buf_fini(&g.last);
}

static void survives_the_death_of_a_server(void **state)
{
	struct env *e = *state;
	struct got g = {0}, h = {0};
	int ready[2];
	char c;
	pid_t pid;

	stop_server(e, TEST_WAIT);
	if (!e->is_tcp)
		unlink(e->path);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		if (loop_new(&e->l, backend, 1))
			_exit(1);
		start_server(e);
		if (write(ready[1], &e->addr.sin_port, 2) != 2)
			_exit(1);
		for (;;)
			loop_step(e->l, SECOND);
	}
	assert_int_equal(read(ready[0], &e->addr.sin_port, 2), 2);
	rpc_channel_free(e->ch);
	e->ch = new_channel(e, NULL);
	call(e, "/t.T/Echo", "x", 1, &h);
	assert_int_equal(h.status, RPC_OK);
	assert_true(rpc_channel_is_connected(e->ch));
	rpc_unary(e->ch, "/t.T/Hold", "x", 1, 0, &handlers, &g);
	h.n_done = 0;
	call(e, "/t.T/Echo", "x", 1, &h); /* so Hold has arrived too */
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	RUN_UNTIL(e->l, g.n_done);
	assert_int_equal(g.status, RPC_UNAVAILABLE);
	assert_non_null(strstr(g.message, e->is_tcp ? "127.0.0.1:" : e->path));
	assert_false(rpc_channel_is_connected(e->ch));
	buf_fini(&h.last);
	close(ready[0]);
	close(ready[1]);
	(void)c;
}

/* at the limit an idle connection makes room; one with calls does not */
static void limits_connections(void **state)
{
	struct env *e = *state;
	struct got g[3] = {{0}}, held[2] = {{0}};
	struct rpc_channel *ch[3];

	stop_server(e, TEST_WAIT);
	e->limits.max_connections = 2;
	start_server(e);
	for (int i = 0; i < 3; i++) {
		ch[i] = new_channel(e, NULL);
		rpc_unary(ch[i], "/t.T/Echo", "x", 1, TEST_WAIT, &handlers, &g[i]);
		RUN_UNTIL(e->l, g[i].n_done);
		assert_int_equal(g[i].status, RPC_OK);
	}
	RUN_UNTIL(e->l, rpc_server_n_connections(e->server) == 2);
	RUN_UNTIL(e->l, !rpc_channel_is_connected(ch[0]));
	assert_true(rpc_channel_is_connected(ch[1]));
	for (int i = 0; i < 2; i++) {
		e->svc.held = NULL;
		rpc_unary(ch[i + 1], "/t.T/Hold", "x", 1, 0, &handlers, &held[i]);
		RUN_UNTIL(e->l, e->svc.held);
	}
	g[0].n_done = 0;
	rpc_unary(ch[0], "/t.T/Echo", "x", 1, TEST_WAIT, &handlers, &g[0]);
	RUN_UNTIL(e->l, g[0].n_done);
	assert_int_equal(g[0].status, RPC_UNAVAILABLE);
	assert_int_equal(held[0].n_done + held[1].n_done, 0);
	for (int i = 0; i < 3; i++) {
		buf_fini(&g[i].last);
		rpc_channel_free(ch[i]);
	}
	RUN_UNTIL(e->l, held[0].n_done && held[1].n_done);
}

/* a user other than root and ourselves gets half of the connections */
static void one_user_gets_half(void **state)
{
	struct env *e = *state;
	struct got g = {0};
	int report[2], n = -1;
	pid_t pid;

	if (e->is_tcp)
		return; /* loopback addresses have no share */
	if (getuid()) {
		print_message("only root can play another user\n");
		skip();
	}
	stop_server(e, TEST_WAIT);
	e->limits.max_connections = 8;
	start_server(e);
	assert_int_equal(chmod(e->path, 0666), 0);
	assert_int_equal(chmod(e->dir, 0755), 0);
	assert_int_equal(pipe(report), 0);
	pid = fork();
	if (!pid) {
		struct sockaddr_un un = {.sun_family = AF_UNIX};
		int fd[6], n_open = 0;
		char c;

		strcpy(un.sun_path, e->path);
		if (setgid(65534) || setuid(65534))
			_exit(1);
		for (int i = 0; i < 6; i++) {
			fd[i] = socket(AF_UNIX, SOCK_STREAM, 0);
			if (connect(fd[i], (struct sockaddr *)&un, sizeof(un)))
				_exit(2);
		}
		/* those that live say SETTINGS, the others end */
		for (int i = 0; i < 6; i++)
			n_open += read(fd[i], &c, 1) == 1;
		if (write(report[1], &n_open, sizeof(n_open)) != sizeof(n_open))
			_exit(3);
		pause();
	}
	assert_int_equal(fd_set_nonblock(report[0]), 0);
	RUN_UNTIL(e->l, read(report[0], &n, sizeof(n)) == sizeof(n));
	assert_int_equal(n, 4);
	assert_int_equal(rpc_server_n_connections(e->server), 4);
	call(e, "/t.T/Echo", "x", 1, &g); /* root still gets in */
	assert_int_equal(g.status, RPC_OK);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	buf_fini(&g.last);
	close(report[0]);
	close(report[1]);
}

static void listens_only_where_nobody_does(void **state)
{
	struct env *e = *state;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	char path[128], other[256];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/x", e->dir);
	/* somebody listens */
	if (!e->is_tcp)
		assert_int_equal(rpc_listen_unix(e->path, 0600, (gid_t)-1), -EADDRINUSE);
	/* a file that is no socket is not touched */
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(rpc_listen_unix(path, 0600, (gid_t)-1), -EADDRINUSE);
	assert_int_equal(unlink(path), 0);
	/* a socket that nobody serves is replaced */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(un.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
	fd = rpc_listen_unix(path, 0620, getegid());
	assert_true(fd >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0620);
	close(fd);
	unlink(path);
	memset(other, 'x', sizeof(other));
	other[sizeof(other) - 1] = 0;
	assert_int_equal(rpc_listen_unix(other, 0600, (gid_t)-1), -ENAMETOOLONG);
	snprintf(other, sizeof(other), "%s/no/such", e->dir);
	assert_int_equal(rpc_listen_unix(other, 0600, (gid_t)-1), -ENOENT);
	if (e->is_tcp)
		assert_int_equal(
			rpc_listen_tcp((struct sockaddr *)&e->addr, sizeof(e->addr)), -EADDRINUSE);
}

static void idle_connections_end(void **state)
{
	struct env *e = *state;
	struct got g = {0};

	stop_server(e, TEST_WAIT);
	e->limits.idle_ns = SECOND / 5;
	start_server(e);
	rpc_channel_free(e->ch);
	e->ch = new_channel(e, NULL);
	call(e, "/t.T/Echo", "x", 1, &g);
	RUN_UNTIL(e->l, rpc_server_n_connections(e->server) == 0);
	/* not an error: the next call makes a new connection */
	g.n_done = 0;
	call(e, "/t.T/Echo", "x", 1, &g);
	assert_int_equal(g.status, RPC_OK);
	buf_fini(&g.last);
}

static void silent_connections_end(void **state)
{
	struct env *e = *state;
	_cleanup_fd_ int fd = -1;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	uint64_t t = now_ns();

	stop_server(e, TEST_WAIT);
	e->limits.handshake_ns = SECOND / 5;
	start_server(e);
	fd = socket(e->is_tcp ? AF_INET : AF_UNIX, SOCK_STREAM, 0);
	strcpy(un.sun_path, e->path);
	assert_int_equal(e->is_tcp ? connect(fd, (struct sockaddr *)&e->addr, sizeof(e->addr))
				   : connect(fd, (struct sockaddr *)&un, sizeof(un)),
		0);
	RUN_UNTIL(e->l, rpc_server_n_connections(e->server) == 1);
	RUN_UNTIL(e->l, rpc_server_n_connections(e->server) == 0);
	assert_true(now_ns() - t >= SECOND / 5);
}

#define ALL(t)                                                                                     \
	{                                                                                          \
#t, t, setup, teardown, NULL                                                       \
	}

static int run(const char *name)
{
	const struct CMUnitTest tests[] = {
		ALL(answers_unary),
		ALL(answers_the_empty_message),
		ALL(carries_metadata_and_trailers),
		ALL(refuses_bad_metadata),
		ALL(carries_errors),
		ALL(carries_40_mib),
		ALL(keeps_the_limits),
		ALL(limits_what_is_buffered),
		ALL(streams_from_the_server),
		ALL(streams_both_ways),
		ALL(replies_before_half_close),
		ALL(keeps_deadlines),
		ALL(client_cancels),
		ALL(server_ends_a_held_call),
		ALL(serves_500_calls_at_once),
		ALL(tries_refused_calls_again),
		ALL(passes_descriptors),
		ALL(knows_the_peer),
		ALL(gate_keeps_out),
		ALL(stops_gracefully),
		ALL(stops_at_the_deadline),
		ALL(says_why_it_cannot_connect),
		ALL(gives_up_on_a_silent_server),
		ALL(hears_the_last_words),
		ALL(freeing_a_channel_cancels),
		ALL(serves_health),
		ALL(survives_the_death_of_a_client),
		ALL(survives_the_death_of_a_server),
		ALL(limits_connections),
		ALL(one_user_gets_half),
		ALL(listens_only_where_nobody_does),
		ALL(stopping_ends_health_watches),
		ALL(idle_connections_end),
		ALL(silent_connections_end),
	};

	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

static int run_tls(const char *name)
{
	char *dir = certs_dir();
	int n;

	tls_server = certs_context(dir, "ca", "a");
	tls_client = certs_context(dir, "ca", "b");
	n = run(name);
	tls_server = tls_context_unref(tls_server);
	tls_client = tls_context_unref(tls_client);
	certs_remove(dir);
	return n;
}

int main(void)
{
	struct loop *probe;
	int n = 0;

	signal(SIGPIPE, SIG_IGN);
	n += run("epoll, unix");
	use_tcp = true;
	n += run("epoll, tcp");
	n += run_tls("epoll, tls");
	if (loop_new(&probe, &loop_backend_uring, 1)) {
		printf("# io_uring is not allowed here: skipped\n");
		return n;
	}
	loop_free(probe);
	backend = &loop_backend_uring;
	n += run("io_uring, tcp");
	n += run_tls("io_uring, tls");
	use_tcp = false;
	n += run("io_uring, unix");
	return n;
}
