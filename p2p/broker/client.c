/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/broker/client.h"

#include <errno.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <poll.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/rpc/rpc.h"
#include "p2p/broker/proto.h"

#define MAX_CALLS          64
#define DEFAULT_TIMEOUT_NS (30 * 1000000000ull)

struct broker {
	struct loop *loop;
	char *socket_path, *program;
	unsigned max_calls, n_used; /* calls and outputs */
	struct list calls, outputs, children;
	bool is_closing;
	struct loop_op gone_op;
	void (*gone)(void *);
	void *gone_arg;
};

/* a spawned broker, waited for so that it leaves no zombie */
struct child {
	struct broker *b;
	struct list link;
	pid_t pid;
	int pidfd;
	struct loop_op exited;
};

struct broker_output {
	struct broker *b;
	struct list link;
	int sock;
};

typedef void (*source_fn)(void *, int, const char *, int);
typedef void (*output_fn)(void *, int, const char *, struct broker_output *, int);
typedef void (*plain_fn)(void *, int, const char *);

struct broker_call {
	struct broker *b;
	struct list link;
	enum broker_operation operation;
	int sock;
	union {
		source_fn source;
		output_fn output;
		plain_fn plain;
	} fn;
	void *arg;
	bool is_answered; /* the callback ran, or never will */
	struct loop_op recv, timer, early;
	int early_status; /* a failure before anything was in flight */
	char *early_text;
	struct msghdr msg;
	struct iovec iov;
	struct {
		_Alignas(struct cmsghdr) char bytes[CMSG_SPACE(FD_PASS_MAX * sizeof(int))];
	} control;
	uint8_t reply[BROKER_REPLY_MAX + 1]; /* one more shows a reply that is too long */
};

static void on_gone(struct loop_op *op, int res)
{
	struct broker *b = container_of(op, struct broker, gone_op);

	if (b->gone)
		b->gone(b->gone_arg);
	free(b->socket_path);
	free(b->program);
	free(b);
}

/* broker_settle - after anything ended: was it the last thing that a close waits for? */
static void broker_settle(struct broker *b)
{
	if (b->is_closing && list_empty(&b->calls) && list_empty(&b->outputs) &&
		list_empty(&b->children) && !loop_op_is_active(&b->gone_op))
		loop_post(b->loop, &b->gone_op, 0);
}

/* ---- the process at the other end ---------------------------------------------------------- */

static void on_child_exit(struct loop_op *op, int res)
{
	struct child *c = container_of(op, struct child, exited);
	struct broker *b = c->b;
	int status = 0;

	if (waitpid(c->pid, &status, WNOHANG) == 0) {
		/* not yet: the poll ended for another reason */
		loop_poll(b->loop, &c->exited, c->pidfd, POLLIN);
		return;
	}
	if (WIFSIGNALED(status))
		log_warning("broker: child killed pid=%d signal=%d", (int)c->pid, WTERMSIG(status));
	list_del(&c->link);
	fd_close(c->pidfd);
	free(c);
	broker_settle(b);
}

static int spawn(struct broker *b, int *sock)
{
	_cleanup_free_ struct child *c = calloc(1, sizeof(*c));
	char *argv[] = {b->program, (char *)"--connection", (char *)"3", NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, defaults;
	int pair[2], r;

	if (!c)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	r = posix_spawn_file_actions_init(&actions);
	if (r != 0) {
		fd_close(pair[0]);
		fd_close(pair[1]);
		return -r;
	}
	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	r = posix_spawnattr_init(&attr);
	if (r == 0) {
		r = posix_spawn_file_actions_adddup2(&actions, pair[1], 3) ?:
			posix_spawnattr_setflags(&attr,
				POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF) ?:
			posix_spawnattr_setsigmask(&attr, &none) ?:
			posix_spawnattr_setsigdefault(&attr, &defaults) ?:
			posix_spawn(&c->pid, b->program, &actions, &attr, argv, environ);
		posix_spawnattr_destroy(&attr);
	}
	posix_spawn_file_actions_destroy(&actions);
	fd_close(pair[1]);
	if (r == 0) {
		c->pidfd = pidfd_open(c->pid, 0);
		if (c->pidfd < 0)
			r = errno; /* it ends with its connection; the zombie is ours till exit */
	}
	if (r != 0) {
		fd_close(pair[0]);
		return -r;
	}
	c->b = b;
	list_push(&b->children, &c->link);
	loop_op_init(&c->exited, on_child_exit);
	loop_poll(b->loop, &c->exited, c->pidfd, POLLIN);
	take_ptr(&c);
	*sock = pair[0];
	return fd_set_nonblock(*sock);
}

static int dial(struct broker *b, int *sock)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	_cleanup_fd_ int fd = -1;

	if (!b->socket_path)
		return spawn(b, sock);
	if (strlen(b->socket_path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, b->socket_path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* a local connect is done at once, or fails: EAGAIN is a full backlog */
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	*sock = take_fd(&fd);
	return 0;
}

/* ---- one call ------------------------------------------------------------------------------ */

static void call_release(struct broker_call *c)
{
	struct broker *b = c->b;

	if (loop_op_is_active(&c->recv) || loop_op_is_active(&c->timer) ||
		loop_op_is_active(&c->early))
		return;
	list_del(&c->link);
	fd_close(c->sock);
	free(c->early_text);
	free(c);
	broker_settle(b);
}

/* call_close - the answer is given, or not wanted: stop what is in flight. The memory goes with the
 * last completion, the place among max_calls goes now. */
static void call_close(struct broker_call *c)
{
	c->is_answered = true;
	c->b->n_used--;
	loop_cancel(c->b->loop, &c->recv);
	loop_cancel(c->b->loop, &c->timer);
	loop_cancel(c->b->loop, &c->early);
}

/* call_answer - the one way out: consumes @fd */
static void call_answer(struct broker_call *c, int status, const char *text, int fd)
{
	_cleanup_fd_ int owned = fd;
	struct broker_output *o = NULL;

	if (c->is_answered)
		return;
	call_close(c);
	if (c->operation == BROKER_OPEN_OUTPUT && status == RPC_OK) {
		o = calloc(1, sizeof(*o));
		if (o) {
			*o = (struct broker_output){.b = c->b, .sock = take_fd(&c->sock)};
			list_push(&c->b->outputs, &o->link);
			c->b->n_used++;
		} else {
			status = RPC_RESOURCE_EXHAUSTED;
			text = "out of memory";
			owned = fd_close(owned);
		}
	}
	switch (c->operation) {
	case BROKER_OPEN_SOURCE:
		c->fn.source(c->arg, status, text, take_fd(&owned));
		break;
	case BROKER_OPEN_OUTPUT:
		c->fn.output(c->arg, status, text, o, take_fd(&owned));
		break;
	case BROKER_LINK:
	case BROKER_PLACE:
		c->fn.plain(c->arg, status, text);
		break;
	}
}

/* received_fds - the descriptors of a message: the first is returned, others are closed */
static int received_fds(struct msghdr *m)
{
	int fd = -1;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		size_t n;

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int got;

			memcpy(&got, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
			if (fd < 0)
				fd = got;
			else
				fd_close(got);
		}
	}
	return fd;
}

static void on_reply(struct loop_op *op, int res)
{
	struct broker_call *c = container_of(op, struct broker_call, recv);
	_cleanup_fd_ int fd = -1;
	struct broker_reply re;
	bool wants_fd = c->operation == BROKER_OPEN_SOURCE || c->operation == BROKER_OPEN_OUTPUT;

	if (res > 0)
		fd = received_fds(&c->msg);
	if (c->is_answered) {
		/* cancelled or late: the descriptor goes, with the connection */
	} else if (res <= 0) {
		call_answer(c, RPC_UNAVAILABLE,
			"the broker of dfdaemon ended without an answer; its log says why", -1);
	} else if (broker_reply_parse(c->reply, (size_t)res, &re) < 0 ||
		   (re.status == RPC_OK && wants_fd != (fd >= 0))) {
		call_answer(c, RPC_INTERNAL,
			"the broker of dfdaemon sent an answer that is not in its protocol; "
			"are both of the same version?",
			-1);
	} else {
		call_answer(c, (int)re.status, re.text, re.status == RPC_OK ? take_fd(&fd) : -1);
	}
	call_release(c);
}

static void on_timeout(struct loop_op *op, int res)
{
	struct broker_call *c = container_of(op, struct broker_call, timer);

	if (res == -ETIME)
		call_answer(c, RPC_DEADLINE_EXCEEDED,
			"the path could not be opened in time: its file system does not answer",
			-1);
	call_release(c);
}

static void on_early(struct loop_op *op, int res)
{
	struct broker_call *c = container_of(op, struct broker_call, early);

	call_answer(c, c->early_status, c->early_text ? c->early_text : "out of memory", -1);
	call_release(c);
}

static struct broker_call *call_new(struct broker *b, enum broker_operation op, void *arg)
{
	struct broker_call *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->b = b;
	c->operation = op;
	c->arg = arg;
	c->sock = -1;
	loop_op_init(&c->recv, on_reply);
	loop_op_init(&c->timer, on_timeout);
	loop_op_init(&c->early, on_early);
	list_push(&b->calls, &c->link);
	b->n_used++;
	return c;
}

static void __attribute__((format(printf, 3, 4)))
call_fail(struct broker_call *c, int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&c->early_text, fmt, ap) < 0)
		c->early_text = NULL;
	va_end(ap);
	c->early_status = status;
	loop_post(c->b->loop, &c->early, 0);
}

/* call_send - the request leaves now: it always fits an empty socket */
static void call_send(struct broker_call *c, bool overwrite, const char *path, const int *fds,
	uint64_t timeout_ns)
{
	uint8_t rq[BROKER_REQUEST_MAX];
	size_t n = broker_request_encode(rq, sizeof(rq), c->operation, overwrite, path);
	ssize_t sent;

	if (!n || (c->operation != BROKER_PLACE && path[0] != '/')) {
		call_fail(c, RPC_INVALID_ARGUMENT,
			"the path must be absolute and at most %d bytes long", BROKER_PATH_MAX);
		return;
	}
	sent = fd_send(c->sock, rq, n, fds, broker_request_n_fds(c->operation), MSG_NOSIGNAL);
	if (sent < 0) {
		call_fail(c, RPC_UNAVAILABLE, "cannot send to the broker of dfdaemon: %s",
			strerror((int)-sent));
		return;
	}
	c->iov = (struct iovec){c->reply, sizeof(c->reply)};
	c->msg = (struct msghdr){.msg_iov = &c->iov,
		.msg_iovlen = 1,
		.msg_control = c->control.bytes,
		.msg_controllen = sizeof(c->control.bytes)};
	loop_recvmsg(c->b->loop, &c->recv, c->sock, &c->msg);
	loop_timer(c->b->loop, &c->timer,
		loop_now(c->b->loop) + (timeout_ns ? timeout_ns : DEFAULT_TIMEOUT_NS));
}

static void call_begin(struct broker_call *c, bool overwrite, const char *path, const int *fds,
	uint64_t timeout_ns)
{
	struct broker *b = c->b;
	int r;

	if (b->n_used > b->max_calls) {
		call_fail(c, RPC_RESOURCE_EXHAUSTED,
			"%u paths are being opened already; try again, or use a descriptor",
			b->max_calls);
		return;
	}
	r = dial(b, &c->sock);
	if (r < 0) {
		call_fail(c, RPC_UNAVAILABLE,
			"no broker to open a path for the caller (%s: %s); is it running? "
			"a client that sends a descriptor does not need it",
			b->socket_path ? b->socket_path : b->program, strerror(-r));
		return;
	}
	call_send(c, overwrite, path, fds, timeout_ns);
}

struct broker_call *broker_open_source(struct broker *b, int client_sock, const char *path,
	uint64_t timeout_ns, source_fn fn, void *arg)
{
	struct broker_call *c = call_new(b, BROKER_OPEN_SOURCE, arg);

	if (!c)
		return NULL;
	c->fn.source = fn;
	call_begin(c, false, path, &client_sock, timeout_ns);
	return c;
}

struct broker_call *broker_open_output(struct broker *b, int client_sock, const char *path,
	bool overwrite, uint64_t timeout_ns, output_fn fn, void *arg)
{
	struct broker_call *c = call_new(b, BROKER_OPEN_OUTPUT, arg);

	if (!c)
		return NULL;
	c->fn.output = fn;
	call_begin(c, overwrite, path, &client_sock, timeout_ns);
	return c;
}

struct broker_call *broker_link(struct broker *b, int client_sock, int data_fd, const char *path,
	bool overwrite, uint64_t timeout_ns, plain_fn fn, void *arg)
{
	const int fds[] = {client_sock, data_fd};
	struct broker_call *c = call_new(b, BROKER_LINK, arg);

	if (!c)
		return NULL;
	c->fn.plain = fn;
	call_begin(c, overwrite, path, fds, timeout_ns);
	return c;
}

struct broker_call *broker_output_place(
	struct broker_output *o, uint64_t timeout_ns, plain_fn fn, void *arg)
{
	struct broker_call *c = call_new(o->b, BROKER_PLACE, arg);

	if (!c) {
		broker_output_abort(o);
		return NULL;
	}
	c->fn.plain = fn;
	c->sock = take_fd(&o->sock);
	broker_output_abort(o);
	call_send(c, false, "", NULL, timeout_ns);
	return c;
}

struct broker_output *broker_output_abort(struct broker_output *o)
{
	struct broker *b;

	if (!o)
		return NULL;
	b = o->b;
	list_del(&o->link);
	b->n_used--;
	fd_close(o->sock);
	free(o);
	broker_settle(b);
	return NULL;
}

void broker_call_cancel(struct broker_call *c)
{
	if (!c->is_answered)
		call_close(c);
}

/* ---- the whole ----------------------------------------------------------------------------- */

int broker_new(struct broker **out, struct loop *l, const struct broker_options *o)
{
	struct broker *b = calloc(1, sizeof(*b));
	bool by_socket = o->socket_path && *o->socket_path;

	if (!b)
		return -ENOMEM;
	b->loop = l;
	b->max_calls = o->max_calls ? o->max_calls : MAX_CALLS;
	list_init(&b->calls);
	list_init(&b->outputs);
	list_init(&b->children);
	loop_op_init(&b->gone_op, on_gone);
	if (by_socket)
		b->socket_path = strdup(o->socket_path);
	else
		b->program = strdup(o->program);
	if (!b->socket_path && !b->program) {
		free(b);
		return -ENOMEM;
	}
	*out = b;
	return 0;
}

void broker_close(struct broker *b, void (*gone)(void *arg), void *arg)
{
	while (!list_empty(&b->outputs))
		broker_output_abort(list_entry(b->outputs.next, struct broker_output, link));
	list_for_each (it, &b->calls)
		broker_call_cancel(list_entry(it, struct broker_call, link));
	b->is_closing = true;
	b->gone = gone;
	b->gone_arg = arg;
	broker_settle(b);
}
