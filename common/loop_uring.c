/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loop_uring.c — the back end on io_uring (liburing 2.3 API).
 *
 * The ring is created disabled and restricted to the operations below before it is enabled: a ring
 * is invisible to seccomp, so it limits itself. SINGLE_ISSUER and DEFER_TASKRUN are asked for and
 * dropped where the kernel refuses (before 6.1).
 *
 * user_data is the address of the loop_op, except 0 (a cancel request's own completion) and
 * &l->wake_fd (the poll on it). When the submission queue is full, the ring is submitted; if that
 * does not help, operations and cancels wait on lists here, in order.
 *
 * Some kernels end an operation on a non-blocking socket with EAGAIN instead of waiting: then a poll
 * is submitted in its place, and the operation again after it. */
#include "common/loop_impl.h"

#include <errno.h>
#include <poll.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

#define SQ_ENTRIES 256
#define CQ_ENTRIES 4096

enum { NOT_SUBMITTED, IN_RING, POLLING };

struct ring {
	struct io_uring u;
	struct list unsubmitted; /* no room in the queue yet */
	struct list uncanceled; /* in the ring; the cancel request has found no room yet */
	bool wake_is_armed;
};

static const uint8_t allowed_ops[] = {
	IORING_OP_ACCEPT, IORING_OP_CONNECT, IORING_OP_RECV, IORING_OP_RECVMSG, IORING_OP_SEND,
	IORING_OP_SENDMSG, IORING_OP_READ, IORING_OP_WRITE, IORING_OP_POLL_ADD,
	IORING_OP_ASYNC_CANCEL,
	IORING_OP_TIMEOUT, /* how liburing waits with a bound where EXT_ARG is missing */
};

/* restrict_ring - through the raw call: the wrappers for these two are in liburing's header, but 2.3
 * forgot to export them */
static int restrict_ring(struct io_uring *u)
{
	struct io_uring_restriction res[ARRAY_SIZE(allowed_ops)] = {0};
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(allowed_ops); i++) {
		res[i].opcode = IORING_RESTRICTION_SQE_OP;
		res[i].sqe_op = allowed_ops[i];
	}
	r = io_uring_register(
		(unsigned)u->ring_fd, IORING_REGISTER_RESTRICTIONS, res, ARRAY_SIZE(res));
	if (r < 0)
		return r;
	r = io_uring_register((unsigned)u->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	return r < 0 ? r : 0;
}

static int ring_open(struct loop *l)
{
	static const struct {
		unsigned flags;
		const char *names;
	} wishes[] = {
		{IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
			"single_issuer,defer_taskrun"},
		{IORING_SETUP_COOP_TASKRUN, "coop_taskrun"},
		{0, "none"},
	};
	struct ring *ring = calloc(1, sizeof(*ring));
	int r = -EINVAL;

	if (!ring)
		return -ENOMEM;
	list_init(&ring->unsubmitted);
	list_init(&ring->uncanceled);
	for (size_t i = 0; i < ARRAY_SIZE(wishes) && r == -EINVAL; i++) {
		struct io_uring_params p = {
			.flags = wishes[i].flags | IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED,
			.cq_entries = CQ_ENTRIES,
		};

		r = io_uring_queue_init_params(SQ_ENTRIES, &ring->u, &p);
		if (r)
			continue;
		snprintf(l->detail, sizeof(l->detail), "granted=%s", wishes[i].names);
		r = restrict_ring(&ring->u);
		if (r)
			io_uring_queue_exit(&ring->u);
	}
	if (r) {
		free(ring);
		return r == -EINVAL ? -ENOSYS : r; /* a kernel too old (before 5.10) */
	}
	log_debug("loop: io_uring is ready %s", l->detail);
	l->be_data = ring;
	return 0;
}

static void ring_close(struct loop *l)
{
	struct ring *ring = l->be_data;

	io_uring_queue_exit(&ring->u);
	free(ring);
}

static struct io_uring_sqe *get_sqe(struct ring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->u);

	if (sqe)
		return sqe;
	io_uring_submit(
		&ring->u); /* -EBUSY: completions must be taken first; then there is no room */
	return io_uring_get_sqe(&ring->u);
}

static unsigned poll_events_of(const struct loop_op *op)
{
	switch (op->kind) {
	case LOOP_CONNECT:
	case LOOP_SEND:
	case LOOP_SENDMSG:
		return POLLOUT;
	default:
		return POLLIN;
	}
}

static void prepare(struct io_uring_sqe *sqe, struct loop_op *op)
{
	switch (op->kind) {
	case LOOP_ACCEPT:
		io_uring_prep_accept(sqe, op->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		break;
	case LOOP_CONNECT:
		io_uring_prep_connect(sqe, op->fd, op->ptr, (socklen_t)op->len);
		break;
	case LOOP_RECV:
		io_uring_prep_recv(sqe, op->fd, op->ptr, op->len, 0);
		break;
	case LOOP_RECVMSG:
		io_uring_prep_recvmsg(sqe, op->fd, op->ptr, MSG_CMSG_CLOEXEC);
		break;
	case LOOP_SEND:
		io_uring_prep_send(sqe, op->fd, op->ptr, op->len, MSG_NOSIGNAL);
		break;
	case LOOP_SENDMSG:
		io_uring_prep_sendmsg(sqe, op->fd, op->ptr, MSG_NOSIGNAL);
		break;
	case LOOP_READ:
		io_uring_prep_read(sqe, op->fd, op->ptr, (unsigned)op->len, op->off);
		break;
	case LOOP_WRITE:
		io_uring_prep_write(sqe, op->fd, op->ptr, (unsigned)op->len, op->off);
		break;
	default: /* LOOP_POLL */
		io_uring_prep_poll_add(sqe, op->fd, (unsigned short)op->flags);
		break;
	}
}

/* put_in_ring - false when there is no room */
static bool put_in_ring(struct ring *ring, struct loop_op *op)
{
	struct io_uring_sqe *sqe = get_sqe(ring);

	if (!sqe)
		return false;
	if (op->state == POLLING) {
		io_uring_prep_poll_add(sqe, op->fd, poll_events_of(op));
	} else {
		prepare(sqe, op);
		op->state = IN_RING;
	}
	io_uring_sqe_set_data(sqe, op);
	return true;
}

static void submit(struct ring *ring, struct loop_op *op)
{
	if (!list_empty(&ring->unsubmitted) || !put_in_ring(ring, op))
		list_push(&ring->unsubmitted, &op->link);
}

static void ring_submit(struct loop *l, struct loop_op *op)
{
	op->state = NOT_SUBMITTED;
	if (op->fd < 0)
		loop_complete(l, op, -EBADF);
	else
		submit(l->be_data, op);
}

static bool put_cancel(struct ring *ring, struct loop_op *op)
{
	struct io_uring_sqe *sqe = get_sqe(ring);

	if (!sqe)
		return false;
	io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)op, 0);
	io_uring_sqe_set_data64(sqe, 0);
	return true;
}

static void ring_cancel(struct loop *l, struct loop_op *op)
{
	struct ring *ring = l->be_data;

	if (list_is_linked(&op->link)) /* still on the unsubmitted list */
		loop_complete(l, op, -ECANCELED);
	else if (!put_cancel(ring, op))
		list_push(&ring->uncanceled, &op->link);
}

static void on_completion(struct loop *l, struct loop_op *op, int res)
{
	bool is_socket_op = op->kind != LOOP_POLL && op->kind != LOOP_READ &&
			    op->kind != LOOP_WRITE && op->kind != LOOP_CONNECT;

	list_del(&op->link); /* perhaps on the uncanceled list */
	if (op->is_canceled && (res == -EINTR || res == -EAGAIN))
		res = -ECANCELED;
	if (op->state == POLLING && (op->is_canceled || res < 0)) {
		loop_complete(l, op, op->is_canceled ? -ECANCELED : res);
	} else if (op->state == POLLING) {
		op->state = NOT_SUBMITTED;
		submit(l->be_data, op);
	} else if (is_socket_op && (res == -EAGAIN || res == -EINTR)) {
		op->state = POLLING;
		submit(l->be_data, op);
	} else {
		loop_complete(l, op, res);
	}
}

static int on_wake(struct loop *l)
{
	struct ring *ring = l->be_data;
	uint64_t count;

	ring->wake_is_armed = false;
	return read(l->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN ? -errno : 0;
}

/* feed - what found no room earlier, and the poll on the wake descriptor */
static void feed(struct loop *l)
{
	struct ring *ring = l->be_data;

	if (!ring->wake_is_armed) {
		struct io_uring_sqe *sqe = get_sqe(ring);

		if (sqe) {
			io_uring_prep_poll_add(sqe, l->wake_fd, POLLIN);
			io_uring_sqe_set_data(sqe, &l->wake_fd);
			ring->wake_is_armed = true;
		}
	}
	while (!list_empty(&ring->uncanceled)) {
		struct loop_op *op = container_of(ring->uncanceled.next, struct loop_op, link);

		if (!put_cancel(ring, op))
			return;
		list_del(&op->link);
	}
	while (!list_empty(&ring->unsubmitted)) {
		struct loop_op *op = container_of(ring->unsubmitted.next, struct loop_op, link);

		if (!put_in_ring(ring, op))
			return;
		list_del(&op->link);
	}
}

static int wait_ring(struct io_uring *u, uint64_t timeout_ns)
{
	struct __kernel_timespec ts = {
		.tv_sec = (int64_t)(timeout_ns / 1000000000u),
		.tv_nsec = (long long)(timeout_ns % 1000000000u),
	};
	struct io_uring_cqe *cqe;

	if (timeout_ns == 0)
		return io_uring_submit_and_get_events(u);
	if (timeout_ns == UINT64_MAX)
		return io_uring_submit_and_wait(u, 1);
	return io_uring_submit_and_wait_timeout(u, &cqe, 1, &ts, NULL);
}

static int ring_wait(struct loop *l, uint64_t timeout_ns)
{
	struct ring *ring = l->be_data;
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	int r, result = 0;

	feed(l);
	if (!list_empty(&ring->unsubmitted) || !list_empty(&ring->uncanceled) ||
		!ring->wake_is_armed)
		timeout_ns = 0; /* the queue is full: take completions, then go on feeding */
	r = wait_ring(&ring->u, timeout_ns);
	if (r < 0 && r != -ETIME && r != -EINTR && r != -EBUSY && r != -EAGAIN)
		return r;
	io_uring_for_each_cqe(&ring->u, head, cqe)
	{
		void *data = io_uring_cqe_get_data(cqe);

		n++;
		if (data == &l->wake_fd)
			result = on_wake(l);
		else if (data && cqe->user_data != LIBURING_UDATA_TIMEOUT)
			on_completion(l, data, cqe->res);
	}
	io_uring_cq_advance(&ring->u, n);
	return result;
}

const struct loop_backend loop_backend_uring = {
	.name = "io_uring",
	.open = ring_open,
	.close = ring_close,
	.submit = ring_submit,
	.cancel = ring_cancel,
	.wait = ring_wait,
};
