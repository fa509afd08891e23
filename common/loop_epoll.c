/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loop_epoll.c — the back end for places where io_uring is forbidden or not wanted.
 *
 * A socket operation is tried at once; if it would block it waits on its descriptor's list and the
 * descriptor is armed for one event (EPOLLONESHOT) with everything the list waits for. Arming is one
 * epoll_ctl each time, tried as MOD, then ADD: the kernel forgets a descriptor when it is closed
 * and we cannot see that, so the table here says what waits, never what is registered. An event left
 * over from an earlier file of the same number finds operations that still would block: harmless.
 * Files: what is in the page cache is read at once (RWF_NOWAIT), the rest goes to the pool. */
#include "common/loop_impl.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/cleanup.h"

#define EVENTS_PER_WAIT 128
#define WOULD_BLOCK     INT_MIN /* not an errno: -EAGAIN can be a result, see connect */

/* what waits on one descriptor number, oldest first; allocated once per number */
struct slot {
	struct list ops;
};

struct ep {
	int fd;
	struct slot **slots; /* by descriptor number; owned */
	size_t n_slots;
};

static int ep_open(struct loop *l)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = l->wake_fd};
	struct ep *ep = calloc(1, sizeof(*ep));
	int r;

	if (!ep)
		return -ENOMEM;
	ep->fd = epoll_create1(EPOLL_CLOEXEC);
	if (ep->fd < 0 || epoll_ctl(ep->fd, EPOLL_CTL_ADD, l->wake_fd, &ev) < 0) {
		r = -errno;
		fd_close(ep->fd);
		free(ep);
		return r;
	}
	l->be_data = ep;
	return 0;
}

static void ep_close(struct loop *l)
{
	struct ep *ep = l->be_data;

	for (size_t i = 0; i < ep->n_slots; i++)
		free(ep->slots[i]);
	free(ep->slots);
	fd_close(ep->fd);
	free(ep);
}

/* slot_get - the slot of @fd, made if need be; NULL: out of memory */
static struct slot *slot_get(struct ep *ep, int fd)
{
	size_t i = (size_t)fd;

	if (i >= ep->n_slots) {
		size_t n = ep->n_slots ? ep->n_slots : 64;
		struct slot **v;

		while (n <= i)
			n *= 2;
		v = reallocarray(ep->slots, n, sizeof(*v));
		if (!v)
			return NULL;
		for (size_t k = ep->n_slots; k < n; k++)
			v[k] = NULL;
		ep->slots = v;
		ep->n_slots = n;
	}
	if (!ep->slots[i]) {
		ep->slots[i] = malloc(sizeof(struct slot));
		if (ep->slots[i])
			list_init(&ep->slots[i]->ops);
	}
	return ep->slots[i];
}

/* events_of - what an operation waits for */
static uint32_t events_of(const struct loop_op *op)
{
	switch (op->kind) {
	case LOOP_CONNECT:
	case LOOP_SEND:
	case LOOP_SENDMSG:
		return EPOLLOUT;
	case LOOP_POLL:
		return (uint32_t)(op->flags & (POLLIN | POLLOUT | POLLPRI | POLLRDHUP));
	default:
		return EPOLLIN;
	}
}

static int connect_result(const struct loop_op *op)
{
	struct pollfd p = {.fd = op->fd, .events = POLLOUT};
	socklen_t len = sizeof(int);
	int e;

	if (poll(&p, 1, 0) == 0)
		return WOULD_BLOCK;
	if (getsockopt(op->fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0)
		return -errno;
	return -e;
}

/* attempt - the system call behind a socket operation, or WOULD_BLOCK. @revents: what epoll
 * reported, 0 on the first try. Signals do not end an operation. */
static int attempt(const struct loop_op *op, uint32_t revents)
{
	ssize_t n;

	switch (op->kind) {
	case LOOP_ACCEPT:
		do
			n = accept4(op->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		while (n < 0 && (errno == EINTR || errno == ECONNABORTED));
		break;
	case LOOP_CONNECT:
		if (revents)
			return connect_result(op);
		n = connect(op->fd, op->ptr, (socklen_t)op->len);
		if (n < 0 && errno != EINPROGRESS && errno != EINTR)
			return -errno; /* EAGAIN: a unix listener is full, and epoll cannot wait */
		return n < 0 ? WOULD_BLOCK : 0;
	case LOOP_RECV:
		n = recv(op->fd, op->ptr, op->len, MSG_DONTWAIT);
		break;
	case LOOP_RECVMSG:
		n = recvmsg(op->fd, op->ptr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		break;
	case LOOP_SEND:
		n = send(op->fd, op->ptr, op->len, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case LOOP_SENDMSG:
		n = sendmsg(op->fd, op->ptr, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	default: /* LOOP_POLL */
		revents &= (uint32_t)op->flags | POLLERR | POLLHUP;
		return revents ? (int)revents : WOULD_BLOCK;
	}
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? WOULD_BLOCK : -errno;
	return (int)n;
}

/* arm - one event for all that waits on @fd. An error completes every waiting operation. */
static void arm(struct loop *l, int fd, struct slot *s)
{
	struct ep *ep = l->be_data;
	struct epoll_event ev = {.events = EPOLLONESHOT, .data.fd = fd};
	int r = 0;

	if (list_empty(&s->ops))
		return;
	list_for_each (it, &s->ops)
		ev.events |= events_of(container_of(it, struct loop_op, link));
	if (epoll_ctl(ep->fd, EPOLL_CTL_MOD, fd, &ev) == 0)
		return;
	if (errno == ENOENT && epoll_ctl(ep->fd, EPOLL_CTL_ADD, fd, &ev) == 0)
		return;
	r = -errno;
	while (!list_empty(&s->ops)) {
		struct loop_op *op = container_of(s->ops.next, struct loop_op, link);

		/* a regular file cannot be watched because it is always ready, as poll(2) says */
		if (r == -EPERM && op->kind == LOOP_POLL)
			loop_complete(l, op, op->flags & (POLLIN | POLLOUT));
		else
			loop_complete(l, op, r);
	}
}

static void wait_on_fd(struct loop *l, struct loop_op *op, struct slot *s)
{
	list_push(&s->ops, &op->link);
	arm(l, op->fd, s);
}

static bool has_waiting(const struct slot *s, uint32_t events)
{
	list_for_each (it, &s->ops)
		if (events_of(container_of(it, struct loop_op, link)) & events)
			return true;
	return false;
}

static void submit_file(struct loop *l, struct loop_op *op)
{
	struct iovec v = {.iov_base = op->ptr, .iov_len = op->len};
	ssize_t n = op->kind == LOOP_READ ? preadv2(op->fd, &v, 1, (off_t)op->off, RWF_NOWAIT)
					  : pwritev2(op->fd, &v, 1, (off_t)op->off, RWF_NOWAIT);

	/* a short result may be the end of the file or of the cache: the pool finds out */
	if (n == (ssize_t)op->len)
		loop_complete(l, op, (int)n);
	else
		loop_pool_submit(l, op);
}

static void ep_submit(struct loop *l, struct loop_op *op)
{
	struct slot *s;
	int r;

	if (op->fd < 0) {
		loop_complete(l, op, -EBADF);
		return;
	}
	if (op->kind == LOOP_READ || op->kind == LOOP_WRITE) {
		submit_file(l, op);
		return;
	}
	s = slot_get(l->be_data, op->fd);
	if (!s) {
		loop_complete(l, op, -ENOMEM);
		return;
	}
	/* never overtake an operation that waits for the same thing */
	r = op->kind == LOOP_POLL || has_waiting(s, events_of(op)) ? WOULD_BLOCK : attempt(op, 0);
	if (r == WOULD_BLOCK)
		wait_on_fd(l, op, s);
	else
		loop_complete(l, op, r);
}

static void ep_cancel(struct loop *l, struct loop_op *op)
{
	if (op->kind == LOOP_READ || op->kind == LOOP_WRITE)
		loop_pool_cancel(l, op);
	else
		loop_complete(l, op, -ECANCELED); /* takes it off its slot */
}

static void on_event(struct loop *l, int fd, uint32_t revents)
{
	struct ep *ep = l->be_data;
	struct slot *s = (size_t)fd < ep->n_slots ? ep->slots[fd] : NULL;
	uint32_t blocked = 0;

	if (!s)
		return;
	list_for_each_safe (it, &s->ops) {
		struct loop_op *op = container_of(it, struct loop_op, link);
		uint32_t want = events_of(op);
		int r;

		if (!(revents & (want | EPOLLERR | EPOLLHUP)) ||
			(op->kind != LOOP_POLL && (want & blocked)))
			continue;
		r = attempt(op, revents);
		if (r != WOULD_BLOCK)
			loop_complete(l, op, r);
		else if (op->kind != LOOP_POLL)
			blocked |= want;
	}
	arm(l, fd, s);
}

static int ep_wait(struct loop *l, uint64_t timeout_ns)
{
	struct ep *ep = l->be_data;
	struct epoll_event ev[EVENTS_PER_WAIT];
	uint64_t ms = timeout_ns / 1000000u + (timeout_ns % 1000000u != 0);
	int n;

	n = epoll_wait(ep->fd, ev, EVENTS_PER_WAIT,
		timeout_ns == UINT64_MAX ? -1 : (int)(ms < INT_MAX ? ms : INT_MAX));
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		uint64_t count;

		if (ev[i].data.fd != l->wake_fd)
			on_event(l, ev[i].data.fd, ev[i].events);
		else if (read(l->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

const struct loop_backend loop_backend_epoll = {
	.name = "epoll",
	.open = ep_open,
	.close = ep_close,
	.submit = ep_submit,
	.cancel = ep_cancel,
	.wait = ep_wait,
};
