/* SPDX-License-Identifier: GPL-2.0-or-later */
/* server.c — the list of sessions, what waits, time, and the emptying of trash/. See server.h. */
#include "cachefilesd/store/session.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

#define SECOND    1000000000ull
#define TICK_BUSY (SECOND / 5) /* somebody waits for space */
#define TICK_MAX  (10 * SECOND) /* the wall clock may step */
#define STAMP_NS  (SECOND / 10) /* times of use are written this much later: many uses, one write */

/* ---- accept ---------------------------------------------------------------------------------- */

static void refuse(int fd, const char *why)
{
	/* a client that is turned away gets one sentence, as an answer to its hello */
	uint8_t buf[PROTO_MESSAGE_MAX];
	struct proto_reply r = {
		.type = PROTO_HELLO, .number = 1, .status = STORE_DENIED, .mask = PROTO_R_MESSAGE};
	int len;

	strncpy(r.message, why, sizeof(r.message) - 1);
	len = proto_reply_encode(&r, buf, sizeof(buf));
	if (len > 0)
		(void)!send(fd, buf, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

static void on_accept(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, accept);
	int rc;

	if (s->is_stopping) {
		fd_close(res);
		server_session_gone(s);
		return;
	}
	if (res >= 0) {
		if (s->n_sessions >= SERVER_SESSIONS) {
			LOG_LIMITED(LOG_WARNING, "store: too many clients, one was turned away");
			refuse(res, "too many clients");
		} else if ((rc = session_new(s, res))) {
			refuse(res,
				rc == -EACCES ? "this user may not use the store" : strerror(-rc));
		}
	} else if (res != -ECONNABORTED) {
		LOG_LIMITED(LOG_ERR, "store: cannot accept a client reason=%s", strerror(-res));
		if (res == -EMFILE || res == -ENFILE || res == -ENOBUFS || res == -ENOMEM) {
			/* trying again at once would spin: the tick does it */
			server_tick(s);
			return;
		}
	}
	loop_accept(s->loop, &s->accept, s->fd);
}

void server_listen(struct server *s, int fd)
{
	s->fd = fd;
	loop_accept(s->loop, &s->accept, fd);
}

/* ---- time ------------------------------------------------------------------------------------ */

/* it holds something, may speak, and has not; what we did not come to read counts as spoken */
static bool is_silent(const struct session *c, uint64_t now)
{
	const struct server *s = c->server;
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	return c->n_leases && !c->n_jobs && loop_op_is_active(&c->recv) &&
	       now - c->heard_ns > (s->set.silent_ns ? s->set.silent_ns : STORE_SILENT_NS) &&
	       poll(&p, 1, 0) == 0;
}

static void drop_slow(struct server *s, uint64_t now)
{
	list_for_each_safe (it, &s->sessions) {
		struct session *c = list_entry(it, struct session, link);
		uint64_t since = session_oldest_out(c);

		if (!c->is_closed && since != UINT64_MAX && since + SERVER_SLOW_NS <= now)
			session_close(c, "it does not read its replies");
		else if (!c->is_closed && is_silent(c, now))
			session_close(c, "it holds leases and has not been heard of for long");
	}
}

static void time_out_waiting(struct server *s, uint64_t now)
{
	list_for_each_safe (it, &s->waiting) {
		struct job *j = list_entry(it, struct job, link);

		if (j->deadline_ns <= now) {
			list_del(&j->link);
			request_timed_out(j);
		}
	}
}

void server_space_changed(struct server *s)
{
	while (!list_empty(&s->waiting)) {
		struct job *j = list_entry(s->waiting.next, struct job, link);

		list_del(&j->link);
		if (request_retry_create(j)) {
			/* still no room: those behind it wait too */
			list_push_front(&s->waiting, &j->link);
			break;
		}
	}
}

void server_arm(struct server *s)
{
	uint64_t now = loop_now(s->loop), next = now + TICK_MAX;

	if (loop_op_is_active(&s->timer)) {
		loop_cancel(s->loop, &s->timer); /* its callback comes back here */
		return;
	}
	if (!list_empty(&s->waiting) || !list_empty(&s->parked))
		next = now + TICK_BUSY;
	if (s->expires_ns) {
		uint64_t wall = depot_wall_ns(s->depot), at = s->expires_ns;

		at = now + (at > wall ? at - wall : 0) + SECOND / 50;
		next = at < next ? at : next;
		/* what could not be removed, or is held back by a doubtful clock, is not tried in
		 * a loop */
		next = next < now + SECOND / 20 ? now + SECOND / 20 : next;
	}
	loop_timer(s->loop, &s->timer, next);
}

static int expire_work(void *arg)
{
	struct server *s = arg;

	return (int)depot_expire(s->depot, &s->expires_ns);
}

static void expire(struct server *s)
{
	if (!s->depot)
		return;
	if (loop_op_is_active(&s->expirer))
		s->expire_again = true;
	else
		loop_work(s->loop, &s->expirer, expire_work, s);
}

static void on_expired(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, expirer);
	bool again = s->expire_again;

	s->expire_again = false;
	if (s->is_stopping) {
		server_session_gone(s);
		return;
	}
	if (res > 0)
		server_reap(s);
	if (again)
		expire(s);
	else
		server_arm(s);
}

void server_tick(struct server *s)
{
	uint64_t now = loop_now(s->loop);

	if (s->is_stopping)
		return;
	drop_slow(s, now);
	time_out_waiting(s, now);
	if (!list_empty(&s->waiting))
		server_space_changed(s);
	/* an id may have become free that was being removed */
	request_retry_parked(s);
	if (s->fd >= 0 && !loop_op_is_active(&s->accept))
		loop_accept(s->loop, &s->accept, s->fd);
	expire(s);
	/* with a store the expirer's end does it */
	if (!s->depot)
		server_arm(s);
}

static void on_timer(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, timer);

	if (s->is_stopping)
		server_session_gone(s);
	else if (res == -ECANCELED)
		server_arm(s);
	else
		server_tick(s);
}

/* ---- times of use ---------------------------------------------------------------------------- */

static int stamp_work(void *arg)
{
	struct server *s = arg;

	depot_write_stamps(s->depot);
	return 0;
}

static void on_stamp_timer(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, stamp_timer);

	if (s->is_stopping)
		server_session_gone(s); /* depot_free() writes them */
	else if (loop_op_is_active(&s->stamper))
		server_used(s); /* a slow disk */
	else
		loop_work(s->loop, &s->stamper, stamp_work, s);
}

static void on_stamped(struct loop_op *op, int res)
{
	server_session_gone(container_of(op, struct server, stamper));
}

void server_used(struct server *s)
{
	if (!s->is_stopping && !loop_op_is_active(&s->stamp_timer))
		loop_timer(s->loop, &s->stamp_timer, loop_now(s->loop) + STAMP_NS);
}

/* ---- trash ----------------------------------------------------------------------------------- */

static int reap_work(void *arg)
{
	struct server *s = arg;

	return (int)layout_empty_trash(&s->depot->layout, false);
}

static void on_reaped(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, reaper);
	bool again = s->reap_again;

	s->reap_again = false;
	if (s->is_stopping) {
		server_session_gone(s);
		return;
	}
	if (again)
		server_reap(s);
	if (!list_empty(&s->waiting))
		server_space_changed(s);
}

void server_reap(struct server *s)
{
	if (s->is_stopping)
		return; /* the next start empties it */
	if (loop_op_is_active(&s->reaper))
		s->reap_again = true;
	else
		loop_work(s->loop, &s->reaper, reap_work, s);
}

static void on_over(struct loop_op *op, int res);

/* ---- life ------------------------------------------------------------------------------------ */

int server_new(struct server **out, struct loop *l, struct depot *depot,
	const struct server_settings *set, const struct server_hooks *hooks)
{
	struct server *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->loop = l;
	s->depot = depot;
	s->set = *set;
	s->hooks = *hooks;
	s->fd = -1;
	pthread_mutex_init(&s->rewrite, NULL);
	list_init(&s->sessions);
	list_init(&s->waiting);
	list_init(&s->parked);
	loop_op_init(&s->accept, on_accept);
	loop_op_init(&s->timer, on_timer);
	loop_op_init(&s->reaper, on_reaped);
	loop_op_init(&s->expirer, on_expired);
	loop_op_init(&s->stamp_timer, on_stamp_timer);
	loop_op_init(&s->stamper, on_stamped);
	loop_op_init(&s->over, on_over);
	server_tick(s);
	*out = s;
	return 0;
}

void server_session_gone(struct server *s)
{
	const struct loop_op *const ops[] = {&s->accept, &s->timer, &s->reaper, &s->expirer,
		&s->stamp_timer, &s->stamper, &s->over};
	bool is_idle = true;

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		is_idle &= !loop_op_is_active(ops[i]);
	if (s->is_stopping && !s->n_sessions && !s->n_jobs && is_idle)
		loop_post(s->loop, &s->over, 0);
}

static void on_over(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, over);

	s->stopped(s->stopped_arg);
}

void server_stop(struct server *s, void (*done)(void *arg), void *arg)
{
	s->stopped = done;
	s->stopped_arg = arg;
	s->is_stopping = true;
	loop_cancel(s->loop, &s->accept);
	loop_cancel(s->loop, &s->timer);
	loop_cancel(s->loop, &s->stamp_timer);
	list_for_each_safe (it, &s->sessions)
		session_close(list_entry(it, struct session, link), NULL);
	server_session_gone(s);
}

struct server *server_free(struct server *s)
{
	if (!s)
		return NULL;
	fd_close(s->fd);
	pthread_mutex_destroy(&s->rewrite);
	free(s);
	return NULL;
}

void server_reload(struct server *s, const struct server_settings *set)
{
	s->set = *set;
	server_tick(s);
}

void server_broadcast(struct server *s, enum store_event e)
{
	list_for_each_safe (it, &s->sessions) {
		struct session *c = list_entry(it, struct session, link);
		struct proto_reply r = {.type = PROTO_EVENT, .mask = PROTO_R_EVENT, .event = e};

		/* to a client that is behind with reading, news is not worth memory */
		if (!c->is_closed && c->n_outs < SERVER_REQUESTS)
			session_reply(c, &r, -1, -1, -1);
	}
}

size_t server_sessions(const struct server *s)
{
	return s->n_sessions;
}

void server_answer(struct server_ask *ask, enum store_status st, const char *message, int fd,
	uint64_t freed_bytes)
{
	struct proto_reply r = {.type = ask->type,
		.number = ask->number,
		.status = st,
		.mask = PROTO_R_FREED,
		.freed_bytes = freed_bytes};
	struct session *c = ask->session;

	strncpy(r.message, message, sizeof(r.message) - 1);
	free(ask);
	c->n_jobs--;
	session_reply(c, &r, fd, -1, -1);
	session_resume(c);
	session_maybe_free(c);
}
