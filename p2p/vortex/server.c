/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vortex/server.c — see server.h. A connection is one struct vortex_request, because it has at most
 * one request at a time:
 *
 *   READ ──▶ FIND ──▶ (QUEUED) ──▶ SEND ──▶ READ     child of our kind
 *                                    └────▶ LINGER   upstream child: end of stream, then its end
 *   any ──▶ CLOSED: operations are cancelled, freed with the last callback
 *
 * In LINGER the child's remaining bytes are read and thrown away: closing with unread bytes would
 * reset the connection and could destroy what the child has not read yet. */
#include "p2p/vortex/server.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>
#include <linux/magic.h>

#include "common/cleanup.h"
#include "common/deadline.h"
#include "common/log.h"
#include "common/tls.h"
#include "p2p/bucket.h"

#define SECOND          1000000000ull
#define CHUNK           (1u << 20) /* sent per turn of one transfer */
#define LINGER_NS       (2 * SECOND)
#define LINGER_BYTES    4096u
#define ACCEPT_RETRY_NS (SECOND / 10)
#define RATE_MIN        (64u << 10) /* bytes per second that a child must take over time */

enum state { READ, FIND, QUEUED, SEND, LINGER, CLOSED };
static const char *const state_names[] = {"read", "find", "queued", "send", "linger", "closed"};

/* what one address has taken; as long as it has a connection */
struct account {
	struct list link;
	struct sockaddr_storage addr; /* without port */
	unsigned n_connections;
	uint64_t served; /* bytes, or rather virtual time: who has least is next */
};

struct vortex_request {
	struct account *account;
	bool has_turn; /* the others that wait for tokens are not before it */
	struct vortex_server *s;
	enum state state;
	int fd;
	struct tls *tls; /* NULL: plaintext */
	struct list all, place; /* in s->all; in s->idle, s->waiting or s->throttled */
	struct loop_op recv, io, watch; /* request bytes; one step of the answer; the child going */
	struct deadline deadline;
	uint8_t in[VORTEX_REQUEST_SIZE];
	size_t n_in, n_discarded;
	struct vortex_download want;
	bool has_request; /* done() is owed */
	bool has_slot, was_served;
	void *data;
	/* the answer */
	uint8_t out[VORTEX_HEADER_SIZE + VORTEX_VALUE_MAX];
	size_t n_out, out_at;
	bool is_piece; /* content follows the frame */
	bool is_starved; /* all that is available was sent: vortex_grown() goes on */
	struct vortex_piece piece;
	uint32_t sent, chunk; /* content; the step under way on a pool thread */
	uint64_t blocked_ns, blocked_since; /* time the child kept us waiting in this answer */
	struct sockaddr_storage child;
};

struct vortex_server {
	struct loop *loop;
	int listen_fd, next_fd; /* next: takes its place, -1 none */
	const struct vortex_source_ops *ops;
	void *arg;
	struct vortex_server_limits limits;
	struct bucket bucket;
	struct tls_context *tls;
	struct list all, idle, waiting, throttled; /* idle: in READ, longest first */
	struct list accounts;
	uint64_t served; /* of the account whose turn it was last */
	struct loop_op accept, gone_op;
	struct deadline accept_retry, tokens;
	struct vortex_server_stats stats;
	bool is_closing;
	void (*gone)(void *arg);
	void *gone_arg;
};

static void step(struct vortex_request *c);
static void start_accept(struct vortex_server *s);

static const char *child_name(const struct vortex_request *c, char out[NI_MAXHOST])
{
	if (getnameinfo((const struct sockaddr *)&c->child, sizeof(c->child), out, NI_MAXHOST, NULL,
		    0, NI_NUMERICHOST))
		strcpy(out, "local");
	return out;
}

/* ---- the end of connections and of the server ------------------------------------------------ */

static void server_check_gone(struct vortex_server *s)
{
	if (s->is_closing && list_empty(&s->all) && !loop_op_is_active(&s->accept) &&
		!deadline_is_active(&s->accept_retry) && !deadline_is_active(&s->tokens) &&
		!loop_op_is_active(&s->gone_op))
		loop_post(s->loop, &s->gone_op, 0);
}

static void on_gone(struct loop_op *op, int res)
{
	struct vortex_server *s = container_of(op, struct vortex_server, gone_op);
	void (*gone)(void *arg) = s->gone;
	void *arg = s->gone_arg;

	fd_close(s->listen_fd);
	fd_close(s->next_fd);
	tls_context_unref(s->tls);
	free(s);
	if (gone)
		gone(arg);
}

static void release_slot(struct vortex_request *c)
{
	struct vortex_server *s = c->s;
	struct list *n;

	if (!c->has_slot)
		return;
	c->has_slot = false;
	s->stats.n_sending--;
	while (s->stats.n_sending < s->limits.max_sending && (n = list_pop(&s->waiting))) {
		struct vortex_request *next = container_of(n, struct vortex_request, place);

		s->stats.n_waiting--;
		s->stats.n_sending++;
		next->has_slot = true;
		next->state = SEND;
		loop_post(s->loop, &next->io, 0);
	}
}

/* end_request - tell the source, once; no operation may use its descriptor any more */
static void end_request(struct vortex_request *c, bool whole)
{
	release_slot(c);
	c->has_request = false;
	whole = whole && c->is_piece; /* a refusal is not a piece */
	c->s->stats.n_pieces += whole;
	c->s->ops->done(c->s->arg, c, c->sent, whole);
}

static void conn_close(struct vortex_request *c)
{
	if (c->state == CLOSED)
		return;
	if (c->state == QUEUED)
		c->s->stats.n_waiting--;
	list_del(&c->place);
	c->state = CLOSED;
	c->s->stats.n_connections--;
	release_slot(c);
	loop_cancel(c->s->loop, &c->recv);
	loop_cancel(c->s->loop, &c->io);
	loop_cancel(c->s->loop, &c->watch);
	deadline_stop(&c->deadline);
	start_accept(c->s);
}

static void drop(struct vortex_request *c, const char *why)
{
	char name[NI_MAXHOST];

	if (c->tls && tls_reason(c->tls)[0])
		why = tls_reason(c->tls);
	c->s->stats.n_dropped++;
	LOG_LIMITED(LOG_WARNING, "vortex: connection dropped, %s child=%s state=%s", why,
		child_name(c, name), state_names[c->state]);
	conn_close(c);
}

/* conn_check_gone - at the end of each callback: free a closed connection after its last one */
static void conn_check_gone(struct vortex_request *c)
{
	struct vortex_server *s = c->s;

	if (c->state != CLOSED || loop_op_is_active(&c->recv) || loop_op_is_active(&c->io) ||
		loop_op_is_active(&c->watch) || deadline_is_active(&c->deadline))
		return;
	if (c->has_request)
		end_request(c, false);
	tls_free(c->tls);
	fd_close(c->fd);
	list_del(&c->all);
	if (!--c->account->n_connections) {
		list_del(&c->account->link);
		free(c->account);
	}
	free(c);
	server_check_gone(s);
}

/* ---- reading a request ------------------------------------------------------------------------ */

static void read_more(struct vortex_request *c)
{
	tls_recv(c->tls, c->s->loop, &c->recv, c->fd, c->in + c->n_in, sizeof(c->in) - c->n_in);
}

static void begin_request(struct vortex_request *c)
{
	uint64_t now = loop_now(c->s->loop);

	c->state = READ;
	c->n_in = 0;
	c->data = NULL;
	list_push(&c->s->idle, &c->place);
	deadline_set(&c->deadline, now + (c->was_served ? c->s->limits.idle_timeout_ns
							: c->s->limits.request_timeout_ns));
	read_more(c);
	start_accept(c->s); /* a full server has somebody to spare now … */
}

static void on_watch(struct loop_op *op, int res)
{
	struct vortex_request *c = container_of(op, struct vortex_request, watch);

	/* RDHUP is reported unasked by io_uring: see on_request() for what it means */
	if (c->state != CLOSED && (c->want.keep || res & (POLLERR | POLLHUP)))
		conn_close(c); /* the child went: nothing to say about it */
	conn_check_gone(c);
}

static void on_request(struct vortex_request *c)
{
	list_del(&c->place);
	start_accept(c->s); /* … and perhaps nobody any more */
	c->state = FIND;
	c->has_request = true;
	c->is_piece = c->is_starved = false;
	c->n_out = c->out_at = 0;
	c->sent = c->chunk = 0;
	c->blocked_ns = c->blocked_since = 0;
	deadline_set(&c->deadline, UINT64_MAX);
	/* A child of ours that goes away shows as the end of its stream. An upstream child may end its
	 * side after the request and still wait for the answer: only a broken connection counts. */
	if (!loop_op_is_active(&c->watch))
		loop_poll(c->s->loop, &c->watch, c->fd, c->want.keep ? POLLRDHUP : 0);
	c->s->ops->find(c->s->arg, c, c->want.task_id, c->want.number);
}

/* on_bytes - c->in has grown */
static void on_bytes(struct vortex_request *c)
{
	struct vortex_header h;

	if (c->n_in < VORTEX_HEADER_SIZE) {
		read_more(c);
		return;
	}
	if (vortex_header_parse(c->in, &h) == 0 && h.tag == VORTEX_TAG_CLOSE && h.length == 0) {
		conn_close(c);
	} else if ((h.tag != VORTEX_TAG_PERSISTENT_CACHE_REQUEST &&
			   h.tag != VORTEX_TAG_KEEP_REQUEST) ||
		   h.length != VORTEX_REQUEST_SIZE - VORTEX_HEADER_SIZE) {
		drop(c, "not a request for a piece of a persistent cache task");
	} else if (c->n_in < sizeof(c->in)) {
		read_more(c);
	} else if (vortex_download_parse(h.tag, c->in + VORTEX_HEADER_SIZE, h.length, &c->want)) {
		drop(c, "a request that does not parse");
	} else {
		on_request(c);
	}
}

static void on_recv(struct loop_op *op, int res)
{
	struct vortex_request *c = container_of(op, struct vortex_request, recv);

	if (tls_again(c->tls, c->s->loop, op, &res))
		return;
	if (c->state == LINGER) {
		c->n_discarded += res > 0 ? (size_t)res : 0;
		if (res <= 0 || c->n_discarded > LINGER_BYTES)
			conn_close(c);
		else
			tls_recv(c->tls, c->s->loop, &c->recv, c->fd, c->in, sizeof(c->in));
	} else if (c->state == READ && res > 0) {
		if (!c->n_in && c->was_served) /* the first byte of the next request */
			deadline_set(&c->deadline,
				loop_now(c->s->loop) + c->s->limits.request_timeout_ns);
		c->n_in += (size_t)res;
		on_bytes(c);
	} else if (c->state == READ) {
		if (c->n_in || (c->tls && tls_reason(c->tls)[0]))
			drop(c, "ended within a request");
		else
			conn_close(c);
	}
	conn_check_gone(c);
}

static void on_deadline(struct deadline *d, bool expired)
{
	struct vortex_request *c = container_of(d, struct vortex_request, deadline);

	if (expired && c->state == READ && c->was_served && !c->n_in) {
		conn_close(c);
	} else if (expired && c->state == READ) {
		drop(c, "no whole request in the time allowed");
	} else if (expired && c->state == SEND) {
		c->s->stats.n_stalled++;
		drop(c, "takes its bytes too slowly");
	} else if (expired) {
		conn_close(c);
	}
	conn_check_gone(c);
}

/* ---- answering -------------------------------------------------------------------------------- */

/* answer - rq->out is filled */
static void answer(struct vortex_request *c)
{
	c->state = SEND;
	loop_post(c->s->loop, &c->io, 0); /* never from inside the source's call */
}

void vortex_refuse(struct vortex_request *rq, enum vortex_error code, const char *fmt, ...)
{
	char message[256];
	va_list ap;

	if (rq->state != FIND)
		return; /* the child went; done() is on its way */
	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	rq->s->stats.n_refused++;
	rq->n_out = vortex_failure_encode(
		rq->out, sizeof(rq->out), (uint8_t)rq->want.number, (uint8_t)code, message);
	answer(rq);
}

bool vortex_reply(struct vortex_request *rq, const struct vortex_piece *p)
{
	struct vortex_server *s = rq->s;
	struct vortex_content f = {
		.number = rq->want.number,
		.offset = p->offset,
		.length = p->length,
		.traffic_type = 1, /* a remote peer */
		.cost_s = p->cost_s,
		.created_s = p->created_s,
	};

	if (rq->state != FIND)
		return false;
	if (s->stats.n_sending >= s->limits.max_sending && rq->want.keep) {
		s->stats.n_busy++;
		vortex_refuse(rq, VORTEX_E_INTERNAL, VORTEX_BUSY_MESSAGE);
		return false;
	}
	if (p->has_crc32)
		snprintf(f.digest, sizeof(f.digest), "crc32:%" PRIu32, p->crc32);
	snprintf(f.parent_id, sizeof(f.parent_id), "%s", p->parent_id);
	rq->n_out = vortex_content_encode(rq->out, sizeof(rq->out), (uint8_t)rq->want.number, &f);
	rq->piece = *p;
	rq->piece.parent_id = NULL; /* was copied; not ours to keep */
	rq->is_piece = true;
	if (!p->is_arriving)
		rq->piece.available = p->length;
	if (s->stats.n_sending < s->limits.max_sending) {
		s->stats.n_sending++;
		rq->has_slot = true;
		answer(rq);
	} else {
		rq->state = QUEUED;
		s->stats.n_waiting++;
		list_push(&s->waiting, &rq->place);
	}
	return true;
}

void vortex_grown(struct vortex_request *rq, uint32_t available)
{
	if (rq->state != SEND && rq->state != QUEUED)
		return;
	rq->piece.available = available < rq->piece.length ? available : rq->piece.length;
	if (!rq->is_starved || rq->piece.available <= rq->sent)
		return;
	rq->is_starved = false;
	loop_post(rq->s->loop, &rq->io, 0);
}

void vortex_give_up(struct vortex_request *rq)
{
	if (rq->state == CLOSED || !rq->is_piece) /* a refusal is on its way */
		return;
	if (!rq->out_at && rq->state == SEND) { /* nothing was said yet: so this instead */
		rq->is_piece = false;
		rq->n_out = vortex_failure_encode(rq->out, sizeof(rq->out),
			(uint8_t)rq->want.number, VORTEX_E_INTERNAL, VORTEX_BUSY_MESSAGE);
		return;
	}
	conn_close(rq);
	if (!loop_op_is_active(&rq->io)) /* its callback frees the connection */
		loop_post(rq->s->loop, &rq->io, 0);
}

/* wait_writable - until the child takes more, at most as long as it may keep us waiting: the stall
 * time, and in sum no longer than RATE_MIN allows for what it took */
static void wait_writable(struct vortex_request *c)
{
	struct vortex_server *s = c->s;
	uint64_t allowed = s->limits.stall_timeout_ns + c->sent * (SECOND / RATE_MIN);
	uint64_t left = allowed > c->blocked_ns ? allowed - c->blocked_ns : 0;

	c->blocked_since = loop_now(s->loop);
	deadline_set(&c->deadline,
		c->blocked_since +
			(left < s->limits.stall_timeout_ns ? left : s->limits.stall_timeout_ns));
	loop_poll(s->loop, &c->io, c->fd, POLLOUT);
}

static void on_io(struct loop_op *op, int res);

/* is_cached - would sendfile from @fd take these bytes from memory? First and last are asked for:
 * what lies between was read with them or will be soon (read-ahead). */
static bool is_cached(int fd, uint64_t off, uint32_t n)
{
	uint8_t byte;
	struct iovec v = {&byte, 1};
	struct statfs fs;

	if (preadv2(fd, &v, 1, (off_t)off, RWF_NOWAIT) == 1)
		return preadv2(fd, &v, 1, (off_t)(off + n - 1), RWF_NOWAIT) == 1;
	return errno == EOPNOTSUPP && fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

/* send_encrypted - the chunk through OpenSSL, as far as the socket takes it */
static int send_encrypted(struct vortex_request *c)
{
	uint8_t record[TLS_RECORD];
	uint32_t done = 0;
	ssize_t n = 0;

	while (done < c->chunk) {
		size_t want = c->chunk - done < sizeof(record) ? c->chunk - done : sizeof(record);

		n = tls_flush(c->tls);
		if (n == 0)
			n = pread(c->piece.fd, record, want,
				(off_t)(c->piece.offset + c->sent + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n > 0)
			n = tls_write(c->tls, record, (size_t)n);
		if (n <= 0)
			break;
		done += (uint32_t)n;
	}
	return done ? (int)done : (int)n;
}

static int send_chunk(void *arg)
{
	struct vortex_request *c = arg;
	off_t off = (off_t)(c->piece.offset + c->sent);
	ssize_t n;

	if (c->tls && !tls_in_kernel(c->tls))
		return send_encrypted(c);
	do
		n = sendfile(c->fd, c->piece.fd, &off, c->chunk);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

/* on_sent - the outcome of one send or sendfile; true: go on */
static bool on_sent(struct vortex_request *c, int res)
{
	if (res == -EAGAIN) {
		wait_writable(c);
		return false;
	}
	if (res < 0 && res != -EPIPE && res != -ECONNRESET) {
		log_err("vortex: cannot send error=%s task=%s piece=%" PRIu32, strerror(-res),
			c->want.task_id, c->want.number);
		c->s->stats.n_dropped++;
	} else if (res == 0) {
		log_err("vortex: the file is shorter than its piece table says task=%s piece=%" PRIu32,
			c->want.task_id, c->want.number);
		c->s->stats.n_dropped++;
	}
	if (res <= 0) {
		conn_close(c);
		return false;
	}
	return true;
}

static bool on_chunk_sent(struct vortex_request *c, int res)
{
	uint32_t n = res > 0 ? (uint32_t)res : 0;

	if (c->chunk > n)
		bucket_return(&c->s->bucket, c->chunk - n);
	c->chunk = 0;
	c->sent += n;
	c->s->stats.bytes_sent += n;
	return on_sent(c, res);
}

/* quantum - what one transfer may take from the bucket before it is another's turn */
static uint32_t quantum(const struct vortex_server *s)
{
	uint64_t n = s->bucket.rate ? s->bucket.burst / 4 : CHUNK;

	return n < CHUNK ? (uint32_t)n : CHUNK;
}

static void wait_for_tokens(struct vortex_request *c)
{
	struct vortex_server *s = c->s;

	if (c->account->served < s->served) /* what it did not take earlier is not saved up */
		c->account->served = s->served;
	list_push(&s->throttled, &c->place);
	deadline_set(&s->tokens, bucket_when(&s->bucket, loop_now(s->loop), quantum(s)));
}

static void step_content(struct vortex_request *c)
{
	struct vortex_server *s = c->s;
	uint64_t off = c->piece.offset + c->sent;
	uint32_t left = c->piece.available - c->sent, q = quantum(s), n = left < q ? left : q;

	if (!left) {
		c->is_starved = true;
		return;
	}
	if ((!c->has_turn && !list_empty(&s->throttled)) ||
		bucket_when(&s->bucket, loop_now(s->loop), n) > loop_now(s->loop)) {
		wait_for_tokens(c);
		return;
	}
	c->chunk = (uint32_t)bucket_take(&s->bucket, loop_now(s->loop), n);
	c->account->served += c->chunk;
	if (!is_cached(c->piece.fd, off, c->chunk)) {
		loop_work(s->loop, &c->io, send_chunk, c);
		return;
	}
	if (on_chunk_sent(c, send_chunk(c)))
		loop_post(s->loop, &c->io, 0); /* others have their turn */
}

static void finish_answer(struct vortex_request *c)
{
	end_request(c, true);
	c->was_served = true;
	if (c->want.keep) {
		begin_request(c);
		return;
	}
	c->state = LINGER;
	c->n_discarded = 0;
	shutdown(c->fd, SHUT_WR);
	deadline_set(&c->deadline, loop_now(c->s->loop) + LINGER_NS);
	tls_recv(c->tls, c->s->loop, &c->recv, c->fd, c->in, sizeof(c->in));
}

/* step - go on with the answer as far as one turn allows */
static void step(struct vortex_request *c)
{
	while (c->out_at < c->n_out) {
		ssize_t n = c->tls ? tls_write(c->tls, c->out + c->out_at, c->n_out - c->out_at)
				   : send(c->fd, c->out + c->out_at, c->n_out - c->out_at,
					     MSG_NOSIGNAL | MSG_DONTWAIT);

		if (!on_sent(c, n >= 0 ? (int)n : c->tls ? (int)n : -errno))
			return;
		c->out_at += (size_t)n;
	}
	if (c->tls && tls_flush(c->tls) == -EAGAIN)
		wait_writable(c);
	else if (c->is_piece && c->sent < c->piece.length)
		step_content(c);
	else
		finish_answer(c);
}

static void on_io(struct loop_op *op, int res)
{
	struct vortex_request *c = container_of(op, struct vortex_request, io);

	if (c->blocked_since) {
		c->blocked_ns += loop_now(c->s->loop) - c->blocked_since;
		c->blocked_since = 0;
		deadline_set(&c->deadline, UINT64_MAX);
	}
	if (c->state == SEND) {
		if (c->chunk ? on_chunk_sent(c, res) : true)
			step(c);
	}
	conn_check_gone(c);
}

/* fairest - of those that wait for tokens, one of the child that has had least */
static struct vortex_request *fairest(const struct vortex_server *s)
{
	struct vortex_request *best = NULL;

	list_for_each (it, &s->throttled) {
		struct vortex_request *c = container_of(it, struct vortex_request, place);

		if (!best || c->account->served < best->account->served)
			best = c;
	}
	return best;
}

static void on_tokens(struct deadline *d, bool expired)
{
	struct vortex_server *s = container_of(d, struct vortex_server, tokens);
	uint64_t now = loop_now(s->loop);

	while (expired && !list_empty(&s->throttled)) {
		struct vortex_request *c = fairest(s);

		if (bucket_when(&s->bucket, now, quantum(s)) > now) {
			deadline_set(d, bucket_when(&s->bucket, now, quantum(s)));
			break;
		}
		list_del(&c->place);
		s->served = c->account->served;
		c->has_turn = true;
		step(c);
		c->has_turn = false;
		conn_check_gone(c);
	}
	server_check_gone(s);
}

/* ---- accepting -------------------------------------------------------------------------------- */

static struct account *account_of(struct vortex_server *s, const struct sockaddr_storage *child)
{
	struct sockaddr_storage addr = *child;
	struct account *a;

	if (addr.ss_family == AF_INET)
		((struct sockaddr_in *)&addr)->sin_port = 0;
	else if (addr.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&addr)->sin6_port = 0;
	list_for_each (it, &s->accounts) {
		a = container_of(it, struct account, link);
		if (!memcmp(&a->addr, &addr, sizeof(addr)))
			return a;
	}
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->addr = addr;
	a->served = s->served;
	list_push(&s->accounts, &a->link);
	return a;
}

static int conn_new(struct vortex_server *s, int fd)
{
	struct vortex_request *c = calloc(1, sizeof(*c));
	socklen_t len = sizeof(c->child);
	int on = 1, idle = 5, interval = 3, probes = 3;

	if (!c)
		return -ENOMEM;
	c->s = s;
	c->fd = fd;
	getpeername(fd, (struct sockaddr *)&c->child, &len);
	if (c->child.ss_family != AF_UNIX) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	}
	if (s->tls) {
		c->tls = tls_accept(s->tls, fd, VORTEX_ALPN);
		if (!c->tls) {
			free(c);
			return -ENOMEM;
		}
		tls_allow_kernel(c->tls);
	}
	c->account = account_of(s, &c->child);
	if (!c->account) {
		tls_free(c->tls);
		free(c);
		return -ENOMEM;
	}
	c->account->n_connections++;
	list_init(&c->place);
	loop_op_init(&c->recv, on_recv);
	loop_op_init(&c->io, on_io);
	loop_op_init(&c->watch, on_watch);
	deadline_init(&c->deadline, s->loop, on_deadline);
	list_push(&s->all, &c->all);
	s->stats.n_connections++;
	begin_request(c);
	return 0;
}

/* start_accept - unless full of connections that are being served: then the others wait in the
 * listener's queue */
static void start_accept(struct vortex_server *s)
{
	if (s->is_closing || deadline_is_active(&s->accept_retry))
		return;
	if (s->next_fd >= 0 && !loop_op_is_active(&s->accept)) {
		fd_close(s->listen_fd);
		s->listen_fd = s->next_fd;
		s->next_fd = -1;
	}
	if (s->stats.n_connections >= s->limits.max_connections && list_empty(&s->idle))
		loop_cancel(s->loop, &s->accept);
	else if (!loop_op_is_active(&s->accept))
		loop_accept(s->loop, &s->accept, s->listen_fd);
}

/* make_room - whoever has gone longest without a whole request goes, so that silent strangers cannot
 * keep others out */
static void make_room(struct vortex_server *s)
{
	LOG_LIMITED(LOG_WARNING,
		"vortex: full, the connection that is silent for longest makes room max=%u",
		s->limits.max_connections);
	conn_close(container_of(s->idle.next, struct vortex_request, place));
}

static void on_accept(struct loop_op *op, int res)
{
	struct vortex_server *s = container_of(op, struct vortex_server, accept);

	if (s->is_closing) {
		if (res >= 0)
			fd_close(res);
		server_check_gone(s);
		return;
	}
	if (res >= 0) {
		int r = conn_new(s, res);

		if (r) {
			fd_close(res);
			res = r;
		} else if (s->stats.n_connections > s->limits.max_connections) {
			make_room(s); /* the new one is there itself, so there is somebody */
		}
	}
	if (res < 0 && res != -ECANCELED) {
		LOG_LIMITED(LOG_WARNING, "vortex: cannot accept, trying again error=%s",
			strerror(-res));
		deadline_set(&s->accept_retry, loop_now(s->loop) + ACCEPT_RETRY_NS);
	}
	start_accept(s);
}

static void on_accept_retry(struct deadline *d, bool expired)
{
	struct vortex_server *s = container_of(d, struct vortex_server, accept_retry);

	start_accept(s);
	server_check_gone(s);
}

/* ---- the server ------------------------------------------------------------------------------- */

static uint64_t or_default(uint64_t value, uint64_t def)
{
	return value ? value : def;
}

int vortex_server_new(struct vortex_server **out, struct loop *l, int listen_fd,
	const struct vortex_source_ops *ops, void *arg, const struct vortex_server_limits *limits)
{
	struct vortex_server *s = calloc(1, sizeof(*s));
	struct sigaction pipe_action;

	if (!s)
		return -ENOMEM;
	if (!sigaction(SIGPIPE, NULL, &pipe_action) && pipe_action.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN); /* sendfile has no MSG_NOSIGNAL */
	s->loop = l;
	s->listen_fd = listen_fd;
	s->next_fd = -1;
	s->ops = ops;
	s->arg = arg;
	s->limits = (struct vortex_server_limits){
		.max_connections = (unsigned)or_default(limits->max_connections, 512),
		.max_sending = (unsigned)or_default(limits->max_sending, 64),
		.request_timeout_ns = or_default(limits->request_timeout_ns, 10 * SECOND),
		.idle_timeout_ns = or_default(limits->idle_timeout_ns, 60 * SECOND),
		.stall_timeout_ns = or_default(limits->stall_timeout_ns, 15 * SECOND),
	};
	bucket_init(&s->bucket, limits->bandwidth, loop_now(l));
	list_init(&s->all);
	list_init(&s->idle);
	list_init(&s->waiting);
	list_init(&s->throttled);
	list_init(&s->accounts);
	loop_op_init(&s->accept, on_accept);
	loop_op_init(&s->gone_op, on_gone);
	deadline_init(&s->accept_retry, l, on_accept_retry);
	deadline_init(&s->tokens, l, on_tokens);
	start_accept(s);
	*out = s;
	return 0;
}

void vortex_server_set_tls(struct vortex_server *s, struct tls_context *tls)
{
	tls_context_ref(tls);
	tls_context_unref(s->tls);
	s->tls = tls;
}

void vortex_server_set_bandwidth(struct vortex_server *s, uint64_t bandwidth)
{
	bucket_set_rate(&s->bucket, bandwidth, loop_now(s->loop));
	if (!list_empty(&s->throttled))
		deadline_set(&s->tokens, loop_now(s->loop));
}

void vortex_server_move(struct vortex_server *s, int fd)
{
	fd_close(s->next_fd);
	s->next_fd = fd;
	loop_cancel(s->loop, &s->accept);
}

void vortex_server_close(struct vortex_server *s, void (*gone)(void *arg), void *arg)
{
	s->is_closing = true;
	s->gone = gone;
	s->gone_arg = arg;
	loop_cancel(s->loop, &s->accept);
	deadline_stop(&s->accept_retry);
	deadline_stop(&s->tokens);
	list_for_each_safe (it, &s->all) {
		struct vortex_request *c = container_of(it, struct vortex_request, all);

		conn_close(c);
		conn_check_gone(c);
	}
	server_check_gone(s);
}

bool vortex_request_is_ours(const struct vortex_request *rq)
{
	return rq->want.keep;
}

void vortex_request_set_data(struct vortex_request *rq, void *data)
{
	rq->data = data;
}

void *vortex_request_data(const struct vortex_request *rq)
{
	return rq->data;
}

const struct sockaddr *vortex_request_child(const struct vortex_request *rq)
{
	return (const struct sockaddr *)&rq->child;
}

struct vortex_server_stats vortex_server_get_stats(const struct vortex_server *s)
{
	return s->stats;
}
