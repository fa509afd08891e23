/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dfcache/client.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <poll.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/loop.h"
#include "dfcache/writer.h"

#define TICK_NS            50000000ull
#define CONNECT_TIMEOUT_NS 3000000000ull
/* a piece and its frame; the daemon is this node's own, and old ones cut pieces of any length */
#define MAX_MESSAGE ((size_t)1 << 30)

struct client {
	struct loop *loop;
	const char *endpoint;
	struct list calls;
	struct rpc_limits limits;
	struct writer *writer;
	int signal_fd, signal;
	struct loop_op signal_op;
	sigset_t old_mask;
};

static void on_signal(struct loop_op *op, int res)
{
	struct client *c = container_of(op, struct client, signal_op);
	struct signalfd_siginfo info;

	if (res < 0)
		return;
	if (read(c->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		c->signal = (int)info.ssi_signo;
		log_notice("interrupted signal=%d", c->signal);
		list_for_each (it, &c->calls)
			rpc_request_cancel(list_entry(it, struct call, link)->request);
		/* the next one ends us as it would any program */
		sigprocmask(SIG_SETMASK, &c->old_mask, NULL);
		return;
	}
	loop_poll(c->loop, &c->signal_op, c->signal_fd, POLLIN);
}

int client_new(struct client **out, const char *endpoint)
{
	struct client *c = calloc(1, sizeof(*c));
	sigset_t set;
	int r;

	if (!c)
		return -ENOMEM;
	c->endpoint = endpoint;
	list_init(&c->calls);
	c->limits = rpc_limits_default;
	c->limits.max_message_bytes = MAX_MESSAGE;
	if (c->limits.max_buffered_bytes < MAX_MESSAGE)
		c->limits.max_buffered_bytes = MAX_MESSAGE;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, &c->old_mask);
	c->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	r = c->signal_fd < 0 ? -errno : loop_new(&c->loop, &loop_backend_epoll, 1);
	if (r < 0) {
		fd_close(c->signal_fd);
		sigprocmask(SIG_SETMASK, &c->old_mask, NULL);
		free(c);
		return r;
	}
	loop_op_init(&c->signal_op, on_signal);
	loop_poll(c->loop, &c->signal_op, c->signal_fd, POLLIN);
	*out = c;
	return 0;
}

struct client *client_free(struct client *c)
{
	if (!c)
		return NULL;
	loop_cancel(c->loop, &c->signal_op);
	/* connections that were closed last still have their completions to come */
	while (loop_get_stats(c->loop).n_inflight)
		if (loop_step(c->loop, TICK_NS) < 0)
			break;
	loop_free(c->loop);
	writer_free(c->writer);
	fd_close(c->signal_fd);
	sigprocmask(SIG_SETMASK, &c->old_mask, NULL);
	free(c);
	return NULL;
}

const char *client_endpoint(const struct client *c)
{
	return c->endpoint;
}

struct writer *client_writer(struct client *c)
{
	if (!c->writer && writer_new(&c->writer) < 0)
		return NULL;
	return c->writer;
}

int client_signal(const struct client *c)
{
	return c->signal;
}

void client_run(struct client *c, void (*tick)(void *arg), void *arg)
{
	while (!list_empty(&c->calls)) {
		if (loop_step(c->loop, tick ? TICK_NS : UINT64_MAX) < 0)
			return;
		if (tick)
			tick(arg);
	}
}

/* ---- calls --------------------------------------------------------------------------------- */

static void on_message(struct rpc_request *r, void *arg, const uint8_t *p, size_t n)
{
	struct call *c = arg;

	c->on_message(c, p, n);
}

static void on_part(
	struct rpc_request *r, void *arg, const uint8_t *p, size_t n, size_t total, size_t at)
{
	struct call *c = arg;

	c->on_part(c, p, n, total, at);
}

static uint8_t *read_buffer(void *arg, size_t *len)
{
	return writer_buffer(arg, len);
}

static void on_done(struct rpc_request *r, void *arg, int status, const char *message)
{
	struct call *c = arg;

	list_del(&c->link);
	c->channel = rpc_channel_free(c->channel);
	c->on_done(c, status, message);
}

int call_start(struct client *cl, struct call *c, const char *method, ProtobufCMessage *request,
	const struct rpc_meta *meta, size_t n_meta, const int *fds, size_t n_fds,
	uint64_t timeout_ns)
{
	const struct rpc_handlers handlers = {.on_message = c->on_message ? on_message : NULL,
		.on_part = c->on_part ? on_part : NULL,
		.on_done = on_done};
	const struct rpc_channel_options o = {.limits = &cl->limits,
		.connect_timeout_ns = CONNECT_TIMEOUT_NS,
		.no_backoff = true,
		.read_buffer = c->writer ? read_buffer : NULL,
		.read_arg = c->writer};
	_cleanup_buf_ struct buf b = {0};
	int r = pbc_pack(request, &b);

	if (r < 0)
		return r;
	if (cl->signal)
		return -EINTR;
	c->client = cl;
	r = rpc_channel_new_unix(&c->channel, cl->loop, cl->endpoint, &o);
	if (r < 0)
		return r;
	if (n_fds)
		r = rpc_channel_attach_fds(c->channel, fds, n_fds);
	if (r == 0) {
		c->request = rpc_request_start(
			c->channel, method, meta, n_meta, timeout_ns, &handlers, c);
		r = c->request ? 0 : -ENOMEM;
	}
	if (r < 0) {
		c->channel = rpc_channel_free(c->channel);
		return r;
	}
	list_push(&cl->calls, &c->link);
	/* a failure here ends the call like any other, through on_done */
	if (rpc_request_send(c->request, b.data, b.len) == 0)
		rpc_request_close_send(c->request);
	else
		rpc_request_cancel(c->request);
	return 0;
}

void call_cancel(struct call *c)
{
	rpc_request_cancel(c->request);
}

const char *call_trailer(const struct call *c, const char *key)
{
	return rpc_request_trailer(c->request, key);
}

struct unary {
	struct call call;
	const ProtobufCMessageDescriptor *descriptor;
	void *answer;
	struct failure *failure;
};

static void unary_message(struct call *c, const uint8_t *p, size_t n)
{
	struct unary *u = container_of(c, struct unary, call);

	if (u->answer)
		return;
	u->answer = pbc_unpack(u->descriptor, p, n);
	if (!u->answer)
		failure_set(u->failure, EXIT_FAILED,
			"are dfcache and dfdaemon of the same version?",
			"dfdaemon's answer is not a %s", u->descriptor->name);
}

static void unary_done(struct call *c, int status, const char *message)
{
	struct unary *u = container_of(c, struct unary, call);

	if (status != RPC_OK)
		failure_from_rpc(u->failure, status, message, c->client->endpoint);
	else if (!u->answer)
		failure_set(
			u->failure, EXIT_FAILED, NULL, "dfdaemon ended the call without an answer");
}

void *client_unary(struct client *cl, const char *method, ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *answer, uint64_t timeout_ns, struct failure *f)
{
	struct unary u = {.call = {.on_message = unary_message, .on_done = unary_done},
		.descriptor = answer,
		.failure = f};
	int r = call_start(cl, &u.call, method, request, NULL, 0, NULL, 0, timeout_ns);

	if (r < 0)
		failure_set(f, EXIT_FAILED, NULL, "cannot start the call: %s", strerror(-r));
	else
		client_run(cl, NULL, NULL);
	if (f->status != EXIT_OK && u.answer) {
		protobuf_c_message_free_unpacked(u.answer, NULL);
		u.answer = NULL;
	}
	return u.answer;
}
