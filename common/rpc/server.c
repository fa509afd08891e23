/* SPDX-License-Identifier: GPL-2.0-or-later */
/* server.c — listeners, connections and calls of a gRPC server. See rpc.h; framing is h2.h. */
#include "common/rpc/rpc.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/rpc/addr.h"
#include "common/rpc/conn.h"

#define ACCEPT_PAUSE_NS (UINT64_C(100) * 1000000)

struct listener {
	struct rpc_server *server;
	int fd, next_fd; /* owned; next: takes the place of fd, -1 none */
	struct loop_op accept, pause;
};

struct rpc_server {
	struct loop *loop;
	struct rpc_limits limits;
	struct mem mem;
	struct tls_context *tls;
	uint8_t *scratch;
	struct rpc_service *services;
	size_t n_services;
	struct listener *listeners;
	size_t n_listeners;
	struct list conns;
	size_t n_conns;
	bool (*gate)(void *arg, const struct rpc_peer *p);
	void *gate_arg;
	bool is_stopping, is_stopped;
	struct loop_op stop_timer, done_op;
	void (*done)(void *arg);
	void *done_arg;
};

struct server_conn {
	struct conn c;
	struct rpc_server *server;
	struct list link;
	struct rpc_peer peer;
};

struct rpc_call {
	struct h2_stream s;
	struct server_conn *conn;
	const struct rpc_method *method;
	void *service, *data;
};

static struct rpc_call *call_of(struct h2_stream *s)
{
	return container_of(s, struct rpc_call, s);
}

/* ---- events of the core ------------------------------------------------------------------------ */

static struct h2_stream *new_stream(void *arg)
{
	struct server_conn *sc = container_of((struct conn *)arg, struct server_conn, c);
	struct rpc_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->conn = sc;
	return &call->s;
}

static bool on_request(struct h2_stream *s)
{
	struct rpc_call *call = call_of(s);
	struct rpc_server *srv = call->conn->server;
	const char *path = h2_stream_field(s, ":path");

	if (call->conn->c.tls)
		call->conn->peer.certificate = tls_peer(call->conn->c.tls);
	for (size_t i = 0; path && i < srv->n_services; i++) {
		const struct rpc_service *sv = &srv->services[i];

		for (size_t k = 0; k < sv->n_methods; k++) {
			const struct rpc_method *m = &sv->methods[k];

			if (strcmp(m->path, path))
				continue;
			call->method = m;
			call->service = sv->ctx;
			s->is_client_stream = m->is_client_stream;
			if (m->max_request_bytes)
				s->max_message_bytes = m->max_request_bytes;
			return true;
		}
	}
	return false;
}

static void on_message(struct h2_stream *s, const uint8_t *p, size_t n)
{
	struct rpc_call *call = call_of(s);

	call->method->on_message(call, call->service, p, n);
}

static void on_half_close(struct h2_stream *s)
{
	struct rpc_call *call = call_of(s);

	if (call->method->on_half_close)
		call->method->on_half_close(call, call->service);
}

static void on_drain(struct h2_stream *s)
{
	struct rpc_call *call = call_of(s);

	if (call->method->on_drain)
		call->method->on_drain(call, call->service);
}

static void on_end(struct h2_stream *s)
{
	struct rpc_call *call = call_of(s);

	if (call->method->on_end)
		call->method->on_end(call, call->service, s->is_finished);
}

static void release(struct h2_stream *s)
{
	h2_stream_fini(s);
	free(call_of(s));
}

static const struct h2_events events = {
	.new_stream = new_stream,
	.on_request = on_request,
	.on_message = on_message,
	.on_half_close = on_half_close,
	.on_drain = on_drain,
	.on_end = on_end,
	.release = release,
	.wake = conn_wake,
};

/* ---- connections --------------------------------------------------------------------------------- */

static void check_stopped(struct rpc_server *s);

static void on_gone(struct conn *c)
{
	struct server_conn *sc = container_of(c, struct server_conn, c);
	struct rpc_server *s = sc->server;

	if (c->was_refused)
		LOG_LIMITED(LOG_WARNING, "rpc: refused: %s peer=%s", c->reason, sc->peer.name);
	else if (c->reason[0])
		log_debug("rpc: connection ended peer=%s reason=\"%s\"", sc->peer.name, c->reason);
	list_del(&sc->link);
	free(sc);
	if (!--s->n_conns)
		mem_trim(&s->mem);
	check_stopped(s);
}

static void fill_peer(struct rpc_peer *p, int fd)
{
	socklen_t len = sizeof(p->addr);

	*p = (struct rpc_peer){.fd = fd, .pid = -1, .uid = (uid_t)-1, .gid = (gid_t)-1};
	if (getpeername(fd, (struct sockaddr *)&p->addr, &len) < 0)
		p->addr.ss_family = AF_UNSPEC;
	p->is_unix = p->addr.ss_family == AF_UNIX;
	if (p->is_unix) {
		struct ucred cred;

		len = sizeof(cred);
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0) {
			p->pid = cred.pid;
			p->uid = cred.uid;
			p->gid = cred.gid;
		}
		snprintf(p->name, sizeof(p->name), "unix:uid=%lld", (long long)(int)p->uid);
	} else {
		addr_format((struct sockaddr *)&p->addr, p->name, sizeof(p->name));
	}
}

/* is_same_owner - may connections of @a and @b be charged to one stranger? */
static bool is_same_owner(const struct rpc_peer *a, const struct rpc_peer *b)
{
	if (a->is_unix != b->is_unix)
		return false;
	if (a->is_unix)
		return a->uid == b->uid && a->uid && a->uid != geteuid();
	return !addr_is_loopback((const struct sockaddr *)&a->addr) &&
	       addr_is_same_host(
		       (const struct sockaddr *)&a->addr, (const struct sockaddr *)&b->addr);
}

static bool is_within_quota(const struct rpc_server *s, const struct rpc_peer *p)
{
	size_t n = 0;

	list_for_each (it, &s->conns)
		n += is_same_owner(p, &list_entry(it, struct server_conn, link)->peer);
	if (n >= (s->limits.max_connections + 1) / 2) {
		LOG_LIMITED(LOG_WARNING,
			"rpc: connection refused, one peer may hold half of all peer=%s n=%zu",
			p->name, n);
		return false;
	}
	return true;
}

/* make_room - at the limit the connection that is idle longest goes; false: none is idle */
static bool make_room(struct rpc_server *s, const struct rpc_peer *p)
{
	struct server_conn *oldest = NULL;

	if (s->n_conns < s->limits.max_connections)
		return true;
	list_for_each (it, &s->conns) {
		struct server_conn *sc = list_entry(it, struct server_conn, link);

		if (!h2_n_streams(sc->c.h2) && !sc->c.is_closing &&
			(!oldest || h2_idle_since(sc->c.h2) < h2_idle_since(oldest->c.h2)))
			oldest = sc;
	}
	LOG_LIMITED(LOG_WARNING, "rpc: %zu connections are open and that is the limit; %s peer=%s",
		s->n_conns, oldest ? "the one idle longest is closed" : "refused", p->name);
	if (!oldest)
		return false;
	conn_leave(&oldest->c, "another peer needs the connection");
	return true;
}

/* serve - one accepted socket; consumed */
static void serve(struct rpc_server *s, int fd)
{
	struct server_conn *sc = calloc(1, sizeof(*sc));
	int one = 1, silence_ms = 15000, idle = 30, interval = 5, probes = 3;

	if (!sc)
		goto refuse;
	fill_peer(&sc->peer, fd);
	if (!is_within_quota(s, &sc->peer) || (s->gate && !s->gate(s->gate_arg, &sc->peer)) ||
		!make_room(s, &sc->peer))
		goto refuse;
	conn_init(&sc->c, s->loop, fd);
	sc->c.is_unix = sc->peer.is_unix;
	sc->c.max_fds = s->limits.max_fds;
	sc->c.scratch = s->scratch;
	sc->c.scratch_len = CONN_READ_BYTES;
	sc->c.on_gone = on_gone;
	sc->server = s;
	if (s->tls && !sc->peer.is_unix && !(sc->c.tls = tls_accept(s->tls, fd, "h2")))
		goto refuse;
	if (h2_new(&sc->c.h2, true, &s->limits, &s->mem, &events, &sc->c, loop_now(s->loop)))
		goto refuse;
	if (!sc->peer.is_unix) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		/* a client whose machine vanished is missed within a minute */
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
		/* after an outage TCP may stay silent as long as that lasted: better a new connection */
		setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof(silence_ms));
	}
	list_push(&s->conns, &sc->link);
	s->n_conns++;
	conn_start(&sc->c);
	return;
refuse:
	if (sc)
		tls_free(sc->c.tls);
	free(sc);
	fd_close(fd);
}

static void listener_close(struct listener *ln)
{
	ln->fd = fd_close(ln->fd);
	ln->next_fd = fd_close(ln->next_fd);
}

static void listener_accept(struct listener *ln)
{
	if (ln->next_fd >= 0) {
		fd_close(ln->fd);
		ln->fd = ln->next_fd;
		ln->next_fd = -1;
	}
	loop_accept(ln->server->loop, &ln->accept, ln->fd);
}

static void on_accept(struct loop_op *op, int res)
{
	struct listener *ln = container_of(op, struct listener, accept);
	struct rpc_server *s = ln->server;

	if (s->is_stopping) {
		fd_close(res);
		listener_close(ln);
		check_stopped(s);
		return;
	}
	if (res >= 0) {
		serve(s, res);
	} else if (res != -ECONNABORTED && res != -EINTR && res != -EAGAIN && res != -ECANCELED) {
		/* out of descriptors or memory: trying again at once would be a busy loop */
		LOG_LIMITED(LOG_WARNING, "rpc: cannot accept connections: %s", strerror(-res));
		loop_timer(s->loop, &ln->pause, loop_now(s->loop) + ACCEPT_PAUSE_NS);
		return;
	}
	listener_accept(ln);
}

static void on_pause_over(struct loop_op *op, int res)
{
	struct listener *ln = container_of(op, struct listener, pause);

	if (ln->server->is_stopping) {
		listener_close(ln);
		check_stopped(ln->server);
	} else {
		listener_accept(ln);
	}
}

/* ---- the server -------------------------------------------------------------------------------- */

static void on_done(struct loop_op *op, int res)
{
	struct rpc_server *s = container_of(op, struct rpc_server, done_op);

	s->is_stopped = true;
	if (s->done)
		s->done(s->done_arg);
}

static void on_stop_timer(struct loop_op *op, int res)
{
	struct rpc_server *s = container_of(op, struct rpc_server, stop_timer);

	if (res == -ETIME) {
		if (s->n_conns)
			log_notice("rpc: closing %zu connections that did not finish in time",
				s->n_conns);
		list_for_each_safe (it, &s->conns)
			conn_close(&list_entry(it, struct server_conn, link)->c,
				"the server is stopping");
	}
	check_stopped(s);
}

static void check_stopped(struct rpc_server *s)
{
	if (!s->is_stopping || s->n_conns || loop_op_is_active(&s->done_op) || s->is_stopped)
		return;
	for (size_t i = 0; i < s->n_listeners; i++) {
		if (loop_op_is_active(&s->listeners[i].accept) ||
			loop_op_is_active(&s->listeners[i].pause))
			return;
	}
	if (loop_op_is_active(&s->stop_timer))
		loop_cancel(s->loop, &s->stop_timer);
	else
		loop_post(s->loop, &s->done_op, 0);
}

int rpc_server_new(struct rpc_server **out, struct loop *l, const int *listen_fds, size_t n_fds,
	const struct rpc_service *services, size_t n_services, const struct rpc_limits *limits)
{
	struct rpc_server *s = calloc(1, sizeof(*s));

	if (!s)
		goto fail;
	s->loop = l;
	s->limits = limits ? *limits : rpc_limits_default;
	rpc_limits_complete(&s->limits);
	s->mem = mem_init(s->limits.max_total_bytes);
	s->scratch = malloc(CONN_READ_BYTES);
	s->services = calloc(n_services + 1, sizeof(*services));
	s->listeners = calloc(n_fds + 1, sizeof(*s->listeners));
	if (!s->scratch || !s->services || !s->listeners)
		goto fail;
	if (n_services)
		memcpy(s->services, services, n_services * sizeof(*services));
	s->n_services = n_services;
	list_init(&s->conns);
	loop_op_init(&s->stop_timer, on_stop_timer);
	loop_op_init(&s->done_op, on_done);
	for (size_t i = 0; i < n_fds; i++) {
		struct listener *ln = &s->listeners[s->n_listeners++];

		ln->server = s;
		ln->fd = listen_fds[i];
		ln->next_fd = -1;
		loop_op_init(&ln->accept, on_accept);
		loop_op_init(&ln->pause, on_pause_over);
		loop_accept(l, &ln->accept, ln->fd);
	}
	*out = s;
	return 0;
fail:
	if (s) {
		free(s->scratch);
		free(s->services);
		free(s->listeners);
		free(s);
	}
	for (size_t i = 0; i < n_fds; i++)
		fd_close(listen_fds[i]);
	return -ENOMEM;
}

void rpc_server_move(struct rpc_server *s, size_t i, int fd)
{
	struct listener *ln = &s->listeners[i];

	fd_close(ln->next_fd);
	ln->next_fd = fd;
	if (s->is_stopping)
		return;
	loop_cancel(
		s->loop, &ln->accept); /* one of the two; its callback goes on with the new one */
	loop_cancel(s->loop, &ln->pause);
}

void rpc_server_stop(struct rpc_server *s, uint64_t deadline_ns, void (*done)(void *), void *arg)
{
	if (s->is_stopping)
		return;
	s->is_stopping = true;
	s->done = done;
	s->done_arg = arg;
	for (size_t i = 0; i < s->n_listeners; i++) {
		loop_cancel(s->loop, &s->listeners[i].accept);
		loop_cancel(s->loop, &s->listeners[i].pause);
	}
	list_for_each (it, &s->conns)
		h2_goaway(list_entry(it, struct server_conn, link)->c.h2);
	loop_timer(s->loop, &s->stop_timer, deadline_ns);
	check_stopped(s);
}

struct rpc_server *rpc_server_free(struct rpc_server *s)
{
	if (!s)
		return NULL;
	assert(s->is_stopped);
	mem_trim(&s->mem);
	tls_context_unref(s->tls);
	free(s->scratch);
	free(s->services);
	free(s->listeners);
	free(s);
	return NULL;
}

size_t rpc_server_n_connections(const struct rpc_server *s)
{
	return s->n_conns;
}

void rpc_server_set_tls(struct rpc_server *s, struct tls_context *tls)
{
	tls_context_ref(tls);
	tls_context_unref(s->tls);
	s->tls = tls;
}

void rpc_server_set_gate(
	struct rpc_server *s, bool (*gate)(void *arg, const struct rpc_peer *p), void *arg)
{
	s->gate = gate;
	s->gate_arg = arg;
}

/* ---- calls --------------------------------------------------------------------------------------- */

const struct rpc_peer *rpc_call_peer(const struct rpc_call *c)
{
	return &c->conn->peer;
}

const char *rpc_call_path(const struct rpc_call *c)
{
	return c->method->path;
}

const char *rpc_call_metadata(const struct rpc_call *c, const char *key)
{
	return h2_stream_field(&c->s, key);
}

uint64_t rpc_call_deadline(const struct rpc_call *c)
{
	return c->s.deadline;
}

int rpc_call_take_fd(struct rpc_call *c, unsigned index)
{
	struct conn *k = &c->conn->c;

	if (index >= k->n_fds || k->fds[index] < 0)
		return -ENOENT;
	return take_fd(&k->fds[index]);
}

void rpc_call_set_data(struct rpc_call *c, void *data)
{
	c->data = data;
}

void *rpc_call_data(const struct rpc_call *c)
{
	return c->data;
}

int rpc_call_send(struct rpc_call *c, const void *p, size_t n)
{
	return h2_stream_send(&c->s, (void *)p, n, false);
}

int rpc_call_send_owned(struct rpc_call *c, void *p, size_t n)
{
	return h2_stream_send(&c->s, p, n, true);
}

int rpc_call_send_part(struct rpc_call *c, void *p, size_t n, size_t total)
{
	return h2_stream_send_part(&c->s, p, n, total);
}

void *rpc_call_block(struct rpc_call *c, size_t n)
{
	return mem_block(c->s.mem, n);
}

int rpc_call_send_headers(struct rpc_call *c)
{
	return h2_stream_send_headers(&c->s);
}

bool rpc_call_is_sent(const struct rpc_call *c)
{
	return h2_stream_is_sent(&c->s);
}

size_t rpc_call_queued(const struct rpc_call *c)
{
	return h2_stream_queued(&c->s);
}

int rpc_call_trailer(struct rpc_call *c, const char *key, const char *value)
{
	return h2_stream_add_trailer(&c->s, key, value);
}

void rpc_call_finish(struct rpc_call *c, int status, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	if (fmt) {
		va_start(ap, fmt);
		if (vasprintf(&text, fmt, ap) < 0)
			text = NULL;
		va_end(ap);
	}
	h2_stream_finish(&c->s, status, text);
}

void rpc_call_abort(struct rpc_call *c, int status, const char *message)
{
	if (h2_stream_is_stuck(&c->s))
		conn_close(&c->conn->c, message);
	else
		h2_stream_abort(&c->s, status, message);
}
