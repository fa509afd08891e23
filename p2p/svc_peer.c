/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/svc_peer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/rpc/pbc.h"
#include "p2p/announce.h"
#include "p2p/api/convert.h"
#include "p2p/api/dfdaemon.pb-c.h"
#include "p2p/api/methods.h"
#include "p2p/export.h"
#include "p2p/handout.h"
#include "p2p/local.h"
#include "p2p/piece.h"
#include "p2p/reply.h"
#include "p2p/sched.h"
#include "p2p/serve.h"
#include "p2p/tasks.h"

#define SECOND        UINT64_C(1000000000)
#define SCHED_TIMEOUT (10 * SECOND)
#define QUEUE_BYTES   (64u << 10) /* of announcements waiting in one stream */
#define HOST_INTERVAL (3 * SECOND) /* between two messages of SyncHost */

struct svc_peer {
	struct svc_peer_config c;
	struct list streams, hands;
	unsigned n_streams;
	bool is_closing;
};

static bool refuse_stranger(struct svc_peer *svc, struct rpc_call *call)
{
	if (svc->c.may_change(svc->c.may_change_arg, call))
		return false;
	LOG_LIMITED(LOG_WARNING, "peer: a stranger asked for a change peer=%s method=%s",
		rpc_call_peer(call)->name, rpc_call_path(call));
	rpc_call_finish(call, RPC_PERMISSION_DENIED,
		"this host takes such requests only from the peers and schedulers that it is "
		"configured with");
	return true;
}

static bool refuse_id(struct rpc_call *call, const char *id)
{
	if (id && task_id_is_valid(id))
		return false;
	rpc_call_finish(call, RPC_INVALID_ARGUMENT,
		"the task id is not valid: 1 to 64 of letters, digits, '.', '_', '-'");
	return true;
}

/* ---- SyncPersistentCachePieces ----------------------------------------------------------------- */

/* one task that is being handed out; with the streams that came since nobody had one open */
struct hand {
	struct svc_peer *svc;
	struct list link;
	struct task *task; /* the streams hold references */
	struct handout *handout;
	unsigned n_streams, n_ours;
	uint64_t began, timer_at;
	struct loop_op timer;
};

struct sync {
	struct svc_peer *svc;
	struct hand *hand; /* NULL: this task is not handed out */
	struct handout_child child; /* ours, with a hand */
	struct list link;
	struct rpc_call *call;
	struct task_open open;
	bool is_opening, is_watching, is_ours;
	struct task *task;
	struct task_watch watch;
	Dfdaemon__V2__SyncPersistentCachePiecesRequest *m; /* owned, until the task is open */
	uint64_t *wanted; /* bit map of what was not announced yet; owned */
	uint32_t n_wanted;
};

static void hand_leave(struct sync *s);
static void hand_pump(struct hand *h);

static void sync_finish(struct sync *s, int status, const char *text)
{
	if (s->is_watching)
		task_unwatch(&s->watch);
	s->is_watching = false;
	s->n_wanted = 0;
	hand_leave(s);
	rpc_call_finish(s->call, status, "%s", text);
}

static bool announce_piece(struct sync *s, uint32_t number)
{
	Dfdaemon__V2__SyncPersistentCachePiecesResponse m =
		DFDAEMON__V2__SYNC_PERSISTENT_CACHE_PIECES_RESPONSE__INIT;
	_cleanup_buf_ struct buf b = {0};

	m.has_number = m.has_offset = true; /* zero is a value here */
	m.number = number;
	m.offset = piece_offset(number, s->task->piece_length);
	m.length = task_piece_size(s->task, number);
	m.ip = (char *)s->svc->c.ip;
	m.has_tcp_port = true;
	m.tcp_port = s->svc->c.piece_port;
	return pbc_pack(&m.base, &b) == 0 && rpc_call_send(s->call, b.data, b.len) == 0;
}

/* P3: who is of our kind hears of a piece when its first bytes are here */
static bool may_announce(const struct sync *s, uint32_t number)
{
	return task_has_piece(s->task, number) || (s->is_ours && task_is_arriving(s->task, number));
}

/* announce what is here and wanted, as far as the stream takes it */
static void sync_pump(struct sync *s)
{
	struct task *t = s->task;
	size_t words = ((size_t)t->n_pieces + 63) / 64;

	if (s->hand && s->hand->n_ours && !handout_is_over(s->hand->handout)) {
		hand_pump(s->hand);
		return;
	}

	for (size_t w = 0; w < words && s->n_wanted; w++) {
		uint64_t v = s->wanted[w];

		for (; v; v &= v - 1) {
			uint32_t number = (uint32_t)(w * 64 + (unsigned)__builtin_ctzll(v));

			if (!may_announce(s, number))
				continue;
			if (rpc_call_queued(s->call) > QUEUE_BYTES)
				return; /* comes back when it has drained */
			if (!announce_piece(s, number)) {
				sync_finish(s, RPC_RESOURCE_EXHAUSTED, "out of memory");
				return;
			}
			s->wanted[w] &= ~(1ull << (number % 64));
			s->n_wanted--;
		}
	}
	if (!s->n_wanted && s->is_watching)
		sync_finish(s, RPC_OK, "");
}

/* ---- handing out (P5 to P7) ---------------------------------------------------------------------- */

/* hand_wake - look again at @at, or earlier */
static void hand_wake(struct hand *h, uint64_t at)
{
	struct loop *l = h->svc->c.loop;

	if (!loop_op_is_active(&h->timer)) {
		h->timer_at = at;
		loop_timer(l, &h->timer, at);
	} else if (at < h->timer_at) {
		h->timer_at = 0; /* comes back through on_hand_timer, which looks */
		loop_cancel(l, &h->timer);
	}
}

static void hand_pump(struct hand *h)
{
	struct svc_peer *svc = h->svc;
	uint64_t now = loop_now(svc->c.loop), wake;
	uint64_t piece_time = serve_piece_time(svc->c.serve);
	struct handout_child *c;
	uint32_t number;

	while (handout_next(h->handout, now, piece_time, &c, &number, &wake)) {
		struct sync *s = container_of(c, struct sync, child);

		s->wanted[number / 64] &= ~(1ull << (number % 64));
		s->n_wanted--;
		if (!announce_piece(s, number)) {
			sync_finish(s, RPC_RESOURCE_EXHAUSTED, "out of memory");
			return; /* the timer goes on */
		}
		if (!s->n_wanted) {
			sync_finish(s, RPC_OK, "");
			return;
		}
	}
	if (handout_is_over(h->handout)) {
		log_info("peer: everything was handed out id=%s children=%u ms=%" PRIu64
			 " piece_ms=%" PRIu64,
			h->task->id, h->n_streams, (now - h->began) / 1000000,
			piece_time / 1000000);
		list_for_each_safe (it, &svc->streams) {
			struct sync *s = list_entry(it, struct sync, link);

			if (s->hand == h && s->is_watching)
				sync_pump(s);
		}
	} else if (wake != UINT64_MAX) {
		hand_wake(h, wake);
	}
}

static void hand_free(struct hand *h)
{
	handout_free(h->handout);
	free(h);
}

static void on_hand_timer(struct loop_op *op, int res)
{
	struct hand *h = container_of(op, struct hand, timer);

	if (!h->n_streams)
		hand_free(h);
	else if (!handout_is_over(h->handout))
		hand_pump(h);
}

static struct hand *find_hand(const struct svc_peer *svc, const struct task *t)
{
	list_for_each (it, &svc->hands) {
		struct hand *h = list_entry(it, struct hand, link);

		if (h->task == t)
			return h;
	}
	return NULL;
}

static bool has_stream(const struct svc_peer *svc, const struct task *t)
{
	list_for_each (it, &svc->streams) {
		const struct sync *s = list_entry(it, struct sync, link);

		if (s->task == t && s->is_watching)
			return true;
	}
	return false;
}

/* hand_join - @s watches from now on; without memory it simply hears everything */
static void hand_join(struct sync *s)
{
	struct svc_peer *svc = s->svc;
	struct hand *h = find_hand(svc, s->task);

	if (!h) {
		if (s->task->phase != TASK_COMPLETE || has_stream(svc, s->task))
			return;
		h = calloc(1, sizeof(*h));
		if (!h)
			return;
		if (handout_new(&h->handout, s->task->n_pieces, loop_now(svc->c.loop)) < 0) {
			free(h);
			return;
		}
		h->svc = svc;
		h->task = s->task;
		h->began = loop_now(svc->c.loop);
		loop_op_init(&h->timer, on_hand_timer);
		list_init(&h->link);
		list_push(&svc->hands, &h->link);
	}
	s->hand = h;
	h->n_streams++;
	if (s->is_ours) {
		h->n_ours++;
		s->child.wanted = s->wanted;
		handout_join(h->handout, &s->child);
	}
}

static void hand_leave(struct sync *s)
{
	struct hand *h = s->hand;

	if (!h)
		return;
	s->hand = NULL;
	if (s->is_ours) {
		h->n_ours--;
		handout_leave(h->handout, &s->child);
	}
	if (--h->n_streams) {
		hand_wake(h, loop_now(s->svc->c.loop)); /* what it was offered is for others */
		return;
	}
	list_del(&h->link); /* the service may be gone before the timer's last callback */
	if (loop_op_is_active(&h->timer))
		loop_cancel(s->svc->c.loop, &h->timer);
	else
		hand_free(h);
}

void svc_peer_served(void *arg, struct task *t, uint32_t number, enum serve_event e)
{
	struct hand *h = find_hand(arg, t);

	if (!h || handout_is_over(h->handout))
		return;
	if (e == SERVE_ASKED)
		handout_asked(h->handout, number, loop_now(h->svc->c.loop));
	else if (e == SERVE_SENT)
		handout_sent(h->handout, number);
	else
		handout_broke(h->handout, number);
	hand_pump(h);
}

static void on_sync_piece(struct task_watch *w, struct task *t, uint32_t number)
{
	sync_pump(container_of(w, struct sync, watch));
}

static void on_sync_phase(struct task_watch *w, struct task *t)
{
	struct sync *s = container_of(w, struct sync, watch);

	if (t->phase == TASK_OVER)
		sync_finish(s, t->why.status == RPC_NOT_FOUND ? RPC_NOT_FOUND : RPC_ABORTED,
			t->why.text);
	else
		sync_pump(s);
}

static void on_sync_open(struct task_open *o, struct task *t, const struct outcome *why)
{
	struct sync *s = container_of(o, struct sync, open);

	s->is_opening = false;
	if (!t) {
		sync_finish(s, why->status, why->text);
		return;
	}
	s->task = t;
	s->wanted = calloc(((size_t)t->n_pieces + 63) / 64 + 1, sizeof(*s->wanted));
	if (!s->wanted) {
		sync_finish(s, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	for (size_t i = 0; i < s->m->n_interested_piece_numbers; i++) {
		uint32_t number = s->m->interested_piece_numbers[i];

		if (number >= t->n_pieces || s->wanted[number / 64] >> (number % 64) & 1)
			continue;
		s->wanted[number / 64] |= 1ull << (number % 64);
		s->n_wanted++;
	}
	protobuf_c_message_free_unpacked(&s->m->base, NULL);
	s->m = NULL;
	s->watch = (struct task_watch){
		.on_piece = on_sync_piece,
		.on_arriving = s->is_ours ? on_sync_piece : NULL,
		.on_phase = on_sync_phase,
	};
	task_watch(t, &s->watch);
	hand_join(s);
	s->is_watching = true;
	sync_pump(s);
}

static void sync_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct svc_peer *svc = service;
	Dfdaemon__V2__SyncPersistentCachePiecesRequest *m =
		pbc_unpack(&dfdaemon__v2__sync_persistent_cache_pieces_request__descriptor, p, n);
	struct sync *s = NULL;
	char trace[API_TRACE_SIZE];

	if (!m) {
		reply_undecodable(call);
		return;
	}
	if (refuse_id(call, m->task_id))
		goto out;
	if (svc->is_closing || svc->c.disable_shared || svc->n_streams >= svc->c.max_streams) {
		rpc_call_finish(call,
			svc->n_streams >= svc->c.max_streams ? RPC_RESOURCE_EXHAUSTED
							     : RPC_UNAVAILABLE,
			"%s",
			svc->is_closing         ? "this peer is stopping"
			: svc->c.disable_shared ? "this peer does not share"
						: "too many children at once");
		goto out;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
		goto out;
	}
	s->svc = svc;
	s->call = call;
	s->m = m;
	s->is_ours = rpc_call_metadata(call, META_BUSY_AWARE) != NULL;
	if (api_parse_traceparent(rpc_call_metadata(call, META_TRACE), trace))
		log_debug("peer: a child asks for pieces id=%s from=%s trace=%s", m->task_id,
			rpc_call_peer(call)->name, trace);
	list_init(&s->link);
	list_push(&svc->streams, &s->link);
	svc->n_streams++;
	rpc_call_set_data(call, s);
	rpc_call_send_headers(call);
	s->open.fn = on_sync_open;
	s->is_opening = true;
	tasks_open(svc->c.tasks, &s->open, m->task_id);
	return;
out:
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void sync_drain(struct rpc_call *call, void *service)
{
	struct sync *s = rpc_call_data(call);

	if (s && s->is_watching)
		sync_pump(s);
}

static void sync_end(struct rpc_call *call, void *service, bool finished)
{
	struct sync *s = rpc_call_data(call);

	if (!s)
		return;
	if (s->is_opening)
		task_open_cancel(&s->open);
	if (s->is_watching)
		task_unwatch(&s->watch);
	hand_leave(s);
	task_unref(s->task);
	if (s->m)
		protobuf_c_message_free_unpacked(&s->m->base, NULL);
	list_del(&s->link);
	s->svc->n_streams--;
	free(s->wanted);
	free(s);
}

/* ---- SyncHost ------------------------------------------------------------------------------------ */

struct host_stream {
	struct svc_peer *svc;
	struct rpc_call *call; /* NULL: gone, waiting for the timer */
	struct loop_op timer;
};

static void host_send(struct host_stream *h)
{
	struct svc_peer *svc = h->svc;
	struct announce_load load = {0};
	Common__V2__Host m = COMMON__V2__HOST__INIT;
	Common__V2__Network net = COMMON__V2__NETWORK__INIT;
	_cleanup_buf_ struct buf b = {0};

	if (svc->c.announce)
		load = announce_get_load(svc->c.announce);
	net.max_rx_bandwidth = load.max_rx_bandwidth;
	net.max_tx_bandwidth = load.max_tx_bandwidth;
	net.has_rx_bandwidth = net.has_tx_bandwidth = true;
	net.rx_bandwidth = load.rx_bandwidth;
	net.tx_bandwidth = load.tx_bandwidth;
	m.id = (char *)svc->c.host_id;
	m.hostname = (char *)svc->c.hostname;
	m.ip = (char *)svc->c.ip;
	m.port = m.download_port = svc->c.port;
	m.network = &net;
	if (pbc_pack(&m.base, &b) < 0)
		return;
	if (!rpc_call_queued(h->call))
		rpc_call_send(h->call, b.data, b.len);
}

static void on_host_timer(struct loop_op *op, int res)
{
	struct host_stream *h = container_of(op, struct host_stream, timer);
	struct svc_peer *svc = h->svc;

	if (!h->call) {
		free(h);
		return;
	}
	if (svc->is_closing) {
		rpc_call_finish(h->call, RPC_UNAVAILABLE, "this peer is stopping");
		return;
	}
	host_send(h);
	loop_timer(svc->c.loop, &h->timer, loop_now(svc->c.loop) + HOST_INTERVAL);
}

static void host_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct svc_peer *svc = service;
	struct host_stream *h;

	if (svc->is_closing || svc->n_streams >= svc->c.max_streams) {
		rpc_call_finish(call, svc->is_closing ? RPC_UNAVAILABLE : RPC_RESOURCE_EXHAUSTED,
			"%s",
			svc->is_closing ? "this peer is stopping" : "too many children at once");
		return;
	}
	h = calloc(1, sizeof(*h));
	if (!h) {
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	h->svc = svc;
	h->call = call;
	svc->n_streams++;
	rpc_call_set_data(call, h);
	loop_op_init(&h->timer, on_host_timer);
	host_send(h);
	loop_timer(svc->c.loop, &h->timer, loop_now(svc->c.loop) + HOST_INTERVAL);
}

static void host_end(struct rpc_call *call, void *service, bool finished)
{
	struct host_stream *h = rpc_call_data(call);

	if (!h)
		return;
	h->svc->n_streams--;
	h->call = NULL;
	if (loop_op_is_active(&h->timer))
		loop_cancel(h->svc->c.loop, &h->timer);
	else
		free(h);
}

/* ---- DownloadPersistentCacheTask: hold a copy ---------------------------------------------------- */

static void download_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct svc_peer *svc = service;

	if (refuse_stranger(svc, call))
		return;
	rpc_call_send_headers(call);
	export_request(svc->c.exports, call, p, n, false);
}

static void download_drain(struct rpc_call *call, void *service)
{
	export_drained(call);
}

static void download_end(struct rpc_call *call, void *service, bool finished)
{
	export_ended(call);
}

/* ---- Update, Delete ------------------------------------------------------------------------------ */

static void on_changed(void *arg, const struct outcome *why)
{
	struct rpc_call *call = arg;

	rpc_call_set_data(call, NULL);
	if (why->status == RPC_OK)
		reply_empty(call);
	else
		rpc_call_finish(call, why->status, "%s", why->text);
}

/* deleting what is not here is done already */
static void on_deleted(void *arg, const struct outcome *why)
{
	struct outcome ok = {.status = RPC_OK};

	on_changed(arg, why->status == RPC_NOT_FOUND ? &ok : why);
}

static void started(struct rpc_call *call, struct local_change *c)
{
	rpc_call_set_data(call, c);
	if (!c)
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void update_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct svc_peer *svc = service;
	Dfdaemon__V2__UpdatePersistentCacheTaskRequest *m;

	if (refuse_stranger(svc, call))
		return;
	m = pbc_unpack(&dfdaemon__v2__update_persistent_cache_task_request__descriptor, p, n);
	if (!m) {
		reply_undecodable(call);
		return;
	}
	/* Upstream does nothing for false; for us it takes a surplus replica's pin off. */
	if (!refuse_id(call, m->task_id))
		started(call, local_pin(svc->c.local, m->task_id, m->persistent, on_changed, call));
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void delete_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct svc_peer *svc = service;
	Dfdaemon__V2__DeletePersistentCacheTaskRequest *m;
	char why[96];

	if (refuse_stranger(svc, call))
		return;
	m = pbc_unpack(&dfdaemon__v2__delete_persistent_cache_task_request__descriptor, p, n);
	if (!m) {
		reply_undecodable(call);
		return;
	}
	snprintf(why, sizeof(why), "asked for by %s", rpc_call_peer(call)->name);
	if (!refuse_id(call, m->task_id))
		started(call, local_delete(svc->c.local, m->task_id, why, on_deleted, call));
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void change_end(struct rpc_call *call, void *service, bool finished)
{
	if (rpc_call_data(call))
		local_change_forget(rpc_call_data(call));
}

/* ---- Stat ---------------------------------------------------------------------------------------- */

static void on_stat(void *arg, int status, const char *message, const struct sched_task *t)
{
	struct rpc_call *call = arg;

	rpc_call_set_data(call, NULL);
	if (status == RPC_OK && t)
		reply_task(call, t);
	else
		rpc_call_finish(call, status == RPC_OK ? RPC_INTERNAL : status, "%s", message);
}

static void stat_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct svc_peer *svc = service;
	Dfdaemon__V2__StatPersistentCacheTaskRequest *m =
		pbc_unpack(&dfdaemon__v2__stat_persistent_cache_task_request__descriptor, p, n);
	struct sched_call *c;

	if (!m) {
		reply_undecodable(call);
		return;
	}
	if (!refuse_id(call, m->task_id)) {
		c = sched_stat_task(svc->c.sched, m->task_id, SCHED_TIMEOUT, on_stat, call);
		rpc_call_set_data(call, c);
		if (!c)
			rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
	}
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void stat_end(struct rpc_call *call, void *service, bool finished)
{
	if (rpc_call_data(call))
		sched_call_cancel(rpc_call_data(call));
}

/* -------------------------------------------------------------------------------------------------- */

#define REQUEST_MAX (64u << 10)
#define SYNC_MAX    (4u << 20) /* a million piece numbers */

static const struct rpc_method methods[] = {
	{
		.path = METHOD_PEER_SYNC_PIECES,
		.max_request_bytes = SYNC_MAX,
		.on_message = sync_message,
		.on_drain = sync_drain,
		.on_end = sync_end,
	},
	{
		.path = METHOD_PEER_DOWNLOAD,
		.max_request_bytes = REQUEST_MAX,
		.on_message = download_message,
		.on_drain = download_drain,
		.on_end = download_end,
	},
	{
		.path = METHOD_PEER_UPDATE,
		.max_request_bytes = REQUEST_MAX,
		.on_message = update_message,
		.on_end = change_end,
	},
	{
		.path = METHOD_PEER_DELETE,
		.max_request_bytes = REQUEST_MAX,
		.on_message = delete_message,
		.on_end = change_end,
	},
	{
		.path = METHOD_PEER_STAT,
		.max_request_bytes = REQUEST_MAX,
		.on_message = stat_message,
		.on_end = stat_end,
	},
	{
		.path = METHOD_PEER_SYNC_HOST,
		.max_request_bytes = REQUEST_MAX,
		.on_message = host_message,
		.on_end = host_end,
	},
};

int svc_peer_new(struct svc_peer **out, const struct svc_peer_config *cfg)
{
	struct svc_peer *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->c = *cfg;
	if (!s->c.max_streams)
		s->c.max_streams = 2048;
	list_init(&s->streams);
	list_init(&s->hands);
	*out = s;
	return 0;
}

struct rpc_service svc_peer_service(struct svc_peer *s)
{
	return (struct rpc_service){methods, ARRAY_SIZE(methods), s};
}

void svc_peer_close(struct svc_peer *s)
{
	s->is_closing = true;
	list_for_each_safe (it, &s->streams) {
		struct sync *y = list_entry(it, struct sync, link);

		if (y->is_watching)
			sync_finish(y, RPC_UNAVAILABLE, "this peer is stopping");
	}
}

void svc_peer_set_shared(struct svc_peer *s, bool disable_shared)
{
	s->c.disable_shared = disable_shared;
}

struct svc_peer *svc_peer_free(struct svc_peer *s)
{
	free(s);
	return NULL;
}

unsigned svc_peer_n_streams(const struct svc_peer *s)
{
	return s->n_streams;
}
