/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sched_stream.c — one download's announce stream; see sched.h
 *
 * States: the stream is open (rpc), pauses before it registers again (op), or is ending. A stream that
 * breaks is opened again at the owner of that moment, or at the scheduler that is back, for a while;
 * the download goes on with the parents that it has.
 */
#include <netinet/in.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/rpc/pbc.h"
#include "p2p/api/convert.h"
#include "p2p/api/methods.h"
#include "p2p/api/scheduler.pb-c.h"
#include "p2p/sched_impl.h"
#include "p2p/scheduler/check.h"
#include "p2p/scheduler/impl.h"

#define SEC UINT64_C(1000000000)
#define MS  UINT64_C(1000000)

enum {
	REOPEN_MS = 250,
	ROUTE_MS = 50,
	REOPEN_SEC = 15,
	STRANGER_MS = 500,
	END_SEC = 5,
	PARENTS_MAX = 64
};

struct sched_stream {
	struct list link;
	struct sched *s; /* gone when is_closed */
	struct loop *loop;
	const struct sched_stream_ops *ops;
	void *arg;
	char task_id[TASK_ID_SIZE], peer_id[PEER_ID_SIZE];
	char *tag, *application, *output_path, trace[API_TRACE_SIZE];
	struct sched_register reg; /* its strings are the above */
	struct rpc_request *rpc;
	struct loop_op op;
	uint64_t give_up_ns; /* broken since so long that it ends then; 0 = it works */
	bool is_started, is_closed, is_ending; /* ending: finished or failed was sent */
	bool was_stranger; /* the scheduler did not know this host once */
	int status; /* what op carries to on_end, RPC_OK: op is a pause */
	const char *why;
	/* the parents of the last list, to be echoed in a reschedule */
	struct buf last;
};

static void stream_free(struct sched_stream *st)
{
	list_del(&st->link);
	buf_fini(&st->last);
	free(st->tag);
	free(st->application);
	free(st->output_path);
	free(st);
}

/* the last callback; frees */
static void end(struct sched_stream *st, int status, const char *message)
{
	if (!st->is_closed)
		st->ops->on_end(st->arg, status, message);
	stream_free(st);
}

static void open_(struct sched_stream *st);

static void on_op(struct loop_op *op, int res)
{
	struct sched_stream *st = container_of(op, struct sched_stream, op);

	(void)res;
	if (st->rpc) /* ending, and the scheduler does not answer */
		rpc_request_cancel(st->rpc);
	else if (st->is_ending)
		end(st, RPC_OK, "");
	else if (st->is_closed || st->status != RPC_OK)
		end(st, st->status, st->why);
	else
		open_(st);
}

static void pause_then_open(struct sched_stream *st, uint64_t ns)
{
	st->status = RPC_OK;
	loop_timer(st->loop, &st->op, loop_now(st->loop) + ns);
}

static void end_later(struct sched_stream *st, int status, const char *why)
{
	st->status = status;
	st->why = why;
	loop_post(st->loop, &st->op, 0);
}

/* ---- messages ---------------------------------------------------------------------------- */

typedef Scheduler__V2__AnnouncePersistentCachePeerRequest request;

static int send_request(struct sched_stream *st, request *m)
{
	_cleanup_buf_ struct buf out = {0};

	m->host_id = st->s->host_id;
	m->task_id = st->task_id;
	m->peer_id = st->peer_id;
	if (!st->rpc || pbc_pack(&m->base, &out))
		return -1;
	return rpc_request_send(st->rpc, out.data, out.len);
}

#define KIND(name) SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__REQUEST_##name##_REQUEST

static int send_register(struct sched_stream *st)
{
	request m = SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__INIT;
	Scheduler__V2__RegisterPersistentCachePeerRequest r =
		SCHEDULER__V2__REGISTER_PERSISTENT_CACHE_PEER_REQUEST__INIT;

	r.persistent = st->reg.persistent;
	r.tag = st->tag;
	r.application = st->application;
	r.piece_length = st->reg.piece_length;
	r.output_path = st->output_path;
	r.concurrent_piece_count = st->reg.concurrent_pieces;
	r.piece_count = st->reg.n_pieces;
	m.request_case = KIND(REGISTER_PERSISTENT_CACHE_PEER);
	m.register_persistent_cache_peer_request = &r;
	return send_request(st, &m);
}

static void send_started(struct sched_stream *st)
{
	request m = SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__INIT;
	Scheduler__V2__DownloadPersistentCachePeerStartedRequest r =
		SCHEDULER__V2__DOWNLOAD_PERSISTENT_CACHE_PEER_STARTED_REQUEST__INIT;

	m.request_case = KIND(DOWNLOAD_PERSISTENT_CACHE_PEER_STARTED);
	m.download_persistent_cache_peer_started_request = &r;
	(void)send_request(st, &m);
}

/* ---- parents ----------------------------------------------------------------------------- */

static bool read_parent(struct sched_parent *p, const Common__V2__PersistentCachePeer *m)
{
	const Common__V2__Host *h = m->host;

	if (!h || !peer_id_is_valid(m->id) || !host_id_is_valid(h->id))
		return false;
	memset(p, 0, sizeof(*p));
	p->grpc = check_host_addr(h);
	if (p->grpc.ss_family == AF_UNSPEC)
		return false;
	snprintf(p->peer_id, sizeof(p->peer_id), "%s", m->id);
	snprintf(p->host_id, sizeof(p->host_id), "%s", h->id);
	p->is_holder = m->state && !strcmp(m->state, "Succeeded");
	p->is_ours = h->build && h->build->git_version &&
		     !strncmp(h->build->git_version, HOST_VERSION_PREFIX,
			     sizeof(HOST_VERSION_PREFIX) - 1);
	if (h->network)
		p->max_tx_bandwidth = h->network->max_tx_bandwidth;
	return true;
}

static void tell_parents(
	struct sched_stream *st, const Scheduler__V2__NormalPersistentCacheTaskResponse *m)
{
	_cleanup_free_ struct sched_parent *v = calloc(PARENTS_MAX, sizeof(*v));
	size_t n = 0;

	for (size_t i = 0; v && i < m->n_candidate_cache_parents && n < PARENTS_MAX; i++)
		n += read_parent(&v[n], m->candidate_cache_parents[i]);
	if (n)
		st->ops->on_parents(st->arg, v, n);
}

static void on_message(struct rpc_request *r, void *arg, const uint8_t *p, size_t n)
{
	struct sched_stream *st = arg;
	Scheduler__V2__AnnouncePersistentCachePeerResponse *m;

	(void)r;
	if (st->is_closed || st->is_ending)
		return;
	m = pbc_unpack(&scheduler__v2__announce_persistent_cache_peer_response__descriptor, p, n);
	if (!m) {
		rpc_request_cancel(st->rpc);
		return;
	}
	st->give_up_ns = 0;
	if (m->response_case ==
		SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_RESPONSE__RESPONSE_NORMAL_PERSISTENT_CACHE_TASK_RESPONSE) {
		buf_fini(&st->last);
		if (!st->s->embedded)
			buf_add(&st->last, p, n);
		tell_parents(st, m->normal_persistent_cache_task_response);
	} else if (
		m->response_case ==
		SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_RESPONSE__RESPONSE_EMPTY_PERSISTENT_CACHE_TASK_RESPONSE) {
		st->ops->on_parents(st->arg, NULL, 0);
	}
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

/* Dragonfly's scheduler forgot this host, or was never told: it is, and the stream is opened once more */
static bool is_stranger(struct sched_stream *st, int status)
{
	if (st->is_closed || st->is_ending || st->s->embedded || st->was_stranger ||
		status != RPC_NOT_FOUND)
		return false;
	st->was_stranger = true;
	sched_reannounce(st->s);
	return true;
}

static bool try_again(struct sched_stream *st, int status)
{
	uint64_t now = loop_now(st->loop);

	if (st->is_closed || st->is_ending ||
		(status != RPC_UNAVAILABLE && status != RPC_CANCELLED))
		return false;
	if (!st->give_up_ns)
		st->give_up_ns = now + REOPEN_SEC * SEC;
	return now < st->give_up_ns;
}

static void on_done(struct rpc_request *r, void *arg, int status, const char *message)
{
	struct sched_stream *st = arg;

	(void)r;
	st->rpc = NULL;
	if (try_again(st, status)) {
		pause_then_open(st, REOPEN_MS * MS);
		return;
	}
	if (is_stranger(st, status)) {
		pause_then_open(st, STRANGER_MS * MS);
		return;
	}
	/* after "finished" the outcome of the download does not depend on the scheduler */
	if (loop_op_is_active(&st->op))
		loop_cancel(st->loop, &st->op); /* its callback ends the stream */
	else if (st->is_ending)
		end(st, RPC_OK, "");
	else if (status == RPC_OK)
		end(st, RPC_UNAVAILABLE, "the scheduler ended the stream");
	else
		end(st, status, message);
}

static const struct rpc_handlers handlers = {.on_message = on_message, .on_done = on_done};

static size_t make_meta(const struct sched_stream *st, const char *secret,
	struct rpc_meta meta[SCHED_META_MAX], char values[2][40])
{
	size_t n = 0;

	/* Dragonfly's scheduler is told the trace alone, which is no invention of ours */
	if (*st->trace)
		meta[n++] = (struct rpc_meta){META_TRACE, st->trace};
	if (!st->s->embedded)
		return n;
	meta[n++] = (struct rpc_meta){META_BUSY_AWARE, "1"};
	if (secret)
		meta[n++] = (struct rpc_meta){META_SELF, secret};
	if (st->reg.has_fingerprint) {
		snprintf(values[0], 40, "%llu", (unsigned long long)st->reg.generation);
		meta[n++] = (struct rpc_meta){META_GENERATION, values[0]};
		api_format_fingerprint(st->reg.fingerprint, values[1]);
		meta[n++] = (struct rpc_meta){META_FINGERPRINT, values[1]};
	}
	return n;
}

static void open_(struct sched_stream *st)
{
	struct rpc_meta meta[SCHED_META_MAX];
	char values[2][40];
	const char *secret;
	bool wait;
	struct rpc_channel *ch = sched_route(st->s, st->task_id, &secret, &wait);
	size_t n = make_meta(st, secret, meta, values);

	if (wait) {
		pause_then_open(st, ROUTE_MS * MS);
		return;
	}
	st->is_started = false;
	if (ch)
		st->rpc = rpc_request_start(
			ch, METHOD_SCHED_ANNOUNCE_PEER, meta, n, 0, &handlers, st);
	if (!st->rpc)
		end_later(st, RPC_UNAVAILABLE,
			ch ? "out of memory" : "no scheduler is configured or reachable");
	else if (send_register(st))
		rpc_request_cancel(st->rpc);
}

struct sched_stream *sched_stream_open(struct sched *s, const struct sched_register *r,
	const struct sched_stream_ops *ops, void *arg)
{
	struct sched_stream *st = calloc(1, sizeof(*st));

	if (!st)
		return NULL;
	st->s = s;
	st->loop = s->loop;
	st->ops = ops;
	st->arg = arg;
	st->reg = *r;
	list_init(&st->link);
	loop_op_init(&st->op, on_op);
	snprintf(st->task_id, sizeof(st->task_id), "%s", r->task_id);
	snprintf(st->peer_id, sizeof(st->peer_id), "%s", r->peer_id);
	api_parse_traceparent(r->trace, st->trace);
	st->tag = r->tag ? strdup(r->tag) : NULL;
	st->application = r->application ? strdup(r->application) : NULL;
	st->output_path = r->output_path ? strdup(r->output_path) : NULL;
	if ((r->tag && !st->tag) || (r->application && !st->application) ||
		(r->output_path && !st->output_path)) {
		stream_free(st);
		return NULL;
	}
	list_push(&s->streams, &st->link);
	open_(st);
	return st;
}

void sched_stream_started(struct sched_stream *st)
{
	/* once: after a reschedule Dragonfly's scheduler takes it for an error (dragonfly-grpc.md
	 * §6.3), and ours needs it only to know that there are pieces */
	if (st->is_started && !st->s->embedded)
		return;
	st->is_started = true;
	send_started(st);
}

void sched_stream_piece(struct sched_stream *st, uint32_t number, uint64_t offset, uint32_t length,
	uint32_t crc32, const char *parent_id, uint64_t cost_ns)
{
	request m = SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__INIT;
	Scheduler__V2__DownloadPieceFinishedRequest r =
		SCHEDULER__V2__DOWNLOAD_PIECE_FINISHED_REQUEST__INIT;
	Common__V2__Piece piece = COMMON__V2__PIECE__INIT;
	Google__Protobuf__Duration cost;
	Google__Protobuf__Timestamp created;
	char digest[32];

	if (st->s->embedded)
		return; /* it decides nothing by single pieces */
	snprintf(digest, sizeof(digest), "crc32:%u", crc32);
	api_set_duration(&cost, cost_ns);
	api_set_timestamp(&created, sched_wall_ns());
	piece.has_number = true;
	piece.number = number;
	piece.parent_id = (char *)parent_id;
	piece.offset = offset;
	piece.length = length;
	piece.digest = digest;
	piece.has_traffic_type = true;
	piece.traffic_type = parent_id ? COMMON__V2__TRAFFIC_TYPE__REMOTE_PEER
				       : COMMON__V2__TRAFFIC_TYPE__LOCAL_PEER;
	piece.cost = &cost;
	piece.created_at = &created;
	r.piece = &piece;
	m.request_case = KIND(DOWNLOAD_PIECE_FINISHED);
	m.download_piece_finished_request = &r;
	(void)send_request(st, &m);
}

void sched_stream_piece_failed(
	struct sched_stream *st, uint32_t number, const char *parent_id, bool temporary)
{
	request m = SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__INIT;
	Scheduler__V2__DownloadPieceFailedRequest r =
		SCHEDULER__V2__DOWNLOAD_PIECE_FAILED_REQUEST__INIT;

	r.has_piece_number = true;
	r.piece_number = number;
	r.parent_id = (char *)parent_id;
	r.temporary = temporary;
	m.request_case = KIND(DOWNLOAD_PIECE_FAILED);
	m.download_piece_failed_request = &r;
	(void)send_request(st, &m);
}

void sched_stream_reschedule(struct sched_stream *st, const char *description)
{
	request m = SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__INIT;
	Scheduler__V2__ReschedulePersistentCachePeerRequest r =
		SCHEDULER__V2__RESCHEDULE_PERSISTENT_CACHE_PEER_REQUEST__INIT;
	Scheduler__V2__AnnouncePersistentCachePeerResponse *last = NULL;

	/* Dragonfly's scheduler blocks the parents that are echoed, complete as it sent them; ours
	 * knows from the failures which ones are bad */
	if (st->last.len)
		last = pbc_unpack(
			&scheduler__v2__announce_persistent_cache_peer_response__descriptor,
			st->last.data, st->last.len);
	if (last) {
		r.candidate_parents =
			last->normal_persistent_cache_task_response->candidate_cache_parents;
		r.n_candidate_parents =
			last->normal_persistent_cache_task_response->n_candidate_cache_parents;
	}
	r.description = (char *)description;
	m.request_case = KIND(RESCHEDULE_PERSISTENT_CACHE_PEER);
	m.reschedule_persistent_cache_peer_request = &r;
	(void)send_request(st, &m);
	if (last)
		protobuf_c_message_free_unpacked(&last->base, NULL);
}

/* the last message; when the stream is broken just now there is nobody to tell */
static void finish(struct sched_stream *st, request *m)
{
	if (st->is_ending)
		return;
	st->is_ending = true;
	if (!st->rpc) {
		loop_cancel(st->loop, &st->op);
		return;
	}
	loop_timer(st->loop, &st->op, loop_now(st->loop) + END_SEC * SEC);
	if (send_request(st, m))
		rpc_request_cancel(st->rpc);
	else
		rpc_request_close_send(st->rpc);
}

void sched_stream_finished(struct sched_stream *st)
{
	request m = SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__INIT;
	Scheduler__V2__DownloadPersistentCachePeerFinishedRequest r =
		SCHEDULER__V2__DOWNLOAD_PERSISTENT_CACHE_PEER_FINISHED_REQUEST__INIT;

	m.request_case = KIND(DOWNLOAD_PERSISTENT_CACHE_PEER_FINISHED);
	m.download_persistent_cache_peer_finished_request = &r;
	finish(st, &m);
}

void sched_stream_failed(struct sched_stream *st, const char *why)
{
	request m = SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__INIT;
	Scheduler__V2__DownloadPersistentCachePeerFailedRequest r =
		SCHEDULER__V2__DOWNLOAD_PERSISTENT_CACHE_PEER_FAILED_REQUEST__INIT;

	r.description = (char *)why;
	m.request_case = KIND(DOWNLOAD_PERSISTENT_CACHE_PEER_FAILED);
	m.download_persistent_cache_peer_failed_request = &r;
	finish(st, &m);
}

void sched_stream_close(struct sched_stream *st)
{
	if (!st || st->is_closed)
		return;
	st->is_closed = true;
	if (st->rpc)
		rpc_request_cancel(st->rpc);
	else
		loop_cancel(st->loop, &st->op);
}

void sched_streams_drop(struct sched *s)
{
	list_for_each_safe (it, &s->streams) {
		struct sched_stream *st = list_entry(it, struct sched_stream, link);

		list_del(&st->link);
		sched_stream_close(st);
	}
}
