/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/http.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"

struct connection {
	struct http_server *s;
	struct list link;
	int fd;
	struct loop_op io, timer;
	char in[HTTP_REQUEST_MAX];
	size_t n_in;
	struct buf out;
	bool is_answering, is_over;
};

struct http_server {
	struct loop *loop;
	int fd;
	http_page_fn page;
	void *arg;
	struct loop_op accept, retry;
	struct list connections;
	unsigned n_connections;
	void (*gone)(void *arg);
	void *gone_arg;
	bool is_closing;
};

/* ---- the request ------------------------------------------------------------------------------- */

int http_parse(const char *p, size_t n, const char **path, size_t *path_len, bool *is_head)
{
	const char *end = memmem(p, n, "\r\n\r\n", 4), *sp, *q;
	size_t line;

	*is_head = false;
	if (memchr(p, 0, n))
		return 400;
	if (!end)
		return 0;
	line = (size_t)((const char *)memmem(p, n, "\r\n", 2) - p);
	if (line >= 5 && !memcmp(p, "HEAD ", 5)) {
		*is_head = true;
		q = p + 5;
	} else if (line >= 4 && !memcmp(p, "GET ", 4)) {
		q = p + 4;
	} else {
		sp = memchr(p, ' ', line);
		return sp && sp > p ? 405 : 400;
	}
	sp = memchr(q, ' ', line - (size_t)(q - p));
	if (!sp || sp == q || *q != '/')
		return 400;
	*path = q;
	*path_len = (size_t)(sp - q);
	if (memchr(q, '?', *path_len))
		*path_len = (size_t)((const char *)memchr(q, '?', *path_len) - q);
	sp++;
	line -= (size_t)(sp - p);
	if (line != 8 || memcmp(sp, "HTTP/1.", 7) != 0)
		return line >= 5 && !memcmp(sp, "HTTP/", 5) ? 505 : 400;
	return 200;
}

static const char *reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 431:
		return "Request Header Fields Too Large";
	case 503:
		return "Service Unavailable";
	case 505:
		return "HTTP Version Not Supported";
	}
	return "Bad Request";
}

/* ---- connections ------------------------------------------------------------------------------- */

static void start_accept(struct http_server *s);

static void server_settle(struct http_server *s)
{
	if (!s->is_closing || s->n_connections || loop_op_is_active(&s->accept) ||
		loop_op_is_active(&s->retry))
		return;
	fd_close(s->fd);
	if (s->gone)
		s->gone(s->gone_arg);
	free(s);
}

static void connection_settle(struct connection *c)
{
	struct http_server *s = c->s;

	if (!c->is_over || loop_op_is_active(&c->io) || loop_op_is_active(&c->timer))
		return;
	list_del(&c->link);
	fd_close(c->fd);
	buf_fini(&c->out);
	free(c);
	s->n_connections--;
	if (s->is_closing)
		server_settle(s);
	else
		start_accept(s);
}

static void connection_end(struct connection *c)
{
	c->is_over = true;
	loop_cancel(c->s->loop, &c->io);
	loop_cancel(c->s->loop, &c->timer);
	connection_settle(c);
}

static void answer(
	struct connection *c, int status, const char *path, size_t path_len, bool is_head)
{
	_cleanup_buf_ struct buf body = {0};
	const char *type = "text/plain; charset=utf-8";

	if (status == 200)
		status = c->s->page(c->s->arg, path, path_len, &body, &type);
	buf_addf(&c->out,
		"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		"Connection: close\r\n%s\r\n",
		status, reason(status), type, body.len,
		status == 405 ? "Allow: GET, HEAD\r\n" : "");
	if (!is_head)
		buf_add(&c->out, body.data, body.len);
	c->is_answering = true;
	if (!buf_ok(&c->out) || !buf_ok(&body))
		connection_end(c);
	else
		loop_send(c->s->loop, &c->io, c->fd, c->out.data, c->out.len);
}

static void on_io(struct loop_op *op, int res)
{
	struct connection *c = container_of(op, struct connection, io);
	const char *path = NULL;
	size_t path_len = 0;
	bool is_head = false;
	int status;

	if (c->is_over) {
		connection_settle(c);
		return;
	}
	if (c->is_answering) {
		if (res > 0)
			buf_consume(&c->out, (size_t)res);
		if (res <= 0 || !c->out.len) {
			shutdown(c->fd, SHUT_WR);
			connection_end(c);
		} else {
			loop_send(c->s->loop, &c->io, c->fd, c->out.data, c->out.len);
		}
		return;
	}
	if (res <= 0) {
		connection_end(c);
		return;
	}
	c->n_in += (size_t)res;
	status = http_parse(c->in, c->n_in, &path, &path_len, &is_head);
	if (!status && c->n_in == sizeof(c->in))
		status = 431;
	if (status)
		answer(c, status, path, path_len, is_head);
	else
		loop_recv(c->s->loop, &c->io, c->fd, c->in + c->n_in, sizeof(c->in) - c->n_in);
}

static void on_timer(struct loop_op *op, int res)
{
	struct connection *c = container_of(op, struct connection, timer);

	if (c->is_over)
		connection_settle(c);
	else
		connection_end(c);
}

static void on_accept(struct loop_op *op, int res)
{
	struct http_server *s = container_of(op, struct http_server, accept);
	struct connection *c;

	if (s->is_closing) {
		if (res >= 0)
			fd_close(res);
		server_settle(s);
		return;
	}
	c = res >= 0 ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		if (res >= 0)
			fd_close(res);
		/* no descriptors or no memory: they may come back */
		loop_timer(s->loop, &s->retry, loop_now(s->loop) + 100000000u);
		return;
	}
	c->s = s;
	c->fd = res;
	loop_op_init(&c->io, on_io);
	loop_op_init(&c->timer, on_timer);
	list_init(&c->link);
	list_push(&s->connections, &c->link);
	s->n_connections++;
	loop_timer(s->loop, &c->timer, loop_now(s->loop) + HTTP_TIMEOUT_NS);
	loop_recv(s->loop, &c->io, c->fd, c->in, sizeof(c->in));
	start_accept(s);
}

static void on_retry(struct loop_op *op, int res)
{
	struct http_server *s = container_of(op, struct http_server, retry);

	if (s->is_closing)
		server_settle(s);
	else
		start_accept(s);
}

static void start_accept(struct http_server *s)
{
	if (!s->is_closing && s->n_connections < HTTP_CONNECTIONS &&
		!loop_op_is_active(&s->accept) && !loop_op_is_active(&s->retry))
		loop_accept(s->loop, &s->accept, s->fd);
}

int http_server_new(
	struct http_server **out, struct loop *l, int listen_fd, http_page_fn page, void *arg)
{
	struct http_server *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->loop = l;
	s->fd = listen_fd;
	s->page = page;
	s->arg = arg;
	list_init(&s->connections);
	loop_op_init(&s->accept, on_accept);
	loop_op_init(&s->retry, on_retry);
	start_accept(s);
	*out = s;
	return 0;
}

void http_server_close(struct http_server *s, void (*gone)(void *arg), void *arg)
{
	s->is_closing = true;
	s->gone = gone;
	s->gone_arg = arg;
	loop_cancel(s->loop, &s->accept);
	loop_cancel(s->loop, &s->retry);
	list_for_each_safe (it, &s->connections)
		connection_end(list_entry(it, struct connection, link));
	/* one of accept, retry and the connections' timers is always in flight: its end settles */
}
