/* SPDX-License-Identifier: GPL-2.0-or-later */
/* client.c — channels and requests of a gRPC client. See rpc.h; framing is h2.h.
 *
 * A channel has at most one connection that takes new calls (current); older ones that the server
 * asked to leave (GOAWAY) finish their calls beside it.
 *
 * A request: PENDING ─(a connection has room)─▶ OPEN ─▶ ended, on_done, released
 *               ▲  └──(cancel, deadline, cannot connect)──▶ ENDED, on_done
 *               └───(refused unprocessed)── OPEN
 */
#include "common/rpc/rpc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/rpc/addr.h"
#include "common/rpc/conn.h"
#include "common/rpc/listen.h"

#define CONNECT_TIMEOUT_NS (UINT64_C(3) * 1000000000)
#define CONNECT_RETRY_NS   (UINT64_C(20) * 1000000) /* the queue of a unix listener is full */
#define BACKOFF_FIRST_NS   (UINT64_C(100) * 1000000)
#define BACKOFF_MAX_NS     (UINT64_C(5) * 1000000000)
#define RETRIES            3

struct client_conn {
	struct conn c;
	struct rpc_channel *channel;
	struct list link;
	/* Calls at once that the server seems to bear. gRPC's own servers refuse streams below the
	 * limit that they announced, while they still clear up after earlier ones. */
	size_t max_open, n_answered; /* since max_open changed */
};

struct rpc_channel {
	struct loop *loop;
	struct rpc_limits limits;
	struct mem mem;
	uint8_t *scratch;
	uint8_t *(*read_buffer)(void *arg, size_t *len);
	void *read_arg;
	union {
		struct sockaddr any;
		struct sockaddr_un un;
		struct sockaddr_storage storage;
	} addr;
	struct sockaddr_storage source; /* family 0: as routed */
	socklen_t addr_len;
	char name[128]; /* for messages */
	char *authority;
	uint64_t connect_timeout_ns;
	bool no_backoff;
	struct tls_context *tls;
	char *tls_name;
	int fds[FD_PASS_MAX]; /* owned */
	size_t n_fds;

	struct list conns, pending, ended;
	struct client_conn *current;
	struct heap deadlines;
	size_t n_requests;
	int connect_fd; /* owned; -1 = not connecting */
	struct loop_op connect_op, kick, timer;
	uint64_t timer_at, connect_by, retry_at, backoff_ns, backoff_until;
	char error[TLS_REASON + 160]; /* why the last attempt failed */
	bool is_freed, is_advancing, has_warned;
};

struct rpc_request {
	struct h2_stream s;
	struct rpc_channel *channel;
	struct client_conn *conn; /* valid while open */
	struct list link; /* pending or ended */
	struct heap_node timer;
	struct rpc_handlers h;
	void *arg;
	char *path;
	struct rpc_meta *meta; /* one allocation with its strings */
	size_t n_meta;
	unsigned n_tries;
	bool is_open, is_ended, wants_retry;
};

static struct rpc_request *request_of(struct h2_stream *s)
{
	return container_of(s, struct rpc_request, s);
}

static void kick(struct rpc_channel *c)
{
	if (!c->is_advancing && !loop_op_is_active(&c->kick))
		loop_post(c->loop, &c->kick, 0);
}

/* ---- requests ------------------------------------------------------------------------------------ */

static void request_free(struct rpc_request *r)
{
	r->channel->n_requests--;
	heap_remove(&r->channel->deadlines, &r->timer);
	list_del(&r->link);
	h2_stream_fini(&r->s);
	free(r->path);
	free(r->meta);
	free(r);
}

/* tell - on_done, once */
static void tell(struct rpc_request *r, int status, const char *message)
{
	r->is_ended = true;
	heap_remove(&r->channel->deadlines, &r->timer);
	r->h.on_done(r, r->arg, status, message);
}

/* end_pending - a request that has no stream ends; on_done comes from advance() */
static void end_pending(struct rpc_request *r, int status, const char *message)
{
	r->is_ended = true;
	r->s.is_over = true;
	r->s.status = status;
	r->s.message = strdup(message);
	list_del(&r->link);
	list_push(&r->channel->ended, &r->link);
	kick(r->channel);
}

static void on_message(struct h2_stream *s, const uint8_t *p, size_t n)
{
	struct rpc_request *r = request_of(s);

	if (r->h.on_message)
		r->h.on_message(r, r->arg, p, n);
}

static void on_part(struct h2_stream *s, const uint8_t *p, size_t n, size_t total, size_t at)
{
	struct rpc_request *r = request_of(s);

	r->h.on_part(r, r->arg, p, n, total, at);
}

static void on_drain(struct h2_stream *s)
{
	struct rpc_request *r = request_of(s);

	if (r->h.on_drain)
		r->h.on_drain(r, r->arg);
}

static void on_end(struct h2_stream *s)
{
	struct rpc_request *r = request_of(s);
	struct rpc_channel *c = r->channel;
	const char *message = s->message ? s->message : "";
	char text[512];
	int status = s->status;

	if (s->end == H2_END_REFUSED && s->can_replay && !c->is_freed) {
		size_t n_others = h2_n_streams(r->conn->c.h2) - 1;

		/* with others running it waits for one of them to end; alone, the server does not
		 * want it */
		r->conn->max_open = n_others ? n_others : 1;
		r->conn->n_answered = 0;
		r->wants_retry = n_others || r->n_tries++ < RETRIES;
		if (r->wants_retry)
			return;
	}
	if (s->end == H2_END_STATUS && ++r->conn->n_answered >= r->conn->max_open) {
		r->conn->max_open++;
		r->conn->n_answered = 0;
	}
	if (s->end == H2_END_LOST || s->end == H2_END_REFUSED) {
		snprintf(text, sizeof(text), "%s: %s", c->name, message);
		message = text;
	}
	if (s->end == H2_END_RESET && status == RPC_CANCELLED && loop_now(c->loop) >= s->deadline) {
		status = RPC_DEADLINE_EXCEEDED; /* the server's clock was faster */
		message = "deadline exceeded";
	}
	tell(r, status, message);
}

static void release(struct h2_stream *s)
{
	struct rpc_request *r = request_of(s);

	r->is_open = false;
	if (!r->wants_retry) {
		request_free(r);
		return;
	}
	r->wants_retry = false;
	h2_stream_rewind(s);
	list_push_front(&r->channel->pending, &r->link);
	kick(r->channel);
}

static const struct h2_events events = {
	.on_message = on_message,
	.on_part = on_part,
	.on_drain = on_drain,
	.on_end = on_end,
	.release = release,
	.wake = conn_wake,
};

/* copy_meta - keys and values behind the array, in one block */
static int copy_meta(struct rpc_request *r, const struct rpc_meta *meta, size_t n)
{
	size_t bytes = 0;
	char *p;

	if (!n)
		return 0;
	for (size_t i = 0; i < n; i++)
		bytes += strlen(meta[i].key) + strlen(meta[i].value) + 2;
	r->meta = malloc(n * sizeof(*meta) + bytes);
	if (!r->meta)
		return -ENOMEM;
	r->n_meta = n;
	p = (char *)(r->meta + n);
	for (size_t i = 0; i < n; i++) {
		r->meta[i].key = p;
		p = stpcpy(p, meta[i].key) + 1;
		r->meta[i].value = p;
		p = stpcpy(p, meta[i].value) + 1;
	}
	return 0;
}

/* clock_now - loop_now() is the time of this turn, too old for a caller who worked long in it */
static uint64_t clock_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

struct rpc_request *rpc_request_start(struct rpc_channel *c, const char *path,
	const struct rpc_meta *meta, size_t n_meta, uint64_t timeout_ns,
	const struct rpc_handlers *h, void *arg)
{
	struct rpc_request *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->path = strdup(path);
	if (!r->path || copy_meta(r, meta, n_meta) ||
		heap_reserve(&c->deadlines, c->n_requests + 1)) {
		free(r->path);
		free(r->meta);
		free(r);
		return NULL;
	}
	h2_stream_init(&r->s, &c->mem);
	r->s.max_message_bytes = c->limits.max_message_bytes;
	r->s.takes_parts = h->on_part != NULL;
	r->channel = c;
	r->h = *h;
	r->arg = arg;
	list_push(&c->pending, &r->link);
	c->n_requests++;
	if (timeout_ns && !__builtin_add_overflow(clock_now(), timeout_ns, &r->s.deadline))
		heap_insert(&c->deadlines, &r->timer, r->s.deadline); /* room is reserved */
	else
		r->s.deadline = UINT64_MAX;
	kick(c);
	return r;
}

int rpc_request_send(struct rpc_request *r, const void *p, size_t n)
{
	return h2_stream_send(&r->s, (void *)p, n, false);
}

int rpc_request_send_owned(struct rpc_request *r, void *p, size_t n)
{
	return h2_stream_send(&r->s, p, n, true);
}

void rpc_request_close_send(struct rpc_request *r)
{
	h2_stream_close_send(&r->s);
}

static void end_request(struct rpc_request *r, int status, const char *message)
{
	if (r->is_ended)
		return;
	if (r->is_open)
		h2_stream_cancel(&r->s, status, message);
	else
		end_pending(r, status, message);
}

void rpc_request_cancel(struct rpc_request *r)
{
	end_request(r, RPC_CANCELLED, "cancelled by the caller");
}

size_t rpc_request_queued(const struct rpc_request *r)
{
	return h2_stream_queued(&r->s);
}

const char *rpc_request_trailer(const struct rpc_request *r, const char *key)
{
	return h2_stream_field(&r->s, key);
}

struct rpc_request *rpc_unary(struct rpc_channel *c, const char *path, const void *p, size_t n,
	uint64_t timeout_ns, const struct rpc_handlers *h, void *arg)
{
	struct rpc_request *r = rpc_request_start(c, path, NULL, 0, timeout_ns, h, arg);

	if (!r)
		return NULL;
	if (rpc_request_send(r, p, n)) {
		request_free(r); /* pending: nobody else knows it yet */
		return NULL;
	}
	rpc_request_close_send(r);
	return r;
}

/* ---- connecting -------------------------------------------------------------------------------- */

static void advance(struct rpc_channel *c);

static void set_backoff(struct rpc_channel *c)
{
	uint64_t ns = c->backoff_ns ? c->backoff_ns * 2 : BACKOFF_FIRST_NS;

	if (c->no_backoff)
		return;
	c->backoff_ns = ns < BACKOFF_MAX_NS ? ns : BACKOFF_MAX_NS;
	/* up to a fifth less, so that clients of a restarted server do not come back together */
	c->backoff_until =
		loop_now(c->loop) + c->backoff_ns - (uint64_t)random() % (c->backoff_ns / 5);
}

static void fail_pending(struct rpc_channel *c)
{
	while (!list_empty(&c->pending))
		end_pending(list_entry(c->pending.next, struct rpc_request, link), RPC_UNAVAILABLE,
			c->error);
}

static void connect_failed(struct rpc_channel *c, const char *why)
{
	snprintf(c->error, sizeof(c->error), "cannot connect to %s: %s", c->name, why);
	c->connect_fd = fd_close(c->connect_fd);
	c->retry_at = UINT64_MAX;
	set_backoff(c);
	fail_pending(c);
}

static void on_gone(struct conn *k)
{
	struct client_conn *cc = container_of(k, struct client_conn, c);
	struct rpc_channel *c = cc->channel;

	if (c->current == cc)
		c->current = NULL;
	list_del(&cc->link);
	free(cc);
	advance(c);
}

/* warn_tls - once, until it works: whoever dials tries again and again */
static void warn_tls(struct rpc_channel *c, const struct conn *k)
{
	if (!c->tls || !tls_reason(k->tls)[0] || c->has_warned)
		return;
	c->has_warned = true;
	log_warning("rpc: no TLS with %s: %s", c->name, tls_reason(k->tls));
}

static void on_turn(struct conn *k)
{
	struct client_conn *cc = container_of(k, struct client_conn, c);
	struct rpc_channel *c = cc->channel;

	if (h2_is_ready(k->h2)) {
		c->backoff_ns = 0;
		c->has_warned = false;
	} else if (h2_is_dead(k->h2) && c->current == cc) {
		/* it accepted, and hung up before it said hello */
		c->current = NULL;
		warn_tls(c, k);
		connect_failed(c, k->reason[0] ? k->reason : h2_reason(k->h2));
	}
	if (c->current == cc && h2_is_draining(k->h2))
		c->current = NULL;
	advance(c);
}

static void begin_connection(struct rpc_channel *c)
{
	struct client_conn *cc = calloc(1, sizeof(*cc));
	struct rpc_limits l = c->limits;
	int one = 1, silence_ms = 15000;

	l.handshake_ns = c->connect_timeout_ns;
	if (!cc)
		goto fail;
	conn_init(&cc->c, c->loop, c->connect_fd);
	cc->c.is_unix = c->addr.any.sa_family == AF_UNIX;
	cc->c.scratch = c->scratch;
	cc->c.scratch_len = CONN_READ_BYTES;
	cc->c.next_scratch = c->read_buffer;
	cc->c.scratch_arg = c->read_arg;
	cc->c.send_fds = c->fds;
	cc->c.n_send_fds = c->n_fds;
	cc->c.on_gone = on_gone;
	cc->c.on_turn = on_turn;
	cc->channel = c;
	cc->max_open = SIZE_MAX;
	if (c->tls && !(cc->c.tls = tls_connect(c->tls, c->connect_fd, "h2", c->tls_name)))
		goto fail;
	if (h2_new(&cc->c.h2, false, &l, &c->mem, &events, &cc->c, loop_now(c->loop)))
		goto fail;
	if (!cc->c.is_unix) {
		setsockopt(cc->c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		setsockopt(cc->c.fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
		/* after an outage TCP may stay silent as long as that lasted: better a new connection */
		setsockopt(
			cc->c.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof(silence_ms));
	}
	c->connect_fd = -1;
	list_push(&c->conns, &cc->link);
	c->current = cc;
	conn_start(&cc->c);
	return;
fail:
	if (cc)
		tls_free(cc->c.tls);
	free(cc);
	connect_failed(c, strerror(ENOMEM));
}

static void on_connected(struct loop_op *op, int res)
{
	struct rpc_channel *c = container_of(op, struct rpc_channel, connect_op);
	uint64_t now = loop_now(c->loop);

	if (c->is_freed)
		c->connect_fd = fd_close(c->connect_fd);
	else if (res == -EAGAIN && now < c->connect_by)
		c->retry_at = now + CONNECT_RETRY_NS;
	else if (res == -ECANCELED || (res < 0 && now >= c->connect_by))
		connect_failed(c, "no answer in time");
	else if (res < 0)
		connect_failed(c, strerror(-res));
	else
		begin_connection(c);
	advance(c);
}

static void begin_connect(struct rpc_channel *c)
{
	c->connect_fd =
		socket(c->addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->connect_fd < 0) {
		connect_failed(c, strerror(errno));
		return;
	}
	rpc_bind_source(c->connect_fd, (struct sockaddr *)&c->source, c->addr.any.sa_family);
	c->connect_by = loop_now(c->loop) + c->connect_timeout_ns;
	loop_connect(c->loop, &c->connect_op, c->connect_fd, &c->addr.any, c->addr_len);
}

/* ---- the channel --------------------------------------------------------------------------------- */

/* has_room - the connection takes one more call */
static bool has_room(const struct rpc_channel *c)
{
	return c->current && h2_can_open(c->current->c.h2) &&
	       h2_n_streams(c->current->c.h2) < c->current->max_open;
}

static void open_pending(struct rpc_channel *c)
{
	while (!list_empty(&c->pending) && has_room(c)) {
		struct rpc_request *r = list_entry(c->pending.next, struct rpc_request, link);
		uint64_t now = loop_now(c->loop), left = 0;
		int e;

		if (r->s.deadline != UINT64_MAX)
			left = r->s.deadline > now ? r->s.deadline - now : 1;
		e = h2_open(
			c->current->c.h2, &r->s, r->path, c->authority, r->meta, r->n_meta, left);
		if (e == -EAGAIN)
			return;
		if (e) {
			end_pending(r, RPC_INTERNAL,
				e == -EINVAL
					? "request metadata is not printable ASCII, or too much"
					: strerror(-e));
			continue;
		}
		list_del(&r->link);
		r->is_open = true;
		r->conn = c->current;
	}
}

static void tell_ended(struct rpc_channel *c)
{
	struct list *it;

	while ((it = list_pop(&c->ended))) {
		struct rpc_request *r = list_entry(it, struct rpc_request, link);

		tell(r, r->s.status, r->s.message ? r->s.message : "");
		request_free(r);
	}
}

static void shut(struct rpc_channel *c)
{
	while (!list_empty(&c->pending))
		end_pending(list_entry(c->pending.next, struct rpc_request, link), RPC_CANCELLED,
			"the channel was closed");
	list_for_each_safe (it, &c->conns) {
		struct h2 *h = list_entry(it, struct client_conn, link)->c.h2;

		h2_cancel_all(h, RPC_CANCELLED, "the channel was closed");
		conn_close(&list_entry(it, struct client_conn, link)->c, "the channel was closed");
	}
	loop_cancel(c->loop, &c->connect_op);
	loop_cancel(c->loop, &c->timer);
	if (!loop_op_is_active(&c->connect_op))
		c->connect_fd = fd_close(c->connect_fd);
}

static bool is_idle(const struct rpc_channel *c)
{
	return list_empty(&c->conns) && !c->n_requests && !loop_op_is_active(&c->connect_op) &&
	       !loop_op_is_active(&c->kick) && !loop_op_is_active(&c->timer);
}

static void arm(struct rpc_channel *c)
{
	const struct heap_node *first = heap_first(&c->deadlines);
	uint64_t at = first ? first->key : UINT64_MAX;

	if (loop_op_is_active(&c->connect_op) && c->connect_by < at)
		at = c->connect_by;
	if (c->retry_at < at)
		at = c->retry_at;
	if (!loop_op_is_active(&c->timer)) {
		c->timer_at = at;
		if (at != UINT64_MAX)
			loop_timer(c->loop, &c->timer, at);
	} else if (at < c->timer_at) {
		c->timer_at = at;
		loop_cancel(c->loop, &c->timer); /* its callback arms it again */
	}
}

static void destroy(struct rpc_channel *c)
{
	for (size_t i = 0; i < c->n_fds; i++)
		fd_close(c->fds[i]);
	mem_trim(&c->mem);
	heap_fini(&c->deadlines);
	tls_context_unref(c->tls);
	free(c->tls_name);
	free(c->scratch);
	free(c->authority);
	free(c);
}

/* advance - do whatever can be done now; the only place where a channel decides. It may free @c. */
static void advance(struct rpc_channel *c)
{
	if (c->is_advancing)
		return;
	c->is_advancing = true;
	if (c->is_freed)
		shut(c);
	else
		open_pending(c);
	if (!list_empty(&c->pending) && !c->current && c->connect_fd < 0) {
		if (loop_now(c->loop) < c->backoff_until)
			fail_pending(c);
		else
			begin_connect(c);
	}
	tell_ended(c);
	c->is_advancing = false;
	if (c->is_freed) {
		if (is_idle(c))
			destroy(c);
		else if (!list_empty(&c->ended) || !list_empty(&c->pending))
			kick(c);
		return;
	}
	if (!list_empty(&c->ended) ||
		(!list_empty(&c->pending) && !c->current && c->connect_fd < 0) ||
		(!list_empty(&c->pending) && has_room(c)))
		kick(c); /* what on_done added */
	arm(c);
}

static void on_kick(struct loop_op *op, int res)
{
	advance(container_of(op, struct rpc_channel, kick));
}

static void on_timer(struct loop_op *op, int res)
{
	struct rpc_channel *c = container_of(op, struct rpc_channel, timer);
	uint64_t now = loop_now(c->loop);
	struct heap_node *first;

	while ((first = heap_first(&c->deadlines)) && first->key <= now) {
		struct rpc_request *r = container_of(first, struct rpc_request, timer);
		char text[256] = "deadline exceeded";

		heap_remove(&c->deadlines, first);
		if (!r->is_open && !c->current)
			snprintf(text, sizeof(text), "deadline exceeded while connecting to %s",
				c->name);
		end_request(r, RPC_DEADLINE_EXCEEDED, text);
	}
	if (!c->is_freed && loop_op_is_active(&c->connect_op) && now >= c->connect_by)
		loop_cancel(c->loop, &c->connect_op);
	if (!c->is_freed && now >= c->retry_at) {
		c->retry_at = UINT64_MAX;
		loop_connect(c->loop, &c->connect_op, c->connect_fd, &c->addr.any, c->addr_len);
	}
	advance(c);
}

static int channel_new(struct rpc_channel **out, struct loop *l, const struct sockaddr *sa,
	socklen_t len, const struct rpc_channel_options *o)
{
	struct rpc_channel *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->loop = l;
	c->limits = o && o->limits ? *o->limits : rpc_limits_default;
	rpc_limits_complete(&c->limits);
	c->mem = mem_init(SIZE_MAX);
	c->connect_timeout_ns =
		o && o->connect_timeout_ns ? o->connect_timeout_ns : CONNECT_TIMEOUT_NS;
	c->no_backoff = o && o->no_backoff;
	c->read_buffer = o ? o->read_buffer : NULL;
	c->read_arg = o ? o->read_arg : NULL;
	memcpy(&c->addr, sa, len);
	c->addr_len = len;
	if (o && o->source && o->source->sa_family == sa->sa_family)
		memcpy(&c->source, o->source, len);
	c->connect_fd = -1;
	c->retry_at = UINT64_MAX;
	list_init(&c->conns);
	list_init(&c->pending);
	list_init(&c->ended);
	loop_op_init(&c->connect_op, on_connected);
	loop_op_init(&c->kick, on_kick);
	loop_op_init(&c->timer, on_timer);
	if (sa->sa_family == AF_UNIX)
		snprintf(c->name, sizeof(c->name), "unix:%s", c->addr.un.sun_path);
	else
		addr_format(sa, c->name, sizeof(c->name));
	c->scratch = malloc(CONN_READ_BYTES);
	c->authority = strdup(o && o->authority          ? o->authority
			      : sa->sa_family == AF_UNIX ? "localhost"
							 : c->name);
	if (o && o->tls && sa->sa_family != AF_UNIX) {
		char ip[INET6_ADDRSTRLEN];

		c->tls = tls_context_ref(o->tls);
		c->tls_name = strdup(o->tls_name ? o->tls_name : addr_ip(sa, ip));
	}
	if (!c->scratch || !c->authority || (c->tls && !c->tls_name)) {
		destroy(c);
		return -ENOMEM;
	}
	*out = c;
	return 0;
}

int rpc_channel_new_unix(struct rpc_channel **out, struct loop *l, const char *path,
	const struct rpc_channel_options *o)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	strcpy(un.sun_path, path);
	return channel_new(out, l, (struct sockaddr *)&un, sizeof(un), o);
}

int rpc_channel_new_tcp(struct rpc_channel **out, struct loop *l, const struct sockaddr *sa,
	socklen_t len, const struct rpc_channel_options *o)
{
	if ((sa->sa_family != AF_INET && sa->sa_family != AF_INET6) ||
		len > sizeof(struct sockaddr_storage))
		return -EAFNOSUPPORT;
	return channel_new(out, l, sa, len, o);
}

int rpc_channel_attach_fds(struct rpc_channel *c, const int *fds, size_t n)
{
	if (c->addr.any.sa_family != AF_UNIX)
		return -EAFNOSUPPORT;
	if (n > FD_PASS_MAX - c->n_fds)
		return -E2BIG;
	for (size_t i = 0; i < n; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);

		if (fd < 0)
			return -errno;
		c->fds[c->n_fds++] = fd;
	}
	return 0;
}

struct rpc_channel *rpc_channel_free(struct rpc_channel *c)
{
	if (c) {
		c->is_freed = true;
		kick(c);
	}
	return NULL;
}

bool rpc_channel_is_connected(const struct rpc_channel *c)
{
	return c->current && h2_is_ready(c->current->c.h2);
}
