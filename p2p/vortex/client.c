/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vortex/client.c — see client.h. A get goes through
 *
 *   START ──▶ CONNECT ──▶ REQUEST ──▶ FRAME ──▶ CONTENT ──▶ ENDING
 *     └─ kept connection ────▲
 *
 * and from anywhere to ENDING, where it waits for its last operation and then reports. The taking
 * apart of what the parent sends is rx.c; here are the connection, the two halves of the buffer, the
 * deadlines and the file. */
#include "p2p/vortex/client.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/deadline.h"
#include "common/rpc/addr.h"
#include "common/rpc/listen.h"
#include "common/tls.h"
#include "p2p/bucket.h"
#include "p2p/vortex/rx.h"
#include "p2p/vortex/server.h"

#define SECOND         1000000000ull
#define IDLE_NS        (30 * SECOND) /* less than the server's 60 s: the child closes first */
#define BUFFER_DEFAULT (512u << 10)
#define BUFFER_MIN     (16u << 10)
#define LOWAT          ((int)VORTEX_PROGRESS_STEP) /* content is not worth a turn of the loop before */
#define SPARE_MAX      8 /* buffers kept while other gets run */

enum state { START, CONNECT, REQUEST, FRAME, CONTENT, ENDING };

/* what a get needs while bytes arrive; reused by the next get */
struct slab {
	struct list link;
	struct digest_xxh3 *xxh3;
	struct vortex_rx rx;
	uint8_t bytes[]; /* two halves */
};

struct kept { /* an idle connection */
	struct list link;
	int fd;
	struct tls *tls;
	uint64_t since;
	struct sockaddr_storage addr;
	socklen_t addr_len;
};

struct vortex_pool {
	struct loop *loop;
	size_t half; /* of a buffer */
	struct tls_context *tls; /* NULL: plaintext */
	char tls_name[256];
	struct sockaddr_storage source; /* family 0: as routed */
	unsigned max_idle, n_idle, n_spare, n_gets, max_buffers;
	struct list idle, gets, spare; /* idle: longest first */
	struct list throttled; /* gets that wait for tokens, longest first */
	struct bucket all, replicas;
	struct deadline sweep, tokens;
	struct loop_op gone_op;
	bool is_closing;
	void (*gone)(void *arg);
	void *gone_arg;
};

struct vortex_get {
	struct vortex_pool *p;
	struct list link, place; /* place: in p->throttled */
	size_t taken; /* tokens, for the receive that runs */
	enum state state;
	int fd;
	struct tls *tls;
	bool was_kept, has_answer, is_clean; /* clean: the connection may be kept */
	bool is_slow; /* less than LOWAT in the time allowed: every byte counts */
	struct loop_op io, recv, write; /* start, connect and send; receive; to the file */
	struct deadline deadline;
	uint64_t started;
	int lowat; /* of the socket */
	struct vortex_want w;
	struct sockaddr_storage addr;
	struct vortex_download request;
	uint8_t out[VORTEX_REQUEST_SIZE];
	size_t out_at;
	struct slab *slab;
	int half; /* the next to receive into */
	struct {
		const uint8_t *p;
		size_t n;
	} ready, writing; /* received, waiting for its turn; on its way to the file */
	uint32_t received, written, told; /* told: `written` at the last call of progress */
	bool was_told;
	struct vortex_result result;
	void (*fn)(void *arg, struct vortex_get *g, const struct vortex_result *r);
	void *arg;
};

static void dial(struct vortex_get *g);

const char *vortex_outcome_name(enum vortex_outcome o)
{
	static const char *const names[] = {
		[VORTEX_OK] = "ok",
		[VORTEX_REFUSED] = "refused",
		[VORTEX_BUSY] = "busy",
		[VORTEX_UNREACHABLE] = "unreachable",
		[VORTEX_LOST] = "connection lost",
		[VORTEX_STALLED] = "stalled",
		[VORTEX_PROTOCOL] = "protocol error",
		[VORTEX_DIGEST] = "digest mismatch",
		[VORTEX_IO] = "cannot write",
		[VORTEX_CANCELLED] = "cancelled",
	};

	return (unsigned)o < ARRAY_SIZE(names) ? names[o] : "unknown";
}

/* ---- buffers ---------------------------------------------------------------------------------- */

static void slab_free(struct slab *b)
{
	if (b)
		digest_xxh3_free(b->xxh3);
	free(b);
}

static struct slab *slab_get(struct vortex_pool *p)
{
	struct list *n = list_pop(&p->spare);
	struct slab *b;

	if (n) {
		p->n_spare--;
		return container_of(n, struct slab, link);
	}
	b = malloc(sizeof(*b) + 2 * p->half);
	if (!b)
		return NULL;
	list_init(&b->link);
	b->xxh3 = digest_xxh3_new();
	if (!b->xxh3) {
		slab_free(b);
		return NULL;
	}
	return b;
}

static void spare_drop(struct vortex_pool *p)
{
	struct list *n;

	while ((n = list_pop(&p->spare)))
		slab_free(container_of(n, struct slab, link));
	p->n_spare = 0;
}

static void slab_put(struct vortex_pool *p, struct slab *b)
{
	if (b && p->n_spare < SPARE_MAX) {
		list_push_front(&p->spare, &b->link);
		p->n_spare++;
	} else {
		slab_free(b);
	}
}

/* set_lowat - how many bytes must be there before it is worth looking: a transfer that shares the line
 * with others would otherwise be received packet by packet */
static void set_lowat(struct vortex_get *g, int n)
{
	if (g->lowat != n && g->addr.ss_family != AF_UNIX &&
		!g->tls) /* records have sizes of their own */
		setsockopt(g->fd, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n));
	g->lowat = n;
}

/* ---- kept connections ------------------------------------------------------------------------- */

static void kept_close(struct vortex_pool *p, struct kept *k)
{
	list_del(&k->link);
	p->n_idle--;
	tls_free(k->tls);
	fd_close(k->fd);
	free(k);
}

static void keep_connection(struct vortex_get *g)
{
	struct vortex_pool *p = g->p;
	struct kept *k;

	if (!p->max_idle || p->is_closing || !(k = malloc(sizeof(*k))))
		return;
	if (p->n_idle == p->max_idle)
		kept_close(p, container_of(p->idle.next, struct kept, link));
	set_lowat(g, 1);
	*k = (struct kept){.fd = take_fd(&g->fd),
		.tls = g->tls,
		.since = loop_now(p->loop),
		.addr = g->addr,
		.addr_len = g->w.addr_len};
	g->tls = NULL;
	list_push(&p->idle, &k->link);
	p->n_idle++;
	if (p->sweep.at == UINT64_MAX)
		deadline_set(&p->sweep, k->since + IDLE_NS);
}

/* take_kept - a live connection to the address of @g, or -1. The latest one first, so that those
 * that are not needed grow old. */
static int take_kept(struct vortex_get *g)
{
	struct vortex_pool *p = g->p;

	for (struct list *it = p->idle.prev, *prev; it != &p->idle; it = prev) {
		struct kept *k = container_of(it, struct kept, link);
		char byte;
		int fd = -1;

		prev = it->prev;
		if (k->addr_len != g->w.addr_len || memcmp(&k->addr, &g->addr, k->addr_len))
			continue;
		/* nothing to read, and no end: alive as far as anybody knows */
		if (recv(k->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN) {
			fd = take_fd(&k->fd);
			g->tls = k->tls;
			k->tls = NULL;
		}
		kept_close(p, k);
		if (fd >= 0)
			return fd;
	}
	return -1;
}

/* ---- ends ------------------------------------------------------------------------------------- */

static void pool_check_gone(struct vortex_pool *p)
{
	if (p->is_closing && list_empty(&p->gets) && !deadline_is_active(&p->sweep) &&
		!deadline_is_active(&p->tokens) && !loop_op_is_active(&p->gone_op))
		loop_post(p->loop, &p->gone_op, 0);
}

static void on_gone(struct loop_op *op, int res)
{
	struct vortex_pool *p = container_of(op, struct vortex_pool, gone_op);
	void (*gone)(void *arg) = p->gone;
	void *arg = p->gone_arg;

	spare_drop(p);
	tls_context_unref(p->tls);
	free(p);
	if (gone)
		gone(arg);
}

static void on_sweep(struct deadline *d, bool expired)
{
	struct vortex_pool *p = container_of(d, struct vortex_pool, sweep);
	uint64_t now = loop_now(p->loop);

	while (expired && !list_empty(&p->idle)) {
		struct kept *k = container_of(p->idle.next, struct kept, link);

		if (k->since + IDLE_NS > now) {
			deadline_set(d, k->since + IDLE_NS);
			break;
		}
		kept_close(p, k);
	}
	pool_check_gone(p);
}

/* finish - the outcome is known; the first one counts */
static void __attribute__((format(printf, 4, 5)))
finish(struct vortex_get *g, enum vortex_outcome outcome, int error, const char *fmt, ...)
{
	struct loop *l = g->p->loop;
	va_list ap;

	if (g->state == ENDING)
		return;
	g->state = ENDING;
	g->result.outcome = outcome;
	g->result.error = error;
	va_start(ap, fmt);
	vsnprintf(g->result.message, sizeof(g->result.message), fmt, ap);
	va_end(ap);
	list_del(&g->place);
	loop_cancel(l, &g->io);
	loop_cancel(l, &g->recv);
	loop_cancel(l, &g->write);
	deadline_stop(&g->deadline);
}

/* check_ended - at the end of each callback: report after the last one */
static void check_ended(struct vortex_get *g)
{
	struct vortex_pool *p = g->p;

	if (g->state != ENDING || loop_op_is_active(&g->io) || loop_op_is_active(&g->recv) ||
		loop_op_is_active(&g->write) || deadline_is_active(&g->deadline))
		return;
	g->result.bytes = g->received;
	g->result.was_forwarded = g->slab && g->slab->rx.is_forwarded;
	g->result.duration_ns = loop_now(p->loop) - g->started;
	if (g->is_clean && g->w.reuse)
		keep_connection(g);
	tls_free(g->tls);
	fd_close(g->fd);
	slab_put(p, g->slab);
	list_del(&g->link);
	if (--p->n_gets == 0)
		spare_drop(p); /* an idle daemon holds no buffer */
	g->fn(g->arg, g, &g->result);
	free(g);
	pool_check_gone(p);
}

/* lost - the connection ended with @error (0: its end was received) */
static void lost(struct vortex_get *g, int error)
{
	/* a kept connection may have died unnoticed: that says nothing about the parent */
	if (g->was_kept && !g->has_answer) {
		g->tls = tls_free(g->tls);
		g->fd = fd_close(g->fd);
		dial(g);
	} else if (g->tls && tls_reason(g->tls)[0]) {
		finish(g, tls_is_open(g->tls) ? VORTEX_LOST : VORTEX_UNREACHABLE, error, "%s",
			tls_reason(g->tls));
	} else if (error) {
		finish(g, VORTEX_LOST, error, "%s after %" PRIu32 " of %" PRIu32 " bytes",
			strerror(error), g->received, g->w.length);
	} else {
		finish(g, VORTEX_LOST, 0, "ended after %" PRIu32 " of %" PRIu32 " bytes",
			g->received, g->w.length);
	}
}

static bool has_bytes(const struct vortex_get *g)
{
	int n = 0;

	return ioctl(g->fd, FIONREAD, &n) == 0 && n > 0;
}

/* receive_slowly - some bytes came, only fewer than are waited for: the receive that runs gets them */
static void receive_slowly(struct vortex_get *g)
{
	g->is_slow = true;
	set_lowat(g, 1);
	deadline_set(&g->deadline, loop_now(g->p->loop) + g->w.stall_timeout_ns);
}

static void on_deadline(struct deadline *d, bool expired)
{
	struct vortex_get *g = container_of(d, struct vortex_get, deadline);

	if (expired && g->state == CONNECT)
		finish(g, VORTEX_UNREACHABLE, ETIMEDOUT, "no connection in the time allowed");
	else if (expired && g->state == CONTENT && !g->is_slow && has_bytes(g))
		receive_slowly(g);
	else if (expired && g->state == CONTENT)
		finish(g, VORTEX_STALLED, 0, "no byte for a while after %" PRIu32 " of %" PRIu32,
			g->received, g->w.length);
	else if (expired)
		finish(g, VORTEX_STALLED, 0, "no answer in the time allowed");
	check_ended(g);
}

/* ---- content ---------------------------------------------------------------------------------- */

static uint8_t *half_of(struct vortex_get *g)
{
	return g->slab->bytes + (size_t)g->half * g->p->half;
}

/* quantum - what one get may take from a bucket before it is another's turn */
static uint64_t quantum(const struct bucket *b)
{
	uint64_t n = b->burst / 8;

	/* it is taken before it is known how much will be received: little, so that others go on */
	return !b->rate ? UINT64_MAX : n < (uint64_t)LOWAT ? n : (uint64_t)LOWAT;
}

/* when - the time at which @g may receive its share of @n bytes, which is reduced to it */
static uint64_t when(struct vortex_get *g, size_t *n)
{
	struct vortex_pool *p = g->p;
	uint64_t now = loop_now(p->loop), at, own;

	if (*n > quantum(&p->all))
		*n = quantum(&p->all);
	if (g->w.class == VORTEX_REPLICA && *n > quantum(&p->replicas))
		*n = quantum(&p->replicas);
	at = bucket_when(&p->all, now, *n);
	own = g->w.class == VORTEX_REPLICA ? bucket_when(&p->replicas, now, *n) : now;
	return own > at ? own : at;
}

/* receive - as many bytes as there are tokens for, or wait for them; @has_turn: those who wait longer
 * were asked before */
static void receive(struct vortex_get *g, bool has_turn)
{
	const struct vortex_rx *rx = &g->slab->rx;
	struct vortex_pool *p = g->p;
	uint64_t now = loop_now(p->loop), at;
	size_t n = p->half;

	if (rx->state == VORTEX_RX_CONTENT && rx->left < n)
		n = rx->left;
	at = when(g, &n);
	if (at > now || (!has_turn && !list_empty(&p->throttled))) {
		list_push(&p->throttled, &g->place);
		deadline_set(&g->deadline, UINT64_MAX); /* we are slow, not the parent */
		if (p->tokens.at > at)
			deadline_set(&p->tokens, at);
		return;
	}
	g->taken = n;
	bucket_take(&p->all, now, n);
	if (g->w.class == VORTEX_REPLICA)
		bucket_take(&p->replicas, now, n);
	deadline_set(&g->deadline,
		now + (g->state == CONTENT ? g->w.stall_timeout_ns : g->w.header_timeout_ns));
	set_lowat(g, g->state != CONTENT || g->is_slow ? 1 : n < LOWAT ? (int)n : LOWAT);
	tls_recv(g->tls, p->loop, &g->recv, g->fd, half_of(g), n);
}

static void return_tokens(struct vortex_get *g, int res)
{
	size_t used = res > 0 ? (size_t)res : 0;

	if (used < g->taken && !list_empty(&g->p->throttled))
		deadline_set(&g->p->tokens, loop_now(g->p->loop));
	bucket_return(&g->p->all, g->taken - used);
	if (g->w.class == VORTEX_REPLICA)
		bucket_return(&g->p->replicas, g->taken - used);
	g->taken = 0;
}

/* on_tokens - those who waited, in their order, as far as it goes; of two classes one may have to wait
 * longer than the other */
static void on_tokens(struct deadline *d, bool expired)
{
	struct vortex_pool *p = container_of(d, struct vortex_pool, tokens);
	struct list todo, *n;

	list_init(&todo);
	while (expired && (n = list_pop(&p->throttled)))
		list_push(&todo, n);
	while ((n = list_pop(&todo)))
		receive(container_of(n, struct vortex_get, place), true);
	pool_check_gone(p);
}

static void write_rest(struct vortex_get *g)
{
	loop_write(g->p->loop, &g->write, g->w.fd, g->writing.p, g->writing.n,
		g->w.offset + g->written);
}

static void tell_progress(struct vortex_get *g)
{
	if (!g->w.progress || g->state != CONTENT ||
		(g->was_told && g->written - g->told < VORTEX_PROGRESS_STEP))
		return;
	g->was_told = true;
	g->told = g->written;
	g->w.progress(g->arg, g);
}

/* go_on - start what can be started: the write of what is ready, the receive into a free half */
static void go_on(struct vortex_get *g)
{
	const struct vortex_rx *rx = &g->slab->rx;

	if (!g->writing.n && g->ready.n) {
		g->writing = g->ready;
		g->ready.n = 0;
		write_rest(g);
	}
	if (!vortex_rx_is_final(rx)) {
		if (list_is_linked(&g->place))
			return; /* it waits for tokens */
		if (!loop_op_is_active(&g->recv) && !g->ready.n)
			receive(g, false);
		else if (!loop_op_is_active(&g->recv)) /* our disk is slow, not the parent */
			deadline_set(&g->deadline, UINT64_MAX);
		return;
	}
	deadline_set(&g->deadline, UINT64_MAX);
	if (g->writing.n)
		return;
	g->result.crc32 = rx->crc32;
	g->result.xxh3 = digest_xxh3_final(g->slab->xxh3);
	g->result.parent_had_digest = rx->has_digest;
	finish(g, VORTEX_OK, 0, "%s", "");
}

static void on_refused(struct vortex_get *g, const struct vortex_failure *f)
{
	bool is_busy = g->w.reuse && f->code == VORTEX_E_INTERNAL &&
		       !strcmp(f->message, VORTEX_BUSY_MESSAGE);

	g->result.code = (enum vortex_error)f->code;
	finish(g, is_busy ? VORTEX_BUSY : VORTEX_REFUSED, 0, "%s", f->message);
}

static void on_bytes(struct vortex_get *g, size_t n)
{
	struct vortex_rx *rx = &g->slab->rx;
	const uint8_t *content;
	size_t n_content;
	size_t used = vortex_rx_feed(rx, half_of(g), n, &content, &n_content);

	/* an upstream parent may say more than it should; one of ours, whom we keep, may not */
	g->is_clean = vortex_rx_is_final(rx) && used == n;
	g->received += (uint32_t)n_content;
	if (g->state == FRAME && rx->state != VORTEX_RX_FRAME)
		g->state = CONTENT;
	if (rx->state == VORTEX_RX_REFUSED) {
		on_refused(g, &rx->failure);
	} else if (rx->state == VORTEX_RX_BROKEN) {
		g->is_clean = false;
		finish(g, VORTEX_PROTOCOL, 0, "%s", rx->problem);
	} else if (rx->state == VORTEX_RX_MISMATCH) {
		g->is_clean = false;
		finish(g, VORTEX_DIGEST, 0, "crc32:%" PRIu32 " instead of crc32:%" PRIu32,
			rx->crc32, rx->announced_crc32);
	} else {
		if (n_content) {
			g->ready.p = content;
			g->ready.n = n_content;
			g->half = !g->half;
		}
		go_on(g);
	}
}

static void on_recv(struct loop_op *op, int res)
{
	struct vortex_get *g = container_of(op, struct vortex_get, recv);

	if (tls_again(g->tls, g->p->loop, op, &res))
		return;
	return_tokens(g, res);
	if (g->state != ENDING && res > 0) {
		g->has_answer = true;
		on_bytes(g, (size_t)res);
		tell_progress(g);
	} else if (g->state != ENDING) {
		lost(g, -res);
	}
	check_ended(g);
}

static void on_write(struct loop_op *op, int res)
{
	struct vortex_get *g = container_of(op, struct vortex_get, write);

	if (g->state != ENDING && res <= 0) {
		finish(g, VORTEX_IO, res ? -res : EIO, "%s", strerror(res ? -res : EIO));
	} else if (g->state != ENDING) {
		g->written += (uint32_t)res;
		g->writing.p += res;
		g->writing.n -= (size_t)res;
		if (g->writing.n)
			write_rest(g);
		else
			go_on(g);
		tell_progress(g);
	}
	check_ended(g);
}

/* ---- connecting and asking -------------------------------------------------------------------- */

static void send_request(struct vortex_get *g)
{
	tls_send(g->tls, g->p->loop, &g->io, g->fd, g->out + g->out_at, sizeof(g->out) - g->out_at);
}

static void begin_request(struct vortex_get *g)
{
	if (!g->slab && !(g->slab = slab_get(g->p))) {
		finish(g, VORTEX_IO, ENOMEM, "%s", strerror(ENOMEM));
		return;
	}
	vortex_rx_init(&g->slab->rx, g->w.number, g->w.offset, g->w.length, g->slab->xxh3);
	g->state = REQUEST;
	g->out_at = 0;
	vortex_download_encode(g->out, sizeof(g->out), (uint8_t)g->w.number, &g->request);
	deadline_set(&g->deadline, loop_now(g->p->loop) + g->w.header_timeout_ns);
	send_request(g);
}

static void dial(struct vortex_get *g)
{
	int on = 1;

	g->was_kept = false;
	g->lowat = 1;
	g->state = CONNECT;
	g->fd = socket(g->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (g->fd < 0) {
		int e = errno;

		finish(g, VORTEX_UNREACHABLE, e, "%s", strerror(e));
		return;
	}
	if (g->addr.ss_family != AF_UNIX)
		setsockopt(g->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	rpc_bind_source(g->fd, (const struct sockaddr *)&g->p->source, g->addr.ss_family);
	deadline_set(&g->deadline, loop_now(g->p->loop) + g->w.connect_timeout_ns);
	loop_connect(g->p->loop, &g->io, g->fd, (const struct sockaddr *)&g->addr, g->w.addr_len);
}

/* encrypt - if we do; the handshake itself goes with the request. false: out of memory */
static bool encrypt(struct vortex_get *g)
{
	struct vortex_pool *p = g->p;
	char ip[INET6_ADDRSTRLEN];

	if (!p->tls)
		return true;
	g->tls = tls_connect(p->tls, g->fd, VORTEX_ALPN,
		p->tls_name[0] ? p->tls_name : addr_ip((const struct sockaddr *)&g->addr, ip));
	return g->tls;
}

static void on_io(struct loop_op *op, int res)
{
	struct vortex_get *g = container_of(op, struct vortex_get, io);

	if (tls_again(g->tls, g->p->loop, op, &res))
		return;
	switch (g->state) {
	case START:
		g->fd = g->w.reuse ? take_kept(g) : -1;
		g->was_kept = g->fd >= 0;
		if (g->was_kept)
			begin_request(g);
		else
			dial(g);
		break;
	case CONNECT:
		if (res < 0)
			finish(g, VORTEX_UNREACHABLE, -res, "%s", strerror(-res));
		else if (!encrypt(g))
			finish(g, VORTEX_IO, ENOMEM, "%s", strerror(ENOMEM));
		else
			begin_request(g);
		break;
	case REQUEST:
		if (res <= 0) {
			lost(g, res ? -res : EPIPE);
			break;
		}
		g->out_at += (size_t)res;
		if (g->out_at < sizeof(g->out)) {
			send_request(g);
			break;
		}
		g->state = FRAME;
		receive(g, true);
		break;
	default:
		break;
	}
	check_ended(g);
}

/* ---- the interface ---------------------------------------------------------------------------- */

int vortex_pool_new(struct vortex_pool **out, struct loop *l, const struct vortex_pool_options *o)
{
	struct vortex_pool *p = calloc(1, sizeof(*p));
	size_t buffer_bytes = o->buffer_bytes;

	if (!p)
		return -ENOMEM;
	if (!buffer_bytes)
		buffer_bytes = BUFFER_DEFAULT;
	p->loop = l;
	p->half = (buffer_bytes > BUFFER_MIN ? buffer_bytes : BUFFER_MIN) / 2;
	p->max_idle = o->max_idle;
	p->max_buffers = o->max_buffers;
	bucket_init(&p->all, o->bandwidth, loop_now(l));
	bucket_init(&p->replicas, o->replica_bandwidth, loop_now(l));
	list_init(&p->throttled);
	deadline_init(&p->tokens, l, on_tokens);
	list_init(&p->idle);
	list_init(&p->gets);
	list_init(&p->spare);
	loop_op_init(&p->gone_op, on_gone);
	deadline_init(&p->sweep, l, on_sweep);
	*out = p;
	return 0;
}

void vortex_pool_set_source(struct vortex_pool *p, const struct sockaddr_storage *source)
{
	p->source = *source;
	((struct sockaddr_in *)&p->source)->sin_port = 0; /* sin6_port is at the same place */
}

void vortex_pool_set_tls(struct vortex_pool *p, struct tls_context *tls, const char *name)
{
	tls_context_ref(tls);
	tls_context_unref(p->tls);
	p->tls = tls;
	snprintf(p->tls_name, sizeof(p->tls_name), "%s", name ? name : "");
}

void vortex_pool_close(struct vortex_pool *p, void (*gone)(void *arg), void *arg)
{
	p->is_closing = true;
	p->gone = gone;
	p->gone_arg = arg;
	list_for_each (it, &p->gets)
		vortex_get_cancel(container_of(it, struct vortex_get, link));
	while (!list_empty(&p->idle))
		kept_close(p, container_of(p->idle.next, struct kept, link));
	deadline_stop(&p->sweep);
	deadline_stop(&p->tokens);
	pool_check_gone(p);
}

static uint64_t or_default(uint64_t value, uint64_t def)
{
	return value ? value : def;
}

struct vortex_get *vortex_get_start(struct vortex_pool *p, const struct vortex_want *w,
	void (*fn)(void *arg, struct vortex_get *g, const struct vortex_result *r), void *arg)
{
	struct vortex_get *g = p->is_closing || w->addr_len > sizeof(g->addr) ||
					       (p->max_buffers && p->n_gets >= p->max_buffers)
				       ? NULL
				       : calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	list_init(&g->place);
	g->p = p;
	g->fd = -1;
	g->fn = fn;
	g->arg = arg;
	g->started = loop_now(p->loop);
	g->lowat = 1;
	g->w = *w;
	memcpy(&g->addr, w->addr, w->addr_len);
	g->w.addr = NULL; /* copied, and so is the id */
	g->w.task_id = NULL;
	snprintf(g->request.task_id, sizeof(g->request.task_id), "%s", w->task_id);
	g->request.number = w->number;
	g->request.keep = w->reuse;
	g->w.connect_timeout_ns = or_default(w->connect_timeout_ns, 2 * SECOND);
	g->w.header_timeout_ns = or_default(w->header_timeout_ns, 10 * SECOND);
	g->w.stall_timeout_ns = or_default(w->stall_timeout_ns, 5 * SECOND);
	loop_op_init(&g->io, on_io);
	loop_op_init(&g->recv, on_recv);
	loop_op_init(&g->write, on_write);
	deadline_init(&g->deadline, p->loop, on_deadline);
	list_push(&p->gets, &g->link);
	p->n_gets++;
	loop_post(p->loop, &g->io, 0);
	return g;
}

void vortex_get_cancel(struct vortex_get *g)
{
	finish(g, VORTEX_CANCELLED, 0, "%s", "");
}

uint64_t vortex_get_bytes(const struct vortex_get *g)
{
	return g->received;
}

bool vortex_get_has_header(const struct vortex_get *g)
{
	return g->has_answer;
}

uint32_t vortex_get_written(const struct vortex_get *g)
{
	return g->written;
}

bool vortex_get_announced(const struct vortex_get *g, uint32_t *crc32)
{
	if (g->state != CONTENT || !g->slab->rx.has_digest)
		return false;
	*crc32 = g->slab->rx.announced_crc32;
	return true;
}
