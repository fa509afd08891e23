/* SPDX-License-Identifier: GPL-2.0-or-later */
/* scheduler.c — the embedded scheduler on the loop: drives node.h; see scheduler.h */
#include "p2p/scheduler/scheduler.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "common/log.h"
#include "common/num.h"
#include "common/rpc/pbc.h"
#include "p2p/api/dfdaemon.pb-c.h"
#include "p2p/api/methods.h"
#include "p2p/channels.h"
#include "p2p/scheduler/impl.h"

#define SEC UINT64_C(1000000000)

enum { STALL_SEC = 120, START_WAIT_SEC = 3, DEFAULT_TASKS = 100000, DEFAULT_REPAIRS = 8 };

enum request_kind { REQUEST_EXCHANGE, REQUEST_LEAVE, REQUEST_ACTION, REQUEST_DELETE };

struct request {
	struct list link;
	struct scheduler *s; /* NULL: the scheduler is gone */
	enum request_kind kind;
	struct peer_link *peer;
	struct repair_action *action;
	struct rpc_request *rpc;
	uint64_t heard_ns;
	struct buf answer;
	bool has_answer;
};

uint64_t scheduler_now(const struct scheduler *s)
{
	return loop_now(s->loop);
}

static void maybe_end(struct scheduler *s)
{
	if (!s->closing || loop_op_is_active(&s->timer) || loop_op_is_active(&s->leave))
		return;
	free(s->networks);
	free(s);
}

/* ---- requests ---------------------------------------------------------------------------- */

static void on_message(struct rpc_request *rpc, void *arg, const uint8_t *p, size_t n)
{
	struct request *r = arg;

	(void)rpc;
	if (!r->s)
		return;
	r->heard_ns = scheduler_now(r->s);
	if (r->kind == REQUEST_EXCHANGE && !r->has_answer) {
		r->has_answer = true;
		buf_add(&r->answer, p, n);
	}
}

static void action_done(struct scheduler *s, struct request *r, int status, const char *message)
{
	struct repair_action *a = r->action;
	enum repair_outcome o = status == RPC_OK ? REPAIR_OK
				: status == RPC_FAILED_PRECONDITION && a->kind == REPAIR_UNPIN
					? REPAIR_REFUSED
					: REPAIR_FAILED;

	if (o == REPAIR_OK)
		log_info("repair: %s done id=%s host=%s seconds=%.1f", repair_kind_name(a->kind),
			a->task_id, a->host_id,
			(double)(scheduler_now(s) - a->started_ns) / (double)SEC);
	repair_done(&s->node.repair, a, o, message, scheduler_now(s));
}

static void left_one(struct scheduler *s)
{
	if (!--s->n_leaving && s->left)
		s->left(s->left_arg);
}

static void on_done(struct rpc_request *rpc, void *arg, int status, const char *message)
{
	struct request *r = arg;
	struct scheduler *s = r->s;

	(void)rpc;
	list_del(&r->link);
	if (s) {
		switch (r->kind) {
		case REQUEST_EXCHANGE:
			if (status != RPC_OK)
				log_debug("peers: no answer to an exchange host=%s status=%s: %s",
					r->peer->host_id, rpc_status_name(status), message);
			node_exchange_done(&s->node, r->peer,
				status == RPC_OK && r->has_answer && buf_ok(&r->answer),
				r->answer.data, r->answer.len, scheduler_now(s));
			break;
		case REQUEST_LEAVE:
			left_one(s);
			break;
		case REQUEST_ACTION:
			action_done(s, r, status, message);
			break;
		case REQUEST_DELETE:
			if (status != RPC_OK)
				log_notice(
					"scheduler: a host did not delete its copy: %s", message);
			break;
		}
		scheduler_step(s);
	}
	buf_fini(&r->answer);
	free(r);
}

static const struct rpc_handlers handlers = {.on_message = on_message, .on_done = on_done};

static struct request *request(struct scheduler *s, enum request_kind kind,
	const struct sockaddr_storage *addr, const char *path, const void *p, size_t n,
	uint64_t timeout_ns)
{
	struct rpc_channel *ch =
		channels_get(s->channels, (const struct sockaddr *)addr, sizeof(*addr));
	struct request *r = ch ? calloc(1, sizeof(*r)) : NULL;
	struct rpc_meta meta = {META_SELF, scheduler_secret_for(s, addr)};

	if (!r)
		return NULL;
	r->s = s;
	r->kind = kind;
	r->heard_ns = scheduler_now(s);
	r->rpc = rpc_request_start(ch, path, &meta, meta.value ? 1 : 0, timeout_ns, &handlers, r);
	if (!r->rpc) {
		free(r);
		return NULL;
	}
	list_push(&s->requests, &r->link);
	if (rpc_request_send(r->rpc, p, n))
		rpc_request_cancel(r->rpc);
	else
		rpc_request_close_send(r->rpc);
	return r;
}

/* ---- what the node wants done ------------------------------------------------------------ */

static void do_exchange(void *arg, struct peer_link *l, const void *p, size_t n)
{
	struct scheduler *s = arg;
	struct request *r = request(
		s, REQUEST_EXCHANGE, &l->addr, METHOD_INVENTORY, p, n, s->node.peers.heartbeat_ns);

	if (r)
		r->peer = l;
	else
		node_exchange_done(&s->node, l, false, NULL, 0, scheduler_now(s));
}

static int pack_action(const struct repair_action *a, struct buf *out)
{
	Dfdaemon__V2__DownloadPersistentCacheTaskRequest get =
		DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_REQUEST__INIT;
	Dfdaemon__V2__UpdatePersistentCacheTaskRequest update =
		DFDAEMON__V2__UPDATE_PERSISTENT_CACHE_TASK_REQUEST__INIT;

	if (a->kind == REPAIR_FETCH) {
		get.task_id = (char *)a->task_id;
		get.persistent = true;
		return pbc_pack(&get.base, out);
	}
	update.task_id = (char *)a->task_id;
	update.persistent = a->kind == REPAIR_PROMOTE;
	return pbc_pack(&update.base, out);
}

static void start_action(void *arg, struct repair_action *a)
{
	struct scheduler *s = arg;
	_cleanup_buf_ struct buf out = {0};
	bool fetch = a->kind == REPAIR_FETCH;
	struct request *r = NULL;

	log_info("repair: %s begins id=%s host=%s", repair_kind_name(a->kind), a->task_id,
		a->host_id);
	if (!pack_action(a, &out))
		r = request(s, REQUEST_ACTION, &a->addr,
			fetch ? METHOD_PEER_DOWNLOAD : METHOD_PEER_UPDATE, out.data, out.len,
			fetch ? 0 : 10 * SEC);
	if (r)
		r->action = a;
	a->data = r; /* NULL: scheduler_step() reports the failure */
}

static void cancel_action(void *arg, struct repair_action *a)
{
	struct request *r = a->data;

	(void)arg;
	if (r)
		rpc_request_cancel(r->rpc);
}

static void delete_copy(void *arg, const struct sockaddr_storage *addr, const char *id)
{
	struct scheduler *s = arg;
	Dfdaemon__V2__DeletePersistentCacheTaskRequest m =
		DFDAEMON__V2__DELETE_PERSISTENT_CACHE_TASK_REQUEST__INIT;
	_cleanup_buf_ struct buf out = {0};

	m.task_id = (char *)id;
	if (!pbc_pack(&m.base, &out))
		(void)request(
			s, REQUEST_DELETE, addr, METHOD_PEER_DELETE, out.data, out.len, 10 * SEC);
}

static void on_peer(void *arg)
{
	struct scheduler *s = arg;

	if (s->on_peer)
		s->on_peer(s->on_peer_arg);
}

/* ---- time -------------------------------------------------------------------------------- */

/* actions that could not be sent fail now; fetches that move nothing are given up */
static void actions_step(struct scheduler *s, uint64_t now)
{
	list_for_each_safe (it, &s->node.repair.actions) {
		struct repair_action *a = list_entry(it, struct repair_action, link);
		struct request *r = a->data;

		if (!r) {
			repair_done(&s->node.repair, a, REPAIR_FAILED, "out of memory", now);
		} else if (a->kind == REPAIR_FETCH && !a->is_canceled &&
			   now > r->heard_ns + STALL_SEC * SEC) {
			log_notice("repair: a fetch moves nothing, given up id=%s host=%s",
				a->task_id, a->host_id);
			r->heard_ns = now;
			rpc_request_cancel(r->rpc);
		}
	}
}

static int64_t wall_offset(uint64_t now)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec - (int64_t)now;
}

void scheduler_step(struct scheduler *s)
{
	uint64_t now = scheduler_now(s), next;

	if (s->is_stepping || s->closing)
		return;
	s->is_stepping = true;
	s->node.wall_offset_ns = wall_offset(now);
	node_step(&s->node, now);
	actions_step(s, now);
	service_step(s, now);
	s->is_stepping = false;
	next = node_next(&s->node, now);
	if (loop_op_is_active(&s->timer)) {
		/* its callback steps again and arms it for the right time */
		if (next < s->timer_at_ns)
			loop_cancel(s->loop, &s->timer);
		return;
	}
	s->timer_at_ns = next;
	loop_timer(s->loop, &s->timer, next);
}

static void on_timer(struct loop_op *op, int res)
{
	struct scheduler *s = container_of(op, struct scheduler, timer);

	(void)res;
	if (s->closing)
		maybe_end(s);
	else
		scheduler_step(s);
}

/* ---- life -------------------------------------------------------------------------------- */

static void on_resolved(void *arg, const struct sockaddr_storage *v, size_t n)
{
	struct scheduler *s = arg;

	int r = peers_set_contacts(&s->node.peers, v, n, scheduler_now(s));

	if (r == -ENOSPC)
		log_warning("peers: more than %d addresses, the rest is left out", PEERS_MAX);
	else if (r)
		log_err("peers: no memory for the configured addresses, some are left out");
	s->is_resolved = true;
	scheduler_step(s);
}

int scheduler_parse_prefix(const char *text, struct scheduler_prefix *out)
{
	char host[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	struct sockaddr_in *v4 = (struct sockaddr_in *)&out->addr;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->addr;
	uint64_t bits, max;

	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = 0;
	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		out->addr.ss_family = AF_INET;
		max = 32;
	} else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		out->addr.ss_family = AF_INET6;
		max = 128;
	} else {
		return -EINVAL;
	}
	bits = max;
	if (slash && num_u64(slash + 1, 0, max, &bits, NULL))
		return -EINVAL;
	out->bits = (unsigned)bits;
	return 0;
}

static int random_bytes(void *p, size_t n)
{
	return getrandom(p, n, 0) == (ssize_t)n ? 0 : -EIO;
}

static uint64_t or_default(uint64_t v, uint64_t d)
{
	return v ? v : d;
}

static int make_secret(struct scheduler *s)
{
	uint8_t raw[16];

	if (random_bytes(raw, sizeof(raw)))
		return -EIO;
	for (size_t i = 0; i < sizeof(raw); i++)
		snprintf(s->secret + 2 * i, 3, "%02x", raw[i]);
	return 0;
}

static int init_node(struct scheduler *s, const struct scheduler_config *cfg,
	const struct scheduler_ops *ops, void *arg)
{
	struct node_config nc = {.host_id = cfg->host_id,
		.self = cfg->self,
		.heartbeat_ns = cfg->heartbeat_ns,
		.leave_grace_ns = or_default(cfg->leave_grace_ns, 30 * SEC),
		.seed = cfg->seed,
		.max_tasks = or_default(cfg->max_tasks, DEFAULT_TASKS),
		.max_repairs = (unsigned)or_default(cfg->max_repairs, DEFAULT_REPAIRS)};

	if ((!nc.seed && random_bytes(&nc.seed, sizeof(nc.seed))) ||
		random_bytes(&nc.incarnation, sizeof(nc.incarnation)))
		return -EIO;
	nc.incarnation |= 1;
	s->ops = (struct node_ops){
		.exchange = do_exchange,
		.repair = {.start = start_action, .cancel = cancel_action},
		.children = {.send = service_send_parents, .end = service_end_child},
		.delete_copy = delete_copy,
		.on_peer = on_peer,
		.local = *ops,
		.local_arg = arg,
	};
	return node_init(&s->node, &nc, &s->ops, s, scheduler_now(s));
}

static void on_leave(struct loop_op *op, int res)
{
	struct scheduler *s = container_of(op, struct scheduler, leave);

	(void)res;
	if (s->closing)
		maybe_end(s);
	else
		left_one(s);
}

int scheduler_new(struct scheduler **out, struct loop *l, struct channels *ch,
	const struct scheduler_config *cfg, const struct scheduler_ops *ops, void *arg)
{
	struct scheduler *s = calloc(1, sizeof(*s));
	size_t bad = 0;
	int r;

	if (!s)
		return -ENOMEM;
	s->loop = l;
	s->channels = ch;
	list_init(&s->requests);
	list_init(&s->parked);
	list_init(&s->ready);
	loop_op_init(&s->timer, on_timer);
	loop_op_init(&s->leave, on_leave);
	s->networks = calloc(cfg->n_networks + 1, sizeof(*s->networks));
	if (!s->networks) {
		free(s);
		return -ENOMEM;
	}
	for (size_t i = 0; i < cfg->n_networks; i++)
		s->networks[i] = cfg->networks[i];
	s->n_networks = cfg->n_networks;
	s->resolve_ns = or_default(cfg->resolve_ns, 30 * SEC);
	r = make_secret(s);
	if (!r)
		r = init_node(s, cfg, ops, arg);
	if (!r)
		r = resolve_new(&s->resolve, l, cfg->peers, cfg->n_peers, s->resolve_ns,
			on_resolved, s, &bad);
	if (r) {
		if (r == -EINVAL && cfg->n_peers)
			log_err("peers: %s is not an address: write host:port, 10.0.0.1:4000 or "
				"[fd00::1]:4000",
				cfg->peers[bad]);
		if (s->node.ops)
			node_fini(&s->node);
		free(s->networks);
		free(s);
		return r;
	}
	s->started_ns = scheduler_now(s);
	s->timer_at_ns = s->started_ns;
	loop_timer(l, &s->timer, s->timer_at_ns);
	*out = s;
	return 0;
}

struct scheduler *scheduler_free(struct scheduler *s)
{
	if (!s)
		return NULL;
	s->closing = true;
	resolve_free(s->resolve);
	list_for_each_safe (it, &s->requests) {
		struct request *r = list_entry(it, struct request, link);

		/* node_fini() frees what these point to; their end is only awaited */
		list_del(&r->link);
		r->s = NULL;
		rpc_request_cancel(r->rpc);
	}
	node_fini(&s->node);
	if (loop_op_is_active(&s->timer))
		loop_cancel(s->loop, &s->timer);
	maybe_end(s);
	return NULL;
}

size_t scheduler_services(struct scheduler *s, struct rpc_service out[SCHEDULER_N_SERVICES])
{
	out[0] = scheduler_service_table;
	out[1] = scheduler_inventory_table;
	out[0].ctx = out[1].ctx = s;
	return SCHEDULER_N_SERVICES;
}

void scheduler_set_draining(struct scheduler *s, bool draining)
{
	s->node.is_draining = draining;
	s->node.self_host->is_draining = draining;
	node_readdress(&s->node, &s->node.self); /* beats at once */
	scheduler_step(s);
}

int scheduler_set_peers(struct scheduler *s, const char *const *peers, size_t n_peers,
	const struct scheduler_prefix *networks, size_t n_networks, size_t *bad)
{
	struct scheduler_prefix *v = calloc(n_networks + 1, sizeof(*v));
	struct resolve *r;
	int e;

	if (!v)
		return -ENOMEM;
	e = resolve_new(&r, s->loop, peers, n_peers, s->resolve_ns, on_resolved, s, bad);
	if (e) {
		free(v);
		return e;
	}
	for (size_t i = 0; i < n_networks; i++)
		v[i] = networks[i];
	free(s->networks);
	s->networks = v;
	s->n_networks = n_networks;
	resolve_free(s->resolve);
	s->resolve = r;
	return 0;
}

void scheduler_readdress(struct scheduler *s, const struct sockaddr_storage *self)
{
	node_readdress(&s->node, self);
	scheduler_step(s);
}

void scheduler_leave(struct scheduler *s, void (*done)(void *), void *arg)
{
	_cleanup_buf_ struct buf out = {0};
	int r = node_build_leave(&s->node, &out);

	s->left = done;
	s->left_arg = arg;
	s->n_leaving = 1; /* our own, so that done() is not called from here */
	list_for_each (it, &s->node.peers.links) {
		struct peer_link *l = list_entry(it, struct peer_link, link);

		if (!r && l->is_live &&
			request(s, REQUEST_LEAVE, &l->addr, METHOD_INVENTORY, out.data, out.len,
				SEC))
			s->n_leaving++;
	}
	loop_post(s->loop, &s->leave, 0);
}

/* ---- questions --------------------------------------------------------------------------- */

bool scheduler_prefix_has(const struct scheduler_prefix *p, const struct sockaddr_storage *a)
{
	uint8_t x[16], y[16];
	const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;
	size_t n = p->addr.ss_family == AF_INET ? 4 : 16;

	if (a->ss_family == p->addr.ss_family) {
		memcpy(x,
			a->ss_family == AF_INET
				? (const void *)&((const struct sockaddr_in *)a)->sin_addr
				: (const void *)&v6->sin6_addr,
			n);
	} else if (a->ss_family == AF_INET6 && n == 4 &&
		   !memcmp(&v6->sin6_addr, mapped, sizeof(mapped))) {
		memcpy(x, (const uint8_t *)&v6->sin6_addr + 12, 4);
	} else {
		return false;
	}
	memcpy(y,
		n == 4 ? (const void *)&((const struct sockaddr_in *)&p->addr)->sin_addr
		       : (const void *)&((const struct sockaddr_in6 *)&p->addr)->sin6_addr,
		n);
	for (unsigned i = 0; i < p->bits; i++) {
		if ((x[i / 8] ^ y[i / 8]) >> (7 - i % 8) & 1)
			return false;
	}
	return true;
}

bool scheduler_trusts(const struct scheduler *s, const struct rpc_peer *from)
{
	if (from->is_unix)
		return false;
	if (from->certificate) /* of our CA; with TLS on, everybody has one and addresses say nothing */
		return true;
	for (size_t i = 0; i < s->n_networks; i++) {
		if (scheduler_prefix_has(&s->networks[i], &from->addr))
			return true;
	}
	return peers_trusts(&s->node.peers, &from->addr);
}

bool scheduler_call_trusted(const struct scheduler *s, const struct rpc_call *call)
{
	const char *secret = rpc_call_metadata(call, META_SELF);
	unsigned diff = 0;

	if (secret && strlen(secret) == strlen(s->secret)) {
		for (size_t i = 0; s->secret[i]; i++) /* in constant time */
			diff |= (unsigned)(secret[i] ^ s->secret[i]);
		if (!diff)
			return true;
	}
	return scheduler_trusts(s, rpc_call_peer(call));
}

const char *scheduler_secret_for(const struct scheduler *s, const struct sockaddr_storage *addr)
{
	return peers_addr_equal(addr, &s->node.self, true) ? s->secret : NULL;
}

bool scheduler_owner(const struct scheduler *s, const char *id, struct sockaddr_storage *addr,
	char host_id[HOST_ID_SIZE], bool *is_self)
{
	const struct peer_link *l = peers_owner(&s->node.peers, id);

	*is_self = !l;
	*addr = l ? l->addr : s->node.self;
	snprintf(host_id, HOST_ID_SIZE, "%s", l ? l->host_id : s->node.peers.host_id);
	return (s->is_resolved && peers_tried_all(&s->node.peers)) ||
	       scheduler_now(s) >= s->started_ns + START_WAIT_SEC * SEC;
}

struct scheduler_stats scheduler_get_stats(const struct scheduler *s)
{
	const struct node *n = &s->node;
	struct scheduler_stats st = {.n_hosts = n->reg.hosts.n,
		.n_tasks = n->reg.tasks.n,
		.n_copies = n->reg.n_copies,
		.n_tombstones = n->reg.tombstones.n,
		.n_peers_live = n->peers.n_live,
		.n_repairs = n->repair.n_actions,
		.n_repairs_done = n->repair.n_done,
		.n_repairs_failed = n->repair.n_failed,
		.n_conflicts = n->n_conflicts};

	list_for_each (it, &n->peers.links)
		st.n_peers += !list_entry(it, struct peer_link, link)->is_self;
	for (const struct reg_task *t = registry_task_next(&n->reg, NULL); t;
		t = registry_task_next(&n->reg, t)) {
		st.n_tasks_owned += t->is_owned;
		st.n_missing += t->is_owned ? repair_missing(t) : 0;
	}
	return st;
}
