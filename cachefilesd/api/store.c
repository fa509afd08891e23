/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store.c — the asynchronous client of the store's door.
 *
 * A request is encoded when it is made and waits in `queued` until the socket takes it, then in
 * `sent` until the reply with its number comes. When the session breaks, everything sent, and
 * everything that names a lease, ends with STORE_LOST; the rest of the queue waits for the next
 * session, until its deadline. Callbacks run from the loop only: finished operations are collected
 * in `done` and delivered by a posted operation.
 *
 * A reply that nobody waits for any more (cancelled, timed out) may carry a lease: it is given back
 * at once, or the server would hold it until the session ends.
 */
#include "cachefilesd/api/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cachefilesd/api/proto.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/loop.h"

#define SECOND         1000000000ull
#define DEADLINE       (30 * SECOND)
#define ATTACH_EXTRA   (600 * SECOND) /* a doubtful partial is read again before it is handed out */
#define RECONNECT_MIN  (SECOND / 20)
#define RECONNECT_MAX  SECOND
#define BEAT           (STORE_SILENT_NS / 5)
#define FDS_IN_A_REPLY 3

enum client_state { CLIENT_DOWN, CLIENT_HELLO, CLIENT_READY };

struct done {
	struct store_op *op;
	enum store_status status;
};

struct store_client {
	struct loop *loop;
	struct sockaddr_un addr;
	void (*on_event)(void *arg, enum store_event e);
	void *arg;
	enum client_state state;
	bool is_closing;
	bool is_control; /* a store that is off will do */
	bool lost_reported; /* one log line for each outage */
	bool has_been_reset; /* this connection, before its hello was answered */
	int fd;
	uint32_t next_number;
	uint64_t backoff_ns, beat_ns;

	struct list queued, sent, done;
	struct loop_op post, timer, recv, send, reconnect, beat_timer;
	struct store_op *sending; /* its bytes are in flight in `send`; NULL: it was cancelled */
	void *send_bytes; /* owned while `send` is active */
	struct store_op hello, beat;

	struct msghdr msg;
	struct iovec iov;
	uint8_t in[PROTO_MESSAGE_MAX];
	struct {
		_Alignas(struct cmsghdr) char buf[CMSG_SPACE(sizeof(int) * FDS_IN_A_REPLY)];
	} control;
	struct store_info entries[PROTO_LIST_ENTRIES];
	struct proto_reply reply;
};

/* a lease that came too late is given back by an operation of our own */
struct give_back {
	struct store_op op;
};

static void client_connect(struct store_client *c);
static void client_pump(struct store_client *c);
static void client_lost(struct store_client *c, int why);

static const char *default_message(enum store_status s)
{
	return s == STORE_OK ? "" : store_status_name(s);
}

/* ---- finishing ------------------------------------------------------------------------------- */

static void op_release_bytes(struct store_op *op)
{
	free(op->out);
	op->out = NULL;
	op->out_len = 0;
}

/* the status of a finished operation rests in its number until it is delivered */
static void op_finish_later(struct store_client *c, struct store_op *op, enum store_status s)
{
	list_del(&op->link);
	op_release_bytes(op);
	op->number = (uint32_t)s;
	list_push(&c->done, &op->link);
	if (!loop_op_is_active(&c->post))
		loop_post(c->loop, &c->post, 0);
}

static bool client_is_idle(const struct store_client *c)
{
	return !loop_op_is_active(&c->post) && !loop_op_is_active(&c->timer) &&
	       !loop_op_is_active(&c->recv) && !loop_op_is_active(&c->send) &&
	       !loop_op_is_active(&c->reconnect) && !loop_op_is_active(&c->beat_timer);
}

static void client_maybe_free(struct store_client *c)
{
	if (c->is_closing && list_empty(&c->done) && client_is_idle(c)) {
		fd_close(c->fd);
		free(c);
	}
}

static void on_post(struct loop_op *lop, int res)
{
	struct store_client *c = container_of(lop, struct store_client, post);
	struct list *n;

	(void)res;
	while ((n = list_pop(&c->done))) {
		struct store_op *op = list_entry(n, struct store_op, link);
		enum store_status s = (enum store_status)op->number;
		struct store_reply r = {.status = s,
			.message = default_message(s),
			.data_fd = -1,
			.record_fd = -1,
			.read_fd = -1};

		op->fn(op, &r);
	}
	client_maybe_free(c);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

static void timer_arm(struct store_client *c)
{
	uint64_t first = UINT64_MAX;

	if (loop_op_is_active(&c->timer) || c->is_closing)
		return;
	list_for_each (it, &c->queued) {
		uint64_t d = list_entry(it, struct store_op, link)->deadline_ns;
		first = d < first ? d : first;
	}
	list_for_each (it, &c->sent) {
		uint64_t d = list_entry(it, struct store_op, link)->deadline_ns;
		first = d < first ? d : first;
	}
	/* not more often than ten times a second, and a nearer deadline that is added later is
	 * noticed within a second */
	if (first == UINT64_MAX)
		return;
	if (first > loop_now(c->loop) + SECOND)
		first = loop_now(c->loop) + SECOND;
	loop_timer(c->loop, &c->timer, first);
}

static void on_timer(struct loop_op *lop, int res)
{
	struct store_client *c = container_of(lop, struct store_client, timer);
	uint64_t now = loop_now(c->loop);

	if (c->is_closing) {
		client_maybe_free(c);
		return;
	}
	(void)res;
	list_for_each_safe (it, &c->queued) {
		struct store_op *op = list_entry(it, struct store_op, link);
		if (op->deadline_ns <= now && op != c->sending && op != &c->hello)
			op_finish_later(c, op, STORE_TIMEOUT);
	}
	list_for_each_safe (it, &c->sent) {
		struct store_op *op = list_entry(it, struct store_op, link);
		if (op->deadline_ns > now)
			continue;
		if (op == &c->hello) {
			client_lost(c, -ETIMEDOUT);
			break;
		}
		op_finish_later(c, op, STORE_TIMEOUT);
	}
	timer_arm(c);
}

/* ---- requests -------------------------------------------------------------------------------- */

static bool names_a_lease(uint8_t type)
{
	return type == PROTO_PIECES || type == PROTO_COMMIT || type == PROTO_ABORT ||
	       type == PROTO_RELEASE;
}

static void request(
	struct store_client *c, struct store_op *op, struct proto_request *rq, uint64_t deadline_ns)
{
	uint8_t buf[PROTO_MESSAGE_MAX];
	int len;

	list_init(&op->link);
	op->out = NULL;
	op->out_len = 0;
	op->type = (uint8_t)rq->type;
	if (!++c->next_number)
		c->next_number = 1;
	op->number = rq->number = c->next_number;
	op->deadline_ns = loop_now(c->loop) + deadline_ns;
	if (c->is_closing || (names_a_lease(op->type) && c->state != CLIENT_READY)) {
		op_finish_later(c, op, STORE_LOST);
		return;
	}
	len = proto_request_encode(rq, buf, sizeof(buf));
	if (len > 0)
		op->out = malloc((size_t)len);
	if (len < 0 || !op->out) {
		op_finish_later(c, op, len < 0 ? STORE_INVALID : STORE_IO);
		return;
	}
	memcpy(op->out, buf, (size_t)len);
	op->out_len = (size_t)len;
	if (op == &c->hello)
		list_push_front(&c->queued, &op->link);
	else
		list_push(&c->queued, &op->link);
	client_pump(c);
	timer_arm(c);
}

/* @id is copied whole or not at all: a name that is too long must not become another name */
static void set_id(struct proto_request *rq, const char *id)
{
	if (id && strlen(id) <= STORE_ID_MAX)
		strcpy(rq->id, id);
}

#define REQUEST(t, m)                                                                              \
	(&(struct proto_request){                                                                  \
		.type = (t), .mask = (m), .pin = false, .n_pieces = 0, .text = NULL})

static void simple(struct store_client *c, struct store_op *op, enum proto_type t, const char *id)
{
	struct proto_request *rq = REQUEST(t, PROTO_F_ID);

	set_id(rq, id);
	request(c, op, rq, DEADLINE);
}

void store_hello(struct store_client *c, struct store_op *op)
{
	request(c, op, REQUEST(PROTO_HELLO, 0), DEADLINE);
}

void store_create(struct store_client *c, struct store_op *op, const struct store_create *cr)
{
	struct proto_request *rq = REQUEST(PROTO_CREATE, PROTO_F_CREATE);

	if (cr->id && cr->id[0]) {
		rq->mask |= PROTO_F_ID;
		set_id(rq, cr->id);
	}
	if (cr->attrs_len) {
		rq->mask |= PROTO_F_ATTRS;
		rq->attrs = cr->attrs;
		rq->attrs_len = cr->attrs_len;
	}
	rq->reserve_bytes = cr->reserve_bytes;
	rq->length = cr->length;
	rq->piece_length = cr->piece_length;
	rq->expires_ns = cr->expires_ns;
	rq->pin = cr->pin;
	rq->uid = (uint32_t)cr->uid;
	rq->generation = cr->generation;
	rq->wait_ns = cr->wait_ns;
	request(c, op, rq, cr->wait_ns < 86400 * SECOND ? cr->wait_ns + DEADLINE : 86400 * SECOND);
}

void store_attach(
	struct store_client *c, struct store_op *op, const uint8_t token[STORE_TOKEN_SIZE])
{
	struct proto_request *rq = REQUEST(PROTO_ATTACH, PROTO_F_TOKEN);

	memcpy(rq->token, token, STORE_TOKEN_SIZE);
	request(c, op, rq, DEADLINE + ATTACH_EXTRA);
}

void store_pieces(struct store_client *c, struct store_op *op, uint32_t lease,
	const struct store_piece *p, size_t n)
{
	struct proto_request *rq = REQUEST(PROTO_PIECES, PROTO_F_LEASE | PROTO_F_PIECES);

	rq->lease = lease;
	rq->n_pieces = n;
	if (n <= STORE_PIECES_BATCH && n)
		memcpy(rq->pieces, p, n * sizeof(*p));
	request(c, op, rq, DEADLINE);
}

void store_commit(struct store_client *c, struct store_op *op, uint32_t lease, const char *id,
	const uint8_t fingerprint[STORE_FPRINT_SIZE], const void *attrs, size_t attrs_len)
{
	struct proto_request *rq =
		REQUEST(PROTO_COMMIT, PROTO_F_LEASE | PROTO_F_ID | PROTO_F_FPRINT);

	rq->lease = lease;
	set_id(rq, id);
	memcpy(rq->fingerprint, fingerprint, STORE_FPRINT_SIZE);
	if (attrs) {
		rq->mask |= PROTO_F_ATTRS;
		rq->attrs = attrs;
		rq->attrs_len = attrs_len;
	}
	request(c, op, rq, 4 * DEADLINE);
}

static void lease_request(
	struct store_client *c, struct store_op *op, enum proto_type t, uint32_t lease)
{
	struct proto_request *rq = REQUEST(t, PROTO_F_LEASE);

	rq->lease = lease;
	request(c, op, rq, DEADLINE);
}

void store_abort(struct store_client *c, struct store_op *op, uint32_t lease)
{
	lease_request(c, op, PROTO_ABORT, lease);
}

void store_open(struct store_client *c, struct store_op *op, const char *id)
{
	simple(c, op, PROTO_OPEN, id);
}

void store_release(struct store_client *c, struct store_op *op, uint32_t lease)
{
	lease_request(c, op, PROTO_RELEASE, lease);
}

void store_stat(struct store_client *c, struct store_op *op, const char *id)
{
	simple(c, op, PROTO_STAT, id);
}

void store_list(struct store_client *c, struct store_op *op, uint64_t cursor)
{
	struct proto_request *rq = REQUEST(PROTO_LIST, PROTO_F_CURSOR);

	rq->cursor = cursor;
	request(c, op, rq, DEADLINE);
}

void store_touch(struct store_client *c, struct store_op *op, const char *id)
{
	simple(c, op, PROTO_TOUCH, id);
}

void store_pin(struct store_client *c, struct store_op *op, const char *id, bool pin)
{
	struct proto_request *rq = REQUEST(PROTO_PIN, PROTO_F_ID | PROTO_F_PIN);

	set_id(rq, id);
	rq->pin = pin;
	request(c, op, rq, DEADLINE);
}

void store_extend(struct store_client *c, struct store_op *op, const char *id, uint64_t expires_ns)
{
	struct proto_request *rq = REQUEST(PROTO_EXTEND, PROTO_F_ID | PROTO_F_EXPIRES);

	set_id(rq, id);
	rq->expires_ns = expires_ns;
	request(c, op, rq, DEADLINE);
}

void store_delete(struct store_client *c, struct store_op *op, const char *id)
{
	simple(c, op, PROTO_DELETE, id);
}

void store_set_attrs(struct store_client *c, struct store_op *op, const char *id, const void *attrs,
	size_t attrs_len)
{
	struct proto_request *rq = REQUEST(PROTO_SET_ATTRS, PROTO_F_ID | PROTO_F_ATTRS);

	set_id(rq, id);
	rq->attrs = attrs;
	rq->attrs_len = attrs_len;
	request(c, op, rq, DEADLINE);
}

void store_cull(struct store_client *c, struct store_op *op, bool dry_run, uint64_t free_bytes)
{
	struct proto_request *rq = REQUEST(PROTO_CULL, PROTO_F_CULL);

	rq->dry_run = dry_run;
	rq->bytes = free_bytes;
	request(c, op, rq, ATTACH_EXTRA);
}

void store_control(struct store_client *c, struct store_op *op, const char *words)
{
	struct proto_request *rq = REQUEST(PROTO_CONTROL, PROTO_F_TEXT);

	rq->text = words;
	rq->text_len = strlen(words);
	request(c, op, rq, ATTACH_EXTRA);
}

void store_cancel(struct store_client *c, struct store_op *op)
{
	if (!list_is_linked(&op->link))
		return;
	list_for_each (it, &c->done) {
		if (it == &op->link) {
			op->number = STORE_LOST;
			return;
		}
	}
	if (op == c->sending)
		c->sending = NULL; /* the bytes are the client's */
	op_finish_later(c, op, STORE_LOST);
}

static void on_given_back(struct store_op *op, const struct store_reply *r)
{
	(void)r;
	free(container_of(op, struct give_back, op));
}

static void give_back(struct store_client *c, enum proto_type t, uint32_t lease)
{
	struct give_back *g = calloc(1, sizeof(*g));

	if (!g)
		return; /* the lease then ends with the session */
	g->op.fn = on_given_back;
	/* a create nobody waits for has no owner: its data goes too; a resumed partial stays */
	lease_request(c, &g->op, t == PROTO_CREATE ? PROTO_ABORT : PROTO_RELEASE, lease);
}

/* ---- the session ----------------------------------------------------------------------------- */

static void on_hello(struct store_op *op, const struct store_reply *r)
{
	struct store_client *c = container_of(op, struct store_client, hello);

	if (c->is_closing || r->status == STORE_LOST)
		return;
	/* a message with an OK says that the store is off */
	if (r->status != STORE_OK || (r->message[0] && !c->is_control)) {
		if (!c->lost_reported)
			log_warning("store: refused by the store socket=%s reason=%s",
				c->addr.sun_path, r->message);
		c->lost_reported = true;
		c->backoff_ns = RECONNECT_MAX;
		client_lost(c, -EACCES);
		return;
	}
	c->state = CLIENT_READY;
	c->backoff_ns = RECONNECT_MIN;
	if (c->lost_reported)
		log_notice("store: connected again socket=%s", c->addr.sun_path);
	c->lost_reported = false;
	c->on_event(c->arg, STORE_EVENT_READY);
	client_pump(c);
}

/* so that the store knows that who holds leases lives */
static void on_beaten(struct store_op *op, const struct store_reply *r)
{
}

static void on_beat_timer(struct loop_op *lop, int res)
{
	struct store_client *c = container_of(lop, struct store_client, beat_timer);

	(void)res;
	if (c->is_closing) {
		client_maybe_free(c);
		return;
	}
	if (c->state == CLIENT_READY && !list_is_linked(&c->beat.link))
		store_hello(c, &c->beat);
	loop_timer(c->loop, &c->beat_timer, loop_now(c->loop) + c->beat_ns);
}

static void client_lost(struct store_client *c, int why)
{
	bool was_ready = c->state == CLIENT_READY;

	c->state = CLIENT_DOWN;
	if (c->fd >= 0)
		shutdown(c->fd, SHUT_RDWR);
	loop_cancel(c->loop, &c->recv);
	loop_cancel(c->loop, &c->send);
	if (c->sending) {
		/* part of a message is never sent on SEQPACKET: it went or it did not, and which
		 * is not known, so it is lost like those sent */
		op_finish_later(c, c->sending, STORE_LOST);
		c->sending = NULL;
	}
	list_for_each_safe (it, &c->sent)
		op_finish_later(c, list_entry(it, struct store_op, link), STORE_LOST);
	list_for_each_safe (it, &c->queued) {
		struct store_op *op = list_entry(it, struct store_op, link);
		if (op == &c->hello || names_a_lease(op->type))
			op_finish_later(c, op, STORE_LOST);
	}
	if (c->is_closing)
		return;
	if (was_ready) {
		if (!c->lost_reported)
			log_warning("store: connection lost, trying again socket=%s reason=%s",
				c->addr.sun_path, strerror(-why));
		c->lost_reported = true;
		c->on_event(c->arg, STORE_EVENT_LOST);
	}
	if (!c->is_closing && !loop_op_is_active(&c->reconnect))
		loop_timer(c->loop, &c->reconnect, loop_now(c->loop) + c->backoff_ns);
	c->backoff_ns = c->backoff_ns * 2 < RECONNECT_MAX ? c->backoff_ns * 2 : RECONNECT_MAX;
}

static void on_reconnect(struct loop_op *lop, int res)
{
	struct store_client *c = container_of(lop, struct store_client, reconnect);

	(void)res;
	if (c->is_closing) {
		client_maybe_free(c);
		return;
	}
	/* the old socket's operations must be over before its number can be used again */
	if (loop_op_is_active(&c->recv) || loop_op_is_active(&c->send) ||
		list_is_linked(&c->hello.link)) {
		loop_timer(c->loop, &c->reconnect, loop_now(c->loop) + RECONNECT_MIN / 10);
		return;
	}
	c->fd = fd_close(c->fd);
	client_connect(c);
}

static void recv_arm(struct store_client *c)
{
	c->iov = (struct iovec){.iov_base = c->in, .iov_len = sizeof(c->in)};
	c->msg = (struct msghdr){.msg_iov = &c->iov,
		.msg_iovlen = 1,
		.msg_control = c->control.buf,
		.msg_controllen = sizeof(c->control.buf)};
	loop_recvmsg(c->loop, &c->recv, c->fd, &c->msg);
}

static size_t take_fds(struct store_client *c, int fds[FDS_IN_A_REPLY])
{
	size_t n = 0;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(&c->msg); h; h = CMSG_NXTHDR(&c->msg, h)) {
		size_t k;

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		k = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < k; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
			if (n < FDS_IN_A_REPLY)
				fds[n++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

static void deliver(struct store_client *c, int fds[FDS_IN_A_REPLY], size_t n_fds)
{
	struct proto_reply *p = &c->reply;
	struct store_op *op = NULL;
	struct store_reply r;
	size_t k = 0;

	list_for_each (it, &c->sent) {
		op = list_entry(it, struct store_op, link);
		if (op->number == p->number)
			break;
		op = NULL;
	}
	/* who is turned away hears it before the number of the hello was read */
	if (!op && c->state == CLIENT_HELLO && p->type == PROTO_HELLO &&
		list_is_linked(&c->hello.link)) {
		op = &c->hello;
		if (c->sending == op)
			c->sending = NULL;
		op_release_bytes(op);
	}
	r = (struct store_reply){.status = p->status,
		.message = p->message[0] || p->status == STORE_OK ? p->message
								  : default_message(p->status),
		.lease = p->lease,
		.data_fd = -1,
		.record_fd = -1,
		.read_fd = -1,
		.info = p->info,
		.attrs = p->attrs,
		.attrs_len = p->attrs_len,
		.entries = p->entries,
		.n_entries = p->n_entries,
		.cursor = p->cursor,
		.free_bytes = p->free_bytes,
		.total_bytes = p->total_bytes,
		.cull_bytes = p->cull_bytes,
		.run_bytes = p->run_bytes,
		.stop_bytes = p->stop_bytes,
		.freed_bytes = p->freed_bytes};
	memcpy(r.token, p->token, sizeof(r.token));
	if (p->mask & PROTO_R_DATA_FD && k < n_fds)
		r.data_fd = fds[k++];
	if (p->mask & PROTO_R_RECORD_FD && k < n_fds)
		r.record_fd = fds[k++];
	if (p->mask & PROTO_R_READ_FD && k < n_fds)
		r.read_fd = fds[k++];
	for (; k < n_fds; k++)
		close(fds[k]);
	if (!op) {
		fd_close(r.data_fd);
		fd_close(r.record_fd);
		fd_close(r.read_fd);
		if (p->mask & PROTO_R_LEASE)
			give_back(c, p->type, p->lease);
		return;
	}
	list_del(&op->link);
	op->fn(op, &r);
}

static void on_recv(struct loop_op *lop, int res)
{
	struct store_client *c = container_of(lop, struct store_client, recv);
	int fds[FDS_IN_A_REPLY];
	size_t n_fds = 0, n_expected;
	int rc;

	if (res > 0)
		n_fds = take_fds(c, fds);
	if (c->is_closing || c->state == CLIENT_DOWN) {
		for (size_t i = 0; i < n_fds; i++)
			close(fds[i]);
		client_maybe_free(c);
		return;
	}
	/* The daemon closed before it read our hello: that error comes first, and what it said, why we are
	 * turned away, is behind it. */
	if (res == -ECONNRESET && c->state == CLIENT_HELLO && !c->has_been_reset) {
		c->has_been_reset = true;
		recv_arm(c);
		return;
	}
	if (res <= 0) {
		client_lost(c, res ? res : -ECONNRESET);
		return;
	}
	c->reply.entries = c->entries;
	rc = c->msg.msg_flags & MSG_TRUNC ? -EBADMSG
					  : proto_reply_decode(c->in, (size_t)res, &c->reply);
	n_expected = !!(c->reply.mask & PROTO_R_DATA_FD) + !!(c->reply.mask & PROTO_R_RECORD_FD) +
		     !!(c->reply.mask & PROTO_R_READ_FD);
	if (!rc && n_fds != n_expected)
		rc = c->msg.msg_flags & MSG_CTRUNC ? -EMFILE : -EBADMSG;
	if (rc) {
		for (size_t i = 0; i < n_fds; i++)
			close(fds[i]);
		log_warning("store: a reply cannot be understood socket=%s reason=%s",
			c->addr.sun_path, strerror(-rc));
		client_lost(c, rc);
		return;
	}
	if (c->reply.type == PROTO_EVENT)
		c->on_event(c->arg, c->reply.event);
	else
		deliver(c, fds, n_fds);
	if (c->is_closing)
		client_maybe_free(c);
	else if (c->state != CLIENT_DOWN)
		recv_arm(c);
}

static void on_send(struct loop_op *lop, int res)
{
	struct store_client *c = container_of(lop, struct store_client, send);
	struct store_op *op = c->sending;

	free(c->send_bytes);
	c->send_bytes = NULL;
	c->sending = NULL;
	if (c->is_closing) {
		client_maybe_free(c);
		return;
	}
	if (c->state == CLIENT_DOWN)
		return;
	if (res < 0) {
		/* turned away before the hello went out: on_recv() hears why */
		if (c->state == CLIENT_HELLO && op == &c->hello && loop_op_is_active(&c->recv) &&
			(res == -EPIPE || res == -ECONNRESET))
			return;
		if (op)
			op_finish_later(c, op, STORE_LOST);
		client_lost(c, res);
		return;
	}
	if (op) {
		list_del(&op->link);
		list_push(&c->sent, &op->link);
	}
	client_pump(c);
}

static void client_pump(struct store_client *c)
{
	struct store_op *op;

	if (c->state == CLIENT_DOWN || loop_op_is_active(&c->send) || list_empty(&c->queued))
		return;
	op = list_entry(c->queued.next, struct store_op, link);
	if (c->state == CLIENT_HELLO && op != &c->hello)
		return;
	c->sending = op;
	c->send_bytes = take_ptr(&op->out);
	loop_send(c->loop, &c->send, c->fd, c->send_bytes, op->out_len);
}

static void client_connect(struct store_client *c)
{
	socklen_t len =
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(c->addr.sun_path) + 1);
	int rc = 0;

	c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&c->addr, len))
		rc = -errno;
	if (rc) {
		c->fd = fd_close(c->fd);
		if (!c->lost_reported)
			log_warning("store: cannot connect, trying again socket=%s reason=%s",
				c->addr.sun_path, strerror(-rc));
		c->lost_reported = true;
		client_lost(c, rc);
		return;
	}
	c->state = CLIENT_HELLO;
	c->has_been_reset = false;
	recv_arm(c);
	c->hello.fn = on_hello;
	request(c, &c->hello, REQUEST(PROTO_HELLO, 0), DEADLINE);
}

int store_client_new(struct store_client **out, struct loop *l, const char *socket_path,
	void (*on_event)(void *arg, enum store_event e), void *arg)
{
	struct store_client *c;

	if (strlen(socket_path) >= sizeof(c->addr.sun_path))
		return -ENAMETOOLONG;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->loop = l;
	c->fd = -1;
	c->on_event = on_event;
	c->arg = arg;
	c->backoff_ns = RECONNECT_MIN;
	c->addr.sun_family = AF_UNIX;
	strcpy(c->addr.sun_path, socket_path);
	list_init(&c->queued);
	list_init(&c->sent);
	list_init(&c->done);
	loop_op_init(&c->post, on_post);
	loop_op_init(&c->timer, on_timer);
	loop_op_init(&c->recv, on_recv);
	loop_op_init(&c->send, on_send);
	loop_op_init(&c->reconnect, on_reconnect);
	loop_op_init(&c->beat_timer, on_beat_timer);
	list_init(&c->beat.link);
	c->beat.fn = on_beaten;
	loop_timer(l, &c->reconnect, 0);
	c->beat_ns = BEAT;
	loop_timer(l, &c->beat_timer, loop_now(l) + c->beat_ns);
	*out = c;
	return 0;
}

void store_client_beat_every(struct store_client *c, uint64_t ns)
{
	c->beat_ns = ns;
	loop_cancel(c->loop, &c->beat_timer); /* its callback arms it again */
}

void store_client_control_only(struct store_client *c)
{
	c->is_control = true;
}

struct store_client *store_client_free(struct store_client *c)
{
	if (!c)
		return NULL;
	c->is_closing = true;
	client_lost(c, -ECANCELED);
	list_for_each_safe (it, &c->queued)
		op_finish_later(c, list_entry(it, struct store_op, link), STORE_LOST);
	loop_cancel(c->loop, &c->timer);
	loop_cancel(c->loop, &c->reconnect);
	loop_cancel(c->loop, &c->beat_timer);
	/* freed by the last callback: there must be one */
	if (client_is_idle(c))
		loop_post(c->loop, &c->post, 0);
	return NULL;
}

bool store_client_is_ready(const struct store_client *c)
{
	return c->state == CLIENT_READY;
}
