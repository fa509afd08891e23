/* SPDX-License-Identifier: GPL-2.0-or-later */
/* session.c — messages in and out of one connection, and its leases. See session.h. */
#include "cachefilesd/store/session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"

struct out {
	struct list link;
	uint64_t since_ns;
	size_t len;
	int fds[3];
	size_t n_fds;
	uint8_t bytes[];
};

static void out_free(struct out *o)
{
	for (size_t i = 0; i < o->n_fds; i++)
		close(o->fds[i]);
	free(o);
}

/* ---- leases ---------------------------------------------------------------------------------- */

/* a number is a slot and a serial, so that a stale number never names another lease */
#define SLOT_BITS 14
#define SLOT_MASK ((1u << SLOT_BITS) - 1)
_Static_assert(SERVER_LEASES <= SLOT_MASK, "slots must fit");

struct lease *session_lease_new(struct session *c)
{
	struct lease *l;
	uint32_t slot = 0;

	if (c->n_leases >= SERVER_LEASES)
		return NULL;
	if (c->n_leases < c->n_slots) {
		while (c->leases[slot])
			slot++;
	} else {
		uint32_t n = c->n_slots ? c->n_slots * 2 : 8;
		struct lease **v = realloc(c->leases, n * sizeof(struct lease *));

		if (!v)
			return NULL;
		memset(v + c->n_slots, 0, (n - c->n_slots) * sizeof(struct lease *));
		slot = c->n_slots;
		c->leases = v;
		c->n_slots = n;
	}
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->session = c;
	l->record = -1;
	l->number = ++c->lease_serial << SLOT_BITS | (slot + 1);
	c->leases[slot] = l;
	c->n_leases++;
	return l;
}

struct lease *session_lease_find(struct session *c, uint32_t number)
{
	uint32_t slot = (number & SLOT_MASK) - 1;
	struct lease *l = slot < c->n_slots ? c->leases[slot] : NULL;

	return l && l->number == number && !l->is_closing ? l : NULL;
}

void lease_forget(struct lease *l)
{
	struct session *c = l->session;

	c->leases[(l->number & SLOT_MASK) - 1] = NULL;
	c->n_leases--;
	c->reserved_bytes -= l->reserve;
	fd_close(l->record);
	free(l->head);
	free(l->bitmap);
	free(l);
}

void lease_end(struct lease *l)
{
	struct depot *t = l->session->server->depot;

	if (l->task) {
		depot_unlease(t, l->task, true);
		server_used(l->session->server);
	}
	if (l->partial)
		depot_unlease_partial(t, l->partial);
	lease_forget(l);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void recv_arm(struct session *c)
{
	c->in_iov = (struct iovec){.iov_base = c->in, .iov_len = sizeof(c->in)};
	/* no room for control data: the kernel drops descriptors that a client sends */
	c->in_msg = (struct msghdr){.msg_iov = &c->in_iov, .msg_iovlen = 1};
	loop_recvmsg(c->server->loop, &c->recv, c->fd, &c->in_msg);
}

void session_maybe_free(struct session *c)
{
	struct server *s = c->server;

	if (!c->is_closed || c->n_jobs || loop_op_is_active(&c->recv) ||
		loop_op_is_active(&c->send))
		return;
	list_del(&c->link);
	fd_close(c->fd);
	free(c->leases);
	free(c);
	s->n_sessions--;
	server_session_gone(s);
}

void session_close(struct session *c, const char *why)
{
	struct list *n;

	if (c->is_closed)
		return;
	c->is_closed = true;
	if (why)
		LOG_LIMITED(LOG_WARNING, "store: client dropped pid=%d uid=%u reason=%s",
			(int)c->cred.pid, (unsigned)c->cred.uid, why);
	shutdown(c->fd, SHUT_RDWR);
	loop_cancel(c->server->loop, &c->recv);
	loop_cancel(c->server->loop, &c->send);
	/* the message that is being sent belongs to the operation until its callback */
	while (c->outs.prev != &c->outs &&
		!(loop_op_is_active(&c->send) && c->outs.next == c->outs.prev)) {
		n = c->outs.prev;
		list_del(n);
		out_free(list_entry(n, struct out, link));
	}
	for (uint32_t i = 0; i < c->n_slots; i++) {
		struct lease *l = c->leases[i];

		if (!l)
			continue;
		if (l->is_busy)
			l->is_closing = true;
		else
			lease_end(l);
	}
	list_for_each_safe (it, &c->server->waiting) {
		struct job *j = list_entry(it, struct job, link);
		if (j->session == c) {
			list_del(&j->link);
			request_drop(j);
		}
	}
	list_for_each_safe (it, &c->server->parked) {
		struct job *j = list_entry(it, struct job, link);
		if (j->session == c) {
			list_del(&j->link);
			request_drop(j);
		}
	}
	session_maybe_free(c);
}

/* ---- out ------------------------------------------------------------------------------------- */

static void send_next(struct session *c)
{
	struct out *o;

	if (c->is_closed || loop_op_is_active(&c->send) || list_empty(&c->outs))
		return;
	o = list_entry(c->outs.next, struct out, link);
	c->out_iov = (struct iovec){.iov_base = o->bytes, .iov_len = o->len};
	c->out_msg = (struct msghdr){.msg_iov = &c->out_iov, .msg_iovlen = 1};
	if (o->n_fds) {
		struct cmsghdr *h;

		memset(&c->control, 0, sizeof(c->control));
		c->out_msg.msg_control = c->control.buf;
		c->out_msg.msg_controllen = CMSG_SPACE(o->n_fds * sizeof(int));
		h = CMSG_FIRSTHDR(&c->out_msg);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(o->n_fds * sizeof(int));
		memcpy(CMSG_DATA(h), o->fds, o->n_fds * sizeof(int));
	}
	loop_sendmsg(c->server->loop, &c->send, c->fd, &c->out_msg);
}

static void on_send(struct loop_op *op, int res)
{
	struct session *c = container_of(op, struct session, send);
	struct list *n = list_pop(&c->outs);

	if (n) {
		out_free(list_entry(n, struct out, link));
		c->n_outs--;
	}
	if (c->is_closed) {
		session_maybe_free(c);
		return;
	}
	if (res < 0) {
		session_close(c, NULL);
		return;
	}
	send_next(c);
	session_resume(c);
}

void session_reply(struct session *c, struct proto_reply *r, int data, int record, int read_only)
{
	uint8_t buf[PROTO_MESSAGE_MAX];
	const int fds[] = {data, record, read_only};
	const uint32_t bits[] = {PROTO_R_DATA_FD, PROTO_R_RECORD_FD, PROTO_R_READ_FD};
	struct out *o = NULL;
	int len;

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		r->mask |= fds[i] >= 0 ? bits[i] : 0;
	if (r->message[0])
		r->mask |= PROTO_R_MESSAGE;
	len = c->is_closed ? -ECANCELED : proto_reply_encode(r, buf, sizeof(buf));
	if (len > 0)
		o = malloc(sizeof(*o) + (size_t)len);
	if (!o) {
		for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
			fd_close(fds[i]);
		if (!c->is_closed)
			session_close(c, len < 0 ? "a reply could not be made" : "out of memory");
		return;
	}
	*o = (struct out){.len = (size_t)len, .since_ns = loop_now(c->server->loop)};
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			o->fds[o->n_fds++] = fds[i];
	memcpy(o->bytes, buf, (size_t)len);
	list_push(&c->outs, &o->link);
	c->n_outs++;
	send_next(c);
}

void session_say(struct session *c, enum proto_type t, uint32_t number, enum store_status st,
	const char *fmt, ...)
{
	struct proto_reply r = {.type = t, .number = number, .status = st};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r.message, sizeof(r.message), fmt, ap);
	va_end(ap);
	session_reply(c, &r, -1, -1, -1);
}

uint64_t session_oldest_out(const struct session *c)
{
	return list_empty(&c->outs) ? UINT64_MAX
				    : list_entry(c->outs.next, struct out, link)->since_ns;
}

/* ---- in -------------------------------------------------------------------------------------- */

void session_resume(struct session *c)
{
	if (!c->is_closed && !loop_op_is_active(&c->recv) &&
		c->n_outs + c->n_jobs < SERVER_REQUESTS)
		recv_arm(c);
}

static void on_recv(struct loop_op *op, int res)
{
	struct session *c = container_of(op, struct session, recv);
	struct proto_request rq;
	const char *why;
	int rc;

	if (c->is_closed) {
		session_maybe_free(c);
		return;
	}
	if (res <= 0) {
		session_close(c, res < 0 && res != -ECONNRESET ? strerror(-res) : NULL);
		return;
	}
	c->heard_ns = loop_now(c->server->loop);
	c->n_jobs++; /* it must not be freed in here, whatever the request does */
	rc = c->in_msg.msg_flags & MSG_TRUNC ? -EBADMSG
					     : proto_request_decode(c->in, (size_t)res, &rq, &why);
	if (c->in_msg.msg_flags & MSG_TRUNC) {
		rq.number = 0;
		why = "a message that is too long";
	}
	if (rc == -EPROTONOSUPPORT && rq.number) {
		session_say(c, rq.type, rq.number, STORE_INVALID,
			"this store speaks version %d of the protocol", PROTO_VERSION);
	} else if (rc && rq.number) {
		session_say(c, rq.type, rq.number, STORE_INVALID, "%s: %s",
			proto_type_name(rq.type), why);
	} else if (rc) {
		session_close(c, why);
	} else {
		request_handle(c, &rq);
	}
	c->n_jobs--;
	session_resume(c);
	session_maybe_free(c);
}

/* ---- who is there ---------------------------------------------------------------------------- */

static bool in_group(int fd, const struct ucred *cred, gid_t group)
{
	gid_t groups[1024];
	socklen_t len = sizeof(groups);

	if (cred->gid == group)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len))
		return false;
	for (size_t i = 0; i < len / sizeof(gid_t); i++)
		if (groups[i] == group)
			return true;
	return false;
}

int session_new(struct server *s, int fd)
{
	struct session *c = calloc(1, sizeof(*c));
	socklen_t len = sizeof(c->cred);
	bool may;

	if (!c)
		return -ENOMEM;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c->cred, &len)) {
		int e = errno;

		free(c);
		return -e;
	}
	c->is_trusted = c->cred.uid == 0 || c->cred.uid == geteuid() ||
			(s->set.has_user && c->cred.uid == s->set.user);
	may = c->is_trusted || (s->set.has_group && in_group(fd, &c->cred, s->set.group));
	if (!may) {
		LOG_LIMITED(LOG_WARNING, "store: client refused pid=%d uid=%u gid=%u",
			(int)c->cred.pid, (unsigned)c->cred.uid, (unsigned)c->cred.gid);
		free(c);
		return -EACCES;
	}
	c->server = s;
	c->fd = fd;
	c->heard_ns = loop_now(s->loop);
	list_init(&c->outs);
	loop_op_init(&c->recv, on_recv);
	loop_op_init(&c->send, on_send);
	list_push(&s->sessions, &c->link);
	s->n_sessions++;
	recv_arm(c);
	return 0;
}
