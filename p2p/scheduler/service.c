/* SPDX-License-Identifier: GPL-2.0-or-later */
/* service.c — the RPCs of scheduler.v2.Scheduler and dfcachefiles.v1.Inventory: decode, check,
 * authorise, call the node, encode.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/num.h"
#include "common/rpc/pbc.h"
#include "p2p/api/convert.h"
#include "p2p/api/methods.h"
#include "p2p/api/scheduler.pb-c.h"
#include "p2p/scheduler/check.h"
#include "p2p/scheduler/impl.h"

#define SEC UINT64_C(1000000000)
#define MS  UINT64_C(1000000)

enum {
	REQUEST_MAX = 64 << 10, /* unary requests of the scheduler */
	EXCHANGE_MAX = 2 << 20,
	QUEUED_MAX = 4 << 20, /* a child that does not read its lists */
	DELETE_WAIT_SEC = 3,
	OWNED_PAGE = 128, /* tasks; a few hundred KiB with the longest labels */
};

/* ---- answers ----------------------------------------------------------------------------- */

static void trailers(struct rpc_call *call, const struct reg_task *t, uint64_t now)
{
	char text[40];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)t->version.generation);
	rpc_call_trailer(call, META_GENERATION, text);
	if (t->version.has_fingerprint) {
		api_format_fingerprint(t->version.fingerprint, text);
		rpc_call_trailer(call, META_FINGERPRINT, text);
	}
	snprintf(text, sizeof(text), "%u", t->importer_uid);
	rpc_call_trailer(call, META_UID, text);
	if (t->expires_ns != REG_NEVER) {
		snprintf(text, sizeof(text), "%llu",
			(unsigned long long)(t->expires_ns > now ? (t->expires_ns - now) / MS : 0));
		rpc_call_trailer(call, META_EXPIRES_IN, text);
	}
}

struct task_message {
	Common__V2__PersistentCacheTask m;
	Google__Protobuf__Duration ttl;
	Google__Protobuf__Timestamp created, updated;
};

/* Two clocks and milliseconds on the way leave "1h" a little short: what is within 50 ms of a whole
 * second is that second. */
static uint64_t whole_seconds(uint64_t ns)
{
	uint64_t rest = (ns + 50 * MS) % SEC;

	return rest < 100 * MS ? ns + 50 * MS - rest : ns;
}

static Common__V2__PersistentCacheTask *set_task(
	const struct scheduler *s, struct task_message *x, const struct reg_task *t)
{
	uint64_t created = t->created_wall_ns;
	uint64_t now = scheduler_now(s), wall = node_wall(&s->node, now), left, age;

	common__v2__persistent_cache_task__init(&x->m);
	x->m.id = (char *)t->id;
	x->m.persistent_replica_count = t->wanted;
	registry_count(t, &x->m.current_replica_count, &x->m.current_persistent_replica_count);
	x->m.tag = t->tag;
	x->m.application = t->application;
	x->m.piece_length = t->piece_length;
	x->m.content_length = t->length;
	x->m.piece_count = t->n_pieces;
	x->m.state = (char *)registry_state(t);
	/* ttl counts from created_at for those who add them up */
	left = t->expires_ns == REG_NEVER ? 0 : t->expires_ns > now ? t->expires_ns - now : 0;
	age = wall > created ? wall - created : 0;
	api_set_duration(&x->ttl, t->expires_ns == REG_NEVER ? 0 : whole_seconds(left + age));
	api_set_timestamp(&x->created, created);
	api_set_timestamp(&x->updated, t->updated_wall_ns);
	x->m.ttl = &x->ttl;
	x->m.created_at = &x->created;
	x->m.updated_at = &x->updated;
	return &x->m;
}

static void reply(struct rpc_call *call, ProtobufCMessage *m)
{
	struct buf out = {0};
	size_t n;
	void *p;

	if (pbc_pack(m, &out) || !buf_ok(&out)) {
		buf_fini(&out);
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	n = out.len;
	p = buf_take(&out, &n);
	if (p ? rpc_call_send_owned(call, p, n) : rpc_call_send(call, "", 0))
		return; /* the call is over */
	rpc_call_finish(call, RPC_OK, NULL);
}

static void reply_empty(struct rpc_call *call)
{
	rpc_call_send(call, "", 0);
	rpc_call_finish(call, RPC_OK, NULL);
}

static void reply_answer(
	struct scheduler *s, struct rpc_call *call, const struct node_answer *a, bool with_task)
{
	struct task_message x;

	if (a->task)
		trailers(call, a->task, scheduler_now(s));
	if (a->status != RPC_OK)
		rpc_call_finish(call, a->status, "%s", a->message);
	else if (with_task && a->task)
		reply(call, &set_task(s, &x, a->task)->base);
	else
		reply_empty(call);
}

/* ---- hosts and copies as messages -------------------------------------------------------- */

struct copy_message {
	Common__V2__PersistentCachePeer m;
	Common__V2__Host host;
	Common__V2__Network network;
	Common__V2__Build build;
	Google__Protobuf__Duration cost;
	Google__Protobuf__Timestamp created, updated;
	char ip[ADDR_TEXT];
};

static Common__V2__PersistentCachePeer *set_copy(
	struct copy_message *x, const struct reg_copy *c, Common__V2__PersistentCacheTask *task)
{
	const struct reg_host *h = c->host;
	uint16_t port;

	common__v2__persistent_cache_peer__init(&x->m);
	common__v2__host__init(&x->host);
	common__v2__network__init(&x->network);
	common__v2__build__init(&x->build);
	addr_text(&h->addr, x->ip, &port);
	x->host.id = h->id;
	x->host.hostname = h->hostname ? h->hostname : h->id;
	x->host.ip = x->ip;
	x->host.port = x->host.download_port = port;
	x->host.disable_shared = h->disable_shared;
	x->network.max_tx_bandwidth = h->max_tx_bandwidth;
	x->network.idc = h->idc;
	x->network.location = h->location;
	x->host.network = &x->network;
	if (h->is_ours) {
		x->build.git_version = (char *)HOST_VERSION_PREFIX VERSION;
		x->host.build = &x->build;
	}
	x->m.id = c->peer_id;
	x->m.persistent = c->persistent;
	x->m.state = (char *)copy_state_name(c->state);
	x->m.task = task;
	x->m.host = &x->host;
	x->m.concurrent_piece_count = c->concurrent_pieces ? c->concurrent_pieces : 8;
	api_set_duration(&x->cost, c->cost_ns);
	api_set_timestamp(&x->created, c->created_wall_ns);
	api_set_timestamp(&x->updated, c->updated_wall_ns);
	x->m.cost = &x->cost;
	x->m.created_at = &x->created;
	x->m.updated_at = &x->updated;
	return &x->m;
}

/* ---- parked calls: they wait for peers to be asked, or to be told ------------------------- */

enum park_kind { PARK_ASK, PARK_DELETE };

struct method;
struct parked {
	struct list link;
	struct scheduler *s;
	struct rpc_call *call;
	enum park_kind kind;
	const struct method *method;
	struct buf request; /* PARK_ASK: served again afterwards */
	struct node_ask *ask;
	char id[TASK_ID_SIZE];
	uint64_t deadline_ns;
	bool is_ready;
};

static struct parked *park(struct scheduler *s, struct rpc_call *call, enum park_kind kind,
	const char *id, uint64_t deadline_ns)
{
	struct parked *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->s = s;
	k->call = call;
	k->kind = kind;
	k->deadline_ns = deadline_ns;
	snprintf(k->id, sizeof(k->id), "%s", id);
	list_push(&s->parked, &k->link);
	rpc_call_set_data(call, k);
	return k;
}

static void parked_free(struct parked *k)
{
	list_del(&k->link);
	if (k->ask)
		node_ask_cancel(k->ask);
	buf_fini(&k->request);
	free(k);
}

static void on_asked(void *arg)
{
	struct parked *k = arg;

	k->ask = NULL;
	k->is_ready = true; /* service_step() serves it; not from inside the node */
}

static void on_end(struct rpc_call *call, void *service, bool finished)
{
	struct parked *k = rpc_call_data(call);

	(void)service;
	(void)finished;
	if (k)
		parked_free(k);
}

/* ---- unary methods ----------------------------------------------------------------------- */

/* One row per unary method. check: NULL or what is wrong. task_id: the id to ask the peers about
 * before it is called unknown. */
struct method {
	const ProtobufCMessageDescriptor *type;
	bool for_trusted;
	const char *(*check)(const void *m);
	const char *(*task_id)(const void *m);
	void (*run)(struct scheduler *s, struct rpc_call *call, const void *m, uint64_t now);
};

static bool ask_first(struct scheduler *s, struct rpc_call *call, const struct method *d,
	const void *m, const uint8_t *p, size_t n, uint64_t now)
{
	const char *id = d->task_id ? d->task_id(m) : NULL;
	struct parked *k;

	if (!id || registry_task(&s->node.reg, id) || node_is_settled(&s->node, id, now))
		return false;
	k = park(s, call, PARK_ASK, id, UINT64_MAX);
	if (!k)
		return false;
	k->method = d;
	buf_add(&k->request, p, n);
	if (buf_ok(&k->request) && node_ask(&s->node, id, on_asked, k, &k->ask, now))
		return true;
	rpc_call_set_data(call, NULL);
	parked_free(k);
	return false;
}

static void serve(struct scheduler *s, struct rpc_call *call, const struct method *d,
	const uint8_t *p, size_t n, bool may_ask)
{
	uint64_t now = scheduler_now(s);
	void *m;
	const char *why;

	if (d->for_trusted && !scheduler_call_trusted(s, call)) {
		LOG_LIMITED(LOG_WARNING, "scheduler: refused, not a configured peer from=%s %s",
			rpc_call_peer(call)->name, rpc_call_path(call));
		rpc_call_finish(call, RPC_PERMISSION_DENIED,
			"%s is not among the configured peers of this host",
			rpc_call_peer(call)->name);
		return;
	}
	m = pbc_unpack(d->type, p, n);
	if (!m) {
		rpc_call_finish(call, RPC_INVALID_ARGUMENT,
			"the message is not a %s with valid "
			"UTF-8 strings",
			d->type->name);
		return;
	}
	why = d->check(m);
	if (why)
		rpc_call_finish(call, RPC_INVALID_ARGUMENT, "%s", why);
	else if (!may_ask || !ask_first(s, call, d, m, p, n, now))
		d->run(s, call, m, now);
	protobuf_c_message_free_unpacked(m, NULL);
}

static void streams_step(struct scheduler *s);

void service_step(struct scheduler *s, uint64_t now)
{
	streams_step(s);
	list_for_each_safe (it, &s->parked) {
		struct parked *k = list_entry(it, struct parked, link);
		struct rpc_call *call = k->call;

		if (k->kind == PARK_DELETE) {
			if (now < k->deadline_ns && !node_is_told(&s->node, k->id))
				continue;
			rpc_call_set_data(call, NULL);
			parked_free(k);
			reply_empty(call);
		} else if (k->is_ready) {
			list_del(&k->link);
			rpc_call_set_data(call, NULL);
			serve(s, call, k->method, k->request.data, k->request.len, false);
			parked_free(k);
		}
	}
}

/* AnnounceHost */
static void run_announce_host(
	struct scheduler *s, struct rpc_call *call, const void *msg, uint64_t now)
{
	const Scheduler__V2__AnnounceHostRequest *m = msg;
	const Common__V2__Host *h = m->host;
	const char *version = h->build ? h->build->git_version : NULL;
	_cleanup_buf_ struct buf packed = {0};
	struct node_answer a;
	struct node_host_info i = {.id = h->id,
		.hostname = h->hostname,
		.addr = check_host_addr(h),
		.disable_shared = h->disable_shared,
		.is_ours = version &&
			   !strncmp(version, HOST_VERSION_PREFIX, sizeof(HOST_VERSION_PREFIX) - 1)};

	if (h->network) {
		i.idc = h->network->idc;
		i.location = h->network->location;
		i.max_tx_bandwidth = h->network->max_tx_bandwidth;
	}
	if (h->disk) {
		i.has_disk = h->disk->total > 0;
		i.disk_total = h->disk->total;
		i.disk_free = h->disk->free;
	}
	api_duration_ns(m->interval, &i.interval_ns);
	if (pbc_pack((ProtobufCMessage *)&h->base, &packed)) {
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	i.packed = packed.data;
	i.packed_len = packed.len;
	node_announce_host(&s->node, &i, &a, now);
	reply_answer(s, call, &a, false);
}

/* ListHosts */
static void run_list_hosts(
	struct scheduler *s, struct rpc_call *call, const void *msg, uint64_t now)
{
	const Scheduler__V2__ListHostsRequest *m = msg;
	Scheduler__V2__ListHostsResponse out = SCHEDULER__V2__LIST_HOSTS_RESPONSE__INIT;

	(void)now;
	out.hosts = calloc(s->node.reg.hosts.n + 1, sizeof(*out.hosts));
	if (!out.hosts) {
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	for (struct reg_host *h = registry_host_next(&s->node.reg, NULL); h;
		h = registry_host_next(&s->node.reg, h)) {
		Common__V2__Host *x = NULL;

		if (h->is_live && h->info)
			x = pbc_unpack(&common__v2__host__descriptor, h->info, h->info_len);
		if (x && m->has_type && x->type != m->type) {
			protobuf_c_message_free_unpacked(&x->base, NULL);
			x = NULL;
		}
		if (x)
			out.hosts[out.n_hosts++] = x;
	}
	reply(call, &out.base);
	for (size_t i = 0; i < out.n_hosts; i++)
		protobuf_c_message_free_unpacked(&out.hosts[i]->base, NULL);
	free(out.hosts);
}

/* DeleteHost */
static void run_delete_host(
	struct scheduler *s, struct rpc_call *call, const void *msg, uint64_t now)
{
	const Scheduler__V2__DeleteHostRequest *m = msg;
	struct node_answer a;

	node_delete_host(&s->node, m->host_id, &a, now);
	reply_answer(s, call, &a, false);
}

/* what our own importers say beyond Dragonfly's message */
static struct reg_version version_of_meta(const struct rpc_call *call)
{
	const char *g = rpc_call_metadata(call, META_GENERATION);
	struct reg_version v = {0};

	if (g && num_u64(g, 0, UINT64_MAX, &v.generation, NULL))
		v.generation = 0;
	v.has_fingerprint =
		api_parse_fingerprint(rpc_call_metadata(call, META_FINGERPRINT), v.fingerprint);
	return v;
}

/* UploadPersistentCacheTaskStarted */
static void run_upload_started(
	struct scheduler *s, struct rpc_call *call, const void *msg, uint64_t now)
{
	const Scheduler__V2__UploadPersistentCacheTaskStartedRequest *m = msg;
	const char *uid = rpc_call_metadata(call, META_UID);
	const char *in = rpc_call_metadata(call, META_EXPIRES_IN);
	struct node_answer a;
	uint64_t ttl, number;
	struct node_upload u = {.host_id = m->host_id,
		.task_id = m->task_id,
		.peer_id = m->peer_id,
		.tag = m->tag,
		.application = m->application,
		.wanted = m->persistent_replica_count,
		.length = m->content_length,
		.piece_length = (uint32_t)m->piece_length,
		.n_pieces = m->piece_count,
		.expires_ns = REG_NEVER,
		.version = version_of_meta(call)};

	if (u.version.generation > node_wall(&s->node, now) + INV_CLOCK_AHEAD) {
		rpc_call_finish(call, RPC_INVALID_ARGUMENT,
			"the generation lies more than a year ahead: is the clock of %s right?",
			m->host_id);
		return;
	}
	api_duration_ns(m->ttl, &ttl);
	if (ttl)
		u.expires_ns = now + ttl;
	if (in && !num_u64(in, 0, INV_TTL_MAX_MS, &number, NULL))
		u.expires_ns = now + number * MS;
	if (uid && !num_u64(uid, 0, UINT32_MAX, &number, NULL))
		u.importer_uid = (uint32_t)number;
	node_upload_started(&s->node, &u, &a, now);
	reply_answer(s, call, &a, false);
}

/* UploadPersistentCacheTaskFinished */
static void run_upload_finished(
	struct scheduler *s, struct rpc_call *call, const void *msg, uint64_t now)
{
	const Scheduler__V2__UploadPersistentCacheTaskFinishedRequest *m = msg;
	struct node_answer a;

	node_upload_finished(&s->node, m->task_id, m->peer_id, &a, now);
	reply_answer(s, call, &a, true);
}

/* UploadPersistentCacheTaskFailed */
static void run_upload_failed(
	struct scheduler *s, struct rpc_call *call, const void *msg, uint64_t now)
{
	const Scheduler__V2__UploadPersistentCacheTaskFailedRequest *m = msg;
	struct node_answer a;

	node_upload_failed(&s->node, m->task_id, m->peer_id, &a, now);
	reply_answer(s, call, &a, false);
}

/* StatPersistentCacheTask */
static void run_stat_task(struct scheduler *s, struct rpc_call *call, const void *msg, uint64_t now)
{
	const Scheduler__V2__StatPersistentCacheTaskRequest *m = msg;
	struct node_answer a;

	(void)now;
	node_stat(&s->node, m->task_id, &a);
	reply_answer(s, call, &a, true);
}

/* StatPersistentCachePeer */
static void run_stat_peer(struct scheduler *s, struct rpc_call *call, const void *msg, uint64_t now)
{
	const Scheduler__V2__StatPersistentCachePeerRequest *m = msg;
	struct reg_task *t = registry_task(&s->node.reg, m->task_id);
	struct reg_copy *c = t ? registry_copy_by_peer(t, m->peer_id) : NULL;
	struct task_message task;
	struct copy_message x;

	(void)now;
	if (!c)
		rpc_call_finish(
			call, RPC_NOT_FOUND, "persistent cache peer %s not found", m->peer_id);
	else
		reply(call, &set_copy(&x, c, set_task(s, &task, t))->base);
}

/* DeletePersistentCachePeer */
static void run_delete_peer(
	struct scheduler *s, struct rpc_call *call, const void *msg, uint64_t now)
{
	const Scheduler__V2__DeletePersistentCachePeerRequest *m = msg;
	struct node_answer a;

	node_delete_copy(&s->node, m->task_id, m->host_id, m->peer_id, &a, now);
	reply_answer(s, call, &a, false);
}

/* DeletePersistentCacheTask: answered when the live peers have heard of it */
static void run_delete_task(
	struct scheduler *s, struct rpc_call *call, const void *msg, uint64_t now)
{
	const Scheduler__V2__DeletePersistentCacheTaskRequest *m = msg;
	struct node_answer a;

	node_delete(&s->node, m->task_id, &a, now);
	if (a.status != RPC_OK || node_is_told(&s->node, m->task_id) ||
		!park(s, call, PARK_DELETE, m->task_id, now + DELETE_WAIT_SEC * SEC))
		reply_answer(s, call, &a, false);
}

/* Owned: a page of what this peer schedules */
static void run_owned(struct scheduler *s, struct rpc_call *call, const void *msg, uint64_t now)
{
	const Dfcachefiles__V1__OwnedRequest *m = msg;
	Dfcachefiles__V1__OwnedResponse out = DFCACHEFILES__V1__OWNED_RESPONSE__INIT;
	struct {
		struct reg_task *tasks[OWNED_PAGE];
		Dfcachefiles__V1__OwnedTask m[OWNED_PAGE], *v[OWNED_PAGE];
		inv_entry entries[OWNED_PAGE];
	} *page = malloc(sizeof(*page));

	if (!page) {
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	out.n_tasks =
		registry_page(&s->node.reg, m->after ? m->after : "", page->tasks, OWNED_PAGE);
	for (size_t i = 0; i < out.n_tasks; i++) {
		Dfcachefiles__V1__OwnedTask *o = page->v[i] = &page->m[i];

		dfcachefiles__v1__owned_task__init(o);
		o->entry = &page->entries[i];
		entry_of_task(page->tasks[i], now, o->entry);
		o->state = (char *)registry_state(page->tasks[i]);
		registry_count(page->tasks[i], &o->replicas, &o->persistent_replicas);
	}
	out.tasks = page->v;
	out.is_last = out.n_tasks < OWNED_PAGE;
	reply(call, &out.base);
	free(page);
}

#define TASK_ID_OF(name, type)                                                                     \
	static const char *name(const void *m)                                                     \
	{                                                                                          \
		return ((const type *)m)->task_id;                                                 \
	}
TASK_ID_OF(id_started, Scheduler__V2__UploadPersistentCacheTaskStartedRequest)
TASK_ID_OF(id_finished, Scheduler__V2__UploadPersistentCacheTaskFinishedRequest)
TASK_ID_OF(id_stat, Scheduler__V2__StatPersistentCacheTaskRequest)
TASK_ID_OF(id_delete, Scheduler__V2__DeletePersistentCacheTaskRequest)

static const struct method announce_host = {&scheduler__v2__announce_host_request__descriptor, true,
	check_announce_host, NULL, run_announce_host};
static const struct method list_hosts = {
	&scheduler__v2__list_hosts_request__descriptor, false, check_nothing, NULL, run_list_hosts};
static const struct method delete_host = {&scheduler__v2__delete_host_request__descriptor, true,
	check_delete_host, NULL, run_delete_host};
static const struct method upload_started = {
	&scheduler__v2__upload_persistent_cache_task_started_request__descriptor, true,
	check_upload_started, id_started, run_upload_started};
static const struct method upload_finished = {
	&scheduler__v2__upload_persistent_cache_task_finished_request__descriptor, true,
	check_upload_finished, id_finished, run_upload_finished};
static const struct method upload_failed = {
	&scheduler__v2__upload_persistent_cache_task_failed_request__descriptor, true,
	check_upload_failed, NULL, run_upload_failed};
static const struct method stat_task = {
	&scheduler__v2__stat_persistent_cache_task_request__descriptor, false, check_stat_task,
	id_stat, run_stat_task};
static const struct method stat_peer = {
	&scheduler__v2__stat_persistent_cache_peer_request__descriptor, false, check_stat_peer,
	NULL, run_stat_peer};
static const struct method delete_peer = {
	&scheduler__v2__delete_persistent_cache_peer_request__descriptor, true, check_delete_peer,
	NULL, run_delete_peer};
static const struct method delete_task = {
	&scheduler__v2__delete_persistent_cache_task_request__descriptor, true, check_delete_task,
	id_delete, run_delete_task};
static const struct method owned = {
	&dfcachefiles__v1__owned_request__descriptor, true, check_owned, NULL, run_owned};

#define ON_MESSAGE(name)                                                                           \
	static void on_##name(struct rpc_call *call, void *service, const uint8_t *p, size_t n)    \
	{                                                                                          \
		serve(service, call, &name, p, n, true);                                           \
		scheduler_step(service);                                                           \
	}
ON_MESSAGE(announce_host)
ON_MESSAGE(list_hosts)
ON_MESSAGE(delete_host)
ON_MESSAGE(upload_started)
ON_MESSAGE(upload_finished)
ON_MESSAGE(upload_failed)
ON_MESSAGE(stat_task)
ON_MESSAGE(stat_peer)
ON_MESSAGE(delete_peer)
ON_MESSAGE(delete_task)
ON_MESSAGE(owned)

/* ---- the announce stream ----------------------------------------------------------------- */

struct stream {
	struct list link; /* in scheduler.ready when the peers have been asked */
	struct scheduler *s;
	struct rpc_call *call;
	struct child *child; /* NULL before register and after the end */
	struct node_ask *ask;
	struct buf request; /* the register message, while peers are asked */
	bool is_over;
};

static void stream_end(struct stream *st, int status, const char *message)
{
	if (st->is_over)
		return;
	st->is_over = true;
	rpc_call_finish(st->call, status, "%s", message);
}

void service_end_child(void *arg, struct child *c, int status, const char *message)
{
	struct stream *st = c->stream;

	(void)arg;
	st->child = NULL;
	stream_end(st, status, message);
}

void service_send_parents(void *arg, struct child *c)
{
	struct scheduler *s = arg;
	struct stream *st = c->stream;
	Scheduler__V2__AnnouncePersistentCachePeerResponse m =
		SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_RESPONSE__INIT;
	Scheduler__V2__NormalPersistentCacheTaskResponse normal =
		SCHEDULER__V2__NORMAL_PERSISTENT_CACHE_TASK_RESPONSE__INIT;
	Common__V2__PersistentCachePeer *list[CHILD_PARENTS];
	_cleanup_free_ struct copy_message *x = calloc(CHILD_PARENTS, sizeof(*x));
	_cleanup_buf_ struct buf out = {0};
	struct task_message task;

	if (!x || st->is_over || rpc_call_queued(st->call) > QUEUED_MAX)
		return; /* it does not read: the next list that fits wins */
	set_task(s, &task, c->copy->task);
	for (size_t i = 0; i < c->n_parents; i++)
		list[i] = set_copy(&x[i], c->parents[i], &task.m);
	normal.candidate_cache_parents = list;
	normal.n_candidate_cache_parents = c->n_parents;
	m.response_case =
		SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_RESPONSE__RESPONSE_NORMAL_PERSISTENT_CACHE_TASK_RESPONSE;
	m.normal_persistent_cache_task_response = &normal;
	if (!pbc_pack(&m.base, &out))
		(void)rpc_call_send(st->call, out.data, out.len);
}

static void send_empty(struct stream *st)
{
	Scheduler__V2__AnnouncePersistentCachePeerResponse m =
		SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_RESPONSE__INIT;
	Scheduler__V2__EmptyPersistentCacheTaskResponse empty =
		SCHEDULER__V2__EMPTY_PERSISTENT_CACHE_TASK_RESPONSE__INIT;
	_cleanup_buf_ struct buf out = {0};

	m.response_case =
		SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_RESPONSE__RESPONSE_EMPTY_PERSISTENT_CACHE_TASK_RESPONSE;
	m.empty_persistent_cache_task_response = &empty;
	if (!pbc_pack(&m.base, &out))
		(void)rpc_call_send(st->call, out.data, out.len);
}

static void do_register(
	struct stream *st, const Scheduler__V2__AnnouncePersistentCachePeerRequest *m, uint64_t now)
{
	const Scheduler__V2__RegisterPersistentCachePeerRequest *q =
		m->register_persistent_cache_peer_request;
	struct node_answer a;
	struct node_register r = {.host_id = m->host_id,
		.task_id = m->task_id,
		.peer_id = m->peer_id,
		.persistent = q->persistent,
		.is_ours = rpc_call_metadata(st->call, META_BUSY_AWARE) != NULL,
		.concurrent_pieces = q->concurrent_piece_count,
		.version = version_of_meta(st->call)};
	struct child *c;

	node_register(&st->s->node, &r, st, &c, &a, now);
	st->child = c;
	if (a.status != RPC_OK)
		stream_end(st, a.status, a.message);
	else if (!c)
		send_empty(st);
}

static void registered_after_ask(void *arg)
{
	struct stream *st = arg;

	st->ask = NULL;
	list_push(&st->s->ready, &st->link);
}

static void on_register(struct stream *st,
	const Scheduler__V2__AnnouncePersistentCachePeerRequest *m, const uint8_t *p, size_t n,
	uint64_t now)
{
	struct node *node = &st->s->node;

	if (st->child || st->ask || st->request.len) {
		stream_end(st, RPC_FAILED_PRECONDITION, "the peer has registered already");
		return;
	}
	if (!registry_task(&node->reg, m->task_id) && !node_is_settled(node, m->task_id, now)) {
		buf_add(&st->request, p, n);
		if (buf_ok(&st->request) &&
			node_ask(node, m->task_id, registered_after_ask, st, &st->ask, now))
			return;
		buf_fini(&st->request);
	}
	do_register(st, m, now);
}

static void on_reschedule(
	struct stream *st, const Scheduler__V2__ReschedulePersistentCachePeerRequest *m)
{
	for (size_t i = 0; i < m->n_candidate_parents; i++) {
		const Common__V2__PersistentCachePeer *p = m->candidate_parents[i];

		if (p->host && p->host->id)
			children_block(st->child, p->host->id);
	}
	if (!children_reschedule(&st->s->node.children, st->child))
		stream_end(st, RPC_FAILED_PRECONDITION, "no candidate parents found");
}

static void on_finished(struct stream *st, bool ok, uint64_t now)
{
	struct child *c = st->child;

	st->child = NULL;
	node_child_finished(&st->s->node, c, ok, now);
	stream_end(st, RPC_OK, "");
}

static void on_stream_event(
	struct stream *st, const Scheduler__V2__AnnouncePersistentCachePeerRequest *m, uint64_t now)
{
	switch (m->request_case) {
	case SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__REQUEST_DOWNLOAD_PERSISTENT_CACHE_PEER_STARTED_REQUEST:
		node_child_started(&st->s->node, st->child);
		break;
	case SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__REQUEST_RESCHEDULE_PERSISTENT_CACHE_PEER_REQUEST:
		on_reschedule(st, m->reschedule_persistent_cache_peer_request);
		break;
	case SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__REQUEST_DOWNLOAD_PERSISTENT_CACHE_PEER_FINISHED_REQUEST:
		on_finished(st, true, now);
		break;
	case SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__REQUEST_DOWNLOAD_PERSISTENT_CACHE_PEER_FAILED_REQUEST:
		on_finished(st, false, now);
		break;
	case SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__REQUEST_DOWNLOAD_PIECE_FINISHED_REQUEST:
		break; /* nothing depends on it */
	case SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__REQUEST_DOWNLOAD_PIECE_FAILED_REQUEST:
		children_replace(&st->s->node.children, st->child,
			m->download_piece_failed_request->parent_id);
		break;
	default:
		stream_end(st, RPC_FAILED_PRECONDITION, "a request of an unknown kind");
		break;
	}
}

static void announce_message(struct stream *st, const uint8_t *p, size_t n)
{
	struct scheduler *s = st->s;
	uint64_t now = scheduler_now(s);
	Scheduler__V2__AnnouncePersistentCachePeerRequest *m = pbc_unpack(
		&scheduler__v2__announce_persistent_cache_peer_request__descriptor, p, n);
	const char *why = m ? check_announce_peer(m)
			    : "the message is not an AnnouncePersistentCachePeerRequest";

	if (why)
		stream_end(st, RPC_INVALID_ARGUMENT, why);
	else if (
		m->request_case ==
		SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__REQUEST_REGISTER_PERSISTENT_CACHE_PEER_REQUEST)
		on_register(st, m, p, n, now);
	else if (st->child)
		on_stream_event(st, m, now);
	else if (
		m->request_case ==
			SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__REQUEST_DOWNLOAD_PERSISTENT_CACHE_PEER_FINISHED_REQUEST ||
		m->request_case ==
			SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__REQUEST_DOWNLOAD_PERSISTENT_CACHE_PEER_FAILED_REQUEST)
		stream_end(st, RPC_OK, ""); /* the empty task */
	else if (
		m->request_case !=
		SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__REQUEST_DOWNLOAD_PERSISTENT_CACHE_PEER_STARTED_REQUEST)
		stream_end(st, RPC_FAILED_PRECONDITION, "the peer has not registered");
	if (m)
		protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void on_announce_peer(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct scheduler *s = service;
	struct stream *st = rpc_call_data(call);

	if (!st) {
		if (!scheduler_call_trusted(s, call)) {
			LOG_LIMITED(LOG_WARNING,
				"scheduler: refused, not a configured peer from=%s %s",
				rpc_call_peer(call)->name, rpc_call_path(call));
			rpc_call_finish(call, RPC_PERMISSION_DENIED,
				"%s is not among the configured peers of this host",
				rpc_call_peer(call)->name);
			return;
		}
		st = calloc(1, sizeof(*st));
		if (!st) {
			rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
			return;
		}
		st->s = s;
		st->call = call;
		list_init(&st->link);
		rpc_call_set_data(call, st);
	}
	if (!st->is_over)
		announce_message(st, p, n);
	scheduler_step(s);
}

/* the streams whose question to the peers was answered */
static void streams_step(struct scheduler *s)
{
	struct list *it;

	while ((it = list_pop(&s->ready))) {
		struct stream *st = list_entry(it, struct stream, link);
		Scheduler__V2__AnnouncePersistentCachePeerRequest *m = pbc_unpack(
			&scheduler__v2__announce_persistent_cache_peer_request__descriptor,
			st->request.data, st->request.len);

		buf_fini(&st->request);
		if (!m) {
			stream_end(st, RPC_RESOURCE_EXHAUSTED, "out of memory");
			continue;
		}
		do_register(st, m, scheduler_now(s));
		protobuf_c_message_free_unpacked(&m->base, NULL);
	}
}

static void on_announce_end(struct rpc_call *call, void *service, bool finished)
{
	struct stream *st = rpc_call_data(call);
	struct scheduler *s = service;

	(void)finished;
	if (!st)
		return;
	st->is_over = true;
	if (st->child)
		node_child_finished(&s->node, st->child, false, scheduler_now(s));
	if (st->ask)
		node_ask_cancel(st->ask);
	list_del(&st->link);
	buf_fini(&st->request);
	free(st);
	scheduler_step(s);
}

/* ---- the inventory ----------------------------------------------------------------------- */

static void on_exchange(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct scheduler *s = service;
	struct buf out = {0};
	const char *why;
	size_t len;
	void *bytes;

	if (!scheduler_call_trusted(s, call)) {
		LOG_LIMITED(LOG_WARNING,
			"peers: %s is not among the configured peers: add it to peers or "
			"peer_networks if it should be",
			rpc_call_peer(call)->name);
		rpc_call_finish(call, RPC_PERMISSION_DENIED,
			"%s is not among the configured peers of this host",
			rpc_call_peer(call)->name);
		return;
	}
	if (s->node.is_leaving) {
		rpc_call_finish(call, RPC_UNAVAILABLE, "this peer stops");
		return;
	}
	why = node_exchange_serve(&s->node, p, n, &out, scheduler_now(s));
	if (why) {
		LOG_LIMITED(LOG_WARNING, "peers: bad exchange from=%s: %s",
			rpc_call_peer(call)->name, why);
		rpc_call_finish(call, RPC_INVALID_ARGUMENT, "%s", why);
		buf_fini(&out);
	} else {
		len = out.len;
		bytes = buf_take(&out, &len);
		if (!bytes)
			rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
		else if (!rpc_call_send_owned(call, bytes, len))
			rpc_call_finish(call, RPC_OK, NULL);
	}
	scheduler_step(s);
}

/* ---- tables ------------------------------------------------------------------------------ */

#define UNARY(path_, name)                                                                         \
	{                                                                                          \
		.path = path_, .max_request_bytes = REQUEST_MAX, .on_message = on_##name,          \
		.on_end = on_end                                                                   \
	}

static const struct rpc_method scheduler_methods[] = {
	UNARY(METHOD_SCHED_ANNOUNCE_HOST, announce_host),
	UNARY(METHOD_SCHED_LIST_HOSTS, list_hosts),
	UNARY(METHOD_SCHED_DELETE_HOST, delete_host),
	UNARY(METHOD_SCHED_UPLOAD_STARTED, upload_started),
	UNARY(METHOD_SCHED_UPLOAD_FINISHED, upload_finished),
	UNARY(METHOD_SCHED_UPLOAD_FAILED, upload_failed),
	UNARY(METHOD_SCHED_STAT_TASK, stat_task),
	UNARY(METHOD_SCHED_STAT_PEER, stat_peer),
	UNARY(METHOD_SCHED_DELETE_PEER, delete_peer),
	UNARY(METHOD_SCHED_DELETE_TASK, delete_task),
	{.path = METHOD_SCHED_ANNOUNCE_PEER,
		.max_request_bytes = 1 << 20, /* a reschedule echoes whole parents */
		.is_client_stream = true,
		.on_message = on_announce_peer,
		.on_end = on_announce_end},
};

static const struct rpc_method inventory_methods[] = {
	{.path = METHOD_INVENTORY, .max_request_bytes = EXCHANGE_MAX, .on_message = on_exchange},
	UNARY(METHOD_INVENTORY_OWNED, owned),
};

const struct rpc_service scheduler_service_table = {
	.methods = scheduler_methods, .n_methods = ARRAY_SIZE(scheduler_methods)};
const struct rpc_service scheduler_inventory_table = {
	.methods = inventory_methods, .n_methods = ARRAY_SIZE(inventory_methods)};
