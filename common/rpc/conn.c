/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conn.c — see conn.h
 *
 * RUNNING ─(h2 is done)─▶ LINGERING ─(end, error, 2 s)─▶ CLOSING ─(no op in flight)─▶ gone
 *    └──────────────────(error, conn_close)──────────────────┘
 * Lingering: closing a TCP socket that holds unread bytes resets the connection, and the reset
 * destroys answers that the peer has not read yet. */
#include "common/rpc/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"

#define READS_PER_TURN 16
#define WRITE_PER_TURN ((size_t)4 << 20)
#define SETTLE_ROUNDS  8
#define LINGER_NS      (UINT64_C(2) * 1000000000)
#define LINGER_BYTES   ((size_t)1 << 20)
#define SCM_MAX        253 /* SCM_MAX_FD of the kernel */

static void read_some(struct conn *c);

static void on_kick(struct loop_op *op, int res);
static void on_readable(struct loop_op *op, int res);
static void on_writable(struct loop_op *op, int res);
static void on_timer(struct loop_op *op, int res);

static void on_fds_closed(struct loop_op *op, int res);

void conn_init(struct conn *c, struct loop *l, int fd)
{
	*c = (struct conn){.loop = l, .fd = fd, .timer_at = UINT64_MAX};
	loop_op_init(&c->rd, on_readable);
	loop_op_init(&c->wr, on_writable);
	loop_op_init(&c->kick, on_kick);
	loop_op_init(&c->timer, on_timer);
	loop_op_init(&c->closing, on_fds_closed);
}

void conn_start(struct conn *c)
{
	loop_poll(c->loop, &c->rd, c->fd, POLLIN);
	conn_wake(c);
}

void conn_wake(void *arg)
{
	struct conn *c = arg;

	c->has_work = true;
	if (!c->is_running && !loop_op_is_active(&c->kick))
		loop_post(c->loop, &c->kick, 0);
}

static void begin_close(struct conn *c)
{
	if (c->is_closing)
		return;
	c->is_closing = true;
	c->is_lingering = false;
	loop_cancel(c->loop, &c->rd);
	loop_cancel(c->loop, &c->wr);
	loop_cancel(c->loop, &c->timer);
	/* the end is reached from a callback, never from within the caller */
	if (!loop_op_is_active(&c->kick))
		loop_post(c->loop, &c->kick, 0);
}

void conn_close(struct conn *c, const char *reason)
{
	if (!c->reason[0])
		snprintf(c->reason, sizeof(c->reason), "%s", reason);
	if (!h2_is_dead(c->h2))
		h2_fail(c->h2, "%s", c->reason);
	begin_close(c);
}

/* lost - the socket says that it is over */
static void lost(struct conn *c, const char *what, int error)
{
	char text[TLS_REASON + 32];

	if (c->tls && tls_reason(c->tls)[0]) {
		what = tls_reason(c->tls);
	} else if (error) {
		snprintf(text, sizeof(text), "%s: %s", what, strerror(error));
		what = text;
	}
	conn_close(c, what);
}

static int close_fds(void *arg)
{
	struct conn *c = arg;

	for (unsigned i = 0; i < c->n_fds + c->n_surplus; i++)
		c->fds[i] = fd_close(c->fds[i]);
	return 0;
}

static bool has_fds(const struct conn *c)
{
	for (unsigned i = 0; i < c->n_fds + c->n_surplus; i++)
		if (c->fds[i] >= 0)
			return true;
	return false;
}

/* gone - true when @c does not exist any more */
static bool gone(struct conn *c)
{
	if (!c->is_closing || loop_op_is_active(&c->rd) || loop_op_is_active(&c->wr) ||
		loop_op_is_active(&c->kick) || loop_op_is_active(&c->timer) ||
		loop_op_is_active(&c->closing))
		return false;
	if (has_fds(c)) {
		loop_work_apart(c->loop, &c->closing, close_fds, c);
		return false;
	}
	c->is_running = true; /* what the last callbacks queue wakes nobody */
	c->h2 = h2_free(c->h2);
	c->was_refused = c->tls && !tls_is_open(c->tls);
	c->tls = tls_free(c->tls);
	c->fd = fd_close(c->fd);
	c->on_gone(c);
	return true;
}

static void on_fds_closed(struct loop_op *op, int res)
{
	struct conn *c = container_of(op, struct conn, closing);

	if (res < 0) /* no thread for it */
		close_fds(c);
	gone(c);
}

static void linger(struct conn *c)
{
	if (c->tls && tls_flush(c->tls) == -EAGAIN)
		return; /* flush() waits for the socket */
	if (shutdown(c->fd, SHUT_WR) < 0) {
		begin_close(c);
		return;
	}
	c->is_lingering = true;
	c->linger_until = loop_now(c->loop) + LINGER_NS;
}

static void arm(struct conn *c)
{
	uint64_t at = c->is_lingering ? c->linger_until : h2_next_deadline(c->h2);

	if (c->is_closing)
		return;
	if (!loop_op_is_active(&c->timer)) {
		c->timer_at = at;
		if (at != UINT64_MAX)
			loop_timer(c->loop, &c->timer, at);
	} else if (at < c->timer_at) {
		c->timer_at = at;
		loop_cancel(c->loop, &c->timer); /* its callback arms it again */
	}
}

static ssize_t send_iov(struct conn *c, struct iovec *iov, int n)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)];
		struct cmsghdr align;
	} ctl = {0};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};

	if (c->tls) {
		ssize_t r = tls_writev(c->tls, iov, n);

		errno = r < 0 ? (int)-r : 0;
		return r < 0 ? -1 : r;
	}
	if (c->n_send_fds) {
		struct cmsghdr *h;

		m.msg_control = ctl.buf;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * c->n_send_fds);
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int) * c->n_send_fds);
		memcpy(CMSG_DATA(h), c->send_fds, sizeof(int) * c->n_send_fds);
	}
	return sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void wait_writable(struct conn *c)
{
	/* a handshake that waits for the other side is woken by what arrives */
	if (!c->tls || tls_events(c->tls) & POLLOUT)
		loop_poll(c->loop, &c->wr, c->fd, POLLOUT);
}

static void flush(struct conn *c)
{
	struct iovec iov[H2_IOV];
	size_t total = 0;

	while (!c->is_closing && !loop_op_is_active(&c->wr)) {
		int n = h2_output(c->h2, iov, H2_IOV);
		ssize_t r;

		if (!n) {
			if (c->tls && tls_flush(c->tls) == -EAGAIN)
				wait_writable(c);
			return;
		}
		if (total >= WRITE_PER_TURN) {
			c->has_work = true; /* others first */
			return;
		}
		r = send_iov(c, iov, n);
		if (r >= 0) {
			c->n_send_fds = 0;
			total += (size_t)r;
			h2_sent(c->h2, (size_t)r);
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			wait_writable(c);
			return;
		} else if (errno != EINTR) {
			int e = errno;

			read_some(c); /* the peer's last words: answers, or why it hung up */
			if (!c->is_closing)
				lost(c, "connection lost", e);
		}
	}
}

void conn_leave(struct conn *c, const char *reason)
{
	h2_goaway(c->h2);
	if (!c->is_lingering)
		flush(c);
	conn_close(c, reason);
}

/* settle - callbacks, output, and the timer, until nothing is left to do now */
static void settle(struct conn *c)
{
	if (c->is_lingering) {
		arm(c);
		return;
	}
	for (int i = 0; i < SETTLE_ROUNDS; i++) {
		c->has_work = false;
		h2_process(c->h2);
		flush(c);
		if (c->on_turn)
			c->on_turn(c);
		if (!c->has_work)
			break;
	}
	if (c->has_work && !loop_op_is_active(&c->kick))
		loop_post(c->loop, &c->kick, 0);
	if (!c->is_closing && h2_is_dead(c->h2)) {
		conn_close(c, h2_reason(c->h2));
		h2_process(c->h2);
		if (c->on_turn)
			c->on_turn(c);
	} else if (!c->is_closing && h2_is_done(c->h2)) {
		linger(c);
	}
	arm(c);
}

static void on_kick(struct loop_op *op, int res)
{
	struct conn *c = container_of(op, struct conn, kick);

	if (gone(c))
		return;
	c->is_running = true;
	if (c->is_closing)
		h2_process(c->h2);
	else
		settle(c);
	c->is_running = false;
	gone(c);
}

static void on_writable(struct loop_op *op, int res)
{
	struct conn *c = container_of(op, struct conn, wr);

	c->is_running = true;
	if (!c->is_closing) {
		if (c->tls)
			read_some(c); /* TLS may have had to write before it could read on */
		settle(c);
	}
	c->is_running = false;
	gone(c);
}

static void on_timer(struct loop_op *op, int res)
{
	struct conn *c = container_of(op, struct conn, timer);
	uint64_t now = loop_now(c->loop);

	c->is_running = true;
	if (c->is_lingering) {
		if (now >= c->linger_until)
			begin_close(c);
		else
			arm(c);
	} else if (!c->is_closing) {
		h2_tick(c->h2, now);
		settle(c);
	}
	c->is_running = false;
	gone(c);
}

/* park - descriptors that came with bytes; false when they are too many: all surplus is closed */
static bool park(struct conn *c, struct msghdr *m)
{
	bool is_ok = !(m->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < (h->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
			if (c->n_fds < c->max_fds && c->n_fds < FD_PASS_MAX && !c->n_surplus) {
				c->fds[c->n_fds++] = fd;
				continue;
			}
			/* the connection ends now, so there is no more than one such batch */
			if (c->n_fds + c->n_surplus < 2 * FD_PASS_MAX)
				c->fds[c->n_fds + c->n_surplus++] = fd;
			else
				fd_close(fd);
			is_ok = false;
		}
	}
	return is_ok;
}

static ssize_t receive(struct conn *c, bool *is_refused)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * SCM_MAX)];
		struct cmsghdr align;
	} ctl;
	struct iovec iov = {.iov_base = c->scratch, .iov_len = c->scratch_len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t r;

	if (c->tls) {
		r = tls_read(c->tls, c->scratch, c->scratch_len);
		errno = r < 0 ? (int)-r : 0;
		return r < 0 ? -1 : r;
	}
	if (!c->is_unix)
		return recv(c->fd, c->scratch, c->scratch_len, MSG_DONTWAIT);
	m.msg_control = ctl.buf;
	m.msg_controllen = sizeof(ctl.buf);
	r = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (r >= 0 && m.msg_controllen)
		*is_refused = !park(c, &m);
	return r;
}

static void read_some(struct conn *c)
{
	for (int i = 0; i < READS_PER_TURN; i++) {
		bool is_refused = false;
		ssize_t r;

		if (c->next_scratch)
			c->scratch = c->next_scratch(c->scratch_arg, &c->scratch_len);
		r = receive(c, &is_refused);

		if (is_refused) {
			lost(c, "the peer sent more descriptors than allowed", 0);
			return;
		}
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			if (c->tls && tls_events(c->tls) & POLLOUT && !loop_op_is_active(&c->wr))
				wait_writable(c);
			return;
		}
		if (r <= 0) {
			if (c->is_lingering)
				begin_close(c);
			else
				lost(c, r ? "connection lost" : "the peer closed the connection",
					r ? errno : 0);
			return;
		}
		if (c->is_lingering) {
			c->lingered += (size_t)r;
			if (c->lingered >= LINGER_BYTES) {
				begin_close(c);
				return;
			}
		} else {
			h2_recv(c->h2, c->scratch, (size_t)r, loop_now(c->loop));
			if (h2_is_dead(c->h2) || c->is_closing)
				return;
		}
		if ((size_t)r < c->scratch_len)
			return;
	}
}

static void on_readable(struct loop_op *op, int res)
{
	struct conn *c = container_of(op, struct conn, rd);

	c->is_running = true;
	if (!c->is_closing) {
		if (res < 0)
			lost(c, "connection lost", -res);
		else
			read_some(c);
		settle(c);
		if (!c->is_closing && c->tls && tls_has_pending(c->tls))
			loop_post(c->loop, &c->rd, POLLIN); /* others first */
		else if (!c->is_closing)
			loop_poll(c->loop, &c->rd, c->fd, POLLIN);
	}
	c->is_running = false;
	gone(c);
}
